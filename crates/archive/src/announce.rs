//! Which messages somebody who is away is told of (XEP-0357).

use stanza::{MessageType, Stanza, ns};
use xmlstream::Child;

/// Whether a message that is kept is worth waking somebody: it says something to people, or calls. Not what clients tell
/// each other about messages (receipts, markers, reactions), also where they want it stored.
pub fn announces(kind: MessageType, stanza: &Stanza<'_>) -> bool {
    matches!(kind, MessageType::Chat | MessageType::Normal) && speaks(stanza)
}

/// The same of a message whatever its type: one to a room.
pub fn speaks(stanza: &Stanza<'_>) -> bool {
    let content = stanza.element().ns();
    let (mut says, mut stored) = (false, false);
    for child in stanza.children() {
        if child.ns() == content {
            says |= child.name() == "body";
            continue;
        }
        match child.ns() {
            // The text for who does not understand it is no message.
            ns::RETRACTION => return false,
            ns::HINTS => stored |= child.name() == "store",
            _ => says |= says_something(&child),
        }
    }
    says || stored && stanza.children().any(|child| is_of_its_own(&child, content))
}

fn says_something(child: &Child<'_>) -> bool {
    match child.ns() {
        // Without a payload they only carry keys.
        ns::OMEMO | ns::OMEMO_LEGACY => {
            child.name() == "encrypted" && child.children().any(|part| part.name() == "payload")
        }
        ns::OPENPGP | ns::OPENPGP_LEGACY | ns::FILE_SHARING | ns::CONFERENCE => true,
        // A call begins, or is over before it was taken.
        ns::JINGLE_MESSAGE => matches!(child.name(), "propose" | "retract"),
        ns::CALL_INVITES => child.name() == "invite",
        ns::MUC_USER => child.children().any(|part| part.name() == "invite"),
        _ => false,
    }
}

/// Something that we do not know; whoever sends it wants it stored, so it is a message.
fn is_of_its_own(child: &Child<'_>, content: &str) -> bool {
    let known = [
        content,
        ns::HINTS,
        ns::STANZA_IDS,
        ns::OCCUPANT_ID,
        ns::DELAY,
        ns::CHAT_STATES,
        ns::RECEIPTS,
        ns::MARKERS,
        ns::REACTIONS,
        ns::ENCRYPTION,
        ns::OMEMO,
        ns::OMEMO_LEGACY,
        ns::JINGLE_MESSAGE,
        ns::CALL_INVITES,
        ns::MUC_USER,
    ];
    !known.contains(&child.ns())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with;
    use stanza::Kind;

    fn check(content: &str, is_announced: bool) {
        for kind in ["chat", "normal"] {
            let xml = format!("<message type='{kind}'>{content}</message>");
            with(&xml, |stanza| {
                let Kind::Message(kind) = stanza.kind() else {
                    panic!("not a message: {xml}")
                };
                assert_eq!(announces(kind, &stanza), is_announced, "{xml}");
            });
        }
    }

    const STORE: &str = "<store xmlns='urn:xmpp:hints'/>";

    #[test]
    fn what_is_said_to_people() {
        check("<body>hi</body>", true);
        check("<body>hi</body><request xmlns='urn:xmpp:receipts'/>", true);
        check("<subject>hi</subject>", false);
        check("", false);
        check(&format!("<x xmlns='urn:nobody:knows'/>{STORE}"), true);
        check("<x xmlns='urn:nobody:knows'/>", false);
        check("<x xmlns='jabber:x:conference' jid='r@c'/>", true);
        check(
            "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@b'/></x>",
            true,
        );
    }

    #[test]
    fn what_clients_tell_each_other() {
        for payload in [
            "<active xmlns='http://jabber.org/protocol/chatstates'/>",
            "<received xmlns='urn:xmpp:receipts' id='1'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
            "<reactions xmlns='urn:xmpp:reactions:0' id='1'/>",
            "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>",
        ] {
            check(payload, false);
            check(&format!("{payload}{STORE}"), false);
        }
        check(
            "<retract xmlns='urn:xmpp:message-retract:1' id='1'/><body>took something back</body>",
            false,
        );
    }

    #[test]
    fn encrypted_messages_and_calls() {
        check(
            "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/><payload>x</payload></encrypted>",
            true,
        );
        check(
            "<encrypted xmlns='urn:xmpp:omemo:2'><payload>x</payload></encrypted>",
            true,
        );
        check("<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>", true);
        check("<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>", true);
        check("<retract xmlns='urn:xmpp:jingle-message:0' id='1'/>", true);
        check("<ringing xmlns='urn:xmpp:jingle-message:0' id='1'/>", false);
        check("<accept xmlns='urn:xmpp:jingle-message:0' id='1'/>", false);
    }
}
