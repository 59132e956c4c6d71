//! A directory that is asked over LDAP (RFC 4511): a search finds the entry of who logs in, and a bind as that entry says
//! whether the password is right (RFC 4513 section 5.1.3).
//!
//! - `filter.rs`: search filters, with places for who is looked for.
//! - `ber.rs`: the encoding.
//! - `connection.rs`: a connection, with TLS, and one question over it.
//!
//! Searches are made as the service that the configuration names, over a connection of their own, so that no bind of
//! somebody else says what they may see. A directory that cannot be reached is tried again after a pause that grows, and
//! meanwhile nobody waits for it.

mod ber;
mod connection;
mod filter;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accounts::backend::{Answered, Backend, Question};
use auth::Verdict;
use rustls::pki_types::ServerName;
use stanza::Jid;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use connection::{Answer, Connection, Request, Scope, Tls};

pub use connection::Address;
pub use filter::Filter;

/// A connection that was not used for so long is not used again: something between may have forgotten it.
const IDLE: Duration = Duration::from_secs(30);
/// How long a directory that cannot be reached is left alone, first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(8));
/// The longest password of the service, in bytes.
const PASSWORD_BYTES: usize = 4096;

/// Result codes (RFC 4511 appendix A).
const SUCCESS: u32 = 0;
const SIZE_LIMIT_EXCEEDED: u32 = 4;
const CONSTRAINT_VIOLATION: u32 = 19;
const NO_SUCH_OBJECT: u32 = 32;
const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
const INVALID_CREDENTIALS: u32 = 49;
const INSUFFICIENT_ACCESS: u32 = 50;
const UNWILLING: u32 = 53;

/// Which directory, and how it is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub address: Address,
    /// TLS before anything else is said; `ldaps` has it anyway.
    pub start_tls: bool,
    /// PEM; the authorities that its certificate may come from. None: those of this machine.
    pub ca: Option<PathBuf>,
    /// As whom searches are made. None: as nobody.
    pub bind: Option<Bind>,
    /// Below which entry people are.
    pub base: String,
    pub filter: Filter,
    /// Who may log in. None: everybody whom the filter finds.
    pub group: Option<Group>,
    /// From the question to the answer, the wait for a free connection included.
    pub limit: Duration,
    /// Questions at once, over two connections each: for searches, and for passwords. Further questions wait.
    pub at_once: usize,
}

#[derive(Clone, Debug)]
pub struct Bind {
    pub name: String,
    /// Read for each connection, so that a new password needs no restart.
    pub password_file: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Group {
    pub name: String,
    /// What the entry of the group has to match.
    pub filter: Filter,
}

/// The driver.
pub struct Directory {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    tls: Option<Tls>,
    permits: Semaphore,
    /// `at_once` at most.
    seats: Mutex<Vec<Seat>>,
    pause: Mutex<Pause>,
    /// It gave no answer, and the log says so already.
    is_away: AtomicBool,
}

/// What one question at a time is asked over.
#[derive(Default)]
struct Seat {
    searches: Option<Kept>,
    passwords: Option<Kept>,
}

struct Kept {
    connection: Connection,
    since: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Searches,
    Passwords,
}

/// For how long no connection is tried.
#[derive(Default)]
struct Pause {
    until: Option<Instant>,
    length: Duration,
}

impl Directory {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// The authorities or the password cannot be read.
    pub fn new(settings: Settings) -> io::Result<Directory> {
        let address = &settings.address;
        let tls = if address.is_tls || settings.start_tls {
            let name = ServerName::try_from(address.host.clone())
                .map_err(|_| io::Error::other(format!("{address}: no certificate can be for this host")))?;
            let connector = crate::tls::connector(settings.ca.as_deref(), address, &[])?;
            Some(Tls { connector, name })
        } else {
            None
        };
        if let Some(bind) = &settings.bind {
            password(&bind.password_file, std::fs::read(&bind.password_file))?;
        }
        Ok(Directory {
            shared: Arc::new(Shared {
                permits: Semaphore::new(settings.at_once),
                settings,
                tls,
                seats: Mutex::default(),
                pause: Mutex::default(),
                is_away: AtomicBool::new(false),
            }),
        })
    }
}

/// The first line of the file.
fn password(file: &Path, read: io::Result<Vec<u8>>) -> io::Result<Zeroizing<Vec<u8>>> {
    let wrong = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", file.display()));
    let mut read = Zeroizing::new(read.map_err(|error| wrong(&error))?);
    let end = read.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    read.truncate(end.unwrap_or(usize::MAX));
    // RFC 4513 section 5.1.2: an empty one would make it nobody, without an error.
    if read.is_empty() || read.len() > PASSWORD_BYTES {
        return Err(wrong(&"no password is in its first line"));
    }
    Ok(read)
}

impl Backend for Directory {
    fn ask(&self, question: Question, answered: Answered) {
        let Question::Password { account, password } = question else {
            return answered(Verdict::Unavailable);
        };
        // RFC 4513 section 5.1.2: to a directory that is a bind as nobody, which may succeed.
        if password.is_empty() {
            return answered(Verdict::Refused);
        }
        self.spawn(account, Some(password), answered);
    }

