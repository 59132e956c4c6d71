//! How a feature declares itself: what it is, what it answers, what it lets pass.
//!
//! A feature is a [`Module`]: a value that says which XEP it implements and how far, which disco
//! features and identities follow from it, which IQ requests it answers, which stanzas it looks
//! at on their way, and which tables it keeps. Nothing else in the server knows a feature by
//! name: service discovery, the capabilities hash, the stream features, the routing of IQs and
//! `docs/xeps.md` are all read off the [`Registry`] that is built from these declarations. So a
//! XEP can be deleted by deleting its file and the line that lists it.
//!
//! Everything here is plain data and plain functions: `now` is an argument, nothing waits.

mod action;
mod archive;
mod ask;
mod assist;
mod blocking;
mod bytestreams;
mod change;
mod chat_settings;
pub mod command;
mod component;
mod data_form;
mod datetime;
mod face;
mod filter;
mod form;
mod host;
mod photo;
mod push;
mod registry;
mod rooms;
mod shows;
mod upgrade;
mod uploads;

pub use action::{
    Acted, Action, Agree, Agreed, Known, MakeActed, Manager, Outcome, Refused, Secret, Standing, Terms, Then, Which,
};
pub use archive::{ArchiveIds, ArchivePrefs, ArchiveRule};
pub use ask::{
    AccountView, Answer, Ask, Connected, Contact, Device, LastActivity, MakeSaid, Relation, Said, Switches, Texts,
};
pub use assist::{Assist, Assisted};
pub use blocking::{Blocking, Report};
pub use bytestreams::{Bytestreams, Relay, Unmet};
pub use change::{Audience, Change, MakeChange, Notice, Step};
pub use chat_settings::{ChatSetting, ChatSettings, Notify};
pub use command::{COMMANDS, Command};
pub use component::{
    Act, Answered, Component, Delegate, Delegated, Greet, Judge, Methods, Nested, PresenceSeen, Privileges,
};
pub use data_form::{DataField, DataForm, FieldType, Submitted};
pub use face::{Deed, Face, Follow, Occasion};
pub use filter::{Filter, Passing, Stage, Verdict};
pub use form::{Field, Form};
pub use host::{Contacts, Credentials, ExternalService, Host, Inviting, Privacy, Software, Strangers};
pub use photo::{Photo, Reach};
pub use push::{Push, PushService};
pub use registry::{Registry, RegistryError, Target};
pub use rooms::{Occupancy, RoomCreators, Rooms};
pub use shows::Shows;
pub use upgrade::Upgrade;
pub use uploads::Uploads;

use stanza::{Jid, JidRef};
use store::{Query, Table};
use xmlstream::Child;

/// Milliseconds since the Unix epoch. Time is an argument everywhere below the listeners.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now(pub i64);

impl Now {
    /// Reads what [`Now::stamp`] writes, and everything else of the DateTime profile (XEP-0082 section 3.2). None: it is
    /// not of that. What is finer than a millisecond is left out.
    pub fn read(text: &str) -> Option<Now> {
        datetime::parse(text)
    }

    /// Whole seconds since the Unix epoch.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The moment in UTC as XEP-0082 section 3.2 writes it, to the millisecond:
    /// `2026-11-24T13:44:36.000Z`.
    pub fn stamp(self) -> String {
        let (seconds, millis) = (self.0.div_euclid(1000), self.0.rem_euclid(1000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        if !(0..=9_999).contains(&year) {
            return format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z");
        }
        // The same without the formatter, as a page of the archive has many.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let numbers = [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, hour),
            (14..16, minute),
            (17..19, second),
        ];
        for (place, mut number) in numbers.into_iter().chain([(20..23, millis)]) {
            for digit in text[place].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        text.iter().map(|byte| char::from(*byte)).collect()
    }
}

/// The Gregorian date of a day counted from 1970-01-01. Years are counted from March, so that the
/// leap day is the last of its year and months follow one formula.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// How far a XEP is implemented; shown in `docs/xeps.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    Complete,
    /// The server's part works; the words say what is left out.
    Partial(&'static str),
}

/// One specification that a module implements.
#[derive(Clone, Copy, Debug)]
pub struct Xep {
    pub number: u16,
    pub title: &'static str,
    pub version: &'static str,
    pub coverage: Coverage,
}

/// An identity of the server or an account (XEP-0030 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub category: &'static str,
    pub kind: &'static str,
    pub name: &'static str,
}

/// Which IQ requests a handler is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Get,
    Set,
}

