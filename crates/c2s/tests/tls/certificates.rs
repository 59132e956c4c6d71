//! Reading, choosing and exchanging certificates.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use jackdaw_c2s::tls::{CertificateWarning, Certificates, HostFiles, Kind, Problem, server_config};
use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};

use crate::support::{Folder, Pair, client_config, load, write};

/// The certificate a client is shown that asks for `name`, and that the binding belongs to.
fn served(config: &Arc<ServerConfig>, name: &str) -> Vec<u8> {
    let mut shown = Vec::new();
    for version in [&TLS13, &TLS12] {
        let pair = Pair::new(config, client_config(&[], &[version]), name).established();
        let chain = pair.client.peer_certificates().expect("a chain was shown");
        let digest = ring::digest::digest(&ring::digest::SHA256, &chain[0]);
        let binding = pair.server.tls.binding().server_end_point;
        assert_eq!(binding.as_deref(), Some(digest.as_ref()));
        shown.push(digest.as_ref().to_vec());
    }
    assert_eq!(shown[0], shown[1]);
    shown.swap_remove(0)
}

fn in_file(folder: &Folder, files: &HostFiles) -> Vec<u8> {
    folder.openssl_digest(&files.certificate, "-sha256")
}

#[test]
fn the_name_chooses() {
    let folder = Folder::new();
    let first = folder.ecdsa("first.example");
    let second = folder.ecdsa("second.example");
    let mut third = folder.ecdsa("xn--bcher-kva.example");
    third.host = "Bücher.example".to_owned();
    let config = server_config(load(&[&first, &second, &third]), Kind::Direct);
    for (name, files) in [
        ("first.example", &first),
        ("second.example", &second),
        ("SECOND.example", &second),
        ("xn--bcher-kva.example", &third),
        // Unknown names, and an address, for which a client sends none: the default.
        ("other.example", &first),
        ("second.example.org", &first),
        // A service of a domain is in that domain's certificate.
        ("sub.second.example", &second),
        ("a.sub.second.example", &second),
        ("192.0.2.1", &first),
    ] {
        assert_eq!(served(&config, name), in_file(&folder, files), "{name}");
    }
}

#[test]
fn a_chain_is_served_whole() {
    let folder = Folder::new();
    let files = folder.ecdsa("a.example");
    let other = folder.ecdsa("issuer.example");
    let chain = [&files, &other].map(|files| fs::read(&files.certificate).expect("written"));
    write(&files.certificate, &chain.concat());
    let config = server_config(load(&[&files]), Kind::Direct);
    let pair = Pair::new(&config, client_config(&[], &[&TLS13]), "a.example").established();
    let shown = pair.client.peer_certificates().expect("a chain was shown");
    assert_eq!(shown.len(), 2);
}

#[test]
fn one_file_may_hold_both() {
    let folder = Folder::new();
    let mut files = folder.ecdsa("a.example");
    let both = [&files.key, &files.certificate].map(|path| fs::read(path).expect("written"));
    write(&files.certificate, &both.concat());
    files.key = files.certificate.clone();
    load(&[&files]);
}

