//! States of presence (RFC 6121 section 4.7.2.1) as a set.

/// Some of the states that an available resource may be in; `online` is that which has no name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shows(u8);

impl Shows {
    /// In the order of their bits.
    pub const NAMES: &'static [&'static str] = &["away", "chat", "dnd", "online", "xa"];
    pub const ALL: Shows = Shows(0b1_1111);

    /// This one alone.
    pub fn read(name: &str) -> Option<Shows> {
        let at = Shows::NAMES.iter().position(|known| *known == name)?;
        Some(Shows(1 << at))
    }

    #[must_use]
    pub const fn and(self, other: Shows) -> Shows {
        Shows(self.0 | other.0)
    }

    /// Whether this one is among them.
    pub fn has(self, name: &str) -> bool {
        Shows::read(name).is_some_and(|one| self.0 & one.0 != 0)
    }

    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Shows::NAMES.iter().copied().filter(move |name| self.has(name))
    }

    /// To be kept, and read again with [`Shows::from_bits`].
    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn from_bits(bits: u8) -> Shows {
        Shows(bits & Shows::ALL.0)
    }
}
