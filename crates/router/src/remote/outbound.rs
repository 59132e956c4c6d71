//! What is for other servers.

use std::sync::Arc;

use module::Now;
use stanza::{Edits, IqType, JidRef, Kind, PresenceType, Stanza, StanzaError, splice};

use super::link::{Item, Link, State, Took, What};
use super::pairs::{Cell, NoRoom};
use super::{Failure, Pair, spool};
use crate::directed::domain_of;
use crate::{Router, Turn};

impl Router {
    /// The link by which something goes from one address to another, or what its sender is told. `is_wanted`: somebody here
    /// asks for it; `account`: it is this one that does.
    fn link_between(
        &self,
        local: &str,
        remote: &str,
        is_wanted: bool,
        account: Option<&str>,
    ) -> Result<Arc<Cell>, StanzaError> {
        let Some(port) = self.remotes.port.get().filter(|_| self.federates(local)) else {
            return Err(StanzaError::remote_server_not_found());
        };
        if let Some(cell) = self.remotes.find(local, remote)
            && (cell.is_wanted() || !is_wanted)
        {
            // The rules may have changed.
            return port.dialer.may_reach(&cell.pair).map(|()| cell);
        }
        let pair = Pair::new(local, remote);
        port.dialer.may_reach(&pair)?;
        let made = self.remotes.of(&pair, is_wanted, account, self.tick());
        made.map_err(|why| {
            StanzaError::resource_constraint().text(match why {
                NoRoom::Full => "too many servers are talked with",
                NoRoom::OfAccount => "too many servers were written to for the first time; try again in an hour",
            })
        })
    }

    /// A stanza for an address of another server.
    pub(crate) fn to_remote(&self, now: Now, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        use PresenceType::{Available, Probe, Subscribe, Subscribed};
        let origin = turn.origin.as_ref();
        let is_clients = origin.is_some_and(|origin| origin.is_client);
        let is_ours = origin.is_some_and(|origin| !origin.is_server);
        // What follows from what somebody here has done; all else others may have caused.
        let follows = matches!(
            stanza.kind(),
            Kind::Presence(Available | Probe | Subscribe | Subscribed)
        ) && from.local().is_some()
            && self.host(from.domain()).is_some();
        let account = is_clients.then(|| from.bare_str());
        let refused = match self.link_between(from.domain(), to.domain(), is_ours || follows, account) {
            Ok(cell) => self.give_to_link(now, &cell, stanza, from, to, turn).err(),
            Err(error) => Some(error),
        };
        if let Some(error) = refused.filter(|_| is_answered(stanza)) {
            self.bounce(stanza, from, to, &error, turn);
        }
    }

    fn give_to_link(
        &self,
        now: Now,
        cell: &Arc<Cell>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> Result<(), StanzaError> {
        let (rules, at) = (self.rules(), self.tick());
        let is_clients = turn.origin.as_ref().is_some_and(|origin| origin.is_client);
        let kept = spool::must_arrive(stanza, is_clients);
        let link = cell.lock();
        // A domain that has just failed is not tried with every stanza.
        let has_failed = link.has_just_failed(&rules, at);
        let failed = link.failure.as_ref().filter(|_| has_failed).map(Failure::error);
        if let Some(error) = failed.filter(|_| kept.is_none() || !link.is_expected(at)) {
            return Err(error);
        }
        // As it is written, it has both addresses, which it may have already: so this lets some by that `up` finds.
        if link.is_too_long(stanza.element().source().len()) {
            return Err(too_long());
        }
        if kept.is_some() && link.spooled >= rules.queue_stanzas {
            return Err(too_much());
        }
        drop(link);
        if let Some(keeping) = kept {
            self.spool(now, cell, keeping, stanza, from, to, turn);
            return Ok(());
        }
        self.copy_unkept(stanza, from, to, turn);
        let text = turn.text(|out| splice(stanza, from.as_str(), Some(to.as_str()), &Edits::default(), out));
        let item = Item {
            text,
            key: None,
            what: match stanza.kind() {
                Kind::Iq(IqType::Get | IqType::Set) => What::Request,
                Kind::Presence(_) => What::Presence,
                _ => What::Other,
            },
        };
        match self.send_in_order(cell, item, turn) {
            true => Ok(()),
            false => Err(too_much()),
        }
    }

    /// Something of the moment for an address of another server, which nobody is told of if it does not get there. False:
    /// the address is not one of another server.
    pub(crate) fn say_to_remote(
        &self,
        from: &str,
        address: &str,
        turn: &mut Turn,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let (local, remote) = (domain_of(from), domain_of(address));
        if self.remotes.port.get().is_none() || self.host(remote).is_some() || self.service(remote).is_some() {
            return false;
        }
        if let Ok(cell) = self.link_between(local, remote, false, None) {
            let is_down = cell.lock().has_just_failed(&self.rules(), self.tick());
            if !is_down {
                let item = Item {
                    text: turn.text(write),
                    key: None,
                    what: What::Silent,
                };
                self.send_in_order(&cell, item, turn);
            }
        }
        true
    }

    /// Gives a stanza to the link. False: too much waits in memory.
    pub(super) fn send_over(&self, cell: &Arc<Cell>, item: Item, turn: &mut Turn) -> bool {
        let (rules, at) = (self.rules(), self.tick());
        let mut link = cell.lock();
        let took = link.take(item, rules.queue_bytes, at, turn);
        match took {
            Took::Dial if link.may_be_tried(&rules, at) => self.dial(cell, &mut link),
            // In the spool alone: it is tried again when its time comes.
            Took::Dial | Took::Taken | Took::Full => {}
        }
        drop(link);
        self.read_spool(cell);
        took != Took::Full
    }

    /// What the peer would end the stream for, and again the next one.
    pub(super) fn refuse_items(&self, cell: &Arc<Cell>, items: Vec<(Item, StanzaError)>, turn: &mut Turn) {
        for (item, error) in items {
            tracing::info!(
                local = &*cell.pair.local,
                remote = &*cell.pair.remote,
                why = error.condition.name(),
                "another server does not take a stanza, which is given up"
            );
            match item.key {
                Some(key) => self.give_up_row(cell, key, item.text, error),
                None if item.what == What::Silent => {}
                None => self.refuse_text(&item.text, &error, turn),
            }
        }
    }

    /// Tells the sender of a stanza of ours that it does not get there.
    pub(super) fn refuse_text(&self, text: &str, error: &StanzaError, turn: &mut Turn) {
        self.read_letter(text, turn, |stanza, from, to, turn| {
            if is_answered(stanza) {
                self.answer_with_error(stanza, from, to, error, turn);
            }
        });
    }

    /// Has a stream made for the link.
    pub(super) fn dial(&self, cell: &Cell, link: &mut Link) {
        let Some(port) = self.remotes.port.get() else { return };
        let resume = link.resumes.take();
        link.state = State::Dialing;
        link.heard = resume.as_ref().map_or(0, |resume| resume.h);
        link.is_resuming = resume.is_some();
        port.dialer.dial(&cell.pair, resume);
    }
}

/// XEP-0478 section 4.
pub(super) fn too_long() -> StanzaError {
    StanzaError::policy_violation().text("the other server takes no stanza that long")
}

/// What is only of the moment is answered to nobody (RFC 6121 section 4.3).
fn is_answered(stanza: &Stanza<'_>) -> bool {
    !matches!(
        stanza.kind(),
        Kind::Presence(PresenceType::Probe | PresenceType::Unavailable)
    )
}

pub(super) fn too_much() -> StanzaError {
    StanzaError::resource_constraint().text("too much waits for that server")
}
