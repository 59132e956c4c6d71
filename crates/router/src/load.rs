//! Accounts come into memory when something concerns them, and leave when nobody uses them.

use std::collections::BTreeMap;
use std::sync::Arc;

use accounts::ACCOUNTS;
use module::{LastActivity, Now};
use offline::Backlog;
use presence::blocking::{BLOCKED, BlockList};
use presence::photo::{PHOTO, Picture};
use presence::{Change, ROSTER, ROSTER_VERSION, Roster};
use stanza::{Jid, JidRef, Stanza, StanzaError, StreamError};
use store::{Column, ColumnKind, Found, Query, Row, Shape, StoreError, Table, Value, Wrote};

use crate::access::Whose;
use crate::account::{Account, Moment, Rare, Session};
use crate::arrival::Arrived;
use crate::deposit::Origin;
use crate::durable::End;
use crate::iq::Return;
use crate::push::{News, PUSH, Registered};
use crate::resume::ResumeRequest;
use crate::saved::SavedSessions;
use crate::sessions::{BindRequest, Ending, escaped};
use crate::shard::{Loading, Slot};
use crate::strangers::ACQUAINTED;
use crate::turn::Work;
use crate::{Bound, Event, Router, Turn};

/// When an account was last online and the status it left (XEP-0012).
pub static LAST_ACTIVITY: Table = Table {
    name: "last_activity",
    shape: Shape::KeyVal,
    columns: &[
        Column {
            name: "at",
            kind: ColumnKind::Int,
        },
        Column {
            name: "status",
            kind: ColumnKind::Text,
        },
    ],
};

pub(crate) fn last_activity_row(last: &LastActivity) -> Row {
    vec![Value::Int(last.at), Value::Text(last.status.as_str().into())]
}

/// An input that waits for its account.
pub(crate) enum Held {
    Letter(Box<str>, Option<Origin>),
    Bind(BindRequest),
    Resume(ResumeRequest),
    Restore(SavedSessions),
    End(Whose),
    Arrived(Box<Arrived>),
    /// An account that was made with an invitation of this one.
    Introduced(Box<str>),
    /// A message of a room that its devices are told of.
    News(Arc<News>),
}

impl Router {
    /// Runs `act` on the account, or keeps `held` until it has been loaded. `act` is given the
    /// account, `held` is only made where it must wait.
    pub(crate) fn with_or_hold(
        &self,
        turn: &mut Turn,
        bare: JidRef<'_>,
        act: impl FnOnce(&mut Account, &mut Turn),
        held: impl FnOnce(&mut Turn) -> Held,
    ) -> Result<(), StanzaError> {
        let hash = self.hash(bare.as_str());
        let mut shard = self.lock(hash);
        let waiting = match shard.get_mut(hash, bare.as_str()) {
            Some(Slot::Ready(account)) => match &mut account.stale {
                Some(waiting) => &mut **waiting,
                None => {
                    act(account, turn);
                    return Ok(());
                }
            },
            Some(Slot::Loading(loading)) => &mut loading.waiting,
            None => {
                let jid = bare.to_owned();
                let slot = Slot::Loading(Loading {
                    jid: jid.clone(),
                    waiting: vec![held(turn)],
                    again: false,
                });
                shard.insert(hash, slot, |slot| self.hash(slot.jid()));
                drop(shard);
                self.load(jid);
                return Ok(());
            }
        };
        if waiting.len() >= self.limits.loading_stanzas {
            return Err(StanzaError::resource_constraint());
        }
        waiting.push(held(turn));
        Ok(())
    }

