//! The message archive: one row for a message, found by the two accounts that it is of.
//!
//! A message between two local accounts stands in both their archives, and may wait for its recipient besides. It is
//! written once ([`Deposit`], by [`Op::Deposit`](crate::Op::Deposit)) and has one id, which is its place in every
//! archive that it is in: ids come from the sequence of the store, in the order of submission, so the order of an
//! archive is the order in which its messages were accepted (guarantee G4), whatever the clock did.
//!
//! A message leaves each of its places by itself: the archives by age ([`Op::Expire`](crate::Op::Expire)) or by size
//! ([`Op::Floor`](crate::Op::Floor)), waiting when it was delivered ([`Op::Settle`](crate::Op::Settle)), all that is its
//! owner's when he is removed ([`Op::Horizon`](crate::Op::Horizon)). Nothing that waits goes by age or size. What these
//! take away is not shown from then on; [`Op::Sweep`](crate::Op::Sweep) deletes what has no place left, in small steps.

use std::sync::Arc;

use crate::PAGE_LIMIT;

/// Where a message stands. Bits, joined by [`Places::and`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Places(pub u8);

impl Places {
    /// In the archive of its sender.
    pub const SENT: Places = Places(1);
    /// In the archive of its recipient.
    pub const RECEIVED: Places = Places(2);
    /// Waits for its recipient ([`View::Waiting`]), whether it is in the archive or not.
    pub const WAITING: Places = Places(4);

    pub const fn and(self, other: Places) -> Places {
        Places(self.0 | other.0)
    }

    pub const fn has(self, other: Places) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How long a [`Deposit::fingerprint`] is looked for: 24 hours.
pub const FINGERPRINT_LIFETIME_MS: i64 = 24 * 60 * 60 * 1_000;

/// The most messages that one [`Op::Expire`](crate::Op::Expire) or [`Op::Sweep`](crate::Op::Sweep) takes away; a larger
/// number counts as this one. It bounds how long the commits behind it wait.
pub const EXPIRE_LIMIT: usize = 4_096;

/// Messages that one [`Query::Oldest`](crate::Query::Oldest) looks at.
pub const OLDEST_LIMIT: usize = 1_024;

/// A message to be kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Deposit {
    /// When it was accepted, in milliseconds since the Unix epoch.
    pub at: i64,
    /// Bare JIDs. Each is the owner of an archive where `places` says so, and whom the other has talked with. They may
    /// be the same: then it is one entry of one archive.
    pub sender: Box<str>,
    pub recipient: Box<str>,
    pub places: Places,
    /// Tells a message that was sent once more: if one with the same was deposited in the last 24 hours (by the clock
    /// of `at`), nothing is added and [`Deposited`] names it. That one need not be there any more, unless it went by age.
    pub fingerprint: Option<u128>,
    /// The complete stanza, as `stanza::splice` writes it: ` from='…'` and ` to='…'` in the start tag.
    pub stanza: Arc<str>,
}

/// Without the stanza, which is nobody's business.
impl std::fmt::Debug for Deposit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Deposit({:?}, {} bytes)", self.places, self.stanza.len())
    }
}

/// What became of a [`Deposit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deposited {
    pub id: i64,
    /// False: it was there already, with this id.
    pub is_new: bool,
}

/// Which of an owner's messages are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The archive: [`Places::SENT`] where the owner is the sender, [`Places::RECEIVED`] where he is the recipient.
    Archive,
    /// [`Places::WAITING`], where the owner is the recipient; also what was delivered ([`Op::Settle`](crate::Op::Settle)),
    /// while it is in his archive.
    Waiting,
}

/// What an [`Op::Expire`](crate::Op::Expire) or [`Op::Sweep`](crate::Op::Sweep) did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Messages that were taken out of a place, or deleted.
    pub messages: usize,
    /// There may be more to do: submit the op again.
    pub more: bool,
}

/// Whose archive: an account's, or those of all accounts of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    Account(Box<str>),
    Domain(Box<str>),
}

