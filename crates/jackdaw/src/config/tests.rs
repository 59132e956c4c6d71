//! Files, environment and flags as people write them.

use super::*;
use crate::config::Limits;

/// Loads a file with this content, and shows errors with the file's name instead of its path.
fn load_text(text: &str, overrides: Overrides) -> Result<Loaded, String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("jackdaw.toml");
    std::fs::write(&file, text).expect("written");
    let prefix = format!("{}/", folder.path().display());
    load(&Overrides {
        config: Some(file),
        ..overrides
    })
    .map_err(|error| error.0.replace(&prefix, ""))
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let error = load_text(text, Overrides::default()).expect_err("refused");
    assert!(!error.contains('\n'), "one line: {error}");
    assert!(error.starts_with(expected), "\n   got {error}\nwanted {expected}");
}

#[test]
fn errors_say_line_and_column_in_one_line() {
    refused(
        "colour = 1\n",
        "jackdaw.toml:1:1: unknown key `colour`; known are data, admins, log",
    );
    refused(
        "[limits]\ncolour = 1\n",
        "jackdaw.toml:2:1: unknown key `colour` in [limits]; known are stanza_bytes",
    );
    refused(
        "\n[limits]\n  atributes = 1\n",
        "jackdaw.toml:3:3: unknown key `atributes` in [limits]; did you mean `attributes`?",
    );
    refused(
        "[limit]\n",
        "jackdaw.toml:1:2: unknown key `limit`; did you mean `limits`?",
    );
    refused(
        "[[domain]]\nnme = 'a'\n",
        "jackdaw.toml:2:1: unknown key `nme` in [[domain]]; did you mean `name`?",
    );
    refused("[limits]\nattributes = 'many'\n", "jackdaw.toml:2:14: ");
    refused("[limits]\nattributes = -1\n", "jackdaw.toml:2:14: ");
    refused(
        "[limits]\nattributes = 1\nattributes = 2\n",
        "jackdaw.toml:3:1: duplicate key",
    );
    refused("data = \n", "jackdaw.toml:1:8: ");
    // The reader of TOML knows the place of the list only; the message names the value.
    refused(
        "admins = ['a@b', 'b']\n",
        "jackdaw.toml:1:10: `b` is not an account; write it as user@domain",
    );
    refused(
        "[log]\nformat = 'xml'\n",
        "jackdaw.toml:2:10: unknown variant `xml`, expected `text` or `json`",
    );
    refused(
        "[log]\nlevel = 'loud'\n",
        "jackdaw.toml:2:9: `loud` is not a log level; use one of",
    );
    refused("[[domain]]\nkey = 'a'\n", "jackdaw.toml:1:1: missing key `name`");
    refused(
        "[[domain]]\nname = 'a b'\n",
        "jackdaw.toml:2:8: `a b` is not the name of a domain",
    );
    refused(
        "[[domain]]\nname = 'a@b'\n",
        "jackdaw.toml:2:8: `a@b` is not the name of a domain",
    );
    refused(
        "[[listen]]\nkind = 'smtp'\n",
        "jackdaw.toml:2:8: unknown variant `smtp`, expected one of `c2s`, `c2s-direct`, `https`, `http`, `multiplex`",
    );
    refused("[[listen]]\nkind = 'c2s'\n", "jackdaw.toml:1:1: missing key `address`");
    refused(
        "[[listen]]\nkind = 'c2s'\naddress = 'localhost'\n",
        "jackdaw.toml:3:11: invalid socket address",
    );
    refused(
        "[[listen]]\nkind = 'c2s'\naddress = '[::]:1'\ntls = true\n",
        "jackdaw.toml:4:7: ",
    );
}

