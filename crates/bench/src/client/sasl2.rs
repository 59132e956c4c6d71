//! Logins in as few round trips as there can be: SASL2 with everything inline (XEP-0388, XEP-0386), and tokens (XEP-0484).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::{Access, Client, PASSWORD, Transport, header, jid, user, within};
use crate::Outcome;
use crate::scan::{attribute, text_of};
use crate::scram::Scram;

const NS: &str = "urn:xmpp:sasl:2";
/// Of a token: bound to the connection, as XEP-0484 wants it of whoever can.
const MECHANISM: &str = "HT-SHA-256-EXPR";
/// What is exported for `tls-exporter` (RFC 9266 section 2).
const EXPORTER: (&[u8], usize) = (b"EXPORTER-Channel-Binding", 32);

/// What a client comes back with.
pub(crate) struct Pass {
    token: String,
    /// The stream to resume, and how many of its stanzas came.
    stream: String,
    handled: u64,
}

/// How a client comes back with its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Back {
    /// To a new session.
    Bind,
    /// To its old stream; a new session if that is gone, which here is an error.
    Resume,
}

impl Pass {
    /// The connection is lost; the server keeps the session.
    pub(crate) fn cut(mut self, client: Client) -> Self {
        self.handled = client.handled();
        self
    }
}

impl Client {
    /// Logs in with the password by SASL2, binds, has stream management and gets a token.
    pub(crate) async fn login_inline(access: &Access, number: usize) -> Outcome<(Self, Pass)> {
        within(number, Self::inline_slowly(access, number)).await
    }

    /// The same with the token, in one write.
    pub(crate) async fn come_back(access: &Access, number: usize, pass: Pass, how: Back) -> Outcome<(Self, Pass)> {
        within(number, Self::back_slowly(access, number, pass, how)).await
    }

    async fn inline_slowly(access: &Access, number: usize) -> Outcome<(Self, Pass)> {
        let mut client = Self::secured(access, number).await?;
        client.open().await?;
        let user = user(number);
        let mut scram = Scram::new(&user);
        let wanted = format!(
            "{}<request-token xmlns='urn:xmpp:fast:0' mechanism='{MECHANISM}'/>{}",
            agent(number),
            bind()
        );
        let request = authenticate("SCRAM-SHA-1", &scram.initial(), &wanted);
        let challenge = client.ask(&request, "<challenge").await?;
        let challenge = text_of(&challenge, "challenge").unwrap_or_default();
        let answer = scram
            .answer(&access.memory, &user, PASSWORD, challenge)
            .ok_or("a challenge that is none")?;
        let response = format!("<response xmlns='{NS}'>{answer}</response>");
        let success = client.ask(&response, "<success").await?;
        if !scram.accepts(text_of(&success, "additional-data").unwrap_or_default()) {
            return Err("the server does not know the password".to_owned());
        }
        let pass = Pass {
            token: token(&success).ok_or_else(|| format!("no token in {success}"))?,
            stream: client.managed(&success)?,
            handled: 0,
        };
        client.begin(true).await?;
        Ok((client, pass))
    }

    async fn back_slowly(access: &Access, number: usize, mut pass: Pass, how: Back) -> Outcome<(Self, Pass)> {
        let mut client = Self::secured(access, number).await?;
        let message = token_message(&user(number), &pass.token, &client.binding()?);
        let resume = match how {
            Back::Bind => String::new(),
            Back::Resume => format!(
                "<resume xmlns='urn:xmpp:sm:3' previd='{}' h='{}'/>",
                pass.stream, pass.handled
            ),
        };
        let wanted = format!("{}<fast xmlns='urn:xmpp:fast:0'/>{resume}{}", agent(number), bind());
        let all = header(Some(&jid(number))) + &authenticate(MECHANISM, &message, &wanted);
        client.send(all.as_bytes()).await?;
        // The features, and what is asked for.
        client.until(|scanner| scanner.elements > 1).await?;
        let came = client.came();
        if !came.contains("<success") {
            return Err(format!("no success: {came}"));
        }
        pass.token = token(&came).unwrap_or(pass.token);
        match how {
            Back::Bind => {
                pass.stream = client.managed(&came)?;
                client.begin(true).await?;
            }
            Back::Resume if came.contains("<resumed") => {
                client.bound();
                client.unmanaged = Some(0);
                client.ping().await?;
                client.text = None;
            }
            Back::Resume => return Err(format!("not resumed: {came}")),
        }
        Ok((client, pass))
    }

    /// The session is bound and managed by this `<success/>`; returns the id to resume it by.
    fn managed(&mut self, success: &str) -> Outcome<String> {
        self.bound();
        // No stanza came on this stream before.
        self.unmanaged = Some(0);
        let enabled = success.find("<enabled").map(|at| &success[at..]);
        let id = enabled.and_then(|enabled| attribute(enabled, "id"));
        Ok(id.ok_or_else(|| format!("no managed stream in {success}"))?.to_owned())
    }

    /// `tls-exporter` of this connection.
    fn binding(&self) -> Outcome<Vec<u8>> {
        let Transport::Tls(stream) = &self.transport else {
            return Err("a token needs TLS".to_owned());
        };
        let (label, length) = EXPORTER;
        let exported = stream
            .get_ref()
            .1
            .export_keying_material(vec![0; length], label, Some(b""));
        exported.map_err(|error| format!("TLS exporter: {error}"))
    }
}

fn authenticate(mechanism: &str, initial: &str, wanted: &str) -> String {
    format!(
        "<authenticate xmlns='{NS}' mechanism='{mechanism}'><initial-response>{initial}</initial-response>{wanted}\
         </authenticate>"
    )
}

/// A client of its own for every account: tokens are given to one that names itself.
fn agent(number: usize) -> String {
    format!("<user-agent id='d4565fa7-4d72-4749-b3d3-{number:012}'><software>bench</software></user-agent>")
}

fn bind() -> String {
    "<bind xmlns='urn:xmpp:bind:0'><tag>bench</tag><enable xmlns='urn:xmpp:sm:3' resume='true'/></bind>".to_owned()
}

fn token(success: &str) -> Option<String> {
    let token = &success[success.find("<token")?..];
    attribute(token, "token").map(str::to_owned)
}

/// The first message of HT-SHA-256-* (draft-schmaus-kitten-sasl-ht-09 section 3.1), in base64.
fn token_message(user: &str, token: &str, binding: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.as_bytes());
    let mac = hmac::sign(&key, &[b"Initiator", binding].concat());
    STANDARD.encode([user.as_bytes(), b"\0", mac.as_ref()].concat())
}
