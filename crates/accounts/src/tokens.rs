//! The clients of an account: who they are, when they were here, and the tokens with which they come back (XEP-0484).
//!
//! One row per client, so that the list of XEP-0494 is read from here, whatever a client logs in with: one that has no
//! token has no secret. The secrets stand in the table as they are, as the mechanism needs them on both sides; so they
//! are worth what a password is until they expire, and no `Debug` shows them. Times are seconds since 1970 in UTC.

mod row;
#[cfg(test)]
mod tests;

use auth::{Age, Attempt, MAX_TOKENS, Secret, Slot, Token, TokenLookup, TokenUse};
use stanza::Jid;
use store::{Batch, Found, Query, Row, StoreError};

pub use row::TOKENS;

use crate::{ACCOUNTS, Account, Damaged};

/// The most clients of an account that are remembered, each with at most one token and the one before.
pub const MAX_CLIENTS: usize = MAX_TOKENS;
/// The longest name of a software or device that is kept, in bytes; what is longer is cut.
pub const MAX_NAME: usize = 128;
/// The longest id of a user agent that is kept, in bytes (a UUID has 36): a longer one is none.
pub const MAX_AGENT_ID: usize = 64;

/// What a client says of itself in `<user-agent/>` (XEP-0388 section 2.3). Nobody but the owner gets to see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// The same for one installation of a client.
    pub id: Option<String>,
    pub software: Option<String>,
    pub device: Option<String>,
    /// The home page of the software (XEP-0494). XEP-0388 has no place for it.
    pub uri: Option<String>,
}

impl Agent {
    /// Cuts what is too long, and leaves out what is empty.
    pub fn new(id: Option<&str>, software: Option<&str>, device: Option<&str>) -> Agent {
        let name = |text: Option<&str>| text.map(cut).filter(|text| !text.is_empty()).map(str::to_owned);
        let id = id.filter(|id| !id.is_empty() && id.len() <= MAX_AGENT_ID);
        Agent {
            id: id.map(str::to_owned),
            software: name(software),
            device: name(device),
            uri: None,
        }
    }
}

/// At most [`MAX_NAME`] bytes of whole characters, without blanks around them.
fn cut(text: &str) -> &str {
    let text = text.trim();
    text[..text.floor_char_boundary(MAX_NAME)].trim_end()
}

/// What a client has ever logged in with: the children of `<auth/>` (XEP-0494 section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Methods {
    pub password: bool,
    pub fast: bool,
    /// A bearer token.
    pub grant: bool,
    pub certificate: bool,
}

/// One client of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The id of XEP-0494, and of its token. No secret: resources that the server makes for the client end with it, see
    /// [`is_session_of`].
    pub id: String,
    pub agent: Agent,
    pub first_seen: i64,
    /// The last login.
    pub last_seen: i64,
    pub methods: Methods,
    /// [`Account::epoch`](crate::Account::epoch) at the time of the login. When the account has another, the client has
    /// no access any more.
    pub epoch: i64,
    pub token: Option<Held>,
}

/// The token of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub newest: Slot,
    /// Whether the newest was ever used. If not, the next one takes its place (XEP-0484 section 3.5: tokens that have not
    /// been used are to be invalidated); if so, it becomes `previous`.
    pub used: bool,
    pub previous: Option<Slot>,
}

/// A login that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub now: i64,
    pub agent: Agent,
    /// With what.
    pub methods: Methods,
    /// [`Account::epoch`](crate::Account::epoch).
    pub epoch: i64,
}

/// How long things hold, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// A secret, from when it is issued.
    pub token: i64,
    /// After this a secret that is used is replaced. Shorter than `token`.
    pub rotate: i64,
    /// A client without a token, from its last login.
    pub client: i64,
}

/// Three weeks, a day, three weeks: a phone that is away for a holiday still comes back by its token.
pub const DEFAULT_LIFETIMES: Lifetimes = Lifetimes {
    token: 21 * 86_400,
    rotate: 86_400,
    client: 21 * 86_400,
};

