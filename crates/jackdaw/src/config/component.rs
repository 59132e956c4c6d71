//! Programs that speak for a domain of their own (`[[component]]`), and what they may do beside that.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use auth::Secret;
use module::{Delegated, Methods, PresenceSeen};
use serde::{Deserialize, Serialize};
use stanza::ns;

use super::check::{Problem, is_local, problem};
use super::external::first_line;
use super::locate::Step::{Index, Key};
use super::section::section;
use super::{Config, DomainName, Kind, Listen, Tls, types};

/// The most streams of one component: each looks like a program, and nobody has so many.
const MOST_CONNECTIONS: u16 = 100;

/// The port of components. None is registered; this is the usual one.
pub const COMPONENT_PORT: u16 = 5347;

section! {
    /// A program that speaks for a domain of its own (XEP-0114): a gateway to another network, a bot, the server of a
    /// push service. Repeat the section for each. It connects to the listener of the kind "component"; where there is
    /// none, that is 127.0.0.1:5347. It can write in the name of every address of its domain, and what it says is not
    /// encrypted on the way.
    pub struct Component {
        /// Its domain, such as "irc.example.org"; none that is served itself.
        pub domain: DomainName = types::localhost() => "\"irc.example.org\"",
        /// A file whose first line is the secret by which it is known. Read once, at the start.
        pub secret_file: PathBuf = PathBuf::from("component.secret") => "\"component.secret\"",
        /// How many times it may be connected at once: programs that share the work. What one account says comes to one
        /// of them, in its order; what a connection that breaks was not given goes to the others. Without it: 1.
        pub connections: Option<u16> = None => "2",
    }
    tables {
        @default pub privileges: Privileges = Privileges::default(),
        @default pub delegation: Vec<Delegation> = Vec::new(),
    }
}

section! {
    /// What a component may do in the name of the accounts of the domain that it stands below, or else of the first domain
    /// (XEP-0356). Trust it as you trust this server: it can read and say whatever you allow here, and nobody notices.
    @default pub struct Privileges {
        /// Rosters of accounts: "none", "get" (read them), "set" (change them) or "both".
        pub roster: Permitted = Permitted::None,
        /// Whether it is told of every change of a roster that it may read.
        pub roster_pushes: bool = true,
        /// Messages in the name of an account: "none" or "outgoing".
        pub message: PermittedMessages = PermittedMessages::None,
        /// Whose presence it sees: "none", "managed-entity" (that of accounts) or "roster" (and that of their contacts;
        /// it has to be allowed to read rosters).
        pub presence: PermittedPresence = PermittedPresence::None,
        /// Requests in the name of an account, by the namespace of what they ask:
        /// iq = { "http://jabber.org/protocol/pubsub" = "both" }
        pub iq: BTreeMap<String, Permitted> = BTreeMap::new(),
    }
}

section! {
    /// Requests that a component answers in the place of this server, for the domain that it stands below, or else the
    /// first, and its accounts (XEP-0355). Repeat the section for each namespace. Where the component is not there they
    /// are answered with an error.
    pub struct Delegation {
        /// The namespace of the payload.
        pub namespace: String = String::new() => "\"http://jabber.org/protocol/pubsub\"",
        /// Only requests whose payload has all of these attributes: attributes = ["node"]
        @default pub attributes: Vec<String> = Vec::new(),
    }
}

/// Requests of which types.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permitted {
    #[default]
    None,
    Get,
    Set,
    Both,
}

