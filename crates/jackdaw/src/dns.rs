//! What to tell the DNS, so that clients find the server: `jackdaw dns`, and the welcome of the first start.
//!
//! SRV records for STARTTLS (RFC 6120 section 3.2.1) and direct TLS (XEP-0368), by the listeners that there are; and
//! where browsers look, which is no record (XEP-0156). There are none for other servers, as there is no federation yet.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::config::{Config, DomainName, Kind, Listen, Tls};

/// Seconds for which an answer may be kept.
const TTL: u32 = 3600;

/// The records of all domains, in the form of a zone file. `host`: the name of this machine; without it that of each
/// domain is taken for it.
pub fn records(config: &Config, host: Option<&str>) -> String {
    let mut text = String::new();
    for domain in &config.domain {
        of_domain(config, &domain.name, host, &mut text);
    }
    text
}

fn of_domain(config: &Config, name: &DomainName, host: Option<&str>, text: &mut String) {
    let domain = ascii(name.as_str());
    let host = host.map_or_else(|| domain.clone(), ascii);
    line(text, format_args!("; {name}: add these records to its zone"));
    let mut services = Vec::new();
    for listen in &config.listen {
        let service = match listen.kind {
            // Who may not encrypt is behind a proxy, which has the port.
            Kind::C2s if listen.tls != Tls::Off => "_xmpp-client._tcp",
            Kind::C2sDirect | Kind::Multiplex => "_xmpps-client._tcp",
            Kind::C2s | Kind::Https | Kind::Http | Kind::Component => continue,
        };
        if listen.address.ip().to_canonical().is_loopback() {
            let (kind, address) = (listen.kind.as_str(), listen.address);
            line(
                text,
                format_args!("; no record for {kind} {address}: only this machine reaches it"),
            );
            continue;
        }
        let port = listen.address.port();
        if services.contains(&(service, port)) {
            continue;
        }
        services.push((service, port));
        // Clients try the lower number first: 443 is for networks where nothing else is open.
        let priority = if port == 443 { 10 } else { 5 };
        let about = match &listen.proxy_protocol[..] {
            [] => "",
            _ => " ; the port of your proxy, if it has another",
        };
        record(
            text,
            &format!("{service}.{domain}."),
            format_args!("SRV {priority} 1 {port} {host}.{about}"),
        );
    }
    for address in addresses(config) {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        record(text, &format!("{host}."), format_args!("{kind} {address}"));
    }
    if addresses(config).is_empty() {
        line(
            text,
            format_args!("; and A and AAAA records of {host}. with the addresses of this machine"),
        );
    }
    line(
        text,
        format_args!("; The certificate has to name {domain}, whatever the machine is called."),
    );
    browsers(config, &domain, text);
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
fn ascii(name: &str) -> String {
    let name = name.trim_end_matches('.');
    idna::domain_to_ascii(name).unwrap_or_else(|_| name.to_owned())
}

fn record(text: &mut String, name: &str, data: std::fmt::Arguments<'_>) {
    line(text, format_args!("{name:<34} {TTL} IN {data}"));
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{arguments}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Domain;

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
             ; and A and AAAA records of chat.example.org. with the addresses of this machine\n\
             ; The certificate has to name example.org, whatever the machine is called.\n\
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
            text.lines().take(8).collect::<Vec<_>>(),
            [
                "; münchen.example: add these records to its zone",
                "; no record for c2s 127.0.0.1:5222: only this machine reaches it",
                "_xmpps-client._tcp.xn--mnchen-3ya.example. 3600 IN SRV 5 1 6223 xn--mnchen-3ya.example. ; the port of your \
                 proxy, if it has another",
                "_xmpps-client._tcp.xn--mnchen-3ya.example. 3600 IN SRV 10 1 443 xn--mnchen-3ya.example.",
                "xn--mnchen-3ya.example.            3600 IN A 192.0.2.7",
                "xn--mnchen-3ya.example.            3600 IN AAAA 2001:db8::7",
                "; The certificate has to name xn--mnchen-3ya.example, whatever the machine is called.",
                "; Browsers find it at https://xn--mnchen-3ya.example/.well-known/host-meta, if xn--mnchen-3ya.example is \
                 this machine.",
            ]
        );
        assert!(text.contains("_xmpps-client._tcp.second.example."), "{text}");
        assert!(!text.contains("6222"), "{text}");
        assert!(!text.contains("_xmpp-server"), "there is no federation");
    }

    #[test]
    fn a_proxy_in_front_has_the_page_of_browsers() {
        let config = config(&["example.org"], vec![listen(Kind::Http, "127.0.0.1:5280")]);
        assert!(records(&config, None).contains("; to http://127.0.0.1:5280/.well-known/host-meta, and "));
    }
}
