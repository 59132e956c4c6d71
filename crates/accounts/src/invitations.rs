//! Invitations: tokens with which somebody gets an account here (XEP-0445), or becomes a contact (XEP-0379).
//!
//! A token is never stored, only its hash: who reads the database can invite nobody. An invitation is found by that hash
//! and nothing else, so all rows of one have the hash as their owner, and to forget the owner is to revoke it. Each use
//! but the last adds a row under its number, and the last deletes the invitation, always in the batch that does what the
//! token is for: of two that use it at the same moment one batch fails, and a crash leaves both or neither.
//!
//! Times are seconds since 1970 in UTC.

use auth::Hash;
use stanza::Jid;
use store::{Batch, Column, Found, Query, Row, Shape, StoreError, Table, Value, row};

/// Bytes of a token: 128 bits; XEP-0379 section 6.1 asks for 80.
pub const TOKEN_BYTES: usize = 16;
/// The longest text that is looked at as a token.
pub const MAX_TOKEN: usize = 64;
/// For so many seconds an expired invitation is kept: a client that has shown it in time may still register
/// (XEP-0445 section 4). Much longer than a login may take.
pub const GRACE: i64 = 3_600;
/// How long an invitation holds where nobody says it (XEP-0379 section 6.2: "e.g. one week").
pub const DEFAULT_LIFETIME: i64 = 7 * 86_400;
/// The longest; each "MUST have a limited validity time" (section 6.2).
pub const MAX_LIFETIME: i64 = 366 * 86_400;
/// How often one may be used at most.
pub const MAX_USES: u32 = 1_000;

/// Owner: the hash of the token.
pub static INVITATIONS: Table = Table {
    name: "invitations",
    shape: Shape::KeyVal,
    columns: &[
        // Where an account may be made with it; null: nowhere.
        Column::text("domain"),
        // Bare JID of the account that has made it; null: the operator.
        Column::text("inviter"),
        // Bare JID of the account that gets the invited one as a contact.
        Column::text("contact"),
        // Localpart that the new account has to have.
        Column::text("username"),
        // 1: the new account administers the server.
        Column::int("admin"),
        Column::int("created"),
        Column::int("expires"),
        // How often it may be used, altogether.
        Column::int("uses"),
    ],
};

/// Uses but the last. Owner: the hash of the token; key: the number of the use, from 0.
pub static USES: Table = Table {
    name: "invitation_uses",
    shape: Shape::Map,
    columns: &[
        // Bare JID.
        Column::text("who"),
        Column::int("at"),
    ],
};

/// Names that invitations keep free (XEP-0445 section 5). Owner: the bare JID.
pub static RESERVED: Table = Table {
    name: "invitation_names",
    shape: Shape::KeyVal,
    columns: &[
        // The hash of the token.
        Column::text("invitation"),
        Column::int("expires"),
    ],
};

/// Accounts that were made with an invitation and that its contact has not in the roster yet. Owner: the bare JID of the
/// account. The contact's roster is his owner's to write, which comes after the account's own batch.
pub static INTRODUCTIONS: Table = Table {
    name: "introductions",
    shape: Shape::KeyVal,
    columns: &[Column::text("contact")],
};

/// All of them.
pub static TABLES: [&Table; 4] = [&INVITATIONS, &USES, &RESERVED, &INTRODUCTIONS];

/// One invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The hash of the token.
    pub key: Box<str>,
    pub domain: Option<Box<str>>,
    pub inviter: Option<Jid>,
    pub contact: Option<Jid>,
    pub username: Option<Box<str>>,
    pub admin: bool,
    pub created: i64,
    pub expires: i64,
    pub uses: u32,
    /// How often it was used.
    pub used: u32,
}

