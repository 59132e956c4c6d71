//! A stream with another server over which stanzas go, whoever has opened it.

use std::sync::Arc;

use router::{Bound, Outbox, Pair};
use stanza::{Fault, Jid, Stanza, StanzaError, StreamCondition, StreamError, ns, write_error};
use xmlstream::Element;

use super::ServerConfig;
use super::dialback::{Kind, Said};
use super::header::domain;
use crate::core::{Context, Next};
use crate::errors::too_high;
use crate::sasl2::enable_request;

/// What a stream keeps.
pub(crate) struct Peered {
    pub(crate) bound: Bound,
    pub(crate) config: Arc<ServerConfig>,
    /// Whom it speaks for, and to.
    pub(super) pair: Pair,
    /// The language of the peer's stream header, the default of its stanzas (RFC 6120 section 4.7.4).
    pub(super) lang: Option<Box<str>>,
    /// We have opened it.
    pub(super) is_ours: bool,
    /// We have opened it, and the peer acknowledges what it gets.
    pub(super) is_managed: bool,
    /// Stanzas go both ways (XEP-0288).
    pub(super) is_bidirectional: bool,
    /// The next so many stanzas came before anything was counted.
    pub(super) uncounted: u32,
}

impl Peered {
    /// A stream that we have opened.
    pub(crate) fn ours(established: super::Established, bound: Bound) -> Peered {
        Peered {
            bound,
            config: established.config,
            pair: established.pair,
            lang: established.lang,
            is_ours: true,
            is_managed: established.linked.is_managed,
            is_bidirectional: established.linked.is_bidirectional,
            uncounted: established.uncounted,
        }
    }

