//! Servers that connect to us: who is let in, and as whom.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use testkit::{Authority, Certified, Client, Item, NS_SERVER, NS_STREAM, Offers, server_header};

use super::{HERE, THERE, World, expect_message, friend, message, text_of};
use crate::support::{chat, error_of};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

fn is_external_offered(link: &Client) -> bool {
    let features = link
        .features
        .as_ref()
        .and_then(|features| features.get_child("mechanisms", SASL));
    features.is_some_and(|list| list.children().any(|mechanism| mechanism.text() == "EXTERNAL"))
}

#[tokio::test]
async fn a_stream_by_certificate() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    let mut link = world.remote.connect(&world.server, HERE).await;
    let features = link.open_as_server().await;
    // RFC 6120 section 5.3.1: TLS first, and nothing else.
    assert!(features.matches(&format!(
        "<stream:features><starttls xmlns='{TLS}'><required/></starttls></stream:features>"
    )));
    assert!(!features.has_child("mechanisms", SASL), "{features:?}");
    assert_eq!(
        (link.header.attr("from"), link.header.attr("to")),
        (Some(HERE), Some(THERE))
    );
    let first = link.header.attr("id").map(str::to_owned);
    let mut link = world.remote.opened(&world.server, HERE).await;
    assert_ne!(link.header.attr("id").map(str::to_owned), first);
    assert!(is_external_offered(&link), "{:?}", link.features);
    link.external("=").await;
    let jid = user.jid.clone();
    link.send(message(&format!("friend@{THERE}/x"), &jid, "hello")).await;
    user.expect(&format!(
        "<message from='friend@{THERE}/x' to='{jid}' type='chat'><body>hello</body></message>"
    ))
    .await;
    link.close().await;
    // XEP-0368: TLS at once. And the domain said by SASL itself (XEP-0178 section 3).
    let mut link = world.remote.connect_direct(&world.server, HERE).await;
    assert_eq!(link.alpn(), Some("xmpp-server"));
    link.open_as_server().await;
    link.external(&STANDARD.encode(THERE)).await;
    link.send(message(&format!("friend@{THERE}/x"), &jid, "again")).await;
    user.expect("<message type='chat'><body>again</body></message>").await;
    link.close().await;
}

/// A port for everybody knows a server by ALPN (XEP-0368), and asks it for a certificate.
#[tokio::test]
async fn on_a_port_for_everybody() {
    const PORT: u16 = 7443;
    let world = World::with(1, |builder| builder.listener("multiplex", PORT, "")).await;
    let mut user = world.user().await;
    let jid = user.jid.clone();
    let mut link = world.remote.connect_direct_at(&world.server, HERE, PORT).await;
    assert_eq!(link.alpn(), Some("xmpp-server"));
    link.open_as_server().await;
    assert!(is_external_offered(&link), "{:?}", link.features);
    link.external("=").await;
    link.send(message(&format!("friend@{THERE}/x"), &jid, "hello")).await;
    user.expect("<message type='chat'><body>hello</body></message>").await;
    link.close().await;
}

/// The answer to what has come goes over a stream of our own, unless the other side wants both directions on one
/// (XEP-0288).
#[tokio::test]
async fn both_directions() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    let jid = user.jid.clone();
    let link = world.remote.opened(&world.server, HERE).await;
    assert!(link.is_offered("bidi", "urn:xmpp:features:bidi"), "{:?}", link.features);
    let mut link = {
        link.close().await;
        world.bidi().await
    };
    link.ping().await;
    link.send(message(&friend(), &jid, "1")).await;
    user.expect("<message type='chat'><body>1</body></message>").await;
    user.send(chat(&friend(), "2")).await;
    expect_message(&mut link, "2").await;
    // Nobody was called.
    assert!(
        world
            .remote
            .accept_within(std::time::Duration::from_millis(50))
            .await
            .is_none()
    );
    link.close().await;
    let mut link = world.remote.authenticated(&world.server, HERE).await;
    link.send(format!(
        "<iq type='get' id='1' from='{THERE}' to='{HERE}'><ping xmlns='urn:xmpp:ping'/></iq>"
    ))
    .await;
    let mut back = world.remote.received(Offers::default()).await;
    // Behind what the other stream has not acknowledged.
    back.wait(&format!("<iq type='result' id='1' from='{HERE}' to='{THERE}'/>"))
        .await;
}

