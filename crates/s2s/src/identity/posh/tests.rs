//! Documents, good and bad, of a small web server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::tests::{Authority, Der, NOW, trusting};
use super::super::{Flaw, Identity, Peer, Proof, Side};
use super::*;
use crate::policy::{Require, Rule};
use crate::stub::{Stub, Zone};

/// Hosts that the web server has a certificate for.
const HOSTS: &[&str] = &["example.org", "hosting.example", "xn--bcher-kva.example"];

/// What is answered to a request for `https://host/path`: the status line, what stands behind it, and the body.
type Page = Box<dyn Fn(&str) -> String + Send + Sync>;

/// All hosts are at one address.
struct Here(SocketAddr);

impl Reach for Here {
    async fn reach(&self, _: &str, _: u16) -> io::Result<TcpStream> {
        TcpStream::connect(self.0).await
    }
}

struct Web {
    identity: Identity,
    here: Here,
    /// Requests that were answered.
    asked: Arc<AtomicUsize>,
    /// That of the XMPP server.
    shown: Der,
}

fn sha256(certificate: &Der) -> String {
    base64::engine::general_purpose::STANDARD.encode(digest(&SHA256, certificate))
}

fn found(body: &str) -> String {
    format!("200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn elsewhere(location: &str) -> String {
    format!("302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
}

impl Web {
    async fn new(page: impl FnOnce(&Der) -> Page) -> Web {
        let authority = Authority::new("public");
        let (certificate, key) = authority.certify(HOSTS, |_| {});
        let shown = Authority::new("private").certify(&["hosting.example"], |_| {}).0;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a certificate and its key");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let (page, count) = (Arc::new(page(&shown)), Arc::clone(&asked));
        tokio::spawn(async move {
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, page, count) = (acceptor.clone(), Arc::clone(&page), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let Some(url) = request(&mut stream).await else { return };
                    count.fetch_add(1, Ordering::Relaxed);
                    let answer = page(&url);
                    if answer.is_empty() {
                        return std::future::pending().await;
                    }
                    let _ = stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await;
                });
            }
        });
        Web {
            identity: Identity::of(trusting(&authority)),
            here: Here(address),
            asked,
            shown,
        }
    }

    /// What comes of a chain that no authority vouches for.
    async fn judge(&self, domain: &str, side: Side, rule: &Rule) -> Result<Proof, Flaw> {
        let chain = [self.shown.clone()];
        let peer = Peer::new(domain, side, &chain);
        self.identity.judge_with_posh(&peer, rule, NOW, &self.here).await.proof
    }
}

/// The URL of a request.
async fn request(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?.to_ascii_lowercase();
    let path = head.split(' ').nth(1)?;
    let host = head.lines().find_map(|line| line.strip_prefix("host: "))?;
    Some(format!("https://{host}{path}"))
}

const OWN: &str = "https://example.org/.well-known/posh/xmpp-server.json";
const UNKNOWN: Result<Proof, Flaw> = Err(Flaw::UnknownAuthority { shown: 1 });

