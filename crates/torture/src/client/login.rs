//! From a TCP connection to a stream that stanzas go over: resumed if that is possible, otherwise bound anew.

use std::time::Duration;

use testkit::{password_of, plain};
use tokio::time::timeout;

use super::{Client, NS_CLIENT, NS_SM};
use crate::line::Line;
use crate::wire::{Lost, STREAM_ERROR, Wire, header};
use crate::world::Counts;
use crate::xml::Node;

/// All steps together. A server that is stopped for a while, or whose disk is full, lets one wait.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);
const NS_BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

impl Client {
    /// A stream that stanzas go over. What is to be sent again is in `self.again`, or has been sent.
    pub(super) async fn log_in(&mut self) -> Result<Wire, Lost> {
        let done = timeout(LOGIN_LIMIT, self.log_in_slowly()).await;
        done.unwrap_or_else(|_| Err("the login timed out".to_owned()))
    }

    async fn log_in_slowly(&mut self) -> Result<Wire, Lost> {
        let world = self.world.clone();
        let mut wire = Wire::connect(world.access_of(self.id)).await?;
        let domain = self.id.account().domain();
        open(&mut wire, domain).await?;
        let jid = self.id.account().jid();
        let password = password_of(&jid);
        let auth = plain("", &self.id.account().to_string(), &password);
        wire.send(&format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'>{auth}</auth>"));
        let answer = wire.element().await?;
        if !answer.is("success", NS_SASL) {
            return Err(format!("the login was refused: {}", answer.condition()));
        }
        wire.restart();
        let features = open(&mut wire, domain).await?;
        let offers_sm = features.child("sm", NS_SM).is_some();
        if !offers_sm && self.facts.is_managed {
            return Err("stream management (XEP-0198) is not offered".to_owned());
        }
        if let Some(id) = self.line.as_ref().and_then(|line| line.id.clone())
            && self.resume(&mut wire, &id).await?
        {
            return Ok(wire);
        }
        self.end_line();
        self.bind(&mut wire).await?;
        Counts::add(&world.counts.logins);
        Ok(wire)
    }

    /// True: it is resumed. False: the server does not know it any more, so a resource may be bound. What h covers is
    /// acknowledged in both cases.
    async fn resume(&mut self, wire: &mut Wire, id: &str) -> Result<bool, Lost> {
        let Some(line) = &self.line else { return Ok(false) };
        let h = line.received;
        self.tells(format!("resumes stream {} with h {h}", line.number));
        wire.send(&format!("<resume xmlns='{NS_SM}' h='{h}' previd='{}'/>", attribute(id)));
        let answer = match wire.element().await {
            Ok(answer) => answer,
            Err(why) if why.starts_with(STREAM_ERROR) => return Err(self.refused_for_good(&why)),
            Err(why) => return Err(why),
        };
        let h = answer.attr("h").and_then(|h| h.parse::<u32>().ok());
        if answer.is("resumed", NS_SM) {
            let Some(h) = h else {
                self.violated("G2", format!("{}: <resumed/> without h", self.id));
                return Err("<resumed/> without h".to_owned());
            };
            Counts::add(&self.world.counts.resumed);
            self.tells(format!("has resumed stream {}, h {h}", self.streams));
            self.acknowledged(h, "resumed");
            self.resend_on_line(wire);
            return Ok(true);
        }
        if !answer.is("failed", NS_SM) {
            return Err(format!("<resume/> was answered with <{}/>", answer.name));
        }
        if answer.condition() != "item-not-found" {
            // Not the answer to whether it is there: it is asked again.
            return Err(format!("<resume/> failed: {}", answer.condition()));
        }
        self.tells(format!("could not resume stream {}, h {h:?}", self.streams));
        self.not_resumed(h);
        Ok(false)
    }

    /// A stream error for `<resume/>`: it would come again and again, so the stream is given up. We count as we should, so
    /// the server does not.
    fn refused_for_good(&mut self, why: &str) -> Lost {
        let (number, received) = self.line.as_ref().map_or((0, 0), |line| (line.number, line.received));
        // Told while the server shuts down it says nothing of the stream.
        if !why.contains("system-shutdown") {
            self.violated("G2", format!("{}: stream {number} with h {received}: {why}", self.id));
            self.end_line();
        }
        why.to_owned()
    }

    fn not_resumed(&mut self, h: Option<u32>) {
        let world = self.world.clone();
        let Some(line) = &self.line else { return };
        let (number, acked) = (line.number, line.durable());
        if line.crashes == world.crashes_of(self.id) {
            self.violated(
                "G7",
                format!(
                    "{}: stream {number} could not be resumed, though nothing has crashed since",
                    self.id
                ),
            );
        }
        match h {
            Some(h) => {
                Counts::add(&world.counts.failed_with_h);
                self.acknowledged(h, "failed");
            }
            None => {
                Counts::add(&world.counts.failed_without_h);
                if acked > 0 {
                    self.violated(
                        "G2",
                        format!(
                            "{}: <failed/> without h for stream {number}, of which {acked} were acked durably",
                            self.id
                        ),
                    );
                }
            }
        }
    }

    async fn bind(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        let resource = self.id.resource();
        wire.send(&format!(
            "<iq type='set' id='bind'><bind xmlns='{NS_BIND}'><resource>{resource}</resource></bind></iq>"
        ));
        let answer = wire.element().await?;
        let bound = answer
            .child("bind", NS_BIND)
            .and_then(|bind| bind.child("jid", NS_BIND));
        match bound {
            Some(jid) if jid.text == self.jid() => {}
            Some(jid) => return Err(format!("bound to {} instead of {}", jid.text, self.jid())),
            None => return Err(format!("no resource was bound: {}", error_of(&answer))),
        }
        self.streams += 1;
        // What crashes from here on makes a later resumption impossible.
        let mut line = Line::new(self.streams, self.world.crashes_of(self.id));
        let is_managed = self.facts.is_managed;
        line.is_managed = is_managed;
        self.line = Some(line);
        if is_managed {
            wire.send(&format!("<enable xmlns='{NS_SM}' resume='true'/>"));
            self.wait_until_enabled(wire).await?;
        }
        self.tells(format!("has begun stream {}", self.streams));
        Ok(())
    }
}

impl Client {
    /// What is sent to the full JID may come before: nobody has to wait for presence (RFC 6121 section 8.5.3.1).
    async fn wait_until_enabled(&mut self, wire: &mut Wire) -> Result<(), Lost> {
        loop {
            let came = wire.element().await?;
            if came.is("enabled", NS_SM) {
                if let Some(line) = &mut self.line {
                    line.received = 0;
                    line.id = came.attr("id").map(str::to_owned);
                }
                return Ok(());
            }
            if came.is("failed", NS_SM) {
                return Err(format!("<enable/> failed: {}", came.condition()));
            }
            self.take(wire, &came)?;
        }
    }
}

/// Opens a stream and returns its features.
async fn open(wire: &mut Wire, domain: &str) -> Result<Node, Lost> {
    wire.send(&header(domain));
    wire.element().await
}

pub(super) fn error_of(stanza: &Node) -> String {
    let error = stanza.child("error", NS_CLIENT);
    error.map_or("no error is told".to_owned(), |error| error.condition().to_owned())
}

/// An id is the server's, and may have any characters (XEP-0198 section 5).
fn attribute(text: &str) -> String {
    crate::xml::escape(text).replace('\'', "&apos;")
}
