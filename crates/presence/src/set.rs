//! A roster set (RFC 6121 §2.1.5), parsed and checked against §2.3.3 and the server's limits.
//!
//! Whether the sender may change this roster at all (`forbidden`, §2.1.5) is for the router to say: it depends on
//! the stanza's addresses, not on its content.

use std::collections::BTreeSet;

use minidom::Element;
use stanza::{Jid, StanzaError};

use crate::NS_ROSTER;

/// What one account's roster may hold. All counts and sizes are inclusive upper bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RosterLimits {
    /// Items in the roster.
    pub items: usize,
    pub groups_per_item: usize,
    /// UTF-8 bytes of an item's name.
    pub name_bytes: usize,
    /// UTF-8 bytes of a group's name.
    pub group_bytes: usize,
    /// Requests waiting from contacts that are not in the roster (§3.1.3, second security warning). Beyond it,
    /// further requests are dropped.
    pub requests: usize,
    /// UTF-8 bytes of a request that is kept whole; of a longer one only the fact is kept.
    pub request_bytes: usize,
}

impl Default for RosterLimits {
    /// Well above what people use, well below what hurts: a roster of this size is some hundred kilobytes.
    fn default() -> RosterLimits {
        RosterLimits {
            items: 5_000,
            groups_per_item: 32,
            name_bytes: 1_023,
            group_bytes: 1_023,
            requests: 200,
            request_bytes: 2_048,
        }
    }
}

/// What a roster set asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Set {
    /// Add or replace an item (§2.3, §2.4).
    Update(Update),
    /// Remove the item of this JID (§2.5).
    Remove { jid: Box<str> },
}

/// An item as the client wants it: it is replaced as a whole (§2.4.1), its subscription state left alone (§2.1.5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Update {
    pub jid: Box<str>,
    pub name: Option<Box<str>>,
    pub groups: Box<[Box<str>]>,
}

impl Set {
    /// Reads the `<query/>` of a roster set by the account `owner` (bare JID, prepared).
    ///
    /// Errors: `bad-request` unless there is exactly one item, with a JID and without duplicate groups;
    /// `jid-malformed`; `not-acceptable` for an empty group or anything over a limit; `not-allowed` for the owner's
    /// own JID. Client-supplied `ask`, `approved` and `subscription` other than "remove" are ignored (§2.1.2, §2.1.5).
    pub fn parse(query: &Element, owner: &str, limits: &RosterLimits) -> Result<Set, StanzaError> {
        let mut items = query.children().filter(|child| child.is("item", NS_ROSTER));
        let (Some(item), None) = (items.next(), items.next()) else {
            return Err(StanzaError::bad_request().text("A roster set holds exactly one item"));
        };
        let jid = item
            .attr("jid")
            .ok_or_else(|| StanzaError::bad_request().text("The item has no 'jid'"))?;
        let parsed = Jid::parse(jid).map_err(|_| StanzaError::jid_malformed())?;
        let jid: Box<str> = parsed.as_str().into();
        if item.attr("subscription") == Some("remove") {
            // Name and groups of an item that goes do not matter, and its own JID may be there from an import.
            return Ok(Set::Remove { jid });
        }
        // §2.3.3, interoperability note. An account sees its own presence on all resources anyway (§4.2.2), and an
        // item for it would be a contact whose subscription can never change.
        if parsed.bare_str() == owner {
            return Err(StanzaError::not_allowed().text("An account is no contact of itself"));
        }
        // §2.4.1: an empty name is no name.
        let name = item.attr("name").filter(|name| !name.is_empty());
        if name.is_some_and(|name| name.len() > limits.name_bytes) {
            return Err(StanzaError::not_acceptable().text("The name is too long"));
        }
        Ok(Set::Update(Update {
            jid,
            name: name.map(Box::from),
            groups: groups(item, limits)?,
        }))
    }
}

