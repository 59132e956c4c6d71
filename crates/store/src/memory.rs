//! The store in memory: for tests and the simulation, which decide when commits happen and which fail.
//!
//! All that is submitted goes through one queue in order. Usually the queue is worked off at once, on the caller's
//! thread. After [`Memory::hold`] nothing happens until [`Memory::step`] or [`Memory::settle`].

mod archive;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{
    Answered, Batch, Catalog, Found, Op, PAGE_LIMIT, Query, Row, Shape, Store, StoreError, Table, Value, Written, Wrote,
};
use archive::Archive;

/// How many jobs may wait while the store is held, unless [`Memory::set_queue_limit`] says otherwise.
const QUEUE_LIMIT: usize = 65_536;

/// What [`Store::secret`] answers. The same for all, as tests shall repeat themselves.
const SECRET: [u8; 32] = *b"not random: tests repeat exactly";

/// The memory driver. See the module's text.
pub struct Memory {
    catalog: Catalog,
    state: Mutex<State>,
}

struct State {
    tables: Tables,
    queue: VecDeque<Job>,
    /// Accepted and not yet worked off; what was refused waits in the queue only to keep the order of callbacks.
    accepted: usize,
    queue_limit: usize,
    held: bool,
    /// Somebody works off the queue just now: whoever submits meanwhile leaves it to them.
    working: bool,
    closed: bool,
    full: bool,
    /// What the next writes fail with.
    write_faults: VecDeque<StoreError>,
    read_faults: VecDeque<StoreError>,
    after_commits: Option<Arc<dyn Fn(bool) + Send + Sync>>,
}

enum Job {
    Write(Batch, Written),
    Read(Query, Answered),
    RefusedWrite(StoreError, Written),
    RefusedRead(StoreError, Answered),
}

/// A job that is worked off, with its result.
enum Done {
    Write(Written, Result<Wrote, StoreError>),
    Read(Answered, Result<Found, StoreError>),
}

impl Memory {
    /// # Panics
    /// If the declarations are wrong ([`Catalog::new`]): they are statics, so that is a bug and not an input.
    pub fn new(tables: &[&'static Table]) -> Memory {
        let catalog = Catalog::new(tables).unwrap_or_else(|error| panic!("{error}"));
        Memory {
            catalog,
            state: Mutex::new(State {
                tables: Tables::default(),
                queue: VecDeque::new(),
                accepted: 0,
                queue_limit: QUEUE_LIMIT,
                held: false,
                working: false,
                closed: false,
                full: false,
                write_faults: VecDeque::new(),
                read_faults: VecDeque::new(),
                after_commits: None,
            }),
        }
    }

    /// From now on, nothing happens by itself.
    pub fn hold(&self) {
        self.lock().held = true;
    }

    /// Ends [`hold`](Memory::hold) and works off what has gathered.
    pub fn release(&self) {
        self.lock().held = false;
        self.work();
    }

    /// Works off one job and calls its callback. False if none waits.
    pub fn step(&self) -> bool {
        let done = self.lock().work_one();
        done.map(|done| self.call(done)).is_some()
    }

    /// Works off one job and drops its callback, as when the server dies between commit and answer. False if none waits.
    pub fn step_unanswered(&self) -> bool {
        self.lock().work_one().is_some()
    }

    /// Works off everything, also what callbacks submit meanwhile. Returns how many jobs that were.
    pub fn settle(&self) -> usize {
        let mut steps = 0;
        while self.step() {
            steps += 1;
        }
        steps
    }

    /// How many jobs wait.
    pub fn pending(&self) -> usize {
        self.lock().queue.len()
    }

    /// What waits is lost without an answer, as in a crash; what is committed stays.
    pub fn crash(&self) {
        let lost = {
            let mut state = self.lock();
            state.accepted = 0;
            std::mem::take(&mut state.queue)
        };
        // Outside the lock: a callback's captures may do anything when dropped.
        drop(lost);
    }

    /// The next `count` batches that would be committed fail with `error` instead.
    pub fn fail_writes(&self, count: usize, error: StoreError) {
        self.lock().write_faults.extend(std::iter::repeat_n(error, count));
    }

    /// The next `count` queries fail with `error`.
    pub fn fail_reads(&self, count: usize, error: StoreError) {
        self.lock().read_faults.extend(std::iter::repeat_n(error, count));
    }

    /// While true every batch fails with [`StoreError::Full`].
    pub fn set_full(&self, full: bool) {
        self.lock().full = full;
    }

    /// How many jobs may wait; one more is answered with [`StoreError::Overloaded`].
    pub fn set_queue_limit(&self, limit: usize) {
        self.lock().queue_limit = limit;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change of the state, so a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(&self, jobs: impl IntoIterator<Item = Job>) {
        {
            let mut state = self.lock();
            for job in jobs {
                let refusal = if state.closed {
                    Some(StoreError::Closed)
                } else if state.accepted >= state.queue_limit {
                    Some(StoreError::Overloaded)
                } else {
                    None
                };
                let job = match (job, refusal) {
                    (Job::Write(_, done), Some(error)) => Job::RefusedWrite(error, done),
                    (Job::Read(_, done), Some(error)) => Job::RefusedRead(error, done),
                    (job, _) => job,
                };
                state.accepted += usize::from(job.is_accepted());
                state.queue.push_back(job);
            }
        }
        self.work();
    }

    /// Works off the queue unless it is held or somebody does so already (another thread, or a caller further up the
    /// stack whose callback submitted this): the order of callbacks is the order of submission.
    fn work(&self) {
        {
            let mut state = self.lock();
            if state.held || state.working {
                return;
            }
            state.working = true;
        }
        let _working = Working(self);
        loop {
            let done = {
                let mut state = self.lock();
                match if state.held { None } else { state.work_one() } {
                    Some(done) => done,
                    // Under the same lock as the look at the queue: nobody can slip a job in between.
                    None => {
                        state.working = false;
                        return;
                    }
                }
            };
            self.call(done);
        }
    }

    fn call(&self, done: Done) {
        match done {
            Done::Write(done, result) => {
                done(result);
                let after = self.lock().after_commits.clone();
                if let Some(after) = after {
                    after(false);
                }
            }
            Done::Read(done, result) => done(result),
        }
    }

    fn write_job(&self, batch: Batch, done: Written) -> Job {
        match self.catalog.check_batch(&batch) {
            Ok(()) => Job::Write(batch, done),
            Err(error) => Job::RefusedWrite(error, done),
        }
    }
}

/// Ends the work also when a callback panics.
struct Working<'a>(&'a Memory);

impl Drop for Working<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().working = false;
        }
    }
}

