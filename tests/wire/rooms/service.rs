//! The service for rooms: its list, the search in it (XEP-0433), who may make rooms, what its operator and its
//! administrators may, lists of whom nobody wants, and what a flood costs.

use testkit::{ArchiveQuery, Client, Server, Stanza, Transport};

use super::{MUC, OWNER, USER, configure, join, join_with, make, say};
use crate::pep::{publish, pubsub};
use crate::support::{chat, error_of, features, is_result};

const ITEMS: &str = "http://jabber.org/protocol/disco#items";
const RSM: &str = "http://jabber.org/protocol/rsm";
const SEARCH: &str = "urn:xmpp:channel-search:0:search";
const AT: &str = "conference.example.org";

/// Asks for rooms of the list, by page where `set` is something.
async fn list(client: &mut Client, set: &str) -> Stanza {
    let set = match set {
        "" => String::new(),
        set => format!("<set xmlns='{RSM}'>{set}</set>"),
    };
    client
        .iq("get", AT, &format!("<query xmlns='{ITEMS}'>{set}</query>"))
        .await
}

/// The local parts of what this has as values of an attribute, in order.
fn locals(answer: &Stanza, attribute: &str) -> Vec<String> {
    let begin = format!("{attribute}='");
    let mut parts = answer.raw().split("<item ").skip(1);
    let mut all = Vec::new();
    parts.by_ref().for_each(|part| {
        let value = part.split_once(&begin).map_or("", |(_, rest)| rest);
        all.push(value.split(['@', '\'']).next().unwrap_or_default().to_owned());
    });
    all
}

async fn enters(client: &mut Client, room: &str, nick: &str) -> Stanza {
    client
        .send(format!("<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>"))
        .await;
    presence_of(client, room, nick).await
}

/// The next presence of this occupant, or the error in its place.
async fn presence_of(client: &mut Client, room: &str, nick: &str) -> Stanza {
    let from = format!("{room}/{nick}");
    loop {
        let stanza = client.stanza().await;
        if stanza.name() == "presence" && stanza.get("from") == from {
            return stanza;
        }
    }
}

/// The next message of this id, or the error in its place.
async fn message_of(client: &mut Client, id: &str) -> Stanza {
    loop {
        let stanza = client.stanza().await;
        if stanza.name() == "message" && stanza.get("id") == id {
            return stanza;
        }
    }
}

async fn admin(server: &Server) -> Client {
    let admin = server.user();
    let made = server.jackdaw(&["account", "admin", &admin, "yes"], "");
    assert!(made.status.success(), "{made:?}");
    Client::online(server, Transport::Direct, &admin).await
}

/// Of a form: names and values.
type Fields = &'static [(&'static str, &'static str)];

