//! What must not be lost on its way to another server stands in the store until that server has it.
//!
//! One row for a stanza, written in the batch that archives it for its sender and counts it on its stream: so what is
//! acknowledged to a client is in the spool, or has arrived (guarantee G1). Where the disk refuses it the sender is told.
//! A row leaves when the peer has acknowledged it, or when it has waited for too long; then its sender is told why.

use std::sync::Arc;

use archive::Keeping;
use module::Now;
use stanza::{JidRef, Kind, MessageType, PresenceType, Stanza, StanzaError, error_reply};
use store::{Batch, Column, Found, Keys, Query, Row, Shape, StoreError, Table, row};

use super::Pair;
use super::link::{Item, State, What};
use super::outbound::too_much;
use super::pairs::Cell;
use super::time::Due;
use crate::deposit::{Behind, Origin};
use crate::durable::told;
use crate::turn::Work;
use crate::wake::gather;
use crate::{Router, Turn};

/// By pair: what waits, in order of the keys.
pub(crate) static SPOOL: Table = Table {
    name: "remote_spool",
    shape: Shape::Map,
    columns: &[Column::int("at"), Column::text("stanza")],
};

/// The pairs that have, or had, something in the spool, or were connected: when last, in seconds; 0: never.
pub(crate) static REMOTES: Table = Table {
    name: "remotes",
    shape: Shape::KeyVal,
    columns: &[Column::int("reached")],
};

/// Rows that are read at once.
const PAGE: usize = 100;

/// Every key begins so: the store reads parts of a map by a prefix.
const KEY_PREFIX: &str = "k";

fn key_text(key: u64) -> String {
    format!("{KEY_PREFIX}{key:016x}")
}

fn key_of(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix(KEY_PREFIX)?, 16).ok()
}

fn owner_of(pair: &Pair) -> String {
    format!("{} {}", pair.local, pair.remote)
}

pub(super) fn pair_of(owner: &str) -> Option<Pair> {
    owner.split_once(' ').map(|(local, remote)| Pair::new(local, remote))
}

pub(super) fn reached_of(row: &Row) -> i64 {
    row.first().and_then(store::Value::as_int).unwrap_or_default()
}

pub(super) fn remember(pair: &Pair, reached: i64) -> Batch {
    Batch::new().put(&REMOTES, &owner_of(pair), None, row![reached])
}

/// Nothing is there, and nothing was.
pub(super) fn forget(pair: &Pair) -> Batch {
    Batch::new().delete(&REMOTES, &owner_of(pair), None)
}

fn rows_of(pair: &Pair, after: u64, limit: usize) -> Keys {
    let mut keys = Keys::of(&SPOOL, &owner_of(pair), KEY_PREFIX, limit);
    keys.after = Some(key_text(after).into());
    keys
}

/// How many rows a pair has, and the last.
pub(super) fn what_is_there(pair: &Pair) -> Query {
    let mut last = rows_of(pair, 0, 1);
    last.last = true;
    Query::Many(vec![Query::count(&SPOOL, &owner_of(pair)), Query::keys(last)])
}

pub(super) fn read_what_is_there(found: Found) -> Result<(u64, u64), StoreError> {
    let mut parts = found.many()?.into_iter();
    let (Some(count), Some(last)) = (parts.next(), parts.next()) else {
        return Err(StoreError::Misuse("an answer is missing".into()));
    };
    let last = last.rows()?.last().and_then(|(key, _)| key_of(key)).unwrap_or_default();
    Ok((count.count()?, last))
}

/// A row: its key, when it came, and the stanza.
fn read_row(key: &str, row: &Row) -> Option<(u64, i64, Arc<str>)> {
    match &row[..] {
        [at, stanza] => Some((key_of(key)?, at.as_int()?, stanza.as_text()?.into())),
        _ => None,
    }
}

/// Whether a stanza must arrive, as far as it can be told from itself.
pub(super) fn must_arrive(stanza: &Stanza<'_>, from_client: bool) -> Option<Keeping> {
    use PresenceType::{Subscribe, Subscribed, Unsubscribe, Unsubscribed};
    match stanza.kind() {
        Kind::Message(MessageType::Error) | Kind::Iq(_) => None,
        // A page of a room's archive: it stands in front of its answer (XEP-0313 section 4), which would overtake it here.
        Kind::Message(_) if stanza.children().any(|child| child.is("result", stanza::ns::MAM)) => None,
        Kind::Message(kind) => {
            let keeping = archive::keeping(kind, stanza);
            // What a room says stands in its archive; what is said to one stands nowhere yet.
            let is_said_there = kind == MessageType::Groupchat && from_client && !keeping.transient;
            (keeping.archive || keeping.wait || is_said_there).then_some(keeping)
        }
        Kind::Presence(Subscribe | Subscribed | Unsubscribe | Unsubscribed) => Some(Keeping::default()),
        Kind::Presence(_) => None,
    }
}

