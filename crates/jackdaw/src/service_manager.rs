//! What systemd, or whatever else starts the server and speaks as it does, hands over and wants to know: sockets that it
//! has opened (socket activation, sd_listen_fds(3)), and when the server is ready (sd_notify(3)).
//!
//! A socket is for the listener that has its address, so the configuration is the same with and without them, and none
//! can come to a listener of another kind. A listener without one binds its address itself.

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};

use listenfd::ListenFd;
use socket2::SockRef;

use crate::failure::{Failure, Why};

/// The first descriptor that is handed over.
const FIRST: usize = 3;

struct Socket {
    /// For messages: what the unit calls it, and its descriptor.
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

/// Sockets that were handed over and not taken yet.
#[derive(Default)]
pub struct Sockets(Vec<Socket>);

impl Sockets {
    /// Those that this process was started with. To be called before it has threads, since it removes from the
    /// environment what would tell a child of them.
    pub fn handed_over() -> Result<Sockets, Failure> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unnamed");
            let name = format!("`{name}` (descriptor {})", FIRST + index);
            let wrong = |why: String| {
                let message = format!("the socket {name} of the service manager cannot be used: {why}");
                Err(Failure::new(Why::Configuration, message))
            };
            let Ok(Some(listener)) = handed.take_tcp_listener(index) else {
                return wrong("it is not one of TCP; give a port to ListenStream=".to_owned());
            };
            if !SockRef::from(&listener).is_listener().unwrap_or(false) {
                return wrong("it does not listen; use Accept=no".to_owned());
            }
            match listener.local_addr() {
                Ok(address) => sockets.push(Socket {
                    name,
                    address,
                    listener,
                }),
                Err(error) => return wrong(error.to_string()),
            }
        }
        Ok(Sockets(sockets))
    }

    /// The one for a listener with this address.
    pub fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let find = |wanted: SocketAddr| {
            let is_it = |socket: &Socket| (socket.address.ip(), socket.address.port()) == (wanted.ip(), wanted.port());
            self.0.iter().position(is_it)
        };
        let found = find(address).or_else(|| match address.ip() {
            // What `[::]` is on a machine without IPv6, to systemd and to us.
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => find((Ipv4Addr::UNSPECIFIED, address.port()).into()),
            _ => None,
        });
        found.map(|index| self.0.swap_remove(index).listener)
    }

    /// After all listeners have taken theirs. What is left would be a port that is open and never answers.
    pub fn finish(self) -> Result<(), Failure> {
        let Some(Socket { name, address, .. }) = self.0.first() else {
            return Ok(());
        };
        Err(Failure::new(
            Why::Configuration,
            format!(
                "the socket {name} of the service manager listens on {address}, and no [[listen]] has that address; \
                 give one to it, or take it out of the socket unit"
            ),
        ))
    }
}

/// Tells the service manager how far the server is, if it wants to know: `READY=1`, `STOPPING=1`.
pub fn tell(state: &str) {
    let Some(path) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let sent = match path.as_encoded_bytes() {
        [b'@', name @ ..] => UnixAddr::from_abstract_name(name),
        _ => UnixAddr::from_pathname(&path),
    }
    .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager cannot be told: {state}");
    }
}
