//! What the configuration says, in the words of each part of the server. Nothing here starts anything or can fail because
//! of the machine, but for the files whose secrets clients are told ([`hosts`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::accounts::tokens::{DEFAULT_LIFETIMES, Lifetimes};
use c2s::Service;
use http_listener::Files;
use module::{Bytestreams, Host, Privacy, RoomCreators, Rooms, Software, Strangers};
use session::{StreamConfig, TlsPolicy};

use crate::accounts::Passwords;
use crate::config::{self, Bearer, Config, Creators, Domain, External, KeptBy, Kind, Login, ScramHash, Tokens};
use crate::failure::{Failure, Why};
use crate::uploads;

/// An account without sessions is forgotten by the memory after this many seconds: long enough
/// for a client that reconnects, short enough that a crowd that has left costs nothing.
const IDLE_ACCOUNT_SECONDS: i64 = 10;
/// Stanzas that wait for one account while it is being read from the store.
const LOADING_STANZAS: usize = 1024;
/// Longest request to subscribe that is kept as it came, in bytes; of a longer one the fact is.
const REQUEST_BYTES: usize = 2048;

/// Host and port by which clients of a domain reach the listeners of HTTP.
pub fn http_host(config: &Config, domain: &str) -> String {
    let listen = config.listen.iter();
    let port = listen
        .filter(|listen| matches!(listen.kind, Kind::Https | Kind::Multiplex))
        .map(|listen| listen.address.port())
        .next()
        .filter(|port| *port != 443);
    match (&config.http.public_url, port) {
        (Some(url), _) => url.host().to_owned(),
        (None, Some(port)) => format!("{domain}:{port}"),
        (None, None) => domain.to_owned(),
    }
}

/// Where browsers of a domain connect to.
pub fn websocket_url(config: &Config, domain: &str) -> String {
    format!("wss://{}{}", http_host(config, domain), config.http.websocket_path)
}

/// `tls`: None for plain HTTP.
pub(super) fn http_settings(
    config: &Config,
    tls: Option<Arc<rustls::ServerConfig>>,
    secret: [u8; 32],
    files: Option<&Arc<Files>>,
) -> http_listener::Settings {
    let http = &config.http;
    let site = |domain: &crate::config::Domain| {
        let domain = domain.name.as_str();
        let host = http_host(config, domain);
        http_listener::Site {
            domain: domain.to_owned(),
            websocket: websocket_url(config, domain),
            bosh: Some(format!("https://{host}{}", http.bosh_path)),
        }
    };
    // TLS is the listener's or the proxy's affair, never the stream's (RFC 7395 section 3.9).
    let policy = if tls.is_some() {
        TlsPolicy::Required
    } else {
        TlsPolicy::Off
    };
    http_listener::Settings {
        stream: Arc::new(stream_config(config, policy, secret)),
        tls,
        websocket_path: http.websocket_path.clone(),
        bosh_path: http.bosh_path.clone(),
        files_path: format!("{}/", config.files.path),
        files: files.cloned(),
        bosh_inactivity: Duration::from_secs(config.limits.bosh_inactivity_seconds),
        origins: http.origins.clone(),
        sites: config.domain.iter().map(site).collect(),
        trusted_proxies: http
            .trusted_proxies
            .iter()
            .map(|address| address.to_canonical())
            .collect(),
    }
}

/// Before and after somebody has logged in.
pub(super) fn stanza_limits(config: &Config) -> (xmlstream::Limits, xmlstream::Limits) {
    let limits = &config.limits;
    let after_login = xmlstream::Limits {
        bytes: limits.stanza_bytes,
        elements: limits.stanza_elements,
        depth: limits.stanza_depth,
        attributes: limits.attributes,
        namespaces: limits.namespaces,
        name: limits.name_bytes,
    };
    let before_login = xmlstream::Limits {
        bytes: limits.stanza_bytes_before_login,
        elements: limits.stanza_elements_before_login,
        ..after_login
    };
    (before_login, after_login)
}

/// `load` sees to it that there is a domain.
pub(super) fn default_domain(config: &Config) -> String {
    let domain = config.domain.first();
    domain.map_or_else(String::new, |domain| domain.name.as_str().to_owned())
}

pub(super) fn stream_config(config: &Config, tls: TlsPolicy, secret: [u8; 32]) -> StreamConfig {
    let limits = &config.limits;
    let (before_login, after_login) = stanza_limits(config);
    StreamConfig {
        tls,
        before_login,
        after_login,
        idle_seconds: u32::try_from(limits.keepalive_seconds).unwrap_or(u32::MAX),
        login_attempts: u8::try_from(limits.login_attempts).unwrap_or(u8::MAX),
        secret,
        iterations: limits.password_iterations,
        policy: login_policy(&config.login),
        policies: policies(config),
        registration: registration(config),
        lifetimes: lifetimes(&config.login),
        default_domain: default_domain(config),
    }
}

