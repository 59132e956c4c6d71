//! XEP-0292 vCard4 Over XMPP 0.12: the vCard at a node, and how it is the same as the one of XEP-0054 (`vcard.rs`).
//!
//! Properties that both know are the same in both (section 9); the rest each has for itself. Who sets the old vCard
//! publishes these properties at the node, beside what only the new one has. The item's id is a hash of the old vCard: so
//! it is told from one that a client has published itself, and the old one is shown as it was set. Once a client
//! publishes the new one, the old one keeps only what the new one does not know, and whoever may read the node is shown the
//! rest from there. Telephones and addresses lose those types that vCard4 does not have.

use module::{Change, Coverage, Deed, Face, Module, Occasion, Step};
use presence::photo::hex;
use pubsub::{Act, Context, Looked, look};
use stanza::{StanzaError, ns};
use store::{Query, row};
use xmlstream::{Child, escape_text};

use crate::avatar::{self, PUBLIC, told};
use crate::vcard::VCARDS;

pub(crate) const NODE: &str = "urn:xmpp:vcard4";
const NS: &str = "urn:ietf:params:xml:ns:vcard-4.0";

/// Properties that have one text, in the old one and in the new one. Of two with the same name here the first is what the
/// new one becomes in the old one.
const TEXTS: &[(&str, &str)] = &[
    ("FN", "fn"),
    ("TITLE", "title"),
    ("ROLE", "role"),
    ("DESC", "note"),
    ("NOTE", "note"),
];

/// The parts of a name.
const NAME: &[(&str, &str)] = &[
    ("FAMILY", "surname"),
    ("GIVEN", "given"),
    ("MIDDLE", "additional"),
    ("PREFIX", "prefix"),
    ("SUFFIX", "suffix"),
];

const ADDRESS: &[(&str, &str)] = &[
    ("POBOX", "pobox"),
    ("EXTADD", "ext"),
    ("STREET", "street"),
    ("LOCALITY", "locality"),
    ("REGION", "region"),
    ("PCODE", "code"),
    ("CTRY", "country"),
];

/// Types of telephones, and of what else has any.
const TYPES: &[(&str, &str)] = &[
    ("HOME", "home"),
    ("WORK", "work"),
    ("VOICE", "voice"),
    ("FAX", "fax"),
    ("CELL", "cell"),
    ("PAGER", "pager"),
    ("VIDEO", "video"),
];

pub(crate) fn module() -> Module {
    Module::new("vcard4")
        .xep(292, "vCard4 Over XMPP", "0.12", Coverage::Complete)
        .kept_accounts_only()
        .account_feature(NS)
        .face(Face { nodes: &[NODE], follow })
}

/// Under which the old vCard is published.
pub(crate) fn id_of(vcard: &str) -> String {
    hex(&avatar::hash(vcard.as_bytes()))
}

fn open(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("<{name}>").as_bytes());
}

fn close(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("</{name}>").as_bytes());
}

fn element(name: &str, text: &str, out: &mut Vec<u8>) {
    open(name, out);
    escape_text(out, text);
    close(name, out);
}

/// Escaping text yields text.
fn string(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_default()
}

fn text_of(parent: &Child<'_>, name: &str, ns: &str) -> String {
    let child = parent.child(name, ns);
    child
        .map(|child| child.text().trim_ascii().to_owned())
        .unwrap_or_default()
}

/// Some property with its value: `text`, `uri` and so on.
fn value_of(property: &Child<'_>) -> String {
    let values = ["text", "uri", "date", "date-time", "date-and-or-time"];
    let mut texts = values.iter().map(|name| text_of(property, name, NS));
    texts.find(|text| !text.is_empty()).unwrap_or_default()
}

/// Whether both know it.
fn is_mapped(old: &Child<'_>) -> bool {
    let others = ["N", "BDAY", "ADR", "TEL", "EMAIL", "JABBERID", "URL", "ORG"];
    let name = old.name();
    old.ns() == ns::VCARD && (TEXTS.iter().any(|(old, _)| *old == name) || others.contains(&name))
}

