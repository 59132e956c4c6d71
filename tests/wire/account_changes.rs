//! What ends when an account is changed (faults.md, row 62): a new password, a disabled or a removed account ends every
//! stream, every token and every session that might be resumed, before the command comes back.

use std::time::{Duration, Instant};

use testkit::{
    Client, Issued, Loss, NS_FAST, NS_SASL2, NS_STANZAS, Server, Transport, agent, enable, password_of, plain,
};

use crate::support::{friends, lose};

/// What a token is for that may be used over any transport.
const MECHANISM: &str = "HT-SHA-256-NONE";
const BIND: &str = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";

fn jackdaw(server: &Server, arguments: &[&str], input: &str) {
    let output = server.jackdaw(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// A session that may be resumed, with a token.
async fn with_token(server: &Server, transport: Transport, jid: &str) -> (Client, Issued) {
    let mut client = Client::opened(server, transport).await;
    let more = agent(1)
        + &format!("<request-token xmlns='{NS_FAST}' mechanism='{MECHANISM}'/>")
        + &format!("<bind xmlns='urn:xmpp:bind:0'>{}</bind>", enable());
    client.manage_inline(None);
    let answer = client.authenticate_as(jid, &more).await;
    client.take_jid(&answer);
    let issued = Issued::of(&answer, MECHANISM).unwrap_or_else(|| panic!("no token: {answer:?}"));
    assert_eq!(client.stanza().await.name(), "features");
    (client, issued)
}

#[tokio::test]
async fn accounts_that_change() {
    let server = Server::with_users(30);
    for transport in Transport::EVERY {
        for change in ["disable", "password", "remove"] {
            let (mut one, mut friend) = friends(&server, transport).await;
            let jid = one.bare().to_owned();
            let mut second = Client::login(&server, transport, &format!("{jid}/second")).await;
            let (mut with_token, token) = with_token(&server, transport, &jid).await;
            // What has no connection of its own cannot be cut.
            let breaks = if transport == Transport::Bosh {
                Transport::WebSocket
            } else {
                transport
            };
            let mut lost = Client::login(&server, breaks, &format!("{jid}/lost")).await;
            lost.enable().await;
            let lost = lose(&server, lost, Loss::Reset).await;
            let live = with_token.session();
            // Two that have logged in and not yet bound.
            let mut half = Client::authenticated(&server, transport, &jid).await;
            let mut half_by_token = Client::opened(&server, transport).await;
            let answer = half_by_token.authenticate_by_token(&jid, &token, "", "").await;
            assert_eq!((answer.name(), answer.ns().as_str()), ("success", NS_SASL2));
            assert_eq!(half_by_token.stanza().await.name(), "features");

            let mut arguments = vec!["account", change, jid.as_str()];
            if change == "password" {
                arguments.push("--password-stdin");
            }
            let began = Instant::now();
            jackdaw(
                &server,
                &arguments,
                if change == "password" { "a new one\n" } else { "" },
            );
            one.wait_for_end("not-authorized").await;
            second.expect_stream_error("not-authorized").await;
            with_token.wait_for_end("not-authorized").await;
            assert!(
                began.elapsed() < Duration::from_secs(3),
                "at once, apart from the command itself"
            );
            friend
                .wait(&format!("<presence type='unavailable' from='{}'/>", one.jid))
                .await;
            if change == "remove" {
                friend
                    .wait(&format!("<presence type='unsubscribed' from='{jid}'/>"))
                    .await;
            }
            // Neither gets a session of the account as it was.
            for client in [&mut half, &mut half_by_token] {
                client.send(BIND).await;
                let answer = client.stanza().await;
                assert!(
                    answer.name() == "error" || answer.get("type") == "error",
                    "{change}: {answer:?}"
                );
            }
            let mut client = Client::opened(&server, transport).await;
            let user = jid.split_once('@').expect("user@domain").0;
            let old = plain("", user, &password_of(&jid));
            let answer = client.auth("PLAIN", &old).await;
            let expected = if change == "disable" {
                "account-disabled"
            } else {
                "not-authorized"
            };
            assert_eq!(
                (answer.name(), answer.condition()),
                ("failure", Some(expected)),
                "{change}"
            );
            let answer = client.authenticate_by_token(&jid, &token, "", "").await;
            assert_eq!(
                (answer.name(), answer.condition()),
                ("failure", Some("not-authorized")),
                "{change}"
            );

            // Whoever may log in again finds nothing of it.
            let password = format!("{}\n", password_of(&jid));
            match change {
                "disable" => jackdaw(&server, &["account", "enable", &jid], ""),
                "password" => jackdaw(&server, &["account", "password", &jid, "--password-stdin"], &password),
                _ => jackdaw(&server, &["account", "add", &jid, "--password-stdin"], &password),
            }
            for session in [&live, &lost] {
                let (_client, answer) = Client::resume_in_vain(&server, transport, session).await;
                assert!(answer.has_child("item-not-found", NS_STANZAS), "{change}: {answer:?}");
            }
            let mut client = Client::opened(&server, transport).await;
            let answer = client.authenticate_by_token(&jid, &token, "", "").await;
            assert_eq!(answer.condition(), Some("not-authorized"), "{change}");
        }
    }
}