#[test]
fn contradictions_are_found_where_they_are() {
    refused(
        "[[domain]]\nname = 'a'\n[[domain]]\nname = 'A'\n",
        "jackdaw.toml:4:8: the domain `a` is there twice",
    );
    refused(
        "[[domain]]\nname = 'a'\ncertificate = 'f'\n",
        "jackdaw.toml:3:15: `a` has a certificate and no key",
    );
    refused(
        "[[domain]]\nname = 'a'\nkey = 'f'\n",
        "jackdaw.toml:3:7: `a` has a key and no certificate",
    );
    refused(
        "[[domain]]\nname = 'a'\naccounts = 'command'\n",
        "jackdaw.toml:3:12: accounts = \"command\" without a program",
    );
    let guests = "[[domain]]\nname = 'b'\n[[domain]]\nname = 'a'\nguests = true\n";
    let reach = |names: &str| format!("{guests}guests_reach = [{names}]\n");
    refused(&reach("'b', 'c'"), "jackdaw.toml:6:22: `c` is not another domain");
    refused(&reach("'a'"), "jackdaw.toml:6:17: `a` is not another domain");
    refused(
        &reach("'b'").replace("true", "false"),
        "jackdaw.toml:6:1: `a` takes no guests",
    );
    refused(
        &format!("{guests}client_certificates = 'x'\n"),
        "jackdaw.toml:6:23: `a` is for guests",
    );
    refused(
        &format!("{guests}accounts = 'command'\n[command]\nprogram = 'x'\n"),
        "jackdaw.toml:6:12: `a` is for guests",
    );
    refused(
        &format!("{guests}registration = 'open'\n"),
        "jackdaw.toml:6:16: `a` is for guests",
    );
    refused(
        "[[domain]]\nname = 'a'\naccounts = 'command'\nregistration = 'open'\n",
        "jackdaw.toml:4:16: the accounts of `a` are kept elsewhere",
    );
    load_text(&reach("'b'"), Overrides::default()).expect("valid");
    refused("[command]\nat_once = 0\n", "jackdaw.toml:2:11: at_once = 0");
    let listen = "[[listen]]\nkind = 'c2s'\naddress = '[::]:1'\n";
    refused(
        &format!("{listen}{listen}"),
        "jackdaw.toml:6:11: the address [::]:1 is there twice",
    );
    refused(
        &listen.replace("c2s'", "c2s-direct'\ntls = 'off'"),
        "jackdaw.toml:3:7: `c2s-direct` begins with TLS",
    );
    refused(
        &listen.replace("c2s'", "https'\ntls = 'off'"),
        "jackdaw.toml:3:7: `https` begins with TLS",
    );
    refused(
        &listen.replace("c2s'", "multiplex'\ntls = 'optional'"),
        "jackdaw.toml:3:7: `multiplex` begins with TLS",
    );
    refused(
        &listen.replace("c2s'", "http'\ntls = 'optional'"),
        "jackdaw.toml:3:7: `http` has no TLS",
    );
    refused(
        &listen.replace("c2s'", "http'"),
        "jackdaw.toml:3:11: `http` on [::]:1 would carry logins in the clear",
    );
    for path in ["", "x", "/a?b", "/.well-known/host-meta"] {
        refused(
            &format!("[http]\nwebsocket_path = '{path}'\n"),
            &format!("jackdaw.toml:2:18: `{path}` cannot be the path"),
        );
    }
    refused(
        "[http]\norigins = ['https://a.org', 'a.org']\n",
        "jackdaw.toml:2:29: `a.org` is not an origin",
    );
    for url in ["http://a.org", "https://", "https://a.org/b"] {
        refused(&format!("[http]\npublic_url = '{url}'\n"), "jackdaw.toml:2:14: `http");
    }
    for good in [
        listen.replace("c2s'", "http'").replace("[::]", "127.0.0.1"),
        listen.replace("c2s'", "http'\ntls = 'off'").replace("[::]", "[::1]"),
        format!("{listen}proxy_protocol = ['127.0.0.1', '2001:db8::/32']\n"),
        listen.replace("c2s'", "multiplex'") + "proxy_protocol = ['127.0.0.1']\n",
        listen.replace("c2s'", "http'") + "[http]\ntrusted_proxies = ['192.0.2.1']\n",
    ] {
        let loaded = load_text(&good, Overrides::default()).expect("valid");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }
    refused(
        &format!("{listen}proxy_protocol = ['10.0.0.1/8']\n"),
        "jackdaw.toml:4:18: `10.0.0.1/8` names one machine and a network",
    );
    refused(
        &(listen.replace("c2s'", "http'").replace("[::]", "127.0.0.1") + "proxy_protocol = ['127.0.0.1']\n"),
        "jackdaw.toml:4:1: `http` has no proxy_protocol",
    );
    refused("[limits]\nattributes = 0\n", "jackdaw.toml:2:14: attributes = 0");
    refused(
        "[limits]\nstanza_bytes_before_login = 300_000\n",
        "jackdaw.toml:2:29: stanza_bytes_before_login = 300000 is above",
    );
    // The value at fault is a default: the place is the section.
    refused(
        "[limits]\nstanza_elements = 31\n",
        "jackdaw.toml:1:2: stanza_elements_before_login = 32 is above 31",
    );
}

