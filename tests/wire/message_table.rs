//! Table 1 of RFC 6121 section 8.5.4, every cell. Where the table leaves a choice, this is ours: an error for what
//! cannot be delivered (E), storing for who is away (O), the resources of the highest priority (M).

use testkit::{Client, Server, Transport};

use crate::support::{error_of, settle};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Missing,
    Absent,
    /// One resource of negative priority.
    Negative,
    /// One of non-negative priority.
    One,
    /// "high" and "high2" of the highest priority, "low" of a lower one, "minus" of a negative one.
    Several,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    Bare,
    /// The resource "low", or the only one.
    Match,
    NoMatch,
}

/// O: stored; E: error; S: silence; D: to the resource that is addressed, or the only one; M: to the highest; A: to all
/// that are not negative.
const TYPES: [&str; 6] = ["normal", "chat", "groupchat", "headline", "error", "foo"];
const TABLE: [(Condition, To, [char; 6]); 13] = {
    use Condition::{Absent, Missing, Negative, One, Several};
    use To::{Bare, Match, NoMatch};
    [
        (Missing, Bare, ['E', 'E', 'E', 'S', 'S', 'E']),
        (Missing, NoMatch, ['E', 'E', 'E', 'S', 'S', 'E']),
        (Absent, Bare, ['O', 'O', 'E', 'S', 'S', 'O']),
        (Absent, NoMatch, ['E', 'O', 'E', 'S', 'S', 'E']),
        (Negative, Bare, ['O', 'O', 'E', 'S', 'S', 'O']),
        (Negative, Match, ['D', 'D', 'D', 'D', 'D', 'D']),
        (Negative, NoMatch, ['E', 'O', 'E', 'S', 'S', 'E']),
        (One, Bare, ['D', 'D', 'E', 'D', 'S', 'D']),
        (One, Match, ['D', 'D', 'D', 'D', 'D', 'D']),
        (One, NoMatch, ['E', 'D', 'E', 'S', 'S', 'E']),
        (Several, Bare, ['M', 'M', 'E', 'A', 'S', 'M']),
        (Several, Match, ['D', 'D', 'D', 'D', 'D', 'D']),
        (Several, NoMatch, ['E', 'M', 'E', 'S', 'S', 'E']),
    ]
};

fn resources(condition: Condition) -> &'static [(&'static str, i8)] {
    match condition {
        Condition::Missing | Condition::Absent => &[],
        Condition::Negative => &[("low", -1)],
        Condition::One => &[("low", 0)],
        Condition::Several => &[("high", 5), ("high2", 5), ("low", 0), ("minus", -1)],
    }
}

fn receivers(what: char) -> &'static [&'static str] {
    match what {
        'D' => &["low"],
        'M' => &["high", "high2"],
        'A' => &["high", "high2", "low"],
        _ => &[],
    }
}

#[tokio::test]
async fn every_cell() {
    let server = Server::with_users(30);
    for transport in Transport::BOTH {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        for (condition, to, row) in TABLE {
            check(&server, transport, &mut sender, condition, to, row).await;
        }
    }
}

async fn check(
    server: &Server,
    transport: Transport,
    sender: &mut Client,
    condition: Condition,
    to: To,
    row: [char; 6],
) {
    let bare = if condition == Condition::Missing {
        "nobody-here@example.org".to_owned()
    } else {
        server.user()
    };
    let mut there = Vec::new();
    for (resource, priority) in resources(condition) {
        let mut client = Client::login(server, transport, &format!("{bare}/{resource}")).await;
        client
            .presence(&format!("<presence><priority>{priority}</priority></presence>"))
            .await;
        there.push(client);
    }
    for client in &mut there {
        client.forget().await;
    }
    let address = match to {
        To::Bare => bare.clone(),
        To::Match => format!("{bare}/low"),
        To::NoMatch => format!("{bare}/gone"),
    };
    let mut stored = Vec::new();
    for (kind, what) in TYPES.into_iter().zip(row) {
        let case = format!("{condition:?} {to:?} {kind}: {what}");
        // An error that is answered to must carry one.
        let extra = if kind == "error" {
            "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        } else {
            ""
        };
        let attribute = if kind == "normal" {
            String::new()
        } else {
            format!(" type='{kind}'")
        };
        sender
            .send(format!(
                "<message to='{address}' id='{kind}'{attribute}><body>{case}</body>{extra}</message>"
            ))
            .await;
        settle(sender, &bare).await;

        let answers = sender.drain().await;
        if what == 'E' {
            assert_eq!(answers.len(), 1, "{case}: one error, {answers:?} came");
            assert_eq!(error_of(&answers[0]), "cancel/service-unavailable", "{case}");
            let wanted = format!(
                "<message type='error' id='{kind}' from='{address}' to='{}'/>",
                sender.jid
            );
            assert_eq!(answers[0].mismatch(&wanted), None, "{case}: {answers:?}");
        } else {
            assert!(answers.is_empty(), "{case}: the sender hears nothing, {answers:?} came");
        }
        for client in &mut there {
            let came = client.drain().await;
            if receivers(what).contains(&client.resource()) {
                assert_eq!(came.len(), 1, "{case}: {} gets it once, {came:?} came", client.jid);
                // "MUST NOT rewrite the 'to' attribute"
                assert_eq!(came[0].get("to"), address, "{case}");
                assert_eq!(came[0].get("from"), sender.jid, "{case}");
                assert_eq!(came[0].get("id"), kind, "{case}");
                let body = came[0].get_child("body", "jabber:client").map(|body| body.text());
                assert_eq!(body.as_deref(), Some(case.as_str()));
            } else {
                assert!(came.is_empty(), "{case}: {} gets nothing, {came:?} came", client.jid);
            }
        }
        if what == 'O' {
            stored.push(case);
        }
    }
    for client in there {
        client.close().await;
    }
    if condition == Condition::Missing {
        return;
    }
    // What was stored, and nothing else, in its order.
    let mut back = Client::online(server, transport, &format!("{bare}/back")).await;
    for case in &stored {
        let message = back.wait_keeping(|stanza| stanza.name() == "message").await;
        assert_eq!(
            message
                .get_child("body", "jabber:client")
                .map(|body| body.text())
                .as_ref(),
            Some(case)
        );
        assert!(message.has_child("delay", "urn:xmpp:delay"), "{message:?}");
        assert_eq!(message.get("to"), address);
    }
    let rest = back.drain().await;
    assert!(
        rest.iter().all(|stanza| stanza.name() == "iq"),
        "{condition:?} {to:?}: nothing else was stored: {rest:?}"
    );
    back.close().await;
}
