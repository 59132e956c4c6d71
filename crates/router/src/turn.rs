//! One turn: an input, everything that follows from it, and whom to wake at the end.
//!
//! Owners never call each other. What concerns another account is queued here and handled after
//! the lock of the first was given back, so two locks are never held at once and a chain of any
//! length uses no stack.

use std::collections::VecDeque;
use std::sync::Arc;

use module::{Notice, Photo};
use presence::blocking::BlockList;
use stanza::{Jid, Sent};
use xmlstream::Scratch;

use crate::arrival::Arrived;
use crate::deposit::{Copied, Origin};
use crate::outbox::Receipt;
use crate::remote::Change;
use crate::wake::wake;
use crate::{Bound, Event, Outbox};

/// Something for another owner.
pub(crate) enum Work {
    /// A complete stanza with `from` and `to`.
    Letter(Box<str>),
    /// The same, as a client sent it.
    Sent(Box<str>, Origin),
    /// The connection may read on: all that follows from what it has waited for was done.
    Proceed(Arc<Outbox>),
    /// A message for the sender's other devices (XEP-0280).
    Copies(Copied),
    /// Copies of stanzas that a session which has ended was not given.
    Undelivered(Bound, Vec<u8>),
    /// Sessions of a client that has no access to the account any more (XEP-0494).
    Revoked {
        owner: Box<str>,
        client: Box<str>,
    },
    /// What the account's presence tells of its picture.
    Photo(Box<str>, Photo),
    /// What is announced for this account could not be written.
    ReadPush(Box<str>),
    /// What has happened at a node of this account.
    Notice(Box<str>, Box<Notice>),
    /// A letter that refuses a probe. It ends a subscription that only the asker believes in; a
    /// request that he has made since must not take it for its denial.
    Refusal(Box<str>),
    /// One presence of a full JID for many contacts. `left`: it says that the resource has gone.
    Fanout {
        presence: Sent,
        from: Box<str>,
        left: bool,
        to: Contacts,
        /// Resources of these that the sender blocks.
        except: Option<BlockList>,
    },
    /// An account, and one that was made with its invitation: they become contacts.
    Introduce(Jid, Box<str>),
    /// Somebody who wants the last items of nodes: of whom is to be found out, or the next.
    Arrives(Box<Arrived>),
    LooksOn(Box<Arrived>),
    /// Presence of the contacts for a session, which has become available as `from`.
    Probes {
        from: Jid,
        session: u64,
        to: Contacts,
    },
    /// Whoever is in rooms and on a block list; of which shard of rooms next.
    PutOut(usize),
    /// A link to another server broke, or was made again.
    Link(Box<Change>),
}

/// Bare JIDs, one behind the other in one text: a list of a thousand is two blocks of memory.
#[derive(Clone)]
pub(crate) struct Contacts {
    text: String,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Contacts {
    pub(crate) fn of<'a>(jids: impl Iterator<Item = &'a str> + Clone) -> Contacts {
        let (mut count, mut bytes) = (0, 0);
        for jid in jids.clone() {
            count += 1;
            bytes += jid.len();
        }
        let (mut text, mut ends) = (String::with_capacity(bytes), Vec::with_capacity(count));
        for jid in jids {
            text.push_str(jid);
            ends.push(text.len());
        }
        Contacts { text, ends }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let jid = &self.text[start..*end];
            start = *end;
            jid
        })
    }
}

/// Bytes of a text that are kept for the next.
const KEPT_TEXT: usize = 64 * 1024;

/// Places in the lists of a turn that are kept for the next.
const KEPT_PLACES: usize = 1_024;

/// Kept by each worker and used again, so that a turn allocates nothing by itself.
#[derive(Default)]
pub struct Turn {
    pub(crate) queue: VecDeque<Work>,
    pub(crate) scratch: Scratch,
    /// Whose stanza is being handled, if it is a client's.
    pub(crate) origin: Option<Origin>,
    /// It waits for its recipient to be read.
    pub(crate) is_held: bool,
    woken: Vec<Arc<Outbox>>,
    /// Those that are woken belong to a crowd, see [`wake`].
    pub(crate) is_crowd: bool,
    /// Where a text is put together whose length is not known before.
    text: Vec<u8>,
}

impl Turn {
    pub(crate) fn wake(&mut self, outbox: &Arc<Outbox>) {
        self.woken.push(Arc::clone(outbox));
    }

    /// Lets the connection read on, behind what follows from the stanza that it has waited for.
    pub(crate) fn proceed(&mut self, outbox: Arc<Outbox>) {
        if self.queue.is_empty() {
            outbox.tell(self, Event::Proceed);
        } else {
            self.queue.push_back(Work::Proceed(outbox));
        }
    }

    /// That the stanza which is being handled has come; for who makes its effect durable.
    pub(crate) fn receipt(&mut self) -> Option<Receipt> {
        self.origin.as_mut().and_then(|origin| origin.receipt.take())
    }

    /// What `write` appends, which is text.
    pub(crate) fn text(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Arc<str> {
        write(&mut self.text);
        // What was checked to be UTF-8 together with escaped text.
        let text = std::str::from_utf8(&self.text).unwrap_or_default().into();
        self.text.clear();
        self.text.shrink_to(KEPT_TEXT);
        text
    }

    pub(crate) fn letter(&mut self, text: String) {
        self.queue.push_back(Work::Letter(text.into_boxed_str()));
    }

    /// Wakes everyone who got something. Call once per batch, not per stanza.
    pub fn finish(&mut self) {
        let is_crowd = std::mem::take(&mut self.is_crowd);
        for outbox in self.woken.drain(..) {
            wake(outbox, is_crowd);
        }
        // What a crowd once needed is given back.
        self.woken.shrink_to(KEPT_PLACES);
        self.queue.shrink_to(KEPT_PLACES);
    }
}
