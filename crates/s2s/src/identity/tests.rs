//! A corpus of certificates, good and hostile, and what each of them proves.

use std::slice::from_ref;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, NameConstraints, PublicKeyData, SanType, date_time_ymd,
};

use super::*;

/// In 2026.
pub(super) const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_796_000_000));

pub(super) type Der = CertificateDer<'static>;

/// Somebody who certifies.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) certificate: Der,
}

impl Authority {
    pub(super) fn new(name: &str) -> Authority {
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

    pub(super) fn certify(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (Der, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let mut params = of(names);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.der().clone(), key)
    }

    fn leaf(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Der {
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

pub(super) fn trusting(authority: &Authority) -> RootCertStore {
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

fn plain(_: &mut CertificateParams) {}

const GOOD: Result<Proof, Flaw> = Ok(Proof::Certificate);
const OTHER: Result<Proof, Flaw> = Err(Flaw::OtherName);

#[test]
fn names_that_are_the_domains() {
    let world = World::new();
    let good = |names: &[Vec<u8>]| world.both(&[world.public.leaf(&[], self::names(names))], GOOD);
    world.both(&[world.public.leaf(&["example.org"], plain)], GOOD);
    good(&[dns(b"example.org")]);
    good(&[dns(b"evil.example\0"), dns(b"EXAMPLE.org")]);
    good(&[srv("_xmpp-server.example.org")]);
    good(&[xmpp("example.org")]);
    good(&[
        xmpp("juliet@example.org"),
        srv("_xmpp-client.example.org"),
        xmpp("example.org"),
    ]);
}

#[test]
fn names_that_are_others() {
    let world = World::new();
    let bad = |names: &[Vec<u8>]| world.both(&[world.public.leaf(&[], self::names(names))], OTHER);
    bad(&[]);
    bad(&[dns(b"example.com")]);
    bad(&[dns(b"example.org\0.evil.example")]);
    bad(&[dns(b"evil.example\0example.org")]);
    bad(&[dns(b"example.org ")]);
    bad(&[dns(b"example.org.")]);
    bad(&[dns(b"*.org")]);
    bad(&[dns(b"*.*.org")]);
    bad(&[dns(b"*")]);
    bad(&[dns(b"example.*")]);
    bad(&[dns(b"ex*.org")]);
    bad(&[dns("ехample.org".as_bytes())]); // Cyrillic е and х
    bad(&[dns(b"xn--xample-2of.org")]);
    bad(&[srv("_xmpp-client.example.org")]);
    bad(&[srv("_xmpps-server.example.org")]);
    bad(&[srv("_xmpp-server.evil.example"), dns(b"evil.example")]);
    bad(&[other(7, 0x0c, b"_xmpp-server.example.org")]); // not an IA5String
    bad(&[xmpp("evil.example")]);
    bad(&[xmpp("juliet@example.org")]);
    bad(&[xmpp("example.org/balcony")]);
    bad(&[xmpp("example.org\0")]);
    bad(&[other(5, 0x0c, b"example.org\xff")]);
    bad(&[other(5, 0x16, b"example.org")]); // not a UTF8String
    bad(&[other(3, 0x0c, b"example.org")]); // of another kind
    bad(&[der(0x81, b"example.org")]); // rfc822Name
    bad(&[der(0x86, b"xmpp:example.org")]); // uniformResourceIdentifier
    bad(&[der(0x88, b"example.org")]); // registeredID
    // Cut off in the middle of a name.
    bad(&[vec![0x82, 0x7f, b'e']]);
}

#[test]
fn the_subject_names_nobody() {
    let world = World::new();
    let bad = |kind: DnType, value: &str| {
        let subject = |params: &mut CertificateParams| params.distinguished_name.push(kind.clone(), value);
        world.both(&[world.public.leaf(&[], subject)], OTHER);
        world.both(&[world.public.leaf(&["evil.example"], subject)], OTHER);
    };
    bad(DnType::CommonName, "example.org");
    bad(DnType::OrganizationalUnitName, "CN=example.org,");
    bad(DnType::OrganizationName, "example.org");
}

#[test]
fn wildcards_have_one_depth() {
    let world = World::new();
    let check = |name: &str, domain: &str, expected: Result<Proof, Flaw>| {
        let chain = [world.public.leaf(&[name], plain)];
        world.check(&Peer::new(domain, Side::Server, &chain), &Rule::default(), &expected);
    };
    check("*.example.org", "a.example.org", GOOD);
    check("*.example.org", "example.org", OTHER);
    check("*.example.org", "b.a.example.org", OTHER);
    // Whoever says that it is `*.example.org` is nobody.
    check("*.example.org", "*.example.org", Err(Flaw::NoName));
    check("xn--bcher-kva.example", "bücher.example", GOOD);
    check("192.0.2.1", "192.0.2.1", Err(Flaw::NoName));
}

#[test]
fn addresses_of_ip_prove_nothing() {
    let world = World::new();
    let address = |params: &mut CertificateParams| {
        params.subject_alt_names = vec![SanType::IpAddress([192, 0, 2, 1].into())];
    };
    let chain = [world.public.leaf(&[], address)];
    let peer = Peer::new("192.0.2.1", Side::Server, &chain);
    let verdict = world.check(&peer, &Rule::default(), &Err(Flaw::NoName));
    assert!(!verdict.wants_posh);
}

#[test]
fn time() {
    let world = World::new();
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2026, 11, 1);
    world.both(&[world.public.leaf(&["example.org"], expired)], Err(Flaw::Expired));
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2027, 1, 1);
    world.both(&[world.public.leaf(&["example.org"], early)], Err(Flaw::NotYetValid));
    // One above it.
    let over = world.public.below("over", expired);
    let chain = [over.leaf(&["example.org"], plain), over.certificate.clone()];
    world.both(&chain, Err(Flaw::Expired));
}

#[test]
fn the_proof_ends_with_the_first_certificate_that_does() {
    let world = World::new();
    let until = |year| move |params: &mut CertificateParams| params.not_after = date_time_ymd(year, 1, 1);
    let between = world.public.below("between", until(2028));
    for (year, expected) in [(2027, 1_798_761_600), (2029, 1_830_297_600)] {
        let chain = [between.leaf(&["example.org"], until(year)), between.certificate.clone()];
        let verdict = world.check(&Peer::new("example.org", Side::Server, &chain), &Rule::default(), &GOOD);
        assert_eq!(verdict.until, Some(expected), "{year}");
    }
}

#[test]
fn who_vouches() {
    let world = World::new();
    let unknown = |shown| Err(Flaw::UnknownAuthority { shown });
    world.both(&[self_signed(&["example.org"], plain)], Err(Flaw::SelfSigned));
    world.both(&[world.private.leaf(&["example.org"], plain)], unknown(1));
    let chain = [
        world.private.leaf(&["example.org"], plain),
        world.private.certificate.clone(),
    ];
    world.both(&chain, unknown(2));

    let between = world.public.below("between", plain);
    let leaf = between.leaf(&["example.org"], plain);
    world.both(&[leaf.clone(), between.certificate.clone()], GOOD);
    world.both(from_ref(&leaf), unknown(1));
    world.both(&[leaf.clone(), world.public.certificate.clone()], unknown(2));
    // In any order, and with others in between.
    let private = world.private.certificate.clone();
    world.both(&[leaf, private, between.certificate.clone()], GOOD);

    // An authority of the same name.
    let double = Authority::new("public");
    let chain = [double.leaf(&["example.org"], plain), double.certificate.clone()];
    let verdict = world
        .identity
        .judge(&Peer::new("example.org", Side::Server, &chain), &Rule::default(), NOW);
    assert!(
        matches!(verdict.proof, Err(Flaw::Broken(_) | Flaw::UnknownAuthority { .. })),
        "{verdict:?}"
    );
}

#[test]
fn a_leaf_certifies_nobody() {
    let world = World::new();
    let key = KeyPair::generate().expect("a key");
    let mut params = of(&["evil.example"]);
    params.distinguished_name.push(DnType::CommonName, "evil");
    let evil = params
        .signed_by(&key, &world.public.issuer)
        .expect("signed")
        .der()
        .clone();
    let evil = Authority {
        issuer: Issuer::new(params, key),
        certificate: evil,
    };
    let chain = [evil.leaf(&["example.org"], plain), evil.certificate.clone()];
    world.both(&chain, Err(Flaw::WrongUsage));
}

#[test]
fn usages() {
    let world = World::new();
    let with = |usages: &[ExtendedKeyUsagePurpose]| {
        let usages = usages.to_vec();
        [world
            .public
            .leaf(&["example.org"], |params| params.extended_key_usages = usages)]
    };
    let check = |chain: &[Der], side, expected: Result<Proof, Flaw>| {
        world.check(&Peer::new("example.org", side, chain), &Rule::default(), &expected);
    };
    let (server, client) = (ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth);
    // What public authorities make: servers connect with it as well.
    world.both(&with(from_ref(&server)), GOOD);
    world.both(&with(&[server, client.clone()]), GOOD);
    world.both(&with(&[]), GOOD);
    check(&with(from_ref(&client)), Side::Client, GOOD);
    check(&with(&[client]), Side::Server, Err(Flaw::WrongUsage));
    world.both(&with(&[ExtendedKeyUsagePurpose::CodeSigning]), Err(Flaw::WrongUsage));
    world.both(
        &with(&[ExtendedKeyUsagePurpose::EmailProtection]),
        Err(Flaw::WrongUsage),
    );
    let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    world.both(&[world.public.leaf(&["example.org"], authority)], Err(Flaw::WrongUsage));
}

/// An authority that may certify names below `corp.example` alone.
#[test]
fn authorities_with_limits() {
    let world = World::new();
    let limited = world.public.below("limited", |params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("corp.example".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let check = |domain: &str, leaf: Der, expected: Result<Proof, Flaw>| {
        let chain = [leaf, limited.certificate.clone()];
        world.check(&Peer::new(domain, Side::Client, &chain), &Rule::default(), &expected);
    };
    check("a.corp.example", limited.leaf(&["a.corp.example"], plain), GOOD);
    check(
        "example.org",
        limited.leaf(&["example.org"], plain),
        Err(Flaw::Constrained),
    );
    // The limits are on names of the DNS, and say nothing of others: these do not count then.
    check("example.org", limited.leaf(&[], names(&[xmpp("example.org")])), OTHER);
    check(
        "example.org",
        limited.leaf(&[], names(&[srv("_xmpp-server.example.org")])),
        OTHER,
    );
}

#[test]
fn what_is_broken() {
    let world = World::new();
    world.both(&[], Err(Flaw::NoCertificate));
    let leaf = world.public.leaf(&["example.org"], plain).to_vec();
    let judge = |bytes: Vec<u8>| {
        let chain = [Der::from(bytes)];
        world
            .identity
            .judge(&Peer::new("example.org", Side::Client, &chain), &Rule::default(), NOW)
            .proof
    };
    assert!(matches!(judge(b"no certificate".to_vec()), Err(Flaw::Broken(_))));
    // Whatever is cut off or changed, it proves nothing, and nothing panics.
    for at in 0..leaf.len() {
        assert!(judge(leaf[..at].to_vec()).is_err(), "{at}");
        let mut changed = leaf.clone();
        changed[at] ^= 1;
        assert!(judge(changed).is_err(), "{at}");
    }
}

#[test]
fn what_is_told() {
    let world = World::new();
    let many: Vec<_> = (0..20).map(|number| format!("a{number}.example")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let told = |chain: &[Der]| {
        let verdict = world
            .identity
            .judge(&Peer::new("example.org", Side::Server, chain), &Rule::default(), NOW);
        let mut trace = Trace::default();
        verdict.tell(&mut trace);
        let reason = trace.reason().expect("it failed").what.clone();
        (verdict.proof.expect_err("it is not").to_string(), reason)
    };
    let (short, long) = told(&[world.public.leaf(&many, plain)]);
    assert_eq!(short, "shows a certificate for another domain");
    assert!(long.contains("a7.example and 12 more, not for example.org"), "{long}");
    // What a peer writes stays on its line.
    let (_, long) = told(&[world.public.leaf(&[], names(&[xmpp("a\n\u{202e}b")]))]);
    assert!(long.contains("a\\n\\u{202e}b"), "{long}");
    let (_, long) = told(&[world.private.leaf(&["example.org"], plain)]);
    assert!(long.contains("intermediate certificate"), "{long}");
}

// DANE.

fn tlsa(usage: u8, selector: u8, matching: u8, of: &[u8]) -> Tlsa {
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

fn key(certificate: &Der) -> Vec<u8> {
    x509::fields(certificate).expect("a certificate").key.to_vec()
}

impl World {
    /// What a chain and records prove of `example.org`, to which one has connected at `xmpp.host.example`.
    #[track_caller]
    fn dane(&self, chain: &[Der], tlsa: &[Tlsa], rule: &Rule, expected: Result<Proof, Flaw>) {
        let peer = Peer {
            tlsa,
            target: Some("xmpp.host.example"),
            ..Peer::new("example.org", Side::Server, chain)
        };
        self.check(&peer, rule, &expected);
    }
}

const DANE: Result<Proof, Flaw> = Ok(Proof::Dane);
const NOT: Result<Proof, Flaw> = Err(Flaw::NotInDns);

#[test]
fn records_of_the_certificate_itself() {
    let world = World::new();
    let rule = Rule::default();
    // Nothing else of it counts, neither name nor time.
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let own = [self_signed(&["evil.example"], expired)];
    let (whole, key) = (own[0].to_vec(), key(&own[0]));
    for record in [
        tlsa(3, 0, 0, &whole),
        tlsa(3, 0, 1, &whole),
        tlsa(3, 0, 2, &whole),
        tlsa(3, 1, 0, &key),
        tlsa(3, 1, 1, &key),
        tlsa(3, 1, 2, &key),
    ] {
        world.dane(&own, from_ref(&record), &rule, DANE);
        world.dane(&own, &[tlsa(3, 1, 1, b"old"), record], &rule, DANE);
    }
    for record in [
        tlsa(3, 1, 1, &whole),
        tlsa(3, 0, 1, &key),
        tlsa(3, 1, 0, &key[1..]),
        tlsa(3, 0, 0, &whole[..whole.len() - 1]),
        tlsa(3, 1, 1, b""),
    ] {
        world.dane(&own, &[record], &rule, NOT);
    }
}

/// What the DNS says has to fit, whatever an authority says (RFC 7673 section 3.4).
#[test]
fn records_of_another_certificate() {
    let world = World::new();
    let good = [world.public.leaf(&["example.org"], plain)];
    let other = [tlsa(3, 1, 1, b"other")];
    world.dane(&good, &other, &Rule::default(), NOT);
    let certificate = Rule {
        require: Require::Certificate,
        ..Rule::default()
    };
    world.dane(&good, &other, &certificate, NOT);
    // Whoever connects to us may do so with another certificate than it serves with.
    let peer = Peer {
        tlsa: &other,
        ..Peer::new("example.org", Side::Client, &good)
    };
    world.check(&peer, &Rule::default(), &GOOD);
    let dane = Rule {
        require: Require::Dane,
        ..Rule::default()
    };
    world.check(&peer, &dane, &NOT);
}

#[test]
fn records_that_cannot_be_used_are_none() {
    let world = World::new();
    let good = [world.public.leaf(&["example.org"], plain)];
    let own = [self_signed(&["example.org"], plain)];
    let dane = Rule {
        require: Require::Dane,
        ..Rule::default()
    };
    let key = key(&own[0]);
    let short = Tlsa {
        data: vec![7; 31],
        ..tlsa(3, 1, 1, &key)
    };
    let unknown = [
        tlsa(4, 1, 1, &key),
        tlsa(255, 1, 1, &key),
        tlsa(3, 2, 1, &key),
        Tlsa {
            matching: 3,
            ..tlsa(3, 1, 1, &key)
        },
        Tlsa {
            matching: 2,
            ..tlsa(3, 1, 1, &key)
        },
        tlsa(3, 1, 0, b""),
        short,
    ];
    world.dane(&good, &unknown, &Rule::default(), GOOD);
    world.dane(&own, &unknown, &Rule::default(), Err(Flaw::SelfSigned));
    world.dane(&good, &unknown, &dane, Err(Flaw::NoDane));
    world.dane(&good, &[], &dane, Err(Flaw::NoDane));
}

#[test]
fn records_of_an_authority_of_ones_own() {
    let world = World::new();
    let rule = Rule::default();
    let private = &world.private;
    let (whole, key) = (private.certificate.to_vec(), key(&private.certificate));
    let leaf = private.leaf(&["example.org"], plain);
    let chain = [leaf.clone(), private.certificate.clone()];
    for record in [tlsa(2, 0, 1, &whole), tlsa(2, 1, 1, &key), tlsa(2, 0, 0, &whole)] {
        world.dane(&chain, &[record], &rule, DANE);
    }
    // It has to be at hand, in the chain or in the record.
    world.dane(from_ref(&leaf), &[tlsa(2, 0, 0, &whole)], &rule, DANE);
    world.dane(from_ref(&leaf), &[tlsa(2, 0, 1, &whole)], &rule, NOT);
    // To be shown is not to have signed.
    let stranger = Authority::new("stranger");
    let foreign = [stranger.leaf(&["example.org"], plain), private.certificate.clone()];
    world.dane(&foreign, &[tlsa(2, 0, 1, &whole)], &rule, NOT);
    // The leaf is no authority of itself.
    world.dane(from_ref(&leaf), &[tlsa(2, 0, 1, &leaf)], &rule, NOT);

    // Names and time count, the host's name as well as the domain's.
    let host = [private.leaf(&["xmpp.host.example"], plain), private.certificate.clone()];
    world.dane(&host, &[tlsa(2, 0, 1, &whole)], &rule, DANE);
    let other = [private.leaf(&["evil.example"], plain), private.certificate.clone()];
    world.dane(&other, &[tlsa(2, 0, 1, &whole)], &rule, OTHER);
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    let expired = [private.leaf(&["example.org"], expired), private.certificate.clone()];
    world.dane(&expired, &[tlsa(2, 0, 1, &whole)], &rule, Err(Flaw::Expired));

    // Below an authority in between.
    let between = private.below("between", plain);
    let chain = [
        between.leaf(&["example.org"], plain),
        between.certificate.clone(),
        private.certificate.clone(),
    ];
    world.dane(&chain, &[tlsa(2, 0, 1, &whole)], &rule, DANE);
    world.dane(&chain, &[tlsa(2, 0, 1, &between.certificate)], &rule, DANE);
}

#[test]
fn records_beside_an_authority() {
    let world = World::new();
    let rule = Rule::default();
    let between = world.public.below("between", plain);
    let leaf = between.leaf(&["example.org"], plain);
    let chain = [leaf.clone(), between.certificate.clone()];
    world.dane(&chain, &[tlsa(1, 1, 1, &key(&leaf))], &rule, DANE);
    world.dane(&chain, &[tlsa(1, 0, 1, &between.certificate)], &rule, NOT);
    world.dane(&chain, &[tlsa(0, 0, 1, &between.certificate)], &rule, DANE);
    world.dane(&chain, &[tlsa(0, 1, 1, &key(&world.public.certificate))], &rule, DANE);
    world.dane(&chain, &[tlsa(0, 1, 1, &key(&leaf))], &rule, NOT);
    world.dane(&chain, &[tlsa(0, 0, 1, &world.private.certificate)], &rule, NOT);
    // The whole certificate of the authority is not kept; it may be shown.
    let root = tlsa(0, 0, 1, &world.public.certificate);
    world.dane(&chain, from_ref(&root), &rule, NOT);
    let with_root = [leaf, between.certificate.clone(), world.public.certificate.clone()];
    world.dane(&with_root, &[root], &rule, DANE);
    // It has to be vouched for as well.
    let private = world.private.leaf(&["example.org"], plain);
    let unknown = Err(Flaw::UnknownAuthority { shown: 1 });
    world.dane(from_ref(&private), &[tlsa(1, 1, 1, &key(&private))], &rule, unknown);
    let other = world.public.leaf(&["evil.example"], plain);
    world.dane(from_ref(&other), &[tlsa(1, 1, 1, &key(&other))], &rule, OTHER);
}

/// Whoever writes a thousand records has not a thousand certificates.
#[test]
fn so_many_records_are_looked_at() {
    let world = World::new();
    let own = [self_signed(&["example.org"], plain)];
    let fits = tlsa(3, 1, 1, &key(&own[0]));
    for (before, expected) in [(MAX_RECORDS - 1, DANE), (MAX_RECORDS, NOT)] {
        let mut records = vec![tlsa(0, 1, 1, b"other"); before];
        records.push(fits.clone());
        let verdict = world.identity.judge(
            &Peer {
                tlsa: &records,
                ..Peer::new("example.org", Side::Server, &own)
            },
            &Rule::default(),
            NOW,
        );
        assert_eq!(verdict.proof.is_ok(), expected.is_ok(), "{before}");
    }
    // What cannot be used does not count.
    let mut records = vec![tlsa(9, 1, 1, b"other"); MAX_RECORDS];
    records.push(fits);
    world.dane(&own, &records, &Rule::default(), DANE);
}

/// The name of the host counts where a secure record led to it (RFC 7673 section 4.1), else not.
#[test]
fn the_name_of_the_host() {
    let world = World::new();
    let chain = [world.public.leaf(&["xmpp.host.example"], plain)];
    world.dane(&chain, &[], &Rule::default(), GOOD);
    world.both(&chain, OTHER);
}

#[test]
fn what_a_rule_demands() {
    let world = World::new();
    let own = [self_signed(&["example.org"], plain)];
    let good = [world.public.leaf(&["example.org"], plain)];
    let of_own = [tlsa(3, 1, 1, &key(&own[0]))];
    let certificate = Rule {
        require: Require::Certificate,
        ..Rule::default()
    };
    let dane = Rule {
        require: Require::Dane,
        ..Rule::default()
    };
    world.dane(&own, &of_own, &certificate, Err(Flaw::SelfSigned));
    world.dane(&good, &[tlsa(3, 1, 1, &key(&good[0]))], &certificate, GOOD);
    world.dane(&own, &of_own, &dane, DANE);

    let pinned = Rule {
        pins: vec![Pin([0; 32]), Pin::of(&key(&own[0]))],
        ..Rule::default()
    };
    world.dane(&own, &[], &pinned, Ok(Proof::Pin));
    world.dane(&good, &[], &pinned, Err(Flaw::NotPinned));
    let both = Rule {
        require: Require::Certificate,
        ..pinned.clone()
    };
    world.dane(&own, &[], &both, Err(Flaw::SelfSigned));
    let both = Rule {
        require: Require::Dane,
        ..pinned
    };
    world.dane(&own, &[], &both, Err(Flaw::NoDane));
    world.dane(&own, &of_own, &both, DANE);
}

#[test]
fn the_key_is_what_rcgen_says() {
    let authority = Authority::new("public");
    let (certificate, pair) = authority.certify(&["example.org"], plain);
    assert_eq!(key(&certificate), pair.subject_public_key_info());
}
