//! From the first stream header to a bound resource (RFC 6120 sections 4 to 7).

mod inline;
mod registration;
mod tasks;

use std::sync::Arc;

use auth::Proof;
use module::Host;
use router::{Access, BindRequest, Bound, Event, Guest, NotResumed, ResumeRequest, Resumed};
use stanza::{Fault, IqType, Jid, Kind, Stanza, StanzaError, StreamError, ns, write_error};
use xmlstream::{Element, Limits};

use crate::config::{StreamConfig, TlsPolicy};
use crate::core::{Context, Next};
use crate::header::{self, Opening};
use crate::login::{self, At, Login, Outcome, Profile};
use crate::pipelining;
use inline::Sasl2;
use registration::Registering;

/// Random bytes in a stream id and in a generated resource: unguessable (section 4.7.3).
const RANDOM_BYTES: usize = 16;
/// Requests to bind that may fail on one stream: section 7.7.3 asks for 5 to 10.
const BIND_ATTEMPTS: u8 = 10;

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Phase {
    /// Expects a stream header.
    Header,
    /// Expects `<starttls/>`, `<auth/>` or, after authentication, a request to bind.
    Features,
    /// Waits for the TLS handshake.
    Tls,
    /// A task follows the login (XEP-0388 section 2.6.3): expects `<next/>` or `<task-data/>`.
    Task,
    /// Waits for what the task brought to be written.
    Upgrading,
    /// Waits for a login to be written down.
    Recording,
    /// Waits for the router to bind a resource.
    Binding,
}

pub(crate) struct Negotiation {
    pub(crate) config: Arc<StreamConfig>,
    phase: Phase,
    secured: bool,
    /// Our header of the current stream was written.
    opened: bool,
    restart: bool,
    host: Option<Arc<Host>>,
    from: Option<Jid>,
    pub(crate) lang: Option<String>,
    login: Login,
    /// Bare JID, once authenticated.
    account: Option<Jid>,
    /// The place of a guest who has logged in and has no resource yet.
    guest: Option<Guest>,
    /// When the certificate that the client has logged in by ends, in seconds since 1970.
    pub(crate) ends_at: Option<i64>,
    /// Which client it is, where its login was written down.
    access: Option<Access>,
    /// Id of the request to bind that is being worked on.
    bind_id: String,
    /// Requests to bind that have failed.
    bind_failures: u8,
    /// A login by SASL2, from its request to its success.
    sasl2: Option<Box<Sasl2>>,
    /// A `<continue/>` was sent.
    has_continued: bool,
    /// The version of the features that a login may go by.
    features: Option<Box<str>>,
    /// A login went by other features already.
    went_astray: bool,
    /// Somebody asks for an account.
    registering: Option<Box<Registering>>,
}

