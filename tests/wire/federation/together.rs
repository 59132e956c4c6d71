//! Two of our servers: everything that people do across them.

use testkit::{ArchiveQuery, Archived, Client, Federation, Line, Server, Stanza, Transport};

use super::online;
use crate::pep::{presence, publish, ver};
use crate::rooms::{join, make, say};
use crate::support::{befriend, bodies, chat, error_of, is_result, items, roster};

struct Two {
    _federation: Federation,
    org: Server,
    net: Server,
}

impl Two {
    fn new(users: usize) -> Two {
        let federation = Federation::new();
        let server = |domain| {
            let builder = federation.server(domain).users(users);
            builder.federation_toml(super::QUICK).start()
        };
        Two {
            org: server("example.org"),
            net: server("example.net"),
            _federation: federation,
        }
    }

    async fn clients(&self) -> (Client, Client) {
        (online(&self.org).await, online(&self.net).await)
    }
}

/// The bodies of the archive of an account.
async fn archive(client: &mut Client) -> Vec<String> {
    let archive = client.whole_archive(&ArchiveQuery::new()).await;
    archive.iter().map(Archived::body).collect()
}

#[tokio::test]
async fn people_write_to_each_other() {
    let two = Two::new(1);
    let (mut one, mut other) = two.clients().await;
    let (bare, full) = (one.bare().to_owned(), one.jid.clone());
    one.send(chat(other.bare(), "1")).await;
    let came = other
        .expect(&format!(
            "<message from='{full}' to='{}' type='chat' id='1'><body>1</body></message>",
            other.bare()
        ))
        .await;
    // One id of an archive, and it is of whoever reads it.
    let ids: Vec<_> = came.children().filter(|child| child.name() == "stanza-id").collect();
    assert_eq!(ids.len(), 1, "{came:?}");
    assert_eq!(ids[0].attr("by"), Some(other.bare()), "{came:?}");
    other.send(chat(&bare, "2")).await;
    one.expect("<message type='chat'><body>2</body></message>").await;
    // To a resource, and in order, whatever it is.
    for text in ["3", "4", "5"] {
        other.send(chat(&full, text)).await;
        other
            .send(format!(
                "<message to='{full}' id='{text}'><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
            ))
            .await;
    }
    for text in ["3", "4", "5"] {
        one.expect(&format!("<message type='chat'><body>{text}</body></message>"))
            .await;
        one.expect(&format!("<message id='{text}'/>")).await;
    }
    // A request to a client, from somebody whom it lets see it, and its answer.
    one.send(format!("<presence to='{}'/>", other.jid)).await;
    other.expect(&format!("<presence from='{full}'/>")).await;
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    other
        .send(format!("<iq type='get' id='p' to='{full}'>{ping}</iq>"))
        .await;
    one.expect(&format!("<iq type='get' id='p' from='{}'>{ping}</iq>", other.jid))
        .await;
    one.send(format!("<iq type='result' id='p' to='{}'/>", other.jid)).await;
    other.expect(&format!("<iq type='result' id='p' from='{full}'/>")).await;
    // And one to the server.
    let answer = one.iq("get", two.net.domain(), ping).await;
    assert_eq!((answer.get("type"), answer.get("from")), ("result", two.net.domain()));
    // Both archives have the same story.
    let expected = ["1", "2", "3", "4", "5"];
    assert_eq!(archive(&mut one).await, expected);
    assert_eq!(archive(&mut other).await, expected);
}

#[tokio::test]
async fn who_is_away_gets_it_later() {
    let two = Two::new(1);
    let mut one = online(&two.org).await;
    let away = two.net.user();
    for text in ["1", "2"] {
        one.send(chat(&away, text)).await;
    }
    // It comes behind what was sent before.
    let answer = one.iq("get", &away, "<query xmlns='urn:nobody:knows'/>").await;
    assert_eq!(error_of(&answer), "cancel/service-unavailable");
    let mut other = Client::login(&two.net, Transport::Starttls, &away).await;
    let came = crate::support::waiting(&mut other, 2).await;
    assert_eq!(bodies(&came), ["1", "2"]);
    assert!(
        came.iter().all(|message| message.has_child("delay", "urn:xmpp:delay")),
        "{came:?}"
    );
}

