//! XEP-0077 In-Band Registration 2.4: of accounts that are there. A password is changed, an account is given up. How
//! accounts are made stands in the crate `session`, as nobody has logged in then; also by invitation (XEP-0445).

use module::{Access, Action, Answer, Ask, Coverage, Method, Module, Secret, Submitted};
use stanza::{Jid, StanzaError, ns};
use xmlstream::Child;

use crate::escaped;

const NS: &str = ns::REGISTER;

pub(crate) fn module() -> Module {
    let leaves_out = "error codes of before RFC 3920, and the obsolete <key/>, are left out";
    Module::new("registration")
        .xep(77, "In-Band Registration", "2.4", Coverage::Partial(leaves_out))
        .xep(
            445,
            "Pre-Authenticated In-Band Registration",
            "0.2.0",
            Coverage::Complete,
        )
        .kept_accounts_only()
        .server_feature(NS)
        // Who gives up an account, or changes a password, speaks to the server, or to nobody (section 3.2).
        .server_iq(Method::Get, "query", NS, get)
        .server_iq(Method::Set, "query", NS, set)
        .account_iq(Method::Get, "query", NS, Access::Owner, get)
        .account_iq(Method::Set, "query", NS, Access::Owner, set)
}

/// The account that asks, if it is one of this domain.
fn own(ask: &Ask<'_>) -> Option<Jid> {
    let is_here = ask.from.local().is_some() && ask.from.domain() == ask.host.domain && ask.host.guests.is_none();
    is_here.then(|| ask.from.bare().to_owned())
}

fn get(ask: &mut Ask<'_>) -> Answer {
    // Nobody gets an account who comes from elsewhere.
    let Some(own) = own(ask) else {
        return Answer::Error(StanzaError::service_unavailable());
    };
    let username = escaped(own.local().unwrap_or_default());
    Answer::Result(format!(
        "<query xmlns='{NS}'><registered/><instructions>Here you can change your password.</instructions>\
         <username>{username}</username><password/></query>"
    ))
}

fn set(ask: &mut Ask<'_>) -> Answer {
    let query = ask.payload;
    let gives_up = query.child("remove", NS).is_some();
    let Some(own) = own(ask) else {
        // Table 1 of section 3.2; and nothing else is there for who has no account.
        return Answer::Error(match gives_up {
            true => StanzaError::registration_required(),
            false => StanzaError::service_unavailable(),
        });
    };
    let action = match gives_up {
        true if query.children().count() > 1 => Err(StanzaError::bad_request()),
        true => Ok(Action::Remove(vec![own])),
        false => new_password(query, own),
    };
    match action {
        Err(error) => Answer::Error(error),
        Ok(_) if ask.host.passwords_elsewhere => {
            Answer::Error(StanzaError::not_allowed().text("the accounts of this domain are not kept here"))
        }
        // Without the request, also on failure: a password is in it (section 3.3).
        Ok(action) => Answer::Act(
            action,
            Box::new(|acted| acted.map(|_| String::new()).map_err(|refused| refused.error())),
        ),
    }
}

fn new_password(query: Child<'_>, own: Jid) -> Result<Action, StanzaError> {
    let form = query.child("x", ns::DATA_FORMS).map(|form| Submitted::read(&form));
    let value = |name: &str| match &form {
        // "MUST NOT submit both" (section 4).
        Some(form) => form.one(name).map(str::to_owned),
        None => query.child(name, NS).map(|child| child.text().into_owned()),
    };
    let has_text = |text: &String| !text.is_empty();
    let (Some(username), Some(password)) = (
        value("username").filter(has_text),
        value("password").filter(has_text).map(Secret::new),
    ) else {
        // Of an empty password: "MUST NOT change the password to a null value".
        return Err(StanzaError::bad_request().text("a user name and a password are needed"));
    };
    // An example has it as an address.
    let is_own = match Jid::parse(&username) {
        Ok(jid) if jid.local().is_some() => jid == own,
        _ => stanza::prepare_local(&username).is_ok_and(|local| own.local() == Some(&*local)),
    };
    if !is_own {
        return Err(StanzaError::not_acceptable().text("this is not your user name"));
    }
    Ok(Action::SetPassword { account: own, password })
}

#[cfg(test)]
mod tests {
    use module::{Acted, Outcome, Refused};

    use super::*;
    use crate::testing::{Asked, ask, check};

    fn query(inner: &str) -> String {
        format!("<query xmlns='{NS}'>{inner}</query>")
    }

    #[test]
    fn who_has_an_account_is_told_so() {
        let told = query(
            "<registered/><instructions>Here you can change your password.</instructions><username>juliet</username>\
             <password/>",
        );
        check(module(), Asked::server(query("")), Ok(&told));
    }

    #[test]
    fn what_is_incomplete_is_refused() {
        let check = |inner: &str, error: StanzaError| {
            let (answer, _) = ask(module(), Asked::server(query(inner)).set());
            let Answer::Error(told) = answer else { panic!("{inner}") };
            assert_eq!((told.condition, told.kind), (error.condition, error.kind), "{inner}");
        };
        check("", StanzaError::bad_request());
        check("<remove/><username>juliet</username>", StanzaError::bad_request());
        check("<username>juliet</username>", StanzaError::bad_request());
        check("<username>juliet</username><password/>", StanzaError::bad_request());
        check("<password>new</password>", StanzaError::bad_request());
        check(
            "<username>romeo</username><password>new</password>",
            StanzaError::not_acceptable(),
        );
        check(
            "<username>juliet@example.net</username><password>new</password>",
            StanzaError::not_acceptable(),
        );
    }

    #[test]
    fn what_is_complete_is_done() {
        let act = |inner: &str| match ask(module(), Asked::server(query(inner)).set()).0 {
            Answer::Act(action, make) => (action, make),
            _ => panic!("{inner}"),
        };
        let check = |inner: &str| match act(inner).0 {
            Action::SetPassword { account, password } => {
                assert_eq!(
                    (account.as_str(), password.expose()),
                    ("juliet@example.org", "new"),
                    "{inner}"
                );
            }
            _ => panic!("{inner}"),
        };
        check("<username>juliet</username><password>new</password>");
        check("<username>Juliet</username><password>new</password>");
        check("<username>juliet@example.org</username><password>new</password>");
        check(
            "<x xmlns='jabber:x:data' type='submit'><field var='username'><value>juliet</value></field>\
             <field var='password'><value>new</value></field></x>",
        );
        let (action, make) = act("<remove/>");
        assert!(matches!(action, Action::Remove(accounts) if accounts[0].as_str() == "juliet@example.org"));
        let none: Acted = Ok(Outcome::Done);
        assert_eq!(make(none), Ok(String::new()));
        let refused: Acted = Err(Refused::Store(store::StoreError::Full));
        assert_eq!(
            act("<remove/>").1(refused).map_err(|error| error.condition),
            Err(stanza::Condition::ResourceConstraint)
        );
    }
}