    fn recognise(&self, account: Jid, answered: Answered) {
        self.spawn(account, None, answered);
    }
}

impl Directory {
    fn spawn(&self, account: Jid, password: Option<Zeroizing<String>>, answered: Answered) {
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let password = password.as_ref().map(|password| password.as_str());
            let asked = tokio::time::timeout(shared.settings.limit, shared.ask(&account, password)).await;
            answered(shared.report(asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))));
        });
    }
}

impl Shared {
    /// Says once that the directory is away, and once that it is there again.
    fn report(&self, asked: io::Result<Verdict>) -> Verdict {
        let url = &self.settings.address;
        match asked {
            Ok(verdict) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!(%url, "the directory answers again");
                }
                verdict
            }
            Err(error) => {
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%url, %error, "the directory gives no answer: logins that need it fail until it does");
                } else {
                    tracing::debug!(%url, %error, "the directory gives no answer");
                }
                Verdict::Unavailable
            }
        }
    }

    async fn ask(&self, account: &Jid, password: Option<&str>) -> io::Result<Verdict> {
        let closed = |_| io::Error::other("the server stops");
        let _permit = self.permits.acquire().await.map_err(closed)?;
        // Not put back after an error, or when the time is over: an answer to this question could still come.
        let mut seat = self.seats().pop().unwrap_or_default();
        let verdict = self.judge(&mut seat, account, password).await?;
        self.seats().push(seat);
        Ok(verdict)
    }

    fn seats(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No password: whether the account is still known.
    async fn judge(&self, seat: &mut Seat, account: &Jid, password: Option<&str>) -> io::Result<Verdict> {
        let settings = &self.settings;
        let user = account.local().unwrap_or_default();
        let seconds = settings.limit.as_secs().try_into().unwrap_or(i32::MAX);
        let people = || {
            // Two, to see whether there is another.
            Request::search(settings.base.as_bytes(), Scope::Subtree, 2, seconds, |out| {
                settings.filter.write(out, user, b"");
            })
        };
        let found = self.exchange(&mut seat.searches, Purpose::Searches, people).await?;
        if !matches!(found.code, SUCCESS | SIZE_LIMIT_EXCEEDED) {
            return Err(refused("the search for a user", &found));
        }
        if found.code == SIZE_LIMIT_EXCEEDED || found.entries.len() > 1 {
            tracing::warn!(%account, "the filter finds several entries of the directory for one user, who is refused");
            return Ok(Verdict::Refused);
        }
        // One without a name is the directory itself, and a bind with no name is one as nobody.
        let Some(dn) = found.entries.first().filter(|dn| !dn.is_empty()) else {
            return Ok(Verdict::Refused);
        };
        if let Some(group) = &settings.group {
            let members = || {
                Request::search(group.name.as_bytes(), Scope::Base, 1, seconds, |out| {
                    group.filter.write(out, user, dn);
                })
            };
            let found = self.exchange(&mut seat.searches, Purpose::Searches, members).await?;
            if found.code != SUCCESS {
                return Err(refused("the search for the group", &found));
            }
            if found.entries.is_empty() {
                return Ok(Verdict::Refused);
            }
        }
        let user = user.to_owned();
        let Some(password) = password else {
            return Ok(Verdict::Granted { user });
        };
        let bind = || Request::bind(dn, password.as_bytes());
        let bound = self.exchange(&mut seat.passwords, Purpose::Passwords, bind).await?;
        verdict(&bound, user)
    }

    /// Over the connection that was kept, or over a new one where that has ended meanwhile, even while the question was
    /// on its way: none does harm that is asked twice.
    async fn exchange(
        &self,
        slot: &mut Option<Kept>,
        purpose: Purpose,
        request: impl Fn() -> Request,
    ) -> io::Result<Answer> {
        if let Some(mut kept) = slot.take().filter(|kept| kept.since.elapsed() < IDLE)
            && let Ok(answer) = kept.connection.ask(request()).await
        {
            kept.since = Instant::now();
            *slot = Some(kept);
            return Ok(answer);
        }
        let mut connection = self.connect(purpose).await?;
        let answer = connection.ask(request()).await?;
        *slot = Some(Kept {
            connection,
            since: Instant::now(),
        });
        Ok(answer)
    }

    async fn connect(&self, purpose: Purpose) -> io::Result<Connection> {
        if self.pause().until.is_some_and(|until| Instant::now() < until) {
            return Err(io::Error::other("it is not tried again yet"));
        }
        // Half of the time, so that one that accepts connections and says nothing is found out before it is over.
        let opened = tokio::time::timeout(self.settings.limit / 2, self.open(purpose)).await;
        let opened = opened.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        self.pause().tried(opened.is_ok(), Instant::now());
        opened
    }

    async fn open(&self, purpose: Purpose) -> io::Result<Connection> {
        let mut connection = Connection::open(&self.settings.address, self.tls.as_ref()).await?;
        if let (Purpose::Searches, Some(Bind { name, password_file })) = (purpose, &self.settings.bind) {
            let password = password(password_file, tokio::fs::read(password_file).await)?;
            let bound = connection.ask(Request::bind(name.as_bytes(), &password)).await?;
            if bound.code != SUCCESS {
                return Err(refused(&format!("the bind as {name}"), &bound));
            }
        }
        Ok(connection)
    }

    fn pause(&self) -> MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pause {
    fn tried(&mut self, is_there: bool, now: Instant) {
        if is_there {
            *self = Pause::default();
        // Several that failed together are one.
        } else if self.until.is_none_or(|until| until <= now) {
            let (first, most) = PAUSES;
            self.length = (self.length * 2).clamp(first, most);
            self.until = Some(now + self.length);
        }
    }
}

fn refused(what: &str, answer: &Answer) -> io::Error {
    io::Error::other(format!("{what} gets {answer}"))
}

/// What the answer to a bind says of somebody who was found.
fn verdict(bound: &Answer, user: String) -> io::Result<Verdict> {
    Ok(match bound.code {
        SUCCESS => Verdict::Granted { user },
        INVALID_CREDENTIALS => match windows(&bound.text) {
            // The password was right in all four.
            Some("532" | "773") => Verdict::Expired,
            Some("533" | "701") => Verdict::Disabled,
            _ => Verdict::Refused,
        },
        // Without a password, locked out, not allowed, inactivated, or removed since the search.
        CONSTRAINT_VIOLATION | NO_SUCH_OBJECT | INAPPROPRIATE_AUTHENTICATION | INSUFFICIENT_ACCESS | UNWILLING => {
            Verdict::Refused
        }
        // Of the directory, not of the password.
        _ => return Err(refused("the bind of a user", bound)),
    })
}

/// Why Active Directory lets nobody in: the number of an error of Windows, in hexadecimal digits. In
/// `80090308: LdapErr: DSID-0C090449, comment: AcceptSecurityContext error, data 533, v4f7c` it is 533.
fn windows(text: &str) -> Option<&str> {
    let (_, behind) = text.split_once("AcceptSecurityContext error, data ")?;
    behind.split(',').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_bind_says() {
        let check = |code: u32, text: &str| {
            let answer = Answer {
                code,
                text: text.to_owned(),
                entries: Vec::new(),
            };
            verdict(&answer, "juliet".to_owned()).ok()
        };
        let granted = Verdict::Granted {
            user: "juliet".to_owned(),
        };
        assert_eq!(check(0, ""), Some(granted));
        assert_eq!(check(49, ""), Some(Verdict::Refused));
        let windows = |data| {
            format!("80090308: LdapErr: DSID-0C090449, comment: AcceptSecurityContext error, data {data}, v4f7c")
        };
        for (data, expected) in [
            ("52e", Verdict::Refused),
            ("775", Verdict::Refused),
            ("532", Verdict::Expired),
            ("773", Verdict::Expired),
            ("533", Verdict::Disabled),
            ("701", Verdict::Disabled),
        ] {
            assert_eq!(check(49, &windows(data)), Some(expected), "{data}");
        }
        // That is of no other result.
        assert_eq!(check(53, &windows("533")), Some(Verdict::Refused));
        for code in [19, 32, 48, 50, 53] {
            assert_eq!(check(code, ""), Some(Verdict::Refused), "{code}");
        }
        for code in [1, 2, 3, 8, 10, 11, 13, 14, 34, 51, 52, 80, 4711] {
            assert_eq!(check(code, ""), None, "{code}");
        }
    }

    #[test]
    fn a_pause_grows_until_the_directory_is_there() {
        let mut pause = Pause::default();
        let mut now = Instant::now();
        let mut lengths = Vec::new();
        for _ in 0..7 {
            pause.tried(false, now);
            // Another that was under way.
            pause.tried(false, now);
            let until = pause.until.expect("a pause");
            lengths.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(lengths, [250, 500, 1000, 2000, 4000, 8000, 8000]);
        pause.tried(true, now);
        assert_eq!(pause.until, None);
        pause.tried(false, now);
        assert_eq!(pause.until, Some(now + PAUSES.0));
    }

    #[test]
    fn a_password_is_the_first_line_of_its_file() {
        let read = |text: &[u8]| {
            password(Path::new("file"), Ok(text.to_vec()))
                .map(|read| read.to_vec())
                .ok()
        };
        assert_eq!(read(b"secret"), Some(b"secret".to_vec()));
        assert_eq!(read(b" secret \r\nmore\n"), Some(b" secret ".to_vec()));
        assert_eq!(read(b""), None);
        assert_eq!(read(b"\nsecret"), None);
        assert_eq!(read(&[b'a'; PASSWORD_BYTES + 1]), None);
        assert!(password(Path::new("file"), Err(io::ErrorKind::NotFound.into())).is_err());
    }
}
