//! Whom a message concerns who may not see it now: what whoever tells devices that are away has to know of the room
//! (XEP-0492 section 4; `router/src/push/rooms.rs`).

use module::Notify;
use stanza::{Jid, JidRef, Stanza, ns};

use crate::rank::Affiliation;
use crate::room::Room;

/// Entries of the lists of a room whose members are told although they are in it with no client. In a larger one only those
/// are whom a message mentions: it would be too much to look for all of them with each message.
const MEMBERS: usize = 256;
/// Characters of a message in which somebody is looked for by name: it is done for each who may have to be told.
const SEARCHED: usize = 4_096;
/// Words of a message, and mentions in it, that are looked at for nicknames.
const WORDS: usize = 64;
const MENTIONS: usize = 16;

/// The address in an URI of XMPP (RFC 5122 section 2.2), where it is one.
pub(crate) fn address(uri: &str) -> Option<Jid> {
    let path = uri.strip_prefix("xmpp:")?;
    let path = path.split(['?', '#']).next()?;
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push(match byte {
            b'%' => u8::try_from(digit()? << 4 | digit()?).ok()?,
            byte => byte,
        });
    }
    Jid::parse(&String::from_utf8(bytes).ok()?).ok()
}

/// Whom a message mentions, as far as it can be read.
#[derive(Debug, Default)]
pub struct Mentions {
    /// In small letters; what is encrypted has none.
    body: String,
    /// People and occupants: who is referred to (XEP-0372), and who is answered (XEP-0461).
    jids: Vec<Jid>,
}

impl Mentions {
    /// Of a message as everybody has got it.
    pub fn of(message: &Stanza<'_>) -> Mentions {
        let is_encrypted = message.children().any(|child| child.ns() == ns::ENCRYPTION);
        let body = message.children().find(|child| child.is("body", ns::CLIENT));
        let mut jids = Vec::new();
        for child in message.children() {
            let jid = match (child.name(), child.ns()) {
                ("reference", "urn:xmpp:reference:0") if child.attr("type").as_deref() == Some("mention") => {
                    child.attr("uri").and_then(|uri| address(&uri))
                }
                ("reply", "urn:xmpp:reply:0") => child.attr("to").and_then(|to| Jid::parse(&to).ok()),
                _ => None,
            };
            jids.extend(jid.filter(|_| jids.len() < MENTIONS));
        }
        Mentions {
            body: body
                .filter(|_| !is_encrypted)
                .map(|body| body.text().chars().take(SEARCHED).collect::<String>().to_lowercase())
                .unwrap_or_default(),
            jids,
        }
    }

    fn spells(&self, nick: &str) -> bool {
        let nick = nick.to_lowercase();
        let is_word = |c: char| c.is_alphanumeric();
        let mut found = self.body.match_indices(&nick);
        !nick.is_empty()
            && found.any(|(at, _)| {
                let (before, after) = (&self.body[..at], &self.body[at + nick.len()..]);
                !before.ends_with(is_word) && !after.starts_with(is_word)
            })
    }
}

impl Room {
    /// What somebody is told who has not said it (section 4): in a private room everything, else what mentions him.
    pub fn usually_told(&self) -> Notify {
        match self.config.members_only {
            true => Notify::Always,
            false => Notify::OnMention,
        }
    }

    /// Whose client an occupant's address is: a bare JID.
    pub fn person(&self, occupant: JidRef<'_>) -> Option<&str> {
        let nick = occupant.resource()?;
        self.occupants.get(nick).map(|occupant| occupant.bare())
    }

    /// Whether a message mentions somebody: by his address, or a nickname that he has here or that is kept for him.
    pub fn mentions(&self, mentions: &Mentions, bare: &str) -> bool {
        let kept = self.standings.get(bare).and_then(|standing| standing.nick.clone());
        let nicks: Vec<Box<str>> = self.occupants.nicks_of(bare).into_iter().chain(kept).collect();
        let is_meant = |jid: &Jid| match jid.resource() {
            Some(nick) if jid.bare_str() == self.jid.bare_str() => nicks.iter().any(|own| **own == *nick),
            _ => jid.bare_str() == bare,
        };
        mentions.jids.iter().any(is_meant) || nicks.iter().any(|nick| mentions.spells(nick))
    }

    /// Who belongs to the room, is in it with no client, and may have to be told of a message: bare JIDs. `is_ours`: of
    /// somebody who can be.
    pub fn away(&self, mentions: &Mentions, is_ours: impl Fn(&str) -> bool) -> Vec<Jid> {
        let mut found: Vec<Jid> = Vec::new();
        let mut consider = |bare: &str| {
            let belongs = self
                .standings
                .get(bare)
                .is_some_and(|standing| standing.affiliation >= Affiliation::Member);
            // What nearly nobody is comes first.
            let is_new = belongs && is_ours(bare) && !found.iter().any(|jid| jid.as_str() == bare);
            if is_new && self.occupants.nicks_of(bare).is_empty() {
                let jid = Jid::parse(bare).ok();
                found.extend(jid.filter(|jid| jid.local().is_some()));
            }
        };
        if self.standings.len() <= MEMBERS {
            self.standings.keys().for_each(|bare| consider(bare));
            return found;
        }
        for jid in &mentions.jids {
            match jid.resource() {
                Some(nick) if jid.bare_str() == self.jid.bare_str() => {
                    self.keeper_of(nick).into_iter().for_each(&mut consider);
                }
                _ => consider(jid.bare_str()),
            }
        }
        let words = mentions
            .body
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | ':' | '@'));
        for word in words.filter(|word| !word.is_empty()).take(WORDS) {
            self.keeper_of(word).into_iter().for_each(&mut consider);
        }
        found
    }
}
