//! The database of the data folder, opened by this process alone: the driver's lock says whether another has it.

use std::sync::Arc;

use store::Table;
use store_sqlite::{Options, SqliteStore};

use crate::config::Config;
use crate::failure::Failure;
use crate::private_file;

/// Opens the database, and makes it and its folder where they are not there. `tables` are those of all features that
/// will use it; tables of others stay as they are. Blocks.
pub fn open(config: &Config, tables: &[&'static Table], options: Options) -> Result<Arc<SqliteStore>, Failure> {
    let data = &config.data;
    private_file::folder(data).map_err(|error| {
        Failure::unavailable(format!(
            "cannot make the data folder {}: {error}; see --data",
            data.display()
        ))
    })?;
    let store = store_sqlite::open(&config.database(), tables, options);
    Ok(Arc::new(
        store.map_err(|error| Failure::unavailable(error.to_string()))?,
    ))
}
