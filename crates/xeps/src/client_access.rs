//! XEP-0494 Client Access Management 0.1.0: an account sees which clients have access to it, and ends it.
//!
//! The clients are written down where they log in (`accounts::tokens`), and only those that say who they are (XEP-0388
//! section 2.3). A client that had the password still has it, whatever is deleted here: so its access ends with a new
//! password and not otherwise (section 3.2).

use accounts::tokens::{self, Client, Clients};
use module::{Access, Answer, Ask, Change, Coverage, Method, Module, Now, Said, Step, Texts};
use stanza::{ErrorType, Jid, StanzaError};
use store::{Batch, Found, StoreError};

const NS: &str = "urn:xmpp:cam:0";

pub(crate) fn module() -> Module {
    Module::new("client-access")
        .xep(
            494,
            "Client Access Management",
            "0.1.0",
            Coverage::Partial("clients that log in by SASL2 and give an id"),
        )
        .kept_accounts_only()
        .account_feature(NS)
        .account_iq(Method::Get, "list", NS, Access::Owner, list)
        .account_iq(Method::Set, "revoke", NS, Access::Owner, revoke)
}

/// Section 3.1.
fn list(ask: &mut Ask<'_>) -> Answer {
    let owner = ask.to.to_owned();
    let (now, sessions) = (
        ask.now,
        ask.account.map(|account| account.sessions()).unwrap_or_default(),
    );
    let query = tokens::with_account(&owner);
    let said = move |found| {
        let answer = read(&owner, found).map(|(clients, epoch)| {
            let has_access = clients.list().iter().filter(|client| client.epoch == epoch);
            let mut out = format!("<clients xmlns='{NS}'>").into_bytes();
            for client in has_access {
                let is_connected = sessions.iter().any(|session| {
                    session.client.as_ref().is_some_and(|of| **of == *client.id)
                        || tokens::is_session_of(&client.id, &session.resource)
                });
                write(client, is_connected, now, &mut out);
            }
            out.extend_from_slice(b"</clients>");
            // Escaping text yields text.
            String::from_utf8(out).unwrap_or_default()
        });
        Said {
            messages: Texts::default(),
            arrived: Vec::new(),
            answer,
        }
    };
    Answer::Asked(query, Box::new(said))
}

/// Section 3.2.
fn revoke(ask: &mut Ask<'_>) -> Answer {
    let Some(id) = ask.payload.attr("id").map(|id| id.into_owned()) else {
        return Answer::Error(StanzaError::bad_request());
    };
    let owner = ask.to.to_owned();
    let query = tokens::with_account(&owner);
    let make = move |found| {
        let (mut clients, epoch) = read(&owner, found)?;
        let client = clients.get(&id).filter(|client| client.epoch == epoch);
        let client = client.ok_or_else(StanzaError::item_not_found)?;
        if client.methods.password {
            let element = format!("<password-reset-required xmlns='{NS}'/>");
            return Err(StanzaError::service_unavailable().app(element));
        }
        let mut batch = Batch::new().require(&tokens::TOKENS, owner.as_str(), &*id);
        batch.ops.extend(clients.revoke(&id).ops);
        Ok(Step::Done(Change {
            batch,
            revoked: Some(id.into()),
            ..Change::default()
        }))
    };
    Answer::Changed(query, Box::new(make))
}

/// The clients of an account, and the epoch that theirs has to be.
fn read(owner: &Jid, found: Result<Found, StoreError>) -> Result<(Clients, i64), StanzaError> {
    let is_busy = matches!(found, Err(StoreError::Overloaded));
    match tokens::read_with_account(owner, found) {
        Ok(Some((account, clients))) => Ok((clients, account.epoch)),
        // Removed a moment ago.
        Ok(None) => Err(StanzaError::service_unavailable()),
        Err(_) if is_busy => Err(StanzaError::resource_constraint().kind(ErrorType::Wait)),
        Err(error) => {
            tracing::error!(account = %owner, error, "the clients of an account could not be read");
            Err(StanzaError::internal_server_error().kind(ErrorType::Wait))
        }
    }
}

fn write(client: &Client, is_connected: bool, now: Now, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("<client connected='{is_connected}' type='session' id='").as_bytes());
    xmlstream::escape_attr(out, &client.id);
    let [first, last] = [client.first_seen, client.last_seen].map(|seconds| Now(seconds.saturating_mul(1_000)).stamp());
    let seen = format!("'><first-seen>{first}</first-seen><last-seen>{last}</last-seen><auth>");
    out.extend_from_slice(seen.as_bytes());
    // There is no element for a certificate.
    for (is_used, element) in [
        (client.methods.password, "<password/>"),
        (client.methods.grant, "<grant/>"),
        (client.has_token(now.seconds()), "<fast/>"),
    ] {
        if is_used {
            out.extend_from_slice(element.as_bytes());
        }
    }
    out.extend_from_slice(b"</auth><permission status='unrestricted'/>");
    let agent = &client.agent;
    let said = [
        ("software", &agent.software),
        ("uri", &agent.uri),
        ("device", &agent.device),
    ];
    if said.iter().any(|(_, text)| text.is_some()) {
        out.extend_from_slice(b"<user-agent>");
        for (name, text) in said {
            let Some(text) = text else { continue };
            out.extend_from_slice(format!("<{name}>").as_bytes());
            xmlstream::escape_text(out, text);
            out.extend_from_slice(format!("</{name}>").as_bytes());
        }
        out.extend_from_slice(b"</user-agent>");
    }
    out.extend_from_slice(b"</client>");
}

