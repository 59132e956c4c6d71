//! SASL2, Bind 2 and FAST (XEP-0388, XEP-0386, XEP-0484), with everything inline.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use testkit::{
    Binding, Client, Issued, Loss, NS_FAST, NS_SASL2, NS_SM, Server, Stanza, Transport, agent, enable, password_of,
    resume_inline,
};

const BIND2: &str = "urn:xmpp:bind:0";
const MECHANISM: &str = "HT-SHA-256-EXPR";

fn bind(more: &str) -> String {
    format!("<bind xmlns='{BIND2}'><tag>kit</tag>{more}</bind>")
}

fn request_token() -> String {
    format!("<request-token xmlns='{NS_FAST}' mechanism='{MECHANISM}'/>")
}

fn condition(answer: &Stanza) -> &str {
    assert_eq!(
        (answer.name(), answer.ns().as_str()),
        ("failure", NS_SASL2),
        "{answer:?}"
    );
    answer.condition().expect("a failure names a condition")
}

fn is_success(answer: &Stanza) -> bool {
    answer.name() == "success" && answer.ns() == NS_SASL2
}

fn chat(to: &str, body: &str) -> String {
    format!("<message type='chat' to='{to}'><body>{body}</body></message>")
}

/// A login with the password that binds and gets a token; features are read.
async fn first_login(server: &Server, transport: Transport, jid: &str, number: u32, more: &str) -> (Client, Issued) {
    let mut client = Client::opened(server, transport).await;
    // The requests of a session of BOSH come over several connections, so it is bound to none.
    let (scram, binding, mechanism) = match transport {
        Transport::Bosh => ("SCRAM-SHA-256", Binding::None, "HT-SHA-256-NONE"),
        _ => ("SCRAM-SHA-256-PLUS", Binding::Exporter, MECHANISM),
    };
    let more = agent(number) + &request_token().replace(MECHANISM, mechanism) + &bind(more);
    client.manage_inline(None);
    let answer = client.authenticate_by_scram(scram, jid, &binding, &more).await;
    assert!(is_success(&answer), "{answer:?}");
    client.take_jid(&answer);
    let issued = Issued::of(&answer, mechanism).expect("a token");
    let features = client.stanza().await;
    assert_eq!(features.name(), "features");
    let is_on = more.contains(NS_SM);
    assert_eq!(
        features.has_child("sm", NS_SM),
        !is_on,
        "what is on is not offered: {features:?}"
    );
    assert!(features.has_child("csi", "urn:xmpp:csi:0"), "{features:?}");
    (client, issued)
}

#[tokio::test]
async fn what_is_offered() {
    let server = Server::with_users(1);
    for transport in Transport::EVERY {
        let client = Client::opened(&server, transport).await;
        let features = client.features.clone().expect("features");
        let sasl2 = features.get_child("authentication", NS_SASL2).expect("SASL2");
        let names = |parent: &minidom::Element| -> Vec<String> {
            let mechanisms = parent.children().filter(|child| child.name() == "mechanism");
            mechanisms.map(minidom::Element::text).collect()
        };
        let classic = features
            .get_child("mechanisms", "urn:ietf:params:xml:ns:xmpp-sasl")
            .expect("the classic profile");
        assert_eq!(names(sasl2), names(classic));
        let inline = sasl2.get_child("inline", NS_SASL2).expect("more in one go");
        assert!(inline.has_child("sm", NS_SM));
        let fast = inline.get_child("fast", NS_FAST).expect("tokens");
        let tokens: &[&str] = match transport {
            // Its requests come over several connections.
            Transport::Bosh => &["HT-SHA-256-NONE"],
            _ => &["HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-NONE"],
        };
        assert_eq!(names(fast), tokens, "{transport:?}");
        let bind = inline.get_child("bind", BIND2).expect("Bind 2");
        let vars = bind.get_child("inline", BIND2).expect("features").children();
        let mut vars: Vec<&str> = vars.filter_map(|feature| feature.attr("var")).collect();
        vars.sort_unstable();
        assert_eq!(vars, ["urn:xmpp:carbons:2", "urn:xmpp:csi:0", "urn:xmpp:sm:3"]);
    }
    // Not in the clear.
    let mut client = Client::connect(&server, Transport::Starttls).await;
    client.open().await;
    let features = client.features.clone().expect("features");
    assert!(!features.has_child("authentication", NS_SASL2), "{features:?}");
    let answer = client.authenticate_as(&server.user(), "").await;
    assert_eq!(condition(&answer), "encryption-required");
}

