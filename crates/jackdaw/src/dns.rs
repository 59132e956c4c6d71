//! What to tell the DNS, so that clients and other servers find this one: `jackdaw dns`, and the welcome of the first
//! start.
//!
//! SRV records for STARTTLS (RFC 6120 section 3.2.1) and direct TLS (XEP-0368), by the listeners that there are; those for
//! servers also for services that people elsewhere use (section 3.2.4); and where browsers look, which is no record
//! (XEP-0156). For who asks for them, TLSA records too (RFC 6698, RFC 7673).

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;

use c2s::tls::x509;
use s2s::policy::Pin;

use crate::certificate;
use crate::config::{Config, Domain, Kind, Listen, Tls};
use crate::failure::Failure;

/// Seconds for which an answer may be kept.
const TTL: u32 = 3600;

/// What others ask the DNS for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Srv {
    Client,
    ClientDirect,
    Server,
    ServerDirect,
}

impl Srv {
    pub const ALL: [Srv; 4] = [Srv::Client, Srv::ClientDirect, Srv::Server, Srv::ServerDirect];

    /// What stands before the domain.
    pub fn prefix(self) -> &'static str {
        match self {
            Srv::Client => "_xmpp-client._tcp",
            Srv::ClientDirect => "_xmpps-client._tcp",
            Srv::Server => "_xmpp-server._tcp",
            Srv::ServerDirect => "_xmpps-server._tcp",
        }
    }

    pub fn is_of_servers(self) -> bool {
        matches!(self, Srv::Server | Srv::ServerDirect)
    }

    /// TLS from the first byte.
    pub fn is_direct(self) -> bool {
        matches!(self, Srv::ClientDirect | Srv::ServerDirect)
    }

    /// What a listener is found by.
    fn of(config: &Config, listen: &Listen) -> &'static [Srv] {
        match listen.kind {
            // Who may not encrypt is behind a proxy, which has the port.
            Kind::C2s if listen.tls != Tls::Off => &[Srv::Client],
            Kind::C2sDirect => &[Srv::ClientDirect],
            // XEP-0368 section 5: with ALPN alone not everybody comes through; so only where there is nothing else.
            Kind::Multiplex if config.federation.enabled && !has_port_of_servers(config) => {
                &[Srv::ClientDirect, Srv::ServerDirect]
            }
            Kind::Multiplex => &[Srv::ClientDirect],
            Kind::S2s => &[Srv::Server],
            Kind::S2sDirect => &[Srv::ServerDirect],
            Kind::C2s | Kind::Https | Kind::Http | Kind::Component => &[],
        }
    }
}

fn has_port_of_servers(config: &Config) -> bool {
    config.listen.iter().any(|listen| listen.kind.is_of_servers())
}

/// A port that a record leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    pub number: u16,
    /// Behind a proxy, which may have another.
    is_proxied: bool,
    /// Only this machine reaches it.
    is_local: bool,
}

impl Port {
    /// The lower number is tried first: 443 is for networks where nothing else is open.
    fn priority(self) -> u16 {
        if self.number == 443 { 10 } else { 5 }
    }
}

/// The ports of listeners that are found by such records.
pub fn ports(config: &Config, srv: Srv) -> Vec<Port> {
    let mut ports: Vec<Port> = Vec::new();
    for listen in config
        .listen
        .iter()
        .filter(|listen| Srv::of(config, listen).contains(&srv))
    {
        let port = Port {
            number: listen.address.port(),
            is_proxied: !listen.proxy_protocol.is_empty(),
            is_local: is_local(listen),
        };
        match ports.iter_mut().find(|known| known.number == port.number) {
            Some(known) => known.is_local &= port.is_local,
            None => ports.push(port),
        }
    }
    ports
}

/// Those of them that others reach.
fn open_ports(config: &Config, srv: Srv) -> impl Iterator<Item = Port> {
    ports(config, srv).into_iter().filter(|port| !port.is_local)
}

fn is_local(listen: &Listen) -> bool {
    listen.address.ip().to_canonical().is_loopback()
}

/// Services of a domain that people of other servers have something to do with, by their first label. Uploads and the
/// proxy for bytestreams are for accounts of this server alone.
pub fn services(config: &Config) -> Vec<&'static str> {
    let labels = crate::serve::services(config);
    labels
        .into_iter()
        .filter(|label| !["upload", "proxy"].contains(label))
        .collect()
}

