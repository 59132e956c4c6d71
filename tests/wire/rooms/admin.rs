//! What admins do (XEP-0045 section 9), use case by use case, and what they may not; registration, which they approve
//! (sections 7.10, 7.12 and 9.9).

use testkit::{Client, Server, Transport};

use super::court::{Court, codes, enters, gone, shown};
use super::{ADMIN, MUC, USER, change, configure, join, nobody_knows, say};
use crate::support::{error_of, features, is_result};

fn affiliation(client: &Client, affiliation: &str) -> String {
    format!("<item affiliation='{affiliation}' jid='{}'/>", client.bare())
}

/// What comes of an attempt to come in: empty, or the error.
async fn tries(client: &mut Client, room: &str, nick: &str) -> String {
    error_of(&enters(client, room, nick).await)
}

/// Sections 9.1 and 9.2.
#[tokio::test]
async fn banning_a_user() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    let (jid, bare) = (court.visitor.jid.clone(), court.visitor.bare().to_owned());
    let items = format!("<item affiliation='outcast' jid='{bare}'><reason>Treason</reason></item>");
    change(&mut court.admin, &room, &items).await;
    let inner = "<actor nick='admin'/><reason>Treason</reason>";
    let item = |jid: &str| format!("affiliation='outcast' role='none' jid='{jid}'");
    let address = format!("{room}/visitor");
    let own = court.visitor.expect(&gone(&address, &item(&jid), inner)).await;
    assert_eq!(codes(&own), ["110", "301"]);
    nobody_knows(&[own], &[&court.admin, &court.owner]);
    for (who, jid) in [("owner", &*jid), ("admin", &jid), ("moderator", &jid), ("member", "-")] {
        let told = court.named(who).expect(&gone(&address, &item(jid), inner)).await;
        assert_eq!(codes(&told), ["301"], "{who}");
    }
    court.nothing_more().await;
    // Whatever he calls himself.
    assert_eq!(tries(&mut court.visitor, &room, "other").await, "auth/forbidden");
    for who in ["admin", "owner"] {
        let list = court.list(who, "affiliation='outcast'").await;
        assert_eq!(list, Ok(vec!["- outcast -".to_owned()]), "{who}");
    }
    for who in ["moderator", "member", "visitor", "outside"] {
        let list = court.list(who, "affiliation='outcast'").await;
        assert_eq!(list, Err("auth/forbidden".to_owned()), "{who}");
    }
    let of = |court: &mut Court, who: &str, new: &str| affiliation(court.named(who), new);
    for (who, whom, expected) in [
        // "Banned by an admin with a lower affiliation".
        ("admin", "owner", "cancel/not-allowed"),
        ("admin", "admin", "cancel/conflict"),
        ("owner", "owner", "cancel/conflict"),
        ("moderator", "member", "auth/forbidden"),
        ("member", "moderator", "auth/forbidden"),
        ("outside", "member", "auth/forbidden"),
    ] {
        let items = of(&mut court, whom, "outcast");
        court.refused(who, &items, expected).await;
    }
    // "The service SHOULD NOT apply any of the requested changes".
    let items = of(&mut court, "member", "outcast") + &of(&mut court, "owner", "outcast");
    court.refused("admin", &items, "cancel/not-allowed").await;
    // The delta: he is let in again, all of a domain is not, which is who has no affiliation of his own.
    let items = of(&mut court, "visitor", "none") + "<item affiliation='outcast' jid='example.org'/>";
    change(&mut court.admin, &room, &items).await;
    court
        .moderator
        .wait(&gone(
            &format!("{room}/moderator"),
            "affiliation='outcast' role='none'",
            "",
        ))
        .await;
    assert_eq!(tries(&mut court.visitor, &room, "visitor").await, "auth/forbidden");
    court.forget().await;
    say(&mut court.member, &room, "m", "still here").await;
    court.member.expect("<message type='groupchat' id='m'/>").await;
    change(&mut court.admin, &room, "<item affiliation='none' jid='example.org'/>").await;
    assert_eq!(tries(&mut court.visitor, &room, "visitor").await, "");
    court.close().await;
}

