//! With which domains this server talks, and what they have to show for it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stanza::Jid;

/// What a domain has to show (RFC 7712 section 7 calls it a prooftype).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Require {
    /// Any of: a certificate of a known authority for the domain, a TLSA record (DANE), a document of POSH.
    #[default]
    Proof,
    /// A certificate of a known authority for the domain, whatever else there is.
    Certificate,
    /// A TLSA record that is secured by DNSSEC.
    Dane,
}

/// What holds for a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether this server talks with it at all.
    pub is_allowed: bool,
    pub require: Require,
    /// If there are any, its key is one of these. That is proof enough, unless `require` says more.
    pub pins: Vec<Pin>,
    /// Where it shows no proof, its word is taken as far as dialback goes (XEP-0220), over TLS. See
    /// [`Rule::takes_dialback`].
    pub dialback: bool,
    /// Its web server is asked for a document of POSH, where nothing else proves who it is.
    pub posh: bool,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            is_allowed: true,
            require: Require::Proof,
            pins: Vec::new(),
            dialback: false,
            posh: true,
        }
    }
}

impl Rule {
    /// Whether dialback will do. Where something particular is asked for, it never does.
    pub fn takes_dialback(&self) -> bool {
        self.is_allowed && self.dialback && self.require == Require::Proof && self.pins.is_empty()
    }
}

/// Which domains a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Domains {
    /// This one; not its subdomains.
    One(String),
    /// `*.` and this: all below it, at any depth; not itself.
    Below(String),
}

impl FromStr for Domains {
    type Err = String;

    fn from_str(text: &str) -> Result<Domains, String> {
        let (below, name) = match text.strip_prefix("*.") {
            Some(name) => (true, name),
            None => (false, text),
        };
        let name = Jid::parse(name)
            .ok()
            .filter(|jid| jid.local().is_none() && jid.is_bare());
        let Some(name) = name.filter(|jid| !jid.as_str().contains('*')) else {
            return Err(format!("`{text}` is no domain, and not `*.` and a domain"));
        };
        let name = name.as_str().to_owned();
        Ok(if below {
            Domains::Below(name)
        } else {
            Domains::One(name)
        })
    }
}

/// The SHA-256 of the key of a certificate (its `subjectPublicKeyInfo`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pin(pub [u8; 32]);

impl Pin {
    /// That of a `subjectPublicKeyInfo` in DER.
    pub fn of(key: &[u8]) -> Pin {
        let mut pin = [0; 32];
        pin.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, key).as_ref());
        Pin(pin)
    }
}

impl FromStr for Pin {
    type Err = String;

    /// In base64, or in hexadecimal digits with or without colons.
    fn from_str(text: &str) -> Result<Pin, String> {
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        let bytes = match digits.len() {
            64 => unhex(&digits),
            _ => STANDARD.decode(&digits).ok(),
        };
        let pin = bytes.and_then(|bytes| bytes.try_into().ok()).map(Pin);
        pin.ok_or_else(|| format!("`{text}` is no SHA-256 in base64 or hexadecimal"))
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| Some((value(pair[0])? * 16 + value(pair[1])?) as u8);
    digits.chunks_exact(2).map(byte).collect()
}

impl fmt::Display for Pin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// The rules of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// For domains that no other names.
    others: Rule,
    one: BTreeMap<String, Rule>,
    below: BTreeMap<String, Rule>,
}

impl Policy {
    /// Of two rules for the same domains the later counts.
    pub fn new(others: Rule, rules: impl IntoIterator<Item = (Domains, Rule)>) -> Policy {
        let mut policy = Policy {
            others,
            ..Policy::default()
        };
        for (domains, rule) in rules {
            match domains {
                Domains::One(name) => policy.one.insert(name, rule),
                Domains::Below(name) => policy.below.insert(name, rule),
            };
        }
        policy
    }

    /// The rule for a domain in prepared form: its own, else that of the nearest `*.` above it, else the one for all
    /// others.
    pub fn rule(&self, domain: &str) -> &Rule {
        if let Some(rule) = self.one.get(domain) {
            return rule;
        }
        let mut rest = domain;
        while let Some((_, above)) = rest.split_once('.') {
            if let Some(rule) = self.below.get(above) {
                return rule;
            }
            rest = above;
        }
        &self.others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> Rule {
        Rule {
            is_allowed: false,
            ..Rule::default()
        }
    }

    #[test]
    fn the_nearest_rule_counts() {
        let strict = Rule {
            require: Require::Dane,
            ..Rule::default()
        };
        let rules = [
            ("*.example", denied()),
            ("good.example", Rule::default()),
            ("*.good.example", strict.clone()),
            ("BÜCHER.example", strict.clone()),
        ];
        let rules = rules.map(|(domains, rule)| (domains.parse().expect("domains"), rule));
        let others = Rule {
            dialback: true,
            ..Rule::default()
        };
        let policy = Policy::new(others.clone(), rules);
        let check = |domain: &str, rule: &Rule| assert_eq!(policy.rule(domain), rule, "{domain}");
        check("good.example", &Rule::default());
        check("conference.good.example", &strict);
        check("a.b.good.example", &strict);
        check("bad.example", &denied());
        check("notgood.example", &denied());
        check("a.bad.example", &denied());
        check("bücher.example", &strict);
        check("example", &others);
        check("example.org", &others);
        check("example.good", &others);
        check("", &others);
    }

    #[test]
    fn what_names_domains() {
        for wrong in [
            "",
            "*",
            "*.",
            "*.*.example",
            "a.*.example",
            "a@example",
            "example/a",
            "**.example",
            ".example",
        ] {
            assert!(wrong.parse::<Domains>().is_err(), "{wrong}");
        }
        assert_eq!("*.Example.".parse(), Ok(Domains::Below("example".to_owned())));
    }

    #[test]
    fn pins() {
        let pin = Pin::of(b"key");
        let hex: String = pin.0.iter().map(|byte| format!("{byte:02X}")).collect();
        let colons: Vec<_> = hex
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair))
            .collect();
        for text in [pin.to_string(), hex.to_lowercase(), colons.join(":")] {
            assert_eq!(text.parse(), Ok(pin), "{text}");
        }
        for wrong in ["", "abc", "zz", &hex[2..], &"g".repeat(64), &pin.to_string()[1..]] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn dialback_is_no_proof() {
        let rule = Rule {
            dialback: true,
            ..Rule::default()
        };
        assert!(rule.takes_dialback());
        assert!(!Rule::default().takes_dialback());
        for strict in [
            Rule {
                require: Require::Certificate,
                ..rule.clone()
            },
            Rule {
                require: Require::Dane,
                ..rule.clone()
            },
            Rule {
                pins: vec![Pin([0; 32])],
                ..rule.clone()
            },
            Rule {
                is_allowed: false,
                ..rule.clone()
            },
        ] {
            assert!(!strict.takes_dialback(), "{strict:?}");
        }
    }
}
