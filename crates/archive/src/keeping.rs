//! What becomes of a message by its content alone.
//!
//! No feature of a client needs a change here to have its messages kept: a `<body/>` or the hint `<store/>` (XEP-0334)
//! is enough. The namespaces below are those whose messages have neither, and matter all the same.

use stanza::{MessageType, Stanza, ns};
use xmlstream::Child;

/// What becomes of a message. Preferences of the account come on top ([`wants`](crate::wants)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Belongs in archives (XEP-0313 section 6.1.1, XEP-0334 section 4).
    pub archive: bool,
    /// Is kept until its recipient has it, if he is away (XEP-0160 section 3), also where it is not archived.
    pub wait: bool,
    /// Is copied to the other sessions of its sender (XEP-0280 section 6.1).
    pub carbons: bool,
    /// Is copied to the other sessions of its recipient. As `carbons`, but for what an occupant of a room got in
    /// private: the room sends that to each of his sessions itself.
    pub carbons_received: bool,
    /// Says nothing but what somebody is doing right now, if anything: a client that nobody looks at need not hear of
    /// it (XEP-0352 section 3.2).
    pub transient: bool,
}

/// Looks at every child once.
pub fn keeping(kind: MessageType, stanza: &Stanza<'_>) -> Keeping {
    use MessageType::{Chat, Error, Groupchat, Headline, Normal};
    let seen = Seen::of(stanza);
    let is_storable = !seen.no_store && !seen.no_permanent_store;
    let archive = is_storable
        && match kind {
            Chat | Normal => seen.body || seen.subject || seen.payload || seen.invites_us || seen.store,
            // XEP-0334 section 4.4 leaves out errors only.
            Headline => seen.store,
            // A room has its own archive.
            Groupchat | Error => false,
        };
    let wait = matches!(kind, Chat | Normal) && !seen.no_store && (seen.says || archive);
    // `private` alone decides by the letter of the section; XEP-0334 section 4.3 adds `no-copy`. A copy of a copy, and
    // the error that one came back with (section 10.3), would be nobody's message.
    let may_be_copied = !seen.private && !seen.no_copy && !seen.is_copy;
    let is_messaging = seen.im || seen.payload || seen.invitation;
    let carbons = may_be_copied
        && match kind {
            Chat => true,
            Normal => seen.body || is_messaging,
            Headline => is_messaging,
            // "In response to a message that was eligible": told by what it brings back of it. One that brings nothing
            // back may be the answer to any, and most were eligible.
            Error => seen.body || is_messaging || !seen.echo,
            Groupchat => false,
        };
    // XEP-0045 section 7.5: both directions of a private message of a room are marked.
    let is_from_occupant = seen.room && !seen.invitation && kind != Error;
    Keeping {
        archive,
        wait,
        carbons,
        carbons_received: carbons && !is_from_occupant,
        transient: kind != Error && !seen.says && !seen.store,
    }
}

/// What there is in a message.
#[derive(Default)]
struct Seen {
    body: bool,
    subject: bool,
    /// Payloads of instant messaging that are worth keeping without a body.
    payload: bool,
    /// Payloads "typically used in IM", worth keeping or not (XEP-0280 section 6.1, third rule).
    im: bool,
    /// An invitation to a room, direct (XEP-0249) or by the room (XEP-0045 section 7.8.2), or its refusal.
    invitation: bool,
    /// One that is not just on its way to the room.
    invites_us: bool,
    /// Comes from an occupant of a room, or goes to one.
    room: bool,
    /// Anything that tells something and is not over in a moment.
    says: bool,
    /// Of an error: it brings something back of what it answers.
    echo: bool,
    store: bool,
    no_store: bool,
    no_permanent_store: bool,
    no_copy: bool,
    private: bool,
    /// Is itself a carbon copy, or a result of an archive.
    is_copy: bool,
}

impl Seen {
    fn of(stanza: &Stanza<'_>) -> Seen {
        let mut seen = Seen::default();
        let content = stanza.element().ns();
        for child in stanza.children() {
            if child.ns() == content {
                seen.core(&child);
            } else {
                seen.echo = true;
                seen.extension(&child);
            }
        }
        seen
    }

    /// RFC 6121 section 5.2.
    fn core(&mut self, child: &Child<'_>) {
        match child.name() {
            "error" => return,
            "thread" => {}
            "body" => self.body = true,
            "subject" => self.subject = true,
            _ => {}
        }
        self.echo = true;
        self.says |= child.name() != "thread";
    }

