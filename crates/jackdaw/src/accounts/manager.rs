//! What is asked of the accounts over XMPP ([`module::Manager`]), by the same functions as the commands.
//!
//! One thread carries it out, one action after the other in the order in which they came: several read a record and write
//! it back changed, and a password takes milliseconds of a core to derive, of which the connections need theirs. So a
//! thousand users who change their passwords at once cost one core, and the last of them is told to try again.

use std::collections::{BTreeSet, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::accounts::{Account, tokens};
use auth::Credentials;
use module::{Action, Agreed, Known, Manager, Outcome, Refused, Secret, Terms, Then, Which};
use router::{Router, Whose};
use stanza::Jid;
use store::{Found, PAGE_LIMIT, Query, StoreError};

use super::{Accounts, Change, Made, Wanted};
use crate::admin::NewAccount;
use crate::failure::Failure;
use crate::password;

/// Actions that wait. One more is refused.
const WAITING: usize = 64;

/// The same of one account.
const WAITING_OF_ONE: usize = 8;

/// How passwords are made into what is stored, and where.
pub struct Passwords {
    pub iterations: u32,
    /// Prepared domains whose accounts are kept here.
    pub domains: BTreeSet<String>,
}

/// What waits to be carried out.
pub struct Queue {
    sender: SyncSender<Job>,
    asking: Arc<Asking>,
}

struct Job {
    asker: Jid,
    action: Action,
    then: Then,
}

/// How many actions of each account wait.
#[derive(Default)]
struct Asking(Mutex<HashMap<Box<str>, usize>>);

impl Asking {
    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, asker: &Jid) -> bool {
        let mut asking = self.lock();
        let count = asking.entry(asker.bare_str().into()).or_default();
        let has_room = *count < WAITING_OF_ONE;
        *count += usize::from(has_room);
        has_room
    }

    fn leave(&self, asker: &Jid) {
        let mut asking = self.lock();
        if let Some(count) = asking.get_mut(asker.bare_str()) {
            *count -= 1;
            if *count == 0 {
                asking.remove(asker.bare_str());
            }
        }
    }
}

impl Queue {
    /// Starts the thread. It ends with the queue.
    pub fn start(
        accounts: Arc<Accounts>,
        router: Arc<Router>,
        passwords: Passwords,
        why: Why,
    ) -> Result<Queue, Failure> {
        let (sender, receiver) = sync_channel(WAITING);
        let asking = Arc::<Asking>::default();
        let of_thread = Arc::clone(&asking);
        let hands = Hands {
            accounts,
            router,
            passwords,
            why,
        };
        std::thread::Builder::new()
            .name("accounts".to_owned())
            .spawn(move || hands.work(&receiver, &of_thread))
            .map_err(|error| Failure::unavailable(format!("a thread cannot start: {error}")))?;
        Ok(Queue { sender, asking })
    }
}

impl Manager for Queue {
    fn manage(&self, asker: &Jid, action: Action, then: Then) -> bool {
        if !self.asking.enter(asker) {
            return false;
        }
        let job = Job {
            asker: asker.clone(),
            action,
            then,
        };
        let is_in = self.sender.try_send(job).is_ok();
        if !is_in {
            self.asking.leave(asker);
        }
        is_in
    }
}

/// Who carries it out.
struct Hands {
    accounts: Arc<Accounts>,
    router: Arc<Router>,
    passwords: Passwords,
    why: Why,
}

/// What is known of another server, in words.
pub type Why = Box<dyn Fn(&str) -> Vec<String> + Send>;

/// What ends behind the answer.
type Left<'a> = Option<(Jid, Change<'a>)>;

/// Ends every session.
const ALL: Whose = Whose::All;

impl Hands {
    fn work(&self, receiver: &Receiver<Job>, asking: &Asking) {
        for Job { asker, action, then } in receiver {
            // As in the admin socket: a defect in one command must not end all others.
            let what = changes(&action);
            let done = catch_unwind(AssertUnwindSafe(|| self.act(&asker, action)));
            let (acted, left) = match done {
                Ok(Ok((outcome, left))) => (Ok(outcome), left),
                Ok(Err(refused)) => (Err(refused), None),
                Err(_) => (
                    Err(Refused::Store(StoreError::Other("a command panicked".into()))),
                    None,
                ),
            };
            if let Err(Refused::Store(error)) = &acted {
                tracing::error!(%asker, %error, "what was asked of the accounts could not be done");
            }
            if let (Some(what), Ok(_)) = (what, &acted) {
                tracing::info!(by = %asker, "{what}");
            }
            asking.leave(&asker);
            then(acted);
            if let Some((account, change)) = left {
                (self.accounts.on_changed)(&account, change, None);
            }
        }
    }

