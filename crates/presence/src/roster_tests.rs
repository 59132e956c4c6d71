//! What each change to a roster brings about.

use stanza::Condition;

use super::*;
use crate::Subscription;

const ME: &str = "juliet@example.com";
const ROMEO: &str = "romeo@example.net";

const LIMITS: RosterLimits = RosterLimits {
    items: 3,
    groups_per_item: 3,
    name_bytes: 10,
    group_bytes: 10,
    requests: 2,
    request_bytes: 40,
};

fn roster(state: State) -> Roster {
    let listed = state != State::NONE_PENDING_IN;
    let request = state.pending_in.then(|| "<presence/>".into());
    Roster {
        items: Box::new([Item {
            state,
            listed,
            request,
            ..Item::new(ROMEO)
        }]),
        version: 5,
    }
}

fn text(push: &Option<Box<[u8]>>) -> Option<&str> {
    push.as_deref().map(|bytes| std::str::from_utf8(bytes).expect("UTF-8"))
}

fn update(jid: &str) -> Update {
    Update {
        jid: jid.into(),
        name: None,
        groups: Box::default(),
    }
}

fn tables(effects: &Effects) -> Vec<(&'static str, &'static str)> {
    let of = |op: &Op| match op {
        Op::Put { table, .. } => ("put", table.name),
        Op::Delete { table, .. } => ("delete", table.name),
        other => panic!("no such operation here: {other:?}"),
    };
    effects.ops.iter().map(of).collect()
}

#[test]
fn an_empty_roster_costs_nothing() {
    // An empty slice has no block of memory.
    assert!(size_of::<Roster>() <= 24);
    assert!(Roster::new().is_empty());
}

#[test]
fn items_are_found_and_ordered() {
    let mut roster = Roster::new();
    let limits = RosterLimits::default();
    for n in [5, 3, 9, 1, 7] {
        roster.apply_set(ME, update(&format!("c{n}@x")), &limits).expect("room");
    }
    let jids: Vec<&str> = roster.iter().map(|item| &*item.jid).collect();
    assert_eq!(jids, ["c1@x", "c3@x", "c5@x", "c7@x", "c9@x"]);
    assert!(roster.get("c7@x").is_some() && roster.get("c8@x").is_none());
    assert_eq!((roster.len(), roster.version()), (5, 5));
}

#[test]
fn set_adds_and_replaces() {
    let mut roster = roster(State::BOTH);
    let name = Update {
        name: Some("R".into()),
        groups: ["g".into()].into(),
        ..update(ROMEO)
    };
    let effects = roster.apply_set(ME, name, &LIMITS).expect("accepted");
    assert_eq!(tables(&effects), [("put", "roster"), ("put", "roster_version")]);
    assert_eq!(
        text(&effects.push),
        Some(
            "<query xmlns='jabber:iq:roster' ver='6'><item jid='romeo@example.net' name='R' \
             subscription='both'><group>g</group></item></query>"
        )
    );
    // The same again is a push again (§2.3.2); without name and groups they go (§2.4.1).
    let effects = roster.apply_set(ME, update(ROMEO), &LIMITS).expect("accepted");
    assert_eq!(
        text(&effects.push),
        Some("<query xmlns='jabber:iq:roster' ver='7'><item jid='romeo@example.net' subscription='both'/></query>")
    );
    assert_eq!(
        Effects {
            ops: vec![],
            push: None,
            ..effects
        },
        Effects::default()
    );
}

