//! A message that is kept: into the archive first, then to whom it is for.
//!
//! At the recipient's owner it is decided where the message stands ([`Places`]); one batch makes it durable, for both
//! its archives, together with how far the sender's stream has come. After the commit, in the order of commits, it is
//! handed out: to the resources of RFC 6121 section 8.5, and as copies to the other devices of both (XEP-0280). So the
//! order of delivery is the order of the archive (guarantee G4), and nothing is delivered that is not archived (G6).

use std::sync::Arc;

use archive::{Direction, Keeping};
use module::{Now, Switches};
use offline::Taking;
use stanza::{Condition, Edits, Jid, JidRef, MessageType, Stanza, StanzaError, splice};
use store::{Batch, Deposit, Places, StoreError};

use crate::account::{Account, Session};
use crate::durable::{End, mark, require_account, told};
use crate::outbox::{How, Item, Moved, Receipt, message_units};
use crate::push::Announced;
use crate::tombstone::Search;
use crate::turn::Work;
use crate::wake::gather;
use crate::{Bound, Outbox, Router, Turn};

/// Where a stanza comes from that a client of this server has sent.
pub(crate) struct Origin {
    pub(crate) receipt: Option<Receipt>,
    /// Whether its messages go into the sender's archive. Asked before the recipient's owner is: never two locks.
    pub(crate) archives: bool,
    /// Whether another of the sender's devices wants copies (XEP-0280); asked at the same time. Nearly always none does,
    /// and then no copy is made.
    pub(crate) copies: bool,
    /// What becomes of a message, where that was asked already.
    pub(crate) keeping: Option<Keeping>,
    pub(crate) outbox: Arc<Outbox>,
    /// It is a client, and not a component or another server.
    pub(crate) is_client: bool,
    /// It is another server, which sends again what it has no acknowledgement for.
    pub(crate) is_server: bool,
    /// The connection waits for it: to be told with [`Event::Proceed`](crate::Event) when it goes on.
    pub(crate) is_awaited: bool,
    /// It is what a component does by a privilege.
    pub(crate) is_privileged: bool,
}

impl Origin {
    pub(crate) fn of(bound: &Bound) -> Result<Origin, Moved> {
        Ok(Origin {
            receipt: bound.outbox.receive()?,
            archives: true,
            copies: false,
            keeping: None,
            outbox: Arc::clone(&bound.outbox),
            is_client: true,
            is_server: false,
            is_awaited: true,
            is_privileged: false,
        })
    }

    /// A component has no archive here and no other devices; but what it sends goes in order, and is not read faster
    /// than it is kept.
    pub(crate) fn of_component(bound: &Bound) -> Origin {
        Origin {
            receipt: None,
            archives: false,
            copies: false,
            keeping: None,
            outbox: Arc::clone(&bound.outbox),
            is_client: false,
            is_server: false,
            is_awaited: true,
            is_privileged: false,
        }
    }
}

impl Origin {
    /// That a message was given up which its sender had taken for sent: it is kept until he hears of it.
    pub(crate) fn of_late_refusal() -> Origin {
        Origin {
            receipt: None,
            archives: false,
            copies: false,
            keeping: Some(Keeping {
                archive: true,
                wait: true,
                ..Keeping::default()
            }),
            // Nobody's: nothing waits for it.
            outbox: Outbox::new(0),
            is_client: false,
            is_privileged: false,
            is_server: false,
            is_awaited: false,
        }
    }
}

impl Origin {
    /// What comes from another server is counted where its stream is managed, goes in order, and is not read faster than it
    /// is kept.
    pub(crate) fn of_remote(bound: &Bound) -> Result<Origin, Moved> {
        Ok(Origin {
            receipt: bound.outbox.receive()?.map(Receipt::of_server),
            is_server: true,
            ..Origin::of_component(bound)
        })
    }

    /// What tells a message that comes once more, where that may be: a client or a server sends it again over a new stream,
    /// if the one before broke before it was acknowledged.
    pub(crate) fn fingerprint(&self, secret: &[u8; 32], from: &str, to: &str, stanza: &Stanza<'_>) -> Option<u128> {
        match (self.is_client, self.is_server) {
            (true, _) => archive::fingerprint(secret, from, to, stanza),
            (_, true) => archive::fingerprint_of_server(secret, from, to, stanza),
            // Who sends again here is not a stream that broke.
            _ => None,
        }
    }
}