#[tokio::test]
async fn the_list_has_rooms_that_everybody_may_find() {
    let mut server = Server::with_users(8);
    let mut a = Client::online(&server, Transport::Direct, &server.user()).await;
    let domain = format!("<query xmlns='{ITEMS}'><item jid='{AT}' name='Rooms'/></query>");
    let answer = a.iq("get", "example.org", &format!("<query xmlns='{ITEMS}'/>")).await;
    is_result(&answer, &domain);
    let known = features(&mut a, AT).await;
    for feature in [MUC, RSM, ITEMS, SEARCH, "urn:xmpp:ping"] {
        assert!(known.contains(&feature.to_owned()), "{known:?}");
    }
    let empty = list(&mut a, "").await;
    is_result(&empty, &format!("<query xmlns='{ITEMS}'/>"));
    assert_eq!(locals(&empty, "jid"), [""; 0]);

    for (name, shown) in [
        ("coven", "A Dark Cave"),
        ("forres", "Macbeth&apos;s &lt;Palace>"),
        ("heath", ""),
    ] {
        let fields = [&*format!("roomname={shown}"), "publicroom=1", "persistentroom=1"];
        make(&mut a, &format!("{name}@{AT}"), "me", &fields).await;
    }
    make(&mut a, &format!("secret@{AT}"), "me", &["publicroom=0"]).await;
    // Nobody has said yet what this is like.
    join_with(&mut a, &format!("locked@{AT}"), "me", "").await;
    for transport in Transport::EVERY {
        let mut b = Client::online(&server, transport, &server.user()).await;
        let all = list(&mut b, "").await;
        is_result(
            &all,
            &format!(
                "<query xmlns='{ITEMS}'><item jid='coven@{AT}' name='A Dark Cave'/>\
                 <item jid='forres@{AT}' name='Macbeth&apos;s &lt;Palace&gt;'/><item jid='heath@{AT}' name='heath'/></query>"
            ),
        );
        assert_eq!(locals(&all, "jid"), ["coven", "forres", "heath"]);
        assert!(!all.raw().contains("<set"), "{}", all.raw());
        b.close().await;
    }
    // By page (XEP-0059), also from the end, and their number alone.
    let coven = format!("<after>coven@{AT}</after>");
    for (set, expected) in [
        ("<max>2</max>", &["coven", "forres"][..]),
        (&*format!("<max>2</max>{coven}"), &["forres", "heath"]),
        ("<max>1</max><before/>", &["heath"]),
        (
            &*format!("<max>5</max><before>heath@{AT}</before>"),
            &["coven", "forres"],
        ),
        ("<max>0</max>", &[]),
        // Behind one that is not there any more.
        (&*format!("<max>5</max><after>d@{AT}</after>"), &["forres", "heath"]),
    ] {
        let page = list(&mut a, set).await;
        assert_eq!(locals(&page, "jid"), expected, "{set}");
        let ends = expected.first().zip(expected.last());
        let ends = ends.map(|(first, last)| format!("<first>{first}@{AT}</first><last>{last}@{AT}</last>"));
        let told = format!("<set xmlns='{RSM}'>{}<count>3</count></set>", ends.unwrap_or_default());
        is_result(&page, &format!("<query xmlns='{ITEMS}'>{told}</query>"));
    }
    assert_eq!(error_of(&list(&mut a, "<max>x</max>").await), "modify/bad-request");
    // It follows the rooms, and outlives a crash.
    let answer = configure(&mut a, &format!("forres@{AT}"), &["publicroom=0"]).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
    let destroy = format!("<query xmlns='{OWNER}'><destroy/></query>");
    is_result(&a.iq("set", &format!("heath@{AT}"), &destroy).await, "");
    server.kill9();
    server.start();
    let mut a = Client::online(&server, Transport::Direct, &server.user()).await;
    assert_eq!(locals(&list(&mut a, "").await, "jid"), ["coven"]);
    a.close().await;
}

fn search(set: &str, fields: &[(&str, &str)]) -> String {
    let fields: String = fields
        .iter()
        .map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>"))
        .collect();
    let kind = "<field var='FORM_TYPE'><value>urn:xmpp:channel-search:0:search-params</value></field>";
    format!(
        "<search xmlns='{SEARCH}'><set xmlns='{RSM}'>{set}</set><x xmlns='jabber:x:data' type='submit'>{kind}{fields}</x></search>"
    )
}

