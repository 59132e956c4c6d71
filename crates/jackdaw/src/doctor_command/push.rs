//! Push services that devices of this server are announced to: whether they can be reached.

use super::report::{Format, Report, Result};
use super::{Tools, elsewhere};
use crate::admin::{Backend, Client, Command, Reply};

/// Services that are looked at: those with the most devices.
const LOOKED_AT: usize = 10;

pub async fn check(tools: &Tools<'_>, report: &mut Report) {
    // Only the server that runs knows; where none does, that is no fault of the set-up.
    let Ok(Some(client)) = Client::connect(&tools.config.admin_socket()) else {
        return;
    };
    let lines = match client.handle(Command::PushServices) {
        Ok(Reply::Lines(lines)) => lines,
        Ok(_) => return,
        Err(failure) => {
            return report.note("push", "push services", failure.to_string(), "");
        }
    };
    let services = lines.iter().filter_map(|line| line.split_once(' '));
    let config = tools.config;
    let is_ours = |domain: &str| {
        config.serves(domain)
            || config
                .component
                .iter()
                .any(|component| component.domain.as_str() == domain)
    };
    let elsewhere = services.filter(|(_, domain)| !is_ours(domain));
    for (at, (devices, domain)) in elsewhere.enumerate() {
        let announced = format!("devices that are announced to there: {devices}");
        if at >= LOOKED_AT {
            report.good("push", domain, announced);
            continue;
        }
        let mut found = Report::new(Format::Json);
        elsewhere::check(tools, domain, &mut found).await;
        match found.checks.iter().any(|check| check.result == Result::Wrong) {
            false => report.good("push", domain, format!("can be reached; {announced}")),
            true => report.note(
                "push",
                domain,
                format!("cannot be reached; {announced}"),
                format!("`jackdaw doctor {domain}` says more; without it these devices are not told of messages"),
            ),
        }
    }
}
