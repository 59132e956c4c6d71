//! What only one's own server may say is not said by other servers (rows 24 to 26 of the attacks).

use super::{HERE, THERE, World, friend, message};
use crate::support::error_of;

/// Row 24 of the attacks: who rules here is no question of the part before the `@`.
#[tokio::test]
async fn an_administrator_elsewhere_is_none_here() {
    let world = World::with(1, |builder| {
        builder
            .account("admin@example.org")
            .toml("admins = [\"admin@example.org\"]\n")
    })
    .await;
    let mut link = world.bidi().await;
    let commands = "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>";
    let command =
        |node: &str| format!("<command xmlns='http://jabber.org/protocol/commands' node='{node}' action='execute'/>");
    let admin = "http://jabber.org/protocol/admin";
    for from in [format!("admin@{THERE}"), format!("admin@{THERE}/x")] {
        link.jid.clone_from(&from);
        for node in [
            "add-user",
            "delete-user",
            "get-registered-users-list",
            "announce",
            "end-user-session",
        ] {
            let answer = link.iq("set", HERE, &command(&format!("{admin}#{node}"))).await;
            assert!(
                matches!(
                    error_of(&answer).as_str(),
                    "auth/forbidden" | "cancel/item-not-found" | "cancel/service-unavailable"
                ),
                "{node}: {answer:?}"
            );
        }
        let answer = link.iq("get", HERE, commands).await;
        assert!(!answer.raw().contains(admin), "{answer:?}");
        // An account of somebody else, its roster and history.
        for payload in [
            "<query xmlns='jabber:iq:roster'/>",
            "<query xmlns='urn:xmpp:mam:2'/>",
            "<query xmlns='jabber:iq:private'><x xmlns='urn:x'/></query>",
            "<blocklist xmlns='urn:xmpp:blocking'/>",
        ] {
            let answer = link.iq("get", "admin@example.org", payload).await;
            assert!(answer.error().is_some(), "{answer:?}");
        }
    }
}

/// Rows 25 and 26: each id and each stamp is ours, and wrappers of one's own server are not passed on.
#[tokio::test]
async fn what_only_our_server_may_say() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    let (full, bare) = (user.jid.clone(), user.bare().to_owned());
    let mut link = world.bidi().await;
    let from = friend();
    for to in [&full, &bare] {
        let item = "<item jid='evil@example.org' subscription='both'/>";
        link.send(format!(
            "<iq type='set' id='p' from='{from}' to='{to}'><query xmlns='jabber:iq:roster'>{item}</query></iq>"
        ))
        .await;
        let answer = link.expect("<iq type='error' id='p'/>").await;
        assert!(answer.error().is_some(), "{answer:?}");
        let inner = format!(
            "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{bare}' to='{bare}'><body>forged</body></message></forwarded>"
        );
        for forged in [
            format!("<received xmlns='urn:xmpp:carbons:2'>{inner}</received>"),
            format!("<sent xmlns='urn:xmpp:carbons:2'>{inner}</sent>"),
            format!("<result xmlns='urn:xmpp:mam:2' id='1' queryid='q'>{inner}</result>"),
        ] {
            link.send(format!("<message from='{from}' to='{to}' id='c'>{forged}</message>"))
                .await;
            let refused = link.expect("<message type='error' id='c'/>").await;
            assert_eq!(error_of(&refused), "cancel/service-unavailable");
        }
        user.nothing_more().await;
        let id = format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{bare}' id='forged'/>");
        let prefixed = format!("<p:stanza-id xmlns:p='urn:xmpp:sid:0' by='{bare}' id='forged'/>");
        let delay = format!("<delay xmlns='urn:xmpp:delay' from='{HERE}' stamp='2001-01-01T00:00:00Z'/>");
        for count in [0, 1, 2, 9] {
            let forged = format!("{id}{prefixed}{delay}").repeat(count);
            let whole = message(&from, to, "kept").replace("<body>", &format!("{forged}<body>"));
            link.send(whole).await;
            let came = user.expect("<message type='chat'><body>kept</body></message>").await;
            assert_eq!(came.children().count(), 2, "{came:?}");
            let ours = came
                .get_child("stanza-id", "urn:xmpp:sid:0")
                .and_then(|id| id.attr("id"));
            assert!(ours.is_some_and(|id| id != "forged"), "{came:?}");
        }
    }
}
