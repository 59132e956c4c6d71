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

#[cfg(test)]
mod tests {
    use std::fs;

    use c2s::tls::{Certificates, HostFiles, Kind, Tls, server_config};
    use rustls::ProtocolVersion;

    use super::super::tests::{Authority, trusting};
    use super::*;

    /// Two domains, of which nobody knows who has certified them.
    fn certificates(folder: &std::path::Path) -> Arc<Certificates> {
        let private = Authority::new("private");
        let files = ["a.example", "b.example"].map(|host| {
            let (certificate, key) = private.certify(&[host], |_| {});
            let path = |end: &str| folder.join(format!("{host}.{end}"));
            let pem = |kind: &str, der: &[u8]| {
                use base64::Engine;
                let text = base64::engine::general_purpose::STANDARD.encode(der);
                format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
            };
            fs::write(path("crt"), pem("CERTIFICATE", &certificate)).expect("written");
            fs::write(path("key"), pem("PRIVATE KEY", &key.serialize_der())).expect("written");
            HostFiles {
                host: host.to_owned(),
                certificate: path("crt"),
                key: path("key"),
                clients: None,
            }
        });
        Arc::new(Certificates::load(files.to_vec()).expect("they are good").0)
    }

    /// Until neither has anything to say.
    fn run(client: &mut Tls, server: &mut Tls, mut to_server: Vec<u8>) {
        let mut to_client = Vec::new();
        let (mut unread, mut plain) = ([Vec::new(), Vec::new()], Vec::new());
        while !to_server.is_empty() || !to_client.is_empty() {
            unread[0].append(&mut to_server);
            let used = server
                .read(&mut unread[0], &mut plain, &mut to_client)
                .expect("the server goes on");
            unread[0].drain(..used);
            unread[1].append(&mut to_client);
            let used = client
                .read(&mut unread[1], &mut plain, &mut to_server)
                .expect("the client goes on");
            unread[1].drain(..used);
        }
    }

    #[test]
    fn both_show_who_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let certificates = certificates(folder.path());
        let identity = Identity::of(trusting(&Authority::new("public")));
        for (kind, is_direct) in [
            (Kind::Server, false),
            (Kind::ServerDirect, true),
            (Kind::Multiplex { servers: true }, true),
        ] {
            let config = identity.client_config(Some(certificates.own("b.example")), is_direct);
            let mut hello = Vec::new();
            let name = server_name("a.example").expect("a name");
            let mut client = Tls::to_server(config, name, &mut hello).expect("it begins");
            let mut server = Tls::new(server_config(Arc::clone(&certificates), kind)).expect("it begins");
            run(&mut client, &mut server, hello);
            assert!(client.is_established() && server.is_established());
            assert_eq!(client.version(), Some(ProtocolVersion::TLSv1_3));
            assert_eq!(server.alpn(), is_direct.then_some(ALPN_SERVER));
            assert_eq!(server.server_name(), Some("a.example"));
            assert_eq!(client.peer_chain(), certificates.own("a.example").cert);
            assert_eq!(server.peer_chain(), certificates.own("b.example").cert);
        }
    }

    #[test]
    fn what_sni_says() {
        let check = |domain: &str, expected: Option<&str>| {
            let name = server_name(domain);
            assert_eq!(name.as_ref().map(|name| name.to_str()).as_deref(), expected, "{domain}");
        };
        check("example.org", Some("example.org"));
        check("bücher.example", Some("xn--bcher-kva.example"));
        check("192.0.2.1", Some("192.0.2.1"));
        check("[2001:db8::1]", Some("2001:db8::1"));
        check("a b", None);
    }
}
