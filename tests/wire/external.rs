//! Logins by the client's certificate (XEP-0178), with an authority that the test makes.

use std::fs;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType, date_time_ymd,
};
use tempfile::TempDir;
use testkit::{Client, ConnectOptions, Identity, NS_SASL2, Server, Stanza, Transport, Version, agent, plain};
use time::OffsetDateTime;

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// RFC 6120 section 13.7.1.4.
const XMPP_ADDR: [u64; 9] = [1, 3, 6, 1, 5, 5, 7, 8, 5];
const NURSE: &str = "nurse@example.org";

/// Somebody who certifies clients.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).expect("signed").pem();
        let issuer = Issuer::new(params, key);
        Authority { issuer, pem }
    }

    pub(crate) fn certify(&self, addresses: &[&str]) -> Identity {
        self.certify_with(addresses, |_| {})
    }

    fn certify_with(&self, addresses: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(addresses);
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        Identity::new(vec![certificate.der().to_vec()], key.serialize_der())
    }
}

/// Of a client with these addresses; a name of another kind is among them.
fn params(addresses: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["client.example".to_owned()]).expect("a name");
    let other = |address: &&str| SanType::OtherName((XMPP_ADDR.to_vec(), (*address).into()));
    params.subject_alt_names.extend(addresses.iter().map(other));
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) authority: Authority,
    file: PathBuf,
    _folder: TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("clients.pem");
        let authority = Authority::new("Clients of example.org");
        fs::write(&file, &authority.pem).expect("written");
        let server = Server::builder()
            .account(NURSE)
            .account("romeo@example.org")
            .account("nurse@second.example")
            .domain("second.example")
            .domain_toml(&format!("client_certificates = \"{}\"", file.display()))
            .limit("login_attempts", 10)
            .start();
        World {
            server,
            authority,
            file,
            _folder: folder,
        }
    }

    /// A stream of a client with this certificate, before the login.
    pub(crate) async fn open(&self, transport: Transport, identity: &Identity) -> Client {
        self.open_to("example.org", transport, identity).await
    }

    async fn open_to(&self, domain: &str, transport: Transport, identity: &Identity) -> Client {
        let options = ConnectOptions {
            identity: Some(identity.clone()),
            ..ConnectOptions::default()
        };
        self.open_with(domain, transport, options).await
    }

    async fn open_with(&self, domain: &str, transport: Transport, options: ConnectOptions) -> Client {
        let mut client = Client::connect_with(&self.server, transport, options)
            .await
            .expect("the handshake does not depend on the certificate");
        client.domain = domain.to_owned();
        client.secure().await;
        client.open().await;
        client
    }
}

fn mechanisms(features: Option<&Stanza>, list: &str, ns: &str) -> Vec<String> {
    let list = features.and_then(|features| features.get_child(list, ns));
    let names = list.into_iter().flat_map(|list| list.children());
    names
        .filter(|child| child.name() == "mechanism")
        .map(|child| child.text())
        .collect()
}

fn is_offered(client: &Client) -> bool {
    let classic = mechanisms(client.features.as_ref(), "mechanisms", SASL);
    let newer = mechanisms(client.features.as_ref(), "authentication", NS_SASL2);
    let is_in = |list: &[String]| list.iter().any(|name| name == "EXTERNAL");
    assert_eq!(is_in(&classic), is_in(&newer), "{classic:?} {newer:?}");
    is_in(&classic)
}

/// What `<auth/>` is answered with: `success`, or the condition of the failure.
async fn external(client: &mut Client, authzid: &str) -> String {
    let data = match authzid {
        "" => "=".to_owned(),
        authzid => STANDARD.encode(authzid),
    };
    let answer = client.auth("EXTERNAL", &data).await;
    said(&answer)
}

fn said(answer: &Stanza) -> String {
    match answer.name() {
        "failure" => answer.condition().expect("a failure names a condition").to_owned(),
        name => name.to_owned(),
    }
}

