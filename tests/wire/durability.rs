//! kill -9: what was answered is there afterwards.

use testkit::{Client, Server, Transport};

use crate::support::{NS_ROSTER, befriend, items, roster, settle_durably};

#[tokio::test]
async fn what_was_answered_survives() {
    let mut server = Server::with_users(6);
    let transport = Transport::Direct;
    let (ja, jb, jc) = (server.user(), server.user(), server.user());

    // Subscriptions, pre-approvals, requests, the last activity.
    let mut a = Client::online(&server, transport, &format!("{ja}/a")).await;
    let mut b = Client::online(&server, transport, &format!("{jb}/b")).await;
    roster(&mut a).await;
    roster(&mut b).await;
    befriend(&mut a, &mut b).await;
    a.send("<presence type='subscribed' to='later@example.org'/>").await;
    a.wait_keeping(|stanza| {
        stanza.matches(&format!(
            "<iq type='set'><query xmlns='{NS_ROSTER}'><item jid='later@example.org' approved='true'/></query></iq>"
        ))
    })
    .await;
    a.send(format!(
        "<presence type='subscribe' to='{jc}'><status>hello</status></presence>"
    ))
    .await;
    a.wait_keeping(|stanza| {
        stanza.matches(&format!(
            "<iq type='set'><query xmlns='{NS_ROSTER}'><item jid='{jc}' ask='subscribe'/></query></iq>"
        ))
    })
    .await;
    b.send("<presence type='unavailable'><status>back soon</status></presence>")
        .await;
    a.wait(&format!("<presence type='unavailable' from='{}'/>", b.jid))
        .await;
    settle_durably(&mut b, &jc).await;
    // Messages.
    for number in 0..20 {
        a.send(format!(
            "<message to='{jc}' type='chat'><body>{number}</body></message>"
        ))
        .await;
    }
    settle_durably(&mut a, &jc).await;
    // And at the last moment a change of the roster: its result is the promise.
    let answer = a
        .iq(
            "set",
            "",
            &format!(
                "<query xmlns='{NS_ROSTER}'><item jid='last@example.net' name='Last'><group>G</group></item></query>"
            ),
        )
        .await;
    assert_eq!(answer.get("type"), "result");
    server.kill9();
    server.start();

    let mut a = Client::login(&server, transport, &format!("{ja}/a")).await;
    let after = roster(&mut a).await;
    assert_eq!(
        items(&after),
        [
            "barrier@example.org - none - ".to_owned(),
            "last@example.net Last none - G".to_owned(),
            "later@example.org - none - ".to_owned(),
            format!("{jb} - both - "),
            format!("{jc} - none subscribe "),
        ]
    );
    assert!(
        after
            .children()
            .any(|item| item.attr("jid") == Some("later@example.org") && item.attr("approved") == Some("true"))
    );
    a.presence("<presence/>").await;
    a.nothing_more().await;
    let last = a.iq("get", &jb, "<query xmlns='jabber:iq:last'/>").await;
    assert_eq!(
        last.get_child("query", "jabber:iq:last")
            .map(|query| query.text())
            .as_deref(),
        Some("back soon"),
        "{last:?}"
    );

    let mut c = Client::login(&server, transport, &jc).await;
    c.send("<presence/>").await;
    c.wait_keeping(|stanza| {
        stanza.matches(&format!(
            "<presence type='subscribe' from='{ja}'><status>hello</status></presence>"
        ))
    })
    .await;
    let mut numbers = Vec::new();
    loop {
        let stanza = c.stanza().await;
        if stanza.name() == "message" {
            numbers.push(
                stanza
                    .get_child("body", "jabber:client")
                    .map(|body| body.text())
                    .unwrap_or_default(),
            );
        }
        if stanza.name() == "iq" {
            c.send(format!(
                "<iq type='result' id='{}' to='example.org'/>",
                stanza.get("id")
            ))
            .await;
            break;
        }
    }
    assert_eq!(numbers, (0..20).map(|number| number.to_string()).collect::<Vec<_>>());
    c.send(format!("<presence type='subscribed' to='{ja}'/>")).await;
    a.wait(&format!("<presence from='{}'/>", c.jid)).await;
    let mut b = Client::login(&server, transport, &format!("{jb}/b")).await;
    b.send("<presence/>").await;
    b.wait(&format!("<presence from='{}'/>", a.jid)).await;
}

/// Killed again and again under load: every result that came is true afterwards, every change without one is there or
/// not, never half.
#[tokio::test]
async fn killed_under_load() {
    const ROUNDS: usize = 6;
    let mut server = Server::with_users(2);
    let jid = server.user();
    let mut confirmed = Vec::new();
    let mut next = 0;
    for round in 0..ROUNDS {
        let mut client = Client::login(&server, Transport::BOTH[round % 2], &jid).await;
        let have = items(&roster(&mut client).await);
        for contact in &confirmed {
            assert!(have.contains(contact), "{contact} was confirmed and is gone: {have:?}");
        }
        // As fast as possible, several under way at once; killed in the middle.
        let first = next;
        let mut sent = String::new();
        for _ in 0..40 {
            sent.push_str(&format!(
                "<iq type='set' id='n{next}'><query xmlns='{NS_ROSTER}'><item jid='c{next}@example.net' name='{next}'><group>g</group></item></query></iq>"
            ));
            next += 1;
        }
        client.send(&sent).await;
        for _ in 0..3 * (round + 1) {
            let result = client.wait_keeping(|stanza| stanza.get("type") == "result").await;
            let number: usize = result.get("id").trim_start_matches('n').parse().expect("ours");
            assert!((first..next).contains(&number));
            confirmed.push(format!("c{number}@example.net {number} none - g"));
        }
        server.kill9();
        server.start();
    }
    let mut client = Client::login(&server, Transport::Direct, &jid).await;
    let have = items(&roster(&mut client).await);
    assert_eq!(confirmed.len(), 3 * ROUNDS * (ROUNDS + 1) / 2);
    assert!(confirmed.iter().all(|contact| have.contains(contact)));
    assert!(
        have.iter().all(|item| item.ends_with(" none - g")),
        "whole items only: {have:?}"
    );
}

/// Accounts too, added while the server runs.
#[tokio::test]
async fn accounts_survive() {
    let mut server = Server::with_users(1);
    let jid = server.user();
    let added = server.jackdaw(
        &["account", "add", "new@example.org", "--password-stdin"],
        "the password\n",
    );
    assert!(added.status.success(), "{added:?}");
    let changed = server.jackdaw(&["account", "password", &jid, "--password-stdin"], "another\n");
    assert!(changed.status.success(), "{changed:?}");
    server.kill9();
    server.start();
    for transport in Transport::BOTH {
        for (user, password) in [
            ("new", "the password"),
            (jid.split_once('@').expect("user@domain").0, "another"),
        ] {
            let mut client = Client::opened(&server, transport).await;
            client.plain(user, password).await;
        }
    }
}
