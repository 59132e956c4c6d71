//! `jackdaw doctor`: what it finds right and wrong with a real server, a DNS and an authority.

use serde_json::Value;
use testkit::{Federation, Record, Server};

use super::HERE;

/// What was found, and whether it has failed.
fn examine(server: &Server, arguments: &[&str]) -> (bool, Vec<Value>) {
    let arguments = [&["doctor", "--json"], arguments].concat();
    told(server, &arguments)
}

fn told(server: &Server, arguments: &[&str]) -> (bool, Vec<Value>) {
    let output = server.jackdaw(arguments, "");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let checks = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text} {errors}"));
    (!output.status.success(), checks)
}

/// Group and subject of those with a result, without those that depend on the machine.
fn with(checks: &[Value], result: &str) -> Vec<String> {
    let text = |check: &Value, key: &str| check[key].as_str().expect("text").to_owned();
    let of_servers = checks
        .iter()
        .filter(|check| !["clock", "resolver"].contains(&check["check"].as_str().expect("text")));
    let chosen = of_servers.filter(|check| check["result"] == result);
    chosen
        .map(|check| format!("{} {}", text(check, "check"), text(check, "of")))
        .collect()
}

fn advice(checks: &[Value], of: &str) -> String {
    let check = checks
        .iter()
        .find(|check| check["of"] == of && check["result"] != "good");
    let check = check.unwrap_or_else(|| panic!("nothing is said of {of}: {checks:#?}"));
    check["advice"].as_str().unwrap_or_default().to_owned()
}

/// Everything is there but what no test can have: a web server at port 443. The certificate lacks the rooms.
#[tokio::test]
async fn the_set_up_of_this_server() {
    let federation = Federation::new();
    let names = [HERE, "pubsub.example.org", "upload.example.org"];
    let certified = federation.authority.certify(&names);
    let server = federation.server(HERE).shows(&certified).start();
    let (dns, host) = (&federation.dns, "xmpp.example.org");
    dns.set(HERE, &[Record::A(server.address())]);
    dns.set("_xmpp-client._tcp.example.org", &[Record::srv(5, 5222, host)]);
    dns.set("_xmpps-client._tcp.example.org", &[Record::srv(5, 5223, host)]);

    let (has_failed, checks) = examine(&server, &[]);
    assert!(has_failed);
    let room = "conference.example.org at xmpp.conference.example.org:5269";
    assert_eq!(with(&checks, "wrong"), [format!("certificate {room}")], "{checks:#?}");
    assert!(advice(&checks, room).contains("conference.example.org"));
    let good = with(&checks, "good");
    for expected in [
        "dns _xmpp-client._tcp.example.org",
        "dns _xmpps-client._tcp.example.org",
        "dns _xmpp-server._tcp.example.org",
        "dns _xmpp-server._tcp.conference.example.org",
        "port example.org at xmpp.example.org:5222",
        "port example.org at xmpp.example.org:5223",
        "port example.org at xmpp.example.org:5269",
        "certificate example.org at xmpp.example.org:5222",
        "certificate example.org at xmpp.example.org:5269",
        "certificate pubsub.example.org at xmpp.pubsub.example.org:5269",
        "upload https://example.org:5443/files/",
    ] {
        assert!(good.iter().any(|line| line == expected), "{expected}: {checks:#?}");
    }
    assert!(
        advice(&checks, "_xmpps-server._tcp.example.org")
            .contains("_xmpps-server._tcp.example.org. 3600 IN SRV 5 1 5270 HOST.")
    );

    // Nothing leads to the rooms, and what leads to clients leads to nobody.
    dns.remove("_xmpp-server._tcp.conference.example.org");
    dns.set("_xmpp-client._tcp.example.org", &[Record::srv(5, 5999, host)]);
    dns.set(
        "_xmpps-client._tcp.example.org",
        &[Record::srv(5, 5223, "nowhere.example.org")],
    );
    let (has_failed, checks) = examine(&server, &[HERE]);
    assert!(has_failed);
    assert_eq!(
        with(&checks, "wrong"),
        [
            "dns _xmpps-client._tcp.example.org",
            "port example.org at xmpp.example.org:5999",
            "dns _xmpp-server._tcp.conference.example.org",
        ],
        "{checks:#?}"
    );
    assert!(advice(&checks, "_xmpp-server._tcp.conference.example.org").contains("IN SRV 5 1 5269 HOST."));
}

/// As another server would see it: the same file, with another domain.
#[tokio::test]
async fn the_domain_of_another_server() {
    let federation = Federation::new();
    let server = federation.server(HERE).start();
    let other = ["--domain", "other.example", "doctor", "--json", HERE];
    let (has_failed, checks) = told(&server, &other);
    assert!(!has_failed, "{checks:#?}");
    let place = "example.org at xmpp.example.org:5269 (STARTTLS)";
    for group in ["port", "stream", "certificate"] {
        assert!(
            with(&checks, "good").contains(&format!("{group} {place}")),
            "{checks:#?}"
        );
    }

    federation.dns.set(
        "_xmpp-server._tcp.example.org",
        &[Record::srv(5, 5999, "xmpp.example.org")],
    );
    let (has_failed, checks) = told(&server, &other);
    assert!(has_failed);
    assert_eq!(with(&checks, "wrong"), ["result example.org"], "{checks:#?}");

    federation
        .dns
        .set("_xmpp-server._tcp.example.org", &[Record::srv(0, 0, ".")]);
    let (has_failed, checks) = told(&server, &other);
    assert!(has_failed);
    assert_eq!(
        with(&checks, "wrong").last().map(String::as_str),
        Some("dns example.org"),
        "{checks:#?}"
    );
}

/// Push services that devices are announced to, as the running server knows them.
#[tokio::test]
async fn push_services() {
    let federation = Federation::new();
    let _push = federation.server("push.example").start();
    let server = federation.server(HERE).users(1).start();
    let mut user = super::online(&server).await;
    let own = user.jid.split('/').next().expect("an address").to_owned();
    for (service, node) in [
        ("push.example", "1"),
        ("push.example", "2"),
        ("app.nowhere.example", "1"),
    ] {
        let enable = format!("<enable xmlns='urn:xmpp:push:0' jid='{service}' node='{node}'/>");
        let answer = user.iq("set", &own, &enable).await;
        assert_eq!(answer.attr("type"), Some("result"), "{answer:?}");
    }
    let (_, checks) = examine(&server, &[]);
    let push = checks.iter().filter(|check| check["check"] == "push");
    let push: Vec<_> = push
        .map(|check| (check["of"].as_str(), check["result"].as_str(), check["what"].as_str()))
        .collect();
    assert_eq!(
        push,
        [
            (
                Some("push.example"),
                Some("good"),
                Some("can be reached; devices that are announced to there: 2")
            ),
            (
                Some("app.nowhere.example"),
                Some("note"),
                Some("cannot be reached; devices that are announced to there: 1")
            ),
        ],
        "{checks:#?}"
    );
}
