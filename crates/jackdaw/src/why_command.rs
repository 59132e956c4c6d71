//! `jackdaw why DOMAIN`: what the running server knows of another domain.

use crate::account_command::{say, unexpected};
use crate::admin::{Backend, Client, Command, Reply};
use crate::config::{DomainName, Loaded};
use crate::failure::Failure;

pub fn run(domain: &str, now: bool, loaded: &Loaded) -> Result<(), Failure> {
    let domain = DomainName::parse(domain).map_err(Failure::usage)?;
    let config = &loaded.config;
    if config.serves(domain.as_str()) {
        return Err(Failure::usage(format!("{domain} is a domain of this server itself")));
    }
    // What is known is known in memory alone.
    let Some(client) = Client::connect(&config.admin_socket())? else {
        return Err(Failure::unavailable(format!(
            "no server runs on {}, so nothing is known of others",
            config.data.display()
        )));
    };
    let domain = domain.as_str().to_owned();
    match client.handle(Command::Why { domain, now })? {
        Reply::Lines(lines) => lines.iter().try_for_each(|line| say(line)),
        _ => Err(unexpected()),
    }
}
