//! Questions to the DNS, and whether their answers can be trusted (DNSSEC).
//!
//! A resolver of this process asks a recursive one: that of the system, or those that the operator names. It checks
//! signatures itself, as the way to the other one is often not protected. Answers are kept as long as their TTL says, in
//! limited number, and so is that there is none.
//!
//! An answer is *secure* (signed, with a chain to a trust anchor), *insecure* (provably not signed, or outside of all
//! anchors), or *bogus*: signed and wrong, or without the signature that it must have. Who gets a bogus answer has none
//! (RFC 7673 section 3.1). Where the recursive resolver passes no signatures on, everything looks bogus. That is found
//! out by a question for what must be signed, the anchor's own zone, and then nothing is secure, but everything works:
//! certificates are checked in any case, and who requires DANE of a domain gets no stream instead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::{Proof, PublicKeyBuf, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{LowerName, Name, RData, RecordType};
use hickory_resolver::proto::serialize::txt::trust_anchor::{Entry, Parser};
use hickory_resolver::system_conf::read_system_conf;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::times::Times;

/// A packet is sent again so often.
const AGAIN: usize = 2;

/// Answers that are kept, for each of the two resolvers.
const KEPT: u64 = 2048;

/// Longest time for which an answer is kept, whatever its TTL.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// That there is none is kept at least so long (of a checked denial its TTL is not known here), and at most so long.
const NONE: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(3600));

/// Records of one answer; others are left out.
const RECORDS: usize = 32;

/// Names that stand for one another, in one answer (CNAME).
const ALIASES: usize = 8;

/// After so long it is looked again whether the recursive resolver passes signatures on.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// Largest file of trust anchors.
const ANCHORS: u64 = 64 * 1024;

/// Whom to ask.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Recursive resolvers; none: those of the system (`/etc/resolv.conf`), and its `/etc/hosts`.
    pub servers: Vec<SocketAddr>,
    /// A file with DNSKEY records to trust, instead of the root's. Of a zone that is not the root, all keys have to be
    /// in it.
    pub trust_anchor: Option<PathBuf>,
    /// Nothing is checked, and nothing is secure.
    pub ignores_dnssec: bool,
    pub times: Times,
}

/// Records of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// At least one.
    pub records: Vec<T>,
    /// All of them, and what led to them, are signed, and the signatures are right.
    pub is_secure: bool,
}

/// Why there are no records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no such name.
    NoName,
    /// The name has no records of this kind.
    NoData,
    Timeout,
    /// DNSSEC says that it is not what the owner of the zone has said.
    Bogus,
    /// The server has said that it cannot tell, or could not be asked.
    Failed(String),
}

impl NoAnswer {
    /// There is nothing, and that is certain. Else it is not known.
    pub fn is_absence(&self) -> bool {
        matches!(self, NoAnswer::NoName | NoAnswer::NoData)
    }
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::NoName => out.write_str("no such name"),
            NoAnswer::NoData => out.write_str("no such record"),
            NoAnswer::Timeout => out.write_str("no answer in time"),
            NoAnswer::Bogus => out.write_str("the answer is not signed as it must be (DNSSEC)"),
            NoAnswer::Failed(why) => write!(out, "the resolver failed: {why}"),
        }
    }
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    /// In small letters, without a final dot. Empty: decidedly no such service here.
    pub target: String,
}

impl fmt::Display for Srv {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Srv {
            priority,
            weight,
            port,
            target,
        } = self;
        write!(out, "{priority} {weight} {port} {target}.")
    }
}

/// A TLSA record (RFC 6698 section 2.1), with numbers as they are in the DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlsa {
    pub usage: u8,
    pub selector: u8,
    pub matching: u8,
    pub data: Vec<u8>,
}

/// Why a resolver cannot be made: a line for the operator.
#[derive(Debug)]
pub struct SettingsError(pub String);

impl fmt::Display for SettingsError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

pub struct Resolver {
    /// Checks signatures. `None` where nothing is to be checked.
    checking: Option<Checking>,
    /// Takes what it gets.
    plain: TokioResolver,
    times: Times,
}

