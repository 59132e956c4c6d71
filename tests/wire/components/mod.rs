//! Components (XEP-0114): who may speak for a domain, and the way of stanzas to it and from it.

mod connections;
mod delegation;
mod elsewhere;
mod privileged;
mod sent;

use std::time::Duration;

use testkit::{COMPONENT_SECRET, Client, Item, NS_COMPONENT, Server, Transport};

use crate::support::{chat, error_of, items, roster, settle};

const DOMAIN: &str = "irc.example.org";

fn server(users: usize) -> Server {
    Server::builder()
        .users(users)
        .component(DOMAIN)
        .component("elsewhere.test")
        .start()
}

async fn online(server: &Server) -> Client {
    let jid = format!("{}/here", server.user());
    Client::online(server, Transport::Direct, &jid).await
}

#[tokio::test]
async fn the_handshake() {
    let server = server(0);
    let mut component = Client::opened_component(&server, DOMAIN).await;
    component.read_header().await;
    let header = &component.header;
    assert!(header.raw.contains(&format!("xmlns='{NS_COMPONENT}'")), "{header:?}");
    assert_eq!(header.attr("from"), Some(DOMAIN));
    // Section 3: it has no version, so no features follow either.
    assert_eq!(header.attr("version"), None);
    let handshake = component.component_handshake(COMPONENT_SECRET);
    component.send(format!("<handshake>{handshake}</handshake>")).await;
    component.expect("<handshake/>").await;
    component.close().await;
    for said in [
        format!("<handshake>{}</handshake>", "0".repeat(40)),
        "<handshake/>".to_owned(),
        // What a client would say, and what may come only later.
        format!("<message from='a@{DOMAIN}' to='u0@example.org'/>"),
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'/>".to_owned(),
    ] {
        let mut component = Client::opened_component(&server, DOMAIN).await;
        component.read_header().await;
        component.send(said).await;
        component.expect_stream_error("not-authorized").await;
    }
    // That of another stream.
    let mut component = Client::opened_component(&server, DOMAIN).await;
    component.read_header().await;
    component.send(format!("<handshake>{handshake}</handshake>")).await;
    component.expect_stream_error("not-authorized").await;
    assert_eq!(server.logged(COMPONENT_SECRET), 0);
    assert_eq!(server.logged(&handshake), 0);
}

#[tokio::test]
async fn headers_that_are_refused() {
    let server = server(0);
    for (domain, content, condition) in [
        ("nobody.example.org", NS_COMPONENT, "host-unknown"),
        // What the server serves itself is nobody else's.
        ("example.org", NS_COMPONENT, "host-unknown"),
        ("", NS_COMPONENT, "host-unknown"),
        (DOMAIN, "jabber:client", "invalid-namespace"),
        (DOMAIN, "jabber:component:connect", "invalid-namespace"),
    ] {
        let mut component = Client::to_components(&server).await;
        component.open_component(domain, content).await;
        // A header comes first.
        component.expect_stream_error(condition).await;
    }
    let mut client = Client::connect(&server, Transport::Starttls).await;
    client.open_component(DOMAIN, NS_COMPONENT).await;
    client.expect_stream_error("invalid-namespace").await;
}

#[tokio::test]
async fn one_at_a_time() {
    let server = server(0);
    let mut first = Client::component(&server, DOMAIN).await;
    let mut second = Client::opened_component(&server, DOMAIN).await;
    second.read_header().await;
    let handshake = second.component_handshake(COMPONENT_SECRET);
    second.send(format!("<handshake>{handshake}</handshake>")).await;
    second.expect_stream_error("conflict").await;
    first.ping().await;
    first.close().await;
    Client::component(&server, DOMAIN).await.ping().await;
}

