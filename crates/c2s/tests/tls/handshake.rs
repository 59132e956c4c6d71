//! Handshakes and data of both versions and all cipher suites, and what they leave for SASL.

use std::sync::Arc;

use jackdaw_c2s::tls::{Kind, Tls, TlsError, server_config};
use rustls::crypto::ring::{ALL_CIPHER_SUITES, kx_group::X25519};
use rustls::crypto::{ActiveKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::version::{TLS12, TLS13};
use rustls::{
    AlertDescription, HandshakeKind, NamedGroup, ProtocolVersion, SupportedCipherSuite, SupportedProtocolVersion,
};

use crate::support::{Folder, Pair, client_config, client_with_groups, load, sample, simple_server};

const BOTH: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];

#[test]
fn every_cipher_suite_carries_data_and_binds() {
    let folder = Folder::new();
    let ecdsa = server_config(load(&[&folder.ecdsa("ec.example")]), Kind::Starttls);
    let files = folder.openssl("rsa.example", &["-newkey", "rsa:2048"]);
    let rsa = server_config(load(&[&files]), Kind::Starttls);
    let mut seen = 0;
    for suite in ALL_CIPHER_SUITES {
        let name = format!("{:?}", suite.suite());
        for (config, of_rsa) in [(&ecdsa, false), (&rsa, true)] {
            let versions = match suite {
                SupportedCipherSuite::Tls13(_) => [&TLS13],
                SupportedCipherSuite::Tls12(_) if name.contains("RSA") == of_rsa => [&TLS12],
                // A suite of TLS 1.2 goes with one kind of key.
                SupportedCipherSuite::Tls12(_) => continue,
            };
            let client = client_config(&[*suite], &versions);
            let mut pair = Pair::new(config, client, "example.org").cut_by(seen).established();
            assert_eq!(pair.server.tls.cipher_suite(), Some(suite.suite()));
            assert_eq!(pair.server.tls.version(), Some(versions[0].version));
            check_exchange(&mut pair, 100_000);
            check_exporter(&pair);
            seen += 1;
        }
    }
    // Three of TLS 1.3 with both keys, three of TLS 1.2 for each key.
    assert_eq!(seen, 12);
}

/// Sends `length` bytes each way, twice, and compares.
#[track_caller]
fn check_exchange(pair: &mut Pair, length: usize) {
    let data = sample(length);
    for _ in 0..2 {
        pair.server.plain.clear();
        pair.client_plain.clear();
        pair.client_writes(&data);
        pair.server.write(&data);
        pair.run().expect("data is carried");
        assert!(pair.server.plain == data, "{length} bytes to the server");
        assert!(pair.client_plain == data, "{length} bytes to the client");
    }
}

/// Compares the `tls-exporter` binding with the client's own exporter (RFC 9266).
#[track_caller]
fn check_exporter(pair: &Pair) {
    let binding = pair.server.tls.binding();
    if pair.server.tls.version() == Some(ProtocolVersion::TLSv1_3) {
        let exported = pair
            .client
            .export_keying_material([0u8; 32], b"EXPORTER-Channel-Binding", Some(b""))
            .expect("the handshake is complete");
        assert_eq!(binding.exporter, Some(exported));
    } else {
        assert_eq!(binding.exporter, None);
    }
}

#[test]
fn data_of_many_sizes_in_arbitrary_pieces() {
    let config = simple_server(Kind::Starttls);
    for version in BOTH {
        let client = Arc::new(client_config(&[], &[version]));
        for (seed, length) in [
            1, 2, 15, 16, 100, 1_000, 4_096, 16_383, 16_384, 16_385, 32_768, 50_000, 300_000,
        ]
        .into_iter()
        .enumerate()
        {
            let pair = Pair::shared(&config, &client, "example.org");
            let mut pair = pair.cut_by(seed as u64 + 7).established();
            check_exchange(&mut pair, length);
        }
    }
}

#[test]
fn a_handshake_byte_by_byte() {
    let config = simple_server(Kind::Starttls);
    for version in BOTH {
        let mut pair = Pair::new(&config, client_config(&[], &[version]), "example.org");
        for _ in 0..5 {
            let mut flight = Vec::new();
            while pair.client.wants_write() {
                pair.client.write_tls(&mut flight).expect("memory");
            }
            for byte in flight {
                pair.server.feed(&[byte]).expect("a partial record waits");
            }
            let answer = std::mem::take(&mut pair.server.out);
            pair.deliver(&answer).expect("the client agrees");
        }
        assert!(pair.server.tls.is_established());
        check_exporter(&pair);
    }
}

