//! A request as it is read, and what it leads to.

use module::{Answer, Method, Step};
use stanza::{Jid, StanzaError, ns, rsm};
use store::{Found, Query, StoreError};
use xmlstream::Child;

use crate::access::Context;
use crate::error::{node_required, too_much, with};
use crate::form;
use crate::items::Items;
use crate::mine::Mine;
use crate::owner::{Act, Create, Manage, default_config};
use crate::publish::{NewItem, Publish, item_id, node_name};
use crate::retract::Retract;
use crate::subscribe::{Configure, Subscribe, Unsubscribe};
use crate::{PAGE_ITEMS, config, moved, options};

const PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";

pub(crate) enum Request {
    Publish(Publish),
    Items(Items),
    Retract(Retract),
    Create(Create),
    /// Section 8.3.
    Default,
    Manage(Manage),
    Subscribe(Subscribe),
    Unsubscribe(Unsubscribe),
    /// Section 6.3.
    Options(Configure),
    /// Section 6.4: of a node, or of all.
    DefaultOptions(Option<String>),
    Mine(Mine),
}

/// What becomes of a request to an account. `payload`: `<pubsub/>` in one of its two namespaces.
pub fn answer(context: &Context, method: Method, payload: &Child<'_>) -> Answer {
    let request = match read(method, payload) {
        Ok(request) => request,
        Err(error) => return Answer::Error(context.masked(error)),
    };
    match request.ask(context) {
        Ok(answer) => answer,
        Err(error) => Answer::Error(context.masked(error)),
    }
}

impl Request {
    fn ask(self, context: &Context) -> Result<Answer, StanzaError> {
        Ok(match self {
            Request::Publish(publish) => asked(context, publish.query(context), |context, found| {
                publish.decide(context, found)
            }),
            Request::Items(items) => asked(context, items.query(context)?, |context, found| {
                items.decide(context, found)
            }),
            Request::Retract(retract) => asked(context, retract.query(context), |context, found| {
                retract.decide(context, found)
            }),
            Request::Create(create) => {
                context.creators_only()?;
                asked(context, create.query(context), |context, found| {
                    create.decide(context, found)
                })
            }
            Request::Default => {
                context.creators_only()?;
                Answer::Result(default_config(context.home()))
            }
            Request::Manage(manage) => asked(context, manage.query(context), |context, found| {
                manage.decide(context, found)
            }),
            Request::Subscribe(subscribe) => asked(context, subscribe.query(context), |context, found| {
                subscribe.decide(context, found)
            }),
            Request::Unsubscribe(unsubscribe) => asked(context, unsubscribe.query(context), |context, found| {
                unsubscribe.decide(context, found)
            }),
            Request::Options(configure) => asked(context, configure.query(context), |context, found| {
                configure.decide(context, found)
            }),
            Request::DefaultOptions(node) => {
                context.no_strangers()?;
                Answer::Result(options::defaults(node.as_deref()))
            }
            Request::Mine(mine) => {
                context.no_strangers()?;
                asked(context, mine.query(context), |context, found| {
                    mine.decide(context, found)
                })
            }
        })
    }
}

pub(crate) fn asked(
    context: &Context,
    query: Query,
    decide: impl FnOnce(&Context, Result<Found, StoreError>) -> Result<Step, StanzaError> + Send + 'static,
) -> Answer {
    let context = context.clone();
    Answer::Changed(query, Box::new(move |found| decide(&context, found)))
}

fn read(method: Method, payload: &Child<'_>) -> Result<Request, StanzaError> {
    let namespace = payload.ns();
    let act = payload.children().find(|child| child.ns() == namespace);
    let act = act.ok_or_else(StanzaError::bad_request)?;
    match (namespace == ns::PUBSUB_OWNER, method) {
        (false, Method::Set) => set(payload, &act),
        (false, Method::Get) => get(payload, &act),
        (true, method) => manage(method, &act),
    }
}

