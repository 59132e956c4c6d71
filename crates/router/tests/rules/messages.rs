//! RFC 6121 section 8.5: messages and IQs, by table and case.

use crate::support::World;

/// A condition, an address, and for each type of message what the table says and what we choose.
type Row = (Condition, &'static str, [(&'static str, char); 4]);

/// Table 1 of section 8.5.4, as it stands there; then what Jackdaw chooses where it leaves a choice.
/// Types: normal, chat, groupchat, headline.
const TABLE_1: &[Row] = &[
    (
        Condition::NoAccount,
        "bare",
        [("S/E", 'E'), ("S/E", 'E'), ("E", 'E'), ("S", 'S')],
    ),
    (
        Condition::NoAccount,
        "full",
        [("S/E", 'E'), ("S/E", 'E'), ("S/E", 'E'), ("S/E", 'S')],
    ),
    (
        Condition::Away,
        "bare",
        [("O/E", 'O'), ("O/E", 'O'), ("E", 'E'), ("S", 'S')],
    ),
    (
        Condition::Away,
        "no match",
        [("S/E", 'E'), ("O/E", 'O'), ("S/E", 'E'), ("S/E", 'S')],
    ),
    (
        Condition::Negative,
        "bare",
        [("O/E", 'O'), ("O/E", 'O'), ("E", 'E'), ("S", 'S')],
    ),
    (
        Condition::Negative,
        "match",
        [("D", 'D'), ("D", 'D'), ("D", 'D'), ("D", 'D')],
    ),
    (
        Condition::Negative,
        "no match",
        [("S/E", 'E'), ("O/E", 'O'), ("S/E", 'E'), ("S/E", 'S')],
    ),
    (Condition::One, "bare", [("D", 'D'), ("D", 'D'), ("E", 'E'), ("D", 'D')]),
    (
        Condition::One,
        "match",
        [("D", 'D'), ("D", 'D'), ("D", 'D'), ("D", 'D')],
    ),
    (
        Condition::One,
        "no match",
        [("S/E", 'E'), ("D", 'D'), ("S/E", 'E'), ("S/E", 'S')],
    ),
    (
        Condition::Several,
        "bare",
        [("M/A", 'M'), ("M/A*", 'M'), ("E", 'E'), ("A", 'A')],
    ),
    (
        Condition::Several,
        "match",
        [("D", 'D'), ("D/A*", 'D'), ("D", 'D'), ("D", 'D')],
    ),
    (
        Condition::Several,
        "no match",
        [("S/E", 'E'), ("M/A*", 'M'), ("S/E", 'E'), ("S/E", 'S')],
    ),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Condition {
    NoAccount,
    Away,
    Negative,
    One,
    Several,
}

const TYPES: [&str; 4] = ["normal", "chat", "groupchat", "headline"];

fn juliet(condition: Condition) -> (World, &'static [&'static str]) {
    let mut world = match condition {
        Condition::NoAccount => World::new(&["romeo"]),
        _ => World::new(&["romeo", "juliet"]),
    };
    world.online(&["romeo/orchard"]);
    let clients: &[&str] = match condition {
        Condition::NoAccount | Condition::Away => &[],
        Condition::Negative | Condition::One => &["juliet/balcony"],
        Condition::Several => &["juliet/balcony", "juliet/chamber"],
    };
    for client in clients {
        world.connect(client);
        let priority = match (condition, *client) {
            (Condition::Negative, _) => -1,
            (Condition::Several, "juliet/balcony") => 7,
            _ => 0,
        };
        world.send(client, &format!("<presence><priority>{priority}</priority></presence>"));
    }
    world.forget();
    (world, clients)
}

