//! The slow path: rewrites an element that leans on declarations around it so that it stands on its own.
//!
//! Elements are written without prefix, with an `xmlns` wherever their namespace is not the one in force; prefixed
//! attributes keep their prefix, declared on the same start tag. Text and values are copied as they are: they have
//! been checked. Declarations nobody uses are dropped.

use quick_xml::events::{BytesStart, Event};
use quick_xml::name::NamespaceResolver;

use crate::dom::{escaped, reader, written};
use crate::index::{Index, Node, Outer};
use crate::limits::XmlError;

/// Rewrites a top-level element for use where only `outer.default` is declared. `limit` is the most bytes it may
/// become: a prefix on the stream header lets one letter stand for a long namespace.
pub(crate) fn canonicalise(text: &str, outer: Outer<'_>, limit: usize, out: &mut String) -> Result<(), XmlError> {
    out.clear();
    let prefixes = outer.prefixes.iter().map(|(prefix, ns)| (&**prefix, &**ns));
    let around = std::iter::once(("", outer.default)).chain(prefixes);
    write(text, around, outer.default, limit, out)
}

/// Appends `node` as it would be written where only `default_ns` is declared.
pub(crate) fn canonical_node(source: &str, index: &Index, node: &Node, default_ns: &str, out: &mut String) {
    let text = &source[node.start as usize..node.end as usize];
    // Without a limit it cannot fail: the text is checked.
    let result = write(text, index.in_scope(source, node.start), default_ns, usize::MAX, out);
    debug_assert!(result.is_ok());
}

fn write<'o>(
    text: &str,
    around: impl Iterator<Item = (&'o str, &'o str)>,
    default_ns: &str,
    limit: usize,
    out: &mut String,
) -> Result<(), XmlError> {
    let mut reader = reader(text, around);
    // The default namespace inside each open element, and where in `out` its name is.
    let mut open: Vec<(String, std::ops::Range<usize>)> = Vec::new();
    let base = escaped(default_ns);
    loop {
        let event = reader.read_event().map_err(|_| XmlError::NotWellFormed)?;
        match event {
            Event::Start(start) => {
                let default = open.last().map_or(&*base, |(default, _)| default);
                let (default, name) = start_tag(&start, reader.resolver(), default, out);
                out.push('>');
                open.push((default, name));
            }
            Event::Empty(start) => {
                let default = open.last().map_or(&*base, |(default, _)| default);
                start_tag(&start, reader.resolver(), default, out);
                out.push_str("/>");
            }
            Event::End(_) => {
                if let Some((_, name)) = open.pop() {
                    out.push_str("</");
                    out.extend_from_within(name);
                    out.push('>');
                }
            }
            Event::Text(raw) => out.push_str(&raw),
            Event::CData(raw) => {
                out.push_str("<![CDATA[");
                out.push_str(&raw);
                out.push_str("]]>");
            }
            Event::GeneralRef(name) => {
                out.push('&');
                out.push_str(&name);
                out.push(';');
            }
            Event::Eof => return Ok(()),
            // The strict pass lets none of these through.
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {
                return Err(XmlError::RestrictedXml);
            }
        }
        if out.len() > limit {
            return Err(XmlError::TooLong);
        }
    }
}

/// Writes a start tag without its `>`; returns the default namespace inside it and where its name stands.
fn start_tag(
    start: &BytesStart<'_>,
    resolver: &NamespaceResolver,
    default: &str,
    out: &mut String,
) -> (String, std::ops::Range<usize>) {
    let (ns, local) = resolver.resolve_element(start.name());
    let ns = written(&ns);
    out.push('<');
    let from = out.len();
    // `xml` is always declared and must not be made a default namespace (Namespaces §3).
    let reserved = start.name().prefix().is_some_and(|p| p.is_xml());
    out.push_str(if reserved {
        start.name().into_inner()
    } else {
        local.into_inner()
    });
    let name = from..out.len();
    let changes = !reserved && ns != default;
    if changes {
        attribute(out, "xmlns", ns);
    }
    let default = if changes { ns } else { default };
    let mut declared: Vec<&str> = Vec::new();
    for a in start.attributes().with_checks(false).flatten() {
        if a.key.as_namespace_binding().is_some() {
            continue;
        }
        if let Some(prefix) = a.key.prefix().filter(|p| !p.is_xml()) {
            let prefix = prefix.into_inner();
            if !declared.contains(&prefix) {
                declared.push(prefix);
                attribute(
                    out,
                    &format!("xmlns:{prefix}"),
                    written(&resolver.resolve_attribute(a.key).0),
                );
            }
        }
        attribute(out, a.key.into_inner(), &a.value);
    }
    (default.to_owned(), name)
}

/// Writes an attribute whose value is already escaped for the quotes it once had.
fn attribute(out: &mut String, name: &str, escaped: &str) {
    let quote = if escaped.contains('\'') { '"' } else { '\'' };
    out.push(' ');
    out.push_str(name);
    out.push('=');
    out.push(quote);
    out.push_str(escaped);
    out.push(quote);
}
