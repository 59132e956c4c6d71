//! What a client can do, told by a hash in its presence: XEP-0115 Entity Capabilities 1.6.0 and XEP-0390 Entity
//! Capabilities 2.0 0.3.2.
//!
//! A presence advertises a hash ([`Advertised`]); the client's disco#info ([`Info`]) is believed of everyone who
//! advertises the same only if it hashes to just that. What the server needs of it is what the client wants to be
//! notified of (XEP-0163 section 4.3.2.2): [`Info::notify`].

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use stanza::ns;
use xmlstream::Child;

/// Bytes of a hash with its node; more is no capabilities.
const ADVERTISED_BYTES: usize = 1024;

/// Behind the name of a node in a feature: its items are wanted (XEP-0163 section 4.3.2.2).
const NOTIFY: &str = "+notify";

/// Nodes that a client may want to hear of, and bytes of their names; more are left out.
const NOTIFY_NODES: usize = 128;
const NOTIFY_BYTES: usize = 8 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Sha1,
    Sha256,
    Sha512,
}

impl Function {
    /// By its name in XEP-0300; the registry that XEP-0115 section 4 means has the same.
    fn named(name: &str) -> Option<Function> {
        match name {
            "sha-1" => Some(Function::Sha1),
            "sha-256" => Some(Function::Sha256),
            "sha-512" => Some(Function::Sha512),
            _ => None,
        }
    }

    fn of(self, bytes: &[u8]) -> String {
        match self {
            Function::Sha1 => STANDARD.encode(Sha1::digest(bytes)),
            Function::Sha256 => STANDARD.encode(Sha256::digest(bytes)),
            Function::Sha512 => STANDARD.encode(Sha512::digest(bytes)),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// XEP-0115.
    First,
    /// XEP-0390.
    Second,
}

/// What a presence says of its sender's capabilities.
#[derive(Clone, Debug)]
pub struct Advertised {
    /// The node of the client's disco#info that they are of.
    pub node: Box<str>,
    /// The same for all that can do the same, if it can be verified.
    pub key: Box<str>,
    check: Option<(Format, Function)>,
}

impl PartialEq for Advertised {
    fn eq(&self, other: &Advertised) -> bool {
        self.key == other.key
    }
}

impl Advertised {
    /// The newer format before the older one, if it comes with a function that is known here. None: nothing is
    /// advertised, or in the way of before version 1.4 of XEP-0115 (its section 5.4, rule 1).
    pub fn of<'a>(children: impl Iterator<Item = Child<'a>>) -> Option<Advertised> {
        let mut first = None;
        for child in children {
            if child.is("c", ns::CAPS2) {
                let hashes = child.children().filter(|hash| hash.is("hash", ns::HASHES));
                // The longest is the strongest: which of them does not matter, as each is over the same.
                let known = hashes.filter_map(|hash| {
                    let name = hash.attr("algo")?;
                    let function = Function::named(&name)?;
                    Some((format!("{}#{name}.{}", ns::CAPS2, hash.text().trim()), function))
                });
                let strongest = known
                    .filter(|(node, function)| *function != Function::Sha1 && node.len() <= ADVERTISED_BYTES)
                    .max_by_key(|(node, _)| node.len());
                if let Some((node, function)) = strongest {
                    return Some(Advertised {
                        key: node.as_str().into(),
                        node: node.into(),
                        check: Some((Format::Second, function)),
                    });
                }
            } else if child.is("c", ns::CAPS) && first.is_none() {
                first = Advertised::first(&child);
            }
        }
        first
    }

    fn first(c: &Child<'_>) -> Option<Advertised> {
        let (hash, node, ver) = (c.attr("hash")?, c.attr("node")?, c.attr("ver")?);
        if hash.len() + node.len() + ver.len() > ADVERTISED_BYTES || ver.is_empty() {
            return None;
        }
        let check = Function::named(&hash).map(|function| (Format::First, function));
        let asked = format!("{node}#{ver}");
        let key = match check {
            // The URI of the software is not covered by the hash.
            Some(_) => format!("{hash} {ver}").into(),
            None => asked.as_str().into(),
        };
        Some(Advertised {
            node: asked.into(),
            key,
            check,
        })
    }

    /// Whether what the client answers can be believed of others that advertise the same. Otherwise it is believed of
    /// this client alone (XEP-0115 section 5.4, rule 2).
    pub fn is_verified_by(&self, info: &Info<'_>) -> bool {
        let Some((format, function)) = self.check else {
            return false;
        };
        let (text, hash) = match format {
            Format::First => (info.first(), self.key.split_once(' ')),
            Format::Second => (info.second(), self.key.rsplit_once('.')),
        };
        text.zip(hash)
            .is_some_and(|(text, (_, hash))| function.of(&text) == hash)
    }
}

type Text<'a> = Cow<'a, str>;

/// An identity (XEP-0030 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity<'a> {
    pub category: Text<'a>,
    pub kind: Text<'a>,
    pub lang: Text<'a>,
    pub name: Text<'a>,
}

