//! Domains whose passwords are known elsewhere: by an external program, or by a web service.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use testkit::{Client, Issued, NS_FAST, NS_SASL2, Reply, Server, Transport, Web, agent, password_of, plain};

pub(crate) const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const MECHANISM: &str = "HT-SHA-256-EXPR";
const BIND2: &str = "<bind xmlns='urn:xmpp:bind:0'/>";

/// What the program answers to each password. It notes its arguments, and each start.
const PROGRAM: &str = r#"#!/bin/sh
echo "$0 $*" >> "$(dirname "$0")/started"
while read -r line; do
    case "$line" in
    '{"user":"'*'","domain":"example.org","password":"right-\"one"}') echo '{"result":"ok"}' ;;
    *'"password":"once"}') echo '{"result":"ok"}'; exit 0 ;;
    *'"password":"old"}') echo '{"result":"expired"}' ;;
    *'"password":"locked"}') echo '{"result":"disabled"}' ;;
    *'"password":"crash"}') echo "$line" >&2; exit 1 ;;
    *'"password":"nonsense"}') echo "hm" ;;
    *'"password":"twice"}') printf '{"result":"ok"}\n{"result":"ok"}\n' ;;
    *'"password":"talks"}') echo '{"result":"refused"}'
        while ! [ -e "$(dirname "$0")/go" ]; do sleep 0.01; done
        echo '{"result":"ok"}'; : > "$(dirname "$0")/gone" ;;
    *'"password":"silent"}') exec sleep 60 ;;
    *) echo '{"result":"refused"}' ;;
    esac
done
"#;
const RIGHT: &str = "right-\"one";

struct World {
    server: Server,
    folder: TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program: PathBuf = folder.path().join("check");
        fs::write(&program, PROGRAM).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
        let server = Server::builder()
            .account("romeo@own.example")
            .account("nurse@example.org")
            .domain("own.example")
            .domain_toml("accounts = \"command\"")
            .toml(&format!(
                "[command]\nprogram = \"{}\"\narguments = [\"--an\", \"argument\"]\nseconds = 4\nat_once = 2",
                program.display()
            ))
            .tls("optional")
            // Failures are what is tried here.
            .limit("login_failures_per_minute_per_address", 1000)
            .limit("login_failures_per_minute_per_account", 1000)
            .start();
        World { server, folder }
    }

    /// The condition with which a login fails; empty where it does not.
    async fn login(&self, user: &str, password: &str) -> String {
        self.login_over(Transport::Direct, user, password).await
    }

    async fn login_over(&self, transport: Transport, user: &str, password: &str) -> String {
        let mut client = Client::opened(&self.server, transport).await;
        let answer = client.auth("PLAIN", &plain("", user, password)).await;
        match answer.name() {
            "success" => String::new(),
            _ => answer.condition().expect("a failure names a condition").to_owned(),
        }
    }

    fn jackdaw(&self, arguments: &[&str]) -> String {
        let output = self.server.jackdaw(arguments, "");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn started(&self) -> String {
        fs::read_to_string(self.folder.path().join("started")).unwrap_or_default()
    }
}

pub(crate) fn mechanisms(client: &Client, list: &str, ns: &str) -> Vec<String> {
    let features = client.features.as_ref().expect("features");
    let list = features
        .get_child(list, ns)
        .into_iter()
        .flat_map(|list| list.children());
    list.filter(|child| child.name() == "mechanism")
        .map(|child| child.text())
        .collect()
}

#[tokio::test]
async fn only_plain_is_offered_and_only_under_tls() {
    let world = World::new();
    let client = Client::opened(&world.server, Transport::Direct).await;
    assert_eq!(mechanisms(&client, "mechanisms", SASL), ["PLAIN"]);
    assert_eq!(mechanisms(&client, "authentication", NS_SASL2), ["PLAIN"]);
    let mut clear = Client::connect(&world.server, Transport::Starttls).await;
    clear.open().await;
    assert_eq!(mechanisms(&clear, "mechanisms", SASL), [] as [String; 0]);
    for mechanism in ["PLAIN", "SCRAM-SHA-256"] {
        let answer = clear.auth(mechanism, &plain("", "juliet", RIGHT)).await;
        assert_eq!(answer.name(), "failure", "{answer:?}");
    }
    assert_eq!(world.started(), "", "nobody was asked");
    // The other domain is as it was.
    Client::online(&world.server, Transport::Direct, "romeo@own.example").await;
    assert_eq!(world.started(), "", "nor about another domain");
}

#[tokio::test]
async fn each_answer_is_told_to_the_client() {
    let world = World::new();
    for (password, condition) in [
        (RIGHT, ""),
        ("wrong", "not-authorized"),
        ("", "malformed-request"),
        ("old", "credentials-expired"),
        ("locked", "account-disabled"),
        ("nonsense", "temporary-auth-failure"),
        ("twice", "temporary-auth-failure"),
        ("crash", "temporary-auth-failure"),
        ("silent", "temporary-auth-failure"),
        ("once", ""),
        // After one that has ended.
        (RIGHT, ""),
    ] {
        assert_eq!(world.login("juliet", password).await, condition, "{password}");
    }
    // Row 24 of the faults, whatever carries the stream.
    for transport in Transport::EVERY {
        for (password, condition) in [
            ("crash", "temporary-auth-failure"),
            ("wrong", "not-authorized"),
            (RIGHT, ""),
        ] {
            let answer = world.login_over(transport, "juliet", password).await;
            assert_eq!(answer, condition, "{transport:?}: {password}");
        }
    }
    // The password that an account once had here is worth nothing.
    let own = password_of("nurse@example.org");
    assert_eq!(world.login("nurse", &own).await, "not-authorized");
    let started = world.started();
    assert!(
        started.lines().all(|line| line.ends_with("check --an argument")),
        "{started}"
    );
    let printed = world.server.printed();
    for secret in ["right-", "nonsense", "crash"] {
        assert!(!printed.contains(secret), "the log shows a password");
    }
}

