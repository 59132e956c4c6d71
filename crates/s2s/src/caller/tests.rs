//! With a DNS whose answers are signed.

use std::slice::from_ref;

use hickory_resolver::proto::rr::RecordType;
use ring::digest::{SHA256, digest};

use super::*;
use crate::identity::tests::{Authority, Der, NOW, key, plain, trusting};
use crate::identity::{Flaw, Proof};
use crate::stub::{Stub, Way, Zone};

/// `example.signed` is at two hosts, and so is `example.plain`, whose zone is not signed.
fn zone() -> Zone {
    let mut zone = Zone::new();
    for domain in ["signed", "plain"] {
        let owner = format!("_xmpp-server._tcp.example.{domain}.");
        for (priority, host) in [(1, "a"), (2, "b")] {
            zone.srv(&owner, priority, 5269, &format!("{host}.host.{domain}."));
        }
    }
    zone
}

struct World {
    stub: Stub,
    resolver: Resolver,
    public: Authority,
    identity: Identity,
    room: Arc<Places>,
    bidirectional: bool,
}

impl World {
    async fn new(zone: Zone) -> World {
        let (stub, public) = (Stub::new(zone).await, Authority::new("public"));
        World {
            resolver: stub.resolver(),
            stub,
            identity: Identity::of(trusting(&public)),
            public,
            room: Places::new(1, 1),
            bidirectional: true,
        }
    }

    /// What is found out of who shows this certificate.
    async fn judge(&self, remote: &str, leaf: &Der) -> (Result<Proof, Flaw>, bool) {
        let rule = Rule {
            posh: false,
            ..Rule::default()
        };
        let judge = Judge {
            identity: &self.identity,
            resolver: &self.resolver,
            rule: &rule,
            room: &self.room,
            bidirectional: self.bidirectional,
        };
        let mut trace = Trace::default();
        let judged = judge.judge(remote, from_ref(leaf), NOW, &mut trace).await;
        let judged = judged.expect("there is room");
        (judged.verdict.proof, !judged.is_one_way)
    }
}

/// The data of a record that is of this key.
fn hash(certificate: &Der) -> Vec<u8> {
    digest(&SHA256, &key(certificate)).as_ref().to_vec()
}

const IN: (Result<Proof, Flaw>, bool) = (Ok(Proof::Certificate), false);
const BOTH: (Result<Proof, Flaw>, bool) = (Ok(Proof::Certificate), true);

/// Whoever has a certificate from an authority by error or fraud is refused where the DNS names another (RFC 7673 section
/// 3.4). He does not get by the other way round either what he would not get there.
#[tokio::test]
async fn who_is_not_as_the_dns_says_is_not_sent_to() {
    let public = Authority::new("another");
    let records: [(&str, Vec<u8>); 3] = [
        ("_5269._tcp.a.host.signed.", vec![7; 32]),
        ("_5269._tcp.b.host.signed.", vec![8; 32]),
        ("_5269._tcp.a.host.plain.", vec![7; 32]),
    ];
    for count in 0..=records.len() {
        let mut zone = zone();
        for (owner, data) in &records[..count] {
            zone.tlsa(owner, data);
        }
        let world = World::new(zone).await;
        let leaf = |domain: &str| world.public.leaf(&[domain], plain);
        let expected = if count == 0 { BOTH } else { IN };
        assert_eq!(world.judge("example.signed", &leaf("example.signed")).await, expected);
        // What is not secured counts for nothing.
        assert_eq!(world.judge("example.plain", &leaf("example.plain")).await, BOTH);
        // Who is nobody is not asked about in vain.
        let stranger = public.leaf(&["example.signed"], plain);
        let (proof, may_be_sent_to) = world.judge("example.signed", &stranger).await;
        assert!(proof.is_err() && !may_be_sent_to);
    }
}

#[tokio::test]
async fn who_is_as_the_dns_says() {
    let public = Authority::new("another");
    let own = public.leaf(&["example.signed"], plain);
    let mut zone = zone();
    zone.tlsa("_5269._tcp.b.host.signed.", &hash(&own));
    let world = World::new(zone).await;
    assert_eq!(world.judge("example.signed", &own).await, (Ok(Proof::Dane), true));
    let other = world.public.leaf(&["example.signed"], plain);
    assert_eq!(world.judge("example.signed", &other).await, IN);
    // Records of no use are none.
    let mut zone = self::zone();
    zone.tlsa("_5269._tcp.a.host.signed.", b"too short");
    let world = World::new(zone).await;
    let other = world.public.leaf(&["example.signed"], plain);
    assert_eq!(world.judge("example.signed", &other).await, BOTH);
}

/// A secure SRV record makes the name of its host as good as that of the domain (RFC 7673 section 4.1): each of them.
#[tokio::test]
async fn the_names_of_all_secure_hosts_count() {
    let world = World::new(zone()).await;
    for host in ["a", "b"] {
        let leaf = world.public.leaf(&[&format!("{host}.host.signed")], plain);
        assert_eq!(world.judge("example.signed", &leaf).await, BOTH, "{host}");
        let leaf = world.public.leaf(&[&format!("{host}.host.plain")], plain);
        assert_eq!(
            world.judge("example.plain", &leaf).await,
            (Err(Flaw::OtherName), false),
            "{host}"
        );
    }
}

#[tokio::test]
async fn what_is_not_known_is_not_taken_for_nothing() {
    let mut world = World::new(zone()).await;
    let leaf = world.public.leaf(&["example.signed"], plain);
    // Whoever shows enough is not waited for, nor kept out by those who do not.
    world.room = Places::new(0, 1);
    assert_eq!(world.judge("example.signed", &leaf).await, IN);
    world.room = Places::new(1, 1);
    world.stub.set(Way::Fails);
    assert_eq!(world.judge("example.signed", &leaf).await, IN);
    world.stub.set(Way::Good);
    assert_eq!(world.judge("example.signed", &leaf).await, BOTH);
}

/// Nobody is asked where nothing depends on it.
#[tokio::test]
async fn where_streams_go_one_way() {
    let mut world = World::new(zone()).await;
    world.bidirectional = false;
    let leaf = world.public.leaf(&["example.signed"], plain);
    assert_eq!(world.judge("example.signed", &leaf).await, IN);
    assert_eq!(
        world.stub.asked("_xmpp-server._tcp.example.signed.", RecordType::SRV),
        0
    );
}
