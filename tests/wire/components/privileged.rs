//! What components may do in the name of accounts (XEP-0356), and that nobody else may.

use testkit::{ArchiveQuery, Client, Server, Transport};

use super::DOMAIN;
use crate::support::{NS_ROSTER, chat, error_of, friends, items, roster};

const PRIVILEGES: &str = "[component.privileges]\nroster = \"both\"\nmessage = \"outgoing\"\npresence = \"roster\"\n\
                          iq = { \"jabber:iq:private\" = \"both\", \"urn:xmpp:ping\" = \"get\", \"urn:set\" = \"set\" }";

/// With a component that may do all, and one that may do nothing.
fn server(users: usize) -> Server {
    Server::builder()
        .users(users)
        .domain("example.net")
        .account("other@example.net")
        .component_with(DOMAIN, PRIVILEGES)
        .component("plain.example.org")
        .component_with(
            "reads.example.org",
            "[component.privileges]\nroster = \"get\"\nroster_pushes = false",
        )
        .start()
}

/// One that has heard what it may do.
async fn privileged(server: &Server) -> Client {
    let mut component = Client::component(server, DOMAIN).await;
    component
        .wait("<message from='example.org'><privilege xmlns='urn:xmpp:privilege:2'/></message>")
        .await;
    component
}

fn query(item: &str) -> String {
    format!("<query xmlns='{NS_ROSTER}'>{item}</query>")
}

#[tokio::test]
async fn it_is_told_what_it_may_do() {
    let server = server(0);
    let mut component = Client::component(&server, DOMAIN).await;
    let told = component
        .expect(&format!(
            "<message from='example.org' to='{DOMAIN}'><privilege xmlns='urn:xmpp:privilege:2'/></message>"
        ))
        .await;
    for permission in [
        "<perm access='roster' type='both' push='true'/>",
        "<perm access='message' type='outgoing'/>",
        "<namespace ns='jabber:iq:private' type='both'/>",
        "<perm access='presence' type='roster'/>",
    ] {
        assert!(told.raw().contains(permission), "{permission} is not in {told:?}");
    }
    let mut reads = Client::component(&server, "reads.example.org").await;
    let told = reads.stanza().await;
    assert!(
        told.raw()
            .contains("<perm access='roster' type='get' push='false'/></privilege>"),
        "{told:?}"
    );
    Client::component(&server, "plain.example.org")
        .await
        .nothing_more()
        .await;
}

