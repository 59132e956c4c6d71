//! Keys of signed tokens: when they are fetched, and what a provider that is away comes to.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use accounts::backend::{Backend, Question};
use auth::Verdict;
use jackdaw_backends::{Rules, Service, SignedTokens};
use testkit::{Reply, Signer, Web};
use zeroize::Zeroizing;

const ISSUER: &str = "https://id.example.org";

fn driver(port: u16) -> SignedTokens {
    let rules = Rules {
        domain: "example.org".to_owned(),
        issuer: Some(ISSUER.to_owned()),
        audience: Some("xmpp".to_owned()),
        scope: None,
        claim: "preferred_username".to_owned(),
    };
    let service = Service {
        url: format!("http://127.0.0.1:{port}/keys").parse().expect("a URL"),
        ca: None,
        limit: Duration::from_secs(2),
        at_once: 2,
    };
    SignedTokens::new(service, rules).expect("a driver")
}

async fn ask(driver: &SignedTokens, token: &str) -> Verdict {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let question = Question::Bearer {
        domain: "example.org".to_owned(),
        token: Zeroizing::new(token.to_owned()),
        wanted: None,
    };
    driver.ask(question, Box::new(move |verdict| drop(sender.send(verdict))));
    receiver.await.expect("an answer")
}

fn claims() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    format!(
        "{{\"iss\":\"{ISSUER}\",\"aud\":\"xmpp\",\"exp\":{},\"preferred_username\":\"juliet\"}}",
        now + 60
    )
}

fn granted() -> Verdict {
    Verdict::Granted {
        user: "juliet".to_owned(),
    }
}

/// What the provider says, to be changed.
struct Provider {
    web: Web,
    said: Arc<Mutex<Reply>>,
}

impl Provider {
    async fn new(signers: &[&Signer]) -> Provider {
        let said = Arc::new(Mutex::new(Reply::Body(Signer::set(signers))));
        let saying = Arc::clone(&said);
        let web = Web::start(None, move |_| saying.lock().expect("no panic").clone()).await;
        Provider { web, said }
    }

    fn says(&self, reply: Reply) {
        *self.said.lock().expect("no panic") = reply;
    }
}

#[tokio::test]
async fn keys_are_fetched_once_and_for_a_new_one() {
    let (first, second) = (Signer::new("first"), Signer::new("second"));
    let provider = Provider::new(&[&first]).await;
    let driver = driver(provider.web.port());
    assert_eq!(provider.web.asked().len(), 0);
    for _ in 0..3 {
        assert_eq!(ask(&driver, &first.sign(&claims())).await, granted());
    }
    assert_eq!(provider.web.asked().len(), 1);
    assert_eq!(provider.web.asked()[0].what, "GET /keys");
    provider.says(Reply::Body(Signer::set(&[&second])));
    assert_eq!(ask(&driver, &second.sign(&claims())).await, granted());
    assert_eq!(ask(&driver, &second.sign(&claims())).await, granted());
    assert_eq!(provider.web.asked().len(), 2);
    // One that was withdrawn.
    assert_eq!(ask(&driver, &first.sign(&claims())).await, Verdict::Refused);
}

#[tokio::test]
async fn tokens_that_anybody_makes_up_fetch_them_a_few_times_at_most() {
    let known = Signer::new("known");
    let provider = Provider::new(&[&known]).await;
    let driver = driver(provider.web.port());
    for number in 0..20 {
        let stranger = Signer::new(&format!("stranger{number}"));
        assert_eq!(ask(&driver, &stranger.sign(&claims())).await, Verdict::Refused);
    }
    for text in ["", "abc", "a.b.c"] {
        assert_eq!(ask(&driver, text).await, Verdict::Refused);
    }
    assert_eq!(provider.web.asked().len(), 4);
    assert_eq!(ask(&driver, &known.sign(&claims())).await, granted());
}

#[tokio::test]
async fn a_provider_that_is_away_keeps_nobody_out_whose_key_is_known() {
    let (known, new) = (Signer::new("known"), Signer::new("new"));
    let provider = Provider::new(&[&known]).await;
    let driver = driver(provider.web.port());
    provider.says(Reply::Status(503, String::new()));
    assert_eq!(ask(&driver, &known.sign(&claims())).await, Verdict::Unavailable);
    provider.says(Reply::Body(Signer::set(&[&known])));
    assert_eq!(ask(&driver, &known.sign(&claims())).await, granted());
    for reply in [Reply::Body("[]".to_owned()), Reply::Raw(Vec::new())] {
        provider.says(reply);
        assert_eq!(ask(&driver, &known.sign(&claims())).await, granted());
        // It may be a new one, so it is not refused.
        assert_eq!(ask(&driver, &new.sign(&claims())).await, Verdict::Unavailable);
    }
}
