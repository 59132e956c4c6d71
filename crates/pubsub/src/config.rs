//! The configuration of a node (XEP-0060 section 17.4.4): typed, as a data form both ways, and as text for the store.
//!
//! One list of fields serves all three, so what a client was given and submits again is what was there before.

use stanza::{StanzaError, ns};

use crate::access::Home;
use crate::error::with;
use crate::form::{Fields, Kind, Writer};
use crate::rows::{RECORD, UNIT};
use crate::{MAX_ITEMS, MAX_PAYLOAD, MAX_TEXT};

pub(crate) const FORM_TYPE: &str = "http://jabber.org/protocol/pubsub#node_config";

/// Declares a field with a closed set of values.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($variant,)+ }

        impl $name {
            const NAMES: &'static [&'static str] = &[$($text,)+];

            pub(crate) fn name(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }

            fn read(text: &str) -> Result<$name, Wrong> {
                match text { $($text => Ok($name::$variant),)+ _ => Err(Wrong::Value) }
            }
        }
    };
}

choice! {
    /// Section 4.5.
    AccessModel {
        Open = "open",
        Presence = "presence",
        Roster = "roster",
        Authorize = "authorize",
        Whitelist = "whitelist",
    }
}
choice! {
    PublishModel { Publishers = "publishers", Subscribers = "subscribers", Open = "open", }
}
choice! {
    SendLast { Never = "never", OnSub = "on_sub", OnSubAndPresence = "on_sub_and_presence", }
}
choice! {
    NotificationType { Normal = "normal", Headline = "headline", }
}
choice! {
    /// Whom an item names as its sender (section 13.17).
    Reply { Owner = "owner", Publisher = "publisher", None = "none", }
}
choice! {
    /// What becomes of the oldest item when there is no room for a new one (section 7.1.2.5).
    NodeFull { DiscardOldest = "discard-oldest", RetractOldest = "retract-oldest", Reject = "reject", }
}

/// What a service can do: it has no rosters, and sees nobody's presence.
const SERVICE_ACCESS: &[&str] = &["open", "authorize", "whitelist"];
const SERVICE_SEND_LAST: &[&str] = &["never", "on_sub"];

/// A number, or as much as the server allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Most {
    Max,
    Number(u64),
}

impl Most {
    /// No more than `limit`.
    pub(crate) fn or(self, limit: u64) -> u64 {
        match self {
            Most::Max => limit,
            Most::Number(number) => number.min(limit),
        }
    }

    /// What is at the limit or above is the limit: many clients that do not know `max` ask for ten thousand.
    fn read(text: &str, limit: u64) -> Result<Most, Wrong> {
        match text {
            "max" => Ok(Most::Max),
            text => match number(text)? {
                0 => Err(Wrong::Value),
                number if number >= limit => Ok(Most::Max),
                number => Ok(Most::Number(number)),
            },
        }
    }

    fn show(self) -> String {
        match self {
            Most::Max => "max".into(),
            Most::Number(number) => number.to_string(),
        }
    }
}

/// Why a field cannot be as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// There is no such field.
    Field,
    Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) title: String,
    pub(crate) description: String,
    pub(crate) language: String,
    /// Of the content, usually its namespace. Only told.
    pub(crate) kind: String,
    pub(crate) access: AccessModel,
    pub(crate) groups: Vec<Box<str>>,
    pub(crate) publish: PublishModel,
    pub(crate) persist: bool,
    pub(crate) max_items: Most,
    /// Seconds.
    pub(crate) expire: Most,
    pub(crate) max_payload: u64,
    pub(crate) send_last: SendLast,
    pub(crate) deliver_notifications: bool,
    pub(crate) deliver_payloads: bool,
    pub(crate) notification: NotificationType,
    pub(crate) notify_config: bool,
    pub(crate) notify_delete: bool,
    pub(crate) notify_retract: bool,
    /// Its owners are told who subscribes and who leaves.
    pub(crate) notify_sub: bool,
    pub(crate) reply: Reply,
    pub(crate) node_full: NodeFull,
    /// Whether one may subscribe.
    pub(crate) subscribe: bool,
    /// Subscribers hear of it only while they are there.
    pub(crate) while_there: bool,
    /// JIDs of people to ask. Only told.
    pub(crate) contact: Vec<Box<str>>,
}

/// A field: how it is shown, read and written.
struct Field {
    var: &'static str,
    kind: Kind,
    label: &'static str,
    get: fn(&Config) -> Vec<String>,
    set: fn(&mut Config, &[String]) -> Result<(), Wrong>,
}

macro_rules! text {
    ($var:literal, $label:literal, $field:ident) => {
        Field {
            var: concat!("pubsub#", $var),
            kind: Kind::Text,
            label: $label,
            get: |config| vec![config.$field.clone()],
            set: |config, values| {
                let text = values.first().map_or("", String::as_str);
                if text.len() > MAX_TEXT {
                    return Err(Wrong::Value);
                }
                config.$field = text.into();
                Ok(())
            },
        }
    };
}

