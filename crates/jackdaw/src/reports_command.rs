//! `jackdaw reports …`: what accounts have reported of those they block (XEP-0377).

use presence::reports::Report;

use crate::account_command::{say, unexpected, with};
use crate::admin::reports::{Asked, PAGE};
use crate::admin::{Backend, Command, Reply};
use crate::cli::ReportsCommand;
use crate::config::{Config, Loaded};
use crate::failure::Failure;

/// The longest id that is looked for, in bytes.
const ID_BYTES: usize = 64;

pub fn run(command: ReportsCommand, loaded: &Loaded) -> Result<(), Failure> {
    let config: &Config = &loaded.config;
    match command {
        ReportsCommand::List { all } => with(config, |backend| list(backend, all)),
        ReportsCommand::Show { id } => {
            let asked = Asked::Show(checked(id)?);
            with(config, |backend| {
                let reports = ask(backend, asked)?;
                reports.iter().flat_map(shown).try_for_each(|line| say(&line))
            })
        }
        ReportsCommand::Close { id } => {
            let id = checked(id)?;
            with(config, |backend| {
                backend.handle(Command::Reports(Asked::Close(id.clone())))
            })?;
            say(&format!("{id} is closed"))
        }
        ReportsCommand::Clear => {
            with(config, |backend| backend.handle(Command::Reports(Asked::Clear)))?;
            say("those that were closed are removed")
        }
    }
}

fn checked(id: String) -> Result<String, Failure> {
    match id.len() <= ID_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(id),
        false => Err(Failure::usage("that is no id of a report")),
    }
}

fn ask(backend: &dyn Backend, asked: Asked) -> Result<Vec<Report>, Failure> {
    match backend.handle(Command::Reports(asked))? {
        Reply::Reports(reports) => Ok(reports),
        _ => Err(unexpected()),
    }
}

fn list(backend: &dyn Backend, all: bool) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let reports = ask(backend, Asked::List { after })?;
        for report in reports.iter().filter(|report| all || report.closed.is_none()) {
            say(&line(report))?;
        }
        let Some(last) = reports.last().filter(|_| reports.len() == PAGE) else {
            return Ok(());
        };
        after = Some(last.id.to_string());
    }
}

/// Id, time in UTC, who was reported, by whom, why, the state; TABs between them.
fn line(report: &Report) -> String {
    [
        &*report.id,
        &moment(report.at),
        &*report.of,
        &*report.reporter,
        reason(report),
        if report.closed.is_some() { "closed" } else { "open" },
    ]
    .join("\t")
}

/// A line for everything that there is to know.
fn shown(report: &Report) -> Vec<String> {
    let mut lines = vec![
        format!("report\t{}", report.id),
        format!("at\t{}", moment(report.at)),
        format!("of\t{}", report.of),
        format!("by\t{}", report.reporter),
        format!("reason\t{}", reason(report)),
    ];
    if !report.text.is_empty() {
        lines.push(format!("text\t{}", report.text));
    }
    for message in &report.messages {
        let text = message.text.as_deref().unwrap_or("-");
        lines.push(format!("message\t{}\t{text}", message.id));
    }
    if report.for_origin {
        lines.push("may be forwarded to\tthe domain it is about".to_owned());
    }
    if report.for_others {
        lines.push("may be forwarded to\tothers".to_owned());
    }
    if let Some(at) = report.closed {
        lines.push(format!("closed\t{}", moment(at)));
    }
    lines
}

/// Those of XEP-0377 section 4 by their last word.
fn reason(report: &Report) -> &str {
    match report.reason.strip_prefix("urn:xmpp:reporting:") {
        Some(word) => word,
        None if report.reason.is_empty() => "-",
        None => &report.reason,
    }
}

fn moment(millis: i64) -> String {
    match time::OffsetDateTime::from_unix_timestamp(millis.div_euclid(1_000)) {
        Ok(at) => {
            let (date, hour, minute, second) = (at.date(), at.hour(), at.minute(), at.second());
            format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
        }
        Err(_) => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use presence::reports::Message;

    use super::*;

    #[test]
    fn what_is_printed() {
        let message = |id: &str, text: Option<&str>| Message {
            id: id.into(),
            text: text.map(Into::into),
        };
        let report = Report {
            id: "r1".into(),
            at: 1_000_000_000_999,
            reporter: "juliet@example.org".into(),
            of: "spam.example".into(),
            reason: "urn:xmpp:reporting:spam".into(),
            text: "pills".into(),
            messages: vec![message("1", Some("buy")), message("2", None)],
            for_others: true,
            ..Report::default()
        };
        assert_eq!(
            line(&report),
            "r1\t2001-09-09T01:46:40Z\tspam.example\tjuliet@example.org\tspam\topen"
        );
        assert_eq!(
            shown(&report),
            [
                "report\tr1",
                "at\t2001-09-09T01:46:40Z",
                "of\tspam.example",
                "by\tjuliet@example.org",
                "reason\tspam",
                "text\tpills",
                "message\t1\tbuy",
                "message\t2\t-",
                "may be forwarded to\tothers",
            ]
        );
        let reason = |text: &str| {
            let report = Report {
                reason: text.into(),
                ..Report::default()
            };
            reason(&report).to_owned()
        };
        assert_eq!([reason(""), reason("urn:other")], ["-", "urn:other"]);
    }
}