struct Checking {
    resolver: TokioResolver,
    /// Zones of the trust anchors. What is in none of them is insecure.
    zones: Vec<Name>,
    /// Whether signatures get here, and when that was found out. Held while it is being found out.
    passes: Mutex<Option<(Instant, bool)>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    pub fn new(settings: &Settings) -> Result<Resolver, SettingsError> {
        let (anchors, zones) = match &settings.trust_anchor {
            Some(path) => read_anchors(path)?,
            None => (TrustAnchors::default(), vec![Name::root()]),
        };
        let (config, times) = (servers(&settings.servers), settings.times);
        let hosts = match settings.servers[..] {
            [] => ResolveHosts::Always,
            _ => ResolveHosts::Never,
        };
        let checking = match settings.ignores_dnssec {
            true => None,
            false => Some(Checking {
                resolver: build(config.clone(), hosts, times, Some(anchors))?,
                zones,
                passes: Mutex::new(None),
            }),
        };
        Ok(Resolver {
            checking,
            plain: build(config, hosts, times, None)?,
            times,
        })
    }

    pub(crate) fn times(&self) -> Times {
        self.times
    }

    /// `name`: in A-labels, as `_xmpp-server._tcp.example.org`. In no order.
    pub async fn srv(&self, name: &str) -> Result<Answer<Srv>, NoAnswer> {
        self.ask(name, RecordType::SRV)
            .await?
            .filter_map(|record| match record {
                RData::SRV(srv) => Some(Srv {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: plain_text(&srv.target),
                }),
                _ => None,
            })
    }

    /// IPv4 addresses of a host.
    pub async fn ipv4(&self, host: &str) -> Result<Answer<IpAddr>, NoAnswer> {
        self.ask(host, RecordType::A).await?.filter_map(|record| match record {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            _ => None,
        })
    }

    /// IPv6 addresses of a host.
    pub async fn ipv6(&self, host: &str) -> Result<Answer<IpAddr>, NoAnswer> {
        self.ask(host, RecordType::AAAA)
            .await?
            .filter_map(|record| match record {
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            })
    }

    /// What the DNS says of the certificate behind a port of a host (RFC 6698 section 3). Only of use if it is secure,
    /// and so is what has led to the host; and if it is neither there nor absent, the host is not to be talked with
    /// (RFC 7673 section 3.4).
    pub async fn tlsa(&self, host: &str, port: u16) -> Result<Answer<Tlsa>, NoAnswer> {
        let answer = self.ask(&format!("_{port}._tcp.{host}"), RecordType::TLSA).await?;
        answer.filter_map(|record| match record {
            RData::TLSA(tlsa) => Some(Tlsa {
                usage: tlsa.cert_usage.into(),
                selector: tlsa.selector.into(),
                matching: tlsa.matching.into(),
                data: tlsa.cert_data,
            }),
            _ => None,
        })
    }

    /// Whether signatures get here at all, asked of the zone of a trust anchor. `None`: it could not be found out, or
    /// nobody wants to know.
    pub async fn passes_dnssec(&self) -> Option<bool> {
        self.checking.as_ref()?.passes().await
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Answer<RData>, NoAnswer> {
        let Ok(mut name) = Name::from_ascii(name) else {
            return Err(NoAnswer::NoName);
        };
        name.set_fqdn(true);
        match timeout(self.times.question(), self.ask_either(&name, kind)).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::Timeout),
        }
    }

    async fn ask_either(&self, name: &Name, kind: RecordType) -> Result<Answer<RData>, NoAnswer> {
        if let Some(checking) = &self.checking
            && checking.zones.iter().any(|zone| zone.zone_of(name))
            && checking.known().await != Some(false)
        {
            let answer = look_up(&checking.resolver, name, kind).await;
            if answer != Err(NoAnswer::Bogus) || checking.passes().await != Some(false) {
                return answer;
            }
        }
        let answer = look_up(&self.plain, name, kind).await;
        answer.map(|answer| Answer {
            is_secure: false,
            ..answer
        })
    }
}

impl Checking {
    /// What was found out not too long ago.
    async fn known(&self) -> Option<bool> {
        self.passes
            .lock()
            .await
            .filter(|(when, _)| when.elapsed() < LOOK_AGAIN)
            .map(|(_, passes)| passes)
    }

