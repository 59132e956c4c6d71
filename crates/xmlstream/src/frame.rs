//! Where a long element that arrives in pieces ends: looks at each byte once.
//!
//! The strict pass always begins at the start, so running it on every piece would make a dribbled stanza quadratic.
//! Short input is cheap enough for that; beyond [`EAGER`] bytes this lexer decides when another strict pass is worth
//! while: at the end of the element, at anything certainly wrong, and whenever the input has doubled. It knows just
//! enough of XML to find the end of what is well-formed; what is not, the strict pass refuses.

use crate::limits::{Limits, MAX_DEPTH, XmlError};
use crate::scan::Kind;

/// Up to this many bytes the strict pass runs on whatever has come. One byte at a time that is 2 MiB of scanning.
pub(crate) const EAGER: usize = 2048;

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Lex {
    #[default]
    Text,
    /// Behind `<`.
    Lt,
    Tag,
    /// Behind a `/` in a start tag.
    Slash,
    Apos,
    Quot,
    End,
    /// Behind `<!` and that many more bytes of `<![CDATA[`.
    Bang(u8),
    Cdata,
    /// Behind `]` and `]]`.
    Cdata1,
    Cdata2,
}

/// State of an element that has not ended yet.
#[derive(Default)]
pub(crate) struct Frame {
    /// Bytes looked at.
    at: u32,
    /// Bytes known to be whole UTF-8 characters.
    utf8: u32,
    /// Length of the input when the strict pass last ran.
    checked: u32,
    depth: u32,
    elements: u32,
    lex: Lex,
}

enum Found {
    More,
    End,
    Bad(XmlError),
}

pub(crate) enum Verdict {
    /// Nothing to gain from the strict pass yet.
    Wait,
    /// Run the strict pass. Should it ask for more, then the answer is this error, if any.
    Check(Option<XmlError>),
}

impl Frame {
    /// Whether to run the strict pass on `input`, which begins with the element and is longer than the last time.
    pub(crate) fn verdict(&mut self, input: &[u8], kind: Kind, limits: &Limits) -> Verdict {
        if input.len() <= EAGER || input.len() > limits.bytes || self.checked == 0 {
            self.checked = if input.len() <= EAGER { 0 } else { input.len() as u32 };
            return Verdict::Check(None);
        }
        match self.advance(input, kind, limits) {
            Found::Bad(error) => Verdict::Check(Some(error)),
            // The strict pass does not ask for more where this lexer sees the end.
            Found::End => Verdict::Check(Some(XmlError::NotWellFormed)),
            Found::More if input.len() / 2 >= self.checked as usize => {
                self.checked = input.len() as u32;
                Verdict::Check(None)
            }
            Found::More => Verdict::Wait,
        }
    }

    fn advance(&mut self, input: &[u8], kind: Kind, limits: &Limits) -> Found {
        let found = self.lex(input, kind, limits);
        if !matches!(found, Found::More) {
            return found;
        }
        match std::str::from_utf8(&input[self.utf8 as usize..]) {
            Ok(_) => self.utf8 = input.len() as u32,
            Err(e) if e.error_len().is_none() => self.utf8 += e.valid_up_to() as u32,
            Err(_) => return Found::Bad(XmlError::NotWellFormed),
        }
        found
    }

    fn lex(&mut self, input: &[u8], kind: Kind, limits: &Limits) -> Found {
        const OPENING: &[u8] = b"[CDATA[";
        let mut i = self.at as usize;
        self.at = input.len() as u32;
        while i < input.len() {
            // Jump to the next byte that matters here.
            let rest = &input[i..];
            let jump = match self.lex {
                Lex::Text => memchr::memchr(b'<', rest),
                Lex::Tag => memchr::memchr3(b'>', b'\'', b'"', rest).map(|n| match rest[..n].last() {
                    Some(b'/') => n - 1,
                    _ => n,
                }),
                Lex::Apos => memchr::memchr(b'\'', rest),
                Lex::Quot => memchr::memchr(b'"', rest),
                Lex::End => memchr::memchr(b'>', rest),
                Lex::Cdata => memchr::memchr(b']', rest),
                _ => Some(0),
            };
            let Some(jump) = jump else {
                // A slash at the very end may belong to `/>`.
                if self.lex == Lex::Tag && rest.last() == Some(&b'/') {
                    self.lex = Lex::Slash;
                }
                return Found::More;
            };
            i += jump;
            let c = input[i];
            i += 1;
            self.lex = match (self.lex, c) {
                (Lex::Text, _) => Lex::Lt,
                (Lex::Lt, b'/') => Lex::End,
                (Lex::Lt, b'!') => Lex::Bang(0),
                (Lex::Lt, b'?') => return Found::Bad(XmlError::RestrictedXml),
                (Lex::Lt, _) => {
                    self.depth += 1;
                    self.elements += 1;
                    if self.depth as usize > limits.depth.min(MAX_DEPTH) {
                        return Found::Bad(XmlError::TooDeep);
                    }
                    if self.elements as usize > limits.elements {
                        return Found::Bad(XmlError::TooManyElements);
                    }
                    // The byte may already be the `>` or the `/` of a tag without a name; the strict pass refuses it.
                    Lex::Tag
                }
                (Lex::Tag | Lex::Slash, b'\'') => Lex::Apos,
                (Lex::Tag | Lex::Slash, b'"') => Lex::Quot,
                (Lex::Tag | Lex::Slash, b'/') => Lex::Slash,
                (Lex::Tag, b'>') if kind == Kind::Header => return Found::End,
                (Lex::Tag, b'>') => Lex::Text,
                (Lex::Slash, b'>') => {
                    self.depth -= 1;
                    Lex::Text
                }
                (Lex::Apos | Lex::Quot | Lex::Tag | Lex::Slash, _) => Lex::Tag,
                (Lex::End, _) => {
                    self.depth = self.depth.saturating_sub(1);
                    Lex::Text
                }
                (Lex::Bang(n), c) if c == OPENING[n as usize] => {
                    if n as usize + 1 == OPENING.len() {
                        Lex::Cdata
                    } else {
                        Lex::Bang(n + 1)
                    }
                }
                (Lex::Bang(_), _) => return Found::Bad(XmlError::RestrictedXml),
                (Lex::Cdata, _) => Lex::Cdata1,
                (Lex::Cdata1, b']') => Lex::Cdata2,
                (Lex::Cdata2, b']') => Lex::Cdata2,
                (Lex::Cdata2, b'>') => Lex::Text,
                (Lex::Cdata1 | Lex::Cdata2, _) => Lex::Cdata,
            };
            if self.depth == 0 && self.lex == Lex::Text {
                return Found::End;
            }
        }
        Found::More
    }
}