/// A form that extends disco#info (XEP-0128).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form<'a> {
    /// None: it has no FORM_TYPE, or none as XEP-0068 asks for.
    pub form_type: Option<Text<'a>>,
    /// Without that: `var`, and the values.
    pub fields: Vec<(Text<'a>, Vec<Text<'a>>)>,
}

/// A disco#info, as what is hashed.
#[derive(Clone, Debug, Default)]
pub struct Info<'a> {
    pub identities: Vec<Identity<'a>>,
    pub features: Vec<Text<'a>>,
    pub forms: Vec<Form<'a>>,
    /// There is something in it that XEP-0390 section 4.1 does not allow.
    is_odd: bool,
    /// `xml:lang` of identities without one of their own.
    lang: Text<'a>,
}

impl<'a> Info<'a> {
    pub fn new(identities: Vec<Identity<'a>>, features: Vec<Text<'a>>, forms: Vec<Form<'a>>) -> Info<'a> {
        Info {
            identities,
            features,
            forms,
            ..Info::default()
        }
    }

    /// `query` is the element of disco#info; `lang` the language that holds where it stands.
    pub fn read(query: &Child<'a>, lang: Option<Cow<'a, str>>) -> Info<'a> {
        let mut info = Info {
            lang: query.lang().or(lang).unwrap_or_default(),
            ..Info::default()
        };
        let attr = |child: &Child<'a>, name| child.attr(name).unwrap_or_default();
        for child in query.children() {
            match (child.name(), child.ns()) {
                ("identity", ns::DISCO_INFO) => info.identities.push(Identity {
                    category: attr(&child, "category"),
                    kind: attr(&child, "type"),
                    lang: attr(&child, "xml:lang"),
                    name: attr(&child, "name"),
                }),
                ("feature", ns::DISCO_INFO) => info.features.push(attr(&child, "var")),
                ("x", ns::DATA_FORMS) => info.form(&child),
                _ => info.is_odd = true,
            }
        }
        info
    }

    fn form(&mut self, x: &Child<'a>) {
        let mut form = Form {
            form_type: None,
            fields: Vec::new(),
        };
        for field in x.children() {
            if !field.is("field", ns::DATA_FORMS) {
                self.is_odd |= matches!(field.name(), "reported" | "item");
                continue;
            }
            let var = field.attr("var").unwrap_or_default();
            let values = field.children().filter(|value| value.is("value", ns::DATA_FORMS));
            let values: Vec<_> = values.map(|value| value.text()).collect();
            if var == "FORM_TYPE" {
                let is_proper = field.attr("type").is_some_and(|kind| kind == "hidden") && values.len() == 1;
                form.form_type = values.into_iter().next().filter(|_| is_proper);
            } else {
                form.fields.push((var, values));
            }
        }
        self.is_odd |= form.form_type.is_none();
        self.forms.push(form);
    }

    /// XEP-0115 section 5.1: what is hashed. None where section 5.4 calls it ill-formed, or where one piece could be
    /// read as two: then two lists have one hash.
    pub fn first(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut put = |piece: &str| {
            out.extend_from_slice(piece.as_bytes());
            out.push(b'<');
            !piece.contains('<')
        };
        let identities = sorted_without_doubles(&self.identities)?;
        for identity in identities {
            let Identity {
                category,
                kind,
                lang,
                name,
            } = identity;
            if [category, kind, lang].iter().any(|piece| piece.contains('/'))
                || !put(&format!("{category}/{kind}/{lang}/{name}"))
            {
                return None;
            }
        }
        for feature in sorted_without_doubles(&self.features)? {
            if !put(feature) {
                return None;
            }
        }
        let mut forms: Vec<_> = self.forms.iter().filter(|form| form.form_type.is_some()).collect();
        forms.sort_by_key(|form| &form.form_type);
        if forms.windows(2).any(|pair| pair[0].form_type == pair[1].form_type) {
            return None;
        }
        for form in forms {
            if !put(form.form_type.as_ref()?) {
                return None;
            }
            let mut fields: Vec<_> = form.fields.iter().collect();
            fields.sort_by_key(|(var, _)| var);
            for (var, values) in fields {
                let mut values: Vec<_> = values.iter().collect();
                values.sort_unstable();
                if !put(var) || !values.into_iter().all(|value| put(value)) {
                    return None;
                }
            }
        }
        Some(out)
    }

