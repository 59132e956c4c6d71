//! The commands as a shell sees them, with the server stopped: exit codes, what is printed where, what is stored.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A folder with a configuration for example.org, and the program in it.
struct World {
    folder: tempfile::TempDir,
}

/// Few rounds of PBKDF2, so that the tests wait for the program and not for the arithmetic.
const CONFIG: &str = "[[domain]]\nname = 'example.org'\n[limits]\npassword_iterations = 4096\n";

struct Told {
    code: i32,
    out: String,
    err: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("jackdaw.toml"), CONFIG).expect("written");
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jackdaw"));
        command.args(arguments).current_dir(self.folder.path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("JACKDAW_")) {
            command.env_remove(name);
        }
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Told {
        run(self.command(arguments), input)
    }

    /// Runs and compares exit code and whole standard output; gives the standard error output back.
    #[track_caller]
    fn check(&self, arguments: &[&str], input: &str, code: i32, out: &str) -> String {
        let told = self.run(arguments, input);
        assert_eq!(
            (told.code, told.out.as_str()),
            (code, out),
            "{arguments:?}: {}",
            told.err
        );
        if code != 0 && code != 2 {
            assert!(
                told.err
                    .lines()
                    .last()
                    .is_some_and(|line| line.starts_with("jackdaw: ")),
                "{}",
                told.err
            );
        }
        told.err
    }

    /// What `account list` prints, without the days.
    fn list(&self) -> Vec<String> {
        let told = self.run(&["account", "list"], "");
        assert_eq!(told.code, 0, "{}", told.err);
        let without_day = |line: &str| {
            let words: Vec<&str> = line.split('\t').collect();
            assert_eq!((words.len(), words[1].len()), (3, "2026-01-01".len()), "{line}");
            format!("{} {}", words[0], words[2])
        };
        told.out.lines().map(without_day).collect()
    }
}

fn run(mut command: Command, input: &str) -> Told {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("it was piped");
    // A program that fails early does not read all of it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    told(child.wait_with_output().expect("the program ends"))
}

fn told(Output { status, stdout, stderr }: Output) -> Told {
    Told {
        code: status.code().expect("no signal"),
        out: String::from_utf8(stdout).expect("UTF-8"),
        err: String::from_utf8(stderr).expect("UTF-8"),
    }
}

#[test]
fn an_account_from_add_to_remove() {
    let world = World::new();
    let juliet = "juliet@example.org";
    assert_eq!(world.list(), Vec::<String>::new());
    world.check(
        &["account", "add", juliet, "--password-stdin"],
        "secret\n",
        0,
        "juliet@example.org added\n",
    );
    assert_eq!(world.list(), ["juliet@example.org enabled"]);
    let err = world.check(&["account", "add", juliet, "--password-stdin"], "secret\n", 1, "");
    assert!(err.contains("exists already"), "{err}");
    world.check(
        &["account", "password", juliet, "--password-stdin"],
        "other\n",
        0,
        "juliet@example.org has a new password\n",
    );
    world.check(&["account", "disable", juliet], "", 0, "juliet@example.org disabled\n");
    assert_eq!(world.list(), ["juliet@example.org disabled"]);
    world.check(&["account", "enable", juliet], "", 0, "juliet@example.org enabled\n");
    assert_eq!(world.list(), ["juliet@example.org enabled"]);
    world.check(&["account", "remove", juliet], "", 0, "juliet@example.org removed\n");
    assert_eq!(world.list(), Vec::<String>::new());
    for command in ["remove", "disable", "enable", "password"] {
        let err = world.check(&["account", command, juliet], "", 1, "");
        assert!(err.contains("there is no account juliet@example.org"), "{err}");
    }
}

#[test]
fn a_generated_password_is_all_of_the_standard_output() {
    let world = World::new();
    let told = world.run(&["account", "add", "romeo@example.org", "--admin"], "");
    assert_eq!(told.code, 0, "{}", told.err);
    let groups: Vec<usize> = told.out.trim_end().split('-').map(str::len).collect();
    assert_eq!(groups, [6; 5], "{}", told.out);
    assert_eq!(world.list(), ["romeo@example.org enabled,admin"]);

    let again = world.run(&["account", "password", "romeo@example.org"], "");
    assert_eq!(again.code, 0, "{}", again.err);
    assert_ne!(again.out, told.out);
}

