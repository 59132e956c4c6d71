//! A server, devices, and the lines between them. Nothing moves but by a call, and everything that is left to chance
//! comes from one [`Dice`].

use std::collections::BTreeMap;
use std::sync::Weak;

use minidom::Element;
use router::{Limits, Outbox};
use stanza::ns;

use crate::client::{Device, Input, OPEN, Phase, Sent, Stream, Sync, copy_of, forwarded, stanza_id};
use crate::dice::Dice;
use crate::history::{Entry, History, How, Session, Sighting};
use crate::link::Link;
use crate::server::{DOMAIN, PASSWORD, Server};

/// Rounds in which everything comes to rest; more are a defect.
const ROUNDS: usize = 2_000;

pub struct World {
    pub server: Server,
    pub links: BTreeMap<u32, Link>,
    pub devices: Vec<Device>,
    pub history: History,
    pub dice: Dice,
    /// What happened, for who has to find out.
    pub trace: Vec<String>,
    /// All outboxes that there were: at the end there are none.
    pub outboxes: Vec<Weak<Outbox>>,
    next_link: u32,
    number: u32,
}

impl World {
    pub fn new(accounts: &[&str], resources: &[&str], limits: Limits, archives: bool, seed: u64) -> World {
        let devices = accounts
            .iter()
            .flat_map(|account| resources.iter().map(|resource| Device::new(account, resource)));
        World {
            server: Server::new(accounts, limits, archives),
            links: BTreeMap::new(),
            devices: devices.collect(),
            history: History::default(),
            dice: Dice::new(seed),
            trace: Vec::new(),
            outboxes: Vec::new(),
            next_link: 0,
            number: 0,
        }
    }

    pub fn tell(&mut self, what: impl FnOnce() -> String) {
        self.trace.push(what());
    }

    /// Text that was not used before, to begin with `prefix`.
    pub fn fresh(&mut self, prefix: char) -> String {
        self.number += 1;
        format!("{prefix}{}", self.number)
    }

    fn session(&self, d: usize) -> Session {
        (d, self.devices[d].session)
    }

    /// A new connection. One that is open stays so: the server has not heard that nobody is there.
    pub fn connect(&mut self, d: usize) {
        self.forget_line(d);
        self.next_link += 1;
        let link = Link::new(&self.server, self.dice.roll());
        self.outboxes.push(std::sync::Arc::downgrade(&link.outbox));
        self.links.insert(self.next_link, link);
        let device = &mut self.devices[d];
        device.link = Some(self.next_link);
        device.phase = Phase::Opening;
        device.restart();
        self.write(d, OPEN);
    }

    /// Bytes to the server, if there is a line.
    pub fn write(&mut self, d: usize, text: &str) {
        if let Some(link) = self.devices[d].link.and_then(|link| self.links.get_mut(&link)) {
            link.inbound.extend_from_slice(text.as_bytes());
        }
    }

    /// A stanza; `id`: of the message that it is.
    pub fn send(&mut self, d: usize, text: String, id: Option<String>) {
        self.write(d, &text);
        let device = &mut self.devices[d];
        let sent = Sent { text, id };
        match &mut device.stream {
            Some(stream) => stream.queue.push_back(sent),
            None if sent.id.is_some() => device.unsure.push(sent),
            None => {}
        }
    }

    /// The server works on one connection. True if anything moved.
    pub fn poll(&mut self, link: u32) -> bool {
        let Some(one) = self.links.get_mut(&link) else {
            return false;
        };
        let moved = one.poll(&self.server, &mut router::Turn::default());
        self.bury(link);
        moved
    }

