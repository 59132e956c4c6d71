//! What lies between the two servers: a DNS, an authority, and for each a line that leads to it, which can be cut and
//! stalled.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use testkit::{Authority, Dns};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::server::{DOMAINS, Server, address};

/// Passed on at once.
const PIECE: usize = 16 * 1024;
/// How long a server may be away before it is tried again: at first and at most, in seconds.
const RETRY_SECONDS: (u64, u64) = (1, 2);

/// State of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Raised to cut what is connected.
    cuts: u64,
    /// Nothing goes through, and nobody is told.
    is_stalled: bool,
    /// Whoever connects is cut at once.
    is_down: bool,
}

pub(crate) struct Neighbours {
    dns: Dns,
    authority: Authority,
    lines: watch::Sender<State>,
}

impl Neighbours {
    pub(crate) fn new() -> Neighbours {
        let dns = Dns::start();
        for (number, domain) in DOMAINS.iter().enumerate() {
            dns.locate(domain, address(DOMAINS.len() + number), false);
        }
        Neighbours {
            dns,
            authority: Authority::new("Authority of the torture"),
            lines: watch::Sender::new(State::default()),
        }
    }

    /// Puts the certificate of a server into its folder. Returns the rest of the keys of its domain, and the section about
    /// other servers.
    pub(crate) fn write(&self, folder: &Path, domain: &str) -> Result<String, String> {
        let certified = self.authority.certify(&[domain]);
        let (certificate, key) = certified.pem();
        for (name, text) in [
            ("server.crt", certificate),
            ("server.key", key),
            ("authorities.pem", self.authority.pem()),
        ] {
            fs::write(folder.join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        let mut text = "certificate = \"server.crt\"\nkey = \"server.key\"\n".to_owned();
        let (resolver, (first, most)) = (self.dns.address(), RETRY_SECONDS);
        let _ = writeln!(
            text,
            "[federation]\nresolver = [\"{resolver}\"]\nauthorities = \"authorities.pem\"\n\
             retry_seconds = {first}\nlongest_retry_seconds = {most}"
        );
        Ok(text)
    }

    /// Lays the lines to the servers, in the order of their domains.
    pub(crate) async fn lay(&self, servers: impl Iterator<Item = &Server>) -> io::Result<()> {
        for (number, server) in servers.enumerate() {
            let target = server.socket_for_servers();
            let place = SocketAddr::new(address(DOMAINS.len() + number).into(), target.port());
            let listener = TcpListener::bind(place).await?;
            tokio::spawn(serve(listener, target, self.lines.subscribe()));
        }
        Ok(())
    }

    /// All that is connected is reset.
    pub(crate) fn cut(&self) {
        self.lines.send_modify(|state| state.cuts += 1);
    }

    /// Nothing goes through until it is said otherwise.
    pub(crate) fn stall(&self, is_stalled: bool) {
        self.lines.send_modify(|state| state.is_stalled = is_stalled);
    }

    /// Cut, and nobody can connect until it is said otherwise.
    pub(crate) fn tear(&self, is_down: bool) {
        self.lines.send_modify(|state| {
            state.is_down = is_down;
            state.cuts += 1;
        });
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, state: watch::Receiver<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        if !state.borrow().is_down {
            tokio::spawn(carry(stream, target, state.clone()));
        }
    }
}

/// Until either side ends, or the line is cut: then both are reset, with what is on its way.
async fn carry(here: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    let cuts = state.borrow().cuts;
    let Ok(there) = TcpStream::connect(target).await else {
        return;
    };
    for stream in [&here, &there] {
        let _ = stream.set_nodelay(true);
        let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
    }
    let ((mut from_here, mut to_here), (mut from_there, mut to_there)) = (here.into_split(), there.into_split());
    let (one, two) = (state.clone(), state.clone());
    tokio::select! {
        _ = state.wait_for(|state| state.cuts != cuts) => {}
        () = pass(&mut from_here, &mut to_there, one) => {}
        () = pass(&mut from_there, &mut to_here, two) => {}
    }
}

async fn pass(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, mut state: watch::Receiver<State>) {
    let mut piece = vec![0; PIECE];
    loop {
        let count = match from.read(&mut piece).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        if state.wait_for(|state| !state.is_stalled).await.is_err() || to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}
