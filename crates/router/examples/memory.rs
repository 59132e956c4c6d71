//! What the router keeps of idle sessions: binds so many, makes them available, and ends.
//!
//! Nothing is freed at the end, so a heap profiler tells what is live and who allocated it:
//! `valgrind --tool=dhat target/release/examples/memory 2000`, field "eb" (bytes at the end). The rows of the
//! memory store are there too; they are not the router's. jemalloc rounds each block up to its size class
//! (8, 16, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256).

mod world;

use world::World;

fn main() {
    let sessions: usize = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(2_000);
    let mut world = World::new(sessions, Vec::new());
    let bound: Vec<_> = (0..sessions).map(|number| world.login(number)).collect();
    assert_eq!(world.router.count_sessions(), sessions, "all are bound");
    println!("{sessions} sessions");
    // What is alive stays alive: that is what is counted.
    std::mem::forget((world, bound));
}
