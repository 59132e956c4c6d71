//! Whom an account archives messages with (XEP-0441).

use module::{ArchivePrefs, ArchiveRule};
use stanza::JidRef;
use store::{Column, Row, Shape, Table, row};

/// The preferences of accounts that have set some.
pub static PREFS: Table = Table {
    name: "archive_prefs",
    shape: Shape::KeyVal,
    columns: &[Column::int("rule"), Column::text("always"), Column::text("never")],
};

const ALWAYS: i64 = 0;
const NEVER: i64 = 1;
const ROSTER: i64 = 2;

/// Between the addresses of a list: no address can hold it (RFC 7622 section 3.4).
const SEPARATOR: char = '\n';

/// The preferences as they are stored.
pub fn prefs_row(prefs: &ArchivePrefs) -> Row {
    let rule = match prefs.default {
        ArchiveRule::Always => ALWAYS,
        ArchiveRule::Never => NEVER,
        ArchiveRule::Roster => ROSTER,
    };
    row![rule, joined(&prefs.always), joined(&prefs.never)]
}

/// The preferences of a stored row; what cannot be read is as if it had not been set, which archives too much rather
/// than too little.
pub fn prefs_of(row: &Row) -> ArchivePrefs {
    let list = |at: usize| row.get(at).and_then(store::Value::as_text).map_or_else(Vec::new, split);
    ArchivePrefs {
        default: match row.first().and_then(store::Value::as_int) {
            Some(NEVER) => ArchiveRule::Never,
            Some(ROSTER) => ArchiveRule::Roster,
            _ => ArchiveRule::Always,
        },
        always: list(1),
        never: list(2),
    }
}

fn joined(list: &[Box<str>]) -> String {
    let mut text = String::new();
    for jid in list {
        if !text.is_empty() {
            text.push(SEPARATOR);
        }
        text.push_str(jid);
    }
    text
}

fn split(text: &str) -> Vec<Box<str>> {
    text.split(SEPARATOR)
        .filter(|jid| !jid.is_empty())
        .map(Into::into)
        .collect()
}

/// Whether messages with this address are archived: `to` of what was sent, `from` of what was received (sections
/// 2.3.2 and 2.3.3). `in_roster`: its bare JID is in the roster of the account.
///
/// An entry with a resource is for that resource only, one without is for all (section 2.3.1). Where both lists name
/// the address the more exact entry holds, and of two that are equally exact the one that archives nothing.
pub fn wants(prefs: &ArchivePrefs, other: JidRef<'_>, in_roster: bool) -> bool {
    // Nearly all accounts have no lists.
    if !(prefs.always.is_empty() && prefs.never.is_empty()) {
        for name in [other.as_str(), other.bare_str()] {
            let is_in = |list: &[Box<str>]| list.iter().any(|jid| **jid == *name);
            if is_in(&prefs.never) {
                return false;
            }
            if is_in(&prefs.always) {
                return true;
            }
        }
    }
    match prefs.default {
        ArchiveRule::Always => true,
        ArchiveRule::Never => false,
        ArchiveRule::Roster => in_roster,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stanza::Jid;
    use store::Value;

    fn prefs(default: ArchiveRule, always: &[&str], never: &[&str]) -> ArchivePrefs {
        let list = |jids: &[&str]| jids.iter().map(|jid| Box::from(*jid)).collect();
        ArchivePrefs {
            default,
            always: list(always),
            never: list(never),
        }
    }

    #[test]
    fn what_is_stored_is_read() {
        let cases = [
            ArchivePrefs::default(),
            prefs(ArchiveRule::Never, &["romeo@montague.lit"], &[]),
            prefs(ArchiveRule::Roster, &["a@b", "c@d/e f"], &["g", "h@i/j"]),
        ];
        for case in cases {
            let row = prefs_row(&case);
            assert_eq!(row.len(), PREFS.columns.len());
            assert!(
                row.iter()
                    .zip(PREFS.columns)
                    .all(|(value, column)| value.fits(column.kind))
            );
            assert_eq!(prefs_of(&row), case);
        }
        assert_eq!(prefs_of(&vec![Value::Null, Value::Null]), ArchivePrefs::default());
        assert_eq!(prefs_of(&Vec::new()), ArchivePrefs::default());
    }

    #[test]
    fn lists_come_before_the_rule() {
        let check = |prefs: &ArchivePrefs, other: &str, in_roster: bool, expected: bool| {
            let jid = Jid::parse(other).expect(other);
            assert_eq!(
                wants(prefs, jid.as_ref(), in_roster),
                expected,
                "{prefs:?} {other} {in_roster}"
            );
        };
        let all = ArchivePrefs::default();
        let none = prefs(ArchiveRule::Never, &[], &[]);
        let roster = prefs(ArchiveRule::Roster, &["montague.lit"], &["nurse@capulet.lit"]);
        for in_roster in [true, false] {
            check(&all, "romeo@montague.lit/a", in_roster, true);
            check(&none, "romeo@montague.lit/a", in_roster, false);
            check(&roster, "romeo@montague.lit/a", in_roster, in_roster);
            check(&roster, "montague.lit", in_roster, true);
            check(&roster, "montague.lit/x", in_roster, true);
            check(&roster, "nurse@capulet.lit/y", in_roster, false);
        }
        let exact = prefs(
            ArchiveRule::Always,
            &["romeo@montague.lit/orchard", "both@montague.lit"],
            &["romeo@montague.lit", "nurse@capulet.lit/y", "both@montague.lit"],
        );
        check(&exact, "romeo@montague.lit/orchard", false, true);
        check(&exact, "romeo@montague.lit/home", false, false);
        check(&exact, "romeo@montague.lit", false, false);
        check(&exact, "nurse@capulet.lit/y", false, false);
        check(&exact, "nurse@capulet.lit/z", false, true);
        check(&exact, "nurse@capulet.lit", false, true);
        check(&exact, "both@montague.lit", false, false);
    }
}
