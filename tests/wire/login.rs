//! SASL (RFC 6120 section 6, RFC 5802, RFC 9266, RFC 5929, XEP-0440).

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use testkit::{Binding, Client, ConnectOptions, Scram, Server, Stanza, Transport, Version, password_of};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const HASHES: [&str; 3] = ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"];

fn condition(answer: &Stanza) -> &str {
    assert_eq!((answer.name(), answer.ns().as_str()), ("failure", SASL), "{answer:?}");
    answer.condition().expect("a failure names a condition")
}

fn local(jid: &str) -> &str {
    jid.split_once('@').expect("user@domain").0
}

async fn opened(server: &Server, transport: Transport, version: Version) -> Client {
    let options = ConnectOptions {
        version,
        ..ConnectOptions::default()
    };
    let mut client = Client::secured_with(server, transport, options).await;
    client.open().await;
    client
}

#[tokio::test]
async fn every_mechanism() {
    let server = Server::builder()
        .users(2)
        .account_with("gr=ü,n@example.org", "pässwörd, = €")
        .start();
    let jid = server.user();
    for transport in Transport::EVERY {
        for version in [Version::Tls12, Version::Tls13] {
            let bindings: &[Binding] = match version {
                // The requests of a session come over several connections, none of which is its channel.
                _ if transport == Transport::Bosh => &[],
                Version::Tls12 => &[Binding::EndPoint],
                _ => &[Binding::Exporter, Binding::EndPoint],
            };
            // What is offered is pinned (row 17 of the attacks).
            let client = opened(&server, transport, version).await;
            let features = client.features.clone().expect("features");
            let texts = |name: &str, ns: &str| -> BTreeSet<String> {
                let list = features.get_child(name, ns).expect("the feature is there");
                list.children()
                    .map(|child| child.attr("type").map_or_else(|| child.text(), str::to_owned))
                    .collect()
            };
            let mut wanted: BTreeSet<String> = HASHES.iter().map(|name| (*name).to_owned()).collect();
            if !bindings.is_empty() {
                wanted.extend(HASHES.iter().map(|name| format!("{name}-PLUS")));
            }
            wanted.insert("PLAIN".to_owned());
            assert_eq!(texts("mechanisms", SASL), wanted, "{version:?}");
            let types: BTreeSet<String> = bindings
                .iter()
                .map(|binding| {
                    if *binding == Binding::EndPoint {
                        "tls-server-end-point"
                    } else {
                        "tls-exporter"
                    }
                })
                .map(str::to_owned)
                .collect();
            if bindings.is_empty() {
                assert!(!features.has_child("sasl-channel-binding", "urn:xmpp:sasl-cb:0"));
            } else {
                assert_eq!(
                    texts("sasl-channel-binding", "urn:xmpp:sasl-cb:0"),
                    types,
                    "{version:?}"
                );
            }

            for name in HASHES {
                for (mechanism, binding) in bindings
                    .iter()
                    .map(|binding| (format!("{name}-PLUS"), binding))
                    .chain([(name.to_owned(), &Binding::None)])
                {
                    let mut client = opened(&server, transport, version).await;
                    let answer = client
                        .scram_as(&mechanism, local(&jid), &password_of(&jid), binding)
                        .await;
                    assert_eq!(
                        answer.name(),
                        "success",
                        "{mechanism} {binding:?} {version:?} {answer:?}"
                    );
                    client.open().await;
                    client.bind(None).await;
                    assert_eq!(client.bare(), jid);
                }
            }
        }
        // Names and passwords with everything that has a meaning in one of the syntaxes.
        for mechanism in HASHES.iter().chain(&["PLAIN"]) {
            let mut client = opened(&server, transport, Version::Any).await;
            if *mechanism == "PLAIN" {
                client.plain("gr=ü,n", "pässwörd, = €").await;
            } else {
                let answer = client
                    .scram_as(mechanism, "gr=ü,n", "pässwörd, = €", &Binding::None)
                    .await;
                assert_eq!(answer.name(), "success", "{mechanism} {answer:?}");
            }
        }
    }
}

