//! What an account reports of somebody it blocks (XEP-0377): kept with the block, in one batch.
//!
//! The store is asked first: for the messages that are reported, as they may be gone when the operator reads of them,
//! and for how many reports there are. A report too many is left out and the block made all the same (section 6).

use std::sync::atomic::Ordering;

use module::{Blocking, Now, Report};
use presence::blocking::BlockList;
use presence::reports::{self, Message, REPORTED, REPORTS};
use stanza::{JidRef, Stanza};
use store::{Archived, Batch, Found, Query, Range, StoreError, Value, View, row};

use crate::account::Account;
use crate::durable::told;
use crate::iq::Return;
use crate::load::store_failed;
use crate::{Router, Turn};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The longest id of a message that is kept, in bytes.
const ID_BYTES: usize = 128;

/// What the store has to say.
struct Known {
    /// Reports that the account has made today.
    today: i64,
    /// Reports that there are of all accounts.
    kept: u64,
    messages: Vec<Archived>,
}

impl Router {
    /// A client blocks somebody and says why.
    #[allow(clippy::too_many_arguments)] // what an IQ request consists of
    pub(crate) fn block_and_report(
        &self,
        account: &Account,
        change: Blocking,
        mut made: Vec<Report>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        for report in &mut made {
            report.messages.retain(|id| id.len() <= ID_BYTES);
            report.messages.truncate(reports::MESSAGES);
        }
        let owner = account.jid.as_str();
        let named = made.iter().flat_map(|report| &report.messages);
        let mut ids: Vec<i64> = named.filter_map(|id| self.ids.read(id)).collect();
        ids.sort_unstable();
        ids.dedup();
        // No more than a page of the store.
        ids.truncate(store::PAGE_LIMIT);
        let mut messages = Range::of(owner, View::Archive, ids.len());
        messages.ids = Some(ids);
        let query = Query::Many(vec![
            Query::get(&REPORTED, owner, None),
            Query::count(&REPORTS, reports::OWNER),
            Query::archive(messages),
        ]);
        let back = Return::of(stanza, from.to_owned(), to.to_owned());
        let receipt = turn.receipt();
        self.when_read(owner, query, move |router, owner, found| {
            let now = (router.clock)();
            let mut turn = Turn::default();
            // One of those who need it takes it.
            let mut back = Some(back);
            let refused = match read(found, now) {
                Err(error) => Some(told(&error)),
                Ok(known) => {
                    let batch = router.reported(now, owner, &made, known);
                    let done = router.with(owner, |account| {
                        if account.stale.is_some() {
                            return Some(store_failed());
                        }
                        let done = router.block(now, account, &change, batch, back.take()?, receipt);
                        let (returned, error) = *done.err()?;
                        back = Some(returned);
                        Some(error)
                    });
                    // It may have left the memory meanwhile, and its client with it.
                    done.unwrap_or_else(|| Some(store_failed()))
                }
            };
            if let Some((back, error)) = back.zip(refused) {
                turn.letter(back.error_text(&error));
            }
            router.settle(now, &mut turn);
            turn.finish();
        });
    }

    /// What is written of these.
    fn reported(&self, now: Now, owner: &str, made: &[Report], known: Known) -> Batch {
        let domain = owner.split_once('@').map_or(owner, |(_, domain)| domain);
        let most = self.host(domain).map_or(0, |host| i64::from(host.privacy.reports));
        let room = usize::try_from(reports::KEPT.saturating_sub(known.kept)).unwrap_or(usize::MAX);
        let count = usize::try_from(most - known.today).unwrap_or_default();
        let count = count.min(room).min(made.len());
        let mut batch = Batch::new();
        for report in &made[..count] {
            let text = |id: &str| {
                let id = self.ids.read(id)?;
                let at = known.messages.binary_search_by_key(&id, |message| message.id).ok()?;
                self.text_of(&known.messages[at], &report.of)
            };
            let kept = kept(now, owner, report, text);
            tracing::info!(
                id = &*kept.id,
                reporter = owner,
                of = &*kept.of,
                reason = &*kept.reason,
                "an account was reported; `jackdaw reports show` tells more"
            );
            batch = kept.put(batch);
            self.reports.fetch_add(1, Ordering::Relaxed);
        }
        if count < made.len() {
            tracing::warn!(
                reporter = owner,
                "a report was not kept: there are too many of this account today, or altogether"
            );
        }
        if count > 0 {
            let today = known.today.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
            batch = batch.put(&REPORTED, owner, None, row![now.seconds().div_euclid(DAY), today]);
        }
        batch
    }

    /// What a message says, if it is of whom is reported: what others have written is not for the operator.
    fn text_of(&self, message: &Archived, of: &str) -> Option<Box<str>> {
        let mut text = None;
        self.read_letter(&message.stanza, &mut Turn::default(), |read, from, _, _| {
            if BlockList::new([of.into()]).has(from.as_str()) {
                let body = read.children().find(|child| child.is("body", stanza::ns::CLIENT));
                text = body.map(|body| reports::line(&body.text(), reports::TEXT_BYTES));
            }
        });
        text
    }

    /// Reports that were kept in the life of this process.
    pub fn count_reports(&self) -> u64 {
        self.reports.load(Ordering::Relaxed)
    }
}

fn read(found: Result<Found, StoreError>, now: Now) -> Result<Known, StoreError> {
    let mut parts = found.and_then(Found::many)?.into_iter();
    let mut next = || {
        parts
            .next()
            .ok_or_else(|| StoreError::Misuse("an answer is missing".into()))
    };
    let row = next()?.row()?.unwrap_or_default();
    let number = |at: usize| row.get(at).and_then(Value::as_int).unwrap_or_default();
    let is_today = number(0) == now.seconds().div_euclid(DAY);
    Ok(Known {
        today: if is_today { number(1) } else { 0 },
        kept: next()?.count()?,
        messages: next()?.archive()?.messages,
    })
}

fn kept(now: Now, owner: &str, report: &Report, text: impl Fn(&str) -> Option<Box<str>>) -> reports::Report {
    let message = |id: &str| Message {
        id: reports::line(id, ID_BYTES),
        text: text(id),
    };
    reports::Report {
        id: reports::Report::id_of(now.0, owner, &report.of),
        at: now.0,
        reporter: owner.into(),
        of: report.of.clone(),
        reason: reports::line(&report.reason, reports::REASON_BYTES),
        text: reports::line(&report.text, reports::TEXT_BYTES),
        messages: report.messages.iter().map(|id| message(id)).collect(),
        for_origin: report.for_origin,
        for_others: report.for_others,
        closed: None,
    }
}
