//! Certificates of those who connect: of clients (RFC 6120 section 13.7.2.2, XEP-0178), and of other servers.
//!
//! In the handshake any is taken, as long as the client has its key: that of an unknown authority
//! is as good as none (section 13.7.2.2.2), and no reason to keep a client out that may have a
//! password. Whom it speaks for is found out when somebody wants to log in, for the domain that
//! the stream is for. Who is another server is judged by `s2s`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use stanza::Jid;

use super::certificates::{Certificates, Problem};
use super::{capture, pem, x509};

/// Who certifies the clients of a domain.
pub(super) struct Authorities {
    verifier: Arc<dyn ClientCertVerifier>,
    /// What it was made of.
    certificates: Vec<CertificateDer<'static>>,
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Authorities) -> bool {
        self.certificates == other.certificates
    }
}

impl Authorities {
    pub(super) fn read(path: &Path, provider: &CryptoProvider) -> Result<Authorities, Problem> {
        let text = pem::read(path).map_err(Problem::Unreadable)?;
        let certificates = pem::certificates(&text).map_err(Problem::NotPem)?;
        if certificates.is_empty() {
            return Err(Problem::NoAuthority);
        }
        let mut roots = RootCertStore::empty();
        for certificate in &certificates {
            roots.add(certificate.clone()).map_err(|_| Problem::BadAuthority)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(provider.clone()))
            .build()
            .map_err(|_| Problem::BadAuthority)?;
        Ok(Authorities { verifier, certificates })
    }

    /// The addresses of a client, prepared; none if none of these authorities vouches for its certificate.
    pub(super) fn addresses(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Vec<String> {
        let Some((leaf, others)) = chain.split_first() else {
            return Vec::new();
        };
        if let Err(error) = self.verifier.verify_client_cert(leaf, others, now) {
            tracing::info!(%error, "the certificate of a client is not taken");
            return Vec::new();
        }
        let prepared = |address: &str| Jid::parse(address).ok().map(|jid| jid.as_str().to_owned());
        x509::xmpp_addresses(leaf).into_iter().filter_map(prepared).collect()
    }
}

/// Who is asked for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Clients, where any domain takes them.
    Clients,
    /// Everybody: other servers have no other way to say who they are (XEP-0178 section 3).
    Servers,
    /// Who offers the ALPN of servers.
    ServersByAlpn,
}

/// Asks for a certificate, and takes what is shown.
pub(super) struct AnyPeer(pub(super) Arc<Certificates>, pub(super) Asked);

impl fmt::Debug for AnyPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyPeer").field(&self.1).finish()
    }
}

impl ClientCertVerifier for AnyPeer {
    fn offer_client_auth(&self) -> bool {
        match self.1 {
            Asked::Clients => self.0.asks_clients(),
            Asked::Servers => true,
            // rustls asks once before it knows anything of the connection, to see whether it might want to know later.
            Asked::ServersByAlpn => capture::is_server().unwrap_or(true),
        }
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// No hints: which authorities the domains have is told to nobody, and would be told to all.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.provider().signature_verification_algorithms.supported_schemes()
    }
}
