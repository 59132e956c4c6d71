//! What presence tells of the account's picture (XEP-0153, XEP-0398 section 4), and what is known of the picture.

use module::{Photo, Reach};
use stanza::ns;
use store::{Column, Row, Shape, Table, Value, row};
use xmlstream::Child;

/// The picture that stands at the account's nodes and in its vCard; there is no row where there never was one. SHA-1 as
/// hexadecimal digits, nothing where there is none any more; its media type; who may see it.
pub static PHOTO: Table = Table {
    name: "photo",
    shape: Shape::KeyVal,
    columns: &[Column::text("hash"), Column::text("kind"), Column::int("reach")],
};

/// A row of [`PHOTO`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    pub hash: Option<[u8; 20]>,
    pub kind: Box<str>,
    pub reach: Reach,
}

impl Picture {
    pub fn read(row: &Row) -> Picture {
        let text = |at: usize| row.get(at).and_then(Value::as_text).unwrap_or_default();
        Picture {
            hash: read_hex(text(0)),
            kind: text(1).into(),
            reach: match row.get(2).and_then(Value::as_int) {
                Some(2) => Reach::Anyone,
                Some(1) => Reach::Contacts,
                _ => Reach::Chosen,
            },
        }
    }

    pub fn row(&self) -> Row {
        row![
            self.hash.as_ref().map(hex).unwrap_or_default(),
            &*self.kind,
            self.reach as i64
        ]
    }

    /// Where only some may see it presence, which is the same for all, tells nothing of it.
    pub fn photo(&self) -> Photo {
        Photo {
            hash: self.hash.filter(|_| self.reach >= Reach::Contacts),
            is_open: self.reach == Reach::Anyone,
        }
    }
}

/// In small letters (XEP-0153 section 3.1).
pub fn hex(hash: &[u8; 20]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    hash.iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)])
        .collect()
}

/// Capital letters are read too.
pub fn read_hex(text: &str) -> Option<[u8; 20]> {
    let mut hash = [0; 20];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(hash)
}

/// What a client says of its picture in available presence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    Nothing,
    /// A hash; or that it cannot tell yet.
    Something,
    /// It shows none: the server leaves that as it is.
    NoPhoto,
}

pub fn is_update(child: &Child<'_>) -> bool {
    child.is("x", ns::VCARD_UPDATE)
}

/// XEP-0398 section 4.
pub fn says<'a>(children: impl Iterator<Item = Child<'a>>) -> Says {
    let mut says = Says::Nothing;
    for update in children.filter(is_update) {
        let photo = update.child("photo", ns::VCARD_UPDATE);
        if photo.is_some_and(|photo| photo.text().trim_ascii().is_empty()) {
            return Says::NoPhoto;
        }
        says = Says::Something;
    }
    says
}

/// What the server says instead.
pub fn element(photo: &Photo) -> String {
    let ns = ns::VCARD_UPDATE;
    match &photo.hash {
        Some(hash) => format!("<x xmlns='{ns}'><photo>{}</photo></x>", hex(hash)),
        None => format!("<x xmlns='{ns}'><photo/></x>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_and_read() {
        let hash = std::array::from_fn(|at| (at * 13) as u8);
        let text = hex(&hash);
        assert_eq!(text, "000d1a2734414e5b6875828f9ca9b6c3d0ddeaf7");
        assert_eq!(read_hex(&text), Some(hash));
        assert_eq!(read_hex(&text.to_uppercase()), Some(hash));
        for wrong in [
            "",
            "0",
            &text[1..],
            &text[2..],
            &format!("{text}00"),
            &text.replace('a', "g"),
        ] {
            assert_eq!(read_hex(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_picture_is_kept_and_told_to_whom_it_concerns() {
        let hash = Some([7; 20]);
        for (reach, told, is_open) in [
            (Reach::Chosen, None, false),
            (Reach::Contacts, hash, false),
            (Reach::Anyone, hash, true),
        ] {
            let kind = "image/png".into();
            let picture = Picture { hash, kind, reach };
            assert_eq!(Picture::read(&picture.row()), picture);
            assert_eq!(picture.photo(), Photo { hash: told, is_open });
        }
        let gone = Picture::default();
        assert_eq!(Picture::read(&gone.row()), gone);
        assert_eq!(element(&gone.photo()), "<x xmlns='vcard-temp:x:update'><photo/></x>");
    }

    #[test]
    fn what_clients_say() {
        let x = |inner: &str| format!("<x xmlns='vcard-temp:x:update'>{inner}</x>");
        for (children, expected) in [
            (String::new(), Says::Nothing),
            ("<x xmlns='urn:other'><photo/></x>".into(), Says::Nothing),
            (x(""), Says::Something),
            (x("<photo>abc</photo>"), Says::Something),
            (x("<photo xmlns='urn:other'/>"), Says::Something),
            (x("<photo/>"), Says::NoPhoto),
            (x("<photo> \n</photo>"), Says::NoPhoto),
            (x("") + &x("<photo/>"), Says::NoPhoto),
        ] {
            let text = format!("<presence>{children}</presence>");
            let mut scratch = xmlstream::Scratch::default();
            let limits = xmlstream::Limits::default();
            let presence = xmlstream::parse_element(&text, "jabber:client", &mut scratch, &limits).expect("XML");
            assert_eq!(says(presence.children()), expected, "{children}");
        }
    }
}
