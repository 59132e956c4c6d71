//! The two curves as tables, and the page.

use std::fmt::Write as _;

use super::crowd::CONTACTS;
use super::{BUSY_PAIRS, BUSY_WINDOW, ROSTER_PAIRS, SPREAD_PAIRS, client, pipe};
use crate::report::{machine, number, today};

/// Of fewer sessions the memory is not told: that of the process moves by a megabyte by itself.
const MEMORY_FROM: usize = 1_000;

/// What one size of the curve cost.
#[derive(Debug, Default, Clone)]
pub(super) struct Size {
    pub sessions: usize,
    /// Of the server, kB for each.
    pub memory: f64,
    /// CPU of the server, ms.
    pub login: f64,
    pub logins_per_second: f64,
    /// Pairs, and CPU of the server for a message, µs.
    pub busy: (usize, f64),
    pub spread: (usize, f64),
    /// Broadcasting sessions, and CPU of the server for a delivery, µs.
    pub presence: (usize, f64),
    /// CPU of the server in a second in which nobody does anything, ms.
    pub idle: f64,
}

/// What a contact list of one length cost.
#[derive(Debug, Default, Clone)]
pub(super) struct RosterSize {
    pub contacts: usize,
    /// CPU of the server, ms.
    pub login: f64,
    /// µs
    pub message: f64,
}

/// When all have left.
#[derive(Debug, Default, Clone)]
pub(super) struct Left {
    pub sessions: usize,
    /// CPU of the server for a logout, ms.
    pub logout: f64,
    /// More than before the first session, MB.
    pub kept: f64,
    /// Before the first session, MB.
    pub base: f64,
    /// After the last has left.
    pub seconds: f64,
}

#[derive(Debug, Default, Clone)]
pub(super) struct Results {
    pub sizes: Vec<Size>,
    pub left: Left,
    pub rosters: Vec<RosterSize>,
    /// What the store refused.
    pub refused: u64,
}

impl Results {
    pub(super) fn tables(&self) -> String {
        let mut text = String::from(
            "| sessions | memory each | login | message, busy | message, spread | presence, a delivery | idle, a second \
             |\n| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for size in &self.sizes {
            // Writing into a String cannot fail, here and below.
            let _ = writeln!(
                text,
                "| {} | {} | {} ms | {} µs ({}) | {} µs ({}) | {} µs ({}) | {} ms |",
                count(size.sessions),
                kilobytes(size),
                number(size.login),
                number(size.busy.1),
                size.busy.0,
                number(size.spread.1),
                size.spread.0,
                number(size.presence.1),
                size.presence.0,
                number(size.idle),
            );
        }
        let left = &self.left;
        let _ = writeln!(
            text,
            "\nAll {} sessions left: {} ms CPU each; {:.0} s after the last, {} MB more than the {} MB before the first.\n",
            count(left.sessions),
            number(left.logout),
            left.seconds,
            number(left.kept),
            number(left.base)
        );
        text.push_str("| contacts | login | message, busy |\n| ---: | ---: | ---: |\n");
        for roster in &self.rosters {
            let _ = writeln!(
                text,
                "| {} | {} ms | {} µs |",
                count(roster.contacts),
                number(roster.login),
                number(roster.message)
            );
        }
        if self.refused > 0 {
            let _ = writeln!(
                text,
                "\nDOUBTFUL: the store refused {} batches or queries.",
                self.refused
            );
        }
        text
    }

    pub(super) fn page(&self, command: &str) -> String {
        let accounts = self.left.sessions;
        let own = pipe::BYTES + client::PARKED_BYTES;
        format!(
            "# Performance: scale\n\nMade by `{command}` on {}; do not edit by hand.\n\nMachine: {}.\n\n\
             Memory of a session and CPU of the server for one unit of work, as sessions become more and as contact \
             lists become longer.\n\n{}\n\
             ## How\n\n\
             - No machine gives a process so many sockets. So the server's own connection code, from TLS to the router \
             and the database (SQLite, on disk), runs over pipes in memory, in one process with the clients. What the \
             kernel and tokio need for a socket is not in these figures; `performance.md` has figures over sockets, \
             and only those are comparable with other servers.\n\
             - The database holds {} accounts with {CONTACTS} mutual contacts each from the beginning. Every session \
             logs in by STARTTLS and SCRAM, binds, asks for its roster, becomes available, and is told the presence \
             of its contacts. Sessions of one line stay for the next.\n\
             - Memory is the proportional set of the process (`smaps_rollup`) minus what it was before the first \
             session, minus {own} bytes a session that are the generator's: {} for the pipe, {} for the keys of the \
             client, whose TLS state is dropped after the login. It is read after ten calm seconds. The process moves by a \
             megabyte by itself, so it says nothing below {} sessions.\n\
             - CPU is that of the server's threads: two runtimes of tokio, one for connections and one for clients, and \
             the threads of the store (`/proc/self/task/*/schedstat`).\n\
             - Busy: up to {BUSY_PAIRS} pairs of random sessions, {BUSY_WINDOW} messages on the way each. Spread: up to \
             {SPREAD_PAIRS} pairs, one message each, so that what is needed for it is rarely in a cache. Presence: \
             sessions broadcast to themselves and their contacts. In brackets: how many do so at once, which at small \
             sizes is few; with fewer, threads sleep and wake more often.\n\
             - Contact lists: {ROSTER_PAIRS} busy pairs; of the sender's contacts, all with mutual subscriptions, the \
             reader alone is online. The login sends the whole list, so it grows with it.\n",
            today(),
            machine(),
            self.tables(),
            count(accounts),
            pipe::BYTES,
            client::PARKED_BYTES,
            count(MEMORY_FROM),
        )
    }
}

fn kilobytes(size: &Size) -> String {
    match size.sessions < MEMORY_FROM {
        true => "–".to_owned(),
        false => format!("{} kB", number(size.memory)),
    }
}

/// A number of things, whole.
fn count(things: usize) -> String {
    match things < 1000 {
        true => things.to_string(),
        false => number(things as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_a_line_for_each_size() {
        let size = |sessions| Size {
            sessions,
            memory: 5.25,
            ..Size::default()
        };
        let results = Results {
            sizes: vec![size(10), size(1_000_000)],
            rosters: vec![RosterSize {
                contacts: 5_000,
                login: 1.5,
                message: 0.75,
            }],
            ..Results::default()
        };
        let text = results.tables();
        let check = |needle: &str| assert!(text.contains(needle), "{needle} in {text}");
        check("| 10 | – |");
        check("| 1,000,000 | 5.25 kB |");
        check("| 5,000 | 1.50 ms | 0.75 µs |");
    }
}