/// Whether a domain talks with other servers. Guests never do.
pub fn federates(config: &Config, domain: &Domain) -> bool {
    config.federation.enabled && !domain.guests
}

/// The record for a port, as a line of a zone file.
pub fn srv_record(srv: Srv, name: &str, port: Port, host: &str) -> String {
    let about = match port.is_proxied {
        true => " ; the port of your proxy, if it has another",
        false => "",
    };
    let (priority, number) = (port.priority(), port.number);
    let data = format!("SRV {priority} 1 {number} {host}.{about}");
    record(&format!("{}.{name}.", srv.prefix()), &data)
}

/// `jackdaw dns`.
pub fn run(config: &Config, host: Option<&str>, with_tlsa: bool) -> Result<(), Failure> {
    let mut text = records(config, host);
    if with_tlsa {
        text.push_str(&tlsa(config, host)?);
    }
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::failed(format!("cannot write the output: {error}")))
}

/// The records of all domains, in the form of a zone file. `host`: the name of this machine; without it that of each
/// domain is taken for it.
pub fn records(config: &Config, host: Option<&str>) -> String {
    let mut text = String::new();
    for domain in &config.domain {
        of_domain(config, domain, host, &mut text);
    }
    text
}

fn of_domain(config: &Config, of: &Domain, host: Option<&str>, text: &mut String) {
    let domain = ascii(of.name.as_str());
    let host = host.map_or_else(|| domain.clone(), ascii);
    line(text, format_args!("; {}: add these records to its zone", of.name));
    for listen in config.listen.iter().filter(|listen| is_local(listen)) {
        let (kind, address) = (listen.kind.as_str(), listen.address);
        if !Srv::of(config, listen).is_empty() {
            line(
                text,
                format_args!("; no record for {kind} {address}: only this machine reaches it"),
            );
        }
    }
    let of_servers = federates(config, of);
    for srv in Srv::ALL.into_iter().filter(|srv| of_servers || !srv.is_of_servers()) {
        for port in open_ports(config, srv) {
            line(text, format_args!("{}", srv_record(srv, &domain, port, &host)));
        }
    }
    let mut named = vec![domain.clone()];
    for label in services(config).into_iter().filter(|_| of_servers) {
        let name = format!("{label}.{domain}");
        for srv in [Srv::Server, Srv::ServerDirect] {
            for port in open_ports(config, srv) {
                line(text, format_args!("{}", srv_record(srv, &name, port, &host)));
            }
        }
        named.push(name);
    }
    for address in addresses(config) {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        line(
            text,
            format_args!("{}", record(&format!("{host}."), &format!("{kind} {address}"))),
        );
    }
    if addresses(config).is_empty() {
        line(
            text,
            format_args!("; and A and AAAA records of {host}. with the addresses of this machine"),
        );
    }
    let names = match named.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => domain.clone(),
    };
    line(
        text,
        format_args!("; The certificate has to name {names}, whatever the machine is called."),
    );
    browsers(config, &domain, text);
}

/// The records by which other servers know the keys of this one, if they check the signatures of the DNS (DANE). Of the
/// form that outlasts a renewal which keeps the key: 3 1 1 (RFC 6698 section 2.1).
pub fn tlsa(config: &Config, host: Option<&str>) -> Result<String, Failure> {
    let mut records: Vec<String> = Vec::new();
    for domain in config.domain.iter().filter(|domain| federates(config, domain)) {
        let Some(certificate) = certificate::first_of(config, domain)? else {
            return Err(Failure::failed(format!(
                "{} has no certificate yet; start the server once, and it makes one",
                domain.name
            )));
        };
        let unreadable = || Failure::failed(format!("the certificate of {} cannot be read", domain.name));
        let fields = x509::fields(&certificate).ok_or_else(unreadable)?;
        let host = ascii(host.unwrap_or(domain.name.as_str()));
        let hash: String = Pin::of(fields.key).0.iter().map(|byte| format!("{byte:02x}")).collect();
        for port in [Srv::Server, Srv::ServerDirect]
            .into_iter()
            .flat_map(|srv| open_ports(config, srv))
        {
            let record = record(&format!("_{}._tcp.{host}.", port.number), &format!("TLSA 3 1 1 {hash}"));
            if !records.contains(&record) {
                records.push(record);
            }
        }
    }
    let mut text = String::new();
    line(
        &mut text,
        format_args!("; DANE: only where the zones of your domains and of the machine are signed (DNSSEC)."),
    );
    line(
        &mut text,
        format_args!(
            "; Before the key changes, add the record of the new one, and wait until answers are no longer kept."
        ),
    );
    for record in records {
        line(&mut text, format_args!("{record}"));
    }
    Ok(text)
}

