//! What goes on in an established connection besides data: closing, new keys, and handshake
//! messages at a time when there must be none.

use jackdaw_c2s::tls::{Kind, TlsError};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS13_CHACHA20_POLY1305_SHA256,
};
use rustls::version::{TLS12, TLS13};

use crate::support::{Pair, Server, client_config, sample, simple_server};

const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

#[test]
fn both_ends_close() {
    let config = simple_server(Kind::Starttls);
    for version in [&TLS13, &TLS12] {
        let new = || Pair::new(&config, client_config(&[], &[version]), "example.org");

        // The client first: the server can still write.
        let mut pair = new().established();
        pair.client_writes(b"last words");
        pair.client.send_close_notify();
        pair.run().expect("closing is no error");
        assert!(pair.server.tls.peer_closed());
        assert_eq!(pair.server.plain, b"last words");
        pair.server.write(b"answer");
        pair.server.tls.close(&mut pair.server.out);
        pair.server.tls.close(&mut pair.server.out);
        pair.run().expect("closing is no error");
        assert_eq!(pair.client_plain, b"answer");
        assert!(!pair.client.wants_read(), "the client saw close_notify");

        // The server first: what comes then is dropped, whatever it is.
        let mut pair = new().established();
        pair.server.write(b"bye");
        pair.server.tls.close(&mut pair.server.out);
        let out = std::mem::take(&mut pair.server.out);
        pair.deliver(&out).expect("the client agrees");
        assert_eq!(pair.client_plain, b"bye");
        assert!(!pair.client.wants_read(), "the client saw close_notify");
        pair.client_writes(b"too late");
        pair.run().expect("it is dropped");
        pair.server.feed(b"not even TLS").expect("it is dropped");
        assert!(pair.server.plain.is_empty() && pair.server.out.is_empty());
        let written = pair.server.tls.write(b"x", &mut pair.server.out);
        assert!(matches!(written, Err(TlsError::Closed)));
    }
}

#[test]
fn nothing_behind_the_close_of_the_peer_is_read() {
    let config = simple_server(Kind::Starttls);
    let pair = Pair::new(&config, client_config(&[], &[&TLS13]), "example.org");
    let mut pair = pair.established();
    pair.client.send_close_notify();
    let mut bytes = Vec::new();
    pair.client.write_tls(&mut bytes).expect("memory");
    bytes.extend(b"<message/>");
    pair.server.feed(&bytes).expect("closing is no error");
    pair.server.feed(b"<message/>").expect("it is dropped");
    assert!(pair.server.tls.peer_closed());
    assert!(pair.server.plain.is_empty());
    pair.server.write(b"still there");
}

#[test]
fn the_client_may_change_its_keys() {
    let config = simple_server(Kind::Starttls);
    let pair = Pair::new(&config, client_config(&[], &[&TLS13]), "example.org");
    let mut pair = pair.established();
    let binding = pair.server.tls.binding();
    let data = sample(20_000);
    for round in 0..20 {
        pair.server.plain.clear();
        pair.client_plain.clear();
        pair.client.refresh_traffic_keys().expect("TLS 1.3 can change keys");
        pair.client_writes(&data);
        pair.run().expect("data is carried");
        // The client asked for new keys of the server, too: they come with what it says next.
        pair.server.write(&data);
        pair.run().expect("data is carried");
        assert!(pair.server.plain == data, "to the server, round {round}");
        assert!(pair.client_plain == data, "to the client, round {round}");
    }
    assert_eq!(pair.server.tls.binding(), binding);
}

/// The client's end of the record layer, by hand: for records that no client library sends.
struct Sealer {
    key: LessSafeKey,
    iv: [u8; 12],
    sequence: u64,
    tls13: bool,
}

impl Sealer {
    /// Takes an established connection over from its client.
    fn new(tls13: bool) -> (Sealer, Server) {
        let (suite, version) = if tls13 {
            (TLS13_CHACHA20_POLY1305_SHA256, &TLS13)
        } else {
            (TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, &TLS12)
        };
        let config = simple_server(Kind::Starttls);
        let pair = Pair::new(&config, client_config(&[suite], &[version]), "example.org");
        let pair = pair.established();
        // Deprecated for its lack of key updates; the way without is for unbuffered clients only.
        #[allow(deprecated)]
        let secrets = pair.client.dangerous_extract_secrets().expect("extraction is enabled");
        let (sequence, ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv }) = secrets.tx else {
            panic!("another suite");
        };
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref()).expect("32 bytes");
        let iv = iv.as_ref().try_into().expect("12 bytes");
        let key = LessSafeKey::new(key);
        (
            Sealer {
                key,
                iv,
                sequence,
                tls13,
            },
            pair.server,
        )
    }

    /// RFC 8446 section 5.2, RFC 7905 section 2 with RFC 5246 section 6.2.3.3.
    fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        let mut body = content.to_vec();
        let (kind, additional) = if self.tls13 {
            body.push(kind);
            let length = (body.len() + 16) as u16;
            let [high, low] = length.to_be_bytes();
            (APPLICATION_DATA, vec![APPLICATION_DATA, 3, 3, high, low])
        } else {
            let mut additional = self.sequence.to_be_bytes().to_vec();
            let [high, low] = (body.len() as u16).to_be_bytes();
            additional.extend([kind, 3, 3, high, low]);
            (kind, additional)
        };
        self.sequence += 1;
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce, Aad::from(additional), &mut body)
            .expect("short enough");
        let [high, low] = (body.len() as u16).to_be_bytes();
        [&[kind, 3, 3, high, low][..], &body].concat()
    }
}

