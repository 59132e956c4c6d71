//! The gate that every stanza of a bound resource passes (RFC 6120 section 8).

use std::sync::Arc;

use router::Bound;
use stanza::{Fault, Stanza, StanzaError, StreamError, ns, write_error};
use xmlstream::Element;

use crate::config::StreamConfig;
use crate::core::{Context, Next};
use crate::errors::too_high;
use crate::negotiation::Negotiation;
use crate::sasl2::enable_request;

/// What a stream keeps once a resource is bound.
pub(crate) struct Stream {
    pub(crate) bound: Bound,
    pub(crate) config: Arc<StreamConfig>,
    /// The language of the client's stream header, the default of its stanzas (section 4.7.4).
    lang: Option<Box<str>>,
}

impl Stream {
    pub(crate) fn new(bound: Bound, negotiation: &mut Negotiation) -> Stream {
        let lang = negotiation.lang.take().map(String::into_boxed_str);
        Stream {
            bound,
            config: Arc::clone(&negotiation.config),
            lang,
        }
    }

    pub(crate) fn element(&mut self, element: Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let stanza = match Stanza::read(element) {
            Ok(Some(stanza)) => stanza,
            Ok(None) => return self.nonza(&element, cx).map(|()| Next::Read),
            Err(Fault::InvalidFrom) => return Err(StreamError::invalid_from()),
            Err(fault) => {
                // It was a stanza all the same, so it is counted (XEP-0198 section 4).
                cx.router.count(&self.bound);
                if fault.is_answered() {
                    self.answer_fault(&element, &fault, cx);
                }
                return Ok(Next::Read);
            }
        };
        // Section 8.1.2.1: absent, or the sender's own bare or full JID.
        if let Some(from) = stanza.from()
            && from.as_str() != self.bound.jid.as_str()
            && from.as_str() != self.bound.jid.bare_str()
        {
            return Err(StreamError::invalid_from());
        }
        let stanza = stanza.with_default_lang(self.lang.as_deref());
        // The order of a stream is kept: what waits for its recipient to be read holds up what is behind it.
        let waits = cx.router.from_client(cx.now, &self.bound, &stanza, cx.turn);
        Ok(if waits { Next::Wait } else { Next::Read })
    }

    /// What is for the stream itself: stream management (XEP-0198) and the client's state (XEP-0352).
    fn nonza(&self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<(), StreamError> {
        let (bound, turn) = (&self.bound, &mut *cx.turn);
        match (element.ns(), element.name()) {
            (ns::SM, "enable") => {
                let request = enable_request(|name| element.attr(name), cx.shell);
                if !cx.router.enable(cx.now, bound, &request, turn) {
                    // Section 3: "it SHOULD respond with a stream error".
                    return Err(StreamError::policy_violation().text("stream management was enabled already"));
                }
            }
            (ns::SM, "r") => {
                if !bound.outbox.requested(turn) {
                    self.not_managed(cx);
                }
            }
            (ns::SM, "a") => {
                let Some(h) = element.attr("h").and_then(|h| h.parse().ok()) else {
                    return Err(StreamError::bad_format());
                };
                match cx.router.acknowledged(bound, h, turn) {
                    None => self.not_managed(cx),
                    Some(Ok(())) => {}
                    Some(Err(error)) => return Err(too_high(error)),
                }
            }
            (ns::SM, "resume") => self.not_managed(cx),
            (ns::CSI, "active") => bound.outbox.set_active(true, turn),
            (ns::CSI, "inactive") => bound.outbox.set_active(false, turn),
            _ => return Err(StreamError::unsupported_stanza_type()),
        }
        Ok(())
    }

    /// Out of its order (XEP-0198 section 3 and 6).
    fn not_managed(&self, cx: &mut Context<'_>) {
        let text = router::failed(&StanzaError::unexpected_request(), None);
        self.bound.outbox.say(&text, cx.turn);
    }

    /// Behind everything that waits in the outbox, as any other answer.
    fn answer_fault(&self, element: &Element<'_>, fault: &Fault, cx: &mut Context<'_>) {
        let bound = &self.bound;
        bound.outbox.answer(cx.turn, |out| {
            write_error(
                element.name(),
                element.attr("id").as_deref(),
                Some(bound.jid.bare_str()),
                Some(bound.jid.as_str()),
                &fault.error(),
                out,
            );
        });
    }
}