fn node_of(element: &Child<'_>) -> Result<String, StanzaError> {
    let node = element.attr("node").filter(|node| !node.is_empty());
    node_name(&node.ok_or_else(node_required)?)
}

fn set(payload: &Child<'_>, act: &Child<'_>) -> Result<Request, StanzaError> {
    Ok(match act.name() {
        "publish" => {
            let options = payload.child("publish-options", ns::PUBSUB);
            Request::Publish(Publish {
                node: node_of(act)?,
                item: new_item(act)?,
                options: match options {
                    None => None,
                    // Cancelled options are none.
                    Some(options) => form::read(&options, PUBLISH_OPTIONS)?,
                },
            })
        }
        "retract" => {
            let node = node_of(act)?;
            let id = act.child("item", ns::PUBSUB).and_then(|item| item.attr("id"));
            let id = id.ok_or_else(|| with(StanzaError::bad_request(), "item-required"))?;
            let notify = act.attr("notify");
            Request::Retract(Retract {
                node,
                id: item_id(&id)?,
                notify: matches!(notify.as_deref(), Some("1" | "true")),
            })
        }
        "create" => {
            let node = act.attr("node").filter(|node| !node.is_empty());
            Request::Create(Create {
                node: node.map(|node| node_name(&node)).transpose()?,
                config: match payload.child("configure", ns::PUBSUB) {
                    // Section 8.1.3.
                    Some(configure) if configure.attr("node").is_some() => return Err(StanzaError::bad_request()),
                    Some(configure) if configure.child("x", ns::DATA_FORMS).is_some() => {
                        form::read(&configure, config::FORM_TYPE)?
                    }
                    _ => None,
                },
            })
        }
        "subscribe" | "unsubscribe" => {
            let node = node_of(act)?;
            let jid = act
                .attr("jid")
                .ok_or_else(|| with(StanzaError::bad_request(), "invalid-jid"))?;
            let jid = Jid::parse(&jid).map_err(|_| with(StanzaError::bad_request(), "invalid-jid"))?;
            if act.name() == "unsubscribe" {
                return Ok(Request::Unsubscribe(Unsubscribe { node, jid }));
            }
            let options = payload.child("options", ns::PUBSUB);
            Request::Subscribe(Subscribe {
                node,
                jid,
                options: match options {
                    // Section 6.3.7.
                    Some(options) if options.attr("node").is_some() || options.attr("jid").is_some() => {
                        return Err(StanzaError::bad_request());
                    }
                    // Empty, or cancelled: as they are.
                    Some(options) if options.child("x", ns::DATA_FORMS).is_some() => {
                        form::read(&options, options::FORM_TYPE)?
                    }
                    _ => None,
                },
            })
        }
        "options" => {
            let (node, jid) = subscription_of(act)?;
            let fields = form::read(act, options::FORM_TYPE)?;
            // Cancelled: nothing is changed.
            let fields = Some(fields.unwrap_or_default());
            Request::Options(Configure { node, jid, fields })
        }
        _ => return Err(StanzaError::feature_not_implemented()),
    })
}

/// Whose options are meant (sections 6.3.4.1 and 6.3.4.3).
fn subscription_of(act: &Child<'_>) -> Result<(String, Jid), StanzaError> {
    let jid = act.attr("jid");
    let jid = jid.ok_or_else(|| with(StanzaError::bad_request(), "jid-required"))?;
    let jid = Jid::parse(&jid).map_err(|_| with(StanzaError::bad_request(), "invalid-jid"))?;
    Ok((node_of(act)?, jid))
}