/// Sections 9.3 to 9.5, where everybody may enter.
#[tokio::test]
async fn membership() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    let (jid, bare) = (court.visitor.jid.clone(), court.visitor.bare().to_owned());
    // Who is granted membership has voice; who loses it keeps that for the visit (section 5.1.3).
    for (new, role) in [("member", "participant"), ("none", "participant")] {
        let items =
            format!("<item affiliation='{new}' jid='{bare}/resource' nick='thirdwitch'><reason>So.</reason></item>");
        change(&mut court.admin, &room, &items).await;
        for (who, jid) in [("owner", &*jid), ("admin", &jid), ("member", "-"), ("visitor", &jid)] {
            let item = format!("affiliation='{new}' role='{role}' jid='{jid}'");
            let told = court.named(who);
            told.expect(&shown(&format!("{room}/visitor"), &item, "<reason>So.</reason>"))
                .await;
        }
        court.moderator.forget().await;
        court.nothing_more().await;
        if new == "member" {
            let list = court.list("admin", "affiliation='member'").await;
            let mut list = list.expect("a list");
            list.sort();
            assert_eq!(list, ["- member -", "thirdwitch member -"]);
            // Section 7.12: it is kept for him, and he can ask for it.
            let ask = "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>";
            let answer = court.visitor.iq("get", &room, ask).await;
            let item = "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'>\
                        <identity category='conference' type='text' name='thirdwitch'/></query>";
            is_result(&answer, item);
            let answer = court.outside.iq("get", &room, ask).await;
            assert!(!answer.raw().contains("<identity"), "{answer:?}");
            assert_eq!(tries(&mut court.outside, &room, "thirdwitch").await, "cancel/conflict");
        }
    }
    // Who is not there is told (status 101), and nobody who may not see the list.
    let items = affiliation(&court.outside, "member");
    change(&mut court.admin, &room, &items).await;
    let told = court
        .outside
        .expect(&format!(
            "<message from='{room}'><x xmlns='{USER}'><item affiliation='member'/></x></message>"
        ))
        .await;
    assert_eq!(codes(&told), ["101"]);
    for who in ["owner", "admin"] {
        let item = format!(
            "<item affiliation='member' role='none' jid='{}'/>",
            court.outside.bare()
        );
        let pattern = format!("<message from='{room}'><x xmlns='{USER}'>{item}</x></message>");
        court.named(who).expect(&pattern).await;
    }
    court.nothing_more().await;
    for who in ["moderator", "member", "visitor"] {
        let list = court.list(who, "affiliation='member'").await;
        assert_eq!(list, Err("auth/forbidden".to_owned()), "{who}");
    }
    for (who, whom, new, expected) in [
        ("moderator", "visitor", "member", "auth/forbidden"),
        ("member", "visitor", "member", "auth/forbidden"),
        ("outside", "outside", "none", "auth/forbidden"),
        ("admin", "visitor", "king", "modify/bad-request"),
        // Sections 10.3 to 10.8.
        ("admin", "visitor", "admin", "auth/forbidden"),
        ("admin", "visitor", "owner", "auth/forbidden"),
        ("admin", "owner", "member", "auth/forbidden"),
        ("admin", "admin", "none", "auth/forbidden"),
    ] {
        let items = affiliation(court.named(whom), new);
        court.refused(who, &items, expected).await;
    }
    // Section 15.4.
    let both = format!("<item affiliation='member' role='visitor' jid='{bare}'/>");
    court.refused("admin", &both, "modify/bad-request").await;
    court
        .refused("admin", "<item affiliation='member' jid='@'/>", "modify/jid-malformed")
        .await;
    court.close().await;
}

