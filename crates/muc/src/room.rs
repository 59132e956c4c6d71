//! A room: what it is like, who belongs to it, who is in it; and how all of that is told and kept.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use module::{ArchiveIds, Now};
use sha2::Sha256;
use stanza::{Jid, JidRef, Rendered, Stanza, StanzaError};
use store::{Batch, Found, Query, StoreError};

use crate::activity::Activity;
use crate::avatar::Avatar;
use crate::config::Config;
use crate::extension::EXTENSIONS;
use crate::hats::Hats;
use crate::history::{History, Kept};
use crate::iq::Requests;
use crate::mav::{Seen, Step, Versions};
use crate::message::{Invitations, Privates};
use crate::occupants::{Occupant, Occupants};
use crate::rank::{Affiliation, Role};
use crate::registration::Applications;
use crate::retraction::Retraction;
use crate::rows;
use crate::say::{Item, Say, error, occupant_id, x};
use crate::shared::Shared;
use crate::slow_mode::SlowMode;
use crate::standings::{Standing, Standings};
use crate::voices::Voices;

/// Bytes of an occupant id before they are written in Base64.
const OCCUPANT_ID_BYTES: usize = 18;

/// What the service allows each room. An answer beside each that is reached.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Clients in a room: `service-unavailable`, to be tried again. Owners and admins come in beyond, so that nobody
    /// stuffs a room (section 7.2.9).
    pub occupants: usize,
    /// So many of them.
    pub occupants_beyond: usize,
    /// Entries of all lists together: `resource-constraint`.
    pub affiliations: usize,
    /// Bytes of a nickname: `not-acceptable`.
    pub nick_bytes: usize,
    /// Messages that are kept in memory for who enters.
    pub history: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            occupants: 10_000,
            occupants_beyond: 100,
            affiliations: 20_000,
            nick_bytes: 256,
            history: 100,
        }
    }
}

/// What a request comes with.
pub struct Context<'a> {
    pub now: Now,
    pub limits: &'a Limits,
    /// Of the service, from which occupant ids are made (XEP-0421 section 4).
    pub secret: &'a [u8],
    /// How ids of the archive are shown.
    pub ids: &'a ArchiveIds,
    /// Administers the service, and so has the rights of an owner in each of its rooms.
    pub is_service_admin: bool,
}

/// What follows from a stanza.
#[derive(Debug)]
pub enum Decided {
    /// Nothing has to be written.
    Say(Vec<Say>),
    /// What is said once the batch is on disk; the memory has changed already. If it fails, the caller reads the room
    /// anew, and tells who asked.
    Write(Batch, Vec<Say>),
    /// A message for everybody, that is archived first where it is to be.
    Reflect(Reflect),
    /// What is said depends on the store. The room does not wait for it.
    Ask(Query, Answer),
    /// What is done depends on the store. The room does not wait for it either; it goes on when it has time.
    Look(Query, Next),
}

