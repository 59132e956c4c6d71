//! Reports (XEP-0377) as commands and as lines.

use presence::reports::{Message, Report};

/// Reports in one [`Reply`](super::Reply): so many lines as one may have.
pub const PAGE: usize = super::PAGE;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// A page of them, in order of time, without the messages that they name.
    List {
        after: Option<String>,
    },
    Show(String),
    /// It needs no more attention.
    Close(String),
    /// Removes those that are closed.
    Clear,
}

pub fn write_command(asked: &Asked) -> [&str; 3] {
    match asked {
        Asked::List { after } => ["reports", "list", after.as_deref().unwrap_or_default()],
        Asked::Show(id) => ["reports", "show", id],
        Asked::Close(id) => ["reports", "close", id],
        Asked::Clear => ["reports", "clear", ""],
    }
}

pub fn read_command(words: &[&str]) -> Option<Asked> {
    Some(match *words {
        ["list", after] => Asked::List {
            after: (!after.is_empty()).then(|| after.to_owned()),
        },
        ["show", id] => Asked::Show(id.to_owned()),
        ["close", id] => Asked::Close(id.to_owned()),
        ["clear", ""] => Asked::Clear,
        _ => return None,
    })
}

/// One line for each, and one for each message behind it. Nothing in it has control characters.
pub fn write_reply(reports: &[Report]) -> Vec<String> {
    let mut lines = Vec::new();
    for report in reports {
        let closed = report.closed.map(|at| at.to_string()).unwrap_or_default();
        let forward = u8::from(report.for_origin) | u8::from(report.for_others) << 1;
        lines.push(format!(
            "report\t{}\t{}\t{}\t{}\t{}\t{forward}\t{closed}\t{}",
            report.id, report.at, report.reporter, report.of, report.reason, report.text
        ));
        for message in &report.messages {
            lines.push(match &message.text {
                None => format!("message\t{}", message.id),
                Some(text) => format!("message\t{}\t{text}", message.id),
            });
        }
    }
    lines
}

pub fn read_reply(lines: &[String]) -> Option<Vec<Report>> {
    let mut reports: Vec<Report> = Vec::new();
    for line in lines {
        let words: Vec<&str> = line.split('\t').collect();
        match *words.as_slice() {
            ["report", id, at, reporter, of, reason, forward, closed, text] => {
                let forward: u8 = forward.parse().ok()?;
                reports.push(Report {
                    id: id.into(),
                    at: at.parse().ok()?,
                    reporter: reporter.into(),
                    of: of.into(),
                    reason: reason.into(),
                    text: text.into(),
                    messages: Vec::new(),
                    for_origin: forward & 1 != 0,
                    for_others: forward & 2 != 0,
                    closed: match closed {
                        "" => None,
                        at => Some(at.parse().ok()?),
                    },
                });
            }
            ["message", id] => reports.last_mut()?.messages.push(Message {
                id: id.into(),
                text: None,
            }),
            ["message", id, text] => reports.last_mut()?.messages.push(Message {
                id: id.into(),
                text: Some(text.into()),
            }),
            _ => return None,
        }
    }
    Some(reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let message = |id: &str, text: Option<&str>| Message {
            id: id.into(),
            text: text.map(Into::into),
        };
        let report = Report {
            id: "r1".into(),
            at: 5,
            reporter: "a@b".into(),
            of: "c@d/e f".into(),
            reason: "urn:x".into(),
            text: "so it was".into(),
            messages: vec![message("1", None), message("2", Some("")), message("3", Some("buy"))],
            for_origin: false,
            for_others: true,
            closed: Some(6),
        };
        let reports = [report.clone(), Report::default(), report];
        assert_eq!(read_reply(&write_reply(&reports)).as_deref(), Some(&reports[..]));
        assert_eq!(read_reply(&["message\t1".to_owned()]), None);
        let id = || "r1".to_owned();
        let list = |after| Asked::List { after };
        for asked in [
            list(None),
            list(Some(id())),
            Asked::Show(id()),
            Asked::Close(id()),
            Asked::Clear,
        ] {
            assert_eq!(read_command(&write_command(&asked)[1..]), Some(asked));
        }
        assert_eq!(read_command(&["explode", ""]), None);
    }
}