/// Sections 9.4 and 9.5, where only members may enter.
#[tokio::test]
async fn members_only() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    let fields = [
        "membersonly=1",
        "whois=anyone",
        "passwordprotectedroom=1",
        "roomsecret=cauldronburn",
    ];
    let answer = configure(&mut court.owner, &room, &fields).await;
    is_result(&answer, "");
    // Section 10.2: who is none is put out, and hears of nobody else.
    for (who, other) in [("visitor", "moderator"), ("moderator", "visitor")] {
        court.named(who).wait("<message type='groupchat'/>").await;
        court.named(who).wait("<message type='groupchat'/>").await;
        let own = court.named(who).stanza().await;
        assert_eq!(
            own.mismatch(&gone(&format!("{room}/{who}"), "role='none'", "")),
            None,
            "{own:?}"
        );
        assert_eq!(codes(&own), ["110", "322"]);
        court.named(who).nothing_more().await;
        let told = court
            .member
            .wait(&gone(&format!("{room}/{other}"), "role='none'", ""))
            .await;
        assert_eq!(codes(&told), ["322"]);
        assert_eq!(tries(court.named(who), &room, who).await, "auth/registration-required");
    }
    court.forget().await;
    // "It SHOULD NOT generate a forbidden error when a member in such a room requests the member list."
    let list = court.list("member", "affiliation='member'").await;
    assert_eq!(list, Ok(vec!["- member -".to_owned()]));
    let list = court.list("outside", "affiliation='member'").await;
    assert_eq!(list, Err("auth/forbidden".to_owned()));
    // Who is added is invited.
    let items = affiliation(&court.visitor, "member");
    change(&mut court.admin, &room, &items).await;
    let admin = court.admin.bare().to_owned();
    court
        .visitor
        .expect(&format!(
            "<message from='{room}'><x xmlns='{USER}'><invite from='{admin}'/><password>cauldronburn</password></x></message>"
        ))
        .await;
    let list = court.list("visitor", "affiliation='member'").await;
    assert_eq!(list.map(|list| list.len()), Ok(2));
    court.forget().await;
    // "A mere member attempts to send an invitation."
    let invite = |to: &str| format!("<message id='i' to='{room}'><x xmlns='{USER}'><invite to='{to}'/></x></message>");
    let outside = court.outside.bare().to_owned();
    court.member.send(invite(&outside)).await;
    assert_eq!(error_of(&court.member.stanza().await), "auth/forbidden");
    court.nothing_more().await;
    is_result(&configure(&mut court.owner, &room, &["allowinvites=1"]).await, "");
    court.forget().await;
    court.member.send(invite(&outside)).await;
    court
        .outside
        .expect(&format!(
            "<message from='{room}'><x xmlns='{USER}'><invite/></x></message>"
        ))
        .await;
    let list = court.list("outside", "affiliation='member'").await;
    assert_eq!(list.map(|list| list.len()), Ok(3));
    court.forget().await;
    // Section 9.4: who is a member no more goes, and hears only that.
    let items = affiliation(&court.member, "none");
    change(&mut court.admin, &room, &items).await;
    let address = format!("{room}/member");
    let inner = "<actor nick='admin'/>";
    let own = court
        .member
        .expect(&gone(&address, "affiliation='none' role='none'", inner))
        .await;
    assert_eq!(codes(&own), ["110", "321"]);
    for who in ["owner", "admin"] {
        let told = court
            .named(who)
            .expect(&gone(&address, "affiliation='none' role='none'", inner))
            .await;
        assert_eq!(codes(&told), ["321"]);
    }
    court.nothing_more().await;
    assert_eq!(
        tries(&mut court.member, &room, "member").await,
        "auth/registration-required"
    );
    court.close().await;
}

