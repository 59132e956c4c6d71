//! Connections that were given something by a commit are woken once for all its batches.
//!
//! Waking a task of the runtime from another thread is the dearest part of handing over a commit, and one commit has
//! something for the same connections many times. So on the store's thread they are gathered, until
//! `store::Store::after_commits` says that the commit has been handed over.
//!
//! Those of a crowd, who hear what is said in a room, wait for the next commit where that is under way already: what is said
//! at the same time goes to each of them in one write then, and the write is most of what it costs. No longer than that
//! one: so a message is never later than by one commit, and where nothing else is written it is not later at all.

use std::cell::RefCell;
use std::sync::Arc;

use crate::Outbox;

/// From so many on the recipients of one stanza are a crowd.
pub(crate) const CROWD: usize = 32;

#[derive(Default)]
struct Gathered {
    now: Vec<Arc<Outbox>>,
    crowd: Vec<Arc<Outbox>>,
}

thread_local! {
    static GATHERED: RefCell<Option<Gathered>> = const { RefCell::new(None) };
    /// Those of a crowd that wait for the commit that is under way.
    static WAITING: RefCell<Vec<Arc<Outbox>>> = const { RefCell::new(Vec::new()) };
}

/// From now on connections are gathered on this thread.
pub(crate) fn gather() {
    GATHERED.with_borrow_mut(|gathered| {
        gathered.get_or_insert_default();
    });
}

/// Wakes a connection, now or with the others.
pub(crate) fn wake(outbox: Arc<Outbox>, is_crowd: bool) {
    let now = GATHERED.with_borrow_mut(|gathered| match gathered {
        Some(gathered) if is_crowd => {
            gathered.crowd.push(outbox);
            None
        }
        Some(gathered) => {
            gathered.now.push(outbox);
            None
        }
        None => Some(outbox),
    });
    if let Some(outbox) = now {
        outbox.wake();
    }
}

/// Wakes all that were gathered on this thread, and gathers no more: it may be any thread. `is_more`: this is called again
/// behind another commit.
pub(crate) fn wake_gathered(is_more: bool) {
    let have_waited = WAITING.take();
    let Gathered { now, crowd } = GATHERED.take().unwrap_or_default();
    for outbox in now {
        outbox.wake();
    }
    if is_more && have_waited.is_empty() && !crowd.is_empty() {
        return WAITING.set(crowd);
    }
    for outbox in have_waited.into_iter().chain(crowd) {
        outbox.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Wake, Waker};

    use super::*;
    use crate::Turn;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Something is for a connection; how often it was woken.
    fn connection(is_crowd: bool) -> impl Fn() -> u32 {
        let (outbox, count) = (Outbox::new(1_024), Arc::new(Count::default()));
        outbox.take(&Waker::from(Arc::clone(&count)), true);
        let mut turn = Turn::default();
        turn.is_crowd = is_crowd;
        outbox.say("<r/>", &mut turn);
        turn.finish();
        move || count.0.load(Ordering::Relaxed)
    }

    #[test]
    fn a_crowd_waits_for_one_commit_and_no_longer() {
        gather();
        let (one, crowd) = (connection(false), connection(true));
        assert_eq!((one(), crowd()), (0, 0));
        wake_gathered(true);
        assert_eq!((one(), crowd()), (1, 0));
        gather();
        let late = connection(true);
        wake_gathered(true);
        assert_eq!((crowd(), late()), (1, 1));
        assert_eq!(connection(true)(), 1, "nothing is gathered any more");
    }

    #[test]
    fn a_crowd_waits_for_nothing_where_nothing_is_under_way() {
        gather();
        let crowd = connection(true);
        wake_gathered(false);
        assert_eq!(crowd(), 1);
    }
}
