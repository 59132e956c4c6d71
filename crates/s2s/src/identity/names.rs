//! Which domains a certificate names (RFC 6120 section 13.7.1.2, RFC 6125 section 6).
//!
//! Only `subjectAltName` counts: DNS-ID, SRV-ID for `xmpp-server`, and xmppAddr. The subject, with its common name, is
//! text for people, and has been read as something else too often. What a name is made of is held against what a domain
//! in the DNS can be made of before it is compared, so that nothing that is cut off, escaped or prepared elsewhere becomes
//! another name on the way.

use std::net::IpAddr;

use c2s::tls::x509::{Fields, Name};
use stanza::Jid;

/// Names that are told to an operator; there may be hundreds.
const SHOWN: usize = 8;
/// Bytes of a name in the DNS (RFC 1035 section 2.3.4), as text and without the final dot.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The service in an SRV-ID (RFC 4985 section 2), with the dot behind it.
const SERVICE: &[u8] = b"_xmpp-server.";

/// A domain that a certificate is to be for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// A-labels in lower case.
    ascii: String,
}

impl Reference {
    /// Of a domain in prepared form, or a host of the DNS. `None` where no certificate can be for it: an address of IP,
    /// or what is not made of labels.
    pub(crate) fn new(domain: &str) -> Option<Reference> {
        if domain.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return None;
        }
        let ascii = idna::domain_to_ascii(domain.strip_suffix('.').unwrap_or(domain)).ok()?;
        let ascii = ascii.to_ascii_lowercase();
        is_domain(ascii.as_bytes()).then_some(Reference { ascii })
    }

    /// As SNI carries it.
    pub(crate) fn ascii(&self) -> &str {
        &self.ascii
    }

    /// Whether one of the names is this domain. `all`: names of services count as well as DNS-IDs.
    pub(crate) fn is_among<'a>(&self, mut names: impl Iterator<Item = Name<'a>>, all: bool) -> bool {
        names.any(|name| match name {
            Name::Dns(name) => self.is(name),
            Name::Srv(name) if all => without_service(name).is_some_and(|name| self.is(name)),
            Name::Xmpp(address) if all => self.is_address(address),
            _ => false,
        })
    }

    /// A DNS name as a certificate has it, with `*` as its whole first label perhaps (RFC 6125 section 6.4.3).
    fn is(&self, name: &[u8]) -> bool {
        match name.strip_prefix(b"*.") {
            // `*.org` is for nobody.
            Some(above) if is_domain(above) && above.contains(&b'.') => {
                let ours = self.ascii.split_once('.').map(|(_, ours)| ours);
                ours.is_some_and(|ours| ours.as_bytes().eq_ignore_ascii_case(above))
            }
            Some(_) => false,
            None => is_domain(name) && self.ascii.as_bytes().eq_ignore_ascii_case(name),
        }
    }

    /// Of a server it is its bare domain (RFC 6120 section 13.7.2.1): in U-labels, and never a wildcard.
    fn is_address(&self, address: &str) -> bool {
        let address = Jid::parse(address)
            .ok()
            .filter(|jid| jid.local().is_none() && jid.is_bare());
        address.and_then(|jid| Reference::new(jid.as_str())).as_ref() == Some(self)
    }
}

fn without_service(name: &[u8]) -> Option<&[u8]> {
    let (service, name) = name.split_at_checked(SERVICE.len())?;
    service.eq_ignore_ascii_case(SERVICE).then_some(name)
}

