//! Announcements, the message of the day, and how new users are welcomed (sections 4.23 to 4.28).

use module::command::{Command, Done, Stage, Step, bad_payload};
use module::{Action, Ask, DataField, FieldType, Outcome, Standing, Submitted};
use stanza::StanzaError;

use super::{command, done, form, last, wrong};

/// Bytes of a text.
const TEXT_BYTES: usize = 10_000;

pub(super) const COMMANDS: &[Command] = &[
    command(
        "http://jabber.org/protocol/admin#announce",
        "Announce something to online users",
        announce,
    ),
    command(
        "http://jabber.org/protocol/admin#set-motd",
        "Set the message of the day",
        |ask, forms| set(ask, forms, &SET_MOTD),
    ),
    command(
        "http://jabber.org/protocol/admin#edit-motd",
        "Edit the message of the day",
        |ask, forms| set(ask, forms, &EDIT_MOTD),
    ),
    command(
        "http://jabber.org/protocol/admin#delete-motd",
        "Delete the message of the day",
        |ask, _| delete(ask, Standing::Motd),
    ),
    command(
        "http://jabber.org/protocol/admin#set-welcome",
        "Set the welcome message",
        |ask, forms| set(ask, forms, &SET_WELCOME),
    ),
    command(
        "http://jabber.org/protocol/admin#delete-welcome",
        "Delete the welcome message",
        |ask, _| delete(ask, Standing::Welcome),
    ),
];

/// A command that sets a text.
struct Set {
    standing: Standing,
    /// Who was given the one before is given this one.
    afresh: bool,
    title: &'static str,
    instructions: &'static str,
    var: &'static str,
    label: &'static str,
}

const SET_MOTD: Set = Set {
    standing: Standing::Motd,
    afresh: true,
    title: "Setting the Message of the Day",
    instructions: "Fill out this form to set the message of the day.",
    var: "motd",
    label: "Message of the Day",
};

const EDIT_MOTD: Set = Set {
    afresh: false,
    title: "Editing the Message of the Day",
    instructions: "Fill out this form to edit the message of the day. Who has seen it already is not shown it again.",
    ..SET_MOTD
};

const SET_WELCOME: Set = Set {
    standing: Standing::Welcome,
    afresh: false,
    title: "Setting Welcome Message",
    instructions: "Fill out this form to set the welcome message for this service.",
    var: "welcome",
    label: "Welcome Message",
};

fn text(filled: &Submitted, var: &str) -> Result<String, StanzaError> {
    let text = filled.lines(var);
    let text = text.ok_or_else(|| bad_payload(format!("{var} is missing")))?;
    if text.len() > TEXT_BYTES {
        return Err(bad_payload(format!("no more than {TEXT_BYTES} bytes")));
    }
    Ok(text)
}

fn announce(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let Some(filled) = forms.first() else {
        let form = form(
            "Making an Announcement",
            "Fill out this form to make an announcement to all online users of this service.",
        );
        return last(form.field(DataField::new("announcement", FieldType::TextMulti, "Announcement").required()));
    };
    let text = match text(filled, "announcement") {
        Ok(text) => text,
        Err(error) => return wrong(error),
    };
    let domain = ask.host.domain.as_str().into();
    Step::Act(
        Action::Announce { domain, text },
        Box::new(|acted| match acted.map_err(|refused| refused.error())? {
            Outcome::Count(count) => Ok(Done::note(format!("Sent to {count} users."))),
            _ => Err(StanzaError::internal_server_error()),
        }),
    )
}

/// Sections 4.24, 4.25 and 4.27: the form has the text that stands.
fn set(ask: &Ask<'_>, forms: &[Submitted], set: &'static Set) -> Step {
    let domain: Box<str> = ask.host.domain.as_str().into();
    let standing = set.standing;
    let Some(filled) = forms.first() else {
        return Step::Known(
            Action::Standing { domain, standing },
            Box::new(|acted| match acted.map_err(|refused| refused.error())? {
                Outcome::Text(text) => {
                    let lines = text.iter().flat_map(|text| text.lines()).map(str::to_owned);
                    let field = DataField::new(set.var, FieldType::TextMulti, set.label);
                    let form = form(set.title, set.instructions).field(field.required().values(lines));
                    Ok(Stage::LastForm(form))
                }
                _ => Err(StanzaError::internal_server_error()),
            }),
        );
    };
    match text(filled, set.var) {
        Ok(text) => {
            let action = Action::SetStanding {
                domain,
                standing,
                text: Some(text),
                afresh: set.afresh,
            };
            Step::Act(action, Box::new(done))
        }
        Err(error) => wrong(error),
    }
}

fn delete(ask: &Ask<'_>, standing: Standing) -> Step {
    let action = Action::SetStanding {
        domain: ask.host.domain.as_str().into(),
        standing,
        text: None,
        afresh: false,
    };
    Step::Act(action, Box::new(done))
}