#[tokio::test]
async fn rosters() {
    let server = server(2);
    let mut component = privileged(&server).await;
    let mut reads = Client::component(&server, "reads.example.org").await;
    reads.forget().await;
    let jid = format!("{}/here", server.user());
    let mut user = Client::online(&server, Transport::Direct, &jid).await;
    let bare = user.bare().to_owned();
    assert!(items(&roster(&mut user).await).is_empty());
    component.forget().await;
    // Of who is there: his clients see it.
    let answer = component
        .iq(
            "set",
            &bare,
            &query("<item jid='nurse@example.net' name='Nurse'><group>A</group></item>"),
        )
        .await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
    user.expect(&format!(
        "<iq type='set'>{}</iq>",
        query("<item jid='nurse@example.net' name='Nurse'/>")
    ))
    .await;
    let push = component.stanza().await;
    let wrong = push.mismatch(&format!(
        "<iq type='set' from='{bare}' to='{DOMAIN}'>{}</iq>",
        query("<item jid='nurse@example.net'/>")
    ));
    assert_eq!(wrong, None, "{push:?}");
    component
        .send(format!(
            "<iq type='result' id='{}' from='{DOMAIN}' to='{bare}'/>",
            push.get("id")
        ))
        .await;
    for reader in [&mut component, &mut reads] {
        let answer = reader.iq("get", &bare, &query("")).await;
        assert_eq!(answer.get("from"), bare);
        let found = answer.get_child("query", NS_ROSTER).expect("a roster");
        assert_eq!(items(found), ["nurse@example.net Nurse none - A"]);
    }
    // What he does himself is told as well, where it is to be.
    let answer = user
        .iq(
            "set",
            "",
            &query("<item jid='nurse@example.net' subscription='remove'/>"),
        )
        .await;
    assert_eq!(answer.get("type"), "result");
    let removed = query("<item jid='nurse@example.net' subscription='remove'/>");
    component
        .expect(&format!("<iq type='set' from='{bare}'>{removed}</iq>"))
        .await;
    user.expect(&format!("<iq type='set'>{removed}</iq>")).await;
    reads.nothing_more().await;
    // Of who is not in memory.
    let away = server.user();
    let answer = component.iq("set", &away, &query("<item jid='a@example.net'/>")).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
    component.expect(&format!("<iq type='set' from='{away}'/>")).await;
    let answer = component.iq("get", &away, &query("")).await;
    assert!(answer.raw().contains("a@example.net"), "{answer:?}");
    // As the account itself would be refused.
    let answer = component
        .iq("set", &away, &query(&format!("<item jid='{away}'/>")))
        .await;
    assert_eq!(error_of(&answer), "cancel/not-allowed", "{answer:?}");
    for to in ["nobody@example.org", "other@example.net"] {
        let answer = component.iq("get", to, &query("")).await;
        assert_eq!(error_of(&answer), "auth/forbidden", "{to}: {answer:?}");
    }
    let answer = reads.iq("set", &away, &query("<item jid='x@example.net'/>")).await;
    assert_eq!(error_of(&answer), "auth/forbidden", "{answer:?}");
    let mut plain = Client::component(&server, "plain.example.org").await;
    let answer = plain.iq("get", &away, &query("")).await;
    assert_eq!(error_of(&answer), "auth/forbidden", "{answer:?}");
    // Not one of its users, and no client.
    let asks = format!("<iq type='get' id='x' from='a@{DOMAIN}' to='{away}'>{}</iq>", query(""));
    component.send(asks).await;
    let answer = component.stanza().await;
    assert_eq!(error_of(&answer), "auth/forbidden", "{answer:?}");
    let answer = user.iq("get", &away, &query("")).await;
    assert_eq!(error_of(&answer), "auth/forbidden", "{answer:?}");
    user.nothing_more().await;
}

/// What is asked behind a change is answered when that is on disk.
#[tokio::test]
async fn a_roster_behind_a_change_of_it() {
    let server = server(1);
    let mut component = privileged(&server).await;
    let bare = server.user();
    for round in 0..5 {
        let change = query(&format!("<item jid='nurse{round}@example.net'/>"));
        component
            .send(format!(
                "<iq type='set' id='s{round}' from='{DOMAIN}' to='{bare}'>{change}</iq>\
                 <iq type='get' id='g{round}' from='{DOMAIN}' to='{bare}'>{}</iq>",
                query("")
            ))
            .await;
        component.wait(&format!("<iq type='result' id='s{round}'/>")).await;
        let answer = component
            .wait(&format!("<iq type='result' id='g{round}' from='{bare}'/>"))
            .await;
        let found = answer.get_child("query", NS_ROSTER).expect("a roster");
        assert_eq!(items(found).len(), round + 1, "{answer:?}");
    }
    component.nothing_more().await;
}

/// Contacts of the same domain: what accounts see of them, and not only that they come and go.
#[tokio::test]
async fn presence_of_contacts_here() {
    let server = server(2);
    let (mut one, mut two) = friends(&server, Transport::Direct).await;
    let mut component = privileged(&server).await;
    let shown = [&one, &two].map(|client| format!("<presence from='{}' to='{DOMAIN}'/>", client.jid));
    component.expect_all(&shown.each_ref().map(String::as_str)).await;
    one.send("<presence><show>away</show></presence>").await;
    two.wait("<presence><show>away</show></presence>").await;
    component
        .expect(&format!(
            "<presence from='{}' to='{DOMAIN}'><show>away</show></presence>",
            one.jid
        ))
        .await;
    let left = one.jid.clone();
    one.close().await;
    component
        .expect(&format!("<presence type='unavailable' from='{left}' to='{DOMAIN}'/>"))
        .await;
    component.nothing_more().await;
}