/// The client of the `sasl` crate, which is none of ours.
#[tokio::test]
async fn another_implementation() {
    use sasl::client::mechanisms::{Plain, Scram};
    use sasl::common::ChannelBinding;
    use sasl::common::scram::{Sha1, Sha256};

    let server = Server::with_users(2);
    let jid = server.user();
    let (user, password) = (local(&jid), password_of(&jid));
    for transport in Transport::EVERY {
        let exporter = |client: &Client| match transport {
            // Nothing can be bound to.
            Transport::Bosh => ChannelBinding::None,
            _ => ChannelBinding::TlsExporter(client.binding_data(&Binding::Exporter)),
        };
        let mut client = opened(&server, transport, Version::Tls13).await;
        let mut mechanism = Scram::<Sha1>::new(user, password.clone(), exporter(&client)).expect("a nonce");
        assert_eq!(client.login_by(&mut mechanism).await.name(), "success");

        let mut client = opened(&server, transport, Version::Tls13).await;
        let mut mechanism = Scram::<Sha256>::new(user, password.clone(), exporter(&client)).expect("a nonce");
        assert_eq!(client.login_by(&mut mechanism).await.name(), "success");

        let mut client = opened(&server, transport, Version::Any).await;
        let mut mechanism = Scram::<Sha256>::new(user, password.clone(), ChannelBinding::None).expect("a nonce");
        assert_eq!(client.login_by(&mut mechanism).await.name(), "success");

        let mut client = opened(&server, transport, Version::Any).await;
        assert_eq!(
            client.login_by(&mut Plain::new(user, password.as_str())).await.name(),
            "success"
        );
    }
}

