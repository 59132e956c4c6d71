//! Contacts and rooms at another server, `far.example`: what they are told, and what is told of them when the link to
//! their server breaks.

use std::sync::Arc;

use jackdaw_router::{Bound, Failure, FailureKind, Outbox, Pair};
use minidom::Element;
use stanza::ns;

use crate::lines::line;
use crate::remote::{FAR, Far, managed};
use crate::support::OUTBOX;

/// `romeo@far.example` and juliet see each other's presence. The link is up.
fn friends() -> (Far, Bound) {
    let mut far = Far::known();
    far.up(&managed());
    let theirs = far.bound.clone().expect("a stream");
    far.send(&format!("<presence type='subscribe' to='romeo@{FAR}'/>"));
    for kind in ["subscribed", "subscribe"] {
        far.says(&theirs, &presence(kind, "romeo@far.example", "juliet@d", ""));
    }
    far.send(&format!("<presence type='subscribed' to='romeo@{FAR}'/>"));
    let sent = far.sent().iter().filter(|line| *line != "r").count();
    far.acknowledge(u32::try_from(sent).expect("a few"));
    far.sent();
    far.world.forget();
    (far, theirs)
}

fn presence(kind: &str, from: &str, to: &str, content: &str) -> String {
    let kind = match kind {
        "" => String::new(),
        kind => format!(" type='{kind}'"),
    };
    format!("<presence xmlns='jabber:server'{kind} from='{from}' to='{to}'>{content}</presence>")
}

fn statuses(stanza: &Element) -> Vec<&str> {
    let x = stanza.get_child("x", ns::MUC_USER);
    let all = x.into_iter().flat_map(Element::children);
    all.filter_map(|child| child.attr("code")).collect()
}

impl Far {
    /// What juliet is told, and the status codes of rooms in it.
    fn told(&mut self) -> Vec<String> {
        let all = self.world.read("juliet/balcony");
        let told = |stanza: &Element| format!("{} {:?}", line(stanza), statuses(stanza));
        let mut told: Vec<String> = all.iter().map(told).collect();
        told.sort();
        told
    }

    fn enters(&mut self) {
        let muc = format!("<x xmlns='{}'/>", ns::MUC);
        self.send(&format!("<presence to='coven@{FAR}/juliet'>{muc}</presence>"));
        self.send(&format!("<presence to='nurse@{FAR}'/>"));
        self.sent();
        self.world.forget();
    }
}

const GONE: [&str; 3] = [
    "unavailable coven@far.example/juliet>juliet/balcony [\"110\", \"333\"]",
    "unavailable nurse@far.example>juliet/balcony []",
    "unavailable romeo@far.example>juliet []",
];

#[test]
fn a_broken_link_is_told_once_and_all_is_asked_anew_when_it_is_there_again() {
    let (mut far, theirs) = friends();
    far.says(&theirs, &presence("", "romeo@far.example/x", "juliet@d", ""));
    far.enters();
    far.broken(false);
    assert_eq!(far.told(), [] as [&str; 0], "it is not known yet");
    far.down(FailureKind::Timeout);
    assert_eq!(far.told(), GONE);
    far.world.pass(1_000);
    far.look();
    far.down(FailureKind::Timeout);
    assert_eq!(far.told(), [] as [&str; 0], "once");
    far.world.pass(1_000);
    far.look();
    far.up(&managed());
    let mut sent = far.sent();
    sent.retain(|line| line != "r");
    sent.sort();
    assert_eq!(
        sent,
        [
            "available juliet/balcony>romeo@far.example",
            "probe juliet>romeo@far.example"
        ]
    );
    assert_eq!(far.told(), [] as [&str; 0]);
    // It has left the room, and shows itself to nobody there but its contact.
    far.world.leave("juliet/balcony", true);
    let mut sent = far.sent();
    sent.retain(|line| line != "r");
    assert_eq!(sent, ["unavailable juliet/balcony>romeo@far.example"]);
}

#[test]
fn a_server_that_was_started_anew_knows_nothing_of_us() {
    let (mut far, _) = friends();
    far.enters();
    far.broken(false);
    // It does not go on with the stream before.
    far.up(&managed());
    assert_eq!(far.told(), GONE);
    let sent = far.sent();
    assert!(sent.contains(&"probe juliet>romeo@far.example".to_owned()), "{sent:?}");
    assert!(
        sent.contains(&"available juliet/balcony>romeo@far.example".to_owned()),
        "{sent:?}"
    );
}

