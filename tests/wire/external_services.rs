//! Where calls are relayed (XEP-0215): what clients are told, and that a real TURN server takes what they were told.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use testkit::{Client, Server, Stanza, Transport};

use crate::slapd::address;
use crate::support::{error_of, is_result};

const NS: &str = "urn:xmpp:extdisco:2";
const TURN: u16 = 34_780;
const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const DAY: u64 = 24 * 3600;

/// Debian's coturn with a secret that it shares with Jackdaw. Killed when it is dropped.
struct Coturn {
    _folder: TempDir,
    address: Ipv4Addr,
    child: Child,
}

impl Coturn {
    fn start(secret: &str) -> Coturn {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let address = address();
        let here = folder.path().display();
        let config = folder.path().join("turnserver.conf");
        let text = format!(
            "listening-ip={address}\nrelay-ip={address}\nlistening-port={TURN}\nno-tls\nno-dtls\nuse-auth-secret\n\
             static-auth-secret={secret}\nrealm=example.org\nno-cli\nallow-loopback-peers\nlog-file={here}/log\n\
             simple-log\npidfile={here}/pid\nuserdb={here}/db\n"
        );
        std::fs::write(&config, text).expect("written");
        let child = Command::new("turnserver")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("coturn is installed");
        let began = Instant::now();
        while TcpStream::connect((address, TURN)).is_err() {
            assert!(began.elapsed() < START_LIMIT, "coturn does not listen");
            std::thread::sleep(LOOK_EVERY);
        }
        Coturn {
            _folder: folder,
            address,
            child,
        }
    }

