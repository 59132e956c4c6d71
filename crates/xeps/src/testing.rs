//! Asks one module one thing, as the dispatcher would.

use std::cell::Cell;

use module::{
    AccountView, Answer, ArchiveIds, ArchivePrefs, Ask, Connected, Contact, Device, Host, LastActivity, Method, Module,
    Now, Passing, Registry, Relation, Software, Stage, Switches, Target, Verdict,
};
use stanza::{Edits, Jid, JidRef, Rendered, Stanza, StanzaError};
use xmlstream::{Limits, Scratch};

/// The time of all tests: 1,000,000,000 seconds after the epoch; the server has run for 100.
const NOW: Now = Now(1_000_000_000_000);

pub(crate) struct Asked {
    payload: String,
    method: Method,
    account: Option<Account>,
    switches: Switches,
}

#[derive(Default)]
struct Account {
    online: bool,
    last: Option<LastActivity>,
    prefs: ArchivePrefs,
}

impl AccountView for Account {
    fn devices(&self) -> Vec<Device> {
        let device = Device {
            resource: "balcony".into(),
            priority: 0,
        };
        if self.online { vec![device] } else { Vec::new() }
    }

    fn sessions(&self) -> Vec<Connected> {
        let connected = |device: Device| Connected {
            resource: device.resource.into(),
            client: None,
            is_attached: true,
        };
        self.devices().into_iter().map(connected).collect()
    }

    fn last_activity(&self) -> Option<LastActivity> {
        self.last.clone()
    }

    fn archive_prefs(&self) -> ArchivePrefs {
        self.prefs.clone()
    }

    fn awaits_archive(&self, archive: &str) -> bool {
        archive == "archive.example.net"
    }

    fn contact(&self, _: JidRef<'_>) -> Option<Contact> {
        None
    }

    fn blocked(&self) -> Vec<Box<str>> {
        Vec::new()
    }
}

impl Asked {
    pub(crate) fn server(payload: impl Into<String>) -> Asked {
        Asked {
            payload: payload.into(),
            method: Method::Get,
            account: None,
            switches: Switches::default(),
        }
    }

    /// The own account, without an available resource.
    pub(crate) fn own_account(payload: impl Into<String>) -> Asked {
        Asked {
            account: Some(Account::default()),
            ..Asked::server(payload)
        }
    }

    pub(crate) fn set(mut self) -> Asked {
        self.method = Method::Set;
        self
    }

    /// What the asking session has switched on before.
    pub(crate) fn with(mut self, switches: Switches) -> Asked {
        self.switches = switches;
        self
    }

    pub(crate) fn online(self) -> Asked {
        self.account(Account {
            online: true,
            ..Account::default()
        })
    }

    pub(crate) fn away(self, seconds: i64, status: &str) -> Asked {
        let last = LastActivity {
            at: NOW.seconds() - seconds,
            status: status.into(),
        };
        self.account(Account {
            last: Some(last),
            ..Account::default()
        })
    }

    pub(crate) fn prefers(self, prefs: ArchivePrefs) -> Asked {
        self.account(Account {
            prefs,
            ..Account::default()
        })
    }

    fn account(mut self, account: Account) -> Asked {
        self.account = Some(account);
        self
    }
}

pub(crate) fn ids() -> ArchiveIds {
    ArchiveIds::new(&[1; 32])
}

pub(crate) fn host() -> Host {
    Host::new(
        "example.org",
        Software {
            name: "Jackdaw",
            version: "0.0",
        },
        Now(NOW.0 - 100_000),
    )
}

fn with_stanza<R>(text: &str, then: impl FnOnce(&Stanza<'_>) -> R) -> R {
    let mut scratch = Scratch::default();
    let element = xmlstream::parse_element(text, "jabber:client", &mut scratch, &Limits::default()).expect("XML");
    then(&Stanza::read(element).expect("a stanza").expect("a stanza"))
}

/// The answer, and what the asking session has switched on then.
pub(crate) fn ask(module: Module, asked: Asked) -> (Answer, Switches) {
    let registry = Registry::new(vec![module]).expect("one module");
    let from = Jid::parse("juliet@example.org/balcony").expect("a JID");
    let kind = if asked.method == Method::Get { "get" } else { "set" };
    let text = format!("<iq type='{kind}' id='1'>{}</iq>", asked.payload);
    let (target, to) = match asked.account {
        Some(_) => (Target::Account, "juliet@example.org"),
        None => (Target::Server, "example.org"),
    };
    let to = Jid::parse(to).expect("a JID");
    let switches = Cell::new(asked.switches);
    let answer = with_stanza(&text, |stanza| {
        let payload = stanza.payload().expect("a payload");
        let handler = registry.handler(target, asked.method, payload.ns(), payload.name());
        let ask = |(_, handle): (_, module::Handle)| {
            handle(&mut Ask {
                now: NOW,
                host: &host(),
                registry: &registry,
                from: from.as_ref(),
                to: to.as_ref(),
                payload,
                target,
                relation: Relation::Owner,
                is_admin: false,
                account: asked.account.as_ref().map(|account| account as &dyn AccountView),
                switches: asked.account.is_some().then_some(&switches),
                ids: &ids(),
            })
        };
        handler.map_or_else(Answer::Error, ask)
    });
    (answer, switches.get())
}

/// For what is answered without the store.
pub(crate) fn check(module: Module, asked: Asked, expected: Result<&str, StanzaError>) {
    let answer = match ask(module, asked).0 {
        Answer::Result(payload) => Ok(payload),
        Answer::Error(error) => Err(error),
        Answer::Stored(..)
        | Answer::Asked(..)
        | Answer::Changed(..)
        | Answer::Preferences(..)
        | Answer::Block(..)
        | Answer::Push(..)
        | Answer::Act(..) => {
            panic!("nothing is stored here")
        }
    };
    assert_eq!(answer.as_deref().map_err(Clone::clone), expected);
}

/// What passes the filters of the module on its way to juliet@example.org, without addresses.
pub(crate) fn pass(module: Module, xml: &str) -> Result<String, Verdict> {
    pass_from(module, "romeo@example.net/orchard", xml)
}

/// The same from somebody else.
pub(crate) fn pass_from(module: Module, from: &str, xml: &str) -> Result<String, Verdict> {
    let registry = Registry::new(vec![module]).expect("one module");
    let [from, account] = [from, "juliet@example.org"].map(|jid| Jid::parse(jid).expect("a JID"));
    with_stanza(xml, |stanza| {
        let mut edits = Edits::default();
        for filter in registry.filters(Stage::Incoming) {
            let verdict = (filter.run)(&mut Passing {
                now: NOW,
                host: &host(),
                stanza,
                from: from.as_ref(),
                account: account.as_ref(),
                view: &Account::default(),
                edits: &mut edits,
            });
            if verdict != Verdict::Pass {
                return Err(verdict);
            }
        }
        Ok(Rendered::of(stanza, &edits).as_str().to_owned())
    })
}
