//! The elements of dialback (XEP-0220): read, answered, written.
//!
//! Nobody takes an answer here that was not asked for: [`incoming`](super::incoming) and [`peered`](super::peered) ignore
//! all of them, and [`outgoing`](super::outgoing) takes the one to the request that it has sent on the same stream.

use router::Pair;
use stanza::{Condition, StanzaError, StreamError, ns};
use xmlstream::Element;

use super::ServerConfig;
use super::header::domain;

/// A key that another server has shown for a pair, to be verified by the authoritative server of its domain
/// (section 2.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub pair: Pair,
    /// The id of our stream header.
    pub id: Box<str>,
    pub key: Box<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Result,
    Verify,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Result => "result",
            Kind::Verify => "verify",
        }
    }
}

/// What an answer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Valid,
    Invalid,
    /// None: none of the conditions of RFC 6120.
    Error(Option<Condition>),
}

/// An element of dialback. Its domains are prepared.
pub(super) struct Said {
    pub(super) kind: Kind,
    pub(super) from: Box<str>,
    pub(super) to: Box<str>,
    pub(super) id: Option<Box<str>>,
    /// None: it is a request.
    pub(super) verdict: Option<Verdict>,
    pub(super) key: Box<str>,
}

impl Said {
    /// None: nothing that anybody here has asked for.
    ///
    /// # Errors
    /// A request that says not for whom it is.
    pub(super) fn read(element: &Element<'_>) -> Result<Option<Said>, StreamError> {
        let kind = match element.name() {
            "result" => Kind::Result,
            "verify" => Kind::Verify,
            _ => return Err(StreamError::unsupported_stanza_type()),
        };
        let verdict = match element.attr("type").as_deref() {
            None => None,
            Some("valid") => Some(Verdict::Valid),
            Some("invalid") => Some(Verdict::Invalid),
            Some("error") => Some(Verdict::Error(condition(element))),
            Some(_) => return Ok(None),
        };
        let (from, to) = (
            element.attr("from").and_then(domain),
            element.attr("to").and_then(domain),
        );
        let (Some(from), Some(to)) = (from, to) else {
            return match verdict {
                Some(_) => Ok(None),
                None => Err(StreamError::improper_addressing()),
            };
        };
        Ok(Some(Said {
            kind,
            from,
            to,
            id: element.attr("id").map(|id| id.as_ref().into()),
            verdict,
            // White space around a key is that of who writes XML for people.
            key: element.text().trim().into(),
        }))
    }

    /// The pair of a request: `to` is ours.
    pub(super) fn pair(&self) -> Pair {
        Pair::new(&self.to, &self.from)
    }

    /// The answer to a request.
    pub(super) fn answer(&self, verdict: Result<bool, &StanzaError>) -> String {
        answer(self.kind, &self.pair(), self.id.as_deref(), verdict)
    }

    /// A question whether a key is ours (section 2.2.2), answered for whoever asks: all that is told is whether they
    /// hold a key that we have made.
    pub(super) fn verify(&self, config: &ServerConfig) -> String {
        if !config.rules.is_ours(&self.to) {
            return self.answer(Err(&StanzaError::item_not_found()));
        }
        let id = self.id.as_deref().unwrap_or_default();
        let is_good = auth::is_dialback_key(&self.key, &config.dialback_secret, &self.from, &self.to, id);
        self.answer(Ok(is_good))
    }
}

/// The condition of `<error/>`, whatever namespace that has: it is "implicitly qualified".
fn condition(element: &Element<'_>) -> Option<Condition> {
    let error = element.children().find(|child| child.name() == "error")?;
    let mut conditions = error.children().filter(|child| child.ns() == ns::STANZAS);
    conditions.find_map(|child| Condition::from_name(child.name()))
}

/// Writes an answer about a pair: `Ok`: whether the key is good.
pub(super) fn answer(kind: Kind, pair: &Pair, id: Option<&str>, verdict: Result<bool, &StanzaError>) -> String {
    let mut out = open(kind, &pair.local, &pair.remote, id);
    match verdict {
        Ok(is_good) => {
            let type_: &[u8] = if is_good {
                b" type='valid'/>"
            } else {
                b" type='invalid'/>"
            };
            out.extend_from_slice(type_);
        }
        Err(error) => {
            out.extend_from_slice(b" type='error'>");
            error.write(&mut out);
            out.extend_from_slice(format!("</db:{}>", kind.name()).as_bytes());
        }
    }
    text(out)
}

/// Writes a request: the key of the pair, to be taken or to be verified.
pub(super) fn request(kind: Kind, pair: &Pair, id: Option<&str>, key: &str) -> String {
    let mut out = open(kind, &pair.local, &pair.remote, id);
    out.push(b'>');
    xmlstream::escape_text(&mut out, key);
    out.extend_from_slice(format!("</db:{}>", kind.name()).as_bytes());
    text(out)
}

fn open(kind: Kind, from: &str, to: &str, id: Option<&str>) -> Vec<u8> {
    let mut out = format!("<db:{}", kind.name()).into_bytes();
    for (name, value) in [("from", Some(from)), ("to", Some(to)), ("id", id)] {
        if let Some(value) = value {
            out.extend_from_slice(format!(" {name}='").as_bytes());
            xmlstream::escape_attr(&mut out, value);
            out.push(b'\'');
        }
    }
    out
}

/// Escaping text yields text.
fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_default()
}