#[test]
fn bad_files_are_named() {
    #[track_caller]
    fn check(spoil: impl FnOnce(&Folder, &mut HostFiles), key_at_fault: bool, expected: impl FnOnce(&Problem) -> bool) {
        let folder = Folder::new();
        let mut files = folder.ecdsa("a.example");
        spoil(&folder, &mut files);
        let error = Certificates::load(vec![files.clone()]).expect_err("it was loaded");
        assert!(expected(&error.problem), "{error:?}");
        let path = if key_at_fault { &files.key } else { &files.certificate };
        assert_eq!(&error.path, path);
        let line = error.to_string();
        assert!(!line.contains('\n'), "{line}");
        assert!(line.contains("a.example") && line.contains("; "), "{line}");
        assert!(line.contains(&path.display().to_string()), "{line}");
    }
    let unreadable = |problem: &Problem| matches!(problem, Problem::Unreadable(_));
    let not_pem = |problem: &Problem| matches!(problem, Problem::NotPem(_));
    let missing = |folder: &Folder| folder.path("missing.pem");

    check(|folder, files| files.certificate = missing(folder), false, unreadable);
    check(|folder, files| files.key = missing(folder), true, unreadable);
    let large = vec![b'\n'; 2 << 20];
    check(|_, files| write(&files.certificate, &large), false, unreadable);
    let bad = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
    check(|_, files| write(&files.certificate, bad), false, not_pem);
    let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
    check(|_, files| write(&files.certificate, cut), false, not_pem);
    let none = |problem: &Problem| matches!(problem, Problem::NoCertificate);
    check(|_, files| write(&files.certificate, b""), false, none);
    check(|_, files| files.certificate = files.key.clone(), false, none);
    let empty = b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    let not_one = |problem: &Problem| matches!(problem, Problem::NotACertificate);
    check(|_, files| write(&files.certificate, empty), false, not_one);
    let no_key = |problem: &Problem| matches!(problem, Problem::NoKey);
    check(|_, files| write(&files.key, b"no key here"), true, no_key);
    check(|_, files| files.key = files.certificate.clone(), true, no_key);
    let mismatch = |problem: &Problem| matches!(problem, Problem::KeyMismatch);
    check(
        |folder, files| files.key = folder.ecdsa("b.example").key,
        true,
        mismatch,
    );
    let unusable = |problem: &Problem| matches!(problem, Problem::UnusableKey(_));
    let bad = b"-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    check(|_, files| write(&files.key, bad), true, unusable);
    let encrypted = |problem: &Problem| matches!(problem, Problem::EncryptedKey);
    let locked = |_: &Folder, files: &mut HostFiles| {
        let output = std::process::Command::new("openssl")
            .args(["pkcs8", "-topk8", "-passout", "pass:x", "-in"])
            .arg(&files.key)
            .output()
            .expect("openssl is installed");
        assert!(output.status.success());
        write(&files.key, &output.stdout);
    };
    check(locked, true, encrypted);

    let error = Certificates::load(Vec::new()).expect_err("there is no default");
    assert!(matches!(error.problem, Problem::Setup(_)));
}

#[test]
fn doubtful_files_are_loaded_with_a_warning() {
    #[track_caller]
    fn check(make: impl FnOnce(&Folder) -> HostFiles, expected: fn(&CertificateWarning) -> bool) {
        let folder = Folder::new();
        let files = make(&folder);
        let (_, warnings) = Certificates::load(vec![files]).expect("it works");
        assert!(matches!(&warnings[..], [warning] if expected(warning)), "{warnings:?}");
        let line = warnings[0].to_string();
        assert!(line.contains("a.example") && !line.contains('\n'), "{line}");
    }
    let host = "a.example";
    let date = rcgen::date_time_ymd;
    check(
        |folder| folder.ecdsa_with(host, |p| p.not_after = date(2020, 1, 1)),
        |warning| matches!(warning, CertificateWarning::Expired { .. }),
    );
    check(
        |folder| folder.ecdsa_with(host, |p| p.not_before = date(2090, 1, 1)),
        |warning| matches!(warning, CertificateWarning::NotYetValid { .. }),
    );
    check(
        |folder| folder.openssl(host, &["-newkey", "ed25519", "-days", "3"]),
        |warning| matches!(warning, CertificateWarning::ExpiresSoon { days: 2..=3, .. }),
    );
    check(
        |folder| HostFiles {
            host: "b.a.example".to_owned(),
            ..folder.ecdsa(host)
        },
        |warning| matches!(warning, CertificateWarning::OtherName { .. }),
    );
    check(
        |folder| {
            let files = folder.ecdsa(host);
            fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).expect("ours");
            files
        },
        |warning| matches!(warning, CertificateWarning::KeyReadable { .. }),
    );
    let folder = Folder::new();
    let (_, warnings) = Certificates::load(vec![folder.ecdsa(host)]).expect("it works");
    assert_eq!(warnings, []);
    // A wildcard names the host.
    let wildcard = HostFiles {
        host: "x.b.example".to_owned(),
        ..folder.ecdsa("*.b.example")
    };
    let (_, warnings) = Certificates::load(vec![wildcard]).expect("it works");
    assert_eq!(warnings, []);
}

