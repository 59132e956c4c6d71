//! What waits for who is away (XEP-0160), and its replay.

use jackdaw_router::TABLES;
use store::Store as _;
use store::StoreError;

use crate::support::World;

fn chat(world: &mut World, to: &str, body: &str) {
    let id = body.split(' ').next().unwrap_or_default();
    world.send(
        "romeo/orchard",
        &format!("<message type='chat' id='{id}' to='{to}'><body>{body}</body></message>"),
    );
}

fn away() -> World {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    world
}

const NO_PRESENCE: &str = "available juliet/balcony>juliet/balcony";

#[test]
fn in_order_once_and_across_a_crash() {
    let mut world = away();
    for body in ["1", "2", "3"] {
        chat(&mut world, "juliet@d", body);
    }
    world.settle();
    world.kill();
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    world.expect(
        "juliet/balcony",
        &[
            NO_PRESENCE,
            "chat romeo/orchard>juliet 1 (delayed)",
            "chat romeo/orchard>juliet 2 (delayed)",
            "chat romeo/orchard>juliet 3 (delayed)",
        ],
    );
    assert!(
        world.stored_messages("juliet").is_empty(),
        "the client has answered the ping"
    );
    world.leave("juliet/balcony", true);
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    world.expect("juliet/balcony", &[NO_PRESENCE]);
}

#[test]
fn who_did_not_answer_gets_it_again_unless_the_stream_ended_well() {
    for (clean, again) in [(false, true), (true, false)] {
        let mut world = away();
        chat(&mut world, "juliet@d", "1");
        world.settle();
        world.connect("juliet/balcony");
        world.clients.get_mut("juliet/balcony").expect("online").answers_pings = false;
        world.send("juliet/balcony", "<presence/>");
        assert_eq!(world.lines("juliet/balcony").len(), 3, "presence, message, ping");
        world.leave("juliet/balcony", clean);
        world.settle();
        assert_eq!(
            world.stored_messages("juliet").len(),
            usize::from(again),
            "clean: {clean}"
        );
    }
}

/// Live messages queue behind the replay, also those for the resource itself; and nothing else does.
#[test]
fn nothing_overtakes_the_replay() {
    let mut world = away();
    chat(&mut world, "juliet@d", "1");
    world.settle();
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    // The page is being read.
    chat(&mut world, "juliet@d", "2");
    chat(&mut world, "juliet@d/balcony", "3");
    world.store.settle();
    // The page was sent and not taken yet.
    chat(&mut world, "juliet@d", "4");
    world.send(
        "romeo/orchard",
        "<message type='headline' to='juliet@d'><body>news</body></message>",
    );
    world.expect(
        "juliet/balcony",
        &[
            NO_PRESENCE,
            "chat romeo/orchard>juliet 1 (delayed)",
            "headline romeo/orchard>juliet news",
            "chat romeo/orchard>juliet 2 (delayed)",
            "chat romeo/orchard>juliet/balcony 3 (delayed)",
            "chat romeo/orchard>juliet 4 (delayed)",
        ],
    );
    chat(&mut world, "juliet@d", "5");
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 5"]);
}

/// Many pages, and larger than the outbox: the client's pace is kept and its stream not ended.
#[test]
fn a_long_replay_keeps_the_pace_of_the_client() {
    let mut world = away();
    let text = "x".repeat(2_000);
    for number in 0..250 {
        chat(&mut world, "juliet@d", &format!("{number} {text}"));
    }
    world.settle();
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    let lines = world.lines("juliet/balcony");
    let numbers: Vec<&str> = lines[1..]
        .iter()
        .map(|line| line.split(' ').nth(2).expect("a number"))
        .collect();
    let expected: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    assert_eq!(numbers, expected);
    assert!(world.stored_messages("juliet").is_empty());
}

