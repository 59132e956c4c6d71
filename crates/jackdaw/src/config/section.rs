//! One declaration per section of the configuration: the struct that serde fills, its defaults, and
//! the text that `jackdaw config example` prints. The doc comments of the fields *are* the manual of
//! the options, so the manual cannot tell something else than the code.
//!
//! A macro by example and not a derive crate: what is needed is thirty lines, and a derive would be
//! built before everything else on every machine.

use std::fmt::Write as _;

use serde::Serialize;

/// One key of a section, as the example shows it.
pub struct Key {
    pub name: &'static str,
    /// The lines of the doc comment, each with its leading space.
    pub docs: &'static [&'static str],
    /// The default in TOML, or `None` where a key has none.
    pub value: Option<String>,
    /// What to show, commented out, where there is no default.
    pub sample: Option<&'static str>,
}

/// A section that can show itself.
pub trait Section {
    /// The lines of the doc comment of the whole section.
    const ABOUT: &'static [&'static str];

    /// The keys of this value in the order of the declaration, without its tables.
    fn keys(&self) -> Vec<Key>;
}

/// A value in TOML, or `None` for an absent one. Integers are grouped (`262_144`): people compare
/// them by eye.
pub fn toml_text<T: Serialize>(value: &T) -> Option<String> {
    // An error here means `None` (TOML has no null); every other type of ours serialises.
    match toml::Value::try_from(value).ok()? {
        toml::Value::Integer(number) => Some(grouped(number)),
        other => Some(other.to_string()),
    }
}

fn grouped(number: i64) -> String {
    let digits = number.to_string();
    if number < 10_000 {
        return digits;
    }
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// Writes doc comment lines as TOML comments.
pub fn write_docs(out: &mut String, docs: &[&str]) {
    for line in docs {
        out.push('#');
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

/// Writes every key of a section, each below its comment.
pub fn write_keys(out: &mut String, section: &impl Section) {
    for key in section.keys() {
        write_docs(out, key.docs);
        // Writing into a String cannot fail.
        let _ = match (&key.value, key.sample) {
            (Some(value), _) => writeln!(out, "{} = {value}\n", key.name),
            (None, Some(sample)) => writeln!(out, "# {} = {sample}\n", key.name),
            (None, None) => Ok(()),
        };
    }
}

/// Declares a section. `@default` before a struct makes every key optional with the default beside
/// it; without it a key is required unless it carries `@default` itself or is an `Option`. The text
/// after `=>` is shown, commented out, for a key that has no default. Keys below `tables` are
/// sections of their own and shown by `example.rs`.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $(@ $whole:ident)? pub struct $Name:ident {
            $(
                $(#[doc = $doc:literal])*
                $(@ $option:ident)? pub $key:ident : $Type:ty = $default:expr $(=> $sample:literal)?,
            )*
        }
        $(tables {
            $(
                $(#[doc = $table_doc:literal])*
                $(@ $table_option:ident)? pub $table:ident : $Table:ty = $table_default:expr,
            )*
        })?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
        #[serde(deny_unknown_fields $(, $whole)?)]
        pub struct $Name {
            $(
                $(#[doc = $doc])*
                ///
                #[doc = concat!("Default: `", stringify!($default), "`.")]
                $(#[serde($option)])?
                pub $key: $Type,
            )*
            $($(
                $(#[doc = $table_doc])*
                $(#[serde($table_option)])?
                pub $table: $Table,
            )*)?
        }

        impl Default for $Name {
            fn default() -> Self {
                Self {
                    $($key: $default,)*
                    $($($table: $table_default,)*)?
                }
            }
        }

        impl $crate::config::section::Section for $Name {
            const ABOUT: &'static [&'static str] = &[$($about),*];

            fn keys(&self) -> Vec<$crate::config::section::Key> {
                vec![$(
                    $crate::config::section::Key {
                        name: stringify!($key),
                        docs: &[$($doc),*],
                        value: $crate::config::section::toml_text(&self.$key),
                        sample: [$($sample)?].first().copied(),
                    }
                ),*]
            }
        }
    };
}
pub(crate) use section;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_from_five_digits_on() {
        let check = |number: i64, text: &str| assert_eq!(toml_text(&number).as_deref(), Some(text));
        check(0, "0");
        check(9_999, "9999");
        check(10_000, "10_000");
        check(262_144, "262_144");
        check(1_048_576, "1_048_576");
    }

    #[test]
    fn an_absent_value_has_no_text() {
        assert_eq!(toml_text(&None::<u32>), None);
        assert_eq!(toml_text(&Some("a")).as_deref(), Some("\"a\""));
    }
}
