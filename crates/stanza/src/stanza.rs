//! A stanza as it arrived: a checked view over its bytes.
//!
//! [`Stanza::read`] looks at the start tag once and answers every question that routing asks; the payload is looked
//! at only by who needs it. What is wrong with a stanza is a value ([`Fault`]) that knows what the sender is told.

use std::borrow::Cow;

use xmlstream::{Child, Element};

use crate::error::StanzaError;
use crate::jid::{Jid, JidCow, JidError, JidRef};
use crate::kind::{IqType, Kind, MessageType, PresenceType};
use crate::ns;

/// A message, presence or IQ whose start tag makes sense.
#[derive(Clone, Debug)]
pub struct Stanza<'a> {
    element: Element<'a>,
    kind: Kind,
    to: Option<JidCow<'a>>,
    from: Option<JidCow<'a>>,
    id: Option<Cow<'a, str>>,
    default_lang: Option<&'a str>,
}

/// Why an element is no stanza that can be routed, and so what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `from` is no JID, so it is not the sender's own: the session ends the stream with `invalid-from`
    /// (RFC 6120 section 4.9.3.9), as for any other wrong `from`.
    InvalidFrom,
    /// Send [`Fault::error`] to the sender.
    Answered(FaultKind),
    /// Drop it: it is of a type that must not be answered with an error, see [`Kind::may_be_answered`].
    Ignored(FaultKind),
}

/// What is wrong with a stanza.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `to` is no JID (RFC 6120 section 8.3.3.8).
    InvalidTo,
    /// An IQ without `id` (RFC 6120 section 8.2.3, rule 1).
    MissingId,
    /// An IQ (rule 2) or a presence (RFC 6121 section 4.7.1) with a type that is not defined.
    UnknownType,
    /// An IQ get or set without exactly one child (rule 5), or a result with more than one (rule 6).
    ChildCount,
}

impl Fault {
    /// The stanza error that names what is wrong; to be sent only where [`Fault::is_answered`].
    pub fn error(&self) -> StanzaError {
        match self {
            Fault::InvalidFrom => StanzaError::bad_request().text("'from' is not an XMPP address"),
            Fault::Answered(kind) | Fault::Ignored(kind) => match kind {
                FaultKind::InvalidTo => StanzaError::jid_malformed().text("'to' is not an XMPP address"),
                FaultKind::MissingId => StanzaError::bad_request().text("an IQ must have an 'id'"),
                FaultKind::UnknownType => StanzaError::bad_request().text("this 'type' is not defined"),
                FaultKind::ChildCount => StanzaError::bad_request().text("the number of child elements is wrong"),
            },
        }
    }

    /// Whether the sender is owed a stanza error.
    pub fn is_answered(&self) -> bool {
        matches!(self, Fault::Answered(_))
    }
}

impl<'a> Stanza<'a> {
    /// Reads a first-level element of a client's stream.
    ///
    /// `Ok(None)`: it is no stanza; the session answers with the stream error `unsupported-stanza-type`, unless it
    /// knows the element.
    pub fn read(element: Element<'a>) -> Result<Option<Stanza<'a>>, Fault> {
        Stanza::read_in(element, ns::CLIENT)
    }

    /// The same for a stream with another content namespace (`jabber:server`, `jabber:component:accept`).
    pub fn read_in(element: Element<'a>, content: &str) -> Result<Option<Stanza<'a>>, Fault> {
        if element.ns() != content || !is_unprefixed(&element) {
            return Ok(None);
        }
        let (mut type_, mut to, mut from, mut id) = (None, None, None, None);
        for attr in element.attrs() {
            let place = if attr.is("to") {
                &mut to
            } else if attr.is("type") {
                &mut type_
            } else if attr.is("id") {
                &mut id
            } else if attr.is("from") {
                &mut from
            } else {
                continue;
            };
            *place = Some(attr.value());
        }
        let type_ = type_.as_deref();
        // An IQ or presence whose type is not known is a request as far as answering goes.
        let kind = match element.name() {
            // RFC 6121 section 5.2.2: a type that is not understood is normal.
            "message" => Ok(Kind::Message(
                type_.and_then(MessageType::from_name).unwrap_or(MessageType::Normal),
            )),
            "presence" => PresenceType::from_attribute(type_)
                .map(Kind::Presence)
                .ok_or(FaultKind::UnknownType),
            "iq" => type_
                .and_then(IqType::from_name)
                .map(Kind::Iq)
                .ok_or(FaultKind::UnknownType),
            _ => return Ok(None),
        };
        let answered = kind.map_or(true, Kind::may_be_answered);
        let fault = |kind| {
            if answered {
                Fault::Answered(kind)
            } else {
                Fault::Ignored(kind)
            }
        };

        // First, because it is an attack on the stream whatever else is wrong.
        let from = address(from).map_err(|_| Fault::InvalidFrom)?;
        let to = address(to).map_err(|_| fault(FaultKind::InvalidTo))?;
        let kind = kind.map_err(fault)?;
        if let Kind::Iq(iq) = kind {
            if id.is_none() {
                return Err(fault(FaultKind::MissingId));
            }
            let children = element.children().count();
            let wrong = match iq {
                IqType::Get | IqType::Set => children != 1,
                IqType::Result => children > 1,
                IqType::Error => false,
            };
            if wrong {
                return Err(fault(FaultKind::ChildCount));
            }
        }
        Ok(Some(Stanza {
            element,
            kind,
            to,
            from,
            id,
            default_lang: None,
        }))
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn to(&self) -> Option<JidRef<'_>> {
        self.to.as_ref().map(JidCow::as_ref)
    }

    /// As the sender wrote it, for the session to check; what is forwarded has the sender's true address.
    pub fn from(&self) -> Option<JidRef<'_>> {
        self.from.as_ref().map(JidCow::as_ref)
    }

    /// Without references: `a&amp;b` reads `a&b`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// `xml:lang` of the stanza itself.
    pub fn lang(&self) -> Option<Cow<'a, str>> {
        self.element.lang()
    }

    /// The stanza with the language of its sender's stream, which it is forwarded with where it names none of its own
    /// (RFC 6120 section 4.7.4).
    pub fn with_default_lang(mut self, lang: Option<&'a str>) -> Stanza<'a> {
        self.default_lang = lang;
        self
    }

    /// What has to be written as `xml:lang`, because the stanza itself does not say it.
    pub(crate) fn implied_lang(&self) -> Option<&'a str> {
        self.default_lang.filter(|_| self.element.lang().is_none())
    }

    pub fn element(&self) -> &Element<'a> {
        &self.element
    }

    pub fn children(&self) -> impl Iterator<Item = Child<'a>> {
        self.element.children()
    }

    /// What an IQ asks or answers: its first child that is not the `<error/>`.
    pub fn payload(&self) -> Option<Child<'a>> {
        let content = self.element.ns();
        self.children().find(|child| !child.is("error", content))
    }
}

/// Forwarding writes the name without a prefix, so the source must have none. RFC 6120 section 4.8.5 forbids it, and
/// `xmlstream` rewrites an element that has one all the same: this is the second lock on that door.
fn is_unprefixed(element: &Element<'_>) -> bool {
    element.name_end() == "<".len() + element.name().len()
}

fn address<'a>(value: Option<Cow<'a, str>>) -> Result<Option<JidCow<'a>>, JidError> {
    match value {
        None => Ok(None),
        Some(Cow::Borrowed(text)) => JidCow::parse(text).map(Some),
        Some(Cow::Owned(text)) => Jid::parse(&text).map(|jid| Some(jid.into())),
    }
}

#[cfg(test)]
pub(crate) mod tests;