#[test]
fn other_servers_and_what_contradicts_itself_about_them() {
    let section = "[federation]\n";
    let peer = "[[federation.peer]]\ndomain = 'b.org'\n";
    let listen = "[[listen]]\nkind = 's2s'\naddress = '[::]:1'\n";
    for (text, expected) in [
        (format!("{section}give_up_hours = 0\n"), "2:17: give_up_hours = 0"),
        (format!("{section}give_up_hours = 721\n"), "2:17: give_up_hours = 721"),
        (format!("{section}attempts = 0\n"), "2:12: attempts = 0"),
        (
            format!("{section}attempt_seconds = 301\n"),
            "2:19: attempt_seconds = 301",
        ),
        (format!("{section}attempt_seconds = 0\n"), "2:19: attempt_seconds = 0"),
        (
            format!("{section}retry_seconds = 9\nlongest_retry_seconds = 8\n"),
            "2:17: retry_seconds = 9",
        ),
        (
            format!("{section}longest_retry_seconds = 86_401\n"),
            "2:25: longest_retry_seconds = 86401",
        ),
        (format!("{section}answer_seconds = 0\n"), "2:18: answer_seconds = 0"),
        (
            format!("{section}queue_bytes = 262_143\n"),
            "2:15: queue_bytes = 262143 is below",
        ),
        (format!("{section}queue_stanzas = 0\n"), "2:17: queue_stanzas = 0"),
        (
            format!("{section}resolver = ['dns.example']\n"),
            "2:12: `dns.example` is not an address",
        ),
        (format!("{peer}{peer}"), "4:10: `b.org` is there twice"),
        (
            format!("[[domain]]\nname = 'b.org'\n{peer}"),
            "4:10: `b.org` is served by this server itself",
        ),
        (
            format!("{peer}action = 'deny'\nrequire = 'dane'\n"),
            "4:11: `b.org` is denied",
        ),
        (
            format!("{peer}require = 'dane'\ndialback = true\n"),
            "4:12: dialback would let in who does not show",
        ),
        (
            format!("{listen}[federation]\nenabled = false\n"),
            "2:8: nobody may connect to a listener for servers",
        ),
        (
            listen.replace("s2s'", "s2s'\ntls = 'optional'"),
            "3:7: `s2s` has TLS always",
        ),
        (
            listen.replace("s2s'", "s2s-direct'\ntls = 'off'"),
            "3:7: `s2s-direct` begins with TLS",
        ),
    ] {
        refused(&text, &format!("jackdaw.toml:{expected}"));
    }
    let loaded = load_text("[federation]\nenabled = false\n", Overrides::default()).expect("valid");
    assert!(loaded.config.listen.iter().all(|listen| !listen.kind.is_of_servers()));
    assert_eq!(loaded.config.listen.len(), 3);
    let text =
        format!("{section}trust_anchor = 'a'\nauthorities = '/b'\n{peer}[[federation.peer]]\ndomain = '*.b.org'\n");
    let loaded = load_text(&text, Overrides::default()).expect("valid");
    let federation = &loaded.config.federation;
    assert!(federation.trust_anchor.as_ref().is_some_and(|path| path.is_absolute()));
    assert_eq!(federation.authorities, Some("/b".into()));
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let warned = |text: &str, expected: &str| {
        let warnings = load_text(text, Overrides::default()).expect("valid").warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
    };
    warned("[federation]\ndialback = true\n", "lead the DNS astray");
    warned("[federation]\nothers = 'deny'\n", "no other server is talked with");
}