impl Negotiation {
    pub(crate) fn new(config: Arc<StreamConfig>, secured: bool) -> Negotiation {
        Negotiation {
            config,
            phase: Phase::Header,
            secured,
            opened: false,
            restart: false,
            host: None,
            from: None,
            lang: None,
            login: Login::default(),
            account: None,
            guest: None,
            ends_at: None,
            access: None,
            bind_id: String::new(),
            bind_failures: 0,
            sasl2: None,
            has_continued: false,
            features: None,
            went_astray: false,
            registering: None,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        match self.account {
            None => &self.config.before_login,
            Some(_) => &self.config.after_login,
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        let waits = [Phase::Tls, Phase::Upgrading, Phase::Recording, Phase::Binding];
        waits.contains(&self.phase)
            || self.login.is_waiting()
            || self
                .registering
                .as_ref()
                .is_some_and(|registering| registering.is_waiting())
    }

    /// The router was asked for a resource and has not answered.
    pub(crate) fn is_binding(&self) -> bool {
        self.phase == Phase::Binding
    }

    /// Section 5.4.3.3, rule 2: nothing that was said in the clear is kept.
    pub(crate) fn secured(&mut self) {
        self.secured = true;
        self.opened = false;
        self.phase = Phase::Header;
        self.host = None;
        self.from = None;
        self.lang = None;
        self.login.abandon();
        self.sasl2 = None;
        self.features = None;
        self.registering = None;
    }

    pub(crate) fn take_restart(&mut self) -> bool {
        std::mem::take(&mut self.restart)
    }

    /// Writes our header of the current stream unless it was written.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>) {
        if self.opened {
            return;
        }
        self.opened = true;
        let domain = self
            .host
            .as_ref()
            .map_or(self.config.default_domain.as_str(), |host| &host.domain);
        let id = random_text(cx);
        header::write(cx.out, domain, &id, self.from.as_ref());
    }

    pub(crate) fn expects_header(&self) -> bool {
        self.phase == Phase::Header
    }

    pub(crate) fn header(&mut self, opening: Opening, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        self.from = opening.from;
        self.lang = opening.lang;
        let host = opening.to.as_deref().and_then(|domain| cx.router.host(domain)).cloned();
        if let Some(account) = &self.account {
            // The domain that was authenticated for stays (attacks.md, row 24).
            if host.as_ref().map(|host| host.domain.as_str()) != Some(account.domain()) {
                self.open(cx);
                return Err(StreamError::host_unknown());
            }
        }
        let unknown = host.is_none();
        if host.is_some() {
            self.host = host;
        }
        self.open(cx);
        // XEP-0388 section 2.1.
        if let (Some(from), Some(host)) = (&self.from, &self.host)
            && from.domain() != host.domain
        {
            return Err(StreamError::invalid_from());
        }
        if let Some(fault) = opening.fault {
            return Err(fault);
        }
        if unknown {
            return Err(StreamError::host_unknown());
        }
        self.write_features(cx);
        self.phase = Phase::Features;
        Ok(Next::Read)
    }

    /// Section 4.3.2.
    fn write_features(&mut self, cx: &mut Context<'_>) {
        let Some(host) = &self.host else { return };
        let mut features = String::from("<stream:features>");
        if self.account.is_some() {
            features.push_str(&format!("<bind xmlns='{}'><required/></bind>", ns::BIND));
            features.push_str(&cx.router.registry().stream_features(host, &[]));
        } else {
            if !self.secured && self.config.tls != TlsPolicy::Off {
                let required = if self.config.tls == TlsPolicy::Required {
                    "<required/>"
                } else {
                    ""
                };
                features.push_str(&format!("<starttls xmlns='{}'>{required}</starttls>", ns::TLS));
            }
            if self.may_log_in() {
                let bind_features = cx.router.registry().bind_features();
                features.push_str(&login::features(
                    &self.config,
                    &host.domain,
                    self.secured,
                    cx.shell,
                    bind_features,
                ));
            }
            if self.secured {
                features.push_str(&registration::features(self.config.registration(&host.domain)));
            }
        }
        features.push_str(&self.config.stream_limits(self.account.is_some()));
        if self.secured && self.account.is_none() {
            let version = pipelining::version(&features, &self.config.secret);
            features.push_str(&pipelining::feature(&version));
            self.features = Some(version);
        }
        features.push_str("</stream:features>");
        cx.out.extend_from_slice(features.as_bytes());
    }

    fn may_log_in(&self) -> bool {
        self.secured || self.config.tls != TlsPolicy::Required
    }

    pub(crate) fn element(&mut self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        match self.phase {
            Phase::Features => {}
            Phase::Task => return self.task(element, cx),
            _ => return Err(StreamError::bad_format()),
        }
        // XEP-0388 section 2.4.
        if self.login.is_under_way(Profile::Sasl2) && element.ns() != ns::SASL2 {
            return Err(StreamError::policy_violation().text("a login is under way"));
        }
        match (element.ns(), element.name()) {
            (ns::TLS, "starttls") => Ok(self.start_tls(cx)),
            (ns::SASL | ns::SASL2, _) if self.account.is_none() => self.sasl(element, cx),
            // Section 6.3.4, XEP-0388 section 4.8: authenticated once, a stream cannot be authenticated again.
            (ns::SASL | ns::SASL2, _) => Err(StreamError::policy_violation()),
            (ns::SM, name) => self.stream_management(name, element, cx),
            (ns::CLIENT, "iq" | "message" | "presence") => match self.account.clone() {
                None => self.register(element, cx),
                Some(account) => self.before_binding(&account, element, cx),
            },
            _ => Err(StreamError::unsupported_stanza_type()),
        }
    }

    /// Section 5.4.2.
    fn start_tls(&mut self, cx: &mut Context<'_>) -> Next {
        if self.secured || self.config.tls == TlsPolicy::Off || self.account.is_some() {
            cx.out
                .extend_from_slice(format!("<failure xmlns='{}'/>", ns::TLS).as_bytes());
            return Next::Close;
        }
        cx.out
            .extend_from_slice(format!("<proceed xmlns='{}'/>", ns::TLS).as_bytes());
        self.phase = Phase::Tls;
        Next::StartTls
    }

    fn sasl(&mut self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let Some(host) = self.host.clone() else {
            return Err(StreamError::host_unknown());
        };
        // XEP-0388 section 4.8: whatever became of the task.
        if self.has_continued {
            return Err(StreamError::policy_violation());
        }
        let is_sasl2 = element.ns() == ns::SASL2;
        let is_outdated = |version| pipelining::is_outdated(element, version);
        if is_sasl2 && element.name() == "authenticate" && self.features.as_deref().is_some_and(is_outdated) {
            // Once without prejudice: behind it the client has seen the features, and an endless series is never right.
            if std::mem::replace(&mut self.went_astray, true) {
                return Err(StreamError::policy_violation().text("that version of the features is not this one"));
            }
            self.login.abandon();
            self.sasl2 = None;
            pipelining::failure(cx.out);
            return Ok(Next::Read);
        }
        // Each attempt begins with what it says itself: an earlier one, which failed, may have wanted more.
        match (is_sasl2, element.name()) {
            (true, "authenticate") => self.sasl2 = Some(Box::new(Sasl2::of(element, cx))),
            (false, "auth") => self.sasl2 = None,
            _ => {}
        }
        self.log_in(&host, cx, |login, at, cx| match is_sasl2 {
            true => login.element2(element, at, cx),
            false => login.element(element, at, cx),
        })
    }

    /// A step of the login.
    fn log_in(
        &mut self,
        host: &Host,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Login, &At<'_>, &mut Context<'_>) -> Outcome,
    ) -> Result<Next, StreamError> {
        let config = Arc::clone(&self.config);
        let wanted = self.sasl2.as_ref().map(|sasl2| &sasl2.wanted);
        let at = At {
            // XEP-0388 section 3: "only ... after TLS negotiation".
            allowed: self.may_log_in() && (self.secured || self.sasl2.is_none()),
            secured: self.secured,
            domain: &host.domain,
            config: &config,
            client: wanted.and_then(|wanted| wanted.agent.id.as_deref()),
            fast: wanted.and_then(|wanted| wanted.fast.clone()),
        };
        let mut outcome = step(&mut self.login, &at, cx);
        if let Outcome::LoggedIn { account, .. } = &outcome
            && self.sasl2.is_some()
            && self.from.as_ref().is_some_and(|from| from != account)
        {
            // XEP-0388 section 2.3.
            outcome = self.login.failed(auth::Failure::InvalidAuthzid, &at, cx);
        }
        self.after_login_step(outcome, cx)
    }

