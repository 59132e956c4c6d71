//! What moderators do (XEP-0045 section 8), use case by use case, and what they may not.

use testkit::{Client, Server, Transport};

use super::court::{Court, codes, gone, shown};
use super::{ADMIN, change, configure, join, nobody_knows};
use crate::support::{error_of, is_result};

fn role(nick: &str, role: &str) -> String {
    format!("<item nick='{nick}' role='{role}'/>")
}

async fn set(client: &mut Client, room: &str, items: &str) {
    let query = format!("<query xmlns='{ADMIN}'>{items}</query>");
    client
        .send(format!("<iq type='set' id='set' to='{room}'>{query}</iq>"))
        .await;
}

/// Section 8.2.
#[tokio::test]
async fn kicking_an_occupant() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    let visitor = court.visitor.jid.clone();
    set(
        &mut court.moderator,
        &room,
        "<item nick='visitor' role='none'><reason>Avaunt, you cullion!</reason></item>",
    )
    .await;
    let inner = "<actor nick='moderator'/><reason>Avaunt, you cullion!</reason>";
    let item = |jid: &str| format!("affiliation='none' role='none' jid='{jid}'");
    let address = format!("{room}/visitor");
    let own = court.visitor.expect(&gone(&address, &item(&visitor), inner)).await;
    assert_eq!(codes(&own), ["110", "307"]);
    nobody_knows(&[own], &[&court.moderator, &court.owner]);
    // "After removing the kicked occupant, the service MUST then inform the moderator", then the others.
    let answer = court.moderator.stanza().await;
    is_result(&answer, "");
    assert_eq!(answer.get("id"), "set");
    for (who, jid) in [
        ("owner", &*visitor),
        ("admin", &visitor),
        ("moderator", &visitor),
        ("member", "-"),
    ] {
        let told = court.named(who).expect(&gone(&address, &item(jid), inner)).await;
        assert_eq!(codes(&told), ["307"], "{who}");
    }
    court.nothing_more().await;
    // He hears and says nothing more; and may come again.
    let member = &mut court.member;
    member
        .send(format!(
            "<message type='groupchat' to='{room}'><body>x</body></message>"
        ))
        .await;
    member.wait("<message type='groupchat'><body>x</body></message>").await;
    court.visitor.nothing_more().await;
    join(&mut court.visitor, &room, "visitor").await;
    court.forget().await;
    for (who, whom, expected) in [
        // "A user cannot be kicked by a moderator with a lower affiliation."
        ("moderator", "member", "cancel/not-allowed"),
        ("moderator", "admin", "cancel/not-allowed"),
        ("moderator", "owner", "cancel/not-allowed"),
        ("admin", "owner", "cancel/not-allowed"),
        ("moderator", "moderator", "cancel/conflict"),
        ("moderator", "nobody", "cancel/item-not-found"),
        ("member", "visitor", "auth/forbidden"),
        ("visitor", "member", "auth/forbidden"),
        ("outside", "visitor", "auth/forbidden"),
    ] {
        court.refused(who, &role(whom, "none"), expected).await;
    }
    court.close().await;
}