    fn bury(&mut self, link: u32) {
        if self.links.get(&link).is_some_and(Link::is_gone)
            && let Some(gone) = self.links.remove(&link)
        {
            for id in History::ids_in(&gone.reclaimed) {
                if let Some(message) = self.history.messages.get_mut(&id) {
                    message.again = true;
                }
            }
            let reader = self.devices.iter().position(|device| device.link == Some(link));
            if reader.is_none() {
                // Written to a line that its client had left.
                self.lose(&gone.outbound);
            }
            if let Some(d) = reader {
                // Written before the end, and read behind it.
                let mut rest = gone.outbound;
                self.devices[d].input.append(&mut rest);
                self.read(d);
                if self.devices[d].link == Some(link) {
                    self.forget_line(d);
                }
            }
        }
    }

    /// The client reads at most so many bytes. True if anything came.
    pub fn receive(&mut self, d: usize, most: usize) -> bool {
        let Some(link) = self.devices[d].link.and_then(|link| self.links.get_mut(&link)) else {
            return false;
        };
        let count = most.min(link.outbound.len());
        if count == 0 {
            return false;
        }
        let bytes: Vec<u8> = link.outbound.drain(..count).collect();
        self.devices[d].input.extend_from_slice(&bytes);
        self.read(d);
        true
    }

    fn read(&mut self, d: usize) {
        while let Some(input) = self.devices[d].next_input() {
            self.on_input(d, input);
        }
    }

    /// The line breaks: the server may have read some of what was on its way.
    pub fn cut(&mut self, d: usize) {
        let Some(number) = self.devices[d].link else { return };
        if let Some(link) = self.links.get_mut(&number) {
            let kept = self.dice.below(link.inbound.len() + 1);
            link.inbound.truncate(kept);
        }
        self.poll(number);
        self.forget_line(d);
        self.break_off(number);
    }

    /// The server hears that nobody is there.
    pub fn break_off(&mut self, number: u32) {
        if let Some(link) = self.links.get_mut(&number) {
            link.breaks();
        }
        self.poll(number);
    }

    /// A connection that was trusted had taken this.
    fn lose(&mut self, bytes: &[u8]) {
        for id in History::ids_in(bytes) {
            if let Some(message) = self.history.messages.get_mut(&id) {
                message.lost = true;
            }
        }
    }

    /// The client has no connection any more.
    pub fn forget_line(&mut self, d: usize) {
        let managed = self.devices[d].is_managed();
        let device = &mut self.devices[d];
        let Some(number) = device.link.take() else { return };
        device.phase = Phase::Offline;
        self.history.broken.insert((d, device.session));
        let mut lost = std::mem::take(&mut device.input);
        if let Some(link) = self.links.get_mut(&number) {
            lost.append(&mut link.outbound);
        }
        if !managed {
            self.lose(&lost);
        }
        let device = &mut self.devices[d];
        if device.stream.as_ref().is_some_and(|stream| stream.id.is_none()) {
            let stream = device.stream.take().unwrap_or_default();
            device
                .unsure
                .extend(stream.queue.into_iter().filter(|sent| sent.id.is_some()));
        }
        self.trace
            .push(format!("    {} has no connection", self.devices[d].name()));
    }

    /// Commits, connections and clients work until nothing moves any more.
    pub fn settle(&mut self) {
        for _ in 0..ROUNDS {
            let mut moved = self.server.store.settle() > 0;
            let links: Vec<u32> = self.links.keys().copied().collect();
            for link in &links {
                if self.links.get(link).is_some_and(Link::is_due) {
                    moved |= self.poll(*link);
                }
            }
            for d in 0..self.devices.len() {
                moved |= self.receive(d, usize::MAX);
            }
            if moved {
                continue;
            }
            // A task that was not woken has nothing to do.
            for link in links {
                if self.poll(link) {
                    moved = true;
                    self.history.found.push(format!("connection {link} was not woken"));
                }
            }
            if !moved {
                return;
            }
        }
        self.history.found.push("it does not come to rest".to_owned());
    }

