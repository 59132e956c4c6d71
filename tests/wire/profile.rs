//! One picture and one nickname with several faces: nodes (XEP-0084, XEP-0172), the vCard (XEP-0054), presence (XEP-0153),
//! and what the server does between them (XEP-0398).

use testkit::{Client, Server, Transport};

use crate::pep::{OWNER, configure, hears, items, publish, pubsub, refusal, wants};
use crate::support::{befriend, error_of, is_result};

const DATA: &str = "urn:xmpp:avatar:data";
const METADATA: &str = "urn:xmpp:avatar:metadata";
const NICK: &str = "http://jabber.org/protocol/nick";
const NONE: &str = "<vCard xmlns='vcard-temp'/>";
const OPEN: &[(&str, &str)] = &[("access_model", "open")];

struct Picture {
    base64: &'static str,
    /// SHA-1.
    id: &'static str,
    bytes: u32,
}

/// "picture one" and so on.
const ONE: Picture = Picture {
    base64: "cGljdHVyZSBvbmU=",
    id: "62ae73c50371eb4b22136d38017f46a5cc9d4bf8",
    bytes: 11,
};
const TWO: Picture = Picture {
    base64: "cGljdHVyZSB0d28=",
    id: "396d2a31e215fcc04a8ddcebfc1df2ccc3f1568b",
    bytes: 11,
};

impl Picture {
    fn data(&self) -> String {
        format!("<data xmlns='{DATA}'>{}</data>", self.base64)
    }

    fn info(&self) -> String {
        format!("<info bytes='{}' id='{}' type='image/png'/>", self.bytes, self.id)
    }

    fn metadata(&self) -> String {
        metadata(&self.info())
    }

    fn photo(&self) -> String {
        format!("<PHOTO><TYPE>image/png</TYPE><BINVAL>{}</BINVAL></PHOTO>", self.base64)
    }

    fn update(&self) -> String {
        update(&format!("<photo>{}</photo>", self.id))
    }

    /// What contacts hear of.
    fn event(&self) -> String {
        format!(
            "<items node='{METADATA}'><item id='{}'>{}</item></items>",
            self.id,
            self.metadata()
        )
    }
}

fn metadata(infos: &str) -> String {
    format!("<metadata xmlns='{METADATA}'>{infos}</metadata>")
}

fn vcard(inner: &str) -> String {
    format!("<vCard xmlns='vcard-temp'>{inner}</vCard>")
}

/// What presence says of a picture.
fn update(inner: &str) -> String {
    format!("<x xmlns='vcard-temp:x:update'>{inner}</x>")
}

fn no_photo() -> String {
    update("<photo/>")
}

/// Data, and then the metadata that speak of them, as clients do it (XEP-0084 section 3).
async fn shows(client: &mut Client, picture: &Picture, options: &[(&str, &str)]) {
    let data = publish(DATA, picture.id, &picture.data(), options);
    is_result(&client.iq("set", "", &data).await, "");
    let metadata = publish(METADATA, picture.id, &picture.metadata(), options);
    is_result(&client.iq("set", "", &metadata).await, "");
}

/// The next is presence of `from` with this in it, and says no more of pictures.
async fn sees(client: &mut Client, from: &str, inner: &str) {
    let came = client
        .expect(&format!("<presence from='{from}'>{inner}</presence>"))
        .await;
    let said = came
        .children()
        .filter(|child| child.ns() == "vcard-temp:x:update")
        .count();
    assert_eq!(said, usize::from(inner.contains(":x:update")), "{}", came.raw());
}

/// The vCard of `owner` has this photo, and no other.
async fn has_photo(client: &mut Client, owner: &str, picture: &Picture) {
    let answer = client.iq("get", owner, NONE).await;
    is_result(&answer, &vcard(&picture.photo()));
    assert_eq!(answer.raw().matches("<PHOTO").count(), 1, "{}", answer.raw());
}

async fn has_no_photo(client: &mut Client, owner: &str) {
    let answer = client.iq("get", owner, NONE).await;
    assert!(!answer.raw().contains("PHOTO"), "{}", answer.raw());
}

async fn account_and_contact(server: &Server, transport: Transport) -> (Client, Client) {
    let mut a = Client::online(server, transport, &format!("{}/a", server.user())).await;
    let mut b = Client::online(server, transport, &format!("{}/b", server.user())).await;
    befriend(&mut a, &mut b).await;
    (a, b)
}

