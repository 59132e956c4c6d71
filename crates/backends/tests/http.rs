//! The web service that knows passwords: what is asked, and what each thing that it may do comes to.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use accounts::backend::{Backend, Question};
use auth::Verdict;
use jackdaw_backends::{Http, Service};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use stanza::Jid;
use testkit::{Asked, Reply, Web};
use zeroize::Zeroizing;

fn service(url: &str, ca: Option<PathBuf>) -> Service {
    Service {
        url: url.parse().expect("a URL"),
        ca,
        limit: Duration::from_secs(2),
        at_once: 2,
    }
}

async fn ask(driver: &Http, password: &str) -> Verdict {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let question = Question::Password {
        account: Jid::parse("juliet@example.org").expect("a JID"),
        password: Zeroizing::new(password.to_owned()),
    };
    driver.ask(question, Box::new(move |verdict| drop(sender.send(verdict))));
    receiver.await.expect("an answer")
}

fn granted() -> Verdict {
    Verdict::Granted {
        user: "juliet".to_owned(),
    }
}

fn ok() -> Reply {
    Reply::Body("{\"result\":\"ok\"}".to_owned())
}

/// What it says depends on the password.
fn by_password(asked: &Asked) -> Reply {
    let password = asked
        .body
        .strip_prefix("{\"user\":\"juliet\",\"domain\":\"example.org\",\"password\":\"")
        .and_then(|rest| rest.strip_suffix("\"}"));
    match password.unwrap_or_else(|| panic!("{}", asked.body)) {
        "right-\\\"one" => ok(),
        "wrong" => Reply::Body("{\"result\":\"refused\"}".to_owned()),
        "locked" => Reply::Body("{\"result\":\"disabled\", \"more\": 1}".to_owned()),
        "old" => Reply::Body("{\"result\":\"expired\"}".to_owned()),
        "error" => Reply::Status(500, String::new()),
        "unauthorized" => Reply::Status(401, String::new()),
        "nothing" => Reply::Status(204, String::new()),
        "moved" => Reply::Status(302, "location: /check\r\n".to_owned()),
        "garbage" => Reply::Body("<html>ok</html>".to_owned()),
        "maybe" => Reply::Body("{\"result\":\"maybe\"}".to_owned()),
        "long" => Reply::Body(format!("{{\"result\":\"ok\"{}}}", " ".repeat(5000))),
        "endless head" => Reply::Raw([&b"HTTP/1.1 200 OK\r\nx: "[..], &[b'a'; 100_000]].concat()),
        "endless body" => Reply::Raw([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &[b' '; 100_000]].concat()),
        "no http" => Reply::Raw(b"ok\r\n\r\n".to_vec()),
        "half" => Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"result\":\"o".to_vec()),
        "cut" => Reply::Raw(Vec::new()),
        "silent" => Reply::Silence,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn each_answer_is_a_verdict() {
    let web = Web::start(None, by_password).await;
    let url = format!("http://127.0.0.1:{}/check?key=1", web.port());
    let driver = Http::new(service(&url, None), Some("Bearer 3f7a91c2")).expect("a driver");
    assert_eq!(ask(&driver, "right-\"one").await, granted());
    for (password, verdict) in [
        ("wrong", Verdict::Refused),
        ("locked", Verdict::Disabled),
        ("old", Verdict::Expired),
        ("error", Verdict::Unavailable),
        ("unauthorized", Verdict::Unavailable),
        ("nothing", Verdict::Unavailable),
        ("moved", Verdict::Unavailable),
        ("garbage", Verdict::Unavailable),
        ("maybe", Verdict::Unavailable),
        ("long", Verdict::Unavailable),
        ("endless head", Verdict::Unavailable),
        ("endless body", Verdict::Unavailable),
        ("no http", Verdict::Unavailable),
        ("half", Verdict::Unavailable),
        ("cut", Verdict::Unavailable),
        ("silent", Verdict::Unavailable),
        ("wrong", Verdict::Refused),
    ] {
        assert_eq!(ask(&driver, password).await, verdict, "{password}");
    }
    let asked = web.asked();
    for asked in &asked {
        assert_eq!(asked.what, "POST /check?key=1");
        assert_eq!(asked.header("host"), Some(format!("127.0.0.1:{}", web.port()).as_str()));
        assert_eq!(asked.header("authorization"), Some("Bearer 3f7a91c2"));
        assert_eq!(asked.header("content-type"), Some("application/json"));
    }
    assert!(asked[..10].iter().all(|asked| asked.connection == 0), "one is kept");
}

#[tokio::test]
async fn questions_share_the_connections() {
    let web = Web::start(None, |_| ok()).await;
    let url = format!("http://127.0.0.1:{}/", web.port());
    let driver = Http::new(service(&url, None), None).expect("a driver");
    for _ in 0..3 {
        let mut answers = Vec::new();
        for _ in 0..8 {
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let question = Question::Password {
                account: Jid::parse("juliet@example.org").expect("a JID"),
                password: Zeroizing::new("any".to_owned()),
            };
            driver.ask(question, Box::new(move |verdict| drop(sender.send(verdict))));
            answers.push(receiver);
        }
        for answer in answers {
            assert_eq!(answer.await, Ok(granted()));
        }
    }
    let asked = web.asked();
    assert_eq!(asked.len(), 24);
    assert!(asked.iter().all(|asked| asked.connection < 2), "two at once");
    assert_eq!(asked[0].header("authorization"), None);
}

/// A connection that was kept, and closed by the other side: another one is made, and nobody's login fails.
#[tokio::test]
async fn a_connection_that_was_closed_is_not_missed() {
    // What says that it stays open, and then closes.
    let closing = b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"result\":\"ok\"}";
    let web = Web::start(None, move |_| Reply::Raw(closing.to_vec())).await;
    let url = format!("http://127.0.0.1:{}/", web.port());
    let driver = Http::new(service(&url, None), None).expect("a driver");
    for _ in 0..5 {
        assert_eq!(ask(&driver, "any").await, granted());
    }
    assert_eq!(web.asked().len(), 5);
}

#[tokio::test]
async fn nobody_is_there() {
    let web = Web::start(None, |_| ok()).await;
    let url = format!("http://127.0.0.1:{}/", web.port());
    drop(web);
    let driver = Http::new(service(&url, None), None).expect("a driver");
    tokio::task::yield_now().await;
    assert_eq!(ask(&driver, "any").await, Verdict::Unavailable);
}

/// An authority, and a server with a certificate of it for this name.
fn certified(name: &str) -> (String, Arc<ServerConfig>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).expect("signed").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    (pem, Arc::new(config.expect("they fit")))
}

#[tokio::test]
async fn over_tls_only_to_whom_the_authority_certifies() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("written");
        file
    };
    let (pem, tls) = certified("localhost");
    let (other, _) = certified("localhost");
    let (ca, other) = (file("ca.pem", &pem), file("other.pem", &other));
    let web = Web::start(Some(tls), |_| ok()).await;
    let url = |host: &str| format!("https://{host}:{}/", web.port());
    for (host, ca, verdict) in [
        ("localhost", Some(&ca), granted()),
        // Another name, another authority, those of the machine.
        ("127.0.0.1", Some(&ca), Verdict::Unavailable),
        ("localhost", Some(&other), Verdict::Unavailable),
    ] {
        let driver = Http::new(service(&url(host), ca.cloned()), None).expect("a driver");
        assert_eq!(ask(&driver, "any").await, verdict, "{host}");
    }
    assert_eq!(web.asked().len(), 1, "nobody else was shown a password");

    for file in [folder.path().join("missing.pem"), file("empty.pem", "")] {
        let refused = Http::new(service(&url("localhost"), Some(file.clone())), None).err();
        let told = refused.expect("no authorities").to_string();
        assert!(told.contains(&file.display().to_string()), "{told}");
    }
}
