//! One attempt to make a stream to another server: where it is, a connection, TLS, who it is, and what the stream says.
//!
//! The places where a domain may be found are tried one after the other, until one is it, or says that it does not believe
//! us. An attempt ends in time, whatever others do ([`Times`](crate::times::Times)).

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use c2s::Channel;
use router::{Failure, FailureKind, Pair};
use rustls::pki_types::UnixTime;
use session::Outgoing;
use session::server::{self, Established, Failed, Note, Purpose, Reason, Stage, Then};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use xmlstream::Scratch;

use crate::connect::Terms;
use crate::dns::Tlsa;
use crate::federation::Federation;
use crate::identity::handshake::server_name;
use crate::identity::{Flaw, Peer, Side};
use crate::journal::{Step, Trace};
use crate::places::line_of_domain;
use crate::targets::Target;

/// How long the end of a stream that is needed no more may take to be said.
const FAREWELL: Duration = Duration::from_secs(10);

/// What came of an attempt.
pub(crate) enum Made {
    Stream(Box<Stream>),
    /// What the authoritative server says of a dialback key.
    Verified(bool),
}

/// A stream that is there.
pub(crate) struct Stream {
    pub(crate) channel: Channel<TcpStream>,
    pub(crate) established: Established,
    /// Read behind what made it.
    pub(crate) rest: Vec<u8>,
}

impl Stream {
    /// Ends it in good order.
    pub(crate) async fn end(mut self) {
        let mut out = b"</stream:stream>".to_vec();
        let _ = timeout_at(Instant::now() + FAREWELL, write(&mut self.channel, &mut out)).await;
        self.channel.end().await;
    }
}

/// Why one place was not it.
pub(crate) struct Missed {
    pub(crate) failure: Failure,
    /// No other place helps.
    is_final: bool,
}

impl From<Failure> for Missed {
    fn from(failure: Failure) -> Missed {
        let is_final = false;
        Missed { failure, is_final }
    }
}

impl From<Failed> for Missed {
    fn from(failed: Failed) -> Missed {
        Missed {
            failure: failed.failure(),
            is_final: matches!(failed.reason, Reason::NotAuthorized | Reason::WrongKey),
        }
    }
}

fn timed_out(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Timeout, text)
}

impl Federation {
    /// Makes a stream. Each step is noted.
    pub(crate) async fn make(&self, pair: &Pair, purpose: &Purpose, trace: &mut Trace) -> Result<Made, Failure> {
        let remote = &*pair.remote;
        if !self.policy().rule(remote).is_allowed {
            trace.bad(Step::Policy, "this server does not talk with it (federation)");
            let text = format!("This server does not talk with {remote}.");
            return Err(Failure::new(FailureKind::Refused, text));
        }
        let place = self.room(purpose).asking.take(line_of_domain(remote));
        let times = self.resolver().times();
        let Ok(place) = timeout(times.turn(), place).await else {
            trace.bad(Step::Dns, "the DNS is asked about too many domains already");
            let text = "This server looks for too many others at the same time.";
            return Err(timed_out(text));
        };
        let until = Instant::now() + times.whole();
        let found = timeout_at(until, self.resolver().find(remote, trace)).await;
        drop(place);
        let targets = match found {
            Ok(targets) => targets?,
            Err(_) => {
                trace.bad(Step::Dns, "no answer in time");
                return Err(timed_out(format!("The DNS does not tell in time where {remote} is.")));
            }
        };
        let mut last = None;
        for target in &targets {
            match self.make_at(target, pair, purpose, until, trace).await {
                Ok(made) => return Ok(made),
                Err(missed) if missed.is_final => return Err(missed.failure),
                Err(missed) => last = Some(missed.failure),
            }
            if Instant::now() >= until {
                trace.bad(Step::Connect, "there is no time left for other places");
                break;
            }
        }
        Err(last.unwrap_or_else(|| timed_out(format!("{remote} is nowhere to be found."))))
    }

