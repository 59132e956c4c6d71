//! The PROXY protocol: a proxy tells the address of its client in front of what the client says (HAProxy,
//! `doc/proxy-protocol.txt`, versions 1 and 2).
//!
//! Whether the header is there is never guessed (section 2): on such a port it must be, and only the proxies that were
//! named may connect. It is read before anything else exists of the connection, by a task with a buffer on its stack;
//! what comes behind it stays in the socket. Until then the connection counts among all, and at no address.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::admission::Admission;
use crate::listener::Admit;
use crate::service::Service;

/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its end (section 2.1).
const LINE_BYTES: usize = 107;
/// The addresses and ports of version 2: two of IPv6 at most, as far as they are used.
const ADDRESS_BYTES: usize = 36;

/// An address, or all that begin alike: `192.0.2.1`, `10.0.0.0/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let ((own, length), (other, other_length)) = (bits(self.address), bits(address.to_canonical()));
        let differ = (own ^ other).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0);
        length == other_length && differ == 0
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = || format!("`{text}` is neither an address nor a network such as 10.0.0.0/8");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let mut address: IpAddr = address.parse().map_err(|_| wrong())?;
        if prefix.is_none() {
            address = address.to_canonical();
        }
        let (value, length) = bits(address);
        let prefix: u8 = prefix.map_or(Ok(length), str::parse).map_err(|_| wrong())?;
        if prefix > length {
            return Err(wrong());
        }
        if value.checked_shl(u32::from(prefix)).unwrap_or(0) != 0 {
            return Err(format!(
                "`{text}` names one machine and a network: there is something behind its first {prefix} bits"
            ));
        }
        Ok(Network { address, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix == bits(self.address).1 {
            true => self.address.fmt(f),
            false => write!(f, "{}/{}", self.address, self.prefix),
        }
    }
}

/// A port behind proxies that tell the address of their client.
pub struct Proxied {
    proxies: Vec<Network>,
    behind: Arc<dyn Admit>,
}

impl Proxied {
    /// `behind`: what becomes of a connection once its address is known.
    pub fn new(proxies: Vec<Network>, behind: Box<dyn Admit>) -> Proxied {
        Proxied {
            proxies,
            behind: behind.into(),
        }
    }
}

impl Admit for Proxied {
    fn admit(&self, service: &Arc<Service>, socket: TcpStream, address: IpAddr) {
        if !self.proxies.iter().any(|proxy| proxy.contains(address)) {
            tracing::warn!(%address, "a connection was refused: this listener is for the proxies of its proxy_protocol only");
            return;
        }
        if !Admission::is_possible(service, address) {
            return;
        }
        let admission = Admission::of_proxy(service, address);
        tokio::spawn(enter(Arc::clone(&self.behind), admission, socket));
    }
}

/// Reads the header and lets the connection in as its client's.
async fn enter(behind: Arc<dyn Admit>, admission: Admission, mut socket: TcpStream) {
    let (service, proxy) = (Arc::clone(&admission.service), admission.address);
    let read = tokio::select! {
        read = tokio::time::timeout(service.limits.negotiation, header(&mut socket)) => read,
        () = service.stopped() => return,
    };
    let told = match read {
        Ok(Ok(told)) => told,
        Ok(Err(error)) => {
            tracing::warn!(%proxy, %error, "a connection was refused: it does not begin with a header of the PROXY protocol");
            return;
        }
        Err(_) => {
            tracing::warn!(%proxy, "a connection was refused: no header of the PROXY protocol came in time");
            return;
        }
    };
    // It is counted anew, and at the address that was told.
    drop(admission);
    let address = told.unwrap_or(proxy);
    tracing::debug!(%proxy, %address, "a proxy has told whose connection it is");
    behind.admit(&service, socket, address);
}

