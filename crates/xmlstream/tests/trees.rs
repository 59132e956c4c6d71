//! Generated trees: written in various ways they are accepted, mean what they meant, and can be written again.

mod oracle;

use oracle::{Node, Tree, compare, unlimited};
use proptest::prelude::*;

use jackdaw_xmlstream::{Scratch, escape_attr, escape_text, parse_element};

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z_éü中][a-zA-Z0-9_.é·-]{0,6}"
}

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("jabber:client".to_owned()),
        Just("urn:a".to_owned()),
        Just("b & 'c' \"<\" \n".to_owned()),
        Just(String::new())
    ]
}

/// XML characters (XML 1.0 §2.2), the awkward ones often.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            4 => proptest::char::range(' ', '~'),
            2 => proptest::sample::select(vec!['<', '&', '>', ']', '\'', '"', '\t', '\n', '\r', '\u{7f}', '\u{85}', '\u{fffd}']),
            1 => proptest::char::range('\u{a0}', '\u{d7ff}'),
            1 => proptest::char::range('\u{e000}', '\u{fffd}'),
            1 => proptest::char::range('\u{10000}', '\u{10ffff}'),
        ],
        0..12,
    )
    .prop_map(|chars| chars.into_iter().collect())
}

fn tree() -> impl Strategy<Value = Tree> {
    let head = || {
        (
            namespace(),
            name(),
            proptest::collection::btree_map((attribute_ns(), name()), text(), 0..4),
        )
    };
    let leaf = head().prop_map(|(ns, name, attrs)| make(ns, name, attrs, vec![]));
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let node = prop_oneof![inner.prop_map(Node::Tree), text().prop_map(Node::Text)];
        (head(), proptest::collection::vec(node, 0..5))
            .prop_map(|((ns, name, attrs), nodes)| make(ns, name, attrs, nodes))
    })
}

fn attribute_ns() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 1 => namespace(), 1 => Just("http://www.w3.org/XML/1998/namespace".to_owned())]
}

fn make(
    ns: String,
    name: String,
    attrs: std::collections::BTreeMap<(String, String), String>,
    nodes: Vec<Node>,
) -> Tree {
    let mut tree = Tree {
        ns,
        name,
        nodes: vec![],
        attrs: attrs.into_iter().map(|((ns, n), v)| (ns, n, v)).collect(),
    };
    // Adjacent texts are one, empty ones none.
    for node in nodes {
        match (tree.nodes.last_mut(), node) {
            (_, Node::Text(t)) if t.is_empty() => {}
            (Some(Node::Text(before)), Node::Text(t)) => before.push_str(&t),
            (_, node) => tree.nodes.push(node),
        }
    }
    tree
}

/// Prefixes the header declares, for the ways of writing that use them.
const DECLARED: &[(&str, &str)] = &[("h", "urn:a"), ("j", "jabber:client")];

/// How to write a tree, decided anew at each step from a number.
struct Writer {
    out: Vec<u8>,
    style: oracle::Rng,
    /// Whether prefixes of the header may be used.
    leaning: bool,
}

impl Writer {
    fn write(&mut self, tree: &Tree, default: &str) {
        let header = DECLARED
            .iter()
            .find(|(_, ns)| *ns == tree.ns)
            .filter(|_| self.leaning && self.style.below(2) == 0);
        let mut default = default.to_owned();
        let mut declarations = String::new();
        let name = match header {
            Some((prefix, _)) => format!("{prefix}:{}", tree.name),
            None if !tree.ns.is_empty() && self.style.below(3) == 0 => {
                declarations = format!(" xmlns:e='{}'", attr(&tree.ns));
                format!("e:{}", tree.name)
            }
            None => {
                if tree.ns != default || self.style.below(4) == 0 {
                    declarations = format!(" xmlns=\"{}\"", attr(&tree.ns));
                    default.clone_from(&tree.ns);
                }
                tree.name.clone()
            }
        };
        self.push(&format!("<{name}{declarations}"));
        for (i, (ns, local, value)) in tree.attrs.iter().enumerate() {
            let header = DECLARED
                .iter()
                .find(|(_, n)| n == ns)
                .filter(|_| self.leaning && self.style.below(2) == 0);
            let attribute = match (&**ns, header) {
                ("", _) => local.clone(),
                ("http://www.w3.org/XML/1998/namespace", _) => format!("xml:{local}"),
                (_, Some((prefix, _))) => format!("{prefix}:{local}"),
                (ns, None) => {
                    self.push(&format!(" xmlns:a{i}='{}'", attr(ns)));
                    format!("a{i}:{local}")
                }
            };
            let (quote, space) = (["'", "\""][self.style.below(2)], ["", " ", "\n"][self.style.below(3)]);
            self.push(&format!(" {attribute}{space}={space}{quote}{}{quote}", attr(value)));
        }
        if tree.nodes.is_empty() && self.style.below(2) == 0 {
            return self.push("/>");
        }
        self.push(">");
        for node in &tree.nodes {
            match node {
                Node::Tree(child) => self.write(child, &default),
                Node::Text(text) if self.style.below(3) == 0 && !text.contains("]]>") && !text.contains('\r') => {
                    self.push(&format!("<![CDATA[{text}]]>"));
                }
                Node::Text(text) => escape_text(&mut self.out, text),
            }
        }
        self.push(&format!("</{name}>"));
    }

    fn push(&mut self, s: &str) {
        self.out.extend_from_slice(s.as_bytes());
    }
}

fn attr(s: &str) -> String {
    let mut out = Vec::new();
    escape_attr(&mut out, s);
    String::from_utf8(out).expect("UTF-8 in, UTF-8 out")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_is_read_as_it_was_written(tree in tree(), style in 1u64.., cuts in proptest::collection::vec(0usize..2000, 0..4)) {
        let mut writer = Writer { out: vec![], style: oracle::Rng(style), leaning: false };
        writer.write(&tree, "jabber:client");
        let text = String::from_utf8(writer.out).expect("UTF-8");
        let mut scratch = Scratch::default();
        let element = parse_element(&text, "jabber:client", &mut scratch, &unlimited());
        let element = element.map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
        prop_assert_eq!(&Tree::from_dom(&element.to_dom()), &tree, "{}", text);

        // The same in a stream, leaning on its header, in pieces, and against rxml.
        let mut stream = Vec::from(&b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"[..]);
        for (prefix, ns) in DECLARED {
            stream.extend_from_slice(format!(" xmlns:{prefix}='{ns}'").as_bytes());
        }
        stream.extend_from_slice(b">");
        let mut writer = Writer { out: stream, style: oracle::Rng(style), leaning: true };
        writer.write(&tree, "jabber:client");
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c % writer.out.len()).collect();
        cuts.sort();
        let shown = String::from_utf8_lossy(&writer.out).into_owned();
        let accepted = compare(&writer.out, &cuts).map_err(|e| TestCaseError::fail(format!("{shown}: {e}")))?;
        prop_assert_eq!(accepted, 1, "{}", shown);
        let mut trees = Vec::new();
        oracle::run(&writer.out, [], &oracle::LIMITS, |e, _| trees.push(Tree::from_dom(&e.to_dom())));
        prop_assert_eq!(trees, vec![tree]);
    }
}
