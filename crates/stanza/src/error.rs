//! What goes wrong, in the words that the peer is told: stanza errors (RFC 6120 section 8.3) and stream errors
//! (section 4.9).
//!
//! An error is a value that knows its own XML. The text is for people and never for programs; it must not tell
//! more than the condition does (no "no such user").

use std::borrow::Cow;
use std::fmt;

use crate::ns;
use crate::write::put_text;

/// Declares a closed set of names, with the way there and back.
macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($variant,)+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            /// The reverse of `name`; `None` for what is not defined.
            pub fn from_name(name: &str) -> Option<$name> {
                match name { $($text => Some($name::$variant),)+ _ => None }
            }
        }
    };
}
pub(crate) use names;

names! {
    /// What the sender may do about it (RFC 6120 section 8.3.2).
    ErrorType {
        Auth = "auth",
        Cancel = "cancel",
        Continue = "continue",
        Modify = "modify",
        Wait = "wait",
    }
}

names! {
    /// The defined conditions of RFC 6120 section 8.3.3, in its order. A name that is not among them is to be read as
    /// `UndefinedCondition` (section 8.3.2).
    Condition {
        BadRequest = "bad-request",
        Conflict = "conflict",
        FeatureNotImplemented = "feature-not-implemented",
        Forbidden = "forbidden",
        Gone = "gone",
        InternalServerError = "internal-server-error",
        ItemNotFound = "item-not-found",
        JidMalformed = "jid-malformed",
        NotAcceptable = "not-acceptable",
        NotAllowed = "not-allowed",
        NotAuthorized = "not-authorized",
        PolicyViolation = "policy-violation",
        RecipientUnavailable = "recipient-unavailable",
        Redirect = "redirect",
        RegistrationRequired = "registration-required",
        RemoteServerNotFound = "remote-server-not-found",
        RemoteServerTimeout = "remote-server-timeout",
        ResourceConstraint = "resource-constraint",
        ServiceUnavailable = "service-unavailable",
        SubscriptionRequired = "subscription-required",
        UndefinedCondition = "undefined-condition",
        UnexpectedRequest = "unexpected-request",
    }
}

impl Condition {
    /// The type that RFC 6120 section 8.3.3 recommends. Where it names two, the first that fits a server:
    /// `feature-not-implemented` cancel, `policy-violation` modify, `unexpected-request` wait; and cancel for
    /// `undefined-condition`, for which it names none.
    pub const fn default_type(self) -> ErrorType {
        use Condition::*;
        match self {
            BadRequest | JidMalformed | NotAcceptable | PolicyViolation | Redirect => ErrorType::Modify,
            Forbidden | NotAuthorized | RegistrationRequired | SubscriptionRequired => ErrorType::Auth,
            RecipientUnavailable | RemoteServerTimeout | ResourceConstraint | UnexpectedRequest => ErrorType::Wait,
            Conflict
            | FeatureNotImplemented
            | Gone
            | InternalServerError
            | ItemNotFound
            | NotAllowed
            | RemoteServerNotFound
            | ServiceUnavailable
            | UndefinedCondition => ErrorType::Cancel,
        }
    }
}

names! {
    /// The defined conditions of RFC 6120 section 4.9.3, in its order. A name that is not among them is to be read as
    /// `UndefinedCondition` (section 4.9.2).
    StreamCondition {
        BadFormat = "bad-format",
        BadNamespacePrefix = "bad-namespace-prefix",
        Conflict = "conflict",
        ConnectionTimeout = "connection-timeout",
        HostGone = "host-gone",
        HostUnknown = "host-unknown",
        ImproperAddressing = "improper-addressing",
        InternalServerError = "internal-server-error",
        InvalidFrom = "invalid-from",
        InvalidNamespace = "invalid-namespace",
        InvalidXml = "invalid-xml",
        NotAuthorized = "not-authorized",
        NotWellFormed = "not-well-formed",
        PolicyViolation = "policy-violation",
        RemoteConnectionFailed = "remote-connection-failed",
        Reset = "reset",
        ResourceConstraint = "resource-constraint",
        RestrictedXml = "restricted-xml",
        SeeOtherHost = "see-other-host",
        SystemShutdown = "system-shutdown",
        UndefinedCondition = "undefined-condition",
        UnsupportedEncoding = "unsupported-encoding",
        UnsupportedFeature = "unsupported-feature",
        UnsupportedStanzaType = "unsupported-stanza-type",
        UnsupportedVersion = "unsupported-version",
    }
}