#[tokio::test]
async fn the_web_server_names_the_certificate() {
    let web = Web::new(|shown| {
        let hash = sha256(shown);
        Box::new(move |url| match url {
            OWN | "https://xn--bcher-kva.example/.well-known/posh/xmpp-server.json" => found(&format!(
                r#"{{"fingerprints":[{{"sha-256":"b2xk"}},{{"sha-256":"{hash}"}}],"expires":60}}"#
            )),
            _ => "404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        })
    })
    .await;
    let rule = Rule::default();
    for side in [Side::Server, Side::Client] {
        assert_eq!(web.judge("example.org", side, &rule).await, Ok(Proof::Posh));
    }
    assert_eq!(web.asked.load(Ordering::Relaxed), 1, "it is kept");
    assert_eq!(web.judge("bücher.example", Side::Client, &rule).await, Ok(Proof::Posh));
    // That there is none is kept as well.
    for _ in 0..2 {
        assert_eq!(web.judge("hosting.example", Side::Client, &rule).await, UNKNOWN);
    }
    assert_eq!(web.asked.load(Ordering::Relaxed), 3);

    // Nobody is asked for a document that would not count.
    for rule in [
        Rule {
            posh: false,
            ..Rule::default()
        },
        Rule {
            require: Require::Certificate,
            ..Rule::default()
        },
    ] {
        assert_eq!(web.judge("example.org", Side::Client, &rule).await, UNKNOWN);
    }
    let dane = Rule {
        require: Require::Dane,
        ..Rule::default()
    };
    assert_eq!(web.judge("example.org", Side::Client, &dane).await, Err(Flaw::NoDane));
    // A web server that is not that of the domain, by its certificate, is asked for nothing.
    assert_eq!(web.judge("evil.example", Side::Client, &Rule::default()).await, UNKNOWN);
    assert_eq!(web.asked.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn documents_elsewhere() {
    let check = async |pages: &[(&'static str, &'static str)], expected: Result<u64, &str>| {
        let pages = pages.to_vec();
        let web = Web::new(move |shown| {
            let hash = sha256(shown);
            Box::new(move |url| {
                let page = pages.iter().find(|(at, _)| *at == url).map_or("", |(_, page)| *page);
                match page.strip_prefix("to ") {
                    Some(location) => elsewhere(location),
                    None => found(&page.replace("HASH", &hash)),
                }
            })
        })
        .await;
        let got = web.identity.fetch_posh("example.org", &web.here).await;
        match expected {
            Ok(seconds) => {
                let posh = got.expect("a document");
                assert!(posh.is_of(&web.shown));
                assert_eq!(posh.expires, Duration::from_secs(seconds));
            }
            Err(part) => {
                let why = got.expect_err("there is none");
                assert!(why.contains(part), "{why}");
            }
        }
    };
    const HERE: &str = r#"{"fingerprints":[{"sha-256":"HASH"}],"expires":600}"#;
    const THERE: &str = "https://hosting.example/posh.json";
    // By HTTP, on this server and to another.
    check(
        &[
            (OWN, "to /a"),
            ("https://example.org/a", "to https://hosting.example/posh.json"),
            (THERE, HERE),
        ],
        Ok(600),
    )
    .await;
    // By reference: the lower time counts, and a day at most.
    let reference = r#"{"url":"https://hosting.example/posh.json","expires":60}"#;
    check(&[(OWN, reference), (THERE, HERE)], Ok(60)).await;
    let reference = r#"{"url":"https://hosting.example/posh.json","expires":9999999}"#;
    check(&[(OWN, reference), (THERE, HERE)], Ok(600)).await;
    check(
        &[(OWN, r#"{"fingerprints":[{"sha-256":"HASH"}],"expires":9999999}"#)],
        Ok(86_400),
    )
    .await;

    check(&[(OWN, reference), (THERE, reference)], Err("in turn")).await;
    check(
        &[(OWN, r#"{"url":"http://hosting.example/posh.json","expires":60}"#)],
        Err("in the clear"),
    )
    .await;
    check(
        &[(OWN, r#"{"url":"http://localhost/posh.json","expires":60}"#)],
        Err("not https"),
    )
    .await;
    check(&[(OWN, "to http://localhost/posh.json")], Err("not https")).await;
    let port = "to https://hosting.example:8443/posh.json";
    check(&[(OWN, port)], Err("not at the port of https")).await;
    check(
        &[(OWN, r#"{"url":"https://hosting.example:22/posh.json","expires":60}"#)],
        Err("not at the port of https"),
    )
    .await;
    check(
        &[(OWN, "to /.well-known/posh/xmpp-server.json")],
        Err("too many redirects"),
    )
    .await;
    check(&[(OWN, "to https://evil.example/posh.json")], Err("evil.example")).await;
}

#[tokio::test]
async fn documents_that_are_none() {
    let check = async |answer: String, part: &str| {
        let web = Web::new(|_| Box::new(move |_| answer.clone())).await;
        let why = web
            .identity
            .fetch_posh("example.org", &web.here)
            .await
            .expect_err("there is none");
        assert!(why.contains(part), "{why}");
    };
    check("404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "404").await;
    check("302 Found\r\nContent-Length: 0\r\n\r\n".to_owned(), "302").await;
    check("nonsense".to_owned(), "example.org").await;
    check(found("<html>"), "no JSON").await;
    check(found("[]"), "no JSON").await;
    check(found("{}"), "expires").await;
    check(found(r#"{"fingerprints":[]}"#), "expires").await;
    check(found(r#"{"fingerprints":[],"expires":0}"#), "expires").await;
    check(found(r#"{"fingerprints":[],"expires":-1}"#), "no JSON").await;
    check(found(r#"{"expires":60}"#), "either").await;
    check(
        found(r#"{"fingerprints":[],"url":"https://hosting.example/","expires":60}"#),
        "either",
    )
    .await;
    check(found(&" ".repeat(MAX_DOCUMENT + 1)), "too long").await;
}

/// Whoever connects has us ask where he likes, but not behind our own walls: neither by the DNS nor by a redirect.
#[tokio::test]
async fn nobody_is_asked_who_is_not_in_the_internet() {
    let mut zone = Zone::new();
    zone.address("inside.signed.", "192.168.1.1")
        .address("inside.signed.", "127.0.0.1")
        .address("inside.signed.", "fd00::1");
    let stub = Stub::new(zone).await;
    let resolver = stub.resolver();
    for host in ["inside.signed", "127.0.0.1", "::1", "169.254.169.254"] {
        let error = resolver.reach(host, PORT).await.expect_err("it is not connected to");
        assert!(
            error.to_string().contains("not the address of another server"),
            "{error}"
        );
    }
    let identity = Identity::of(trusting(&Authority::new("public")));
    let why = identity.fetch_posh("inside.signed", &resolver).await;
    let why = why.expect_err("nobody is asked");
    assert!(why.contains("not the address of another server"), "{why}");
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for() {
    let mut web = Web::new(|_| Box::new(|_| String::new())).await;
    web.identity.posh.limit = Duration::from_millis(20);
    let why = web
        .identity
        .fetch_posh("example.org", &web.here)
        .await
        .expect_err("there is none");
    assert!(why.contains("in time"), "{why}");
}

#[test]
fn fingerprints() {
    let certificate = Der::from(b"certificate".to_vec());
    let (short, long) = (sha256(&certificate), BASE64.encode(digest(&SHA512, &certificate)));
    let check = |fingerprints: String, expected: bool| {
        let text = format!(r#"{{"fingerprints":{fingerprints},"expires":60}}"#);
        let Ok(Read::Posh(posh)) = read(text.as_bytes()) else {
            panic!("{text}")
        };
        assert_eq!(posh.is_of(&certificate), expected, "{fingerprints}");
    };
    check(format!(r#"[{{"sha-256":"{short}"}}]"#), true);
    check(format!(r#"[{{"sha-256":"{}"}}]"#, short.trim_end_matches('=')), true);
    check(format!(r#"[{{"sha-512":"{long}"}}]"#), true);
    check(format!(r#"[{{"sha-1":"b2xk","sha-256":"{short}"}}]"#), true);
    check(
        format!(r#"[{{"sha-256":"b2xk"}},{{"sha-256":"{short}","sha-512":"{long}"}}]"#),
        true,
    );
    check("[]".to_owned(), false);
    check("[{}]".to_owned(), false);
    check(r#"[{"sha-1":"b2xk"}]"#.to_owned(), false);
    check(format!(r#"[{{"SHA-256":"{short}"}}]"#), false);
    check(format!(r#"[{{"sha-256":"{short}!"}}]"#), false);
    // What contradicts itself is of nothing.
    check(format!(r#"[{{"sha-256":"{short}","sha-512":"b2xk"}}]"#), false);
    let many = vec![r#"{"sha-256":"b2xk"}"#; MAX_FINGERPRINTS].join(",");
    check(format!(r#"[{many},{{"sha-256":"{short}"}}]"#), false);
}

#[test]
fn so_many_domains_are_kept() {
    let roots = trusting(&Authority::new("public"));
    let fetcher = Fetcher::new(&roots, &Arc::new(rustls::crypto::ring::default_provider()));
    let now = Instant::now();
    for number in 0..=MAX_DOMAINS {
        let until = now + Duration::from_secs(60 + number as u64);
        fetcher.keep(&format!("a{number}.example"), (until, Err(String::new())));
    }
    let kept = fetcher.kept();
    assert_eq!(kept.len(), MAX_DOMAINS);
    assert!(!kept.contains_key("a0.example"), "it would have ended first");
    assert!(kept.contains_key(&format!("a{MAX_DOMAINS}.example")));
}