#[tokio::test]
async fn there_and_back() {
    let server = server(2);
    let mut component = Client::component(&server, DOMAIN).await;
    let mut user = online(&server).await;
    let (bare, full) = (user.bare().to_owned(), user.jid.clone());
    user.send(chat("room@irc.example.org/nick", "hello")).await;
    let came = component
        .expect(&format!(
            "<message from='{full}' to='room@irc.example.org/nick' type='chat'><body>hello</body></message>"
        ))
        .await;
    assert!(!came.raw().contains("xmlns"), "{came:?}");
    component
        .send(format!(
            "<message from='room@{DOMAIN}/nick' to='{full}' type='chat'><body>hi</body></message>\
             <message xmlns='jabber:client' from='{DOMAIN}' to='{bare}'><body>two</body><x xmlns='urn:x'/></message>"
        ))
        .await;
    user.expect(&format!(
        "<message from='room@{DOMAIN}/nick' to='{full}' type='chat'><body>hi</body></message>"
    ))
    .await;
    user.expect(&format!(
        "<message from='{DOMAIN}' to='{bare}'><body>two</body><x xmlns='urn:x'/></message>"
    ))
    .await;
    // A request each way.
    let version = "<query xmlns='jabber:iq:version'/>";
    user.send(format!("<iq type='get' id='v' to='{DOMAIN}'>{version}</iq>"))
        .await;
    component
        .expect(&format!(
            "<iq type='get' id='v' from='{full}' to='{DOMAIN}'>{version}</iq>"
        ))
        .await;
    component
        .send(format!("<iq type='result' id='v' from='{DOMAIN}' to='{full}'/>"))
        .await;
    user.expect(&format!("<iq type='result' id='v' from='{DOMAIN}'/>"))
        .await;
    let answer = component.iq("get", "example.org", version).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
    let answer = component.iq("get", "nobody@example.org", version).await;
    assert_eq!(error_of(&answer), "cancel/service-unavailable");
    // What is wrong with a stanza is told to whose it is.
    component
        .send(format!("<iq type='get' from='bot@{DOMAIN}' to='{bare}' id='none'/>"))
        .await;
    let refused = component
        .expect(&format!("<iq type='error' id='none' to='bot@{DOMAIN}'/>"))
        .await;
    assert_eq!(error_of(&refused), "modify/bad-request");
    // Between two of them.
    let mut other = Client::component(&server, "elsewhere.test").await;
    other
        .send(format!(
            "<message from='elsewhere.test' to='{DOMAIN}'><body>x</body></message>"
        ))
        .await;
    component
        .expect(&format!("<message from='elsewhere.test' to='{DOMAIN}'/>"))
        .await;
}

#[tokio::test]
async fn who_is_away_gets_it_later() {
    let server = server(2);
    let mut component = Client::component(&server, DOMAIN).await;
    let user = server.user();
    let message = format!(
        "<message from='a@{DOMAIN}' to='{user}' type='chat' id='1'><body>waits</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='1'/></message>"
    );
    component.send(&message).await;
    // The same id again is another message: who sends again here is not a stream that broke.
    component.send(&message).await;
    settle(&mut component, &user).await;
    let mut user = Client::login(&server, Transport::Direct, &format!("{user}/later")).await;
    user.send("<presence/>").await;
    for _ in 0..2 {
        user.wait(&format!(
            "<message from='a@{DOMAIN}' type='chat'><body>waits</body></message>"
        ))
        .await;
    }
}

/// RFC 6120 section 10.1: what need not be kept does not get past what has to be on disk first.
#[tokio::test]
async fn nothing_overtakes() {
    const ROUNDS: usize = 30;
    let server = server(1);
    let mut component = Client::component(&server, DOMAIN).await;
    let mut user = online(&server).await;
    let (bare, full) = (user.bare().to_owned(), user.jid.clone());
    let mut text = String::new();
    for round in 0..ROUNDS {
        text.push_str(&format!(
            "<message type='chat' id='{round}a' from='a@{DOMAIN}' to='{bare}'><body>kept</body></message>\
             <message type='chat' id='{round}b' from='a@{DOMAIN}' to='{full}'>\
             <paused xmlns='http://jabber.org/protocol/chatstates'/></message>\
             <presence id='{round}c' from='a@{DOMAIN}' to='{full}'/>"
        ));
    }
    component.send(text).await;
    for round in 0..ROUNDS {
        for part in ["a", "b", "c"] {
            assert_eq!(user.stanza().await.get("id"), format!("{round}{part}"));
        }
    }
}

