//! What the doctor has found: a line for each thing, as soon as it is known.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    /// One array of objects, at the end.
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    Good,
    /// May be meant so, or cannot be told from here.
    Note,
    Wrong,
}

impl Result {
    fn word(self) -> &'static str {
        match self {
            Result::Good => "good",
            Result::Note => "note",
            Result::Wrong => "WRONG",
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Of which group: `dns`, `port`, `certificate`, …
    pub check: &'static str,
    /// A domain, or what else it is about.
    pub of: String,
    pub result: Result,
    pub what: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

#[derive(Debug)]
pub struct Report {
    format: Format,
    pub checks: Vec<Check>,
    failed: Option<io::Error>,
}

impl Report {
    pub fn new(format: Format) -> Report {
        Report {
            format,
            checks: Vec::new(),
            failed: None,
        }
    }

    pub fn good(&mut self, check: &'static str, of: &str, what: impl Into<String>) {
        self.add(check, of, Result::Good, what.into(), None);
    }

    pub fn note(&mut self, check: &'static str, of: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.add(check, of, Result::Note, what.into(), Some(advice.into()));
    }

    pub fn wrong(&mut self, check: &'static str, of: &str, what: impl Into<String>, advice: impl Into<String>) {
        self.add(check, of, Result::Wrong, what.into(), Some(advice.into()));
    }

    fn add(&mut self, check: &'static str, of: &str, result: Result, what: String, advice: Option<String>) {
        let check = Check {
            check,
            of: of.to_owned(),
            result,
            what,
            advice: advice.filter(|advice| !advice.is_empty()),
        };
        if self.format == Format::Text && self.failed.is_none() {
            self.failed = writeln!(io::stdout(), "{}", line(&check)).err();
        }
        self.checks.push(check);
    }

    /// How it ends: whether anything is wrong.
    pub fn end(mut self) -> std::result::Result<(), Failure> {
        if self.format == Format::Json {
            let text = serde_json::to_string_pretty(&self.checks).map_err(io::Error::other);
            self.failed = text.and_then(|text| writeln!(io::stdout(), "{text}")).err();
        }
        if let Some(error) = self.failed {
            return Err(Failure::failed(format!("cannot write the output: {error}")));
        }
        let wrong = self.checks.iter().filter(|check| check.result == Result::Wrong).count();
        match wrong {
            0 => Ok(()),
            1 => Err(Failure::failed("1 thing is wrong")),
            _ => Err(Failure::failed(format!("{wrong} things are wrong"))),
        }
    }
}

fn line(check: &Check) -> String {
    let Check {
        check: group,
        of,
        result,
        what,
        advice,
    } = check;
    let mut line = format!("{:<5}  {group:<11}  {of}: {what}", result.word());
    if let Some(advice) = advice {
        line.push_str(" -> ");
        line.push_str(advice);
    }
    // What others have said stands in there as well.
    line.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |result, advice: Option<&str>| Check {
            check: "dns",
            of: "example.org".to_owned(),
            result,
            what: "no\nrecord".to_owned(),
            advice: advice.map(str::to_owned),
        };
        assert_eq!(
            line(&check(Result::Good, None)),
            "good   dns          example.org: no record"
        );
        assert_eq!(
            line(&check(Result::Wrong, Some("add one"))),
            "WRONG  dns          example.org: no record -> add one"
        );
    }

    #[test]
    fn it_fails_where_anything_is_wrong() {
        let mut report = Report::new(Format::Text);
        report.good("dns", "example.org", "good");
        report.note("dns", "example.org", "perhaps", "look");
        assert_eq!(report.end(), Ok(()));
        let mut report = Report::new(Format::Text);
        report.wrong("dns", "example.org", "wrong", "do");
        assert_eq!(report.end(), Err(Failure::failed("1 thing is wrong")));
    }
}
