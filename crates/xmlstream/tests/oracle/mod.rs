//! The differential oracle, shared by the tests and `examples/fuzz.rs`: whatever this crate accepts, rxml accepts with
//! the same meaning; every view of an element says the same; and how the input is cut up changes nothing.

#![allow(dead_code, unreachable_pub)] // included by several targets, each of which takes a part of it

use std::fmt::Write as _;

use jackdaw_xmlstream::{Child, Element, Event, Framer, Header, Limits, Scratch, XmlError, parse_element};
use rxml::{Parse, WithOptions};

pub const LIMITS: Limits = Limits {
    bytes: 100_000,
    elements: 1_000,
    depth: 50,
    attributes: 50,
    namespaces: 100,
    name: 200,
};

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Tree {
    pub ns: String,
    pub name: String,
    /// (namespace, local name, value), sorted.
    pub attrs: Vec<(String, String, String)>,
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Text(String),
    Tree(Tree),
}

impl Tree {
    fn push_text(&mut self, text: &str) {
        match self.nodes.last_mut() {
            _ if text.is_empty() => {}
            Some(Node::Text(before)) => before.push_str(text),
            _ => self.nodes.push(Node::Text(text.to_owned())),
        }
    }

    pub fn text(&self) -> String {
        let texts = self
            .nodes
            .iter()
            .filter_map(|n| if let Node::Text(t) = n { Some(&**t) } else { None });
        texts.collect()
    }

    pub fn trees(&self) -> impl Iterator<Item = &Tree> {
        self.nodes
            .iter()
            .filter_map(|n| if let Node::Tree(t) = n { Some(t) } else { None })
    }

    /// With every line end as `\n`, those made by references too.
    fn with_plain_line_ends(mut self) -> Tree {
        for node in &mut self.nodes {
            match node {
                Node::Text(text) => *text = text.replace("\r\n", "\n").replace('\r', "\n"),
                Node::Tree(tree) => *tree = std::mem::take(tree).with_plain_line_ends(),
            }
        }
        self
    }

    pub fn from_dom(dom: &minidom::Element) -> Tree {
        let mut tree = Tree {
            ns: dom.ns(),
            name: dom.name().to_owned(),
            ..Tree::default()
        };
        for ((ns, name), value) in dom.attrs() {
            tree.attrs
                .push((ns.as_str().to_owned(), name.to_string(), value.clone()));
        }
        tree.attrs.sort();
        for node in dom.nodes() {
            match node {
                minidom::Node::Text(text) => tree.push_text(text),
                minidom::Node::Element(child) => tree.nodes.push(Node::Tree(Tree::from_dom(child))),
            }
        }
        tree
    }
}

/// rxml over one stream: feed it pieces, take the trees that are complete.
pub struct Rxml {
    parser: rxml::Parser,
    open: Vec<Tree>,
    /// Depth of the elements handed out: 1 under a stream header.
    depth: usize,
}

impl Rxml {
    pub fn new() -> Rxml {
        let options = rxml::Options {
            max_token_length: 1 << 20,
            ..rxml::Options::default()
        };
        Rxml {
            parser: rxml::Parser::with_options(options),
            open: Vec::new(),
            depth: 1,
        }
    }

    /// The header (only its start tag) or the elements that end in `bytes`.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Tree>, String> {
        let mut rest = bytes;
        let mut done = Vec::new();
        loop {
            match self.parser.parse(&mut rest, false) {
                Ok(Some(rxml::Event::StartElement(_, (ns, name), attrs))) => {
                    let mut tree = Tree {
                        ns: ns.as_str().to_owned(),
                        name: name.to_string(),
                        ..Tree::default()
                    };
                    for ((ns, name), value) in attrs {
                        tree.attrs.push((ns.as_str().to_owned(), name.to_string(), value));
                    }
                    tree.attrs.sort();
                    if self.open.is_empty() {
                        done.push(tree.clone());
                    }
                    self.open.push(tree);
                }
                Ok(Some(rxml::Event::EndElement(_))) => {
                    let tree = self.open.pop().ok_or("an end too many")?;
                    let depth = self.open.len();
                    match self.open.last_mut() {
                        Some(_) if depth == self.depth => done.push(tree),
                        Some(parent) => parent.nodes.push(Node::Tree(tree)),
                        None => {}
                    }
                }
                Ok(Some(rxml::Event::Text(_, text))) => {
                    if let Some(parent) = self.open.last_mut() {
                        parent.push_text(&text);
                    }
                }
                Ok(Some(rxml::Event::XmlDeclaration(..))) => {}
                Ok(None) => return Ok(done),
                Err(rxml::error::EndOrError::NeedMoreData) => return Ok(done),
                Err(rxml::error::EndOrError::Error(e)) => return Err(e.to_string()),
            }
        }
    }
}

