//! Result Set Management (XEP-0059 1.0): a long answer page by page. A page is found by the id of its neighbour, not by
//! its index, which would mean to count everything before it.

use xmlstream::Child;

use crate::error::StanzaError;
use crate::ns;

/// Which page is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// At most so many items; 0 asks for their number alone (section 2.7). A number that does not fit is the largest.
    pub max: Option<usize>,
    /// The page ends before this item; an empty one asks for the last page (section 2.5).
    pub before: Option<String>,
    /// The page begins behind this item.
    pub after: Option<String>,
}

impl Request {
    /// Reads the `<set/>` in this element; there may be none.
    pub fn of(parent: &Child<'_>) -> Result<Request, StanzaError> {
        let mut request = Request::default();
        let Some(set) = parent.child("set", ns::RSM) else {
            return Ok(request);
        };
        for child in set.children().filter(|child| child.ns() == ns::RSM) {
            match child.name() {
                "max" => request.max = Some(number(child.text().trim_ascii())?),
                "before" => request.before = Some(child.text().into_owned()),
                // Section 2.2: without an id, before the first.
                "after" => request.after = Some(child.text().into_owned()).filter(|id| !id.is_empty()),
                "index" => return Err(StanzaError::feature_not_implemented().text("no pages by index")),
                _ => {}
            }
        }
        Ok(request)
    }
}

fn number(text: &str) -> Result<usize, StanzaError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(StanzaError::bad_request().text("<max/> is not a number"));
    }
    Ok(text.parse().unwrap_or(usize::MAX))
}

/// The page that is returned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Ids of the first and the last item; none on an empty page.
    pub ends: Option<(String, String)>,
    /// How many there are in all, where that is known.
    pub count: Option<u64>,
}

impl Set {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("<set xmlns='{}'", ns::RSM).as_bytes());
        if *self == Set::default() {
            out.extend_from_slice(b"/>");
            return;
        }
        out.push(b'>');
        if let Some((first, last)) = &self.ends {
            for (name, id) in [("first", first), ("last", last)] {
                out.extend_from_slice(format!("<{name}>").as_bytes());
                xmlstream::escape_text(out, id);
                out.extend_from_slice(format!("</{name}>").as_bytes());
            }
        }
        if let Some(count) = self.count {
            out.extend_from_slice(format!("<count>{count}</count>").as_bytes());
        }
        out.extend_from_slice(b"</set>");
    }
}

#[cfg(test)]
mod tests {
    use xmlstream::{Limits, Scratch, parse_element};

    use super::*;

    fn read(set: &str) -> Result<Request, StanzaError> {
        let xml = format!("<iq><query xmlns='urn:x'>{set}</query></iq>");
        let mut scratch = Scratch::default();
        let iq = parse_element(&xml, ns::CLIENT, &mut scratch, &Limits::default()).expect("XML");
        Request::of(&iq.children().next().expect("a query"))
    }

    #[test]
    fn requests() {
        let check = |set: &str, max: Option<usize>, before: Option<&str>, after: Option<&str>| {
            let set = format!("<set xmlns='http://jabber.org/protocol/rsm'>{set}</set>");
            let expected = Request {
                max,
                before: before.map(str::to_owned),
                after: after.map(str::to_owned),
            };
            assert_eq!(read(&set), Ok(expected), "{set}");
        };
        assert_eq!(read(""), Ok(Request::default()));
        assert_eq!(read("<set xmlns='urn:y'><max>x</max></set>"), Ok(Request::default()));
        check("", None, None, None);
        check("<max>10</max>", Some(10), None, None);
        check("<max> 0\n</max>", Some(0), None, None);
        check("<max>99999999999999999999999</max>", Some(usize::MAX), None, None);
        check("<before/><max>10</max>", Some(10), Some(""), None);
        check("<before>a&amp;b</before>", None, Some("a&b"), None);
        check(
            "<after>peterpan@neverland.lit</after>",
            None,
            None,
            Some("peterpan@neverland.lit"),
        );
        check("<after/>", None, None, None);
        check("<max xmlns='urn:x'>x</max><other/>", None, None, None);
    }

    #[test]
    fn what_is_no_request() {
        for max in ["", "x", "-1", "1.5", "+1"] {
            let error = read(&format!(
                "<set xmlns='http://jabber.org/protocol/rsm'><max>{max}</max></set>"
            ));
            assert_eq!(
                error.map_err(|error| error.condition.name()),
                Err("bad-request"),
                "{max}"
            );
        }
        let error = read("<set xmlns='http://jabber.org/protocol/rsm'><max>10</max><index>371</index></set>");
        assert_eq!(
            error.map_err(|error| error.condition.name()),
            Err("feature-not-implemented")
        );
    }

    #[test]
    fn pages() {
        let check = |ends: Option<(&str, &str)>, count: Option<u64>, content: &str| {
            let mut out = Vec::new();
            let ends = ends.map(|(first, last)| (first.to_owned(), last.to_owned()));
            Set { ends, count }.write(&mut out);
            let expected = format!("<set xmlns='http://jabber.org/protocol/rsm'{content}");
            assert_eq!(String::from_utf8_lossy(&out), expected);
        };
        check(None, None, "/>");
        check(None, Some(790), "><count>790</count></set>");
        check(
            Some(("stpeter@jabber.org", "<")),
            Some(800),
            "><first>stpeter@jabber.org</first><last>&lt;</last><count>800</count></set>",
        );
    }
}
