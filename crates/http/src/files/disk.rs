//! Files in a folder: `<two digits>/<id>`, and uploads in `incoming/<id>` until they are files. Ids are digits that were
//! checked, so no name ever comes from outside.

use std::fs::{self, DirBuilder};
use std::io::{self, SeekFrom};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio::task::spawn_blocking;

use super::body::Reading;

const INCOMING: &str = "incoming";
/// Gathered before it is written: a step on another thread costs as much for a byte.
const WRITE_BYTES: usize = 128 * 1024;

pub struct Disk {
    folder: PathBuf,
}

/// An upload. Dropped before [`Arriving::settle`], its file is deleted.
pub(super) struct Arriving {
    file: File,
    gathered: Vec<u8>,
    leftover: Leftover,
}

/// The file of an upload, as long as nobody keeps it.
struct Leftover(Option<PathBuf>);

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(path) = self.0.take()
            && let Err(error) = fs::remove_file(&path)
        {
            tracing::warn!(path = %path.display(), %error, "the rest of an upload stays until the next start");
        }
    }
}

impl Disk {
    pub(super) fn open(folder: &Path) -> io::Result<Disk> {
        let make = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(&folder.join(INCOMING))?;
        for part in 0..=255_u8 {
            make(&folder.join(format!("{part:02x}")))?;
        }
        Ok(Disk {
            folder: folder.to_owned(),
        })
    }

    fn incoming(&self, id: &str) -> PathBuf {
        self.folder.join(INCOMING).join(id)
    }

    fn file(&self, id: &str) -> PathBuf {
        self.folder.join(&id[..2]).join(id)
    }

    pub(super) async fn receive(&self, id: &str) -> io::Result<Arriving> {
        let path = self.incoming(id);
        // What is there was left by nobody who still writes: an upload is claimed before.
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .await?;
        Ok(Arriving {
            file,
            gathered: Vec::new(),
            leftover: Leftover(Some(path)),
        })
    }

    pub(super) async fn place(&self, id: &str) -> io::Result<()> {
        tokio::fs::rename(self.incoming(id), self.file(id)).await
    }

    pub(super) async fn read(&self, id: &str, from: u64, count: u64) -> io::Result<Option<Reading>> {
        let mut file = match File::open(self.file(id)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if from > 0 {
            file.seek(SeekFrom::Start(from)).await?;
        }
        Ok(Some(Reading::of_file(file, count)))
    }

    pub(super) async fn remove(&self, id: &str) -> io::Result<()> {
        for path in [self.incoming(id), self.file(id)] {
            match tokio::fs::remove_file(path).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) async fn left_over(&self) -> io::Result<Vec<String>> {
        self.ids_in(INCOMING).await
    }

    pub(super) async fn part(&self, part: u8) -> io::Result<Vec<String>> {
        self.ids_in(&format!("{part:02x}")).await
    }

    async fn ids_in(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut entries = tokio::fs::read_dir(self.folder.join(folder)).await?;
        while let Some(entry) = entries.next_entry().await? {
            // Anything else is somebody else's.
            found.extend(entry.file_name().into_string().ok().filter(|name| files::is_id(name)));
        }
        Ok(found)
    }
}

impl Arriving {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() < WRITE_BYTES {
            return Ok(());
        }
        self.file.write_all(&self.gathered).await?;
        self.gathered.clear();
        Ok(())
    }

    pub(super) async fn settle(mut self) -> io::Result<()> {
        self.file.write_all(&self.gathered).await?;
        self.file.flush().await?;
        self.file.sync_all().await?;
        // Its name as well.
        let folder = self
            .leftover
            .0
            .as_ref()
            .and_then(|path| path.parent())
            .map(Path::to_owned);
        if let Some(folder) = folder {
            let flushed = spawn_blocking(move || fs::File::open(folder)?.sync_all()).await;
            flushed.map_err(io::Error::other)??;
        }
        self.leftover.0 = None;
        Ok(())
    }
}
