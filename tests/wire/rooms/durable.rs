//! What a room promises beyond the life of the process: what was answered is there after a crash, what could not be
//! written has not happened, and a restart in good order keeps everybody in the room.

use std::time::Duration;

use testkit::{ArchiveQuery, Archived, Client, Loss, Server, Stanza, Transport};

use super::{ADMIN, MUC, OWNER, USER, configure, room_of, say};
use crate::support::{error_of, is_result, lose, managed, resumable_for};

/// How long a stop in good order may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long sessions wait to be resumed, in seconds, where some do not come back.
const RESUME_SECONDS: u64 = 2;

/// Comes in without history; what was sent at that is read.
async fn enter(client: &mut Client, room: &str, nick: &str) -> Vec<Stanza> {
    client
        .send(format!(
            "<presence to='{room}/{nick}'><x xmlns='{MUC}'><history maxstanzas='0'/></x></presence>"
        ))
        .await;
    let mut came = Vec::new();
    loop {
        let stanza = client.stanza().await;
        assert_eq!(error_of(&stanza), "", "{stanza:?}");
        let is_last = stanza.name() == "message" && stanza.has_child("subject", "jabber:client");
        came.push(stanza);
        if is_last {
            return came;
        }
    }
}

/// A value of the configuration as the owner reads it.
async fn configured(client: &mut Client, room: &str, var: &str) -> String {
    let answer = client.iq("get", room, &format!("<query xmlns='{OWNER}'/>")).await;
    let form = answer
        .get_child("query", OWNER)
        .and_then(|query| query.get_child("x", "jabber:x:data"));
    let name = format!("muc#roomconfig_{var}");
    let field = form.and_then(|form| form.children().find(|field| field.attr("var") == Some(&name)));
    let value = field.and_then(|field| field.get_child("value", "jabber:x:data"));
    value.map(|value| value.text()).unwrap_or_default()
}

async fn set_affiliation(client: &mut Client, room: &str, jid: &str, affiliation: &str, reason: &str) -> Stanza {
    let payload = format!(
        "<query xmlns='{ADMIN}'><item affiliation='{affiliation}' jid='{jid}'><reason>{reason}</reason></item></query>"
    );
    client.iq("set", room, &payload).await
}

/// Who has an affiliation, with the reasons.
async fn listed(client: &mut Client, room: &str, affiliation: &str) -> Vec<String> {
    let payload = format!("<query xmlns='{ADMIN}'><item affiliation='{affiliation}'/></query>");
    let answer = client.iq("get", room, &payload).await;
    let query = answer.get_child("query", ADMIN);
    let items = query.into_iter().flat_map(|query| query.children());
    let shown = items.map(|item| {
        let reason = item.get_child("reason", ADMIN).map(|reason| reason.text());
        format!(
            "{} {}",
            item.attr("jid").unwrap_or_default(),
            reason.unwrap_or_default()
        )
    });
    shown.collect()
}

async fn archive_of(client: &mut Client, room: &str) -> Vec<String> {
    let archive = client.whole_archive(&ArchiveQuery::new().of(room)).await;
    archive
        .iter()
        .map(Archived::body)
        .filter(|body| !body.is_empty())
        .collect()
}

/// The next that comes is said in this room by this one.
async fn hears(client: &mut Client, room: &str, nick: &str, text: &str) {
    client
        .expect(&format!(
            "<message type='groupchat' from='{room}/{nick}'><body>{text}</body></message>"
        ))
        .await;
}

