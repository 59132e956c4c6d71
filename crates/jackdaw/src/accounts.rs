//! The account commands, carried out on the store: in the server for whoever comes through the admin socket or asks over
//! XMPP (`manager.rs`), in the command itself while no server runs.

mod devices;
mod invitations;
mod manager;
mod reports;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ::accounts::Account;
use module::Refused;
use router::Whose;
use stanza::{Jid, StanzaError};
use store::{Found, Store, StoreError};

use crate::admin::{Backend, Command, Listed, NewAccount, PAGE, Reply};
use crate::failure::Failure;

pub use invitations::{Inviting, Made, Wanted, id_of};
pub use manager::{Passwords, Queue, Why};

/// What happened to an account, after it is durable.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    Added,
    PasswordChanged,
    Disabled,
    Enabled,
    /// Whether it may administer the server.
    Admin(bool),
    /// It is disabled and about to go; its data is still there, for those who have to tell its contacts.
    Removing,
    /// A client has lost its access, or a session is to end.
    Ended(&'a Whose),
    /// Told after everything of the account is gone. `Removing` came before, so that no session wrote anything in
    /// between.
    Removed,
}

/// Called with each change, on the thread of the command. The command is answered after it returns: end live sessions
/// here, but that of this resource, whose client has asked for the change.
pub type OnChanged = Box<dyn Fn(&Jid, Change<'_>, Option<&str>) + Send + Sync>;

/// The accounts of a store.
pub struct Accounts {
    store: Arc<dyn Store>,
    /// Prepared.
    domains: Vec<String>,
    on_changed: OnChanged,
    sessions: devices::Sessions,
    inviting: Inviting,
    /// One command at a time: several read a record and write it back changed.
    turn: Mutex<()>,
}

impl Accounts {
    /// `domains` are those that are served: there is no use in an account elsewhere.
    pub fn new(store: Arc<dyn Store>, domains: Vec<String>, on_changed: OnChanged) -> Self {
        Self {
            store,
            domains,
            on_changed,
            sessions: Box::new(|_| Vec::new()),
            inviting: Inviting::default(),
            turn: Mutex::new(()),
        }
    }

    /// Says where accounts may be made by invitation; without it nowhere.
    pub fn with_inviting(self, inviting: Inviting) -> Accounts {
        Accounts { inviting, ..self }
    }

    /// Whether there is no account at all.
    pub fn is_empty(&self) -> Result<bool, Failure> {
        // Unread: that a record is damaged must not keep the server from starting.
        let rows = self.rows(None, 1).map_err(|error| unavailable(&error))?;
        Ok(rows.is_empty())
    }

    /// `along`: what is written in the same batch.
    fn add(&self, new: NewAccount, along: store::Batch) -> Result<(), Refused> {
        let account = Account {
            admin: new.admin,
            ..Account::new(new.jid, now(), new.credentials)
        };
        let mut batch = ::accounts::add(&account);
        batch.ops.extend(along.ops);
        match self.store.write_wait(batch) {
            Ok(_) => (self.on_changed)(&account.jid, Change::Added, None),
            Err(StoreError::Exists) => return Err(Refused::Exists(account.jid)),
            Err(error) => return Err(Refused::Store(error)),
        }
        Ok(())
    }

    /// Somebody has shown elsewhere that the account is theirs. Who comes for the first time gets a record, without
    /// credentials. `Ok(false)`: it is disabled here.
    pub fn admit(&self, jid: &Jid) -> Result<bool, Failure> {
        if let Some(account) = self.read(jid)? {
            return Ok(!account.disabled);
        }
        // Behind a command that removes it, and only one of several first logins at the same time.
        let _turn = self.turn();
        if let Some(account) = self.read(jid)? {
            return Ok(!account.disabled);
        }
        let account = Account::new(jid.clone(), now(), auth::Credentials::default());
        self.store
            .write_wait(::accounts::add(&account))
            .map_err(|error| unavailable(&error))?;
        (self.on_changed)(jid, Change::Added, None);
        Ok(true)
    }

    /// Whether the account is not disabled; None if there is none.
    pub fn may_log_in(&self, jid: &Jid) -> Result<Option<bool>, Failure> {
        Ok(self.read(jid)?.map(|account| !account.disabled))
    }

    /// Adds the verifiers that a login with the right password brought; `epoch`: under which it read the account. Nothing
    /// is written if the password was changed since, or the account is gone.
    pub fn renew(&self, jid: &Jid, epoch: i64, newer: auth::Credentials) -> Result<(), Failure> {
        // Behind a command that sets another password.
        let _turn = self.turn();
        let Some(mut account) = self.read(jid)? else {
            return Ok(());
        };
        match ::accounts::upgrade(&mut account, epoch, newer) {
            None => Ok(()),
            Some(batch) => Ok(self.written(jid, batch)?),
        }
    }

    /// Until it is dropped, no other command runs. Nothing is left half-changed by one that panicked: each write is one
    /// batch.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, jid: &Jid) -> Result<Option<Account>, Refused> {
        let found = self.store.read_wait(::accounts::get(jid)).and_then(Found::row);
        let account = found.map_err(Refused::Store)?;
        let account = account.map(|row| Account::from_row(jid.as_str(), &row)).transpose();
        account.map_err(|error| Refused::Store(StoreError::Other(error.to_string())))
    }

    /// Each account by itself, as one that exists must not stop the others.
    fn import(&self, new: Vec<NewAccount>) -> Result<Reply, Failure> {
        let now = now();
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut writes: Vec<(store::Batch, store::Written)> = Vec::with_capacity(new.len());
        for new in new {
            self.check_domain(&new.jid)?;
            let account = Account {
                admin: new.admin,
                ..Account::new(new.jid, now, new.credentials)
            };
            let sender = sender.clone();
            let batch = ::accounts::add(&account);
            // Nobody listens any more only if this function has returned with an error.
            writes.push((batch, Box::new(move |result| drop(sender.send((account.jid, result))))));
        }
        drop(sender);
        self.store.write_many(writes);
        let (mut added, mut existing) = (0, 0);
        for (jid, result) in receiver {
            match result {
                Ok(_) => {
                    added += 1;
                    (self.on_changed)(&jid, Change::Added, None);
                }
                Err(StoreError::Exists) => existing += 1,
                Err(error) => return Err(unavailable(&error)),
            }
        }
        Ok(Reply::Imported { added, existing })
    }

    /// One page of the list. A page of the store may hold fewer of the domain that is asked for, down to none, and
    /// still have others after it: hence `after`.
    fn list(&self, domain: Option<&str>, after: Option<&Jid>) -> Result<Reply, Failure> {
        let rows = self.page(after, PAGE)?;
        let more = rows.len() == PAGE;
        let after = rows.last().map(|account| account.jid.clone()).filter(|_| more);
        let accounts = rows
            .into_iter()
            .filter(|account| domain.is_none_or(|domain| account.jid.domain() == domain))
            .map(|account| Listed {
                jid: account.jid,
                created: account.created,
                disabled: account.disabled,
                admin: account.admin,
            })
            .collect();
        Ok(Reply::Page { accounts, after })
    }

    /// `spared`: a session that the caller ends with [`Change::Removed`], once it was told that this is done.
    fn remove(&self, jid: &Jid, spared: Option<&str>) -> Result<(), Refused> {
        // Disabled first: from here on nobody logs in, and what sessions still write is forgotten with the rest.
        self.change(jid, Change::Removing, spared, |account| account.disabled = true)?;
        let batch = self.without_invitations_of(jid, ::accounts::remove(jid))?;
        self.written(jid, batch)?;
        if spared.is_none() {
            (self.on_changed)(jid, Change::Removed, None);
        }
        Ok(())
    }

    fn set_password(&self, jid: &Jid, credentials: auth::Credentials, spared: Option<&str>) -> Result<(), Refused> {
        let edit = |account: &mut Account| account.credentials = credentials;
        self.change(jid, Change::PasswordChanged, spared, edit)
    }

    /// `spared` as of [`remove`](Self::remove), to be ended with [`Change::Disabled`].
    fn disable(&self, jid: &Jid, spared: Option<&str>) -> Result<(), Refused> {
        self.change(jid, Change::Disabled, spared, |account| account.disabled = true)
    }

    fn enable(&self, jid: &Jid) -> Result<(), Refused> {
        self.change(jid, Change::Enabled, None, |account| account.disabled = false)
    }

    fn set_admin(&self, jid: &Jid, admin: bool) -> Result<(), Refused> {
        self.change(jid, Change::Admin(admin), None, |account| account.admin = admin)
    }

    fn change(
        &self,
        jid: &Jid,
        change: Change<'_>,
        spared: Option<&str>,
        edit: impl FnOnce(&mut Account),
    ) -> Result<(), Refused> {
        let mut account = self.read(jid)?.ok_or_else(|| Refused::Missing(jid.clone()))?;
        edit(&mut account);
        let batch = match change {
            // With them goes every token: nobody comes back with what was given out before.
            Change::PasswordChanged | Change::Disabled | Change::Removing => ::accounts::end_logins(&mut account),
            Change::Added | Change::Enabled | Change::Admin(_) | Change::Ended(_) | Change::Removed => {
                ::accounts::change(&account)
            }
        };
        self.written(jid, batch)?;
        (self.on_changed)(jid, change, spared);
        Ok(())
    }

    fn written(&self, jid: &Jid, batch: store::Batch) -> Result<(), Refused> {
        self.store.write_wait(batch).map(drop).map_err(|error| match error {
            StoreError::Missing => Refused::Missing(jid.clone()),
            error => Refused::Store(error),
        })
    }

    fn rows(&self, after: Option<&Jid>, limit: usize) -> Result<Vec<(Box<str>, store::Row)>, StoreError> {
        self.store
            .read_wait(::accounts::page(after, limit))
            .and_then(Found::owners)
    }

    fn page(&self, after: Option<&Jid>, limit: usize) -> Result<Vec<Account>, Failure> {
        let rows = self.rows(after, limit).map_err(|error| unavailable(&error))?;
        let account = |(owner, row): (Box<str>, store::Row)| Account::from_row(&owner, &row);
        let accounts: Result<Vec<Account>, _> = rows.into_iter().map(account).collect();
        accounts.map_err(|error| Failure::unavailable(error.to_string()))
    }

    fn check_domain(&self, jid: &Jid) -> Result<(), Failure> {
        if self.domains.iter().any(|domain| domain == jid.domain()) {
            return Ok(());
        }
        let domain = jid.domain();
        Err(Failure::failed(format!(
            "{jid}: `{domain}` is not a domain of this server, which serves {}; add it to jackdaw.toml as [[domain]] \
             with name = \"{domain}\", or start with --domain {domain}",
            self.domains.join(", ")
        )))
    }
}