type Going = dyn FnOnce(&mut Room, &mut Context<'_>, Result<Found, StoreError>) -> Decided + Send;

/// What is done once the store has answered.
pub struct Next(Box<Going>);

impl Next {
    pub(crate) fn new(
        go_on: impl FnOnce(&mut Room, &mut Context<'_>, Result<Found, StoreError>) -> Decided + Send + 'static,
    ) -> Next {
        Next(Box::new(go_on))
    }

    pub fn go_on(self, room: &mut Room, context: &mut Context<'_>, found: Result<Found, StoreError>) -> Decided {
        (self.0)(room, context, found)
    }
}

impl fmt::Debug for Next {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Next")
    }
}

type Said = dyn FnOnce(Result<Found, StoreError>) -> Vec<Say> + Send;

/// What is said once the store has answered.
pub struct Answer(Box<Said>);

impl Answer {
    pub(crate) fn new(say: impl FnOnce(Result<Found, StoreError>) -> Vec<Say> + Send + 'static) -> Answer {
        Answer(Box::new(say))
    }

    pub fn say(self, found: Result<Found, StoreError>) -> Vec<Say> {
        (self.0)(found)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Answer")
    }
}

impl Decided {
    pub(crate) fn nothing() -> Decided {
        Decided::Say(Vec::new())
    }
}

/// A message for everybody. Once it is archived, [`Room::reflected`] says it.
#[derive(Debug)]
pub struct Reflect {
    /// The occupant.
    pub from: Box<str>,
    /// His true address.
    pub sender: Arc<Jid>,
    pub message: Rendered,
    /// It goes into the archive.
    pub is_kept: bool,
    /// Everybody in the room sees whose it is.
    pub(crate) is_known: bool,
    /// Who enters gets it.
    pub(crate) is_past: bool,
    /// Written together with it.
    pub batch: Batch,
    /// Said behind it.
    pub(crate) then: Vec<Say>,
    pub(crate) retraction: Option<Retraction>,
    /// What the room was about before.
    pub(crate) before: Option<Subject>,
    /// What stood in the history in place of a tombstone.
    pub(crate) buried: Option<Kept>,
}

impl Reflect {
    /// `is_kept`: it is more than what is over in a moment. The archive has it where the room has one.
    pub(crate) fn of(room: &Room, from: Box<str>, sender: &Arc<Jid>, message: Rendered, is_kept: bool) -> Reflect {
        Reflect {
            from,
            sender: Arc::clone(sender),
            message,
            is_kept: is_kept && room.config.logging,
            is_known: false,
            is_past: is_kept,
            batch: Batch::new(),
            then: Vec::new(),
            retraction: None,
            before: None,
            buried: None,
        }
    }

    /// As it stands in the archive of the room.
    pub fn stored(&self) -> String {
        archive::stored(&self.message, &self.from, &self.sender, self.is_known)
    }
}

/// What the room is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    /// `<subject/>` elements, without namespace. Empty: none was ever set.
    pub(crate) elements: String,
    /// The address of the occupant that set it.
    pub(crate) from: Box<str>,
    /// Its id (XEP-0421).
    pub(crate) id: Box<str>,
    pub(crate) at: i64,
}

/// A room. A copy of it costs little: what is much is shared until it changes.
#[derive(Clone, Debug)]
pub struct Room {
    pub(crate) jid: Jid,
    /// Who has made it: a bare JID.
    pub(crate) creator: Box<str>,
    pub(crate) config: Config,
    pub(crate) standings: Shared<Standings>,
    pub(crate) occupants: Shared<Occupants>,
    pub(crate) subject: Subject,
    pub(crate) history: Shared<History>,
    pub(crate) invitations: Shared<Invitations>,
    pub(crate) requests: Shared<Requests>,
    pub(crate) privates: Shared<Privates>,
    pub(crate) applications: Shared<Applications>,
    pub(crate) voices: Shared<Voices>,
    pub(crate) versions: Shared<Versions>,
    pub(crate) avatar: Avatar,
    pub(crate) hats: Shared<Hats>,
    pub(crate) slow_mode: Shared<SlowMode>,
    pub(crate) activity: Shared<Activity>,
    /// Nobody but its creator may enter before he has said what it is like (section 10.1). Nothing of it is kept then.
    pub(crate) is_locked: bool,
    pub(crate) is_destroyed: bool,
}

impl Room {
    /// One that nobody has heard of; its creator owns it, and configures it before others come.
    pub fn create(jid: &Jid, creator: JidRef<'_>) -> Room {
        let owner = Standing {
            affiliation: Affiliation::Owner,
            nick: None,
            reason: None,
        };
        Room {
            jid: jid.to_bare(),
            creator: creator.bare_str().into(),
            config: Config::default(),
            standings: Standings::from_iter([(creator.bare_str().into(), owner)]).into(),
            occupants: Shared::default(),
            subject: Subject::default(),
            history: Shared::default(),
            invitations: Shared::default(),
            requests: Shared::default(),
            privates: Shared::default(),
            applications: Shared::default(),
            voices: Shared::default(),
            versions: Shared::default(),
            avatar: Avatar::default(),
            hats: Shared::default(),
            slow_mode: Shared::default(),
            activity: Shared::default(),
            is_locked: true,
            is_destroyed: false,
        }
    }

