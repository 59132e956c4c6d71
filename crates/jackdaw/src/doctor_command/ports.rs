//! Whether somebody answers where the DNS leads, and whether it can show who it is.

use std::net::SocketAddr;

use c2s::tls::x509;
use rustls::pki_types::UnixTime;
use s2s::dns::Tlsa;
use s2s::identity::{Flaw, Peer, Side};
use s2s::policy::{Require, Rule};

use super::probe::{self, Seen, Way};
use super::records::Place;
use super::report::Report;
use super::{Name, Tools};

/// A certificate that ends sooner is told of: automatic renewal is done well before.
const SOON_DAYS: i64 = 14;

const FIREWALL: &str = "open the port in the firewall and on the way to this machine, and look whether the server runs; \
                        some routers only let others in, then ask from elsewhere";

pub async fn check(tools: &Tools<'_>, name: &Name, places: &[Place], report: &mut Report) {
    for place in places {
        let of = format!("{} at {}:{}", name.ascii, place.host, place.port);
        let addresses: Vec<SocketAddr> = place
            .addresses
            .iter()
            .map(|address| SocketAddr::new(*address, place.port))
            .collect();
        let Some(stream) = probe::connect(&addresses, &of, FIREWALL, report).await else {
            continue;
        };
        let way = Way {
            is_of_servers: place.srv.is_of_servers(),
            is_direct: place.srv.is_direct(),
            to: &name.ascii,
            from: None,
        };
        match probe::talk(tools, stream, way).await {
            Ok(seen) => {
                let by = if way.is_direct { "direct TLS" } else { "STARTTLS" };
                report.good("port", &of, format!("answers with {}, by {by}", seen.version));
                if way.is_direct && !seen.has_alpn {
                    let advice = "whatever ends TLS in front of this server should pass ALPN on (XEP-0368)";
                    report.note("port", &of, "does not say by ALPN what it speaks", advice);
                }
                certificate(tools, &of, name, place, &seen, report).await;
            }
            Err(why) => {
                let advice = "look whether it is this server that has the port, and into its log";
                report.wrong("port", &of, why, advice);
            }
        }
    }
}

async fn certificate(tools: &Tools<'_>, of: &str, name: &Name, place: &Place, seen: &Seen, report: &mut Report) {
    let tlsa = match place.srv.is_of_servers() && place.is_secure {
        true => tools.resolver.tlsa(&place.host, place.port).await.ok(),
        false => None,
    };
    let tlsa: Vec<Tlsa> = tlsa
        .filter(|tlsa| tlsa.is_secure)
        .map(|tlsa| tlsa.records)
        .unwrap_or_default();
    let host: Box<str> = place.host.as_str().into();
    let peer = Peer {
        hosts: if place.is_secure {
            std::slice::from_ref(&host)
        } else {
            &[]
        },
        ..Peer::new(&name.ascii, Side::Server, &seen.chain)
    };
    by_authority(tools, of, &peer, report);
    if !tlsa.is_empty() {
        let rule = Rule {
            require: Require::Dane,
            ..Rule::default()
        };
        let peer = Peer { tlsa: &tlsa, ..peer };
        match tools.identity.judge(&peer, &rule, UnixTime::now()).proof {
            Ok(_) => report.good("dane", of, "the certificate is the one of the TLSA records"),
            Err(_) => report.wrong(
                "dane",
                of,
                "the certificate is another than the TLSA records say; servers that know DANE do not connect",
                "`jackdaw dns --tlsa` prints the right ones",
            ),
        }
    }
}

/// Whether whoever trusts the usual authorities takes it, and for how long.
pub fn by_authority(tools: &Tools<'_>, of: &str, peer: &Peer<'_>, report: &mut Report) {
    let rule = Rule {
        require: Require::Certificate,
        ..Rule::default()
    };
    let now = UnixTime::now();
    if let Err(flaw) = tools.identity.judge(peer, &rule, now).proof {
        return report.wrong("certificate", of, flaw.to_string(), advice(&flaw, peer.domain));
    }
    let fields = peer.chain.first().and_then(|leaf| x509::fields(leaf));
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let days = fields.map_or(0, |fields| (fields.not_after - seconds) / 86_400);
    match days > SOON_DAYS {
        true => report.good(
            "certificate",
            of,
            format!("names {}, good for {days} days", peer.domain),
        ),
        false => report.note(
            "certificate",
            of,
            format!("ends in {days} days"),
            "renew it; if that is done by a program, look why it has not been",
        ),
    }
}

fn advice(flaw: &Flaw, domain: &str) -> String {
    match flaw {
        Flaw::OtherName => format!("have {domain} added to the names of the certificate"),
        Flaw::SelfSigned => {
            "get one of an authority (Let's Encrypt has them for nothing), and name it in [[domain]]".to_owned()
        }
        Flaw::UnknownAuthority { .. } => {
            "give the file with the whole chain (fullchain.pem, not cert.pem), of an authority that others know"
                .to_owned()
        }
        Flaw::Expired => "renew it".to_owned(),
        Flaw::NotYetValid => "look at the clock of this machine".to_owned(),
        _ => "get another one".to_owned(),
    }
}
