//! Whom a certificate speaks for.
//!
//! In the handshake any certificate is taken ([`handshake`]). What it is worth is found out here, for the domain that
//! the stream is about and by the rule for that domain, so that an answer can say *why* it is worth nothing, and so that
//! there are other proofs than an authority of the public (RFC 7712):
//!
//! 1. a key that the configuration names (a pin),
//! 2. a TLSA record that DNSSEC secures (DANE: RFC 6698, RFC 7673),
//! 3. a certificate that an authority has made out for the domain (PKIX: RFC 6120 section 13.7),
//! 4. a document at the domain's web server (POSH: RFC 7711).
//!
//! Revocation is not looked at: authorities of the public have given up asking for it (OCSP), and lists of a hundred
//! megabytes are nothing that a chat server fetches. What helps is that certificates are short-lived.

mod dane;
pub mod handshake;
mod names;
mod pkix;
pub mod posh;
#[cfg(test)]
pub(crate) mod tests;

use std::cell::OnceCell;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use c2s::tls::x509;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};

use crate::dns::Tlsa;
use crate::journal::{Step, Trace};
use crate::policy::{Pin, Require, Rule};
use dane::Usage;
use names::Reference;
pub use posh::{Posh, Reach};

/// Records of a peer that are looked at, each of which may cost some signatures. A renewal has two, for each of a few
/// hosts.
const MAX_RECORDS: usize = 32;

/// What a peer has done: this decides for what its certificate may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It has taken our connection.
    Server,
    /// It has connected to us.
    Client,
}

/// A peer, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// The domain that it says it is, in prepared form.
    pub domain: &'a str,
    pub side: Side,
    /// What it has shown in the handshake, its own certificate first.
    pub chain: &'a [CertificateDer<'a>],
    /// The host that was connected to, if a *secure* SRV record names it: its name is then as good as the domain's
    /// (RFC 7673 section 4.1). Of a peer that has connected, all hosts that such records name.
    pub hosts: &'a [Box<str>],
    /// *Secure* records of that host and port. Of a peer that has connected, those of all its targets: it is known by
    /// none of them in particular.
    pub tlsa: &'a [Tlsa],
    /// What its web server says, if it was asked: see [`Verdict::wants_posh`].
    pub posh: Option<&'a Posh>,
}

impl<'a> Peer<'a> {
    /// One of which nothing is known but what it has shown.
    pub fn new(domain: &'a str, side: Side, chain: &'a [CertificateDer<'a>]) -> Peer<'a> {
        Peer {
            domain,
            side,
            chain,
            hosts: &[],
            tlsa: &[],
            posh: None,
        }
    }
}

/// By what a peer is who it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    Pin,
    Dane,
    Certificate,
    Posh,
}

impl fmt::Display for Proof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Proof::Pin => "pinned key",
            Proof::Dane => "DANE",
            Proof::Certificate => "certificate",
            Proof::Posh => "POSH",
        })
    }
}

/// Why it is not. Displays as what whoever has sent something is told, behind "the server of example.net": in words, and
/// without anything that the peer has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    NoCertificate,
    /// It cannot be read, or uses something unknown; what webpki calls it.
    Broken(String),
    Expired,
    NotYetValid,
    SelfSigned,
    /// Or one in between was not shown; this many were.
    UnknownAuthority {
        shown: usize,
    },
    /// It is for something else, mail say, or it is one of an authority.
    WrongUsage,
    /// The authority may not certify this name.
    Constrained,
    /// It names other domains.
    OtherName,
    /// No certificate can be for an address.
    NoName,
    /// There are records in the DNS, and none is of it.
    NotInDns,
    /// There are none, and there has to be one.
    NoDane,
    /// The configuration pins other keys.
    NotPinned,
}

impl fmt::Display for Flaw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Flaw::NoCertificate => "shows no certificate",
            Flaw::Broken(_) => "shows a certificate that cannot be used",
            Flaw::Expired => "shows a certificate that has expired",
            Flaw::NotYetValid => "shows a certificate that is not valid yet",
            Flaw::SelfSigned => "shows a certificate that it has made itself",
            Flaw::UnknownAuthority { .. } => "shows a certificate of an unknown authority",
            Flaw::WrongUsage => "shows a certificate that is for something else",
            Flaw::Constrained => "shows a certificate of an authority that may not certify this domain",
            Flaw::OtherName => "shows a certificate for another domain",
            Flaw::NoName => "has an address in place of a domain, and no certificate is for that",
            Flaw::NotInDns => "shows another certificate than the DNS says (DANE)",
            Flaw::NoDane => "has no secure record of its certificate in the DNS (DANE), which is demanded of it",
            Flaw::NotPinned => "shows another key than is expected of it",
        })
    }
}