    /// XEP-0390 section 4.1: what is hashed.
    pub fn second(&self) -> Option<Vec<u8>> {
        const ENDS: [u8; 4] = [0x1c, 0x1d, 0x1e, 0x1f];
        if self.is_odd {
            return None;
        }
        // What XML allows has no character below the tab, so that no piece can be read as two.
        let piece = |text: &str| [text.as_bytes(), &ENDS[3..]].concat();
        let joined = |mut parts: Vec<Vec<u8>>, end: u8| {
            parts.sort_unstable();
            let mut joined = parts.concat();
            joined.push(end);
            joined
        };
        let features = self.features.iter().map(|feature| piece(feature)).collect();
        let identities = self.identities.iter().map(|identity| {
            let lang = match &*identity.lang {
                "" => &self.lang,
                _ => &identity.lang,
            };
            let parts = [&identity.category, &identity.kind, lang, &identity.name].map(|part| piece(part));
            [parts.concat(), vec![ENDS[2]]].concat()
        });
        let forms = self.forms.iter().map(|form| {
            let form_type = form.form_type.iter().map(|value| ("FORM_TYPE", vec![value]));
            let fields = form
                .fields
                .iter()
                .map(|(var, values)| (&**var, values.iter().collect()));
            let fields = form_type.chain(fields).map(|(var, values): (&str, Vec<&Text<'_>>)| {
                let values = joined(values.into_iter().map(|value| piece(value)).collect(), ENDS[2]);
                [piece(var), values].concat()
            });
            joined(fields.collect(), ENDS[1])
        });
        let all = [
            joined(features, ENDS[0]),
            joined(identities.collect(), ENDS[0]),
            joined(forms.collect(), ENDS[0]),
        ];
        Some(all.concat())
    }

    /// The verification string of XEP-0115 with SHA-1, of what is known to be well-formed.
    pub fn ver(&self) -> String {
        Function::Sha1.of(&self.first().unwrap_or_default())
    }

    /// The nodes of which its entity wants to hear, in the order of their bytes.
    pub fn notify(&self) -> Box<[Box<str>]> {
        let mut bytes = 0;
        let nodes = self.features.iter().filter_map(|feature| feature.strip_suffix(NOTIFY));
        let mut nodes: Vec<Box<str>> = nodes
            .take(NOTIFY_NODES)
            .take_while(|node| {
                bytes += node.len();
                bytes <= NOTIFY_BYTES
            })
            .map(Into::into)
            .collect();
        nodes.sort_unstable();
        nodes.into_boxed_slice()
    }
}

/// XEP-0115 section 5.4, rule 3.3 and 3.4.
fn sorted_without_doubles<T: Ord>(all: &[T]) -> Option<Vec<&T>> {
    let mut sorted: Vec<_> = all.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).all(|pair| pair[0] != pair[1]).then_some(sorted)
}

#[cfg(test)]
mod tests {
    use xmlstream::{Limits, Scratch, parse_document};

    use super::*;

