//! Uploaded files (`[files]`).

use std::path::PathBuf;

use super::check::{Problem, problem};
use super::external::first_line;
use super::locate::Step::Key;
use super::section::section;
use super::{Config, Kind, PublicUrl, ServiceUrl};

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
    tables {
        pub s3: S3 = S3::default(),
    }
}

section! {
    /// Uploaded files can be at a service that speaks S3, in one bucket, and not in a folder. Clients do not see it: they
    /// upload and download here all the same.
    @default pub struct S3 {
        /// Its address: https, or http on this machine. Without it files are in the folder.
        pub endpoint: Option<ServiceUrl> = None => "\"https://s3.example.net\"",
        /// The bucket. It has to be there, and nobody else may read it.
        pub bucket: String = "jackdaw".to_owned(),
        /// Its region, as the service calls it.
        pub region: String = "us-east-1".to_owned(),
        /// Whether the name of the bucket stands in the path, or before the name of the host, as Amazon wants it.
        pub bucket_in_path: bool = true,
        /// With what name we come.
        pub access_key: String = String::new(),
        /// A file whose first line is the secret that belongs to it. Read once, at the start.
        pub secret_key_file: Option<PathBuf> = None => "\"s3.secret\"",
        /// What the name of every object begins with.
        pub prefix: String = String::new(),
        /// The authorities that its certificate may come from, in PEM. Where it is left out: those of this machine.
        pub ca: Option<PathBuf> = None => "\"s3-ca.pem\"",
    }
}

impl Files {
    /// What is a path.
    pub fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        [&mut self.folder, &mut self.s3.secret_key_file, &mut self.s3.ca]
            .into_iter()
            .flatten()
    }

    /// The service, and the file of authorities, where files are at one. Reads the file of the secret; the error says what
    /// and where.
    pub fn service(&self) -> Result<Option<(http_listener::S3Settings, Option<PathBuf>)>, String> {
        let s3 = &self.s3;
        let (Some(endpoint), Some(file)) = (&s3.endpoint, &s3.secret_key_file) else {
            return Ok(None);
        };
        let settings = http_listener::S3Settings {
            endpoint: endpoint.text.clone(),
            bucket: s3.bucket.clone(),
            region: s3.region.clone(),
            is_in_path: s3.bucket_in_path,
            access_key: s3.access_key.clone(),
            secret_key: first_line(file, "[files.s3]")?,
            prefix: s3.prefix.clone(),
        };
        Ok(Some((settings, s3.ca.clone())))
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
    let s3 = &files.s3;
    if s3.endpoint.is_some() && (s3.access_key.is_empty() || s3.secret_key_file.is_none() || s3.bucket.is_empty()) {
        let message = "a service of S3 needs a bucket, an access_key and a secret_key_file".to_owned();
        return Some(problem(&[Key("files"), Key("s3"), Key("endpoint")], message));
    }
    None
}
