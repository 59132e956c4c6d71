//! Messages and subscription requests of strangers (attacks.md row 32): how many an account takes in an hour, how many one
//! of them may send to all accounts, and how many all of one server.
//!
//! A stranger is whoever has an account elsewhere, is no contact, and was never written to: so an answer is never a
//! stranger's, and people of one domain are none to each other. Whom an account has written to is remembered
//! ([`ACQUAINTED`]). Nothing is lost silently: who sends too much is told so.
//!
//! What came in an hour is counted here and not at the owners, as these leave the memory when nobody is there: and
//! that is when nobody sees what piles up.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;
use module::{Host, Now, Strangers};
use stanza::{ErrorType, IqType, JidRef, Kind, MessageType, PresenceType, Stanza, StanzaError};
use store::{Batch, Column, Shape, Table, row};

use crate::account::Account;
use crate::directed::Directed;
use crate::{Router, Turn};

/// Whom accounts have written to that are no contacts: by their bare JIDs, since when in Unix seconds.
pub(crate) static ACQUAINTED: Table = Table {
    name: "acquainted",
    shape: Shape::Map,
    columns: &[Column::int("since")],
};

/// Of one account; then the one that is known longest is forgotten.
const ACQUAINTANCES: usize = 1_000;

/// Counts that are kept of an hour. With more strangers than that only what comes from all of them together is limited.
const COUNTED: usize = 262_144;

/// All strangers of one server may send to all accounts so many times as much as one of them.
const OF_SERVER: u32 = 10;

/// Seconds of the time in which is counted.
const HOUR: i64 = 3_600;

/// What came in the current hour, by hashes of what is counted: two that meet share a limit, and hardly ever do.
#[derive(Default)]
pub(crate) struct Counts {
    hasher: RandomState,
    hour: Mutex<Hour>,
    turned_away: AtomicU64,
}

#[derive(Default)]
struct Hour {
    number: i64,
    counts: HashMap<u64, u32, RandomState>,
}

impl Counts {
    /// One more of each, where that is within each limit; else none of them counts.
    fn take(&self, now: Now, what: &[((&str, &str), u32)]) -> bool {
        let mut hour = self.hour.lock().unwrap_or_else(PoisonError::into_inner);
        let number = now.seconds().div_euclid(HOUR);
        if hour.number != number {
            // The room is given back as well.
            *hour = Hour {
                number,
                ..Hour::default()
            };
        }
        let is_within = |((kind, whose), limit): &((&str, &str), u32)| {
            let count = hour.counts.get(&self.hasher.hash_one((kind, whose)));
            count.copied().unwrap_or_default() < *limit
        };
        if !what.iter().all(is_within) {
            return false;
        }
        for ((kind, whose), _) in what {
            let key = self.hasher.hash_one((kind, whose));
            if hour.counts.len() < COUNTED || hour.counts.contains_key(&key) {
                *hour.counts.entry(key).or_default() += 1;
            }
        }
        true
    }
}

impl Counts {
    fn note(&self, is_turned_away: bool) {
        self.turned_away.fetch_add(is_turned_away.into(), Ordering::Relaxed);
    }
}

impl Router {
    /// The policy for strangers of this account, if they are not simply let in.
    fn spares(&self, domain: &str) -> Option<&Host> {
        let host = self.host_of_accounts(domain)?;
        (host.privacy.strangers != Strangers::Allow).then_some(host)
    }

    fn host_of_accounts(&self, domain: &str) -> Option<&Host> {
        let host = self.host(domain)?;
        host.guests.is_none().then_some(&**host)
    }

    fn is_stranger(&self, account: &Account, other: JidRef<'_>) -> bool {
        other.domain() != account.jid.domain()
            // A server of ours, and what it offers.
            && !(other.local().is_none() && (self.host(other.domain()).is_some() || self.service(other.domain()).is_some()))
            && !account.knows(other)
    }

