//! The command's side of the admin socket. Blocking: a command has nothing else to do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Backend, Command, Reply, wire};
use crate::failure::Failure;

/// How long a server may take for one command before the command gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a running server.
pub struct Client {
    stream: Mutex<BufReader<UnixStream>>,
}

impl Client {
    /// `None`: no server runs on this data folder.
    pub fn connect(path: &Path) -> Result<Option<Self>, Failure> {
        let stream = match UnixStream::connect(path) {
            Ok(stream) => stream,
            // No socket, or one that a killed server left.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                return Ok(None);
            }
            Err(error) => {
                let path = path.display();
                let text =
                    format!("cannot reach the running server by {path}: {error}; run this as the user of the server");
                return Err(Failure::unavailable(text));
            }
        };
        let limited = stream
            .set_read_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        limited.map_err(|error| lost(&error))?;
        Ok(Some(Self {
            stream: Mutex::new(BufReader::new(stream)),
        }))
    }
}

impl Backend for Client {
    fn handle(&self, command: Command) -> Result<Reply, Failure> {
        let mut stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let text = wire::write_command(&command);
        stream
            .get_mut()
            .write_all(text.as_bytes())
            .map_err(|error| lost(&error))?;
        let lines = read(&mut *stream).map_err(|error| lost(&error))?;
        wire::read_reply(&lines).unwrap_or_else(|| Err(lost(&"it answered something else; it is of another version")))
    }
}

fn lost(error: &dyn std::fmt::Display) -> Failure {
    Failure::unavailable(format!("lost the running server: {error}; see its log"))
}

fn read(stream: &mut impl BufRead) -> io::Result<wire::Lines> {
    let first = read_line(stream)?;
    let count = wire::further(&first).ok_or(io::ErrorKind::InvalidData)?;
    let further = (0..count).map(|_| read_line(stream)).collect::<io::Result<_>>()?;
    Ok(wire::lines(&first, further))
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.take(wire::LINE_BYTES as u64).read_line(&mut line)?;
    match line.pop() {
        Some('\n') => Ok(line),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
