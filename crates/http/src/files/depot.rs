//! Where the bytes of files are.

use std::io;
use std::path::Path;

use super::body::Reading;
use super::disk::{self, Disk};

/// What an upload goes to, and a download comes from. All of it may be repeated, and does no harm then.
pub enum Depot {
    Disk(Disk),
}

/// An upload under way. Dropped before [`Arriving::settle`], nothing of it stays.
pub(super) enum Arriving {
    Disk(disk::Arriving),
}

impl Depot {
    /// Files in this folder, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn in_folder(path: &Path) -> io::Result<Depot> {
        Disk::open(path).map(Depot::Disk)
    }

    /// Begins an upload of so many bytes.
    pub(super) async fn receive(&self, id: &str) -> io::Result<Arriving> {
        match self {
            Depot::Disk(disk) => disk.receive(id).await.map(Arriving::Disk),
        }
    }

    /// An upload that was settled is a file from now on.
    pub(super) async fn place(&self, id: &str) -> io::Result<()> {
        match self {
            Depot::Disk(disk) => disk.place(id).await,
        }
    }

    /// A part of a file. None: it is not there.
    pub(super) async fn read(&self, id: &str, from: u64, count: u64) -> io::Result<Option<Reading>> {
        match self {
            Depot::Disk(disk) => disk.read(id, from, count).await,
        }
    }

    pub(super) async fn remove(&self, id: &str) -> io::Result<()> {
        match self {
            Depot::Disk(disk) => disk.remove(id).await,
        }
    }

    /// Ids of files, in one of 256 parts.
    pub(super) async fn part(&self, part: u8) -> io::Result<Vec<String>> {
        match self {
            Depot::Disk(disk) => disk.part(part).await,
        }
    }

    /// Ids of uploads that were not placed.
    pub(super) async fn left_over(&self) -> io::Result<Vec<String>> {
        match self {
            Depot::Disk(disk) => disk.left_over().await,
        }
    }
}

impl Arriving {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Arriving::Disk(arriving) => arriving.write(bytes).await,
        }
    }

    /// All of it is there, and stays whatever happens.
    pub(super) async fn settle(self) -> io::Result<()> {
        match self {
            Arriving::Disk(arriving) => arriving.settle().await,
        }
    }
}
