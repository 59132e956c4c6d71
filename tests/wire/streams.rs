//! Streams, features and TLS (RFC 6120 sections 4 and 5, XEP-0368).

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use testkit::{Client, ConnectOptions, Item, NS_STREAM, Server, Stanza, TIMEOUT, Transport, Version};

const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

fn names(features: &Stanza) -> Vec<&str> {
    features.children().map(|child| child.name()).collect()
}

#[tokio::test]
async fn headers_and_features() {
    let server = Server::builder().users(2).domain("second.example").start();
    let mut ids = BTreeSet::new();
    for transport in Transport::BOTH {
        let mut client = Client::connect(&server, transport).await;
        if transport == Transport::Starttls {
            let features = client.open().await;
            assert_eq!(
                names(&features),
                ["starttls", "limits"],
                "nothing but TLS can be negotiated: {features:?}"
            );
            assert!(features.matches(&format!(
                "<stream:features><starttls xmlns='{TLS}'><required/></starttls></stream:features>"
            )));
            assert!(ids.insert(client.header.attr("id").expect("an id").to_owned()));
            client = Client::secured(&server, transport).await;
        }
        let jid = server.user();
        let opening = |from: &str, to: &str| {
            format!(
                "<?xml version='1.0'?><stream:stream {from} to='{to}' version='1.0' xml:lang='de' \
                 xmlns='jabber:client' xmlns:stream='{NS_STREAM}'>"
            )
        };
        let features = client
            .open_with(&opening(&format!("from='{jid}/x'"), "EXAMPLE.org"))
            .await;
        let header = client.header.clone();
        assert!(header.raw.starts_with("<?xml version='1.0'"), "section 4.2: {header:?}");
        assert_eq!(header.attr("from"), Some("example.org"), "section 4.7.1");
        assert_eq!(
            header.attr("to"),
            Some(jid.as_str()),
            "section 4.7.2: the bare JID of the client"
        );
        assert_eq!(header.attr("version"), Some("1.0"), "section 4.7.5");
        assert!(header.attr("xml:lang").is_some(), "section 4.7.4");
        assert!(
            header.raw.contains("xmlns='jabber:client'"),
            "section 4.8.2: {header:?}"
        );
        let id = header.attr("id").expect("section 4.7.3").to_owned();
        assert!(id.len() >= 16, "unpredictable: {id}");
        assert!(ids.insert(id));
        assert_eq!(
            names(&features),
            [
                "sasl-channel-binding",
                "authentication",
                "mechanisms",
                "register",
                "register",
                "register",
                "limits",
                "config-version"
            ],
            "{features:?}"
        );

        let (user, _) = jid.split_once('@').expect("user@domain");
        client.plain(user, &testkit::password_of(&jid)).await;
        let features = client.open_with(&opening("", "example.org")).await;
        assert_eq!(client.header.attr("to"), None, "section 4.7.2: no from, no to");
        assert!(
            ids.insert(client.header.attr("id").expect("an id").to_owned()),
            "a new stream has a new id"
        );
        let names: BTreeSet<&str> = names(&features).into_iter().collect();
        assert_eq!(
            names,
            BTreeSet::from(["bind", "c", "csi", "limits", "sm", "sub", "ver"]),
            "{features:?}"
        );
        assert!(features.matches(
            "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><required/></bind>\
             <ver xmlns='urn:xmpp:features:rosterver'/><sub xmlns='urn:xmpp:features:pre-approval'/>\
             <sm xmlns='urn:xmpp:sm:3'/><csi xmlns='urn:xmpp:csi:0'/>\
             <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='*' ver='*'/></stream:features>"
        ));
        client.close().await;

        // A closing tag before anything else is answered in kind (section 4.4).
        let mut client = Client::opened(&server, transport).await;
        client.send("</stream:stream>").await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn tls_versions_and_protocols() {
    let server = Server::builder().users(1).domain("second.example").start();
    for transport in Transport::BOTH {
        for (version, is_13) in [(Version::Tls12, false), (Version::Tls13, true), (Version::Any, true)] {
            let options = ConnectOptions {
                version,
                ..ConnectOptions::default()
            };
            let mut client = Client::secured_with(&server, transport, options).await;
            assert_eq!(client.is_tls13(), is_13, "{version:?}");
            client.open().await;
        }
        // XEP-0368 section 3: the protocol is named, and one that we do not speak is refused.
        let alpn = |names: &[&'static str]| ConnectOptions {
            alpn: Some(names.to_vec()),
            ..ConnectOptions::default()
        };
        if transport == Transport::Direct {
            let client = Client::secured_with(&server, transport, alpn(&["h2", "xmpp-client"])).await;
            assert_eq!(client.alpn(), Some("xmpp-client"));
            // "clients MAY" name none.
            let mut client = Client::secured_with(&server, transport, alpn(&[])).await;
            assert_eq!(client.alpn(), None);
            client.open().await;
            let refused = Client::connect_with(&server, transport, alpn(&["http/1.1"])).await;
            assert!(refused.is_err(), "a request of another protocol must not be answered");
        }
        // Each domain shows its own certificate (SNI, or the stream's `to`).
        let mut shown = Vec::new();
        for domain in ["example.org", "second.example"] {
            let mut client = Client::tcp(&server, transport, ConnectOptions::default())
                .await
                .expect("reached");
            client.domain = domain.to_owned();
            if transport == Transport::Direct {
                client.start_tls().await.expect("a handshake");
            } else {
                client.secure().await;
            }
            client.open().await;
            assert_eq!(client.header.attr("from"), Some(domain));
            shown.push(client.certificate().to_vec());
        }
        assert_ne!(shown[0], shown[1], "each domain has a certificate of its own");
    }
}

/// A `ClientHello` of a version below 1.2 (RFC 5246 section 7.4.1.2, RFC 8446 section 4.1.2), which the client
/// library cannot make any more.
fn client_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend_from_slice(&[7; 32]);
    body.push(0);
    // ECDHE-ECDSA-AES128-SHA, ECDHE-RSA-AES128-SHA, AES128-SHA.
    body.extend_from_slice(&[0, 6, 0xc0, 0x09, 0xc0, 0x13, 0x00, 0x2f]);
    body.extend_from_slice(&[1, 0]);
    // supported_groups: secp256r1; ec_point_formats: uncompressed.
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0];
    body.extend_from_slice(&[0, extensions.len() as u8]);
    body.extend_from_slice(&extensions);
    let mut record = vec![22, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8];
    record.extend_from_slice(&body);
    record
}

