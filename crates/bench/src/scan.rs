//! Counts what a server sends without parsing it: only the depth of tags is followed.
//!
//! A generator that built a tree of every stanza would cost more than the server it measures. The price: it believes
//! that the server writes XML without comments or CDATA and with `>` escaped in attributes, which those measured do.

use memchr::{memchr, memchr2};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Between tags.
    Text,
    /// Behind `<`.
    Start,
    /// Inside a tag.
    Tag(Tag),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Open,
    Close,
    /// `<?xml ... ?>`.
    Declaration,
}

/// What came since the stream began. Feed it the bytes of one stream, header included; a restarted stream needs a new
/// one.
#[derive(Debug, Clone)]
pub(crate) struct Scanner {
    at: At,
    /// Elements that are open; the stream itself is the first.
    depth: u32,
    /// The first byte of the name of the element at depth 1.
    name: u8,
    /// The last byte before the present one, as `/>` may be cut in two.
    before: u8,
    /// The start tag of an `<a/>`, without its first two bytes.
    ack: Vec<u8>,
    pub messages: u64,
    pub presences: u64,
    pub iqs: u64,
    /// Complete elements of any kind below the stream.
    pub elements: u64,
    /// `<r/>` of stream management (XEP-0198 section 4).
    pub requests: u64,
    /// How many stanzas the last `<a h=''/>` acknowledges.
    pub acked: u64,
    /// `</stream:stream>` came.
    pub closed: bool,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Self {
            at: At::Text,
            depth: 0,
            name: 0,
            before: 0,
            ack: Vec::new(),
            messages: 0,
            presences: 0,
            iqs: 0,
            elements: 0,
            requests: 0,
            acked: 0,
            closed: false,
        }
    }

    /// For elements without a stream around them.
    pub(crate) fn inside() -> Self {
        Self {
            depth: 1,
            ..Self::new()
        }
    }

    /// Complete stanzas, which is what stream management counts.
    pub(crate) fn stanzas(&self) -> u64 {
        self.messages + self.presences + self.iqs
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            match self.at {
                At::Text => match memchr(b'<', bytes) {
                    Some(place) => {
                        bytes = &bytes[place + 1..];
                        self.at = At::Start;
                    }
                    None => return,
                },
                At::Start => {
                    // Not skipped: in `</a>` the slash is no end of an empty element, and `<a>` has no second byte.
                    let tag = match first {
                        b'/' => Tag::Close,
                        b'?' => Tag::Declaration,
                        _ => {
                            if self.depth == 1 {
                                self.name = first;
                                self.ack.clear();
                            }
                            Tag::Open
                        }
                    };
                    self.before = first;
                    bytes = &bytes[1..];
                    self.at = At::Tag(tag);
                }
                At::Tag(tag) => match memchr(b'>', bytes) {
                    Some(place) => {
                        let before = if place > 0 { bytes[place - 1] } else { self.before };
                        self.note(&bytes[..place]);
                        bytes = &bytes[place + 1..];
                        self.at = At::Text;
                        self.end_of(tag, before == b'/');
                    }
                    None => {
                        self.before = bytes[bytes.len() - 1];
                        self.note(bytes);
                        return;
                    }
                },
            }
        }
    }

    /// A part of a tag.
    fn note(&mut self, bytes: &[u8]) {
        if self.depth == 1 && self.name == b'a' {
            self.ack.extend_from_slice(bytes);
        }
    }

    fn end_of(&mut self, tag: Tag, empty: bool) {
        match tag {
            Tag::Declaration => {}
            Tag::Open if empty => {
                if self.depth == 1 {
                    self.count();
                }
            }
            Tag::Open => self.depth += 1,
            Tag::Close => {
                self.depth = self.depth.saturating_sub(1);
                match self.depth {
                    0 => self.closed = true,
                    1 => self.count(),
                    _ => {}
                }
            }
        }
    }

    fn count(&mut self) {
        self.elements += 1;
        match self.name {
            b'm' => self.messages += 1,
            b'p' => self.presences += 1,
            b'i' => self.iqs += 1,
            b'r' => self.requests += 1,
            b'a' => {
                let tag = std::str::from_utf8(&self.ack).unwrap_or_default();
                if let Some(h) = attribute(tag, "h").and_then(|h| h.parse().ok()) {
                    self.acked = h;
                }
            }
            _ => {}
        }
    }
}

/// The value of an attribute in a text that has few: `name='value'` or with double quotes.
pub(crate) fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let place = rest.find(name)?;
        let behind = &rest[place + name.len()..];
        let starts = place > 0 && rest.as_bytes()[place - 1] == b' ';
        if let (true, Some(quoted)) = (starts, behind.strip_prefix('=')) {
            let quote = quoted.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
            return quoted[1..].split(quote).next();
        }
        rest = behind;
    }
}

/// The text of the first element of this name, which has no children.
pub(crate) fn text_of<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find('<')? + 1..];
        let Some(behind) = rest.strip_prefix(name) else {
            continue;
        };
        if !behind.starts_with(['>', ' ', '/']) {
            continue;
        }
        let end = memchr2(b'>', b'<', behind.as_bytes())?;
        return behind[end + 1..].split('<').next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_whatever_the_cut() {
        let text = b"<?xml version='1.0'?><stream:stream a='b'><message a='b'><body>x &gt; y/</body><a/></message>\
            <presence/><iq id='1'><q><message><body/></message></q></iq> <message/>\n<r/><a xmlns='urn:xmpp:sm:3' h='7'/>\
            <a xmlns='urn:xmpp:sm:3' h=\"1234\"></a></stream:stream>";
        for cut in 1..=text.len() {
            let mut scanner = Scanner::new();
            for piece in text.chunks(cut) {
                scanner.feed(piece);
            }
            let Scanner {
                messages,
                presences,
                iqs,
                elements,
                requests,
                acked,
                closed,
                ..
            } = scanner;
            assert_eq!(
                (messages, presences, iqs, elements, requests, acked, closed),
                (2, 1, 1, 7, 1, 1234, true),
                "cut {cut}"
            );
        }
    }

    #[test]
    fn an_unfinished_stanza_does_not_count() {
        let mut scanner = Scanner::new();
        scanner.feed(b"<s><message><body>");
        assert_eq!((scanner.messages, scanner.closed), (0, false));
        scanner.feed(b"</body></message");
        assert_eq!(scanner.messages, 0);
        scanner.feed(b">");
        assert_eq!(scanner.messages, 1);
    }

    #[test]
    fn attributes_and_texts_are_found() {
        let text = "<x><challenge xmlns=\"urn:a\" id='7'>cGFzcw==</challenge><c/></x>";
        assert_eq!(attribute(text, "id"), Some("7"));
        assert_eq!(attribute(text, "xmlns"), Some("urn:a"));
        assert_eq!(attribute(text, "s"), None);
        assert_eq!(text_of(text, "challenge"), Some("cGFzcw=="));
        assert_eq!(text_of(text, "none"), None);
    }
}
