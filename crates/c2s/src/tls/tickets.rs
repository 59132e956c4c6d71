//! Who may take a session up again, and what it takes.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::server::ProducesTickets;

use super::capture;

/// Session tickets, stateless: a key in memory, changed by rustls every six hours, and nothing
/// kept per session.
///
/// A resumed session shows no certificate, and its `tls-server-end-point` is that of the session
/// it resumes. To keep this the certificate in force, all tickets end when one is exchanged.
pub(super) struct Tickets {
    current: ArcSwap<Arc<dyn ProducesTickets>>,
}

impl Tickets {
    pub(super) fn new() -> Result<Tickets, rustls::Error> {
        Ok(Tickets {
            current: ArcSwap::from_pointee(ring::Ticketer::new()?),
        })
    }

    pub(super) fn renew(&self) {
        let ticketer = ring::Ticketer::new().unwrap_or_else(|_| Arc::new(NoTickets));
        self.current.store(Arc::new(ticketer));
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.current.load().enabled()
    }
    fn lifetime(&self) -> u32 {
        self.current.load().lifetime()
    }
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.current.load().encrypt(plain)
    }
    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.current.load().decrypt(cipher)
    }
}

/// Tickets for clients alone, where other servers come to the same port: neither does a server get one, nor is one taken of
/// it that it has got as a client, and so its certificate is asked for each time.
#[derive(Debug)]
pub(super) struct TicketsForClients(pub(super) Arc<Tickets>);

impl TicketsForClients {
    fn tickets(&self) -> Option<&Tickets> {
        match capture::is_server() {
            Some(true) => None,
            _ => Some(&self.0),
        }
    }
}

impl ProducesTickets for TicketsForClients {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }
    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }
    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets()?.encrypt(plain)
    }
    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets()?.decrypt(cipher)
    }
}

/// For other servers, and for a system that has stopped giving random numbers: old tickets must end all the same.
#[derive(Debug)]
pub(super) struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }
    fn lifetime(&self) -> u32 {
        0
    }
    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}
