//! Ad-hoc commands of the server (XEP-0050): what a feature declares, and the sessions in which they are carried out.
//!
//! A command is a function. It is given the forms that were filled in so far, none when it begins, and returns the next
//! form or what came of it. So a command with one form has two cases and keeps nothing itself, and to go back is to
//! forget the last form. The engine is `xeps/src/ad_hoc.rs`.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stanza::{ErrorType, Jid, StanzaError};
use store::{Batch, Found, Query, StoreError};
use xmlstream::Child;

use crate::{Access, Acted, Action, Ask, DataForm, Now, Submitted};

/// Of XEP-0050.
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";

/// Carries a command out; as many forms as were filled in.
pub type Run = fn(&Ask<'_>, &[Submitted]) -> Step;

/// A command.
#[derive(Clone, Copy)]
pub struct Command {
    pub(crate) node: &'static str,
    pub(crate) name: &'static str,
    pub(crate) access: Access,
    pub(crate) offered: fn(&Ask<'_>) -> bool,
    pub(crate) run: Run,
}

impl Command {
    /// `name`: shown to people. `access`: [`Access::Admin`], or [`Access::Local`] for every account of the domain. Who may
    /// not is told `forbidden` by the dispatcher, and does not see the command.
    pub const fn new(node: &'static str, name: &'static str, access: Access, run: Run) -> Command {
        Command {
            node,
            name,
            access,
            offered: |_| true,
            run,
        }
    }

    /// Only there where this is so. Else there is no such command, for anybody.
    #[must_use]
    pub const fn where_offered(mut self, offered: fn(&Ask<'_>) -> bool) -> Command {
        self.offered = offered;
        self
    }

    pub fn node(&self) -> &'static str {
        self.node
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn access(&self) -> Access {
        self.access
    }

    pub fn is_offered(&self, ask: &Ask<'_>) -> bool {
        (self.offered)(ask)
    }

    /// Whether it is there and this entity may use it.
    pub fn is_open_to(&self, ask: &Ask<'_>) -> bool {
        self.access.admits_to(ask.host, ask.from, ask.is_admin) && self.is_offered(ask)
    }

    pub fn run(&self, ask: &Ask<'_>, forms: &[Submitted]) -> Step {
        (self.run)(ask, forms)
    }
}

/// What a command does next.
pub enum Step {
    Now(Result<Stage, StanzaError>),
    /// The store is asked first.
    Asked(Query, MakeStage),
    /// The management of accounts is asked first.
    Known(Action, MakeKnown),
    /// The store is asked first, what the function makes of its answer is written, and the command is done then.
    Changed(Query, MakeWritten),
    /// Something is done with accounts first. What is refused is told as an error by itself.
    Act(Action, MakeDone),
}

pub type MakeStage = Box<dyn FnOnce(Result<Found, StoreError>) -> Result<Stage, StanzaError> + Send>;
pub type MakeWritten = Box<dyn FnOnce(Result<Found, StoreError>) -> Result<(Batch, Done), StanzaError> + Send>;
pub type MakeKnown = Box<dyn FnOnce(Acted) -> Result<Stage, StanzaError> + Send>;
pub type MakeDone = Box<dyn FnOnce(Acted) -> Result<Done, StanzaError> + Send>;

/// Where a command stands.
pub enum Stage {
    /// A form is to be filled in, and others after it.
    Form(DataForm),
    /// The last one.
    LastForm(DataForm),
    Done(Done),
}

/// What came of a command that is done.
#[derive(Default)]
pub struct Done {
    /// For people.
    pub note: Option<String>,
    pub form: Option<DataForm>,
    /// Other payload, as XML.
    pub payload: String,
}

impl Done {
    pub fn note(text: impl Into<String>) -> Done {
        Done {
            note: Some(text.into()),
            ..Done::default()
        }
    }

    pub fn form(form: DataForm) -> Done {
        Done {
            form: Some(form),
            ..Done::default()
        }
    }
}

/// An error of section 4.4 of the XEP.
fn special(error: StanzaError, name: &str) -> StanzaError {
    error.app(format!("<{name} xmlns='{COMMANDS}'/>"))
}

/// "The responding JID cannot accept the specified payload": a field is missing, or makes no sense.
pub fn bad_payload(text: impl Into<String>) -> StanzaError {
    special(StanzaError::bad_request(), "bad-payload").text(text.into())
}

/// An action that is none.
pub fn malformed_action() -> StanzaError {
    special(StanzaError::bad_request(), "malformed-action")
}

/// An action that this stage does not have.
pub fn bad_action() -> StanzaError {
    special(StanzaError::bad_request(), "bad-action")
}

/// What is no language.
pub fn bad_locale() -> StanzaError {
    special(StanzaError::bad_request(), "bad-locale")
}

pub fn bad_session_id() -> StanzaError {
    special(StanzaError::bad_request(), "bad-sessionid")
}

pub fn session_expired() -> StanzaError {
    special(StanzaError::not_allowed(), "session-expired")
}

/// Commands under way, of all domains. Who begins one more is told `resource-constraint`, to be tried again.
const SESSIONS: usize = 1_024;

/// The same of one account. When it begins another one, that which it has not used for longest ends.
const SESSIONS_OF_ONE: usize = 8;

/// Seconds after which a command ends that nobody goes on with.
const LIFETIME: i64 = 10 * 60;

/// Bytes that the forms of a command may have together. Only one of several stages keeps any.
const SESSION_BYTES: usize = 64 * 1024;

/// Commands under way (section 3.3 of the XEP). Plain memory: a restart ends them.
///
/// An id is made of the moment in which the first was begun and a number. It need not be secret, as a command goes on for
/// the very session that began it alone; and it tells whether there was such a command once.
#[derive(Default)]
pub struct CommandSessions(Mutex<Sessions>);

#[derive(Default)]
struct Sessions {
    /// When the first was begun; 0: there was none.
    epoch: i64,
    last: u64,
    open: BTreeMap<u64, Session>,
}

/// A command under way, which waits for a form to be filled in.
pub struct Session {
    asker: Jid,
    node: &'static str,
    used: Now,
    pub forms: Vec<Submitted>,
    /// Whether the form that waits is the last.
    pub is_last: bool,
}

/// A command that is being carried out. What is not put back is over.
pub struct Ticket {
    number: u64,
    /// As it is told.
    pub id: String,
    pub session: Session,
}

impl CommandSessions {
    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command begins.
    pub fn begin(&self, now: Now, asker: Jid, node: &'static str) -> Ticket {
        let mut sessions = self.lock();
        if sessions.epoch == 0 {
            sessions.epoch = now.0.max(1);
        }
        sessions.last += 1;
        let number = sessions.last;
        Ticket {
            number,
            id: format!("{:x}-{number:x}", sessions.epoch),
            session: Session {
                asker,
                node,
                used: now,
                forms: Vec::new(),
                is_last: false,
            },
        }
    }

    /// A command waits for a form.
    ///
    /// # Errors
    /// There are too many.
    pub fn put(&self, now: Now, mut ticket: Ticket) -> Result<(), StanzaError> {
        let bytes: usize = ticket.session.forms.iter().map(Submitted::bytes).sum();
        if bytes > SESSION_BYTES {
            return Err(bad_payload("the forms are too long"));
        }
        let mut sessions = self.lock();
        sessions.open.retain(|_, session| !session.is_over(now));
        let own = sessions.open.iter();
        let own = own.filter(|(_, session)| session.asker.bare_str() == ticket.session.asker.bare_str());
        let own: Vec<(Now, u64)> = own.map(|(number, session)| (session.used, *number)).collect();
        if own.len() >= SESSIONS_OF_ONE
            && let Some((_, oldest)) = own.iter().min()
        {
            sessions.open.remove(oldest);
        }
        if sessions.open.len() >= SESSIONS {
            return Err(StanzaError::resource_constraint().kind(ErrorType::Wait));
        }
        ticket.session.used = now;
        sessions.open.insert(ticket.number, ticket.session);
        Ok(())
    }

    /// A command goes on.
    ///
    /// # Errors
    /// It is over, or not this entity's, or none at all.
    pub fn take(&self, now: Now, asker: &str, node: &str, id: &str) -> Result<Ticket, StanzaError> {
        let mut sessions = self.lock();
        let (epoch, number) = id.split_once('-').ok_or_else(bad_session_id)?;
        let epoch = i64::from_str_radix(epoch, 16).map_err(|_| bad_session_id())?;
        let number = u64::from_str_radix(number, 16).map_err(|_| bad_session_id())?;
        if epoch > sessions.epoch && epoch > now.0 || epoch == sessions.epoch && number > sessions.last {
            return Err(bad_session_id());
        }
        if epoch != sessions.epoch {
            // Of before a restart.
            return Err(session_expired());
        }
        let Some(session) = sessions.open.get(&number) else {
            return Err(session_expired());
        };
        if session.asker.as_str() != asker || session.node != node {
            return Err(bad_session_id());
        }
        let is_over = session.is_over(now);
        match sessions.open.remove(&number) {
            Some(session) if !is_over => Ok(Ticket {
                number,
                id: id.to_owned(),
                session,
            }),
            _ => Err(session_expired()),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lock().open.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Session {
    fn is_over(&self, now: Now) -> bool {
        now.seconds() - self.used.seconds() >= LIFETIME
    }
}

/// The node of a request to carry a command out.
pub(crate) fn node_of<'a>(payload: &Child<'a>) -> Option<std::borrow::Cow<'a, str>> {
    payload.is("command", COMMANDS).then(|| payload.attr("node")).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> Jid {
        Jid::parse(text).expect("a JID")
    }

    fn at(seconds: i64) -> Now {
        Now(1_000_000_000_000 + seconds * 1_000)
    }

    struct World(CommandSessions);

    impl World {
        fn begin(&self, seconds: i64, asker: &str) -> String {
            let ticket = self.0.begin(at(seconds), jid(asker), "node");
            let id = ticket.id.clone();
            self.0.put(at(seconds), ticket).expect("room");
            id
        }

        #[track_caller]
        fn check(&self, seconds: i64, asker: &str, node: &str, id: &str, expected: Result<(), StanzaError>) {
            let taken = self.0.take(at(seconds), asker, node, id).map(drop);
            assert_eq!(taken, expected, "{asker} {node} {id}");
        }
    }

    #[test]
    fn a_session_is_of_who_began_it_and_of_its_command() {
        let world = World(CommandSessions::default());
        let id = world.begin(0, "a@b/c");
        let bad = || Err(bad_session_id());
        world.check(1, "a@b/d", "node", &id, bad());
        world.check(1, "a@b/c", "other", &id, bad());
        for wrong in ["", "-", "x-y", "1", "-1-1", &format!("{id}0"), "fffffffffff-1"] {
            world.check(1, "a@b/c", "node", wrong, bad());
        }
        world.check(1, "a@b/c", "node", &id, Ok(()));
        world.check(1, "a@b/c", "node", &id, Err(session_expired()));
        world.check(1, "a@b/c", "node", "1-1", Err(session_expired()));
    }

    #[test]
    fn a_session_that_nobody_goes_on_with_ends() {
        let world = World(CommandSessions::default());
        let id = world.begin(0, "a@b/c");
        world.check(LIFETIME, "a@b/c", "node", &id, Err(session_expired()));
        let id = world.begin(LIFETIME, "a@b/c");
        world.check(2 * LIFETIME - 1, "a@b/c", "node", &id, Ok(()));
    }

    #[test]
    fn there_is_room_for_so_many() {
        let world = World(CommandSessions::default());
        let ids: Vec<String> = (0..=SESSIONS_OF_ONE).map(|n| world.begin(n as i64, "a@b/c")).collect();
        world.check(20, "a@b/c", "node", &ids[0], Err(session_expired()));
        world.check(20, "a@b/c", "node", &ids[1], Ok(()));
        for n in world.0.len()..SESSIONS {
            world.begin(20, &format!("user{n}@b/c"));
        }
        let ticket = world.0.begin(at(20), jid("late@b/c"), "node");
        let full = world.0.put(at(20), ticket).expect_err("no room");
        assert_eq!(full, StanzaError::resource_constraint().kind(ErrorType::Wait));
        let ticket = world.0.begin(at(LIFETIME + 20), jid("late@b/c"), "node");
        assert!(world.0.put(at(LIFETIME + 20), ticket).is_ok());
        assert_eq!(world.0.len(), 1);
    }
}