#[test]
fn a_full_roster_takes_no_more() {
    let mut roster = Roster::new();
    for jid in ["a@x", "b@x", "c@x"] {
        roster.apply_set(ME, update(jid), &LIMITS).expect("room");
    }
    let before = roster.clone();
    let full = Err(Condition::ResourceConstraint);
    assert_eq!(
        roster.apply_set(ME, update("d@x"), &LIMITS).map_err(|e| e.condition),
        full
    );
    for change in [Change::Subscribe, Change::Subscribed] {
        let got = roster.outbound(ME, "d@x", change, &LIMITS).map_err(|e| e.condition);
        assert_eq!(got, full, "{change:?}");
    }
    assert_eq!(roster, before);
    // What adds nothing still works, and a request does not count until it is approved.
    roster.apply_set(ME, update("a@x"), &LIMITS).expect("an old contact");
    roster
        .outbound(ME, "a@x", Change::Subscribe, &LIMITS)
        .expect("an old contact");
    assert!(
        roster
            .inbound(ME, "d@x", Change::Subscribe, "<presence/>", &LIMITS)
            .deliver
    );
    assert_eq!(
        roster
            .outbound(ME, "d@x", Change::Subscribed, &LIMITS)
            .map_err(|e| e.condition),
        full
    );
    roster.apply_remove(ME, "a@x").expect("it is there");
    roster
        .outbound(ME, "d@x", Change::Subscribed, &LIMITS)
        .expect("room again");
    assert_eq!(roster.state("d@x"), State::FROM);
}

fn check_remove(state: State, presence: Presence, generate: &[Change]) {
    let mut roster = roster(state);
    roster.items[0].listed = true;
    let effects = roster.apply_remove(ME, ROMEO).expect("it is there");
    assert_eq!(
        tables(&effects),
        [("delete", "roster"), ("put", "roster_version")],
        "{state:?}"
    );
    assert_eq!(
        (effects.send_presence, effects.generate),
        (presence, generate),
        "{state:?}"
    );
    assert!(!effects.route && !effects.deliver && !effects.dropped);
    assert_eq!(
        text(&effects.push),
        Some("<query xmlns='jabber:iq:roster' ver='6'><item jid='romeo@example.net' subscription='remove'/></query>")
    );
    assert!(roster.is_empty());
    let again = roster.apply_remove(ME, ROMEO).map_err(|e| e.condition);
    assert_eq!(again, Err(Condition::ItemNotFound));
}

#[test]
fn removal_ends_what_there_was() {
    use Change::{Unsubscribe, Unsubscribed};
    use Presence::{Nothing, Unavailable};
    check_remove(State::NONE, Nothing, &[]);
    check_remove(
        State {
            approved: true,
            ..State::NONE
        },
        Nothing,
        &[],
    );
    check_remove(State::NONE_PENDING_OUT, Nothing, &[Unsubscribe]);
    check_remove(State::NONE_PENDING_IN, Nothing, &[Unsubscribed]);
    check_remove(State::NONE_PENDING_OUT_IN, Nothing, &[Unsubscribe, Unsubscribed]);
    check_remove(State::TO, Nothing, &[Unsubscribe]);
    check_remove(State::TO_PENDING_IN, Nothing, &[Unsubscribe, Unsubscribed]);
    check_remove(State::FROM, Unavailable, &[Unsubscribed]);
    check_remove(State::FROM_PENDING_OUT, Unavailable, &[Unsubscribe, Unsubscribed]);
    check_remove(State::BOTH, Unavailable, &[Unsubscribe, Unsubscribed]);
}

