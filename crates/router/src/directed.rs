//! Addresses to which a resource has sent directed presence.
//!
//! In order, in a block of memory that has place for no more at first: nearly everybody is in one room or a few, and the
//! smallest node of a tree has places for eleven.

use std::vec;

/// From so many on it grows as vectors do.
const EXACT: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Directed(Vec<Box<str>>);

impl Directed {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, jid: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|other| (**other).cmp(jid))
    }

    pub(crate) fn contains(&self, jid: &str) -> bool {
        self.find(jid).is_ok()
    }

    pub(crate) fn insert(&mut self, jid: &str) {
        if let Err(at) = self.find(jid) {
            if self.0.len() < EXACT {
                self.0.reserve_exact(1);
            }
            self.0.insert(at, jid.into());
        }
    }

    pub(crate) fn remove(&mut self, jid: &str) {
        if let Ok(at) = self.find(jid) {
            self.0.remove(at);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|jid| &**jid)
    }

    /// Those that are this one or come behind it.
    pub(crate) fn from(&self, jid: &str) -> impl Iterator<Item = &str> {
        let (Ok(at) | Err(at)) = self.find(jid);
        self.0[at..].iter().map(|jid| &**jid)
    }
}

impl IntoIterator for Directed {
    type Item = Box<str>;
    type IntoIter = vec::IntoIter<Box<str>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
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
    fn one_takes_the_place_of_one() {
        let mut directed = Directed::default();
        directed.insert("room@conference.example.org/nick");
        assert_eq!(directed.0.capacity(), 1);
        directed.remove("room@conference.example.org/nick");
        assert!(directed.is_empty());
    }
}
