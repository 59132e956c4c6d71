//! Attacks that are more than one wrong input: on the order of the negotiation, on whose domain a stream is, on what
//! another user's parser makes of a stanza.

use testkit::{Client, Item, NS_STREAM, Server, Transport};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// Numbers without a pattern, the same in each run (the xorshift of Marsaglia, 2003).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// Row 9: random walks over everything that negotiation knows. Nobody becomes anybody without a password, whatever the
/// order; in the clear not even with one.
#[tokio::test]
async fn random_walks() {
    const WALKS: usize = 150;
    const STEPS: usize = 8;
    let server = Server::with_users(2);
    let jid = server.user();
    let user = jid.split_once('@').expect("user@domain").0.to_owned();
    let mut bystander = Client::online(&server, Transport::Direct, &server.user()).await;
    let good = format!(
        "<auth xmlns='{SASL}' mechanism='PLAIN'>{}</auth>",
        testkit::plain("", &user, &testkit::password_of(&jid))
    );
    let bad = format!(
        "<auth xmlns='{SASL}' mechanism='PLAIN'>{}</auth>",
        testkit::plain("", &user, "wrong")
    );
    let header =
        format!("<stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='{NS_STREAM}'>");
    let target = bystander.jid.clone();
    let steps = [
        header.clone(),
        bad,
        format!("<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>biwsbj11c2VyLHI9YWJj</auth>"),
        format!("<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256-PLUS'>=</auth>"),
        format!("<response xmlns='{SASL}'>=</response>"),
        format!("<response xmlns='{SASL}'/>"),
        format!("<abort xmlns='{SASL}'/>"),
        format!("<success xmlns='{SASL}'/>"),
        "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>".to_owned(),
        "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>".to_owned(),
        "<iq type='set' id='s'><session xmlns='urn:ietf:params:xml:ns:xmpp-session'/></iq>".to_owned(),
        "<resume xmlns='urn:xmpp:sm:3' h='0' previd='x'/>".to_owned(),
        "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>".to_owned(),
        format!("<message to='{target}'><body>smuggled</body></message>"),
        format!("<presence to='{target}'/>"),
        "</stream:stream>".to_owned(),
        " ".to_owned(),
    ];
    let mut random = Random(0x1abc_def0_1234_5678);
    for walk in 0..WALKS {
        let clear = walk % 3 == 0;
        let transport = match clear {
            true => Transport::Starttls,
            false => Transport::EVERY[walk % 4],
        };
        let mut client = if clear {
            Client::connect(&server, transport).await
        } else {
            Client::secured(&server, transport).await
        };
        let is_cut = matches!(transport, Transport::WebSocket | Transport::Bosh);
        let mut path = Vec::new();
        client.send(&header).await;
        for _ in 0..STEPS {
            // In the clear the right password is one of the steps.
            let step = random.below(steps.len() + usize::from(clear));
            let step = steps.get(step).unwrap_or(&good);
            path.push(step.as_str());
            if is_cut {
                // Each in a message or a request of its own, in the namespace of a stream's stanzas.
                client.send_whole(whole(step, transport).as_bytes()).await;
            } else {
                client.send(step).await;
            }
        }
        // A header inside the stream is an element like any other, and has to be closed as well.
        let headers = path.iter().filter(|step| **step == header).count();
        let headers = if is_cut { 0 } else { headers };
        client.send("</stream:stream>".repeat(1 + headers)).await;
        loop {
            match client.item().await {
                Item::Stanza(stanza) => {
                    let allowed = ["features", "failure", "failed", "challenge", "error"].contains(&stanza.name());
                    assert!(allowed, "walk {walk}: {stanza:?} after {path:#?}");
                }
                Item::End { .. } => break,
                _ => {}
            }
        }
    }
    bystander.nothing_more().await;
}

/// A step of a random walk as it goes in a message or a request.
pub(crate) fn whole(step: &str, transport: Transport) -> String {
    if transport == Transport::WebSocket {
        if step.starts_with("<stream:stream") {
            return "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>".to_owned();
        }
        if step.starts_with("</") {
            return "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>".to_owned();
        }
    }
    let mut step = step.to_owned();
    for name in ["<iq ", "<message ", "<presence "] {
        step = step.replace(name, &format!("{name}xmlns='jabber:client' "));
    }
    step
}

/// Row 8: no compression is offered, and none begins.
#[tokio::test]
async fn no_compression() {
    let server = Server::with_users(Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut client = Client::authenticated(&server, transport, &server.user()).await;
        let features = client.features.clone().expect("features");
        assert!(!features.raw().contains("compress"), "{features:?}");
        client
            .send("<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>")
            .await;
        client.expect_stream_error("unsupported-stanza-type").await;
    }
}