/// A phone comes back: header, token, resumption in one write behind the handshake of TLS (and of the WebSocket), and the
/// stream goes on. Over BOSH the header is a request of its own.
#[tokio::test]
async fn one_round_trip() {
    const WAYS: [(Transport, Transport); 6] = [
        (Transport::Direct, Transport::Direct),
        (Transport::Starttls, Transport::Direct),
        (Transport::WebSocket, Transport::WebSocket),
        (Transport::Direct, Transport::WebSocket),
        (Transport::Bosh, Transport::Bosh),
        (Transport::Bosh, Transport::Starttls),
    ];
    let server = Server::with_users(2 * WAYS.len());
    for (before, after) in WAYS {
        let (jid, other) = (server.user(), server.user());
        let mut romeo = Client::online(&server, before, &other).await;
        let (mut client, issued) = first_login(&server, before, &jid, 1, &enable()).await;
        client.presence("<presence/>").await;
        romeo.send(chat(&jid, "before")).await;
        client
            .expect("<message type='chat'><body>before</body></message>")
            .await;
        let full = client.jid.clone();
        let session = client.lose(Loss::Fin);
        romeo.send(chat(&full, "meanwhile")).await;
        romeo.ping().await;

        let mut client = Client::secured(&server, after).await;
        let (domain, mechanism) = (client.domain.clone(), issued.mechanism.clone());
        let data = match mechanism.as_str() {
            MECHANISM => client.binding_data(&Binding::Exporter),
            _ => Vec::new(),
        };
        let user = jid.split_once('@').expect("user@domain").0;
        let message = testkit::token_message(user, &issued.token, &data);
        client
            .send(format!(
                "<stream:stream from='{jid}' to='{domain}' version='1.0' xmlns='jabber:client' \
                 xmlns:stream='http://etherx.jabber.org/streams'>\
                 <authenticate xmlns='{NS_SASL2}' mechanism='{mechanism}'>\
                 <initial-response>{message}</initial-response>{}<fast xmlns='{NS_FAST}'/>{}{}</authenticate>",
                agent(1),
                resume_inline(&session),
                bind(&enable()),
            ))
            .await;
        client.manage_inline(Some(&session));
        client.read_header().await;
        assert_eq!(client.stanza().await.name(), "features");
        let success = client.stanza().await;
        assert!(is_success(&success), "{success:?}");
        assert_eq!(client.take_jid(&success), full);
        assert!(success.has_child("resumed", NS_SM), "{success:?}");
        assert!(!success.has_child("bound", BIND2), "{success:?}");
        // No features (XEP-0198 section 9.2): what comes is what was missed.
        client
            .expect("<message type='chat'><body>meanwhile</body></message>")
            .await;
        client.send(chat(&other, "back")).await;
        romeo.expect("<message type='chat'><body>back</body></message>").await;
        client.all_acked().await;
    }
}

/// XEP-0509: a login goes with the header, by the version that the features had the last time.
#[tokio::test]
async fn a_login_by_a_version_of_the_features() {
    const IAP: &str = "urn:xmpp:iap:0";
    let server = Server::with_users(1);
    let jid = server.user();
    let (user, domain) = jid.split_once('@').expect("user@domain");
    let data = testkit::plain("", user, &password_of(&jid));
    let request = |version: &str| {
        format!(
            "<authenticate xmlns='{NS_SASL2}' mechanism='PLAIN'><initial-response>{data}</initial-response>{}\
             <config-version xmlns='{IAP}' scheme='opaque' value='{version}'/></authenticate>",
            bind("")
        )
    };
    for transport in Transport::EVERY {
        let features = Client::opened(&server, transport).await.features.expect("features");
        let version = features.get_child("config-version", IAP).expect("a version");
        assert_eq!(version.attr("scheme"), Some("opaque"));
        let version = version.attr("value").expect("a value").to_owned();
        for said in [version.as_str(), "b2xk"] {
            let mut client = Client::secured(&server, transport).await;
            client
                .send(format!(
                    "<stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
                     xmlns:stream='http://etherx.jabber.org/streams'>{}",
                    request(said)
                ))
                .await;
            client.read_header().await;
            assert_eq!(client.stanza().await.name(), "features");
            let mut answer = client.stanza().await;
            if said != version {
                assert_eq!(condition(&answer), "aborted");
                assert!(answer.has_child("config-version-mismatch", IAP), "{answer:?}");
                client.send(request(&version)).await;
                answer = client.stanza().await;
            }
            assert!(is_success(&answer), "{answer:?}");
            assert!(answer.has_child("bound", BIND2), "{answer:?}");
        }
    }
    assert_eq!(server.logged("a login failed"), 0, "without prejudice");
}

