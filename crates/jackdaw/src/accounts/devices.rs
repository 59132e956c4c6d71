//! The clients of an account, for its operator: which have access, which of them are there, and how one loses it
//! (XEP-0494).
//!
//! A session whose client is not known, as its login said nothing of it, is a device as well: its id is `/` and its
//! resource. No id of a client begins so.

use ::accounts::tokens::{self, Client, Methods};
use module::Connected;
use router::Whose;
use stanza::Jid;
use store::{Batch, StoreError};

use super::{Accounts, Change, missing, now, unavailable};
use crate::admin::{Connection, Device, PAGE, Reply};
use crate::failure::Failure;

/// What answers which sessions an account has.
pub type Sessions = Box<dyn Fn(&Jid) -> Vec<Connected> + Send + Sync>;

impl Accounts {
    /// Says who knows the sessions; without it there are none.
    pub fn with_sessions(self, sessions: Sessions) -> Accounts {
        Accounts { sessions, ..self }
    }

    pub(super) fn devices(&self, jid: &Jid) -> Result<Reply, Failure> {
        let (clients, epoch) = self.clients(jid)?;
        let sessions = (self.sessions)(jid);
        let has_access: Vec<&Client> = clients.list().iter().filter(|client| client.epoch == epoch).collect();
        let known = has_access.iter().map(|client| {
            let own = sessions.iter().filter(|session| is_of(session, &client.id));
            device(client, connection(own))
        });
        let nobodys = sessions
            .iter()
            .filter(|session| !has_access.iter().any(|client| is_of(session, &client.id)))
            .map(|session| Device {
                id: format!("/{}", session.resource),
                kind: "session".to_owned(),
                name: String::new(),
                connection: connection(std::iter::once(session)),
                first_seen: None,
                last_seen: None,
                has_token: false,
            });
        // There are `MAX_CLIENTS` at most, and of sessions as many as the configuration allows; those behind a page of
        // both together are not told.
        Ok(Reply::Devices(known.chain(nobodys).take(PAGE).collect()))
    }

    /// `keep_password`: also one that has had the password, and can log in with that again.
    pub(super) fn revoke(&self, jid: &Jid, id: &str, keep_password: bool) -> Result<(), Failure> {
        let none = || {
            Failure::failed(format!(
                "there is no client {id} of {jid}; `jackdaw account devices {jid}` prints those that exist"
            ))
        };
        let (mut clients, epoch) = self.clients(jid)?;
        if let Some(resource) = id.strip_prefix('/') {
            let is_there = |session: &Connected| &*session.resource == resource;
            if !(self.sessions)(jid).iter().any(is_there) {
                return Err(none());
            }
            (self.on_changed)(jid, Change::Ended(&Whose::Resource(resource.into())), None);
            return Ok(());
        }
        let client = clients
            .get(id)
            .filter(|client| client.epoch == epoch)
            .ok_or_else(none)?;
        if client.methods.password && !keep_password {
            return Err(Failure::failed(format!(
                "client {id} has logged in with the password, which only a new one takes from it: `jackdaw account \
                 password {jid}`; with --keep-password its token and its sessions end, and it may log in again"
            )));
        }
        let mut batch = Batch::new().require(&tokens::TOKENS, jid.bare_str(), id);
        batch.ops.extend(clients.revoke(id).ops);
        self.store.write_wait(batch).map_err(|error| match error {
            StoreError::Missing => none(),
            error => unavailable(&error),
        })?;
        (self.on_changed)(jid, Change::Ended(&Whose::Client(id.into())), None);
        Ok(())
    }

    fn clients(&self, jid: &Jid) -> Result<(tokens::Clients, i64), Failure> {
        let found = self.store.read_wait(tokens::with_account(jid));
        let read = tokens::read_with_account(jid, found).map_err(Failure::unavailable)?;
        let (account, clients) = read.ok_or_else(|| missing(jid))?;
        Ok((clients, account.epoch))
    }
}

fn is_of(session: &Connected, client: &str) -> bool {
    session.client.as_deref() == Some(client) || tokens::is_session_of(client, &session.resource)
}

fn connection<'a>(mut sessions: impl Iterator<Item = &'a Connected> + Clone) -> Connection {
    match sessions.clone().next() {
        None => Connection::None,
        Some(_) if sessions.any(|session| session.is_attached) => Connection::Open,
        Some(_) => Connection::Waits,
    }
}

