//! Rooms (`[rooms]`).

use serde::{Deserialize, Serialize};

use super::section::section;

section! {
    /// Rooms in which many people talk (XEP-0045), at the address conference.DOMAIN.
    @default pub struct Rooms {
        /// Whether there are any. Where this is set to false later, rooms are kept, and nobody can enter them.
        pub enabled: bool = true,
        /// Who may make rooms: "accounts" of the domain, "admins" of the server alone, or "anyone" who can reach it.
        pub create: RoomCreators = RoomCreators::Accounts,
        /// Whether a new room stays when the last of its people has left; who has made it can say otherwise for it, here
        /// and below.
        pub persistent: bool = true,
        /// Whether a new room is in the list of rooms, where everybody finds it.
        pub public: bool = false,
    }
}

/// Who makes rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoomCreators {
    Anyone,
    #[default]
    Accounts,
    Admins,
}
