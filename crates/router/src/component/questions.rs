//! What is asked on behalf of components and of them, until the answer comes or the time for it is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use module::{Now, Target};
use stanza::{Jid, StanzaError};

use crate::iq::Return;
use crate::{Router, Turn};

/// Questions that are open at the same time for one component. Who would ask one more is told so.
const ASKED: usize = 1_024;

/// Seconds that an answer may take.
const ANSWER_SECONDS: i64 = 60;

/// What the id of a question begins with.
const ID_PREFIX: &str = "component-";

pub(super) enum Question {
    /// A request in the name of an account (XEP-0356), under the id that the component has given it.
    InName { back: Return, id: Box<str>, whom: Jid },
    /// A request that the component answers in the place of the server (XEP-0355).
    Delegated { back: Return },
    /// What it can, where it does that.
    Nested { namespace: Box<str>, target: Target },
}

impl Question {
    /// There is no answer, or none that can be used.
    pub(super) fn fail(&self, turn: &mut Turn) {
        match self {
            Question::InName { back, .. } => back.refuse(&StanzaError::remote_server_timeout(), turn),
            // XEP-0355, "Server Forwards Delegated IQ Stanza", N.B. 1.
            Question::Delegated { back } => back.refuse(&StanzaError::service_unavailable(), turn),
            Question::Nested { .. } => {}
        }
    }
}

struct Asked {
    component: Box<str>,
    /// Seconds since 1970.
    until: i64,
    question: Question,
}

#[derive(Default)]
struct Open {
    last: u64,
    asked: BTreeMap<u64, Asked>,
}

#[derive(Default)]
pub(crate) struct Questions(Mutex<Open>);

impl Questions {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id under which to ask. None where too many questions are open.
    pub(super) fn open(&self, now: Now, component: &str, question: Question) -> Option<String> {
        let mut open = self.lock();
        let of_component = open.asked.values().filter(|asked| *asked.component == *component);
        if of_component.count() >= ASKED {
            return None;
        }
        open.last += 1;
        let number = open.last;
        let asked = Asked {
            component: component.into(),
            until: now.seconds() + ANSWER_SECONDS,
            question,
        };
        open.asked.insert(number, asked);
        Some(format!("{ID_PREFIX}{number}"))
    }

    /// The question of this id that may be answered so, and the component that it is about.
    pub(super) fn answered(&self, id: &str, may: impl FnOnce(&str, &Question) -> bool) -> Option<(Box<str>, Question)> {
        let number = id.strip_prefix(ID_PREFIX)?.parse().ok()?;
        let mut open = self.lock();
        let asked = open.asked.get(&number)?;
        if !may(&asked.component, &asked.question) {
            return None;
        }
        open.asked
            .remove(&number)
            .map(|asked| (asked.component, asked.question))
    }

    /// Whether this is the id of a question that is so, and still open.
    pub(super) fn is_open(&self, id: &str, is_so: impl FnOnce(&str, &Question) -> bool) -> bool {
        let Some(number) = id.strip_prefix(ID_PREFIX).and_then(|number| number.parse().ok()) else {
            return false;
        };
        let open = self.lock();
        let asked: Option<&Asked> = open.asked.get(&number);
        asked.is_some_and(|asked| is_so(&asked.component, &asked.question))
    }

    fn take(&self, is_over: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        let mut open = self.lock();
        if open.asked.is_empty() {
            return Vec::new();
        }
        let taken = open.asked.extract_if(.., |_, asked| is_over(asked));
        taken.map(|(_, asked)| asked).collect()
    }
}

impl Router {
    /// Questions that nobody has answered in time.
    pub(crate) fn tend_questions(&self, now: Now, turn: &mut Turn) {
        for asked in self.questions.take(|asked| asked.until <= now.seconds()) {
            asked.question.fail(turn);
        }
    }

    /// Nobody speaks for the component any more.
    pub(super) fn fail_questions(&self, component: &str, turn: &mut Turn) {
        for asked in self.questions.take(|asked| *asked.component == *component) {
            asked.question.fail(turn);
        }
    }
}
