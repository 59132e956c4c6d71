//! Uploaded files (`[files]`).

use std::path::PathBuf;

use super::check::{Problem, problem};
use super::locate::Step::Key;
use super::section::section;
use super::{Config, Kind, PublicUrl};

section! {
    /// Files that clients upload to send others the link (XEP-0363). Listeners of the kinds "https", "http" and
    /// "multiplex" take and give them; without one there are no files. A megabyte has 1,000,000 bytes.
    @default pub struct Files {
        /// Whether there are any.
        pub enabled: bool = true,
        /// Their folder. Without it: "files" in the folder of `data`. Back it up together with the database.
        pub folder: Option<PathBuf> = None => "\"/srv/jackdaw/files\"",
        /// The path under which they are.
        pub path: String = "/files".to_owned(),
        /// The address under which clients reach them, where it is not http.public_url. A host of its own keeps what
        /// strangers have uploaded apart from the web pages of the domain.
        pub public_url: Option<PublicUrl> = None => "\"https://files.example.org\"",
        /// The largest file, in megabytes.
        pub file_megabytes: u32 = 100,
        /// What the files of one account may be together, in megabytes. 0: no limit, here and below.
        pub account_megabytes: u32 = 2_000,
        /// What one account may upload in a day (of UTC), in megabytes.
        pub account_megabytes_per_day: u32 = 1_000,
        /// What the files of all accounts of one domain may be together, in megabytes.
        pub domain_megabytes: u32 = 0,
        /// After how many days a file is deleted; 0: never. What a client has uploaded as a part of a profile stays
        /// until the account is removed.
        pub keep_days: u32 = 90,
        /// How long a client may wait between asking for an upload and beginning it, in seconds.
        pub slot_seconds: u64 = 300,
    }
}

/// The longest wait that makes sense: the room is taken meanwhile.
const MOST_SLOT_SECONDS: u64 = 86_400;

impl Config {
    /// Whether anybody can upload anything.
    pub fn takes_files(&self) -> bool {
        let serves = |kind: Kind| matches!(kind, Kind::Https | Kind::Http | Kind::Multiplex);
        self.files.enabled && self.listen.iter().any(|listen| serves(listen.kind))
    }

    /// The folder of uploaded files.
    pub fn files_folder(&self) -> PathBuf {
        self.files.folder.clone().unwrap_or_else(|| self.data.join("files"))
    }
}

/// The first contradiction. That the path is none that something else has is said where those of HTTP are checked.
pub fn problem_of(config: &Config) -> Option<Problem> {
    let files = &config.files;
    let wrong = |key, message: &str| Some(problem(&[Key("files"), Key(key)], message.to_owned()));
    if files.file_megabytes == 0 {
        return wrong(
            "file_megabytes",
            "file_megabytes = 0: no file is that small; use enabled = false",
        );
    }
    if files.slot_seconds == 0 || files.slot_seconds > MOST_SLOT_SECONDS {
        return wrong("slot_seconds", "slot_seconds is between 1 and 86_400");
    }
    None
}
