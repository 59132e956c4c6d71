//! One port for XMPP and for HTTP, both under TLS from the first byte (XEP-0368): for 443, which is open where others
//! are not.
//!
//! What a client speaks is told by the name that its handshake has agreed on (ALPN, RFC 7301). Not every client sends
//! one; then the first byte behind the handshake tells. From there on the connection is one of [`Entry`] or of
//! [`Server`], as if it had come in there, and a task of its own, so that nothing is kept of what was needed before.
//!
//! Another server (`xmpp-server`) is told by its name alone: its stream begins as one of a client does, and only who names
//! it so is asked for a certificate.

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use c2s::tls::{ALPN_CLIENT, ALPN_HTTP, ALPN_SERVER};
use c2s::{Admit, Channel, Entry, Service, Socket};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::Server;

/// A port where clients speak either, and other servers come in as well.
pub struct Multiplexed(Arc<Parts>);

struct Parts {
    clients: Entry,
    /// None: this server talks with no other.
    servers: Option<Entry>,
    http: Arc<Server>,
}

impl Multiplexed {
    /// All under the same TLS, that of the kind `Multiplex`.
    pub fn new(clients: Entry, servers: Option<Entry>, http: Server) -> Multiplexed {
        Multiplexed(Arc::new(Parts {
            clients,
            servers,
            http: Arc::new(http),
        }))
    }
}

impl Admit for Multiplexed {
    fn admit(&self, service: &Arc<Service>, socket: TcpStream, address: IpAddr) {
        if let Some(channel) = self.0.http.let_in(service, socket, address) {
            tokio::spawn(tell_apart(Arc::clone(&self.0), Arc::clone(service), channel, address));
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Xmpp,
    /// By another server.
    Server,
    Http,
}

/// What a client speaks. `alpn`: the agreed name, which is one of those that are offered here or none. `first`: what it
/// has sent first, if it has.
fn spoken(alpn: Option<&[u8]>, first: Option<&u8>) -> Spoken {
    match (alpn, first) {
        (Some(ALPN_HTTP), _) => Spoken::Http,
        (Some(ALPN_CLIENT), _) => Spoken::Xmpp,
        (Some(ALPN_SERVER), _) => Spoken::Server,
        // A method begins with a letter (RFC 9110 section 9.1), no stream does (RFC 6120 section 4.2).
        (_, Some(byte)) if byte.is_ascii_alphabetic() => Spoken::Http,
        // A stream's end says why.
        _ => Spoken::Xmpp,
    }
}

async fn tell_apart<S: Socket>(parts: Arc<Parts>, service: Arc<Service>, mut channel: Channel<S>, address: IpAddr) {
    let accepted = Instant::now();
    let first = tokio::select! {
        // At once at the end, whatever it is that was spoken.
        first = timeout_at(accepted + channel.patience(), poll_fn(|cx| first_byte(&mut channel, cx))) => first,
        () = service.stopped() => return channel.end().await,
    };
    let first = match first {
        // The time is over. A stream says so, and where the handshake is not over nobody does.
        Err(_) => None,
        Ok(Some(first)) => Some(first),
        // It has left, or what it speaks is not TLS.
        Ok(None) => return channel.end().await,
    };
    let entry = match (spoken(channel.alpn(), first.as_ref()), &parts.servers) {
        (Spoken::Http, _) if first.is_none() => return channel.end().await,
        (Spoken::Http, _) => return drop(tokio::spawn(parts.http.serve(service, channel, address, accepted))),
        (Spoken::Xmpp, _) => &parts.clients,
        (Spoken::Server, Some(servers)) => servers,
        // The name was not offered then.
        (Spoken::Server, None) => return channel.end().await,
    };
    if let Some(connection) = channel.into_stream(entry, accepted) {
        tokio::spawn(connection);
    }
}

/// None: there will be none.
fn first_byte<S: Socket>(channel: &mut Channel<S>, cx: &mut Context<'_>) -> Poll<Option<u8>> {
    channel
        .poll_plain(cx)
        .map(|came| came.ok().and_then(|bytes| bytes.first().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_speaks() {
        let check = |alpn: Option<&str>, first: &[u8], expected: Spoken| {
            let found = spoken(alpn.map(str::as_bytes), first.first());
            assert_eq!(found, expected, "{alpn:?} {:?}", String::from_utf8_lossy(first));
        };
        for first in [
            "<?xml",
            "<stream:stream",
            " <",
            "\n",
            "",
            "1",
            "\u{feff}",
            "\0",
            "\u{16}",
        ] {
            check(None, first.as_bytes(), Spoken::Xmpp);
        }
        for first in ["GET /", "POST", "OPTIONS", "PRI * HTTP/2.0", "get"] {
            check(None, first.as_bytes(), Spoken::Http);
        }
        // The name has been agreed on, and counts.
        check(Some("xmpp-client"), b"GET /", Spoken::Xmpp);
        check(Some("xmpp-server"), b"<stream", Spoken::Server);
        check(Some("xmpp-server"), b"", Spoken::Server);
        check(Some("http/1.1"), b"<stream", Spoken::Http);
        check(Some("http/1.1"), b"", Spoken::Http);
    }
}