#[test]
fn a_request_is_no_item() {
    let mut roster = Roster::new();
    let effects = roster.inbound(ME, ROMEO, Change::Subscribe, "<presence>hi</presence>", &LIMITS);
    assert_eq!(tables(&effects), [("put", "roster")]);
    assert_eq!(
        (effects.deliver, text(&effects.push), roster.version()),
        (true, None, 0)
    );
    let mut out = Vec::new();
    assert!(roster.result_since(Some(""), &mut out));
    assert_eq!(
        String::from_utf8_lossy(&out),
        "<query xmlns='jabber:iq:roster' ver='0'></query>"
    );
    assert_eq!(
        roster.apply_remove(ME, ROMEO).map_err(|e| e.condition),
        Err(Condition::ItemNotFound)
    );
    // The first request is the one that is kept (§3.1.3 rule 4); a second changes nothing.
    let again = roster.inbound(ME, ROMEO, Change::Subscribe, "<presence>2</presence>", &LIMITS);
    assert_eq!(again, Effects::default());
    assert_eq!(
        roster.requests().next().and_then(|i| i.request.as_deref()),
        Some("<presence>hi</presence>")
    );

    // Listing the contact shows it and keeps the request.
    let mut listed = roster.clone();
    let effects = listed.apply_set(ME, update(ROMEO), &LIMITS).expect("room");
    assert!(effects.push.is_some() && listed.get(ROMEO).is_some_and(|i| i.visible() && i.request.is_some()));
    // Then denial leaves the item, and only the item.
    let effects = listed
        .outbound(ME, ROMEO, Change::Unsubscribed, &LIMITS)
        .expect("accepted");
    assert!(effects.route && effects.push.is_none() && effects.send_presence == Presence::Nothing);
    assert_eq!(
        listed.get(ROMEO),
        Some(&Item {
            listed: true,
            ..Item::new(ROMEO)
        })
    );

    // Denied or withdrawn, nothing of it is left.
    for out in [true, false] {
        let mut roster = roster.clone();
        let effects = match out {
            true => roster
                .outbound(ME, ROMEO, Change::Unsubscribed, &LIMITS)
                .expect("accepted"),
            false => roster.inbound(ME, ROMEO, Change::Unsubscribe, "", &LIMITS),
        };
        assert_eq!((effects.route, effects.deliver), (out, !out));
        assert_eq!(
            (tables(&effects), text(&effects.push)),
            (vec![("delete", "roster")], None)
        );
        assert_eq!((effects.send_presence, effects.generate), (Presence::Nothing, &[][..]));
        assert_eq!((roster.len(), roster.version()), (0, 0));
    }

    // Approved, it is an item.
    let effects = roster.outbound(ME, ROMEO, Change::Subscribed, &LIMITS).expect("room");
    assert!(effects.route && effects.send_presence == Presence::Available);
    assert_eq!(
        text(&effects.push),
        Some("<query xmlns='jabber:iq:roster' ver='1'><item jid='romeo@example.net' subscription='from'/></query>")
    );
    assert_eq!(
        roster.get(ROMEO).map(|i| (i.visible(), i.request.is_some())),
        Some((true, false))
    );
}

#[test]
fn requests_are_limited() {
    let mut roster = Roster::new();
    let long = "x".repeat(LIMITS.request_bytes + 1);
    assert!(roster.inbound(ME, "a@x", Change::Subscribe, &long, &LIMITS).deliver);
    assert_eq!(
        roster.get("a@x").map(|i| (i.state.pending_in, i.request.is_none())),
        Some((true, true))
    );
    assert!(roster.inbound(ME, "b@x", Change::Subscribe, "", &LIMITS).deliver);
    let before = roster.clone();
    let effects = roster.inbound(ME, "c@x", Change::Subscribe, "", &LIMITS);
    assert_eq!(
        effects,
        Effects {
            dropped: true,
            ..Effects::default()
        }
    );
    assert_eq!(roster, before);
    // A contact in the roster is none of the strangers the limit is for.
    roster.apply_set(ME, update("c@x"), &LIMITS).expect("room");
    assert!(roster.inbound(ME, "c@x", Change::Subscribe, "", &LIMITS).deliver);
}

#[test]
fn strangers_change_nothing() {
    for change in [Change::Subscribed, Change::Unsubscribe, Change::Unsubscribed] {
        let mut roster = Roster::new();
        assert_eq!(
            roster.inbound(ME, ROMEO, change, "", &LIMITS),
            Effects::default(),
            "{change:?}"
        );
        assert_eq!(roster, Roster::new());
    }
    // The account's own "unsubscribe" goes out all the same (table 3), without an item for it.
    let mut roster = Roster::new();
    let effects = roster
        .outbound(ME, ROMEO, Change::Unsubscribe, &LIMITS)
        .expect("accepted");
    assert_eq!(
        (effects, roster),
        (
            Effects {
                route: true,
                ..Effects::default()
            },
            Roster::new()
        )
    );
}