/// All clients of one account, as they were read. What changes them returns the batch that makes it so in the store;
/// it is a promise only when that is committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    owner: String,
    list: Vec<Client>,
}

/// Answered with rows: give them to [`Clients::from_rows`].
pub fn list(jid: &Jid) -> Query {
    Query::all(&TOKENS, jid.bare_str())
}

/// An account together with its clients, at one moment: give the answer to [`read_with_account`].
pub fn with_account(jid: &Jid) -> Query {
    Query::Many(vec![crate::get(jid), list(jid)])
}

/// The account and its clients; none where there is no such account.
///
/// # Errors
/// In words for the log, without content.
pub fn read_with_account(jid: &Jid, found: Result<Found, StoreError>) -> Result<Option<(Account, Clients)>, String> {
    let read = || -> Result<_, StoreError> {
        let mut parts = found?.many()?.into_iter();
        let mut next = || parts.next().ok_or(StoreError::Overloaded);
        Ok((next()?.row()?, next()?.rows()?))
    };
    let (row, rows) = read().map_err(|error| error.to_string())?;
    let Some(row) = row else { return Ok(None) };
    let account = Account::from_row(jid.as_str(), &row).map_err(|error| error.to_string())?;
    let clients = Clients::from_rows(jid, rows).map_err(|error| error.to_string())?;
    Ok(Some((account, clients)))
}

/// Whether a resource was made for the client of this id: the id is all of it, or stands behind a slash (XEP-0386 section
/// 2.3). So no session has to remember whose it is, and one that is put back after a restart is still known.
pub fn is_session_of(client: &str, resource: &str) -> bool {
    let tag = resource.strip_suffix(client);
    tag.is_some_and(|tag| tag.is_empty() || tag.ends_with('/'))
}

/// No client of the account comes back by a token. What a new password or a disabled account asks for is
/// [`end_logins`](crate::end_logins), which does this too.
pub fn revoke_all(jid: &Jid) -> Batch {
    Batch::new().delete(&TOKENS, jid.bare_str(), None)
}

/// Ends one client's access. Nothing happens if there is none of that id.
pub fn revoke(jid: &Jid, id: &str) -> Batch {
    Batch::new().delete(&TOKENS, jid.bare_str(), id)
}

