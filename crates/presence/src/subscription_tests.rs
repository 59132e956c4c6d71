//! The tables of Appendix A, cell by cell as the RFC prints them.

use super::*;

const SUBSCRIBE_OUT: &str = r#"
   |  "None"                  |  MUST [1] |  "None + Pending Out"     |
   |  "None + Pending Out"    |  MUST     |  no state change          |
   |  "None + Pending In"     |  MUST [1] |  "None + Pending Out+In"  |
   |  "None + Pending Out+In" |  MUST     |  no state change          |
   |  "To"                    |  MUST     |  no state change          |
   |  "To + Pending In"       |  MUST     |  no state change          |
   |  "From"                  |  MUST [1] |  "From + Pending Out"     |
   |  "From + Pending Out"    |  MUST     |  no state change          |
   |  "Both"                  |  MUST     |  no state change          |"#;
const UNSUBSCRIBE_OUT: &str = r#"
   |  "None"                  |  MUST    |  no state change          |
   |  "None + Pending Out"    |  MUST    |  "None"                   |
   |  "None + Pending In"     |  MUST    |  no state change          |
   |  "None + Pending Out+In" |  MUST    |  "None + Pending In"      |
   |  "To"                    |  MUST    |  "None"                   |
   |  "To + Pending In"       |  MUST    |  "None + Pending In"      |
   |  "From"                  |  MUST    |  no state change          |
   |  "From + Pending Out"    |  MUST    |  "From"                   |
   |  "Both"                  |  MUST    |  "From"                   |"#;
const SUBSCRIBED_OUT: &str = r#"
   |  "None"                  |  M.N.    |  pre-approval [1]         |
   |  "None + Pending Out"    |  M.N.    |  pre-approval [1]         |
   |  "None + Pending In"     |  MUST    |  "From"                   |
   |  "None + Pending Out+In" |  MUST    |  "From + Pending Out"     |
   |  "To"                    |  M.N.    |  pre-approval [1]         |
   |  "To + Pending In"       |  MUST    |  "Both"                   |
   |  "From"                  |  M.N.    |  no state change          |
   |  "From + Pending Out"    |  M.N.    |  no state change          |
   |  "Both"                  |  M.N.    |  no state change          |"#;
const UNSUBSCRIBED_OUT: &str = r#"
   |  "None"                  |  S.N.    |  no state change [1]      |
   |  "None + Pending Out"    |  S.N.    |  no state change [1]      |
   |  "None + Pending In"     |  MUST    |  "None"                   |
   |  "None + Pending Out+In" |  MUST    |  "None + Pending Out"     |
   |  "To"                    |  S.N.    |  no state change [1]      |
   |  "To + Pending In"       |  MUST    |  "To"                     |
   |  "From"                  |  MUST    |  "None"                   |
   |  "From + Pending Out"    |  MUST    |  "None + Pending Out"     |
   |  "Both"                  |  MUST    |  "To"                     |"#;
const SUBSCRIBE_IN: &str = r#"
   |  "None"                  |  MUST [1]  |  "None + Pending In"     |
   |  "None + Pending Out"    |  MUST      |  "None + Pending Out+In" |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  S.N.      |  no state change         |
   |  "To"                    |  MUST      |  "To + Pending In"       |
   |  "To + Pending In"       |  S.N.      |  no state change         |
   |  "From"                  |  S.N. [2]  |  no state change         |
   |  "From + Pending Out"    |  S.N. [2]  |  no state change         |
   |  "Both"                  |  S.N. [2]  |  no state change         |"#;
const UNSUBSCRIBE_IN: &str = r#"
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  S.N.      |  no state change         |
   |  "None + Pending In"     |  MUST [1]  |  "None"                  |
   |  "None + Pending Out+In" |  MUST [1]  |  "None + Pending Out"    |
   |  "To"                    |  S.N.      |  no state change         |
   |  "To + Pending In"       |  MUST [1]  |  "To"                    |
   |  "From"                  |  MUST [1]  |  "None"                  |
   |  "From + Pending Out"    |  MUST [1]  |  "None + Pending Out"    |
   |  "Both"                  |  MUST [1]  |  "To"                    |"#;
