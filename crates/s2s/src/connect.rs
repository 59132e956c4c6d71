//! A connection to one of the places where a domain may be found (RFC 8305).
//!
//! Addresses of both families take turns, and the next is tried while the one before is still silent: who is behind a
//! network that eats packets of one family waits for a moment, not for a minute. The first that answers is taken.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use router::{Failure, FailureKind};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use crate::dns::{NoAnswer, Resolver};
use crate::journal::{Step, Trace};
use crate::targets::Target;

/// Until one target is given up, its addresses included, and another is tried.
const TARGET: Duration = Duration::from_secs(12);

/// Until the next address is tried (RFC 8305 section 8).
const NEXT: Duration = Duration::from_millis(250);

/// When addresses of one family are known, those of the other are waited for so long. Longer than a person would want to
/// wait (RFC 8305 section 3), as the other answer may be what DNSSEC has something to say about.
const OTHER_FAMILY: Duration = Duration::from_secs(2);

/// Addresses of one target that are tried; others are left out.
const ADDRESSES: usize = 8;

/// Whether an address and port is one of this server's own.
pub type IsOurs<'a> = &'a (dyn Fn(SocketAddr) -> bool + Send + Sync);

/// What was reached.
#[derive(Debug)]
pub struct Connected {
    pub stream: TcpStream,
    pub address: SocketAddr,
    /// DNSSEC says that the host has this address, so that TLSA records may be asked for (RFC 7673 section 3.2).
    pub is_secure: bool,
}

/// Addresses of a host, in the order in which to try them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub list: Vec<IpAddr>,
    pub is_secure: bool,
}

impl Resolver {
    /// Connects to a target, until a moment at most. A stream to this server itself is none: it would go round in circles.
    pub async fn connect(
        &self,
        target: &Target,
        until: Instant,
        is_ours: IsOurs<'_>,
        trace: &mut Trace,
    ) -> Result<Connected, Failure> {
        let until = until.min(Instant::now() + TARGET);
        let timed_out = || Failure {
            kind: FailureKind::Timeout,
            text: format!("{} does not answer.", target.host),
        };
        let Ok(addresses) = timeout_at(until.into(), self.addresses(&target.host, trace)).await else {
            trace.bad(Step::Dns, format!("addresses of {}: no answer in time", target.host));
            return Err(timed_out());
        };
        let addresses = addresses.map_err(|none| Failure {
            kind: match none.is_absence() {
                true => FailureKind::NotFound,
                false => FailureKind::Timeout,
            },
            text: format!("No address of {} is known: {none}.", target.host),
        })?;
        let mut possible = VecDeque::new();
        for address in addresses.list {
            let address = SocketAddr::new(address, target.port);
            if is_ours(address) {
                trace.bad(Step::Connect, format!("{address} is this server itself"));
            } else if !is_host(address.ip()) {
                trace.bad(Step::Connect, format!("{address} is the address of no host"));
            } else {
                possible.push_back(address);
            }
        }
        if possible.is_empty() {
            return Err(Failure {
                kind: FailureKind::NotFound,
                text: format!("{} is not the address of another server.", target.host),
            });
        }
        match race(possible, until, trace).await {
            Some((stream, address)) => Ok(Connected {
                stream,
                address,
                is_secure: addresses.is_secure,
            }),
            None => Err(Failure {
                kind: FailureKind::Timeout,
                text: format!("No connection to {}, port {}.", target.host, target.port),
            }),
        }
    }

