//! Who wants to subscribe to a node of the access model `authorize`, its owners are asked (XEP-0060 section 8.6).

use module::{Answer, Notice};
use stanza::{Jid, Rendered, StanzaError, ns};
use xmlstream::{Child, escape_text};

use crate::access::{Context, Home};
use crate::config::boolean;
use crate::event;
use crate::form::{self, Kind, Writer};
use crate::node::Node;
use crate::owner::{Act, Manage};

pub(crate) const FORM_TYPE: &str = "http://jabber.org/protocol/pubsub#subscribe_authorization";

const NODE: &str = "pubsub#node";
const SUBSCRIBER: &str = "pubsub#subscriber_jid";
const ALLOW: &str = "pubsub#allow";

/// Who decides: `owner` is the account, or the service at whose node it is.
pub(crate) fn owners<'n>(node: &'n Node, owner: &'n str) -> Box<dyn Iterator<Item = &'n str> + 'n> {
    match Home::of(owner) {
        Home::Account => Box::new(std::iter::once(owner)),
        Home::Service => Box::new(node.owners()),
    }
}

/// The message that asks them. With a text, so that it waits for who is away, as other messages do.
pub(crate) fn form(node: &Node, owner: &str, number: i64, jid: &str) -> Notice {
    let mut out = format!("<message id='pubsub-{number:x}'><body>").into_bytes();
    escape_text(&mut out, &format!("{jid} asks to subscribe to {}", node.name));
    out.extend_from_slice(b"</body>");
    let mut form = Writer::begin(&mut out, true, FORM_TYPE);
    form.field(NODE, Kind::Text, "Node", &[String::from(&*node.name)]);
    form.field(SUBSCRIBER, Kind::Jid, "Who wants to subscribe", &[jid.to_owned()]);
    form.field(ALLOW, Kind::Boolean, "Let him subscribe", &["0".to_owned()]);
    form.end();
    out.extend_from_slice(b"</message>");
    Notice {
        subscribers: owners(node, owner).map(Into::into).collect(),
        waits: true,
        ..event::to_one(node, Rendered::from_text(&event::string(out)), "")
    }
}

/// Whether this is an answer to such a question: the form in a message.
pub fn is_decision(form: &Child<'_>) -> bool {
    let type_of = |field: Child<'_>| {
        let value = field.child("value", ns::DATA_FORMS)?;
        (field.attr("var").as_deref() == Some("FORM_TYPE")).then(|| value.text().into_owned())
    };
    form.is("x", ns::DATA_FORMS)
        && matches!(form.attr("type").as_deref(), Some("submit" | "cancel"))
        && form
            .children()
            .find_map(type_of)
            .is_some_and(|found| found == FORM_TYPE)
}

/// What an owner has decided. Cancelled: the question stays open.
pub fn decide(context: &Context, form: &Child<'_>) -> Answer {
    match read(form) {
        Err(error) => Answer::Error(context.masked(error)),
        Ok(None) => Answer::Result(String::new()),
        Ok(Some(manage)) => crate::request::asked(context, manage.query(context), |context, found| {
            manage.decide(context, found)
        }),
    }
}

fn read(form: &Child<'_>) -> Result<Option<Manage>, StanzaError> {
    let Some(fields) = form::read_form(form, FORM_TYPE)? else {
        return Ok(None);
    };
    let value = |wanted: &str| {
        let found = fields.iter().find(|(var, _)| var == wanted);
        let value = found.and_then(|(_, values)| values.first());
        value
            .map(|value| value.trim_ascii())
            .ok_or_else(StanzaError::bad_request)
    };
    let jid = Jid::parse(value(SUBSCRIBER)?).map_err(|_| StanzaError::bad_request())?;
    let allow = boolean(value(ALLOW)?).map_err(|_| StanzaError::bad_request())?;
    Ok(Some(Manage {
        node: crate::publish::node_name(value(NODE)?)?,
        act: Act::Approve(jid, allow),
    }))
}
