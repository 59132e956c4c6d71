//! Rooms (XEP-0045): each has one owner, which is given one stanza at a time.
//!
//! What a room makes of a stanza is decided by `muc`; here is what goes around it. Rooms are read from the store when
//! somebody asks for them (`load`). What is to be written is on disk before anybody hears of it, and a message for
//! everybody is in the archive before (`decide`). What a room says reaches its occupants without its lock, in the order
//! in which it was said (`delivery`). Occupants outlive a stop in good order (`saved`).
//!
//! The lock of a room is never held together with that of an account or of another room. What cannot be decided yet, since
//! something waits for its commit, waits in order (`Place::waiting`).

mod charges;
mod decide;
mod delivery;
mod gate;
mod load;
mod saved;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use foldhash::quality::RandomState;
use module::{AccountView, ArchivePrefs, Connected, Contact, Device, Host, LastActivity, Now, Passing, Stage, Verdict};
use muc::{Context, Next, Room};
use stanza::{Edits, IqType, Jid, JidRef, Kind, MessageType, PresenceType, Stanza, StanzaError, ns};
use store::{Found, StoreError};

use crate::account::Moment;
use crate::deposit::Origin;
use crate::outgoing::letter;
use crate::{Router, Turn};

pub use charges::Allowance;
pub(crate) use charges::Charges;
use delivery::Out;
use gate::Made;
pub(crate) use saved::OCCUPANTS;

/// Shards of rooms: where they are looked up. A room has a lock of its own besides, since one with many occupants takes
/// its time.
pub(crate) const SHARDS: usize = 64;

/// Stanzas that wait for a room: while it is read, or something of it is written. More is `resource-constraint`.
const WAITING: usize = 4_096;

/// All rooms in memory.
pub(crate) struct Rooms {
    shards: Box<[Mutex<Shard>]>,
    limits: OnceLock<muc::Limits>,
    allowance: OnceLock<Allowance>,
    charges: Charges,
    /// By who makes them. No lock of a room is taken with it.
    making: Mutex<HashMap<Box<str>, u64>>,
}

type Shard = HashMap<Box<str>, Arc<Place>, RandomState>;

impl Default for Rooms {
    fn default() -> Rooms {
        Rooms {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            limits: OnceLock::new(),
            allowance: OnceLock::new(),
            charges: Charges::default(),
            making: Mutex::default(),
        }
    }
}

/// Where a room is.
pub(crate) struct Place {
    jid: Jid,
    state: Mutex<State>,
    out: Mutex<Out>,
}

struct State {
    room: Slot,
    /// In the order in which they came. Nobody gets past them.
    waiting: VecDeque<Held>,
    /// Something of the room is on its way to the disk: nothing is decided before.
    is_writing: bool,
    /// Messages for everybody on their way into the archive: only others such are taken.
    reflecting: u32,
    /// When somebody last used it.
    touched: Moment,
    /// Of who has asked for it when it was read and not there.
    made: Option<Made>,
}

#[allow(clippy::large_enum_variant)] // nearly all are there
enum Slot {
    /// It is being read. With occupants that come back with it.
    Loading(Vec<muc::Returning>),
    There(Room),
    /// There is none of this name. Only until what waits for it has been answered.
    Absent,
    /// It was forgotten: whoever still has this place looks for the new one.
    Gone,
}

/// Something that waits.
struct Held {
    what: What,
    is_for_everybody: bool,
}

enum What {
    Stanza {
        text: Box<str>,
        origin: Option<Origin>,
        is_admin: bool,
    },
    /// The session of somebody who is in the room is gone.
    Lost(Arc<Jid>),
    /// A client in the room is not wanted there by the service.
    Unwanted(Arc<Jid>),
    /// An account is no more.
    Removed(Jid),
    /// What the room wanted to know of the store.
    Found {
        found: Result<Found, StoreError>,
        next: Next,
        /// The stanza in answer to which it goes on.
        asked: Option<Asked>,
    },
}

/// A stanza, and who has sent it.
type Asked = (Box<str>, Option<Origin>);

