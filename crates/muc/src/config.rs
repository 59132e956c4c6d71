//! The configuration of a room (XEP-0045 sections 10.1, 10.2 and 15.5.3): typed, as a data form both ways, and as text
//! for the store.
//!
//! One list of fields serves all three, so what an owner was given and submits again is what was there before.

use module::{DataField, DataForm, FieldType, Submitted};

use crate::extension::EXTENSIONS;
use crate::rank::Role;
use crate::registration::Registration;

pub(crate) const FORM_TYPE: &str = "http://jabber.org/protocol/muc#roomconfig";

/// Bytes of a text; more is `not-acceptable`.
const MAX_TEXT: usize = 1_024;
/// Between fields, and between a field's name and its values. XML has neither.
const RECORD: char = '\u{1e}';
const UNIT: char = '\u{1f}';

/// Who may do something, by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles(u8);

impl Roles {
    const ALL: [Role; 3] = [Role::Moderator, Role::Participant, Role::Visitor];

    /// This one and those above.
    pub fn from(lowest: Role) -> Roles {
        let of = |role: &Role| if *role >= lowest { Roles::bit(*role) } else { 0 };
        Roles(Roles::ALL.iter().map(of).sum())
    }

    pub fn nobody() -> Roles {
        Roles(0)
    }

    pub fn has(self, role: Role) -> bool {
        self.0 & Roles::bit(role) != 0
    }

    fn bit(role: Role) -> u8 {
        match role {
            Role::None => 0,
            Role::Visitor => 1,
            Role::Participant => 2,
            Role::Moderator => 4,
        }
    }

    fn names(self) -> Vec<String> {
        let here = Roles::ALL.into_iter().filter(|role| self.has(*role));
        here.map(|role| role.name().to_owned()).collect()
    }