impl Backend for Accounts {
    fn handle(&self, command: Command) -> Result<Reply, Failure> {
        let _turn = self.turn();
        match command {
            Command::Add(new) => {
                self.check_domain(&new.jid)?;
                self.add(new, store::Batch::new())?;
            }
            Command::Import(new) => return self.import(new),
            Command::Devices(jid) => return self.devices(&jid),
            Command::Revoke { jid, id, keep_password } => self.revoke(&jid, &id, keep_password)?,
            Command::List { domain, after } => return self.list(domain.as_deref(), after.as_ref()),
            Command::Reports(asked) => return self.reports(&asked),
            Command::Remove(jid) => self.remove(&jid, None)?,
            Command::SetPassword(jid, credentials) => self.set_password(&jid, credentials, None)?,
            Command::Disable(jid) => self.disable(&jid, None)?,
            Command::Enable(jid) => self.enable(&jid)?,
            Command::SetAdmin(jid, admin) => self.set_admin(&jid, admin)?,
            Command::Invite(wanted) => return Ok(Reply::Invited(self.invite(wanted)?)),
            Command::Invitations { after } => {
                let page = self.list_invitations(after.as_deref(), PAGE)?;
                let last = page.last().map(|last| last.key.clone());
                let after = last.filter(|_| page.len() == PAGE);
                return Ok(Reply::Invitations {
                    invitations: page,
                    after,
                });
            }
            Command::Withdraw(id) if !self.withdraw(&id)? => {
                return Err(Failure::failed(format!(
                    "there is no invitation {id}, or several begin so; `jackdaw invite list` prints those that exist"
                )));
            }
            Command::Withdraw(_) => {}
            // Where a server runs it is asked before.
            Command::Why { .. } | Command::PushServices => {
                return Err(Failure::unavailable("no server runs, so nothing is known of others"));
            }
        }
        Ok(Reply::Done)
    }
}

