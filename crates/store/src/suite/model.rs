//! Random ops on a driver and on [`Memory`], and every answer compared. The small cases of the suite say what is right;
//! this finds where a driver with an index that is written late is not.

use super::*;
use crate::{Archived, Deposit, FINGERPRINT_LIFETIME_MS, Memory, Page, Places, Range, View, Whose};

const OWNERS: [&str; 6] = [
    "a@example.org",
    "b@example.org",
    "c@example.org",
    "d@example.net",
    "e@example.net",
    "f@example.com",
];

/// Of which marks are set and read.
const KEYS: u64 = 40;

/// How often the store is opened anew, about.
const OPENED: u64 = 8;

/// Runs so many random batches. `open` makes an empty store the first time; later it is given the open store, ends it as
/// it likes (a driver that persists also by leaving it behind as in a crash) and opens what is left. All that was answered
/// has to be there. The same seed is the same run.
pub fn compare_with_memory(open: &mut dyn FnMut(Option<Box<dyn Store>>) -> Box<dyn Store>, seed: u64, batches: usize) {
    let mut model = Model {
        memory: Memory::new(&TABLES),
        ids: Vec::new(),
        random: Random(seed | 1),
        at: 1_000_000,
    };
    let mut store = open(None);
    for number in 0..batches {
        model.write(&*store, seed);
        if number % 8 == 0 {
            model.read(&*store, seed);
        }
        if model.random.below(batches as u64 / OPENED + 1) == 0 {
            store = open(Some(store));
            model.read_all(&*store, seed);
            if model.random.below(2) == 0 {
                model.sweep_all(&*store, seed);
            }
        }
    }
    model.read_all(&*store, seed);
    model.sweep_all(&*store, seed);
    model.read_all(&*store, seed);
    store.close();
}

struct Model {
    memory: Memory,
    /// Of the messages: in the model, in the store. Both ascend.
    ids: Vec<(i64, i64)>,
    random: Random,
    at: i64,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn owner(&mut self) -> &'static str {
        // Some talk much more than others.
        let spread = self.below(OWNERS.len() as u64) + 1;
        OWNERS[self.below(spread) as usize]
    }
}

impl Model {
    /// An id of the model and the same in the store; sometimes one that is none.
    fn id(&mut self) -> (i64, i64) {
        match self.random.below(12) {
            0 => (i64::MAX, i64::MAX),
            1 => (0, 0),
            _ if self.ids.is_empty() => (0, 0),
            _ => self.ids[self.random.below(self.ids.len() as u64) as usize],
        }
    }

    fn deposit(&mut self) -> Deposit {
        self.at += match self.random.below(100) {
            0 => -50_000,
            1 => 40_000,
            2 => FINGERPRINT_LIFETIME_MS / 3,
            _ => self.random.below(20) as i64,
        };
        let (sender, recipient) = (self.random.owner(), self.random.owner());
        let resource = self.random.below(3);
        let stanza = format!(
            "<message from='{sender}/{resource}' to='{recipient}/{}'><body>{}</body></message>",
            resource / 2,
            "x".repeat(self.random.below(300) as usize)
        );
        Deposit {
            at: self.at,
            sender: sender.into(),
            recipient: recipient.into(),
            places: Places(self.random.below(7) as u8 + 1),
            fingerprint: (self.random.below(2) == 0).then(|| u128::from(self.random.below(400)) << 60),
            stanza: stanza.into(),
        }
    }

