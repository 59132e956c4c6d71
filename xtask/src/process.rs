//! Running a program under a time limit, its output shown as it comes and kept.
//!
//! A child stays in this process's group, so that Ctrl-C at the terminal reaches all of them at once, and is asked to end
//! when this process ends in another way. At the limit too it is asked first: nextest and the interop scripts then end
//! what they have started, which a kill would leave behind.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Time between being asked to end and being ended.
const GRACE: Duration = Duration::from_secs(15);
/// A program that says nothing for so long gets a line that says it is still running.
const SILENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(200);

/// What a program did: whether it succeeded in time, and all its lines.
pub(crate) struct Outcome {
    pub(crate) success: bool,
    pub(crate) lines: Vec<String>,
}

/// Runs the command to its end, or to the limit. Each of its lines is shown behind `name |`, which keeps another
/// program's closing `N passed, N failed` from standing alone on a line.
pub(crate) fn run(name: &str, command: &Command, limit: Duration) -> Outcome {
    let mut outcome = Outcome {
        success: false,
        lines: Vec::new(),
    };
    let program = command.get_program().to_string_lossy().into_owned();
    let mut command = bound_to_us(command);
    let spawned = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            println!("{name} | {program}: {error}");
            return outcome;
        }
    };
    let (sender, lines) = channel();
    if let Some(out) = child.stdout.take() {
        forward(out, sender.clone());
    }
    if let Some(err) = child.stderr.take() {
        forward(err, sender);
    }
    let status = follow(name, &mut child, &lines, limit, &mut outcome.lines);
    outcome.success = status.is_some_and(|status| status.success());
    outcome
}

/// The same command, asked by the kernel to end when this process has ended. std has no call for it and `unsafe` is out of
/// the question here, but util-linux, which every Debian has, does it and then becomes the command.
fn bound_to_us(command: &Command) -> Command {
    let known = Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "true"])
        .stderr(Stdio::null())
        .status();
    let mut bound = if known.is_ok_and(|status| status.success()) {
        let mut bound = Command::new("setpriv");
        bound.args(["--pdeathsig", "TERM", "--"]).arg(command.get_program());
        bound
    } else {
        Command::new(command.get_program())
    };
    bound.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bound.env(name, value),
            None => bound.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bound.current_dir(folder);
    }
    bound
}

fn forward(stream: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

/// Shows and keeps the lines until the program has ended; None when it had to be ended.
fn follow(
    name: &str,
    child: &mut Child,
    lines: &Receiver<String>,
    limit: Duration,
    kept: &mut Vec<String>,
) -> Option<ExitStatus> {
    let began = Instant::now();
    let mut heard = began;
    let mut asked: Option<Instant> = None;
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                println!("{name} | {line}");
                kept.push(line);
                heard = Instant::now();
                continue;
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Both ends closed: it has ended or is about to.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(TICK),
        }
        // A grandchild may hold the pipes open, so the program's end is asked for and not the pipes'.
        if let Ok(Some(status)) = child.try_wait() {
            while let Ok(line) = lines.recv_timeout(TICK) {
                println!("{name} | {line}");
                kept.push(line);
            }
            return asked.is_none().then_some(status);
        }
        match asked {
            None if began.elapsed() > limit => {
                println!("{name} | not done after {} s: ending it", limit.as_secs());
                // std can only kill; the command asks.
                let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
                asked = Some(Instant::now());
            }
            Some(since) if since.elapsed() > GRACE => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
            _ => {}
        }
        if heard.elapsed() > SILENCE {
            println!("{name} | still running, {} s", began.elapsed().as_secs());
            heard = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, seconds: u64) -> Outcome {
        run(
            "test",
            Command::new("sh").args(["-c", script]),
            Duration::from_secs(seconds),
        )
    }

    #[test]
    fn keeps_lines_of_both_streams_and_the_exit() {
        let good = shell("echo one; echo two >&2", 20);
        assert!(good.success);
        let mut lines = good.lines;
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
        assert!(!shell("exit 3", 20).success);
    }

    #[test]
    fn ends_what_is_not_done_in_time() {
        let began = Instant::now();
        let late = shell("trap 'echo asked; exit 0' TERM; sleep 30 & wait", 1);
        assert!(!late.success, "exit 0 after the limit is no success");
        assert_eq!(late.lines, ["asked"]);
        assert!(began.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_missing_program_is_a_failure() {
        let none = run("test", &Command::new("no-such-program-here"), Duration::from_secs(1));
        assert!(!none.success);
    }
}
