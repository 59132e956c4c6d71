//! Tests after the examples of XEP-0060, XEP-0163, XEP-0222, XEP-0223 and XEP-0384, over the memory store.

mod also;
mod approval;
mod discover;
mod items;
mod last;
mod options;
mod owner;
mod publish;
mod service;
mod strangers;
mod subscribe;

use accounts::Account;
use auth::Credentials;
use module::{Answer, Change, Method, Notice, Now, Relation, Step};
use stanza::{Jid, StanzaError};
use store::{Memory, Query, Store};
use xmlstream::{Limits, Scratch};

use crate::{Asker, Context};

const OWNER: &str = "juliet@capulet.lit";
const SERVICE: &str = "pubsub.capulet.lit";
const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const OWNER_NS: &str = "http://jabber.org/protocol/pubsub#owner";
const TUNE: &str = "http://jabber.org/protocol/tune";

/// One account and its nodes, or a service.
struct World {
    store: Memory,
    now: i64,
    owner: &'static str,
}

/// Who asks.
#[derive(Clone, Copy)]
struct Who {
    jid: &'static str,
    relation: Relation,
    groups: &'static [&'static str],
    knows_account: bool,
}

const JULIET: Who = Who {
    jid: "juliet@capulet.lit/balcony",
    relation: Relation::Owner,
    groups: &[],
    knows_account: false,
};

/// Sees Juliet's presence.
const ROMEO: Who = Who {
    jid: "romeo@montague.lit/orchard",
    relation: Relation::Subscriber,
    groups: &["Lovers"],
    knows_account: true,
};

/// Shows his presence to Juliet, and does not see hers.
const PARIS: Who = Who {
    jid: "paris@capulet.lit/tomb",
    relation: Relation::Stranger,
    groups: &["Lovers"],
    knows_account: true,
};

const TYBALT: Who = Who {
    jid: "tybalt@capulet.lit/street",
    relation: Relation::Stranger,
    groups: &[],
    knows_account: false,
};

type Told = Result<(String, Vec<Notice>), StanzaError>;

impl World {
    fn new() -> World {
        let tables = [
            &accounts::ACCOUNTS,
            &crate::NODES,
            &crate::ITEMS,
            &crate::ORDER,
            &crate::TOTALS,
            &crate::PEOPLE,
            &crate::MOVED,
        ];
        let store = Memory::new(&tables);
        let owner = Jid::parse(OWNER).expect("a JID");
        let account = Account::new(owner, 0, Credentials::default());
        store.write_wait(accounts::add(&account)).expect("written");
        World {
            store,
            now: 1_000_000_000_000,
            owner: OWNER,
        }
    }

    fn service() -> World {
        World {
            owner: SERVICE,
            ..World::new()
        }
    }

    /// An owner's message with a form of this type.
    fn decide(&self, who: Who, kind: &str, fields: &[(&str, &str)]) -> Told {
        self.decide_at(self.context(who), kind, fields)
    }

    fn decide_at(&self, context: Context, kind: &str, fields: &[(&str, &str)]) -> Told {
        let form = form("http://jabber.org/protocol/pubsub#subscribe_authorization", fields);
        let form = form.replace("type='submit'", &format!("type='{kind}'"));
        let text = format!("<message>{form}</message>");
        let mut scratch = Scratch::default();
        let message = xmlstream::parse_element(&text, "jabber:client", &mut scratch, &Limits::default()).expect("XML");
        let form = message.children().next().expect("the form");
        assert!(crate::is_decision(&form));
        self.carry_out(crate::decide(&context, &form))
    }

    fn context(&self, who: Who) -> Context {
        Context {
            now: Now(self.now),
            owner: Jid::parse(self.owner).expect("a JID"),
            asker: match self.owner {
                // Nobody is anything to it.
                SERVICE => asker(who.jid),
                _ => Asker {
                    relation: who.relation,
                    groups: who.groups.iter().map(|group| (*group).into()).collect(),
                    knows_account: who.knows_account,
                    ..asker(who.jid)
                },
            },
        }
    }

    /// What the router does with an answer.
    fn carry_out(&self, answer: Answer) -> Told {
        let change = match answer {
            Answer::Result(answer) => return Ok((answer, Vec::new())),
            Answer::Error(error) => return Err(error),
            Answer::Changed(query, make) => self.steps(query, make)?,
            _ => panic!("another answer"),
        };
        self.store.write_wait(change.batch).expect("written");
        match change.refused {
            Some(error) => Err(error),
            None => Ok((change.answer, change.notices)),
        }
    }

    fn steps(&self, mut query: Query, mut make: module::MakeChange) -> Result<Change, StanzaError> {
        loop {
            match make(self.store.read_wait(query))? {
                Step::Ask(next, then) => (query, make) = (next, then),
                Step::Done(change) => return Ok(change),
            }
        }
    }

