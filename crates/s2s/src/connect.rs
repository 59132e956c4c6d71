//! A connection to one of the places where a domain may be found (RFC 8305).
//!
//! Addresses of both families take turns, and the next is tried while the one before is still silent: who is behind a
//! network that eats packets of one family waits for a moment, not for a minute. The first that answers is taken.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use router::{Failure, FailureKind};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use crate::dns::{NoAnswer, Resolver};
use crate::journal::{Step, Trace};
use crate::places::{Place, Places, line_of_address};
use crate::public::is_public;
use crate::targets::Target;

/// Until the next address is tried (RFC 8305 section 8).
const NEXT: Duration = Duration::from_millis(250);

/// Addresses of one target that are tried; others are left out.
const ADDRESSES: usize = 8;

/// Whether an address and port is one of this server's own.
pub type IsOurs<'a> = &'a (dyn Fn(SocketAddr) -> bool + Send + Sync);

/// What holds for connections.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub is_ours: IsOurs<'a>,
    /// Where each waits for its turn, in the line of its address. `None`: nothing is waited for.
    pub places: Option<&'a Arc<Places>>,
    /// Only addresses of the internet are connected to: whom it is has been chosen by somebody from there.
    pub is_public: bool,
}

impl Default for Terms<'_> {
    /// To anywhere, at once.
    fn default() -> Self {
        Terms {
            is_ours: &|_| false,
            places: None,
            is_public: false,
        }
    }
}

/// What was reached.
#[derive(Debug)]
pub struct Connected {
    pub stream: TcpStream,
    pub address: SocketAddr,
    /// To be kept as long as something is done there: see [`Terms::places`].
    pub place: Option<Place>,
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
        terms: &Terms<'_>,
        trace: &mut Trace,
    ) -> Result<Connected, Failure> {
        let until = until.min(Instant::now() + self.times().target());
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
            if (terms.is_ours)(address) {
                trace.bad(Step::Connect, format!("{address} is this server itself"));
            } else if !is_host(address.ip()) {
                trace.bad(Step::Connect, format!("{address} is the address of no host"));
            } else if terms.is_public && !is_public(address.ip()) {
                trace.bad(Step::Connect, format!("{address} is not an address of the internet"));
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
        match race(possible, until, terms.places, trace).await {
            Some(Won { stream, address, place }) => Ok(Connected {
                stream,
                address,
                place,
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
                end = Some(tokio::time::Instant::now() + self.times().other_family());
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

struct Won {
    stream: TcpStream,
    address: SocketAddr,
    place: Option<Place>,
}

/// The first connection that is made. Those that are not ready then are given up.
async fn race(
    mut possible: VecDeque<SocketAddr>,
    until: Instant,
    places: Option<&Arc<Places>>,
    trace: &mut Trace,
) -> Option<Won> {
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
                    Ok((stream, place)) => {
                        trace.good(Step::Connect, format!("{address}: connected"));
                        return Some(Won { stream, address, place });
                    }
                    Err(error) => {
                        trace.bad(Step::Connect, format!("{address}: {error}"));
                        running.retain(|(one, _)| *one != address);
                        next = tokio::time::Instant::now();
                    }
                }
            }
            () = sleep_until(next), if !possible.is_empty() => {
                next = tokio::time::Instant::now() + NEXT;
                if let Some(address) = possible.pop_front() {
                    let is_its_turn = Arc::new(AtomicBool::new(false));
                    running.push((address, Arc::clone(&is_its_turn)));
                    let places = places.cloned();
                    attempts.spawn(async move { (address, open(address, places, &is_its_turn).await) });
                }
            }
            () = sleep_until(until.into()) => {
                for (address, is_its_turn) in running {
                    let what = match is_its_turn.load(Ordering::Relaxed) {
                        true => "no answer in time",
                        false => "too many connections are being made there already",
                    };
                    trace.bad(Step::Connect, format!("{address}: {what}"));
                }
                return None;
            }
        }
        if attempts.is_empty() && possible.is_empty() {
            return None;
        }
    }
}

async fn open(
    address: SocketAddr,
    places: Option<Arc<Places>>,
    is_its_turn: &AtomicBool,
) -> io::Result<(TcpStream, Option<Place>)> {
    let place = match &places {
        Some(places) => Some(places.take(line_of_address(address.ip())).await),
        None => None,
    };
    is_its_turn.store(true, Ordering::Relaxed);
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

#[cfg(test)]
mod tests;