/// Who may ask. This is the one gate for authorisation of IQ requests: the dispatcher checks it
/// before a handler runs, and answers a refused request exactly as one to a missing account
/// (RFC 6121 section 8.5.1), so that nothing can be learnt from the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Anybody. For accounts: use only for what tells nothing about the account.
    Anyone,
    /// The account itself and whoever may see its presence.
    Subscriber,
    /// The account itself.
    Owner,
    /// Accounts of the domain. For the server and its services, that are known to exist: who is refused gets `forbidden`.
    Local,
    /// Whoever may administer this server: those whom the configuration names, and accounts whose record says so, of
    /// whichever of its domains. For the server and its services; who is refused gets `forbidden`.
    Admin,
}

impl Access {
    /// To an account.
    pub fn admits(self, relation: Relation) -> bool {
        match self {
            Access::Anyone => true,
            Access::Subscriber => relation >= Relation::Subscriber,
            Access::Owner | Access::Local => relation == Relation::Owner,
            // An account is its owner's alone.
            Access::Admin => false,
        }
    }

    /// To the server of `host`, or a service of it.
    pub fn admits_to(self, host: &Host, from: JidRef<'_>, is_admin: bool) -> bool {
        let is_account = from.local().is_some() && from.domain() == host.domain;
        match self {
            Access::Anyone => true,
            Access::Local | Access::Subscriber | Access::Owner => is_account && host.guests.is_none(),
            Access::Admin => is_admin,
        }
    }
}

/// Something of a domain that has an address of its own, beside the server and the accounts: the first label of the
/// address, and then the domain. Domains of guests have none, and where a domain of the configuration has that name it is
/// that. The address is shown in disco#items of the server; it has no presence and takes no messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// `pubsub` for `pubsub.example.org`.
    pub label: &'static str,
    /// Shown to people.
    pub name: &'static str,
}

/// A function that answers one kind of IQ request.
pub type Handle = fn(&mut Ask<'_>) -> Answer;

#[derive(Clone, Copy)]
pub(crate) struct Handler {
    pub(crate) target: Target,
    pub(crate) method: Method,
    pub(crate) name: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) access: Access,
    pub(crate) handle: Handle,
}

/// Writes a stream feature (RFC 6120 section 4.3.2) offered after authentication, as XML.
pub type StreamFeature = fn(&Host, &Registry) -> String;

