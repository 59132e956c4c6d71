//! What owners do (XEP-0045 section 10), use case by use case: rooms are made, configured and destroyed, and others
//! become owners and admins.

use testkit::{Client, Server, Stanza, Transport};

use super::court::{Court, codes, enters, gone, shown};
use super::{OWNER, USER, change, configure, join, join_with, make, room_of};
use crate::support::{error_of, is_result};

async fn asks(client: &mut Client, room: &str) -> Stanza {
    client.iq("get", room, &format!("<query xmlns='{OWNER}'/>")).await
}

fn submit(kind: &str) -> String {
    format!("<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='{kind}'/></query>")
}

/// What a form has as the values of a field.
fn values(form: &Stanza, var: &str) -> Vec<String> {
    let query = form.get_child("query", OWNER).expect("a query");
    let x = query.get_child("x", "jabber:x:data").expect("a form");
    let field = x.children().find(|field| field.attr("var") == Some(var));
    let field = field.unwrap_or_else(|| panic!("{var} is missing: {form:?}"));
    let values = field.children().filter(|child| child.name() == "value");
    values.map(|value| value.text()).collect()
}

/// Sections 10.1.1 and 10.1.2.
#[tokio::test]
async fn an_instant_room() {
    let server = Server::with_users(2 * Transport::EVERY.len() + 4);
    for transport in Transport::EVERY {
        let room = room_of(&server);
        let mut owner = Client::online(&server, transport, &server.user()).await;
        let other = &mut Client::online(&server, Transport::Direct, &server.user()).await;
        let own = join_with(&mut owner, &room, "firstwitch", "").await;
        let pattern = shown(
            &format!("{room}/firstwitch"),
            "affiliation='owner' role='moderator'",
            "",
        );
        assert_eq!(own.mismatch(&pattern), None, "{own:?}");
        assert!(codes(&own).contains(&"201".to_owned()), "{own:?}");
        owner.forget().await;
        // It is not there for anybody else.
        let refused = enters(other, &room, "second").await;
        assert_eq!(error_of(&refused), "cancel/item-not-found");
        assert_eq!(error_of(&asks(other, &room).await), "cancel/item-not-found");
        let answer = other
            .iq("get", &room, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
            .await;
        assert_eq!(error_of(&answer), "cancel/item-not-found");
        owner.nothing_more().await;
        is_result(&owner.iq("set", &room, &submit("submit")).await, "");
        join(other, &room, "second").await;
        owner
            .expect(&shown(&format!("{room}/second"), "affiliation='none'", ""))
            .await;
        owner.close().await;
    }
}

/// Section 10.1.3.
#[tokio::test]
async fn a_reserved_room() {
    let server = Server::with_users(8);
    let room = room_of(&server);
    let mut owner = Client::online(&server, Transport::Direct, &server.user()).await;
    let mut other = Client::online(&server, Transport::Direct, &server.user()).await;
    join_with(&mut owner, &room, "firstwitch", "").await;
    owner.forget().await;
    let form = asks(&mut owner, &room).await;
    for var in [
        "muc#maxhistoryfetch",
        "muc#roomconfig_allowpm",
        "muc#roomconfig_allowinvites",
        "muc#roomconfig_changesubject",
        "muc#roomconfig_enablelogging",
        "muc#roomconfig_getmemberlist",
        "muc#roomconfig_lang",
        "muc#roomconfig_pubsub",
        "muc#roomconfig_maxusers",
        "muc#roomconfig_membersonly",
        "muc#roomconfig_moderatedroom",
        "muc#roomconfig_passwordprotectedroom",
        "muc#roomconfig_persistentroom",
        "muc#roomconfig_presencebroadcast",
        "muc#roomconfig_publicroom",
        "muc#roomconfig_roomadmins",
        "muc#roomconfig_roomdesc",
        "muc#roomconfig_roomname",
        "muc#roomconfig_roomowners",
        "muc#roomconfig_roomsecret",
        "muc#roomconfig_whois",
    ] {
        // All that the registry has (section 15.5.3).
        values(&form, var);
    }
    assert_eq!(
        values(&form, "FORM_TYPE"),
        ["http://jabber.org/protocol/muc#roomconfig"]
    );
    assert_eq!(values(&form, "muc#roomconfig_roomowners"), [owner.bare()]);
    // "Because the password for a password-protected room is blank"; and it is still not there.
    for fields in [
        &["passwordprotectedroom=1"][..],
        &["passwordprotectedroom=1", "roomsecret="],
        &["whois=nobody"],
        &["maxusers=many"],
        &["membersonly=perhaps"],
        &["allowpm=king"],
    ] {
        let answer = configure(&mut owner, &room, fields).await;
        assert_eq!(error_of(&answer), "modify/not-acceptable", "{fields:?}");
    }
    assert_eq!(
        error_of(&enters(&mut other, &room, "second").await),
        "cancel/item-not-found"
    );
    let admin = format!("roomadmins={}", other.bare());
    let fields = [
        "roomname=A Dark Cave",
        "roomdesc=The place for all good witches!",
        "enablelogging=0",
        "changesubject=1",
        "maxusers=10",
        "passwordprotectedroom=1",
        "roomsecret=cauldronburn",
        "whois=moderators",
        "muc#maxhistoryfetch=50",
        &admin,
    ];
    is_result(&configure(&mut owner, &room, &fields).await, "");
    let form = asks(&mut owner, &room).await;
    for (var, value) in [
        ("muc#roomconfig_roomname", "A Dark Cave"),
        ("muc#roomconfig_maxusers", "10"),
        ("muc#roomconfig_roomsecret", "cauldronburn"),
        ("muc#maxhistoryfetch", "50"),
        ("muc#roomconfig_roomadmins", other.bare()),
    ] {
        assert_eq!(values(&form, var), [value], "{var}");
    }
    assert_eq!(
        error_of(&enters(&mut other, &room, "second").await),
        "auth/not-authorized"
    );
    let own = join_with(&mut other, &room, "second", "<password>cauldronburn</password>").await;
    let pattern = shown(&format!("{room}/second"), "affiliation='admin' role='moderator'", "");
    assert_eq!(own.mismatch(&pattern), None, "{own:?}");
    assert_eq!(codes(&own), ["110"]);
    // A password is nothing that others are told.
    let info = other
        .iq("get", &room, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        .await;
    assert!(!info.raw().contains("cauldronburn"), "{info:?}");
}

/// Section 10.1.3: what ends before it has begun.
#[tokio::test]
async fn a_room_that_comes_to_nothing() {
    let server = Server::with_users(8);
    let mut owner = Client::online(&server, Transport::Direct, &server.user()).await;
    let mut other = Client::online(&server, Transport::Direct, &server.user()).await;
    let ended = |room: &str| {
        format!(
            "<presence type='unavailable' from='{room}/first'><x xmlns='{USER}'><item role='none'/><destroy/></x></presence>"
        )
    };
    let room = room_of(&server);
    for cancels in [true, false] {
        join_with(&mut owner, &room, "first", "").await;
        owner.forget().await;
        match cancels {
            true => {
                owner
                    .send(format!("<iq type='set' id='c' to='{room}'>{}</iq>", submit("cancel")))
                    .await;
                owner.expect_all(&[&ended(&room), "<iq type='result' id='c'/>"]).await;
            }
            false => {
                owner
                    .send(format!("<presence type='unavailable' to='{room}/first'/>"))
                    .await;
                owner.expect(&ended(&room)).await;
            }
        }
        assert_eq!(error_of(&asks(&mut owner, &room).await), "cancel/item-not-found");
    }
    // Somebody else may make it then.
    make(&mut other, &room, "second", &[]).await;
    assert_eq!(error_of(&asks(&mut owner, &room).await), "auth/forbidden");
}

/// Section 10.2.
#[tokio::test]
async fn subsequent_configuration() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    let before = asks(&mut court.owner, &room).await;
    is_result(&court.owner.iq("set", &room, &submit("cancel")).await, "");
    let after = asks(&mut court.owner, &room).await;
    let x = |form: &Stanza| form.raw().split_once("<query").map(|(_, rest)| rest.to_owned());
    assert_eq!(x(&before), x(&after));
    court.nothing_more().await;
    // Section 10.2.1: a message for each, and one status in it.
    for (field, code) in [
        ("enablelogging=1", "170"),
        ("enablelogging=0", "171"),
        ("whois=anyone", "172"),
        ("whois=moderators", "173"),
        ("roomname=x", "104"),
        ("publicroom=1", "104"),
    ] {
        is_result(&configure(&mut court.owner, &room, &[field]).await, "");
        for client in court.all() {
            let told = client
                .expect(&format!("<message type='groupchat' from='{room}'/>"))
                .await;
            assert_eq!(codes(&told), [code], "{field}");
            assert!(!told.raw().contains("<body"), "{told:?}");
        }
        court.nothing_more().await;
    }
    // Nothing has changed.
    is_result(&configure(&mut court.owner, &room, &["roomname=x"]).await, "");
    court.nothing_more().await;
    // Admins are gained and lost by the form; the list is a whole one.
    let (admin, member) = (court.admin.bare().to_owned(), court.member.bare().to_owned());
    is_result(
        &configure(&mut court.owner, &room, &[&format!("roomadmins={member}")]).await,
        "",
    );
    for client in court.all() {
        let of = |nick: &str, item: &str| shown(&format!("{room}/{nick}"), item, "");
        client
            .expect_all(&[
                &of("admin", "affiliation='none' role='visitor'"),
                &of("member", "affiliation='admin' role='moderator'"),
            ])
            .await;
    }
    // Owners too: who is one no more is an admin.
    let owners = format!("roomowners={admin}");
    is_result(&configure(&mut court.owner, &room, &[&owners]).await, "");
    for client in court.all() {
        let of = |nick: &str, item: &str| shown(&format!("{room}/{nick}"), item, "");
        client
            .expect_all(&[
                &of("owner", "affiliation='admin' role='moderator'"),
                &of("admin", "affiliation='owner' role='moderator'"),
            ])
            .await;
    }
    court.nothing_more().await;
    assert_eq!(error_of(&asks(&mut court.owner, &room).await), "auth/forbidden");
    for (field, expected) in [
        ("roomowners=", "cancel/conflict"),
        ("roomowners=@", "modify/jid-malformed"),
        ("roomadmins=example.org", "modify/bad-request"),
    ] {
        assert_eq!(
            error_of(&configure(&mut court.admin, &room, &[field]).await),
            expected,
            "{field}"
        );
    }
    court.nothing_more().await;
    court.close().await;
}

/// Presence that is not broadcast any more.
#[tokio::test]
async fn whose_presence_is_shown() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    is_result(
        &configure(&mut court.owner, &room, &["presencebroadcast=moderator"]).await,
        "",
    );
    court
        .visitor
        .wait(&gone(&format!("{room}/member"), "role='none'", ""))
        .await;
    court
        .member
        .wait(&gone(&format!("{room}/visitor"), "role='none'", ""))
        .await;
    court.forget().await;
    // A visitor has another state: he himself hears of it, and nobody else.
    let visitor = &mut court.visitor;
    visitor
        .send(format!("<presence to='{room}/visitor'><show>away</show></presence>"))
        .await;
    visitor
        .expect(&format!("<presence from='{room}/visitor'><show>away</show></presence>"))
        .await;
    court.nothing_more().await;
    // What he becomes is shown.
    change(&mut court.owner, &room, "<item nick='visitor' role='moderator'/>").await;
    for client in court.all() {
        client
            .expect(&shown(&format!("{room}/visitor"), "role='moderator'", ""))
            .await;
    }
    court.close().await;
}

