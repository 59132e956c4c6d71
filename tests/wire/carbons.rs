//! Copies of messages for the other devices of a user (XEP-0280): who gets one, and how it looks. Which messages are
//! copied is in `carbons_rules.rs`.

use testkit::{ArchiveQuery, Client, Server, Stanza, Transport};

use crate::support::{chat, enable_carbons, features, up_to_mark};

const NS: &str = "urn:xmpp:carbons:2";
const FORWARD: &str = "urn:xmpp:forward:0";

/// Romeo's devices: `garden` and `home` want copies, `old` does not know of them. Juliet has one that wants them too,
/// and one more.
struct House {
    garden: Client,
    home: Client,
    old: Client,
    balcony: Client,
    chamber: Client,
}

impl House {
    async fn new(server: &Server, transport: Transport) -> House {
        let (romeo, juliet) = (server.user(), server.user());
        let mut house = House {
            garden: Client::online(server, transport, &format!("{romeo}/garden")).await,
            home: Client::online(server, transport, &format!("{romeo}/home")).await,
            old: Client::online(server, transport, &format!("{romeo}/old")).await,
            balcony: Client::online(server, transport, &format!("{juliet}/balcony")).await,
            chamber: Client::online(server, transport, &format!("{juliet}/chamber")).await,
        };
        for client in [
            &mut house.garden,
            &mut house.home,
            &mut house.balcony,
            &mut house.chamber,
        ] {
            enable_carbons(client).await;
        }
        house.forget().await;
        house
    }

    fn all(&mut self) -> [&mut Client; 5] {
        [
            &mut self.garden,
            &mut self.home,
            &mut self.old,
            &mut self.balcony,
            &mut self.chamber,
        ]
    }

    async fn forget(&mut self) {
        for client in self.all() {
            client.forget().await;
        }
    }

    async fn nothing_more(&mut self) {
        for client in self.all() {
            client.nothing_more().await;
        }
    }
}

/// What a copy must be like (sections 7 and 8), and the message inside.
fn copied<'a>(copy: &'a Stanza, owner: &Client, kind: &str) -> &'a minidom::Element {
    let wanted = format!(
        "<message type='chat' from='{}' to='{}'><{kind} xmlns='{NS}'><forwarded xmlns='{FORWARD}'><message xmlns='jabber:client' type='chat'/></forwarded></{kind}></message>",
        owner.bare(),
        owner.jid
    );
    assert_eq!(copy.mismatch(&wanted), None, "{copy:?}");
    assert_eq!(copy.children().count(), 1, "{copy:?}");
    copy.get_child(kind, NS)
        .and_then(|kind| kind.get_child("forwarded", FORWARD))
        .and_then(|forwarded| forwarded.get_child("message", "jabber:client"))
        .expect("matched above")
}

fn id_by(message: &minidom::Element, by: &str) -> String {
    let ids: Vec<&str> = message
        .children()
        .filter(|child| child.is("stanza-id", testkit::NS_SID) && child.attr("by") == Some(by))
        .filter_map(|child| child.attr("id"))
        .collect();
    assert_eq!(ids.len(), 1, "one stanza-id by {by}: {message:?}");
    ids[0].to_owned()
}

#[tokio::test]
async fn offered() {
    let server = Server::with_users(3);
    for transport in Transport::ALL {
        let mut client = Client::online(&server, transport, &server.user()).await;
        for address in ["example.org".to_owned(), client.bare().to_owned()] {
            let features = features(&mut client, &address).await;
            for feature in [NS, "urn:xmpp:carbons:rules:0"] {
                assert!(features.iter().any(|found| found == feature), "{address}: {features:?}");
            }
        }
    }
}

