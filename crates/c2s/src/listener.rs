//! Accepts connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::service::Service;

/// Connections the kernel may hold before they are accepted.
const BACKLOG: i32 = 1024;
/// How long to wait after an accept failed for want of resources.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What becomes of a connection that was accepted.
pub trait Admit: Send + Sync + 'static {
    /// Starts a task for it, or drops it.
    fn admit(&self, service: &Arc<Service>, socket: TcpStream, address: IpAddr);
}

/// A bound port that does not accept yet.
pub struct Listener {
    socket: TcpListener,
    admit: Box<dyn Admit>,
}

fn open(address: SocketAddr) -> io::Result<TcpListener> {
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
    pub fn bind(address: SocketAddr, admit: Box<dyn Admit>) -> io::Result<Listener> {
        let socket = match open(address) {
            Err(error)
                if address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                    && !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) =>
            {
                open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
            }
            other => other,
        }?;
        Ok(Listener { socket, admit })
    }

    /// A port that somebody else has bound and listens on.
    pub fn handed_over(socket: std::net::TcpListener, admit: Box<dyn Admit>) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        let socket = TcpListener::from_std(socket)?;
        Ok(Listener { socket, admit })
    }

    /// The address that was bound; tells the port where the configuration says 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Accepts until it is dropped.
    pub async fn run(self, service: Arc<Service>) {
        loop {
            match self.socket.accept().await {
                // On `[::]` those of IPv4 look like ::ffff:192.0.2.1, which nobody wants in a log.
                Ok((socket, address)) => self.accepted(&service, socket, address.ip().to_canonical()),
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
        // Without these a connection works too, only worse.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_user_timeout(Some(service.limits.unacknowledged));
        self.admit.admit(service, socket, address);
    }
}