    /// `<pubsub/>` with this inside.
    fn ask(&self, who: Who, method: Method, namespace: &str, inner: &str) -> Told {
        let text = format!("<iq type='set' id='1'><pubsub xmlns='{namespace}'>{inner}</pubsub></iq>");
        let mut scratch = Scratch::default();
        let iq = xmlstream::parse_element(&text, "jabber:client", &mut scratch, &Limits::default()).expect("XML");
        let payload = iq.children().next().expect("a payload");
        self.carry_out(crate::answer(&self.context(who), method, &payload))
    }

    fn set(&self, who: Who, inner: &str) -> Told {
        self.ask(who, Method::Set, PUBSUB, inner)
    }

    fn get(&self, who: Who, inner: &str) -> Told {
        self.ask(who, Method::Get, PUBSUB, inner)
    }

    fn owner_set(&self, who: Who, inner: &str) -> Told {
        self.ask(who, Method::Set, OWNER_NS, inner)
    }

    fn owner_get(&self, who: Who, inner: &str) -> Told {
        self.ask(who, Method::Get, OWNER_NS, inner)
    }

    /// Juliet publishes; a millisecond passes.
    #[track_caller]
    fn publish(&mut self, node: &str, id: &str, content: &str) -> Vec<Notice> {
        let told = self.set(JULIET, &publishing(node, id, content, &[]));
        self.now += 1;
        told.expect("published").1
    }

    /// Juliet makes a node with these fields.
    #[track_caller]
    fn create(&self, node: &str, fields: &[(&str, &str)]) {
        let form = form("http://jabber.org/protocol/pubsub#node_config", fields);
        let told = self.set(JULIET, &format!("<create node='{node}'/><configure>{form}</configure>"));
        assert_eq!(told.expect("created").0, "");
    }

    fn configure(&self, who: Who, node: &str, fields: &[(&str, &str)]) -> Told {
        let form = form("http://jabber.org/protocol/pubsub#node_config", fields);
        self.owner_set(who, &format!("<configure node='{node}'>{form}</configure>"))
    }

    /// Ids of the items that somebody gets.
    #[track_caller]
    fn ids(&self, who: Who, inner: &str) -> Vec<String> {
        let answer = self.get(who, inner).expect("items").0;
        ids_in(&answer)
    }

    fn totals(&self) -> crate::rows::Totals {
        let row = self.store.read_wait(Query::get(&crate::TOTALS, self.owner, None));
        crate::rows::Totals::read(row.expect("read").row().expect("a row"))
    }

    fn count(&self, table: &'static store::Table) -> u64 {
        let count = self.store.read_wait(Query::count(table, self.owner));
        count.expect("read").count().expect("a count")
    }
}

/// A stranger.
fn asker(jid: &str) -> Asker {
    Asker {
        jid: Jid::parse(jid).expect("a JID"),
        relation: Relation::Stranger,
        groups: Vec::new(),
        knows_account: false,
        // Accounts of its domain.
        creates: jid.contains("@capulet.lit"),
    }
}

fn ids_in(answer: &str) -> Vec<String> {
    let items = answer.split("<item id='").skip(1);
    items
        .map(|item| item.split('\'').next().unwrap_or_default().to_owned())
        .collect()
}

/// A submitted form. Fields that come again are one with several values.
fn form(form_type: &str, fields: &[(&str, &str)]) -> String {
    let mut out = format!(
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>{form_type}</value></field>"
    );
    for (var, value) in fields {
        out.push_str(&format!("<field var='pubsub#{var}'><value>{value}</value></field>"));
    }
    out + "</x>"
}

/// `<publish/>` with options.
fn publishing(node: &str, id: &str, content: &str, options: &[(&str, &str)]) -> String {
    let id = if id.is_empty() {
        String::new()
    } else {
        format!(" id='{id}'")
    };
    let mut out = format!("<publish node='{node}'><item{id}>{content}</item></publish>");
    if !options.is_empty() {
        let form = form("http://jabber.org/protocol/pubsub#publish-options", options);
        out.push_str(&format!("<publish-options>{form}</publish-options>"));
    }
    out
}

/// An error of XEP-0060: condition, and its own one.
fn error(error: StanzaError, condition: &str) -> StanzaError {
    error.app(format!(
        "<{condition} xmlns='http://jabber.org/protocol/pubsub#errors'/>"
    ))
}

/// Without the text for people.
#[track_caller]
fn refused(told: Told, expected: StanzaError) {
    let error = told.map(|(answer, _)| answer).expect_err("an error");
    assert_eq!(StanzaError { text: None, ..error }, expected);
}