/// Section 7: a message to one device comes to the others.
#[tokio::test]
async fn received() {
    let server = Server::with_users(6);
    for transport in Transport::ALL {
        let mut house = House::new(&server, transport).await;
        let romeo = house.garden.bare().to_owned();
        let (from, to) = (house.balcony.jid.clone(), house.garden.jid.clone());
        house
            .balcony
            .send(format!(
                "<message to='{to}' type='chat' id='r' xml:lang='en'><body>What man art thou</body><thread>0e31</thread></message>"
            ))
            .await;
        let original = house
            .garden
            .expect(&format!(
                "<message from='{from}' to='{to}' type='chat' id='r'><body>What man art thou</body><thread>0e31</thread></message>"
            ))
            .await;
        let copy = house.home.stanza().await;
        let inner = copied(&copy, &house.home, "received");
        assert_eq!(
            ["from", "to", "id"].map(|name| inner.attr(name)),
            [Some(from.as_str()), Some(&to), Some("r")]
        );
        assert_eq!(inner.attr_ns(rxml::Namespace::xml(), "lang"), Some("en"), "{copy:?}");
        assert!(inner.has_child("thread", "jabber:client"));
        // It is the same message, and has the same id in the archive.
        assert_eq!(id_by(inner, &romeo), original.stanza_id(&romeo));
        // The sender's own others.
        let copy = house.chamber.stanza().await;
        let inner = copied(&copy, &house.chamber, "sent");
        let id = id_by(inner, house.chamber.bare());
        let archive = house.chamber.whole_archive(&ArchiveQuery::new()).await;
        assert_eq!(archive.last().map(|last| &last.id), Some(&id));
        house.nothing_more().await;
        // Nobody's archive has the copies.
        for client in house.all() {
            assert_eq!(client.whole_archive(&ArchiveQuery::new()).await.len(), 1);
        }
    }
}

/// Section 8: what one device sends comes to the others, whether that one wants copies itself or not.
#[tokio::test]
async fn sent() {
    let server = Server::with_users(6);
    for transport in Transport::ALL {
        let mut house = House::new(&server, transport).await;
        let juliet = house.balcony.bare().to_owned();
        for sender in ["garden", "old"] {
            let to = house.balcony.jid.clone();
            let from = format!("{}/{sender}", house.old.bare());
            let client = if sender == "old" {
                &mut house.old
            } else {
                &mut house.garden
            };
            client.send(chat(&to, "Neither, fair saint")).await;
            let original = house
                .balcony
                .expect(&format!("<message from='{from}' to='{to}' type='chat'/>"))
                .await;
            // The id of the sender's archive is nobody else's business.
            assert!(original.stanza_ids(house.old.bare()).is_empty());
            let mut others = vec![&mut house.home];
            if sender == "old" {
                others.push(&mut house.garden);
            }
            for other in others {
                let copy = other.stanza().await;
                let inner = copied(&copy, other, "sent");
                assert_eq!(
                    ["from", "to"].map(|name| inner.attr(name)),
                    [Some(from.as_str()), Some(&to)]
                );
                let archive = other.whole_archive(&ArchiveQuery::new()).await;
                assert_eq!(
                    archive.last().map(|last| last.id.as_str()),
                    Some(id_by(inner, other.bare()).as_str())
                );
            }
            let copy = house.chamber.stanza().await;
            assert_eq!(
                id_by(copied(&copy, &house.chamber, "received"), &juliet),
                original.stanza_id(&juliet)
            );
            house.nothing_more().await;
        }
        // To somebody who does not exist, or is somewhere else: it was sent all the same.
        for to in ["nobody@example.org", "nobody@elsewhere.example"] {
            house.garden.send(chat(to, "lost")).await;
            house.garden.expect("<message type='error'/>").await;
            let copy = house.home.wait("<message type='chat'/>").await;
            assert_eq!(copied(&copy, &house.home, "sent").attr("to"), Some(to));
            house.forget().await;
        }
    }
}

/// To the bare address: whoever gets the message itself gets no copy of it (section 7), whoever does not gets one.
#[tokio::test]
async fn each_device_once() {
    let server = Server::with_users(6);
    for transport in Transport::ALL {
        let mut house = House::new(&server, transport).await;
        let romeo = house.garden.bare().to_owned();
        // Equal priorities: all get it.
        house.balcony.send(chat(&romeo, "to all")).await;
        for client in [&mut house.garden, &mut house.home, &mut house.old] {
            client
                .expect("<message type='chat'><body>to all</body></message>")
                .await;
        }
        house.chamber.expect("<message type='chat'/>").await;
        house.nothing_more().await;
        // One is above the others, one below zero.
        house
            .garden
            .presence("<presence><priority>5</priority></presence>")
            .await;
        house
            .home
            .presence("<presence><priority>-5</priority></presence>")
            .await;
        house.forget().await;
        house.balcony.send(chat(&romeo, "to one")).await;
        house
            .garden
            .expect("<message type='chat'><body>to one</body></message>")
            .await;
        let copy = house.home.stanza().await;
        assert_eq!(copied(&copy, &house.home, "received").attr("to"), Some(romeo.as_str()));
        house.chamber.expect("<message type='chat'/>").await;
        house.nothing_more().await;
        // To a device that is gone: as to the bare address (RFC 6121 section 8.5.3.2.1).
        house
            .balcony
            .send(chat(&format!("{romeo}/gone"), "to a lost one"))
            .await;
        house
            .garden
            .expect("<message type='chat'><body>to a lost one</body></message>")
            .await;
        copied(&house.home.stanza().await, &house.home, "received");
        house.chamber.expect("<message type='chat'/>").await;
        house.nothing_more().await;
    }
}