#[tokio::test]
async fn contacts_see_each_other() {
    let two = Two::new(1);
    let (mut one, mut other) = two.clients().await;
    let (first, second) = (one.jid.clone(), other.jid.clone());
    let (first_bare, second_bare) = (one.bare().to_owned(), other.bare().to_owned());
    roster(&mut one).await;
    roster(&mut other).await;
    befriend(&mut one, &mut other).await;
    assert_eq!(items(&roster(&mut one).await), [format!("{second_bare} - both - ")]);
    assert_eq!(items(&roster(&mut other).await), [format!("{first_bare} - both - ")]);
    one.send("<presence><show>away</show></presence>").await;
    other
        .wait(&format!("<presence from='{first}'><show>away</show></presence>"))
        .await;
    // Who goes is gone for the other, and who comes back is told what there is.
    one.close().await;
    other
        .wait(&format!("<presence type='unavailable' from='{first}'/>"))
        .await;
    let mut one = Client::login(&two.org, Transport::Starttls, &first).await;
    one.send("<presence/>").await;
    one.wait(&format!("<presence from='{second}'/>")).await;
    other.wait(&format!("<presence from='{first}'/>")).await;
    // Whoever does not want to be seen any more is not.
    roster(&mut other).await;
    one.send(format!("<presence type='unsubscribed' to='{second_bare}'/>"))
        .await;
    other
        .wait(&format!("<presence type='unavailable' from='{first}'/>"))
        .await;
    other
        .wait(&format!("<presence type='unsubscribed' from='{first_bare}'/>"))
        .await;
    assert_eq!(items(&roster(&mut other).await), [format!("{first_bare} - from - ")]);
}

#[tokio::test]
async fn rooms_of_either() {
    let two = Two::new(2);
    for (home, guests) in [(&two.org, &two.net), (&two.net, &two.org)] {
        let (mut owner, mut guest) = (online(home).await, online(guests).await);
        let room = format!("talk@conference.{}", home.domain());
        make(&mut owner, &room, "owner", &[]).await;
        join(&mut guest, &room, "guest").await;
        owner.wait(&format!("<presence from='{room}/guest'/>")).await;
        for (nick, text) in [("guest", "hello"), ("owner", "welcome")] {
            match nick {
                "guest" => say(&mut guest, &room, text, text).await,
                _ => say(&mut owner, &room, text, text).await,
            }
            for client in [&mut owner, &mut guest] {
                let from = format!("{room}/{nick}");
                client
                    .wait(&format!(
                        "<message type='groupchat' from='{from}'><body>{text}</body></message>"
                    ))
                    .await;
            }
        }
        // The history of the room, and a request about it.
        let history = guest.whole_archive(&ArchiveQuery::new().of(&room)).await;
        assert_eq!(
            history.iter().map(Archived::body).collect::<Vec<_>>(),
            ["hello", "welcome"]
        );
        let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
        is_result(
            &guest.iq("get", &room, info).await,
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        );
        guest
            .send(format!("<presence type='unavailable' to='{room}/guest'/>"))
            .await;
        owner
            .wait(&format!("<presence type='unavailable' from='{room}/guest'/>"))
            .await;
        guest
            .wait(&format!("<presence type='unavailable' from='{room}/guest'/>"))
            .await;
    }
}

