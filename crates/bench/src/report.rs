//! The table: every figure beside its goal, and beside the other servers' where they ran.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// A row of the table.
pub(crate) struct Row {
    /// Of `Figure`.
    pub key: &'static str,
    pub label: &'static str,
    pub unit: &'static str,
    pub goal: Goal,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// Reached if the figure is no larger.
    AtMost(f64),
    /// Shown for the reader's information; smaller is better.
    Cost,
    /// Shown for the reader's information; larger is better. Throughput moves with the machine, so it has no goals.
    Rate,
}

const fn row(key: &'static str, label: &'static str, unit: &'static str, goal: Goal) -> Row {
    Row { key, label, unit, goal }
}

/// All rows in the order of the table, with the goals of the design.
pub(crate) const ROWS: &[Row] = &[
    row(
        "idle.memory",
        "idle session with presence, TLS: memory",
        "kB",
        Goal::AtMost(5.5),
    ),
    row(
        "idle.kept",
        "the same: memory kept when all have left",
        "MB",
        Goal::Cost,
    ),
    row(
        "plain.memory",
        "idle session with presence, plain TCP: memory",
        "kB",
        Goal::AtMost(2.0),
    ),
    row(
        "plain.kept",
        "the same: memory kept when all have left",
        "MB",
        Goal::Cost,
    ),
    row(
        "login.cpu",
        "login, TLS + SCRAM, roster, presence: CPU",
        "ms",
        Goal::AtMost(0.25),
    ),
    row("logout.cpu", "logout: CPU", "ms", Goal::Cost),
    row(
        "msg.cpu",
        "message, busy (window 32), TLS: CPU",
        "µs",
        Goal::AtMost(1.2),
    ),
    row("msg.rate", "the same: messages a second", "", Goal::Rate),
    row(
        "single.cpu",
        "message, one at a time (64 pairs, window 1), TLS: CPU",
        "µs",
        Goal::AtMost(10.0),
    ),
    row("single.rate", "the same: messages a second", "", Goal::Rate),
    row(
        "open.p50",
        "messages at a fixed rate over 200 TLS pairs: p50",
        "µs",
        Goal::AtMost(100.0),
    ),
    row("open.p99", "the same: p99", "µs", Goal::AtMost(600.0)),
    row("open.cpu", "the same: CPU of a message", "µs", Goal::Cost),
    row(
        "presence.cpu",
        "presence broadcast (80 users, 20 contacts), TLS: CPU of a delivery",
        "µs",
        Goal::AtMost(2.0),
    ),
    row("presence.rate", "the same: deliveries a second", "", Goal::Rate),
    row("offline.store", "offline message, stored: CPU", "µs", Goal::AtMost(8.0)),
    row(
        "offline.fetch",
        "offline message, fetched: CPU",
        "µs",
        Goal::AtMost(5.0),
    ),
];

/// The target whose goals these are.
pub(crate) const OURS: &str = "Jackdaw";

/// Cores that others may use without a mark beside the figure.
const NOISE: f64 = 0.1;

/// All values of a figure, over the rounds.
#[derive(Debug, Default, Clone)]
struct Series {
    values: Vec<f64>,
    /// The most cores that other programs used.
    others: f64,
}

impl Series {
    fn sorted(&self) -> Vec<f64> {
        let mut values = self.values.clone();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self) -> Option<f64> {
        let values = self.sorted();
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }

