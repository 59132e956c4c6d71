//! Sections 7.10, 7.12 and 9.9, after their examples.

use super::*;
use crate::Affiliation;

const ASK: &str = "<query xmlns='jabber:iq:register'/>";
const REMOVE: &str = "<query xmlns='jabber:iq:register'><remove/></query>";
const OPEN: (&str, &str) = ("{urn:jackdaw:muc}registration", "anyone");
const LOCK: (&str, &str) = ("{urn:jackdaw:muc}lock_nicks", "1");

fn form(nick: &str) -> String {
    format!(
        "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
         <value>http://jabber.org/protocol/muc#register</value></field><field var='muc#register_roomnick'>\
         <value>{nick}</value></field></x></query>"
    )
}

fn answer(who: &str, allow: &str) -> String {
    format!(
        "<message to='{ROOM}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
         <value>http://jabber.org/protocol/muc#register</value></field><field var='{{urn:jackdaw:muc}}register_jid'>\
         <value>{who}</value></field><field var='muc#register_allow'><value>{allow}</value></field></x></message>"
    )
}

fn affiliation(world: &World, who: &str) -> Affiliation {
    let jid = Jid::parse(who).expect("a JID");
    let again = world.again().expect("it is kept");
    assert_eq!(again.affiliation(jid.as_ref()), world.room.affiliation(jid.as_ref()));
    again.affiliation(jid.as_ref())
}

#[test]
fn somebody_registers_and_goes() {
    let mut world = World::configured(&[OPEN]);
    world.enter(THREE, "thirdwitch");
    let told = world.iq(THREE, "get", ASK);
    let form_of = "<field var='muc#register_roomnick' type='text-single' label='Desired nickname'><required/></field>";
    assert!(
        told[0].2.contains(form_of) && !told[0].2.contains("<registered/>"),
        "{told:?}"
    );
    let told = world.iq(THREE, "set", &form("hag"));
    assert_eq!(told[0], done(THREE));
    let member = format!("affiliation='member' role='participant' jid='{THREE}'");
    assert_eq!(of(&told, ONE), [("/thirdwitch", presence("", &member, &[]).as_str())]);
    assert_eq!(affiliation(&world, THREE), Affiliation::Member);
    let told = world.iq(THREE, "get", ASK);
    assert!(told[0].2.contains("<registered/><username>hag</username>"), "{told:?}");
    // It is kept for him alone.
    refused_of_nick(&mut world, TWO, "hag");
    world.enter(TWO, "secondwitch");
    refused(&world.iq(TWO, "set", &form("hag")), TWO, "conflict", "cancel");
    // Nor does anybody take the name of who is here.
    refused(&world.iq(TWO, "set", &form("thirdwitch")), TWO, "conflict", "cancel");
    // He takes another, which frees the first.
    assert_eq!(world.iq(THREE, "set", &form("thirdwitch")), [done(THREE)]);
    assert_eq!(world.iq(TWO, "set", &form("hag"))[0], done(TWO));
    let told = world.iq(THREE, "set", REMOVE);
    assert_eq!(told[0], done(THREE));
    assert!(of(&told, ONE)[0].1.contains("affiliation='none'"), "{told:?}");
    assert_eq!(affiliation(&world, THREE), Affiliation::None);
    refused(&world.iq(THREE, "set", REMOVE), THREE, "registration-required", "auth");
}

/// Section 7.2.9.
fn refused_of_nick(world: &mut World, who: &str, nick: &str) {
    let told = world.join(who, nick, "");
    refused(&told, who, "conflict", "cancel");
}

