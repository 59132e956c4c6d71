//! The clients of an account and the end of their access, by its operator (`jackdaw account devices`, `… revoke`) and by
//! its owner (XEP-0494 section 3.2).

use testkit::{
    Client, Issued, Loss, NS_FAST, NS_SASL2, Server, Session, Stanza, Transport, agent, enable, password_of,
};

use crate::external::World;
use crate::support::{error_of, lose};

const CAM: &str = "urn:xmpp:cam:0";
const BIND2: &str = "urn:xmpp:bind:0";
/// What a token is for that may be used over any transport.
const MECHANISM: &str = "HT-SHA-256-NONE";

fn bind(more: &str) -> String {
    format!("<bind xmlns='{BIND2}'><tag>kit</tag>{more}</bind>")
}

fn request_token() -> String {
    format!("<request-token xmlns='{NS_FAST}' mechanism='{MECHANISM}'/>")
}

/// A session that is complete, of the client with this number, and its token. Its stream may be resumed.
pub(crate) async fn come(server: &Server, transport: Transport, jid: &str, number: u32) -> (Client, Issued) {
    let mut client = Client::opened(server, transport).await;
    let more = agent(number) + &request_token() + &bind(&enable());
    client.manage_inline(None);
    let answer = client.authenticate_as(jid, &more).await;
    client.take_jid(&answer);
    let issued = Issued::of(&answer, MECHANISM).unwrap_or_else(|| panic!("no token: {answer:?}"));
    assert_eq!(client.stanza().await.name(), "features");
    (client, issued)
}

async fn by_token(server: &Server, transport: Transport, jid: &str, issued: &Issued) -> (Client, Stanza) {
    let mut client = Client::opened(server, transport).await;
    let answer = client.authenticate_by_token(jid, issued, "", "").await;
    (client, answer)
}

/// A login by token that has succeeded, before it has a resource.
async fn without_resource(server: &Server, transport: Transport, jid: &str, issued: &Issued) -> Client {
    let (mut client, answer) = by_token(server, transport, jid, issued).await;
    assert_eq!(
        (answer.name(), answer.ns().as_str()),
        ("success", NS_SASL2),
        "{answer:?}"
    );
    assert_eq!(client.stanza().await.name(), "features");
    client
}

/// The lines of `jackdaw account devices`, in columns.
pub(crate) fn devices(server: &Server, jid: &str) -> Vec<Vec<String>> {
    let output = server.jackdaw(&["account", "devices", jid], "");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// The one that has a session with this full JID, by Bind 2.
pub(crate) fn id_of(devices: &[Vec<String>], client: &str) -> String {
    let is_it = |device: &&Vec<String>| client.ends_with(&format!("/{}", device[0]));
    let device = devices.iter().find(is_it);
    device.unwrap_or_else(|| panic!("no {client} in {devices:?}"))[0].clone()
}

pub(crate) fn revoke(server: &Server, jid: &str, id: &str, more: &[&str]) -> Result<(), String> {
    let output = server.jackdaw(&[&["account", "revoke", jid, id], more].concat(), "");
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(String::from_utf8(output.stderr).expect("text")),
        _ => panic!("{output:?}"),
    }
}

async fn is_not_resumed(server: &Server, transport: Transport, session: &Session) {
    let (_client, answer) = Client::resume_in_vain(server, transport, session).await;
    let is_unknown = answer.has_child("item-not-found", testkit::NS_STANZAS);
    assert!(is_unknown, "{answer:?}");
}

/// What has no connection of its own cannot be cut.
fn that_breaks(transport: Transport) -> Transport {
    match transport {
        Transport::Bosh => Transport::WebSocket,
        other => other,
    }
}

