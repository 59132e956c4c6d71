//! Whom an account blocks (XEP-0191): on the wire of both sides.

use testkit::{ArchiveQuery, Client, Server, Transport};

use crate::support::{chat, error_of, friends, is_result, settle_durably};

const LIST: &str = "<blocklist xmlns='urn:xmpp:blocking'/>";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";
const REFUSED: &str = "<error type='cancel'><not-acceptable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
    <blocked xmlns='urn:xmpp:blocking:errors'/></error>";

fn change(name: &str, jids: &[&str]) -> String {
    let items: String = jids.iter().map(|jid| format!("<item jid='{jid}'/>")).collect();
    format!("<{name} xmlns='urn:xmpp:blocking'>{items}</{name}>")
}

/// The stanza that has come, without what differs by the addresses.
async fn answer(client: &mut Client, stanza: &str, to: &str) -> String {
    client.send(stanza.replace("TO", to)).await;
    let came = client.stanza().await;
    came.raw().replace(to, "TO")
}

#[tokio::test]
async fn a_blocked_contact_sees_somebody_who_is_away() {
    let server = Server::with_users(16);
    for transport in Transport::EVERY {
        let (mut a, mut b) = friends(&server, transport).await;
        let (ja, jb) = (a.bare().to_owned(), b.bare().to_owned());
        let mut second = Client::online(&server, transport, &format!("{ja}/second")).await;
        for client in [&mut a, &mut b, &mut second] {
            client.forget().await;
        }
        is_result(&a.iq("get", "", LIST).await, LIST);
        is_result(&second.iq("get", &ja, LIST).await, LIST);

        // Section 3.3: the result, and a push to all who know the list; the contact sees each resource go.
        let block = change("block", &[&jb]);
        a.send(format!("<iq type='set' id='b'>{block}</iq>")).await;
        a.expect_all(&["<iq type='result' id='b'/>", &format!("<iq type='set'>{block}</iq>")])
            .await;
        second
            .expect(&format!("<iq type='set' to='{}'>{block}</iq>", second.jid))
            .await;
        b.expect_all(&[
            &format!("<presence type='unavailable' from='{}'/>", a.jid),
            &format!("<presence type='unavailable' from='{}'/>", second.jid),
        ])
        .await;
        is_result(&second.iq("get", "", LIST).await, &change("blocklist", &[&jb]));

        // What the blocked one sends is answered as if there were nobody.
        let nobody = format!("no{ja}");
        for stanza in [
            "<message id='x' to='TO' type='chat'><body>hi</body></message>".to_owned(),
            format!("<iq id='x' to='TO' type='get'>{PING}</iq>"),
            "<iq id='x' to='TO' type='get'><vCard xmlns='vcard-temp'/></iq>".to_owned(),
        ] {
            let blocked = answer(&mut b, &stanza, &ja).await;
            assert!(blocked.contains("service-unavailable"), "{blocked}");
            assert_eq!(blocked, answer(&mut b, &stanza, &nobody).await);
        }
        // Presence is not answered, of whatever kind.
        for kind in [
            "",
            "type='unavailable'",
            "type='subscribe'",
            "type='unsubscribe'",
            "type='probe'",
        ] {
            for to in [&ja, &a.jid.clone()] {
                b.send(format!("<presence to='{to}' {kind}/>")).await;
            }
        }
        b.forget().await;
        b.send(format!("<presence to='{ja}' type='subscribed'/>")).await;
        b.send("<presence><show>away</show></presence>").await;
        b.forget().await;
        a.nothing_more().await;
        second.nothing_more().await;

        // What goes there is refused, and not sent.
        for stanza in [
            chat(&jb, "hello"),
            format!("<iq id='y' type='get' to='{}'>{PING}</iq>", b.jid),
            format!("<presence id='y' to='{jb}'/>"),
            format!("<presence id='y' to='{jb}' type='unsubscribed'/>"),
        ] {
            a.send(stanza).await;
            let came = a.stanza().await;
            assert_eq!(
                came.mismatch(&format!("<{} type='error'>{REFUSED}</{}>", came.name(), came.name())),
                None
            );
            assert_eq!(
                (came.get("from"), came.get("id").is_empty()),
                (if came.name() == "iq" { &*b.jid } else { &*jb }, false)
            );
        }
        // Nor do presence and its end get past the list, in either direction.
        a.presence("<presence><show>dnd</show></presence>").await;
        second.forget().await;
        let mut third = Client::online(&server, transport, &format!("{ja}/third")).await;
        third.forget().await;
        third.close().await;
        b.nothing_more().await;
        for client in [&mut a, &mut second] {
            client.forget().await;
        }

        // Section 3.4: they see each other again.
        let unblock = change("unblock", &[&jb]);
        second.send(format!("<iq type='set' id='u'>{unblock}</iq>")).await;
        second
            .expect_all(&[
                "<iq type='result' id='u'/>",
                &format!("<iq type='set'>{unblock}</iq>"),
                &format!("<presence from='{}'><show>away</show></presence>", b.jid),
            ])
            .await;
        a.expect_all(&[
            &format!("<iq type='set'>{unblock}</iq>"),
            &format!("<presence from='{}'><show>away</show></presence>", b.jid),
        ])
        .await;
        b.expect_all(&[
            &format!("<presence from='{}'><show>dnd</show></presence>", a.jid),
            &format!("<presence from='{}'/>", second.jid),
        ])
        .await;
        b.send(chat(&a.jid, "again")).await;
        a.expect("<message type='chat'><body>again</body></message>").await;

        // A domain, and everybody at once; one's own devices and server are never meant.
        let domain = jb.split_once('@').expect("an account").1.to_owned();
        is_result(&a.iq("set", "", &change("block", &[&domain, &ja, &nobody])).await, "");
        assert_eq!(error_of(&b.iq("get", &ja, PING).await), "cancel/service-unavailable");
        second.send(chat(&a.jid, "to myself")).await;
        a.wait("<message type='chat'><body>to myself</body></message>").await;
        a.ping().await;
        is_result(&a.iq("set", "", &change("unblock", &[])).await, "");
        a.wait("<iq type='set'><unblock xmlns='urn:xmpp:blocking'/></iq>").await;
        is_result(&a.iq("get", "", LIST).await, LIST);
        is_result(&b.iq("get", &ja, PING).await, "");

        // The list is nobody else's.
        for (kind, payload) in [("get", LIST), ("set", &*block)] {
            let refused = error_of(&b.iq(kind, &ja, payload).await);
            assert_eq!(refused, error_of(&b.iq(kind, &nobody, payload).await));
            assert_eq!(refused, "cancel/service-unavailable");
        }
        for client in [a, b, second] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn a_list_outlives_the_server() {
    let mut server = Server::with_users(2);
    let (user, other) = (server.user(), server.user());
    let mut a = Client::online(&server, Transport::Direct, &user).await;
    is_result(&a.iq("set", "", &change("block", &[&other, "spam.example"])).await, "");
    server.kill9();
    server.start();
    let mut b = Client::online(&server, Transport::Direct, &other).await;
    b.send(chat(&user, "hi")).await;
    let came = b.stanza().await;
    assert_eq!(error_of(&came), "cancel/service-unavailable");
    let mut a = Client::online(&server, Transport::Direct, &user).await;
    is_result(
        &a.iq("get", "", LIST).await,
        &change("blocklist", &[&other, "spam.example"]),
    );
    a.nothing_more().await;
}

/// Section 5: of a contact one resource alone is blocked, by its address or at its domain. The others see what they saw.
#[tokio::test]
async fn one_resource_of_a_contact() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let (mut a, mut b) = friends(&server, transport).await;
        let domain = b.bare().split_once('@').expect("an account").1.to_owned();
        let mut other = Client::online(&server, transport, &format!("{}/other", b.bare())).await;
        for client in [&mut a, &mut b, &mut other] {
            client.forget().await;
        }
        let from_a = format!("from='{}'", a.jid);
        for blocked in [other.jid.clone(), format!("{domain}/other")] {
            is_result(&a.iq("set", "", &change("block", &[&blocked])).await, "");
            other.expect(&format!("<presence type='unavailable' {from_a}/>")).await;
            b.nothing_more().await;
            // Broadcasts of every kind.
            a.presence("<presence><show>dnd</show></presence>").await;
            b.expect(&format!("<presence {from_a}><show>dnd</show></presence>"))
                .await;
            let mut second = Client::online(&server, transport, &format!("{}/second", a.bare())).await;
            b.expect(&format!("<presence from='{}'/>", second.jid)).await;
            second.forget().await;
            second.close().await;
            b.expect("<presence type='unavailable'/>").await;
            // What is sent when somebody asks, or when the subscription changes.
            b.send(format!("<presence type='probe' to='{}'/>", a.bare())).await;
            b.expect(&format!("<presence {from_a}><show>dnd</show></presence>"))
                .await;
            a.send(format!("<presence type='unsubscribed' to='{}'/>", b.bare()))
                .await;
            b.wait(&format!("<presence type='unavailable' {from_a}/>")).await;
            a.ping().await;
            b.send(format!("<presence type='subscribe' to='{}'/>", a.bare())).await;
            a.wait("<presence type='subscribe'/>").await;
            a.send(format!("<presence type='subscribed' to='{}'/>", b.bare())).await;
            b.wait(&format!("<presence {from_a}><show>dnd</show></presence>")).await;
            b.forget().await;
            let seen = other.drain().await;
            let shown = seen.iter().filter(|stanza| stanza.get("from").starts_with(a.bare()));
            let shown: Vec<_> = shown.filter(|stanza| !stanza.get("type").contains("subscri")).collect();
            assert!(shown.is_empty(), "{shown:?}");
            // Nothing gets through from there, and nothing goes there.
            other.send(chat(&a.jid, "hi")).await;
            assert_eq!(error_of(&other.stanza().await), "cancel/service-unavailable");
            a.forget().await;
            is_result(&a.iq("set", "", &change("unblock", &[&blocked])).await, "");
            other
                .wait(&format!("<presence {from_a}><show>dnd</show></presence>"))
                .await;
            a.presence("<presence/>").await;
            for client in [&mut a, &mut b, &mut other] {
                client.forget().await;
            }
        }
        for client in [a, b, other] {
            client.close().await;
        }
    }
}

