//! The readers' side: the tail and the file as of the same commit, and a page out of both.

use std::collections::VecDeque;
use std::rc::Rc;

use rusqlite::types::Value;
use rusqlite::{CachedStatement, Connection, Error, OptionalExtension};
use store::archive::{bare, is_addressed};
use store::{Archived, Found, OLDEST_LIMIT, Oldest, PAGE_LIMIT, Page, PageBuilder, Places, Query, Range, View, Whose};

use super::codec::{part_key, unpack_entries};
use super::corrupt;
use super::jids::{Owner, known};
use super::tail::{ARCHIVED, Buckets, Entry, Expired, Filter, Index, Message, Tail, WAITING};
use super::usage::{archive_behind, oldest_of_account, oldest_of_domain, sealed_bytes};

/// Postings whose rows are read at once where not each of them is on the page.
const CHUNK: usize = 64;

/// Messages that are read for one page of [`Range::addressed`]: there it ends, also with nothing on it.
const ADDRESSED_LOOKS: usize = 16_384;

/// Whether a query needs a [`Moment`].
pub(crate) fn concerns(query: &Query) -> bool {
    match query {
        Query::Archive(_) | Query::Waiting { .. } | Query::Usage { .. } | Query::Oldest { .. } | Query::Mark { .. } => {
            true
        }
        Query::Many(queries) => queries.iter().any(concerns),
        _ => false,
    }
}

/// What is in memory of the moment that the reader's transaction shows.
pub(crate) struct Moment {
    cut: Buckets,
    sealed: i64,
    expired: Expired,
    /// For each query that concerns the archive, in their order.
    prepared: VecDeque<Prepared>,
}

enum Prepared {
    /// The owner or the peer was never seen.
    Nothing,
    Postings {
        filter: Filter,
        tail: Vec<Entry>,
        /// For [`Range::count`]: what fits but for `after` and `before`.
        counted: Vec<Entry>,
    },
    /// What was delivered, and what waits and is not sealed.
    Waiting(i64, Filter, Vec<Entry>),
    /// Bytes that are not sealed.
    Usage(u32, u64),
    Oldest(Filter, Vec<Entry>),
    /// A mark that is not folded.
    Mark(Option<Option<i64>>),
}

/// A query with its names looked up.
enum Wanted<'a> {
    Nothing,
    Page(Filter, &'a Range),
    Waiting(i64, Filter, usize),
    Usage(u32),
    Oldest(Filter),
    Mark(i64),
}

/// The first thing in a reader's transaction. None: the tail is of another moment; end the transaction and begin anew.
pub(crate) fn prepare(connection: &Connection, index: &Index, query: &Query) -> Result<Option<Moment>, Error> {
    let mut wanted = Vec::new();
    look_up(connection, query, &mut Names::default(), &mut wanted)?;
    let seq: Option<i64> = connection
        .prepare_cached("SELECT max(seq) FROM jackdaw_journal")?
        .query_row([], |row| row.get(0))?;
    let tail = index.read();
    if tail.seq != seq.unwrap_or(0) {
        return Ok(None);
    }
    Ok(Some(Moment {
        cut: tail.cut,
        sealed: tail.sealed,
        expired: tail.expired.clone(),
        prepared: wanted.iter().map(|wanted| take(&tail, wanted)).collect(),
    }))
}

/// The names of one query: a page and the ids that it begins at have the same owner.
#[derive(Default)]
struct Names<'a>(Vec<(&'a str, Option<Owner>)>);

impl<'a> Names<'a> {
    fn known(&mut self, connection: &Connection, jid: &'a str) -> Result<Option<Owner>, Error> {
        // Few, or else they are not all of one account.
        if let Some((_, found)) = self.0.iter().rev().take(NAMES).find(|(name, _)| *name == jid) {
            return Ok(*found);
        }
        let found = known(connection, jid)?;
        self.0.push((jid, found));
        Ok(found)
    }
}

/// The last so many names are looked through.
const NAMES: usize = 4;

