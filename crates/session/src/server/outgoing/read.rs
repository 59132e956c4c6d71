//! What a server says while a stream is made: its features, and why it ends the stream.

use std::fmt;

use stanza::ns;
use xmlstream::Element;

use crate::server::max_bytes;

/// Characters of a peer's own words that are shown to anybody.
const TEXT_CHARACTERS: usize = 200;

/// What `<features/>` offers, as far as it is taken here (RFC 6120 section 4.3.2).
#[derive(Default)]
pub(super) struct Features {
    pub(super) starttls: bool,
    pub(super) external: bool,
    /// XEP-0220 section 2.4.1.
    pub(super) dialback: bool,
    /// XEP-0288.
    pub(super) bidi: bool,
    /// XEP-0198.
    pub(super) sm: bool,
    /// XEP-0478.
    pub(super) max_bytes: Option<usize>,
}

impl Features {
    pub(super) fn read(element: &Element<'_>) -> Features {
        let mut features = Features::default();
        for child in element.children() {
            match (child.ns(), child.name()) {
                (ns::TLS, "starttls") => features.starttls = true,
                (ns::SASL, "mechanisms") => {
                    let mut mechanisms = child.children().filter(|child| child.is("mechanism", ns::SASL));
                    features.external |= mechanisms.any(|mechanism| mechanism.text().trim() == "EXTERNAL");
                }
                (ns::DIALBACK_FEATURE, "dialback") => features.dialback = true,
                (ns::BIDI_FEATURE, "bidi") => features.bidi = true,
                (ns::SM, "sm") => features.sm = true,
                (ns::STREAM_LIMITS, "limits") => features.max_bytes = max_bytes(&child),
                _ => {}
            }
        }
        features
    }
}

/// A stream error.
pub(super) struct Ended {
    pub(super) condition: String,
    text: Option<String>,
}

impl Ended {
    pub(super) fn read(element: &Element<'_>) -> Ended {
        let mut condition = None;
        let mut text = None;
        for child in element.children().filter(|child| child.ns() == ns::STREAMS) {
            match child.name() {
                "text" => text = Some(shown(&child.text())),
                name => condition = Some(shown(name)),
            }
        }
        Ended {
            condition: condition.unwrap_or_else(|| "undefined-condition".to_owned()),
            text: text.filter(|text| !text.is_empty()),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            None => out.write_str(&self.condition),
            Some(text) => write!(out, "{} ({text})", self.condition),
        }
    }
}

/// A peer's own words: some, on one line.
fn shown(text: &str) -> String {
    let printable = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(TEXT_CHARACTERS).collect()
}
