//! Occupants that a room is given back after a restart, and those that are lost without a word.

use std::sync::Arc;

use stanza::{Jid, Rendered};

use crate::admin::{Change, Outcome};
use crate::occupants::Session;
use crate::rank::{Affiliation, Role};
use crate::room::{Context, Decided, Room};

/// An occupant as it outlives the process.
#[derive(Clone, Debug)]
pub struct Returning {
    pub nick: Box<str>,
    pub role: Role,
    /// Full JIDs, and what they last said of themselves.
    pub sessions: Vec<(Arc<Jid>, Rendered)>,
}

impl Room {
    /// Who is in it. Nobody, where the room itself is kept nowhere.
    pub fn returning(&self) -> Vec<Returning> {
        if self.is_locked || self.is_destroyed {
            return Vec::new();
        }
        let occupants = self.occupants.iter();
        occupants
            .map(|(nick, occupant)| Returning {
                nick: nick.into(),
                role: occupant.role,
                sessions: occupant
                    .sessions
                    .iter()
                    .map(|session| (Arc::clone(&session.jid), session.presence.clone()))
                    .collect(),
            })
            .collect()
    }

    /// They are here as before. Nobody is told, as nobody has seen them leave.
    pub fn put_back(&mut self, context: &Context<'_>, returning: Vec<Returning>) {
        if !returning.is_empty() {
            self.know_versions(context);
        }
        for occupant in returning {
            for (jid, presence) in occupant.sessions {
                let id = self.id_of(context, jid.bare_str());
                self.occupants
                    .enter(&occupant.nick, occupant.role, Session { jid, presence }, || id);
            }
        }
    }

    /// All clients that are here.
    pub fn clients(&self) -> Vec<Arc<Jid>> {
        self.occupants.everyone()
    }

    /// Clients of a domain that are here.
    pub fn clients_of_domain(&self, domain: &str) -> Vec<Arc<Jid>> {
        self.occupants
            .some(|_, occupant| occupant.seen().jid.domain() == domain)
    }

    /// An account is no more: whoever has its name next is nobody here.
    pub fn removed(&mut self, context: &Context<'_>, account: &Jid) -> Decided {
        let room = self.jid.bare_str().to_owned();
        let change = Change {
            affiliation: Affiliation::None,
            nick: None,
            reason: None,
            actor: None,
            by: &room,
        };
        let mut outcome = Outcome::default();
        self.set_affiliation(context, account, change, &mut outcome);
        self.succeed(context, &mut outcome);
        let batch = self
            .hats
            .forget(std::mem::take(&mut outcome.batch), &room, account.bare_str());
        let mut say = outcome.say();
        // It need not be told itself.
        say.retain(|say| say.to.iter().any(|to| to.bare_str() != account.bare_str()));
        self.decided(batch, say)
    }

    /// Section 10: a room has an owner. If it has none any more, the first of its admins is it, or of its members; where there
    /// is nobody, those who administer the service have it.
    fn succeed(&mut self, context: &Context<'_>, outcome: &mut Outcome) {
        let first = |room: &Room, wanted: Affiliation| {
            let mut standings = room.standings.iter();
            let found = standings.find(|(jid, standing)| standing.affiliation == wanted && jid.contains('@'));
            found.and_then(|(jid, _)| Jid::parse(jid).ok())
        };
        if first(self, Affiliation::Owner).is_some() {
            return;
        }
        let next = first(self, Affiliation::Admin).or_else(|| first(self, Affiliation::Member));
        if let Some(next) = next {
            let room = self.jid.bare_str().to_owned();
            let change = Change {
                affiliation: Affiliation::Owner,
                nick: None,
                reason: None,
                actor: None,
                by: &room,
            };
            self.set_affiliation(context, &next, change, outcome);
        }
    }

    /// A client is gone without having said so: others are told that it was an error (status 333).
    pub fn lost(&mut self, context: &mut Context<'_>, jid: &Arc<Jid>) -> Decided {
        let presence = Rendered::from_text("<presence type='unavailable'/>");
        self.left(context, jid, &presence, &[333], &[])
    }

    /// The service wants a client here no more (section 8.2 has the status).
    pub fn unwanted(&mut self, context: &mut Context<'_>, jid: &Arc<Jid>) -> Decided {
        let presence = Rendered::from_text("<presence type='unavailable'/>");
        self.left(context, jid, &presence, &[307], &[])
    }
}
