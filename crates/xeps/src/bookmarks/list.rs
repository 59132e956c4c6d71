//! The list of bookmarks in its two forms: items of XEP-0402, and one `<storage/>` of XEP-0048.
//!
//! The old form can say more than the new one: addresses of web pages, and whatever clients have put into it. What is not
//! said in the new form stays where it is in the old one.

use stanza::{Jid, ns};
use xmlstream::{Child, Limits, Scratch, escape_attr, escape_text, parse_element};

/// The namespace of nothing: who writes an element for it has it say its own.
const NOWHERE: &str = "-";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bookmark {
    /// As it was written.
    pub(super) jid: String,
    /// See [`key`].
    pub(super) key: String,
    name: Option<String>,
    autojoin: bool,
    nick: Option<String>,
    password: Option<String>,
    /// Children of `<extensions/>`, each an element that stands on its own. None: there is no such element.
    extensions: Option<Vec<String>>,
    /// Other children, that only the old form has.
    rest: Vec<String>,
}

/// A `<storage/>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct List {
    pub(super) bookmarks: Vec<Bookmark>,
    /// What is no bookmark of a room.
    others: Vec<String>,
}

/// The address of a room in its one spelling, where it is one.
fn key(jid: &str) -> String {
    Jid::parse(jid).map_or_else(|_| jid.to_owned(), |jid| jid.as_str().to_owned())
}

fn alone(element: &Child<'_>) -> String {
    let mut text = String::new();
    element.write_canonical(NOWHERE, &mut text);
    text
}

