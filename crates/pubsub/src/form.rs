//! Data forms (XEP-0004) as far as PubSub uses them.

use stanza::{StanzaError, ns};
use xmlstream::{Child, escape_attr, escape_text};

/// Fields of a submitted form, in order, with their values.
pub(crate) type Fields = Vec<(String, Vec<String>)>;

/// How a field is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Boolean,
    TextMulti,
    Jid,
    JidMulti,
    /// Some of these values.
    ListMulti(&'static [&'static str]),
    /// One of these values.
    List(&'static [&'static str]),
}

/// What was submitted (section 3.3). None: it was cancelled.
pub(crate) fn read(parent: &Child<'_>, form_type: &str) -> Result<Option<Fields>, StanzaError> {
    match parent.child("x", ns::DATA_FORMS) {
        Some(form) => read_form(&form, form_type),
        None => Err(StanzaError::bad_request().text("a data form is missing")),
    }
}

/// The same of the form itself.
pub(crate) fn read_form(form: &Child<'_>, form_type: &str) -> Result<Option<Fields>, StanzaError> {
    match form.attr("type").as_deref() {
        Some("submit") => {}
        Some("cancel") => return Ok(None),
        _ => return Err(StanzaError::bad_request().text("a form of type submit is wanted")),
    }
    let mut fields = Fields::new();
    for field in form.children().filter(|child| child.is("field", ns::DATA_FORMS)) {
        let Some(var) = field.attr("var") else { continue };
        let values = field.children().filter(|child| child.is("value", ns::DATA_FORMS));
        let values: Vec<String> = values.map(|value| value.text().into_owned()).collect();
        if var != "FORM_TYPE" {
            fields.push((var.into_owned(), values));
        } else if values.first().map(String::as_str) != Some(form_type) {
            return Err(StanzaError::bad_request().text("the form is of another FORM_TYPE"));
        }
    }
    Ok(Some(fields))
}

/// Writes forms.
pub(crate) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    is_form: bool,
}

impl<'o> Writer<'o> {
    /// One to be filled in, with labels and choices; or one that tells.
    pub(crate) fn begin(out: &'o mut Vec<u8>, is_form: bool, form_type: &str) -> Writer<'o> {
        let kind = if is_form { "form" } else { "result" };
        let head = format!(
            "<x xmlns='{}' type='{kind}'><field var='FORM_TYPE' type='hidden'><value>{form_type}</value></field>",
            ns::DATA_FORMS
        );
        out.extend_from_slice(head.as_bytes());
        Writer { out, is_form }
    }

    pub(crate) fn field(&mut self, var: &str, kind: Kind, label: &str, values: &[String]) {
        let type_name = match kind {
            Kind::Text => "text-single",
            Kind::Boolean => "boolean",
            Kind::TextMulti => "text-multi",
            Kind::Jid => "jid-single",
            Kind::JidMulti => "jid-multi",
            Kind::ListMulti(_) => "list-multi",
            Kind::List(_) => "list-single",
        };
        self.out
            .extend_from_slice(format!("<field var='{var}' type='{type_name}'").as_bytes());
        if self.is_form {
            self.out.extend_from_slice(b" label='");
            escape_attr(self.out, label);
            self.out.push(b'\'');
        }
        self.out.push(b'>');
        if let (Kind::List(options) | Kind::ListMulti(options), true) = (kind, self.is_form) {
            for option in options {
                let option = format!("<option><value>{option}</value></option>");
                self.out.extend_from_slice(option.as_bytes());
            }
        }
        for value in values {
            self.out.extend_from_slice(b"<value>");
            escape_text(self.out, value);
            self.out.extend_from_slice(b"</value>");
        }
        self.out.extend_from_slice(b"</field>");
    }

    pub(crate) fn end(self) {
        self.out.extend_from_slice(b"</x>");
    }
}
