//! All modules together: who answers what, and what follows from it for discovery.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use stanza::StanzaError;
use store::Table;
use xmlstream::Child;

use crate::command::{CommandSessions, node_of};
use crate::{
    Access, Assist, Change, ChatSettings, Command, Component, Delegate, Face, Filter, Form, Greet, Handle, Host,
    Identity, Judge, MakeForm, Method, Module, Nested, Nodes, Occasion, Service, Stage, Step, StreamFeature, Upgrade,
    Xep, face,
};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// The served domain.
    Server,
    /// A bare JID of the domain.
    Account,
    /// The service of this label, at an address of its own below the domain.
    Service(&'static str),
    /// Every service, beside what it has of its own.
    EveryService,
}

/// A declaration that cannot stand. Only ever seen by a developer: the server refuses to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistryError {
    TwoHandlers {
        name: &'static str,
        namespace: &'static str,
        modules: (&'static str, &'static str),
    },
    TwoModules(&'static str),
    TwoServices(&'static str),
    TwoCommands(&'static str),
    FilterCycle(Vec<&'static str>),
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistryError::TwoHandlers {
                name,
                namespace,
                modules: (a, b),
            } => {
                write!(f, "modules {a} and {b} both answer <{name} xmlns='{namespace}'/>")
            }
            RegistryError::TwoModules(name) => write!(f, "two modules are called {name}"),
            RegistryError::TwoServices(label) => write!(f, "two modules serve {label}"),
            RegistryError::TwoCommands(node) => write!(f, "two commands have the node {node}"),
            RegistryError::FilterCycle(names) => write!(f, "filters wait for each other: {}", names.join(", ")),
        }
    }
}

impl std::error::Error for RegistryError {}

#[derive(Clone, Copy)]
struct Entry {
    access: Access,
    handle: Handle,
    for_guests: bool,
    module: &'static str,
}

type Key = (Target, Method, &'static str, &'static str);

/// Built once at start from all modules; immutable afterwards, but for the commands that are under way.
pub struct Registry {
    handlers: HashMap<Key, Entry>,
    /// Namespaces of which at least one element is understood.
    known: HashSet<&'static str>,
    features: BTreeMap<Target, BTreeSet<&'static str>>,
    /// Of the accounts of guests.
    guest_features: BTreeSet<&'static str>,
    identities: BTreeMap<Target, BTreeSet<Identity>>,
    forms: Vec<(Target, MakeForm)>,
    services: Vec<Service>,
    components: Vec<Component>,
    incoming: Vec<Filter>,
    stream_features: Vec<(StreamFeature, Option<&'static str>)>,
    bind_features: Vec<&'static str>,
    bind_questions: Vec<(&'static str, &'static str)>,
    tables: Vec<&'static Table>,
    /// By node.
    commands: BTreeMap<&'static str, Command>,
    sessions: Arc<CommandSessions>,
    rooms: Option<&'static str>,
    nodes: Option<Nodes>,
    faces: Vec<Face>,
    upgrades: Vec<Upgrade>,
    assists: Vec<Assist>,
    chat_settings: Option<ChatSettings>,
    greetings: Vec<Greet>,
    judge: Option<Judge>,
    delegate: Option<Delegate>,
    nested: Nested,
    xeps: Vec<(Xep, &'static str)>,
}

impl Registry {
    pub fn new(modules: Vec<Module>) -> Result<Registry, RegistryError> {
        let mut registry = Registry {
            handlers: HashMap::new(),
            known: HashSet::new(),
            features: BTreeMap::new(),
            guest_features: BTreeSet::new(),
            identities: BTreeMap::new(),
            forms: Vec::new(),
            services: Vec::new(),
            components: Vec::new(),
            incoming: Vec::new(),
            stream_features: Vec::new(),
            bind_features: Vec::new(),
            bind_questions: Vec::new(),
            tables: Vec::new(),
            commands: BTreeMap::new(),
            sessions: Arc::default(),
            rooms: None,
            nodes: None,
            faces: Vec::new(),
            upgrades: Vec::new(),
            assists: Vec::new(),
            chat_settings: None,
            greetings: Vec::new(),
            judge: None,
            delegate: None,
            nested: Nested::default(),
            xeps: Vec::new(),
        };
        let mut names = HashSet::new();
        let mut filters = Vec::new();
        for module in modules {
            if !names.insert(module.name) {
                return Err(RegistryError::TwoModules(module.name));
            }
            let for_guests = !module.kept_accounts_only && module.tables.is_empty();
            for handler in &module.handlers {
                let key = (handler.target, handler.method, handler.namespace, handler.name);
                let entry = Entry {
                    access: handler.access,
                    handle: handler.handle,
                    for_guests,
                    module: module.name,
                };
                registry.known.insert(handler.namespace);
                if let Some(other) = registry.handlers.insert(key, entry) {
                    return Err(RegistryError::TwoHandlers {
                        name: handler.name,
                        namespace: handler.namespace,
                        modules: (other.module, module.name),
                    });
                }
            }
            for (target, var) in module.features {
                registry.features.entry(target).or_default().insert(var);
                if for_guests && target == Target::Account {
                    registry.guest_features.insert(var);
                }
            }
            for (target, identity) in module.identities {
                registry.identities.entry(target).or_default().insert(identity);
            }
            for service in module.services {
                if registry.service(service.label).is_some() {
                    return Err(RegistryError::TwoServices(service.label));
                }
                registry.services.push(service);
            }
            filters.extend(module.filters);
            registry.forms.extend(module.forms);
            registry.stream_features.extend(module.stream_features);
            registry.bind_features.extend(module.bind_features);
            registry.bind_questions.extend(module.bind_questions);
            registry.tables.extend(module.tables);
            for command in module.commands {
                if registry.commands.insert(command.node, command).is_some() {
                    return Err(RegistryError::TwoCommands(command.node));
                }
            }
            registry.rooms = registry.rooms.or(module.rooms);
            registry.nodes = registry.nodes.or(module.nodes);
            registry.faces.extend(module.faces);
            registry.upgrades.extend(module.upgrades);
            registry.assists.extend(module.assists);
            registry.chat_settings = registry.chat_settings.or(module.chat_settings);
            registry.greetings.extend(module.greetings);
            registry.judge = registry.judge.or(module.judge);
            registry.delegate = registry.delegate.or(module.delegate);
            registry
                .xeps
                .extend(module.xeps.into_iter().map(|xep| (xep, module.name)));
        }
        registry.xeps.sort_by_key(|(xep, name)| (xep.number, *name));
        registry.incoming = in_order(filters)?;
        Ok(registry)
    }

    /// Who answers this request. The error is for an element that nobody understands: a known
    /// namespace gets `feature-not-implemented`, an unknown one `service-unavailable`
    /// (RFC 6120 sections 8.3.3.3 and 8.3.3.19).
    pub fn handler(
        &self,
        target: Target,
        method: Method,
        namespace: &str,
        name: &str,
    ) -> Result<(Access, Handle), StanzaError> {
        let own = get(&self.handlers, &(target, method, namespace, name));
        let found = own.or_else(|| match target {
            Target::Service(_) => get(&self.handlers, &(Target::EveryService, method, namespace, name)),
            _ => None,
        });
        match found {
            Some(entry) => Ok((entry.access, entry.handle)),
            None if self.known.contains(namespace) && target == Target::Server => {
                Err(StanzaError::feature_not_implemented())
            }
            None => Err(StanzaError::service_unavailable()),
        }
    }

    /// Whether the account of a guest answers this request, see [`Module::kept_accounts_only`].
    pub fn serves_guests(&self, method: Method, namespace: &str, name: &str) -> bool {
        let key = (Target::Account, method, namespace, name);
        get(&self.handlers, &key).is_some_and(|entry| entry.for_guests)
    }

    /// True where at least one element of the namespace is understood.
    pub fn knows(&self, namespace: &str) -> bool {
        self.known.contains(namespace)
    }

    /// Feature variables in order (XEP-0030 section 3.1).
    pub fn features(&self, target: Target) -> impl Iterator<Item = &'static str> + '_ {
        let shared = match target {
            Target::Service(_) => self.features.get(&Target::EveryService),
            _ => None,
        };
        let own = self.features.get(&target);
        let all: BTreeSet<_> = own.into_iter().chain(shared).flatten().copied().collect();
        all.into_iter()
    }

    /// The same of the account of a guest.
    pub fn guest_features(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.guest_features.iter().copied()
    }

    /// Identities in order.
    pub fn identities(&self, target: Target) -> impl Iterator<Item = Identity> + '_ {
        self.identities.get(&target).into_iter().flatten().copied()
    }

    /// The services of every domain, in the order of their declaration.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// The service at an address of this first label.
    pub fn service(&self, label: &str) -> Option<&Service> {
        self.services.iter().find(|service| service.label == label)
    }

    /// The same with these components.
    pub fn with_components(mut self, components: Vec<Component>) -> Registry {
        self.components = components;
        self
    }

    /// The components of all domains.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// What a component is told when it has connected.
    pub fn greetings(&self, component: &Component) -> impl Iterator<Item = String> {
        self.greetings.iter().filter_map(move |greet| greet(component))
    }

    /// Who says what components may do in the name of accounts.
    pub fn judge(&self) -> Option<Judge> {
        self.judge
    }

    /// How components answer for the server.
    pub fn delegate(&self) -> Option<Delegate> {
        self.delegate
    }

    /// What they have said that they can.
    pub fn nested(&self) -> &Nested {
        &self.nested
    }

    /// Data forms that extend disco#info (XEP-0128).
    pub fn forms<'a>(&'a self, target: Target, host: &'a Host) -> impl Iterator<Item = Form> + 'a {
        self.forms
            .iter()
            .filter(move |(t, _)| *t == target)
            .filter_map(move |(_, form)| form(host))
    }

    /// Filters of a stage, each after those it names.
    pub fn filters(&self, stage: Stage) -> &[Filter] {
        match stage {
            Stage::Incoming => &self.incoming,
        }
    }

    /// The stream features offered after authentication, as XML.
    ///
    /// `on`: what binding the resource has switched on already (XEP-0386 section 3.2).
    pub fn stream_features(&self, host: &Host, on: &[&str]) -> String {
        let offered = self.stream_features.iter();
        let offered = offered.filter(|(_, var)| var.is_none_or(|var| !on.contains(&var)));
        offered.map(|(write, _)| write(host, self)).collect()
    }

    /// What may be negotiated together with binding a resource (XEP-0386 section 3.1).
    pub fn bind_features(&self) -> &[&'static str] {
        &self.bind_features
    }

    /// Name and namespace of what the account is asked for a client that binds so.
    pub fn bind_questions(&self) -> &[(&'static str, &'static str)] {
        &self.bind_questions
    }

    /// The label of the service that has rooms.
    pub fn rooms(&self) -> Option<&'static str> {
        self.rooms
    }

    /// Who answers service discovery about the nodes of accounts.
    pub fn nodes(&self) -> Option<Nodes> {
        self.nodes
    }

    /// The change with what its faces add ([`Face`]): steps to a change whose deeds were followed.
    pub fn follow(&self, occasion: Occasion, change: Change) -> Result<Step, StanzaError> {
        face::follow(&self.faces, occasion, change)
    }

    pub fn assists(&self) -> &[Assist] {
        &self.assists
    }

    /// What accounts want to be told of rooms, where that is kept.
    pub fn chat_settings(&self) -> Option<ChatSettings> {
        self.chat_settings
    }

    pub fn upgrades(&self) -> &[Upgrade] {
        &self.upgrades
    }

    /// Commands of the server, in the order of their nodes (XEP-0050).
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.commands.values()
    }

    pub fn command(&self, node: &str) -> Option<&Command> {
        self.commands.get(node)
    }

    /// Those that are under way.
    pub fn sessions(&self) -> &Arc<CommandSessions> {
        &self.sessions
    }

    /// Who may ask for this: more than the handler says where it carries a command out.
    pub fn access_to(&self, payload: &Child<'_>) -> Access {
        let command = node_of(payload).and_then(|node| self.command(&node));
        command.map_or(Access::Anyone, Command::access)
    }

    /// Tables of all modules, for the driver of the store.
    pub fn tables(&self) -> &[&'static Table] {
        &self.tables
    }

    /// Specifications by number, each with the module that implements it.
    pub fn xeps(&self) -> &[(Xep, &'static str)] {
        &self.xeps
    }
}

/// `HashMap<(…, &'static str), _>` may be asked with shorter-lived text: the map is covariant in
/// its key, so a shared reference to it coerces to one keyed by the shorter lifetime.
fn get<'m, 't>(
    map: &'m HashMap<(Target, Method, &'t str, &'t str), Entry>,
    key: &(Target, Method, &'t str, &'t str),
) -> Option<&'m Entry> {
    map.get(key)
}