/// Sections 10.3 to 10.8.
#[tokio::test]
async fn owners_and_admins() {
    let server = Server::with_users(7);
    let mut court = Court::of(&server, Transport::Direct, &[]).await;
    let room = court.room.clone();
    let (bare, jid) = (court.visitor.bare().to_owned(), court.visitor.jid.clone());
    for (new, role) in [
        ("admin", "moderator"),
        ("owner", "moderator"),
        ("admin", "moderator"),
        ("none", "visitor"),
    ] {
        let items = format!("<item affiliation='{new}' jid='{bare}'><reason>So.</reason></item>");
        change(&mut court.owner, &room, &items).await;
        for (who, jid) in [
            ("owner", &*jid),
            ("admin", &jid),
            ("moderator", &jid),
            ("member", "-"),
            ("visitor", &jid),
        ] {
            let item = format!("affiliation='{new}' role='{role}' jid='{jid}'");
            let told = court.named(who);
            told.expect(&shown(&format!("{room}/visitor"), &item, "<reason>So.</reason>"))
                .await;
        }
    }
    court.nothing_more().await;
    for (list, names) in [("owner", vec!["- owner -"]), ("admin", vec!["- admin -"])] {
        let expected = names.iter().map(|name| (*name).to_owned()).collect();
        let what = format!("affiliation='{list}'");
        assert_eq!(court.list("owner", &what).await, Ok(expected));
        // "In semi-anonymous rooms" it is for owners.
        for who in ["admin", "moderator", "member", "visitor", "outside"] {
            assert_eq!(
                court.list(who, &what).await,
                Err("auth/forbidden".to_owned()),
                "{who} {list}"
            );
        }
    }
    // "If the user is not in the room": occupants who may see the list hear of it, and he himself.
    let outside = court.outside.bare().to_owned();
    change(
        &mut court.owner,
        &room,
        &format!("<item affiliation='admin' jid='{outside}'/>"),
    )
    .await;
    let item = format!("<item affiliation='admin' role='none' jid='{outside}'/>");
    let told = court
        .owner
        .expect(&format!(
            "<message from='{room}'><x xmlns='{USER}'>{item}</x></message>"
        ))
        .await;
    assert_eq!(codes(&told), Vec::<String>::new());
    let told = court.outside.expect(&format!("<message from='{room}'/>")).await;
    assert_eq!(codes(&told), ["101"]);
    court.nothing_more().await;
    // An owner goes if another is there.
    let owner = court.owner.bare().to_owned();
    court
        .refused(
            "owner",
            &format!("<item affiliation='admin' jid='{owner}'/>"),
            "cancel/conflict",
        )
        .await;
    let items = format!("<item affiliation='owner' jid='{outside}'/><item affiliation='none' jid='{owner}'/>");
    change(&mut court.owner, &room, &items).await;
    court
        .owner
        .wait(&shown(
            &format!("{room}/owner"),
            "affiliation='none' role='visitor'",
            "",
        ))
        .await;
    assert_eq!(error_of(&asks(&mut court.owner, &room).await), "auth/forbidden");
    is_result(&asks(&mut court.outside, &room).await, "");
    court.close().await;
}

