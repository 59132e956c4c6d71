//! The drivers of the port [`accounts::backend`]: who is asked for a password that is not kept here.
//!
//! A driver waits in tasks of its own, asks a bounded number at once, and is done within its time limit whatever the
//! other side does: what is not known by then is [`auth::Verdict::Unavailable`]. No driver writes the password anywhere
//! but to the one that is asked.

mod command;

pub use command::{Command, Settings};