#[tokio::test]
async fn old_tls_is_refused() {
    let server = Server::with_users(1);
    for minor in [0, 1, 2] {
        let mut socket = TcpStream::connect((server.address(), 5223)).expect("reached");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout can be set");
        socket.write_all(&client_hello(minor)).expect("written");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).expect("the server closes");
        // An alert (21), fatal (2): protocol_version (70) or handshake_failure (40).
        assert!(
            answer.len() >= 7 && answer[0] == 21 && answer[5] == 2,
            "version 3.{minor}: {answer:?}"
        );
        assert!(matches!(answer[6], 70 | 40), "version 3.{minor}: {answer:?}");
    }
    // What is not TLS at all ends the connection.
    let mut socket = TcpStream::connect((server.address(), 5223)).expect("reached");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout can be set");
    socket
        .write_all(b"<?xml version='1.0'?><stream:stream to='example.org'>")
        .expect("written");
    let mut answer = Vec::new();
    // A reset is an end too.
    let _ = socket.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"<"), "nothing is said in the clear: {answer:?}");
}

/// Row 17 of the faults, row 10 of the attacks.
#[tokio::test]
async fn nothing_in_the_clear_survives_starttls() {
    let server = Server::with_users(2);
    let victim = server.user();
    let plain = testkit::plain(
        "",
        victim.split_once('@').expect("user@domain").0,
        &testkit::password_of(&victim),
    );
    let smuggled = [
        "<iq type='get' id='smuggled' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>".to_owned(),
        format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>"),
        format!(
            "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='{NS_STREAM}'>"
        ),
        "<message to='".to_owned(),
        " \n".to_owned(),
    ];
    for behind in &smuggled {
        let mut client = Client::connect(&server, Transport::Starttls).await;
        client.open().await;
        client.send(format!("<starttls xmlns='{TLS}'/>{behind}")).await;
        client.expect(&format!("<proceed xmlns='{TLS}'/>")).await;
        client.start_tls().await.expect("a handshake");
        // The first thing on the new stream is the answer to the new header; then a login works, from the start.
        let features = client.open().await;
        assert_eq!(
            names(&features),
            [
                "sasl-channel-binding",
                "authentication",
                "mechanisms",
                "register",
                "register",
                "register",
                "limits",
                "config-version"
            ],
            "behind {behind}"
        );
        let (user, password) = (
            victim.split_once('@').expect("user@domain").0,
            testkit::password_of(&victim),
        );
        client.plain(user, &password).await;
        client.open().await;
        client.bind(None).await;
        client.nothing_more().await;
    }
    for transport in Transport::BOTH {
        // A second <starttls/>: section 5.4.2.2.
        let mut client = Client::opened(&server, transport).await;
        client.send(format!("<starttls xmlns='{TLS}'/>")).await;
        client.expect(&format!("<failure xmlns='{TLS}'/>")).await;
        client.expect_end().await;
    }
}

