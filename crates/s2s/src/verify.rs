//! Who it is that connects: whom its certificate speaks for, and what the authoritative server of its domain says of a
//! dialback key (XEP-0220 section 2.1.2).

use std::net::IpAddr;
use std::time::Duration;

use c2s::{Answer, Caller, Servers};
use router::{Pair, Vouched};
use rustls::pki_types::UnixTime;
use session::server::{Claim, Purpose};
use stanza::StanzaError;
use tokio::time::{Instant, timeout, timeout_at};

use crate::dialer::Made;
use crate::dns::Tlsa;
use crate::federation::Federation;
use crate::identity::{Peer, Side, Verdict};
use crate::journal::{Attempt, Direction, Step, Trace};
use crate::policy::Require;

/// How long it may take to find out whom a certificate speaks for. Who connects waits, and has a time for all of it.
const JUDGING: Duration = Duration::from_secs(15);
/// How long it may take to have a dialback key verified, with all that has to be done for it: less than whoever has shown the
/// key has for its login, unless `limits.negotiation_seconds` is shorter than usual.
const VERIFYING: Duration = Duration::from_secs(20);

impl Servers for Federation {
    fn certifies(&self, caller: Caller, pair: &Pair, answer: Answer<Vouched>) {
        let (Some(me), pair) = (self.me(), pair.clone()) else {
            return;
        };
        self.runtime().spawn(async move {
            let mut trace = Trace::default();
            trace.good(Step::Connect, format!("from {}", caller.address));
            trace.good(Step::Tls, caller.tls.as_str());
            let verdict = me.judge(&caller, &pair, &mut trace).await;
            let mut vouched = Vouched::default();
            match verdict.map(|verdict| (verdict.proof, verdict.until)) {
                Ok((Ok(proof), until)) => {
                    trace.good(Step::Certificate, format!("it is {}, by {proof}", pair.remote));
                    vouched = Vouched { is_proved: true, until };
                }
                Ok((Err(flaw), _)) => {
                    trace.bad(Step::Certificate, format!("who says that it is {} {flaw}", pair.remote));
                }
                Err(why) => trace.bad(Step::Certificate, why),
            }
            let attempt = Attempt {
                direction: Direction::In,
                local: pair.local,
                trace,
                has_succeeded: vouched.is_proved,
            };
            me.journal().keep(&pair.remote, attempt);
            answer(vouched);
        });
    }

    fn verify(&self, claim: Claim, answer: Answer<Result<bool, StanzaError>>) -> Result<(), StanzaError> {
        let me = self.me().ok_or_else(StanzaError::remote_server_timeout)?;
        if me.asking.available_permits() == 0 {
            return Err(StanzaError::resource_constraint().text("too many keys are being verified"));
        }
        self.runtime().spawn(async move {
            let pair = claim.pair.clone();
            let asked = timeout(VERIFYING, async {
                let _place = me.asking.acquire().await;
                me.attempt(&pair, &Purpose::Verify(claim)).await
            });
            let verdict = match asked.await {
                Ok(Ok(Made::Verified(is_good))) => Ok(is_good),
                // It was not asked to be one.
                Ok(Ok(Made::Stream(_))) => Err(StanzaError::remote_server_timeout()),
                Ok(Err(failure)) => Err(failure.error()),
                Err(_) => {
                    let mut trace = Trace::default();
                    let text = "it does not say in time whether it has made a dialback key";
                    trace.bad(Step::Authentication, text);
                    let attempt = Attempt {
                        direction: Direction::Out,
                        local: pair.local,
                        trace,
                        has_succeeded: false,
                    };
                    me.journal().keep(&pair.remote, attempt);
                    Err(StanzaError::remote_server_timeout())
                }
            };
            answer(verdict);
        });
        Ok(())
    }

    fn note(&self, address: IpAddr, remote: &str, note: &str) {
        self.journal().note_incoming(remote, address, note);
    }
}

impl Federation {
    /// Judges who has connected. First by what it has shown; the DNS is asked where that does not do.
    async fn judge(&self, caller: &Caller, pair: &Pair, trace: &mut Trace) -> Result<Verdict, String> {
        let until = Instant::now() + JUDGING;
        let late = |_| "it could not be judged in time".to_owned();
        let rule = self.policy().rule(&pair.remote);
        let peer = Peer::new(&pair.remote, Side::Client, &caller.chain);
        if caller.chain.is_empty() {
            return Ok(self.identity().judge(&peer, rule, UnixTime::now()));
        }
        let mut verdict = self.identity().judge(&peer, rule, UnixTime::now());
        if verdict.proof.is_err() && rule.require != Require::Certificate {
            // Who shows enough waits for nobody who does not.
            let _place = timeout_at(until, self.asking.acquire()).await.map_err(late)?;
            let asked = timeout_at(until, async {
                let (host, tlsa) = self.secure_records(&pair.remote, trace).await;
                let peer = Peer {
                    target: host.as_deref(),
                    tlsa: &tlsa,
                    ..peer
                };
                self.identity()
                    .judge_with_posh(&peer, rule, UnixTime::now(), self.resolver())
                    .await
            });
            // What it has shown is told in any case.
            match asked.await {
                Ok(judged) => verdict = judged,
                Err(_) => trace.bad(Step::Dns, "what the DNS has to say of it was not told in time"),
            }
        }
        verdict.tell(trace);
        Ok(verdict)
    }

    /// The secure records of all places of a domain, and a host of it that a secure record names.
    async fn secure_records(&self, remote: &str, trace: &mut Trace) -> (Option<String>, Vec<Tlsa>) {
        let (mut host, mut records) = (None, Vec::new());
        let Ok(targets) = self.resolver().find(remote, trace).await else {
            return (host, records);
        };
        for target in targets.iter().filter(|target| target.is_secure) {
            host.get_or_insert_with(|| target.host.to_string());
            if let Ok(answer) = self.resolver().tlsa(&target.host, target.port).await
                && answer.is_secure
            {
                trace.good(
                    Step::Dns,
                    format!("TLSA of {target}: {} secure records", answer.records.len()),
                );
                records.extend(answer.records);
            }
        }
        (host, records)
    }
}