impl Store for Memory {
    fn write(&self, batch: Batch, done: Written) {
        self.submit([self.write_job(batch, done)]);
    }

    fn write_many(&self, writes: Vec<(Batch, Written)>) {
        self.submit(writes.into_iter().map(|(batch, done)| self.write_job(batch, done)));
    }

    fn read(&self, query: Query, done: Answered) {
        let job = match self.catalog.check_query(&query) {
            Ok(()) => Job::Read(query, done),
            Err(error) => Job::RefusedRead(error, done),
        };
        self.submit([job]);
    }

    fn close(&self) {
        self.lock().closed = true;
        self.settle();
    }

    /// While it is held it comes to no rest; otherwise all is answered before a caller comes back.
    fn rest(&self, _limit: Duration) -> bool {
        self.work();
        let state = self.lock();
        state.queue.is_empty() && !state.working
    }

    fn secret(&self) -> [u8; 32] {
        SECRET
    }

    fn after_commits(&self, call: Box<dyn Fn(bool) + Send + Sync>) {
        let old = self.lock().after_commits.replace(call.into());
        // Outside the lock: its captures may do anything when dropped.
        drop(old);
    }
}

impl Job {
    fn is_accepted(&self) -> bool {
        matches!(self, Job::Write(..) | Job::Read(..))
    }
}

impl State {
    fn work_one(&mut self) -> Option<Done> {
        let job = self.queue.pop_front()?;
        self.accepted -= usize::from(job.is_accepted());
        Some(match job {
            Job::Write(batch, done) => {
                let fault = self.write_faults.pop_front().or(self.full.then_some(StoreError::Full));
                Done::Write(done, fault.map_or_else(|| self.tables.commit(batch), Err))
            }
            Job::Read(query, done) => {
                let fault = self.read_faults.pop_front();
                Done::Read(done, fault.map_or_else(|| Ok(self.tables.answer(&query)), Err))
            }
            Job::RefusedWrite(error, done) => Done::Write(done, Err(error)),
            Job::RefusedRead(error, done) => Done::Read(done, Err(error)),
        })
    }
}

