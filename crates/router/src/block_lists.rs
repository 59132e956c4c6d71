//! Lists of whom nobody wants, which somebody keeps for many servers (real-time block lists): a node (XEP-0060) whose items
//! have for names the SHA-256 of a bare JID or a domain, in hexadecimal. What else is in an item does not matter here.
//!
//! The service for rooms subscribes to each, reads what is there, page by page, and follows what is published and
//! retracted. In memory alone: after a start it is read anew, and every hour, should something have been missed. Until then,
//! and as long as the node cannot be reached, what was known last holds.
//!
//! Who is on a list comes into no room, says nothing there, and is refused as a stranger by every account. Who is in a room
//! when he comes onto a list is put out.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use foldhash::quality::RandomState;
use module::Now;
use sha2::{Digest as _, Sha256};
use stanza::{IqType, Jid, JidRef, Kind, Stanza, ns};
use xmlstream::Child;

use crate::account::Moment;
use crate::sessions::escaped;
use crate::turn::Work;
use crate::{Router, Turn};

/// Begins the ids of requests.
const ID_PREFIX: &str = "block-list-";
/// Entries of one list; of more the rest is left out, with a line in the log.
const ENTRIES: usize = 250_000;
/// Items that are asked for at once, and how often: a service could go on for ever.
const PAGE: usize = 500;
const PAGES: u32 = 2_000;
/// Seconds after which an answer is not expected any more.
const ANSWER_SECONDS: u32 = 60;
/// Seconds after which all is read anew.
const AGAIN_SECONDS: u32 = 3_600;
/// After a failure it is tried again, after twice as many seconds each time.
const FIRST_PAUSE_SECONDS: u32 = 1;

/// A node that is such a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockList {
    pub service: Jid,
    pub node: Box<str>,
}

type Hashes = HashSet<[u8; 32], RandomState>;

#[derive(Default)]
pub(crate) struct BlockLists {
    lists: OnceLock<Vec<Mutex<List>>>,
    /// Somebody is on a list. Else nobody need be looked for.
    is_any: AtomicBool,
    /// Somebody came onto one, and may be in a room.
    has_grown: AtomicBool,
}

struct List {
    of: BlockList,
    blocked: Hashes,
    step: Step,
    /// When the step began that waits for an answer; or when the next begins.
    at: Moment,
    /// Tells answers apart.
    asked: u64,
    failures: u32,
    is_full: bool,
    /// Somebody is on it who was not before.
    has_grown: bool,
}

enum Step {
    /// Until then.
    Rests,
    Subscribes,
    Reads {
        page: u32,
        /// What is in the pages so far; not what holds already.
        read: Hashes,
    },
}

impl List {
    fn new(of: BlockList) -> List {
        List {
            of,
            blocked: Hashes::default(),
            step: Step::Rests,
            at: Moment::default(),
            asked: 0,
            failures: 0,
            is_full: false,
            has_grown: false,
        }
    }

    fn request(&mut self, now: Moment, at: usize, from: &str, kind: &str, payload: &str) -> String {
        self.at = now;
        self.asked += 1;
        format!(
            "<iq type='{kind}' id='{ID_PREFIX}{at}-{}' from='{}' to='{}'><pubsub xmlns='{}'>{payload}</pubsub></iq>",
            self.asked,
            escaped(from),
            escaped(self.of.service.as_str()),
            ns::PUBSUB,
        )
    }

    /// `at`: its place among all.
    fn tend(&mut self, now: Moment, at: usize, from: &str) -> Option<String> {
        // A clock that was put back makes nothing wait longer than it ever does.
        let was_set = self.at.0 > now.0.saturating_add(AGAIN_SECONDS);
        match self.step {
            Step::Rests if now < self.at && !was_set => None,
            Step::Rests => {
                self.step = Step::Subscribes;
                let payload = format!("<subscribe node='{}' jid='{}'/>", escaped(&self.of.node), escaped(from));
                Some(self.request(now, at, from, "set", &payload))
            }
            Step::Subscribes | Step::Reads { .. } => {
                if was_set || now.0 >= self.at.0.saturating_add(ANSWER_SECONDS) {
                    self.fail(now, "no answer has come");
                }
                None
            }
        }
    }

