//! An authority of the tests, and what it certifies of servers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    PublicKeyData, date_time_ymd,
};
use ring::digest::{SHA256, digest};

use crate::tls::Identity;

/// Somebody whom servers trust, as far as they are told to.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Certified {
    /// In DER.
    pub certificate: Vec<u8>,
    /// PKCS #8 in DER.
    key: Vec<u8>,
    certificate_pem: String,
    key_pem: String,
    /// Its `subjectPublicKeyInfo` in DER.
    public_key: Vec<u8>,
}

impl Certified {
    fn of(certificate: &Certificate, key: &KeyPair) -> Certified {
        Certified {
            certificate: certificate.der().to_vec(),
            key: key.serialize_der(),
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            public_key: key.subject_public_key_info(),
        }
    }

    /// For whoever shows it.
    pub fn identity(&self) -> Identity {
        Identity::new(vec![self.certificate.clone()], self.key.clone())
    }

    /// The certificate and the key in PEM.
    pub fn pem(&self) -> (&str, &str) {
        (&self.certificate_pem, &self.key_pem)
    }

    /// SHA-256 of its public key, in hexadecimal.
    pub fn pin(&self) -> String {
        let hash = digest(&SHA256, &self.public_key);
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Nobody has certified it.
    pub fn self_signed(names: &[&str]) -> Certified {
        let key = KeyPair::generate().expect("a key");
        let certificate = of_server(names).self_signed(&key).expect("signed");
        Certified::of(&certificate, &key)
    }
}

/// What stands in the certificate of a server, as public authorities make it: names of the DNS, for servers alone.
fn of_server(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names of the DNS");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("signed").pem();
        let issuer = Issuer::new(params, key);
        Authority { issuer, pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// For a server with these names.
    pub fn certify(&self, names: &[&str]) -> Certified {
        self.certify_with(names, |_| {})
    }

    /// One that is over.
    pub fn certify_expired(&self, names: &[&str]) -> Certified {
        self.certify_with(names, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    /// One that is over in so many seconds, and is good for all of the last one.
    pub fn certify_for(&self, names: &[&str], seconds: u64) -> Certified {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        self.certify_with(names, |params| {
            params.not_after = date_time_ymd(1970, 1, 1) + Duration::from_secs(now + seconds);
        })
    }

    /// Changed before it is signed.
    pub fn certify_with(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let key = KeyPair::generate().expect("a key");
        let mut params = of_server(names);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Certified::of(&certificate, &key)
    }
}
