//! What an account and a contact are to each other (RFC 6121 §A.1), always seen from the account.
//!
//! The state is kept as its parts (subscription, two pending marks, pre-approval) because that is what the roster
//! shows and the store holds; the RFC's nine names are a view on it ([`State::index`]), used to address its tables.

/// Value of an item's `subscription` attribute (RFC 6121 §2.1.2.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Subscription {
    /// Neither sees the other's presence.
    #[default]
    None,
    /// The account sees the contact's presence.
    To,
    /// The contact sees the account's presence.
    From,
    /// Both see each other's presence.
    Both,
}

impl Subscription {
    /// The attribute's value on the wire and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Subscription::None => "none",
            Subscription::To => "to",
            Subscription::From => "from",
            Subscription::Both => "both",
        }
    }

    /// The reverse of [`as_str`](Self::as_str).
    pub fn parse(text: &str) -> Option<Subscription> {
        [
            Subscription::None,
            Subscription::To,
            Subscription::From,
            Subscription::Both,
        ]
        .into_iter()
        .find(|s| s.as_str() == text)
    }

    /// True for `to` and `both`: the account sees the contact's presence.
    pub const fn to(self) -> bool {
        matches!(self, Subscription::To | Subscription::Both)
    }

    /// True for `from` and `both`: the contact sees the account's presence.
    pub const fn from(self) -> bool {
        matches!(self, Subscription::From | Subscription::Both)
    }
}

/// Subscription state towards one contact. The default is "None", which also stands for an unknown entity (§A.1).
///
/// Three combinations are not states: pending out with `to`/`both`, pending in with `from`/`both`, and pending in
/// with pre-approval (a pre-approved request is never left pending). [`State::is_valid`] tells.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    pub subscription: Subscription,
    /// The account asked for a subscription and has no answer yet (`ask='subscribe'`, §2.1.2.2).
    pub pending_out: bool,
    /// The contact asked for a subscription and the account has not answered yet.
    pub pending_in: bool,
    /// The account approved a request of this contact in advance (`approved='true'`, §3.4). Kept until the account
    /// sends "unsubscribed" or removes the item, the second of the two ways §3.4.2 allows.
    pub approved: bool,
}

impl State {
    pub const NONE: State = State::new(Subscription::None, false, false);
    pub const NONE_PENDING_OUT: State = State::new(Subscription::None, true, false);
    pub const NONE_PENDING_IN: State = State::new(Subscription::None, false, true);
    pub const NONE_PENDING_OUT_IN: State = State::new(Subscription::None, true, true);
    pub const TO: State = State::new(Subscription::To, false, false);
    pub const TO_PENDING_IN: State = State::new(Subscription::To, false, true);
    pub const FROM: State = State::new(Subscription::From, false, false);
    pub const FROM_PENDING_OUT: State = State::new(Subscription::From, true, false);
    pub const BOTH: State = State::new(Subscription::Both, false, false);

    /// The nine states of §A.1 with the RFC's names, in the order of its tables.
    pub const NAMED: [(&'static str, State); 9] = [
        ("None", State::NONE),
        ("None + Pending Out", State::NONE_PENDING_OUT),
        ("None + Pending In", State::NONE_PENDING_IN),
        ("None + Pending Out+In", State::NONE_PENDING_OUT_IN),
        ("To", State::TO),
        ("To + Pending In", State::TO_PENDING_IN),
        ("From", State::FROM),
        ("From + Pending Out", State::FROM_PENDING_OUT),
        ("Both", State::BOTH),
    ];

    const fn new(subscription: Subscription, pending_out: bool, pending_in: bool) -> State {
        State {
            subscription,
            pending_out,
            pending_in,
            approved: false,
        }
    }

    /// Place in [`NAMED`](Self::NAMED). Pre-approval is no part of the nine states.
    pub const fn index(self) -> usize {
        match (self.subscription, self.pending_out, self.pending_in) {
            (Subscription::None, false, false) => 0,
            (Subscription::None, true, false) => 1,
            (Subscription::None, false, true) => 2,
            (Subscription::None, true, true) => 3,
            (Subscription::To, _, false) => 4,
            (Subscription::To, _, true) => 5,
            (Subscription::From, false, _) => 6,
            (Subscription::From, true, _) => 7,
            (Subscription::Both, _, _) => 8,
        }
    }

    /// The RFC's name of the state.
    pub const fn name(self) -> &'static str {
        State::NAMED[self.index()].0
    }

    /// False for the combinations that are no states; only a damaged store can hold one.
    pub const fn is_valid(self) -> bool {
        !(self.pending_out && self.subscription.to())
            && !(self.pending_in && (self.subscription.from() || self.approved))
    }

    /// True when the owner's roster shows something of this state: all but "None" and "None + Pending In".
    pub const fn shows(self) -> bool {
        !matches!(self.subscription, Subscription::None) || self.pending_out || self.approved
    }

    /// True when a roster item looks different in the two states. Pending in is no part of an item (§A.1).
    pub(crate) fn looks_different(self, other: State) -> bool {
        State {
            pending_in: false,
            ..self
        } != State {
            pending_in: false,
            ..other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nine_names_address_the_nine_states() {
        for (index, (name, state)) in State::NAMED.into_iter().enumerate() {
            assert_eq!((state.index(), state.name(), state.is_valid()), (index, name, true));
            assert_eq!(
                Subscription::parse(state.subscription.as_str()),
                Some(state.subscription)
            );
        }
        assert_eq!(Subscription::parse("remove"), None);
    }

    #[test]
    fn what_is_no_state() {
        let of = |subscription, pending_out, pending_in, approved| State {
            subscription,
            pending_out,
            pending_in,
            approved,
        };
        assert!(!of(Subscription::To, true, false, false).is_valid());
        assert!(!of(Subscription::Both, true, false, false).is_valid());
        assert!(!of(Subscription::From, false, true, false).is_valid());
        assert!(!of(Subscription::None, false, true, true).is_valid());
        assert!(of(Subscription::Both, false, false, true).is_valid());
    }

    #[test]
    fn what_shows() {
        for (name, state) in State::NAMED {
            assert_eq!(state.shows(), name != "None" && name != "None + Pending In", "{name}");
        }
        assert!(
            State {
                approved: true,
                ..State::NONE
            }
            .shows()
        );
    }
}
