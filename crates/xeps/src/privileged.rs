//! XEP-0356 Privileged Entity 0.4.1: what a component may do in the name of accounts. Here is what it is told of that, and
//! whether what it sends is allowed; `router/src/component/privileged.rs` does it.

use module::{Act, Component, Coverage, Judge, Method, Methods, Module, PresenceSeen};
use stanza::{IqType, Jid, JidRef, Kind, MessageType, Stanza, StanzaError, ns};
use xmlstream::Child;

use crate::escaped;
use crate::hardening::is_version_of;

pub(crate) fn module() -> Module {
    let judge: Judge = judge;
    Module::new("privileged")
        .xep(
            356,
            "Privileged Entity",
            "0.4.1",
            Coverage::Partial(
                "presence of contacts at other servers is told when it comes, and not when a component connects",
            ),
        )
        .greeting(greet)
        .judge(judge)
}

/// "Server Advertises Entity Of Allowed Permission", and the like of the others. What is not granted is not said.
fn greet(component: &Component) -> Option<String> {
    let privileges = &component.privileges;
    let mut permissions = String::new();
    if let Some(type_) = word(privileges.roster) {
        let push = privileges.pushes;
        permissions.push_str(&format!("<perm access='roster' type='{type_}' push='{push}'/>"));
    }
    if privileges.messages {
        permissions.push_str("<perm access='message' type='outgoing'/>");
    }
    let granted = privileges.iq.iter();
    let granted = granted.filter_map(|(namespace, methods)| Some((namespace, word(*methods)?)));
    let namespaces: String = granted
        .map(|(namespace, type_)| format!("<namespace ns='{}' type='{type_}'/>", escaped(namespace)))
        .collect();
    if !namespaces.is_empty() {
        permissions.push_str(&format!("<perm access='iq'>{namespaces}</perm>"));
    }
    let presence = match privileges.presence {
        PresenceSeen::Nobodys => None,
        PresenceSeen::Accounts => Some("managed_entity"),
        PresenceSeen::Contacts => Some("roster"),
    };
    if let Some(type_) = presence {
        permissions.push_str(&format!("<perm access='presence' type='{type_}'/>"));
    }
    let is_any = !permissions.is_empty();
    is_any.then(|| format!("<privilege xmlns='{}'>{permissions}</privilege>", ns::PRIVILEGE))
}

fn word(methods: Methods) -> Option<&'static str> {
    match (methods.get, methods.set) {
        (false, false) => None,
        (true, false) => Some("get"),
        (false, true) => Some("set"),
        (true, true) => Some("both"),
    }
}

fn judge<'s>(component: &Component, stanza: &Stanza<'s>) -> Act<'s> {
    let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
        return Act::Nothing;
    };
    // Not one of its users, whoever they are.
    let is_itself = from.as_str() == &*component.domain;
    match stanza.kind() {
        Kind::Message(kind) if kind != MessageType::Error && to.as_str() == &*component.shown_by => {
            message(component, is_itself, stanza)
        }
        Kind::Iq(IqType::Get) => request(component, is_itself, Method::Get, stanza, to),
        Kind::Iq(IqType::Set) => request(component, is_itself, Method::Set, stanza, to),
        _ => Act::Nothing,
    }
}

/// "Message Permission".
fn message<'s>(component: &Component, is_itself: bool, stanza: &Stanza<'s>) -> Act<'s> {
    let mut children = stanza.children();
    let Some(privilege) = children.find(|child| child.is("privilege", ns::PRIVILEGE)) else {
        return Act::Nothing;
    };
    if !is_itself || !component.privileges.messages {
        return Act::Refused(StanzaError::forbidden());
    }
    let forwarded = privilege.child("forwarded", ns::FORWARD);
    let Some(message) = forwarded.and_then(|forwarded| forwarded.child("message", ns::CLIENT)) else {
        return Act::Refused(StanzaError::bad_request().text("there is no message of jabber:client in it"));
    };
    // "MUST be a bare JID from the server, no resource is allowed".
    let sender = message.attr("from").and_then(|from| Jid::parse(&from).ok());
    let is_managed = |jid: &Jid| jid.domain() == &*component.shown_by && jid.as_ref().resource().is_none();
    match sender {
        // "Security Considerations", 4: clients believe their own account what a client of it could not say.
        _ if message.children().any(|child| is_servers_own(&child)) => Act::Refused(StanzaError::forbidden()),
        Some(jid) if is_managed(&jid) => Act::Message(message),
        _ => Act::Refused(StanzaError::forbidden()),
    }
}