/// Rows 18 to 23 of the faults, row 13 of the attacks.
#[tokio::test]
async fn what_is_refused() {
    let server = Server::builder().users(3).limit("login_attempts", 200).start();
    let (jid, other) = (server.user(), server.user());
    let (user, password) = (local(&jid), password_of(&jid));
    for transport in Transport::EVERY {
        let mut client = opened(&server, transport, Version::Tls13).await;
        let plain = |authzid: &str, user: &str, password: &str| testkit::plain(authzid, user, password);

        // (mechanism, data, condition): one message each.
        let base64 = |text: &str| STANDARD.encode(text);
        let cases = [
            ("NONE-SUCH", "=".to_owned(), "invalid-mechanism"),
            ("", "=".to_owned(), "invalid-mechanism"),
            ("plain", plain("", user, &password), "invalid-mechanism"),
            ("EXTERNAL", "=".to_owned(), "invalid-mechanism"),
            ("ANONYMOUS", "=".to_owned(), "invalid-mechanism"),
            ("PLAIN", plain("", user, "wrong"), "not-authorized"),
            ("PLAIN", plain("", "nobody", "wrong"), "not-authorized"),
            ("PLAIN", plain("", "no body", "wrong"), "not-authorized"),
            ("PLAIN", plain("", &jid, &password), "not-authorized"),
            ("PLAIN", plain(&other, user, &password), "invalid-authzid"),
            (
                "PLAIN",
                plain(&format!("{user}@evil.example"), user, &password),
                "invalid-authzid",
            ),
            ("PLAIN", plain("admin@example.org", user, &password), "invalid-authzid"),
            ("PLAIN", plain("a b@@", user, &password), "invalid-authzid"),
            ("PLAIN", "!!!!".to_owned(), "incorrect-encoding"),
            ("PLAIN", "AAA".to_owned(), "incorrect-encoding"),
            ("PLAIN", "AA=A".to_owned(), "incorrect-encoding"),
            ("PLAIN", "A===".to_owned(), "incorrect-encoding"),
            ("PLAIN", "==".to_owned(), "incorrect-encoding"),
            // RFC 4616 section 2: a password has at least one character.
            ("PLAIN", plain("", user, ""), "malformed-request"),
            ("PLAIN", base64("no separators"), "malformed-request"),
            ("PLAIN", base64("a\0b"), "malformed-request"),
            ("PLAIN", base64("\0a\0b\0c"), "malformed-request"),
            ("PLAIN", "=".to_owned(), "malformed-request"),
            ("PLAIN", STANDARD.encode(b"\0\xff\xfe\0x"), "malformed-request"),
            ("SCRAM-SHA-1", "=".to_owned(), "malformed-request"),
            ("SCRAM-SHA-1", base64("nonsense"), "malformed-request"),
            ("SCRAM-SHA-1", base64("n,,n=user"), "malformed-request"),
            ("SCRAM-SHA-1", base64("n,,n=,r=abc"), "malformed-request"),
            ("SCRAM-SHA-1", base64("n,,n=a=zz,r=abc"), "malformed-request"),
            ("SCRAM-SHA-256", base64("n,,m=x,n=user,r=abc"), "malformed-request"),
        ];
        for (mechanism, data, expected) in &cases {
            let answer = client.auth(mechanism, data).await;
            assert_eq!(condition(&answer), *expected, "{mechanism} {data}");
        }
        // No initial response: an empty challenge asks for it (section 6.4.2).
        client.send(format!("<auth xmlns='{SASL}' mechanism='PLAIN'/>")).await;
        client.expect(&format!("<challenge xmlns='{SASL}'/>")).await;
        let answer = client.respond(&plain("", user, "wrong")).await;
        assert_eq!(condition(&answer), "not-authorized");
        // A response that nobody asked for.
        let answer = client.respond(&plain("", user, &password)).await;
        assert_eq!(condition(&answer), "malformed-request");

        // Row 22: aborted, and then as before.
        client.auth("SCRAM-SHA-1", &base64(&format!("n,,n={user},r=abc"))).await;
        client.send(format!("<abort xmlns='{SASL}'/>")).await;
        let answer = client.stanza().await;
        assert_eq!(condition(&answer), "aborted");

        for mechanism in HASHES {
            let plus = format!("{mechanism}-PLUS");
            // What a session of BOSH says is bound to no channel.
            let is_bindable = transport != Transport::Bosh;
            let data = |client: &Client, binding: Binding| match is_bindable {
                true => client.binding_data(&binding),
                false => vec![7; 32],
            };
            let exporter = data(&client, Binding::Exporter);
            let honest = Scram::new(mechanism, user, &password, &Binding::None, &[]);
            let bound = Scram::new(&plus, user, &password, &Binding::Exporter, &exporter);
            let wrong = |change: &dyn Fn(&mut Scram), from: &Scram| {
                let mut scram = from.clone();
                change(&mut scram);
                scram
            };
            let end_point = data(&client, Binding::EndPoint);
            let cases: Vec<(&str, &str, Scram)> = vec![
                (
                    "wrong password",
                    mechanism,
                    wrong(&|s| s.password = "wrong".to_owned(), &honest),
                ),
                (
                    "wrong password, bound",
                    &plus,
                    wrong(&|s| s.password = "wrong".to_owned(), &bound),
                ),
                (
                    "unknown user",
                    mechanism,
                    wrong(&|s| s.user = "nobody".to_owned(), &honest),
                ),
                (
                    "another nonce",
                    mechanism,
                    wrong(
                        &|s| s.other_nonce = Some("fyko+d2lbbFgONRv9qkxdawLx".to_owned()),
                        &honest,
                    ),
                ),
                // Row 23 of the faults, row 17 of the attacks: somebody in between took -PLUS out of the list.
                (
                    "y, though it is offered",
                    mechanism,
                    Scram::new(mechanism, user, &password, &Binding::Unsupported, &[]),
                ),
                (
                    "another header at the end",
                    mechanism,
                    wrong(&|s| s.repeated = "y,,".to_owned(), &honest),
                ),
                (
                    "data where none is bound",
                    mechanism,
                    wrong(&|s| s.binding = exporter.clone(), &honest),
                ),
                ("data of another channel", &plus, wrong(&|s| s.binding[0] ^= 1, &bound)),
                (
                    "data of another type",
                    &plus,
                    wrong(&|s| s.binding = end_point.clone(), &bound),
                ),
                ("no data", &plus, wrong(&|s| s.binding.clear(), &bound)),
                (
                    "another type at the end",
                    &plus,
                    wrong(&|s| s.repeated = "p=tls-server-end-point,,".to_owned(), &bound),
                ),
            ];
            for (what, mechanism, mut scram) in cases {
                let expected = match is_bindable {
                    false if mechanism == plus => "invalid-mechanism",
                    // Then it is the truth.
                    false if what.starts_with("y,") => continue,
                    _ => "not-authorized",
                };
                let answer = client.scram(mechanism, &mut scram).await;
                assert_eq!(condition(&answer), expected, "{mechanism}: {what}");
            }
            let mut scram = wrong(&|s| s.header = format!("n,a={other},"), &honest);
            scram.repeated = scram.header.clone();
            let answer = client.scram(mechanism, &mut scram).await;
            assert_eq!(condition(&answer), "invalid-authzid", "{mechanism}");
            // A binding that the mechanism does not have, or lacks, never logs anybody in.
            for (mechanism, binding) in [
                (mechanism, Binding::Exporter),
                (plus.as_str(), Binding::None),
                (plus.as_str(), Binding::Other("tls-unique", vec![1; 12])),
            ] {
                let answer = client.scram_as(mechanism, user, &password, &binding).await;
                let condition = condition(&answer);
                assert!(
                    matches!(condition, "not-authorized" | "malformed-request")
                        || !is_bindable && mechanism == plus && condition == "invalid-mechanism",
                    "{mechanism} {binding:?} {condition}"
                );
            }
            // A final message that was used once does not work again.
            let mut scram = wrong(&|s| s.password = "wrong".to_owned(), &honest);
            client.scram(mechanism, &mut scram).await;
            let answer = client.respond(&base64("c=biws,r=abc,p=AAAA")).await;
            assert_eq!(condition(&answer), "malformed-request");
        }
        // After all of it the right password opens the door, with one's own address as authzid.
        let answer = client.auth("PLAIN", &plain(&jid, user, &password)).await;
        assert_eq!(answer.name(), "success", "{answer:?}");
        client.open().await;
        client.bind(None).await;
        assert_eq!(client.bare(), jid);
    }
}

