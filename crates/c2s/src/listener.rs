//! Accepts client connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use session::StreamConfig;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::connection::Connection;
use crate::service::{Service, now};

/// Connections the kernel may hold before they are accepted.
const BACKLOG: i32 = 1024;
/// How long to wait after an accept failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How TLS begins on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// In the clear, then STARTTLS (RFC 6120 section 5), usually 5222.
    Starttls,
    /// With the first byte (XEP-0368), usually 5223.
    Direct,
}

/// One port to listen on.
pub struct Listen {
    pub port: Port,
    pub address: SocketAddr,
    pub stream: Arc<StreamConfig>,
    /// Needed for [`Port::Direct`] and wherever STARTTLS is offered.
    pub tls: Option<Arc<ServerConfig>>,
}

pub(crate) struct PortShared {
    pub(crate) direct: bool,
    pub(crate) stream: Arc<StreamConfig>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// A bound port that does not accept yet.
pub struct Listener {
    socket: TcpListener,
    shared: Arc<PortShared>,
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for old connections to time out.
    socket.set_reuse_address(true)?;
    if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
        // `[::]` means every address, also those of IPv4.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl Listener {
    /// Binds the port. `[::]` falls back to `0.0.0.0` on a machine without IPv6.
    pub fn bind(listen: Listen) -> io::Result<Listener> {
        let socket = match bind(listen.address) {
            Err(error)
                if listen.address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                    && !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) =>
            {
                bind(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.address.port()))
            }
            other => other,
        }?;
        let direct = listen.port == Port::Direct;
        Ok(Listener {
            socket,
            shared: Arc::new(PortShared {
                direct,
                stream: listen.stream,
                tls: listen.tls,
            }),
        })
    }

    /// The address that was bound; tells the port where the configuration says 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until it is dropped.
    pub async fn run(self, service: Arc<Service>) {
        loop {
            match self.socket.accept().await {
                Ok((socket, address)) => self.accepted(&service, socket, address.ip()),
                Err(error) => {
                    // Usually out of file descriptors. Those who wait in the kernel's queue are
                    // taken when others have left.
                    tracing::warn!(%error, "no connection can be accepted at the moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn accepted(&self, service: &Arc<Service>, socket: TcpStream, address: IpAddr) {
        if service.is_stopping() || service.connections() >= service.limits.connections {
            tracing::warn!(%address, "a connection was refused: limits.connections is reached");
            return;
        }
        if !service.throttle.admit(address, now().seconds()) {
            tracing::debug!(%address, "a connection was refused: too many from this address");
            return;
        }
        // Without these a connection works too, only worse.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_user_timeout(Some(service.limits.unacknowledged));
        tokio::spawn(Connection::new(
            Arc::clone(service),
            Arc::clone(&self.shared),
            socket,
            address,
        ));
    }
}
