//! A stanza that the peer ends the stream for, each time.
//!
//! Sent again over every stream, it would stand in the way of all behind it until the domain is given up. A peer that comes
//! and goes for reasons of its own looks much the same, and must lose nothing. So it takes several things together: streams
//! that were established broke with the same stanza first and nothing acknowledged; then, on a stream of its own for each
//! trial, the peer first shows that it is there and handles what it gets, is given this stanza alone, and the stream breaks
//! at once. What the peer says of itself or of the line (that it shuts down, that its disk is full) is no such break. When
//! the trials have failed, and the next stream does not tell that the stanza has arrived after all, its sender is told, and
//! the rest goes on.
//!
//! In memory alone, one stanza for each link: after a restart it is counted anew.

use stanza::{StanzaError, StreamCondition};

use super::RemoteRules;
use super::link::{Item, Link, State};
use super::time::Tick;
use crate::Turn;

/// Streams that broke in a row with the same stanza first, before it is tried alone.
const BREAKS: u32 = 2;
/// Trials in a row that have to fail.
const TRIALS: u32 = 3;
/// A stream that breaks within so many seconds after the stanza was sent, broke for it.
const SOON: i64 = 10;
/// A peer that has never answered is not asked: its stream has to stand for so many seconds.
const STOOD: i64 = 5;

/// How far a trial has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trial {
    /// The peer was asked whether it is there, and is given nothing before it answers.
    Asked,
    Answered,
    Sent(Tick),
}

/// The stanza that was first when the last stream broke.
pub(super) struct Suspect {
    item: Item,
    breaks: u32,
    trials: u32,
    /// What the peer has said.
    why: Option<StreamCondition>,
}

impl Suspect {
    fn is_convicted(&self) -> bool {
        self.trials >= TRIALS
    }
}

/// What says nothing of what was sent: it is about the peer itself, or about the line (RFC 6120 section 4.9.3).
fn is_of_itself(condition: StreamCondition) -> bool {
    use StreamCondition::{
        Conflict, ConnectionTimeout, HostGone, HostUnknown, RemoteConnectionFailed, Reset, ResourceConstraint,
        SeeOtherHost, SystemShutdown,
    };
    matches!(
        condition,
        Conflict
            | ConnectionTimeout
            | HostGone
            | HostUnknown
            | RemoteConnectionFailed
            | Reset
            | ResourceConstraint
            | SeeOtherHost
            | SystemShutdown
    )
}

/// What its sender is told (RFC 6120 section 8.3.3.9).
fn refused(why: Option<StreamCondition>) -> StanzaError {
    let why = why.map_or(String::new(), |why| format!(" ({})", why.name()));
    StanzaError::not_acceptable().text(format!(
        "the other server ends the stream{why} whenever it is given this"
    ))
}

impl Link {
    /// The peer ends the stream with an error.
    pub(super) fn peer_said(&mut self, condition: StreamCondition) {
        if let State::Up(stream) = &mut self.state {
            stream.why = Some(condition);
        }
    }

    /// The stream broke. Before anything is done with what was sent.
    pub(super) fn suspect(&mut self, at: Tick, rules: &RemoteRules) {
        let State::Up(stream) = &self.state else { return };
        let (trial, why) = (stream.trial, stream.why);
        let is_ours = stream.is_given_up || stream.has_acknowledged;
        let Some(first) = self.sent.front().filter(|_| !is_ours && !why.is_some_and(is_of_itself)) else {
            return;
        };
        let is_tried = match trial {
            None => false,
            Some(Trial::Sent(sent)) if at.since(sent) < SOON => true,
            Some(_) => return,
        };
        match &mut self.suspect {
            Some(suspect) if suspect.item.is(first) => {
                suspect.breaks = suspect.breaks.saturating_add(1);
                suspect.trials += u32::from(is_tried);
                suspect.why = why.or(suspect.why);
                // Not at once: should it be the peer that comes and goes, it gets time to settle.
                let pause = suspect.breaks.saturating_sub(BREAKS).min(16);
                let pause = rules.retry_seconds.saturating_mul(1 << pause);
                if suspect.breaks >= BREAKS && !suspect.is_convicted() {
                    self.rests_until = Some(at.plus(pause.min(rules.longest_retry_seconds)));
                }
            }
            suspect => {
                *suspect = Some(Suspect {
                    item: first.clone(),
                    breaks: 1,
                    trials: 0,
                    why,
                });
            }
        }
    }

    /// Whether the stream that begins is for a trial.
    pub(super) fn trial(&self) -> Option<Trial> {
        let suspect = self.suspect.as_ref()?;
        (suspect.breaks >= BREAKS && !suspect.is_convicted()).then_some(Trial::Asked)
    }

    /// Takes the stanza out of what waits, if it was tried often enough.
    pub(super) fn take_convicted(&mut self) -> Option<(Item, StanzaError)> {
        let suspect = self.suspect.take_if(|suspect| suspect.is_convicted())?;
        let queues = [&mut self.replay, &mut self.queue];
        for queue in queues {
            if let Some(place) = queue.iter().position(|item| item.is(&suspect.item)) {
                let item = queue.remove(place)?;
                self.bytes -= item.text.len();
                self.spooled = self.spooled.saturating_sub(u64::from(item.key.is_some()));
                return Some((item, refused(suspect.why)));
            }
        }
        // It is still to be read, or is gone.
        self.suspect = suspect.item.key.is_some().then_some(suspect);
        None
    }

    /// A peer that does not answer questions has stood for long enough.
    pub(super) fn go_on_with_trial(&mut self, at: Tick, turn: &mut Turn) {
        let State::Up(stream) = &mut self.state else { return };
        let answers = stream.is_managed || self.has_answered;
        if stream.trial == Some(Trial::Asked) && !answers && at.since(stream.began) >= STOOD {
            stream.trial = Some(Trial::Answered);
            self.asked = None;
            self.pump(at, turn);
        }
    }
}
