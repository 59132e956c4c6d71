//! A stream that another server opens, up to where stanzas may come over it.

use std::sync::Arc;

use auth::Failure;
use router::{Bound, Event, NotResumed, Pair, ResumeRemote, Resumed, Vouched, WayBack};
use stanza::{Condition, StanzaError, StreamError, ns};
use xmlstream::{Element, Header, Limits};

use super::dialback::{self, Kind, Said};
use super::header::{self, Opening};
use super::peered::Peered;
use super::{Claim, ServerConfig, max_bytes};
use crate::core::{Context, Next};
use crate::negotiation::random_text;

/// Attempts to show who the other is, and to resume a stream, that may fail on one stream.
const ATTEMPTS: u8 = 5;
/// Elements of dialback on one stream before it is authenticated. One is usual; some only ask for keys to be verified.
const DIALBACKS: u8 = 32;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Phase {
    /// Expects a stream header.
    Header,
    /// Waits to hear whom the certificate speaks for.
    Vouching,
    /// Expects what the features offer.
    Features,
    /// Expects the answer to a challenge: the identity for EXTERNAL.
    Challenged,
    /// Waits for the TLS handshake.
    Tls,
    /// Waits for the router to take the stream, or to resume one.
    Admitting,
}

/// Until stanzas are taken.
pub(crate) struct Incoming {
    pub(crate) config: Arc<ServerConfig>,
    phase: Phase,
    secured: bool,
    /// Our header of the current stream was written.
    opened: bool,
    restart: bool,
    /// What was read last is to be read again.
    unread: bool,
    /// Of the current stream: our domain, theirs, and the id that we gave it.
    local: Option<Box<str>>,
    remote: Option<Box<str>>,
    id: String,
    lang: Option<Box<str>>,
    /// What the certificate is worth for the other domain.
    vouched: Vouched,
    failures: u8,
    dialbacks: u8,
    /// Whose dialback key is being verified.
    verifying: Option<Pair>,
    /// The pair that the stream is for.
    authenticated: Option<Pair>,
    /// When what has shown that ends, in seconds since 1970.
    pub(crate) ends_at: Option<i64>,
    /// The other wants both directions on this stream.
    way_back: Option<WayBack>,
    /// By what it has shown there is none.
    is_one_way: bool,
}

