//! Stream management (XEP-0198) from the client's side: counters, acknowledgements, a connection that breaks and the
//! stream that is resumed.
//!
//! What belongs to stream management itself is kept out of what a test reads: `<r/>` and `<a/>` are counted when they
//! come, and never stand between the stanzas that a test expects. Nothing is acknowledged unless the test says so.

use std::collections::VecDeque;
use std::time::Duration;

use socket2::SockRef;
use tokio::time::timeout;

use crate::client::{Client, Conn, TIMEOUT, Transport};
use crate::reader::{Item, Reader};
use crate::remote::NS_DIALBACK;
use crate::stanza::{NS_STREAM, Stanza};
use crate::{ConnectOptions, NS_SASL2, Server};

/// Of stream management.
pub const NS_SM: &str = "urn:xmpp:sm:3";

/// How a connection is lost. In neither case has the stream been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A reset, as when the process dies with bytes unread.
    Reset,
    /// The end of TCP, without the end of TLS and of the stream.
    Fin,
}

impl Loss {
    pub const BOTH: [Loss; 2] = [Loss::Reset, Loss::Fin];
}

/// What a client keeps of a stream that it may resume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The full JID.
    pub jid: String,
    /// The SM-ID; empty where the server gave none.
    pub id: String,
    /// Stanzas that came, whether the test has looked at them or not.
    pub received: u32,
    /// Stanzas that were sent.
    pub sent: u32,
    /// The last `h` that the server told.
    pub acked: u32,
}

/// Stream management of one connection.
pub(crate) struct Management {
    pub(crate) id: String,
    received: u32,
    sent: u32,
    acked: u32,
    /// `<a/>` and `<r/>` that came.
    acks: usize,
    requests: usize,
    /// Whether `<r/>` is answered without being told to, and whether one waits for that.
    answers: bool,
    owed: bool,
    /// `<enabled/>` or `<resumed/>` has come; of a server that was asked for it: `<enable/>` has.
    pub(crate) active: bool,
    /// What was sent, cut into stanzas. None once it was no XML.
    outgoing: Option<Reader>,
}

fn is_stanza(element: &Stanza) -> bool {
    element.ns() == "jabber:client" && matches!(element.name(), "message" | "presence" | "iq")
}

fn is_sm(element: &Stanza, names: &[&str]) -> bool {
    element.ns() == NS_SM && names.contains(&element.name())
}

impl Management {
    fn new() -> Management {
        let mut outgoing = Reader::new();
        // The stream has been opened long ago.
        let opening =
            format!("<stream:stream xmlns='jabber:client' xmlns:stream='{NS_STREAM}' xmlns:db='{NS_DIALBACK}'>");
        let opened = outgoing.feed(opening.as_bytes(), &mut VecDeque::new());
        Management {
            id: String::new(),
            received: 0,
            sent: 0,
            acked: 0,
            acks: 0,
            requests: 0,
            answers: false,
            owed: false,
            active: false,
            outgoing: opened.is_ok().then_some(outgoing),
        }
    }

    /// Of a server that was asked to go on with a stream, of which the other side has had so much.
    pub(crate) fn resumed(session: &Session, h: u32) -> Management {
        let mut management = Management::new();
        session.id.clone_into(&mut management.id);
        management.received = session.received;
        (management.sent, management.acked, management.active) = (h, h, true);
        management
    }

    /// Counts what is sent.
    pub(crate) fn note_sent(&mut self, bytes: &[u8]) {
        let Some(outgoing) = &mut self.outgoing else {
            return;
        };
        let mut items = VecDeque::new();
        if outgoing.feed(bytes, &mut items).is_err() {
            // The stream ends by this, and nothing is counted behind it.
            self.outgoing = None;
        }
        let stanzas = items
            .iter()
            .filter(|item| matches!(item, Item::Stanza(stanza) if is_stanza(stanza)));
        self.sent += u32::try_from(stanzas.count()).expect("fewer stanzas");
    }

