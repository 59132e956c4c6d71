//! An account by the stream itself, before anybody has logged in (XEP-0077 section 3.1.1), also with the token of an
//! invitation (XEP-0445). Only under TLS, as the password is said in the clear.
//!
//! Whether names are free or kept for others, and whether a token holds, is decided where the account is written
//! ([`router::invitations::terms`]). Here is only what one stream may ask, and how often.

use std::sync::Arc;

use accounts::invitations::{self, Invitation};
use module::Secret;
use router::Event;
use router::invitations::INVALID_TOKEN;
use stanza::{ErrorType, IqType, Jid, Kind, Stanza, StanzaError, StreamError, iq_result, ns, write_error};
use xmlstream::{Child, Element};

use crate::config::Registration;
use crate::core::{Context, Next};
use crate::negotiation::Negotiation;

/// Requests of one stream; a person who is told that a name is taken needs some.
const REQUESTS: u8 = 10;

/// What has become of it on one stream.
#[derive(Default)]
pub(super) struct Registering {
    requests: u8,
    /// Id of the request that waits for its answer.
    waiting: Option<String>,
    /// The token that was shown, and holds.
    invited: Option<Invited>,
    /// An account was made.
    is_done: bool,
}

struct Invited {
    /// What the invitation is found by.
    key: Box<str>,
    /// The localpart that the account has to have.
    username: Option<Box<str>>,
}

/// The stream features: of XEP-0077 section 7, and of XEP-0445 section 3.
pub(super) fn features(registration: Registration) -> String {
    let mut out = String::new();
    let mut offer = |ns: &str| out.push_str(&format!("<register xmlns='{ns}'/>"));
    if registration == Registration::Closed {
        return out;
    }
    offer(ns::IBR_TOKEN);
    // COMPAT: Conversations and the Swift library of Tigase (Siskin) look for this one, of before XEP-0445.
    offer(ns::INVITE);
    offer(ns::REGISTER_FEATURE);
    out
}

impl Registering {
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }
}

impl Negotiation {
    /// A stanza of somebody who has not logged in.
    pub(super) fn register(&mut self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let (Some(host), true) = (self.host.clone(), self.secured) else {
            return Err(StreamError::not_authorized());
        };
        // RFC 6120 section 4.9.3.12, but for what a stranger may ask.
        let stanza = match Stanza::read(*element) {
            Ok(Some(stanza)) => stanza,
            _ => return Err(StreamError::not_authorized()),
        };
        let (Kind::Iq(kind @ (IqType::Get | IqType::Set)), Some(payload)) = (stanza.kind(), stanza.payload()) else {
            return Err(StreamError::not_authorized());
        };
        let is_token = payload.is("preauth", ns::PREAUTH) && kind == IqType::Set;
        let is_ours = stanza.to().is_none_or(|to| to.as_str() == host.domain);
        if !is_ours || !(is_token || payload.is("query", ns::REGISTER)) {
            return Err(StreamError::not_authorized());
        }
        let registration = self.config.registration(&host.domain);
        let registering = self.registering.get_or_insert_default();
        registering.requests = registering.requests.saturating_add(1);
        if registering.requests > REQUESTS {
            return Err(StreamError::policy_violation().text("too many requests to register"));
        }
        let id = stanza.id().unwrap_or_default().to_owned();
        if registration == Registration::Closed {
            return Ok(self.answer(&id, Err(StanzaError::service_unavailable()), cx));
        }
        if registering.is_done {
            // Section 3.1.1.
            let error = StanzaError::not_acceptable().text("an account was made already: log in");
            return Ok(self.answer(&id, Err(error), cx));
        }
        if is_token {
            return Ok(self.look_at_token(id, payload.attr("token").as_deref(), cx));
        }
        let answer = match (&registering.invited, registration, kind) {
            (None, Registration::Invited, _) => {
                Err(StanzaError::forbidden().text("who wants an account here needs an invitation"))
            }
            (invited, _, IqType::Get) => Ok(fields(invited.as_ref())),
            _ => match self.submitted(&host.domain, payload) {
                Err(error) => Err(error),
                Ok(new) => return Ok(self.make(id, new, cx)),
            },
        };
        Ok(self.answer(&id, answer, cx))
    }

    fn look_at_token(&mut self, id: String, token: Option<&str>, cx: &mut Context<'_>) -> Next {
        // Whoever guesses is slowed down as one who guesses passwords.
        if !cx.shell.may_log_in(None) {
            let error = StanzaError::resource_constraint().kind(ErrorType::Wait);
            return self.answer(&id, Err(error.text("too many failed attempts; try again later")), cx);
        }
        let key = token.and_then(invitations::key_of);
        self.registering.get_or_insert_default().waiting = Some(id);
        // One that cannot be a token takes as long.
        let key = key.unwrap_or_else(|| "none".into());
        let outbox = Arc::clone(cx.outbox);
        cx.router.look_at_invitation(key, move |invitation| {
            let mut turn = router::Turn::default();
            outbox.tell(&mut turn, Event::Invited(invitation.map(Box::new)));
            turn.finish();
        });
        Next::Wait
    }

