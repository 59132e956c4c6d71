//! How a command fails: an exit code and one line that says what to do.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;

/// Why, for scripts. Code 2 (usage) is clap's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// 1: the command was understood and could not be done (no such account, …).
    Failed,
    /// 2: what was typed makes no sense.
    Usage,
    /// 3: the configuration cannot be used.
    Configuration,
    /// 4: the database, the running server, an address or a file is not available.
    Unavailable,
}

impl Why {
    pub fn code(self) -> u8 {
        match self {
            Why::Failed => 1,
            Why::Usage => 2,
            Why::Configuration => 3,
            Why::Unavailable => 4,
        }
    }
}

/// Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub why: Why,
    pub message: String,
}

impl Failure {
    pub fn new(why: Why, message: impl Into<String>) -> Self {
        Self {
            why,
            message: message.into(),
        }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Why::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Why::Usage, message)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Why::Unavailable, message)
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.why.code())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Why::Configuration, error.0)
    }
}
