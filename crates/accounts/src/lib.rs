//! Who has an account: the record, its table, and what may be done with it, as batches and queries.
//!
//! Pure data: it neither waits for a store nor reads a clock. The login reads [`get`], the account commands and the
//! first start write; both go through here, so that there is one place that knows how an account is stored. Only
//! StoredKey and ServerKey are kept of a password (RFC 5802 section 3), one column per hash, so that a hash can be
//! withdrawn by one `UPDATE`.

mod address;

use auth::{Credentials, Hash, Verifier};
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
        })
    }
}

/// Answered with a row or none: give it to [`Account::from_row`].
pub fn get(jid: &Jid) -> Query {
    Query::get(&ACCOUNTS, jid.bare_str(), None)
}

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
