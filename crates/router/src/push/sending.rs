//! Notifications on their way to push services: how many at once, what waits, and what becomes of answers.
//!
//! In memory alone. What is lost with the process is an announcement and never a message: that waits in the store, and the
//! next one is announced with the number of all.

use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stanza::ns;

use crate::account::Moment;
use crate::sessions::escaped;

/// Notifications for one device that may be unanswered. What comes meanwhile is put into one.
const UNDER_WAY: usize = 4;
/// Seconds after which an answer is not expected any more.
const ANSWER_SECONDS: u32 = 60;
/// How often a notification is sent again, after twice as many seconds each time.
const TRIES: u32 = 8;
const FIRST_PAUSE_SECONDS: u32 = 5;
const LONGEST_PAUSE_SECONDS: u32 = 600;
/// So many failures in a row, all of them passing ones, and the service is taken for gone (XEP-0357 section 7.1).
const FAILURES: u32 = 64;
/// Devices of all accounts that something is under way for. A further one is told with the next message.
const DEVICES: usize = 100_000;
/// Senders that are known of what waits; of more it is not known when all is read.
const PEERS: usize = 16;
/// Begins the ids of requests to push services.
pub(crate) const ID_PREFIX: &str = "push-";

/// What is told of messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// Messages that were not seen yet.
    pub(crate) count: u64,
    /// Of the last one, where that may be told.
    pub(crate) sender: Option<Box<str>>,
    pub(crate) body: Option<Box<str>>,
}

/// A device of an account: the account, the service and the node there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Device {
    pub(crate) owner: Box<str>,
    pub(crate) service: Box<str>,
    pub(crate) node: Box<str>,
}

/// What one notification is about.
#[derive(Clone, Debug)]
struct Told {
    summary: Summary,
    /// Bare JIDs.
    peers: Vec<Box<str>>,
    /// There were more of them.
    of_others: bool,
}

impl Told {
    /// One notification in place of two; `newer` says how many there are.
    fn merge(&mut self, newer: Told) {
        self.summary = newer.summary;
        self.of_others |= newer.of_others;
        for peer in newer.peers {
            if self.peers.contains(&peer) {
            } else if self.peers.len() < PEERS {
                self.peers.push(peer);
            } else {
                self.of_others = true;
            }
        }
    }
}

#[derive(Default)]
struct Sending {
    options: Arc<str>,
    under_way: Vec<(u64, Moment, Told)>,
    waiting: Option<Told>,
    /// Nothing is sent before.
    retry: Option<Moment>,
    tries: u32,
    failures: u32,
}

#[derive(Default)]
struct State {
    devices: BTreeMap<Device, Sending>,
    asked: HashMap<u64, Device>,
    next: u64,
}

/// How a service has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Taken,
    /// It may be otherwise in a while.
    NotNow,
    Refused,
}

/// What follows: letters to send, and whoever is announced to no more.
#[derive(Default)]
pub(crate) struct Follows {
    pub(crate) letters: Vec<String>,
    pub(crate) ended: Vec<Device>,
}

#[derive(Default)]
pub(crate) struct Pushes(Mutex<State>);

impl Pushes {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A device is to be told of a message of `peer`. What is to be sent now, if anything.
    pub(crate) fn announce(
        &self,
        now: Moment,
        device: Device,
        options: &Arc<str>,
        summary: Summary,
        peer: Option<&str>,
    ) -> Option<String> {
        let told = Told {
            summary,
            peers: peer.map(Into::into).into_iter().collect(),
            of_others: peer.is_none(),
        };
        let mut state = self.lock();
        if state.devices.len() >= DEVICES && !state.devices.contains_key(&device) {
            return None;
        }
        let sending = state.devices.entry(device.clone()).or_default();
        sending.options = Arc::clone(options);
        if sending.retry.is_some() || sending.under_way.len() >= UNDER_WAY {
            sending.wait(told);
            return None;
        }
        Some(state.send(now, &device, told))
    }