fn in_name(message: &str) -> String {
    format!(
        "<message from='{DOMAIN}' to='example.org' id='outer'><privilege xmlns='urn:xmpp:privilege:2'>\
         <forwarded xmlns='urn:xmpp:forward:0'>{message}</forwarded></privilege></message>"
    )
}

#[tokio::test]
async fn messages() {
    let server = server(3);
    let mut component = privileged(&server).await;
    let jid = format!("{}/here", server.user());
    let mut user = Client::online(&server, Transport::Direct, &jid).await;
    user.iq("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>").await;
    let bare = user.bare().to_owned();
    let friend = format!("{}/there", server.user());
    let mut friend = Client::online(&server, Transport::Direct, &friend).await;
    component.forget().await;
    let to = friend.bare().to_owned();
    let message = format!(
        "<message xmlns='jabber:client' from='{bare}' to='{to}' type='chat' id='in'><body>in his name</body></message>"
    );
    component.send(in_name(&message)).await;
    friend
        .expect(&format!(
            "<message from='{bare}' to='{to}' type='chat' id='in'><body>in his name</body></message>"
        ))
        .await;
    // As if he had sent it elsewhere: a copy, and it is in both archives.
    let copy = user
        .expect(&format!(
            "<message from='{bare}' type='chat'><sent xmlns='urn:xmpp:carbons:2'/></message>"
        ))
        .await;
    assert!(copy.raw().contains("in his name"), "{copy:?}");
    for who in [&mut user, &mut friend] {
        let page = who.archive_page(&ArchiveQuery::new()).await;
        assert_eq!(page.bodies(), ["in his name"]);
    }
    // Of one who is away and not in memory, and of the server.
    let away = server.user();
    for from in [&*away, "example.org"] {
        let message =
            format!("<message xmlns='jabber:client' from='{from}' to='{to}' type='chat'><body>{from}</body></message>");
        component.send(in_name(&message)).await;
        friend
            .expect(&format!(
                "<message from='{from}' to='{to}' type='chat'><body>{from}</body></message>"
            ))
            .await;
    }
    let mut back = Client::login(&server, Transport::Direct, &format!("{away}/later")).await;
    assert_eq!(back.archive_page(&ArchiveQuery::new()).await.bodies(), [away]);
    component.nothing_more().await;
    for from in ["nobody@example.org", &*jid, "other@example.net", &format!("a@{DOMAIN}")] {
        let message = format!("<message xmlns='jabber:client' from='{from}' to='{to}'><body>no</body></message>");
        component.send(in_name(&message)).await;
        let answer = component
            .expect("<message type='error' id='outer' from='example.org'/>")
            .await;
        assert_eq!(error_of(&answer), "auth/forbidden", "{from}");
    }
    // He has blocked somebody.
    user.iq(
        "set",
        "",
        &format!("<block xmlns='urn:xmpp:blocking'><item jid='{to}'/></block>"),
    )
    .await;
    component.send(in_name(&message)).await;
    let answer = component.expect("<message type='error' id='outer'/>").await;
    assert_eq!(error_of(&answer), "modify/not-acceptable", "{answer:?}");
    friend.nothing_more().await;
}

/// As if he had sent them himself: RFC 6120 section 10.1.
#[tokio::test]
async fn messages_keep_their_order() {
    const ROUNDS: usize = 20;
    let server = server(2);
    let mut component = privileged(&server).await;
    let mut friend = Client::online(&server, Transport::Direct, &format!("{}/there", server.user())).await;
    // He is not in memory at first.
    let (from, to) = (server.user(), friend.jid.clone());
    component.forget().await;
    let mut text = String::new();
    for round in 0..ROUNDS {
        let start = format!("<message xmlns='jabber:client' type='chat' from='{from}' to='{to}'");
        text.push_str(&in_name(&format!("{start} id='{round}a'><body>kept</body></message>")));
        text.push_str(&in_name(&format!(
            "{start} id='{round}b'><paused xmlns='http://jabber.org/protocol/chatstates'/></message>"
        )));
    }
    component.send(text).await;
    for round in 0..ROUNDS {
        for part in ["a", "b"] {
            assert_eq!(friend.stanza().await.get("id"), format!("{round}{part}"));
        }
    }
    component.nothing_more().await;
    // What he could not say himself is not said in his name.
    let to = friend.bare().to_owned();
    for forged in ["<sent xmlns='urn:xmpp:carbons:2'/>", "<result xmlns='urn:xmpp:mam:2'/>"] {
        let own = format!("<message xmlns='jabber:client' from='{to}' to='{to}'>{forged}</message>");
        component.send(in_name(&own)).await;
        let answer = component.expect("<message type='error' id='outer'/>").await;
        assert_eq!(error_of(&answer), "auth/forbidden", "{forged}");
    }
}

