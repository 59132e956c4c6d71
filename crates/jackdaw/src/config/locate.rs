//! Where in the file something is, and errors that say so in one line.

use std::fmt;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// A configuration that cannot be used. Displays as one line, with the place in front of it:
/// `jackdaw.toml:12:3: unknown key …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A step to a value in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Key(&'static str),
    Index(usize),
}

/// A file as text with its name, to turn places into lines and columns.
pub struct Source<'a> {
    /// As shown in errors.
    pub name: String,
    pub text: &'a str,
}

impl Source<'_> {
    /// `name:line:column`, both from 1; the column counts characters.
    pub fn place(&self, offset: usize) -> String {
        let before = &self.text[..self.text.floor_char_boundary(offset.min(self.text.len()))];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        format!("{}:{line}:{column}", self.name)
    }

    /// The place of a value, or of the deepest table on the way to it that the file has.
    pub fn place_of(&self, path: &[Step]) -> Option<String> {
        let root = DeTable::parse(self.text).ok()?;
        let mut table: &DeTable<'_> = root.get_ref();
        let mut found: Option<Range<usize>> = None;
        let mut steps = path.iter();
        while let Some(Step::Key(key)) = steps.next() {
            let Some((key, value)) = table.iter().find(|(name, _)| name.get_ref() == key) else {
                break;
            };
            found = Some(match value.get_ref() {
                DeValue::Table(_) | DeValue::Array(_) => key.span(),
                _ => value.span(),
            });
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                DeValue::Array(values) => {
                    let Some(Step::Index(index)) = steps.next() else { break };
                    let Some(value) = values.get(*index) else { break };
                    found = Some(value.span());
                    let DeValue::Table(inner) = value.get_ref() else { break };
                    table = inner;
                }
                _ => break,
            }
        }
        found.map(|range| self.place(range.start))
    }

    /// Whether the file says something about a key at its top.
    pub fn sets(&self, key: &'static str) -> bool {
        DeTable::parse(self.text).is_ok_and(|root| root.get_ref().iter().any(|(name, _)| name.get_ref() == key))
    }

    /// The header of the section around a place, `[limits]`, if there is one before it. A line of a
    /// multi-line string that looks like a header would mislead it: only a message depends on it.
    fn section(&self, offset: usize) -> Option<&str> {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        // Whole lines only: an unknown section is in none.
        before[..before.rfind('\n').unwrap_or(0)]
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| line.starts_with('['))
            .map(|line| line.split('#').next().unwrap_or(line).trim())
    }

    /// An error of the TOML reader in one line, and what was probably meant.
    pub fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        let Some(span) = error.span() else {
            return ConfigError(format!("{}: {message}", self.name));
        };
        let place = self.place(span.start);
        let message = match unknown_key(&message) {
            Some((key, known)) => {
                let section = match self.section(span.start) {
                    Some(section) => format!(" in {section}"),
                    None => String::new(),
                };
                let meant = match nearest(key, &known) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => format!("known are {}", known.join(", ")),
                };
                format!("unknown key `{key}`{section}; {meant}")
            }
            None => message.replace("missing field", "missing key"),
        };
        ConfigError(format!("{place}: {message}"))
    }
}

/// Serde's message for an unknown field, taken apart: "unknown field `a`, expected one of `b`, `c`".
fn unknown_key(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut quoted = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((quoted.next()?, quoted.collect()))
}

/// The known name that differs least, if it differs little enough to have been meant.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, name) = known.iter().map(|name| (distance(word, name), *name)).min()?;
    (distance <= 1 + word.len() / 4).then_some(name)
}

/// Levenshtein distance in bytes: the number of insertions, deletions and replacements.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "data = \"d\"\n[limits]\nattributes = 3\n[[domain]]\nname = \"ä\" # [x]\nkey = 5\n";

    fn source() -> Source<'static> {
        Source {
            name: "f".to_owned(),
            text: TEXT,
        }
    }

    #[test]
    fn places_are_lines_and_columns_from_one() {
        let check = |path: &[Step], place: Option<&str>| {
            assert_eq!(source().place_of(path).as_deref(), place, "{path:?}");
        };
        use Step::{Index, Key};
        check(&[Key("data")], Some("f:1:8"));
        check(&[Key("limits"), Key("attributes")], Some("f:3:14"));
        check(&[Key("domain"), Index(0), Key("name")], Some("f:5:8"));
        check(&[Key("domain"), Index(0), Key("key")], Some("f:6:7"));
        check(&[Key("domain"), Index(0), Key("absent")], Some("f:4:1"));
        check(&[Key("absent")], None);
    }

    #[test]
    fn a_column_counts_characters() {
        let after_umlaut = TEXT.find('ä').expect("it is in the text above") + 'ä'.len_utf8();
        assert_eq!(source().place(after_umlaut), "f:5:10");
    }

    #[test]
    fn the_nearest_name_is_found_only_if_it_is_near() {
        let known = ["attributes", "namespaces", "stanza_bytes"];
        let check = |word: &str, name: Option<&str>| assert_eq!(nearest(word, &known), name, "{word}");
        check("atributes", Some("attributes"));
        check("stanzabytes", Some("stanza_bytes"));
        check("stanza_byte", Some("stanza_bytes"));
        check("colour", None);
    }
}
