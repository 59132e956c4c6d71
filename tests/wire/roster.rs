//! The roster (RFC 6121 section 2).

use testkit::{Client, Server, Stanza, Transport};

use crate::support::{NS_ROSTER, error_of, items, roster};

fn set(items: &str) -> String {
    format!("<query xmlns='{NS_ROSTER}'>{items}</query>")
}

fn version(stanza: &Stanza) -> String {
    stanza
        .get_child("query", NS_ROSTER)
        .and_then(|query| query.attr("ver"))
        .unwrap_or_default()
        .to_owned()
}

async fn change(client: &mut Client, item: &str) {
    let answer = client.iq("set", "", &set(item)).await;
    assert_eq!(
        (answer.get("type"), answer.children().count()),
        ("result", 0),
        "{item}: {answer:?}"
    );
}

#[tokio::test]
async fn get_set_push() {
    let server = Server::with_users(3);
    for transport in Transport::ALL {
        let jid = server.user();
        let mut one = Client::login(&server, transport, &format!("{jid}/one")).await;
        let mut two = Client::login(&server, transport, &format!("{jid}/two")).await;
        let mut deaf = Client::online(&server, transport, &format!("{jid}/deaf")).await;
        assert!(items(&roster(&mut one).await).is_empty());
        assert!(items(&roster(&mut two).await).is_empty());

        change(
            &mut one,
            "<item jid='romeo@example.net' name='R &amp; J'><group>Friends</group><group>Verona</group></item>",
        )
        .await;
        // Section 2.1.6: to every resource that asked for the roster, the one that made the change among them.
        let push = "<iq type='set' id='*'><query xmlns='jabber:iq:roster' ver='*'>\
                    <item jid='romeo@example.net' name='R &amp; J' subscription='none' ask='-'><group>Friends</group><group>Verona</group></item></query></iq>";
        let mut versions = Vec::new();
        for client in [&mut one, &mut two] {
            let came = client.expect(push).await;
            assert!(
                ["", jid.as_str()].contains(&came.get("from")),
                "section 2.1.6: {came:?}"
            );
            assert_eq!(came.get("to"), client.jid);
            assert_eq!(
                came.get_child("query", NS_ROSTER).map(|query| query.children().count()),
                Some(1)
            );
            versions.push(version(&came));
            client
                .send(format!("<iq type='result' id='{}'/>", came.get("id")))
                .await;
            client.nothing_more().await;
        }
        assert_eq!(versions[0], versions[1]);
        deaf.nothing_more().await;
        assert_eq!(
            items(&roster(&mut deaf).await),
            ["romeo@example.net R & J none - Friends+Verona"]
        );

        // Replaced as a whole; what the client says of the subscription is ignored (section 2.1.2.5).
        change(
            &mut two,
            "<item jid='romeo@EXAMPLE.net' subscription='both' ask='subscribe' approved='true'/>",
        )
        .await;
        for client in [&mut one, &mut two, &mut deaf] {
            let came = client.expect("<iq type='set'><query xmlns='jabber:iq:roster'><item jid='romeo@example.net' subscription='none' ask='-' approved='-' name='-'/></query></iq>").await;
            assert!(!versions.contains(&version(&came)), "a new version: {came:?}");
            let item = came
                .get_child("query", NS_ROSTER)
                .and_then(|query| query.children().next())
                .expect("an item");
            assert_eq!(item.children().count(), 0, "no groups: {came:?}");
        }
        // The own address named is as good as none.
        let answer = one
            .iq("set", &jid, &set("<item jid='nurse@example.net' name='Nurse'/>"))
            .await;
        assert_eq!(answer.get("type"), "result");
        for client in [&mut one, &mut two, &mut deaf] {
            client.expect("<iq type='set'><query xmlns='jabber:iq:roster'><item jid='nurse@example.net' name='Nurse'/></query></iq>").await;
        }
        // Removed.
        change(&mut one, "<item jid='romeo@example.net' subscription='remove'/>").await;
        for client in [&mut one, &mut two, &mut deaf] {
            client.expect("<iq type='set'><query xmlns='jabber:iq:roster'><item jid='romeo@example.net' subscription='remove'/></query></iq>").await;
            client.nothing_more().await;
        }
        assert_eq!(items(&roster(&mut one).await), ["nurse@example.net Nurse none - "]);
        // Contacts may be domains and resources' owners; the resource is no part of a contact's address.
        change(&mut one, "<item jid='gateway.example.net'/>").await;
        one.expect("<iq type='set'><query xmlns='jabber:iq:roster'><item jid='gateway.example.net'/></query></iq>")
            .await;
    }
}