fn request<'s>(component: &Component, is_itself: bool, method: Method, stanza: &Stanza<'s>, to: JidRef<'_>) -> Act<'s> {
    let Some(payload) = stanza.payload() else {
        return Act::Nothing;
    };
    let is_managed = to.local().is_some() && to.resource().is_none() && to.domain() == &*component.shown_by;
    if payload.ns() == ns::ROSTER && is_managed {
        // "Privileged Entity Manage Roster".
        return match is_itself && component.privileges.roster.admits(method) {
            true => Act::Roster,
            false => Act::Refused(StanzaError::forbidden()),
        };
    }
    if !payload.is("privileged_iq", ns::PRIVILEGE) {
        return Act::Nothing;
    }
    // "Sending IQ Stanzas": "The server MUST refuse the request with a forbidden error if any of the following".
    let mut children = payload.children();
    let (Some(iq), None) = (children.next(), children.next()) else {
        return Act::Refused(StanzaError::bad_request().text("there is not one request in it"));
    };
    let type_ = match method {
        Method::Get => "get",
        Method::Set => "set",
    };
    let is_granted = |namespace: &str| {
        let granted = component.privileges.iq.iter().find(|(name, _)| **name == *namespace);
        granted.is_some_and(|(_, methods)| methods.admits(method))
    };
    let is_of_account = |from: &str| Jid::parse(from).is_ok_and(|from| from.as_str() == to.as_str());
    // As with messages: it would be a push of the account itself.
    let is_pushed = |namespace: &str| matches!(namespace, ns::ROSTER | ns::BLOCKING);
    let whom = iq.attr("to").and_then(|whom| Jid::parse(&whom).ok());
    let is_to_client = whom.is_some_and(|whom| whom.bare_str() == to.as_str() && whom.as_ref().resource().is_some());
    let mut payloads = iq.children();
    let is_allowed = is_itself
        && is_managed
        && iq.is("iq", ns::CLIENT)
        && iq.attr("type").is_some_and(|inner| inner == type_)
        && iq.attr("from").is_none_or(|from| is_of_account(&from))
        && payloads
            .next()
            .is_some_and(|payload| is_granted(payload.ns()) && !(is_to_client && is_pushed(payload.ns())));
    match is_allowed {
        true => Act::Iq(iq),
        false => Act::Refused(StanzaError::forbidden()),
    }
}

/// A copy of a message, or a result of an archive, in any version.
fn is_servers_own(child: &Child<'_>) -> bool {
    is_version_of(child.ns(), "urn:xmpp:mam:")
        || is_version_of(child.ns(), "urn:xmpp:carbons:") && child.name() != "private"
}

#[cfg(test)]
mod tests {
    use module::Privileges;
    use xmlstream::{Limits, Scratch};

    use super::*;

    fn component(privileges: Privileges) -> Component {
        Component {
            privileges,
            ..Component::new("pubsub.example.org", "example.org")
        }
    }

    fn everything() -> Component {
        let both = Methods { get: true, set: true };
        component(Privileges {
            roster: both,
            pushes: true,
            messages: true,
            iq: vec![
                ("urn:a".into(), both),
                ("urn:b".into(), Methods { get: true, set: false }),
                ("urn:c".into(), Methods::default()),
                (ns::ROSTER.into(), both),
            ],
            presence: PresenceSeen::Contacts,
        })
    }

    #[test]
    fn what_is_granted_is_told() {
        assert_eq!(greet(&component(Privileges::default())), None);
        assert_eq!(
            greet(&everything()).as_deref(),
            Some(
                "<privilege xmlns='urn:xmpp:privilege:2'><perm access='roster' type='both' push='true'/>\
                 <perm access='message' type='outgoing'/><perm access='iq'><namespace ns='urn:a' type='both'/>\
                 <namespace ns='urn:b' type='get'/><namespace ns='jabber:iq:roster' type='both'/></perm><perm access='presence' type='roster'/></privilege>"
            )
        );
        let roster = Methods { get: false, set: true };
        let set = component(Privileges {
            roster,
            ..Privileges::default()
        });
        assert_eq!(
            greet(&set).as_deref(),
            Some("<privilege xmlns='urn:xmpp:privilege:2'><perm access='roster' type='set' push='false'/></privilege>")
        );
    }

    /// In a word.
    fn judged(component: &Component, text: &str) -> String {
        let mut scratch = Scratch::default();
        let limits = Limits {
            bytes: 10_000,
            elements: 100,
            depth: 20,
            attributes: 20,
            namespaces: 20,
            name: 100,
        };
        let element = xmlstream::parse_element(text, ns::CLIENT, &mut scratch, &limits).expect("an element");
        let stanza = Stanza::read(element).expect("in order").expect("a stanza");
        match judge(component, &stanza) {
            Act::Nothing => "nothing".to_owned(),
            Act::Roster => "roster".to_owned(),
            Act::Message(message) => format!("message of {}", message.attr("from").unwrap_or_default()),
            Act::Iq(iq) => format!("iq {}", iq.attr("id").unwrap_or_default()),
            Act::Refused(error) => format!("{:?}", error.condition),
        }
    }

