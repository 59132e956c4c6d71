//! Who belongs to a room, by bare JID or domain, and for whom which nickname is kept (XEP-0045 sections 5.2 and 7.12).

use std::collections::{BTreeMap, HashMap, btree_map};
use std::ops::Deref;

use crate::nickname::alike;
use crate::rank::Affiliation;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) affiliation: Affiliation,
    /// The nickname that is kept for him.
    pub(crate) nick: Option<Box<str>>,
    pub(crate) reason: Option<Box<str>>,
}

/// Reads like the map that it is; what changes it goes through here, so that whose a nickname is need not be searched
/// for whenever somebody comes in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standings {
    by_jid: BTreeMap<Box<str>, Standing>,
    /// What nicknames that are kept are compared by, to JIDs.
    keepers: HashMap<Box<str>, Box<str>>,
}

impl Standings {
    pub(crate) fn insert(&mut self, jid: Box<str>, standing: Standing) {
        self.remove(&jid);
        if let Some(nick) = &standing.nick {
            self.keepers.insert(alike(nick).into(), jid.clone());
        }
        self.by_jid.insert(jid, standing);
    }

    pub(crate) fn remove(&mut self, jid: &str) -> Option<Standing> {
        let before = self.by_jid.remove(jid)?;
        if let Some(nick) = &before.nick
            && self.keeper_of(nick) == Some(jid)
        {
            self.keepers.remove(&*alike(nick));
        }
        Some(before)
    }

    /// For whom this nickname is kept, or one that could be taken for it.
    pub(crate) fn keeper_of(&self, nick: &str) -> Option<&str> {
        self.keepers.get(&*alike(nick)).map(|jid| &**jid)
    }
}

impl Deref for Standings {
    type Target = BTreeMap<Box<str>, Standing>;

    fn deref(&self) -> &Self::Target {
        &self.by_jid
    }
}

impl<'a> IntoIterator for &'a Standings {
    type Item = (&'a Box<str>, &'a Standing);
    type IntoIter = btree_map::Iter<'a, Box<str>, Standing>;

    fn into_iter(self) -> Self::IntoIter {
        self.by_jid.iter()
    }
}

impl FromIterator<(Box<str>, Standing)> for Standings {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Standing)>>(all: I) -> Standings {
        let mut standings = Standings::default();
        for (jid, standing) in all {
            standings.insert(jid, standing);
        }
        standings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nickname_is_kept_for_who_has_it_now() {
        let kept = |nick: Option<&str>| Standing {
            affiliation: Affiliation::Member,
            nick: nick.map(Into::into),
            reason: None,
        };
        let mut standings = Standings::from_iter([("a@d".into(), kept(Some("x"))), ("b@d".into(), kept(Some("y")))]);
        assert_eq!(
            (standings.keeper_of("x"), standings.keeper_of("y")),
            (Some("a@d"), Some("b@d"))
        );
        // Another name frees the one before; a name that has gone over stays where it went.
        standings.insert("a@d".into(), kept(Some("z")));
        assert_eq!(
            (standings.keeper_of("x"), standings.keeper_of("z")),
            (None, Some("a@d"))
        );
        standings.insert("b@d".into(), kept(Some("z")));
        standings.insert("a@d".into(), kept(None));
        assert_eq!(standings.keeper_of("z"), Some("b@d"));
        standings.remove("b@d");
        assert_eq!((standings.keeper_of("z"), standings.len()), (None, 1));
    }
}
