//! Push notifications (XEP-0357): a device that is away is told that messages have come.
//!
//! At the owner of an account, behind the commit of a message, it is decided for each service that the account has enabled
//! whether its device is told ([`Router::announce`]): one that is there and looked at is not. `sending` has what is on its
//! way to services. An account that has enabled none costs one look at [`Rare`](crate::account::Rare).

mod rooms;
mod sending;
mod services;

use stanza::{ErrorType, IqType, Jid, JidRef, Kind, MessageType, Stanza, StanzaError, ns};

use archive::Keeping;
use module::{Notice, Now, Push};
use store::{Batch, Query};

use crate::account::{Account, Moment};
use crate::durable::{After, require_account};
use crate::iq::Return;
use crate::turn::Work;
use crate::{Router, Turn};

pub(crate) use rooms::{News, RoomSettings, WithoutPush};
use sending::{Answered, Device, Follows, Summary};
pub(crate) use sending::{ID_PREFIX, Pushes};
pub(crate) use services::{PUSH, Registered};

/// What is told of messages, and how many devices of one account are told.
#[derive(Clone, Copy, Debug)]
pub struct PushRules {
    pub services_per_account: usize,
    /// Who has sent the last one.
    pub tells_sender: bool,
    /// What it says, unless that is encrypted.
    pub tells_body: bool,
}

impl Default for PushRules {
    fn default() -> PushRules {
        PushRules {
            services_per_account: 20,
            tells_sender: false,
            tells_body: false,
        }
    }
}

/// Characters of a body that are told.
const BODY_CHARACTERS: usize = 200;

/// What is told of a message that is worth it.
pub(crate) struct Announced {
    /// The bare JID of its sender.
    peer: Box<str>,
    sender: Option<Box<str>>,
    body: Option<Box<str>>,
}

impl Account {
    fn announces(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.push.is_empty())
    }

    fn device(&self, registered: &Registered) -> Device {
        Device {
            owner: self.jid.as_str().into(),
            service: registered.service.clone(),
            node: registered.node.clone(),
        }
    }
}

impl Router {
    /// Says what is told of messages; once, before anybody is let in.
    pub fn push_by(&self, rules: PushRules) {
        let _ = self.push_rules.set(rules);
    }

    fn push_rules(&self) -> PushRules {
        self.push_rules.get().copied().unwrap_or_default()
    }

    /// Sections 5 and 6: a client of the account changes what is announced where.
    #[allow(clippy::too_many_arguments)] // what an IQ request consists of
    pub(crate) fn change_push(
        &self,
        now: Now,
        account: &mut Account,
        change: Push,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let owner = account.jid.clone();
        let back = Return::of(stanza, from.to_owned(), to.to_owned());
        let mut batch = Batch::new();
        match change {
            Push::Enable(service) => {
                self.without_push.forget(owner.as_str());
                let resource = from.resource().unwrap_or_default();
                let session = account.resource(resource);
                let client = session.and_then(|session| session.client());
                let new = Registered::new(service, client, resource);
                let list = &mut account.rare_mut().push;
                let most = self.push_rules().services_per_account;
                let has_room = list.len() < most;
                match list.iter_mut().find(|old| old.is(&new.service, &new.node)) {
                    None if !has_room => {
                        let error = StanzaError::resource_constraint().kind(ErrorType::Cancel);
                        let error = error.text("too many push services are enabled; disable one");
                        return self.bounce(stanza, from, to, &error, turn);
                    }
                    None => {
                        batch = new.write(owner.as_str(), now.seconds(), batch);
                        list.push(new);
                    }
                    Some(old) => {
                        batch = new.write(owner.as_str(), now.seconds(), batch);
                        *old = new;
                    }
                }
            }
            Push::Disable { service, node } => {
                let ends = |it: &Registered| {
                    *it.service == *service.as_str() && node.as_ref().is_none_or(|node| it.node == *node)
                };
                let Some(rare) = &mut account.rare else {
                    return self.push_is_changed(account, batch, back, turn);
                };
                let ended: Vec<Registered> = rare.push.extract_if(.., |it| ends(it)).collect();
                for registered in ended {
                    batch = batch.delete(
                        &PUSH,
                        owner.as_str(),
                        &*services::key(&registered.service, &registered.node),
                    );
                    self.pushes.forget(&account.device(&registered));
                }
            }
        }
        self.push_is_changed(account, batch, back, turn);
    }

