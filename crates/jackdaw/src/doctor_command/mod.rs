//! `jackdaw doctor`: looks at the set-up as others see it, and says what is wrong and what to do. It asks the DNS, and
//! connects to where the DNS says that the server is; nothing is asked of the server's files but its configuration, and
//! of the server, if it runs, only which push services are in use. Nothing is changed.
//!
//! - `report.rs`: what was found, a line each, or JSON.
//! - `records.rs`: the DNS. `ports.rs`: whether somebody answers there, and with which certificate.
//! - `web.rs`: host-meta, and where files are. `calls.rs`: STUN and TURN.
//! - `machine.rs`: what this machine needs: a resolver, authorities, the time.
//! - `elsewhere.rs`: the domain of another server, as this one would see it. `push.rs`: those of push services.
//! - `probe.rs`: connections for all of these.

mod calls;
mod elsewhere;
mod machine;
mod ports;
mod probe;
mod push;
mod records;
mod report;
mod web;

use s2s::dns::{Resolver, Settings};
use s2s::identity::Identity;

use crate::config::{Config, Domain, DomainName, Loaded};
use crate::dns;
use crate::failure::{Failure, Why};
pub use report::Format;
use report::Report;

/// What all checks need.
struct Tools<'a> {
    config: &'a Config,
    resolver: Resolver,
    identity: Identity,
}

/// A name of this server under which others connect: a domain, or a service of it.
struct Name {
    /// In A-labels.
    ascii: String,
    /// It has accounts, which log in.
    has_clients: bool,
    has_servers: bool,
}

/// Fails where anything is wrong, when everything was looked at.
pub fn run(of: Option<&str>, format: Format, loaded: &Loaded) -> Result<(), Failure> {
    let of = of.map(DomainName::parse).transpose().map_err(Failure::usage)?;
    let config = &loaded.config;
    let federation = &config.federation;
    let wrong = |error: String| Failure::new(Why::Configuration, format!("[federation]: {error}"));
    let identity = Identity::new(federation.authorities.as_deref());
    let identity = identity.map_err(|error| wrong(format!("authorities: {error}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let resolver = Resolver::new(&Settings {
            servers: federation.resolver.iter().map(|server| server.0).collect(),
            trust_anchor: federation.trust_anchor.clone(),
            ..Settings::default()
        });
        let tools = Tools {
            config,
            resolver: resolver.map_err(|error| wrong(error.to_string()))?,
            identity,
        };
        let mut report = Report::new(format);
        match of {
            Some(domain) if !config.serves(domain.as_str()) => {
                elsewhere::check(&tools, domain.as_str(), &mut report).await;
            }
            of => {
                if loaded.domain_is_assumed {
                    let advice = "add [[domain]] with its name, or give --domain";
                    report.note("configuration", "localhost", "no domain is configured", advice);
                }
                own(&tools, of.as_ref(), &mut report).await;
            }
        }
        report.end()
    })
}

/// `of`: this one alone.
async fn own(tools: &Tools<'_>, of: Option<&DomainName>, report: &mut Report) {
    if !machine::check(tools, report).await {
        return;
    }
    let config = tools.config;
    for domain in config
        .domain
        .iter()
        .filter(|domain| of.is_none_or(|of| domain.name == *of))
    {
        for name in names(config, domain) {
            let places = records::check(tools, &name, report).await;
            ports::check(tools, &name, &places, report).await;
        }
        web::check(tools, domain, report).await;
    }
    for component in config
        .component
        .iter()
        .filter(|_| of.is_none() && config.federation.enabled)
    {
        let name = Name {
            ascii: dns::ascii(component.domain.as_str()),
            has_clients: false,
            has_servers: true,
        };
        let places = records::check(tools, &name, report).await;
        ports::check(tools, &name, &places, report).await;
    }
    for external in &config.external {
        calls::check(tools, external, report).await;
    }
    if of.is_none() && config.federation.enabled {
        push::check(tools, report).await;
    }
}

/// The domain first, then its services.
fn names(config: &Config, domain: &Domain) -> Vec<Name> {
    let ascii = dns::ascii(domain.name.as_str());
    let has_servers = dns::federates(config, domain);
    let service = |label: &str| Name {
        ascii: format!("{label}.{ascii}"),
        has_clients: false,
        has_servers: true,
    };
    let labels = if has_servers { dns::services(config) } else { Vec::new() };
    let mut names: Vec<Name> = labels.into_iter().map(service).collect();
    names.insert(
        0,
        Name {
            ascii,
            has_clients: true,
            has_servers,
        },
    );
    names
}