/// Sections 9.6 to 9.8.
#[tokio::test]
async fn moderator_status() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    for new in ["moderator", "participant"] {
        change(&mut court.admin, &room, &format!("<item nick='member' role='{new}'/>")).await;
        for client in court.all() {
            let item = format!("affiliation='member' role='{new}'");
            client.expect(&shown(&format!("{room}/member"), &item, "")).await;
        }
        let list = court.list("admin", "role='moderator'").await.expect("a list");
        assert_eq!(
            list.contains(&"member member moderator".to_owned()),
            new == "moderator",
            "{list:?}"
        );
        assert!(list.contains(&"owner owner moderator".to_owned()), "{list:?}");
    }
    court.nothing_more().await;
    for (who, nick, role, expected) in [
        ("admin", "owner", "participant", "cancel/not-allowed"),
        ("admin", "admin", "participant", "cancel/not-allowed"),
        ("owner", "admin", "participant", "cancel/not-allowed"),
        ("moderator", "member", "moderator", "auth/forbidden"),
        ("moderator", "admin", "participant", "auth/forbidden"),
        ("member", "visitor", "moderator", "auth/forbidden"),
        ("admin", "nobody", "moderator", "cancel/item-not-found"),
    ] {
        let items = format!("<item nick='{nick}' role='{role}'/>");
        court.refused(who, &items, expected).await;
    }
    for who in ["moderator", "member", "outside"] {
        let list = court.list(who, "role='moderator'").await;
        assert_eq!(list, Err("auth/forbidden".to_owned()), "{who}");
    }
    // The delta.
    let items = "<item nick='moderator' role='participant'/><item nick='visitor' role='moderator'/>";
    change(&mut court.admin, &room, items).await;
    for client in court.all() {
        let of = |nick: &str, role: &str| shown(&format!("{room}/{nick}"), &format!("role='{role}'"), "");
        client
            .expect_all(&[&of("moderator", "participant"), &of("visitor", "moderator")])
            .await;
    }
    court.close().await;
}

const REGISTER: &str = "jabber:iq:register";
const FORM: &str = "http://jabber.org/protocol/muc#register";

fn registration(nick: &str) -> String {
    format!(
        "<query xmlns='{REGISTER}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{FORM}</value>\
         </field><field var='muc#register_roomnick'><value>{nick}</value></field></x></query>"
    )
}

/// Section 7.10.
#[tokio::test]
async fn registering_with_a_room() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &["{urn:jackdaw:muc}registration=anyone"]).await;
    let room = court.room.clone();
    let ask = format!("<query xmlns='{REGISTER}'/>");
    assert!(features(&mut court.outside, &room).await.contains(&REGISTER.to_owned()));
    let answer = court.visitor.iq("get", &room, &ask).await;
    let form = format!(
        "<query xmlns='{REGISTER}'><x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE'><value>{FORM}</value></field>\
         <field var='muc#register_roomnick'><required/></field></x></query>"
    );
    is_result(&answer, &form);
    is_result(&court.visitor.iq("set", &room, &registration("thirdwitch")).await, "");
    for client in court.all() {
        client
            .expect(&shown(
                &format!("{room}/visitor"),
                "affiliation='member' role='participant'",
                "",
            ))
            .await;
    }
    let answer = court.visitor.iq("get", &room, &ask).await;
    is_result(
        &answer,
        &format!("<query xmlns='{REGISTER}'><registered/><username>thirdwitch</username></query>"),
    );
    let answer = court.outside.iq("set", &room, &registration("thirdwitch")).await;
    assert_eq!(error_of(&answer), "cancel/conflict");
    let answer = court
        .outside
        .iq("set", &room, &format!("<query xmlns='{REGISTER}'/>"))
        .await;
    assert_eq!(error_of(&answer), "modify/bad-request");
    assert_eq!(tries(&mut court.outside, &room, "thirdwitch").await, "cancel/conflict");
    let remove = format!("<query xmlns='{REGISTER}'><remove/></query>");
    let answer = court.outside.iq("set", &room, &remove).await;
    assert_eq!(error_of(&answer), "auth/registration-required");
    is_result(&court.visitor.iq("set", &room, &remove).await, "");
    for client in court.all() {
        client
            .expect(&shown(&format!("{room}/visitor"), "affiliation='none'", ""))
            .await;
    }
    court.nothing_more().await;
    is_result(
        &configure(&mut court.owner, &room, &["{urn:jackdaw:muc}registration=nobody"]).await,
        "",
    );
    let answer = court.outside.iq("get", &room, &ask).await;
    assert_eq!(error_of(&answer), "cancel/not-allowed");
    let answer = court.outside.iq("set", &room, &registration("x")).await;
    assert_eq!(error_of(&answer), "cancel/service-unavailable");
    let nowhere = format!("nowhere-{room}");
    let answer = court.outside.iq("get", &nowhere, &ask).await;
    assert_eq!(error_of(&answer), "cancel/item-not-found");
    court.close().await;
}