    /// Whether it relays two packets for who comes with this.
    fn relays(&self, username: &str, password: &str) -> bool {
        let mut client = Command::new("turnutils_uclient");
        client.args(["-u", username, "-w", password, "-y", "-n", "1", "-m", "1"]);
        client.args([
            "-p",
            &TURN.to_string(),
            "-L",
            &self.address.to_string(),
            &self.address.to_string(),
        ]);
        let output = client.output().expect("coturn is installed");
        output.status.success() && String::from_utf8_lossy(&output.stdout).contains("Total lost packets 0 ")
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server(folder: &TempDir, host: &str) -> Server {
    let secret = folder.path().join("turn.secret");
    std::fs::write(&secret, "a secret of both\n").expect("written");
    let password = folder.path().join("turn.password");
    std::fs::write(&password, "guest's\n").expect("written");
    let (secret, password) = (secret.display(), password.display());
    Server::builder()
        .users(8)
        .domain("second.example")
        .account("juliet@second.example")
        .toml(&format!(
            "[[external]]\nkind = 'stun'\nhost = 'stun.example.org'\nport = 3478\ntransport = 'udp'\n\
             [[external]]\nkind = 'turn'\nhost = '{host}'\nport = {TURN}\ntransport = 'udp'\nname = 'One & all'\n\
             secret_file = '{secret}'\n\
             [[external]]\nkind = 'turns'\nhost = '{host}'\nport = 5349\ntransport = 'tcp'\nsecret_file = '{secret}'\n\
             hours = 1\n\
             [[external]]\nkind = 'ftp'\nhost = '2001:db8::1'\nusername = 'guest'\npassword_file = '{password}'\n"
        ))
        .start()
}

fn services(answer: &Stanza) -> Vec<Vec<(&'static str, String)>> {
    let list = answer.get_child("services", NS).or(answer.get_child("credentials", NS));
    let list = list.expect("a list");
    let keys = [
        "type",
        "host",
        "port",
        "transport",
        "name",
        "username",
        "password",
        "expires",
    ];
    let of = |service: &minidom::Element| {
        let found = keys
            .iter()
            .filter_map(|key| Some((*key, service.attr(*key)?.to_owned())));
        found.collect()
    };
    list.children().map(of).collect()
}

fn of<'a>(service: &'a [(&'static str, String)], key: &str) -> &'a str {
    let found = service.iter().find(|(name, _)| *name == key);
    found.map_or("", |(_, value)| value.as_str())
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// Examples 1 to 6.
#[tokio::test]
async fn accounts_are_told_where_calls_are_relayed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(&folder, "turn.example.org");
    for transport in Transport::EVERY {
        let jid = server.user();
        let mut client = Client::login(&server, transport, &jid).await;
        let before = now();
        let all = client
            .iq("get", "example.org", &format!("<services xmlns='{NS}'/>"))
            .await;
        let all = services(&all);
        let kinds: Vec<&str> = all.iter().map(|service| of(service, "type")).collect();
        assert_eq!(kinds, ["stun", "turn", "turns", "ftp"]);
        let plain = |service: &[(&'static str, String)]| -> Vec<String> {
            let told = service
                .iter()
                .filter(|(key, _)| !["username", "password", "expires"].contains(key));
            told.map(|(key, value)| format!("{key}={value}")).collect()
        };
        assert_eq!(
            plain(&all[0]),
            ["type=stun", "host=stun.example.org", "port=3478", "transport=udp"]
        );
        assert_eq!(of(&all[0], "password"), "");
        let relay = [
            "type=turn",
            "host=turn.example.org",
            "port=34780",
            "transport=udp",
            "name=One & all",
        ];
        assert_eq!(plain(&all[1]), relay);
        for (service, hours) in [(&all[1], 24), (&all[2], 1)] {
            let (until, who) = of(service, "username")
                .split_once(':')
                .expect("when it ends, and whose it is");
            assert_eq!(who, jid);
            let until: u64 = until.parse().expect("seconds");
            assert!((before..=now()).contains(&(until - hours * 3600)), "{until}");
            assert!(of(service, "expires").ends_with(".000Z"), "{service:?}");
            assert!(!of(service, "password").is_empty());
        }
        assert_eq!(of(&all[3], "username"), "guest");
        assert_eq!(of(&all[3], "password"), "guest's");

        // One kind alone; the answer says which. Of a kind that nobody knows there is none.
        let turn = client
            .iq("get", "example.org", &format!("<services xmlns='{NS}' type='turn'/>"))
            .await;
        assert!(turn.raw().contains("type='turn'"), "{turn:?}");
        assert_eq!(services(&turn).len(), 1);
        let none = client
            .iq("get", "example.org", &format!("<services xmlns='{NS}' type='a&lt;b'/>"))
            .await;
        is_result(&none, &format!("<services xmlns='{NS}' type='a&lt;b'/>"));

        // Credentials for one.
        let ask = |service: &str| format!("<credentials xmlns='{NS}'>{service}</credentials>");
        let wanted = ask("<service host='TURN.example.org' type='turn'/>");
        let found = services(&client.iq("get", "example.org", &wanted).await);
        assert_eq!(found.len(), 1);
        assert_eq!((of(&found[0], "port"), of(&found[0], "name")), ("34780", ""));
        assert!(!of(&found[0], "password").is_empty());
        let cases = [
            (
                "<service host='turn.example.org' type='turn' port='1'/>",
                "cancel/item-not-found",
            ),
            (
                "<service host='stun.example.org' type='stun'/>",
                "cancel/item-not-found",
            ),
            (
                "<service host='elsewhere.example' type='turn'/>",
                "cancel/item-not-found",
            ),
            (
                "<service host='turn.example.org' type='turn' port='x'/>",
                "modify/bad-request",
            ),
            ("<service host='turn.example.org'/>", "modify/bad-request"),
            ("<service type='turn'/>", "modify/bad-request"),
            ("", "modify/bad-request"),
        ];
        for (service, condition) in cases {
            let answer = client.iq("get", "example.org", &ask(service)).await;
            assert_eq!(error_of(&answer), condition, "{service}: {answer:?}");
            assert!(!answer.raw().contains("password"), "{answer:?}");
        }
        // It is asked, not told.
        let set = client
            .iq("set", "example.org", &format!("<services xmlns='{NS}'/>"))
            .await;
        assert_eq!(error_of(&set), "cancel/feature-not-implemented");
        // Another domain of the server is a stranger here.
        let other = client
            .iq("get", "second.example", &format!("<services xmlns='{NS}'/>"))
            .await;
        assert_eq!(error_of(&other), "auth/forbidden", "{other:?}");
        assert!(!other.raw().contains("password"), "{other:?}");
        client.close().await;
    }
}

/// A server that knows of none does not say that it could tell.
#[tokio::test]
async fn without_any_there_is_no_feature() {
    let server = Server::with_users(1);
    let mut client = Client::login(&server, Transport::Direct, &server.user()).await;
    let query = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let info = client.iq("get", "example.org", query).await;
    assert!(!info.raw().contains(NS), "{info:?}");
    let asked = client
        .iq("get", "example.org", &format!("<services xmlns='{NS}'/>"))
        .await;
    assert_eq!(error_of(&asked), "cancel/service-unavailable", "{asked:?}");
}

#[tokio::test]
async fn a_relay_takes_what_the_server_told() {
    let coturn = Coturn::start("a secret of both");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(&folder, &coturn.address.to_string());
    let mut client = Client::login(&server, Transport::Starttls, &server.user()).await;
    let query = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let info = client.iq("get", "example.org", query).await;
    assert!(info.raw().contains(NS), "{info:?}");
    let turn = client
        .iq("get", "example.org", &format!("<services xmlns='{NS}' type='turn'/>"))
        .await;
    let turn = services(&turn).remove(0);
    let (username, password) = (of(&turn, "username"), of(&turn, "password"));
    assert!(coturn.relays(username, password), "{turn:?}");
    // For nobody else, and for no longer than was said.
    let (until, who) = username.split_once(':').expect("two parts");
    assert!(!coturn.relays(&format!("{until}:x{who}"), password));
    let later = until.parse::<u64>().expect("seconds") + DAY;
    assert!(!coturn.relays(&format!("{later}:{who}"), password));
    assert!(!coturn.relays(username, "another"));
}
