//! A corpus of certificates, good and hostile, and what each of them proves.

mod dane;
mod names;
mod paths;

use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, Issuer, KeyPair};

use super::*;

/// In 2026.
pub(crate) const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_796_000_000));

pub(crate) type Der = CertificateDer<'static>;

/// Somebody who certifies.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: Der,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let params = Authority::params(name);
        let certificate = params.self_signed(&key).expect("signed").der().clone();
        let issuer = Issuer::new(params, key);
        Authority { issuer, certificate }
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    /// One that this one vouches for.
    fn below(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = Authority::params(name);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").der().clone();
        let issuer = Issuer::new(params, key);
        Authority { issuer, certificate }
    }

    pub(crate) fn certify(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (Der, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = of(names);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.der().clone(), key)
    }

    pub(crate) fn leaf(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Der {
        self.certify(names, change).0
    }
}

fn of(names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).expect("names of the DNS")
}

fn self_signed(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Der {
    let key = KeyPair::generate().expect("a key");
    let mut params = of(names);
    change(&mut params);
    params.self_signed(&key).expect("signed").der().clone()
}

/// Names that rcgen does not write, each of less than 100 bytes.
fn names(names: &[Vec<u8>]) -> impl FnOnce(&mut CertificateParams) + use<> {
    let content = der(0x30, &names.concat());
    |params| params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], content)]
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("less than 256 bytes");
    let mut all = if length < 0x80 {
        vec![tag, length]
    } else {
        vec![tag, 0x81, length]
    };
    all.extend(content);
    all
}

fn dns(name: &[u8]) -> Vec<u8> {
    der(0x82, name)
}

/// `id-on-dnsSRV` is 7, `id-on-xmppAddr` is 5.
fn other(kind: u8, tag: u8, name: &[u8]) -> Vec<u8> {
    let kind = der(0x06, &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, kind]);
    der(0xa0, &[kind, der(0xa0, &der(tag, name))].concat())
}

fn srv(name: &str) -> Vec<u8> {
    other(7, 0x16, name.as_bytes())
}

fn xmpp(name: &str) -> Vec<u8> {
    other(5, 0x0c, name.as_bytes())
}

pub(crate) fn trusting(authority: &Authority) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.clone()).expect("an authority");
    roots
}

/// One authority that is known, one that is not.
struct World {
    public: Authority,
    private: Authority,
    identity: Identity,
}

impl World {
    fn new() -> World {
        let public = Authority::new("public");
        World {
            identity: Identity::of(trusting(&public)),
            private: Authority::new("private"),
            public,
        }
    }

    #[track_caller]
    fn check(&self, peer: &Peer<'_>, rule: &Rule, expected: &Result<Proof, Flaw>) -> Verdict {
        let verdict = self.identity.judge(peer, rule, NOW);
        assert_eq!(&verdict.proof, expected, "{:?} {:?}", peer.side, verdict.notes);
        let is_told = verdict.notes.iter().any(|(is_good, _)| *is_good == expected.is_ok());
        assert!(is_told, "{:?}", verdict.notes);
        verdict
    }

    /// What the chain proves of `example.org`, whoever has connected.
    #[track_caller]
    fn both(&self, chain: &[Der], expected: Result<Proof, Flaw>) {
        for side in [Side::Server, Side::Client] {
            self.check(&Peer::new("example.org", side, chain), &Rule::default(), &expected);
        }
    }
}

pub(crate) fn plain(_: &mut CertificateParams) {}

pub(crate) const GOOD: Result<Proof, Flaw> = Ok(Proof::Certificate);
const OTHER: Result<Proof, Flaw> = Err(Flaw::OtherName);

pub(crate) fn tlsa(usage: u8, selector: u8, matching: u8, of: &[u8]) -> Tlsa {
    use ring::digest::{SHA256, SHA512, digest};
    let data = match matching {
        1 => digest(&SHA256, of).as_ref().to_vec(),
        2 => digest(&SHA512, of).as_ref().to_vec(),
        _ => of.to_vec(),
    };
    Tlsa {
        usage,
        selector,
        matching,
        data,
    }
}

pub(crate) fn key(certificate: &Der) -> Vec<u8> {
    x509::fields(certificate).expect("a certificate").key.to_vec()
}
