//! What is where.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    CACHE_CONTROL, HOST, HeaderValue, ORIGIN, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, StatusCode};

use crate::answer::{self, Answer};
use crate::files::Files;
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

/// Where a request goes.
pub(crate) enum Route {
    Answer(Answer),
    /// The connection goes on as a WebSocket behind this answer.
    WebSocket(Answer, Client),
    /// It belongs to a session of BOSH, or begins one.
    Bosh(Client),
    /// It is about one of these.
    File(Arc<Files>),
}

pub(crate) fn route<B>(settings: &Settings, request: &Request<B>, origin: Origin) -> Route {
    let Some(host) = host(request) else {
        let answer = answer::refusal(StatusCode::BAD_REQUEST, "one Host is needed (RFC 9112 section 3.2)");
        return Route::Answer(answer);
    };
    let path = request.uri().path();
    if path == settings.websocket_path {
        return websocket(settings, request, origin);
    }
    if path == settings.bosh_path {
        return bosh(settings, request, origin);
    }
    if let Some(files) = &settings.files
        && path.starts_with(&*settings.files_path)
    {
        return Route::File(Arc::clone(files));
    }
    let tell = match path {
        HOST_META => host_meta::xrd,
        HOST_META_JSON => host_meta::jrd,
        _ => return Route::Answer(answer::refusal(StatusCode::NOT_FOUND, "there is nothing here")),
    };
    Route::Answer(host_meta(
        request.method(),
        host_meta::site(&settings.sites, host),
        tell,
    ))
}

/// Whose request it is. None: a proxy does not tell.
fn client<B>(settings: &Settings, request: &Request<B>, origin: Origin) -> Option<Client> {
    match origin.is_proxy {
        true => proxy::client(request.headers(), &settings.trusted_proxies),
        false => Some(Client {
            address: origin.address,
            is_secured: origin.is_secured,
        }),
    }
}

/// Without the client's address all clients of the proxy would share the limits of one.
fn no_address(origin: Origin) -> Route {
    let why = "the proxy tells no address of its client (Forwarded or X-Forwarded-For)";
    tracing::warn!(proxy = %origin.address, "{why}");
    Route::Answer(answer::refusal(StatusCode::BAD_REQUEST, why))
}

fn websocket<B>(settings: &Settings, request: &Request<B>, origin: Origin) -> Route {
    let Some(client) = client(settings, request, origin) else {
        return no_address(origin);
    };
    let answer = handshake::accept(request, &settings.origins);
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Route::WebSocket(answer, client);
    }
    Route::Answer(answer)
}

fn bosh<B>(settings: &Settings, request: &Request<B>, origin: Origin) -> Route {
    let mut answer = match *request.method() {
        Method::POST | Method::OPTIONS if !handshake::is_allowed(request.headers(), &settings.origins) => {
            return Route::Answer(answer::refusal(
                StatusCode::FORBIDDEN,
                "this origin is not in http.origins",
            ));
        }
        Method::POST => return client(settings, request, origin).map_or_else(|| no_address(origin), Route::Bosh),
        Method::OPTIONS => answer::empty(StatusCode::NO_CONTENT),
        _ => return Route::Answer(answer::not_allowed("POST, OPTIONS")),
    };
    answer::with(&mut answer, ACCESS_CONTROL_ALLOW_METHODS, "POST, OPTIONS");
    answer::with(&mut answer, ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type");
    answer::with(&mut answer, ACCESS_CONTROL_MAX_AGE, "86400");
    Route::Answer(readable(answer, settings, request.headers().get(ORIGIN)))
}

/// Lets the page that asked read an answer of BOSH. Its origin was found to be allowed.
pub(crate) fn readable(mut answer: Answer, settings: &Settings, origin: Option<&HeaderValue>) -> Answer {
    answer::with(&mut answer, CACHE_CONTROL, "no-store");
    answer::with(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    if settings.origins.is_empty() {
        return host_meta::open_to_all(answer);
    }
    answer::with(&mut answer, VARY, "Origin");
    if let Some(origin) = origin {
        answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    answer
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