fn login_policy(login: &Login) -> auth::Policy {
    let hash = |hash: &ScramHash| match hash {
        ScramHash::Sha1 => auth::Hash::Sha1,
        ScramHash::Sha256 => auth::Hash::Sha256,
        ScramHash::Sha512 => auth::Hash::Sha512,
    };
    auth::Policy {
        hashes: login.scram.iter().map(hash).collect(),
        plain: login.plain,
        signed: login.signed_offer,
        tokens: match login.tokens {
            Tokens::Any => auth::TokenPolicy::Any,
            Tokens::Bound => auth::TokenPolicy::Bound,
            Tokens::Off => auth::TokenPolicy::Off,
        },
        ..auth::Policy::default()
    }
}

/// What may be logged in with at each domain.
fn policies(config: &Config) -> BTreeMap<String, auth::Policy> {
    let policy = |domain: &Domain| {
        let mut policy = auth::Policy {
            external: domain.client_certificates.is_some(),
            bearer: bearer_hint(&domain.bearer),
            ..login_policy(&config.login)
        };
        // Only PLAIN shows a password to somebody else. Tokens are of the account here.
        if domain.accounts != KeptBy::Own {
            policy.hashes = Vec::new();
            policy.plain = true;
        }
        if domain.guests {
            policy.hashes = Vec::new();
            policy.plain = false;
            policy.tokens = auth::TokenPolicy::Off;
            policy.anonymous = true;
        }
        policy
    };
    let domains = config.domain.iter();
    domains
        .map(|domain| (domain.name.as_str().to_owned(), policy(domain)))
        .collect()
}

/// Who may get an account at each domain by asking. Where they are kept by somebody else none is made here.
fn registration(config: &Config) -> BTreeMap<String, session::Registration> {
    let domains = config.domain.iter();
    domains
        .map(|domain| (domain.name.as_str().to_owned(), registration_of(domain)))
        .collect()
}

pub(super) fn registration_of(domain: &Domain) -> session::Registration {
    match domain.registration {
        _ if domain.guests || domain.accounts != KeptBy::Own => session::Registration::Closed,
        config::Registration::Closed => session::Registration::Closed,
        config::Registration::Invited => session::Registration::Invited,
        config::Registration::Open => session::Registration::Open,
    }
}

/// What a client without a good token is told; None: no tokens are taken.
fn bearer_hint(bearer: &Bearer) -> Option<auth::BearerHint> {
    bearer.is_used().then(|| auth::BearerHint {
        scope: bearer.scope.clone(),
        openid_configuration: bearer.openid_configuration.as_ref().map(|url| url.text.clone()),
    })
}

fn lifetimes(login: &Login) -> Lifetimes {
    let seconds = i64::from(login.token_days) * 86_400;
    Lifetimes {
        token: seconds,
        client: seconds,
        rotate: DEFAULT_LIFETIMES.rotate.min(seconds / 2),
    }
}

pub(super) fn connection_limits(config: &Config) -> c2s::Limits {
    let limits = &config.limits;
    c2s::Limits {
        connections: limits.connections,
        before_login_per_address: limits.connections_before_login_per_address,
        connections_per_second_per_address: limits.connections_per_second_per_address,
        login_failures_per_address: limits.login_failures_per_minute_per_address,
        login_failures_per_account: limits.login_failures_per_minute_per_account,
        registrations_per_address: limits.registrations_per_hour_per_address,
        registrations: limits.registrations_per_hour,
        negotiation: limits.negotiation(),
        unacknowledged: limits.unacknowledged(),
        read_bytes_per_second: limits.read_bytes_per_second,
        read_burst_bytes: limits.read_burst_bytes,
        outbox_bytes: limits.outbox_bytes,
        guests: limits.guests,
        guests_per_address: limits.guests_per_address,
    }
}

pub(super) fn router_limits(config: &Config) -> router::Limits {
    let limits = &config.limits;
    router::Limits {
        sessions: limits.sessions_per_account,
        roster: router::RosterLimits {
            items: limits.roster_items,
            groups_per_item: limits.roster_groups_per_item,
            name_bytes: limits.roster_name_bytes,
            group_bytes: limits.roster_name_bytes,
            requests: limits.subscription_requests_waiting,
            request_bytes: REQUEST_BYTES,
        },
        offline_messages: limits.offline_messages_per_account as u64,
        subscription_requests: limits.subscription_requests_per_minute,
        loading_stanzas: LOADING_STANZAS,
        directed_presence: limits.directed_presences_per_session,
        idle_account_seconds: IDLE_ACCOUNT_SECONDS,
        // Checked to be no more than a day.
        resume_seconds: limits.resume_seconds as u32,
    }
}

pub(super) fn room_limits(config: &Config) -> (muc::Limits, router::Allowance) {
    let limits = &config.limits;
    let of_room = muc::Limits {
        occupants: limits.room_occupants,
        affiliations: limits.room_affiliations,
        history: limits.room_history_messages,
        ..muc::Limits::default()
    };
    let of_account = router::Allowance {
        per_second: limits.room_deliveries_per_second,
        burst: limits.room_burst_deliveries,
    };
    (of_room, of_account)
}

