//! Data forms (XEP-0004): to be filled in, or to tell something, and what was filled in.

use std::fmt::Write as _;

use stanza::ns;
use xmlstream::Child;

/// How a field is shown (section 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldType {
    #[default]
    TextSingle,
    /// Not to be seen by who looks over the shoulder.
    TextPrivate,
    TextMulti,
    Boolean,
    JidSingle,
    JidMulti,
    ListSingle,
    ListMulti,
    Fixed,
}

impl FieldType {
    fn as_str(self) -> &'static str {
        match self {
            FieldType::TextSingle => "text-single",
            FieldType::TextPrivate => "text-private",
            FieldType::TextMulti => "text-multi",
            FieldType::Boolean => "boolean",
            FieldType::JidSingle => "jid-single",
            FieldType::JidMulti => "jid-multi",
            FieldType::ListSingle => "list-single",
            FieldType::ListMulti => "list-multi",
            FieldType::Fixed => "fixed",
        }
    }
}

/// A field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataField {
    pub var: &'static str,
    pub kind: FieldType,
    pub label: &'static str,
    pub required: bool,
    /// Label and value of each.
    pub options: Vec<(&'static str, &'static str)>,
    pub values: Vec<String>,
    /// What else is in it to be filled in, as XML: a description, what it is checked for (XEP-0122).
    pub more: &'static str,
}

impl DataField {
    pub fn new(var: &'static str, kind: FieldType, label: &'static str) -> DataField {
        DataField {
            var,
            kind,
            label,
            ..DataField::default()
        }
    }

    #[must_use]
    pub fn required(mut self) -> DataField {
        self.required = true;
        self
    }

    #[must_use]
    pub fn value(mut self, value: impl Into<String>) -> DataField {
        self.values.push(value.into());
        self
    }

    #[must_use]
    pub fn values(mut self, values: impl IntoIterator<Item = String>) -> DataField {
        self.values.extend(values);
        self
    }

    #[must_use]
    pub fn options(mut self, options: &[(&'static str, &'static str)]) -> DataField {
        self.options.extend_from_slice(options);
        self
    }

    #[must_use]
    pub fn more(mut self, more: &'static str) -> DataField {
        self.more = more;
        self
    }

    fn write(&self, to_fill: bool, out: &mut String) {
        let _ = write!(out, "<field var='{}' type='{}'", self.var, self.kind.as_str());
        if !self.label.is_empty() {
            let _ = write!(out, " label='{}'", escaped(self.label));
        }
        out.push('>');
        if self.required && to_fill {
            out.push_str("<required/>");
        }
        if to_fill {
            out.push_str(self.more);
        }
        for value in &self.values {
            let _ = write!(out, "<value>{}</value>", escaped(value));
        }
        for (label, value) in &self.options {
            let _ = write!(
                out,
                "<option label='{}'><value>{value}</value></option>",
                escaped(label)
            );
        }
        out.push_str("</field>");
    }
}

/// A form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DataForm {
    /// Of XEP-0068.
    pub form_type: Option<&'static str>,
    /// To be filled in; else it tells.
    pub to_fill: bool,
    pub title: &'static str,
    pub instructions: &'static str,
    pub fields: Vec<DataField>,
    /// What else is in it, as XML.
    pub more: String,
}

impl DataForm {
    /// One to be filled in.
    pub fn new(title: &'static str, instructions: &'static str) -> DataForm {
        DataForm {
            to_fill: true,
            title,
            instructions,
            ..DataForm::default()
        }
    }

    /// One that tells.
    pub fn result() -> DataForm {
        DataForm::default()
    }

    #[must_use]
    pub fn of_type(mut self, form_type: &'static str) -> DataForm {
        self.form_type = Some(form_type);
        self
    }

    #[must_use]
    pub fn field(mut self, field: DataField) -> DataForm {
        self.fields.push(field);
        self
    }

    /// As XML.
    pub fn text(&self) -> String {
        let kind = if self.to_fill { "form" } else { "result" };
        let mut out = format!("<x xmlns='{}' type='{kind}'>", ns::DATA_FORMS);
        for (name, text) in [("title", self.title), ("instructions", self.instructions)] {
            if !text.is_empty() {
                let _ = write!(out, "<{name}>{}</{name}>", escaped(text));
            }
        }
        if let Some(form_type) = self.form_type {
            let _ = write!(
                out,
                "<field var='FORM_TYPE' type='hidden'><value>{form_type}</value></field>"
            );
        }
        for field in &self.fields {
            field.write(self.to_fill, &mut out);
        }
        out.push_str(&self.more);
        out.push_str("</x>");
        out
    }
}

/// For an attribute or a text.
fn escaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    xmlstream::escape_attr(&mut out, text);
    // Escaping text yields text.
    String::from_utf8(out).unwrap_or_default()
}

/// What was filled in, as far as it has names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Submitted(Vec<(String, Vec<String>)>);

impl Submitted {
    /// Reads `<x/>`; of which type it is, is for the caller.
    pub fn read(form: &Child<'_>) -> Submitted {
        let fields = form.children().filter(|child| child.is("field", ns::DATA_FORMS));
        let fields = fields.filter_map(|field| {
            let values = field.children().filter(|child| child.is("value", ns::DATA_FORMS));
            let values = values.map(|value| value.text().into_owned());
            Some((field.attr("var")?.into_owned(), values.collect()))
        });
        Submitted(fields.collect())
    }

    /// Whether there is such a field, with values or without.
    pub fn has(&self, var: &str) -> bool {
        self.0.iter().any(|(name, _)| name == var)
    }

    /// All values of a field.
    pub fn all(&self, var: &str) -> &[String] {
        let field = self.0.iter().find(|(name, _)| name == var);
        field.map_or(&[], |(_, values)| values)
    }

    /// The first value of a field, if it is not empty.
    pub fn one(&self, var: &str) -> Option<&str> {
        self.all(var)
            .first()
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The values of a field as the lines of one text, if that is not empty.
    pub fn lines(&self, var: &str) -> Option<String> {
        let text = self.all(var).join("\n");
        (!text.trim().is_empty()).then_some(text)
    }

    /// None: it is not one of the words of XEP-0004 section 3.3.
    pub fn boolean(&self, var: &str) -> Option<bool> {
        match self.one(var)? {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => None,
        }
    }

    /// Of all names and values.
    pub fn bytes(&self) -> usize {
        let field = |(name, values): &(String, Vec<String>)| name.len() + values.iter().map(String::len).sum::<usize>();
        self.0.iter().map(field).sum()
    }
}
