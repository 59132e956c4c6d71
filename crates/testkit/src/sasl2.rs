//! SASL2, Bind 2 and FAST on a client's stream (XEP-0388, XEP-0386, XEP-0484).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::scram::salted_password;
use crate::{Binding, Client, NS_SM, Scram, Session, Stanza, login, password_of, resume};

pub const NS_SASL2: &str = "urn:xmpp:sasl:2";
pub const NS_FAST: &str = "urn:xmpp:fast:0";
pub const NS_UPGRADE: &str = "urn:xmpp:sasl:upgrade:0";
const NS_SCRAM_UPGRADE: &str = "urn:xmpp:scram-upgrade:0";

/// A token that the server gave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    pub mechanism: String,
    pub token: String,
    pub expiry: String,
}

/// `<user-agent/>` of the client with this number.
pub fn agent(number: u32) -> String {
    format!("<user-agent id='d4565fa7-4d72-4749-b3d3-{number:012}'><software>testkit</software></user-agent>")
}

/// `<enable/>` of stream management for a `<bind/>`.
pub fn enable() -> String {
    format!("<enable xmlns='{NS_SM}' resume='true'/>")
}

/// `<resume/>` for an `<authenticate/>`.
pub fn resume_inline(session: &Session) -> String {
    resume(&session.id, session.received)
}

/// `<upgrade/>` of these tasks for an `<authenticate/>` (XEP-0480).
pub fn upgrades(tasks: &[&str]) -> String {
    let upgrade = |task| format!("<upgrade xmlns='{NS_UPGRADE}'>{task}</upgrade>");
    tasks.iter().map(upgrade).collect()
}

/// `<hash/>` of such a task.
pub fn task_hash(text: &str) -> String {
    format!("<task-data xmlns='{NS_SASL2}'><hash xmlns='{NS_SCRAM_UPGRADE}'>{text}</hash></task-data>")
}

/// The first message of HT-SHA-256-* (draft-schmaus-kitten-sasl-ht-09 section 3.1), in base64.
pub fn token_message(user: &str, token: &str, binding: &[u8]) -> String {
    let mac = mac(token, b"Initiator", binding);
    STANDARD.encode([user.as_bytes(), b"\0", &mac].concat())
}

fn mac(token: &str, who: &[u8], binding: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    hmac::sign(&key, &[who, binding].concat()).as_ref().to_vec()
}

impl Client {
    /// `<authenticate/>`, and whatever comes back first.
    pub async fn authenticate(&mut self, mechanism: &str, initial: &str, more: &str) -> Stanza {
        self.send(format!(
            "<authenticate xmlns='{NS_SASL2}' mechanism='{mechanism}'>\
             <initial-response>{initial}</initial-response>{more}</authenticate>"
        ))
        .await;
        self.stanza().await
    }

    /// A login with PLAIN as the account of the server's own making.
    pub async fn authenticate_as(&mut self, jid: &str, more: &str) -> Stanza {
        let user = jid.split_once('@').map_or(jid, |(user, _)| user);
        let data = login::plain("", user, &password_of(jid));
        self.authenticate("PLAIN", &data, more).await
    }

    /// A login by SCRAM to the end: `<success/>` or `<continue/>`, whose proof is checked, or `<failure/>`.
    pub async fn authenticate_by_scram(&mut self, mechanism: &str, jid: &str, binding: &Binding, more: &str) -> Stanza {
        let user = jid.split_once('@').map_or(jid, |(user, _)| user);
        let data = self.binding_data(binding);
        let mut scram = Scram::new(mechanism, user, &password_of(jid), binding, &data);
        let first = STANDARD.encode(scram.first());
        let challenge = self.authenticate(mechanism, &first, more).await;
        if challenge.name() != "challenge" {
            return challenge;
        }
        let last = STANDARD.encode(scram.last(&decoded(&challenge.text())));
        self.send(format!("<response xmlns='{NS_SASL2}'>{last}</response>"))
            .await;
        let end = self.stanza().await;
        if let Some(data) = end.get_child("additional-data", NS_SASL2)
            && !scram.is_proved_by(&decoded(&data.text()))
        {
            self.fail("the server has not proved to know the password");
        }
        end
    }