/// When the command has come back nothing of the client is left, whatever session it had.
#[tokio::test]
async fn an_operator_ends_the_access_of_one_client() {
    let server = Server::with_users(Transport::EVERY.len());
    for transport in Transport::EVERY {
        let jid = server.user();
        let (mut phone, token) = come(&server, transport, &jid, 1).await;
        let (mut laptop, other) = come(&server, transport, &jid, 2).await;
        // A resource of its own choice, behind a login that says nothing of the client but the token.
        let mut chosen = without_resource(&server, transport, &jid, &token).await;
        chosen.bind(Some("chosen")).await;
        // One that waits to be resumed, and one that has no resource yet.
        let mut lost = without_resource(&server, that_breaks(transport), &jid, &token).await;
        lost.bind(Some("lost")).await;
        lost.enable().await;
        let lost = lose(&server, lost, Loss::Reset).await;
        let mut late = without_resource(&server, transport, &jid, &token).await;

        let seen = devices(&server, &jid);
        assert_eq!(seen.len(), 2, "{seen:?}");
        for device in &seen {
            assert_eq!(device[2..4], ["testkit", "connected"], "{seen:?}");
            assert_eq!(device[6], "token", "{seen:?}");
        }
        let id = id_of(&seen, &phone.jid);
        // XEP-0494 section 3.2: a password is known until there is another.
        let refused = revoke(&server, &jid, &id, &[]).expect_err("it has had the password");
        assert!(refused.contains(&format!("account password {jid}")), "{refused}");
        let refused = revoke(&server, &jid, "nobody", &[]).expect_err("there is none");
        assert!(refused.contains("account devices"), "{refused}");
        phone.ping().await;

        assert_eq!(revoke(&server, &jid, &id, &["--keep-password"]), Ok(()));
        phone.wait_for_end("not-authorized").await;
        chosen.wait_for_end("not-authorized").await;
        late.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
            .await;
        late.wait_for_end("not-authorized").await;
        let (_client, answer) = by_token(&server, transport, &jid, &token).await;
        assert_eq!(answer.condition(), Some("not-authorized"), "{answer:?}");
        is_not_resumed(&server, transport, &lost).await;
        // Others are as they were.
        laptop.ping().await;
        without_resource(&server, transport, &jid, &other).await.close().await;
        let seen = devices(&server, &jid);
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(seen[0][0], id_of(&seen, &laptop.jid));
        laptop.close().await;
        assert_eq!(devices(&server, &jid)[0][3], "-");
    }
}

/// A login by the classic profile says nothing of the client: its session is a device by itself.
#[tokio::test]
async fn an_operator_ends_a_session_that_is_nobodys() {
    let server = Server::with_users(Transport::EVERY.len());
    for transport in Transport::EVERY {
        let jid = server.user();
        let mut one = Client::login(&server, transport, &format!("{jid}/in the garden")).await;
        let mut other = Client::login(&server, transport, &format!("{jid}/balcony")).await;
        let mut seen = devices(&server, &jid);
        seen.sort();
        let line = |id: &str| {
            [id, "session", "-", "connected", "-", "-", "-"]
                .map(str::to_owned)
                .to_vec()
        };
        assert_eq!(seen, [line("/balcony"), line("/in the garden")]);
        assert_eq!(revoke(&server, &jid, "/in the garden", &[]), Ok(()));
        one.wait_for_end("not-authorized").await;
        other.ping().await;
        assert!(revoke(&server, &jid, "/in the garden", &[]).is_err());
        assert_eq!(devices(&server, &jid), [line("/balcony")]);
    }
}

