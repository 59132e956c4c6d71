//! OAUTHBEARER (RFC 7628), with a small identity provider: it is asked about each token (RFC 7662), or its keys are
//! fetched.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use testkit::{
    Asked, Builder, Client, Issued, NS_FAST, NS_SASL2, Reply, Server, Signer, Stanza, Transport, Web, agent,
};

const MECHANISM: &str = "OAUTHBEARER";
const DISCOVERY: &str = "https://id.example.org/.well-known/openid-configuration";
/// `jackdaw` and `se/cret`, the latter as in a form.
const BASIC: &str = "Basic amFja2RhdzpzZSUyRmNyZXQ=";
const SECRET: &str = "se/cret";
const BIND2: &str = "<bind xmlns='urn:xmpp:bind:0'/>";
/// What clients answer to the error: one 0x01 byte.
const DUMMY: &str = "AQ==";

fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock").as_secs()
}

/// Tokens are `user.kind`.
fn introspect(asked: &Asked) -> Reply {
    assert_eq!(asked.what, "POST /introspect");
    assert_eq!(asked.header("authorization"), Some(BASIC));
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    let token = asked.body.strip_prefix("token_type_hint=access_token&token=");
    let (user, kind) = token.and_then(|token| token.split_once('.')).expect("a token");
    let now = seconds();
    let (mut expiry, mut audience, mut scope, mut issuer) = (now + 60, "xmpp", "openid chat", "https://id.example.org");
    match kind {
        "good" => {}
        "expired" => expiry = now - 3600,
        "audience" => audience = "mail",
        "scope" => scope = "openid",
        "issuer" => issuer = "https://other.example",
        "nonsense" => return Reply::Body("{\"active\":\"yes\"}".to_owned()),
        "status" => return Reply::Status(500, String::new()),
        "moved" => return Reply::Status(307, "location: https://id.example.org/\r\n".to_owned()),
        "silent" => return Reply::Silence,
        _ => return Reply::Body("{\"active\":false}".to_owned()),
    }
    Reply::Body(format!(
        "{{\"active\":true,\"username\":\"{user}\",\"exp\":{expiry},\"aud\":\"{audience}\",\"scope\":\"{scope}\",\
         \"iss\":\"{issuer}\"}}"
    ))
}

struct World {
    server: Server,
    web: Web,
}

impl World {
    async fn new(change: impl FnOnce(Builder) -> Builder) -> World {
        World::with(introspect, change).await
    }

    async fn with(
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
        change: impl FnOnce(Builder) -> Builder,
    ) -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("secret");
        fs::write(&file, format!("{SECRET}\n")).expect("written");
        let bearer = |port| {
            format!(
                "[domain.bearer]\nintrospection = \"http://127.0.0.1:{port}/introspect\"\nclient_id = \"jackdaw\"\n\
                 client_secret_file = \"{}\"\nissuer = \"https://id.example.org\"\naudience = \"xmpp\"\n\
                 scope = \"chat\"\nopenid_configuration = \"{DISCOVERY}\"\nseconds = 3",
                file.display()
            )
        };
        World::of(answer, bearer, change).await
    }

    /// `bearer`: what is configured of a provider on this port.
    async fn of(
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
        bearer: impl FnOnce(u16) -> String,
        change: impl FnOnce(Builder) -> Builder,
    ) -> World {
        let web = Web::start(None, answer).await;
        let builder = Server::builder()
            .account("juliet@example.org")
            .account("romeo@example.org")
            .domain("second.example");
        let server = change(builder).domain_toml(&bearer(web.port())).start();
        World { server, web }
    }

    /// Failures are what is tried.
    fn patient(builder: Builder) -> Builder {
        builder
            .limit("login_failures_per_minute_per_address", 1000)
            .limit("login_failures_per_minute_per_account", 1000)
    }

    /// What comes of a token: "success", the condition of a failure, or the status of the error and then the condition.
    async fn login(&self, authzid: &str, token: &str) -> String {
        self.login_over(Transport::Direct, authzid, token).await
    }

    async fn login_over(&self, transport: Transport, authzid: &str, token: &str) -> String {
        let mut client = Client::opened(&self.server, transport).await;
        let answer = client.auth(MECHANISM, &message(authzid, token)).await;
        if answer.name() != "challenge" {
            return outcome(&answer);
        }
        let status = status(&answer);
        format!("{status} {}", outcome(&client.respond(DUMMY).await))
    }
}

fn outcome(answer: &Stanza) -> String {
    answer.condition().unwrap_or(answer.name()).to_owned()
}

fn message(authzid: &str, token: &str) -> String {
    let gs2 = if authzid.is_empty() {
        "n,,".to_owned()
    } else {
        format!("n,a={authzid},")
    };
    let text = format!("{gs2}\x01host=example.org\x01port=5222\x01auth=Bearer {token}\x01\x01");
    STANDARD.encode(text)
}