    fn fail(&mut self, now: Moment, why: &str) {
        let pause = FIRST_PAUSE_SECONDS
            .checked_shl(self.failures)
            .map_or(AGAIN_SECONDS, |pause| pause.min(AGAIN_SECONDS));
        // Once, and not with each try.
        if self.failures == 3 {
            let (service, node) = (self.of.service.as_str(), &*self.of.node);
            tracing::warn!(service, node, why, "a block list cannot be read; it is tried again");
        }
        self.failures = self.failures.saturating_add(1);
        self.step = Step::Rests;
        self.at = Moment(now.0.saturating_add(pause));
    }

    fn read_page(&mut self, now: Moment, at: usize, from: &str, after: Option<&str>) -> String {
        let after = after.map(|after| format!("<after>{}</after>", escaped(after)));
        let payload = format!(
            "<items node='{}'/><set xmlns='{}'><max>{PAGE}</max>{}</set>",
            escaped(&self.of.node),
            ns::RSM,
            after.unwrap_or_default()
        );
        self.request(now, at, from, "get", &payload)
    }

    /// The answer to what was asked last.
    fn answered(&mut self, now: Moment, at: usize, from: &str, stanza: &Stanza<'_>) -> Option<String> {
        if !matches!(stanza.kind(), Kind::Iq(IqType::Result)) {
            self.fail(now, "it is answered with an error");
            return None;
        }
        let (page, mut read) = match std::mem::replace(&mut self.step, Step::Rests) {
            Step::Rests => return None,
            Step::Subscribes => {
                self.step = Step::Reads {
                    page: 0,
                    read: Hashes::default(),
                };
                return Some(self.read_page(now, at, from, None));
            }
            Step::Reads { page, read } => (page, read),
        };
        let pubsub = stanza.payload().filter(|payload| payload.is("pubsub", ns::PUBSUB));
        let items = pubsub.as_ref().and_then(|pubsub| pubsub.child("items", ns::PUBSUB));
        let names: Vec<String> = items
            .iter()
            .flat_map(Child::children)
            .filter_map(|item| name(&item))
            .collect();
        for name in &names {
            self.is_full |= !add(&mut read, name);
        }
        let last = pubsub
            .as_ref()
            .and_then(|pubsub| pubsub.child("set", ns::RSM)?.child("last", ns::RSM))
            .map(|last| last.text().into_owned());
        // Without a page it is all; an empty one is behind the last.
        if let Some(last) = last.filter(|_| !names.is_empty() && page < PAGES && !self.is_full) {
            self.step = Step::Reads { page: page + 1, read };
            return Some(self.read_page(now, at, from, Some(&last)));
        }
        if self.is_full {
            tracing::warn!(
                node = &*self.of.node,
                "a block list is too long; its first {ENTRIES} entries hold"
            );
        }
        self.is_full = false;
        if self.failures > 3 {
            tracing::info!(node = &*self.of.node, "a block list can be read again");
        }
        self.failures = 0;
        self.has_grown |= read.iter().any(|hash| !self.blocked.contains(hash));
        self.blocked = read;
        self.at = Moment(now.0.saturating_add(AGAIN_SECONDS));
        None
    }

    /// Something has happened at the node.
    fn happened(&mut self, event: &Child<'_>) {
        for what in event.children().filter(|what| what.ns() == ns::PUBSUB_EVENT) {
            if what.attr("node").as_deref() != Some(&*self.of.node) {
                continue;
            }
            match what.name() {
                "items" => what.children().for_each(|item| self.changed(&item)),
                "purge" | "delete" => self.each(|hashes| *hashes = Hashes::default()),
                _ => {}
            }
        }
    }

    fn changed(&mut self, item: &Child<'_>) {
        let Some(name) = name(item) else { return };
        match item.name() {
            "item" => {
                self.has_grown = true;
                self.each(|hashes| {
                    add(hashes, &name);
                });
            }
            "retract" => self.each(|hashes| {
                if let Some(hash) = hash_of(&name) {
                    hashes.remove(&hash);
                }
            }),
            _ => {}
        }
    }

