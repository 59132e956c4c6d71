//! Tasks that follow a login by password and stand before its success (XEP-0388 section 2.6.3). There is one kind: new
//! verifiers for an account that lacks them (XEP-0480), one task for each hash, each written before the next begins.
//!
//! Nobody is let in meanwhile: no account is set, the limits are those of a stranger, and the connection's time to log in
//! runs on.

use std::collections::VecDeque;

use auth::{Credentials, Failure, Hash, Proof, SALT_LENGTH, Upgrade};
use stanza::{Jid, StreamError, ns};
use xmlstream::Element;
use zeroize::Zeroizing;

use super::inline::Sasl2;
use super::{Negotiation, Phase};
use crate::core::{Context, Next};

/// What a client has to do before it is let in.
pub(super) struct Tasks {
    /// Who has proved the password.
    account: Jid,
    /// Those that have not ended: the first was offered in the last `<continue/>`.
    hashes: VecDeque<Hash>,
    /// The first has begun.
    running: Option<Upgrade>,
}

impl Sasl2 {
    /// Whether there is a task for an account that lacks these: one that the client has asked for (XEP-0480 section 2.2).
    pub(super) fn has_tasks(&mut self, account: &Jid, lacking: &[Hash]) -> bool {
        let wanted = self.wanted.upgrades.iter().copied();
        let hashes: VecDeque<Hash> = wanted.filter(|hash| lacking.contains(hash)).collect();
        let has_tasks = !hashes.is_empty();
        self.tasks = has_tasks.then(|| Tasks {
            account: account.clone(),
            hashes,
            running: None,
        });
        has_tasks
    }
}

impl Negotiation {
    /// Offers the next task; behind the last one the login goes on.
    pub(super) fn next_task(&mut self, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        self.phase = Phase::Features;
        let Some(sasl2) = &mut self.sasl2 else {
            return Ok(Next::Read);
        };
        let next = sasl2.tasks.as_ref().and_then(|tasks| tasks.hashes.front());
        if let Some(task) = next.and_then(|hash| hash.task()) {
            // The first one has what the mechanism says at its end: here the client learns that the server knows the
            // password too, before it makes a verifier for it.
            write_continue(task, sasl2.data.take().as_deref(), cx.out);
            self.has_continued = true;
            self.phase = Phase::Task;
            return Ok(Next::Read);
        }
        match sasl2.tasks.take() {
            Some(tasks) => self.let_in(tasks.account, Proof::Password, cx),
            None => Ok(Next::Read),
        }
    }

    /// An element of the client while a task is under way.
    pub(super) fn task(&mut self, element: &Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        let Some(tasks) = self.sasl2.as_mut().and_then(|sasl2| sasl2.tasks.as_mut()) else {
            return Err(StreamError::bad_format());
        };
        match (element.ns(), element.name(), &tasks.running) {
            (ns::SASL2, "next", None) => {
                let named = element.attr("task").and_then(|task| Hash::of_task(&task));
                match named.filter(|hash| tasks.hashes.front() == Some(hash)) {
                    Some(hash) => {
                        let mut salt = [0; SALT_LENGTH];
                        cx.shell.random(&mut salt);
                        let upgrade = Upgrade::new(hash, salt, self.config.iterations);
                        write_salt(&upgrade, cx.out);
                        tasks.running = Some(upgrade);
                        Ok(Next::Read)
                    }
                    // Tasks are "analogous to a SASL mechanism": RFC 6120 section 6.5.7.
                    None => self.task_failed(Failure::InvalidMechanism, cx),
                }
            }
            (ns::SASL2, "task-data", Some(upgrade)) => match hashed(element, upgrade) {
                Ok(verifiers) => {
                    tasks.running = None;
                    tasks.hashes.pop_front();
                    cx.shell.upgrade(&tasks.account, verifiers);
                    self.phase = Phase::Upgrading;
                    Ok(Next::Wait)
                }
                Err(failure) => self.task_failed(failure, cx),
            },
            (ns::SASL2, "abort", _) => self.task_failed(Failure::Aborted, cx),
            (ns::SASL2, "next" | "task-data", _) => self.task_failed(Failure::MalformedRequest, cx),
            // XEP-0388 section 4.8.
            (ns::SASL2, "authenticate", _) => Err(StreamError::policy_violation()),
            // Section 2.4.
            _ => Err(StreamError::policy_violation().text("a login is under way")),
        }
    }

    /// What a task brought is written, or cannot be: that keeps nobody out.
    pub(super) fn upgraded(&mut self, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        match self.phase {
            Phase::Upgrading => self.next_task(cx),
            _ => Ok(Next::Read),
        }
    }

    /// The login as a whole has failed with its task.
    fn task_failed(&mut self, failure: Failure, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        self.phase = Phase::Features;
        self.not_logged_in(failure, "too many failed attempts to log in", cx)
    }
}

/// `<hash/>` (XEP-0480 section 3) as the verifier that it makes.
fn hashed(task_data: &Element<'_>, upgrade: &Upgrade) -> Result<Credentials, Failure> {
    let hash = task_data.child("hash", ns::SCRAM_UPGRADE);
    // As good as the password.
    let text = Zeroizing::new(hash.ok_or(Failure::MalformedRequest)?.text().into_owned());
    let mut verifiers = Credentials::default();
    verifiers.set(upgrade.hash(), upgrade.finish(text.trim())?);
    Ok(verifiers)
}

/// `<continue/>` (XEP-0388 section 2.6.3). XEP-0480 section 2.2: "a single task".
fn write_continue(task: &str, data: Option<&[u8]>, out: &mut Vec<u8>) {
    let data = data.map(auth::encode);
    let data = data.map(|data| format!("<additional-data>{data}</additional-data>"));
    let text = format!(
        "<continue xmlns='{}'>{}<tasks><task>{task}</task></tasks></continue>",
        ns::SASL2,
        data.unwrap_or_default()
    );
    out.extend_from_slice(text.as_bytes());
}

/// `<salt/>` (XEP-0480 section 3).
fn write_salt(upgrade: &Upgrade, out: &mut Vec<u8>) {
    let text = format!(
        "<task-data xmlns='{}'><salt xmlns='{}' iterations='{}'>{}</salt></task-data>",
        ns::SASL2,
        ns::SCRAM_UPGRADE,
        upgrade.iterations(),
        upgrade.salt()
    );
    out.extend_from_slice(text.as_bytes());
}
