//! A directory for tests: Debian's slapd with a few people in it, on a loopback address of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

/// How long it may take to listen.
const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const SLAPD: &str = "/usr/sbin/slapd";
/// The same program changes the data while it does not run.
const SLAPADD: &str = "/usr/sbin/slapadd";
const SLAPMODIFY: &str = "/usr/sbin/slapmodify";
/// Ports of its own address.
const LDAP: u16 = 3890;
const LDAPS: u16 = 6360;

pub(crate) const BASE: &str = "ou=people,dc=example,dc=org";
pub(crate) const SERVICE: &str = "cn=jackdaw,ou=services,dc=example,dc=org";
pub(crate) const GROUP: &str = "cn=chat,ou=groups,dc=example,dc=org";
/// A group of the other kind, of names and not of entries.
pub(crate) const POSIX_GROUP: &str = "cn=posix,ou=groups,dc=example,dc=org";

/// The password of everybody is `<uid> secret`. `mercutio` is in no group; `twin` is there twice; `nurse` has no
/// password.
const PEOPLE: &str = "\
dn: dc=example,dc=org
objectClass: domain

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit

dn: ou=more,ou=people,dc=example,dc=org
objectClass: organizationalUnit

dn: ou=groups,dc=example,dc=org
objectClass: organizationalUnit

dn: ou=services,dc=example,dc=org
objectClass: organizationalUnit

dn: cn=jackdaw,ou=services,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
userPassword: service secret

dn: uid=juliet,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
cn: Juliet
sn: Capulet
userPassword: juliet secret

dn: uid=romeo,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
cn: Romeo
sn: Montague
userPassword: romeo secret

dn: uid=mercutio,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
cn: Mercutio
sn: Escalus
userPassword: mercutio secret

dn: uid=nurse,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
cn: Nurse
sn: Angelica

dn: uid=st*r(x)\\5Cy,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
cn: Star
sn: Star
userPassword: star secret

dn: uid=twin,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
cn: Twin
sn: One
userPassword: twin secret

dn: uid=twin,ou=more,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
cn: Twin
sn: Two
userPassword: twin secret

dn: cn=chat,ou=groups,dc=example,dc=org
objectClass: groupOfNames
member: uid=juliet,ou=people,dc=example,dc=org
member: uid=romeo,ou=people,dc=example,dc=org
member: uid=nurse,ou=people,dc=example,dc=org
member: uid=twin,ou=people,dc=example,dc=org
member: uid=twin,ou=more,ou=people,dc=example,dc=org
member: uid=st*r(x)\\5Cy,ou=people,dc=example,dc=org

dn: cn=posix,ou=groups,dc=example,dc=org
objectClass: posixGroup
gidNumber: 1000
memberUid: mercutio
";

/// What one of them is like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only the service may search, and nothing is bound without TLS.
    Strict,
    /// TLS with a certificate for another host.
    Misnamed,
    /// Without TLS, and everybody may search.
    Open,
}

/// A running directory. Killed when it is dropped.
pub(crate) struct Directory {
    folder: TempDir,
    address: Ipv4Addr,
    child: Option<Child>,
}

/// A loopback address that no other test uses at the same time: those of the servers have a third part above 127.
pub(crate) fn address() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed) % 100;
    Ipv4Addr::new(127, high, 1 + u8::try_from(count).unwrap_or_default(), low)
}

