//! What presence tells of an account's picture (XEP-0398 section 4): known without a question, told behind its commit.

use presence::photo::{PHOTO, Picture};
use store::{Batch, Store, StoreError};

use crate::support::World;

/// What each presence that came says: `-` nothing, `none`, or the first two digits of the hash.
fn said(world: &mut World, name: &str) -> Vec<String> {
    let came = world.read(name);
    let presence = came.iter().filter(|stanza| stanza.name() == "presence");
    presence
        .map(|presence| {
            let updates = presence.children().filter(|child| child.ns() == "vcard-temp:x:update");
            let said: Vec<String> = updates
                .map(|update| {
                    let photo = update.children().next().map(minidom::Element::text).unwrap_or_default();
                    if photo.is_empty() {
                        "none".into()
                    } else {
                        photo[..2].into()
                    }
                })
                .collect();
            if said.is_empty() { "-".into() } else { said.join("+") }
        })
        .collect()
}

fn shows(world: &mut World, name: &str, photo: &str) {
    let request = format!("<iq type='set' id='s'><photo xmlns='urn:test:photo'>{photo}</photo></iq>");
    world.send(name, &request);
}

fn friends() -> World {
    let mut world = World::new(&["romeo", "juliet", "paris"]);
    world.online(&["romeo/orchard", "juliet/balcony", "paris/tomb"]);
    world.befriend("romeo/orchard", "juliet/balcony");
    world
}

#[test]
fn told_when_it_is_on_disk_and_not_before() {
    let mut world = friends();
    // It was never shown: what clients say is theirs.
    let own = |hash: &str| format!("<presence><x xmlns='vcard-temp:x:update'><photo>{hash}</photo></x></presence>");
    world.send("juliet/balcony", &own("ee"));
    assert_eq!(said(&mut world, "romeo/orchard"), ["ee"]);
    // The disk is full: nobody hears of it.
    world.store.fail_writes(1, StoreError::Full);
    shows(&mut world, "juliet/balcony", "a");
    assert!(said(&mut world, "romeo/orchard").is_empty());
    world.send("juliet/balcony", &own("ff"));
    assert_eq!(said(&mut world, "romeo/orchard"), ["ff"]);
    world.forget();
    shows(&mut world, "juliet/balcony", "a");
    world.pump("romeo/orchard");
    assert!(world.taken("romeo/orchard").is_empty());
    // In place of what the client has said.
    assert_eq!(said(&mut world, "romeo/orchard"), ["aa"]);
    for (photo, expected) in [("a", &[][..]), ("b", &["bb"]), ("", &["none"]), ("c", &["cc"])] {
        shows(&mut world, "juliet/balcony", photo);
        assert_eq!(said(&mut world, "romeo/orchard"), expected, "{photo}");
    }
    // Who says that it shows none is not contradicted, and nothing of a change is told for it.
    world.send(
        "juliet/balcony",
        "<presence><x xmlns='vcard-temp:x:update'><photo/></x></presence>",
    );
    assert_eq!(said(&mut world, "romeo/orchard"), ["none"]);
    shows(&mut world, "juliet/balcony", "d");
    assert!(said(&mut world, "romeo/orchard").is_empty());
    world.send("juliet/balcony", "<presence/>");
    assert_eq!(said(&mut world, "romeo/orchard"), ["dd"]);
}

#[test]
fn known_with_the_account() {
    let mut world = World::new(&["romeo", "juliet", "paris"]);
    world.store.release();
    let picture = Picture {
        hash: Some([0xab; 20]),
        kind: "image/png".into(),
        reach: module::Reach::Contacts,
    };
    let batch = Batch::new().put(&PHOTO, "juliet@d", None, picture.row());
    world.store.write_wait(batch).expect("written");
    world.store.hold();
    world.online(&["romeo/orchard", "juliet/balcony", "paris/tomb"]);
    world.befriend("romeo/orchard", "juliet/balcony");
    // The store answers nothing: no question is asked for it.
    world.send("juliet/balcony", "<presence><show>away</show></presence>");
    world.pump("romeo/orchard");
    let came = world.taken("romeo/orchard");
    assert_eq!(came.len(), 1);
    let hash = "ab".repeat(20);
    assert!(String::from(&came[0]).contains(&hash), "{came:?}");
    // To a stranger by name: it is for contacts.
    world.send("juliet/balcony", "<presence to='paris@d/tomb'/>");
    assert_eq!(said(&mut world, "paris/tomb"), ["-"]);
    world.send("juliet/balcony", "<presence to='romeo@d/orchard'/>");
    assert_eq!(said(&mut world, "romeo/orchard"), ["ab"]);
    // Who probes, and who comes later.
    world.send("romeo/orchard", "<presence type='probe' to='juliet@d'/>");
    assert_eq!(said(&mut world, "romeo/orchard"), ["ab"]);
    world.online(&["romeo/late"]);
    world.send("romeo/late", "<presence type='unavailable'/>");
    world.forget();
    world.send("romeo/late", "<presence/>");
    let late = said(&mut world, "romeo/late");
    assert_eq!(late.iter().filter(|said| *said == "ab").count(), 1, "{late:?}");
    // It is read again with the account, in the next process too.
    world.kill();
    world.online(&["romeo/orchard", "juliet/balcony"]);
    world.send("juliet/balcony", "<presence/>");
    assert_eq!(said(&mut world, "romeo/orchard"), ["ab"]);
}
