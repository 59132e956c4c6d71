//! Streams that are cut at every step from the header to resumption (XEP-0198), over each port: whoever comes next is
//! served, a stream that can be resumed still can be, and nothing of those that were cut is left.

use testkit::{Client, Loss, NS_SM, Server, Session, Transport, frame, password_of, plain, resume};

use crate::attacks::whole;
use crate::crowd::{files_fall_to, memory_falls_to};
use crate::support::{lose, managed};

/// Over each port, at each step, at each place.
const ROUNDS: usize = 12;
/// What comes before memory is looked at first: caches fill.
const WARM: usize = 2;
/// What memory may have grown by in all cuts, in bytes: some hundred connections kept would show.
const MEMORY: u64 = 12 * 1024 * 1024;
/// Files of the database, which opens more when it is asked.
const FILES: usize = 8;

const PLACES: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The first header of the connection.
    Header,
    /// `<starttls/>`, where there is such.
    Tls,
    /// The header of the stream that SASL happens on.
    Secured,
    Auth,
    /// The header behind SASL.
    Authenticated,
    Bind,
    Enable,
    Resume,
    /// `<a/>`, and a stanza.
    Managed,
}

const STEPS: [Step; 9] = [
    Step::Header,
    Step::Tls,
    Step::Secured,
    Step::Auth,
    Step::Authenticated,
    Step::Bind,
    Step::Enable,
    Step::Resume,
    Step::Managed,
];

/// Where something is cut that is so many bytes long: before it, in its name, in the middle, before its end, behind it.
fn places(length: usize) -> [usize; PLACES] {
    [0, 2, length / 2, length - 1, length]
}

const DECLARATION: &str = "<?xml version='1.0'?>";
const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams'>";

/// A client that has come as far as to this step, and what it says next.
async fn at(server: &Server, transport: Transport, step: Step, session: &Session) -> (Client, String) {
    let bare = session.jid.split('/').next().unwrap_or_default();
    let user = bare.split('@').next().unwrap_or_default();
    // What may be resumed is replaced by the next that binds the same.
    let cut = format!("{bare}/cut");
    match step {
        Step::Header => (Client::connect(server, transport).await, HEADER.to_owned()),
        Step::Tls => {
            let mut client = Client::connect(server, transport).await;
            client.open().await;
            (client, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned())
        }
        Step::Secured => (Client::secured(server, transport).await, HEADER.to_owned()),
        Step::Auth => {
            let said = format!(
                "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{}</auth>",
                plain("", user, &password_of(bare))
            );
            (Client::opened(server, transport).await, said)
        }
        Step::Authenticated => {
            let mut client = Client::opened(server, transport).await;
            client.plain(user, &password_of(bare)).await;
            client.restart();
            (client, HEADER.to_owned())
        }
        Step::Bind => {
            let said = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>";
            (Client::authenticated(server, transport, bare).await, said.to_owned())
        }
        Step::Enable => {
            let said = format!("<enable xmlns='{NS_SM}' resume='true'/>");
            (Client::login(server, transport, &cut).await, said)
        }
        Step::Resume => {
            let said = resume(&session.id, session.received);
            (Client::authenticated(server, transport, bare).await, said)
        }
        Step::Managed => {
            let mut client = Client::login(server, transport, &cut).await;
            client.enable_with(" resume='true'").await;
            // A message of a WebSocket is one element.
            let presence = match transport {
                Transport::WebSocket => "",
                _ => "<presence/>",
            };
            (client, format!("<a xmlns='{NS_SM}' h='0'/>{presence}"))
        }
    }
}

#[tokio::test]
async fn cut_at_every_step() {
    let server = Server::builder()
        // One that is resumed, and one for each place at which a managed stream is cut.
        .users(Transport::ALL.len() * (WARM + ROUNDS) * (1 + PLACES))
        .limit("password_iterations", 4_096)
        .limit("connections_per_second_per_address", 100_000)
        .limit("connections_before_login_per_address", 100_000)
        .limit("resume_seconds", 600)
        .start();
    let mut before = None;
    let mut cuts = 0;
    for round in 0..WARM + ROUNDS {
        if round == WARM {
            before = Some((server.open_files(), server.rss()));
        }
        for (number, transport) in Transport::ALL.into_iter().enumerate() {
            let how = Loss::BOTH[round % Loss::BOTH.len()];
            let client = managed(&server, transport, &server.user()).await;
            let session = lose(&server, client, how).await;
            for step in STEPS {
                if step == Step::Tls && transport != Transport::Starttls {
                    continue;
                }
                for which in 0..PLACES {
                    let (mut client, said) = at(&server, transport, step, &session).await;
                    if transport == Transport::WebSocket {
                        let said = said.trim_start_matches(DECLARATION);
                        let message = frame(0x81, whole(said, transport).as_bytes());
                        client.send_raw(&message[..places(message.len())[which]]).await;
                    } else {
                        client.send(&said.as_bytes()[..places(said.len())[which]]).await;
                    }
                    match how {
                        Loss::Reset => client.cut(),
                        Loss::Fin => drop(client),
                    }
                    cuts += 1;
                }
            }
            // By another port than it was begun over.
            let other = Transport::ALL[(number + 1) % Transport::ALL.len()];
            let mut client = Client::resume(&server, other, &session).await;
            client.ping().await;
            client.close().await;
        }
    }
    assert!(cuts > 1_000, "{cuts}");
    let (files, memory) = before.expect("there are more rounds than that");
    files_fall_to(&server, files + FILES).await;
    memory_falls_to(&server, memory + MEMORY).await;
}