impl Clients {
    /// # Errors
    /// [`Damaged`] if a column holds what it cannot.
    pub fn from_rows(jid: &Jid, rows: Vec<(Box<str>, Row)>) -> Result<Clients, Damaged> {
        let owner = jid.bare_str().to_owned();
        let read = |(id, row): (Box<str>, Row)| Client::from_row(&owner, &id, &row);
        let list = rows.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Clients { owner, list })
    }

    /// In the order of their ids.
    pub fn list(&self) -> &[Client] {
        &self.list
    }

    pub fn get(&self, id: &str) -> Option<&Client> {
        self.list.iter().find(|client| client.id == id)
    }

    /// The tokens that may let a client in, for [`auth::Exchange::supply_tokens`]: those of the account's epoch, and if
    /// the client has said which one it is (`agent`), those of that client alone. `disabled` as in the account.
    pub fn tokens(&self, agent: Option<&str>, epoch: i64, disabled: bool) -> TokenLookup {
        let tokens = self
            .list
            .iter()
            .filter(|client| client.epoch == epoch)
            .filter(|client| agent.is_none() || client.agent.id.as_deref() == agent)
            .filter_map(Client::token)
            .collect();
        match disabled {
            true => TokenLookup::Disabled(tokens),
            false => TokenLookup::Found(tokens),
        }
    }

    /// A client has logged in, with anything but a token. One that is known by the id of its user agent is known again;
    /// another gets `new_id`, made of that. If there are too many then, [the least of them](Clients::dispensable) go.
    /// Returns the id of the client.
    ///
    /// Fails with [`store::StoreError::Missing`] if the account was removed, or the client revoked, since this was read:
    /// it has to be read anew then.
    pub fn logged_in(&mut self, new_id: &str, login: &Login) -> (String, Batch) {
        let known = |client: &&Client| client.agent.id.is_some() && client.agent.id == login.agent.id;
        let id = self
            .list
            .iter()
            .find(known)
            .map_or(new_id, |client| &client.id)
            .to_owned();
        let mut batch = Batch::new().require(&ACCOUNTS, &self.owner, None);
        if self.get(&id).is_none() {
            while self.list.len() >= MAX_CLIENTS {
                let Some(gone) = self.dispensable() else { break };
                batch = batch.delete(&TOKENS, &self.owner, &*gone);
                self.list.retain(|client| client.id != gone);
            }
            self.list.push(Client {
                id: id.clone(),
                agent: Agent::default(),
                first_seen: login.now,
                last_seen: login.now,
                methods: Methods::default(),
                epoch: login.epoch,
                token: None,
            });
            self.list.sort_by(|one, other| one.id.cmp(&other.id));
        } else {
            // Else a token that was revoked a moment ago would be back.
            batch = batch.require(&TOKENS, &self.owner, &*id);
        }
        let batch = self.changed(&id, batch, |client| client.seen(login));
        (id, batch)
    }

    /// A client has logged in with its token: the one before is void if this is the newest (XEP-0484 section 3.5). What
    /// the client said of itself takes the place of what was known.
    ///
    /// Fails with [`store::StoreError::Missing`] if the token was revoked meanwhile: the login has to fail then.
    pub fn used(&mut self, used: &TokenUse, login: &Login) -> Batch {
        let batch = self.required(&used.id);
        self.changed(&used.id, batch, |client| {
            client.seen(login);
            let Some(held) = &mut client.token else { return };
            // Whatever runs out before the one that was used is void; whichever that is, if lifetimes were changed.
            let slot = match (used.age, held.previous.take()) {
                (Age::Previous, Some(previous)) if previous.expires > held.newest.expires => {
                    held.newest = previous;
                    held.used = true;
                    Some(&mut held.newest)
                }
                (Age::Previous, previous) => {
                    held.previous = previous;
                    held.previous.as_mut()
                }
                (Age::Newest, _) => {
                    held.used = true;
                    Some(&mut held.newest)
                }
            };
            if let (Some(slot), Some(count)) = (slot, used.count) {
                slot.count = slot.count.max(count);
            }
        })
    }

    /// Gives a client a new token, or the first one. The one it has goes on until the new one is used, if it was used
    /// itself.
    ///
    /// Fails with [`store::StoreError::Missing`] if the client was revoked meanwhile.
    pub fn issue(&mut self, id: &str, secret: Secret, mechanism: auth::Mechanism, now: i64, holds: Lifetimes) -> Batch {
        let newest = Slot {
            secret,
            mechanism,
            issued: now,
            expires: now.saturating_add(holds.token),
            count: 0,
        };
        let batch = self.required(id);
        self.changed(id, batch, |client| {
            let previous = match client.token.take() {
                None => None,
                Some(held) if held.used => Some(held.newest),
                Some(held) => held.previous,
            };
            client.token = Some(Held {
                newest,
                used: false,
                previous: previous.filter(|slot| slot.expires > now),
            });
        })
    }

    /// A client wants its token to be void (XEP-0484 section 3.6): all that it has, the one before as well. It stays in
    /// the list.
    ///
    /// Fails with [`store::StoreError::Missing`] if it was revoked meanwhile.
    pub fn invalidate(&mut self, id: &str) -> Batch {
        let batch = self.required(id);
        self.changed(id, batch, |client| client.token = None)
    }

    /// Ends one client's access. Whether there is such a client is for the caller to look at first.
    pub fn revoke(&mut self, id: &str) -> Batch {
        self.list.retain(|client| client.id != id);
        Batch::new().delete(&TOKENS, &self.owner, id)
    }

    /// Drops what has run out: secrets, and clients that have none and have not been here for long, or whose access
    /// ended with another epoch. Empty if nothing has. To be done behind a login, as it is read then anyway, in a batch of
    /// its own: it fails as a whole if one of them was revoked meanwhile.
    pub fn expire(&mut self, now: i64, epoch: i64, holds: Lifetimes) -> Batch {
        let mut batch = Batch::new();
        for client in &mut self.list {
            let before = client.token.clone();
            client.token = client.token.take().and_then(|held| held.at(now));
            if client.is_over(now, epoch, holds) {
                batch = batch.delete(&TOKENS, &self.owner, &*client.id);
            } else if client.token != before {
                batch = batch.require(&TOKENS, &self.owner, &*client.id).put(
                    &TOKENS,
                    &self.owner,
                    &*client.id,
                    client.row(),
                );
            }
        }
        self.list.retain(|client| !client.is_over(now, epoch, holds));
        batch
    }

    /// Who goes when there are too many: the one that has been away for the longest, first of those without a token.
    fn dispensable(&self) -> Option<String> {
        let rank = |client: &&Client| (client.token.is_some(), client.last_seen);
        self.list.iter().min_by_key(rank).map(|client| client.id.clone())
    }

    /// A batch that fails if the client is not there any more: a late write must not bring it back.
    fn required(&self, id: &str) -> Batch {
        Batch::new().require(&TOKENS, &self.owner, id)
    }

    fn changed(&mut self, id: &str, batch: Batch, change: impl FnOnce(&mut Client)) -> Batch {
        match self.list.iter_mut().find(|client| client.id == id) {
            Some(client) => {
                change(client);
                batch.put(&TOKENS, &self.owner, id, client.row())
            }
            // Nobody asks for one that was not read; if so, nothing is written.
            None => batch,
        }
    }
}

