//! Ad-hoc commands of the server, whatever they do (XEP-0050).

use testkit::{Client, Server, Stanza, Transport};

use crate::support::{error_of, is_result};

pub(crate) const COMMANDS: &str = "http://jabber.org/protocol/commands";
const DOMAIN: &str = "example.org";

/// A server that `boss@example.org` may administer, by its configuration.
pub(crate) fn with_admin(users: usize) -> Server {
    let server = Server::builder().account("boss@example.org").users(users);
    server.toml("admins = [\"boss@example.org\"]\n").start()
}

pub(crate) fn command(node: &str, attributes: &str, inner: &str) -> String {
    format!("<command xmlns='{COMMANDS}' node='{node}' {attributes}>{inner}</command>")
}

/// Names of fields, with their values.
pub(crate) type Fields<'a> = &'a [(&'a str, &'a [&'a str])];

/// A form that is filled in.
pub(crate) fn filled(fields: Fields<'_>) -> String {
    let field = |(var, values): &(&str, &[&str])| {
        let values = values.iter().map(|value| format!("<value>{value}</value>"));
        format!("<field var='{var}'>{}</field>", values.collect::<String>())
    };
    let fields: String = fields.iter().map(field).collect();
    format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>")
}

/// An attribute of the `<command/>` in an answer.
pub(crate) fn says(answer: &Stanza, attribute: &str) -> String {
    let command = answer.get_child("command", COMMANDS);
    let value = command.and_then(|command| command.attr(attribute));
    value.unwrap_or_default().to_owned()
}

/// Begins a command that has a form, and returns its session and the answer.
pub(crate) async fn begin(client: &mut Client, node: &str) -> (String, Stanza) {
    let answer = client.iq("set", DOMAIN, &command(node, "action='execute'", "")).await;
    assert_eq!(says(&answer, "status"), "executing", "{}", answer.raw());
    (says(&answer, "sessionid"), answer)
}

/// Goes on with it.
pub(crate) async fn submit(client: &mut Client, node: &str, id: &str, fields: Fields<'_>) -> Stanza {
    let command = command(node, &format!("sessionid='{id}'"), &filled(fields));
    client.iq("set", DOMAIN, &command).await
}

/// Both.
pub(crate) async fn run(client: &mut Client, node: &str, fields: Fields<'_>) -> Stanza {
    let (id, _) = begin(client, node).await;
    submit(client, node, &id, fields).await
}

/// The condition of an error and that of the XEP.
fn refusal(answer: &Stanza) -> (String, String) {
    let error = answer.get_child("error", "jabber:client");
    let own = error.and_then(|error| error.children().find(|child| child.ns() == COMMANDS));
    let own = own.map(|own| own.name().to_owned()).unwrap_or_default();
    (error_of(answer), own)
}

const ADD: &str = "http://jabber.org/protocol/admin#add-user";
const COUNT: &str = "http://jabber.org/protocol/admin#get-registered-users-num";

#[tokio::test]
async fn commands_are_found_and_carried_out() {
    let server = with_admin(5);
    for transport in Transport::EVERY {
        let mut boss = Client::online(&server, transport, "boss@example.org").await;
        // Section 2.1.
        let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
        let answer = boss.iq("get", DOMAIN, info).await;
        is_result(
            &answer,
            &format!("<query xmlns='http://jabber.org/protocol/disco#info'><feature var='{COMMANDS}'/></query>"),
        );
        // Section 2.2.
        let items = format!("<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>");
        let answer = boss.iq("get", DOMAIN, &items).await;
        is_result(
            &answer,
            &format!(
                "<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'>\
                 <item jid='{DOMAIN}' node='{ADD}' name='Add a user'/></query>"
            ),
        );
        let of_list = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{COMMANDS}'/>");
        let answer = boss.iq("get", DOMAIN, &of_list).await;
        is_result(
            &answer,
            "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='automation' type='command-list'/></query>",
        );
        let of_command = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{ADD}'/>");
        let answer = boss.iq("get", DOMAIN, &of_command).await;
        is_result(
            &answer,
            &format!(
                "<query xmlns='http://jabber.org/protocol/disco#info' node='{ADD}'>\
                 <identity category='automation' type='command-node' name='Add a user'/>\
                 <feature var='{COMMANDS}'/><feature var='jabber:x:data'/></query>"
            ),
        );

        // Section 2.4.1: without a form.
        let answer = boss.iq("set", DOMAIN, &command(COUNT, "", "")).await;
        is_result(
            &answer,
            &format!(
                "<command xmlns='{COMMANDS}' node='{COUNT}' status='completed'><x xmlns='jabber:x:data' type='result'>\
                 <field var='registeredusersnum'/></x></command>"
            ),
        );
        // Section 2.4.2: with one; "cancel" of a form is "submit" (section 3.5.1), and a status is ignored.
        let (id, answer) = begin(&mut boss, ADD).await;
        is_result(
            &answer,
            &format!(
                "<command xmlns='{COMMANDS}' node='{ADD}' status='executing'>\
                 <actions execute='complete'><complete/></actions>\
                 <x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE' type='hidden'>\
                 <value>http://jabber.org/protocol/admin</value></field>\
                 <field var='accountjid' type='jid-single'><required/></field></x></command>"
            ),
        );
        let account = format!("new-{transport:?}@{DOMAIN}");
        let fields: Fields<'_> = &[
            ("accountjid", &[&account]),
            ("password", &["secret"]),
            ("password-verify", &["secret"]),
        ];
        let form = filled(fields).replace("type='submit'", "type='cancel'");
        let attributes = format!("sessionid='{id}' action='complete' status='executing'");
        let answer = boss.iq("set", DOMAIN, &command(ADD, &attributes, &form)).await;
        assert_eq!(
            (says(&answer, "status"), says(&answer, "sessionid")),
            ("completed".to_owned(), id.clone()),
            "{}",
            answer.raw()
        );
        // Section 2.4.3.
        let (canceled, _) = begin(&mut boss, ADD).await;
        let attributes = format!("sessionid='{canceled}' action='cancel'");
        let answer = boss.iq("set", DOMAIN, &command(ADD, &attributes, "")).await;
        assert_eq!(says(&answer, "status"), "canceled", "{}", answer.raw());
        // Neither goes on (section 4.4).
        for ended in [&id, &canceled] {
            let answer = submit(&mut boss, ADD, ended, fields).await;
            let expected = ("cancel/not-allowed".to_owned(), "session-expired".to_owned());
            assert_eq!(refusal(&answer), expected);
        }
        boss.close().await;
    }
}

/// Section 4.4, all of it.
#[tokio::test]
async fn what_is_refused() {
    let server = with_admin(5);
    let transport = Transport::Starttls;
    let mut boss = Client::online(&server, transport, "boss@example.org/one").await;
    let mut other = Client::online(&server, transport, "boss@example.org/two").await;
    let mut user = Client::online(&server, transport, &server.user()).await;
    let (id, _) = begin(&mut boss, ADD).await;
    let session = format!("sessionid='{id}'");
    let with = |more: &str| format!("{session} {more}");
    let form = filled(&[("accountjid", &["x@example.org"])]);
    let cases = [
        (ADD, "action='explode'", "", "malformed-action"),
        (ADD, "action='next'", "", "bad-action"),
        (ADD, "action='prev'", "", "bad-action"),
        (ADD, &*with("action='prev'"), "", "bad-action"),
        (ADD, &*with("action='next'"), &*form, "bad-action"),
        (ADD, &*with("action='explode'"), &*form, "malformed-action"),
        (ADD, "xml:lang='no_language'", "", "bad-locale"),
        (ADD, &*session, "", "bad-payload"),
        (ADD, &*session, "<x xmlns='jabber:x:data' type='form'/>", "bad-payload"),
        (ADD, &*session, &*form, "bad-payload"),
        (ADD, "sessionid='1'", &*form, "bad-sessionid"),
        (ADD, "sessionid=''", &*form, "bad-sessionid"),
        (COUNT, &*session, &*form, "bad-sessionid"),
    ];
    for (node, attributes, inner, expected) in cases {
        let answer = boss.iq("set", DOMAIN, &command(node, attributes, inner)).await;
        let found = refusal(&answer);
        assert_eq!(
            found,
            ("modify/bad-request".to_owned(), expected.to_owned()),
            "{attributes}: {}",
            answer.raw()
        );
    }
    // A session is of the resource that began it.
    let answer = submit(&mut other, ADD, &id, &[]).await;
    assert_eq!(refusal(&answer).1, "bad-sessionid");
    // After all of that it can still be canceled.
    let attributes = with("action='cancel'");
    let answer = boss.iq("set", DOMAIN, &command(ADD, &attributes, "")).await;
    assert_eq!(says(&answer, "status"), "canceled");

    let answer = boss.iq("set", DOMAIN, &command("urn:nobody:knows", "", "")).await;
    assert_eq!(error_of(&answer), "cancel/item-not-found");
    let without_node = format!("<command xmlns='{COMMANDS}'/>");
    let answer = boss.iq("set", DOMAIN, &without_node).await;
    assert_eq!(error_of(&answer), "modify/bad-request");
    // XEP-0133 section 5 has another one for its own.
    let restart = command("http://jabber.org/protocol/admin#restart", "", "");
    assert_eq!(
        error_of(&boss.iq("set", DOMAIN, &restart).await),
        "cancel/feature-not-implemented"
    );
    let answer = user.iq("set", DOMAIN, &command(ADD, "", "")).await;
    assert_eq!(error_of(&answer), "auth/forbidden");
    // Section 2.2: "If the command is not available to the requester, the responder SHOULD respond with a 403".
    let info = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{ADD}'/>");
    assert_eq!(error_of(&user.iq("get", DOMAIN, &info).await), "auth/forbidden");
}

/// One account has eight commands under way; the ninth ends the first.
#[tokio::test]
async fn there_are_so_many_at_once() {
    let server = with_admin(1);
    let mut boss = Client::online(&server, Transport::Direct, "boss@example.org").await;
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(begin(&mut boss, ADD).await.0);
    }
    let first = submit(&mut boss, ADD, &ids[0], &[]).await;
    assert_eq!(refusal(&first).1, "session-expired");
    let second = submit(&mut boss, ADD, &ids[1], &[]).await;
    assert_eq!(refusal(&second).1, "bad-payload");
}
