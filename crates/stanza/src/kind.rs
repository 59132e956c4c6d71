//! What a stanza is: message, presence or IQ, and its type (RFC 6120 section 8.2.3, RFC 6121 sections 4.7.1 and 5.2.2).

use crate::error::names;

names! {
    /// RFC 6121 section 5.2.2. No type, and a type that is not known, are `Normal`.
    MessageType {
        Chat = "chat",
        Error = "error",
        Groupchat = "groupchat",
        Headline = "headline",
        Normal = "normal",
    }
}

names! {
    /// RFC 6121 section 4.7.1. `Available` has no value in XML: it is the absence of the attribute, and its name here
    /// is for logs only; see [`PresenceType::attribute`].
    PresenceType {
        Available = "available",
        Error = "error",
        Probe = "probe",
        Subscribe = "subscribe",
        Subscribed = "subscribed",
        Unavailable = "unavailable",
        Unsubscribe = "unsubscribe",
        Unsubscribed = "unsubscribed",
    }
}

names! {
    /// RFC 6120 section 8.2.3.
    IqType {
        Get = "get",
        Set = "set",
        Result = "result",
        Error = "error",
    }
}

/// The three stanzas and their types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Message(MessageType),
    Presence(PresenceType),
    Iq(IqType),
}

impl PresenceType {
    /// The value of the `type` attribute; `None` where there must be none.
    pub const fn attribute(self) -> Option<&'static str> {
        match self {
            PresenceType::Available => None,
            other => Some(other.name()),
        }
    }

    /// Reads the attribute; `None` for a type that is not known, which includes "available".
    pub fn from_attribute(value: Option<&str>) -> Option<PresenceType> {
        match value {
            None => Some(PresenceType::Available),
            Some(value) => PresenceType::from_name(value).filter(|&t| t != PresenceType::Available),
        }
    }

    /// Whether it is one of the four that manage subscriptions (RFC 6121 section 3), which carry bare addresses.
    pub const fn is_subscription(self) -> bool {
        use PresenceType::*;
        matches!(self, Subscribe | Subscribed | Unsubscribe | Unsubscribed)
    }
}

impl Kind {
    /// The name of the element.
    pub const fn element_name(self) -> &'static str {
        match self {
            Kind::Message(_) => "message",
            Kind::Presence(_) => "presence",
            Kind::Iq(_) => "iq",
        }
    }

    pub const fn is_error(self) -> bool {
        matches!(
            self,
            Kind::Message(MessageType::Error) | Kind::Presence(PresenceType::Error) | Kind::Iq(IqType::Error)
        )
    }

    /// Whether an error may be sent in answer: never to an error (RFC 6120 section 8.3.1, rule 8) and never to an IQ
    /// result (section 8.2.3, rule 4), or two servers would answer each other for ever.
    pub const fn may_be_answered(self) -> bool {
        !self.is_error() && !matches!(self, Kind::Iq(IqType::Result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for &t in MessageType::ALL {
            assert_eq!(MessageType::from_name(t.name()), Some(t));
        }
        for &t in IqType::ALL {
            assert_eq!(IqType::from_name(t.name()), Some(t));
        }
        for &t in PresenceType::ALL {
            assert_eq!(PresenceType::from_attribute(t.attribute()), Some(t));
        }
        for wrong in ["available", "", "Error", "unknown"] {
            assert_eq!(PresenceType::from_attribute(Some(wrong)), None, "{wrong:?}");
        }
    }

    #[test]
    fn errors_and_results_are_not_answered() {
        let answered = |kind: Kind| (kind.is_error(), kind.may_be_answered());
        assert_eq!(answered(Kind::Message(MessageType::Chat)), (false, true));
        assert_eq!(answered(Kind::Message(MessageType::Error)), (true, false));
        assert_eq!(answered(Kind::Presence(PresenceType::Probe)), (false, true));
        assert_eq!(answered(Kind::Presence(PresenceType::Error)), (true, false));
        assert_eq!(answered(Kind::Iq(IqType::Get)), (false, true));
        assert_eq!(answered(Kind::Iq(IqType::Set)), (false, true));
        assert_eq!(answered(Kind::Iq(IqType::Result)), (false, false));
        assert_eq!(answered(Kind::Iq(IqType::Error)), (true, false));
    }
}
