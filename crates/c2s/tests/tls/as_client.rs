//! The client's side, as towards another server.

use std::sync::Arc;

use jackdaw_c2s::tls::{Kind, Tls, TlsError};
use rustls::ClientConfig;
use rustls::crypto::ring::ALL_CIPHER_SUITES;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};

use crate::support::{Cuts, client_config, sample, simple_server};

/// One side, with what it has received and what it has to send.
struct End {
    tls: Tls,
    incoming: Vec<u8>,
    plain: Vec<u8>,
    out: Vec<u8>,
}

impl End {
    fn client(config: ClientConfig) -> End {
        let name = ServerName::try_from("example.org").expect("a name");
        let mut out = Vec::new();
        let tls = Tls::to_server(Arc::new(config), name, &mut out).expect("it can begin");
        End::of(tls, out)
    }

    fn of(tls: Tls, out: Vec<u8>) -> End {
        End {
            tls,
            incoming: Vec::new(),
            plain: Vec::new(),
            out,
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.incoming.extend_from_slice(bytes);
        let used = self.tls.read(&mut self.incoming, &mut self.plain, &mut self.out)?;
        self.incoming.drain(..used);
        Ok(())
    }
}

/// Until neither has anything to say, in pieces.
fn run(one: &mut End, other: &mut End, cuts: &mut Cuts) -> Result<(), TlsError> {
    while !one.out.is_empty() || !other.out.is_empty() {
        for side in 0..2 {
            let (from, to) = if side == 0 {
                (&mut *one, &mut *other)
            } else {
                (&mut *other, &mut *one)
            };
            let count = cuts.next().min(from.out.len());
            let piece: Vec<u8> = from.out.drain(..count).collect();
            to.feed(&piece)?;
        }
    }
    Ok(())
}

#[test]
fn both_sides_are_ours() {
    for (seed, version) in [&TLS13, &TLS12].into_iter().enumerate() {
        let mut cuts = Cuts::new(seed as u64);
        let mut client = End::client(client_config(ALL_CIPHER_SUITES, &[version]));
        assert!(!client.out.is_empty(), "a ClientHello");
        let server = Tls::new(simple_server(Kind::Starttls)).expect("it can begin");
        let mut server = End::of(server, Vec::new());
        run(&mut client, &mut server, &mut cuts).expect("a handshake");
        assert!(client.tls.is_established() && server.tls.is_established());
        assert_eq!(client.tls.version(), Some(version.version));
        assert!(client.tls.in_words().is_some_and(|words| words.starts_with("TLS 1.")));
        let data = sample(50_000);
        client.tls.write(&data, &mut client.out).expect("it is written");
        server.tls.write(&data, &mut server.out).expect("it is written");
        run(&mut client, &mut server, &mut cuts).expect("data is carried");
        assert!(client.plain == data && server.plain == data);
        client.tls.close(&mut client.out);
        run(&mut client, &mut server, &mut cuts).expect("the end is carried");
        assert!(server.tls.peer_closed());
    }
}

#[test]
fn what_is_no_server_is_refused() {
    let mut client = End::client(client_config(ALL_CIPHER_SUITES, &[&TLS13]));
    assert!(client.feed(b"<stream:stream xmlns='jabber:server'>").is_err());
    assert!(client.feed(b"more").is_err(), "and stays so");
}