#[tokio::test]
async fn rooms_are_searched() {
    const BY_USERS: (&str, &str) = ("key", "{urn:xmpp:channel-search:0:order}nusers");
    const BY_ADDRESS: (&str, &str) = ("key", "{urn:xmpp:channel-search:0:order}address");
    let server = Server::with_users(6);
    let mut a = Client::online(&server, Transport::Direct, &server.user()).await;
    let rooms: [(&str, &[&str]); 4] = [
        (
            "apples",
            &["roomname=Fruit", "roomdesc=Äpfel and more", "publicroom=1", "lang=de"],
        ),
        ("birds", &["roomname=Jackdaws", "publicroom=1", "whois=anyone"]),
        ("chess", &["roomname=Chess & birds", "publicroom=1", "membersonly=1"]),
        ("dark", &["roomname=Jackdaws too", "publicroom=0"]),
    ];
    for (name, fields) in rooms {
        let fields: Vec<String> = fields.iter().map(|field| field.replace('&', "&amp;")).collect();
        let fields: Vec<&str> = fields.iter().map(|field| &**field).collect();
        make(&mut a, &format!("{name}@{AT}"), "me", &fields).await;
    }
    let mut b = Client::online(&server, Transport::Direct, &server.user()).await;
    join(&mut b, &format!("birds@{AT}"), "other").await;

    let form = a.iq("get", AT, &format!("<search xmlns='{SEARCH}'/>")).await;
    is_result(
        &form,
        &format!(
            "<search xmlns='{SEARCH}'><x xmlns='jabber:x:data' type='form'>\
             <field var='q' type='text-single'/><field var='sinname' type='boolean'><value>true</value></field>\
             <field var='key' type='list-single'><value>{}</value></field></x></search>",
            BY_ADDRESS.1
        ),
    );
    for transport in Transport::EVERY {
        let mut c = Client::online(&server, transport, &server.user()).await;
        let answer = c.iq("get", AT, &search("", &[("q", "FRUIT")])).await;
        is_result(
            &answer,
            &format!(
                "<result xmlns='{SEARCH}'><item address='apples@{AT}'><name>Fruit</name>\
                 <description>Äpfel and more</description><language>de</language><nusers>1</nusers>\
                 <service-type>xep-0045</service-type><is-open>true</is-open>\
                 <anonymity-mode>muc_semianonymous</anonymity-mode></item>\
                 <set xmlns='{RSM}'><first>apples</first><last>apples</last><count>1</count></set></result>"
            ),
        );
        c.close().await;
    }
    let cases: [(&str, Fields, &[&str]); 14] = [
        ("", &[("all", "true")], &["apples", "birds", "chess"]),
        ("", &[("all", "1"), BY_USERS], &["birds", "apples", "chess"]),
        ("<max>1</max>", &[("all", "1"), BY_USERS], &["birds"]),
        (
            "<max>1</max><after>2 birds</after>",
            &[("all", "1"), BY_USERS],
            &["apples"],
        ),
        ("<max>1</max><before/>", &[("all", "1"), BY_USERS], &["chess"]),
        (
            "<max>1</max><before>chess</before>",
            &[("all", "1"), BY_ADDRESS],
            &["birds"],
        ),
        (
            "<max>2</max><after>apples</after>",
            &[("all", "1")],
            &["birds", "chess"],
        ),
        ("", &[("q", "birds")], &["birds", "chess"]),
        ("", &[("q", "birds"), ("sinname", "false")], &["birds"]),
        ("", &[("q", "birds"), ("sinaddress", "0")], &["chess"]),
        ("", &[("q", "äpfel MORE")], &["apples"]),
        ("", &[("q", "fruit more"), ("sindescription", "false")], &[]),
        ("", &[("q", "jackdaws"), ("types", "xep-0369")], &[]),
        ("", &[("q", "birds"), ("unknown", "x")], &["birds", "chess"]),
    ];
    for (set, fields, expected) in cases {
        let answer = a.iq("get", AT, &search(set, fields)).await;
        assert_eq!(
            locals(&answer, "address"),
            expected,
            "{set} {fields:?}: {}",
            answer.raw()
        );
    }
    let errors: [(Fields, &str, &str); 7] = [
        (&[], "modify/bad-request", "no-search-conditions"),
        (&[("all", "false")], "modify/bad-request", "no-search-conditions"),
        (
            &[("q", "a"), ("all", "true")],
            "modify/bad-request",
            "conflicting-fields",
        ),
        (
            &[
                ("q", "a"),
                ("sinname", "0"),
                ("sindescription", "0"),
                ("sinaddress", "0"),
            ],
            "modify/bad-request",
            "conflicting-fields",
        ),
        (&[("q", "  ")], "modify/bad-request", "invalid-search-terms"),
        (
            &[("q", "a"), ("key", "{urn:x}y")],
            "modify/feature-not-implemented",
            "invalid-sort-key",
        ),
        (&[("q", "a"), ("all", "maybe")], "modify/bad-request", ""),
    ];
    for (fields, error, own) in errors {
        let answer = a.iq("get", AT, &search("", fields)).await;
        assert_eq!(error_of(&answer), error, "{fields:?}");
        assert!(answer.raw().contains(own), "{fields:?}: {}", answer.raw());
    }
    let answer = a
        .iq("get", AT, &search("<after>x</after>", &[("all", "1"), BY_USERS]))
        .await;
    assert_eq!(error_of(&answer), "cancel/item-not-found");
}

