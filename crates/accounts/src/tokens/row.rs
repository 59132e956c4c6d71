//! How a client is stored.

use auth::{Mechanism, Secret, Slot};
use store::{Column, Row, Shape, Table, Value, row};

use super::{Agent, Client, Held, Methods};
use crate::Damaged;

/// The clients of an account; the owner is the bare JID, the key the client's id. Named after what is worth stealing.
pub static TOKENS: Table = Table {
    name: "tokens",
    shape: Shape::Map,
    columns: &[
        Column::int("first_seen"),
        Column::int("last_seen"),
        // What it logged in with, the sum of: 1 password, 2 token, 4 bearer token, 8 certificate.
        Column::int("methods"),
        Column::int("epoch"),
        Column::text("agent_id"),
        Column::text("software"),
        Column::text("device"),
        Column::text("uri"),
        // 1: the newest secret was used.
        Column::int("used"),
        // Of the newest secret; all null: there is none.
        Column::blob("secret"),
        Column::text("mechanism"),
        Column::int("issued"),
        Column::int("expires"),
        Column::int("count"),
        // Of the one before.
        Column::blob("previous_secret"),
        Column::text("previous_mechanism"),
        Column::int("previous_issued"),
        Column::int("previous_expires"),
        Column::int("previous_count"),
    ],
};

/// The first column of each secret.
const NEWEST: usize = 9;
const PREVIOUS: usize = 14;

impl Methods {
    fn bits(self) -> i64 {
        i64::from(self.password)
            | i64::from(self.fast) << 1
            | i64::from(self.grant) << 2
            | i64::from(self.certificate) << 3
    }

    fn from_bits(bits: i64) -> Methods {
        Methods {
            password: bits & 1 != 0,
            fast: bits & 2 != 0,
            grant: bits & 4 != 0,
            certificate: bits & 8 != 0,
        }
    }
}

impl Client {
    /// The columns of [`TOKENS`].
    pub(super) fn row(&self) -> Row {
        let agent = &self.agent;
        let text = |text: &Option<String>| Value::from(text.as_deref());
        let mut row = row![
            self.first_seen,
            self.last_seen,
            self.methods.bits(),
            self.epoch,
            text(&agent.id),
            text(&agent.software),
            text(&agent.device),
            text(&agent.uri),
            self.token.as_ref().is_some_and(|held| held.used),
        ];
        let newest = self.token.as_ref().map(|held| &held.newest);
        let previous = self.token.as_ref().and_then(|held| held.previous.as_ref());
        for slot in [newest, previous] {
            row.extend(match slot {
                None => vec![Value::Null; PREVIOUS - NEWEST],
                Some(slot) => row![
                    slot.secret.bytes(),
                    slot.mechanism.name(),
                    slot.issued,
                    slot.expires,
                    i64::from(slot.count),
                ],
            });
        }
        row
    }

    /// Reads what [`row`](Self::row) made.
    pub(super) fn from_row(owner: &str, id: &str, row: &Row) -> Result<Client, Damaged> {
        let fields = Fields { owner, id, row };
        let newest = fields.slot(NEWEST)?;
        let previous = fields.slot(PREVIOUS)?;
        let used = fields.int(8)? != 0;
        Ok(Client {
            id: id.to_owned(),
            agent: Agent {
                id: fields.text(4)?,
                software: fields.text(5)?,
                device: fields.text(6)?,
                uri: fields.text(7)?,
            },
            first_seen: fields.int(0)?,
            last_seen: fields.int(1)?,
            methods: Methods::from_bits(fields.int(2)?),
            epoch: fields.int(3)?,
            token: newest.map(|newest| Held { newest, used, previous }),
        })
    }
}

/// A row as it is read.
struct Fields<'a> {
    owner: &'a str,
    id: &'a str,
    row: &'a Row,
}

impl Fields<'_> {
    fn damaged(&self, at: usize) -> Damaged {
        let column = TOKENS.columns.get(at).map_or("", |column| column.name);
        Damaged(format!("{}, client {}, {column}", self.owner, self.id))
    }

    fn value(&self, at: usize) -> &Value {
        self.row.get(at).unwrap_or(&Value::Null)
    }

    fn int(&self, at: usize) -> Result<i64, Damaged> {
        self.value(at).as_int().ok_or_else(|| self.damaged(at))
    }

    fn text(&self, at: usize) -> Result<Option<String>, Damaged> {
        match self.value(at) {
            Value::Null => Ok(None),
            value => match value.as_text() {
                Some(text) => Ok(Some(text.to_owned())),
                None => Err(self.damaged(at)),
            },
        }
    }

    /// The secret whose columns begin here. A mechanism that is not known any more counts as damage: nobody could use it,
    /// and nobody would be told.
    fn slot(&self, at: usize) -> Result<Option<Slot>, Damaged> {
        if self.value(at).is_null() {
            return Ok(None);
        }
        let secret = self.value(at).as_blob().and_then(Secret::from_bytes);
        let mechanism = self.value(at + 1).as_text().and_then(Mechanism::from_name);
        let count = u32::try_from(self.int(at + 4)?).map_err(|_| self.damaged(at + 4))?;
        Ok(Some(Slot {
            secret: secret.ok_or_else(|| self.damaged(at))?,
            mechanism: mechanism
                .filter(|mechanism| mechanism.is_token())
                .ok_or_else(|| self.damaged(at + 1))?,
            issued: self.int(at + 2)?,
            expires: self.int(at + 3)?,
            count,
        }))
    }
}