/// Row 53, and row 22 of the attacks: whoever cannot show that it is the domain speaks for nobody.
#[tokio::test]
async fn certificates_that_are_not_enough() {
    let mut world = World::new(1).await;
    let mut user = world.user().await;
    let foreign = Authority::new("Nobody knows it");
    let authority = &world.federation.authority;
    let bad = [
        ("self-signed", Certified::self_signed(&[THERE])),
        ("of nobody known", foreign.certify(&[THERE])),
        ("over", authority.certify_expired(&[THERE])),
        ("of another", authority.certify(&["other.example"])),
        ("of one below", authority.certify(&["x.remote.example"])),
        ("of all below", authority.certify(&["*.remote.example"])),
        ("of one above", authority.certify(&["example"])),
        // Row 19 of the attacks: only names are looked at, and no subject.
        (
            "with the name elsewhere",
            authority.certify_with(&["other.example"], |params| {
                params.distinguished_name.push(rcgen::DnType::CommonName, THERE);
                params
                    .distinguished_name
                    .push(rcgen::DnType::OrganizationalUnitName, format!("CN={THERE},"));
            }),
        ),
    ];
    for (what, certified) in &bad {
        world.remote.shows(certified);
        let mut link = world.remote.opened(&world.server, HERE).await;
        assert!(!is_external_offered(&link), "{what}: {:?}", link.features);
        let failure = link.try_external("=").await;
        if failure.name() == "failure" {
            assert!(
                matches!(failure.condition(), Some("not-authorized" | "invalid-mechanism")),
                "{what}: {failure:?}"
            );
        } else {
            assert_eq!(failure.name(), "error", "{what}: {failure:?}");
        }
        // What it says all the same is said to nobody.
        let mut link = world.remote.opened(&world.server, HERE).await;
        link.send(message(&friend(), &user.jid, "forged")).await;
        link.expect_stream_error("not-authorized").await;
    }
    user.nothing_more().await;
    // Public authorities certify nobody as a client any more.
    world.remote.shows(&world.federation.authority.certify(&[THERE]));
    world.remote.authenticated(&world.server, HERE).await.close().await;
}

/// Row 53: nothing is said without TLS.
#[tokio::test]
async fn without_tls() {
    let world = World::new(1).await;
    for said in [
        message(&friend(), "u0@example.org", "forged"),
        format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>"),
        format!("<db:result from='{THERE}' to='{HERE}'>key</db:result>"),
        format!("<db:verify from='{THERE}' to='{HERE}' id='x'>key</db:verify>"),
        "<bidi xmlns='urn:xmpp:bidi'/>".to_owned(),
    ] {
        let mut link = world.remote.connect(&world.server, HERE).await;
        link.open_as_server().await;
        link.send(&said).await;
        let came = link.stanza().await;
        if said.starts_with("<db:") {
            // A question may be asked anywhere, and has an answer: here that it is not taken.
            assert_eq!(came.get("type"), "error", "{said}: {came:?}");
            assert!(came.raw().contains("policy-violation"), "{said}: {came:?}");
            continue;
        }
        assert_eq!(
            (came.name(), came.ns().as_str()),
            ("error", NS_STREAM),
            "{said}: {came:?}"
        );
        assert_eq!(came.condition(), Some("policy-violation"), "{said}: {came:?}");
        link.expect_end().await;
    }
    // Row 10 of the attacks: what was said in the clear is not taken for said under TLS.
    let mut link = world.remote.connect(&world.server, HERE).await;
    link.open_as_server().await;
    let header = server_header(THERE, HERE, "");
    link.send(format!("<starttls xmlns='{TLS}'/>{header}")).await;
    match link.item().await {
        Item::Stanza(stanza) if stanza.name() == "proceed" => {
            // Either it ends, or nothing of it is left.
            if link.start_tls().await.is_ok() {
                link.open_as_server().await;
            }
        }
        Item::Stanza(stanza) => assert!(matches!(stanza.name(), "error" | "failure"), "{stanza:?}"),
        Item::Close | Item::End { .. } => {}
        other => panic!("{other:?}"),
    }
}