impl Permitted {
    fn methods(self) -> Methods {
        Methods {
            get: matches!(self, Permitted::Get | Permitted::Both),
            set: matches!(self, Permitted::Set | Permitted::Both),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PermittedMessages {
    #[default]
    None,
    Outgoing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PermittedPresence {
    #[default]
    None,
    ManagedEntity,
    Roster,
}

impl Privileges {
    fn read(&self) -> module::Privileges {
        let roster = self.roster.methods();
        module::Privileges {
            roster,
            // Section "Server Allows Roster Access": only to who may read it.
            pushes: roster.get && self.roster_pushes,
            messages: self.message == PermittedMessages::Outgoing,
            iq: self
                .iq
                .iter()
                .map(|(namespace, permitted)| (namespace.as_str().into(), permitted.methods()))
                .collect(),
            presence: match self.presence {
                PermittedPresence::None => PresenceSeen::Nobodys,
                PermittedPresence::ManagedEntity => PresenceSeen::Accounts,
                PermittedPresence::Roster => PresenceSeen::Contacts,
            },
        }
    }
}

/// The listener of a server that has components and says nothing of where they connect.
pub fn default_listener() -> Listen {
    Listen {
        kind: Kind::Component,
        address: (Ipv4Addr::LOCALHOST, COMPONENT_PORT).into(),
        tls: Tls::Off,
        ..Listen::default()
    }
}

/// The secret of each; reads their files. The error says what and where.
pub fn secrets(config: &Config) -> Result<BTreeMap<String, Secret>, String> {
    let secret = |component: &Component| {
        let secret = first_line(&component.secret_file, "[[component]]")?;
        // A first line that is empty is refused where it is read.
        let secret = Secret::from_bytes(secret.as_bytes()).ok_or_else(|| "an empty secret".to_owned())?;
        Ok((component.domain.as_str().to_owned(), secret))
    };
    config.component.iter().map(secret).collect()
}

/// Of a component the domain that shows it: the one it stands below, or else the first.
fn shown_by<'c>(config: &'c Config, name: &str) -> &'c str {
    let above = config.domain.iter().map(|domain| domain.name.as_str());
    let above = above.filter(|domain| name.strip_suffix(domain).is_some_and(|label| label.ends_with('.')));
    let first = config.domain.first().map_or("", |domain| domain.name.as_str());
    above.max_by_key(|domain| domain.len()).unwrap_or(first)
}

/// All of them, as the router has them.
pub fn shown(config: &Config) -> Vec<module::Component> {
    let components = config.component.iter();
    components
        .map(|component| {
            let domain = component.domain.as_str();
            let delegated = component.delegation.iter().map(|delegation| Delegated {
                namespace: delegation.namespace.as_str().into(),
                attributes: delegation.attributes.iter().map(|name| name.as_str().into()).collect(),
            });
            module::Component {
                streams: component.connections.unwrap_or(1).into(),
                privileges: component.privileges.read(),
                delegated: delegated.collect(),
                ..module::Component::new(domain, shown_by(config, domain))
            }
        })
        .collect()
}

/// The first contradiction.
pub fn problem_of(config: &Config) -> Option<Problem> {
    for (index, component) in config.component.iter().enumerate() {
        let name = &component.domain;
        let path = [Key("component"), Index(index), Key("domain")];
        if config.serves(name.as_str()) {
            return Some(problem(
                &path,
                format!("`{name}` is served by this server itself; a component needs a domain of its own"),
            ));
        }
        if config.component[..index].iter().any(|other| other.domain == *name) {
            return Some(problem(
                &path,
                format!("the component `{name}` is there twice; remove one"),
            ));
        }
        if component
            .connections
            .is_some_and(|count| !(1..=MOST_CONNECTIONS).contains(&count))
        {
            return Some(problem(
                &[Key("component"), Index(index), Key("connections")],
                format!("a component has from 1 to {MOST_CONNECTIONS} connections"),
            ));
        }
        let found = problem_of_privileges(component, index).or_else(|| problem_of_delegation(config, component, index));
        if found.is_some() {
            return found;
        }
    }
    let without = config.listen.iter().position(|listen| listen.kind == Kind::Component)?;
    config.component.is_empty().then(|| {
        let message = "nobody may connect to a listener for components: add a [[component]], or remove it";
        problem(&[Key("listen"), Index(without), Key("kind")], message.to_owned())
    })
}

fn problem_of_privileges(component: &Component, index: usize) -> Option<Problem> {
    let privileges = &component.privileges;
    let path = |key| [Key("component"), Index(index), Key("privileges"), Key(key)];
    // XEP-0356, "Roster Presence": "The server MUST reject the permission".
    if privileges.presence == PermittedPresence::Roster && !privileges.roster.methods().get {
        let message =
            r#"`presence = "roster"` is for a component that may read rosters: set roster to "get" or "both""#;
        return Some(problem(&path("presence"), message.to_owned()));
    }
    // Its answers are messages, which would come to the devices of the account.
    if privileges.iq.contains_key(ns::MAM) {
        let message = format!("archives cannot be read in the name of accounts; remove `{}`", ns::MAM);
        return Some(problem(&path("iq"), message));
    }
    None
}

fn problem_of_delegation(config: &Config, component: &Component, index: usize) -> Option<Problem> {
    for (at, delegation) in component.delegation.iter().enumerate() {
        let namespace = delegation.namespace.as_str();
        let path = [
            Key("component"),
            Index(index),
            Key("delegation"),
            Index(at),
            Key("namespace"),
        ];
        // XEP-0355, "Business Rules", 5.
        if namespace.is_empty() || namespace == ns::DELEGATION {
            return Some(problem(
                &path,
                format!("the namespace `{namespace}` cannot be delegated"),
            ));
        }
        let domain = shown_by(config, component.domain.as_str());
        let others = config.component[..index].iter();
        let others = others.filter(|other| shown_by(config, other.domain.as_str()) == domain);
        let mut earlier = others
            .flat_map(|other| &other.delegation)
            .chain(&component.delegation[..at]);
        if earlier.any(|other| other.namespace == namespace) {
            let message = format!("the namespace `{namespace}` of {domain} is delegated twice; remove one");
            return Some(problem(&path, message));
        }
    }
    None
}

/// What is allowed and probably not meant.
pub fn warning(address: SocketAddr) -> Option<String> {
    (!is_local(address.ip())).then(|| {
        format!(
            "component on {address} can be reached from OTHER MACHINES: what components say is NOT ENCRYPTED, and who \
             listens on the way can read it and speak for them"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Domain;

    #[test]
    fn who_shows_a_component() {
        let domain = |name: &str| DomainName::parse(name).expect("a domain");
        let served = ["example.org", "chat.example.org", "example.net"].map(|name| Domain {
            name: domain(name),
            ..Domain::default()
        });
        let check = |name: &str, shown_by: &str| {
            let config = Config {
                domain: served.to_vec(),
                component: vec![Component {
                    domain: domain(name),
                    ..Component::default()
                }],
                ..Config::default()
            };
            assert_eq!(&*shown(&config)[0].shown_by, shown_by, "{name}");
        };
        check("irc.example.org", "example.org");
        check("irc.chat.example.org", "chat.example.org");
        check("irc.example.net", "example.net");
        check("ircexample.net", "example.org");
        check("elsewhere.example", "example.org");
    }

    /// What is wrong with a server of example.org that has these components.
    fn wrong(components: &str) -> Option<String> {
        let text = format!("[[domain]]\nname = \"example.org\"\n{components}");
        let config: Config = toml::from_str(&text).expect("in order");
        problem_of(&config).map(|problem| problem.message)
    }

    #[test]
    fn what_a_component_may_not_have() {
        let check = |more: &str, expected: Option<&str>| {
            let component = "[[component]]\ndomain = \"irc.example.org\"\nsecret_file = \"x\"\n";
            let found = wrong(&format!("{component}{more}"));
            let is_so = match (&found, expected) {
                (None, None) => true,
                (Some(found), Some(expected)) => found.contains(expected),
                _ => false,
            };
            assert!(is_so, "{more}: {found:?}");
        };
        check("", None);
        check("connections = 100", None);
        check("connections = 0", Some("from 1 to 100"));
        check("connections = 101", Some("from 1 to 100"));
        check("[component.privileges]\npresence = \"roster\"\nroster = \"get\"", None);
        check(
            "[component.privileges]\npresence = \"roster\"\nroster = \"set\"",
            Some("read rosters"),
        );
        check("[component.privileges]\niq = { \"urn:a\" = \"both\" }", None);
        check(
            "[component.privileges]\niq = { \"urn:xmpp:mam:2\" = \"get\" }",
            Some("archives"),
        );
        let delegates = |namespace: &str| format!("[[component.delegation]]\nnamespace = \"{namespace}\"\n");
        check(&delegates("urn:a"), None);
        check(&delegates(""), Some("cannot be delegated"));
        check(&delegates("urn:xmpp:delegation:2"), Some("cannot be delegated"));
        check(&format!("{}{}", delegates("urn:a"), delegates("urn:a")), Some("twice"));
        let other = "[[component]]\ndomain = \"elsewhere.test\"\nsecret_file = \"x\"\n";
        check(
            &format!("{}{other}{}", delegates("urn:a"), delegates("urn:a")),
            Some("twice"),
        );
        check(&format!("{}{other}{}", delegates("urn:a"), delegates("urn:b")), None);
    }

    #[test]
    fn what_the_router_is_given() {
        let text = "[[domain]]\nname = \"example.org\"\n[[component]]\ndomain = \"irc.example.org\"\nsecret_file = \"x\"\n\
                    [component.privileges]\nroster = \"set\"\n[[component.delegation]]\nnamespace = \"urn:a\"\n\
                    attributes = [\"node\"]";
        let config: Config = toml::from_str(text).expect("in order");
        let component = shown(&config).remove(0);
        assert_eq!(component.streams, 1);
        // Only who may read a roster is told of its changes.
        assert!(component.privileges.roster.set && !component.privileges.roster.get && !component.privileges.pushes);
        assert!(!component.privileges.messages && component.privileges.presence == PresenceSeen::Nobodys);
        assert_eq!(*component.delegated[0].attributes, ["node".into()]);
    }
}