/// Section 7.1.3.6.
fn new_item(publish: &Child<'_>) -> Result<Option<NewItem>, StanzaError> {
    let mut items = publish.children().filter(|child| child.is("item", ns::PUBSUB));
    let Some(item) = items.next() else { return Ok(None) };
    if items.next().is_some() {
        return Err(with(StanzaError::bad_request(), "invalid-payload").text("one item at a time"));
    }
    let mut payloads = item.children();
    let payload = payloads.next().map(|payload| {
        let mut text = String::new();
        // It says itself in which namespace it is: it will stand in another one.
        payload.write_canonical("", &mut text);
        text
    });
    if payloads.next().is_some() {
        return Err(with(StanzaError::bad_request(), "invalid-payload"));
    }
    let id = item.attr("id").filter(|id| !id.is_empty());
    Ok(Some(NewItem {
        id: id.map(|id| item_id(&id)).transpose()?,
        payload,
    }))
}

fn get(payload: &Child<'_>, act: &Child<'_>) -> Result<Request, StanzaError> {
    Ok(match act.name() {
        "items" => {
            let node = node_of(act)?;
            let mut ids = Vec::new();
            for item in act.children().filter(|child| child.is("item", ns::PUBSUB)) {
                let id = item
                    .attr("id")
                    .ok_or_else(|| with(StanzaError::bad_request(), "item-required"))?;
                if ids.len() == PAGE_ITEMS {
                    return Err(too_much("too many items at once"));
                }
                ids.push(item_id(&id)?);
            }
            let max_items = match act.attr("max_items") {
                None => None,
                Some(text) => match text.parse() {
                    Ok(0) | Err(_) => return Err(StanzaError::bad_request().text("max_items is not a number")),
                    Ok(number) => Some(number),
                },
            };
            let has_page = payload.child("set", ns::RSM).is_some();
            let page = rsm::Request::of(payload)?;
            Request::Items(Items {
                node,
                ids,
                max_items,
                page: has_page.then_some(page),
            })
        }
        "subscriptions" | "affiliations" => Request::Mine(Mine {
            node: act.attr("node").map(|node| node_name(&node)).transpose()?,
            affiliations: act.name() == "affiliations",
        }),
        "default" => {
            let node = act.attr("node").filter(|node| !node.is_empty());
            Request::DefaultOptions(node.map(|node| node_name(&node)).transpose()?)
        }
        "options" => {
            let (node, jid) = subscription_of(act)?;
            let fields = None;
            Request::Options(Configure { node, jid, fields })
        }
        _ => return Err(StanzaError::feature_not_implemented()),
    })
}

fn manage(method: Method, act: &Child<'_>) -> Result<Request, StanzaError> {
    if act.name() == "default" && method == Method::Get {
        return Ok(Request::Default);
    }
    let of = |name: &str| -> Vec<(String, Option<String>)> {
        let children = act.children().filter(|child| child.is(name, ns::PUBSUB_OWNER));
        let attr = |child: &Child<'_>, name: &str| child.attr(name).map(|value| value.into_owned());
        children
            .map(|child| (attr(&child, "jid").unwrap_or_default(), attr(&child, name)))
            .collect()
    };
    let done = match (act.name(), method) {
        ("configure", Method::Get) => Act::ShowConfig,
        ("configure", Method::Set) => {
            // First, as a form is nothing without a node (section 8.2.3.3).
            node_of(act)?;
            Act::Configure(form::read(act, config::FORM_TYPE)?)
        }
        ("delete", Method::Set) => {
            let redirect = act.child("redirect", ns::PUBSUB_OWNER);
            let uri = redirect.and_then(|redirect| redirect.attr("uri").map(|uri| moved::uri(uri.trim_ascii())));
            Act::Delete(uri.transpose()?)
        }
        ("purge", Method::Set) => Act::Purge,
        ("subscriptions", Method::Get) => Act::ShowSubscriptions,
        ("subscriptions", Method::Set) => Act::Subscriptions(of("subscription")),
        ("affiliations", Method::Get) => Act::ShowAffiliations,
        ("affiliations", Method::Set) => Act::Affiliations(of("affiliation")),
        _ => return Err(StanzaError::feature_not_implemented()),
    };
    Ok(Request::Manage(Manage {
        node: node_of(act)?,
        act: done,
    }))
}
