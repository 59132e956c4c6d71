//! The server over the wire: the real binary, and scripted peers over STARTTLS and direct TLS.
//!
//! One program, so that it is linked once; one server per test function. Numbers of rows are those of the lists of
//! faults and attacks that the project was designed against.

mod crowd;
mod support;

mod amplification;
mod attacks;
mod binding;
mod durability;
mod faults;
mod floods;
mod iq;
mod limits;
mod load;
mod login;
mod message_table;
mod messages;
mod offline;
mod presence;
mod roster;
mod shutdown;
mod slow_among_others;
mod slow_reader;
mod streams;
mod subscriptions;
