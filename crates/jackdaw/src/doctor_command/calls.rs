//! Servers of STUN and TURN, as clients are told of them (`[[external]]`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use s2s::identity::{Peer, Side};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::Tools;
use super::ports::by_authority;
use super::probe;
use super::report::Report;
use crate::config::{External, Transport};

/// Of STUN and TURN, and the same with TLS (RFC 8489 section 18.6).
const PORT: u16 = 3478;
const TLS_PORT: u16 = 5349;

/// Until an answer is taken for lost, and how often it is asked.
const ANSWER: Duration = Duration::from_secs(2);
const TIMES: usize = 3;

/// RFC 8489 section 5.
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_ANSWERED: [u8; 2] = [0x01, 0x01];
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;

pub async fn check(tools: &Tools<'_>, external: &External, report: &mut Report) {
    let has_tls = match external.kind.as_str() {
        "stun" | "turn" => false,
        "stuns" | "turns" => true,
        // Whatever it is, it speaks something else.
        _ => return,
    };
    let port = external.port.unwrap_or(if has_tls { TLS_PORT } else { PORT });
    let of = format!("{}:{}:{port}", external.kind, external.host);
    let addresses = match probe::addresses(tools, &external.host).await {
        Ok(addresses) => addresses,
        Err(none) => {
            let advice = format!("add A or AAAA records of {}", external.host);
            return report.wrong("calls", &of, format!("no address: {none}"), advice);
        }
    };
    for address in addresses {
        let address = SocketAddr::new(address, port);
        let asked = match (has_tls, external.transport) {
            (true, _) => over_tls(tools, address, &external.host, &of, report).await,
            (false, Some(Transport::Tcp)) => over_tcp(address).await,
            (false, _) => over_udp(address).await,
        };
        match asked {
            Ok(()) => report.good("calls", &of, format!("{address} answers")),
            Err(why) => {
                let advice = "look whether it runs, and open its port in the firewall";
                report.wrong("calls", &of, format!("{address}: {why}"), advice);
            }
        }
    }
}

/// A question, and what every answer to it begins with.
fn question() -> ([u8; HEADER], [u8; HEADER]) {
    let mut question = [0; HEADER];
    question[..2].copy_from_slice(&BINDING_REQUEST);
    question[4..8].copy_from_slice(&COOKIE);
    // Who asks once needs no more than that it is another number than the last.
    let _ = getrandom::fill(&mut question[8..]);
    let mut answer = question;
    answer[..2].copy_from_slice(&BINDING_ANSWERED);
    (question, answer)
}

fn is_answer(said: &[u8], expected: &[u8; HEADER]) -> bool {
    // Between type and cookie stands a length.
    said.len() >= HEADER && said[..2] == expected[..2] && said[4..HEADER] == expected[4..]
}

async fn over_udp(address: SocketAddr) -> Result<(), String> {
    let own: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let in_words = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind(own).await.map_err(in_words)?;
    socket.connect(address).await.map_err(in_words)?;
    let (question, expected) = question();
    let mut said = [0; 1500];
    for _ in 0..TIMES {
        socket.send(&question).await.map_err(in_words)?;
        if let Ok(length) = timeout(ANSWER, socket.recv(&mut said)).await {
            return match is_answer(&said[..length.map_err(in_words)?], &expected) {
                true => Ok(()),
                false => Err("what answers does not speak STUN".to_owned()),
            };
        }
    }
    Err("no answer".to_owned())
}

async fn over_tcp(address: SocketAddr) -> Result<(), String> {
    let in_words = |error: std::io::Error| error.to_string();
    let mut stream = probe::open(address).await.map_err(in_words)?;
    let (question, expected) = question();
    let mut said = [0; HEADER];
    stream.write_all(&question).await.map_err(in_words)?;
    match timeout(ANSWER, stream.read_exact(&mut said)).await {
        Ok(read) => read.map_err(in_words)?,
        Err(_) => return Err("no answer".to_owned()),
    };
    match is_answer(&said, &expected) {
        true => Ok(()),
        false => Err("what answers does not speak STUN".to_owned()),
    }
}

/// That there is TLS with a certificate is what is particular about it.
async fn over_tls(
    tools: &Tools<'_>,
    address: SocketAddr,
    host: &str,
    of: &str,
    report: &mut Report,
) -> Result<(), String> {
    let stream = probe::open(address).await.map_err(|error| error.to_string())?;
    let stream = probe::tls(tools, stream, host).await?;
    let seen = probe::seen(&stream);
    by_authority(tools, of, &Peer::new(host, Side::Server, &seen.chain), report);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_answers_and_one_that_does_not() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = server.local_addr().expect("an address");
        let served = tokio::spawn(async move {
            let mut said = [0; 100];
            for is_right in [true, false] {
                let (length, peer) = server.recv_from(&mut said).await.expect("a question");
                assert_eq!(
                    (length, &said[..8]),
                    (HEADER, [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42].as_slice())
                );
                said[..2].copy_from_slice(if is_right { &BINDING_ANSWERED } else { &BINDING_REQUEST });
                server.send_to(&said[..HEADER], peer).await.expect("sent");
            }
        });
        assert_eq!(over_udp(address).await, Ok(()));
        assert!(over_udp(address).await.is_err());
        served.await.expect("served");
        // Nobody is there any more, and the system says so.
        assert!(over_udp(address).await.is_err());
        assert!(over_tcp(address).await.is_err());
    }
}