#[tokio::test]
async fn nothing_is_done_before_tls() {
    let server = Server::with_users(2);
    let bystander = server.user();
    let mut bystander = Client::online(&server, Transport::Direct, &bystander).await;
    let victim = server.user();
    let (user, _) = victim.split_once('@').expect("user@domain");

    let mut client = Client::connect(&server, Transport::Starttls).await;
    client.open().await;
    for mechanism in ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256-PLUS"] {
        let data = testkit::plain("", user, &testkit::password_of(&victim));
        let answer = client.auth(mechanism, &data).await;
        assert_eq!(
            (answer.name(), answer.condition()),
            ("failure", Some("encryption-required")),
            "section 6.5.4"
        );
    }
    let to = bystander.jid.clone();
    for stanza in [
        format!("<message to='{to}'><body>x</body></message>"),
        format!("<presence to='{to}'/>"),
        "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>".to_owned(),
    ] {
        let mut client = Client::connect(&server, Transport::Starttls).await;
        client.open().await;
        client.send(stanza).await;
        client.expect_stream_error("not-authorized").await;
    }
    bystander.nothing_more().await;
}

/// `tls = "optional"` and `"off"`: what is offered then.
#[tokio::test]
async fn tls_that_is_not_required() {
    for (tls, offers_tls) in [("optional", true), ("off", false)] {
        let server = Server::builder().users(1).tls(tls).start();
        let jid = server.user();
        let (user, _) = jid.split_once('@').expect("user@domain");
        let mut client = Client::connect(&server, Transport::Starttls).await;
        let features = client.open().await;
        assert_eq!(names(&features).contains(&"starttls"), offers_tls, "{features:?}");
        let mechanisms: Vec<String> = features
            .get_child("mechanisms", "urn:ietf:params:xml:ns:xmpp-sasl")
            .expect("a login is possible")
            .children()
            .map(|mechanism| mechanism.text())
            .collect();
        assert!(
            !mechanisms.iter().any(|name| name == "PLAIN" || name.ends_with("-PLUS")),
            "{mechanisms:?}"
        );
        let data = testkit::plain("", user, &testkit::password_of(&jid));
        let answer = client.auth("PLAIN", &data).await;
        assert_eq!(
            answer.condition(),
            Some("encryption-required"),
            "never a password in the clear"
        );
        let password = testkit::password_of(&jid);
        let answer = client
            .scram_as("SCRAM-SHA-256", user, &password, &testkit::Binding::None)
            .await;
        assert_eq!(answer.name(), "success");
        client.open().await;
        client.bind(None).await;
        client.nothing_more().await;
        let warning = if offers_tls { "in the clear" } else { "NOT ENCRYPTED" };
        assert!(server.printed().contains(warning), "it warns loudly");
        if !offers_tls {
            let mut client = Client::connect(&server, Transport::Starttls).await;
            client.open().await;
            client.send(format!("<starttls xmlns='{TLS}'/>")).await;
            client.expect(&format!("<failure xmlns='{TLS}'/>")).await;
            client.expect_end().await;
        }
    }
}

