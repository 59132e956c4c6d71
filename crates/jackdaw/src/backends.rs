//! Who knows the passwords of the domains where that is not this server: the drivers of `backends` with what is
//! configured, and the account here that belongs to whoever they know.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::accounts::backend::{Answered, Backend, Question};
use auth::Verdict;
use backends::Command;
use stanza::Jid;
use tokio::runtime::Handle;

use crate::accounts::Accounts;
use crate::config::{Config, KeptBy};
use crate::failure::Failure;

/// Of each such domain. To be called on the runtime.
pub fn of_domains(config: &Config, accounts: &Arc<Accounts>) -> c2s::Backends {
    let admitting = |driver: Option<Arc<dyn Backend>>| {
        driver.map(|driver| -> Arc<dyn Backend> {
            Arc::new(Admitting {
                driver,
                accounts: Arc::clone(accounts),
                runtime: Handle::current(),
            })
        })
    };
    // One of each for all domains, as its limits are.
    let command = admitting(command(config));
    let of = |kept: KeptBy| match kept {
        KeptBy::Own => None,
        KeptBy::Command => command.clone(),
    };
    let passwords = config
        .domain
        .iter()
        .filter_map(|domain| Some((domain.name.as_str().into(), of(domain.accounts)?)));
    c2s::Backends {
        passwords: passwords.collect(),
        bearers: Default::default(),
    }
}

/// Whether somebody may log in who is known by something else than a password. Where the accounts are this server's,
/// there has to be one.
pub fn admits(config: &Config, accounts: &Arc<Accounts>) -> impl Fn(&Jid) -> Verdict + Send + Sync + use<> {
    let elsewhere: BTreeSet<String> = config
        .domain
        .iter()
        .filter(|domain| domain.accounts != KeptBy::Own)
        .map(|domain| domain.name.as_str().to_owned())
        .collect();
    let accounts = Arc::clone(accounts);
    move |account| {
        let user = account.local().unwrap_or_default().to_owned();
        if elsewhere.contains(account.domain()) {
            return admitted(&accounts, account, user);
        }
        match accounts.may_log_in(account) {
            Ok(Some(true)) => Verdict::Granted { user },
            Ok(Some(false)) => Verdict::Disabled,
            Ok(None) => Verdict::Refused,
            Err(error) => unreadable(account, &error),
        }
    }
}

fn command(config: &Config) -> Option<Arc<dyn Backend>> {
    let command = &config.command;
    let driver = Command::new(backends::Settings {
        program: command.program.clone()?,
        arguments: command.arguments.iter().map(Into::into).collect(),
        limit: Duration::from_secs(command.seconds),
        at_once: command.at_once,
    });
    Some(Arc::new(driver))
}

/// A driver that lets nobody in without an account here, or with one that is disabled.
struct Admitting {
    driver: Arc<dyn Backend>,
    accounts: Arc<Accounts>,
    runtime: Handle,
}

impl Backend for Admitting {
    fn ask(&self, question: Question, answered: Answered) {
        let Question::Password { account, .. } = &question else {
            // No listener offers them.
            return answered(Verdict::Unavailable);
        };
        let (account, accounts, runtime) = (account.clone(), Arc::clone(&self.accounts), self.runtime.clone());
        self.driver.ask(
            question,
            Box::new(move |verdict| match verdict {
                Verdict::Granted { user } => {
                    // It waits for the disk.
                    runtime.spawn_blocking(move || answered(admitted(&accounts, &account, user)));
                }
                other => answered(other),
            }),
        );
    }
}

fn admitted(accounts: &Accounts, account: &Jid, user: String) -> Verdict {
    match accounts.admit(account) {
        Ok(true) => Verdict::Granted { user },
        Ok(false) => Verdict::Disabled,
        Err(error) => unreadable(account, &error),
    }
}

fn unreadable(account: &Jid, error: &Failure) -> Verdict {
    tracing::error!(%account, %error, "an account could not be read or made for a login");
    Verdict::Unavailable
}
