//! Who vouches for a certificate, for how long and for what; and what is told of one that is worth nothing.

use std::slice::from_ref;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    NameConstraints, date_time_ymd,
};

use super::*;

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