/// XEP-0156: browsers ask no DNS.
fn browsers(config: &Config, domain: &str, text: &mut String) {
    let path = "/.well-known/host-meta";
    let is_web = |listen: &&Listen| matches!(listen.kind, Kind::Https | Kind::Http | Kind::Multiplex);
    let ports: Vec<&Listen> = config.listen.iter().filter(is_web).collect();
    let has_443 = |listen: &&Listen| listen.kind != Kind::Http && listen.address.port() == 443;
    let tls = ports.iter().find(|listen| listen.kind != Kind::Http);
    match (ports.iter().find(|listen| has_443(listen)), tls, ports.first()) {
        (Some(_), ..) => line(
            text,
            format_args!("; Browsers find it at https://{domain}{path}, if {domain} is this machine."),
        ),
        (None, Some(listen), _) => {
            let port = listen.address.port();
            line(
                text,
                format_args!("; Browsers look at https://{domain}{path}: let the web server that is there pass it on"),
            );
            line(
                text,
                format_args!("; to https://{domain}:{port}{path}, and {path}.json."),
            );
        }
        (None, None, Some(listen)) => {
            let address = listen.address;
            line(
                text,
                format_args!("; Browsers look at https://{domain}{path}: let the web server that is there pass it on"),
            );
            line(text, format_args!("; to http://{address}{path}, and {path}.json."));
        }
        (None, None, None) => {}
    }
}

/// Those that listeners name; none where they listen on all.
fn addresses(config: &Config) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = config
        .listen
        .iter()
        .map(|listen| listen.address.ip().to_canonical())
        .collect();
    addresses.retain(|address| !address.is_unspecified() && !address.is_loopback());
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// A name as it stands in the DNS.
pub fn ascii(name: &str) -> String {
    let name = name.trim_end_matches('.');
    idna::domain_to_ascii(name).unwrap_or_else(|_| name.to_owned())
}