#[test]
fn passwords_are_never_stored() {
    let world = World::new();
    world.check(
        &["account", "add", "a@example.org", "--password-stdin"],
        "correct horse\n",
        0,
        "a@example.org added\n",
    );
    for entry in std::fs::read_dir(world.path("data")).expect("the data folder") {
        let path = entry.expect("readable").path();
        let content = std::fs::read(&path).expect("readable");
        assert!(
            !content.windows(13).any(|window| window == b"correct horse"),
            "{}",
            path.display()
        );
    }
}

/// The link alone goes to the standard output, and only there it is to be seen.
#[test]
fn an_invitation_from_its_link_to_its_end() {
    let world = World::new();
    assert_eq!(world.check(&["invite", "list"], "", 0, ""), "");
    let invite = |arguments: &[&str]| {
        let told = world.run(&[&["invite"], arguments].concat(), "");
        assert_eq!(told.code, 0, "{arguments:?}: {}", told.err);
        (told.out.trim_end().to_owned(), told.err)
    };
    let (link, said) = invite(&[]);
    let token = link.strip_prefix("xmpp:example.org?register;preauth=").expect("a link");
    assert!(
        said.starts_with("for an account at example.org, once, until 2") && !said.contains(token),
        "{said}"
    );
    world.check(
        &["account", "add", "romeo@example.org", "--password-stdin"],
        "secret\n",
        0,
        "romeo@example.org added\n",
    );
    let (link, said) = invite(&["--contact", "romeo@example.org", "--uses", "3", "--expires", "2h"]);
    assert!(
        link.starts_with("xmpp:romeo@example.org?roster;preauth=") && link.ends_with(";ibr=y"),
        "{link}"
    );
    assert!(said.contains("with romeo@example.org as a contact, 3 times"), "{said}");
    let (link, said) = invite(&["--admin", "--user", "Juliet"]);
    assert!(link.starts_with("xmpp:juliet@example.org?register;preauth="), "{link}");
    assert!(
        said.starts_with("for an account at juliet@example.org that administers the server, once"),
        "{said}"
    );

    let listed = world.run(&["invite", "list"], "").out;
    let mut lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    assert!(
        lines.iter().all(|line| line.len() == 5 && line[2] == "operator"),
        "{listed}"
    );
    lines.sort_by_key(|line| line[1].to_owned());
    let what: Vec<_> = lines.iter().map(|line| (line[1], line[4])).collect();
    let expected = [
        ("account example.org", "0/1"),
        ("account example.org, contact romeo@example.org", "0/3"),
        ("account juliet@example.org, admin", "0/1"),
    ];
    assert_eq!(what, expected);
    let id = lines[2][0];
    world.check(&["invite", "revoke", id], "", 0, &format!("{id} revoked\n"));
    assert!(
        world
            .check(&["invite", "revoke", id], "", 1, "")
            .contains("jackdaw invite list")
    );
    // Those of an account go with it.
    world.check(
        &["account", "remove", "romeo@example.org"],
        "",
        0,
        "romeo@example.org removed\n",
    );
    assert_eq!(world.run(&["invite", "list"], "").out.lines().count(), 1);
    // The token is nowhere.
    for entry in std::fs::read_dir(world.path("data")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        assert!(
            !bytes.windows(token.len()).any(|at| at == token.as_bytes()),
            "{}",
            path.display()
        );
    }
}

