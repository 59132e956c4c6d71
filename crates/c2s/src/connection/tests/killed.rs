//! Connections that are killed at each state of negotiation, 100,000 times (attacks.md, row 3): nothing of them is left.
//!
//! Over socket pairs, as a machine has not so many ports; everything above the socket is what the server runs.

use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;

use tokio::net::UnixStream;

use super::*;

const KILLS: usize = 100_000;
/// What comes before memory is looked at first: caches and the allocator fill.
const WARM: usize = 10_000;
/// At the same time, each with a resource of its own.
const AT_ONCE: usize = 8;
/// What memory may have grown by, in bytes: 42 for each connection.
const MEMORY: usize = 4 * 1024 * 1024;
/// As many of an address may wait; more than are there at once.
const WAITING: usize = 64;

impl Socket for UnixStream {
    fn try_write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        UnixStream::try_write(self, bytes)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        UnixStream::poll_write_ready(self, cx)
    }

    fn shut_down(&self) {
        let _ = SockRef::from(self).shutdown(std::net::Shutdown::Write);
    }
}

/// How far a client comes before it is gone.
#[derive(Clone, Copy, Debug)]
enum State {
    Connected,
    HalfAHeader,
    /// It does not read the features.
    Header,
    Features,
    HalfAnAuth,
    /// The account is being looked up.
    Auth,
    Challenge,
    /// The answer to it is under way.
    Response,
    WrongPassword,
    /// Refused without TLS.
    Plain,
    Success,
    SecondHeader,
    HalfABind,
    /// The resource is being bound.
    Bind,
    Bound,
    Managed,
    StreamError,
    /// Of TLS: the first record, in part and whole.
    HalfAHello,
    Hello,
    NoHello,
}

const STATES: [State; 20] = [
    State::Connected,
    State::HalfAHeader,
    State::Header,
    State::Features,
    State::HalfAnAuth,
    State::Auth,
    State::Challenge,
    State::Response,
    State::WrongPassword,
    State::Plain,
    State::Success,
    State::SecondHeader,
    State::HalfABind,
    State::Bind,
    State::Bound,
    State::Managed,
    State::StreamError,
    State::HalfAHello,
    State::Hello,
    State::NoHello,
];

impl State {
    fn is_tls(self) -> bool {
        matches!(self, State::HalfAHello | State::Hello | State::NoHello)
    }

    /// Comes as far as this over a new connection.
    async fn reach(self, client: &mut Client<UnixStream>, resource: &str, hello: &[u8]) {
        const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
        let bind = format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>"
        );
        match self {
            State::Connected => {}
            State::HalfAHeader => client.send(&HEADER[..HEADER.len() / 2]).await,
            State::Header => client.send(HEADER).await,
            State::HalfAHello => client.send(&hello[..hello.len() / 2]).await,
            State::Hello => {
                client.send(hello).await;
                // The server's flight has begun.
                let mut first = [0];
                client.socket.read_exact(&mut first).await.expect("an answer");
            }
            State::NoHello => client.send("GET / HTTP/1.1\r\n\r\n").await,
            State::StreamError => {
                client.send("<a>").await;
                client.until("</stream:stream>").await;
            }
            State::Success => client.authenticate("juliet").await,
            State::SecondHeader | State::HalfABind | State::Bind => {
                client.authenticate("juliet").await;
                client.send(HEADER).await;
                client.until("</stream:features>").await;
                match self {
                    State::HalfABind => client.send(&bind[..bind.len() / 2]).await,
                    State::Bind => client.send(bind).await,
                    _ => {}
                }
            }
            State::Bound => client.log_in_as("juliet", resource).await,
            State::Managed => {
                client.log_in_as("juliet", resource).await;
                client.send("<enable xmlns='urn:xmpp:sm:3'/>").await;
                client.until("<enabled ").await;
                client.send("<presence/><r xmlns='urn:xmpp:sm:3'/>").await;
                client.until("<a ").await;
            }
            State::Features | State::HalfAnAuth | State::Auth | State::Plain | State::WrongPassword => {
                client.send(HEADER).await;
                client.until("</stream:features>").await;
                let first = STANDARD.encode("n,,n=juliet,r=rOprNGfwEbeRWgbNEkqO");
                let auth = format!("<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>{first}</auth>");
                match self {
                    State::HalfAnAuth => client.send(&auth[..auth.len() / 2]).await,
                    State::Auth => client.send(auth).await,
                    State::Plain | State::WrongPassword => {
                        // Without TLS it is refused before anybody is looked up; SCRAM with a wrong proof is not.
                        let data = STANDARD.encode("\0juliet\0wrong");
                        client
                            .send(format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>"))
                            .await;
                        client.until("</failure>").await;
                        if matches!(self, State::WrongPassword) {
                            client.send(auth).await;
                            client.until("</challenge>").await;
                            let proof = STANDARD.encode("c=biws,r=wrong,p=AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
                            client
                                .send(format!("<response xmlns='{SASL}'>{proof}</response>"))
                                .await;
                            client.until("</failure>").await;
                        }
                    }
                    _ => {}
                }
            }
            State::Challenge => drop(client.challenge("juliet").await),
            State::Response => {
                let response = client.challenge("juliet").await;
                client.send(response).await;
            }
        }
    }
}

fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").expect("read");
    let pages = pages.split(' ').nth(1).expect("a second number");
    pages.parse::<usize>().expect("a number") * 4096
}

