//! How a connection comes in: what one port offers, and whether there is room.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use session::{ComponentConfig, ServerConfig as PeerConfig, StreamConfig, StreamCore};
use tokio::net::TcpStream;

use crate::admission::Admission;
use crate::connection::Connection;
use crate::listener::Admit;
use crate::metrics::Via;
use crate::service::{Limits, Service};
use crate::socket::Socket;

/// How TLS begins on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// In the clear, then STARTTLS (RFC 6120 section 5), usually 5222.
    Starttls,
    /// With the first byte (XEP-0368), usually 5223.
    Direct,
}

/// Whose streams they are.
pub(crate) enum Peer {
    Client(Arc<StreamConfig>),
    /// A component (XEP-0114).
    Component {
        config: Arc<ComponentConfig>,
        /// What may wait for it.
        outbox_bytes: usize,
    },
    /// Another server.
    Server(Arc<PeerConfig>),
}

pub(crate) struct Shared {
    pub(crate) direct: bool,
    pub(crate) via: Via,
    pub(crate) peer: Peer,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

impl Shared {
    /// A stream that begins.
    pub(crate) fn core(&self) -> StreamCore {
        match &self.peer {
            Peer::Client(config) => StreamCore::new(Arc::clone(config), self.direct),
            Peer::Component { config, .. } => StreamCore::component(Arc::clone(config)),
            Peer::Server(config) => StreamCore::incoming(Arc::clone(config), self.direct),
        }
    }

    pub(crate) fn outbox_bytes(&self, limits: &Limits) -> usize {
        match &self.peer {
            Peer::Client(_) | Peer::Server(_) => limits.outbox_bytes,
            Peer::Component { outbox_bytes, .. } => *outbox_bytes,
        }
    }
}

/// What the connections of one port have in common.
pub struct Entry(pub(crate) Arc<Shared>);

impl Entry {
    /// `tls` is needed for [`Port::Direct`] and wherever STARTTLS is offered.
    pub fn new(port: Port, stream: Arc<StreamConfig>, tls: Option<Arc<ServerConfig>>) -> Entry {
        Entry(Arc::new(Shared {
            direct: port == Port::Direct,
            via: match port {
                Port::Starttls => Via::Starttls,
                Port::Direct => Via::Direct,
            },
            peer: Peer::Client(stream),
            tls,
        }))
    }

    /// A port for components, without TLS: XEP-0114 has none. `outbox_bytes`: what may wait for each.
    pub fn of_components(config: Arc<ComponentConfig>, outbox_bytes: usize) -> Entry {
        Entry(Arc::new(Shared {
            direct: false,
            via: Via::Component,
            peer: Peer::Component { config, outbox_bytes },
            tls: None,
        }))
    }

    /// A port for other servers. TLS is that of the kinds `Server` and `ServerDirect`.
    pub fn of_servers(port: Port, config: Arc<PeerConfig>, tls: Arc<ServerConfig>) -> Entry {
        Entry(Arc::new(Shared {
            direct: port == Port::Direct,
            via: Via::ServerIn,
            peer: Peer::Server(config),
            tls: Some(tls),
        }))
    }

    /// The connection over a socket that was just opened. None where a limit is reached; the
    /// socket is closed then, since nothing can be said that costs less than the connection.
    pub fn admit<S: Socket>(&self, service: &Arc<Service>, socket: S, address: IpAddr) -> Option<Connection<S>> {
        if !Admission::is_possible(service, address) {
            return None;
        }
        let admission = Admission::of(service, address)?;
        Some(Connection::new(admission, Arc::clone(&self.0), socket))
    }
}

/// The connection over what BOSH makes a socket of, as [`Entry::admit`]. `is_secured`: that is under TLS.
pub fn admit_carried<S: Socket>(
    service: &Arc<Service>,
    stream: Arc<StreamConfig>,
    is_secured: bool,
    socket: S,
    address: IpAddr,
) -> Option<Connection<S>> {
    if !Admission::is_possible(service, address) {
        return None;
    }
    let admission = Admission::of(service, address)?;
    let port = Arc::new(Shared {
        direct: is_secured,
        via: Via::Bosh,
        peer: Peer::Client(stream),
        tls: None,
    });
    Some(Connection::carried(admission, port, socket))
}

impl Admit for Entry {
    fn admit(&self, service: &Arc<Service>, socket: TcpStream, address: IpAddr) {
        if let Some(connection) = Entry::admit(self, service, socket, address) {
            tokio::spawn(connection);
        }
    }
}
