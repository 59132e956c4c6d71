//! What the operator lets people log in with (`[login]`), and how SCRAM signs what was offered (XEP-0474, XEP-0515).

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{self, Algorithm};
use testkit::{
    Binding, Client, ConnectOptions, Issued, NS_FAST, NS_SASL2, Scram, Server, TIMEOUT, Transport, Version, agent,
    password_of, plain,
};

use crate::backends::{SASL, mechanisms};

/// What a first message of SCRAM is answered with, in text.
async fn challenge(client: &mut Client, mechanism: &str, jid: &str, by_sasl2: bool) -> String {
    let user = jid.split_once('@').expect("user@domain").0;
    let mut scram = Scram::new(mechanism, user, &password_of(jid), &Binding::None, &[]);
    let first = STANDARD.encode(scram.first());
    let challenge = match by_sasl2 {
        true => client.authenticate(mechanism, &first, "").await,
        false => client.auth(mechanism, &first).await,
    };
    assert_eq!(challenge.name(), "challenge", "{challenge:?}");
    let text = STANDARD.decode(challenge.text()).expect("base64");
    String::from_utf8(text).expect("UTF-8")
}

/// XEP-0474 section 5.1: of the list of the profile that the client uses, as it has read it, and of the bindings.
fn hash_of_the_offer(client: &Client, by_sasl2: bool, algorithm: &'static Algorithm) -> String {
    let mut names = match by_sasl2 {
        true => mechanisms(client, "authentication", NS_SASL2),
        false => mechanisms(client, "mechanisms", SASL),
    };
    names.sort_unstable();
    let mut text = names.join("\x1e");
    let features = client.features.as_ref().expect("features");
    if let Some(list) = features.get_child("sasl-channel-binding", "urn:xmpp:sasl-cb:0") {
        let mut types: Vec<&str> = list.children().filter_map(|child| child.attr("type")).collect();
        types.sort_unstable();
        text += &format!("\x1f{}", types.join("\x1e"));
    }
    STANDARD.encode(digest::digest(algorithm, text.as_bytes()))
}

#[tokio::test]
async fn scram_signs_what_was_offered() {
    let server = Server::with_users(1);
    let jid = server.user();
    for transport in Transport::EVERY {
        for (version, number) in [(Version::Tls12, "0303"), (Version::Tls13, "0304")] {
            for (mechanism, algorithm) in [
                ("SCRAM-SHA-1", &digest::SHA1_FOR_LEGACY_USE_ONLY),
                ("SCRAM-SHA-256", &digest::SHA256),
                ("SCRAM-SHA-512", &digest::SHA512),
            ] {
                for by_sasl2 in [false, true] {
                    let options = ConnectOptions {
                        version,
                        ..ConnectOptions::default()
                    };
                    let mut client = Client::secured_with(&server, transport, options).await;
                    client.open().await;
                    let said = challenge(&mut client, mechanism, &jid, by_sasl2).await;
                    let hash = hash_of_the_offer(&client, by_sasl2, algorithm);
                    // The requests of a session of BOSH come over several connections, so it has no version.
                    let end = match transport {
                        Transport::Bosh => format!(",h={hash}"),
                        _ => format!(",h={hash},t={number}"),
                    };
                    assert!(said.ends_with(&end), "{transport:?} {mechanism}: {said}, not {end}");
                }
            }
        }
    }
}

const STRICT: &str = "scram = [\"sha-256\"]\nplain = false\nsigned_offer = false\ntokens = \"bound\"\n";
/// The hash that was left out has come back, and the other is retired.
const OTHERWISE: &str = "scram = [\"sha-1\"]\nplain = true\nsigned_offer = true\ntokens = \"off\"\n";

