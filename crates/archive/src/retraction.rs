//! What a retracted message leaves in an archive (XEP-0424 section 4).

use stanza::{Stanza, ns};

use crate::write::attribute;

/// The message that this one retracts: its `id`, as its sender chose it (section 3), and the `id` of the retraction.
pub fn retraction(stanza: &Stanza<'_>) -> Option<(String, String)> {
    let retract = stanza.children().find(|child| child.is("retract", ns::RETRACTION))?;
    // Without an id nobody could match the tombstone to its retraction.
    Some((retract.attr("id")?.into_owned(), stanza.id()?.to_owned()))
}

/// Whether a message of an archive is the one that is meant: sent by this bare JID under this id.
pub fn is_retracted(stanza: &str, sender: &str, id: &str) -> bool {
    let value = |name| attribute(stanza, name).map(|quoted| &quoted[1..quoted.len() - 1]);
    let mut escaped = Vec::new();
    xmlstream::escape_attr(&mut escaped, id);
    let from = value("from").unwrap_or_default();
    let from = from.split_once('/').map_or(from, |(bare, _)| bare);
    let mut own = Vec::new();
    xmlstream::escape_attr(&mut own, sender);
    from.as_bytes() == own && value("id").is_some_and(|value| value.as_bytes() == escaped)
}

/// What stands in the place of a retracted message: its addresses, type and id, that it was retracted, when, and by
/// which message. None of its content.
pub fn tombstone(stanza: &str, retraction: &str, stamp: &str) -> String {
    let mut out = Vec::from("<message");
    for name in ["from", "to", "type", "id"] {
        if let Some(quoted) = attribute(stanza, name) {
            out.extend_from_slice(format!(" {name}={quoted}").as_bytes());
        }
    }
    out.extend_from_slice(format!("><retracted xmlns='{}' stamp='{stamp}' id='", ns::RETRACTION).as_bytes());
    xmlstream::escape_attr(&mut out, retraction);
    out.extend_from_slice(b"'/></message>");
    // Pieces of text between pieces of text.
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with;

    #[test]
    fn a_retraction_and_what_it_leaves() {
        let original = "<message type='chat' from='romeo@example.net/o&apos;r' to='j@example.org' id='wrong&amp;1'>\
                        <body>Have not saints lips?</body></message>";
        let sent = "<message type='chat' id='retract-1'><retract xmlns='urn:xmpp:message-retract:1' id='wrong&amp;1'/></message>";
        let (id, by) = with(sent, |stanza| retraction(&stanza)).expect("a retraction");
        assert_eq!((id.as_str(), by.as_str()), ("wrong&1", "retract-1"));
        assert!(is_retracted(original, "romeo@example.net", &id));
        assert!(!is_retracted(original, "romeo@example.net", "wrong"));
        assert!(!is_retracted(original, "j@example.org", &id), "nobody else's");
        assert_eq!(
            tombstone(original, &by, "2026-11-24T00:00:00.000Z"),
            "<message from='romeo@example.net/o&apos;r' to='j@example.org' type='chat' id='wrong&amp;1'>\
             <retracted xmlns='urn:xmpp:message-retract:1' stamp='2026-11-24T00:00:00.000Z' id='retract-1'/></message>"
        );
    }

    #[test]
    fn others_are_none() {
        for other in [
            "<message id='1'><retract xmlns='urn:xmpp:message-retract:1'/></message>",
            "<message><retract xmlns='urn:xmpp:message-retract:1' id='1'/></message>",
            "<message id='1'><retract xmlns='urn:other' id='1'/></message>",
            "<message id='1'><body>retract</body></message>",
        ] {
            assert_eq!(with(other, |stanza| retraction(&stanza)), None, "{other}");
        }
    }
}
