//! Storage as shapes: tables, batches, errors, a memory driver and the suite every driver runs.
