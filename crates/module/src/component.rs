//! Components (XEP-0114): what is configured of each, and what features make of that.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stanza::{Stanza, StanzaError};
use xmlstream::Child;

use crate::{Method, Target};

/// A domain that a program of its own speaks for. Which there are is configured and not declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Prepared.
    pub domain: Box<str>,
    /// The domain in whose disco#items it is shown. What else it may do there is about the accounts of that domain.
    pub shown_by: Box<str>,
    /// Streams that may speak for it at the same time.
    pub streams: usize,
    pub privileges: Privileges,
    /// What it answers in the place of the server.
    pub delegated: Vec<Delegated>,
}

impl Component {
    /// One stream, and nothing that others may not do.
    pub fn new(domain: &str, shown_by: &str) -> Component {
        Component {
            domain: domain.into(),
            shown_by: shown_by.into(),
            streams: 1,
            privileges: Privileges::default(),
            delegated: Vec::new(),
        }
    }
}

/// What a component may do in the name of accounts (XEP-0356).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    pub roster: Methods,
    /// It is told of changes of rosters.
    pub pushes: bool,
    pub messages: bool,
    /// Requests, by the namespace of their payload.
    pub iq: Vec<(Box<str>, Methods)>,
    pub presence: PresenceSeen,
}

/// Requests of which types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    pub get: bool,
    pub set: bool,
}

impl Methods {
    pub fn admits(self, method: Method) -> bool {
        match method {
            Method::Get => self.get,
            Method::Set => self.set,
        }
    }
}

/// Whose presence a component sees that is not for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PresenceSeen {
    #[default]
    Nobodys,
    /// That of accounts.
    Accounts,
    /// And that of their contacts.
    Contacts,
}

/// A namespace of requests to the server and to accounts, for which a component answers (XEP-0355).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delegated {
    pub namespace: Box<str>,
    /// The payload has to have all of these.
    pub attributes: Vec<Box<str>>,
}

/// What a component is told when it has connected: one element, or nothing.
pub type Greet = fn(&Component) -> Option<String>;

/// What a stanza of a component asks for that only a privilege allows. It is from the component itself.
pub enum Act<'s> {
    /// It is a stanza like others.
    Nothing,
    /// A request about the roster of the account that it is for.
    Roster,
    /// This message, in the name of who it is from.
    Message(Child<'s>),
    /// This request, in the name of the account that the stanza is for.
    Iq(Child<'s>),
    Refused(StanzaError),
}

pub type Judge = for<'s> fn(&Component, &Stanza<'s>) -> Act<'s>;

/// How requests go to a component that answers them in the place of the server.
#[derive(Clone, Copy)]
pub struct Delegate {
    /// Whether one with this payload does.
    pub takes: fn(&Component, Target, &Child<'_>) -> bool,
    /// The payload of a request to the component, around that request.
    pub wrap: fn(&str) -> String,
    /// The payload of the answer in what the component says, if it is one.
    pub unwrap: fn(&Stanza<'_>, &Answered<'_>) -> Option<String>,
    /// The node of disco#info at which it is asked what it can, of a namespace, at the server or at accounts.
    pub node: fn(&str, Target) -> Option<String>,
}

/// A request that was answered.
pub struct Answered<'a> {
    pub id: &'a str,
    pub from: &'a str,
    pub to: &'a str,
}

/// What components have said that they can, where they answer for the server: the query of disco#info, by their domain,
/// the namespace, and whether it is about the server or its accounts. Forgotten with their last stream.
#[derive(Debug, Default)]
pub struct Nested(Mutex<Told>);

type Told = BTreeMap<(Box<str>, Box<str>, Target), Arc<str>>;

impl Nested {
    pub fn put(&self, component: &str, namespace: &str, target: Target, query: &str) {
        let key = (component.into(), namespace.into(), target);
        self.lock().insert(key, query.into());
    }

    pub fn forget(&self, component: &str) {
        self.lock().retain(|(domain, ..), _| **domain != *component);
    }

    pub fn get(&self, component: &str, namespace: &str, target: Target) -> Option<Arc<str>> {
        self.lock().get(&(component.into(), namespace.into(), target)).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
