//! Opening: the lock, the file, its settings, and errors that tell an operator what to do.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE,
    SQLITE_NOTADB, SQLITE_READONLY,
};
use rusqlite::{Connection, Error, OpenFlags};
use store::{Catalog, Table};

use crate::archive;
use crate::error::{describe, primary_code};
use crate::log_index::LogIndex;
use crate::options::{BUSY_WAIT_MS, Options, STATEMENTS};
use crate::schema::{self, APPLICATION_ID, MIGRATIONS};
use crate::sql::Plan;

/// Why a database cannot be opened: one line that says what, where and what to do.
#[derive(Debug)]
pub enum OpenError {
    /// The features' declarations contradict each other: a bug.
    Declaration(String),
    /// Another process has it open.
    InUse {
        path: PathBuf,
        process: Option<u32>,
    },
    /// Made by a newer Jackdaw.
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    NotADatabase {
        path: PathBuf,
    },
    /// A SQLite database of some other program.
    Foreign {
        path: PathBuf,
    },
    Corrupt {
        path: PathBuf,
        detail: String,
    },
    /// A feature's table is there with another shape.
    Table {
        path: PathBuf,
        detail: String,
    },
    /// The system refused to open, read or write a file.
    File {
        path: PathBuf,
        detail: String,
    },
    Full {
        path: PathBuf,
    },
    /// The file system cannot hold a write-ahead log (a network share).
    NoLog {
        path: PathBuf,
    },
    Other {
        path: PathBuf,
        detail: String,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Declaration(detail) => write!(
                f,
                "the storage of a feature is declared wrongly, which is a bug: {detail}"
            ),
            OpenError::InUse { path, process } => {
                write!(f, "{}: the database is in use by another process", path.display())?;
                if let Some(process) = process {
                    write!(f, " ({process})")?;
                }
                f.write_str("; stop it first, or use another data folder")
            }
            OpenError::Newer { path, found, known } => write!(
                f,
                "{}: the database has version {found} and this Jackdaw knows versions up to {known}; run the newer Jackdaw, or restore the backup from before the upgrade",
                path.display()
            ),
            OpenError::NotADatabase { path } => write!(
                f,
                "{}: the file is not a database; move it away to start with an empty one, or restore a backup",
                path.display()
            ),
            OpenError::Foreign { path } => {
                write!(
                    f,
                    "{}: the database belongs to another program; use another data folder",
                    path.display()
                )
            }
            OpenError::Corrupt { path, detail } => write!(
                f,
                "{}: the database is damaged ({detail}); restore a backup, or salvage what can be read with: sqlite3 '{}' .dump (the manual has the steps, \"When the database is damaged\")",
                path.display(),
                path.display()
            ),
            OpenError::Table { path, detail } => write!(
                f,
                "{}: {detail}; the database was made by another version of Jackdaw, run that one",
                path.display()
            ),
            OpenError::File { path, detail } => {
                write!(
                    f,
                    "{}: {detail}; check that the folder exists and that this user may write there",
                    path.display()
                )
            }
            OpenError::Full { path } => write!(
                f,
                "{}: no room left on the disk; make some and start again",
                path.display()
            ),
            OpenError::NoLog { path } => write!(
                f,
                "{}: the file system cannot hold the database's log; use a local disk for the data folder",
                path.display()
            ),
            OpenError::Other { path, detail } => write!(
                f,
                "{}: the database cannot be opened: {detail}; see whether another program uses it, and the system's log",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    fn file(path: &Path, error: &std::io::Error) -> OpenError {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return OpenError::Full { path: path.into() };
        }
        OpenError::File {
            path: path.into(),
            detail: error.to_string(),
        }
    }

    pub(crate) fn thread(path: &Path, error: std::io::Error) -> OpenError {
        OpenError::Other {
            path: path.into(),
            detail: format!("no thread could be started: {error}"),
        }
    }

    pub(crate) fn sqlite(path: &Path, error: &Error) -> OpenError {
        let path = path.into();
        if matches!(
            error.sqlite_error().map(|error| error.extended_code),
            Some(SQLITE_IOERR_SHMSIZE | SQLITE_IOERR_WRITE)
        ) {
            // The shared memory of the log and the first pages need room too.
            return OpenError::Full { path };
        }
        match primary_code(error) {
            Some(SQLITE_NOTADB) => OpenError::NotADatabase { path },
            Some(SQLITE_CORRUPT) => OpenError::Corrupt {
                path,
                detail: describe(error),
            },
            Some(SQLITE_FULL) => OpenError::Full { path },
            Some(SQLITE_CANTOPEN | SQLITE_IOERR | SQLITE_READONLY) => OpenError::File {
                path,
                detail: describe(error),
            },
            _ => OpenError::Other {
                path,
                detail: describe(error),
            },
        }
    }
}

pub(crate) struct Opened {
    pub(crate) plan: Plan,
    pub(crate) writer: Connection,
    pub(crate) readers: Vec<Connection>,
    pub(crate) last_id: i64,
    pub(crate) archive: archive::Opened,
    pub(crate) log_index: Arc<LogIndex>,
    pub(crate) lock: File,
}

pub(crate) fn open(path: &Path, tables: &[&'static Table], options: &Options) -> Result<Opened, OpenError> {
    let catalog = Catalog::new(tables).map_err(|error| OpenError::Declaration(error.to_string()))?;
    let lock = lock(path)?;
    create(path).map_err(|error| OpenError::file(path, &error))?;
    let sqlite = |error: Error| OpenError::sqlite(path, &error);

    let mut writer = connect(path, options.writer_cache_kib).map_err(sqlite)?;
    check_origin(path, &writer)?;
    let mode: String = writer
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(sqlite)?;
    if mode != "wal" {
        return Err(OpenError::NoLog { path: path.into() });
    }
    set_up_writer(&writer, options).map_err(sqlite)?;
    schema::migrate(&mut writer, MIGRATIONS).map_err(sqlite)?;
    schema::create_tables(&mut writer, &catalog)
        .map_err(sqlite)?
        .map_err(|detail| OpenError::Table {
            path: path.into(),
            detail,
        })?;
    let last_id = schema::last_id(&writer).map_err(sqlite)?;
    let archive = archive::open(&mut writer, options.archive_bucket_bits).map_err(sqlite)?;
    let plan = Plan::new(catalog, &schema::table_names(&writer).map_err(sqlite)?);

    let mut readers = Vec::new();
    for _ in 0..options.readers.max(1) {
        let reader = connect(path, options.reader_cache_kib).map_err(sqlite)?;
        reader.pragma_update(None, "query_only", true).map_err(sqlite)?;
        // A list of ids as a table: a page of the archive is read by one statement.
        rusqlite::vtab::array::load_module(&reader).map_err(sqlite)?;
        readers.push(reader);
    }
    let log_index = LogIndex::open(path).map_err(|error| OpenError::file(path, &error))?;
    Ok(Opened {
        plan,
        writer,
        readers,
        last_id,
        archive,
        log_index: Arc::new(log_index),
        lock,
    })
}

/// Two servers on one file would each give out the same ids and not see each other's changes. SQLite's own locks
/// allow it, so there is one of ours. The kernel frees it when the process ends, however it ends.
fn lock(path: &Path) -> Result<File, OpenError> {
    let mut name = OsString::from(path);
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let failed = |error: &std::io::Error| OpenError::file(&lock_path, error);
    let mut file = private(&lock_path).map_err(|error| failed(&error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only to say who it is; without it the message is shorter.
            let process = file
                .read_to_string(&mut text)
                .ok()
                .and_then(|_| text.trim().parse().ok());
            return Err(OpenError::InUse {
                path: path.into(),
                process,
            });
        }
        Err(TryLockError::Error(error)) => return Err(failed(&error)),
    }
    let note = |file: &mut File| {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    note(&mut file).map_err(|error| failed(&error))?;
    Ok(file)
}

/// The database holds what logs people in: for the owner's eyes only. SQLite gives its other files the same mode.
fn create(path: &Path) -> std::io::Result<()> {
    private(path).map(drop)
}

fn private(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn connect(path: &Path, cache_kib: u32) -> Result<Connection, Error> {
    // NO_MUTEX: a connection belongs to one thread. No URI: a path may contain `?`.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_WAIT_MS))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // Plans that do not depend on the values: else SQLite plans many statements anew at each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "cache_size", -i64::from(cache_kib))?;
    // No mmap: an I/O error would be a SIGBUS instead of an error code.
    connection.pragma_update(None, "mmap_size", 0)?;
    Ok(connection)
}

/// Reads the header, which is where a file that is no database, or not ours, shows.
fn check_origin(path: &Path, connection: &Connection) -> Result<(), OpenError> {
    let read = || -> Result<(i64, i64, i64), Error> {
        // The schema first: it makes SQLite read and check the first page.
        let tables = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let id = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
        Ok((tables, id, schema::version(connection)?))
    };
    let (tables, id, version) = read().map_err(|error| OpenError::sqlite(path, &error))?;
    if tables > 0 && id != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.into() });
    }
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(OpenError::Newer {
            path: path.into(),
            found: version,
            known,
        });
    }
    Ok(())
}

fn set_up_writer(writer: &Connection, options: &Options) -> Result<(), Error> {
    writer.pragma_update(None, "synchronous", "FULL")?;
    // The writer thread has its own policy. To be set before its hook, which this would remove.
    writer.pragma_update(None, "wal_autocheckpoint", 0)?;
    // The log keeps its size, as overwriting is cheaper than appending.
    writer.pragma_update(None, "journal_size_limit", -1)?;
    if let Some(pages) = options.max_pages {
        writer.pragma_update(None, "max_page_count", pages)?;
    }
    Ok(())
}
