//! Which mechanisms a stream offers, and how SCRAM tells the client so under its signature (XEP-0474, XEP-0515).

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;

use crate::mechanism::Family;
use crate::{BearerHint, Binding, Hash, Mechanism};

/// Between the names of a list, and between the two lists (XEP-0474 section 5.1): no XML can hold either.
const BETWEEN_NAMES: &str = "\x1e";
const BETWEEN_LISTS: &str = "\x1f";

/// Which tokens of XEP-0484 the server takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenPolicy {
    /// None. The classic profile has no place for them: there it is always this.
    #[default]
    Off,
    /// Those that are bound to the TLS channel.
    Bound,
    /// Those that are bound to nothing as well: the ones that a browser can use. Who overhears one use of it can log in
    /// (section 6).
    Any,
}

/// What the operator allows. The default is SCRAM and PLAIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The hashes that SCRAM is offered with; what is not here is retired.
    pub hashes: Vec<Hash>,
    pub plain: bool,
    /// The client showed a certificate, and the server takes them.
    pub external: bool,
    /// There is somebody to ask about bearer tokens: where a client gets one.
    pub bearer: Option<BearerHint>,
    /// The domain is one for guests.
    pub anonymous: bool,
    pub tokens: TokenPolicy,
    /// Whether SCRAM signs what was offered. Clients pass over attributes that they do not know (RFC 5802 section 5.1);
    /// this is for those that do not.
    pub signed: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            hashes: Hash::ALL.to_vec(),
            plain: true,
            external: false,
            bearer: None,
            anonymous: false,
            tokens: TokenPolicy::Off,
            signed: false,
        }
    }
}

/// What the client was told it can log in with, in the profile that it uses: nothing else is taken from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The list of `<mechanisms/>`, or that of `<authentication/>`, strongest first.
    pub mechanisms: Vec<Mechanism>,
    /// The list of `<fast/>`, strongest first. Empty: there is no `<fast/>`.
    pub tokens: Vec<Mechanism>,
    /// The types of `<sasl-channel-binding/>` (XEP-0440), the stronger first. Empty: there is none. They are there if
    /// -PLUS is: a client that sees one without the other has to take it for an attack (section 3, rules 4 and 5).
    pub bindings: Vec<&'static str>,
    /// The version of TLS as on the wire, 0x0304 for 1.3. `None`: not said (XEP-0515 needs it).
    pub tls_version: Option<u16>,
    /// See [`Policy::signed`].
    pub signed: bool,
}

impl Offer {
    /// What the operator allows and the channel can do.
    pub fn new(tls: bool, binding: &Binding, policy: &Policy) -> Offer {
        let allowed = |mechanism: &Mechanism| match mechanism.family() {
            Family::Scram(hash) => policy.hashes.contains(&hash),
            Family::Plain => policy.plain,
            Family::External => policy.external,
            Family::Bearer => policy.bearer.is_some(),
            Family::Anonymous => policy.anonymous,
            Family::Token(Some(_)) => policy.tokens != TokenPolicy::Off,
            Family::Token(None) => policy.tokens == TokenPolicy::Any,
        };
        let (tokens, mechanisms): (Vec<_>, Vec<_>) = Mechanism::ALL
            .into_iter()
            .filter(|mechanism| mechanism.fits(tls, binding) && allowed(mechanism))
            .partition(|mechanism| mechanism.is_token());
        let any_plus = mechanisms.iter().any(|mechanism| mechanism.is_plus());
        Offer {
            mechanisms,
            tokens,
            bindings: if any_plus { binding.types() } else { Vec::new() },
            tls_version: None,
            signed: policy.signed,
        }
    }

    /// Whether the client may begin with it.
    pub(crate) fn has(&self, mechanism: Mechanism) -> bool {
        match mechanism.is_token() {
            true => self.tokens.contains(&mechanism),
            false => self.mechanisms.contains(&mechanism),
        }
    }

    /// Whether SCRAM with this hash is offered.
    pub(crate) fn has_hash(&self, hash: Hash) -> bool {
        self.mechanisms.iter().any(|mechanism| mechanism.hash() == Some(hash))
    }

    /// What goes to the end of SCRAM's server-first-message: `h`, the hash of both lists (XEP-0474 section 5.1), and
    /// `t`, the version of TLS (XEP-0515 section 4.1). Mechanisms of tokens are no part of it, as they stand elsewhere:
    /// with them no client gets the same hash.
    pub(crate) fn attributes(&self, hash: Hash) -> String {
        if !self.signed {
            return String::new();
        }
        let mut names: Vec<&str> = self.mechanisms.iter().map(|mechanism| mechanism.name()).collect();
        // i;octet (RFC 4790 section 9.3): by bytes, as `str` compares.
        names.sort_unstable();
        let mut lists = names.join(BETWEEN_NAMES);
        if !self.bindings.is_empty() {
            let mut types = self.bindings.clone();
            types.sort_unstable();
            lists.push_str(BETWEEN_LISTS);
            lists.push_str(&types.join(BETWEEN_NAMES));
        }
        let mut attributes = format!(",h={}", STANDARD.encode(hash.digest(lists.as_bytes())));
        if let Some(version) = self.tls_version {
            attributes.push_str(&format!(",t={version:04x}"));
        }
        attributes
    }
}

/// The mechanisms of SCRAM and PLAIN that a stream offers, strongest first: [`Offer::new`] with the default [`Policy`].
pub fn offered(tls: bool, binding: &Binding) -> Vec<Mechanism> {
    Offer::new(tls, binding, &Policy::default()).mechanisms
}
