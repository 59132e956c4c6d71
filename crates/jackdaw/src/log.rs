//! The log: one event a line on the standard error output, as text or JSON.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Sets the log up for the whole process. To be called once; a second call changes nothing.
pub fn start(log: &Log) {
    // The level was read once already when the configuration was; a filter that cannot be read
    // twice would be a bug, and "info" is the safe answer to it.
    let filter = EnvFilter::builder()
        .parse(log.level.as_str())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are for people: not into a file or the journal.
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // `try_init` fails only where there is a log already.
    let _ = match log.format {
        LogFormat::Text => builder.with_target(false).try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
    };
}
