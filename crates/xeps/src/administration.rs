//! XEP-0133 Service Administration 1.3.1: what an operator can have the server do from a client.
//!
//! Every command is for who may administer the server, and concerns the domain to which it is addressed. Accounts are
//! managed by the same functions as from the command line. An error is an error of the request (section 5); nothing was
//! done then.
//!
//! Not here: lists of whom the server talks to, and the end of the process, which is its service manager's: what is down
//! cannot be brought up from a client. One command is our own (`servers.rs`): what is known of another server.

mod servers;
mod texts;
mod users;

use module::command::{Command, Done, Stage, Step, bad_payload};
use module::{Access, Acted, Ask, Coverage, DataField, DataForm, FieldType, Module, Submitted};
use stanza::{Jid, StanzaError};

pub(crate) const FORM_TYPE: &str = "http://jabber.org/protocol/admin";

/// Accounts in one form.
const ACCOUNTS_AT_ONCE: usize = 100;

pub(crate) fn module() -> Module {
    let module = Module::new("administration").xep(
        133,
        "Service Administration",
        "1.3.1",
        Coverage::Partial(
            "Without lists of whom the server talks to, and without restart and shutdown, which are the service manager's.",
        ),
    );
    users::COMMANDS
        .iter()
        .chain(texts::COMMANDS)
        .chain(servers::COMMANDS)
        .fold(module, |module, command| module.command(*command))
}

const fn command(node: &'static str, name: &'static str, run: module::command::Run) -> Command {
    // Nobody administers guests: they come and go.
    Command::new(node, name, Access::Admin, run).where_offered(|ask| ask.host.guests.is_none())
}

/// One to be filled in.
fn form(title: &'static str, instructions: &'static str) -> DataForm {
    DataForm::new(title, instructions).of_type(FORM_TYPE)
}

fn last(form: DataForm) -> Step {
    Step::Now(Ok(Stage::LastForm(form)))
}

fn wrong(error: StanzaError) -> Step {
    Step::Now(Err(error))
}

/// One that tells.
fn told(fields: impl IntoIterator<Item = DataField>) -> Done {
    Done::form(DataForm {
        fields: fields.into_iter().collect(),
        ..DataForm::result().of_type(FORM_TYPE)
    })
}

/// Nothing is to be said but that it is done.
fn done(acted: Acted) -> Result<Done, StanzaError> {
    acted.map(|_| Done::default()).map_err(|refused| refused.error())
}

/// An address in a form: of an account of the domain that is asked, or with a resource.
fn address(ask: &Ask<'_>, text: &str) -> Result<Jid, StanzaError> {
    let wrong = || bad_payload(format!("{text} is not an address of an account of {}", ask.host.domain));
    let (bare, resource) = match text.split_once('/') {
        Some((bare, resource)) => (bare, Some(resource)),
        None => (text, None),
    };
    let account = accounts::address(bare).map_err(|_| wrong())?;
    if account.domain() != ask.host.domain {
        return Err(wrong());
    }
    match resource {
        None => Ok(account),
        Some(resource) => account.with_resource(resource).map_err(|_| wrong()),
    }
}

/// The account of a field.
fn account(ask: &Ask<'_>, form: &Submitted) -> Result<Jid, StanzaError> {
    let text = form
        .one("accountjid")
        .ok_or_else(|| bad_payload("accountjid is missing"))?;
    Ok(address(ask, text.trim())?.to_bare())
}

/// The addresses of a field.
fn addresses(ask: &Ask<'_>, form: &Submitted, var: &str) -> Result<Vec<Jid>, StanzaError> {
    let texts = form.all(var).iter().map(|text| text.trim());
    let texts: Vec<&str> = texts.filter(|text| !text.is_empty()).collect();
    if texts.len() > ACCOUNTS_AT_ONCE {
        return Err(bad_payload(format!(
            "no more than {ACCOUNTS_AT_ONCE} addresses at once"
        )));
    }
    texts.into_iter().map(|text| address(ask, text)).collect()
}

/// As [`addresses`], of at least one account.
fn accounts_of(ask: &Ask<'_>, form: &Submitted) -> Result<Vec<Jid>, StanzaError> {
    let addresses = addresses(ask, form, "accountjids")?;
    if addresses.is_empty() {
        return Err(bad_payload("accountjids is missing"));
    }
    Ok(addresses.iter().map(Jid::to_bare).collect())
}

fn accounts_field(label: &'static str) -> DataField {
    DataField::new("accountjids", FieldType::JidMulti, label).required()
}
