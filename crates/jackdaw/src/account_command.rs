//! `jackdaw account …`: through the admin socket while the server runs, on the database itself while it is stopped.

mod devices;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use auth::MAX_PASSWORD;
use c2s::Service;
use router::Router;
use stanza::Jid;
use store_sqlite::Options;
use zeroize::Zeroizing;

use crate::accounts::Accounts;
use crate::admin::{Backend, Client, Command, Listed, NewAccount, PAGE, Reply};
use crate::cli::AccountCommand;
use crate::config::{Config, DomainName, Loaded};
use crate::failure::Failure;
use crate::password;
use crate::serve::Stopped;

/// The longest line of an import: a bare JID (2,047 bytes), a TAB, a password, `\r\n`.
const LINE_BYTES: usize = 2_047 + 1 + MAX_PASSWORD + 2;

/// How long what follows from a command may take on the database itself.
const SETTLING: Duration = Duration::from_secs(30);

/// How often an import says how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// Carries the command out and prints what it has to say.
pub fn run(command: AccountCommand, loaded: &Loaded) -> Result<(), Failure> {
    let config = &loaded.config;
    let iterations = config.limits.password_iterations;
    // What was typed is looked at first: a typing error must not open a database.
    match command {
        AccountCommand::Add {
            jid,
            password_stdin,
            admin,
        } => {
            let jid = address(&jid)?;
            let (password, generated) = new_password(password_stdin)?;
            let credentials = password::derive(&password, iterations)?;
            let command = Command::Add(NewAccount {
                jid: jid.clone(),
                admin,
                credentials,
            });
            with(config, |backend| backend.handle(command))?;
            say_password(&jid, "added", &password, generated)
        }
        AccountCommand::Password { jid, password_stdin } => {
            let jid = address(&jid)?;
            let (password, generated) = new_password(password_stdin)?;
            let credentials = password::derive(&password, iterations)?;
            with(config, |backend| {
                backend.handle(Command::SetPassword(jid.clone(), credentials))
            })?;
            say_password(&jid, "has a new password", &password, generated)
        }
        AccountCommand::Remove { jid } => simple(config, &jid, Command::Remove, "removed"),
        AccountCommand::Disable { jid } => simple(config, &jid, Command::Disable, "disabled"),
        AccountCommand::Enable { jid } => simple(config, &jid, Command::Enable, "enabled"),
        AccountCommand::Admin { jid, admin } => {
            let jid = address(&jid)?;
            with(config, |backend| backend.handle(Command::SetAdmin(jid.clone(), admin)))?;
            say(&format!(
                "{jid} may {}administer the server",
                if admin { "" } else { "not " }
            ))
        }
        AccountCommand::Devices { jid } => devices::print(config, &jid),
        AccountCommand::Revoke {
            jid,
            client_id,
            keep_password,
        } => devices::revoke(config, &jid, &client_id, keep_password),
        AccountCommand::List { of } => {
            let domain = of
                .as_deref()
                .map(DomainName::parse)
                .transpose()
                .map_err(Failure::usage)?;
            with(config, |backend| list(backend, domain))
        }
        AccountCommand::Import { file } => {
            let mut input = open(&file)?;
            let name = if file == Path::new("-") {
                "standard input".to_owned()
            } else {
                file.display().to_string()
            };
            with(config, |backend| import(backend, &mut *input, &name, iterations))
        }
    }
}

pub fn address(text: &str) -> Result<Jid, Failure> {
    ::accounts::address(text).map_err(|error| Failure::usage(error.to_string()))
}

fn simple(config: &Config, jid: &str, command: fn(Jid) -> Command, done: &str) -> Result<(), Failure> {
    let jid = address(jid)?;
    with(config, |backend| backend.handle(command(jid.clone())))?;
    say(&format!("{jid} {done}"))
}

/// Runs something on the running server, or else on the database.
pub fn with<T>(config: &Config, run: impl FnOnce(&dyn Backend) -> Result<T, Failure>) -> Result<T, Failure> {
    if let Some(client) = Client::connect(&config.admin_socket())? {
        return run(&client);
    }
    let options = Options {
        readers: 1,
        ..Options::default()
    };
    // No server, so no connections to end; but contacts are told of a removed account all the same.
    let Stopped {
        store,
        router,
        accounts,
    } = Stopped::open(config, options)?;
    let done = run(&Alone {
        router: &router,
        accounts: &accounts,
    });
    let settled = wait_until(SETTLING, || router.is_settled());
    // Those of the account that were to end have ended; others are as they were.
    router.save_sessions();
    store.close();
    match settled {
        true => done,
        false => Err(Failure::unavailable(
            "the database is too slow: contacts may not know of the change yet",
        )),
    }
}

