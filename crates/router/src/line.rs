//! Changes that the store has to be asked about first: one after the other for each owner.
//!
//! What is decided rests on what was read, so nothing may come between a question and its batch. While one request has
//! asked and has not handed over its batch, the next to the same owner waits here. It asks as soon as the batch is handed
//! over: the store answers a question behind all batches that were submitted before it. So the order of the requests is
//! that of the answers, and a client that publishes and asks in one burst sees what it has published.
//!
//! The lines stand beside the accounts and not in them: an account may leave the memory while something waits, and a
//! request must be answered all the same. Their lock is never held while another is taken.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use module::{Change, MakeChange, Occasion, Step};
use stanza::{ErrorType, StanzaError};
use store::{Found, Query, StoreError};

use crate::durable::{After, Settles};
use crate::iq::Return;
use crate::outbox::Receipt;
use crate::turn::Work;
use crate::{Router, Turn};

/// Requests that wait for one owner. One more is answered with `resource-constraint`.
const LINE: usize = 256;

/// Bytes of their stanzas, about what they hold. More is answered in the same way.
const LINE_BYTES: usize = 2 * 1024 * 1024;

/// What waits, by owner. There is a line while one of its requests is under way.
#[derive(Default)]
pub(crate) struct Lines(Mutex<HashMap<Box<str>, Line, RandomState>>);

#[derive(Default)]
struct Line {
    waiting: VecDeque<Asked>,
    bytes: usize,
}

struct Asked {
    /// Of the stanza.
    bytes: usize,
    query: Query,
    make: MakeChange,
    back: Return,
    receipt: Option<Receipt>,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Line, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what may begin now; nothing where it has to wait. `asked` is only made where there is room.
    fn join(&self, owner: &str, bytes: usize, asked: impl FnOnce() -> Asked) -> Result<Option<Asked>, StanzaError> {
        let mut lines = self.lock();
        match lines.get_mut(owner) {
            None => {
                lines.insert(owner.into(), Line::default());
                Ok(Some(asked()))
            }
            Some(line) if line.waiting.len() < LINE && line.bytes + bytes <= LINE_BYTES => {
                line.bytes += bytes;
                line.waiting.push_back(asked());
                Ok(None)
            }
            Some(_) => Err(StanzaError::resource_constraint().kind(ErrorType::Wait)),
        }
    }

    /// The one under way is through; returns the next.
    fn next(&self, owner: &str) -> Option<Asked> {
        let mut lines = self.lock();
        let line = lines.get_mut(owner)?;
        let next = line.waiting.pop_front();
        match &next {
            Some(next) => line.bytes -= next.bytes,
            None => drop(lines.remove(owner)),
        }
        next
    }
}

impl Router {
    /// A change that the store has to be asked about first, in line with others of the same owner. `bytes`: of the stanza
    /// that asks for it.
    pub(crate) fn change(
        &self,
        owner: &str,
        bytes: usize,
        query: Query,
        make: MakeChange,
        back: Return,
        turn: &mut Turn,
    ) {
        let mut back = Some(back);
        let joined = self.lines.join(owner, bytes, || Asked {
            bytes,
            query,
            make,
            back: back.take().expect("made once"),
            receipt: turn.receipt(),
        });
        match (joined, back) {
            (Ok(Some(asked)), _) => self.ask_in_line(owner, asked),
            (Err(error), Some(back)) => back.refuse(&error, turn),
            _ => {}
        }
    }

    fn ask_in_line(&self, owner: &str, asked: Asked) {
        let Asked {
            query,
            make,
            back,
            receipt,
            ..
        } = asked;
        self.when_read(owner, query, move |router, owner, found| {
            router.answered_in_line(owner, found, make, back, receipt);
        });
    }

    fn answered_in_line(
        &self,
        owner: &str,
        found: Result<Found, StoreError>,
        make: MakeChange,
        back: Return,
        receipt: Option<Receipt>,
    ) {
        match make(found).and_then(|step| self.with_faces(step, &back)) {
            Ok(Step::Ask(query, make)) => {
                let asked = Asked {
                    bytes: 0,
                    query,
                    make,
                    back,
                    receipt,
                };
                return self.ask_in_line(owner, asked);
            }
            Ok(Step::Done(change)) => self.make_change(owner, change, back, receipt),
            Err(error) => self.say(owner, back.error(&error), Settles::Nothing),
        }
        if let Some(next) = self.lines.next(owner) {
            self.ask_in_line(owner, next);
        }
    }

    /// What the change of an account has done at its nodes is done to other faces of the same too (`module::Face`).
    fn with_faces(&self, step: Step, back: &Return) -> Result<Step, StanzaError> {
        let Step::Done(change) = step else { return Ok(step) };
        let (by, owner) = back.addresses();
        if change.deeds.is_empty() || owner.as_ref().local().is_none() {
            return Ok(Step::Done(change));
        }
        let occasion = Occasion {
            now: (self.clock)(),
            owner: owner.to_bare(),
            by: by.clone(),
        };
        self.registry().follow(occasion, change)
    }

    fn make_change(&self, owner: &str, change: Change, back: Return, receipt: Option<Receipt>) {
        // The result first: it may be for a session that ends behind it.
        let answer = match &change.refused {
            Some(error) => Some(back.error_text(error)),
            None => back.result_to(&change.answer),
        };
        let mut then: Vec<After> = answer.map(After::letter).into_iter().collect();
        then.extend(change.revoked.map(|client| {
            let owner = owner.into();
            After::Work(Work::Revoked { owner, client })
        }));
        then.extend(change.photo.map(|photo| After::Work(Work::Photo(owner.into(), photo))));
        then.extend(change.notices.into_iter().map(|notice| {
            let owner = owner.into();
            After::Work(Work::Notice(owner, Box::new(notice)))
        }));
        if change.batch.is_empty() {
            return self.say(owner, then, Settles::Nothing);
        }
        self.write(
            owner,
            change.batch,
            then,
            Box::new(move |error| back.error(error)),
            receipt,
        );
    }
}