/// A certificate is read again on SIGHUP; one that cannot be used leaves the old one in force.
#[tokio::test]
async fn certificates_are_read_again() {
    let server = Server::builder().users(1).domain("second.example").start();
    let data = server.folder().join("data");
    let find = |domain: &str, what: &str| {
        let mut found = Vec::new();
        let mut folders = vec![data.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("readable").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().contains(domain) && path.to_string_lossy().contains(what) {
                    found.push(path);
                }
            }
        }
        assert_eq!(found.len(), 1, "one {what} of {domain}: {found:?}");
        found.remove(0)
    };
    let (cert, key) = (find("example.org", ".crt"), find("example.org", ".key"));
    let other = (find("second.example", ".crt"), find("second.example", ".key"));
    let shown = async || Client::secured(&server, Transport::Direct).await.certificate().to_vec();
    let old = shown().await;

    std::fs::write(&cert, "no certificate").expect("written");
    let seen = server.printed().len();
    server.sighup();
    wait_for(|| server.printed()[seen..].contains("old certificate stays")).await;
    assert_eq!(shown().await, old, "the old one stays in force");

    std::fs::copy(&other.0, &cert).expect("copied");
    std::fs::copy(&other.1, &key).expect("copied");
    let seen = server.printed().len();
    server.sighup();
    wait_for(|| server.printed()[seen..].contains("read again")).await;
    assert_ne!(shown().await, old, "the new one is shown");
}

pub(crate) async fn wait_for(mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(TIMEOUT, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.expect("it happens in time");
}

/// However the bytes of a login are cut, it is the same login.
#[tokio::test]
async fn bytes_may_come_one_by_one() {
    let server = Server::with_users(2);
    for transport in Transport::BOTH {
        let jid = server.user();
        let (user, _) = jid.split_once('@').expect("user@domain");
        let mut client = Client::secured(&server, transport).await;
        let header = format!(
            "<?xml version='1.0'?>\n<stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='{NS_STREAM}'>"
        );
        for byte in header.bytes() {
            client.send([byte]).await;
        }
        client.read_header().await;
        client.stanza().await;
        let plain = testkit::plain("", user, &testkit::password_of(&jid));
        for byte in format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>").bytes() {
            client.send([byte]).await;
        }
        client
            .expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            .await;
        client.open().await;
        client.bind(None).await;
        let text = format!("<message to='{jid}' id='é'><body>…\u{1f426}</body></message>");
        client.presence("<presence/>").await;
        client.drain().await;
        for byte in text.bytes() {
            client.send([byte]).await;
        }
        client.expect("<message id='é'><body>…\u{1f426}</body></message>").await;
        // All at once: everything behind the features in one write.
        client.send("<iq type='get' id='1' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq> \n<iq type='get' id='2' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq></stream:stream>").await;
        client.expect("<iq type='result' id='1'/>").await;
        client.expect("<iq type='result' id='2'/>").await;
        client.wait_keeping_end().await;
    }
}

trait End {
    async fn wait_keeping_end(&mut self);
}

impl End for Client {
    /// The end of the stream, whatever presence comes before it.
    async fn wait_keeping_end(&mut self) {
        loop {
            match self.item().await {
                Item::Close => break,
                Item::Stanza(_) => {}
                other => self.fail(&format!("the end expected, {other:?} came")),
            }
        }
    }
}
