//! Two accounts that are each other's contact, fed with random sequences: the rosters agree, the store holds what
//! memory holds, a client that follows the pushes has the roster, and presence goes to subscribers only.

use std::collections::{BTreeMap, VecDeque};

use minidom::Element;
use proptest::prelude::*;
use store::Row;

use super::*;
use crate::{NS_ROSTER, Subscription};

const JIDS: [&str; 2] = ["a@x", "b@y"];

#[derive(Clone, Copy, Debug)]
enum Act {
    Send(Change),
    Set,
    Remove,
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..4usize).prop_map(|n| Act::Send(Change::ALL[n])),
        1 => Just(Act::Set),
        1 => Just(Act::Remove),
    ]
}

/// What travels from one account to the other, in order.
#[derive(Clone, Copy, Debug)]
enum Travels {
    Stanza(Change),
    Available,
    Unavailable,
}

#[derive(Default)]
struct Side {
    roster: Roster,
    /// The store's tables, as the operations left them.
    rows: BTreeMap<Box<str>, Row>,
    version: Option<Row>,
    /// What a client knows that follows the pushes: JID to `<item/>`.
    client: BTreeMap<String, Element>,
    client_version: u64,
    /// The other side's presence is known here.
    sees: bool,
    /// A request was delivered and not answered.
    asked: bool,
}

#[derive(Default)]
struct Pair {
    sides: [Side; 2],
    /// What is on the way to each side.
    queues: [VecDeque<Travels>; 2],
}

impl Pair {
    fn act(&mut self, who: usize, act: Act) {
        let (me, peer) = (JIDS[who], JIDS[1 - who]);
        let limits = RosterLimits::default();
        let roster = &mut self.sides[who].roster;
        match act {
            Act::Send(change) => {
                let effects = roster.outbound(me, peer, change, &limits).expect("room");
                if matches!(change, Change::Subscribed | Change::Unsubscribed) {
                    self.sides[who].asked = false;
                }
                self.carry_out(who, effects, Some(change));
            }
            Act::Set => {
                let update = Update {
                    jid: peer.into(),
                    name: Some("n".into()),
                    groups: Box::default(),
                };
                let effects = roster.apply_set(me, update, &limits).expect("room");
                self.carry_out(who, effects, None);
            }
            Act::Remove => {
                if let Ok(effects) = roster.apply_remove(me, peer) {
                    self.sides[who].asked = false;
                    self.carry_out(who, effects, None);
                }
            }
        }
    }

    /// Delivers the next of what is on the way to `who`; false when there is nothing.
    fn deliver(&mut self, who: usize) -> bool {
        let (me, peer) = (JIDS[who], JIDS[1 - who]);
        match self.queues[who].pop_front() {
            None => return false,
            Some(Travels::Available) => self.sides[who].sees = true,
            Some(Travels::Unavailable) => self.sides[who].sees = false,
            Some(Travels::Stanza(change)) => {
                let limits = RosterLimits::default();
                let effects = self.sides[who].roster.inbound(me, peer, change, "<presence/>", &limits);
                match change {
                    Change::Subscribe if effects.deliver => self.sides[who].asked = true,
                    Change::Unsubscribe => self.sides[who].asked = false,
                    _ => {}
                }
                self.carry_out(who, effects, None);
            }
        }
        true
    }

