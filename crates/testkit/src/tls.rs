//! TLS as a peer that accepts any certificate, and what of it SASL can be bound to.

use std::sync::{Arc, OnceLock};

use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring::default_provider};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, ClientConnection, CommonState, DigitallySignedStruct, DistinguishedName, Error, HandshakeKind,
    ServerConfig, SignatureScheme, version,
};

/// Versions of TLS that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Version {
    #[default]
    Any,
    Tls12,
    Tls13,
}

/// A certificate of the peer's own. Connections with the same value resume their TLS sessions.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// In DER, the peer's first.
    chain: Vec<Vec<u8>>,
    /// PKCS #8 in DER.
    key: Vec<u8>,
    config: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Identity {
    pub fn new(chain: Vec<Vec<u8>>, key: Vec<u8>) -> Identity {
        Identity {
            chain,
            key,
            config: Arc::default(),
        }
    }

    /// The same certificate, whose connections resume none of the others'.
    pub(crate) fn renewed(&self) -> Identity {
        Identity::new(self.chain.clone(), self.key.clone())
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.chain.iter().cloned().map(CertificateDer::from).collect()
    }

    fn key(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.clone())
    }
}

#[derive(Debug)]
struct AcceptAll(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for AcceptAll {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls12_signature(self, message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ServerCertVerifier::verify_tls13_signature(self, message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ServerCertVerifier::supported_verify_schemes(self)
    }
}

/// Of a peer that is connected to: whoever connects is asked for a certificate.
pub(crate) fn server_config(identity: &Identity, alpn: &[&str]) -> Arc<ServerConfig> {
    let provider = Arc::new(default_provider());
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider has both versions")
        .with_client_cert_verifier(Arc::new(AcceptAll(provider)))
        .with_single_cert(identity.chain(), identity.key().into())
        .expect("a usable key");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(crate) fn config(version: Version, alpn: &[&str], identity: Option<&Identity>) -> Arc<ClientConfig> {
    match identity {
        None => Arc::new(new_config(version, alpn, None)),
        Some(identity) => {
            let config = identity
                .config
                .get_or_init(|| Arc::new(new_config(version, alpn, Some(identity))));
            Arc::clone(config)
        }
    }
}

fn new_config(version: Version, alpn: &[&str], identity: Option<&Identity>) -> ClientConfig {
    let provider = Arc::new(default_provider());
    let versions: &[&rustls::SupportedProtocolVersion] = match version {
        Version::Any => &[&version::TLS13, &version::TLS12],
        Version::Tls12 => &[&version::TLS12],
        Version::Tls13 => &[&version::TLS13],
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("the provider has both versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAll(provider)));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let key = identity.key().into();
            builder
                .with_client_auth_cert(identity.chain(), key)
                .expect("a usable key")
        }
    };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

/// What is known of an established TLS channel.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channel {
    /// RFC 9266; empty on TLS 1.2.
    pub(crate) exporter: Vec<u8>,
    /// RFC 5929 section 4.1.
    pub(crate) end_point: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    pub(crate) alpn: Option<String>,
    pub(crate) version: Option<rustls::ProtocolVersion>,
    pub(crate) is_resumed: bool,
}

impl Channel {
    pub(crate) fn of(connection: &ClientConnection) -> Channel {
        let exporter = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => connection
                .export_keying_material(vec![0; 32], b"EXPORTER-Channel-Binding", Some(b""))
                .expect("the handshake is complete"),
            _ => Vec::new(),
        };
        let common = Channel::common(connection);
        Channel {
            exporter,
            // The certificates of the tests are signed with SHA-256, whose hash is the same.
            end_point: digest::digest(&digest::SHA256, &common.certificate).as_ref().to_vec(),
            ..common
        }
    }

    /// What either side knows of it.
    pub(crate) fn common(state: &CommonState) -> Channel {
        let certificate = state.peer_certificates().and_then(<[_]>::first);
        Channel {
            certificate: certificate.map(|der| der.to_vec()).unwrap_or_default(),
            alpn: state
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            version: state.protocol_version(),
            is_resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            ..Channel::default()
        }
    }
}
