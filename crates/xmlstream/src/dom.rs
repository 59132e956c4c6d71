//! Checked text to a minidom tree, by quick-xml's events: a quarter of the cost of minidom's own reader, which checks
//! everything again.

use minidom::rxml::{Namespace as RxmlNamespace, NcName};
use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, NamespaceResolver, PrefixDeclaration, ResolveResult};

use crate::index::{Index, Node};
use crate::text::{escape_attr, push_cdata, push_unescaped, unescape_attr};

/// A reader over `text` that knows the declarations in `outer`: (prefix, namespace), outermost first.
///
/// quick-xml keeps namespace names as they are written, so these are escaped like the ones it will find itself.
pub(crate) fn reader<'t, 'o>(text: &'t str, outer: impl Iterator<Item = (&'o str, &'o str)>) -> NsReader<&'t [u8]> {
    let mut reader = NsReader::from_str(text);
    let resolver = reader.resolver_mut();
    // The strict pass has counted them.
    resolver.set_max_namespace_bindings(usize::MAX);
    for (prefix, ns) in outer {
        let declaration = if prefix.is_empty() {
            PrefixDeclaration::Default
        } else {
            PrefixDeclaration::Named(prefix)
        };
        // Refuses only what the strict pass refused.
        let _ = resolver.add(declaration, Namespace(&escaped(ns)));
    }
    reader
}

pub(crate) fn escaped(s: &str) -> String {
    let mut out = Vec::with_capacity(s.len());
    escape_attr(&mut out, s);
    String::from_utf8(out).unwrap_or_default() // escaping keeps UTF-8
}

/// A namespace name as written, still escaped; empty where there is none.
pub(crate) fn written<'r>(found: &ResolveResult<'r>) -> &'r str {
    match found {
        ResolveResult::Bound(ns) => ns.0,
        _ => "",
    }
}

pub(crate) fn build(source: &str, index: &Index, node: &Node) -> minidom::Element {
    let text = &source[node.start as usize..node.end as usize];
    let mut reader = reader(text, index.in_scope(source, node.start));
    let mut open: Vec<minidom::Element> = Vec::new();
    let mut characters = String::new();
    loop {
        let event = reader.read_event();
        if let Ok(Event::Start(_) | Event::Empty(_) | Event::End(_)) = event
            && let Some(parent) = open.last_mut()
            && !characters.is_empty()
        {
            parent.append_text(std::mem::take(&mut characters));
        }
        let finished = match event {
            Ok(Event::Start(start)) => {
                open.push(element(&start, reader.resolver()));
                None
            }
            Ok(Event::Empty(start)) => Some(element(&start, reader.resolver())),
            Ok(Event::End(_)) => open.pop(),
            Ok(Event::Text(raw)) => {
                push_unescaped(&mut characters, &raw, false);
                None
            }
            Ok(Event::CData(raw)) => {
                push_cdata(&mut characters, &raw);
                None
            }
            Ok(Event::GeneralRef(name)) => {
                push_unescaped(&mut characters, &format!("&{};", &*name), false);
                None
            }
            Ok(Event::Eof) => break,
            Ok(_) => None,
            Err(error) => {
                // The text has passed a stricter check than quick-xml's.
                debug_assert!(false, "quick-xml: {error}");
                break;
            }
        };
        if let Some(element) = finished {
            match open.last_mut() {
                Some(parent) => drop(parent.append_child(element)),
                None => return element,
            }
        }
    }
    debug_assert!(false, "no root element");
    open.into_iter()
        .next()
        .unwrap_or_else(|| minidom::Element::bare(&source[node.name.local()], ""))
}

fn element(start: &BytesStart<'_>, resolver: &NamespaceResolver) -> minidom::Element {
    let (ns, local) = resolver.resolve_element(start.name());
    let mut element = minidom::Element::bare(local.into_inner(), unescape_attr(written(&ns)));
    for attribute in start.attributes().with_checks(false).flatten() {
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        let (ns, local) = resolver.resolve_attribute(attribute.key);
        let ns = match unescape_attr(written(&ns)) {
            ns if ns.is_empty() => RxmlNamespace::NONE,
            ns => RxmlNamespace::from(ns.into_owned()),
        };
        // Checked by the strict pass, by the same definition.
        if let Ok(name) = NcName::try_from(local.into_inner()) {
            element.set_attr(ns, name, unescape_attr(&attribute.value).into_owned());
        }
    }
    element
}