#[tokio::test]
async fn stanzas_that_end_the_stream() {
    let server = server(1);
    for (stanza, condition) in [
        ("<message from='u0@example.org' to='u0@example.org'/>", "invalid-from"),
        ("<message from='elsewhere.test' to='u0@example.org'/>", "invalid-from"),
        (
            "<message from='a@x.irc.example.org' to='u0@example.org'/>",
            "invalid-from",
        ),
        (
            "<message from='a@@irc.example.org' to='u0@example.org'/>",
            "invalid-from",
        ),
        // An error for it goes to nobody else.
        (
            "<iq type='get' from='u0@example.org' to='u0@example.org' id='x'/>",
            "invalid-from",
        ),
        ("<message to='u0@example.org'/>", "improper-addressing"),
        ("<message from='irc.example.org'/>", "improper-addressing"),
        ("<handshake/>", "unsupported-stanza-type"),
        (
            "<message xmlns='jabber:server' from='irc.example.org' to='u0@example.org'/>",
            "unsupported-stanza-type",
        ),
        ("<message from='irc.example.org'>", "not-well-formed"),
    ] {
        let mut component = Client::component(&server, DOMAIN).await;
        let end = if condition == "not-well-formed" { "</iq>" } else { "" };
        component.send(format!("{stanza}{end}")).await;
        component.expect_stream_error(condition).await;
    }
}

#[tokio::test]
async fn while_it_is_not_there() {
    let server = server(1);
    let mut user = online(&server).await;
    for (stanza, is_answered) in [
        (chat("a@irc.example.org", "1"), true),
        (
            format!("<iq type='get' id='1' to='{DOMAIN}'><query xmlns='jabber:iq:version'/></iq>"),
            true,
        ),
        (format!("<presence id='1' to='room@{DOMAIN}/nick'/>"), true),
        (format!("<message type='error' id='1' to='{DOMAIN}'/>"), false),
        (format!("<iq type='result' id='1' to='{DOMAIN}'/>"), false),
        (format!("<presence type='unavailable' to='{DOMAIN}'/>"), false),
    ] {
        user.send(&stanza).await;
        if is_answered {
            let answer = user.stanza().await;
            assert_eq!(error_of(&answer), "wait/remote-server-timeout", "{stanza}");
            assert_eq!(answer.get("id"), "1");
        }
    }
    user.nothing_more().await;
    // It was there, and broke.
    let component = Client::component(&server, DOMAIN).await;
    component.cut();
    user.send(chat("a@irc.example.org", "2")).await;
    let answer = user.stanza().await;
    assert_eq!(error_of(&answer), "wait/remote-server-timeout", "{answer:?}");
}

#[tokio::test]
async fn presence_and_contacts() {
    let server = server(1);
    let contact = "friend@irc.example.org";
    let jid = format!("{}/here", server.user());
    let bare = jid.split('/').next().expect("a bare JID").to_owned();
    let mut component = Client::component(&server, DOMAIN).await;
    let mut user = Client::online(&server, Transport::Direct, &jid).await;
    roster(&mut user).await;
    user.send(format!("<presence type='subscribe' to='{contact}'/>")).await;
    component
        .expect(&format!("<presence type='subscribe' from='{bare}' to='{contact}'/>"))
        .await;
    component
        .send(format!(
            "<presence type='subscribed' from='{contact}' to='{bare}'/>\
             <presence type='subscribe' from='{contact}' to='{bare}'/>"
        ))
        .await;
    user.wait(&format!("<presence type='subscribe' from='{contact}'/>"))
        .await;
    user.send(format!("<presence type='subscribed' to='{contact}'/>")).await;
    component
        .expect_all(&[
            &format!("<presence type='subscribed' from='{bare}' to='{contact}'/>"),
            &format!("<presence from='{jid}' to='{contact}'/>"),
        ])
        .await;
    component
        .send(format!(
            "<presence from='{contact}/nick' to='{bare}'><show>dnd</show></presence>"
        ))
        .await;
    user.wait(&format!("<presence from='{contact}/nick'><show>dnd</show></presence>"))
        .await;
    assert_eq!(items(&roster(&mut user).await), [format!("{contact} - both - ")]);
    user.send("<presence><show>away</show></presence>").await;
    component
        .expect(&format!(
            "<presence from='{jid}' to='{contact}'><show>away</show></presence>"
        ))
        .await;
    user.close().await;
    component
        .expect(&format!("<presence type='unavailable' from='{jid}' to='{contact}'/>"))
        .await;
    // RFC 6121 section 4.3.1, and a probe the other way.
    let _user = Client::online(&server, Transport::Direct, &jid).await;
    component
        .expect_all(&[
            &format!("<presence type='probe' from='{bare}' to='{contact}'/>"),
            &format!("<presence from='{jid}' to='{contact}'/>"),
        ])
        .await;
    component
        .send(format!("<presence type='probe' from='{contact}' to='{bare}'/>"))
        .await;
    component
        .expect(&format!("<presence from='{jid}' to='{contact}'/>"))
        .await;
}