    fn after_login_step(&mut self, outcome: Outcome, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        match outcome {
            Outcome::Continue => Ok(Next::Read),
            Outcome::Wait => Ok(Next::Wait),
            Outcome::LoggedIn {
                account,
                data,
                proof,
                lacking,
            } => {
                self.login.succeeded(cx);
                self.guest = self.login.take_guest();
                if proof == Proof::Certificate {
                    self.ends_at = cx.shell.certified_until();
                }
                self.login = Login::default();
                self.registering = None;
                if let Some(sasl2) = &mut self.sasl2 {
                    sasl2.data = data;
                    if proof == Proof::Password && sasl2.has_tasks(&account, &lacking) {
                        return self.next_task(cx);
                    }
                    return self.let_in(account, proof, cx);
                }
                login::success(data.as_deref(), cx.out);
                self.account = Some(account);
                // Section 6.4.6: both sides begin a new stream.
                self.restart = true;
                self.opened = false;
                self.phase = Phase::Header;
                Ok(Next::Read)
            }
            Outcome::Unsupported => Err(StreamError::unsupported_stanza_type()),
            Outcome::TooMany => Err(StreamError::policy_violation().text("too many failed attempts to log in")),
        }
    }

    /// By SASL2, and nothing stands before it any more.
    fn let_in(&mut self, account: Jid, proof: Proof, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        self.account = Some(account.clone());
        self.record(account, proof, cx)
    }