/// A user's messages to himself: each device sees each once, and so does the archive.
#[tokio::test]
async fn to_oneself() {
    let server = Server::with_users(6);
    for transport in Transport::ALL {
        let mut house = House::new(&server, transport).await;
        let romeo = house.garden.bare().to_owned();
        for to in [romeo.clone(), format!("{romeo}/home"), format!("{romeo}/garden")] {
            house.garden.send(chat(&to, "a note")).await;
            // As it is, or as a copy: once.
            let home = house.home.stanza().await;
            let inner = match home.get_child("received", NS).or_else(|| home.get_child("sent", NS)) {
                Some(copy) => copy
                    .get_child("forwarded", FORWARD)
                    .and_then(|forwarded| forwarded.get_child("message", "jabber:client"))
                    .expect("a copy has a message"),
                None => &home,
            };
            let id = id_by(inner, &romeo);
            let garden = up_to_mark(&mut house.balcony, &mut house.garden).await;
            let wanted = usize::from(!to.ends_with("/home"));
            assert_eq!(garden.len(), wanted, "{to}: {garden:?}");
            assert!(garden.iter().all(|stanza| stanza.stanza_id(&romeo) == id));
            let old = up_to_mark(&mut house.balcony, &mut house.old).await;
            assert_eq!(old.len(), usize::from(to == romeo), "{to}: {old:?}");
            house.nothing_more().await;
        }
        let archive = house.garden.whole_archive(&ArchiveQuery::new()).await;
        assert_eq!(archive.len(), 3, "{archive:?}");
    }
}

/// Sections 4 and 5, and 10.1: on and off as often as one likes; each session for itself.
#[tokio::test]
async fn on_and_off() {
    let server = Server::with_users(6);
    let switch = |name: &str| format!("<{name} xmlns='{NS}'/>");
    for transport in Transport::ALL {
        let mut house = House::new(&server, transport).await;
        let to = house.garden.jid.clone();
        for (steps, copies) in [
            (&["enable", "enable"][..], true),
            (&["disable", "disable"], false),
            (&["disable", "enable"], true),
            (&["enable", "disable"], false),
            (&["enable"], true),
        ] {
            for step in steps {
                let answer = house.home.iq("set", "", &switch(step)).await;
                let wanted = format!("<iq type='result' to='{}'/>", house.home.jid);
                assert_eq!(answer.mismatch(&wanted), None, "{answer:?}");
                assert_eq!(answer.children().count(), 0);
            }
            house.balcony.send(chat(&to, "x")).await;
            let came = up_to_mark(&mut house.balcony, &mut house.home).await;
            assert_eq!(came.len(), usize::from(copies), "{steps:?}: {came:?}");
            house.forget().await;
        }
        // A new session of the same name has to ask itself.
        let jid = house.home.jid.clone();
        house.home.send("</stream:stream>").await;
        house.home.expect_end().await;
        house.home = Client::online(&server, transport, &jid).await;
        house.balcony.send(chat(&to, "x")).await;
        let came = up_to_mark(&mut house.balcony, &mut house.home).await;
        assert!(came.iter().all(|stanza| stanza.name() != "message"), "{came:?}");
        // To oneself by name; not for others.
        let own = house.home.bare().to_owned();
        assert_eq!(
            house.home.iq("set", &own, &switch("enable")).await.get("type"),
            "result"
        );
        let other = house.balcony.bare().to_owned();
        for name in ["enable", "disable"] {
            let answer = house.home.iq("set", &other, &switch(name)).await;
            assert_eq!(answer.get("type"), "error", "{answer:?}");
        }
        for (kind, name) in [("get", "enable"), ("set", "private"), ("set", "nonsense")] {
            let answer = house.home.iq(kind, "", &switch(name)).await;
            assert_eq!(answer.get("type"), "error", "{answer:?}");
        }
    }
}
