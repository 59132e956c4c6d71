//! Questions and answers in JSON, for those who keep passwords: `{"user":"juliet","domain":"example.org",
//! "password":"secret"}`, and `{"result":"ok"}`, `"refused"`, `"disabled"` or `"expired"`.

use std::io;

use auth::Verdict;
use serde::{Deserialize, Serialize};
use stanza::Jid;
use zeroize::Zeroizing;

/// A character of a password is at most so many in JSON (`\u0001`).
const ESCAPED_BYTES: usize = 6;

#[derive(Serialize)]
struct Asked<'a> {
    user: &'a str,
    domain: &'a str,
    password: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    result: Said,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Said {
    Ok,
    Refused,
    Disabled,
    Expired,
}

impl Said {
    pub(crate) fn verdict(self, account: &Jid) -> Verdict {
        match self {
            Said::Ok => Verdict::Granted {
                user: account.local().unwrap_or_default().to_owned(),
            },
            Said::Refused => Verdict::Refused,
            Said::Disabled => Verdict::Disabled,
            Said::Expired => Verdict::Expired,
        }
    }
}

/// With room for one byte more.
pub(crate) fn question(account: &Jid, password: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    let user = account.local().unwrap_or_default();
    let domain = account.domain();
    // Never moved to another place, so that no copy is left behind.
    let room = 64 + user.len() + domain.len() + ESCAPED_BYTES * password.len();
    let mut text = Zeroizing::new(Vec::with_capacity(room));
    serde_json::to_writer(&mut *text, &Asked { user, domain, password })?;
    Ok(text)
}

pub(crate) fn answer(text: &[u8]) -> io::Result<Said> {
    let answer: Answer = serde_json::from_slice(text).map_err(|_| wrong())?;
    Ok(answer.result)
}

/// The text of a JSON error could show what was echoed.
pub(crate) fn wrong() -> io::Error {
    io::Error::other("its answer is not what it has to be")
}
