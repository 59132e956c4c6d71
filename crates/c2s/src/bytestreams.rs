//! The proxy of SOCKS5 bytestreams (XEP-0065): joins two connections that have named the same meeting (RFC 1928, of which
//! no more is understood than that), when an account of this server asks for it.
//!
//! It connects to nowhere, so it can be used to reach nobody; and what it relays is limited in number, bytes, speed and
//! time. What comes before a meeting is activated is thrown away (section 9.1).

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use module::{Relay, Unmet};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How long a connection may take to say where it wants to go.
const GREETING: Duration = Duration::from_secs(10);

/// How long it then waits for the other, and for the meeting to be activated.
const WAITING: Duration = Duration::from_secs(120);

/// For so long nothing may come from either.
const SILENCE: Duration = Duration::from_secs(120);

/// Bytes that one which waits may send in vain.
const IN_VAIN: usize = 64 * 1024;

/// Bytes read at once.
const BUFFER: usize = 16 * 1024;

/// After an error of `accept` (no file descriptor left) a pause, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Hexadecimal digits of a SHA-1.
const DIGITS: usize = 40;

#[derive(Clone, Copy, Debug)]
pub struct BytestreamLimits {
    /// Connections altogether, and from one address (IPv6: one /64).
    pub connections: usize,
    pub connections_per_address: usize,
    /// Streams that one account has activated.
    pub per_account: usize,
    /// Of one stream, both ways together.
    pub bytes: u64,
    /// Of one stream, each way.
    pub bytes_per_second: u64,
    pub seconds: u64,
}

pub struct Bytestreams {
    limits: BytestreamLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connections: usize,
    by_address: HashMap<IpAddr, usize>,
    by_account: HashMap<String, usize>,
    meetings: HashMap<String, Vec<Seat>>,
    next: u64,
}

/// Of a connection that waits at a meeting.
struct Seat {
    number: u64,
    go: oneshot::Sender<Go>,
}

/// What one that waits is told.
enum Go {
    /// The other relays for both.
    Join(oneshot::Sender<Guest>),
    Lead(oneshot::Receiver<Guest>, Active),
}

type Guest = (TcpStream, Place);

/// Counts as long as it lives.
struct Place(Arc<Bytestreams>, IpAddr);
struct Active(Arc<Bytestreams>, String);

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.connections -= 1;
        less(&mut state.by_address, &self.1);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        less(&mut self.0.state().by_account, &self.1);
    }
}

fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// What activates.
pub struct Activates(pub Arc<Bytestreams>);

impl Relay for Activates {
    fn activate(&self, meeting: &str, account: &str) -> Result<(), Unmet> {
        let mut state = self.0.state();
        match state.meetings.get(meeting).map_or(0, Vec::len) {
            0 => return Err(Unmet::Nobody),
            1 => return Err(Unmet::OneAlone),
            _ => {}
        }
        let active = state.by_account.get(account).copied().unwrap_or_default();
        if active >= self.0.limits.per_account {
            return Err(Unmet::TooMany);
        }
        let mut seats = state.meetings.remove(meeting).unwrap_or_default().into_iter();
        let (Some(leads), Some(joins)) = (seats.next(), seats.next()) else {
            return Err(Unmet::OneAlone);
        };
        state.by_account.insert(account.to_owned(), active + 1);
        // What is dropped below takes the lock again.
        drop(state);
        let active = Active(Arc::clone(&self.0), account.to_owned());
        let (sender, receiver) = oneshot::channel();
        let lead = leads.go.send(Go::Lead(receiver, active));
        // One that has gone in this moment is missed by the other at once.
        let join = joins.go.send(Go::Join(sender));
        match lead.is_ok() && join.is_ok() {
            true => Ok(()),
            false => Err(Unmet::OneAlone),
        }
    }
}

impl Bytestreams {
    pub fn new(limits: BytestreamLimits) -> Arc<Bytestreams> {
        Arc::new(Bytestreams {
            limits,
            state: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in whoever comes, for ever: to be aborted at the end.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, address)) => {
                    if let Some(place) = self.place(address.ip().to_canonical()) {
                        tokio::spawn(Arc::clone(&self).connection(socket, place));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "bytestreams: cannot accept");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn place(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        // A /64 is what one customer has.
        let address = match address {
            IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) >> 64 << 64).into(),
            v4 => v4,
        };
        let mut state = self.state();
        let here = state.by_address.get(&address).copied().unwrap_or_default();
        if state.connections >= self.limits.connections || here >= self.limits.connections_per_address {
            tracing::debug!(%address, "bytestreams: too many connections");
            return None;
        }
        state.connections += 1;
        state.by_address.insert(address, here + 1);
        Some(Place(Arc::clone(self), address))
    }

    async fn connection(self: Arc<Self>, mut socket: TcpStream, place: Place) {
        let Ok(Ok(meeting)) = timeout(GREETING, greeting(&mut socket)).await else {
            return;
        };
        let Some((number, go)) = self.sit(&meeting) else {
            // Two are there: "connection not allowed by ruleset".
            let _ = timeout(GREETING, socket.write_all(&reply(2, &meeting))).await;
            return;
        };
        let go = match timeout(GREETING, socket.write_all(&reply(0, &meeting))).await {
            Ok(Ok(())) => timeout(WAITING, wait(&mut socket, go)).await.ok().flatten(),
            _ => None,
        };
        match go {
            None => self.leave(&meeting, number),
            Some(Go::Join(other)) => drop(other.send((socket, place))),
            Some(Go::Lead(other, active)) => {
                if let Ok((other, its_place)) = other.await {
                    self.relay(socket, other).await;
                    drop(its_place);
                }
                drop((place, active));
            }
        }
    }

