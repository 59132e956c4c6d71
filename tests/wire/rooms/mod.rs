//! Rooms (XEP-0045): who enters, speaks and rules there, on the wire of all of them.
//!
//! One file for the chapters of each role, and one for each extension.

mod admin;
mod archive;
mod basics;
mod court;
mod durable;
mod entering;
mod extensions;
mod moderation;
mod moderator;
mod occupant;
mod owner;
mod private;
mod push;
mod service;

use testkit::{Client, Server, Stanza};

pub(crate) const MUC: &str = "http://jabber.org/protocol/muc";
pub(crate) const USER: &str = "http://jabber.org/protocol/muc#user";
pub(crate) const ADMIN: &str = "http://jabber.org/protocol/muc#admin";
pub(crate) const OWNER: &str = "http://jabber.org/protocol/muc#owner";

/// An address for a room that no other test uses.
pub(crate) fn room_of(server: &Server) -> String {
    // The names of users are given out once.
    let user = server.user();
    let (local, domain) = user.split_once('@').unwrap_or_default();
    format!("room-{local}@conference.{domain}")
}

/// Enters with these children of `<x/>`, and returns the presence of the occupant itself, which comes last.
pub(crate) async fn join_with(client: &mut Client, room: &str, nick: &str, children: &str) -> Stanza {
    client
        .send(format!(
            "<presence to='{room}/{nick}'><x xmlns='{MUC}'>{children}</x></presence>"
        ))
        .await;
    client
        .wait(&format!(
            "<presence from='{room}/{nick}'><x xmlns='{USER}'><status code='110'/></x></presence>"
        ))
        .await
}

/// Enters without history, and reads all that comes of it: the subject comes last.
pub(crate) async fn join(client: &mut Client, room: &str, nick: &str) {
    join_with(client, room, nick, "<history maxstanzas='0'/>").await;
    client
        .wait(&format!("<message from='{room}' type='groupchat'><subject/></message>"))
        .await;
}

/// Makes a room, and configures it with these fields, given as `var=value`.
pub(crate) async fn make(client: &mut Client, room: &str, nick: &str, fields: &[&str]) {
    join_with(client, room, nick, "").await;
    let answer = configure(client, room, fields).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
    client.forget().await;
}

/// Submits a configuration, with what else stays as it is; returns the answer.
pub(crate) async fn configure(client: &mut Client, room: &str, fields: &[&str]) -> Stanza {
    let fields: String = fields
        .iter()
        .map(|field| {
            let (var, value) = field.split_once('=').unwrap_or((field, ""));
            let var = if var.contains(['#', '{']) {
                var.to_owned()
            } else {
                format!("muc#roomconfig_{var}")
            };
            format!("<field var='{var}'><value>{value}</value></field>")
        })
        .collect();
    let form = format!(
        "<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='submit'>\
         <field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>{fields}</x></query>"
    );
    client.iq("set", room, &form).await
}

/// Says something to everybody.
pub(crate) async fn say(client: &mut Client, room: &str, id: &str, text: &str) {
    client
        .send(format!(
            "<message to='{room}' type='groupchat' id='{id}'><body>{text}</body></message>"
        ))
        .await;
}

/// Somebody changes roles or affiliations, and may.
pub(crate) async fn change(client: &mut Client, room: &str, items: &str) {
    let answer = client
        .iq("set", room, &format!("<query xmlns='{ADMIN}'>{items}</query>"))
        .await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
}

/// Who these are is not told.
#[track_caller]
pub(crate) fn nobody_knows(came: &[Stanza], who: &[&Client]) {
    for (stanza, client) in came
        .iter()
        .flat_map(|stanza| who.iter().map(move |client| (stanza, client)))
    {
        let (local, _) = client.bare().split_once('@').unwrap_or_default();
        assert!(
            !stanza.raw().contains(&format!("{local}@")),
            "{} is told: {stanza:?}",
            client.bare()
        );
    }
}
