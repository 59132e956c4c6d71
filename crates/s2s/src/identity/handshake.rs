//! TLS towards another server: any certificate is taken, and judged behind the handshake ([`super::Identity::judge`]).
//!
//! That the peer has the key of what it shows is checked here, as everywhere.

use std::sync::Arc;

use c2s::tls::ALPN_SERVER;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};

use super::Identity;
use super::names::Reference;

impl Identity {
    /// For one connection. `own`: what this server shows, see [`c2s::tls::Certificates::own`]; `is_direct`: TLS from the
    /// first byte (XEP-0368), where ALPN says for whom it is.
    pub fn client_config(&self, own: Option<Arc<CertifiedKey>>, is_direct: bool) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring has cipher suites and key exchanges for both versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(Arc::clone(&self.provider))));
        let mut config = match own {
            Some(own) => builder.with_client_cert_resolver(Arc::new(Own(own))),
            None => builder.with_no_client_auth(),
        };
        // Each connection shows anew that the peer has its key; there are few.
        config.resumption = Resumption::disabled();
        if is_direct {
            config.alpn_protocols = vec![ALPN_SERVER.to_vec()];
        }
        Arc::new(config)
    }
}

/// What SNI says (RFC 6066 section 3): the domain, not the host that was connected to (RFC 7673 section 4.1). `None`:
/// nobody can be asked for by this.
pub fn server_name(domain: &str) -> Option<ServerName<'static>> {
    let domain = match Reference::new(domain) {
        Some(reference) => reference.ascii().to_owned(),
        // An address: rustls sends no name then.
        None => domain.trim_matches(['[', ']']).to_owned(),
    };
    ServerName::try_from(domain).ok()
}

#[derive(Debug)]
struct Own(Arc<CertifiedKey>);

impl ResolvesClientCert for Own {
    /// The hints are ignored: a server that names authorities means those of its clients.
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
