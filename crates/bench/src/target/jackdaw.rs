//! Jackdaw itself: the release build, with limits that suit a crowd from one address.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::{Process, run};
use super::{History, Keeps, ROUNDS, Running, Setup, Target, address, copy, fresh, web, write};
use crate::Outcome;
use crate::client::{DOMAIN, PASSWORD, jid};
use crate::report::OURS;
use crate::work::Work;

const NUMBER: u8 = 1;

pub(super) struct Jackdaw {
    binary: PathBuf,
    folder: PathBuf,
}

impl Jackdaw {
    pub(super) fn new(target: &Path, folder: PathBuf) -> Self {
        Self {
            binary: target.join("release/jackdaw"),
            folder,
        }
    }

    /// Where the accounts are made, once; every start gets a copy.
    fn template(&self) -> PathBuf {
        self.folder.join("template")
    }

    /// The same with messages, made when it is asked for the first time.
    fn filled(&self, history: &History) -> Outcome<PathBuf> {
        let folder = self.folder.join(format!("{}-of-{}", history.messages, history.owners));
        if !folder.exists() {
            eprintln!("bench | {} messages into the archive", history.messages);
            // Under another name until it is complete.
            let unfinished = fresh(&self.folder.join("filling"))?;
            copy(&self.template(), &unfinished)?;
            history.write(&unfinished.join("data/jackdaw.sqlite"))?;
            std::fs::rename(&unfinished, &folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        Ok(folder)
    }
}

/// Every limit that a generator on one address would meet and that is not what is measured.
fn config(address: SocketAddr) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "data = \"data\"\n\n[log]\nlevel = \"warn\"\n\n[[domain]]\nname = \"{DOMAIN}\"\n\n\
         [[listen]]\nkind = \"c2s\"\naddress = \"{address}\"\ntls = \"optional\"\n\n\
         [[listen]]\nkind = \"https\"\naddress = \"{}\"\n\n[limits]",
        web(address)
    );
    for (key, value) in [
        ("password_iterations", u64::from(ROUNDS)),
        ("connections_before_login_per_address", 100_000),
        ("connections_per_second_per_address", 1_000_000),
        ("login_failures_per_minute_per_address", 1_000_000),
        ("read_bytes_per_second", 1 << 40),
        ("read_burst_bytes", 1 << 40),
        ("subscription_requests_per_minute", 1_000_000),
        ("offline_messages_per_account", 1_000_000),
        ("room_occupants", 20_000),
        ("room_deliveries_per_second", 1_000_000_000),
        ("room_burst_deliveries", 1_000_000_000),
    ] {
        let _ = writeln!(text, "{key} = {value}");
    }
    text
}

impl Target for Jackdaw {
    fn name(&self) -> &'static str {
        OURS
    }

    fn does(&self, _: Work) -> bool {
        true
    }

    fn prepare(&mut self, accounts: usize) -> Outcome<()> {
        eprintln!("bench | cargo build --release --package jackdaw");
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        run(Command::new(cargo)
            .args(["build", "--release", "--package", "jackdaw"])
            .current_dir(root))?;
        self.folder = fresh(&self.folder)?;
        let template = self.template();
        fresh(&template)?;
        write(&template.join("jackdaw.toml"), &config(address(NUMBER)))?;
        let mut lines = String::new();
        for number in 0..accounts {
            let _ = writeln!(lines, "{}\t{PASSWORD}", jid(number));
        }
        let list = self.folder.join("accounts.tsv");
        write(&list, &lines)?;
        eprintln!("bench | jackdaw account import: {accounts} accounts");
        run(Command::new(&self.binary)
            .args(["account", "import"])
            .arg(&list)
            .arg("--config")
            .arg(template.join("jackdaw.toml")))
    }

    fn start(&self, setup: &Setup) -> Outcome<Running> {
        let folder = fresh(&self.folder.join("run"))?;
        match &setup.history {
            Some(history) => copy(&self.filled(history)?, &folder)?,
            None => copy(&self.template(), &folder)?,
        }
        if setup.keeps == Keeps::Nothing {
            let off = format!("{}\n[archive]\nenabled = false\n", config(address(NUMBER)));
            write(&folder.join("jackdaw.toml"), &off)?;
        }
        let address = address(NUMBER);
        let mut process = Process::start(
            &self.binary.to_string_lossy(),
            &["--config", "jackdaw.toml"],
            &[],
            &folder,
        )?;
        process.listens(address)?;
        Ok(Running { process, address })
    }
}