    fn push_is_changed(&self, account: &Account, mut batch: Batch, back: Return, turn: &mut Turn) {
        let owner: Box<str> = account.jid.as_str().into();
        require_account(account, &mut batch);
        let then = vec![After::letter(back.result(""))];
        let whose = owner.clone();
        let failed = move |error: &StanzaError| {
            let mut then = back.error(error);
            // What is on disk is the truth.
            then.push(After::Work(Work::ReadPush(whose)));
            then
        };
        self.write(&owner, batch, then, Box::new(failed), turn.receipt());
    }

    /// What could not be written is not so.
    pub(crate) fn read_push(&self, owner: &str) {
        self.when_read(owner, Query::all(&PUSH, owner), |router, owner, found| {
            let Ok(rows) = found.and_then(store::Found::rows) else {
                return;
            };
            let read = rows
                .into_iter()
                .filter_map(|(key, row)| Registered::of_row(&key, row))
                .collect();
            router.with(owner, |account| account.rare_mut().push = read);
        });
    }

    /// What is told of this message, if its recipient wants to be told of any and it is worth it.
    pub(crate) fn announced(
        &self,
        account: &Account,
        kind: MessageType,
        keeping: Keeping,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
    ) -> Option<Box<Announced>> {
        if !account.announces() || account.disabled || !(keeping.archive || keeping.wait) {
            return None;
        }
        if from.bare_str() == account.jid.as_str() || !archive::announces(kind, stanza) {
            return None;
        }
        Some(Box::new(self.announcement(stanza, from.as_str(), from.bare_str())))
    }

