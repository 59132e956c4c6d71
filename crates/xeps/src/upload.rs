//! XEP-0363 HTTP File Upload 1.2.0, the part that is XMPP: slots, at the service `upload`. What a slot costs is decided
//! by `jackdaw_files`; the upload itself is HTTP's (`crates/http/src/files`).

use files::{Limits, Purpose, Refusal, Wanted};
use module::{Access, Answer, Ask, Change, Coverage, Field, Form, Host, Identity, Method, Module, Now, Service, Step};
use stanza::{ErrorType, StanzaError};
use store::{Found, StoreError};

use crate::Offer;

const NS: &str = "urn:xmpp:http:upload:0";
const NS_PURPOSE: &str = "urn:xmpp:http:upload:purpose:0";

/// The address below the domain, and its name in the examples of the text.
const LABEL: &str = "upload";
const NAME: &str = "HTTP File Upload";

pub(crate) fn module(offer: &Offer) -> Module {
    let module = Module::new("upload").xep(
        363,
        "HTTP File Upload",
        "1.2.0",
        Coverage::Partial("purposes message, profile and ephemeral; nothing is kept permanently"),
    );
    // A client that finds the service takes it that files can be sent.
    if !offer.files {
        return module;
    }
    let identity = Identity {
        category: "store",
        kind: "file",
        name: NAME,
    };
    files::TABLES
        .into_iter()
        .fold(module, Module::table)
        .service(Service {
            label: LABEL,
            name: NAME,
        })
        .service_identity(LABEL, identity)
        .service_feature(LABEL, NS)
        .service_feature(LABEL, "urn:xmpp:http:upload:purpose:0#message")
        .service_feature(LABEL, "urn:xmpp:http:upload:purpose:0#profile")
        .service_feature(LABEL, "urn:xmpp:http:upload:purpose:0#ephemeral")
        .service_form(LABEL, form)
        .service_iq(LABEL, Method::Get, "request", NS, Access::Local, request)
}

/// Section "Discovering Support".
fn form(host: &Host) -> Option<Form> {
    let uploads = host.uploads.as_ref()?;
    Some(Form {
        form_type: NS,
        fields: vec![Field {
            var: "max-file-size",
            is_list: false,
            values: vec![uploads.file_bytes.to_string()],
        }],
    })
}

/// Section "Requesting a slot".
fn request(ask: &mut Ask<'_>) -> Answer {
    let Some(uploads) = &ask.host.uploads else {
        return Answer::Error(StanzaError::service_unavailable());
    };
    let limits = Limits::from(uploads);
    let wanted = match wanted(ask, &limits) {
        Ok(wanted) => wanted,
        Err(error) => return Answer::Error(error),
    };
    let (now, domain) = (ask.now, ask.host.domain.clone());
    let id = files::id_of((uploads.random)());
    let url = format!("{}{}", uploads.url, files::link(&id, &wanted.name));
    let question = files::question(&wanted.user, &domain);
    let make = move |found| match files::grant(&limits, &wanted, &domain, &id, now, found) {
        Ok(batch) => Ok(Step::Done(Change {
            batch,
            answer: slot(&url),
            ..Change::default()
        })),
        Err(Refusal::Until(retry)) => Err(full(retry)),
        Err(Refusal::AccountIsFull) => {
            let first = files::expiring(&wanted.user);
            let make = move |found: Result<Found, StoreError>| {
                Err(files::retry_of(&limits, now, found).map_or_else(unavailable, full))
            };
            Ok(Step::Ask(first, Box::new(make)))
        }
        Err(Refusal::Store(error)) => Err(unavailable(error)),
    };
    Answer::Changed(question, Box::new(make))
}

fn wanted(ask: &Ask<'_>, limits: &Limits) -> Result<Wanted, StanzaError> {
    let wrong = |text| StanzaError::bad_request().text(text);
    let request = ask.payload;
    let name = request.attr("filename").filter(|name| files::is_name(name));
    let name = name.ok_or_else(|| wrong("filename is the name of a file, without a path, of 255 bytes at most"))?;
    let size = request
        .attr("size")
        .and_then(|size| number(&size))
        .filter(|size| *size > 0);
    let size = size.ok_or_else(|| wrong("size is a number of bytes, above 0"))?;
    // COMPAT: an empty one is sent by clients that know no type.
    let kind = request.attr("content-type").filter(|kind| !kind.is_empty());
    if kind.as_ref().is_some_and(|kind| !files::is_kind(kind)) {
        return Err(wrong("content-type is no media type"));
    }
    let (purpose, gone_by) = purpose(ask)?;
    let most = limits.file_bytes(purpose);
    if size > most {
        let text = format!("File too large. The maximum file size is {most} bytes");
        let app = format!("<file-too-large xmlns='{NS}'><max-file-size>{most}</max-file-size></file-too-large>");
        return Err(StanzaError::not_acceptable().text(text).app(app));
    }
    Ok(Wanted {
        user: ask.from.bare_str().into(),
        name: name.into(),
        kind: kind.map(Into::into),
        size,
        purpose,
        gone_by,
    })
}

/// Section "Upload purpose"; and when it is to be gone.
fn purpose(ask: &Ask<'_>) -> Result<(Purpose, Option<Now>), StanzaError> {
    let mut purposes = ask.payload.children().filter(|child| child.ns() == NS_PURPOSE);
    let Some(purpose) = purposes.next() else {
        return Ok((Purpose::default(), None));
    };
    if purposes.next().is_some() {
        return Err(StanzaError::bad_request().text("one purpose at a time"));
    }
    let known = Purpose::of_name(purpose.name());
    let known =
        known.ok_or_else(|| StanzaError::feature_not_implemented().text("no files are kept for this purpose"))?;
    if known != Purpose::Ephemeral {
        return Ok((known, None));
    }
    let end = purpose
        .attr("expire-before")
        .and_then(|stamp| module::Now::read(&stamp));
    let end = end.filter(|end| *end > ask.now);
    match end {
        Some(end) => Ok((known, Some(end))),
        None => Err(StanzaError::bad_request().text("expire-before is a moment to come")),
    }
}

/// What is too large for a number is larger than every limit.
fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The same for both, as who has the link before there is a file can do nothing with it but wait.
fn slot(url: &str) -> String {
    let mut escaped = Vec::new();
    xmlstream::escape_attr(&mut escaped, url);
    // Escaping text yields text.
    let url = String::from_utf8(escaped).unwrap_or_default();
    format!("<slot xmlns='{NS}'><put url='{url}'/><get url='{url}'/></slot>")
}

/// Section "Error conditions".
fn full(retry: Now) -> StanzaError {
    let app = format!("<retry xmlns='{NS}' stamp='{}'/>", retry.stamp());
    StanzaError::resource_constraint()
        .kind(ErrorType::Wait)
        .text("Quota reached")
        .app(app)
}

fn unavailable(error: StoreError) -> StanzaError {
    match error {
        StoreError::Overloaded => StanzaError::resource_constraint().kind(ErrorType::Wait),
        _ => StanzaError::internal_server_error().kind(ErrorType::Wait),
    }
}