#[test]
fn an_empty_file_is_the_defaults() {
    let loaded = load_text(
        "",
        Overrides {
            data: Some("data".into()),
            ..Overrides::default()
        },
    )
    .expect("valid");
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.domain_is_assumed);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn the_form_of_the_manual_is_read() {
    let text = r#"
        data = "data"
        admins = ["admin@example.org"]
        [[domain]]
        name = "Example.ORG"
        certificate = "example.org.crt"
        key = "/etc/example.org.key"
        client_certificates = "clients.pem"
        [domain.contacts]
        abuse = ["xmpp:abuse@example.org"]
        [[domain]]
        name = "example.net"
        [[listen]]
        kind = "c2s"
        address = "127.0.0.1:5222"
        tls = "off"
        [limits]
        attributes = 7
    "#;
    let loaded = load_text(text, Overrides::default()).expect("valid");
    let config = &loaded.config;
    let folder = loaded
        .file
        .as_deref()
        .and_then(Path::parent)
        .expect("it came from a file");
    assert_eq!(config.data, folder.join("data"));
    assert_eq!(config.admins[0].0.as_str(), "admin@example.org");
    assert_eq!(config.domain[0].name.as_str(), "example.org");
    assert_eq!(config.domain[0].certificate, Some(folder.join("example.org.crt")));
    assert_eq!(config.domain[0].key, Some("/etc/example.org.key".into()));
    assert_eq!(config.domain[0].client_certificates, Some(folder.join("clients.pem")));
    assert_eq!(config.domain[0].contacts.abuse, ["xmpp:abuse@example.org"]);
    assert!(config.serves("example.net") && !config.serves("localhost"));
    let listen = Listen {
        kind: Kind::C2s,
        address: ([127, 0, 0, 1], 5222).into(),
        tls: crate::config::Tls::Off,
        proxy_protocol: Vec::new(),
    };
    assert_eq!(config.listen, [listen]);
    assert_eq!(
        config.limits,
        Limits {
            attributes: 7,
            ..Limits::default()
        }
    );
    assert!(!loaded.domain_is_assumed);
    assert!(
        loaded.warnings.iter().any(|line| line.contains("NOT ENCRYPTED")),
        "{:?}",
        loaded.warnings
    );
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let check = |text: &str, expected: &str| {
        let warnings = load_text(text, Overrides::default()).expect("valid").warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(expected), "{warnings:?}");
    };
    check(
        "admins = ['a@elsewhere.org']\n",
        "`elsewhere.org` is not a domain of this server",
    );
    check(
        "[[listen]]\nkind = 'c2s'\naddress = '[::]:1'\ntls = 'off'\n",
        "OTHER MACHINES",
    );
    check(
        "[[listen]]\nkind = 'c2s'\naddress = '[::]:1'\ntls = 'optional'\n",
        "in the clear",
    );
}

#[test]
fn overrides_beat_the_file() {
    let text = "data = 'd'\n[log]\nlevel = 'warn'\nformat = 'json'\n[[domain]]\nname = 'a.org'\ncertificate = 'c'\nkey = 'k'\n";
    let overrides = Overrides {
        data: Some("elsewhere".into()),
        domains: vec!["b.org".into(), "A.org".into(), "b.org".into(), String::new()],
        listen: vec!["c2s=127.0.0.1:1".into(), "c2s-direct=[::1]:2".into()],
        log_level: Some("debug".into()),
        log_format: Some(LogFormat::Text),
        config: None,
    };
    let config = load_text(text, overrides).expect("valid").config;
    assert_eq!(config.data, PathBuf::from("elsewhere"));
    assert_eq!(
        config
            .domain
            .iter()
            .map(|domain| domain.name.as_str())
            .collect::<Vec<_>>(),
        ["b.org", "a.org"]
    );
    assert!(
        config.domain[1].certificate.is_some(),
        "a domain of the file keeps its certificate"
    );
    assert_eq!(
        config
            .listen
            .iter()
            .map(|listen| listen.address.port())
            .collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("debug", LogFormat::Text)
    );

    let config = load_text(text, Overrides::default()).expect("valid").config;
    assert!(config.data.ends_with("d") && config.data.is_absolute());
    assert_eq!(
        (config.log.level.as_str(), config.log.format),
        ("warn", LogFormat::Json)
    );
}

#[test]
fn empty_words_override_nothing() {
    let overrides = Overrides {
        domains: vec![String::new()],
        listen: vec![" ".into()],
        ..Overrides::default()
    };
    let loaded = load_text("[[domain]]\nname = 'a.org'\n", overrides).expect("valid");
    assert_eq!(loaded.config.domain[0].name.as_str(), "a.org");
    assert_eq!(loaded.config.listen.len(), 5);
}

#[test]
fn wrong_overrides_are_told_by_name() {
    let check = |overrides: Overrides, expected: &str| {
        let error = load_text("", overrides).expect_err("refused");
        assert!(error.starts_with(expected), "{error}");
    };
    check(
        Overrides {
            domains: vec!["a b".into()],
            ..Overrides::default()
        },
        "--domain or JACKDAW_DOMAIN: `a b`",
    );
    check(
        Overrides {
            listen: vec!["5222".into()],
            ..Overrides::default()
        },
        "--listen or JACKDAW_LISTEN: `5222`",
    );
    check(
        Overrides {
            listen: vec!["s3s=[::]:1".into()],
            ..Overrides::default()
        },
        "--listen or JACKDAW_LISTEN",
    );
    check(
        Overrides {
            log_level: Some("loud".into()),
            ..Overrides::default()
        },
        "--log or JACKDAW_LOG: `loud`",
    );
}

