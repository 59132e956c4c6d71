use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpSocket};

use super::*;
use crate::stub::{Stub, Way, Zone};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn target(host: &str, port: u16) -> Target {
    Target {
        host: host.into(),
        port,
        is_direct: false,
        is_secure: true,
    }
}

/// A port on loopback where nobody listens.
async fn closed() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").port()
}

/// An address that takes no packet more: its queue is full.
async fn deaf() -> (SocketAddr, Vec<Box<dyn Send>>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let listener = socket.listen(1).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let mut kept: Vec<Box<dyn Send>> = vec![Box::new(listener)];
    for _ in 0..8 {
        match tokio::time::timeout(Duration::from_millis(50), TcpStream::connect(address)).await {
            Ok(stream) => kept.push(Box::new(stream)),
            Err(_) => return (address, kept),
        }
    }
    panic!("the queue takes all");
}

#[tokio::test]
async fn a_domain_is_found_and_reached() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut zone = Zone::new();
    zone.srv("_xmpp-server._tcp.xn--mnchen-3ya.", 5, port, "xmpp.signed.")
        .address("xmpp.signed.", "127.0.0.1");
    let stub = Stub::new(zone).await;
    let resolver = stub.resolver();
    let mut trace = Trace::default();
    let targets = resolver.find("münchen", &mut trace).await.expect("targets");
    assert_eq!(targets, [target("xmpp.signed", port)]);
    let connected = resolver
        .connect(&targets[0], soon(), &Terms::default(), &mut trace)
        .await;
    let connected = connected.expect("a connection");
    assert!(connected.is_secure);
    assert_eq!(connected.address, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let told: Vec<&str> = trace.steps.iter().map(|step| &*step.what).collect();
    assert_eq!(
        told,
        [
            "_xmpps-server._tcp.xn--mnchen-3ya SRV: no such name",
            &format!("_xmpp-server._tcp.xn--mnchen-3ya SRV (DNSSEC): 5 1 {port} xmpp.signed."),
            &format!("to try: xmpp.signed:{port} (STARTTLS)"),
            "xmpp.signed AAAA: no such record",
            "xmpp.signed A (DNSSEC): 127.0.0.1",
            &format!("127.0.0.1:{port}: connected"),
        ]
    );
}

#[tokio::test]
async fn a_domain_that_is_not() {
    let stub = Stub::new(Zone::new()).await;
    let resolver = stub.resolver();
    let mut trace = Trace::default();
    let targets = resolver.find("nowhere.signed", &mut trace).await.expect("targets");
    assert_eq!((&*targets[0].host, targets[0].port), ("nowhere.signed", 5269));
    let failure = resolver
        .connect(&targets[0], soon(), &Terms::default(), &mut trace)
        .await;
    assert_eq!(failure.expect_err("no address").kind, FailureKind::NotFound);
    let failure = resolver.find("a_very..bad", &mut trace).await.expect_err("no name");
    assert_eq!(failure.kind, FailureKind::NotFound);
}

/// Fault 54: it would go round in circles.
#[tokio::test]
async fn never_to_ourselves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let own = listener.local_addr().expect("an address");
    let mut zone = Zone::new();
    zone.address("us.signed.", "127.0.0.1")
        .address("us.signed.", "::ffff:127.0.0.1");
    let stub = Stub::new(zone).await;
    let resolver = stub.resolver();
    for host in ["us.signed", "127.0.0.1", "::ffff:127.0.0.1"] {
        let mut trace = Trace::default();
        let terms = Terms {
            is_ours: &|address| address == own,
            ..Terms::default()
        };
        let failure = resolver
            .connect(&target(host, own.port()), soon(), &terms, &mut trace)
            .await;
        let failure = failure.expect_err("a failure");
        assert_eq!(failure.kind, FailureKind::NotFound, "{}", failure.text);
        assert!(
            trace
                .reason()
                .is_some_and(|step| step.what.contains("this server itself"))
        );
    }
    for host in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255"] {
        let mut trace = Trace::default();
        let failure = resolver
            .connect(&target(host, 5269), soon(), &Terms::default(), &mut trace)
            .await;
        assert_eq!(failure.expect_err("a failure").kind, FailureKind::NotFound);
    }
}

