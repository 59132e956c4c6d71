//! A download: the whole, or one part of it.

use files::{Record, owned};
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use hyper::{Method, Request, StatusCode};
use store::Found;

use super::range::{self, Wanted};
use super::{Files, headers, unavailable, unknown};
use crate::answer::{self, Answer};

/// How long a copy may be kept that has no end: a year, as RFC 2616 once said.
const CACHE_SECONDS: i64 = 365 * 86_400;

impl Files {
    pub(super) async fn give<B>(&self, request: &Request<B>, path: &str) -> Answer {
        let Some((id, name)) = files::read(path) else {
            return unknown();
        };
        let file = match self.file(id, &name).await {
            Ok(Some(file)) => file,
            Ok(None) => return unknown(),
            Err(error) => {
                tracing::warn!(%error, "a file could not be looked up");
                return unavailable();
            }
        };
        // What a link leads to never changes, so its id says which version this is.
        let tag = format!("\"{id}\"");
        let asked = request.headers();
        if text(asked, IF_NONE_MATCH).is_some_and(|tags| lists(tags, &tag)) {
            let mut answer = answer::empty(StatusCode::NOT_MODIFIED);
            self.describe(&mut answer, &file, &tag);
            return answer;
        }
        // A date is never the same, as no answer has one: then the whole comes (RFC 9110 section 13.1.5).
        let may_be_part =
            text(asked, IF_RANGE).is_none_or(|tagged| tagged == tag) && asked.get_all(RANGE).iter().count() <= 1;
        let range = text(asked, RANGE).filter(|_| may_be_part && request.method() == Method::GET);
        let wanted = range::wanted(range, file.size);
        let (from, count) = match wanted {
            Wanted::Whole => (0, file.size),
            Wanted::Part(from, count) => (from, count),
            Wanted::Nothing => {
                let mut answer = answer::refusal(StatusCode::RANGE_NOT_SATISFIABLE, "the file has no such part");
                set(&mut answer, CONTENT_RANGE, &format!("bytes */{}", file.size));
                return answer;
            }
        };
        let mut answer = if request.method() == Method::HEAD {
            answer::empty(StatusCode::OK)
        } else {
            match self.depot.read(id, from, count).await {
                Ok(Some(reading)) => answer::file(reading),
                Ok(None) => {
                    tracing::error!(id, user = %file.user, "a file is missing in the folder of files");
                    return unknown();
                }
                Err(error) => {
                    tracing::error!(id, %error, "a file cannot be read");
                    return unavailable();
                }
            }
        };
        if let Wanted::Part(from, count) = wanted {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(
                &mut answer,
                CONTENT_RANGE,
                &format!("bytes {from}-{}/{}", from + count - 1, file.size),
            );
        }
        self.describe(&mut answer, &file, &tag);
        let kind = file.kind.as_deref();
        answer.headers_mut().insert(CONTENT_TYPE, headers::content_type(kind));
        set(
            &mut answer,
            CONTENT_DISPOSITION,
            &headers::disposition(kind, &file.name),
        );
        set(&mut answer, CONTENT_LENGTH, &count.to_string());
        answer
    }

    /// The file of this id and name, if it is there still and somebody's.
    async fn file(&self, id: &str, name: &str) -> Result<Option<Record>, store::StoreError> {
        let (_, file) = self.find(id).await?;
        let now = (self.clock)();
        let is_there = |file: &Record| *file.name == *name && self.terms.file_ends(file).is_none_or(|end| now < end);
        let Some(file) = file.filter(is_there) else {
            return Ok(None);
        };
        let owned = self.read(owned(&file.user, id)).await.and_then(Found::row)?;
        Ok(owned.map(|_| file))
    }

    fn describe(&self, answer: &mut Answer, file: &Record, tag: &str) {
        let left = self.terms.file_ends(file).map(|end| (end.0 - (self.clock)().0) / 1000);
        let seconds = left.map_or(CACHE_SECONDS, |left| left.clamp(0, CACHE_SECONDS));
        set(answer, ETAG, tag);
        set(answer, CACHE_CONTROL, &format!("private, max-age={seconds}, immutable"));
        answer::with(answer, ACCEPT_RANGES, "bytes");
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a list of tags has this one (RFC 9110 section 13.1.2): a weak one does as well.
fn lists(tags: &str, tag: &str) -> bool {
    let mut tags = tags.split(',').map(str::trim);
    tags.any(|found| found == "*" || found.strip_prefix("W/").unwrap_or(found) == tag)
}

fn set(answer: &mut Answer, name: HeaderName, value: &str) {
    // Names are escaped and the rest are numbers.
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
