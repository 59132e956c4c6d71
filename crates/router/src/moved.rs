//! Messages that an earlier version kept for who is away, in a table of their own.
//!
//! Until database version 1 a waiting message was a row there and nowhere else. They are put where such messages wait
//! now, once; who was away over the upgrade gets them as if nothing had happened.

use stanza::{Jid, Stanza};
use store::{Batch, Column, Deposit, Found, Op, Places, Query, Row, Shape, StoreError, Table, Value};
use xmlstream::Scratch;

use crate::{OWN_LIMITS, Router};

/// The old table: when each came, and the stanza as it was to be delivered.
pub(crate) static OFFLINE: Table = Table {
    name: "offline",
    shape: Shape::Archive,
    columns: &[Column::int("received"), Column::text("stanza")],
};

/// Notes that it was done, under the name of nobody.
pub(crate) static OFFLINE_MOVED: Table = Table {
    name: "offline_moved",
    shape: Shape::KeyVal,
    columns: &[Column::int("messages")],
};

const NOBODY: &str = "";

const ACCOUNTS_AT_ONCE: usize = 1_000;
const MESSAGES_AT_ONCE: usize = 100;

impl Router {
    /// Moves them, if that has not been done, and returns how many there were. Blocking: before anything listens.
    pub fn move_offline(&self) -> Result<u64, StoreError> {
        let done = self.store.read_wait(Query::get(&OFFLINE_MOVED, NOBODY, None))?.row()?;
        if done.is_some() {
            return Ok(0);
        }
        let (mut moved, mut after) = (0, None::<Box<str>>);
        loop {
            let query = Query::owners(&accounts::ACCOUNTS, after.as_deref(), ACCOUNTS_AT_ONCE);
            let owners = self.store.read_wait(query).and_then(Found::owners)?;
            let Some((last, _)) = owners.last() else { break };
            after = Some(last.clone());
            for (owner, _) in owners {
                moved += self.move_offline_of(&owner)?;
            }
        }
        let note = vec![Value::Int(i64::try_from(moved).unwrap_or(i64::MAX))];
        self.store
            .write_wait(Batch::new().put(&OFFLINE_MOVED, NOBODY, None, note))?;
        Ok(moved)
    }

    fn move_offline_of(&self, owner: &str) -> Result<u64, StoreError> {
        let mut moved = 0;
        loop {
            let query = Query::page(&OFFLINE, owner, 0, MESSAGES_AT_ONCE);
            let rows = self.store.read_wait(query).and_then(Found::page)?;
            if rows.is_empty() {
                return Ok(moved);
            }
            for (id, row) in rows {
                // One at a time: it is there or here, whenever the power fails.
                let mut batch = Batch::new();
                match deposit(owner, &row) {
                    Some(deposit) => batch = batch.deposit(deposit),
                    None => tracing::error!(
                        account = owner,
                        "a waiting message of an earlier version cannot be read"
                    ),
                }
                batch.ops.push(Op::Trim {
                    table: &OFFLINE,
                    owner: owner.into(),
                    up_to: id,
                });
                self.store.write_wait(batch)?;
                moved += 1;
            }
        }
    }
}

fn deposit(owner: &str, row: &Row) -> Option<Deposit> {
    let at = row.first().and_then(Value::as_int)?;
    let text = row.get(1).and_then(Value::as_text)?;
    let mut scratch = Scratch::default();
    let element = xmlstream::parse_element(text, stanza::ns::CLIENT, &mut scratch, &OWN_LIMITS).ok()?;
    let sender: Jid = Stanza::read(element).ok()??.from()?.bare().to_owned();
    Some(Deposit {
        at,
        sender: sender.as_str().into(),
        recipient: owner.into(),
        places: Places::WAITING,
        fingerprint: None,
        stanza: text.into(),
    })
}
