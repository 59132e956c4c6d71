//! Sections 8 and 9: what moderators and admins do, and what they may not.

use super::*;
use crate::Affiliation;

/// A moderator, and owners and admins, and others: each comes in under the first part of the address.
fn court() -> World {
    let mut world = World::configured(&[
        ("muc#roomconfig_moderatedroom", "1"),
        ("muc#roomconfig_persistentroom", "1"),
    ]);
    for (who, affiliation) in [
        ("owner", "owner"),
        ("admin", "admin"),
        ("other-admin", "admin"),
        ("member", "member"),
        ("moderator", "none"),
        ("other-moderator", "none"),
        ("participant", "none"),
        ("visitor", "none"),
    ] {
        world.admin(ONE, &format!("<item affiliation='{affiliation}' jid='{who}@d'/>"));
        world.enter(&format!("{who}@d/x"), who);
    }
    world.admin(
        ONE,
        "<item role='moderator' nick='moderator'/><item role='moderator' nick='other-moderator'/>\
         <item role='participant' nick='participant'/>",
    );
    world
}

fn role(nick: &str, role: &str) -> String {
    format!("<item nick='{nick}' role='{role}'/>")
}

fn affiliation(who: &str, affiliation: &str) -> String {
    format!("<item jid='{who}@d' affiliation='{affiliation}'/>")
}

/// What comes of a change: nothing is refused, or which error.
fn outcome(told: &[Told]) -> Option<String> {
    let error = told.iter().find(|(_, _, text)| text.contains("type='error'"))?;
    assert_eq!(told.len(), 1, "an error, and nothing else: {told:?}");
    let (_, error) = error.2.split_once("<error ")?;
    let condition = error.split("'><").nth(1)?.split(' ').next()?;
    Some(condition.to_owned())
}

/// Sections 8.2 to 8.4, 9.6 and 9.7: who may give which role to whom.
#[test]
fn roles() {
    const MAY: &str = "";
    let cases = [
        // Who, whom, what.
        ("moderator", "participant", "none", MAY),
        ("moderator", "visitor", "none", MAY),
        ("moderator", "member", "none", "not-allowed"),
        ("moderator", "admin", "none", "not-allowed"),
        ("moderator", "owner", "none", "not-allowed"),
        ("admin", "moderator", "none", MAY),
        ("admin", "other-admin", "none", MAY),
        ("admin", "owner", "none", "not-allowed"),
        ("owner", "firstwitch", "none", MAY),
        ("moderator", "moderator", "none", "conflict"),
        ("participant", "visitor", "none", "forbidden"),
        ("visitor", "participant", "none", "forbidden"),
        ("member", "visitor", "none", "forbidden"),
        ("moderator", "visitor", "participant", MAY),
        ("moderator", "participant", "visitor", MAY),
        ("moderator", "admin", "visitor", "not-allowed"),
        ("admin", "owner", "visitor", "not-allowed"),
        ("owner", "admin", "visitor", "not-allowed"),
        ("owner", "admin", "participant", "not-allowed"),
        ("admin", "moderator", "participant", MAY),
        ("admin", "participant", "moderator", MAY),
        // Section 8.4: "at or above the moderator's level".
        ("moderator", "member", "visitor", "not-allowed"),
        ("admin", "other-admin", "visitor", "not-allowed"),
        ("admin", "member", "visitor", MAY),
        // Section 9: who is a moderator is for admins.
        ("moderator", "other-moderator", "visitor", "forbidden"),
        ("moderator", "other-moderator", "participant", "forbidden"),
        ("moderator", "admin", "participant", "forbidden"),
        ("moderator", "other-moderator", "none", "not-allowed"),
        ("participant", "visitor", "participant", "forbidden"),
        ("visitor", "visitor", "participant", "forbidden"),
        ("admin", "nobody", "moderator", "item-not-found"),
        ("moderator", "participant", "moderator", "forbidden"),
        ("moderator", "nobody", "none", "item-not-found"),
        ("moderator", "visitor", "king", "bad-request"),
    ];
    for (who, whom, new, expected) in cases {
        let mut world = court();
        let told = world.admin(&format!("{who}@d/x"), &role(whom, new));
        let told = outcome(&told).unwrap_or_default();
        assert_eq!(told, expected, "{who} makes {whom} {new}");
    }
    // A moderator may ask from a client that is not in the room (section 8); others may not.
    let mut world = court();
    assert_eq!(
        outcome(&world.admin("moderator@d/other", &role("visitor", "none"))),
        None
    );
    let told = world.admin("participant@d/other", &role("participant", "none"));
    assert_eq!(outcome(&told).as_deref(), Some("forbidden"));
    // An admin need not be in the room.
    let mut world = court();
    world.send(
        "admin@d/x",
        &format!("<presence type='unavailable' to='{ROOM}/admin'/>"),
    );
    assert_eq!(outcome(&world.admin("admin@d/x", &role("visitor", "none"))), None);
    // And who administers the service may do all.
    world.is_service_admin = true;
    assert_eq!(outcome(&world.admin("root@d/x", &role("owner", "none"))), None);
}