/// Section 9.9; and nicknames that are locked (sections 7.6 and 7.10).
#[tokio::test]
async fn approving_registration() {
    let server = Server::with_users(7);
    let fields = ["membersonly=1", "{urn:jackdaw:muc}lock_nicks=1"];
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    is_result(&configure(&mut court.owner, &room, &fields).await, "");
    court.forget().await;
    is_result(&court.outside.iq("set", &room, &registration("hag")).await, "");
    let who = court.outside.bare().to_owned();
    let field = |var: &str, value: &str| format!("<field var='{var}'><value>{value}</value></field>");
    let fields = |allow: &str| {
        [
            field("FORM_TYPE", FORM),
            field("{urn:jackdaw:muc}register_jid", &who),
            field("muc#register_roomnick", "hag"),
            field("muc#register_allow", allow),
        ]
        .concat()
    };
    for who in ["owner", "admin"] {
        let form = format!("<x xmlns='jabber:x:data' type='form'>{}</x>", fields("0"));
        court
            .named(who)
            .expect(&format!("<message from='{room}'>{form}</message>"))
            .await;
    }
    court.nothing_more().await;
    assert_eq!(
        tries(&mut court.outside, &room, "hag").await,
        "auth/registration-required"
    );
    let answer = format!(
        "<message id='a' to='{room}'><x xmlns='jabber:x:data' type='submit'>{}</x></message>",
        fields("1")
    );
    for who in ["member", "outside"] {
        court.named(who).send(&answer).await;
        assert_eq!(error_of(&court.named(who).stanza().await), "auth/forbidden", "{who}");
    }
    court.admin.send(&answer).await;
    court
        .outside
        .expect(&format!(
            "<message from='{room}'><x xmlns='{USER}'><invite/></x></message>"
        ))
        .await;
    court.forget().await;
    // Another admin is too late.
    court.owner.send(&answer).await;
    assert_eq!(error_of(&court.owner.stanza().await), "cancel/item-not-found");
    // He is let in under the name that is kept for him, and has no other.
    let outside = &mut court.outside;
    outside
        .send(format!("<presence to='{room}/other'><x xmlns='{MUC}'/></presence>"))
        .await;
    let own = outside
        .wait(&format!(
            "<presence from='{room}/hag'><x xmlns='{USER}'><status code='110'/></x></presence>"
        ))
        .await;
    assert_eq!(codes(&own), ["110", "210"]);
    outside.forget().await;
    outside.send(format!("<presence to='{room}/other'/>")).await;
    assert_eq!(error_of(&outside.stanza().await), "cancel/not-acceptable");
    court.forget().await;
    court.nothing_more().await;
    // A member who registers while he is here under another name is renamed.
    is_result(&court.member.iq("set", &room, &registration("second")).await, "");
    let told = court
        .owner
        .wait(&shown(&format!("{room}/second"), "affiliation='member'", ""))
        .await;
    assert_eq!(codes(&told), ["210"]);
    join(&mut court.member, &room, "second").await;
    court.close().await;
}

