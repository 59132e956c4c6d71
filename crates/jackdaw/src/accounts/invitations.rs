//! Invitations are made, listed and withdrawn: by `jackdaw invite`, and by who asks over XMPP (XEP-0401).
//!
//! They are few and made seldom. So all of them are read whenever one is made, to count them and to delete those that are
//! over; and whenever an account is removed, so that its invitations go with it.

use std::collections::BTreeSet;

use ::accounts::invitations::{
    GRACE, INVITATIONS, Invitation, MAX_LIFETIME, MAX_USES, TOKEN_BYTES, USES, add, is_reserved, key_of, reservation,
    revoke, token,
};
use module::Refused;
use stanza::{Jid, StanzaError};
use store::{Batch, Found, PAGE_LIMIT, Query, StoreError};

use super::{Accounts, now};

/// Letters of an id that `jackdaw invite list` shows: a part of the hash, which is enough to find it by.
const ID: usize = 12;

/// Where accounts may be made, and how many invitations there may be (configuration: `limits.invitations…`).
#[derive(Debug, Default)]
pub struct Inviting {
    /// Prepared domains where who has an invitation gets an account.
    pub domains: BTreeSet<String>,
    pub altogether: usize,
    pub of_one: usize,
}

/// What an invitation is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Where an account may be made with it. Prepared.
    pub domain: Option<String>,
    /// None: the operator.
    pub inviter: Option<Jid>,
    pub contact: Option<Jid>,
    /// Localpart, prepared.
    pub username: Option<String>,
    pub admin: bool,
    /// Seconds.
    pub lifetime: i64,
    pub uses: u32,
}

/// One that was made: only here the token is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    pub uri: String,
    /// Seconds since 1970.
    pub expires: i64,
}

/// What an invitation is shown by.
pub fn id_of(invitation: &Invitation) -> &str {
    &invitation.key[..ID]
}

fn refuse(text: String) -> Refused {
    Refused::Terms(StanzaError::not_acceptable().text(text))
}

impl Accounts {
    /// The caller has the turn.
    pub(super) fn invite(&self, wanted: Wanted) -> Result<Made, Refused> {
        if let Some(domain) = wanted
            .domain
            .as_deref()
            .filter(|it| !self.inviting.domains.contains(*it))
        {
            return Err(refuse(format!(
                "no account can be made at {domain} with an invitation: see `registration` of the domain"
            )));
        }
        if !(1..=MAX_LIFETIME).contains(&wanted.lifetime) || !(1..=MAX_USES).contains(&wanted.uses) {
            return Err(refuse(format!(
                "an invitation holds for {} days at most, and for {MAX_USES} uses",
                MAX_LIFETIME / 86_400
            )));
        }
        if wanted.username.is_some() && wanted.uses > 1 {
            return Err(refuse("one name is for one account".to_owned()));
        }
        for account in [&wanted.contact, &wanted.inviter].into_iter().flatten() {
            if self.read(account)?.is_none() {
                return Err(Refused::Missing(account.clone()));
            }
        }
        let now = now();
        if let (Some(name), Some(domain)) = (&wanted.username, &wanted.domain) {
            let unusable = |_| refuse(format!("`{name}` is not the name of an account"));
            let account = Jid::new(Some(name), domain, None).map_err(unusable)?;
            let reserved = self.store.read_wait(reservation(&account)).and_then(Found::row);
            let reserved = reserved.map_err(Refused::Store)?;
            if self.read(&account)?.is_some() || is_reserved(reserved.as_ref(), None, now) {
                return Err(Refused::Exists(account));
            }
        }
        let (over, others): (Vec<_>, Vec<_>) = self
            .invitations()?
            .into_iter()
            .partition(|invitation| now >= invitation.expires.saturating_add(GRACE));
        let own = |invitation: &&Invitation| wanted.inviter.is_some() && invitation.inviter == wanted.inviter;
        if others.len() >= self.inviting.altogether || others.iter().filter(own).count() >= self.inviting.of_one {
            return Err(Refused::Terms(
                StanzaError::resource_constraint().text("too many invitations are not used yet; withdraw some"),
            ));
        }

        let mut random = [0; TOKEN_BYTES];
        getrandom::fill(&mut random)
            .map_err(|error| Refused::Store(StoreError::Other(format!("no random numbers: {error}"))))?;
        let token = token(random);
        let invitation = Invitation {
            // A token of ours is not too long.
            key: key_of(&token).unwrap_or_default(),
            domain: wanted.domain.map(Into::into),
            inviter: wanted.inviter,
            contact: wanted.contact,
            username: wanted.username.map(Into::into),
            admin: wanted.admin,
            created: now,
            expires: now.saturating_add(wanted.lifetime),
            uses: wanted.uses,
            used: 0,
        };
        let over = over.iter().fold(Batch::new(), revoke);
        let mut batch = add(&invitation);
        batch.ops.extend(over.ops);
        self.store.write_wait(batch).map_err(Refused::Store)?;
        Ok(Made {
            uri: invitation.uri(&token),
            expires: invitation.expires,
        })
    }

