//! Presence (RFC 6121 section 4).

use testkit::{Client, Server, Transport};

use crate::support::{error_of, friends, see, settle};

#[tokio::test]
async fn initial_broadcast_and_end() {
    let server = Server::with_users(12);
    for transport in Transport::ALL {
        let (mut a, mut b) = friends(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let (ja, jb) = (a.bare().to_owned(), b.bare().to_owned());

        // A new resource: it sees itself, its siblings and the contacts; they see it (sections 4.2.2 and 4.3.1).
        b.presence("<presence xml:lang='it'><show>chat</show><status>ciao</status><priority>3</priority><x xmlns='urn:x'/></presence>").await;
        a.expect(&format!(
            "<presence from='{}' to='{ja}'><show>chat</show><status>ciao</status><x xmlns='urn:x'/></presence>",
            b.jid
        ))
        .await;
        let mut second = Client::login(&server, transport, &format!("{ja}/second")).await;
        second.nothing_more().await;
        second.send("<presence><status>here</status></presence>").await;
        let came = second
            .expect_all(&[
                &format!("<presence from='{ja}/second' to='{ja}/second'><status>here</status></presence>"),
                &format!("<presence from='{}' to='{ja}/second'/>", a.jid),
                &format!("<presence from='{}' to='{ja}/second'><show>chat</show><priority>3</priority><x xmlns='urn:x'/></presence>", b.jid),
            ])
            .await;
        let from_b = came
            .iter()
            .find(|stanza| stanza.get("from") == b.jid)
            .expect("expected above");
        assert_eq!(from_b.lang(), Some("it"));
        second.nothing_more().await;
        a.expect(&format!(
            "<presence from='{ja}/second'><status>here</status></presence>"
        ))
        .await;
        b.expect(&format!(
            "<presence from='{ja}/second' to='{jb}'><status>here</status></presence>"
        ))
        .await;

        // Later presence: no probes again (section 4.4).
        second.presence("<presence><show>away</show></presence>").await;
        second.nothing_more().await;
        a.expect(&format!("<presence from='{ja}/second'><show>away</show></presence>"))
            .await;
        b.expect(&format!("<presence from='{ja}/second'><show>away</show></presence>"))
            .await;

        // The end, said (section 4.5.2): the resource itself hears it too, then gets nothing more.
        second
            .send("<presence type='unavailable'><status>bye</status></presence>")
            .await;
        let bye = format!("<presence type='unavailable' from='{ja}/second'><status>bye</status></presence>");
        second.expect(&bye).await;
        a.expect(&bye).await;
        b.expect(&bye).await;
        a.presence("<presence><show>dnd</show></presence>").await;
        b.expect(&format!("<presence from='{}'><show>dnd</show></presence>", a.jid))
            .await;
        second.nothing_more().await;
        // Said twice it is heard once.
        second.send("<presence type='unavailable'/>").await;
        second.forget().await;
        b.nothing_more().await;
        second.close().await;
        a.nothing_more().await;
        b.nothing_more().await;

        // The end by the closing tag, and by a cut.
        for cut in [false, true] {
            let third = Client::online(&server, transport, &format!("{ja}/third")).await;
            b.expect(&format!("<presence from='{ja}/third'/>")).await;
            a.expect(&format!("<presence from='{ja}/third'/>")).await;
            if cut {
                third.cut();
            } else {
                third.close().await;
            }
            let gone = format!("<presence type='unavailable' from='{ja}/third'/>");
            b.expect(&gone).await;
            a.expect(&gone).await;
        }
        // A resource that never sent presence leaves unseen.
        let silent = Client::login(&server, transport, &format!("{ja}/silent")).await;
        silent.close().await;
        let taken = Client::online(&server, transport, &format!("{ja}/taken")).await;
        b.expect(&format!("<presence from='{ja}/taken'/>")).await;
        let _new = Client::login(&server, transport, &taken.jid).await;
        b.expect(&format!("<presence type='unavailable' from='{ja}/taken'/>"))
            .await;
        b.nothing_more().await;
        stranger.nothing_more().await;
    }
}

/// Section 4.6: everyone who was told hears of the end.
#[tokio::test]
async fn directed() {
    let server = Server::with_users(15);
    for transport in Transport::ALL {
        let mut stranger = Client::online(&server, transport, &format!("{}/s", server.user())).await;
        let mut other = Client::online(&server, transport, &format!("{}/o", server.user())).await;
        let jid = server.user();
        let (full, bare) = (stranger.jid.clone(), other.bare().to_owned());
        for end in ["unavailable", "close", "cut", "conflict"] {
            let mut client = Client::online(&server, transport, &format!("{jid}/r")).await;
            let from = client.jid.clone();
            client
                .send(format!("<presence to='{full}'><status>hello</status></presence>"))
                .await;
            client.send(format!("<presence to='{bare}'/>")).await;
            stranger
                .expect(&format!(
                    "<presence from='{from}' to='{full}'><status>hello</status></presence>"
                ))
                .await;
            other.expect(&format!("<presence from='{from}' to='{bare}'/>")).await;
            // A broadcast does not go to them.
            client.presence("<presence><show>away</show></presence>").await;
            let mut new = None;
            match end {
                "unavailable" => {
                    client
                        .send("<presence type='unavailable'><status>bye</status></presence>")
                        .await
                }
                "close" => client.close().await,
                "cut" => client.cut(),
                _ => new = Some(Client::login(&server, transport, &from).await),
            }
            stranger
                .expect(&format!("<presence type='unavailable' from='{from}' to='{full}'/>"))
                .await;
            other
                .expect(&format!("<presence type='unavailable' from='{from}' to='{bare}'/>"))
                .await;
            stranger.nothing_more().await;
            other.nothing_more().await;
            drop(new);
        }
        // Once taken back there is nothing left to say.
        let mut client = Client::online(&server, transport, &format!("{jid}/r")).await;
        client.send(format!("<presence to='{full}'/>")).await;
        stranger.wait(&format!("<presence from='{}'/>", client.jid)).await;
        client.send(format!("<presence to='{full}' type='unavailable'/>")).await;
        stranger
            .expect(&format!("<presence type='unavailable' from='{}'/>", client.jid))
            .await;
        client.close().await;
        stranger.nothing_more().await;
        // A resource that was never available itself can show itself to somebody.
        let mut shy = Client::login(&server, transport, &format!("{jid}/shy")).await;
        shy.send(format!("<presence to='{full}'/>")).await;
        stranger.expect(&format!("<presence from='{}'/>", shy.jid)).await;
        shy.cut();
        stranger
            .expect(&format!("<presence type='unavailable' from='{jid}/shy'/>"))
            .await;
        stranger.nothing_more().await;
    }
}

/// Section 4.3, and row 35.
#[tokio::test]
async fn probes_and_wrong_presence() {
    let server = Server::with_users(18);
    for transport in Transport::ALL {
        let (mut a, mut b) = friends(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let (ja, jb) = (a.bare().to_owned(), b.bare().to_owned());
        b.presence("<presence><show>away</show></presence>").await;
        a.forget().await;
        a.send(format!("<presence type='probe' to='{jb}'/>")).await;
        a.expect(&format!("<presence from='{}'><show>away</show></presence>", b.jid))
            .await;
        // By a stranger, and of nobody: the answer "unsubscribed" ends at the asking account, which has no subscription
        // that it could end (section 4.3.2 rule 1, appendix A.3.4), so that nothing is told.
        for (to, resource) in [
            (jb.as_str(), ""),
            ("nobody-here@example.org", ""),
            (jb.as_str(), "/two"),
            ("nobody-here@example.org", "/two"),
        ] {
            stranger
                .send(format!("<presence type='probe' id='p' to='{to}{resource}'/>"))
                .await;
            settle(&mut stranger, to).await;
            stranger.nothing_more().await;
        }
        // One-sided: the watched one sees nothing.
        see(&mut stranger, &mut b).await;
        b.send(format!("<presence type='probe' to='{}'/>", stranger.bare()))
            .await;
        settle(&mut b, stranger.bare()).await;
        b.nothing_more().await;
        // Of a contact who is offline: nothing, or unavailable with the time (section 4.3.2).
        b.close().await;
        a.wait(&format!("<presence type='unavailable' from='{jb}/two'/>")).await;
        a.send(format!("<presence type='probe' to='{jb}'/>")).await;
        a.expect(&format!(
            "<presence type='unavailable' from='{jb}'><delay xmlns='urn:xmpp:delay' stamp='*'/></presence>"
        ))
        .await;
        stranger.forget().await;

        for wrong in [
            "<presence type='x'/>",
            "<presence type='available'/>",
            "<presence type=''/>",
            "<presence><priority>128</priority></presence>",
            "<presence><priority>-129</priority></presence>",
            "<presence><priority>many</priority></presence>",
        ] {
            a.send(wrong).await;
            let answer = a.expect("<presence type='error'/>").await;
            assert_eq!(error_of(&answer), "modify/bad-request", "{wrong}");
            a.nothing_more().await;
        }
        for (to, wrong) in [(&ja, "x"), (&jb, "x"), (&stranger.jid.clone(), "x")] {
            a.send(format!("<presence to='{to}' type='{wrong}'/>")).await;
            assert_eq!(
                error_of(&a.expect("<presence type='error'/>").await),
                "modify/bad-request"
            );
        }
        for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
            a.send(format!("<presence type='{kind}'/>")).await;
        }
        a.send("<presence type='error'/>").await;
        a.send("<presence type='probe'/>").await;
        a.drain().await;
        // Errors and answers for who is not there: silence.
        for to in [
            "nobody-here@example.org",
            "nobody-here@example.org/r",
            jb.as_str(),
            "example.org",
        ] {
            for kind in ["", " type='unavailable'", " type='error'"] {
                a.send(format!("<presence to='{to}'{kind}/>")).await;
            }
        }
        settle(&mut a, &jb).await;
        a.nothing_more().await;
        stranger.nothing_more().await;
    }
}

/// To the bare address: every available resource, those of negative priority too (section 8.5.2.1.2); to the full one
/// only that.
#[tokio::test]
async fn delivery_of_presence() {
    let server = Server::with_users(9);
    for transport in Transport::ALL {
        let jid = server.user();
        let mut one = Client::online(&server, transport, &format!("{jid}/one")).await;
        let mut minus = Client::login(&server, transport, &format!("{jid}/minus")).await;
        minus.presence("<presence><priority>-1</priority></presence>").await;
        let mut silent = Client::login(&server, transport, &format!("{jid}/silent")).await;
        one.forget().await;
        minus.forget().await;
        let mut sender = Client::online(&server, transport, &server.user()).await;
        sender.send(format!("<presence to='{jid}'/>")).await;
        one.expect(&format!("<presence to='{jid}' from='{}'/>", sender.jid))
            .await;
        minus.expect(&format!("<presence to='{jid}'/>")).await;
        // Section 8.5.3.1: a connected resource gets what is for its full address.
        sender.send(format!("<presence to='{jid}/silent'/>")).await;
        silent.expect(&format!("<presence to='{jid}/silent'/>")).await;
        sender.send(format!("<presence to='{jid}/gone'/>")).await;
        sender
            .send(format!(
                "<message to='{jid}/silent' type='headline'><body>x</body></message>"
            ))
            .await;
        silent.expect("<message type='headline'/>").await;
        for client in [&mut one, &mut minus, &mut silent, &mut sender] {
            client.nothing_more().await;
        }
    }
}