fn wrong(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads the header and nothing behind it. None: the connection is the proxy's own, or it does not know whose.
async fn header(socket: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut start = [0; SIGNATURE.len()];
    socket.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        return binary(socket).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(wrong("neither version 1 nor version 2"));
    }
    let mut text = [0; LINE_BYTES];
    text[..start.len()].copy_from_slice(&start);
    let mut length = start.len();
    while !text[..length].ends_with(b"\n") {
        if length == LINE_BYTES {
            return Err(wrong("the line is too long"));
        }
        // What is behind the line is not the header's, so it is looked for its end before it is taken.
        let seen = socket.peek(&mut text[length..]).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let found = text[length..length + seen].iter().position(|&byte| byte == b'\n');
        let taken = found.map_or(seen, |end| end + 1);
        socket.read_exact(&mut text[length..length + taken]).await?;
        length += taken;
    }
    line(&text[..length])
}

/// A line of version 1 (section 2.1).
fn line(line: &[u8]) -> io::Result<Option<IpAddr>> {
    let malformed = || wrong("the line is malformed");
    let text = std::str::from_utf8(line).map_err(|_| malformed())?;
    let mut words = text.strip_suffix("\r\n").ok_or_else(malformed)?.split(' ');
    let mut word = || words.next().ok_or_else(malformed);
    if word()? != "PROXY" {
        return Err(malformed());
    }
    let family = word()?;
    if family == "UNKNOWN" {
        return Ok(None);
    }
    let (source, destination, ports) = (word()?, word()?, [word()?, word()?]);
    let is_port = |port: &&str| port.parse::<u16>().is_ok_and(|number| number.to_string() == **port);
    let addresses = match family {
        "TCP4" => ipv4(source).zip(ipv4(destination)),
        "TCP6" => ipv6(source).zip(ipv6(destination)),
        _ => None,
    };
    match addresses {
        Some((source, _)) if ports.iter().all(is_port) && words.next().is_none() => Ok(Some(source)),
        _ => Err(malformed()),
    }
}

fn ipv4(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv4Addr>().ok().map(IpAddr::V4)
}

fn ipv6(text: &str) -> Option<IpAddr> {
    text.parse::<Ipv6Addr>()
        .ok()
        .map(|address| IpAddr::V6(address).to_canonical())
}

/// What follows the signature of version 2 (section 2.2).
async fn binary(socket: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut start = [0; 4];
    socket.read_exact(&mut start).await?;
    let [version, family, high, low] = start;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let mut addresses = [0; ADDRESS_BYTES];
    let kept = length.min(ADDRESS_BYTES);
    socket.read_exact(&mut addresses[..kept]).await?;
    // More about the client, in which nothing is of use here.
    let mut left = length - kept;
    while left > 0 {
        let mut scratch = [0; 128];
        let part = left.min(scratch.len());
        socket.read_exact(&mut scratch[..part]).await?;
        left -= part;
    }
    told(version, family, &addresses[..kept])
}

