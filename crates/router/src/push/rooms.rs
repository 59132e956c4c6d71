//! Notifications for messages of rooms: who is in a room with a device that is away, and who belongs to a room and is in it
//! with none (XEP-0357; XEP-0492 section 4 has what is told to whom).
//!
//! The settings stand in the account's bookmark of the room. They are read when they are needed for the first time, and
//! forgotten when the bookmarks change. Who belongs to a room, but has no bookmark of it by which his clients enter it, has
//! left it and is told nothing, unless the bookmark says otherwise.
//!
//! An account without push services costs one look in either case: in memory at its own entry, else in
//! [`WithoutPush`].

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use module::{ChatSetting, Notify};
use muc::Mentions;
use stanza::{Jid, Kind, MessageType, Stanza, ns};
use store::{Found, Query, StoreError};

use crate::account::{Account, Moment};
use crate::load::Held;
use crate::rooms::Place;
use crate::{Router, Turn};

use super::{Announced, PUSH};

/// Rooms of an account whose settings are in memory. Of one more they are read each time.
const SETTINGS: usize = 64;

/// Accounts of which is known that they have no push services. Where there are more, all are forgotten, and asked for anew.
const WITHOUT: usize = 100_000;

/// Accounts that are told of nothing, as far as it was asked for: bare JIDs.
#[derive(Default)]
pub(crate) struct WithoutPush(Mutex<HashSet<Box<str>>>);

impl WithoutPush {
    fn lock(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, owner: &str) {
        let mut all = self.lock();
        if all.len() >= WITHOUT {
            all.clear();
        }
        all.insert(owner.into());
    }

    /// It has one now.
    pub(super) fn forget(&self, owner: &str) {
        self.lock().remove(owner);
    }
}

/// A message of a room that is worth telling.
pub(crate) struct News {
    room: Jid,
    /// The occupant that said it.
    from: Box<str>,
    mentions: Mentions,
    announced: Announced,
}

/// An account that is to be told, if it wants to be.
struct Candidate {
    owner: Box<str>,
    /// It is in the room, with one client at least.
    is_there: bool,
    is_mentioned: bool,
}

/// What is known of what an account wants.
pub(crate) enum Known {
    Nothing,
    Setting(Option<ChatSetting>),
}

/// Settings that an account has of rooms, as far as they were asked for.
#[derive(Default)]
pub(crate) struct RoomSettings {
    known: Vec<(Box<str>, Option<ChatSetting>)>,
    /// How often they have changed.
    changes: u64,
}

impl RoomSettings {
    fn of(&self, room: &str) -> Known {
        let known = self.known.iter().find(|(other, _)| **other == *room);
        known.map_or(Known::Nothing, |(_, setting)| Known::Setting(*setting))
    }

    fn learn(&mut self, room: &str, setting: Option<ChatSetting>, changes: u64) {
        if self.changes == changes && self.known.len() < SETTINGS && matches!(self.of(room), Known::Nothing) {
            self.known.push((room.into(), setting));
        }
    }
}

/// Whether a setting lets a message through. `usually`: where it says nothing.
fn wants(setting: Option<ChatSetting>, usually: Notify, candidate: &Candidate) -> bool {
    let said = setting.and_then(|setting| setting.notify);
    let joins = setting.is_some_and(|setting| setting.joins);
    // Nobody says that he wants to hear of a room that he has left.
    if said.is_none() && !candidate.is_there && !joins {
        return false;
    }
    match said.unwrap_or(usually) {
        Notify::Always => true,
        Notify::OnMention => candidate.is_mentioned,
        Notify::Never => false,
    }
}

impl Account {
    /// A device is away that is told of messages.
    fn has_device_away(&self) -> bool {
        let Some(rare) = &self.rare else { return false };
        let is_here = |it: &super::Registered| {
            let session = self.sessions.iter().find(|session| it.is_of(session));
            session.is_some_and(|session| session.is_attached() && !session.outbox.is_inactive())
        };
        !self.disabled && rare.push.iter().any(|it| !is_here(it))
    }

    /// Whether it may have to be told of what is said in a room in which it is.
    pub(crate) fn may_hear_of(&self, from: &str) -> bool {
        self.has_device_away() && !self.blocks(from)
    }
}

impl Router {
    /// What is told of a message of a room; none if it is not worth it.
    pub(crate) fn news(&self, room: &Jid, stanza: &Stanza<'_>, from: &str) -> Option<News> {
        if stanza.kind() != Kind::Message(MessageType::Groupchat) || !archive::speaks(stanza) {
            return None;
        }
        // What was said before, for somebody who comes in.
        let is_past = |delay: xmlstream::Child<'_>| delay.attr("from").as_deref() == Some(room.bare_str());
        if stanza
            .children()
            .any(|child| child.is("delay", ns::DELAY) && is_past(child))
        {
            return None;
        }
        Some(News {
            room: room.clone(),
            from: from.into(),
            mentions: Mentions::of(stanza),
            announced: self.announcement(stanza, from, room.bare_str()),
        })
    }

