//! The directory that knows the passwords of domains (`[ldap]`).

use std::path::PathBuf;

use backends::ldap::{Address, Filter};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::check::{Problem, problem};
use super::locate::Step::{Index, Key};
use super::section::section;
use super::{Config, KeptBy};

section! {
    /// The directory that knows the people of domains with accounts = "ldap" (RFC 4511). Who logs in is looked for with
    /// `filter` below `base`; one entry has to be found, which then says by a bind whether the password is right.
    @default pub struct Ldap {
        /// Where it is: "ldaps://HOST" with TLS from the first byte, "ldap://HOST" with StartTLS; with ":PORT" where it
        /// is not 636 or 389.
        pub url: Option<LdapUrl> = None => "\"ldaps://ldap.example.org\"",
        /// Whether a connection to "ldap://" goes over to TLS before anything is said. Without it passwords can be read
        /// on the way, so only a directory on this machine may go without.
        pub start_tls: bool = true,
        /// Whether another machine may go without, too: on a wire that is safe by other means.
        pub allow_unencrypted: bool = false,
        /// The authorities that its certificate may come from, in PEM. Where it is left out: those of this machine.
        pub ca: Option<PathBuf> = None => "\"ldap-ca.pem\"",
        /// As whom people are looked for. Where it is left out: as nobody, if the directory lets nobody search.
        pub bind_dn: Option<String> = None => "\"cn=jackdaw,ou=services,dc=example,dc=org\"",
        /// A file whose first line is the password for it. It is read again for each connection.
        pub password_file: Option<PathBuf> = None => "\"ldap.password\"",
        /// The entry below which people are.
        pub base: Option<String> = None => "\"ou=people,dc=example,dc=org\"",
        /// Which entry is whose (RFC 4515): {user} is the part before the @ of the address, in lower case. It can also say
        /// who may log in: "(&(uid={user})(memberOf=cn=chat,ou=groups,dc=example,dc=org))".
        pub filter: LdapFilter = LdapFilter::of(FILTER),
        /// The group whose members may log in. Where it is left out: everybody who is found.
        pub group: Option<String> = None => "\"cn=chat,ou=groups,dc=example,dc=org\"",
        /// What the entry of the group matches for a member: {dn} is the name of the member's entry.
        pub group_filter: LdapFilter = LdapFilter::of(GROUP_FILTER),
        /// How long all answers for one login may take, in seconds. Then it fails as "temporary-auth-failure".
        pub seconds: u64 = 5,
        /// Logins that are asked about at once, each over two connections at most; further ones wait.
        pub at_once: usize = 4,
    }
}

const FILTER: &str = "(uid={user})";
const GROUP_FILTER: &str = "(|(member={dn})(uniqueMember={dn})(memberUid={user}))";

/// Where a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdapUrl {
    pub address: Address,
    /// As it was written.
    text: String,
}

impl<'de> Deserialize<'de> for LdapUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let address = text.parse().map_err(D::Error::custom)?;
        Ok(Self { address, text })
    }
}

impl Serialize for LdapUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// A search filter with places for who is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct LdapFilter(pub Filter);

impl LdapFilter {
    fn of(text: &str) -> LdapFilter {
        // Both defaults are read by a test.
        LdapFilter(text.parse().expect("a filter"))
    }
}

impl<'de> Deserialize<'de> for LdapFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(LdapFilter).map_err(D::Error::custom)
    }
}

impl Serialize for LdapFilter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl Ldap {
    /// What is a path.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.ca, &mut self.password_file].into_iter().flatten()
    }
}

/// The first contradiction.
pub fn problem_of(config: &Config) -> Option<Problem> {
    let ldap = &config.ldap;
    let used = config.domain.iter().position(|domain| domain.accounts == KeptBy::Ldap);
    let missing = match (&ldap.url, &ldap.base) {
        (None, _) => Some("url"),
        (_, None) => Some("base"),
        _ => None,
    };
    if let (Some(index), Some(missing)) = (used, missing) {
        let path = [Key("domain"), Index(index), Key("accounts")];
        let message = format!(r#"accounts = "ldap" without a directory; add `{missing}` to [ldap]"#);
        return Some(problem(&path, message));
    }
    let at = |key: &'static str, message: String| Some(problem(&[Key("ldap"), Key(key)], message));
    for (key, value) in [("seconds", ldap.seconds), ("at_once", ldap.at_once as u64)] {
        if value == 0 {
            return at(
                key,
                format!("{key} = 0: no question would ever be answered; give 1 at least"),
            );
        }
    }
    if let Some(url) = ldap.url.as_ref().map(|url| &url.address)
        && !(url.is_tls() || ldap.start_tls || url.is_local() || ldap.allow_unencrypted)
    {
        let message = format!(
            "{url} without TLS would carry passwords in the clear over the network; leave start_tls out, or use ldaps://"
        );
        return at("url", message);
    }
    let (given, missing) = match (&ldap.bind_dn, &ldap.password_file) {
        (Some(_), None) => ("bind_dn", "password_file"),
        (None, Some(_)) => ("password_file", "bind_dn"),
        _ => return filters(ldap),
    };
    at(
        given,
        format!("{given} is of no use alone; add `{missing}` or leave both out"),
    )
}

fn filters(ldap: &Ldap) -> Option<Problem> {
    let (filter, of_group) = (&ldap.filter.0, &ldap.group_filter.0);
    let (key, message) = if filter.names_dn() {
        (
            "filter",
            "{dn} is not known yet when a user is looked for; it belongs into `group_filter`",
        )
    } else if !filter.names_user() {
        ("filter", "without {user} the filter finds the same for everybody")
    } else if !of_group.names_dn() && !of_group.names_user() {
        (
            "group_filter",
            "without {dn} or {user} everybody would be a member, or nobody",
        )
    } else {
        return None;
    };
    Some(problem(&[Key("ldap"), Key(key)], message.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_of_the_defaults_are_some() {
        assert_eq!(filters(&Ldap::default()), None);
    }
}
