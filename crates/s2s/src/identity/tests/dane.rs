//! What the DNS says of certificates (DANE), and what a rule demands besides.

use std::slice::from_ref;

use rcgen::{CertificateParams, PublicKeyData, date_time_ymd};

use super::*;

impl World {
    /// What a chain and records prove of `example.org`, to which one has connected at `xmpp.host.example`.
    #[track_caller]
    fn dane(&self, chain: &[Der], tlsa: &[Tlsa], rule: &Rule, expected: Result<Proof, Flaw>) {
        let peer = Peer {
            tlsa,
            hosts: &["xmpp.host.example".into()],
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