    /// What is told of a message. `peer`: with whom the account talks, a bare JID.
    fn announcement(&self, stanza: &Stanza<'_>, from: &str, peer: &str) -> Announced {
        let rules = self.push_rules();
        let is_encrypted = |child: &xmlstream::Child<'_>| {
            let encrypted = [
                ns::ENCRYPTION,
                ns::OMEMO,
                ns::OMEMO_LEGACY,
                ns::OPENPGP,
                ns::OPENPGP_LEGACY,
            ];
            encrypted.contains(&child.ns())
        };
        let body = || {
            let body = stanza.children().find(|child| child.is("body", ns::CLIENT))?;
            let is_shown = !stanza.children().any(|child| is_encrypted(&child));
            is_shown.then(|| body.text().chars().take(BODY_CHARACTERS).collect::<String>().into())
        };
        Announced {
            peer: peer.into(),
            sender: rules.tells_sender.then(|| from.into()),
            body: if rules.tells_body { body() } else { None },
        }
    }

    /// A message has come, and whoever takes it has it: devices that are away are told. `addressed`: the resource that it
    /// was for, if for one; `id`: of the message in the archive.
    pub(crate) fn announce(
        &self,
        account: &mut Account,
        announced: &Announced,
        addressed: Option<&str>,
        id: Option<i64>,
        turn: &mut Turn,
    ) {
        let now = Moment::of((self.clock)().seconds());
        let waiting = account.backlog.waiting();
        let Some(mut rare) = account.rare.take() else { return };
        for registered in &mut rare.push {
            let session = account.sessions.iter().find(|session| registered.is_of(session));
            match session {
                Some(session) if session.is_attached() && !session.outbox.is_inactive() => {
                    registered.unseen = 0;
                    registered.taken = id;
                    continue;
                }
                // It wants no messages but those for itself (RFC 6121 section 4.7.2.3).
                Some(session) if session.priority < 0 && addressed != Some(&*session.resource) => continue,
                _ => {}
            }
            let letter = self.tell_device(account, registered, waiting, announced, now);
            letter.into_iter().for_each(|letter| turn.letter(letter));
        }
        account.rare = Some(rare);
    }

    /// A device that is away is told of a message; what is to be sent for that now. `waiting`: messages that wait for the
    /// account.
    fn tell_device(
        &self,
        account: &Account,
        registered: &mut Registered,
        waiting: u64,
        announced: &Announced,
        now: Moment,
    ) -> Option<String> {
        registered.unseen = registered.unseen.saturating_add(1);
        registered.taken = None;
        let summary = Summary {
            count: waiting.max(registered.unseen.into()),
            sender: announced.sender.clone(),
            body: announced.body.clone(),
        };
        let device = account.device(registered);
        let peer = Some(&*announced.peer);
        self.pushes.announce(now, device, &registered.options, summary, peer)
    }

    /// The connection of a session broke, which waits to be resumed. What it was given and has not acknowledged may never
    /// have reached the device.
    pub(crate) fn announce_missed(&self, account: &mut Account, id: u64, turn: &mut Turn) {
        if !account.announces() {
            return;
        }
        let now = Moment::of((self.clock)().seconds());
        let Some(mut rare) = account.rare.take() else { return };
        if let Some(session) = account.session(id) {
            for registered in rare.push.iter_mut().filter(|it| it.is_of(session)) {
                let is_missed = |id| session.outbox.has_unacknowledged(id);
                if registered.taken.take().is_none_or(|id| !is_missed(id)) || session.priority < 0 {
                    continue;
                }
                registered.unseen = 1;
                let summary = Summary {
                    count: 1,
                    ..Summary::default()
                };
                let device = account.device(registered);
                let letter = self.pushes.announce(now, device, &registered.options, summary, None);
                letter.into_iter().for_each(|letter| turn.letter(letter));
            }
        }
        account.rare = Some(rare);
    }

    /// A device is here again: it is told by what it gets.
    pub(crate) fn device_is_back(&self, account: &mut Account, id: u64) {
        if !account.announces() {
            return;
        }
        let Some(mut rare) = account.rare.take() else { return };
        if let Some(session) = account.session(id) {
            for registered in rare.push.iter_mut().filter(|it| it.is_of(session)) {
                registered.unseen = 0;
                self.pushes.forget(&account.device(registered));
            }
        }
        account.rare = Some(rare);
    }

    /// A client of the account sends a message: who answers has read, and who says so (XEP-0333) too.
    pub(crate) fn reads_by_sending(&self, account: &Account, kind: MessageType, stanza: &Stanza<'_>, to: JidRef<'_>) {
        if !account.announces() {
            return;
        }
        let mut children = stanza.children();
        let displays = children.any(|child| child.is("displayed", ns::MARKERS));
        if displays || archive::announces(kind, stanza) {
            self.pushes.read(account.jid.as_str(), to.bare_str());
        }
    }

    /// Something has happened at a node of the account: it may say what was read (XEP-0490).
    pub(crate) fn reads_by_notice(&self, owner: &str, notice: &Notice, turn: &mut Turn) {
        if *notice.node != *ns::MDS_DISPLAYED || !self.pushes.has(owner) {
            return;
        }
        let text = notice.message.text_with(owner, Some(owner));
        self.read_letter(&text, turn, |stanza, _, _, _| {
            let event = stanza.children().find(|child| child.is("event", ns::PUBSUB_EVENT));
            let items = event.and_then(|event| event.child("items", ns::PUBSUB_EVENT));
            for item in items.iter().flat_map(|items| items.children()) {
                if let Some(peer) = item.attr("id").and_then(|id| Jid::parse(&id).ok()) {
                    self.pushes.read(owner, peer.bare_str());
                }
            }
        });
    }

    /// Somebody answers a request of the server, which may be a notification.
    pub(crate) fn push_answered(&self, now: Now, stanza: &Stanza<'_>, from: JidRef<'_>, turn: &mut Turn) {
        let Some(id) = stanza.id().filter(|id| id.starts_with(ID_PREFIX)) else {
            return;
        };
        let answer = match stanza.kind() {
            Kind::Iq(IqType::Result) => Answered::Taken,
            _ => answered_with(stanza),
        };
        let now = Moment::of(now.seconds());
        if let Some(follows) = self.pushes.answered(now, id, from.as_str(), answer) {
            self.follow_push(follows, turn);
        }
    }

    /// Sends again what was not taken; call every few seconds.
    pub(crate) fn tend_pushes(&self, now: Now, turn: &mut Turn) {
        let follows = self.pushes.tend(Moment::of(now.seconds()));
        self.follow_push(follows, turn);
    }

    fn follow_push(&self, follows: Follows, turn: &mut Turn) {
        for letter in follows.letters {
            turn.letter(letter);
        }
        for device in follows.ended {
            tracing::info!(
                account = &*device.owner,
                service = &*device.service,
                "a push service takes no more notifications for an account and is disabled"
            );
            self.end_push(&device);
        }
    }

    /// The access of a client was revoked (XEP-0494): it is told of nothing any more.
    pub(crate) fn forget_push_of(&self, owner: &str, client: &str) {
        let client: Box<str> = client.into();
        self.when_read(owner, Query::all(&PUSH, owner), move |router, owner, found| {
            let Ok(rows) = found.and_then(store::Found::rows) else {
                return;
            };
            let all = rows.into_iter().filter_map(|(key, row)| Registered::of_row(&key, row));
            for registered in all.filter(|registered| registered.is_of_client(&client)) {
                router.end_push(&Device {
                    owner: owner.into(),
                    service: registered.service,
                    node: registered.node,
                });
            }
        });
    }

    /// Nothing is announced there any more.
    fn end_push(&self, device: &Device) {
        self.pushes.forget(device);
        self.with(&device.owner, |account| {
            if let Some(rare) = &mut account.rare {
                rare.push.retain(|it| !it.is(&device.service, &device.node));
            }
        });
        let key = services::key(&device.service, &device.node);
        let batch = Batch::new().delete(&PUSH, &device.owner, &*key);
        // One that stays is ended again by the next notification.
        self.write(&device.owner, batch, Vec::new(), Box::new(|_| Vec::new()), None);
    }

    /// Section 8: whether this is the word of a service that it wants no more notifications; then it is done with.
    pub(crate) fn push_is_ended_by(&self, account: &mut Account, stanza: &Stanza<'_>, from: JidRef<'_>) -> bool {
        if !account.announces() {
            return false;
        }
        let Some(pubsub) = stanza.children().find(|child| child.is("pubsub", ns::PUBSUB)) else {
            return false;
        };
        let node = pubsub.attr("node").unwrap_or_default();
        let own = account.jid.as_str();
        let is_own = |jid: &str| Jid::parse(jid).is_ok_and(|jid| jid.as_str() == own);
        let mut affiliations = pubsub.children().filter(|child| child.name() == "affiliation");
        let is_none = affiliations.any(|affiliation| {
            affiliation.attr("affiliation").as_deref() == Some("none")
                && affiliation.attr("jid").is_some_and(|jid| is_own(&jid))
        });
        let Some(rare) = account.rare.as_mut().filter(|_| is_none) else {
            return false;
        };
        let Some(at) = rare.push.iter().position(|it| it.is(from.as_str(), &node)) else {
            return false;
        };
        let registered = rare.push.remove(at);
        let device = account.device(&registered);
        self.pushes.forget(&device);
        let key = services::key(&device.service, &device.node);
        let batch = Batch::new().delete(&PUSH, own, &*key);
        self.write(&device.owner, batch, Vec::new(), Box::new(|_| Vec::new()), None);
        true
    }
}

/// Section 7.1: what may pass is tried again, by the type of the error (RFC 6120 section 8.3.2) and by those conditions
/// that servers on the way say of themselves.
fn answered_with(stanza: &Stanza<'_>) -> Answered {
    let error = stanza.children().find(|child| child.is("error", ns::CLIENT));
    let Some(error) = error else { return Answered::Refused };
    let condition = error
        .children()
        .find(|child| child.ns() == ns::STANZAS && child.name() != "text");
    let condition = condition.map(|condition| condition.name());
    let passes = [
        "remote-server-not-found",
        "remote-server-timeout",
        "internal-server-error",
    ];
    if error.attr("type").as_deref() == Some("wait") || condition.is_some_and(|it| passes.contains(&it)) {
        Answered::NotNow
    } else {
        Answered::Refused
    }
}
