//! The same of rooms: R1 to R6.

use std::collections::BTreeSet;

use super::{Tale, broken, op};
use crate::history::{Account, ClientId, Entry, OpId, Target};
use crate::rooms::{Hearing, RoomId, View, nick_of};

const ROOM: RoomId = RoomId(0);
/// Those who are in it: `u0/r0` and `u2/r0`, and what they read is the same.
const PEOPLE: [u16; 2] = [0, 4];

/// A room, and what is in its archive: all is well until a test spoils it.
struct Room {
    tale: Tale,
    archive: Vec<(String, OpId)>,
}

impl Room {
    fn new() -> Room {
        let mut room = Room {
            tale: Tale::new(),
            archive: Vec::new(),
        };
        for client in PEOPLE {
            room.sees(client, &PEOPLE);
        }
        room
    }

    /// Is in the room at the end, in the first stay, and knows of these.
    fn sees(&mut self, client: u16, people: &[u16]) {
        let nicks: BTreeSet<String> = people.iter().map(|client| nick_of(ClientId(*client))).collect();
        let view = View { stay: 1, nicks };
        self.tale.history.rooms.views.insert((ClientId(client), ROOM), view);
    }

    fn said(&mut self, id: OpId) {
        let at = self.tale.now();
        self.tale.history.rooms.said(at, id, ROOM, "first");
    }

    fn stored(&mut self, id: OpId, sid: &str) {
        self.archive.push((sid.to_owned(), id));
    }

    fn heard(&mut self, client: u16, id: OpId, sid: &str, stay: u32) {
        let hearing = Hearing {
            at: self.tale.now(),
            by: ClientId(client),
            stay,
            sid: (!sid.is_empty()).then(|| self.tale.history.sid(sid)),
            order: self.tale.history.next_order(),
        };
        assert!(self.tale.history.rooms.heard(id, ROOM, hearing));
    }

    /// What takes its whole way: said, stored, heard by both, acked.
    fn good(&mut self, id: OpId, sid: &str) {
        self.said(id);
        self.stored(id, sid);
        for client in PEOPLE {
            self.heard(client, id, sid, 1);
        }
        self.tale.acked(id);
    }

    fn read(&mut self, client: u16) {
        let history = &mut self.tale.history;
        let entries = self.archive.iter().map(|(sid, op)| Entry {
            sid: history.sid(sid),
            op: Some(*op),
        });
        let entries = entries.collect();
        history.rooms.archives.insert((ClientId(client), ROOM), entries);
    }

    fn end(mut self) -> Vec<String> {
        for client in PEOPLE {
            self.read(client);
        }
        self.tale.end()
    }
}

#[test]
fn a_good_room_passes() {
    let mut room = Room::new();
    room.good(op(0, 1), "a");
    room.good(op(4, 1), "b");
    // Sent, and nothing known: it may be there or not.
    room.said(op(0, 2));
    room.said(op(0, 3));
    room.stored(op(0, 3), "c");
    for client in PEOPLE {
        room.heard(client, op(0, 3), "c", 1);
    }
    // Answered with an error, and nowhere.
    room.said(op(0, 4));
    room.tale.failed(op(0, 4));
    room.tale.acked(op(0, 4));
    assert_eq!(room.tale.history.rooms.heard_in_all(), 6);
    assert_eq!(room.end(), Vec::<String>::new());
}

#[test]
fn r1_lost_and_stored_twice() {
    let mut room = Room::new();
    room.good(op(0, 1), "a");
    room.archive.clear();
    broken(&room.end(), "R1");
    for is_acked in [false, true] {
        let mut room = Room::new();
        room.said(op(0, 1));
        room.stored(op(0, 1), "a");
        room.stored(op(0, 1), "b");
        if is_acked {
            room.tale.acked(op(0, 1));
        }
        broken(&room.end(), "R1");
    }
}

