//! The clients of an account, read and written around a login: tokens (XEP-0484), and who was here (XEP-0494). What
//! answers [`Shell::look_up_tokens`](crate::Shell::look_up_tokens) and [`Shell::record`](crate::Shell::record), for
//! whoever has a store.

use std::sync::Arc;

use accounts::tokens::{self, Clients, Login, Methods};
use accounts::{ACCOUNTS, Account};
use auth::{Age, Failure, Proof, Secret, TokenLookup};
use router::Issued;
use stanza::Jid;
use store::{Batch, Op, Store, StoreError};

use crate::Recording;

/// Reads the tokens that may let a client in. `client`: the id that it gives for itself.
pub fn look_up(
    store: &Arc<dyn Store>,
    account: &Jid,
    client: Option<&str>,
    tell: impl FnOnce(TokenLookup) + Send + 'static,
) {
    let (jid, client) = (account.clone(), client.map(str::to_owned));
    store.read(
        tokens::with_account(account),
        Box::new(move |found| {
            tell(match tokens::read_with_account(&jid, found) {
                Ok(None) => TokenLookup::Missing,
                Ok(Some((account, clients))) => clients.tokens(client.as_deref(), account.epoch, account.disabled),
                Err(error) => {
                    tracing::error!(error, "an account could not be read for a login");
                    TokenLookup::Unavailable
                }
            });
        }),
    );
}

/// What is written for a login that was let in, and the new token.
fn recorded(
    recording: &Recording,
    account: &Account,
    clients: &mut Clients,
    now: i64,
    random: &mut dyn FnMut(&mut [u8]),
) -> (Batch, Option<Issued>) {
    let login = Login {
        now,
        agent: recording.agent.clone(),
        methods: methods(&recording.proof),
        epoch: account.epoch,
    };
    let (id, mut batch, due) = match &recording.proof {
        Proof::Token(used) => {
            let mut batch = clients.used(used, &login);
            if recording.invalidate {
                add(&mut batch, clients.invalidate(&used.id));
            }
            // XEP-0484 section 3.6: no new token for one that is given up, unless it is asked for. Section 3.5: while the
            // last one that was given out has not come, another takes its place.
            let is_due = !recording.invalidate && (used.rotate || used.age == Age::Previous);
            (used.id.clone(), batch, is_due.then_some(used.mechanism))
        }
        _ => {
            let (id, batch) = clients.logged_in(&recording.new_id, &login);
            (id, batch, None)
        }
    };
    let issued = recording.wanted.or(due).map(|mechanism| {
        let mut bytes = [0; 32];
        random(&mut bytes);
        let secret = Secret::new(bytes);
        let issue = clients.issue(&id, secret.clone(), mechanism, now, recording.lifetimes);
        add(&mut batch, issue);
        Issued {
            secret,
            expires: now.saturating_add(recording.lifetimes.token),
        }
    });
    (batch, issued)
}

/// Adds another change of the same client: the row that was written last holds both, and what the first depends on is
/// enough.
fn add(batch: &mut Batch, mut later: Batch) {
    match (batch.ops.last_mut(), later.ops.pop()) {
        (Some(before @ Op::Put { .. }), Some(put @ Op::Put { .. })) => *before = put,
        (_, last) => batch.ops.extend(later.ops.into_iter().chain(last)),
    }
}

fn methods(proof: &Proof) -> Methods {
    Methods {
        password: *proof == Proof::Password,
        fast: matches!(proof, Proof::Token(_)),
        grant: *proof == Proof::Bearer,
        certificate: *proof == Proof::Certificate,
    }
}

/// Reads the account, writes the login down, and tells what came of it.
pub fn record(
    store: &Arc<dyn Store>,
    recording: Recording,
    now: i64,
    mut random: impl FnMut(&mut [u8]) + Send + 'static,
    tell: impl FnOnce(Result<Option<Issued>, Failure>) + Send + 'static,
) {
    let writer = Arc::clone(store);
    store.read(
        tokens::with_account(&recording.account),
        Box::new(move |found| {
            let (account, mut clients) = match tokens::read_with_account(&recording.account, found) {
                Ok(Some(read)) if !read.0.disabled => read,
                // Removed or disabled since the login was let in.
                Ok(_) => return tell(Err(Failure::NotAuthorized)),
                Err(error) => {
                    tracing::error!(error, "an account could not be read for a login");
                    return tell(Err(Failure::TemporaryAuthFailure));
                }
            };
            let (mut batch, issued) = recorded(&recording, &account, &mut clients, now, &mut random);
            batch.ops.splice(
                0..0,
                Batch::new().require(&ACCOUNTS, recording.account.as_str(), None).ops,
            );
            let (epoch, lifetimes) = (account.epoch, recording.lifetimes);
            let sweeper = Arc::clone(&writer);
            let is_token = matches!(recording.proof, Proof::Token(_));
            let (account, invalidate) = (recording.account, recording.invalidate);
            writer.write(
                batch,
                Box::new(move |result| match result {
                    Ok(_) => {
                        // Nobody waits for it; what stays behind goes at the next login.
                        let over = clients.expire(now, epoch, lifetimes);
                        if !over.ops.is_empty() {
                            sweeper.write(over, Box::new(|_| {}));
                        }
                        tell(Ok(issued));
                    }
                    // Revoked or removed in this moment.
                    Err(StoreError::Missing) if is_token => tell(Err(Failure::NotAuthorized)),
                    Err(StoreError::Missing) => tell(Err(Failure::TemporaryAuthFailure)),
                    Err(error) => {
                        tracing::error!(%account, %error, "a login could not be written down");
                        // A full disk keeps nobody out (guarantee G6); only a token that shall be void has to be.
                        tell(if invalidate {
                            Err(Failure::TemporaryAuthFailure)
                        } else {
                            Ok(None)
                        });
                    }
                }),
            );
        }),
    );
}

#[cfg(test)]
mod tests {
    use accounts::tokens::{Agent, DEFAULT_LIFETIMES};
    use auth::{Credentials, Mechanism};

    use super::*;

    /// A login that gets a token writes its client once.
    #[test]
    fn one_row_for_one_login() {
        let jid = Jid::parse("juliet@example.org").expect("a JID");
        let account = Account::new(jid.clone(), 0, Credentials::default());
        let mut clients = Clients::from_rows(&jid, Vec::new()).expect("no rows");
        for seconds in [100, 200] {
            let recording = Recording {
                account: jid.clone(),
                agent: Agent::new(Some("d4565fa7-4d72-4749-b3d3-740edbf87770"), None, None),
                new_id: "client".to_owned(),
                proof: Proof::Password,
                wanted: Mechanism::from_name("HT-SHA-256-NONE"),
                invalidate: false,
                lifetimes: DEFAULT_LIFETIMES,
            };
            let (batch, issued) = recorded(&recording, &account, &mut clients, seconds, &mut |bytes| bytes.fill(1));
            let rows: Vec<_> = batch.ops.iter().filter(|op| matches!(op, Op::Put { .. })).collect();
            let [Op::Put { row, .. }] = rows[..] else {
                panic!("{} rows are written", rows.len());
            };
            assert!(issued.is_some());
            // It is the last one.
            let written = Clients::from_rows(&jid, vec![("client".into(), row.clone())]).expect("a row");
            assert_eq!(written, clients);
        }
    }
}
