//! XEP-0313 Message Archive Management 1.1.3, with the preferences of XEP-0441 0.2.0: an account reads its history.
//!
//! What is archived is decided by `archive::keeping` and `archive::wants` where a message passes; here it is only read,
//! by the account itself and nobody else.

mod prefs;
mod results;
mod search;

#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;

use module::{Access, Answer, Ask, Coverage, Method, Module, Said, Texts};
use stanza::{ErrorType, StanzaError, ns};
use store::{Found, Page, Query, Range, StoreError, View};

use search::Search;

/// Messages of a page where the client does not say how many.
const PAGE: usize = 50;

/// The most messages of a page (section 4.3.1): what is made at once and waits in the outbox of the session.
const PAGE_MOST: usize = 100;

/// The most bytes of messages of a page, so that long ones do not fill that outbox; one message goes in any case.
const PAGE_BYTES: usize = 256 * 1024;

/// The most ids in one query: as many as fit a page.
const IDS_MOST: usize = PAGE_MOST;

pub(crate) fn module() -> Module {
    Module::new("mam")
        .xep(
            313,
            "Message Archive Management",
            "1.1.3",
            // Section 8.1 has a stranger get `forbidden`, which would tell that the account exists.
            Coverage::Partial("archives of accounts; a stranger gets service-unavailable, as from no account; an end in whole seconds covers \
                 its second"),
        )
        .xep(
            441,
            "Message Archive Management Preferences",
            "0.2.0",
            Coverage::Complete,
        )
        // Section 7: where the archive is, and not at the server.
        .kept_accounts_only()
        .account_feature(ns::MAM)
        .account_feature(ns::MAM_EXTENDED)
        .account_feature(ns::MAM_GROUPCHAT_FIELD)
        .account_iq(Method::Set, "query", ns::MAM, Access::Owner, query)
        .account_iq(Method::Get, "query", ns::MAM, Access::Owner, form)
        .account_iq(Method::Get, "metadata", ns::MAM, Access::Owner, metadata)
        .bind_question("metadata", ns::MAM)
        .account_iq(Method::Get, "prefs", ns::MAM, Access::Owner, prefs::get)
        .account_iq(Method::Set, "prefs", ns::MAM, Access::Owner, prefs::set)
        .table(&archive::PREFS)
}

/// Section 4.
fn query(ask: &mut Ask<'_>) -> Answer {
    let search = match Search::read(ask) {
        Ok(search) => search,
        Err(error) => return Answer::Error(error),
    };
    let ids = *ask.ids;
    let question = search.question();
    Answer::Asked(question, Box::new(move |found| search.said(&ids, found)))
}

/// Section 4.1.5. The list of ids is open, or it would be the whole archive.
fn form(_: &mut Ask<'_>) -> Answer {
    Answer::Result(format!(
        "<query xmlns='{mam}'><x xmlns='{forms}' type='form'>\
         <field type='hidden' var='FORM_TYPE'><value>{mam}</value></field>\
         <field type='jid-single' var='with'/>\
         <field type='text-single' var='start'/>\
         <field type='text-single' var='end'/>\
         <field type='text-single' var='before-id'/>\
         <field type='text-single' var='after-id'/>\
         <field type='list-multi' var='ids'>\
         <validate xmlns='{validation}' datatype='xs:string'><open/></validate></field>\
         <field type='boolean' var='include-groupchat'/>\
         </x></query>",
        mam = ns::MAM,
        forms = ns::DATA_FORMS,
        validation = ns::FORM_VALIDATION,
    ))
}

/// Section 5.
fn metadata(ask: &mut Ask<'_>) -> Answer {
    let one = |newest| {
        let range = Range::of(ask.to.bare_str(), View::Archive, 1);
        Query::archive(Range { newest, ..range })
    };
    let ids = *ask.ids;
    Answer::Asked(
        Query::Many(vec![one(false), one(true)]),
        Box::new(move |found| Said {
            messages: Texts::default(),
            arrived: Vec::new(),
            answer: pages(found).map(|pages| results::metadata(&ids, &pages)),
        }),
    )
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
