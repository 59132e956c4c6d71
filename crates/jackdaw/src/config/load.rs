//! From file, environment and flags to one `Config`: flags beat the environment, which beats the
//! file. Environment and flags arrive together as `Overrides` (clap settles their order), so that
//! everything below is a function of its arguments and of the file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;

use super::locate::{ConfigError, Source};
use super::{Config, Domain, DomainName, External, Kind, Listen, LogFormat, LogLevel, check, component};

/// The name of the file where none is named: here, or else in the data folder.
const FILE_NAME: &str = "jackdaw.toml";

/// What flags or the environment said; `None` or empty: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    pub config: Option<PathBuf>,
    pub data: Option<PathBuf>,
    pub domains: Vec<String>,
    /// `KIND=ADDRESS`: `c2s=127.0.0.1:5222`.
    pub listen: Vec<String>,
    pub log_level: Option<String>,
    pub log_format: Option<LogFormat>,
}

/// A configuration that may be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// Where it came from, if there was a file.
    pub file: Option<PathBuf>,
    /// Neither file nor flags name a domain: `localhost` is served for want of a better one.
    pub domain_is_assumed: bool,
    /// A line each: allowed, and probably not meant.
    pub warnings: Vec<String>,
}

/// Reads the file that is named, or `./jackdaw.toml`, or `<data>/jackdaw.toml`, or none; lays the
/// overrides over it and checks the whole.
pub fn load(overrides: &Overrides) -> Result<Loaded, ConfigError> {
    let data = overrides.data.clone().unwrap_or_else(|| Config::default().data);
    let file = match &overrides.config {
        Some(named) => Some(named.clone()),
        None => [PathBuf::from(FILE_NAME), data.join(FILE_NAME)]
            .into_iter()
            .find(|path| path.exists()),
    };
    let Some(file) = file else {
        return assemble(Config::default(), None, true, overrides);
    };
    let text = std::fs::read_to_string(&file).map_err(|error| {
        ConfigError(format!(
            "cannot read {}: {error}; `jackdaw config example` prints one to start from",
            file.display()
        ))
    })?;
    let source = Source {
        name: file.display().to_string(),
        text: &text,
    };
    let mut config = parse(&source)?;
    let folder = file.parent().unwrap_or(Path::new(""));
    if source.sets("data") {
        config.data = folder.join(&config.data);
    } else if overrides.config.is_some() {
        // As every path of the file: whoever names a file elsewhere does not mean the folder that
        // happens to be the current one.
        config.data = folder.join(&config.data);
    } else {
        // A file inside the data folder that does not name the folder means the one it is in.
        config.data = data;
    }
    for domain in &mut config.domain {
        let paths = [
            &mut domain.certificate,
            &mut domain.key,
            &mut domain.client_certificates,
        ];
        let paths = paths.into_iter().flatten();
        for path in paths.chain(domain.bearer.paths()) {
            *path = folder.join(&path);
        }
    }
    if let Some(program) = &mut config.command.program {
        *program = folder.join(&program);
    }
    let external = config.external.iter_mut().flat_map(External::paths);
    for path in config.ldap.paths().chain(config.http_accounts.paths()).chain(external) {
        *path = folder.join(&path);
    }
    for path in config.files.paths().chain(config.federation.paths()) {
        *path = folder.join(&path);
    }
    for component in &mut config.component {
        component.secret_file = folder.join(&component.secret_file);
    }
    let assumed = !source.sets("domain");
    let mut loaded = assemble(config, Some(&source), assumed, overrides)?;
    loaded.file = Some(file);
    Ok(loaded)
}

fn parse(source: &Source<'_>) -> Result<Config, ConfigError> {
    let read = toml::Deserializer::parse(source.text).and_then(Config::deserialize);
    let mut config = read.map_err(|error| source.explain(&error))?;
    // An empty list is a key that was left out: a server without domain or listener serves nobody.
    if config.domain.is_empty() {
        config.domain = Config::default().domain;
    }
    if config.listen.is_empty() {
        config.listen = Config::default().listen;
    }
    // Those that were not asked for go with what they are for.
    if !config.federation.enabled && config.listen == Config::default().listen {
        config.listen.retain(|listen| !listen.kind.is_of_servers());
    }
    Ok(config)
}

fn assemble(
    mut config: Config,
    source: Option<&Source<'_>>,
    mut domain_is_assumed: bool,
    overrides: &Overrides,
) -> Result<Loaded, ConfigError> {
    if let Some(data) = &overrides.data {
        config.data = data.clone();
    }
    let domains: Vec<&str> = given(&overrides.domains).collect();
    if !domains.is_empty() {
        config.domain = named_domains(&domains, &config.domain)?;
        domain_is_assumed = false;
    }
    let listen: Vec<&str> = given(&overrides.listen).collect();
    if !listen.is_empty() {
        config.listen = listen.into_iter().map(listener).collect::<Result<_, _>>()?;
    }
    if !config.component.is_empty() && config.listen.iter().all(|listen| listen.kind != Kind::Component) {
        config.listen.push(component::default_listener());
    }
    if let Some(level) = &overrides.log_level {
        config.log.level =
            LogLevel::parse(level).map_err(|error| ConfigError(format!("--log or JACKDAW_LOG: {error}")))?;
    }
    if let Some(format) = overrides.log_format {
        config.log.format = format;
    }
    if let Some(problem) = check::problem_of(&config) {
        let place = source.and_then(|source| source.place_of(&problem.path));
        let place = place.map(|place| format!("{place}: ")).unwrap_or_default();
        return Err(ConfigError(format!("{place}{}", problem.message)));
    }
    let warnings = check::warnings(&config);
    Ok(Loaded {
        config,
        file: None,
        domain_is_assumed,
        warnings,
    })
}

/// Without empty words: `JACKDAW_DOMAIN=` is a variable that was left empty, not a domain.
fn given(words: &[String]) -> impl Iterator<Item = &str> {
    words.iter().map(|word| word.trim()).filter(|word| !word.is_empty())
}

/// The domains that flags or the environment name, in that order. One that the file has too keeps
/// its certificate and contacts.
fn named_domains(names: &[&str], known: &[Domain]) -> Result<Vec<Domain>, ConfigError> {
    let mut domains: Vec<Domain> = Vec::with_capacity(names.len());
    for name in names {
        let name =
            DomainName::parse(name).map_err(|error| ConfigError(format!("--domain or JACKDAW_DOMAIN: {error}")))?;
        if domains.iter().any(|domain| domain.name == name) {
            continue;
        }
        let domain = known.iter().find(|domain| domain.name == name).cloned();
        domains.push(domain.unwrap_or_else(|| Domain {
            name,
            ..Domain::default()
        }));
    }
    Ok(domains)
}

fn listener(word: &str) -> Result<Listen, ConfigError> {
    let wrong = || {
        ConfigError(format!(
            "--listen or JACKDAW_LISTEN: `{word}` is not KIND=ADDRESS:PORT, such as c2s=127.0.0.1:5222 or \
             c2s-direct=[::]:5223"
        ))
    };
    let (kind, address) = word.split_once('=').ok_or_else(wrong)?;
    let kind = Kind::ALL
        .into_iter()
        .find(|known| known.as_str() == kind)
        .ok_or_else(wrong)?;
    let address: SocketAddr = address.parse().map_err(|_| wrong())?;
    Ok(Listen {
        kind,
        address,
        ..Listen::default()
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
