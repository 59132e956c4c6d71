//! The server's side of the admin socket.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Backend, wire};
use crate::failure::Failure;
use crate::private_file;

/// How long the other side may take for a line or to take a reply. An import derives a whole page of passwords
/// between two commands: seconds, on a slow machine a minute.
const PATIENCE: Duration = Duration::from_secs(300);

/// Connections at the same time; further ones wait.
const CONNECTIONS: usize = 8;

/// After an error of `accept` (no file descriptor left) a pause, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Binds the socket at `path` with mode 0600, over one that a killed server left. To be called while the database is
/// locked: the lock is what says that no other server uses the socket.
///
/// It is bound in a folder of mode 0700 and moved to its place, as `bind` makes sockets by the umask, which belongs to
/// the whole process: between `bind` and `chmod` somebody else could connect.
pub fn bind(path: &Path) -> Result<UnixListener, Failure> {
    let listener = try_bind(path);
    listener.map_err(|error| Failure::unavailable(format!("cannot make the socket {}: {error}", path.display())))
}

fn try_bind(path: &Path) -> io::Result<UnixListener> {
    let folder = path.with_file_name(format!(".admin-{}", std::process::id()));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    private_file::folder(&folder)?;
    let inside = folder.join("s");
    let bound = UnixListener::bind(&inside).and_then(|listener| {
        fs::set_permissions(&inside, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        fs::rename(&inside, path)?;
        Ok(listener)
    });
    // What is left behind when it fails is an empty folder of ours.
    let _ = fs::remove_dir_all(&folder);
    bound
}

/// Answers whoever comes, for ever: to be dropped or aborted at the end. Must run on a tokio runtime.
pub async fn serve(listener: UnixListener, backend: Arc<dyn Backend>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let backend = Arc::clone(&backend);
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, backend).await {
                        tracing::debug!(%error, "admin socket");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "admin socket: cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One connection, to its end.
async fn converse(stream: UnixStream, backend: Arc<dyn Backend>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let Some(lines) = timeout(PATIENCE, read(&mut stream)).await?? else {
            return Ok(());
        };
        let reply = match wire::read_command(&lines) {
            Some(command) => {
                let backend = Arc::clone(&backend);
                let handled = tokio::task::spawn_blocking(move || backend.handle(command)).await;
                handled.unwrap_or_else(|_| Err(Failure::failed("the command failed inside the server; see its log")))
            }
            None => Err(Failure::usage(NOT_UNDERSTOOD)),
        };
        let text = wire::write_reply(&reply);
        timeout(PATIENCE, stream.get_mut().write_all(text.as_bytes())).await??;
    }
}

const NOT_UNDERSTOOD: &str =
    "the running server does not understand this command: it is of another version; restart it";

/// The next message; `None` at the end of the stream.
async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<wire::Lines>> {
    let Some(first) = read_line(stream).await? else {
        return Ok(None);
    };
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "not a message");
    let count = wire::further(&first).ok_or_else(malformed)?;
    let mut further = Vec::with_capacity(count);
    for _ in 0..count {
        further.push(read_line(stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?);
    }
    Ok(Some(wire::lines(&first, further)))
}

async fn read_line(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    stream
        .take(wire::LINE_BYTES as u64)
        .read_until(b'\n', &mut line)
        .await?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a line is too long or cut off",
        ));
    }
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8");
    String::from_utf8(line).map(Some).map_err(invalid)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;

    use super::super::{Client, Command, Reply};
    use super::*;

    /// Answers with the JID of the command as a failure, so that a test sees what arrived.
    struct Echo;

    impl Backend for Echo {
        fn handle(&self, command: Command) -> Result<Reply, Failure> {
            match command {
                Command::Remove(jid) => Err(Failure::failed(format!("echo {jid}"))),
                Command::Disable(_) => panic!("a bug in a command"),
                _ => Ok(Reply::Done),
            }
        }
    }

    struct Running {
        folder: tempfile::TempDir,
        _runtime: tokio::runtime::Runtime,
    }

    impl Running {
        fn path(&self) -> PathBuf {
            self.folder.path().join("admin.sock")
        }
    }

    fn start() -> Running {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("admin.sock");
        // A socket that a killed server left.
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime
            .block_on(async { bind(&path) })
            .expect("bound over the stale one");
        runtime.spawn(serve(listener, Arc::new(Echo)));
        Running {
            folder,
            _runtime: runtime,
        }
    }

    fn jid() -> stanza::Jid {
        ::accounts::address("juliet@example.org").expect("an address")
    }

    #[test]
    fn the_socket_is_private_and_nothing_is_left_beside_it() {
        let running = start();
        let mode = fs::metadata(running.path()).expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let names: Vec<_> = fs::read_dir(running.folder.path()).expect("the folder").collect();
        assert_eq!(names.len(), 1);
    }

    #[test]
    fn commands_reach_the_backend_one_after_the_other() {
        let running = start();
        let client = Client::connect(&running.path()).expect("no error").expect("a server");
        assert_eq!(client.handle(Command::Enable(jid())), Ok(Reply::Done));
        assert_eq!(
            client.handle(Command::Remove(jid())),
            Err(Failure::failed("echo juliet@example.org"))
        );
        let failed = client.handle(Command::Disable(jid())).expect_err("the backend panics");
        assert!(failed.message.contains("see its log"), "{failed}");
        assert_eq!(
            client.handle(Command::Enable(jid())),
            Ok(Reply::Done),
            "it still answers"
        );
    }

    #[test]
    fn nobody_listening_is_told_from_an_error() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("admin.sock");
        assert!(Client::connect(&path).expect("no error").is_none(), "no socket");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(Client::connect(&path).expect("no error").is_none(), "a stale socket");
    }

    #[test]
    fn what_is_malformed_ends_the_connection_and_not_the_server() {
        let running = start();
        let check = |bytes: &[u8], answer: &str| {
            let mut stream = std::os::unix::net::UnixStream::connect(running.path()).expect("connected");
            // The server may have closed before it took everything.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut told = Vec::new();
            // A reset is an end, too.
            let _ = stream.read_to_end(&mut told);
            assert_eq!(String::from_utf8_lossy(&told), answer);
        };
        check(b"", "");
        check(b"hello\n", "");
        check(b"0\tenable\tjuliet@example.org", "");
        check(&vec![b'0'; 100_000], "");
        check(b"\xff\xfe\n", "");
        check(b"2\timport\n", "");
        check(b"0\texplode\n", &format!("0\tfailed\t2\t{NOT_UNDERSTOOD}\n"));
        check(
            b"0\tenable\tjuliet@example.org\n0\tenable\tjuliet@example.org\n",
            "0\tdone\n0\tdone\n",
        );
    }
}
