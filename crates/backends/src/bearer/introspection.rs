//! Asking about a token by introspection (RFC 7662).

use std::fmt;
use std::io;
use std::sync::Arc;

use accounts::backend::{Answered, Backend, Question};
use auth::Verdict;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{Rules, Wrong, now};
use crate::client::{Ask, Client, Service, authorization};
use crate::json;

/// The longest answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;
/// A byte is at most so many in a form (`%2B`).
const ENCODED_BYTES: usize = 3;

/// What this server shows the provider (RFC 6749 section 2.3.1).
pub struct Secret {
    pub client_id: String,
    pub client_secret: Zeroizing<String>,
}

/// Without the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Secret")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// The driver.
pub struct Introspection {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    rules: Rules,
    authorization: HeaderValue,
}

impl Introspection {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// The authorities for its certificate cannot be read.
    pub fn new(service: Service, secret: &Secret, rules: Rules) -> io::Result<Introspection> {
        let mut both = Zeroizing::new(Vec::new());
        encode(&secret.client_id, &mut both);
        both.push(b':');
        encode(&secret.client_secret, &mut both);
        let both = Zeroizing::new(STANDARD.encode(&*both));
        // Base 64 is the value of a header.
        let authorization = authorization(&format!("Basic {}", *both));
        let authorization = authorization.ok_or_else(|| io::Error::other("no header can hold the client's secret"))?;
        Ok(Introspection {
            shared: Arc::new(Shared {
                client: Client::new(service)?,
                rules,
                authorization,
            }),
        })
    }
}

impl Backend for Introspection {
    fn ask(&self, question: Question, answered: Answered) {
        let Question::Bearer { token, .. } = question else {
            return answered(Verdict::Unavailable);
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { answered(shared.verdict(&token).await) });
    }
}

impl Shared {
    async fn verdict(&self, token: &str) -> Verdict {
        let claims = self
            .client
            .report("the introspection of bearer tokens", self.claims(token).await);
        let Some(claims) = claims else {
            return Verdict::Unavailable;
        };
        let judged = match claims {
            // Section 2.2: that is all that is said of it.
            None => Err(Wrong::Token("its provider says that it is not active")),
            Some(claims) => self.rules.judge(&claims, now(), false),
        };
        self.rules.verdict(judged)
    }

    /// What is known of the token; `None`: it is not active.
    async fn claims(&self, token: &str) -> io::Result<Option<Map<String, Value>>> {
        let mut form = Zeroizing::new(Vec::with_capacity(64 + ENCODED_BYTES * token.len()));
        form.extend_from_slice(b"token_type_hint=access_token&token=");
        encode(token, &mut form);
        let ask = Ask::post("application/x-www-form-urlencoded", form, Some(&self.authorization));
        let answer = self.client.ask(ask, ANSWER_BYTES).await?;
        let claims: Map<String, Value> = serde_json::from_slice(&answer).map_err(|_| json::wrong())?;
        match claims.get("active") {
            Some(Value::Bool(true)) => Ok(Some(claims)),
            Some(Value::Bool(false)) => Ok(None),
            _ => Err(json::wrong()),
        }
    }
}

/// `application/x-www-form-urlencoded`.
fn encode(text: &str, form: &mut Vec<u8>) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            form.push(byte);
        } else {
            form.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
}
