//! Presence of an account's own resources: broadcast, probes, directed (RFC 6121 section 4).

use std::sync::Arc;

use module::{LastActivity, Now, Relation, Switches};
use presence::blocking::BlockList;
use presence::{Presence, photo, write_request};
use stanza::{Edits, Jid, JidRef, PresenceType, Rendered, Sent, Stanza, StanzaError, StreamError};
use store::Batch;

use crate::account::Account;
use crate::durable::After;
use crate::load::{LAST_ACTIVITY, last_activity_row};
use crate::outbox::Item;
use crate::outgoing::letter;
use crate::sessions::{Ending, escaped};
use crate::turn::{Contacts, Work};
use crate::{Bound, Event, Outbox, Router, Turn};

/// Bytes of the status that is kept as "last activity".
const LAST_STATUS_BYTES: usize = 1024;

impl Router {
    /// Sections 4.2 and 4.4.
    pub(crate) fn broadcast_available(&self, bound: &Bound, stanza: &Stanza<'_>, turn: &mut Turn) {
        let own = bound.jid.as_ref().bare();
        let Some(priority) = priority(stanza) else {
            // RFC 6121 section 4.7.2.3: an integer between -128 and +127.
            let error = StanzaError::bad_request().text("a priority is a number from -128 to 127");
            return self.bounce(stanza, bound.jid.as_ref(), own, &error, turn);
        };
        let says = photo::says(stanza.children());
        self.with(own.as_str(), |account| {
            let mut presence = Rendered::of(stanza, &account.edits_of(stanza, says));
            if presence == self.plain_presence {
                presence = self.plain_presence.clone();
            }
            let Some(session) = account.session_mut(bound.id) else {
                return;
            };
            let says_none = says == photo::Says::NoPhoto;
            session.switches = session.switches.with(Switches::NO_PHOTO, says_none);
            let initial = session.presence.replace(presence).is_none();
            session.was_available = true;
            session.priority = priority;
            let told = account
                .session(bound.id)
                .and_then(|session| account.presence_of(session));
            let Some(told) = told else { return };
            let sent = told.sent_by(bound.jid.as_str());
            // What the account's other resources are to see, and see.
            for other in account.sessions.iter().filter(|session| session.is_available()) {
                if other.id == bound.id {
                    self.push(account, other, Item::Other, turn, |out| {
                        sent.write(bound.jid.as_str(), out)
                    });
                    continue;
                }
                let full = account.full(other);
                self.push(account, other, Item::Presence(bound.jid.as_str()), turn, |out| {
                    sent.write(&full, out);
                });
                if initial
                    && let Some(theirs) = account.presence_of(other)
                    && let Some(session) = account.session(bound.id)
                {
                    self.push(account, session, Item::Presence(&full), turn, |out| {
                        theirs.write(&full, Some(bound.jid.as_str()), out);
                    });
                }
            }
            self.tell_subscribers(account, &bound.outbox, sent, bound.jid.as_str().into(), false, turn);
            if initial {
                self.show_to_privileged(account, bound.jid.as_str(), &told, turn);
                self.give_standing(account);
                let seen = account.roster.subscriptions().map(|item| &*item.jid);
                let to = Contacts::of(seen.filter(|jid| !account.blocks(jid)));
                if !to.is_empty() {
                    let (from, session) = (bound.jid.clone(), bound.id);
                    turn.queue.push_back(Work::Probes { from, session, to });
                }
                if let Some(session) = account.session(bound.id) {
                    // Section 3.1.3, rule 4: requests are delivered again until they are answered.
                    for item in account.roster.requests() {
                        self.push(account, session, Item::Other, turn, |out| {
                            write_request(item, own.as_str(), out)
                        });
                    }
                }
            } else {
                self.show_change_to_privileged(account, bound.jid.as_str(), &told, turn);
            }
            if priority >= 0 {
                self.start_replay(account, bound.id, turn);
            } else {
                // Section 8.5.2.1.1: nothing for the bare JID goes to it any more.
                self.end_replay(account, bound.id, false, turn);
            }
            self.note_caps(account, bound.id, stanza, initial, turn);
        });
    }

    /// Section 4.5, where the client says so itself.
    pub(crate) fn broadcast_unavailable(&self, now: Now, bound: &Bound, stanza: &Stanza<'_>, turn: &mut Turn) {
        let presence = Rendered::of(stanza, &Edits::default());
        let status = stanza
            .children()
            .find(|child| child.name() == "status")
            .map(|child| child.text().into_owned());
        self.with(bound.jid.bare_str(), |account| {
            if let Some(session) = account.session(bound.id) {
                // "as well as to the resource that generated it" (section 4.5.2).
                self.push(account, session, Item::Other, turn, |out| {
                    presence.write(bound.jid.as_str(), Some(bound.jid.as_str()), out);
                });
            }
            self.become_unavailable(now, account, bound.id, &presence, status.unwrap_or_default(), turn);
            self.end_replay(account, bound.id, false, turn);
        });
    }