impl Place {
    fn new(jid: Jid, room: Slot) -> Arc<Place> {
        Arc::new(Place {
            jid,
            state: Mutex::new(State {
                room,
                waiting: VecDeque::new(),
                is_writing: false,
                reflecting: 0,
                touched: Moment::default(),
                made: None,
            }),
            out: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the room, if it is there.
    pub(crate) fn with_room<R>(&self, look: impl FnOnce(&Room) -> R) -> Option<R> {
        match &self.lock().room {
            Slot::There(room) => Some(look(room)),
            _ => None,
        }
    }
}

impl State {
    /// Whether something has to wait.
    fn is_busy(&self, is_for_everybody: bool) -> bool {
        self.is_writing || matches!(self.room, Slot::Loading(_)) || (self.reflecting > 0 && !is_for_everybody)
    }

    /// Nothing is under way.
    fn is_at_rest(&self) -> bool {
        self.waiting.is_empty() && !self.is_busy(false)
    }
}

impl Router {
    /// What each room is allowed, and each account in all of them. Once, before anything listens; else the defaults hold.
    pub fn limit_rooms(&self, limits: muc::Limits, allowance: Allowance) {
        if self.rooms.limits.set(limits).is_err() || self.rooms.allowance.set(allowance).is_err() {
            tracing::error!("the limits of rooms are set twice; this is a defect");
        }
    }

    pub(crate) fn room_limits(&self) -> &muc::Limits {
        self.rooms.limits.get_or_init(muc::Limits::default)
    }

    /// Whether rooms are at this address (prepared form), and for which domain.
    pub(crate) fn room_service(&self, domain: &str) -> Option<&Arc<Host>> {
        let label = self.registry.rooms()?;
        let (host, service) = self.service(domain)?;
        (service.label == label).then_some(host)
    }

    /// Whether this is a room's address, or one in it.
    pub(crate) fn is_room(&self, jid: JidRef<'_>) -> bool {
        jid.local().is_some() && self.room_service(jid.domain()).is_some()
    }

    fn room_shard(&self, bare: &str) -> MutexGuard<'_, Shard> {
        let at = (self.hash(bare) >> 40) as usize % SHARDS;
        self.rooms.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The room of this bare JID, which is read if it is not in memory. `who` asks for it.
    fn place(&self, jid: JidRef<'_>, who: JidRef<'_>) -> Arc<Place> {
        let mut shard = self.room_shard(jid.bare_str());
        if let Some(place) = shard.get(jid.bare_str()) {
            return Arc::clone(place);
        }
        let place = Place::new(jid.bare().to_owned(), Slot::Loading(Vec::new()));
        shard.insert(jid.bare_str().into(), Arc::clone(&place));
        drop(shard);
        self.load_room(&place, Some(who));
        place
    }

    /// A stanza for a room or an address in it.
    pub(crate) fn to_room(
        &self,
        now: Now,
        host: &Host,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        if matches!(stanza.kind(), Kind::Message(_)) {
            match self.filter_for_room(now, host, stanza, from, to) {
                Ok(edits) if edits.is_empty() => {}
                Ok(edits) => {
                    let text = turn.text(|out| stanza::splice(stanza, from.as_str(), Some(to.as_str()), &edits, out));
                    return self.read_letter(&text, turn, |stanza, from, to, turn| {
                        self.filtered_to_room(now, host, stanza, from, to, turn);
                    });
                }
                Err(error) => return self.bounce(stanza, from, to, &error, turn),
            }
        }
        self.filtered_to_room(now, host, stanza, from, to, turn);
    }

    fn filtered_to_room(
        &self,
        now: Now,
        host: &Host,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        if let Err(error) = self.admits_to_rooms(now, host, stanza, from) {
            return self.bounce(stanza, from, to, &error, turn);
        }
        // Asked before the room is locked: never two locks.
        let is_for_everybody = is_for_everybody(stanza, to);
        let is_admin = !is_for_everybody && self.is_admin(host, from);
        loop {
            let place = self.place(to, from);
            let mut state = place.lock();
            if matches!(state.room, Slot::Gone) {
                // It is taken out of its shard with this lock held.
                continue;
            }
            state.touched = Moment::of(now.seconds());
            if !state.waiting.is_empty() || state.is_busy(is_for_everybody) || place.is_behind() {
                if state.waiting.len() >= WAITING {
                    drop(state);
                    let error = StanzaError::resource_constraint().kind(stanza::ErrorType::Wait);
                    let error = gate::of_the_moment(stanza, error);
                    return self.bounce(stanza, from, to, &error.text("the room has too much to do"), turn);
                }
                let origin = turn.origin.take();
                turn.is_held |= origin.as_ref().is_some_and(|origin| origin.is_awaited);
                state.waiting.push_back(Held {
                    what: What::Stanza {
                        text: letter(stanza, from, to),
                        origin,
                        is_admin,
                    },
                    is_for_everybody,
                });
            } else {
                self.give_to_room(now, &place, &mut state, is_admin, stanza, from, to, turn);
                self.forget_absent(&place, &mut state);
            }
            drop(state);
            return self.deliver_all(&place, turn);
        }
    }

    /// Gives a stanza to a room that is there, and does what follows.
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    fn give_to_room(
        &self,
        now: Now,
        place: &Arc<Place>,
        state: &mut State,
        is_admin: bool,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let Slot::There(room) = &mut state.room else { return };
        let before = may_change_much(stanza, to).then(|| room.clone());
        let making: Option<Box<str>> = room.being_made_by().map(Into::into);
        let mut context = self.room_context(now, is_admin);
        let sender = Arc::new(from.to_owned());
        let decided = match stanza.kind() {
            Kind::Presence(_) => room.presence(&mut context, stanza, &sender, to),
            Kind::Message(_) => room.message(&mut context, stanza, &sender, to),
            Kind::Iq(_) => room.iq(&mut context, stanza, &sender, to),
        };
        if let Some(by) = making.filter(|_| room.is_gone() || room.being_made_by().is_none()) {
            self.has_made(&by);
        }
        let cost = gate::cost(&decided, room);
        let server = self.server_of(from);
        self.rooms
            .charges
            .charge(now, from.bare_str(), server, cost, self.allowance());
        self.decided(now, place, state, decided, before, stanza, from, to, turn);
    }

    pub(crate) fn room_context(&self, now: Now, is_service_admin: bool) -> Context<'_> {
        Context {
            now,
            limits: self.room_limits(),
            secret: &self.secret,
            ids: self.archive_ids(),
            is_service_admin,
        }
    }

    /// Somebody asks for a room that is not there. Returns the room that begins with it.
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    fn without_room(
        &self,
        place: &Place,
        made: Option<&Made>,
        is_admin: bool,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> Option<Room> {
        let error = match stanza.kind() {
            Kind::Presence(PresenceType::Available) => {
                let joins = stanza.children().any(|child| child.is("x", ns::MUC));
                match (self.may_create(made, to, from, is_admin), joins) {
                    // Whoever believes to be in it is told that he is not (section 7.2.18), by a room that is forgotten.
                    (_, false) => return Some(Room::create(&place.jid, place.jid.as_ref())),
                    (Ok(()), true) if to.resource().is_some() => return self.new_room(place, from),
                    (Ok(()), true) => StanzaError::jid_malformed().text("a nickname is missing"),
                    (Err(error), true) => error,
                }
            }
            Kind::Presence(_) => return None,
            // Nobody is in it: section 6.6, and XEP-0410, where "item-not-found" would say that only the name is another.
            Kind::Iq(_) if to.resource().is_some() => muc::not_inside(stanza),
            _ => StanzaError::item_not_found(),
        };
        let error = error.by(place.jid.as_str().to_owned());
        self.bounce(stanza, from, to, &error, turn);
        None
    }

    /// What no recipient would be given is not passed on, and nobody is put out because of it.
    fn filter_for_room(
        &self,
        now: Now,
        host: &Host,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
    ) -> Result<Edits, StanzaError> {
        let mut edits = Edits::default();
        for filter in self.registry().filters(Stage::Incoming) {
            let mut passing = Passing {
                now,
                host,
                stanza,
                from,
                account: to.bare(),
                view: &NoAccount,
                edits: &mut edits,
            };
            match (filter.run)(&mut passing) {
                Verdict::Pass => {}
                Verdict::NoSuchUser => return Err(StanzaError::service_unavailable()),
                Verdict::Refuse(error) => return Err(error),
            }
        }
        Ok(edits)
    }
}

impl module::Occupancy for Router {
    fn occupants(&self, room: &str) -> usize {
        let place = self.room_shard(room).get(room).cloned();
        let Some(place) = place else { return 0 };
        match &place.lock().room {
            Slot::There(room) => room.count_occupants(),
            _ => 0,
        }
    }
}

/// A message for everybody in the room, which changes nothing but the history.
fn is_for_everybody(stanza: &Stanza<'_>, to: JidRef<'_>) -> bool {
    matches!(stanza.kind(), Kind::Message(MessageType::Groupchat)) && to.resource().is_none() && !is_subject(stanza)
}

/// Section 8.1.
fn is_subject(stanza: &Stanza<'_>) -> bool {
    let has = |name: &str| stanza.children().any(|child| child.is(name, ns::CLIENT));
    has("subject") && !has("body") && !has("thread")
}

/// Whether more may change with it than the store tells again: then it is noted how the room was.
fn may_change_much(stanza: &Stanza<'_>, to: JidRef<'_>) -> bool {
    let is_for_room = to.resource().is_none();
    is_for_room
        && match stanza.kind() {
            Kind::Iq(kind) => kind == IqType::Set,
            Kind::Message(MessageType::Normal) => true,
            Kind::Message(MessageType::Groupchat) => is_subject(stanza),
            Kind::Message(_) | Kind::Presence(_) => false,
        }
}

/// A room has nothing of what an account has that filters ask for.
struct NoAccount;

impl AccountView for NoAccount {
    fn devices(&self) -> Vec<Device> {
        Vec::new()
    }

    fn sessions(&self) -> Vec<Connected> {
        Vec::new()
    }

    fn last_activity(&self) -> Option<LastActivity> {
        None
    }

    fn archive_prefs(&self) -> ArchivePrefs {
        ArchivePrefs::default()
    }

    fn blocked(&self) -> Vec<Box<str>> {
        Vec::new()
    }

    fn awaits_archive(&self, _: &str) -> bool {
        false
    }

    fn contact(&self, _: JidRef<'_>) -> Option<Contact> {
        None
    }
}