    fn on_input(&mut self, d: usize, input: Input) {
        match input {
            Input::Header => {}
            Input::Features { binds: false } => {
                use base64::Engine;
                let name = format!("\0{}\0{PASSWORD}", self.devices[d].account);
                let data = base64::engine::general_purpose::STANDARD.encode(name);
                self.write(
                    d,
                    &format!("<auth xmlns='{}' mechanism='PLAIN'>{data}</auth>", ns::SASL),
                );
                self.devices[d].phase = Phase::Authenticating;
            }
            Input::Features { binds: true } => self.negotiated(d),
            Input::End(what) => {
                self.trace
                    .push(format!("    {} is told: {what}", self.devices[d].name()));
                let link = self.devices[d].link;
                self.forget_line(d);
                if let Some(link) = link {
                    self.break_off(link);
                }
            }
            Input::Element(element) => match element.ns().as_str() {
                ns::SASL => self.on_sasl(d, &element),
                ns::SM => self.on_management(d, &element),
                _ => self.on_stanza(d, &element),
            },
        }
    }

    fn on_sasl(&mut self, d: usize, element: &Element) {
        if element.name() == "success" {
            self.devices[d].restart();
            self.devices[d].phase = Phase::Negotiating;
            return self.write(d, OPEN);
        }
        self.trace
            .push(format!("    {} may not log in", self.devices[d].name()));
        self.cut(d);
    }

    fn negotiated(&mut self, d: usize) {
        let stream = self.devices[d].stream.as_ref();
        match stream.and_then(|stream| Some((stream.id.clone()?, stream.got))) {
            Some((id, got)) => {
                self.trace
                    .push(format!("    {} resumes with {got}", self.devices[d].name()));
                self.devices[d].phase = Phase::Resuming;
                self.write(d, &format!("<resume xmlns='{}' previd='{id}' h='{got}'/>", ns::SM));
            }
            None => self.bind(d),
        }
    }

    fn bind(&mut self, d: usize) {
        let device = &mut self.devices[d];
        device.phase = Phase::Binding;
        device.sync = None;
        device.session += 1;
        let account = device.account.clone();
        let text = format!(
            "<iq type='set' id='b'><bind xmlns='{}'><resource>{}</resource></bind></iq>",
            ns::BIND,
            device.resource
        );
        self.history.begin(&account, self.session(d));
        self.write(d, &text);
    }

    /// A session has begun.
    fn bound(&mut self, d: usize) {
        self.trace.push(format!(
            "    {} is bound, session {}",
            self.devices[d].name(),
            self.devices[d].session
        ));
        let device = &mut self.devices[d];
        device.phase = Phase::Online;
        device.stream = None;
        let habits = device.habits;
        if habits.manages {
            device.stream = Some(Stream::default());
            self.write(d, &format!("<enable xmlns='{}' resume='true'/>", ns::SM));
        }
        self.repeat(d);
        if habits.carbons {
            let text = format!("<iq type='set' id='c'><enable xmlns='{}'/></iq>", ns::CARBONS);
            self.send(d, text, None);
        }
        if habits.syncs {
            self.sync(d, false);
        }
        let text = "<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>";
        self.send(d, text.into(), None);
        let says_so = habits.is_available && habits.priority >= 0 && !self.dice.one_in(8);
        if says_so || habits.priority < 0 {
            self.available(d);
        }
        if !says_so {
            self.history.odd.insert(self.session(d));
        }
    }

    pub fn available(&mut self, d: usize) {
        let priority = self.devices[d].habits.priority;
        let text = format!("<presence><priority>{priority}</priority></presence>");
        self.send(d, text, None);
    }

    /// What is known not to have been handled is sent again, then what nobody knows of, if it can be told apart.
    fn repeat(&mut self, d: usize) {
        let exact = std::mem::take(&mut self.devices[d].resend);
        let unsure = std::mem::take(&mut self.devices[d].unsure);
        for sent in exact {
            self.again(&sent, false);
            self.send(d, sent.text, sent.id);
        }
        if !self.devices[d].habits.repeats {
            return;
        }
        for sent in unsure {
            let message = sent.id.as_ref().and_then(|id| self.history.messages.get(id));
            if message.is_some_and(|message| message.origin_id && message.errors == 0 && !message.acked) {
                self.again(&sent, true);
                self.send(d, sent.text, sent.id);
            }
        }
    }

