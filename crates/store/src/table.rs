//! What a feature declares: tables with real columns, and the values that go into them.

/// A table, declared as a `static` beside the feature that owns it.
///
/// Names (of tables and columns) are lower-case ASCII letters, digits and `_`, starting with a letter. A table may grow
/// columns at the end from release to release; rows written before read as [`Value::Null`] there. It may not change
/// its shape, nor a column's kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Table {
    pub name: &'static str,
    pub shape: Shape,
    pub columns: &'static [Column],
}

/// How the rows of a table are found. The owner is a bare JID as text (or another name the feature chooses).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One row per owner.
    KeyVal,
    /// Rows by (owner, key), the key being text; read in order of the key's bytes.
    Map,
    /// Rows by (owner, id), only ever appended and trimmed. The id comes from one persisted sequence for the whole
    /// store: strictly increasing in the order of submission, never used twice, with gaps.
    Archive,
}

/// A column beside the ones that the shape brings (`owner`, `key`, `id`). Every column takes [`Value::Null`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub name: &'static str,
    pub kind: ColumnKind,
}

impl Column {
    pub const fn int(name: &'static str) -> Column {
        Column {
            name,
            kind: ColumnKind::Int,
        }
    }

    pub const fn text(name: &'static str) -> Column {
        Column {
            name,
            kind: ColumnKind::Text,
        }
    }

    pub const fn blob(name: &'static str) -> Column {
        Column {
            name,
            kind: ColumnKind::Blob,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// 64 bits, signed.
    Int,
    /// UTF-8.
    Text,
    Blob,
}

/// The values of one row, in the order of [`Table::columns`].
pub type Row = Vec<Value>;

/// One value. It has no `Debug` that shows its content: rows hold message bodies and password hashes.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    Null,
    Int(i64),
    Text(Box<str>),
    Blob(Box<[u8]>),
}

impl Value {
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_blob(&self) -> Option<&[u8]> {
        match self {
            Value::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Whether a column of this kind takes the value.
    pub fn fits(&self, kind: ColumnKind) -> bool {
        match self {
            Value::Null => true,
            Value::Int(_) => kind == ColumnKind::Int,
            Value::Text(_) => kind == ColumnKind::Text,
            Value::Blob(_) => kind == ColumnKind::Blob,
        }
    }

    /// Bytes of content, for the limits of queues.
    pub fn bytes(&self) -> usize {
        match self {
            Value::Null => 0,
            Value::Int(_) => size_of::<i64>(),
            Value::Text(text) => text.len(),
            Value::Blob(bytes) => bytes.len(),
        }
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Null => f.write_str("Null"),
            Value::Int(n) => write!(f, "Int({n})"),
            Value::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Value::Blob(bytes) => write!(f, "Blob({} bytes)", bytes.len()),
        }
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Value {
        Value::Int(n)
    }
}

impl From<bool> for Value {
    /// 0 or 1.
    fn from(yes: bool) -> Value {
        Value::Int(i64::from(yes))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(text.into())
    }
}

impl From<Box<str>> for Value {
    fn from(text: Box<str>) -> Value {
        Value::Text(text)
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Value {
        Value::Blob(bytes.into())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Value {
        Value::Blob(bytes.into())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// A [`Row`] from anything that is `Into<Value>`: `row![1, "text", None::<i64>]`.
#[macro_export]
macro_rules! row {
    ($($value:expr),* $(,)?) => { vec![$($crate::Value::from($value)),*] };
}