#[test]
fn a_file_that_is_named_must_be_there_and_one_in_the_data_folder_is_found() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let named = Overrides {
        config: Some(data.join("jackdaw.toml")),
        ..Overrides::default()
    };
    let error = load(&named).expect_err("refused");
    assert!(
        error.0.starts_with("cannot read ") && error.0.contains("config example"),
        "{error}"
    );

    let overrides = Overrides {
        data: Some(data.clone()),
        ..Overrides::default()
    };
    assert_eq!(load(&overrides).expect("the defaults").file, None);
    std::fs::create_dir(&data).expect("made");
    std::fs::write(data.join("jackdaw.toml"), "[limits]\nattributes = 7\n").expect("written");
    let loaded = load(&overrides).expect("valid");
    assert_eq!(loaded.file, Some(data.join("jackdaw.toml")));
    assert_eq!(loaded.config.limits.attributes, 7);
    assert_eq!(loaded.config.data, data);
}

#[test]
fn a_directory_has_to_be_one_that_can_be_asked() {
    let domain = "[[domain]]\nname = 'a'\naccounts = 'ldap'\n";
    refused(
        domain,
        "jackdaw.toml:3:12: accounts = \"ldap\" without a directory; add `url`",
    );
    refused(
        &format!("{domain}[ldap]\nurl = 'ldaps://a'\n"),
        "jackdaw.toml:3:12: accounts = \"ldap\" without a directory; add `base`",
    );
    for (keys, expected) in [
        (
            "url = 'https://a'",
            "2:7: `https://a` is not the address of a directory",
        ),
        ("at_once = 0", "2:11: at_once = 0"),
        ("seconds = 0", "2:11: seconds = 0"),
        (
            "bind_dn = 'cn=a'",
            "2:11: bind_dn is of no use alone; add `password_file`",
        ),
        (
            "password_file = 'f'",
            "2:17: password_file is of no use alone; add `bind_dn`",
        ),
        (
            "filter = 'uid={user}'",
            "2:10: `uid={user}` is not a filter of LDAP (RFC 4515)",
        ),
        ("filter = '(uid=juliet)'", "2:10: without {user} the filter"),
        ("filter = '(&(uid={user})(a={dn}))'", "2:10: {dn} is not known yet"),
        ("group_filter = '(member=*)'", "2:16: without {dn} or {user}"),
        (
            "url = 'ldap://a.example'\nstart_tls = false",
            "2:7: ldap://a.example:389 without TLS",
        ),
    ] {
        refused(&format!("[ldap]\n{keys}\n"), &format!("jackdaw.toml:{expected}"));
    }
    for good in [
        "url = 'ldap://a.example'",
        "url = 'ldaps://a.example'\nstart_tls = false",
        "url = 'ldap://127.0.0.1'\nstart_tls = false",
        "url = 'ldap://a.example'\nstart_tls = false\nallow_unencrypted = true",
        "bind_dn = 'cn=a'\npassword_file = 'f'",
        "group_filter = '(memberUid={user})'",
    ] {
        let text = format!("{domain}[ldap]\nbase = 'dc=org'\n{good}\n");
        let text = if good.contains("url") {
            text
        } else {
            text + "url = 'ldaps://a'\n"
        };
        let loaded = load_text(&text, Overrides::default()).expect(good);
        assert_eq!(
            loaded.config.ldap.password_file.is_some(),
            good.contains("password_file")
        );
    }
}

