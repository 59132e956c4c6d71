//! Push notifications (XEP-0357): who is announced what, to a push service that is a component.
//!
//! That nothing is announced is seen by what comes next, or by an answer that comes behind it.

use testkit::{Client, Loss, NS_CSI, Server, Stanza, Transport};

use crate::devices::{come, devices, id_of, revoke};
use crate::support::{chat, error_of, lose, managed, settle};

pub(crate) const SERVICE: &str = "push.example.org";
const NS_PUSH: &str = "urn:xmpp:push:0";
const NS_PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const NS_FORMS: &str = "jabber:x:data";
const OPTIONS: &str = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>\
                       http://jabber.org/protocol/pubsub#publish-options</value></field>\
                       <field var='secret'><value>eruio234vzxc2kla-91</value></field></x>";

pub(crate) fn builder(users: usize) -> testkit::Builder {
    Server::builder().users(users).component(SERVICE)
}

pub(crate) async fn online(server: &Server, jid: &str) -> Client {
    Client::online(server, Transport::Direct, jid).await
}

fn enabling(node: &str) -> String {
    format!("<enable xmlns='{NS_PUSH}' jid='{SERVICE}' node='{node}'/>")
}

pub(crate) async fn enable(client: &mut Client, node: &str) {
    let answer = client.iq("set", "", &enabling(node)).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
}

/// An account whose device `phone` has enabled this node and has gone.
async fn away(server: &Server, node: &str) -> String {
    let user = server.user();
    let mut phone = online(server, &format!("{user}/phone")).await;
    enable(&mut phone, node).await;
    phone.close().await;
    user
}

/// The fields of a notification, as `name=value`.
fn fields(notification: &Stanza) -> Vec<String> {
    let form = notification
        .get_child("pubsub", NS_PUBSUB)
        .and_then(|pubsub| pubsub.get_child("publish", NS_PUBSUB))
        .and_then(|publish| publish.get_child("item", NS_PUBSUB))
        .and_then(|item| item.get_child("notification", NS_PUSH))
        .and_then(|notification| notification.get_child("x", NS_FORMS));
    let form = form.unwrap_or_else(|| panic!("no summary: {notification:?}"));
    let field = |field: &minidom::Element| {
        let value = field.children().next().map(minidom::Element::text);
        format!(
            "{}={}",
            field.attr("var").unwrap_or_default(),
            value.unwrap_or_default()
        )
    };
    form.children()
        .map(field)
        .filter(|field| field != "FORM_TYPE=urn:xmpp:push:summary")
        .collect()
}

/// The next notification, which is for this node and says this, and is not answered.
async fn told(service: &mut Client, node: &str, said: &[&str]) -> Stanza {
    let pattern = format!(
        "<iq type='set' from='example.org' to='{SERVICE}' id='*'><pubsub xmlns='{NS_PUBSUB}'>\
         <publish node='{node}'><item><notification xmlns='{NS_PUSH}'/></item></publish></pubsub></iq>"
    );
    let notification = service.expect(&pattern).await;
    assert_eq!(fields(&notification), said, "{notification:?}");
    notification
}

async fn answer(service: &mut Client, notification: &Stanza) {
    let id = notification.get("id");
    service
        .send(format!(
            "<iq type='result' id='{id}' from='{SERVICE}' to='example.org'/>"
        ))
        .await;
}

async fn refuse(service: &mut Client, notification: &Stanza, kind: &str, condition: &str) {
    let (id, ns) = (notification.get("id"), testkit::NS_STANZAS);
    service
        .send(format!(
            "<iq type='error' id='{id}' from='{SERVICE}' to='example.org'><error type='{kind}'>\
             <{condition} xmlns='{ns}'/></error></iq>"
        ))
        .await;
}

pub(crate) async fn announced(service: &mut Client, node: &str, count: u64) {
    let notification = told(service, node, &[&format!("message-count={count}")]).await;
    answer(service, &notification).await;
}