const SUBSCRIBED_IN: &str = r#"
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  MUST      |  "To"                    |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  MUST      |  "To + Pending In"       |
   |  "To"                    |  S.N.      |  no state change         |
   |  "To + Pending In"       |  S.N.      |  no state change         |
   |  "From"                  |  S.N.      |  no state change         |
   |  "From + Pending Out"    |  MUST      |  "Both"                  |
   |  "Both"                  |  S.N.      |  no state change         |"#;
const UNSUBSCRIBED_IN: &str = r#"
   |  "None"                  |  S.N.      |  no state change         |
   |  "None + Pending Out"    |  MUST      |  "None"                  |
   |  "None + Pending In"     |  S.N.      |  no state change         |
   |  "None + Pending Out+In" |  MUST      |  "None + Pending In"     |
   |  "To"                    |  MUST      |  "None"                  |
   |  "To + Pending In"       |  MUST      |  "None + Pending In"     |
   |  "From"                  |  S.N.      |  no state change         |
   |  "From + Pending Out"    |  MUST      |  "From"                  |
   |  "Both"                  |  MUST      |  "From"                  |"#;

/// A row of a table: state before, whether the stanza is passed on, its footnote if any, state after.
struct Case {
    name: String,
    before: State,
    passed_on: bool,
    note: Option<u8>,
    after: State,
    pre_approval: bool,
}

fn named(quoted: &str) -> State {
    let name = quoted.trim_matches('"');
    State::NAMED
        .into_iter()
        .find(|(n, _)| *n == name)
        .unwrap_or_else(|| panic!("no state {name}"))
        .1
}

fn cases(table: &str) -> Vec<Case> {
    let note = |cell: &str| cell.contains('[').then(|| if cell.contains("[1]") { 1 } else { 2 });
    let cases: Vec<Case> = table
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| {
            let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
            let before = named(cells[0]);
            Case {
                name: line.trim().to_owned(),
                before,
                passed_on: match cells[1].split(' ').next() {
                    Some("MUST") => true,
                    Some("M.N." | "S.N.") => false,
                    other => panic!("no rule {other:?}"),
                },
                note: note(cells[1]).or(note(cells[2])),
                after: if cells[2].starts_with('"') {
                    named(cells[2])
                } else {
                    before
                },
                pre_approval: cells[2].starts_with("pre-approval"),
            }
        })
        .collect();
    assert_eq!(cases.len(), 9);
    cases
}

fn check_outbound(change: Change, table: &str) {
    for case in cases(table) {
        let got = outbound(case.before, change);
        let after = State {
            approved: case.pre_approval,
            ..case.after
        };
        assert_eq!(
            (got.route, got.state),
            (case.passed_on, after),
            "{change:?} {}",
            case.name
        );
        // What the roster shows is all but pending in.
        let shown = |s: State| (s.subscription, s.pending_out, s.approved);
        assert_eq!(got.push, shown(case.before) != shown(after), "{change:?} {}", case.name);
        let presence = match (case.before.subscription.from(), after.subscription.from()) {
            (false, true) => Presence::Available,
            (true, false) => Presence::Unavailable,
            _ => Presence::Nothing,
        };
        assert_eq!(got.send_presence, presence, "{change:?} {}", case.name);
    }
}

fn check_inbound(change: Change, table: &str) {
    for case in cases(table) {
        let got = inbound(case.before, change);
        assert_eq!(
            (got.deliver, got.state),
            (case.passed_on, case.after),
            "{change:?} {}",
            case.name
        );
        let answer = match (change, case.note) {
            (Change::Subscribe, Some(2)) => Some(Change::Subscribed),
            (Change::Unsubscribe, Some(1)) => Some(Change::Unsubscribed),
            _ => None,
        };
        assert_eq!(got.answer, answer, "{change:?} {}", case.name);
        let shown = |s: State| (s.subscription, s.pending_out, s.approved);
        assert_eq!(
            got.push,
            shown(case.before) != shown(case.after),
            "{change:?} {}",
            case.name
        );
        let presence = match (change, case.before.subscription.from()) {
            (Change::Subscribe, true) => Presence::Available,
            (Change::Unsubscribe, true) => Presence::Unavailable,
            _ => Presence::Nothing,
        };
        assert_eq!(got.send_presence, presence, "{change:?} {}", case.name);
    }
}

