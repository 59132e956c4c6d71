//! What a configuration may not say although each of its values is well-formed.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::locate::Step::{self, Index, Key};
use super::{
    Bearer, Config, KeptBy, Kind, Registration, Tls, Tokens, bearer, component, external, federation, files,
    http_accounts, ldap,
};

/// A contradiction, and the way to the value that makes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: Vec<Step>,
    pub message: String,
}

pub fn problem(path: &[Step], message: String) -> Problem {
    Problem {
        path: path.to_vec(),
        message,
    }
}

/// The first contradiction.
pub fn problem_of(config: &Config) -> Option<Problem> {
    domains(config)
        .or_else(|| guests(config))
        .or_else(|| listeners(config))
        .or_else(|| http(config))
        .or_else(|| files::problem_of(config))
        .or_else(|| login(config))
        .or_else(|| backends(config))
        .or_else(|| external::problem_of(config))
        .or_else(|| component::problem_of(config))
        .or_else(|| federation::problem_of(config))
        .or_else(|| limits(config))
}

fn domains(config: &Config) -> Option<Problem> {
    let mut seen = BTreeMap::new();
    for (index, domain) in config.domain.iter().enumerate() {
        let name = &domain.name;
        if seen.insert(name, index).is_some() {
            let path = [Key("domain"), Index(index), Key("name")];
            return Some(problem(
                &path,
                format!("the domain `{name}` is there twice; remove one"),
            ));
        }
        let (given, missing) = match (&domain.certificate, &domain.key) {
            (Some(_), None) => ("certificate", "key"),
            (None, Some(_)) => ("key", "certificate"),
            _ => continue,
        };
        let path = [Key("domain"), Index(index), Key(given)];
        let message = format!("`{name}` has a {given} and no {missing}; add `{missing} = \"FILE\"` or leave both out");
        return Some(problem(&path, message));
    }
    None
}

fn guests(config: &Config) -> Option<Problem> {
    for (index, domain) in config.domain.iter().enumerate() {
        let name = &domain.name;
        let at = |key| [Key("domain"), Index(index), Key(key)];
        if !domain.guests {
            if !domain.guests_reach.is_empty() {
                let message = format!("`{name}` takes no guests; add guests = true or leave guests_reach out");
                return Some(problem(&at("guests_reach"), message));
            }
            // Who may log in there is somebody else's to say.
            if domain.registration == Registration::Open && domain.accounts != KeptBy::Own {
                let message =
                    format!("the accounts of `{name}` are kept elsewhere: leave registration out, or accounts");
                return Some(problem(&at("registration"), message));
            }
            continue;
        }
        let other_ways = [
            ("accounts", domain.accounts != KeptBy::Own),
            ("client_certificates", domain.client_certificates.is_some()),
            ("bearer", domain.bearer != Bearer::default()),
            ("registration", domain.registration == Registration::Open),
        ];
        if let Some((key, _)) = other_ways.iter().find(|(_, is_set)| *is_set) {
            let message = format!("`{name}` is for guests, who have no accounts: leave {key} out, or guests");
            return Some(problem(&at(key), message));
        }
        for (place, other) in domain.guests_reach.iter().enumerate() {
            let path = [Key("domain"), Index(index), Key("guests_reach"), Index(place)];
            if other == name || !config.serves(other.as_str()) {
                return Some(problem(
                    &path,
                    format!("`{other}` is not another domain of this server"),
                ));
            }
        }
    }
    None
}