    /// An answer to the request of this id has come. None: it answers nothing.
    pub(crate) fn answered(&self, now: Moment, id: &str, from: &str, answer: Answered) -> Option<Follows> {
        let number = u64::from_str_radix(id.strip_prefix(ID_PREFIX)?, 16).ok()?;
        let mut state = self.lock();
        // Whoever else has seen the id does not answer for the service.
        if *state.asked.get(&number)?.service != *from {
            return None;
        }
        let mut follows = Follows::default();
        state.settle(now, number, answer, &mut follows);
        Some(follows)
    }

    /// Sends what is due again, and gives up answers that do not come. Call every few seconds.
    pub(crate) fn tend(&self, now: Moment) -> Follows {
        let mut follows = Follows::default();
        let mut state = self.lock();
        let late = |(number, sent, _): &(u64, Moment, Told)| (sent.0 + ANSWER_SECONDS <= now.0).then_some(*number);
        let late: Vec<u64> = state
            .devices
            .values()
            .flat_map(|sending| sending.under_way.iter().filter_map(late))
            .collect();
        for number in late {
            state.settle(now, number, Answered::NotNow, &mut follows);
        }
        let due = |sending: &Sending| sending.retry.is_some_and(|retry| retry <= now);
        let due: Vec<Device> = state
            .devices
            .iter()
            .filter(|(_, sending)| due(sending))
            .map(|(device, _)| device.clone())
            .collect();
        for device in due {
            state.go_on(now, &device, &mut follows);
        }
        follows
    }

    /// The account has read what `peer` wrote.
    pub(crate) fn read(&self, owner: &str, peer: &str) {
        for (_, sending) in self.lock().of_owner(owner) {
            let told = sending.waiting.iter_mut();
            for told in told.chain(sending.under_way.iter_mut().map(|(.., told)| told)) {
                told.peers.retain(|other| **other != *peer);
            }
            if sending.waiting.as_ref().is_some_and(Told::is_read) {
                sending.waiting = None;
            }
        }
    }

    /// Whether anything is under way for the account.
    pub(crate) fn has(&self, owner: &str) -> bool {
        self.lock().of_owner(owner).next().is_some()
    }

    /// What waits for a device is not sent any more: it is here, or is announced to no more.
    pub(crate) fn forget(&self, device: &Device) {
        let mut state = self.lock();
        if let Some(sending) = state.devices.remove(device) {
            for (number, ..) in sending.under_way {
                state.asked.remove(&number);
            }
        }
    }

    /// The same of all devices of an account.
    pub(crate) fn forget_all(&self, owner: &str) {
        let devices: Vec<Device> = self.lock().of_owner(owner).map(|(device, _)| device.clone()).collect();
        for device in devices {
            self.forget(&device);
        }
    }
}

impl Told {
    fn is_read(&self) -> bool {
        self.peers.is_empty() && !self.of_others
    }
}

impl Sending {
    fn wait(&mut self, told: Told) {
        match &mut self.waiting {
            Some(waiting) => waiting.merge(told),
            None => self.waiting = Some(told),
        }
    }

    /// One that was not taken goes behind what has come since, which knows better how many there are.
    fn wait_again(&mut self, mut told: Told) {
        if let Some(newer) = self.waiting.take() {
            told.merge(newer);
        }
        self.waiting = Some(told).filter(|told| !told.is_read());
    }
}

impl State {
    fn of_owner(&mut self, owner: &str) -> impl Iterator<Item = (&Device, &mut Sending)> {
        let first = Device {
            owner: owner.into(),
            service: "".into(),
            node: "".into(),
        };
        let owner: Box<str> = owner.into();
        self.devices
            .range_mut(first..)
            .take_while(move |(device, _)| device.owner == owner)
    }

    /// Notes a request, and writes it.
    fn send(&mut self, now: Moment, device: &Device, told: Told) -> String {
        // Ids of a process that ran before are answered by nobody's mistake: they begin with the time.
        if self.next == 0 {
            self.next = u64::from(now.0) << 32;
        }
        self.next += 1;
        let number = self.next;
        let text = match self.devices.get_mut(device) {
            Some(sending) => {
                let text = request(number, device, &sending.options, &told.summary);
                sending.under_way.push((number, now, told));
                text
            }
            None => String::new(),
        };
        self.asked.insert(number, device.clone());
        text
    }