#[test]
fn the_account_is_no_contact_of_itself() {
    for change in Change::ALL {
        let mut roster = Roster::new();
        assert_eq!(roster.outbound(ME, ME, change, &LIMITS), Ok(Effects::default()));
        assert_eq!(roster.inbound(ME, ME, change, "", &LIMITS), Effects::default());
        assert!(roster.is_empty());
    }
}

#[test]
fn pre_approval() {
    let mut roster = Roster::new();
    let effects = roster.outbound(ME, ROMEO, Change::Subscribed, &LIMITS).expect("room");
    assert!(!effects.route && effects.send_presence == Presence::Nothing);
    assert_eq!(
        text(&effects.push),
        Some(
            "<query xmlns='jabber:iq:roster' ver='1'><item jid='romeo@example.net' subscription='none' \
             approved='true'/></query>"
        )
    );
    let effects = roster.inbound(ME, ROMEO, Change::Subscribe, "<presence/>", &LIMITS);
    assert_eq!((effects.deliver, effects.generate), (false, &[Change::Subscribed][..]));
    assert_eq!(effects.send_presence, Presence::Available);
    assert!(text(&effects.push).is_some_and(|push| push.contains("subscription='from' approved='true'")));
    assert_eq!(roster.get(ROMEO).map(|i| i.request.is_none()), Some(true));
}

/// The whole of Appendix A through the roster: same states, and a push exactly where a client sees a change.
#[test]
fn tables_through_the_roster() {
    for (name, state) in State::NAMED {
        for change in Change::ALL {
            let mut roster_out = roster(state);
            let effects = roster_out.outbound(ME, ROMEO, change, &LIMITS).expect("room");
            let what = outbound(state, change);
            assert_eq!(roster_out.state(ROMEO), what.state, "{name} {change:?}");
            assert_eq!((effects.route, effects.send_presence), (what.route, what.send_presence));
            assert_eq!(
                (effects.push.is_some(), effects.ops.is_empty()),
                (what.push, what.state == state)
            );
            assert_eq!(roster_out.version(), 5 + u64::from(what.push));

            let mut roster_in = roster(state);
            let effects = roster_in.inbound(ME, ROMEO, change, "<presence/>", &LIMITS);
            let what = inbound(state, change);
            assert_eq!(roster_in.state(ROMEO), what.state, "{name} {change:?}");
            assert_eq!(
                (effects.deliver, effects.send_presence),
                (what.deliver, what.send_presence)
            );
            assert_eq!(
                (effects.push.is_some(), effects.ops.is_empty()),
                (what.push, what.state == state)
            );
        }
    }
}

#[test]
fn versions() {
    let mut roster = Roster::new();
    roster.apply_set(ME, update(ROMEO), &LIMITS).expect("room");
    for (ver, full) in [
        (None, true),
        (Some(""), true),
        (Some("0"), true),
        (Some("1"), false),
        (Some("01"), true),
        (Some("+1"), true),
        (Some("2"), true),
    ] {
        let mut out = Vec::new();
        assert_eq!(
            (roster.result_since(ver, &mut out), !out.is_empty()),
            (full, full),
            "{ver:?}"
        );
        if full {
            assert_eq!(
                String::from_utf8_lossy(&out),
                "<query xmlns='jabber:iq:roster' ver='1'>\
                 <item jid='romeo@example.net' subscription='none'/></query>"
            );
        }
    }
}

