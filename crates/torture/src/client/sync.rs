//! Reading: the archive in pages (XEP-0313, XEP-0059), and at the end the state too.

use std::collections::{HashMap, VecDeque};

use super::rooms::{bans_in, name_in};
use super::take::forwarded;
use super::{Asked, Client, NS_CLIENT};
use crate::history::{Entry, OpId, PREFERENCES, RESOURCES};
use crate::rooms::RoomId;
use crate::wire::Wire;
use crate::world::Phase;
use crate::xml::{Node, escape};

const NS_MAM: &str = "urn:xmpp:mam:2";
const NS_RSM: &str = "http://jabber.org/protocol/rsm";
const NS_ROSTER: &str = "jabber:iq:roster";

/// Messages in a page.
const PAGE: usize = 200;
/// How often what was refused is asked once more before it counts as broken.
const ATTEMPTS: u32 = 5;

/// Of an archive that is being read: the ids, and which message each is. None: none of ours.
type Entries = Vec<(String, Option<OpId>)>;

/// What is being read.
#[derive(Debug)]
pub(super) struct Sync {
    /// The whole, at the end of a run; otherwise what is new, before presence is sent.
    is_whole: bool,
    /// Of the query that is out.
    query: String,
    /// Whose archive is read; None: the own one. Then those that are left.
    place: Option<RoomId>,
    places: VecDeque<RoomId>,
    /// The id behind which the next page begins.
    after: Option<String>,
    entries: Entries,
    /// Those that were read whole.
    read: Vec<(Option<RoomId>, Entries)>,
    has_archives: bool,
    /// Questions for the state that are open, and what was told.
    asked: usize,
    state: HashMap<String, String>,
    refused: u32,
}

impl Sync {
    fn new(is_whole: bool, after: Option<String>) -> Sync {
        Sync {
            is_whole,
            query: String::new(),
            place: None,
            places: VecDeque::new(),
            after,
            entries: Vec::new(),
            read: Vec::new(),
            has_archives: false,
            asked: 0,
            state: HashMap::new(),
            refused: 0,
        }
    }
}

impl Client {
    /// Reads what has come into the archive since it was last read.
    pub(super) fn catch_up(&mut self, wire: &mut Wire) {
        self.sync = Some(Sync::new(false, self.read_up_to.clone()));
        self.ask_page(wire);
    }

    /// Reads everything, unless something is being read: the end of that would be taken for the end of this.
    pub(super) fn read_all(&mut self, wire: &mut Wire) {
        if self.sync.is_some() {
            return;
        }
        // Answers to an earlier reading, of a connection that was lost, are not taken for those to this one.
        self.asked.retain(|_, asked| !asked.is_for_sync());
        let mut sync = Sync::new(true, None);
        // One of its rooms; another client of the account reads the other.
        let which = usize::from(self.id.0 % RESOURCES);
        sync.places = self.visits.iter().map(|visit| visit.room).skip(which).take(1).collect();
        self.world.tells(self.id, "reads its archive");
        self.ask(wire, "get", &format!("<query xmlns='{NS_ROSTER}'/>"), Asked::Roster);
        self.ask(wire, "get", &format!("<prefs xmlns='{NS_MAM}'/>"), Asked::Preferences);
        sync.asked = 2 + self.ask_of_rooms(wire);
        self.sync = Some(sync);
        self.ask_page(wire);
    }

    fn ask_page(&mut self, wire: &mut Wire) {
        let number = self.requests;
        let Some(sync) = &mut self.sync else { return };
        sync.query = format!("p{number}");
        let query = &sync.query;
        let after = sync.after.as_ref().map(|id| format!("<after>{}</after>", escape(id)));
        let after = after.unwrap_or_default();
        let payload = format!(
            "<query xmlns='{NS_MAM}' queryid='{query}'><set xmlns='{NS_RSM}'><max>{PAGE}</max>{after}</set></query>"
        );
        let to = sync.place.map(RoomId::jid);
        self.ask_of(wire, to.as_deref(), "set", &payload, Asked::Page);
    }

    /// One message of a page.
    pub(super) fn take_result(&mut self, result: &Node) {
        let place = self.sync.as_ref().and_then(|sync| sync.place);
        let op = forwarded(result).and_then(|message| match place {
            None => self.op_of(message),
            Some(room) => self.op_from(message, |client| room.occupant(client)),
        });
        let has_body = forwarded(result).is_some_and(|message| message.child("body", NS_CLIENT).is_some());
        if place.is_some() && !has_body {
            // What a room is about is among its messages.
            return;
        }
        let Some(sync) = &mut self.sync else { return };
        // Of a query that nobody waits for any more.
        if result.attr("queryid") == Some(sync.query.as_str()) {
            sync.entries
                .push((result.attr("id").unwrap_or_default().to_owned(), op));
        }
    }

