//! Subscriptions (RFC 6121 section 3 and appendix A): every stanza of every handshake, on both sides.

use testkit::{Client, Server, Transport};

use crate::support::{befriend, items, roster, settle};

/// A pattern of a roster push with this item.
fn push(item: &str) -> String {
    format!("<iq type='set' id='*'><query xmlns='jabber:iq:roster' ver='*'>{item}</query></iq>")
}

/// Two accounts online with the roster loaded.
async fn pair(server: &Server, transport: Transport) -> (Client, Client) {
    let (a, b) = (format!("{}/a", server.user()), format!("{}/b", server.user()));
    let mut a = Client::online(server, transport, &a).await;
    let mut b = Client::online(server, transport, &b).await;
    roster(&mut a).await;
    roster(&mut b).await;
    (a, b)
}

async fn quiet(clients: &mut [&mut Client]) {
    for client in clients {
        client.nothing_more().await;
    }
}

#[tokio::test]
async fn the_whole_handshake() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let (mut a, mut b) = pair(&server, transport).await;
        let (ja, jb) = (a.bare().to_owned(), b.bare().to_owned());

        // Section 3.1.2: stamped with bare addresses, whatever the client wrote.
        a.send(format!(
            "<presence type='subscribe' id='s1' to='{jb}/b'><status>please</status></presence>"
        ))
        .await;
        a.expect(&push(&format!(
            "<item jid='{jb}' subscription='none' ask='subscribe'/>"
        )))
        .await;
        b.expect(&format!(
            "<presence type='subscribe' from='{ja}' to='{jb}' id='s1'><status>please</status></presence>"
        ))
        .await;
        quiet(&mut [&mut a, &mut b]).await;
        assert!(
            items(&roster(&mut b).await).is_empty(),
            "section 3.1.3: a request is no contact"
        );

        // Section 3.1.5 and 3.1.6.
        b.send(format!("<presence type='subscribed' id='s2' to='{ja}'/>")).await;
        b.expect(&push(&format!("<item jid='{ja}' subscription='from' ask='-'/>")))
            .await;
        let came = a
            .expect_all(&[
                &format!("<presence type='subscribed' from='{jb}' to='{ja}' id='s2'/>"),
                &push(&format!("<item jid='{jb}' subscription='to' ask='-'/>")),
                &format!("<presence from='{}' to='{ja}'/>", b.jid),
            ])
            .await;
        assert_eq!(came[0].get("type"), "subscribed", "it is delivered before the push");
        assert_eq!(came[2].name(), "presence", "presence comes last: {came:?}");
        quiet(&mut [&mut a, &mut b]).await;

        // Presence flows in one direction only.
        b.presence("<presence><show>away</show></presence>").await;
        a.expect(&format!("<presence from='{}'><show>away</show></presence>", b.jid))
            .await;
        a.presence("<presence><show>dnd</show></presence>").await;
        quiet(&mut [&mut a, &mut b]).await;

        // The other direction.
        b.send(format!("<presence type='subscribe' to='{ja}'/>")).await;
        b.expect(&push(&format!(
            "<item jid='{ja}' subscription='from' ask='subscribe'/>"
        )))
        .await;
        a.expect(&format!("<presence type='subscribe' from='{jb}' to='{ja}'/>"))
            .await;
        a.send(format!("<presence type='subscribed' to='{jb}'/>")).await;
        a.expect(&push(&format!("<item jid='{jb}' subscription='both' ask='-'/>")))
            .await;
        b.expect_all(&[
            &format!("<presence type='subscribed' from='{ja}' to='{jb}'/>"),
            &push(&format!("<item jid='{ja}' subscription='both' ask='-'/>")),
            &format!("<presence from='{}' to='{jb}'><show>dnd</show></presence>", a.jid),
        ])
        .await;
        quiet(&mut [&mut a, &mut b]).await;

        // Again, although it is granted: answered on the user's behalf (section 3.1.3 rule 1), and nobody is asked.
        a.send(format!("<presence type='subscribe' to='{jb}'/>")).await;
        settle(&mut a, "nobody-here@example.org").await;
        b.nothing_more().await;
        a.forget().await;

        // Section 3.3: a unsubscribes, and sees b no more.
        a.send(format!("<presence type='unsubscribe' to='{jb}'/>")).await;
        a.expect_all(&[
            &push(&format!("<item jid='{jb}' subscription='from' ask='-'/>")),
            &format!("<presence type='unavailable' from='{}'/>", b.jid),
        ])
        .await;
        b.expect_all(&[
            &format!("<presence type='unsubscribe' from='{ja}' to='{jb}'/>"),
            &push(&format!("<item jid='{ja}' subscription='to' ask='-'/>")),
        ])
        .await;
        b.presence("<presence><show>xa</show></presence>").await;
        quiet(&mut [&mut a, &mut b]).await;

        // Section 3.2: a ends what b has.
        a.send(format!("<presence type='unsubscribed' to='{jb}'/>")).await;
        a.expect(&push(&format!("<item jid='{jb}' subscription='none' ask='-'/>")))
            .await;
        b.expect_all(&[
            &format!("<presence type='unavailable' from='{}'/>", a.jid),
            &format!("<presence type='unsubscribed' from='{ja}' to='{jb}'/>"),
            &push(&format!("<item jid='{ja}' subscription='none' ask='-'/>")),
        ])
        .await;
        a.presence("<presence/>").await;
        quiet(&mut [&mut a, &mut b]).await;

        // All of it again to "both", and the item removed (section 2.5.2).
        befriend(&mut a, &mut b).await;
        let answer = a
            .iq(
                "set",
                "",
                &format!("<query xmlns='jabber:iq:roster'><item jid='{jb}' subscription='remove'/></query>"),
            )
            .await;
        assert_eq!(answer.get("type"), "result");
        a.expect_all(&[
            &push(&format!("<item jid='{jb}' subscription='remove'/>")),
            &format!("<presence type='unavailable' from='{}'/>", b.jid),
        ])
        .await;
        for pattern in [
            format!("<presence type='unsubscribe' from='{ja}'/>"),
            format!("<presence type='unsubscribed' from='{ja}'/>"),
            push(&format!("<item jid='{ja}' subscription='none' ask='-'/>")),
        ] {
            b.wait_keeping(|stanza| stanza.matches(&pattern)).await;
        }
        b.forget().await;
        b.presence("<presence/>").await;
        a.presence("<presence/>").await;
        quiet(&mut [&mut a, &mut b]).await;
    }
}