fn record(name: &str, data: &str) -> String {
    format!("{name:<34} {TTL} IN {data}")
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DomainName;

    fn listen(kind: Kind, address: &str) -> Listen {
        Listen {
            kind,
            address: address.parse().expect("an address"),
            ..Listen::default()
        }
    }

    fn config(domains: &[&str], listen: Vec<Listen>) -> Config {
        let domain = |name: &&str| Domain {
            name: DomainName::parse(name).expect("a name"),
            ..Domain::default()
        };
        Config {
            domain: domains.iter().map(domain).collect(),
            listen,
            ..Config::default()
        }
    }

    #[test]
    fn what_listens_by_default() {
        let config = config(&["example.org"], Config::default().listen);
        assert_eq!(
            records(&config, Some("chat.example.org")),
            "; example.org: add these records to its zone\n\
             _xmpp-client._tcp.example.org.     3600 IN SRV 5 1 5222 chat.example.org.\n\
             _xmpps-client._tcp.example.org.    3600 IN SRV 5 1 5223 chat.example.org.\n\
             _xmpp-server._tcp.example.org.     3600 IN SRV 5 1 5269 chat.example.org.\n\
             _xmpps-server._tcp.example.org.    3600 IN SRV 5 1 5270 chat.example.org.\n\
             _xmpp-server._tcp.conference.example.org. 3600 IN SRV 5 1 5269 chat.example.org.\n\
             _xmpps-server._tcp.conference.example.org. 3600 IN SRV 5 1 5270 chat.example.org.\n\
             _xmpp-server._tcp.pubsub.example.org. 3600 IN SRV 5 1 5269 chat.example.org.\n\
             _xmpps-server._tcp.pubsub.example.org. 3600 IN SRV 5 1 5270 chat.example.org.\n\
             ; and A and AAAA records of chat.example.org. with the addresses of this machine\n\
             ; The certificate has to name example.org, conference.example.org and pubsub.example.org, whatever the machine is called.\n\
             ; Browsers look at https://example.org/.well-known/host-meta: let the web server that is there pass it on\n\
             ; to https://example.org:5443/.well-known/host-meta, and /.well-known/host-meta.json.\n"
        );
    }

    /// Everybody has records of its own, in the letters of the DNS; nobody is sent where nobody can be reached.
    #[test]
    fn what_listens_elsewhere() {
        let mut proxied = listen(Kind::C2sDirect, "192.0.2.7:6223");
        proxied.proxy_protocol = vec![toml::Value::from("10.0.0.1").try_into().expect("a proxy")];
        let mut clear = listen(Kind::C2s, "192.0.2.7:6222");
        clear.tls = Tls::Off;
        let listeners = vec![
            listen(Kind::C2s, "127.0.0.1:5222"),
            clear,
            proxied,
            listen(Kind::Multiplex, "192.0.2.7:443"),
            listen(Kind::Multiplex, "[2001:db8::7]:443"),
        ];
        let config = config(&["münchen.example", "second.example"], listeners);
        let text = records(&config, None);
        assert_eq!(
            text.lines().take(11).collect::<Vec<_>>(),
            [
                "; münchen.example: add these records to its zone",
                "; no record for c2s 127.0.0.1:5222: only this machine reaches it",
                "_xmpps-client._tcp.xn--mnchen-3ya.example. 3600 IN SRV 5 1 6223 xn--mnchen-3ya.example. ; the port of your \
                 proxy, if it has another",
                "_xmpps-client._tcp.xn--mnchen-3ya.example. 3600 IN SRV 10 1 443 xn--mnchen-3ya.example.",
                "_xmpps-server._tcp.xn--mnchen-3ya.example. 3600 IN SRV 10 1 443 xn--mnchen-3ya.example.",
                "_xmpps-server._tcp.conference.xn--mnchen-3ya.example. 3600 IN SRV 10 1 443 xn--mnchen-3ya.example.",
                "_xmpps-server._tcp.pubsub.xn--mnchen-3ya.example. 3600 IN SRV 10 1 443 xn--mnchen-3ya.example.",
                "xn--mnchen-3ya.example.            3600 IN A 192.0.2.7",
                "xn--mnchen-3ya.example.            3600 IN AAAA 2001:db8::7",
                "; The certificate has to name xn--mnchen-3ya.example, conference.xn--mnchen-3ya.example and \
                 pubsub.xn--mnchen-3ya.example, whatever the machine is called.",
                "; Browsers find it at https://xn--mnchen-3ya.example/.well-known/host-meta, if xn--mnchen-3ya.example is \
                 this machine.",
            ]
        );
        assert!(text.contains("_xmpps-client._tcp.second.example."), "{text}");
        assert!(!text.contains("6222"), "{text}");
        assert!(!text.contains("_xmpp-server"), "nobody listens for STARTTLS of servers");
    }

    #[test]
    fn a_proxy_in_front_has_the_page_of_browsers() {
        let config = config(&["example.org"], vec![listen(Kind::Http, "127.0.0.1:5280")]);
        assert!(records(&config, None).contains("; to http://127.0.0.1:5280/.well-known/host-meta, and "));
    }

    #[test]
    fn who_talks_with_nobody_else_has_no_records_for_servers() {
        let mut config = config(&["example.org"], Config::default().listen);
        config.federation.enabled = false;
        assert!(!records(&config, None).contains("-server"));
        config.federation.enabled = true;
        config.domain[0].guests = true;
        assert!(!records(&config, None).contains("-server"));
    }

    /// Of the key, not of the certificate: SHA-256 as `Pin` makes it, which is tested there.
    #[test]
    fn keys_for_the_dns() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut config = config(&["example.org"], Config::default().listen);
        config.data = folder.path().to_owned();
        let error = tlsa(&config, None).expect_err("there is no certificate");
        assert!(
            error.to_string().contains("example.org has no certificate yet"),
            "{error}"
        );
        let made = certificate::of_all_domains(&config).expect("a certificate");
        let pem = std::fs::read(&made[0].certificate).expect("it can be read");
        let der = rustls_pemfile::certs(&mut &pem[..]).next().expect("one").expect("PEM");
        let pin = Pin::of(x509::fields(&der).expect("a certificate").key);
        let hash: String = pin.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = tlsa(&config, Some("chat.example.org")).expect("records");
        let records: Vec<&str> = text.lines().filter(|line| !line.starts_with(';')).collect();
        assert_eq!(
            records,
            [
                format!("_5269._tcp.chat.example.org.       3600 IN TLSA 3 1 1 {hash}"),
                format!("_5270._tcp.chat.example.org.       3600 IN TLSA 3 1 1 {hash}"),
            ]
        );
    }
}
