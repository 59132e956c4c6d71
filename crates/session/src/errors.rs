//! Which stream error says what was wrong with the XML (RFC 6120 section 4.9.3).

use router::TooHigh;
use stanza::{StreamError, ns};
use xmlstream::XmlError;

/// The application-specific condition of XEP-0205 section 3 for what is too big.
const TOO_BIG: &str = "<stanza-too-big xmlns='urn:xmpp:errors'/>";

/// XEP-0198 section 6: the client claims to have got more than it was sent.
pub(crate) fn too_high(error: TooHigh) -> StreamError {
    let (ns, TooHigh { h, sent }) = (ns::SM, error);
    StreamError::undefined_condition().app(format!(
        "<handled-count-too-high xmlns='{ns}' h='{h}' send-count='{sent}'/>"
    ))
}

pub fn stream_error(error: XmlError) -> StreamError {
    match error {
        XmlError::NotWellFormed => StreamError::not_well_formed(),
        XmlError::RestrictedXml => StreamError::restricted_xml(),
        XmlError::UnsupportedEncoding => StreamError::unsupported_encoding(),
        XmlError::TextBetweenStanzas => StreamError::bad_format(),
        XmlError::BadNamespacePrefix => StreamError::bad_namespace_prefix(),
        XmlError::TooLong | XmlError::TooManyElements => StreamError::policy_violation().app(TOO_BIG),
        XmlError::TooDeep | XmlError::TooManyAttributes | XmlError::TooManyNamespaces | XmlError::NameTooLong => {
            StreamError::policy_violation()
        }
    }
}
