//! STARTTLS (RFC 6120 section 5; row 17 of the faults, row 10 of the attacks).

use super::world::*;
use crate::{Next, TlsPolicy};

fn starttls() -> String {
    format!("<starttls xmlns='{NS_TLS}'/>")
}

fn proceed() -> String {
    format!("<proceed xmlns='{NS_TLS}'/>")
}

fn refusal() -> String {
    format!("<failure xmlns='{NS_TLS}'/>{CLOSE}")
}

#[test]
fn nothing_behind_it_is_processed() {
    for behind in [
        "",
        " ",
        "<",
        &plain("", "juliet", "secret"),
        &starttls(),
        OPEN,
        CLOSE,
        "<!--",
        "\0",
    ] {
        let mut peer = World::new().connect(false);
        peer.send(OPEN);
        peer.said();
        peer.send(starttls() + behind);
        assert_eq!(peer.said(), proceed(), "before {behind:?}");
        // And if it is given to the stream all the same, nothing happens.
        let progress = peer.with(|core, cx| core.handle_bytes(behind.as_bytes(), cx));
        assert_eq!((progress.consumed, progress.next), (0, Next::Wait), "before {behind:?}");
        assert_eq!(peer.said(), "");
        assert!(peer.shell.looked_up.is_empty());
        peer.secure();
        peer.send(OPEN);
        assert!(peer.said().starts_with(&header(2, "")), "a new stream with a new id");
        peer.send(plain("", "juliet", "secret"));
        assert_eq!(peer.said(), format!("<success xmlns='{NS_SASL}'/>"));
    }
}

#[test]
fn it_is_refused_where_it_was_not_offered() {
    let check = |mut peer: Peer| {
        peer.said();
        peer.send(starttls());
        peer.expect_end(&refusal());
    };
    check(World::new().opened());
    check(World::new().authenticated("juliet"));
    let mut off = World::new().with_tls(TlsPolicy::Off).connect(false);
    off.send(OPEN);
    check(off);
    // Between the login and the new stream a header is due.
    let mut peer = World::new().opened();
    peer.send(plain("", "juliet", "secret"));
    peer.said();
    peer.send(starttls());
    peer.expect_end(&(header(3, "") + &error("not-well-formed")));
    // And to a session it is no stanza.
    let mut peer = World::new().bound("juliet", "balcony");
    peer.send(starttls());
    peer.expect_end(&error("unsupported-stanza-type"));
}

/// Section 5.4.3.3, rule 2: what was said in the clear is forgotten.
#[test]
fn what_was_said_in_the_clear_is_forgotten() {
    let mut peer = World::new().with_tls(TlsPolicy::Optional).connect(false);
    peer.send(OPEN.replace(" to=", " from='romeo@example.org' xml:lang='it' to="));
    assert!(peer.said().starts_with(&header(1, "romeo@example.org")));
    // A login that was under way.
    peer.send(auth_element("SCRAM-SHA-1", b"n,,n=juliet,r=abcdefgh"));
    assert!(peer.said().starts_with("<challenge "));
    peer.send(starttls());
    assert_eq!(peer.said(), proceed());
    peer.secure();
    peer.send(OPEN);
    assert!(peer.said().starts_with(&header(3, "")), "no address is left");
    // Well-formed, so that an attempt that had survived would fail otherwise: c=biws,r=x,p=AAAA
    peer.send(format!(
        "<response xmlns='{NS_SASL}'>Yz1iaXdzLHI9eCxwPUFBQUE=</response>"
    ));
    assert_eq!(peer.said(), failure("malformed-request"));
    peer.send(plain("", "juliet", "secret"));
    peer.send(OPEN);
    peer.send(bind("b", "r"));
    peer.said();
    peer.send("<message to='juliet@example.org/r'/>");
    assert_eq!(
        peer.said(),
        "<message from='juliet@example.org/r' to='juliet@example.org/r'/>",
        "no language is left"
    );
}

/// The deadline of a stream that waits for its handshake.
#[test]
fn nothing_is_awaited_for_ever() {
    let mut peer = World::new().connect(false);
    peer.send(OPEN);
    peer.send(starttls());
    peer.said();
    peer.time_out();
    assert_eq!(peer.next, Next::Close);
    assert!(!peer.core.is_negotiating());
}