#[test]
fn records_are_no_larger_than_allowed() {
    let config = simple_server(Kind::Starttls);
    for version in BOTH {
        let pair = Pair::new(&config, client_config(&[], &[version]), "example.org");
        let mut pair = pair.established();
        pair.server.write(&sample(100_000));
        let mut out = &pair.server.out[..];
        let mut records = 0;
        while !out.is_empty() {
            assert_eq!(out[0], 23, "application data");
            let length = usize::from(u16::from_be_bytes([out[3], out[4]]));
            assert!(length <= 16_384 + 256, "{length} bytes");
            out = &out[5 + length..];
            records += 1;
        }
        assert_eq!(records, 100_000usize.div_ceil(16_384));
    }
}

#[test]
fn nothing_is_written_or_bound_before_the_handshake() {
    let config = simple_server(Kind::Starttls);
    let mut tls = Tls::new(config).expect("the configuration is good");
    let mut out = Vec::new();
    let written = tls.write(b"early", &mut out);
    assert!(matches!(written, Err(TlsError::NotEstablished)));
    assert_eq!(tls.binding(), Default::default());
    assert_eq!((tls.server_name(), tls.alpn(), tls.version()), (None, None, None));
    tls.close(&mut out);
    assert!(out.is_empty());
    let written = tls.write(b"late", &mut out);
    assert!(matches!(written, Err(TlsError::Closed)));
}

#[test]
fn the_end_point_binding_is_the_hash_of_the_signature() {
    let folder = Folder::new();
    #[track_caller]
    fn check(folder: &Folder, arguments: &[&str], hash: Option<&str>) {
        let files = folder.openssl("example.org", arguments);
        let expected = hash.map(|hash| folder.openssl_digest(&files.certificate, hash));
        let config = server_config(load(&[&files]), Kind::Starttls);
        for version in BOTH {
            let pair = Pair::new(&config, client_config(&[], &[version]), "example.org");
            let pair = pair.established();
            let binding = pair.server.tls.binding();
            assert_eq!(binding.server_end_point, expected, "{arguments:?}");
        }
    }
    let rsa = "rsa:2048";
    check(&folder, &["-newkey", rsa, "-sha256"], Some("-sha256"));
    check(&folder, &["-newkey", rsa, "-sha384"], Some("-sha384"));
    check(&folder, &["-newkey", rsa, "-sha512"], Some("-sha512"));
    check(&folder, &["-newkey", rsa, "-sha224"], Some("-sha224"));
    // SHA-1 is replaced.
    check(&folder, &["-newkey", rsa, "-sha1"], Some("-sha256"));
    let pss = ["-newkey", rsa, "-sha384", "-sigopt", "rsa_padding_mode:pss"];
    check(&folder, &pss, Some("-sha384"));
    let p256 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    check(&folder, &[&p256[..], &["-sha256"]].concat(), Some("-sha256"));
    check(&folder, &[&p256[..], &["-sha1"]].concat(), Some("-sha256"));
    let p384 = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"];
    check(&folder, &[&p384[..], &["-sha384"]].concat(), Some("-sha384"));
    check(&folder, &[&p384[..], &["-sha512"]].concat(), Some("-sha512"));
    // Ed25519 names no hash function: undefined.
    check(&folder, &["-newkey", "ed25519"], None);
}

#[test]
fn the_binding_is_forgotten_on_request() {
    let config = simple_server(Kind::Starttls);
    let pair = Pair::new(&config, client_config(&[], BOTH), "example.org");
    let mut pair = pair.established();
    assert_eq!(pair.server.tls.server_name(), Some("example.org"));
    assert!(pair.server.tls.binding().exporter.is_some());
    pair.server.tls.forget_binding();
    assert_eq!(pair.server.tls.binding(), Default::default());
    assert_eq!(pair.server.tls.server_name(), None);
    check_exchange(&mut pair, 1_000);
}

#[test]
fn connections_of_one_thread_do_not_mix_their_bindings() {
    let folder = Folder::new();
    let hosts = [folder.ecdsa("a.example"), folder.ecdsa("b.example")];
    let config = server_config(load(&[&hosts[0], &hosts[1]]), Kind::Starttls);
    let client = Arc::new(client_config(&[], BOTH));
    let mut pairs = ["a.example", "b.example"].map(|name| Pair::shared(&config, &client, name));
    // Interleaved: both ClientHellos, then both second flights.
    for _ in 0..3 {
        for pair in &mut pairs {
            let mut flight = Vec::new();
            while pair.client.wants_write() {
                pair.client.write_tls(&mut flight).expect("memory");
            }
            pair.server.feed(&flight).expect("the handshake goes on");
            let answer = std::mem::take(&mut pair.server.out);
            pair.deliver(&answer).expect("the client agrees");
        }
    }
    for (pair, files) in pairs.iter().zip(&hosts) {
        check_exporter(pair);
        let expected = folder.openssl_digest(&files.certificate, "-sha256");
        assert_eq!(pair.server.tls.binding().server_end_point, Some(expected));
        assert_eq!(pair.server.tls.server_name(), Some(files.host.as_str()));
    }
}

