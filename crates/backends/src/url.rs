//! Where a service is that is asked over HTTP.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hyper::Uri;

/// `https://host[:port]/path`, or the same with `http` where the host is this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    pub(crate) is_tls: bool,
    /// Without the brackets of IPv6.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As in the header `Host`.
    pub(crate) authority: String,
    /// Path and query.
    pub(crate) target: String,
}

impl FromStr for Url {
    type Err = String;

    fn from_str(text: &str) -> Result<Url, String> {
        let wrong = || format!("`{}` is not a URL such as https://id.example.org/path", shown(text));
        if text.contains('#') {
            return Err(wrong());
        }
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let is_tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        if authority.as_str().contains('@') {
            // It would come to light in every error.
            return Err("a URL has no place for a name and a password; there is a key for them".to_owned());
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() || (authority.port_u16().is_none() && authority.as_str() != authority.host()) {
            return Err(wrong());
        }
        let url = Url {
            is_tls,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            target: uri.path_and_query().map_or("/", |target| target.as_str()).to_owned(),
        };
        if !is_tls && !url.is_local() {
            return Err(format!(
                "`{url}` would carry secrets in the clear over the network; use https"
            ));
        }
        Ok(url)
    }
}

impl Url {
    /// Without the brackets of IPv6.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Where a redirect leads (RFC 9110 section 10.2.2): to another URL, or to another path of this server.
    ///
    /// # Errors
    /// It leads nowhere.
    pub fn join(&self, location: &str) -> Result<Url, String> {
        if !location.starts_with('/') || location.starts_with("//") {
            return location.parse();
        }
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{location}", self.authority).parse()
    }

    fn is_local(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

fn shown(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// Without the query, which may hold a key.
impl fmt::Display for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(out, "{scheme}://{}{}", self.authority, shown(&self.target))
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_url() {
        let check = |text: &str, host: &str, port: u16, target: &str| {
            let url: Url = text.parse().expect(text);
            assert_eq!(
                (url.host.as_str(), url.port, url.target.as_str()),
                (host, port, target),
                "{text}"
            );
        };
        check("https://id.example.org", "id.example.org", 443, "/");
        check(
            "https://id.example.org:8443/a/b?key=1",
            "id.example.org",
            8443,
            "/a/b?key=1",
        );
        check("http://127.0.0.1:8080/check", "127.0.0.1", 8080, "/check");
        check("http://[::1]/check", "::1", 80, "/check");
        check("http://localhost:81/", "localhost", 81, "/");
    }

    #[test]
    fn what_is_none() {
        for text in [
            "",
            "/check",
            "id.example.org",
            "ftp://id.example.org/",
            "https://",
            "https://id.example.org:99999/",
            "https://id.example.org/#part",
            "https://user:hunter2@id.example.org/",
            "http://id.example.org/",
            "http://192.0.2.1/",
            "http://127.0.0.1.example.org/",
        ] {
            let told = text.parse::<Url>().expect_err(text);
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn where_redirects_lead() {
        let url: Url = "https://a.example:8443/b".parse().expect("a URL");
        let check = |location: &str, to: Option<&str>| {
            let joined = url.join(location).ok().map(|url| url.to_string());
            assert_eq!(joined.as_deref(), to, "{location}");
        };
        check("/c", Some("https://a.example:8443/c"));
        check("https://b.example/c", Some("https://b.example/c"));
        check("//b.example/c", None);
        check("c", None);
        check("", None);
        check("http://b.example/c", None);
    }

    #[test]
    fn the_query_is_not_shown() {
        let url: Url = "https://id.example.org/check?key=secret".parse().expect("a URL");
        assert_eq!(url.to_string(), "https://id.example.org/check");
        assert_eq!(format!("{url:?}"), url.to_string());
    }
}
