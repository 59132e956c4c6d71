//! What is done once to the accounts that an earlier version has kept (`module::Upgrade`).

use module::{Occasion, Step, Upgrade};
use stanza::Jid;
use store::{Batch, Column, Found, Query, Shape, StoreError, Table, row};

use crate::Router;

/// What has been done, by its name, under the name of nobody: to how many accounts.
pub(crate) static UPGRADES: Table = Table {
    name: "upgrades",
    shape: Shape::Map,
    columns: &[Column::int("accounts")],
};

const NOBODY: &str = "";

const ACCOUNTS_AT_ONCE: usize = 1_000;

impl Router {
    /// Does what has not been done yet, and returns how many accounts were changed. Blocking: before anything listens.
    pub fn upgrade(&self) -> Result<u64, StoreError> {
        let mut changed = 0;
        for upgrade in self.registry().upgrades() {
            let note = Query::get(&UPGRADES, NOBODY, upgrade.name);
            if self.store.read_wait(note)?.row()?.is_none() {
                changed += self.upgrade_all(upgrade)?;
            }
        }
        Ok(changed)
    }

    fn upgrade_all(&self, upgrade: &Upgrade) -> Result<u64, StoreError> {
        let (mut changed, mut after) = (0, None::<Box<str>>);
        loop {
            let query = Query::owners(&accounts::ACCOUNTS, after.as_deref(), ACCOUNTS_AT_ONCE);
            let owners = self.store.read_wait(query).and_then(Found::owners)?;
            let Some((last, _)) = owners.last() else { break };
            after = Some(last.clone());
            for (owner, _) in owners {
                changed += u64::from(self.upgrade_one(upgrade, &owner)?);
            }
        }
        let row = row![i64::try_from(changed).unwrap_or(i64::MAX)];
        self.store
            .write_wait(Batch::new().put(&UPGRADES, NOBODY, upgrade.name, row))?;
        Ok(changed)
    }

    /// Whether there was anything to do.
    fn upgrade_one(&self, upgrade: &Upgrade, owner: &str) -> Result<bool, StoreError> {
        let Ok(owner) = Jid::parse(owner) else { return Ok(false) };
        let occasion = Occasion {
            now: (self.clock)(),
            by: owner.clone(),
            owner,
        };
        let (mut query, mut make) = (upgrade.make)(&occasion);
        let change = loop {
            match make(Ok(self.store.read_wait(query)?)) {
                Ok(Step::Ask(next, then)) => (query, make) = (next, then),
                Ok(Step::Done(change)) => break change,
                Err(error) => {
                    // What it has stays as it is, and is changed when the account changes it.
                    let (upgrade, condition) = (upgrade.name, error.condition.name());
                    tracing::warn!(upgrade, account = %occasion.owner, condition, "an account could not be upgraded");
                    return Ok(false);
                }
            }
        };
        if change.batch.is_empty() {
            return Ok(false);
        }
        self.store.write_wait(change.batch)?;
        Ok(true)
    }
}
