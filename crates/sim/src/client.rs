//! A device: the client's side of a stream, as it should be. It counts as XEP-0198 has it, sends again what was not
//! handled, and notes what it sees.

use std::collections::VecDeque;

use minidom::Element;
use stanza::ns;
use xmlstream::{Event, Framer, Scratch};

use crate::server::DOMAIN;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Offline,
    /// The header was sent; the password follows.
    Opening,
    Authenticating,
    /// Logged in; the features are awaited.
    Negotiating,
    Resuming,
    Binding,
    Online,
}

/// A stanza that was not acknowledged, and the message that it is.
#[derive(Clone, Debug)]
pub struct Sent {
    pub text: String,
    pub id: Option<String>,
}

/// What the client knows of its managed stream (XEP-0198 section 4).
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// None until `<enabled/>` has come, or where the stream is not resumable.
    pub id: Option<String>,
    pub enabled: bool,
    /// Stanzas that have come.
    pub got: u32,
    pub acknowledged: u32,
    pub queue: VecDeque<Sent>,
}

/// What a user wants of a device.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    pub manages: bool,
    /// Answers `<r/>`.
    pub acknowledges: bool,
    pub carbons: bool,
    pub priority: i8,
    /// Says that it is there.
    pub is_available: bool,
    /// Reads its archive when it comes.
    pub syncs: bool,
    /// Sends again what it does not know to have arrived.
    pub repeats: bool,
}

/// A page of the archive that is being read.
#[derive(Clone, Debug, Default)]
pub struct Sync {
    pub query: String,
    pub last: Option<String>,
    /// The end of the run: what is read is the archive.
    pub is_final: bool,
}

pub struct Device {
    pub account: String,
    pub resource: String,
    pub link: Option<u32>,
    pub phase: Phase,
    pub habits: Habits,
    /// The how-manieth session.
    pub session: u32,
    pub stream: Option<Stream>,
    /// To be sent first in the next session.
    pub resend: VecDeque<Sent>,
    /// Sent without stream management.
    pub unsure: Vec<Sent>,
    pub sync: Option<Sync>,
    pub input: Vec<u8>,
    framer: Framer,
    scratch: Scratch,
}

/// What comes on a stream.
pub enum Input {
    Header,
    Features {
        binds: bool,
    },
    Element(Box<Element>),
    /// A stream error, or the end.
    End(String),
}

impl Device {
    pub fn new(account: &str, resource: &str) -> Device {
        Device {
            account: account.to_owned(),
            resource: resource.to_owned(),
            link: None,
            phase: Phase::Offline,
            habits: Habits {
                manages: true,
                acknowledges: true,
                carbons: true,
                priority: 0,
                is_available: true,
                syncs: false,
                repeats: true,
            },
            session: 0,
            stream: None,
            resend: VecDeque::new(),
            unsure: Vec::new(),
            sync: None,
            input: Vec::new(),
            framer: Framer::new(),
            scratch: Scratch::default(),
        }
    }

    pub fn name(&self) -> String {
        format!("{}/{}", self.account, self.resource)
    }

    pub fn is_online(&self) -> bool {
        self.phase == Phase::Online
    }

    /// Whether what it was sent and has not got is remembered by the server.
    pub fn is_managed(&self) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.enabled)
    }

    /// A new stream begins.
    pub fn restart(&mut self) {
        self.framer.restart();
        self.input.clear();
    }

    /// The next whole thing that has come.
    pub fn next_input(&mut self) -> Option<Input> {
        let limits = xmlstream::Limits {
            bytes: usize::MAX,
            elements: usize::MAX,
            ..xmlstream::Limits::default()
        };
        let step = self
            .framer
            .next(&self.input, &mut self.scratch, &limits)
            .unwrap_or_else(|error| panic!("{error:?} in {}", String::from_utf8_lossy(&self.input)));
        let input = match step.event {
            Event::Incomplete => None,
            Event::Header(_) => Some(Input::Header),
            Event::Element(element) if element.ns() == ns::STREAM => Some(match element.name() {
                "features" => Input::Features {
                    binds: element.children().any(|child| child.ns() == ns::BIND),
                },
                _ => Input::End(element.source().to_owned()),
            }),
            Event::Element(element) => Some(Input::Element(Box::new(element.to_dom()))),
            Event::Close => Some(Input::End("closed".to_owned())),
        };
        self.input.drain(..step.consumed);
        input
    }
}

impl Stream {
    /// The server has told this `h`. Returns what it covers; None: it cannot be.
    pub fn covered(&mut self, h: u32) -> Option<Vec<Sent>> {
        let count = h.checked_sub(self.acknowledged)? as usize;
        if count > self.queue.len() {
            return None;
        }
        self.acknowledged = h;
        Some(self.queue.drain(..count).collect())
    }
}

pub const OPEN: &str = "<?xml version='1.0'?><stream:stream to='d' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";

/// `by` and `id` (XEP-0359).
pub fn stanza_id(message: &Element, account: &str) -> Option<String> {
    let own = format!("{account}@{DOMAIN}");
    let mut ids = message.children().filter(|child| child.is("stanza-id", ns::STANZA_IDS));
    ids.find(|id| id.attr("by") == Some(own.as_str()))?
        .attr("id")
        .map(str::to_owned)
}

/// `<sent/>` or `<received/>` (XEP-0280), and the message in it.
pub fn copy_of(stanza: &Element) -> Option<(bool, &Element)> {
    let sent = stanza.get_child("sent", ns::CARBONS);
    let copy = sent.or_else(|| stanza.get_child("received", ns::CARBONS))?;
    Some((sent.is_some(), forwarded(copy)?))
}

/// The message in `<forwarded/>` (XEP-0297).
pub fn forwarded(around: &Element) -> Option<&Element> {
    around
        .get_child("forwarded", ns::FORWARD)?
        .get_child("message", ns::CLIENT)
}
