//! Who may do something at the same time as others, and who waits for that.
//!
//! There is room for so many in all, and for fewer of each *line*: of those who go to one address, or ask about one zone of
//! the DNS. Who waits in a line takes no room from others. So a host that takes connections and says nothing, and is asked
//! for under a thousand names, holds up nobody but itself.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Somebody is in it; else it is forgotten.
struct Line {
    room: Arc<Semaphore>,
    /// Those who wait, and those who have a place.
    people: usize,
}

pub struct Places {
    all: Arc<Semaphore>,
    each: usize,
    lines: Mutex<HashMap<Box<str>, Line>>,
}

impl Places {
    /// For `all` in all, and `each` of a line; but never for more than half of them.
    pub fn new(all: usize, each: usize) -> Arc<Places> {
        Arc::new(Places {
            all: Arc::new(Semaphore::new(all)),
            each: each.min(all / 2).max(1),
            lines: Mutex::default(),
        })
    }

    /// Waits for a place: who has asked first is first. How long is the caller's affair, who leaves the line by dropping this.
    pub async fn take(self: &Arc<Places>, line: Box<str>) -> Place {
        let (member, room) = self.line_up(line);
        // Neither is ever closed. Room of its own line first: only who has that takes any of the others'.
        let own = room.acquire_owned().await.ok();
        let all = Arc::clone(&self.all).acquire_owned().await.ok();
        Place {
            _permits: (own, all),
            _member: member,
        }
    }

    fn line_up(self: &Arc<Places>, name: Box<str>) -> (Member, Arc<Semaphore>) {
        let mut lines = self.lines();
        let line = lines.entry(name.clone()).or_insert_with(|| Line {
            room: Arc::new(Semaphore::new(self.each)),
            people: 0,
        });
        line.people += 1;
        let room = Arc::clone(&line.room);
        drop(lines);
        let places = Arc::clone(self);
        (Member { places, name }, room)
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Box<str>, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Given back when it is dropped.
pub struct Place {
    _permits: (Option<OwnedSemaphorePermit>, Option<OwnedSemaphorePermit>),
    _member: Member,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Place")
    }
}

struct Member {
    places: Arc<Places>,
    name: Box<str>,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut lines = self.places.lines();
        if let Some(line) = lines.get_mut(&self.name) {
            line.people -= 1;
            if line.people == 0 {
                lines.remove(&self.name);
            }
        }
    }
}

/// The line of who connects there, whatever the port: a machine has thousands of them. Of IPv6 a machine has a whole /64.
pub(crate) fn line_of_address(address: IpAddr) -> Box<str> {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string().into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}").into()
        }
    }
}

/// The line of who asks the DNS for a domain: whoever has a domain has all below it, and their names cost nothing. Two labels,
/// as most are sold; those of `co.uk` share a line, and are many, but each is asked for in a moment.
pub(crate) fn line_of_domain(domain: &str) -> Box<str> {
    let domain = domain.trim_end_matches('.');
    let before = domain.rmatch_indices('.').nth(1);
    before.map_or(domain, |(at, _)| &domain[at + 1..]).into()
}

#[cfg(test)]
mod tests {
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn now<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn take(places: &Arc<Places>, line: &str) -> Option<Place> {
        now(pin!(places.take(line.into())))
    }

    #[test]
    fn a_line_holds_up_itself_alone() {
        let places = Places::new(5, 2);
        let slow: Vec<_> = (0..2).map(|_| take(&places, "slow").expect("there is room")).collect();
        let mut waiting: Vec<_> = (0..100).map(|_| Box::pin(places.take("slow".into()))).collect();
        for next in &mut waiting {
            assert!(now(next.as_mut()).is_none());
        }
        let others = ["a", "b", "b"].map(|line| take(&places, line).expect("there is room"));
        // All is taken now.
        let mut last = pin!(places.take("c".into()));
        assert!(now(last.as_mut()).is_none());
        drop(others);
        assert!(now(last.as_mut()).is_some());
        // In the order in which they have come, as far as their line has room.
        drop(slow);
        let came: Vec<_> = waiting.iter_mut().map(|next| now(next.as_mut())).collect();
        let which: Vec<_> = (0..came.len()).filter(|&at| came[at].is_some()).collect();
        assert_eq!(which, [0, 1]);
    }

    #[test]
    fn nothing_is_kept_of_who_has_left() {
        let places = Places::new(2, 1);
        let place = take(&places, "a");
        assert!(take(&places, "a").is_none(), "one waits, and goes away");
        assert_eq!(places.lines().len(), 1);
        drop(place);
        assert_eq!(places.lines().len(), 0);
        assert!(take(&places, "a").is_some());
    }

    #[test]
    fn who_is_in_one_line() {
        let address = |text: &str| line_of_address(text.parse().expect("an address"));
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"));
        assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:0:0:2"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        for (domain, line) in [
            ("a.b.example.org", "example.org"),
            ("example.org.", "example.org"),
            ("localhost", "localhost"),
            ("", ""),
        ] {
            assert_eq!(&*line_of_domain(domain), line);
        }
    }
}
