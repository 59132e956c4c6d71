//! How much an account and a domain may have, and whether there is room for one more.

use accounts::ACCOUNTS;
use module::{Now, Uploads};
use store::{Batch, Found, Keys, Query, StoreError, Value, row};

use crate::{FILES_OF, Purpose, Record, SLOTS, Terms, USAGE, of_row};

/// What there is in all. Of an account: without what is [`PROFILE`].
pub(crate) const TOTAL: &str = "total";
pub(crate) const PROFILE: &str = "profile";
/// Before a date in UTC: what was uploaded on that day.
const DAY: &str = "day ";

/// Bytes of one file of a profile, and of all together.
const PROFILE_FILE_BYTES: u64 = 2_000_000;
const PROFILE_BYTES: u64 = 20_000_000;
/// Slots and files of one account: rows and names on a disk cost as well, if files are small.
const FILES_PER_ACCOUNT: u64 = 20_000;

/// Of an account's files, so many whose ids begin with the same digit are looked at.
const SAMPLE: usize = 16;

const DAY_MILLISECONDS: i64 = 24 * 3_600_000;

/// None: no limit.
#[derive(Clone, Debug)]
pub struct Limits {
    pub file_bytes: u64,
    pub account_bytes: Option<u64>,
    pub account_bytes_per_day: Option<u64>,
    pub domain_bytes: Option<u64>,
    pub terms: Terms,
}

impl From<&Uploads> for Limits {
    fn from(uploads: &Uploads) -> Limits {
        Limits {
            file_bytes: uploads.file_bytes,
            account_bytes: uploads.account_bytes,
            account_bytes_per_day: uploads.account_bytes_per_day,
            domain_bytes: uploads.domain_bytes,
            terms: Terms {
                slot_milliseconds: uploads.slot_milliseconds,
                keep_milliseconds: uploads.keep_milliseconds,
            },
        }
    }
}

impl Limits {
    /// The largest file.
    pub fn file_bytes(&self, purpose: Purpose) -> u64 {
        match purpose {
            Purpose::Profile => self.file_bytes.min(PROFILE_FILE_BYTES),
            Purpose::Message | Purpose::Ephemeral => self.file_bytes,
        }
    }
}

/// What somebody wants to upload. Name, type and size were checked.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Bare JID.
    pub user: Box<str>,
    pub name: Box<str>,
    pub kind: Option<Box<str>>,
    pub size: u64,
    pub purpose: Purpose,
    pub gone_by: Option<Now>,
}

/// Why there is no slot.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is room again at this moment, if nothing else comes.
    Until(Now),
    /// The account has too much: ask [`expiring`] when there is room again.
    AccountIsFull,
    Store(StoreError),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        Refusal::Store(error)
    }
}

/// What has to be known for [`grant`]. Slots of one domain are given one after the other, or its limit would be passed.
pub fn question(user: &str, domain: &str) -> Query {
    Query::Many(vec![Query::all(&USAGE, user), Query::get(&USAGE, domain, TOTAL)])
}