/// Sections 9.1 to 9.5, 10.3 to 10.8.
#[test]
fn affiliations() {
    const MAY: &str = "";
    let cases = [
        ("admin", "member", "outcast", MAY),
        ("admin", "visitor", "member", MAY),
        ("admin", "member", "none", MAY),
        ("admin", "owner", "outcast", "not-allowed"),
        // Not above him, so section 9.1 does not have it; it changes the list of admins (sections 10.7 and 10.8).
        ("admin", "other-admin", "outcast", "forbidden"),
        ("admin", "other-admin", "none", "forbidden"),
        ("admin", "member", "admin", "forbidden"),
        ("admin", "member", "owner", "forbidden"),
        ("admin", "owner", "member", "forbidden"),
        ("admin", "admin", "outcast", "conflict"),
        ("owner", "owner", "outcast", "conflict"),
        ("owner", "admin", "outcast", MAY),
        ("owner", "member", "owner", MAY),
        ("owner", "owner", "none", MAY),
        ("moderator", "visitor", "outcast", "forbidden"),
        ("member", "visitor", "member", "forbidden"),
        ("admin", "visitor", "king", "bad-request"),
    ];
    for (who, whom, new, expected) in cases {
        let mut world = court();
        let told = world.admin(&format!("{who}@d/x"), &affiliation(whom, new));
        assert_eq!(outcome(&told).unwrap_or_default(), expected, "{who} makes {whom} {new}");
        if expected.is_empty() {
            // It lasts.
            let again = world.again().expect("it is kept");
            let jid = Jid::parse(&format!("{whom}@d")).expect("a JID");
            assert_eq!(again.affiliation(jid.as_ref()).name(), new);
        }
    }
    // The last owner stays (section 10.4).
    let mut world = World::open();
    for new in ["admin", "member", "none"] {
        let told = world.admin(
            ONE,
            &format!("<item jid='crone1@shakespeare.lit' affiliation='{new}'/>"),
        );
        refused(&told, ONE, "conflict", "cancel");
    }
    let both = "<item jid='crone1@shakespeare.lit' affiliation='none'/><item jid='other@d' affiliation='owner'/>";
    assert_eq!(outcome(&world.admin(ONE, both)), None);
}

