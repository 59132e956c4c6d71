//! The clients of an account, and the end of their access (XEP-0494).

use accounts::tokens::{self, Agent, Clients, Login, Methods};
use jackdaw_router::{Access, Inline, NotResumed, Whose};
use stanza::Jid;
use store::Store;

use crate::support::World;

const OWNER: &str = "juliet@d";

/// A client of this id has logged in and is about to have a session.
fn comes(world: &mut World, id: &str) {
    world.access = Some(Access {
        client: id.into(),
        revocations: world.router.revocations(),
    });
    let owner = Jid::parse(OWNER).expect("a JID");
    let mut clients = Clients::from_rows(&owner, Vec::new()).expect("none");
    let login = Login {
        now: 0,
        agent: Agent::new(Some(id), None, None),
        methods: Methods::default(),
        epoch: 0,
    };
    world.store.write(clients.logged_in(id, &login).1, Box::new(|_| {}));
    world.settle();
}

fn revoke(world: &mut World, id: &str) {
    let owner = Jid::parse(OWNER).expect("a JID");
    world.store.write(tokens::revoke(&owner, id), Box::new(|_| {}));
    world.settle();
    world.router.end_sessions(OWNER, Whose::Client(id.into()));
    world.settle();
}

fn seen(world: &World) -> Vec<String> {
    let sessions = world.router.sessions_of(OWNER).into_iter();
    sessions
        .map(|session| {
            let of = session.client.as_deref().unwrap_or("-");
            let waits = if session.is_attached { "" } else { " waits" };
            format!("{} {of}{waits}", session.resource)
        })
        .collect()
}

/// Those whose resource tells, those that the client chose, and those that wait to be resumed.
#[test]
fn all_sessions_of_a_client_end_and_no_others() {
    let mut world = World::new(&["romeo", "juliet"]);
    comes(&mut world, "phone");
    world.managed(&["juliet/chosen", "juliet/away"]);
    let away = world.detach("juliet/away");
    world.establish("juliet/kit/phone", Inline::default());
    comes(&mut world, "laptop");
    world.managed(&["juliet/other"]);
    let expected = ["chosen phone", "away phone waits", "kit/phone -", "other laptop"];
    assert_eq!(seen(&world), expected);
    revoke(&mut world, "phone");
    world.expect("juliet/chosen", &["end not-authorized"]);
    world.expect("juliet/kit/phone", &["end not-authorized"]);
    let gone = [
        "unavailable juliet/chosen>juliet/other",
        "unavailable juliet/away>juliet/other",
    ];
    world.expect("juliet/other", &gone);
    assert_eq!(seen(&world), ["other laptop"]);
    assert_eq!(
        world.resume("juliet/again", away),
        Err(NotResumed::NotFound { h: Some(0) }),
        "not even by another client of the account"
    );
    world.router.end_sessions(OWNER, Whose::Resource("other".into()));
    world.expect("juliet/other", &["end not-authorized"]);
}

/// Its login was written down before it was revoked, and has a session after that.
#[test]
fn who_was_revoked_meanwhile_keeps_no_session() {
    for is_its_own in [false, true] {
        for name in ["juliet/chosen", "juliet/kit/desktop", "juliet/away"] {
            let mut world = World::new(&["romeo", "juliet"]);
            comes(&mut world, "phone");
            world.managed(&["juliet/away"]);
            let away = world.detach("juliet/away");
            comes(&mut world, "tablet");
            comes(&mut world, "desktop");
            revoke(&mut world, if is_its_own { "desktop" } else { "tablet" });
            match name {
                "juliet/chosen" => world.connect(name),
                // Another client's session, which this one resumes.
                "juliet/away" => assert_eq!(world.resume(name, away), Ok(())),
                _ => world.establish(name, Inline::default()),
            }
            world.settle();
            let resource = name.strip_prefix("juliet/").expect("hers");
            let is_there = seen(&world).iter().any(|seen| seen.starts_with(resource));
            assert_eq!(is_there, !is_its_own, "{name}");
        }
    }
}

/// They are written down with the sessions, and a client that is revoked while those are put back has none.
#[test]
fn a_restart_forgets_nobodys_client() {
    let mut world = World::new(&["romeo", "juliet"]);
    comes(&mut world, "phone");
    world.managed(&["juliet/one"]);
    comes(&mut world, "laptop");
    world.managed(&["juliet/two"]);
    world.access = None;
    world.managed(&["juliet/three"]);
    for name in ["juliet/one", "juliet/two", "juliet/three"] {
        world.detach(name);
    }
    for _ in 0..2 {
        assert_eq!(world.router.save_sessions(), 3);
        world.settle();
        world.kill();
        let owner = Jid::parse(OWNER).expect("a JID");
        world.store.release();
        assert_eq!(world.router.saved_sessions_of(&owner).len(), 3);
        assert_eq!(world.router.restore_sessions_of(world.now(), &owner), Ok(3));
        assert_eq!(world.router.saved_sessions_of(&owner).len(), 0);
        world.store.hold();
        world.settle();
        assert_eq!(seen(&world), ["one phone waits", "two laptop waits", "three - waits"]);
    }
    world.router.save_sessions();
    world.settle();
    world.kill();
    world.store.release();
    let restored = world.router.restore_sessions(world.now());
    world.store.hold();
    assert_eq!(restored, Ok(3));
    revoke(&mut world, "phone");
    assert_eq!(seen(&world), ["two laptop waits", "three - waits"]);
}