/// What was found out about a peer.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub proof: Result<Proof, Flaw>,
    /// Each thing that was looked at, and whether it was good, for an operator.
    pub notes: Vec<(bool, String)>,
    /// When the proof ends, in seconds since 1970, where it does: the stream ends then too (RFC 6120 section 13.7.2.3).
    pub until: Option<i64>,
    /// It is not proved, but might be if its web server were asked ([`Identity::fetch_posh`]).
    pub wants_posh: bool,
}

impl Verdict {
    fn new() -> Verdict {
        Verdict {
            proof: Err(Flaw::NoCertificate),
            notes: Vec::new(),
            until: None,
            wants_posh: false,
        }
    }

    fn note(&mut self, is_good: bool, what: String) {
        self.notes.push((is_good, what));
    }

    fn prove(mut self, proof: Proof, until: Option<i64>) -> Verdict {
        self.proof = Ok(proof);
        self.until = until;
        self
    }

    fn refuse(mut self, flaw: Flaw) -> Verdict {
        if let Flaw::Broken(what) = &flaw {
            self.note(false, format!("cannot be used: {what}"));
        }
        self.proof = Err(flaw);
        self
    }

    /// Writes it down. Where it is proved, what else was looked at without success is no failure.
    pub fn tell(&self, trace: &mut Trace) {
        for (is_good, what) in &self.notes {
            match *is_good || self.proof.is_ok() {
                true => trace.good(Step::Certificate, what.as_str()),
                false => trace.bad(Step::Certificate, what.as_str()),
            }
        }
    }
}

/// Judges peers.
pub struct Identity {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
    posh: posh::Fetcher,
}

