//! What a proxy tells of its client: `Forwarded` (RFC 7239) and the older `X-Forwarded-For` and `X-Forwarded-Proto`.
//!
//! Anybody can send these. So they count only where the connection comes from a proxy that is named in the
//! configuration, and of a list only the part that such proxies have written: from its end up to the first address
//! that is none of theirs.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{FORWARDED, HeaderMap, HeaderName};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    pub(crate) address: IpAddr,
    /// It speaks TLS with the proxy.
    pub(crate) is_secured: bool,
}

/// The client of a request that comes from a proxy. None: the proxy does not say.
pub(crate) fn client(headers: &HeaderMap, trusted: &[IpAddr]) -> Option<Client> {
    let is_trusted = |address: &IpAddr| trusted.contains(&address.to_canonical());
    if headers.contains_key(FORWARDED) {
        let hops = values(headers, FORWARDED).collect::<Vec<_>>();
        let last = |name: &str, hop: &str| {
            let pairs = hop.split(';').filter_map(|pair| pair.trim().split_once('='));
            let mut found = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            found.next().map(|(_, value)| value.trim().trim_matches('"').to_owned())
        };
        let mut is_secured = false;
        let mut found = None;
        for hop in hops.iter().rev() {
            let from = last("for", hop).and_then(|from| parse(&from))?;
            is_secured = last("proto", hop).is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
            found = Some(from);
            if !is_trusted(&from) {
                break;
            }
        }
        return found.map(|address| Client { address, is_secured });
    }
    let is_secured = values(headers, X_FORWARDED_PROTO)
        .last()
        .is_some_and(|proto| proto.eq_ignore_ascii_case("https"));
    let mut found = None;
    for hop in values(headers, X_FORWARDED_FOR).collect::<Vec<_>>().into_iter().rev() {
        let from = parse(hop)?;
        found = Some(from);
        if !is_trusted(&from) {
            break;
        }
    }
    found.map(|address| Client { address, is_secured })
}

fn values(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    bare.unwrap_or(text)
        .parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn check(headers: &[(&'static str, &'static str)], expected: Option<(&str, bool)>) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let trusted: Vec<IpAddr> = ["10.0.0.1", "10.0.0.2"]
            .iter()
            .map(|a| a.parse().expect("an address"))
            .collect();
        let found = client(&map, &trusted);
        let expected = expected.map(|(address, is_secured)| Client {
            address: address.parse().expect("an address"),
            is_secured,
        });
        assert_eq!(found, expected, "{headers:?}");
    }

    #[test]
    fn the_first_that_is_not_ours() {
        check(&[], None);
        check(&[("x-forwarded-for", "192.0.2.1")], Some(("192.0.2.1", false)));
        check(
            &[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")],
            Some(("192.0.2.1", true)),
        );
        // What a client has written itself stands further left.
        check(&[("x-forwarded-for", "6.6.6.6, 192.0.2.1")], Some(("192.0.2.1", false)));
        check(
            &[("x-forwarded-for", "6.6.6.6, 192.0.2.1, 10.0.0.2")],
            Some(("192.0.2.1", false)),
        );
        check(
            &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.1")],
            Some(("192.0.2.1", false)),
        );
        check(&[("x-forwarded-for", "10.0.0.2")], Some(("10.0.0.2", false)));
        check(&[("x-forwarded-for", "192.0.2.1, unknown")], None);
        check(
            &[("x-forwarded-for", "[2001:db8::1]:443")],
            Some(("2001:db8::1", false)),
        );
        check(&[("x-forwarded-for", "::ffff:192.0.2.1")], Some(("192.0.2.1", false)));
        check(
            &[("forwarded", "for=192.0.2.1;proto=https;host=a, for=10.0.0.2;proto=http")],
            Some(("192.0.2.1", true)),
        );
        check(
            &[("forwarded", "For=\"[2001:db8::1]:80\"")],
            Some(("2001:db8::1", false)),
        );
        check(&[("forwarded", "for=_hidden")], None);
        check(&[("forwarded", "for=6.6.6.6, for=unknown")], None);
    }
}