fn is_mapped_new(new: &Child<'_>) -> bool {
    let others = ["n", "bday", "adr", "tel", "email", "url", "org"];
    let name = new.name();
    // Other addresses for messages are nothing that the old one knows.
    let is_jid = name == "impp" && value_of(new).starts_with("xmpp:");
    new.ns() == NS && (TEXTS.iter().any(|(_, new)| *new == name) || others.contains(&name) || is_jid)
}

/// The properties of an old vCard that both know, as those of the new one.
fn to_new(vcard: &str) -> String {
    let written = avatar::read(vcard, |element| {
        let mut out = Vec::new();
        element
            .children()
            .filter(is_mapped)
            .for_each(|old| write_new(&old, &mut out));
        out
    });
    string(written.unwrap_or_default())
}

fn write_new(old: &Child<'_>, out: &mut Vec<u8>) {
    let property = |name: &str, kind: &str, value: &str, out: &mut Vec<u8>| {
        if !value.is_empty() {
            open(name, out);
            element(kind, value, out);
            close(name, out);
        }
    };
    let part = |name: &str| text_of(old, name, ns::VCARD);
    let text = old.text().trim_ascii().to_owned();
    if let Some((_, new)) = TEXTS.iter().find(|(name, _)| *name == old.name()) {
        return property(new, "text", &text, out);
    }
    match old.name() {
        "N" => write_parts("n", NAME, None, old, out),
        "ADR" => write_parts("adr", ADDRESS, Some(old), old, out),
        "BDAY" => {
            let is_date = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            property("bday", if is_date { "date" } else { "text" }, &text, out);
        }
        "URL" => property("url", "uri", &text, out),
        "JABBERID" if !text.is_empty() => property("impp", "uri", &format!("xmpp:{text}"), out),
        "TEL" => {
            let number = part("NUMBER");
            if number.is_empty() {
                return;
            }
            let is_plain = number
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b"+-.()*#".contains(&byte));
            open("tel", out);
            write_types(old, out);
            if is_plain && !number.contains('#') {
                element("uri", &format!("tel:{number}"), out);
            } else {
                element("text", &number, out);
            }
            close("tel", out);
        }
        "EMAIL" => {
            let address = part("USERID");
            if !address.is_empty() {
                open("email", out);
                write_types(old, out);
                element("text", &address, out);
                close("email", out);
            }
        }
        "ORG" => {
            let units = old.children().filter(|child| child.is("ORGUNIT", ns::VCARD));
            let units = units.map(|unit| unit.text().trim_ascii().to_owned());
            let texts: Vec<String> = std::iter::once(part("ORGNAME")).chain(units).collect();
            if texts.iter().any(|text| !text.is_empty()) {
                open("org", out);
                let last = texts.iter().rposition(|text| !text.is_empty()).unwrap_or_default();
                texts[..=last].iter().for_each(|text| element("text", text, out));
                close("org", out);
            }
        }
        _ => {}
    }
}

/// All parts have to be there (RFC 6351 appendix A); nothing where all are empty.
fn write_parts(name: &str, parts: &[(&str, &str)], types: Option<&Child<'_>>, old: &Child<'_>, out: &mut Vec<u8>) {
    let texts: Vec<String> = parts.iter().map(|(part, _)| text_of(old, part, ns::VCARD)).collect();
    if texts.iter().all(String::is_empty) {
        return;
    }
    open(name, out);
    if let Some(typed) = types {
        write_types(typed, out);
    }
    for ((_, part), text) in parts.iter().zip(&texts) {
        element(part, text, out);
    }
    close(name, out);
}

fn write_types(old: &Child<'_>, out: &mut Vec<u8>) {
    let has = |name: &str| old.child(name, ns::VCARD).is_some();
    let types: Vec<&str> = TYPES
        .iter()
        .filter(|(name, _)| has(name))
        .map(|(_, new)| *new)
        .collect();
    if types.is_empty() && !has("PREF") {
        return;
    }
    open("parameters", out);
    if !types.is_empty() {
        open("type", out);
        types.iter().for_each(|kind| element("text", kind, out));
        close("type", out);
    }
    if has("PREF") {
        open("pref", out);
        element("integer", "1", out);
        close("pref", out);
    }
    close("parameters", out);
}