    /// Counts what came. Whether it is for stream management alone, or what is wrong with it.
    pub(crate) fn take(&mut self, stanza: &Stanza) -> Result<bool, String> {
        if is_stanza(stanza) {
            self.received += u32::from(self.active);
            return Ok(false);
        }
        if stanza.ns() == NS_SASL2 && stanza.name() == "success" {
            return self.take_inline(stanza).map(|()| false);
        }
        if stanza.ns() != NS_SM {
            return Ok(false);
        }
        match stanza.name() {
            "enabled" | "enable" => self.active = true,
            "resumed" => {
                self.active = true;
                self.sent = self.told(stanza)?;
                self.acked = self.sent;
            }
            "r" if self.active => {
                self.requests += 1;
                self.owed = self.answers;
                return Ok(true);
            }
            "a" if self.active => {
                let h = self.told(stanza)?;
                if h < self.acked || h > self.sent {
                    return Err(format!(
                        "the server acknowledges {h}, after {}, of {} that were sent",
                        self.acked, self.sent
                    ));
                }
                self.acked = h;
                self.acks += 1;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Enabled or resumed with the login (XEP-0198 section 9).
    fn take_inline(&mut self, success: &Stanza) -> Result<(), String> {
        if let Some(resumed) = success.get_child("resumed", NS_SM) {
            let h = resumed.attr("h").and_then(|h| h.parse().ok());
            self.sent = h.ok_or_else(|| format!("no number of stanzas: {success:?}"))?;
            self.acked = self.sent;
            self.active = true;
        } else if let Some(enabled) = success
            .get_child("bound", "urn:xmpp:bind:0")
            .and_then(|bound| bound.get_child("enabled", NS_SM))
        {
            enabled.attr("id").unwrap_or_default().clone_into(&mut self.id);
            (self.received, self.sent, self.acked, self.active) = (0, 0, 0, true);
        }
        Ok(())
    }

    fn told(&self, stanza: &Stanza) -> Result<u32, String> {
        let h = stanza.get("h");
        h.parse().map_err(|_| format!("no number of stanzas: {stanza:?}"))
    }

    /// What is to be sent now, where an answer is due and no stanza is half sent.
    pub(crate) fn answer(&self) -> Option<String> {
        let between = self.outgoing.as_ref().is_some_and(Reader::is_between);
        (self.owed && between).then(|| format!("<a xmlns='{NS_SM}' h='{}'/>", self.received))
    }

    pub(crate) fn answered(&mut self) {
        self.owed = false;
    }
}

impl Client {
    fn management(&self) -> &Management {
        match &self.management {
            Some(management) => management,
            None => self.fail("stream management was not asked for"),
        }
    }

    /// Whether stream management was asked for, and not refused.
    pub fn is_managed(&self) -> bool {
        self.management.is_some()
    }

    /// Counts from now on: for a test that writes `<enable/>` itself.
    pub fn count_stanzas(&mut self) {
        self.management = Some(Management::new());
    }

    /// Asks for a stream that can be resumed, and gets one. Returns `<enabled/>`.
    pub async fn enable(&mut self) -> Stanza {
        let enabled = self.enable_with(" resume='true'").await;
        if enabled.name() != "enabled" || !matches!(enabled.get("resume"), "true" | "1") || enabled.get("id").is_empty()
        {
            self.fail(&format!("no stream that can be resumed: {enabled:?}"));
        }
        enabled
    }

    /// `<enable/>` with these attributes, and `<enabled/>` or `<failed/>`.
    pub async fn enable_with(&mut self, attributes: &str) -> Stanza {
        self.count_stanzas();
        self.send(format!("<enable xmlns='{NS_SM}'{attributes}/>")).await;
        self.enabled().await
    }

    /// The answer to `<enable/>`.
    pub async fn enabled(&mut self) -> Stanza {
        let answer = self.wait_keeping(|stanza| is_sm(stanza, &["enabled", "failed"])).await;
        match &mut self.management {
            Some(management) if answer.name() == "enabled" => answer.get("id").clone_into(&mut management.id),
            _ => self.management = None,
        }
        answer
    }

    /// Whether `<r/>` is answered at once by what has come. Without this it never is.
    pub fn answer_requests(&mut self, answers: bool) {
        match &mut self.management {
            Some(management) => management.answers = answers,
            None => self.fail("stream management was not asked for"),
        }
    }

    /// Stanzas that came since `<enabled/>`, read by the test or not.
    pub fn received(&self) -> u32 {
        self.management().received
    }

    /// Stanzas sent since `<enable/>`, except by [`Client::send_while`].
    pub fn sent(&self) -> u32 {
        self.management().sent
    }

    /// The last `h` that the server told.
    pub fn acked(&self) -> u32 {
        self.management().acked
    }

    /// How often the server has told an `h`, and asked for one.
    pub fn acks(&self) -> usize {
        self.management().acks
    }

    pub fn requests(&self) -> usize {
        self.management().requests
    }

    /// Acknowledges everything that has come.
    pub async fn ack(&mut self) {
        self.ack_at(self.received()).await;
    }

    /// Tells any number.
    pub async fn ack_at(&mut self, h: u32) {
        self.send(format!("<a xmlns='{NS_SM}' h='{h}'/>")).await;
    }

    /// Asks, and does not wait.
    pub async fn request(&mut self) {
        self.send(format!("<r xmlns='{NS_SM}'/>")).await;
    }

    /// Asks until everything that was sent is acknowledged.
    pub async fn all_acked(&mut self) {
        self.acked_to(self.sent()).await;
    }

    /// Asks until so many stanzas are acknowledged. What the server has not made durable yet it may leave out of an
    /// answer, so one answer need not be the last.
    pub async fn acked_to(&mut self, h: u32) {
        let asking = async { while self.asked().await < h {} };
        if timeout(TIMEOUT, asking).await.is_err() || self.acked() != h {
            self.fail(&format!("{h} stanzas are to be acknowledged, {} are", self.acked()));
        }
    }

    /// Waits for the answer to an `<r/>` that is sent now. Returns its `h`.
    pub async fn asked(&mut self) -> u32 {
        let before = self.acks();
        self.request().await;
        let waiting = async {
            while self.acks() == before {
                self.read_some().await;
            }
        };
        if timeout(TIMEOUT, waiting).await.is_err() {
            self.fail("no <a/> comes");
        }
        self.acked()
    }

    /// What is kept for resuming.
    pub fn session(&self) -> Session {
        let management = self.management();
        Session {
            jid: self.jid.clone(),
            id: management.id.clone(),
            received: management.received,
            sent: management.sent,
            acked: management.acked,
        }
    }

    /// Loses the connection, with everything that is on its way.
    pub fn lose(self, how: Loss) -> Session {
        let session = self.session();
        if let (Loss::Reset, Some(stream)) = (how, self.conn.tcp()) {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
        if let Conn::Bosh(carried) = &self.conn {
            carried.cut();
        }
        session
    }

    /// A new connection that resumes a stream, which must succeed. What was not acknowledged has not been read yet.
    pub async fn resume(server: &Server, transport: Transport, session: &Session) -> Client {
        let mut client = Client::authenticated(server, transport, &session.jid).await;
        let answer = client.try_resume(session).await;
        if answer.name() != "resumed" || answer.get("previd") != session.id {
            client.fail(&format!("the stream is not resumed: {answer:?}"));
        }
        client
    }

    /// The same from an address of the client's own.
    pub async fn resume_with(
        server: &Server,
        transport: Transport,
        session: &Session,
        options: ConnectOptions,
    ) -> Client {
        let mut client = Client::authenticated_with(server, transport, &session.jid, options).await;
        let answer = client.try_resume(session).await;
        if answer.name() != "resumed" || answer.get("previd") != session.id {
            client.fail(&format!("the stream is not resumed: {answer:?}"));
        }
        client
    }

    /// A new connection that tries to resume a stream, and the `<failed/>` that comes.
    pub async fn resume_in_vain(server: &Server, transport: Transport, session: &Session) -> (Client, Stanza) {
        let mut client = Client::authenticated(server, transport, &session.jid).await;
        let answer = client.try_resume(session).await;
        if answer.name() != "failed" {
            client.fail(&format!("the stream must not be resumed: {answer:?}"));
        }
        (client, answer)
    }

    /// Before a login by SASL2 that enables stream management, or resumes this session.
    pub fn manage_inline(&mut self, session: Option<&Session>) {
        let mut management = Management::new();
        if let Some(session) = session {
            session.id.clone_into(&mut management.id);
            management.received = session.received;
        }
        self.management = Some(management);
    }

    /// `<resume/>` on a stream behind SASL, and `<resumed/>` or `<failed/>`.
    pub async fn try_resume(&mut self, session: &Session) -> Stanza {
        let mut management = Management::new();
        session.id.clone_into(&mut management.id);
        management.received = session.received;
        self.management = Some(management);
        self.send(resume(&session.id, session.received)).await;
        let answer = self.wait_keeping(|stanza| is_sm(stanza, &["resumed", "failed"])).await;
        if answer.name() == "resumed" {
            session.jid.clone_into(&mut self.jid);
        } else {
            self.management = None;
        }
        answer
    }
}

/// The element.
pub fn resume(id: &str, h: u32) -> String {
    let id = id.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
    format!("<resume xmlns='{NS_SM}' previd='{id}' h='{h}'/>")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(text: &str) -> Stanza {
        Stanza::parse(text.to_owned()).expect("an element")
    }

    #[test]
    fn stanzas_are_counted_and_nothing_else() {
        let mut management = Management::new();
        let sent = "<enable xmlns='urn:xmpp:sm:3'/> <message><body>&lt;iq/></body></message>\n<r xmlns='urn:xmpp:sm:3'/>\
                    <iq type='get'><presence xmlns='x'/></iq><inactive xmlns='urn:xmpp:csi:0'/><presence/>";
        for piece in sent.as_bytes().chunks(7) {
            management.note_sent(piece);
        }
        assert_eq!(management.sent, 3);
        management.note_sent(b"<message>");
        assert_eq!(management.sent, 3);
        assert_eq!(management.take(&stanza("<message/>")), Ok(false));
        assert_eq!(management.received, 0, "not enabled yet");
        assert_eq!(management.take(&stanza("<enabled xmlns='urn:xmpp:sm:3'/>")), Ok(false));
        management.answers = true;
        for (text, is_management) in [
            ("<message/>", false),
            ("<presence/>", false),
            ("<r xmlns='urn:xmpp:sm:3'/>", true),
            ("<iq/>", false),
            ("<stream:error/>", false),
            ("<a xmlns='urn:xmpp:sm:3' h='2'/>", true),
        ] {
            assert_eq!(management.take(&stanza(text)), Ok(is_management), "{text}");
        }
        assert_eq!((management.received, management.acked), (3, 2));
        assert_eq!(management.answer(), None, "in the middle of a stanza");
        management.note_sent(b"</message>");
        assert_eq!(management.sent, 4);
        assert_eq!(management.answer(), Some("<a xmlns='urn:xmpp:sm:3' h='3'/>".to_owned()));
        for wrong in ["h='1'", "h='5'", "h='x'", "h=''", ""] {
            let wrong = stanza(&format!("<a xmlns='urn:xmpp:sm:3' {wrong}/>"));
            assert!(management.take(&wrong).is_err(), "{wrong:?}");
        }
    }
}