impl Incoming {
    pub(crate) fn new(config: Arc<ServerConfig>, secured: bool) -> Incoming {
        Incoming {
            config,
            phase: Phase::Header,
            secured,
            opened: false,
            restart: false,
            unread: false,
            local: None,
            remote: None,
            id: String::new(),
            lang: None,
            vouched: Vouched::default(),
            failures: 0,
            dialbacks: 0,
            verifying: None,
            authenticated: None,
            ends_at: None,
            way_back: None,
            is_one_way: false,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        match self.authenticated {
            None => &self.config.before_login,
            Some(_) => &self.config.after_login,
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Vouching | Phase::Tls | Phase::Admitting)
    }

    /// The router was asked to take the stream and has not answered.
    pub(crate) fn is_admitting(&self) -> bool {
        self.phase == Phase::Admitting
    }

    pub(crate) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restart)
    }

    pub(crate) fn take_unread(&mut self) -> bool {
        std::mem::take(&mut self.unread)
    }

    /// RFC 6120 section 5.4.3.3, rule 2: nothing that was said in the clear is kept.
    pub(crate) fn secured(&mut self) {
        let dialbacks = self.dialbacks;
        *self = Incoming::new(Arc::clone(&self.config), true);
        self.dialbacks = dialbacks;
    }

    /// Writes our header of the current stream unless it was written.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>) {
        if self.opened {
            return;
        }
        self.opened = true;
        self.id = random_text(cx);
        let domain = self.local.as_deref().unwrap_or(&self.config.default_domain);
        header::write(cx.out, domain, self.remote.as_deref(), Some(&self.id));
    }

    pub(crate) fn header(&mut self, header: &Header<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let opening = Opening::read(header);
        let rules = &self.config.rules;
        self.local = opening.to.filter(|domain| rules.is_ours(domain));
        self.remote = opening.from;
        self.lang = opening.lang;
        self.open(cx);
        if let Some(fault) = opening.fault {
            return Err(fault);
        }
        // Section 4.9.3.6, also for who names none.
        let Some(local) = &self.local else {
            return Err(StreamError::host_unknown());
        };
        if let Some(pair) = &self.authenticated {
            // The pair that was authenticated stays (attacks.md, row 24). Who does not name itself again is who it was.
            if pair.local != *local {
                return Err(StreamError::host_unknown());
            }
            if self.remote.as_ref().is_some_and(|remote| pair.remote != *remote) {
                return Err(StreamError::invalid_from());
            }
        }
        let Some(remote) = &self.remote else {
            self.write_features(cx);
            return Ok(Next::Read);
        };
        // Nobody but this server speaks for its own domains.
        if self.config.rules.is_ours(remote) {
            return Err(StreamError::invalid_from());
        }
        let pair = Pair::new(local, remote);
        if !self.config.rules.may_talk(&pair) {
            cx.shell.note_server(&pair.remote, "it is not to be talked with");
            return Err(StreamError::policy_violation().text("this server does not talk with that domain"));
        }
        if self.secured && self.authenticated.is_none() {
            match cx.shell.certifies(&pair) {
                Some(vouched) => self.vouched = vouched,
                None => {
                    self.phase = Phase::Vouching;
                    return Ok(Next::Wait);
                }
            }
        }
        self.write_features(cx);
        Ok(Next::Read)
    }

    /// Section 4.3.2.
    fn write_features(&mut self, cx: &mut Context<'_>) {
        self.phase = Phase::Features;
        let mut features = String::from("<stream:features>");
        let is_authenticated = self.authenticated.is_some();
        if is_authenticated {
            features.push_str(&format!("<sm xmlns='{}'/>", ns::SM));
        } else if !self.secured {
            features.push_str(&format!("<starttls xmlns='{}'><required/></starttls>", ns::TLS));
        } else {
            if self.vouched.is_proved {
                let (ns, mechanism) = (ns::SASL, "<mechanism>EXTERNAL</mechanism>");
                features.push_str(&format!("<mechanisms xmlns='{ns}'>{mechanism}</mechanisms>"));
            }
            if self.may_dial_back() {
                features.push_str(&format!(
                    "<dialback xmlns='{}'><errors/></dialback>",
                    ns::DIALBACK_FEATURE
                ));
            }
        }
        // XEP-0288 section 2: "both before and after TLS negotiation".
        if self.config.bidirectional && !is_authenticated && !self.vouched.is_one_way {
            features.push_str(&format!("<bidi xmlns='{}'/>", ns::BIDI_FEATURE));
        }
        // Behind dialback there are no features any more: what is said before it has to hold for the stanzas (XEP-0478
        // section 4), though no key is as long.
        let is_last = is_authenticated || self.secured && self.may_dial_back();
        features.push_str(&self.config.stream_limits(is_last));
        features.push_str("</stream:features>");
        cx.out.extend_from_slice(features.as_bytes());
    }

    fn way_back(&self) -> Option<WayBack> {
        self.way_back.filter(|_| !self.is_one_way)
    }

    /// Whether dialback may help who has opened the stream. Who has not named itself is told when it names a pair.
    fn may_dial_back(&self) -> bool {
        match (&self.local, &self.remote) {
            (Some(local), Some(remote)) => self.config.rules.may_dial_back(&Pair::new(local, remote)),
            _ => false,
        }
    }

    pub(crate) fn element(&mut self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        match (self.phase, element.ns(), element.name()) {
            (Phase::Features, ns::TLS, "starttls") => Ok(self.start_tls(cx)),
            (Phase::Features, ns::DIALBACK, _) => self.dialback(element, cx),
            // Row 53 of the faults, and nothing is looked at that may have been changed on the way.
            (Phase::Features, ..) if !self.secured => {
                Err(StreamError::policy_violation().text("this server talks with others by TLS only"))
            }
            (Phase::Features | Phase::Challenged, ns::SASL, name) if self.authenticated.is_none() => {
                self.sasl(name, element, cx)
            }
            // Section 6.3.4: authenticated once, a stream cannot be authenticated again.
            (Phase::Features, ns::SASL, _) => Err(StreamError::policy_violation()),
            (Phase::Features, ns::BIDI, "bidi") if self.config.bidirectional => {
                let limits = element.children().find(|child| child.is("limits", ns::STREAM_LIMITS));
                self.way_back = Some(WayBack {
                    max_bytes: limits.and_then(|limits| max_bytes(&limits)),
                });
                Ok(Next::Read)
            }
            (Phase::Features, ..) => match self.authenticated.clone() {
                Some(pair) if element.is("resume", ns::SM) => self.resume(&pair, element, cx),
                // Not before it is clear that no earlier stream goes on.
                Some(pair) => {
                    self.unread = true;
                    self.phase = Phase::Admitting;
                    cx.router.admit(cx.now, &pair, cx.outbox, self.way_back(), cx.turn);
                    Ok(Next::Wait)
                }
                None if element.ns() == ns::SERVER => Err(StreamError::not_authorized()),
                None => Err(StreamError::unsupported_stanza_type()),
            },
            _ => Err(StreamError::bad_format()),
        }
    }

    /// Section 5.4.2.
    fn start_tls(&mut self, cx: &mut Context<'_>) -> Next {
        if self.secured {
            cx.out
                .extend_from_slice(format!("<failure xmlns='{}'/>", ns::TLS).as_bytes());
            return Next::Close;
        }
        cx.out
            .extend_from_slice(format!("<proceed xmlns='{}'/>", ns::TLS).as_bytes());
        self.phase = Phase::Tls;
        Next::StartTls
    }

    /// EXTERNAL, as XEP-0178 section 3 has it.
    fn sasl(&mut self, name: &str, element: &Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        // One way at a time.
        if self.verifying.is_some() {
            return Err(StreamError::policy_violation());
        }
        let is_challenged = self.phase == Phase::Challenged;
        self.phase = Phase::Features;
        let data = match name {
            "auth" if element.attr("mechanism").as_deref() != Some("EXTERNAL") => {
                return self.failed(Failure::InvalidMechanism, cx);
            }
            "auth" => match auth::decode(&element.text()) {
                Ok(Some(data)) => data,
                Ok(None) => {
                    cx.out
                        .extend_from_slice(format!("<challenge xmlns='{}'>=</challenge>", ns::SASL).as_bytes());
                    self.phase = Phase::Challenged;
                    return Ok(Next::Read);
                }
                Err(failure) => return self.failed(failure, cx),
            },
            "response" if is_challenged => match auth::decode(&element.text()) {
                Ok(data) => data.unwrap_or_default(),
                Err(failure) => return self.failed(failure, cx),
            },
            "response" => return self.failed(Failure::MalformedRequest, cx),
            "abort" => return self.failed(Failure::Aborted, cx),
            _ => return Err(StreamError::unsupported_stanza_type()),
        };
        let (Some(local), Some(remote), true) = (&self.local, &self.remote, self.vouched.is_proved) else {
            return self.failed(Failure::NotAuthorized, cx);
        };
        match auth::server_identity(&data) {
            Err(failure) => return self.failed(failure, cx),
            Ok(Some(identity)) if stanza::prepare_domain(identity).ok().as_deref() != Some(remote) => {
                return self.failed(Failure::InvalidAuthzid, cx);
            }
            Ok(_) => {}
        }
        self.authenticated = Some(Pair::new(local, remote));
        self.ends_at = self.vouched.until;
        // By dialback it is not: who is asked about the key has shown what the DNS says.
        self.is_one_way = self.vouched.is_one_way;
        cx.out
            .extend_from_slice(format!("<success xmlns='{}'/>", ns::SASL).as_bytes());
        // Section 6.4.6: both sides begin a new stream.
        self.restart = true;
        self.opened = false;
        self.phase = Phase::Header;
        Ok(Next::Read)
    }

    /// The stream goes on where there is another way, or something is left to say better.
    fn failed(&mut self, failure: Failure, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        failure.write(cx.out);
        if let Some(remote) = &self.remote {
            cx.shell.note_server(remote, "its certificate does not speak for it");
        }
        if !self.vouched.is_proved && !self.may_dial_back() {
            return Ok(Next::Close);
        }
        self.count_failure()?;
        Ok(Next::Read)
    }

    fn count_failure(&mut self) -> Result<(), StreamError> {
        self.failures += 1;
        if self.failures >= ATTEMPTS {
            return Err(StreamError::policy_violation().text("too many failed attempts"));
        }
        Ok(())
    }

    fn dialback(&mut self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        self.dialbacks += 1;
        if self.dialbacks > DIALBACKS {
            return Err(StreamError::policy_violation().text("too much dialback on one stream"));
        }
        // Answers are to requests, and none was sent on this stream (XEP-0220 section 3.1).
        let Some(said) = Said::read(element)?.filter(|said| said.verdict.is_none()) else {
            return Ok(Next::Read);
        };
        let answer = match said.kind {
            _ if !self.secured => said.answer(Err(&StanzaError::policy_violation())),
            Kind::Verify => said.verify(&self.config),
            // It is proved already, as a stream with stanzas answers too.
            Kind::Result if self.authenticated.as_ref() == Some(&said.pair()) => said.answer(Ok(true)),
            Kind::Result => match self.claim(&said, cx) {
                Ok(()) => return Ok(Next::Read),
                Err(error) => said.answer(Err(&error)),
            },
        };
        cx.out.extend_from_slice(answer.as_bytes());
        Ok(Next::Read)
    }

    /// A key is shown for a pair: has it verified.
    fn claim(&mut self, said: &Said, cx: &mut Context<'_>) -> Result<(), StanzaError> {
        let (pair, rules) = (said.pair(), &self.config.rules);
        if !rules.is_ours(&pair.local) {
            return Err(StanzaError::item_not_found());
        }
        // One stream, one pair: "The initiating server should attempt to establish a new TCP connection" (section 2.5).
        if self.authenticated.is_some() || self.verifying.is_some() {
            return Err(StanzaError::resource_constraint());
        }
        if rules.is_ours(&pair.remote) || !rules.may_talk(&pair) || !rules.may_dial_back(&pair) {
            cx.shell.note_server(
                &pair.remote,
                "its certificate does not speak for it, and dialback is not taken",
            );
            return Err(StanzaError::not_authorized());
        }
        let claim = Claim {
            pair: pair.clone(),
            id: self.id.as_str().into(),
            key: said.key.clone(),
        };
        cx.shell.verify_key(claim)?;
        self.verifying = Some(pair);
        Ok(())
    }

    /// What the authoritative server says of the key.
    fn verified(&mut self, verdict: Result<bool, StanzaError>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let Some(pair) = self.verifying.take() else {
            return Ok(Next::Read);
        };
        let answer = dialback::answer(Kind::Result, &pair, None, verdict.as_ref().map(|&is_good| is_good));
        cx.out.extend_from_slice(answer.as_bytes());
        match verdict {
            Ok(true) => {
                self.authenticated = Some(pair);
                Ok(Next::Read)
            }
            Ok(false) => {
                cx.shell.note_server(&pair.remote, "its dialback key is wrong");
                // XEP-0220 section 2.2.1: "MUST close the XML stream".
                Ok(Next::Close)
            }
            Err(_) => {
                cx.shell
                    .note_server(&pair.remote, "its dialback key could not be verified");
                Ok(Next::Read)
            }
        }
    }

    /// The connection gives up. Who waits for a key to be verified hears of that first (XEP-0220 section 2.5).
    pub(crate) fn time_out(&mut self, cx: &mut Context<'_>) {
        if let Some(pair) = self.verifying.take() {
            let error = StanzaError::remote_server_timeout();
            let answer = dialback::answer(Kind::Result, &pair, None, Err(&error));
            cx.out.extend_from_slice(answer.as_bytes());
            cx.shell
                .note_server(&pair.remote, "its dialback key could not be verified in time");
        }
    }

    /// XEP-0198 section 5.
    fn resume(&mut self, pair: &Pair, element: &Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let h = element.attr("h").and_then(|h| h.parse().ok());
        let (Some(previd), Some(h)) = (element.attr("previd"), h) else {
            return self.not_resumed(&StanzaError::bad_request(), None, cx);
        };
        self.phase = Phase::Admitting;
        let request = ResumeRemote {
            pair: pair.clone(),
            previd: previd.as_ref().into(),
            h,
            outbox: Arc::clone(cx.outbox),
            way_back: self.way_back(),
        };
        cx.router.resume_remote(cx.now, request, cx.turn);
        Ok(Next::Wait)
    }

    fn not_resumed(&mut self, error: &StanzaError, h: Option<u32>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        cx.out.extend_from_slice(router::failed(error, h).as_bytes());
        self.count_failure()?;
        Ok(Next::Read)
    }

    pub(crate) fn event(&mut self, event: Event, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        match (self.phase, event) {
            (Phase::Vouching, Event::Vouched(vouched)) => {
                self.vouched = vouched;
                self.write_features(cx);
                Ok(Next::Read)
            }
            (_, Event::Verified(verdict)) => {
                let next = self.verified(verdict, cx)?;
                Ok(if next == Next::Read && self.is_waiting() {
                    Next::Wait
                } else {
                    next
                })
            }
            (Phase::Admitting, Event::Bound(Err(error))) => Err(match error.condition {
                Condition::ResourceConstraint => StreamError::resource_constraint(),
                Condition::Conflict => StreamError::conflict(),
                _ => StreamError::policy_violation(),
            }),
            (Phase::Admitting, Event::Resumed(Err(refusal))) => {
                self.phase = Phase::Features;
                match refusal {
                    NotResumed::NotFound { h } => self.not_resumed(&StanzaError::item_not_found(), h, cx),
                    NotResumed::Failed(error) => self.not_resumed(&error, None, cx),
                    NotResumed::TooHigh(too_high) => Err(crate::errors::too_high(too_high)),
                }
            }
            // Of what was not asked.
            _ if self.is_waiting() => Ok(Next::Wait),
            _ => Ok(Next::Read),
        }
    }

    /// The router has taken the stream.
    pub(crate) fn admitted(&mut self, bound: Bound) -> Peered {
        let pair = self.authenticated.take();
        Peered {
            bound,
            config: Arc::clone(&self.config),
            // Nothing is admitted that is not for a pair.
            pair: pair.unwrap_or_else(|| Pair::new("", "")),
            lang: self.lang.take(),
            is_ours: false,
            is_managed: false,
            is_bidirectional: self.way_back().is_some(),
            uncounted: 0,
        }
    }

    /// It goes on with an earlier one.
    pub(crate) fn resumed(&mut self, resumed: Resumed, cx: &mut Context<'_>) -> Peered {
        // The id was written by the server: hexadecimal digits.
        let (ns, id, h) = (ns::SM, &resumed.id, resumed.h);
        cx.out
            .extend_from_slice(format!("<resumed xmlns='{ns}' previd='{id}' h='{h}'/>").as_bytes());
        self.admitted(resumed.bound)
    }
}