    fn read(values: &[String]) -> Option<Roles> {
        let mut bits = values.iter().map(|value| match Role::read(value) {
            Some(role) if role != Role::None => Some(Roles::bit(role)),
            _ => None,
        });
        bits.try_fold(0, |all, bit| Some(all | bit?)).map(Roles)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub name: String,
    pub description: String,
    /// Of the discussions (RFC 5646). Only told.
    pub language: String,
    /// An URI of a node that belongs to the room. Only told.
    pub pubsub: String,
    /// It is in the list of rooms.
    pub public: bool,
    /// It stays when the last occupant has left.
    pub persistent: bool,
    /// Messages are kept in the archive (XEP-0313), which who may enter can read; everybody is told so.
    pub logging: bool,
    pub members_only: bool,
    pub moderated: bool,
    /// Everybody sees the true addresses of all; else moderators do.
    pub non_anonymous: bool,
    /// Empty: none is wanted.
    pub password: String,
    /// None: as many as the service allows.
    pub max_users: Option<u32>,
    /// Who may send private messages.
    pub private_messages: Roles,
    /// Any member may invite into a room for members, which makes a member; else admins alone (section 9.5). Into another
    /// room every occupant may.
    pub allow_invites: bool,
    /// Participants may change the subject.
    pub change_subject: bool,
    /// Whose presence others see.
    pub broadcast: Roles,
    /// Which occupants may see the list of members, unless it tells what they may not know.
    pub member_list: Roles,
    /// Messages that who enters is given at most.
    pub max_history: u32,
    pub registration: Registration,
    /// Who has registered a nickname is here under no other.
    pub nicks_locked: bool,
    /// Seconds between two messages of one person (XEP-0500); 0: as he likes.
    pub slow_mode: u32,
    /// Address of the space that it belongs to (XEP-0503), or nothing.
    pub space: String,
    /// Who belongs to it and is not in it is sent what mentions him (XEP-0452).
    pub forward_mentions: bool,
}

impl Default for Config {
    /// What somebody gets who just names a room: closed to nobody, and gone with the last.
    fn default() -> Config {
        Config {
            name: String::new(),
            description: String::new(),
            language: String::new(),
            pubsub: String::new(),
            public: false,
            persistent: false,
            logging: true,
            members_only: false,
            moderated: false,
            non_anonymous: false,
            password: String::new(),
            max_users: None,
            private_messages: Roles::from(Role::Visitor),
            allow_invites: false,
            change_subject: false,
            broadcast: Roles::from(Role::Visitor),
            member_list: Roles::from(Role::Visitor),
            max_history: 20,
            registration: Registration::default(),
            nicks_locked: false,
            slow_mode: 0,
            space: String::new(),
            forward_mentions: false,
        }
    }
}

/// A field: how it is shown, read and written.
pub(crate) struct Field {
    pub(crate) var: &'static str,
    pub(crate) kind: FieldType,
    pub(crate) label: &'static str,
    pub(crate) options: &'static [(&'static str, &'static str)],
    /// What else is in it, as XML.
    pub(crate) more: &'static str,
    pub(crate) get: fn(&Config) -> Vec<String>,
    /// None: it cannot be so.
    pub(crate) set: fn(&mut Config, &[String]) -> Option<()>,
}

const ROLES: &[(&str, &str)] = &[
    ("Moderators", "moderator"),
    ("Participants", "participant"),
    ("Visitors", "visitor"),
];

macro_rules! field {
    ($var:literal, $kind:ident, $label:literal, $options:expr, $get:expr, $set:expr) => {
        Field {
            var: $var,
            kind: FieldType::$kind,
            label: $label,
            options: $options,
            more: "",
            get: $get,
            set: $set,
        }
    };
}

macro_rules! text {
    ($var:literal, $kind:ident, $label:literal, $field:ident) => {
        field!(
            $var,
            $kind,
            $label,
            &[],
            |config| vec![config.$field.clone()],
            |config, values| {
                let text = values.join("\n");
                let text = text.trim();
                (text.len() <= MAX_TEXT).then(|| config.$field = text.to_owned())
            }
        )
    };
}

macro_rules! boolean {
    ($var:literal, $label:literal, $field:ident) => {
        field!(
            $var,
            Boolean,
            $label,
            &[],
            |config| vec![if config.$field { "1" } else { "0" }.to_owned()],
            |config, values| {
                config.$field = boolean(values)?;
                Some(())
            }
        )
    };
}

macro_rules! roles {
    ($var:literal, $label:literal, $field:ident) => {
        field!(
            $var,
            ListMulti,
            $label,
            ROLES,
            |config| config.$field.names(),
            |config, values| {
                config.$field = Roles::read(values)?;
                Some(())
            }
        )
    };
}

const FIELDS: &[Field] = &[
    text!("muc#roomconfig_roomname", TextSingle, "Name of the room", name),
    text!("muc#roomconfig_roomdesc", TextSingle, "What it is for", description),
    text!(
        "muc#roomconfig_lang",
        TextSingle,
        "Language of the discussions",
        language
    ),
    text!(
        "muc#roomconfig_pubsub",
        TextSingle,
        "Address of a node that belongs to it",
        pubsub
    ),
    boolean!(
        "muc#roomconfig_persistentroom",
        "Stays when nobody is in it",
        persistent
    ),
    boolean!(
        "muc#roomconfig_enablelogging",
        "Messages are kept in an archive",
        logging
    ),
    boolean!("muc#roomconfig_publicroom", "Is in the list of rooms", public),
    boolean!("muc#roomconfig_membersonly", "Only members enter", members_only),
    boolean!(
        "muc#roomconfig_moderatedroom",
        "Only who was given voice may speak",
        moderated
    ),
    field!(
        "muc#roomconfig_whois",
        ListSingle,
        "Who sees the addresses of occupants",
        &[("Moderators", "moderators"), ("Anyone", "anyone")],
        |config| vec![if config.non_anonymous { "anyone" } else { "moderators" }.to_owned()],
        |config, values| {
            config.non_anonymous = match single(values)? {
                "anyone" => true,
                "moderators" => false,
                _ => return None,
            };
            Some(())
        }
    ),
    // Behind it the secret, which is empty where none is wanted.
    field!(
        "muc#roomconfig_passwordprotectedroom",
        Boolean,
        "A password is wanted",
        &[],
        |config| vec![if config.password.is_empty() { "0" } else { "1" }.to_owned()],
        |config, values| {
            if !boolean(values)? {
                config.password.clear();
            }
            Some(())
        }
    ),
    text!("muc#roomconfig_roomsecret", TextPrivate, "The password", password),
    field!(
        "muc#roomconfig_maxusers",
        ListSingle,
        "Occupants at most",
        &[
            ("10", "10"),
            ("20", "20"),
            ("30", "30"),
            ("50", "50"),
            ("100", "100"),
            ("500", "500"),
            ("As many as the service allows", "none"),
        ],
        |config| vec![
            config
                .max_users
                .map_or_else(|| "none".to_owned(), |most| most.to_string())
        ],
        |config, values| {
            config.max_users = match single(values)? {
                "none" | "" => None,
                number => Some(number.parse().ok().filter(|most| *most > 0)?),
            };
            Some(())
        }
    ),
    field!(
        "muc#roomconfig_allowpm",
        ListSingle,
        "Who may send private messages",
        &[
            ("Anyone", "anyone"),
            ("Who has voice", "participants"),
            ("Moderators", "moderators"),
            ("Nobody", "none"),
        ],
        |config| {
            let of = |role| config.private_messages == Roles::from(role);
            let name = match () {
                () if of(Role::Visitor) => "anyone",
                () if of(Role::Participant) => "participants",
                () if of(Role::Moderator) => "moderators",
                () => "none",
            };
            vec![name.to_owned()]
        },
        |config, values| {
            config.private_messages = match single(values)? {
                "anyone" => Roles::from(Role::Visitor),
                "participants" => Roles::from(Role::Participant),
                "moderators" => Roles::from(Role::Moderator),
                "none" => Roles::nobody(),
                _ => return None,
            };
            Some(())
        }
    ),
    boolean!(
        "muc#roomconfig_allowinvites",
        "Members may invite others",
        allow_invites
    ),
    boolean!(
        "muc#roomconfig_changesubject",
        "Participants may change the subject",
        change_subject
    ),
    roles!("muc#roomconfig_presencebroadcast", "Whose presence is shown", broadcast),
    roles!(
        "muc#roomconfig_getmemberlist",
        "Who sees the list of members",
        member_list
    ),
    field!(
        "muc#maxhistoryfetch",
        TextSingle,
        "Messages that who enters is given at most",
        &[],
        |config| vec![config.max_history.to_string()],
        |config, values| {
            config.max_history = single(values)?.parse().ok()?;
            Some(())
        }
    ),
];

/// With those of extensions.
fn fields() -> impl Iterator<Item = &'static Field> {
    FIELDS
        .iter()
        .chain(EXTENSIONS.iter().flat_map(|extension| extension.fields))
}