/// The content. A table has keys of one kind only.
#[derive(Default)]
struct Tables {
    rows: BTreeMap<&'static str, BTreeMap<Box<str>, BTreeMap<Key, Row>>>,
    archive: Archive,
    last_id: i64,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    One,
    Text(Box<str>),
    Id(i64),
}

impl Key {
    fn new(key: Option<Box<str>>) -> Key {
        key.map_or(Key::One, Key::Text)
    }
}

/// What something was before an op changed it.
enum Undo {
    Row(&'static str, Box<str>, Key, Option<Row>),
    Archive(archive::Undo),
}

impl Tables {
    fn commit(&mut self, batch: Batch) -> Result<Wrote, StoreError> {
        let mut undo = Vec::new();
        let mut wrote = Wrote::default();
        for op in batch.ops {
            if let Err(error) = self.apply(op, &mut wrote, &mut undo) {
                for undo in undo.into_iter().rev() {
                    match undo {
                        Undo::Row(table, owner, key, row) => drop(self.set(table, owner, key, row)),
                        Undo::Archive(undo) => self.archive.undo(undo),
                    }
                }
                return Err(error);
            }
        }
        Ok(wrote)
    }

    fn apply(&mut self, op: Op, wrote: &mut Wrote, undo: &mut Vec<Undo>) -> Result<(), StoreError> {
        let mut set = |tables: &mut Tables, table: &'static str, owner: Box<str>, key: Key, row: Option<Row>| {
            let old = tables.set(table, owner.clone(), key.clone(), row);
            undo.push(Undo::Row(table, owner, key, old));
        };
        match op {
            Op::Put { table, owner, key, row } => set(self, table.name, owner, Key::new(key), Some(row)),
            Op::Insert { table, owner, key, row } => {
                let key = Key::new(key);
                if self.get(table, &owner, &key).is_some() {
                    return Err(StoreError::Exists);
                }
                set(self, table.name, owner, key, Some(row));
            }
            Op::Add { table, owner, key, row } => {
                let key = Key::new(key);
                let old = self.get(table, &owner, &key).cloned().unwrap_or_default();
                let number = |value: Option<&Value>| value.and_then(Value::as_int).unwrap_or_default();
                let sum =
                    |(at, added): (usize, &Value)| Value::Int(number(old.get(at)).saturating_add(number(Some(added))));
                let row = row.iter().enumerate().map(sum).collect();
                set(self, table.name, owner, key, Some(row));
            }
            Op::Require { table, owner, key } => {
                if self.get(table, &owner, &Key::new(key)).is_none() {
                    return Err(StoreError::Missing);
                }
            }
            Op::Append { table, owner, row } => {
                self.last_id += 1;
                set(self, table.name, owner, Key::Id(self.last_id), Some(row));
            }
            Op::Delete { table, owner, key } => match (table.shape, key) {
                (Shape::Map, Some(key)) => set(self, table.name, owner, Key::Text(key), None),
                _ => {
                    for key in self.keys(table.name, &owner, |_| true) {
                        set(self, table.name, owner.clone(), key, None);
                    }
                }
            },
            Op::DeleteKeys { table, owner, prefix } => {
                let begins = |key: &Key| key.text().is_some_and(|key| key.starts_with(&*prefix));
                for key in self.keys(table.name, &owner, begins) {
                    set(self, table.name, owner.clone(), key, None);
                }
            }
            Op::Trim { table, owner, up_to } => {
                for key in self.keys(table.name, &owner, |key| *key <= Key::Id(up_to)) {
                    set(self, table.name, owner.clone(), key, None);
                }
            }
            Op::Forget { owner } => {
                for table in self.rows.keys().copied().collect::<Vec<_>>() {
                    for key in self.keys(table, &owner, |_| true) {
                        set(self, table, owner.clone(), key, None);
                    }
                }
                let up_to = self.last_id;
                self.archive
                    .set_horizon(owner, up_to, &mut |old| undo.push(Undo::Archive(old)));
            }
            Op::Deposit(_)
            | Op::Replace { .. }
            | Op::Horizon { .. }
            | Op::Settle { .. }
            | Op::Floor { .. }
            | Op::Expire { .. }
            | Op::Sweep { .. }
            | Op::Mark { .. }
            | Op::Unmark { .. } => {
                let last_id = &mut self.last_id;
                self.archive
                    .apply(op, last_id, wrote, &mut |old| undo.push(Undo::Archive(old)));
            }
        }
        Ok(())
    }

