//! Whom an account does not want to hear of (XEP-0191): the list, and who is on it.

use std::collections::BTreeSet;

use module::Blocking;
use store::{Batch, Column, Shape, Table, row};

/// Addresses on the list of one account; one more is refused.
pub const BLOCKED_ADDRESSES: usize = 1_000;

/// By the address, in its prepared form; since when, in Unix seconds.
pub static BLOCKED: Table = Table {
    name: "blocked",
    shape: Shape::Map,
    columns: &[Column::int("since")],
};

/// The addresses, in the order of their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockList(BTreeSet<Box<str>>);

/// Too many addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl BlockList {
    /// Of the keys of [`BLOCKED`].
    pub fn new(addresses: impl IntoIterator<Item = Box<str>>) -> BlockList {
        BlockList(addresses.into_iter().collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|address| &**address)
    }

    /// Section 5: by the whole address, without the resource, by the domain with the resource, by the domain.
    pub fn has(&self, jid: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let (bare, resource) = jid
            .split_once('/')
            .map_or((jid, None), |(bare, resource)| (bare, Some(resource)));
        let domain = bare.split_once('@').map_or(bare, |(_, domain)| domain);
        let at_domain = |resource| self.0.contains(format!("{domain}/{resource}").as_str());
        self.0.contains(jid) || self.0.contains(bare) || self.0.contains(domain) || resource.is_some_and(at_domain)
    }

    /// Those of single resources, whose accounts are not blocked. Nearly always None.
    pub fn of_resources(&self) -> Option<BlockList> {
        let of_resources = self.0.iter().filter(|address| address.contains('/'));
        let list = BlockList(of_resources.cloned().collect());
        (!list.is_empty()).then_some(list)
    }

    /// Changes the list, and tells what that writes for `owner`. All of it or nothing.
    pub fn apply(&mut self, owner: &str, change: &Blocking, seconds: i64) -> Result<Batch, TooMany> {
        let mut batch = Batch::new();
        match change {
            Blocking::Block(addresses) => {
                let new: BTreeSet<_> = addresses.iter().filter(|address| !self.0.contains(*address)).collect();
                if self.0.len() + new.len() > BLOCKED_ADDRESSES {
                    return Err(TooMany);
                }
                for address in new.into_iter().cloned().collect::<Vec<_>>() {
                    batch = batch.put(&BLOCKED, owner, &*address, row![seconds]);
                    self.0.insert(address);
                }
            }
            Blocking::Unblock(addresses) => {
                for address in addresses {
                    if self.0.remove(address) {
                        batch = batch.delete(&BLOCKED, owner, &**address);
                    }
                }
            }
            Blocking::UnblockAll => {
                self.0.clear();
                batch = batch.delete(&BLOCKED, owner, None);
            }
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(addresses: &[&str]) -> BlockList {
        BlockList::new(addresses.iter().map(|address| (*address).into()))
    }

    #[test]
    fn who_is_on_the_list() {
        let cases = [
            ("a@b", &["a@b", "a@b/c"][..], &["c@b", "b", "b/c", "a@b.c"][..]),
            ("a@b/c", &["a@b/c"], &["a@b", "a@b/d", "b/c", "e@b/c"]),
            ("b/c", &["b/c", "a@b/c"], &["b", "a@b", "a@b/d"]),
            ("b", &["b", "a@b", "a@b/c", "b/c"], &["c", "a@c", "a@bb", "a.b"]),
        ];
        for (blocked, these, those) in cases {
            for jid in these {
                assert!(list(&[blocked]).has(jid), "{blocked} has {jid}");
            }
            for jid in those {
                assert!(!list(&[blocked]).has(jid), "{blocked} has {jid}");
            }
        }
        assert!(!list(&[]).has("a@b"));
    }

    #[test]
    fn single_resources() {
        assert_eq!(list(&["a@b", "b"]).of_resources(), None);
        assert_eq!(
            list(&["a@b", "a@b/c", "b/c"]).of_resources(),
            Some(list(&["a@b/c", "b/c"]))
        );
    }

    #[test]
    fn a_change_is_whole_or_none() {
        let mut list = list(&["a@b"]);
        let block = |range: std::ops::Range<usize>| Blocking::Block(range.map(|n| format!("{n}@c").into()).collect());
        // What is there already is not written again.
        let again = Blocking::Block(vec!["a@b".into(), "d@e".into(), "d@e".into()]);
        assert_eq!(list.apply("me", &again, 7).map(|batch| batch.ops.len()), Ok(1));
        let before = list.clone();
        assert_eq!(list.apply("me", &block(0..BLOCKED_ADDRESSES - 1), 7), Err(TooMany));
        assert_eq!(list, before);
        assert!(list.apply("me", &block(0..BLOCKED_ADDRESSES - 2), 7).is_ok());
        let some = Blocking::Unblock(vec!["a@b".into(), "nobody@b".into()]);
        assert_eq!(list.apply("me", &some, 7).map(|batch| batch.ops.len()), Ok(1));
        assert!(!list.has("a@b"));
        assert!(list.apply("me", &Blocking::UnblockAll, 7).is_ok());
        assert!(list.is_empty());
    }
}
