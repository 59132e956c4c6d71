//! The command line: what can be typed, and nothing of what it does.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use crate::config::{LogFormat, Overrides};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 configuration; 4 database or server not \
                          available.\nErrors are one line on the standard error output.";

/// An XMPP server that never loses a message it acknowledged.
#[derive(Debug, Parser)]
#[command(name = "jackdaw", version, after_help = EXIT_CODES, subcommand_precedence_over_arg = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,

    #[command(flatten)]
    pub server: ServerFlags,

    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Understood by every command.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// Configuration file [default: ./jackdaw.toml or DIR/jackdaw.toml, if there is one]
    #[arg(long, value_name = "FILE", env = "JACKDAW_CONFIG", global = true, value_parser = path(), hide_env_values = true)]
    pub config: Option<PathBuf>,

    /// Folder of the database and everything else [default: data]
    #[arg(long, value_name = "DIR", env = "JACKDAW_DATA", global = true, value_parser = path(), hide_env_values = true)]
    pub data: Option<PathBuf>,
}

/// Understood by `serve`, with or without the word.
#[derive(Debug, Clone, Default, Args)]
pub struct ServerFlags {
    /// Domain to serve; may be repeated [default: those of the file, or localhost]
    #[arg(long, value_name = "NAME", env = "JACKDAW_DOMAIN", value_delimiter = ',', num_args = 1.., hide_env_values = true)]
    pub domain: Vec<String>,

    /// Where to listen, instead of the file's: c2s=127.0.0.1:5222 or c2s-direct=[::]:5223; may be repeated
    #[arg(long, value_name = "KIND=ADDRESS", env = "JACKDAW_LISTEN", value_delimiter = ',', num_args = 1.., hide_env_values = true)]
    pub listen: Vec<String>,

    /// What to log: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "JACKDAW_LOG", hide_env_values = true)]
    pub log: Option<String>,

    /// How log lines look
    #[arg(long, value_name = "FORMAT", env = "JACKDAW_LOG_FORMAT", hide_env_values = true)]
    pub log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server (also without this word)
    Serve(ServerFlags),
    /// Accounts, while the server runs or is stopped
    #[command(subcommand)]
    Account(AccountCommand),
    /// Make an invitation and print its link: for an account here, and to become somebody's contact
    #[command(args_conflicts_with_subcommands = true)]
    Invite {
        #[command(flatten)]
        args: InviteArgs,
        #[command(subcommand)]
        command: Option<InviteCommand>,
    },
    /// What accounts have reported of those they block, while the server runs or is stopped
    #[command(subcommand)]
    Reports(ReportsCommand),
    /// Tell what is known of another domain: what was tried to reach it, or came from there, and what waits for it
    Why {
        /// The other domain
        #[arg(value_name = "DOMAIN")]
        of: String,
        /// Try to reach it at once, and tell what came of it
        #[arg(long)]
        now: bool,
    },
    /// The configuration file
    #[command(subcommand)]
    Config(ConfigCommand),

    /// Print the DNS records by which clients and other servers find this one, for each domain
    Dns {
        /// The name of this machine, if it is not that of the domain
        #[arg(long, value_name = "NAME")]
        host: Option<String>,
        /// Also those by which other servers know its keys (DANE), for zones that are signed
        #[arg(long)]
        tlsa: bool,
    },

    /// Look at the set-up as others see it, and say what is wrong and what to do; exits with 1 where anything is wrong
    Doctor {
        /// One domain of this server, or that of another server, to see it as this one would [default: all of this server]
        #[arg(value_name = "DOMAIN")]
        of: Option<String>,
        /// Print an array of objects
        #[arg(long)]
        json: bool,
    },

    /// Pages of the documentation that are made from the code
    #[command(subcommand, hide = true)]
    Docs(DocsCommand),
}

