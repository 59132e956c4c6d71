//! What a subscriber wants of his subscription (XEP-0060 sections 6.3 and 6.4).
//!
//! Offered is what this server can keep: whether he is told at all, and in which states of presence. There are no
//! digests, which would be a second queue; no body, as no payload has a text by itself (section 13.8 wants it not
//! offered then); no leases: what ends by itself would be written when nobody asks.

use module::Shows;
use stanza::{StanzaError, ns};

use crate::config::boolean;
use crate::error::with;
use crate::form::{Fields, Kind, Writer};

pub(crate) const FORM_TYPE: &str = "http://jabber.org/protocol/pubsub#subscribe_options";

const DELIVER: &str = "pubsub#deliver";
const SHOW_VALUES: &str = "pubsub#show-values";

/// Fields that are understood, and have one value only.
const FIXED: &[(&str, &str)] = &[
    ("pubsub#digest", "0"),
    ("pubsub#include_body", "0"),
    ("pubsub#subscription_type", "items"),
    ("pubsub#subscription_depth", "1"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) deliver: bool,
    pub(crate) shows: Shows,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            deliver: true,
            shows: Shows::ALL,
        }
    }
}

impl Options {
    /// What was submitted; a field that is not there stays as it is (section 6.3.7.2).
    pub(crate) fn submit(&mut self, fields: &Fields) -> Result<(), StanzaError> {
        for (var, values) in fields {
            let set = match (&**var, &values[..]) {
                (DELIVER, [value]) => boolean(value.trim_ascii()).ok().map(|deliver| self.deliver = deliver),
                (SHOW_VALUES, values) => shows(values).map(|shows| self.shows = shows),
                (var, [value]) => {
                    let fixed = FIXED.iter().find(|(fixed, _)| *fixed == var);
                    let is_same = fixed.is_some_and(|(_, fixed)| match boolean(fixed) {
                        Ok(fixed) => boolean(value.trim_ascii()) == Ok(fixed),
                        Err(_) => value.trim_ascii() == *fixed,
                    });
                    is_same.then_some(())
                }
                _ => None,
            };
            if set.is_none() {
                let text = format!("{} cannot be that", var.chars().take(64).collect::<String>());
                return Err(with(StanzaError::bad_request(), "invalid-options").text(text));
            }
        }
        Ok(())
    }

    pub(crate) fn write_form(&self, is_form: bool, out: &mut Vec<u8>) {
        let mut form = Writer::begin(out, is_form, FORM_TYPE);
        let deliver = if self.deliver { "1" } else { "0" };
        form.field(DELIVER, Kind::Boolean, "Be told of new items", &[deliver.into()]);
        let shown = self.shows.names().map(str::to_owned).collect::<Vec<_>>();
        form.field(
            SHOW_VALUES,
            Kind::ListMulti(Shows::NAMES),
            "In which states of presence",
            &shown,
        );
        form.end();
    }

    /// For the store.
    pub(crate) fn text(self) -> String {
        format!("{}{}", if self.deliver { '1' } else { '0' }, self.shows.bits())
    }

    /// What stands in the store; nothing is what everybody has.
    pub(crate) fn of_text(text: &str) -> Options {
        let Some((deliver, shows)) = text.split_at_checked(1) else {
            return Options::default();
        };
        Options {
            deliver: deliver != "0",
            shows: shows.parse().map_or(Shows::ALL, Shows::from_bits),
        }
    }
}

/// Without any he would never be told: that is what the other field is for.
fn shows(values: &[String]) -> Option<Shows> {
    let shows = values.iter().map(|value| Shows::read(value.trim_ascii()));
    let shows = shows.reduce(|one, other| Some(one?.and(other?)));
    shows.flatten()
}

/// Section 6.4: of a node, or of all.
pub(crate) fn defaults(node: Option<&str>) -> String {
    let mut out = format!("<pubsub xmlns='{}'>", ns::PUBSUB).into_bytes();
    let write = |out: &mut Vec<u8>| Options::default().write_form(false, out);
    match node {
        Some(node) => crate::event::element("default", node, write, &mut out),
        None => {
            out.extend_from_slice(b"<default>");
            write(&mut out);
            out.extend_from_slice(b"</default>");
        }
    }
    out.extend_from_slice(b"</pubsub>");
    crate::event::string(out)
}
