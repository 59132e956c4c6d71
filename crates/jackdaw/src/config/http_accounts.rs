//! The web service that knows the passwords of domains (`[http_accounts]`).

use std::path::PathBuf;

use super::check::{Problem, problem};
use super::locate::Step::{Index, Key};
use super::section::section;
use super::types::ServiceUrl;
use super::{Config, KeptBy};

section! {
    /// The web service that knows the passwords of domains with accounts = "http". It is sent
    /// {"user":"juliet","domain":"example.org","password":"secret"} by POST, and answers with status 200 and
    /// {"result":"ok"}, "refused", "disabled" or "expired". Anything else is no answer; redirects are not followed.
    @default pub struct HttpAccounts {
        /// Its URL: https, or http on this machine.
        pub url: Option<ServiceUrl> = None => "\"https://accounts.example.org/check\"",
        /// A file whose first line is the value of the header Authorization, such as "Bearer 3f7a91c2".
        pub authorization_file: Option<PathBuf> = None => "\"accounts.authorization\"",
        /// The authorities that its certificate may come from, in PEM. Where it is left out: those of this machine.
        pub ca: Option<PathBuf> = None => "\"accounts-ca.pem\"",
        /// How long an answer may take, in seconds. Then the login fails as "temporary-auth-failure".
        pub seconds: u64 = 5,
        /// Connections to it at once; further logins wait.
        pub at_once: usize = 8,
    }
}

impl HttpAccounts {
    /// What is a path.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.authorization_file, &mut self.ca].into_iter().flatten()
    }
}

/// The first contradiction.
pub fn problem_of(config: &Config) -> Option<Problem> {
    let http = &config.http_accounts;
    let asking = config.domain.iter().position(|domain| domain.accounts == KeptBy::Http);
    if let (Some(index), None) = (asking, &http.url) {
        let path = [Key("domain"), Index(index), Key("accounts")];
        let message = r#"accounts = "http" without a service; add `url = "https://…"` to [http_accounts]"#;
        return Some(problem(&path, message.to_owned()));
    }
    for (key, value) in [("seconds", http.seconds), ("at_once", http.at_once as u64)] {
        if value == 0 {
            let message = format!("{key} = 0: no question would ever be answered; give 1 at least");
            return Some(problem(&[Key("http_accounts"), Key(key)], message));
        }
    }
    None
}