/// One thing the framer said, in a form that can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    Header {
        text: String,
        attrs: Vec<(String, String, String)>,
        ns: String,
        name: String,
    },
    /// The source as handed out and the offset in the stream behind the original.
    Element {
        source: String,
        end: usize,
    },
    Close,
    Error(XmlError),
    /// More would be needed.
    Waiting,
}

fn header_attrs(header: &Header<'_>) -> Vec<(String, String, String)> {
    let mut attrs: Vec<_> = header
        .attrs()
        .map(|a| (a.ns().to_owned(), a.local().to_owned(), a.value().into_owned()))
        .collect();
    attrs.sort();
    attrs
}

/// Feeds `input` in the pieces that end at `cuts` and at the end, as a connection would. Calls `seen` for each
/// element with the bytes it was made of.
pub fn run(
    input: &[u8],
    cuts: impl IntoIterator<Item = usize>,
    limits: &Limits,
    mut seen: impl FnMut(&Element<'_>, &[u8]),
) -> Vec<Said> {
    let mut framer = Framer::new();
    let mut scratch = Scratch::default();
    let mut said = Vec::new();
    let mut from = 0;
    for end in cuts.into_iter().chain([input.len()]) {
        loop {
            let step = match framer.next(&input[from..end], &mut scratch, limits) {
                Ok(step) => step,
                Err(error) => {
                    said.push(Said::Error(error));
                    return said;
                }
            };
            let bytes = &input[from..from + step.consumed];
            from += step.consumed;
            match step.event {
                Event::Incomplete => break,
                Event::Header(header) => said.push(Said::Header {
                    text: header.source().to_owned(),
                    attrs: header_attrs(&header),
                    ns: header.ns().to_owned(),
                    name: header.name().to_owned(),
                }),
                Event::Element(element) => {
                    seen(&element, bytes);
                    said.push(Said::Element {
                        source: element.source().to_owned(),
                        end: from,
                    });
                }
                Event::Close => said.push(Said::Close),
            }
        }
    }
    said.push(Said::Waiting);
    said
}

/// What the accessors of an element say, against a tree of it.
fn views_agree(element: &Element<'_>, tree: &Tree) -> Result<(), String> {
    let mut attrs: Vec<_> = element
        .attrs()
        .map(|a| (a.ns().to_owned(), a.local().to_owned(), a.value().into_owned()))
        .collect();
    attrs.sort();
    same("attributes", &attrs, &tree.attrs)?;
    same("name", &(element.ns(), element.name()), &(&*tree.ns, &*tree.name))?;
    same("text", &*element.text(), &*tree.text())?;
    let children: Vec<Child<'_>> = element.children().collect();
    same("children", &children.len(), &tree.trees().count())?;
    for (child, tree) in children.iter().zip(tree.trees()) {
        same("span", child.source(), &element.inner()[child.span()])?;
        child_agrees(child, tree)?;
    }
    Ok(())
}

fn child_agrees(child: &Child<'_>, tree: &Tree) -> Result<(), String> {
    same("child", &(child.ns(), child.name()), &(&*tree.ns, &*tree.name))?;
    same("child text", &*child.text(), &*tree.text())?;
    for (ns, name, value) in &tree.attrs {
        if ns.is_empty() {
            same("child attribute", &child.attr(name).as_deref(), &Some(&**value))?;
        }
    }
    same("child tree", &Tree::from_dom(&child.to_dom()), tree)?;
    let mut canonical = String::new();
    child.write_canonical("urn:elsewhere", &mut canonical);
    let mut scratch = Scratch::default();
    let alone = parse_element(&canonical, "urn:elsewhere", &mut scratch, &unlimited())
        .map_err(|e| format!("canonical child {canonical}: {e}"))?;
    same("canonical child", &Tree::from_dom(&alone.to_dom()), tree)?;
    let grandchildren: Vec<Child<'_>> = child.children().collect();
    same("grandchildren", &grandchildren.len(), &tree.trees().count())?;
    for (grandchild, tree) in grandchildren.iter().zip(tree.trees()) {
        same("span", grandchild.source(), &child.inner()[grandchild.span()])?;
        child_agrees(grandchild, tree)?;
    }
    Ok(())
}

pub fn unlimited() -> Limits {
    Limits {
        bytes: usize::MAX,
        elements: usize::MAX,
        depth: usize::MAX,
        attributes: usize::MAX,
        namespaces: usize::MAX,
        name: usize::MAX,
    }
}

fn same<T: PartialEq + std::fmt::Debug + ?Sized>(what: &str, a: &T, b: &T) -> Result<(), String> {
    if a == b {
        return Ok(());
    }
    let (a, b) = (format!("{a:?}"), format!("{b:?}"));
    let differs = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let around = |s: &str| s.chars().skip(differs.saturating_sub(40)).take(160).collect::<String>();
    Err(format!("{what}: …{}… against …{}…", around(&a), around(&b)))
}

/// The whole property for one input. Returns how many elements were accepted.
pub fn compare(input: &[u8], cuts: &[usize]) -> Result<usize, String> {
    let mut rxml = Rxml::new();
    let mut problems = String::new();
    let mut pieces: Vec<(Vec<u8>, Tree)> = Vec::new();
    let said = run(input, [], &LIMITS, |element, bytes| {
        let tree = Tree::from_dom(&element.to_dom());
        if let Err(problem) = views_agree(element, &tree) {
            let _ = writeln!(problems, "views of {}: {problem}", element.source());
        }
        pieces.push((bytes.to_vec(), tree));
    });
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut pieces = pieces.into_iter();
    let mut default = String::new();
    for one in &said {
        match one {
            Said::Header { text, attrs, ns, name } => {
                let trees = rxml
                    .feed(text.as_bytes())
                    .map_err(|e| format!("rxml refuses header {text}: {e}"))?;
                let [tree] = &trees[..] else {
                    return Err(format!("rxml has {trees:?} for {text}"));
                };
                same("header", &(ns, name, attrs), &(&tree.ns, &tree.name, &tree.attrs))?;
                default = default_of(text);
            }
            Said::Element { source, .. } => {
                let (bytes, tree) = pieces.next().ok_or("an element too many")?;
                let shown = || String::from_utf8_lossy(&bytes).into_owned();
                let mut theirs = rxml
                    .feed(&bytes)
                    .map_err(|e| format!("rxml refuses {}: {e}", shown()))?;
                let mut ours = vec![tree];
                // rxml 0.14 leaves a carriage return behind `]` in a CDATA section as it is, against XML 1.0 §2.11.
                let odd = memchr::memmem::find(&bytes, b"]\r").is_some();
                let plain = |trees: Vec<Tree>| trees.into_iter().map(Tree::with_plain_line_ends).collect();
                if odd {
                    (theirs, ours) = (plain(theirs), plain(ours));
                }
                same(&format!("rxml on {}", shown()), &theirs, &ours)?;
                // The source pasted where only the default namespace is declared.
                let mut pasted = Vec::from(&b"<x xmlns='"[..]);
                jackdaw_xmlstream::escape_attr(&mut pasted, &default);
                pasted.extend_from_slice(b"'>");
                let mut elsewhere = Rxml::new();
                elsewhere
                    .feed(&pasted)
                    .map_err(|e| format!("paste under {default}: {e}"))?;
                let mut theirs = elsewhere
                    .feed(source.as_bytes())
                    .map_err(|e| format!("rxml refuses {source}: {e}"))?;
                if odd {
                    theirs = plain(theirs);
                }
                same(&format!("pasted {source}"), &theirs, &ours)?;
            }
            Said::Close | Said::Error(_) | Said::Waiting => {}
        }
    }
    let pieces = run(input, cuts.iter().copied(), &LIMITS, |_, _| {});
    // What is wrong inside a long element may be noticed later when it comes in pieces.
    let late = input.len() > 2048
        && matches!(
            (pieces.last(), said.last()),
            (Some(Said::Waiting), Some(Said::Error(_)))
        )
        && pieces[..pieces.len() - 1] == said[..said.len() - 1];
    if !late {
        same(&format!("cut at {cuts:?}"), &pieces, &said)?;
    }
    Ok(said.iter().filter(|s| matches!(s, Said::Element { .. })).count())
}

/// The default namespace that a header declares.
fn default_of(header: &str) -> String {
    let mut scratch = Scratch::default();
    match Framer::new()
        .next(header.as_bytes(), &mut scratch, &LIMITS)
        .map(|step| step.event)
    {
        Ok(Event::Header(h)) => h.default_ns().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

/// Marsaglia's xorshift64: the same cases from the same seed everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 16) as usize % n.max(1)
    }
    fn pick<'t, T>(&mut self, all: &'t [T]) -> &'t T {
        &all[self.below(all.len())]
    }
}