macro_rules! boolean {
    ($var:literal, $label:literal, $field:ident) => {
        Field {
            var: concat!("pubsub#", $var),
            kind: Kind::Boolean,
            label: $label,
            get: |config| vec![if config.$field { "1" } else { "0" }.into()],
            set: |config, values| {
                config.$field = boolean(single(values)?)?;
                Ok(())
            },
        }
    };
}

macro_rules! list {
    ($var:literal, $label:literal, $field:ident: $type:ident) => {
        Field {
            var: concat!("pubsub#", $var),
            kind: Kind::List($type::NAMES),
            label: $label,
            get: |config| vec![config.$field.name().into()],
            set: |config, values| {
                config.$field = $type::read(single(values)?)?;
                Ok(())
            },
        }
    };
}

const FIELDS: &[Field] = &[
    text!("title", "A name for the node", title),
    text!("description", "A description of the node", description),
    text!("type", "What is published, by its namespace", kind),
    text!("language", "The language of the node", language),
    list!("access_model", "Who may subscribe and read", access: AccessModel),
    Field {
        var: "pubsub#roster_groups_allowed",
        kind: Kind::TextMulti,
        label: "Groups of the roster that may subscribe and read",
        get: |config| config.groups.iter().map(|group| String::from(&**group)).collect(),
        set: |config, values| {
            if values.iter().map(String::len).sum::<usize>() > MAX_TEXT {
                return Err(Wrong::Value);
            }
            let groups = values.iter().filter(|group| !group.is_empty());
            config.groups = groups.map(|group| group.as_str().into()).collect();
            Ok(())
        },
    },
    list!("publish_model", "Who may publish", publish: PublishModel),
    boolean!("persist_items", "Keep items", persist),
    Field {
        var: "pubsub#max_items",
        kind: Kind::Text,
        label: "Items that are kept; max: as many as the server allows",
        get: |config| vec![config.max_items.show()],
        set: |config, values| {
            config.max_items = Most::read(single(values)?, MAX_ITEMS)?;
            Ok(())
        },
    },
    Field {
        var: "pubsub#item_expire",
        kind: Kind::Text,
        label: "Seconds for which an item is kept; max: no limit",
        get: |config| vec![config.expire.show()],
        set: |config, values| {
            config.expire = Most::read(single(values)?, u64::from(u32::MAX))?;
            Ok(())
        },
    },
    Field {
        var: "pubsub#max_payload_size",
        kind: Kind::Text,
        label: "Bytes of a payload",
        get: |config| vec![config.max_payload.to_string()],
        set: |config, values| {
            config.max_payload = Most::read(single(values)?, MAX_PAYLOAD)?.or(MAX_PAYLOAD);
            Ok(())
        },
    },
    list!("send_last_published_item", "When the last item is sent", send_last: SendLast),
    boolean!("deliver_notifications", "Tell of new items", deliver_notifications),
    boolean!("deliver_payloads", "Send the payload along", deliver_payloads),
    list!("notification_type", "The type of the messages that tell", notification: NotificationType),
    boolean!("notify_config", "Tell of changes of this configuration", notify_config),
    boolean!("notify_delete", "Tell when the node is deleted", notify_delete),
    boolean!("notify_retract", "Tell when items are deleted", notify_retract),
    boolean!("notify_sub", "Tell owners who subscribes and who leaves", notify_sub),
    list!("itemreply", "Whom an item names", reply: Reply),
    list!("publish_node_full", "What becomes of the oldest item when there is no room", node_full: NodeFull),
    boolean!("subscribe", "Allow subscriptions", subscribe),
    boolean!("presence_based_delivery", "Tell only who is there", while_there),
    Field {
        var: "pubsub#contact",
        kind: Kind::JidMulti,
        label: "People to ask about the node",
        get: |config| config.contact.iter().map(|jid| String::from(&**jid)).collect(),
        set: |config, values| {
            let jids = values.iter().filter(|jid| !jid.is_empty());
            let jids = jids.map(|jid| stanza::Jid::parse(jid).map(|jid| jid.as_str().into()));
            config.contact = jids.collect::<Result<_, _>>().map_err(|_| Wrong::Value)?;
            if config.contact.iter().map(|jid| jid.len()).sum::<usize>() > MAX_TEXT {
                return Err(Wrong::Value);
            }
            Ok(())
        },
    },
];

/// Fields that are understood, and have one value only.
const FIXED: &[(&str, &str)] = &[
    ("pubsub#node_type", "leaf"),
    // What a client leaves behind when it goes is not what its presence decides: a lost connection is no wish.
    ("pubsub#tempsub", "0"),
    ("pubsub#purge_offline", "0"),
];