impl Router {
    /// Puts a stanza into the spool, and into its sender's archive, and sends it behind the commit.
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    pub(super) fn spool(
        &self,
        now: Now,
        cell: &Arc<Cell>,
        keeping: Keeping,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let (mut sending, mut batch) = self.sends(now, keeping, stanza, from, to, turn);
        let owner = owner_of(&cell.pair);
        let (held, cell, me) = (Arc::clone(cell), Arc::clone(cell), self.me.clone());
        // Under the lock of the link, so that rows are committed in the order of their keys.
        let mut link = held.lock();
        let key = link.next_key(now);
        let at = self.tick();
        link.ages.came(key, at, self.rules().give_up_seconds);
        link.spooled += 1;
        link.writes += 1;
        batch = batch.put(&SPOOL, &owner, &*key_text(key), row![now.0, &*sending.text]);
        if !link.is_known {
            let reached = self.by_wall_clock(at, link.reached);
            batch = batch.put(&REMOTES, &owner, None, row![reached]);
        }
        sending.mark(&mut batch);
        self.store.write(
            batch,
            Box::new(move |result| {
                let Some(router) = me.upgrade() else { return };
                gather();
                let end = sending.end_of(&result);
                let now = (router.clock)();
                let mut turn = Turn::default();
                match result {
                    Ok(wrote) => {
                        cell.lock().is_known = true;
                        let item = Item {
                            text: Arc::clone(&sending.text),
                            key: Some(key),
                            what: What::Other,
                        };
                        // Also what came once more: whether it has arrived or was given up is not known any more.
                        router.send_over(&cell, item, &mut turn);
                        let deposited = wrote.deposited;
                        if deposited.is_none_or(|deposited| deposited.is_new) {
                            sending.kept(&router, now, deposited, &mut turn);
                        }
                    }
                    // The process ends, and so have the streams.
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::error!(from = sending.from.bare_str(), %error, "a stanza for another server could not be kept");
                        cell.lock().dropped(1);
                        let error = told(&error);
                        router.read_letter(&sending.text, &mut turn, |stanza, from, to, turn| {
                            if end.is_told() {
                                router.answer_with_error(stanza, from, to, &error, turn);
                            }
                        });
                    }
                }
                cell.lock().writes -= 1;
                router.settle(now, &mut turn);
                turn.finish();
                sending.finish(&router, end);
            }),
        );
        drop(link);
    }

    /// Sends what need not be kept, but not past what its sender has said before and what is on its way into the store
    /// (RFC 6120 section 10.1). False: too much waits in memory.
    pub(super) fn send_in_order(&self, cell: &Arc<Cell>, item: Item, turn: &mut Turn) -> bool {
        let held = Arc::clone(cell);
        let mut link = held.lock();
        if link.writes == 0 {
            drop(link);
            return self.send_over(cell, item, turn);
        }
        let origin = turn.origin.as_ref();
        let behind = origin.map(|origin| Behind::of(Arc::clone(&origin.outbox), item.text.len()));
        let (cell, me) = (Arc::clone(cell), self.me.clone());
        // Under the lock of the link, as above: callbacks come in the order of batches.
        link.writes += 1;
        self.store.write(
            Batch::new(),
            Box::new(move |result| {
                let (Some(router), false) = (me.upgrade(), matches!(result, Err(StoreError::Closed))) else {
                    return;
                };
                gather();
                let (now, mut turn) = ((router.clock)(), Turn::default());
                let (text, what) = (Arc::clone(&item.text), item.what);
                if !router.send_over(&cell, item, &mut turn) && what != What::Silent {
                    router.refuse_text(&text, &too_much(), &mut turn);
                }
                cell.lock().writes -= 1;
                router.settle(now, &mut turn);
                turn.finish();
                drop(behind);
            }),
        );
        drop(link);
        true
    }

    /// The peer has these, or will never have them.
    pub(super) fn delete_from_spool(&self, cell: &Cell, keys: Vec<u64>) {
        if keys.is_empty() {
            return;
        }
        let owner = owner_of(&cell.pair);
        let mut batch = Batch::new();
        for key in keys {
            batch = batch.delete(&SPOOL, &owner, &*key_text(key));
        }
        // If it fails they are sent once more after a restart: at least once is what is promised between servers.
        self.store.write(batch, Box::new(|_| ()));
    }

    /// Reads more of the spool, if it is its turn.
    pub(super) fn read_spool(&self, cell: &Arc<Cell>) {
        let Some(after) = cell.lock().read_from() else { return };
        let (cell, me) = (Arc::clone(cell), self.me.clone());
        self.store.read(
            Query::keys(rows_of(&cell.pair, after, PAGE)),
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                let rows = match found.and_then(Found::rows) {
                    Ok(rows) => rows,
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::error!(remote = &*cell.pair.remote, %error, "what waits for a server could not be read");
                        return cell.lock().could_not_read();
                    }
                };
                let is_last = rows.len() < PAGE;
                let rows = rows.iter().filter_map(|(key, row)| read_row(key, row));
                let rows = rows.map(|(key, _, text)| (key, text)).collect();
                let now = (router.clock)();
                let mut turn = Turn::default();
                let refused = cell.lock().has_read(after, rows, is_last, router.tick(), &mut turn);
                router.refuse_items(&cell, refused, &mut turn);
                router.settle(now, &mut turn);
                turn.finish();
                router.read_spool(&cell);
            }),
        );
    }

    /// Gives up what is due, and tells its senders why. Only while there is no stream.
    pub(super) fn give_up(&self, cell: &Arc<Cell>, due: Due, error: StanzaError) {
        let (cell, me) = (Arc::clone(cell), self.me.clone());
        self.store.read(
            Query::keys(rows_of(&cell.pair, 0, PAGE)),
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                let rows = match found.and_then(Found::rows) {
                    Ok(rows) => rows,
                    Err(error) => {
                        if error != StoreError::Closed {
                            tracing::error!(remote = &*cell.pair.remote, %error, "what waits for a server could not be read");
                        }
                        return;
                    }
                };
                let is_full = rows.len() == PAGE;
                let rows = rows.iter().filter_map(|(key, row)| read_row(key, row));
                let rows: Vec<_> = rows.take_while(|(key, at, _)| due.has(*key, *at)).collect();
                if rows.is_empty() {
                    return;
                }
                let owner = owner_of(&cell.pair);
                let mut batch = Batch::new();
                for (key, ..) in &rows {
                    batch = batch.delete(&SPOOL, &owner, &*key_text(*key));
                }
                let is_more = is_full && rows.len() == PAGE;
                let other = Arc::clone(&cell);
                let mut link = other.lock();
                if matches!(link.state, State::Up(_)) {
                    // There is one now, and it is to be given all.
                    return;
                }
                let keys: Vec<u64> = rows.iter().map(|(key, ..)| *key).collect();
                link.drop_keys(&keys);
                router.store.write(
                    batch,
                    Box::new(move |result| {
                        let Some(router) = me.upgrade() else { return };
                        let now = (router.clock)();
                        let mut turn = Turn::default();
                        if let Err(failed) = result {
                            if failed != StoreError::Closed {
                                tracing::error!(error = %failed, "what has waited for too long stays");
                            }
                            let mut link = cell.lock();
                            return link.found(rows.len() as u64, 0);
                        }
                        for (_, _, text) in &rows {
                            router.refuse_late(text, &error, &mut turn);
                        }
                        router.settle(now, &mut turn);
                        turn.finish();
                        if is_more {
                            router.give_up(&cell, due, error);
                        }
                    }),
                );
            }),
        );
    }

    /// Gives up one, and tells its sender why. It is not in the link any more.
    pub(super) fn give_up_row(&self, cell: &Arc<Cell>, key: u64, text: Arc<str>, error: StanzaError) {
        let (cell, me) = (Arc::clone(cell), self.me.clone());
        self.store.write(
            Batch::new().delete(&SPOOL, &owner_of(&cell.pair), &*key_text(key)),
            Box::new(move |result| {
                let Some(router) = me.upgrade() else { return };
                if let Err(failed) = result {
                    if failed != StoreError::Closed {
                        tracing::error!(error = %failed, "what another server does not take stays");
                    }
                    return cell.lock().found(1, 0);
                }
                let mut turn = Turn::default();
                router.refuse_late(&text, &error, &mut turn);
                router.settle((router.clock)(), &mut turn);
                turn.finish();
            }),
        );
    }

    /// Tells the sender of what he may have taken for sent. He may have gone: then it waits for him.
    pub(crate) fn refuse_late(&self, text: &str, error: &StanzaError, turn: &mut Turn) {
        self.read_letter(text, turn, |stanza, from, to, turn| {
            if !matches!(stanza.kind(), Kind::Message(_)) {
                return self.answer_with_error(stanza, from, to, error, turn);
            }
            let mut answer = Vec::new();
            error_reply(stanza, to.as_str(), from.as_str(), error, &mut answer);
            let answer = String::from_utf8(answer).unwrap_or_default();
            turn.queue
                .push_back(Work::Sent(answer.into(), Origin::of_late_refusal()));
        });
    }
}
