//! XEP-0355 Namespace Delegation 0.5: a component answers in the place of the server. Here is which requests it gets, and how
//! they are wrapped; `nest` shows in discovery what it can, and `router/src/component/delegation.rs` sends them.

use module::{Answered, Component, Coverage, Delegate, Module, Target};
use stanza::{IqType, Jid, Kind, Stanza, ns};
use xmlstream::Child;

use crate::escaped;

/// "Remaining Discovery Infos" and "Bare JID Disco Items": stand for requests and not for a namespace.
const REMAINING_INFO: &str = "urn:xmpp:delegation:2:bare:disco#info:*";
const REMAINING_ITEMS: &str = "urn:xmpp:delegation:2:bare:disco#items:*";

pub(crate) fn module() -> Module {
    Module::new("delegation")
        .xep(
            355,
            "Namespace Delegation",
            "0.5",
            Coverage::Partial("what the operator delegates; users cannot delegate for themselves"),
        )
        .server_feature(ns::DELEGATION)
        .greeting(greet)
        .delegate(Delegate {
            takes,
            wrap,
            unwrap,
            node,
        })
}

/// "Delegation Request Use Case".
fn greet(component: &Component) -> Option<String> {
    let mut delegated = String::new();
    for one in &component.delegated {
        delegated.push_str(&format!("<delegated namespace='{}'>", escaped(&one.namespace)));
        for name in &one.attributes {
            delegated.push_str(&format!("<attribute name='{}'/>", escaped(name)));
        }
        delegated.push_str("</delegated>");
    }
    let is_any = !delegated.is_empty();
    is_any.then(|| format!("<delegation xmlns='{}'>{delegated}</delegation>", ns::DELEGATION))
}

/// "Server Forwards Delegated IQ Stanza", and N.B. 3.
fn takes(component: &Component, target: Target, payload: &Child<'_>) -> bool {
    let has = |namespace: &str| component.delegated.iter().any(|one| *one.namespace == *namespace);
    let remaining = match payload.ns() {
        _ if target != Target::Account => false,
        // Of the items that the component shows as well.
        ns::DISCO_INFO => payload.attr("node").is_some() && (has(REMAINING_INFO) || has(REMAINING_ITEMS)),
        ns::DISCO_ITEMS => has(REMAINING_ITEMS),
        _ => false,
    };
    remaining
        || component.delegated.iter().any(|one| {
            *one.namespace == *payload.ns() && one.attributes.iter().all(|name| payload.attr(name).is_some())
        })
}

fn wrap(request: &str) -> String {
    let rest = request.strip_prefix("<iq").unwrap_or(request);
    format!(
        "<delegation xmlns='{}'><forwarded xmlns='{}'><iq xmlns='{}'{rest}</forwarded></delegation>",
        ns::DELEGATION,
        ns::FORWARD,
        ns::CLIENT
    )
}

/// "Then the server MUST decapsulate the IQ result", and what it MUST make sure of.
fn unwrap(stanza: &Stanza<'_>, answered: &Answered<'_>) -> Option<String> {
    if stanza.kind() != Kind::Iq(IqType::Result) {
        return None;
    }
    let payload = stanza.payload()?;
    let delegation = Some(payload).filter(|payload| payload.is("delegation", ns::DELEGATION))?;
    let iq = delegation.child("forwarded", ns::FORWARD)?.child("iq", ns::CLIENT)?;
    let is = |name: &str, jid: &str| {
        let given = iq.attr(name)?;
        Some(Jid::parse(&given).is_ok_and(|given| given.as_str() == jid))
    };
    let is_good = is("to", answered.from) == Some(true)
        // The examples leave it out.
        && is("from", answered.to) != Some(false)
        && iq.attr("id").is_some_and(|id| id == answered.id)
        && iq.attr("type").is_some_and(|type_| type_ == "result");
    if !is_good {
        return None;
    }
    let mut children = iq.children();
    let mut out = String::new();
    if let Some(payload) = children.next() {
        payload.write_canonical(ns::CLIENT, &mut out);
    }
    children.next().is_none().then_some(out)
}

/// "Nesting".
fn node(namespace: &str, target: Target) -> Option<String> {
    if matches!(namespace, REMAINING_INFO | REMAINING_ITEMS) {
        return None;
    }
    let between = match target {
        Target::Server => "::",
        Target::Account => ":bare:",
        _ => return None,
    };
    Some(format!("{}{between}{namespace}", ns::DELEGATION))
}

#[cfg(test)]
mod tests {
    use module::Delegated;
    use xmlstream::Scratch;

    use super::*;
    use crate::nest::OWN_LIMITS;

    fn component(delegated: &[(&str, &[&str])]) -> Component {
        let delegated = delegated.iter().map(|(namespace, attributes)| Delegated {
            namespace: (*namespace).into(),
            attributes: attributes.iter().map(|name| (*name).into()).collect(),
        });
        Component {
            delegated: delegated.collect(),
            ..Component::new("pubsub.example.org", "example.org")
        }
    }