#[test]
fn table_2_outbound_subscribe() {
    check_outbound(Change::Subscribe, SUBSCRIBE_OUT);
}
#[test]
fn table_3_outbound_unsubscribe() {
    check_outbound(Change::Unsubscribe, UNSUBSCRIBE_OUT);
}
#[test]
fn table_4_outbound_subscribed() {
    check_outbound(Change::Subscribed, SUBSCRIBED_OUT);
}
#[test]
fn table_5_outbound_unsubscribed() {
    check_outbound(Change::Unsubscribed, UNSUBSCRIBED_OUT);
}
#[test]
fn table_6_inbound_subscribe() {
    check_inbound(Change::Subscribe, SUBSCRIBE_IN);
}
#[test]
fn table_7_inbound_unsubscribe() {
    check_inbound(Change::Unsubscribe, UNSUBSCRIBE_IN);
}
#[test]
fn table_8_inbound_subscribed() {
    check_inbound(Change::Subscribed, SUBSCRIBED_IN);
}
#[test]
fn table_9_inbound_unsubscribed() {
    check_inbound(Change::Unsubscribed, UNSUBSCRIBED_IN);
}

#[test]
fn change_names() {
    for change in Change::ALL {
        assert_eq!(Change::parse(change.as_str()), Some(change));
        // `look_up` addresses the tables by this order.
        assert!(
            OUTBOUND
                .iter()
                .zip(&INBOUND)
                .zip(Change::ALL)
                .all(|((o, i), c)| o.0 == c && i.0 == c)
        );
    }
    assert_eq!(Change::parse("probe"), None);
}

fn approved(state: State) -> State {
    State {
        approved: true,
        ..state
    }
}

/// §3.4.2 and footnotes [1] of tables 5 and 6.
#[test]
fn pre_approval_is_used_kept_and_taken_back() {
    for (before, after) in [
        (State::NONE, State::FROM),
        (State::NONE_PENDING_OUT, State::FROM_PENDING_OUT),
        (State::TO, State::BOTH),
    ] {
        // Once noted, noting it again changes nothing.
        let again = outbound(approved(before), Change::Subscribed);
        assert_eq!(
            (again.state, again.route, again.push),
            (approved(before), false, false),
            "{before:?}"
        );
        // The request is answered, not shown.
        let request = inbound(approved(before), Change::Subscribe);
        assert_eq!(
            request,
            Inbound {
                state: approved(after),
                deliver: false,
                push: true,
                answer: Some(Change::Subscribed),
                send_presence: Presence::Available,
            },
            "{before:?}"
        );
        // "unsubscribed" takes it back: silently for the contact before the request, routed after it.
        let cancel = outbound(approved(before), Change::Unsubscribed);
        assert_eq!(
            (cancel.state, cancel.route, cancel.push, cancel.send_presence),
            (before, false, true, Presence::Nothing),
            "{before:?}"
        );
        let cancel = outbound(approved(after), Change::Unsubscribed);
        assert_eq!(
            (cancel.state, cancel.route, cancel.push, cancel.send_presence),
            (before, true, true, Presence::Unavailable),
            "{after:?}"
        );
        // The contact leaving does not take it back.
        assert_eq!(
            inbound(approved(after), Change::Unsubscribe).state,
            approved(before),
            "{after:?}"
        );
    }
}

/// Every stanza in every valid state leads to a valid state.
#[test]
fn states_stay_valid() {
    for (_, state) in State::NAMED {
        for state in [state, approved(state)] {
            for change in Change::ALL {
                if state.is_valid() {
                    assert!(outbound(state, change).state.is_valid(), "{state:?} {change:?}");
                    assert!(inbound(state, change).state.is_valid(), "{state:?} {change:?}");
                }
            }
        }
    }
}
