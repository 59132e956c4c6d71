//! Who it is that connects: whom its certificate speaks for, and what the authoritative server of its domain says of a
//! dialback key (XEP-0220 section 2.1.2).

use std::net::IpAddr;
use std::time::Duration;

use c2s::{Answer, Caller, Servers};
use router::{Failure, FailureKind, Pair, Vouched};
use rustls::pki_types::UnixTime;
use session::server::{Claim, Purpose};
use stanza::StanzaError;
use tokio::time::timeout;

use crate::caller::{Judge, Judged};
use crate::dialer::Made;
use crate::federation::Federation;
use crate::journal::{Attempt, Direction, Step, Trace};

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
            let policy = me.policy();
            let judge = Judge {
                identity: me.identity(),
                resolver: me.resolver(),
                rule: policy.rule(&pair.remote),
                room: &me.judging,
                bidirectional: me.stream().bidirectional,
            };
            let judged = judge
                .judge(&pair.remote, &caller.chain, UnixTime::now(), &mut trace)
                .await;
            let mut vouched = Vouched::default();
            let judged = judged.map(|Judged { verdict, is_one_way }| (verdict.proof, verdict.until, is_one_way));
            match judged {
                Ok((Ok(proof), until, is_one_way)) => {
                    trace.good(Step::Certificate, format!("it is {}, by {proof}", pair.remote));
                    vouched = Vouched {
                        is_proved: true,
                        until,
                        is_one_way,
                    };
                }
                Ok((Err(flaw), ..)) => {
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
        if me.verifying.available_permits() == 0 {
            return Err(StanzaError::resource_constraint());
        }
        self.runtime().spawn(async move {
            let pair = claim.pair.clone();
            let asked = timeout(VERIFYING, async {
                let _place = me.verifying.acquire().await;
                me.attempt(&pair, &Purpose::Verify(claim)).await
            });
            let verdict = match asked.await {
                Ok(Ok(Made::Verified(is_good))) => Ok(is_good),
                // It was not asked to be one.
                Ok(Ok(Made::Stream(_))) => Err(StanzaError::remote_server_timeout()),
                Ok(Err(failure)) => Err(told(&failure)),
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

/// What is told of a key that could not be verified (XEP-0220 section 2.5): the condition, and nothing of what was tried. Who
/// asks is a stranger, and has us connect to where he likes; what is there is not told to him. The journal has it.
fn told(failure: &Failure) -> StanzaError {
    match failure.kind {
        FailureKind::NotFound => StanzaError::remote_server_not_found(),
        FailureKind::Timeout | FailureKind::Disbelieved => StanzaError::remote_server_timeout(),
        FailureKind::Refused => StanzaError::not_authorized(),
    }
}