/// Each success is followed by a kill -9, and what was told is true afterwards.
#[tokio::test]
async fn what_was_told_survives() {
    let mut server = Server::with_users(4);
    let transport = Transport::Direct;
    let (owner, member, banned) = (server.user(), server.user(), server.user());
    let room = &room_of(&server);

    let mut client = managed(&server, transport, &owner).await;
    enter(&mut client, room, "owner").await;
    let answer = configure(
        &mut client,
        room,
        &["persistentroom=1", "roomname=The Tower", "changesubject=0"],
    )
    .await;
    is_result(&answer, "");
    server.kill9();
    server.start();

    let mut client = managed(&server, transport, &owner).await;
    assert_eq!(configured(&mut client, room, "roomname").await, "The Tower");
    is_result(
        &set_affiliation(&mut client, room, &member, "member", "friend").await,
        "",
    );
    is_result(&set_affiliation(&mut client, room, &banned, "outcast", "foe").await, "");
    server.kill9();
    server.start();

    let mut client = managed(&server, transport, &owner).await;
    assert_eq!(listed(&mut client, room, "member").await, [format!("{member} friend")]);
    assert_eq!(listed(&mut client, room, "outcast").await, [format!("{banned} foe")]);
    assert_eq!(listed(&mut client, room, "owner").await, [format!("{owner} ")]);
    enter(&mut client, room, "owner").await;
    client
        .send(format!(
            "<message to='{room}' type='groupchat'><subject>ivory</subject></message>"
        ))
        .await;
    client
        .expect(&format!(
            "<message type='groupchat' from='{room}/owner'><subject>ivory</subject></message>"
        ))
        .await;
    server.kill9();
    server.start();

    // Told by a reflection, and by an acknowledgement.
    let mut client = managed(&server, transport, &owner).await;
    let came = enter(&mut client, room, "owner").await;
    let subject = came.last().and_then(|last| last.get_child("subject", "jabber:client"));
    assert_eq!(subject.map(|subject| subject.text()).as_deref(), Some("ivory"));
    say(&mut client, room, "one", "one").await;
    let one = client
        .expect("<message type='groupchat'><body>one</body></message>")
        .await;
    let id = one.stanza_id(room).to_owned();
    say(&mut client, room, "two", "two").await;
    client.all_acked().await;
    server.kill9();
    server.start();

    let mut client = managed(&server, transport, &owner).await;
    let archive = client.whole_archive(&ArchiveQuery::new().of(room)).await;
    let there: Vec<String> = archive
        .iter()
        .map(Archived::body)
        .filter(|body| !body.is_empty())
        .collect();
    assert_eq!(there, ["one", "two"]);
    assert!(
        archive
            .iter()
            .any(|message| message.id == id && message.body() == "one")
    );
    // Nobody is in it: who was has to come in anew.
    say(&mut client, room, "three", "three").await;
    let refused = client.expect("<message type='error'/>").await;
    assert_eq!(error_of(&refused), "modify/not-acceptable");
    let destroyed = client
        .iq("set", room, &format!("<query xmlns='{OWNER}'><destroy/></query>"))
        .await;
    is_result(&destroyed, "");
    server.kill9();
    server.start();

    let mut client = managed(&server, transport, &owner).await;
    let answer = client.iq("get", room, &format!("<query xmlns='{OWNER}'/>")).await;
    assert_eq!(error_of(&answer), "cancel/item-not-found");
}

fn database(server: &Server) -> rusqlite::Connection {
    let path = server.folder().join("data/jackdaw.sqlite");
    rusqlite::Connection::open(path).expect("the server has made it")
}

/// Every write to this table fails from now on.
fn refuse_writes(server: &Server, table: &str) {
    let database = database(server);
    for verb in ["INSERT", "UPDATE", "DELETE"] {
        let trigger = format!(
            "CREATE TRIGGER refuse_{verb} BEFORE {verb} ON \"{table}\" BEGIN SELECT RAISE(ABORT, 'refused'); END"
        );
        database.execute_batch(&trigger).expect("a trigger can be made");
    }
}

fn take_writes(server: &Server) {
    for verb in ["INSERT", "UPDATE", "DELETE"] {
        let drop = format!("DROP TRIGGER refuse_{verb}");
        database(server).execute_batch(&drop).expect("it was made");
    }
}

