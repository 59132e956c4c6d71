//! `[metrics]`: figures in the text format of Prometheus (version 0.0.4), at `/metrics` of a port of their own.
//!
//! Nothing is gathered until somebody asks. Of HTTP only what a scraper needs is spoken: one request, whose head alone is
//! read, one answer, and the end of the connection. There is no login, so it belongs on this machine or behind a proxy.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use c2s::Service;
use router::Router;
use store_sqlite::SqliteStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Scrapes at the same time; further ones wait.
const CONNECTIONS: usize = 4;
/// How long a scrape may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest head of a request, in bytes; above that the connection is closed.
const HEAD_BYTES: usize = 8 * 1024;
/// After an error of `accept` (no file descriptor left) a pause, or it would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the figures are of.
pub struct Sources {
    pub service: Arc<Service>,
    pub router: Arc<Router>,
    pub store: Arc<SqliteStore>,
    /// None: this server talks with no other.
    pub federation: Option<Arc<s2s::Federation>>,
}

pub async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers whoever comes, for ever: to be aborted at the end.
pub async fn serve(listener: TcpListener, sources: Arc<Sources>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let sources = Arc::clone(&sources);
                tokio::spawn(async move {
                    // Too slow, or gone: there is nobody to tell.
                    let _ = timeout(PATIENCE, answer(stream, &sources)).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "metrics: cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: TcpStream, sources: &Sources) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match request(&head) {
        Request::Metrics => ("200 OK", text(sources)),
        Request::Other => ("404 Not Found", "the figures are at /metrics\n".to_owned()),
        Request::Refused => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Metrics,
    Other,
    Refused,
}

fn request(head: &[u8]) -> Request {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/metrics") => Request::Metrics,
        (b"GET", _) => Request::Other,
        _ => Request::Refused,
    }
}

/// Names, units and labels are told in docs/manual.md.
fn text(sources: &Sources) -> String {
    let Sources {
        service,
        router,
        store,
        federation,
    } = sources;
    let (counted, stored) = (service.metrics(), store.stats());
    let mut text = Text::default();
    text.family("jackdaw_build_info", "gauge", "The version of the server.");
    text.labelled("jackdaw_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    text.one(
        "jackdaw_connections",
        "gauge",
        "Open connections, those of HTTP among them.",
        service.connections() as u64,
    );
    text.family(
        "jackdaw_streams",
        "gauge",
        "Open streams of clients, by what carries them.",
    );
    for (transport, count) in counted.streams() {
        text.labelled("jackdaw_streams", &[("transport", transport)], count);
    }
    text.family(
        "jackdaw_sessions",
        "gauge",
        "Streams with a resource, by what carries them.",
    );
    for (transport, count) in counted.sessions() {
        text.labelled("jackdaw_sessions", &[("transport", transport)], count);
    }
    text.one(
        "jackdaw_resources",
        "gauge",
        "Bound resources, those that wait to be resumed among them.",
        router.count_sessions() as u64,
    );
    text.one(
        "jackdaw_accounts_in_memory",
        "gauge",
        "Accounts that somebody uses, or used a moment ago.",
        router.count_accounts() as u64,
    );
    text.family(
        "jackdaw_logins_total",
        "counter",
        "Attempts to log in, by mechanism and result.",
    );
    for (mechanism, result, count) in counted.logins() {
        let labels = [("mechanism", mechanism), ("result", result)];
        text.labelled("jackdaw_logins_total", &labels, count);
    }
    text.one(
        "jackdaw_failed_logins_total",
        "counter",
        "Attempts that may have been guesses.",
        counted.failed_logins(),
    );
    text.family(
        "jackdaw_limits_reached_total",
        "counter",
        "How often a limit was reached, by its key in [limits].",
    );
    for (limit, count) in counted.limits() {
        text.labelled("jackdaw_limits_reached_total", &[("limit", limit)], count);
    }
    text.one(
        "jackdaw_stanzas_total",
        "counter",
        "Stanzas that clients have sent.",
        router.count_stanzas(),
    );
    text.one(
        "jackdaw_reports_total",
        "counter",
        "Reports of accounts that were kept (XEP-0377).",
        router.count_reports(),
    );
    text.one(
        "jackdaw_strangers_turned_away_total",
        "counter",
        "Messages and subscription requests of strangers that no account took.",
        router.count_turned_away(),
    );
    if let Some(federation) = federation {
        of_servers(&mut text, router, federation);
    }
    for (name, kind, help, value) in [
        (
            "commits_total",
            "counter",
            "Transactions that were committed.",
            stored.commits,
        ),
        ("batches_total", "counter", "Changes in them.", stored.batches),
        (
            "failed_batches_total",
            "counter",
            "Changes that were not made.",
            stored.failed_batches,
        ),
        (
            "overloaded_total",
            "counter",
            "Changes and questions refused, as too many waited.",
            stored.overloaded,
        ),
        ("reads_total", "counter", "Questions that were answered.", stored.reads),
        (
            "waiting_batches",
            "gauge",
            "Changes that wait for their commit.",
            stored.waiting_batches,
        ),
        (
            "wal_pages",
            "gauge",
            "Pages of 4 KiB in the log of the database.",
            stored.wal_pages,
        ),
    ] {
        text.one(&format!("jackdaw_store_{name}"), kind, help, value);
    }
    text.0
}

/// Other servers.
fn of_servers(text: &mut Text, router: &Router, federation: &s2s::Federation) {
    let links = router.count_links();
    for (name, help, value) in [
        ("links", "Domains to which stanzas can go now.", links.up as u64),
        (
            "links_failing",
            "Domains to which the last attempt to make a stream has failed.",
            links.failing as u64,
        ),
        (
            "links_waiting",
            "Stanzas on the disk that wait for another domain.",
            links.spooled,
        ),
    ] {
        text.one(&format!("jackdaw_{name}"), "gauge", help, value);
    }
    let name = "jackdaw_server_attempts_total";
    text.family(
        name,
        "counter",
        "Attempts to make a stream to another server, by what they have failed at.",
    );
    let journal = federation.journal();
    text.labelled(name, &[("result", "success")], journal.succeeded());
    for (step, count) in journal.failed() {
        text.labelled(name, &[("result", step)], count);
    }
}

/// The format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into a String cannot fail, here and below.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    /// No value of ours has a character that would need an escape.
    fn labelled(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let _ = writeln!(self.0, "{name}{{{}}} {value}", labels.join(","));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        for (head, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Request::Metrics),
            ("GET /metrics?name=x HTTP/1.1\r\n\r\n", Request::Metrics),
            ("GET / HTTP/1.1\r\n\r\n", Request::Other),
            ("GET /metricsx HTTP/1.1\r\n\r\n", Request::Other),
            ("POST /metrics HTTP/1.1\r\n\r\n", Request::Refused),
            ("\r\n\r\n", Request::Refused),
        ] {
            assert_eq!(request(head.as_bytes()), expected, "{head}");
        }
    }

    #[test]
    fn the_format() {
        let mut text = Text::default();
        text.one("a_total", "counter", "How many.", 3);
        text.family("b", "gauge", "By two.");
        text.labelled("b", &[("x", "1"), ("y", "2")], 4);
        let expected = "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
                        # HELP b By two.\n# TYPE b gauge\nb{x=\"1\",y=\"2\"} 4\n";
        assert_eq!(text.0, expected);
    }
}