    /// The same at one place.
    async fn make_at(
        &self,
        target: &Target,
        pair: &Pair,
        purpose: &Purpose,
        until: Instant,
        trace: &mut Trace,
    ) -> Result<Made, Missed> {
        let terms = Terms {
            is_ours: &|address: SocketAddr| self.is_ours(address),
            places: Some(&self.room(purpose).connecting),
            is_public: false,
        };
        let connected = self.resolver().connect(target, until.into(), &terms, trace).await?;
        let service = self.service();
        let Some(mut channel) = Channel::outgoing(service, connected.stream, connected.address.ip()) else {
            trace.bad(Step::Connect, "limits.connections is reached");
            return Err(timed_out("This server has too many connections.").into());
        };
        let until = until.min(Instant::now() + self.resolver().times().stream());
        let place = Place {
            target,
            address_is_secure: connected.is_secure,
            pair,
            until,
        };
        let mut out = Vec::new();
        let made = match self.talk(&mut channel, &place, purpose, &mut out, trace).await {
            Ok(Talked::Established(established, rest)) => {
                return Ok(Made::Stream(Box::new(Stream {
                    channel,
                    established: *established,
                    rest,
                })));
            }
            Ok(Talked::Verified(is_good)) => {
                out.extend_from_slice(b"</stream:stream>");
                Ok(Made::Verified(is_good))
            }
            Err(missed) => Err(missed),
        };
        // The end of it is nobody's who waits. But for others it is still there.
        let place = connected.place;
        tokio::spawn(async move {
            let _place = place;
            let _ = timeout_at(Instant::now() + FAREWELL, write(&mut channel, &mut out)).await;
            channel.end().await;
        });
        made
    }

    /// All that is said over a connection. What is still to be written is in `out`.
    async fn talk(
        &self,
        channel: &mut Channel<TcpStream>,
        place: &Place<'_>,
        purpose: &Purpose,
        out: &mut Vec<u8>,
        trace: &mut Trace,
    ) -> Result<Talked, Missed> {
        let mut ends_at = None;
        if place.target.is_direct {
            ends_at = self.secure(channel, place, purpose, trace).await?;
        }
        let mut outgoing = Outgoing::new(server::Attempt {
            config: Arc::clone(self.stream()),
            pair: place.pair.clone(),
            secured: place.target.is_direct,
            purpose: purpose.clone(),
        });
        outgoing.begin(out);
        let (mut input, mut scratch) = (Vec::new(), Scratch::default());
        loop {
            let came = match timeout_at(place.until, exchange(channel, out, &mut input)).await {
                Ok(came) => came,
                Err(_) => {
                    let failed = outgoing.timed_out(out);
                    noted(&mut outgoing, trace);
                    return Err(failed.into());
                }
            };
            match came {
                Ok(true) => {}
                Ok(false) => {
                    let failed = outgoing.ended();
                    noted(&mut outgoing, trace);
                    return Err(failed.into());
                }
                Err(error) => {
                    trace.bad(Step::Stream, format!("the connection broke: {error}"));
                    let text = format!("The connection to {} broke.", place.pair.remote);
                    return Err(timed_out(text).into());
                }
            }
            let (used, then) = outgoing.handle_bytes(&input, &mut scratch, out);
            input.drain(..used);
            noted(&mut outgoing, trace);
            match then {
                Then::Read => {}
                Then::StartTls => {
                    input.clear();
                    ends_at = self.secure(channel, place, purpose, trace).await?;
                    outgoing.secured(out);
                }
                Then::Established(mut established) => {
                    established.ends_at = ends_at;
                    // What is said last goes before anything else.
                    if timeout_at(place.until, write(channel, out))
                        .await
                        .is_ok_and(|written| written.is_ok())
                    {
                        return Ok(Talked::Established(established, input));
                    }
                    trace.bad(Step::Stream, "the connection broke");
                    let text = format!("The connection to {} broke.", place.pair.remote);
                    return Err(timed_out(text).into());
                }
                Then::Verified(is_good) => return Ok(Talked::Verified(is_good)),
                Then::Failed(failed) => return Err(failed.into()),
            }
        }
    }
}

impl Federation {
    /// TLS, and whom the certificate speaks for. Returns when that ends, in seconds since 1970, where it does.
    async fn secure(
        &self,
        channel: &mut Channel<TcpStream>,
        place: &Place<'_>,
        purpose: &Purpose,
        trace: &mut Trace,
    ) -> Result<Option<i64>, Missed> {
        let (remote, target) = (&*place.pair.remote, place.target);
        let Some(name) = server_name(remote) else {
            trace.bad(Step::Tls, format!("{remote} cannot be asked for by TLS"));
            return Err(Failure::new(FailureKind::NotFound, format!("{remote} is no name of the DNS.")).into());
        };
        let own = self.certificates().own(&place.pair.local);
        let config = self.identity().client_config(Some(own), target.is_direct);
        let until = place.until.min(Instant::now() + self.resolver().times().tls());
        let broken = match timeout_at(until, channel.start_tls(config, name)).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some("no answer in time".to_owned()),
        };
        if let Some(broken) = broken {
            trace.bad(Step::Tls, broken);
            return Err(timed_out(format!("TLS with {remote} fails.")).into());
        }
        trace.good(Step::Tls, channel.tls_in_words().unwrap_or_default());