/// Everything that Bind 2 does, seen from outside.
#[tokio::test]
async fn a_session_that_is_complete_at_once() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let (jid, other) = (server.user(), server.user());
        let mut romeo = Client::online(&server, transport, &other).await;
        // Section 3.2: what waits is in the archive, and not sent.
        romeo.send(chat(&jid, "waits")).await;
        romeo.ping().await;
        let more = "<enable xmlns='urn:xmpp:carbons:2'/><active xmlns='urn:xmpp:csi:0'/>";
        let mut client = Client::opened(&server, transport).await;
        let answer = client.authenticate_as(&jid, &(agent(2) + &bind(more))).await;
        let full = client.take_jid(&answer);
        assert!(full.starts_with(&format!("{jid}/kit/")), "{full}");
        let bound = answer.get_child("bound", BIND2).expect("bound");
        let metadata = bound
            .get_child("metadata", "urn:xmpp:mam:2")
            .unwrap_or_else(|| panic!("{bound:?}"));
        let ends: Vec<&str> = ["start", "end"]
            .iter()
            .filter_map(|name| metadata.get_child(*name, "urn:xmpp:mam:2")?.attr("id"))
            .collect();
        assert_eq!(ends.len(), 2, "{metadata:?}");
        assert_eq!(ends[0], ends[1], "one message");
        assert!(!bound.has_child("enabled", NS_SM));
        assert_eq!(client.stanza().await.name(), "features");
        client.presence("<presence/>").await;
        client.nothing_more().await;
        // A copy of what another device sends.
        let mut second = Client::online(&server, transport, &jid).await;
        client.forget().await;
        second.send(chat(&other, "copied")).await;
        romeo.wait("<message type='chat'><body>copied</body></message>").await;
        let copy = client.stanza().await;
        assert!(copy.has_child("sent", "urn:xmpp:carbons:2"), "{copy:?}");
        // The same client comes again: its earlier session is over.
        let mut again = Client::opened(&server, transport).await;
        let answer = again.authenticate_as(&jid, &(agent(2) + &bind(""))).await;
        assert_eq!(again.take_jid(&answer), full);
        client.wait_for_end("conflict").await;
        second.close().await;
    }
}

/// Row 18 of the attacks: a new password ends what has begun with the old one, over whatever it came: the stream, what
/// could be resumed, and the token, wherever that is shown.
#[tokio::test]
async fn nothing_outlives_the_password() {
    let server = Server::with_users(Transport::EVERY.len());
    for transport in Transport::EVERY {
        let jid = server.user();
        let (mut client, issued) = first_login(&server, transport, &jid, 3, &enable()).await;
        let session = client.session();
        let by_token = async |over: Transport| {
            let mut client = Client::opened(&server, over).await;
            let answer = client.authenticate_by_token(&jid, &issued, "", &agent(3)).await;
            (client, answer)
        };
        let (mut second, answer) = by_token(transport).await;
        assert!(is_success(&answer), "{transport:?}: {answer:?}");
        let output = server.jackdaw(
            &["account", "password", &jid, "--password-stdin"],
            &format!("{}\n", password_of(&jid)),
        );
        assert!(output.status.success(), "{output:?}");
        client.wait_for_end("not-authorized").await;
        second.wait_for_end("not-authorized").await;
        for over in Transport::EVERY {
            // One that is bound to a connection needs one.
            if over == Transport::Bosh && transport != Transport::Bosh {
                continue;
            }
            let (_client, answer) = by_token(over).await;
            assert_eq!(condition(&answer), "not-authorized", "{transport:?}, {over:?}");
        }
        let (_client, failed) = Client::resume_in_vain(&server, transport, &session).await;
        assert_eq!(failed.condition(), Some("item-not-found"), "{failed:?}");
    }
}