/// The accounts of a server that does not run.
struct Alone<'a> {
    router: &'a Router,
    accounts: &'a Accounts,
}

impl Backend for Alone<'_> {
    fn handle(&self, command: Command) -> Result<Reply, Failure> {
        if let Some(jid) = command.ends_sessions_of() {
            // Those that the last run has saved, to be resumed: they end as they would while it runs.
            let restored = self.router.restore_sessions_of(Service::clock(), jid);
            restored.map_err(|error| Failure::unavailable(error.to_string()))?;
            if !wait_until(SETTLING, || self.router.is_settled()) {
                return Err(Failure::unavailable("the database is too slow: nothing was changed"));
            }
        }
        self.accounts.handle(command)
    }
}

/// Waits in small steps; false if it took longer than `limit`.
fn wait_until(limit: Duration, done: impl Fn() -> bool) -> bool {
    let begun = Instant::now();
    while !done() {
        if begun.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
    true
}

/// The password, and whether it has to be shown because nobody knows it.
fn new_password(stdin: bool) -> Result<(Zeroizing<String>, bool), Failure> {
    Ok(if stdin {
        (password::from_stdin()?, false)
    } else {
        (password::generate()?, true)
    })
}

pub fn say(line: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{line}").map_err(|error| Failure::failed(format!("cannot write the output: {error}")))
}

/// A generated password goes to the standard output alone, so that a script can take it; the rest of the sentence to
/// the standard error output.
fn say_password(jid: &Jid, done: &str, password: &str, generated: bool) -> Result<(), Failure> {
    if !generated {
        return say(&format!("{jid} {done}"));
    }
    eprintln!("{jid} {done}; its password:");
    say(password)
}

fn list(backend: &dyn Backend, domain: Option<DomainName>) -> Result<(), Failure> {
    let domain = domain.map(|domain| domain.as_str().to_owned());
    let mut after = None;
    loop {
        let command = Command::List {
            domain: domain.clone(),
            after,
        };
        let Reply::Page { accounts, after: next } = backend.handle(command)? else {
            return Err(unexpected());
        };
        for listed in &accounts {
            say(&listed_line(listed))?;
        }
        match next {
            Some(next) => after = Some(next),
            None => return Ok(()),
        }
    }
}

/// JID, day of creation in UTC, state; TABs between them.
fn listed_line(listed: &Listed) -> String {
    let state = if listed.disabled { "disabled" } else { "enabled" };
    let role = if listed.admin { ",admin" } else { "" };
    let created = time::OffsetDateTime::from_unix_timestamp(listed.created);
    let day = created.map_or_else(|_| "?".to_owned(), |created| created.date().to_string());
    format!("{}\t{day}\t{state}{role}", listed.jid)
}

pub fn unexpected() -> Failure {
    Failure::unavailable("the running server answered something else; it is of another version: restart it")
}

fn open(file: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file);
    let opened = opened.map_err(|error| Failure::unavailable(format!("cannot read {}: {error}", file.display())))?;
    Ok(Box::new(BufReader::new(opened)))
}

/// One line of an import that can be used.
struct Wanted {
    line: usize,
    jid: Jid,
    password: Zeroizing<String>,
}

#[derive(Default)]
struct Counts {
    added: usize,
    existing: usize,
    wrong: usize,
}

/// Adds accounts page by page: what was read is derived on all cores, then written. A wrong line is told and passed
/// over; the others are added all the same, as who imports ten thousand wants the rest. A domain that is not served
/// ends the import: it is the configuration that is wrong, and to import again leaves alone what is there.
fn import(backend: &dyn Backend, input: &mut dyn BufRead, name: &str, iterations: u32) -> Result<(), Failure> {
    let mut counts = Counts::default();
    let mut line = 0;
    let start = Instant::now();
    let mut told = start;
    loop {
        let mut page = Vec::with_capacity(PAGE);
        let more = read_page(input, name, &mut line, &mut page, &mut counts)?;
        let mut new = Vec::with_capacity(page.len());
        for (line, derived) in derive_all(page, iterations) {
            match derived {
                Ok(account) => new.push(account),
                Err(error) => wrong(name, line, &error, &mut counts),
            }
        }
        if !new.is_empty() {
            let Reply::Imported { added, existing } = backend.handle(Command::Import(new))? else {
                return Err(unexpected());
            };
            counts.added += added;
            counts.existing += existing;
        }
        if !more {
            break;
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            let per_second = counts.added as f64 / start.elapsed().as_secs_f64();
            eprintln!(
                "{line} lines read, {} accounts added, {per_second:.0} a second",
                counts.added
            );
        }
    }
    let Counts { added, existing, wrong } = counts;
    eprintln!("{added} accounts added, {existing} existed already, {wrong} lines were wrong");
    if wrong > 0 {
        return Err(Failure::failed(format!(
            "{wrong} lines of {name} were not imported; correct them and import again"
        )));
    }
    Ok(())
}