/// The first record of a client of TLS.
fn hello() -> Vec<u8> {
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "example.org".try_into().expect("a name");
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("written");
    hello
}

/// Kills connections until so many have been.
async fn kill(
    world: &World,
    port: &Arc<Shared>,
    secured: &Arc<Shared>,
    hello: &[u8],
    until: usize,
    next: &AtomicUsize,
) {
    let address = IpAddr::from([192, 0, 2, 1]);
    let one = async |resource: String| {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= until {
                return;
            }
            let state = STATES[number % STATES.len()];
            let (ours, theirs) = UnixStream::pair().expect("a pair");
            let admission = Admission::of(&world.service, address).expect("let in");
            let port = if state.is_tls() { secured } else { port };
            let task = tokio::spawn(Connection::new(admission, Arc::clone(port), theirs));
            let mut client = Client::over(ours);
            patiently(state.reach(&mut client, &resource, hello)).await;
            drop(client);
            // The same resource comes again, and would meet the one before.
            patiently(task).await.expect("the connection ends");
        }
    };
    let [a, b, c, d, e, f, g, h] = std::array::from_fn(|at: usize| one(format!("r{at}")));
    const { assert!(AT_ONCE == 8) };
    tokio::join!(a, b, c, d, e, f, g, h);
    next.store(until, Ordering::Relaxed);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_each_state_of_negotiation() {
    let world = World::new(Limits {
        before_login_per_address: WAITING,
        connections_per_second_per_address: u32::MAX,
        login_failures_per_address: u32::MAX,
        login_failures_per_account: u32::MAX,
        registrations_per_address: 10,
        registrations: 100,
        ..limits()
    });
    let (port, secured, hello) = (world.port(None), world.port(Some(tls())), hello());
    let next = AtomicUsize::new(0);
    kill(&world, &port, &secured, &hello, WARM, &next).await;
    let before = (
        resident(),
        Arc::strong_count(&world.service),
        Arc::strong_count(&world.service.router),
    );
    kill(&world, &port, &secured, &hello, WARM + KILLS, &next).await;
    let after = (
        resident(),
        Arc::strong_count(&world.service),
        Arc::strong_count(&world.service.router),
    );
    assert_eq!((after.1, after.2), (before.1, before.2), "nobody holds the service");
    assert!(after.0 < before.0 + MEMORY, "{} and {} bytes", before.0, after.0);
    assert_eq!(world.service.connections(), 0);
    assert_eq!(world.service.router.count_sessions(), 0);
    assert_eq!(world.service.unbound_connections(), 0);
    // Each was settled: as many may wait as if nobody had been there.
    let address = IpAddr::from([192, 0, 2, 1]);
    let refused = (0..WAITING)
        .filter(|_| world.service.throttle.admit(address, 0).is_err())
        .count();
    assert_eq!(refused, 0);
    // Once it is looked, no account is kept either.
    world.service.router.sweep(Now(i64::MAX));
    assert_eq!(world.service.router.count_accounts(), 0);
}
