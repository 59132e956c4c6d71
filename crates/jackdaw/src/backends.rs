//! Who knows the passwords of the domains where that is not this server: the drivers of `backends` with what is
//! configured, and the account here that belongs to whoever they know.

use std::sync::Arc;
use std::time::Duration;

use ::accounts::backend::{Answered, Backend, Question};
use auth::Verdict;
use backends::Command;
use stanza::Jid;
use tokio::runtime::Handle;

use crate::accounts::Accounts;
use crate::config::{Config, KeptBy};

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
    config
        .domain
        .iter()
        .filter_map(|domain| Some((domain.name.as_str().into(), of(domain.accounts)?)))
        .collect()
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
        Err(error) => {
            tracing::error!(%account, %error, "an account could not be read or made for a login");
            Verdict::Unavailable
        }
    }
}
