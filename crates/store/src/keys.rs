//! A part of a Map: the rows whose keys begin alike, from one to another.

use crate::Table;

/// Rows of one owner whose keys begin with `prefix`, in order of the keys' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pub table: &'static Table,
    pub owner: Box<str>,
    /// Not empty: that would be [`Query::All`](crate::Query::All).
    pub prefix: Box<str>,
    /// Behind this key, which need not be there.
    pub after: Option<Box<str>>,
    /// Before this key, which need not be there.
    pub before: Option<Box<str>>,
    /// The last rows of the part, and not the first. The answer ascends all the same.
    pub last: bool,
    /// At most so many rows (see [`PAGE_LIMIT`](crate::PAGE_LIMIT)).
    pub limit: usize,
}

impl Keys {
    pub fn of(table: &'static Table, owner: &str, prefix: &str, limit: usize) -> Keys {
        Keys {
            table,
            owner: owner.into(),
            prefix: prefix.into(),
            after: None,
            before: None,
            last: false,
            limit,
        }
    }

    /// The lowest key that may be in the part, and the lowest behind it, for drivers. None where the part is empty.
    pub fn bounds(&self) -> Option<(String, String)> {
        let mut from = String::from(&*self.prefix);
        if let Some(after) = self.after.as_deref().filter(|after| **after >= *from) {
            from = after.into();
            // No text stands between one and the same with this.
            from.push('\0');
        }
        let mut to = end_of(&self.prefix)?;
        if let Some(before) = self.before.as_deref().filter(|before| **before < *to) {
            to = before.into();
        }
        (from < to).then_some((from, to))
    }
}

/// The lowest text above all that begin with `prefix`: bytes of UTF-8 stand in the order of the characters. None where
/// there is no such text; the catalog refuses that.
pub fn end_of(prefix: &str) -> Option<String> {
    let mut end = String::from(prefix);
    while let Some(last) = end.pop() {
        let mut above = u32::from(last) + 1;
        // Surrogates are no characters.
        if above == 0xd800 {
            above = 0xe000;
        }
        if let Some(above) = char::from_u32(above) {
            end.push(above);
            return Some(end);
        }
    }
    None
}