/// Row 6: whatever is accepted arrives as one stanza with the same content, for a parser that is not the server's own
/// (the kit reads with rxml, and would see two stanzas where one was smuggled).
#[tokio::test]
async fn nothing_is_smuggled() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut receiver = Client::online(&server, transport, &server.user()).await;
        let to = receiver.jid.clone();
        let accepted = [
            "<body>]]&gt;</body>",
            "<body><![CDATA[</message><message from='admin@example.org'><body>x</body></message>]]></body>",
            "<body><![CDATA[]]]]><![CDATA[>]]></body>",
            "<body>&lt;/message>&lt;iq></body>",
            "<x xmlns='urn:&apos;&quot;&lt;>' a=\"&quot;'>\"/><y xmlns=\"urn:'\"/>",
            "<x xmlns='urn:a b'/><p:x xmlns:p='jabber:client'/>",
            "<message xmlns='jabber:client' from='admin@example.org'><body>x</body></message>",
            "<stream:error xmlns:stream='http://etherx.jabber.org/streams'/>",
            "<a xmlns='urn:x'\n\t b = '1'\r\n></a\n>",
            "<body>a\r\nb&#13;&#10;c&#x9;</body>",
            "<body a='\n\t'>x</body>",
            "<\u{e9}l\u{e9}ment xmlns='urn:x' \u{e9}='1'/>",
            "<x xmlns:a='urn:1'><a:y xmlns:a='urn:2'/><a:y/></x>",
            "<x xml:space='preserve' xml:lang='x-\u{e9}'/>",
        ];
        for inner in accepted {
            let sent = format!("<message to='{to}' id='s'>{inner}</message>");
            sender.send(&sent).await;
            // Every part of it, as minidom reads what was sent.
            let came = receiver.expect(&sent).await;
            let whole: minidom::Element = format!("<w xmlns='jabber:client'>{sent}</w>")
                .parse()
                .expect("well-formed");
            let original = whole.children().next().expect("one");
            let mut stamped = (*came).clone();
            stamped.attrs_mut().retain_only(&["to", "id"]);
            // XEP-0359: what is in the archive has its id.
            stamped.remove_child("stanza-id", "urn:xmpp:sid:0");
            assert_eq!(&stamped, original, "{inner}\n{came:?}");
            receiver.nothing_more().await;
        }
        sender.nothing_more().await;
    }
}

trait Retain {
    fn retain_only(&mut self, names: &[&str]);
}

impl Retain for rxml::AttrMap {
    fn retain_only(&mut self, names: &[&str]) {
        let others: Vec<_> = self
            .iter()
            .map(|((ns, name), _)| (ns.clone(), name.clone()))
            .filter(|(_, name)| !names.contains(&name.as_str()))
            .collect();
        for (ns, name) in others {
            self.remove(&ns, &name);
        }
    }
}

/// Row 24: an administrator of one domain, or of another server, is none of ours.
#[tokio::test]
async fn a_stream_stays_with_its_domain() {
    let server = Server::builder()
        .domain("second.example")
        .account("juliet@example.org")
        .account("juliet@second.example")
        .start();
    for transport in Transport::EVERY {
        for (here, there) in [("example.org", "second.example"), ("second.example", "example.org")] {
            let mut client = Client::login(&server, transport, &format!("juliet@{here}/r")).await;
            // The namesake's address is not one's own.
            for from in [
                format!("juliet@{there}"),
                format!("juliet@{there}/r"),
                there.to_owned(),
                here.to_owned(),
            ] {
                let mut liar = Client::login(&server, transport, &format!("juliet@{here}/liar")).await;
                liar.send(format!(
                    "<message from='{from}' to='juliet@{here}/r'><body>x</body></message>"
                ))
                .await;
                liar.expect_stream_error("invalid-from").await;
            }
            client.nothing_more().await;
            // Between domains of one server stanzas travel, with true addresses.
            let mut other = Client::login(&server, transport, &format!("juliet@{there}/r")).await;
            client
                .send(format!("<message to='juliet@{there}/r'><body>x</body></message>"))
                .await;
            other
                .expect(&format!("<message from='juliet@{here}/r'><body>x</body></message>"))
                .await;
            let answer = client
                .iq("get", &format!("juliet@{there}"), "<query xmlns='jabber:iq:roster'/>")
                .await;
            assert_eq!(crate::support::error_of(&answer), "auth/forbidden");
            let answer = client.iq("get", there, "<ping xmlns='urn:xmpp:ping'/>").await;
            assert_eq!(answer.get("type"), "result");
            other.nothing_more().await;
        }
    }
}
