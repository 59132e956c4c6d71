//! The address of everything in XMPP: `[local@]domain[/resource]` (RFC 7622 section 3).
//!
//! One string and two offsets, because a JID is copied, hashed and written out whole far more often than it is
//! taken apart. The text is always in prepared form, so that two JIDs are the same address exactly when their
//! bytes are the same (RFC 7622 section 3.2.3), and an attacker who can spell an address in two ways gains nothing.
//!
//! Why not the crate `jid`: it refuses every code point that is younger than Unicode 3.2, which is every emoji, in
//! resources and so in room nicknames; and it keeps `xn--` names apart from their Unicode spelling.

mod prepare;
#[cfg(test)]
mod tests;

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use prepare::plain;
pub use prepare::{prepare_domain, prepare_local, prepare_resource};

/// Bytes of one prepared part (RFC 7622 section 3.1). Three parts and two separators fit a `u16` offset.
pub const MAX_PART: usize = 1023;

/// One of the three parts of a JID, for [`JidError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Local,
    Domain,
    Resource,
}

/// Why a text is no JID. Answer it with `jid-malformed` (RFC 6120 section 8.3.3.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JidError {
    /// The part is there (or is the domain) and is empty, perhaps only after preparation.
    Empty(Part),
    /// More than [`MAX_PART`] bytes.
    TooLong(Part),
    /// A character, or an order of characters, that the part does not allow.
    Invalid(Part),
}

impl fmt::Display for JidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (JidError::Empty(part) | JidError::TooLong(part) | JidError::Invalid(part)) = self;
        let part = match part {
            Part::Local => "localpart",
            Part::Domain => "domainpart",
            Part::Resource => "resourcepart",
        };
        match self {
            JidError::Empty(_) => write!(f, "the {part} is empty"),
            JidError::TooLong(_) => write!(f, "the {part} is longer than {MAX_PART} bytes"),
            JidError::Invalid(_) => write!(f, "the {part} contains what is not allowed there"),
        }
    }
}

impl std::error::Error for JidError {}

/// An owned JID in prepared form.
#[derive(Clone)]
pub struct Jid {
    text: Box<str>,
    offsets: Offsets,
}

/// A borrowed JID in prepared form; as cheap to pass as a `&str`.
#[derive(Clone, Copy)]
pub struct JidRef<'a> {
    text: &'a str,
    offsets: Offsets,
}

/// What parsing gives: borrowed where the input was in prepared form already (nearly always), else owned.
#[derive(Clone, Debug)]
pub struct JidCow<'a>(Inner<'a>);

#[derive(Clone, Debug)]
enum Inner<'a> {
    Borrowed(JidRef<'a>),
    Owned(Jid),
}

/// Where the parts end.
#[derive(Clone, Copy)]
struct Offsets {
    /// Length of the localpart; 0 where there is none (an empty one is not allowed).
    local: u16,
    /// Length of the bare JID; that of the whole where there is no resource.
    bare: u16,
}

impl Offsets {
    /// For parts that are prepared, hence at most [`MAX_PART`] long, hence sums that fit.
    fn of(local: Option<&str>, domain: &str) -> Offsets {
        let local = local.map_or(0, str::len);
        let bare = domain.len() + if local == 0 { 0 } else { local + 1 };
        debug_assert!(bare <= 2 * MAX_PART + 1);
        Offsets {
            local: local as u16,
            bare: bare as u16,
        }
    }
}

impl Jid {
    /// Takes a text apart and prepares each part.
    pub fn parse(text: &str) -> Result<Jid, JidError> {
        JidCow::parse(text).map(JidCow::into_owned)
    }

    /// Puts a JID together from parts in any form.
    pub fn new(local: Option<&str>, domain: &str, resource: Option<&str>) -> Result<Jid, JidError> {
        let local = local.map(prepare_local).transpose()?;
        let domain = prepare_domain(domain)?;
        let resource = resource.map(prepare_resource).transpose()?;
        Ok(Jid::join(local.as_deref(), &domain, resource.as_deref()))
    }

    /// The bare JID of this one with another resource (in any form).
    pub fn with_resource(&self, resource: &str) -> Result<Jid, JidError> {
        let resource = prepare_resource(resource)?;
        let bare = self.bare_str();
        let mut text = String::with_capacity(bare.len() + 1 + resource.len());
        text.push_str(bare);
        text.push('/');
        text.push_str(&resource);
        Ok(Jid {
            text: text.into_boxed_str(),
            offsets: self.offsets,
        })
    }

    pub fn as_ref(&self) -> JidRef<'_> {
        JidRef {
            text: &self.text,
            offsets: self.offsets,
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn local(&self) -> Option<&str> {
        self.as_ref().local()
    }

    pub fn domain(&self) -> &str {
        self.as_ref().domain()
    }

    pub fn resource(&self) -> Option<&str> {
        self.as_ref().resource()
    }

    /// The text without the resource.
    pub fn bare_str(&self) -> &str {
        self.as_ref().bare_str()
    }

    pub fn to_bare(&self) -> Jid {
        self.as_ref().bare().to_owned()
    }

    pub fn is_bare(&self) -> bool {
        self.as_ref().is_bare()
    }

    /// Parts must be prepared.
    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Jid {
        let mut text = String::with_capacity(
            local.map_or(0, |l| l.len() + 1) + domain.len() + resource.map_or(0, |r| r.len() + 1),
        );
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
        }
        text.push_str(domain);
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        Jid {
            text: text.into_boxed_str(),
            offsets: Offsets::of(local, domain),
        }
    }
}