    /// What holds, and what is being read, which may be from before.
    fn each(&mut self, change: impl Fn(&mut Hashes)) {
        change(&mut self.blocked);
        if let Step::Reads { read, .. } = &mut self.step {
            change(read);
        }
    }
}

fn name(item: &Child<'_>) -> Option<String> {
    item.attr("id").map(std::borrow::Cow::into_owned)
}

/// False: there is no room for it. What is no such hash is left out.
fn add(hashes: &mut Hashes, name: &str) -> bool {
    let Some(hash) = hash_of(name) else { return true };
    if hashes.len() >= ENTRIES && !hashes.contains(&hash) {
        return false;
    }
    hashes.insert(hash);
    true
}

fn hash_of(name: &str) -> Option<[u8; 32]> {
    let digits = name.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(hash)
}

fn lock(list: &Mutex<List>) -> MutexGuard<'_, List> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BlockLists {
    fn all(&self) -> &[Mutex<List>] {
        self.lists.get().map_or(&[], |lists| lists)
    }

    fn tend(&self, now: Moment, from: &str) -> Vec<String> {
        let lists = self.all().iter().enumerate();
        lists.filter_map(|(at, list)| lock(list).tend(now, at, from)).collect()
    }

    /// Somebody has answered a request. What is asked next.
    fn answered(&self, now: Moment, from: &str, stanza: &Stanza<'_>, sender: JidRef<'_>) -> Option<String> {
        let id = stanza.id()?.strip_prefix(ID_PREFIX)?;
        let (at, asked) = id.split_once('-')?;
        let at: usize = at.parse().ok()?;
        let mut list = lock(self.all().get(at)?);
        if list.of.service.as_str() != sender.as_str() || asked.parse() != Ok(list.asked) {
            return None;
        }
        let next = list.answered(now, at, from, stanza);
        drop(list);
        self.count();
        next
    }

    /// True: it was told by a service that keeps a list.
    fn happened(&self, stanza: &Stanza<'_>, sender: JidRef<'_>) -> bool {
        let Some(event) = stanza.children().find(|child| child.is("event", ns::PUBSUB_EVENT)) else {
            return false;
        };
        let mut is_ours = false;
        for list in self.all() {
            let mut list = lock(list);
            if list.of.service.as_str() == sender.as_str() {
                list.happened(&event);
                is_ours = true;
            }
        }
        self.count();
        is_ours
    }

    fn count(&self) {
        let (mut is_any, mut has_grown) = (false, false);
        for list in self.all() {
            let mut list = lock(list);
            is_any |= !list.blocked.is_empty();
            has_grown |= std::mem::take(&mut list.has_grown);
        }
        self.is_any.store(is_any, Ordering::Relaxed);
        self.has_grown.fetch_or(has_grown, Ordering::Relaxed);
    }

    /// Whether this bare JID, or all of its domain, is on a list.
    fn has(&self, who: JidRef<'_>) -> bool {
        if !self.is_any.load(Ordering::Relaxed) {
            return false;
        }
        let hashes: [[u8; 32]; 2] = [who.bare_str(), who.domain()].map(|text| Sha256::digest(text).into());
        let mut lists = self.all().iter();
        lists.any(|list| {
            let list = lock(list);
            hashes.iter().any(|hash| list.blocked.contains(hash))
        })
    }
}

impl Router {
    /// Says which lists hold; once, before anybody is let in.
    pub fn follow_block_lists(&self, lists: Vec<BlockList>) {
        let lists = lists.into_iter().map(|list| Mutex::new(List::new(list)));
        if self.block_lists.lists.set(lists.collect()).is_err() {
            tracing::error!("the block lists are set twice; this is a defect");
        }
    }

    /// From where is asked: the service for rooms of the first domain that has one, by its name.
    fn asks_for_lists(&self) -> Option<String> {
        let label = self.registry.rooms()?;
        let domains = self.hosts.values().filter(|host| host.guests.is_none());
        let domain = domains.map(|host| &*host.domain).min()?;
        Some(format!("{label}.{domain}"))
    }

