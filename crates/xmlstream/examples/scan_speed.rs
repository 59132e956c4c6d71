//! Prints what framing, checking and indexing one stanza costs. Run with `--release`.

#![allow(clippy::disallowed_methods)] // it is a clock that is wanted here

use std::hint::black_box;
use std::time::Instant;

use jackdaw_xmlstream::{Event, Framer, Limits, Scratch};

fn main() {
    let header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";
    let small = "<message type='chat' id='0123456789abcdef' to='bob@example.org/phone' from='alice@example.org/desk'>\
                 <body>How do you do, Bob?</body></message>";
    let five = "<message type='chat' id='0123456789abcdef' to='bob@example.org/phone' from='alice@example.org/desk'>\
                <body>How do you do, Bob? It has been a while since we last met in the garden.</body>\
                <active xmlns='http://jabber.org/protocol/chatstates'/><request xmlns='urn:xmpp:receipts'/>\
                <markable xmlns='urn:xmpp:chat-markers:0'/>\
                <origin-id xmlns='urn:xmpp:sid:0' id='de305d54-75b4-431b-adb2-eb6b9e546013'/></message>";
    let long = format!(
        "<message to='bob@example.org'><body>{}</body></message>",
        "plain words ".repeat(1_700)
    );
    let cyrillic = format!(
        "<message to='bob@example.org'><body>{}</body></message>",
        "Привет ".repeat(30)
    );
    for (name, stanza) in [
        ("empty", "<presence/>"),
        ("small", small),
        ("five children", five),
        ("20 kB", &long),
        ("Cyrillic", &cyrillic),
    ] {
        let mut framer = Framer::new();
        let mut scratch = Scratch::default();
        let limits = Limits::default();
        framer
            .next(header.as_bytes(), &mut scratch, &limits)
            .expect("a good header");
        let rounds = 20_000_000 / stanza.len();
        let mut best = f64::MAX;
        for _ in 0..7 {
            let start = Instant::now();
            for _ in 0..rounds {
                let step = framer
                    .next(black_box(stanza.as_bytes()), &mut scratch, &limits)
                    .expect("a good stanza");
                assert!(matches!(black_box(step.event), Event::Element(_)));
            }
            best = best.min(start.elapsed().as_nanos() as f64 / rounds as f64);
        }
        println!("{name}: {} bytes, {best:.0} ns", stanza.len());
    }
}
