//! For whom a certificate is.

use rcgen::{CertificateParams, DnType, SanType};

use super::*;

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
