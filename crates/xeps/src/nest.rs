//! What components can that answer in the place of the server: a part of its disco#info (XEP-0355, "Nesting"), and so of
//! the hash of that.

use std::collections::BTreeSet;
use std::sync::Arc;

use module::{Registry, Target};
use stanza::ns;
use xmlstream::{Child, Limits, Scratch};

/// What components have to say of the server of a domain, or its accounts, in its disco#info.
pub(crate) struct Nest<'r> {
    delegated: Vec<&'r str>,
    /// Queries of disco#info.
    told: Vec<Arc<str>>,
}

impl<'r> Nest<'r> {
    pub(crate) fn of(registry: &'r Registry, domain: &str, target: Target) -> Nest<'r> {
        let mut nest = Nest {
            delegated: Vec::new(),
            told: Vec::new(),
        };
        if registry.delegate().is_none() {
            return nest;
        }
        let components = registry.components().iter();
        for component in components.filter(|component| *component.shown_by == *domain) {
            for one in &component.delegated {
                nest.delegated.push(&*one.namespace);
                nest.told
                    .extend(registry.nested().get(&component.domain, &one.namespace, target));
            }
        }
        nest
    }

    /// "MUST ignore features of its internal component", and so with its forms: what begins with the namespace.
    pub(crate) fn hides(&self, feature: &str) -> bool {
        let is_of = |namespace: &&str| {
            let rest = feature.strip_prefix(*namespace);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
        };
        self.delegated.iter().any(is_of)
    }

    /// All that they have said, once each.
    pub(crate) fn written(&self) -> Nested {
        let mut nested = Nested::default();
        self.read(|child| {
            let attr = |name| child.attr(name).unwrap_or_default().into_owned();
            match child.name() {
                "identity" => nested.identities.push((attr("category"), attr("type"))),
                "feature" if nested.features.insert(attr("var")) => {}
                "x" if child.ns() == ns::DATA_FORMS => {}
                _ => return,
            }
            child.write_canonical(ns::DISCO_INFO, &mut nested.text);
        });
        nested
    }

    /// Each child of each query.
    pub(crate) fn read(&self, mut each: impl FnMut(&Child<'_>)) {
        let mut scratch = Scratch::default();
        for query in &self.told {
            // It came in a stanza, and was written anew.
            if let Ok(query) = xmlstream::parse_element(query, ns::DISCO_INFO, &mut scratch, &OWN_LIMITS) {
                query.children().for_each(|child| each(&child));
            }
        }
    }
}

/// What components have said, to be shown.
#[derive(Default)]
pub(crate) struct Nested {
    identities: Vec<(String, String)>,
    features: BTreeSet<String>,
    pub(crate) text: String,
}

impl Nested {
    pub(crate) fn has_identity(&self, category: &str, kind: &str) -> bool {
        self.identities.iter().any(|own| own.0 == category && own.1 == kind)
    }

    pub(crate) fn has_feature(&self, feature: &str) -> bool {
        self.features.contains(feature)
    }
}

/// Of what was limited when it came.
pub(crate) const OWN_LIMITS: Limits = Limits {
    bytes: u32::MAX as usize,
    elements: usize::MAX,
    depth: xmlstream::MAX_DEPTH,
    attributes: usize::MAX,
    namespaces: usize::MAX,
    name: usize::MAX >> 1,
};