impl Identity {
    /// Trusts the authorities that this machine trusts, and those of a file in PEM. Blocking: reads some files.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else: a line for the operator.
    pub fn new(authorities: Option<&Path>) -> io::Result<Identity> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = authorities {
            let wrong = |error: &dyn fmt::Display| io::Error::other(format!("{}: {error}", file.display()));
            let before = roots.len();
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
                let certificate = certificate.map_err(|error| wrong(&error))?;
                roots.add(certificate).map_err(|error| wrong(&error))?;
            }
            if roots.len() == before {
                return Err(wrong(&"no certificate is in it"));
            }
        }
        if roots.is_empty() {
            tracing::warn!(
                "this machine has no certificates of authorities, so that no other server can show who it is; install \
                 them (the package ca-certificates), or name a file of them"
            );
        }
        Ok(Identity::of(roots))
    }

    pub(crate) fn of(roots: RootCertStore) -> Identity {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Identity {
            posh: posh::Fetcher::new(&roots, &provider),
            roots,
            provider,
        }
    }

    /// What the web server of a domain says of the certificate of its XMPP server (RFC 7711). Kept for a while, and asked
    /// of a limited number of servers at once.
    ///
    /// # Errors
    /// There is no such document, or it is not to be had: why, for an operator.
    pub async fn fetch_posh(&self, domain: &str, by: &impl Reach) -> Result<Arc<Posh>, String> {
        self.posh.fetch(domain, by).await
    }

    /// [`Identity::judge`], with the domain's web server asked where that may help.
    pub async fn judge_with_posh(&self, peer: &Peer<'_>, rule: &Rule, now: UnixTime, by: &impl Reach) -> Verdict {
        let verdict = self.judge(peer, rule, now);
        if !verdict.wants_posh {
            return verdict;
        }
        match self.fetch_posh(peer.domain, by).await {
            Ok(posh) => {
                let peer = Peer {
                    posh: Some(&posh),
                    ..*peer
                };
                self.judge(&peer, rule, now)
            }
            Err(why) => {
                let mut verdict = verdict;
                verdict.wants_posh = false;
                verdict.note(false, format!("POSH: {why}"));
                verdict
            }
        }
    }

    /// Whether a peer is who it says it is, by what a rule demands.
    pub fn judge(&self, peer: &Peer<'_>, rule: &Rule, now: UnixTime) -> Verdict {
        let mut verdict = Verdict::new();
        let Some(leaf) = peer.chain.first() else {
            verdict.note(false, "none was shown".to_owned());
            return verdict.refuse(Flaw::NoCertificate);
        };
        let Some(fields) = x509::fields(leaf) else {
            return verdict.refuse(Flaw::Broken("it is not one".to_owned()));
        };
        let pin = Pin::of(fields.key);
        let names = names::shown(&fields);
        let behind = peer.chain.len() - 1;
        verdict.note(
            true,
            format!("it is for {names}, with {behind} more behind it; its key is {pin}"),
        );

        if !rule.pins.is_empty() {
            if !rule.pins.contains(&pin) {
                verdict.note(false, "its key is none of those that are pinned".to_owned());
                return verdict.refuse(Flaw::NotPinned);
            }
            verdict.note(true, "its key is pinned".to_owned());
            if rule.require == Require::Proof {
                return verdict.prove(Proof::Pin, None);
            }
        }

        // What is secured by the DNS goes first: if there is something, it has to fit (RFC 7673 section 3.4).
        match self.dane(peer, leaf, &fields, now, &mut verdict) {
            Some(Ok(until)) if rule.require != Require::Certificate => return verdict.prove(Proof::Dane, until),
            Some(Err(flaw)) if peer.side == Side::Server || rule.require == Require::Dane => {
                return verdict.refuse(flaw);
            }
            None if rule.require == Require::Dane => {
                verdict.note(false, "DANE: no secure TLSA record that could be used".to_owned());
                return verdict.refuse(Flaw::NoDane);
            }
            _ => {}
        }

        let flaw = match self.pkix(peer, &fields, now) {
            Ok(path) => {
                verdict.note(true, "an authority that is known here vouches for it".to_owned());
                return verdict.prove(Proof::Certificate, Some(path.until));
            }
            Err(flaw) => flaw,
        };
        verdict.note(false, in_words(&flaw, peer, &names));
        if rule.require != Require::Proof || !rule.posh {
            return verdict.refuse(flaw);
        }

        match peer.posh {
            None => verdict.wants_posh = Reference::new(peer.domain).is_some(),
            Some(posh) if !posh.is_of(leaf) => {
                verdict.note(
                    false,
                    "POSH: the document of the web server is of another certificate".to_owned(),
                );
            }
            Some(_) if !is_valid(&fields, now) => {
                verdict.note(
                    false,
                    "POSH: it is of this certificate, which is not valid now".to_owned(),
                );
            }
            Some(_) => {
                verdict.note(true, "POSH: the web server of the domain names it".to_owned());
                return verdict.prove(Proof::Posh, Some(fields.not_after));
            }
        }
        verdict.refuse(flaw)
    }

    /// Whether a peer that has connected might as well be one that was connected to: where there are records that can be
    /// used, one of them has to fit (RFC 7673 section 3.4).
    pub fn is_as_the_dns_says(&self, peer: &Peer<'_>, rule: &Rule, now: UnixTime) -> bool {
        let peer = Peer {
            side: Side::Server,
            ..*peer
        };
        let has_records = peer.tlsa.iter().any(|record| dane::usage(record).is_some());
        !has_records || self.judge(&peer, rule, now).proof.is_ok()
    }

    /// `None`: no record can be used. Else when the proof ends, or that none of them fits.
    fn dane(
        &self,
        peer: &Peer<'_>,
        leaf: &CertificateDer<'_>,
        fields: &x509::Fields<'_>,
        now: UnixTime,
        verdict: &mut Verdict,
    ) -> Option<Result<Option<i64>, Flaw>> {
        let records = peer
            .tlsa
            .iter()
            .filter_map(|record| Some((record, dane::usage(record)?)))
            .take(MAX_RECORDS);
        let vouched = OnceCell::new();
        let vouched = || {
            vouched
                .get_or_init(|| self.pkix(peer, fields, now))
                .as_ref()
                .map_err(Flaw::clone)
        };
        let mut found = None;
        for (record, usage) in records {
            let is_leaf = dane::is_of(record, leaf, fields);
            let fits = match usage {
                Usage::DaneEe if is_leaf => Ok(None),
                Usage::PkixEe if is_leaf => vouched().map(|path| Some(path.until)),
                Usage::DaneEe | Usage::PkixEe => Err(Flaw::NotInDns),
                Usage::PkixTa => match vouched() {
                    Ok(path) if !is_in_path(record, path, peer.chain) => Err(Flaw::NotInDns),
                    path => path.map(|path| Some(path.until)),
                },
                Usage::DaneTa => self.below(record, peer, fields, now).map(|path| Some(path.until)),
            };
            match fits {
                Ok(until) => {
                    verdict.note(true, format!("DANE: TLSA {} is of it", dane::shown(record)));
                    return Some(Ok(until));
                }
                Err(Flaw::NotInDns) => {
                    verdict.note(false, format!("DANE: TLSA {} is not of it", dane::shown(record)));
                    found.get_or_insert(Flaw::NotInDns);
                }
                // Of several records one that fits but for this tells more than one of another certificate.
                Err(flaw) => {
                    let why = in_words(&flaw, peer, &names::shown(fields));
                    verdict.note(false, format!("DANE: TLSA {} does not do: {why}", dane::shown(record)));
                    found = Some(flaw);
                }
            }
        }
        found.map(Err)
    }

    /// A path to the authority that a record names, if the certificate is for the domain as well.
    fn below(
        &self,
        record: &Tlsa,
        peer: &Peer<'_>,
        fields: &x509::Fields<'_>,
        now: UnixTime,
    ) -> Result<pkix::Path, Flaw> {
        // The record may hold the authority's certificate itself; else it is one of those that were shown.
        let written = CertificateDer::from(record.data.as_slice());
        let is_written = record.selector == 0 && record.matching == 0;
        let shown = peer.chain.iter().skip(1);
        let shown = shown.filter(|shown| x509::fields(shown).is_some_and(|fields| dane::is_of(record, shown, &fields)));
        let anchors: Vec<_> = shown
            .chain(Some(&written).filter(|_| is_written))
            .filter_map(|authority| webpki::anchor_from_trusted_cert(authority).ok())
            .collect();
        if anchors.is_empty() {
            return Err(Flaw::NotInDns);
        }
        let path = match pkix::path(peer.chain, &anchors, peer.side, now, &self.provider) {
            // What the record names has not issued it.
            Err(Flaw::UnknownAuthority { .. } | Flaw::SelfSigned) => return Err(Flaw::NotInDns),
            path => path?,
        };
        match is_for(peer, fields, path.is_constrained) {
            true => Ok(path),
            false => Err(Flaw::OtherName),
        }
    }

    fn pkix(&self, peer: &Peer<'_>, fields: &x509::Fields<'_>, now: UnixTime) -> Result<pkix::Path, Flaw> {
        if Reference::new(peer.domain).is_none() {
            return Err(Flaw::NoName);
        }
        let path = pkix::path(peer.chain, &self.roots.roots, peer.side, now, &self.provider)?;
        match is_for(peer, fields, path.is_constrained) {
            true => Ok(path),
            false => Err(Flaw::OtherName),
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Identity")
            .field("authorities", &self.roots.len())
            .finish_non_exhaustive()
    }
}