    fn extension(&mut self, child: &Child<'_>) {
        let name = child.name();
        match child.ns() {
            // They tell where and when, not what.
            ns::STANZA_IDS | ns::OCCUPANT_ID | ns::DELAY => {}
            ns::CHAT_STATES => self.im = true,
            // That an answer is wanted says nothing without what it is wanted for.
            ns::RECEIPTS => self.im(name != "request"),
            ns::MARKERS => self.im(name != "markable"),
            ns::REACTIONS
            | ns::RETRACTION
            | ns::CORRECTION
            | ns::ENCRYPTION
            | ns::OMEMO
            | ns::OMEMO_LEGACY
            | ns::OPENPGP
            | ns::OPENPGP_LEGACY
            | ns::JINGLE_MESSAGE
            | ns::CALL_INVITES
            | ns::FILE_SHARING => self.im(true),
            ns::CONFERENCE => {
                self.invitation = true;
                self.invites_us = true;
                self.says = true;
            }
            ns::MUC_USER => self.muc_user(child),
            ns::HINTS => match name {
                "store" => self.store = true,
                "no-store" => self.no_store = true,
                "no-permanent-store" => self.no_permanent_store = true,
                "no-copy" => self.no_copy = true,
                _ => {}
            },
            ns::CARBONS if name == "private" => self.private = true,
            // What an archive says is nobody's message either.
            ns::CARBONS | ns::MAM => {
                self.is_copy = true;
                self.says = true;
            }
            _ => self.says = true,
        }
    }

    fn im(&mut self, is_kept: bool) {
        self.im = true;
        self.payload |= is_kept;
        self.says |= is_kept;
    }