#[test]
fn what_is_wrong_changes_nothing() {
    for items in [
        "",
        "<item/>",
        "<item nick='visitor'/>",
        "<item role='none'/>",
        "<item affiliation='member'/>",
        "<item nick='visitor' role='none' affiliation='member' jid='visitor@d'/>",
    ] {
        let mut world = court();
        assert_eq!(
            outcome(&world.admin("admin@d/x", items)).as_deref(),
            Some("bad-request"),
            "{items}"
        );
    }
    let mut world = court();
    let malformed = "<item affiliation='member' jid='@d'/>";
    assert_eq!(
        outcome(&world.admin("admin@d/x", malformed)).as_deref(),
        Some("jid-malformed")
    );
    // Section 9.2: all or nothing.
    let both = affiliation("visitor", "member") + &affiliation("owner", "outcast");
    assert_eq!(
        outcome(&world.admin("admin@d/x", &both)).as_deref(),
        Some("not-allowed")
    );
    let visitor = Jid::parse("visitor@d").expect("a JID");
    assert_eq!(world.room.affiliation(visitor.as_ref()), Affiliation::None);
    world.limits.affiliations = world.room.standings.len();
    assert_eq!(
        outcome(&world.admin("admin@d/x", &affiliation("visitor", "member"))).as_deref(),
        Some("resource-constraint")
    );
    let many: String = (0..300).map(|_| role("visitor", "participant")).collect();
    assert_eq!(
        outcome(&world.admin("admin@d/x", &many)).as_deref(),
        Some("policy-violation")
    );
}

/// Section 8.2: whoever goes, who did it, the others, in this order.
#[test]
fn a_kick() {
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    world.enter(TWO, "secondwitch");
    let told = world.admin(
        ONE,
        "<item nick='thirdwitch' role='none'><reason>Avaunt!</reason></item>",
    );
    let item = |jid: &str| {
        format!("<item affiliation='none' role='none'{jid}><actor nick='firstwitch'/><reason>Avaunt!</reason></item>")
    };
    let text = |jid: &str, codes: &str| {
        let item = item(jid);
        format!(
            "<presence type='unavailable'><x xmlns='http://jabber.org/protocol/muc#user'>{item}{codes}</x></presence>"
        )
    };
    let jid = format!(" jid='{THREE}'");
    let expected = [
        (
            THREE.to_owned(),
            format!("{ROOM}/thirdwitch"),
            text(&jid, "<status code='110'/><status code='307'/>"),
        ),
        done(ONE),
        (
            TWO.to_owned(),
            format!("{ROOM}/thirdwitch"),
            text("", "<status code='307'/>"),
        ),
        (
            ONE.to_owned(),
            format!("{ROOM}/thirdwitch"),
            text(&jid, "<status code='307'/>"),
        ),
    ];
    assert_eq!(told, expected);
    // He may come again.
    world.enter(THREE, "thirdwitch");
    let told = world.admin(ONE, "<item jid='hag66@shakespeare.lit' affiliation='outcast'/>");
    assert!(of(&told, THREE)[0].1.contains("<status code='301'/>"), "{told:?}");
    refused(&world.join(THREE, "thirdwitch", ""), THREE, "forbidden", "auth");
}

#[test]
fn what_an_affiliation_brings_and_takes() {
    let cases = [
        // Who, what he becomes, and which role he has then; in a moderated room.
        ("visitor", "member", "participant"),
        ("visitor", "admin", "moderator"),
        ("participant", "member", "participant"),
        ("member", "owner", "moderator"),
        ("admin", "member", "participant"),
        ("admin", "none", "visitor"),
        ("moderator", "member", "moderator"),
    ];
    for (who, new, role) in cases {
        let mut world = court();
        let told = world.admin(ONE, &affiliation(who, new));
        let seen = presence("", &format!("affiliation='{new}' role='{role}' jid='{who}@d/x'"), &[]);
        assert_eq!(of(&told, ONE)[1], (&*format!("/{who}"), seen.as_str()), "{who} {new}");
    }
    // Section 9.4: who is no member any more goes from a room for members, and hears only that.
    let mut world = court();
    world.configure(&[("muc#roomconfig_membersonly", "1")]);
    let told = world.admin(ONE, &affiliation("member", "none"));
    let own = of(&told, "member@d/x");
    assert_eq!(own.len(), 1, "{told:?}");
    assert!(
        own[0].1.contains("type='unavailable'") && own[0].1.contains("<status code='321'/>"),
        "{own:?}"
    );
}