    /// At the recipient's owner. True: it ends here, and who sent it was told what he is to know.
    pub(crate) fn turns_stranger_away(
        &self,
        now: Now,
        account: &Account,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> bool {
        // Nearly all are of the same house.
        if from.domain() == account.jid.domain() {
            return false;
        }
        let Some(host) = self.host_of_accounts(account.jid.domain()) else {
            return false;
        };
        // Whom nobody wants is not wanted by who takes strangers either.
        let is_unwanted = self.is_unwanted(from);
        if (host.privacy.strangers == Strangers::Allow && !is_unwanted) || !self.is_stranger(account, from) {
            return false;
        }
        let is_refused = host.privacy.strangers == Strangers::Refuse || is_unwanted;
        let is_turned_away = match stanza.kind() {
            // It answers something; and a request is looked at where it is known what it shows for itself.
            Kind::Message(MessageType::Error) | Kind::Presence(PresenceType::Error | PresenceType::Subscribe) => false,
            Kind::Message(_) | Kind::Presence(_) if is_refused => {
                self.no_such_user(stanza, from, to, turn);
                true
            }
            Kind::Message(_) => {
                let both = format!("{}\n{}", account.jid.as_str(), from.bare_str());
                let in_all = host.privacy.stranger_messages_in_all;
                let is_within = self.strangers.take(
                    now,
                    &[
                        (("message", &both), host.privacy.stranger_messages),
                        (("messages", account.jid.as_str()), in_all),
                        (("messages of", from.bare_str()), in_all),
                        (("messages from", from.domain()), in_all.saturating_mul(OF_SERVER)),
                    ],
                );
                if !is_within {
                    self.bounce(stanza, from, to, &too_many("messages"), turn);
                }
                !is_within
            }
            Kind::Iq(IqType::Get | IqType::Set) if is_unwanted => {
                self.no_such_user(stanza, from, to, turn);
                true
            }
            Kind::Presence(_) | Kind::Iq(_) => false,
        };
        self.strangers.note(is_turned_away);
        is_turned_away
    }

    /// Messages and requests of strangers that no account took in the life of this process.
    pub fn count_turned_away(&self) -> u64 {
        self.strangers.turned_away.load(Ordering::Relaxed)
    }

    /// A request to subscribe, which shows no invitation that holds. Or its sender is to be told this; in vain, if that
    /// is None.
    pub(crate) fn takes_request(
        &self,
        now: Now,
        account: &Account,
        from: JidRef<'_>,
    ) -> Result<(), Option<StanzaError>> {
        let Some(host) = self.host_of_accounts(account.jid.domain()) else {
            return Ok(());
        };
        if !self.is_stranger(account, from) {
            return Ok(());
        }
        let requests = host.privacy.stranger_requests;
        let what = [
            (("requests", account.jid.as_str()), requests),
            (("requests of", from.bare_str()), requests),
            (("requests from", from.domain()), requests.saturating_mul(OF_SERVER)),
        ];
        let answer = match host.privacy.strangers {
            Strangers::Refuse => Err(None),
            _ if self.is_unwanted(from) => Err(None),
            Strangers::Allow => Ok(()),
            _ if self.strangers.take(now, &what) => Ok(()),
            _ => Err(Some(too_many("requests"))),
        };
        self.strangers.note(answer.is_err());
        answer
    }

    /// The account writes to somebody, who is no stranger from now on.
    pub(crate) fn meets(&self, now: Now, account: &mut Account, other: JidRef<'_>) {
        if other.domain() == account.jid.domain() || self.spares(account.jid.domain()).is_none() {
            return;
        }
        if !self.is_stranger(account, other) {
            return;
        }
        let owner = account.jid.as_str().to_owned();
        let acquainted = &mut account.rare_mut().acquainted;
        let (who, mut batch) = (other.bare_str(), Batch::new());
        if acquainted.len() >= ACQUAINTANCES {
            let oldest = acquainted.iter().min_by_key(|(_, since)| **since);
            if let Some(oldest) = oldest.map(|(who, _)| who.clone()) {
                acquainted.remove(&oldest);
                batch = batch.delete(&ACQUAINTED, &owner, &*oldest);
            }
        }
        acquainted.insert(who.into(), now.seconds());
        // Of a guest nothing is kept, wherever it would stand.
        if self.is_for_guests(other.domain()) && batch.is_empty() {
            return;
        }
        if !self.is_for_guests(other.domain()) {
            batch = batch.put(&ACQUAINTED, &owner, who, row![now.seconds()]);
        }
        // One that is lost in a crash is written with the next message: nobody waits for it.
        self.write(&owner, batch, Vec::new(), Box::new(|_| Vec::new()), None);
    }
}

impl Account {
    /// In its roster, or asked there by itself; written to; or shown its presence, as a room is.
    fn knows(&self, other: JidRef<'_>) -> bool {
        let bare = other.bare_str();
        let contact = self.roster.get(bare);
        if contact.is_some_and(|item| item.visible() || item.state.approved) {
            return true;
        }
        if self
            .rare
            .as_ref()
            .is_some_and(|rare| rare.acquainted.contains_key(bare))
        {
            return true;
        }
        let directed = self
            .sessions
            .iter()
            .filter_map(|session| session.directed())
            .flat_map(Directed::iter);
        let mut directed = directed.map(|jid| jid.split_once('/').map_or(jid, |(bare, _)| bare));
        directed.any(|shown| shown == bare)
    }
}

fn too_many(what: &str) -> StanzaError {
    let text = format!("too many {what} of others than contacts have come here; try again later");
    StanzaError::policy_violation().kind(ErrorType::Wait).text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_in_an_hour() {
        let counts = Counts::default();
        let take = |now, one: &str, all: &str| counts.take(Now(now), &[(("one", one), 2), (("all", all), 3)]);
        assert!(take(0, "a", "x") && take(1, "a", "x"));
        // What is over one limit does not use up another.
        assert!(!take(2, "a", "x") && !take(2, "a", "x"));
        assert!(take(3, "b", "x"));
        assert!(!take(4, "b", "x"));
        assert!(take(5, "b", "y"));
        assert!(!take(HOUR * 1_000 - 1, "a", "x"));
        assert!(take(HOUR * 1_000, "a", "x"));
    }
}
