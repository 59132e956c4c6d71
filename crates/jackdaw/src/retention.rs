//! What the archive keeps: deletes what is too old, too much, or of nobody any more, in small steps beside everything else.
//!
//! Each look first clears up to the end, then it measures some archives. What is over its limit gets a new beginning
//! ([`store::Op::Floor`]), the oldest messages first, and the next look deletes what lies before that. Nothing that waits
//! for somebody is deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use accounts::ACCOUNTS;
use c2s::Service;
use store::{Batch, Found, Oldest, Query, Store, StoreError, Swept, Table, Whose, Wrote};
use tokio::sync::oneshot;

/// How often it is looked whether there is something to delete.
const LOOK_EVERY: Duration = Duration::from_secs(4);
/// Messages in one step, that is in one commit: some 10 µs for each, so that nobody waits noticeably.
const STEP_MESSAGES: usize = 64;
/// Between two steps, so that what people write has the disk: at most 3,200 messages a second are deleted.
const BETWEEN_STEPS: Duration = Duration::from_millis(20);
/// Archives that are measured in one look: 10,000 accounts take less than three minutes.
const MEASURED_AT_ONCE: usize = 256;
/// An archive that is over its limit is cut by this part of it more, so that it is not cut for each message.
const SLACK: u64 = 20;
/// How often the log tells how much was deleted, while there is something.
const TELL_EVERY: Duration = Duration::from_secs(60);

const MEGABYTE: u64 = 1_000_000;
const MILLISECONDS_PER_DAY: i64 = 24 * 3_600_000;

/// None: no limit.
pub struct Rules {
    keep_milliseconds: Option<i64>,
    account_bytes: Option<u64>,
    domain_bytes: Option<u64>,
    /// There are archives of rooms.
    rooms: bool,
}

impl Rules {
    pub fn of(config: &crate::config::Archive, rooms: bool) -> Rules {
        let set = |number: u32| (number > 0).then_some(number);
        let bytes = |megabytes: u32| set(megabytes).map(|megabytes| u64::from(megabytes) * MEGABYTE);
        Rules {
            keep_milliseconds: set(config.keep_days).map(|days| i64::from(days) * MILLISECONDS_PER_DAY),
            account_bytes: bytes(config.account_megabytes),
            domain_bytes: bytes(config.domain_megabytes),
            rooms,
        }
    }

    /// Tables with a row for each owner of an archive: accounts, and then rooms.
    fn owners(&self) -> &'static [&'static Table] {
        static OWNERS: [&Table; 2] = [&ACCOUNTS, &muc::ARCHIVES];
        &OWNERS[..if self.rooms { 2 } else { 1 }]
    }
}

/// Runs until it is aborted, or the store is closed.
pub async fn keep(store: Arc<dyn Store>, rules: Rules) {
    let mut keeper = Keeper {
        store,
        rules,
        table: 0,
        after: None,
        domains: HashMap::new(),
        begins: HashMap::new(),
        deleted: 0,
        told: tokio::time::Instant::now(),
    };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        match keeper.look().await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "old messages could not be deleted; it will be tried again"),
        }
        keeper.tell();
    }
}

struct Keeper {
    store: Arc<dyn Store>,
    rules: Rules,
    /// The last one that was measured, and which of [`Rules::owners`] it is of.
    table: usize,
    after: Option<Box<str>>,
    /// Bytes of the domains' accounts, and of the services' rooms, up to there.
    domains: HashMap<Box<str>, u64>,
    /// Up to which id a domain was cut: before that there is nothing of it to look for.
    begins: HashMap<Box<str>, i64>,
    deleted: usize,
    told: tokio::time::Instant,
}

impl Keeper {
    async fn look(&mut self) -> Result<(), StoreError> {
        self.clear_up().await?;
        if self.rules.account_bytes.is_some() || self.rules.domain_bytes.is_some() {
            self.measure().await?;
        }
        Ok(())
    }

    /// Deletes, step by step, until there is no more. Only then sizes are what they seem.
    async fn clear_up(&mut self) -> Result<(), StoreError> {
        loop {
            let now = Service::clock().0;
            let mut batch = Batch::new();
            if let Some(keep) = self.rules.keep_milliseconds {
                batch = batch.expire(now.saturating_sub(keep), STEP_MESSAGES);
            }
            let Swept { messages, more } = self
                .write(batch.sweep(now, STEP_MESSAGES))
                .await?
                .swept
                .unwrap_or_default();
            self.deleted += messages;
            if !more {
                return Ok(());
            }
            self.tell();
            tokio::time::sleep(BETWEEN_STEPS).await;
        }
    }

    fn tell(&mut self) {
        if self.deleted > 0 && self.told.elapsed() >= TELL_EVERY {
            let deleted = std::mem::take(&mut self.deleted);
            tracing::info!(deleted, "messages were deleted from archives");
            self.told = tokio::time::Instant::now();
        }
    }

