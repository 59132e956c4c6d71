//! A room with somebody of each kind in it, and somebody who has no part in it.

use testkit::{Client, Server, Stanza, Transport};

use super::{ADMIN, MUC, USER, change, join, make, room_of};
use crate::support::error_of;

pub(crate) struct Court {
    pub(crate) room: String,
    pub(crate) owner: Client,
    pub(crate) admin: Client,
    /// Without affiliation.
    pub(crate) moderator: Client,
    pub(crate) member: Client,
    pub(crate) visitor: Client,
    pub(crate) outside: Client,
}

impl Court {
    /// Uses up seven users. Each is in the moderated room under the name of what he is; nothing is left to read.
    pub(crate) async fn of(server: &Server, transport: Transport, fields: &[&str]) -> Court {
        let room = room_of(server);
        let online = async |resource: &str| {
            let jid = format!("{}/{resource}", server.user());
            Client::online(server, transport, &jid).await
        };
        let mut court = Court {
            owner: online("owner").await,
            admin: online("admin").await,
            moderator: online("moderator").await,
            member: online("member").await,
            visitor: online("visitor").await,
            outside: online("outside").await,
            room,
        };
        let room = court.room.clone();
        let fields = [&["persistentroom=1", "moderatedroom=1", "enablelogging=0"], fields].concat();
        make(&mut court.owner, &room, "owner", &fields).await;
        let of =
            |client: &Client, affiliation: &str| format!("<item affiliation='{affiliation}' jid='{}'/>", client.bare());
        let items = of(&court.admin, "admin") + &of(&court.member, "member");
        change(&mut court.owner, &room, &items).await;
        join(&mut court.admin, &room, "admin").await;
        join(&mut court.member, &room, "member").await;
        join(&mut court.visitor, &room, "visitor").await;
        join(&mut court.moderator, &room, "moderator").await;
        change(&mut court.owner, &room, "<item nick='moderator' role='moderator'/>").await;
        court.forget().await;
        court
    }

    /// Who is in the room.
    pub(crate) fn all(&mut self) -> [&mut Client; 5] {
        [
            &mut self.owner,
            &mut self.admin,
            &mut self.moderator,
            &mut self.member,
            &mut self.visitor,
        ]
    }

    pub(crate) fn named(&mut self, who: &str) -> &mut Client {
        match who {
            "owner" => &mut self.owner,
            "admin" => &mut self.admin,
            "moderator" => &mut self.moderator,
            "member" => &mut self.member,
            "visitor" => &mut self.visitor,
            _ => &mut self.outside,
        }
    }

    pub(crate) async fn forget(&mut self) {
        for client in self.all() {
            client.forget().await;
        }
        self.outside.forget().await;
    }

    pub(crate) async fn nothing_more(&mut self) {
        for client in self.all() {
            client.nothing_more().await;
        }
        self.outside.nothing_more().await;
    }

    /// Somebody wants to change something, and may not: that is all that comes of it.
    pub(crate) async fn refused(&mut self, who: &str, items: &str, expected: &str) {
        let query = format!("<query xmlns='{ADMIN}'>{items}</query>");
        let room = self.room.clone();
        let answer = self.named(who).iq("set", &room, &query).await;
        assert_eq!(error_of(&answer), expected, "{who}: {items}");
        assert_eq!(answer.get("from"), room);
        self.nothing_more().await;
    }

    /// Somebody asks for a list; the answer, without its addresses: `nick affiliation role` of each.
    pub(crate) async fn list(&mut self, who: &str, what: &str) -> Result<Vec<String>, String> {
        let room = self.room.clone();
        let query = format!("<query xmlns='{ADMIN}'><item {what}/></query>");
        let answer = self.named(who).iq("get", &room, &query).await;
        if answer.error().is_some() {
            return Err(error_of(&answer));
        }
        let query = answer.get_child("query", ADMIN).expect("a query");
        let items = query.children().filter(|child| child.name() == "item");
        let words = items.map(|item| {
            let of = |name: &str| item.attr(name).unwrap_or("-").to_owned();
            assert_ne!(of("jid"), "-", "{answer:?}");
            format!("{} {} {}", of("nick"), of("affiliation"), of("role"))
        });
        Ok(words.collect())
    }

    pub(crate) async fn close(self) {
        for client in [
            self.owner,
            self.admin,
            self.moderator,
            self.member,
            self.visitor,
            self.outside,
        ] {
            client.close().await;
        }
    }
}

/// Presence of an occupant, with this of `<item/>`: attributes, and what is in it.
pub(crate) fn shown(address: &str, item: &str, inner: &str) -> String {
    format!("<presence from='{address}'><x xmlns='{USER}'><item {item}>{inner}</item></x></presence>")
}

/// The same of one who is there no more.
pub(crate) fn gone(address: &str, item: &str, inner: &str) -> String {
    shown(address, item, inner).replacen("<presence ", "<presence type='unavailable' ", 1)
}

/// All status codes, in order.
pub(crate) fn codes(stanza: &Stanza) -> Vec<String> {
    let x = stanza.get_child("x", USER);
    let statuses = x
        .iter()
        .flat_map(|x| x.children())
        .filter(|child| child.name() == "status");
    statuses
        .filter_map(|status| status.attr("code").map(str::to_owned))
        .collect()
}

/// Asks to come in, and returns what is said of it: the presence of oneself, or an error.
pub(crate) async fn enters(client: &mut Client, room: &str, nick: &str) -> Stanza {
    client
        .send(format!("<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>"))
        .await;
    let address = format!("{room}/{nick}");
    client
        .wait_keeping(|stanza| stanza.name() == "presence" && stanza.get("from") == address)
        .await
}
