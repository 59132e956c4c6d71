//! RFC 6121 section 2: get, set, push, versions, and what a failed write leaves.

use store::StoreError;

use crate::support::World;

const GET: &str = "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>";

fn set(id: &str, item: &str) -> String {
    format!("<iq type='set' id='{id}'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
}

fn version(world: &mut World, name: &str) -> String {
    world.send(name, GET);
    let result = world.read(name).pop().expect("a result");
    let query = result.get_child("query", "jabber:iq:roster").expect("a roster");
    query.attr("ver").expect("a version").to_owned()
}

/// Pushes go to those resources that asked for the roster, available or not, and to nobody else;
/// the result comes after them and after the commit.
#[test]
fn pushes_go_to_interested_resources() {
    let mut world = World::new(&["juliet"]);
    world.online(&["juliet/balcony"]);
    world.connect("juliet/chamber");
    world.send("juliet/chamber", GET);
    world.connect("juliet/deaf");
    world.send("juliet/deaf", "<presence/>");
    world.forget();
    world.send("juliet/balcony", &set("s1", "<item jid='nurse@d' name='Nurse'/>"));
    assert!(!world.pump("juliet/balcony"), "nothing is said before the commit");
    world.expect("juliet/balcony", &["push nurse none", "result s1"]);
    world.expect("juliet/chamber", &["push nurse none"]);
    world.send(
        "juliet/chamber",
        &set("s2", "<item jid='nurse@d' subscription='remove'/>"),
    );
    world.expect("juliet/balcony", &["push nurse removed"]);
    world.expect("juliet/chamber", &["push nurse removed", "result s2"]);
    world.send(
        "juliet/chamber",
        &set("s3", "<item jid='nurse@d' subscription='remove'/>"),
    );
    world.expect("juliet/chamber", &["iq error item-not-found juliet>juliet/chamber #s3"]);
    world.nothing_more();
}

#[test]
fn rosters_of_others_are_forbidden_whether_they_exist_or_not() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard", "juliet/balcony"]);
    for to in ["juliet", "nobody", "juliet/balcony"] {
        let jid = to.replacen("juliet", "juliet@d", 1).replacen("nobody", "nobody@d", 1);
        for (kind, item) in [("get", ""), ("set", "<item jid='x@d'/>")] {
            world.send(
                "romeo/orchard",
                &format!("<iq type='{kind}' id='i' to='{jid}'><query xmlns='jabber:iq:roster'>{item}</query></iq>"),
            );
            world.expect("romeo/orchard", &[&format!("iq error forbidden {to}>romeo/orchard #i")]);
        }
    }
    world.nothing_more();
}

/// Section 2.6: the same version has an empty result; versions grow with every push.
#[test]
fn versions() {
    let mut world = World::new(&["juliet"]);
    world.online(&["juliet/balcony"]);
    let ask = |ver: &str| format!("<iq type='get' id='v'><query xmlns='jabber:iq:roster' ver='{ver}'/></iq>");
    let first = version(&mut world, "juliet/balcony");
    world.send("juliet/balcony", &ask(&first));
    world.expect("juliet/balcony", &["result v"]);
    world.send("juliet/balcony", &ask(""));
    world.expect("juliet/balcony", &["result v []"]);
    world.send("juliet/balcony", &set("s", "<item jid='nurse@d'/>"));
    let push = world.read("juliet/balcony").remove(0);
    let query = push.get_child("query", "jabber:iq:roster").expect("a push");
    let second = query.attr("ver").expect("a version").to_owned();
    assert_ne!(first, second);
    world.send("juliet/balcony", &ask(&first));
    world.expect("juliet/balcony", &["result v [nurse none]"]);
    world.send("juliet/balcony", &ask(&second));
    world.expect("juliet/balcony", &["result v"]);
}

