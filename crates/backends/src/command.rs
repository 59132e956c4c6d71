//! An external program that knows the passwords.
//!
//! It reads questions from its standard input and answers on its standard output, a line of JSON each, one after the
//! other: `{"user":"juliet","domain":"example.org","password":"secret"}`, and `{"result":"ok"}`, `"refused"`,
//! `"disabled"` or `"expired"`. It may end after any answer; else it is kept and asked again. One that answers anything
//! else, crashes or takes too long is ended, so that no late answer is ever taken for that to another question.
//!
//! The password is never an argument, which everybody on the machine could read. What the program writes to its standard
//! error output is thrown away: a program that stumbles likes to show what it was given.

use std::ffi::OsString;
use std::future::poll_fn;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use accounts::backend::{Answered, Backend, Question};
use auth::Verdict;
use stanza::Jid;
use tokio::io::{AsyncBufRead as _, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Semaphore;

use crate::json::{self, Said};

/// The longest answer in bytes, its line end included.
const ANSWER_BYTES: u64 = 4096;

/// Which program, and how it is asked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// From the question to the answer, the wait for a free process included.
    pub limit: Duration,
    /// Processes at once. Further questions wait.
    pub at_once: usize,
}

/// The driver.
pub struct Command {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    permits: Semaphore,
    /// Processes that have answered and wait for another question: `at_once` at most.
    idle: Mutex<Vec<Process>>,
}

/// Killed when it is dropped.
struct Process {
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Command {
    /// Starts nothing yet.
    pub fn new(settings: Settings) -> Command {
        Command {
            shared: Arc::new(Shared {
                permits: Semaphore::new(settings.at_once),
                settings,
                idle: Mutex::default(),
            }),
        }
    }
}

impl Backend for Command {
    fn ask(&self, question: Question, answered: Answered) {
        let Question::Password { account, password } = question else {
            return answered(Verdict::Unavailable);
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let asked = tokio::time::timeout(shared.settings.limit, shared.ask(&account, &password)).await;
            let asked = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            answered(match asked {
                Ok(said) => said.verdict(&account),
                Err(error) => {
                    let program = shared.settings.program.display();
                    tracing::error!(%program, %account, %error, "the program that knows the passwords gives no answer");
                    Verdict::Unavailable
                }
            });
        });
    }
}

impl Shared {
    async fn ask(&self, account: &Jid, password: &str) -> io::Result<Said> {
        let mut line = json::question(account, password)?;
        line.push(b'\n');

        let closed = |_| io::Error::other("the server stops");
        let _permit = self.permits.acquire().await.map_err(closed)?;
        // One that waited may have ended since its last answer: then another one is asked.
        while let Some(mut process) = self.take_idle() {
            if !process.waits().await {
                continue;
            }
            if let Some(said) = self.ask_process(process, &line).await? {
                return Ok(said);
            }
        }
        let process = Process::start(&self.settings)?;
        let said = self.ask_process(process, &line).await?;
        said.ok_or_else(|| io::Error::other("it has ended without an answer"))
    }

    /// `None`: it has ended without an answer. It is kept only after a whole one.
    async fn ask_process(&self, mut process: Process, line: &[u8]) -> io::Result<Option<Said>> {
        let Some(said) = process.ask(line).await? else {
            return Ok(None);
        };
        self.idle().push(process);
        Ok(Some(said))
    }

    fn take_idle(&self) -> Option<Process> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Process>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    fn start(settings: &Settings) -> io::Result<Process> {
        let mut child = tokio::process::Command::new(&settings.program)
            .args(&settings.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || io::Error::other("it has no standard input or output");
        Ok(Process {
            input: child.stdin.take().ok_or_else(missing)?,
            output: BufReader::new(child.stdout.take().ok_or_else(missing)?),
            _child: child,
        })
    }

    /// It has not ended, and said nothing unasked: that would be taken for the answer to the next question.
    async fn waits(&mut self) -> bool {
        let output = &mut self.output;
        poll_fn(|cx| Poll::Ready(Pin::new(&mut *output).poll_fill_buf(cx).is_pending())).await
    }

    async fn ask(&mut self, line: &[u8]) -> io::Result<Option<Said>> {
        match self.input.write_all(line).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
            written => written?,
        }
        let mut answer = Vec::new();
        let read = (&mut self.output)
            .take(ANSWER_BYTES)
            .read_until(b'\n', &mut answer)
            .await?;
        if read == 0 {
            return Ok(None);
        }
        if answer.last() != Some(&b'\n') || !self.output.buffer().is_empty() {
            return Err(json::wrong());
        }
        json::answer(&answer).map(Some)
    }
}