/// What waits for somebody who blocks its sender before he reads it is not delivered. It stays in his archive; what
/// stands in none goes back.
#[tokio::test]
async fn what_waits_of_somebody_blocked() {
    let server = Server::with_users(3 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let user = server.user();
        // Without presence it is given nothing that waits.
        let mut a = Client::login(&server, transport, &format!("{user}/a")).await;
        let mut b = Client::online(&server, transport, &server.user()).await;
        let mut c = Client::online(&server, transport, &server.user()).await;
        let brief = "<no-permanent-store xmlns='urn:xmpp:hints'/>";
        b.send(chat(&user, "kept")).await;
        b.send(chat(&user, "brief").replace("</message>", &format!("{brief}</message>")))
            .await;
        settle_durably(&mut b, &user).await;
        c.send(chat(&user, "of another")).await;
        settle_durably(&mut c, &user).await;
        let (jb, jc) = (b.bare().to_owned(), c.bare().to_owned());
        is_result(&a.iq("set", "", &change("block", &[&jb])).await, "");
        a.send("<presence/>").await;
        let came = a.wait("<message type='chat'/>").await;
        assert_eq!(
            (came.body(), came.get("from").starts_with(&jc)),
            ("of another".to_owned(), true)
        );
        let returned = b.wait("<message type='error' id='brief'/>").await;
        assert_eq!(error_of(&returned), "cancel/service-unavailable");
        a.forget().await;
        b.nothing_more().await;
        let archived = a.whole_archive(&ArchiveQuery::new()).await;
        let bodies: Vec<String> = archived.iter().map(|message| message.body()).collect();
        assert_eq!(bodies, ["kept", "of another"]);
        for client in [a, b, c] {
            client.close().await;
        }
    }
}
