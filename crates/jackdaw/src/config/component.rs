//! Programs that speak for a domain of their own (`[[component]]`).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use auth::Secret;

use super::check::{Problem, is_local, problem};
use super::external::first_line;
use super::locate::Step::{Index, Key};
use super::section::section;
use super::{Config, DomainName, Kind, Listen, Tls, types};

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

/// Each with the domain that shows it: the one it stands below, or else the first.
pub fn shown(config: &Config) -> Vec<module::Component> {
    let shown_by = |name: &str| {
        let above = config.domain.iter().map(|domain| domain.name.as_str());
        let above = above.filter(|domain| name.strip_suffix(domain).is_some_and(|label| label.ends_with('.')));
        let first = config.domain.first().map_or("", |domain| domain.name.as_str());
        above.max_by_key(|domain| domain.len()).unwrap_or(first)
    };
    let components = config.component.iter().map(|component| component.domain.as_str());
    components
        .map(|domain| module::Component {
            domain: domain.into(),
            shown_by: shown_by(domain).into(),
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
    }
    let without = config.listen.iter().position(|listen| listen.kind == Kind::Component)?;
    config.component.is_empty().then(|| {
        let message = "nobody may connect to a listener for components: add a [[component]], or remove it";
        problem(&[Key("listen"), Index(without), Key("kind")], message.to_owned())
    })
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
}