/// Nothing was announced of what `sender` has sent to `user`.
async fn silent(service: &mut Client, sender: &mut Client, user: &str) {
    settle(sender, user).await;
    service.nothing_more().await;
}

#[tokio::test]
async fn enabling_and_disabling() {
    let server = builder(2).limit("push_services_per_account", 2).start();
    let (user, other) = (server.user(), server.user());
    let mut client = online(&server, &format!("{user}/phone")).await;
    let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let answer = client.iq("get", &user, info).await;
    assert!(answer.raw().contains("<feature var='urn:xmpp:push:0'/>"), "{answer:?}");
    for (to, payload, expected) in [
        ("", enabling("one"), "result"),
        (&user, enabling("two"), "result"),
        ("", enabling("three"), "cancel/resource-constraint"),
        // What is enabled already is not another one.
        ("", enabling("one"), "result"),
        (
            "",
            format!("<disable xmlns='{NS_PUSH}' jid='{SERVICE}' node='one'/>"),
            "result",
        ),
        (
            "",
            format!("<enable xmlns='{NS_PUSH}' jid='{SERVICE}' node='three'>{OPTIONS}</enable>"),
            "result",
        ),
        ("", enabling("one"), "cancel/resource-constraint"),
        ("", format!("<disable xmlns='{NS_PUSH}' jid='{SERVICE}'/>"), "result"),
        ("", format!("<disable xmlns='{NS_PUSH}' jid='{SERVICE}'/>"), "result"),
        ("", enabling("one"), "result"),
        ("", format!("<enable xmlns='{NS_PUSH}'/>"), "modify/bad-request"),
        (
            "",
            format!("<enable xmlns='{NS_PUSH}' jid='a@b@c'/>"),
            "modify/jid-malformed",
        ),
        ("", format!("<disable xmlns='{NS_PUSH}'/>"), "modify/bad-request"),
        (
            "",
            format!("<enable xmlns='{NS_PUSH}' jid='{SERVICE}'><x xmlns='{NS_FORMS}'/></enable>"),
            "modify/bad-request",
        ),
        // Nobody else's.
        (&other, enabling("one"), "cancel/service-unavailable"),
        ("example.org", enabling("one"), "cancel/feature-not-implemented"),
    ] {
        let answer = client.iq("set", to, &payload).await;
        let came = match answer.get("type") {
            "result" => "result".to_owned(),
            _ => error_of(&answer),
        };
        assert_eq!(came, expected, "{payload}");
    }
}

#[tokio::test]
async fn one_for_each_message() {
    let server = builder(2).start();
    let mut service = Client::component(&server, SERVICE).await;
    let user = server.user();
    let mut phone = online(&server, &format!("{user}/phone")).await;
    let payload = format!("<enable xmlns='{NS_PUSH}' jid='{SERVICE}' node='n'>{OPTIONS}</enable>");
    assert_eq!(phone.iq("set", "", &payload).await.get("type"), "result");
    phone.close().await;
    let mut sender = online(&server, &format!("{}/here", server.user())).await;
    sender.send(chat(&user, "one")).await;
    let notification = told(&mut service, "n", &["message-count=1"]).await;
    let wrong = notification.mismatch(&format!(
        "<iq type='set'><pubsub xmlns='{NS_PUBSUB}'><publish-options>{OPTIONS}</publish-options></pubsub></iq>"
    ));
    assert_eq!(wrong, None, "{notification:?}");
    // Nothing of what it says.
    assert!(!notification.raw().contains(sender.bare()), "{notification:?}");
    answer(&mut service, &notification).await;
    let two = format!(
        "<message to='{user}' type='chat'><body>two</body><origin-id xmlns='urn:xmpp:sid:0' id='2'/></message>"
    );
    sender.send(&two).await;
    announced(&mut service, "n", 2).await;
    // The same message again, as behind a broken connection.
    sender.send(&two).await;
    silent(&mut service, &mut sender, &user).await;
    // Once it was there, it begins anew.
    let mut phone = online(&server, &format!("{user}/phone")).await;
    phone.wait("<message type='chat'><body>two</body></message>").await;
    phone.forget().await;
    sender.send(chat(&user, "three")).await;
    silent(&mut service, &mut sender, &user).await;
    phone.close().await;
    sender.send(chat(&user, "four")).await;
    announced(&mut service, "n", 1).await;
    let mut phone = online(&server, &format!("{user}/phone")).await;
    let payload = format!("<disable xmlns='{NS_PUSH}' jid='{SERVICE}'/>");
    assert_eq!(phone.iq("set", "", &payload).await.get("type"), "result");
    phone.close().await;
    sender.send(chat(&user, "five")).await;
    silent(&mut service, &mut sender, &user).await;
}

