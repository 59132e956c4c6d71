//! The wall clock is put right, by an administrator or by NTP after a start with a wrong one.
//!
//! How long something lasts is measured by the same clock that stamps messages, as one number is all that an account
//! keeps. So when the clock jumps, what was noted jumps along: else every stream that waits to be resumed would be over at
//! once, or would wait for days.

use std::sync::atomic::Ordering;

use module::Now;

use crate::Router;
use crate::account::Moment;

/// Seconds by which the clock may run fast or slow, and a look at it may come late, without having jumped.
const JUMP: i64 = 10;

impl Router {
    /// The clock says `now` where it was to say `expected`. To be called before anything is done that follows from it being
    /// late; often, as what was noted with the new clock before is told apart by its size. True if it has jumped.
    pub fn clock_was_set(&self, now: Now, expected: Now) -> bool {
        let by = now.seconds() - expected.seconds();
        if by.abs() < JUMP {
            return false;
        }
        let moved = |moment: Moment| {
            let noted = i64::from(moment.0);
            // Half-way between what the old clock can have said and what the new one can.
            let is_old = (noted < now.seconds() - by / 2) == (by > 0);
            match moment == Moment::default() || !is_old {
                true => moment,
                false => Moment::of((noted + by).max(1)),
            }
        };
        self.remotes.each_outbox(|outbox| {
            let heard = outbox.heard.load(Ordering::Relaxed);
            outbox.heard.store(moved(Moment(heard)).0, Ordering::Relaxed);
        });
        self.each_account(|account| {
            account.touched = moved(account.touched);
            for session in &mut account.sessions {
                session.detached = moved(session.detached);
                let heard = session.outbox.heard.load(Ordering::Relaxed);
                // Who is heard just now is heard again soon.
                session.outbox.heard.store(moved(Moment(heard)).0, Ordering::Relaxed);
            }
        });
        true
    }
}
