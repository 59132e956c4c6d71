//! Tests after the use cases of XEP-0045, without a store: what is written is looked at, and read again.

mod activity;
mod admin;
mod archive;
mod avatar;
mod away;
mod enter;
mod hats;
mod mav;
mod mentions;
mod message;
mod owner;
mod registration;
mod slow_mode;
mod spaces;
mod voices;

use std::sync::Arc;

use module::{ArchiveIds, Now};
use stanza::{Jid, Kind, Stanza};
use store::{Deposit, Memory, Places, Store};
use xmlstream::{Limits as XmlLimits, Scratch};

use crate::{Context, Decided, Limits, Room};

const ROOM: &str = "coven@chat.shakespeare.lit";
/// The owner.
const ONE: &str = "crone1@shakespeare.lit/desktop";
const TWO: &str = "wiccarocks@shakespeare.lit/laptop";
const THREE: &str = "hag66@shakespeare.lit/pda";

/// A room, and a store behind it.
struct World {
    room: Room,
    store: Memory,
    now: i64,
    limits: Limits,
    is_service_admin: bool,
}

/// What somebody is told: to whom, from whom, and the rest without addresses.
type Told = (String, String, String);

impl World {
    /// A room that nobody is in.
    fn new() -> World {
        let jid = Jid::parse(ROOM).expect("a JID");
        let creator = Jid::parse(ONE).expect("a JID");
        let mut room = Room::create(&jid, creator.as_ref());
        // As in most examples: else each who comes in hears of it.
        room.config.logging = false;
        World {
            room,
            store: Memory::new(&crate::tables()),
            now: 1_000_000,
            limits: Limits::default(),
            is_service_admin: false,
        }
    }

    /// With `firstwitch`, its owner, in it; others may come.
    fn open() -> World {
        let mut world = World::new();
        world.enter(ONE, "firstwitch");
        let submit =
            "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>";
        assert_eq!(world.iq(ONE, "set", submit), [done(ONE)]);
        world
    }

    /// With this configuration.
    fn configured(fields: &[(&str, &str)]) -> World {
        let mut world = World::open();
        let told = world.configure(fields);
        assert_eq!(told.first(), Some(&done(ONE)));
        world
    }

    fn configure(&mut self, fields: &[(&str, &str)]) -> Vec<Told> {
        let fields: String = fields
            .iter()
            .map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>"))
            .collect();
        let form = format!(
            "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>{fields}</x></query>"
        );
        self.iq(ONE, "set", &form)
    }

    /// Somebody comes in under this name, and is let.
    fn enter(&mut self, who: &str, nick: &str) -> Vec<Told> {
        let told = self.join(who, nick, "");
        assert!(
            told.iter().all(|(_, _, text)| !text.contains("type='error'")),
            "{told:?}"
        );
        told
    }

    fn join(&mut self, who: &str, nick: &str, inner: &str) -> Vec<Told> {
        let x = format!("<x xmlns='http://jabber.org/protocol/muc'>{inner}</x>");
        self.send(who, &format!("<presence to='{ROOM}/{nick}'>{x}</presence>"))
    }

    fn iq(&mut self, who: &str, kind: &str, payload: &str) -> Vec<Told> {
        self.send(who, &format!("<iq type='{kind}' id='q' to='{ROOM}'>{payload}</iq>"))
    }

    fn admin(&mut self, who: &str, items: &str) -> Vec<Told> {
        self.iq(
            who,
            "set",
            &format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{items}</query>"),
        )
    }

    /// Somebody sends a stanza, and this is said. What is written is committed at once.
    fn send(&mut self, who: &str, text: &str) -> Vec<Told> {
        let told = self.send_whole(who, text).into_iter();
        told.map(|(to, from, text)| (to, from, without_id(&text))).collect()
    }