    fn act(&self, asker: &Jid, action: Action) -> Result<(Outcome, Left<'static>), Refused> {
        let done = |()| (Outcome::Done, None);
        match action {
            Action::Add {
                account,
                password,
                admin,
                terms,
            } => self.add(account, &password, admin, terms).map(done),
            Action::SetPassword { account, password } => {
                let credentials = self.derive(&account, &password)?;
                let _turn = self.accounts.turn();
                let spared = own_session(asker, &account);
                self.accounts.set_password(&account, credentials, spared).map(done)
            }
            Action::Disable(accounts) => self.each(asker, accounts, Change::Disabled, |account, spared| {
                self.accounts.disable(account, spared)
            }),
            Action::Remove(accounts) => self.each(asker, accounts, Change::Removed, |account, spared| {
                self.accounts.remove(account, spared)
            }),
            Action::Enable(accounts) => {
                let _turn = self.accounts.turn();
                self.all_exist(&accounts)?;
                // Enabled already: its sessions have no reason to end.
                let disabled =
                    |account: &&Jid| matches!(self.accounts.read(account), Ok(Some(record)) if record.disabled);
                let mut accounts = accounts.iter().filter(disabled);
                accounts.try_for_each(|account| self.accounts.enable(account)).map(done)
            }
            Action::SetAdmin { account, admin } => {
                let _turn = self.accounts.turn();
                self.accounts.set_admin(&account, admin).map(done)
            }
            Action::Invite {
                inviter,
                domain,
                contact,
                username,
                lifetime,
            } => {
                let _turn = self.accounts.turn();
                let Made { uri, expires } = self.accounts.invite(Wanted {
                    domain: domain.map(String::from),
                    inviter: Some(inviter),
                    contact,
                    username: username.map(String::from),
                    admin: false,
                    lifetime,
                    uses: 1,
                })?;
                Ok((Outcome::Invited { uri, expires }, None))
            }
            Action::EndSessions(of) => self.end_sessions(asker, &of),
            Action::List { domain, which, most } => {
                let (accounts, more) = self.list(&domain, which, most)?;
                Ok((Outcome::Accounts { accounts, more }, None))
            }
            Action::Count { domain, which } => Ok((Outcome::Count(self.count(&domain, which)?), None)),
            Action::Look(accounts) => {
                let known: Result<Vec<Known>, Refused> =
                    accounts.into_iter().map(|account| self.look(account)).collect();
                Ok((Outcome::Known(known?), None))
            }
            Action::SetAdmins { domain, accounts } => self.set_admins(&domain, &accounts).map(done),
            Action::Announce { domain, text } => {
                let count = self.router.tell_everyone(&domain, &text);
                Ok((Outcome::Count(count), None))
            }
            Action::SetStanding {
                domain,
                standing,
                text,
                afresh,
            } => {
                let set = self.router.set_standing(&domain, standing, text.as_deref(), afresh);
                set.map(done).map_err(Refused::Store)
            }
            Action::Standing { domain, standing } => {
                let text = self.router.standing(&domain, standing);
                Ok((Outcome::Text(text), None))
            }
            Action::Why(domain) => Ok((Outcome::Lines((self.why)(&domain)), None)),
        }
    }

    fn derive(&self, account: &Jid, password: &Secret) -> Result<Credentials, Refused> {
        if !self.passwords.domains.contains(account.domain()) {
            return Err(Refused::Elsewhere(account.clone()));
        }
        let derived = password::derive(password.expose(), self.passwords.iterations);
        derived.map_err(|failure| Refused::Password(failure.message))
    }

    fn add(&self, account: Jid, password: &Secret, admin: bool, terms: Option<Terms>) -> Result<(), Refused> {
        let credentials = self.derive(&account, password)?;
        let _turn = self.accounts.turn();
        let agreed = match terms {
            None => Agreed::default(),
            Some(Terms { query, agree }) => agree(self.accounts.store.read_wait(query)).map_err(Refused::Terms)?,
        };
        let new = NewAccount {
            jid: account,
            admin: admin || agreed.admin,
            credentials,
        };
        self.accounts.add(new, agreed.batch)
    }

    fn all_exist(&self, accounts: &[Jid]) -> Result<(), Refused> {
        for account in accounts {
            if self.accounts.read(account)?.is_none() {
                return Err(Refused::Missing(account.clone()));
            }
        }
        Ok(())
    }

