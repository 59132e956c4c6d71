//! A small DNS for tests: whatever the test says of a name is so, from the next question on.
//!
//! Messages are read and written here (RFC 1035 section 4) and not by the library of the server under test, which shall
//! not answer itself. Answers are never from a cache and may not be kept: their TTL is 0 unless the test says otherwise.
//! It has threads of its own, since tests wait for processes without letting others run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Types of records (RFC 1035 section 3.2.2, 3596, 2782, 6698).
const A: u16 = 1;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const OPT: u16 = 41;
const TLSA: u16 = 52;
/// The class of everything (section 3.2.4).
const IN: u16 = 1;
/// RFC 1035 section 4.1.1.
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
/// Longest datagram without EDNS (section 4.2.1): what does not fit is asked for over TCP.
const DATAGRAM: usize = 512;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(5);

/// What stands at a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    A(Ipv4Addr),
    Aaaa(Ipv6Addr),
    Cname(String),
    /// Target `.`: there is no such service.
    Srv {
        priority: u16,
        weight: u16,
        port: u16,
        target: String,
    },
    Tlsa {
        usage: u8,
        selector: u8,
        matching: u8,
        data: Vec<u8>,
    },
}

impl Record {
    pub fn srv(priority: u16, port: u16, target: &str) -> Record {
        Record::Srv {
            priority,
            weight: 0,
            port,
            target: target.to_owned(),
        }
    }

    fn kind(&self) -> u16 {
        match self {
            Record::A(_) => A,
            Record::Aaaa(_) => AAAA,
            Record::Cname(_) => CNAME,
            Record::Srv { .. } => SRV,
            Record::Tlsa { .. } => TLSA,
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Record::A(address) => address.octets().to_vec(),
            Record::Aaaa(address) => address.octets().to_vec(),
            Record::Cname(name) => written(name),
            Record::Srv {
                priority,
                weight,
                port,
                target,
            } => {
                let numbers = [priority, weight, port].map(|number| number.to_be_bytes());
                [numbers.concat(), written(target)].concat()
            }
            Record::Tlsa {
                usage,
                selector,
                matching,
                data,
            } => [&[*usage, *selector, *matching], data.as_slice()].concat(),
        }
    }
}

/// A name as it stands in messages (section 3.1).
fn written(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

#[derive(Default)]
struct Names {
    records: BTreeMap<String, Vec<Record>>,
    /// These, and all below, are not answered, or answered with a failure.
    silent: BTreeSet<String>,
    failing: BTreeSet<String>,
    ttl: u32,
    /// Every question: name and type.
    asked: Vec<(String, u16)>,
}

struct Shared {
    names: Mutex<Names>,
    is_over: AtomicBool,
}

impl Shared {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }
}

