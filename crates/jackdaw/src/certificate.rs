//! Self-signed certificates for domains that were given none, so that a server without any
//! configuration has TLS. They live in `<data>/certificates/<domain>.{crt,key}` and are kept: a
//! client that has accepted one must not be asked again after a restart.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use sha2::{Digest, Sha256};

use crate::config::{Config, Domain};
use crate::failure::{Failure, Why};
use crate::private_file;

/// Ten years. The limits of public certificates (398 days and falling) are there so that revocation
/// and new algorithms get through; a self-signed one is trusted by its fingerprint alone, so that
/// each renewal would only teach people to click warnings away.
const VALID: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A machine whose clock is behind must not find a certificate of tomorrow.
const BACKDATED: Duration = Duration::from_secs(86_400);

/// The certificate of one domain, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// As in the configuration: a U-label domain stays one.
    pub domain: String,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Who certifies its clients.
    pub clients: Option<PathBuf>,
    /// Set where Jackdaw made the certificate (now or earlier): SHA-256 of it, as `AB:CD:…`, for
    /// people to compare with what their client shows.
    pub self_signed: Option<String>,
}

/// The certificate of every domain in the order of the configuration; makes those that are missing.
pub fn of_all_domains(config: &Config) -> Result<Vec<Certificate>, Failure> {
    config.domain.iter().map(|domain| of_domain(config, domain)).collect()
}

fn of_domain(config: &Config, domain: &Domain) -> Result<Certificate, Failure> {
    let name = domain.name.as_str();
    if let (Some(certificate), Some(key)) = (&domain.certificate, &domain.key) {
        return Ok(Certificate {
            domain: name.to_owned(),
            certificate: certificate.clone(),
            key: key.clone(),
            clients: domain.client_certificates.clone(),
            self_signed: None,
        });
    }
    let ascii = ascii(name)?;
    let folder = config.certificates();
    let certificate = folder.join(format!("{ascii}.crt"));
    let key = folder.join(format!("{ascii}.key"));
    if !(certificate.exists() && key.exists()) {
        make(&ascii, &folder, &certificate, &key)?;
    }
    let fingerprint = fingerprint(&certificate)?;
    Ok(Certificate {
        domain: name.to_owned(),
        certificate,
        key,
        clients: domain.client_certificates.clone(),
        self_signed: Some(fingerprint),
    })
}

/// The certificate of a domain in DER, where there is one already; makes none.
pub fn first_of(config: &Config, domain: &Domain) -> Result<Option<Vec<u8>>, Failure> {
    let path = match &domain.certificate {
        Some(path) => path.clone(),
        None => config
            .certificates()
            .join(format!("{}.crt", ascii(domain.name.as_str())?)),
    };
    let unusable = |what: String| Failure::unavailable(format!("{}: {what}", path.display()));
    let pem = match fs::read(&path) {
        Ok(pem) => pem,
        Err(error) if error.kind() == io::ErrorKind::NotFound && domain.certificate.is_none() => return Ok(None),
        Err(error) => return Err(unusable(error.to_string())),
    };
    match rustls_pemfile::certs(&mut &pem[..]).next() {
        Some(Ok(certificate)) => Ok(Some(certificate.to_vec())),
        _ => Err(unusable("no certificate in PEM is in it".to_owned())),
    }
}

/// The domain as DNS and certificates spell it (A-labels, RFC 5890 section 2.3.2.1).
fn ascii(name: &str) -> Result<String, Failure> {
    let ascii = idna::domain_to_ascii(name)
        .ok()
        .filter(|name| !name.is_empty() && !name.contains(['/', '\\']));
    ascii.ok_or_else(|| {
        Failure::new(
            Why::Configuration,
            format!("the domain `{name}` has no form in DNS; give it a certificate and key"),
        )
    })
}

fn make(ascii: &str, folder: &Path, certificate: &Path, key: &Path) -> Result<(), Failure> {
    let failed = |what: &dyn std::fmt::Display| {
        Failure::unavailable(format!("cannot make a certificate in {}: {what}", folder.display()))
    };
    private_file::folder(folder).map_err(|error| failed(&error))?;
    let (chain, private) = self_signed(ascii, SystemTime::now()).map_err(|error| failed(&error))?;
    // The key first: a certificate whose key is missing is made again, and no client has seen it.
    private_file::write(key, 0o600, private.as_bytes()).map_err(|error| failed(&error))?;
    private_file::write(certificate, 0o644, chain.as_bytes()).map_err(|error| failed(&error))
}

/// Certificate and key in PEM. ECDSA on P-256: every client of the last ten years has it, and a
/// handshake costs a tenth of RSA's.
fn self_signed(ascii: &str, now: SystemTime) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = CertificateParams::new(vec![ascii.to_owned()])?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, ascii);
    params.distinguished_name = name;
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + VALID).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// SHA-256 of the first certificate in a PEM file.
fn fingerprint(certificate: &Path) -> Result<String, Failure> {
    let unusable = |what: &dyn std::fmt::Display| {
        Failure::unavailable(format!(
            "{}: {what}; move it and its key away, and a new one is made",
            certificate.display()
        ))
    };
    let pem = fs::read(certificate).map_err(|error| unusable(&error))?;
    let first = rustls_pemfile::certs(&mut pem.as_slice()).next();
    let der = first
        .ok_or_else(|| unusable(&"no certificate in it"))?
        .map_err(|error| unusable(&error))?;
    Ok(hex(&Sha256::digest(&der)))
}

/// `AB:CD:…`, the form that clients show.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 3);
    for (index, byte) in bytes.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        // Writing into a String cannot fail.
        let _ = write!(text, "{colon}{byte:02X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::DomainName;

    fn config(data: &Path, domain: &str) -> Config {
        let name = DomainName::parse(domain).expect("a domain");
        Config {
            data: data.to_owned(),
            domain: vec![Domain {
                name,
                ..Domain::default()
            }],
            ..Config::default()
        }
    }

    #[test]
    fn it_is_made_once_and_kept() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let config = config(data.path(), "example.org");
        let first = of_all_domains(&config).expect("made");
        let again = of_all_domains(&config).expect("kept");
        assert_eq!(first, again);
        assert_eq!(first[0].certificate, data.path().join("certificates/example.org.crt"));
        let print = first[0].self_signed.as_deref().expect("self-signed");
        assert_eq!(print.len(), 95, "32 bytes in hex with colons: {print}");
        let mode = fs::metadata(&first[0].key).expect("the key").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        fs::remove_file(&first[0].key).expect("removable");
        let renewed = of_all_domains(&config).expect("made again");
        assert_ne!(renewed[0].self_signed, first[0].self_signed);
    }

    #[test]
    fn a_unicode_domain_is_spelt_as_in_dns() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let made = of_all_domains(&config(data.path(), "bücher.example")).expect("made");
        assert_eq!(made[0].domain, "bücher.example");
        assert_eq!(
            made[0].certificate,
            data.path().join("certificates/xn--bcher-kva.example.crt")
        );
    }

    #[test]
    fn given_files_are_not_touched() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let mut config = config(data.path(), "example.org");
        config.domain[0].certificate = Some("a.crt".into());
        config.domain[0].key = Some("a.key".into());
        let given = of_all_domains(&config).expect("taken as it is");
        assert_eq!(given[0].self_signed, None);
        assert_eq!(given[0].key, PathBuf::from("a.key"));
        assert!(!config.certificates().exists());
    }
}
