//! Who has connected: whom its certificate speaks for, and whether what is for that domain may go to it over the same
//! stream.
//!
//! These are two questions. Who connects need not show what the DNS says of the servers of its domain (DANE): what it says is
//! believed for a certificate of an authority as well. But what we have to say goes to where the DNS says, and to nobody
//! whom we would not send it to if we had connected to him.

use std::sync::Arc;
use std::time::Duration;

use router::FailureKind;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::time::{Instant, timeout, timeout_at};

use crate::dns::{Resolver, Tlsa};
use crate::identity::{Identity, Peer, Side, Verdict};
use crate::journal::{Step, Trace};
use crate::places::{Places, line_of_domain};
use crate::policy::{Require, Rule};
use crate::targets::TARGETS;

/// How long it may take to find out whom a certificate speaks for. Who connects waits, and has a time for all of it.
const JUDGING: Duration = Duration::from_secs(15);
/// How long the DNS is waited for where only the other direction depends on it. Without an answer there is none, and a stream
/// of our own is made.
const OTHER_DIRECTION: Duration = Duration::from_secs(5);

/// Secure hosts of a domain that are looked at, each of which costs a question: all those that we would connect to.
const HOSTS: usize = TARGETS;

/// By what who connects is judged.
pub(crate) struct Judge<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) resolver: &'a Resolver,
    pub(crate) rule: &'a Rule,
    /// Who has shown nothing that does waits here until fewer are being judged, in the line of its zone.
    pub(crate) room: &'a Arc<Places>,
    /// Streams may go both ways (XEP-0288).
    pub(crate) bidirectional: bool,
}

/// What is found out.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// Nothing that is for the domain goes to it over the same stream.
    pub(crate) is_one_way: bool,
}

/// What the DNS says of a domain, and secures.
#[derive(Debug, Default)]
struct Secured {
    /// The hosts that SRV records name.
    hosts: Vec<Box<str>>,
    /// The records of all of them.
    tlsa: Vec<Tlsa>,
    /// Something was not told.
    is_partial: bool,
}

impl Judge<'_> {
    /// First by what it has shown; the DNS is asked where that does not do.
    pub(crate) async fn judge(
        &self,
        remote: &str,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
        trace: &mut Trace,
    ) -> Result<Judged, String> {
        let until = Instant::now() + JUDGING;
        let peer = Peer::new(remote, Side::Client, chain);
        let mut verdict = self.identity.judge(&peer, self.rule, now);
        let mut secured = None;
        if verdict.proof.is_err() && !chain.is_empty() && self.rule.require != Require::Certificate {
            // Who shows enough waits for nobody who does not.
            let late = |_| "it could not be judged in time".to_owned();
            let place = self.room.take(line_of_domain(remote));
            let _place = timeout_at(until, place).await.map_err(late)?;
            let asked = timeout_at(until, async {
                let known = self.secured(remote, trace).await;
                let peer = known.about(peer);
                let verdict = self
                    .identity
                    .judge_with_posh(&peer, self.rule, now, self.resolver)
                    .await;
                secured = Some(known);
                verdict
            });
            // What it has shown is told in any case.
            match asked.await {
                Ok(judged) => verdict = judged,
                Err(_) => trace.bad(Step::Dns, "what the DNS has to say of it was not told in time"),
            }
        }
        let mut is_one_way = true;
        if verdict.proof.is_ok() && self.bidirectional {
            let secured = match secured {
                Some(secured) => secured,
                None => self.secured_soon(remote, trace).await,
            };
            is_one_way = match secured.is_partial {
                true => {
                    trace.good(
                        Step::Dns,
                        "what the DNS says of its servers is not known: nothing goes to it over this stream",
                    );
                    true
                }
                false => !self.is_server(&secured.about(peer), now, trace),
            };
        }
        verdict.tell(trace);
        Ok(Judged { verdict, is_one_way })
    }

    /// Whether we would send to it if we had connected to it at one of its places (RFC 7673 section 3.4).
    fn is_server(&self, peer: &Peer<'_>, now: UnixTime, trace: &mut Trace) -> bool {
        let is_one = self.identity.is_as_the_dns_says(peer, self.rule, now);
        if !is_one {
            trace.good(
                Step::Certificate,
                "the DNS says that its servers have other certificates (DANE): nothing goes to it over this stream",
            );
        }
        is_one
    }

    /// Who has shown enough does not wait for long, and not at all for those who have not.
    async fn secured_soon(&self, remote: &str, trace: &mut Trace) -> Secured {
        let unknown = Secured {
            is_partial: true,
            ..Secured::default()
        };
        let place = self.room.take(line_of_domain(remote));
        let Ok(_place) = timeout(Duration::ZERO, place).await else {
            return unknown;
        };
        let asked = timeout(OTHER_DIRECTION, self.secured(remote, trace)).await;
        asked.unwrap_or(unknown)
    }

    /// The secure hosts of a domain, and the secure records of their certificates.
    async fn secured(&self, remote: &str, trace: &mut Trace) -> Secured {
        let mut secured = Secured::default();
        let targets = match self.resolver.find(remote, trace).await {
            Ok(targets) => targets,
            Err(failure) => {
                // That it has no server is an answer as well.
                secured.is_partial = failure.kind != FailureKind::NotFound;
                return secured;
            }
        };
        for target in targets.iter().filter(|target| target.is_secure).take(HOSTS) {
            if !secured.hosts.contains(&target.host) {
                secured.hosts.push(target.host.clone());
            }
            match self.resolver.tlsa(&target.host, target.port).await {
                Ok(answer) if answer.is_secure => {
                    let count = answer.records.len();
                    trace.good(Step::Dns, format!("TLSA of {target}: {count} secure records"));
                    secured.tlsa.extend(answer.records);
                }
                Ok(_) => {}
                Err(none) if none.is_absence() => {}
                Err(none) => {
                    trace.good(Step::Dns, format!("TLSA of {target}: {none}"));
                    secured.is_partial = true;
                }
            }
        }
        secured
    }
}

impl Secured {
    fn about<'a>(&'a self, peer: Peer<'a>) -> Peer<'a> {
        Peer {
            hosts: &self.hosts,
            tlsa: &self.tlsa,
            ..peer
        }
    }
}

#[cfg(test)]
mod tests;
