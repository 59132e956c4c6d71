//! Storage as shapes: tables, batches, errors, a memory driver and the suite every driver runs.
//!
//! A feature declares its tables as statics and gets real columns; it never sees SQL. Everything that one step
//! of a feature changes goes into one [`Batch`], which is atomic: it is there whole after a crash, or not at all.
//!
//! ```
//! # use jackdaw_store as store;
//! use store::{Batch, Column, Memory, Query, Shape, Store, Table, row};
//!
//! static LAST_ACTIVITY: Table = Table {
//!     name: "last_activity",
//!     shape: Shape::KeyVal,
//!     columns: &[Column::int("since"), Column::text("status")],
//! };
//!
//! let store = Memory::new(&[&LAST_ACTIVITY]);
//! let batch = Batch::new().put(&LAST_ACTIVITY, "juliet@example.org", None, row![1_700_000_000, "gone"]);
//! store.write_wait(batch)?;
//! let found = store.read_wait(Query::get(&LAST_ACTIVITY, "juliet@example.org", None))?.row()?;
//! assert_eq!(found.expect("it was just written")[0].as_int(), Some(1_700_000_000));
//! # Ok::<(), store::StoreError>(())
//! ```
//!
//! Beside the tables of features there is the message [`archive`], which is not a table: it has one row for two
//! archives and an index that is written late, because index rows per owner cost ten times as much.

pub mod archive;
mod batch;
mod catalog;
mod error;
mod keys;
mod memory;
mod overlay;
mod port;
mod query;
pub mod suite;
mod table;

pub use archive::{
    Archived, Deposit, Deposited, EXPIRE_LIMIT, FINGERPRINT_LIFETIME_MS, OLDEST_LIMIT, Oldest, Page, PageBuilder,
    Places, Range, Swept, View, Whose,
};
pub use batch::{Batch, Op};
pub use catalog::Catalog;
pub use error::StoreError;
pub use keys::{Keys, end_of};
pub use memory::Memory;
pub use port::{Answered, Store, Written, Wrote};
pub use query::{Found, PAGE_LIMIT, Query};
pub use table::{Column, ColumnKind, Row, Shape, Table, Value};
