use super::*;

const START: u32 = 1_800_000_000;

fn device(node: &str) -> Device {
    Device {
        owner: "romeo@example.org".into(),
        service: "push.example.net".into(),
        node: node.into(),
    }
}

fn at(seconds: u32) -> Moment {
    Moment(START + seconds)
}

struct Run {
    pushes: Pushes,
    now: u32,
}

impl Run {
    fn new() -> Run {
        Run {
            pushes: Pushes::default(),
            now: 0,
        }
    }

    fn announce(&self, count: u64, peer: &str) -> Option<String> {
        let summary = Summary {
            count,
            ..Summary::default()
        };
        self.pushes
            .announce(at(self.now), device("n"), &"".into(), summary, Some(peer))
    }

    fn answer(&self, letter: &str, answer: Answered) -> Follows {
        let follows = self
            .pushes
            .answered(at(self.now), id(letter), "push.example.net", answer);
        follows.expect("a request of this id is under way")
    }

    /// Lets time pass until something is sent, and tells how long that took.
    fn pause(&mut self) -> (u32, String) {
        let from = self.now;
        for _ in 0..2 * LONGEST_PAUSE_SECONDS {
            self.now += 1;
            let follows = self.pushes.tend(at(self.now));
            if let Some(letter) = follows.letters.into_iter().next() {
                return (self.now - from, letter);
            }
        }
        panic!("nothing is sent again");
    }

    fn is_quiet(&mut self) -> bool {
        self.now += 2 * LONGEST_PAUSE_SECONDS;
        self.pushes.tend(at(self.now)).letters.is_empty()
    }
}

fn id(letter: &str) -> &str {
    let (_, rest) = letter.split_once(" id='").expect("a request");
    rest.split_once('\'').expect("an id").0
}

fn count(letter: &str) -> &str {
    let (_, rest) = letter.split_once("'message-count'><value>").expect("a notification");
    rest.split_once('<').expect("a count").0
}

#[test]
fn one_each_and_what_comes_meanwhile_in_one() {
    let run = Run::new();
    let sent: Vec<String> = (1..=UNDER_WAY)
        .map(|count| run.announce(count as u64, "a@b").expect("sent at once"))
        .collect();
    assert!(run.announce(5, "a@b").is_none());
    assert!(run.announce(6, "c@d").is_none());
    let follows = run.answer(&sent[0], Answered::Taken);
    assert_eq!(follows.letters.len(), 1);
    assert_eq!(count(&follows.letters[0]), "6");
    assert!(run.answer(&sent[1], Answered::Taken).letters.is_empty());
}

#[test]
fn what_fails_is_sent_again_a_while_later_and_not_for_ever() {
    let mut run = Run::new();
    let mut letter = run.announce(1, "a@b").expect("sent at once");
    let mut pauses = Vec::new();
    for _ in 0..TRIES {
        assert!(run.answer(&letter, Answered::NotNow).letters.is_empty());
        // No more is asked of a service that has no time.
        assert!(run.announce(2, "a@b").is_none());
        let (pause, again) = run.pause();
        pauses.push(pause);
        letter = again;
    }
    assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600]);
    assert_eq!(count(&letter), "2");
    run.answer(&letter, Answered::NotNow);
    assert!(run.is_quiet());
    // The next message is announced again.
    assert!(run.announce(3, "a@b").is_some());
}

#[test]
fn an_answer_that_does_not_come_is_none() {
    let mut run = Run::new();
    let first = run.announce(1, "a@b").expect("sent at once");
    let (pause, again) = run.pause();
    assert_eq!(pause, ANSWER_SECONDS + FIRST_PAUSE_SECONDS);
    let late = run
        .pushes
        .answered(at(run.now), id(&first), "push.example.net", Answered::Taken);
    assert!(late.is_none());
    run.answer(&again, Answered::Taken);
    assert!(run.is_quiet());
}

#[test]
fn only_the_service_answers() {
    let run = Run::new();
    let letter = run.announce(1, "a@b").expect("sent at once");
    for (number, from) in [
        (id(&letter), "elsewhere.example"),
        ("push-0", "push.example.net"),
        ("push-x", "push.example.net"),
    ] {
        let follows = run.pushes.answered(at(0), number, from, Answered::Refused);
        assert!(follows.is_none(), "{number} {from}");
    }
    assert_eq!(run.answer(&letter, Answered::Refused).ended, [device("n")]);
    assert!(!run.pushes.has("romeo@example.org"));
}

#[test]
fn a_service_that_always_fails_is_given_up() {
    let mut run = Run::new();
    for failure in 1..=FAILURES {
        let letter = match run.announce(1, "a@b") {
            Some(letter) => letter,
            None => run.pause().1,
        };
        let ended = run.answer(&letter, Answered::NotNow).ended;
        assert_eq!(ended.len(), usize::from(failure == FAILURES), "{failure}");
    }
}

#[test]
fn what_was_read_is_not_announced() {
    let mut run = Run::new();
    let letter = run.announce(1, "a@b").expect("sent at once");
    run.answer(&letter, Answered::NotNow);
    run.announce(2, "c@d");
    run.pushes.read("romeo@example.org", "a@b");
    run.pushes.read("juliet@example.org", "c@d");
    let (_, letter) = run.pause();
    run.answer(&letter, Answered::NotNow);
    run.pushes.read("romeo@example.org", "c@d");
    assert!(run.is_quiet());
    // Under way when it was read, and not taken.
    let letter = run.announce(1, "a@b").expect("sent at once");
    run.pushes.read("romeo@example.org", "a@b");
    run.answer(&letter, Answered::NotNow);
    assert!(run.is_quiet());
}

#[test]
fn what_is_written() {
    let pushes = Pushes::default();
    let summary = Summary {
        count: 3,
        sender: Some("a@b/<c>".into()),
        body: Some("x & y".into()),
    };
    let odd = Device {
        node: "n'".into(),
        ..device("")
    };
    let letter = pushes
        .announce(at(0), odd, &"<x/>".into(), summary, None)
        .expect("sent at once");
    assert_eq!(
        letter,
        format!(
            "<iq type='set' id='{}' from='example.org' to='push.example.net'>\
             <pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='n&apos;'><item>\
             <notification xmlns='urn:xmpp:push:0'><x xmlns='jabber:x:data' type='submit'>\
             <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:push:summary</value></field>\
             <field var='message-count'><value>3</value></field>\
             <field var='last-message-sender'><value>a@b/&lt;c&gt;</value></field>\
             <field var='last-message-body'><value>x &amp; y</value></field>\
             </x></notification></item></publish><publish-options><x/></publish-options></pubsub></iq>",
            id(&letter)
        )
    );
}