fn listeners(config: &Config) -> Option<Problem> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    for (index, listen) in config.listen.iter().enumerate() {
        let address = listen.address;
        // Port 0 is "any free one": two of them are two ports.
        if address.port() != 0 && seen.contains(&address) {
            let path = [Key("listen"), Index(index), Key("address")];
            return Some(problem(
                &path,
                format!("the address {address} is there twice; change one"),
            ));
        }
        seen.push(address);
        let path = [Key("listen"), Index(index), Key("tls")];
        let instead = match listen.kind {
            Kind::C2s => None,
            Kind::C2sDirect => {
                Some(r#"`c2s-direct` begins with TLS: its tls can only be "required"; use kind = "c2s""#)
            }
            Kind::Https => Some(r#"`https` begins with TLS: its tls can only be "required"; use kind = "http""#),
            Kind::Multiplex => Some(
                r#"`multiplex` begins with TLS: its tls can only be "required"; use kind = "c2s" and kind = "http""#,
            ),
            Kind::S2s => Some(r#"`s2s` has TLS always: its tls can only be "required", or be left out"#),
            Kind::S2sDirect => Some(r#"`s2s-direct` begins with TLS: its tls can only be "required", or be left out"#),
            Kind::Component => Some(r#"`component` has no TLS: its tls can only be "off", or be left out"#),
            Kind::Http => Some(r#"`http` has no TLS: its tls can only be "off", or be left out; use kind = "https""#),
        };
        let fits = listen.tls == Tls::Required
            || matches!(listen.kind, Kind::Http | Kind::Component) && listen.tls == Tls::Off;
        if let Some(instead) = instead.filter(|_| !fits) {
            return Some(problem(&path, instead.to_owned()));
        }
        if listen.kind == Kind::Http && !listen.proxy_protocol.is_empty() {
            let path = [Key("listen"), Index(index), Key("proxy_protocol")];
            let message = "`http` has no proxy_protocol: its proxies tell their client by a header, see \
                           http.trusted_proxies";
            return Some(problem(&path, message.to_owned()));
        }
        if listen.kind == Kind::Http && !is_local(address.ip()) && config.http.trusted_proxies.is_empty() {
            let path = [Key("listen"), Index(index), Key("address")];
            let message = format!(
                "`http` on {address} would carry logins in the clear: give it a loopback address, name the proxy in \
                 front of it in http.trusted_proxies, or use kind = \"https\""
            );
            return Some(problem(&path, message));
        }
    }
    None
}

fn http(config: &Config) -> Option<Problem> {
    let http = &config.http;
    let paths = [
        ("websocket_path", &http.websocket_path, "the WebSocket"),
        ("bosh_path", &http.bosh_path, "BOSH"),
        ("path", &config.files.path, "files"),
    ];
    for (key, path, what) in paths {
        let section = if key == "path" { "files" } else { "http" };
        let is_path = path.starts_with('/')
            && path
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"?#\"'<>&".contains(&byte));
        if !is_path || path.starts_with("/.well-known/") {
            let message = format!("`{path}` cannot be the path of {what}; it begins with / and has no ? or #");
            return Some(problem(&[Key(section), Key(key)], message));
        }
    }
    let below = format!("{}/", config.files.path);
    if config.files.path.ends_with('/')
        || paths[..2]
            .iter()
            .any(|(_, path, _)| **path == config.files.path || path.starts_with(&below))
    {
        let message = format!(
            "`{}` cannot be the path of files: it ends without /, and nothing else is below it",
            config.files.path
        );
        return Some(problem(&[Key("files"), Key("path")], message));
    }
    if http.websocket_path == http.bosh_path {
        let message = format!("`{}` is the path of the WebSocket already; change one", http.bosh_path);
        return Some(problem(&[Key("http"), Key("bosh_path")], message));
    }
    let is_origin = |origin: &String| {
        let (scheme, host) = origin.split_once("://").unwrap_or_default();
        !scheme.is_empty() && !host.is_empty() && !host.contains('/')
    };
    let (index, origin) = http.origins.iter().enumerate().find(|(_, origin)| !is_origin(origin))?;
    let message = format!("`{origin}` is not an origin: those have a scheme, a host and no path (https://example.org)");
    Some(problem(&[Key("http"), Key("origins"), Index(index)], message))
}

fn login(config: &Config) -> Option<Problem> {
    let login = &config.login;
    if login.scram.is_empty() && !login.plain {
        let message = "no hash of SCRAM, and plain = false: nobody could log in; give one of them";
        return Some(problem(&[Key("login"), Key("scram")], message.to_owned()));
    }
    if login.token_days == 0 && login.tokens != Tokens::Off {
        let message = "token_days = 0: no token would ever be good; use tokens = \"off\"";
        return Some(problem(&[Key("login"), Key("token_days")], message.to_owned()));
    }
    None
}

fn backends(config: &Config) -> Option<Problem> {
    let mut domains = config.domain.iter().enumerate();
    if let Some(problem) = domains.find_map(|(index, domain)| bearer::problem_of(index, domain)) {
        return Some(problem);
    }
    let asking = |of: KeptBy| config.domain.iter().position(|domain| domain.accounts == of);
    let command = &config.command;
    if let (Some(index), None) = (asking(KeptBy::Command), &command.program) {
        let path = [Key("domain"), Index(index), Key("accounts")];
        let message = r#"accounts = "command" without a program; add `program = "FILE"` to [command]"#;
        return Some(problem(&path, message.to_owned()));
    }
    for (key, value) in [("seconds", command.seconds), ("at_once", command.at_once as u64)] {
        if value == 0 {
            let message = format!("{key} = 0: no question would ever be answered; give 1 at least");
            return Some(problem(&[Key("command"), Key(key)], message));
        }
    }
    ldap::problem_of(config).or_else(|| http_accounts::problem_of(config))
}

fn limits(config: &Config) -> Option<Problem> {
    // Through TOML, so that a limit added later is looked at without a line here.
    if let Ok(toml::Value::Table(limits)) = toml::Value::try_from(&config.limits) {
        use super::section::Section as _;
        let names = config.limits.keys().into_iter().map(|key| key.name);
        for name in names {
            if limits.get(name).and_then(toml::Value::as_integer) == Some(0) {
                let message = format!("{name} = 0 would let nobody in; give a large number to lift the limit");
                return Some(problem(&[Key("limits"), Key(name)], message));
            }
        }
    }
    let (key, message) = config.limits.contradiction()?;
    Some(problem(&[Key("limits"), Key(key)], message))
}

/// What is allowed and probably not meant, a line each.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut lines = Vec::new();
    for admin in &config.admins {
        let domain = admin.0.domain();
        if !config.serves(domain) {
            lines.push(format!("admin {}: `{domain}` is not a domain of this server", admin.0));
        }
    }
    if let Some(address) = config.metrics.listen.filter(|address| !is_local(address.ip())) {
        lines.push(format!(
            "metrics.listen = \"{address}\": whoever reaches that address can read the figures"
        ));
    }
    lines.extend(federation::warnings(config));
    for listen in &config.listen {
        let (kind, address) = (listen.kind.as_str(), listen.address);
        if listen.kind == Kind::Http {
            // Checked to be for this machine, or for proxies that were named.
            continue;
        }
        if listen.kind == Kind::Component {
            lines.extend(component::warning(address));
            continue;
        }
        match listen.tls {
            Tls::Off if is_local(address.ip()) => lines.push(format!(
                "{kind} on {address} has tls = \"off\": passwords and messages are NOT ENCRYPTED on it"
            )),
            Tls::Off => lines.push(format!(
                "{kind} on {address} has tls = \"off\" and can be reached from OTHER MACHINES: passwords and messages \
                 are NOT ENCRYPTED and everyone on the way can read them"
            )),
            Tls::Optional => lines.push(format!(
                "{kind} on {address} has tls = \"optional\": clients that decline TLS send everything in the clear"
            )),
            Tls::Required => {}
        }
    }
    lines
}

pub fn is_local(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}
