//! XEP-0463, after its examples.

use super::*;

const MAV: &str = "urn:xmpp:muc:affiliations:1";

/// Comes in and asks; the messages that come before any presence, and the version in the presence of oneself.
fn joins(world: &mut World, who: &str, nick: &str, since: Option<&str>) -> (Vec<String>, Option<String>) {
    let since = since.map(|since| format!(" since='{since}'")).unwrap_or_default();
    let told = world.join(who, nick, &format!("<mav xmlns='{MAV}'{since}/>"));
    assert!(
        told.iter().all(|(to, _, text)| to == who || !text.contains("<mav")),
        "nobody else hears of it: {told:?}"
    );
    let told = of(&told, who);
    let lists = told.iter().take_while(|(_, text)| !text.starts_with("<presence"));
    let lists = lists.map(|(_, text)| (*text).to_owned()).collect();
    let own = told.iter().find(|(_, text)| text.contains("<status code='110'/>"));
    (lists, own.and_then(|(_, text)| version(text, "until")))
}

fn version(text: &str, attribute: &str) -> Option<String> {
    let (_, mav) = text.split_once("<mav ")?;
    let (mav, _) = mav.split_once("/>")?;
    let (_, value) = mav.split_once(&format!("{attribute}='"))?;
    Some(value.split('\'').next()?.to_owned())
}

/// Who is what by it, as `local affiliation`.
fn items(text: &str) -> Vec<String> {
    let parts = text.split("<item ").skip(1);
    let words = parts.map(|part| {
        let value = |name: &str| {
            let rest = part.split_once(&format!("{name}='")).expect("the attribute").1;
            rest.split(['\'', '@']).next().unwrap_or_default().to_owned()
        };
        format!("{} {}", value("jid"), value("affiliation"))
    });
    words.collect()
}

fn changed(world: &mut World, jid: &str, affiliation: &str) -> Vec<Told> {
    let told = world.admin(ONE, &format!("<item affiliation='{affiliation}' jid='{jid}'/>"));
    assert!(told.contains(&done(ONE)), "{told:?}");
    told
}

#[test]
fn what_has_changed_since() {
    let mut world = World::configured(&[("muc#roomconfig_persistentroom", "1")]);
    changed(&mut world, "hag66@shakespeare.lit", "member");
    let (lists, first) = joins(&mut world, ONE, "firstwitch", None);
    let first = first.expect("a version");
    assert_eq!(lists.len(), 1);
    assert_eq!(items(&lists[0]), ["crone1 owner", "hag66 member"]);
    assert_eq!(version(&lists[0], "until").as_ref(), Some(&first));
    assert_eq!(version(&lists[0], "since"), None);
    // The same: nothing is told but this.
    assert_eq!(
        joins(&mut world, ONE, "firstwitch", Some(&first)),
        (vec![], Some(first.clone()))
    );
    // A change of who is not here.
    let told = changed(&mut world, "hag66@shakespeare.lit", "outcast");
    let [.., ("", message)] = of(&told, ONE)[..] else {
        panic!("{told:?}")
    };
    assert_eq!(version(message, "since").as_ref(), Some(&first));
    let second = version(message, "until").expect("a version");
    // And of who is.
    world.enter(TWO, "secondwitch");
    let told = changed(&mut world, "wiccarocks@shakespeare.lit", "admin");
    let shown = of(&told, ONE);
    let (_, shown) = shown
        .iter()
        .find(|(from, _)| *from == "/secondwitch")
        .expect("presence");
    assert_eq!(version(shown, "since").as_ref(), Some(&second));
    let third = version(shown, "until").expect("a version");
    // Once, whoever has changed twice.
    changed(&mut world, "hag66@shakespeare.lit", "none");
    let (lists, now) = joins(&mut world, ONE, "firstwitch", Some(&first));
    assert_eq!(items(&lists[0]), ["hag66 none", "wiccarocks admin"]);
    assert_eq!(version(&lists[0], "since"), Some(first));
    assert_eq!(version(&lists[0], "until"), now);
    let (lists, _) = joins(&mut world, ONE, "firstwitch", Some(&third));
    assert_eq!(items(&lists[0]), ["hag66 none"]);
    // What nobody knows gets everything; and so has the same a version after a restart.
    let (lists, _) = joins(&mut world, ONE, "firstwitch", Some("x"));
    assert_eq!((items(&lists[0]).len(), version(&lists[0], "since")), (2, None));
    world.room = world.again().expect("it is kept");
    assert_eq!(
        joins(&mut world, ONE, "firstwitch", now.as_deref()),
        (vec![], now.clone())
    );
    assert_eq!(joins(&mut world, ONE, "firstwitch", Some(&third)).0.len(), 1);
}