    /// The stream is gone: the session ends, and everyone who saw it hears so.
    pub(crate) fn leave(
        &self,
        now: Now,
        account: &mut Account,
        id: u64,
        ending: Ending,
        turn: &mut Turn,
    ) -> Option<Vec<u8>> {
        self.become_unavailable(now, account, id, &self.gone, String::new(), turn);
        let outbox = account.session(id).map(|session| Arc::clone(&session.outbox));
        account.sessions.retain(|session| session.id != id);
        if account.sessions.is_empty() {
            account.sessions = Vec::new();
        }
        let returned = account.backlog.ended(id, ending == Ending::Clean);
        let mut rest = None;
        if let Some(outbox) = outbox {
            if returned {
                outbox.has_returned();
            }
            let resumable = outbox.resumable();
            if let Some((ids, copies)) = outbox.end_managed() {
                account.backlog.give_back(ids);
                rest = copies;
            }
            // After an end that the client did not wish for it may still ask how far it came.
            if let Some(resumable) = resumable.filter(|_| ending == Ending::Clean) {
                self.forget_stream(account.jid.as_str(), &resumable);
            }
        }
        self.replay_to_anybody(account, turn);
        rest
    }

    fn become_unavailable(
        &self,
        now: Now,
        account: &mut Account,
        id: u64,
        presence: &Rendered,
        status: String,
        turn: &mut Turn,
    ) {
        let Some(session) = account.session_mut(id) else { return };
        let was_available = session.presence.take().is_some();
        let directed = session.take_directed();
        let outbox = Arc::clone(&session.outbox);
        let Some(full) = account.session(id).map(|session| account.full(session)) else {
            return;
        };
        // Section 4.6.3, rule 2: also those who only got directed presence. A resource of a
        // subscriber is one of them: the broadcast does not reach it unless it is available.
        if !directed.is_empty() {
            let strangers = directed.iter().filter(|jid| {
                let is_told = **jid == *account.jid.as_str() || account.roster.state(jid).subscription.from();
                !(was_available && is_told)
            });
            let letters = strangers.map(|to| Work::Letter(presence.text_with(&full, Some(to)).into_boxed_str()));
            self.pass_on(account, &outbox, letters, turn);
        }
        if !was_available {
            return;
        }
        let sent = presence.sent_by(&full);
        for other in account.sessions.iter().filter(|session| session.is_available()) {
            let to = account.full(other);
            self.push(account, other, Item::Presence(&full), turn, |out| sent.write(&to, out));
        }
        self.show_to_privileged(account, &full, presence, turn);
        self.tell_subscribers(account, &outbox, sent, full.into_boxed_str(), true, turn);
        if !account.is_guest() && !account.sessions.iter().any(|session| session.is_available()) {
            let mut status = status;
            if status.len() > LAST_STATUS_BYTES {
                let end = status.floor_char_boundary(LAST_STATUS_BYTES);
                status.truncate(end);
            }
            let last = LastActivity {
                at: now.seconds(),
                status,
            };
            let batch = Batch::new().put(&LAST_ACTIVITY, account.jid.as_str(), None, last_activity_row(&last));
            account.last = Some(Box::new(last));
            self.write(account.jid.as_str(), batch, Vec::new(), Box::new(|_| Vec::new()), None);
        }
    }

    /// To all contacts that see the account's presence ("from", "both").
    pub(crate) fn tell_subscribers(
        &self,
        account: &Account,
        outbox: &Arc<Outbox>,
        presence: Sent,
        from: Box<str>,
        left: bool,
        turn: &mut Turn,
    ) {
        let told = account.roster.subscribers().map(|item| &*item.jid);
        let to = Contacts::of(told.filter(|jid| !account.blocks(jid)));
        if !to.is_empty() {
            self.pass_on(
                account,
                outbox,
                [Work::Fanout {
                    presence,
                    from,
                    left,
                    to,
                    except: account.blocked_resources(),
                }],
                turn,
            );
        }
    }

    /// One presence for many contacts: a start tag each over one payload. Contacts who are not in
    /// memory have no available resource, so nobody has to be loaded for it.
    pub(crate) fn fan_out(
        &self,
        presence: &Sent,
        from: &str,
        left: bool,
        to: &Contacts,
        except: Option<&BlockList>,
        turn: &mut Turn,
    ) {
        let own = self.own_domain(from);
        for contact in to.iter() {
            if !is_of(contact, own) && self.say_elsewhere(from, contact, turn, |out| presence.write(contact, out)) {
                continue;
            }
            let is_blocked = self.with(contact, |account| {
                if left {
                    account.forget_directed(from, None);
                }
                if account.blocks(from) {
                    return true;
                }
                for session in account.sessions.iter().filter(|session| session.is_available()) {
                    if except.is_some_and(|except| except.has(&account.full(session))) {
                        continue;
                    }
                    self.push(account, session, Item::Presence(from), turn, |out| {
                        presence.write(contact, out)
                    });
                }
                false
            });
            if self.has_privileged() && is_blocked != Some(true) {
                let domain = contact.split_once('@').map_or(contact, |(_, domain)| domain);
                self.show_contact_to_privileged(domain, from, !left, |to, out| presence.write(to, out), turn);
            }
        }
    }