#[test]
fn what_cannot_be_invited_to_is_refused() {
    let world = World::new();
    for (arguments, code, why) in [
        (&["--contact", "nobody@example.org"][..], 1, "there is no account"),
        (&["--contact", "example.org"], 2, "write it as user@domain"),
        (&["--domain", "example.net"], 1, "no account can be made at example.net"),
        (&["--domain", "a@b"], 2, "not the name of a domain"),
        (&["--user", "a b"], 2, "cannot be the name of an account"),
        (&["--user", "juliet", "--uses", "2"], 1, "one name is for one account"),
        (&["--expires", "week"], 2, "write it as 90m, 12h or 7d"),
        (&["--expires", "400d"], 1, "366 days"),
        (&["--uses", "0"], 1, "uses"),
        (&["revoke", "xyz"], 2, "jackdaw invite list"),
    ] {
        let said = world.check(&[&["invite"], arguments].concat(), "", code, "");
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    std::fs::write(
        world.path("jackdaw.toml"),
        CONFIG.replace("[limits]", "registration = 'closed'\n[limits]"),
    )
    .expect("written");
    assert!(world.check(&["invite"], "", 1, "").contains("see `registration`"));
}

#[test]
fn what_cannot_be_an_account_is_refused() {
    let world = World::new();
    let add = |jid: &str, input: &str, code: i32, needle: &str| {
        let err = world.check(&["account", "add", jid, "--password-stdin"], input, code, "");
        assert!(err.contains(needle), "{err}");
    };
    add(
        "a@elsewhere.org",
        "secret\n",
        1,
        "`elsewhere.org` is not a domain of this server",
    );
    add("a@example.org/r", "secret\n", 2, "leave out what follows the `/`");
    add("example.org", "secret\n", 2, "user@domain");
    add("a@example.org", "", 1, "no password");
    add("a@example.org", "a\u{7}b\n", 1, "choose another");
    assert_eq!(world.list(), Vec::<String>::new());
}

#[test]
fn an_import_adds_what_it_can() {
    let world = World::new();
    world.check(
        &["account", "add", "b@example.org", "--password-stdin"],
        "x\n",
        0,
        "b@example.org added\n",
    );
    let lines = "a@example.org\tsecret\n\nb@example.org\tsecret\r\nC@example.org\ta\ttab\n";
    let err = world.check(&["account", "import", "-"], lines, 1, "");
    assert!(
        err.contains("standard input:4: "),
        "a TAB is no character of a password: {err}"
    );
    assert!(
        err.contains("1 accounts added, 1 existed already, 1 lines were wrong"),
        "{err}"
    );
    assert_eq!(world.list(), ["a@example.org enabled", "b@example.org enabled"]);

    let many: String = (0..600)
        .map(|n| format!("user{n:03}@example.org\tsecret{n}\n"))
        .collect();
    std::fs::write(world.path("many"), many).expect("written");
    let err = world.check(&["account", "import", "many"], "", 0, "");
    assert!(
        err.contains("600 accounts added, 0 existed already, 0 lines were wrong"),
        "{err}"
    );
    assert_eq!(world.list().len(), 602);
    assert_eq!(world.list()[2], "user000@example.org enabled");

    let err = world.check(
        &["account", "import", "-"],
        "no tab\na@example.org/r\tx\nz@elsewhere.org\tx\n",
        1,
        "",
    );
    assert!(
        err.contains("standard input:1: no TAB") && err.contains("standard input:2: "),
        "{err}"
    );
    let err = world.check(&["account", "import", "-"], &"x".repeat(100_000), 1, "");
    assert!(err.contains("standard input:1: longer than"), "{err}");
    world.check(&["account", "import", "absent"], "", 4, "");
}

#[test]
fn a_list_can_be_of_one_domain() {
    let world = World::new();
    std::fs::write(
        world.path("two.toml"),
        "[[domain]]\nname = 'a.org'\n[[domain]]\nname = 'b.org'\n",
    )
    .expect("written");
    world.check(
        &["--config", "two.toml", "account", "import", "-"],
        "x@a.org\ts\nx@b.org\ts\n",
        0,
        "",
    );
    let told = world.run(&["--config", "two.toml", "account", "list", "--domain", "b.org"], "");
    assert!(
        told.out.starts_with("x@b.org\t") && told.out.lines().count() == 1,
        "{}",
        told.out
    );
}

/// By the configuration alone: no database is opened.
#[test]
fn the_records_for_the_dns_are_printed() {
    let world = World::new();
    let told = world.run(&["dns", "--host", "chat.example.org"], "");
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    for line in [
        "_xmpp-client._tcp.example.org.     3600 IN SRV 5 1 5222 chat.example.org.",
        "_xmpps-client._tcp.example.org.    3600 IN SRV 5 1 5223 chat.example.org.",
        "_xmpp-server._tcp.example.org.     3600 IN SRV 5 1 5269 chat.example.org.",
        "_xmpp-server._tcp.conference.example.org. 3600 IN SRV 5 1 5269 chat.example.org.",
    ] {
        assert!(told.out.lines().any(|printed| printed == line), "{}", told.out);
    }
    assert!(!world.path("data").exists());
}

/// Answers everything with a failure (RFC 1035 section 4.1.1: bit QR, code 2), for as long as the tests run.
fn dns_that_fails() -> std::net::SocketAddr {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut space = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut space) {
            space[2] |= 0x80;
            space[3] = 2;
            let _ = socket.send_to(&space[..length], peer);
        }
    });
    address
}