    /// Measures the next accounts or rooms; behind the last one, the domains.
    async fn measure(&mut self) -> Result<(), StoreError> {
        let tables = self.rules.owners();
        let page = Query::owners(tables[self.table], self.after.as_deref(), MEASURED_AT_ONCE);
        let owners: Vec<Box<str>> = self
            .read(page)
            .await?
            .owners()?
            .into_iter()
            .map(|(owner, _)| owner)
            .collect();
        let usages = owners.iter().map(|owner| Query::usage(owner)).collect();
        let usages = self.read(Query::Many(usages)).await?.many()?;
        for (owner, usage) in owners.iter().zip(usages) {
            let mut usage = usage.count()?;
            if let Some(excess) = excess(usage, self.rules.account_bytes) {
                let cut = self.oldest(Whose::Account(owner.clone()), 0, excess).await?;
                self.write(Batch::new().floor(owner, cut.up_to)).await?;
                usage = usage.saturating_sub(cut.bytes);
            }
            let domain = owner.rsplit('@').next().unwrap_or_default();
            *self.domains.entry(domain.into()).or_default() += usage;
        }
        self.after = owners.last().filter(|_| owners.len() == MEASURED_AT_ONCE).cloned();
        if self.after.is_none() {
            self.table = (self.table + 1) % tables.len();
        }
        if self.after.is_some() || self.table > 0 {
            return Ok(());
        }
        for (domain, usage) in std::mem::take(&mut self.domains) {
            if let Some(excess) = excess(usage, self.rules.domain_bytes) {
                let begins = self.begins.get(&domain).copied().unwrap_or(0);
                let cut = self.oldest(Whose::Domain(domain.clone()), begins, excess).await?;
                self.cut_domain(&domain, cut.up_to).await?;
                self.begins.insert(domain, cut.up_to);
            }
        }
        Ok(())
    }

    async fn cut_domain(&self, domain: &str, up_to: i64) -> Result<(), StoreError> {
        let whose = Whose::Domain(domain.into());
        for table in self.rules.owners() {
            let mut after: Option<Box<str>> = None;
            loop {
                let page = Query::owners(table, after.as_deref(), STEP_MESSAGES);
                let owners = self.read(page).await?.owners()?;
                let Some((last, _)) = owners.last() else { break };
                after = Some(last.clone());
                let of_domain = owners.iter().filter(|(owner, _)| whose.includes(owner));
                let batch = of_domain.fold(Batch::new(), |batch, (owner, _)| batch.floor(owner, up_to));
                self.write(batch).await?;
                tokio::time::sleep(BETWEEN_STEPS).await;
            }
        }
        Ok(())
    }

    /// The first messages that are so many bytes together.
    async fn oldest(&self, whose: Whose, after: i64, bytes: u64) -> Result<Oldest, StoreError> {
        let mut found = Oldest {
            up_to: after,
            ..Oldest::default()
        };
        while found.bytes < bytes && !found.complete {
            let query = Query::Oldest {
                whose: whose.clone(),
                after: found.up_to,
                bytes: bytes - found.bytes,
            };
            let next = self.read(query).await?.oldest()?;
            found = Oldest {
                bytes: found.bytes + next.bytes,
                ..next
            };
        }
        Ok(found)
    }