/// The other way round.
pub(crate) fn to_old(vcard: &str) -> String {
    let written = avatar::read(vcard, |element| {
        let mut out = Vec::new();
        element
            .children()
            .filter(is_mapped_new)
            .for_each(|new| write_old(&new, &mut out));
        out
    });
    string(written.unwrap_or_default())
}

fn write_old(new: &Child<'_>, out: &mut Vec<u8>) {
    let value = value_of(new);
    if let Some((old, _)) = TEXTS.iter().find(|(_, name)| *name == new.name()) {
        return element(old, &value, out);
    }
    let parts = |name: &str, parts: &[(&str, &str)], out: &mut Vec<u8>| {
        open(name, out);
        write_old_types(new, out);
        for (old, part) in parts {
            element(old, &text_of(new, part, NS), out);
        }
        close(name, out);
    };
    match new.name() {
        "n" => parts("N", NAME, out),
        "adr" => parts("ADR", ADDRESS, out),
        "bday" => element("BDAY", &value, out),
        "url" => element("URL", &value, out),
        "impp" => element("JABBERID", value.strip_prefix("xmpp:").unwrap_or(&value), out),
        "tel" | "email" => {
            let (name, part) = if new.name() == "tel" {
                ("TEL", "NUMBER")
            } else {
                ("EMAIL", "USERID")
            };
            open(name, out);
            write_old_types(new, out);
            element(part, value.strip_prefix("tel:").unwrap_or(&value), out);
            close(name, out);
        }
        "org" => {
            open("ORG", out);
            let texts = new.children().filter(|child| child.is("text", NS));
            for (at, text) in texts.enumerate() {
                let name = if at == 0 { "ORGNAME" } else { "ORGUNIT" };
                element(name, text.text().trim_ascii(), out);
            }
            close("ORG", out);
        }
        _ => {}
    }
}

fn write_old_types(new: &Child<'_>, out: &mut Vec<u8>) {
    let Some(parameters) = new.child("parameters", NS) else {
        return;
    };
    let types = parameters.children().filter(|child| child.is("type", NS));
    let types: Vec<String> = types
        .flat_map(|types| {
            types
                .children()
                .map(|text| text.text().trim_ascii().to_ascii_lowercase())
        })
        .collect();
    for (old, name) in TYPES {
        if types.iter().any(|kind| kind == name) {
            out.extend_from_slice(format!("<{old}/>").as_bytes());
        }
    }
    if parameters.child("pref", NS).is_some() {
        out.extend_from_slice(b"<PREF/>");
    }
}

/// What of an old vCard only it has.
pub(crate) fn old_alone(vcard: &str) -> String {
    alone(vcard, is_mapped).unwrap_or_else(|| vcard.into())
}

