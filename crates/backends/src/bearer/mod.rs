//! Bearer tokens (RFC 6750) of somebody else's accounts: whom they speak for, and whether they are for this server.
//!
//! [`Introspection`] asks the one who gave the token out, each time; [`SignedTokens`] checks the signature here, by the
//! keys of whoever gave it out.

mod introspection;
mod jwt;
mod keys;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use auth::Verdict;
use serde_json::{Map, Value};

pub use introspection::{Introspection, Secret};
pub use keys::SignedTokens;

/// By how many seconds the clocks of this machine and of the one that gives out tokens may differ.
const SKEW: f64 = 30.0;

/// What a token has to say.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The domain that it is shown for.
    pub domain: String,
    /// Who has to have given it out (`iss`).
    pub issuer: Option<String>,
    /// Whom it has to be for (`aud`).
    pub audience: Option<String>,
    /// What it has to allow (`scope`).
    pub scope: Option<String>,
    /// Which claim is the localpart of the account, or its address on the domain.
    pub claim: String,
}

/// Why a token is not good. No text of a token is in it.
#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    /// It is not one that was given out to be used here.
    Token(&'static str),
    Expired,
    Scope,
    /// It says nothing of the account, or the account is of another domain.
    Account,
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Wrong::Token(why) => why,
            Wrong::Expired => "it has expired",
            Wrong::Scope => "it has not the scope",
            Wrong::Account => "the claim of the account is missing, or names another domain",
        })
    }
}

impl Rules {
    /// `demanded`: what tells where and until when the token is good has to be there, not only to be right.
    fn judge(&self, claims: &Map<String, Value>, now: i64, demanded: bool) -> Result<String, Wrong> {
        // A time that is no number is not a missing one.
        let time = |name| match claims.get(name) {
            None => Ok(None),
            Some(time) => time.as_f64().map(Some).ok_or(Wrong::Token("a time in it is no number")),
        };
        let now = now as f64;
        match time("exp")? {
            Some(expiry) if now >= expiry + SKEW => return Err(Wrong::Expired),
            None if demanded => return Err(Wrong::Token("it does not say when it expires")),
            _ => {}
        }
        if time("nbf")?.is_some_and(|from| now + SKEW < from) {
            return Err(Wrong::Token("it is not good yet"));
        }
        if let Some(issuer) = &self.issuer {
            match claims.get("iss") {
                None if !demanded => {}
                Some(Value::String(from)) if from == issuer => {}
                _ => return Err(Wrong::Token("it is from another issuer")),
            }
        }
        if let Some(audience) = &self.audience {
            let is_for = |value: &Value| value.as_str() == Some(audience);
            let matches = match claims.get("aud") {
                Some(Value::Array(several)) => several.iter().any(is_for),
                Some(one) => is_for(one),
                None => false,
            };
            if !matches {
                return Err(Wrong::Token("it is for another audience"));
            }
        }
        if let Some(scope) = &self.scope {
            let scopes = claims.get("scope").and_then(Value::as_str).unwrap_or_default();
            if !scopes.split(' ').any(|one| one == scope) {
                return Err(Wrong::Scope);
            }
        }
        let named = claims.get(&self.claim).and_then(Value::as_str).unwrap_or_default();
        let local = match named.split_once('@') {
            None => named,
            Some((local, domain)) if domain.eq_ignore_ascii_case(&self.domain) => local,
            Some(_) => return Err(Wrong::Account),
        };
        match local {
            "" => Err(Wrong::Account),
            local => Ok(local.to_owned()),
        }
    }

    fn verdict(&self, judged: Result<String, Wrong>) -> Verdict {
        let wrong = match judged {
            Ok(user) => return Verdict::Granted { user },
            Err(wrong) => wrong,
        };
        tracing::info!(domain = self.domain, "a bearer token is not good: {wrong}");
        match wrong {
            Wrong::Token(_) => Verdict::Refused,
            Wrong::Expired => Verdict::Expired,
            Wrong::Scope => Verdict::WrongScope,
            Wrong::Account => Verdict::Refused,
        }
    }
}

/// Seconds since 1970. A clock before that is one that was never set.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn rules() -> Rules {
        Rules {
            domain: "example.org".to_owned(),
            issuer: Some("https://id.example.org".to_owned()),
            audience: Some("xmpp".to_owned()),
            scope: Some("chat".to_owned()),
            claim: "preferred_username".to_owned(),
        }
    }

    /// A good token, with this changed; `null` takes a claim away.
    fn judged(change: Value, demanded: bool) -> Result<String, Wrong> {
        let mut claims = json!({
            "iss": "https://id.example.org",
            "aud": ["account", "xmpp"],
            "scope": "openid chat",
            "exp": NOW + 60,
            "nbf": NOW - 60,
            "preferred_username": "juliet",
        });
        let claims = claims.as_object_mut().expect("an object");
        for (name, value) in change.as_object().expect("an object") {
            claims.insert(name.clone(), value.clone());
        }
        claims.retain(|_, value| !value.is_null());
        rules().judge(claims, NOW, demanded)
    }

    #[test]
    fn what_is_good() {
        for change in [
            json!({}),
            json!({"aud": "xmpp"}),
            json!({"scope": "chat"}),
            json!({"nbf": null}),
            // Within what clocks differ by.
            json!({"exp": NOW - 10, "nbf": NOW + 10}),
            json!({"exp": 1_000_000.5}),
            json!({"preferred_username": "juliet@Example.org"}),
        ] {
            for demanded in [false, true] {
                assert_eq!(judged(change.clone(), demanded), Ok("juliet".to_owned()), "{change}");
            }
        }
    }

    #[test]
    fn what_is_not() {
        let token = |change: Value| {
            let told = judged(change.clone(), false);
            assert!(matches!(told, Err(Wrong::Token(_))), "{change}: {told:?}");
        };
        for change in [
            json!({"iss": "https://other.example"}),
            json!({"iss": ["https://id.example.org"]}),
            json!({"aud": null}),
            json!({"aud": "xmpp2"}),
            json!({"aud": ["account"]}),
            json!({"aud": 1}),
            json!({"exp": "never"}),
            json!({"nbf": NOW + 60}),
            json!({"nbf": "now"}),
        ] {
            token(change);
        }
        assert_eq!(judged(json!({"exp": NOW - 60}), false), Err(Wrong::Expired));
        for change in [
            json!({"scope": null}),
            json!({"scope": "chatty openid"}),
            json!({"scope": ["chat"]}),
        ] {
            assert_eq!(judged(change, false), Err(Wrong::Scope));
        }
        for name in [
            json!(null),
            json!(""),
            json!(7),
            json!("@example.org"),
            json!("juliet@other.example"),
        ] {
            assert_eq!(judged(json!({"preferred_username": name}), false), Err(Wrong::Account));
        }
    }

    #[test]
    fn some_claims_are_demanded_of_a_token_that_nobody_is_asked_about() {
        for name in ["exp", "iss"] {
            assert_eq!(judged(json!({name: null}), false), Ok("juliet".to_owned()), "{name}");
            assert!(
                matches!(judged(json!({name: null}), true), Err(Wrong::Token(_))),
                "{name}"
            );
        }
    }
}