    fn text(&self, unit: &str) -> String {
        let (Some(median), values) = (self.median(), self.sorted()) else {
            return "–".to_owned();
        };
        let mut text = number(median);
        if !unit.is_empty() {
            let _ = write!(text, " {unit}");
        }
        if let (true, [least, .., most]) = (values.len() > 1, &values[..]) {
            let _ = write!(text, " ({}–{})", number(*least), number(*most));
        }
        if self.others > NOISE {
            text.push_str(" \\*");
        }
        text
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            let digits = format!("{:.0}", value.abs());
            let mut text = String::from(if value < 0.0 { "-" } else { "" });
            for (index, digit) in digits.chars().enumerate() {
                if index > 0 && (digits.len() - index).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Collects the figures of all runs.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Names of the targets, ours first.
    targets: Vec<&'static str>,
    series: BTreeMap<(&'static str, &'static str), Series>,
}

impl Report {
    pub(crate) fn new(targets: Vec<&'static str>) -> Self {
        Self {
            targets,
            series: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, target: &'static str, key: &'static str, value: f64, others: f64) {
        let series = self.series.entry((target, key)).or_default();
        series.values.push(value);
        series.others = series.others.max(others);
    }

    fn median(&self, target: &'static str, key: &'static str) -> Option<f64> {
        self.series.get(&(target, key)).and_then(Series::median)
    }

    /// A Markdown table of what was measured. Beside each other server stands how many times ours is better.
    pub(crate) fn table(&self) -> String {
        let Some((ours, others)) = self.targets.split_first() else {
            return String::new();
        };
        let mut text = format!("| work | {ours} | goal | reached |");
        for other in others {
            let _ = write!(text, " {other} |");
        }
        text.push_str("\n| --- | ---: | ---: | --- |");
        text.push_str(&" ---: |".repeat(others.len()));
        text.push('\n');
        for row in ROWS {
            if self.targets.iter().all(|target| self.median(target, row.key).is_none()) {
                continue;
            }
            let mine = self.median(ours, row.key);
            let cell = |target| {
                self.series
                    .get(&(target, row.key))
                    .map_or("–".to_owned(), |series| series.text(row.unit))
            };
            // Who measures only others compares nothing with the goals.
            let (goal, reached) = match (row.goal, mine.filter(|_| *ours == OURS)) {
                (Goal::AtMost(goal), Some(mine)) if mine <= goal => (goal_text(goal, row.unit), "yes".to_owned()),
                (Goal::AtMost(goal), Some(mine)) => {
                    (goal_text(goal, row.unit), format!("no, {:.1} times", mine / goal))
                }
                (Goal::AtMost(goal), None) => (goal_text(goal, row.unit), "not measured".to_owned()),
                _ => (String::new(), String::new()),
            };
            let _ = write!(text, "| {} | {} | {goal} | {reached} |", row.label, cell(ours));
            for other in others {
                let mut theirs = cell(other);
                if let (Some(mine), Some(other), true) = (mine, self.median(other, row.key), *ours == OURS)
                    && mine > 0.0
                    && other > 0.0
                {
                    let times = if row.goal == Goal::Rate {
                        mine / other
                    } else {
                        other / mine
                    };
                    let _ = write!(theirs, ", {times:.1}×");
                }
                let _ = write!(text, " {theirs} |");
            }
            text.push('\n');
        }
        text
    }

    /// Whether other programs disturbed any figure.
    pub(crate) fn disturbed(&self) -> bool {
        self.series.values().any(|series| series.others > NOISE)
    }

    /// The whole page.
    pub(crate) fn page(&self, command: &str, rounds: usize, sessions: usize, pairs: usize, rate: u32) -> String {
        let mut text = format!(
            "# Performance\n\nMade by `{command}` on {}; do not edit by hand.\n\nMachine: {}.\n\n{}\n",
            today(),
            machine(),
            self.table()
        );
        let _ = write!(
            text,
            "The figure that counts is the server's CPU time (user and system, from `/proc/PID/stat`) for one unit of \
             work, and its memory (proportional set, from `smaps_rollup`) for one session. The generator runs on the \
             same machine, in one thread, over loopback. Every run starts the server anew with empty data; closed \
             loops are calibrated to last three seconds.\n\n\
             Medians of {rounds} {}{}; idle and login with {sessions} sessions, busy messages with {pairs} pairs, the \
             fixed rate is {rate} messages a second. Passwords have 4,096 rounds.\n",
            if rounds == 1 { "round" } else { "rounds" },
            if rounds == 1 {
                ""
            } else {
                ", least and most in brackets"
            },
        );
        if self.targets.len() > 1 {
            text.push_str(
                "\nBehind the figure of another server: how many times ours is better. Prosody and ejabberd are \
                 Debian's packages, tuned as a good administrator would. The floor relays bytes with tokio and rustls \
                 and reads no XML: the limit of this way to do I/O.\n",
            );
        }
        if self.disturbed() {
            let _ = write!(
                text,
                "\n\\* Other programs used more than {NOISE} of a core meanwhile, which makes a server's CPU dearer too.\n"
            );
        }
        text
    }
}

fn goal_text(goal: f64, unit: &str) -> String {
    format!("≤ {goal} {unit}")
}

/// Cores, model, memory and kernel of this machine.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let model = field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    let memory = memory.map_or_else(String::new, |kilobytes| format!(", {} GB", kilobytes.div_ceil(1 << 20)));
    format!(
        "{cores} cores of {model}{memory}, Linux {}",
        read("/proc/sys/kernel/osrelease").trim()
    )
}

fn today() -> String {
    let today = time::OffsetDateTime::now_utc().date();
    format!("{:04}-{:02}-{:02}", today.year(), u8::from(today.month()), today.day())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let check = |value: f64, text: &str| assert_eq!(number(value), text);
        check(0.521, "0.52");
        check(12.34, "12.3");
        check(123.4, "123");
        check(1234.0, "1,234");
        check(1_234_567.0, "1,234,567");
        check(-1234.0, "-1,234");
    }

    #[test]
    fn the_table_tells_goals_and_ratios() {
        let mut report = Report::new(vec!["Jackdaw", "Prosody"]);
        for (value, others) in [(1.0, 0.0), (3.0, 0.5), (2.0, 0.0)] {
            report.add("Jackdaw", "msg.cpu", value, others);
        }
        report.add("Prosody", "msg.cpu", 20.0, 0.0);
        report.add("Jackdaw", "msg.rate", 300.0, 0.0);
        report.add("Prosody", "msg.rate", 100.0, 0.0);
        let table = report.table();
        let check = |needle: &str| assert!(table.contains(needle), "{needle} in {table}");
        check("| 2.00 µs (1.00–3.00) \\* | ≤ 1.2 µs | no, 1.7 times | 20.0 µs, 10.0× |");
        check("| 300 |  |  | 100, 3.0× |");
        assert!(!table.contains("idle"), "{table}");
        assert!(report.disturbed());
    }

    #[test]
    fn keys_are_unique() {
        let keys: std::collections::BTreeSet<_> = ROWS.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), ROWS.len());
    }
}
