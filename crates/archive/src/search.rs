//! What somebody wants of an archive (XEP-0313 section 4), as a question to the store. An account answers to itself, a
//! room to those who may enter it; what they may see of it is said by who asks here.

use module::{ArchiveIds, Now, Said, Texts};
use stanza::{ErrorType, Jid, StanzaError, ns, rsm};
use store::{Found, Page, Query, Range, StoreError, View};
use xmlstream::Child;

use crate::results::{self, Results};
use crate::room::{self, Sees};

/// Messages of a page where the client does not say how many.
pub const PAGE: usize = 50;

/// The most messages of a page (section 4.3.1): what is made at once and waits in the outbox of the session.
pub const PAGE_MOST: usize = 100;

/// The most bytes of messages of a page, so that long ones do not fill that outbox; one message goes in any case.
pub const PAGE_BYTES: usize = 256 * 1024;

/// The most ids in one query: as many as fit a page.
pub const IDS_MOST: usize = PAGE_MOST;

/// Whose archive is read.
#[derive(Clone, Copy, Debug)]
pub enum Archive<'a> {
    /// The bare JID of an account, which sees all of it.
    Account(&'a str),
    /// The bare JID of a room.
    Room(&'a str, Sees),
}

impl<'a> Archive<'a> {
    fn owner(self) -> &'a str {
        match self {
            Archive::Account(owner) | Archive::Room(owner, _) => owner,
        }
    }
}

/// A query that makes sense.
pub struct Search {
    range: Range,
    /// It is the archive of a room.
    room: Option<Sees>,
    /// Only messages of which is seen who wrote them.
    of_somebody: bool,
    /// Ids that it names: each must be in the archive (sections 4.1.3 and 4.3.2).
    named: Vec<i64>,
    flip: bool,
    query_id: Option<String>,
}

impl Search {
    /// `query`: the payload of the request.
    pub fn read(query: &Child<'_>, ids: &ArchiveIds, archive: Archive<'_>) -> Result<Search, StanzaError> {
        if query.attr("node").is_some() {
            // XEP-0442: a node of this account; it has none.
            return Err(StanzaError::item_not_found());
        }
        let room = match archive {
            Archive::Account(_) => None,
            Archive::Room(_, sees) => Some(sees),
        };
        let fields = match query.child("x", ns::DATA_FORMS) {
            Some(form) => Fields::read(&form, ids, room.is_none())?,
            None => Fields::default(),
        };
        let page = rsm::Request::of(query)?;
        let read = |shown: &Option<String>| match shown.as_deref() {
            None | Some("") => Ok(None),
            Some(shown) => id(shown, ids).map(Some),
        };
        let (page_before, page_after) = (read(&page.before)?, read(&page.after)?);

        let ends = [fields.before, fields.after, page_before, page_after];
        let named = fields.ids.iter().flatten().copied().chain(ends.into_iter().flatten());
        let mut named: Vec<i64> = named.collect();
        named.sort_unstable();
        named.dedup();

        let mut range = Range {
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
            ..Range::of(archive.owner(), View::Archive, page.max.unwrap_or(PAGE).min(PAGE_MOST))
        };
        let of_somebody = match (archive, fields.with) {
            (_, None) => false,
            (Archive::Account(_), Some(jid)) => {
                range.with = Some(jid.as_str().into());
                false
            }
            (Archive::Room(room, sees), Some(jid)) => of_publisher(&mut range, room, sees, &jid)?,
        };
        Ok(Search {
            range,
            room,
            of_somebody,
            named,
            flip: query.child("flip-page", ns::MAM).is_some(),
            query_id: query.attr("queryid").map(Into::into),
        })
    }

    pub fn question(&self) -> Query {
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
    pub fn said(self, ids: &ArchiveIds, found: Result<Found, StoreError>) -> Said {
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
            room: self.room,
        };
        match page {
            // Only where there is no index (`Range::addressed`).
            Ok(page) if page.messages.is_empty() && !page.complete && self.range.limit > 0 => {
                let error = StanzaError::resource_constraint().kind(ErrorType::Wait);
                refused(error.text("too many messages lie between; ask for a shorter time"))
            }
            Ok(mut page) => {
                if let Some(sees) = self.room.filter(|_| self.of_somebody) {
                    page.messages
                        .retain(|message| room::tells_sender(&message.stanza, sees));
                }
                results.said(&page)
            }
            Err(error) => refused(error),
        }
    }
}

