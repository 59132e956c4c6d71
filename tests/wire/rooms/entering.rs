//! Coming into a room (XEP-0045 sections 7.1 and 7.2): in which order somebody is told what, what he may know of others,
//! how much he is told of what was said before, and why he may not come in (row 46 of the faults).

use testkit::{Client, Server, Stanza, Transport};

use super::{MUC, OWNER, USER, change, configure, join, join_with, make, nobody_knows, room_of, say};
use crate::support::error_of;

const OCCUPANT: &str = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='*'/>";

/// Sends presence to enter, with these children of `<x/>`.
async fn ask(client: &mut Client, room: &str, nick: &str, children: &str) {
    client
        .send(format!(
            "<presence id='j' to='{room}/{nick}'><x xmlns='{MUC}'>{children}</x></presence>"
        ))
        .await;
}

/// Everything that comes of entering, up to the subject.
async fn enters(client: &mut Client, room: &str, nick: &str, children: &str) -> Vec<Stanza> {
    ask(client, room, nick, children).await;
    let mut came = Vec::new();
    loop {
        let stanza = client.stanza().await;
        let is_last = stanza.name() == "message" && stanza.get_child("subject", "jabber:client").is_some();
        came.push(stanza);
        if is_last {
            return came;
        }
    }
}

/// Who is shown, and with which rights; or what was said.
fn summary(room: &str, came: &[Stanza]) -> Vec<String> {
    let each = came.iter().map(|stanza| {
        let from = stanza.get("from").strip_prefix(room).unwrap_or("?").to_owned();
        let text = |name: &str| stanza.get_child(name, "jabber:client").map(|child| child.text());
        match stanza.get_child("x", USER) {
            Some(x) => {
                let of = |name: &'static str| {
                    x.get_child("item", USER)
                        .and_then(|item| item.attr(name))
                        .unwrap_or("-")
                };
                let statuses = x.children().filter(|child| child.name() == "status");
                let codes: Vec<&str> = statuses.filter_map(|status| status.attr("code")).collect();
                format!(
                    "{from} {} {} {} {}",
                    of("affiliation"),
                    of("role"),
                    of("jid"),
                    codes.join("+")
                )
            }
            None => format!("{from} {}", text("subject").or(text("body")).unwrap_or_default()),
        }
    });
    each.collect()
}

