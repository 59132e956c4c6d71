//! Requests that a component answers in the place of the server (XEP-0355). Which, and how they are wrapped, says the
//! feature (`module::Delegate`).

use module::{Answered, Target};
use stanza::{IqType, JidRef, Kind, Stanza, StanzaError, ns};
use xmlstream::Child;

use super::questions::Question;
use crate::iq::Return;
use crate::outgoing::letter;
use crate::sessions::escaped;
use crate::{Router, Turn};

impl Router {
    /// A request to the server of this domain, or to one of its accounts. True: a component answers it.
    #[allow(clippy::too_many_arguments)] // the parts of one request; a struct would only rename them
    pub(crate) fn delegates(
        &self,
        domain: &str,
        target: Target,
        payload: &Child<'_>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> bool {
        if self.components.is_empty() || !matches!(target, Target::Server | Target::Account) {
            return false;
        }
        let Some(delegate) = self.registry().delegate() else {
            return false;
        };
        let mut components = self.registry().components().iter();
        let Some(component) =
            components.find(|component| *component.shown_by == *domain && (delegate.takes)(component, target, payload))
        else {
            return false;
        };
        // "Stanzas from managing entity": "the server MUST NOT forward it". Nor what it asks in the name of an account.
        let asks_itself =
            from.domain() == &*component.domain || self.asked_in_name_by(&component.domain, stanza, from, to);
        if asks_itself {
            return false;
        }
        let back = Return::of(stanza, from.to_owned(), to.to_owned());
        let wrapped = (delegate.wrap)(&letter(stanza, from, to));
        match self
            .questions
            .open((self.clock)(), &component.domain, Question::Delegated { back })
        {
            Some(id) => {
                if !self.ask_component(&component.domain, domain, from.bare_str(), &id, "set", &wrapped, turn)
                    && let Some((_, question)) = self.questions.answered(&id, |_, _| true)
                {
                    question.fail(turn);
                }
            }
            None => {
                let error =
                    StanzaError::resource_constraint().text("the service does not answer as fast as it is asked");
                self.bounce(stanza, from, to, &error, turn);
            }
        }
        true
    }

    /// Whether a component asks this in the name of who asks.
    fn asked_in_name_by(&self, component: &str, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>) -> bool {
        let is_this = |asker: &str, question: &Question| match question {
            Question::InName { back, whom, .. } => {
                asker == component && back.addresses().1.as_str() == from.as_str() && whom.as_str() == to.as_str()
            }
            _ => false,
        };
        stanza.id().is_some_and(|id| self.questions.is_open(id, is_this))
    }

    /// A component that answers for the server is asked what it can ("Nesting").
    pub(super) fn ask_what_it_can(&self, domain: &str, turn: &mut Turn) {
        let (Some(delegate), Some(slot)) = (self.registry().delegate(), self.components.get(domain)) else {
            return;
        };
        let component = &slot.component;
        for delegated in &component.delegated {
            for target in [Target::Server, Target::Account] {
                let namespace = &delegated.namespace;
                let Some(node) = (delegate.node)(namespace, target) else {
                    continue;
                };
                let question = Question::Nested {
                    namespace: namespace.clone(),
                    target,
                };
                if let Some(id) = self.questions.open((self.clock)(), domain, question) {
                    let query = format!("<query xmlns='{}' node='{}'/>", ns::DISCO_INFO, escaped(&node));
                    self.ask_component(domain, &component.shown_by, domain, &id, "get", &query, turn);
                }
            }
        }
    }

    /// `asker`: whose share of several streams it is. False: nobody is there to be asked.
    #[allow(clippy::too_many_arguments)] // the parts of one request; a struct would only rename them
    fn ask_component(
        &self,
        domain: &str,
        from: &str,
        asker: &str,
        id: &str,
        type_: &str,
        payload: &str,
        turn: &mut Turn,
    ) -> bool {
        let Some(slot) = self.components.get(domain) else {
            return false;
        };
        let text = format!("<iq type='{type_}' id='{id}' from='{from}' to='{domain}'>{payload}</iq>");
        let shares = self.components.shares();
        let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
        slot.lock().give(shares, asker, text.len(), turn, write).is_ok()
    }

    /// An answer to the server; it may be one of a component.
    pub(crate) fn component_answers(&self, stanza: &Stanza<'_>, from: JidRef<'_>, turn: &mut Turn) {
        if self.components.is_empty() {
            return;
        }
        let may = |component: &str, question: &Question| {
            component == from.as_str() && !matches!(question, Question::InName { .. })
        };
        let id = stanza.id().unwrap_or_default();
        let Some((component, question)) = self.questions.answered(id, may) else {
            return;
        };
        match &question {
            Question::Delegated { back } => {
                let (asking, asked) = back.addresses();
                let answered = Answered {
                    id: back.id(),
                    from: asking.as_str(),
                    to: asked.as_str(),
                };
                let delegate = self.registry().delegate();
                match delegate.and_then(|delegate| (delegate.unwrap)(stanza, &answered)) {
                    Some(payload) => turn.letter(back.result(&payload)),
                    // N.B. 2, and "If the forwarded result from managing entity is bad".
                    None => question.fail(turn),
                }
            }
            Question::Nested { namespace, target } => {
                let query = stanza.payload().filter(|query| query.is("query", ns::DISCO_INFO));
                if let (Kind::Iq(IqType::Result), Some(query)) = (stanza.kind(), query) {
                    let mut text = String::new();
                    query.write_canonical("", &mut text);
                    self.registry().nested().put(&component, namespace, *target, &text);
                }
            }
            Question::InName { .. } => {}
        }
    }
}