    #[test]
    fn rosters() {
        let check = |from: &str, to: &str, type_: &str, all: &str, none: &str| {
            let text =
                format!("<iq from='{from}' to='{to}' type='{type_}' id='1'><query xmlns='jabber:iq:roster'/></iq>");
            assert_eq!(judged(&everything(), &text), all, "{text}");
            assert_eq!(judged(&component(Privileges::default()), &text), none, "{text}");
        };
        let me = "pubsub.example.org";
        check(me, "juliet@example.org", "get", "roster", "Forbidden");
        check(me, "juliet@example.org", "set", "roster", "Forbidden");
        // One of its users has no privilege.
        check(
            "x@pubsub.example.org",
            "juliet@example.org",
            "get",
            "Forbidden",
            "Forbidden",
        );
        // Not managed by it: as of anybody.
        check(me, "juliet@example.net", "get", "nothing", "nothing");
        check(me, "example.org", "get", "nothing", "nothing");
        check(me, "juliet@example.org/balcony", "get", "nothing", "nothing");
    }

    #[test]
    fn messages() {
        let me = "pubsub.example.org";
        let text = |from: &str, to: &str, inner: &str| {
            format!(
                "<message from='{from}' to='{to}'><privilege xmlns='urn:xmpp:privilege:2'>\
                 <forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></privilege></message>"
            )
        };
        let inner = |from: &str| format!("<message xmlns='jabber:client' from='{from}' to='romeo@example.net'/>");
        let check = |from: &str, to: &str, inner: &str, all: &str| {
            assert_eq!(judged(&everything(), &text(from, to, inner)), all, "{inner}");
        };
        check(
            me,
            "example.org",
            &inner("juliet@example.org"),
            "message of juliet@example.org",
        );
        check(me, "example.org", &inner("example.org"), "message of example.org");
        for from in [
            "juliet@example.org/balcony",
            "juliet@example.net",
            "juliet@pubsub.example.org",
            "",
            "@",
        ] {
            check(me, "example.org", &inner(from), "Forbidden");
        }
        check(
            "x@pubsub.example.org",
            "example.org",
            &inner("juliet@example.org"),
            "Forbidden",
        );
        for forged in [
            "<sent xmlns='urn:xmpp:carbons:2'/>",
            "<received xmlns='urn:xmpp:carbons:1'/>",
            "<result xmlns='urn:xmpp:mam:2'/>",
        ] {
            let own = inner("juliet@example.org").replace("/>", &format!(">{forged}</message>"));
            check(me, "example.org", &own, "Forbidden");
        }
        let private = inner("juliet@example.org").replace("/>", "><private xmlns='urn:xmpp:carbons:2'/></message>");
        check(me, "example.org", &private, "message of juliet@example.org");
        check(me, "example.org", "<message from='juliet@example.org'/>", "BadRequest");
        check(
            me,
            "example.org",
            "<iq xmlns='jabber:client' from='juliet@example.org'/>",
            "BadRequest",
        );
        check(me, "juliet@example.org", &inner("juliet@example.org"), "nothing");
        let none = component(Privileges::default());
        let said = text(me, "example.org", &inner("juliet@example.org"));
        assert_eq!(judged(&none, &said), "Forbidden");
    }

    #[test]
    fn requests() {
        let check = |type_: &str, to: &str, inner: &str, expected: &str| {
            let text = format!(
                "<iq from='pubsub.example.org' to='{to}' type='{type_}' id='1'>\
                 <privileged_iq xmlns='urn:xmpp:privilege:2'>{inner}</privileged_iq></iq>"
            );
            assert_eq!(judged(&everything(), &text), expected, "{text}");
        };
        let inner = |type_: &str, more: &str, namespace: &str| {
            format!("<iq xmlns='jabber:client' id='2' type='{type_}' {more}><x xmlns='{namespace}'/></iq>")
        };
        let juliet = "juliet@example.org";
        check("set", juliet, &inner("set", "", "urn:a"), "iq 2");
        check(
            "get",
            juliet,
            &inner("get", "from='Juliet@example.org'", "urn:b"),
            "iq 2",
        );
        for (type_, inner) in [
            ("set", inner("set", "", "urn:b")),
            ("get", inner("get", "", "urn:c")),
            ("get", inner("get", "", "urn:d")),
            ("get", inner("set", "", "urn:a")),
            ("get", inner("get", "from='romeo@example.org'", "urn:a")),
            ("get", inner("get", "from='juliet@example.org/balcony'", "urn:a")),
            ("get", "<iq id='2' type='get'><x xmlns='urn:a'/></iq>".to_owned()),
            ("get", "<iq xmlns='jabber:client' id='2' type='get'/>".to_owned()),
        ] {
            check(type_, juliet, &inner, "Forbidden");
        }
        for to in ["example.org", "juliet@example.net", "juliet@example.org/balcony"] {
            check("get", to, &inner("get", "", "urn:a"), "Forbidden");
        }
        check(
            "set",
            juliet,
            &inner("set", "to='juliet@example.org'", ns::ROSTER),
            "iq 2",
        );
        check(
            "set",
            juliet,
            &inner("set", "to='juliet@example.org/balcony'", "urn:a"),
            "iq 2",
        );
        let push = inner("set", "to='Juliet@example.org/balcony'", ns::ROSTER);
        check("set", juliet, &push, "Forbidden");
        check("get", juliet, "", "BadRequest");
    }
}