    fn muc_user(&mut self, child: &Child<'_>) {
        self.room = true;
        for part in child.children() {
            self.says = true;
            if matches!(part.name(), "invite" | "decline") && part.ns() == ns::MUC_USER {
                self.invitation = true;
                // With `to` it is still on its way to the room, which writes `from` instead.
                // COMPAT: nbxmpp (Gajim) fails on one without `from` in the archive.
                self.invites_us |= part.attr("from").is_some();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with;
    use stanza::Kind;

    /// The letters of what becomes of it: a(rchive), w(ait), c(arbons), r(eceived carbons), t(ransient).
    fn of(kind: &str, content: &str) -> String {
        let xml = format!("<message type='{kind}'>{content}</message>");
        with(&xml, |stanza| {
            let Kind::Message(kind) = stanza.kind() else {
                panic!("not a message: {xml}")
            };
            let Keeping {
                archive,
                wait,
                carbons,
                carbons_received,
                transient,
            } = keeping(kind, &stanza);
            [
                (archive, 'a'),
                (wait, 'w'),
                (carbons, 'c'),
                (carbons_received, 'r'),
                (transient, 't'),
            ]
            .iter()
            .filter_map(|(is, letter)| is.then_some(*letter))
            .collect()
        })
    }

    fn check(content: &str, expected: &[(&str, &str)]) {
        for (kind, letters) in expected {
            assert_eq!(of(kind, content), *letters, "{kind} {content}");
        }
    }

    const BODY: &str = "<body>hi</body>";
    const ACTIVE: &str = "<active xmlns='http://jabber.org/protocol/chatstates'/>";

    #[test]
    fn a_body_is_kept_by_the_type_of_its_message() {
        check(
            BODY,
            &[
                ("chat", "awcr"),
                ("normal", "awcr"),
                ("headline", ""),
                ("groupchat", ""),
                ("error", "cr"),
            ],
        );
        check(
            &format!("{BODY}{ACTIVE}<request xmlns='urn:xmpp:receipts'/>"),
            &[
                ("chat", "awcr"),
                ("normal", "awcr"),
                ("headline", "cr"),
                ("groupchat", ""),
                ("error", "cr"),
            ],
        );
        check("<body/>", &[("chat", "awcr")]);
        check(
            "<subject>s</subject>",
            &[("chat", "awcr"), ("normal", "aw"), ("groupchat", "")],
        );
        check(
            "<body xmlns='urn:x'>hi</body>",
            &[("chat", "wcr"), ("normal", "w"), ("headline", "")],
        );
    }

    #[test]
    fn chat_states_and_nothing_are_over_in_a_moment() {
        for content in [
            ACTIVE.to_owned(),
            format!("{ACTIVE}<thread>t</thread><markable xmlns='urn:xmpp:chat-markers:0'/>"),
            format!("{ACTIVE}<no-store xmlns='urn:xmpp:hints'/><origin-id xmlns='urn:xmpp:sid:0' id='1'/>"),
            format!("{ACTIVE}<request xmlns='urn:xmpp:receipts'/>"),
        ] {
            check(
                &content,
                &[
                    ("chat", "crt"),
                    ("normal", "crt"),
                    ("headline", "crt"),
                    ("groupchat", "t"),
                ],
            );
        }
        check(
            "",
            &[("chat", "crt"), ("normal", "t"), ("groupchat", "t"), ("error", "cr")],
        );
        check("<thread>t</thread>", &[("chat", "crt"), ("normal", "t")]);
        check(
            &format!("{ACTIVE}<x xmlns='http://jabber.org/protocol/muc#user'/>"),
            &[("chat", "ct")],
        );
        check(
            &format!("{ACTIVE}<occupant-id xmlns='urn:xmpp:occupant-id:0' id='1'/>"),
            &[("groupchat", "t")],
        );
        // The room was configured.
        check(
            "<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>",
            &[("groupchat", "")],
        );
    }

    #[test]
    fn payloads_that_matter_are_kept_without_a_body() {
        for payload in [
            "<received xmlns='urn:xmpp:receipts' id='1'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
            "<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>x</reaction></reactions>",
            "<retract xmlns='urn:xmpp:message-retract:1' id='1'/>",
            "<replace xmlns='urn:xmpp:message-correct:0' id='1'/>",
            "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:x'/>",
            "<encrypted xmlns='eu.siacs.conversations.axolotl'/>",
            "<encrypted xmlns='urn:xmpp:omemo:2'/>",
            "<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>",
            "<x xmlns='jabber:x:encrypted'>x</x>",
            "<propose xmlns='urn:xmpp:jingle-message:0' id='1'/>",
            "<invite xmlns='urn:xmpp:call-invites:0'/>",
            "<file-sharing xmlns='urn:xmpp:sfs:0'/>",
        ] {
            check(
                payload,
                &[
                    ("chat", "awcr"),
                    ("normal", "awcr"),
                    ("headline", "cr"),
                    ("groupchat", ""),
                    ("error", "cr"),
                ],
            );
        }
    }

    #[test]
    fn hints() {
        let with = |hint: &str| format!("{BODY}<{hint} xmlns='urn:xmpp:hints'/>");
        check(&with("no-store"), &[("chat", "cr"), ("normal", "cr"), ("error", "cr")]);
        check(&with("no-permanent-store"), &[("chat", "wcr"), ("normal", "wcr")]);
        check(&with("no-copy"), &[("chat", "aw"), ("normal", "aw"), ("error", "")]);
        check(
            &with("store"),
            &[("chat", "awcr"), ("headline", "a"), ("groupchat", ""), ("error", "cr")],
        );
        check("<store xmlns='urn:x'/>", &[("chat", "wcr"), ("normal", "w")]);
        let stored = format!("{ACTIVE}<store xmlns='urn:xmpp:hints'/>");
        check(&stored, &[("chat", "awcr"), ("normal", "awcr"), ("error", "cr")]);
        // Who asks for both has a secret.
        let both = format!("{stored}<no-store xmlns='urn:xmpp:hints'/>");
        check(&both, &[("chat", "cr")]);
        let both = format!("{stored}<no-permanent-store xmlns='urn:xmpp:hints'/>");
        check(&both, &[("chat", "cr")]);
    }

    #[test]
    fn private_messages_and_copies_are_not_copied() {
        let private = format!("{BODY}<private xmlns='urn:xmpp:carbons:2'/>");
        check(&private, &[("chat", "aw"), ("normal", "aw"), ("error", "")]);
        let copy = "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'/></received>";
        check(copy, &[("chat", "w"), ("error", "")]);
    }

    #[test]
    fn errors_are_copied_as_what_they_answer() {
        const ERROR: &str =
            "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
        check(ERROR, &[("error", "cr")]);
        check(&format!("{BODY}{ERROR}"), &[("error", "cr")]);
        check(
            &format!("<event xmlns='http://jabber.org/protocol/pubsub#event'/>{ERROR}"),
            &[("error", "")],
        );
        check(&format!("<subject>s</subject>{ERROR}"), &[("error", "")]);
        let room = format!("{BODY}<x xmlns='http://jabber.org/protocol/muc#user'/>{ERROR}");
        check(&room, &[("error", "cr")]);
    }

    #[test]
    fn rooms() {
        check(
            "<x xmlns='jabber:x:conference' jid='room@muc.example.org'/>",
            &[("chat", "awcr"), ("normal", "awcr")],
        );
        let mediated =
            |attr: &str| format!("<x xmlns='http://jabber.org/protocol/muc#user'><invite {attr}='a@example.org'/></x>");
        check(&mediated("from"), &[("normal", "awcr")]);
        check(&mediated("to"), &[("normal", "wcr")]);
        check(
            "<x xmlns='http://jabber.org/protocol/muc#user'><invite xmlns='urn:x'/></x>",
            &[("normal", "w"), ("chat", "wc")],
        );
        check(
            &format!("{BODY}<x xmlns='http://jabber.org/protocol/muc#user'/>"),
            &[("chat", "awc"), ("normal", "awc"), ("groupchat", "")],
        );
    }
}