#[tokio::test]
async fn denied_withdrawn_and_to_nobody() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let (mut a, mut b) = pair(&server, transport).await;
        let (ja, jb) = (a.bare().to_owned(), b.bare().to_owned());
        // Denied (section 3.2.1).
        a.send(format!("<presence type='subscribe' to='{jb}'/>")).await;
        a.expect(&push(&format!(
            "<item jid='{jb}' subscription='none' ask='subscribe'/>"
        )))
        .await;
        b.expect(&format!("<presence type='subscribe' from='{ja}'/>")).await;
        b.send(format!("<presence type='unsubscribed' to='{ja}'/>")).await;
        a.expect_all(&[
            &format!("<presence type='unsubscribed' from='{jb}'/>"),
            &push(&format!("<item jid='{jb}' subscription='none' ask='-'/>")),
        ])
        .await;
        quiet(&mut [&mut a, &mut b]).await;
        assert!(items(&roster(&mut b).await).is_empty());

        // Withdrawn (appendix A.2.2, A.3.2).
        a.send(format!("<presence type='subscribe' to='{jb}'/>")).await;
        a.expect(&push(&format!("<item jid='{jb}' ask='subscribe'/>"))).await;
        b.expect(&format!("<presence type='subscribe' from='{ja}'/>")).await;
        a.send(format!("<presence type='unsubscribe' to='{jb}'/>")).await;
        a.expect(&push(&format!("<item jid='{jb}' subscription='none' ask='-'/>")))
            .await;
        b.expect(&format!("<presence type='unsubscribe' from='{ja}'/>")).await;
        quiet(&mut [&mut a, &mut b]).await;
        // Approved too late: that is a pre-approval of the next request.
        // Stanzas that do not fit the state are ignored (tables of appendix A), nobody hears of them.
        b.send(format!("<presence type='unsubscribed' to='{ja}'/>")).await;
        b.send(format!("<presence type='unsubscribe' to='{ja}'/>")).await;
        settle(&mut b, &ja).await;
        a.forget().await;
        assert_eq!(items(&roster(&mut a).await), [format!("{jb} - none - ")]);

        // Row 36: to nobody. Just as to somebody who does not answer.
        a.send("<presence type='subscribe' to='nobody-here@example.org'/>")
            .await;
        a.expect(&push(
            "<item jid='nobody-here@example.org' subscription='none' ask='subscribe'/>",
        ))
        .await;
        settle(&mut a, "nobody-here@example.org").await;
        a.nothing_more().await;
        // To oneself: nothing happens.
        for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
            a.send(format!("<presence type='{kind}' to='{ja}'/>")).await;
        }
        settle(&mut a, &ja).await;
        a.nothing_more().await;
        b.nothing_more().await;
    }
}

