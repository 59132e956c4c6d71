//! The table: every figure beside its goal, and beside the other servers' where they ran.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use crate::rows::{Goal, ROWS, Row, WORKS};
use crate::work::Amounts;

/// The target whose goals these are.
pub(crate) const OURS: &str = "Jackdaw";
/// The target that is the limit of this way to do I/O.
pub(crate) const FLOOR: &str = "floor";

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

    fn spread(&self, unit: &str) -> String {
        match &self.sorted()[..] {
            [least, .., most] => format!("{}–{} {unit}", number(*least), number(*most)),
            _ => "–".to_owned(),
        }
    }

    /// The median.
    fn text(&self, unit: &str) -> String {
        let Some(median) = self.median() else {
            return "–".to_owned();
        };
        // What has no unit is counted.
        let mut text = match unit.is_empty() && median.fract() == 0.0 && median < 1000.0 {
            true => format!("{median:.0}"),
            false => number(median),
        };
        if !unit.is_empty() {
            let _ = write!(text, " {unit}");
        }
        if self.others > NOISE {
            text.push_str(" \\*");
        }
        text
    }
}

/// Three digits that count.
pub(crate) fn number(value: f64) -> String {
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

    /// Least and most of several rounds, of what is a time; empty after one round. A neighbour makes CPU dearer and
    /// never cheaper, so that the least tells most about the program and the median most about the day.
    pub(crate) fn spread(&self) -> String {
        let timed = |row: &&Row| matches!(row.unit, "µs" | "ms");
        let several = |row: &&Row| {
            let mut all = self
                .targets
                .iter()
                .filter_map(|target| self.series.get(&(*target, row.key)));
            all.any(|series| series.values.len() > 1)
        };
        let rows: Vec<&Row> = ROWS.iter().filter(timed).filter(several).collect();
        if rows.is_empty() {
            return String::new();
        }
        let mut text = format!("\n| least–most | {} |\n| --- |", self.targets.join(" | "));
        text.push_str(&" ---: |".repeat(self.targets.len()));
        text.push('\n');
        for row in rows {
            let _ = write!(text, "| {} |", row.full_label());
            for target in &self.targets {
                let cell = self.series.get(&(*target, row.key));
                let _ = write!(
                    text,
                    " {} |",
                    cell.map_or("–".to_owned(), |series| series.spread(row.unit))
                );
            }
            text.push('\n');
        }
        text
    }

    /// The goals in multiples of the floor, for a machine or a day on which everything takes longer; empty without the
    /// floor.
    pub(crate) fn floors(&self) -> String {
        let mut text = String::new();
        for row in ROWS {
            let (Some(day), Goal::AtMost(goal)) = (row.day, row.goal) else {
                continue;
            };
            let (Some(mine), Some(floor)) = (self.median(OURS, row.key), self.median(FLOOR, row.key)) else {
                continue;
            };
            let (wanted, reached) = (goal / day, mine / floor);
            let verdict = match reached <= wanted {
                true => "yes".to_owned(),
                false => format!("no, {:.1} times", reached / wanted),
            };
            let _ = writeln!(
                text,
                "| {} | {} {unit} | {} {unit}, {:.1}× | {} | {} | {verdict} |",
                row.full_label(),
                number(day),
                number(floor),
                floor / day,
                number(wanted),
                number(reached),
                unit = row.unit,
            );
        }
        match text.is_empty() {
            true => text,
            false => format!(
                "\n| in multiples of the floor | floor when the goal was set | floor now | goal | {OURS} now | reached \
                 |\n| --- | ---: | ---: | ---: | ---: | --- |\n{text}"
            ),
        }
    }

    /// Whether other programs disturbed any figure.
    pub(crate) fn disturbed(&self) -> bool {
        self.series.values().any(|series| series.others > NOISE)
    }

    /// The whole page.
    pub(crate) fn page(&self, command: &str, rounds: usize, amounts: &Amounts) -> String {
        let mut text = format!(
            "# Performance\n\nMade by `{command}` on {}; do not edit by hand. Rooms are in \
             [performance-rooms.md](performance-rooms.md), many sessions in \
             [performance-scale.md](performance-scale.md).\n\nMachine: {}.\n\n{}\n",
            today(),
            machine(),
            self.table()
        );
        let Amounts {
            sessions,
            crowd,
            pairs,
            rate,
        } = amounts;
        let _ = write!(
            text,
            "The figure that counts is the server's CPU time (user and system, from `/proc/PID/stat`) for one unit of \
             work, and its memory (proportional set, from `smaps_rollup`) for one session. The generator runs on the \
             same machine, in one thread, over loopback. Every run starts the server anew with empty data; closed \
             loops are calibrated to last three seconds.\n\n\
             Medians of {rounds} {}; idle and login with {sessions} sessions, a crowd of {crowd}, busy messages with \
             {pairs} pairs, the fixed rate is {rate} messages a second. Passwords have 4,096 rounds.\n\n{WORKS}",
            if rounds == 1 { "round" } else { "rounds" },
        );
        if self.targets.len() > 1 {
            text.push_str(
                "\nBehind the figure of another server: how many times ours is better. Prosody and ejabberd are \
                 Debian's packages, tuned as a good administrator would. The floor relays bytes with tokio and rustls \
                 and reads no XML: the limit of this way to do I/O.\n",
            );
        }
        let (spread, floors) = (self.spread(), self.floors());
        if !spread.is_empty() {
            text.push_str(
                "\n## Least and most\n\nNeighbours on the machine make CPU dearer, never cheaper: the least is nearest to \
                 what the program itself takes.\n",
            );
            text.push_str(&spread);
        }
        if !floors.is_empty() {
            text.push_str(
                "\n## In multiples of the floor\n\nThe same work takes longer on a slower machine or day, for the floor \
                 too. So here are the goals as multiples of what the floor took when they were set, beside ours as \
                 multiples of what it took in this run.\n",
            );
            text.push_str(&floors);
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

pub(crate) fn today() -> String {
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
        check("| 2.00 µs \\* | ≤ 1.2 µs | no, 1.7 times | 20.0 µs, 10.0× |");
        check("| 300 |  |  | 100, 3.0× |");
        report.add("Jackdaw", "login.trips", 5.0, 0.0);
        let table = report.table();
        assert!(table.contains("| 5 |"), "{table}");
        assert!(!table.contains("idle"), "{table}");
        assert!(report.disturbed());
    }

    #[test]
    fn spread_needs_several_rounds() {
        let mut report = Report::new(vec!["Jackdaw", "floor"]);
        report.add("Jackdaw", "single.cpu", 12.0, 0.0);
        assert_eq!(report.spread(), "");
        report.add("Jackdaw", "single.cpu", 10.0, 0.0);
        report.add("Jackdaw", "open.p99", 300.0, 0.0);
        report.add("Jackdaw", "open.p99", 200.0, 0.0);
        let spread = report.spread();
        assert!(spread.contains("| 10.0–12.0 µs | – |"), "{spread}");
        assert!(
            spread.contains("| messages at a fixed rate over 200 TLS pairs: p99 | 200–300 µs | – |"),
            "{spread}"
        );
    }

    #[test]
    fn a_slow_day_is_measured_by_the_floor() {
        let mut report = Report::new(vec!["Jackdaw", "floor"]);
        report.add("Jackdaw", "msg.cpu", 2.4, 0.0);
        report.add("Jackdaw", "single.cpu", 30.0, 0.0);
        assert_eq!(report.floors(), "");
        report.add("floor", "msg.cpu", 0.78, 0.0);
        report.add("floor", "single.cpu", 16.6, 0.0);
        let floors = report.floors();
        // 1.2 / 0.39 and 10 / 8.3 against 2.4 / 0.78 and 30 / 16.6.
        let check = |needle: &str| assert!(floors.contains(needle), "{needle} in {floors}");
        check("| 0.39 µs | 0.78 µs, 2.0× | 3.08 | 3.08 | yes |");
        check("| 8.30 µs | 16.6 µs, 2.0× | 1.20 | 1.81 | no, 1.5 times |");
    }

    #[test]
    fn keys_are_unique() {
        let keys: std::collections::BTreeSet<_> = ROWS.iter().map(|row| row.key).collect();
        assert_eq!(keys.len(), ROWS.len());
    }
}