fn told(version: u8, family: u8, addresses: &[u8]) -> io::Result<Option<IpAddr>> {
    let short = || wrong("the addresses are cut off");
    match (version, family) {
        // LOCAL: a look at whether we are well. The family is ignored.
        (0x20, _) => Ok(None),
        (0x21, 0x11) => {
            let (source, rest) = addresses.split_first_chunk::<4>().ok_or_else(short)?;
            (rest.len() >= 8)
                .then_some(Some(IpAddr::from(*source)))
                .ok_or_else(short)
        }
        (0x21, 0x21) => {
            let (source, rest) = addresses.split_first_chunk::<16>().ok_or_else(short)?;
            let source = IpAddr::from(*source).to_canonical();
            (rest.len() >= 20).then_some(Some(source)).ok_or_else(short)
        }
        // Known to the protocol, and nothing that has an address as ours: unspecified, datagrams, UNIX sockets.
        (0x21, 0x00..=0x02 | 0x10 | 0x12 | 0x20 | 0x22 | 0x30..=0x32) => Ok(None),
        (0x21, _) => Err(wrong("the family is unknown")),
        _ => Err(wrong("the version or the command is unknown")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn networks() {
        let check = |network: &str, other: &str, is_inside: bool| {
            let network: Network = network.parse().expect("a network");
            assert_eq!(network.contains(address(other)), is_inside, "{network} {other}");
        };
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("::ffff:192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("0.0.0.0/0", "192.0.2.1", true);
        // Neither family is inside the other.
        check("0.0.0.0/0", "::1", false);
        check("::/0", "192.0.2.1", false);
        check("::/0", "2001:db8::1", true);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        for text in [
            "",
            "x",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.1/8",
            "::1/127",
            "10.0.0.0/8/8",
            "10.0.0.0/-1",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        for text in ["192.0.2.1", "10.0.0.0/8", "2001:db8::/32"] {
            assert_eq!(text.parse::<Network>().expect("a network").to_string(), text);
        }
    }

    #[test]
    fn lines_of_version_1() {
        let read = |text: &str| line(text.as_bytes()).ok();
        let v6 = "ffff:f:f:f:f:f:f:ffff";
        assert_eq!(
            read("PROXY TCP4 192.0.2.7 192.0.2.11 56324 443\r\n"),
            Some(Some(address("192.0.2.7")))
        );
        assert_eq!(
            read(&format!("PROXY TCP6 2001:db8::7 {v6} 0 65535\r\n")),
            Some(Some(address("2001:db8::7")))
        );
        assert_eq!(read("PROXY UNKNOWN\r\n"), Some(None));
        assert_eq!(read("PROXY UNKNOWN a b c  d\r\n"), Some(None));
        for wrong in [
            "PROXY TCP4 192.0.2.7 192.0.2.11 56324 443\n",
            "PROXY TCP4 192.0.2.7 192.0.2.11 56324\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.11 56324 443 1\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.11 56324 443 \r\n",
            "PROXY TCP4  192.0.2.7 192.0.2.11 56324 443\r\n",
            "PROXY TCP4 192.0.2.07 192.0.2.11 56324 443\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.11 056324 443\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.11 +5 443\r\n",
            "PROXY TCP4 192.0.2.7 192.0.2.11 65536 443\r\n",
            "PROXY TCP4 2001:db8::7 192.0.2.11 56324 443\r\n",
            "PROXY TCP6 192.0.2.7 192.0.2.11 56324 443\r\n",
            "PROXY UDP4 192.0.2.7 192.0.2.11 56324 443\r\n",
            "PROXY unknown\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn blocks_of_version_2() {
        let read = |version, family, addresses: &[u8]| told(version, family, addresses).ok();
        let mut v4 = vec![192, 0, 2, 7, 192, 0, 2, 11];
        v4.extend([0xdc, 4, 1, 0xbb]);
        assert_eq!(read(0x21, 0x11, &v4), Some(Some(address("192.0.2.7"))));
        assert_eq!(read(0x21, 0x11, &v4[..11]), None);
        let mut v6 = [0; 36];
        v6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        v6[15] = 7;
        assert_eq!(read(0x21, 0x21, &v6), Some(Some(address("2001:db8::7"))));
        assert_eq!(read(0x21, 0x21, &v6[..35]), None);
        // LOCAL, whatever it says beside.
        assert_eq!(read(0x20, 0x11, &v4), Some(None));
        assert_eq!(read(0x20, 0xff, &[]), Some(None));
        assert_eq!(read(0x21, 0x00, &[]), Some(None));
        assert_eq!(read(0x21, 0x31, &v6), Some(None));
        for (version, family) in [(0x11, 0x11), (0x22, 0x11), (0x21, 0x41), (0x21, 0x13), (0x01, 0x11)] {
            assert_eq!(read(version, family, &v6), None, "{version:x} {family:x}");
        }
    }
}
