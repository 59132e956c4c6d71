//! Who has an account: the record, its table, and what may be done with it, as batches and queries.
//!
//! Pure data: it neither waits for a store nor reads a clock. The login reads [`get`], the account commands and the
//! first start write; both go through here, so that there is one place that knows how an account is stored. Only
//! StoredKey and ServerKey are kept of a password (RFC 5802 section 3), one column per hash, so that a hash can be
//! withdrawn by one `UPDATE`. Which clients an account has, and the tokens that let them back in, is in [`tokens`].

mod address;
pub mod backend;
pub mod invitations;
pub mod tokens;

use std::sync::LazyLock;

use auth::{Credentials, DEFAULT_ITERATIONS, Hash, SALT_LENGTH, Verifier};
use stanza::Jid;
use store::{Batch, Column, Query, Row, Shape, Table, Value, row};

pub use address::{AddressError, address};

/// One row per account; the owner is the bare JID.
pub static ACCOUNTS: Table = Table {
    name: "accounts",
    shape: Shape::KeyVal,
    columns: &[
        // Seconds since 1970 in UTC.
        Column::int("created"),
        // 1: no login; everything else is kept.
        Column::int("disabled"),
        // 1: may administer the server.
        Column::int("admin"),
        // `Verifier::encode` each; null: no login with this hash.
        Column::text("scram_sha_1"),
        Column::text("scram_sha_256"),
        Column::text("scram_sha_512"),
        // Grows whenever all logins end at once; null: 0.
        Column::int("epoch"),
    ],
};

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Bare, with a local part.
    pub jid: Jid,
    /// Seconds since 1970 in UTC.
    pub created: i64,
    /// Nobody may log in; everything else is kept.
    pub disabled: bool,
    /// May administer the server, beside those whom the configuration names.
    pub admin: bool,
    pub credentials: Credentials,
    /// Which generation of logins this is: what was let in, or got a token, under another one is void. See
    /// [`end_logins`].
    pub epoch: i64,
}

/// A row that no release of Jackdaw wrote. The text names the account and column, no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged(String);

impl std::fmt::Display for Damaged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the account record is damaged: {}", self.0)
    }
}

impl std::error::Error for Damaged {}

impl Account {
    /// An account that may log in. `jid` comes from [`address`], `created` are seconds since 1970.
    pub fn new(jid: Jid, created: i64, credentials: Credentials) -> Account {
        Account {
            jid,
            created,
            disabled: false,
            admin: false,
            credentials,
            epoch: 0,
        }
    }

    /// The columns of [`ACCOUNTS`].
    pub fn row(&self) -> Row {
        let verifier = |hash| self.credentials.get(hash).map(Verifier::encode);
        row![
            self.created,
            self.disabled,
            self.admin,
            verifier(Hash::Sha1),
            verifier(Hash::Sha256),
            verifier(Hash::Sha512),
            self.epoch,
        ]
    }

    /// Reads what [`row`](Self::row) made.
    ///
    /// # Errors
    /// [`Damaged`] if a column holds what it cannot. A damaged verifier counts too: to go on without it would quietly
    /// lock people out whose client has only that mechanism.
    pub fn from_row(owner: &str, row: &Row) -> Result<Account, Damaged> {
        let damaged = |column: &str| Damaged(format!("{owner}, {column}"));
        let jid = address(owner).map_err(|_| damaged("owner"))?;
        let number = |at: usize, name: &str| row.get(at).and_then(Value::as_int).ok_or_else(|| damaged(name));
        let verifier = |at: usize, hash: Hash| match row.get(at) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let read = value.as_text().and_then(|text| Verifier::decode(hash, text));
                read.map(Some).ok_or_else(|| damaged(hash.name()))
            }
        };
        Ok(Account {
            jid,
            created: number(0, "created")?,
            disabled: number(1, "disabled")? != 0,
            admin: number(2, "admin")? != 0,
            credentials: Credentials {
                sha1: verifier(3, Hash::Sha1)?,
                sha256: verifier(4, Hash::Sha256)?,
                sha512: verifier(5, Hash::Sha512)?,
            },
            epoch: match row.get(6) {
                None | Some(Value::Null) => 0,
                Some(value) => value.as_int().ok_or_else(|| damaged("epoch"))?,
            },
        })
    }
}

/// Whether the account of a row is disabled, and whether it may administer the server: for who looks at all of them, to
/// whom the rest would cost more.
pub fn standing(row: &Row) -> (bool, bool) {
    let is = |at: usize| row.get(at).and_then(Value::as_int).is_some_and(|value| value != 0);
    (is(1), is(2))
}

