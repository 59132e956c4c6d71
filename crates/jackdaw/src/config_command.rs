//! `jackdaw config …`.

use std::io::{self, Write};

use c2s::tls::{Certificates, HostFiles};

use crate::config::{self, Config, Domain, Loaded};
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
    crate::backends::readable(config)?;
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

/// Reads the files as `serve` would: that they are there, are PEM, and that key and certificate fit.
fn readable(config: &Config) -> Result<(), Failure> {
    let named = |domain: &Domain| {
        Some(HostFiles {
            host: domain.name.as_str().to_owned(),
            certificate: domain.certificate.clone()?,
            key: domain.key.clone()?,
            clients: domain.client_certificates.clone(),
        })
    };
    let files: Vec<HostFiles> = config.domain.iter().filter_map(named).collect();
    if files.is_empty() {
        return Ok(());
    }
    let (_, warnings) =
        Certificates::load(files).map_err(|error| Failure::new(Why::Configuration, error.to_string()))?;
    for warning in warnings {
        eprintln!("jackdaw: warning: {warning}");
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
