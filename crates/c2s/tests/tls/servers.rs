//! Other servers: they are asked for a certificate, whoever has issued it, and clients are not.

use std::sync::Arc;

use jackdaw_c2s::tls::{Certificates, Kind, TlsError, server_config};
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};

use crate::support::{Folder, Pair, client_config, load};

const BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// Ours is `a.example`, theirs `b.example`.
fn certificates(folder: &Folder) -> Arc<Certificates> {
    load(&[&folder.ecdsa("a.example"), &folder.ecdsa("b.example")])
}

fn showing(own: &CertifiedKey, version: &'static SupportedProtocolVersion, alpn: &[&str]) -> ClientConfig {
    let mut config = client_config(&[], &[version]);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(own.clone()));
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

fn shown(pair: &Pair) -> &[CertificateDer<'static>] {
    pair.server.tls.peer_chain()
}

#[test]
fn who_is_asked() {
    let folder = Folder::new();
    let certificates = certificates(&folder);
    let own = certificates.own("b.example");
    let check = |kind: Kind, alpn: &[&str], is_asked: bool| {
        let config = server_config(Arc::clone(&certificates), kind);
        for version in BOTH {
            // Several on one thread: what was found out of one says nothing of the next.
            for _ in 0..2 {
                let pair = Pair::new(&config, showing(&own, version, alpn), "a.example").established();
                let expected = if is_asked { &own.cert[..] } else { &[] };
                assert_eq!(shown(&pair), expected, "{kind:?} {version:?} {alpn:?}");
            }
        }
    };
    let multiplex = Kind::Multiplex { servers: true };
    for _ in 0..2 {
        check(Kind::Server, &[], true);
        check(Kind::ServerDirect, &[], true);
        check(Kind::ServerDirect, &["xmpp-server"], true);
        check(multiplex, &["xmpp-server"], true);
        check(multiplex, &["h2", "xmpp-server"], true);
        check(multiplex, &["xmpp-client"], false);
        check(multiplex, &["h2", "http/1.1"], false);
        check(multiplex, &[], false);
        check(Kind::Multiplex { servers: false }, &["http/1.1"], false);
        check(Kind::Https, &[], false);
        // No domain takes certificates of clients.
        check(Kind::Starttls, &[], false);
        check(Kind::Direct, &["xmpp-client"], false);
    }
}

#[test]
fn nobody_has_to_have_one() {
    let folder = Folder::new();
    let config = server_config(certificates(&folder), Kind::Server);
    for version in BOTH {
        let pair = Pair::new(&config, client_config(&[], &[version]), "a.example").established();
        assert!(shown(&pair).is_empty());
    }
}

#[test]
fn whoever_shows_one_has_its_key() {
    let folder = Folder::new();
    let certificates = certificates(&folder);
    let config = server_config(Arc::clone(&certificates), Kind::Server);
    let stolen = CertifiedKey::new(
        certificates.own("b.example").cert.clone(),
        Arc::clone(&certificates.own("a.example").key),
    );
    for version in BOTH {
        let mut pair = Pair::new(&config, showing(&stolen, version, &[]), "a.example");
        let error = pair.run().expect_err("the signature is wrong");
        assert!(matches!(error, TlsError::Protocol(_)), "{error}");
        assert!(shown(&pair).is_empty());
    }
}

/// A resumed session would show a certificate whose key nobody has proved to have now.
#[test]
fn servers_get_no_tickets() {
    let folder = Folder::new();
    let certificates = certificates(&folder);
    let own = certificates.own("b.example");
    for kind in [Kind::Server, Kind::ServerDirect] {
        let config = server_config(Arc::clone(&certificates), kind);
        for version in BOTH {
            let client = Arc::new(showing(&own, version, &[]));
            for _ in 0..2 {
                let pair = Pair::shared(&config, &client, "a.example").established();
                assert!(matches!(
                    pair.client.handshake_kind(),
                    Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
                ));
            }
        }
    }
}

/// At a port for both it is ALPN that tells a server, and clients get their tickets there.
#[test]
fn nor_do_they_where_clients_get_some() {
    let folder = Folder::new();
    let certificates = certificates(&folder);
    let own = certificates.own("b.example");
    let config = server_config(Arc::clone(&certificates), Kind::Multiplex { servers: true });
    for version in BOTH {
        let connect = |client: &Arc<ClientConfig>| {
            let pair = Pair::shared(&config, client, "a.example").established();
            (
                pair.client.handshake_kind() == Some(HandshakeKind::Resumed),
                shown(&pair).len(),
            )
        };
        let server = Arc::new(showing(&own, version, &["xmpp-server"]));
        for _ in 0..3 {
            assert_eq!(connect(&server), (false, own.cert.len()), "{version:?}");
        }
        let client = Arc::new(showing(&own, version, &["xmpp-client"]));
        assert_eq!(connect(&client), (false, 0));
        assert_eq!(connect(&client), (true, 0));
        // Nobody becomes a server by the ticket of a client.
        let mut turned = (*client).clone();
        turned.alpn_protocols = server.alpn_protocols.clone();
        assert_eq!(connect(&Arc::new(turned)), (false, own.cert.len()), "{version:?}");
    }
}

#[test]
fn what_alpn_says() {
    let folder = Folder::new();
    let certificates = certificates(&folder);
    let own = certificates.own("b.example");
    let check = |kind: Kind, offered: &str, taken: bool| {
        let config = server_config(Arc::clone(&certificates), kind);
        let mut pair = Pair::new(&config, showing(&own, &TLS13, &[offered]), "a.example");
        assert_eq!(pair.run().is_ok(), taken, "{kind:?} {offered}");
        assert_eq!(pair.server.tls.alpn().is_some(), taken, "{kind:?} {offered}");
    };
    check(Kind::ServerDirect, "xmpp-server", true);
    check(Kind::ServerDirect, "xmpp-client", false);
    check(Kind::Direct, "xmpp-server", false);
    check(Kind::Multiplex { servers: true }, "xmpp-server", true);
    check(Kind::Multiplex { servers: true }, "xmpp-client", true);
    check(Kind::Multiplex { servers: false }, "xmpp-server", false);
}

#[test]
fn what_this_server_shows_itself() {
    let folder = Folder::new();
    let mut third = folder.ecdsa("xn--bcher-kva.example");
    third.host = "bücher.example".to_owned();
    let certificates = load(&[&folder.ecdsa("a.example"), &folder.ecdsa("b.example"), &third]);
    let check = |domain: &str, host: &str| {
        assert_eq!(certificates.own(domain).cert, certificates.own(host).cert, "{domain}");
    };
    check("conference.b.example", "b.example");
    check("bücher.example", "xn--bcher-kva.example");
    check("other.example", "a.example");
    assert_ne!(certificates.own("a.example").cert, certificates.own("b.example").cert);
    assert_ne!(
        certificates.own("a.example").cert,
        certificates.own("bücher.example").cert
    );
}
