//! Bearer tokens of a domain (`[domain.bearer]`).

use std::path::PathBuf;

use super::Domain;
use super::check::{Problem, problem};
use super::locate::Step::{self, Index, Key};
use super::section::section;
use super::types::ServiceUrl;

section! {
    /// Tokens of an OAuth or OpenID provider, with which clients log in to accounts of the domain above by OAUTHBEARER
    /// (RFC 7628), under TLS. They are taken where `introspection` or `jwks` is there. Where accounts = "own" the account
    /// has to exist.
    @default pub struct Bearer {
        /// Where the provider is asked about each token (RFC 7662).
        pub introspection: Option<ServiceUrl> = None => "\"https://id.example.org/introspect\"",
        /// The name of this server at the provider, for the introspection.
        pub client_id: Option<String> = None => "\"xmpp-server\"",
        /// A file with the secret for it.
        pub client_secret_file: Option<PathBuf> = None => "\"introspection.secret\"",
        /// Where the provider's keys are, a JSON Web Key Set, instead: then each token is checked here, by its signature
        /// (RS256, ES256 or EdDSA). The keys are fetched again every ten minutes, and for a new one; a provider that is
        /// away is not missed. A token that the provider takes back is good here until it expires. Needs `issuer` and
        /// `audience`.
        pub jwks: Option<ServiceUrl> = None => "\"https://id.example.org/keys\"",
        /// Who has to have given the token out: its claim `iss`.
        pub issuer: Option<String> = None => "\"https://id.example.org\"",
        /// Whom it has to be for: one of its claim `aud`. Without it a token that was meant for any other service of the
        /// provider is taken, and that service could log in with it.
        pub audience: Option<String> = None => "\"xmpp\"",
        /// What it has to allow: a word of its claim `scope`. Clients are told to ask for it.
        pub scope: Option<String> = None => "\"xmpp\"",
        /// The claim that is the localpart of the account, or its address. It must be one that people cannot choose for
        /// themselves. Where it is left out: "username" (RFC 7662 section 2.2) with `introspection`, "preferred_username"
        /// (OpenID Connect) with `jwks`.
        pub claim: Option<String> = None => "\"username\"",
        /// The provider's OpenID configuration: told to clients that have no token, or one that is not good.
        pub openid_configuration: Option<ServiceUrl> = None
            => "\"https://id.example.org/.well-known/openid-configuration\"",
        /// The authorities that the provider's certificate may come from, in PEM. Where it is left out: those of this
        /// machine.
        pub ca: Option<PathBuf> = None => "\"provider-ca.pem\"",
        /// How long an answer of the provider may take, in seconds. Then the login fails as "temporary-auth-failure".
        pub seconds: u64 = 5,
        /// Connections to it at once; further logins wait.
        pub at_once: usize = 8,
    }
}

impl Bearer {
    /// Whether tokens are taken.
    pub fn is_used(&self) -> bool {
        self.introspection.is_some() || self.jwks.is_some()
    }

    pub fn claim(&self) -> &str {
        let usual = match self.jwks {
            Some(_) => "preferred_username",
            None => "username",
        };
        self.claim.as_deref().unwrap_or(usual)
    }

    /// What is a path.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.client_secret_file, &mut self.ca].into_iter().flatten()
    }
}

/// The first contradiction.
pub fn problem_of(index: usize, domain: &Domain) -> Option<Problem> {
    let bearer = &domain.bearer;
    let at = |key: &'static str| -> [Step; 4] { [Key("domain"), Index(index), Key("bearer"), Key(key)] };
    for (key, value) in [("seconds", bearer.seconds), ("at_once", bearer.at_once as u64)] {
        if value == 0 {
            let message = format!("{key} = 0: no question would ever be answered; give 1 at least");
            return Some(problem(&at(key), message));
        }
    }
    if !bearer.is_used() {
        let idle = [
            ("client_id", bearer.client_id.is_some()),
            ("client_secret_file", bearer.client_secret_file.is_some()),
            ("issuer", bearer.issuer.is_some()),
            ("audience", bearer.audience.is_some()),
            ("scope", bearer.scope.is_some()),
            ("claim", bearer.claim.is_some()),
            ("openid_configuration", bearer.openid_configuration.is_some()),
        ];
        let (key, _) = idle.into_iter().find(|(_, is_set)| *is_set)?;
        let message = format!("{key}, and nobody is asked about tokens: add `introspection` or `jwks`");
        return Some(problem(&at(key), message));
    }
    if bearer.jwks.is_some() {
        let missing = [
            ("introspection", bearer.introspection.is_some()),
            ("client_id", bearer.client_id.is_some()),
            ("client_secret_file", bearer.client_secret_file.is_some()),
        ];
        if let Some((key, _)) = missing.into_iter().find(|(_, is_set)| *is_set) {
            let message = format!("{key} and jwks: a token is either asked about or checked here; remove one");
            return Some(problem(&at(key), message));
        }
        if bearer.issuer.is_none() || bearer.audience.is_none() {
            let message = "jwks takes what the provider has signed for anybody; add `issuer` and `audience`";
            return Some(problem(&at("jwks"), message.to_owned()));
        }
    } else if bearer.client_id.is_none() || bearer.client_secret_file.is_none() {
        let message = "introspection without a name for it; add `client_id` and `client_secret_file`";
        return Some(problem(&at("introspection"), message.to_owned()));
    }
    match &bearer.openid_configuration {
        // RFC 7628 section 3.2.2.
        Some(url) if !url.is_https() => {
            let message = "the address of the OpenID configuration begins with https://, as clients fetch it";
            Some(problem(&at("openid_configuration"), message.to_owned()))
        }
        _ => None,
    }
}
