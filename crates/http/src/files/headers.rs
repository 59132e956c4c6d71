//! What stands around a file, so that it can do no harm to whoever opens it.

use files::escape;
use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};

use crate::answer::{self, Answer};

pub(super) const METHODS: &str = "OPTIONS, HEAD, GET, PUT";

/// A page that is shown from here runs nothing, loads nothing, sends nothing, and stands in no other page. The sandbox has
/// no origin, so it sees nothing that the browser keeps for this host. Pictures and sound may show themselves.
const POLICY: &str =
    "default-src 'none'; img-src 'self'; media-src 'self'; form-action 'none'; frame-ancestors 'none'; sandbox";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What a browser may show itself; by their very form these run nothing. Not among them: SVG, PDF and everything of text,
/// which is pages to some browser or other.
const SHOWN: &[&str] = &[
    "audio/3gpp",
    "audio/aac",
    "audio/amr",
    "audio/flac",
    "audio/mp4",
    "audio/mpeg",
    "audio/ogg",
    "audio/opus",
    "audio/wav",
    "audio/webm",
    "audio/x-m4a",
    "audio/x-wav",
    "image/apng",
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/jpeg",
    "image/jxl",
    "image/png",
    "image/webp",
    "video/3gpp",
    "video/mp4",
    "video/mpeg",
    "video/ogg",
    "video/quicktime",
    "video/webm",
    "video/x-m4v",
    "video/x-matroska",
];

/// On every answer of this part of the server. Any page may read it: nothing here knows anybody by a cookie, and who has
/// the link has the file.
pub(super) fn protect(answer: &mut Answer) {
    answer::with(answer, CONTENT_SECURITY_POLICY, POLICY);
    answer::with(answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer::with(answer, X_FRAME_OPTIONS, "DENY");
    answer::with(answer, REFERRER_POLICY, "no-referrer");
    answer::with(answer, RESOURCE_POLICY, "cross-origin");
    answer::with(
        answer,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        "Accept-Ranges, Content-Disposition, Content-Range, ETag",
    );
    answer::with(answer, ACCESS_CONTROL_ALLOW_ORIGIN, "*");
}

/// What a browser asks before it lets a page upload (XEP-0363 section "Implementation Notes").
pub(super) fn preflight() -> Answer {
    let mut answer = answer::empty(StatusCode::NO_CONTENT);
    answer::with(&mut answer, ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    answer::with(
        &mut answer,
        ACCESS_CONTROL_ALLOW_HEADERS,
        "Authorization, Content-Type, If-None-Match, If-Range, Range",
    );
    answer::with(&mut answer, ACCESS_CONTROL_MAX_AGE, "86400");
    answer
}

/// How a browser takes a file of this type and name (RFC 6266): it shows it, or saves it.
pub(super) fn disposition(kind: Option<&str>, name: &str) -> String {
    let way = if kind.is_some_and(is_shown) {
        "inline"
    } else {
        "attachment"
    };
    format!("{way}; filename*=UTF-8''{}", escape(name))
}

pub(super) fn content_type(kind: Option<&str>) -> HeaderValue {
    let octets = HeaderValue::from_static("application/octet-stream");
    kind.map_or(Ok(octets.clone()), HeaderValue::from_str).unwrap_or(octets)
}

/// The type without its parameters, in small letters.
pub(super) fn essence(kind: &str) -> String {
    let essence = kind.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn is_shown(kind: &str) -> bool {
    SHOWN.contains(&&*essence(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_and_what_is_saved() {
        let check = |kind: Option<&str>, expected: &str| {
            assert_eq!(
                disposition(kind, "tr\u{e8}s \"cool\".x"),
                format!("{expected}; filename*=UTF-8''tr%C3%A8s%20%22cool%22.x")
            );
        };
        for kind in ["image/jpeg", "IMAGE/PNG", "audio/ogg; codecs=opus", "video/mp4"] {
            check(Some(kind), "inline");
        }
        for kind in [
            "text/html",
            "image/svg+xml",
            "application/pdf",
            "text/plain",
            "application/xhtml+xml",
            "text/xml",
            "image/*",
        ] {
            check(Some(kind), "attachment");
        }
        check(None, "attachment");
        assert_eq!(content_type(Some("text/html\r\nx: y")), "application/octet-stream");
    }
}