/// The element without these children. None: it cannot be read.
fn alone(vcard: &str, is_out: impl Fn(&Child<'_>) -> bool) -> Option<String> {
    avatar::read(vcard, |element| {
        let (inner, span) = (element.inner(), element.inner_span());
        let (mut out, mut kept) = (String::from(&vcard[..span.start]), 0);
        for child in element.children().filter(|child| is_out(child)) {
            out.push_str(&inner[kept..child.span().start]);
            kept = child.span().end;
        }
        out.push_str(&inner[kept..]);
        out.push_str(&vcard[span.end..]);
        out
    })
}

/// Whether there is anything in it.
fn has_children(vcard: &str) -> bool {
    avatar::read(vcard, |element| element.children().next().is_some()) == Some(true)
}

/// What follows at the node from an old vCard that was set. `item`: what is there, with its id.
pub(crate) fn acts(vcard: &str, item: Option<(&str, &str)>) -> Vec<Act> {
    let id = id_of(vcard);
    if item.is_some_and(|(before, _)| *before == *id) {
        return Vec::new();
    }
    let own = item.and_then(|(_, payload)| {
        avatar::read(payload, |element| {
            let mut out = String::new();
            let own = element.children().filter(|child| !is_mapped_new(child));
            own.for_each(|child| child.write_canonical(NS, &mut out));
            out
        })
    });
    let inner = to_new(vcard) + &own.unwrap_or_default();
    let mut acts = Vec::new();
    if !inner.is_empty() {
        acts.push(Act::Publish {
            node: NODE.into(),
            id: id.into(),
            payload: format!("<vcard xmlns='{NS}'>{inner}</vcard>"),
            made: PUBLIC,
        });
    }
    acts.extend(item.map(|(before, _)| Act::Retract {
        node: NODE.into(),
        id: before.into(),
    }));
    acts
}

/// A client has published the new one, or taken it away: what both know is the new one's.
fn follow(occasion: &Occasion, deeds: &[Deed], change: Change) -> Result<Step, StanzaError> {
    let published = deeds.iter().rev().find_map(|deed| match deed {
        Deed::Published { id, .. } => Some(id.clone()),
        _ => None,
    });
    if deeds.iter().all(|deed| matches!(deed, Deed::Configured { .. })) {
        return Ok(Step::Done(change));
    }
    let context = Context::of(occasion);
    let owner = context.owner.as_str();
    let mut queries = vec![Query::get(&VCARDS, owner, None)];
    queries.extend(look(owner, NODE));
    avatar::ask(queries, change, move |mut found, mut change| {
        let row = found
            .next()
            .map_or(Ok(None), store::Found::row)
            .map_err(|error| told(&error))?;
        let last = Looked::read(&context, NODE, &mut found)?.and_then(|looked| looked.last);
        let vcard = row.as_ref().and_then(|row| row.first()?.as_text());
        if let Some(vcard) = vcard {
            let id = id_of(vcard);
            let is_the_same = |other: &Option<Box<str>>| other.as_deref() == Some(&*id);
            let rest = old_alone(vcard);
            let owner = context.owner.as_str();
            if !is_the_same(&published) && !is_the_same(&last) && rest != *vcard {
                change.batch = if has_children(&rest) {
                    change.batch.put(&VCARDS, owner, None, row![rest])
                } else {
                    change.batch.delete(&VCARDS, owner, None)
                };
            }
        }
        Ok(Step::Done(change))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old(inner: &str) -> String {
        format!("<vCard xmlns='vcard-temp'>{inner}</vCard>")
    }

    fn new(inner: &str) -> String {
        format!("<vcard xmlns='{NS}'>{inner}</vcard>")
    }

    /// There and back.
    #[test]
    fn properties_that_both_know() {
        for (before, after) in [
            ("<FN>Peter &amp; Co</FN>", "<fn><text>Peter &amp; Co</text></fn>"),
            (
                "<TITLE>Executive Director</TITLE>",
                "<title><text>Executive Director</text></title>",
            ),
            ("<ROLE>Patron Saint</ROLE>", "<role><text>Patron Saint</text></role>"),
            ("<DESC>More</DESC>", "<note><text>More</text></note>"),
            ("<BDAY>1966-08-06</BDAY>", "<bday><date>1966-08-06</date></bday>"),
            ("<BDAY>in summer</BDAY>", "<bday><text>in summer</text></bday>"),
            (
                "<URL>https://stpeter.im/?a=b&amp;c</URL>",
                "<url><uri>https://stpeter.im/?a=b&amp;c</uri></url>",
            ),
            ("<JABBERID>a@b</JABBERID>", "<impp><uri>xmpp:a@b</uri></impp>"),
            (
                "<N><FAMILY>Saint-Andre</FAMILY><GIVEN>Peter</GIVEN><MIDDLE></MIDDLE><PREFIX></PREFIX><SUFFIX></SUFFIX></N>",
                "<n><surname>Saint-Andre</surname><given>Peter</given><additional></additional><prefix></prefix>\
                 <suffix></suffix></n>",
            ),
            (
                "<ADR><WORK/><PREF/><POBOX></POBOX><EXTADD>Suite 600</EXTADD><STREET>1899 Wynkoop</STREET>\
                 <LOCALITY>Denver</LOCALITY><REGION>CO</REGION><PCODE>80202</PCODE><CTRY>USA</CTRY></ADR>",
                "<adr><parameters><type><text>work</text></type><pref><integer>1</integer></pref></parameters>\
                 <pobox></pobox><ext>Suite 600</ext><street>1899 Wynkoop</street><locality>Denver</locality>\
                 <region>CO</region><code>80202</code><country>USA</country></adr>",
            ),
            (
                "<TEL><HOME/><CELL/><NUMBER>+1-303-308-3282</NUMBER></TEL>",
                "<tel><parameters><type><text>home</text><text>cell</text></type></parameters>\
                 <uri>tel:+1-303-308-3282</uri></tel>",
            ),
            (
                "<TEL><NUMBER>303 308 #1</NUMBER></TEL>",
                "<tel><text>303 308 #1</text></tel>",
            ),
            (
                "<EMAIL><PREF/><USERID>a@b</USERID></EMAIL>",
                "<email><parameters><pref><integer>1</integer></pref></parameters><text>a@b</text></email>",
            ),
            (
                "<ORG><ORGNAME>XSF</ORGNAME><ORGUNIT>Council</ORGUNIT></ORG>",
                "<org><text>XSF</text><text>Council</text></org>",
            ),
        ] {
            assert_eq!(to_new(&old(before)), after);
            assert_eq!(to_old(&new(after)), before);
            assert_eq!(old_alone(&old(before)), old(""));
        }
        // What is empty, and what only one knows.
        let nothing = "<FN/><N><MIDDLE/></N><ADR><HOME/></ADR><TEL><FAX/><NUMBER/></TEL><EMAIL/><ORG><ORGUNIT/></ORG>\
            <JABBERID/><GEO><LAT>1</LAT></GEO><x xmlns='urn:x'>a</x>";
        assert_eq!(to_new(&old(nothing)), "");
        assert_eq!(
            old_alone(&old(nothing)),
            old("<GEO><LAT>1</LAT></GEO><x xmlns='urn:x'>a</x>")
        );
        assert_eq!(
            to_old(&new("<lang/><impp><uri>sip:a@b</uri></impp><fn xmlns='urn:x'/>")),
            ""
        );
        assert_eq!(
            to_new(&old("<TEL><MSG/><WORK/><NUMBER>1</NUMBER></TEL>")),
            "<tel><parameters><type><text>work</text></type></parameters><uri>tel:1</uri></tel>"
        );
        assert_eq!(to_new(&old("<NOTE>a</NOTE>")), "<note><text>a</text></note>");
    }

    #[test]
    fn what_follows_at_the_node() {
        let card = old("<FN>J</FN>");
        let id = id_of(&card);
        let publish = |inner: &str| Act::Publish {
            node: NODE.into(),
            id: id.as_str().into(),
            payload: new(inner),
            made: PUBLIC,
        };
        let retract = |id: &str| Act::Retract {
            node: NODE.into(),
            id: id.into(),
        };
        let (fn_j, lang) = (
            "<fn><text>J</text></fn>",
            "<lang><language-tag>en</language-tag></lang>",
        );
        assert_eq!(acts(&card, None), [publish(fn_j)]);
        assert_eq!(acts(&card, Some((&id, "<x/>"))), []);
        let before = new(&format!(
            "<fn><text>old</text></fn>{lang}<impp><uri>xmpp:a@b</uri></impp>"
        ));
        assert_eq!(
            acts(&card, Some(("1", &before))),
            [publish(&format!("{fn_j}{lang}")), retract("1")]
        );
        let empty = old("");
        assert_eq!(acts(&empty, None), []);
        assert_eq!(acts(&empty, Some(("1", &new(fn_j)))), [retract("1")]);
    }
}
