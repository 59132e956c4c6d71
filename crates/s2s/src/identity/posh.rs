//! What the web server of a domain says of the certificate of its XMPP server (POSH: RFC 7711, RFC 7712 section 5.2).
//!
//! For domains whose server somebody else runs, who has no certificate for them. Whoever connects to us chooses which web
//! server is asked; so it is one of the internet, at the port of HTTPS, and none of a network that he could not reach himself;
//! nothing is sent there before it has shown a certificate for its name, only so many are asked at once, and what came of
//! it is kept, also when it was nothing.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use backends::{Fetched, Url};
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::digest::{Algorithm, SHA256, SHA384, SHA512, digest};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;

use super::names::Reference;
use crate::connect::Terms;
use crate::dns::Resolver;
use crate::journal::Trace;
use crate::targets::Target;

#[cfg(test)]
mod tests;

/// RFC 7712 section 9.2.
const PATH: &str = "/.well-known/posh/xmpp-server.json";
/// The longest document, in bytes: a hundred fingerprints.
const MAX_DOCUMENT: usize = 16 * 1024;
/// Fingerprints that are looked at. A renewal has two.
const MAX_FINGERPRINTS: usize = 32;
/// Redirects by HTTP that are followed, for a document and for what it refers to.
const MAX_REDIRECTS: usize = 4;
/// For everything, from the first connection on.
const LIMIT: Duration = Duration::from_secs(10);
/// Web servers that are asked at once. Others wait, within the limit.
const AT_ONCE: usize = 16;
/// A document is asked for again after so long, whatever it says.
const MAX_KEPT: Duration = Duration::from_secs(86_400);
/// That there is none is believed for so long.
const NONE_KEPT: Duration = Duration::from_secs(300);
/// Domains of which something is kept. The next pushes out one of them.
const MAX_DOMAINS: usize = 1024;

/// Hash functions by their names in a document (RFC 7711 section 3.1). What is missing is too weak.
const HASHES: &[(&str, &Algorithm)] = &[("sha-256", &SHA256), ("sha-384", &SHA384), ("sha-512", &SHA512)];

/// Padding is often left out, in the RFC's own example too.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The certificates that a domain's XMPP server may show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posh {
    /// Of each certificate, by hash functions.
    fingerprints: Vec<HashMap<String, String>>,
    /// It counts for so long.
    pub expires: Duration,
}

impl Posh {
    /// Whether it is of this certificate: all hash functions of a fingerprint that are known here say so.
    pub fn is_of(&self, certificate: &CertificateDer<'_>) -> bool {
        let is = |fingerprint: &HashMap<String, String>| {
            let known = HASHES
                .iter()
                .filter_map(|(name, hash)| Some((fingerprint.get(*name)?, *hash)));
            let mut said = known.map(|(said, hash)| {
                BASE64
                    .decode(said)
                    .is_ok_and(|said| said == digest(hash, certificate).as_ref())
            });
            said.next().is_some_and(|first| first && said.all(|next| next))
        };
        self.fingerprints.iter().take(MAX_FINGERPRINTS).any(is)
    }
}

/// A document as it stands there (RFC 7711 sections 3.1 and 3.2).
#[derive(Deserialize)]
struct Document {
    fingerprints: Option<Vec<HashMap<String, String>>>,
    url: Option<String>,
    expires: Option<u64>,
}

enum Read {
    Posh(Posh),
    /// It is elsewhere; so long may it be.
    Elsewhere(Url, Duration),
}

fn read(text: &[u8]) -> Result<Read, String> {
    let document: Document =
        serde_json::from_slice(text).map_err(|error| format!("the document is no JSON of POSH: {error}"))?;
    // RFC 7711 section 3.1: without it, or with zero, there is nothing.
    let expires = match document.expires.unwrap_or_default() {
        0 => return Err("the document has expired: its `expires` is missing or zero".to_owned()),
        seconds => Duration::from_secs(seconds).min(MAX_KEPT),
    };
    match (document.fingerprints, document.url) {
        (Some(fingerprints), None) => Ok(Read::Posh(Posh { fingerprints, expires })),
        (None, Some(url)) => Ok(Read::Elsewhere(secure(url.parse())?, expires)),
        _ => Err("the document has to have either `fingerprints` or `url`".to_owned()),
    }
}

/// The only port that is asked.
const PORT: u16 = 443;

fn secure(url: Result<Url, String>) -> Result<Url, String> {
    let url = url?;
    match (url.is_tls(), url.port()) {
        (true, PORT) => Ok(url),
        (true, _) => Err(format!("{url} is not at the port of https")),
        (false, _) => Err(format!("{url} is not https")),
    }
}