/// Who answers service discovery about the nodes of an account; other nodes than these it has none.
#[derive(Clone, Copy)]
pub struct Nodes {
    /// disco#info of this node.
    pub info: fn(&Ask<'_>, &str) -> Answer,
    /// disco#items of this node; or of the account, whose other items are given as XML.
    pub items: fn(&Ask<'_>, Option<&str>, String) -> Answer,
    /// A table that has a row of every account with nodes. KeyVal.
    pub accounts: &'static Table,
    /// The last items of some nodes for who has come online: steps to a change that writes nothing, with a notice each
    /// (XEP-0163 section 4.3.4).
    pub last: fn(&Arrival, &[Box<str>]) -> (Query, MakeChange),
    /// The label of the service that has nodes too.
    pub service: &'static str,
    /// Whether this, in a message of an account to itself or to that service, is no message but the answer to a question
    /// about nodes (XEP-0060 section 8.6).
    pub is_decision: fn(&Child<'_>) -> bool,
    /// Then it is the payload of such a request, of which only what goes wrong is told.
    pub decide: Handle,
    /// An account is no more, or a new one has its name: what it has at the nodes of this service is taken away.
    pub leave: fn(&str, &str) -> (Query, MakeChange),
}

/// Somebody who has come online, as the account sees him whose nodes he wants to hear of.
pub struct Arrival {
    pub now: Now,
    pub owner: Jid,
    /// A full JID.
    pub who: Jid,
    pub relation: Relation,
    pub contact: Contact,
}

/// Makes a form that extends disco#info; None where there is nothing to say.
pub type MakeForm = fn(&Host) -> Option<Form>;

/// The declaration of one feature.
pub struct Module {
    pub(crate) name: &'static str,
    pub(crate) xeps: Vec<Xep>,
    pub(crate) features: Vec<(Target, &'static str)>,
    pub(crate) identities: Vec<(Target, Identity)>,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) filters: Vec<Filter>,
    pub(crate) stream_features: Vec<(StreamFeature, Option<&'static str>)>,
    pub(crate) bind_features: Vec<&'static str>,
    pub(crate) bind_questions: Vec<(&'static str, &'static str)>,
    pub(crate) tables: Vec<&'static Table>,
    pub(crate) commands: Vec<Command>,
    pub(crate) kept_accounts_only: bool,
    pub(crate) forms: Vec<(Target, MakeForm)>,
    pub(crate) nodes: Option<Nodes>,
    pub(crate) services: Vec<Service>,
    pub(crate) rooms: Option<&'static str>,
    pub(crate) faces: Vec<Face>,
    pub(crate) upgrades: Vec<Upgrade>,
    pub(crate) assists: Vec<Assist>,
    pub(crate) chat_settings: Option<ChatSettings>,
    pub(crate) greetings: Vec<Greet>,
    pub(crate) judge: Option<Judge>,
    pub(crate) delegate: Option<Delegate>,
}

impl Module {
    pub fn new(name: &'static str) -> Module {
        Module {
            name,
            xeps: Vec::new(),
            features: Vec::new(),
            identities: Vec::new(),
            handlers: Vec::new(),
            filters: Vec::new(),
            stream_features: Vec::new(),
            bind_features: Vec::new(),
            bind_questions: Vec::new(),
            tables: Vec::new(),
            commands: Vec::new(),
            kept_accounts_only: false,
            forms: Vec::new(),
            nodes: None,
            services: Vec::new(),
            rooms: None,
            faces: Vec::new(),
            upgrades: Vec::new(),
            assists: Vec::new(),
            chat_settings: None,
            greetings: Vec::new(),
            judge: None,
            delegate: None,
        }
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Names a specification; `docs/xeps.md` lists it.
    pub fn xep(mut self, number: u16, title: &'static str, version: &'static str, coverage: Coverage) -> Module {
        self.xeps.push(Xep {
            number,
            title,
            version,
            coverage,
        });
        self
    }

    /// A feature in the disco#info of the server.
    pub fn server_feature(mut self, var: &'static str) -> Module {
        self.features.push((Target::Server, var));
        self
    }

    /// A feature in the disco#info of every account.
    pub fn account_feature(mut self, var: &'static str) -> Module {
        self.features.push((Target::Account, var));
        self
    }

    pub fn server_identity(mut self, category: &'static str, kind: &'static str, name: &'static str) -> Module {
        self.identities
            .push((Target::Server, Identity { category, kind, name }));
        self
    }

    pub fn account_identity(mut self, category: &'static str, kind: &'static str, name: &'static str) -> Module {
        self.identities
            .push((Target::Account, Identity { category, kind, name }));
        self
    }

    /// Extends the server's disco#info with a data form (XEP-0128).
    pub fn server_form(mut self, form: MakeForm) -> Module {
        self.forms.push((Target::Server, form));
        self
    }

    /// Answers requests to the server's own address.
    pub fn server_iq(self, method: Method, name: &'static str, namespace: &'static str, handle: Handle) -> Module {
        self.server_iq_for(Access::Anyone, method, name, namespace, handle)
    }

    /// The same, of those that have access.
    pub fn server_iq_for(
        mut self,
        access: Access,
        method: Method,
        name: &'static str,
        namespace: &'static str,
        handle: Handle,
    ) -> Module {
        self.handlers.push(Handler {
            target: Target::Server,
            method,
            name,
            namespace,
            access,
            handle,
        });
        self
    }

    /// Has an address of its own below the domain.
    pub fn service(mut self, service: Service) -> Module {
        self.services.push(service);
        self
    }

    /// Has an address of its own, at which there are rooms (XEP-0045): what has a local part there is for one of them.
    pub fn rooms(mut self, service: Service) -> Module {
        self.rooms = Some(service.label);
        self.service(service)
    }

    /// A feature in the disco#info of this service.
    pub fn service_feature(mut self, label: &'static str, var: &'static str) -> Module {
        self.features.push((Target::Service(label), var));
        self
    }

    /// A feature in the disco#info of every service.
    pub fn every_service_feature(mut self, var: &'static str) -> Module {
        self.features.push((Target::EveryService, var));
        self
    }

    pub fn service_identity(mut self, label: &'static str, identity: Identity) -> Module {
        self.identities.push((Target::Service(label), identity));
        self
    }

    /// Extends the disco#info of this service with a data form (XEP-0128).
    pub fn service_form(mut self, label: &'static str, form: MakeForm) -> Module {
        self.forms.push((Target::Service(label), form));
        self
    }

    /// Answers requests to this service.
    pub fn service_iq(
        mut self,
        label: &'static str,
        method: Method,
        name: &'static str,
        namespace: &'static str,
        access: Access,
        handle: Handle,
    ) -> Module {
        self.handlers.push(Handler {
            target: Target::Service(label),
            method,
            name,
            namespace,
            access,
            handle,
        });
        self
    }

    /// Answers requests to every service.
    pub fn every_service_iq(
        mut self,
        method: Method,
        name: &'static str,
        namespace: &'static str,
        handle: Handle,
    ) -> Module {
        self.handlers.push(Handler {
            target: Target::EveryService,
            method,
            name,
            namespace,
            access: Access::Anyone,
            handle,
        });
        self
    }

    /// Answers requests to the bare JID of an account, on its behalf.
    pub fn account_iq(
        mut self,
        method: Method,
        name: &'static str,
        namespace: &'static str,
        access: Access,
        handle: Handle,
    ) -> Module {
        self.handlers.push(Handler {
            target: Target::Account,
            method,
            name,
            namespace,
            access,
            handle,
        });
        self
    }

    /// Answers service discovery about the nodes of accounts, unless they are guests'. At most one module does.
    pub fn account_nodes(mut self, nodes: Nodes) -> Module {
        self.nodes = Some(nodes);
        self
    }

    /// Shows elsewhere what stands at some nodes; see the module `face`.
    pub fn face(mut self, face: Face) -> Module {
        self.faces.push(face);
        self
    }

    /// What an account wants to be told of rooms; one module has it.
    #[must_use]
    pub fn chat_settings(mut self, settings: ChatSettings) -> Module {
        self.chat_settings = Some(settings);
        self
    }

    /// What a component is told when it has connected: one element, or nothing.
    pub fn greeting(mut self, greet: Greet) -> Module {
        self.greetings.push(greet);
        self
    }

    /// What a component may do in the name of accounts. One module can say it.
    pub fn judge(mut self, judge: Judge) -> Module {
        self.judge = Some(judge);
        self
    }

    /// How components answer for the server. One module can say it.
    pub fn delegate(mut self, delegate: Delegate) -> Module {
        self.delegate = Some(delegate);
        self
    }

    /// Does what a client asks for by an element in a message to somebody else.
    pub fn assist(mut self, assist: Assist) -> Module {
        self.assists.push(assist);
        self
    }

    /// Done once to every account; see there.
    pub fn upgrade(mut self, upgrade: Upgrade) -> Module {
        self.upgrades.push(upgrade);
        self
    }

    /// Looks at stanzas on their way.
    pub fn filter(mut self, filter: Filter) -> Module {
        self.filters.push(filter);
        self
    }

    /// Adds to the stream features offered after authentication.
    pub fn stream_feature(mut self, write: StreamFeature) -> Module {
        self.stream_features.push((write, None));
        self
    }

    /// The same for what is not offered any more once it is on. `var`: its name in [`bind_feature`](Self::bind_feature).
    pub fn stream_feature_until_on(mut self, var: &'static str, write: StreamFeature) -> Module {
        self.stream_features.push((write, Some(var)));
        self
    }

    /// May be negotiated together with binding a resource (XEP-0386 section 3.1): offered there under this name, which
    /// is also the namespace of what a client asks. That is handled as if it came in an IQ of type set to the account,
    /// where the module answers such.
    pub fn bind_feature(mut self, var: &'static str) -> Module {
        self.bind_features.push(var);
        self
    }

    /// What every client is told that binds in this way: the answer to an IQ of type get to the account.
    pub fn bind_question(mut self, name: &'static str, namespace: &'static str) -> Module {
        self.bind_questions.push((name, namespace));
        self
    }

    /// Not for guests, of whom nothing is kept (XEP-0175): their accounts neither show nor answer it. So it is with every
    /// feature that has a table; this is for those that use other tables.
    pub fn kept_accounts_only(mut self) -> Module {
        self.kept_accounts_only = true;
        self
    }

    /// Something that people can have the server do (XEP-0050).
    pub fn command(mut self, command: Command) -> Module {
        self.commands.push(command);
        self
    }

    /// A table this feature keeps in the store.
    pub fn table(mut self, table: &'static Table) -> Module {
        self.tables.push(table);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::Now;

    #[test]
    fn stamps() {
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (4_102_444_800_000, "2100-01-01T00:00:00.000Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "10000-01-01T00:00:00.000Z"),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
            (-62_167_219_200_001, "-001-12-31T23:59:59.999Z"),
        ];
        for (millis, stamp) in cases {
            assert_eq!(Now(millis).stamp(), stamp);
        }
    }
}
