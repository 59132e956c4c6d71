//! What the operator of a domain says about its rooms (XEP-0045).

/// The rooms of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rooms {
    pub creators: RoomCreators,
    /// What a new room is like until its owner says so.
    pub public: bool,
    pub persistent: bool,
    /// Rooms that are there because of one account, and stay when it leaves.
    pub per_account: u64,
}

impl Default for Rooms {
    fn default() -> Rooms {
        Rooms {
            creators: RoomCreators::default(),
            public: false,
            persistent: true,
            per_account: 100,
        }
    }
}

/// Who makes rooms. Whoever may administer the server always does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RoomCreators {
    /// Also who has an account at another server.
    Anyone,
    /// Accounts of the domain.
    #[default]
    Accounts,
    Admins,
}