    /// As [`Router::with_or_hold`], for something that is used up either way. Returned where too much waits already.
    pub(crate) fn give_or_hold<T>(
        &self,
        turn: &mut Turn,
        bare: JidRef<'_>,
        value: T,
        act: impl FnOnce(&mut Account, T, &mut Turn),
        held: impl FnOnce(T) -> Held,
    ) -> Result<(), (T, StanzaError)> {
        // One of the two closures takes it.
        let value = std::cell::Cell::new(Some(value));
        let done = self.with_or_hold(
            turn,
            bare,
            |account, turn| {
                if let Some(value) = value.take() {
                    act(account, value, turn);
                }
            },
            |_| match value.take() {
                Some(value) => held(value),
                // `with_or_hold` runs exactly one of the two, once.
                None => unreachable!("a value is given once"),
            },
        );
        match (done, value.take()) {
            (Err(error), Some(value)) => Err((value, error)),
            _ => Ok(()),
        }
    }

    fn load(&self, jid: Jid) {
        let owner = jid.as_str();
        // One at least: whether anything waits has to be known also where nothing may.
        let most = self.limits.offline_messages.max(1);
        let query = Query::Many(vec![
            Query::get(&ACCOUNTS, owner, None),
            Query::all(&ROSTER, owner),
            Query::get(&ROSTER_VERSION, owner, None),
            Query::get(&LAST_ACTIVITY, owner, None),
            Query::waiting(owner, usize::try_from(most).unwrap_or(usize::MAX)),
            Query::get(&archive::PREFS, owner, None),
            Query::all(&BLOCKED, owner),
            Query::get(&PHOTO, owner, None),
            Query::all(&ACQUAINTED, owner),
            Query::all(&PUSH, owner),
        ]);
        let me = self.me.clone();
        self.store.read(
            query,
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                router.loaded(&jid, found.and_then(|found| read_account(&jid, found, most)));
            }),
        );
    }

    fn loaded(&self, jid: &Jid, account: Result<Option<Account>, StoreError>) {
        let now = (self.clock)();
        let mut turn = Turn::default();
        let hash = self.hash(jid.as_str());
        let mut shard = self.lock(hash);
        let Some(slot) = shard.get_mut(hash, jid.as_str()) else {
            return;
        };
        let Slot::Loading(loading) = slot else { return };
        if std::mem::take(&mut loading.again) {
            drop(shard);
            return self.load(jid.clone());
        }
        let waiting = std::mem::take(&mut loading.waiting);
        match account {
            Ok(Some(mut account)) => {
                account.touched = Moment::of(now.seconds());
                *slot = Slot::Ready(account);
                let Slot::Ready(account) = slot else { return };
                self.let_in(now, account, waiting, &mut turn);
                drop(shard);
            }
            Ok(None) => {
                shard.remove(hash, jid.as_str());
                drop(shard);
                for held in waiting {
                    match held {
                        Held::Letter(text, origin) => {
                            self.read_held(&text, origin, &mut turn, |stanza, from, to, turn| {
                                self.no_such_user(stanza, from, to, turn);
                            });
                        }
                        // Removed between the login and the binding.
                        Held::Bind(request) => request.refuse(&mut turn, StanzaError::not_authorized()),
                        Held::Resume(request) => request.refuse(&mut turn, StanzaError::not_authorized()),
                        Held::Restore(_) | Held::End(_) | Held::News(_) => {}
                        Held::Arrived(arrived) => turn.queue.push_back(Work::LooksOn(arrived)),
                        Held::Introduced(account) => self.introduced(&account),
                    }
                }
            }
            Err(error) => {
                tracing::error!(account = %jid, %error, "an account could not be read; what was for it is answered with an error");
                shard.remove(hash, jid.as_str());
                drop(shard);
                self.turn_away(waiting, &Err(error), &mut turn);
            }
        }
        self.settle(now, &mut turn);
        turn.finish();
    }

    /// What waited for the account reaches it.
    fn let_in(&self, now: Now, account: &mut Account, waiting: Vec<Held>, turn: &mut Turn) {
        for held in waiting {
            match held {
                Held::Letter(text, origin) => self.read_held(&text, origin, turn, |stanza, from, to, turn| {
                    self.incoming(now, account, stanza, from, to, turn);
                }),
                Held::Bind(request) => self.bind_now(now, account, request, turn),
                Held::Resume(request) => self.resume_now(now, account, request, turn),
                Held::Restore(saved) => self.put_sessions_back(now, account, saved, turn),
                Held::End(whose) => self.end_now(now, account, &whose, turn),
                Held::Arrived(arrived) => self.look_at(now, account, arrived, turn),
                Held::Introduced(new) => self.meet_now(account, new),
                Held::News(news) => self.tell_devices(account, &news, turn),
            }
        }
    }

    /// What waited for an account that cannot be read is answered with an error, unless it comes again.
    fn turn_away(&self, waiting: Vec<Held>, failed: &Result<Wrote, StoreError>, turn: &mut Turn) {
        for held in waiting {
            match held {
                Held::Letter(text, mut origin) => {
                    let receipt = origin
                        .as_mut()
                        .and_then(|origin| origin.receipt.take_if(|receipt| receipt.comes_again()));
                    let end = End::of(receipt, failed);
                    self.read_held(&text, origin, turn, |stanza, from, to, turn| {
                        if end.is_told() {
                            self.answer_with_error(stanza, from, to, &store_failed(), turn);
                        }
                    });
                    self.ends(end);
                }
                Held::Bind(request) => request.refuse(turn, store_failed()),
                Held::Resume(request) => request.refuse(turn, store_failed()),
                Held::Restore(_) | Held::End(_) | Held::News(_) => {}
                Held::Arrived(arrived) => turn.queue.push_back(Work::LooksOn(arrived)),
                // Left to the next start.
                Held::Introduced(_) => {}
            }
        }
    }

    /// Reads a stanza that has waited; then those behind it may follow.
    pub(crate) fn read_held(
        &self,
        text: &str,
        origin: Option<Origin>,
        turn: &mut Turn,
        act: impl FnOnce(&Stanza<'_>, JidRef<'_>, JidRef<'_>, &mut Turn),
    ) {
        let awaited = origin.as_ref().filter(|origin| origin.is_awaited);
        let awaited = awaited.map(|origin| Arc::clone(&origin.outbox));
        turn.origin = origin;
        self.read_letter(text, turn, act);
        turn.origin = None;
        if let Some(outbox) = awaited {
            turn.proceed(outbox);
        }
    }

    /// Reads a stanza that the server wrote itself: it has `from` and `to`.
    pub(crate) fn read_letter(
        &self,
        text: &str,
        turn: &mut Turn,
        act: impl FnOnce(&Stanza<'_>, JidRef<'_>, JidRef<'_>, &mut Turn),
    ) {
        let mut scratch = std::mem::take(&mut turn.scratch);
        match xmlstream::parse_element(text, stanza::ns::CLIENT, &mut scratch, &crate::OWN_LIMITS) {
            Ok(element) => match Stanza::read(element) {
                Ok(Some(stanza)) => match (stanza.from(), stanza.to()) {
                    (Some(from), Some(to)) => act(&stanza, from, to, turn),
                    _ => tracing::error!("a stanza of our own has no address; this is a defect"),
                },
                _ => tracing::error!("a stanza of our own is not a stanza; this is a defect"),
            },
            Err(error) => tracing::error!(?error, "a stanza of our own is not well-formed; this is a defect"),
        }
        turn.scratch = scratch;
    }

    /// Reads the roster and the block list anew after a change of them could not be written: what is on disk is the
    /// truth. The account is `stale` meanwhile.
    pub(crate) fn reload(&self, owner: &str) {
        let query = Query::Many(vec![
            Query::all(&ROSTER, owner),
            Query::get(&ROSTER_VERSION, owner, None),
            Query::all(&BLOCKED, owner),
        ]);
        let me = self.me.clone();
        let owner: Box<str> = owner.into();
        self.store.read(
            query,
            Box::new(move |found| {
                if let (Some(router), false) = (me.upgrade(), matches!(found, Err(StoreError::Closed))) {
                    router.reloaded(&owner, found);
                }
            }),
        );
    }

    fn reloaded(&self, owner: &str, found: Result<Found, StoreError>) {
        let now = (self.clock)();
        let mut turn = Turn::default();
        match found.and_then(read_changes) {
            Ok((roster, blocked)) => {
                self.with(owner, |account| {
                    // One that was forgotten and read again is not behind.
                    let Some(waiting) = account.stale.take() else { return };
                    account.roster = roster;
                    if account.rare.is_some() || !blocked.is_empty() {
                        account.rare_mut().blocked = blocked;
                    }
                    self.let_in(now, account, *waiting, &mut turn);
                });
            }
            Err(error) => {
                tracing::error!(account = owner, %error, "an account could not be read again; its sessions end");
                let waiting = self.with(owner, |account| account.stale.take());
                let waiting = waiting.flatten().map_or_else(Vec::new, |waiting| *waiting);
                self.turn_away(waiting, &Err(error), &mut turn);
                // Nothing is known of it any more; it is read when somebody asks for it.
                self.expel(owner, &StreamError::internal_server_error());
            }
        }
        self.settle(now, &mut turn);
        turn.finish();
    }

    /// Ends every session of an account and forgets it: it was removed or disabled, or its
    /// password was changed.
    pub fn expel(&self, bare: &str, error: &StreamError) {
        let now = (self.clock)();
        let mut turn = Turn::default();
        let ended = self
            .with(bare, |account| {
                for session in &account.sessions {
                    session.outbox.tell(&mut turn, Event::End(error.clone()));
                }
                let bound = |session: &Session| {
                    Some(Bound {
                        jid: account.jid.with_resource(&session.resource).ok()?,
                        id: session.id,
                        outbox: Arc::clone(&session.outbox),
                    })
                };
                account.sessions.iter().filter_map(bound).collect::<Vec<_>>()
            })
            .unwrap_or_default();
        for bound in ended {
            if let Some(rest) = self.close(now, bare, bound.id, Ending::Final, &mut turn).flatten() {
                turn.queue.push_back(Work::Undelivered(bound, rest));
            }
        }
        self.pushes.forget_all(bare);
        let hash = self.hash(bare);
        let mut shard = self.lock(hash);
        match shard.get_mut(hash, bare) {
            Some(Slot::Ready(account)) => {
                if let Some(cursor) = account.backlog.to_save() {
                    self.write_cursors(vec![(account.jid.clone(), cursor)]);
                }
                let account_jid = account.jid.clone();
                for held in account.stale.take().map_or_else(Vec::new, |waiting| *waiting) {
                    match held {
                        Held::Letter(text, None) => turn.queue.push_back(Work::Letter(text)),
                        Held::Letter(text, Some(mut origin)) => {
                            if std::mem::take(&mut origin.is_awaited) {
                                origin.outbox.tell(&mut turn, Event::Proceed);
                            }
                            turn.queue.push_back(Work::Sent(text, origin));
                        }
                        Held::Bind(request) => request.refuse(&mut turn, StanzaError::not_authorized()),
                        Held::Resume(request) => request.refuse(&mut turn, StanzaError::not_authorized()),
                        Held::Restore(_) | Held::End(_) | Held::News(_) => {}
                        Held::Arrived(arrived) => turn.queue.push_back(Work::LooksOn(arrived)),
                        Held::Introduced(account) => {
                            turn.queue.push_back(Work::Introduce(account_jid.clone(), account))
                        }
                    }
                }
                shard.remove(hash, bare);
            }
            Some(Slot::Loading(loading)) => {
                loading.again = true;
                // Who has logged in as the account was, and what was to be put back of it.
                let (ended, rest) = std::mem::take(&mut loading.waiting)
                    .into_iter()
                    .partition(|held| !matches!(held, Held::Letter(..)));
                loading.waiting = rest;
                for held in ended {
                    match held {
                        Held::Bind(request) => request.refuse(&mut turn, StanzaError::not_authorized()),
                        Held::Resume(request) => request.refuse(&mut turn, StanzaError::not_authorized()),
                        Held::Letter(..) | Held::Restore(_) | Held::End(_) | Held::News(_) => {}
                        Held::Arrived(arrived) => turn.queue.push_back(Work::LooksOn(arrived)),
                        Held::Introduced(account) => {
                            turn.queue.push_back(Work::Introduce(loading.jid.clone(), account))
                        }
                    }
                }
            }
            None => {}
        }
        drop(shard);
        self.settle(now, &mut turn);
        turn.finish();
    }

    /// An account is about to be removed: those who see its presence, or whom it sees, are told
    /// that the subscriptions have ended (XEP-0077 section 3.2). Blocking: not on a worker.
    pub fn tell_contacts_of_removal(&self, jid: &Jid) {
        let owner = jid.as_str();
        let roster = self.store.read_wait(Query::all(&ROSTER, owner)).and_then(Found::rows);
        let roster = match roster
            .map_err(|error| error.to_string())
            .and_then(|rows| Roster::load(rows, None).map_err(|error| error.to_string()))
        {
            Ok(roster) => roster,
            Err(error) => {
                tracing::error!(
                    account = owner,
                    error,
                    "the contacts of a removed account could not be told"
                );
                return;
            }
        };
        let mut turn = Turn::default();
        for item in roster.iter() {
            let state = item.state;
            let mut tell = |change: Change| {
                let (from, to) = (escaped(owner), escaped(&item.jid));
                turn.letter(format!(
                    "<presence from='{from}' to='{to}' type='{}'/>",
                    change.as_str()
                ));
            };
            if state.subscription.to() || state.pending_out {
                tell(Change::Unsubscribe);
            }
            if state.subscription.from() || state.pending_in {
                tell(Change::Unsubscribed);
            }
        }
        self.settle((self.clock)(), &mut turn);
        turn.finish();
    }

    /// The account is no more, or new: it has nothing at the nodes of the service of its domain, so that nobody inherits them
    /// by a name. Goes on by itself.
    pub fn leave_nodes(&self, jid: &Jid) {
        let Some(nodes) = self.registry().nodes() else { return };
        let Ok(service) = Jid::parse(&format!("{}.{}", nodes.service, jid.domain())) else {
            return;
        };
        if self.service(service.as_str()).is_none() {
            return;
        }
        let (query, make) = (nodes.leave)(service.as_str(), jid.bare_str());
        let mut turn = Turn::default();
        let back = Return::nobody(jid.clone(), service.clone());
        self.change(service.as_str(), 0, query, make, back, &mut turn);
        self.settle((self.clock)(), &mut turn);
        turn.finish();
    }

    /// Forgets accounts that nobody has used for a while; call now and then.
    pub fn sweep(&self, now: Now) {
        let horizon = Moment::of(now.seconds() - self.limits.idle_account_seconds);
        let keep = |slot: &Slot| match slot {
            Slot::Ready(account) => {
                !account.sessions.is_empty() || account.stale.is_some() || account.touched > horizon
            }
            Slot::Loading(_) => true,
        };
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            shard.retain(keep, |slot| self.hash(slot.jid()));
        }
        self.sweep_rooms(horizon);
    }

    /// Lets the connections look after clients that were not heard for so many seconds
    /// ([`Event::Silent`]); call several times in that period. One walk over all sessions now and
    /// then costs less, and much less memory, than a timer in each of them.
    pub fn look_for_silence(&self, now: Now, seconds: u32) {
        let mut turn = Turn::default();
        self.look_for_silent_components(now, seconds, &mut turn);
        self.look_for_silent_remotes(now, seconds, &mut turn);
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for slot in shard.iter() {
                if let Slot::Ready(account) = slot {
                    for session in &account.sessions {
                        session.outbox.tell_if_silent(now, seconds, &mut turn);
                    }
                }
            }
            drop(shard);
            turn.finish();
        }
    }
}

