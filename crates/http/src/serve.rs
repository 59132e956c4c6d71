//! A connection, from the first request until it ends or becomes a WebSocket.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use c2s::{Admit, Channel, Service, Socket};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use rustls::ServerConfig;
use session::StreamConfig;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::answer;
use crate::host_meta::Site;
use crate::io::{Clock, Io};
use crate::proxy::Client;
use crate::route::{Origin, route};

/// The longest head of a request, in bytes, and the most headers in it; above that the answer is 431.
const HEAD_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// Requests on one connection. What comes behind has to come on another.
const REQUESTS: u32 = 1000;

/// What one port serves.
pub struct Settings {
    pub stream: Arc<StreamConfig>,
    /// None: plain HTTP, for this machine and for the proxies that are named.
    pub tls: Option<Arc<ServerConfig>>,
    /// Where the WebSocket is.
    pub websocket_path: String,
    /// Pages from which browsers may connect; empty: any.
    pub origins: Vec<String>,
    pub sites: Vec<Site>,
    /// Proxies that tell the address of their client.
    pub trusted_proxies: Vec<IpAddr>,
}

/// Serves the connections of one port.
pub struct Server(Arc<Settings>);

impl Server {
    pub fn new(settings: Settings) -> Server {
        Server(Arc::new(settings))
    }

    /// Lets a connection in. None where a limit is reached, or where it may not come from there.
    fn enter<S: Socket>(
        &self,
        service: &Arc<Service>,
        socket: S,
        address: IpAddr,
    ) -> Option<impl Future<Output = ()> + use<S>> {
        let settings = &self.0;
        let canonical = address.to_canonical();
        let is_proxy = settings.trusted_proxies.contains(&canonical);
        if settings.tls.is_none() && !is_proxy && !canonical.is_loopback() {
            tracing::warn!(%address, "a connection was refused: plain HTTP is for http.trusted_proxies only");
            return None;
        }
        let origin = Origin {
            address,
            is_proxy,
            is_secured: settings.tls.is_some(),
        };
        let channel = Channel::admit(service, socket, address, is_proxy, settings.tls.clone())?;
        Some(serve(Arc::clone(settings), Arc::clone(service), channel, origin))
    }
}

impl Admit for Server {
    fn admit(&self, service: &Arc<Service>, socket: TcpStream, address: IpAddr) {
        if let Some(connection) = self.enter(service, socket, address) {
            tokio::spawn(connection);
        }
    }
}

/// A connection that goes on as a WebSocket.
struct Upgrade {
    client: Client,
    /// When the request could have begun: the login has to be complete a while after it.
    began: Instant,
}

async fn serve<S: Socket>(settings: Arc<Settings>, service: Arc<Service>, channel: Channel<S>, origin: Origin) {
    let accepted = Instant::now();
    let patience = channel.patience();
    let upgrade = Arc::new(OnceLock::new());
    let requests = Cell::new(0);
    let (set, shared) = (Arc::clone(&upgrade), Arc::clone(&settings));
    let respond = service_fn(move |request: Request<Incoming>| {
        let (mut answer, client) = route(&shared, &request, origin);
        requests.set(requests.get() + 1);
        if let Some(client) = client {
            let began = if requests.get() == 1 { accepted } else { Instant::now() };
            // It is the last request: nothing is set twice.
            let _ = set.set(Upgrade { client, began });
        } else if requests.get() >= REQUESTS {
            answer::with(&mut answer, CONNECTION, "close");
        }
        ready(Ok::<_, Infallible>(answer))
    });
    let mut connection = http1::Builder::new()
        .timer(Clock)
        // From when it is waited for, so it ends idle connections as well, and unfinished handshakes.
        .header_read_timeout(patience)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(Io(channel), respond);
    let served = tokio::select! {
        served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => served,
        () = service.stopped() => {
            Pin::new(&mut connection).graceful_shutdown();
            poll_fn(|cx| connection.poll_without_shutdown(cx)).await
        }
    };
    if let Err(error) = &served {
        tracing::debug!(address = %origin.address, %error, "a connection of HTTP ended");
    }
    let parts = connection.into_parts();
    let channel = parts.io.0;
    let Some(Upgrade { client, began }) = upgrade.get().filter(|_| served.is_ok()) else {
        return channel.end().await;
    };
    let stream = Arc::clone(&settings.stream);
    let rest = &parts.read_buf;
    // A task of its own, so that nothing is kept of what HTTP needed.
    if let Some(connection) = channel.into_websocket(stream, client.is_secured, client.address, *began, rest) {
        tokio::spawn(connection);
    }
}