    /// Asks for what is due; call every few seconds.
    pub(crate) fn tend_block_lists(&self, now: Now, turn: &mut Turn) {
        if self.block_lists.all().is_empty() {
            return;
        }
        let Some(from) = self.asks_for_lists() else { return };
        for letter in self.block_lists.tend(Moment::of(now.seconds()), &from) {
            turn.letter(letter);
        }
    }

    /// An answer to a service of ours, which may be that of a list.
    pub(crate) fn list_answers(&self, now: Now, stanza: &Stanza<'_>, sender: JidRef<'_>, turn: &mut Turn) {
        if self.block_lists.all().is_empty() {
            return;
        }
        let Some(from) = self.asks_for_lists() else { return };
        let next = self
            .block_lists
            .answered(Moment::of(now.seconds()), &from, stanza, sender);
        next.into_iter().for_each(|letter| turn.letter(letter));
        self.lists_have_changed(turn);
    }

    /// A message to a service of ours. True: it tells what has happened at a list.
    pub(crate) fn list_tells(&self, stanza: &Stanza<'_>, sender: JidRef<'_>, turn: &mut Turn) -> bool {
        let is_told = !self.block_lists.all().is_empty() && self.block_lists.happened(stanza, sender);
        if is_told {
            self.lists_have_changed(turn);
        }
        is_told
    }

    fn lists_have_changed(&self, turn: &mut Turn) {
        if self.block_lists.has_grown.swap(false, Ordering::Relaxed) {
            turn.queue.push_back(Work::PutOut(0));
        }
    }

    /// Whether a list says that nobody wants to hear of this one.
    pub(crate) fn is_unwanted(&self, who: JidRef<'_>) -> bool {
        self.block_lists.has(who)
    }
}

#[cfg(test)]
mod tests {
    use xmlstream::{Limits, Scratch, parse_element};

    use super::*;

    const FROM: &str = "conference.example.org";
    const LISTED: &str = "50cefeccd1e21157db8cd41fbecc1fe53a79e05b252f9cbf158a27d60f3c5d46";
    const ELSEWHERE: &str = "b5c772885f7b0b0d483fd77ef18dc6a839778a7b52db0e05e2603b6f0bf7dfc4";

    struct World {
        lists: BlockLists,
        asked: String,
    }

    impl World {
        fn new() -> World {
            let lists = BlockLists::default();
            let of = BlockList {
                service: Jid::parse("lists.example").expect("a JID"),
                node: "n".into(),
            };
            let _ = lists.lists.set(vec![Mutex::new(List::new(of))]);
            World {
                lists,
                asked: String::new(),
            }
        }

        /// What is asked now.
        fn tend(&mut self, now: u32) -> bool {
            let asked = self.lists.tend(Moment(now), FROM).pop();
            self.asks(asked)
        }

        fn asks(&mut self, asked: Option<String>) -> bool {
            let Some(asked) = asked else { return false };
            self.asked = asked;
            true
        }

        /// Answers what was asked last, and returns whether something more is.
        fn answer(&mut self, now: u32, sender: &str, kind: &str, payload: &str) -> bool {
            let id = self.asked.split("id='").nth(1).and_then(|rest| rest.split('\'').next());
            let id = id.unwrap_or_default().to_owned();
            let text = format!(
                "<iq type='{kind}' id='{id}'><pubsub xmlns='{}'>{payload}</pubsub></iq>",
                ns::PUBSUB
            );
            let sender = Jid::parse(sender).expect("a JID");
            let asked = read(&text, |stanza| {
                self.lists.answered(Moment(now), FROM, stanza, sender.as_ref())
            });
            match asked {
                None => false,
                asked => self.asks(asked),
            }
        }

        fn tells(&self, sender: &str, event: &str) -> bool {
            let text = format!("<message><event xmlns='{}'>{event}</event></message>", ns::PUBSUB_EVENT);
            let sender = Jid::parse(sender).expect("a JID");
            read(&text, |stanza| self.lists.happened(stanza, sender.as_ref()))
        }

        fn has(&self, who: &str) -> bool {
            self.lists.has(Jid::parse(who).expect("a JID").as_ref())
        }
    }

