//! Other servers (`[federation]`).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use s2s::policy::{self, Domains, Policy, Rule};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use super::check::{Problem, problem};
use super::locate::Step::{Index, Key};
use super::section::section;
use super::{Config, types};

/// The port of connections of servers with STARTTLS (RFC 6120 section 14.7).
pub const S2S_PORT: u16 = 5269;
/// The port of connections of servers with direct TLS. XEP-0368 registers none; this is the usual one.
pub const S2S_DIRECT_PORT: u16 = 5270;
/// The port of the DNS (RFC 1035 section 4.2).
const DNS_PORT: u16 = 53;

section! {
    /// Other servers (RFC 6120): people who have an account elsewhere, and people here, write to each other. A server has
    /// to show who it is: by a certificate of an authority for its domain, by DANE (RFC 7673), or by POSH (RFC 7711).
    /// Everything goes under TLS. `jackdaw why DOMAIN` tells what came of it.
    @default pub struct Federation {
        /// Whether this server talks with others. Without it, what is for another domain comes back at once.
        pub enabled: bool = true,
        /// Servers that no [[federation.peer]] is about: "allow", or "deny": then this server talks with those alone.
        pub others: Action = Action::Allow,
        /// Whether the web server of a domain is asked which keys it has (POSH), where nothing else shows it.
        pub posh: bool = true,
        /// Whether a server that shows none of these is asked for at its domain by the DNS (dialback, XEP-0220).
        /// Whoever can lead the DNS astray can then speak for its domain. Better said for single domains, below.
        pub dialback: bool = false,
        /// For how many hours a message waits for a server that cannot be reached; then its sender is told. At most 720.
        pub give_up_hours: u32 = 48,
        /// Connections that are being made at the same time; further ones wait.
        pub attempts: usize = 64,
        /// How long an attempt to reach a server may take, in seconds, with all places where it may be. Its parts have a share
        /// of it: a question to the DNS a quarter, all that is said at one place a half. At most 300.
        pub attempt_seconds: u32 = 40,
        /// How long after a failed attempt the next one to the same domain is made, in seconds. It doubles with each,
        pub retry_seconds: u32 = 10,
        /// up to so many seconds.
        pub longest_retry_seconds: u32 = 900,
        /// How long a server may take to acknowledge what it was sent, in seconds. Then the connection is given up, and
        /// what was sent is sent again by another.
        pub answer_seconds: u32 = 60,
        /// Messages that may wait on the disk for one domain; further ones come back.
        pub queue_stanzas: u64 = 10_000,
        /// What may wait in memory for one domain, in bytes.
        pub queue_bytes: usize = 1_048_576,
        /// The servers of the DNS that are asked, as "192.0.2.53" or "127.0.0.1:5353". Empty: those of this machine. Their
        /// answers are checked here by DNSSEC where there is any.
        pub resolver: Vec<Nameserver> = Vec::new(),
        /// What DNSSEC is checked against, if that is not the root of the DNS: a file with DNSKEY records.
        pub trust_anchor: Option<PathBuf> = None => "\"dnssec.key\"",
        /// Certificates of authorities, in PEM, that servers may have theirs of, beside those that this machine knows.
        pub authorities: Option<PathBuf> = None => "\"authorities.pem\"",
    }
    tables {
        pub peer: Vec<Peer> = Vec::new(),
    }
}

section! {
    /// What is different for another server. Repeat the section for each.
    pub struct Peer {
        /// Its domain; "*.example.net" is all domains below example.net. What is said of a domain itself comes before
        /// that, and a longer name before a shorter one.
        pub domain: Pattern = Pattern(Domains::One(types::localhost().as_str().to_owned())) => "\"example.net\"",
        /// "allow" or "deny".
        @default pub action: Action = Action::Allow,
        /// How it has to show who it is. "any": as all others. "certificate": by the certificate of an authority. "dane":
        /// by DANE (RFC 7673).
        @default pub require: Require = Require::Any,
        /// The keys that it may have, and no others: SHA-256 of each as it stands in the certificate
        /// (SubjectPublicKeyInfo), in hexadecimal or base64. With "any" nobody else has to vouch for its certificate.
        @default pub pins: Vec<Pin> = Vec::new(),
        /// Whether dialback is enough. Where it is left out, what is said above counts.
        @default pub dialback: Option<bool> = None => "true",
    }
}

