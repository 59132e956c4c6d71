//! The tables of RFC 6121 Appendix A: what a subscription stanza does to a state, on its way out and on its way in.
//!
//! The tables stand here as data, one row per table of the RFC and one cell per state in the RFC's order, so that
//! they can be laid beside the text. What the tables leave to the sections before them (pre-approval §3.4, presence
//! that goes with a change §3.1.5, §3.2.2, §3.3.3) is derived from the change of state in the two functions.

use crate::State;

/// The four subscription-related presence types (RFC 6121 §3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Change {
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
}

impl Change {
    pub const ALL: [Change; 4] = [
        Change::Subscribe,
        Change::Unsubscribe,
        Change::Subscribed,
        Change::Unsubscribed,
    ];

    /// The presence stanza's `type`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Change::Subscribe => "subscribe",
            Change::Subscribed => "subscribed",
            Change::Unsubscribe => "unsubscribe",
            Change::Unsubscribed => "unsubscribed",
        }
    }

    /// The reverse of [`as_str`](Self::as_str); `None` for every other presence type.
    pub fn parse(presence_type: &str) -> Option<Change> {
        Change::ALL.into_iter().find(|c| c.as_str() == presence_type)
    }
}

/// Presence that goes from the account's available resources (full JIDs) to the contact along with a change.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Presence {
    #[default]
    Nothing,
    /// Current presence of each available resource, sent after the subscription stanza (§3.1.5).
    Available,
    /// `unavailable` from each available resource, sent before the subscription stanza (§3.2.2, §3.3.3).
    Unavailable,
}

/// What a stanza of the account does at the account's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outbound {
    pub state: State,
    /// Route the stanza to the contact, stamped with the account's bare JID.
    pub route: bool,
    /// The item as the roster shows it changed.
    pub push: bool,
    pub send_presence: Presence,
}

/// What a stanza of the contact does at the account's side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inbound {
    pub state: State,
    /// Deliver the stanza to the account's resources, before any push (§3.1.6).
    pub deliver: bool,
    /// The item as the roster shows it changed.
    pub push: bool,
    /// Answer from the account's bare JID without asking the user.
    pub answer: Option<Change>,
    pub send_presence: Presence,
}

use State as S;

/// One cell: is the stanza passed on (routed or delivered), and the state after.
type Cell = (bool, State);

/// Tables 2 to 5 (§A.2): (route?, new state), in the order of [`State::NAMED`]. Pre-approval is not in the cells.
const OUTBOUND: [(Change, [Cell; 9]); 4] = [
    (
        Change::Subscribe,
        [
            (true, S::NONE_PENDING_OUT),
            (true, S::NONE_PENDING_OUT),
            (true, S::NONE_PENDING_OUT_IN),
            (true, S::NONE_PENDING_OUT_IN),
            (true, S::TO),
            (true, S::TO_PENDING_IN),
            (true, S::FROM_PENDING_OUT),
            (true, S::FROM_PENDING_OUT),
            (true, S::BOTH),
        ],
    ),
    (
        Change::Unsubscribe,
        [
            (true, S::NONE),
            (true, S::NONE),
            (true, S::NONE_PENDING_IN),
            (true, S::NONE_PENDING_IN),
            (true, S::NONE),
            (true, S::NONE_PENDING_IN),
            (true, S::FROM),
            (true, S::FROM),
            (true, S::FROM),
        ],
    ),
    (
        Change::Subscribed,
        [
            (false, S::NONE),
            (false, S::NONE_PENDING_OUT),
            (true, S::FROM),
            (true, S::FROM_PENDING_OUT),
            (false, S::TO),
            (true, S::BOTH),
            (false, S::FROM),
            (false, S::FROM_PENDING_OUT),
            (false, S::BOTH),
        ],
    ),
    (
        Change::Unsubscribed,
        [
            (false, S::NONE),
            (false, S::NONE_PENDING_OUT),
            (true, S::NONE),
            (true, S::NONE_PENDING_OUT),
            (false, S::TO),
            (true, S::TO),
            (true, S::NONE),
            (true, S::NONE_PENDING_OUT),
            (true, S::TO),
        ],
    ),
];