    /// With occupant ids.
    fn send_whole(&mut self, who: &str, text: &str) -> Vec<Told> {
        let mut scratch = Scratch::default();
        let element =
            xmlstream::parse_element(text, "jabber:client", &mut scratch, &XmlLimits::default()).expect("XML");
        let stanza = Stanza::read(element).expect("a stanza").expect("a stanza");
        let from = Arc::new(Jid::parse(who).expect("a JID"));
        let to = stanza.to().expect("an address").to_owned();
        let ids = ArchiveIds::new(&[1; 32]);
        let mut context = Context {
            now: Now(self.now),
            limits: &self.limits,
            secret: b"secret",
            ids: &ids,
            is_service_admin: self.is_service_admin,
        };
        let decided = match stanza.kind() {
            Kind::Presence(_) => self.room.presence(&mut context, &stanza, &from, to.as_ref()),
            Kind::Message(_) => self.room.message(&mut context, &stanza, &from, to.as_ref()),
            Kind::Iq(_) => self.room.iq(&mut context, &stanza, &from, to.as_ref()),
        };
        let mut says = Vec::new();
        let mut next = Some(decided);
        while let Some(decided) = next.take() {
            match decided {
                Decided::Say(say) => says.extend(say),
                Decided::Write(batch, say) => {
                    self.store.write_wait(batch).expect("written");
                    says.extend(say);
                }
                Decided::Ask(query, answer) => says.extend(answer.say(self.store.read_wait(query))),
                Decided::Look(query, going) => {
                    let found = self.store.read_wait(query);
                    next = Some(going.go_on(&mut self.room, &mut context, found));
                }
                Decided::Reflect(mut reflect) => {
                    let mut batch = std::mem::take(&mut reflect.batch);
                    if reflect.is_kept {
                        batch = batch.deposit(Deposit {
                            at: self.now,
                            sender: reflect.sender.bare_str().into(),
                            recipient: ROOM.into(),
                            places: Places::RECEIVED,
                            fingerprint: None,
                            stanza: reflect.stored().into(),
                        });
                    }
                    let wrote = self.store.write_wait(batch).expect("written");
                    let id = wrote.deposited.map(|deposited| deposited.id);
                    let (said, decided) = self.room.reflected(&context, reflect, id);
                    says.extend(said);
                    next = Some(decided);
                }
            }
        }
        let mut told = Vec::new();
        for say in says {
            for to in &say.to {
                let text = say.stanza.text().to_owned();
                told.push((to.as_str().to_owned(), say.from.to_string(), text));
            }
        }
        told
    }

    /// The room as it is read from the store after a crash; nobody is in it.
    fn again(&self) -> Option<Room> {
        let jid = Jid::parse(ROOM).expect("a JID");
        let found = self.store.read_wait(crate::get(&jid, &self.limits)).expect("read");
        crate::read(&jid, &ArchiveIds::new(&[1; 32]), found).expect("a room or none")
    }
}

/// Without the occupant id, which is the same in each stanza of an occupant, and the id in the archive.
fn without_id(text: &str) -> String {
    let without = |text: &str, begin: &str| {
        let Some(at) = text.find(begin) else {
            return text.to_owned();
        };
        let end = text[at..].find("/>").expect("its end") + at + 2;
        [&text[..at], &text[end..]].concat()
    };
    let text = without(text, "<occupant-id ");
    without(&text, &format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{ROOM}' id="))
        .replace("<message></message>", "<message/>")
}

/// The result of a request with the id `q`.
fn done(who: &str) -> Told {
    (who.to_owned(), ROOM.to_owned(), "<iq type='result' id='q'/>".to_owned())
}

/// The error of a stanza: its condition and type; and nobody is told anything else.
#[track_caller]
fn refused(told: &[Told], who: &str, condition: &str, kind: &str) {
    let [(to, _, text)] = told else {
        panic!("one error for {who}: {told:?}");
    };
    assert_eq!(to, who);
    let of_type = format!("<error type='{kind}'");
    let expected = format!("<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>");
    assert!(
        text.contains("type='error'") && text.contains(&of_type) && text.contains(&expected),
        "{text}"
    );
}

/// What one client is told, as addresser and text.
fn of<'t>(told: &'t [Told], who: &str) -> Vec<(&'t str, &'t str)> {
    let own = told.iter().filter(|(to, _, _)| to == who);
    own.map(|(_, from, text)| (from.strip_prefix(ROOM).unwrap_or(from), text.as_str()))
        .collect()
}

/// Presence with an item and status codes, and what else is in it.
fn presence(inner: &str, item: &str, statuses: &[u16]) -> String {
    let (open, inner) = match inner.strip_prefix("unavailable") {
        Some(inner) => ("<presence type='unavailable'>", inner),
        None => ("<presence>", inner),
    };
    let statuses: String = statuses.iter().map(|code| format!("<status code='{code}'/>")).collect();
    format!("{open}{inner}<x xmlns='http://jabber.org/protocol/muc#user'><item {item}</item>{statuses}</x></presence>")
        .replace("'</item>", "'/>")
}
