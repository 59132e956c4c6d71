//! Certificates made on the spot, and the two ends of a connection without a network.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use jackdaw_c2s::tls::{Certificates, HostFiles, Kind, Tls, TlsError, server_config};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, SupportedKxGroup, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, ServerConfig, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use tempfile::TempDir;

/// A folder of certificates that is removed at the end.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a temporary folder can be made"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn files(&self, host: &str) -> HostFiles {
        HostFiles {
            host: host.to_owned(),
            certificate: self.path(&format!("{host}.crt")),
            key: self.path(&format!("{host}.key")),
            clients: None,
        }
    }

    /// Writes a fresh self-signed ECDSA P-256 certificate for `host`.
    pub(crate) fn ecdsa(&self, host: &str) -> HostFiles {
        self.ecdsa_with(host, |_| {})
    }

    pub(crate) fn ecdsa_with(&self, host: &str, change: impl FnOnce(&mut rcgen::CertificateParams)) -> HostFiles {
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let mut parameters = rcgen::CertificateParams::new(vec![host.to_owned()]).expect("the name is valid");
        parameters.not_after = rcgen::date_time_ymd(2100, 1, 1);
        change(&mut parameters);
        let certificate = parameters.self_signed(&key).expect("it can be signed");
        let files = self.files(host);
        write(&files.certificate, certificate.pem().as_bytes());
        write(&files.key, key.serialize_pem().as_bytes());
        files
    }

    /// Writes a self-signed certificate for `host` with `openssl req -x509` and these arguments.
    pub(crate) fn openssl(&self, host: &str, arguments: &[&str]) -> HostFiles {
        let files = self.files(host);
        let output = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=test"])
            .args(["-addext", &format!("subjectAltName=DNS:{host}")])
            .args(arguments)
            .arg("-out")
            .arg(&files.certificate)
            .arg("-keyout")
            .arg(&files.key)
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        files
    }

    /// What openssl says is the hash of the certificate in `path`.
    pub(crate) fn openssl_digest(&self, path: &Path, hash: &str) -> Vec<u8> {
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", hash, "-in"])
            .arg(path)
            .output()
            .expect("openssl is installed");
        let text = String::from_utf8(output.stdout).expect("a fingerprint is ASCII");
        let (_, digits) = text.trim().split_once('=').expect("name=fingerprint");
        digits
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal"))
            .collect()
    }
}

/// Writes a file so that only its owner may read it.
pub(crate) fn write(path: &Path, content: &[u8]) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, content).expect("the folder is writable");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
}

pub(crate) fn load(hosts: &[&HostFiles]) -> Arc<Certificates> {
    let hosts = hosts.iter().map(|files| (*files).clone()).collect();
    let (certificates, _) = Certificates::load(hosts).expect("the files are good");
    Arc::new(certificates)
}

/// A server of one ECDSA certificate.
pub(crate) fn simple_server(kind: Kind) -> Arc<ServerConfig> {
    let folder = Folder::new();
    server_config(load(&[&folder.ecdsa("example.org")]), kind)
}

/// Accepts every certificate (they are self-signed) but checks every signature.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A client configuration with these suites (all, if none are named) and versions.
pub(crate) fn client_config(
    suites: &[SupportedCipherSuite],
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let mut provider = ring::default_provider();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    client_of(provider, versions)
}

/// A client of TLS 1.3 with these key exchanges, of which it tries the first.
pub(crate) fn client_with_groups(groups: Vec<&'static dyn SupportedKxGroup>) -> ClientConfig {
    let mut provider = ring::default_provider();
    provider.kx_groups = groups;
    client_of(provider, &[&rustls::version::TLS13])
}