/// What a client sends behind a message does not overtake it while it is on its way into the archive.
pub(crate) struct Behind(Arc<Outbox>, u32);

impl Behind {
    pub(crate) fn of(outbox: Arc<Outbox>, bytes: usize) -> Behind {
        let units = message_units(bytes);
        outbox.fall_behind(units);
        Behind(outbox, units)
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.0.catch_up(self.1);
    }
}

/// A message on its way into the archive, and out again.
struct Kept {
    text: Arc<str>,
    from: Jid,
    to: Jid,
    kind: MessageType,
    keeping: Keeping,
    places: Places,
    /// It retracts another: the id of that one, and its own.
    retraction: Option<(String, String)>,
    source: Source,
    /// What devices are told of it that are away.
    announced: Option<Box<Announced>>,
}

/// Who sent a message.
#[derive(Clone, Copy, Default)]
pub(crate) struct Source {
    /// An account of this server, and it came from one of its resources.
    is_own: bool,
    /// Another of its devices wants copies.
    copies: bool,
}

impl Source {
    /// Another of the sender's devices wants copies.
    pub(crate) fn copies(self) -> bool {
        self.copies
    }

    pub(crate) fn of(origin: Option<&Origin>) -> Source {
        Source {
            is_own: origin.is_some_and(|origin| origin.is_client),
            copies: origin.is_some_and(|origin| origin.copies),
        }
    }
}

/// A message for the other devices of its sender.
pub(crate) struct Copied {
    text: Arc<str>,
    from: Jid,
    /// Its id, where it stands in the sender's archive.
    pub(crate) id: Option<i64>,
}

impl Copied {
    pub(crate) fn of(text: &Arc<str>, from: JidRef<'_>) -> Copied {
        Copied {
            text: Arc::clone(text),
            from: from.to_owned(),
            id: None,
        }
    }
}