/// Answered with a row or none: give it to [`Account::from_row`].
pub fn get(jid: &Jid) -> Query {
    Query::get(&ACCOUNTS, jid.bare_str(), None)
}

/// Reads what [`get`] found, for a login. Where there is no account a row is read that is made up, so that the time
/// until the answer tells less of who has one (RFC 6120 section 6.5.10). What is left is the store's part.
///
/// # Errors
/// As [`Account::from_row`].
pub fn read_for_login(jid: &Jid, row: Option<Row>) -> Result<Option<Account>, Damaged> {
    let is_there = row.is_some();
    // Copied, as the store copies one.
    let row = row.unwrap_or_else(|| STAND_IN.clone());
    let account = Account::from_row(jid.as_str(), &row)?;
    Ok(is_there.then_some(account))
}

/// A row of nobody's.
static STAND_IN: LazyLock<Row> = LazyLock::new(|| {
    let verifier = |hash: Hash| {
        let key = vec![0; hash.length()];
        let verifier = Verifier {
            salt: vec![0; SALT_LENGTH],
            iterations: DEFAULT_ITERATIONS,
            stored_key: key.clone(),
            server_key: key,
        };
        verifier.encode()
    };
    row![
        0,
        false,
        false,
        verifier(Hash::Sha1),
        verifier(Hash::Sha256),
        verifier(Hash::Sha512),
        0,
    ]
});

/// Accounts after one of them, in order of the bytes of their JIDs: give the rows to [`Account::from_row`].
pub fn page(after: Option<&Jid>, limit: usize) -> Query {
    Query::owners(&ACCOUNTS, after.map(Jid::bare_str), limit)
}

/// Fails with [`store::StoreError::Exists`] if there is one of that name.
pub fn add(account: &Account) -> Batch {
    Batch::new().insert(&ACCOUNTS, account.jid.bare_str(), None, account.row())
}

/// Writes an account that was read and changed. Fails with [`store::StoreError::Missing`] if it was removed meanwhile:
/// a late password change must not bring it back.
pub fn change(account: &Account) -> Batch {
    let owner = account.jid.bare_str();
    Batch::new()
        .require(&ACCOUNTS, owner, None)
        .put(&ACCOUNTS, owner, None, account.row())
}

/// Writes an account of which the password or the standing was changed, and ends whatever was logged in with what it was
/// before: the epoch grows, and no token is left. So one that a login of a moment ago is about to get is void too. Fails
/// as [`change`] does. Streams and sessions are for the caller to end.
pub fn end_logins(account: &mut Account) -> Batch {
    account.epoch = account.epoch.saturating_add(1);
    change(account).delete(&tokens::TOKENS, account.jid.bare_str(), None)
}

/// Adds the verifiers that a login with the right password brought (XEP-0480, or PLAIN by the way). `epoch` is the one
/// that the login began under: with another one the password is not the same any more, and there is nothing to write.
///
/// The account has to be read where no other write of it can come between: what is written is the whole record, and a
/// password that was changed meanwhile would be back.
pub fn upgrade(account: &mut Account, epoch: i64, newer: Credentials) -> Option<Batch> {
    if account.epoch != epoch || newer == Credentials::default() {
        return None;
    }
    account.credentials.update(newer);
    Some(change(account))
}

