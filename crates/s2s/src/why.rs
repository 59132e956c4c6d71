//! `jackdaw why`: all that is known of a domain, for people.

use std::time::Duration;

use router::{LinkReport, Pair};
use session::server::{Purpose, Rules as _};

use crate::dialer::Made;
use crate::federation::Federation;
use crate::journal::{ago, one_line, told};
use crate::policy::{Require, Rule};

impl Federation {
    /// What is known of a domain (prepared), a line each. `now`: it is tried first to reach it, from that domain of ours.
    pub async fn why(&self, remote: &str, now: Option<&str>) -> Vec<String> {
        if let Some(local) = now {
            self.try_now(&Pair::new(local, remote)).await;
        }
        let rule = self.policy().rule(remote);
        let mut lines = vec![format!("{remote}: {}", in_words(rule))];
        let links = self.router().link_report(c2s::Service::clock(), remote);
        match links.as_slice() {
            [] => lines.push("nothing waits for it, and there is no stream to it".to_owned()),
            links => lines.extend(links.iter().flat_map(|link| self.link_in_words(link))),
        }
        let attempts = self.journal().attempts(remote);
        if attempts.is_empty() {
            lines.push("nobody has tried to reach it, or come from there, since the server has started".to_owned());
        }
        for attempt in attempts.iter().rev() {
            lines.push(String::new());
            lines.extend(told(attempt, remote));
        }
        lines
    }

    /// Makes a stream only to see whether it can be made. What waits for the domain goes its own way, and soon.
    async fn try_now(&self, pair: &Pair) {
        if !self.rules().is_ours(&pair.local) {
            return;
        }
        self.forget_pause(pair);
        let purpose = Purpose::Stanzas { resume: None };
        if let Ok(Made::Stream(stream)) = self.attempt(pair, &purpose).await {
            // It has served its purpose.
            tokio::spawn(stream.end());
        }
    }

    fn link_in_words(&self, link: &LinkReport) -> Vec<String> {
        let now = c2s::Service::clock().seconds();
        let since = |at: i64| ago(Duration::from_secs(u64::try_from(now - at).unwrap_or_default()));
        let Pair { local, remote } = &link.pair;
        let mut line = format!("link of {local} to {remote}: {}", link.state);
        match link.reached {
            0 => line.push_str("; never reached"),
            at => line.push_str(&format!("; reached {} ago", since(at))),
        }
        let (memory, disk) = (link.in_memory, link.spooled);
        line.push_str(&format!("; {memory} stanzas wait in memory, {disk} on the disk"));
        let mut lines = vec![line];
        if let Some(failure) = &link.failure {
            let (count, text) = (link.failures, one_line(&failure.text));
            lines.push(format!(
                "  attempts that failed in a row: {count}, the last {} ago: {text}",
                since(link.failed_at)
            ));
            let next = link.failed_at + self.retry_after(count);
            lines.push(match (memory, disk) {
                (0, 0) => "  the next attempt is made when somebody writes".to_owned(),
                _ if next <= now => "  the next attempt is made now".to_owned(),
                _ => format!("  the next attempt is made in {} s", next - now),
            });
        }
        lines
    }
}

fn in_words(rule: &Rule) -> String {
    if !rule.is_allowed {
        return "this server does not talk with it, by its configuration".to_owned();
    }
    let mut words = match (rule.require, rule.pins.len()) {
        (Require::Proof, 0) if rule.posh => "has to show a certificate, DANE or POSH".to_owned(),
        (Require::Proof, 0) => "has to show a certificate or DANE".to_owned(),
        (Require::Proof, pins) => format!("has to show one of {pins} pinned keys"),
        (Require::Certificate, _) => "has to show a certificate of an authority".to_owned(),
        (Require::Dane, _) => "has to show a certificate that DANE vouches for".to_owned(),
    };
    if !rule.pins.is_empty() && rule.require != Require::Proof {
        words.push_str(", with a pinned key");
    }
    if rule.takes_dialback() {
        words.push_str("; dialback does as well");
    }
    words
}