/// The status of an error, whose other fields are checked.
fn status(challenge: &Stanza) -> String {
    let json = STANDARD.decode(challenge.text()).expect("base64");
    let json = String::from_utf8(json).expect("UTF-8");
    let rest = json.strip_prefix("{\"status\":\"").expect("a status");
    let (status, rest) = rest.split_once('"').expect("a string");
    assert_eq!(
        rest,
        format!(",\"scope\":\"chat\",\"openid-configuration\":\"{DISCOVERY}\"}}")
    );
    status.to_owned()
}

#[tokio::test]
async fn a_token_logs_in_over_every_transport() {
    let world = World::new(|builder| builder).await;
    for transport in Transport::EVERY {
        let mut client = Client::opened(&world.server, transport).await;
        let answer = client.auth(MECHANISM, &message("", "juliet.good")).await;
        assert_eq!(answer.name(), "success", "{transport:?}: {answer:?}");

        let mut client = Client::opened(&world.server, transport).await;
        let answer = client.auth(MECHANISM, &message("", "juliet.revoked")).await;
        assert_eq!(answer.name(), "challenge", "{transport:?}: {answer:?}");
        assert_eq!(status(&answer), "invalid_token", "{transport:?}");
        let answer = client.respond(DUMMY).await;
        assert_eq!(outcome(&answer), "not-authorized", "{transport:?}");
    }
    assert_eq!(world.web.asked().len(), 2 * Transport::EVERY.len());
    let connections = world.web.asked().iter().map(|asked| asked.connection).max();
    assert_eq!(connections, Some(0), "one after the other over one connection");
}

#[tokio::test]
async fn each_token_is_judged() {
    let world = World::new(World::patient).await;
    for (authzid, token, expected) in [
        ("", "juliet.good", "success"),
        ("", "JULIET.good", "success"),
        ("juliet@example.org", "juliet.good", "success"),
        ("romeo@example.org", "juliet.good", "invalid-authzid"),
        ("juliet@second.example", "juliet.good", "invalid-authzid"),
        ("", "juliet.revoked", "invalid_token not-authorized"),
        ("", "juliet.expired", "invalid_token not-authorized"),
        ("", "juliet.audience", "invalid_token not-authorized"),
        ("", "juliet.issuer", "invalid_token not-authorized"),
        ("", "juliet.scope", "insufficient_scope not-authorized"),
        // Without an account here.
        ("", "nobody.good", "invalid_token not-authorized"),
        ("", "juliet.nonsense", "temporary-auth-failure"),
        ("", "juliet.status", "temporary-auth-failure"),
        ("", "juliet.moved", "temporary-auth-failure"),
        ("", "juliet.silent", "temporary-auth-failure"),
        ("", "juliet.good", "success"),
    ] {
        assert_eq!(world.login(authzid, token).await, expected, "{authzid} {token}");
    }
    let jackdaw = |arguments: &[&str]| assert!(world.server.jackdaw(arguments, "").status.success());
    jackdaw(&["account", "disable", "juliet@example.org"]);
    assert_eq!(world.login("", "juliet.good").await, "account-disabled");
    jackdaw(&["account", "enable", "juliet@example.org"]);
    assert_eq!(world.login("", "juliet.good").await, "success");

    let printed = world.server.printed();
    let encoded = message("", "juliet.good");
    for secret in ["juliet.", "nobody.", SECRET, "se%2Fcret", &BASIC[6..], &encoded] {
        assert!(!printed.contains(secret), "the log shows {secret}");
    }
    // The four that fail in a row are one line.
    assert_eq!(printed.matches("gives no answer: logins").count(), 1, "{printed}");
    assert_eq!(printed.matches("answers again").count(), 1, "{printed}");
}

#[tokio::test]
async fn a_provider_that_is_away_is_nobody_s_fault() {
    let mut world = World::new(|builder| builder.limit("login_failures_per_minute_per_address", 2)).await;
    assert_eq!(world.login("", "juliet.good").await, "success");
    let port = world.web.port();
    world.web = Web::start(None, introspect).await;
    assert_ne!(world.web.port(), port);
    for transport in Transport::EVERY {
        let answer = world.login_over(transport, "", "juliet.good").await;
        assert_eq!(answer, "temporary-auth-failure", "{transport:?}");
    }
    // Who has a password is not kept out by it.
    Client::online(&world.server, Transport::Direct, "romeo@example.org").await;
}

