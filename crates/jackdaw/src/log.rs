//! The log: one event a line on the standard error output, as text or JSON.
//!
//! It may go into a file on a disk that is full, or to a program that has ended. What cannot be written is lost then, and
//! nothing else: a log is no reason to end.

use std::io::{IsTerminal, Write};

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
        .with_writer(std::io::stderr)
        // That would be told by `eprintln`, which panics where there is no way to tell.
        .log_internal_errors(false);
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

/// Prints for people what is not needed for anything, so it may fail.
pub fn say(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// A panic is a defect, and in a release the end of the process: one line says so, where, and what to do.
pub fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("without a name").to_owned();
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        let mut err = std::io::stderr();
        // It fails where nobody can be told.
        let _ = writeln!(
            err,
            "jackdaw: the thread {name} panicked at {place}: {message}; this is a defect of Jackdaw: please report \
             this line and what was going on, and start again; all that was acknowledged is on the disk"
        );
        let trace = std::backtrace::Backtrace::capture();
        if trace.status() == std::backtrace::BacktraceStatus::Captured {
            let _ = writeln!(err, "{trace}");
        }
    }));
}
