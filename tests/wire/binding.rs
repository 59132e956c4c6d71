//! Resource binding (RFC 6120 section 7) and the old session (RFC 3921 section 3).

use testkit::{Client, ConnectOptions, Server, Transport};

use crate::support::error_of;

const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";

fn bind(resource: &str) -> String {
    format!("<bind xmlns='{BIND}'><resource>{resource}</resource></bind>")
}

#[tokio::test]
async fn resources() {
    let server = Server::with_users(9);
    for transport in Transport::EVERY {
        let jid = server.user();
        // Given, with what people put into them.
        for resource in [
            "desk",
            "balcony of the house",
            "\u{1f426} phone",
            "a/b@c",
            "x&amp;y&lt;",
        ] {
            let mut client = Client::login(&server, transport, &format!("{jid}/{resource}")).await;
            let plain = resource.replace("&amp;", "&").replace("&lt;", "<");
            assert_eq!(client.jid, format!("{jid}/{plain}"));
            let text = format!(
                "<message to='{jid}/{}' type='chat'><body>x</body></message>",
                resource.replace('\'', "")
            );
            client.send(text).await;
            client
                .expect(&format!(
                    "<message type='chat' from='{jid}/{resource}'><body>x</body></message>"
                ))
                .await;
            client.close().await;
        }
        // Generated: different each time, and not to be guessed.
        let one = Client::login(&server, transport, &jid).await;
        let two = Client::login(&server, transport, &jid).await;
        assert_ne!(one.resource(), two.resource());
        assert!(
            one.resource().len() >= 16 && two.resource().len() >= 16,
            "{} {}",
            one.jid,
            two.jid
        );
        // An empty element is none.
        let mut three = Client::authenticated(&server, transport, &jid).await;
        three.bind(Some("")).await;
        assert!(three.resource().len() >= 16, "{}", three.jid);
    }
}

/// Row 25.
#[tokio::test]
async fn taken_illegal_and_too_many() {
    let server = Server::builder().users(9).limit("sessions_per_account", 3).start();
    for transport in Transport::EVERY {
        let jid = server.user();
        // The older stream gives way (section 7.7.2.2).
        let mut old = Client::online(&server, transport, &format!("{jid}/desk")).await;
        let mut new = Client::login(&server, transport, &format!("{jid}/desk")).await;
        assert_eq!(new.jid, format!("{jid}/desk"));
        old.expect_stream_error("conflict").await;
        new.presence("<presence/>").await;
        new.nothing_more().await;
        // Any number of times.
        for _ in 0..5 {
            let next = Client::login(&server, transport, &format!("{jid}/desk")).await;
            new.expect_stream_error("conflict").await;
            new = next;
        }

        let other = server.user();
        let mut client = Client::authenticated(&server, transport, &other).await;
        for illegal in ["x".repeat(1024), "\u{7}".replace('\u{7}', "a\u{200e}\u{7f}")] {
            let answer = client.iq("set", "", &bind(&illegal)).await;
            assert_eq!(error_of(&answer), "modify/bad-request", "section 7.7.2.1: {answer:?}");
        }
        // The client may try again.
        client.bind(Some("legal")).await;
        assert_eq!(client.jid, format!("{other}/legal"));
        // A second one on the same stream.
        let answer = client.iq("set", "", &bind("second")).await;
        assert_eq!(answer.get("type"), "error", "{answer:?}");
        client.nothing_more().await;

        let _two = Client::login(&server, transport, &other).await;
        let _three = Client::login(&server, transport, &other).await;
        let mut four = Client::authenticated(&server, transport, &other).await;
        let answer = four.iq("set", "", &bind("four")).await;
        assert_eq!(error_of(&answer), "wait/resource-constraint", "section 7.6.2.1");
        // One that is bound already is no further one.
        four.bind(Some("legal")).await;
        client.expect_stream_error("conflict").await;
    }
}

#[tokio::test]
async fn the_old_session() {
    let server = Server::with_users(Transport::EVERY.len());
    for transport in Transport::EVERY {
        let jid = server.user();
        let mut client = Client::login(&server, transport, &jid).await;
        for to in ["", "example.org", jid.as_str()] {
            let answer = client
                .iq("set", to, "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>")
                .await;
            assert_eq!(answer.get("type"), "result", "{to} {answer:?}");
        }
    }
}

/// Rows 15 and 16: nothing is routed before there is an address it could come from.
#[tokio::test]
async fn stanzas_before_binding() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut bystander = Client::online(&server, transport, &server.user()).await;
        let (full, bare) = (bystander.jid.clone(), bystander.bare().to_owned());
        let stanzas = [
            format!("<message to='{full}'><body>x</body></message>"),
            format!("<message to='{bare}' from='{full}'><body>x</body></message>"),
            format!("<presence to='{full}'/>"),
            format!("<presence to='{bare}' type='subscribe'/>"),
            format!("<iq type='get' id='1' to='{bare}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>"),
            format!("<iq type='set' id='1' to='{bare}'><bind xmlns='{BIND}'/></iq>"),
            "<message to='somebody@elsewhere.example'><body>x</body></message>".to_owned(),
        ];
        let jid = server.user();
        for stanza in &stanzas {
            let mut client = Client::opened(&server, transport).await;
            client.send(stanza).await;
            client.expect_stream_error("not-authorized").await;

            let mut client = Client::authenticated(&server, transport, &jid).await;
            client.send(stanza).await;
            client.expect_stream_error("not-authorized").await;
        }
        bystander.nothing_more().await;
    }
}

/// Row 13 of the attacks: whatever is named where, the session is that of the account that was verified.
#[tokio::test]
async fn a_session_is_of_the_verified_account() {
    let server = Server::with_users(3);
    let (jid, other) = (server.user(), server.user());
    let user = |jid: &str| jid.split_once('@').expect("user@domain").0.to_owned();
    let plain = |authzid: &str| testkit::plain(authzid, &user(&jid), &testkit::password_of(&jid));
    for transport in Transport::EVERY {
        for authzid in ["", jid.as_str(), other.as_str()] {
            for from in ["", jid.as_str(), other.as_str()] {
                for resource in ["r", other.as_str()] {
                    let mut client = Client::connect_with(&server, transport, ConnectOptions::default())
                        .await
                        .expect("reached");
                    client.secure().await;
                    let from = if from.is_empty() {
                        String::new()
                    } else {
                        format!("from='{from}'")
                    };
                    let header = format!(
                        "<stream:stream {from} to='example.org' version='1.0' xmlns='jabber:client' \
                         xmlns:stream='http://etherx.jabber.org/streams'>"
                    );
                    client.open_with(&header).await;
                    let answer = client.auth("PLAIN", &plain(authzid)).await;
                    if authzid == other {
                        assert_eq!(answer.condition(), Some("invalid-authzid"));
                        continue;
                    }
                    assert_eq!(answer.name(), "success");
                    client.open_with(&header).await;
                    client.bind(Some(resource)).await;
                    assert_eq!(client.jid, format!("{jid}/{resource}"), "authzid {authzid:?} {from}");
                }
            }
        }
    }
}