/// Sessions that were saved to be resumed end as if the server ran.
#[tokio::test]
async fn an_operator_ends_access_while_the_server_is_stopped() {
    let mut server = Server::with_users(2);
    let (jid, second) = (server.user(), server.user());
    for transport in Transport::ALL {
        let mut sessions = Vec::new();
        let mut tokens = Vec::new();
        for (jid, number) in [(&jid, 1), (&jid, 2), (&second, 1), (&second, 2)] {
            let (client, token) = come(&server, transport, jid, number).await;
            tokens.push(token);
            sessions.push(lose(&server, client, Loss::Reset).await);
        }
        server.sigterm();
        assert!(server.wait(testkit::TIMEOUT).is_some_and(|status| status.success()));
        let seen = devices(&server, &jid);
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen.iter().all(|device| device[3] == "waits"), "{seen:?}");
        let id = id_of(&seen, &sessions[0].jid);
        assert_eq!(revoke(&server, &jid, &id, &["--keep-password"]), Ok(()));
        let seen = devices(&server, &jid);
        assert_eq!((seen.len(), seen[0][3].as_str()), (1, "waits"), "{seen:?}");
        let password = format!("{}\n", password_of(&second));
        let changed = server.jackdaw(&["account", "password", &second, "--password-stdin"], &password);
        assert!(changed.status.success(), "{changed:?}");
        assert_eq!(devices(&server, &second), Vec::<Vec<String>>::new());

        server.start();
        for number in [0, 2, 3] {
            is_not_resumed(&server, transport, &sessions[number]).await;
            let jid = if number == 0 { &jid } else { &second };
            let (_client, answer) = by_token(&server, transport, jid, &tokens[number]).await;
            assert_eq!(answer.condition(), Some("not-authorized"), "{answer:?}");
        }
        Client::resume(&server, transport, &sessions[1]).await.close().await;
        without_resource(&server, transport, &jid, &tokens[1])
            .await
            .close()
            .await;
    }
}

/// What an owner asks for: a client that never had the password loses its access, be it the very one that asks.
#[tokio::test]
async fn an_owner_ends_the_access_of_a_client() {
    let world = World::new();
    let jid = "nurse@example.org";
    let identity = world.authority.certify(&[jid]);
    for transport in Transport::EVERY {
        let come = async |number: u32| {
            // A certificate counts on the streams of TCP alone; the token that it brings counts everywhere.
            let mut client = world.open(Transport::Direct, &identity).await;
            let more = agent(number) + &request_token();
            let answer = client.authenticate("EXTERNAL", "", &more).await;
            let issued = Issued::of(&answer, MECHANISM).unwrap_or_else(|| panic!("no token: {answer:?}"));
            client.close().await;
            let mut client = Client::opened(&world.server, transport).await;
            let more = agent(number) + &bind(&enable());
            client.manage_inline(None);
            let answer = client.authenticate_by_token(jid, &issued, "", &more).await;
            client.take_jid(&answer);
            assert_eq!(client.stanza().await.name(), "features");
            (client, issued)
        };
        let (mut one, token) = come(1).await;
        let (mut two, others) = come(2).await;
        let seen = devices(&world.server, jid);
        let [first, second] = [&one.jid, &two.jid].map(|full| id_of(&seen, full));
        assert!(seen.iter().all(|device| device[1] == "certificate+token"), "{seen:?}");
        let mut late = without_resource(&world.server, transport, jid, &token).await;
        let ask = |id: &str| format!("<revoke xmlns='{CAM}' id='{id}'/>");
        let answer = two.iq("set", "", &ask(&first)).await;
        assert_eq!(answer.get("type"), "result", "{answer:?}");
        one.wait_for_end("not-authorized").await;
        late.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
            .await;
        late.wait_for_end("not-authorized").await;
        let (_client, answer) = by_token(&world.server, transport, jid, &token).await;
        assert_eq!(answer.condition(), Some("not-authorized"), "{answer:?}");
        let answer = two.iq("set", "", &ask(&first)).await;
        assert_eq!(error_of(&answer), "cancel/item-not-found", "{answer:?}");

        // Its own: the result comes first.
        let answer = two.iq("set", "", &ask(&second)).await;
        assert_eq!(answer.get("type"), "result", "{answer:?}");
        two.wait_for_end("not-authorized").await;
        let (_client, answer) = by_token(&world.server, transport, jid, &others).await;
        assert_eq!(answer.condition(), Some("not-authorized"), "{answer:?}");
        assert_eq!(devices(&world.server, jid), Vec::<Vec<String>>::new());
    }
}