        let tlsa = self.tlsa_of(place, trace).await?;
        let policy = self.policy();
        let rule = policy.rule(remote);
        let peer = Peer {
            hosts: target.secure_host(),
            tlsa: &tlsa,
            ..Peer::new(remote, Side::Server, channel.peer_chain())
        };
        let Ok(verdict) = timeout_at(
            place.until,
            self.identity()
                .judge_with_posh(&peer, rule, UnixTime::now(), self.resolver()),
        )
        .await
        else {
            trace.bad(Step::Certificate, "it could not be judged in time");
            return Err(timed_out(format!("It takes too long to find out who {remote} is.")).into());
        };
        verdict.tell(trace);
        match verdict.proof {
            Ok(proof) => {
                trace.good(Step::Certificate, format!("it is {remote}, by {proof}"));
                Ok(verdict.until)
            }
            // Then the DNS says who it is (XEP-0220), to which we have listened.
            Err(flaw) if flaw != Flaw::NotInDns && (rule.takes_dialback() || matches!(purpose, Purpose::Verify(_))) => {
                trace.good(
                    Step::Certificate,
                    "it proves nothing; dialback is enough for this domain",
                );
                Ok(None)
            }
            Err(flaw) => {
                trace.bad(Step::Certificate, format!("it does not show that it is {remote}"));
                Err(timed_out(format!("The server of {remote} {flaw}.")).into())
            }
        }
    }

    /// What the DNS says of the certificate there (RFC 7673 section 3.3): only where all that led there is secure.
    async fn tlsa_of(&self, place: &Place<'_>, trace: &mut Trace) -> Result<Vec<Tlsa>, Missed> {
        let (target, remote) = (place.target, &place.pair.remote);
        if !target.is_secure || !place.address_is_secure {
            return Ok(Vec::new());
        }
        let answer = timeout_at(place.until, self.resolver().tlsa(&target.host, target.port)).await;
        let why = match answer {
            Ok(Ok(answer)) if answer.is_secure => {
                let count = answer.records.len();
                trace.good(Step::Dns, format!("TLSA of {target}: {count} secure records"));
                return Ok(answer.records);
            }
            Ok(Ok(_)) => return Ok(Vec::new()),
            Ok(Err(none)) if none.is_absence() => return Ok(Vec::new()),
            Ok(Err(none)) => none.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        // Section 3.4: whoever can keep the answer from us does not get by with it.
        trace.bad(Step::Dns, format!("TLSA of {target}: {why}"));
        let text = format!("It is not known what the DNS says of the certificate of {remote}.");
        Err(timed_out(text).into())
    }
}

/// Where we are.
pub(crate) struct Place<'a> {
    pub(crate) target: &'a Target,
    /// DNSSEC says that the host has the address that answers.
    pub(crate) address_is_secure: bool,
    pub(crate) pair: &'a Pair,
    pub(crate) until: Instant,
}

enum Talked {
    Established(Box<Established>, Vec<u8>),
    Verified(bool),
}

fn noted(outgoing: &mut Outgoing, trace: &mut Trace) {
    for Note { stage, is_good, text } in outgoing.take_notes() {
        let step = match stage {
            Stage::Stream => Step::Stream,
            Stage::Tls => Step::Tls,
            Stage::Authentication => Step::Authentication,
            Stage::Management => Step::Management,
        };
        match is_good {
            true => trace.good(step, text),
            false => trace.bad(step, text),
        }
    }
}

/// Writes what is to be written, and reads what comes, at least a byte. False: nothing will come any more.
async fn exchange(channel: &mut Channel<TcpStream>, out: &mut Vec<u8>, input: &mut Vec<u8>) -> std::io::Result<bool> {
    write(channel, out).await?;
    let count = poll_fn(|cx| {
        channel.poll_plain(cx).map(|came| {
            let bytes = came?;
            input.extend_from_slice(bytes);
            std::io::Result::Ok(bytes.len())
        })
    });
    let count = count.await?;
    channel.consume(count);
    Ok(count > 0)
}

async fn write(channel: &mut Channel<TcpStream>, out: &mut Vec<u8>) -> std::io::Result<()> {
    while !out.is_empty() {
        let count = poll_fn(|cx| channel.poll_write(cx, out)).await?;
        out.drain(..count);
    }
    poll_fn(|cx| channel.poll_flush(cx)).await
}