/// A key exchange the server has never heard of.
#[derive(Debug)]
struct Unknown;

impl SupportedKxGroup for Unknown {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        Ok(Box::new(Unknown))
    }
    fn name(&self) -> NamedGroup {
        NamedGroup::X448
    }
}

impl ActiveKeyExchange for Unknown {
    fn complete(self: Box<Self>, _peer: &[u8]) -> Result<SharedSecret, rustls::Error> {
        Err(rustls::Error::General("never chosen".into()))
    }
    fn pub_key(&self) -> &[u8] {
        &[7; 56]
    }
    fn group(&self) -> NamedGroup {
        NamedGroup::X448
    }
}

#[test]
fn a_client_whose_key_share_is_of_no_use_is_asked_again() {
    let config = simple_server(Kind::Starttls);
    let client = client_with_groups(vec![&Unknown, X25519]);
    let mut pair = Pair::new(&config, client, "example.org").established();
    let kind = pair.client.handshake_kind();
    assert_eq!(kind, Some(HandshakeKind::FullWithHelloRetryRequest));
    check_exporter(&pair);
    assert!(pair.server.tls.binding().server_end_point.is_some());
    check_exchange(&mut pair, 1_000);
}

#[test]
fn alpn() {
    #[track_caller]
    fn check(kind: Kind, offered: &[&str], expected: Result<Option<&str>, ()>) {
        let config = simple_server(kind);
        for version in BOTH {
            let mut client = client_config(&[], &[version]);
            client.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut pair = Pair::new(&config, client, "example.org");
            let result = pair.run();
            match expected {
                Ok(protocol) => {
                    result.expect("the handshake succeeds");
                    assert_eq!(pair.server.tls.alpn(), protocol.map(str::as_bytes));
                    assert!(pair.server.tls.is_established());
                }
                Err(()) => {
                    assert!(result.is_err(), "{offered:?} was accepted");
                    // RFC 7301 section 3.2. Encrypted in TLS 1.3.
                    let alert = std::mem::take(&mut pair.server.out);
                    let error = pair.deliver(&alert).expect_err("an alert arrived");
                    let expected = AlertDescription::NoApplicationProtocol;
                    assert_eq!(error, rustls::Error::AlertReceived(expected));
                }
            }
        }
    }
    check(Kind::Direct, &["xmpp-client"], Ok(Some("xmpp-client")));
    check(Kind::Direct, &["h2", "xmpp-client"], Ok(Some("xmpp-client")));
    check(Kind::Direct, &[], Ok(None));
    check(Kind::Direct, &["h2", "http/1.1"], Err(()));
    check(Kind::Direct, &["xmpp-server"], Err(()));
    check(Kind::Starttls, &[], Ok(None));
    check(Kind::Starttls, &["xmpp-client"], Ok(None));
    check(Kind::Starttls, &["h2"], Ok(None));
}

#[test]
fn sessions_are_resumed_until_a_certificate_is_exchanged() {
    for version in BOTH {
        let folder = Folder::new();
        let certificates = load(&[&folder.ecdsa("example.org")]);
        let config = server_config(Arc::clone(&certificates), Kind::Starttls);
        let mut client = client_config(&[], &[version]);
        client.enable_early_data = true;
        let client = Arc::new(client);
        let connect = || {
            let mut pair = Pair::shared(&config, &client, "example.org");
            assert!(pair.client.early_data().is_none(), "0-RTT is off");
            pair = pair.established();
            check_exporter(&pair);
            check_exchange(&mut pair, 100);
            let kind = pair.client.handshake_kind().expect("it is complete");
            (kind, pair.server.tls.binding())
        };
        let (kind, first) = connect();
        assert_eq!(kind, HandshakeKind::Full);
        let (kind, resumed) = connect();
        assert_eq!(kind, HandshakeKind::Resumed);
        assert!(first.server_end_point.is_some());
        assert_eq!(resumed.server_end_point, first.server_end_point);

        folder.ecdsa("example.org");
        assert_eq!(certificates.reload().changed, ["example.org"]);
        let (kind, renewed) = connect();
        assert_eq!(kind, HandshakeKind::Full);
        assert_ne!(renewed.server_end_point, first.server_end_point);

        // A reload that exchanges nothing leaves the tickets.
        assert!(certificates.reload().changed.is_empty());
        let (kind, _) = connect();
        assert_eq!(kind, HandshakeKind::Resumed);
    }
}

#[test]
fn one_ticket_is_sent() {
    let config = simple_server(Kind::Starttls);
    let client = client_config(&[], &[&TLS13]);
    let pair = Pair::new(&config, client, "example.org").established();
    assert_eq!(pair.client.tls13_tickets_received(), 1);
}
