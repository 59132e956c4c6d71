//! Sessions that outlive the process (guarantee G7).
//!
//! At a stop in good order the sessions whose streams may be resumed are written down, with all that makes them what
//! they are: presence, interest in the roster, switches, what their clients have not acknowledged, and what of the
//! account's messages is delivered. The next process puts them back before it listens, as sessions whose connection has
//! just gone: nobody saw them leave. They are deleted from the store first; so after a crash there is nothing that could
//! be resumed with counters of an earlier day.

use std::sync::Arc;

use module::{Connected, Now, Switches};
use stanza::{Jid, Rendered};
use store::{Batch, Column, Found, Query, Row, Shape, StoreError, Table, Value};

use crate::account::{Account, Moment, Session};
use crate::directed::Directed;
use crate::load::Held;
use crate::outbox::Outbox;
use crate::{Router, Turn};

/// The sessions of an account, its messages behind the cursor that are delivered, and whose the sessions are, one after
/// the other, where their resources do not tell.
pub(crate) static SAVED: Table = Table {
    name: "saved_sessions",
    shape: Shape::KeyVal,
    columns: &[
        Column::blob("sessions"),
        Column::blob("delivered"),
        Column::blob("clients"),
    ],
};

/// Accounts that are put back with one read and one write.
const RESTORED_AT_ONCE: usize = 256;

/// What a session that was put back keeps of stanzas that are for it, in bytes.
const RESTORED_BYTES: usize = 1024 * 1024;

/// Sessions of an account, as they come out of the store.
pub(crate) struct SavedSessions {
    sessions: Vec<Session>,
    delivered: Vec<i64>,
}

impl Router {
    /// Writes down the sessions that may be resumed; call when the connections have ended, before the store is closed.
    /// Returns how many they are.
    pub fn save_sessions(&self) -> usize {
        let (mut count, mut writes) = (0, Vec::new());
        self.each_account(|account| {
            if account.is_guest() {
                return;
            }
            let (mut sessions, mut clients) = (Writer::default(), Writer::default());
            for session in &account.sessions {
                let Some(stream) = session.outbox.save() else { continue };
                count += 1;
                session.write(&stream, &mut sessions);
                clients.bytes(session.client().unwrap_or_default().as_bytes());
            }
            if sessions.0.is_empty() {
                return;
            }
            let mut delivered = Writer::default();
            account.backlog.delivered().for_each(|id| delivered.number(id));
            let row = vec![Value::from(sessions.0), Value::from(delivered.0), Value::from(clients.0)];
            let batch = Batch::new().put(&SAVED, account.jid.as_str(), None, row);
            let owner = account.jid.clone();
            let done: store::Written = Box::new(move |result| {
                if let Err(error) = result {
                    tracing::warn!(account = %owner, %error, "the sessions could not be saved; the clients log in anew");
                }
            });
            writes.push((batch, done));
        });
        self.store.write_many(writes);
        self.save_occupants();
        count
    }

    /// Puts back the sessions that were saved, and returns how many they are. Blocking: before anything listens.
    pub fn restore_sessions(&self, now: Now) -> Result<usize, StoreError> {
        let (mut count, mut after) = (0, None::<Box<str>>);
        loop {
            let query = Query::owners(&SAVED, after.as_deref(), RESTORED_AT_ONCE);
            let rows = self.store.read_wait(query).and_then(Found::owners)?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            let mut batch = Batch::new();
            for (owner, _) in &rows {
                batch = batch.delete(&SAVED, owner, None);
            }
            self.store.write_wait(batch)?;
            for (owner, row) in rows {
                count += self.put_back_row(now, &owner, &row);
            }
        }
        self.restore_occupants(now)?;
        Ok(count)
    }

    /// As [`Router::restore_sessions`], those of one account: for what is done to it while no server runs.
    pub fn restore_sessions_of(&self, now: Now, jid: &Jid) -> Result<usize, StoreError> {
        let owner = jid.as_str();
        let row = self
            .store
            .read_wait(Query::get(&SAVED, owner, None))
            .and_then(Found::row)?;
        let Some(row) = row else { return Ok(0) };
        self.store.write_wait(Batch::new().delete(&SAVED, owner, None))?;
        Ok(self.put_back_row(now, owner, &row))
    }

    /// The sessions of an account that are saved; they stay so. Blocking.
    pub fn saved_sessions_of(&self, jid: &Jid) -> Vec<Connected> {
        let row = self
            .store
            .read_wait(Query::get(&SAVED, jid.as_str(), None))
            .and_then(Found::row);
        let saved = row.ok().flatten().and_then(|row| self.read_saved(Now(0), &row));
        let sessions = saved.map(|saved| saved.sessions).unwrap_or_default();
        sessions.iter().map(Session::connected).collect()
    }

