//! A first-level element as it came, and patterns to compare it with.

use std::fmt;
use std::ops::Deref;

use minidom::Element;

use crate::remote::NS_DIALBACK;

/// Of the root and of features and errors of a stream.
pub const NS_STREAM: &str = "http://etherx.jabber.org/streams";
/// Of the conditions of stream errors.
pub const NS_STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Of the conditions of stanza errors.
pub const NS_STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

/// An element that came, with its bytes. What can be asked of it is what [`minidom::Element`] can be asked.
#[derive(Clone)]
pub struct Stanza {
    raw: String,
    element: Element,
}

impl Deref for Stanza {
    type Target = Element;

    fn deref(&self) -> &Element {
        &self.element
    }
}

impl fmt::Debug for Stanza {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.raw)
    }
}

/// Reads an element as one of a client's stream: with its default namespace, and the prefix `stream`. One of a server's
/// stream is read as if it were one too, beside the prefix `db`.
fn parse(text: &str) -> Result<Element, String> {
    let whole = format!("<w xmlns='jabber:client' xmlns:stream='{NS_STREAM}' xmlns:db='{NS_DIALBACK}'>{text}</w>");
    let whole: Element = whole
        .parse()
        .map_err(|error| format!("not an element: {error}: {text}"))?;
    whole
        .children()
        .next()
        .cloned()
        .ok_or_else(|| format!("not an element: {text}"))
}

impl Stanza {
    pub(crate) fn parse(raw: String) -> Result<Stanza, String> {
        let element = parse(&raw)?;
        Ok(Stanza { raw, element })
    }

    /// An element that stood inside another.
    pub(crate) fn of(element: &Element) -> Stanza {
        Stanza {
            raw: String::from(element),
            element: element.clone(),
        }
    }

    /// The bytes as they came; of an inner element, as they are written by this kit.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// An attribute, empty where it is not there.
    pub fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.attr(name).unwrap_or_default()
    }

    pub fn lang(&self) -> Option<&str> {
        self.attr_ns(rxml::Namespace::xml(), "lang")
    }

    /// Type and condition of a stanza error.
    pub fn error(&self) -> Option<(String, String)> {
        if self.attr("type") != Some("error") {
            return None;
        }
        let error = self.get_child("error", "jabber:client")?;
        let condition = error
            .children()
            .find(|child| child.ns() == NS_STANZAS && child.name() != "text")?;
        Some((error.attr("type")?.to_owned(), condition.name().to_owned()))
    }

    /// The condition of a stream error or of a SASL failure.
    pub fn condition(&self) -> Option<&str> {
        self.children().map(Element::name).find(|name| *name != "text")
    }

    /// Why it does not match; see [`Stanza::matches`].
    pub fn mismatch(&self, pattern: &str) -> Option<String> {
        let pattern = parse(pattern).unwrap_or_else(|error| panic!("the pattern is wrong: {error}"));
        mismatch(&pattern, &self.element)
    }

    /// Whether it has what the pattern, an element, has: name and namespace; every attribute (`*`: any value; `-`:
    /// not there), and no `type` unless the pattern has one; every child, in any order; the text, where it has one.
    pub fn matches(&self, pattern: &str) -> bool {
        self.mismatch(pattern).is_none()
    }
}

fn mismatch(pattern: &Element, actual: &Element) -> Option<String> {
    if (pattern.name(), pattern.ns()) != (actual.name(), actual.ns()) {
        return Some(format!("<{} xmlns='{}'> expected", pattern.name(), pattern.ns()));
    }
    if pattern.attr("type").is_none() && actual.attr("type").is_some() && pattern.ns() == "jabber:client" {
        return Some(format!("no type expected in <{}>", pattern.name()));
    }
    for ((ns, name), wanted) in pattern.attrs() {
        let found = actual.attrs().get(ns, name).map(String::as_str);
        let fits = match wanted.as_str() {
            "*" => found.is_some(),
            "-" => found.is_none(),
            wanted => found == Some(wanted),
        };
        if !fits {
            return Some(format!("{name}={wanted:?} expected, {found:?} found"));
        }
    }
    let text = pattern.text();
    if !text.trim().is_empty() && text != actual.text() {
        return Some(format!(
            "text {text:?} expected in <{}>, {:?} found",
            pattern.name(),
            actual.text()
        ));
    }
    for child in pattern.children() {
        let mut reasons = actual.children().map(|found| mismatch(child, found));
        if !reasons.any(|reason| reason.is_none()) {
            let likely = actual.children().find(|found| found.name() == child.name());
            let why = likely
                .and_then(|found| mismatch(child, found))
                .unwrap_or_else(|| "not there".to_owned());
            return Some(format!("child <{}>: {why}", child.name()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |actual: &str, pattern: &str, fits: bool| {
            let actual = Stanza::parse(actual.to_owned()).expect("an element");
            assert_eq!(actual.matches(pattern), fits, "{actual:?} {pattern}");
        };
        check(
            "<message to='a' from='b'><body>x</body></message>",
            "<message to='a'/>",
            true,
        );
        check("<message to='a'/>", "<message to='b'/>", false);
        check("<message to='a'/>", "<message from='*'/>", false);
        check("<message to='a'/>", "<message to='*' from='-'/>", true);
        check("<message to='a'/>", "<message to='-'/>", false);
        check("<presence type='x'/>", "<presence/>", false);
        check("<iq type='result'/>", "<iq type='result'/>", true);
        check("<iq><a xmlns='n' type='t'/></iq>", "<iq><a xmlns='n'/></iq>", true);
        check("<iq><a xmlns='n'/></iq>", "<iq><a xmlns='m'/></iq>", false);
        check("<iq><a xmlns='n'>y</a></iq>", "<iq><a xmlns='n'>z</a></iq>", false);
        check("<iq/>", "<message/>", false);
        check("<stream:error/>", "<stream:error/>", true);
    }

    #[test]
    fn errors() {
        let raw = format!("<iq type='error'><error type='cancel'><gone xmlns='{NS_STANZAS}'/></error></iq>");
        let stanza = Stanza::parse(raw).expect("an element");
        assert_eq!(stanza.error(), Some(("cancel".to_owned(), "gone".to_owned())));
        let none = Stanza::parse("<iq type='result'/>".to_owned()).expect("an element");
        assert_eq!(none.error(), None);
    }
}