#[tokio::test]
async fn what_is_worth_it() {
    let server = builder(3).start();
    let mut service = Client::component(&server, SERVICE).await;
    let user = away(&server, "n").await;
    let mut sender = online(&server, &format!("{}/here", server.user())).await;
    let store = "<store xmlns='urn:xmpp:hints'/>";
    for (attributes, content) in [
        (
            "type='chat'",
            "<composing xmlns='http://jabber.org/protocol/chatstates'/>".to_owned(),
        ),
        (
            "type='chat'",
            format!("<received xmlns='urn:xmpp:receipts' id='1'/>{store}"),
        ),
        (
            "type='chat'",
            format!("<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>{store}"),
        ),
        (
            "type='chat'",
            format!("<reactions xmlns='urn:xmpp:reactions:0' id='1'/>{store}"),
        ),
        ("type='headline'", "<body>news</body>".to_owned()),
        ("type='error'", "<body>back</body>".to_owned()),
        (
            "type='chat'",
            "<body>lost</body><no-store xmlns='urn:xmpp:hints'/>".to_owned(),
        ),
    ] {
        sender
            .send(format!("<message to='{user}' {attributes}>{content}</message>"))
            .await;
        settle(&mut sender, &user).await;
    }
    sender.forget().await;
    silent(&mut service, &mut sender, &user).await;
    for content in [
        "<body>hi</body>",
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><header/><payload>x</payload></encrypted>\
         <store xmlns='urn:xmpp:hints'/>",
        "<propose xmlns='urn:xmpp:jingle-message:0' id='c'/><store xmlns='urn:xmpp:hints'/>",
        "<x xmlns='urn:nobody:knows'/><store xmlns='urn:xmpp:hints'/>",
    ] {
        sender
            .send(format!("<message to='{user}' type='chat'>{content}</message>"))
            .await;
        let pattern = format!("<iq type='set'><pubsub xmlns='{NS_PUBSUB}'/></iq>");
        let notification = service.expect(&pattern).await;
        answer(&mut service, &notification).await;
    }
    // Nobody hears of who is blocked.
    let mut desktop = online(&server, &format!("{user}/desktop")).await;
    let block = format!(
        "<block xmlns='urn:xmpp:blocking'><item jid='{}'/></block>",
        sender.bare()
    );
    assert_eq!(desktop.iq("set", "", &block).await.get("type"), "result");
    sender.send(chat(&user, "blocked")).await;
    settle(&mut sender, &user).await;
    // Nor of what the account writes itself.
    desktop.send(chat(&user, "note")).await;
    settle(&mut desktop, "nobody@example.org").await;
    service.nothing_more().await;
}

