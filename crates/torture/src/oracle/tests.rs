//! Histories made by hand: a good one passes, and each invariant that is broken once is found.

mod rooms;

use std::collections::HashMap;
use std::time::Duration;

use super::check;
use crate::history::{Account, ClientId, Entry, Facts, History, How, OpId, PREFERENCES, Target};

/// Six accounts with two clients each, the last at the other server. `u0/r0` sends to `u1`; all is well until a test
/// spoils it.
struct Tale {
    history: History,
    clock: u64,
    /// By account: what its archive holds.
    archives: HashMap<u16, Vec<(String, OpId)>>,
}

fn op(client: u16, number: u32) -> OpId {
    OpId {
        client: ClientId(client),
        number,
    }
}

impl Tale {
    fn new() -> Tale {
        let facts = Facts {
            is_managed: true,
            catches_up: false,
        };
        Tale {
            history: History::new(vec![facts; 12]),
            clock: 0,
            archives: (0..6).map(|account| (account, Vec::new())).collect(),
        }
    }

    fn now(&mut self) -> Duration {
        self.clock += 1;
        Duration::from_millis(self.clock)
    }

    fn sent(&mut self, id: OpId, to: u16) {
        let at = self.now();
        self.history.sent(at, id, Account(to), None, "first");
    }

    fn acked(&mut self, id: OpId) {
        let at = self.now();
        assert!(self.history.acked(at, id, "a"));
    }

    fn failed(&mut self, id: OpId) {
        let at = self.now();
        self.history.failed(at, id, "resource-constraint");
    }

    fn saw(&mut self, client: u16, id: OpId, sid: &str) {
        let (at, sid) = (self.now(), self.history.sid(sid));
        assert!(self.history.saw(at, id, ClientId(client), How::Direct, Some(sid), 1));
    }

    fn stored(&mut self, account: u16, id: OpId, sid: &str) {
        let archive = self.archives.get_mut(&account).expect("an account");
        archive.push((sid.to_owned(), id));
    }

    /// A message that takes its whole way: sent, stored, delivered to both clients, acked.
    fn good(&mut self, id: OpId, to: u16, sid: &str) {
        self.sent(id, to);
        self.stored(id.client.account().0, id, sid);
        if id.client.account().0 != to {
            self.stored(to, id, sid);
        }
        self.saw(to * 2, id, sid);
        self.saw(to * 2 + 1, id, sid);
        self.acked(id);
    }

    /// What is wrong, after all clients have read their archives.
    fn end(mut self) -> Vec<String> {
        for client in 0..12_u16 {
            self.read(client);
        }
        self.rules()
    }

    fn read(&mut self, client: u16) {
        let entries = self.archives[&(client / 2)]
            .iter()
            .map(|(sid, op)| Entry {
                sid: self.history.sid(sid),
                op: Some(*op),
            })
            .collect();
        self.history.archives[usize::from(client)] = Some(entries);
    }

    fn rules(&self) -> Vec<String> {
        let found = check(&self.history);
        let shown = found.iter().map(|one| format!("{} {}", one.rule, one.what));
        shown.collect()
    }
}

/// Exactly one violation, of this rule.
#[track_caller]
fn broken(found: &[String], rule: &str) {
    assert!(
        found.len() == 1 && found[0].starts_with(rule),
        "{rule} expected: {found:#?}"
    );
}

#[test]
fn a_good_history_passes() {
    let mut tale = Tale::new();
    tale.good(op(0, 1), 1, "a");
    tale.good(op(2, 1), 0, "b");
    tale.good(op(0, 2), 1, "c");
    // To oneself: one entry.
    tale.good(op(4, 1), 2, "d");
    // Sent, and nothing known: it may be there or not.
    tale.sent(op(0, 3), 1);
    tale.sent(op(0, 4), 1);
    tale.stored(0, op(0, 4), "e");
    tale.stored(1, op(0, 4), "e");
    // Answered with an error and gone.
    tale.sent(op(0, 5), 1);
    tale.failed(op(0, 5));
    // Acked by h as well, since it was answered.
    tale.acked(op(0, 5));
    // Delivered once more with the same id, after a resumption.
    tale.saw(2, op(0, 1), "a");
    assert_eq!(tale.history.repeated, 1);
    assert_eq!(tale.history.undelivered(), 0);
    assert_eq!(tale.end(), Vec::<String>::new());
}