/// The `<error/>` child of a stanza of type error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StanzaError {
    pub kind: ErrorType,
    pub condition: Condition,
    /// For people, in English.
    pub text: Option<Cow<'static, str>>,
    /// An application-specific element (section 8.3.4), serialised, with its own `xmlns`; written as it stands.
    pub app: Option<Cow<'static, str>>,
    /// The new address, a URI; written for `Gone` and `Redirect` only (sections 8.3.3.5 and 8.3.3.14).
    pub address: Option<Cow<'static, str>>,
    /// Who says so, if not the one to whom the stanza was addressed (section 8.3.1).
    pub by: Option<Cow<'static, str>>,
}

macro_rules! stanza_errors {
    ($($constructor:ident $condition:ident,)+) => {
        $(pub const fn $constructor() -> StanzaError {
            StanzaError::new(Condition::$condition)
        })+
    };
}

impl StanzaError {
    /// With the type that the RFC recommends, see [`Condition::default_type`].
    pub const fn new(condition: Condition) -> StanzaError {
        StanzaError {
            kind: condition.default_type(),
            condition,
            text: None,
            app: None,
            address: None,
            by: None,
        }
    }

    stanza_errors! {
        bad_request BadRequest,
        conflict Conflict,
        feature_not_implemented FeatureNotImplemented,
        forbidden Forbidden,
        gone Gone,
        internal_server_error InternalServerError,
        item_not_found ItemNotFound,
        jid_malformed JidMalformed,
        not_acceptable NotAcceptable,
        not_allowed NotAllowed,
        not_authorized NotAuthorized,
        policy_violation PolicyViolation,
        recipient_unavailable RecipientUnavailable,
        redirect Redirect,
        registration_required RegistrationRequired,
        remote_server_not_found RemoteServerNotFound,
        remote_server_timeout RemoteServerTimeout,
        resource_constraint ResourceConstraint,
        service_unavailable ServiceUnavailable,
        subscription_required SubscriptionRequired,
        undefined_condition UndefinedCondition,
        unexpected_request UnexpectedRequest,
    }

    pub fn kind(mut self, kind: ErrorType) -> StanzaError {
        self.kind = kind;
        self
    }

    pub fn text(mut self, text: impl Into<Cow<'static, str>>) -> StanzaError {
        self.text = Some(text.into());
        self
    }

    /// See the field: well-formed XML, with its own `xmlns`.
    pub fn app(mut self, element: impl Into<Cow<'static, str>>) -> StanzaError {
        self.app = Some(element.into());
        self
    }

    pub fn address(mut self, uri: impl Into<Cow<'static, str>>) -> StanzaError {
        self.address = Some(uri.into());
        self
    }

    /// See the field: a JID.
    pub fn by(mut self, jid: impl Into<Cow<'static, str>>) -> StanzaError {
        self.by = Some(jid.into());
        self
    }

    /// Writes `<error type='…'>…</error>`, in the order of RFC 6120 section 8.3.2.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<error type='");
        out.extend_from_slice(self.kind.name().as_bytes());
        // COMPAT: Profanity (0.13) takes a list of devices that is not there for an empty one, and so publishes its first
        // OMEMO keys, by the number alone that this had in RFC 3920 (see the note in RFC 6120 section 8.3.2).
        if self.condition == Condition::ItemNotFound {
            out.extend_from_slice(b"' code='404");
        }
        if let Some(by) = &self.by {
            out.extend_from_slice(b"' by='");
            xmlstream::escape_attr(out, by);
        }
        out.extend_from_slice(b"'>");
        let data = match self.condition {
            Condition::Gone | Condition::Redirect => self.address.as_deref(),
            _ => None,
        };
        let details = Details {
            text: &self.text,
            app: &self.app,
        };
        details.write(self.condition.name(), data, ns::STANZAS, out);
        out.extend_from_slice(b"</error>");
    }
}

/// What ends a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamError {
    pub condition: StreamCondition,
    /// For people, in English.
    pub text: Option<Cow<'static, str>>,
    /// An application-specific element (section 4.9.4), serialised, with its own `xmlns`; written as it stands.
    pub app: Option<Cow<'static, str>>,
    /// Where to connect instead, `domain` or `domain:port`; written for `SeeOtherHost` only (section 4.9.3.19).
    pub host: Option<Cow<'static, str>>,
}

macro_rules! stream_errors {
    ($($constructor:ident $condition:ident,)+) => {
        $(pub const fn $constructor() -> StreamError {
            StreamError::new(StreamCondition::$condition)
        })+
    };
}

