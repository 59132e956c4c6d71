//! What answers may cost that strangers at other servers ask for: a short request may have a long answer, or a question to
//! the store.
//!
//! Counted are pieces of text, by sender and by server, as rooms count deliveries (`rooms::charges`). Whose bucket is empty
//! gets `policy-violation`, to be tried again. Contacts ask for what they are shown, and accounts of this server wait for
//! their own answers: neither is counted.

use module::{Answer, Now};
use stanza::{ErrorType, JidRef, StanzaError};

use crate::Router;
use crate::rooms::{Allowance, Charges};

/// Bytes of a piece.
const PIECE: usize = 1_024;

/// A question to the store counts as so many pieces: a node gives a page of its items.
const QUESTION: usize = 50;

/// Of one sender. Lists of devices and pictures of a few people are no more than the burst.
const ALLOWANCE: Allowance = Allowance {
    per_second: 100,
    burst: 10_000,
};

#[derive(Default)]
pub(crate) struct Answers(Charges);

impl Router {
    /// The domain of somebody, if it is another server's. Components are the operator's own.
    pub(crate) fn server_of<'a>(&self, who: JidRef<'a>) -> Option<&'a str> {
        let domain = who.domain();
        let is_here = self.host(domain).is_some() || self.service(domain).is_some() || self.is_component(domain);
        (!is_here).then_some(domain)
    }

    /// Before somebody is answered who is no contact of who is asked.
    pub(crate) fn may_ask(&self, now: Now, from: JidRef<'_>) -> Result<(), StanzaError> {
        let Some(server) = self.server_of(from) else {
            return Ok(());
        };
        match self.answers.0.admits(now, from.bare_str(), Some(server), ALLOWANCE) {
            true => Ok(()),
            false => Err(StanzaError::policy_violation()
                .kind(ErrorType::Wait)
                .text("you or others of your server have asked for too much; wait a moment")),
        }
    }

    /// That is the answer; what comes of a question to the store is not known yet.
    pub(crate) fn charge_answer(&self, now: Now, from: JidRef<'_>, answer: &Answer) {
        let pieces = match answer {
            Answer::Result(payload) => 1 + payload.len() / PIECE,
            Answer::Error(_) => 1,
            _ => QUESTION,
        };
        self.charge_pieces(now, from, pieces);
    }

    /// Somebody else is asked for the answer.
    pub(crate) fn charge_question(&self, now: Now, from: JidRef<'_>) {
        self.charge_pieces(now, from, QUESTION);
    }

    fn charge_pieces(&self, now: Now, from: JidRef<'_>, pieces: usize) {
        if let Some(server) = self.server_of(from) {
            let charges = &self.answers.0;
            charges.charge(now, from.bare_str(), Some(server), pieces, ALLOWANCE);
        }
    }
}