/// What the store does not take is answered with an error, nobody hears of it, and the room is as it was; once the store
/// takes something again all goes on without a restart.
#[tokio::test]
async fn what_is_not_written_has_not_happened() {
    let server = Server::with_users(3);
    let transport = Transport::Direct;
    let room = &room_of(&server);
    let mut owner = managed(&server, transport, &server.user()).await;
    let mut other = managed(&server, transport, &server.user()).await;
    let guest = other.bare().to_owned();

    // A room that cannot be kept is not there: it stays locked.
    enter(&mut owner, room, "owner").await;
    refuse_writes(&server, "rooms");
    let answer = configure(&mut owner, room, &["persistentroom=1", "roomname=old"]).await;
    assert!(error_of(&answer).starts_with("wait/"), "{answer:?}");
    other
        .send(format!("<presence to='{room}/other'><x xmlns='{MUC}'/></presence>"))
        .await;
    let locked = other.expect("<presence type='error'/>").await;
    assert_eq!(error_of(&locked), "cancel/item-not-found");
    take_writes(&server);
    is_result(
        &configure(&mut owner, room, &["persistentroom=1", "roomname=old"]).await,
        "",
    );
    enter(&mut other, room, "other").await;
    owner.expect(&format!("<presence from='{room}/other'/>")).await;

    // Configuration and subject.
    refuse_writes(&server, "rooms");
    let answer = configure(&mut owner, room, &["roomname=new", "membersonly=1"]).await;
    assert!(error_of(&answer).starts_with("wait/"), "{answer:?}");
    owner
        .send(format!(
            "<message to='{room}' type='groupchat'><subject>new</subject></message>"
        ))
        .await;
    let answer = owner.expect("<message type='error'/>").await;
    assert!(error_of(&answer).starts_with("wait/"), "{answer:?}");
    assert_eq!(configured(&mut owner, room, "roomname").await, "old");
    assert_eq!(configured(&mut owner, room, "membersonly").await, "0");
    take_writes(&server);

    // Affiliations: who was to be banned is there.
    refuse_writes(&server, "room_affiliations");
    let answer = set_affiliation(&mut owner, room, &guest, "outcast", "foe").await;
    assert!(error_of(&answer).starts_with("wait/"), "{answer:?}");
    assert_eq!(listed(&mut owner, room, "outcast").await, Vec::<String>::new());
    take_writes(&server);
    other.nothing_more().await;

    // Messages.
    say(&mut other, room, "kept", "kept").await;
    hears(&mut other, room, "other", "kept").await;
    hears(&mut owner, room, "other", "kept").await;
    refuse_writes(&server, "jackdaw_archive");
    say(&mut other, room, "lost", "lost").await;
    let answer = other.expect("<message type='error' id='lost'/>").await;
    assert!(error_of(&answer).starts_with("wait/"), "{answer:?}");
    owner.nothing_more().await;
    take_writes(&server);
    say(&mut other, room, "later", "later").await;
    hears(&mut other, room, "other", "later").await;
    hears(&mut owner, room, "other", "later").await;
    assert_eq!(archive_of(&mut owner, room).await, ["kept", "later"]);
    owner.nothing_more().await;
    other.nothing_more().await;
    other.all_acked().await;
    // And it can be done after all; only then is something acknowledged to who was refused last (G6).
    is_result(&set_affiliation(&mut owner, room, &guest, "outcast", "foe").await, "");
    owner.all_acked().await;
    other
        .expect(&format!(
            "<presence type='unavailable' from='{room}/other'><x xmlns='{USER}'>\
             <status code='301'/><status code='110'/></x></presence>"
        ))
        .await;
}

/// What comes until the server says that it stops.
async fn until_shut_down(client: &mut Client) -> Vec<Stanza> {
    let mut came = Vec::new();
    loop {
        let stanza = client.stanza().await;
        if stanza.name() == "error" {
            assert_eq!(stanza.condition(), Some("system-shutdown"));
            client.expect_end().await;
            return came;
        }
        came.push(stanza);
    }
}

fn gone(room: &str, nick: &str) -> String {
    format!("<presence type='unavailable' from='{room}/{nick}'><x xmlns='{USER}'><item role='none'/></x></presence>")
}

