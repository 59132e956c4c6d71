//! Search filters (RFC 4515) with places for who is looked for.
//!
//! A filter is read once, when the configuration is, and who logs in is put into the value of an assertion, behind the
//! reading. So a name has nothing to escape from: no character of it can be taken for a part of the filter.

use std::str::FromStr;

use super::ber::{self, OCTETS, SEQUENCE, context, context_of_many};

/// What stands for the localpart of the account in a filter.
const USER: &str = "{user}";
/// What stands for the name of the entry that was found.
const DN: &str = "{dn}";
/// Filters in one another.
const DEPTH: usize = 16;

/// A filter as the configuration has it.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    node: Node,
}

#[derive(Clone, Debug)]
enum Node {
    /// `and`, `or`: their number in RFC 4511 section 4.5.1, and what they hold.
    Many(u8, Vec<Node>),
    Not(Box<Node>),
    Present(String),
    /// `=`, `~=`, `>=`, `<=`: likewise.
    Compared(u8, String, Value),
    Substrings(String, Vec<(u8, Value)>),
    Extensible {
        rule: Option<String>,
        attribute: Option<String>,
        of_dn: bool,
        value: Value,
    },
}

type Value = Vec<Piece>;

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Bytes(Vec<u8>),
    User,
    Dn,
}

const AND: u8 = 0;
const OR: u8 = 1;
const NOT: u8 = 2;
const EQUAL: u8 = 3;
const SUBSTRINGS: u8 = 4;
const GREATER: u8 = 5;
const LESS: u8 = 6;
const PRESENT: u8 = 7;
const APPROXIMATE: u8 = 8;
const EXTENSIBLE: u8 = 9;

impl Filter {
    /// The text that it was read from.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the answer depends on who logs in.
    pub fn names_user(&self) -> bool {
        self.node.has(&Piece::User)
    }

    /// Whether it needs the name of an entry.
    pub fn names_dn(&self) -> bool {
        self.node.has(&Piece::Dn)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, user: &str, dn: &[u8]) {
        self.node.write(out, &Who { user, dn });
    }
}

/// By what was written.
impl PartialEq for Filter {
    fn eq(&self, other: &Filter) -> bool {
        self.text == other.text
    }
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Filter, String> {
        let wrong = |why: &str| format!("`{text}` is not a filter of LDAP (RFC 4515): {why}");
        let mut rest = text;
        let node = filter(&mut rest, DEPTH).map_err(wrong)?;
        if !rest.is_empty() {
            return Err(wrong("something follows its last parenthesis"));
        }
        Ok(Filter {
            text: text.to_owned(),
            node,
        })
    }
}

fn filter(rest: &mut &str, depth: usize) -> Result<Node, &'static str> {
    let depth = depth.checked_sub(1).ok_or("it is nested too deeply")?;
    *rest = rest
        .strip_prefix('(')
        .ok_or("a part does not begin with a parenthesis")?;
    let node = if let Some(inside) = rest.strip_prefix('&') {
        *rest = inside;
        Node::Many(AND, filters(rest, depth)?)
    } else if let Some(inside) = rest.strip_prefix('|') {
        *rest = inside;
        Node::Many(OR, filters(rest, depth)?)
    } else if let Some(inside) = rest.strip_prefix('!') {
        *rest = inside;
        Node::Not(Box::new(filter(rest, depth)?))
    } else {
        // Parentheses in values are written as \28 and \29.
        let end = rest.find(['(', ')']).unwrap_or(rest.len());
        let (text, behind) = rest.split_at(end);
        *rest = behind;
        item(text)?
    };
    *rest = rest.strip_prefix(')').ok_or("a part does not end with a parenthesis")?;
    Ok(node)
}

fn filters(rest: &mut &str, depth: usize) -> Result<Vec<Node>, &'static str> {
    let mut nodes = vec![filter(rest, depth)?];
    while rest.starts_with('(') {
        nodes.push(filter(rest, depth)?);
    }
    Ok(nodes)
}

fn item(text: &str) -> Result<Node, &'static str> {
    let (left, right) = text.split_once('=').ok_or("a comparison has no `=`")?;
    if let Some(left) = left.strip_suffix(':') {
        return extensible(left, right);
    }
    for (sign, number) in [('~', APPROXIMATE), ('>', GREATER), ('<', LESS)] {
        if let Some(left) = left.strip_suffix(sign) {
            return Ok(Node::Compared(number, attribute(left)?, value(right)?));
        }
    }
    let attribute = attribute(left)?;
    if right == "*" {
        return Ok(Node::Present(attribute));
    }
    let parts: Vec<&str> = right.split('*').collect();
    let last = parts.len() - 1;
    if last == 0 {
        return Ok(Node::Compared(EQUAL, attribute, value(right)?));
    }
    let mut substrings = Vec::new();
    for (index, part) in parts.into_iter().enumerate() {
        // Initial, any, final: [0], [1], [2]. The first and the last may be absent.
        let place = if index == 0 { 0 } else { 1 + u8::from(index == last) };
        match (part.is_empty(), place) {
            (true, 1) => return Err("nothing stands between two asterisks"),
            (true, _) => {}
            (false, place) => substrings.push((place, value(part)?)),
        }
    }
    Ok(Node::Substrings(attribute, substrings))
}

