//! Rooms (XEP-0045): which there are, who is in which under what name, and what clients saw of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use crate::history::{Account, ClientId, Entry, OpId, RESOURCES, Sid, Time};
use crate::server::DOMAIN;

/// Of the service that has the rooms.
const SERVICE: &str = "conference";
/// Accounts whose clients share one nickname: one in so many.
const SHARED_EVERY: u16 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct RoomId(pub(crate) u16);

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "room{}", self.0)
    }
}

impl RoomId {
    pub(crate) fn jid(self) -> String {
        format!("{self}@{SERVICE}.{DOMAIN}")
    }

    /// The address of a client in it.
    pub(crate) fn occupant(self, client: ClientId) -> String {
        format!("{}/{}", self.jid(), nick_of(client))
    }

    /// The room that an address is of, and the nickname.
    pub(crate) fn parse(address: &str) -> Option<(RoomId, &str)> {
        let (bare, nick) = address.split_once('/').unwrap_or((address, ""));
        let (local, domain) = bare.split_once('@')?;
        if domain.strip_prefix(SERVICE)?.strip_prefix('.')? != DOMAIN {
            return None;
        }
        Some((RoomId(local.strip_prefix("room")?.parse().ok()?), nick))
    }

    /// Who makes and changes it: one of the server that has it.
    pub(crate) fn owner(self, accounts: u16) -> Account {
        let account = Account(self.0 % accounts);
        match account.home() {
            0 => account,
            // The first is not elsewhere.
            _ => Account(account.0 - 1),
        }
    }
}

/// Most clients have a nickname of their own; the others share one, as devices of a person do.
pub(crate) fn nick_of(client: ClientId) -> String {
    let account = client.account();
    match account.0 % SHARED_EVERY {
        1 => account.to_string(),
        _ => format!("{account}-{}", client.resource()),
    }
}

/// The rooms that a client enters, of so many: one is that of its account, which has those of equal remainder; the other
/// differs between clients of an account. Who is at the other server enters none.
pub(crate) fn rooms_of(client: ClientId, rooms: u16) -> Vec<RoomId> {
    // What somebody misses whose server was away is another question.
    if rooms == 0 || client.account().home() > 0 {
        return Vec::new();
    }
    let account = client.account().0;
    let first = account % rooms;
    let second = (account + account / rooms + client.0 % RESOURCES + 1) % rooms;
    match first == second {
        true => vec![RoomId(first)],
        false => vec![RoomId(first), RoomId(second)],
    }
}

/// A message to everybody in a room.
#[derive(Clone, Debug)]
pub(crate) struct Saying {
    pub(crate) room: RoomId,
    /// When, and in what manner: first, and sent once more.
    pub(crate) sent: Vec<(Time, &'static str)>,
    /// When, and what said so.
    pub(crate) acked: Option<(Time, String)>,
    pub(crate) error: Option<(Time, String)>,
    pub(crate) heard: Vec<Hearing>,
}

/// It came to a client that is in the room.
#[derive(Clone, Debug)]
pub(crate) struct Hearing {
    pub(crate) at: Time,
    pub(crate) by: ClientId,
    /// Which of the client's stays in rooms: from its own presence there to the next, or to the end of the stream. A
    /// resumed stream goes on with it.
    pub(crate) stay: u32,
    /// By the room.
    pub(crate) sid: Option<Sid>,
    /// The order in which the client saw what it saw.
    pub(crate) order: u64,
}

/// What clients saw of rooms.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    pub(crate) sayings: HashMap<OpId, Saying>,
    /// The whole archive of a room as a client read it at the end.
    pub(crate) archives: BTreeMap<(ClientId, RoomId), Vec<Entry>>,
    /// What a client knew at the end of a room that it was in.
    pub(crate) views: BTreeMap<(ClientId, RoomId), View>,
}

/// What a client knows of who is in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    /// The stay that is not over.
    pub(crate) stay: u32,
    pub(crate) nicks: BTreeSet<String>,
}

impl Rooms {
    pub(crate) fn said(&mut self, at: Time, op: OpId, room: RoomId, manner: &'static str) {
        let saying = self.sayings.entry(op).or_insert_with(|| Saying {
            room,
            sent: Vec::new(),
            acked: None,
            error: None,
            heard: Vec::new(),
        });
        saying.sent.push((at, manner));
    }

    /// False: nobody said such a thing in this room.
    pub(crate) fn heard(&mut self, op: OpId, room: RoomId, hearing: Hearing) -> bool {
        match self.sayings.get_mut(&op) {
            Some(saying) if saying.room == room => {
                saying.heard.push(hearing);
                true
            }
            _ => false,
        }
    }

    /// How often something came to somebody.
    pub(crate) fn heard_in_all(&self) -> usize {
        self.sayings.values().map(|saying| saying.heard.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_and_read() {
        let client = ClientId(7);
        let address = RoomId(4).occupant(client);
        assert_eq!(address, "room4@conference.example.org/u3-r1");
        assert_eq!(RoomId::parse(&address), Some((RoomId(4), "u3-r1")));
        assert_eq!(RoomId::parse(&RoomId(4).jid()), Some((RoomId(4), "")));
        for other in ["", "example.org", "u3@example.org/r1", "x@conference.example.org"] {
            assert_eq!(RoomId::parse(other), None, "{other}");
        }
        // One name for both.
        assert_eq!(
            (nick_of(ClientId(2)), nick_of(ClientId(3))),
            ("u1".to_owned(), "u1".to_owned())
        );
    }

    #[test]
    fn every_room_has_its_people() {
        let mut people: HashMap<RoomId, usize> = HashMap::new();
        for client in (0..100).map(ClientId) {
            let rooms = rooms_of(client, 10);
            assert!(rooms.iter().all(|room| room.0 < 10));
            for room in rooms {
                *people.entry(room).or_default() += 1;
            }
        }
        assert!(
            people.len() == 10 && people.values().all(|count| *count >= 10),
            "{people:?}"
        );
        assert_eq!(rooms_of(ClientId(0), 0), []);
        assert_eq!(rooms_of(ClientId(5), 1), [RoomId(0)]);
        assert_eq!(RoomId(7).owner(5), Account(2));
    }
}
