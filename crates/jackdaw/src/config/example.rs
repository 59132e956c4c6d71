//! `jackdaw config example`: the whole configuration with every default, commented by the doc
//! comments of the code. It reads back as the defaults (a test below), so it is safe to start from.

use super::section::{Section, write_docs, write_keys};
use super::{
    Archive, Bearer, Command, Component, Config, Contacts, Delegation, Domain, External, Federation, Files, Http,
    HttpAccounts, Ldap, Limits, Listen, Log, Login, Metrics, Peer, Privileges, Pubsub, Push, Rooms, S3,
};

/// The text of the example.
pub fn example() -> String {
    let config = Config::default();
    let mut out = String::new();
    write_docs(&mut out, Config::ABOUT);
    out.push('\n');
    write_keys(&mut out, &config);
    section(&mut out, "[log]", Log::ABOUT, &config.log);
    for domain in &config.domain {
        section(&mut out, "[[domain]]", Domain::ABOUT, domain);
        section(&mut out, "[domain.contacts]", Contacts::ABOUT, &domain.contacts);
        section(&mut out, "[domain.bearer]", Bearer::ABOUT, &domain.bearer);
    }
    for (index, listen) in config.listen.iter().enumerate() {
        if index == 0 {
            section(&mut out, "[[listen]]", Listen::ABOUT, listen);
        } else {
            repeated(&mut out, "[[listen]]", listen);
        }
    }
    section(&mut out, "[http]", Http::ABOUT, &config.http);
    section(&mut out, "[files]", Files::ABOUT, &config.files);
    section(&mut out, "[files.s3]", S3::ABOUT, &config.files.s3);
    section(&mut out, "[archive]", Archive::ABOUT, &config.archive);
    section(&mut out, "[login]", Login::ABOUT, &config.login);
    section(&mut out, "[metrics]", Metrics::ABOUT, &config.metrics);
    section(&mut out, "[push]", Push::ABOUT, &config.push);
    section(&mut out, "[pubsub]", Pubsub::ABOUT, &config.pubsub);
    section(&mut out, "[rooms]", Rooms::ABOUT, &config.rooms);
    section(&mut out, "[federation]", Federation::ABOUT, &config.federation);
    commented(&mut out, "[[federation.peer]]", Peer::ABOUT, &Peer::default());
    section(&mut out, "[command]", Command::ABOUT, &config.command);
    section(&mut out, "[ldap]", Ldap::ABOUT, &config.ldap);
    section(&mut out, "[http_accounts]", HttpAccounts::ABOUT, &config.http_accounts);
    commented(&mut out, "[[external]]", External::ABOUT, &External::default());
    commented(&mut out, "[[component]]", Component::ABOUT, &Component::default());
    commented(
        &mut out,
        "[component.privileges]",
        Privileges::ABOUT,
        &Privileges::default(),
    );
    commented(
        &mut out,
        "[[component.delegation]]",
        Delegation::ABOUT,
        &Delegation::default(),
    );
    section(&mut out, "[limits]", Limits::ABOUT, &config.limits);
    // One empty line ends a section, none the file.
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn section(out: &mut String, header: &str, about: &[&str], value: &impl Section) {
    write_docs(out, about);
    out.push_str(header);
    out.push('\n');
    write_keys(out, value);
}

/// A section of which there is none by default.
fn commented(out: &mut String, header: &str, about: &[&str], value: &impl Section) {
    write_docs(out, about);
    out.push_str(&format!("# {header}\n"));
    for key in value.keys() {
        write_docs(out, key.docs);
        let shown = key.sample.or(key.value.as_deref()).unwrap_or_default();
        out.push_str(&format!("# {} = {shown}\n\n", key.name));
    }
}

/// A further section of the same kind: its keys were explained above.
fn repeated(out: &mut String, header: &str, value: &impl Section) {
    out.push_str(header);
    out.push('\n');
    for key in value.keys() {
        if let Some(value) = key.value {
            out.push_str(&format!("{} = {value}\n", key.name));
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_back_as_the_defaults() {
        let read: Config = toml::from_str(&example()).expect("the example is valid");
        assert_eq!(read, Config::default());
    }

    #[test]
    fn what_is_commented_out_is_valid_too() {
        let text = example();
        let uncommented: String = text
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(key)
                    if [
                        "certificate = ",
                        "key = ",
                        "client_certificates = ",
                        "program = ",
                        "public_url = ",
                    ]
                    .iter()
                    .any(|of| key.starts_with(of)) =>
                {
                    format!("{key}\n")
                }
                _ => format!("{line}\n"),
            })
            .collect();
        assert_ne!(uncommented, text);
        let read: Config = toml::from_str(&uncommented).expect("the samples are valid");
        assert_eq!(read.domain[0].certificate.as_deref(), Some("example.org.crt".as_ref()));
        assert_eq!(read.domain[0].key.as_deref(), Some("example.org.key".as_ref()));
        let url = read.http.public_url.expect("a public address");
        assert_eq!(url.host(), "chat.example.org");
    }

    #[test]
    fn every_key_has_a_comment() {
        let config = Config::default();
        let check = |section: &str, keys: Vec<super::super::section::Key>| {
            for key in keys {
                assert!(!key.docs.is_empty(), "{section}.{} has no doc comment", key.name);
                assert!(
                    key.value.is_some() || key.sample.is_some(),
                    "{section}.{} shows nothing",
                    key.name
                );
            }
        };
        check("config", config.keys());
        check("log", config.log.keys());
        check("domain", config.domain[0].keys());
        check("contacts", config.domain[0].contacts.keys());
        check("bearer", config.domain[0].bearer.keys());
        check("listen", config.listen[0].keys());
        check("command", config.command.keys());
        check("ldap", config.ldap.keys());
        check("http_accounts", config.http_accounts.keys());
        check("files", config.files.keys());
        check("files.s3", config.files.s3.keys());
        check("archive", config.archive.keys());
        check("push", config.push.keys());
        check("pubsub", config.pubsub.keys());
        check("rooms", config.rooms.keys());
        check("federation", config.federation.keys());
        check("federation.peer", Peer::default().keys());
        check("external", External::default().keys());
        check("component", Component::default().keys());
        check("component.privileges", Privileges::default().keys());
        check("component.delegation", Delegation::default().keys());
        check("limits", config.limits.keys());
    }
}
