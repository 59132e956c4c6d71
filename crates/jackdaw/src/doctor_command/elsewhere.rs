//! The domain of another server: where it is, whether it answers, and whether it can show who it is, as this server would
//! see it. No login is tried; what the running server has found out is told by `jackdaw why`.

use std::time::{Duration, Instant};

use rustls::pki_types::UnixTime;
use s2s::connect::Terms;
use s2s::identity::{Peer, Side};
use s2s::journal::{Step, Trace};
use s2s::targets::{Target, a_labels};

use super::Tools;
use super::probe::{self, Way};
use super::report::Report;
use crate::dns;

/// For one of the places where it may be.
const TARGET: Duration = Duration::from_secs(12);

pub async fn check(tools: &Tools<'_>, domain: &str, report: &mut Report) {
    let policy = tools.config.federation.policy();
    let rule = policy.rule(domain);
    match (tools.config.federation.enabled, rule.is_allowed) {
        (true, true) => {}
        (false, _) => {
            let advice = "set federation.enabled = true";
            report.wrong("policy", domain, "this server talks with no other", advice);
        }
        (true, false) => {
            let advice = "see [federation] others, and [[federation.peer]]";
            report.wrong("policy", domain, "the configuration says not to talk with it", advice);
        }
    }
    let mut trace = Trace::default();
    let found = tools.resolver.find(domain, &mut trace).await;
    tell(&trace, domain, report);
    let targets = match found {
        Ok(targets) => targets,
        Err(failure) => {
            return report.wrong("dns", domain, failure.text, "its operator has to see to it");
        }
    };
    let mut is_reached = false;
    for target in &targets {
        is_reached |= place(tools, domain, target, report).await;
    }
    if !is_reached {
        report.wrong(
            "result",
            domain,
            "this server cannot talk with it",
            "what is said above is for its operator, unless everybody is out of reach from here",
        );
    }
}

/// Whether a stream there would do.
async fn place(tools: &Tools<'_>, domain: &str, target: &Target, report: &mut Report) -> bool {
    let of = format!("{domain} at {target}");
    let mut trace = Trace::default();
    let until = Instant::now() + TARGET;
    let connected = tools
        .resolver
        .connect(target, until, &Terms::default(), &mut trace)
        .await;
    tell(&trace, &of, report);
    let connected = match connected {
        Ok(connected) => connected,
        Err(failure) => {
            report.note("port", &of, failure.text, "");
            return false;
        }
    };
    let name = a_labels(domain).unwrap_or_else(|| domain.to_owned());
    let from = tools.config.domain.first().map(|own| dns::ascii(own.name.as_str()));
    let way = Way {
        is_of_servers: true,
        is_direct: target.is_direct,
        to: &name,
        from: from.as_deref(),
    };
    let seen = match probe::talk(tools, connected.stream, way).await {
        Ok(seen) => seen,
        Err(why) => {
            report.note("port", &of, why, "");
            return false;
        }
    };
    report.good("port", &of, format!("answers with {}", seen.version));
    report.good("stream", &of, format!("offers {}", seen.features.join(", ")));
    let mut tlsa = Vec::new();
    if target.is_secure && connected.is_secure {
        match tools.resolver.tlsa(&target.host, target.port).await {
            Ok(answer) if answer.is_secure => tlsa = answer.records,
            Ok(_) => {}
            Err(none) if none.is_absence() => {}
            // RFC 7673 section 3.4.
            Err(error) => {
                report.note("dane", &of, format!("TLSA: {error}"), "");
                return false;
            }
        }
    }
    let peer = Peer {
        hosts: target.secure_host(),
        tlsa: &tlsa,
        ..Peer::new(domain, Side::Server, &seen.chain)
    };
    let policy = tools.config.federation.policy();
    let rule = policy.rule(domain);
    let verdict = tools
        .identity
        .judge_with_posh(&peer, rule, UnixTime::now(), &tools.resolver)
        .await;
    for (is_good, what) in &verdict.notes {
        match *is_good {
            true => report.good("certificate", &of, what.as_str()),
            false => report.note("certificate", &of, what.as_str(), ""),
        }
    }
    match verdict.proof {
        Ok(proof) => report.good("certificate", &of, format!("it is {domain}: by {proof}")),
        Err(flaw) => {
            report.note("certificate", &of, format!("the server {flaw}"), "");
            if !rule.takes_dialback() {
                return false;
            }
            report.good("policy", &of, "dialback is enough for it");
        }
    }
    true
}

fn tell(trace: &Trace, of: &str, report: &mut Report) {
    for taken in &trace.steps {
        let group = match taken.step {
            Step::Dns => "dns",
            _ => "port",
        };
        match taken.is_good {
            true => report.good(group, of, taken.what.as_str()),
            false => report.note(group, of, taken.what.as_str(), ""),
        }
    }
}
