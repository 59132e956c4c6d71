//! Guests: logins by ANONYMOUS (XEP-0175), and what is kept of them, which is nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use testkit::{
    ArchiveQuery, Client, ConnectOptions, Loss, NS_SASL2, Server, Stanza, Transport, agent, enable, password_of, plain,
    resume_inline,
};

use crate::support::{chat, lose};

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const NURSE: &str = "nurse@home.example";
const NOT_FOUND: &str =
    "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";

/// Guests at the first domain, people at the second.
fn server(reach: &str) -> Server {
    builder(reach).start()
}

fn builder(reach: &str) -> testkit::Builder {
    Server::builder()
        .domain("home.example")
        .domain_toml(&format!("guests = true\nguests_reach = [{reach}]"))
        .account(NURSE)
        .limit("guests_per_address", 100)
        .limit("login_attempts", 20)
}

async fn come_in(client: &mut Client) {
    let answer = client.auth("ANONYMOUS", "").await;
    assert!(answer.matches(&format!("<success xmlns='{SASL}'/>")), "{answer:?}");
    client.open().await;
}

/// With a resource, and no presence.
async fn guest(server: &Server, transport: Transport) -> Client {
    let mut client = Client::opened(server, transport).await;
    come_in(&mut client).await;
    client.bind(None).await;
    client
}

async fn online(server: &Server, transport: Transport) -> Client {
    let mut client = guest(server, transport).await;
    client.presence("<presence/>").await;
    client
}

fn mechanisms(features: &Stanza) -> Vec<String> {
    let lists = [("mechanisms", SASL), ("authentication", NS_SASL2)];
    let lists = lists.iter().filter_map(|(list, ns)| features.get_child(list, *ns));
    let names = lists.flat_map(|list| list.children().filter(|child| child.name() == "mechanism"));
    names.map(|name| name.text()).collect()
}

/// Stops the server in good order, and looks for the names in everything that it has written.
fn leaves_nothing(mut server: Server, names: &[String]) {
    server.sigterm();
    assert!(server.wait(Duration::from_secs(20)).is_some(), "it stops");
    let mut read = 0;
    for entry in fs::read_dir(server.folder().join("data")).expect("the data folder") {
        let path = entry.expect("an entry").path();
        if !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).expect("a file");
        read += bytes.len();
        for name in names {
            assert_eq!(name.len(), 36, "a guest's name: {name}");
            let is_there = bytes.windows(name.len()).any(|window| window == name.as_bytes());
            assert!(!is_there, "{name} stands in {}", path.display());
        }
    }
    assert!(read > 0, "there is a database");
}

fn name_of(client: &Client) -> String {
    client.jid.split_once('@').expect("a bare JID").0.to_owned()
}

fn error_of(answer: &Stanza) -> (String, String) {
    answer.error().unwrap_or_else(|| panic!("an error: {answer:?}"))
}