#[tokio::test]
async fn the_next_address_when_one_refuses() {
    let listener = TcpListener::bind("127.0.0.2:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let mut zone = Zone::new();
    zone.address("two.signed.", "127.0.0.1")
        .address("two.signed.", "127.0.0.2");
    let stub = Stub::new(zone).await;
    let mut trace = Trace::default();
    let resolver = stub.resolver();
    let connected = resolver
        .connect(&target("two.signed", port), soon(), &Terms::default(), &mut trace)
        .await;
    assert_eq!(connected.expect("a connection").address.ip().to_string(), "127.0.0.2");
}

/// RFC 8305 section 5: who says nothing holds up nobody.
#[tokio::test]
async fn the_next_address_when_one_is_silent() {
    let (silent, _kept) = deaf().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let good = listener.local_addr().expect("an address");
    let mut trace = Trace::default();
    let won = race([silent, good].into(), soon(), None, &mut trace).await;
    assert_eq!(won.expect("a connection").address, good);
}

/// Fault 54: a black hole.
#[tokio::test]
async fn all_silent_until_time_is_up() {
    let (silent, _kept) = deaf().await;
    let stub = Stub::new(Zone::new()).await;
    let mut trace = Trace::default();
    let until = Instant::now() + Duration::from_millis(100);
    let host = silent.ip().to_string();
    let failure = stub
        .resolver()
        .connect(&target(&host, silent.port()), until, &Terms::default(), &mut trace)
        .await;
    assert_eq!(failure.expect_err("a failure").kind, FailureKind::Timeout);
    let reason = trace.reason().expect("a reason");
    assert_eq!(reason.what, format!("{silent}: no answer in time"));
}

/// Whoever has many names for one host that says nothing does not keep anybody from others.
#[tokio::test]
async fn so_many_at_one_address() {
    let listeners = [
        TcpListener::bind("127.0.0.1:0").await.expect("a port"),
        TcpListener::bind("127.0.0.1:0").await.expect("a port"),
        TcpListener::bind("127.0.0.2:0").await.expect("a port"),
    ];
    let stub = Stub::new(Zone::new()).await;
    let resolver = stub.resolver();
    let places = Places::new(3, 1);
    let terms = Terms {
        places: Some(&places),
        ..Terms::default()
    };
    let mut trace = Trace::default();
    let [first, same, other] = listeners
        .each_ref()
        .map(|listener| listener.local_addr().expect("an address"));
    let mut connect = async |address: SocketAddr, until| {
        let target = target(&address.ip().to_string(), address.port());
        resolver.connect(&target, until, &terms, &mut trace).await
    };
    let first = connect(first, soon()).await.expect("a connection");
    let short = Instant::now() + Duration::from_millis(50);
    // At another port it is the same machine.
    let failure = connect(same, short).await.expect_err("a failure");
    assert_eq!(failure.kind, FailureKind::Timeout);
    connect(other, soon()).await.expect("a connection");
    drop(first);
    connect(same, soon()).await.expect("a connection");
    let reason = trace.reason().expect("a reason");
    assert_eq!(
        reason.what,
        format!("{same}: too many connections are being made there already")
    );
}

#[tokio::test]
async fn everybody_refuses() {
    let port = closed().await;
    let stub = Stub::new(Zone::new()).await;
    let mut trace = Trace::default();
    let failure = stub
        .resolver()
        .connect(&target("127.0.0.1", port), soon(), &Terms::default(), &mut trace)
        .await;
    assert_eq!(failure.expect_err("a failure").kind, FailureKind::Timeout);
    assert!(
        trace.reason().is_some_and(|step| step.what.contains("refused")),
        "{trace:?}"
    );
}

/// RFC 7673 section 3.2: whoever falsifies an address leads nobody there.
#[tokio::test]
async fn a_falsified_address_is_not_connected_to() {
    let mut zone = Zone::new();
    zone.address("xmpp.signed.", "127.0.0.1").address("xmpp.signed.", "::1");
    let stub = Stub::new(zone).await;
    stub.set(Way::Falsifies);
    let mut trace = Trace::default();
    let resolver = stub.resolver();
    assert_eq!(
        resolver.addresses("xmpp.signed", &mut trace).await,
        Err(NoAnswer::Bogus)
    );
    let failure = resolver
        .connect(&target("xmpp.signed", 5269), soon(), &Terms::default(), &mut trace)
        .await;
    assert_eq!(failure.expect_err("a failure").kind, FailureKind::Timeout);
}

#[test]
fn families_take_turns() {
    let list = |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().expect("an address")).collect() };
    assert_eq!(
        interleaved([list(&["::1", "::2", "::3"]), list(&["1.1.1.1"])]),
        list(&["::1", "1.1.1.1", "::2", "::3"])
    );
    assert_eq!(
        interleaved([list(&[]), list(&["1.1.1.1", "1.1.1.1"])]),
        list(&["1.1.1.1"])
    );
    let many: Vec<IpAddr> = (0..40).map(|number| Ipv4Addr::new(10, 0, 0, number).into()).collect();
    assert_eq!(interleaved([Vec::new(), many]).len(), ADDRESSES);
}