fn groups(item: &Element, limits: &RosterLimits) -> Result<Box<[Box<str>]>, StanzaError> {
    let mut groups: Vec<Box<str>> = Vec::new();
    for element in item.children().filter(|child| child.is("group", NS_ROSTER)) {
        let group = element.text();
        if group.is_empty() {
            return Err(StanzaError::not_acceptable().text("A group has no name"));
        }
        if group.len() > limits.group_bytes {
            return Err(StanzaError::not_acceptable().text("A group's name is too long"));
        }
        if groups.len() == limits.groups_per_item {
            return Err(StanzaError::not_acceptable().text("The item has too many groups"));
        }
        groups.push(group.into());
    }
    // Compared byte by byte: groups are stored unmodified (§2), and two that differ in case are two to clients.
    if groups.iter().collect::<BTreeSet<_>>().len() != groups.len() {
        return Err(StanzaError::bad_request().text("A group is named twice"));
    }
    Ok(groups.into())
}

#[cfg(test)]
mod tests {
    use stanza::Condition;

    use super::*;

    const LIMITS: RosterLimits = RosterLimits {
        items: 2,
        groups_per_item: 3,
        name_bytes: 6,
        group_bytes: 6,
        requests: 2,
        request_bytes: 100,
    };

    fn parse(content: &str) -> Result<Set, StanzaError> {
        let query: Element = format!("<query xmlns='jabber:iq:roster'>{content}</query>")
            .parse()
            .expect("well-formed");
        Set::parse(&query, "juliet@example.com", &LIMITS)
    }

    fn check(content: &str, name: Option<&str>, groups: &[&str]) {
        let update = Update {
            jid: "nurse@example.com".into(),
            name: name.map(Box::from),
            groups: groups.iter().map(|&g| g.into()).collect(),
        };
        assert_eq!(parse(content), Ok(Set::Update(update)), "{content}");
    }

    fn refuse(content: &str, condition: Condition) {
        assert_eq!(parse(content).map_err(|e| e.condition), Err(condition), "{content}");
    }

    #[test]
    fn updates() {
        check("<item jid='nurse@example.com'/>", None, &[]);
        check("<item jid='Nurse@EXAMPLE.com' name=''/>", None, &[]);
        check("<item jid='nurse@example.com' name='Nürse'/>", Some("Nürse"), &[]);
        check(
            "<item jid='nurse@example.com' name=' '><group>b</group><group>a</group><group>A</group></item>",
            Some(" "),
            &["b", "a", "A"],
        );
        // What only the server may say is ignored (§2.1.2).
        check(
            "<item jid='nurse@example.com' subscription='both' ask='subscribe' approved='true'/>",
            None,
            &[],
        );
        // So is what belongs to somebody else.
        check(
            "<x xmlns='urn:x'/><item jid='nurse@example.com'><group xmlns='urn:x'/></item><item xmlns='urn:x'/>",
            None,
            &[],
        );
    }

    #[test]
    fn removals() {
        for content in [
            "<item jid='nurse@example.com' subscription='remove'/>",
            "<item jid='nurse@example.com' subscription='remove' name='too long'><group/></item>",
        ] {
            assert_eq!(
                parse(content),
                Ok(Set::Remove {
                    jid: "nurse@example.com".into()
                }),
                "{content}"
            );
        }
        let own = "<item jid='juliet@example.com' subscription='remove'/>";
        assert_eq!(
            parse(own),
            Ok(Set::Remove {
                jid: "juliet@example.com".into()
            })
        );
    }

    #[test]
    fn refusals() {
        refuse("", Condition::BadRequest);
        refuse("<item jid='a@b'/><item jid='c@d'/>", Condition::BadRequest);
        refuse("<item name='x'/>", Condition::BadRequest);
        refuse(
            "<item jid='a@b'><group>x</group><group>y</group><group>x</group></item>",
            Condition::BadRequest,
        );
        refuse("<item jid=''/>", Condition::JidMalformed);
        refuse("<item jid='@b'/>", Condition::JidMalformed);
        refuse("<item jid='a@b' name='1234567'/>", Condition::NotAcceptable);
        refuse("<item jid='a@b'><group/></item>", Condition::NotAcceptable);
        refuse(
            "<item jid='a@b'><group>1234567</group></item>",
            Condition::NotAcceptable,
        );
        refuse(
            "<item jid='a@b'><group>1</group><group>2</group><group>3</group><group>4</group></item>",
            Condition::NotAcceptable,
        );
        refuse("<item jid='juliet@example.com'/>", Condition::NotAllowed);
        refuse("<item jid='Juliet@example.com/balcony'/>", Condition::NotAllowed);
    }
}