    #[test]
    fn what_is_delegated_is_told() {
        assert_eq!(greet(&component(&[])), None);
        assert_eq!(
            greet(&component(&[("urn:xmpp:mam:2", &["node"]), ("urn:a", &[])])).as_deref(),
            Some(
                "<delegation xmlns='urn:xmpp:delegation:2'><delegated namespace='urn:xmpp:mam:2'>\
                 <attribute name='node'/></delegated><delegated namespace='urn:a'></delegated></delegation>"
            )
        );
    }

    #[test]
    fn what_goes_to_it() {
        let both = [Target::Server, Target::Account];
        let check = |delegated: &[(&str, &[&str])], payload: &str, expected: [bool; 2]| {
            let text = format!("<iq>{payload}</iq>");
            let mut scratch = Scratch::default();
            let element = xmlstream::parse_element(&text, ns::CLIENT, &mut scratch, &OWN_LIMITS).expect("an element");
            let payload = element.children().next().expect("a payload");
            let component = component(delegated);
            let found = both.map(|target| takes(&component, target, &payload));
            assert_eq!(found, expected, "{text}");
        };
        check(&[("urn:a", &[])], "<x xmlns='urn:a'/>", [true; 2]);
        check(&[("urn:a", &[])], "<x xmlns='urn:b'/>", [false; 2]);
        check(&[("urn:a", &["node", "y"])], "<x xmlns='urn:a' node=''/>", [false; 2]);
        check(
            &[("urn:a", &["node", "y"])],
            "<x xmlns='urn:a' node='' y='1'/>",
            [true; 2],
        );
        let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
        let info_node = "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>";
        let items = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
        check(&[(REMAINING_INFO, &[])], info, [false; 2]);
        check(&[(REMAINING_INFO, &[])], info_node, [false, true]);
        check(&[(REMAINING_INFO, &[])], items, [false; 2]);
        check(&[(REMAINING_ITEMS, &[])], items, [false, true]);
        check(&[(REMAINING_ITEMS, &[])], info_node, [false, true]);
    }

    #[test]
    fn only_a_good_answer_is_one() {
        let answered = Answered {
            id: "a&b",
            from: "juliet@example.org/balcony",
            to: "juliet@example.org",
        };
        let check = |type_: &str, inner: &str, expected: Option<&str>| {
            let text = format!(
                "<iq type='{type_}' id='1'><delegation xmlns='urn:xmpp:delegation:2'>\
                 <forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></delegation></iq>"
            );
            let mut scratch = Scratch::default();
            let element = xmlstream::parse_element(&text, ns::CLIENT, &mut scratch, &OWN_LIMITS).expect("an element");
            let stanza = Stanza::read(element).expect("in order").expect("a stanza");
            assert_eq!(unwrap(&stanza, &answered).as_deref(), expected, "{inner}");
        };
        let good = "xmlns='jabber:client' id='a&amp;b' type='result' to='Juliet@example.org/balcony'";
        check("result", &format!("<iq {good}/>"), Some(""));
        check(
            "result",
            &format!("<iq {good} from='juliet@example.org'><p:x xmlns:p='urn:a'><p:y/></p:x></iq>"),
            Some("<x xmlns='urn:a'><y/></x>"),
        );
        for bad in [
            good.replace("a&amp;b", "c"),
            good.replace("'result'", "'error'"),
            good.replace("balcony", "x"),
            good.replace("jabber:client", "urn:a"),
            good.replace("to=", "x="),
            format!("{good} from='example.org'"),
            format!("{good} from='@'"),
        ] {
            check("result", &format!("<iq {bad}/>"), None);
        }
        check("result", &format!("<iq {good}><a/><b/></iq>"), None);
        check("result", "", None);
        check("error", &format!("<iq {good}/>"), None);
    }

    #[test]
    fn a_request_in_its_wrapping() {
        assert_eq!(
            wrap("<iq type='get' id='1'><x xmlns='urn:a'/></iq>"),
            "<delegation xmlns='urn:xmpp:delegation:2'><forwarded xmlns='urn:xmpp:forward:0'>\
             <iq xmlns='jabber:client' type='get' id='1'><x xmlns='urn:a'/></iq></forwarded></delegation>"
        );
    }

    #[test]
    fn nodes_at_which_it_is_asked() {
        let check = |namespace, target, expected: Option<&str>| {
            assert_eq!(node(namespace, target).as_deref(), expected);
        };
        check("urn:a", Target::Server, Some("urn:xmpp:delegation:2::urn:a"));
        check("urn:a", Target::Account, Some("urn:xmpp:delegation:2:bare:urn:a"));
        check(REMAINING_INFO, Target::Server, None);
        check(REMAINING_ITEMS, Target::Account, None);
    }
}