#[tokio::test]
async fn guesses_are_counted_though_their_failure_is_not_fetched() {
    let world = World::new(|builder| builder.limit("login_failures_per_minute_per_address", 3)).await;
    for _ in 0..3 {
        let mut client = Client::opened(&world.server, Transport::Direct).await;
        let answer = client.auth(MECHANISM, &message("", "juliet.revoked")).await;
        assert_eq!(answer.name(), "challenge", "{answer:?}");
        client.cut();
    }
    assert_eq!(world.login("", "juliet.good").await, "temporary-auth-failure");
    assert_eq!(world.web.asked().len(), 3, "nobody was asked any more");
}

#[tokio::test]
async fn a_token_of_this_server_s_follows() {
    let world = World::new(|builder| builder).await;
    let fast = "HT-SHA-256-EXPR";
    let mut client = Client::opened(&world.server, Transport::Direct).await;
    let request = format!("<request-token xmlns='{NS_FAST}' mechanism='{fast}'/>");
    let upgrade = "<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>";
    let more = agent(1) + &request + upgrade + BIND2;
    let answer = client.authenticate(MECHANISM, &message("", "juliet.good"), &more).await;
    assert_eq!(answer.name(), "success", "no tasks: {answer:?}");
    client.take_jid(&answer);
    let issued = Issued::of(&answer, fast).expect("a token");
    client.cut();

    let mut client = Client::opened(&world.server, Transport::Direct).await;
    let answer = client
        .authenticate_by_token("juliet@example.org", &issued, "", &(agent(1) + BIND2))
        .await;
    assert_eq!(answer.name(), "success", "{answer:?}");
    assert_eq!(world.web.asked().len(), 1);
}

#[tokio::test]
async fn it_is_offered_only_under_tls_and_on_its_domain() {
    let world = World::new(|builder| builder.tls("optional")).await;
    let offers = |client: &Client, list: &str, ns: &str| {
        let features = client.features.as_ref().expect("features");
        let list = features
            .get_child(list, ns)
            .into_iter()
            .flat_map(|list| list.children());
        list.filter(|child| child.text() == MECHANISM).count()
    };
    let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
    let client = Client::opened(&world.server, Transport::Direct).await;
    assert_eq!(offers(&client, "mechanisms", sasl), 1);
    assert_eq!(offers(&client, "authentication", NS_SASL2), 1);
    let mut clear = Client::connect(&world.server, Transport::Starttls).await;
    clear.open().await;
    assert_eq!(offers(&clear, "mechanisms", sasl), 0);
    let answer = clear.auth(MECHANISM, &message("", "juliet.good")).await;
    assert_eq!(outcome(&answer), "invalid-mechanism");
    assert!(world.web.asked().is_empty());
}

/// Where the accounts are elsewhere, the first login makes one here.
#[tokio::test]
async fn an_account_is_made_where_they_are_elsewhere() {
    let command = |builder: Builder| {
        builder
            .domain_toml("accounts = \"command\"\n")
            .toml("[command]\nprogram = \"/bin/false\"\n")
    };
    let world = World::new(command).await;
    let listed = || String::from_utf8(world.server.jackdaw(&["account", "list"], "").stdout).expect("UTF-8");
    assert_eq!(world.login("romeo@example.org", "nurse.good").await, "invalid-authzid");
    assert!(!listed().contains("nurse@"), "not by a token that was not for it");
    assert_eq!(world.login("", "nurse.good").await, "success");
    assert!(listed().contains("nurse@example.org"), "{}", listed());
}

/// A change of the account while the provider thinks: whoever was disabled meanwhile is not let in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_disabled_while_the_provider_thinks_stays_outside() {
    let go = Arc::new(AtomicBool::new(false));
    let waits = Arc::clone(&go);
    let world = World::with(
        move |asked| {
            while !waits.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(5));
            }
            introspect(asked)
        },
        |builder| builder,
    )
    .await;
    let mut client = Client::opened(&world.server, Transport::Direct).await;
    let data = message("", "juliet.good");
    client
        .send(format!(
            "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='{MECHANISM}'>{data}</auth>"
        ))
        .await;
    let disabled = world.server.jackdaw(&["account", "disable", "juliet@example.org"], "");
    assert!(disabled.status.success());
    go.store(true, Ordering::Release);
    assert_eq!(outcome(&client.stanza().await), "account-disabled");
}

/// A provider whose tokens are signed.
struct Signed {
    world: World,
    signer: Signer,
    set: Arc<Mutex<Option<String>>>,
}

impl Signed {
    async fn new() -> Signed {
        let signer = Signer::new("first");
        let set = Arc::new(Mutex::new(Some(Signer::set(&[&signer]))));
        let said = Arc::clone(&set);
        let answer = move |asked: &Asked| {
            assert_eq!(asked.what, "GET /keys");
            match said.lock().expect("no panic").clone() {
                Some(set) => Reply::Body(set),
                None => Reply::Status(503, String::new()),
            }
        };
        let bearer = |port| {
            format!(
                "[domain.bearer]\njwks = \"http://127.0.0.1:{port}/keys\"\nissuer = \"https://id.example.org\"\n\
                 audience = \"xmpp\"\nscope = \"chat\"\nopenid_configuration = \"{DISCOVERY}\""
            )
        };
        let world = World::of(answer, bearer, World::patient).await;
        Signed { world, signer, set }
    }