/// Tables 6 to 9 (§A.3): (deliver?, new state), in the order of [`State::NAMED`]. Answers are not in the cells.
const INBOUND: [(Change, [Cell; 9]); 4] = [
    (
        Change::Subscribe,
        [
            (true, S::NONE_PENDING_IN),
            (true, S::NONE_PENDING_OUT_IN),
            (false, S::NONE_PENDING_IN),
            (false, S::NONE_PENDING_OUT_IN),
            (true, S::TO_PENDING_IN),
            (false, S::TO_PENDING_IN),
            (false, S::FROM),
            (false, S::FROM_PENDING_OUT),
            (false, S::BOTH),
        ],
    ),
    (
        Change::Unsubscribe,
        [
            (false, S::NONE),
            (false, S::NONE_PENDING_OUT),
            (true, S::NONE),
            (true, S::NONE_PENDING_OUT),
            (false, S::TO),
            (true, S::TO),
            (true, S::NONE),
            (true, S::NONE_PENDING_OUT),
            (true, S::TO),
        ],
    ),
    (
        Change::Subscribed,
        [
            (false, S::NONE),
            (true, S::TO),
            (false, S::NONE_PENDING_IN),
            (true, S::TO_PENDING_IN),
            (false, S::TO),
            (false, S::TO_PENDING_IN),
            (false, S::FROM),
            (true, S::BOTH),
            (false, S::BOTH),
        ],
    ),
    (
        Change::Unsubscribed,
        [
            (false, S::NONE),
            (true, S::NONE),
            (false, S::NONE_PENDING_IN),
            (true, S::NONE_PENDING_IN),
            (true, S::NONE),
            (true, S::NONE_PENDING_IN),
            (false, S::FROM),
            (true, S::FROM),
            (true, S::FROM),
        ],
    ),
];

fn look_up(tables: &[(Change, [Cell; 9]); 4], change: Change, state: State) -> Cell {
    let place = match change {
        Change::Subscribe => 0,
        Change::Unsubscribe => 1,
        Change::Subscribed => 2,
        Change::Unsubscribed => 3,
    };
    let (passed_on, next) = tables[place].1[state.index()];
    (
        passed_on,
        State {
            approved: state.approved,
            ..next
        },
    )
}

/// A stanza the account sends to the contact (§A.2).
pub fn outbound(state: State, change: Change) -> Outbound {
    let (route, mut next) = look_up(&OUTBOUND, change, state);
    match change {
        // §3.4.2 rules 3 and 4: nothing to approve yet, so the approval is kept for the request to come.
        Change::Subscribed if !state.pending_in && !state.subscription.from() => next.approved = true,
        // §3.2.2 rule 2 and §3.4.2: "unsubscribed" also takes back a pre-approval.
        Change::Unsubscribed => next.approved = false,
        _ => {}
    }
    let before = state.subscription.from();
    let send_presence = match (before, next.subscription.from()) {
        (false, true) => Presence::Available,
        (true, false) => Presence::Unavailable,
        // Denying a request also comes here: §3.2.2 rule 3 asks for "unavailable" towards a contact that is still
        // subscribed; one that never was must not learn the account's resources from its denial.
        _ => Presence::Nothing,
    };
    Outbound {
        state: next,
        route,
        push: state.looks_different(next),
        send_presence,
    }
}

/// A stanza the contact sends to the account (§A.3).
pub fn inbound(state: State, change: Change) -> Inbound {
    let (mut deliver, mut next) = look_up(&INBOUND, change, state);
    let mut answer = None;
    let mut send_presence = Presence::Nothing;
    match change {
        // §A.3.1 [2]: the contact is subscribed already and has lost track of it. The answer is an approval, and
        // an approval is followed by current presence (§3.1.5).
        Change::Subscribe if state.subscription.from() => {
            answer = Some(Change::Subscribed);
            send_presence = Presence::Available;
        }
        // §A.3.1 [1] and §3.4.2: a pre-approved request is approved at once and never shown to the user.
        Change::Subscribe if state.approved => {
            (_, next) = look_up(&OUTBOUND, Change::Subscribed, next);
            deliver = false;
            answer = Some(Change::Subscribed);
            send_presence = Presence::Available;
        }
        // §A.3.2 [1].
        Change::Unsubscribe if state.pending_in || state.subscription.from() => {
            answer = Some(Change::Unsubscribed);
            // §3.3.3 step 3; as in `outbound`, not towards a contact whose request was still unanswered.
            if state.subscription.from() {
                send_presence = Presence::Unavailable;
            }
        }
        _ => {}
    }
    Inbound {
        state: next,
        deliver,
        push: state.looks_different(next),
        answer,
        send_presence,
    }
}

#[cfg(test)]
#[path = "subscription_tests.rs"]
mod tests;
