//! What a domain lets its accounts upload (XEP-0363).

/// None in a limit: there is none.
#[derive(Clone, Debug)]
pub struct Uploads {
    /// What is before the link of a file: `https://example.org:5443/files/`.
    pub url: String,
    /// A number that nobody guesses, another each time.
    pub random: fn() -> u128,
    pub file_bytes: u64,
    pub account_bytes: Option<u64>,
    pub account_bytes_per_day: Option<u64>,
    pub domain_bytes: Option<u64>,
    /// From when a slot is given until its upload begins.
    pub slot_milliseconds: i64,
    pub keep_milliseconds: Option<i64>,
}