/// What is said to an admin says nothing of who he is to others: `ADMIN` requests go nowhere else.
#[tokio::test]
async fn a_list_that_is_too_long() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let many: String = (0..257)
        .map(|number| format!("<item affiliation='member' jid='u{number}@d'/>"))
        .collect();
    court.refused("owner", &many, "modify/policy-violation").await;
    let room = court.room.clone();
    let two = format!("<query xmlns='{ADMIN}'><item role='visitor'/><item role='participant'/></query>");
    let answer = court.owner.iq("get", &room, &two).await;
    assert_eq!(error_of(&answer), "modify/bad-request");
    court.close().await;
}

/// XEP-0463: lists come before any presence, and the next time what has changed in them.
#[tokio::test]
async fn what_has_changed_in_the_lists() {
    const MAV: &str = "urn:xmpp:muc:affiliations:1";
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    assert!(features(&mut court.owner, &room).await.contains(&MAV.to_owned()));
    let ask = |since: &str| {
        format!("<presence to='{room}/owner'><x xmlns='{MUC}'><mav xmlns='{MAV}'{since}/></x></presence>")
    };
    let items: String = ["owner", "admin", "member"]
        .map(|who| affiliation(court.named(who), who))
        .concat();
    court.owner.send(ask("")).await;
    let lists = format!(
        "<message from='{room}'><x xmlns='{USER}'><mav xmlns='{MAV}' since='-' until='*'/>{items}</x></message>"
    );
    let lists = court.owner.expect(&lists).await;
    let until = |stanza: &testkit::Stanza| {
        let x = stanza.get_child("x", USER).expect("x");
        let mav = x.get_child("mav", MAV).expect("a version");
        mav.attr("until").expect("a version").to_owned()
    };
    let first = until(&lists);
    let own = format!(
        "<presence from='{room}/owner'><x xmlns='{USER}'><mav xmlns='{MAV}' until='{first}'/><status code='110'/></x></presence>"
    );
    court.owner.wait(&own).await;
    court.owner.forget().await;
    // Who is here hears of a change as of one between two versions; who may not see the list hears of no version.
    let (outside, visitor) = (
        affiliation(&court.outside, "outcast"),
        affiliation(&court.visitor, "admin"),
    );
    change(&mut court.owner, &room, &outside).await;
    let step =
        format!("<message from='{room}'><x xmlns='{USER}'><mav xmlns='{MAV}' since='{first}'/>{outside}</x></message>");
    let second = until(&court.owner.expect(&step).await);
    change(&mut court.owner, &room, &visitor).await;
    let step = format!(
        "<presence from='{room}/visitor'><x xmlns='{USER}'><mav xmlns='{MAV}' since='{second}'/></x></presence>"
    );
    let third = until(&court.owner.expect(&step).await);
    let told = court.member.expect(&format!("<presence from='{room}/visitor'/>")).await;
    assert!(!told.raw().contains("<mav"), "{told:?}");
    court.owner.send(ask(&format!(" since='{first}'"))).await;
    let changed = format!(
        "<message from='{room}'><x xmlns='{USER}'><mav xmlns='{MAV}' since='{first}' until='{third}'/>{outside}{visitor}</x></message>"
    );
    court.owner.expect(&changed).await;
    court.owner.wait(&own.replace(&first, &third)).await;
    court.owner.forget().await;
    court.owner.send(ask(&format!(" since='{third}'"))).await;
    assert_eq!(court.owner.stanza().await.name(), "presence");
    // Section 4.2.3.
    court
        .member
        .send(format!(
            "<presence to='{room}/member'><x xmlns='{MUC}'><mav xmlns='{MAV}'/></x></presence>"
        ))
        .await;
    assert_eq!(error_of(&court.member.stanza().await), "auth/forbidden");
    let own = court.member.wait(&format!("<presence from='{room}/member'/>")).await;
    assert!(!own.raw().contains("<mav"), "{own:?}");
    court.close().await;
}