    /// The same, and finds it out.
    async fn passes(&self) -> Option<bool> {
        let mut known = self.passes.lock().await;
        if let Some((_, passes)) = known.filter(|(when, _)| when.elapsed() < LOOK_AGAIN) {
            return Some(passes);
        }
        let passes = self.find_out().await?;
        if !passes {
            tracing::warn!(
                "the DNS resolver passes no DNSSEC signatures on: nothing that it says counts as secure, and DANE is not \
                 used. Name another one in federation.resolvers, for example one on this machine"
            );
        }
        *known = Some((Instant::now(), passes));
        Some(passes)
    }

    /// Two questions, as there are resolvers that pass on the signatures of what there is, but not the proof of what there
    /// is not: for the keys, and for what no zone has at its top.
    async fn find_out(&self) -> Option<bool> {
        let zone = self.zones.first()?;
        match self.resolver.lookup(zone.clone(), RecordType::DNSKEY).await {
            Ok(lookup) => {
                let mut records = lookup.answers().iter();
                // A lone key that is trusted anyhow counts as secure without a signature.
                if !records.any(|record| record.record_type() == RecordType::RRSIG && record.proof.is_secure()) {
                    return Some(false);
                }
            }
            Err(error) => match no_answer(&error) {
                NoAnswer::Timeout => return None,
                _ => return Some(false),
            },
        }
        match look_up(&self.resolver, zone, RecordType::TLSA).await {
            Err(NoAnswer::Timeout) => None,
            Ok(_) => Some(true),
            Err(answer) => Some(answer.is_absence()),
        }
    }
}

impl<T> Answer<T> {
    fn filter_map<R>(self, read: impl Fn(T) -> Option<R>) -> Result<Answer<R>, NoAnswer> {
        let records: Vec<R> = self.records.into_iter().filter_map(read).collect();
        match records[..] {
            [] => Err(NoAnswer::NoData),
            _ => Ok(Answer {
                records,
                is_secure: self.is_secure,
            }),
        }
    }
}

async fn look_up(resolver: &TokioResolver, name: &Name, kind: RecordType) -> Result<Answer<RData>, NoAnswer> {
    let mut asked = name.clone();
    let mut is_secure = true;
    for _ in 0..ALIASES {
        let answer = match resolver.lookup(asked.clone(), kind).await {
            Ok(lookup) => read(&lookup, &asked, kind),
            // COMPAT hickory-resolver 0.26: with SRV records behind an alias it goes on and asks for the SRV records of their
            // target. The alias is followed here instead.
            Err(NetError::Dns(DnsError::NoRecordsFound(none)))
                if kind == RecordType::SRV && *none.query.name() != asked =>
            {
                let alias = resolver.lookup(asked.clone(), RecordType::CNAME).await;
                let alias = alias.map_err(|error| no_answer(&error))?;
                let (owner, is_signed) = follow(&alias, &asked);
                if owner == asked {
                    return Err(NoAnswer::NoData);
                }
                is_secure &= is_signed;
                asked = owner;
                continue;
            }
            Err(error) => Err(no_answer(&error)),
        };
        return answer.map(|answer| Answer {
            is_secure: answer.is_secure && is_secure,
            ..answer
        });
    }
    Err(NoAnswer::Failed("too many aliases".to_owned()))
}

/// What there is for a name. Whatever else stands in the answer says nothing of it, even if it is signed.
fn read(lookup: &Lookup, name: &Name, kind: RecordType) -> Result<Answer<RData>, NoAnswer> {
    let (owner, mut is_secure) = follow(lookup, name);
    let mut records = Vec::new();
    for record in lookup.answers() {
        if record.name != owner || record.record_type() != kind {
            continue;
        }
        if record.proof == Proof::Bogus {
            return Err(NoAnswer::Bogus);
        }
        is_secure &= record.proof.is_secure();
        if records.len() < RECORDS {
            records.push(record.data.clone());
        }
    }
    match records[..] {
        [] => Err(NoAnswer::NoData),
        _ => Ok(Answer { records, is_secure }),
    }
}