    /// A stanza after authentication and before a resource is bound (section 7.1).
    fn before_binding(
        &mut self,
        account: &Jid,
        element: &Element<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Next, StreamError> {
        let stanza = match Stanza::read(*element) {
            Ok(Some(stanza)) => stanza,
            Ok(None) => return Err(StreamError::unsupported_stanza_type()),
            Err(Fault::InvalidFrom) => return Err(StreamError::invalid_from()),
            Err(fault) => {
                if fault.is_answered() {
                    write_error(
                        element.name(),
                        element.attr("id").as_deref(),
                        None,
                        None,
                        &fault.error(),
                        cx.out,
                    );
                }
                return Ok(Next::Read);
            }
        };
        // "to an entity other than the server itself or the client's account".
        let to_us = stanza
            .to()
            .is_none_or(|to| to.bare_str() == account.as_str() || (to.is_domain() && to.as_str() == account.domain()));
        if !to_us || !matches!(stanza.kind(), Kind::Iq(_)) {
            return Err(StreamError::not_authorized());
        }
        // Section 8.1.2.1; there is no full JID yet.
        if stanza.from().is_some_and(|from| from.as_str() != account.as_str()) {
            return Err(StreamError::invalid_from());
        }
        let id = stanza.id().unwrap_or_default().to_owned();
        let payload = stanza
            .payload()
            .filter(|payload| payload.ns() == ns::BIND && payload.name() == "bind");
        let (Kind::Iq(IqType::Set), Some(bind)) = (stanza.kind(), payload) else {
            let error = StanzaError::not_allowed().text("bind a resource first");
            if stanza.kind().may_be_answered() {
                write_error("iq", Some(&id), None, None, &error, cx.out);
            }
            return Ok(Next::Read);
        };
        let wanted = bind
            .children()
            .find(|child| child.is("resource", ns::BIND))
            .map(|child| child.text().into_owned());
        let resource = match wanted.filter(|wanted| !wanted.is_empty()) {
            None => random_text(cx),
            Some(wanted) => match stanza::prepare_resource(&wanted) {
                Ok(resource) => resource.into_owned(),
                Err(_) => {
                    // Section 7.7.2.1.
                    self.bind_id = id;
                    return self.bind_failed(&StanzaError::bad_request(), cx);
                }
            },
        };
        self.bind_id = id;
        self.phase = Phase::Binding;
        let request = BindRequest {
            account: account.clone(),
            resource,
            outbox: Arc::clone(cx.outbox),
            access: self.access.clone(),
            guest: self.guest.take(),
            inline: None,
        };
        cx.router.bind(cx.now, request, cx.turn);
        Ok(Next::Wait)
    }

    /// XEP-0198 before a resource is bound: only `<resume/>` has its place here (sections 3 and 5).
    fn stream_management(
        &mut self,
        name: &str,
        element: &Element<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Next, StreamError> {
        let Some(account) = self.account.clone() else {
            return self.not_resumed(&StanzaError::unexpected_request(), None, cx);
        };
        match name {
            "resume" => {}
            "enable" | "a" | "r" => return self.not_resumed(&StanzaError::unexpected_request(), None, cx),
            _ => return Err(StreamError::unsupported_stanza_type()),
        }
        let h = element.attr("h").and_then(|h| h.parse().ok());
        let (Some(previd), Some(h)) = (element.attr("previd"), h) else {
            return self.not_resumed(&StanzaError::bad_request(), None, cx);
        };
        self.phase = Phase::Binding;
        let request = ResumeRequest {
            account,
            previd: (*previd).into(),
            h,
            outbox: Arc::clone(cx.outbox),
            access: self.access.clone(),
        };
        cx.router.resume(cx.now, request, cx.turn);
        Ok(Next::Wait)
    }

    /// The client may bind a resource instead, but not try for ever.
    fn not_resumed(&mut self, error: &StanzaError, h: Option<u32>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let text = router::failed(error, h);
        if let (Some(sasl2), Some(account)) = (&mut self.sasl2, self.account.clone()) {
            sasl2.told.push_str(&text);
            return self.go_on(account, cx);
        }
        cx.out.extend_from_slice(text.as_bytes());
        self.count_bind_failure("too many failed attempts to resume a stream")
    }

    /// No features follow (XEP-0198 section 9.2).
    pub(crate) fn write_resumed(&mut self, resumed: &Resumed, cx: &mut Context<'_>) {
        let (id, h) = (&resumed.id, resumed.h);
        // The id was written by the server: hexadecimal digits.
        let text = format!("<resumed xmlns='{}' previd='{id}' h='{h}'/>", ns::SM);
        if self.sasl2.is_some() {
            self.write_success(&resumed.bound.jid, &text, cx);
        } else {
            cx.out.extend_from_slice(text.as_bytes());
        }
    }

    /// Section 7.7.3: the client may try again, but not for ever.
    fn bind_failed(&mut self, error: &StanzaError, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        write_error("iq", Some(&self.bind_id), None, None, error, cx.out);
        self.count_bind_failure("too many failed attempts to bind a resource")
    }

    fn count_bind_failure(&mut self, too_many: &'static str) -> Result<Next, StreamError> {
        self.bind_failures = self.bind_failures.saturating_add(1);
        if self.bind_failures >= BIND_ATTEMPTS {
            return Err(StreamError::policy_violation().text(too_many));
        }
        Ok(Next::Read)
    }

    pub(crate) fn event(&mut self, event: Event, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        match event {
            Event::Bound(Err(error)) => {
                self.phase = Phase::Features;
                match self.sasl2 {
                    Some(_) => self.not_established(&error, cx),
                    None => self.bind_failed(&error, cx),
                }
            }
            Event::Resumed(Err(refusal)) => {
                self.phase = Phase::Features;
                match refusal {
                    NotResumed::NotFound { h } => self.not_resumed(&StanzaError::item_not_found(), h, cx),
                    NotResumed::Failed(error) => self.not_resumed(&error, None, cx),
                    NotResumed::TooHigh(too_high) => Err(crate::errors::too_high(too_high)),
                }
            }
            Event::Account(account) => {
                let Some(host) = self.host.clone() else {
                    return Ok(Next::Read);
                };
                self.log_in(&host, cx, |login, at, cx| login.supply(account, at, cx))
            }
            Event::Tokens(tokens) => {
                let Some(host) = self.host.clone() else {
                    return Ok(Next::Read);
                };
                self.log_in(&host, cx, |login, at, cx| login.supply_tokens(tokens, at, cx))
            }
            Event::Invited(invitation) => Ok(self.invited(invitation.map(|it| *it), cx)),
            Event::Registered(made) => Ok(self.registered(made, cx)),
            Event::Upgraded => self.upgraded(cx),
            Event::Recorded(issued) => self.recorded(issued, cx),
            Event::Checked(good) => {
                let Some(host) = self.host.clone() else {
                    return Ok(Next::Read);
                };
                self.log_in(&host, cx, |login, at, cx| login.checked(good, at, cx))
            }
            Event::Decided(verdict) => {
                let Some(host) = self.host.clone() else {
                    return Ok(Next::Read);
                };
                self.log_in(&host, cx, |login, at, cx| login.decided(verdict, at, cx))
            }
            // The core or the connection handles these before they get here.
            Event::Bound(Ok(_))
            | Event::Established(_)
            | Event::Resumed(Ok(_))
            | Event::Vouched(_)
            | Event::Verified(_)
            | Event::Proceed
            | Event::End(_)
            | Event::Silent => Ok(Next::Read),
        }
    }

    /// Section 7.6.
    pub(crate) fn write_bound(&self, bound: &Bound, cx: &mut Context<'_>) {
        let mut jid = Vec::new();
        xmlstream::escape_text(&mut jid, bound.jid.as_str());
        // Escaping text yields text.
        let jid = String::from_utf8(jid).unwrap_or_default();
        let payload = format!("<bind xmlns='{}'><jid>{jid}</jid></bind>", ns::BIND);
        stanza::iq_result(&self.bind_id, None, None, &payload, cx.out);
    }
}

/// Unguessable text of letters and digits.
pub(crate) fn random_text(cx: &mut Context<'_>) -> String {
    let mut bytes = [0; RANDOM_BYTES];
    cx.shell.random(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