#[test]
fn who_may_not_register() {
    let mut world = World::configured(&[("{urn:jackdaw:muc}registration", "nobody")]);
    refused(&world.iq(TWO, "get", ASK), TWO, "not-allowed", "cancel");
    refused(&world.iq(TWO, "set", &form("x")), TWO, "service-unavailable", "cancel");
    let told = world.iq(TWO, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    assert!(!told[0].2.contains("jabber:iq:register"), "{told:?}");
    let mut world = World::configured(&[OPEN]);
    let told = world.iq(TWO, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    assert!(told[0].2.contains("<feature var='jabber:iq:register'/>"), "{told:?}");
    world.admin(ONE, "<item affiliation='outcast' jid='wiccarocks@shakespeare.lit'/>");
    refused(&world.iq(TWO, "get", ASK), TWO, "not-allowed", "cancel");
    refused(&world.iq(TWO, "set", &form("x")), TWO, "not-allowed", "cancel");
    for wrong in [
        ASK,
        "<query xmlns='jabber:iq:register'><username>x</username></query>",
        "<query xmlns='jabber:iq:register'><x xmlns='jabber:x:data' type='submit'/></query>",
        &form(""),
        "<query xmlns='jabber:iq:register'><remove/><username>x</username></query>",
    ] {
        refused(&world.iq(THREE, "set", wrong), THREE, "bad-request", "modify");
    }
    refused(&world.iq(THREE, "set", &form(" ")), THREE, "not-acceptable", "modify");
    world.limits.affiliations = world.room.standings.len();
    refused(
        &world.iq(THREE, "set", &form("x")),
        THREE,
        "resource-constraint",
        "wait",
    );
    // What is not configured yet is not there (section 7.10).
    let mut world = World::new();
    world.enter(ONE, "firstwitch");
    refused(&world.iq(TWO, "get", ASK), TWO, "item-not-found", "cancel");
}

/// Admins and owners stay what they are.
#[test]
fn an_owner_has_a_name_kept() {
    let mut world = World::configured(&[("{urn:jackdaw:muc}registration", "nobody")]);
    assert_eq!(world.iq(ONE, "set", &form("firstwitch")), [done(ONE)]);
    assert_eq!(affiliation(&world, ONE), Affiliation::Owner);
    assert_eq!(world.room.keeper_of("firstwitch"), Some("crone1@shakespeare.lit"));
    assert_eq!(world.iq(ONE, "set", REMOVE), [done(ONE)]);
    assert_eq!(
        (affiliation(&world, ONE), world.room.keeper_of("firstwitch")),
        (Affiliation::Owner, None)
    );
}

#[test]
fn an_admin_agrees() {
    let mut world = World::configured(&[("muc#roomconfig_membersonly", "1")]);
    let told = world.iq(THREE, "set", &form("thirdwitch"));
    assert_eq!(told[0], done(THREE));
    let [("", asked)] = of(&told, ONE)[..] else {
        panic!("the owner is asked: {told:?}")
    };
    for part in [
        "<value>http://jabber.org/protocol/muc#register</value>",
        "<field var='{urn:jackdaw:muc}register_jid' type='jid-single' label='User ID'><value>hag66@shakespeare.lit</value>",
        "<field var='muc#register_roomnick' type='text-single' label='Desired nickname'><value>thirdwitch</value>",
        "<field var='muc#register_allow' type='boolean'",
    ] {
        assert!(asked.contains(part), "{asked}");
    }
    // Who asks again bothers nobody; and he is nothing yet.
    assert_eq!(world.iq(THREE, "set", &form("thirdwitch")), [done(THREE)]);
    refused(
        &world.join(THREE, "thirdwitch", ""),
        THREE,
        "registration-required",
        "auth",
    );
    refused(
        &world.send(THREE, &answer("hag66@shakespeare.lit", "1")),
        THREE,
        "forbidden",
        "auth",
    );
    refused(
        &world.send(ONE, &answer("other@shakespeare.lit", "1")),
        ONE,
        "item-not-found",
        "cancel",
    );
    let told = world.send(ONE, &answer("hag66@shakespeare.lit", "1"));
    let [("", invited)] = of(&told, "hag66@shakespeare.lit")[..] else {
        panic!("he is invited: {told:?}")
    };
    assert!(invited.contains("<invite from='crone1@shakespeare.lit'>"), "{invited}");
    assert_eq!(affiliation(&world, THREE), Affiliation::Member);
    assert_eq!(world.room.keeper_of("thirdwitch"), Some("hag66@shakespeare.lit"));
    world.enter(THREE, "thirdwitch");
    // Nobody of them is here: their accounts are asked. He who is refused is told nothing, and may ask again.
    world.send(ONE, &format!("<presence type='unavailable' to='{ROOM}/firstwitch'/>"));
    for _ in 0..2 {
        let told = world.iq(TWO, "set", &form("secondwitch"));
        assert_eq!(of(&told, "crone1@shakespeare.lit").len(), 1, "{told:?}");
        assert_eq!(world.send(ONE, &answer("wiccarocks@shakespeare.lit", "0")), []);
    }
    assert_eq!(affiliation(&world, TWO), Affiliation::None);
}

/// Sections 7.6, 7.10 and 7.12.
#[test]
fn a_name_that_is_locked() {
    let mut world = World::configured(&[OPEN, LOCK]);
    world.enter(THREE, "other");
    // He is here under another: it is changed, and all are told.
    let told = world.iq(THREE, "set", &form("thirdwitch"));
    let seen: Vec<&str> = of(&told, ONE).iter().map(|(from, _)| *from).collect();
    assert_eq!(seen, ["/other", "/other", "/thirdwitch"], "{told:?}");
    let last = of(&told, ONE)[2].1;
    assert!(
        last.contains("<status code='210'/>") && last.contains("affiliation='member'"),
        "{last}"
    );
    let rename = format!("<presence to='{ROOM}/other'/>");
    refused(&world.send(THREE, &rename), THREE, "not-acceptable", "cancel");
    world.send(THREE, &format!("<presence type='unavailable' to='{ROOM}/thirdwitch'/>"));
    // Whatever he asks for, he comes in under his own.
    for _ in 0..2 {
        let told = world.join(THREE, "other", "");
        let own = of(&told, THREE);
        let own = own.iter().find(|(from, _)| *from == "/thirdwitch").expect("his own").1;
        assert!(
            own.contains("<status code='110'/>") && own.contains("<status code='210'/>"),
            "{own}"
        );
    }
    assert_eq!(world.room.sessions(), 2);
    // Who has registered none is free.
    world.enter(TWO, "secondwitch");
    let told = world.send(TWO, &format!("<presence to='{ROOM}/wicca'/>"));
    assert!(
        told.iter().any(|(_, _, text)| text.contains("<status code='303'/>")),
        "{told:?}"
    );
}