impl Router {
    /// Keeps a message and hands it out after the commit.
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    pub(crate) fn keep(
        &self,
        now: Now,
        account: &mut Account,
        kind: MessageType,
        keeping: Keeping,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        edits: &Edits,
        turn: &mut Turn,
    ) {
        let announced = self.announced(account, kind, keeping, stanza, from);
        let is_there = match to.resource() {
            Some(resource) if account.resource(resource).is_some() => true,
            _ => account.sessions.iter().any(Session::takes_messages),
        };
        if keeping.wait && !is_there && account.backlog.waiting() >= self.limits.offline_messages {
            // XEP-0160 section 2 and RFC 6121 section 8.5.2.2.1.
            return self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn);
        }
        let origin = turn.origin.take();
        let mut places = Places::default();
        if keeping.archive && self.archives {
            if account.archives(from) {
                places = places.and(Places::RECEIVED);
            }
            if origin.as_ref().is_some_and(|origin| origin.archives) {
                places = places.and(Places::SENT);
            }
        }
        // Nothing to keep, if somebody takes it: but it does not overtake what is on its way into the archive.
        let is_behind = origin.as_ref().is_some_and(|origin| origin.outbox.is_behind());
        // Of several devices one may give it back, and then it must be known that another has it: so it is noted by its id.
        let is_shared = keeping.wait && account.sessions.len() > 1;
        if places.is_empty() && !is_shared && !is_behind && !account.backlog.is_replaying() {
            let source = Source::of(origin.as_ref());
            let is_taken = self.pass(account, kind, keeping, stanza, from, to, edits, source, turn);
            if let Some(announced) = announced.as_deref().filter(|_| is_taken) {
                self.announce(account, announced, to.resource(), None, turn);
            }
            if is_taken || !keeping.wait {
                return;
            }
        }
        if keeping.wait {
            places = places.and(Places::WAITING);
        }
        let text = turn.text(|out| splice(stanza, from.as_str(), Some(to.as_str()), edits, out));
        let fingerprint = origin
            .as_ref()
            .and_then(|origin| origin.fingerprint(&self.secret, from.bare_str(), to.as_str(), stanza));
        let mut batch = Batch::new().deposit(Deposit {
            at: now.0,
            sender: from.bare_str().into(),
            recipient: account.jid.as_str().into(),
            places,
            fingerprint,
            stanza: Arc::clone(&text),
        });
        require_account(account, &mut batch);
        let source = Source::of(origin.as_ref());
        let (behind, receipt) = match origin {
            Some(origin) => (Some(Behind::of(origin.outbox, text.len())), origin.receipt),
            None => (None, None),
        };
        mark(receipt.as_ref(), &mut batch);
        let kept = Kept {
            text,
            from: from.to_owned(),
            to: to.to_owned(),
            kind,
            keeping,
            places,
            retraction: archive::retraction(stanza),
            source,
            announced,
        };
        let me = self.me.clone();
        self.store.write(
            batch,
            Box::new(move |result| {
                let Some(router) = me.upgrade() else { return };
                gather();
                let end = End::of(receipt, &result);
                router.kept(&kept, result, end.is_told());
                drop(behind);
                router.ends(end);
            }),
        );
    }

    /// The message is on disk, or is not; `is_told`: then its sender hears of it.
    fn kept(&self, kept: &Kept, result: Result<store::Wrote, StoreError>, is_told: bool) {
        let now = (self.clock)();
        let mut turn = Turn::default();
        match result {
            Ok(wrote) => match wrote.deposited {
                Some(deposited) if deposited.is_new => {
                    self.hand_out(kept, deposited.id, &mut turn);
                    self.retract(now, kept, deposited.id);
                }
                // It came once more (guarantee G2), and was handed out then.
                Some(_) => {}
                None => tracing::error!("the store does not say what it kept; this is a defect"),
            },
            // The process ends, and so have the streams.
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(account = kept.to.bare_str(), %error, "a message could not be kept");
                let error = told(&error);
                // Removed meanwhile: as to an account that never was.
                let error = if error.condition == Condition::ItemNotFound {
                    StanzaError::service_unavailable()
                } else {
                    error
                };
                if is_told {
                    self.read_letter(&kept.text, &mut turn, |stanza, from, to, turn| {
                        self.bounce(stanza, from, to, &error, turn);
                    });
                }
            }
        }
        self.settle(now, &mut turn);
        turn.finish();
    }

    /// XEP-0424 section 4, in the archives that have the retraction too.
    fn retract(&self, now: Now, kept: &Kept, before: i64) {
        let Some(retraction) = &kept.retraction else { return };
        let (sender, recipient) = (kept.from.bare_str(), kept.to.bare_str());
        let (owner, with) = if kept.places.has(Places::RECEIVED) {
            (recipient, sender)
        } else if kept.places.has(Places::SENT) {
            (sender, recipient)
        } else {
            return;
        };
        self.retract_in(now, owner, with, sender, retraction, before);
    }

    /// The same in the archive of this owner, of what `sender` has said to or heard from `with`. `before`: the id of the
    /// retraction.
    pub(crate) fn retract_in(
        &self,
        now: Now,
        owner: &str,
        with: &str,
        sender: &str,
        (id, by): &(String, String),
        before: i64,
    ) {
        self.bury(Search {
            owner: owner.into(),
            with: with.into(),
            sender: sender.into(),
            id: id.clone(),
            by: by.clone(),
            at: now,
            before,
            searched: 0,
        });
    }

    /// A message that is on disk goes to who is there; who is not will read it.
    fn hand_out(&self, kept: &Kept, id: i64, turn: &mut Turn) {
        let found = self.with(kept.to.bare_str(), |account| {
            self.hand_to(account, kept, id, turn);
            if let Some(announced) = &kept.announced {
                self.announce(account, announced, kept.to.resource(), Some(id), turn);
            }
        });
        if found.is_none() && self.is_for_guests(kept.to.domain()) {
            // Gone in this moment: nothing waits for a guest.
            self.read_letter(&kept.text, turn, |stanza, from, to, turn| {
                self.answer_with_error(stanza, from, to, &StanzaError::service_unavailable(), turn);
            });
        }
        let is_to_self = kept.from.bare_str() == kept.to.bare_str();
        if kept.source.copies && kept.keeping.carbons && !is_to_self {
            self.copy_to_sender(
                &Copied {
                    text: Arc::clone(&kept.text),
                    from: kept.from.clone(),
                    id: kept.places.has(Places::SENT).then_some(id),
                },
                turn,
            );
        }
    }

    /// The rules of RFC 6121 section 8.5 for a message that is kept, and XEP-0280 section 7.
    fn hand_to(&self, account: &mut Account, kept: &Kept, id: i64, turn: &mut Turn) {
        let waits = kept.places.has(Places::WAITING);
        let highest = account
            .sessions
            .iter()
            .filter(|session| session.takes_messages())
            .map(|session| session.priority)
            .max();
        // To a resource that has gone meanwhile as to the bare JID.
        let addressed = kept
            .to
            .resource()
            .filter(|resource| account.resource(resource).is_some());
        let is_direct = |session: &Session| match addressed {
            Some(resource) => &*session.resource == resource,
            None if kept.kind == MessageType::Headline => session.takes_messages(),
            None => session.takes_messages() && Some(session.priority) == highest,
        };
        let replaying = account
            .backlog
            .is_replaying()
            .then(|| account.backlog.session())
            .flatten();
        // Nor before what waits, to one that is about to get that (G4).
        let reads = |session: &Session| session.is_attached() && !session.outbox.is_resuming() && !session.is_coming();
        let nobody_reads = !account
            .sessions
            .iter()
            .any(|session| is_direct(session) && reads(session));
        if waits && replaying.is_none() && nobody_reads && account.backlog.waiting() > 0 {
            // Behind what waits already, whoever comes.
            return account.backlog.add(id);
        }
        let own = account.jid.as_str();
        let stamp = |out: &mut Vec<u8>| self.stamp(kept.places, Places::RECEIVED, &kept.text, own, id, out);
        let mut takers: Vec<Taking> = Vec::new();
        let mut is_behind = false;
        for session in &account.sessions {
            let direct = is_direct(session);
            let is_sender = kept.source.is_own && session_is(account, session, &kept.from);
            let copied = kept.keeping.carbons_received && session.switches.has(Switches::CARBONS) && !is_sender;
            if !direct && !copied {
                continue;
            }
            if waits && replaying == Some(session.id) {
                is_behind = true;
                continue;
            }
            let how = if direct { How::Direct } else { How::Received };
            let item = if waits { Item::Archived { id, how } } else { Item::Other };
            let taking = session.outbox.push(turn, item, |out| {
                if direct {
                    stamp(out);
                } else {
                    let mut stamped = Vec::new();
                    stamp(&mut stamped);
                    let text = std::str::from_utf8(&stamped).unwrap_or_default();
                    archive::carbon(text, Direction::Received, own, &account.full(session), out);
                }
            });
            match taking {
                // A copy that is not acknowledged is nothing to rely on.
                Some(Taking::Trusted) if !direct => {}
                Some(taking) => takers.push(taking),
                None => {}
            }
        }
        if !waits {
            return;
        }
        let alone = account.sessions.len() == 1;
        if takers.is_empty() {
            account.backlog.add(id);
        } else {
            account.backlog.give(id, takers, alone);
            if is_behind {
                account.backlog.give_behind(id);
            }
        }
    }

    /// XEP-0280 section 8: what a client has sent is copied to the account's other devices, also where it comes back.
    pub(crate) fn copy_refused(&self, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        let stanza::Kind::Message(kind) = stanza.kind() else {
            return;
        };
        if !Source::of(turn.origin.as_ref()).copies
            || from.bare_str() == to.bare_str()
            || !archive::keeping(kind, stanza).carbons
        {
            return;
        }
        let text = crate::outgoing::letter(stanza, from, to);
        turn.queue.push_back(Work::Copies(Copied {
            text: text.into(),
            from: from.to_owned(),
            id: None,
        }));
    }

    /// XEP-0280 section 8: what one device has sent, for the others.
    pub(crate) fn copy_to_sender(&self, copied: &Copied, turn: &mut Turn) {
        let Copied { text, from, id } = copied;
        self.with(from.bare_str(), |account| {
            let own = account.jid.as_str();
            let mut stamped = None;
            for session in &account.sessions {
                if !session.switches.has(Switches::CARBONS) || session_is(account, session, from) {
                    continue;
                }
                let stamped = stamped.get_or_insert_with(|| {
                    let (places, id) = (id.map_or(Places::default(), |_| Places::SENT), id.unwrap_or_default());
                    let mut stamped = Vec::new();
                    self.stamp(places, Places::SENT, text, own, id, &mut stamped);
                    stamped
                });
                let item = id.map_or(Item::Other, |id| Item::Archived { id, how: How::Sent });
                session.outbox.push(turn, item, |out| {
                    let text = std::str::from_utf8(stamped).unwrap_or_default();
                    archive::carbon(text, Direction::Sent, own, &account.full(session), out);
                });
            }
        });
    }

    /// A private message to an occupant of a room, on the side of who has sent it: his archive, and his other devices. What
    /// its recipient gets is another message, from the room; its batch comes behind this one.
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    pub(crate) fn keep_sent(
        &self,
        now: Now,
        kind: MessageType,
        origin: &Origin,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let keeping = archive::keeping(kind, stanza);
        let is_private = origin.is_client && to.resource().is_some();
        let copies = is_private && keeping.carbons && origin.copies;
        let archives = is_private && keeping.archive && self.archives && origin.archives;
        if !copies && !archives {
            return;
        }
        let text = turn.text(|out| splice(stanza, from.as_str(), Some(to.as_str()), &Edits::default(), out));
        let mut copied = Copied {
            text: Arc::clone(&text),
            from: from.to_owned(),
            id: None,
        };
        if !archives {
            return turn.queue.push_back(Work::Copies(copied));
        }
        let batch = Batch::new().deposit(Deposit {
            at: now.0,
            sender: from.bare_str().into(),
            recipient: to.bare_str().into(),
            places: Places::SENT,
            fingerprint: archive::fingerprint(&self.secret, from.bare_str(), to.as_str(), stanza),
            stanza: text,
        });
        let me = self.me.clone();
        // What its recipient is given goes through the store behind it, whether it is kept there or not.
        let behind = Behind::of(Arc::clone(&origin.outbox), copied.text.len());
        self.store.write(
            batch,
            Box::new(move |result| {
                drop(behind);
                let Some(router) = me.upgrade() else { return };
                gather();
                // Who has sent it is told by the recipient's side when the disk takes nothing.
                let deposited = result.ok().and_then(|wrote| wrote.deposited);
                let Some(deposited) = deposited.filter(|deposited| copies && deposited.is_new) else {
                    return;
                };
                copied.id = Some(deposited.id);
                let mut turn = Turn::default();
                router.copy_to_sender(&copied, &mut turn);
                turn.finish();
            }),
        );
    }

    /// The text of a message with its id in the owner's archive, if it stands there (XEP-0359 section 3).
    fn stamp(&self, places: Places, place: Places, text: &str, owner: &str, id: i64, out: &mut Vec<u8>) {
        if places.has(place) {
            archive::with_stanza_id(text, owner, &self.ids.show(id), out);
        } else {
            out.extend_from_slice(text.as_bytes());
        }
    }

    /// A message that is not kept goes to who is there, at once; its copies too. False: nobody took it.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn pass(
        &self,
        account: &mut Account,
        kind: MessageType,
        keeping: Keeping,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        edits: &Edits,
        source: Source,
        turn: &mut Turn,
    ) -> bool {
        let highest = account
            .sessions
            .iter()
            .filter(|session| session.takes_messages())
            .map(|session| session.priority)
            .max();
        let addressed = to.resource().filter(|resource| account.resource(resource).is_some());
        let is_direct = |session: &&Session| match addressed {
            Some(resource) => &*session.resource == resource,
            None if kind == MessageType::Headline => session.takes_messages(),
            None => session.takes_messages() && Some(session.priority) == highest,
        };
        let item = if keeping.transient {
            Item::Transient
        } else {
            Item::Other
        };
        let direct = account.sessions.iter().filter(is_direct);
        let delivered = self.deliver_to(account, direct, item, stanza, from, to, edits, turn);
        if !keeping.carbons || !delivered && keeping.wait {
            return delivered;
        }
        let is_sender = |session: &Session| source.is_own && session_is(account, session, &from.to_owned());
        let copied = |session: &&Session| {
            keeping.carbons_received
                && session.switches.has(Switches::CARBONS)
                && !is_direct(session)
                && !is_sender(session)
        };
        let is_to_self = from.bare_str() == account.jid.as_str();
        let others = account.sessions.iter().any(|session| copied(&session));
        let goes_back = source.copies && !is_to_self;
        if !others && !goes_back {
            return delivered;
        }
        let text = turn.text(|out| splice(stanza, from.as_str(), Some(to.as_str()), edits, out));
        for session in account.sessions.iter().filter(copied) {
            self.push(account, session, item, turn, |out| {
                archive::carbon(
                    &text,
                    Direction::Received,
                    account.jid.as_str(),
                    &account.full(session),
                    out,
                );
            });
        }
        if goes_back {
            let from = from.to_owned();
            turn.queue.push_back(Work::Copies(Copied { text, from, id: None }));
        }
        delivered
    }
}

/// Whether this is the session that a stanza came from.
fn session_is(account: &Account, session: &Session, from: &Jid) -> bool {
    from.bare_str() == account.jid.as_str() && from.as_ref().resource() == Some(&*session.resource)
}
