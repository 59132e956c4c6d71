//! Uploaded files: where they are, how much of them there may be, and the task that deletes what is over, in small steps
//! beside everything else.
//!
//! Bytes go first and rows behind: a crash in between leaves a row without a file, which the next look finds again, and
//! never a file that nobody knows of. What is over is not served from the moment it is, however long the task takes.

use std::sync::Arc;
use std::time::Duration;

use c2s::Service;
use files::{FILES, Limits, Record, SLOTS};
use http_listener::{Depot, Files};
use module::Uploads;
use store::{Found, Query, Store, StoreError, Table};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::config::Config;
use crate::failure::{Failure, Why};

/// How often it is looked whether there is something to delete: all slots, and some files.
const LOOK_EVERY: Duration = Duration::from_secs(4);
/// Rows of one step. A million files are looked at in four hours, without anything to be noticed of it.
const STEP_ROWS: usize = 256;
/// Between two steps.
const BETWEEN_STEPS: Duration = Duration::from_millis(20);
/// How often the log tells how much was deleted, while there is something.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// Files that cannot be deleted in one look: then the rest is left for the next one, as each may take its time to fail.
const FAILURES: usize = 3;

const MEGABYTE: u64 = 1_000_000;
const MILLISECONDS_PER_DAY: i64 = 24 * 3_600_000;

/// What a domain lets its accounts upload. `host`: by which clients reach the listeners of HTTP, with the port.
pub fn uploads(config: &Config, host: &str) -> Option<Uploads> {
    let files = &config.files;
    let host = files.public_url.as_ref().map_or(host, |url| url.host());
    let bytes = |megabytes: u32| (megabytes > 0).then(|| u64::from(megabytes) * MEGABYTE);
    config.takes_files().then(|| Uploads {
        url: format!("https://{host}{}/", files.path),
        random,
        file_bytes: u64::from(files.file_megabytes) * MEGABYTE,
        account_bytes: bytes(files.account_megabytes),
        account_bytes_per_day: bytes(files.account_megabytes_per_day),
        domain_bytes: bytes(files.domain_megabytes),
        slot_milliseconds: i64::try_from(files.slot_seconds)
            .unwrap_or(i64::MAX)
            .saturating_mul(1000),
        keep_milliseconds: (files.keep_days > 0).then(|| i64::from(files.keep_days) * MILLISECONDS_PER_DAY),
    })
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    // The system gave some at the start; it does not run out.
    getrandom::fill(&mut bytes).expect("the system gives random numbers");
    u128::from_le_bytes(bytes)
}

/// Opens the folder, and puts right what the last run left there.
pub async fn open(config: &Config, store: &Arc<dyn Store>) -> Result<Option<Arc<Files>>, Failure> {
    let Some(uploads) = uploads(config, "") else {
        return Ok(None);
    };
    let service = config.files.service();
    let service = service.map_err(|message| Failure::new(Why::Configuration, message))?;
    let folder = config.files_folder();
    let place = match &service {
        Some(_) => "the service of uploaded files".to_owned(),
        None => format!("the folder of uploaded files, {},", folder.display()),
    };
    let failed = |error: std::io::Error| {
        Failure::unavailable(format!(
            "{place} cannot be used: {error}; see [files] in the configuration"
        ))
    };
    let depot = match service {
        Some((settings, ca)) => Depot::at_s3(settings, ca.as_deref()),
        None => Depot::in_folder(&folder),
    };
    let depot = depot.map_err(failed)?;
    let terms = Limits::from(&uploads).terms;
    let files = Arc::new(Files::new(Arc::clone(store), depot, terms, Service::clock));
    files.recover().await.map_err(failed)?;
    Ok(Some(files))
}

/// Deletes what is over, until it is aborted or the store is closed.
pub async fn keep(files: Arc<Files>, store: Arc<dyn Store>) {
    let mut keeper = Keeper {
        files,
        store,
        after: None,
        part: Some(0),
        deleted: 0,
        bytes: 0,
        told: Instant::now(),
        failed: 0,
        warned: None,
    };
    loop {
        let is_hurried = tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = keeper.files.hurried() => true,
        };
        match keeper.look(is_hurried).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "old files could not be deleted; it will be tried again"),
        }
        keeper.look_for_strays().await;
        keeper.tell();
    }
}