/// What the command line says: it has another remedy at hand than who asks over XMPP.
impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        match refused {
            Refused::Missing(jid) => missing(&jid),
            Refused::Exists(jid) => Failure::failed(format!(
                "{jid} exists already; `jackdaw account password {jid}` changes its password"
            )),
            Refused::Store(error) => unavailable(&error),
            Refused::Terms(StanzaError { text: Some(text), .. }) => Failure::failed(text),
            refused @ (Refused::Elsewhere(_) | Refused::Password(_) | Refused::Terms(_)) => {
                Failure::failed(refused.to_string())
            }
        }
    }
}

fn missing(jid: &Jid) -> Failure {
    Failure::failed(format!(
        "there is no account {jid}; `jackdaw account list` prints those that exist"
    ))
}

fn unavailable(error: &StoreError) -> Failure {
    Failure::unavailable(match error {
        StoreError::Full => "no room left on the disk; make some and try again".to_owned(),
        StoreError::Overloaded => "the database is too busy; try again later".to_owned(),
        error => error.to_string(),
    })
}

/// Seconds since 1970. A clock before that is one that was never set: 0 is as good as any.
fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use auth::Credentials;
    use store::Memory;

    use super::*;
    use crate::failure::Why;

    struct World {
        accounts: Accounts,
        /// Accounts, and what became of them.
        changes: Arc<Mutex<Vec<(String, String)>>>,
    }

    fn world() -> World {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&changes);
        let on_changed: OnChanged = Box::new(move |jid, change, _| {
            seen.lock()
                .expect("no test panics in here")
                .push((jid.to_string(), format!("{change:?}")))
        });
        let store = Arc::new(Memory::new(&router::TABLES));
        World {
            accounts: Accounts::new(store, vec!["example.org".into(), "example.net".into()], on_changed),
            changes,
        }
    }

    fn jid(text: &str) -> Jid {
        ::accounts::address(text).expect("an address")
    }

    fn new(text: &str) -> NewAccount {
        let credentials = Credentials::derive("secret", 1, [[1; 16]; 3]).expect("a usable password");
        NewAccount {
            jid: jid(text),
            admin: false,
            credentials,
        }
    }

    impl World {
        #[track_caller]
        fn check(&self, command: Command, expected: Result<Reply, Why>) {
            let told = self.accounts.handle(command);
            assert_eq!(told.map_err(|failure| failure.why), expected);
        }

        fn listed(&self) -> Vec<(String, bool)> {
            match self.accounts.handle(Command::List {
                domain: None,
                after: None,
            }) {
                Ok(Reply::Page { accounts, after: None }) => accounts
                    .into_iter()
                    .map(|listed| (listed.jid.to_string(), listed.disabled))
                    .collect(),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn an_account_is_added_changed_and_removed_and_the_hook_hears_of_it() {
        let world = world();
        let juliet = || jid("juliet@example.org");
        assert!(world.accounts.is_empty().expect("read"));
        world.check(Command::Disable(juliet()), Err(Why::Failed));
        world.check(Command::Add(new("juliet@example.org")), Ok(Reply::Done));
        world.check(Command::Add(new("juliet@example.org")), Err(Why::Failed));
        world.check(Command::Add(new("juliet@elsewhere.org")), Err(Why::Failed));
        world.check(Command::SetPassword(juliet(), Credentials::default()), Ok(Reply::Done));
        world.check(Command::Disable(juliet()), Ok(Reply::Done));
        assert_eq!(world.listed(), [("juliet@example.org".to_owned(), true)]);
        world.check(Command::Enable(juliet()), Ok(Reply::Done));
        assert_eq!(world.listed(), [("juliet@example.org".to_owned(), false)]);
        assert!(!world.accounts.is_empty().expect("read"));
        world.check(Command::Remove(juliet()), Ok(Reply::Done));
        world.check(Command::Remove(juliet()), Err(Why::Failed));
        assert_eq!(world.listed(), []);
        let changes = world.changes.lock().expect("no panic");
        let kinds: Vec<&str> = changes.iter().map(|(_, change)| change.as_str()).collect();
        let expected = ["Added", "PasswordChanged", "Disabled", "Enabled", "Removing", "Removed"];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn who_is_known_elsewhere_gets_an_account_once() {
        let world = world();
        let admit = || {
            world
                .accounts
                .admit(&jid("juliet@example.org"))
                .expect("the store works")
        };
        assert!(admit());
        assert!(admit());
        world.check(Command::Disable(jid("juliet@example.org")), Ok(Reply::Done));
        assert!(!admit());
        assert_eq!(world.listed(), [("juliet@example.org".to_owned(), true)]);
        let account = world.accounts.read(&jid("juliet@example.org")).expect("read");
        assert_eq!(account.expect("it is there").credentials, Credentials::default());
        let changes = world.changes.lock().expect("no panic");
        let added = |change: &&(String, String)| change.1 == "Added";
        assert_eq!(changes.iter().filter(added).count(), 1);
    }

    #[test]
    fn an_import_leaves_what_exists() {
        let world = world();
        world.check(Command::Add(new("a@example.org")), Ok(Reply::Done));
        let import = ["a@example.org", "b@example.org", "c@example.net", "b@example.org"]
            .map(new)
            .to_vec();
        world.check(Command::Import(import), Ok(Reply::Imported { added: 2, existing: 2 }));
        assert_eq!(world.listed().len(), 3);
    }

    #[test]
    fn a_list_can_be_of_one_domain_and_is_paged() {
        let world = world();
        let many = (0..PAGE).map(|n| new(&format!("user{n:05}@example.org"))).collect();
        world.check(
            Command::Import(many),
            Ok(Reply::Imported {
                added: PAGE,
                existing: 0,
            }),
        );
        world.check(Command::Add(new("z@example.net")), Ok(Reply::Done));
        let of = |after| Command::List {
            domain: Some("example.net".into()),
            after,
        };
        let Ok(Reply::Page {
            accounts,
            after: Some(after),
        }) = world.accounts.handle(of(None))
        else {
            panic!("a full page has others after it");
        };
        assert_eq!(accounts.len(), 0, "the first page is of the other domain");
        let Ok(Reply::Page { accounts, after: None }) = world.accounts.handle(of(Some(after))) else {
            panic!("the second page is the last");
        };
        assert_eq!(accounts.len(), 1);
    }
}
