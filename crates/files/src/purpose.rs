//! For what a file is meant (XEP-0363 section "Upload purpose").

/// Permanent files are not offered: nothing here is kept for ever but what is small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// An attachment, and whatever nobody has said otherwise of.
    #[default]
    Message,
    /// An avatar or the like: kept as long as the account, with a small quota of its own.
    Profile,
    /// Gone at the latest when the uploader says.
    Ephemeral,
}

impl Purpose {
    pub const ALL: [Purpose; 3] = [Purpose::Message, Purpose::Profile, Purpose::Ephemeral];

    /// The name of its element.
    pub const fn name(self) -> &'static str {
        match self {
            Purpose::Message => "message",
            Purpose::Profile => "profile",
            Purpose::Ephemeral => "ephemeral",
        }
    }

    pub fn of_name(name: &str) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|purpose| purpose.name() == name)
    }

    pub(crate) fn number(self) -> i64 {
        match self {
            Purpose::Message => 0,
            Purpose::Profile => 1,
            Purpose::Ephemeral => 2,
        }
    }

    pub(crate) fn of_number(number: i64) -> Option<Purpose> {
        Purpose::ALL.into_iter().find(|purpose| purpose.number() == number)
    }

    /// The configured age ends it.
    pub(crate) fn is_kept_for_a_time(self) -> bool {
        self != Purpose::Profile
    }

    /// Where its bytes count in the usage of the account.
    pub(crate) fn counter(self) -> &'static str {
        match self {
            Purpose::Profile => crate::quota::PROFILE,
            Purpose::Message | Purpose::Ephemeral => crate::quota::TOTAL,
        }
    }
}
