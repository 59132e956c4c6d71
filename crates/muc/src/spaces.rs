//! XEP-0503 Server-side spaces 0.3.0: a room tells to which space it belongs.
//!
//! A space is a node with a list of rooms, and needs nothing of the service for nodes that it does not have for others. What
//! a room has to say is section 6.5: which space is its parent, as its owners have written it. Whether the space has the
//! room too is for who reads both. The field of the configuration has no registered name, and so one of XEP-0068
//! section 3.4; `muc#roomconfig_pubsub` alone does not tell a space from another node.

use module::{DataField, DataForm, FieldType};

use crate::away::address;
use crate::config::{Field, single};
use crate::extension::Extension;

const NS: &str = "urn:xmpp:spaces:0";

/// Bytes of the address of a space; a longer one is `not-acceptable`.
const ADDRESS_BYTES: usize = 1_024;

pub(crate) const EXTENSION: Extension = Extension {
    features: |room| match room.config.space.is_empty() {
        true => &[],
        false => &[NS],
    },
    // For who knows rooms and no spaces.
    info: |room, _| match (&*room.config.space, &*room.config.pubsub) {
        ("", _) => Vec::new(),
        (space, "") => {
            let field = DataField::new("muc#roomconfig_pubsub", FieldType::TextSingle, "Associated pubsub node");
            vec![field.value(space)]
        }
        _ => Vec::new(),
    },
    forms: |room| match &*room.config.space {
        "" => Vec::new(),
        space => {
            let parent = DataField::new("parent", FieldType::TextSingle, "Space parent").value(space);
            vec![DataForm::result().of_type(NS).field(parent)]
        }
    },
    fields: &[Field {
        var: "{urn:xmpp:spaces:0}parent",
        kind: FieldType::TextSingle,
        label: "Address of the space that it belongs to",
        options: &[],
        more: "",
        get: |config| vec![config.space.clone()],
        set: |config, values| {
            let space = single(values)?.trim();
            (space.is_empty() || is_node(space)).then(|| config.space = space.to_owned())
        },
    }],
    ..Extension::NONE
};

/// Whether this is the address of a node: `xmpp:pubsub.example.org?;node=dev`.
fn is_node(uri: &str) -> bool {
    let query = uri.split_once('?').map(|(_, query)| query);
    let has_node = |query: &str| query.split(';').any(|part| part.len() > 5 && part.starts_with("node="));
    uri.len() <= ADDRESS_BYTES && address(uri).is_some() && query.is_some_and(has_node)
}