    async fn write(&self, batch: Batch) -> Result<Wrote, StoreError> {
        let (sender, receiver) = oneshot::channel();
        // Nobody listens any more only if this task was aborted.
        self.store
            .write(batch, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn read(&self, query: Query) -> Result<Found, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.store
            .read(query, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// How many bytes have to go.
fn excess(usage: u64, limit: Option<u64>) -> Option<u64> {
    let limit = limit.filter(|limit| usage > *limit)?;
    Some(usage - (limit - limit / SLACK))
}

#[cfg(test)]
mod tests {
    use store::{Deposit, Memory, Places, Range, View};

    use super::*;

    fn keeper(rules: Rules) -> Keeper {
        let store = Arc::new(Memory::new(&[&ACCOUNTS, &muc::ARCHIVES]));
        Keeper {
            store,
            rules,
            table: 0,
            after: None,
            domains: HashMap::new(),
            begins: HashMap::new(),
            deleted: 0,
            told: tokio::time::Instant::now(),
        }
    }

    fn rules(account_bytes: Option<u64>, domain_bytes: Option<u64>) -> Rules {
        Rules {
            keep_milliseconds: None,
            account_bytes,
            domain_bytes,
            rooms: false,
        }
    }

    fn with_rooms(rules: Rules) -> Rules {
        Rules { rooms: true, ..rules }
    }

    const STANZA: usize = 100;

    impl Keeper {
        fn account(&self, owner: &str) {
            let row = vec![store::Value::Null; ACCOUNTS.columns.len()];
            let batch = Batch::new().put(&ACCOUNTS, owner, None, row);
            self.store.write_wait(batch).expect("the row is right");
        }

        fn deposit(&self, sender: &str, recipient: &str, count: usize) {
            for _ in 0..count {
                let batch = Batch::new().deposit(Deposit {
                    at: Service::clock().0,
                    sender: sender.into(),
                    recipient: recipient.into(),
                    places: Places::SENT.and(Places::RECEIVED),
                    fingerprint: None,
                    stanza: "x".repeat(STANZA).into(),
                });
                self.store.write_wait(batch).expect("the deposit is right");
            }
        }

        fn count(&self, owner: &str) -> usize {
            let found = self
                .store
                .read_wait(Query::archive(Range::of(owner, View::Archive, 1_000)));
            found.and_then(Found::archive).expect("a page").messages.len()
        }
    }

    #[tokio::test]
    async fn an_account_over_its_limit_is_cut() {
        let mut keeper = keeper(rules(Some(50 * STANZA as u64), None));
        for owner in ["a@x.org", "b@x.org", "c@x.org"] {
            keeper.account(owner);
        }
        keeper.deposit("a@x.org", "b@x.org", 20);
        keeper.deposit("a@x.org", "c@x.org", 30);
        keeper.look().await.expect("read");
        assert_eq!(
            keeper.count("a@x.org"),
            50,
            "it has reached its limit and not passed it"
        );
        keeper.deposit("a@x.org", "c@x.org", 1);
        keeper.look().await.expect("read");
        // The limit less a twentieth.
        assert_eq!(keeper.count("a@x.org"), 47);
        assert_eq!((keeper.count("b@x.org"), keeper.count("c@x.org")), (20, 31));
    }

    /// More than one page of accounts, and domains that have nothing to do with each other.
    #[tokio::test]
    async fn a_domain_over_its_limit_is_cut_at_one_place() {
        let mut keeper = keeper(rules(None, Some(100 * STANZA as u64)));
        for number in 0..MEASURED_AT_ONCE + 10 {
            keeper.account(&format!("user{number}@x.org"));
        }
        keeper.account("a@y.org");
        keeper.deposit("user1@x.org", "a@y.org", 60);
        keeper.deposit("user2@x.org", "user3@x.org", 30);
        for _ in 0..4 {
            keeper.look().await.expect("read");
        }
        // 120 entries: 25 have to go, all of the oldest.
        assert_eq!(keeper.count("user1@x.org"), 35);
        assert_eq!((keeper.count("user2@x.org"), keeper.count("user3@x.org")), (30, 30));
        assert_eq!(keeper.count("a@y.org"), 60);
        keeper.deposit("user2@x.org", "user3@x.org", 25);
        for _ in 0..4 {
            keeper.look().await.expect("read");
        }
        assert_eq!(keeper.count("user1@x.org"), 0);
        assert_eq!((keeper.count("user2@x.org"), keeper.count("user3@x.org")), (47, 47));
        assert_eq!(keeper.count("a@y.org"), 60);
    }

    /// A room is an owner as an account is, and its service a domain.
    #[tokio::test]
    async fn rooms_over_their_limits_are_cut() {
        const ROOMS: [&str; 2] = ["a@conference.x.org", "b@conference.x.org"];
        let say = |keeper: &Keeper, room: &str, count: usize| {
            for _ in 0..count {
                let batch = Batch::new().deposit(Deposit {
                    at: Service::clock().0,
                    sender: "user@x.org".into(),
                    recipient: room.into(),
                    places: Places::RECEIVED,
                    fingerprint: None,
                    stanza: "x".repeat(STANZA).into(),
                });
                keeper.store.write_wait(batch).expect("the deposit is right");
            }
        };
        let rooms = |keeper: &Keeper| {
            keeper.account("user@x.org");
            for room in ROOMS {
                let batch = Batch::new().put(&muc::ARCHIVES, room, None, store::row![1]);
                keeper.store.write_wait(batch).expect("the row is right");
            }
        };
        let mut of_each = keeper(with_rooms(rules(Some(50 * STANZA as u64), None)));
        rooms(&of_each);
        say(&of_each, ROOMS[0], 51);
        say(&of_each, ROOMS[1], 50);
        for _ in 0..2 {
            of_each.look().await.expect("read");
        }
        assert_eq!(ROOMS.map(|room| of_each.count(room)), [47, 50]);

        let mut of_all = keeper(with_rooms(rules(None, Some(100 * STANZA as u64))));
        rooms(&of_all);
        say(&of_all, ROOMS[0], 60);
        say(&of_all, ROOMS[1], 60);
        for _ in 0..2 {
            of_all.look().await.expect("read");
        }
        assert_eq!(ROOMS.map(|room| of_all.count(room)), [35, 60]);
        // Rooms are not there where none are offered.
        let mut without = keeper(rules(Some(1), Some(1)));
        rooms(&without);
        say(&without, ROOMS[0], 60);
        without.look().await.expect("read");
        assert_eq!(without.count(ROOMS[0]), 60);
    }

    #[tokio::test]
    async fn nothing_is_looked_at_without_a_limit() {
        let mut keeper = keeper(rules(None, None));
        keeper.account("a@x.org");
        keeper.deposit("a@x.org", "b@x.org", 20);
        keeper.look().await.expect("read");
        assert!(keeper.domains.is_empty());
        assert_eq!(keeper.count("a@x.org"), 20);
    }
}
