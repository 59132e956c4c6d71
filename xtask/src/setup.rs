//! What the tests need and a fresh machine lacks: Debian's packages, a Python environment, packages of Node.js,
//! cargo-nextest.
//!
//! Each is looked for first, so a second run installs nothing and asks no registry.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::process;
use crate::{cargo, root};

/// Debian packages of the tests: the clients with a screen and a bus to run them on, proxies, what makes certificates of
/// kinds that we do not make, a relay for calls, a directory, what counts instructions, other servers with a DNS and a
/// network for them, and a gateway to IRC with a server behind it.
const PACKAGES: &[&str] = &[
    "profanity",
    "haproxy",
    "nginx-light",
    "libnginx-mod-stream",
    "gajim",
    "gajim-omemo",
    "dino-im",
    "chromium",
    "xvfb",
    "dbus",
    "openssl",
    "coturn",
    "slapd",
    "util-linux",
    "valgrind",
    "prosody",
    "lua-unbound",
    "ejabberd",
    "knot",
    "iproute2",
    "biboumi",
    "ngircd",
];
/// The oldest Node.js that the web clients run on. Debian 12 has 18.
const NODE: u32 = 20;
const APT_LIMIT: Duration = Duration::from_secs(900);
const PIP_LIMIT: Duration = Duration::from_secs(300);
const NPM_LIMIT: Duration = Duration::from_secs(300);
const BUILD_LIMIT: Duration = Duration::from_secs(1200);

/// Installs the Debian packages of the tests where they are missing.
pub(crate) fn packages() -> Result<(), String> {
    if !works(Command::new("dpkg-query").arg("--version")) {
        println!("setup | no Debian here: install yourself {}", PACKAGES.join(" "));
        return Ok(());
    }
    let mut missing: Vec<&str> = PACKAGES.iter().copied().filter(|package| !installed(package)).collect();
    // Debian's own Python leaves this out; another Python on the path has it.
    if !works(Command::new("python3").args(["-c", "import ensurepip, venv"])) {
        missing.extend(["python3", "python3-venv"]);
    }
    if !works(Command::new("npm").arg("--version")) {
        missing.extend(["nodejs", "npm"]);
    }
    if missing.is_empty() {
        return Ok(());
    }
    println!("setup | apt-get install {}", missing.join(" "));
    let install = ["install", "--yes", "--no-install-recommends"];
    for arguments in [vec!["update"], [&install[..], &missing[..]].concat()] {
        if !process::run(
            "setup",
            apt().args(["-qq", "-o=Dpkg::Use-Pty=0"]).args(arguments),
            APT_LIMIT,
        )
        .success
        {
            return Err(format!("cannot install {}", missing.join(" ")));
        }
    }
    Ok(())
}

fn apt() -> Command {
    let root = Command::new("id")
        .arg("-u")
        .output()
        .is_ok_and(|out| out.stdout.trim_ascii() == b"0");
    let mut command = if root {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["--non-interactive", "env"]);
        sudo
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    command
}

fn installed(package: &str) -> bool {
    Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status}", package])
        .output()
        .is_ok_and(|out| out.stdout == b"installed")
}

/// The Python of an environment that has what `tests/interop/requirements.txt` names; made or renewed where it is not.
pub(crate) fn python() -> Result<PathBuf, String> {
    let wanted = root().join("tests/interop/requirements.txt");
    let text = fs::read_to_string(&wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    let environment = root().join(".cache/interop-venv");
    let python = environment.join("bin/python");
    let stamp = environment.join("requirements.installed");
    // The stamp is written last, so a broken install is done again. Asking the Python itself finds an environment
    // whose Python has since gone.
    if fs::read_to_string(&stamp).is_ok_and(|done| done == text)
        && works(Command::new(&python).args(["-c", "import slixmpp"]))
    {
        return Ok(python);
    }
    println!("setup | Python environment in .cache/interop-venv");
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&environment);
    let mut install = Command::new(&python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
            "--requirement",
        ])
        .arg(&wanted);
    for step in [make, install] {
        if !process::run("setup", &step, PIP_LIMIT).success {
            return Err("cannot make the Python environment".to_owned());
        }
    }
    fs::write(&stamp, text).map_err(|error| format!("{}: {error}", stamp.display()))?;
    Ok(python)
}

/// Whether there is a Node.js that is new enough. It is not installed here: Debian 12 has none, and whose it is to be
/// elsewhere is for the owner of the machine to say.
fn check_node() -> Result<(), String> {
    let output = Command::new("node").arg("--version").output();
    let said = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match said.as_deref().ok().and_then(major) {
        Some(major) if major >= NODE => Ok(()),
        found => {
            let found = found.map_or_else(|| "is missing".to_owned(), |major| format!("here is {major}"));
            Err(format!(
                "the web clients need Node.js {NODE} or newer, which {found} (Debian 12 has 18): put a newer `node` in \
                 front of PATH, as with `npm install --global n && n lts` or a package of https://nodejs.org/en/download, \
                 and run this again"
            ))
        }
    }
}

/// `v20.19.2`: 20.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// The packages of Node.js that `tests/interop/web/package.json` names, in `.cache/interop-node`.
pub(crate) fn node() -> Result<(), String> {
    check_node()?;
    let wanted = root().join("tests/interop/web/package.json");
    let text = fs::read_to_string(&wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    let folder = root().join(".cache/interop-node");
    let stamp = folder.join("package.installed");
    if fs::read_to_string(&stamp).is_ok_and(|done| done == text) {
        return Ok(());
    }
    println!("setup | npm packages in .cache/interop-node");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("package.json"), &text))
        .map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut install = Command::new("npm");
    install
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
            "--omit=dev",
            "--loglevel=error",
        ])
        .current_dir(&folder);
    if !process::run("setup", &install, NPM_LIMIT).success {
        return Err("cannot install the packages of Node.js".to_owned());
    }
    // Written last, so a broken install is done again.
    fs::write(&stamp, text).map_err(|error| format!("{}: {error}", stamp.display()))
}

/// Installs cargo-nextest where it is missing.
pub(crate) fn nextest() -> Result<(), String> {
    if works(Command::new(cargo()).args(["nextest", "--version"])) {
        return Ok(());
    }
    println!("setup | cargo install cargo-nextest (some minutes)");
    let mut install = Command::new(cargo());
    install.args(["install", "--locked", "cargo-nextest"]);
    if process::run("setup", &install, BUILD_LIMIT).success {
        Ok(())
    } else {
        Err("cannot install cargo-nextest".to_owned())
    }
}

/// Whether cargo has this subcommand.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    works(Command::new(cargo()).args([subcommand, "--version"]))
}

fn works(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn versions_of_node() {
        for (version, expected) in [
            ("v18.20.4", Some(18)),
            ("v20.19.2", Some(20)),
            ("v22", Some(22)),
            ("20.1.0", None),
            ("", None),
            ("vx.1", None),
        ] {
            assert_eq!(major(version), expected, "{version}");
        }
    }
}