/// What a peer is told when the store cannot be read (RFC 6120 section 8.3.3.6).
pub(crate) fn store_failed() -> StanzaError {
    StanzaError::internal_server_error().kind(stanza::ErrorType::Wait)
}

/// What an owner changes in memory first.
fn read_changes(found: Found) -> Result<(Roster, BlockList), StoreError> {
    let mut parts = found.many()?.into_iter();
    let (Some(rows), Some(version), Some(blocked)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(StoreError::Misuse("an answer is missing".into()));
    };
    let roster =
        Roster::load(rows.rows()?, version.row()?.as_ref()).map_err(|error| StoreError::Misuse(error.to_string()))?;
    let blocked = BlockList::new(blocked.rows()?.into_iter().map(|(address, _)| address));
    Ok((roster, blocked))
}

/// `most`: so many of the messages that wait were counted.
fn read_account(jid: &Jid, found: Found, most: u64) -> Result<Option<Account>, StoreError> {
    let mut parts = found.many()?.into_iter();
    let mut next = || {
        parts
            .next()
            .ok_or_else(|| StoreError::Misuse("an answer is missing".into()))
    };
    let Some(row) = next()?.row()? else { return Ok(None) };
    let record =
        accounts::Account::from_row(jid.as_str(), &row).map_err(|error| StoreError::Misuse(error.to_string()))?;
    let rows = next()?.rows()?;
    let version = next()?.row()?;
    let last = next()?.row()?;
    let (cursor, waiting) = next()?.waiting()?;
    let prefs = next()?.row()?.map(|row| archive::prefs_of(&row));
    let blocked = BlockList::new(next()?.rows()?.into_iter().map(|(address, _)| address));
    let photo = next()?.row()?.map(|row| Picture::read(&row).photo());
    let since = |row: Row| row.first().and_then(Value::as_int).unwrap_or_default();
    let acquainted = next()?.rows()?.into_iter();
    let acquainted: BTreeMap<Box<str>, i64> = acquainted.map(|(who, row)| (who, since(row))).collect();
    let push = next()?.rows()?.into_iter();
    let push: Vec<Registered> = push.filter_map(|(key, row)| Registered::of_row(&key, row)).collect();
    let roster = Roster::load(rows, version.as_ref()).map_err(|error| StoreError::Misuse(error.to_string()))?;
    let last = last.map(|row| {
        let mut values = row.into_iter();
        let at = match values.next() {
            Some(Value::Int(at)) => at,
            _ => 0,
        };
        let status = match values.next() {
            Some(Value::Text(status)) => status.into(),
            _ => String::new(),
        };
        Box::new(LastActivity { at, status })
    });
    let account = Account {
        jid: jid.clone(),
        disabled: record.disabled,
        admin: record.admin,
        roster,
        sessions: Vec::new(),
        requests: (0, 0),
        backlog: if waiting < most {
            Backlog::new(cursor, waiting)
        } else {
            Backlog::new(cursor, waiting).and_maybe_more()
        },
        rare: (prefs.is_some() || !blocked.is_empty() || !push.is_empty() || !acquainted.is_empty() || photo.is_some())
            .then(|| {
                Box::new(Rare {
                    prefs,
                    blocked,
                    push,
                    rooms: Default::default(),
                    acquainted,
                    elsewhere: Default::default(),
                    guest: None,
                    photo,
                })
            }),
        unsettled: Default::default(),
        undecided: 0,
        stale: None,
        last,
        touched: Moment::default(),
    };
    Ok(Some(account))
}
