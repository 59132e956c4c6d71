//! Other servers, as the configuration has them.

use std::sync::Arc;
use std::time::Duration;

use c2s::Service;
use c2s::tls::Certificates;
use router::{RemoteRules, Router};
use s2s::dns::{self, Resolver};
use s2s::identity::Identity;
use s2s::times::Times;
use s2s::{Federation, OurRules};
use session::ServerConfig;
use tokio::task::spawn_blocking;

use super::settings::{default_domain, stanza_limits};
use crate::config::{Config, Kind};
use crate::failure::{Failure, Why};

/// What there is before anything listens.
pub struct Prepared {
    rules: Arc<OurRules>,
    pub stream: Arc<ServerConfig>,
}

/// None: this server talks with no other.
pub fn prepare(config: &Config, router: &Arc<Router>, dialback_secret: [u8; 32]) -> Option<Prepared> {
    if !config.federation.enabled {
        return None;
    }
    let rules = OurRules::new(Arc::clone(router), config.federation.policy());
    let (before_login, after_login) = stanza_limits(config);
    let stream = ServerConfig {
        before_login,
        after_login,
        idle_seconds: u32::try_from(config.limits.keepalive_seconds).unwrap_or(u32::MAX),
        rules: Arc::clone(&rules) as Arc<dyn session::server::Rules>,
        dialback_secret,
        bidirectional: true,
        default_domain: default_domain(config),
    };
    let stream = Arc::new(stream);
    Some(Prepared { rules, stream })
}

fn links(config: &Config) -> RemoteRules {
    let federation = &config.federation;
    RemoteRules {
        queue_stanzas: federation.queue_stanzas,
        queue_bytes: federation.queue_bytes,
        give_up_seconds: i64::from(federation.give_up_hours) * 3_600,
        answer_seconds: federation.answer_seconds.into(),
        retry_seconds: federation.retry_seconds.into(),
        longest_retry_seconds: federation.longest_retry_seconds.into(),
    }
}

/// From now on the router has streams made. Before anything listens.
pub async fn begin(
    config: &Config,
    prepared: Prepared,
    service: &Arc<Service>,
    certificates: &Arc<Certificates>,
) -> Result<Arc<Federation>, Failure> {
    let federation = &config.federation;
    let resolver = Resolver::new(&dns::Settings {
        servers: federation.resolver.iter().map(|server| server.0).collect(),
        trust_anchor: federation.trust_anchor.clone(),
        times: Times::new(Duration::from_secs(federation.attempt_seconds.into())),
        ..dns::Settings::default()
    });
    let wrong = |key: &str, error: &dyn std::fmt::Display| {
        Failure::new(Why::Configuration, format!("[federation] {key}: {error}"))
    };
    let resolver = resolver.map_err(|error| wrong("resolver or trust_anchor", &error.0))?;
    let authorities = federation.authorities.clone();
    let identity = spawn_blocking(move || Identity::new(authorities.as_deref())).await;
    let identity = identity.map_err(|error| Failure::failed(error.to_string()))?;
    let identity = identity.map_err(|error| wrong("authorities", &error))?;
    let listens = config.listen.iter();
    let of_servers = listens.filter(|listen| listen.kind.is_of_servers() || listen.kind == Kind::Multiplex);
    let links = links(config);
    let federation = Federation::new(s2s::Parts {
        service: Arc::clone(service),
        certificates: Arc::clone(certificates),
        rules: prepared.rules,
        stream: prepared.stream,
        resolver,
        identity,
        listens_at: of_servers.map(|listen| listen.address).collect(),
        attempts: federation.attempts,
    });
    service.know_servers_by(Arc::clone(&federation) as Arc<dyn c2s::Servers>);
    let (router, dialer) = (Arc::clone(service.router()), Arc::clone(&federation));
    let mut token = [0; 8];
    getrandom::fill(&mut token)
        .map_err(|error| Failure::unavailable(format!("the system gives no random numbers: {error}")))?;
    let token = u64::from_ne_bytes(token);
    let waiting = spawn_blocking(move || router.federate(dialer, links, token)).await;
    let waiting = waiting.map_err(|error| Failure::failed(error.to_string()))?;
    let waiting = waiting.map_err(|error| Failure::unavailable(format!("what waits for other servers: {error}")))?;
    if waiting > 0 {
        tracing::info!("{waiting} stanzas wait for other servers since before the restart");
    }
    Ok(federation)
}
