//! How a roster is stored: one row per contact and one version per account.
//!
//! Columns are plain text and numbers so that an administrator can read and correct them with the store's own tools.

use std::fmt;

use store::{Column, Op, Row, Shape, Table, Value};

use crate::{Item, State, Subscription};

/// Owner = the account's bare JID, key = the contact's JID. Holds waiting requests too (`listed` = 0).
///
/// Columns, in order: `name` text or null; `subscription` none/to/from/both; `ask`, `requested`, `approved`,
/// `listed` 0 or 1 (pending out, pending in, pre-approval, in the roster); `groups` text, each group as its length
/// in bytes, a colon and the text (`7:Friends4:Work`), because any character may occur in a group; `request` text
/// or null, the waiting stanza.
pub static ROSTER: Table = Table {
    name: "roster",
    shape: Shape::Map,
    columns: &ROSTER_COLUMNS,
};

const ROSTER_COLUMNS: [Column; 8] = [
    Column::text("name"),
    Column::text("subscription"),
    Column::int("ask"),
    Column::int("requested"),
    Column::int("approved"),
    Column::int("listed"),
    Column::text("groups"),
    Column::text("request"),
];

/// Owner = the account's bare JID; one column, the version counter (RFC 6121 §2.6).
pub static ROSTER_VERSION: Table = Table {
    name: "roster_version",
    shape: Shape::KeyVal,
    columns: &[Column::int("version")],
};

/// A stored row that is no roster item or version: the store was changed by other hands or is damaged.
/// The display names the contact and the column, never the content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadRow {
    /// The contact, or empty for the version.
    pub jid: Box<str>,
    pub column: &'static str,
}

impl fmt::Display for BadRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.jid {
            "" => write!(f, "stored roster version: bad value in column {}", self.column),
            jid => write!(f, "stored roster item {jid}: bad value in column {}", self.column),
        }
    }
}

impl std::error::Error for BadRow {}

impl Item {
    /// The columns of [`ROSTER`].
    pub fn to_row(&self) -> Row {
        store::row![
            self.name.clone(),
            self.state.subscription.as_str(),
            self.state.pending_out,
            self.state.pending_in,
            self.state.approved,
            self.listed,
            encode_groups(&self.groups),
            self.request.clone(),
        ]
    }

    /// The reverse of [`to_row`](Self::to_row). Strict: a value that cannot have been written is an error, not a guess.
    pub fn from_row(jid: &str, row: Row) -> Result<Item, BadRow> {
        let bad = |column| BadRow {
            jid: jid.into(),
            column,
        };
        let Ok([name, subscription, ask, requested, approved, listed, groups, request]) =
            <[Value; ROSTER_COLUMNS.len()]>::try_from(row)
        else {
            return Err(bad("(count)"));
        };
        let text = |value, column| match value {
            Value::Null => Ok(None),
            Value::Text(text) => Ok(Some(text)),
            _ => Err(bad(column)),
        };
        let flag = |value: Value, column| match value {
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            _ => Err(bad(column)),
        };
        let state = State {
            subscription: text(subscription, "subscription")?
                .and_then(|text| Subscription::parse(&text))
                .ok_or_else(|| bad("subscription"))?,
            pending_out: flag(ask, "ask")?,
            pending_in: flag(requested, "requested")?,
            approved: flag(approved, "approved")?,
        };
        if !state.is_valid() {
            return Err(bad("subscription"));
        }
        let listed = flag(listed, "listed")?;
        if !listed && (state.shows() || !state.pending_in) {
            return Err(bad("listed"));
        }
        let groups = text(groups, "groups")?.unwrap_or_default();
        Ok(Item {
            jid: jid.into(),
            name: text(name, "name")?,
            state,
            groups: decode_groups(&groups).ok_or_else(|| bad("groups"))?,
            request: text(request, "request")?,
            listed,
        })
    }

    /// The operation that stores the item.
    pub fn put(&self, owner: &str) -> Op {
        Op::Put {
            table: &ROSTER,
            owner: owner.into(),
            key: Some(self.jid.clone()),
            row: self.to_row(),
        }
    }
}

/// The operation that removes a contact's row.
pub(crate) fn delete(owner: &str, jid: &str) -> Op {
    Op::Delete {
        table: &ROSTER,
        owner: owner.into(),
        key: Some(jid.into()),
    }
}