#[test]
fn views() {
    let items = State::NAMED.into_iter().enumerate();
    let items = items.map(|(n, (_, state))| Item {
        state,
        listed: true,
        ..Item::new(&format!("{n}@x"))
    });
    let roster = Roster {
        items: items.collect(),
        version: 0,
    };
    let check = |got: Vec<State>, want: &[State]| assert_eq!(got, want);
    let states = |items: Vec<&Item>| items.into_iter().map(|item| item.state).collect();
    check(
        states(roster.subscribers().collect()),
        &[State::FROM, State::FROM_PENDING_OUT, State::BOTH],
    );
    check(
        states(roster.subscriptions().collect()),
        &[State::TO, State::TO_PENDING_IN, State::BOTH],
    );
    check(
        states(roster.requests().collect()),
        &[State::NONE_PENDING_IN, State::NONE_PENDING_OUT_IN, State::TO_PENDING_IN],
    );
    check(
        states(roster.unanswered().collect()),
        &[
            State::NONE_PENDING_OUT,
            State::NONE_PENDING_OUT_IN,
            State::FROM_PENDING_OUT,
        ],
    );
}

#[test]
fn rows_load_in_any_order() {
    let item = |jid| Item {
        state: State::BOTH,
        listed: true,
        ..Item::new(jid)
    };
    let rows = ["c@x", "a@x", "b@x"].map(|jid| (jid, item(jid).to_row()));
    let roster = Roster::load(rows.clone(), Some(&store::row![7])).expect("good rows");
    assert_eq!(
        roster.iter().map(|i| &*i.jid).collect::<Vec<_>>(),
        ["a@x", "b@x", "c@x"]
    );
    assert_eq!(
        (roster.version(), roster.state("b@x").subscription),
        (7, Subscription::Both)
    );
    let mut rows = rows;
    rows[1].1[1] = store::Value::Null;
    let error = Roster::load(rows, None).expect_err("a bad row");
    assert_eq!(
        error.to_string(),
        "stored roster item a@x: bad value in column subscription"
    );
}

#[test]
fn who_comes_with_an_invitation_is_welcome() {
    let check = |before: State, after: State, generate: &[Change]| {
        let mut roster = roster(before);
        let effects = roster.welcome(ME, ROMEO, &LIMITS).expect("room");
        assert_eq!(roster.state(ROMEO), after, "{before:?}");
        assert!(after.is_valid());
        assert_eq!(effects.generate, generate, "{before:?}");
        assert_eq!(effects.send_presence, Presence::Available);
        assert!(!effects.deliver && !effects.route);
        assert_eq!(tables(&effects), [("put", "roster"), ("put", "roster_version")]);
        let item = roster.get(ROMEO).expect("an item");
        assert!(item.visible() && item.request.is_none() && item.name.is_none());
    };
    use Change::{Subscribe, Subscribed};
    check(State::NONE, State::FROM_PENDING_OUT, &[Subscribed, Subscribe]);
    check(
        State::NONE_PENDING_IN,
        State::FROM_PENDING_OUT,
        &[Subscribed, Subscribe],
    );
    check(State::NONE_PENDING_OUT, State::FROM_PENDING_OUT, &[Subscribed]);
    check(State::TO, State::BOTH, &[Subscribed]);
    check(State::TO_PENDING_IN, State::BOTH, &[Subscribed]);

    let mut full = roster(State::NONE);
    let limits = RosterLimits { items: 1, ..LIMITS };
    let refused = full.welcome(ME, "other@example.net", &limits).expect_err("no room");
    assert_eq!(refused.condition, Condition::ResourceConstraint);
}

#[test]
fn friends_are_made_once() {
    for (_, before) in State::NAMED {
        let mut roster = roster(before);
        let effects = roster.befriend(ME, ROMEO, &LIMITS).expect("room");
        assert_eq!(roster.state(ROMEO), State::BOTH);
        assert_eq!(effects.push.is_some(), before != State::BOTH, "{before:?}");
        let is_new = !before.subscription.from();
        assert_eq!(effects.send_presence == Presence::Available, is_new, "{before:?}");
        assert!(effects.generate.is_empty());
        let again = roster.befriend(ME, ROMEO, &LIMITS).expect("room");
        assert_eq!(again, Effects::default());
    }
}