#[tokio::test]
async fn shown_by_the_server() {
    let server = Server::builder()
        .users(1)
        .domain("example.net")
        .component(DOMAIN)
        .component("irc.example.net")
        .component("elsewhere.test")
        .start();
    let mut user = online(&server).await;
    for (domain, shown, hidden) in [
        ("example.org", vec![DOMAIN, "elsewhere.test"], "irc.example.net"),
        ("example.net", vec!["irc.example.net"], DOMAIN),
    ] {
        let query = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
        let answer = user.iq("get", domain, query).await;
        for jid in shown {
            assert!(answer.raw().contains(&format!("<item jid='{jid}'/>")), "{answer:?}");
        }
        assert!(!answer.raw().contains(hidden), "{answer:?}");
    }
}

/// Nobody who sends can end its stream, and what it is not given is not lost silently.
#[tokio::test]
async fn one_that_does_not_read() {
    let server = Server::builder()
        .users(1)
        .component(DOMAIN)
        .limit("stanza_bytes", 10_000)
        .limit("component_outbox_bytes", 20_000)
        .limit("read_bytes_per_second", 1 << 30)
        .limit("read_burst_bytes", 1 << 30)
        .start();
    let mut component = Client::component(&server, DOMAIN).await;
    let mut user = online(&server).await;
    let body = "x".repeat(4_000);
    let mut sent = 0;
    let refused = loop {
        user.send(chat(DOMAIN, &format!("{sent}-{body}"))).await;
        sent += 1;
        // The kernel holds some megabytes.
        assert!(sent < 20_000, "nothing is refused");
        if let Some(Item::Stanza(answer)) = user.item_within(Duration::from_micros(100)).await {
            break answer;
        }
    };
    assert_eq!(error_of(&refused), "wait/resource-constraint", "{refused:?}");
    let mut refusals = 1 + user.drain().await.len();
    let mut came = 0;
    while came + refusals < sent {
        component.expect(&format!("<message type='chat' to='{DOMAIN}'/>")).await;
        came += 1;
        refusals += user.drain().await.len();
    }
    // It is still there.
    component.nothing_more().await;
    user.send(chat(DOMAIN, "after")).await;
    component
        .expect(&format!(
            "<message type='chat' to='{DOMAIN}'><body>after</body></message>"
        ))
        .await;
}

#[tokio::test]
async fn silence_and_the_end() {
    let mut server = Server::builder()
        .users(1)
        .component(DOMAIN)
        .limit("keepalive_seconds", 1)
        .start();
    let mut component = Client::component(&server, DOMAIN).await;
    while component.spaces == 0 {
        component.read_for(Duration::from_millis(100)).await;
    }
    server.sigterm();
    component.wait_for_end("system-shutdown").await;
    assert!(server.wait(testkit::TIMEOUT).is_some());
    server.start();
    let mut component = Client::component(&server, DOMAIN).await;
    component.ping().await;
    server.kill9();
    server.start();
    Client::component(&server, DOMAIN).await.ping().await;
}