/// Pieces of XML that matter to one rule or another.
const DICTIONARY: &[&str] = &[
    "<",
    ">",
    "/>",
    "</",
    "</a>",
    "<a>",
    "<a/>",
    "<p:a/>",
    "<p:a>",
    "</p:a>",
    "<![CDATA[",
    "]]>",
    "]]",
    "<!--",
    "-->",
    "<?x?>",
    "<?xml version='1.0'?>",
    "<!DOCTYPE a>",
    "&amp;",
    "&lt;",
    "&#10;",
    "&#x0;",
    "&#xFFFE;",
    "&#x10FFFF;",
    "&foo;",
    "&",
    ";",
    "&#",
    "'",
    "\"",
    "=",
    " ",
    "\t",
    "\r\n",
    "\r",
    "\n",
    " a='b'",
    " a=\"b'\"",
    " b=''",
    " p:a='1'",
    " q:a='2'",
    " xmlns='urn:d'",
    " xmlns=''",
    " xmlns:p='urn:p'",
    " xmlns:q='urn:p'",
    " xmlns:p=''",
    " xmlns:xml='http://www.w3.org/XML/1998/namespace'",
    " xmlns:x='http://www.w3.org/XML/1998/namespace'",
    " xmlns:xmlns='urn:x'",
    " xmlns:p='a&amp;b'",
    " xml:lang='de'",
    "xml:",
    "stream:",
    " stream:a='1'",
    "p:",
    ":",
    "é",
    "\u{fffe}",
    "\u{ffff}",
    "\u{10000}",
    "ￂ",
    "-",
    ".",
    "1",
    "_",
    "\0",
    "\x01",
    "\x7f",
    "\u{85}",
    "]",
    "!",
    "?",
    "</stream:stream>",
    "<message>",
    "</message>",
    "xmlns",
    "a:b:c",
];

