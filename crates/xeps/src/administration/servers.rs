//! What is known of another server: a command of our own, which says what `jackdaw why` does.

use module::command::{Command, Done, Step, bad_payload};
use module::{Action, Ask, DataField, DataForm, FieldType, Outcome, Submitted};
use stanza::{Jid, StanzaError};

use super::{command, form, last, wrong};

pub(super) const COMMANDS: &[Command] = &[command("jackdaw:why", "Tell why a server is not reached", why)];

/// Lines of an answer. The newest attempts come first.
const LINES: usize = 500;

fn why(_: &Ask<'_>, forms: &[Submitted]) -> Step {
    let Some(filled) = forms.first() else {
        let form = form(
            "Telling Why a Server Is Not Reached",
            "Fill out this form to be told what is known of another server, and what came of attempts to reach it.",
        );
        return last(
            form.field(DataField::new("domain", FieldType::TextSingle, "The domain of the server").required()),
        );
    };
    let domain = filled.one("domain").map(str::trim).unwrap_or_default();
    let domain = Jid::parse(domain).ok().filter(|jid| jid.as_str() == jid.domain());
    let Some(domain) = domain else {
        return wrong(bad_payload("domain is not the domain of a server"));
    };
    Step::Act(
        Action::Why(domain.as_str().into()),
        Box::new(|acted| match acted.map_err(|refused| refused.error())? {
            Outcome::Lines(mut lines) => {
                lines.truncate(LINES);
                let known = DataField::new("known", FieldType::TextMulti, "What is known").values(lines);
                Ok(Done::form(DataForm {
                    fields: vec![known],
                    ..DataForm::result()
                }))
            }
            _ => Err(StanzaError::internal_server_error()),
        }),
    )
}
