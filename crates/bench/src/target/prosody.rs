//! Debian's Prosody, tuned as a good administrator would: epoll, Nagle off, the generational garbage collector.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::process::{Process, install, sqlite_file};
use super::{Keeps, ROUNDS, Running, Setup, Target, address, fresh, write};
use crate::Outcome;
use crate::client::{DOMAIN, PASSWORD, user};
use crate::scram::verifier;
use crate::tls;
use crate::work::Work;

const NUMBER: u8 = 2;
/// One salt for all accounts: the generator's own work is not what is measured.
const SALT: &str = "jackdaw-bench-16";

pub(super) struct Prosody {
    folder: PathBuf,
}

impl Prosody {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

fn config(folder: &Path, address: SocketAddr, keeps: Keeps) -> String {
    let (folder, ip, port) = (folder.display(), address.ip(), address.port());
    let (modules, of_rooms, storage) = match keeps {
        Keeps::Everything => (
            "\"smacks\"; \"mam\"; ",
            "\"muc_mam\"; ",
            format!(
                "{{ archive = \"sql\"; muc_log = \"sql\"; offline = \"sql\" }}\n\
                 default_storage = \"internal\"\n\
                 sql = {{ driver = \"SQLite3\"; database = \"{folder}/archive.sqlite\" }}\n\
                 archive_expires_after = \"never\"\n\
                 muc_log_expires_after = \"never\"\n\
                 default_archive_policy = true\n\
                 max_archive_query_results = 50\n\
                 smacks_max_unacked_stanzas = 0"
            ),
        ),
        Keeps::Usual | Keeps::Nothing => ("", "", "\"internal\"".to_owned()),
    };
    format!(
        "run_as_root = true\n\
         daemonize = false\n\
         data_path = \"{folder}/data\"\n\
         log = {{ warn = \"{folder}/prosody.log\" }}\n\
         network_backend = \"epoll\"\n\
         network_settings = {{ tcp_backlog = 4096; nagle = false }}\n\
         gc = {{ mode = \"generational\" }}\n\
         plugin_paths = {{}}\n\
         modules_enabled = {{ \"roster\"; \"saslauth\"; \"tls\"; \"disco\"; \"ping\"; \"offline\"; {modules}}}\n\
         modules_disabled = {{ \"s2s\"; \"http\"; \"vcard\"; \"private\"; \"pep\"; \"register\"; \"limits\" }}\n\
         s2s_ports = {{}}; http_ports = {{}}; https_ports = {{}}; component_ports = {{}}\n\
         s2s_direct_tls_ports = {{}}; c2s_direct_tls_ports = {{}}\n\
         interfaces = {{ \"{ip}\" }}\n\
         c2s_interfaces = {{ \"{ip}\" }}\n\
         c2s_ports = {{ {port} }}\n\
         c2s_require_encryption = false\n\
         authentication = \"internal_hashed\"\n\
         ssl = {{ certificate = \"{folder}/localhost.crt\"; key = \"{folder}/localhost.key\" }}\n\
         certificates = \"{folder}\"\n\
         storage = {storage}\n\
         VirtualHost \"{DOMAIN}\"\n\
         Component \"conference.{DOMAIN}\" \"muc\"\n\
         modules_enabled = {{ {of_rooms}}}\n\
         restrict_room_creation = false\n"
    )
}

impl Target for Prosody {
    fn name(&self) -> &'static str {
        "Prosody"
    }

    fn does(&self, work: Work) -> bool {
        // A crowd is more than this configuration is made for. A roster of thousands is written anew as one file at
        // each change: filling it would take longer than all else together.
        // And some ask whether our own cost stays flat.
        !matches!(work, Work::Crowd | Work::Roster) && !work.is_ours_alone()
    }

    fn prepare(&mut self, _: usize) -> Outcome<()> {
        install(&["prosody", "lua-sec", "lua5.4", "lua-dbi-sqlite3", "sqlite3"])?;
        self.folder = fresh(&self.folder)?;
        Ok(())
    }

    fn start(&self, setup: &Setup) -> Outcome<Running> {
        let folder = fresh(&self.folder.join("run"))?;
        let address = address(NUMBER);
        let (certificate, key) = tls::certificate()?;
        write(&folder.join("localhost.crt"), &certificate)?;
        write(&folder.join("localhost.key"), &key)?;
        write(&folder.join("prosody.cfg.lua"), &config(&folder, address, setup.keeps))?;
        if setup.keeps == Keeps::Everything {
            sqlite_file(&folder.join("archive.sqlite"), "")?;
        }
        let data = fresh(&folder.join("data").join(DOMAIN).join("accounts"))?;
        let (stored, server) = verifier(PASSWORD, SALT.as_bytes(), ROUNDS);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let account = format!(
            "return {{\n\t[\"iteration_count\"] = {ROUNDS};\n\t[\"salt\"] = \"{SALT}\";\n\
             \t[\"stored_key\"] = \"{}\";\n\t[\"server_key\"] = \"{}\";\n}};\n",
            hex(&stored),
            hex(&server)
        );
        for number in 0..setup.accounts {
            write(&data.join(format!("{}.dat", user(number))), &account)?;
        }
        let config = folder.join("prosody.cfg.lua");
        let arguments = ["/usr/bin/prosody", "--config", &config.to_string_lossy(), "-F"];
        let mut process = Process::start("lua5.4", &arguments, &[], &folder)?;
        process.listens(address)?;
        Ok(Running { process, address })
    }
}