impl Client {
    /// The token as the login wants it.
    pub fn token(&self) -> Option<Token> {
        let held = self.token.as_ref()?;
        Some(Token {
            id: self.id.clone(),
            newest: held.newest.clone(),
            previous: held.previous.clone(),
        })
    }

    /// Whether it has a token that still holds: `<fast/>` of XEP-0494 section 3.1.
    pub fn has_token(&self, now: i64) -> bool {
        let held = self.token.as_ref();
        held.is_some_and(|held| held.clone().at(now).is_some())
    }

    fn seen(&mut self, login: &Login) {
        self.last_seen = self.last_seen.max(login.now);
        if self.epoch != login.epoch {
            // Written by a login that was let in before all were ended: what it brought stays void.
            self.epoch = login.epoch;
            self.token = None;
            self.methods = Methods::default();
        }
        self.methods.password |= login.methods.password;
        self.methods.fast |= login.methods.fast;
        self.methods.grant |= login.methods.grant;
        self.methods.certificate |= login.methods.certificate;
        // What it does not say this time is not taken away.
        let Agent {
            id,
            software,
            device,
            uri,
        } = login.agent.clone();
        let own = &mut self.agent;
        for (own, said) in [
            (&mut own.id, id),
            (&mut own.software, software),
            (&mut own.device, device),
            (&mut own.uri, uri),
        ] {
            *own = said.or(own.take());
        }
    }

    fn is_over(&self, now: i64, epoch: i64, holds: Lifetimes) -> bool {
        let away = now.saturating_sub(self.last_seen) >= holds.client;
        self.epoch != epoch || (self.token.is_none() && away)
    }
}

impl Held {
    /// What of it still holds.
    fn at(self, now: i64) -> Option<Held> {
        let previous = self.previous.filter(|slot| slot.expires > now);
        if self.newest.expires > now {
            return Some(Held { previous, ..self });
        }
        // The one before was issued earlier, so it is over too; unless lifetimes were shortened in between.
        previous.map(|newest| Held {
            newest,
            used: true,
            previous: None,
        })
    }
}

/// The terms of a login by token, for [`auth::Exchange::supply_tokens`]; `agent` as for [`Clients::tokens`].
pub fn attempt(agent: Option<&str>, now: i64, holds: Lifetimes, count: Option<u32>, early: bool) -> Attempt {
    Attempt {
        now,
        rotate_after: holds.rotate,
        named: agent.is_some(),
        count,
        early,
    }
}
