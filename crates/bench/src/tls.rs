//! TLS of the generator, which trusts everybody, and of the floor, which makes its own certificate.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme};

use crate::Outcome;
use crate::client::DOMAIN;

/// Takes every certificate: targets listen on loopback and make their own. Signatures are not verified either, as that
/// is work of the generator only.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Without resumption: every login of a measurement is a whole one.
pub(crate) fn client() -> Arc<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// A new self-signed certificate for the domain and its key, in PEM (ECDSA P-256, as the server makes them).
pub(crate) fn certificate() -> Outcome<(String, String)> {
    let failed = |error: rcgen::Error| format!("cannot make a certificate: {error}");
    let mut parameters = rcgen::CertificateParams::new([DOMAIN.to_owned()]).map_err(failed)?;
    // rcgen's own dates, 1975 to 4096, make ejabberd's certificate store crash.
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(2049, 1, 1);
    let key = rcgen::KeyPair::generate().map_err(failed)?;
    let certificate = parameters.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// For the floor.
pub(crate) fn server() -> Outcome<Arc<ServerConfig>> {
    let (certificate, key) = certificate()?;
    let chain: Result<Vec<_>, _> = rustls_pemfile::certs(&mut certificate.as_bytes()).collect();
    let key: Option<PrivateKeyDer<'_>> =
        rustls_pemfile::private_key(&mut key.as_bytes()).map_err(|error| error.to_string())?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let chain = chain.map_err(|error| Error::General(error.to_string()))?;
            let key = key.ok_or_else(|| Error::General("no key".to_owned()))?;
            builder.with_no_client_auth().with_single_cert(chain, key)
        });
    config.map(Arc::new).map_err(|error| error.to_string())
}