#[tokio::test]
async fn an_operator_decides_what_is_offered() {
    let builder = Server::builder().users(Transport::EVERY.len());
    let builder = builder.toml(&format!("[login]\n{STRICT}"));
    let mut server = builder.limit("login_attempts", 50).start();
    let mut issued = Vec::new();
    for transport in Transport::EVERY {
        let jid = server.user();
        let (user, password) = (jid.split_once('@').expect("user@domain").0, password_of(&jid));
        let mut client = Client::opened(&server, transport).await;
        let (binding, scram, tokens): (_, &[&str], &[&str]) = match transport {
            Transport::Bosh => (Binding::None, &["SCRAM-SHA-256"], &[]),
            _ => (
                Binding::Exporter,
                &["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"],
                &["HT-SHA-256-EXPR", "HT-SHA-256-ENDP"],
            ),
        };
        assert_eq!(mechanisms(&client, "mechanisms", SASL), scram, "{transport:?}");
        assert_eq!(mechanisms(&client, "authentication", NS_SASL2), scram, "{transport:?}");
        assert_eq!(fast(&client), tokens, "{transport:?}");
        // Not offered is not taken, whatever the client knows.
        for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-512", "SCRAM-SHA-1-PLUS", "HT-SHA-256-NONE"] {
            let first = STANDARD.encode(format!("n,,n={user},r=abc"));
            let answer = client.auth(mechanism, &first).await;
            assert_eq!(answer.condition(), Some("invalid-mechanism"), "{mechanism}: {answer:?}");
            let answer = client.authenticate(mechanism, &first, "").await;
            assert_eq!(answer.condition(), Some("invalid-mechanism"), "{mechanism}: {answer:?}");
        }
        let message = plain("", user, &password);
        let answer = client.auth("PLAIN", &message).await;
        assert_eq!(answer.condition(), Some("invalid-mechanism"), "{answer:?}");
        let answer = client.authenticate("PLAIN", &message, "").await;
        assert_eq!(answer.condition(), Some("invalid-mechanism"), "{answer:?}");
        let said = challenge(&mut client, "SCRAM-SHA-256", &jid, false).await;
        assert!(!said.contains(",h=") && !said.contains(",t="), "{said}");

        let mut client = Client::opened(&server, transport).await;
        let request = |mechanism: &str| format!("<request-token xmlns='{NS_FAST}' mechanism='{mechanism}'/>");
        let more = agent(1) + &request("HT-SHA-256-NONE");
        let answer = client
            .authenticate_by_scram("SCRAM-SHA-256", &jid, &Binding::None, &more)
            .await;
        assert_eq!(
            (answer.name(), answer.ns().as_str()),
            ("success", NS_SASL2),
            "{answer:?}"
        );
        assert!(!answer.has_child("token", NS_FAST), "{answer:?}");
        if transport == Transport::Bosh {
            continue;
        }
        let mut client = Client::opened(&server, transport).await;
        let more = agent(1) + &request("HT-SHA-256-EXPR");
        let answer = client
            .authenticate_by_scram("SCRAM-SHA-256-PLUS", &jid, &binding, &more)
            .await;
        let token = Issued::of(&answer, "HT-SHA-256-EXPR").unwrap_or_else(|| panic!("no token: {answer:?}"));
        issued.push((transport, jid, token));
    }

    server.sigterm();
    assert!(server.wait(TIMEOUT).is_some_and(|status| status.success()));
    let file = server.folder().join("jackdaw.toml");
    let config = fs::read_to_string(&file).expect("it is there");
    fs::write(&file, config.replace(STRICT, OTHERWISE)).expect("written");
    server.start();
    for (transport, jid, token) in issued {
        let user = jid.split_once('@').expect("user@domain").0;
        let mut client = Client::opened(&server, transport).await;
        let offered = ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "PLAIN"];
        assert_eq!(mechanisms(&client, "mechanisms", SASL), offered, "{transport:?}");
        assert_eq!(fast(&client), [""; 0], "{transport:?}");
        let answer = client.authenticate_by_token(&jid, &token, "", &agent(1)).await;
        assert_eq!(
            answer.condition(),
            Some("invalid-mechanism"),
            "{transport:?}: {answer:?}"
        );
        // Every password is kept under all three.
        let answer = client
            .scram_as("SCRAM-SHA-1", user, &password_of(&jid), &Binding::None)
            .await;
        assert_eq!(answer.name(), "success", "{transport:?}: {answer:?}");
    }
}

/// The mechanisms of tokens.
fn fast(client: &Client) -> Vec<String> {
    let features = client.features.as_ref().expect("features");
    let list = features
        .get_child("authentication", NS_SASL2)
        .and_then(|sasl2| sasl2.get_child("inline", NS_SASL2))
        .and_then(|inline| inline.get_child("fast", NS_FAST));
    let names = list.into_iter().flat_map(|list| list.children());
    names.map(minidom::Element::text).collect()
}
