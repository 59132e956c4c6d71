//! XEP-0054 vcard-temp 1.3.0: what an account tells of its person, to whoever asks.

use module::{Access, Answer, Ask, Coverage, Method, Module, Relation, Said, Texts};
use stanza::{ErrorType, StanzaError};
use store::{Batch, Column, Found, Query, Shape, StoreError, Table, row};

const NS: &str = "vcard-temp";

/// Bytes of a vCard. It has the picture in it, in Base64.
const VCARD_BYTES: usize = 256 * 1024;

/// As XML on its own.
static VCARDS: Table = Table {
    name: "vcard",
    shape: Shape::KeyVal,
    columns: &[Column::text("vcard")],
};

pub(crate) fn module() -> Module {
    Module::new("vcard")
        .xep(
            54,
            "vcard-temp",
            "1.3.0",
            Coverage::Partial("accounts have one, the server has none"),
        )
        .server_feature(NS)
        .account_feature(NS)
        .table(&VCARDS)
        .account_iq(Method::Get, "vCard", NS, Access::Anyone, get)
        .account_iq(Method::Set, "vCard", NS, Access::Owner, set)
}

/// Sections 3.1 and 3.3: one's own is empty where there is none; of others it is as if there were no account.
fn get(ask: &mut Ask<'_>) -> Answer {
    let is_own = ask.relation == Relation::Owner;
    let said = move |found: Result<Found, StoreError>| {
        let answer = match found.and_then(Found::row) {
            Ok(row) => match row.as_ref().and_then(|row| row.first()?.as_text()) {
                Some(vcard) => Ok(vcard.to_owned()),
                None if is_own => Ok(format!("<vCard xmlns='{NS}'/>")),
                None => Err(StanzaError::service_unavailable()),
            },
            Err(StoreError::Overloaded) => Err(StanzaError::resource_constraint().kind(ErrorType::Wait)),
            Err(_) => Err(StanzaError::internal_server_error().kind(ErrorType::Wait)),
        };
        Said {
            messages: Texts::default(),
            arrived: Vec::new(),
            answer,
        }
    };
    Answer::Asked(Query::get(&VCARDS, ask.to.bare_str(), None), Box::new(said))
}

/// Section 3.2: always the whole.
fn set(ask: &mut Ask<'_>) -> Answer {
    let mut vcard = String::new();
    ask.payload.write_canonical("", &mut vcard);
    if vcard.len() > VCARD_BYTES {
        return Answer::Error(StanzaError::not_acceptable().text("the vCard is too long"));
    }
    let batch = Batch::new().put(&VCARDS, ask.to.bare_str(), None, row![vcard]);
    Answer::Stored(batch, String::new())
}