fn is(error: (&str, &str)) -> (String, String) {
    (error.0.to_owned(), error.1.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_comes_in_with_a_name_of_the_servers() {
    let server = server("");
    let mut names = BTreeSet::new();
    for transport in Transport::EVERY {
        let mut client = Client::opened(&server, transport).await;
        let offered = mechanisms(client.features.as_ref().expect("features"));
        assert_eq!(offered, ["ANONYMOUS", "ANONYMOUS"], "{transport:?}");
        let data = plain("", "nurse", &password_of(NURSE));
        let answer = client.auth("PLAIN", &data).await;
        assert_eq!(answer.condition(), Some("invalid-mechanism"), "{transport:?}");
        // RFC 4505 section 2: at most 255 characters, and none that controls a terminal.
        for trace in ["a".repeat(256), "a\u{7}b".to_owned()] {
            let answer = client.auth("ANONYMOUS", &STANDARD.encode(trace)).await;
            assert_eq!(answer.condition(), Some("malformed-request"), "{transport:?}");
        }
        let answer = client.auth("ANONYMOUS", &STANDARD.encode("sirhc@example.com")).await;
        assert_eq!(answer.name(), "success");
        let features = client.open().await;
        for (name, ns) in [
            ("ver", "urn:xmpp:features:rosterver"),
            ("sub", "urn:xmpp:features:pre-approval"),
        ] {
            assert!(features.get_child(name, ns).is_none(), "{features:?}");
        }
        client.bind(Some("lobby")).await;
        let name = name_of(&client);
        assert_eq!(client.jid, format!("{name}@example.org/lobby"));
        assert_eq!(
            (name.len(), name.as_bytes()[14]),
            (36, b'4'),
            "a UUID of version 4: {name}"
        );
        assert!(names.insert(name), "nobody else's");
        client.ping().await;

        // SASL2 and Bind 2: nothing of the client is written down, and no token is given.
        let mut client = Client::opened(&server, transport).await;
        let more = format!(
            "{}<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>\
             <bind xmlns='urn:xmpp:bind:0'><tag>lobby</tag></bind>",
            agent(1)
        );
        let success = client.authenticate("ANONYMOUS", "", &more).await;
        let jid = success.get_child("authorization-identifier", NS_SASL2);
        client.jid = jid.unwrap_or_else(|| panic!("{success:?}")).text();
        assert!(!success.raw().contains("urn:xmpp:fast:0"), "{success:?}");
        client
            .expect("<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
            .await;
        assert!(names.insert(name_of(&client)), "nobody else's");
        client.ping().await;

        // The people's domain is as it was.
        let mut nurse = Client::secured(&server, transport).await;
        nurse.domain = "home.example".to_owned();
        nurse.open().await;
        let answer = nurse.auth("ANONYMOUS", "").await;
        assert_eq!(answer.condition(), Some("invalid-mechanism"));
        nurse.plain("nurse", &password_of(NURSE)).await;
    }
    let output = server.jackdaw(&["account", "add", "romeo@example.org"], "");
    assert_eq!(output.status.code(), Some(1), "nobody has an account there: {output:?}");
    leaves_nothing(server, &names.into_iter().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_has_not() {
    let server = server("");
    let mut names = Vec::new();
    for transport in Transport::EVERY {
        let mut romeo = online(&server, transport).await;
        let mut juliet = online(&server, transport).await;
        names.extend([name_of(&romeo), name_of(&juliet)]);
        let (bare, full) = (juliet.bare().to_owned(), juliet.jid.clone());

        for (kind, payload, error) in [
            (
                "get",
                "<query xmlns='jabber:iq:roster'/>",
                ("cancel", "service-unavailable"),
            ),
            (
                "set",
                "<query xmlns='jabber:iq:roster'><item jid='a@example.org'/></query>",
                ("auth", "forbidden"),
            ),
            (
                "get",
                "<prefs xmlns='urn:xmpp:mam:2'/>",
                ("cancel", "service-unavailable"),
            ),
            (
                "set",
                "<prefs xmlns='urn:xmpp:mam:2' default='always'><always/><never/></prefs>",
                ("cancel", "service-unavailable"),
            ),
            (
                "set",
                "<query xmlns='urn:xmpp:mam:2'/>",
                ("cancel", "service-unavailable"),
            ),
            (
                "get",
                "<metadata xmlns='urn:xmpp:mam:2'/>",
                ("cancel", "service-unavailable"),
            ),
            (
                "get",
                "<list xmlns='urn:xmpp:cam:0'/>",
                ("cancel", "service-unavailable"),
            ),
            (
                "set",
                "<block xmlns='urn:xmpp:blocking'><item jid='a@example.org'/></block>",
                ("cancel", "service-unavailable"),
            ),
            (
                "get",
                "<blocklist xmlns='urn:xmpp:blocking'/>",
                ("cancel", "service-unavailable"),
            ),
            ("get", "<vCard xmlns='vcard-temp'/>", ("cancel", "service-unavailable")),
            (
                "set",
                "<query xmlns='jabber:iq:private'><x xmlns='urn:x'>1</x></query>",
                ("cancel", "service-unavailable"),
            ),
        ] {
            for to in [String::new(), romeo.bare().to_owned()] {
                let answer = romeo.iq(kind, &to, payload).await;
                assert_eq!(error_of(&answer), is(error), "{payload} to {to:?}");
            }
        }
        // RFC 6121 section 2.1.5, as everywhere.
        let answer = romeo.iq("get", &bare, "<query xmlns='jabber:iq:roster'/>").await;
        assert_eq!(error_of(&answer), is(("auth", "forbidden")));

        for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
            romeo
                .send(format!("<presence to='{bare}' type='{kind}' id='{kind}'/>"))
                .await;
            let answer = romeo.wait(&format!("<presence type='error' id='{kind}'/>")).await;
            assert_eq!(error_of(&answer), is(("auth", "forbidden")), "{kind}");
        }
        juliet.nothing_more().await;

        // XEP-0175 section 5, also for others.
        for asker in [&mut romeo, &mut juliet] {
            let answer = asker
                .iq("get", &bare, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
                .await;
            let answer = answer.raw();
            assert!(
                answer.contains("<identity category='account' type='anonymous'/>"),
                "{answer}"
            );
            assert!(answer.contains("urn:xmpp:ping"), "{answer}");
            for kept in ["urn:xmpp:mam:2", "vcard-temp", "urn:xmpp:cam:0", "urn:xmpp:sid:0"] {
                assert!(!answer.contains(kept), "{kept} in {answer}");
            }
        }
        let answer = romeo
            .iq("get", &bare, "<query xmlns='http://jabber.org/protocol/disco#items'/>")
            .await;
        assert!(!answer.raw().contains(&full), "its resource is not told: {answer:?}");
        romeo.close().await;
        juliet.close().await;
    }
    leaves_nothing(server, &names);
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_write_to_each_other() {
    let server = server("");
    let mut names = Vec::new();
    for transport in Transport::EVERY {
        let mut romeo = online(&server, transport).await;
        let mut juliet = guest(&server, transport).await;
        names.extend([name_of(&romeo), name_of(&juliet)]);
        let (bare, full) = (juliet.bare().to_owned(), juliet.jid.clone());

        // Nobody is there for the bare JID, and nothing waits.
        romeo.send(chat(&bare, "early")).await;
        let answer = romeo.wait("<message type='error' id='early'/>").await;
        assert_eq!(error_of(&answer), is(("cancel", "service-unavailable")));
        romeo.send(chat(&full, "direct")).await;
        juliet
            .expect("<message type='chat'><body>direct</body></message>")
            .await;
        juliet.presence("<presence/>").await;
        juliet.nothing_more().await;

        romeo.send(chat(&bare, "one")).await;
        let came = juliet.expect("<message type='chat'><body>one</body></message>").await;
        assert_eq!(came.get("from"), romeo.jid);
        assert!(came.get_child("stanza-id", "urn:xmpp:sid:0").is_none(), "{came:?}");
        juliet.send(chat(&romeo.jid, "two")).await;
        romeo.expect("<message type='chat'><body>two</body></message>").await;

        // Directed presence, and its end when the guest has gone.
        juliet
            .send(format!("<presence to='{}'><status>hi</status></presence>", romeo.jid))
            .await;
        romeo
            .expect(&format!("<presence from='{full}'><status>hi</status></presence>"))
            .await;
        let version = "<query xmlns='jabber:iq:version'/>";
        romeo
            .send(format!("<iq type='get' id='v' to='{full}'>{version}</iq>"))
            .await;
        juliet
            .expect("<iq type='get' id='v'><query xmlns='jabber:iq:version'/></iq>")
            .await;
        juliet.close().await;
        romeo
            .wait(&format!("<presence from='{full}' type='unavailable'/>"))
            .await;
        // What was asked and is not answered any more is, and so is whatever comes now.
        for text in [chat(&bare, "late"), chat(&full, "later")] {
            romeo.send(text).await;
            let answer = romeo.wait("<message type='error'/>").await;
            assert_eq!(error_of(&answer), is(("cancel", "service-unavailable")));
        }
        let answer = romeo
            .iq("get", &bare, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
            .await;
        assert_eq!(error_of(&answer), is(("cancel", "service-unavailable")));
        romeo.close().await;
    }
    leaves_nothing(server, &names);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_border_of_their_domain() {
    let server = server("");
    let mut names = Vec::new();
    for transport in Transport::EVERY {
        let mut nurse = Client::online(&server, transport, NURSE).await;
        let mut romeo = online(&server, transport).await;
        names.push(name_of(&romeo));
        for to in [
            NURSE,
            nurse.jid.clone().as_str(),
            "home.example",
            "nobody@home.example",
            "a@elsewhere.example",
        ] {
            romeo.send(chat(to, "out")).await;
            let answer = romeo.wait("<message type='error' id='out'/>").await;
            assert_eq!(error_of(&answer), is(("auth", "forbidden")), "{to}");
            assert_eq!(answer.get("from"), to);
            let answer = romeo.iq("get", to, "<ping xmlns='urn:xmpp:ping'/>").await;
            assert_eq!(error_of(&answer), is(("auth", "forbidden")), "{to}");
            romeo.send(format!("<presence to='{to}' id='out'/>")).await;
            romeo.wait("<presence type='error' id='out'/>").await;
        }
        let (bare, full) = (romeo.bare().to_owned(), romeo.jid.clone());
        for to in [bare.as_str(), full.as_str(), "nobody@example.org"] {
            nurse.send(chat(to, "in")).await;
            let answer = nurse.wait("<message type='error' id='in'/>").await;
            assert_eq!(error_of(&answer), is(("cancel", "service-unavailable")), "{to}");
            let answer = nurse.iq("get", to, "<ping xmlns='urn:xmpp:ping'/>").await;
            assert_eq!(error_of(&answer), is(("cancel", "service-unavailable")), "{to}");
            nurse
                .send(format!("<presence to='{to}'/><presence to='{to}' type='subscribe'/>"))
                .await;
        }
        romeo.nothing_more().await;
        // Its own server answers.
        romeo.ping().await;
        nurse.close().await;
        romeo.close().await;
    }
}

/// To the domains that are named a guest may write; what is written stands in the archive of the account, which is its.
#[tokio::test(flavor = "multi_thread")]
async fn domains_within_reach() {
    let server = server("\"home.example\"");
    for transport in Transport::EVERY {
        let mut nurse = Client::online(&server, transport, NURSE).await;
        let mut romeo = guest(&server, transport).await;
        romeo.enable().await;
        romeo.presence("<presence/>").await;
        let guest = romeo.bare().to_owned();
        romeo.send(chat(NURSE, "help")).await;
        let came = nurse.expect("<message type='chat'><body>help</body></message>").await;
        assert_eq!(came.get("from"), romeo.jid);
        romeo.all_acked().await;
        nurse.send(chat(&guest, "here")).await;
        let came = romeo.expect("<message type='chat'><body>here</body></message>").await;
        assert!(came.get_child("stanza-id", "urn:xmpp:sid:0").is_none(), "{came:?}");

        // Contacts of guests are not made from outside either.
        nurse.send(format!("<presence to='{guest}' type='subscribe'/>")).await;
        nurse.ping().await;
        romeo.nothing_more().await;
        let error = ("auth", "forbidden");
        romeo
            .send(format!("<presence to='{NURSE}' type='subscribe' id='s'/>"))
            .await;
        assert_eq!(
            error_of(&romeo.wait("<presence type='error' id='s'/>").await),
            is(error)
        );
        romeo.send(chat("a@elsewhere.example", "out")).await;
        assert_eq!(
            error_of(&romeo.wait("<message type='error' id='out'/>").await),
            is(error)
        );

        // Who is away finds it; a guest who has gone is told to the sender.
        nurse.close().await;
        romeo.send(chat(NURSE, "still there?")).await;
        romeo.all_acked().await;
        romeo.close().await;
        let mut nurse = Client::online(&server, transport, NURSE).await;
        nurse
            .wait("<message type='chat'><body>still there?</body></message>")
            .await;
        nurse.send(chat(&guest, "yes")).await;
        let answer = nurse.wait("<message type='error' id='yes'/>").await;
        assert_eq!(error_of(&answer), is(("cancel", "service-unavailable")));
        let page = nurse.archive_page(&ArchiveQuery::new().with(&guest)).await;
        let bodies: Vec<String> = page.messages.iter().map(|message| message.body()).collect();
        assert_eq!(bodies, ["help", "here", "still there?"]);
        nurse.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_as_there_is_room_for() {
    let server = builder("").limit("guests_per_address", 2).limit("guests", 3).start();
    let no_room = "temporary-auth-failure";
    for transport in Transport::EVERY {
        let one = guest(&server, transport).await;
        // A login without a resource takes a place too.
        let mut two = Client::opened(&server, transport).await;
        come_in(&mut two).await;
        let mut third = Client::opened(&server, transport).await;
        for _ in 0..2 {
            let answer = third.auth("ANONYMOUS", "").await;
            assert_eq!(answer.condition(), Some(no_room), "{transport:?}");
        }
        let answer = third.authenticate("ANONYMOUS", "", "").await;
        assert_eq!(answer.condition(), Some(no_room), "{transport:?}");
        if transport != Transport::Bosh {
            let from = |last| ConnectOptions {
                from: Some(Ipv4Addr::new(127, 0, 7, last)),
                ..ConnectOptions::default()
            };
            let mut elsewhere = Client::secured_with(&server, transport, from(1)).await;
            elsewhere.open().await;
            come_in(&mut elsewhere).await;
            let mut last = Client::secured_with(&server, transport, from(2)).await;
            last.open().await;
            let answer = last.auth("ANONYMOUS", "").await;
            assert_eq!(answer.condition(), Some(no_room), "the house is full, {transport:?}");
            elsewhere.close().await;
        }
        // Both ways to go free a place.
        one.close().await;
        come_in_again(&mut third).await;
        drop(two);
        let mut fourth = Client::opened(&server, transport).await;
        come_in_again(&mut fourth).await;
        third.close().await;
        fourth.close().await;
        // Everybody has gone, so there is as much room as before.
        for _ in 0..2 {
            let mut client = Client::opened(&server, transport).await;
            come_in_again(&mut client).await;
            client.close().await;
        }
    }
}

/// Until those that have just closed their stream have gone.
async fn come_in_again(client: &mut Client) {
    for _ in 0..18 {
        let answer = client.auth("ANONYMOUS", "").await;
        if answer.name() == "success" {
            client.open().await;
            return;
        }
        assert_eq!(answer.condition(), Some("temporary-auth-failure"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.fail("the places are not given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_comes_back_to_its_stream() {
    let mut server = builder("").limit("guests_per_address", 100).start();
    let mut names = Vec::new();
    for (transport, how) in Transport::ALL.into_iter().zip(Loss::BOTH.into_iter().cycle()) {
        for inline in [false, true] {
            let mut juliet = online(&server, transport).await;
            let mut romeo = guest(&server, transport).await;
            romeo.enable().await;
            romeo.presence("<presence/>").await;
            let jid = romeo.jid.clone();
            let session = lose(&server, romeo, how).await;
            juliet.send(chat(&jid, "meanwhile")).await;
            juliet.ping().await;

            let mut back = Client::opened(&server, transport).await;
            if inline {
                back.manage_inline(Some(&session));
                let success = back.authenticate("ANONYMOUS", "", &resume_inline(&session)).await;
                let told = success.get_child("authorization-identifier", NS_SASL2);
                assert_eq!(told.map(|told| told.text()).as_deref(), Some(&*jid), "{success:?}");
                back.jid = jid.clone();
            } else {
                come_in(&mut back).await;
                let resumed = back.try_resume(&session).await;
                assert_eq!(resumed.name(), "resumed", "{resumed:?}");
                back.jid = jid.clone();
            }
            back.expect("<message type='chat'><body>meanwhile</body></message>")
                .await;
            back.send(chat(juliet.bare(), "back")).await;
            let came = juliet.expect("<message type='chat'><body>back</body></message>").await;
            assert_eq!(came.get("from"), jid);
            names.extend([name_of(&back), name_of(&juliet)]);

            // An id that is nobody's, and one of a guest who has gone.
            back.close().await;
            for id in [
                session.id.clone(),
                "x".to_owned(),
                format!("{}.00", names[0]),
                "@.x".to_owned(),
            ] {
                let mut vain = Client::opened(&server, transport).await;
                come_in(&mut vain).await;
                let wrong = testkit::Session { id, ..session.clone() };
                let answer = vain.try_resume(&wrong).await;
                assert!(answer.matches(NOT_FOUND), "{answer:?}");
                vain.bind(None).await;
                vain.close().await;
            }
            juliet.close().await;
        }
    }

    // By Bind 2 too; and a restart ends it.
    let mut romeo = Client::opened(&server, Transport::Direct).await;
    romeo.manage_inline(None);
    let more = format!("<bind xmlns='urn:xmpp:bind:0'>{}</bind>", enable());
    let success = romeo.authenticate("ANONYMOUS", "", &more).await;
    romeo.jid = success
        .get_child("authorization-identifier", NS_SASL2)
        .unwrap_or_else(|| panic!("{success:?}"))
        .text();
    romeo
        .expect("<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>")
        .await;
    names.push(name_of(&romeo));
    let session = lose(&server, romeo, Loss::Reset).await;
    assert!(session.id.starts_with(names.last().expect("names")), "{session:?}");
    server.sigterm();
    assert!(server.wait(Duration::from_secs(20)).is_some(), "it stops");
    server.start();
    let mut back = Client::opened(&server, Transport::Direct).await;
    come_in(&mut back).await;
    let answer = back.try_resume(&session).await;
    assert!(answer.matches(NOT_FOUND), "{answer:?}");
    leaves_nothing(server, &names);
}

/// A guest whose time is over is gone, with its place; who has written to it meanwhile is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_does_not_come_back() {
    let server = builder("")
        .limit("guests_per_address", 2)
        .limit("resume_seconds", 1)
        .start();
    let mut juliet = online(&server, Transport::Direct).await;
    let mut romeo = guest(&server, Transport::Direct).await;
    romeo.enable().await;
    romeo.presence("<presence/>").await;
    let jid = romeo.jid.clone();
    let session = lose(&server, romeo, Loss::Fin).await;
    juliet.send(chat(&jid, "lost")).await;
    let answer = juliet.wait("<message type='error' id='lost'/>").await;
    assert_eq!(error_of(&answer), is(("cancel", "service-unavailable")));
    let mut back = Client::opened(&server, Transport::Direct).await;
    come_in(&mut back).await;
    let answer = back.try_resume(&session).await;
    assert!(answer.matches(NOT_FOUND), "{answer:?}");
}