    fn carry_out(&mut self, who: usize, effects: Effects, own: Option<Change>) {
        let peer = JIDS[1 - who];
        let side = &mut self.sides[who];
        for op in effects.ops {
            match op {
                Op::Put {
                    key: Some(key), row, ..
                } => {
                    side.rows.insert(key, row);
                }
                Op::Put { row, .. } => side.version = Some(row),
                Op::Delete { key: Some(key), .. } => {
                    side.rows.remove(&key);
                }
                other => panic!("no such operation here: {other:?}"),
            }
        }
        let loaded = Roster::load(side.rows.clone(), side.version.as_ref()).expect("own rows");
        assert_eq!(loaded, side.roster, "the store holds what memory holds");

        let road = &mut self.queues[1 - who];
        if effects.send_presence == Presence::Unavailable {
            road.push_back(Travels::Unavailable);
        }
        let routed = own.filter(|_| effects.route);
        road.extend(
            routed
                .iter()
                .chain(effects.generate)
                .map(|&change| Travels::Stanza(change)),
        );
        if effects.send_presence == Presence::Available {
            assert!(
                side.roster.state(peer).subscription.from(),
                "presence for subscribers only"
            );
            road.push_back(Travels::Available);
        }

        if let Some(push) = effects.push {
            let query: Element = std::str::from_utf8(&push).expect("UTF-8").parse().expect("well-formed");
            let ver: u64 = query.attr("ver").and_then(|v| v.parse().ok()).expect("a version");
            assert!(ver > side.client_version, "versions are unique and grow");
            side.client_version = ver;
            let item = query.get_child("item", NS_ROSTER).expect("an item").clone();
            let jid = item.attr("jid").expect("a JID").to_owned();
            match item.attr("subscription") {
                Some("remove") => side.client.remove(&jid),
                _ => side.client.insert(jid, item),
            };
        }
        let mut result = Vec::new();
        assert!(side.roster.result_since(None, &mut result));
        let query: Element = String::from_utf8(result).expect("UTF-8").parse().expect("well-formed");
        let items: Vec<&Element> = query.children().collect();
        assert_eq!(
            items,
            side.client.values().collect::<Vec<_>>(),
            "pushes add up to the roster"
        );
        assert_eq!(query.attr("ver"), Some(&*side.client_version.to_string()));
    }

    fn settle(&mut self) {
        while self.deliver(0) || self.deliver(1) {}
    }

    fn check_agreement(&self) {
        for who in [0, 1] {
            let (mine, theirs) = (
                self.sides[who].roster.state(JIDS[1 - who]),
                self.sides[1 - who].roster.state(JIDS[who]),
            );
            assert_eq!(
                mine.subscription.to(),
                theirs.subscription.from(),
                "{mine:?} {theirs:?}"
            );
            assert_eq!(mine.pending_out, theirs.pending_in, "{mine:?} {theirs:?}");
            assert_eq!(
                self.sides[who].sees,
                mine.subscription.to(),
                "presence follows subscription"
            );
            assert_eq!(
                self.sides[who].asked, mine.pending_in,
                "a waiting request has been shown"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Each act arrives and is answered before the next one: the rosters agree at all times.
    #[test]
    fn rosters_agree(acts in prop::collection::vec((0..2usize, acts()), 1..60)) {
        let mut pair = Pair::default();
        for (who, act) in acts {
            pair.act(who, act);
            pair.settle();
            pair.check_agreement();
        }
    }

    /// One side asks and changes its mind at any speed, the other approves what it is shown, and stanzas cross on
    /// the way. It ends as the asking side wanted. This is what an "unsubscribed" in answer to "unsubscribe" breaks.
    #[test]
    fn crossing_requests_end_well(steps in prop::collection::vec(0..6usize, 1..80)) {
        let mut pair = Pair::default();
        for step in steps {
            match step {
                0 => pair.act(0, Act::Send(Change::Subscribe)),
                1 => pair.act(0, Act::Send(Change::Unsubscribe)),
                2 => pair.act(0, Act::Remove),
                3 if pair.sides[1].asked => pair.act(1, Act::Send(Change::Subscribed)),
                4 => drop(pair.deliver(0)),
                _ => drop(pair.deliver(1)),
            }
        }
        pair.settle();
        if pair.sides[1].asked {
            pair.act(1, Act::Send(Change::Subscribed));
            pair.settle();
        }
        pair.check_agreement();
        prop_assert!(!pair.sides[0].roster.state(JIDS[1]).pending_out);
    }

    /// Both sides do anything while stanzas cross. The RFC's protocol can then end in disagreement, but one more
    /// request and approval each way always mends it.
    #[test]
    fn disagreement_can_be_mended(steps in prop::collection::vec((0..4usize, acts()), 1..80)) {
        let mut pair = Pair::default();
        for (step, act) in steps {
            match step {
                0 | 1 => pair.act(step, act),
                n => drop(pair.deliver(n - 2)),
            }
        }
        pair.settle();
        for who in [0, 1] {
            pair.act(who, Act::Send(Change::Subscribe));
            pair.settle();
            pair.act(1 - who, Act::Send(Change::Subscribed));
            pair.settle();
        }
        for who in [0, 1] {
            prop_assert_eq!(pair.sides[who].roster.state(JIDS[1 - who]).subscription, Subscription::Both);
        }
    }
}