#[test]
fn table_1() {
    for (condition, address, cells) in TABLE_1 {
        for (kind, (allowed, chosen)) in TYPES.into_iter().zip(cells) {
            let case = format!("{condition:?}, {address}, {kind}");
            assert!(allowed.contains(*chosen), "{case}: the RFC has {allowed}");
            let (mut world, clients) = juliet(*condition);
            let to = match *address {
                "bare" => "juliet@d",
                "match" => "juliet@d/balcony",
                _ => "juliet@d/gone",
            };
            world.send(
                "romeo/orchard",
                &format!("<message type='{kind}' id='m1' to='{to}'><body>hello</body></message>"),
            );
            let got: Vec<Vec<String>> = clients.iter().map(|client| world.lines(client)).collect();
            let message = format!("{kind} romeo/orchard>{} hello", to.replacen("@d", "", 1));
            let bounced = world.lines("romeo/orchard");
            let error = format!(
                "message error service-unavailable {}>romeo/orchard #m1",
                to.replacen("@d", "", 1)
            );
            let stored = match condition {
                Condition::NoAccount => 0,
                _ => world.stored_messages("juliet").len(),
            };
            // The first client is the most available one, and the one that is addressed.
            let expected: Vec<Vec<String>> = clients
                .iter()
                .enumerate()
                .map(|(place, _)| match chosen {
                    'A' => vec![message.clone()],
                    'D' | 'M' if place == 0 => vec![message.clone()],
                    _ => Vec::new(),
                })
                .collect();
            assert_eq!(got, expected, "{case}");
            assert_eq!(stored, usize::from(*chosen == 'O'), "{case}");
            let errors = if *chosen == 'E' { vec![error] } else { Vec::new() };
            assert_eq!(bounced, errors, "{case}");
        }
    }
}

/// Sections 8.5.2.1.1 and 8.5.3.2.1, and RFC 6120 section 8.3.1, rule 8: never an error for an error.
#[test]
fn errors_are_never_answered() {
    for to in [
        "juliet@d",
        "juliet@d/gone",
        "nobody@d",
        "nobody@d/x",
        "d",
        "d/x",
        "elsewhere.example",
    ] {
        let (mut world, _) = juliet(Condition::One);
        world.send(
            "romeo/orchard",
            &format!("<message type='error' id='m1' to='{to}'><body>hello</body></message>"),
        );
        world.send("romeo/orchard", &format!("<iq type='error' id='i1' to='{to}'/>"));
        world.send("romeo/orchard", &format!("<iq type='result' id='i2' to='{to}'/>"));
        world.send("romeo/orchard", &format!("<presence type='error' to='{to}'/>"));
        let to_juliet = if to == "juliet@d" {
            vec!["presence error"]
        } else {
            Vec::new()
        };
        let got = world.read("juliet/balcony").len();
        assert_eq!(got, to_juliet.len(), "{to}: a presence error goes to who is available");
        world.nothing_more();
        assert!(world.stored_messages("juliet").is_empty(), "{to}");
    }
}

#[test]
fn a_message_without_address_is_for_oneself() {
    // RFC 6120 section 10.3.1.
    let (mut world, _) = juliet(Condition::One);
    world.send("juliet/balcony", "<message type='chat'><body>note</body></message>");
    world.expect("juliet/balcony", &["chat juliet/balcony>juliet note"]);
    world.send(
        "juliet/balcony",
        "<message type='chat' to='juliet@d'><body>note</body></message>",
    );
    world.expect("juliet/balcony", &["chat juliet/balcony>juliet note"]);
}

#[test]
fn equals_get_the_same_and_negative_ones_nothing() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard", "juliet/a", "juliet/b", "juliet/c"]);
    world.send("juliet/c", "<presence><priority>-3</priority></presence>");
    world.forget();
    world.send(
        "romeo/orchard",
        "<message type='chat' to='juliet@d'><body>x</body></message>",
    );
    world.expect("juliet/a", &["chat romeo/orchard>juliet x"]);
    world.expect("juliet/b", &["chat romeo/orchard>juliet x"]);
    world.send(
        "romeo/orchard",
        "<message type='headline' to='juliet@d'><body>y</body></message>",
    );
    world.expect("juliet/a", &["headline romeo/orchard>juliet y"]);
    world.expect("juliet/b", &["headline romeo/orchard>juliet y"]);
    world.nothing_more();
}