    /// A resource has become available and learns of its contacts on this server. Section 4.3.1: no
    /// probe needs to be sent for it. A contact who is offline is not read from the store for
    /// this (section 4.3.2, rule 3: not mandatory).
    pub(crate) fn probe_for_session(&self, from: &Jid, session: u64, contacts: &Contacts, turn: &mut Turn) {
        let mut found: Vec<(String, Rendered)> = Vec::new();
        let own = self.own_domain(from.as_str());
        for contact in contacts.iter() {
            let ask = |out: &mut Vec<u8>| {
                let (from, to) = (escaped(from.bare_str()), escaped(contact));
                out.extend_from_slice(format!("<presence type='probe' from='{from}' to='{to}'/>").as_bytes());
            };
            if !is_of(contact, own) && self.say_elsewhere(from.as_str(), contact, turn, ask) {
                continue;
            }
            self.with(contact, |account| {
                if account.relation(from.as_ref()) != Relation::Subscriber || account.blocks(from.as_str()) {
                    return;
                }
                if account.undecided > 0 {
                    // It may be about this: asked again afterwards.
                    let (from, to) = (from.clone(), Contacts::of(std::iter::once(contact)));
                    return self.ask_again(Work::Probes { from, session, to });
                }
                let available = account.sessions.iter().filter_map(|session| {
                    let presence = account.presence_of(session)?;
                    Some((account.full(session), presence))
                });
                found.extend(available);
            });
            if found.is_empty() {
                continue;
            }
            self.with(from.bare_str(), |account| {
                // It may have gone away while the answer waited.
                if let Some(session) = account.session(session).filter(|session| session.is_available()) {
                    for (contact, presence) in &found {
                        self.push(account, session, Item::Presence(contact), turn, |out| {
                            presence.write(contact, Some(from.as_str()), out);
                        });
                    }
                }
            });
            found.clear();
        }
    }

    /// Section 4.3.2: a probe at the contact's owner.
    pub(crate) fn probe(
        &self,
        account: &mut Account,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        if account.undecided > 0 {
            // It may be about this, and a refusal must not overtake what is about to be said.
            return self.ask_again(Work::Letter(letter(stanza, from, to)));
        }
        let relation = account.relation(from);
        if relation == Relation::Stranger {
            // Section 4.6.6: directed presence authorises for that resource, and for mere presence.
            let shown = to.resource().and_then(|resource| account.resource(resource));
            if let Some(session) = shown.filter(|session| session.has_directed_presence_to(from)) {
                let (me, to) = (escaped(&account.full(session)), escaped(from.as_str()));
                let text = format!("<presence from='{me}' to='{to}'/>");
                return self.pass_on(account, &session.outbox, [Work::Letter(text.into())], turn);
            }
            // Another server would take it for the answer to a request that is still to be answered.
            let is_asked = account.roster.state(from.bare_str()).pending_in;
            if is_asked && self.host(from.domain()).is_none() {
                return;
            }
            return self.refuse_probe(stanza, from, to, turn);
        }
        let (mut answered, mut is_online) = (false, false);
        for session in &account.sessions {
            let Some(presence) = &account.presence_of(session) else {
                continue;
            };
            is_online = true;
            let shown = match to.resource() {
                None => self.shown(account, presence, account.full(session), from.as_str()),
                Some(resource) if *resource == *session.resource => {
                    // Only that it is there, no details.
                    let (me, to) = (escaped(&account.full(session)), escaped(from.as_str()));
                    Work::Letter(format!("<presence from='{me}' to='{to}'/>").into())
                }
                Some(_) => continue,
            };
            self.pass_on(account, &session.outbox, [shown], turn);
            answered = true;
        }
        if !answered {
            // From the resource that was asked for, if one was: from the bare JID it would mean that
            // all of them are gone (section 4.5.4).
            let (me, to) = (escaped(to.as_str()), escaped(from.as_str()));
            let delay = match &account.last {
                Some(last) if !is_online => format!(
                    "<delay xmlns='{}' from='{me}' stamp='{}'/>",
                    stanza::ns::DELAY,
                    Now(last.at * 1000).stamp()
                ),
                _ => String::new(),
            };
            let id = mirrored_id(stanza);
            turn.letter(format!(
                "<presence from='{me}' to='{to}'{id} type='unavailable'>{delay}</presence>"
            ));
        }
    }