    /// A message was delivered to everybody in its room: who is away is told. `there`: accounts in the room that may have to
    /// be, by bare JID.
    pub(crate) fn announce_of_room(&self, place: &Place, news: News, there: Vec<Box<str>>, turn: &mut Turn) {
        let Ok(from) = Jid::parse(&news.from) else { return };
        let is_ours = |bare: &str| {
            let domain = bare.split_once('@').map(|(_, domain)| domain);
            let host = domain.and_then(|domain| self.host(domain));
            host.is_some_and(|host| host.guests.is_none())
        };
        let judged = place.with_room(|room| {
            let sender = room.person(from.as_ref()).map(Box::from);
            let candidate = |owner: Box<str>, is_there| Candidate {
                is_mentioned: room.mentions(&news.mentions, &owner),
                is_there,
                owner,
            };
            let without = self.without_push.lock();
            let away = room.away(&news.mentions, |bare| is_ours(bare) && !without.contains(bare));
            drop(without);
            let there = there.into_iter().map(|owner| candidate(owner, true));
            let mut all: Vec<Candidate> = there.collect();
            all.extend(away.into_iter().map(|jid| candidate(jid.as_str().into(), false)));
            all.retain(|candidate| Some(&candidate.owner) != sender.as_ref());
            (all, room.usually_told())
        });
        let Some((candidates, usually)) = judged else { return };
        let news = Arc::new(news);
        for candidate in candidates {
            let known = self.with(&candidate.owner, |account| {
                let settings = account.rare.as_ref().map(|rare| &rare.rooms);
                settings.map_or((Known::Nothing, 0), |rooms| {
                    (rooms.of(news.room.bare_str()), rooms.changes)
                })
            });
            match known {
                Some((Known::Setting(setting), _)) => {
                    if wants(setting, usually, &candidate) {
                        self.tell_account(&candidate.owner, &news, turn);
                    }
                }
                Some((Known::Nothing, changes)) => self.ask_settings(candidate, usually, Arc::clone(&news), changes),
                None => self.ask_settings(candidate, usually, Arc::clone(&news), 0),
            }
        }
    }

    /// Asks the store what an account wants, and whether it is told of anything at all.
    fn ask_settings(&self, candidate: Candidate, usually: Notify, news: Arc<News>, changes: u64) {
        let owner = candidate.owner.clone();
        let mut queries = vec![Query::all(&PUSH, &owner)];
        let settings = self.registry.chat_settings();
        queries.extend(settings.map(|settings| (settings.ask)(&owner, news.room.bare_str())));
        self.when_read(&owner, Query::Many(queries), move |router, owner, found| {
            let read = |found: Found| -> Result<(bool, Option<ChatSetting>), StoreError> {
                let mut found = found.many()?.into_iter();
                let has_push = !found.next().map_or(Ok(Vec::new()), Found::rows)?.is_empty();
                let setting = match settings.zip(found.next()) {
                    Some((settings, found)) => (settings.read)(found)?,
                    None => None,
                };
                Ok((has_push, setting))
            };
            let Ok((has_push, setting)) = found.and_then(read) else {
                return;
            };
            if !has_push {
                router.has_no_push(owner);
                return;
            }
            router.with(owner, |account| {
                account.rare_mut().rooms.learn(news.room.bare_str(), setting, changes);
            });
            if wants(setting, usually, &candidate) {
                let mut turn = Turn::default();
                router.tell_account(owner, &news, &mut turn);
                router.settle((router.clock)(), &mut turn);
                turn.finish();
            }
        });
    }

    fn tell_account(&self, owner: &str, news: &Arc<News>, turn: &mut Turn) {
        let Ok(jid) = Jid::parse(owner) else { return };
        let told = self.with_or_hold(
            turn,
            jid.as_ref(),
            |account, turn| self.tell_devices(account, news, turn),
            |_| Held::News(Arc::clone(news)),
        );
        // The next message is told.
        drop(told);
    }

    /// Devices of the account that are away are told.
    pub(crate) fn tell_devices(&self, account: &mut Account, news: &News, turn: &mut Turn) {
        if account.disabled || account.blocks(&news.from) {
            return;
        }
        let now = Moment::of((self.clock)().seconds());
        let waiting = account.backlog.waiting();
        let Some(mut rare) = account.rare.take() else { return };
        for registered in &mut rare.push {
            let session = account.sessions.iter().find(|session| registered.is_of(session));
            if session.is_some_and(|session| session.is_attached() && !session.outbox.is_inactive()) {
                continue;
            }
            let letter = self.tell_device(account, registered, waiting, &news.announced, now);
            letter.into_iter().for_each(|letter| turn.letter(letter));
        }
        account.rare = Some(rare);
    }

    /// The bookmarks of an account have changed, and with them what it wants to be told.
    pub(crate) fn forget_room_settings(&self, owner: &str, node: &str) {
        if *node != *ns::BOOKMARKS {
            return;
        }
        self.with(owner, |account| {
            if let Some(rare) = &mut account.rare {
                rare.rooms.known.clear();
                rare.rooms.changes += 1;
            }
        });
    }

    /// The store says that an account is told of nothing.
    fn has_no_push(&self, owner: &str) {
        self.without_push.note(owner);
        // It may have said otherwise meanwhile.
        if self.with(owner, |account| account.announces()) == Some(true) {
            self.without_push.forget(owner);
        }
    }
}
