//! `jackdaw config …`.

use std::io::{self, Write};

use crate::config::{self, Config, Loaded};
use crate::failure::{Failure, Why};

pub fn example() -> Result<(), Failure> {
    print(&config::example())
}

/// Says that a configuration can be used (`load` said what is wrong with one that cannot), and what looks odd. Files
/// that it names are opened, as `serve` would fail on them.
pub fn check(loaded: &Loaded) -> Result<(), Failure> {
    let Loaded {
        config,
        file,
        domain_is_assumed,
        warnings,
    } = loaded;
    readable(config)?;
    for warning in warnings {
        eprintln!("jackdaw: warning: {warning}");
    }
    if *domain_is_assumed {
        eprintln!("jackdaw: warning: no domain is configured; localhost is served. Add [[domain]] with its name");
    }
    let from = match file {
        Some(file) => format!("{} can be used", file.display()),
        None => "no configuration file; the defaults can be used".to_owned(),
    };
    print(&format!(
        "{from}: {}, {}\n",
        count(config.domain.len(), "domain"),
        count(config.listen.len(), "listener")
    ))
}

fn readable(config: &Config) -> Result<(), Failure> {
    for domain in &config.domain {
        let Some((certificate, key)) = domain.certificate.as_ref().zip(domain.key.as_ref()) else {
            continue;
        };
        let broken = |path: &std::path::Path, what: &dyn std::fmt::Display| {
            let name = &domain.name;
            Failure::new(
                Why::Configuration,
                format!("the files of `{name}`: {}: {what}", path.display()),
            )
        };
        let pem = std::fs::read(certificate).map_err(|error| broken(certificate, &error))?;
        if !matches!(rustls_pemfile::certs(&mut pem.as_slice()).next(), Some(Ok(_))) {
            return Err(broken(certificate, &"no certificate in PEM in it"));
        }
        let pem = std::fs::read(key).map_err(|error| broken(key, &error))?;
        if !matches!(rustls_pemfile::private_key(&mut pem.as_slice()), Ok(Some(_))) {
            return Err(broken(key, &"no private key in PEM in it"));
        }
    }
    Ok(())
}

fn count(number: usize, thing: &str) -> String {
    if number == 1 {
        format!("1 {thing}")
    } else {
        format!("{number} {thing}s")
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let written = io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::failed(format!("cannot write the output: {error}")))
}
