//! Messages of a room in its archive (XEP-0313 section 6.1.2).
//!
//! A message stands there as everybody got it, from the address of its occupant. Such a message has no `to`. In its place
//! stands the true address of who sent it, by which he is known when he retracts it, and who moderates sees whose it is:
//! the full one if everybody in the room saw it then, else the bare one. So a room that tells more or less than before
//! does not tell who wrote what before that. Whoever reads the archive gets the message without it ([`shown`]).

use stanza::{Jid, Rendered, ns};

use crate::write::attribute;

/// Of whom somebody sees who he is that reads the archive of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    Nobody,
    /// Of whom everybody saw it: in a room that is not anonymous.
    Known,
    Everybody,
}

const RETRACTED: &str = "<retracted xmlns='urn:xmpp:message-retract:1'";
const OCCUPANT_ID: &str = "<occupant-id xmlns='urn:xmpp:occupant-id:0'";

/// A message for the archive. `from`: the address of the occupant, or of the room itself; `sender`: his true one.
pub fn stored(message: &Rendered, from: &str, sender: &Jid, is_known: bool) -> String {
    let sender = if is_known { sender.as_str() } else { sender.bare_str() };
    message.text_with(from, Some(sender))
}

/// A message of the archive as somebody is shown it: without `to`, and with the address of the sender where it is seen.
pub fn shown(stanza: &str, sees: Sees) -> String {
    let Some((before, sender, behind)) = cut(stanza) else {
        return stanza.to_owned();
    };
    if !tells_sender(stanza, sees) {
        return [before, behind].concat();
    }
    let x = format!("<x xmlns='{}'><item jid={sender}/></x></message>", ns::MUC_USER);
    match behind.strip_suffix("</message>") {
        Some(open) => [before, open, &x].concat(),
        None => [before, behind.strip_suffix("/>").unwrap_or(behind), ">", &x].concat(),
    }
}

/// Whether somebody who sees these sees who sent the message. The room itself is nobody.
pub fn tells_sender(stanza: &str, sees: Sees) -> bool {
    let is_of_occupant = attribute(stanza, "from").is_some_and(|from| from.contains('/'));
    is_of_occupant
        && match sees {
            Sees::Nobody => false,
            Sees::Known => attribute(stanza, "to").is_some_and(|sender| sender.contains('/')),
            Sees::Everybody => true,
        }
}

/// Whether this account has sent a message of the archive, and not the room itself.
pub fn is_sent_by(stanza: &str, account: &str) -> bool {
    let Some(sender) = attribute(stanza, "to").filter(|_| tells_sender(stanza, Sees::Everybody)) else {
        return false;
    };
    let sender = &sender[1..sender.len() - 1];
    let mut escaped = Vec::new();
    xmlstream::escape_attr(&mut escaped, account);
    store::archive::bare(sender).as_bytes() == escaped
}

/// What stands in the place of a retracted message (XEP-0424 section 4, XEP-0425 section 4): its addresses, type, id and
/// occupant, and `retracted`, an element that begins as [`retracted`] writes it. None of its content.
pub fn room_tombstone(stanza: &str, retracted: &str) -> String {
    let mut out = String::from("<message");
    for name in ["from", "to", "type", "id"] {
        if let Some(quoted) = attribute(stanza, name) {
            out.push_str(&format!(" {name}={quoted}"));
        }
    }
    out.push('>');
    // The room has put it behind all else.
    if let Some(id) = stanza.rfind(OCCUPANT_ID)
        && let Some(end) = stanza[id..].find("/>")
    {
        out.push_str(&stanza[id..id + end + 2]);
    }
    out.push_str(retracted);
    out.push_str("</message>");
    out
}

/// `<retracted/>` with what is in it. `by`: the id of the message that has retracted it.
pub fn retracted(by: &str, stamp: &str, content: &str) -> String {
    let mut id = Vec::new();
    xmlstream::escape_attr(&mut id, by);
    // Escaping text yields text.
    let id = String::from_utf8(id).unwrap_or_default();
    format!("{RETRACTED} stamp='{stamp}' id='{id}'>{content}</retracted>")
}

/// Whether this is what a retracted message has left. Nobody else's message begins so, since rooms take `<retracted/>` out.
pub fn is_room_tombstone(stanza: &str) -> bool {
    let Some(content) = content(stanza) else { return false };
    let behind_id = content
        .starts_with(OCCUPANT_ID)
        .then(|| content.find("/>"))
        .flatten()
        .map_or(content, |end| &content[end + 2..]);
    behind_id.starts_with(RETRACTED)
}