    /// One batch, for both.
    fn write(&mut self, store: &dyn Store, seed: u64) {
        let (mut ours, mut theirs) = (Batch::new(), Batch::new());
        let both = |ours: Batch, theirs: Batch, op: &dyn Fn(Batch) -> Batch| (op(ours), op(theirs));
        if self.random.below(10) > 0 {
            let deposit = self.deposit();
            (ours, theirs) = both(ours, theirs, &|batch| batch.deposit(deposit.clone()));
        }
        for _ in 0..self.random.below(3) {
            let (key, value) = (self.random.below(KEYS) as i64, self.random.next() as i64);
            (ours, theirs) = both(ours, theirs, &|batch| batch.mark(key, value));
        }
        match self.random.below(60) {
            0 => {
                let (owner, (our, _)) = (self.random.owner(), self.id());
                if our < i64::MAX {
                    (ours, theirs) = (
                        ours.horizon(owner, our / 2),
                        theirs.horizon(owner, self.theirs_of(our / 2)),
                    );
                } else if self.random.below(5) == 0 {
                    // Everything, the message of this batch too.
                    (ours, theirs) = both(ours, theirs, &|batch| batch.horizon(owner, i64::MAX));
                }
            }
            1 => {
                let (before, most) = (
                    self.at - self.random.below(20_000) as i64,
                    self.random.below(30) as usize,
                );
                (ours, theirs) = both(ours, theirs, &|batch| batch.expire(before, most));
            }
            2 => {
                let key = self.random.below(KEYS) as i64;
                (ours, theirs) = both(ours, theirs, &|batch| batch.unmark(key));
            }
            3 if self.random.below(20) == 0 => {
                let owner = self.random.owner();
                (ours, theirs) = both(ours, theirs, &|batch| batch.forget(owner));
            }
            8..14 => {
                let (owner, (our, their)) = (self.random.owner(), self.id());
                (ours, theirs) = (ours.settle(owner, our), theirs.settle(owner, their));
            }
            14 => {
                let (owner, (our, _)) = (self.random.owner(), self.id());
                // Not beyond what both know, as the message of this batch has other ids.
                let our = if our < i64::MAX { our / 2 } else { 0 };
                (ours, theirs) = (ours.floor(owner, our), theirs.floor(owner, self.theirs_of(our)));
            }
            15..21 => {
                // So old that no clock that goes back comes near.
                let now = self.at - FINGERPRINT_LIFETIME_MS / 2;
                let most = self.random.below(20) as usize;
                (ours, theirs) = both(ours, theirs, &|batch| batch.sweep(now, most));
            }
            4..8 => {
                let (owner, (our, their)) = (self.random.owner(), self.id());
                (ours, theirs) = (
                    ours.replace(owner, our, "<gone/>"),
                    theirs.replace(owner, their, "<gone/>"),
                );
            }
            _ => {}
        }
        if self.random.below(12) == 0 {
            (ours, theirs) = both(ours, theirs, &|batch| batch.require(&ACCOUNTS, JULIET, None));
        }
        let (ours, theirs) = (self.memory.write_wait(ours), store.write_wait(theirs));
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => match (ours.deposited, theirs.deposited) {
                (Some(ours), Some(theirs)) if ours.is_new && theirs.is_new => {
                    let last = self.ids.last().copied().unwrap_or((0, 0));
                    assert!(theirs.id > last.1, "seed {seed}: {theirs:?} after {last:?}");
                    self.ids.push((ours.id, theirs.id));
                }
                (Some(ours), Some(theirs)) => {
                    assert_eq!(ours.is_new, theirs.is_new, "seed {seed}, at {}", self.at);
                    assert_eq!(self.theirs_of(ours.id), theirs.id, "seed {seed}");
                }
                (ours, theirs) => assert_eq!(ours, theirs, "seed {seed}"),
            },
            // How much was swept is not compared: the memory has nothing to clear up behind a message.
            (Err(ours), Err(theirs)) => assert_eq!(ours, theirs, "seed {seed}"),
            (ours, theirs) => panic!("seed {seed}: {ours:?}, {theirs:?}"),
        }
    }

    /// The store's id of the last message with at most this id in the model.
    fn theirs_of(&self, ours: i64) -> i64 {
        let at = self.ids.partition_point(|(id, _)| *id <= ours);
        at.checked_sub(1).map_or(0, |at| self.ids[at].1)
    }

    fn range(&mut self) -> (Range, Range) {
        let random = &mut self.random;
        let view = if random.below(3) == 0 {
            View::Waiting
        } else {
            View::Archive
        };
        let mut ours = Range::of(random.owner(), view, random.below(40) as usize);
        ours.with = match random.below(4) {
            0 => Some(random.owner().into()),
            1 => Some(format!("{}/{}", random.owner(), random.below(3)).into()),
            _ => None,
        };
        let spread = 1 + random.below(50_000) as i64;
        ours.start = (random.below(4) == 0).then(|| self.at - spread);
        ours.end = (random.below(4) == 0).then(|| self.at - spread / 2);
        ours.newest = random.below(2) == 0;
        ours.bytes = if random.below(4) == 0 { 1_500 } else { usize::MAX };
        ours.count = random.below(3) == 0;
        let mut theirs = ours.clone();
        if self.random.below(2) == 0 {
            let (our, their) = self.id();
            (ours.after, theirs.after) = (Some(our), Some(their));
        }
        if self.random.below(2) == 0 {
            let (our, their) = self.id();
            (ours.before, theirs.before) = (Some(our), Some(their));
        }
        if self.random.below(6) == 0 {
            let (our, their) = (0..self.random.below(9)).map(|_| self.id()).unzip();
            (ours.ids, theirs.ids) = (Some(our), Some(their));
        }
        (ours, theirs)
    }

    fn read(&mut self, store: &dyn Store, seed: u64) {
        let (ours, theirs) = self.range();
        self.compare(store, ours, theirs, seed);
        let owner = self.random.owner();
        let most = self.random.below(200) as usize;
        let (delivered, ours) = read(&self.memory, Query::waiting(owner, most)).waiting().expect("it");
        let theirs = read(store, Query::waiting(owner, most)).waiting().expect("it");
        let at = self.ids.partition_point(|(_, id)| *id <= theirs.0);
        let last = at.checked_sub(1).map_or(0, |at| self.ids[at].1);
        assert_eq!((self.theirs_of(delivered), ours), (last, theirs.1), "seed {seed}");
        self.compare_oldest(store, seed);
        let key = self.random.below(KEYS) as i64;
        let marks = [&self.memory as &dyn Store, store].map(|store| store.read_wait(Query::Mark { key }));
        assert_eq!(marks[0], marks[1], "seed {seed}");
    }

    fn compare_oldest(&mut self, store: &dyn Store, seed: u64) {
        let owner = self.random.owner();
        let whose = match self.random.below(2) {
            0 => Whose::Account(owner.into()),
            _ => Whose::Domain(owner.rsplit('@').next().unwrap_or_default().into()),
        };
        let ((our, their), bytes) = (self.id(), self.random.below(5_000));
        let oldest = |store: &dyn Store, after| {
            let whose = whose.clone();
            read(store, Query::Oldest { whose, after, bytes }).oldest().expect("it")
        };
        let (ours, theirs) = (oldest(&self.memory, our), oldest(store, their));
        assert_eq!(
            (ours.bytes, ours.complete),
            (theirs.bytes, theirs.complete),
            "seed {seed}: {whose:?}"
        );
        // What is nobody's is looked at as well, and the memory has less of that.
        assert!(
            ours.bytes == 0 || ours.complete || self.theirs_of(ours.up_to) == theirs.up_to,
            "seed {seed}: {whose:?}"
        );
    }

    /// Everything that may go goes, and then both count alike.
    fn sweep_all(&mut self, store: &dyn Store, seed: u64) {
        let now = self.at - FINGERPRINT_LIFETIME_MS / 2;
        let sweep = |store: &dyn Store| {
            let wrote = store.write_wait(Batch::new().sweep(now, 50)).expect("it is right");
            wrote.swept.expect("it sweeps").more
        };
        while sweep(&self.memory) {}
        while sweep(store) {}
        for owner in OWNERS {
            let usage = [&self.memory as &dyn Store, store].map(|store| store.read_wait(Query::usage(owner)));
            assert_eq!(usage[0], usage[1], "seed {seed}: {owner}");
        }
    }

    fn read_all(&mut self, store: &dyn Store, seed: u64) {
        for owner in OWNERS {
            for view in [View::Archive, View::Waiting] {
                for newest in [false, true] {
                    let range = Range {
                        newest,
                        count: true,
                        ..Range::of(owner, view, PAGE_LIMIT)
                    };
                    self.compare(store, range.clone(), range, seed);
                }
            }
        }
        for key in 0..KEYS as i64 {
            let marks = [&self.memory as &dyn Store, store].map(|store| store.read_wait(Query::Mark { key }));
            assert_eq!(marks[0], marks[1], "seed {seed}");
        }
        for _ in 0..50 {
            self.read(store, seed);
        }
    }

    fn compare(&self, store: &dyn Store, ours: Range, theirs: Range, seed: u64) {
        let question = ours.clone();
        let ours = read(&self.memory, Query::archive(ours)).archive().expect("a page");
        let theirs = read(store, Query::archive(theirs)).archive().expect("a page");
        let translated = |message: Archived| Archived {
            id: self.theirs_of(message.id),
            ..message
        };
        let ours = Page {
            messages: ours.messages.into_iter().map(translated).collect(),
            ..ours
        };
        assert!(ours == theirs, "seed {seed}: {question:?}\n{ours:?}\n{theirs:?}");
    }
}
