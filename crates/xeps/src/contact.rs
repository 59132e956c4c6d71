//! XEP-0157 Contact Addresses for XMPP Services 1.1.1: whom to write to about this server, as a
//! form in its disco#info (XEP-0128 1.0.1).

use module::{Coverage, Field, Form, Host, Module};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("contact")
        .xep(128, "Service Discovery Extensions", "1.0.1", Coverage::Complete)
        .xep(157, "Contact Addresses for XMPP Services", "1.1.1", Coverage::Complete)
        .server_form(contacts)
}

fn contacts(host: &Host) -> Option<Form> {
    let fields: Vec<Field> = host
        .contacts
        .iter()
        .filter(|(_, addresses)| !addresses.is_empty())
        .map(|(var, addresses)| Field {
            var,
            is_list: true,
            values: addresses.clone(),
        })
        .collect();
    (!fields.is_empty()).then_some(Form {
        form_type: ns::SERVER_INFO,
        fields,
    })
}