#[test]
fn servers_that_clients_are_told_of() {
    for (keys, expected) in [
        ("kind = 'turn'\n", "1:1: missing key `host`"),
        ("host = 'a'\n", "1:1: missing key `kind`"),
        ("kind = ''\nhost = 'a'\n", "2:8: `` is no kind of service"),
        (
            "kind = 'turn'\nhost = 'a b'\n",
            "3:8: `a b` is not the name or address of a server",
        ),
        ("kind = 'turn'\nhost = 'a'\nport = 0\n", "4:8: port 0 cannot be reached"),
        ("kind = 'turn'\nhost = 'a'\nport = 65536\n", "4:8: "),
        (
            "kind = 'turn'\nhost = 'a'\ntransport = 'sctp'\n",
            "4:13: unknown variant `sctp`",
        ),
        ("kind = 'turn'\nhost = 'a'\nhours = 0\n", "4:9: 0 hours: give 1 to 8760"),
        (
            "kind = 'turn'\nhost = 'a'\nusername = 'u'\n",
            "4:12: username is of no use alone",
        ),
        (
            "kind = 'turn'\nhost = 'a'\npassword_file = 'f'\n",
            "4:17: password_file is of no use alone",
        ),
        (
            "kind = 'turn'\nhost = 'a'\nsecret_file = 'f'\nusername = 'u'\n",
            "5:12: secret_file makes the names itself",
        ),
    ] {
        refused(&format!("[[external]]\n{keys}"), &format!("jackdaw.toml:{expected}"));
    }
    let text =
        "[[external]]\nkind = 'turn'\nhost = 'a'\nsecret_file = 'f'\n[[external]]\nkind = 'stun'\nhost = '::1'\n";
    let config = load_text(text, Overrides::default()).expect("valid").config;
    assert_eq!(config.external.len(), 2);
    let error = config.external[0].service().expect_err("there is no such file");
    assert!(error.contains("/f, which [[external]] names"), "{error}");
    assert_eq!(config.external[1].service().expect("nothing to read").host, "::1");
}

#[test]
fn who_is_asked_about_tokens_and_passwords() {
    let domain = "[[domain]]\nname = 'a'\n";
    let bearer = |text: &str, expected: &str| refused(&format!("{domain}[domain.bearer]\n{text}"), expected);
    bearer(
        "issuer = 'https://i'\n",
        "jackdaw.toml:4:10: issuer, and nobody is asked",
    );
    bearer(
        "introspection = 'https://i/'\n",
        "jackdaw.toml:4:17: introspection without a name for it",
    );
    bearer(
        "introspection = 'http://i/'\n",
        "jackdaw.toml:4:17: `http://i/` would carry secrets in the clear",
    );
    bearer(
        "jwks = 'https://i/'\nissuer = 'https://i'\n",
        "jackdaw.toml:4:8: jwks takes what the provider has signed for anybody",
    );
    bearer(
        "jwks = 'https://i/'\nclient_id = 'x'\n",
        "jackdaw.toml:5:13: client_id and jwks",
    );
    bearer(
        "jwks = 'https://i/'\nissuer = 'i'\naudience = 'x'\nopenid_configuration = 'http://127.0.0.1/'\n",
        "jackdaw.toml:7:24: the address of the OpenID configuration begins with https://",
    );
    bearer("at_once = 0\n", "jackdaw.toml:4:11: at_once = 0");
    refused(
        &format!("{domain}accounts = 'http'\n"),
        "jackdaw.toml:3:12: accounts = \"http\" without a service",
    );
    refused("[http_accounts]\nseconds = 0\n", "jackdaw.toml:2:11: seconds = 0");
    refused(
        "[http_accounts]\nurl = 'https://me:hunter2@a/'\n",
        "jackdaw.toml:2:7: a URL has no place for a name and a password",
    );

    let text = format!(
        "{domain}accounts = 'http'\n[domain.bearer]\nintrospection = 'https://i/x'\nclient_id = 'me'\n\
         client_secret_file = 'secret'\nca = 'ca.pem'\n[http_accounts]\nurl = 'http://[::1]:8080/check'\n\
         authorization_file = '/etc/authorization'\n"
    );
    let config = load_text(&text, Overrides::default()).expect("valid").config;
    let bearer = &config.domain[0].bearer;
    assert!(bearer.is_used());
    assert_eq!(bearer.claim(), "username");
    let is_beside = |file: &Option<PathBuf>, name: &str| {
        let file = file.as_ref().expect("a file");
        file.is_absolute() && file.ends_with(name)
    };
    assert!(is_beside(&bearer.client_secret_file, "secret"));
    assert!(is_beside(&bearer.ca, "ca.pem"));
    let file = config.http_accounts.authorization_file;
    assert_eq!(file, Some(PathBuf::from("/etc/authorization")));
    let signed = "[domain.bearer]\njwks = 'https://i/x'\nissuer = 'i'\naudience = 'me'\n";
    let config = load_text(&format!("{domain}{signed}"), Overrides::default());
    let config = config.expect("valid").config;
    assert_eq!(config.domain[0].bearer.claim(), "preferred_username");
}
