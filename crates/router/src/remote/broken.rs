//! The truth after a link to another server has broken (fault row 55): what was seen of the other side may be over, and
//! nobody would say so.
//!
//! Who is in rooms of ours from there leaves them (XEP-0045 section 11.1, status 333). Clients of ours that are in rooms
//! there, or have shown themselves there, are told that these are gone, so that they enter anew; and contacts there are
//! unavailable. When a stream was made again, contacts are probed, and are told who is here.
//!
//! Only for accounts in memory that have sessions: others see nothing. That may be many, so they are looked at part by
//! part, and other work gets its turn between.

use std::sync::Arc;

use module::Now;
use stanza::{Jid, ns};

use super::Pair;
use crate::account::Account;
use crate::directed::domain_of;
use crate::outbox::Item;
use crate::rooms;
use crate::sessions::escaped;
use crate::turn::{Contacts, Work};
use crate::{Outbox, Router, SHARDS, Turn};

/// Accounts that are looked at before other work gets its turn, or a shard of them.
const AT_ONCE: usize = 1_000;

/// What has become of a link.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Became {
    Broken,
    Restored,
    /// It was restored at once, but the peer knows nothing of what was before.
    Anew,
}

/// A link has changed; and how far that was told.
pub(crate) struct Change {
    pair: Pair,
    became: Became,
    /// The shard that is next.
    part: usize,
}

impl Router {
    /// The link has definitely failed, after it had been up or had something for the other side.
    pub(super) fn link_broke(&self, _: Now, pair: &Pair, turn: &mut Turn) {
        self.tell_of_link(pair, Became::Broken, turn);
    }

    /// A stream was made after that.
    pub(super) fn link_restored(&self, _: Now, pair: &Pair, turn: &mut Turn) {
        self.tell_of_link(pair, Became::Restored, turn);
    }

    /// A stream was made after one that broke and could not be resumed, as that of a peer that was started anew.
    pub(super) fn link_begins_anew(&self, pair: &Pair, turn: &mut Turn) {
        self.tell_of_link(pair, Became::Anew, turn);
    }

    fn tell_of_link(&self, pair: &Pair, became: Became, turn: &mut Turn) {
        turn.queue.push_back(Work::Link(Box::new(Change {
            pair: pair.clone(),
            became,
            part: 0,
        })));
    }

    fn is_broken(&self, pair: &Pair) -> bool {
        let cell = self.remotes.find(&pair.local, &pair.remote);
        cell.is_some_and(|cell| cell.lock().is_broken)
    }

    /// Some of those who are to hear of it.
    pub(crate) fn link_changed(&self, mut change: Box<Change>, turn: &mut Turn) {
        let mut looked = 0;
        while change.part < SHARDS {
            // It is otherwise by now, and that goes round behind this. But who was not told of the end is told now.
            if self.is_broken(&change.pair) != (change.became == Became::Broken) {
                match change.became {
                    Became::Broken => change.became = Became::Anew,
                    Became::Restored | Became::Anew => return,
                }
            }
            if looked >= AT_ONCE {
                return self.ask_again(Work::Link(change));
            }
            let Pair { local, remote } = &change.pair;
            let (loses, finds) = (change.became != Became::Restored, change.became != Became::Broken);
            if change.part == 0 && loses {
                self.lose_contacts_of_privileged(local, remote, turn);
            }
            if change.part < rooms::SHARDS && loses {
                self.lose_domain_in_part(change.part, Some(local), remote, turn);
            }
            looked += self.each_account_of_shard(change.part, |account| {
                if account.jid.domain() != &**local || account.sessions.is_empty() {
                    return;
                }
                if loses {
                    self.loses_sight(account, remote, turn);
                }
                if finds {
                    self.finds_again(account, remote, turn);
                }
            });
            change.part += 1;
        }
    }

    /// What the sessions of an account have seen there is seen no more.
    fn loses_sight(&self, account: &mut Account, remote: &str, turn: &mut Turn) {
        account.forget_elsewhere_at(remote);
        for at in 0..account.sessions.len() {
            let session = &mut account.sessions[at];
            let shown = match session.directed() {
                Some(_) => session.change_directed(|directed| directed.take_of_domain(remote)),
                None => Vec::new(),
            };
            let session = &account.sessions[at];
            let full = account.full(session);
            for (whom, is_room) in shown {
                let gone = gone(&whom, &full, is_room);
                self.push(account, session, Item::Presence(&whom), turn, |out| {
                    out.extend_from_slice(gone.as_bytes());
                });
            }
        }
        let contacts = account.roster.subscriptions().map(|item| &*item.jid);
        let contacts = contacts.filter(|jid| domain_of(jid) == remote && !account.blocks(jid));
        for contact in contacts {
            let gone = gone(contact, account.jid.as_str(), false);
            for session in account.sessions.iter().filter(|session| session.is_available()) {
                self.push(account, session, Item::Presence(contact), turn, |out| {
                    out.extend_from_slice(gone.as_bytes());
                });
            }
        }
    }

    /// RFC 6121 sections 4.2.2 and 4.3.1 once more, for contacts of one domain.
    fn finds_again(&self, account: &mut Account, remote: &str, turn: &mut Turn) {
        let is_there = |jid: &&str| domain_of(jid) == remote && !account.blocks(jid);
        let shown = Contacts::of(account.roster.subscribers().map(|item| &*item.jid).filter(is_there));
        let seen = Contacts::of(account.roster.subscriptions().map(|item| &*item.jid).filter(is_there));
        let available = account.sessions.iter().filter(|session| session.is_available());
        let mut is_first = true;
        for session in available {
            let outbox: &Arc<Outbox> = &session.outbox;
            let Ok(full) = Jid::parse(&account.full(session)) else {
                continue;
            };
            if let Some(presence) = account.presence_of(session).filter(|_| !shown.is_empty()) {
                let work = Work::Fanout {
                    presence: presence.sent_by(full.as_str()),
                    from: full.as_str().into(),
                    left: false,
                    to: shown.clone(),
                    except: account.blocked_resources(),
                };
                self.pass_on(account, outbox, [work], turn);
            }
            // What comes in answer is for all of them.
            if std::mem::take(&mut is_first) && !seen.is_empty() {
                let work = Work::Probes {
                    from: full,
                    session: session.id,
                    to: seen.clone(),
                };
                self.pass_on(account, outbox, [work], turn);
            }
        }
    }
}

/// In the name of who cannot be reached any more.
fn gone(from: &str, to: &str, is_room: bool) -> String {
    let (from, to) = (escaped(from), escaped(to));
    let start = format!("<presence type='unavailable' from='{from}' to='{to}'");
    match is_room {
        false => format!("{start}/>"),
        // As the room would say it (XEP-0045 section 11.1).
        true => format!(
            "{start}><x xmlns='{}'><item affiliation='none' role='none'/><status code='110'/><status code='333'/></x></presence>",
            ns::MUC_USER
        ),
    }
}
