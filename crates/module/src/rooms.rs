//! What the operator of a domain says about its rooms (XEP-0045), and the port to those that are in memory.

use std::sync::{Arc, OnceLock, Weak};

/// The rooms of a domain.
#[derive(Clone, Debug)]
pub struct Rooms {
    pub creators: RoomCreators,
    /// What a new room is like until its owner says so.
    pub public: bool,
    pub persistent: bool,
    /// Rooms that are there because of one account.
    pub per_account: u64,
    /// Set by who has them.
    pub there: Arc<OnceLock<Weak<dyn Occupancy>>>,
}

impl Default for Rooms {
    fn default() -> Rooms {
        Rooms {
            creators: RoomCreators::default(),
            public: false,
            persistent: true,
            per_account: 100,
            there: Arc::default(),
        }
    }
}

impl Rooms {
    /// None: nobody has rooms here.
    pub fn occupancy(&self) -> Option<Arc<dyn Occupancy>> {
        self.there.get()?.upgrade()
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

pub trait Occupancy: Send + Sync {
    /// How many are in the room of this bare JID. Not for who holds a lock of one.
    fn occupants(&self, room: &str) -> usize;
}
