//! Where else a domain can be reached (XEP-0156), for clients that cannot ask the DNS.

use hyper::header::ACCESS_CONTROL_ALLOW_ORIGIN;

use crate::answer::{self, Answer};

const WEBSOCKET: &str = "urn:xmpp:alt-connections:websocket";
const BOSH: &str = "urn:xmpp:alt-connections:xbosh";

/// A domain, and the addresses that it tells: section 2.2 wants `wss://` and `https://`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub domain: String,
    pub websocket: String,
    pub bosh: Option<String>,
}

impl Site {
    fn links(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let bosh = self.bosh.as_deref().map(|bosh| (BOSH, bosh));
        bosh.into_iter().chain([(WEBSOCKET, &*self.websocket)])
    }
}

/// The site that a request is for, by its `Host`.
pub(crate) fn site<'s>(sites: &'s [Site], host: &str) -> Option<&'s Site> {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    sites.iter().find(|site| {
        // A browser sends what the DNS knows the domain by.
        site.domain.eq_ignore_ascii_case(name)
            || idna::domain_to_ascii(&site.domain).is_ok_and(|ascii| ascii.eq_ignore_ascii_case(name))
    })
}

/// `/.well-known/host-meta` (RFC 6415 section 3).
pub(crate) fn xrd(site: &Site) -> Answer {
    let mut text = String::from(
        "<?xml version='1.0' encoding='utf-8'?>\n<XRD xmlns='http://docs.oasis-open.org/ns/xri/xrd-1.0'>\n",
    );
    for (rel, href) in site.links() {
        let mut escaped = Vec::new();
        xmlstream::escape_attr(&mut escaped, href);
        // Escaping text yields text.
        let href = String::from_utf8(escaped).unwrap_or_default();
        text.push_str(&format!("  <Link rel='{rel}' href='{href}'/>\n"));
    }
    text.push_str("</XRD>\n");
    open_to_all(answer::document("application/xrd+xml", text))
}

/// `/.well-known/host-meta.json` (RFC 6415 appendix A).
pub(crate) fn jrd(site: &Site) -> Answer {
    let links: Vec<_> = site
        .links()
        .map(|(rel, href)| serde_json::json!({"rel": rel, "href": href}))
        .collect();
    let text = serde_json::json!({ "links": links }).to_string();
    open_to_all(answer::document("application/json", text))
}

/// Section 3: any page may read it, and nothing else here.
pub(crate) fn open_to_all(mut answer: Answer) -> Answer {
    answer::with(&mut answer, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        let sites = ["example.org", "münchen.example"].map(|domain| Site {
            domain: domain.to_owned(),
            websocket: String::new(),
            bosh: None,
        });
        let check = |host: &str, domain: Option<&str>| {
            assert_eq!(site(&sites, host).map(|site| &*site.domain), domain, "{host}");
        };
        check("example.org", Some("example.org"));
        check("EXAMPLE.org:5443", Some("example.org"));
        check("example.org.", Some("example.org"));
        check("xn--mnchen-3ya.example", Some("münchen.example"));
        check("chat.example.org", None);
        check("", None);
        check("[::1]:5443", None);
    }
}
