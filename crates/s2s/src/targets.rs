//! Where a domain may be found, and in which order to look there (RFC 6120 section 3.2, XEP-0368).

use std::fmt;
use std::net::IpAddr;

use router::{Failure, FailureKind};

use crate::dns::{Answer, NoAnswer, Resolver, Srv};
use crate::journal::{Step, Trace};

/// Where there is no SRV record (RFC 6120 section 3.2.2).
const PORT: u16 = 5269;

/// Places of one domain that are tried; others are left out.
pub const TARGETS: usize = 8;

/// Records of one answer that are told in a trace.
const TOLD: usize = 4;

/// A host and port where a domain may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// In A-labels and small letters, or an IP address.
    pub host: Box<str>,
    pub port: u16,
    /// TLS from the first byte (XEP-0368), instead of STARTTLS.
    pub is_direct: bool,
    /// DNSSEC says that the domain is found there: so the host may prove who it is by its own name (RFC 7673 section 4).
    pub is_secure: bool,
}

impl Target {
    /// The host, if it may prove by its name who it is.
    pub fn secure_host(&self) -> &[Box<str>] {
        let host = std::slice::from_ref(&self.host);
        if self.is_secure { host } else { &[] }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target { host, port, .. } = self;
        match host.parse() {
            Ok(IpAddr::V6(address)) => write!(out, "[{address}]:{port}")?,
            _ => write!(out, "{host}:{port}")?,
        }
        out.write_str(if self.is_direct { " (direct TLS)" } else { " (STARTTLS)" })
    }
}

type Srvs = Result<Answer<Srv>, NoAnswer>;

impl Resolver {
    /// Where to look for a domain (in prepared form), the best first; at least one.
    pub async fn find(&self, domain: &str, trace: &mut Trace) -> Result<Vec<Target>, Failure> {
        if let Some(address) = literal(domain) {
            trace.good(Step::Dns, format!("{domain} is an address"));
            return Ok(vec![Target {
                host: address.to_string().into(),
                port: PORT,
                is_direct: false,
                is_secure: false,
            }]);
        }
        let Some(name) = a_labels(domain) else {
            trace.bad(Step::Dns, format!("{domain} is no name of the DNS"));
            return Err(Failure {
                kind: FailureKind::NotFound,
                text: format!("{domain} is no name of the DNS."),
            });
        };
        let (direct, starttls) = (
            format!("_xmpps-server._tcp.{name}"),
            format!("_xmpp-server._tcp.{name}"),
        );
        let (direct_answer, starttls_answer) = tokio::join!(self.srv(&direct), self.srv(&starttls));
        tell(trace, &direct, &direct_answer);
        tell(trace, &starttls, &starttls_answer);
        let mut random = || {
            let mut bytes = [0; 4];
            // Without random numbers the first is tried first, as good as another.
            let _ = getrandom::fill(&mut bytes);
            u32::from_ne_bytes(bytes)
        };
        let targets = order(&name, direct_answer, starttls_answer, &mut random);
        match &targets {
            Ok(targets) => {
                let names: Vec<String> = targets.iter().map(Target::to_string).collect();
                trace.good(Step::Dns, format!("to try: {}", names.join(", ")));
            }
            Err(failure) => trace.bad(Step::Dns, failure.text.clone()),
        }
        targets
    }
}

