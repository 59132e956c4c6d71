//! Writing what is handed over: a stored message with what the server has to say about it.
//!
//! All of this works on the text of a complete `<message/>` as `stanza::splice` wrote it: without a default namespace in
//! its start tag, and ending in `</message>` or `/>`. It is not read again; the only thing looked for is the type.

use stanza::ns;

/// Whose message a carbon copy is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Another session of the account sent it.
    Sent,
    /// Another session of the account received it.
    Received,
}

const OPEN: &str = "<message";
const CLOSE: &str = "</message>";

/// Room for what is written around a message beside the message itself and the addresses; a guess for `reserve`.
const AROUND: usize = 320;

/// The message with `<stanza-id/>` (XEP-0359) as its last child. `by` is the address of the archive, the bare JID of the
/// account; `id` the one that the archive knows it by (XEP-0313 section 3.5). Only for what is in that archive: clients
/// ask for what comes after the last id they saw.
pub fn with_stanza_id(stanza: &str, by: &str, id: &str, out: &mut Vec<u8>) {
    out.reserve(stanza.len() + by.len() + id.len() + AROUND);
    open_end(stanza, out);
    put_stanza_id(by, id, out);
    put(out, &[CLOSE]);
}

/// A message that waited for its recipient: with `<delay/>` (XEP-0203), and `<stanza-id/>` where it is in the archive
/// too. `domain` is who kept it and `stamp` when it came, as `module::Now::stamp` writes it.
pub fn waiting(stanza: &str, by: &str, id: Option<&str>, domain: &str, stamp: &str, out: &mut Vec<u8>) {
    out.reserve(stanza.len() + by.len() + domain.len() + AROUND);
    open_end(stanza, out);
    if let Some(id) = id {
        put_stanza_id(by, id, out);
    }
    put(out, &["<delay xmlns='", ns::DELAY, "' from='"]);
    xmlstream::escape_attr(out, domain);
    put(out, &["' stamp='", stamp, "'/>", CLOSE]);
}

/// A copy of a message for another session of the account (XEP-0280 sections 7 and 8): of the same type, from the
/// account, to one session. The message has its `<stanza-id/>` already, where it is in the archive of the account.
pub fn carbon(stanza: &str, direction: Direction, own_bare: &str, to_full: &str, out: &mut Vec<u8>) {
    let name = match direction {
        Direction::Sent => "sent",
        Direction::Received => "received",
    };
    out.reserve(stanza.len() + own_bare.len() + to_full.len() + AROUND);
    put(out, &[OPEN, " from='"]);
    xmlstream::escape_attr(out, own_bare);
    put(out, &["' to='"]);
    xmlstream::escape_attr(out, to_full);
    put(out, &["'"]);
    if let Some(quoted) = attribute(stanza, "type") {
        put(out, &[" type=", quoted]);
    }
    put(out, &["><", name, " xmlns='", ns::CARBONS, "'>"]);
    forwarded(stanza, None, out);
    put(out, &["</", name, ">", CLOSE]);
}

/// `<forwarded/>` (XEP-0297) around a message, with the time it came (`module::Now::stamp`) where that is of interest.
pub fn forwarded(stanza: &str, stamp: Option<&str>, out: &mut Vec<u8>) {
    out.reserve(stanza.len() + AROUND);
    put(out, &["<forwarded xmlns='", ns::FORWARD, "'>"]);
    if let Some(stamp) = stamp {
        put(out, &["<delay xmlns='", ns::DELAY, "' stamp='", stamp, "'/>"]);
    }
    let rest = stanza.strip_prefix(OPEN).unwrap_or(stanza);
    put(out, &[OPEN, " xmlns='", ns::CLIENT, "'", rest, "</forwarded>"]);
}

/// All of a message but its end: children can follow.
fn open_end(stanza: &str, out: &mut Vec<u8>) {
    if let Some(open) = stanza.strip_suffix(CLOSE) {
        put(out, &[open]);
    } else {
        // Nothing but a start tag.
        put(out, &[stanza.strip_suffix("/>").unwrap_or(stanza), ">"]);
    }
}