/// Labels of letters, digits, hyphens and underscores, none of them empty.
fn is_domain(name: &[u8]) -> bool {
    let is_label = |label: &[u8]| {
        (1..=MAX_LABEL).contains(&label.len())
            && label
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= MAX_NAME && name.split(|byte| *byte == b'.').all(is_label)
}

/// The names of a certificate for an operator.
pub(super) fn shown(certificate: &Fields<'_>) -> String {
    let mut text = String::new();
    let mut count = 0;
    for name in certificate.names() {
        count += 1;
        if count > SHOWN {
            continue;
        }
        let name = match name {
            Name::Dns(name) | Name::Srv(name) => name.escape_ascii().to_string(),
            Name::Xmpp(address) => address.escape_debug().to_string(),
        };
        let separator = if count > 1 { ", " } else { "" };
        text.push_str(separator);
        // A name that is longer than any domain is a trick.
        text.extend(name.chars().take(MAX_NAME));
    }
    match count.saturating_sub(SHOWN) {
        _ if count == 0 => "no name".to_owned(),
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(domain: &str, name: Name<'_>, expected: bool) {
        let reference = Reference::new(domain).expect(domain);
        assert_eq!(
            reference.is_among([name].into_iter(), true),
            expected,
            "{domain} {name:?}"
        );
    }

    #[test]
    fn dns_names() {
        let dns = |domain, name: &[u8], expected| check(domain, Name::Dns(name), expected);
        dns("example.org", b"example.org", true);
        dns("example.org", b"Example.ORG", true);
        dns("localhost", b"localhost", true);
        dns("example.org", b"www.example.org", false);
        dns("example.org", b"example.org.", false);
        dns("example.org", b".example.org", false);
        dns("example.org", b"example.org\0.evil.example", false);
        dns("example.org", b"example.org\0", false);
        dns("example.org", b"\0example.org", false);
        dns("example.org", b"example.org ", false);
        dns("example.org", b"example.org\n", false);
        dns("example.org", b"example,org", false);
        dns("example.org", b"CN=example.org", false);
        dns("example.org", b"", false);
        dns("example.org", b"example.org/a", false);
        dns("example.org", b"_xmpp-server.example.org", false);
    }

    #[test]
    fn wildcards() {
        let dns = |domain, name: &[u8], expected| check(domain, Name::Dns(name), expected);
        dns("a.example.org", b"*.example.org", true);
        dns("xn--bcher-kva.example.org", b"*.EXAMPLE.org", true);
        dns("example.org", b"*.example.org", false);
        dns("a.b.example.org", b"*.example.org", false);
        dns("a.b.example.org", b"a.*.example.org", false);
        dns("a.b.example.org", b"*.*.example.org", false);
        dns("ab.example.org", b"a*.example.org", false);
        dns("ab.example.org", b"*b.example.org", false);
        dns("example.org", b"*.org", false);
        dns("org", b"*", false);
        dns("example.org", b"*", false);
        dns("example.org", b"*.", false);
        dns("example.org", b"**.org", false);
        dns("a.example.org", b"*.example.org\0.evil.example", false);
    }

    #[test]
    fn names_of_services() {
        let srv = |domain, name: &[u8], expected| check(domain, Name::Srv(name), expected);
        srv("example.org", b"_xmpp-server.example.org", true);
        srv("example.org", b"_XMPP-Server.example.org", true);
        srv("a.example.org", b"_xmpp-server.*.example.org", true);
        srv("example.org", b"_xmpp-client.example.org", false);
        srv("example.org", b"_xmpp-server", false);
        srv("example.org", b"_xmpp-server.", false);
        srv("example.org", b"xmpp-server.example.org", false);
        srv("example.org", b"_xmpp-server_example.org", false);
        srv("example.org", b"_xmpp-server._tcp.example.org", false);
        srv("example.org", b"example.org", false);
        srv("example.org", b"_xmpp-server.example.org\0", false);
    }

    #[test]
    fn addresses() {
        let xmpp = |domain, address, expected| check(domain, Name::Xmpp(address), expected);
        xmpp("example.org", "example.org", true);
        xmpp("example.org", "EXAMPLE.org", true);
        xmpp("bücher.example", "bücher.example", true);
        xmpp("bücher.example", "xn--bcher-kva.example", true);
        xmpp("example.org", "juliet@example.org", false);
        xmpp("example.org", "example.org/balcony", false);
        xmpp("example.org", "evil.example", false);
        xmpp("a.example.org", "*.example.org", false);
        xmpp("example.org", "example.org\0", false);
        xmpp("example.org", "", false);
    }

    #[test]
    fn internationalized_domains() {
        let dns = |domain, name: &[u8], expected| check(domain, Name::Dns(name), expected);
        dns("bücher.example", b"xn--bcher-kva.example", true);
        dns("bücher.example", b"XN--BCHER-KVA.example", true);
        // Whoever writes U-labels into a dNSName has no A-label there.
        dns("bücher.example", "bücher.example".as_bytes(), false);
        dns("bucher.example", b"xn--bcher-kva.example", false);
        // A Cyrillic а.
        dns("аpple.example", b"apple.example", false);
    }

    #[test]
    fn services_count_only_if_they_may() {
        let reference = Reference::new("example.org").expect("a domain");
        for name in [Name::Srv(b"_xmpp-server.example.org"), Name::Xmpp("example.org")] {
            assert!(!reference.is_among([name].into_iter(), false), "{name:?}");
        }
        assert!(reference.is_among([Name::Dns(b"example.org")].into_iter(), false));
    }

    #[test]
    fn what_no_certificate_can_be_for() {
        for domain in [
            "",
            ".",
            "192.0.2.1",
            "[2001:db8::1]",
            "*.example.org",
            "a b",
            "a..b",
            "a\0b",
            "a,b",
        ] {
            assert_eq!(Reference::new(domain), None, "{domain:?}");
        }
        assert_eq!(Reference::new("Example.org.").expect("a domain").ascii(), "example.org");
    }
}
