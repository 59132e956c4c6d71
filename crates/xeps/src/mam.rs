//! XEP-0313 Message Archive Management 1.1.3, with the preferences of XEP-0441 0.2.0: an account reads its history.
//!
//! What is archived is decided by `archive::keeping` and `archive::wants` where a message passes; here it is only read,
//! by the account itself and nobody else. `archive::Search` makes the question and the answer. Rooms answer for themselves
//! (`archive.rs` of `muc`).

mod prefs;

#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;

use archive::{Archive, Search};
use module::{Access, Answer, Ask, Coverage, Method, Module, Said, Texts};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("mam")
        .xep(
            313,
            "Message Archive Management",
            "1.1.3",
            // Section 8.1 has a stranger get `forbidden`, which would tell that the account exists.
            Coverage::Partial("archives of accounts and rooms; a stranger gets service-unavailable, as from no account; an end in whole seconds covers \
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
    let search = match Search::read(&ask.payload, ask.ids, Archive::Account(ask.to.bare_str())) {
        Ok(search) => search,
        Err(error) => return Answer::Error(error),
    };
    let ids = *ask.ids;
    let question = search.question();
    Answer::Asked(question, Box::new(move |found| search.said(&ids, found)))
}

/// Section 4.1.5.
fn form(_: &mut Ask<'_>) -> Answer {
    Answer::Result(archive::form(true))
}

/// Section 5.
fn metadata(ask: &mut Ask<'_>) -> Answer {
    let ids = *ask.ids;
    Answer::Asked(
        archive::metadata_question(ask.to.bare_str()),
        Box::new(move |found| Said {
            messages: Texts::default(),
            arrived: Vec::new(),
            answer: archive::metadata(&ids, found),
        }),
    )
}
