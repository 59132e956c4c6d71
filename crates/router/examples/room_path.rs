//! The way of a message to a room through the router without a network: from the client's element through the archive to
//! the outboxes of all occupants, and out of them.
//!
//! One of a hundred speaks, four messages at a time. Under callgrind, with two counts, the difference is what a delivery
//! costs in instructions: repeatable, whatever else the machine does. `room_path ROUNDS [OCCUPANTS]` prints how many there
//! were.

mod world;

use std::fmt::Write as _;

use module::{Module, Service};
use world::{DOMAIN, World, read};

/// Who is in the room, if nobody says how many.
const OCCUPANTS: usize = 100;
/// Messages that are handed over at once.
const WINDOW: usize = 4;

/// What makes rooms of a domain.
fn rooms() -> Module {
    let module = Module::new("rooms").rooms(Service {
        label: "conference",
        name: "Rooms",
    });
    muc::tables().into_iter().fold(module, Module::table)
}

fn main() {
    let number = |at| std::env::args().nth(at).and_then(|count| count.parse().ok());
    let (rounds, occupants) = (number(1).unwrap_or(1_000), number(2).unwrap_or(OCCUPANTS));
    let mut world = World::new(occupants, vec![rooms()]);
    let clients: Vec<_> = (0..occupants).map(|number| world.login(number)).collect();
    let room = format!("room@conference.{DOMAIN}");
    for (number, client) in clients.iter().enumerate() {
        let join = "<x xmlns='http://jabber.org/protocol/muc'/>";
        world.send(client, &format!("<presence to='{room}/nick{number}'>{join}</presence>"));
        world.settle();
        if number == 0 {
            let form =
                "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>";
            world.send(client, &format!("<iq type='set' id='make' to='{room}'>{form}</iq>"));
            world.settle();
        }
    }
    for client in &clients {
        read(client);
    }
    let (mut delivered, mut text) = (0, String::new());
    for round in 0..rounds {
        for id in round * WINDOW..(round + 1) * WINDOW {
            text.clear();
            // Writing into a String cannot fail.
            let _ = write!(
                text,
                "<message to='{room}' type='groupchat' id='{id:06}'><body>But, soft! what light through yonder window \
                 breaks? It is the east.</body></message>"
            );
            world.send(&clients[0], &text);
        }
        world.settle();
        delivered += clients.iter().map(read).sum::<usize>();
    }
    let deliveries = rounds * WINDOW * occupants;
    assert!(
        delivered >= deliveries * text.len(),
        "everything was delivered: {delivered} bytes"
    );
    println!("{deliveries} deliveries, {delivered} bytes");
}