/// What the row of an invitation is found by. None: no token is so long.
pub fn key_of(token: &str) -> Option<Box<str>> {
    if token.is_empty() || token.len() > MAX_TOKEN {
        return None;
    }
    // A plain hash will do: nobody guesses 128 random bits.
    let hash = Hash::Sha256.hmac(b"invitation", token.as_bytes());
    Some(hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}

/// The token of random bytes: small letters and digits, so that it stands in a URI as it is.
pub fn token(random: [u8; TOKEN_BYTES]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let number = u128::from_be_bytes(random);
    // Five bits a letter; the last has three that are new.
    let letters = (0..26).map(|at| number.rotate_left(5 * (at + 1)) as usize % 32);
    letters.map(|letter| char::from(ALPHABET[letter])).collect()
}

impl Invitation {
    /// Whether somebody who has an account becomes a contact with it (XEP-0379). Not where it is for an account that has
    /// a part to play: those are for one person, to whom an account is given.
    pub fn is_for_contacts(&self) -> bool {
        self.contact.is_some() && !self.admin && self.username.is_none()
    }

    /// Not used up, and in time.
    pub fn holds(&self, now: i64) -> bool {
        self.used < self.uses && now < self.expires
    }

    /// The URI that is handed on (XEP-0401 sections 5.1 and 5.4).
    pub fn uri(&self, token: &str) -> String {
        match (&self.contact, &self.domain) {
            (Some(contact), domain) if self.is_for_contacts() => {
                let ibr = if domain.is_some() { ";ibr=y" } else { "" };
                format!("xmpp:{}?roster;preauth={token}{ibr}", escaped(contact.as_str()))
            }
            (_, domain) => {
                let domain = escaped(domain.as_deref().unwrap_or_default());
                let name = self.username.as_deref().map(|name| format!("{}@", escaped(name)));
                format!("xmpp:{}{domain}?register;preauth={token}", name.unwrap_or_default())
            }
        }
    }

    /// The columns of [`INVITATIONS`].
    fn row(&self) -> Row {
        row![
            self.domain.clone(),
            self.inviter.as_ref().map(Jid::as_str),
            self.contact.as_ref().map(Jid::as_str),
            self.username.clone(),
            self.admin,
            self.created,
            self.expires,
            i64::from(self.uses),
        ]
    }

    /// Reads what [`row`](Self::row) made; None: no release wrote it.
    pub fn from_row(key: &str, row: &Row, used: u64) -> Option<Invitation> {
        let text = |at: usize| match row.get(at) {
            Some(Value::Null) => Some(None),
            value => value.and_then(Value::as_text).map(|text| Some(Box::<str>::from(text))),
        };
        let jid = |at: usize| match text(at)? {
            None => Some(None),
            Some(text) => crate::address(&text).ok().map(Some),
        };
        let number = |at: usize| row.get(at).and_then(Value::as_int);
        Some(Invitation {
            key: key.into(),
            domain: text(0)?,
            inviter: jid(1)?,
            contact: jid(2)?,
            username: text(3)?,
            admin: number(4)? != 0,
            created: number(5)?,
            expires: number(6)?,
            uses: u32::try_from(number(7)?).ok()?,
            used: u32::try_from(used).unwrap_or(u32::MAX),
        })
    }
}

/// RFC 5122 section 2.7.2: what may not stand in the path of an XMPP URI as it is.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'@' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Answered with what [`read`] reads.
pub fn get(key: &str) -> Query {
    Query::Many(queries(key).into())
}

/// The parts of [`get`], to be asked among others.
pub fn queries(key: &str) -> [Query; 2] {
    [Query::get(&INVITATIONS, key, None), Query::count(&USES, key)]
}

/// What [`get`] found.
pub fn read(key: &str, found: Found) -> Result<Option<Invitation>, StoreError> {
    read_parts(key, &mut found.many()?.into_iter())
}

/// What [`queries`] found: the next two.
pub fn read_parts(key: &str, parts: &mut impl Iterator<Item = Found>) -> Result<Option<Invitation>, StoreError> {
    let (Some(row), Some(used)) = (parts.next(), parts.next()) else {
        return Err(StoreError::Misuse("an answer is missing".into()));
    };
    let used = used.count()?;
    Ok(row.row()?.and_then(|row| Invitation::from_row(key, &row, used)))
}

/// Writes a new one, and keeps its name free.
pub fn add(invitation: &Invitation) -> Batch {
    let batch = Batch::new().insert(&INVITATIONS, &invitation.key, None, invitation.row());
    match reserved(invitation) {
        Some(jid) => batch.put(
            &RESERVED,
            jid.as_str(),
            None,
            row![invitation.key.clone(), invitation.expires],
        ),
        None => batch,
    }
}

fn reserved(invitation: &Invitation) -> Option<Jid> {
    let (name, domain) = (invitation.username.as_deref()?, invitation.domain.as_deref()?);
    Jid::new(Some(name), domain, None).ok()
}

/// Appends the use of an invitation as it was read. The batch fails with [`StoreError::Missing`] or
/// [`StoreError::Exists`] if somebody else has used it since.
pub fn spend(batch: Batch, invitation: &Invitation, who: &Jid, now: i64) -> Batch {
    let key = &*invitation.key;
    let batch = batch.require(&INVITATIONS, key, None);
    if invitation.used + 1 >= invitation.uses {
        return revoke(batch, invitation);
    }
    let number = format!("{:04}", invitation.used);
    batch.insert(&USES, key, number.as_str(), row![who.bare_str(), now])
}

/// Appends the end of an invitation.
pub fn revoke(batch: Batch, invitation: &Invitation) -> Batch {
    let batch = batch.forget(&invitation.key);
    match reserved(invitation) {
        Some(jid) => batch.delete(&RESERVED, jid.as_str(), None),
        None => batch,
    }
}

/// The row of [`RESERVED`] for a name.
pub fn reservation(jid: &Jid) -> Query {
    Query::get(&RESERVED, jid.bare_str(), None)
}

/// Whether the name is kept free for another invitation than `own`.
pub fn is_reserved(row: Option<&Row>, own: Option<&str>, now: i64) -> bool {
    let Some(row) = row else { return false };
    let invitation = row.first().and_then(Value::as_text);
    let expires = row.get(1).and_then(Value::as_int);
    invitation != own && expires.is_some_and(|expires| now < expires)
}

/// Appends the note that `contact` has `account` not in his roster yet.
pub fn introduce(batch: Batch, account: &Jid, contact: &Jid) -> Batch {
    batch.put(&INTRODUCTIONS, account.as_str(), None, row![contact.as_str()])
}

#[cfg(test)]
mod tests {
    use store::{Memory, Store};

    use super::*;

    fn invitation(token: &str, uses: u32) -> Invitation {
        Invitation {
            key: key_of(token).expect("a token"),
            domain: Some("example.org".into()),
            inviter: None,
            contact: None,
            username: None,
            admin: false,
            created: 1,
            expires: 100,
            uses,
            used: 0,
        }
    }

    fn jid(text: &str) -> Jid {
        crate::address(text).expect("an address")
    }

    fn found(store: &Memory, key: &str) -> Option<Invitation> {
        let found = store.read_wait(get(key)).expect("read");
        read(key, found).expect("sound")
    }

    #[test]
    fn a_token_is_26_letters_and_shows_every_bit() {
        assert_eq!(token([0; 16]), "a".repeat(26));
        assert_eq!(token([0xff; 16]), "7".repeat(26));
        let one_bit = (0..128).map(|bit| token((1_u128 << bit).to_be_bytes()));
        let all: std::collections::BTreeSet<String> = one_bit.collect();
        assert_eq!(all.len(), 128);
        assert!(key_of("").is_none() && key_of(&"a".repeat(MAX_TOKEN + 1)).is_none());
        assert_ne!(key_of("a"), key_of("b"));
    }

    #[test]
    fn uris_are_those_of_the_text() {
        let check = |change: fn(&mut Invitation), uri: &str| {
            let mut invitation = invitation("t", 1);
            change(&mut invitation);
            assert_eq!(invitation.uri("TOKEN"), uri);
        };
        check(|_| {}, "xmpp:example.org?register;preauth=TOKEN");
        check(
            |it| it.username = Some("juliet".into()),
            "xmpp:juliet@example.org?register;preauth=TOKEN",
        );
        check(
            |it| it.contact = Some(jid("romeo@example.org")),
            "xmpp:romeo@example.org?roster;preauth=TOKEN;ibr=y",
        );
        check(
            |it| {
                it.contact = Some(jid("romeo#?@example.org"));
                it.domain = None;
            },
            "xmpp:romeo%23%3F@example.org?roster;preauth=TOKEN",
        );
        check(
            |it| {
                it.contact = Some(jid("romeo@example.org"));
                it.admin = true;
            },
            "xmpp:example.org?register;preauth=TOKEN",
        );
    }

    #[test]
    fn a_row_reads_back() {
        let store = Memory::new(&TABLES);
        let mut one = invitation("one", 3);
        one.inviter = Some(jid("romeo@example.org"));
        one.contact = one.inviter.clone();
        one.admin = true;
        store.write_wait(add(&one)).expect("written");
        assert_eq!(found(&store, &one.key), Some(one));
        assert_eq!(Invitation::from_row("x", &row![0], 0), None);
    }

    #[test]
    fn of_two_who_use_it_at_the_same_moment_one_fails() {
        let store = Memory::new(&TABLES);
        let (one, who) = (invitation("one", 2), jid("juliet@example.org"));
        store.write_wait(add(&one)).expect("written");
        let use_of = |seen: &Invitation| store.write_wait(spend(Batch::new(), seen, &who, 5)).map(drop);
        let first = found(&store, &one.key).expect("there");
        assert!(first.holds(99) && !first.holds(100));
        assert_eq!(use_of(&first), Ok(()));
        assert_eq!(use_of(&first), Err(StoreError::Exists));
        let second = found(&store, &one.key).expect("there");
        assert_eq!(second.used, 1);
        assert_eq!(use_of(&second), Ok(()));
        assert_eq!(use_of(&second), Err(StoreError::Missing));
        assert_eq!(found(&store, &one.key), None);
        let uses = store.read_wait(Query::count(&USES, &one.key)).and_then(Found::count);
        assert_eq!(uses, Ok(0));
    }

    #[test]
    fn a_name_is_kept_free_for_its_invitation() {
        let store = Memory::new(&TABLES);
        let mut one = invitation("one", 1);
        one.username = Some("juliet".into());
        store.write_wait(add(&one)).expect("written");
        let name = jid("juliet@example.org");
        let row = || store.read_wait(reservation(&name)).and_then(Found::row).expect("read");
        assert!(is_reserved(row().as_ref(), None, 99));
        assert!(is_reserved(row().as_ref(), Some("other"), 99));
        assert!(!is_reserved(row().as_ref(), Some(&one.key), 99));
        assert!(!is_reserved(row().as_ref(), None, 100));
        store.write_wait(spend(Batch::new(), &one, &name, 5)).expect("written");
        assert_eq!(row(), None);
    }
}