/// `attribute:dn:rule`, of which attribute or rule may be absent.
fn extensible(left: &str, right: &str) -> Result<Node, &'static str> {
    let mut parts = left.split(':');
    let first = parts.next().unwrap_or_default();
    let mut parts = parts.peekable();
    let of_dn = parts.next_if(|part| part.eq_ignore_ascii_case("dn")).is_some();
    let rule = parts.next().map(attribute).transpose()?;
    if parts.next().is_some() || first.is_empty() && rule.is_none() {
        return Err("it names no attribute and no rule in front of `:=`, or too many");
    }
    Ok(Node::Extensible {
        rule,
        attribute: (!first.is_empty()).then(|| attribute(first)).transpose()?,
        of_dn,
        value: value(right)?,
    })
}

/// An attribute with its options, or an OID (RFC 4512 section 2.5). The underscore is not in the grammar, and in use.
fn attribute(text: &str) -> Result<String, &'static str> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._;".contains(&byte);
    if text.is_empty() || !text.bytes().all(fits) {
        return Err("what is compared is not an attribute");
    }
    Ok(text.to_owned())
}

fn value(mut text: &str) -> Result<Value, &'static str> {
    let mut pieces = Vec::new();
    let mut bytes = Vec::new();
    while let Some(first) = text.bytes().next() {
        let place = [(USER, Piece::User), (DN, Piece::Dn)]
            .into_iter()
            .find_map(|(name, piece)| Some((text.strip_prefix(name)?, piece)));
        if let Some((behind, piece)) = place {
            if !bytes.is_empty() {
                pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
            }
            pieces.push(piece);
            text = behind;
        } else if first == b'\\' {
            let digits = text
                .get(1..3)
                .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
            let digits = digits.ok_or("a backslash stands before two hexadecimal digits only")?;
            bytes.push(u8::from_str_radix(digits, 16).unwrap_or_default());
            text = &text[3..];
        } else if matches!(first, b'*' | 0) {
            return Err("an asterisk stands where none may be");
        } else {
            let length = text.chars().next().map_or(1, char::len_utf8);
            bytes.extend_from_slice(&text.as_bytes()[..length]);
            text = &text[length..];
        }
    }
    if !bytes.is_empty() {
        pieces.push(Piece::Bytes(bytes));
    }
    Ok(pieces)
}

struct Who<'a> {
    user: &'a str,
    dn: &'a [u8],
}

impl Who<'_> {
    fn put(&self, out: &mut Vec<u8>, tag: u8, value: &Value) {
        let begin = ber::open(out, tag);
        for piece in value {
            out.extend_from_slice(match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::User => self.user.as_bytes(),
                Piece::Dn => self.dn,
            });
        }
        ber::close(out, begin);
    }
}

impl Node {
    fn has(&self, wanted: &Piece) -> bool {
        match self {
            Node::Many(_, nodes) => nodes.iter().any(|node| node.has(wanted)),
            Node::Not(node) => node.has(wanted),
            Node::Present(_) => false,
            Node::Compared(_, _, value) | Node::Extensible { value, .. } => value.contains(wanted),
            Node::Substrings(_, parts) => parts.iter().any(|(_, value)| value.contains(wanted)),
        }
    }