/// A failed write: an error to the requester, once; nobody is told of the change, and the roster
/// is what the disk has, also for who asked in between.
#[test]
fn a_failed_write_is_taken_back() {
    let mut world = World::new(&["juliet", "romeo"]);
    world.online(&["juliet/balcony", "juliet/chamber", "romeo/orchard"]);
    world.send("juliet/balcony", &set("s0", "<item jid='nurse@d'/>"));
    world.forget();
    let before = version(&mut world, "juliet/balcony");

    world.store.fail_writes(1, StoreError::Full);
    world.send("juliet/balcony", &set("s1", "<item jid='tybalt@d'/>"));
    world.send("juliet/chamber", GET);
    world.send(
        "romeo/orchard",
        "<message type='chat' to='juliet@d/balcony'><body>x</body></message>",
    );
    world.expect_all(
        "juliet/balcony",
        &[
            "iq error resource-constraint juliet>juliet/balcony #s1",
            "chat romeo/orchard>juliet/balcony x",
        ],
    );
    world.expect("juliet/chamber", &["result g [nurse none]"]);
    assert_eq!(
        version(&mut world, "juliet/balcony"),
        before,
        "the version was not made"
    );

    // The request of a subscription never left.
    world.store.fail_writes(1, StoreError::Full);
    world.send("juliet/balcony", "<presence type='subscribe' id='q' to='romeo@d'/>");
    world.expect(
        "juliet/balcony",
        &["presence error resource-constraint romeo>juliet/balcony #q"],
    );
    world.nothing_more();
    world.send("juliet/balcony", &set("s2", "<item jid='tybalt@d'/>"));
    world.expect("juliet/balcony", &["push tybalt none", "result s2"]);
    assert_eq!(world.stored_roster("juliet").children().count(), 2);
}

/// What comes between the failure and the new reading waits for it: nothing is decided on what
/// turned out not to be.
#[test]
fn nothing_is_decided_while_the_truth_is_being_read() {
    let mut world = World::new(&["juliet", "romeo"]);
    world.online(&["juliet/balcony", "romeo/orchard"]);
    world.store.fail_writes(1, StoreError::Full);
    world.send("juliet/balcony", &set("s1", "<item jid='tybalt@d' name='one'/>"));
    assert!(world.store.step(), "the write that fails");
    // The new reading is under way.
    world.send("juliet/balcony", &set("s2", "<item jid='nurse@d'/>"));
    world.send("juliet/balcony", "<presence type='subscribe' id='q' to='romeo@d'/>");
    world.send("juliet/balcony", GET);
    world.expect(
        "juliet/balcony",
        &[
            "iq error resource-constraint juliet>juliet/balcony #s1",
            "push nurse none",
            "result s2",
            // What is behind it waits for it too.
            "push romeo none +ask",
            "result g [nurse none, romeo none +ask]",
        ],
    );
    world.expect("romeo/orchard", &["subscribe juliet>romeo"]);
    world.nothing_more();
    let stored = world.stored_roster("juliet");
    assert_eq!(stored.children().count(), 2);

    // If the disk cannot be read either, nothing is known, and the sessions end.
    world.store.fail_writes(1, StoreError::Full);
    world.store.fail_reads(1, StoreError::Full);
    world.send("juliet/balcony", &set("s3", "<item jid='tybalt@d'/>"));
    let lines = world.lines("juliet/balcony");
    assert_eq!(lines.last().map(String::as_str), Some("end internal-server-error"));
    world.leave("juliet/balcony", false);
    world.online(&["juliet/balcony"]);
    world.send("juliet/balcony", GET);
    world.expect("juliet/balcony", &["result g [nurse none, romeo none +ask]"]);
}

/// kill -9: what was answered is there, what was not answered is not.
#[test]
fn what_was_answered_survives() {
    let mut world = World::new(&["juliet"]);
    world.online(&["juliet/balcony"]);
    world.send("juliet/balcony", &set("s1", "<item jid='nurse@d'/>"));
    world.expect("juliet/balcony", &["push nurse none", "result s1"]);
    world.send("juliet/balcony", &set("s2", "<item jid='tybalt@d'/>"));
    world.kill();
    world.online(&["juliet/balcony"]);
    world.send("juliet/balcony", GET);
    world.expect("juliet/balcony", &["result g [nurse none]"]);
}