/// XEP-0084 over XEP-0163: whoever sees somebody's presence hears of the picture, and can get it.
#[tokio::test]
async fn a_new_picture_is_told() {
    const META: &str = "urn:xmpp:avatar:metadata";
    const DATA: &str = "urn:xmpp:avatar:data";
    let two = Two::new(1);
    let (mut one, mut other) = two.clients().await;
    befriend(&mut one, &mut other).await;
    other.presence(&presence(&other)).await;
    // What a client wants to hear of is asked for by its own server, and by that of whoever it sees.
    for _ in 0..2 {
        let ver = ver(&other);
        let question = other
            .wait_keeping(|stanza| stanza.get("type") == "get" && stanza.raw().contains(&ver))
            .await;
        let (id, from) = (question.get("id"), question.get("from"));
        let info =
            format!("<query xmlns='http://jabber.org/protocol/disco#info'><feature var='{META}+notify'/></query>");
        other
            .send(format!("<iq type='result' id='{id}' to='{from}'>{info}</iq>"))
            .await;
    }
    // The answers are there.
    let answer = other.iq("get", two.org.domain(), "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(answer.get("type"), "result");
    let id = "111f4b3c50d7b0df729d299bc6f8e9ef9066971f";
    let content = format!("<data xmlns='{DATA}'>AAAA</data>");
    is_result(&one.iq("set", "", &publish(DATA, id, &content, &[])).await, "");
    let content = format!(
        "<metadata xmlns='{META}'><info bytes='3' id='{id}' type='image/png' width='1' height='1'/></metadata>"
    );
    is_result(&one.iq("set", "", &publish(META, id, &content, &[])).await, "");
    other
        .wait(&format!(
            "<message from='{}' type='headline'><event xmlns='http://jabber.org/protocol/pubsub#event'>\
             <items node='{META}'><item id='{id}'/></items></event></message>",
            one.bare()
        ))
        .await;
    let items = format!("<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{DATA}'/></pubsub>");
    let bare = one.bare().to_owned();
    let answer = other.iq("get", &bare, &items).await;
    assert!(answer.raw().contains("AAAA"), "{answer:?}");
}

#[tokio::test]
async fn a_file_can_be_fetched_by_the_other() {
    const NS: &str = "urn:xmpp:http:upload:0";
    let federation = Federation::new();
    let org = federation.server("example.org").users(1).toml("[files]\n").start();
    let net = federation.server("example.net").users(1).start();
    let (mut one, mut other) = (online(&org).await, online(&net).await);
    let request = format!("<request xmlns='{NS}' filename='a.txt' size='5' content-type='text/plain'/>");
    let answer = one.iq("get", "upload.example.org", &request).await;
    let slot = answer.get_child("slot", NS).expect("a slot");
    let url = slot
        .get_child("get", NS)
        .and_then(|get| get.attr("url"))
        .expect("a URL");
    let path = url
        .strip_prefix("https://example.org:5443")
        .expect("where the listener is")
        .to_owned();
    let headers = "Content-Type: text/plain\r\nContent-Length: 5\r\n";
    let put = Line::open(&org).await.request("PUT", &path, headers, b"hello").await;
    assert_eq!(put.status(), "201", "{put:?}");
    one.send(format!(
        "<message to='{}' type='chat' id='f'><body>{url}</body><x xmlns='jabber:x:oob'><url>{url}</url></x></message>",
        other.bare()
    ))
    .await;
    let came = other
        .wait("<message type='chat' id='f'><x xmlns='jabber:x:oob'/></message>")
        .await;
    assert_eq!(came.body(), url);
    let got = Line::open(&org).await.request("GET", &path, "", b"").await;
    assert_eq!((got.status(), got.body.as_str()), ("200", "hello"), "{got:?}");
    // Who has no account there gets no slot.
    let answer = other.iq("get", "upload.example.org", &request).await;
    assert!(answer.error().is_some(), "{answer:?}");
}

/// Row 16 of the attacks over streams of servers: nobody is told whether there is such an account.
#[tokio::test]
async fn strangers_learn_nothing() {
    let two = Two::new(1);
    let mut one = online(&two.org).await;
    let there = two.net.user();
    let missing = format!("nobody@{}", two.net.domain());
    for payload in [
        "<ping xmlns='urn:xmpp:ping'/>",
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        "<vCard xmlns='vcard-temp'/>",
        "<query xmlns='jabber:iq:last'/>",
        "<query xmlns='urn:xmpp:mam:2'/>",
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:avatar:metadata'/></pubsub>",
        "<query xmlns='urn:nobody:knows'/>",
    ] {
        let mut answers = Vec::new();
        for to in [&there, &missing] {
            let answer = one.iq("get", to, payload).await;
            answers.push(alike(&answer, to));
            // A resource of it, too.
            let answer = one.iq("get", &format!("{to}/x"), payload).await;
            answers.push(alike(&answer, to));
        }
        assert_eq!(answers[0], answers[2], "{payload}");
        assert_eq!(answers[1], answers[3], "{payload}");
    }
    // Presence of either kind is answered by neither.
    for to in [&there, &missing] {
        for kind in ["probe", "subscribe", "unavailable"] {
            one.send(format!("<presence type='{kind}' to='{to}'/>")).await;
        }
    }
    let answer = one.iq("get", two.net.domain(), "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(answer.get("type"), "result");
    let came: Vec<Stanza> = one.drain().await;
    let came: Vec<&Stanza> = came
        .iter()
        .filter(|stanza| stanza.get("from").contains('@') && stanza.name() == "presence")
        .filter(|stanza| !stanza.get("from").starts_with(one.bare()))
        .collect();
    let of = |bare: &str| {
        came.iter()
            .filter(|stanza| stanza.get("from").starts_with(bare))
            .count()
    };
    assert_eq!(of(&there), of(&missing), "{came:?}");
}

/// What an answer says, whoever it is about.
fn alike(answer: &Stanza, bare: &str) -> String {
    answer.raw().replace(bare, "X").replace(answer.get("id"), "ID")
}