    /// RFC 4511 section 4.5.1, `Filter`.
    fn write(&self, out: &mut Vec<u8>, who: &Who<'_>) {
        match self {
            Node::Many(number, nodes) => {
                let begin = ber::open(out, context_of_many(*number));
                nodes.iter().for_each(|node| node.write(out, who));
                ber::close(out, begin);
            }
            // A choice cannot be tagged implicitly, so it is one element that holds one.
            Node::Not(node) => {
                let begin = ber::open(out, context_of_many(NOT));
                node.write(out, who);
                ber::close(out, begin);
            }
            Node::Present(attribute) => ber::put(out, context(PRESENT), attribute.as_bytes()),
            Node::Compared(number, attribute, value) => {
                let begin = ber::open(out, context_of_many(*number));
                ber::put(out, OCTETS, attribute.as_bytes());
                who.put(out, OCTETS, value);
                ber::close(out, begin);
            }
            Node::Substrings(attribute, parts) => {
                let begin = ber::open(out, context_of_many(SUBSTRINGS));
                ber::put(out, OCTETS, attribute.as_bytes());
                let list = ber::open(out, SEQUENCE);
                for (place, value) in parts {
                    who.put(out, context(*place), value);
                }
                ber::close(out, list);
                ber::close(out, begin);
            }
            Node::Extensible {
                rule,
                attribute,
                of_dn,
                value,
            } => {
                let begin = ber::open(out, context_of_many(EXTENSIBLE));
                for (number, text) in [(1, rule), (2, attribute)] {
                    if let Some(text) = text {
                        ber::put(out, context(number), text.as_bytes());
                    }
                }
                who.put(out, context(3), value);
                if *of_dn {
                    ber::put(out, context(4), &[0xff]);
                }
                ber::close(out, begin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Filter {
        text.parse().expect("a filter")
    }

    /// As RFC 4511 would show it: tags with what they hold.
    fn shown(bytes: &[u8]) -> String {
        let mut elements = ber::Elements(bytes);
        let mut out = String::new();
        while let Ok((tag, content)) = elements.next() {
            let inside = match tag & 0x20 {
                0 => String::from_utf8_lossy(content).into_owned(),
                _ => shown(content),
            };
            out += &format!("{tag:x}[{inside}]");
        }
        out
    }

    fn written(text: &str, user: &str) -> String {
        let mut out = Vec::new();
        read(text).write(&mut out, user, b"cn=a");
        shown(&out)
    }

    /// The examples of RFC 4515 section 4.
    #[test]
    fn each_form_is_read_and_written() {
        for (text, expected) in [
            ("(cn=Babs Jensen)", "a3[4[cn]4[Babs Jensen]]"),
            ("(!(cn=Tim Howes))", "a2[a3[4[cn]4[Tim Howes]]]"),
            (
                "(&(objectClass=Person)(|(sn=Jensen)(cn=Babs J*)))",
                "a0[a3[4[objectClass]4[Person]]a1[a3[4[sn]4[Jensen]]a4[4[cn]30[80[Babs J]]]]]",
            ),
            ("(o=univ*of*mich*)", "a4[4[o]30[80[univ]81[of]81[mich]]]"),
            ("(o=*mich)", "a4[4[o]30[82[mich]]]"),
            ("(seeAlso=)", "a3[4[seeAlso]4[]]"),
            ("(seeAlso=*)", "87[seeAlso]"),
            ("(a>=1)", "a5[4[a]4[1]]"),
            ("(a<=1)", "a6[4[a]4[1]]"),
            ("(a~=1)", "a8[4[a]4[1]]"),
            ("(cn:caseExactMatch:=Fred)", "a9[81[caseExactMatch]82[cn]83[Fred]]"),
            ("(cn:=Betty)", "a9[82[cn]83[Betty]]"),
            ("(sn:dn:2.4.6:=B)", "a9[81[2.4.6]82[sn]83[B]84[\u{fffd}]]"),
            ("(o:dn:=Ace)", "a9[82[o]83[Ace]84[\u{fffd}]]"),
            ("(:1.2.3:=W)", "a9[81[1.2.3]83[W]]"),
            ("(:DN:2.4.6:=Dino)", "a9[81[2.4.6]83[Dino]84[\u{fffd}]]"),
            ("(o=Parens \\28all\\29)", "a3[4[o]4[Parens (all)]]"),
            ("(cn=*\\2A*)", "a4[4[cn]30[81[*]]]"),
            ("(sn=Lu\\c4\\8di)", "a3[4[sn]4[Lu\u{10d}i]]"),
            ("(sn=Luči)", "a3[4[sn]4[Lu\u{10d}i]]"),
            ("(a=x=y)", "a3[4[a]4[x=y]]"),
        ] {
            assert_eq!(written(text, "u"), expected, "{text}");
        }
    }

    #[test]
    fn a_name_is_a_value_whatever_is_in_it() {
        assert_eq!(
            written("(&(uid={user})(!(a=x{user}y)))", "*)(uid=*"),
            "a0[a3[4[uid]4[*)(uid=*]]a2[a3[4[a]4[x*)(uid=*y]]]]"
        );
        assert_eq!(written("(uid=*{user})", "\\2a*"), "a4[4[uid]30[82[\\2a*]]]");
        assert_eq!(
            written("(|(member={dn})(memberUid={user}))", "{dn}"),
            "a1[a3[4[member]4[cn=a]]a3[4[memberUid]4[{dn}]]]"
        );
        assert!(read("(uid={user})").names_user() && !read("(uid={user})").names_dn());
        assert!(read("(!(m:1.2:={dn}))").names_dn() && !read("(m={dn})").names_user());
        assert!(!read("(a=\\7buser})").names_user(), "an escaped brace is a brace");
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "uid={user}",
            "(uid={user}",
            "(uid={user}))",
            "(uid={user})(a=b)",
            "(&)",
            "(&a=b)",
            "(!)",
            "(!(a=b)(c=d))",
            "()",
            "(=a)",
            "(a b=c)",
            "(uid)",
            "(a=\\2)",
            "(a=\\zz)",
            "(a=b**c)",
            "(a>=b*)",
            "(:=a)",
            "(:dn:=a)",
            "(a:b:c:=d)",
            "(a=b(c)d)",
        ] {
            let error = text.parse::<Filter>().expect_err(text);
            assert!(error.contains("is not a filter of LDAP"), "{error}");
        }
        let deep = |depth: usize| "(!".repeat(depth - 1) + "(a=b)" + &")".repeat(depth - 1);
        assert!(deep(DEPTH).parse::<Filter>().is_ok());
        assert!(deep(DEPTH + 1).parse::<Filter>().is_err());
    }
}
