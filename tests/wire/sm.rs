//! Stream management (XEP-0198): asking for it, and acknowledgements. Resuming is in `sm_resume.rs`.

use testkit::{Client, Item, NS_SM, NS_STANZAS, Server, Transport};

use crate::support::{chat, error_of, managed, resumable_for};

const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

/// Section 2, and section 3 for where it is offered: not before somebody has logged in.
#[tokio::test]
async fn offered_behind_the_login() {
    let server = Server::with_users(8);
    let mut plain = Client::connect(&server, Transport::Starttls).await;
    assert!(!plain.open().await.has_child("sm", NS_SM));
    for transport in Transport::EVERY {
        let mut client = Client::secured(&server, transport).await;
        let features = client.open().await;
        assert!(!features.has_child("sm", NS_SM), "{features:?}");
        let client = Client::authenticated(&server, transport, &server.user()).await;
        let features = client.features.as_ref().expect("they came");
        assert!(
            features.has_child("sm", NS_SM) && features.has_child("bind", BIND),
            "{features:?}"
        );
    }
}

/// Section 3: `<enabled/>` and its attributes.
#[tokio::test]
async fn enabled() {
    const SECONDS: u64 = 120;
    let server = resumable_for(40, SECONDS);
    let mut ids: Vec<String> = Vec::new();
    for transport in Transport::EVERY {
        for attributes in [" resume='true'", " resume='1'", " resume='true' max='3600'"] {
            let mut client = Client::login(&server, transport, &server.user()).await;
            let enabled = client.enable_with(attributes).await;
            assert!(enabled.matches(&format!("<enabled xmlns='{NS_SM}' id='*' resume='true' max='*'/>")));
            // Not longer than the server is told to keep it.
            assert_eq!(enabled.get("max").parse(), Ok(SECONDS), "{enabled:?}");
            // Nobody can guess it (128 bits, in at most 6 bits a character), and it is not overlong.
            let id = enabled.get("id").to_owned();
            assert!((22..=4000).contains(&id.len()), "{id}");
            assert!(!ids.contains(&id));
            ids.push(id);
            client.nothing_more().await;
        }
        // Shorter, if the client wants so.
        let mut client = Client::login(&server, transport, &server.user()).await;
        let enabled = client.enable_with(" resume='true' max='7'").await;
        assert_eq!(enabled.get("max"), "7", "{enabled:?}");
        // Acknowledgements alone.
        for attributes in ["", " resume='false'", " resume='0'"] {
            let mut client = Client::login(&server, transport, &server.user()).await;
            let enabled = client.enable_with(attributes).await;
            assert_eq!(enabled.name(), "enabled", "{enabled:?}");
            assert!(matches!(enabled.get("resume"), "" | "false" | "0"), "{enabled:?}");
            client.ping().await;
            client.all_acked().await;
        }
    }
}

/// Section 3: the order is enforced, and the client may go on in the right one.
#[tokio::test]
async fn in_order_only() {
    let server = Server::with_users(24);
    let unexpected = format!("<failed xmlns='{NS_SM}'><unexpected-request xmlns='{NS_STANZAS}'/></failed>");
    for transport in Transport::EVERY {
        let mut client = Client::authenticated(&server, transport, &server.user()).await;
        client.send(format!("<enable xmlns='{NS_SM}' resume='true'/>")).await;
        client.expect(&unexpected).await;
        client.bind(None).await;
        client.enable().await;
        client.ping().await;
        client.all_acked().await;

        // Before the login. The stream may end by that as well (RFC 6120 section 4.9.3.12).
        for early in [
            format!("<enable xmlns='{NS_SM}' resume='true'/>"),
            testkit::resume("whatever", 0),
        ] {
            let mut client = Client::opened(&server, transport).await;
            client.send(early).await;
            match client.item().await {
                Item::Stanza(answer) if answer.name() == "failed" => assert_eq!(answer.mismatch(&unexpected), None),
                Item::Stanza(answer) if answer.name() == "error" => {
                    assert_eq!(answer.condition(), Some("not-authorized"))
                }
                other => client.fail(&format!("{other:?} came")),
            }
        }

        // Nothing can be resumed into a stream that has a resource, its own state included.
        let mut other = managed(&server, transport, &server.user()).await;
        let mut client = Client::login(&server, transport, other.bare()).await;
        client.send(testkit::resume(&other.session().id, 0)).await;
        client.expect(&unexpected).await;
        client.nothing_more().await;
        other.nothing_more().await;
        let session = other.session();
        other.send(testkit::resume(&session.id, session.received)).await;
        match other.item().await {
            Item::Stanza(answer) if answer.name() == "failed" => assert_eq!(answer.mismatch(&unexpected), None),
            Item::Stanza(answer) if answer.name() == "error" => {}
            came => other.fail(&format!("{came:?} came")),
        }

        // "at most one attempt": `<failed/>` as in the example, a stream error as in the text, or both.
        let mut client = managed(&server, transport, &server.user()).await;
        client.send(format!("<enable xmlns='{NS_SM}' resume='true'/>")).await;
        match client.item().await {
            Item::Stanza(answer) if answer.name() == "failed" => assert_eq!(answer.mismatch(&unexpected), None),
            Item::Stanza(answer) if answer.name() == "error" => client.expect_end().await,
            other => client.fail(&format!("{other:?} came")),
        }
    }
}