/// Who sees which list is said by `muc#admin`, and here it is the same.
#[test]
fn everybody_hears_of_the_lists_that_he_sees() {
    let mut world = World::configured(&[("muc#roomconfig_whois", "anyone")]);
    for (jid, affiliation) in [
        ("out@d", "outcast"),
        ("in@d", "member"),
        ("wiccarocks@shakespeare.lit", "admin"),
    ] {
        changed(&mut world, jid, affiliation);
    }
    changed(&mut world, "hag66@shakespeare.lit", "member");
    let (lists, of_admin) = joins(&mut world, TWO, "secondwitch", None);
    assert_eq!(items(&lists[0]).len(), 5);
    let (lists, of_member) = joins(&mut world, THREE, "thirdwitch", None);
    assert_eq!(
        items(&lists[0]),
        ["crone1 owner", "hag66 member", "in member", "wiccarocks admin"]
    );
    assert_ne!(of_admin, of_member);
    // An outcast of whom he has not heard is nothing to him.
    let told = changed(&mut world, "out@d", "none");
    assert_eq!((of(&told, TWO).len(), of(&told, THREE).len()), (1, 0), "{told:?}");
    // Who was a member is none.
    let told = changed(&mut world, "in@d", "outcast");
    assert_eq!(items(of(&told, THREE)[0].1), ["in none"]);
    assert_eq!(items(of(&told, TWO)[0].1), ["in outcast"]);
    assert_eq!(version(of(&told, THREE)[0].1, "since"), of_member);
    // Section 4.2.3: who sees none. He comes in all the same.
    world.configure(&[("muc#roomconfig_whois", "moderators")]);
    let (lists, own) = joins(&mut world, THREE, "thirdwitch", of_member.as_deref());
    assert!(own.is_none() && lists.len() == 1, "{lists:?}");
    assert!(
        lists[0].contains("<error type='auth' by='coven@chat.shakespeare.lit'><forbidden"),
        "{lists:?}"
    );
    // In such a room the list of admins is for owners.
    let (lists, _) = joins(&mut world, TWO, "secondwitch", of_admin.as_deref());
    assert_eq!(items(&lists[0]), ["hag66 member", "in outcast"]);
    assert_eq!(version(&lists[0], "since"), None);
}

#[test]
fn long_lists_come_in_parts() {
    let mut world = World::open();
    for hundred in 0..6 {
        let hundred = (0..200).map(|number| format!("<item affiliation='member' jid='m{hundred}-{number}@d'/>"));
        assert!(world.admin(ONE, &hundred.collect::<String>()).contains(&done(ONE)));
    }
    let (lists, own) = joins(&mut world, ONE, "firstwitch", None);
    assert_eq!(lists.iter().map(|list| items(list).len()).sum::<usize>(), 1_201);
    assert_eq!(lists.len(), 3);
    assert_eq!(version(&lists[0], "since"), None);
    for pair in lists.windows(2) {
        assert_eq!(version(&pair[0], "until"), version(&pair[1], "since"));
    }
    assert_eq!(version(&lists[2], "until"), own);
}