/// Everything that needs the DNS is wrong then, and each line says what to do.
#[test]
fn a_doctor_whom_the_dns_fails() {
    let world = World::new();
    let config = format!("{CONFIG}[federation]\nresolver = ['{}']\n", dns_that_fails());
    std::fs::write(world.path("jackdaw.toml"), config).expect("written");
    let told = world.run(&["doctor"], "");
    assert_eq!(told.code, 1, "{}", told.err);
    assert!(told.err.contains("things are wrong"), "{}", told.err);
    let wrong: Vec<&str> = told.out.lines().filter(|line| line.starts_with("WRONG")).collect();
    assert!(
        wrong.iter().any(|line| line.contains("_xmpp-server._tcp.example.org")),
        "{}",
        told.out
    );
    assert!(wrong.iter().all(|line| line.contains(" -> ")), "{}", told.out);
    let told = world.run(&["doctor", "--json", "other.example"], "");
    assert_eq!(told.code, 1, "{}", told.err);
    assert!(
        told.out.starts_with('[') && told.out.contains("\"result\": \"wrong\""),
        "{}",
        told.out
    );
    world.check(&["doctor", "juliet@example.org"], "", 2, "");
    // It looks, and leaves nothing behind.
    assert!(!world.path("data").exists());
}

/// There is no certificate before the server has made one.
#[test]
fn keys_for_the_dns_need_a_certificate() {
    let world = World::new();
    let err = world.check(&["dns", "--tlsa"], "", 1, "");
    assert!(err.contains("example.org has no certificate yet"), "{err}");
}

#[test]
fn the_configuration_can_be_shown_and_checked() {
    let world = World::new();
    world.check(
        &["config", "check"],
        "",
        0,
        "jackdaw.toml can be used: 1 domain, 5 listeners\n",
    );
    let example = world.run(&["config", "example"], "");
    assert_eq!(example.code, 0);
    std::fs::write(world.path("example.toml"), &example.out).expect("written");
    world.check(
        &["config", "check", "--config", "example.toml"],
        "",
        0,
        "example.toml can be used: 1 domain, 5 listeners\n",
    );

    std::fs::write(world.path("wrong.toml"), "[limits]\ncolour = 1\n").expect("written");
    for arguments in [["config", "check"], ["account", "list"]] {
        let err = world.check(&[&["--config", "wrong.toml"], &arguments[..]].concat(), "", 3, "");
        assert!(
            err.starts_with("jackdaw: wrong.toml:2:1: unknown key `colour` in [limits]; "),
            "{err}"
        );
        assert_eq!(err.lines().count(), 1, "{err}");
    }
    world.check(&["--config", "absent.toml", "config", "check"], "", 3, "");
    std::fs::write(
        world.path("files.toml"),
        "[[domain]]\nname='a.org'\ncertificate='a'\nkey='b'\n",
    )
    .expect("written");
    let err = world.check(&["--config", "files.toml", "config", "check"], "", 3, "");
    assert!(err.contains("TLS of a.org: cannot read a: "), "{err}");
    assert!(
        !world.path("data").exists(),
        "to look at the configuration makes nothing"
    );
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let world = World::new();
    std::fs::write(
        world.path("other.toml"),
        "data = 'filedata'\n[[domain]]\nname = 'file.org'\n",
    )
    .expect("written");
    let add = |flags: &[&str], environment: &[(&str, &str)], jid: &str, code: i32, made: &str| {
        let mut command = world.command(&[flags, &["account", "add", jid]].concat());
        command.envs(environment.iter().copied());
        let told = run(command, "");
        assert_eq!(told.code, code, "{flags:?} {environment:?}: {}", told.err);
        assert!(world.path(made).exists(), "{flags:?} {environment:?}");
    };
    let config = [("JACKDAW_CONFIG", "other.toml")];
    let data = [config[0], ("JACKDAW_DATA", "envdata")];
    let domain = [data[0], data[1], ("JACKDAW_DOMAIN", "env.org,env2.org")];
    let empty = [data[0], ("JACKDAW_DATA", ""), ("JACKDAW_DOMAIN", "")];
    add(&[], &config, "a@file.org", 0, "filedata");
    add(&[], &data, "a@file.org", 0, "envdata");
    add(&["--data", "flagdata"], &data, "a@file.org", 0, "flagdata");
    add(&[], &domain, "a@env2.org", 0, "envdata");
    add(&[], &domain, "b@file.org", 1, "envdata");
    add(&["--domain", "flag.org"], &domain, "a@flag.org", 0, "envdata");
    add(
        &["--domain", "flag.org", "flag2.org"],
        &domain,
        "a@flag2.org",
        0,
        "envdata",
    );
    add(&["--domain", "flag.org"], &domain, "b@env.org", 1, "envdata");
    add(&[], &empty, "empty@file.org", 0, "filedata");
    add(&["--config", "jackdaw.toml"], &config, "a@example.org", 0, "data");
}