/// What stands in an element that was stored: it was checked when it came.
fn read<T>(text: &str, read: impl FnOnce(&[Child<'_>], &xmlstream::Element<'_>) -> T) -> Option<T> {
    let mut scratch = Scratch::default();
    let element = parse_element(text, NOWHERE, &mut scratch, &Limits::default()).ok()?;
    let children: Vec<Child<'_>> = element.children().collect();
    Some(read(&children, &element))
}

impl Bookmark {
    /// The payload of an item; none where it is something else.
    pub(super) fn of_item(id: &str, payload: &str) -> Option<Bookmark> {
        let read = read(payload, |children, element| {
            if (element.name(), element.ns()) != ("conference", ns::BOOKMARKS) {
                return None;
            }
            let attr = |name: &str| element.attr(name).map(|value| value.into_owned());
            let mut bookmark = Bookmark::of(id, attr("name"), attr("autojoin"), children, ns::BOOKMARKS);
            bookmark.rest.clear();
            Some(bookmark)
        });
        read.flatten()
    }

    fn of(
        jid: &str,
        name: Option<String>,
        autojoin: Option<String>,
        children: &[Child<'_>],
        namespace: &str,
    ) -> Bookmark {
        let mut bookmark = Bookmark {
            jid: jid.into(),
            key: key(jid),
            name,
            autojoin: matches!(autojoin.as_deref(), Some("1" | "true")),
            ..Bookmark::default()
        };
        for child in children {
            let is_ours = child.ns() == namespace;
            match child.name() {
                "nick" if is_ours => bookmark.nick = Some(child.text().into_owned()),
                "password" if is_ours => bookmark.password = Some(child.text().into_owned()),
                "extensions" if is_ours => {
                    bookmark.extensions = Some(child.children().map(|child| alone(&child)).collect());
                }
                _ => bookmark.rest.push(alone(child)),
            }
        }
        bookmark
    }

    /// Section 5.3: `<conference/>` of XEP-0402.
    pub(super) fn item(&self) -> String {
        let mut out = format!("<conference xmlns='{}'", ns::BOOKMARKS).into_bytes();
        self.write_inside(&mut out, &[]);
        string(out)
    }

    /// Behind the start of the tag.
    fn write_inside(&self, out: &mut Vec<u8>, rest: &[String]) {
        if let Some(name) = &self.name {
            attribute("name", name, out);
        }
        if self.autojoin {
            attribute("autojoin", "true", out);
        }
        out.push(b'>');
        for (name, text) in [("nick", &self.nick), ("password", &self.password)] {
            if let Some(text) = text {
                out.extend_from_slice(format!("<{name}>").as_bytes());
                escape_text(out, text);
                out.extend_from_slice(format!("</{name}>").as_bytes());
            }
        }
        if let Some(extensions) = &self.extensions {
            out.extend_from_slice(format!("<extensions>{}</extensions>", extensions.concat()).as_bytes());
        }
        out.extend_from_slice(rest.concat().as_bytes());
        out.extend_from_slice(b"</conference>");
    }

    /// The same bookmark, written by somebody who does not know of extensions: they stay (section 3.4).
    pub(super) fn with_extensions_of(mut self, before: &Bookmark) -> Bookmark {
        if self.extensions.is_none() {
            self.extensions.clone_from(&before.extensions);
        }
        self
    }

    /// Whether both say the same in the form of XEP-0402.
    pub(super) fn is_same_item(&self, other: &Bookmark) -> bool {
        let told = |bookmark: &Bookmark| Bookmark {
            jid: String::new(),
            key: String::new(),
            rest: Vec::new(),
            ..bookmark.clone()
        };
        told(self) == told(other)
    }
}

impl List {
    /// None where it is no `<storage/>`. Of several bookmarks of one room the first counts.
    pub(super) fn of_storage(text: &str) -> Option<List> {
        let read = read(text, |children, element| {
            if (element.name(), element.ns()) != ("storage", ns::BOOKMARKS_STORAGE) {
                return None;
            }
            let mut list = List::default();
            for child in children {
                let jid = child.attr("jid").filter(|jid| !jid.is_empty());
                let jid = jid.filter(|jid| jid.len() <= pubsub::MAX_ITEM_ID);
                match jid {
                    Some(jid) if child.is("conference", ns::BOOKMARKS_STORAGE) => {
                        let attr = |name: &str| child.attr(name).map(|value| value.into_owned());
                        let inside: Vec<Child<'_>> = child.children().collect();
                        let (name, autojoin) = (attr("name"), attr("autojoin"));
                        let read = Bookmark::of(&jid, name, autojoin, &inside, ns::BOOKMARKS_STORAGE);
                        if list.find(&read.key).is_none() {
                            list.bookmarks.push(read);
                        }
                    }
                    _ => list.others.push(alone(child)),
                }
            }
            Some(list)
        });
        read.flatten()
    }

    pub(super) fn storage(&self) -> String {
        let mut out = format!("<storage xmlns='{}'>", ns::BOOKMARKS_STORAGE).into_bytes();
        for bookmark in &self.bookmarks {
            out.extend_from_slice(b"<conference");
            attribute("jid", &bookmark.jid, &mut out);
            bookmark.write_inside(&mut out, &bookmark.rest);
        }
        out.extend_from_slice(self.others.concat().as_bytes());
        out.extend_from_slice(b"</storage>");
        string(out)
    }

    pub(super) fn find(&self, key: &str) -> Option<&Bookmark> {
        self.bookmarks.iter().find(|bookmark| bookmark.key == key)
    }

    /// The list with these bookmarks and no others, in its own order, new ones at the end. What only the old form has stays.
    pub(super) fn with(&self, items: &[Bookmark]) -> List {
        let place = |item: &Bookmark| self.bookmarks.iter().position(|before| before.key == item.key);
        let mut ordered: Vec<(usize, &Bookmark)> = items
            .iter()
            .map(|item| (place(item).unwrap_or(usize::MAX), item))
            .collect();
        ordered.sort_by_key(|(at, _)| *at);
        let bookmarks = ordered.into_iter().map(|(at, item)| Bookmark {
            rest: self
                .bookmarks
                .get(at)
                .map(|before| before.rest.clone())
                .unwrap_or_default(),
            ..item.clone()
        });
        List {
            bookmarks: bookmarks.collect(),
            others: self.others.clone(),
        }
    }

    /// Both lists: what only the other has comes behind.
    pub(super) fn and(mut self, other: List) -> List {
        for bookmark in other.bookmarks {
            if self.find(&bookmark.key).is_none() {
                self.bookmarks.push(bookmark);
            }
        }
        for text in other.others {
            if !self.others.contains(&text) {
                self.others.push(text);
            }
        }
        self
    }
}

fn attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(" {name}='").as_bytes());
    escape_attr(out, value);
    out.push(b'\'');
}

