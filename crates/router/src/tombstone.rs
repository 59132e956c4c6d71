//! A retracted message gives way to a tombstone in the archives that it stands in (XEP-0424 section 4).
//!
//! The retraction names the message by the id that its sender gave it, for which there is no index: it is looked for in
//! the archive of the two, from the retraction backwards. What is retracted was nearly always sent just before.

use store::{Batch, Found, Op, Query, Range, StoreError, View};

use module::Now;

use crate::Router;

/// Messages of the two that are looked at, in steps; what is older stays.
const SEARCHED_AT_ONCE: usize = 64;
const SEARCHED: usize = 1_024;

/// What is looked for, and where.
pub(crate) struct Search {
    pub(crate) owner: Box<str>,
    pub(crate) with: Box<str>,
    /// Bare JID of who retracts.
    pub(crate) sender: Box<str>,
    /// Of the message, and of the retraction.
    pub(crate) id: String,
    pub(crate) by: String,
    pub(crate) at: Now,
    /// Not from here on.
    pub(crate) before: i64,
    pub(crate) searched: usize,
}

impl Router {
    pub(crate) fn bury(&self, search: Search) {
        let mut range = Range::of(&search.owner, View::Archive, SEARCHED_AT_ONCE);
        range.with = Some(search.with.clone());
        range.before = Some(search.before);
        range.newest = true;
        let me = self.me.clone();
        self.store.read(
            Query::Archive(Box::new(range)),
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                match found.and_then(Found::archive) {
                    Ok(page) => router.bury_in(search, &page),
                    Err(StoreError::Closed) => {}
                    Err(error) => tracing::error!(account = %search.owner, %error, "a retracted message stays"),
                }
            }),
        );
    }

    fn bury_in(&self, mut search: Search, page: &store::Page) {
        let messages = &page.messages;
        let is_it = |message: &&store::Archived| archive::is_retracted(&message.stanza, &search.sender, &search.id);
        if let Some(message) = messages.iter().rev().find(is_it) {
            let op = Op::Replace {
                owner: search.owner.clone(),
                id: message.id,
                stanza: archive::tombstone(&message.stanza, &search.by, &search.at.stamp()).into(),
            };
            return self.write(
                &search.owner,
                Batch { ops: vec![op] },
                Vec::new(),
                Box::new(|_| Vec::new()),
                None,
            );
        }
        search.searched += messages.len();
        if let Some(first) = messages
            .first()
            .filter(|_| !page.complete && search.searched < SEARCHED)
        {
            search.before = first.id;
            self.bury(search);
        }
    }
}