#[tokio::test]
async fn who_is_there_and_who_is_not() {
    let server = builder(2).start();
    let mut service = Client::component(&server, SERVICE).await;
    let user = server.user();
    let mut phone = managed(&server, Transport::Direct, &format!("{user}/phone")).await;
    enable(&mut phone, "phone").await;
    let mut tablet = online(&server, &format!("{user}/tablet")).await;
    enable(&mut tablet, "tablet").await;
    let mut desktop = online(&server, &format!("{user}/desktop")).await;
    let mut sender = online(&server, &format!("{}/here", server.user())).await;
    sender.send(chat(&user, "both are there")).await;
    silent(&mut service, &mut sender, &user).await;
    // Nobody looks at it (XEP-0352), so somebody is told; who does look at another is not.
    tablet.inactive().await;
    tablet.forget().await;
    sender.send(chat(&user, "one sleeps")).await;
    announced(&mut service, "tablet", 1).await;
    silent(&mut service, &mut sender, &user).await;
    // Its connection is gone, and may come back.
    phone.forget().await;
    phone.ack().await;
    phone.ping().await;
    let session = lose(&server, phone, Loss::Reset).await;
    tablet.active().await;
    tablet.forget().await;
    sender.send(chat(&user, "one is lost")).await;
    announced(&mut service, "phone", 1).await;
    silent(&mut service, &mut sender, &user).await;
    let mut phone = Client::resume(&server, Transport::Direct, &session).await;
    phone
        .wait("<message type='chat'><body>one is lost</body></message>")
        .await;
    sender.send(chat(&user, "all are there")).await;
    silent(&mut service, &mut sender, &user).await;
    // It wants no messages that are not for itself (RFC 6121 section 4.7.2.3).
    tablet.presence("<presence><priority>-1</priority></presence>").await;
    tablet.inactive().await;
    tablet.forget().await;
    sender.send(chat(&user, "not for this")).await;
    silent(&mut service, &mut sender, &user).await;
    let own = format!("{user}/tablet");
    sender.send(chat(&own, "for this")).await;
    announced(&mut service, "tablet", 1).await;
    desktop.forget().await;
    // Both have gone: each is told, once.
    tablet.close().await;
    phone.close().await;
    sender.send(chat(&user, "both are away")).await;
    let pattern =
        |node: &str| format!("<iq type='set'><pubsub xmlns='{NS_PUBSUB}'><publish node='{node}'/></pubsub></iq>");
    service.expect_all(&[&pattern("phone"), &pattern("tablet")]).await;
    silent(&mut service, &mut sender, &user).await;
    assert!(desktop.drain().await.iter().all(|stanza| stanza.name() != "iq"));
    assert!(!NS_CSI.is_empty());
}

/// A connection that is dead looks alive until the kernel knows better: what it was given is announced then.
#[tokio::test]
async fn what_a_dead_connection_was_given() {
    let server = builder(2).start();
    let mut service = Client::component(&server, SERVICE).await;
    let user = server.user();
    let mut phone = managed(&server, Transport::Direct, &format!("{user}/phone")).await;
    enable(&mut phone, "n").await;
    phone.forget().await;
    phone.ack().await;
    phone.ping().await;
    phone.answer_requests(false);
    let mut sender = online(&server, &format!("{}/here", server.user())).await;
    sender.send(chat(&user, "lost")).await;
    silent(&mut service, &mut sender, &user).await;
    let session = lose(&server, phone, Loss::Reset).await;
    announced(&mut service, "n", 1).await;
    // Nothing of what was acknowledged.
    let mut phone = Client::resume(&server, Transport::Direct, &session).await;
    phone.wait("<message type='chat'><body>lost</body></message>").await;
    phone.ack().await;
    phone.ping().await;
    lose(&server, phone, Loss::Reset).await;
    silent(&mut service, &mut sender, &user).await;
}