    /// Begins a task: what comes with the salt, or `<failure/>`.
    pub async fn next_task(&mut self, task: &str) -> Stanza {
        self.send(format!("<next xmlns='{NS_SASL2}' task='{task}'/>")).await;
        self.stanza().await
    }

    /// Does the task of XEP-0480 that a `<continue/>` offers, as this account of the server's own making. Returns what
    /// comes behind it.
    pub async fn do_task(&mut self, offered: &Stanza, jid: &str) -> Stanza {
        let Some(task) = task_of(offered) else {
            self.fail(&format!("no task is offered: {offered:?}"));
        };
        let data = self.next_task(&task).await;
        let salt = data
            .get_child("salt", NS_SCRAM_UPGRADE)
            .filter(|_| data.name() == "task-data");
        let Some((salt, iterations)) = salt.and_then(|salt| Some((salt.text(), salt.attr("iterations")?))) else {
            self.fail(&format!("no salt: {data:?}"));
        };
        let mechanism = task.trim_start_matches("UPGR-");
        let salted = salted_password(mechanism, &password_of(jid), &salt, iterations);
        self.send(task_hash(&salted)).await;
        self.stanza().await
    }

    /// A login by token: `<success/>`, whose proof is checked, or `<failure/>`. `fast`: attributes of `<fast/>`.
    pub async fn authenticate_by_token(&mut self, jid: &str, issued: &Issued, fast: &str, more: &str) -> Stanza {
        let user = jid.split_once('@').map_or(jid, |(user, _)| user);
        let binding = match &issued.mechanism {
            name if name.ends_with("-EXPR") => self.binding_data(&Binding::Exporter),
            name if name.ends_with("-ENDP") => self.binding_data(&Binding::EndPoint),
            _ => Vec::new(),
        };
        let message = token_message(user, &issued.token, &binding);
        let more = format!("<fast xmlns='{NS_FAST}'{fast}/>{more}");
        let answer = self.authenticate(&issued.mechanism, &message, &more).await;
        if let Some(data) = answer.get_child("additional-data", NS_SASL2) {
            let proof = STANDARD.decode(data.text()).unwrap_or_default();
            if proof != mac(&issued.token, b"Responder", &binding) {
                self.fail("the server has not proved to know the token");
            }
        }
        answer
    }

    /// The full JID of a `<success/>` that binds; from here on the client is called so.
    pub fn take_jid(&mut self, success: &Stanza) -> String {
        let Some(jid) = success.get_child("authorization-identifier", NS_SASL2) else {
            self.fail(&format!("nobody is logged in: {success:?}"));
        };
        self.jid = jid.text();
        self.jid.clone()
    }
}

/// The one task that a `<continue/>` offers (XEP-0480 section 2.2).
pub fn task_of(offered: &Stanza) -> Option<String> {
    let tasks = offered
        .get_child("tasks", NS_SASL2)
        .filter(|_| offered.name() == "continue")?;
    let mut names = tasks.children().map(minidom::Element::text);
    names.next().filter(|_| names.next().is_none())
}

impl Issued {
    /// The token of a `<success/>`, if there is one.
    pub fn of(success: &Stanza, mechanism: &str) -> Option<Issued> {
        let token = success.get_child("token", NS_FAST)?;
        Some(Issued {
            mechanism: mechanism.to_owned(),
            token: token.attr("token")?.to_owned(),
            expiry: token.attr("expiry")?.to_owned(),
        })
    }
}

fn decoded(text: &str) -> String {
    let bytes = STANDARD
        .decode(text)
        .unwrap_or_else(|error| panic!("not base64: {error}: {text}"));
    String::from_utf8(bytes).unwrap_or_else(|error| panic!("not UTF-8: {error}: {text}"))
}
