//! Servers beside this one that clients may use (`[[external]]`).

use std::path::{Path, PathBuf};

use module::{Credentials, ExternalService};
use serde::{Deserialize, Serialize};

use super::Config;
use super::check::{Problem, problem};
use super::locate::Step::{Index, Key};
use super::section::section;

section! {
    /// A server of another kind that clients are told of (XEP-0215), such as a TURN server, without which calls between
    /// two homes often find no way. Repeat the section for each, also for each transport of one. Only accounts of this
    /// server are told, guests are not.
    pub struct External {
        /// What it is: "stun" or "turn", "stuns" or "turns" with TLS.
        pub kind: String = "turn".to_owned(),
        /// Its name or address.
        pub host: String = "turn.example.org".to_owned(),
        /// Its port, where it is not the usual one of its kind.
        pub port: Option<u16> = None => "3478",
        /// "udp" or "tcp".
        pub transport: Option<Transport> = None => "\"udp\"",
        /// A name for people.
        pub name: Option<String> = None => "\"Relay\"",
        /// A file whose first line is the secret that it shares with this server: coturn's static-auth-secret, with
        /// use-auth-secret. From it each client gets a password of its own. Read once, at the start.
        pub secret_file: Option<PathBuf> = None => "\"turn.secret\"",
        /// How many hours such a password is good for: 24, where it is left out. A call that lasts longer goes on.
        pub hours: Option<u32> = None => "24",
        /// A user name that all share, in place of a secret.
        pub username: Option<String> = None => "\"guest\"",
        /// A file whose first line is the password for it.
        pub password_file: Option<PathBuf> = None => "\"turn.password\"",
    }
}

/// Long enough for a client that asks once a day, short enough that who was removed is not relayed for long.
const HOURS: u32 = 24;
const SECTION: &str = "[[external]]";
/// Longest life of a password: a year.
const MOST_HOURS: u32 = 8_760;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
}

impl External {
    /// What is a path.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.secret_file, &mut self.password_file].into_iter().flatten()
    }

    /// As it is told; reads its files. The error says what and where.
    pub fn service(&self) -> Result<ExternalService, String> {
        let credentials = match (&self.secret_file, &self.username, &self.password_file) {
            (Some(file), ..) => Credentials::Shared {
                secret: first_line(file, SECTION)?.into_bytes(),
                seconds: self.hours.unwrap_or(HOURS) * 3600,
            },
            (None, Some(username), Some(file)) => Credentials::Fixed {
                username: username.clone(),
                password: first_line(file, SECTION)?,
            },
            _ => Credentials::None,
        };
        Ok(ExternalService {
            kind: self.kind.clone(),
            host: self.host.clone(),
            port: self.port,
            transport: self.transport.map(|transport| match transport {
                Transport::Udp => "udp",
                Transport::Tcp => "tcp",
            }),
            name: self.name.clone(),
            credentials,
        })
    }
}

/// Of a file that this section names.
pub(super) fn first_line(file: &Path, section: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        format!(
            "cannot read {}, which {section} names: {error}; give the file to the user that Jackdaw runs as",
            file.display()
        )
    })?;
    match text.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(format!(
            "the first line of {} is empty; it should be the secret that {section} speaks of",
            file.display()
        )),
    }
}

/// The first contradiction.
pub fn problem_of(config: &Config) -> Option<Problem> {
    config.external.iter().enumerate().find_map(|(index, external)| {
        let (key, message) = contradiction(external)?;
        Some(problem(&[Key("external"), Index(index), Key(key)], message))
    })
}

fn contradiction(external: &External) -> Option<(&'static str, String)> {
    let is_plain = |text: &str, more: &[u8]| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    let External { kind, host, .. } = external;
    if !is_plain(kind, b"-.") {
        return Some(("kind", format!("`{kind}` is no kind of service, such as turn")));
    }
    if !is_plain(host, b"-.:") {
        return Some(("host", format!("`{host}` is not the name or address of a server")));
    }
    if external.port == Some(0) {
        return Some(("port", "port 0 cannot be reached".to_owned()));
    }
    if external.secret_file.is_some() && external.username.is_some() {
        let message = "secret_file makes the names itself; leave username and password_file out".to_owned();
        return Some(("username", message));
    }
    match (&external.username, &external.password_file) {
        (Some(_), None) => {
            let message = "username is of no use alone; add `password_file`".to_owned();
            return Some(("username", message));
        }
        (None, Some(_)) => {
            let message = "password_file is of no use alone; add `username`".to_owned();
            return Some(("password_file", message));
        }
        _ => {}
    }
    let hours = external.hours.filter(|hours| !(1..=MOST_HOURS).contains(hours))?;
    Some(("hours", format!("{hours} hours: give 1 to {MOST_HOURS}")))
}