/// Whose records are those of `name`, and whether that is certain.
fn follow(lookup: &Lookup, name: &Name) -> (Name, bool) {
    let (mut owner, mut is_secure) = (name.clone(), true);
    for _ in 0..ALIASES {
        let aliases = lookup.answers().iter().filter(|record| record.name == owner);
        let mut next = aliases.filter_map(|record| match &record.data {
            RData::CNAME(alias) => Some((alias.0.clone(), record.proof.is_secure())),
            _ => None,
        });
        let Some((next, is_signed)) = next.next() else { break };
        is_secure &= is_signed;
        owner = next;
    }
    (owner, is_secure)
}

fn no_answer(error: &NetError) -> NoAnswer {
    let absent = |code| match code {
        ResponseCode::NXDomain => NoAnswer::NoName,
        _ => NoAnswer::NoData,
    };
    match error {
        NetError::Timeout => NoAnswer::Timeout,
        NetError::Dns(DnsError::NoRecordsFound(none)) => absent(none.response_code),
        // Proved in a way that counts as no proof (RFC 9276 section 3.2), which is not wrong.
        NetError::Dns(DnsError::Nsec { response, proof, .. }) if proof.is_insecure() => absent(response.response_code),
        NetError::Dns(DnsError::Nsec { .. } | DnsError::DnssecBogus) => NoAnswer::Bogus,
        other => NoAnswer::Failed(other.to_string()),
    }
}

fn build(
    config: ResolverConfig,
    hosts: ResolveHosts,
    times: Times,
    anchors: Option<TrustAnchors>,
) -> Result<TokioResolver, SettingsError> {
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = times.packet();
    options.attempts = AGAIN;
    options.cache_size = KEPT;
    options.use_hosts_file = hosts;
    options.positive_max_ttl = Some(LONGEST);
    options.negative_min_ttl = Some(NONE.0);
    options.negative_max_ttl = Some(NONE.1);
    options.max_active_requests = 256;
    options.validate = anchors.is_some();
    if let Some(anchors) = anchors {
        builder = builder.with_trust_anchor(anchors.into());
    }
    let problem = |error: NetError| SettingsError(format!("cannot ask the DNS: {error}"));
    builder.build().map_err(problem)
}

/// No search list: all names that are asked for are whole.
fn servers(named: &[SocketAddr]) -> ResolverConfig {
    let server = |address: &SocketAddr| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = address.port();
        }
        NameServerConfig::new(address.ip(), true, connections)
    };
    if !named.is_empty() {
        return ResolverConfig::from_name_servers(named.iter().map(server).collect());
    }
    match read_system_conf() {
        Ok((config, _)) => ResolverConfig::from_name_servers(config.name_servers().to_vec()),
        Err(error) => {
            // As resolv.conf(5) says.
            tracing::warn!(%error, "cannot read the system's DNS servers: asking one on this machine");
            let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
            ResolverConfig::from_name_servers(vec![server(&local)])
        }
    }
}

fn read_anchors(path: &Path) -> Result<(TrustAnchors, Vec<Name>), SettingsError> {
    let problem = |what: String| SettingsError(format!("{}: {what}", path.display()));
    let about = std::fs::metadata(path).map_err(|error| problem(error.to_string()))?;
    if about.len() > ANCHORS {
        return Err(problem(format!("too large for trust anchors: over {ANCHORS} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    let entries = Parser::new(text.as_str()).parse();
    let entries = entries.map_err(|error| problem(format!("not DNSKEY records: {error}")))?;
    let (mut anchors, mut zones) = (TrustAnchors::empty(), Vec::new());
    for entry in entries {
        let Entry::DNSKEY(record) = entry else { continue };
        let mut name = record.name().clone();
        name.set_fqdn(true);
        let key: &PublicKeyBuf = record.data().public_key();
        anchors.insert_with_name(key, LowerName::from(&name));
        if !zones.contains(&name) {
            zones.push(name);
        }
    }
    match zones[..] {
        [] => Err(problem("no DNSKEY record in it".to_owned())),
        _ => Ok((anchors, zones)),
    }
}

fn plain_text(name: &Name) -> String {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    text.truncate(text.trim_end_matches('.').len());
    text
}

#[cfg(test)]
mod tests;