/// Whether a certificate names the domain, or the host that a secure record says is the domain's.
fn is_for(peer: &Peer<'_>, fields: &x509::Fields<'_>, is_constrained: bool) -> bool {
    let domains = [peer.domain].into_iter().chain(peer.hosts.iter().map(|host| &**host));
    let mut references = domains.filter_map(Reference::new);
    references.any(|reference| reference.is_among(fields.names(), !is_constrained))
}

/// Whether a record is of one of those who vouch.
fn is_in_path(record: &Tlsa, path: &pkix::Path, chain: &[CertificateDer<'_>]) -> bool {
    let is_of =
        |issuer: &CertificateDer<'_>| x509::fields(issuer).is_some_and(|fields| dane::is_of(record, issuer, &fields));
    // Of the authority itself nothing but the key is kept; its certificate is at hand if it was shown.
    let is_anchor = |shown: &&CertificateDer<'_>| x509::fields(shown).is_some_and(|fields| fields.key == path.anchor);
    path.issuers.iter().any(is_of)
        || dane::is_of_key(record, &path.anchor)
        || chain.iter().skip(1).filter(is_anchor).any(is_of)
}

fn is_valid(fields: &x509::Fields<'_>, now: UnixTime) -> bool {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    (fields.not_before..=fields.not_after).contains(&now)
}

/// A flaw for an operator, who is told what to look at.
fn in_words(flaw: &Flaw, peer: &Peer<'_>, names: &str) -> String {
    match flaw {
        Flaw::Expired => "it has expired, or one above it has".to_owned(),
        Flaw::NotYetValid => "it is not valid yet; is the clock of this machine right?".to_owned(),
        Flaw::SelfSigned => "it is self-signed, and not among the authorities that are known here".to_owned(),
        Flaw::UnknownAuthority { shown: 1 } => {
            "no authority known here has issued it, and none in between was shown; its server may lack the \
             intermediate certificate"
                .to_owned()
        }
        Flaw::UnknownAuthority { .. } => {
            "no authority known here has issued it, or any of those shown with it".to_owned()
        }
        Flaw::WrongUsage => "it is for something else than servers, or it is one of an authority".to_owned(),
        Flaw::Constrained => "the authority may not certify this name".to_owned(),
        Flaw::OtherName => format!("it is for {names}, not for {}", peer.domain),
        Flaw::NoName => format!("no certificate can be for `{}`", peer.domain),
        Flaw::Broken(what) => format!("it cannot be used: {what}"),
        other => other.to_string(),
    }
}