/// Removes the account and everything that any feature stored for it. Fails with [`store::StoreError::Missing`] if
/// there is none.
pub fn remove(jid: &Jid) -> Batch {
    Batch::new()
        .require(&ACCOUNTS, jid.bare_str(), None)
        .forget(jid.bare_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::{Memory, Store, StoreError};

    fn account(jid: &str) -> Account {
        let credentials = Credentials::derive("secret", 1, [[1; 16], [2; 16], [3; 16]]).expect("a usable password");
        Account::new(address(jid).expect("an address"), 1_700_000_000, credentials)
    }

    fn read(store: &Memory, jid: &Jid) -> Option<Account> {
        let row = store
            .read_wait(get(jid))
            .expect("read")
            .row()
            .expect("a row was asked for")?;
        Some(Account::from_row(jid.as_str(), &row).expect("sound"))
    }

    #[test]
    fn a_row_reads_back() {
        let check = |change: fn(&mut Account)| {
            let mut account = account("juliet@example.org");
            change(&mut account);
            assert_eq!(Account::from_row("juliet@example.org", &account.row()), Ok(account));
        };
        check(|_| {});
        check(|account| account.disabled = true);
        check(|account| account.admin = true);
        check(|account| account.credentials.sha1 = None);
        check(|account| account.epoch = 3);
    }

    /// Rows of an earlier version have no epoch.
    #[test]
    fn a_row_without_epoch_reads_as_the_first() {
        let account = account("juliet@example.org");
        let mut row = account.row();
        for end in [Some(Value::Null), None] {
            row.truncate(6);
            row.extend(end);
            assert_eq!(Account::from_row("juliet@example.org", &row), Ok(account.clone()));
        }
    }

    #[test]
    fn nobody_is_read_for_a_login_too() {
        let somebody = account("juliet@example.org");
        let read = |row| read_for_login(&somebody.jid, row);
        assert_eq!(read(Some(somebody.row())), Ok(Some(somebody.clone())));
        assert_eq!(read(None), Ok(None));
        assert!(read(Some(row![0])).is_err());
        // What is read instead is a row like another.
        assert!(Account::from_row("nobody@example.org", &STAND_IN).is_ok());
        assert_eq!(STAND_IN.len(), ACCOUNTS.columns.len());
    }

    #[test]
    fn damage_is_told_by_column() {
        let check = |at: usize, value: Value, column: &str| {
            let mut row = account("juliet@example.org").row();
            row[at] = value;
            let error = Account::from_row("juliet@example.org", &row).expect_err("damaged");
            assert!(error.to_string().ends_with(column), "{error}");
        };
        check(0, Value::Null, "created");
        check(1, Value::from("x"), "disabled");
        check(3, Value::from("1:x"), "SHA-1");
        check(5, Value::Int(5), "SHA-512");
        check(6, Value::from("x"), "epoch");
    }

    #[test]
    fn the_life_of_an_account() {
        let store = Memory::new(&[&ACCOUNTS]);
        let mut juliet = account("juliet@example.org");
        let jid = juliet.jid.clone();
        assert_eq!(store.write_wait(change(&juliet)), Err(StoreError::Missing));
        assert_eq!(store.write_wait(add(&juliet)), Ok(store::Wrote::default()));
        assert_eq!(store.write_wait(add(&juliet)), Err(StoreError::Exists));
        juliet.disabled = true;
        assert_eq!(store.write_wait(change(&juliet)), Ok(store::Wrote::default()));
        assert_eq!(read(&store, &jid), Some(juliet.clone()));
        assert_eq!(store.write_wait(remove(&jid)), Ok(store::Wrote::default()));
        assert_eq!(read(&store, &jid), None);
        assert_eq!(store.write_wait(remove(&jid)), Err(StoreError::Missing));
        assert_eq!(store.write_wait(change(&juliet)), Err(StoreError::Missing));
    }

    #[test]
    fn an_upgrade_adds_what_the_login_brought() {
        let store = Memory::new(&[&ACCOUNTS, &tokens::TOKENS]);
        let full = account("juliet@example.org").credentials;
        let mut juliet = account("juliet@example.org");
        juliet.credentials.sha512 = None;
        store.write_wait(add(&juliet)).expect("added");
        let newer = Credentials {
            sha512: full.sha512.clone(),
            ..Credentials::default()
        };
        assert_eq!(upgrade(&mut juliet, 0, Credentials::default()), None);
        let batch = upgrade(&mut juliet, 0, newer.clone()).expect("something new");
        store.write_wait(batch).expect("written");
        assert_eq!(read(&store, &juliet.jid).expect("there").credentials, full);

        // The password was changed since the login began: what it brought is of the old one.
        store.write_wait(end_logins(&mut juliet)).expect("written");
        let before = juliet.clone();
        assert_eq!(upgrade(&mut juliet, 0, newer), None);
        assert_eq!(juliet, before);
    }

    #[test]
    fn pages_go_by_the_bytes_of_the_jid() {
        let store = Memory::new(&[&ACCOUNTS]);
        for name in ["c@example.org", "a@example.org", "b@example.org"] {
            store.write_wait(add(&account(name))).expect("added");
        }
        let after = address("a@example.org").expect("an address");
        let found = store.read_wait(page(Some(&after), 1)).expect("read");
        let store::Found::Owners(rows) = found else {
            panic!("owners were asked for")
        };
        assert_eq!(
            rows.iter().map(|(owner, _)| &**owner).collect::<Vec<_>>(),
            ["b@example.org"]
        );
    }
}
