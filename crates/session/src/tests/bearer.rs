//! OAUTHBEARER (RFC 7628) in both profiles: who is asked, whom it lets in, and what is counted as a guess.

use auth::{BearerHint, Policy, Verdict};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stanza::ns;

use super::world::*;
use crate::TlsPolicy;

const DISCOVERY: &str = "https://id.example.org/.well-known/openid-configuration";

fn world() -> World {
    let mut world = World::new();
    let policy = Policy {
        bearer: Some(BearerHint {
            scope: Some("chat".to_owned()),
            openid_configuration: Some(DISCOVERY.to_owned()),
        }),
        ..Policy::default()
    };
    world.config.policies.insert("example.org".to_owned(), policy);
    world
}

fn bearer(authzid: &str, token: &str) -> String {
    let gs2 = if authzid.is_empty() {
        "n,,".to_owned()
    } else {
        format!("n,a={authzid},")
    };
    auth_element(
        "OAUTHBEARER",
        format!("{gs2}\x01auth=Bearer {token}\x01\x01").as_bytes(),
    )
}

fn error(status: &str) -> String {
    let json = format!("{{\"status\":\"{status}\",\"scope\":\"chat\",\"openid-configuration\":\"{DISCOVERY}\"}}");
    format!("<challenge xmlns='{NS_SASL}'>{}</challenge>", STANDARD.encode(json))
}

fn dummy() -> String {
    format!("<response xmlns='{NS_SASL}'>AQ==</response>")
}

fn granted(user: &str) -> Verdict {
    Verdict::Granted { user: user.to_owned() }
}

/// The exchange with this authorization identity and this verdict.
fn attempt(authzid: &str, verdict: Verdict) -> (String, Peer) {
    let mut peer = world().opened();
    peer.shell.verdicts.push_back(verdict);
    peer.send(bearer(authzid, "abc"));
    (peer.said(), peer)
}

#[test]
fn a_good_token_lets_in() {
    for (authzid, user) in [
        ("", "juliet"),
        ("", "JULIET"),
        ("juliet@example.org", "juliet"),
        ("Juliet@EXAMPLE.org", "juliet"),
    ] {
        let (said, mut peer) = attempt(authzid, granted(user));
        assert_eq!(said, format!("<success xmlns='{NS_SASL}'/>"), "{authzid} {user}");
        let wanted = (!authzid.is_empty()).then(|| "juliet".to_owned());
        assert_eq!(peer.shell.asked, [("example.org".to_owned(), "abc".to_owned(), wanted)]);
        assert_eq!(peer.shell.looked_up, ["juliet@example.org"]);
        peer.send(OPEN);
        peer.said();
        peer.send(bind("b", "garden"));
        assert_eq!(peer.said(), bound("b", "juliet@example.org/garden"));
        assert!(peer.shell.failed.is_empty());
    }
}

#[test]
fn the_error_and_then_the_failure() {
    for (verdict, status) in [
        (Verdict::Refused, "invalid_token"),
        (Verdict::Expired, "invalid_token"),
        (Verdict::WrongScope, "insufficient_scope"),
        // No account: nothing is told of that.
        (granted("nobody"), "invalid_token"),
        (granted("not a name"), "invalid_token"),
    ] {
        let (said, mut peer) = attempt("", verdict.clone());
        assert_eq!(said, error(status), "{verdict:?}");
        assert_eq!(
            peer.shell.failed.len(),
            1,
            "{verdict:?}: counted before the failure is fetched"
        );
        peer.send(dummy());
        assert_eq!(peer.said(), failure("not-authorized"), "{verdict:?}");
        assert_eq!(peer.shell.failed.len(), 1, "{verdict:?}: and once");
        // The same stream may try something else.
        peer.send(plain("", "juliet", "secret"));
        assert_eq!(peer.said(), format!("<success xmlns='{NS_SASL}'/>"));
    }
}

#[test]
fn what_fails_without_an_error() {
    for (authzid, verdict, condition, counted) in [
        ("romeo@example.org", granted("juliet"), "invalid-authzid", 1),
        ("", granted("nurse"), "account-disabled", 1),
        ("", granted("broken"), "temporary-auth-failure", 0),
        ("", Verdict::Unavailable, "temporary-auth-failure", 0),
        ("", Verdict::WrongIdentity, "invalid-authzid", 1),
    ] {
        let (said, peer) = attempt(authzid, verdict);
        assert_eq!(said, failure(condition), "{authzid}");
        assert_eq!(peer.shell.failed.len(), counted, "{authzid} {condition}");
    }
}

