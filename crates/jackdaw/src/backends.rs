//! Who knows the passwords of the domains where that is not this server: the drivers of `backends` with what is
//! configured, and the account here that belongs to whoever they know.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ::accounts::backend::{Answered, Backend, Question};
use auth::Verdict;
use backends::ldap::{self, Directory};
use backends::{Command, Http, Introspection, Rules, Service, SignedTokens};
use stanza::Jid;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::accounts::Accounts;
use crate::config::{Config, Domain, KeptBy, ServiceUrl};
use crate::failure::{Failure, Why};

/// Of each such domain. To be called on the runtime.
pub fn of_domains(config: &Config, accounts: &Arc<Accounts>) -> Result<c2s::Backends, Failure> {
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
    let ldap = admitting(directory(config)?);
    let http = admitting(http(config)?);
    let of = |kept: KeptBy| match kept {
        KeptBy::Own => None,
        KeptBy::Command => command.clone(),
        KeptBy::Ldap => ldap.clone(),
        KeptBy::Http => http.clone(),
    };
    let passwords = config
        .domain
        .iter()
        .filter_map(|domain| Some((domain.name.as_str().into(), of(domain.accounts)?)));
    let mut bearers = HashMap::new();
    for domain in &config.domain {
        if let Some(driver) = bearer(domain)? {
            bearers.insert(domain.name.as_str().into(), driver);
        }
    }
    Ok(c2s::Backends {
        passwords: passwords.collect(),
        bearers,
    })
}

/// Reads the files that are named for them, as [`of_domains`] does.
pub fn readable(config: &Config) -> Result<(), Failure> {
    directory(config)?;
    http(config)?;
    config.domain.iter().try_for_each(|domain| bearer(domain).map(drop))
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

/// None: no domain is known by it.
fn directory(config: &Config) -> Result<Option<Arc<dyn Backend>>, Failure> {
    let ldap = &config.ldap;
    let is_used = config.domain.iter().any(|domain| domain.accounts == KeptBy::Ldap);
    // `load` sees to it that both are there where it is used.
    let (true, Some(url), Some(base)) = (is_used, &ldap.url, &ldap.base) else {
        return Ok(None);
    };
    let bind = ldap.bind_dn.clone().zip(ldap.password_file.clone());
    let driver = Directory::new(ldap::Settings {
        address: url.address.clone(),
        start_tls: ldap.start_tls,
        ca: ldap.ca.clone(),
        bind: bind.map(|(name, password_file)| ldap::Bind { name, password_file }),
        base: base.clone(),
        filter: ldap.filter.0.clone(),
        group: ldap.group.clone().map(|name| ldap::Group {
            name,
            filter: ldap.group_filter.0.clone(),
        }),
        limit: Duration::from_secs(ldap.seconds),
        at_once: ldap.at_once,
    });
    Ok(Some(Arc::new(driver.map_err(unusable)?)))
}

/// None: no domain is known by it.
fn http(config: &Config) -> Result<Option<Arc<dyn Backend>>, Failure> {
    let http = &config.http_accounts;
    let is_used = config.domain.iter().any(|domain| domain.accounts == KeptBy::Http);
    let (true, Some(url)) = (is_used, &http.url) else {
        return Ok(None);
    };
    let service = Service {
        url: url.url.clone(),
        ca: http.ca.clone(),
        limit: Duration::from_secs(http.seconds),
        at_once: http.at_once,
    };
    let header = http.authorization_file.as_deref().map(first_line).transpose()?;
    let driver = Http::new(service, header.as_ref().map(|header| header.as_str()));
    Ok(Some(Arc::new(driver.map_err(unusable)?)))
}

/// Who judges the bearer tokens of a domain; None: it takes none.
fn bearer(domain: &Domain) -> Result<Option<Arc<dyn Backend>>, Failure> {
    let bearer = &domain.bearer;
    let rules = Rules {
        domain: domain.name.as_str().to_owned(),
        issuer: bearer.issuer.clone(),
        audience: bearer.audience.clone(),
        scope: bearer.scope.clone(),
        claim: bearer.claim().to_owned(),
    };
    let service = |url: &ServiceUrl| Service {
        url: url.url.clone(),
        ca: bearer.ca.clone(),
        limit: Duration::from_secs(bearer.seconds),
        at_once: bearer.at_once,
    };
    if let Some(jwks) = &bearer.jwks {
        let driver = SignedTokens::new(service(jwks), rules).map_err(unusable)?;
        return Ok(Some(Arc::new(driver)));
    }
    let Some(introspection) = &bearer.introspection else {
        return Ok(None);
    };
    // `load` sees to it that both are there.
    let secret = backends::Secret {
        client_id: bearer.client_id.clone().unwrap_or_default(),
        client_secret: first_line(bearer.client_secret_file.as_deref().unwrap_or(Path::new("")))?,
    };
    let driver = Introspection::new(service(introspection), &secret, rules).map_err(unusable)?;
    Ok(Some(Arc::new(driver)))
}

/// A secret that stands in a file of its own.
fn first_line(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let wrong = |why: &dyn fmt::Display| {
        let message = format!("the secret in {} cannot be used: {why}", file.display());
        Failure::new(Why::Configuration, message)
    };
    let text = Zeroizing::new(std::fs::read_to_string(file).map_err(|error| wrong(&error))?);
    match text.lines().next().map(str::trim) {
        None | Some("") => Err(wrong(&"its first line is empty")),
        Some(secret) => Ok(Zeroizing::new(secret.to_owned())),
    }
}

fn unusable(error: std::io::Error) -> Failure {
    Failure::new(Why::Configuration, error.to_string())
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

    /// An account that has a token is there already; whether it is disabled is seen with the tokens.
    fn recognise(&self, account: Jid, answered: Answered) {
        self.driver.recognise(account, answered);
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