fn look_up<'a>(
    connection: &Connection,
    query: &'a Query,
    names: &mut Names<'a>,
    wanted: &mut Vec<Wanted<'a>>,
) -> Result<(), Error> {
    match query {
        Query::Archive(range) => wanted.push(match filter_of(connection, range, names)? {
            Some(filter) => Wanted::Page(filter, range),
            None => Wanted::Nothing,
        }),
        Query::Waiting { owner, most } => wanted.push(match names.known(connection, owner)? {
            Some(owner) => {
                let after = owner.begins().max(owner.delivered);
                Wanted::Waiting(owner.delivered, all_of(&owner, WAITING, after), *most)
            }
            None => Wanted::Nothing,
        }),
        Query::Usage { owner } => wanted.push(match names.known(connection, owner)? {
            Some(owner) => Wanted::Usage(owner.number),
            None => Wanted::Nothing,
        }),
        Query::Oldest { whose, after, .. } => wanted.push(match whose {
            Whose::Account(owner) => match names.known(connection, owner)? {
                Some(owner) => Wanted::Oldest(archive_behind(&owner, *after)),
                None => Wanted::Nothing,
            },
            Whose::Domain(_) => Wanted::Nothing,
        }),
        Query::Mark { key } => wanted.push(Wanted::Mark(*key)),
        Query::Many(queries) => {
            for query in queries {
                look_up(connection, query, names, wanted)?;
            }
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn all_of(owner: &Owner, bit: u8, after: i64) -> Filter {
    Filter {
        owner: owner.number,
        archive_begins: owner.archive_begins(),
        waiting_begins: owner.waiting_begins(),
        bit,
        after,
        before: i64::MAX,
        start: i64::MIN,
        end: i64::MAX,
        peer: None,
    }
}

/// Without `after` and `before`, which are the place of the page; the horizon stands in for the one.
fn filter_of<'a>(connection: &Connection, range: &'a Range, names: &mut Names<'a>) -> Result<Option<Filter>, Error> {
    let Some(owner) = names.known(connection, &range.owner)? else {
        return Ok(None);
    };
    let peer = match range.with.as_deref() {
        None => None,
        Some(with) => match names.known(connection, bare(with))? {
            Some(peer) => Some(peer.number),
            None => return Ok(None),
        },
    };
    let (bit, after) = match range.view {
        View::Archive => (ARCHIVED, owner.archive_begins()),
        View::Waiting => (WAITING, owner.begins()),
    };
    Ok(Some(Filter {
        start: range.start.unwrap_or(i64::MIN),
        end: range.end.unwrap_or(i64::MAX),
        peer,
        ..all_of(&owner, bit, after)
    }))
}

fn on_page(filter: &Filter, range: &Range) -> Filter {
    Filter {
        after: filter.after.max(range.after.unwrap_or(i64::MIN)),
        before: filter.before.min(range.before.unwrap_or(i64::MAX)),
        ..*filter
    }
}

fn take(tail: &Tail, wanted: &Wanted<'_>) -> Prepared {
    match wanted {
        Wanted::Nothing => Prepared::Nothing,
        // Looked up by their ids.
        Wanted::Page(filter, range) if range.ids.is_some() => Prepared::Postings {
            filter: *filter,
            tail: Vec::new(),
            counted: Vec::new(),
        },
        Wanted::Page(filter, range) => {
            // Of those whose text decides, not each is on the page.
            let most = if is_by_text(range) {
                usize::MAX
            } else {
                range.limit.min(PAGE_LIMIT) + 1
            };
            Prepared::Postings {
                filter: *filter,
                tail: tail.collect(&on_page(filter, range), range.newest, most),
                counted: if range.count {
                    tail.collect(filter, false, usize::MAX)
                } else {
                    Vec::new()
                },
            }
        }
        Wanted::Waiting(delivered, filter, most) => {
            Prepared::Waiting(*delivered, *filter, tail.collect(filter, false, *most))
        }
        Wanted::Usage(owner) => {
            let owned = tail.buckets.values().filter_map(|bucket| bucket.owners.get(owner));
            Prepared::Usage(*owner, owned.map(|owned| owned.bytes).sum())
        }
        Wanted::Oldest(filter) => Prepared::Oldest(*filter, tail.collect(filter, false, OLDEST_LIMIT + 1)),
        Wanted::Mark(key) => Prepared::Mark(tail.marks.get(key).map(|marked| marked.value)),
    }
}

/// The JID, if it has a resource.
fn full(range: &Range) -> Option<&str> {
    range.with.as_deref().filter(|with| with.contains('/'))
}

/// Whether a message is on the page is only known when it is read.
fn is_by_text(range: &Range) -> bool {
    full(range).is_some() || range.addressed.is_some()
}

/// Answers one query that concerns the archive; to be called for each of them in the order of [`prepare`].
pub(crate) fn find(connection: &Connection, moment: &mut Moment, query: &Query) -> Result<Found, Error> {
    let prepared = moment.prepared.pop_front().unwrap_or(Prepared::Nothing);
    Ok(match (query, prepared) {
        (Query::Archive(range), Prepared::Postings { filter, tail, counted }) => {
            Found::Archive(page(connection, moment, range, &filter, tail, counted)?)
        }
        (Query::Archive(range), _) => {
            let mut nothing = PageBuilder::new(range).finish();
            nothing.total = range.count.then_some(0);
            Found::Archive(nothing)
        }
        (Query::Waiting { most, .. }, Prepared::Waiting(delivered, filter, tail)) => {
            let mut count = tail.len();
            if count < *most {
                moment.each_sealed(connection, &filter, false, &mut |_| {
                    count += 1;
                    Ok(count < *most)
                })?;
            }
            Found::Waiting(delivered, count as u64)
        }
        (Query::Waiting { .. }, _) => Found::Waiting(0, 0),
        (Query::Usage { .. }, Prepared::Usage(owner, unsealed)) => {
            Found::Count(sealed_bytes(connection, owner)? + unsealed)
        }
        (Query::Oldest { after, bytes, .. }, Prepared::Oldest(filter, tail)) => {
            Found::Oldest(oldest_of_account(connection, moment, &filter, &tail, *after, *bytes)?)
        }
        (Query::Oldest { whose, after, bytes }, _) => match whose {
            Whose::Domain(_) => Found::Oldest(oldest_of_domain(connection, whose, *after, *bytes)?),
            Whose::Account(_) => Found::Oldest(Oldest {
                up_to: *after,
                bytes: 0,
                complete: true,
            }),
        },
        (Query::Mark { .. }, Prepared::Mark(Some(value))) => Found::Mark(value),
        (Query::Mark { key }, _) => Found::Mark(
            connection
                .prepare_cached("SELECT value FROM jackdaw_marks WHERE key = ?1")?
                .query_row([key], |row| row.get(0))
                .optional()?,
        ),
        _ => Found::Count(0),
    })
}

fn page(
    connection: &Connection,
    moment: &Moment,
    range: &Range,
    filter: &Filter,
    mut tail: Vec<Entry>,
    mut counted: Vec<Entry>,
) -> Result<Page, Error> {
    let mut rows = Rows::new(connection, range, filter.owner)?;
    let on_page = on_page(filter, range);
    let has_sealed = range.ids.is_none();
    if let Some(ids) = &range.ids {
        counted = by_ids(connection, filter, &moment.expired, ids)?;
        let on_page = counted.iter().filter(|entry| on_page.fits(entry, &moment.expired));
        tail = on_page.copied().collect();
        if range.newest {
            tail.reverse();
        }
    }
    let by_text = is_by_text(range);
    let room = range.limit.min(PAGE_LIMIT);
    let mut builder = PageBuilder::new(range);
    let mut push = |entry: &Entry, stanza: &str| {
        builder.push(Archived {
            id: entry.id,
            at: entry.at,
            archived: filter.is_archived(entry, &moment.expired),
            waits: entry.bits & WAITING != 0,
            stanza: stanza.into(),
        })
    };
    let mut waiting = Vec::new();
    let (mut looks, mut is_far) = (0, false);
    let mut add = |entry: &Entry| -> Result<bool, Error> {
        if range.addressed.is_some() {
            looks += 1;
            is_far = looks > ADDRESSED_LOOKS;
            if is_far {
                return Ok(false);
            }
        }
        waiting.push(*entry);
        if !by_text {
            // One more than fits tells that the page is not the last.
            return Ok(waiting.len() <= room);
        }
        if waiting.len() < CHUNK {
            return Ok(true);
        }
        let goes_on = rows.read(&waiting, &mut push);
        waiting.clear();
        goes_on
    };
    moment.each(connection, &on_page, range.newest, has_sealed, &tail, &mut add)?;
    let is_cut = !by_text && waiting.len() > room;
    if is_cut {
        waiting.truncate(room);
    }
    rows.read(&waiting, &mut push)?;
    if is_cut || is_far {
        builder.cut();
    }
    let mut page = builder.finish();
    if range.count {
        let first = page.messages.first().map(|message| message.id);
        let (mut total, mut index) = (0, 0);
        let mut add = |entry: &Entry| {
            total += 1;
            index += u64::from(first.is_some_and(|first| entry.id < first));
        };
        waiting.clear();
        let mut count = |entry: &Entry| -> Result<bool, Error> {
            if !by_text {
                add(entry);
                return Ok(true);
            }
            waiting.push(*entry);
            if waiting.len() == CHUNK {
                rows.read(&waiting, &mut |entry, _| {
                    add(entry);
                    true
                })?;
                waiting.clear();
            }
            Ok(true)
        };
        moment.each(connection, filter, false, has_sealed, &counted, &mut count)?;
        rows.read(&waiting, &mut |entry, _| {
            add(entry);
            true
        })?;
        page.total = Some(total);
        page.index = first.map(|_| index);
    }
    Ok(page)
}

/// The postings of these messages, ascending, as far as they fit.
fn by_ids(connection: &Connection, filter: &Filter, expired: &Expired, ids: &[i64]) -> Result<Vec<Entry>, Error> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids.dedup();
    let sql = "SELECT at, sender, recipient, places FROM jackdaw_archive WHERE id = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut entries = Vec::new();
    for id in ids {
        let message = statement
            .query_row([id], |row| {
                Ok(Message {
                    id,
                    at: row.get(0)?,
                    sender: row.get(1)?,
                    recipient: row.get(2)?,
                    places: Places(row.get(3)?),
                    hash: None,
                    bytes: 0,
                })
            })
            .optional()?;
        let of_owner = message.iter().flat_map(Message::entries);
        entries.extend(
            of_owner
                .filter(|(owner, entry)| *owner == filter.owner && filter.fits(entry, expired))
                .map(|(_, entry)| entry),
        );
    }
    Ok(entries)
}

/// Reads rows of the archive, of those that are asked for by their text only these.
struct Rows<'a> {
    statement: CachedStatement<'a>,
    owner: u32,
    full: Option<&'a str>,
    addressed: Option<(&'static str, &'a str)>,
}

