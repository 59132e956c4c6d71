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
        let policy = self.policy();
        let rule = policy.rule(remote);
        let mut lines = vec![format!("{remote}: {}", in_words(rule))];
        let links = self.router().link_report(remote);
        match links.as_slice() {
            [] => lines.push("nothing waits for it, and there is no stream to it".to_owned()),
            links => lines.extend(links.iter().flat_map(link_in_words)),
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
}

fn link_in_words(link: &LinkReport) -> Vec<String> {
    let since = |seconds: Option<i64>| ago(Duration::from_secs(seconds.map_or(0, i64::unsigned_abs)));
    let Pair { local, remote } = &link.pair;
    let mut line = format!("link of {local} to {remote}: {}", link.state);
    match link.reached {
        None => line.push_str("; never reached"),
        reached => line.push_str(&format!("; reached {} ago", since(reached))),
    }
    let (memory, disk) = (link.in_memory, link.spooled);
    line.push_str(&format!("; {memory} stanzas wait in memory, {disk} on the disk"));
    let mut lines = vec![line];
    if let Some(failure) = &link.failure {
        let (count, text) = (link.failures, one_line(&failure.text));
        lines.push(format!(
            "  attempts that failed in a row: {count}, the last {} ago: {text}",
            since(link.failed)
        ));
    }
    if link.is_on_trial {
        lines.push("  streams have broken with the same stanza first: it is tried alone".to_owned());
    }
    match link.next {
        Some(0) => lines.push("  the next attempt is made now".to_owned()),
        Some(next) => lines.push(format!("  the next attempt is made in {next} s")),
        None if link.failure.is_some() => {
            lines.push("  the next attempt is made when somebody writes".to_owned());
        }
        None => {}
    }
    lines
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