/// A token outlives the process, and ends with the password, with the account, and when its client wants it to.
#[tokio::test]
async fn the_life_of_a_token() {
    let mut server = Server::with_users(3);
    let jid = server.user();
    let (client, issued) = first_login(&server, Transport::Direct, &jid, 3, "").await;
    client.close().await;
    server.kill9();
    server.start();
    let by_token = async |server: &Server, issued: &Issued, fast: &str| {
        let mut client = Client::opened(server, Transport::Direct).await;
        let answer = client.authenticate_by_token(&jid, issued, fast, &agent(3)).await;
        (client, answer)
    };
    let (_client, answer) = by_token(&server, &issued, "").await;
    assert!(is_success(&answer), "{answer:?}");
    // Another connection of a client that binds to nothing else is not let in with it (section 3.4).
    let unbound = Issued {
        mechanism: "HT-SHA-256-NONE".to_owned(),
        ..issued.clone()
    };
    let (_client, answer) = by_token(&server, &unbound, "").await;
    assert_eq!(condition(&answer), "not-authorized");
    // Given up.
    let (_client, answer) = by_token(&server, &issued, " invalidate='true'").await;
    assert!(is_success(&answer), "{answer:?}");
    let (_client, answer) = by_token(&server, &issued, "").await;
    assert_eq!(condition(&answer), "not-authorized");
    // A new password ends sessions and tokens, a resumable session too.
    let (mut client, issued) = first_login(&server, Transport::Direct, &jid, 3, &enable()).await;
    let password = password_of(&jid);
    let output = server.jackdaw(
        &["account", "password", &jid, "--password-stdin"],
        &format!("{password}\n"),
    );
    assert!(output.status.success(), "{output:?}");
    client.wait_for_end("not-authorized").await;
    let (_client, answer) = by_token(&server, &issued, "").await;
    assert_eq!(condition(&answer), "not-authorized");
    let (client, issued) = first_login(&server, Transport::Direct, &jid, 3, "").await;
    client.close().await;
    let output = server.jackdaw(&["account", "disable", &jid], "");
    assert!(output.status.success(), "{output:?}");
    let (_client, answer) = by_token(&server, &issued, "").await;
    assert_eq!(condition(&answer), "not-authorized");
}

