//! What `<a/>` covers is on disk (XEP-0198, guarantees G1, G2, G6).

use store::StoreError;

use crate::support::World;

fn world() -> World {
    let mut world = World::new(&["romeo", "juliet"]);
    world.managed(&["romeo/orchard"]);
    world.online(&["juliet/balcony"]);
    world
}

fn chat(world: &mut World, body: &str) {
    world.send("romeo/orchard", &message(body));
}

fn message(body: &str) -> String {
    format!("<message type='chat' id='m{body}' to='juliet@d'><body>{body}</body></message>")
}

/// Nothing is acknowledged before it is on disk, and then at once; the counter comes with it.
#[test]
fn only_after_the_commit() {
    let mut world = world();
    let before = world.h("romeo/orchard");
    assert_eq!(before, world.stream("romeo/orchard").sent, "carbons and presence");
    chat(&mut world, "1");
    chat(&mut world, "2");
    world.send("romeo/orchard", "<presence/>");
    world.ask_for_h("romeo/orchard");
    world.pump("romeo/orchard");
    assert_eq!(world.stream("romeo/orchard").acknowledged, before);
    // The second is not on disk yet, and the answer is for all that came before the question.
    assert!(world.store.step());
    world.pump("romeo/orchard");
    assert_eq!(world.stream("romeo/orchard").acknowledged, before);
    world.settle();
    assert_eq!(world.stream("romeo/orchard").acknowledged, before + 3);
    // What has no effect is acknowledged at once.
    world.send("romeo/orchard", "<presence/>");
    world.ask_for_h("romeo/orchard");
    world.pump("romeo/orchard");
    assert_eq!(world.stream("romeo/orchard").acknowledged, before + 4);
}

/// The counter is written with the effect, in the same batch: after a crash at any moment it says what is there.
#[test]
fn the_counter_says_what_is_there() {
    for steps in 0..6 {
        let mut world = world();
        let before = i64::from(world.h("romeo/orchard"));
        let stream = world.stream("romeo/orchard").clone();
        for body in ["1", "2", "3"] {
            chat(&mut world, body);
        }
        let kept_before = world_kept(&world_steps(&mut world, steps));
        world.kill();
        let kept = world.kept("juliet", store::View::Archive).len();
        assert_eq!(kept, kept_before, "after {steps} steps");
        // None before the first effect.
        let mark = world.mark(&stream).unwrap_or(0);
        // Presence and the like before the first message is counted with it.
        let expected = if kept == 0 { mark } else { before + kept as i64 };
        assert_eq!(mark, expected, "after {steps} steps");
        assert!(mark <= before + kept as i64);
        // And that is what the client is told.
        let Err(jackdaw_router::NotResumed::NotFound { h }) = world.resume("romeo/orchard", stream) else {
            panic!("it went on")
        };
        assert_eq!(h.map(i64::from), Some(mark));
    }
}

fn world_steps(world: &mut World, steps: usize) -> usize {
    (0..steps).filter(|_| world.store.step()).count()
}

/// Of the steps each commits one of three messages.
fn world_kept(steps: &usize) -> usize {
    (*steps).min(3)
}

/// A client may send on before it has heard that its stream is managed; its counter is not put back.
#[test]
fn the_counter_of_who_does_not_wait_for_enabled() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["juliet/balcony"]);
    world.connect("romeo/orchard");
    world.enable("romeo/orchard", true);
    chat(&mut world, "1");
    assert_eq!(world.h("romeo/orchard"), 1);
    let stream = world.stream("romeo/orchard").clone();
    assert_eq!(world.mark(&stream), Some(1), "one was acknowledged");
    world.kill();
    let Err(jackdaw_router::NotResumed::NotFound { h }) = world.resume("romeo/orchard", stream) else {
        panic!("it went on")
    };
    assert_eq!(h, Some(1));
}

