//! XEP-0065 SOCKS5 Bytestreams 1.8.2, the proxy: two clients that cannot reach each other meet at the service `proxy`.
//!
//! Here is what they say over XMPP; the connections are taken in by `c2s/src/bytestreams.rs`, which only joins such as
//! have come there by themselves, under the same hash, and goes nowhere. Who is no account of the domain can neither ask
//! for the address nor have anything joined.

use module::{Access, Answer, Ask, Coverage, Identity, Method, Module, Service, Unmet};
use sha1::{Digest, Sha1};
use stanza::{ErrorType, Jid, StanzaError};

use crate::Offer;

const NS: &str = "http://jabber.org/protocol/bytestreams";

/// The address below the domain.
const LABEL: &str = "proxy";
const NAME: &str = "SOCKS5 Bytestreams";

/// The longest id of a stream that is looked at, in bytes.
const SID_BYTES: usize = 1_024;

pub(crate) fn module(offer: &Offer) -> Module {
    let module = Module::new("bytestreams").xep(
        65,
        NAME,
        "1.8.2",
        Coverage::Partial("the proxy, where one is configured; without UDP"),
    );
    if !offer.bytestreams {
        return module;
    }
    let identity = Identity {
        category: "proxy",
        kind: "bytestreams",
        name: NAME,
    };
    module
        .service(Service {
            label: LABEL,
            name: NAME,
        })
        .service_identity(LABEL, identity)
        .service_feature(LABEL, NS)
        .service_iq(LABEL, Method::Get, "query", NS, Access::Local, address)
        .service_iq(LABEL, Method::Set, "query", NS, Access::Local, activate)
}

/// Section 4: where the proxy is.
fn address(ask: &mut Ask<'_>) -> Answer {
    let Some(proxy) = &ask.host.bytestreams else {
        return Answer::Error(StanzaError::service_unavailable());
    };
    let mut out = format!("<query xmlns='{NS}'><streamhost jid='").into_bytes();
    xmlstream::escape_attr(&mut out, ask.to.as_str());
    out.extend_from_slice(b"' host='");
    xmlstream::escape_attr(&mut out, &proxy.host);
    out.extend_from_slice(format!("' port='{}'/></query>", proxy.port).as_bytes());
    // Escaping text yields text.
    Answer::Result(String::from_utf8(out).unwrap_or_default())
}

/// Section 6.3.5: both have connected; from now on what one sends the other gets.
fn activate(ask: &mut Ask<'_>) -> Answer {
    let relay = ask.host.bytestreams.as_ref().and_then(|proxy| proxy.relay.get());
    let Some(relay) = relay else {
        return Answer::Error(StanzaError::service_unavailable());
    };
    let sid = ask.payload.attr("sid").filter(|sid| sid.len() <= SID_BYTES);
    let (Some(sid), Some(target)) = (sid, ask.payload.child("activate", NS)) else {
        return Answer::Error(StanzaError::bad_request().text("which stream, and with whom?"));
    };
    let Ok(target) = Jid::parse(target.text().trim()) else {
        return Answer::Error(StanzaError::jid_malformed());
    };
    let meeting = meeting(&sid, ask.from.as_str(), target.as_str());
    match relay.activate(&meeting, ask.from.bare_str()) {
        Ok(()) => Answer::Result(String::new()),
        Err(unmet) => Answer::Error(match unmet {
            // Not told from a wrong address: both only make another hash.
            Unmet::Nobody => StanzaError::item_not_found(),
            Unmet::OneAlone => StanzaError::not_allowed().text("only one of the two is connected"),
            Unmet::TooMany => StanzaError::resource_constraint()
                .kind(ErrorType::Wait)
                .text("too many streams of this account are open"),
        }),
    }
}

/// Section 6.3.2: what both name to the proxy. Nothing hangs on it that SHA-1 would have to keep (section 11.4).
fn meeting(sid: &str, requester: &str, target: &str) -> String {
    let mut hash = Sha1::new();
    for part in [sid, requester, target] {
        hash.update(part);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash() {
        // By sha1sum.
        assert_eq!(
            meeting("vxf9n471bn46", "requester@example.com/foo", "target@example.org/bar"),
            "98b8d688d0f5d895fd41c5e7309a2e9e33ba32ff"
        );
    }
}