    /// A request has come to its end.
    fn settle(&mut self, now: Moment, number: u64, answer: Answered, follows: &mut Follows) {
        let Some(device) = self.asked.remove(&number) else {
            return;
        };
        let Some(sending) = self.devices.get_mut(&device) else {
            return;
        };
        let Some(at) = sending.under_way.iter().position(|(other, ..)| *other == number) else {
            return;
        };
        let (.., told) = sending.under_way.remove(at);
        match answer {
            Answered::Taken => (sending.failures, sending.tries) = (0, 0),
            Answered::Refused => return self.end(device, follows),
            Answered::NotNow => {
                sending.failures += 1;
                if sending.failures >= FAILURES {
                    return self.end(device, follows);
                }
                sending.wait_again(told);
                // Of several that were under way the first says that nothing goes now.
                if sending.retry.is_none() {
                    sending.tries += 1;
                    sending.retry = Some(Moment(now.0.saturating_add(pause(sending.tries))));
                }
                if sending.tries > TRIES {
                    // The message waits; the next one is announced with the number of all.
                    (sending.waiting, sending.tries, sending.retry) = (None, 0, None);
                }
                return;
            }
        }
        self.go_on(now, &device, follows);
    }

    /// Sends what waits, now that it may be sent.
    fn go_on(&mut self, now: Moment, device: &Device, follows: &mut Follows) {
        let Some(sending) = self.devices.get_mut(device) else {
            return;
        };
        sending.retry = None;
        match mem::take(&mut sending.waiting) {
            Some(told) => {
                let text = self.send(now, device, told);
                follows.letters.push(text);
            }
            None if sending.under_way.is_empty() && sending.failures == 0 => {
                self.devices.remove(device);
            }
            None => {}
        }
    }

    fn end(&mut self, device: Device, follows: &mut Follows) {
        if let Some(sending) = self.devices.remove(&device) {
            for (number, ..) in sending.under_way {
                self.asked.remove(&number);
            }
        }
        follows.ended.push(device);
    }
}

/// Seconds before it is tried so often again.
fn pause(tries: u32) -> u32 {
    let doubled = tries.saturating_sub(1).min(16);
    (FIRST_PAUSE_SECONDS << doubled).min(LONGEST_PAUSE_SECONDS)
}

/// Section 7: from the server, to the service.
fn request(number: u64, device: &Device, options: &str, summary: &Summary) -> String {
    let domain = device
        .owner
        .split_once('@')
        .map_or(&*device.owner, |(_, domain)| domain);
    let (from, to) = (escaped(domain), escaped(&device.service));
    let node = match &*device.node {
        "" => String::new(),
        node => format!(" node='{}'", escaped(node)),
    };
    let mut fields = field("message-count", &summary.count.to_string());
    if let Some(sender) = &summary.sender {
        fields.push_str(&field("last-message-sender", sender));
    }
    if let Some(body) = &summary.body {
        fields.push_str(&field("last-message-body", body));
    }
    let options = match options {
        "" => String::new(),
        options => format!("<publish-options>{options}</publish-options>"),
    };
    let (pubsub, push, forms) = (ns::PUBSUB, ns::PUSH, ns::DATA_FORMS);
    format!(
        "<iq type='set' id='{ID_PREFIX}{number:x}' from='{from}' to='{to}'><pubsub xmlns='{pubsub}'>\
         <publish{node}><item><notification xmlns='{push}'><x xmlns='{forms}' type='submit'>\
         <field var='FORM_TYPE' type='hidden'><value>{}</value></field>{fields}</x></notification></item></publish>\
         {options}</pubsub></iq>",
        ns::PUSH_SUMMARY
    )
}

fn field(var: &str, value: &str) -> String {
    let mut text = Vec::new();
    xmlstream::escape_text(&mut text, value);
    // Escaping text yields text.
    let value = String::from_utf8(text).unwrap_or_default();
    format!("<field var='{var}'><value>{value}</value></field>")
}

#[cfg(test)]
#[path = "sending_tests.rs"]
mod tests;
