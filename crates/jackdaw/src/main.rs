//! Jackdaw, an XMPP server: what can be typed, and what is called for it.
//!
//! - `cli.rs`, `config/`, `failure.rs`, `log.rs`: command line, configuration, exit codes, log.
//! - `account_command.rs`, `invite_command.rs`, `accounts.rs`, `admin/`: the account commands, invitations, and the socket to a running server.
//! - `reports_command.rs`: what accounts report of others. `why_command.rs`: why another domain cannot be reached.
//! - `certificate.rs`, `first_run.rs`, `password.rs`: what a server without configuration makes for itself.
//! - `backends.rs`: who knows the passwords of domains where that is not this server.
//! - `dns.rs`: the records by which clients and other servers find it.
//! - `doctor_command/`: whether others find this server, and what is wrong with it.
//! - `metrics.rs`: figures for who watches the server.
//! - `serve.rs`: the server. `xeps_page.rs`: what it implements, for `docs/xeps.md`.

// Nothing of a binary can be reached from outside; `pub` marks what a module offers to the others.
#![allow(unreachable_pub)]

mod account_command;
mod accounts;
mod admin;
#[cfg(not(target_env = "msvc"))]
mod allocator;
mod backends;
mod certificate;
mod cli;
mod config;
mod config_command;
mod database;
mod dns;
mod doctor_command;
mod failure;
mod first_run;
mod invite_command;
mod log;
mod metrics;
mod password;
mod private_file;
mod reports_command;
mod retention;
mod serve;
mod service_manager;
mod uploads;
mod why_command;
mod xeps_page;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, ConfigCommand, DocsCommand};
use failure::Failure;

fn main() -> ExitCode {
    log::tell_panics();
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Not `eprintln`, which panics where nobody can be told.
            let _ = writeln!(std::io::stderr(), "jackdaw: {failure}");
            failure.exit_code()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let overrides = cli.overrides();
    match cli.command {
        None | Some(Command::Serve(_)) => {
            let loaded = config::load(&overrides)?;
            log::start(&loaded.config.log);
            serve::run(loaded, &overrides)
        }
        Some(Command::Account(command)) => account_command::run(command, &config::load(&overrides)?),
        Some(Command::Invite { args, command }) => invite_command::run(&args, command, &config::load(&overrides)?),
        Some(Command::Why { of, now }) => why_command::run(&of, now, &config::load(&overrides)?),
        Some(Command::Reports(command)) => reports_command::run(command, &config::load(&overrides)?),
        Some(Command::Dns { host, tlsa }) => dns::run(&config::load(&overrides)?.config, host.as_deref(), tlsa),
        Some(Command::Doctor { of, json }) => {
            let format = if json {
                doctor_command::Format::Json
            } else {
                doctor_command::Format::Text
            };
            doctor_command::run(of.as_deref(), format, &config::load(&overrides)?)
        }
        Some(Command::Docs(DocsCommand::Xeps)) => {
            print!("{}", serve::xeps_page()?);
            Ok(())
        }
        Some(Command::Config(ConfigCommand::Example)) => config_command::example(),
        Some(Command::Config(ConfigCommand::Check)) => config_command::check(&config::load(&overrides)?),
    }
}