impl Whose {
    /// Whether it is the archive of this account, too.
    pub fn includes(&self, owner: &str) -> bool {
        match self {
            Whose::Account(account) => **account == *owner,
            Whose::Domain(domain) => owner.rsplit('@').next() == Some(domain),
        }
    }
}

/// The first messages of an archive, as far as an [`Oldest`](crate::Query::Oldest) has looked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oldest {
    /// The last one, or the last message of anybody that was looked at.
    pub up_to: i64,
    /// All of them together. A message counts in each archive that it is in.
    pub bytes: u64,
    /// There are no more.
    pub complete: bool,
}

/// A part of an owner's messages. All conditions hold together; `None` is no condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub owner: Box<str>,
    pub view: View,
    /// The other party: a bare JID stands for all its resources, a full JID only for itself (which is looked up in the
    /// start tag of the stanza). The owner's own bare JID: what he sent to himself.
    pub with: Option<Box<str>>,
    /// An attribute of the start tag, `from` or `to`, and what it is: in the archive of a room messages have the address of
    /// an occupant, which is not that of their sender. There is no index for it: a page may end before it has any message,
    /// without being the last.
    pub addressed: Option<(&'static str, Box<str>)>,
    /// Ids, exclusive.
    pub after: Option<i64>,
    pub before: Option<i64>,
    /// Milliseconds, inclusive.
    pub start: Option<i64>,
    pub end: Option<i64>,
    /// Only these.
    pub ids: Option<Vec<i64>>,
    /// The last that fit instead of the first; the answer is in ascending order all the same.
    pub newest: bool,
    /// At most so many; see [`PAGE_LIMIT`](crate::PAGE_LIMIT). 0 is allowed.
    pub limit: usize,
    /// At most so many bytes of stanzas, but one message in any case.
    pub bytes: usize,
    /// How many there are in all. This looks at each of them: not for a page that is read while somebody waits.
    pub count: bool,
}

impl Range {
    /// All of an owner's messages in this view, the first `limit` of them.
    pub fn of(owner: &str, view: View, limit: usize) -> Range {
        Range {
            owner: owner.into(),
            view,
            with: None,
            addressed: None,
            after: None,
            before: None,
            start: None,
            end: None,
            ids: None,
            newest: false,
            limit,
            bytes: usize::MAX,
            count: false,
        }
    }
}

/// A message of an archive.
#[derive(Clone, PartialEq, Eq)]
pub struct Archived {
    pub id: i64,
    pub at: i64,
    /// It stands in the owner's archive ([`View::Archive`]).
    pub archived: bool,
    /// It waits for the owner, or has waited ([`View::Waiting`]).
    pub waits: bool,
    pub stanza: Box<str>,
}

impl std::fmt::Debug for Archived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Archived({}, {} bytes)", self.id, self.stanza.len())
    }
}

/// The answer to a [`Range`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// By id, ascending.
    pub messages: Vec<Archived>,
    /// There is no more in the direction that was asked for.
    pub complete: bool,
    /// If [`Range::count`]: how many there are in all, and how many of them stand before the first of this page. Both
    /// disregard `after` and `before`, which only say where the page is (XEP-0059 section 2.6).
    pub total: Option<u64>,
    pub index: Option<u64>,
}

/// What drivers share: makes a [`Page`] out of messages that fit its range, given one by one in the order in which the
/// range wants them (descending if [`Range::newest`]).
pub struct PageBuilder {
    newest: bool,
    limit: usize,
    bytes: usize,
    messages: Vec<Archived>,
    cut: bool,
}

impl PageBuilder {
    pub fn new(range: &Range) -> PageBuilder {
        PageBuilder {
            newest: range.newest,
            limit: range.limit.min(PAGE_LIMIT),
            bytes: range.bytes,
            messages: Vec::new(),
            cut: false,
        }
    }

    /// False: one more would be left out whatever its length; who has one that fits calls [`cut`](PageBuilder::cut)
    /// and need not read it.
    pub fn has_room(&self) -> bool {
        self.messages.len() < self.limit
    }