#[test]
fn i1_lost_and_stored_twice() {
    for account in [0, 1] {
        let mut tale = Tale::new();
        tale.good(op(0, 1), 1, "a");
        tale.archives.insert(account, Vec::new());
        broken(&tale.end(), "I1");
    }
    let mut tale = Tale::new();
    tale.good(op(0, 1), 1, "a");
    tale.stored(1, op(0, 1), "b");
    let found = tale.end();
    assert!(found.iter().any(|one| one.starts_with("I1")), "{found:?}");
    assert!(found.iter().any(|one| one.starts_with("I3")), "{found:?}");
}

/// From one server to the other at least once is what is promised: twice is no fault there, and not at all is one.
#[test]
fn between_servers() {
    let mut tale = Tale::new();
    tale.good(op(0, 1), 5, "a");
    tale.stored(5, op(0, 1), "b");
    tale.saw(10, op(0, 1), "b");
    // Refused by the other server: it was sent all the same.
    tale.sent(op(0, 2), 5);
    tale.stored(0, op(0, 2), "c");
    tale.acked(op(0, 2));
    tale.failed(op(0, 2));
    assert_eq!(tale.end(), Vec::<String>::new());
    let mut tale = Tale::new();
    tale.good(op(0, 1), 5, "a");
    tale.archives.insert(5, Vec::new());
    broken(&tale.end(), "I1");
    // Who has sent it has it once.
    let mut tale = Tale::new();
    tale.good(op(0, 1), 5, "a");
    tale.stored(0, op(0, 1), "b");
    let found = tale.end();
    assert!(found.iter().any(|one| one.starts_with("I1")), "{found:?}");
    // What was seen was not refused.
    let mut tale = Tale::new();
    tale.good(op(0, 1), 5, "a");
    tale.failed(op(0, 1));
    broken(&tale.end(), "I7");
}

#[test]
fn i2_delivered_to_nobody() {
    let undelivered = |spoil: fn(&mut History)| {
        let mut tale = Tale::new();
        tale.sent(op(0, 1), 1);
        tale.stored(0, op(0, 1), "a");
        tale.stored(1, op(0, 1), "a");
        tale.acked(op(0, 1));
        spoil(&mut tale.history);
        let open = tale.history.undelivered();
        (open, tale.end())
    };
    let (open, found) = undelivered(|_| {});
    assert_eq!(open, 1);
    broken(&found, "I2");
    // Where the archive may stand for it, or a client cannot acknowledge, it is no fault.
    let (open, found) = undelivered(|history| history.clients[2].catches_up = true);
    assert_eq!((open, found.len()), (0, 0));
    let (open, found) = undelivered(|history| history.clients[3].is_managed = false);
    assert_eq!((open, found.len()), (0, 0));
}

#[test]
fn i2_a_client_without_it() {
    let mut tale = Tale::new();
    tale.good(op(0, 1), 1, "a");
    for client in 0..6 {
        tale.read(client);
    }
    tale.history.archives[3] = Some(Vec::new());
    // The second client has seen it live: two different readings.
    broken(&tale.rules(), "I4");
    let message = tale.history.messages.get_mut(&op(0, 1)).expect("sent");
    message.seen.retain(|seen| seen.by != ClientId(3));
    let found = tale.rules();
    assert!(found.len() == 2 && found[0].starts_with("I2"), "{found:?}");
}