/// G6: the sender hears that it could not be kept, nothing covers it, and there is no more to it.
#[test]
fn what_could_not_be_written() {
    let mut world = world();
    let before = world.h("romeo/orchard");
    world.store.set_full(true);
    chat(&mut world, "1");
    world.expect(
        "romeo/orchard",
        &["message error resource-constraint juliet>romeo/orchard #m1"],
    );
    assert_eq!(world.h("romeo/orchard"), before);
    world.send("romeo/orchard", "<presence/>");
    assert_eq!(world.h("romeo/orchard"), before, "nothing behind it either");
    world.forget_one("romeo/orchard");
    world.nothing_more();
    // There is room again: it goes on without more.
    world.store.set_full(false);
    chat(&mut world, "2");
    assert_eq!(world.h("romeo/orchard"), before + 3);
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 2"]);
    world.nothing_more();
}

/// What was refused is sent again on a stream that goes on, and both sides count the same.
#[test]
fn what_was_refused_comes_again_when_the_stream_goes_on() {
    let mut world = world();
    let before = world.h("romeo/orchard");
    world.store.fail_writes(1, StoreError::Full);
    chat(&mut world, "1");
    world.forget();
    assert_eq!(world.h("romeo/orchard"), before);
    let stream = world.detach("romeo/orchard");
    world.resume("romeo/orchard", stream).expect("it goes on");
    // The client has sent the message again.
    world.settle();
    assert_eq!(world.h("romeo/orchard"), before + 1);
    let stream = world.stream("romeo/orchard").clone();
    assert_eq!(world.mark(&stream), Some(i64::from(before + 1)));
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 1"]);
}

/// Guarantee G2: what is sent once more, by another stream, is recognised.
#[test]
fn sent_once_more() {
    let mut world = world();
    let text = "<message type='chat' to='juliet@d'><body>1</body><origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>";
    world.send("romeo/orchard", text);
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 1"]);
    world.leave("romeo/orchard", true);
    world.managed(&["romeo/garden"]);
    let before = world.h("romeo/garden");
    world.send("romeo/garden", text);
    assert_eq!(world.h("romeo/garden"), before + 1);
    world.nothing_more();
    assert_eq!(world.kept("juliet", store::View::Archive).len(), 1);
}

/// A decision is acknowledged with its commit, and one that was taken back is not.
#[test]
fn decisions() {
    let mut world = world();
    let before = world.h("romeo/orchard");
    let set = "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='nurse@d'/></query></iq>";
    world.send("romeo/orchard", set);
    world.ask_for_h("romeo/orchard");
    world.pump("romeo/orchard");
    assert_eq!(world.stream("romeo/orchard").acknowledged, before);
    world.settle();
    assert_eq!(world.stream("romeo/orchard").acknowledged, before + 1);
    let stream = world.stream("romeo/orchard").clone();
    assert_eq!(world.mark(&stream), Some(i64::from(before + 1)));
    world.forget();
    world.store.fail_writes(1, StoreError::Full);
    world.send("romeo/orchard", set);
    world.expect(
        "romeo/orchard",
        &["iq error resource-constraint romeo>romeo/orchard #s"],
    );
    assert_eq!(world.h("romeo/orchard"), before + 1);
}

/// Faulty stanzas are stanzas (XEP-0198 section 4).
#[test]
fn all_stanzas_count() {
    let mut world = world();
    let before = world.h("romeo/orchard");
    for text in [
        "<message to='nobody@d' id='1'><body>x</body></message>",
        "<message to='elsewhere.example' id='1'><body>x</body></message>",
        "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq type='result' id='1' to='d'/>",
        "<presence to='juliet@d'/>",
        "<presence type='subscribe' to='nobody@d'/>",
        "<message type='chat' to='juliet@d'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    ] {
        world.send("romeo/orchard", text);
    }
    world.settle();
    world.router.count(&world.clients["romeo/orchard"].bound);
    world.stream("romeo/orchard").sent("<message to='@'/>");
    assert_eq!(world.h("romeo/orchard"), before + 8);
}