/// A server of the DNS on a port of this machine, for UDP and TCP. Ends when it is dropped.
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Dns {
    pub fn start() -> Dns {
        let (datagrams, connections) = sockets();
        let address = datagrams.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            names: Mutex::default(),
            is_over: AtomicBool::new(false),
        });
        let (one, two) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || serve_datagrams(&one, &datagrams)),
            thread::spawn(move || serve_connections(&two, &connections)),
        ];
        Dns {
            address,
            shared,
            threads,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// These stand at the name, and nothing else does. None at all: there is the name, and nothing at it.
    pub fn set(&self, name: &str, records: &[Record]) {
        self.shared.names().records.insert(name.to_owned(), records.to_vec());
    }

    /// There is no such name, nor one below it.
    pub fn remove(&self, name: &str) {
        self.shared.names().records.retain(|other, _| !is_below(other, name));
    }

    /// Nothing that is asked of this name and of those below it is answered, or it is again.
    pub fn silence(&self, name: &str, is_silent: bool) {
        let silent = &mut self.shared.names().silent;
        match is_silent {
            true => silent.insert(name.to_owned()),
            false => silent.remove(name),
        };
    }

    /// The same for answers that say that the server has failed.
    pub fn fail(&self, name: &str, fails: bool) {
        let failing = &mut self.shared.names().failing;
        match fails {
            true => failing.insert(name.to_owned()),
            false => failing.remove(name),
        };
    }

    /// For how many seconds answers may be kept.
    pub fn set_ttl(&self, seconds: u32) {
        self.shared.names().ttl = seconds;
    }

    /// How often this name was asked for, whatever of it.
    pub fn asked(&self, name: &str) -> usize {
        let names = self.shared.names();
        names.asked.iter().filter(|(asked, _)| asked == name).count()
    }

    /// A domain whose server is at this address: STARTTLS at 5269, and direct TLS at 5270 where it has that.
    pub fn locate(&self, domain: &str, address: Ipv4Addr, has_direct: bool) {
        let host = format!("xmpp.{domain}");
        self.set(domain, &[]);
        self.set(&host, &[Record::A(address)]);
        self.set(
            &format!("_xmpp-server._tcp.{domain}"),
            &[Record::srv(10, crate::server::S2S_PORT, &host)],
        );
        let direct = format!("_xmpps-server._tcp.{domain}");
        match has_direct {
            true => self.set(&direct, &[Record::srv(5, crate::server::S2S_DIRECT_PORT, &host)]),
            false => self.remove(&direct),
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Each thread waits for one more.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[], self.address);
        }
        let _ = TcpStream::connect(self.address);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One port for both.
fn sockets() -> (UdpSocket, TcpListener) {
    loop {
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        let address = datagrams.local_addr().expect("it is bound");
        if let Ok(connections) = TcpListener::bind(address) {
            return (datagrams, connections);
        }
    }
}

fn is_below(name: &str, above: &str) -> bool {
    name.strip_suffix(above)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn serve_datagrams(shared: &Shared, socket: &UdpSocket) {
    let mut space = [0; 4096];
    while let Ok((count, from)) = socket.recv_from(&mut space) {
        if shared.is_over() {
            return;
        }
        if let Some(mut answer) = answer(shared, &space[..count]) {
            if answer.len() > DATAGRAM {
                // The bit TC, and the question alone.
                answer.truncate(count.min(answer.len()));
                answer[2] |= 2;
                answer[6..12].fill(0);
            }
            let _ = socket.send_to(&answer, from);
        }
    }
}

fn serve_connections(shared: &Arc<Shared>, listener: &TcpListener) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.is_over() {
            return;
        }
        let shared = Arc::clone(shared);
        thread::spawn(move || serve_connection(&shared, stream));
    }
}

/// Section 4.2.2: a length stands before each message.
fn serve_connection(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question)?;
        if let Some(answer) = answer(shared, &question) {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_all(&[length.to_be_bytes().as_slice(), &answer].concat())?;
        }
    }
}

/// What is asked: the name, its type, and where the question ends.
fn question(message: &[u8]) -> Option<(String, u16, usize)> {
    let (mut at, mut labels) = (12, Vec::new());
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    let kind = u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]);
    Some((labels.join("."), kind, at + 4))
}