#[derive(Debug, Subcommand)]
pub enum ReportsCommand {
    /// Print the reports, one a line: id, TAB, time, TAB, of whom, TAB, by whom, TAB, reason, TAB, state
    List {
        /// Also those that are closed
        #[arg(long)]
        all: bool,
    },
    /// Print a report with everything that it says
    Show {
        /// As the list has it
        id: String,
    },
    /// Note that a report needs no more attention
    Close {
        /// As the list has it
        id: String,
    },
    /// Remove the reports that are closed
    Clear,
}

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Add an account; prints a generated password unless one is given
    Add {
        /// user@domain
        jid: String,
        /// Read the password from the first line of the standard input
        #[arg(long)]
        password_stdin: bool,
        /// The account may administer the server
        #[arg(long)]
        admin: bool,
    },
    /// Add accounts from a file with lines of JID, TAB, password; those that exist are left as they are
    Import {
        /// The file, or - for the standard input
        file: PathBuf,
    },
    /// Print the accounts, one a line: JID, TAB, day of creation, TAB, state
    List {
        /// Only those of this domain
        #[arg(long = "domain", value_name = "NAME")]
        of: Option<String>,
    },
    /// Remove an account with everything it has
    Remove { jid: String },
    /// Change a password, which ends the sessions of the account; prints a generated one unless one is given
    Password {
        jid: String,
        /// Read the password from the first line of the standard input
        #[arg(long)]
        password_stdin: bool,
    },
    /// Refuse logins to an account and end its sessions; keeps everything it has
    Disable { jid: String },
    /// Allow logins again
    Enable { jid: String },
    /// Say whether an account may administer the server
    Admin {
        jid: String,
        #[arg(value_name = "yes|no", action = clap::ArgAction::Set, value_parser = yes_or_no)]
        admin: bool,
    },
    /// Print the clients of an account, one a line: id, kind, name, whether it is connected, first seen, last use, token
    Devices { jid: String },
    /// End the access of a client: its token and its sessions
    Revoke {
        jid: String,
        /// As `devices` prints it
        client_id: String,
        /// Also where the client has had the password, with which it can log in again
        #[arg(long)]
        keep_password: bool,
    },
}

#[derive(Debug, Args)]
pub struct InviteArgs {
    /// The new account may administer the server
    #[arg(long)]
    pub admin: bool,
    /// An account that the new one has as a contact, and the other way round; who has an account elsewhere becomes its
    /// contact with the same link
    #[arg(long, value_name = "JID")]
    pub contact: Option<String>,
    /// The name that the new account has to have, the part before the @; kept free for it
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The domain of the new account, where there are several [default: that of the contact]
    #[arg(long = "domain", value_name = "NAME")]
    pub at: Option<String>,
    /// For how long it holds: 90m, 12h, 7d [default: 7d]
    #[arg(long, value_name = "TIME")]
    pub expires: Option<String>,
    /// How many may use it
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub uses: u32,
}

#[derive(Debug, Subcommand)]
pub enum InviteCommand {
    /// Print the invitations that hold, one a line: id, what for, who has invited, until when, how often used
    List,
    /// Make an invitation worthless
    Revoke {
        /// As `list` prints it
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print a configuration file with every option, its default and what it means
    Example,
    /// Read the configuration and say what is wrong with it
    Check,
}

fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("it is yes or no"),
    }
}

/// A path that may be empty, as a variable that was left empty says nothing.
fn path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl Cli {
    /// What flags and environment say about the configuration. Flags behind `serve` beat those in
    /// front of it.
    pub fn overrides(&self) -> Overrides {
        let before = self.server.clone();
        let behind = match &self.command {
            Some(Command::Serve(flags)) => flags.clone(),
            _ => ServerFlags::default(),
        };
        Overrides {
            config: self.common.config.clone().filter(|path| !path.as_os_str().is_empty()),
            data: self.common.data.clone().filter(|path| !path.as_os_str().is_empty()),
            domains: if behind.domain.is_empty() {
                before.domain
            } else {
                behind.domain
            },
            listen: if behind.listen.is_empty() {
                before.listen
            } else {
                behind.listen
            },
            log_level: behind.log.or(before.log).filter(|level| !level.is_empty()),
            log_format: behind.log_format.or(before.log_format),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum DocsCommand {
    /// docs/xeps.md
    Xeps,
}