pub(crate) fn single(values: &[String]) -> Option<&str> {
    match values {
        [] => Some(""),
        [value] => Some(value),
        _ => None,
    }
}

pub(crate) fn boolean(values: &[String]) -> Option<bool> {
    match single(values)? {
        "1" | "true" => Some(true),
        "0" | "false" => Some(false),
        _ => None,
    }
}

/// Why a configuration is not taken: the field, for the text of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unacceptable(pub(crate) &'static str);

impl Config {
    /// The form for an owner, filled in with what holds. `more`: the lists of people.
    pub(crate) fn form(&self, more: Vec<DataField>) -> DataForm {
        let fields = fields().map(|field| {
            DataField::new(field.var, field.kind, field.label)
                .options(field.options)
                .more(field.more)
                .values((field.get)(self))
        });
        let mut form = DataForm::new("Configuration of the room", "").of_type(FORM_TYPE);
        form.fields = fields.chain(more).collect();
        form
    }

    /// What an owner has submitted. Fields that are not there stay as they are.
    pub(crate) fn submit(&mut self, submitted: &Submitted) -> Result<(), Unacceptable> {
        let wants_password = submitted.boolean("muc#roomconfig_passwordprotectedroom");
        for field in fields() {
            // A list of which nothing was chosen may come without a value, as a field that is there.
            if submitted.has(field.var) {
                (field.set)(self, submitted.all(field.var)).ok_or(Unacceptable(field.var))?;
            }
        }
        match wants_password {
            // Section 10.1.3 has it as the example of what is not acceptable.
            Some(true) if self.password.is_empty() => Err(Unacceptable("muc#roomconfig_roomsecret")),
            Some(false) => {
                self.password.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// For the store.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        for field in fields() {
            text.push_str(field.var);
            for value in (field.get)(self) {
                text.push(UNIT);
                text.push_str(&value);
            }
            text.push(RECORD);
        }
        text
    }

    /// What the store has; fields that this version does not know, or not so, are left at their defaults.
    pub(crate) fn of_text(text: &str) -> Config {
        let mut config = Config::default();
        for record in text.split(RECORD) {
            let mut parts = record.split(UNIT);
            let var = parts.next().unwrap_or_default();
            let values: Vec<String> = parts.map(str::to_owned).collect();
            if let Some(field) = fields().find(|field| field.var == var) {
                let _ = (field.set)(&mut config, &values);
            }
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other() -> Config {
        Config {
            name: "A Dark Cave".into(),
            description: "two\nlines".into(),
            language: "en".into(),
            pubsub: "xmpp:pubsub.example.org?;node=coven".into(),
            public: true,
            persistent: true,
            logging: false,
            members_only: true,
            moderated: true,
            non_anonymous: true,
            password: "cauldronburn".into(),
            max_users: Some(50),
            private_messages: Roles::nobody(),
            allow_invites: true,
            change_subject: true,
            broadcast: Roles::from(Role::Participant),
            member_list: Roles::nobody(),
            max_history: 0,
            registration: Registration::Anyone,
            nicks_locked: true,
            slow_mode: 20,
            space: "xmpp:pubsub.example.org?;node=dev".into(),
            forward_mentions: true,
        }
    }

    #[test]
    fn what_the_store_has_is_what_was_there() {
        for config in [Config::default(), other()] {
            assert_eq!(Config::of_text(&config.to_text()), config);
        }
        assert_eq!(Config::of_text(""), Config::default());
        assert_eq!(
            Config::of_text("muc#roomconfig_whois\u{1f}all\u{1e}unknown\u{1f}1\u{1e}"),
            Config::default()
        );
    }
}
