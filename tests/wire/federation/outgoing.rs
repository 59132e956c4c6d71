//! Servers that we connect to: where they are, whether it is them, and what a sender hears otherwise. Rows 53 and 54 of the
//! faults.

use testkit::{Authority, Certified, Client, Offers, Record, Remote};

use super::{HERE, World, bounced, friend, text_of};
use crate::support::{chat, error_of};

const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

const NOT_FOUND: &str = "cancel/remote-server-not-found";
const TIMEOUT: &str = "wait/remote-server-timeout";

/// Row 54: there is no such server, and everybody is told so once.
#[tokio::test]
async fn domains_that_are_nowhere() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    let dns = &world.federation.dns;
    dns.set("_xmpp-server._tcp.none.example", &[Record::srv(0, 0, ".")]);
    dns.set("none.example", &[Record::A(world.remote.address())]);
    dns.set("empty.example", &[]);
    // To itself.
    dns.locate("loop.example", world.server.address(), false);
    dns.fail("failing.example", true);
    // Where nobody listens.
    dns.locate("closed.example", std::net::Ipv4Addr::new(127, 255, 255, 254), false);
    for (domain, condition) in [
        ("nowhere.example", NOT_FOUND),
        ("none.example", NOT_FOUND),
        ("empty.example", NOT_FOUND),
        ("failing.example", TIMEOUT),
        ("closed.example", TIMEOUT),
        ("loop.example", ""),
    ] {
        let to = format!("a@{domain}");
        user.send(chat(&to, "1")).await;
        let answer = user.expect("<message type='error' id='1'/>").await;
        let told = error_of(&answer);
        assert!(
            told == condition || condition.is_empty() && [NOT_FOUND, TIMEOUT].contains(&told.as_str()),
            "{domain}: {answer:?}"
        );
        assert_eq!(answer.get("from"), to);
        assert!(!text_of(&answer).is_empty(), "{answer:?}");
        // No address of ours, nor of the DNS.
        assert!(!text_of(&answer).contains("127."), "{answer:?}");
        let answer = user.iq("get", domain, "<ping xmlns='urn:xmpp:ping'/>").await;
        assert_eq!(error_of(&answer), told, "{domain}: {answer:?}");
        user.send(format!("<presence to='room@{domain}/nick' id='p'/>")).await;
        let answer = user.expect("<presence type='error' id='p'/>").await;
        assert_eq!(error_of(&answer), told, "{domain}: {answer:?}");
        // Nobody is told that an error or an answer has not arrived.
        user.send(format!(
            "<message type='error' to='{to}' id='e'/><iq type='result' to='{to}' id='r'/>"
        ))
        .await;
        user.send(format!("<presence type='unavailable' to='{to}'/>")).await;
    }
    user.nothing_more().await;
    // It is known what was tried.
    let why = world.server.jackdaw(&["why", "closed.example"], "");
    let said = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(
        said.contains("closed.example") && said.contains("xmpp.closed.example"),
        "{said}"
    );
}

/// RFC 6120 section 3.2 and XEP-0368.
#[tokio::test]
async fn where_it_is_looked_for() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    let dns = &world.federation.dns;
    let nobody = std::net::Ipv4Addr::new(127, 255, 255, 254);
    dns.set("xmpp.nobody.example", &[Record::A(nobody)]);
    // Without SRV records it is where the name says.
    let bare = world.federation.remote("bare.example").await;
    dns.remove("bare.example");
    dns.set("bare.example", &[Record::A(bare.address())]);
    // The first place is not it, the second is.
    let second = world.federation.remote("second.example").await;
    dns.set(
        "_xmpp-server._tcp.second.example",
        &[
            Record::srv(1, 5269, "xmpp.nobody.example"),
            Record::srv(2, 5269, "xmpp.second.example"),
        ],
    );
    // Of one name with two addresses.
    let two = world.federation.remote("two.example").await;
    dns.set("xmpp.two.example", &[Record::A(nobody), Record::A(two.address())]);
    for remote in [&bare, &second, &two] {
        let to = format!("a@{}", remote.domain);
        user.send(chat(&to, "1")).await;
        let mut link = remote.received(Offers::default()).await;
        link.expect(&format!("<message to='{to}' type='chat'><body>1</body></message>"))
            .await;
    }
    // TLS at once, where that is said.
    let direct = world.federation.remote("direct.example").await;
    dns.locate("direct.example", direct.address(), true);
    user.send(chat("a@direct.example", "1")).await;
    let mut link = direct.accept_direct().await;
    let secured = link.accept_tls(&direct.identity, &["xmpp-server"]).await;
    assert!(secured.is_ok(), "{secured:?}");
    assert_eq!(link.alpn(), Some("xmpp-server"));
    link.read_header().await;
    link.receive_login(Offers::default()).await;
    link.receive_rest(Offers::default()).await;
    link.expect("<message to='a@direct.example' type='chat'><body>1</body></message>")
        .await;
    user.nothing_more().await;
}