/// Sections 8.5, 9.2, 9.5, 9.8, 10.5 and 10.8.
#[test]
fn who_sees_which_list() {
    let lists = ["outcast", "member", "admin", "owner"];
    let ask = |world: &mut World, who: &str, what: &str| {
        let query = format!("<query xmlns='http://jabber.org/protocol/muc#admin'><item {what}/></query>");
        let told = world.iq(&format!("{who}@d/x"), "get", &query);
        match outcome(&told) {
            None => "yes".to_owned(),
            Some(condition) => condition,
        }
    };
    for (whois, who, expected) in [
        ("moderators", "owner", ["yes", "yes", "yes", "yes"]),
        ("moderators", "admin", ["yes", "yes", "forbidden", "forbidden"]),
        ("moderators", "member", ["forbidden"; 4]),
        ("moderators", "participant", ["forbidden"; 4]),
        ("anyone", "admin", ["yes", "yes", "yes", "yes"]),
        ("anyone", "member", ["forbidden", "yes", "yes", "yes"]),
        ("anyone", "participant", ["forbidden", "yes", "forbidden", "forbidden"]),
        ("anyone", "nobody", ["forbidden"; 4]),
    ] {
        let mut world = court();
        world.configure(&[("muc#roomconfig_whois", whois)]);
        let told = lists.map(|list| ask(&mut world, who, &format!("affiliation='{list}'")));
        assert_eq!(told, expected, "{whois} {who}");
    }
    let mut world = court();
    for (who, expected) in [
        ("admin", ["yes", "yes", "yes"]),
        ("moderator", ["forbidden", "yes", "yes"]),
        ("participant", ["forbidden"; 3]),
    ] {
        let told = ["moderator", "participant", "visitor"].map(|role| ask(&mut world, who, &format!("role='{role}'")));
        assert_eq!(told, expected, "{who}");
    }
    for what in [
        "",
        "role='none'",
        "affiliation='none'",
        "affiliation='king'",
        "role='visitor' affiliation='member'",
    ] {
        assert_eq!(ask(&mut world, "admin", what), "bad-request", "{what}");
    }
    let query = "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member'/></query>";
    let told = world.iq("admin@d/x", "get", query);
    let list =
        "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member' jid='member@d'/></query>";
    assert_eq!(told[0].2, format!("<iq type='result' id='q'>{list}</iq>"));
}

/// An account that is removed is nobody here any more; a room has an owner all the same (section 10).
#[test]
fn an_account_that_is_removed_has_a_successor() {
    let mut world = World::open();
    world.admin(ONE, "<item affiliation='member' jid='wiccarocks@shakespeare.lit'/>");
    world.admin(ONE, "<item affiliation='admin' jid='hag66@shakespeare.lit'/>");
    let mut remove = |who: &str| {
        let ids = module::ArchiveIds::new(&[1; 32]);
        let context = crate::Context {
            now: module::Now(world.now),
            limits: &world.limits,
            secret: b"secret",
            ids: &ids,
            is_service_admin: false,
        };
        let account = stanza::Jid::parse(who).expect("a JID").to_bare();
        let crate::Decided::Write(batch, say) = world.room.removed(&context, &account) else {
            panic!("nothing is written");
        };
        assert!(
            say.iter()
                .all(|say| say.to.iter().all(|to| to.bare_str() != account.bare_str()))
        );
        world.store.write_wait(batch).expect("written");
        let room = world.again().expect("it is there");
        let of = |jid: &str| room.affiliation(stanza::Jid::parse(jid).expect("a JID").as_ref());
        [ONE, TWO, THREE].map(of)
    };
    use crate::Affiliation::{Member, None, Owner};
    assert_eq!(remove(ONE), [None, Member, Owner]);
    assert_eq!(remove(THREE), [None, Owner, None]);
}
