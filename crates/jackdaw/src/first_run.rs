//! The first start: the account of the administrator, and what to type into a client.

use std::fmt::Write as _;

use stanza::Jid;
use zeroize::Zeroizing;

use crate::accounts::Accounts;
use crate::admin::{Backend, Command, NewAccount};
use crate::certificate::Certificate;
use crate::config::{KeptBy, Kind, Loaded, Tls};
use crate::failure::Failure;
use crate::password;

/// An account that was just made, with the only copy of its password.
pub struct FirstAdmin {
    pub jid: Jid,
    pub password: Zeroizing<String>,
}

/// Makes `admin@` the first domain that has accounts, with a generated password if there is no account at all; `None` if there is one.
/// Blocks for milliseconds (PBKDF2 and the disk).
pub fn first_admin(accounts: &Accounts, loaded: &Loaded) -> Result<Option<FirstAdmin>, Failure> {
    if !accounts.is_empty()? {
        return Ok(None);
    }
    let config = &loaded.config;
    let Some(domain) = config.domain.iter().find(|domain| !domain.guests) else {
        return Ok(None);
    };
    // A password that is made here would open nothing.
    if domain.accounts != KeptBy::Own {
        return Ok(None);
    }
    let address = format!("admin@{}", domain.name);
    let jid = ::accounts::address(&address).map_err(|error| Failure::failed(error.to_string()))?;
    let password = password::generate()?;
    let credentials = password::derive(&password, config.limits.password_iterations)?;
    accounts.handle(Command::Add(NewAccount {
        jid: jid.clone(),
        admin: true,
        credentials,
    }))?;
    Ok(Some(FirstAdmin { jid, password }))
}

/// What to print once the server listens: for people, on the standard output.
pub fn welcome(loaded: &Loaded, certificates: &[Certificate], first: Option<&FirstAdmin>) -> String {
    let config = &loaded.config;
    let mut text = String::new();
    let names: Vec<&str> = config.domain.iter().map(|domain| domain.name.as_str()).collect();
    line(
        &mut text,
        format_args!("Jackdaw {} serves {}", env!("CARGO_PKG_VERSION"), names.join(", ")),
    );
    line(&mut text, format_args!("  data         {}", config.data.display()));
    for listen in &config.listen {
        let tls = match (listen.kind, listen.tls) {
            (Kind::C2sDirect, _) => "direct TLS",
            (Kind::Https, _) => "WebSocket and BOSH",
            (Kind::Http, _) => "WebSocket and BOSH, NOT ENCRYPTED",
            (Kind::Component, _) => "components, NOT ENCRYPTED",
            (Kind::Multiplex, _) => "direct TLS, WebSocket and BOSH",
            (Kind::S2s, _) => "other servers, STARTTLS",
            (Kind::S2sDirect, _) => "other servers, direct TLS",
            (Kind::C2s, Tls::Required) => "STARTTLS",
            (Kind::C2s, Tls::Optional) => "STARTTLS, optional",
            (Kind::C2s, Tls::Off) => "NOT ENCRYPTED",
        };
        line(
            &mut text,
            format_args!("  {:<12} {} ({tls})", listen.kind.as_str(), listen.address),
        );
    }
    for certificate in certificates {
        if let Some(fingerprint) = &certificate.self_signed {
            line(
                &mut text,
                format_args!("  certificate  {} is self-signed, SHA-256", certificate.domain),
            );
            line(&mut text, format_args!("               {fingerprint}"));
        }
    }
    if let Some(first) = first {
        let port = config
            .listen
            .iter()
            .find(|listen| listen.kind == Kind::C2s)
            .map(|listen| listen.address.port());
        let FirstAdmin { jid, password } = first;
        line(&mut text, format_args!("\nThe first account, shown this once:"));
        line(&mut text, format_args!("  address      {jid}"));
        line(&mut text, format_args!("  password     {}", password.as_str()));
        line(
            &mut text,
            format_args!("In a client choose \"I have an account\" and type these two. If it asks, the server"),
        );
        line(
            &mut text,
            format_args!(
                "is the name or address of this machine, the port {}.",
                port.unwrap_or(5222)
            ),
        );
        line(
            &mut text,
            format_args!("If it warns of the certificate, compare the SHA-256 above and accept it."),
        );
        line(
            &mut text,
            format_args!("More accounts: jackdaw account add user@{}", jid.domain()),
        );
        line(&mut text, format_args!("Lost it? jackdaw account password {jid}"));
    }
    if first.is_some() && !loaded.domain_is_assumed {
        text.push_str("\nFor clients to find it (again with `jackdaw dns`):\n");
        text.push_str(&crate::dns::records(config, None));
    }
    if loaded.domain_is_assumed {
        line(
            &mut text,
            format_args!(
                "\nNo domain is configured, so this is localhost. For a real one: jackdaw --domain example.org"
            ),
        );
    }
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing into a String cannot fail.
    let _ = text.write_fmt(arguments);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Overrides, load};

    fn loaded() -> Loaded {
        // A folder that is not there, so that no file of this folder plays a part.
        let overrides = Overrides {
            data: Some("/nonexistent".into()),
            ..Overrides::default()
        };
        load(&overrides).expect("the defaults are valid")
    }

    fn accounts() -> Accounts {
        let store = Arc::new(store::Memory::new(&[&::accounts::ACCOUNTS]));
        Accounts::new(store, vec!["localhost".into()], Box::new(|_, _, _| {}))
    }

    #[test]
    fn the_first_admin_is_made_once() {
        let accounts = accounts();
        let first = first_admin(&accounts, &loaded())
            .expect("made")
            .expect("the first start");
        assert_eq!(first.jid.as_str(), "admin@localhost");
        assert!(first_admin(&accounts, &loaded()).expect("read").is_none());
    }

    /// Once, and not for localhost, which nobody looks up.
    #[test]
    fn the_welcome_shows_the_records_of_a_domain() {
        let first = FirstAdmin {
            jid: ::accounts::address("admin@example.org").expect("an address"),
            password: Zeroizing::new("abc-def".to_owned()),
        };
        let overrides = Overrides {
            data: Some("/nonexistent".into()),
            domains: vec!["example.org".to_owned()],
            ..Overrides::default()
        };
        let named = load(&overrides).expect("valid");
        let record = "_xmpps-client._tcp.example.org.";
        assert!(welcome(&named, &[], Some(&first)).contains(record));
        assert!(!welcome(&named, &[], None).contains("_tcp"));
        assert!(!welcome(&loaded(), &[], Some(&first)).contains("_tcp"));
    }

    #[test]
    fn the_welcome_shows_what_to_type() {
        let first = FirstAdmin {
            jid: ::accounts::address("admin@localhost").expect("an address"),
            password: Zeroizing::new("abc-def".to_owned()),
        };
        let check = |first: Option<&FirstAdmin>, needle: &str, there: bool| {
            let text = welcome(&loaded(), &[], first);
            assert_eq!(text.contains(needle), there, "{needle} in {text}");
        };
        check(Some(&first), "admin@localhost", true);
        check(Some(&first), "abc-def", true);
        check(Some(&first), "5222", true);
        check(Some(&first), "--domain", true);
        check(None, "abc-def", false);
        check(None, "password", false);
    }
}
