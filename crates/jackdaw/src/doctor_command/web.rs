//! What browsers need (XEP-0156), and where uploaded files are.

use std::net::SocketAddr;
use std::time::Duration;

use backends::{Fetched, Url};
use s2s::identity::{Peer, Side};
use tokio::time::timeout;

use super::Tools;
use super::ports::by_authority;
use super::probe;
use super::report::Report;
use crate::config::{Domain, Kind};
use crate::dns;
use crate::serve::websocket_url;
use crate::uploads::uploads;

/// The largest document.
const LARGEST: usize = 64 * 1024;

/// Until a web server has answered.
const ANSWER: Duration = Duration::from_secs(10);

pub async fn check(tools: &Tools<'_>, domain: &Domain, report: &mut Report) {
    let config = tools.config;
    let serves = |kind: Kind| matches!(kind, Kind::Https | Kind::Http | Kind::Multiplex);
    if !config.listen.iter().any(|listen| serves(listen.kind)) {
        return;
    }
    let name = domain.name.as_str();
    let ascii = dns::ascii(name);
    let websocket = websocket_url(config, name);
    for path in ["/.well-known/host-meta", "/.well-known/host-meta.json"] {
        let url = format!("https://{ascii}{path}");
        let advice = format!("have the web server of {name} pass {path} on to this one, as `jackdaw dns` says");
        match get(tools, &url, report).await {
            Ok(fetched) if fetched.status == 200 => {
                let text = String::from_utf8_lossy(&fetched.body);
                match text.contains(&websocket) {
                    true => report.good("host-meta", &url, format!("leads to {websocket}")),
                    false => report.wrong("host-meta", &url, format!("does not lead to {websocket}"), advice),
                }
            }
            Ok(fetched) => report.note(
                "host-meta",
                &url,
                format!("status {}: clients in browsers do not find this server", fetched.status),
                advice,
            ),
            Err(why) => report.note(
                "host-meta",
                &url,
                format!("{why}: clients in browsers do not find this server"),
                advice,
            ),
        }
    }
    let host = crate::serve::http_host(config, name);
    if let Some(uploads) = uploads(config, &host) {
        let advice = "clients upload files there and fetch them; look at http.public_url, files.public_url and the \
                      listener of the kind https";
        match get(tools, &uploads.url, report).await {
            // No file is there; whatever answers has looked.
            Ok(fetched) if fetched.status < 500 => report.good("upload", &uploads.url, "is reached"),
            Ok(fetched) => report.wrong("upload", &uploads.url, format!("status {}", fetched.status), advice),
            Err(why) => report.wrong("upload", &uploads.url, why, advice),
        }
    }
}

/// What is there. The certificate is judged on the way, as browsers and clients do it.
async fn get(tools: &Tools<'_>, url: &str, report: &mut Report) -> Result<Fetched, String> {
    let parsed: Url = url.parse()?;
    let host = parsed.host().to_owned();
    let addresses = probe::addresses(tools, &host).await?;
    let mut failed = format!("{host} has no address");
    for address in addresses {
        let address = SocketAddr::new(address, parsed.port());
        let stream = match probe::open(address).await {
            Ok(stream) => stream,
            Err(error) => {
                failed = format!("nobody answers at {address}: {error}");
                continue;
            }
        };
        let stream = probe::tls(tools, stream, &host).await?;
        let seen = probe::seen(&stream);
        by_authority(tools, url, &Peer::new(&host, Side::Server, &seen.chain), report);
        return match timeout(ANSWER, backends::fetch(stream, &parsed, LARGEST)).await {
            Ok(fetched) => fetched.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
    }
    Err(failed)
}
