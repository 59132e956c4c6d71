//! What a query asks for (section 4), as a question to the store.

use module::{ArchiveIds, Ask, Now, Said, Texts};
use stanza::{Jid, StanzaError, ns};
use store::{Found, Query, Range, StoreError, View};
use xmlstream::Child;

use super::results::Results;
use super::{IDS_MOST, PAGE, PAGE_BYTES, PAGE_MOST, pages, unreadable};
use crate::rsm;

/// A query that makes sense.
pub(super) struct Search {
    range: Range,
    /// Ids that it names: each must be in the archive (sections 4.1.3 and 4.3.2).
    named: Vec<i64>,
    flip: bool,
    query_id: Option<String>,
}

impl Search {
    pub(super) fn read(ask: &Ask<'_>) -> Result<Search, StanzaError> {
        if ask.payload.attr("node").is_some() {
            // XEP-0442: a node of this account; it has none.
            return Err(StanzaError::item_not_found());
        }
        let fields = match ask.payload.child("x", ns::DATA_FORMS) {
            Some(form) => Fields::read(&form, ask.ids)?,
            None => Fields::default(),
        };
        let page = rsm::Request::of(&ask.payload)?;
        let read = |shown: &Option<String>| match shown.as_deref() {
            None | Some("") => Ok(None),
            Some(shown) => id(shown, ask.ids).map(Some),
        };
        let (page_before, page_after) = (read(&page.before)?, read(&page.after)?);

        let ends = [fields.before, fields.after, page_before, page_after];
        let named = fields.ids.iter().flatten().copied().chain(ends.into_iter().flatten());
        let mut named: Vec<i64> = named.collect();
        named.sort_unstable();
        named.dedup();

        let range = Range {
            with: fields.with,
            after: fields.after.max(page_after),
            before: [fields.before, page_before].into_iter().flatten().min(),
            start: fields.start,
            end: fields.end,
            newest: page.before.is_some(),
            bytes: PAGE_BYTES,
            // XEP-0059 section 2.7. With every page it would cost more than the page; and between two ids it would
            // count what is outside, as the store takes them for the ends of the page.
            count: page.max == Some(0) && fields.before.is_none() && fields.after.is_none(),
            ids: fields.ids,
            ..Range::of(
                ask.to.bare_str(),
                View::Archive,
                page.max.unwrap_or(PAGE).min(PAGE_MOST),
            )
        };
        Ok(Search {
            range,
            named,
            flip: ask.payload.child("flip-page", ns::MAM).is_some(),
            query_id: ask.payload.attr("queryid").map(Into::into),
        })
    }

    pub(super) fn question(&self) -> Query {
        let page = Query::archive(self.range.clone());
        if self.named.is_empty() {
            return page;
        }
        // Counted only: nothing of them is read.
        let named = Range {
            ids: Some(self.named.clone()),
            count: true,
            ..Range::of(&self.range.owner, View::Archive, 0)
        };
        Query::Many(vec![Query::archive(named), page])
    }

    /// Makes the answer out of that of the store.
    pub(super) fn said(self, ids: &ArchiveIds, found: Result<Found, StoreError>) -> Said {
        let page = if self.named.is_empty() {
            found.and_then(Found::archive).map_err(|error| unreadable(&error))
        } else {
            pages(found).and_then(|mut pages| {
                let page = pages.pop();
                let named = pages.pop().and_then(|named| named.total);
                page.filter(|_| named == Some(self.named.len() as u64))
                    .ok_or_else(StanzaError::item_not_found)
            })
        };
        let results = Results {
            ids,
            query_id: self.query_id.as_deref(),
            flip: self.flip,
        };
        match page {
            Ok(page) => results.said(&page),
            Err(error) => Said {
                messages: Texts::default(),
                arrived: Vec::new(),
                answer: Err(error),
            },
        }
    }
}

/// The form of a query (section 4.1).
#[derive(Default)]
struct Fields {
    with: Option<Box<str>>,
    start: Option<i64>,
    end: Option<i64>,
    before: Option<i64>,
    after: Option<i64>,
    ids: Option<Vec<i64>>,
}

impl Fields {
    fn read(form: &Child<'_>, ids: &ArchiveIds) -> Result<Fields, StanzaError> {
        if form.attr("type").as_deref() != Some("submit") {
            return Err(StanzaError::bad_request().text("a form of type 'submit' is expected"));
        }
        let mut fields = Fields::default();
        let mut form_type = None;
        for field in form.children().filter(|child| child.is("field", ns::DATA_FORMS)) {
            let values = || field.children().filter(|child| child.is("value", ns::DATA_FORMS));
            // A field that was left empty is as good as none.
            let value = values().map(|value| value.text()).find(|value| !value.is_empty());
            match (field.attr("var").as_deref().unwrap_or_default(), value) {
                ("FORM_TYPE", value) => form_type = value,
                ("with" | "start" | "end" | "before-id" | "after-id" | "ids" | "include-groupchat", None) => {}
                ("with", Some(jid)) => fields.with = Some(with(&jid)?),
                ("start", Some(moment)) => fields.start = Some(millis(&moment)?),
                ("end", Some(moment)) => fields.end = Some(last_millis(&moment)?),
                ("before-id", Some(shown)) => fields.before = Some(id(&shown, ids)?),
                ("after-id", Some(shown)) => fields.after = Some(id(&shown, ids)?),
                ("ids", Some(_)) => {
                    if values().nth(IDS_MOST).is_some() {
                        return Err(StanzaError::policy_violation().text(format!("at most {IDS_MOST} ids")));
                    }
                    let read = values().map(|value| id(&value.text(), ids));
                    let mut list: Vec<i64> = read.collect::<Result<_, _>>()?;
                    list.sort_unstable();
                    list.dedup();
                    fields.ids = Some(list);
                }
                // Section 4.1.4: there are none, with or without.
                ("include-groupchat", Some(value)) => {
                    if !matches!(&*value, "true" | "false" | "1" | "0") {
                        return Err(StanzaError::bad_request().text("'include-groupchat' is neither true nor false"));
                    }
                }
                // Section 4.1.5: MUST.
                _ => return Err(StanzaError::feature_not_implemented().text("unknown field")),
            }
        }
        if form_type.as_deref() != Some(ns::MAM) {
            return Err(StanzaError::bad_request().text("this form is for something else"));
        }
        Ok(fields)
    }
}

fn with(jid: &str) -> Result<Box<str>, StanzaError> {
    let jid = Jid::parse(jid).map_err(|_| StanzaError::jid_malformed().text("'with' is not an XMPP address"))?;
    Ok(jid.as_str().into())
}

fn millis(moment: &str) -> Result<i64, StanzaError> {
    let now = Now::read(moment).ok_or_else(|| StanzaError::bad_request().text("not a moment of XEP-0082"))?;
    Ok(now.0)
}

/// The last millisecond that a moment stands for: without a fraction, of its whole second. Dino keeps whole seconds and
/// asks up to the second of the oldest message that it has; by the letter, what came before that message in the same second
/// would be left out, and never be asked for again.
fn last_millis(moment: &str) -> Result<i64, StanzaError> {
    let first = millis(moment)?;
    Ok(if moment.contains('.') { first } else { first + 999 })
}

/// What was never shown is not in the archive.
fn id(shown: &str, ids: &ArchiveIds) -> Result<i64, StanzaError> {
    ids.read(shown).ok_or_else(StanzaError::item_not_found)
}