    /// The token was looked up.
    pub(super) fn invited(&mut self, invitation: Option<Invitation>, cx: &mut Context<'_>) -> Next {
        let domain = self.host.as_ref().map(|host| host.domain.clone()).unwrap_or_default();
        let registering = self.registering.get_or_insert_default();
        let Some(id) = registering.waiting.take() else {
            return Next::Read;
        };
        let invitation = invitation.filter(|invitation| {
            invitation.holds(cx.now.seconds()) && invitation.domain.as_deref() == Some(domain.as_str())
        });
        let answer = match invitation {
            Some(invitation) => {
                registering.invited = Some(Invited {
                    key: invitation.key,
                    username: invitation.username,
                });
                Ok(String::new())
            }
            None => {
                cx.shell.login_failed(None);
                let error = StanzaError::item_not_found();
                Err(error.text(INVALID_TOKEN))
            }
        };
        self.answer(&id, answer, cx)
    }

    /// What was filled in.
    fn submitted(&self, domain: &str, query: Child<'_>) -> Result<(Jid, Secret), StanzaError> {
        if query.child("remove", ns::REGISTER).is_some() {
            // Section 3.2: nobody is registered here yet.
            return Err(StanzaError::unexpected_request());
        }
        let (username, password) = filled_in(query);
        let empty = |text: &str| text.is_empty();
        let (Some(username), Some(password)) = (
            username.filter(|text| !empty(text)),
            password.filter(|text| !empty(text.expose())),
        ) else {
            return Err(StanzaError::not_acceptable().text("a user name and a password are needed"));
        };
        let unusable = |_| StanzaError::not_acceptable().text("this user name cannot be used");
        let local = stanza::prepare_local(&username).map_err(unusable)?;
        let account = Jid::new(Some(&local), domain, None).map_err(unusable)?;
        let invited = self
            .registering
            .as_ref()
            .and_then(|registering| registering.invited.as_ref());
        let wanted = invited.and_then(|invited| invited.username.as_deref());
        if wanted.is_some_and(|wanted| account.local() != Some(wanted)) {
            return Err(StanzaError::not_acceptable().text("this invitation is for another name"));
        }
        Ok((account, password))
    }

    fn make(&mut self, id: String, (account, password): (Jid, Secret), cx: &mut Context<'_>) -> Next {
        let registering = self.registering.get_or_insert_default();
        let key = registering.invited.as_ref().map(|invited| invited.key.clone());
        // Who has an invitation has asked somebody already.
        if key.is_none() && !cx.shell.may_register() {
            let error = StanzaError::resource_constraint().kind(ErrorType::Wait);
            return self.answer(
                &id,
                Err(error.text("too many accounts were asked for; try again later")),
                cx,
            );
        }
        let outbox = Arc::clone(cx.outbox);
        let then = Box::new(move |made| {
            let mut turn = router::Turn::default();
            outbox.tell(&mut turn, Event::Registered(made));
            turn.finish();
        });
        if let Err(error) = cx.router.make_account(cx.now, account, password, key, then) {
            return self.answer(&id, Err(error), cx);
        }
        registering.waiting = Some(id);
        Next::Wait
    }

    /// The account was made, or not.
    pub(super) fn registered(&mut self, made: Result<(), StanzaError>, cx: &mut Context<'_>) -> Next {
        let registering = self.registering.get_or_insert_default();
        let Some(id) = registering.waiting.take() else {
            return Next::Read;
        };
        registering.is_done = made.is_ok();
        self.answer(&id, made.map(|()| String::new()), cx)
    }

    fn answer(&self, id: &str, answer: Result<String, StanzaError>, cx: &mut Context<'_>) -> Next {
        let domain = self.host.as_ref().map(|host| host.domain.as_str());
        match answer {
            Ok(payload) => iq_result(id, domain, None, &payload, cx.out),
            // Without the request: a password is in it (section 3.3).
            Err(error) => write_error("iq", Some(id), domain, None, &error, cx.out),
        }
        Next::Read
    }
}

fn fields(invited: Option<&Invited>) -> String {
    let ns = ns::REGISTER;
    let username = invited.and_then(|invited| invited.username.as_deref());
    let username = match username {
        None => "<username/>".to_owned(),
        Some(name) => {
            let mut text = Vec::new();
            xmlstream::escape_text(&mut text, name);
            // Escaping text yields text.
            format!("<username>{}</username>", String::from_utf8(text).unwrap_or_default())
        }
    };
    format!(
        "<query xmlns='{ns}'><instructions>Choose a user name and a password.</instructions>{username}<password/></query>"
    )
}

/// User name and password, of the form where there is one (section 6: "MUST NOT submit both").
fn filled_in(query: Child<'_>) -> (Option<String>, Option<Secret>) {
    let form = query.child("x", ns::DATA_FORMS);
    let text = |name: &str| match &form {
        None => query.child(name, ns::REGISTER).map(|child| child.text().into_owned()),
        Some(form) => form
            .children()
            .find(|field| field.is("field", ns::DATA_FORMS) && field.attr("var").as_deref() == Some(name))
            .and_then(|field| field.child("value", ns::DATA_FORMS))
            .map(|value| value.text().into_owned()),
    };
    (text("username"), text("password").map(Secret::new))
}