    /// The end of a page.
    pub(super) fn take_page(&mut self, wire: &mut Wire, answer: Result<&Node, String>) {
        let Some(sync) = &mut self.sync else { return };
        match answer.map(|iq| iq.child("fin", NS_MAM)) {
            Ok(Some(fin)) => {
                let last = fin.child("set", NS_RSM).and_then(|set| set.child("last", NS_RSM));
                if let Some(last) = last {
                    sync.after = Some(last.text.clone());
                }
                if fin.attr("complete") == Some("true") {
                    self.has_read(wire);
                } else if last.is_some() {
                    self.ask_page(wire);
                } else {
                    self.refused(wire, "a page that is neither complete nor has an end");
                }
            }
            Ok(None) => self.refused(wire, "no <fin/>"),
            Err(condition) => self.refused(wire, &condition),
        }
    }

    /// Asked once more, a few times.
    fn refused(&mut self, wire: &mut Wire, why: &str) {
        let Some(sync) = &mut self.sync else { return };
        sync.refused += 1;
        if sync.refused < ATTEMPTS {
            self.ask_page(wire);
            return;
        }
        if sync.is_whole {
            let (rule, whose) = match sync.place {
                None => ("I1", "its archive".to_owned()),
                Some(room) => ("R1", format!("the archive of {room}")),
            };
            self.violated(rule, format!("{}: {whose} cannot be read: {why}", self.id));
            self.world.done(self.id, Phase::Sync);
        } else {
            self.has_read(wire);
        }
    }

    fn has_read(&mut self, wire: &mut Wire) {
        if let Some(sync) = self.sync.as_mut().filter(|sync| sync.is_whole) {
            sync.read.push((sync.place, std::mem::take(&mut sync.entries)));
            let next = sync.places.pop_front();
            if next.is_some() {
                sync.place = next;
                sync.after = None;
                return self.ask_page(wire);
            }
            sync.has_archives = true;
            self.all_read();
        } else if let Some(sync) = self.sync.take() {
            self.read_up_to = sync.after;
            self.appear(wire);
        }
    }

    pub(super) fn take_state(&mut self, asked: &Asked, answer: Result<&Node, String>) {
        let Some(sync) = &mut self.sync else { return };
        let iq = match answer {
            Ok(iq) => iq,
            Err(condition) => {
                self.violated("I5", format!("{}: {asked:?} cannot be read: {condition}", self.id));
                self.world.done(self.id, Phase::Sync);
                return;
            }
        };
        sync.asked = sync.asked.saturating_sub(1);
        match asked {
            Asked::Roster => {
                let query = iq.child("query", NS_ROSTER);
                let items = query.into_iter().flat_map(|query| &query.children);
                let named =
                    items.filter_map(|item| Some((item.attr("jid")?.to_owned(), item.attr("name")?.to_owned())));
                sync.state.extend(named);
            }
            Asked::RoomName(room) => sync.state.extend(name_in(iq, *room)),
            Asked::RoomBans(room) => sync.state.extend(bans_in(iq, *room)),
            _ => sync
                .state
                .extend(preference(iq).map(|value| (PREFERENCES.to_owned(), value))),
        }
        self.all_read();
    }

    /// Notes what was read once it is all there.
    fn all_read(&mut self) {
        let Some(sync) = &mut self.sync else { return };
        if !sync.has_archives || sync.asked > 0 {
            return;
        }
        let mut history = self.world.history();
        for (place, entries) in std::mem::take(&mut sync.read) {
            let entries = entries.into_iter().map(|(id, op)| Entry {
                sid: history.sid(&id),
                op,
            });
            let entries = entries.collect();
            match place {
                None => history.archives[usize::from(self.id.0)] = Some(entries),
                Some(room) => drop(history.rooms.archives.insert((self.id, room), entries)),
            }
        }
        history.finals[usize::from(self.id.0)] = Some(std::mem::take(&mut sync.state));
        for visit in &self.visits {
            if let Some(view) = visit.view() {
                history.rooms.views.insert((self.id, visit.room), view.clone());
            }
        }
        drop(history);
        self.world.done(self.id, Phase::Sync);
    }
}

/// The value that the archive preferences were last set to, as `Client::change` writes it into them.
fn preference(iq: &Node) -> Option<String> {
    let always = iq.child("prefs", NS_MAM)?.child("always", NS_MAM)?;
    let jid = always.child("jid", NS_MAM)?;
    Some(jid.text.split('@').next().unwrap_or_default().to_owned())
}