/// None: it is not answered.
fn answer(shared: &Shared, message: &[u8]) -> Option<Vec<u8>> {
    let (name, kind, end) = question(message)?;
    let mut names = shared.names();
    names.asked.push((name.clone(), kind));
    let is_one = |list: &BTreeSet<String>| list.iter().any(|above| is_below(&name, above));
    if is_one(&names.silent) {
        return None;
    }
    let mut found = Vec::new();
    let code = match is_one(&names.failing) {
        true => SERVFAIL,
        false if names.find(&name, kind, &mut found) => 0,
        false => NXDOMAIN,
    };
    // It has authority, and recursion is said to be there: whoever asks is no resolver of its own.
    let flags = 0x8480 | code | u16::from(message[2] & 1) << 8;
    let nothing = found.is_empty() && code != SERVFAIL;
    // A question with EDNS has one record behind it, and so has its answer (RFC 6891 section 6.1.1).
    let has_edns = u16::from_be_bytes([message[10], message[11]]) > 0;
    let mut out = message[..2].to_vec();
    let count = u16::try_from(found.len()).expect("few records");
    for number in [flags, 1, count, u16::from(nothing), u16::from(has_edns)] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(message.get(12..end)?);
    for (owner, record) in &found {
        write(&mut out, owner, record.kind(), names.ttl, &record.data());
    }
    if nothing {
        // Of the root, which all of it is. How long that there is nothing may be kept: RFC 2308 section 5.
        let numbers = [1, 3600, 600, 86_400, names.ttl].map(u32::to_be_bytes).concat();
        let data = [written("ns.test"), written("hostmaster.test"), numbers].concat();
        write(&mut out, "", SOA, names.ttl, &data);
    }
    if has_edns {
        out.extend_from_slice(&[0]);
        for number in [OPT, 4096, 0, 0, 0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
    Some(out)
}

impl Names {
    /// What stands there, along aliases. Whether there is such a name.
    fn find(&self, name: &str, kind: u16, found: &mut Vec<(String, Record)>) -> bool {
        let mut name = name.to_owned();
        // More aliases than that are a circle.
        for _ in 0..8 {
            let Some(records) = self.records.get(&name) else {
                return self.records.keys().any(|other| is_below(other, &name)) || name.is_empty();
            };
            found.extend(
                records
                    .iter()
                    .filter(|record| record.kind() == kind || record.kind() == CNAME)
                    .map(|record| (name.clone(), record.clone())),
            );
            match found.last() {
                Some((_, Record::Cname(target))) if kind != CNAME => name.clone_from(target),
                _ => break,
            }
        }
        true
    }
}

fn write(out: &mut Vec<u8>, owner: &str, kind: u16, ttl: u32, data: &[u8]) {
    out.extend_from_slice(&written(owner));
    out.extend_from_slice(&[kind.to_be_bytes(), IN.to_be_bytes()].concat());
    out.extend_from_slice(&ttl.to_be_bytes());
    out.extend_from_slice(&u16::try_from(data.len()).expect("a short record").to_be_bytes());
    out.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The question of RFC 1035 section 4.1.2, for one name.
    fn ask(dns: &Dns, name: &str, kind: u16) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("a time");
        let head = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let message = [head.as_slice(), &written(name), &kind.to_be_bytes(), &[0, 1]].concat();
        socket.send_to(&message, dns.address()).expect("sent");
        let mut space = [0; 4096];
        let count = socket.recv(&mut space).ok()?;
        Some(space[..count].to_vec())
    }

    /// The code, and how many answers there are.
    fn told(answer: &[u8]) -> (u8, u8) {
        (answer[3] & 15, answer[7])
    }

    #[test]
    fn what_is_told_is_what_was_said() {
        let dns = Dns::start();
        let check = |name: &str, kind: u16, expected: Option<(u8, u8)>| {
            let answer = ask(&dns, name, kind);
            assert_eq!(answer.as_deref().map(told), expected, "{name} {kind}");
        };
        check("example.org", A, Some((3, 0)));
        dns.locate("example.org", Ipv4Addr::new(127, 1, 2, 3), true);
        check("xmpp.example.org", A, Some((0, 1)));
        check("xmpp.example.org", AAAA, Some((0, 0)));
        check("_xmpp-server._tcp.example.org", SRV, Some((0, 1)));
        // Nothing stands there, but below.
        check("_tcp.example.org", A, Some((0, 0)));
        check("_xmpps-server._tcp.EXAMPLE.org", SRV, Some((0, 1)));
        check("other.example.org", A, Some((3, 0)));
        dns.set("www.example.org", &[Record::Cname("xmpp.example.org".to_owned())]);
        check("www.example.org", A, Some((0, 2)));
        dns.fail("example.org", true);
        check("xmpp.example.org", A, Some((2, 0)));
        dns.silence("example.org", true);
        check("xmpp.example.org", A, None);
        check("example.org.", A, None);
        check("example.net", A, Some((3, 0)));
        dns.silence("example.org", false);
        dns.fail("example.org", false);
        dns.remove("example.org");
        check("xmpp.example.org", A, Some((3, 0)));
        assert!(dns.asked("xmpp.example.org") >= 4);
    }
}