    fn says(&self, set: Option<String>) {
        *self.set.lock().expect("no panic") = set;
    }

    async fn login(&self, authzid: &str, token: &str) -> String {
        self.world.login(authzid, token).await
    }
}

/// The claims of a good token, with this in place of that.
fn claims(old: &str, new: &str) -> String {
    let expiry = seconds() + 60;
    let claims = format!(
        "{{\"iss\":\"https://id.example.org\",\"aud\":[\"xmpp\",\"mail\"],\"exp\":{expiry},\"scope\":\"openid chat\",\
         \"preferred_username\":\"juliet\"}}"
    );
    assert!(claims.contains(old), "{old}");
    claims.replace(old, new)
}

#[tokio::test]
async fn a_signed_token_logs_in_over_every_transport() {
    let signed = Signed::new().await;
    let good = signed.signer.sign(&claims("", ""));
    let stranger = Signer::new("first").sign(&claims("", ""));
    for transport in Transport::EVERY {
        let mut client = Client::opened(&signed.world.server, transport).await;
        let answer = client.auth(MECHANISM, &message("", &good)).await;
        assert_eq!(answer.name(), "success", "{transport:?}: {answer:?}");

        let mut client = Client::opened(&signed.world.server, transport).await;
        let answer = client.auth(MECHANISM, &message("", &stranger)).await;
        assert_eq!(status(&answer), "invalid_token", "{transport:?}");
        let answer = client.respond(DUMMY).await;
        assert_eq!(outcome(&answer), "not-authorized", "{transport:?}");
    }
    assert_eq!(signed.world.web.asked().len(), 1, "the keys are known");
}

#[tokio::test]
async fn each_signed_token_is_judged() {
    let signed = Signed::new().await;
    let invalid = "invalid_token not-authorized";
    for (old, new, expected) in [
        ("", "", "success"),
        ("juliet", "Juliet@example.org", "success"),
        ("juliet", "romeo@second.example", invalid),
        ("juliet", "nobody", invalid),
        ("preferred_username", "name", invalid),
        ("\"exp\":", "\"exp\":1000000000,\"later\":", invalid),
        ("\"exp\":", "\"exp\":\"4000000000\",\"later\":", invalid),
        ("\"exp\"", "\"expires\"", invalid),
        ("\"exp\"", "\"nbf\":4000000000,\"exp\"", invalid),
        ("xmpp", "chat", invalid),
        ("id.example.org", "other.example", invalid),
        ("chat", "talk", "insufficient_scope not-authorized"),
    ] {
        let claims = claims(old, new);
        assert_eq!(
            signed.login("", &signed.signer.sign(&claims)).await,
            expected,
            "{claims}"
        );
    }
    for algorithm in ["none", "HS256", "RS256", "ES256"] {
        let token = signed.signer.sign_as(algorithm, &claims("", ""));
        assert_eq!(signed.login("", &token).await, invalid, "{algorithm}");
        let (unsigned, _) = token.rsplit_once('.').expect("parts");
        assert_eq!(signed.login("", &format!("{unsigned}.")).await, invalid, "{algorithm}");
    }
    let good = signed.signer.sign(&claims("", ""));
    assert_eq!(signed.login("romeo@example.org", &good).await, "invalid-authzid");
    assert_eq!(signed.login("juliet@example.org", &good).await, "success");
    let printed = signed.world.server.printed();
    for part in good.split('.') {
        assert!(!printed.contains(part), "the log shows a part of a token");
    }
}

#[tokio::test]
async fn keys_change_and_their_provider_goes_away() {
    let signed = Signed::new().await;
    let good = |signer: &Signer| signer.sign(&claims("", ""));
    signed.says(None);
    assert_eq!(signed.login("", &good(&signed.signer)).await, "temporary-auth-failure");
    signed.says(Some(Signer::set(&[&signed.signer])));
    assert_eq!(signed.login("", &good(&signed.signer)).await, "success");
    let second = Signer::new("second");
    signed.says(Some(Signer::set(&[&second])));
    assert_eq!(signed.login("", &good(&second)).await, "success");
    assert_eq!(
        signed.login("", &good(&signed.signer)).await,
        "invalid_token not-authorized"
    );
    signed.says(None);
    assert_eq!(signed.login("", &good(&second)).await, "success");
    // Strangers do not have them fetched without end.
    for _ in 0..10 {
        signed.login("", &good(&Signer::new("third"))).await;
    }
    assert_eq!(signed.world.web.asked().len(), 4);
}
