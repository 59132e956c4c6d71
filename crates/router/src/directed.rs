//! Addresses to which a resource has sent directed presence.
//!
//! In order, in a block of memory that has place for no more at first: nearly everybody is in one room or a few, and the
//! smallest node of a tree has places for eleven.

/// From so many on it grows as vectors do.
const EXACT: usize = 8;

/// Stands behind the address of an occupant of a room (XEP-0045 section 7.2). No address has one in it.
const ROOM: char = '\n';

#[derive(Debug, Default)]
pub(crate) struct Directed(Vec<Box<str>>);

fn address(entry: &str) -> &str {
    entry.strip_suffix(ROOM).unwrap_or(entry)
}

impl Directed {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, jid: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|other| address(other).cmp(jid))
    }

    pub(crate) fn contains(&self, jid: &str) -> bool {
        self.find(jid).is_ok()
    }

    pub(crate) fn insert(&mut self, jid: &str) {
        if let Err(at) = self.find(jid) {
            self.insert_at(at, jid.into());
        }
    }

    /// The same, where somebody enters a room under this address.
    pub(crate) fn insert_room(&mut self, jid: &str) {
        let entry = format!("{jid}{ROOM}").into_boxed_str();
        match self.find(jid) {
            Ok(at) => self.0[at] = entry,
            Err(at) => self.insert_at(at, entry),
        }
    }

    fn insert_at(&mut self, at: usize, entry: Box<str>) {
        if self.0.len() < EXACT {
            self.0.reserve_exact(1);
        }
        self.0.insert(at, entry);
    }

    pub(crate) fn remove(&mut self, jid: &str) {
        if let Ok(at) = self.find(jid) {
            self.0.remove(at);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| address(entry))
    }

    /// Takes out those of this domain; of each, whether it is an occupant's of a room.
    pub(crate) fn take_of_domain(&mut self, domain: &str) -> Vec<(Box<str>, bool)> {
        let is_there = |entry: &str| domain_of(address(entry)) == domain;
        let taken = self.0.extract_if(.., |entry| is_there(entry));
        taken
            .map(|entry| (address(&entry).into(), entry.ends_with(ROOM)))
            .collect()
    }

    /// As they are written down.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|entry| &**entry)
    }

    /// What was written down.
    pub(crate) fn put_back(&mut self, entry: &str) {
        match entry.strip_suffix(ROOM) {
            Some(jid) => self.insert_room(jid),
            None => self.insert(entry),
        }
    }

    /// Those that are this one or come behind it.
    pub(crate) fn from(&self, jid: &str) -> impl Iterator<Item = &str> {
        let (Ok(at) | Err(at)) = self.find(jid);
        self.0[at..].iter().map(|entry| address(entry))
    }
}

/// The domain of an address in prepared form.
pub(crate) fn domain_of(jid: &str) -> &str {
    // What stands behind the first slash may have everything in it.
    let bare = jid.split_once('/').map_or(jid, |(bare, _)| bare);
    bare.split_once('@').map_or(bare, |(_, domain)| domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_in_order() {
        let mut directed = Directed::default();
        for number in [5, 3, 9, 3, 1, 7, 2, 8, 4, 6, 0, 5] {
            directed.insert(&number.to_string());
        }
        assert_eq!(directed.iter().collect::<String>(), "0123456789");
        assert_eq!(directed.from("7").collect::<String>(), "789");
        assert_eq!(directed.from("70").collect::<String>(), "89");
        directed.remove("8");
        directed.remove("8");
        assert!(!directed.contains("8") && directed.contains("9"));
        assert_eq!(directed.len(), 9);
    }

    #[test]
    fn rooms_are_told_apart() {
        let mut directed = Directed::default();
        directed.insert("a@rooms.test/x@y.test/z");
        directed.insert_room("b@rooms.test/nick");
        directed.insert("c@y.test/z");
        directed.insert("b@rooms.test/nick");
        directed.insert_room("a@rooms.test/x@y.test/z");
        assert!(directed.contains("b@rooms.test/nick"));
        let entries: Vec<String> = directed.entries().map(str::to_owned).collect();
        let mut other = Directed::default();
        entries.iter().for_each(|entry| other.put_back(entry));
        assert!(other.iter().eq(directed.iter()));
        let taken = other.take_of_domain("rooms.test");
        let rooms = ["a@rooms.test/x@y.test/z", "b@rooms.test/nick"].map(|jid| (Box::from(jid), true));
        assert_eq!(taken, rooms);
        assert_eq!(other.take_of_domain("y.test"), [("c@y.test/z".into(), false)]);
        assert!(other.is_empty());
    }

    #[test]
    fn one_takes_the_place_of_one() {
        let mut directed = Directed::default();
        directed.insert("room@conference.example.org/nick");
        assert_eq!(directed.0.capacity(), 1);
        directed.remove("room@conference.example.org/nick");
        assert!(directed.is_empty());
    }
}
