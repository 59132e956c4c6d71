//! Roles and affiliations (XEP-0045 section 5): who somebody is for the room, and what he may do while he is there.

/// Declares a rank: lowest first, as they are compared.
macro_rules! rank {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($variant,)+ }

        impl $name {
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            pub fn read(text: &str) -> Option<$name> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }
    };
}

rank! {
    /// Lasts across visits, and is a bare JID's (section 5.2).
    Affiliation {
        Outcast = "outcast",
        None = "none",
        Member = "member",
        Admin = "admin",
        Owner = "owner",
    }
}

rank! {
    /// Lasts for a visit, and is an occupant's (section 5.1).
    Role {
        None = "none",
        Visitor = "visitor",
        Participant = "participant",
        Moderator = "moderator",
    }
}

impl Affiliation {
    /// With which role somebody comes in (table 6).
    pub fn role(self, moderated: bool) -> Role {
        match self {
            Affiliation::Outcast => Role::None,
            Affiliation::None if moderated => Role::Visitor,
            Affiliation::None | Affiliation::Member => Role::Participant,
            Affiliation::Admin | Affiliation::Owner => Role::Moderator,
        }
    }

    /// Edits the lists of members and outcasts, and makes moderators (table 7).
    pub fn administers(self) -> bool {
        self >= Affiliation::Admin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_in_as_what() {
        let cases = [
            (Affiliation::Outcast, Role::None, Role::None),
            (Affiliation::None, Role::Participant, Role::Visitor),
            (Affiliation::Member, Role::Participant, Role::Participant),
            (Affiliation::Admin, Role::Moderator, Role::Moderator),
            (Affiliation::Owner, Role::Moderator, Role::Moderator),
        ];
        for (affiliation, open, moderated) in cases {
            assert_eq!((affiliation.role(false), affiliation.role(true)), (open, moderated));
            assert_eq!(Affiliation::read(affiliation.name()), Some(affiliation));
        }
    }
}
