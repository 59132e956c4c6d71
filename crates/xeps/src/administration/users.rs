//! Accounts and who is there (sections 4.1 to 4.22 and 4.29).

use module::command::{Command, Done, Stage, Step, bad_payload};
use module::{Action, Ask, DataField, FieldType, Now, Outcome, Secret, Submitted, Which};
use presence::{ROSTER, Roster};
use stanza::{Jid, StanzaError};
use store::{Found, Query};

use super::{account, accounts_field, accounts_of, addresses, command, done, form, last, told, wrong};

/// The longest list. Of more it is said that there are more.
const MOST: usize = 1_000;

pub(super) const COMMANDS: &[Command] = &[
    command("http://jabber.org/protocol/admin#add-user", "Add a user", add),
    command("http://jabber.org/protocol/admin#delete-user", "Delete users", delete),
    command(
        "http://jabber.org/protocol/admin#disable-user",
        "Disable users",
        disable,
    ),
    command(
        "http://jabber.org/protocol/admin#reenable-user",
        "Re-enable users",
        enable,
    ),
    command(
        "http://jabber.org/protocol/admin#end-user-session",
        "End sessions of users",
        end_sessions,
    ),
    command(
        "http://jabber.org/protocol/admin#change-user-password",
        "Change the password of a user",
        change_password,
    ),
    command(
        "http://jabber.org/protocol/admin#get-user-roster",
        "Get the roster of a user",
        roster,
    ),
    command(
        "http://jabber.org/protocol/admin#get-user-lastlogin",
        "Get the last login of users",
        last_login,
    ),
    command(
        "http://jabber.org/protocol/admin#user-stats",
        "Get statistics of a user",
        statistics,
    ),
    command(
        "http://jabber.org/protocol/admin#get-registered-users-num",
        "Count registered users",
        |ask, _| count(ask, Which::All, "registeredusersnum", "The number of registered users"),
    ),
    command(
        "http://jabber.org/protocol/admin#get-disabled-users-num",
        "Count disabled users",
        |ask, _| count(ask, Which::Disabled, "disabledusersnum", "The number of disabled users"),
    ),
    command(
        "http://jabber.org/protocol/admin#get-online-users-num",
        "Count online users",
        |ask, _| count(ask, Which::Online, "onlineusersnum", "The number of online users"),
    ),
    command(
        "http://jabber.org/protocol/admin#get-active-users-num",
        "Count active users",
        |ask, _| count(ask, Which::Active, "activeusersnum", "The number of active users"),
    ),
    command(
        "http://jabber.org/protocol/admin#get-idle-users-num",
        "Count idle users",
        |ask, _| count(ask, Which::Idle, "idleusersnum", "The number of idle users"),
    ),
    command(
        "http://jabber.org/protocol/admin#get-registered-users-list",
        "List registered users",
        |ask, forms| {
            let label = "The list of all users";
            list(ask, forms, Which::All, "registereduserjids", label)
        },
    ),
    command(
        "http://jabber.org/protocol/admin#get-disabled-users-list",
        "List disabled users",
        |ask, forms| {
            let label = "The list of all disabled users";
            list(ask, forms, Which::Disabled, "disableduserjids", label)
        },
    ),
    command(
        "http://jabber.org/protocol/admin#get-online-users-list",
        "List online users",
        |ask, forms| {
            let label = "The list of all online users";
            list(ask, forms, Which::Online, "onlineuserjids", label)
        },
    ),
    command(
        "http://jabber.org/protocol/admin#get-active-users",
        "List active users",
        |ask, forms| list(ask, forms, Which::Active, "activeuserjids", "The list of active users"),
    ),
    command(
        "http://jabber.org/protocol/admin#get-idle-users",
        "List idle users",
        // The variable is that of section 4.22, which has no other.
        |ask, forms| list(ask, forms, Which::Idle, "activeuserjids", "The list of idle users"),
    ),
    command(
        "http://jabber.org/protocol/admin#edit-admin",
        "Edit the list of admins",
        edit_admins,
    ),
];