    /// None: two are there already (section 9.1: only one target).
    fn sit(&self, meeting: &str) -> Option<(u64, oneshot::Receiver<Go>)> {
        let mut state = self.state();
        let number = state.next;
        let seats = state.meetings.entry(meeting.to_owned()).or_default();
        if seats.len() >= 2 {
            return None;
        }
        let (go, told) = oneshot::channel();
        seats.push(Seat { number, go });
        state.next += 1;
        Some((number, told))
    }

    fn leave(&self, meeting: &str, number: u64) {
        let mut state = self.state();
        if let Some(seats) = state.meetings.get_mut(meeting) {
            seats.retain(|seat| seat.number != number);
            if seats.is_empty() {
                state.meetings.remove(meeting);
            }
        }
    }

    async fn relay(&self, one: TcpStream, other: TcpStream) {
        let moved = AtomicU64::new(0);
        let (from_one, to_one) = one.into_split();
        let (from_other, to_other) = other.into_split();
        let both = async {
            tokio::try_join!(
                self.pump(from_one, to_other, &moved),
                self.pump(from_other, to_one, &moved)
            )
        };
        let ended = timeout(Duration::from_secs(self.limits.seconds), both).await;
        let bytes = moved.load(Ordering::Relaxed);
        tracing::debug!(
            bytes,
            in_order = matches!(ended, Ok(Ok(_))),
            "bytestreams: a stream has ended"
        );
    }

    async fn pump(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf, moved: &AtomicU64) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let before = moved.load(Ordering::Relaxed);
            let count = match timeout(SILENCE, from.read(&mut buffer)).await {
                Ok(count) => count?,
                // The other way something went on.
                Err(_) if moved.load(Ordering::Relaxed) != before => continue,
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            };
            if count == 0 {
                return to.shutdown().await;
            }
            if moved.fetch_add(count as u64, Ordering::Relaxed) + count as u64 > self.limits.bytes {
                return Err(io::ErrorKind::QuotaExceeded.into());
            }
            timeout(SILENCE, to.write_all(&buffer[..count])).await??;
            let micros = count as u64 * 1_000_000 / self.limits.bytes_per_second;
            sleep(Duration::from_micros(micros)).await;
        }
    }
}

/// RFC 1928 sections 3 and 4, as section 9.2 of the text maps it: no authentication, CONNECT to a name which is the hash.
async fn greeting(socket: &mut TcpStream) -> io::Result<String> {
    let refused = || io::Error::from(io::ErrorKind::InvalidData);
    let mut head = [0; 2];
    socket.read_exact(&mut head).await?;
    let [5, methods] = head else { return Err(refused()) };
    let mut offered = vec![0; usize::from(methods)];
    socket.read_exact(&mut offered).await?;
    if !offered.contains(&0) {
        // "No acceptable methods".
        socket.write_all(&[5, 0xff]).await?;
        return Err(refused());
    }
    socket.write_all(&[5, 0]).await?;
    let mut request = [0; 4];
    socket.read_exact(&mut request).await?;
    let failure = match request {
        [5, 1, _, 3] => None,
        // "Address type not supported", "command not supported".
        [5, 1, ..] => Some(8),
        [5, ..] => Some(7),
        _ => return Err(refused()),
    };
    if let Some(failure) = failure {
        socket.write_all(&[5, failure, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
        return Err(refused());
    }
    let mut length = [0; 1];
    socket.read_exact(&mut length).await?;
    let mut name = vec![0; usize::from(length[0])];
    socket.read_exact(&mut name).await?;
    let mut port = [0; 2];
    socket.read_exact(&mut port).await?;
    let is_hash = name.len() == DIGITS && name.iter().all(u8::is_ascii_hexdigit) && port == [0, 0];
    match String::from_utf8(name) {
        Ok(name) if is_hash => Ok(name.to_ascii_lowercase()),
        // A place somewhere else: "connection not allowed by ruleset".
        _ => {
            socket.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
            Err(refused())
        }
    }
}

/// Section 6.3.2: with the address and the port of the request.
fn reply(status: u8, meeting: &str) -> Vec<u8> {
    let mut text = vec![5, status, 0, 3, DIGITS as u8];
    text.extend_from_slice(meeting.as_bytes());
    text.extend_from_slice(&[0, 0]);
    text
}

/// Until it is told what to do. None: it has gone, or talks too much.
async fn wait(socket: &mut TcpStream, mut go: oneshot::Receiver<Go>) -> Option<Go> {
    let mut buffer = [0; 1024];
    let mut in_vain = 0;
    loop {
        tokio::select! {
            // First: what comes behind the activation is for the other.
            biased;
            go = &mut go => return go.ok(),
            count = socket.read(&mut buffer) => match count {
                Ok(count) if count > 0 && in_vain + count <= IN_VAIN => in_vain += count,
                _ => return None,
            },
        }
    }
}