#[test]
fn the_sealer_seals() {
    for tls13 in [true, false] {
        let (mut sealer, mut server) = Sealer::new(tls13);
        for _ in 0..3 {
            let record = sealer.seal(APPLICATION_DATA, b"by hand");
            server.feed(&record).expect("it is data");
        }
        assert_eq!(server.plain, b"by handby handby hand");
    }
}

/// rustls keeps offsets into the caller's buffer for a handshake message that came in part; a
/// write, which lends an empty buffer, would then panic. Any client could arrange it.
#[test]
fn a_handshake_message_in_part_ends_an_established_connection() {
    for tls13 in [true, false] {
        let (mut sealer, mut server) = Sealer::new(tls13);
        // The first two bytes of a KeyUpdate.
        let record = sealer.seal(HANDSHAKE, &[24, 0]);
        let error = server.feed(&record).expect_err("it was accepted");
        assert!(matches!(error, TlsError::Fragmented), "{error:?}");
        let written = server.tls.write(b"x", &mut server.out);
        assert!(matches!(written, Err(TlsError::Closed)));
        server.tls.close(&mut server.out);
    }
    // The same behind data, and with the rest of a record behind it.
    let (mut sealer, mut server) = Sealer::new(true);
    let mut records = sealer.seal(APPLICATION_DATA, b"data");
    records.extend(sealer.seal(HANDSHAKE, &[24, 0]));
    records.extend(&sealer.seal(HANDSHAKE, &[0, 1, 0])[..7]);
    server.feed(&records).expect_err("it was accepted");
    assert_eq!(server.plain, b"data");
}

#[test]
fn renegotiation_is_refused() {
    let config = simple_server(Kind::Starttls);
    let mut hello = Vec::new();
    Pair::new(&config, client_config(&[], &[&TLS12]), "example.org")
        .client
        .write_tls(&mut hello)
        .expect("memory");
    let hello = &hello[5..];

    // TLS 1.2: a warning, and life goes on (RFC 5246 section 7.2.2); not for ever.
    let (mut sealer, mut server) = Sealer::new(false);
    let record = sealer.seal(HANDSHAKE, hello);
    server.feed(&record).expect("it is answered");
    assert_eq!(server.out[0], 21, "an alert, not a ServerHello");
    assert_eq!(server.out.len(), 5 + 2 + 16, "one encrypted alert");
    let record = sealer.seal(APPLICATION_DATA, b"data");
    server.feed(&record).expect("life goes on");
    assert_eq!(server.plain, b"data");
    server.write(b"answer");
    let refused = (0..100).any(|_| {
        let record = sealer.seal(HANDSHAKE, hello);
        server.feed(&record).is_err()
    });
    assert!(refused, "a hundred attempts were answered");

    // TLS 1.3 has none (RFC 8446 section 4.1.2).
    let (mut sealer, mut server) = Sealer::new(true);
    let record = sealer.seal(HANDSHAKE, hello);
    server.feed(&record).expect_err("it was accepted");
    assert!(!server.out.is_empty(), "there is an alert");
}

#[test]
fn a_key_update_must_be_the_last_of_its_record() {
    // RFC 8446 section 5.1: no record spans a change of keys.
    let (mut sealer, mut server) = Sealer::new(true);
    let record = sealer.seal(HANDSHAKE, &[24, 0, 0, 1, 1].repeat(2));
    server.feed(&record).expect_err("it was accepted");
    assert!(!server.out.is_empty(), "there is an alert");
}

#[test]
fn more_plaintext_than_a_record_may_have_is_refused() {
    for tls13 in [true, false] {
        let (mut sealer, mut server) = Sealer::new(tls13);
        let record = sealer.seal(APPLICATION_DATA, &sample(16_384));
        server.feed(&record).expect("just small enough");
        assert!(server.plain == sample(16_384));
        let record = sealer.seal(APPLICATION_DATA, &sample(16_385));
        let error = server.feed(&record).expect_err("it was accepted");
        assert!(
            matches!(error, TlsError::Protocol(rustls::Error::PeerSentOversizedRecord)),
            "{error:?}"
        );
        assert!(!server.out.is_empty(), "there is an alert");
    }
}

#[test]
fn empty_records_without_end_are_refused() {
    let (mut sealer, mut server) = Sealer::new(true);
    let refused = (0..1_000).any(|_| {
        let record = sealer.seal(APPLICATION_DATA, b"");
        server.feed(&record).is_err()
    });
    assert!(refused, "a thousand empty records were read");
}
