//! Reading: the archive in pages (XEP-0313, XEP-0059), and at the end the state too.

use std::collections::HashMap;

use super::take::forwarded;
use super::{Asked, Client};
use crate::history::{Entry, OpId, PREFERENCES};
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

/// What is being read.
#[derive(Debug)]
pub(super) struct Sync {
    /// The whole, at the end of a run; otherwise what is new, before presence is sent.
    is_whole: bool,
    /// Of the query that is out.
    query: String,
    /// The id behind which the next page begins.
    after: Option<String>,
    /// None: none of ours.
    entries: Vec<(String, Option<OpId>)>,
    has_archive: bool,
    roster: Option<HashMap<String, String>>,
    preferences: Option<Option<String>>,
    refused: u32,
}

impl Sync {
    fn new(is_whole: bool, after: Option<String>) -> Sync {
        Sync {
            is_whole,
            query: String::new(),
            after,
            entries: Vec::new(),
            has_archive: false,
            roster: None,
            preferences: None,
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
        self.sync = Some(Sync::new(true, None));
        self.world.tells(self.id, "reads its archive");
        self.ask(wire, "get", &format!("<query xmlns='{NS_ROSTER}'/>"), Asked::Roster);
        self.ask(wire, "get", &format!("<prefs xmlns='{NS_MAM}'/>"), Asked::Preferences);
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
        self.ask(wire, "set", &payload, Asked::Page);
    }

    /// One message of a page.
    pub(super) fn take_result(&mut self, result: &Node) {
        let op = forwarded(result).and_then(|message| self.op_of(message));
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
                    sync.has_archive = true;
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
            self.violated("I1", format!("{}: the archive cannot be read: {why}", self.id));
            self.world.done(self.id, Phase::Sync);
        } else {
            self.has_read(wire);
        }
    }

    fn has_read(&mut self, wire: &mut Wire) {
        if self.sync.as_ref().is_some_and(|sync| sync.is_whole) {
            self.all_read();
        } else if let Some(sync) = self.sync.take() {
            self.read_up_to = sync.after;
            self.appear(wire);
        }
    }

    pub(super) fn take_state(&mut self, asked: &Asked, answer: Result<&Node, String>) {
        let Some(sync) = &mut self.sync else { return };
        match (asked, answer) {
            (Asked::Roster, Ok(iq)) => {
                let query = iq.child("query", NS_ROSTER);
                let items = query.into_iter().flat_map(|query| &query.children);
                let named =
                    items.filter_map(|item| Some((item.attr("jid")?.to_owned(), item.attr("name")?.to_owned())));
                sync.roster = Some(named.collect());
            }
            (_, Ok(iq)) => sync.preferences = Some(preference(iq)),
            (_, Err(condition)) => {
                self.violated("I5", format!("{}: the state cannot be read: {condition}", self.id));
                self.world.done(self.id, Phase::Sync);
                return;
            }
        }
        self.all_read();
    }

    /// Notes what was read once it is all there.
    fn all_read(&mut self) {
        let Some(sync) = &mut self.sync else { return };
        let (true, Some(_), Some(_)) = (sync.has_archive, &sync.roster, &sync.preferences) else {
            return;
        };
        let mut finals = sync.roster.take().unwrap_or_default();
        if let Some(Some(value)) = sync.preferences.take() {
            finals.insert(PREFERENCES.to_owned(), value);
        }
        let number = usize::from(self.id.0);
        let mut history = self.world.history();
        let entries = std::mem::take(&mut sync.entries).into_iter();
        let entries = entries
            .map(|(id, op)| Entry {
                sid: history.sid(&id),
                op,
            })
            .collect();
        history.archives[number] = Some(entries);
        history.finals[number] = Some(finals);
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
