//! XMPP over WebSocket (RFC 7395 over RFC 6455): the stream in messages instead of one document.
//!
//! The stream and everything behind it know nothing of it. What comes is cut into messages here ([`read`]) and given
//! to the stream one by one. What goes out is the same text as on any other stream, and is translated at the last
//! moment ([`write`]): so what is unsent stays text, and can be delivered anew.
//!
//! No extension is offered: `permessage-deflate` would cost tens of kilobytes of every session.
//!
//! Own code and no library, because an idle session must not own a buffer, and the libraries' all do.

mod frame;
mod input;
mod output;

pub(crate) use frame::{close, pong};
pub(crate) use input::{Control, Input, Outcome, read};
pub(crate) use output::{Output, write};