    fn again(&mut self, sent: &Sent, blind: bool) {
        let Some(id) = &sent.id else { return };
        self.trace.push(format!("    again, blind {blind}: {id}"));
        if let Some(message) = self.history.messages.get_mut(id) {
            message.resent = true;
            message.blind |= blind;
        }
    }

    fn on_management(&mut self, d: usize, element: &Element) {
        let h = element.attr("h").and_then(|h| h.parse::<u32>().ok());
        let phase = self.devices[d].phase;
        self.trace.push(format!(
            "    {} <- {} {}",
            self.devices[d].name(),
            element.name(),
            h.map(|h| h.to_string()).unwrap_or_default()
        ));
        match (element.name(), phase) {
            ("enabled", _) => {
                if let Some(stream) = &mut self.devices[d].stream {
                    stream.enabled = true;
                    stream.id = element.attr("id").map(str::to_owned);
                }
            }
            ("r", _) => {
                if self.devices[d].habits.acknowledges {
                    self.acknowledge(d);
                }
            }
            ("a", _) => self.covered(d, h.unwrap_or_default(), "a"),
            ("resumed", _) => {
                self.covered(d, h.unwrap_or_default(), "resumed");
                self.devices[d].phase = Phase::Online;
                let stream = self.devices[d].stream.as_ref();
                let queue: Vec<Sent> = stream
                    .map(|stream| stream.queue.iter().cloned().collect())
                    .unwrap_or_default();
                for sent in queue {
                    self.again(&sent, false);
                    self.write(d, &sent.text);
                }
            }
            ("failed", Phase::Resuming) => {
                self.not_resumed(d, h, element.children().any(|child| child.name() == "item-not-found"));
            }
            ("failed", _) => {
                // It could not be made resumable; what was sent is unsure.
                if let Some(stream) = self.devices[d].stream.take() {
                    self.devices[d]
                        .unsure
                        .extend(stream.queue.into_iter().filter(|sent| sent.id.is_some()));
                }
            }
            (other, _) => self.history.found.push(format!("<{other}/> makes no sense")),
        }
    }

    fn not_resumed(&mut self, d: usize, h: Option<u32>, is_gone: bool) {
        let before = self.devices[d].stream.as_ref().map_or(0, |stream| stream.acknowledged);
        if let Some(h) = h {
            // What was acknowledged once is handled.
            self.covered(d, h.max(before), "failed");
        }
        let stream = self.devices[d].stream.take().unwrap_or_default();
        let rest = stream.queue.into_iter().filter(|sent| sent.id.is_some());
        match h {
            Some(_) => self.devices[d].resend.extend(rest),
            None => self.devices[d].unsure.extend(rest),
        }
        if is_gone {
            let (account, session) = (self.devices[d].account.clone(), self.session(d));
            self.history.end(&account, session);
        }
        self.bind(d);
    }

    fn covered(&mut self, d: usize, h: u32, by: &str) {
        let name = self.devices[d].name();
        let Some(stream) = &mut self.devices[d].stream else {
            // It has said goodbye.
            return;
        };
        let before = (stream.acknowledged, stream.queue.len());
        let Some(covered) = stream.covered(h) else {
            return self.history.found.push(format!(
                "G1: <{by} h='{h}'/> to {name} after h='{}', with {} stanzas behind it",
                before.0, before.1
            ));
        };
        for id in covered.into_iter().filter_map(|sent| sent.id) {
            if let Some(message) = self.history.messages.get_mut(&id) {
                message.acked = true;
            }
        }
    }

