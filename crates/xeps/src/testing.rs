//! Asks one module one thing, as the dispatcher would.

use module::{
    AccountView, Answer, Ask, Device, Host, LastActivity, Method, Module, Now, Registry, Relation, Software, Target,
};
use stanza::{Jid, Stanza, StanzaError};
use xmlstream::{Limits, Scratch};

/// The time of all tests: 1,000,000,000 seconds after the epoch; the server has run for 100.
const NOW: Now = Now(1_000_000_000_000);

pub(crate) struct Asked {
    payload: &'static str,
    method: Method,
    account: Option<Account>,
}

#[derive(Default)]
struct Account {
    online: bool,
    last: Option<LastActivity>,
}

impl AccountView for Account {
    fn devices(&self) -> Vec<Device> {
        let device = Device {
            resource: "balcony".into(),
            priority: 0,
        };
        if self.online { vec![device] } else { Vec::new() }
    }

    fn last_activity(&self) -> Option<LastActivity> {
        self.last.clone()
    }
}

impl Asked {
    pub(crate) fn server(payload: &'static str) -> Asked {
        Asked {
            payload,
            method: Method::Get,
            account: None,
        }
    }

    /// The own account, without an available resource.
    pub(crate) fn own_account(payload: &'static str) -> Asked {
        Asked {
            account: Some(Account::default()),
            ..Asked::server(payload)
        }
    }

    pub(crate) fn set(mut self) -> Asked {
        self.method = Method::Set;
        self
    }

    pub(crate) fn online(mut self) -> Asked {
        self.account = Some(Account {
            online: true,
            last: None,
        });
        self
    }

    pub(crate) fn away(mut self, seconds: i64, status: &str) -> Asked {
        let last = LastActivity {
            at: NOW.seconds() - seconds,
            status: status.into(),
        };
        self.account = Some(Account {
            online: false,
            last: Some(last),
        });
        self
    }
}

pub(crate) fn check(module: Module, asked: Asked, expected: Result<&str, StanzaError>) {
    let registry = Registry::new(vec![module]).expect("one module");
    let host = Host {
        domain: "example.org".into(),
        admins: Vec::new(),
        contacts: Vec::new(),
        software: Software {
            name: "Jackdaw",
            version: "0.0",
        },
        started: Now(NOW.0 - 100_000),
    };
    let from = Jid::parse("juliet@example.org/balcony").expect("a JID");
    let kind = if asked.method == Method::Get { "get" } else { "set" };
    let text = format!("<iq type='{kind}' id='1'>{}</iq>", asked.payload);
    let mut scratch = Scratch::default();
    let element = xmlstream::parse_element(&text, "jabber:client", &mut scratch, &Limits::default()).expect("XML");
    let stanza = Stanza::read(element).expect("a stanza").expect("an IQ");
    let payload = stanza.payload().expect("a payload");
    let (target, to) = match asked.account {
        Some(_) => (Target::Account, "juliet@example.org"),
        None => (Target::Server, "example.org"),
    };
    let to = Jid::parse(to).expect("a JID");
    let answer = registry
        .handler(target, asked.method, payload.ns(), payload.name())
        .map(|(_, handle)| {
            handle(&mut Ask {
                now: NOW,
                host: &host,
                registry: &registry,
                from: from.as_ref(),
                to: to.as_ref(),
                payload,
                relation: Relation::Owner,
                account: asked.account.as_ref().map(|account| account as &dyn AccountView),
            })
        });
    let answer = match answer {
        Ok(Answer::Result(payload)) => Ok(payload),
        Ok(Answer::Error(error)) | Err(error) => Err(error),
        Ok(Answer::Stored(..)) => panic!("nothing is stored here"),
    };
    assert_eq!(answer.as_deref().map_err(Clone::clone), expected);
}
