//! What this machine needs for talking with others: a resolver, and the right time.

use std::path::Path;
use std::time::SystemTime;

use super::Tools;
use super::report::Report;

/// Nothing of this program is older: 2026-01-01.
const OLDEST: u64 = 1_767_225_600;

/// There when systemd-timesyncd has set the clock.
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// Where other programs that set the clock have something while they run.
const OTHERS: [&str; 4] = ["/run/chrony", "/run/ntpd.pid", "/run/ntpsec", "/run/openntpd"];

/// Whether it is of any use to ask for more.
pub async fn check(tools: &Tools<'_>, report: &mut Report) -> bool {
    clock(report);
    let passes = tools.resolver.passes_dnssec().await;
    match passes {
        Some(true) => report.good("resolver", "dns", "answers, and passes signatures on (DNSSEC)"),
        Some(false) => report.note(
            "resolver",
            "dns",
            "passes no signatures on (DNSSEC), so that DANE is not used",
            "name one that does in federation.resolver, such as unbound on this machine",
        ),
        None => report.wrong(
            "resolver",
            "dns",
            "does not answer",
            "look at /etc/resolv.conf, or federation.resolver: no other server is found without it",
        ),
    }
    passes.is_some()
}

fn clock(report: &mut Report) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    if now.is_ok_and(|now| now.as_secs() > OLDEST) {
        let is_kept = Path::new(SYNCHRONIZED).exists() || OTHERS.iter().any(|path| Path::new(path).exists());
        match is_kept {
            true => report.good("clock", "time", "is kept by a program for it"),
            false => report.note(
                "clock",
                "time",
                "no program that keeps the clock was found",
                "see `timedatectl`; where a host keeps it for this machine, all is well",
            ),
        }
    } else {
        let advice = "set the clock: no certificate can be judged, and messages get wrong times";
        report.wrong("clock", "time", "is years behind", advice);
    }
}