/// Escaping text yields text.
fn string(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(inner: &str) -> String {
        format!("<storage xmlns='storage:bookmarks'>{inner}</storage>")
    }

    fn list(inner: &str) -> List {
        List::of_storage(&storage(inner)).expect("a list")
    }

    #[test]
    fn both_forms_say_the_same() {
        let check = |old: &str, new: &str| {
            let list = list(old);
            let [bookmark] = &list.bookmarks[..] else {
                panic!("one bookmark: {list:?}")
            };
            assert_eq!(
                bookmark.item(),
                format!("<conference xmlns='urn:xmpp:bookmarks:1'{new}")
            );
            let back = Bookmark::of_item(&bookmark.jid, &bookmark.item()).expect("a bookmark");
            assert!(back.is_same_item(bookmark), "{back:?}");
        };
        check("<conference jid='r@c'/>", "></conference>");
        check(
            "<conference jid='r@c' autojoin='1' name='A &amp; &quot;B&apos;'><password>&lt;p&gt;</password><nick>n</nick></conference>",
            " name='A &amp; &quot;B&apos;' autojoin='true'><nick>n</nick><password>&lt;p&gt;</password></conference>",
        );
        check("<conference jid='r@c' autojoin='false'/>", "></conference>");
        check(
            "<conference jid='r@c'><extensions><a xmlns='u' b='c'>d</a><e xmlns=''/></extensions><print/></conference>",
            "><extensions><a xmlns='u' b='c'>d</a><e xmlns=''/></extensions></conference>",
        );
    }

    #[test]
    fn what_the_new_form_cannot_say_stays_in_the_old() {
        let old = "<url name='u' url='http://a'/><conference jid='R@c'><minimize xmlns='gajim'>1</minimize></conference><conference jid='b@c'/>";
        let old = list(old);
        let item = |id: &str, inner: &str| {
            let payload = format!("<conference xmlns='urn:xmpp:bookmarks:1' {inner}");
            Bookmark::of_item(id, &payload).expect("a bookmark")
        };
        let new = old.with(&[
            item("new@c", "/>"),
            item("r@c", "name='x'><nick>n</nick><other xmlns='o'/></conference>"),
        ]);
        assert_eq!(
            new.storage(),
            storage(
                "<conference jid='r@c' name='x'><nick>n</nick><minimize xmlns='gajim'>1</minimize></conference>\
                 <conference jid='new@c'></conference><url xmlns='storage:bookmarks' name='u' url='http://a'/>"
            )
        );
        assert_eq!(List::of_storage(&new.storage()), Some(new));
    }

    #[test]
    fn of_two_lists() {
        let one = list("<conference jid='a@c' name='1'/><url url='x'/>");
        let other = list("<conference jid='A@C' name='2'/><conference jid='b@c'/><url url='x'/><url url='y'/>");
        let both = one.and(other);
        let names: Vec<(&str, Option<&str>)> = both
            .bookmarks
            .iter()
            .map(|bookmark| (&*bookmark.jid, bookmark.name.as_deref()))
            .collect();
        assert_eq!(names, [("a@c", Some("1")), ("b@c", None)]);
        assert_eq!(both.others.len(), 2);
    }

    #[test]
    fn what_is_no_list() {
        for text in [
            "<storage xmlns='other'/>",
            "<a xmlns='storage:bookmarks'/>",
            "",
            "<storage",
        ] {
            assert_eq!(List::of_storage(text), None, "{text}");
        }
        for payload in [
            "<a xmlns='urn:xmpp:bookmarks:1'/>",
            "<conference xmlns='storage:bookmarks'/>",
            "",
        ] {
            assert_eq!(Bookmark::of_item("r@c", payload), None, "{payload}");
        }
        // Bookmarks without an address, and the second of one room, are none.
        let odd = list("<conference/><conference jid=''/><conference jid='a@b'/><conference jid='A@B' name='second'/>");
        assert_eq!(odd.bookmarks.len(), 1);
    }
}