/// What the answers of `_xmpps-server._tcp` and `_xmpp-server._tcp` make of a domain (in A-labels). `random`: any number.
pub fn order(
    name: &str,
    direct: Srvs,
    starttls: Srvs,
    random: &mut dyn FnMut() -> u32,
) -> Result<Vec<Target>, Failure> {
    let failure = |kind, text: String| Err(Failure { kind, text });
    // RFC 7673 section 3.1: whoever has falsified one answer is not helped by leaving it out.
    if direct == Err(NoAnswer::Bogus) || starttls == Err(NoAnswer::Bogus) {
        let text = format!("The DNS answers about {name} are not signed as they must be (DNSSEC).");
        return failure(FailureKind::Timeout, text);
    }
    let mut unknown = None;
    let mut has_records = false;
    let mut records = Vec::new();
    for (is_direct, answer) in [(true, direct), (false, starttls)] {
        match answer {
            Ok(answer) => {
                has_records = true;
                // RFC 2782: a target "." says that there is no such service.
                let real = answer
                    .records
                    .into_iter()
                    .filter(|srv| !srv.target.is_empty() && srv.port != 0);
                records.extend(real.map(|srv| (srv, is_direct, answer.is_secure)));
            }
            Err(none) if none.is_absence() => {}
            Err(error) => unknown = Some(error),
        }
    }
    if !records.is_empty() {
        return Ok(sorted(records, random));
    }
    match unknown {
        // Not to be told from a domain that has records, and says with them that it is elsewhere.
        Some(error) => failure(
            FailureKind::Timeout,
            format!("The DNS does not tell where {name} is: {error}."),
        ),
        None if has_records => failure(
            FailureKind::NotFound,
            format!("The DNS says that {name} offers no service to other servers."),
        ),
        None => Ok(vec![Target {
            host: name.into(),
            port: PORT,
            is_direct: false,
            is_secure: false,
        }]),
    }
}

/// By priority, and by chance as weights say (RFC 2782); both kinds are one list (XEP-0368 section 4).
fn sorted(mut records: Vec<(Srv, bool, bool)>, random: &mut dyn FnMut() -> u32) -> Vec<Target> {
    // Those of no weight go first, where they have a very small chance. The rest of the key keeps the order fixed.
    records.sort_by(|(one, ..), (other, ..)| {
        let key = |srv: &Srv| (srv.priority, srv.weight != 0);
        key(one).cmp(&key(other))
    });
    let mut targets: Vec<Target> = Vec::new();
    while !records.is_empty() && targets.len() < TARGETS {
        let priority = records[0].0.priority;
        let same = records.iter().take_while(|(srv, ..)| srv.priority == priority);
        let weights: Vec<u64> = same.map(|(srv, ..)| u64::from(srv.weight)).collect();
        let mut left = u64::from(random()) % (weights.iter().sum::<u64>() + 1);
        let chosen = weights.iter().position(|weight| match left.checked_sub(*weight) {
            Some(rest) if rest > 0 => {
                left = rest;
                false
            }
            _ => true,
        });
        let (srv, is_direct, is_secure) = records.remove(chosen.unwrap_or(0));
        let target = Target {
            host: srv.target.into(),
            port: srv.port,
            is_direct,
            is_secure,
        };
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}

fn tell(trace: &mut Trace, name: &str, answer: &Srvs) {
    match answer {
        Ok(answer) => {
            let mut records: Vec<String> = answer.records.iter().take(TOLD).map(Srv::to_string).collect();
            if answer.records.len() > TOLD {
                records.push(format!("and {} more", answer.records.len() - TOLD));
            }
            let secured = if answer.is_secure { " (DNSSEC)" } else { "" };
            trace.good(Step::Dns, format!("{name} SRV{secured}: {}", records.join(", ")));
        }
        Err(none) if none.is_absence() => trace.good(Step::Dns, format!("{name} SRV: {none}")),
        Err(error) => trace.bad(Step::Dns, format!("{name} SRV: {error}")),
    }
}

/// The address that a domain is (RFC 7622 section 3.2), where it is one.
pub fn literal(domain: &str) -> Option<IpAddr> {
    match domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => domain.parse().ok().map(IpAddr::V4),
    }
}

/// A domain as it stands in the DNS and in certificates.
pub fn a_labels(domain: &str) -> Option<String> {
    let name = idna::domain_to_ascii(domain.trim_end_matches('.')).ok()?;
    let is_name = !name.is_empty() && name.len() <= 253 && name.split('.').all(|label| (1..=63).contains(&label.len()));
    is_name.then_some(name)
}

#[cfg(test)]
mod tests;