impl<'a> JidRef<'a> {
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    pub fn local(&self) -> Option<&'a str> {
        match self.offsets.local as usize {
            0 => None,
            end => Some(&self.text[..end]),
        }
    }

    pub fn domain(&self) -> &'a str {
        let start = match self.offsets.local as usize {
            0 => 0,
            local => local + 1,
        };
        &self.text[start..self.offsets.bare as usize]
    }

    pub fn resource(&self) -> Option<&'a str> {
        // The byte at `bare` is the slash; past the end where there is no resource.
        self.text.get(self.offsets.bare as usize + 1..)
    }

    pub fn bare(&self) -> JidRef<'a> {
        JidRef {
            text: self.bare_str(),
            offsets: self.offsets,
        }
    }

    /// The text without the resource.
    pub fn bare_str(&self) -> &'a str {
        &self.text[..self.offsets.bare as usize]
    }

    pub fn is_bare(&self) -> bool {
        self.text.len() == self.offsets.bare as usize
    }

    /// Whether there is no localpart: a server or service, perhaps with a resource.
    pub fn is_domain(&self) -> bool {
        self.offsets.local == 0
    }

    // Not `ToOwned`: that trait is blanket-implemented for every `Clone` and would give a `JidRef` back.
    pub fn to_owned(self) -> Jid {
        Jid {
            text: self.text.into(),
            offsets: self.offsets,
        }
    }
}

impl<'a> JidCow<'a> {
    /// Splits before preparing, because preparation may make separators out of other characters
    /// (RFC 7622 section 3.1, last note), and at the first `/` before the first `@` (section 3.2).
    #[inline]
    pub fn parse(text: &'a str) -> Result<JidCow<'a>, JidError> {
        match plain(text.as_bytes()) {
            Some(offsets) => Ok(JidRef { text, offsets }.into()),
            None => JidCow::prepare(text),
        }
    }

    /// What `parse` does, whatever the text is.
    fn prepare(text: &'a str) -> Result<JidCow<'a>, JidError> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        let local = local.map(prepare_local).transpose()?;
        let prepared = prepare_domain(domain)?;
        let resource = resource.map(prepare_resource).transpose()?;

        // A stripped trailing dot is borrowed too, but leaves a hole in the text.
        let untouched = is_borrowed(local.as_ref())
            && is_borrowed(resource.as_ref())
            && is_borrowed(Some(&prepared))
            && prepared.len() == domain.len();
        Ok(JidCow(if untouched {
            Inner::Borrowed(JidRef {
                text,
                offsets: Offsets::of(local.as_deref(), domain),
            })
        } else {
            Inner::Owned(Jid::join(local.as_deref(), &prepared, resource.as_deref()))
        }))
    }

    pub fn as_ref(&self) -> JidRef<'_> {
        match &self.0 {
            Inner::Borrowed(jid) => *jid,
            Inner::Owned(jid) => jid.as_ref(),
        }
    }

    pub fn into_owned(self) -> Jid {
        match self.0 {
            Inner::Borrowed(jid) => jid.to_owned(),
            Inner::Owned(jid) => jid,
        }
    }

    /// Whether the input was in prepared form.
    pub fn is_borrowed(&self) -> bool {
        matches!(self.0, Inner::Borrowed(_))
    }
}

impl From<Jid> for JidCow<'_> {
    fn from(jid: Jid) -> Self {
        JidCow(Inner::Owned(jid))
    }
}

impl<'a> From<JidRef<'a>> for JidCow<'a> {
    fn from(jid: JidRef<'a>) -> Self {
        JidCow(Inner::Borrowed(jid))
    }
}

fn is_borrowed(part: Option<&Cow<'_, str>>) -> bool {
    !matches!(part, Some(Cow::Owned(_)))
}

// The prepared text says everything, so comparing, ordering and hashing are those of the text. That also makes
// `Borrow<str>` lawful: a map keyed by `Jid` can be asked with a prepared text.

impl PartialEq for Jid {
    fn eq(&self, other: &Jid) -> bool {
        self.text == other.text
    }
}

impl Eq for Jid {}

impl PartialOrd for Jid {
    fn partial_cmp(&self, other: &Jid) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Jid {
    fn cmp(&self, other: &Jid) -> Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Jid {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl Borrow<str> for Jid {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl PartialEq for JidRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for JidRef<'_> {}

impl PartialOrd for JidRef<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for JidRef<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text.cmp(other.text)
    }
}

impl Hash for JidRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl PartialEq<JidRef<'_>> for Jid {
    fn eq(&self, other: &JidRef<'_>) -> bool {
        &*self.text == other.text
    }
}

impl PartialEq<Jid> for JidRef<'_> {
    fn eq(&self, other: &Jid) -> bool {
        self.text == &*other.text
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl fmt::Display for JidRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text)
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

impl fmt::Debug for JidRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.text)
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Jid, JidError> {
        Jid::parse(text)
    }
}
