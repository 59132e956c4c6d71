//! The stream of a component (XEP-0114): a header that names the domain it wants to speak for, a handshake, stanzas.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use auth::Secret;
use router::Bound;
use stanza::{Fault, Stanza, StreamError, ns, write_error};
use xmlstream::{Element, Limits};

use crate::core::{Context, Next};
use crate::header::{self, Opening};
use crate::negotiation::random_text;

/// What is configured for the components of one listener.
pub struct ComponentConfig {
    pub before_login: Limits,
    pub after_login: Limits,
    /// The secret of each domain that somebody may speak for.
    pub secrets: BTreeMap<String, Secret>,
    /// Named in the stream header where the component's `to` is none of these.
    pub default_domain: String,
}

impl fmt::Debug for ComponentConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.secrets.keys()).finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Header,
    Handshake,
    /// Waits for the router.
    Attaching,
}

/// Until somebody speaks for the domain.
pub(crate) struct Handshake {
    pub(crate) config: Arc<ComponentConfig>,
    phase: Phase,
    domain: Option<String>,
    /// The id of our header, once that was written.
    id: Option<String>,
}

impl Handshake {
    pub(crate) fn new(config: Arc<ComponentConfig>) -> Handshake {
        Handshake {
            config,
            phase: Phase::Header,
            domain: None,
            id: None,
        }
    }

    pub(crate) fn is_attaching(&self) -> bool {
        self.phase == Phase::Attaching
    }

    /// Writes our header unless it was written.
    pub(crate) fn open(&mut self, cx: &mut Context<'_>) {
        if self.id.is_some() {
            return;
        }
        let id = random_text(cx);
        let domain = self.domain.as_deref().unwrap_or(&self.config.default_domain);
        header::write_to_component(cx.out, domain, &id);
        self.id = Some(id);
    }

    pub(crate) fn header(&mut self, opening: Opening, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        self.domain = opening.to.filter(|domain| self.config.secrets.contains_key(domain));
        self.open(cx);
        if let Some(fault) = opening.fault {
            return Err(fault);
        }
        if self.domain.is_none() {
            return Err(StreamError::host_unknown());
        }
        self.phase = Phase::Handshake;
        Ok(Next::Read)
    }

    pub(crate) fn element(&mut self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        // RFC 6120 section 4.9.3.12, for whatever else comes.
        if self.phase != Phase::Handshake || !element.is("handshake", ns::COMPONENT) {
            return Err(StreamError::not_authorized());
        }
        let domain = self.domain.as_deref().unwrap_or_default();
        let is_good = cx.shell.may_log_in(None)
            && self.config.secrets.get(domain).is_some_and(|secret| {
                let id = self.id.as_deref().unwrap_or_default();
                auth::is_handshake(element.text().trim(), id, secret)
            });
        if !is_good {
            cx.shell.login_failed(None);
            return Err(StreamError::not_authorized());
        }
        self.phase = Phase::Attaching;
        cx.router.attach(domain, cx.outbox, cx.turn);
        Ok(Next::Wait)
    }
}

/// What a stream keeps once somebody speaks for the domain.
pub(crate) struct Attached {
    pub(crate) bound: Bound,
    pub(crate) config: Arc<ComponentConfig>,
}

impl Attached {
    pub(crate) fn element(&mut self, element: Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        // Some write the namespace of clients, and mean this one.
        let content = if element.ns() == ns::CLIENT {
            ns::CLIENT
        } else {
            ns::COMPONENT
        };
        let stanza = match Stanza::read_in(element, content) {
            Ok(Some(stanza)) => stanza,
            Ok(None) => return Err(StreamError::unsupported_stanza_type()),
            Err(Fault::InvalidFrom) => return Err(StreamError::invalid_from()),
            Err(fault) => {
                self.answer_fault(&element, &fault, cx)?;
                return Ok(Next::Read);
            }
        };
        // RFC 6120 section 4.9.3.7.
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
            return Err(StreamError::improper_addressing());
        };
        if from.domain() != self.bound.jid.domain() {
            return Err(StreamError::invalid_from());
        }
        let waits = cx
            .router
            .from_component(cx.now, &self.bound, &stanza, from, to, cx.turn);
        Ok(if waits { Next::Wait } else { Next::Read })
    }

    /// Goes to whom the component has written for, if that is one of its own.
    fn answer_fault(&self, element: &Element<'_>, fault: &Fault, cx: &mut Context<'_>) -> Result<(), StreamError> {
        let Some(from) = element.attr("from") else {
            return Err(StreamError::improper_addressing());
        };
        if stanza::Jid::parse(&from).is_ok_and(|from| from.domain() != self.bound.jid.domain()) {
            return Err(StreamError::invalid_from());
        }
        if !fault.is_answered() {
            return Ok(());
        }
        let domain = &self.config.default_domain;
        self.bound.outbox.answer(cx.turn, |out| {
            let id = element.attr("id");
            write_error(
                element.name(),
                id.as_deref(),
                Some(domain),
                Some(&from),
                &fault.error(),
                out,
            );
        });
        Ok(())
    }
}