#[test]
fn who_is_in_a_room_here_leaves_it_with_the_link() {
    let mut far = Far::new();
    let pair = Pair::new("rooms.d", FAR);
    let enters = format!("<x xmlns='{}'/>", ns::MUC);
    far.send(&format!("<presence to='coven@rooms.d/juliet'>{enters}</presence>"));
    far.send(
        "<iq type='set' id='c' to='coven@rooms.d'><query xmlns='http://jabber.org/protocol/muc#owner'>\
         <x xmlns='jabber:x:data' type='submit'/></query></iq>",
    );
    let (now, router) = (far.world.now(), Arc::clone(&far.world.router));
    let outbox = Outbox::new(OUTBOX);
    let turn = &mut far.world.turn;
    let bound = router.linked(now, &pair, &outbox, &managed(), turn).expect("a link");
    far.says(
        &bound,
        &presence("", "romeo@far.example/x", "coven@rooms.d/romeo", &enters),
    );
    far.world.settle();
    let entered = far.lines();
    assert!(
        entered.contains(&"available coven@rooms.d/romeo>juliet/balcony".to_owned()),
        "{entered:?}"
    );
    assert!(router.unbind(now, &bound, false, &mut far.world.turn).is_some());
    let failure = Failure::new(FailureKind::Timeout, "nobody is there");
    router.not_linked(now, &pair, &failure, &mut far.world.turn);
    far.world.turn.finish();
    far.world.settle();
    assert_eq!(far.told(), ["unavailable coven@rooms.d/romeo>juliet/balcony [\"333\"]"]);
}

#[test]
fn a_probe_of_who_may_not_see_is_refused_to_another_server_too() {
    let mut far = Far::known();
    far.up(&managed());
    let theirs = far.bound.clone().expect("a stream");
    far.says(&theirs, &presence("probe", "romeo@far.example", "juliet@d", ""));
    far.says(&theirs, &presence("probe", "romeo@far.example", "nobody@d", ""));
    let mut sent = far.sent();
    sent.retain(|line| line != "r");
    assert_eq!(
        sent,
        [
            "unsubscribed juliet>romeo@far.example",
            "unsubscribed nobody>romeo@far.example"
        ]
    );
}

#[test]
fn clients_of_contacts_elsewhere_are_told_what_they_want() {
    let (mut far, theirs) = friends();
    let caps = "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:client' ver='AAAA'/>";
    far.says(&theirs, &presence("", "romeo@far.example/x", "juliet@d", caps));
    // One that is shown to somebody else is no contact's.
    far.says(&theirs, &presence("", "nurse@far.example/x", "juliet@d", caps));
    far.world.settle();
    let taken = far.outbox.take(std::task::Waker::noop(), true);
    let asked: Vec<String> = crate::lines::elements(&taken.bytes)
        .into_iter()
        .filter(|text| text.starts_with("<iq"))
        .collect();
    let [question] = &asked[..] else { panic!("{asked:?}") };
    assert!(
        question.contains("from='juliet@d'") && question.contains("to='romeo@far.example/x'"),
        "{question}"
    );
    let question = crate::lines::element(question);
    let id = question.attr("id").expect("an id");
    let publish = "<iq type='set' id='p' to='juliet@d'><publish xmlns='urn:test:publish'/></iq>";
    far.send(publish);
    assert!(
        far.sent().iter().all(|line| !line.contains("news")),
        "it has not said so yet"
    );
    let answer = |from: &str, wants: &str| {
        format!(
            "<iq xmlns='jabber:server' type='result' id='{id}' from='{from}' to='juliet@d'>\
             <query xmlns='http://jabber.org/protocol/disco#info'><feature var='{wants}+notify'/></query></iq>"
        )
    };
    // Nobody answers for others.
    far.says(&theirs, &answer("romeo@far.example/y", "n"));
    far.send(publish);
    assert!(far.sent().iter().all(|line| !line.contains("news")));
    far.says(&theirs, &answer("romeo@far.example/x", "n"));
    far.send(publish);
    assert!(
        far.sent()
            .contains(&"headline juliet>romeo@far.example/x news".to_owned())
    );
    // Who is gone is told nothing.
    far.says(&theirs, &presence("unavailable", "romeo@far.example/x", "juliet@d", ""));
    far.send(publish);
    assert!(far.sent().iter().all(|line| !line.contains("news")));
}

#[test]
fn what_a_server_sends_again_over_a_new_stream_is_one_message() {
    let mut far = Far::known();
    far.up(&managed());
    far.world.forget();
    let message = |id: &str, body: &str| {
        format!(
            "<message xmlns='jabber:server' type='chat' id='{id}' from='romeo@far.example/x' to='juliet@d'>\
             <body>{body}</body></message>"
        )
    };
    let theirs = far.bound.clone().expect("a stream");
    far.says(&theirs, &message("0123456789abcdef", "one"));
    far.says(&theirs, &message("1", "two"));
    far.broken(false);
    far.up(&managed());
    let theirs = far.bound.clone().expect("a stream");
    far.says(&theirs, &message("0123456789abcdef", "one"));
    // It says something else, or counts from the beginning.
    far.says(&theirs, &message("0123456789abcdef", "three"));
    far.says(&theirs, &message("1", "two"));
    let lines = far.lines();
    let bodies: Vec<&str> = lines.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(bodies, ["one", "two", "three", "two"]);
}
