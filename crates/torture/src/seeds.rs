//! The seeds that once found something: `seeds.txt`, whose head tells its format.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

/// A run that is to be done once more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) seed: u64,
    pub(crate) arguments: Vec<String>,
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds.txt")
}

/// The kept runs; none where there is no file.
pub(crate) fn read() -> Result<Vec<Kept>, String> {
    let path = path();
    match fs::read_to_string(&path) {
        Ok(text) => parse(&text).map_err(|problem| format!("{}: {problem}", path.display())),
        Err(_) => Ok(Vec::new()),
    }
}

pub(crate) fn record(line: &str) -> Result<(), String> {
    let path = path();
    let file = fs::File::options().create(true).append(true).open(&path);
    file.and_then(|mut file| writeln!(file, "{line}"))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// As it is printed and kept.
pub(crate) fn show(seed: u64) -> String {
    format!("{seed:016x}")
}

/// Reads what [`show`] writes.
pub(crate) fn parse_seed(text: &str) -> Result<u64, String> {
    u64::from_str_radix(text, 16).map_err(|_| format!("{text:?} is no seed: it has up to 16 hexadecimal digits"))
}

fn parse(text: &str) -> Result<Vec<Kept>, String> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut words = line.split_whitespace();
            Ok(Kept {
                seed: parse_seed(words.next().unwrap_or_default())?,
                arguments: words.map(str::to_owned).collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_runs_are_read() {
        let kept = parse("# why\n\n  0a --kills 3  # found\nff\n").expect("good");
        assert_eq!(kept.len(), 2);
        assert_eq!((kept[0].seed, kept[1].seed), (10, 255));
        assert_eq!(kept[0].arguments, ["--kills", "3"]);
        assert!(parse("xyz").is_err());
        assert_eq!(parse_seed(&show(0xdead)), Ok(0xdead));
        assert!(read().is_ok());
    }
}
