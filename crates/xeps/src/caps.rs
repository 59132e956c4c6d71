//! XEP-0115 Entity Capabilities 1.6.0: a hash of the server's disco#info among its stream
//! features (section 6.3), so that a client asks only when something has changed.

use module::{Coverage, Form, Host, Identity, Module, Registry, Target};
use presence::caps::{self, Info};
use stanza::ns;
use xmlstream::Scratch;

use crate::nest::Nest;

/// What names the software (section 4): a URI, without an address that somebody else might own.
const NODE: &str = "urn:x-jackdaw:server";

pub(crate) fn module() -> Module {
    Module::new("caps")
        .xep(115, "Entity Capabilities", "1.6.0", Coverage::Complete)
        .xep(
            390,
            "Entity Capabilities 2.0",
            "0.3.2",
            Coverage::Partial("clients' are read; the server announces its own as in XEP-0115 alone"),
        )
        .server_feature(ns::CAPS)
        .stream_feature(announce)
}

/// The node that disco#info is asked for with these capabilities (section 6.2).
pub(crate) fn node(host: &Host, registry: &Registry) -> String {
    format!("{NODE}#{}", of(host, registry))
}

fn announce(host: &Host, registry: &Registry) -> String {
    format!(
        "<c xmlns='{}' hash='sha-1' node='{NODE}' ver='{}'/>",
        ns::CAPS,
        of(host, registry)
    )
}

/// Of what `disco` answers.
fn of(host: &Host, registry: &Registry) -> String {
    let nest = Nest::of(registry, &host.domain, Target::Server);
    let nested = nest.written();
    let identities = registry.identities(Target::Server);
    let identities = identities.filter(|identity| !nested.has_identity(identity.category, identity.kind));
    let features = registry.features(Target::Server);
    let features = features.filter(|feature| !nest.hides(feature) && !nested.has_feature(feature));
    let forms = registry.forms(Target::Server, host);
    let forms = forms.filter(|form| !nest.hides(form.form_type));
    let own = info(identities.collect(), features.collect(), forms.collect());
    if nested.text.is_empty() {
        return own.ver();
    }
    let text = format!("<x><query xmlns='{}'>{}</query></x>", ns::DISCO_INFO, nested.text);
    let mut scratch = Scratch::default();
    let read = xmlstream::parse_element(&text, ns::CLIENT, &mut scratch, &crate::nest::OWN_LIMITS);
    let told = read.as_ref().ok().and_then(|x| x.children().next());
    let told = told.map(|query| Info::read(&query, None)).unwrap_or_default();
    Info::new(
        [own.identities, told.identities].concat(),
        [own.features, told.features].concat(),
        [own.forms, told.forms].concat(),
    )
    .ver()
}

/// Section 5.1.
fn info<'a>(identities: Vec<Identity>, features: Vec<&'a str>, forms: Vec<Form>) -> Info<'a> {
    let identities = identities.into_iter().map(|identity| caps::Identity {
        category: identity.category.into(),
        kind: identity.kind.into(),
        lang: "".into(),
        name: identity.name.into(),
    });
    let forms = forms.into_iter().map(|form| caps::Form {
        form_type: Some(form.form_type.into()),
        fields: form
            .fields
            .into_iter()
            .map(|field| (field.var.into(), field.values.into_iter().map(Into::into).collect()))
            .collect(),
    });
    let features = features.into_iter().map(Into::into);
    Info::new(identities.collect(), features.collect(), forms.collect())
}

#[cfg(test)]
mod tests {
    use module::Field;

    use super::*;

    fn ver(identities: Vec<Identity>, features: Vec<&str>, forms: Vec<Form>) -> String {
        info(identities, features, forms).ver()
    }

    /// The example of section 5.2.
    #[test]
    fn a_simple_hash() {
        let identity = Identity {
            category: "client",
            kind: "pc",
            name: "Exodus 0.9.1",
        };
        let features = vec![
            "http://jabber.org/protocol/disco#info",
            "http://jabber.org/protocol/disco#items",
            "http://jabber.org/protocol/muc",
            "http://jabber.org/protocol/caps",
        ];
        assert_eq!(
            ver(vec![identity], features, Vec::new()),
            "QgayPKawpkPSDYmwT/WM94uAlu0="
        );
    }

    #[test]
    fn a_form_changes_the_hash_and_the_order_of_its_parts_does_not() {
        let form = |values: [&str; 2]| Form {
            form_type: "http://jabber.org/network/serverinfo",
            fields: vec![Field {
                var: "abuse-addresses",
                is_list: true,
                values: values.map(str::to_owned).to_vec(),
            }],
        };
        let one = ver(Vec::new(), vec!["a", "b"], vec![form(["x", "y"])]);
        assert_eq!(one, ver(Vec::new(), vec!["b", "a"], vec![form(["y", "x"])]));
        assert_ne!(one, ver(Vec::new(), vec!["a", "b"], Vec::new()));
    }
}