/// The rows in the order of the ids: the array is outside. One statement for all of them, since the way into a statement
/// and out of it costs as much as a row, and the one row that stands behind the other is found without a search.
const ROWS: &str = "SELECT archive.id, archive.stanza
    FROM rarray(?1) AS wanted CROSS JOIN jackdaw_archive AS archive ON archive.id = wanted.value";
const ROWS_WITH_PARTIES: &str = "SELECT archive.id, archive.stanza, archive.sender, archive.recipient
    FROM rarray(?1) AS wanted CROSS JOIN jackdaw_archive AS archive ON archive.id = wanted.value";

impl<'a> Rows<'a> {
    fn new(connection: &'a Connection, range: &'a Range, owner: u32) -> Result<Rows<'a>, Error> {
        let full = full(range);
        let sql = if full.is_some() { ROWS_WITH_PARTIES } else { ROWS };
        Ok(Rows {
            statement: connection.prepare_cached(sql)?,
            owner,
            full,
            addressed: range.addressed.as_ref().map(|(name, jid)| (*name, &**jid)),
        })
    }

    /// Calls with each posting and its stanza until it is told to end; returns whether to go on.
    fn read(&mut self, entries: &[Entry], call: &mut dyn FnMut(&Entry, &str) -> bool) -> Result<bool, Error> {
        if entries.is_empty() {
            return Ok(true);
        }
        let ids: Vec<Value> = entries.iter().map(|entry| Value::Integer(entry.id)).collect();
        let mut rows = self.statement.query([Rc::new(ids)])?;
        let mut wanted = entries.iter();
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let entry = loop {
                match wanted.next() {
                    Some(entry) if entry.id == id => break entry,
                    Some(_) => lost(),
                    None => return Err(corrupt("the order of the archive")),
                }
            };
            let stanza = row.get_ref(1)?.as_str()?;
            if let Some(with) = self.full {
                let (sender, recipient): (u32, u32) = (row.get(2)?, row.get(3)?);
                let fits = (sender == self.owner && is_addressed(stanza, "to", with))
                    || (recipient == self.owner && is_addressed(stanza, "from", with));
                if !fits {
                    continue;
                }
            }
            if let Some((name, jid)) = self.addressed
                && !is_addressed(stanza, name, jid)
            {
                continue;
            }
            if !call(entry, stanza) {
                return Ok(false);
            }
        }
        wanted.for_each(|_| lost());
        Ok(true)
    }
}