/// Rows 18 to 21 and 23 of the faults, for tokens: what does not let in, and a token that is good all the while.
#[tokio::test]
async fn tokens_that_are_refused() {
    let server = Server::builder()
        .users(2 * Transport::EVERY.len())
        .limit("login_attempts", 50);
    let server = server.limit("login_failures_per_minute_per_account", 100).start();
    for transport in Transport::EVERY {
        let (jid, other) = (server.user(), server.user());
        let (client, issued) = first_login(&server, transport, &jid, 4, "").await;
        client.close().await;
        let mut client = Client::opened(&server, transport).await;
        let user = jid.split_once('@').expect("user@domain").0.to_owned();
        let mechanism = issued.mechanism.as_str();
        let is_bound = mechanism == MECHANISM;
        let data = match is_bound {
            true => client.binding_data(&Binding::Exporter),
            false => Vec::new(),
        };
        let good = testkit::token_message(&user, &issued.token, &data);
        let by = |user: &str, token: &str, data: &[u8]| testkit::token_message(user, token, data);
        let fast = format!("<fast xmlns='{NS_FAST}'/>");
        let counted = |count: &str| format!("<fast xmlns='{NS_FAST}' count='{count}'/>");
        let somebody = other.split_once('@').expect("user@domain").0;
        // (mechanism, message, which client and how, condition)
        let cases = [
            (mechanism, by(&user, "wrong", &data), agent(4) + &fast, "not-authorized"),
            (
                mechanism,
                by("nobody", &issued.token, &data),
                agent(4) + &fast,
                "not-authorized",
            ),
            (
                mechanism,
                by(somebody, &issued.token, &data),
                agent(4) + &fast,
                "not-authorized",
            ),
            // Of another channel, or of none.
            (
                mechanism,
                by(&user, &issued.token, &[7; 32]),
                agent(4) + &fast,
                "not-authorized",
            ),
            // Of another client.
            (mechanism, good.clone(), agent(5) + &fast, "not-authorized"),
            (mechanism, good.clone(), agent(4), "malformed-request"),
            (mechanism, good.clone(), agent(4) + &counted("0"), "malformed-request"),
            (
                mechanism,
                good.clone(),
                agent(4) + &counted("many"),
                "malformed-request",
            ),
            (mechanism, "!".to_owned(), agent(4) + &fast, "incorrect-encoding"),
            (mechanism, String::new(), agent(4) + &fast, "malformed-request"),
            (mechanism, STANDARD.encode(&user), agent(4) + &fast, "malformed-request"),
            ("HT-SHA-256-UNIQ", good.clone(), agent(4) + &fast, "invalid-mechanism"),
            ("HT-SHA-512-NONE", good.clone(), agent(4) + &fast, "invalid-mechanism"),
            // What a mechanism of passwords may not do as one of tokens.
            ("SCRAM-SHA-1", good.clone(), agent(4) + &fast, "malformed-request"),
        ];
        for (mechanism, message, more, expected) in &cases {
            let answer = client.authenticate(mechanism, message, more).await;
            assert_eq!(condition(&answer), *expected, "{transport:?}: {mechanism} {more}");
        }
        let others = match is_bound {
            true => "HT-SHA-256-NONE",
            false => "HT-SHA-256-EXPR",
        };
        let answer = client.authenticate(others, &good, &(agent(4) + &fast)).await;
        let expected = match is_bound {
            true => "not-authorized",
            // Nothing can be bound to here.
            false => "invalid-mechanism",
        };
        assert_eq!(condition(&answer), expected, "{transport:?}: {others}");
        // Never in the classic profile.
        let answer = client.auth(mechanism, &good).await;
        assert_eq!(answer.condition(), Some("invalid-mechanism"), "{answer:?}");
        // Who has seen one use of a token has no other, if its client counts.
        let answer = client
            .authenticate_by_token(&jid, &issued, " count='7'", &agent(4))
            .await;
        assert!(is_success(&answer), "{transport:?}: {answer:?}");
        let mut again = Client::opened(&server, transport).await;
        for count in [6, 7] {
            let answer = again
                .authenticate_by_token(&jid, &issued, &format!(" count='{count}'"), &agent(4))
                .await;
            assert_eq!(condition(&answer), "not-authorized", "{transport:?}: {count}");
        }
        let answer = again
            .authenticate_by_token(&jid, &issued, " count='8'", &agent(4))
            .await;
        assert!(is_success(&answer), "{transport:?}: {answer:?}");
        assert_eq!(server.logged(&issued.token) + server.logged(&good), 0);
    }
}

/// Guesses of tokens are counted as those of passwords, and the other way round.
#[tokio::test]
async fn guesses_of_tokens_are_counted() {
    const MAY: u64 = 3;
    let server = Server::builder()
        .users(Transport::EVERY.len())
        .limit("login_failures_per_minute_per_account", MAY)
        .limit("login_attempts", 50)
        .start();
    crate::limits::stay_in_one_minute().await;
    for transport in Transport::EVERY {
        let jid = server.user();
        let (client, issued) = first_login(&server, transport, &jid, 6, "").await;
        client.close().await;
        let mut client = Client::opened(&server, transport).await;
        let wrong = Issued {
            token: "wrong".to_owned(),
            ..issued.clone()
        };
        for _ in 0..MAY {
            let answer = client.authenticate_by_token(&jid, &wrong, "", &agent(6)).await;
            assert_eq!(condition(&answer), "not-authorized", "{transport:?}");
        }
        for token in [&wrong, &issued] {
            let answer = client.authenticate_by_token(&jid, token, "", &agent(6)).await;
            assert_eq!(condition(&answer), "temporary-auth-failure", "{transport:?}");
        }
        let answer = client.authenticate_as(&jid, "").await;
        assert_eq!(condition(&answer), "temporary-auth-failure", "{transport:?}");
    }
}