/// Row 21: nothing tells an unknown user from a wrong password. Row 15 of the attacks, without the clock.
#[tokio::test]
async fn unknown_users_look_like_others() {
    let server = Server::builder().users(2).limit("login_attempts", 200).start();
    let jid = server.user();
    for transport in Transport::EVERY {
        let mut client = opened(&server, transport, Version::Any).await;
        for mechanism in HASHES {
            let mut ask = async |user: &str| {
                let mut scram = Scram::new(mechanism, user, "wrong", &Binding::None, &[]);
                let end = client.scram(mechanism, &mut scram).await;
                (scram.salt, scram.iterations, end.raw().to_owned())
            };
            let known = ask(local(&jid)).await;
            let ghost = ask("ghost").await;
            let other = ask("other-ghost").await;
            assert_eq!(ghost.0.len(), known.0.len(), "{mechanism}: salts of one length");
            assert_eq!(
                (ghost.1, &ghost.2),
                (known.1, &known.2),
                "{mechanism}: the same iterations, the same failure"
            );
            assert_eq!(ask("ghost").await, ghost, "{mechanism}: a salt that stays");
            assert_ne!(ghost.0, other.0, "{mechanism}: and differs between users");
        }
    }
}

/// Row 22: five attempts, then the stream ends (section 6.4.5).
#[tokio::test]
async fn attempts_are_counted() {
    let server = Server::with_users(2);
    let jid = server.user();
    for transport in Transport::EVERY {
        for bad in [testkit::plain("", local(&jid), "wrong"), "!".to_owned()] {
            let mut client = opened(&server, transport, Version::Any).await;
            for attempt in 1..=5 {
                let answer = client.auth("PLAIN", &bad).await;
                assert_eq!(answer.name(), "failure", "attempt {attempt}");
            }
            client.expect_stream_error("policy-violation").await;
        }
        // Nobody is locked out by it.
        let mut client = Client::login(&server, transport, &jid).await;
        client.nothing_more().await;
    }
}

