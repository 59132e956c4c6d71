//! What time brings.

use std::sync::Arc;

use module::Now;
use stanza::StreamError;

use super::attempts::EXPECTED;
use super::link::{Link, State};
use super::pairs::Cell;
use super::time::Tick;
use super::{Failure, RemoteRules, spool};
use crate::{Event, Router, Turn};

/// Seconds after which a pair that holds nothing is forgotten, if nobody here has asked for it, or there are many.
const KEPT: i64 = 24 * 3_600;

impl Router {
    /// Attempts that are due, what has waited for too long, answers that do not come. Call every few seconds.
    pub fn look_at_links(&self, now: Now) {
        let Some(rules) = self.remotes.port.get().map(|port| port.rules) else {
            return;
        };
        let at = self.tick();
        let is_crowded = self.remotes.are_crowded();
        let mut turn = Turn::default();
        for cell in self.remotes.all() {
            self.look_at_link(&cell, &rules, is_crowded, at, &mut turn);
        }
        self.remotes.forget_newcomers(at);
        self.forget_parked(at, &mut turn);
        self.settle(now, &mut turn);
        turn.finish();
    }

    fn look_at_link(&self, cell: &Arc<Cell>, rules: &RemoteRules, is_crowded: bool, at: Tick, turn: &mut Turn) {
        let (mut keys, mut given_up) = (Vec::new(), None);
        let mut link = cell.lock();
        link.go_on_with_trial(at, turn);
        if link.is_overdue(rules.answer_seconds, at, turn, &mut keys)
            && let State::Up(stream) = &mut link.state
        {
            let error = StreamError::connection_timeout().text("what was sent is not acknowledged");
            stream.is_given_up = true;
            stream.bound.outbox.tell(turn, Event::End(error));
        }
        link.ask_behind(at, turn);
        if matches!(link.state, State::Idle) && link.spooled > 0 {
            let error = link.failure.as_ref().map(Failure::error);
            let due = link.ages.due(at, self.undisturbed(at), rules.give_up_seconds);
            given_up = error.map(|error| (due, error));
        }
        if link.is_due(rules, at) {
            self.dial(cell, &mut link);
        }
        let is_over = is_over(&link, rules, cell.is_wanted() && !is_crowded, at);
        // What is forgotten here is forgotten in the store first.
        let is_forgotten = is_over && !std::mem::take(&mut link.is_known);
        if is_over && !is_forgotten {
            link.remembered = None;
            self.store.write(spool::forget(&cell.pair), Box::new(|_| ()));
        }
        drop(link);
        self.delete_from_spool(cell, keys);
        self.read_spool(cell);
        if let Some((due, error)) = given_up {
            self.give_up(cell, due, error);
        }
        if is_forgotten {
            self.remotes.forget(cell, holds_something);
        }
    }
}

fn holds_something(link: &Link) -> bool {
    !matches!(link.state, State::Idle) || link.is_waited_for() || link.spooled > 0 || link.writes > 0
}

/// Whether a pair is to be forgotten: nothing of it is left, and it never was there, or was not there for long.
fn is_over(link: &Link, rules: &RemoteRules, is_kept: bool, at: Tick) -> bool {
    let is_over = match link.reached {
        None => link.has_rested(rules.longest_retry_seconds, at),
        // One that broke will be back, and then the truth is told.
        Some(reached) if is_kept || link.is_broken => at.since(reached) >= EXPECTED,
        Some(reached) => at.since(reached) >= KEPT,
    };
    is_over && !holds_something(link)
}
