//! The way of a presence broadcast through the router without a network: from the client's element
//! to the outboxes of its contacts and back out of them.
//!
//! Eighty users of twenty contacts each, in a ring, tell all of them something new so many times
//! each. Under callgrind, with two counts, the difference is what a delivery costs in instructions:
//! repeatable, whatever else the machine does. `presence_path ROUNDS` prints how many there were.

mod world;

use world::{World, jid, read};

const USERS: usize = 80;
/// Contacts of each: half of them the next ones in the ring, half the ones before.
const CONTACTS: usize = 20;

fn main() {
    let rounds: usize = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(1_000);
    let mut world = World::new(USERS, Vec::new());
    let clients: Vec<_> = (0..USERS).map(|number| world.login(number)).collect();
    for kind in ["subscribe", "subscribed"] {
        for (number, client) in clients.iter().enumerate() {
            for step in 1..=CONTACTS / 2 {
                for contact in [(number + step) % USERS, (number + USERS - step) % USERS] {
                    world.send(client, &format!("<presence to='{}' type='{kind}'/>", jid(contact)));
                }
            }
        }
        world.settle();
    }
    for client in &clients {
        read(client);
    }
    let mut delivered = 0;
    for round in 0..rounds {
        let text = format!("<presence><show>away</show><status>round {round}</status></presence>");
        for client in &clients {
            world.send(client, &text);
        }
        delivered += clients.iter().map(read).sum::<usize>();
    }
    let deliveries = rounds * USERS * (CONTACTS + 1);
    assert!(
        delivered >= deliveries * "<presence/>".len(),
        "everything was delivered"
    );
    println!("{deliveries} deliveries, {delivered} bytes");
}