/// Section 4: stanzas are counted, from `<enable/>` on, whatever becomes of them; and nothing else is. That no `<a/>`
/// goes beyond what was sent, or back, is seen to by the test client.
#[tokio::test]
async fn what_is_counted() {
    let server = Server::with_users(16);
    for transport in Transport::EVERY {
        let mut other = Client::online(&server, transport, &server.user()).await;
        let to = other.bare().to_owned();
        let mut client = Client::login(&server, transport, &server.user()).await;
        // Before it does not count.
        client.send(chat(&to, "before")).await;
        client.presence("<presence/>").await;
        client.enable().await;
        assert_eq!(client.asked().await, 0);
        client.send(chat(&to, "one")).await;
        client.all_acked().await;
        assert_eq!(client.acked(), 1);

        // What is no stanza.
        for _ in 0..3 {
            client.send(" \n\t").await;
            client
                .send("<inactive xmlns='urn:xmpp:csi:0'/><active xmlns='urn:xmpp:csi:0'/>")
                .await;
            client.ack().await;
            client.request().await;
        }
        assert_eq!(client.asked().await, 1);
        // Stanzas of every kind: for somebody, for the server, wrong ones, answers nobody asked for.
        let stanzas = [
            chat(&to, "two"),
            chat("nobody@example.org", "nobody"),
            chat("a b@@", "wrong"),
            chat("somebody@elsewhere.example", "elsewhere"),
            format!("<message to='{to}' type='headline'><body>x</body></message>"),
            format!("<message to='{to}' type='error'/>"),
            format!("<message to='{to}' type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"),
            "<message/>".to_owned(),
            "<presence/>".to_owned(),
            "<presence type='nonsense'/>".to_owned(),
            format!("<presence to='{to}'/>"),
            "<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>".to_owned(),
            "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='x@example.net'/></query></iq>".to_owned(),
            "<iq type='result' id='never'/>".to_owned(),
            "<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>".to_owned(),
            format!("<iq type='get' id='n' to='{to}'><query xmlns='urn:nobody:knows'/></iq>"),
        ];
        for (number, stanza) in stanzas.iter().enumerate() {
            client.send(stanza).await;
            client.all_acked().await;
            assert_eq!(client.acked() as usize, number + 2, "{stanza}");
        }
        // All at once, asked at the end alone, and between.
        client.send(stanzas.concat()).await;
        client.all_acked().await;
        client.send(stanzas.join(&format!("<r xmlns='{NS_SM}'/>"))).await;
        client.all_acked().await;
        assert_eq!(client.acked() as usize, 1 + 3 * stanzas.len());
        // In pieces.
        for piece in stanzas.concat().as_bytes().chunks(11) {
            client.send(piece).await;
        }
        client.all_acked().await;
        assert_eq!(client.acked() as usize, 1 + 4 * stanzas.len());
        other.forget().await;
    }
}

