//! XEP-0401 Ad-hoc Account Invitation Generation 0.6.0: the two commands by which accounts invite. What becomes of a
//! token stands in `router/src/invitations.rs`, also of XEP-0379.

use module::command::{Done, Stage, Step, bad_payload};
use module::{
    Access, Acted, Action, Ask, Command, Coverage, DataField, DataForm, FieldType, Inviting, Module, Now, Outcome,
    Submitted,
};
use stanza::StanzaError;

/// How long an invitation holds that is made over XMPP, in seconds.
const LIFETIME: i64 = 7 * 86_400;

pub(crate) fn module() -> Module {
    let no_page = "no landing pages: clients make their own";
    Module::new("invitations")
        .xep(
            379,
            "Pre-Authenticated Roster Subscription",
            "0.3.3",
            Coverage::Complete,
        )
        .xep(
            401,
            "Ad-hoc Account Invitation Generation",
            "0.6.0",
            Coverage::Partial(no_page),
        )
        .command(Command::new("urn:xmpp:invite#invite", "Invite user", Access::Local, invite).where_offered(may_invite))
        .command(
            Command::new(
                "urn:xmpp:invite#create-account",
                "Create account",
                Access::Admin,
                create,
            )
            .where_offered(|ask| ask.host.takes_invited),
        )
}

/// Who may make an account with it may also become a contact, and the other way round only where the domain says so.
fn may_invite(ask: &Ask<'_>) -> bool {
    ask.is_admin || ask.host.inviting >= Inviting::Contacts
}

/// Section 5.1: "immediately provide a command result, with no further interaction".
fn invite(ask: &Ask<'_>, _: &[Submitted]) -> Step {
    let makes_accounts = ask.host.takes_invited && (ask.is_admin || ask.host.inviting >= Inviting::Accounts);
    let own = ask.from.bare().to_owned();
    Step::Act(
        Action::Invite {
            domain: makes_accounts.then(|| ask.host.domain.as_str().into()),
            contact: Some(own.clone()),
            inviter: own,
            username: None,
            lifetime: LIFETIME,
        },
        Box::new(invited),
    )
}

/// Section 5.4.
fn create(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let Some(form) = forms.first() else {
        let form = DataForm::new(
            "Create account",
            "Whoever has the link chooses a password, and a name if you do not.",
        )
        .field(DataField::new("username", FieldType::TextSingle, "Username"))
        .field(DataField::new(
            "roster-subscription",
            FieldType::Boolean,
            "Roster subscription",
        ));
        return Step::Now(Ok(Stage::LastForm(form)));
    };
    let username = match form.one("username").map(stanza::prepare_local).transpose() {
        Ok(username) => username.map(|name| name.as_ref().into()),
        Err(_) => return Step::Now(Err(bad_payload("this user name cannot be used"))),
    };
    let own = ask.from.bare().to_owned();
    Step::Act(
        Action::Invite {
            domain: Some(ask.host.domain.as_str().into()),
            contact: (form.boolean("roster-subscription") == Some(true)).then(|| own.clone()),
            inviter: own,
            username,
            lifetime: LIFETIME,
        },
        Box::new(invited),
    )
}

fn invited(acted: Acted) -> Result<Done, StanzaError> {
    match acted {
        Ok(Outcome::Invited { uri, expires }) => {
            let field = |var, value: String| DataField::new(var, FieldType::TextSingle, "").value(value);
            let form = DataForm::result()
                .of_type("urn:xmpp:invite#invitation")
                .field(field("uri", uri))
                .field(field("expire", Now(expires.saturating_mul(1_000)).stamp()));
            Ok(Done::form(form))
        }
        Ok(_) => Err(StanzaError::internal_server_error()),
        Err(refused) => Err(refused.error()),
    }
}