#[cfg(test)]
mod tests {
    use accounts::Account;
    use accounts::tokens::{Agent, Login, Methods, TOKENS};
    use auth::Credentials;
    use store::{Memory, Store};

    use super::*;
    use crate::testing::{Asked, ask};

    const OWNER: &str = "juliet@example.org";

    /// Gajim has logged in by its password as `balcony`, another client by a grant of which `access` is the id.
    fn store() -> Memory {
        let store = Memory::new(&[&accounts::ACCOUNTS, &TOKENS]);
        let owner = Jid::parse(OWNER).expect("a JID");
        let account = Account::new(owner.clone(), 0, Credentials::default());
        store.write_wait(accounts::add(&account)).expect("written");
        let mut clients = Clients::from_rows(&owner, Vec::new()).expect("none");
        let password = Methods {
            password: true,
            ..Methods::default()
        };
        let grant = Methods {
            grant: true,
            ..Methods::default()
        };
        for (id, agent, methods) in [
            (
                "balcony",
                Agent::new(Some("1"), Some("Gajim"), Some("Juliet's <laptop>")),
                password,
            ),
            ("access", Agent::new(Some("2"), None, None), grant),
        ] {
            let login = Login {
                now: 999_999_940,
                agent,
                methods,
                epoch: account.epoch,
            };
            store.write_wait(clients.logged_in(id, &login).1).expect("written");
        }
        store
    }

    fn listed(store: &Memory, asked: Asked) -> String {
        match ask(module(), asked).0 {
            Answer::Asked(query, said) => said(store.read_wait(query)).answer.expect("a list"),
            _ => panic!("the store is not asked"),
        }
    }

    fn revoked(store: &Memory, id: &str) -> Result<Box<str>, StanzaError> {
        let payload = format!("<revoke xmlns='{NS}' id='{id}'/>");
        let Answer::Changed(query, make) = ask(module(), Asked::own_account(payload).set()).0 else {
            panic!("the store is not asked")
        };
        let Step::Done(change) = make(store.read_wait(query))? else {
            panic!("the store is asked once")
        };
        store.write_wait(change.batch).expect("written");
        assert_eq!(change.answer, "");
        Ok(change.revoked.expect("its sessions end"))
    }

    #[test]
    fn clients_are_listed() {
        let asked = Asked::own_account(format!("<list xmlns='{NS}'/>")).online();
        let seen = "<first-seen>2001-09-09T01:45:40.000Z</first-seen><last-seen>2001-09-09T01:45:40.000Z</last-seen>";
        let expected = format!(
            "<clients xmlns='urn:xmpp:cam:0'>\
             <client connected='false' type='session' id='access'>{seen}<auth><grant/></auth>\
             <permission status='unrestricted'/></client>\
             <client connected='true' type='session' id='balcony'>{seen}<auth><password/></auth>\
             <permission status='unrestricted'/><user-agent><software>Gajim</software>\
             <device>Juliet's &lt;laptop></device></user-agent></client></clients>"
        );
        assert_eq!(
            listed(&store(), asked).replace("&gt;", ">").replace("&apos;", "'"),
            expected
        );
    }

    #[test]
    fn access_is_revoked_where_there_is_no_password() {
        let store = store();
        assert_eq!(revoked(&store, "other"), Err(StanzaError::item_not_found()));
        let reset = StanzaError::service_unavailable().app(format!("<password-reset-required xmlns='{NS}'/>"));
        assert_eq!(revoked(&store, "balcony"), Err(reset));
        assert_eq!(revoked(&store, "access"), Ok("access".into()));
        assert_eq!(revoked(&store, "access"), Err(StanzaError::item_not_found()));
        let list = listed(&store, Asked::own_account(format!("<list xmlns='{NS}'/>")));
        assert!(list.contains("balcony") && !list.contains("access"), "{list}");
    }

    #[test]
    fn what_names_no_client_is_refused() {
        crate::testing::check(
            module(),
            Asked::own_account(format!("<revoke xmlns='{NS}'/>")).set(),
            Err(StanzaError::bad_request()),
        );
    }
}