fn refused(error: StanzaError) -> Said {
    Said {
        messages: Texts::default(),
        arrived: Vec::new(),
        answer: Err(error),
    }
}

/// Section 4.1.1, of a room: a message is with who has published it. True: of whom not everybody sees it, and what does
/// not show it is left out.
fn of_publisher(range: &mut Range, room: &str, sees: Sees, jid: &Jid) -> Result<bool, StanzaError> {
    if jid.as_str() == room {
        // By the bare address all are the room's.
        return Ok(false);
    }
    if jid.bare_str() == room {
        range.addressed = Some(("from", jid.as_str().into()));
        range.count = false;
        return Ok(false);
    }
    if sees == Sees::Nobody {
        // Also where there is nothing of this address: the answer must not tell.
        return Err(StanzaError::forbidden().text("this room does not tell whose messages are whose"));
    }
    range.with = Some(jid.bare_str().into());
    if jid.as_ref().resource().is_some() {
        range.addressed = Some(("to", jid.as_str().into()));
    }
    range.count &= sees == Sees::Everybody;
    Ok(sees != Sees::Everybody)
}

/// Section 4.1.5. The list of ids is open, or it would be the whole archive.
pub fn form(has_groupchat_field: bool) -> String {
    let groupchat = match has_groupchat_field {
        true => "<field type='boolean' var='include-groupchat'/>",
        false => "",
    };
    format!(
        "<query xmlns='{mam}'><x xmlns='{forms}' type='form'>\
         <field type='hidden' var='FORM_TYPE'><value>{mam}</value></field>\
         <field type='jid-single' var='with'/>\
         <field type='text-single' var='start'/>\
         <field type='text-single' var='end'/>\
         <field type='text-single' var='before-id'/>\
         <field type='text-single' var='after-id'/>\
         <field type='list-multi' var='ids'>\
         <validate xmlns='{validation}' datatype='xs:string'><open/></validate></field>\
         {groupchat}</x></query>",
        mam = ns::MAM,
        forms = ns::DATA_FORMS,
        validation = ns::FORM_VALIDATION,
    )
}

/// Section 5: what [`metadata`] makes its answer of.
pub fn metadata_question(owner: &str) -> Query {
    let one = |newest| {
        let range = Range::of(owner, View::Archive, 1);
        Query::archive(Range { newest, ..range })
    };
    Query::Many(vec![one(false), one(true)])
}

pub fn metadata(ids: &ArchiveIds, found: Result<Found, StoreError>) -> Result<String, StanzaError> {
    pages(found).map(|pages| results::metadata(ids, &pages))
}

/// The parts of an answer to several questions.
fn pages(found: Result<Found, StoreError>) -> Result<Vec<Page>, StanzaError> {
    let pages = |found: Found| found.many()?.into_iter().map(Found::archive).collect();
    found.and_then(pages).map_err(|error: StoreError| unreadable(&error))
}

/// Says nothing of why: that is for the log of the store.
fn unreadable(error: &StoreError) -> StanzaError {
    match error {
        StoreError::Overloaded => StanzaError::resource_constraint().kind(ErrorType::Wait),
        _ => StanzaError::internal_server_error().kind(ErrorType::Wait),
    }
}

/// The form of a query (section 4.1).
#[derive(Default)]
struct Fields {
    with: Option<Jid>,
    start: Option<i64>,
    end: Option<i64>,
    before: Option<i64>,
    after: Option<i64>,
    ids: Option<Vec<i64>>,
}

impl Fields {
    fn read(form: &Child<'_>, ids: &ArchiveIds, has_groupchat_field: bool) -> Result<Fields, StanzaError> {
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
                ("with" | "start" | "end" | "before-id" | "after-id" | "ids", None) => {}
                ("include-groupchat", None) if has_groupchat_field => {}
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
                ("include-groupchat", Some(value)) if has_groupchat_field => {
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

fn with(jid: &str) -> Result<Jid, StanzaError> {
    Jid::parse(jid).map_err(|_| StanzaError::jid_malformed().text("'with' is not an XMPP address"))
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