fn device(client: &Client, connection: Connection) -> Device {
    let Methods {
        password,
        fast,
        grant,
        certificate,
    } = client.methods;
    let methods = [
        (password, "password"),
        (certificate, "certificate"),
        (grant, "grant"),
        (fast, "token"),
    ];
    let used: Vec<&str> = methods
        .iter()
        .filter(|(is_used, _)| *is_used)
        .map(|(_, name)| *name)
        .collect();
    let said = [&client.agent.software, &client.agent.device];
    let said: Vec<&str> = said.into_iter().flatten().map(String::as_str).collect();
    Device {
        id: client.id.clone(),
        kind: used.join("+"),
        // It is the client's word, and goes to a terminal.
        name: said.join(", ").replace(char::is_control, " "),
        connection,
        first_seen: Some(client.first_seen),
        last_seen: Some(client.last_seen),
        has_token: client.has_token(now()),
    }
}

#[cfg(test)]
mod tests {
    use ::accounts::Account;
    use ::accounts::tokens::{Agent, Clients, Login, TOKENS};
    use std::sync::{Arc, Mutex};
    use store::{Memory, Store};

    use super::*;
    use crate::admin::{Backend, Command};

    fn jid() -> Jid {
        ::accounts::address("juliet@example.org").expect("an address")
    }

    fn session(resource: &str, client: Option<&str>, is_attached: bool) -> Connected {
        Connected {
            resource: resource.into(),
            client: client.map(Into::into),
            is_attached,
        }
    }

    /// `phone` has the password and waits to be resumed, `access` has a grant alone and chose its resource itself; a
    /// third session is nobody's.
    fn world() -> (Accounts, Arc<Mutex<Vec<String>>>) {
        let store = Memory::new(&[&::accounts::ACCOUNTS, &TOKENS]);
        let account = Account::new(jid(), 0, auth::Credentials::default());
        store.write_wait(::accounts::add(&account)).expect("written");
        let mut clients = Clients::from_rows(&jid(), Vec::new()).expect("none");
        for (id, agent, password) in [
            ("phone", Agent::new(Some("1"), Some("Gajim\u{7}"), Some("laptop")), true),
            ("access", Agent::new(Some("2"), None, None), false),
        ] {
            let login = Login {
                now: 1_000,
                agent,
                methods: Methods {
                    password,
                    grant: !password,
                    ..Methods::default()
                },
                epoch: 0,
            };
            store.write_wait(clients.logged_in(id, &login).1).expect("written");
        }
        let ended = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&ended);
        let accounts = Accounts::new(
            Arc::new(store),
            vec!["example.org".into()],
            Box::new(move |_, change, _| seen.lock().expect("no panic").push(format!("{change:?}"))),
        );
        let sessions = || {
            vec![
                session("kit/phone", None, false),
                session("chosen", Some("access"), true),
                session("balcony", None, true),
            ]
        };
        (accounts.with_sessions(Box::new(move |_| sessions())), ended)
    }

    fn revoke(accounts: &Accounts, id: &str, keep_password: bool) -> Result<Reply, Failure> {
        accounts.handle(Command::Revoke {
            jid: jid(),
            id: id.to_owned(),
            keep_password,
        })
    }

    #[test]
    fn devices_are_told() {
        let (accounts, _) = world();
        let Ok(Reply::Devices(devices)) = accounts.handle(Command::Devices(jid())) else {
            panic!("no devices")
        };
        let lines: Vec<String> = devices
            .iter()
            .map(|device| {
                format!(
                    "{} {} {:?} {:?}",
                    device.id, device.kind, device.name, device.connection
                )
            })
            .collect();
        assert_eq!(
            lines,
            [
                "access grant \"\" Open",
                "phone password \"Gajim , laptop\" Waits",
                "/balcony session \"\" Open"
            ]
        );
        let nobody = ::accounts::address("nobody@example.org").expect("an address");
        assert!(accounts.handle(Command::Devices(nobody)).is_err());
    }

    #[test]
    fn access_ends() {
        let (accounts, ended) = world();
        let refused = revoke(&accounts, "phone", false).expect_err("it has the password");
        assert!(refused.message.contains("password juliet@example.org"), "{refused}");
        assert!(revoke(&accounts, "nobody", false).is_err());
        assert!(revoke(&accounts, "/nowhere", false).is_err());
        assert_eq!(*ended.lock().expect("no panic"), Vec::<String>::new());
        for (id, keep_password) in [("access", false), ("phone", true), ("/balcony", false)] {
            assert_eq!(revoke(&accounts, id, keep_password), Ok(Reply::Done));
        }
        assert!(revoke(&accounts, "phone", true).is_err(), "it has ended");
        assert_eq!(
            *ended.lock().expect("no panic"),
            [
                "Ended(Client(\"access\"))",
                "Ended(Client(\"phone\"))",
                "Ended(Resource(\"balcony\"))"
            ]
        );
    }
}