/// Who knows how to connect to a host.
pub trait Reach: Sync {
    fn reach(&self, host: &str, port: u16) -> impl Future<Output = io::Result<TcpStream>> + Send;
}

impl Reach for Resolver {
    async fn reach(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let target = Target {
            host: host.into(),
            port,
            is_direct: true,
            is_secure: false,
        };
        let mut trace = Trace::default();
        let terms = Terms {
            is_public: true,
            ..Terms::default()
        };
        let connected = self.connect(&target, Instant::now() + LIMIT, &terms, &mut trace).await;
        connected
            .map(|connected| connected.stream)
            .map_err(|failure| io::Error::other(failure.text))
    }
}

/// What came of asking, and until when that holds.
type Kept = (Instant, Result<Arc<Posh>, String>);

pub(super) struct Fetcher {
    tls: TlsConnector,
    limit: Duration,
    permits: Semaphore,
    /// [`MAX_DOMAINS`] at most.
    kept: Mutex<HashMap<String, Kept>>,
}

impl Fetcher {
    pub(super) fn new(roots: &RootCertStore, provider: &Arc<CryptoProvider>) -> Fetcher {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .expect("ring has cipher suites and key exchanges for both versions")
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![c2s::tls::ALPN_HTTP.to_vec()];
        Fetcher {
            tls: TlsConnector::from(Arc::new(config)),
            limit: LIMIT,
            permits: Semaphore::new(AT_ONCE),
            kept: Mutex::default(),
        }
    }

    pub(super) async fn fetch(&self, domain: &str, by: &impl Reach) -> Result<Arc<Posh>, String> {
        let reference = Reference::new(domain).ok_or_else(|| format!("`{domain}` has no web server"))?;
        let domain = reference.ascii();
        if let Some((until, found)) = self.kept().get(domain)
            && Instant::now() < *until
        {
            return found.clone();
        }
        // What is only too much here says nothing of the domain, and is not kept.
        let permit = tokio::time::timeout(self.limit, self.permits.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(format!("the web server of {domain} was not asked: too many are"));
        };
        let found = match tokio::time::timeout(self.limit, self.ask(domain, by)).await {
            Ok(found) => found.map(Arc::new),
            Err(_) => Err(format!("the web server of {domain} has not answered in time")),
        };
        let lasts = found.as_ref().map_or(NONE_KEPT, |posh| posh.expires);
        self.keep(domain, (Instant::now() + lasts, found.clone()));
        found
    }

    fn keep(&self, domain: &str, entry: Kept) {
        let mut kept = self.kept();
        if kept.len() >= MAX_DOMAINS && !kept.contains_key(domain) {
            let now = Instant::now();
            kept.retain(|_, (until, _)| now < *until);
            // Whichever ends first; a search through all, which is behind a fetch and so cheap.
            let first = kept
                .iter()
                .min_by_key(|(_, (until, _))| *until)
                .map(|(domain, _)| domain.clone());
            if let Some(first) = first.filter(|_| kept.len() >= MAX_DOMAINS) {
                kept.remove(&first);
            }
        }
        kept.insert(domain.to_owned(), entry);
    }

    async fn ask(&self, domain: &str, by: &impl Reach) -> Result<Posh, String> {
        let url = format!("https://{domain}{PATH}").parse()?;
        match self.document(url, by).await? {
            Read::Posh(posh) => Ok(posh),
            Read::Elsewhere(url, lasts) => match self.document(url, by).await? {
                // The lower of the two counts (RFC 7711 section 6).
                Read::Posh(posh) => Ok(Posh {
                    expires: posh.expires.min(lasts),
                    ..posh
                }),
                // Section 3.2: a reference leads to no other.
                Read::Elsewhere(url, _) => Err(format!("what the document refers to refers to {url} in turn")),
            },
        }
    }

    async fn document(&self, mut url: Url, by: &impl Reach) -> Result<Read, String> {
        for _ in 0..=MAX_REDIRECTS {
            let answer = self.get(&url, by).await.map_err(|error| format!("{url}: {error}"))?;
            match (answer.status, answer.location) {
                (200, _) => return read(&answer.body).map_err(|error| format!("{url}: {error}")),
                (301 | 302 | 303 | 307 | 308, Some(location)) => url = secure(url.join(&location))?,
                (status, _) => return Err(format!("{url} answers with status {status}")),
            }
        }
        Err(format!("{url}: too many redirects"))
    }

    async fn get(&self, url: &Url, by: &impl Reach) -> io::Result<Fetched> {
        let stream = by.reach(url.host(), url.port()).await?;
        let name = ServerName::try_from(url.host().to_owned()).map_err(io::Error::other)?;
        let stream = self.tls.connect(name, stream).await?;
        backends::fetch(stream, url, MAX_DOCUMENT).await
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