/// Whoever else says the same is no privileged entity.
#[tokio::test]
async fn forged_messages() {
    let server = server(2);
    let mut plain = Client::component(&server, "plain.example.org").await;
    let victim = server.user();
    let jid = format!("{}/here", server.user());
    let mut user = Client::online(&server, Transport::Direct, &jid).await;
    let to = user.bare().to_owned();
    let message = format!("<message xmlns='jabber:client' from='{victim}' to='{to}'><body>forged</body></message>");
    let forged = in_name(&message);
    plain.send(forged.replace(DOMAIN, "plain.example.org")).await;
    let answer = plain.expect("<message type='error' from='example.org'/>").await;
    assert_eq!(error_of(&answer), "auth/forbidden");
    user.send(forged.replace(&format!("from='{DOMAIN}'"), "")).await;
    let answer = user.expect("<message type='error' from='example.org'/>").await;
    assert_eq!(error_of(&answer), "cancel/service-unavailable");
    // Nor in the name of the component, nor one of its users.
    let mut component = privileged(&server).await;
    component.forget().await;
    component
        .send(forged.replace(&format!("from='{DOMAIN}'"), &format!("from='a@{DOMAIN}'")))
        .await;
    let answer = component.expect("<message type='error' from='example.org'/>").await;
    assert_eq!(error_of(&answer), "auth/forbidden");
    user.nothing_more().await;
}

fn asks(to: &str, inner: &str) -> String {
    let inner_to = if to.is_empty() {
        String::new()
    } else {
        format!(" to='{to}'")
    };
    format!(
        "<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='inner'{inner_to}>{inner}</iq>\
         </privileged_iq>"
    )
}

#[tokio::test]
async fn requests() {
    let server = server(2);
    let mut component = privileged(&server).await;
    let mut other = Client::component(&server, "plain.example.org").await;
    let bare = server.user();
    let notes = "<query xmlns='jabber:iq:private'><notes xmlns='urn:notes'/></query>";
    // To his own account, to others, to nobody.
    let answer = component.iq("get", &bare, &asks("", notes)).await;
    let wrong = answer.mismatch(&format!(
        "<iq type='result' from='{bare}' to='{DOMAIN}'><privilege xmlns='urn:xmpp:privilege:2'/></iq>"
    ));
    assert_eq!(wrong, None, "{answer:?}");
    let inner = format!("<iq xmlns='jabber:client' type='result' id='inner' from='{bare}' to='{bare}'>");
    assert!(answer.raw().contains(&inner), "{answer:?}");
    let ping = asks("plain.example.org", "<ping xmlns='urn:xmpp:ping'/>");
    component
        .send(format!(
            "<iq type='get' id='asked' from='{DOMAIN}' to='{bare}'>{ping}</iq>"
        ))
        .await;
    let request = other
        .expect(&format!(
            "<iq type='get' from='{bare}' to='plain.example.org'><ping xmlns='urn:xmpp:ping'/></iq>"
        ))
        .await;
    let id = request.get("id").to_owned();
    // Not the answer of somebody else, nor to somebody else.
    for forged in [
        format!("<iq type='result' id='{id}' from='a@plain.example.org' to='{bare}'/>"),
        format!("<iq type='result' id='{id}' from='plain.example.org' to='example.org'/>"),
    ] {
        other.send(forged).await;
    }
    other.ping().await;
    component.nothing_more().await;
    other.send(format!("<iq type='error' id='{id}' from='plain.example.org' to='{bare}'><error type='auth'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")).await;
    let answer = component
        .expect(&format!("<iq type='error' id='asked' from='{bare}'/>"))
        .await;
    assert_eq!(error_of(&answer), "auth/conflict", "{answer:?}");
    assert!(
        answer
            .raw()
            .contains("type='error' id='inner' from='plain.example.org'"),
        "{answer:?}"
    );
    other.close().await;
    let answer = component.iq("get", &bare, &ping).await;
    assert!(answer.raw().contains("remote-server-timeout"), "{answer:?}");
    // What is not granted.
    for (kind, to, payload) in [
        ("get", &*bare, asks("", "<x xmlns='urn:other'/>")),
        ("get", &*bare, asks("", "<x xmlns='urn:set'/>")),
        ("set", &*bare, asks("", notes)),
        ("get", "nobody@example.org", asks("", notes)),
        ("get", "other@example.net", asks("", notes)),
        ("get", "example.org", asks("", notes)),
        (
            "get",
            &*bare,
            asks("", notes).replace("id='inner'", "id='inner' from='u9@example.org'"),
        ),
    ] {
        let answer = component.iq(kind, to, &payload).await;
        assert_eq!(error_of(&answer), "auth/forbidden", "{kind} {to} {payload}");
    }
    // A client cannot.
    let jid = format!("{}/here", server.user());
    let mut user = Client::online(&server, Transport::Direct, &jid).await;
    let answer = user.iq("get", &bare, &asks("", notes)).await;
    assert_eq!(error_of(&answer), "cancel/service-unavailable");
}