    fn with<T>(xml: &str, check: impl FnOnce(Child<'_>) -> T) -> T {
        let (xml, mut scratch) = (format!("<iq>{xml}</iq>"), Scratch::default());
        let element = parse_document(&xml, &mut scratch, &Limits::default()).expect("XML");
        check(element.children().next().expect("a child"))
    }

    fn advertised(xml: &str) -> Option<Advertised> {
        with(xml, |child| Advertised::of(std::iter::once(child)))
    }

    fn verifies(c: &str, query: &str) -> bool {
        let advertised = advertised(c).expect("capabilities");
        with(query, |query| advertised.is_verified_by(&Info::read(&query, None)))
    }

    fn caps(hash: &str, ver: &str) -> String {
        format!("<c xmlns='http://jabber.org/protocol/caps' hash='{hash}' node='urn:x' ver='{ver}'/>")
    }

    fn caps2(algo: &str, hash: &str) -> String {
        format!("<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='{algo}'>{hash}</hash></c>")
    }

    /// XEP-0115 section 5.2.
    const SIMPLE: &str = "<query xmlns='http://jabber.org/protocol/disco#info' node='urn:x#QgayPKawpkPSDYmwT/WM94uAlu0='>\
        <identity category='client' name='Exodus 0.9.1' type='pc'/>\
        <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
        <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/></query>";

    /// XEP-0115 section 5.3.
    const COMPLEX: &str = "<query xmlns='http://jabber.org/protocol/disco#info'>\
        <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
        <identity xml:lang='el' category='client' name='\u{3a8} 0.11' type='pc'/>\
        <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
        <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>\
        <x xmlns='jabber:x:data' type='result'>\
        <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>\
        <field var='ip_version' type='text-multi'><value>ipv6</value><value>ipv4</value></field>\
        <field var='os'><value>Mac</value></field><field var='os_version'><value>10.5.1</value></field>\
        <field var='software'><value>Psi</value></field><field var='software_version'><value>0.11</value></field>\
        </x></query>";

    /// XEP-0390 section 4.5.1.
    const SECOND: &str = "<query xmlns='http://jabber.org/protocol/disco#info'>\
        <identity category='client' name='BombusMod' type='mobile'/><feature var='http://jabber.org/protocol/si'/>\
        <feature var='http://jabber.org/protocol/bytestreams'/><feature var='http://jabber.org/protocol/chatstates'/>\
        <feature var='http://jabber.org/protocol/disco#info'/><feature var='http://jabber.org/protocol/disco#items'/>\
        <feature var='urn:xmpp:ping'/><feature var='jabber:iq:time'/><feature var='jabber:iq:privacy'/>\
        <feature var='jabber:iq:version'/><feature var='http://jabber.org/protocol/rosterx'/><feature var='urn:xmpp:time'/>\
        <feature var='jabber:x:oob'/><feature var='http://jabber.org/protocol/ibb'/>\
        <feature var='http://jabber.org/protocol/si/profile/file-transfer'/><feature var='urn:xmpp:receipts'/>\
        <feature var='jabber:iq:roster'/><feature var='jabber:iq:last'/></query>";

    #[test]
    fn the_examples_verify() {
        let simple = caps("sha-1", "QgayPKawpkPSDYmwT/WM94uAlu0=");
        assert!(verifies(&simple, SIMPLE));
        assert!(verifies(&caps("sha-1", "q07IKJEyjvHSyhy//CH0CxmKi8w="), COMPLEX));
        assert!(!verifies(&simple, COMPLEX));
        let second = "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=";
        assert!(verifies(&caps2("sha-256", second), SECOND));
        assert!(!verifies(&caps2("sha-256", second), SIMPLE));
    }

    #[test]
    fn what_is_ill_formed_verifies_nothing() {
        let cases = [
            // Twice the same feature; a feature that two could be made of; forms of one type.
            ("<feature var='a'/><feature var='a'/>", "client/pc//x<a<a<"),
            ("<feature var='a&lt;b'/>", "client/pc//x<a<b<"),
            (
                "<x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>t</value></field></x>\
                 <x xmlns='jabber:x:data'><field var='FORM_TYPE' type='hidden'><value>t</value></field></x>",
                "client/pc//x<t<t<",
            ),
        ];
        for (inner, hashed) in cases {
            let query = format!(
                "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='client' type='pc' name='x'/>{inner}</query>"
            );
            let ver = Function::Sha1.of(hashed.as_bytes());
            assert!(!verifies(&caps("sha-1", &ver), &query), "{inner}");
        }
        // A form without its type is left out, and the rest holds.
        let query = "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='a'/>\
            <x xmlns='jabber:x:data'><field var='b'><value>c</value></field></x></query>";
        assert!(verifies(&caps("sha-1", &Function::Sha1.of(b"a<")), query));
    }

    #[test]
    fn what_is_asked_for() {
        let of = |xml: &str| advertised(xml).map(|found| (found.node.to_string(), found.key.to_string()));
        assert_eq!(
            of(&caps("sha-1", "abc=")),
            Some(("urn:x#abc=".to_owned(), "sha-1 abc=".to_owned()))
        );
        // A function that nobody knows is asked for, and verifies nothing.
        assert_eq!(
            of(&caps("gost", "abc=")),
            Some(("urn:x#abc=".to_owned(), "urn:x#abc=".to_owned()))
        );
        assert!(!verifies(&caps("gost", "abc="), SIMPLE));
        let node = "urn:xmpp:caps#sha-256.abc=";
        assert_eq!(of(&caps2("sha-256", "abc=")), Some((node.to_owned(), node.to_owned())));
        assert_eq!(of(&caps2("sha3-256", "abc=")), None);
        assert_eq!(
            of("<c xmlns='http://jabber.org/protocol/caps' node='urn:x' ver='1.0'/>"),
            None
        );
        assert_eq!(of(&caps("sha-1", &"a".repeat(ADVERTISED_BYTES))), None);
    }

    #[test]
    fn what_a_client_wants_to_hear() {
        let query = "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='b+notify'/><feature var='c'/>\
            <feature var='a+notify'/></query>";
        let found = with(query, |query| Info::read(&query, None).notify());
        assert_eq!(found, ["a", "b"].map(Box::from).into());
        let many: String = (0..1_000).map(|n| format!("<feature var='{n}+notify'/>")).collect();
        let query = format!("<query xmlns='http://jabber.org/protocol/disco#info'>{many}</query>");
        assert_eq!(
            with(&query, |query| Info::read(&query, None).notify().len()),
            NOTIFY_NODES
        );
    }
}