/// Kahn's algorithm, ties broken by name so that the order does not depend on the list of modules.
fn in_order(mut filters: Vec<Filter>) -> Result<Vec<Filter>, RegistryError> {
    filters.sort_by_key(|filter| filter.name);
    let mut done: Vec<Filter> = Vec::with_capacity(filters.len());
    while !filters.is_empty() {
        let waits = |filter: &Filter| {
            filter
                .after
                .iter()
                .any(|name| filters.iter().any(|other| other.name == *name))
        };
        let Some(next) = filters.iter().position(|filter| !waits(filter)) else {
            return Err(RegistryError::FilterCycle(
                filters.iter().map(|filter| filter.name).collect(),
            ));
        };
        done.push(filters.remove(next));
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Ask, Passing, Verdict};

    fn yes(_: &mut Ask<'_>) -> Answer {
        Answer::Result(String::new())
    }

    fn pass(_: &mut Passing<'_, '_>) -> Verdict {
        Verdict::Pass
    }

    fn filter(name: &'static str, after: &'static [&'static str]) -> Filter {
        Filter {
            stage: Stage::Incoming,
            name,
            after,
            run: pass,
        }
    }

    #[test]
    fn a_request_finds_its_handler_and_others_the_right_error() {
        let ping = Module::new("ping").server_iq(Method::Get, "ping", "urn:xmpp:ping", yes);
        let registry = Registry::new(vec![ping]).expect("one module");
        let find = |target, method, namespace: &str, name: &str| {
            let (namespace, name) = (namespace.to_owned(), name.to_owned());
            registry
                .handler(target, method, &namespace, &name)
                .map(|(access, _)| access)
        };
        assert_eq!(
            find(Target::Server, Method::Get, "urn:xmpp:ping", "ping"),
            Ok(Access::Anyone)
        );
        assert_eq!(
            find(Target::Server, Method::Get, "urn:xmpp:ping", "pong"),
            Err(StanzaError::feature_not_implemented())
        );
        assert_eq!(
            find(Target::Account, Method::Get, "urn:xmpp:ping", "ping"),
            Err(StanzaError::service_unavailable())
        );
        assert_eq!(
            find(Target::Server, Method::Get, "urn:x", "ping"),
            Err(StanzaError::service_unavailable())
        );
    }

    #[test]
    fn guests_have_nothing_that_is_kept() {
        static NOTES: Table = Table {
            name: "notes",
            shape: store::Shape::KeyVal,
            columns: &[],
        };
        let module = |name, namespace| {
            let module = Module::new(name).account_feature(namespace).server_feature(namespace);
            module.account_iq(Method::Get, "x", namespace, Access::Owner, yes)
        };
        let registry = Registry::new(vec![
            module("a", "urn:a"),
            module("b", "urn:b").table(&NOTES),
            module("c", "urn:c").kept_accounts_only(),
        ])
        .expect("valid");
        assert_eq!(registry.features(Target::Account).count(), 3);
        assert_eq!(registry.features(Target::Server).count(), 3);
        assert_eq!(registry.guest_features().collect::<Vec<_>>(), ["urn:a"]);
        let serves = |namespace| registry.serves_guests(Method::Get, namespace, "x");
        assert_eq!(["urn:a", "urn:b", "urn:c"].map(serves), [true, false, false]);
        assert!(!registry.serves_guests(Method::Set, "urn:a", "x"));
    }

    #[test]
    fn a_service_has_its_own_and_what_all_have() {
        let service = |label| Service { label, name: "x" };
        let disco = Module::new("disco")
            .every_service_feature("urn:disco")
            .every_service_iq(Method::Get, "x", "urn:disco", yes);
        let files = Module::new("files")
            .service(service("files"))
            .service_feature("files", "urn:files")
            .service_iq("files", Method::Get, "x", "urn:files", Access::Local, yes);
        let relay = Module::new("relay").service(service("relay"));
        let registry = Registry::new(vec![disco, files, relay]).expect("valid");
        let features = |label| registry.features(Target::Service(label)).collect::<Vec<_>>();
        assert_eq!(features("files"), ["urn:disco", "urn:files"]);
        assert_eq!(features("relay"), ["urn:disco"]);
        let find = |target, namespace| {
            let found = registry.handler(target, Method::Get, namespace, "x");
            found.map(|(access, _)| access).ok()
        };
        assert_eq!(find(Target::Service("files"), "urn:disco"), Some(Access::Anyone));
        assert_eq!(find(Target::Service("files"), "urn:files"), Some(Access::Local));
        assert_eq!(find(Target::Service("relay"), "urn:files"), None);
        assert_eq!(find(Target::Server, "urn:disco"), None);
        let labels: Vec<_> = registry.services().iter().map(|service| service.label).collect();
        assert_eq!(labels, ["files", "relay"]);

        let twice = ["a", "b"].map(|name| Module::new(name).service(service("files")));
        let error = Registry::new(twice.into()).err();
        assert_eq!(error, Some(RegistryError::TwoServices("files")));
    }

    #[test]
    fn two_answers_to_one_request_are_refused() {
        let a = Module::new("a").server_iq(Method::Get, "x", "urn:x", yes);
        let b = Module::new("b").server_iq(Method::Get, "x", "urn:x", yes);
        let error = Registry::new(vec![a, b]).err();
        let modules = ("a", "b");
        assert_eq!(
            error,
            Some(RegistryError::TwoHandlers {
                name: "x",
                namespace: "urn:x",
                modules
            })
        );
    }

    #[test]
    fn filters_run_after_what_they_name() {
        let names = |filters: Vec<Filter>| {
            in_order(filters).map(|filters| filters.iter().map(|filter| filter.name).collect::<Vec<_>>())
        };
        assert_eq!(
            names(vec![
                filter("carbons", &["mam"]),
                filter("blocking", &[]),
                filter("mam", &["blocking"])
            ]),
            Ok(vec!["blocking", "mam", "carbons"])
        );
        assert_eq!(names(vec![filter("a", &["gone"])]), Ok(vec!["a"]));
        assert_eq!(
            names(vec![filter("a", &["b"]), filter("b", &["a"])]),
            Err(RegistryError::FilterCycle(vec!["a", "b"]))
        );
    }
}
