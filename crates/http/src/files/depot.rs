//! Where the bytes of files are.

use std::io;
use std::path::Path;

use super::body::Reading;
use super::disk::{self, Disk};
use super::s3::{self, S3, Settings};

/// What an upload goes to, and a download comes from. All of it may be repeated, and does no harm then.
pub enum Depot {
    Disk(Disk),
    S3(Box<S3>),
}

/// An upload under way. Dropped before [`Arriving::settle`], nothing of it stays.
pub(super) enum Arriving {
    Disk(disk::Arriving),
    S3(s3::Arriving),
}

impl Depot {
    /// Files in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn in_folder(path: &Path) -> io::Result<Depot> {
        Disk::open(path).map(Depot::Disk)
    }

    /// Files at a service that speaks S3; nobody is asked yet. `ca`: PEM; the authorities that its certificate may come
    /// from. None: those of this machine.
    ///
    /// # Errors
    /// It has no such address, or the authorities cannot be read.
    pub fn at_s3(settings: Settings, ca: Option<&Path>) -> io::Result<Depot> {
        Ok(Depot::S3(Box::new(S3::new(settings, ca)?)))
    }

    /// Begins an upload of so many bytes.
    pub(super) async fn receive(&self, id: &str, size: u64) -> io::Result<Arriving> {
        match self {
            Depot::Disk(disk) => disk.receive(id).await.map(Arriving::Disk),
            Depot::S3(s3) => s3.receive(id, size).await.map(Arriving::S3),
        }
    }

    /// An upload that was settled is a file from now on.
    pub(super) async fn place(&self, id: &str) -> io::Result<()> {
        match self {
            Depot::Disk(disk) => disk.place(id).await,
            // It has its place already; if it became no file it goes with its slot.
            Depot::S3(_) => Ok(()),
        }
    }

    /// A part of a file, or the whole of an empty one. None: it is not there.
    pub(super) async fn read(&self, id: &str, from: u64, count: u64) -> io::Result<Option<Reading>> {
        match self {
            Depot::Disk(disk) => disk.read(id, from, count).await,
            Depot::S3(s3) => s3.read(id, from, count).await,
        }
    }

    pub(super) async fn remove(&self, id: &str) -> io::Result<()> {
        match self {
            Depot::Disk(disk) => disk.remove(id).await,
            Depot::S3(s3) => s3.remove(id).await,
        }
    }

    /// Ids of files, in one of 256 parts.
    pub(super) async fn part(&self, part: u8) -> io::Result<Vec<String>> {
        match self {
            Depot::Disk(disk) => disk.part(part).await,
            // Nobody but us can say what belongs to others in the bucket.
            Depot::S3(_) => Ok(Vec::new()),
        }
    }

    /// Ids of uploads that were not placed.
    pub(super) async fn left_over(&self) -> io::Result<Vec<String>> {
        match self {
            Depot::Disk(disk) => disk.left_over().await,
            Depot::S3(_) => Ok(Vec::new()),
        }
    }
}

impl Arriving {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Arriving::Disk(arriving) => arriving.write(bytes).await,
            Arriving::S3(arriving) => arriving.write(bytes).await,
        }
    }

    /// All of it is there, and stays whatever happens.
    pub(super) async fn settle(self) -> io::Result<()> {
        match self {
            Arriving::Disk(arriving) => arriving.settle().await,
            Arriving::S3(arriving) => arriving.settle().await,
        }
    }
}