    pub(crate) fn element(&mut self, element: Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        match element.ns() {
            ns::SM => return self.stream_management(&element, cx).map(|()| Next::Read),
            ns::DIALBACK => return self.dialback(&element, cx).map(|()| Next::Read),
            _ => {}
        }
        let read = match Stanza::read_in(element, ns::SERVER).transpose() {
            Some(read) => read,
            None => return Err(StreamError::unsupported_stanza_type()),
        };
        if self.is_ours && !self.is_bidirectional {
            // Section 4.9.3.12: what the peer has to say it says on a stream of its own.
            return Err(StreamError::not_authorized());
        }
        let stanza = match read {
            Ok(stanza) => stanza.with_default_lang(self.lang.as_deref()),
            Err(fault) => {
                self.fault(&element, &fault, cx)?;
                return Ok(Next::Read);
            }
        };
        // Section 8.1.1.2 and 8.1.2.2.
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
            return Err(StreamError::improper_addressing());
        };
        if from.domain() != &*self.pair.remote {
            return Err(StreamError::invalid_from());
        }
        if to.domain() != &*self.pair.local {
            return Err(StreamError::host_unknown());
        }
        if self.uncounted > 0 {
            self.uncounted -= 1;
            let uncounted = Bound {
                outbox: Outbox::new(0),
                ..self.bound.clone()
            };
            // They are bounded by what `Outgoing` keeps, so nobody waits for them.
            cx.router.from_remote(cx.now, &uncounted, &stanza, from, to, cx.turn);
            return Ok(Next::Read);
        }
        let waits = cx.router.from_remote(cx.now, &self.bound, &stanza, from, to, cx.turn);
        Ok(if waits { Next::Wait } else { Next::Read })
    }

    /// The peer ends the stream with an error (RFC 6120 section 4.9): that may be for what it was sent.
    pub(crate) fn ended_with(&self, error: &Element<'_>, cx: &Context<'_>) {
        let names = error.children().filter(|child| child.ns() == ns::STREAMS);
        let condition = names.map(|child| child.name()).find(|name| *name != "text");
        let condition = condition.and_then(StreamCondition::from_name);
        let condition = condition.unwrap_or(StreamCondition::UndefinedCondition);
        cx.router.link_error(&self.bound, condition);
    }

    /// XEP-0198.
    fn stream_management(&mut self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<(), StreamError> {
        let (bound, turn) = (&self.bound, &mut *cx.turn);
        match element.name() {
            "enable" if !self.is_ours => {
                let request = enable_request(|name| element.attr(name), cx.shell);
                if !cx.router.enable(cx.now, bound, &request, turn) {
                    return Err(StreamError::policy_violation().text("stream management was enabled already"));
                }
            }
            "r" if bound.outbox.requested(turn) => {}
            // Nothing comes over it, and so nothing is counted.
            "r" if self.is_managed => bound.outbox.say(&format!("<a xmlns='{}' h='0'/>", ns::SM), turn),
            "r" => self.not_managed(cx),
            "a" => {
                let Some(h) = element.attr("h").and_then(|h| h.parse().ok()) else {
                    return Err(StreamError::bad_format());
                };
                cx.router.link_acknowledged(cx.now, bound, h, turn).map_err(too_high)?;
            }
            "enable" | "resume" => self.not_managed(cx),
            _ => return Err(StreamError::unsupported_stanza_type()),
        }
        Ok(())
    }

    /// Out of its order.
    fn not_managed(&self, cx: &mut Context<'_>) {
        let text = router::failed(&StanzaError::unexpected_request(), None);
        self.bound.outbox.say(&text, cx.turn);
    }

    /// Keys are verified on any stream; for another pair there has to be another stream. Answers are to requests, and
    /// none is sent here (XEP-0220 section 3.1).
    fn dialback(&self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<(), StreamError> {
        if self.is_ours && !self.is_bidirectional {
            return Ok(());
        }
        let Some(said) = Said::read(element)?.filter(|said| said.verdict.is_none()) else {
            return Ok(());
        };
        let answer = match said.kind {
            Kind::Verify => said.verify(&self.config),
            Kind::Result if said.pair() == self.pair => said.answer(Ok(true)),
            Kind::Result if !self.config.rules.is_ours(&said.to) => said.answer(Err(&StanzaError::item_not_found())),
            Kind::Result => said.answer(Err(&StanzaError::resource_constraint())),
        };
        self.bound.outbox.say(&answer, cx.turn);
        Ok(())
    }

    /// Addresses are looked at as those of any stanza. One that is of the peer's domain, and can be nobody's here, ends
    /// no stream that others use too: servers differ in which characters they know.
    fn fault(&mut self, element: &Element<'_>, fault: &Fault, cx: &mut Context<'_>) -> Result<(), StreamError> {
        let (Some(from), Some(to)) = (element.attr("from"), element.attr("to")) else {
            return Err(StreamError::improper_addressing());
        };
        match domain_of(&from) {
            None => return Err(StreamError::improper_addressing()),
            Some(domain) if domain != self.pair.remote => return Err(StreamError::invalid_from()),
            Some(_) => {}
        }
        match domain_of(&to) {
            None => return Err(StreamError::improper_addressing()),
            Some(domain) if domain != self.pair.local => return Err(StreamError::host_unknown()),
            Some(_) => {}
        }
        if self.uncounted > 0 {
            self.uncounted -= 1;
        } else {
            // It was a stanza all the same (XEP-0198 section 4).
            cx.router.count(&self.bound);
        }
        let Ok(from) = Jid::parse(&from) else { return Ok(()) };
        if !fault.is_answered() {
            return Ok(());
        }
        let answerer = Jid::parse(&to).map_or_else(|_| self.pair.local.to_string(), |to| to.as_str().to_owned());
        let mut answer = Vec::new();
        let id = element.attr("id");
        write_error(
            element.name(),
            id.as_deref(),
            Some(&answerer),
            Some(from.as_str()),
            &fault.error(),
            &mut answer,
        );
        // The way back may be another stream. Escaping text yields text.
        let answer = String::from_utf8(answer).unwrap_or_default();
        cx.router.answer_remote(cx.now, answer, cx.turn);
        Ok(())
    }
}

/// The prepared domain of an address whose other parts may be anything (RFC 7622 section 3.2).
fn domain_of(address: &str) -> Option<Box<str>> {
    let bare = address.split_once('/').map_or(address, |(bare, _)| bare);
    let text = bare.split_once('@').map_or(bare, |(_, domain)| domain);
    domain(text.into())
}