/// Gives the slot of this id, if there is room. The batch fails with `Missing` if there is no such account.
///
/// # Errors
/// There is no room, or the store has not answered.
pub fn grant(
    limits: &Limits,
    wanted: &Wanted,
    domain: &str,
    id: &str,
    now: Now,
    found: Result<Found, StoreError>,
) -> Result<Batch, Refusal> {
    let mut found = found?.many()?.into_iter();
    let of_user = found.next().map_or(Ok(Vec::new()), Found::rows)?;
    let of_domain = found.next().map_or(Ok(None), Found::row)?;
    let used = |key: &str| {
        let row = of_user.iter().find(|(found, _)| **found == *key);
        row.map_or(0, |(_, row)| bytes(row.first()))
    };
    let has_room = |used: u64, limit: Option<u64>| limit.is_none_or(|limit| used.saturating_add(wanted.size) <= limit);
    let today = day(now);
    if !has_room(used(&today), limits.account_bytes_per_day) {
        return Err(Refusal::Until(tomorrow(now)));
    }
    if !has_room(
        bytes(of_domain.as_ref().and_then(|row| row.first())),
        limits.domain_bytes,
    ) {
        // Which of all its files goes first nobody has counted.
        return Err(Refusal::Until(tomorrow(now)));
    }
    let files: u64 = of_user
        .iter()
        .filter(|(key, _)| matches!(&**key, TOTAL | PROFILE))
        .map(|(_, row)| bytes(row.get(1)))
        .sum();
    let most = match wanted.purpose {
        Purpose::Profile => Some(PROFILE_BYTES),
        Purpose::Message | Purpose::Ephemeral => limits.account_bytes,
    };
    if !has_room(used(wanted.purpose.counter()), most) || files >= FILES_PER_ACCOUNT {
        return Err(Refusal::AccountIsFull);
    }
    let slot = Record {
        user: wanted.user.clone(),
        name: wanted.name.clone(),
        kind: wanted.kind.clone(),
        size: wanted.size,
        at: now,
        purpose: wanted.purpose,
        gone_by: wanted.gone_by,
    };
    let size = i64::try_from(wanted.size).unwrap_or(i64::MAX);
    let mut batch = Batch::new()
        .require(&ACCOUNTS, &wanted.user, None)
        .insert(&SLOTS, id, None, slot.row())
        .put(&FILES_OF, &wanted.user, id, of_row(&slot))
        .add(&USAGE, &wanted.user, wanted.purpose.counter(), row![size, 1])
        .add(&USAGE, &wanted.user, &*today, row![size, 1])
        .add(&USAGE, domain, TOTAL, row![size, 1]);
    for (key, _) in of_user
        .iter()
        .filter(|(key, _)| key.starts_with(DAY) && **key != *today)
    {
        batch = batch.delete(&USAGE, &wanted.user, &**key);
    }
    Ok(batch)
}

/// What has to be known for [`retry_of`]: files by chance, as who has thousands and asks in vain must not make everybody
/// else wait until all were read. Of somebody who has not so many these are all.
pub fn expiring(user: &str) -> Query {
    let beginning = |digit: char| {
        let mut bytes = [0; 4];
        Query::keys(Keys::of(&FILES_OF, user, digit.encode_utf8(&mut bytes), SAMPLE))
    };
    Query::Many("0123456789abcdef".chars().map(beginning).collect())
}

/// When the first of these files goes. Nothing may ever go: then it is a day from now, as somebody may change something
/// until then.
pub fn retry_of(limits: &Limits, now: Now, found: Result<Found, StoreError>) -> Result<Now, StoreError> {
    let ends = |row: &store::Row| {
        let number = |at: usize| row.get(at).and_then(Value::as_int);
        let purpose = Purpose::of_number(number(1)?)?;
        limits.terms.ends(Now(number(0)?), purpose, number(2).map(Now))
    };
    let mut first = None;
    for rows in found?.many()? {
        let rows = rows.rows()?;
        first = rows.iter().filter_map(|(_, row)| ends(row)).chain(first).min();
    }
    // What is over already is about to be deleted.
    let soon = Now(now.0 + 60_000);
    Ok(first.map_or(Now(now.0 + DAY_MILLISECONDS), |first| first.max(soon)))
}

/// The counter of a day.
pub(crate) fn day(now: Now) -> String {
    // The date of XEP-0082 has ten characters.
    format!("{DAY}{}", now.stamp().get(..10).unwrap_or_default())
}

fn tomorrow(now: Now) -> Now {
    Now((now.0.div_euclid(DAY_MILLISECONDS) + 1) * DAY_MILLISECONDS)
}

/// What is below zero is as good as nothing: it may have been counted for a day that is over.
fn bytes(value: Option<&Value>) -> u64 {
    value
        .and_then(Value::as_int)
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or_default()
}
