//! Rooms (XEP-0045): who is in them, who may do what there, and what everybody is told.
//!
//! A [`Room`] is plain data of one owner. It is given one stanza at a time, and answers with what is to be written and
//! what is said ([`Decided`]); it does neither itself, knows no clock and makes up nothing: the time comes with the
//! [`Context`].
//!
//! What the caller has to hold to: between a [`Decided::Write`] and its commit the room is given nothing. Between a
//! [`Decided::Reflect`] and its commit it is given other messages for everybody at most, so that all of them go out to
//! who was there when they were decided, in that order.
//!
//! - `room.rs`: the room, and how an occupant is shown to others.
//! - `occupants.rs`, `standings.rs`, `rank.rs`, `config.rs`, `history.rs`: what it consists of.
//! - `enter.rs`, `message.rs`, `iq.rs`: presence, messages and requests; `admin.rs` and `owner.rs` are requests too.
//! - `extension.rs`: what else a file of this crate adds to every room, by one line there.
//! - `returning.rs`: who is in it, over a restart.
//! - `rows.rs`, `listing.rs`: the tables. `say.rs`: what goes out.

mod activity;
mod admin;
mod avatar;
mod away;
mod command;
mod config;
mod enter;
mod extension;
mod hats;
mod history;
mod iq;
mod listing;
mod mam;
mod mav;
mod mentions;
mod message;
mod moderation;
mod nickname;
mod occupants;
mod owner;
mod rank;
mod registration;
mod retraction;
mod returning;
mod room;
mod rows;
mod say;
mod shared;
mod slow_mode;
mod spaces;
mod standings;
mod voices;

#[cfg(test)]
mod tests;

pub use away::Mentions;
pub use config::{Config, Roles};
pub use iq::not_inside;
pub use listing::{ARCHIVES, CREATORS, LISTED, Listed, count_made, listed};
pub use rank::{Affiliation, Role};
pub use registration::Registration;
pub use returning::Returning;
pub use room::{Answer, Context, Decided, Limits, Next, Reflect, Room};
pub use rows::{AFFILIATIONS, ROOMS, get, read, rooms_of, tables};
pub use say::Say;