fn client_of(provider: CryptoProvider, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .expect("the suites fit the versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config
}

/// Sizes that cut a byte stream into pieces: mostly small, some large, always the same.
pub(crate) struct Cuts(u64);

impl Cuts {
    pub(crate) fn new(seed: u64) -> Cuts {
        Cuts(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let value = (self.0 >> 20) as usize;
        match value % 4 {
            0 => 1 + value % 3,
            1 => 1 + value % 100,
            2 => 1 + value % 5_000,
            _ => 1 + value % 40_000,
        }
    }
}

/// The server's end, with the buffers a connection task has.
pub(crate) struct Server {
    pub(crate) tls: Tls,
    unread: Vec<u8>,
    pub(crate) plain: Vec<u8>,
    pub(crate) out: Vec<u8>,
}

impl Server {
    pub(crate) fn new(config: &Arc<ServerConfig>) -> Server {
        Server {
            tls: Tls::new(Arc::clone(config)).expect("the configuration is good"),
            unread: Vec::new(),
            plain: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.unread.extend_from_slice(bytes);
        let used = self.tls.read(&mut self.unread, &mut self.plain, &mut self.out)?;
        self.unread.drain(..used);
        Ok(())
    }

    pub(crate) fn write(&mut self, plain: &[u8]) {
        self.tls
            .write(plain, &mut self.out)
            .expect("an established connection can write");
    }
}

/// Both ends of a connection.
pub(crate) struct Pair {
    pub(crate) client: ClientConnection,
    pub(crate) server: Server,
    pub(crate) client_plain: Vec<u8>,
    cuts: Cuts,
}

impl Pair {
    pub(crate) fn new(config: &Arc<ServerConfig>, client: ClientConfig, name: &str) -> Pair {
        Pair::shared(config, &Arc::new(client), name)
    }

    pub(crate) fn shared(config: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Pair {
        let name = ServerName::try_from(name.to_owned()).expect("a valid name");
        let mut client = ClientConnection::new(Arc::clone(client), name).expect("the configuration is good");
        client.set_buffer_limit(None);
        Pair {
            client,
            server: Server::new(config),
            client_plain: Vec::new(),
            cuts: Cuts::new(1),
        }
    }

    pub(crate) fn cut_by(mut self, seed: u64) -> Pair {
        self.cuts = Cuts::new(seed);
        self
    }

    /// Carries bytes both ways until there are none. An error is the server's.
    pub(crate) fn run(&mut self) -> Result<(), TlsError> {
        loop {
            let mut to_server = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut to_server).expect("writing to memory");
            }
            let mut rest = &to_server[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(self.cuts.next().min(rest.len()));
                self.server.feed(piece)?;
                rest = after;
            }
            let to_client = std::mem::take(&mut self.server.out);
            if to_server.is_empty() && to_client.is_empty() {
                return Ok(());
            }
            self.deliver(&to_client).expect("the client agrees");
        }
    }

    /// Gives bytes to the client, in pieces.
    pub(crate) fn deliver(&mut self, bytes: &[u8]) -> Result<(), rustls::Error> {
        let mut rest = bytes;
        while !rest.is_empty() {
            // The client's own buffer takes only so much at a time.
            let (mut piece, after) = rest.split_at(self.cuts.next().min(4_096).min(rest.len()));
            while !piece.is_empty() {
                let taken = self.client.read_tls(&mut piece).expect("reading memory");
                assert!(taken > 0, "the client takes no more");
                let state = self.client.process_new_packets()?;
                let have = self.client_plain.len();
                self.client_plain.resize(have + state.plaintext_bytes_to_read(), 0);
                std::io::Read::read_exact(&mut self.client.reader(), &mut self.client_plain[have..])
                    .expect("as much as it said");
            }
            rest = after;
        }
        Ok(())
    }

    pub(crate) fn client_writes(&mut self, plain: &[u8]) {
        std::io::Write::write_all(&mut self.client.writer(), plain).expect("no limit is set");
    }

    /// Completes the handshake.
    pub(crate) fn established(mut self) -> Pair {
        self.run().expect("the handshake succeeds");
        assert!(self.server.tls.is_established());
        assert!(!self.client.is_handshaking());
        self
    }
}

/// Bytes of which no two stretches are alike.
pub(crate) fn sample(length: usize) -> Vec<u8> {
    (0..length as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}
