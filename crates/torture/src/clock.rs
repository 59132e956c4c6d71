//! The server's wall clock, which jumps. All other clocks are left alone, as by an administrator or by NTP.
//!
//! By a small library in C that is loaded before libc (`clock.c`); it is compiled by the compiler that SQLite needed.
//! (Not libfaketime: it breaks sleeps until a moment of the monotonic clock, which is not to be touched, and leaves
//! shared memory behind a process that is killed. A time namespace covers every clock but this one.)

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SOURCE: &str = include_str!("clock.c");
const FILE: &str = "JACKDAW_TORTURE_CLOCK";
/// So far from the truth, to see whether it works.
const TRIED: i64 = 48 * 3_600;
/// What may go by between two looks at a clock, in seconds.
const MOMENT: i64 = 60;

pub(crate) struct Clock {
    library: PathBuf,
    /// By how much it is wrong.
    file: PathBuf,
}

impl Clock {
    /// An error: why clocks cannot jump here.
    pub(crate) fn prepare(folder: &Path) -> Result<Clock, String> {
        let clock = Clock {
            library: folder.join("clock.so"),
            file: folder.join("clock"),
        };
        let source = folder.join("clock.c");
        fs::write(&source, SOURCE).map_err(|error| format!("{}: {error}", source.display()))?;
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let output = Command::new(&compiler)
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&clock.library, &source])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{compiler}: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "{compiler}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ));
        }
        clock.set(TRIED)?;
        let mut date = Command::new("date");
        clock.lie_to(&mut date);
        let moved = seconds(&mut date)? - seconds(&mut Command::new("date"))?;
        clock.set(0)?;
        match (moved - TRIED).abs() < MOMENT {
            true => Ok(clock),
            false => Err(format!("the clock was moved by {moved} s instead of {TRIED} s")),
        }
    }

    /// By so many seconds from now on, for what runs and for what is started.
    pub(crate) fn set(&self, wrong: i64) -> Result<(), String> {
        // In place, as it is mapped; so few bytes are written at once.
        let file = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&self.file);
        file.and_then(|file| file.write_all_at(&wrong.to_ne_bytes(), 0))
            .map_err(|error| format!("{}: {error}", self.file.display()))
    }

    /// What the command starts has this clock.
    pub(crate) fn lie_to(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env(FILE, &self.file);
    }
}

fn seconds(date: &mut Command) -> Result<i64, String> {
    let output = date.arg("+%s").stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("date: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| format!("date said {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_command_is_moved() {
        let folder = tempfile::TempDir::new().expect("a folder for the test");
        let clock = Clock::prepare(folder.path()).expect("there is a C compiler");
        for wrong in [-48 * 3_600, 300, 0] {
            clock.set(wrong).expect("it can be written");
            let mut date = Command::new("date");
            clock.lie_to(&mut date);
            let moved = seconds(&mut date).expect("it tells") - seconds(&mut Command::new("date")).expect("it tells");
            assert!((moved - wrong).abs() < MOMENT, "{moved} instead of {wrong}");
        }
    }
}
