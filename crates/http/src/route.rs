//! What is where.

use std::net::IpAddr;

use hyper::header::{ACCESS_CONTROL_ALLOW_METHODS, HOST};
use hyper::{Method, Request, StatusCode};

use crate::answer::{self, Answer};
use crate::handshake;
use crate::host_meta::{self, Site};
use crate::proxy::{self, Client};
use crate::serve::Settings;

const HOST_META: &str = "/.well-known/host-meta";
const HOST_META_JSON: &str = "/.well-known/host-meta.json";

/// From where a connection came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) address: IpAddr,
    /// It is a proxy that the configuration names.
    pub(crate) is_proxy: bool,
    pub(crate) is_secured: bool,
}

/// The answer, and for whom the connection goes on as a WebSocket, if it does.
pub(crate) fn route<B>(settings: &Settings, request: &Request<B>, origin: Origin) -> (Answer, Option<Client>) {
    let Some(host) = host(request) else {
        let answer = answer::refusal(StatusCode::BAD_REQUEST, "one Host is needed (RFC 9112 section 3.2)");
        return (answer, None);
    };
    let path = request.uri().path();
    if path == settings.websocket_path {
        return websocket(settings, request, origin);
    }
    let tell = match path {
        HOST_META => host_meta::xrd,
        HOST_META_JSON => host_meta::jrd,
        _ => return (answer::refusal(StatusCode::NOT_FOUND, "there is nothing here"), None),
    };
    let answer = host_meta(request.method(), host_meta::site(&settings.sites, host), tell);
    (answer, None)
}

fn websocket<B>(settings: &Settings, request: &Request<B>, origin: Origin) -> (Answer, Option<Client>) {
    let client = match origin.is_proxy {
        true => proxy::client(request.headers(), &settings.trusted_proxies),
        false => Some(Client {
            address: origin.address,
            is_secured: origin.is_secured,
        }),
    };
    let Some(client) = client else {
        // Without it all its clients would share the limits of one address.
        let why = "the proxy tells no address of its client (Forwarded or X-Forwarded-For)";
        tracing::warn!(proxy = %origin.address, "{why}");
        return (answer::refusal(StatusCode::BAD_REQUEST, why), None);
    };
    let answer = handshake::accept(request, &settings.origins);
    let is_accepted = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    (answer, is_accepted.then_some(client))
}

fn host_meta(method: &Method, site: Option<&Site>, tell: fn(&Site) -> Answer) -> Answer {
    match (method, site) {
        (&Method::OPTIONS, _) => {
            let mut answer = host_meta::open_to_all(answer::empty(StatusCode::NO_CONTENT));
            answer::with(&mut answer, ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD");
            answer
        }
        (&Method::GET | &Method::HEAD, Some(site)) => tell(site),
        (&Method::GET | &Method::HEAD, None) => answer::refusal(StatusCode::NOT_FOUND, "no such domain"),
        _ => answer::not_allowed("GET, HEAD, OPTIONS"),
    }
}

/// None where there is none, or more than one.
fn host<B>(request: &Request<B>) -> Option<&str> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return None;
    }
    match request.uri().authority() {
        // RFC 9112 section 3.2.2: then the header is ignored.
        Some(authority) => Some(authority.as_str()),
        None => host?.to_str().ok(),
    }
}