/// Changes `input` from `fixed` on in a few places.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, fixed: usize, others: &[Vec<u8>]) {
    let fixed = if rng.below(10) == 0 { 0 } else { fixed.min(input.len()) };
    for _ in 0..1 + rng.below(4) {
        let span = input.len() - fixed.min(input.len());
        let at = fixed.min(input.len()) + rng.below(span + 1);
        let length = (1 + rng.below(12)).min(input.len() - at);
        match rng.below(8) {
            0 if at < input.len() => input[at] ^= 1 << rng.below(8),
            1 if at < input.len() => input[at] = rng.next() as u8,
            2 => drop(input.drain(at..at + length)),
            3 => {
                let copy = input[at..at + length].to_vec();
                let to = fixed.min(input.len()) + rng.below(span + 1);
                input.splice(to..to, copy);
            }
            4 => {
                let other = rng.pick(others);
                let from = rng.below(other.len());
                let to = (from + 1 + rng.below(60)).min(other.len());
                input.splice(at..at, other[from..to].iter().copied());
            }
            _ => drop(input.splice(at..at, rng.pick(DICTIONARY).bytes())),
        }
    }
}

/// The seeds of `crates/xmlstream/corpus`, in the order of their names.
pub fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the corpus folder is checked in")
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.extension().is_some_and(|e| e == "xml"))
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a readable file"))
        })
        .collect();
    files.sort();
    files
}

pub struct Tally {
    pub cases: u64,
    pub accepted: u64,
}

/// Mutates seeds until `go_on` says no. On a failure the message has the input.
pub fn fuzz(seeds: &[Vec<u8>], seed: u64, mut go_on: impl FnMut(u64) -> bool) -> Result<Tally, (Vec<u8>, String)> {
    let mut rng = Rng(seed.max(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut tally = Tally { cases: 0, accepted: 0 };
    let fixed: Vec<usize> = seeds.iter().map(|s| header_length(s)).collect();
    while go_on(tally.cases) {
        let which = rng.below(seeds.len());
        let mut input = seeds[which].clone();
        mutate(&mut rng, &mut input, fixed[which], seeds);
        let mut cuts: Vec<usize> = (0..rng.below(4)).map(|_| rng.below(input.len() + 1)).collect();
        cuts.sort();
        match compare(&input, &cuts) {
            Ok(accepted) => tally.accepted += u64::from(accepted > 0),
            Err(problem) => return Err((input, problem)),
        }
        tally.cases += 1;
    }
    Ok(tally)
}

fn header_length(seed: &[u8]) -> usize {
    let mut scratch = Scratch::default();
    Framer::new()
        .next(seed, &mut scratch, &LIMITS)
        .map_or(0, |step| step.consumed)
}