/// RFC 6120 section 13.7.2.3. Who only has shown one and has logged in by password goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_certificate() {
    let world = World::new();
    let brief = world.authority.certify_with(&[NURSE], |params| {
        params.not_after = OffsetDateTime::now_utc() + std::time::Duration::from_secs(2);
    });
    let mut client = world.open(Transport::Starttls, &brief).await;
    assert_eq!(external(&mut client, "").await, "success");
    client.open().await;
    client.bind(Some("ward")).await;
    client.ping().await;
    let mut other = world.open(Transport::Starttls, &brief).await;
    assert_eq!(
        said(
            &other
                .auth("PLAIN", &plain("", "romeo", &testkit::password_of("romeo@example.org")))
                .await
        ),
        "success"
    );
    other.open().await;
    other.bind(None).await;
    client.wait_for_end("reset").await;
    other.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_logs_in() {
    let world = World::new();
    let identity = |address: &str| world.authority.certify(&[address]);
    for transport in Transport::BOTH {
        let mut client = world.open(transport, &identity(NURSE)).await;
        let offered = mechanisms(client.features.as_ref(), "mechanisms", SASL);
        assert_eq!(offered[0], "EXTERNAL", "RFC 6120 section 6.3.4: first of {offered:?}");
        assert_eq!(external(&mut client, "").await, "success");
        client.open().await;
        client.bind(Some("ward")).await;
        assert_eq!(client.jid, "nurse@example.org/ward");
        client.ping().await;

        // By SASL2, with a resource at once, and remembered as a client that has not shown the password.
        let mut client = world.open(transport, &identity(NURSE)).await;
        let more = format!("{}<bind xmlns='urn:xmpp:bind:0'><tag>ward</tag></bind>", agent(1));
        let success = client.authenticate("EXTERNAL", "", &more).await;
        assert_eq!(success.name(), "success", "{success:?}");
        let jid = success.get_child("authorization-identifier", NS_SASL2).expect("there");
        assert!(jid.text().starts_with("nurse@example.org/ward/"), "{success:?}");
        client
            .expect("<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
            .await;
        let clients = client.iq("get", "", "<list xmlns='urn:xmpp:cam:0'/>").await;
        let clients = clients.raw();
        assert!(clients.contains("<software>testkit</software>"), "{clients}");
        assert!(!clients.contains("<password"), "{clients}");

        // What is prepared is the same (RFC 7622 section 3.3).
        let mut client = world.open(transport, &identity("NURSE@Example.ORG")).await;
        assert_eq!(external(&mut client, "").await, "success");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_nothing_changes() {
    let world = World::new();
    for transport in Transport::EVERY {
        let mut client = Client::opened(&world.server, transport).await;
        assert!(!is_offered(&client));
        assert_eq!(external(&mut client, "").await, "invalid-mechanism");
        client.plain("nurse", &testkit::password_of(NURSE)).await;
    }
    // It says who somebody is only on the streams of TCP.
    let mut client = world
        .open(Transport::WebSocket, &world.authority.certify(&[NURSE]))
        .await;
    assert!(!is_offered(&client));
    assert_eq!(external(&mut client, "").await, "invalid-mechanism");
}

/// Certificates that are as good as none: the client goes on, and has to show a password.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_taken() {
    let world = World::new();
    let ours = &world.authority;
    let namesake = Authority::new("Clients of example.org");
    let self_signed = {
        let key = KeyPair::generate().expect("a key");
        let certificate = params(&[NURSE]).self_signed(&key).expect("signed");
        Identity::new(vec![certificate.der().to_vec()], key.serialize_der())
    };
    let not_now = |from: i32, until: i32| {
        ours.certify_with(&[NURSE], |params| {
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(until, 1, 1);
        })
    };
    let rows = [
        ("expired", not_now(2001, 2002)),
        ("not valid yet", not_now(4000, 4001)),
        ("of another authority with the same name", namesake.certify(&[NURSE])),
        ("self-signed", self_signed),
        ("of another domain", ours.certify(&["nurse@second.example"])),
        ("without an address", ours.certify(&[])),
        ("of a domain", ours.certify(&["example.org"])),
        ("of a resource", ours.certify(&["nurse@example.org/ward"])),
        (
            "of an address that nobody can have",
            ours.certify(&["nu rse@example.org"]),
        ),
        (
            "of a server",
            ours.certify_with(&[NURSE], |params| {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            }),
        ),
        (
            "with an address as a name of another kind",
            ours.certify_with(&[], |params| {
                let name = SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], NURSE.into()));
                params.subject_alt_names.push(name);
            }),
        ),
    ];
    for (what, identity) in rows {
        for transport in Transport::BOTH {
            let mut client = world.open(transport, &identity).await;
            assert!(!is_offered(&client), "{what}");
            assert_eq!(external(&mut client, "").await, "invalid-mechanism", "{what}");
            assert_eq!(external(&mut client, NURSE).await, "invalid-mechanism", "{what}");
            let answer = client
                .auth("PLAIN", &plain("", "nurse", &testkit::password_of(NURSE)))
                .await;
            assert_eq!(answer.name(), "success", "{what}");
        }
    }
    // Another domain has no authorities, whatever this one says.
    let identity = ours.certify(&["nurse@second.example", NURSE]);
    let client = world.open_to("second.example", Transport::Direct, &identity).await;
    assert!(!is_offered(&client));
}

