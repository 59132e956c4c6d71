//! Stanzas as they are written and as a test tells them; see `support`.

use minidom::Element;
use stanza::{StreamError, ns};
use xmlstream::{Framer, Scratch};

/// Takes apart what stands in an outbox.
pub(crate) fn elements(bytes: &[u8]) -> Vec<String> {
    const HEADER: &[u8] = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    let (mut framer, mut scratch) = (Framer::new(), Scratch::default());
    let limits = xmlstream::Limits {
        bytes: usize::MAX,
        elements: usize::MAX,
        ..xmlstream::Limits::default()
    };
    framer.next(HEADER, &mut scratch, &limits).expect("a header");
    let (mut rest, mut all) = (bytes, Vec::new());
    while !rest.is_empty() {
        let step = framer.next(rest, &mut scratch, &limits).expect("well-formed");
        let xmlstream::Event::Element(element) = step.event else {
            panic!("an outbox holds whole stanzas")
        };
        all.push(element.source().to_owned());
        rest = &rest[step.consumed..];
    }
    all
}

pub(crate) fn element(text: &str) -> Element {
    let (start, rest) = text.split_at(text.find([' ', '>', '/']).expect("an element"));
    if rest.starts_with(" xmlns='") {
        return text.parse().expect(text);
    }
    format!("{start} xmlns='jabber:client'{rest}").parse().expect(text)
}

pub(crate) fn ended(error: &StreamError) -> Element {
    element(&format!("<end id='{}'/>", error.condition.name()))
}

/// `by` and `id` of a message or of what it is a copy of (XEP-0359).
pub(crate) fn stanza_id(stanza: &Element) -> Option<(String, String)> {
    if let Some(copy) = copy_of(stanza) {
        return stanza_id(
            copy.get_child("forwarded", ns::FORWARD)?
                .get_child("message", ns::CLIENT)?,
        );
    }
    let id = stanza.get_child("stanza-id", ns::STANZA_IDS)?;
    Some((id.attr("by")?.to_owned(), id.attr("id")?.to_owned()))
}

/// `<sent/>` or `<received/>` (XEP-0280).
pub(crate) fn copy_of(stanza: &Element) -> Option<&Element> {
    stanza
        .get_child("sent", ns::CARBONS)
        .or_else(|| stanza.get_child("received", ns::CARBONS))
}

/// A stanza in one line; see the module's text.
pub(crate) fn line(stanza: &Element) -> String {
    let short = |name: &str| {
        let jid = stanza.attr(name).unwrap_or("-");
        jid.replacen("@d", "", 1)
    };
    let id = stanza.attr("id").unwrap_or("-");
    let way = format!("{}>{}", short("from"), short("to"));
    let kind = stanza.attr("type");
    let child = |name: &str| stanza.get_child(name, ns::CLIENT).map(Element::text);
    if stanza.name() == "end" {
        return format!("end {id}");
    }
    if kind == Some("error") && copy_of(stanza).is_none() {
        let error = stanza.get_child("error", ns::CLIENT).expect("an <error/>");
        let condition = error
            .children()
            .find(|child| child.ns() == ns::STANZAS)
            .expect("a condition");
        return format!("{} error {} {way} #{id}", stanza.name(), condition.name());
    }
    match stanza.name() {
        "message" if copy_of(stanza).is_some() => {
            let copy = copy_of(stanza).expect("a copy");
            let forwarded = copy.get_child("forwarded", ns::FORWARD).expect("forwarded");
            let message = forwarded.get_child("message", ns::CLIENT).expect("a message");
            format!("{} [{}]", copy.name(), line(message))
        }
        "message" => {
            let delayed = if stanza.get_child("delay", ns::DELAY).is_some() {
                " (delayed)"
            } else {
                ""
            };
            let body = child("body").unwrap_or_default();
            format!("{} {way} {body}{delayed}", kind.unwrap_or("normal"))
        }
        "presence" => {
            let extra = ["show", "status"]
                .into_iter()
                .filter_map(child)
                .map(|text| format!(" {text}"));
            format!("{} {way}{}", kind.unwrap_or("available"), extra.collect::<String>())
        }
        _ => match (kind, stanza.get_child("query", ns::ROSTER)) {
            (Some("set"), Some(query)) => {
                let items: Vec<String> = query.children().map(item).collect();
                format!("push {}", items.join(", "))
            }
            (Some("result"), Some(query)) => {
                let items: Vec<String> = query.children().map(item).collect();
                format!("result {id} [{}]", items.join(", "))
            }
            (Some("result"), None) => format!("result {id}"),
            (kind, _) => format!("{} {id} {way}", kind.unwrap_or("-")),
        },
    }
}

fn item(item: &Element) -> String {
    let jid = item.attr("jid").expect("a jid").replacen("@d", "", 1);
    let subscription = item.attr("subscription").expect("a subscription");
    let mut text = match subscription {
        "remove" => return format!("{jid} removed"),
        subscription => format!("{jid} {subscription}"),
    };
    if item.attr("ask").is_some() {
        text.push_str(" +ask");
    }
    if item.attr("approved").is_some() {
        text.push_str(" +approved");
    }
    text
}