    /// The answer to who may not see the presence, and to a probe of nobody: the same.
    pub(crate) fn refuse_probe(&self, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        let (me, to) = (escaped(to.bare_str()), escaped(from.as_str()));
        let id = mirrored_id(stanza);
        let text = format!("<presence from='{me}' to='{to}'{id} type='unsubscribed'/>");
        turn.queue.push_back(Work::Refusal(text.into()));
    }

    /// Remembers to whom directed presence went (section 4.6.3). False where it would be too many.
    pub(crate) fn note_directed(&self, bound: &Bound, kind: PresenceType, stanza: &Stanza<'_>, to: JidRef<'_>) -> bool {
        // XEP-0045 section 7.2.2.
        let enters = to.resource().is_some() && stanza.children().any(|child| child.is("x", stanza::ns::MUC));
        let noted = self.with(bound.jid.bare_str(), |account| {
            let limit = self.limits.directed_presence;
            let Some(session) = account.session_mut(bound.id) else {
                return true;
            };
            match kind {
                PresenceType::Unavailable => {
                    if session.directed().is_some() {
                        session.change_directed(|directed| directed.remove(to.as_str()));
                    }
                    true
                }
                _ => session.change_directed(|directed| {
                    if directed.len() >= limit && !directed.contains(to.as_str()) {
                        return false;
                    }
                    match enters {
                        true => directed.insert_room(to.as_str()),
                        false => directed.insert(to.as_str()),
                    }
                    true
                }),
            }
        });
        noted.unwrap_or(true)
    }

    /// What a change of a subscription sends to the contact along with it.
    pub(crate) fn presence_to_contact(&self, account: &Account, what: Presence, contact: &str) -> Vec<After> {
        let available = account.sessions.iter().filter(|session| session.is_available());
        match what {
            Presence::Nothing => Vec::new(),
            Presence::Available => available
                .filter_map(|session| {
                    let presence = &account.presence_of(session)?;
                    Some(After::Work(self.shown(
                        account,
                        presence,
                        account.full(session),
                        contact,
                    )))
                })
                .collect(),
            Presence::Unavailable => available
                .map(|session| After::Work(self.shown(account, &self.gone, account.full(session), contact)))
                .collect(),
        }
    }

    /// One presence of a resource for one address.
    fn shown(&self, account: &Account, presence: &Rendered, from: String, to: &str) -> Work {
        let is_local = |to: &str| {
            let domain = to.split_once('@').map(|(_, domain)| domain);
            domain.is_some_and(|domain| !domain.contains('/') && self.host(domain).is_some())
        };
        match account.blocked_resources().filter(|_| is_local(to)) {
            None => Work::Letter(presence.text_with(&from, Some(to)).into()),
            // A contact of whom one resource alone is blocked: the others see it.
            except => Work::Fanout {
                presence: presence.sent_by(&from),
                from: from.into(),
                left: false,
                to: Contacts::of(std::iter::once(to)),
                except,
            },
        }
    }

    /// Ends the streams of some of the accounts: part `part` of `parts` (shutdown); the connections
    /// do the rest.
    pub fn end_part(&self, part: usize, parts: usize, error: &StreamError) {
        let mut turn = Turn::default();
        if part == 0 {
            self.end_components(error, &mut turn);
        }
        for shard in self.shards.iter().skip(part).step_by(parts) {
            let shard = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            for slot in shard.iter() {
                if let crate::shard::Slot::Ready(account) = slot {
                    for session in &account.sessions {
                        session.outbox.tell(&mut turn, Event::End(error.clone()));
                    }
                }
            }
        }
        if part + 1 == parts {
            // Behind what the others have said at their end.
            self.end_remotes(error, &mut turn);
        }
        turn.finish();
    }
}

/// Whether a bare JID is of this domain: nearly all contacts are of the same house, and are not looked for elsewhere.
fn is_of(contact: &str, domain: Option<&str>) -> bool {
    domain
        .and_then(|domain| contact.strip_suffix(domain))
        .is_some_and(|local| local.ends_with('@'))
}

/// Section 4.3.2.1: an answer that carries no presence of the contact mirrors the probe's id.
fn mirrored_id(stanza: &Stanza<'_>) -> String {
    stanza
        .id()
        .map(|id| format!(" id='{}'", escaped(id)))
        .unwrap_or_default()
}

/// Section 4.7.2.3. None where it is no number from -128 to 127.
fn priority(stanza: &Stanza<'_>) -> Option<i8> {
    let child = stanza
        .children()
        .find(|child| child.name() == "priority" && child.ns() == stanza::ns::CLIENT);
    match child {
        None => Some(0),
        Some(child) => child.text().trim().parse().ok(),
    }
}
