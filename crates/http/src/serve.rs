//! A connection, from the first request until it ends or becomes a WebSocket.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use c2s::{Admit, Channel, Service, Socket};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, ORIGIN};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use rustls::ServerConfig;
use session::StreamConfig;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::answer;
use crate::bosh::Bosh;
use crate::files::Files;
use crate::host_meta::Site;
use crate::io::{Clock, Io};
use crate::proxy::Client;
use crate::route::{Origin, Route, readable, route};

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
    /// Where BOSH is.
    pub bosh_path: String,
    /// What is before the link of every file, slashes included.
    pub files_path: String,
    /// None: there are no files.
    pub files: Option<Arc<Files>>,
    /// How long a client of BOSH may have no request under way.
    pub bosh_inactivity: Duration,
    /// Pages from which browsers may connect; empty: any.
    pub origins: Vec<String>,
    pub sites: Vec<Site>,
    /// Proxies that tell the address of their client.
    pub trusted_proxies: Vec<IpAddr>,
}

/// Serves the connections of one port.
pub struct Server {
    settings: Arc<Settings>,
    bosh: Arc<Bosh>,
}

impl Server {
    pub fn new(settings: Settings) -> Server {
        let bosh = Bosh::new(Arc::clone(&settings.stream), settings.bosh_inactivity);
        Server {
            settings: Arc::new(settings),
            bosh,
        }
    }

    /// Lets a connection in. None where a limit is reached, or where it may not come from there.
    pub(crate) fn let_in<S: Socket>(&self, service: &Arc<Service>, socket: S, address: IpAddr) -> Option<Channel<S>> {
        let settings = &self.settings;
        let is_proxy = self.is_proxy(address);
        if settings.tls.is_none() && !is_proxy && !address.to_canonical().is_loopback() {
            tracing::warn!(%address, "a connection was refused: plain HTTP is for http.trusted_proxies only");
            return None;
        }
        Channel::admit(service, socket, address, is_proxy, settings.tls.clone())
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.settings.trusted_proxies.contains(&address.to_canonical())
    }

    /// A connection that was let in then.
    pub(crate) fn serve<S: Socket>(
        &self,
        service: Arc<Service>,
        channel: Channel<S>,
        address: IpAddr,
        accepted: Instant,
    ) -> impl Future<Output = ()> + use<S> {
        let (settings, bosh) = (Arc::clone(&self.settings), Arc::clone(&self.bosh));
        let origin = Origin {
            address,
            is_proxy: self.is_proxy(address),
            is_secured: settings.tls.is_some(),
        };
        serve(settings, bosh, service, channel, origin, accepted)
    }
}

impl Admit for Server {
    fn admit(&self, service: &Arc<Service>, socket: TcpStream, address: IpAddr) {
        if let Some(channel) = self.let_in(service, socket, address) {
            tokio::spawn(self.serve(Arc::clone(service), channel, address, Instant::now()));
        }
    }
}

/// A connection that goes on as a WebSocket.
struct Upgrade {
    client: Client,
    /// When the request could have begun: the login has to be complete a while after it.
    began: Instant,
}

async fn serve<S: Socket>(
    settings: Arc<Settings>,
    bosh: Arc<Bosh>,
    service: Arc<Service>,
    mut channel: Channel<S>,
    origin: Origin,
    accepted: Instant,
) {
    let (patience, unacknowledged) = (channel.patience(), channel.unacknowledged());
    let upgrade = Arc::new(OnceLock::new());
    let requests = Cell::new(0);
    let pass = channel.pass();
    let (set, shared, host) = (Arc::clone(&upgrade), Arc::clone(&settings), Arc::clone(&service));
    let respond = service_fn(move |request: Request<Incoming>| {
        requests.set(requests.get() + 1);
        let number = requests.get();
        let (set, settings, service) = (Arc::clone(&set), Arc::clone(&shared), Arc::clone(&host));
        let (bosh, pass) = (Arc::clone(&bosh), Arc::clone(&pass));
        Box::pin(async move {
            let mut is_last = number >= REQUESTS;
            let mut answer = match route(&settings, &request, origin) {
                Route::Answer(answer) => answer,
                Route::WebSocket(answer, client) => {
                    let began = if number == 1 { accepted } else { Instant::now() };
                    // It is the last request: nothing is set twice.
                    let _ = set.set(Upgrade { client, began });
                    is_last = false;
                    answer
                }
                Route::File(files) => {
                    let (host, path) = (request.uri().path().to_owned(), &settings.files_path);
                    let response = files
                        .respond(request, host.strip_prefix(&**path).unwrap_or_default())
                        .await;
                    if response.is_known {
                        pass.store(true, Ordering::Relaxed);
                    }
                    response.answer
                }
                Route::Bosh(client) => {
                    let from = request.headers().get(ORIGIN).cloned();
                    let response = bosh.respond(&service, request, client, patience).await;
                    if response.is_logged_in {
                        pass.store(true, Ordering::Relaxed);
                    }
                    is_last |= response.is_cut;
                    readable(response.answer, &settings, from.as_ref())
                }
            };
            if is_last {
                answer::with(&mut answer, CONNECTION, "close");
            }
            Ok::<_, Infallible>(answer)
        })
    });
    let mut connection = http1::Builder::new()
        .timer(Clock)
        // From when it is waited for, so it ends idle connections as well, and unfinished handshakes. What was waited
        // for the first byte counts; that later requests have so much less as well harms nobody who is not that slow.
        .header_read_timeout(patience.saturating_sub(accepted.elapsed()))
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(Io::new(channel, unacknowledged), respond);
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
    let channel = parts.io.channel;
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
