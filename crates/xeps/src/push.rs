//! XEP-0357 Push Notifications 0.4.1: which services an account wants to be announced to. Who is announced when, and what
//! becomes of it, is the router's (`router/src/push`); here is what a client says.

use module::{Access, Answer, Ask, Coverage, Method, Module, Push, PushService};
use stanza::{Jid, StanzaError, ns};

/// Bytes of the form that goes with each notification, and of a node. Services use some hundred.
const MOST_OPTION_BYTES: usize = 4 * 1024;
const MOST_NODE_BYTES: usize = 1024;

pub(crate) fn module() -> Module {
    Module::new("push")
        .xep(
            357,
            "Push Notifications",
            "0.4.1",
            Coverage::Partial("messages are announced, requests to subscribe are not"),
        )
        .kept_accounts_only()
        .account_feature(ns::PUSH)
        .account_iq(Method::Set, "enable", ns::PUSH, Access::Owner, enable)
        .account_iq(Method::Set, "disable", ns::PUSH, Access::Owner, disable)
}

/// Section 5.
fn enable(ask: &mut Ask<'_>) -> Answer {
    match service(ask).and_then(|jid| {
        let node = node(ask)?.unwrap_or_default();
        let options = options(ask)?;
        Ok(PushService { jid, node, options })
    }) {
        Ok(service) => Answer::Push(Push::Enable(service)),
        Err(error) => Answer::Error(error),
    }
}

/// Section 6.
fn disable(ask: &mut Ask<'_>) -> Answer {
    match service(ask).and_then(|service| Ok((service, node(ask)?))) {
        Ok((service, node)) => Answer::Push(Push::Disable { service, node }),
        Err(error) => Answer::Error(error),
    }
}

fn service(ask: &Ask<'_>) -> Result<Jid, StanzaError> {
    let jid = ask.payload.attr("jid");
    let jid = jid.ok_or_else(|| StanzaError::bad_request().text("the 'jid' of a push service is needed"))?;
    Jid::parse(&jid).map_err(|_| StanzaError::jid_malformed())
}

fn node(ask: &Ask<'_>) -> Result<Option<Box<str>>, StanzaError> {
    let node = ask.payload.attr("node");
    if node.as_ref().is_some_and(|node| node.len() > MOST_NODE_BYTES) {
        return Err(StanzaError::not_acceptable().text("the name of the node is too long"));
    }
    Ok(node.map(|node| (*node).into()))
}

/// The form as it is to be sent with each notification.
fn options(ask: &Ask<'_>) -> Result<Box<str>, StanzaError> {
    let Some(form) = ask.payload.child("x", ns::DATA_FORMS) else {
        return Ok("".into());
    };
    let mut fields = form.children().filter(|child| child.is("field", ns::DATA_FORMS));
    let form_type = fields
        .find(|field| field.attr("var").as_deref() == Some("FORM_TYPE"))
        .and_then(|field| field.child("value", ns::DATA_FORMS))
        .map(|value| value.text());
    if form_type.as_deref() != Some(ns::PUBLISH_OPTIONS) {
        return Err(StanzaError::bad_request().text("the form is none of publish options"));
    }
    let mut text = String::new();
    form.write_canonical(ns::CLIENT, &mut text);
    if text.len() > MOST_OPTION_BYTES {
        return Err(StanzaError::not_acceptable().text("the publish options are too long"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Asked, ask, check};

    fn push_of(payload: &str) -> Push {
        let (answer, _) = ask(super::module(), Asked::own_account(payload).set());
        match answer {
            Answer::Push(push) => push,
            _ => panic!("no change by {payload}"),
        }
    }

    const FORM: &str = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>\
                        http://jabber.org/protocol/pubsub#publish-options</value></field>\
                        <field var='secret'><value>a&amp;b</value></field></x>";

    #[test]
    fn what_is_enabled() {
        let check = |payload: &str, node: &str, options: &str| {
            let jid = Jid::parse("push.client.example").expect("a JID");
            let service = PushService {
                jid,
                node: node.into(),
                options: options.into(),
            };
            assert_eq!(push_of(payload), Push::Enable(service));
        };
        let open = "<enable xmlns='urn:xmpp:push:0' jid='Push.Client.example'";
        check(&format!("{open} node='n'/>"), "n", "");
        check(&format!("{open}/>"), "", "");
        check(&format!("{open} node='n'>{FORM}</enable>"), "n", FORM);
    }

    #[test]
    fn what_is_disabled() {
        let service = Jid::parse("push.client.example").expect("a JID");
        let check = |payload: &str, node: Option<&str>| {
            let node = node.map(Into::into);
            let service = service.clone();
            assert_eq!(push_of(payload), Push::Disable { service, node });
        };
        let open = "<disable xmlns='urn:xmpp:push:0' jid='push.client.example'";
        check(&format!("{open}/>"), None);
        check(&format!("{open} node='n'/>"), Some("n"));
    }

    #[test]
    fn what_is_refused() {
        let long = "n".repeat(MOST_NODE_BYTES + 1);
        let cases = [
            (
                "<enable xmlns='urn:xmpp:push:0'/>".to_owned(),
                StanzaError::bad_request(),
            ),
            (
                "<disable xmlns='urn:xmpp:push:0'/>".to_owned(),
                StanzaError::bad_request(),
            ),
            (
                "<enable xmlns='urn:xmpp:push:0' jid='a@b@c'/>".to_owned(),
                StanzaError::jid_malformed(),
            ),
            (
                format!("<enable xmlns='urn:xmpp:push:0' jid='a' node='{long}'/>"),
                StanzaError::not_acceptable(),
            ),
            (
                "<enable xmlns='urn:xmpp:push:0' jid='a'><x xmlns='jabber:x:data' type='submit'/></enable>".to_owned(),
                StanzaError::bad_request(),
            ),
        ];
        for (payload, error) in cases {
            let (answer, _) = ask(super::module(), Asked::own_account(&payload).set());
            let Answer::Error(said) = answer else {
                panic!("no error for {payload}")
            };
            assert_eq!(said.condition, error.condition, "{payload}");
        }
        check(
            super::module(),
            Asked::own_account("<enable xmlns='urn:xmpp:push:0' jid='a@b@c'/>").set(),
            Err(StanzaError::jid_malformed()),
        );
    }
}