/// Section 8.5.3.1 and 8.5.3.2.3: requests only from who may know of the resource.
#[test]
fn requests_to_a_resource() {
    let ask = |world: &mut World, from: &str| {
        world.send(
            from,
            "<iq type='get' id='p1' to='juliet@d/balcony'><ping xmlns='urn:xmpp:ping'/></iq>",
        );
    };
    let refused = "iq error service-unavailable juliet/balcony>romeo/orchard #p1";
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard", "juliet/balcony", "juliet/chamber"]);
    world.clients.get_mut("juliet/balcony").expect("online").answers_pings = false;

    // A stranger, and one who is not subscribed in the right direction.
    ask(&mut world, "romeo/orchard");
    world.expect("romeo/orchard", &[refused]);
    // Directed presence is enough, for as long as it lasts.
    world.send("juliet/balcony", "<presence to='romeo@d/orchard'/>");
    world.expect("romeo/orchard", &["available juliet/balcony>romeo/orchard"]);
    ask(&mut world, "romeo/orchard");
    world.expect("juliet/balcony", &["get p1 romeo/orchard>juliet/balcony"]);
    world.send("juliet/balcony", "<iq type='result' id='p1' to='romeo@d/orchard'/>");
    world.expect("romeo/orchard", &["result p1"]);
    world.send("juliet/balcony", "<presence type='unavailable' to='romeo@d/orchard'/>");
    world.expect("romeo/orchard", &["unavailable juliet/balcony>romeo/orchard"]);
    ask(&mut world, "romeo/orchard");
    world.expect("romeo/orchard", &[refused]);
    // So is a subscription.
    world.befriend("romeo/orchard", "juliet/balcony");
    ask(&mut world, "romeo/orchard");
    world.expect("juliet/balcony", &["get p1 romeo/orchard>juliet/balcony"]);
    // One's own other resources always, and a resource that is gone never.
    ask(&mut world, "juliet/chamber");
    world.expect("juliet/balcony", &["get p1 juliet/chamber>juliet/balcony"]);
    ask(&mut world, "juliet/balcony");
    world.expect("juliet/balcony", &["get p1 juliet/balcony>juliet/balcony"]);
    world.leave("juliet/balcony", true);
    world.forget();
    ask(&mut world, "romeo/orchard");
    world.expect("romeo/orchard", &[refused]);
    world.nothing_more();
}

/// RFC 6120 section 10.3.3 and RFC 6121 section 8.5.2.1.3: the server answers for the account.
#[test]
fn requests_to_an_account() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard", "juliet/balcony"]);
    let ping = |to: &str| format!("<iq type='get' id='p1'{to}><ping xmlns='urn:xmpp:ping'/></iq>");
    for (to, answer) in [
        ("", "result p1"),
        (" to='romeo@d'", "result p1"),
        (" to='d'", "result p1"),
        (
            " to='juliet@d'",
            "iq error service-unavailable juliet>romeo/orchard #p1",
        ),
        (
            " to='nobody@d'",
            "iq error service-unavailable nobody>romeo/orchard #p1",
        ),
        (" to='d/x'", "iq error service-unavailable d/x>romeo/orchard #p1"),
        (
            " to='other.example'",
            "iq error remote-server-not-found other.example>romeo/orchard #p1",
        ),
    ] {
        world.send("romeo/orchard", &ping(to));
        world.expect("romeo/orchard", &[answer]);
    }
    let unknown = "<iq type='set' id='u1'><x xmlns='urn:unknown'/></iq>";
    world.send("romeo/orchard", unknown);
    world.expect(
        "romeo/orchard",
        &["iq error service-unavailable romeo>romeo/orchard #u1"],
    );
    world.befriend("romeo/orchard", "juliet/balcony");
    world.send("romeo/orchard", &ping(" to='juliet@d'"));
    world.expect("romeo/orchard", &["result p1"]);
    world.nothing_more();
}