/// What was deleted is known to be; so this row is lost, and the rest of the page is not.
fn lost() {
    tracing::error!("a message of the archive is missing in the database: it is damaged");
}

/// Called with postings; false ends it.
type Each<'a> = &'a mut dyn FnMut(&Entry) -> Result<bool, Error>;

impl Moment {
    /// Calls with all postings that fit in order, those of the tail being given.
    pub(super) fn each(
        &self,
        connection: &Connection,
        filter: &Filter,
        newest: bool,
        has_sealed: bool,
        tail: &[Entry],
        call: Each<'_>,
    ) -> Result<(), Error> {
        if !newest && has_sealed && !self.each_sealed(connection, filter, newest, call)? {
            return Ok(());
        }
        for entry in tail {
            if !call(entry)? {
                return Ok(());
            }
        }
        if newest && has_sealed {
            self.each_sealed(connection, filter, newest, call)?;
        }
        Ok(())
    }

    /// Returns whether to go on.
    fn each_sealed(
        &self,
        connection: &Connection,
        filter: &Filter,
        newest: bool,
        call: Each<'_>,
    ) -> Result<bool, Error> {
        let first = self.cut.of(filter.after.max(0));
        let last = self.cut.of(filter.before.max(1) - 1).min(self.sealed - 1);
        if first > last {
            return Ok(true);
        }
        let (buckets, postings) = if newest {
            (BUCKETS_DOWN, POSTINGS_DOWN)
        } else {
            (BUCKETS_UP, POSTINGS_UP)
        };
        let mut buckets = connection.prepare_cached(buckets)?;
        let mut postings = connection.prepare_cached(postings)?;
        let mut buckets = buckets.query((first, last, filter.start, filter.end))?;
        let mut entries = Vec::new();
        while let Some(row) = buckets.next()? {
            let bucket: i64 = row.get(0)?;
            // From the part that has the first id that may fit to the one that has the last.
            let (start, end) = (self.cut.start(bucket), self.cut.start(bucket + 1) - 1);
            let key = |id: i64| part_key(self.cut, filter.owner, id.clamp(start, end));
            // A key stands for several ids, so a part that begins with the key of `after` may begin behind it, and what
            // lies between is in the part before.
            let keys = (key(start), key(filter.after.max(0)) - 1, key(filter.before.max(1) - 1));
            let mut parts = postings.query(keys)?;
            while let Some(row) = parts.next()? {
                let part = unpack_entries(row.get_ref(0)?.as_blob()?, self.cut.start(bucket));
                entries.clear();
                for entry in part {
                    let entry = entry.ok_or_else(|| corrupt("a part of the archive's index"))?;
                    if entry.id >= filter.before {
                        break;
                    }
                    if !filter.fits(&entry, &self.expired) {
                        continue;
                    }
                    if newest {
                        // They can only be read from the front.
                        entries.push(entry);
                    } else if !call(&entry)? {
                        return Ok(false);
                    }
                }
                while let Some(entry) = entries.pop() {
                    if !call(&entry)? {
                        return Ok(false);
                    }
                }
            }
        }
        Ok(true)
    }
}

