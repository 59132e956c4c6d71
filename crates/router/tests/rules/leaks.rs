//! Nobody learns who exists, or who is online, from what he may not see (attacks.md, row 16): the
//! answers about an account that does not exist and about one that has nothing to do with the
//! asker are the same, byte for byte.

use std::task::Waker;

use crate::support::World;

/// Everything a stranger may try, but for messages: that these tell is a decision of its own
/// (`docs/decisions/0005-message-to-nobody.md`).
const TRIED: &[&str] = &[
    "<iq type='get' id='q' to='TO'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='q' to='TO/balcony'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='q' to='TO/gone'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<iq type='get' id='q' to='TO'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
    "<iq type='get' id='q' to='TO'><vCard xmlns='vcard-temp'/></iq>",
    "<iq type='set' id='q' to='TO'><unknown xmlns='urn:x'/></iq>",
    "<iq type='get' id='q' to='TO'><query xmlns='jabber:iq:roster'/></iq>",
    "<iq type='set' id='q' to='TO/balcony'><query xmlns='jabber:iq:roster'><item jid='x@d'/></query></iq>",
    "<iq type='result' id='q' to='TO/gone'/>",
    "<presence type='probe' id='q' to='TO'/>",
    "<presence type='probe' id='q' to='TO/balcony'/>",
    "<presence type='subscribe' id='q' to='TO'/>",
    "<presence type='subscribed' id='q' to='TO'/>",
    "<presence type='unsubscribe' id='q' to='TO'/>",
    "<presence type='unsubscribed' id='q' to='TO'/>",
    "<presence to='TO'/>",
    "<presence to='TO/balcony'/>",
    "<presence type='unavailable' to='TO'/>",
    "<presence type='error' to='TO'/>",
    "<message type='headline' id='q' to='TO'><body>x</body></message>",
    "<message type='groupchat' id='q' to='TO'><body>x</body></message>",
    "<message type='error' id='q' to='TO'><body>x</body></message>",
];

/// Everything that romeo is sent after he tried, with the name that he tried taken out.
fn heard(tried: &str, name: &str, before: impl Fn(&mut World)) -> String {
    let mut world = World::new(&["romeo", "juliet", "nurse"]);
    before(&mut world);
    world.online(&["romeo/orchard"]);
    world.send("romeo/orchard", &tried.replace("TO", &format!("{name}@d")));
    world.store.settle();
    let taken = world.clients["romeo/orchard"].bound.outbox.take(Waker::noop(), true);
    String::from_utf8(taken.bytes).expect("text").replace(name, "NAME")
}

#[test]
fn existing_and_missing_accounts_look_the_same() {
    for tried in TRIED {
        let missing = heard(tried, "nobody", |_| {});
        assert_eq!(heard(tried, "juliet", |_| {}), missing, "offline: {tried}");
        let online = |world: &mut World| world.online(&["juliet/balcony"]);
        assert_eq!(heard(tried, "juliet", online), missing, "online: {tried}");
        let seen_before = |world: &mut World| {
            world.online(&["juliet/balcony"]);
            world.leave("juliet/balcony", true);
            world.settle();
        };
        assert_eq!(heard(tried, "juliet", seen_before), missing, "was online: {tried}");
    }
}

/// The wrong direction of a subscription is none: she sees him, he does not see her.
#[test]
fn who_is_seen_does_not_see() {
    let one_way = |world: &mut World| {
        world.online(&["juliet/balcony", "romeo/orchard"]);
        world.send("juliet/balcony", "<presence type='subscribe' to='romeo@d'/>");
        world.settle();
        world.send("romeo/orchard", "<presence type='subscribed' to='juliet@d'/>");
        world.settle();
        world.leave("romeo/orchard", true);
        world.forget();
    };
    for tried in TRIED
        .iter()
        .filter(|tried| tried.starts_with("<iq") || tried.contains("probe"))
    {
        assert_eq!(
            heard(tried, "juliet", one_way),
            heard(tried, "nobody", |_| {}),
            "{tried}"
        );
    }
}
