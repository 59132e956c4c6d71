//! A stream that we open to another server, up to where stanzas can go over it; or one over which nothing is done but to
//! have a dialback key verified (XEP-0220 section 2.1.2).
//!
//! A machine of its own, driven by whoever has the socket: [`Outgoing::begin`], then [`Outgoing::handle_bytes`] with what
//! came, and what [`Then`] says. The certificate of the other is the driver's to check, before [`Outgoing::secured`].

mod read;

use std::sync::Arc;

use router::{FailureKind, Linked, Pair, Resume};
use stanza::{StreamError, ns};
use xmlstream::{Element, Event, Framer, Header, Limits, Scratch};

use super::dialback::{self, Kind, Said, Verdict};
use super::header::{self, Answer};
use super::{Claim, ServerConfig};
use crate::errors::stream_error;
use read::{Ended, Features};

/// Elements of the peer in one attempt that are no stanzas. A dozen are usual.
const MAX_ELEMENTS: u32 = 64;
/// Bytes of stanzas that may come before all is settled, besides the last one. A server like this one sends half of it
/// before it waits to hear what has arrived, and it may have waited for a way to us.
const EARLY_BYTES: usize = 1024 * 1024;
/// No server takes less of a stanza (RFC 6120 section 13.12). Who says before the login that it takes no more means what comes
/// before that.
const LEAST_STANZA: usize = 10_000;
/// For how long a stream can be resumed where the peer does not say it (XEP-0198 section 3 has `max` as optional).
const RESUME_SECONDS: u32 = 300;

/// What a stream is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    Stanzas {
        resume: Option<Resume>,
    },
    /// The key of this claim is verified. The pair of the attempt is that of the claim.
    Verify(Claim),
}

/// A stream to be made.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub config: Arc<ServerConfig>,
    pub pair: Pair,
    /// TLS is in place already (XEP-0368).
    pub secured: bool,
    pub purpose: Purpose,
}

/// What the driver does next, after it has written what was to be said.
#[derive(Debug)]
pub enum Then {
    /// Read on.
    Read,
    /// Begin the TLS handshake, throw away whatever else was read, and call [`Outgoing::secured`] when it is over and the
    /// certificate is good.
    StartTls,
    /// The stream is there. What was not consumed is for it.
    Established(Box<Established>),
    /// What the authoritative server says of the key.
    Verified(bool),
    Failed(Failed),
}

/// A stream that is there: for [`StreamCore::established`](crate::StreamCore::established).
pub struct Established {
    pub linked: Linked,
    pub pair: Pair,
    /// When the certificate that the peer has shown ends, in seconds since 1970, where it counts. For the driver to say, who
    /// has looked at it.
    pub ends_at: Option<i64>,
    /// Stanzas that came already, to be put before what follows.
    pub early: Vec<u8>,
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) framer: Framer,
    pub(crate) lang: Option<Box<str>>,
    /// How many stanzas [`Established::early`] has: they came before anything was counted (XEP-0198 section 4).
    pub(crate) uncounted: u32,
}

impl std::fmt::Debug for Established {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Established")
            .field("linked", &self.linked)
            .field("pair", &self.pair)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What answers has no such domain.
    NoSuchHost,
    NoTls,
    /// It does not believe that we are who we are, and so neither this attempt nor another helps.
    NotAuthorized,
    /// The same, as our dialback key is said not to be ours.
    WrongKey,
    /// It has ended the stream, or the connection.
    Ended,
    /// It does not speak as RFC 6120 has it.
    Malformed,
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub reason: Reason,
    /// For whoever has sent something.
    pub text: String,
}

impl Failed {
    pub fn failure(&self) -> router::Failure {
        router::Failure {
            kind: match self.reason {
                Reason::NoSuchHost => FailureKind::NotFound,
                Reason::WrongKey => FailureKind::Disbelieved,
                _ => FailureKind::Timeout,
            },
            text: self.text.clone(),
        }
    }
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Header, features, errors of the stream.
    Stream,
    Tls,
    Authentication,
    Management,
}

/// A step, for whoever asks why a domain is out of reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub stage: Stage,
    pub is_good: bool,
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Expects the peer's header.
    Header,
    Features,
    /// `<starttls/>` was sent.
    Proceed,
    /// The handshake of TLS is under way, or all is over: nothing is read.
    Deaf,
    /// `<auth/>` was sent.
    Sasl,
    /// A dialback key was sent, to be taken or to be verified.
    Dialback,
    /// `<resume/>` was sent.
    Resuming,
    /// `<enable/>` was sent.
    Enabling,
}