#[tokio::test]
async fn what_is_told_by_policy() {
    let server = builder(2).toml("[push]\ninclude = [\"sender\", \"body\"]\n").start();
    let mut service = Client::component(&server, SERVICE).await;
    let user = away(&server, "n").await;
    let mut sender = online(&server, &format!("{}/here", server.user())).await;
    let from = format!("last-message-sender={}", sender.jid);
    sender.send(chat(&user, "shown")).await;
    let notification = told(
        &mut service,
        "n",
        &["message-count=1", &from, "last-message-body=shown"],
    )
    .await;
    answer(&mut service, &notification).await;
    sender
        .send(format!(
            "<message to='{user}' type='chat'><body>This is encrypted.</body>\
             <encrypted xmlns='eu.siacs.conversations.axolotl'><payload>x</payload></encrypted></message>"
        ))
        .await;
    told(&mut service, "n", &["message-count=2", &from]).await;
}

#[tokio::test]
async fn services_that_want_no_more() {
    let mut server = builder(6).start();
    let mut service = Client::component(&server, SERVICE).await;
    let mut sender = online(&server, &format!("{}/here", server.user())).await;
    let mut ended = Vec::new();
    for condition in ["item-not-found", "forbidden", "not-authorized"] {
        let user = away(&server, "n").await;
        sender.send(chat(&user, "one")).await;
        let notification = told(&mut service, "n", &["message-count=1"]).await;
        // Somebody else knows nothing of it.
        let forged = format!("<iq type='error' id='{}' to='example.org'/>", notification.get("id"));
        sender.send(forged).await;
        sender.ping().await;
        refuse(&mut service, &notification, "cancel", condition).await;
        service.ping().await;
        sender.send(chat(&user, "two")).await;
        silent(&mut service, &mut sender, &user).await;
        ended.push(user);
    }
    // Section 8: it says so itself; nobody is bothered with it.
    let user = away(&server, "n").await;
    let mut desktop = online(&server, &format!("{user}/desktop")).await;
    let notice = |from: &str, node: &str| {
        format!(
            "<message from='{from}' to='{user}'><pubsub xmlns='{NS_PUBSUB}' node='{node}'>\
             <affiliation jid='{user}' affiliation='none'/></pubsub></message>"
        )
    };
    service.send(notice(SERVICE, "n")).await;
    settle(&mut service, &user).await;
    desktop.nothing_more().await;
    sender.send(chat(&user, "one")).await;
    silent(&mut service, &mut sender, &user).await;
    desktop.forget().await;
    // What is not announced there is no concern of the server's.
    service.send(notice(SERVICE, "other")).await;
    desktop.expect(&format!("<message from='{SERVICE}'/>")).await;
    ended.push(user);
    server.kill9();
    server.start();
    let mut service = Client::component(&server, SERVICE).await;
    let mut sender = online(&server, &format!("{}/here", sender.bare())).await;
    for user in ended {
        sender.send(chat(&user, "three")).await;
        silent(&mut service, &mut sender, &user).await;
    }
}

#[tokio::test]
async fn what_lasts() {
    let mut server = builder(2).start();
    let mut service = Client::component(&server, SERVICE).await;
    let user = away(&server, "n").await;
    let sender = format!("{}/here", server.user());
    let mut client = online(&server, &sender).await;
    client.send(chat(&user, "one")).await;
    announced(&mut service, "n", 1).await;
    server.kill9();
    server.start();
    let mut service = Client::component(&server, SERVICE).await;
    let mut client = online(&server, &sender).await;
    client.send(chat(&user, "two")).await;
    // What waits is counted, whatever the process knew.
    announced(&mut service, "n", 2).await;
    // An account that is removed takes it along.
    let removed = server.jackdaw(&["account", "remove", &user], "");
    assert!(removed.status.success());
    server.import(&[(user.clone(), testkit::password_of(&user))]);
    client.send(chat(&user, "three")).await;
    silent(&mut service, &mut client, &user).await;
}