#[tokio::test]
async fn versions() {
    let server = Server::with_users(3);
    for transport in Transport::ALL {
        let jid = server.user();
        let mut client = Client::login(&server, transport, &jid).await;
        let get = async |client: &mut Client, ver: &str| {
            let answer = client
                .iq("get", "", &format!("<query xmlns='{NS_ROSTER}' ver='{ver}'/>"))
                .await;
            assert_eq!(answer.get("type"), "result");
            answer
        };
        // Section 2.6.2: an empty `ver` asks for all.
        let first = get(&mut client, "").await;
        let empty = version(&first);
        assert!(!empty.is_empty(), "section 2.6.1: {first:?}");
        let mut last = empty.clone();
        for contact in ["a", "b", "c"] {
            change(&mut client, &format!("<item jid='{contact}@example.net'/>")).await;
            let push = client.expect("<iq type='set'/>").await;
            assert_ne!(version(&push), last);
            last = version(&push);
        }
        // Section 2.6.3: the current version has an empty result.
        let current = get(&mut client, &last).await;
        assert_eq!(current.children().count(), 0, "{current:?}");
        client.nothing_more().await;
        for stale in [
            empty.as_str(),
            "0",
            "nonsense",
            &format!("0{last}"),
            &format!("{last}1"),
        ] {
            let answer = get(&mut client, stale).await;
            let query = answer
                .get_child("query", NS_ROSTER)
                .unwrap_or_else(|| panic!("all of it for {stale}: {answer:?}"));
            assert_eq!(
                (items(query).len(), query.attr("ver")),
                (3, Some(last.as_str())),
                "{stale}"
            );
        }
        // Without `ver` it is whole too.
        assert_eq!(items(&roster(&mut client).await).len(), 3);
    }
}

/// Row 37.
#[tokio::test]
async fn errors() {
    let server = Server::builder()
        .users(8)
        .limit("roster_items", 3)
        .limit("roster_groups_per_item", 2)
        .limit("roster_name_bytes", 16)
        .start();
    for transport in Transport::EVERY {
        let (jid, other) = (server.user(), server.user());
        let mut client = Client::login(&server, transport, &jid).await;
        roster(&mut client).await;
        let item = |inner: &str| format!("<item jid='a@example.net'>{inner}</item>");
        let cases = [
            (set(""), "modify/bad-request"),
            (
                set("<item jid='a@example.net'/><item jid='b@example.net'/>"),
                "modify/bad-request",
            ),
            (set("<item name='x'/>"), "modify/bad-request"),
            (set("<other jid='a@example.net'/>"), "modify/bad-request"),
            (set(&item("<group>x</group><group>x</group>")), "modify/bad-request"),
            (set(&item("<group/>")), "modify/not-acceptable"),
            (set(&item("<group></group>")), "modify/not-acceptable"),
            (set(&item("<group>seventeen letters</group>")), "modify/not-acceptable"),
            (
                set("<item jid='a@example.net' name='seventeen letters'/>"),
                "modify/not-acceptable",
            ),
            (
                set(&item("<group>x</group><group>y</group><group>z</group>")),
                "modify/not-acceptable",
            ),
            (set("<item jid='a b@@'/>"), "modify/jid-malformed"),
            (
                set("<item jid='absent@example.net' subscription='remove'/>"),
                "modify/item-not-found",
            ),
        ];
        for (payload, expected) in &cases {
            let answer = client.iq("set", "", payload).await;
            assert_eq!(error_of(&answer), *expected, "{payload}: {answer:?}");
            client.nothing_more().await;
        }
        // Nothing of it was done.
        assert!(items(&roster(&mut client).await).is_empty());
        // What just fits, fits.
        change(
            &mut client,
            "<item jid='a@example.net' name='sixteen  letters'><group>sixteen  letters</group><group>y</group></item>",
        )
        .await;
        change(&mut client, "<item jid='b@example.net'/>").await;
        change(&mut client, "<item jid='c@example.net'/>").await;
        let answer = client.iq("set", "", &set("<item jid='d@example.net'/>")).await;
        assert!(
            error_of(&answer).ends_with("/resource-constraint"),
            "roster_items: {answer:?}"
        );
        change(&mut client, "<item jid='a@example.net' name='changed'/>").await;
        client.forget().await;

        // Section 2.1.5: nobody else's roster, whether there is one or not.
        for owner in [other.as_str(), "nobody-here@example.org"] {
            for (kind, payload) in [
                ("get", set("")),
                ("set", set("<item jid='a@example.net'/>")),
                ("set", set("<item jid='a@example.net' subscription='remove'/>")),
            ] {
                let answer = client.iq(kind, owner, &payload).await;
                assert_eq!(error_of(&answer), "auth/forbidden", "{kind} {owner} {payload}");
            }
        }
        let mut owner = Client::login(&server, transport, &other).await;
        assert!(items(&roster(&mut owner).await).is_empty());
    }
}