    /// `<a/>`.
    pub fn acknowledge(&mut self, d: usize) {
        if let Some(stream) = self.devices[d].stream.as_ref().filter(|stream| stream.enabled) {
            let text = format!("<a xmlns='{}' h='{}'/>", ns::SM, stream.got);
            self.write(d, &text);
        }
    }

    /// The archive is read from the beginning, or behind the last message of the last time.
    pub fn sync(&mut self, d: usize, is_final: bool) {
        if self.devices[d].sync.is_some() {
            return;
        }
        let query = self.fresh('q');
        self.devices[d].sync = Some(Sync {
            query,
            last: None,
            is_final,
        });
        if is_final {
            self.history.archives.insert(d, Vec::new());
        }
        self.next_page(d);
    }

    fn next_page(&mut self, d: usize) {
        let most = 5 + self.dice.below(40);
        let Some(sync) = &self.devices[d].sync else { return };
        let after = sync
            .last
            .as_ref()
            .map(|last| format!("<after>{last}</after>"))
            .unwrap_or_default();
        let text = format!(
            "<iq type='set' id='{query}'><query xmlns='{}' queryid='{query}'><set xmlns='{}'><max>{most}</max>{after}</set>\
             </query></iq>",
            ns::MAM,
            ns::RSM,
            query = sync.query
        );
        self.send(d, text, None);
    }

    fn on_stanza(&mut self, d: usize, stanza: &Element) {
        let device = &mut self.devices[d];
        if device.phase == Phase::Binding {
            if stanza.attr("type") == Some("result") {
                return self.bound(d);
            }
            self.trace.push(format!("    {} gets no resource", device.name()));
            return self.cut(d);
        }
        if let Some(stream) = device.stream.as_mut().filter(|stream| stream.enabled) {
            stream.got += 1;
        }
        match stanza.name() {
            "message" => match stanza.get_child("result", ns::MAM) {
                Some(result) => self.on_result(d, result),
                None => self.on_message(d, stanza),
            },
            "iq" => self.on_iq(d, stanza),
            _ => {}
        }
    }

    fn on_iq(&mut self, d: usize, iq: &Element) {
        let id = iq.attr("id").unwrap_or_default().to_owned();
        let is_result = iq.attr("type") == Some("result");
        if iq.attr("type") == Some("get") && iq.get_child("ping", ns::PING).is_some() {
            return self.send(d, format!("<iq type='result' id='{id}' to='{DOMAIN}'/>"), None);
        }
        let account = self.devices[d].account.clone();
        if let Some((contact, value)) = id.strip_prefix("s-").and_then(|rest| rest.split_once('-')) {
            let changes = self.history.changes.get_mut(&(account, contact.to_owned()));
            let mine = |change: &&mut crate::history::Change| change.value == value;
            if let Some(change) = changes.into_iter().flatten().find(mine) {
                change.result = Some(is_result);
            }
        } else if id == "r" {
            let at = self.history.tick();
            self.history.ready.insert(self.session(d), at);
        } else if id == "final" {
            for item in iq
                .get_child("query", ns::ROSTER)
                .into_iter()
                .flat_map(Element::children)
            {
                let contact = item
                    .attr("jid")
                    .unwrap_or_default()
                    .split('@')
                    .next()
                    .unwrap_or_default();
                let name = item.attr("name").unwrap_or_default().to_owned();
                self.history.rosters.insert((account.clone(), contact.to_owned()), name);
            }
        } else if self.devices[d].sync.as_ref().is_some_and(|sync| sync.query == id) {
            let complete = iq
                .get_child("fin", ns::MAM)
                .is_some_and(|fin| fin.attr("complete") == Some("true"));
            match is_result && !complete {
                true => self.next_page(d),
                false => {
                    let sync = self.devices[d].sync.take();
                    if !is_result && sync.is_some_and(|sync| sync.is_final) {
                        self.history
                            .found
                            .push(format!("{} could not read its archive", self.devices[d].name()));
                    }
                }
            }
        }
    }

