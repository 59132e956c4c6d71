//! What is only to be had *during* a handshake: the exporter secret, which certificate was
//! served, which name the client asked for.
//!
//! rustls' unbuffered connection offers no exporter and no server name, and no connection tells
//! which certificate its resolver chose. But rustls calls its key log and its certificate
//! resolver synchronously from `process_tls_records`, so both leave what they know in a slot of
//! the thread, and [`Tls::read`](super::Tls::read) empties the slot right after that call. This
//! also makes the binding that of the certificate served, whatever is reloaded before SASL.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::KeyLog;
use zeroize::Zeroize;

use super::exporter;

/// What one connection's handshake left.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// The `tls-exporter` value (RFC 9266); TLS 1.3 only.
    pub(super) exporter: Option<[u8; exporter::LENGTH]>,
    /// The `tls-server-end-point` value (RFC 5929 section 4.1) of the certificate served.
    pub(super) end_point: Option<Arc<[u8]>>,
    /// The name of the server name extension.
    pub(super) server_name: Option<Box<str>>,
    /// It is another server that connects, by the ALPN that it offers.
    is_server: bool,
}

impl Captured {
    /// Takes over from `newer` what it has. The handshake is captured in two parts, and the
    /// first twice where the client had to be asked for another key share.
    pub(super) fn merge(&mut self, mut newer: Captured) {
        if newer.exporter.is_some() {
            self.exporter = newer.exporter;
        }
        if newer.end_point.is_some() {
            self.end_point = newer.end_point.take();
        }
        if newer.server_name.is_some() {
            self.server_name = newer.server_name.take();
        }
        self.is_server = newer.is_server;
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.exporter.zeroize();
    }
}

thread_local! {
    static SLOT: RefCell<Option<Captured>> = const { RefCell::new(None) };
}

/// Empties this thread's slot.
pub(super) fn take() -> Option<Captured> {
    SLOT.with_borrow_mut(Option::take)
}

/// Notes which certificate is served, for which name, and whether to another server. For the certificate resolver.
pub(super) fn note_certificate(end_point: Option<Arc<[u8]>>, server_name: Option<&str>, is_server: bool) {
    SLOT.with_borrow_mut(|slot| {
        let captured = slot.get_or_insert_default();
        captured.end_point = end_point;
        captured.server_name = server_name.map(Box::from);
        captured.is_server = is_server;
    });
}

/// Tells the rest of a handshake what was found out at its hello: tickets are made at its end.
pub(super) fn go_on(before: &Captured) {
    SLOT.with_borrow_mut(|slot| slot.get_or_insert_default().is_server = before.is_server);
}

/// Whether it is another server that connects. `None` before its hello was read: rustls asks for a certificate behind
/// that, in the same call in which it has asked which one to serve.
pub(super) fn is_server() -> Option<bool> {
    SLOT.with_borrow(|slot| slot.as_ref().map(|captured| captured.is_server))
}

/// A "key log" that logs nothing: of the secrets rustls offers it takes the exporter secret, and
/// of that it keeps only the channel binding.
#[derive(Debug)]
pub(super) struct ExporterCapture;

const EXPORTER_SECRET: &str = "EXPORTER_SECRET";

impl KeyLog for ExporterCapture {
    fn will_log(&self, label: &str) -> bool {
        label == EXPORTER_SECRET
    }

    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        // rustls hands over the master secret of TLS 1.2 without asking `will_log`.
        if label != EXPORTER_SECRET {
            return;
        }
        let value = exporter::channel_binding(secret);
        SLOT.with_borrow_mut(|slot| slot.get_or_insert_default().exporter = value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_exporter_secret_and_nothing_else() {
        for label in [
            "CLIENT_RANDOM",
            "CLIENT_TRAFFIC_SECRET_0",
            "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        ] {
            assert!(!ExporterCapture.will_log(label));
            ExporterCapture.log(label, &[0; 32], &[1; 48]);
            assert!(take().is_none(), "{label} left something");
        }
        assert!(ExporterCapture.will_log(EXPORTER_SECRET));
        ExporterCapture.log(EXPORTER_SECRET, &[0; 32], &[1; 48]);
        let captured = take().expect("the exporter secret was taken");
        assert!(captured.exporter.is_some());
        assert_ne!(captured.exporter.unwrap_or_default(), [1; 32]);
        assert!(take().is_none(), "the slot is empty after it was taken");
    }
}
