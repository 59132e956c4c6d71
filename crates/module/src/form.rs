//! A data form that extends disco#info (XEP-0128): structured, because it is both shown and hashed.

/// One field: its variable and its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub var: &'static str,
    /// It is a list, also if it has one value. Of others nothing is said: some clients read what they are told is a list
    /// as a list.
    pub is_list: bool,
    pub values: Vec<String>,
}

/// A form of type "result" with a FORM_TYPE (XEP-0068).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    pub form_type: &'static str,
    pub fields: Vec<Field>,
}

impl Form {
    /// Appends the form as XML.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>");
        xmlstream::escape_text(out, self.form_type);
        out.extend_from_slice(b"</value></field>");
        for field in &self.fields {
            out.extend_from_slice(b"<field var='");
            xmlstream::escape_attr(out, field.var);
            let kind = if field.is_list { "' type='list-multi'>" } else { "'>" };
            out.extend_from_slice(kind.as_bytes());
            for value in &field.values {
                out.extend_from_slice(b"<value>");
                xmlstream::escape_text(out, value);
                out.extend_from_slice(b"</value>");
            }
            out.extend_from_slice(b"</field>");
        }
        out.extend_from_slice(b"</x>");
    }
}
