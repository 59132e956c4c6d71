//! From bytes to messages (RFC 6455 sections 5.4 to 6.2).
//!
//! An unfinished message stays where it was read: what of it has come in whole frames stands, unmasked, at the
//! beginning of the buffer, and the frame that is still coming behind it. So it costs what it is long, and no frame is
//! looked at twice but for its header.

use std::num::NonZeroU32;

use session::{Context, Next, StreamCore, stream_error};
use stanza::StreamError;
use xmlstream::XmlError;

use super::frame::{self, BAD_TEXT, Opcode, PROTOCOL_ERROR, TOO_BIG, UNSUPPORTED};

/// How far a connection has read: how many bytes of an unfinished message are at the beginning of what is carried, and
/// whether there is such a message at all. In four bytes, also as an `Option`: every connection has one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Input(NonZeroU32);

impl Input {
    pub(crate) fn new() -> Input {
        Input::at(0, false)
    }

    /// A message is no longer than the limit of a stanza, which is at most 64 MiB.
    fn at(assembled: usize, is_open: bool) -> Input {
        let bits = (assembled as u32) << 2 | u32::from(is_open) << 1;
        Input(NonZeroU32::MIN | bits)
    }

    fn assembled(self) -> usize {
        (self.0.get() >> 2) as usize
    }

    fn is_open(self) -> bool {
        self.0.get() & 2 != 0
    }
}

/// What is to be answered beside the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Control {
    /// With the same in a pong; only the last (section 5.5.3: "only the most recently processed").
    Ping(Vec<u8>),
    /// With a close frame of this code.
    Ended(u16),
}

/// What has come of some bytes.
pub(crate) struct Outcome {
    pub(crate) next: Next,
    pub(crate) control: Option<Control>,
    /// Why we close, for the close frame; 0: there is no special reason.
    pub(crate) code: u16,
}

/// Gives the stream what is complete, and leaves the rest in `bytes`.
pub(crate) fn read(input: &mut Input, bytes: &mut Vec<u8>, core: &mut StreamCore, cx: &mut Context<'_>) -> Outcome {
    let mut outcome = Outcome {
        next: Next::Read,
        control: None,
        code: 0,
    };
    let mut is_open = input.is_open();
    // The message is at `start`, and what was not looked at yet at `at`.
    let (mut start, mut length) = (0, input.assembled());
    let mut at = length;
    outcome.next = loop {
        let limit = match core.frame_limit() {
            Ok(limit) => limit,
            Err(next) => break next,
        };
        let head = match frame::head(&bytes[at..]) {
            Ok(Some(head)) => head,
            Ok(None) => break Next::Read,
            Err(code) => break fail(&mut outcome.code, code, core, cx),
        };
        let follows = head.opcode == Opcode::Continuation;
        // Section 5.4; RFC 7395 section 3.2: "MUST be of the text type". Before anything of it is kept.
        let wrong = match head.opcode {
            Opcode::Binary => Some(UNSUPPORTED),
            Opcode::Text | Opcode::Continuation if follows != is_open => Some(PROTOCOL_ERROR),
            Opcode::Text | Opcode::Continuation if head.payload > limit.saturating_sub(length) => Some(TOO_BIG),
            _ => None,
        };
        if let Some(code) = wrong {
            break fail(&mut outcome.code, code, core, cx);
        }
        let from = at + head.head;
        let Some(payload) = bytes.get_mut(from..from + head.payload) else {
            break Next::Read;
        };
        frame::unmask(payload, head.key);
        at = from + head.payload;
        match head.opcode {
            Opcode::Ping => outcome.control = Some(Control::Ping(payload.to_vec())),
            Opcode::Pong => {}
            Opcode::Close => match frame::close_code(payload) {
                Ok(code) => {
                    outcome.control = Some(Control::Ended(code));
                    break Next::Close;
                }
                Err(code) => break fail(&mut outcome.code, code, core, cx),
            },
            Opcode::Text | Opcode::Continuation | Opcode::Binary => {
                if length == 0 {
                    start = from;
                } else {
                    bytes.copy_within(from..at, start + length);
                }
                length += head.payload;
                is_open = !head.fin;
                if !head.fin {
                    continue;
                }
                let next = match std::str::from_utf8(&bytes[start..start + length]) {
                    Ok(text) => core.handle_frame(text, cx),
                    // Section 8.1.
                    Err(_) => fail(&mut outcome.code, BAD_TEXT, core, cx),
                };
                length = 0;
                if next != Next::Read {
                    break next;
                }
            }
        }
    };
    if length == 0 {
        bytes.drain(..at);
    } else {
        let end = start + length;
        let rest = bytes.len() - at;
        bytes.copy_within(at.., end);
        bytes.truncate(end + rest);
        bytes.drain(..start);
    }
    *input = Input::at(length, is_open);
    outcome
}

/// Section 7.1.7. The stream ends as any other does, and then the WebSocket.
fn fail(why: &mut u16, code: u16, core: &mut StreamCore, cx: &mut Context<'_>) -> Next {
    *why = code;
    let error = match code {
        TOO_BIG => stream_error(XmlError::TooLong),
        BAD_TEXT => StreamError::not_well_formed(),
        _ => StreamError::bad_format().text("not a WebSocket of XMPP (RFC 6455, RFC 7395)"),
    };
    core.fail(error, cx)
}