/// XEP-0178 section 2, numbers 10 and 11.
#[tokio::test(flavor = "multi_thread")]
async fn whom_it_may_log_in() {
    let world = World::new();
    let one: &[&str] = &[NURSE];
    let two: &[&str] = &[NURSE, "romeo@example.org", "nurse@second.example"];
    let unknown: &[&str] = &["nobody@example.org"];
    let mixed: &[&str] = &["nobody@example.org", NURSE];
    for (addresses, authzid, expected) in [
        (one, "", "success"),
        (one, NURSE, "success"),
        (one, "NURSE@example.org", "success"),
        (one, "romeo@example.org", "invalid-authzid"),
        (one, "nurse@second.example", "invalid-authzid"),
        (one, "nurse@example.org/ward", "invalid-authzid"),
        (one, "a\0b", "malformed-request"),
        (two, "", "invalid-authzid"),
        (two, "romeo@example.org", "success"),
        (two, NURSE, "success"),
        (two, "nurse@second.example", "invalid-authzid"),
        (two, "nobody@example.org", "invalid-authzid"),
        (unknown, "", "not-authorized"),
        (unknown, "nobody@example.org", "not-authorized"),
        (unknown, NURSE, "invalid-authzid"),
        (mixed, "nobody@example.org", "not-authorized"),
        (mixed, NURSE, "success"),
    ] {
        let identity = world.authority.certify(addresses);
        for transport in Transport::BOTH {
            let mut client = world.open(transport, &identity).await;
            let answer = external(&mut client, authzid).await;
            assert_eq!(answer, expected, "{addresses:?} as {authzid:?}");
            if expected == "success" {
                let wanted = if authzid.is_empty() { NURSE } else { authzid };
                client.open().await;
                client.bind(None).await;
                assert_eq!(client.bare(), wanted.to_lowercase());
            } else {
                // The attempt has failed, not the stream (RFC 6120 section 6.4.5).
                client.plain("nurse", &testkit::password_of(NURSE)).await;
            }
        }
        // SASL2 says the same.
        let mut client = world.open(Transport::Direct, &identity).await;
        let answer = client.authenticate("EXTERNAL", &STANDARD.encode(authzid), "").await;
        assert_eq!(said(&answer), expected, "{addresses:?} as {authzid:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_account_stays_out() {
    let world = World::new();
    let identity = world.authority.certify(&[NURSE]);
    let mut inside = world.open(Transport::Direct, &identity).await;
    assert_eq!(external(&mut inside, "").await, "success");
    inside.open().await;
    inside.bind(None).await;
    let output = world.server.jackdaw(&["account", "disable", NURSE], "");
    assert!(output.status.success(), "{output:?}");
    inside.expect_stream_error("not-authorized").await;
    for transport in Transport::BOTH {
        let mut client = world.open(transport, &identity).await;
        assert_eq!(external(&mut client, "").await, "account-disabled");
        let answer = client.authenticate("EXTERNAL", "", "").await;
        assert_eq!(said(&answer), "account-disabled");
    }
    let output = world.server.jackdaw(&["account", "enable", NURSE], "");
    assert!(output.status.success(), "{output:?}");
    let mut client = world.open(Transport::Direct, &identity).await;
    assert_eq!(external(&mut client, "").await, "success");
}

/// In a session of TLS that is resumed nothing is shown, and what was shown is looked at again.
#[tokio::test(flavor = "multi_thread")]
async fn a_resumed_tls_session() {
    let world = World::new();
    for version in [Version::Tls12, Version::Tls13] {
        let identity = world.authority.certify(&[NURSE]);
        let options = || ConnectOptions {
            identity: Some(identity.clone()),
            version,
            ..ConnectOptions::default()
        };
        for round in 0..2 {
            let mut client = world.open_with("example.org", Transport::Direct, options()).await;
            assert_eq!(client.is_resumed(), round == 1, "{version:?}");
            assert_eq!(external(&mut client, "").await, "success", "{version:?}");
            client.open().await;
            client.bind(None).await;
            client.close().await;
        }
    }
    let soon = OffsetDateTime::now_utc() + time::Duration::seconds(4);
    let identity = world.authority.certify_with(&[NURSE], |params| params.not_after = soon);
    let client = world.open(Transport::Direct, &identity).await;
    assert!(is_offered(&client));
    client.close().await;
    while OffsetDateTime::now_utc() <= soon + time::Duration::seconds(1) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let client = world.open(Transport::Direct, &identity).await;
    assert!(client.is_resumed());
    assert!(!is_offered(&client), "it has expired since");
}

#[tokio::test(flavor = "multi_thread")]
async fn other_authorities_without_a_restart() {
    let world = World::new();
    let old = world.authority.certify(&[NURSE]);
    let client = world.open(Transport::Direct, &old).await;
    assert!(is_offered(&client));
    client.close().await;

    let newer = Authority::new("Clients of example.org, next year");
    fs::write(&world.file, &newer.pem).expect("written");
    let was = world.server.logged("a certificate was read again");
    world.server.sighup();
    while world.server.logged("a certificate was read again") == was {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let client = world.open(Transport::Direct, &old).await;
    assert!(!is_offered(&client));
    let mut client = world.open(Transport::Direct, &newer.certify(&[NURSE])).await;
    assert_eq!(external(&mut client, "").await, "success");

    // What cannot be used changes nothing.
    fs::write(&world.file, "nothing").expect("written");
    let was = world.server.logged("no certificate in");
    world.server.sighup();
    while world.server.logged("no certificate in") == was {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let client = world.open(Transport::Direct, &newer.certify(&[NURSE])).await;
    assert!(is_offered(&client));
}