/// The text before `to`, its value with its quotes, and the text behind it.
fn cut(stanza: &str) -> Option<(&str, &str, &str)> {
    let quoted = attribute(stanza, "to")?;
    let at = quoted.as_ptr() as usize - stanza.as_ptr() as usize;
    let before = stanza[..at].trim_ascii_end().strip_suffix('=')?.trim_ascii_end();
    let before = before.strip_suffix("to")?.trim_ascii_end();
    Some((before, quoted, &stanza[at + quoted.len()..]))
}

/// What is behind the start tag.
fn content(stanza: &str) -> Option<&str> {
    let mut quote = None;
    let end = stanza.bytes().position(|byte| {
        match (quote, byte) {
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if open == byte => quote = None,
            _ => return quote.is_none() && byte == b'>',
        }
        false
    })?;
    Some(&stanza[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with;

    const ID: &str = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='abc'/>";

    fn message(content: &str, is_known: bool) -> String {
        let sender = Jid::parse("hag@shakespeare.lit/o'pda").expect("a JID");
        let rendered = Rendered::from_text(&format!("<message type='groupchat' id='1>'>{content}</message>"));
        stored(&rendered, "coven@chat.shakespeare.lit/third", &sender, is_known)
    }

    #[test]
    fn who_sent_it_is_shown_to_whom_it_may_be() {
        let check = |is_known: bool, sees: Sees, jid: Option<&str>| {
            let shown = shown(&message("<body>x</body>", is_known), sees);
            let x = jid.map(|jid| format!("<x xmlns='http://jabber.org/protocol/muc#user'><item jid='{jid}'/></x>"));
            let expected = format!(
                "<message from='coven@chat.shakespeare.lit/third' type='groupchat' id='1>'><body>x</body>{}</message>",
                x.unwrap_or_default()
            );
            assert_eq!(shown, expected, "{is_known} {sees:?}");
        };
        check(false, Sees::Nobody, None);
        check(true, Sees::Nobody, None);
        check(false, Sees::Known, None);
        check(true, Sees::Known, Some("hag@shakespeare.lit/o&apos;pda"));
        check(false, Sees::Everybody, Some("hag@shakespeare.lit"));
        check(true, Sees::Everybody, Some("hag@shakespeare.lit/o&apos;pda"));
    }

    #[test]
    fn the_room_itself_is_nobody() {
        let moderator = Jid::parse("crone1@shakespeare.lit/desktop").expect("a JID");
        let said = Rendered::from_text("<message type='groupchat'/>");
        let text = stored(&said, "coven@chat.shakespeare.lit", &moderator, true);
        assert_eq!(
            shown(&text, Sees::Everybody),
            "<message from='coven@chat.shakespeare.lit' type='groupchat'/>"
        );
        assert!(!is_sent_by(&text, "crone1@shakespeare.lit"));
    }

    #[test]
    fn the_sender_is_known_by_the_account() {
        for is_known in [false, true] {
            let text = message("<body>x</body>", is_known);
            assert!(is_sent_by(&text, "hag@shakespeare.lit"));
            assert!(!is_sent_by(&text, "ag@shakespeare.lit"));
            assert!(!is_sent_by(&text, "hag@shakespeare.lit/o'pda"));
        }
        assert!(!is_sent_by("<message to='a@b'/>", "a@b"));
    }

    #[test]
    fn a_tombstone_has_nothing_of_the_message() {
        let forged = "<x xmlns='urn:x'><occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/></x>";
        let text = message(&format!("<body>x</body>{forged}{ID}"), false);
        let tombstone = room_tombstone(&text, &retracted("r'1", "2026-11-24T00:00:00.000Z", ""));
        assert_eq!(
            tombstone,
            format!(
                "<message from='coven@chat.shakespeare.lit/third' to='hag@shakespeare.lit' type='groupchat' id='1>'>\
                 {ID}<retracted xmlns='urn:xmpp:message-retract:1' stamp='2026-11-24T00:00:00.000Z' id='r&apos;1'></retracted>\
                 </message>"
            )
        );
        with(&tombstone, |stanza| assert_eq!(stanza.children().count(), 2));
        assert!(is_room_tombstone(&tombstone));
        assert!(is_sent_by(&tombstone, "hag@shakespeare.lit"));
        assert!(!is_room_tombstone(&text));
        let nested = message(&format!("<x xmlns='urn:x'>{RETRACTED}/></x>{ID}"), false);
        assert!(!is_room_tombstone(&nested));
        let without = message("<body>x</body>", false);
        assert!(is_room_tombstone(&room_tombstone(&without, &retracted("r", "", ""))));
    }
}