fn single(values: &[String]) -> Result<&str, Wrong> {
    match values {
        [value] => Ok(value.trim_ascii()),
        _ => Err(Wrong::Value),
    }
}

pub(crate) fn boolean(text: &str) -> Result<bool, Wrong> {
    match text {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Wrong::Value),
    }
}

fn number(text: &str) -> Result<u64, Wrong> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::Value);
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// Nodes of an account that nobody else is to see, whatever its client forgets to say: their most items, and when the last
/// is sent. Of bookmarks and of what was displayed there is an item for each chat, and clients ask for all of them
/// (XEP-0402 section 3.3, XEP-0490 section 4.2); of the older bookmarks there is one in all (XEP-0048 section 3.1).
const PRIVATE: &[(&str, Most, SendLast)] = &[
    (ns::BOOKMARKS, Most::Max, SendLast::Never),
    (ns::BOOKMARKS_STORAGE, Most::Number(1), SendLast::OnSubAndPresence),
    (ns::MDS_DISPLAYED, Most::Max, SendLast::Never),
];

impl Config {
    /// Of a new node (XEP-0163 section 5). Keys for encryption are for everybody: who would send the first message to
    /// somebody needs them, and many clients rely on it (XEP-0384 section 5.3.1 asks for `open` in the request).
    pub(crate) fn of_new(node: &str, home: Home) -> Config {
        if home == Home::Service {
            return Config::of_service();
        }
        let omemo = format!("{}:", ns::OMEMO);
        let legacy = format!("{}.", ns::OMEMO_LEGACY);
        let is_omemo = node.starts_with(&omemo) || node.starts_with(&legacy);
        // One item for each device (section 5.3.2).
        let is_bundles = node.strip_prefix(&omemo) == Some("bundles");
        let private = PRIVATE.iter().find(|(name, ..)| *name == node);
        Config {
            title: String::new(),
            description: String::new(),
            language: String::new(),
            kind: String::new(),
            access: match private {
                Some(_) => AccessModel::Whitelist,
                None if is_omemo => AccessModel::Open,
                None => AccessModel::Presence,
            },
            groups: Vec::new(),
            publish: PublishModel::Publishers,
            persist: true,
            max_items: match private {
                Some((_, most, _)) => *most,
                None if is_bundles => Most::Max,
                None => Most::Number(1),
            },
            expire: Most::Max,
            max_payload: MAX_PAYLOAD,
            send_last: private.map_or(SendLast::OnSubAndPresence, |(.., send_last)| *send_last),
            deliver_notifications: true,
            deliver_payloads: true,
            notification: NotificationType::Headline,
            notify_config: false,
            notify_delete: true,
            notify_retract: true,
            notify_sub: false,
            reply: Reply::Owner,
            // Who hears that the one item of a node is retracted takes it for an end (XEP-0084 and others), and not for the
            // beginning of the next.
            node_full: NodeFull::DiscardOldest,
            subscribe: true,
            while_there: false,
            contact: Vec::new(),
        }
    }

    /// Section 4.5 has such nodes open. Without the feature `last-published` nothing is sent unasked.
    fn of_service() -> Config {
        Config {
            access: AccessModel::Open,
            max_items: Most::Max,
            send_last: SendLast::Never,
            node_full: NodeFull::RetractOldest,
            ..Config::of_new("", Home::Account)
        }
    }

    fn set(&mut self, var: &str, values: &[String]) -> Result<(), Wrong> {
        if let Some(field) = FIELDS.iter().find(|field| field.var == var) {
            return (field.set)(self, values);
        }
        let (_, fixed) = FIXED.iter().find(|(fixed, _)| *fixed == var).ok_or(Wrong::Field)?;
        let value = single(values)?;
        let is_same = match boolean(fixed) {
            Ok(fixed) => boolean(value) == Ok(fixed),
            Err(_) => value == *fixed,
        };
        if is_same { Ok(()) } else { Err(Wrong::Value) }
    }

    fn set_at(&mut self, home: Home, var: &str, values: &[String]) -> Result<(), Wrong> {
        if let (Some(allowed), [value]) = (narrowed(home, var), values)
            && !allowed.contains(&value.trim_ascii())
        {
            return Err(Wrong::Value);
        }
        self.set(var, values)
    }