#[tokio::test]
async fn everybody_then_oneself_then_what_was_said_then_the_subject() {
    let server = Server::with_users(3 * Transport::EVERY.len() + 8);
    for transport in Transport::EVERY {
        let room = room_of(&server);
        let mut owner = Client::online(&server, transport, &format!("{}/desktop", server.user())).await;
        let mut second = Client::online(&server, transport, &format!("{}/laptop", server.user())).await;
        let mut third = Client::online(&server, transport, &format!("{}/pda", server.user())).await;
        make(&mut owner, &room, "firstwitch", &["persistentroom=1"]).await;
        join(&mut second, &room, "secondwitch").await;
        owner.forget().await;
        owner
            .send(format!(
                "<message type='groupchat' to='{room}'><subject>Fire Burn!</subject></message>"
            ))
            .await;
        say(&mut owner, &room, "h1", "Thrice the brinded cat").await;
        second.wait("<message type='groupchat' id='h1'/>").await;
        say(&mut second, &room, "h2", "Thrice and once").await;
        for client in [&mut owner, &mut second] {
            client.wait("<message type='groupchat' id='h2'/>").await;
        }

        let came = enters(&mut third, &room, "thirdwitch", "").await;
        let expected = [
            "/firstwitch owner moderator - ".to_owned(),
            "/secondwitch none participant - ".to_owned(),
            format!("/thirdwitch none participant {} 110+170", third.jid),
            "/firstwitch Thrice the brinded cat".to_owned(),
            "/secondwitch Thrice and once".to_owned(),
            "/firstwitch Fire Burn!".to_owned(),
        ];
        assert_eq!(summary(&room, &came), expected);
        for stanza in &came {
            // XEP-0421: all of it has the id of an occupant, once.
            assert_eq!(stanza.raw().matches("<occupant-id ").count(), 1, "{stanza:?}");
        }
        // Sections 7.2.13 and 7.2.15: with the time, in the room's name.
        for (message, id) in came[3..5].iter().zip(["h1", "h2"]) {
            let pattern = format!(
                "<message id='{id}' type='groupchat' to='{}'><delay xmlns='urn:xmpp:delay' from='{room}' stamp='*'/>\
                 <stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='*'/>{OCCUPANT}</message>",
                third.jid
            );
            assert_eq!(message.mismatch(&pattern), None, "{message:?}");
            assert_eq!(message.raw().matches("<delay ").count(), 1, "{message:?}");
        }
        let pattern =
            format!("<message type='groupchat'><delay xmlns='urn:xmpp:delay' from='{room}' stamp='*'/></message>");
        assert_eq!(came[5].mismatch(&pattern), None, "{:?}", came[5]);
        nobody_knows(&came, &[&owner, &second]);

        // Section 7.2.4: who moderates sees who it is, and nobody else.
        let seen = owner.stanza().await;
        let item = format!("/thirdwitch none participant {} ", third.jid);
        assert_eq!(summary(&room, std::slice::from_ref(&seen)), [item]);
        let seen = [second.stanza().await];
        assert_eq!(summary(&room, &seen), ["/thirdwitch none participant - "]);
        nobody_knows(&seen, &[&owner, &third]);

        // Section 7.2.1: who has lost all that gets all of it again, and nobody hears of it.
        let again = enters(&mut third, &room, "thirdwitch", "").await;
        assert_eq!(summary(&room, &again), expected);
        owner.nothing_more().await;
        second.nothing_more().await;
        // Section 7.2.16: then what is new.
        say(&mut owner, &room, "l", "live").await;
        third
            .expect("<message type='groupchat' id='l'><body>live</body></message>")
            .await;
        for client in [owner, second, third] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn a_room_that_hides_nobody_warns() {
    let server = Server::with_users(4);
    let room = room_of(&server);
    let mut owner = Client::online(&server, Transport::Direct, &server.user()).await;
    let mut second = Client::online(&server, Transport::Direct, &server.user()).await;
    make(&mut owner, &room, "first", &["whois=anyone"]).await;
    let came = enters(&mut second, &room, "second", "").await;
    let expected = [
        format!("/first owner moderator {} ", owner.jid),
        format!("/second none participant {} 100+110+170", second.jid),
        " ".to_owned(),
    ];
    assert_eq!(summary(&room, &came), expected);
}

#[tokio::test]
async fn as_much_of_what_was_said_as_is_wanted() {
    let server = Server::with_users(4);
    let room = room_of(&server);
    let mut owner = Client::online(&server, Transport::Direct, &server.user()).await;
    let mut second = Client::online(&server, Transport::Direct, &server.user()).await;
    make(&mut owner, &room, "first", &["publicroom=0"]).await;
    for number in 1..=4 {
        say(&mut owner, &room, &format!("m{number}"), &format!("n{number}")).await;
        owner
            .expect(&format!("<message type='groupchat' id='m{number}'/>"))
            .await;
    }
    let all = enters(&mut second, &room, "second", "").await;
    let history: Vec<&Stanza> = all.iter().filter(|stanza| !stanza.body().is_empty()).collect();
    assert_eq!(history.len(), 4, "{all:?}");
    let stamp = |stanza: &Stanza| {
        let delay = stanza.get_child("delay", "urn:xmpp:delay");
        delay
            .and_then(|delay| delay.attr("stamp"))
            .unwrap_or_default()
            .to_owned()
    };
    // Characters of whole stanzas, as they are sent.
    let of_two = history[2].raw().len() + history[3].raw().len();
    let cases = [
        ("<history maxchars='0'/>".to_owned(), &[][..]),
        ("<history maxstanzas='0'/>".to_owned(), &[]),
        ("<history maxstanzas='2'/>".to_owned(), &["n3", "n4"]),
        (format!("<history maxchars='{of_two}'/>"), &["n3", "n4"]),
        (format!("<history maxchars='{}'/>", of_two - 1), &["n4"]),
        (format!("<history maxchars='{of_two}' maxstanzas='1'/>"), &["n4"]),
        ("<history seconds='180'/>".to_owned(), &["n1", "n2", "n3", "n4"]),
        (
            format!("<history since='{}'/>", stamp(history[0])),
            &["n1", "n2", "n3", "n4"],
        ),
        ("<history since='2999-01-01T00:00:00Z'/>".to_owned(), &[]),
        (
            "<history since='1970-01-01T00:00:00Z' maxstanzas='3'/>".to_owned(),
            &["n2", "n3", "n4"],
        ),
    ];
    for (history, expected) in cases {
        let came = enters(&mut second, &room, "second", &history).await;
        let bodies: Vec<String> = came.iter().map(Stanza::body).filter(|body| !body.is_empty()).collect();
        assert_eq!(bodies, expected, "{history}");
    }
}

/// Row 46 of the faults, and section 7.2.17.
#[tokio::test]
async fn why_somebody_may_not_come_in() {
    let server = Server::with_users(4 * Transport::EVERY.len() + 8);
    for transport in Transport::EVERY {
        let room = room_of(&server);
        let mut owner = Client::online(&server, transport, &format!("{}/o", server.user())).await;
        let mut other = Client::online(&server, transport, &format!("{}/x", server.user())).await;
        let mut third = Client::online(&server, transport, &format!("{}/y", server.user())).await;
        // Section 7.2.10: nobody else may come in before it is said what it is like.
        join_with(&mut owner, &room, "first", "").await;
        let refused = |room: &str, nick: &str, kind: &str, condition: &str| {
            format!(
                "<presence type='error' id='j' from='{room}/{nick}'><error type='{kind}' by='{room}'><{condition} \
                 xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error><x xmlns='{MUC}'/></presence>"
            )
        };
        ask(&mut other, &room, "second", "").await;
        other
            .expect(&refused(&room, "second", "cancel", "item-not-found"))
            .await;
        configure(&mut owner, &room, &["persistentroom=1"]).await;

        // No nickname.
        other
            .send(format!("<presence to='{room}'><x xmlns='{MUC}'/></presence>"))
            .await;
        let answer = other.expect(&format!("<presence type='error' from='{room}'/>")).await;
        assert_eq!(error_of(&answer), "modify/jid-malformed");
        // Section 17.1.
        for nick in [" ", "&#xa0;", "  "] {
            ask(&mut other, &room, nick, "").await;
            let answer = other.expect("<presence type='error'/>").await;
            assert!(
                ["modify/not-acceptable", "modify/jid-malformed"].contains(&error_of(&answer).as_str()),
                "{answer:?}"
            );
        }
        // Taken, and kept for somebody.
        ask(&mut other, &room, "first", "").await;
        other.expect(&refused(&room, "first", "cancel", "conflict")).await;
        let kept = format!("<item affiliation='member' jid='{}' nick='kept'/>", third.bare());
        change(&mut owner, &room, &kept).await;
        ask(&mut other, &room, "kept", "").await;
        other.expect(&refused(&room, "kept", "cancel", "conflict")).await;
        // For members.
        configure(&mut owner, &room, &["membersonly=1"]).await;
        ask(&mut other, &room, "second", "").await;
        other
            .expect(&refused(&room, "second", "auth", "registration-required"))
            .await;
        join(&mut third, &room, "kept").await;
        // With a password, which nobody is let off.
        configure(
            &mut owner,
            &room,
            &["membersonly=0", "passwordprotectedroom=1", "roomsecret=cauldronburn"],
        )
        .await;
        for password in ["", "<password/>", "<password>cauldron</password>"] {
            ask(&mut other, &room, "second", password).await;
            other.expect(&refused(&room, "second", "auth", "not-authorized")).await;
        }
        enters(&mut other, &room, "second", "<password>cauldronburn</password>").await;
        other
            .send(format!("<presence type='unavailable' to='{room}/second'/>"))
            .await;
        other.wait("<presence type='unavailable'/>").await;
        // Full; but for who administers it.
        configure(&mut owner, &room, &["passwordprotectedroom=0", "maxusers=2"]).await;
        ask(&mut other, &room, "second", "").await;
        other
            .expect(&refused(&room, "second", "wait", "service-unavailable"))
            .await;
        change(
            &mut owner,
            &room,
            &format!("<item affiliation='admin' jid='{}'/>", other.bare()),
        )
        .await;
        enters(&mut other, &room, "second", "").await;
        // Banned: put out, and not let in again.
        change(
            &mut owner,
            &room,
            &format!("<item affiliation='outcast' jid='{}'/>", other.bare()),
        )
        .await;
        other.wait("<presence type='unavailable'/>").await;
        ask(&mut other, &room, "second", "").await;
        other.expect(&refused(&room, "second", "auth", "forbidden")).await;
        other.nothing_more().await;
        // Destroyed: it is as if it had never been, and can be made anew (section 7.2.11).
        let destroyed = owner
            .iq("set", &room, &format!("<query xmlns='{OWNER}'><destroy/></query>"))
            .await;
        assert_eq!(destroyed.get("type"), "result", "{destroyed:?}");
        let made = join_with(&mut other, &room, "second", "").await;
        assert!(made.raw().contains("<status code='201'/>"), "{made:?}");
        for client in [owner, other, third] {
            client.close().await;
        }
    }
}

/// Sections 7.2.18 and 17.3: what is no request to come in, and none to leave.
#[tokio::test]
async fn what_does_not_enter() {
    let server = Server::with_users(3 * Transport::EVERY.len() + 8);
    for transport in Transport::EVERY {
        let room = room_of(&server);
        let mut owner = Client::online(&server, transport, &format!("{}/o", server.user())).await;
        let mut other = Client::online(&server, transport, &format!("{}/x", server.user())).await;
        let kicked = |room: &str| {
            format!(
                "<presence type='unavailable' from='{room}/second'><x xmlns='{USER}'><item affiliation='none' role='none'>\
                 <reason>You are not in the room.</reason></item><status code='110'/><status code='307'/>\
                 <status code='333'/></x></presence>"
            )
        };
        // A room is not made of it either.
        other.send(format!("<presence to='{room}/second'/>")).await;
        other.expect(&kicked(&room)).await;
        let info = other
            .iq("get", &room, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
            .await;
        assert_eq!(error_of(&info), "cancel/item-not-found", "{info:?}");

        make(&mut owner, &room, "first", &["publicroom=0"]).await;
        other.send(format!("<presence to='{room}/second'/>")).await;
        other.expect(&kicked(&room)).await;
        for kind in [
            "probe",
            "subscribe",
            "subscribed",
            "unsubscribe",
            "unsubscribed",
            "unavailable",
            "error",
        ] {
            let x = format!("<x xmlns='{MUC}'/>");
            other
                .send(format!("<presence type='{kind}' to='{room}/second'>{x}</presence>"))
                .await;
        }
        owner.nothing_more().await;
        let answer = other
            .iq("get", &format!("{room}/first"), "<ping xmlns='urn:xmpp:ping'/>")
            .await;
        assert_eq!(error_of(&answer), "cancel/not-acceptable", "{answer:?}");
        // Who is there is not put out by any of them but by his leave.
        join(&mut other, &room, "second").await;
        for kind in ["probe", "subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
            other
                .send(format!("<presence type='{kind}' to='{room}/second'/>"))
                .await;
        }
        let answer = other
            .iq("get", &format!("{room}/second"), "<ping xmlns='urn:xmpp:ping'/>")
            .await;
        assert_eq!(answer.get("type"), "result", "{answer:?}");
        for client in [owner, other] {
            client.close().await;
        }
    }
}