#[tokio::test]
async fn who_makes_rooms_is_the_operators_to_say() {
    for (create, accounts) in [("accounts", true), ("admins", false), ("anyone", true)] {
        let server = Server::builder()
            .users(2)
            .domain("elsewhere.test")
            .account("else@elsewhere.test")
            .toml(&format!(
                "\n[rooms]\ncreate = \"{create}\"\npublic = true\npersistent = false\n"
            ))
            .start();
        let mut user = Client::online(&server, Transport::Direct, &server.user()).await;
        let mut other = Client::online(&server, Transport::Direct, "else@elsewhere.test").await;
        let mut admin = admin(&server).await;
        for (client, name, may) in [
            (&mut user, "a", accounts),
            (&mut other, "b", create == "anyone"),
            (&mut admin, "c", true),
        ] {
            let room = format!("{name}@{AT}");
            let answer = enters(client, &room, "me").await;
            match may {
                true => {
                    let status = format!("<presence><x xmlns='{USER}'><status code='201'/></x></presence>");
                    assert_eq!(answer.mismatch(&status), None, "{}", answer.raw());
                    // An instant room (section 10.1.2) is as the operator says.
                    let instant = format!("<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='submit'/></query>");
                    is_result(&client.iq("set", &room, &instant).await, "");
                    let known = features(client, &room).await;
                    for feature in ["muc_public", "muc_temporary"] {
                        assert!(known.contains(&feature.to_owned()), "{known:?}");
                    }
                }
                false => assert_eq!(error_of(&answer), "cancel/not-allowed", "{create} {name}"),
            }
        }
        // Where there is one, everybody may come.
        let room = format!("c@{AT}");
        for client in [&mut user, &mut other] {
            let nick = client.bare().replace('@', "-");
            assert_eq!(error_of(&enters(client, &room, &nick).await), "");
        }
    }
}

#[tokio::test]
async fn there_need_be_no_rooms() {
    let server = Server::builder().users(1).toml("\n[rooms]\nenabled = false\n").start();
    let mut a = Client::online(&server, Transport::Direct, &server.user()).await;
    let answer = a.iq("get", "example.org", &format!("<query xmlns='{ITEMS}'/>")).await;
    assert!(!answer.raw().contains(AT), "{}", answer.raw());
    let answer = enters(&mut a, &format!("a@{AT}"), "me").await;
    assert_eq!(error_of(&answer), "cancel/remote-server-not-found");
}