/// A client need not wait for anything (section 4, the example): from `<enable/>` on it counts, from its bind on it may
/// send.
#[tokio::test]
async fn without_waiting() {
    let server = Server::with_users(12);
    for transport in Transport::EVERY {
        let mut other = Client::online(&server, transport, &server.user()).await;
        let message = chat(other.bare(), "at once");
        let mut client = Client::login(&server, transport, &server.user()).await;
        client.count_stanzas();
        client
            .send(format!(
                "<enable xmlns='{NS_SM}' resume='true'/>{message}<r xmlns='{NS_SM}'/>"
            ))
            .await;
        client.enabled().await;
        client.all_acked().await;
        assert_eq!(client.acked(), 1);
        other.wait("<message type='chat'><body>at once</body></message>").await;

        // The test client counts the bind as well, the server does not.
        let mut client = Client::authenticated(&server, transport, &server.user()).await;
        client.count_stanzas();
        client
            .send(format!(
                "<iq type='set' id='b'><bind xmlns='{BIND}'/></iq><enable xmlns='{NS_SM}' resume='true'/><presence/>{message}"
            ))
            .await;
        client.expect("<iq type='result' id='b'/>").await;
        client.enabled().await;
        client.expect("<presence/>").await;
        other.wait("<message type='chat'><body>at once</body></message>").await;
        client.acked_to(2).await;
        // What came before `<enabled/>` is not counted, by the server either.
        let counted = client.received();
        client.ack_at(counted + 1).await;
        let error = client.expect_stream_error("undefined-condition").await;
        let wanted =
            format!("<stream:error><handled-count-too-high xmlns='{NS_SM}' send-count='{counted}'/></stream:error>");
        assert_eq!(error.mismatch(&wanted), None, "{error:?}");
    }
}

/// The other direction: the server counts what it has sent, and knows when it is told too much (section 6).
#[tokio::test]
async fn the_client_acknowledges() {
    let server = Server::with_users(60);
    for transport in Transport::EVERY {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut client = managed(&server, transport, &server.user()).await;
        assert_eq!(client.received(), 1);
        let jid = client.jid.clone();
        for round in 1..4 {
            sender.send(chat(&jid, "hello")).await;
            client.expect("<message type='chat'><body>hello</body></message>").await;
            client.ack().await;
            // Twice the same, and an old one, is no news.
            client.ack().await;
            client.ping().await;
            assert_eq!(client.received(), 1 + 2 * round);
        }
        client.ack().await;
        client.nothing_more().await;
        let sent = client.received();
        // Up to here everything was right; one more was never sent.
        client.ack_at(sent + 1).await;
        let error = client.expect_stream_error("undefined-condition").await;
        let wanted = format!(
            "<stream:error><handled-count-too-high xmlns='{NS_SM}' h='{}' send-count='{sent}'/></stream:error>",
            sent + 1
        );
        assert_eq!(error.mismatch(&wanted), None, "{error:?}");

        for h in [2, 1 << 31, u32::MAX] {
            let mut client = managed(&server, transport, &server.user()).await;
            client.ack_at(h).await;
            let error = client.expect_stream_error("undefined-condition").await;
            assert!(error.has_child("handled-count-too-high", NS_SM), "{error:?}");
        }
        // No numbers.
        for wrong in ["", " h=''", " h='-1'", " h='x'", " h='1.0'", " h='4294967296'"] {
            let mut client = managed(&server, transport, &server.user()).await;
            client.send(format!("<a xmlns='{NS_SM}'{wrong}/>")).await;
            match client.item().await {
                Item::Stanza(error) if error.name() == "error" => client.expect_end().await,
                other => client.fail(&format!("a stream error expected for {wrong:?}, {other:?} came")),
            }
        }
        // The others have not heard of it.
        sender.nothing_more().await;
    }
}

/// The errors that stanzas earn come before they are acknowledged: what is acknowledged has been dealt with.
#[tokio::test]
async fn errors_come_first() {
    let server = Server::with_users(8);
    for transport in Transport::EVERY {
        let mut client = managed(&server, transport, &server.user()).await;
        for number in 0..20 {
            client.send(chat("nobody@example.org", &format!("n{number}"))).await;
        }
        client.all_acked().await;
        for number in 0..20 {
            let answer = client.expect(&format!("<message type='error' id='n{number}'/>")).await;
            assert_eq!(error_of(&answer), "cancel/service-unavailable");
        }
        client.nothing_more().await;
    }
}

/// The server asks too, sooner or later, when it has sent much; an answer is all that it wants.
#[tokio::test]
async fn the_server_asks() {
    const MESSAGES: usize = 300;
    let server = Server::with_users(8);
    for transport in Transport::EVERY {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut client = managed(&server, transport, &server.user()).await;
        client.answer_requests(true);
        let jid = client.jid.clone();
        for number in 0..MESSAGES {
            sender.send(chat(&jid, &number.to_string())).await;
        }
        for number in 0..MESSAGES {
            client
                .expect(&format!("<message type='chat'><body>{number}</body></message>"))
                .await;
        }
        client.nothing_more().await;
        assert!(client.requests() > 0, "it has not asked in {MESSAGES} messages");
    }
}