#[tokio::test]
async fn an_account_is_made_at_the_first_login_and_can_be_disabled() {
    let world = World::new();
    let listed = || world.jackdaw(&["account", "list"]);
    assert_eq!(world.login("juliet", "wrong").await, "not-authorized");
    assert!(!listed().contains("juliet@"), "nobody is made by a wrong password");
    assert_eq!(world.login("Juliet", RIGHT).await, "");
    assert!(listed().contains("juliet@example.org"), "{}", listed());
    world.jackdaw(&["account", "disable", "juliet@example.org"]);
    assert_eq!(world.login("juliet", RIGHT).await, "account-disabled");
    assert_eq!(world.login("juliet", "wrong").await, "not-authorized");
    world.jackdaw(&["account", "enable", "juliet@example.org"]);
    assert_eq!(world.login("juliet", RIGHT).await, "");
    assert_eq!(world.started().lines().count(), 1, "one process for all of it");

    // Somebody else's name is not given with it.
    let mut client = Client::opened(&world.server, Transport::Direct).await;
    let answer = client.auth("PLAIN", &plain("romeo@example.org", "juliet", RIGHT)).await;
    assert_eq!(answer.condition(), Some("invalid-authzid"));
}

#[tokio::test]
async fn who_has_logged_in_comes_back_by_a_token() {
    let world = World::new();
    let request = format!("<request-token xmlns='{NS_FAST}' mechanism='{MECHANISM}'/>");
    let mut client = Client::opened(&world.server, Transport::Direct).await;
    let more = agent(1) + &request + BIND2;
    let answer = client.authenticate("PLAIN", &plain("", "juliet", RIGHT), &more).await;
    assert_eq!(answer.name(), "success", "{answer:?}");
    client.take_jid(&answer);
    let issued = Issued::of(&answer, MECHANISM).expect("a token");
    client.stanza().await;
    client.presence("<presence/>").await;
    client.close().await;

    let mut client = Client::opened(&world.server, Transport::Direct).await;
    let answer = client
        .authenticate_by_token("juliet@example.org", &issued, "", &(agent(1) + BIND2))
        .await;
    assert_eq!(answer.name(), "success", "{answer:?}");
}

/// A program that says something unasked is asked nothing more.
#[tokio::test]
async fn what_is_said_unasked_is_no_answer() {
    let world = World::new();
    assert_eq!(world.login("juliet", "talks").await, "not-authorized");
    fs::write(world.folder.path().join("go"), "").expect("written");
    let gone = world.folder.path().join("gone");
    tokio::time::timeout(testkit::TIMEOUT, async {
        while !gone.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the program goes on");
    assert_eq!(world.login("juliet", "wrong").await, "not-authorized");
    assert_eq!(world.started().lines().count(), 2, "another process was asked");
}

/// Many at once, through two processes.
#[tokio::test]
async fn logins_wait_for_a_free_process() {
    let world = World::new();
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(Client::opened(&world.server, Transport::Direct).await);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let data = plain("", &format!("user{number}"), RIGHT);
        client
            .send(format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>"))
            .await;
    }
    for client in &mut clients {
        assert_eq!(client.stanza().await.name(), "success");
    }
    assert!(world.started().lines().count() <= 2, "{}", world.started());
}

/// What a web service may do otherwise is tested with its driver.
#[tokio::test]
async fn a_web_service_knows_the_passwords() {
    let web = Web::start(None, |asked| {
        assert_eq!(asked.header("authorization"), Some("Bearer 3f7a91c2"));
        match asked.body.as_str() {
            r#"{"user":"juliet","domain":"example.org","password":"right"}"# => {
                Reply::Body(r#"{"result":"ok"}"#.to_owned())
            }
            body if body.contains("silent") => Reply::Silence,
            _ => Reply::Body(r#"{"result":"refused"}"#.to_owned()),
        }
    })
    .await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("authorization");
    fs::write(&file, "Bearer 3f7a91c2\n").expect("written");
    let server = Server::builder()
        .domain_toml("accounts = \"http\"")
        .toml(&format!(
            "[http_accounts]\nurl = \"http://127.0.0.1:{}/check\"\nauthorization_file = \"{}\"\nseconds = 1",
            web.port(),
            file.display()
        ))
        .start();
    for transport in Transport::EVERY {
        for (password, expected) in [("right", "success"), ("wrong-one", "not-authorized")] {
            let mut client = Client::opened(&server, transport).await;
            let began = Instant::now();
            let answer = client.auth("PLAIN", &plain("", "juliet", password)).await;
            assert_eq!(answer.condition().unwrap_or(answer.name()), expected, "{transport:?}");
            // Row 15 of the attacks: how soon the service knows it is not told.
            let took = began.elapsed();
            assert!(expected == "success" || took >= Duration::from_millis(100), "{took:?}");
        }
    }
    let listed = String::from_utf8(server.jackdaw(&["account", "list"], "").stdout).expect("UTF-8");
    assert!(listed.contains("juliet@example.org"), "{listed}");
    let mut client = Client::opened(&server, Transport::Direct).await;
    let answer = client.auth("PLAIN", &plain("", "juliet", "silent")).await;
    assert_eq!(answer.condition(), Some("temporary-auth-failure"));
    let printed = server.printed();
    for secret in ["wrong-one", "silent", "3f7a91c2"] {
        assert!(!printed.contains(secret), "the log shows {secret}");
    }
}
