//! The values of the configuration that have a form of their own. Each refuses what it cannot use
//! while the file is read, so that the error carries the line and column of the value.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use stanza::Jid;

/// The address of an account: a bare JID with a local part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareJid(pub Jid);

impl<'de> Deserialize<'de> for BareJid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        accounts::address(&text).map(BareJid).map_err(D::Error::custom)
    }
}

impl Serialize for BareJid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// The name of a domain, prepared as the domain of a JID (RFC 7622 section 3.2): compare it byte
/// by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainName(String);

impl DomainName {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not the name of a domain");
        let jid: Jid = text.parse().map_err(|_| wrong())?;
        if jid.local().is_some() || jid.resource().is_some() {
            return Err(wrong());
        }
        Ok(Self(jid.domain().to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for DomainName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for DomainName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// What a listener speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Clients, TLS by STARTTLS (RFC 6120 section 5).
    C2s,
    /// Clients, TLS from the first byte (XEP-0368).
    C2sDirect,
    /// HTTP with TLS: clients over WebSocket (RFC 7395).
    Https,
    /// HTTP in the clear, for this machine and for proxies that are named.
    Http,
    /// `C2sDirect` and `Https` on one port.
    Multiplex,
    /// Components (XEP-0114), in the clear.
    Component,
    /// Other servers, TLS by STARTTLS (RFC 6120 section 5).
    S2s,
    /// Other servers, TLS from the first byte (XEP-0368).
    S2sDirect,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::C2s,
        Kind::C2sDirect,
        Kind::Https,
        Kind::Http,
        Kind::Multiplex,
        Kind::Component,
        Kind::S2s,
        Kind::S2sDirect,
    ];

    /// Whether other servers come in there, and nobody else.
    pub fn is_of_servers(self) -> bool {
        matches!(self, Kind::S2s | Kind::S2sDirect)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::C2s => "c2s",
            Kind::C2sDirect => "c2s-direct",
            Kind::Https => "https",
            Kind::Http => "http",
            Kind::Multiplex => "multiplex",
            Kind::Component => "component",
            Kind::S2s => "s2s",
            Kind::S2sDirect => "s2s-direct",
        }
    }
}

/// The address of a web server as its clients know it: `https://chat.example.org`, without a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let host = text.strip_prefix("https://").unwrap_or_default();
        let is_plain = host
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"/?#@\"'<>&".contains(&byte));
        if host.is_empty() || !is_plain {
            return Err(format!(
                "`{text}` is not the address of a server, such as https://chat.example.org"
            ));
        }
        Ok(Self(host.to_owned()))
    }

    /// Host, and port where it is named.
    pub fn host(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for PublicUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("https://{}", self.0))
    }
}

/// Where a service is that this server asks: https, or http on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    pub url: backends::Url,
    /// As it was written.
    pub text: String,
}

impl ServiceUrl {
    pub fn is_https(&self) -> bool {
        self.text.starts_with("https:")
    }
}

impl<'de> Deserialize<'de> for ServiceUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let url = text.parse().map_err(D::Error::custom)?;
        Ok(Self { url, text })
    }
}

impl Serialize for ServiceUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// An address or a network from which proxies connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proxies(pub c2s::Network);

impl<'de> Deserialize<'de> for Proxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Proxies).map_err(D::Error::custom)
    }
}

impl Serialize for Proxies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Whether a listener encrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// No login without TLS.
    #[default]
    Required,
    /// TLS is offered; who declines it may log in in the clear, by SCRAM only.
    Optional,
    /// No TLS at all: for a proxy on the same machine.
    Off,
}

/// A hash that SCRAM is offered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum ScramHash {
    #[serde(rename = "sha-1")]
    Sha1,
    #[serde(rename = "sha-256")]
    Sha256,
    #[serde(rename = "sha-512")]
    Sha512,
}

impl ScramHash {
    pub const ALL: [ScramHash; 3] = [ScramHash::Sha1, ScramHash::Sha256, ScramHash::Sha512];
}

/// Who knows the passwords of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptBy {
    /// This server.
    #[default]
    Own,
    /// The program of `[command]`.
    Command,
    /// The directory of `[ldap]`.
    Ldap,
    /// The web service of `[http_accounts]`.
    Http,
}

/// Who may get an account by asking the server (XEP-0077).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Registration {
    Closed,
    /// With an invitation (XEP-0445).
    #[default]
    Invited,
    Open,
}

/// What accounts that administer nothing may invite to (XEP-0401).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invitations {
    Admins,
    #[default]
    Contacts,
    Accounts,
}

/// What push services are told of a message beside that it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PushDetail {
    Sender,
    Body,
}

/// What becomes of messages and requests of strangers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strangers {
    Allow,
    #[default]
    Limit,
    Refuse,
}

/// Who makes nodes at the service for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Creators {
    #[default]
    Accounts,
    Admins,
    Nobody,
}

/// Which tokens are given out (XEP-0484).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    Any,
    Bound,
    Off,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Which events are logged: a level (`error`, `warn`, `info`, `debug`, `trace`), or levels by part
/// (`info,jackdaw_c2s=debug`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    pub fn parse(text: &str) -> Result<Self, String> {
        // A bare word that is no level would be taken for the name of a part, and log everything.
        let words = text.split(',').map(str::trim).filter(|word| !word.contains(['=', '[']));
        for word in words {
            if !LEVELS.contains(&word.to_ascii_lowercase().as_str()) {
                return Err(format!("`{word}` is not a log level; use one of {}", LEVELS.join(", ")));
            }
        }
        match tracing_subscriber::EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(format!("`{text}` is not a log level: {error}")),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Default for LogLevel {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl<'de> Deserialize<'de> for LogLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for LogLevel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// The domain of a server without configuration.
pub fn localhost() -> DomainName {
    DomainName("localhost".to_owned())
}
