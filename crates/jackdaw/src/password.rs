//! Passwords: generated, read, and made into what is stored.

use std::io::{self, BufRead};

use auth::{Credentials, MAX_PASSWORD, SALT_LENGTH};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Digits and small letters without `i`, `l`, `o`, `u` (Crockford's base 32): no two of them look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Five groups of six: 150 bits, so that it can be copied by hand and never be guessed.
const GROUPS: usize = 5;
const GROUP: usize = 6;

/// A password from the system's random generator.
pub fn generate() -> Result<Zeroizing<String>, Failure> {
    let mut random = Zeroizing::new([0; GROUPS * GROUP]);
    getrandom::fill(&mut random[..]).map_err(no_random)?;
    let mut text = Zeroizing::new(String::with_capacity(GROUPS * (GROUP + 1)));
    for (index, byte) in random.iter().enumerate() {
        if index > 0 && index.is_multiple_of(GROUP) {
            text.push('-');
        }
        // 256 is a multiple of 32: every letter is equally likely.
        text.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    Ok(text)
}

/// The first line of the standard input, without its end.
pub fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    read_from(io::stdin().lock())
}

fn read_from(input: impl BufRead) -> Result<Zeroizing<String>, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(MAX_PASSWORD + 2));
    // One more than the longest with its line end, so that a longer one is refused and not cut.
    let read = input.take(MAX_PASSWORD as u64 + 3).read_line(&mut line);
    read.map_err(|error| Failure::failed(format!("cannot read the password: {error}")))?;
    without_end(&mut line);
    if line.is_empty() {
        return Err(Failure::failed(
            "no password on the standard input; write it there as one line",
        ));
    }
    Ok(line)
}

/// Cuts `\n` or `\r\n` off.
pub fn without_end(line: &mut String) {
    if line.ends_with('\n') {
        line.pop();
        if line.ends_with('\r') {
            line.pop();
        }
    }
}

/// What is stored of a password. Three PBKDF2: milliseconds of work.
pub fn derive(password: &str, iterations: u32) -> Result<Credentials, Failure> {
    let mut salts = [[0; SALT_LENGTH]; 3];
    for salt in &mut salts {
        getrandom::fill(salt).map_err(no_random)?;
    }
    let derived = Credentials::derive(password, iterations, salts);
    derived.map_err(|error| Failure::failed(format!("{error}; choose another")))
}

fn no_random(error: getrandom::Error) -> Failure {
    Failure::unavailable(format!("the system has no random numbers: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_has_five_groups_and_no_twin() {
        let password = generate().expect("random numbers");
        let groups: Vec<&str> = password.split('-').collect();
        assert_eq!(
            groups.iter().map(|group| group.len()).collect::<Vec<_>>(),
            [GROUP; GROUPS]
        );
        assert!(groups.concat().bytes().all(|letter| ALPHABET.contains(&letter)));
        assert_ne!(password, generate().expect("random numbers"));
    }

    #[test]
    fn a_password_is_the_first_line() {
        let check = |input: &str, expected: Option<&str>| {
            let read = read_from(input.as_bytes());
            assert_eq!(read.ok().as_ref().map(|line| line.as_str()), expected);
        };
        check("secret\n", Some("secret"));
        check("secret", Some("secret"));
        check("secret\r\n", Some("secret"));
        check(" with blanks \nmore\n", Some(" with blanks "));
        check("", None);
        check("\n", None);
    }

    #[test]
    fn a_password_that_is_too_long_is_refused_and_not_cut() {
        let check = |length: usize, accepted: bool| {
            let line = format!("{}\r\n", "a".repeat(length));
            let password = read_from(line.as_bytes()).expect("a line");
            assert_eq!(derive(&password, 1).is_ok(), accepted, "{length}");
        };
        check(MAX_PASSWORD, true);
        check(MAX_PASSWORD + 1, false);
        check(MAX_PASSWORD + 1000, false);
    }
}