/// See the module.
pub struct Outgoing {
    attempt: Attempt,
    framer: Framer,
    phase: Phase,
    secured: bool,
    is_authenticated: bool,
    /// `<bidi/>` was sent.
    is_bidirectional: bool,
    /// What the header of the current stream says.
    answer: Option<Answer>,
    /// What the last features said.
    features: Features,
    elements: u32,
    /// The peer has not resumed the stream, and says how many stanzas of it were handled.
    handled: Option<u32>,
    early: Vec<u8>,
    uncounted: u32,
    notes: Vec<Note>,
}

impl Outgoing {
    pub fn new(attempt: Attempt) -> Outgoing {
        Outgoing {
            secured: attempt.secured,
            attempt,
            framer: Framer::new(),
            phase: Phase::Header,
            is_authenticated: false,
            is_bidirectional: false,
            answer: None,
            features: Features::default(),
            elements: 0,
            handled: None,
            early: Vec::new(),
            uncounted: 0,
            notes: Vec::new(),
        }
    }

    /// The first thing that is said.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        self.phase = Phase::Header;
        self.answer = None;
        self.features = Features::default();
        self.framer.restart();
        let Pair { local, remote } = &self.attempt.pair;
        header::write(out, local, Some(remote), None);
    }

    /// TLS is in place, and the other has shown who it is. Nothing that was said in the clear is kept.
    pub fn secured(&mut self, out: &mut Vec<u8>) {
        self.secured = true;
        self.begin(out);
    }

    /// What was done since this was asked last.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// The connection has ended.
    pub fn ended(&mut self) -> Failed {
        let text = match self.phase {
            Phase::Header => "ends the connection before its stream begins",
            Phase::Sasl | Phase::Dialback => "ends the connection instead of saying whether it believes us",
            _ => "ends the connection before its stream is established",
        };
        self.failed(Stage::Stream, Reason::Ended, text)
    }

    /// The driver has waited long enough.
    pub fn timed_out(&mut self, out: &mut Vec<u8>) -> Failed {
        if self.phase != Phase::Deaf {
            StreamError::connection_timeout().write(out);
            out.extend_from_slice(b"</stream:stream>");
        }
        let text = match self.phase {
            Phase::Header => "takes the connection, but does not begin a stream",
            Phase::Sasl | Phase::Dialback => "does not say whether it believes us",
            _ => "does not go on with its stream",
        };
        self.phase = Phase::Deaf;
        self.failed(Stage::Stream, Reason::Ended, text)
    }

    /// Processes what came, up to the first thing that [`Then`] has to be done for. Returns how many bytes are used up.
    pub fn handle_bytes(&mut self, input: &[u8], scratch: &mut Scratch, out: &mut Vec<u8>) -> (usize, Then) {
        let mut consumed = 0;
        loop {
            if self.phase == Phase::Deaf {
                return (input.len(), Then::Read);
            }
            let rest = &input[consumed..];
            let limits = *self.limits();
            let (used, result) = match self.framer.next(rest, scratch, &limits) {
                Err(error) => (rest.len(), Err(self.refuse(stream_error(error), out))),
                Ok(step) => {
                    let result = match step.event {
                        Event::Incomplete => return (consumed + step.consumed, Then::Read),
                        Event::Header(header) => self.header(&header, out),
                        Event::Element(element) => self.element(&element, &rest[..step.consumed], out),
                        Event::Close => {
                            let text = "ends its stream before it is established";
                            Err(self.failed(Stage::Stream, Reason::Ended, text))
                        }
                    };
                    (step.consumed, result)
                }
            };
            consumed += used;
            match result {
                Ok(Then::Read) => {}
                Ok(then) => {
                    self.phase = Phase::Deaf;
                    // RFC 6120 section 5.4.3.3: nothing that came in the clear is looked at again.
                    let consumed = if matches!(then, Then::StartTls) {
                        input.len()
                    } else {
                        consumed
                    };
                    return (consumed, then);
                }
                Err(failed) => {
                    self.phase = Phase::Deaf;
                    out.extend_from_slice(b"</stream:stream>");
                    return (input.len(), Then::Failed(failed));
                }
            }
        }
    }

    fn limits(&self) -> &Limits {
        match self.is_authenticated {
            true => &self.attempt.config.after_login,
            false => &self.attempt.config.before_login,
        }
    }

    fn header(&mut self, header: &Header<'_>, out: &mut Vec<u8>) -> Result<Then, Failed> {
        let answer = Answer::read(header).map_err(|error| self.refuse(error, out))?;
        self.answer = Some(answer);
        self.phase = Phase::Features;
        Ok(Then::Read)
    }

    fn element(&mut self, element: &Element<'_>, raw: &[u8], out: &mut Vec<u8>) -> Result<Then, Failed> {
        let is_stanza = matches!(
            (element.ns(), element.name()),
            (ns::SERVER, "message" | "presence" | "iq")
        );
        if is_stanza && self.is_authenticated && self.is_bidirectional {
            return self.keep_early(raw);
        }
        self.elements += 1;
        if self.elements > MAX_ELEMENTS {
            let text = "says too much before its stream is established";
            return Err(self.failed(Stage::Stream, Reason::Malformed, text));
        }
        if element.is("error", ns::STREAM) {
            return Err(self.told(&Ended::read(element)));
        }
        match (self.phase, element.ns(), element.name()) {
            (Phase::Features, ns::STREAM, "features") => {
                self.features = Features::read(element);
                self.go_on(out)
            }
            (Phase::Proceed, ns::TLS, "proceed") => Ok(Then::StartTls),
            (Phase::Proceed, ns::TLS, _) => Err(self.failed(Stage::Tls, Reason::NoTls, "refuses TLS")),
            (Phase::Sasl, ns::SASL, "success") => {
                self.note(Stage::Authentication, true, "takes our certificate");
                self.is_authenticated = true;
                self.begin(out);
                Ok(Then::Read)
            }
            (Phase::Sasl, ns::SASL, "challenge") => {
                // What we are was said, and is all that there is to say.
                out.extend_from_slice(format!("<response xmlns='{}'>=</response>", ns::SASL).as_bytes());
                Ok(Then::Read)
            }
            (Phase::Sasl, ns::SASL, "failure") => {
                let condition = element.children().next().map_or("no reason", |child| child.name());
                self.note(
                    Stage::Authentication,
                    false,
                    format!("does not take our certificate ({condition})"),
                );
                self.dial_back(out)
            }
            (Phase::Dialback, ns::DIALBACK, _) => self.judged(element),
            // Unasked for, so it means nothing.
            (_, ns::DIALBACK, _) => Ok(Then::Read),
            (Phase::Resuming | Phase::Enabling, ns::SM, _) => self.managed(element, out),
            _ => Err(self.refuse(StreamError::unsupported_stanza_type(), out)),
        }
    }

    /// The features are there.
    fn go_on(&mut self, out: &mut Vec<u8>) -> Result<Then, Failed> {
        if !self.secured {
            if !self.features.starttls {
                return Err(self.failed(Stage::Tls, Reason::NoTls, "offers no TLS"));
            }
            self.note(Stage::Tls, true, "offers TLS");
            out.extend_from_slice(format!("<starttls xmlns='{}'/>", ns::TLS).as_bytes());
            self.phase = Phase::Proceed;
            return Ok(Then::Read);
        }
        if self.is_authenticated {
            return Ok(self.manage(out));
        }
        if let Purpose::Verify(Claim { id, key, .. }) = &self.attempt.purpose {
            let request = dialback::request(Kind::Verify, &self.attempt.pair, Some(id), key);
            out.extend_from_slice(request.as_bytes());
            self.phase = Phase::Dialback;
            return Ok(Then::Read);
        }
        if self.features.bidi && self.attempt.config.bidirectional {
            // XEP-0288 section 2: before either way to authenticate. XEP-0478 section 3.2: our limits have no other place.
            let limits = self.attempt.config.stream_limits(true);
            out.extend_from_slice(format!("<bidi xmlns='{}'>{limits}</bidi>", ns::BIDI).as_bytes());
            self.is_bidirectional = true;
        }
        if self.features.external {
            // XEP-0178 section 3: with the identity, "for backward compability".
            let identity = auth::encode(self.attempt.pair.local.as_bytes());
            let (ns, mechanism) = (ns::SASL, "EXTERNAL");
            out.extend_from_slice(format!("<auth xmlns='{ns}' mechanism='{mechanism}'>{identity}</auth>").as_bytes());
            self.phase = Phase::Sasl;
            return Ok(Then::Read);
        }
        self.note(Stage::Authentication, false, "does not offer to take our certificate");
        self.dial_back(out)
    }

    /// By dialback, where it is asked for, or allowed and understood; else there is no way. This is how we show who we are:
    /// whom we believe is decided by the peer's certificate, before this.
    fn dial_back(&mut self, out: &mut Vec<u8>) -> Result<Then, Failed> {
        let Attempt { config, pair, .. } = &self.attempt;
        let understands = self.features.dialback || self.answer.as_ref().is_some_and(|answer| answer.knows_dialback);
        let id = self.answer.as_ref().and_then(|answer| answer.id.as_deref());
        let is_wanted = self.features.dialback || config.rules.may_dial_back(pair);
        match id.filter(|_| understands && is_wanted) {
            None => Err(self.failed(
                Stage::Authentication,
                Reason::NotAuthorized,
                "does not believe that this server is who it is",
            )),
            Some(id) => {
                let key = auth::dialback_key(&config.dialback_secret, &pair.remote, &pair.local, id);
                let request = dialback::request(Kind::Result, pair, None, &key);
                out.extend_from_slice(request.as_bytes());
                self.phase = Phase::Dialback;
                Ok(Then::Read)
            }
        }
    }

    /// An answer about a key. Only the one to our request counts (XEP-0220 section 3.1).
    fn judged(&mut self, element: &Element<'_>) -> Result<Then, Failed> {
        let Ok(Some(said)) = Said::read(element) else {
            return Ok(Then::Read);
        };
        let (kind, id) = match &self.attempt.purpose {
            Purpose::Stanzas { .. } => (Kind::Result, None),
            Purpose::Verify(claim) => (Kind::Verify, Some(&claim.id)),
        };
        let is_ours =
            said.kind == kind && said.pair() == self.attempt.pair && id.is_none_or(|id| said.id.as_ref() == Some(id));
        let Some(verdict) = said.verdict.filter(|_| is_ours) else {
            return Ok(Then::Read);
        };
        let (good, bad) = match kind {
            Kind::Result => ("has verified us by dialback", "has found our dialback key to be wrong"),
            Kind::Verify => ("has made this dialback key", "has not made this dialback key"),
        };
        match (verdict, kind) {
            (Verdict::Valid, Kind::Result) => {
                self.note(Stage::Authentication, true, good);
                self.is_authenticated = true;
                // What the features say was said to a stranger, and no others follow.
                self.features.max_bytes = self.features.max_bytes.filter(|&bytes| bytes > LEAST_STANZA);
                Ok(self.establish(Linked::default()))
            }
            (Verdict::Invalid, Kind::Result) => Err(self.failed(Stage::Authentication, Reason::WrongKey, bad)),
            (verdict @ (Verdict::Valid | Verdict::Invalid), Kind::Verify) => {
                let is_good = verdict == Verdict::Valid;
                self.note(Stage::Authentication, is_good, if is_good { good } else { bad });
                Ok(Then::Verified(is_good))
            }
            (Verdict::Error(condition), _) => {
                let condition = condition.map_or("no reason", |condition| condition.name());
                let reason = match (kind, condition) {
                    // Section 2.5: "If an error is encountered in Step 3 ... the Receiving Server MUST send a
                    // <remote-server-not-found/>"; and in step 4 senders are told of a timeout, whatever it is.
                    (Kind::Verify, _) => Reason::NoSuchHost,
                    (Kind::Result, "not-authorized" | "forbidden" | "policy-violation") => Reason::NotAuthorized,
                    (Kind::Result, _) => Reason::Ended,
                };
                let text = format!("cannot do what dialback asks of it ({condition})");
                Err(self.failed(Stage::Authentication, reason, &text))
            }
        }
    }

    /// Authenticated: goes on with an earlier stream, or has this one managed, where the peer can.
    fn manage(&mut self, out: &mut Vec<u8>) -> Then {
        if !self.features.sm {
            self.note(Stage::Management, true, "does not acknowledge what it gets");
            return self.establish(Linked::default());
        }
        match &self.attempt.purpose {
            Purpose::Stanzas { resume: Some(resume) } => {
                let (ns, h) = (ns::SM, resume.h);
                out.extend_from_slice(format!("<resume xmlns='{ns}' h='{h}' previd='").as_bytes());
                xmlstream::escape_attr(out, &resume.id);
                out.extend_from_slice(b"'/>");
                self.phase = Phase::Resuming;
            }
            _ => self.enable(out),
        }
        Then::Read
    }

    fn enable(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("<enable xmlns='{}' resume='true'/>", ns::SM).as_bytes());
        self.phase = Phase::Enabling;
    }

    fn managed(&mut self, element: &Element<'_>, out: &mut Vec<u8>) -> Result<Then, Failed> {
        let h = element.attr("h").and_then(|h| h.parse().ok());
        match (self.phase, element.name()) {
            (Phase::Resuming, "resumed") => {
                let is_it = match &self.attempt.purpose {
                    Purpose::Stanzas { resume: Some(resume) } => element.attr("previd").as_deref() == Some(&*resume.id),
                    _ => false,
                };
                if !is_it || h.is_none() {
                    return Err(self.refuse(StreamError::bad_format(), out));
                }
                self.note(Stage::Management, true, "goes on with the stream that broke");
                Ok(self.establish(Linked {
                    is_managed: true,
                    resumable: element.attr("previd").map(|id| (id.as_ref().into(), RESUME_SECONDS)),
                    resumed: h,
                    ..Linked::default()
                }))
            }
            (Phase::Resuming, "failed") => {
                self.note(Stage::Management, true, "knows no more of the stream that broke");
                self.handled = h;
                self.enable(out);
                Ok(Then::Read)
            }
            (Phase::Enabling, "enabled") => {
                let may_resume = matches!(element.attr("resume").as_deref(), Some("true" | "1"));
                let max = element.attr("max").and_then(|max| max.parse().ok());
                let id = element.attr("id").filter(|_| may_resume);
                let resumable = id.map(|id| (id.as_ref().into(), max.unwrap_or(RESUME_SECONDS)));
                self.note(Stage::Management, true, "acknowledges what it gets");
                Ok(self.establish(Linked {
                    is_managed: true,
                    resumable,
                    ..Linked::default()
                }))
            }
            (Phase::Enabling, "failed") => {
                self.note(Stage::Management, false, "does not want to acknowledge what it gets");
                Ok(self.establish(Linked::default()))
            }
            // About what was not enabled yet.
            (_, "r" | "a") => Ok(Then::Read),
            _ => Err(self.refuse(StreamError::unsupported_stanza_type(), out)),
        }
    }

    /// A stanza that came before all is settled, by a stream in both directions: the peer may send as soon as it knows who
    /// we are, and does not count before it has said `<enabled/>`.
    fn keep_early(&mut self, raw: &[u8]) -> Result<Then, Failed> {
        if self.early.len() > EARLY_BYTES {
            let text = "sends too much before its stream is established";
            return Err(self.failed(Stage::Stream, Reason::Malformed, text));
        }
        self.early.extend_from_slice(raw);
        self.uncounted += 1;
        Ok(Then::Read)
    }

    fn establish(&mut self, linked: Linked) -> Then {
        let linked = Linked {
            is_bidirectional: self.is_bidirectional,
            handled: self.handled,
            max_bytes: self.features.max_bytes,
            ..linked
        };
        Then::Established(Box::new(Established {
            linked,
            pair: self.attempt.pair.clone(),
            ends_at: None,
            early: std::mem::take(&mut self.early),
            config: Arc::clone(&self.attempt.config),
            framer: std::mem::take(&mut self.framer),
            lang: self.answer.as_mut().and_then(|answer| answer.lang.take()),
            uncounted: self.uncounted,
        }))
    }

    fn note(&mut self, stage: Stage, is_good: bool, text: impl Into<String>) {
        let text = text.into();
        self.notes.push(Note { stage, is_good, text });
    }

    /// `what`: what the peer does, as it goes on behind its name.
    fn failed(&mut self, stage: Stage, reason: Reason, what: &str) -> Failed {
        self.note(stage, false, what);
        Failed {
            reason,
            text: format!("{} {what}", self.attempt.pair.remote),
        }
    }

    /// Says what is wrong with what the peer says.
    fn refuse(&mut self, error: StreamError, out: &mut Vec<u8>) -> Failed {
        error.write(out);
        let text = format!("does not speak as a server should ({})", error.condition.name());
        self.failed(Stage::Stream, Reason::Malformed, &text)
    }

    /// The peer has ended the stream with an error.
    fn told(&mut self, ended: &Ended) -> Failed {
        let reason = match &*ended.condition {
            "host-unknown" | "host-gone" => Reason::NoSuchHost,
            "not-authorized" | "policy-violation" | "invalid-from" => Reason::NotAuthorized,
            _ => Reason::Ended,
        };
        self.failed(Stage::Stream, reason, &format!("ends the stream: {ended}"))
    }
}
