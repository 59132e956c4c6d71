//! Two of these servers, one of which opens a stream to the other.

use router::Event;

use super::*;
use crate::server::Claim;
use crate::tests::world::*;

const THERE: Decided = Decided {
    ours: &["second.example"],
    ..HERE
};

/// Lets both talk until neither has anything to say.
fn talk(caller: &mut Caller, peer: &mut Peer) {
    loop {
        let said = caller.said();
        if !said.is_empty() {
            peer.send(said);
        }
        peer.run();
        if peer.next == Next::StartTls {
            // TLS comes between; here it is enough that both know.
            caller.hear(peer.said());
            peer.secure();
            caller.secure();
            continue;
        }
        let said = peer.said();
        if said.is_empty() || !matches!(caller.then, Then::Read) {
            caller.rest.extend_from_slice(said.as_bytes());
            return;
        }
        caller.hear(said);
    }
}

/// `from` here, from where it is called, and `example.org` there.
fn call(
    (here, from): (&World, &'static str),
    there: &World,
    rules: Decided,
    secured: bool,
    resume: Option<Resume>,
) -> (Caller, Peer) {
    let ours: &'static [&'static str] = match from {
        "second.example" => &["second.example"],
        _ => &["far.example"],
    };
    let to = Decided {
        ours: &["example.org"],
        ..rules
    };
    let purpose = Purpose::Stanzas { resume };
    let config = config(here, Decided { ours, ..rules });
    let caller = Caller::new(config, Pair::new(from, "example.org"), secured, purpose);
    (caller, connect(there, to, secured))
}

#[test]
fn by_certificate() {
    for secured in [true, false] {
        let ((mut here, _), (there, _)) = (world(), world());
        here.config.after_login.bytes = 3_000;
        let (mut caller, mut peer) = call((&here, "far.example"), &there, HERE, secured, None);
        talk(&mut caller, &mut peer);
        let Then::Established(established) = &caller.then else {
            panic!("{:?}", caller.then);
        };
        assert!(established.linked.is_managed && established.linked.is_bidirectional);
        assert_eq!(established.linked.max_bytes, Some(6000));
        assert!(established.linked.resumable.is_some());
        let mut juliet = there.bound("juliet", "balcony");
        juliet.send("<presence/>");
        juliet.said();
        let mut ours = caller.carry(&here);
        peer.send(message("romeo@far.example/a", "juliet@example.org", "a") + &format!("<r xmlns='{NS_SM}'/>"));
        assert_eq!(peer.said(), format!("<a xmlns='{NS_SM}' h='1'/>"));
        juliet.run();
        assert!(juliet.said().contains("<body>a</body>"));
        // Back by the same stream, as long as this side takes it (XEP-0478 section 3.2).
        let long = "x".repeat(3_000);
        juliet.send(format!(
            "<message to='romeo@far.example/a' id='l'><body>{long}</body></message>"
        ));
        juliet.run();
        let refused = juliet.said();
        assert!(refused.contains("<policy-violation "), "{refused}");
        juliet.send(message("juliet@example.org/balcony", "romeo@far.example/a", "b"));
        peer.run();
        let said = peer.said();
        assert!(said.contains("from='juliet@example.org/balcony'"), "{said}");
        ours.send(said);
        assert_eq!(ours.next, Next::Read);
    }
}

#[test]
fn by_dialback() {
    for is_good in [true, false] {
        let ((here, _), (there, _)) = (world(), world());
        let (mut caller, mut peer) = call((&here, "second.example"), &there, with_dialback(), false, None);
        peer.shell.vouches = Some(false);
        talk(&mut caller, &mut peer);
        let mut claim = peer.shell.claims.pop().expect("a key was shown");
        if !is_good {
            claim.id = "another".into();
        }
        // The other way: to who is authoritative for `second.example`.
        let asked = Claim {
            pair: Pair::new("example.org", "second.example"),
            ..claim
        };
        let from = Decided {
            ours: &["example.org"],
            ..HERE
        };
        let mut asking = Caller::new(config(&there, from), asked.pair.clone(), false, Purpose::Verify(asked));
        let mut authority = connect(&here, THERE, false);
        authority.shell.vouches = Some(false);
        talk(&mut asking, &mut authority);
        assert!(
            matches!(asking.then, Then::Verified(said) if said == is_good),
            "{:?}",
            asking.then
        );
        peer.tell(Event::Verified(Ok(is_good)));
        talk(&mut caller, &mut peer);
        match (&caller.then, is_good) {
            (Then::Established(_), true) | (Then::Failed(_), false) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}

/// Row 53: neither certificate nor dialback.
#[test]
fn nobody_vouches() {
    let ((here, _), (there, _)) = (world(), world());
    let (mut caller, mut peer) = call((&here, "second.example"), &there, HERE, false, None);
    peer.shell.vouches = Some(false);
    talk(&mut caller, &mut peer);
    let Then::Failed(failed) = &caller.then else {
        panic!("{:?}", caller.then);
    };
    assert_eq!(
        failed.text,
        "example.org does not believe that this server is who it is"
    );
}

/// A stream that breaks and is made again goes on where it was, in both directions.
#[test]
fn resumed() {
    let ((here, dialed), (there, _)) = (world(), world());
    let (mut caller, mut peer) = call((&here, "second.example"), &there, HERE, true, None);
    talk(&mut caller, &mut peer);
    let mut ours = caller.carry(&here);
    peer.send(message("romeo@second.example/a", "juliet@example.org", "a"));
    ours.send(message("juliet@example.org/a", "romeo@second.example", "b"));
    ours.said();
    for (world, peer) in [(&here, &mut ours), (&there, &mut peer)] {
        let (bound, _) = peer.with(|core, _| core.take_bound());
        world
            .router
            .unbind(NOW, &bound.expect("bound"), false, &mut Default::default());
    }
    let (pair, resume) = dialed.0.lock().expect("no panic").pop().expect("dialed");
    assert_eq!(pair, Pair::new("second.example", "example.org"));
    let resume = resume.expect("to be resumed");
    assert_eq!(resume.h, 1);
    let (mut caller, mut peer) = call((&here, "second.example"), &there, HERE, true, Some(resume));
    talk(&mut caller, &mut peer);
    let Then::Established(established) = &caller.then else {
        panic!("{:?}", caller.then);
    };
    assert_eq!(established.linked.resumed, Some(1));
    let mut ours = caller.carry(&here);
    ours.send(message("juliet@example.org/a", "romeo@second.example", "c") + &format!("<r xmlns='{NS_SM}'/>"));
    assert!(ours.said().ends_with(&format!("<a xmlns='{NS_SM}' h='2'/>")));
}