    fn read<T>(text: &str, then: impl FnOnce(&Stanza<'_>) -> T) -> T {
        let mut scratch = Scratch::default();
        let element = parse_element(text, ns::CLIENT, &mut scratch, &Limits::default()).expect("XML");
        then(&Stanza::read(element).expect("a stanza").expect("a stanza"))
    }

    fn page(ids: &[&str], last: &str) -> String {
        let items: String = ids.iter().map(|id| format!("<item id='{id}'/>")).collect();
        format!(
            "<items node='n'>{items}</items><set xmlns='{}'><last>{last}</last></set>",
            ns::RSM
        )
    }

    #[test]
    fn a_list_is_read_and_followed() {
        let mut world = World::new();
        assert!(world.tend(10));
        assert!(
            world.asked.contains(&format!("<subscribe node='n' jid='{FROM}'/>")),
            "{}",
            world.asked
        );
        assert!(!world.tend(11));
        // Nobody answers for another.
        assert!(!world.answer(11, "evil.example", "result", ""));
        assert!(world.answer(11, "lists.example", "result", ""));
        assert!(
            world.asked.contains("<max>500</max>") && !world.asked.contains("<after>"),
            "{}",
            world.asked
        );
        assert!(world.answer(12, "lists.example", "result", &page(&[LISTED, "what is this"], "a&lt;")));
        assert!(world.asked.contains("<after>a&lt;</after>"), "{}", world.asked);
        // It does not hold before it is whole; what happens meanwhile holds at once, and then.
        assert!(!world.has("listed@example.org"));
        let item = |id: &str| format!("<items node='n'><item id='{id}'/></items>");
        assert!(!world.tells("evil.example", &item(ELSEWHERE)));
        assert!(!world.has("a@elsewhere.test"));
        assert!(world.tells("lists.example", &item(&ELSEWHERE.to_uppercase())));
        assert!(world.has("a@elsewhere.test/x") && !world.has("a@elsewhere.example"));
        assert!(!world.answer(13, "lists.example", "result", &page(&[], "")));
        assert!(world.has("listed@example.org/phone") && world.has("elsewhere.test"));
        assert!(!world.has("other@example.org"));

        assert!(world.tells("lists.example", "<items node='other'><retract id='x'/></items>"));
        assert!(world.tells(
            "lists.example",
            &format!("<items node='n'><retract id='{LISTED}'/></items>")
        ));
        assert!(!world.has("listed@example.org") && world.has("elsewhere.test"));
        // Read anew it is what it is then.
        assert!(!world.tend(13 + AGAIN_SECONDS - 1) && world.tend(13 + AGAIN_SECONDS));
        assert!(world.answer(4_000, "lists.example", "result", ""));
        assert!(world.has("elsewhere.test"));
        // Without pages, as small services answer.
        assert!(!world.answer(
            4_001,
            "lists.example",
            "result",
            &format!("<items node='n'><item id='{LISTED}'/></items>")
        ));
        assert!(!world.has("elsewhere.test") && world.has("listed@example.org"));
        assert!(world.tells("lists.example", "<purge node='n'/>"));
        assert!(!world.has("listed@example.org"));
    }

    #[test]
    fn what_fails_is_tried_again() {
        let mut world = World::new();
        let mut now = 100;
        for pause in [1, 2, 4, 8] {
            assert!(world.tend(now));
            assert!(!world.answer(now, "lists.example", "error", ""));
            assert!(!world.tend(now + pause - 1));
            now += pause;
        }
        // No answer is one, too; and an old one is none.
        assert!(world.tend(now));
        let old = world.asked.clone();
        assert!(!world.tend(now + ANSWER_SECONDS) && !world.tend(now + ANSWER_SECONDS + 15));
        assert!(world.tend(now + ANSWER_SECONDS + 16));
        let new = std::mem::replace(&mut world.asked, old);
        assert!(!world.answer(now, "lists.example", "result", ""));
        world.asked = new;
        assert!(world.answer(now + 100, "lists.example", "result", ""));
        assert!(!world.answer(now + 100, "lists.example", "result", &page(&[], "")));
        // A clock that was put back makes nobody wait for ever.
        lock(&world.lists.all()[0]).at = Moment(1_000_000);
        assert!(!world.tend(1_000_000 - AGAIN_SECONDS) && world.tend(10));
    }
}