    /// There is a message that was left out.
    pub fn cut(&mut self) {
        self.cut = true;
    }

    /// False: it was left out, and so are all that follow.
    pub fn push(&mut self, message: Archived) -> bool {
        let bytes = message.stanza.len();
        if !self.has_room() || (bytes > self.bytes && !self.messages.is_empty()) {
            self.cut = true;
            return false;
        }
        self.bytes = self.bytes.saturating_sub(bytes);
        self.messages.push(message);
        true
    }

    /// Without [`Page::total`] and [`Page::index`].
    pub fn finish(mut self) -> Page {
        if self.newest {
            self.messages.reverse();
        }
        Page {
            messages: self.messages,
            complete: !self.cut,
            total: None,
            index: None,
        }
    }
}

/// A JID without its resource.
pub fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// Whether an address in the start tag of a stanza is this JID. What a driver does for [`Range::with`] and a full JID.
///
/// `name` is `from` or `to`. The stanza is one that `stanza::splice` wrote: attributes in quotes of either kind, behind
/// one space each, and their values escaped.
pub fn is_addressed(stanza: &str, name: &str, jid: &str) -> bool {
    attribute(stanza, name).is_some_and(|raw| unescapes_to(raw, jid))
}

/// The escaped value of an attribute of the start tag.
fn attribute<'a>(stanza: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = &stanza[stanza.find([' ', '\t', '\n', '\r', '>', '/'])?..];
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        if rest.starts_with(['>', '/']) {
            return None;
        }
        let (found, behind) = rest.split_once('=')?;
        let behind = behind.trim_start_matches([' ', '\t', '\n', '\r']);
        let quote = behind.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (value, behind) = behind[1..].split_once(quote)?;
        if found.trim_end_matches([' ', '\t', '\n', '\r']) == name {
            return Some(value);
        }
        rest = behind;
    }
}

/// Compares without making the unescaped text. The references are those that `xmlstream` writes.
fn unescapes_to(mut raw: &str, mut text: &str) -> bool {
    const REFERENCES: [(&str, char); 5] = [
        ("&amp;", '&'),
        ("&lt;", '<'),
        ("&gt;", '>'),
        ("&apos;", '\''),
        ("&quot;", '"'),
    ];
    loop {
        let plain = raw.find('&').unwrap_or(raw.len());
        let Some(behind) = text.strip_prefix(&raw[..plain]) else {
            return false;
        };
        (raw, text) = (&raw[plain..], behind);
        if raw.is_empty() {
            return text.is_empty();
        }
        let Some((reference, char)) = REFERENCES.iter().find(|(reference, _)| raw.starts_with(reference)) else {
            // A control character, which a JID never has.
            return false;
        };
        let Some(behind) = text.strip_prefix(*char) else {
            return false;
        };
        (raw, text) = (&raw[reference.len()..], behind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_a_stanza() {
        let stanza =
            r#"<message type="chat" id='a="b" to=' from='a@b/&lt;o&apos;n&gt;' to='c@d/e'><x to='no@no'/></message>"#;
        let check = |stanza: &str, name: &str, jid: &str, expected: bool| {
            assert_eq!(is_addressed(stanza, name, jid), expected, "{name} {jid} in {stanza}");
        };
        check(stanza, "from", "a@b/<o'n>", true);
        check(stanza, "from", "a@b/<o'n", false);
        check(stanza, "from", "a@b/<o'n>>", false);
        check(stanza, "from", "a@b", false);
        check(stanza, "to", "c@d/e", true);
        check(stanza, "to", "c@d/E", false);
        check(stanza, "to", "no@no", false);
        check("<message from='a@b/c'/>", "to", "a@b/c", false);
        check("<message from='a@b/&amp;amp;'/>", "from", "a@b/&amp;", true);
        check("<message from='a@b/&amp;amp;'/>", "from", "a@b/&", false);
        check("<message/>", "from", "a@b/c", false);
        check("<message", "from", "a@b/c", false);
        check("", "from", "a@b/c", false);
    }
}