const BUCKETS_UP: &str = "SELECT bucket FROM jackdaw_archive_buckets
    WHERE bucket BETWEEN ?1 AND ?2 AND last_at >= ?3 AND first_at <= ?4 ORDER BY bucket";
const BUCKETS_DOWN: &str = "SELECT bucket FROM jackdaw_archive_buckets
    WHERE bucket BETWEEN ?1 AND ?2 AND last_at >= ?3 AND first_at <= ?4 ORDER BY bucket DESC";
/// The lower end is the last part that begins at or before ?2: it may go on behind that.
const POSTINGS_UP: &str = "SELECT entries FROM jackdaw_archive_postings
    WHERE place <= ?3 AND place >= coalesce(
        (SELECT max(place) FROM jackdaw_archive_postings WHERE place BETWEEN ?1 AND ?2), ?1)
    ORDER BY place";
const POSTINGS_DOWN: &str = "SELECT entries FROM jackdaw_archive_postings
    WHERE place <= ?3 AND place >= coalesce(
        (SELECT max(place) FROM jackdaw_archive_postings WHERE place BETWEEN ?1 AND ?2), ?1)
    ORDER BY place DESC";

#[cfg(test)]
mod tests {
    use super::*;

    /// The window between a COMMIT and the tail is too short to be hit by a test of the whole store.
    #[test]
    fn the_tail_must_be_of_the_same_commit() {
        let mut connection = Connection::open_in_memory().expect("memory is there");
        crate::schema::migrate(&mut connection, crate::schema::MIGRATIONS).expect("the steps are right");
        let opened = crate::archive::open(&mut connection, 4).expect("the file is new");
        let query = Query::Mark { key: 1 };
        let is_prepared = || {
            prepare(&connection, &opened.index, &query)
                .expect("the file can be read")
                .is_some()
        };
        assert!(is_prepared());
        connection
            .execute("INSERT INTO jackdaw_journal VALUES (1, x'')", [])
            .expect("the table is there");
        assert!(!is_prepared(), "the file is ahead");
        opened.index.write().seq = 1;
        assert!(is_prepared());
        opened.index.write().seq = 2;
        assert!(!is_prepared(), "the tail is ahead");
    }
}
