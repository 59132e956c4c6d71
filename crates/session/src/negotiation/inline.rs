//! What follows a login by SASL2: the client is written down, its stream resumed or a resource bound, and one success tells
//! all of it (XEP-0388 section 2.6, XEP-0386 section 3.2, XEP-0484).

use std::sync::Arc;

use auth::Proof;
use router::{Access, BindRequest, Established, Issued, ResumeRequest};
use stanza::{Condition, Jid, StanzaError, StreamError, ns};
use xmlstream::Element;

use super::tasks::Tasks;
use super::{Negotiation, Phase};
use crate::core::{Context, Next, Recording};
use crate::sasl2::{self, Wanted};

/// A login by SASL2, from its request to its success.
#[derive(Default)]
pub(super) struct Sasl2 {
    pub(super) wanted: Wanted,
    /// What the mechanism says with the success.
    pub(super) data: Option<Vec<u8>>,
    /// What has become of the parts so far, as XML.
    pub(super) told: String,
    /// The new token, as XML.
    token: String,
    /// What has to be done before the client is let in.
    pub(super) tasks: Option<Tasks>,
}

impl Sasl2 {
    pub(super) fn of(authenticate: &Element<'_>, cx: &mut Context<'_>) -> Sasl2 {
        Sasl2 {
            wanted: Wanted::read(authenticate, cx),
            ..Sasl2::default()
        }
    }
}

impl Negotiation {
    /// After a login by SASL2: a client that says who it is is remembered, and may have a token.
    pub(super) fn record(&mut self, account: Jid, proof: Proof, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let Some(sasl2) = &mut self.sasl2 else {
            return Ok(Next::Read);
        };
        let is_known = sasl2.wanted.agent.id.is_some() || matches!(proof, Proof::Token(_));
        // Of a guest nothing is written down.
        if !is_known || proof == Proof::Nothing {
            return self.go_on(account, cx);
        }
        let domain = account.domain();
        let offer = self.config.offer(domain, true, self.secured, cx.shell);
        let wanted = sasl2.wanted.token.filter(|mechanism| offer.tokens.contains(mechanism));
        let id = sasl2.wanted.agent.id.as_deref().unwrap_or_default();
        let new_id = sasl2::client_id(&account, id, &self.config.secret);
        let client = match &proof {
            Proof::Token(used) => used.id.as_str(),
            _ => &new_id,
        };
        self.access = Some(Access {
            client: client.into(),
            revocations: cx.router.revocations(),
        });
        let recording = Recording {
            new_id,
            account,
            agent: sasl2.wanted.agent.clone(),
            proof,
            wanted,
            invalidate: sasl2.wanted.fast.as_ref().is_some_and(|fast| fast.invalidate),
            lifetimes: self.config.lifetimes,
        };
        self.phase = Phase::Recording;
        cx.shell.record(recording);
        Ok(Next::Wait)
    }

    pub(super) fn recorded(
        &mut self,
        issued: Result<Option<Issued>, auth::Failure>,
        cx: &mut Context<'_>,
    ) -> Result<Next, StreamError> {
        self.phase = Phase::Features;
        let (Some(sasl2), Some(account)) = (&mut self.sasl2, self.account.clone()) else {
            return Ok(Next::Read);
        };
        match issued {
            Ok(issued) => {
                sasl2.token = issued.as_ref().map(sasl2::token).unwrap_or_default();
                self.go_on(account, cx)
            }
            Err(failure) => self.not_logged_in(failure, "too many failed attempts to log in", cx),
        }
    }

    /// After a login by SASL2: what else was asked for, one thing after the other (XEP-0386 section 3.2: resumption
    /// first), and the success behind them.
    pub(super) fn go_on(&mut self, account: Jid, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let Some(sasl2) = &mut self.sasl2 else {
            return Ok(Next::Read);
        };
        if let Some(resume) = sasl2.wanted.resume.take() {
            if let Some((previd, h)) = resume.stream {
                self.phase = Phase::Binding;
                let outbox = Arc::clone(cx.outbox);
                let request = ResumeRequest {
                    account,
                    previd,
                    h,
                    outbox,
                    access: self.access.clone(),
                };
                cx.router.resume(cx.now, request, cx.turn);
                return Ok(Next::Wait);
            }
            sasl2.told.push_str(&router::failed(&StanzaError::bad_request(), None));
        }
        if let Some(bind) = sasl2.wanted.bind.take() {
            let client = sasl2.wanted.agent.id.as_deref();
            let (resource, inline) = bind.into_request(&account, client, &self.config.secret, cx);
            self.phase = Phase::Binding;
            let request = BindRequest {
                account,
                resource,
                outbox: Arc::clone(cx.outbox),
                access: self.access.clone(),
                guest: self.guest.take(),
                inline: Some(Box::new(inline)),
            };
            cx.router.bind(cx.now, request, cx.turn);
            return Ok(Next::Wait);
        }
        self.phase = Phase::Features;
        self.write_success(&account, "", cx);
        self.write_features(cx);
        Ok(Next::Read)
    }

    /// The success of SASL2, for the one who is logged in.
    pub(super) fn write_success(&mut self, jid: &Jid, last: &str, cx: &mut Context<'_>) {
        let sasl2 = self.sasl2.take().unwrap_or_default();
        let inline = sasl2.told + last + &sasl2.token;
        sasl2::success(jid, sasl2.data.as_deref(), &inline, cx.out);
    }

    /// XEP-0386 section 3.2, and the features behind it (XEP-0388 section 2.6.1).
    pub(crate) fn write_established(&mut self, established: &Established, cx: &mut Context<'_>) {
        self.write_success(&established.bound.jid, &sasl2::bound(established), cx);
        if let Some(host) = &self.host {
            // What is on is not offered again: @xmpp/client would try to resume what it has just enabled.
            let on: &[&str] = if established.is_managed { &[ns::SM] } else { &[] };
            let features = cx.router.registry().stream_features(host, on);
            let limits = self.config.stream_limits(true);
            let text = format!("<stream:features>{features}{limits}</stream:features>");
            cx.out.extend_from_slice(text.as_bytes());
        }
    }

    /// The resource that SASL2 was to bind cannot be: so the login as a whole has failed.
    pub(super) fn not_established(&mut self, error: &StanzaError, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let failure = match error.condition {
            Condition::NotAuthorized => auth::Failure::NotAuthorized,
            _ => auth::Failure::TemporaryAuthFailure,
        };
        self.not_logged_in(failure, "too many failed attempts to bind a resource", cx)
    }

    /// A login that was let in has failed after all.
    pub(super) fn not_logged_in(
        &mut self,
        failure: auth::Failure,
        too_many: &'static str,
        cx: &mut Context<'_>,
    ) -> Result<Next, StreamError> {
        self.sasl2 = None;
        self.account = None;
        self.guest = None;
        self.access = None;
        sasl2::failure(failure, cx.out);
        self.count_bind_failure(too_many)
    }
}