impl StreamError {
    pub const fn new(condition: StreamCondition) -> StreamError {
        StreamError {
            condition,
            text: None,
            app: None,
            host: None,
        }
    }

    stream_errors! {
        bad_format BadFormat,
        bad_namespace_prefix BadNamespacePrefix,
        conflict Conflict,
        connection_timeout ConnectionTimeout,
        host_gone HostGone,
        host_unknown HostUnknown,
        improper_addressing ImproperAddressing,
        internal_server_error InternalServerError,
        invalid_from InvalidFrom,
        invalid_namespace InvalidNamespace,
        invalid_xml InvalidXml,
        not_authorized NotAuthorized,
        not_well_formed NotWellFormed,
        policy_violation PolicyViolation,
        remote_connection_failed RemoteConnectionFailed,
        reset Reset,
        resource_constraint ResourceConstraint,
        restricted_xml RestrictedXml,
        system_shutdown SystemShutdown,
        undefined_condition UndefinedCondition,
        unsupported_encoding UnsupportedEncoding,
        unsupported_feature UnsupportedFeature,
        unsupported_stanza_type UnsupportedStanzaType,
        unsupported_version UnsupportedVersion,
    }

    /// Not made by the macro, because it means nothing without the host.
    pub fn see_other_host(host: impl Into<Cow<'static, str>>) -> StreamError {
        StreamError {
            host: Some(host.into()),
            ..StreamError::new(StreamCondition::SeeOtherHost)
        }
    }

    pub fn text(mut self, text: impl Into<Cow<'static, str>>) -> StreamError {
        self.text = Some(text.into());
        self
    }

    /// See the field: well-formed XML, with its own `xmlns`.
    pub fn app(mut self, element: impl Into<Cow<'static, str>>) -> StreamError {
        self.app = Some(element.into());
        self
    }

    /// Writes the whole `<stream:error>…</stream:error>`. The prefix `stream` is that of our stream header; closing
    /// the stream is the session's work.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<stream:error>");
        let data = match self.condition {
            StreamCondition::SeeOtherHost => self.host.as_deref(),
            _ => None,
        };
        let details = Details {
            text: &self.text,
            app: &self.app,
        };
        details.write(self.condition.name(), data, ns::STREAMS, out);
        out.extend_from_slice(b"</stream:error>");
    }
}

/// What the two kinds of error have in common.
struct Details<'a> {
    text: &'a Option<Cow<'static, str>>,
    app: &'a Option<Cow<'static, str>>,
}

impl Details<'_> {
    fn write(&self, condition: &str, data: Option<&str>, namespace: &str, out: &mut Vec<u8>) {
        out.push(b'<');
        out.extend_from_slice(condition.as_bytes());
        out.extend_from_slice(b" xmlns='");
        out.extend_from_slice(namespace.as_bytes());
        match data {
            None => out.extend_from_slice(b"'/>"),
            Some(data) => {
                out.extend_from_slice(b"'>");
                put_text(out, data);
                out.extend_from_slice(b"</");
                out.extend_from_slice(condition.as_bytes());
                out.push(b'>');
            }
        }
        if let Some(text) = self.text {
            out.extend_from_slice(b"<text xmlns='");
            out.extend_from_slice(namespace.as_bytes());
            // SHOULD have a language (sections 4.9.2 and 8.3.2), and all our texts are English.
            out.extend_from_slice(b"' xml:lang='en'>");
            put_text(out, text);
            out.extend_from_slice(b"</text>");
        }
        if let Some(app) = self.app {
            out.extend_from_slice(app.as_bytes());
        }
    }
}

impl fmt::Display for StanzaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, self.condition.name(), &self.text)
    }
}

impl std::error::Error for StanzaError {}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, self.condition.name(), &self.text)
    }
}

impl std::error::Error for StreamError {}