/// The operation that stores the version.
pub(crate) fn put_version(owner: &str, version: u64) -> Op {
    // One per change of one account: 2^63 changes do not happen.
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    Op::Put {
        table: &ROSTER_VERSION,
        owner: owner.into(),
        key: None,
        row: vec![Value::Int(version)],
    }
}

/// The version out of its row; an account without one has version 0.
pub(crate) fn version(row: Option<&Row>) -> Result<u64, BadRow> {
    let bad = || BadRow {
        jid: "".into(),
        column: "version",
    };
    match row.map(|row| &row[..]) {
        None => Ok(0),
        Some([Value::Int(version)]) => u64::try_from(*version).map_err(|_| bad()),
        Some(_) => Err(bad()),
    }
}

fn encode_groups(groups: &[Box<str>]) -> String {
    use fmt::Write;
    let mut text = String::new();
    for group in groups {
        write!(text, "{}:{group}", group.len()).expect("writing to a String cannot fail");
    }
    text
}

fn decode_groups(mut text: &str) -> Option<Box<[Box<str>]>> {
    let mut groups = Vec::new();
    while !text.is_empty() {
        let (length, rest) = text.split_once(':')?;
        let (group, rest) = rest.split_at_checked(length.parse().ok()?)?;
        groups.push(group.into());
        text = rest;
    }
    Some(groups.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(item: Item) {
        let row = item.to_row();
        assert_eq!(row.len(), ROSTER_COLUMNS.len());
        for (value, column) in row.iter().zip(&ROSTER_COLUMNS) {
            assert!(value.fits(column.kind), "{}", column.name);
        }
        assert_eq!(Item::from_row(&item.jid.clone(), row), Ok(item));
    }

    #[test]
    fn items_come_back() {
        for (_, state) in State::NAMED {
            check(Item {
                state,
                listed: true,
                ..Item::new("a@b")
            });
        }
        check(Item {
            state: State {
                approved: true,
                ..State::TO
            },
            listed: true,
            ..Item::new("a@b")
        });
        check(Item {
            state: State::NONE_PENDING_IN,
            request: Some("<presence/>".into()),
            ..Item::new("a@b")
        });
        for groups in [&["a"][..], &["1:a", "", "\n,;:"], &["ünï:", "3:", "日本"]] {
            check(Item {
                name: Some("Ä 'n' <b>".into()),
                groups: groups.iter().map(|&g| g.into()).collect(),
                listed: true,
                ..Item::new("a@b")
            });
        }
    }

    #[test]
    fn damaged_rows_are_told() {
        let good = Item {
            listed: true,
            ..Item::new("a@b")
        }
        .to_row();
        let check = |column: usize, value: Value, name: &str| {
            let mut row = good.clone();
            row[column] = value;
            assert_eq!(
                Item::from_row("a@b", row),
                Err(BadRow {
                    jid: "a@b".into(),
                    column: match_name(name)
                })
            );
        };
        fn match_name(name: &str) -> &'static str {
            ROSTER_COLUMNS.iter().find(|c| c.name == name).expect("a column").name
        }
        check(0, Value::Int(1), "name");
        check(1, Value::Text("remove".into()), "subscription");
        check(1, Value::Null, "subscription");
        check(2, Value::Int(2), "ask");
        check(3, Value::Null, "requested");
        check(5, Value::Int(0), "listed");
        for groups in ["x", "5:abc", "1:é", "-1:a", "3:abcd"] {
            check(6, Value::Text(groups.into()), "groups");
        }
        let mut short = good.clone();
        short.pop();
        assert!(Item::from_row("a@b", short).is_err());
        // "Both" with a pending request is no state.
        let mut row = good.clone();
        row[1] = Value::Text("both".into());
        row[3] = Value::Int(1);
        assert!(Item::from_row("a@b", row).is_err());
    }

    #[test]
    fn versions() {
        assert_eq!(version(None), Ok(0));
        assert_eq!(version(Some(&vec![Value::Int(9)])), Ok(9));
        assert!(version(Some(&vec![Value::Int(-1)])).is_err());
        assert!(version(Some(&vec![])).is_err());
    }
}