/// A disabled account says so to who knows the password, and to nobody else.
#[tokio::test]
async fn disabled_accounts() {
    let server = Server::with_users(2);
    let jid = server.user();
    assert!(server.jackdaw(&["account", "disable", &jid], "").status.success());
    for transport in Transport::EVERY {
        let mut client = opened(&server, transport, Version::Any).await;
        let answer = client
            .auth("PLAIN", &testkit::plain("", local(&jid), &password_of(&jid)))
            .await;
        assert_eq!(condition(&answer), "account-disabled");
        let answer = client.auth("PLAIN", &testkit::plain("", local(&jid), "wrong")).await;
        assert_eq!(condition(&answer), "not-authorized");
        let answer = client
            .scram_as("SCRAM-SHA-256", local(&jid), &password_of(&jid), &Binding::None)
            .await;
        assert_eq!(condition(&answer), "account-disabled");
    }
    assert!(server.jackdaw(&["account", "enable", &jid], "").status.success());
    Client::login(&server, Transport::Direct, &jid)
        .await
        .nothing_more()
        .await;
}

/// Section 6.3.4 and 6.4.6: authenticated once, and with a new stream.
#[tokio::test]
async fn after_success() {
    let server = Server::builder().users(4).domain("second.example").start();
    for transport in Transport::EVERY {
        let jid = server.user();
        // A second login on the same connection.
        let mut client = Client::authenticated(&server, transport, &jid).await;
        client
            .send(format!("<auth xmlns='{SASL}' mechanism='PLAIN'>=</auth>"))
            .await;
        client.expect_stream_error("policy-violation").await;
        // A stanza where a stream header is due.
        let mut client = opened(&server, transport, Version::Any).await;
        client.plain(local(&jid), &password_of(&jid)).await;
        let bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
        if transport == Transport::Bosh {
            // What begins a new stream is an attribute of its request, and there is none.
            client.send_whole(bind.as_bytes()).await;
        } else {
            client.restart();
            client.send(bind).await;
            client.read_header().await;
        }
        let error = client.stanza().await;
        assert_eq!(error.name(), "error", "{error:?}");
        client.expect_end().await;
        // Row 24 of the attacks: another domain behind the login.
        let mut client = opened(&server, transport, Version::Any).await;
        client.plain(local(&jid), &password_of(&jid)).await;
        client.restart();
        client
            .send(
                "<stream:stream to='second.example' version='1.0' xmlns='jabber:client' \
                 xmlns:stream='http://etherx.jabber.org/streams'>",
            )
            .await;
        client.read_header().await;
        let error = client.stanza().await;
        assert_eq!(
            (error.name(), error.condition()),
            ("error", Some("host-unknown")),
            "{error:?}"
        );
        client.expect_end().await;
    }
}

/// An account belongs to its domain.
#[tokio::test]
async fn domains_are_apart() {
    let server = Server::builder()
        .domain("second.example")
        .account_with("juliet@example.org", "one")
        .account_with("juliet@second.example", "two")
        .start();
    for transport in Transport::EVERY {
        for (domain, password, succeeds) in [
            ("example.org", "one", true),
            ("example.org", "two", false),
            ("second.example", "two", true),
            ("second.example", "one", false),
        ] {
            let mut client = match transport {
                Transport::WebSocket | Transport::Bosh => Client::connect(&server, transport).await,
                _ => {
                    let options = ConnectOptions::default();
                    Client::tcp(&server, transport, options).await.expect("reached")
                }
            };
            client.domain = domain.to_owned();
            if transport == Transport::Direct {
                client.start_tls().await.expect("a handshake");
            }
            client.secure().await;
            client.open().await;
            let answer = client.auth("PLAIN", &testkit::plain("", "juliet", password)).await;
            assert_eq!(answer.name() == "success", succeeds, "{domain} {password}");
            if succeeds {
                client.open().await;
                client.bind(Some("r")).await;
                assert_eq!(client.jid, format!("juliet@{domain}/r"));
            }
        }
    }
}