/// Whom nobody wants.
pub(super) fn block_lists(config: &Config) -> Vec<router::BlockList> {
    let lists = config.rooms.block_lists.iter();
    lists
        .map(|list| router::BlockList {
            service: list.service.clone(),
            node: list.node.as_str().into(),
        })
        .collect()
}

/// What the configuration lets the server have beside what every one has.
pub(super) fn offer(config: &Config) -> xeps::Offer {
    xeps::Offer {
        external_services: !config.external.is_empty(),
        files: config.takes_files(),
        bytestreams: config.bytestreams.listen.is_some(),
        nodes: match config.pubsub.create {
            Creators::Accounts => xeps::Creators::Accounts,
            Creators::Admins => xeps::Creators::Admins,
            Creators::Nobody => xeps::Creators::Nobody,
        },
        rooms: config.rooms.enabled,
    }
}

/// Where clients of a domain find the proxy.
fn bytestreams(config: &Config, domain: &Domain) -> Option<Bytestreams> {
    let address = config.bytestreams.listen?;
    let host = config.bytestreams.host.clone();
    Some(Bytestreams {
        host: host.unwrap_or_else(|| domain.name.as_str().to_owned()),
        port: config.bytestreams.port.unwrap_or(address.port()),
        relay: Arc::default(),
    })
}

/// What is said about the rooms of every domain.
fn rooms(config: &Config) -> Rooms {
    let rooms = &config.rooms;
    Rooms {
        creators: match rooms.create {
            config::RoomCreators::Anyone => RoomCreators::Anyone,
            config::RoomCreators::Accounts => RoomCreators::Accounts,
            config::RoomCreators::Admins => RoomCreators::Admins,
        },
        public: rooms.public,
        persistent: rooms.persistent,
        per_account: config.limits.rooms_per_account as u64,
        ..Rooms::default()
    }
}

/// What accounts of a domain are spared.
fn privacy(config: &Config, domain: &Domain) -> Privacy {
    let limits = &config.limits;
    Privacy {
        strangers: match domain.strangers {
            config::Strangers::Allow => Strangers::Allow,
            config::Strangers::Limit => Strangers::Limit,
            config::Strangers::Refuse => Strangers::Refuse,
        },
        stranger_messages: limits.stranger_messages_per_hour,
        stranger_messages_in_all: limits.stranger_messages_per_hour_in_all,
        stranger_requests: limits.stranger_requests_per_hour,
        reports: limits.reports_per_day,
    }
}

pub(super) fn hosts(config: &Config) -> Result<Vec<Host>, Failure> {
    let admins: Vec<String> = config.admins.iter().map(|admin| admin.0.as_str().to_owned()).collect();
    let started = Service::clock();
    let external: Result<Vec<_>, String> = config.external.iter().map(External::service).collect();
    let external = external.map_err(|message| Failure::new(Why::Configuration, message))?;
    let hosts = config
        .domain
        .iter()
        .map(|domain| {
            let contacts = &domain.contacts;
            Host {
                domain: domain.name.as_str().to_owned(),
                admins: admins.clone(),
                // The variables of XEP-0157 section 2, in order.
                contacts: vec![
                    ("abuse-addresses", contacts.abuse.clone()),
                    ("admin-addresses", contacts.admin.clone()),
                    ("feedback-addresses", contacts.feedback.clone()),
                    ("sales-addresses", contacts.sales.clone()),
                    ("security-addresses", contacts.security.clone()),
                    ("status-addresses", contacts.status.clone()),
                    ("support-addresses", contacts.support.clone()),
                ],
                software: Software {
                    name: "Jackdaw",
                    version: env!("CARGO_PKG_VERSION"),
                },
                started,
                guests: guests(domain),
                passwords_elsewhere: domain.accounts != KeptBy::Own,
                takes_invited: registration_of(domain) != session::Registration::Closed,
                inviting: match domain.invitations {
                    config::Invitations::Admins => module::Inviting::Nothing,
                    config::Invitations::Contacts => module::Inviting::Contacts,
                    config::Invitations::Accounts => module::Inviting::Accounts,
                },
                privacy: privacy(config, domain),
                bytestreams: bytestreams(config, domain),
                external: external.clone(),
                uploads: uploads::uploads(config, &http_host(config, domain.name.as_str())),
                rooms: rooms(config),
            }
        })
        .collect();
    Ok(hosts)
}

/// The other domains that guests of this one may reach, if it is one for guests.
fn guests(domain: &Domain) -> Option<Vec<String>> {
    let reach = domain.guests_reach.iter().map(|domain| domain.as_str().to_owned());
    domain.guests.then(|| reach.collect())
}

/// For who asks over XMPP that a password be set.
pub(super) fn passwords(config: &Config) -> Passwords {
    let own = config.domain.iter();
    let own = own.filter(|domain| !domain.guests && domain.accounts == KeptBy::Own);
    Passwords {
        iterations: config.limits.password_iterations,
        domains: own.map(|domain| domain.name.as_str().to_owned()).collect(),
    }
}
