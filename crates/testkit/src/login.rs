//! SASL on a client's stream.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::{Binding, Client, Scram, Stanza};

const NS: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// The password of an account that was made without one.
pub fn password_of(jid: &str) -> String {
    format!("secret of {jid}")
}

/// The message of PLAIN (RFC 4616), in base64.
pub fn plain(authzid: &str, user: &str, password: &str) -> String {
    STANDARD.encode(format!("{authzid}\0{user}\0{password}"))
}

pub(crate) fn auth(mechanism: &str, data: Option<&str>) -> String {
    format!(
        "<auth xmlns='{NS}' mechanism='{mechanism}'>{}</auth>",
        data.unwrap_or_default()
    )
}

impl Client {
    /// `<auth/>` with data in base64, and whatever comes back.
    pub async fn auth(&mut self, mechanism: &str, data: &str) -> Stanza {
        self.send(auth(mechanism, Some(data))).await;
        self.stanza().await
    }

    /// `<response/>` with data in base64, and whatever comes back.
    pub async fn respond(&mut self, data: &str) -> Stanza {
        self.send(format!("<response xmlns='{NS}'>{data}</response>")).await;
        self.stanza().await
    }

    /// A login by SCRAM to the end: `<success/>`, whose proof is checked, or `<failure/>`.
    pub async fn scram(&mut self, mechanism: &str, scram: &mut Scram) -> Stanza {
        let first = STANDARD.encode(scram.first());
        let challenge = self.auth(mechanism, &first).await;
        if challenge.name() != "challenge" {
            return challenge;
        }
        let last = STANDARD.encode(scram.last(&decoded(&challenge)));
        let end = self.respond(&last).await;
        if end.name() == "success" && !scram.is_proved_by(&decoded(&end)) {
            self.fail("the server has not proved to know the password");
        }
        end
    }

    /// A SCRAM login as an honest client does it.
    pub async fn scram_as(&mut self, mechanism: &str, user: &str, password: &str, binding: &Binding) -> Stanza {
        let data = self.binding_data(binding);
        self.scram(mechanism, &mut Scram::new(mechanism, user, password, binding, &data))
            .await
    }

    /// A login with a mechanism of the `sasl` crate, which knows nothing of this kit.
    pub async fn login_by(&mut self, mechanism: &mut dyn sasl::client::Mechanism) -> Stanza {
        let name = mechanism.name().to_owned();
        let first = STANDARD.encode(mechanism.initial());
        let mut answer = self.auth(&name, &first).await;
        while answer.name() == "challenge" {
            let response = mechanism.response(decoded(&answer).as_bytes());
            let response = STANDARD.encode(response.unwrap_or_else(|error| self.fail(&error.to_string())));
            answer = self.respond(&response).await;
        }
        if answer.name() == "success"
            && let Err(error) = mechanism.success(decoded(&answer).as_bytes())
        {
            self.fail(&error.to_string());
        }
        answer
    }
}

fn decoded(element: &Stanza) -> String {
    let text = element.text();
    if text.is_empty() || text == "=" {
        return String::new();
    }
    let bytes = STANDARD
        .decode(&text)
        .unwrap_or_else(|error| panic!("not base64: {error}: {element:?}"));
    String::from_utf8(bytes).unwrap_or_else(|error| panic!("not UTF-8: {error}: {element:?}"))
}
