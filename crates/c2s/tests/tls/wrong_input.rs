//! What a peer may send that is not TLS, or not the TLS it should be: an error, an alert where
//! there is one, never a panic.

use jackdaw_c2s::tls::{Kind, MAX_UNREAD, TlsError};
use rustls::version::{TLS12, TLS13};

use crate::support::{Cuts, Pair, Server, client_config, sample, simple_server};

/// Alert descriptions (RFC 8446 section 6).
const UNEXPECTED_MESSAGE: u8 = 10;
const DECODE_ERROR: u8 = 50;
const PROTOCOL_VERSION: u8 = 70;

#[track_caller]
fn check(input: &[u8], alert: u8) {
    let config = simple_server(Kind::Starttls);
    for whole in [true, false] {
        let mut server = Server::new(&config);
        let result = if whole {
            server.feed(input)
        } else {
            input.iter().try_for_each(|byte| server.feed(&[*byte]))
        };
        let error = result.expect_err("it was accepted");
        assert!(matches!(error, TlsError::Protocol(_)), "{error:?}");
        assert_eq!(server.out, [21, 3, 3, 0, 2, 2, alert], "{error}");
        assert!(server.plain.is_empty());
        let line = error.to_string();
        assert!(!line.is_empty() && !line.contains('\n'), "{line:?}");
        // It stays failed, and says nothing more.
        let again = server.feed(input);
        assert!(matches!(again, Err(TlsError::Closed)));
        server.tls.close(&mut server.out);
        assert_eq!(server.out.len(), 7);
    }
}

#[test]
fn what_is_not_tls() {
    check(b"<?xml version='1.0'?><stream:stream to='a'>", DECODE_ERROR);
    check(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", DECODE_ERROR);
    check(b"\r\n\r\n\r\n", DECODE_ERROR);
    check(&[0; 64], DECODE_ERROR);
    check(&[0xff; 64], DECODE_ERROR);
    // A ClientHello of SSL 2.
    check(&[0x80, 0x2e, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10], DECODE_ERROR);
}

#[test]
fn what_is_not_the_start_of_a_handshake() {
    // Application data and an unknown handshake message.
    check(&[23, 3, 3, 0, 4, 1, 2, 3, 4], UNEXPECTED_MESSAGE);
    check(&[22, 3, 3, 0, 4, 20, 0, 0, 0], UNEXPECTED_MESSAGE);
    // A ClientHello that breaks off within its own length.
    check(&[22, 3, 1, 0, 6, 1, 0, 0, 2, 3, 3], DECODE_ERROR);
    // Records of unknown type and of unknown version.
    check(&[99, 3, 3, 0, 1, 0], DECODE_ERROR);
    check(&[22, 9, 9, 0, 1, 0], DECODE_ERROR);
}

#[test]
fn records_too_large() {
    // What a header may not say is refused at the header; 2^14 + 2048 is too much already.
    check(&[22, 3, 3, 0xff, 0xff], DECODE_ERROR);
    check(&[22, 3, 3, 0x48, 0x00], DECODE_ERROR);
    // A handshake message longer than any.
    let mut record = vec![22, 3, 3, 0x47, 0xff];
    record.resize(5 + 0x47ff, 1);
    check(&record, DECODE_ERROR);
}

#[test]
fn old_versions() {
    // SSL 3, TLS 1.0, TLS 1.1
    for version in [0, 1, 2] {
        let mut hello = client_hello(client_config(&[], &[&TLS12]));
        assert_eq!(hello[9..11], [3, 3], "the version of the ClientHello");
        hello[10] = version;
        // Without the extension "supported_versions" the field decides. Its type is 43.
        let at = hello
            .windows(4)
            .position(|window| window == [0, 43, 0, 3])
            .expect("rustls sends it");
        hello[at + 1] = 0xfa;
        check(&hello, PROTOCOL_VERSION);
    }
}

fn client_hello(config: rustls::ClientConfig) -> Vec<u8> {
    let server = simple_server(Kind::Starttls);
    let mut pair = Pair::new(&server, config, "example.org");
    let mut hello = Vec::new();
    pair.client.write_tls(&mut hello).expect("memory");
    hello
}

#[test]
fn a_truncated_handshake_waits() {
    let config = simple_server(Kind::Starttls);
    let hello = client_hello(client_config(&[], &[&TLS13, &TLS12]));
    for length in 0..hello.len() {
        let mut server = Server::new(&config);
        server.feed(&hello[..length]).expect("a part is no error");
        assert!(server.out.is_empty() && !server.tls.is_established());
        // Closing now says nothing and hurts nothing.
        server.tls.close(&mut server.out);
        assert!(server.out.is_empty());
    }
}

#[test]
fn no_changed_byte_of_a_client_hello_panics() {
    let config = simple_server(Kind::Direct);
    let hello = client_hello(client_config(&[], &[&TLS13, &TLS12]));
    let mut refused = 0;
    for at in 0..hello.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut hello = hello.clone();
            hello[at] ^= change;
            let mut server = Server::new(&config);
            refused += usize::from(server.feed(&hello).is_err());
            server.tls.close(&mut server.out);
        }
    }
    assert!(refused > 100, "only {refused} were refused");
}