    fn on_result(&mut self, d: usize, result: &Element) {
        let (Some(sid), Some(message)) = (result.attr("id"), forwarded(result)) else {
            return;
        };
        let Some(id) = message.attr("id").map(str::to_owned) else {
            return;
        };
        let query = result.attr("queryid");
        let Some(sync) = self.devices[d]
            .sync
            .as_mut()
            .filter(|sync| query == Some(sync.query.as_str()))
        else {
            // A question that was sent again behind `<resumed/>` is answered twice, and the second answer may have more.
            return self.see(d, &id, How::Read, Some(sid.to_owned()));
        };
        sync.last = Some(sid.to_owned());
        let is_final = sync.is_final;
        if is_final {
            let is_tombstone = message.get_child("retracted", ns::RETRACTION).is_some();
            let entry = Entry {
                sid: sid.to_owned(),
                id,
                is_tombstone,
            };
            self.history.archives.entry(d).or_default().push(entry);
        } else {
            self.see(d, &id, How::Read, Some(sid.to_owned()));
        }
    }

    fn on_message(&mut self, d: usize, stanza: &Element) {
        let (how, message) = match copy_of(stanza) {
            Some((true, message)) => (How::Sent, message),
            Some((false, message)) => (How::Received, message),
            None if stanza.get_child("delay", ns::DELAY).is_some() => (How::Late, stanza),
            None => (How::Live, stanza),
        };
        let Some(id) = message.attr("id").map(str::to_owned) else {
            return;
        };
        if message.attr("type") == Some("error") {
            if how == How::Live
                && let Some(message) = self.history.messages.get_mut(&id)
            {
                self.trace
                    .push(format!("    {} <- error for {id}", self.devices[d].name()));
                message.errors += 1;
            }
            return;
        }
        let sid = stanza_id(message, &self.devices[d].account);
        self.see(d, &id, how, sid);
    }

    fn see(&mut self, d: usize, id: &str, how: How, sid: Option<String>) {
        if how != How::Read {
            self.trace
                .push(format!("    {} <- {id} {how:?}", self.devices[d].name()));
        }
        let (session, at) = (self.session(d), self.history.tick());
        // A copy that is not acknowledged is nothing that the server relies on.
        let is_uncounted = match &self.devices[d].stream {
            Some(stream) => !stream.enabled,
            None => how == How::Received,
        };
        match self.history.messages.get_mut(id) {
            Some(message) => message.seen.push(Sighting {
                session,
                how,
                sid,
                at,
                is_uncounted,
            }),
            None => self.history.found.push(format!("{id} was never sent")),
        }
    }

    /// kill -9.
    pub fn crash(&mut self, unanswered: usize) {
        for (number, link) in std::mem::take(&mut self.links) {
            let rest = link.dies();
            let reader = self.devices.iter().find(|device| device.link == Some(number));
            if reader.is_none_or(|device| !device.is_managed()) {
                self.lose(&rest);
            }
        }
        // What is left of them is the memory of a process that has died.
        self.outboxes.clear();
        for d in 0..self.devices.len() {
            self.forget_line(d);
        }
        self.history.crashed = true;
        self.history.end_all();
        self.server.crash(unanswered);
    }

    /// A stop in good order and a start.
    pub fn restart(&mut self) {
        let links: Vec<u32> = self.links.keys().copied().collect();
        for number in &links {
            if let Some(link) = self.links.get_mut(number) {
                link.shut_down(&mut router::Turn::default());
            }
            self.poll(*number);
        }
        // Who reads is told, others are cut.
        for d in 0..self.devices.len() {
            if self.dice.one_in(2) {
                self.receive(d, usize::MAX);
            }
        }
        while !self.links.is_empty() {
            self.server.store.settle();
            let left: Vec<u32> = self.links.keys().copied().collect();
            for number in left {
                self.break_off(number);
            }
        }
        self.server.restart();
    }
}