    /// The session that asks ends with `rest`, behind the answer.
    fn each(
        &self,
        asker: &Jid,
        accounts: Vec<Jid>,
        rest: Change<'static>,
        change: impl Fn(&Jid, Option<&str>) -> Result<(), Refused>,
    ) -> Result<(Outcome, Left<'static>), Refused> {
        let _turn = self.accounts.turn();
        self.all_exist(&accounts)?;
        let mut left = None;
        // Each once, and who asks last: else a failure behind that would leave it half ended.
        let (own, others): (BTreeSet<Jid>, BTreeSet<Jid>) = accounts
            .into_iter()
            .partition(|account| own_session(asker, account).is_some());
        for account in others.into_iter().chain(own) {
            let spared = own_session(asker, &account);
            change(&account, spared)?;
            if spared.is_some() {
                left = Some((account, rest));
            }
        }
        Ok((Outcome::Done, left))
    }

    fn end_sessions(&self, asker: &Jid, of: &[Jid]) -> Result<(Outcome, Left<'static>), Refused> {
        let bare: Vec<Jid> = of.iter().map(Jid::to_bare).collect();
        self.all_exist(&bare)?;
        let mut left = None;
        for (address, account) in of.iter().zip(bare) {
            let own = own_session(asker, &account);
            match address.as_ref().resource() {
                None if own.is_some() => left = Some((account, Change::Ended(&ALL))),
                None => (self.accounts.on_changed)(&account, Change::Ended(&ALL), None),
                Some(resource) => {
                    let whose = Whose::Resource(resource.into());
                    (self.accounts.on_changed)(&account, Change::Ended(&whose), None);
                }
            }
        }
        Ok((Outcome::Done, left))
    }