/// Who connects shows a certificate, and the header says who it is.
#[tokio::test]
async fn what_we_show() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    user.send(chat(&friend(), "1")).await;
    let mut link = world.remote.accept().await;
    let header = link.read_header().await;
    assert_eq!(
        (header.attr("from"), header.attr("to")),
        (Some(HERE), Some(super::THERE))
    );
    assert!(header.declared && header.attr("version") == Some("1.0"), "{header:?}");
    link.answer_header(&format!("<starttls xmlns='{TLS}'><required/></starttls>"))
        .await;
    link.expect(&format!("<starttls xmlns='{TLS}'/>")).await;
    link.send(format!("<proceed xmlns='{TLS}'/>")).await;
    assert!(link.accept_tls(&world.remote.identity, &[]).await.is_ok());
    assert!(!link.certificate().is_empty(), "no certificate was shown");
    link.read_header().await;
    link.receive_login(Offers::managed()).await;
    link.receive_rest(Offers::managed()).await;
    super::expect_message(&mut link, "1").await;
    super::is_of_servers(&link);
}

/// How a scripted server misbehaves.
type Play = for<'a> fn(&'a Remote) -> std::pin::Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Row 53: whatever is wrong there, the sender is told, and in words.
#[tokio::test]
async fn servers_that_are_not_it() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    let foreign = Authority::new("Nobody knows it");
    let authority = &world.federation.authority;
    let bad: [(&str, Certified); 5] = [
        ("self-signed.example", Certified::self_signed(&["self-signed.example"])),
        ("foreign.example", foreign.certify(&["foreign.example"])),
        ("expired.example", authority.certify_expired(&["expired.example"])),
        ("wrong.example", authority.certify(&["other.example"])),
        // The name of the host is not that of the domain.
        ("host.example", authority.certify(&["xmpp.host.example"])),
    ];
    for (domain, certified) in bad {
        let mut remote = world.federation.remote(domain).await;
        remote.shows(&certified);
        user.send(chat(&format!("a@{domain}"), "1")).await;
        let mut link = begun(&remote).await;
        // It may be found out in the handshake already.
        if link.accept_tls(&remote.identity, &[]).await.is_ok() {
            let _ = link.item_within(testkit::TIMEOUT).await;
        }
        let text = bounced(&mut user, "1", TIMEOUT).await;
        assert!(text.contains("certificate"), "{domain}: {text}");
    }
    user.nothing_more().await;
    // In the clear nothing is said, and no login is tried in vain.
    let plays: [(&str, Play); 6] = [
        ("no-tls.example", |remote| Box::pin(without_tls(remote))),
        ("no-login.example", |remote| Box::pin(without_login(remote))),
        ("refuses.example", |remote| Box::pin(refuses(remote))),
        ("unknown.example", |remote| Box::pin(unknown(remote))),
        ("hangs-up.example", |remote| Box::pin(hangs_up(remote))),
        ("no-xml.example", |remote| Box::pin(no_xml(remote))),
    ];
    for (domain, play) in plays {
        let remote = world.federation.remote(domain).await;
        user.send(chat(&format!("a@{domain}"), "1")).await;
        play(&remote).await;
        let answer = user.expect("<message type='error' id='1'/>").await;
        assert!(
            [NOT_FOUND, TIMEOUT].contains(&error_of(&answer).as_str()),
            "{domain}: {answer:?}"
        );
        assert!(!text_of(&answer).is_empty(), "{domain}: {answer:?}");
    }
    user.nothing_more().await;
}

/// Up to where TLS begins.
async fn begun(remote: &Remote) -> Client {
    let mut link = remote.accept().await;
    link.read_header().await;
    link.answer_header(&format!("<starttls xmlns='{TLS}'><required/></starttls>"))
        .await;
    link.expect(&format!("<starttls xmlns='{TLS}'/>")).await;
    link.send(format!("<proceed xmlns='{TLS}'/>")).await;
    link
}

async fn without_tls(remote: &Remote) {
    let mut link = remote.accept().await;
    link.read_header().await;
    link.answer_header("<dialback xmlns='urn:xmpp:features:dialback'/>")
        .await;
    // Nothing of the message.
    let came = link.item().await;
    assert!(!format!("{came:?}").contains("<message"), "{came:?}");
}

async fn without_login(remote: &Remote) {
    let mut link = remote.received_tls().await;
    link.answer_header("").await;
    let came = link.item().await;
    assert!(!format!("{came:?}").contains("<message"), "{came:?}");
}

async fn refuses(remote: &Remote) {
    let mut link = remote.received_tls().await;
    link.answer_header(&format!(
        "<mechanisms xmlns='{SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
    ))
    .await;
    link.wait(&format!("<auth xmlns='{SASL}' mechanism='EXTERNAL'/>")).await;
    link.send(format!("<failure xmlns='{SASL}'><not-authorized/></failure>"))
        .await;
    let _ = link.item_within(testkit::TIMEOUT).await;
}

async fn unknown(remote: &Remote) {
    let mut link = remote.received_tls().await;
    let error =
        "<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></stream:stream>";
    let header = testkit::server_header(&link.jid, HERE, " id='x'");
    link.send(format!("{header}{error}")).await;
    let _ = link.item_within(testkit::TIMEOUT).await;
}

async fn hangs_up(remote: &Remote) {
    remote.accept().await.cut();
}

async fn no_xml(remote: &Remote) {
    let mut link = remote.accept().await;
    link.read_header().await;
    link.send_raw(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let _ = link.item_within(testkit::TIMEOUT).await;
}