/// Whether this server talks with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    #[default]
    Allow,
    Deny,
}

/// By what a server shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Require {
    #[default]
    Any,
    Certificate,
    Dane,
}

/// A domain, or all those below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(pub Domains);

impl fmt::Display for Pattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Domains::One(name) => out.write_str(name),
            Domains::Below(name) => write!(out, "*.{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Pattern).map_err(D::Error::custom)
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// SHA-256 of a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub s2s::policy::Pin);

impl<'de> Deserialize<'de> for Pin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Pin).map_err(D::Error::custom)
    }
}

impl Serialize for Pin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A server of the DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nameserver(pub SocketAddr);

impl<'de> Deserialize<'de> for Nameserver {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let with_port = text.parse().ok();
        let address = with_port.or_else(|| text.parse::<IpAddr>().ok().map(|ip| (ip, DNS_PORT).into()));
        let wrong = || {
            D::Error::custom(format!(
                "`{text}` is not an address, such as 192.0.2.53 or [2001:db8::1]:53"
            ))
        };
        address.map(Nameserver).ok_or_else(wrong)
    }
}

impl Serialize for Nameserver {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Federation {
    /// The same as rules.
    pub fn policy(&self) -> Policy {
        let others = Rule {
            is_allowed: self.others == Action::Allow,
            dialback: self.dialback,
            posh: self.posh,
            ..Rule::default()
        };
        let rule = |peer: &Peer| Rule {
            is_allowed: peer.action == Action::Allow,
            require: match peer.require {
                Require::Any => policy::Require::Proof,
                Require::Certificate => policy::Require::Certificate,
                Require::Dane => policy::Require::Dane,
            },
            pins: peer.pins.iter().map(|pin| pin.0).collect(),
            dialback: peer.dialback.unwrap_or(self.dialback),
            posh: self.posh,
        };
        let peers = self.peer.iter().map(|peer| (peer.domain.0.clone(), rule(peer)));
        Policy::new(others, peers)
    }

    /// What is a path.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.trust_anchor, &mut self.authorities].into_iter().flatten()
    }
}

/// A month. Longer, and nobody remembers what was written.
const MOST_HOURS: u32 = 720;
/// Senders of what does not wait hear no earlier that it has not arrived.
const MOST_OF_AN_ATTEMPT: u32 = 300;
/// A day. Longer waits are mistakes of the unit.
const MOST_SECONDS: u32 = 86_400;

/// The first contradiction.
pub fn problem_of(config: &Config) -> Option<Problem> {
    let federation = &config.federation;
    let wrong = |key, message: String| Some(problem(&[Key("federation"), Key(key)], message));
    if federation.give_up_hours == 0 || federation.give_up_hours > MOST_HOURS {
        let hours = federation.give_up_hours;
        return wrong(
            "give_up_hours",
            format!("give_up_hours = {hours}: it is between 1 and {MOST_HOURS}"),
        );
    }
    if federation.attempts == 0 {
        let message = "attempts = 0: no server would ever be reached; use enabled = false";
        return wrong("attempts", message.to_owned());
    }
    let seconds = federation.attempt_seconds;
    if seconds == 0 || seconds > MOST_OF_AN_ATTEMPT {
        return wrong(
            "attempt_seconds",
            format!("attempt_seconds = {seconds}: it is between 1 and {MOST_OF_AN_ATTEMPT}"),
        );
    }
    let (first, most) = (federation.retry_seconds, federation.longest_retry_seconds);
    if first == 0 || first > most {
        return wrong(
            "retry_seconds",
            format!("retry_seconds = {first}: it is between 1 and longest_retry_seconds ({most})"),
        );
    }
    for (key, value) in [
        ("longest_retry_seconds", most),
        ("answer_seconds", federation.answer_seconds),
    ] {
        if value == 0 || value > MOST_SECONDS {
            return wrong(
                key,
                format!("{key} = {value}: it is between 1 and {MOST_SECONDS}, a day"),
            );
        }
    }
    let (bytes, stanza) = (federation.queue_bytes, config.limits.stanza_bytes);
    if bytes < stanza {
        return wrong(
            "queue_bytes",
            format!("queue_bytes = {bytes} is below limits.stanza_bytes ({stanza})"),
        );
    }
    if federation.queue_stanzas == 0 {
        let message = "queue_stanzas = 0: nothing could wait for a server; give 1 at least";
        return wrong("queue_stanzas", message.to_owned());
    }
    peers(config).or_else(|| listeners(config))
}