    /// Calls `act` with each account of the domain of which the store knows that it is one of these.
    fn each_stored(&self, domain: &str, which: Which, mut act: impl FnMut(&str) -> bool) -> Result<(), Refused> {
        let mut after = None;
        loop {
            let rows = self.accounts.rows(after.as_ref(), PAGE_LIMIT).map_err(Refused::Store)?;
            let more = rows.len() == PAGE_LIMIT;
            for (owner, row) in &rows {
                let is_here = owner.rsplit_once('@').is_some_and(|(_, of)| of == domain);
                let (disabled, admin) = ::accounts::standing(row);
                let is_wanted = match which {
                    Which::Disabled => disabled,
                    Which::Admins => admin,
                    _ => true,
                };
                if is_here && is_wanted && !act(owner) {
                    return Ok(());
                }
            }
            after = rows
                .last()
                .and_then(|(owner, _)| Jid::parse(owner).ok())
                .filter(|_| more);
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn list(&self, domain: &str, which: Which, most: usize) -> Result<(Vec<Jid>, bool), Refused> {
        if let Some((online, count)) = self.online(domain, which, most) {
            let more = count > online.len() as u64;
            return Ok((online, more));
        }
        let (mut accounts, mut more) = (Vec::new(), false);
        self.each_stored(domain, which, |owner| {
            more = accounts.len() == most;
            if !more {
                accounts.extend(Jid::parse(owner).ok());
            }
            !more
        })?;
        Ok((accounts, more))
    }

    fn count(&self, domain: &str, which: Which) -> Result<u64, Refused> {
        if let Some((_, count)) = self.online(domain, which, 0) {
            return Ok(count);
        }
        let mut count = 0;
        self.each_stored(domain, which, |_| {
            count += 1;
            true
        })?;
        Ok(count)
    }

    /// Those of whom the memory knows; None: it is the store that knows.
    fn online(&self, domain: &str, which: Which, most: usize) -> Option<(Vec<Jid>, u64)> {
        let active = match which {
            Which::All | Which::Disabled | Which::Admins => return None,
            Which::Online => None,
            Which::Active => Some(true),
            Which::Idle => Some(false),
        };
        Some(self.router.online(domain, active, most))
    }

    fn set_admins(&self, domain: &str, accounts: &[Jid]) -> Result<(), Refused> {
        let _turn = self.accounts.turn();
        self.all_exist(accounts)?;
        let (mut were, are) = (BTreeSet::new(), accounts.iter().cloned().collect::<BTreeSet<Jid>>());
        self.each_stored(domain, Which::Admins, |owner| {
            were.extend(Jid::parse(owner).ok());
            true
        })?;
        // First who may from now on: a failure must not leave nobody.
        are.difference(&were)
            .try_for_each(|account| self.accounts.set_admin(account, true))?;
        were.difference(&are)
            .try_for_each(|account| self.accounts.set_admin(account, false))
    }

    fn look(&self, account: Jid) -> Result<Known, Refused> {
        let account = &account;
        let record: Account = self
            .accounts
            .read(account)?
            .ok_or_else(|| Refused::Missing(account.clone()))?;
        let sessions = self.router.sessions_of(account.as_str());
        let store = &self.accounts.store;
        let clients = store.read_wait(tokens::with_account(account));
        let clients =
            tokens::read_with_account(account, clients).map_err(|error| Refused::Store(StoreError::Other(error)))?;
        let last_login = clients.and_then(|(_, clients)| clients.list().iter().map(|client| client.last_seen).max());
        let found = store
            .read_wait(Query::Many(vec![
                Query::get(&router::LAST_ACTIVITY, account.as_str(), None),
                Query::count(&presence::ROSTER, account.as_str()),
            ]))
            .and_then(Found::many)
            .map_err(Refused::Store)?;
        let (mut last_seen, mut contacts) = (None, 0);
        for found in found {
            match found {
                Found::Row(row) => last_seen = row.and_then(|row| row.first()?.as_int()),
                Found::Count(count) => contacts = count,
                _ => {}
            }
        }
        Ok(Known {
            account: account.clone(),
            created: record.created,
            disabled: record.disabled,
            admin: record.admin,
            resources: sessions.into_iter().map(|session| session.resource).collect(),
            last_login,
            last_seen,
            contacts,
        })
    }
}

/// For the log, as whoever runs the server wants to know who did what; None: nothing is changed.
fn changes(action: &Action) -> Option<String> {
    let all = |what: &str, accounts: &[Jid]| {
        let names: Vec<&str> = accounts.iter().map(Jid::as_str).collect();
        format!("{what} {}", names.join(", "))
    };
    Some(match action {
        Action::Add { account, .. } => format!("added the account {account}"),
        Action::SetPassword { account, .. } => format!("set the password of {account}"),
        Action::Disable(accounts) => all("disabled", accounts),
        Action::Enable(accounts) => all("enabled", accounts),
        Action::Remove(accounts) => all("removed", accounts),
        Action::EndSessions(accounts) => all("ended the sessions of", accounts),
        Action::SetAdmin { account, admin: true } => format!("made {account} an administrator"),
        Action::SetAdmin { account, admin: false } => format!("made {account} no administrator any more"),
        Action::SetAdmins { domain, accounts } => all(&format!("set as administrators of {domain}:"), accounts),
        Action::Announce { domain, .. } => format!("announced something to {domain}"),
        Action::SetStanding { domain, standing, .. } => format!("changed the text {standing:?} of {domain}"),
        _ => return None,
    })
}

/// The resource of who asks, if that is a session of this account.
fn own_session<'a>(asker: &'a Jid, account: &Jid) -> Option<&'a str> {
    asker
        .as_ref()
        .resource()
        .filter(|_| asker.bare_str() == account.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count() -> Action {
        Action::Count {
            domain: "example.org".into(),
            which: Which::All,
        }
    }

    fn asker(number: usize) -> Jid {
        Jid::parse(&format!("user{number}@example.org/x")).expect("a JID")
    }

    /// One that nobody works off.
    fn queue(waiting: usize) -> (Queue, Receiver<Job>) {
        let (sender, receiver) = sync_channel(waiting);
        let asking = Arc::default();
        (Queue { sender, asking }, receiver)
    }

    #[test]
    fn one_account_leaves_room_for_others() {
        let (queue, receiver) = queue(WAITING);
        let manage = |number| queue.manage(&asker(number), count(), Box::new(|_| {}));
        assert!((0..WAITING_OF_ONE).all(|_| manage(1)));
        assert!(!manage(1));
        assert!(manage(2));
        queue.asking.leave(&receiver.recv().expect("it waits").asker);
        assert!(manage(1));
        assert!(!manage(1));
    }

    #[test]
    fn so_many_wait_and_no_more() {
        let (queue, receiver) = queue(WAITING);
        let manage = |number| queue.manage(&asker(number), count(), Box::new(|_| {}));
        assert!((0..WAITING).all(manage));
        assert!(!manage(WAITING));
        drop(receiver);
        assert!(!manage(0), "nobody works any more");
        assert_eq!(queue.asking.lock().len(), WAITING, "who was refused does not wait");
    }

    #[test]
    fn a_session_is_spared_for_who_asks_of_his_own_account() {
        let check = |asker: &str, account: &str, expected: Option<&str>| {
            let [asker, account] = [asker, account].map(|jid| Jid::parse(jid).expect("a JID"));
            assert_eq!(own_session(&asker, &account), expected);
        };
        check("a@b/c", "a@b", Some("c"));
        check("a@b", "a@b", None);
        check("a@b/c", "d@b", None);
    }
}
