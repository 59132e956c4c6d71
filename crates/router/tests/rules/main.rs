//! The rules of RFC 6121 between accounts of one server, as scripts: the real router over the
//! memory store, which commits when a test says so. One program, so that it is linked once.

mod lines;
mod managed;
mod support;

mod access;
mod acknowledged;
mod breaks;
mod carbons;
mod elsewhere;
mod established;
mod in_line;
mod invitations;
mod leaks;
mod messages;
mod offline;
mod order;
mod photo;
mod presence;
mod random;
mod remote;
mod resumed;
mod roster;
mod streams;
mod subscriptions;
mod withheld;