#[test]
fn the_quota() {
    let mut world = away();
    for number in 0..300 {
        chat(&mut world, "juliet@d", &number.to_string());
    }
    world.nothing_more();
    chat(&mut world, "juliet@d", "more");
    world.expect(
        "romeo/orchard",
        &["message error service-unavailable juliet>romeo/orchard #more"],
    );
    // What carries nothing worth keeping is not kept (XEP-0160 section 3).
    world.send(
        "romeo/orchard",
        "<message type='chat' to='juliet@d'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    );
    world.nothing_more();
}

/// What waits goes to the next resource when the one that was given it goes, is away, or takes no
/// messages any more.
#[test]
fn the_heir() {
    for end in [
        "<presence type='unavailable'/>",
        "<presence><priority>-1</priority></presence>",
        "break",
    ] {
        let mut world = away();
        chat(&mut world, "juliet@d", "1");
        world.settle();
        world.connect("juliet/a");
        world.clients.get_mut("juliet/a").expect("online").answers_pings = false;
        world.send("juliet/a", "<presence/>");
        world.settle();
        world.online(&["juliet/b"]);
        match end {
            "break" => drop(world.leave("juliet/a", false)),
            presence => world.send("juliet/a", presence),
        }
        let lines = world.lines("juliet/b");
        assert!(
            lines.contains(&"chat romeo/orchard>juliet 1 (delayed)".to_owned()),
            "{end}: {lines:?}"
        );
        assert!(world.stored_messages("juliet").is_empty(), "{end}");
    }
}

/// The resource goes away and comes back while a page is being read: nothing is sent twice, and
/// nothing to a resource that is not available.
#[test]
fn an_answer_to_an_earlier_replay_is_not_used() {
    let mut world = away();
    chat(&mut world, "juliet@d", "1");
    world.settle();
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    world.send("juliet/balcony", "<presence type='unavailable'/>");
    world.settle();
    let lines = world.lines("juliet/balcony");
    assert!(!lines.iter().any(|line| line.starts_with("chat")), "{lines:?}");
    for _ in 0..2 {
        world.send("juliet/balcony", "<presence/>");
        world.send("juliet/balcony", "<presence type='unavailable'/>");
    }
    world.send("juliet/balcony", "<presence/>");
    let lines = world.lines("juliet/balcony");
    let chats = lines.iter().filter(|line| line.starts_with("chat")).count();
    assert_eq!(chats, 1, "{lines:?}");
}

#[test]
fn a_message_that_cannot_be_kept_is_answered_and_the_next_is_kept() {
    let mut world = away();
    world.store.fail_writes(1, StoreError::Full);
    chat(&mut world, "juliet@d", "1");
    // While it is not known yet: both count, neither is lost.
    chat(&mut world, "juliet@d", "2");
    world.expect(
        "romeo/orchard",
        &["message error resource-constraint juliet>romeo/orchard #1"],
    );
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    world.expect(
        "juliet/balcony",
        &[NO_PRESENCE, "chat romeo/orchard>juliet 2 (delayed)"],
    );
}

/// A cursor that could not be written, or was not in time: the messages come again, with the ids that they had.
#[test]
fn a_lost_cursor_brings_messages_again() {
    for fails in [true, false] {
        let mut world = away();
        chat(&mut world, "juliet@d", "1");
        world.settle();
        let mut ids = Vec::new();
        for _ in 0..2 {
            world.connect("juliet/balcony");
            world.send("juliet/balcony", "<presence/>");
            let read = world.read("juliet/balcony");
            assert_eq!(read.len(), 2, "presence and the message");
            ids.push(crate::support::stanza_id(&read[1]).expect("a stanza-id"));
            if fails {
                world.store.fail_writes(1, StoreError::Full);
                world.router.save_cursors();
                world.settle();
            }
            world.kill();
        }
        assert_eq!(ids[0], ids[1]);
    }
}

/// The cursor is written now and then, and never passes what somebody has not got.
#[test]
fn the_cursor() {
    let mut world = away();
    chat(&mut world, "juliet@d", "1");
    chat(&mut world, "juliet@d", "2");
    world.settle();
    world.router.tend(world.now());
    world.settle();
    assert_eq!(world.cursor("juliet"), 0);
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    world.settle();
    world.router.tend(world.now());
    world.settle();
    let last = world.kept("juliet", store::View::Waiting)[1].id;
    assert_eq!(world.cursor("juliet"), last);
    chat(&mut world, "juliet@d", "3");
    world.settle();
    world.router.save_cursors();
    assert!(world.cursor("juliet") > last);
    world.kill();
    world.online(&["juliet/balcony"]);
    world.nothing_more();
}

/// Where the disk was full it is written when there is room again.
#[test]
fn a_cursor_that_the_disk_did_not_take() {
    let mut world = away();
    world.online(&["juliet/balcony"]);
    chat(&mut world, "juliet@d", "1");
    world.settle();
    let last = world.kept("juliet", store::View::Waiting)[0].id;
    world.store.set_full(true);
    world.router.tend(world.now());
    world.settle();
    assert!(world.cursor("juliet") < last);
    world.store.set_full(false);
    world.router.tend(world.now());
    world.settle();
    assert_eq!(world.cursor("juliet"), last);
}

/// The cursor was written before the connection broke: what it had not taken is delivered anew all the same.
#[test]
fn what_was_not_written_is_reclaimed_behind_the_cursor() {
    let mut world = away();
    world.online(&["juliet/balcony"]);
    world.clients.get_mut("juliet/balcony").expect("online").reads = false;
    chat(&mut world, "juliet@d", "1");
    chat(&mut world, "juliet@d", "2");
    world.settle();
    world.router.tend(world.now());
    world.settle();
    world.leave("juliet/balcony", false);
    world.settle();
    assert_eq!(world.stored_messages("juliet").len(), 2, "after a restart");
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    world.expect(
        "juliet/balcony",
        &[
            NO_PRESENCE,
            "chat romeo/orchard>juliet 1 (delayed)",
            "chat romeo/orchard>juliet 2 (delayed)",
        ],
    );
}

/// What is not kept does not overtake what is (RFC 6120 section 10.1).
#[test]
fn what_is_not_kept_does_not_overtake() {
    let mut world = away();
    world.online(&["juliet/balcony"]);
    chat(&mut world, "juliet@d", "1");
    world.send(
        "romeo/orchard",
        "<message type='chat' to='juliet@d'><body>2</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>",
    );
    chat(&mut world, "juliet@d", "3");
    world.send(
        "romeo/orchard",
        "<message type='chat' to='juliet@d'><body>4</body><no-store xmlns='urn:xmpp:hints'/></message>",
    );
    world.expect(
        "juliet/balcony",
        &[
            "chat romeo/orchard>juliet 1",
            "chat romeo/orchard>juliet 2",
            "chat romeo/orchard>juliet 3",
            "chat romeo/orchard>juliet 4",
        ],
    );
}

/// What stands in no archive has no id there (XEP-0359 section 3): a client would ask for what comes after it.
#[test]
fn no_id_without_an_archive() {
    let mut world = World::without_archives(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    chat(&mut world, "juliet@d", "1");
    world.settle();
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    let read = world.read("juliet/balcony");
    assert_eq!(crate::support::line(&read[1]), "chat romeo/orchard>juliet 1 (delayed)");
    assert_eq!(crate::support::stanza_id(&read[1]), None);
}

/// Without an archive: what was not written of what waits is given back by its place, and not once more as text.
#[test]
fn once_without_an_archive() {
    let mut world = World::without_archives(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    chat(&mut world, "juliet@d", "1");
    world.settle();
    world.connect("juliet/balcony");
    world.clients.get_mut("juliet/balcony").expect("connected").reads = false;
    world.send("juliet/balcony", "<presence/>");
    world.settle();
    world.leave("juliet/balcony", false);
    world.settle();
    world.connect("juliet/chamber");
    world.send("juliet/chamber", "<presence/>");
    let read = world.read("juliet/chamber");
    let lines = read.iter().map(crate::support::line);
    let chats: Vec<String> = lines.filter(|line| line.starts_with("chat")).collect();
    assert_eq!(chats, ["chat romeo/orchard>juliet 1 (delayed)"]);
}

/// Without an archive: to a connection that takes nothing any more a message is as to nobody.
#[test]
fn a_full_outbox_without_an_archive() {
    let mut world = World::without_archives(&["romeo", "juliet"]);
    world.online(&["romeo/orchard", "juliet/balcony"]);
    world.clients.get_mut("juliet/balcony").expect("online").reads = false;
    let text = "x".repeat(10_000);
    for number in 0..10 {
        chat(&mut world, "juliet@d", &format!("{number} {text}"));
    }
    world.settle();
    world.leave("juliet/balcony", false);
    world.settle();
    assert_eq!(world.stored_messages("juliet").len(), 10);
}

/// What a connection had not taken when it ended is delivered anew, by the rules for its address.
#[test]
fn what_was_not_written_is_reclaimed() {
    let mut world = away();
    world.online(&["juliet/balcony"]);
    world.clients.get_mut("juliet/balcony").expect("online").reads = false;
    chat(&mut world, "juliet@d", "1");
    chat(&mut world, "juliet@d/balcony", "2");
    world.send(
        "romeo/orchard",
        "<message id='3' to='juliet@d/balcony'><body>3</body></message>",
    );
    world.send(
        "romeo/orchard",
        "<message type='headline' to='juliet@d'><body>4</body></message>",
    );
    world.send(
        "romeo/orchard",
        "<message type='groupchat' id='5' to='juliet@d/balcony'><body>5</body></message>",
    );
    world.settle();
    world.leave("juliet/balcony", false);
    // What stands in the archive waits, whatever its type: it was accepted.
    world.expect(
        "romeo/orchard",
        &["message error service-unavailable juliet/balcony>romeo/orchard #5"],
    );
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    world.expect(
        "juliet/balcony",
        &[
            NO_PRESENCE,
            "chat romeo/orchard>juliet 1 (delayed)",
            "chat romeo/orchard>juliet/balcony 2 (delayed)",
            "normal romeo/orchard>juliet/balcony 3 (delayed)",
        ],
    );
}

/// Whoever has the resource next has not entered the room: it would be a message of a room in which he is not.
#[test]
fn what_was_said_in_a_room_is_not_for_the_next_session() {
    let mut world = away();
    world.online(&["juliet/balcony"]);
    world.clients.get_mut("juliet/balcony").expect("online").reads = false;
    world.send(
        "romeo/orchard",
        "<message type='groupchat' id='1' to='juliet@d/balcony'><body>1</body></message>",
    );
    world.settle();
    let old = world.clients.remove("juliet/balcony").expect("online");
    world.connect("juliet/balcony");
    world.clients.insert("old".into(), old);
    world.leave("old", false);
    world.settle();
    world.send("juliet/balcony", "<presence/>");
    world.expect("juliet/balcony", &[NO_PRESENCE]);
    world.expect(
        "romeo/orchard",
        &["message error service-unavailable juliet/balcony>romeo/orchard #1"],
    );
}

/// A reader that does not read: its stream ends, and nothing is lost.
#[test]
fn a_full_outbox_ends_the_stream_and_keeps_the_messages() {
    let mut world = away();
    world.online(&["juliet/balcony"]);
    world.clients.get_mut("juliet/balcony").expect("online").reads = false;
    let text = "x".repeat(10_000);
    for number in 0..10 {
        chat(&mut world, "juliet@d", &format!("{number} {text}"));
    }
    world.leave("juliet/balcony", false);
    world.settle();
    let stored: Vec<String> = world
        .stored_messages("juliet")
        .iter()
        .map(crate::support::line)
        .collect();
    let mut numbers: Vec<&str> = stored
        .iter()
        .map(|line| line.split(' ').nth(2).expect("a number"))
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

/// Nothing is written behind the removal of an account, for whoever gets the name next.
#[test]
fn nothing_is_left_of_a_removed_account() {
    let mut world = away();
    let juliet = stanza::Jid::parse("juliet@d").expect("a JID");
    let mut account = accounts::Account::new(juliet.clone(), 0, auth::Credentials::default());
    account.disabled = true;
    world.write(accounts::change(&account));
    chat(&mut world, "juliet@d", "1");
    world.settle();
    assert_eq!(
        world.stored_messages("juliet").len(),
        1,
        "kept for the day on which it is enabled"
    );
    world.write_behind(accounts::remove(&juliet));
    chat(&mut world, "juliet@d", "2");
    world.send("romeo/orchard", "<presence type='subscribe' to='juliet@d'/>");
    world.expect_all(
        "romeo/orchard",
        &[
            "message error service-unavailable juliet>romeo/orchard #2",
            "push juliet none +ask",
        ],
    );
    assert!(world.stored_messages("juliet").is_empty());
    assert!(world.stored_requests("juliet").is_empty());
}

/// What an earlier version kept in a table of its own waits where such messages wait now, once.
#[test]
fn messages_of_an_earlier_version() {
    let mut world = World::new(&["romeo", "juliet"]);
    let old = *TABLES
        .iter()
        .find(|table| table.name == "offline")
        .expect("the old table");
    world.store.release();
    let rows = [("juliet@d", "1"), ("juliet@d", "2"), ("romeo@d", "3")];
    for (at, (owner, body)) in rows.into_iter().enumerate() {
        let text = format!("<message type='chat' from='nurse@d/x' to='{owner}'><body>{body}</body></message>");
        let row = vec![store::Value::Int(at as i64), store::Value::from(text)];
        world
            .store
            .write_wait(store::Batch::new().append(old, owner, row))
            .expect("written");
    }
    assert_eq!(world.router.move_offline(), Ok(3));
    assert_eq!(world.router.move_offline(), Ok(0), "once");
    for owner in ["juliet@d", "romeo@d"] {
        let left = world.store.read_wait(store::Query::count(old, owner)).expect("read");
        assert_eq!(left, store::Found::Count(0));
    }
    assert!(
        world.kept("juliet", store::View::Archive).is_empty(),
        "they were in no archive"
    );
    world.store.hold();
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    world.expect(
        "juliet/balcony",
        &[
            NO_PRESENCE,
            "chat nurse/x>juliet 1 (delayed)",
            "chat nurse/x>juliet 2 (delayed)",
        ],
    );
}
