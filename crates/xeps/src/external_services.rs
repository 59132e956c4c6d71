//! XEP-0215 External Service Discovery 1.0.0: where calls find a server that relays them, and with what they come to it.
//!
//! A TURN server that lets everybody in is abused within days, and a fixed password is known to everybody who ever had
//! an account. So the usual way is a secret that both servers share (coturn: `use-auth-secret`), from which this one
//! makes a password that is good for some hours.
//!
//! What is told never changes while the server runs, so nothing is pushed (section 3.2).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, Mac as _};
use module::{Access, Answer, Ask, Coverage, Credentials, ExternalService, Method, Module, Now};
use sha1::Sha1;
use stanza::{JidRef, StanzaError, ns};
use xmlstream::escape_attr;

use crate::Offer;

pub(crate) fn module(offer: &Offer) -> Module {
    let module = Module::new("external-services").xep(215, "External Service Discovery", "1.0.0", Coverage::Complete);
    // A client that finds the feature takes it that there is a service.
    if !offer.external_services {
        return module;
    }
    module
        .server_feature(ns::EXTERNAL_SERVICES)
        .server_iq_for(Access::Local, Method::Get, "services", ns::EXTERNAL_SERVICES, services)
        .server_iq_for(
            Access::Local,
            Method::Get,
            "credentials",
            ns::EXTERNAL_SERVICES,
            credentials,
        )
}

/// Sections 3.1 and 3.2: all, or those of one type; with credentials, so that nobody has to ask again.
fn services(ask: &mut Ask<'_>) -> Answer {
    let kind = ask.payload.attr("type");
    let mut out = format!("<services xmlns='{}'", ns::EXTERNAL_SERVICES).into_bytes();
    attribute(&mut out, "type", kind.as_deref());
    out.push(b'>');
    for service in &ask.host.external {
        if kind.as_deref().is_none_or(|kind| kind == service.kind) {
            write(&mut out, service, Tell::All, ask.now, ask.from);
        }
    }
    out.extend_from_slice(b"</services>");
    Answer::Result(text(out))
}

/// Section 3.3: for one that the client knows.
fn credentials(ask: &mut Ask<'_>) -> Answer {
    let Some(wanted) = ask.payload.child("service", ns::EXTERNAL_SERVICES) else {
        return Answer::Error(StanzaError::bad_request().text("for which service?"));
    };
    let (Some(host), Some(kind)) = (wanted.attr("host"), wanted.attr("type")) else {
        return Answer::Error(StanzaError::bad_request().text("a service has a host and a type"));
    };
    let port = wanted.attr("port").map(|port| port.parse::<u16>());
    let port = match port.transpose() {
        Ok(port) => port,
        Err(_) => return Answer::Error(StanzaError::bad_request().text("that is no port")),
    };
    let mut out = format!("<credentials xmlns='{}'>", ns::EXTERNAL_SERVICES).into_bytes();
    let mut is_empty = true;
    for service in &ask.host.external {
        let is_wanted = service.kind == *kind && service.host.eq_ignore_ascii_case(&host);
        let is_wanted = is_wanted && (port.is_none() || port == service.port);
        if is_wanted && !matches!(service.credentials, Credentials::None) {
            write(&mut out, service, Tell::Credentials, ask.now, ask.from);
            is_empty = false;
        }
    }
    if is_empty {
        return Answer::Error(StanzaError::item_not_found());
    }
    out.extend_from_slice(b"</credentials>");
    Answer::Result(text(out))
}

#[derive(Clone, Copy, PartialEq)]
enum Tell {
    All,
    /// And which service it is: there may be several on one host.
    Credentials,
}

fn write(out: &mut Vec<u8>, service: &ExternalService, tell: Tell, now: Now, who: JidRef<'_>) {
    let port = service.port.map(|port| port.to_string());
    out.extend_from_slice(b"<service");
    attribute(out, "type", Some(&service.kind));
    attribute(out, "host", Some(&service.host));
    attribute(out, "port", port.as_deref());
    attribute(out, "transport", service.transport);
    if tell == Tell::All {
        attribute(out, "name", service.name.as_deref());
    }
    match &service.credentials {
        Credentials::None => {}
        Credentials::Fixed { username, password } => {
            attribute(out, "username", Some(username));
            attribute(out, "password", Some(password));
        }
        Credentials::Shared { secret, seconds } => {
            let until = now.seconds() + i64::from(*seconds);
            let (username, password) = made_from(secret, until, who);
            attribute(out, "expires", Some(&Now(until * 1000).stamp()));
            attribute(out, "username", Some(&username));
            attribute(out, "password", Some(&password));
        }
    }
    out.extend_from_slice(b"/>");
}

/// As the "REST API for Access to TURN Services" has it, to which section 3.3 points. The name of the account is in it,
/// so that the server can count what each of them uses.
fn made_from(secret: &[u8], until: i64, who: JidRef<'_>) -> (String, String) {
    let username = format!("{until}:{}", who.bare_str());
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("a key");
    mac.update(username.as_bytes());
    let password = BASE64_STANDARD.encode(mac.finalize().into_bytes());
    (username, password)
}

fn attribute(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape_attr(out, value);
    out.push(b'\'');
}

fn text(out: Vec<u8>) -> String {
    // Escaping text yields text.
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use stanza::Jid;

    use super::made_from;

    /// Made with `openssl dgst -sha1 -hmac secret -binary | base64`.
    #[test]
    fn a_password_that_the_other_side_makes_as_well() {
        let who: Jid = "juliet@example.org/balcony".parse().expect("an address");
        let (username, password) = made_from(b"secret", 1_000_086_400, who.as_ref());
        assert_eq!(username, "1000086400:juliet@example.org");
        assert_eq!(password, "vQGBL0iv2d2Pg8od1Am+d2LzRgw=");
    }
}