#[test]
fn certificates_are_exchanged_in_service() {
    let folder = Folder::new();
    let hosts = [folder.ecdsa("a.example"), folder.ecdsa("b.example")];
    let certificates = load(&[&hosts[0], &hosts[1]]);
    let config = server_config(Arc::clone(&certificates), Kind::Starttls);
    let old = hosts.each_ref().map(|files| in_file(&folder, files));
    assert!(!certificates.changed());

    // A connection between handshake and login keeps the binding of what it was shown.
    let early = Pair::new(&config, client_config(&[], &[&TLS13]), "b.example").established();

    folder.ecdsa("b.example");
    assert!(certificates.changed());
    assert_eq!(served(&config, "b.example"), old[1], "nothing is read unasked");
    let reloaded = certificates.reload();
    assert_eq!(reloaded.changed, ["b.example"]);
    assert!(reloaded.failed.is_empty());
    assert!(!certificates.changed());
    let new = in_file(&folder, &hosts[1]);
    assert_ne!(new, old[1]);
    assert_eq!(served(&config, "b.example"), new);
    assert_eq!(served(&config, "a.example"), old[0]);
    assert_eq!(early.server.tls.binding().server_end_point, Some(old[1].clone()));

    // A bad file: the old one stays, the others are exchanged.
    folder.ecdsa("a.example");
    write(&hosts[1].key, b"spoilt");
    assert!(certificates.changed());
    let reloaded = certificates.reload();
    assert_eq!(reloaded.changed, ["a.example"]);
    assert_eq!(reloaded.failed.len(), 1);
    assert_eq!(reloaded.failed[0].host, "b.example");
    assert!(!certificates.changed(), "it is reported once");
    assert_eq!(served(&config, "b.example"), new);
    assert_eq!(served(&config, "a.example"), in_file(&folder, &hosts[0]));
    assert_eq!(served(&config, "other.example"), in_file(&folder, &hosts[0]));

    // A missing file, and its return.
    fs::remove_file(&hosts[1].certificate).expect("it is there");
    assert!(certificates.changed());
    assert_eq!(certificates.reload().failed.len(), 1);
    assert!(!certificates.changed());
    folder.ecdsa("b.example");
    assert!(certificates.changed());
    assert_eq!(certificates.reload().changed, ["b.example"]);
    assert_eq!(served(&config, "b.example"), in_file(&folder, &hosts[1]));
}

#[test]
fn the_list_of_domains_is_exchanged_in_service() {
    let folder = Folder::new();
    let [a, b, c] = ["a.example", "b.example", "c.example"].map(|host| folder.ecdsa(host));
    let certificates = load(&[&a, &b]);
    let config = server_config(Arc::clone(&certificates), Kind::Starttls);

    // Another order is another default.
    let reloaded = certificates.replace(vec![b.clone(), a.clone()]);
    assert!(reloaded.changed.is_empty() && reloaded.failed.is_empty());
    assert_eq!(served(&config, "other.example"), in_file(&folder, &b));

    // One more, one fewer, and one that cannot be read.
    let bad = folder.files("bad.example");
    let reloaded = certificates.replace(vec![b.clone(), c.clone(), bad]);
    assert_eq!(reloaded.changed, ["c.example"]);
    assert_eq!(reloaded.failed.len(), 1);
    assert_eq!(served(&config, "c.example"), in_file(&folder, &c));
    assert_eq!(served(&config, "a.example"), in_file(&folder, &b));
    assert_eq!(served(&config, "bad.example"), in_file(&folder, &b));

    // A first domain that cannot be read leaves the default.
    let bad = folder.files("bad.example");
    certificates.replace(vec![bad, a.clone()]);
    assert_eq!(served(&config, "other.example"), in_file(&folder, &b));
    assert_eq!(served(&config, "a.example"), in_file(&folder, &a));

    // No domain at all changes nothing.
    certificates.replace(Vec::new());
    assert_eq!(served(&config, "a.example"), in_file(&folder, &a));
}