/// Row 51, and row 24 of the attacks.
#[tokio::test]
async fn headers_that_are_refused() {
    let world = World::new(1).await;
    let clear = |header: String, condition: &'static str| (header, condition);
    for (header, condition) in [
        clear(server_header(THERE, "elsewhere.example", ""), "host-unknown"),
        clear(server_header(THERE, "u0@example.org", ""), "host-unknown"),
        clear(server_header(HERE, HERE, ""), "invalid-from"),
        clear(server_header("a@b@c", HERE, ""), "invalid-from"),
        clear(server_header("friend@remote.example", HERE, ""), "invalid-from"),
        clear(
            server_header(THERE, HERE, "").replace("'jabber:server'", "'jabber:client'"),
            "invalid-namespace",
        ),
    ] {
        let mut link = world.remote.connect(&world.server, HERE).await;
        link.send(&header).await;
        link.expect_stream_error(condition).await;
    }
    // The port of clients is none for servers.
    let mut client = Client::connect(&world.server, testkit::Transport::Starttls).await;
    let header = server_header(THERE, HERE, "").replace(" from='remote.example'", "");
    client.send(header).await;
    client.expect_stream_error("invalid-namespace").await;
    // A stream stays with its domains, whatever a later header says.
    for (from, to, condition) in [
        (THERE, "conference.example.org", "host-unknown"),
        (THERE, "elsewhere.example", "host-unknown"),
        ("other.example", HERE, "invalid-from"),
    ] {
        let mut link = world.remote.opened(&world.server, HERE).await;
        let success = link.try_external("=").await;
        assert_eq!(success.name(), "success");
        link.restart();
        link.send(server_header(from, to, "")).await;
        link.read_header().await;
        let error = link.stanza().await;
        assert_eq!(error.name(), "error", "{from} {to}: {error:?}");
        assert!(
            [
                Some(condition),
                Some("not-authorized"),
                Some("policy-violation"),
                Some("conflict")
            ]
            .contains(&error.condition()),
            "{from} {to}: {error:?}"
        );
    }
    // A login for somebody else than the header has named.
    for data in [
        STANDARD.encode("other.example"),
        STANDARD.encode(HERE),
        STANDARD.encode(friend()),
    ] {
        let mut link = world.remote.opened(&world.server, HERE).await;
        let failure = link.try_external(&data).await;
        assert_eq!(failure.name(), "failure", "{failure:?}");
        assert!(
            matches!(failure.condition(), Some("invalid-authzid" | "not-authorized")),
            "{failure:?}"
        );
    }
    let mut link = world.remote.opened(&world.server, HERE).await;
    let failure = link.try_external("!").await;
    assert_eq!(failure.condition(), Some("incorrect-encoding"), "{failure:?}");
}

/// Row 51 and row 23 of the attacks: a stream is for one pair of domains.
#[tokio::test]
async fn whom_it_may_speak_for() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    let to = user.jid.clone();
    let said = |from: &str, to: &str| message(from, to, "forged");
    for (stanza, condition) in [
        (said("friend@other.example", &to), "invalid-from"),
        (said("friend@remote.example.evil.example", &to), "invalid-from"),
        (said("friend@x.remote.example", &to), "invalid-from"),
        (said("remote.example@evil.example", &to), "invalid-from"),
        (said(&to, &to), "invalid-from"),
        (said(HERE, &to), "invalid-from"),
        (
            format!("<message to='{to}'><body>forged</body></message>"),
            "improper-addressing",
        ),
        (
            format!("<message from='{}'><body>forged</body></message>", friend()),
            "improper-addressing",
        ),
        (said("", &to), "improper-addressing"),
        (said(&friend(), ""), "improper-addressing"),
        (said(&friend(), "a@elsewhere.example"), "host-unknown"),
        // Of ours too, but it is no domain of this stream.
        (said(&friend(), "room@conference.example.org"), "host-unknown"),
        (
            format!("<presence from='friend@other.example' to='{to}'/>"),
            "invalid-from",
        ),
        (
            format!("<iq type='get' id='1' from='friend@other.example' to='{HERE}'><ping xmlns='urn:xmpp:ping'/></iq>"),
            "invalid-from",
        ),
    ] {
        // In both directions, and in one.
        for is_bidi in [false, true] {
            let mut link = match is_bidi {
                true => world.bidi().await,
                false => world.remote.authenticated(&world.server, HERE).await,
            };
            link.send(&stanza).await;
            // An address that is empty is none, or one that cannot be.
            let came = link.stanza().await;
            assert_eq!(
                (came.name(), came.ns().as_str()),
                ("error", NS_STREAM),
                "{stanza}: {came:?}"
            );
            let is_it = came.condition() == Some(condition)
                || (condition == "improper-addressing" && came.condition() == Some("invalid-from"));
            assert!(is_it, "{stanza}: {condition} expected, {came:?}");
            link.expect_end().await;
        }
    }
    user.nothing_more().await;
}