fn put_stanza_id(by: &str, id: &str, out: &mut Vec<u8>) {
    put(out, &["<stanza-id xmlns='", ns::STANZA_IDS, "' by='"]);
    xmlstream::escape_attr(out, by);
    put(out, &["' id='"]);
    xmlstream::escape_attr(out, id);
    put(out, &["'/>"]);
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The value of an attribute in the start tag, with its quotes. The sender wrote it, so there may be white space around
/// the `=`, quotes of either kind, and whatever looks like an attribute inside another one's value.
pub(crate) fn attribute<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = stanza.strip_prefix(OPEN)?;
    loop {
        rest = rest.trim_ascii_start();
        let (found, behind) = rest.split_once('=').filter(|_| !rest.starts_with(['>', '/']))?;
        let behind = behind.trim_ascii_start();
        let quote = behind.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let end = behind[1..].find(quote)? + 2;
        if found.trim_ascii_end() == name {
            return Some(&behind[..end]);
        }
        rest = &behind[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        // What is there already stays.
        let mut out = b"<x/>".to_vec();
        write(&mut out);
        let text = String::from_utf8(out).expect("text");
        let text = text.strip_prefix("<x/>").expect("what was there").to_owned();
        with(&text, |stanza| assert_eq!(stanza.element().name(), "message"));
        text
    }

    const HI: &str =
        "<message type='chat' from='romeo@montague.lit/orchard' to='juliet@capulet.lit'><body>hi</body></message>";

    #[test]
    fn the_id_is_the_last_child() {
        let check = |stanza: &str, expected: &str| {
            assert_eq!(
                text(|out| with_stanza_id(stanza, "juliet@capulet.lit", "28482", out)),
                expected
            );
        };
        const ID: &str = "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit' id='28482'/>";
        check(HI, &HI.replace("</message>", &format!("{ID}</message>")));
        check("<message from='a@b'/>", &format!("<message from='a@b'>{ID}</message>"));
        check("<message><a/></message>", &format!("<message><a/>{ID}</message>"));
        check("<message></message>", &format!("<message>{ID}</message>"));
        assert_eq!(
            text(|out| with_stanza_id("<message/>", "o'neil@b", "<&>", out)),
            "<message><stanza-id xmlns='urn:xmpp:sid:0' by='o&apos;neil@b' id='&lt;&amp;&gt;'/></message>"
        );
    }

    #[test]
    fn what_waited_tells_since_when() {
        const STAMP: &str = "2010-07-10T23:08:25.000Z";
        const DELAY: &str = "<delay xmlns='urn:xmpp:delay' from='capulet.lit' stamp='2010-07-10T23:08:25.000Z'/>";
        let id = "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@capulet.lit' id='1'/>";
        let written = |id| text(|out| waiting(HI, "juliet@capulet.lit", id, "capulet.lit", STAMP, out));
        assert_eq!(
            written(Some("1")),
            HI.replace("</message>", &format!("{id}{DELAY}</message>"))
        );
        assert_eq!(written(None), HI.replace("</message>", &format!("{DELAY}</message>")));
    }

    /// XEP-0280, examples 10 and 13.
    #[test]
    fn copies_are_of_the_type_of_the_message_and_from_the_account() {
        assert_eq!(
            text(|out| carbon(
                HI,
                Direction::Received,
                "juliet@capulet.lit",
                "juliet@capulet.lit/o'hara",
                out
            )),
            "<message from='juliet@capulet.lit' to='juliet@capulet.lit/o&apos;hara' type='chat'>\
             <received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <message xmlns='jabber:client' type='chat' from='romeo@montague.lit/orchard' to='juliet@capulet.lit'>\
             <body>hi</body></message></forwarded></received></message>"
        );
        assert_eq!(
            text(|out| carbon("<message from='a@b/c'/>", Direction::Sent, "a@b", "a@b/d", out)),
            "<message from='a@b' to='a@b/d'><sent xmlns='urn:xmpp:carbons:2'>\
             <forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='a@b/c'/>\
             </forwarded></sent></message>"
        );
        let copy = text(|out| {
            carbon(
                HI,
                Direction::Received,
                "juliet@capulet.lit",
                "juliet@capulet.lit/x",
                out,
            )
        });
        with(&copy, |stanza| {
            let received = stanza.element().child("received", ns::CARBONS).expect("the wrapper");
            let forwarded = received.child("forwarded", ns::FORWARD).expect("the wrapper");
            let message = forwarded.child("message", ns::CLIENT).expect("the message");
            assert_eq!(message.child("body", ns::CLIENT).expect("its body").text(), "hi");
        });
    }

    #[test]
    fn forwarded_with_the_time_it_came() {
        let mut out = Vec::new();
        forwarded("<message id='1'/>", Some("2010-07-10T23:08:25.000Z"), &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "<forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:25.000Z'/>\
             <message xmlns='jabber:client' id='1'/></forwarded>"
        );
    }

    #[test]
    fn the_type_is_found_however_it_is_written() {
        let check = |stanza: &str, expected: Option<&str>| {
            with(stanza, |_| assert_eq!(attribute(stanza, "type"), expected, "{stanza}"));
        };
        check("<message/>", None);
        check("<message></message>", None);
        check("<message><a type='chat'/></message>", None);
        check("<message>a = 'type='</message>", None);
        check("<message type='chat'/>", Some("'chat'"));
        check(
            "<message type=\"it's\" from='a@b'><body>x</body></message>",
            Some("\"it's\""),
        );
        check(
            "<message id=\" type='error' \" type='chat' from='a@b'/>",
            Some("'chat'"),
        );
        check("<message id='/>' type = 'chat' from='a@b'/>", Some("'chat'"));
        check("<message xmlns:x='u' x:type='a' from='a@b'/>", None);
        check("<message id='='\n\ttype\n=\n'a&#x27;b'/>", Some("'a&#x27;b'"));
    }
}