    /// All of them, also those that are over; in no order that says anything.
    pub(super) fn invitations(&self) -> Result<Vec<Invitation>, Refused> {
        let (mut all, mut after) = (Vec::new(), None::<Box<str>>);
        loop {
            let page = Query::owners(&INVITATIONS, after.as_deref(), PAGE_LIMIT);
            let page = self
                .store
                .read_wait(page)
                .and_then(Found::owners)
                .map_err(Refused::Store)?;
            let Some((last, _)) = page.last() else { return Ok(all) };
            after = Some(last.clone());
            for (key, row) in page {
                // One that cannot be read is no good to anybody.
                all.extend(Invitation::from_row(&key, &row, 0));
            }
        }
    }

    /// Those of a page behind `after`, with the number of their uses.
    pub(super) fn list_invitations(&self, after: Option<&str>, most: usize) -> Result<Vec<Invitation>, Refused> {
        let page = Query::owners(&INVITATIONS, after, most);
        let page = self
            .store
            .read_wait(page)
            .and_then(Found::owners)
            .map_err(Refused::Store)?;
        let mut listed = Vec::with_capacity(page.len());
        for (key, row) in page {
            let used = self.store.read_wait(Query::count(&USES, &key)).and_then(Found::count);
            listed.extend(Invitation::from_row(&key, &row, used.map_err(Refused::Store)?));
        }
        Ok(listed)
    }