    /// Addresses of a host (in A-labels, or an address itself).
    pub async fn addresses(&self, host: &str, trace: &mut Trace) -> Result<Addresses, NoAnswer> {
        if let Ok(address) = host.parse::<IpAddr>() {
            let list = vec![address.to_canonical()];
            return Ok(Addresses { list, is_secure: false });
        }
        let (ipv6, ipv4) = self.both(host).await;
        let mut is_secure = false;
        let mut lists = [Vec::new(), Vec::new()];
        let mut failed = None;
        for ((kind, answer), list) in [("AAAA", ipv6), ("A", ipv4)].into_iter().zip(&mut lists) {
            match answer {
                Ok(answer) => {
                    is_secure |= answer.is_secure;
                    list.extend(answer.records.into_iter().map(|address| address.to_canonical()));
                    let secured = if answer.is_secure { " (DNSSEC)" } else { "" };
                    let told: Vec<String> = list.iter().take(ADDRESSES).map(IpAddr::to_string).collect();
                    trace.good(Step::Dns, format!("{host} {kind}{secured}: {}", told.join(", ")));
                }
                Err(none) if none.is_absence() => {
                    trace.good(Step::Dns, format!("{host} {kind}: {none}"));
                    failed.get_or_insert(none);
                }
                Err(error) => {
                    trace.bad(Step::Dns, format!("{host} {kind}: {error}"));
                    // Worse than that there are none; and the one that is worst of all stays.
                    if failed != Some(NoAnswer::Bogus) {
                        failed = Some(error);
                    }
                }
            }
        }
        // RFC 7673 section 3.2: not to be connected to, whatever the other answer says.
        if failed == Some(NoAnswer::Bogus) {
            return Err(NoAnswer::Bogus);
        }
        let list = interleaved(lists);
        match (list.is_empty(), failed) {
            (true, failed) => Err(failed.unwrap_or(NoAnswer::NoData)),
            (false, _) => Ok(Addresses { list, is_secure }),
        }
    }

    /// Asks for both families. When one has answered with addresses the other one has a moment left.
    async fn both(&self, host: &str) -> (Addressed, Addressed) {
        let (ipv6, ipv4) = (self.ipv6(host), self.ipv4(host));
        tokio::pin!(ipv6, ipv4);
        let (mut first, mut second) = (None, None);
        let mut end = None;
        loop {
            let given_up = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                answer = &mut ipv6, if first.is_none() => first = Some(answer),
                answer = &mut ipv4, if second.is_none() => second = Some(answer),
                () = given_up => {
                    return (first.unwrap_or(Err(NoAnswer::Timeout)), second.unwrap_or(Err(NoAnswer::Timeout)));
                }
            }
            match (first, second) {
                (Some(first), Some(second)) => return (first, second),
                (one, other) => (first, second) = (one, other),
            }
            if end.is_none()
                && [&first, &second]
                    .into_iter()
                    .any(|answer| matches!(answer, Some(Ok(_))))
            {
                end = Some(tokio::time::Instant::now() + OTHER_FAMILY);
            }
        }
    }
}

type Addressed = Result<crate::dns::Answer<IpAddr>, NoAnswer>;

/// IPv6 first, then in turns (RFC 8305 section 4).
fn interleaved([ipv6, ipv4]: [Vec<IpAddr>; 2]) -> Vec<IpAddr> {
    let (mut ipv6, mut ipv4) = (ipv6.into_iter(), ipv4.into_iter());
    let mut list = Vec::new();
    loop {
        let (one, other) = (ipv6.next(), ipv4.next());
        if one.is_none() && other.is_none() {
            return list;
        }
        for address in [one, other].into_iter().flatten() {
            if list.len() < ADDRESSES && !list.contains(&address) {
                list.push(address);
            }
        }
    }
}

fn is_host(address: IpAddr) -> bool {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !address.is_unspecified() && !address.is_multicast() && !is_broadcast
}

/// The first connection that is made. Those that are not ready then are given up.
async fn race(
    mut possible: VecDeque<SocketAddr>,
    until: Instant,
    trace: &mut Trace,
) -> Option<(TcpStream, SocketAddr)> {
    let mut attempts = JoinSet::new();
    let mut running = Vec::new();
    let mut next = tokio::time::Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(joined) = attempts.join_next(), if !attempts.is_empty() => {
                // A task that panicked has told of it.
                let Ok((address, result)) = joined else { continue };
                match result {
                    Ok(stream) => {
                        trace.good(Step::Connect, format!("{address}: connected"));
                        return Some((stream, address));
                    }
                    Err(error) => {
                        trace.bad(Step::Connect, format!("{address}: {error}"));
                        running.retain(|one| *one != address);
                        next = tokio::time::Instant::now();
                    }
                }
            }
            () = sleep_until(next), if !possible.is_empty() => {
                next = tokio::time::Instant::now() + NEXT;
                if let Some(address) = possible.pop_front() {
                    running.push(address);
                    attempts.spawn(async move { (address, open(address).await) });
                }
            }
            () = sleep_until(until.into()) => {
                for address in running {
                    trace.bad(Step::Connect, format!("{address}: no answer in time"));
                }
                return None;
            }
        }
        if attempts.is_empty() && possible.is_empty() {
            return None;
        }
    }
}

async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests;
