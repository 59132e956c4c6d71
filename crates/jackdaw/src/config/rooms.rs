//! Rooms (`[rooms]`).

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use stanza::Jid;

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
        /// Lists of addresses and domains that nobody wants to hear of, which somebody keeps for many servers: each is a
        /// node (XEP-0060) whose items have for names the SHA-256 of what is listed. Who is on one comes into no room, says
        /// nothing there, and can write to nobody who does not know him. Trust who keeps it:
        /// block_lists = ["xmpp:pubsub.example.org?;node=blocked"]
        pub block_lists: Vec<NodeAddress> = Vec::new(),
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

/// The address of a node, as XEP-0060 writes it ("PubSub URIs").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeAddress {
    pub service: Jid,
    pub node: String,
    text: String,
}

impl NodeAddress {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not the address of a node; write it as xmpp:SERVICE?;node=NODE");
        let rest = text.strip_prefix("xmpp:").ok_or_else(wrong)?;
        let (service, node) = rest.split_once("?;node=").ok_or_else(wrong)?;
        let node = decoded(node).filter(|node| !node.is_empty()).ok_or_else(wrong)?;
        let service: Jid = service.parse().map_err(|_| wrong())?;
        Ok(Self {
            service,
            node,
            text: text.to_owned(),
        })
    }
}

/// Without the %-escapes of a URI. None: it is no part of one.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
            }
            b';' | b'&' | b'?' | b' ' => return None,
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

impl<'de> Deserialize<'de> for NodeAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for NodeAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_nodes() {
        let check = |text: &str, expected: Option<(&str, &str)>| {
            let read = NodeAddress::parse(text).ok();
            let read = read.map(|read| (read.service.to_string(), read.node));
            let expected = expected.map(|(service, node)| (service.to_owned(), node.to_owned()));
            assert_eq!(read, expected, "{text}");
        };
        check("xmpp:Example.org?;node=muc_bans", Some(("example.org", "muc_bans")));
        check(
            "xmpp:a@example.org?;node=x%20%C3%A4%3B",
            Some(("a@example.org", "x ä;")),
        );
        for wrong in [
            "example.org/node",
            "xmpp:example.org",
            "xmpp:example.org?;node=",
            "xmpp:?;node=a",
            "xmpp:example.org?;node=%2",
            "xmpp:example.org?;node=%ff",
            "xmpp:example.org?;node=a;item=b",
        ] {
            check(wrong, None);
        }
    }
}