    fn put_back_row(&self, now: Now, owner: &str, row: &Row) -> usize {
        let Some((jid, saved)) = Jid::parse(owner).ok().zip(self.read_saved(now, row)) else {
            tracing::warn!(
                account = owner,
                "saved sessions cannot be read; the clients log in anew"
            );
            return 0;
        };
        let count = saved.sessions.len();
        self.put_back(now, &jid, saved);
        count
    }

    fn read_saved(&self, now: Now, row: &Row) -> Option<SavedSessions> {
        let blob = |at: usize| row.get(at).and_then(Value::as_blob).unwrap_or_default();
        let [sessions, delivered, clients] = [0, 1, 2].map(blob);
        let (mut reader, mut found) = (Reader(sessions), Vec::new());
        // An earlier version has not written any.
        let mut clients = Reader(clients);
        while !reader.0.is_empty() {
            let mut session = Session::read(self.next_session(), now, &mut reader)?;
            let client = clients.text().unwrap_or_default();
            session.set_client((!client.is_empty()).then(|| client.into()));
            found.push(session);
        }
        let mut reader = Reader(delivered);
        let mut ids = Vec::new();
        while !reader.0.is_empty() {
            ids.push(reader.number()?);
        }
        Some(SavedSessions {
            sessions: found,
            delivered: ids,
        })
    }

    fn put_back(&self, now: Now, jid: &Jid, saved: SavedSessions) {
        let mut turn = Turn::default();
        let act = |account: &mut Account, saved, turn: &mut Turn| self.put_sessions_back(now, account, saved, turn);
        let held = self.give_or_hold(&mut turn, jid.as_ref(), saved, act, Held::Restore);
        if held.is_err() {
            tracing::warn!(account = %jid, "saved sessions cannot be put back; the clients log in anew");
        }
    }
}

impl Router {
    pub(crate) fn put_sessions_back(&self, now: Now, account: &mut Account, saved: SavedSessions, turn: &mut Turn) {
        let sessions: Vec<_> = saved.sessions.iter().map(|session| session.id).collect();
        account.put_back(now, saved);
        for session in sessions {
            self.note_restored_caps(account, session, turn);
        }
    }
}

impl Account {
    fn put_back(&mut self, now: Now, saved: SavedSessions) {
        self.touched = Moment::of(now.seconds());
        // What is in somebody's hands first: it is not passed over by what is delivered.
        for session in saved.sessions {
            for id in session.outbox.unacknowledged() {
                self.backlog.was_given(id);
            }
            self.sessions.push(session);
        }
        for id in saved.delivered {
            self.backlog.was_delivered(id);
        }
    }
}

impl Session {
    fn write(&self, stream: &[u8], out: &mut Writer) {
        out.bytes(self.resource.as_bytes());
        out.bytes(self.presence.as_ref().map_or("", Rendered::text).as_bytes());
        out.number(i64::from(self.priority));
        out.number(i64::from(self.interested));
        out.number(i64::from(self.switches.bits()));
        out.number(self.directed().map_or(0, |directed| directed.len()) as i64);
        for entry in self.directed().into_iter().flat_map(Directed::entries) {
            out.bytes(entry.as_bytes());
        }
        out.bytes(stream);
    }

    fn read(id: u64, now: Now, from: &mut Reader<'_>) -> Option<Session> {
        let resource = from.text()?.into();
        let presence = from.text()?;
        let presence = (!presence.is_empty()).then(|| Rendered::from_text(presence));
        let priority = i8::try_from(from.number()?).ok()?;
        let interested = from.number()? != 0;
        let switches = Switches::from_bits(u8::try_from(from.number()?).ok()?);
        let mut directed = Directed::default();
        for _ in 0..from.number()? {
            directed.put_back(from.text()?);
        }
        let outbox = Outbox::restore(RESTORED_BYTES, from.bytes()?)?;
        let mut session = Session {
            id,
            resource,
            outbox,
            presence,
            priority,
            interested,
            was_available: true,
            switches,
            detached: Moment::of(now.seconds().max(1)),
            more: None,
        };
        session.change_directed(|into| *into = directed);
        Some(session)
    }
}

/// Numbers of 8 bytes, and bytes behind their number. It is read once, by the next process; a newer one that cannot
/// read it lets the clients log in anew.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn number(&mut self, number: i64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as i64);
        self.0.extend_from_slice(bytes);
    }
}

pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn number(&mut self) -> Option<i64> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i64::from_le_bytes(*number))
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// Only here, as it belongs to the format.
impl Outbox {
    /// A managed stream that may be resumed; None for any other. Its connection is taken for gone.
    fn save(self: &Arc<Self>) -> Option<Vec<u8>> {
        let mut out = Writer::default();
        self.write_stream(&mut out).then_some(out.0)
    }

    fn restore(limit: usize, stream: &[u8]) -> Option<Arc<Outbox>> {
        let outbox = Outbox::new(limit);
        outbox.read_stream(&mut Reader(stream))?;
        Some(outbox)
    }
}