#[test]
fn wrong_usage_is_2_and_the_version_is_told() {
    let world = World::new();
    world.check(&["explode"], "", 2, "");
    world.check(&["account"], "", 2, "");
    world.check(&["account", "list", "--domain", "a@b"], "", 2, "");
    world.check(
        &["--version"],
        "",
        0,
        &format!("jackdaw {}\n", env!("CARGO_PKG_VERSION")),
    );
    let help = world.run(&["--help"], "");
    assert!(help.code == 0 && help.out.contains("Exit codes: 0 "), "{}", help.out);
}

#[test]
fn a_data_folder_that_cannot_be_used_is_4() {
    let world = World::new();
    std::fs::write(world.path("file"), "").expect("written");
    let err = world.check(&["--data", "file", "account", "list"], "", 4, "");
    assert!(err.contains("file"), "{err}");
    std::fs::create_dir(world.path("data")).expect("made");
    std::fs::write(
        database(world.folder.path()),
        "this is no database, and long enough to tell",
    )
    .expect("written");
    let err = world.check(&["account", "list"], "", 4, "");
    assert!(err.contains("not a database"), "{err}");
}

/// The server with this as its first socket of socket activation, as far as it comes.
fn handed(world: &World, socket: impl Into<std::os::fd::OwnedFd>, config: &str) -> Told {
    std::fs::write(world.path("jackdaw.toml"), format!("{CONFIG}{config}")).expect("written");
    let mut command = Command::new("sh");
    let script = "export LISTEN_PID=$$; exec \"$0\" serve 3<&0 </dev/null";
    command
        .args(["-c", script, env!("CARGO_BIN_EXE_jackdaw")])
        .current_dir(world.folder.path())
        .env("LISTEN_FDS", "1")
        .env("LISTEN_FDNAMES", "chat")
        .stdin(Stdio::from(socket.into()));
    told(command.output().expect("the program starts"))
}

/// Each would be a port that is open and never answers.
#[test]
fn sockets_that_no_listener_can_use() {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;
    let world = World::new();
    let check = |socket: std::os::fd::OwnedFd, config: &str, expected: &str| {
        let told = handed(&world, socket, config);
        assert_eq!((told.code, told.out.as_str()), (3, ""), "{}", told.err);
        let last = told.err.lines().last().unwrap_or_default();
        assert!(last.starts_with("jackdaw: the socket `chat` (descriptor 3) "), "{last}");
        assert!(last.contains(expected), "{last}");
    };
    let port = |address: std::net::SocketAddr| format!("[[listen]]\nkind = 'c2s'\naddress = '{address}'\n");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let config = port(udp.local_addr().expect("bound"));
    check(udp.into(), &config, "it is not one of TCP");
    let unix = UnixListener::bind(world.path("socket")).expect("bound");
    check(unix.into(), &config, "it is not one of TCP");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    let client = TcpStream::connect(address).expect("reached");
    let (accepted, _) = listener.accept().expect("accepted");
    check(accepted.into(), &port(address), "it does not listen");
    drop(client);
    let elsewhere = format!("listens on {address}, and no [[listen]] has that address");
    let other = port(([127, 0, 0, 1], address.port() ^ 1).into());
    check(listener.into(), &other, &elsewhere);
    let file = std::fs::File::open(world.path("jackdaw.toml")).expect("there");
    check(file.into(), &config, "it is not one of TCP");
}

fn database(folder: &Path) -> PathBuf {
    folder.join("data").join("jackdaw.sqlite")
}
