//! What has happened at a node of an account reaches those who want to know (XEP-0163 section 4).
//!
//! One message for all: a start tag each over one text, as with presence. Contacts who are not in memory have no
//! session that could want it, so nobody is loaded for it.

use module::{Audience, Notice, Relation, Shows};
use stanza::{JidCow, JidRef};
use xmlstream::{Limits, Scratch};

use crate::account::{Account, Session};
use crate::outbox::Item;
use crate::turn::Contacts;
use crate::{Router, Turn};

impl Router {
    /// `owner`: the account, or the service.
    pub(crate) fn notify(&self, owner: &str, notice: &Notice, turn: &mut Turn) {
        self.reads_by_notice(owner, notice, turn);
        self.forget_room_settings(owner, &notice.node);
        let is_service = self.service(owner).is_some();
        let subscribers = match is_service {
            // It has looked itself who may see it.
            true => Contacts::of(notice.subscribers.iter().map(|jid| &**jid)),
            false => match self.notify_contacts(owner, notice, turn) {
                Some(subscribers) => subscribers,
                None => return,
            },
        };
        self.notify_subscribers(owner, notice, &subscribers, turn);
    }

    /// Those who want it by their capabilities. Returns those of the others who may see it; None: the account is gone.
    fn notify_contacts(&self, owner: &str, notice: &Notice, turn: &mut Turn) -> Option<Contacts> {
        let sent = notice.to_contacts.as_ref().unwrap_or(&notice.message).sent_by(owner);
        let told = |bare: &str| notice.audience != Audience::Named && !notice.except.iter().any(|jid| **jid == *bare);
        let push = |account: &Account, turn: &mut Turn| {
            for session in account.sessions.iter().filter(|session| session.is_available()) {
                if self.wants(session, &notice.node) {
                    let full = account.full(session);
                    self.push(account, session, Item::Other, turn, |out| sent.write(&full, out));
                }
            }
        };
        let (contacts, elsewhere, subscribers) = self.with(owner, |account| {
            if told(owner) {
                push(account, turn);
            }
            let contacts = account.roster.subscribers().map(|item| &*item.jid);
            let contacts = contacts.filter(|bare| told(bare) && may_see(account, notice, bare));
            let is_told = |bare: &str| {
                told(bare) && account.relation_of(bare) == Relation::Subscriber && may_see(account, notice, bare)
            };
            let elsewhere: Vec<&str> = account.wanting_elsewhere(&notice.node, is_told).collect();
            let subscribers = notice.subscribers.iter().map(|jid| &**jid);
            let subscribers = subscribers.filter(|jid| may_see(account, notice, jid));
            (
                Contacts::of(contacts),
                Contacts::of(elsewhere.into_iter()),
                Contacts::of(subscribers),
            )
        })?;
        for full in elsewhere.iter() {
            self.say_elsewhere(owner, full, turn, |out| sent.write(full, out));
        }
        for contact in contacts.iter() {
            self.with(contact, |account| {
                if !account.blocks(owner) {
                    push(account, turn);
                }
            });
        }
        Some(subscribers)
    }

    fn notify_subscribers(&self, owner: &str, notice: &Notice, subscribers: &Contacts, turn: &mut Turn) {
        let sent = notice.message.sent_by(owner);
        for subscriber in subscribers.iter() {
            let Ok(jid) = JidCow::parse(subscriber) else { continue };
            let jid: JidRef<'_> = jid.as_ref();
            if notice.waits || self.host(jid.domain()).is_none() {
                turn.letter(notice.message.text_with(owner, Some(subscriber)));
                continue;
            }
            let shows = notice.shows.iter().find(|(wanting, _)| **wanting == *subscriber);
            let shows = shows.map(|(_, shows)| *shows);
            // Not by letter: many would be as many copies of the text before the first is delivered.
            self.with(jid.bare_str(), |account| {
                let is_meant = |session: &&Session| match jid.resource() {
                    Some(resource) => *session.resource == *resource,
                    // As a headline for the bare JID (RFC 6121 section 8.5.2.1.1).
                    None => session.takes_messages(),
                };
                if account.blocks(owner) {
                    return;
                }
                for session in account.sessions.iter().filter(is_meant) {
                    if shows.is_none_or(|shows| is_in(session, shows)) {
                        let full = account.full(session);
                        self.push(account, session, Item::Other, turn, |out| sent.write(&full, out));
                    }
                }
            });
        }
    }
}

/// Whether the session is available in one of these states.
fn is_in(session: &Session, shows: Shows) -> bool {
    let Some(presence) = &session.presence else {
        return false;
    };
    if shows == Shows::ALL {
        return true;
    }
    let mut scratch = Scratch::default();
    let read = xmlstream::parse_element(presence.text(), stanza::ns::CLIENT, &mut scratch, &Limits::default());
    // It was checked when it came.
    let show = read.ok().and_then(|presence| {
        let show = presence.children().find(|child| child.is("show", stanza::ns::CLIENT))?;
        Some(show.text().trim_ascii().to_owned())
    });
    shows.has(show.as_deref().unwrap_or("online"))
}

fn may_see(account: &Account, notice: &Notice, jid: &str) -> bool {
    if account.blocks(jid) {
        return false;
    }
    let Ok(jid) = JidCow::parse(jid) else { return false };
    let jid: JidRef<'_> = jid.as_ref();
    let relation = account.relation(jid);
    match &notice.audience {
        Audience::Named | Audience::Anyone => true,
        _ if relation == Relation::Owner => true,
        Audience::Contacts => relation == Relation::Subscriber,
        Audience::Groups(groups) => {
            let item = account.roster.get(jid.bare_str());
            let is_in_group = item.is_some_and(|item| item.groups.iter().any(|group| groups.contains(group)));
            relation == Relation::Subscriber && is_in_group
        }
        Audience::Listed(listed) => listed.iter().any(|bare| **bare == *jid.bare_str()),
    }
}
