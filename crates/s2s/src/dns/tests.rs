use hickory_resolver::proto::rr::RecordType;

use super::*;
use crate::stub::{Stub, Way, Zone};

fn zone() -> Zone {
    let mut zone = Zone::new();
    zone.srv("_xmpp-server._tcp.signed.", 5, 5269, "xmpp.signed.")
        .address("xmpp.signed.", "192.0.2.1")
        .address("xmpp.signed.", "2001:db8::1")
        .tlsa("_5269._tcp.xmpp.signed.", &[7; 32])
        .alias("_xmpp-server._tcp.hosted.", "_xmpp-server._tcp.signed.")
        .alias("elsewhere.signed.", "host.plain.")
        .srv("_xmpp-server._tcp.none.", 0, 0, ".")
        .srv("_xmpp-server._tcp.plain.", 5, 5269, "Host.plain.")
        .address("host.plain.", "192.0.2.2");
    zone
}

fn srv(target: &str) -> Srv {
    Srv {
        priority: 5,
        weight: 1,
        port: 5269,
        target: target.to_owned(),
    }
}

fn answer<T>(records: impl IntoIterator<Item = T>, is_secure: bool) -> Result<Answer<T>, NoAnswer> {
    Ok(Answer {
        records: records.into_iter().collect(),
        is_secure,
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[tokio::test]
async fn what_is_signed_is_secure_and_what_is_provably_not_is_insecure() {
    let stub = Stub::new(zone()).await;
    let resolver = stub.resolver();
    assert_eq!(
        resolver.srv("_xmpp-server._tcp.signed").await,
        answer([srv("xmpp.signed")], true)
    );
    assert_eq!(resolver.ipv4("xmpp.signed").await, answer([address("192.0.2.1")], true));
    assert_eq!(
        resolver.ipv6("xmpp.signed").await,
        answer([address("2001:db8::1")], true)
    );
    let tlsa = resolver.tlsa("xmpp.signed", 5269).await.expect("a record");
    assert!(tlsa.is_secure);
    assert_eq!(
        tlsa.records,
        [Tlsa {
            usage: 3,
            selector: 1,
            matching: 1,
            data: vec![7; 32]
        }]
    );
    assert_eq!(
        resolver.srv("_xmpp-server._tcp.plain").await,
        answer([srv("host.plain")], false)
    );
    assert_eq!(resolver.ipv4("host.plain").await, answer([address("192.0.2.2")], false));
    assert_eq!(resolver.passes_dnssec().await, Some(true));
}

#[tokio::test]
async fn what_there_is_not() {
    let stub = Stub::new(zone()).await;
    let resolver = stub.resolver();
    assert_eq!(resolver.srv("_xmpps-server._tcp.signed").await, Err(NoAnswer::NoName));
    assert_eq!(resolver.ipv4("nowhere").await, Err(NoAnswer::NoName));
    assert_eq!(resolver.srv("xmpp.signed").await, Err(NoAnswer::NoData));
    assert_eq!(resolver.ipv6("host.plain").await, Err(NoAnswer::NoData));
    assert_eq!(resolver.ipv6("other.plain").await, Err(NoAnswer::NoName));
    assert_eq!(resolver.tlsa("xmpp.signed", 443).await, Err(NoAnswer::NoName));
    // No letters of the DNS.
    assert_eq!(resolver.ipv4("a..b").await, Err(NoAnswer::NoName));
    let none = resolver.srv("_xmpp-server._tcp.none").await.expect("a record");
    assert_eq!(none.records[0].target, "");
}

/// A chain is as secure as its weakest member.
#[tokio::test]
async fn aliases_are_followed() {
    let stub = Stub::new(zone()).await;
    let resolver = stub.resolver();
    assert_eq!(
        resolver.srv("_xmpp-server._tcp.hosted").await,
        answer([srv("xmpp.signed")], true)
    );
    assert_eq!(
        resolver.ipv4("elsewhere.signed").await,
        answer([address("192.0.2.2")], false)
    );
}

#[tokio::test]
async fn an_answer_is_kept_and_so_is_that_there_is_none() {
    let stub = Stub::new(zone()).await;
    let resolver = stub.resolver();
    for _ in 0..3 {
        resolver.ipv4("xmpp.signed").await.expect("an address");
        resolver.ipv4("nowhere").await.expect_err("no address");
    }
    assert_eq!(stub.asked("xmpp.signed", RecordType::A), 1);
    assert_eq!(stub.asked("nowhere", RecordType::A), 1);
}

#[tokio::test]
async fn a_falsified_answer_is_none() {
    let stub = Stub::new(zone()).await;
    stub.set(Way::Falsifies);
    let resolver = stub.resolver();
    assert_eq!(resolver.ipv4("xmpp.signed").await, Err(NoAnswer::Bogus));
    assert_eq!(resolver.srv("_xmpp-server._tcp.signed").await, Err(NoAnswer::Bogus));
    assert_eq!(resolver.srv("_xmpp-server._tcp.hosted").await, Err(NoAnswer::Bogus));
    // Nobody has promised anything about this one.
    assert_eq!(
        resolver.ipv4("host.plain").await,
        answer([address("203.0.113.66")], false)
    );
    stub.set(Way::Good);
    assert_eq!(resolver.ipv4("xmpp.signed").await, answer([address("192.0.2.1")], true));
}

/// Only what is about the name that was asked for counts.
#[tokio::test]
async fn an_answer_with_more_than_was_asked_for() {
    let stub = Stub::new(zone()).await;
    stub.set(Way::Adds);
    let tlsa = stub.resolver().tlsa("xmpp.signed", 5269).await.expect("a record");
    assert!(tlsa.is_secure);
    let data: Vec<&[u8]> = tlsa.records.iter().map(|record| &*record.data).collect();
    assert_eq!(data, [[7; 32]]);
}

/// Then nothing is secure, and everything works.
#[tokio::test]
async fn a_resolver_that_strips_signatures() {
    let stub = Stub::new(zone()).await;
    stub.set(Way::Strips);
    let resolver = stub.resolver();
    assert_eq!(
        resolver.ipv4("xmpp.signed").await,
        answer([address("192.0.2.1")], false)
    );
    assert_eq!(resolver.passes_dnssec().await, Some(false));
    assert_eq!(
        resolver.srv("_xmpp-server._tcp.hosted").await,
        answer([srv("xmpp.signed")], false)
    );
    assert_eq!(resolver.srv("_xmpps-server._tcp.signed").await, Err(NoAnswer::NoName));
    assert!(!resolver.tlsa("xmpp.signed", 5269).await.expect("a record").is_secure);
}

#[tokio::test]
async fn nothing_is_checked_where_nobody_wants_it() {
    let stub = Stub::new(zone()).await;
    stub.set(Way::Falsifies);
    let settings = Settings {
        ignores_dnssec: true,
        ..stub.settings()
    };
    let resolver = Resolver::new(&settings).expect("a resolver");
    assert_eq!(
        resolver.ipv4("xmpp.signed").await,
        answer([address("203.0.113.66")], false)
    );
    assert_eq!(resolver.passes_dnssec().await, None);
}

#[tokio::test]
async fn a_resolver_that_fails() {
    let stub = Stub::new(zone()).await;
    stub.set(Way::Fails);
    let answer = stub.resolver().ipv4("xmpp.signed").await;
    assert!(matches!(answer, Err(NoAnswer::Failed(_))), "{answer:?}");
}

#[tokio::test]
async fn a_resolver_that_says_nothing() {
    let stub = Stub::new(zone()).await;
    stub.set(Way::Silent);
    let mut resolver = stub.resolver();
    resolver.times = Times::new(Duration::from_millis(200));
    assert_eq!(resolver.ipv4("xmpp.signed").await, Err(NoAnswer::Timeout));
}

/// Outside of the zone of the anchor nothing can be told, and nothing is refused.
#[tokio::test]
async fn anchors_of_one_zone() {
    let stub = Stub::new(zone()).await;
    let settings = stub.settings();
    let path = settings.trust_anchor.clone().expect("a path");
    let text = std::fs::read_to_string(&path).expect("a file");
    std::fs::write(&path, text.replace("\n. ", "\nother. ")).expect("a file");
    let resolver = Resolver::new(&settings).expect("a resolver");
    assert_eq!(
        resolver.ipv4("xmpp.signed").await,
        answer([address("192.0.2.1")], false)
    );
}

#[test]
fn files_of_anchors() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("root.key");
    let refused = |text: &str, why: &str| {
        std::fs::write(&path, text).expect("a file");
        let error = read_anchors(&path).err().expect("an error").to_string();
        assert!(error.contains(why) && error.contains("root.key"), "{error}");
    };
    refused("", "no DNSKEY record");
    refused("; nothing\n", "no DNSKEY record");
    refused(". 300 IN DS 20326 8 2 E06D44B8", "not DNSKEY records");
    refused(&" ".repeat(70_000), "too large");
    let missing = read_anchors(&directory.path().join("none")).err().expect("an error");
    assert!(missing.to_string().contains("none"), "{missing}");
}