/// Section 3.4.
#[tokio::test]
async fn approved_beforehand() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let (mut a, mut b) = pair(&server, transport).await;
        let (ja, jb) = (a.bare().to_owned(), b.bare().to_owned());
        b.send(format!("<presence type='subscribed' to='{ja}'/>")).await;
        b.expect(&push(&format!(
            "<item jid='{ja}' subscription='none' approved='true'/>"
        )))
        .await;
        quiet(&mut [&mut a, &mut b]).await;
        a.send(format!("<presence type='subscribe' to='{jb}'/>")).await;
        a.expect(&push(&format!(
            "<item jid='{jb}' subscription='none' ask='subscribe'/>"
        )))
        .await;
        a.expect_all(&[
            &format!("<presence type='subscribed' from='{jb}'/>"),
            &push(&format!("<item jid='{jb}' subscription='to' ask='-'/>")),
            &format!("<presence from='{}'/>", b.jid),
        ])
        .await;
        // Nobody is asked.
        b.expect(&push(&format!("<item jid='{ja}' subscription='from'/>")))
            .await;
        quiet(&mut [&mut a, &mut b]).await;

        // Taken back before it was used.
        let (mut c, mut d) = pair_of(&server, transport, &ja, &jb).await;
        c.send("<presence type='subscribed' to='later@example.org'/>").await;
        c.expect(&push("<item jid='later@example.org' approved='true'/>")).await;
        c.send("<presence type='unsubscribed' to='later@example.org'/>").await;
        c.expect(&push("<item jid='later@example.org' approved='-'/>")).await;
        quiet(&mut [&mut c, &mut d]).await;
    }
}

/// Further resources of the two, with the roster loaded and nothing left to read.
async fn pair_of(server: &Server, transport: Transport, a: &str, b: &str) -> (Client, Client) {
    let mut a = Client::login(server, transport, &format!("{a}/second")).await;
    let mut b = Client::login(server, transport, &format!("{b}/second")).await;
    roster(&mut a).await;
    roster(&mut b).await;
    (a, b)
}

/// Section 3.1.3 rule 4: a request is delivered at each login until it is answered.
#[tokio::test]
async fn requests_wait() {
    let server = Server::with_users(6);
    for transport in Transport::BOTH {
        let mut a = Client::online(&server, transport, &server.user()).await;
        let jb = server.user();
        let ja = a.bare().to_owned();
        a.send(format!(
            "<presence type='subscribe' to='{jb}' id='r'><status>it is me</status></presence>"
        ))
        .await;
        settle(&mut a, &jb).await;
        let request = format!("<presence type='subscribe' from='{ja}' to='{jb}'><status>it is me</status></presence>");
        for _ in 0..2 {
            let mut b = Client::online(&server, transport, &jb).await;
            b.wait(&request).await;
            // Only at the initial presence.
            b.presence("<presence><show>away</show></presence>").await;
            b.nothing_more().await;
            b.close().await;
        }
        // A resource without presence is not asked; one of negative priority is.
        let mut b = Client::login(&server, transport, &jb).await;
        b.nothing_more().await;
        b.presence("<presence><priority>-5</priority></presence>").await;
        b.wait(&request).await;
        b.send(format!("<presence type='subscribed' to='{ja}'/>")).await;
        a.wait(&format!("<presence from='{}'/>", b.jid)).await;
        b.close().await;
        let mut b = Client::online(&server, transport, &jb).await;
        b.nothing_more().await;

        // Answered while the asking side is away: it finds out at its next login.
        let jc = server.user();
        let mut c = Client::online(&server, transport, &jc).await;
        c.send(format!("<presence type='subscribe' to='{jb}'/>")).await;
        b.wait(&format!("<presence type='subscribe' from='{jc}'/>")).await;
        c.close().await;
        b.send(format!("<presence type='subscribed' to='{jc}'/>")).await;
        settle(&mut b, &jc).await;
        let mut c = Client::login(&server, transport, &jc).await;
        assert_eq!(items(&roster(&mut c).await), [format!("{jb} - to - ")]);
        c.presence("<presence/>").await;
        c.wait(&format!("<presence from='{}'/>", b.jid)).await;
    }
}

/// The stream of a subscription goes to the bare address; one to a resource that is not there is ignored
/// (section 8.5.3.2.2), except a request.
#[tokio::test]
async fn to_resources() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let (mut a, mut b) = pair(&server, transport).await;
        let (ja, jb) = (a.bare().to_owned(), b.bare().to_owned());
        a.send(format!("<presence type='subscribe' to='{jb}/gone'/>")).await;
        b.expect(&format!("<presence type='subscribe' from='{ja}' to='{jb}'/>"))
            .await;
        b.send(format!("<presence type='subscribed' to='{ja}/gone'/>")).await;
        a.wait(&format!("<presence from='{}'/>", b.jid)).await;
        b.forget().await;
        a.nothing_more().await;
    }
}
