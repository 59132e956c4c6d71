//! The whole server below its sockets, in virtual time and from one seed: the real cores (`session`, `router` with all
//! modules, `presence`, `offline`, `archive`) over the store in memory, which commits late, fails, is full and crashes;
//! and clients that speak XMPP over lines that break.
//!
//! A [`run`] makes a plan from its seed, lets things happen, and has everybody come back at the end. Then [`check`] tells
//! from what clients saw ([`history`]) whether the server kept its word. What fails is told with its seed and the way to
//! repeat it; the same seed is the same run.
//!
//! | | |
//! | --- | --- |
//! | [`server`] | the router on its store, its clock, its end and its return |
//! | [`link`] | a connection: the stream machine between two directions of bytes |
//! | [`client`] | what a device knows: its stream, what it has to send again |
//! | [`world`] | all of them together |

pub mod check;
pub mod client;
pub mod dice;
pub mod history;
pub mod link;
pub mod run;
pub mod server;
pub mod world;