/// SIGTERM: who resumes is in the room as if nothing had been, and all others see it; who does not come back is gone, and
/// everybody is told.
#[tokio::test]
async fn occupants_outlive_a_restart() {
    let mut server = resumable_for(7, RESUME_SECONDS);
    let room = &room_of(&server);
    let (before, after) = (Transport::Starttls, Transport::Direct);
    let mut one = managed(&server, before, &server.user()).await;
    enter(&mut one, room, "one").await;
    is_result(&configure(&mut one, room, &[]).await, "");
    let mut two = managed(&server, before, &server.user()).await;
    enter(&mut two, room, "two").await;
    // One without stream management, one whose connection breaks before, and one that never comes back.
    let mut plain = Client::online(&server, before, &server.user()).await;
    enter(&mut plain, room, "plain").await;
    let mut broken = managed(&server, before, &server.user()).await;
    enter(&mut broken, room, "broken").await;
    let mut lost = managed(&server, before, &server.user()).await;
    enter(&mut lost, room, "lost").await;
    let broken = lose(&server, broken, Loss::Reset).await;
    say(&mut one, room, "before", "before").await;
    one.wait("<message type='groupchat'><body>before</body></message>")
        .await;
    two.wait("<message type='groupchat'><body>before</body></message>")
        .await;
    server.sigterm();
    let mut told = [
        until_shut_down(&mut one).await,
        until_shut_down(&mut two).await,
        Vec::new(),
    ];
    for mut other in [plain, lost] {
        until_shut_down(&mut other).await;
        other.cut();
    }
    let sessions = [one.session(), two.session(), broken];
    let status = server.wait(STOP_LIMIT).expect("it stops");
    assert_eq!(status.code(), Some(0));
    server.start();

    let [one, two, broken] = sessions;
    let mut one = Client::resume(&server, after, &one).await;
    let mut two = Client::resume(&server, after, &two).await;
    let mut broken = Client::resume(&server, after, &broken).await;
    // Whoever had no stream to resume has left: that comes at the stop or behind it, and nobody else has.
    for (client, told) in [&mut one, &mut two, &mut broken].into_iter().zip(&mut told) {
        told.extend(client.drain().await);
        told.retain(|stanza| stanza.get("type") == "unavailable");
        assert!(told.len() == 1 && told[0].matches(&gone(room, "plain")), "{told:?}");
    }
    // In the room without a word: one is told so, hears, and is heard.
    let ping = format!("{room}/two");
    is_result(&two.iq("get", &ping, "<ping xmlns='urn:xmpp:ping'/>").await, "");
    say(&mut two, room, "after", "after").await;
    for client in [&mut one, &mut two] {
        hears(client, room, "two", "after").await;
    }
    broken
        .wait("<message type='groupchat'><body>after</body></message>")
        .await;
    // The roles are as they were: an owner moderates.
    let payload = format!("<query xmlns='{ADMIN}'><item role='moderator'/></query>");
    let answer = one.iq("get", room, &payload).await;
    is_result(
        &answer,
        &format!("<query xmlns='{ADMIN}'><item nick='one' affiliation='owner' role='moderator'/></query>"),
    );
    // Nobody is a ghost.
    for client in [&mut one, &mut two, &mut broken] {
        client.wait(&gone(room, "lost")).await;
        client.nothing_more().await;
    }
    let mut late = managed(&server, after, &server.user()).await;
    let mut seen: Vec<String> = enter(&mut late, room, "late")
        .await
        .iter()
        .filter(|stanza| stanza.name() == "presence")
        .map(|stanza| stanza.get("from").rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    seen.sort();
    assert_eq!(seen, ["broken", "late", "one", "two"]);
    // The archive has both, and so has the history that was in memory.
    assert_eq!(archive_of(&mut late, room).await, ["before", "after"]);
}

/// After a crash nobody is in the room, whatever he believes: he is told so, and a new one of the same name may come.
#[tokio::test]
async fn after_a_crash_nobody_is_there() {
    let mut server = Server::with_users(3);
    let transport = Transport::Direct;
    let room = &room_of(&server);
    let mut one = managed(&server, transport, &server.user()).await;
    enter(&mut one, room, "one").await;
    is_result(&configure(&mut one, room, &["persistentroom=1"]).await, "");
    let mut two = managed(&server, transport, &server.user()).await;
    enter(&mut two, room, "two").await;
    let (first, second) = (one.bare().to_owned(), two.bare().to_owned());
    server.kill9();
    server.start();

    let mut two = managed(&server, transport, &second).await;
    // XEP-0410 section 3.2.
    let answer = two
        .iq("get", &format!("{room}/two"), "<ping xmlns='urn:xmpp:ping'/>")
        .await;
    assert_eq!(error_of(&answer), "cancel/not-acceptable");
    // Section 7.2.17: presence of who believes to be in it.
    two.send(format!("<presence to='{room}/two'/>")).await;
    two.expect(&format!(
        "<presence type='unavailable' from='{room}/two'><x xmlns='{USER}'>\
         <status code='110'/><status code='333'/></x></presence>"
    ))
    .await;
    let mut one = managed(&server, transport, &first).await;
    let came = enter(&mut one, room, "two").await;
    assert_eq!(came.len(), 2, "himself and the subject: {came:?}");
}