#[tokio::test]
async fn presence() {
    let server = server(2);
    let early = format!("{}/early", server.user());
    let mut user = Client::online(&server, Transport::Direct, &early).await;
    user.send("<presence><show>away</show></presence>").await;
    user.ping().await;
    // Whoever was there before it.
    let mut component = privileged(&server).await;
    component
        .expect(&format!(
            "<presence from='{early}' to='{DOMAIN}'><show>away</show></presence>"
        ))
        .await;
    // Only that it comes and goes.
    user.send("<presence><show>dnd</show></presence>").await;
    let late = format!("{}/late", server.user());
    let mut second = Client::login(&server, Transport::Direct, &late).await;
    second.send("<presence><status>hello</status></presence>").await;
    component
        .expect(&format!(
            "<presence from='{late}' to='{DOMAIN}'><status>hello</status></presence>"
        ))
        .await;
    second.close().await;
    component
        .expect(&format!("<presence type='unavailable' from='{late}' to='{DOMAIN}'/>"))
        .await;
    // Of a contact of two, once.
    let mut plain = Client::component(&server, "plain.example.org").await;
    let mut second = Client::online(&server, Transport::Direct, &late).await;
    component.expect(&format!("<presence from='{late}'/>")).await;
    let contact = "c@plain.example.org";
    for who in [&mut user, &mut second] {
        who.send(format!("<presence type='subscribe' to='{contact}'/>")).await;
        let bare = who.bare().to_owned();
        plain.wait(&format!("<presence type='subscribe' from='{bare}'/>")).await;
        plain
            .send(format!("<presence type='subscribed' from='{contact}' to='{bare}'/>"))
            .await;
        who.wait("<presence type='subscribed'/>").await;
    }
    component.forget().await;
    for (type_, show) in [("", "<show>xa</show>"), ("type='unavailable'", "")] {
        for who in [&mut user, &mut second] {
            let told = format!(
                "<presence {type_} from='c@plain.example.org/r' to='{}'>{show}</presence>",
                who.bare()
            );
            plain.send(&told).await;
            who.wait(&told).await;
        }
    }
    component
        .expect(&format!(
            "<presence from='c@plain.example.org/r' to='{DOMAIN}'><show>xa</show></presence>"
        ))
        .await;
    component
        .expect(&format!(
            "<presence type='unavailable' from='c@plain.example.org/r' to='{DOMAIN}'/>"
        ))
        .await;
    component.nothing_more().await;
    // Nobody notices it.
    component.close().await;
    user.forget().await;
    user.send(chat("nobody@example.org", "x")).await;
    let answer = user.expect("<message type='error'/>").await;
    assert_eq!(error_of(&answer), "cancel/service-unavailable");
    user.nothing_more().await;
}
