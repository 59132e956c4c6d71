//! Clients whose streams are managed (XEP-0198): they count on both sides, as a real one has to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use jackdaw_router::{EnableRequest, Event, NotResumed, Outbox, ResumeRequest};
use stanza::Jid;
use store::Query;

use crate::support::{Client, OUTBOX, World, bare, full};

/// What the client of a managed stream knows (XEP-0198 section 4).
#[derive(Clone, Default)]
pub(crate) struct Stream {
    /// "SM-ID"; None until `<enabled/>` has come, or where the stream is not resumable.
    pub(crate) id: Option<String>,
    /// `<enabled/>` has come: stanzas are counted.
    pub(crate) enabled: bool,
    /// Stanzas that have come.
    pub(crate) got: u32,
    /// Stanzas that were sent, and how many of them the server has acknowledged.
    pub(crate) sent: u32,
    pub(crate) acknowledged: u32,
    /// Those that it has not, in order.
    pub(crate) unacknowledged: VecDeque<String>,
    /// All that was sent, from the first that counts.
    pub(crate) history: Vec<String>,
    /// What the server has acknowledged and nobody has looked at.
    pub(crate) promised: Vec<String>,
    /// Does not answer `<r/>`.
    pub(crate) is_mute: bool,
}

impl Stream {
    pub(crate) fn sent(&mut self, text: &str) {
        self.sent += 1;
        self.history.push(text.to_owned());
        self.unacknowledged.push_back(text.to_owned());
    }

    /// The server has told this `h`.
    #[track_caller]
    pub(crate) fn covered(&mut self, h: u32) {
        assert!(
            (self.acknowledged..=self.sent).contains(&h),
            "h='{h}' after h='{}', and {} stanzas were sent",
            self.acknowledged,
            self.sent
        );
        let count = (h - self.acknowledged) as usize;
        self.promised.extend(self.unacknowledged.drain(..count));
        self.acknowledged = h;
    }
}

impl World {
    /// `<enable/>`; the answer comes as everything does.
    pub(crate) fn enable(&mut self, name: &str, resume: bool) {
        self.streams += 1;
        let request = EnableRequest {
            resume,
            max: None,
            random: [self.streams; _],
        };
        let now = self.now();
        let client = self.clients.get_mut(name).expect(name);
        assert!(self.router.enable(now, &client.bound, &request, &mut self.turn));
        client.stream = Some(Stream::default());
        self.turn.finish();
    }

    /// Online, with carbons and a stream that can be resumed.
    pub(crate) fn managed(&mut self, names: &[&str]) {
        for name in names {
            self.connect(name);
            self.enable(name, true);
            self.carbons(name);
            self.send(name, "<presence/>");
        }
        self.forget();
    }

    pub(crate) fn carbons(&mut self, name: &str) {
        self.send(name, "<iq type='set' id='c'><enable xmlns='urn:xmpp:carbons:2'/></iq>");
    }

    pub(crate) fn stream(&mut self, name: &str) -> &mut Stream {
        self.clients
            .get_mut(name)
            .expect(name)
            .stream
            .as_mut()
            .expect("a managed stream")
    }

    /// `<a/>`.
    pub(crate) fn acknowledge(&mut self, name: &str) {
        let client = &self.clients[name];
        let h = client.stream.as_ref().expect("a managed stream").got;
        let result = self.router.acknowledged(&client.bound, h, &mut self.turn);
        assert_eq!(result, Some(Ok(())), "{name} has got {h}");
        self.turn.finish();
    }

    /// `<r/>`.
    pub(crate) fn ask_for_h(&mut self, name: &str) {
        assert!(self.clients[name].outbox.requested(&mut self.turn));
        self.turn.finish();
    }

    /// What the server says when asked how many stanzas it has handled, once everything has settled.
    pub(crate) fn h(&mut self, name: &str) -> u32 {
        // What it has sent before has been read then.
        while self.clients[name].carried.is_some() && self.store.step() {
            self.pump(name);
        }
        self.ask_for_h(name);
        self.settle();
        self.stream(name).acknowledged
    }

    /// XEP-0352.
    pub(crate) fn set_active(&mut self, name: &str, active: bool) {
        self.clients[name].outbox.set_active(active, &mut self.turn);
        self.turn.finish();
    }

    /// The connection breaks; the stream can be resumed. What had come until then is in `inbox`.
    pub(crate) fn detach(&mut self, name: &str) -> Stream {
        let mut client = self.clients.remove(name).expect(name);
        let unsent = self.end(&client, false);
        assert!(unsent.is_empty(), "{name} is not resumable");
        client.stream.take().expect("a managed stream")
    }

    /// Goes on with a stream. The client has `h` of the server then, and sends again what is not covered.
    pub(crate) fn resume(&mut self, name: &str, stream: Stream) -> Result<(), NotResumed> {
        let outbox = self.resumption(name, &stream);
        self.resumed(name, &outbox, stream)
    }

    /// `<resume/>` alone.
    pub(crate) fn resumption(&mut self, name: &str, stream: &Stream) -> Arc<Outbox> {
        let outbox = Outbox::new(OUTBOX);
        let request = ResumeRequest {
            account: Jid::parse(&full(bare(name))).expect("a JID"),
            previd: stream.id.as_deref().expect("resumable").into(),
            h: stream.got,
            outbox: Arc::clone(&outbox),
            access: self.access.clone(),
        };
        self.router.resume(self.now(), request, &mut self.turn);
        self.turn.finish();
        outbox
    }

    /// Waits for the answer to [`World::resumption`].
    pub(crate) fn resumed(&mut self, name: &str, outbox: &Arc<Outbox>, mut stream: Stream) -> Result<(), NotResumed> {
        let resumed = loop {
            if let Some(event) = outbox.take(Waker::noop(), false).events.pop() {
                let Event::Resumed(resumed) = event else {
                    panic!("{name} is told something else")
                };
                break resumed?;
            }
            assert!(self.store.step(), "{name} is not told whether its stream goes on");
        };
        assert_eq!(stream.id.as_deref(), Some(&*resumed.id));
        assert_eq!(resumed.bound.jid.as_str(), full(name));
        stream.covered(resumed.h);
        let again = std::mem::take(&mut stream.unacknowledged);
        stream.sent = resumed.h;
        stream.history.truncate(resumed.h as usize);
        let client = Client {
            bound: resumed.bound,
            outbox: Arc::clone(outbox),
            inbox: Vec::new(),
            answers_pings: true,
            reads: true,
            carried: None,
            stream: Some(stream),
        };
        self.clients.insert(name.to_owned(), client);
        for text in again {
            self.send(name, &text);
        }
        Ok(())
    }

    /// The counter of a stream on disk.
    pub(crate) fn mark(&self, stream: &Stream) -> Option<i64> {
        let owner_key = &stream.id.as_deref().expect("resumable")[..16];
        let bytes: Vec<u8> = (0..16)
            .step_by(2)
            .map(|at| u8::from_str_radix(&owner_key[at..at + 2], 16).expect("hex"))
            .collect();
        let key = i64::from_le_bytes(bytes.try_into().expect("8 bytes"));
        self.ask(Query::Mark { key }).mark().expect("a mark")
    }
}