/// On a stream that we have opened nothing may come but answers of the stream itself.
#[tokio::test]
async fn nothing_comes_over_our_own() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    user.send(chat(&friend(), "1")).await;
    let mut link = world.remote.received(Offers::default()).await;
    expect_message(&mut link, "1").await;
    link.send(message(&friend(), &user.jid, "forged")).await;
    user.nothing_more().await;
    // With both directions, what is said is for the pair alone.
    drop(link);
    user.send(chat(&friend(), "2")).await;
    let mut link = world.remote.received(Offers::bidi()).await;
    link.wait("<message type='chat'><body>2</body></message>").await;
    link.send(message(&friend(), &user.jid, "3")).await;
    user.expect("<message type='chat'><body>3</body></message>").await;
    link.send(message("friend@other.example", &user.jid, "forged")).await;
    let error = link.wait("<stream:error/>").await;
    assert_eq!(error.condition(), Some("invalid-from"), "{error:?}");
    user.nothing_more().await;
}

/// A stanza that is wrong in itself is answered; and what is for nobody, too.
#[tokio::test]
async fn errors_go_back() {
    let world = World::new(1).await;
    let mut link = world.bidi().await;
    let who = friend();
    for (stanza, condition) in [
        (
            format!("<iq type='get' id='1' from='{who}' to='nobody@{HERE}'><ping xmlns='urn:xmpp:ping'/></iq>"),
            "cancel/service-unavailable",
        ),
        (
            format!("<iq type='get' id='1' from='{who}' to='{HERE}'/>"),
            "modify/bad-request",
        ),
        (
            format!("<iq type='get' id='1' from='{who}' to='{HERE}'><nobody xmlns='urn:nobody:knows'/></iq>"),
            "cancel/service-unavailable",
        ),
        (
            format!("<message type='chat' id='1' from='{who}' to='nobody@{HERE}'><body>x</body></message>"),
            "cancel/service-unavailable",
        ),
    ] {
        link.send(&stanza).await;
        let answer = link.stanza().await;
        assert_eq!(
            error_of(&answer),
            condition,
            "{stanza}: {answer:?} {}",
            text_of(&answer)
        );
        assert_eq!((answer.get("to"), answer.get("id")), (who.as_str(), "1"));
    }
    assert!(link.header.raw.contains(NS_SERVER));
}

/// XEP-0478: what a stream may carry is said, and holds.
#[tokio::test]
async fn limits_of_a_stream() {
    let world = World::with(1, |builder| builder.limit("stanza_bytes", 20_000)).await;
    let mut link = world.bidi().await;
    let limits = link
        .features
        .as_ref()
        .and_then(|features| features.get_child("limits", "urn:xmpp:stream-limits:0"))
        .cloned();
    let limits = limits.unwrap_or_else(|| panic!("no limits: {:?}", link.features));
    let bytes = limits
        .get_child("max-bytes", "urn:xmpp:stream-limits:0")
        .map(minidom::Element::text);
    let bytes: usize = bytes.and_then(|text| text.parse().ok()).expect("a number");
    let to = format!("nobody@{HERE}");
    let from = friend();
    let big = |size: usize| {
        let body = "x".repeat(size);
        format!("<message from='{from}' to='{to}' type='chat' id='big'><body>{body}</body></message>")
    };
    link.send(big(bytes - 300)).await;
    assert_eq!(error_of(&link.stanza().await), "cancel/service-unavailable");
    link.send(big(bytes)).await;
    link.expect_stream_error("policy-violation").await;
    // Before the login it is less.
    let mut link = world.remote.connect(&world.server, HERE).await;
    link.open_as_server().await;
    link.send(format!("<x xmlns='urn:x'>{}</x>", "x".repeat(bytes))).await;
    link.expect_stream_error("policy-violation").await;
}
