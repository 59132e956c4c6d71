//! The archive.

pub(super) mod changes;
pub(super) mod pages;
pub(super) mod retention;

use super::*;
use crate::{
    Archived, Deposit, Deposited, EXPIRE_LIMIT, FINGERPRINT_LIFETIME_MS, OLDEST_LIMIT, Oldest, Page, Places, Range,
    Swept, View, Whose,
};

const NURSE: &str = "nurse@example.org";
const BOTH: Places = Places::SENT.and(Places::RECEIVED);

fn message(sender: &str, recipient: &str, at: i64) -> Deposit {
    Deposit {
        at,
        sender: sender.into(),
        recipient: recipient.into(),
        places: BOTH,
        fingerprint: None,
        stanza: format!("<message from='{sender}/s{at}' to='{recipient}/r{at}'><body>{at}</body></message>").into(),
    }
}

fn in_places(places: Places, message: Deposit) -> Deposit {
    Deposit { places, ..message }
}

fn known(fingerprint: u128, message: Deposit) -> Deposit {
    Deposit {
        fingerprint: Some(fingerprint),
        ..message
    }
}

#[track_caller]
fn deposit(store: &dyn Store, deposit: Deposit) -> Deposited {
    let wrote = store
        .write_wait(Batch::new().deposit(deposit))
        .expect("the deposit is right");
    wrote.deposited.expect("a deposit is answered with what became of it")
}

/// Its id.
#[track_caller]
fn add(store: &dyn Store, message: Deposit) -> i64 {
    let deposited = deposit(store, message);
    assert!(deposited.is_new);
    deposited.id
}

#[track_caller]
fn archive(store: &dyn Store, range: Range) -> Page {
    read(store, Query::archive(range))
        .archive()
        .expect("Archive finds a page")
}

fn all_of(owner: &str, view: View) -> Range {
    Range::of(owner, view, usize::MAX)
}

/// When each was accepted, which stands for the message.
#[track_caller]
fn times(store: &dyn Store, range: Range) -> Vec<i64> {
    let page = archive(store, range);
    assert!(
        page.messages.windows(2).all(|pair| pair[0].id < pair[1].id),
        "a page ascends: {page:?}"
    );
    page.messages.iter().map(|message| message.at).collect()
}

#[track_caller]
fn archived(store: &dyn Store, owner: &str) -> Vec<i64> {
    times(store, all_of(owner, View::Archive))
}

/// How many were taken away.
#[track_caller]
fn expire_messages(store: &dyn Store, before: i64, most: usize) -> usize {
    swept(store, Batch::new().expire(before, most)).messages
}

#[track_caller]
fn swept(store: &dyn Store, batch: Batch) -> Swept {
    let wrote = store.write_wait(batch).expect("the batch is right");
    wrote.swept.expect("it is told how much was swept")
}

/// To the end, in steps.
fn sweep_all(store: &dyn Store, now: i64) {
    while swept(store, Batch::new().sweep(now, 2)).more {}
}

#[track_caller]
fn waiting_for(store: &dyn Store, owner: &str) -> Vec<i64> {
    times(store, all_of(owner, View::Waiting))
}