/// Does something with the accounts that are filled in.
fn with_accounts(
    ask: &Ask<'_>,
    forms: &[Submitted],
    (title, instructions, label): (&'static str, &'static str, &'static str),
    act: fn(Vec<Jid>) -> Action,
) -> Step {
    let Some(filled) = forms.first() else {
        return last(form(title, instructions).field(accounts_field(label)));
    };
    match accounts_of(ask, filled) {
        Ok(accounts) => Step::Act(act(accounts), Box::new(done)),
        Err(error) => wrong(error),
    }
}

fn add(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let Some(filled) = forms.first() else {
        let private = |var, label| DataField::new(var, FieldType::TextPrivate, label).required();
        let form = form("Adding a User", "Fill out this form to add a user.")
            .field(
                DataField::new(
                    "accountjid",
                    FieldType::JidSingle,
                    "The Jabber ID for the account to be added",
                )
                .required(),
            )
            .field(private("password", "The password for this account"))
            .field(private("password-verify", "Retype password"));
        return last(form);
    };
    match (account(ask, filled), password(filled, true)) {
        (Ok(account), Ok(password)) => {
            let add = Action::Add {
                account,
                password,
                admin: false,
                terms: None,
            };
            Step::Act(add, Box::new(done))
        }
        (Err(error), _) | (_, Err(error)) => wrong(error),
    }
}

fn password(filled: &Submitted, twice: bool) -> Result<Secret, StanzaError> {
    let password = filled.one("password");
    let password = password.ok_or_else(|| bad_payload("password is missing"))?;
    if twice && filled.one("password-verify") != Some(password) {
        return Err(bad_payload("the two passwords differ"));
    }
    Ok(Secret::new(password))
}

fn delete(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let words = (
        "Deleting Users",
        "Fill out this form to delete users with everything they have.",
        "The Jabber ID(s) to delete",
    );
    with_accounts(ask, forms, words, Action::Remove)
}

fn disable(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let words = (
        "Disabling Users",
        "Fill out this form to disable users.",
        "The Jabber ID(s) to disable",
    );
    with_accounts(ask, forms, words, Action::Disable)
}

fn enable(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let words = (
        "Re-Enabling Users",
        "Fill out this form to re-enable users.",
        "The Jabber ID(s) to re-enable",
    );
    with_accounts(ask, forms, words, Action::Enable)
}

fn end_sessions(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let Some(filled) = forms.first() else {
        let form = form("Ending User Sessions", "Fill out this form to end sessions of users.");
        return last(form.field(accounts_field("The Jabber ID(s) for which to end sessions")));
    };
    // Section 4.5: with a resource it is that session alone.
    match addresses(ask, filled, "accountjids") {
        Ok(addresses) if addresses.is_empty() => wrong(bad_payload("accountjids is missing")),
        Ok(addresses) => Step::Act(Action::EndSessions(addresses), Box::new(done)),
        Err(error) => wrong(error),
    }
}

fn change_password(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let Some(filled) = forms.first() else {
        let account = DataField::new("accountjid", FieldType::JidSingle, "The Jabber ID for this account");
        let password = DataField::new("password", FieldType::TextPrivate, "The password for this account");
        let form = form(
            "Changing a User Password",
            "Fill out this form to change a user's password.",
        );
        return last(form.field(account.required()).field(password.required()));
    };
    match (account(ask, filled), password(filled, false)) {
        (Ok(account), Ok(password)) => Step::Act(Action::SetPassword { account, password }, Box::new(done)),
        (Err(error), _) | (_, Err(error)) => wrong(error),
    }
}

/// Section 4.8. One at a time: a roster may have thousands of contacts.
fn roster(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let Some(filled) = forms.first() else {
        let form = form("Getting a User's Roster", "Fill out this form to get a user's roster.");
        return last(form.field(accounts_field("The Jabber ID for which to retrieve the roster")));
    };
    let account = match accounts_of(ask, filled) {
        Ok(accounts) if accounts.len() > 1 => return wrong(bad_payload("one account at a time")),
        Ok(accounts) => accounts.into_iter().next(),
        Err(error) => return wrong(error),
    };
    let Some(account) = account else {
        return wrong(bad_payload("accountjids is missing"));
    };
    let owner = account.as_str();
    let query = Query::Many(vec![
        Query::get(&accounts::ACCOUNTS, owner, None),
        Query::all(&ROSTER, owner),
    ]);
    Step::Asked(
        query,
        Box::new(move |found| {
            let failed = |_| StanzaError::internal_server_error();
            let mut found = found.and_then(Found::many).map_err(failed)?.into_iter();
            let mut next = || found.next().ok_or_else(StanzaError::internal_server_error);
            if next()?.row().map_err(failed)?.is_none() {
                return Err(module::Refused::Missing(account).error());
            }
            let rows = next()?.rows().map_err(failed)?;
            let roster = Roster::load(rows, None).map_err(|_| StanzaError::internal_server_error())?;
            let mut items = Vec::new();
            roster.result_since(None, &mut items);
            let mut done = told([value("accountjids", account.as_str())]);
            if let Some(form) = &mut done.form {
                // Made of text.
                form.more = String::from_utf8(items).unwrap_or_default();
            }
            Ok(Stage::Done(done))
        }),
    )
}

/// A field of a form that tells.
fn value(var: &'static str, value: impl Into<String>) -> DataField {
    DataField::new(var, FieldType::TextSingle, "").value(value)
}

fn last_login(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let words = (
        "Getting Users' Last Login Time",
        "Fill out this form to get users' last login time.",
        "The Jabber ID(s) for which to retrieve the last login time",
    );
    let Some(filled) = forms.first() else {
        return last(form(words.0, words.1).field(accounts_field(words.2)));
    };
    let accounts = match accounts_of(ask, filled) {
        Ok(accounts) => accounts,
        Err(error) => return wrong(error),
    };
    Step::Act(
        Action::Look(accounts),
        Box::new(|acted| {
            let Outcome::Known(known) = acted.map_err(|refused| refused.error())? else {
                return Err(StanzaError::internal_server_error());
            };
            let fields = known.into_iter().flat_map(|known| {
                // A client that says nothing of itself leaves no trace: then the end of its session is what there is.
                let at = known.last_login.max(known.last_seen);
                let mut login = DataField::new("lastlogin", FieldType::TextSingle, "");
                login.values.extend(at.map(|at| Now(at * 1_000).stamp()));
                [value("accountjids", known.account.as_str()), login]
            });
            Ok(told(fields))
        }),
    )
}

fn statistics(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let Some(filled) = forms.first() else {
        let form = form("Get User Statistics", "Fill out this form to gather user statistics.");
        let account = DataField::new("accountjid", FieldType::JidSingle, "The Jabber ID for statistics");
        return last(form.field(account.required()));
    };
    let account = match account(ask, filled) {
        Ok(account) => account,
        Err(error) => return wrong(error),
    };
    Step::Act(
        Action::Look(vec![account]),
        Box::new(|acted| {
            let Outcome::Known(known) = acted.map_err(|refused| refused.error())? else {
                return Err(StanzaError::internal_server_error());
            };
            let fields = known.into_iter().flat_map(|known| {
                let resources = DataField::new("onlineresources", FieldType::TextMulti, "The connected resources");
                let label = |var, label| DataField::new(var, FieldType::TextSingle, label);
                let yes = |is_so| if is_so { "yes" } else { "no" };
                [
                    label("rostersize", "The number of contacts").value(known.contacts.to_string()),
                    resources.values(known.resources.iter().map(ToString::to_string)),
                    label("created", "Since when there is the account").value(Now(known.created * 1_000).stamp()),
                    label("disabled", "Disabled").value(yes(known.disabled)),
                    label("admin", "May administer the server").value(yes(known.admin)),
                ]
            });
            Ok(told(fields))
        }),
    )
}

fn count(ask: &Ask<'_>, which: Which, var: &'static str, label: &'static str) -> Step {
    let domain = ask.host.domain.as_str().into();
    Step::Act(
        Action::Count { domain, which },
        Box::new(move |acted| match acted.map_err(|refused| refused.error())? {
            Outcome::Count(count) => {
                let field = DataField::new(var, FieldType::TextSingle, label);
                Ok(told([field.value(count.to_string())]))
            }
            _ => Err(StanzaError::internal_server_error()),
        }),
    )
}

fn list(ask: &Ask<'_>, forms: &[Submitted], which: Which, var: &'static str, label: &'static str) -> Step {
    let Some(filled) = forms.first() else {
        let field = DataField::new("max_items", FieldType::ListSingle, "Maximum number of items to show");
        let numbers = ["25", "50", "75", "100", "150", "200"].map(|number| (number, number));
        let field = field.value("100").options(&numbers).options(&[("None", "none")]);
        return last(
            form(
                "Requesting a List of Users",
                "Fill out this form to request users of this service.",
            )
            .field(field),
        );
    };
    let most = match filled.one("max_items") {
        None | Some("none") => MOST,
        Some(number) => match number.parse() {
            Ok(most @ 1..=MOST) => most,
            _ => return wrong(bad_payload(format!("max_items is from 1 to {MOST}, or none"))),
        },
    };
    let domain = ask.host.domain.as_str().into();
    Step::Act(
        Action::List { domain, which, most },
        Box::new(move |acted| match acted.map_err(|refused| refused.error())? {
            Outcome::Accounts { accounts, more } => {
                let field = DataField::new(var, FieldType::JidMulti, label);
                let done = told([field.values(accounts.iter().map(ToString::to_string))]);
                Ok(Done {
                    note: more.then(|| format!("These are the first {}; there are more.", accounts.len())),
                    ..done
                })
            }
            _ => Err(StanzaError::internal_server_error()),
        }),
    )
}

/// Section 4.29: of the domain's accounts, those whose records say that they are. Whom the configuration names stays one.
fn edit_admins(ask: &Ask<'_>, forms: &[Submitted]) -> Step {
    let domain: Box<str> = ask.host.domain.as_str().into();
    let Some(filled) = forms.first() else {
        let which = Which::Admins;
        let most = MOST;
        return Step::Known(
            Action::List { domain, which, most },
            Box::new(|acted| match acted.map_err(|refused| refused.error())? {
                Outcome::Accounts { accounts, .. } => {
                    let field = DataField::new("adminjids", FieldType::JidMulti, "The admin list");
                    let form = form(
                        "Editing the Admin List",
                        "Fill out this form to edit the list of users who may administer the server. Those whom its \
                         configuration names always may.",
                    );
                    let field = field.values(accounts.iter().map(ToString::to_string));
                    Ok(Stage::LastForm(form.field(field)))
                }
                _ => Err(StanzaError::internal_server_error()),
            }),
        );
    };
    let accounts = match addresses(ask, filled, "adminjids") {
        Ok(accounts) => accounts.iter().map(Jid::to_bare).collect::<Vec<_>>(),
        Err(error) => return wrong(error),
    };
    // Nobody locks himself out: there might be nobody left.
    if ask.from.domain() == &*domain && !accounts.iter().any(|account| account.as_str() == ask.from.bare_str()) {
        return wrong(
            StanzaError::not_allowed().text("you are not in the list: somebody else has to take you out of it"),
        );
    }
    Step::Act(Action::SetAdmins { domain, accounts }, Box::new(done))
}
