//! Which nicknames are too alike to be two people's (XEP-0045 sections 7.2.8 and 14.6): nobody passes for another by a
//! capital letter or a space. Addresses are prepared already, so what only looks as if it was another character is the same
//! (compatibility forms); letters of different scripts stay different.

use std::borrow::Cow;

/// What nicknames are compared by: without spaces at the ends, with one between words, in lower case.
pub(crate) fn alike(nick: &str) -> Cow<'_, str> {
    let is_plain = |c: char| !c.is_whitespace() && c.to_lowercase().eq([c]);
    if nick.chars().all(is_plain) {
        return Cow::Borrowed(nick);
    }
    let mut key = String::with_capacity(nick.len());
    for word in nick.split_whitespace() {
        if !key.is_empty() {
            key.push(' ');
        }
        key.extend(word.chars().flat_map(char::to_lowercase));
    }
    match key == nick {
        true => Cow::Borrowed(nick),
        false => Cow::Owned(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_alike() {
        for nick in ["hag", "old hag", "ведьма", "魔女", "ß"] {
            assert!(matches!(alike(nick), Cow::Borrowed(same) if same == nick), "{nick}");
        }
        for nick in ["Old Hag", " old hag", "old  hag", "OLD\u{a0}HAG "] {
            assert_eq!(alike(nick), "old hag", "{nick:?}");
        }
        assert_eq!(alike("ВЕДЬМА"), "ведьма");
    }
}