    /// As rooms of its service are until somebody says what they are like.
    #[must_use]
    pub fn like(mut self, rooms: &module::Rooms) -> Room {
        self.config.public = rooms.public;
        self.config.persistent = rooms.persistent;
        self
    }

    pub fn jid(&self) -> &Jid {
        &self.jid
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Who has to say what it is like, as long as nobody has.
    pub fn being_made_by(&self) -> Option<&str> {
        self.is_locked.then_some(&*self.creator)
    }

    /// Nicknames in it.
    pub fn count_occupants(&self) -> usize {
        self.occupants.len()
    }

    /// Clients in it.
    pub fn sessions(&self) -> usize {
        self.occupants.sessions()
    }

    /// Nothing is left of it: it was destroyed, or it was temporary and everybody has left. The caller forgets it.
    pub fn is_gone(&self) -> bool {
        self.is_destroyed || (self.is_locked && self.occupants.is_empty())
    }

    /// The address of an occupant.
    pub(crate) fn address(&self, nick: &str) -> String {
        format!("{}/{nick}", self.jid.bare_str())
    }

    /// Somebody's affiliation: his own, or that of all of his domain (section 9.2).
    pub(crate) fn affiliation(&self, jid: JidRef<'_>) -> Affiliation {
        let of = |key: &str| self.standings.get(key).map(|standing| standing.affiliation);
        of(jid.bare_str())
            .or_else(|| of(jid.domain()))
            .unwrap_or(Affiliation::None)
    }

    /// The same of who asks, who may administer the service.
    pub(crate) fn right_of(&self, context: &Context<'_>, jid: JidRef<'_>) -> Affiliation {
        match context.is_service_admin {
            true => Affiliation::Owner,
            false => self.affiliation(jid),
        }
    }

    pub(crate) fn affiliation_of(&self, occupant: &Occupant) -> Affiliation {
        self.affiliation(occupant.seen().jid.as_ref().as_ref())
    }

    /// For whom this nickname is kept.
    pub(crate) fn keeper_of(&self, nick: &str) -> Option<&str> {
        self.standings.keeper_of(nick)
    }

    /// Who sees the true address of everybody.
    pub(crate) fn sees_jids(&self, occupant: &Occupant) -> bool {
        self.config.non_anonymous || occupant.role == Role::Moderator
    }

    /// What tells an occupant from others although names change (XEP-0421): the same for all clients of a bare JID, and
    /// different in every room.
    pub(crate) fn id_of(&self, context: &Context<'_>, bare: &str) -> Box<str> {
        // HMAC takes a key of any length.
        let mut mac = Hmac::<Sha256>::new_from_slice(context.secret).expect("a key");
        // A JID has no space.
        mac.update(self.jid.bare_str().as_bytes());
        mac.update(b" ");
        mac.update(bare.as_bytes());
        let id = BASE64_URL_SAFE_NO_PAD.encode(&mac.finalize().into_bytes()[..OCCUPANT_ID_BYTES]);
        id.into()
    }

    /// What the room says of a person in presence that shows him.
    pub(crate) fn marks(&self, occupant: &Occupant) -> String {
        let mut out = occupant_id(&occupant.id);
        for extension in EXTENSIONS {
            (extension.presence)(self, occupant.bare(), &mut out);
        }
        out
    }

    /// Tells everybody about an occupant: itself, who sees true addresses, and the others (section 7.2.2).
    pub(crate) fn show(&self, _: &Context<'_>, nick: &str, occupant: &Occupant, change: &Shown<'_>) -> Vec<Say> {
        let affiliation = self.affiliation_of(occupant);
        let seen = &occupant.seen().jid;
        let mut item = Item {
            nick: change.new_nick,
            actor: change.actor,
            reason: change.reason,
            ..Item::new(affiliation, change.role.unwrap_or(occupant.role))
        };
        let base = match &change.unavailable {
            Some(presence) => presence.with(&occupant_id(&occupant.id)),
            None => occupant.presence().with(&self.marks(occupant)),
        };
        let from: Box<str> = self.address(nick).into();
        let say = |item: &Item<'_>, statuses: &[u16], more: &str, to: Vec<Arc<Jid>>| Say {
            from: from.clone(),
            stanza: base.with(&x(item, statuses, more)),
            to,
        };
        let mut all = Vec::new();
        let is_seen = self.config.broadcast.has(occupant.role) || change.was_seen;
        if let Some(step) = change.step.filter(|_| is_seen) {
            let mut others: BTreeMap<(bool, Seen), Vec<Arc<Jid>>> = BTreeMap::new();
            for (_, watcher) in self.occupants.iter().filter(|(other, _)| *other != nick) {
                let group = (self.sees_jids(watcher), self.seen_by(watcher));
                others.entry(group).or_default().extend(watcher.jids().cloned());
            }
            for ((sees, lists), to) in others {
                item.jid = Some(seen.as_str()).filter(|_| sees);
                all.push(say(&item, change.statuses, &(step.element(lists) + change.more), to));
            }
        } else if is_seen {
            let mut others = |sees: bool, item: &Item<'_>| {
                let is_meant = |other: &str, watcher: &Occupant| other != nick && self.sees_jids(watcher) == sees;
                let to = self.occupants.some(is_meant);
                if !to.is_empty() {
                    all.push(say(item, change.statuses, change.more, to));
                }
            };
            others(false, &item);
            item.jid = Some(seen.as_str());
            others(true, &item);
        }
        item.jid = Some(seen.as_str());
        // Section 7.2.2: it comes to the occupant itself last.
        let mut statuses = change.statuses.to_vec();
        statuses.extend_from_slice(change.own);
        statuses.push(110);
        statuses.sort_unstable();
        let step = change.step.map(|step| step.element(self.seen_by(occupant)));
        let more = step.unwrap_or_default() + change.own_more + change.more;
        all.push(say(&item, &statuses, &more, occupant.jids().cloned().collect()));
        all
    }

    /// An error to who has sent a stanza, from the address to which he sent it.
    pub(crate) fn refuse(&self, stanza: &Stanza<'_>, from: &Arc<Jid>, to: JidRef<'_>, why: &StanzaError) -> Decided {
        Decided::Say(
            error(
                stanza,
                from,
                to.as_str(),
                &why.clone().by(self.jid.bare_str().to_owned()),
            )
            .into_iter()
            .collect(),
        )
    }

    /// What stands in the store of all of it.
    pub(crate) fn saved(&self) -> Batch {
        rows::save(self)
    }

    /// With what has changed in the store, if the room stands there.
    pub(crate) fn decided(&self, batch: Batch, say: Vec<Say>) -> Decided {
        match self.is_locked || batch.ops.is_empty() {
            true => Decided::Say(say),
            false => Decided::Write(batch, say),
        }
    }
}

/// How an occupant is shown to others.
#[derive(Debug, Default)]
pub(crate) struct Shown<'a> {
    /// It is here no more under this name, and this is what it says.
    pub(crate) unavailable: Option<Rendered>,
    /// In place of the role that it has.
    pub(crate) role: Option<Role>,
    /// Others have seen it, although nobody of its role is seen now.
    pub(crate) was_seen: bool,
    pub(crate) new_nick: Option<&'a str>,
    pub(crate) actor: Option<&'a str>,
    pub(crate) reason: Option<&'a str>,
    /// For everybody.
    pub(crate) statuses: &'a [u16],
    /// For the occupant itself, beside 110.
    pub(crate) own: &'a [u16],
    /// What else is in `<x/>`.
    pub(crate) more: &'a str,
    /// The same, for the occupant itself.
    pub(crate) own_more: &'a str,
    /// A change of the lists that is told by it.
    pub(crate) step: Option<&'a Step>,
}

/// An occupant that is gone, for whatever reason.
pub(crate) fn gone() -> Shown<'static> {
    Shown {
        unavailable: Some(Rendered::from_text("<presence type='unavailable'/>")),
        role: Some(Role::None),
        was_seen: false,
        ..Shown::default()
    }
}
