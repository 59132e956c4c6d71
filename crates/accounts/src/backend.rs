//! Where it is known who somebody is, if not in the accounts of this server: the port of account backends.
//!
//! A backend says whether a password or a bearer token is good, and for whom. It never learns how the client asked, and
//! keeps nothing: what belongs to the account (roster, archive, tokens) is here. The drivers are in the crate `backends`.

use std::fmt;

use auth::Verdict;
use stanza::Jid;
use zeroize::Zeroizing;

/// What a backend is asked.
pub enum Question {
    /// Whether this is the password of the account (bare JID).
    Password { account: Jid, password: Zeroizing<String> },
    /// For whom on this domain the bearer token speaks. `wanted`: the localpart that the client asked for.
    Bearer {
        domain: String,
        token: Zeroizing<String>,
        wanted: Option<String>,
    },
}

impl Question {
    /// The domain that it is about.
    pub fn domain(&self) -> &str {
        match self {
            Question::Password { account, .. } => account.domain(),
            Question::Bearer { domain, .. } => domain,
        }
    }
}

/// Without the secret.
impl fmt::Debug for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Question::Password { account, .. } => out
                .debug_struct("Password")
                .field("account", account)
                .finish_non_exhaustive(),
            Question::Bearer { domain, wanted, .. } => out
                .debug_struct("Bearer")
                .field("domain", domain)
                .field("wanted", wanted)
                .finish_non_exhaustive(),
        }
    }
}

/// Called once, on any thread.
pub type Answered = Box<dyn FnOnce(Verdict) + Send>;

/// Somebody who knows. What cannot be found out in time is [`Verdict::Unavailable`], never a refusal.
pub trait Backend: Send + Sync {
    /// Does not wait: it hands the question over.
    fn ask(&self, question: Question, answered: Answered);

    /// Whether the account (bare JID) is still known, and may log in. Asked where it logs in by something else than its
    /// password, as by a token of this server, which says nothing of that. Who cannot tell it without a password says yes.
    fn recognise(&self, account: Jid, answered: Answered) {
        let user = account.local().unwrap_or_default().to_owned();
        answered(Verdict::Granted { user });
    }
}