/// Sections 8.3 and 8.4.
#[tokio::test]
async fn voice_is_granted_and_revoked() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    let speak = format!("<message type='groupchat' id='s' to='{room}'><body>x</body></message>");
    court.visitor.send(&speak).await;
    assert_eq!(error_of(&court.visitor.stanza().await), "auth/forbidden");
    for (new, reason) in [
        ("participant", "A worthy witch indeed!"),
        ("visitor", "Not so worthy after all!"),
    ] {
        let items = format!("<item nick='visitor' role='{new}'><reason>{reason}</reason></item>");
        set(&mut court.moderator, &room, &items).await;
        is_result(&court.moderator.stanza().await, "");
        let jid = court.visitor.jid.clone();
        let inner = format!("<reason>{reason}</reason>");
        for (who, jid) in [
            ("owner", &*jid),
            ("admin", &jid),
            ("moderator", &jid),
            ("member", "-"),
            ("visitor", &jid),
        ] {
            let item = format!("affiliation='none' role='{new}' jid='{jid}'");
            let told = court
                .named(who)
                .expect(&shown(&format!("{room}/visitor"), &item, &inner))
                .await;
            let expected: &[&str] = if who == "visitor" { &["110"] } else { &[] };
            assert_eq!(codes(&told), expected, "{who}");
        }
        court.nothing_more().await;
        court.visitor.send(&speak).await;
        match new {
            "visitor" => assert_eq!(error_of(&court.visitor.stanza().await), "auth/forbidden"),
            _ => {
                for client in court.all() {
                    client.expect("<message type='groupchat' id='s'/>").await;
                }
            }
        }
    }
    for (who, whom, new, expected) in [
        // "At or above the moderator's level", and "of an admin or owner by anyone".
        ("moderator", "member", "visitor", "cancel/not-allowed"),
        ("moderator", "admin", "visitor", "cancel/not-allowed"),
        ("moderator", "owner", "visitor", "cancel/not-allowed"),
        ("admin", "owner", "visitor", "cancel/not-allowed"),
        ("owner", "admin", "visitor", "cancel/not-allowed"),
        ("member", "visitor", "participant", "auth/forbidden"),
        ("visitor", "visitor", "participant", "auth/forbidden"),
        ("outside", "visitor", "participant", "auth/forbidden"),
        // Section 9.6: moderators are made by admins.
        ("moderator", "visitor", "moderator", "auth/forbidden"),
    ] {
        court.refused(who, &role(whom, new), expected).await;
    }
    // "Along with the offending item".
    let both = role("visitor", "participant") + &role("admin", "visitor");
    let query = format!("<query xmlns='{ADMIN}'>{both}</query>");
    let answer = court.moderator.iq("set", &room, &query).await;
    let offending = format!(
        "<iq type='error'><query xmlns='{ADMIN}'>{}</query></iq>",
        role("admin", "visitor")
    );
    assert_eq!(answer.mismatch(&offending), None, "{answer:?}");
    assert!(!answer.raw().contains("nick='visitor'"), "{answer:?}");
    court.nothing_more().await;
    court.close().await;
}

/// Section 8.5.
#[tokio::test]
async fn the_voice_list() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    for who in ["moderator", "admin", "owner"] {
        let list = court.list(who, "role='participant'").await;
        assert_eq!(list, Ok(vec!["member member participant".to_owned()]), "{who}");
        let list = court.list(who, "role='visitor'").await;
        assert_eq!(list, Ok(vec!["visitor none visitor".to_owned()]), "{who}");
    }
    for who in ["member", "visitor", "outside"] {
        let list = court.list(who, "role='participant'").await;
        assert_eq!(list, Err("auth/forbidden".to_owned()), "{who}");
    }
    let both = role("visitor", "participant") + &role("member", "visitor");
    change(&mut court.admin, &room, &both).await;
    for client in court.all() {
        let of = |nick: &str, role: &str| shown(&format!("{room}/{nick}"), &format!("role='{role}'"), "");
        client
            .expect_all(&[&of("visitor", "participant"), &of("member", "visitor")])
            .await;
    }
    let list = court.list("admin", "role='participant'").await;
    assert_eq!(list, Ok(vec!["visitor none participant".to_owned()]));
    for wrong in ["role='king'", "role='none'", "", "role='visitor' affiliation='none'"] {
        let list = court.list("owner", wrong).await;
        assert_eq!(list, Err("modify/bad-request".to_owned()), "{wrong}");
    }
    court.close().await;
}