/// It has no time, and is asked again a while later; or it is not there.
#[tokio::test]
async fn tried_again() {
    let server = builder(2).limit("resume_seconds", 1).start();
    let mut service = Client::component(&server, SERVICE).await;
    let user = away(&server, "n").await;
    let mut sender = online(&server, &format!("{}/here", server.user())).await;
    sender.send(chat(&user, "one")).await;
    let notification = told(&mut service, "n", &["message-count=1"]).await;
    refuse(&mut service, &notification, "wait", "resource-constraint").await;
    service.ping().await;
    // Not more of it meanwhile.
    sender.send(chat(&user, "two")).await;
    silent(&mut service, &mut sender, &user).await;
    announced(&mut service, "n", 2).await;
    service.close().await;
    sender.send(chat(&user, "three")).await;
    settle(&mut sender, &user).await;
    let mut service = Client::component(&server, SERVICE).await;
    announced(&mut service, "n", 3).await;
    // It does not answer: no more than four are under way.
    let mut unanswered = Vec::new();
    for count in 4..=9 {
        sender.send(chat(&user, &format!("message {count}"))).await;
        if count < 8 {
            let said = format!("message-count={count}");
            unanswered.push(told(&mut service, "n", &[&said]).await);
        }
    }
    silent(&mut service, &mut sender, &user).await;
    answer(&mut service, &unanswered[0]).await;
    announced(&mut service, "n", 9).await;
    service.nothing_more().await;
}

/// What was read on another device before it could be announced is not.
#[tokio::test]
async fn read_elsewhere() {
    let server = builder(5).limit("resume_seconds", 1).start();
    let sender = format!("{}/here", server.user());
    let mut sender = online(&server, &sender).await;
    let peer = sender.bare().to_owned();
    let mds = format!(
        "<pubsub xmlns='{NS_PUBSUB}'><publish node='urn:xmpp:mds:displayed:0'><item id='{peer}'>\
         <displayed xmlns='urn:xmpp:mds:displayed:0'><stanza-id xmlns='urn:xmpp:sid:0' by='x' id='1'/></displayed>\
         </item></publish></pubsub>"
    );
    let mut users = Vec::new();
    for number in 0..4 {
        users.push(away(&server, &format!("n{number}")).await);
    }
    // Nobody is there to be told: all of them wait. The last is the clock of the others.
    for (number, user) in users.iter().enumerate() {
        let mut desktop = online(&server, &format!("{user}/desktop")).await;
        sender.send(chat(user, "hi")).await;
        settle(&mut sender, user).await;
        desktop.expect("<message type='chat'><body>hi</body></message>").await;
        match number {
            0 => desktop.send(chat(&peer, "an answer")).await,
            1 => {
                desktop
                    .send(format!(
                        "<message to='{peer}' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='hi'/></message>"
                    ))
                    .await;
            }
            2 => assert_eq!(desktop.iq("set", "", &mds).await.get("type"), "result"),
            // Of somebody else.
            _ => desktop.send(chat("nobody@example.org", "an answer")).await,
        }
        settle(&mut desktop, &peer).await;
    }
    let mut service = Client::component(&server, SERVICE).await;
    announced(&mut service, "n3", 1).await;
    service.nothing_more().await;
}

/// Who may not come in any more is told of nothing; others of the account are.
#[tokio::test]
async fn a_client_whose_access_is_revoked() {
    let server = builder(2).start();
    let mut service = Client::component(&server, SERVICE).await;
    let user = server.user();
    let (mut stolen, _) = come(&server, Transport::Direct, &user, 1).await;
    enable(&mut stolen, "stolen").await;
    let (mut phone, _) = come(&server, Transport::Direct, &user, 2).await;
    enable(&mut phone, "phone").await;
    let id = id_of(&devices(&server, &user), &stolen.jid);
    stolen.close().await;
    phone.close().await;
    assert_eq!(revoke(&server, &user, &id, &["--keep-password"]), Ok(()));
    let mut sender = online(&server, &format!("{}/here", server.user())).await;
    sender.send(chat(&user, "secret")).await;
    announced(&mut service, "phone", 1).await;
    silent(&mut service, &mut sender, &user).await;
}