fn peers(config: &Config) -> Option<Problem> {
    let peers = &config.federation.peer;
    for (index, peer) in peers.iter().enumerate() {
        let at = |key| [Key("federation"), Key("peer"), Index(index), Key(key)];
        let domain = &peer.domain;
        if peers[..index].iter().any(|other| other.domain == *domain) {
            let message = format!("`{domain}` is there twice; remove one");
            return Some(problem(&at("domain"), message));
        }
        if matches!(&domain.0, Domains::One(name) if config.serves(name)) {
            let message = format!("`{domain}` is served by this server itself");
            return Some(problem(&at("domain"), message));
        }
        let is_denied = peer.action == Action::Deny;
        let says_more = [
            ("require", peer.require != Require::Any),
            ("pins", !peer.pins.is_empty()),
            ("dialback", peer.dialback == Some(true)),
        ];
        if let Some((key, _)) = says_more.iter().find(|(_, is_set)| is_denied && *is_set) {
            let message = format!("`{domain}` is denied: leave {key} out, or action");
            return Some(problem(&at(key), message));
        }
        if peer.dialback == Some(true) && (peer.require != Require::Any || !peer.pins.is_empty()) {
            let message =
                format!("dialback would let in who does not show what `{domain}` has to: leave out one of them");
            return Some(problem(&at("dialback"), message));
        }
    }
    None
}

fn listeners(config: &Config) -> Option<Problem> {
    let without = config.listen.iter().position(|listen| listen.kind.is_of_servers())?;
    (!config.federation.enabled).then(|| {
        let message = "nobody may connect to a listener for servers: federation.enabled is false";
        problem(&[Key("listen"), Index(without), Key("kind")], message.to_owned())
    })
}

/// What is allowed and probably not meant.
pub fn warnings(config: &Config) -> Vec<String> {
    let federation = &config.federation;
    let mut lines = Vec::new();
    if !federation.enabled {
        return lines;
    }
    if federation.dialback {
        let line = "federation.dialback = true: whoever can lead the DNS astray can speak for other domains";
        lines.push(line.to_owned());
    }
    let nobody = federation.peer.iter().all(|peer| peer.action == Action::Deny);
    if federation.others == Action::Deny && nobody {
        let line = "federation.others = \"deny\" and no [[federation.peer]] is allowed: no other server is talked with";
        lines.push(line.to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_they_are_written() {
        let read = |text: &str| toml::from_str::<Federation>(text);
        let pin = "0A:".repeat(31) + "ff";
        let text = format!(
            "resolver = ['192.0.2.53', '[::1]:5353']\n[[peer]]\ndomain = '*.Example.NET'\npins = ['{pin}']\nrequire = 'dane'\n"
        );
        let federation = read(&text).expect("valid");
        let [first, second] = [&federation.resolver[0], &federation.resolver[1]];
        assert_eq!(
            [first.0.to_string(), second.0.to_string()],
            ["192.0.2.53:53", "[::1]:5353"]
        );
        let peer = &federation.peer[0];
        assert_eq!(peer.domain.to_string(), "*.example.net");
        assert_eq!((peer.pins[0].0.0[0], peer.pins[0].0.0[31]), (10, 255));
        let policy = federation.policy();
        assert_eq!(policy.rule("a.example.net").require, policy::Require::Dane);
        assert_eq!(*policy.rule("example.net"), Rule::default());
        for wrong in [
            "resolver = ['dns.example']",
            "[[peer]]\ndomain = 'a@b'",
            "[[peer]]\ndomain = '*.'",
            "[[peer]]\ndomain = 'a'\npins = ['ab']",
            "[[peer]]\ndomain = 'a'\nrequire = 'nothing'",
            "[[peer]]\naction = 'deny'",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