/// Section 10.9.
#[tokio::test]
async fn destroying_a_room() {
    let server = Server::with_users(7 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut court = Court::of(&server, transport, &[]).await;
        let room = court.room.clone();
        let destroy = |jid: &str| {
            format!(
                "<query xmlns='{OWNER}'><destroy jid='{jid}'><password>new</password><reason>Macbeth doth come.</reason>\
                 </destroy></query>"
            )
        };
        for who in ["admin", "moderator", "member", "visitor", "outside"] {
            let answer = court.named(who).iq("set", &room, &destroy("other@d")).await;
            assert_eq!(error_of(&answer), "auth/forbidden", "{who}");
        }
        let answer = court.owner.iq("set", &room, &destroy("@")).await;
        assert_eq!(error_of(&answer), "modify/jid-malformed");
        court.nothing_more().await;
        court
            .owner
            .send(format!(
                "<iq type='set' id='begone' to='{room}'>{}</iq>",
                destroy("heath@d")
            ))
            .await;
        for who in ["owner", "admin", "moderator", "member", "visitor"] {
            let pattern = format!(
                "<presence type='unavailable' from='{room}/{who}'><x xmlns='{USER}'><item role='none'/><destroy \
                 jid='heath@d'><password>new</password><reason>Macbeth doth come.</reason></destroy></x></presence>"
            );
            court.named(who).expect(&pattern).await;
        }
        court.owner.expect("<iq type='result' id='begone'/>").await;
        // One presence for each, and nothing of the others.
        court.nothing_more().await;
        let answer = asks(&mut court.owner, &room).await;
        assert_eq!(error_of(&answer), "cancel/item-not-found");
        // Somebody else makes it anew: nothing is left of what it was.
        make(&mut court.outside, &room, "new", &[]).await;
        assert_eq!(error_of(&asks(&mut court.owner, &room).await), "auth/forbidden");
        court.close().await;
    }
}