struct Keeper {
    files: Arc<Files>,
    store: Arc<dyn Store>,
    /// The last file that was looked at.
    after: Option<Box<str>>,
    /// The part of the files that is to be looked at for what the store does not know; once after the start.
    part: Option<u8>,
    deleted: usize,
    bytes: u64,
    told: Instant,
    /// Files that could not be deleted in this look.
    failed: usize,
    warned: Option<Instant>,
}

impl Keeper {
    /// `all`: of the files as well.
    async fn look(&mut self, all: bool) -> Result<(), StoreError> {
        self.failed = 0;
        let mut after = None;
        loop {
            after = self.step(&SLOTS, after).await?;
            if after.is_none() {
                break;
            }
        }
        if all {
            self.after = None;
        }
        loop {
            let after = self.after.take();
            self.after = self.step(&FILES, after).await?;
            if !all || self.after.is_none() {
                return Ok(());
            }
            self.tell();
        }
    }

    async fn look_for_strays(&mut self) {
        let Some(part) = self.part else { return };
        self.part = part.checked_add(1);
        match self.files.remove_strays(part).await {
            Ok(0) => {}
            Ok(removed) => tracing::warn!(removed, "files were deleted that the database does not know"),
            Err(error) => tracing::warn!(%error, "it could not be looked for files that the database does not know"),
        }
    }

    /// Looks at the rows behind this one. Returns the last, if there are more.
    async fn step(&mut self, table: &'static Table, after: Option<Box<str>>) -> Result<Option<Box<str>>, StoreError> {
        let rows = self
            .read(Query::owners(table, after.as_deref(), STEP_ROWS))
            .await?
            .owners()?;
        let last = rows
            .last()
            .filter(|_| rows.len() == STEP_ROWS)
            .map(|(id, _)| id.clone());
        let found: Vec<(Box<str>, Record)> = rows
            .into_iter()
            .filter_map(|(id, row)| Record::read(&row).map(|record| (id, record)))
            .collect();
        let owned = found
            .iter()
            .map(|(id, record)| files::owned(&record.user, id))
            .collect();
        let owned = self.read(Query::Many(owned)).await?.many()?;
        for ((id, record), owned) in found.into_iter().zip(owned) {
            let is_owned = owned.row()?.is_some();
            if !is_owned || self.is_over(table, &id, &record) {
                self.end(table, &id, &record, is_owned).await?;
            }
        }
        if last.is_some() {
            tokio::time::sleep(BETWEEN_STEPS).await;
        }
        Ok(last)
    }

    fn is_over(&self, table: &Table, id: &str, record: &Record) -> bool {
        let (terms, now) = (self.files.terms(), Service::clock());
        match table.name == SLOTS.name {
            true => terms.slot_ends(record) <= now && !self.files.is_under_way(id),
            false => terms.file_ends(record).is_some_and(|end| end <= now),
        }
    }

    async fn end(
        &mut self,
        table: &'static Table,
        id: &str,
        record: &Record,
        is_owned: bool,
    ) -> Result<(), StoreError> {
        if self.files.is_under_way(id) {
            return Ok(());
        }
        if self.failed >= FAILURES {
            return Ok(());
        }
        if let Err(error) = self.files.remove(id).await {
            self.failed += 1;
            if self.warned.is_none_or(|warned| warned.elapsed() >= TELL_EVERY) {
                tracing::warn!(id, %error, "a file could not be deleted; it will be tried again");
                self.warned = Some(Instant::now());
            }
            return Ok(());
        }
        let (sender, receiver) = oneshot::channel();
        let batch = files::end(table, id, record, is_owned);
        // Nobody listens any more only if this task was aborted.
        self.store
            .write(batch, Box::new(move |result| drop(sender.send(result))));
        match receiver.await.unwrap_or(Err(StoreError::Closed)) {
            Ok(_) if table.name == FILES.name => {
                self.deleted += 1;
                self.bytes += record.size;
                Ok(())
            }
            // Something else has ended it, or the account went just now.
            Ok(_) | Err(StoreError::Missing) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn tell(&mut self) {
        if self.deleted > 0 && self.told.elapsed() >= TELL_EVERY {
            let (deleted, megabytes) = (
                std::mem::take(&mut self.deleted),
                std::mem::take(&mut self.bytes) / MEGABYTE,
            );
            tracing::info!(
                deleted,
                megabytes,
                "uploaded files were deleted, as they were too old or nobody's any more"
            );
            self.told = Instant::now();
        }
    }

    async fn read(&self, query: Query) -> Result<Found, StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.store
            .read(query, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or(Err(StoreError::Closed))
    }
}