fn describe(f: &mut fmt::Formatter<'_>, name: &str, text: &Option<Cow<'static, str>>) -> fmt::Result {
    match text {
        Some(text) => write!(f, "{name}: {text}"),
        None => f.write_str(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ErrorType::{Auth, Cancel, Modify, Wait};

    fn stanza(error: &StanzaError) -> String {
        let mut out = Vec::new();
        error.write(&mut out);
        String::from_utf8(out).expect("errors are written as UTF-8")
    }

    fn stream(error: &StreamError) -> String {
        let mut out = Vec::new();
        error.write(&mut out);
        String::from_utf8(out).expect("errors are written as UTF-8")
    }

    /// RFC 6120 section 8.3.3, one row per subsection.
    #[test]
    fn stanza_conditions_have_the_type_of_the_rfc() {
        let rows: &[(StanzaError, &str, ErrorType)] = &[
            (StanzaError::bad_request(), "bad-request", Modify),
            (StanzaError::conflict(), "conflict", Cancel),
            (
                StanzaError::feature_not_implemented(),
                "feature-not-implemented",
                Cancel,
            ),
            (StanzaError::forbidden(), "forbidden", Auth),
            (StanzaError::gone(), "gone", Cancel),
            (StanzaError::internal_server_error(), "internal-server-error", Cancel),
            (StanzaError::item_not_found(), "item-not-found", Cancel),
            (StanzaError::jid_malformed(), "jid-malformed", Modify),
            (StanzaError::not_acceptable(), "not-acceptable", Modify),
            (StanzaError::not_allowed(), "not-allowed", Cancel),
            (StanzaError::not_authorized(), "not-authorized", Auth),
            (StanzaError::policy_violation(), "policy-violation", Modify),
            (StanzaError::recipient_unavailable(), "recipient-unavailable", Wait),
            (StanzaError::redirect(), "redirect", Modify),
            (StanzaError::registration_required(), "registration-required", Auth),
            (
                StanzaError::remote_server_not_found(),
                "remote-server-not-found",
                Cancel,
            ),
            (StanzaError::remote_server_timeout(), "remote-server-timeout", Wait),
            (StanzaError::resource_constraint(), "resource-constraint", Wait),
            (StanzaError::service_unavailable(), "service-unavailable", Cancel),
            (StanzaError::subscription_required(), "subscription-required", Auth),
            (StanzaError::undefined_condition(), "undefined-condition", Cancel),
            (StanzaError::unexpected_request(), "unexpected-request", Wait),
        ];
        assert_eq!(rows.len(), Condition::ALL.len());
        for (error, name, kind) in rows {
            assert_eq!(error.condition.name(), *name);
            assert_eq!(error.kind, *kind, "{name}");
            assert_eq!(Condition::from_name(name), Some(error.condition));
            // One has its old number as well, for Profanity.
            let code = if *name == "item-not-found" { " code='404'" } else { "" };
            assert_eq!(
                stanza(error),
                format!(
                    "<error type='{}'{code}><{name} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
                    kind.name()
                )
            );
        }
        assert_eq!(Condition::from_name("payment-required"), None);
    }

    #[test]
    fn every_stream_condition_is_written() {
        assert_eq!(StreamCondition::ALL.len(), 25);
        for &condition in StreamCondition::ALL {
            let name = condition.name();
            assert_eq!(StreamCondition::from_name(name), Some(condition));
            assert_eq!(
                stream(&StreamError::new(condition)),
                format!("<stream:error><{name} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>")
            );
        }
        assert_eq!(StreamCondition::from_name("xml-not-well-formed"), None);
        assert_eq!(StreamError::policy_violation().condition.name(), "policy-violation");
    }

    #[test]
    fn what_errors_carry() {
        let check = |error: StanzaError, expected: &str| assert_eq!(stanza(&error), expected);
        check(
            StanzaError::gone().address("xmpp:romeo@afterlife.example.net?a&b"),
            "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>\
             xmpp:romeo@afterlife.example.net?a&amp;b</gone></error>",
        );
        // Only the two conditions that may carry an address do.
        check(
            StanzaError::conflict().address("xmpp:x@example.org"),
            "<error type='cancel'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
        );
        check(
            StanzaError::policy_violation()
                .kind(Wait)
                .text("a < b")
                .app("<stanza-too-big xmlns='urn:xmpp:errors'/>"),
            "<error type='wait'><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>a &lt; b</text>\
             <stanza-too-big xmlns='urn:xmpp:errors'/></error>",
        );
        assert_eq!(
            stream(&StreamError::see_other_host("[2001:db8::1]:9222")),
            "<stream:error><see-other-host xmlns='urn:ietf:params:xml:ns:xmpp-streams'>\
             [2001:db8::1]:9222</see-other-host></stream:error>"
        );
        assert_eq!(
            stream(
                &StreamError::not_well_formed()
                    .text("</stream:error>")
                    .app("<a xmlns='u'/>")
            ),
            "<stream:error><not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>&lt;/stream:error&gt;</text>\
             <a xmlns='u'/></stream:error>"
        );
        assert_eq!(StreamError::reset().text("why").to_string(), "reset: why");
    }
}
