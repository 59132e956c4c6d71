//! Debian's ejabberd, tuned as a good administrator would: no shapers, no busy waiting of the schedulers (which would
//! count as work).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::process::{Process, install, sqlite_file};
use super::{Keeps, ROUNDS, Running, Setup, Target, address, fresh, write};
use crate::Outcome;
use crate::client::{DOMAIN, PASSWORD};
use crate::tls;
use crate::work::Work;

const NUMBER: u8 = 3;
/// What the node prints when all accounts are there.
const READY: &str = "bench-ready";

pub(super) struct Ejabberd {
    folder: PathBuf,
    /// Where Debian keeps the Erlang libraries.
    libraries: String,
}

impl Ejabberd {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            libraries: String::new(),
        }
    }

    /// The tables of its SQL database, as the package brings them.
    fn schema(&self) -> Outcome<String> {
        let folders = std::fs::read_dir(&self.libraries).into_iter().flatten().flatten();
        let mut files: Vec<PathBuf> = folders.map(|entry| entry.path().join("priv/sql/lite.sql")).collect();
        files.push("/usr/share/ejabberd/sql/lite.sql".into());
        let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok());
        text.ok_or_else(|| "the package ejabberd has no lite.sql".to_owned())
    }
}

fn config(folder: &Path, address: SocketAddr) -> String {
    let (folder, ip, port) = (folder.display(), address.ip(), address.port());
    format!(
        "hosts: [\"{DOMAIN}\"]\n\
         loglevel: warning\n\
         certfiles: [\"{folder}/ejabberd.pem\"]\n\
         auth_method: internal\n\
         auth_password_format: scram\n\
         registration_timeout: infinity\n\
         listen:\n  - port: {port}\n    ip: \"{ip}\"\n    module: ejabberd_c2s\n    max_stanza_size: 262144\n    \
         access: c2s\n    starttls: true\n    backlog: 4096\n\
         access_rules:\n  c2s: {{ allow: all }}\n\
         shaper_rules:\n  max_user_sessions: 100000\n  max_user_offline_messages: infinity\n\
         modules:\n  mod_disco: {{}}\n  mod_ping: {{}}\n  mod_roster: {{}}\n  mod_muc:\n    \
         max_users: 20000\n    max_users_presence: 20000\n    default_room_options:\n      max_users: 20000\n      mam: true\n  mod_offline:\n    \
         access_max_user_messages: max_user_offline_messages\n"
    )
}

/// The archive and the offline messages in SQLite, and stream management: more of the last section, then the database.
fn archive_config(database: &Path) -> String {
    format!(
        "    db_type: sql\n  mod_stream_mgmt:\n    max_ack_queue: infinity\n  mod_mam:\n    db_type: sql\n    \
         default: always\n    assume_mam_usage: false\nsql_type: sqlite\nsql_database: \"{}\"\n",
        database.display()
    )
}

/// Registers one account, copies its record under the other names, and says so.
fn registration(accounts: usize) -> String {
    let last = accounts.saturating_sub(1);
    format!(
        "ok = ejabberd_auth:try_register(<<\"user0\">>, <<\"{DOMAIN}\">>, <<\"{PASSWORD}\">>), \
         [P] = mnesia:dirty_read(passwd, {{<<\"user0\">>, <<\"{DOMAIN}\">>}}), \
         lists:foreach(fun(I) -> mnesia:dirty_write(setelement(2, P, \
         {{<<\"user\", (integer_to_binary(I))/binary>>, <<\"{DOMAIN}\">>}})) end, lists:seq(1, {last})), \
         io:format(\"{READY}~n\")."
    )
}

impl Target for Ejabberd {
    fn name(&self) -> &'static str {
        "ejabberd"
    }

    fn does(&self, work: Work) -> bool {
        // These ask whether our own cost stays flat; the others' figures would say nothing about it.
        !matches!(work, Work::Crowd | Work::Roster) && !work.is_ours_alone()
    }

    fn prepare(&mut self, _: usize) -> Outcome<()> {
        install(&["ejabberd", "erlang-p1-sqlite3", "sqlite3"])?;
        self.folder = fresh(&self.folder)?;
        let found = std::fs::read_dir("/usr/lib")
            .into_iter()
            .flatten()
            .flatten()
            .find(|entry| {
                let inside = std::fs::read_dir(entry.path()).into_iter().flatten().flatten();
                inside.into_iter().any(|entry| {
                    let name = entry.file_name();
                    name.to_string_lossy()
                        .strip_prefix("ejabberd-")
                        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
                })
            });
        let found = found.ok_or("the package ejabberd has no library below /usr/lib")?;
        self.libraries = found.path().to_string_lossy().into_owned();
        Ok(())
    }

    fn start(&self, setup: &Setup) -> Outcome<Running> {
        debug_assert_eq!(ROUNDS, 4_096, "ejabberd's own default, which it has no option for");
        let folder = fresh(&self.folder.join("run"))?;
        let address = address(NUMBER);
        let (certificate, key) = tls::certificate()?;
        write(&folder.join("ejabberd.pem"), &format!("{certificate}{key}"))?;
        let mut config = config(&folder, address);
        if setup.keeps == Keeps::Everything {
            let database = folder.join("archive.sqlite");
            sqlite_file(&database, &self.schema()?)?;
            config.push_str(&archive_config(&database));
        }
        write(&folder.join("ejabberd.yml"), &config)?;
        let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
        let (configuration, log, pid, home) = (path("ejabberd.yml"), path("ejabberd.log"), path("pid"), path(""));
        let variables = [
            ("EJABBERD_CONFIG_PATH", configuration.as_str()),
            ("EJABBERD_LOG_PATH", &log),
            ("EJABBERD_PID_PATH", &pid),
            ("ERL_LIBS", &self.libraries),
            ("ERL_CRASH_DUMP_BYTES", "0"),
            ("HOME", &home),
        ];
        let (data, registration) = (format!("\"{}\"", path("data")), registration(setup.accounts));
        // No node name: no distribution, no port mapper, nothing that listens but the one above.
        let arguments = [
            "+K",
            "true",
            "+P",
            "1000000",
            "+Q",
            "65536",
            "+sbwt",
            "none",
            "+sbwtdcpu",
            "none",
            "+sbwtdio",
            "none",
            "-mnesia",
            "dir",
            &data,
            "-noinput",
            "-s",
            "ejabberd",
            "-eval",
            &registration,
        ];
        let mut process = Process::start("erl", &arguments, &variables, &folder)?;
        process.says(READY)?;
        process.listens(address)?;
        Ok(Running { process, address })
    }
}