#[test]
fn noise_panics_nowhere() {
    let config = simple_server(Kind::Starttls);
    for seed in 0..300 {
        let mut cuts = Cuts::new(seed);
        let mut noise: Vec<u8> = (0..600).map(|_| cuts.next() as u8).collect();
        // Half of it gets past the header.
        if seed % 2 == 0 {
            noise[..5].copy_from_slice(&[20 + (seed / 2 % 4) as u8, 3, 3, 0, cuts.next() as u8]);
        }
        let mut server = Server::new(&config);
        let mut rest = &noise[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(cuts.next().min(rest.len()));
            if server.feed(piece).is_err() {
                break;
            }
            rest = after;
        }
        assert!(!server.tls.is_established());
    }
}

#[test]
fn a_handshake_in_too_many_pieces_ends() {
    let config = simple_server(Kind::Starttls);
    let mut server = Server::new(&config);
    // A ClientHello that claims 60,000 bytes, one byte to the record.
    let message = [&[1, 0, 0xea, 0x60][..], &sample(60_000)].concat();
    let mut sent = 0;
    let error = message
        .iter()
        .find_map(|byte| {
            sent += 6;
            server.feed(&[22, 3, 1, 0, 1, *byte]).err()
        })
        .expect("it was all kept");
    assert!(matches!(error, TlsError::Fragmented), "{error:?}");
    assert_eq!(server.out, [21, 3, 3, 0, 2, 2, DECODE_ERROR]);
    assert!(sent <= MAX_UNREAD + 6, "{sent} bytes were kept");
}

#[test]
fn a_flipped_bit_in_a_record_ends_the_connection() {
    let config = simple_server(Kind::Starttls);
    for version in [&TLS13, &TLS12] {
        let pair = Pair::new(&config, client_config(&[], &[version]), "example.org");
        let mut pair = pair.established();
        pair.client_writes(b"hello");
        let mut record = Vec::new();
        pair.client.write_tls(&mut record).expect("memory");
        *record.last_mut().expect("a record") ^= 1;
        let error = pair.server.feed(&record).expect_err("it was accepted");
        assert!(
            matches!(error, TlsError::Protocol(rustls::Error::DecryptError)),
            "{error:?}"
        );
        assert!(pair.server.plain.is_empty());
        // The alert is encrypted; the client can read it: bad_record_mac.
        let alert = std::mem::take(&mut pair.server.out);
        let error = pair.deliver(&alert).expect_err("an alert arrived");
        let expected = rustls::AlertDescription::BadRecordMac;
        assert_eq!(error, rustls::Error::AlertReceived(expected));
        let written = pair.server.tls.write(b"x", &mut pair.server.out);
        assert!(matches!(written, Err(TlsError::Closed)));
    }
}

#[test]
fn plain_text_within_a_connection_ends_it() {
    let config = simple_server(Kind::Starttls);
    let pair = Pair::new(&config, client_config(&[], &[&TLS13]), "example.org");
    let mut pair = pair.established();
    pair.client_writes(b"before");
    pair.run().expect("data is carried");
    pair.server
        .feed(b"<message><body>x</body></message>")
        .expect_err("it was accepted");
    assert_eq!(pair.server.plain, b"before");
    assert!(!pair.server.out.is_empty(), "there is an alert");
}

#[test]
fn an_alert_is_not_answered() {
    let config = simple_server(Kind::Starttls);
    let mut server = Server::new(&config);
    let error = server
        .feed(&[21, 3, 1, 0, 2, 2, DECODE_ERROR])
        .expect_err("it was accepted");
    let expected = rustls::Error::AlertReceived(rustls::AlertDescription::DecodeError);
    assert!(
        matches!(&error, TlsError::Protocol(error) if *error == expected),
        "{error:?}"
    );
    assert!(server.out.is_empty());
}

#[test]
fn a_caller_that_loses_input_is_told() {
    let config = simple_server(Kind::Starttls);
    let mut server = Server::new(&config);
    server.feed(&[22, 3, 1, 0, 100, 1]).expect("a part");
    let read = server.tls.read(&mut [22, 3], &mut server.plain, &mut server.out);
    assert!(matches!(read, Err(TlsError::InputLost)));
}