/// Who shows somebody else's token for an account has no account made or read for it.
#[test]
fn an_identity_that_nobody_can_have_asks_nobody() {
    for authzid in ["juliet@elsewhere.org", "juliet", "@example.org"] {
        let (said, peer) = attempt(authzid, granted("juliet"));
        assert_eq!(said, failure("invalid-authzid"), "{authzid}");
        assert!(
            peer.shell.asked.is_empty() && peer.shell.looked_up.is_empty(),
            "{authzid}"
        );
    }
    let (_, peer) = attempt("romeo@example.org", granted("juliet"));
    assert!(peer.shell.looked_up.is_empty());
}

/// Section 4.3: a client without a token asks where to get one. That is no guess.
#[test]
fn discovery_is_not_counted() {
    let mut world = world();
    // So many are begun here.
    world.config.login_attempts = 4;
    let mut peer = world.opened();
    peer.send(auth_element("OAUTHBEARER", b"n,,\x01auth=\x01\x01"));
    assert_eq!(peer.said(), error("invalid_token"));
    peer.send(dummy());
    assert_eq!(peer.said(), failure("not-authorized"));
    assert!(peer.shell.failed.is_empty());
    // The next attempt is counted again.
    peer.shell.verdicts.push_back(Verdict::Refused);
    peer.send(bearer("", "abc"));
    peer.said();
    assert_eq!(peer.shell.failed, [None]);
    // As is one that does not wait for its failure.
    peer.shell.verdicts.push_back(Verdict::Refused);
    peer.send(bearer("juliet@example.org", "abc"));
    peer.said();
    assert_eq!(peer.shell.failed, [None, Some("juliet@example.org".to_owned())]);
    peer.send(plain("", "juliet", "wrong"));
    assert_eq!(peer.said(), failure("not-authorized"));
    assert_eq!(peer.shell.failed.len(), 3, "and a password after it");
}

#[test]
fn who_guesses_too_often_is_not_asked_about() {
    let mut peer = world().opened();
    peer.shell.refuses_account = true;
    peer.send(bearer("juliet@example.org", "abc"));
    assert_eq!(peer.said(), failure("temporary-auth-failure"));
    peer.shell.refuses = true;
    peer.send(bearer("", "abc"));
    assert_eq!(peer.said(), failure("temporary-auth-failure"));
    assert!(peer.shell.asked.is_empty());
}

#[test]
fn it_is_offered_only_under_tls_and_where_it_is_configured() {
    let offers = |peer: &mut Peer, to: &str| {
        peer.send(OPEN.replace("example.org", to));
        peer.said().matches("<mechanism>OAUTHBEARER</mechanism>").count()
    };
    let world = world().with_tls(TlsPolicy::Optional);
    assert_eq!(offers(&mut world.connect(true), "example.org"), 2, "in both profiles");
    assert_eq!(offers(&mut world.connect(true), "second.example"), 0);
    let mut clear = world.connect(false);
    assert_eq!(offers(&mut clear, "example.org"), 0);
    clear.send(bearer("", "abc"));
    assert_eq!(clear.said(), failure("invalid-mechanism"));
    assert!(clear.shell.asked.is_empty());
}

#[test]
fn by_sasl2() {
    let message = STANDARD.encode("n,,\x01auth=Bearer abc\x01\x01");
    let authenticate = format!(
        "<authenticate xmlns='{0}' mechanism='OAUTHBEARER'><initial-response>{message}</initial-response></authenticate>",
        ns::SASL2
    );
    let mut peer = world().opened();
    peer.shell.verdicts.extend([Verdict::Expired, granted("juliet")]);
    peer.send(&authenticate);
    assert_eq!(peer.said(), error("invalid_token").replace(NS_SASL, ns::SASL2));
    peer.send(format!("<response xmlns='{}'>AQ==</response>", ns::SASL2));
    assert!(peer.said().contains("<not-authorized"));
    peer.send(&authenticate);
    let said = peer.said();
    let jid = "<authorization-identifier>juliet@example.org</authorization-identifier>";
    assert!(
        said.starts_with(&format!("<success xmlns='{}'>{jid}", ns::SASL2)),
        "{said}"
    );
}