fn wrong(name: &str, line: usize, error: &dyn std::fmt::Display, counts: &mut Counts) {
    counts.wrong += 1;
    eprintln!("{name}:{line}: {error}");
}

/// Reads up to a page of lines; `false`: the input is at its end.
fn read_page(
    input: &mut dyn BufRead,
    name: &str,
    line: &mut usize,
    page: &mut Vec<Wanted>,
    counts: &mut Counts,
) -> Result<bool, Failure> {
    while page.len() < PAGE {
        let mut text = Zeroizing::new(String::with_capacity(LINE_BYTES));
        let read = (&mut *input).take(LINE_BYTES as u64 + 1).read_line(&mut text);
        let read = read.map_err(|error| Failure::failed(format!("{name}:{}: {error}", *line + 1)))?;
        if read == 0 {
            return Ok(false);
        }
        *line += 1;
        if read > LINE_BYTES {
            // To go on would take the rest of the line for another one.
            return Err(Failure::failed(format!(
                "{name}:{line}: longer than {LINE_BYTES} bytes; nothing after it was read"
            )));
        }
        password::without_end(&mut text);
        if text.is_empty() {
            continue;
        }
        let parsed = match text.split_once('\t') {
            Some((jid, password)) => ::accounts::address(jid)
                .map(|jid| Wanted {
                    line: *line,
                    jid,
                    password: Zeroizing::new(password.to_owned()),
                })
                .map_err(|error| error.to_string()),
            None => Err("no TAB between address and password".to_owned()),
        };
        match parsed {
            Ok(wanted) => page.push(wanted),
            Err(error) => wrong(name, *line, &error, counts),
        }
    }
    Ok(true)
}

/// On all cores, in the order of the lines.
fn derive_all(page: Vec<Wanted>, iterations: u32) -> Vec<(usize, Result<NewAccount, Failure>)> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let share = page.len().div_ceil(cores).max(1);
    let derive = |wanted: &Wanted| {
        let derived = password::derive(&wanted.password, iterations);
        let account = derived.map(|credentials| NewAccount {
            jid: wanted.jid.clone(),
            admin: false,
            credentials,
        });
        (wanted.line, account)
    };
    thread::scope(|scope| {
        let shares: Vec<_> = page
            .chunks(share)
            .map(|share| scope.spawn(move || share.iter().map(derive).collect::<Vec<_>>()))
            .collect();
        // A panic in there is one here.
        shares
            .into_iter()
            .flat_map(|share| share.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// The whole way of a command to a running server: over its socket to a store and back.
    #[test]
    fn an_import_and_a_list_go_through_the_socket() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("admin.sock");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let store = Arc::new(store::Memory::new(&[&::accounts::ACCOUNTS]));
        let accounts = Accounts::new(store, vec!["example.org".into()], Box::new(|_, _, _| {}));
        let listener = runtime.block_on(async { crate::admin::bind(&path) }).expect("bound");
        runtime.spawn(crate::admin::serve(listener, Arc::new(accounts)));
        let client = Client::connect(&path).expect("no error").expect("a server");

        let lines: String = (0..2 * PAGE + 1)
            .map(|n| format!("user{n}@example.org\tsecret{n}\n"))
            .collect();
        assert_eq!(import(&client, &mut lines.as_bytes(), "test", 1), Ok(()));
        let refused = import(&client, &mut "a@elsewhere.org\tsecret\n".as_bytes(), "test", 1);
        assert!(refused.is_err_and(|failure| failure.message.contains("not a domain of this server")));

        let (mut after, mut seen) = (None, 0);
        loop {
            let reply = client.handle(Command::List { domain: None, after });
            let Ok(Reply::Page { accounts, after: next }) = reply else {
                panic!("{reply:?}")
            };
            seen += accounts.len();
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, 2 * PAGE + 1);
    }
}