    /// Ends those whose id begins so. False: there is none, or there are several.
    pub(super) fn withdraw(&self, id: &str) -> Result<bool, Refused> {
        let all = self.invitations()?;
        let mut meant = all.iter().filter(|invitation| invitation.key.starts_with(id));
        match (meant.next(), meant.next()) {
            (Some(one), None) => {
                let batch = revoke(Batch::new(), one);
                self.store.write_wait(batch).map_err(Refused::Store)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// The end of what an account has invited to, and of what others become contacts of it with.
    pub(super) fn without_invitations_of(&self, jid: &Jid, batch: Batch) -> Result<Batch, Refused> {
        let all = self.invitations()?;
        let is_of = |invitation: &&Invitation| {
            invitation.inviter.as_ref() == Some(jid) || invitation.contact.as_ref() == Some(jid)
        };
        Ok(all.iter().filter(is_of).fold(batch, revoke))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ::accounts::invitations::DEFAULT_LIFETIME;
    use store::{Memory, Store};

    use super::*;
    use crate::admin::{Backend as _, Command, NewAccount};

    fn jid(text: &str) -> Jid {
        ::accounts::address(text).expect("an address")
    }

    fn world() -> (Arc<Memory>, Accounts) {
        let mut tables = vec![&::accounts::ACCOUNTS, &::accounts::tokens::TOKENS];
        tables.extend(::accounts::invitations::TABLES);
        let store = Arc::new(Memory::new(&tables));
        let accounts = Accounts::new(
            Arc::clone(&store) as Arc<dyn Store>,
            vec!["example.org".into()],
            Box::new(|_, _, _| {}),
        );
        let accounts = accounts.with_inviting(Inviting {
            domains: ["example.org".to_owned()].into(),
            altogether: 3,
            of_one: 2,
        });
        for name in ["romeo@example.org", "juliet@example.org"] {
            let credentials = auth::Credentials::derive("secret", 1, [[1; 16]; 3]).expect("a usable password");
            let new = NewAccount {
                jid: jid(name),
                admin: false,
                credentials,
            };
            accounts.handle(Command::Add(new)).expect("added");
        }
        (store, accounts)
    }

    fn wanted() -> Wanted {
        Wanted {
            domain: Some("example.org".into()),
            lifetime: DEFAULT_LIFETIME,
            uses: 1,
            ..Wanted::default()
        }
    }

    #[test]
    fn what_cannot_be_invited_to_is_refused() {
        let (_, accounts) = world();
        let check = |change: fn(&mut Wanted)| {
            let mut wanted = wanted();
            change(&mut wanted);
            assert!(accounts.invite(wanted.clone()).is_err(), "{wanted:?}");
        };
        check(|wanted| wanted.domain = Some("example.net".into()));
        check(|wanted| wanted.contact = Some(jid("nobody@example.org")));
        check(|wanted| wanted.username = Some("juliet".into()));
        check(|wanted| wanted.lifetime = 0);
        check(|wanted| wanted.lifetime = MAX_LIFETIME + 1);
        check(|wanted| wanted.uses = 0);
        check(|wanted| wanted.uses = MAX_USES + 1);
        check(|wanted| (wanted.username, wanted.uses) = (Some("nurse".into()), 2));
        assert_eq!(accounts.invitations().map(|all| all.len()), Ok(0));

        let named = Wanted {
            username: Some("nurse".into()),
            ..wanted()
        };
        accounts.invite(named.clone()).expect("made");
        assert_eq!(accounts.invite(named), Err(Refused::Exists(jid("nurse@example.org"))));
    }

    #[test]
    fn there_are_so_many_of_one_and_so_many_altogether() {
        let (_, accounts) = world();
        let of = |name: Option<&str>| {
            accounts.invite(Wanted {
                inviter: name.map(jid),
                ..wanted()
            })
        };
        let romeo = Some("romeo@example.org");
        assert!(of(romeo).is_ok() && of(romeo).is_ok() && of(romeo).is_err());
        assert!(of(None).is_ok() && of(None).is_err());
        let all = accounts.list_invitations(None, 10).expect("read");
        assert_eq!(accounts.withdraw(id_of(&all[0])), Ok(true));
        assert_eq!(accounts.withdraw(id_of(&all[0])), Ok(false));
        assert_eq!(accounts.withdraw(""), Ok(false), "several begin so");
        assert!(of(None).is_ok());
    }

    #[test]
    fn the_invitations_of_an_account_go_with_it() {
        let (store, accounts) = world();
        let romeo = jid("romeo@example.org");
        for (inviter, contact) in [(Some(&romeo), None), (None, Some(&romeo)), (None, None)] {
            let wanted = Wanted {
                inviter: inviter.cloned(),
                contact: contact.cloned(),
                ..wanted()
            };
            accounts.invite(wanted).expect("made");
        }
        accounts.handle(Command::Remove(romeo)).expect("removed");
        assert_eq!(accounts.invitations().map(|all| all.len()), Ok(1));
        // Of those that are over nothing is left when the next is made.
        let mut old = accounts.invitations().expect("read").remove(0);
        (old.key, old.expires) = ("old".into(), 1);
        store.write_wait(add(&old)).expect("written");
        accounts.invite(wanted()).expect("made");
        let keys: Vec<_> = accounts.invitations().expect("read");
        assert!(keys.len() == 2 && keys.iter().all(|invitation| &*invitation.key != "old"));
    }
}
