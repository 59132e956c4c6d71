//! An archive that is there from the beginning, written through the store as the server writes it: a million messages
//! over the wire would take as long as all works together.

use std::path::Path;
use std::sync::mpsc;

use module::Registry;
use store::{Batch, Deposit, Places, Store as _, StoreError, Table, Written};

use crate::Outcome;
use crate::client::jid;

/// When the first message was accepted, in milliseconds since the Unix epoch: the beginning of 2026.
const START: i64 = 1_767_225_600_000;
/// From one message to the next.
const STEP_MS: i64 = 1_000;
/// Messages in one call.
const CHUNK: usize = 256;
/// Messages that may wait for their commit.
const AHEAD: usize = 8 * CHUNK;

/// Messages between `owners`, the accounts from 0 on, and the `contacts` accounts that come behind each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct History {
    pub messages: usize,
    pub owners: usize,
    pub contacts: usize,
}

impl History {
    /// Accounts that have messages.
    pub(crate) const fn accounts(&self) -> usize {
        self.owners + self.contacts
    }

    /// Of an owner.
    pub(crate) fn contacts_of(&self, owner: usize) -> std::ops::RangeInclusive<usize> {
        owner + 1..=owner + self.contacts
    }

    /// The message with this number: at random between whom, and in which direction.
    fn message(&self, number: usize) -> Deposit {
        let mut seed = number as u64;
        let mut below = |bound: usize| random(&mut seed, bound);
        let owner = below(self.owners);
        let contact = owner + 1 + below(self.contacts);
        let (sender, recipient) = if below(2) == 0 {
            (owner, contact)
        } else {
            (contact, owner)
        };
        let (sender, recipient) = (jid(sender), jid(recipient));
        let stanza = format!(
            "<message from='{sender}/bench' to='{recipient}' type='chat' id='h{number}'><body>The message with the \
             number {number}, which says nothing else.</body><origin-id xmlns='urn:xmpp:sid:0' id='h{number}'/>\
             <request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/></message>"
        );
        Deposit {
            // No history has so many messages.
            at: START + number as i64 * STEP_MS,
            sender: sender.into(),
            recipient: recipient.into(),
            places: Places::SENT.and(Places::RECEIVED),
            fingerprint: None,
            stanza: stanza.into(),
        }
    }

    /// Writes all into the database in this file.
    pub(super) fn write(&self, database: &Path) -> Outcome<()> {
        let registry = Registry::new(xeps::all(&xeps::Offer::default())).map_err(|error| error.to_string())?;
        let mut tables: Vec<&'static Table> = router::TABLES.to_vec();
        tables.extend(registry.tables());
        let store = store_sqlite::open(database, &tables, store_sqlite::Options::default());
        let store = store.map_err(|error| error.to_string())?;
        let (sender, receiver) = mpsc::channel::<Result<(), StoreError>>();
        let mut waiting = 0;
        let wait = |waiting: &mut usize, most: usize| {
            while *waiting > most {
                let done = receiver.recv().map_err(|error| error.to_string())?;
                done.map_err(|error| format!("store: {error}"))?;
                *waiting -= 1;
            }
            Ok::<_, String>(())
        };
        for first in (0..self.messages).step_by(CHUNK) {
            let numbers = first..self.messages.min(first + CHUNK);
            waiting += numbers.len();
            let writes = numbers.map(|number| {
                let sender = sender.clone();
                // Nobody listens any more only after an error.
                let done: Written = Box::new(move |result| drop(sender.send(result.map(drop))));
                (Batch::new().deposit(self.message(number)), done)
            });
            store.write_many(writes.collect());
            wait(&mut waiting, AHEAD)?;
        }
        wait(&mut waiting, 0)?;
        store.close();
        Ok(())
    }
}

/// The next of a sequence of numbers below `bound` that looks random: SplitMix64.
pub(crate) fn random(seed: &mut u64, bound: usize) -> usize {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *seed;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    // Less than `bound`, which is a usize.
    (mixed % bound.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_between_owners_and_their_contacts() {
        let history = History {
            messages: 500,
            owners: 3,
            contacts: 2,
        };
        let mut sent = std::collections::BTreeSet::new();
        for number in 0..history.messages {
            let deposit = history.message(number);
            let of = |jid: &str| (0..history.accounts()).find(|account| self::jid(*account) == jid);
            let (from, to) = (
                of(&deposit.sender).expect("an account"),
                of(&deposit.recipient).expect("an account"),
            );
            let (owner, contact) = (from.min(to), from.max(to));
            assert!(owner < history.owners && history.contacts_of(owner).contains(&contact));
            sent.insert((from, to));
        }
        assert_eq!(sent.len(), 2 * history.owners * history.contacts);
    }
}