/// Sections 7.13 and 8.6.
#[tokio::test]
async fn voice_is_asked_for() {
    const REQUEST: &str = "http://jabber.org/protocol/muc#request";
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    let form = |fields: &[(&str, &str)]| {
        let fields: String = fields
            .iter()
            .map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>"))
            .collect();
        format!(
            "<message id='v' to='{room}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
             <value>{REQUEST}</value></field>{fields}</x></message>"
        )
    };
    let ask = form(&[("muc#role", "participant")]);
    court.visitor.send(&ask).await;
    let jid = court.visitor.jid.clone();
    for who in ["moderator", "admin", "owner"] {
        let field = |var: &str, value: &str| format!("<field var='{var}'><value>{value}</value></field>");
        let fields = [
            field("FORM_TYPE", REQUEST),
            field("muc#role", "participant"),
            field("muc#jid", &jid),
            field("muc#roomnick", "visitor"),
            field("muc#request_allow", "false"),
        ]
        .concat();
        let pattern = format!("<message from='{room}'><x xmlns='jabber:x:data' type='form'>{fields}</x></message>");
        court.named(who).expect(&pattern).await;
    }
    // Nobody else hears of it.
    court.nothing_more().await;
    let answer = |allow: &str| {
        form(&[
            ("muc#role", "participant"),
            ("muc#jid", &jid),
            ("muc#roomnick", "visitor"),
            ("muc#request_allow", allow),
        ])
    };
    for who in ["member", "visitor", "outside"] {
        court.named(who).send(answer("true")).await;
        assert_eq!(error_of(&court.named(who).stanza().await), "auth/forbidden", "{who}");
    }
    court.outside.send(&ask).await;
    assert_eq!(error_of(&court.outside.stanza().await), "auth/forbidden");
    court.moderator.send(answer("false")).await;
    court.moderator.ping().await;
    court.nothing_more().await;
    court.moderator.send(answer("true")).await;
    for client in court.all() {
        client
            .expect(&shown(
                &format!("{room}/visitor"),
                "affiliation='none' role='participant'",
                "",
            ))
            .await;
    }
    // Section 5.1: he has it also when he comes again.
    let visitor = &mut court.visitor;
    visitor
        .send(format!("<presence type='unavailable' to='{room}/visitor'/>"))
        .await;
    visitor.forget().await;
    join(visitor, &room, "other").await;
    court
        .owner
        .wait(&shown(&format!("{room}/other"), "role='participant'", ""))
        .await;
    court.close().await;
}

/// Row 47 of the faults: what needs a right that somebody does not have.
#[tokio::test]
async fn what_is_not_allowed() {
    let server = Server::with_users(7 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut court = Court::of(&server, transport, &[]).await;
        let room = court.room.clone();
        // Section 8.1.
        for who in ["member", "visitor"] {
            let subject = format!("<message type='groupchat' id='s' to='{room}'><subject>x</subject></message>");
            court.named(who).send(subject).await;
            let answer = court.named(who).stanza().await;
            let pattern = format!("<message type='error' id='s' from='{room}'><error type='auth'/></message>");
            assert_eq!(answer.mismatch(&pattern), None, "{transport:?} {who}");
            assert_eq!(error_of(&answer), "auth/forbidden", "{transport:?} {who}");
        }
        for (who, whom) in [("member", "visitor"), ("visitor", "visitor")] {
            court.refused(who, &role(whom, "participant"), "auth/forbidden").await;
        }
        // Section 10.2.
        for who in ["admin", "moderator", "member", "visitor", "outside"] {
            let client = court.named(who);
            let answer = configure(client, &room, &["roomname=x"]).await;
            assert_eq!(error_of(&answer), "auth/forbidden", "{transport:?} {who}");
            let query = "<query xmlns='http://jabber.org/protocol/muc#owner'/>";
            let answer = client.iq("get", &room, query).await;
            assert_eq!(error_of(&answer), "auth/forbidden", "{transport:?} {who}");
        }
        // Sections 10.2, 10.4 and 10.5: the last owner stays.
        let owner = court.owner.bare().to_owned();
        for new in ["none", "member", "admin"] {
            let item = format!("<item jid='{owner}' affiliation='{new}'/>");
            court.refused("owner", &item, "cancel/conflict").await;
        }
        for value in ["", court.admin.bare()] {
            let field = format!("roomowners={value}");
            let answer = configure(&mut court.owner, &room, &[&field]).await;
            let expected = if value.is_empty() { "cancel/conflict" } else { "" };
            assert_eq!(error_of(&answer), expected, "{transport:?}");
        }
        court.close().await;
    }
}