impl Directory {
    pub(crate) fn start(kind: Kind) -> Directory {
        let folder = tempfile::Builder::new()
            .prefix("jackdaw-slapd-")
            .tempdir()
            .expect("a temporary folder");
        let address = address();
        let path = folder.path();
        fs::create_dir(path.join("db")).expect("a folder");
        write_certificates(
            path,
            &match kind {
                Kind::Misnamed => "elsewhere.example".to_owned(),
                _ => address.to_string(),
            },
        );
        let here = path.display();
        let mut config = String::new();
        for schema in ["core", "cosine", "nis", "inetorgperson"] {
            let _ = writeln!(config, "include /etc/ldap/schema/{schema}.schema");
        }
        let _ = writeln!(
            config,
            "modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {here}/pid\nloglevel none"
        );
        if kind != Kind::Open {
            let _ = writeln!(
                config,
                "TLSCACertificateFile {here}/ca.pem\nTLSCertificateFile {here}/ldap.pem\n\
                 TLSCertificateKeyFile {here}/ldap.key\nsecurity simple_bind=128"
            );
        }
        let searches = if kind == Kind::Open {
            "anonymous read".to_owned()
        } else {
            format!("dn.exact=\"{SERVICE}\" read by * none")
        };
        let _ = writeln!(
            config,
            "database mdb\nsuffix dc=example,dc=org\ndirectory {here}/db\nmaxsize 10485760\ndbnosync\n\
             access to attrs=userPassword by anonymous auth by * none\naccess to * by {searches}"
        );
        fs::write(path.join("slapd.conf"), config).expect("written");
        let mut directory = Directory {
            folder,
            address,
            child: None,
        };
        directory.offline(SLAPADD, PEOPLE);
        directory.go_on();
        directory
    }

    /// Its URL, with StartTLS if there is TLS.
    pub(crate) fn ldap(&self) -> String {
        format!("ldap://{}:{LDAP}", self.address)
    }

    pub(crate) fn ldaps(&self) -> String {
        format!("ldaps://{}:{LDAPS}", self.address)
    }

    /// The authority of its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A file with this content, beside it.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        fs::write(&file, content).expect("written");
        file
    }

    /// Starts it, or starts it again, on the same address with the same people.
    pub(crate) fn go_on(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let child = Command::new(SLAPD)
            // In the foreground, and silent.
            .args(["-d", "0", "-h"])
            .arg(format!("{} {}", self.ldap(), self.ldaps()))
            .arg("-f")
            .arg(self.folder.path().join("slapd.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("slapd is installed, as `cargo xtask test` does");
        let child = self.child.insert(child);
        let began = Instant::now();
        while TcpStream::connect((self.address, LDAP)).is_err() {
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                panic!("slapd ended with {status}");
            }
            assert!(began.elapsed() < START_LIMIT, "slapd does not listen");
            sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().expect("it runs");
        signal(&child, "TERM");
        child.wait().expect("it ends");
    }

    /// It takes connections and questions, and answers nothing.
    pub(crate) fn freeze(&self) {
        signal(self.child.as_ref().expect("it runs"), "STOP");
    }

    pub(crate) fn thaw(&self) {
        signal(self.child.as_ref().expect("it runs"), "CONT");
    }

    /// Changes what is in it, between an end and a start.
    pub(crate) fn change(&mut self, ldif: &str) {
        self.stop();
        self.offline(SLAPMODIFY, ldif);
        self.go_on();
    }

    fn offline(&self, program: &str, ldif: &str) {
        let file = self.file("change.ldif", ldif);
        let output = Command::new(program)
            .arg("-f")
            .arg(self.folder.path().join("slapd.conf"))
            .arg("-l")
            .arg(file)
            .output()
            .expect("slapd is installed, as `cargo xtask test` does");
        assert!(output.status.success(), "{program}: {output:?}");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &child.id().to_string()])
        .status()
        .expect("kill is there");
    assert!(status.success(), "kill -s {name}");
}

/// `ca.pem`, and a certificate of it for this host: `ldap.pem`, `ldap.key`.
fn write_certificates(folder: &Path, host: &str) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let ca = authority.self_signed(&key).expect("a certificate");
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new([host.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    for (name, text) in [
        ("ca.pem", ca.pem()),
        ("ldap.pem", certificate.pem()),
        ("ldap.key", key.serialize_pem()),
    ] {
        fs::write(folder.join(name), text).expect("written");
    }
}