/// What each room, and each account, may have of them.
#[tokio::test]
async fn limits() {
    let server = Server::builder()
        .users(16)
        .limit("room_affiliations", 3)
        .limit("room_history_messages", 2)
        .limit("rooms_per_account", 1)
        .limit("room_occupants", 2)
        .start();
    for transport in Transport::EVERY {
        let room = super::room_of(&server);
        let mut a = Client::online(&server, transport, &server.user()).await;
        let mut b = Client::online(&server, transport, &server.user()).await;
        make(&mut a, &room, "a", &[]).await;
        join(&mut b, &room, "b").await;
        a.forget().await;
        let refused = enters(&mut a, &format!("second-{room}"), "a").await;
        assert_eq!(error_of(&refused), "wait/resource-constraint", "{transport:?}");

        let mut c = Client::online(&server, transport, &server.user()).await;
        let refused = enters(&mut c, &room, "c").await;
        assert_eq!(error_of(&refused), "wait/service-unavailable", "{transport:?}");

        let of = |jid: &str| format!("<item affiliation='member' jid='{jid}@example.org'/>");
        let admin = "http://jabber.org/protocol/muc#admin";
        let set = |items: &str| format!("<query xmlns='{admin}'>{items}</query>");
        is_result(&a.iq("set", &room, &set(&(of("x") + &of("y")))).await, "");
        let refused = a.iq("set", &room, &set(&of("z"))).await;
        assert_eq!(error_of(&refused), "wait/resource-constraint", "{transport:?}");

        for id in ["m1", "m2", "m3"] {
            say(&mut a, &room, id, id).await;
        }
        message_of(&mut a, "m3").await;
        message_of(&mut b, "m3").await;
        b.send(format!("<presence type='unavailable' to='{room}/b'/>")).await;
        b.wait("<presence type='unavailable'/>").await;
        join_with(&mut c, &room, "c", "").await;
        let first = c.wait("<message type='groupchat'><body/></message>").await;
        assert_eq!(first.get("id"), "m2", "{}", first.raw());
        // One that is gone counts no more.
        let destroy = format!("<query xmlns='{OWNER}'><destroy/></query>");
        is_result(&a.iq("set", &room, &destroy).await, "");
        // And one that is not configured counts as long as it is there.
        join_with(&mut a, &format!("third-{room}"), "a", "").await;
        let refused = enters(&mut a, &format!("second-{room}"), "a").await;
        assert_eq!(error_of(&refused), "wait/resource-constraint", "{transport:?}");
        a.send(format!("<presence type='unavailable' to='third-{room}/a'/>"))
            .await;
        a.wait("<presence type='unavailable'/>").await;
        make(&mut a, &format!("second-{room}"), "a", &[]).await;
        for client in [a, b, c] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn who_administers_the_server_owns_its_rooms() {
    let server = Server::with_users(3);
    let mut owner = Client::online(&server, Transport::Direct, &server.user()).await;
    let mut user = Client::online(&server, Transport::Direct, &server.user()).await;
    let mut admin = admin(&server).await;
    let room = format!("closed@{AT}");
    let fields = ["membersonly=1", "passwordprotectedroom=1", "roomsecret=x"];
    make(&mut owner, &room, "owner", &fields).await;
    let refused = enters(&mut user, &room, "user").await;
    assert_eq!(error_of(&refused), "auth/registration-required");
    let entered = enters(&mut admin, &room, "owner-of-all").await;
    assert_eq!(error_of(&entered), "", "{}", entered.raw());
    let form = format!("<query xmlns='{OWNER}'/>");
    let refused = user.iq("get", &room, &form).await;
    assert_eq!(error_of(&refused), "auth/forbidden");
    is_result(
        &admin.iq("get", &room, &form).await,
        &format!("<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='form'/></query>"),
    );
    let destroy = format!("<query xmlns='{OWNER}'><destroy/></query>");
    is_result(&admin.iq("set", &room, &destroy).await, "");
    owner
        .wait(&format!(
            "<presence type='unavailable'><x xmlns='{USER}'><destroy/></x></presence>"
        ))
        .await;
}

/// Row 31 of the attacks: one stanza to a room is as many as there are clients in it, and it is these that count.
#[tokio::test]
async fn a_flood_is_refused() {
    const TOO_MUCH: &str = "wait/policy-violation";
    let server = Server::builder()
        .users(16)
        .limit("room_deliveries_per_second", 1)
        .limit("room_burst_deliveries", 60)
        .start();
    let room = super::room_of(&server);
    let mut watcher = Client::online(&server, Transport::Direct, &server.user()).await;
    let mut other = Client::online(&server, Transport::Direct, &server.user()).await;
    make(&mut watcher, &room, "watcher", &[]).await;
    join(&mut other, &room, "other").await;
    for transport in Transport::EVERY {
        for what in ["joins", "presence", "messages"] {
            let mut flood = Client::online(&server, transport, &server.user()).await;
            let (nick, mut refused) = (format!("{what}-{transport:?}"), String::new());
            if what != "joins" {
                join(&mut flood, &room, &nick).await;
            }
            let mut taken = 0;
            while refused.is_empty() && taken < 100 {
                taken += 1;
                let answer = match what {
                    "joins" => {
                        let answer = enters_behind_others(&mut flood, &room, &nick).await;
                        let leave = format!("<presence type='unavailable' to='{room}/{nick}'/>");
                        if error_of(&answer).is_empty() {
                            flood.send(leave).await;
                            flood
                                .wait(&format!("<presence type='unavailable' from='{room}/{nick}'/>"))
                                .await;
                        }
                        answer
                    }
                    "presence" => {
                        let presence = format!("<presence to='{room}/{nick}'><status>{taken}</status></presence>");
                        flood.send(presence).await;
                        presence_of(&mut flood, &room, &nick).await
                    }
                    _ => {
                        say(&mut flood, &room, &taken.to_string(), "spam").await;
                        message_of(&mut flood, &taken.to_string()).await
                    }
                };
                refused = error_of(&answer);
            }
            assert_eq!(refused, TOO_MUCH, "{transport:?} {what}");
            assert!(taken > 2, "{transport:?} {what}: {taken}");
            // Requests to the room cost as well, and going is free.
            let answer = flood.iq("get", &room, "<ping xmlns='urn:xmpp:ping'/>").await;
            assert_eq!(error_of(&answer), TOO_MUCH);
            let leave = format!("<presence type='unavailable' to='{room}/{nick}'/>");
            if what != "joins" {
                flood.send(leave).await;
                flood
                    .wait(&format!("<presence type='unavailable' from='{room}/{nick}'/>"))
                    .await;
            }
            flood.close().await;
        }
    }
    // Nobody else pays for it.
    say(&mut other, &room, "mine", "good morning").await;
    assert_eq!(
        message_of(&mut watcher, "mine").await.get("from"),
        format!("{room}/other")
    );
    for client in [watcher, other] {
        client.close().await;
    }
}

/// Enters, and reads up to the presence of itself.
async fn enters_behind_others(client: &mut Client, room: &str, nick: &str) -> Stanza {
    client
        .send(format!(
            "<presence to='{room}/{nick}'><x xmlns='{MUC}'><history maxstanzas='0'/></x></presence>"
        ))
        .await;
    presence_of(client, room, nick).await
}

/// A node of somebody whom the operator trusts says who comes into no room.
#[tokio::test]
async fn a_block_list_is_followed() {
    const LISTED: &str = "50cefeccd1e21157db8cd41fbecc1fe53a79e05b252f9cbf158a27d60f3c5d46";
    const ELSEWHERE: &str = "b5c772885f7b0b0d483fd77ef18dc6a839778a7b52db0e05e2603b6f0bf7dfc4";
    const NODE: &str = "blocked";
    const ITEM: &str = "<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/>";
    let mut server = Server::builder()
        .users(2)
        .account("listed@example.org")
        .domain("elsewhere.test")
        .account("else@elsewhere.test")
        .toml("\n[rooms]\nblock_lists = [\"xmpp:pubsub.example.org?;node=blocked\", \"xmpp:gone.example?;node=x\"]\n")
        .start();
    let transport = Transport::Direct;
    let (keeper, user) = (server.user(), server.user());
    let mut k = Client::online(&server, transport, &keeper).await;
    let service = "pubsub.example.org";
    is_result(
        &k.iq("set", service, &pubsub(&format!("<create node='{NODE}'/>"))).await,
        "",
    );
    is_result(&k.iq("set", service, &publish(NODE, LISTED, ITEM, &[])).await, "");
    k.cut();
    // What it has then is read at the start.
    server.kill9();
    server.start();
    let mut k = Client::online(&server, transport, &keeper).await;
    let mut owner = Client::online(&server, transport, &user).await;
    let mut listed = Client::online(&server, transport, "listed@example.org").await;
    let mut stranger = Client::online(&server, transport, "else@elsewhere.test").await;
    let room = format!("a@{AT}");
    make(&mut owner, &room, "owner", &[]).await;
    owner.forget().await;
    assert_eq!(until(&mut listed, &room, "listed", true).await, "auth/forbidden");
    // Nor does he read what was said there.
    let error = listed.archive_error(&ArchiveQuery::new().of(&room)).await;
    assert_eq!(error_of(&error), "auth/forbidden");
    // Others come, and speak, until they are on it.
    assert_eq!(until(&mut stranger, &room, "stranger", false).await, "");
    is_result(&k.iq("set", service, &publish(NODE, ELSEWHERE, ITEM, &[])).await, "");
    let mut refused = String::new();
    while refused.is_empty() {
        say(&mut stranger, &room, "m", "spam").await;
        refused = error_of(&message_of(&mut stranger, "m").await);
    }
    assert_eq!(refused, "auth/forbidden");
    // They are put out.
    owner
        .wait(&format!(
            "<presence type='unavailable' from='{room}/stranger'><x xmlns='{USER}'><status code='307'/></x></presence>"
        ))
        .await;
    // Nor is there anybody to write to.
    stranger.send(chat(owner.bare(), "x")).await;
    let answer = stranger
        .wait(&format!("<message type='error' from='{}'/>", owner.bare()))
        .await;
    assert_eq!(error_of(&answer), "cancel/service-unavailable");
    // And that ends as it began.
    let retract = pubsub(&format!(
        "<retract node='{NODE}' notify='true'><item id='{LISTED}'/></retract>"
    ));
    is_result(&k.iq("set", service, &retract).await, "");
    assert_eq!(until(&mut listed, &room, "listed", false).await, "");
    for client in [k, owner, listed, stranger] {
        client.close().await;
    }
}

/// Enters until it is refused, or taken; returns the error.
async fn until(client: &mut Client, room: &str, nick: &str, is_refused: bool) -> String {
    loop {
        let answer = error_of(&enters_behind_others(client, room, nick).await);
        if answer.is_empty() != is_refused {
            return answer;
        }
        if answer.is_empty() {
            client
                .send(format!("<presence type='unavailable' to='{room}/{nick}'/>"))
                .await;
            client
                .wait(&format!("<presence type='unavailable' from='{room}/{nick}'/>"))
                .await;
        }
    }
}
