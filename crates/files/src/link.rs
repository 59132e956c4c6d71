//! Where a file is: `<id>/<name>` behind what all have in common. The id is random, and alone finds the file; the name is
//! for whoever saves it, and has to be the right one.

/// Bytes of randomness in an id: nobody guesses it, and no two are the same.
const ID_BYTES: usize = 16;

/// The id of a slot, from random bytes.
pub fn id_of(random: u128) -> String {
    format!("{random:032x}")
}

/// The path of a file.
pub fn link(id: &str, name: &str) -> String {
    format!("{id}/{}", escape(name))
}

/// Reads what [`link`] writes, with any characters of the name escaped. None: there can be nothing of this name. Decoded
/// once, so `%252e` is no dot; and whatever the name is, it is only compared.
pub fn read(path: &str) -> Option<(&str, String)> {
    let (id, name) = path.split_once('/').filter(|(id, _)| is_id(id))?;
    Some((id, unescape(name)?)).filter(|(_, name)| crate::is_name(name))
}

/// Whether [`id_of`] may have made it.
pub fn is_id(id: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    id.len() == 2 * ID_BYTES && id.bytes().all(is_digit)
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3): good in a path, and in a parameter of a header (RFC 8187
/// section 3.2.1).
pub fn escape(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// None: no escape, or no UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let [high, low, behind @ ..] = rest else { return None };
        let digit = |digit: u8| char::from(digit).to_digit(16);
        out.push((digit(*high)? * 16 + digit(*low)?) as u8);
        rest = behind;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_link_is_read() {
        for name in [
            "a",
            "très cool.jpg",
            "100%.txt",
            "%2e%2e%2f",
            "a b+c?d#e&f",
            "الصورة.png",
            "..a",
        ] {
            let link = link(ID, name);
            assert!(link.is_ascii() && link.matches('/').count() == 1, "{link}");
            assert_eq!(read(&link), Some((ID, name.to_owned())), "{link}");
        }
        assert_eq!(link(ID, "très cool.jpg"), format!("{ID}/tr%C3%A8s%20cool.jpg"));
        assert_eq!(read(&format!("{ID}/%61")), Some((ID, "a".to_owned())));
        let id = id_of(0x1f);
        assert_eq!(read(&link(&id, "a")), Some((&*id, "a".to_owned())));
    }

    #[test]
    fn what_is_no_link() {
        for name in [
            "",
            ".",
            "..",
            "%2e%2e",
            "%2E%2E%2Fa",
            "..%2fa",
            "a/b",
            "a%2fb",
            "a%5cb",
            "a\\b",
            "%00",
            "a%00.jpg",
            "%",
            "%a",
            "%zz",
            "%ff",
            "%c0%ae%c0%ae",
            "%0d%0aX:y",
            "%E2%80%AE",
            &"a".repeat(256),
            &"%41".repeat(256),
        ] {
            assert_eq!(read(&format!("{ID}/{name}")), None, "{name}");
        }
        let upper = ID.to_uppercase();
        for path in [
            "",
            ID,
            "/a",
            "../a",
            "x/a",
            &format!("{ID}0/a"),
            &format!("{upper}/a"),
            &format!("/{ID}/a"),
            &format!("{}/a", &ID[1..]),
        ] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