#[test]
fn r2_one_order_and_one_id() {
    // Two readers.
    let mut room = Room::new();
    room.good(op(0, 1), "a");
    room.good(op(4, 1), "b");
    room.read(0);
    room.archive.reverse();
    room.read(4);
    broken(&room.tale.rules(), "R2 u0/r0 and u2/r0 read different archives");
    // Not as it was said.
    let mut room = Room::new();
    room.good(op(0, 2), "a");
    room.good(op(0, 1), "b");
    broken(&room.end(), "R2 u0/r0 said m-0-1 before m-0-2");
    // Not as it was heard.
    let mut room = Room::new();
    room.said(op(0, 1));
    room.said(op(0, 2));
    for (number, sid) in [(1, "a"), (2, "b")] {
        room.stored(op(0, number), sid);
        room.heard(0, op(0, number), sid, 1);
    }
    room.heard(4, op(0, 2), "b", 1);
    room.heard(4, op(0, 1), "a", 1);
    broken(&room.end(), "R2 u2/r0 in room0, stay 1: m-0-1 came behind m-0-2");
    // Heard twice: in one stay, and in the next.
    for stay in [1, 2] {
        let mut room = Room::new();
        room.good(op(0, 1), "a");
        room.heard(4, op(0, 1), "a", stay);
        broken(
            &room.end(),
            &format!("R2 u2/r0 in room0, stay {stay}: m-0-1 came twice"),
        );
    }
    // Another id, and none.
    for sid in ["b", ""] {
        let mut room = Room::new();
        room.said(op(0, 1));
        room.stored(op(0, 1), "a");
        room.heard(0, op(0, 1), sid, 1);
        broken(&room.end(), "R2");
    }
    // One id for two.
    let mut room = Room::new();
    room.said(op(0, 1));
    room.said(op(0, 2));
    room.stored(op(0, 1), "a");
    room.stored(op(0, 2), "a");
    broken(&room.end(), "R2 u0/r0 read a twice");
}

#[test]
fn r3_a_gap() {
    let story = |spoil: fn(&mut Room)| {
        let mut room = Room::new();
        room.good(op(0, 1), "a");
        room.said(op(0, 2));
        room.stored(op(0, 2), "b");
        room.heard(0, op(0, 2), "b", 1);
        spoil(&mut room);
        room.end()
    };
    // In between.
    let found = story(|room| room.good(op(0, 3), "c"));
    broken(&found, "R3 u2/r0 in room0, stay 1: misses 1 messages");
    // At the end, though it is still there.
    broken(&story(|_| {}), "R3 u2/r0 in room0, stay 1: misses 1 messages");
    // It had gone, and came back.
    let found = story(|room| {
        room.said(op(0, 3));
        room.stored(op(0, 3), "c");
        room.heard(0, op(0, 3), "c", 1);
        room.heard(4, op(0, 3), "c", 2);
        let view = room.tale.history.rooms.views.get_mut(&(ClientId(4), ROOM));
        view.expect("it is there").stay = 2;
    });
    assert_eq!(found, Vec::<String>::new());
    // It had gone, and is not there.
    let found = story(|room| {
        room.sees(0, &[0]);
        room.tale.history.rooms.views.remove(&(ClientId(4), ROOM));
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn r4_changes_with_a_result() {
    for is_there in [false, true] {
        let mut room = Room::new();
        let target = Target {
            account: Account(0),
            room: Some(ROOM),
            key: "the name".to_owned(),
        };
        let history = &mut room.tale.history;
        let at = std::time::Duration::from_millis(1);
        let change = history.changed(at, &target, ClientId(0), Some("a".to_owned()));
        history.settled(at, &target, change, Ok(()));
        let read = is_there.then(|| ("the name".to_owned(), "a".to_owned()));
        history.finals[0] = Some(read.into_iter().collect());
        match is_there {
            true => assert_eq!(room.end(), Vec::<String>::new()),
            false => broken(&room.end(), "R4"),
        }
    }
}

#[test]
fn r5_errors_and_what_nobody_stored() {
    // An error for what is stored, and for what was told.
    let mut room = Room::new();
    room.said(op(0, 1));
    room.tale.failed(op(0, 1));
    room.stored(op(0, 1), "a");
    broken(&room.end(), "R5");
    let mut room = Room::new();
    room.good(op(0, 1), "a");
    room.tale.failed(op(0, 1));
    broken(
        &room.end(),
        "R5 m-0-1 in room0: was answered with an error, and u0/r0 heard it",
    );
    // Told and not stored.
    let mut room = Room::new();
    room.said(op(0, 1));
    room.heard(4, op(0, 1), "a", 1);
    broken(
        &room.end(),
        "R5 m-0-1 in room0: came to u2/r0, and is not in the archive",
    );
    // Stored, and said by nobody, or elsewhere.
    let mut room = Room::new();
    room.stored(op(0, 1), "a");
    broken(&room.end(), "R5 u0/r0 read a message that nobody said there");
    let mut room = Room::new();
    let at = room.tale.now();
    room.tale.history.rooms.said(at, op(0, 1), RoomId(7), "first");
    room.stored(op(0, 1), "a");
    broken(&room.end(), "R5 u0/r0 read a message that nobody said there");
}

#[test]
fn r6_who_is_there() {
    let mut room = Room::new();
    room.sees(0, &[0, 2, 4]);
    broken(&room.end(), "R6 u0/r0 sees [\"u1\"] in room0, who are not there");
    let mut room = Room::new();
    room.sees(4, &[4]);
    broken(
        &room.end(),
        "R6 u2/r0 sees [] in room0, who are not there, and not [\"u0-r0\"]",
    );
}