#[test]
fn i3_two_ids() {
    let mut tale = Tale::new();
    tale.good(op(0, 1), 1, "a");
    tale.saw(2, op(0, 1), "b");
    let found = tale.end();
    assert!(found.iter().any(|one| one.starts_with("I3")), "{found:?}");
    // One id for two messages.
    let mut tale = Tale::new();
    tale.sent(op(0, 1), 0);
    tale.sent(op(0, 2), 0);
    tale.stored(0, op(0, 1), "a");
    tale.stored(0, op(0, 2), "a");
    let found = tale.end();
    // Both of its clients read it.
    assert!(
        found.len() == 2 && found.iter().all(|one| one.starts_with("I3")),
        "{found:?}"
    );
    // None at all.
    let mut tale = Tale::new();
    tale.good(op(0, 1), 1, "a");
    let at = tale.now();
    tale.history.saw(at, op(0, 1), ClientId(2), How::Direct, None, 1);
    broken(&tale.end(), "I3");
    // A copy of what was sent needs none.
    let mut tale = Tale::new();
    tale.good(op(0, 1), 1, "a");
    let at = tale.now();
    tale.history.saw(at, op(0, 1), ClientId(1), How::Sent, None, 1);
    assert_eq!(tale.end(), Vec::<String>::new());
}

#[test]
fn i4_readers_senders_and_deliveries() {
    // Two readers.
    let mut tale = Tale::new();
    tale.good(op(0, 1), 1, "a");
    tale.good(op(2, 1), 0, "b");
    for client in 0..6 {
        tale.read(client);
    }
    tale.history.archives[1].as_mut().expect("read").reverse();
    broken(&tale.rules(), "I4");
    // A sender: stored the other way round than it was sent, and delivered as it was stored.
    let mut tale = Tale::new();
    tale.sent(op(0, 1), 1);
    tale.good(op(0, 2), 1, "a");
    for account in [0, 1] {
        tale.stored(account, op(0, 1), "b");
    }
    for client in [2, 3] {
        tale.saw(client, op(0, 1), "b");
    }
    tale.acked(op(0, 1));
    let found = tale.end();
    assert!(
        found.len() == 2 && found.iter().all(|one| one.starts_with("I4 u0/r0 sent")),
        "{found:?}"
    );
    // A delivery: one of the clients gets them the other way round.
    let mut tale = Tale::new();
    tale.sent(op(0, 1), 1);
    tale.sent(op(0, 2), 1);
    for (number, sid) in [(1, "a"), (2, "b")] {
        for account in [0, 1] {
            tale.stored(account, op(0, number), sid);
        }
        tale.saw(3, op(0, number), sid);
        tale.acked(op(0, number));
    }
    tale.saw(2, op(0, 2), "b");
    tale.saw(2, op(0, 1), "a");
    broken(&tale.end(), "I4 m-0-1 came to u1/r0");
}

/// On another stream what waited may come behind what came then.
#[test]
fn i4_is_for_each_stream() {
    let mut tale = Tale::new();
    tale.sent(op(0, 1), 1);
    tale.good(op(2, 1), 1, "x");
    tale.sent(op(0, 2), 1);
    for (number, sid) in [(1, "a"), (2, "b")] {
        for account in [0, 1] {
            tale.stored(account, op(0, number), sid);
        }
        tale.acked(op(0, number));
    }
    tale.saw(2, op(0, 2), "b");
    let (at, sid) = (tale.now(), tale.history.sid("a"));
    tale.history.saw(at, op(0, 1), ClientId(2), How::Direct, Some(sid), 2);
    assert_eq!(tale.end(), Vec::<String>::new());
}

