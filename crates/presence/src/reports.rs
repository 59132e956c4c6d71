//! What accounts report of those they block (XEP-0377): for the operator to read.

use sha2::{Digest, Sha256};
use store::{Batch, Column, Keys, Query, Row, Shape, Table, Value, row};

/// Under whose name all reports stand: they are the operator's, whoever made them. No account has such a name.
pub const OWNER: &str = "reports";

/// Reports that are kept altogether; no further one is, until the operator has removed some.
pub const KEPT: u64 = 10_000;

/// Messages that one report may name; more are left out.
pub const MESSAGES: usize = 20;

/// Bytes of what a user writes, and of a message, that are kept.
pub const TEXT_BYTES: usize = 2_000;

/// Bytes of the name of a reason.
pub const REASON_BYTES: usize = 256;

/// What every id begins with.
const PREFIX: &str = "r";

/// By their ids, which are in order of time.
pub static REPORTS: Table = Table {
    name: "reports",
    shape: Shape::Map,
    columns: &[
        // Unix milliseconds.
        Column::int("at"),
        Column::text("reporter"),
        Column::text("of"),
        Column::text("reason"),
        Column::text("text"),
        // Lines: the id, and behind a TAB what the message says, where it was found.
        Column::text("messages"),
        // 1: it may be forwarded to the domain it is about; 2: to others.
        Column::int("forward"),
        // Unix milliseconds; null: the operator has not closed it.
        Column::int("closed"),
    ],
};

/// How many reports an account has made on its last day with any.
pub static REPORTED: Table = Table {
    name: "reported",
    shape: Shape::KeyVal,
    columns: &[Column::int("day"), Column::int("count")],
};

/// As it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub id: Box<str>,
    pub at: i64,
    /// Bare JID of who has made it.
    pub reporter: Box<str>,
    /// Whom it is about.
    pub of: Box<str>,
    pub reason: Box<str>,
    pub text: Box<str>,
    pub messages: Vec<Message>,
    pub for_origin: bool,
    pub for_others: bool,
    pub closed: Option<i64>,
}

/// A message that was reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub id: Box<str>,
    /// None: the archive does not have it, or it is not of who was reported.
    pub text: Option<Box<str>>,
}

impl Report {
    /// Two at the same moment differ by who and whom.
    pub fn id_of(at: i64, reporter: &str, of: &str) -> Box<str> {
        let mut hash = Sha256::new();
        for part in [reporter, of] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
        format!("{PREFIX}{at:011x}-{:08x}", u32::from_le_bytes([a, b, c, d])).into()
    }

    /// Writes it, over what stands under the same id.
    pub fn put(&self, batch: Batch) -> Batch {
        let line = |message: &Message| match &message.text {
            None => format!("{}\n", message.id),
            Some(text) => format!("{}\t{text}\n", message.id),
        };
        let messages: String = self.messages.iter().map(line).collect();
        let forward = i64::from(self.for_origin) | i64::from(self.for_others) << 1;
        let mut row = row![
            self.at,
            &*self.reporter,
            &*self.of,
            &*self.reason,
            &*self.text,
            &*messages,
            forward
        ];
        row.push(self.closed.map_or(Value::Null, Value::Int));
        batch.put(&REPORTS, OWNER, &*self.id, row)
    }

    pub fn from_row(id: &str, row: &Row) -> Report {
        let text = |at: usize| row.get(at).and_then(Value::as_text).unwrap_or_default();
        let number = |at: usize| row.get(at).and_then(Value::as_int);
        let message = |line: &str| match line.split_once('\t') {
            None => Message {
                id: line.into(),
                text: None,
            },
            Some((id, text)) => Message {
                id: id.into(),
                text: Some(text.into()),
            },
        };
        let forward = number(6).unwrap_or_default();
        Report {
            id: id.into(),
            at: number(0).unwrap_or_default(),
            reporter: text(1).into(),
            of: text(2).into(),
            reason: text(3).into(),
            text: text(4).into(),
            messages: text(5).lines().map(message).collect(),
            for_origin: forward & 1 != 0,
            for_others: forward & 2 != 0,
            closed: number(7),
        }
    }
}

/// A page of them, in order of time.
pub fn page(after: Option<&str>, limit: usize) -> Query {
    let mut keys = Keys::of(&REPORTS, OWNER, PREFIX, limit);
    keys.after = after.map(Into::into);
    Query::keys(keys)
}

pub fn get(id: &str) -> Query {
    Query::get(&REPORTS, OWNER, id)
}

pub fn remove(batch: Batch, id: &str) -> Batch {
    batch.delete(&REPORTS, OWNER, id)
}

/// On one line and not too long: it is printed as one, and an operator reads many.
pub fn line(text: &str, bytes: usize) -> Box<str> {
    let end = text.floor_char_boundary(bytes.min(text.len()));
    let is_end = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    text[..end].replace(is_end, " ").trim().into()
}

#[cfg(test)]
mod tests {
    use store::Op;

    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let report = Report {
            id: Report::id_of(1_764_413_000_123, "a@b", "c@d"),
            at: 1_764_413_000_123,
            reporter: "a@b".into(),
            of: "c@d".into(),
            reason: "urn:xmpp:reporting:spam".into(),
            text: "buy, he said".into(),
            messages: vec![
                Message {
                    id: "1".into(),
                    text: None,
                },
                Message {
                    id: "2".into(),
                    text: Some("buy\there".into()),
                },
            ],
            for_origin: true,
            for_others: false,
            closed: Some(7),
        };
        for report in [report, Report::default()] {
            let batch = report.put(Batch::new());
            let [Op::Put { row, .. }] = &batch.ops[..] else {
                panic!("one row: {batch:?}")
            };
            assert_eq!(Report::from_row(&report.id, row), report);
        }
    }

    #[test]
    fn ids_are_in_order_and_differ() {
        let id = |at, reporter, of| Report::id_of(at, reporter, of);
        assert!(id(1, "a", "b") < id(2, "a", "b"));
        assert!(id(0xfff_ffff_ffff - 1, "a", "b") < id(0xfff_ffff_ffff, "a", "b"));
        assert_ne!(id(1, "a", "bc"), id(1, "ab", "c"));
        assert!(id(1, "a", "b").starts_with(PREFIX));
    }

    #[test]
    fn lines() {
        assert_eq!(&*line(" a\nb\tc\u{2028}d\u{1b} ", TEXT_BYTES), "a b c d");
        assert_eq!(&*line("éé", 3), "é");
        assert_eq!(&*line("", 9), "");
    }
}
