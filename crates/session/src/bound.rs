//! The gate that every stanza of a bound resource passes (RFC 6120 section 8).

use std::sync::Arc;

use router::Bound;
use stanza::{Fault, Stanza, StreamError, write_error};
use xmlstream::Element;

use crate::config::StreamConfig;
use crate::core::Context;
use crate::negotiation::Negotiation;

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

    pub(crate) fn element(&mut self, element: Element<'_>, cx: &mut Context<'_>) -> Result<(), StreamError> {
        let stanza = match Stanza::read(element) {
            Ok(Some(stanza)) => stanza,
            Ok(None) => return Err(StreamError::unsupported_stanza_type()),
            Err(Fault::InvalidFrom) => return Err(StreamError::invalid_from()),
            Err(fault) => {
                if fault.is_answered() {
                    self.answer_fault(&element, &fault, cx);
                }
                return Ok(());
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
        cx.router.from_client(cx.now, &self.bound, &stanza, cx.turn);
        Ok(())
    }

    /// Behind everything that waits in the outbox, as any other answer.
    fn answer_fault(&self, element: &Element<'_>, fault: &Fault, cx: &mut Context<'_>) {
        let bound = &self.bound;
        bound.outbox.push(cx.turn, |out| {
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