    /// What was submitted (section 8.2.5). A field that is not there stays as it is, and one that nobody knows is of no
    /// effect: forms carry what other servers know.
    pub(crate) fn submit(&mut self, fields: &Fields, home: Home) -> Result<(), StanzaError> {
        for (var, values) in fields {
            match self.set_at(home, var, values) {
                Ok(()) | Err(Wrong::Field) => {}
                // Section 8.1.2.
                Err(Wrong::Value) if var == "pubsub#access_model" => {
                    return Err(with(StanzaError::not_acceptable(), "unsupported-access-model"));
                }
                // Section 8.2.5.2.
                Err(Wrong::Value) => {
                    let text = format!("{} cannot be that", var.chars().take(64).collect::<String>());
                    return Err(StanzaError::not_acceptable().text(text));
                }
            }
        }
        Ok(())
    }

    /// Options for a node that is made by publishing (section 7.1.5): what nobody knows is refused.
    pub(crate) fn submit_options(&mut self, options: &Fields, home: Home) -> Result<(), StanzaError> {
        if let Some((var, _)) = options.iter().find(|(var, _)| !is_known(var)) {
            return Err(unknown_option(var));
        }
        self.submit(options, home)
    }

    /// Whether the configuration is as the options say.
    pub(crate) fn meets(&self, options: &Fields) -> Result<(), StanzaError> {
        let mut wanted = self.clone();
        for (var, values) in options {
            match wanted.set(var, values) {
                Ok(()) => {}
                Err(Wrong::Value) => return Err(with(StanzaError::conflict(), "precondition-not-met")),
                Err(Wrong::Field) => return Err(unknown_option(var)),
            }
        }
        if wanted == *self {
            Ok(())
        } else {
            Err(with(StanzaError::conflict(), "precondition-not-met"))
        }
    }

    /// Section 8.2.2 where it is to be filled in, section 8.2.5.3 where it is told.
    pub(crate) fn write_form(&self, is_form: bool, home: Home, out: &mut Vec<u8>) {
        let mut form = Writer::begin(out, is_form, FORM_TYPE);
        for field in FIELDS {
            let kind = narrowed(home, field.var).map_or(field.kind, Kind::List);
            form.field(field.var, kind, field.label, &(field.get)(self));
        }
        form.field("pubsub#node_type", Kind::List(&["leaf"]), "Leaf", &["leaf".into()]);
        form.end();
    }

    /// Fields and values that anybody may know who may know of the node (section 5.4).
    pub(crate) fn metadata(&self) -> impl Iterator<Item = (&'static str, Kind, Vec<String>)> + '_ {
        let shown = [
            "pubsub#title",
            "pubsub#description",
            "pubsub#type",
            "pubsub#language",
            "pubsub#access_model",
            "pubsub#publish_model",
            "pubsub#max_items",
            "pubsub#contact",
        ];
        let fields = FIELDS.iter().filter(move |field| shown.contains(&field.var));
        fields
            .map(|field| (field.var, field.kind, (field.get)(self)))
            .filter(|(.., values)| values.iter().any(|value| !value.is_empty()))
    }

    /// Of a node that holds so many items of the account and shows them to nobody else.
    pub(crate) fn keep_for_owner(&mut self, items: u64) {
        (self.access, self.publish) = (AccessModel::Whitelist, PublishModel::Publishers);
        (self.persist, self.expire, self.max_payload) = (true, Most::Max, MAX_PAYLOAD);
        if self.max_items.or(MAX_ITEMS) < items {
            self.max_items = Most::Max;
        }
    }

    /// For the store.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for field in FIELDS {
            out.push_str(field.var);
            for value in (field.get)(self) {
                out.push(UNIT);
                out.push_str(&value);
            }
            out.push(RECORD);
        }
        out
    }

    /// What stands in the store; a field of a later version is new there, so it has its default.
    pub(crate) fn of_text(node: &str, text: &str) -> Config {
        let mut config = Config::of_new(node, Home::Account);
        for record in text.split(RECORD) {
            let mut parts = record.split(UNIT);
            let var = parts.next().unwrap_or_default();
            let values: Vec<String> = parts.map(str::to_owned).collect();
            if let Some(field) = FIELDS.iter().find(|field| field.var == var)
                && (field.set)(&mut config, &values).is_err()
            {
                tracing::warn!(
                    node,
                    var,
                    "a field of a node's configuration cannot be read and has its default"
                );
            }
        }
        config
    }
}

/// The values of a list that are left at a service.
fn narrowed(home: Home, var: &str) -> Option<&'static [&'static str]> {
    match (home, var) {
        (Home::Service, "pubsub#access_model") => Some(SERVICE_ACCESS),
        (Home::Service, "pubsub#send_last_published_item") => Some(SERVICE_SEND_LAST),
        _ => None,
    }
}

fn is_known(var: &str) -> bool {
    FIELDS.iter().any(|field| field.var == var) || FIXED.iter().any(|(fixed, _)| *fixed == var)
}

fn unknown_option(var: &str) -> StanzaError {
    let text = format!("nothing is known of {}", var.chars().take(64).collect::<String>());
    with(StanzaError::not_acceptable(), "invalid-options").text(text)
}