#[tokio::test]
async fn a_picture_at_the_nodes_is_the_photo_of_the_vcard_and_in_presence() {
    let server = Server::with_users(12);
    for transport in Transport::EVERY {
        let (mut a, mut friend) = account_and_contact(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let (user, from) = (a.bare().to_owned(), a.jid.clone());
        // XEP-0398 section 2.
        let info = a
            .iq("get", &user, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
            .await;
        is_result(
            &info,
            "<query xmlns='http://jabber.org/protocol/disco#info'>\
             <feature var='urn:xmpp:pep-vcard-conversion:0'/></query>",
        );

        // Section 3.1. The data alone are not what the account shows.
        let data = publish(DATA, ONE.id, &ONE.data(), OPEN);
        is_result(&a.iq("set", "", &data).await, "");
        friend.nothing_more().await;
        has_no_photo(&mut friend, &user).await;
        let metadata = publish(METADATA, ONE.id, &ONE.metadata(), OPEN);
        is_result(&a.iq("set", "", &metadata).await, "");
        sees(&mut friend, &from, &ONE.update()).await;
        for client in [&mut friend, &mut stranger] {
            has_photo(client, &user, &ONE).await;
        }
        has_photo(&mut a, "", &ONE).await;
        a.nothing_more().await;

        // Section 4: in each presence, in place of what the client says, unless that it shows none.
        for (said, told) in [
            (
                "<show>away</show>".to_owned(),
                format!("<show>away</show>{}", ONE.update()),
            ),
            (update(""), ONE.update()),
            (update("<photo>sha1-of-something-else</photo>"), ONE.update()),
            (ONE.update(), ONE.update()),
            (no_photo(), no_photo()),
            (String::new(), ONE.update()),
        ] {
            a.send(format!("<presence>{said}</presence>")).await;
            sees(&mut friend, &from, &told).await;
            // The client itself sees what others see.
            sees(&mut a, &from, &told).await;
        }
        // Directed presence too.
        for (said, told) in [
            (String::new(), ONE.update()),
            (update(""), ONE.update()),
            (no_photo(), no_photo()),
        ] {
            let to = &stranger.jid;
            a.send(format!("<presence to='{to}'><status>x</status>{said}</presence>"))
                .await;
            sees(&mut stranger, &from, &format!("<status>x</status>{told}")).await;
        }
        a.send(format!("<presence to='{}' type='unavailable'/>", stranger.jid))
            .await;
        let came = stranger
            .expect(&format!("<presence type='unavailable' from='{from}'/>"))
            .await;
        assert!(!came.raw().contains("update"), "{}", came.raw());

        // Who comes later, and another device of the account.
        let mut late = Client::online(&server, transport, &format!("{}/late", friend.bare())).await;
        late.wait(&format!("<presence from='{from}'>{}</presence>", ONE.update()))
            .await;
        let mut second = Client::online(&server, transport, &format!("{user}/second")).await;
        second
            .wait(&format!("<presence from='{from}'>{}</presence>", ONE.update()))
            .await;
        for client in [&mut a, &mut friend, &mut late, &mut second] {
            client.forget().await;
        }

        // The other device shows another one; what has not changed is not told again.
        shows(&mut second, &TWO, &[]).await;
        let second_jid = second.jid.clone();
        for client in [&mut friend, &mut late] {
            let both = [&from, &second_jid].map(|from| format!("<presence from='{from}'>{}</presence>", TWO.update()));
            client.expect_all(&[&both[0], &both[1]]).await;
            has_photo(client, &user, &TWO).await;
        }
        sees(&mut a, &second_jid, &TWO.update()).await;
        shows(&mut second, &TWO, &[]).await;
        for client in [&mut friend, &mut late, &mut a] {
            client.nothing_more().await;
        }

        // None any more.
        second.close().await;
        for client in [&mut friend, &mut late, &mut a] {
            client.forget().await;
        }
        is_result(
            &a.iq("set", "", &publish(METADATA, "none", &self::metadata(""), &[]))
                .await,
            "",
        );
        sees(&mut friend, &from, &no_photo()).await;
        has_no_photo(&mut friend, &user).await;
        a.send("<presence><show>dnd</show></presence>").await;
        sees(&mut friend, &from, &format!("<show>dnd</show>{}", no_photo())).await;
        for client in [a, friend, stranger, late] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn a_photo_in_the_vcard_is_published() {
    let server = Server::with_users(12);
    for transport in Transport::EVERY {
        let (mut a, mut friend) = account_and_contact(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let (user, from) = (a.bare().to_owned(), a.jid.clone());
        wants(&mut friend, &[METADATA]).await;
        // XEP-0398 section 3.2. White space in it is nothing (XEP-0153 section 3.6).
        let photo = format!(
            "<PHOTO><TYPE>image/png</TYPE><BINVAL>\n {}\n </BINVAL></PHOTO>",
            "cGljdHVy\nZSBvbmU="
        );
        let card = vcard(&format!("<FN>A</FN>{photo}<TITLE>T</TITLE>"));
        is_result(&a.iq("set", "", &card).await, "");
        let presence = format!("<presence from='{from}'>{}</presence>", ONE.update());
        let event = |inner: &str| {
            format!(
                "<message from='{user}'><event xmlns='http://jabber.org/protocol/pubsub#event'>{inner}</event></message>"
            )
        };
        let event_one = event(&ONE.event()).replace("<message ", "<message type='headline' ");
        friend.expect_all(&[&presence, &event_one]).await;
        // As anybody may read the vCard, so the nodes.
        for client in [&mut friend, &mut stranger] {
            let asked = pubsub(&format!("<items node='{DATA}'><item id='{}'/></items>", ONE.id));
            let expected = format!(
                "<items node='{DATA}'><item id='{}'>{}</item></items>",
                ONE.id,
                ONE.data()
            );
            is_result(&client.iq("get", &user, &asked).await, &pubsub(&expected));
            is_result(
                &client.iq("get", &user, NONE).await,
                &vcard(&format!("<FN>A</FN><TITLE>T</TITLE>{}", ONE.photo())),
            );
        }
        // The same picture again is nothing new.
        is_result(
            &a.iq("set", "", &vcard(&format!("<FN>B</FN>{}", ONE.photo()))).await,
            "",
        );
        friend.nothing_more().await;
        is_result(
            &friend.iq("get", &user, NONE).await,
            &vcard(&format!("<FN>B</FN>{}", ONE.photo())),
        );
        // Another one, whose type is not told.
        let photo = format!("<PHOTO><BINVAL>{}</BINVAL></PHOTO>", TWO.base64);
        is_result(&a.iq("set", "", &vcard(&photo)).await, "");
        let presence = format!("<presence from='{from}'>{}</presence>", TWO.update());
        let event_two = event(&TWO.event()).replace("<message ", "<message type='headline' ");
        friend.expect_all(&[&presence, &event_two]).await;

        // What is no picture changes nothing.
        let long = "A".repeat(200 * 1024);
        for (data, condition) in [("cGlj!", "modify/bad-request"), (&*long, "modify/not-acceptable")] {
            let card = vcard(&format!(
                "<FN>C</FN><PHOTO><TYPE>image/png</TYPE><BINVAL>{data}</BINVAL></PHOTO>"
            ));
            assert_eq!(error_of(&a.iq("set", "", &card).await), condition);
        }
        friend.nothing_more().await;
        has_photo(&mut stranger, &user, &TWO).await;

        // Without a photo there is none, and a link is one that only the vCard has.
        let linked = vcard("<FN>D</FN><PHOTO><EXTVAL>https://example.org/a.png</EXTVAL></PHOTO>");
        is_result(&a.iq("set", "", &linked).await, "");
        let presence = format!("<presence from='{from}'>{}</presence>", no_photo());
        let event_none = event(&format!(
            "<items node='{METADATA}'><item>{}</item></items>",
            metadata("")
        ));
        let event_none = event_none.replace("<message ", "<message type='headline' ");
        let came = friend.expect_all(&[&presence, &event_none]).await;
        assert!(came.iter().all(|came| !came.raw().contains("<info")), "{came:?}");
        let gone = stranger.iq("get", &user, &items(DATA)).await;
        assert!(!gone.raw().contains(TWO.base64), "{}", gone.raw());
        is_result(&stranger.iq("get", &user, NONE).await, &linked);
        is_result(&a.iq("set", "", &vcard("<FN>E</FN>")).await, "");
        friend.nothing_more().await;
        has_no_photo(&mut stranger, &user).await;
        for client in [a, friend, stranger] {
            client.close().await;
        }
    }
}

/// XEP-0398 section 6: who may not read the nodes does not see their picture anywhere.
#[tokio::test]
async fn a_picture_is_seen_by_whom_the_nodes_admit() {
    let server = Server::with_users(12);
    for transport in Transport::EVERY {
        let (mut a, mut friend) = account_and_contact(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let (user, from) = (a.bare().to_owned(), a.jid.clone());
        // By default they are for contacts.
        shows(&mut a, &ONE, &[]).await;
        sees(&mut friend, &from, &ONE.update()).await;
        has_photo(&mut friend, &user, &ONE).await;
        // There is no vCard besides.
        let refused = stranger.iq("get", &user, NONE).await;
        assert_eq!(error_of(&refused), "cancel/service-unavailable");
        a.send(format!("<presence to='{}'/>", stranger.jid)).await;
        sees(&mut stranger, &from, "").await;
        is_result(
            &a.iq("set", "", &vcard(&format!("<FN>A</FN>{}", ONE.photo()))).await,
            "",
        );
        is_result(&stranger.iq("get", &user, NONE).await, &vcard("<FN>A</FN>"));
        has_no_photo(&mut stranger, &user).await;
        friend.nothing_more().await;

        // One node is not enough.
        is_result(&a.iq("set", "", &configure(METADATA, OPEN)).await, "");
        has_no_photo(&mut stranger, &user).await;
        is_result(&a.iq("set", "", &configure(DATA, OPEN)).await, "");
        has_photo(&mut stranger, &user, &ONE).await;
        a.send(format!("<presence to='{}'/>", stranger.jid)).await;
        sees(&mut stranger, &from, &ONE.update()).await;
        // It is the same picture.
        friend.nothing_more().await;

        // For nobody: presence is the same for all.
        is_result(
            &a.iq("set", "", &configure(DATA, &[("access_model", "whitelist")]))
                .await,
            "",
        );
        sees(&mut friend, &from, &no_photo()).await;
        for client in [&mut friend, &mut stranger] {
            has_no_photo(client, &user).await;
        }
        has_photo(&mut a, "", &ONE).await;
        // It is still theirs to read again.
        is_result(&a.iq("set", "", &configure(DATA, OPEN)).await, "");
        sees(&mut friend, &from, &ONE.update()).await;

        // Whom the account blocks sees neither.
        let block = format!(
            "<block xmlns='urn:xmpp:blocking'><item jid='{}'/></block>",
            friend.bare()
        );
        is_result(&a.iq("set", "", &block).await, "");
        friend
            .expect(&format!("<presence type='unavailable' from='{from}'/>"))
            .await;
        shows(&mut a, &TWO, &[]).await;
        friend.nothing_more().await;
        assert_eq!(
            error_of(&friend.iq("get", &user, NONE).await),
            "cancel/service-unavailable"
        );
        // The node with the picture goes.
        is_result(
            &a.iq(
                "set",
                "",
                &format!("<pubsub xmlns='{OWNER}'><delete node='{DATA}'/></pubsub>"),
            )
            .await,
            "",
        );
        has_no_photo(&mut stranger, &user).await;
        a.send(format!("<presence to='{}'/>", stranger.jid)).await;
        sees(&mut stranger, &from, "").await;
        for client in [a, friend, stranger] {
            client.close().await;
        }
    }
}

/// XEP-0398 section 3.1: of several formats one that is no link, and it has to be what it says.
#[tokio::test]
async fn which_format_is_the_photo() {
    let server = Server::with_users(2);
    let (mut a, mut friend) = account_and_contact(&server, Transport::Direct).await;
    let (user, from) = (a.bare().to_owned(), a.jid.clone());
    let gif = format!("<info bytes='11' id='{}' type='image/gif'/>", TWO.id);
    let linked = ONE.info().replace("/>", " url='https://example.org/a.png'/>");
    let many = [("max_items", "4")];
    for picture in [&ONE, &TWO] {
        let data = publish(DATA, picture.id, &picture.data(), &many);
        is_result(&a.iq("set", "", &data).await, "");
    }
    let mut shown = None;
    for (infos, expected) in [
        (linked.clone(), None),
        (gif.clone(), Some((TWO.id, "image/gif", TWO.base64))),
        (gif.clone() + &ONE.info(), Some((ONE.id, "image/png", ONE.base64))),
        (linked + &gif, Some((TWO.id, "image/gif", TWO.base64))),
        // There are no such data.
        (ONE.info().replace(ONE.id, &"0".repeat(40)), None),
        (ONE.info(), Some((ONE.id, "image/png", ONE.base64))),
    ] {
        is_result(
            &a.iq("set", "", &publish(METADATA, "x", &metadata(&infos), &[])).await,
            "",
        );
        let id = expected.map(|(id, ..)| id);
        match id {
            Some(id) if shown != Some(id) => sees(&mut friend, &from, &update(&format!("<photo>{id}</photo>"))).await,
            None if shown.is_some() => sees(&mut friend, &from, &no_photo()).await,
            _ => {}
        }
        friend.nothing_more().await;
        match expected {
            Some((_, kind, base64)) => {
                let photo = format!("<PHOTO><TYPE>{kind}</TYPE><BINVAL>{base64}</BINVAL></PHOTO>");
                is_result(&friend.iq("get", &user, NONE).await, &vcard(&photo));
            }
            None => has_no_photo(&mut friend, &user).await,
        }
        shown = id;
    }
    // Under a hash that is not its own it is none; and where the data come last they count as well.
    is_result(&a.iq("set", "", &publish(DATA, ONE.id, &TWO.data(), &[])).await, "");
    let wrong = a.iq("set", "", &publish(METADATA, "y", &ONE.metadata(), &[])).await;
    is_result(&wrong, "");
    sees(&mut friend, &from, &no_photo()).await;
    is_result(&a.iq("set", "", &publish(DATA, ONE.id, &ONE.data(), &[])).await, "");
    sees(&mut friend, &from, &ONE.update()).await;
    has_photo(&mut friend, &user, &ONE).await;
    // The item goes.
    let retract = pubsub(&format!("<retract node='{DATA}'><item id='{}'/></retract>", ONE.id));
    is_result(&a.iq("set", "", &retract).await, "");
    sees(&mut friend, &from, &no_photo()).await;
    let missing = refusal(&a.iq("set", "", &retract).await);
    assert_eq!(missing.0, "cancel/item-not-found");
}

/// Whatever two devices do at once, all faces show the same in the end.
#[tokio::test]
async fn two_devices_at_once_are_in_one_order() {
    let server = Server::with_users(2);
    let (mut a, mut friend) = account_and_contact(&server, Transport::Direct).await;
    let user = a.bare().to_owned();
    let mut second = Client::online(&server, Transport::Direct, &format!("{user}/second")).await;
    friend.forget().await;
    for round in 0..20 {
        let set = |payload: &str, id: &str| format!("<iq type='set' id='{id}'>{payload}</iq>");
        let by_node = set(&publish(DATA, ONE.id, &ONE.data(), OPEN), "1")
            + &set(&publish(METADATA, ONE.id, &ONE.metadata(), OPEN), "2");
        let card = if round % 2 == 0 {
            vcard(&TWO.photo())
        } else {
            vcard("<FN>A</FN>")
        };
        a.send(by_node).await;
        second.send(set(&card, "3")).await;
        a.wait("<iq type='result' id='1'/>").await;
        a.wait("<iq type='result' id='2'/>").await;
        second.wait("<iq type='result' id='3'/>").await;
        let shown = friend.iq("get", &user, &items(METADATA)).await;
        let card = friend.iq("get", &user, NONE).await;
        let mut late = Client::online(&server, Transport::Direct, &format!("{}/late{round}", friend.bare())).await;
        let presence = late.wait(&format!("<presence from='{}'/>", a.jid)).await;
        late.close().await;
        let has = |picture: &Picture| {
            [
                shown.raw().contains(&picture.info()),
                card.raw().contains(picture.base64),
                presence.raw().contains(picture.id),
            ]
        };
        let (one, two) = (has(&ONE), has(&TWO));
        assert!(one == [true; 3] || one == [false; 3], "{shown:?} {card:?} {presence:?}");
        assert!(two == [true; 3] || two == [false; 3], "{shown:?} {card:?} {presence:?}");
        assert!(!(one[0] && two[0]), "{shown:?} {card:?} {presence:?}");
    }
}

/// XEP-0172 section 3: a nickname is what the vCard has as one.
#[tokio::test]
async fn one_nickname() {
    let server = Server::with_users(12);
    for transport in Transport::EVERY {
        let (mut a, mut friend) = account_and_contact(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let user = a.bare().to_owned();
        wants(&mut friend, &[NICK]).await;
        let nick = |nick: &str| format!("<nick xmlns='{NICK}'>{nick}</nick>");
        is_result(
            &a.iq("set", "", &vcard("<FN>A</FN><NICKNAME>Ish &amp; Co</NICKNAME>"))
                .await,
            "",
        );
        hears(
            &mut friend,
            &user,
            &format!("<items node='{NICK}'><item>{}</item></items>", nick("Ish &amp; Co")),
        )
        .await;
        is_result(
            &stranger.iq("get", &user, NONE).await,
            &vcard("<FN>A</FN><NICKNAME>Ish &amp; Co</NICKNAME>"),
        );
        // Section 4.3.
        is_result(
            &a.iq("set", "", &publish(NICK, "x", &nick("CallMeIshmael"), &[])).await,
            "",
        );
        hears(
            &mut friend,
            &user,
            &format!("<items node='{NICK}'><item>{}</item></items>", nick("CallMeIshmael")),
        )
        .await;
        let card = stranger.iq("get", &user, NONE).await;
        is_result(&card, &vcard("<FN>A</FN><NICKNAME>CallMeIshmael</NICKNAME>"));
        assert_eq!(card.raw().matches("<NICKNAME").count(), 1, "{}", card.raw());
        // The same again is nothing new.
        is_result(
            &a.iq("set", "", &vcard("<FN>B</FN><NICKNAME>CallMeIshmael</NICKNAME>"))
                .await,
            "",
        );
        friend.nothing_more().await;
        is_result(
            &a.iq("set", "", &configure(NICK, &[("access_model", "presence")])).await,
            "",
        );
        is_result(&stranger.iq("get", &user, NONE).await, &vcard("<FN>B</FN>"));
        assert!(!stranger.iq("get", &user, NONE).await.raw().contains("NICKNAME"));
        is_result(
            &friend.iq("get", &user, NONE).await,
            &vcard("<NICKNAME>CallMeIshmael</NICKNAME>"),
        );
        is_result(&a.iq("set", "", &vcard("<FN>B</FN><NICKNAME/>")).await, "");
        hears(
            &mut friend,
            &user,
            &format!("<items node='{NICK}'><retract id='x'/></items>"),
        )
        .await;
        assert!(!friend.iq("get", &user, NONE).await.raw().contains("NICKNAME"));
        for client in [a, friend, stranger] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn the_picture_outlives_the_server() {
    let mut server = Server::with_users(2);
    let (mut a, mut friend) = account_and_contact(&server, Transport::Direct).await;
    let user = a.bare().to_owned();
    let card = vcard(&format!("<FN>A</FN><NICKNAME>N</NICKNAME>{}", ONE.photo()));
    is_result(&a.iq("set", "", &card).await, "");
    friend
        .wait(&format!("<presence from='{}'>{}</presence>", a.jid, ONE.update()))
        .await;
    let (a, friend) = (a.jid.clone(), friend.jid.clone());
    for _ in 0..2 {
        server.kill9();
        server.start();
        let mut friend = Client::online(&server, Transport::Direct, &friend).await;
        let mut a = Client::online(&server, Transport::Direct, &a).await;
        friend
            .wait(&format!("<presence from='{}'>{}</presence>", a.jid, ONE.update()))
            .await;
        is_result(&friend.iq("get", &user, NONE).await, &card);
        // Nothing is left of it when it goes.
        a.send("<presence/>").await;
        sees(&mut friend, &a.jid, &ONE.update()).await;
    }
    let mut a = Client::online(&server, Transport::Direct, &a).await;
    is_result(&a.iq("set", "", &vcard("<FN>A</FN>")).await, "");
    server.kill9();
    server.start();
    let mut friend = Client::online(&server, Transport::Direct, &friend).await;
    let a = Client::online(&server, Transport::Direct, &a.jid).await;
    friend
        .wait(&format!("<presence from='{}'>{}</presence>", a.jid, no_photo()))
        .await;
    has_no_photo(&mut friend, &user).await;
}

/// XEP-0292 section 9: what both formats know is the same in both.
#[tokio::test]
async fn one_vcard_in_two_formats() {
    const NODE: &str = "urn:xmpp:vcard4";
    let server = Server::with_users(12);
    for transport in Transport::EVERY {
        let (mut a, mut friend) = account_and_contact(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let user = a.bare().to_owned();
        wants(&mut friend, &[NODE]).await;
        let new = |inner: &str| format!("<vcard xmlns='urn:ietf:params:xml:ns:vcard-4.0'>{inner}</vcard>");
        let at_node = |inner: &str| format!("<items node='{NODE}'><item>{}</item></items>", new(inner));
        let (geo, lang) = (
            "<GEO><LAT>39.59</LAT></GEO>",
            "<lang><language-tag>en</language-tag></lang>",
        );
        // As it was set, also what the new one does not know.
        let card = vcard(&format!(
            "<FN>A</FN><TEL><WORK/><MSG/><NUMBER>+1-303</NUMBER></TEL>{geo}"
        ));
        is_result(&a.iq("set", "", &card).await, "");
        let tel = "<tel><parameters><type><text>work</text></type></parameters><uri>tel:+1-303</uri></tel>";
        let told = at_node(&format!("<fn><text>A</text></fn>{tel}"));
        hears(&mut friend, &user, &told).await;
        is_result(&stranger.iq("get", &user, &items(NODE)).await, &pubsub(&told));
        is_result(&stranger.iq("get", &user, NONE).await, &card);
        // The same again is nothing new.
        is_result(&a.iq("set", "", &card).await, "");
        friend.nothing_more().await;

        // A client of the new one.
        let email = "<email><text>b@example.org</text></email>";
        let publication = publish(NODE, "b", &new(&format!("<fn><text>B</text></fn>{email}{lang}")), &[]);
        is_result(&a.iq("set", "", &publication).await, "");
        let shown = stranger.iq("get", &user, NONE).await;
        is_result(
            &shown,
            &vcard(&format!("<FN>B</FN><EMAIL><USERID>b@example.org</USERID></EMAIL>{geo}")),
        );
        assert!(!shown.raw().contains("TEL"), "{}", shown.raw());
        assert_eq!(shown.raw().matches("<FN>").count(), 1, "{}", shown.raw());
        friend.forget().await;
        // And one of the old one again: what only the new one knows stays there.
        is_result(&a.iq("set", "", &vcard("<FN>C</FN>")).await, "");
        hears(&mut friend, &user, &at_node(&format!("<fn><text>C</text></fn>{lang}"))).await;
        let shown = stranger.iq("get", &user, &items(NODE)).await;
        assert!(!shown.raw().contains("email"), "{}", shown.raw());
        assert_eq!(shown.raw().matches("<item ").count(), 1, "{}", shown.raw());
        is_result(&stranger.iq("get", &user, NONE).await, &vcard("<FN>C</FN>"));

        // The new one is for contacts from here on, and what was there before is nobody's any more.
        is_result(
            &a.iq("set", "", &configure(NODE, &[("access_model", "presence")])).await,
            "",
        );
        is_result(
            &a.iq("set", "", &publish(NODE, "d", &new("<fn><text>D</text></fn>"), &[]))
                .await,
            "",
        );
        is_result(&friend.iq("get", &user, NONE).await, &vcard("<FN>D</FN>"));
        assert_eq!(
            error_of(&stranger.iq("get", &user, NONE).await),
            "cancel/service-unavailable"
        );
        is_result(
            &a.iq(
                "set",
                "",
                &format!("<pubsub xmlns='{OWNER}'><delete node='{NODE}'/></pubsub>"),
            )
            .await,
            "",
        );
        assert_eq!(
            error_of(&friend.iq("get", &user, NONE).await),
            "cancel/service-unavailable"
        );
        is_result(&a.iq("get", "", NONE).await, NONE);
        for client in [a, friend, stranger] {
            client.close().await;
        }
    }
}