#[test]
fn i5_results_and_errors() {
    let target = Target {
        account: Account(0),
        room: None,
        key: PREFERENCES.to_owned(),
    };
    /// None: no answer.
    type Outcome = Option<Result<(), String>>;
    let check = |changes: &[(&str, Outcome)], value: Option<&str>, is_good: bool| {
        let mut tale = Tale::new();
        for (value, outcome) in changes {
            let at = tale.now();
            let value = (!value.is_empty()).then(|| (*value).to_owned());
            let change = tale.history.changed(at, &target, ClientId(0), value);
            if let Some(outcome) = outcome {
                tale.history.settled(at, &target, change, outcome.clone());
            }
        }
        let read: HashMap<String, String> = value
            .map(|value| (target.key.clone(), value.to_owned()))
            .into_iter()
            .collect();
        tale.history.finals[0] = Some(read);
        let found = tale.end();
        match is_good {
            true => assert_eq!(found, Vec::<String>::new(), "{changes:?} {value:?}"),
            false => broken(&found, "I5"),
        }
    };
    let (good, bad, open) = (Some(Ok(())), Some(Err("gone".to_owned())), None);
    check(&[("a", good.clone())], Some("a"), true);
    check(&[("a", good.clone())], None, false);
    check(&[("a", good.clone()), ("b", good.clone())], Some("a"), false);
    check(&[("a", bad.clone())], None, true);
    check(&[("a", bad.clone())], Some("a"), false);
    check(&[("a", good.clone()), ("b", bad.clone())], Some("a"), true);
    check(&[("a", good.clone()), ("b", bad.clone())], Some("b"), false);
    check(&[("a", good.clone()), ("b", open.clone())], Some("a"), true);
    check(&[("a", good.clone()), ("b", open.clone())], Some("b"), true);
    check(&[("a", open.clone()), ("b", good.clone())], Some("a"), false);
    check(&[("a", good.clone()), ("", good.clone())], None, true);
    check(&[("a", good.clone()), ("", good)], Some("a"), false);
    check(&[("a", open)], None, true);
}

#[test]
fn i6_without_an_ack_once_or_not_at_all() {
    // Twice.
    let mut tale = Tale::new();
    tale.sent(op(4, 1), 2);
    tale.stored(2, op(4, 1), "a");
    tale.stored(2, op(4, 1), "b");
    let found = tale.end();
    assert!(found.iter().any(|one| one.starts_with("I6")), "{found:?}");
    // With one party only.
    for account in [0, 1] {
        let mut tale = Tale::new();
        tale.sent(op(0, 1), 1);
        tale.stored(account, op(0, 1), "a");
        broken(&tale.end(), "I6");
    }
    // Delivered and not archived.
    let mut tale = Tale::new();
    tale.sent(op(0, 1), 1);
    tale.saw(2, op(0, 1), "a");
    broken(&tale.end(), "I6");
    // From nowhere.
    let mut tale = Tale::new();
    tale.stored(0, op(0, 1), "a");
    let found = tale.end();
    assert!(
        found.len() == 2 && found.iter().all(|one| one.starts_with("I6")),
        "{found:?}"
    );
}

#[test]
fn i7_an_error_for_what_was_delivered() {
    let mut tale = Tale::new();
    tale.good(op(0, 1), 1, "a");
    tale.failed(op(0, 1));
    broken(&tale.end(), "I7");
    let mut tale = Tale::new();
    tale.sent(op(0, 1), 1);
    tale.failed(op(0, 1));
    tale.stored(1, op(0, 1), "a");
    broken(&tale.end(), "I7");
}

#[test]
fn what_clients_found_at_once_is_told_too() {
    let mut tale = Tale::new();
    tale.history
        .violated("G1", "the count went back".to_owned(), Vec::new());
    broken(&tale.end(), "G1");
}

#[test]
fn the_story_tells_who_saw_what_when() {
    let mut tale = Tale::new();
    tale.sent(op(0, 1), 1);
    tale.history.fault(Duration::from_millis(2), "kill -9".to_owned());
    tale.acked(op(0, 1));
    for client in 0..6 {
        tale.read(client);
    }
    let found = check(&tale.history);
    let story = found[0].story.join("\n");
    for part in [
        "0000.001 s u0/r0 sent m-0-1 to u1 (first)",
        "0000.002 s -- kill -9",
        "m-0-1 was acked by a",
        "u1/r0 read of m-0-1 in its archive: nothing",
    ] {
        assert!(story.contains(part), "{part} in\n{story}");
    }
}