    /// Returns what was there before.
    fn set(&mut self, table: &'static str, owner: Box<str>, key: Key, row: Option<Row>) -> Option<Row> {
        let owners = self.rows.entry(table).or_default();
        if let Some(row) = row {
            return owners.entry(owner).or_default().insert(key, row);
        }
        let rows = owners.get_mut(&owner)?;
        let old = rows.remove(&key);
        if rows.is_empty() {
            owners.remove(&owner);
        }
        old
    }

    fn of(&self, table: &str, owner: &str) -> Option<&BTreeMap<Key, Row>> {
        self.rows.get(table)?.get(owner)
    }

    fn get(&self, table: &Table, owner: &str, key: &Key) -> Option<&Row> {
        self.of(table.name, owner)?.get(key)
    }

    fn keys(&self, table: &str, owner: &str, wanted: impl Fn(&Key) -> bool) -> Vec<Key> {
        self.of(table, owner)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .filter(|key| wanted(key))
            .cloned()
            .collect()
    }

    fn answer(&self, query: &Query) -> Found {
        match query {
            Query::Get { table, owner, key } => Found::Row(self.get(table, owner, &Key::new(key.clone())).cloned()),
            Query::All { table, owner } => {
                let rows = self.of(table.name, owner).into_iter().flatten();
                Found::Rows(
                    rows.filter_map(|(key, row)| Some((key.text()?.into(), row.clone())))
                        .collect(),
                )
            }
            Query::Keys(keys) => {
                let rows = keys.bounds().zip(self.of(keys.table.name, &keys.owner));
                let rows = rows.into_iter().flat_map(|((from, to), rows)| {
                    let key = |text: String| Key::Text(text.into());
                    rows.range(key(from)..key(to))
                });
                let rows = rows.filter_map(|(key, row)| Some((key.text()?.into(), row.clone())));
                let limit = keys.limit.min(PAGE_LIMIT);
                Found::Rows(if keys.last {
                    let mut rows: Vec<_> = rows.rev().take(limit).collect();
                    rows.reverse();
                    rows
                } else {
                    rows.take(limit).collect()
                })
            }
            Query::Page {
                table,
                owner,
                after,
                limit,
            } => {
                let range = (Bound::Excluded(Key::Id(*after)), Bound::Unbounded);
                let rows = self
                    .of(table.name, owner)
                    .into_iter()
                    .flat_map(|rows| rows.range(range.clone()));
                let page = rows.filter_map(|(key, row)| Some((key.id()?, row.clone())));
                Found::Page(page.take((*limit).min(PAGE_LIMIT)).collect())
            }
            Query::Count { table, owner } => {
                Found::Count(self.of(table.name, owner).map_or(0, |rows| rows.len() as u64))
            }
            Query::Owners { table, after, limit } => {
                let from = after.clone().map_or(Bound::Unbounded, Bound::Excluded);
                let owners = self
                    .rows
                    .get(table.name)
                    .into_iter()
                    .flat_map(|all| all.range((from.clone(), Bound::Unbounded)));
                let rows = owners.filter_map(|(owner, rows)| Some((owner.clone(), rows.get(&Key::One)?.clone())));
                Found::Owners(rows.take((*limit).min(PAGE_LIMIT)).collect())
            }
            Query::Archive(range) => Found::Archive(self.archive.page(range)),
            Query::Waiting { owner, most } => {
                let (delivered, count) = self.archive.waiting(owner, *most);
                Found::Waiting(delivered, count)
            }
            Query::Usage { owner } => Found::Count(self.archive.usage(owner)),
            Query::Oldest { whose, after, bytes } => Found::Oldest(self.archive.oldest(whose, *after, *bytes)),
            Query::Mark { key } => Found::Mark(self.archive.mark(*key)),
            Query::Many(queries) => Found::Many(queries.iter().map(|query| self.answer(query)).collect()),
        }
    }
}

impl Key {
    fn text(&self) -> Option<&str> {
        match self {
            Key::Text(text) => Some(text),
            _ => None,
        }
    }

    fn id(&self) -> Option<i64> {
        match self {
            Key::Id(id) => Some(*id),
            _ => None,
        }
    }
}
