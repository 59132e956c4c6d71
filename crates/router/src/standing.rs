//! Texts that are given to accounts when they come online, to each once (XEP-0133 sections 4.24 to 4.28), and
//! announcements to who is there.
//!
//! That an account was given a text is written before the text goes: so nobody gets it twice, and who was away when the
//! server died in that moment misses it. From then on it is a message like others, of the archive and to every device.
//! While no text stands, who comes online costs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use accounts::ACCOUNTS;
use module::Standing;
use stanza::Jid;
use store::{Batch, Column, Found, Query, Shape, StoreError, Table, Value, row};

use crate::account::Account;
use crate::sessions::escaped;
use crate::{Router, Turn};

/// By domain and kind.
pub(crate) static STANDING: Table = Table {
    name: "standing_texts",
    shape: Shape::Map,
    columns: &[
        // Milliseconds since 1970: when it was set afresh, which tells it from those before.
        Column::int("since"),
        Column::text("text"),
    ],
};

/// By account and kind: which of them it was given.
pub(crate) static GIVEN: Table = Table {
    name: "standing_texts_given",
    shape: Shape::Map,
    columns: &[Column::int("since")],
};

/// Accounts that an announcement reaches before the next is waited for: as many messages go through the store at once.
const AT_ONCE: usize = 128;

const BOTH: [Standing; 2] = [Standing::Motd, Standing::Welcome];

fn key(standing: Standing) -> &'static str {
    match standing {
        Standing::Motd => "motd",
        Standing::Welcome => "welcome",
    }
}

#[derive(Default)]
pub(crate) struct Standings(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    texts: BTreeMap<(Box<str>, Standing), Text>,
    /// Accounts that are being given one.
    giving: BTreeSet<(Box<str>, Standing)>,
}

#[derive(Clone)]
struct Text {
    since: i64,
    text: Arc<str>,
}

impl Standings {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, domain: &str, standing: Standing) -> Option<Text> {
        let inner = self.lock();
        if inner.texts.is_empty() {
            return None;
        }
        inner.texts.get(&(domain.into(), standing)).cloned()
    }
}

impl Router {
    /// Reads what stands. Blocking: at the start, before anybody is let in.
    pub fn read_standing(&self) -> Result<(), StoreError> {
        for domain in self.hosts.keys() {
            for standing in BOTH {
                let query = Query::get(&STANDING, domain, key(standing));
                let row = self.store.read_wait(query)?.row()?;
                let text = row.as_deref().and_then(|row| match row {
                    [Value::Int(since), Value::Text(text)] => Some(Text {
                        since: *since,
                        text: (**text).into(),
                    }),
                    _ => None,
                });
                if let Some(text) = text {
                    let name = (domain.as_str().into(), standing);
                    self.standings.lock().texts.insert(name, text);
                }
            }
        }
        Ok(())
    }

    /// What stands.
    pub fn standing(&self, domain: &str, standing: Standing) -> Option<String> {
        self.standings.get(domain, standing).map(|text| text.text.to_string())
    }

    /// Sets it, or takes it away; on disk first. Blocking. `afresh`: who was given the one before is given this one.
    pub fn set_standing(
        &self,
        domain: &str,
        standing: Standing,
        text: Option<&str>,
        afresh: bool,
    ) -> Result<(), StoreError> {
        let name = (Box::from(domain), standing);
        let Some(text) = text else {
            let batch = Batch::new().delete(&STANDING, domain, key(standing));
            self.store.write_wait(batch)?;
            self.standings.lock().texts.remove(&name);
            return Ok(());
        };
        let before = self.standings.get(domain, standing);
        let now = (self.clock)().0;
        let since = match before {
            Some(before) if !afresh => before.since,
            // The clock may have been put back.
            Some(before) => now.max(before.since + 1),
            None => now,
        };
        let batch = Batch::new().put(&STANDING, domain, key(standing), row![since, text]);
        self.store.write_wait(batch)?;
        let text = Text {
            since,
            text: text.into(),
        };
        self.standings.lock().texts.insert(name, text);
        if standing == Standing::Motd {
            let (done, all_done) = channel();
            self.to_everyone_online(domain, |router, account, _| {
                router.give(account, Standing::Motd, Some(done.clone()));
            });
            drop(done);
            // Until the last of them has let go of its end.
            all_done.iter().for_each(drop);
        }
        Ok(())
    }

    /// A message from the domain to every account of it that has a session. Returns how many there are. Blocking.
    pub fn tell_everyone(&self, domain: &str, text: &str) -> u64 {
        self.to_everyone_online(domain, |_, account, turn| {
            turn.letter(message(domain, account.as_str(), text))
        })
    }

    fn to_everyone_online(&self, domain: &str, mut act: impl FnMut(&Router, &Jid, &mut Turn)) -> u64 {
        let (accounts, count) = self.online(domain, None, usize::MAX);
        for some in accounts.chunks(AT_ONCE) {
            let mut turn = Turn::default();
            for account in some {
                act(self, account, &mut turn);
            }
            self.settle((self.clock)(), &mut turn);
            turn.finish();
            // No more at once than the store has room for.
            let _ = self.store.write_wait(Batch::new());
        }
        count
    }

    /// A session of the account has become available.
    pub(crate) fn give_standing(&self, account: &Account) {
        if account.is_guest() {
            return;
        }
        for standing in BOTH {
            self.give(&account.jid, standing, None);
        }
    }

    /// `done` is dropped when it was given, or is not to be.
    fn give(&self, account: &Jid, standing: Standing, done: Option<Sender<()>>) {
        let Some(text) = self.standings.get(account.domain(), standing) else {
            return;
        };
        // Of several sessions that come at once the first asks.
        let name = (Box::from(account.as_str()), standing);
        if !self.standings.lock().giving.insert(name.clone()) {
            return;
        }
        let query = Query::Many(vec![
            Query::get(&GIVEN, account.as_str(), key(standing)),
            Query::get(&ACCOUNTS, account.as_str(), None),
        ]);
        self.when_read(account.as_str(), query, move |router, owner, found| {
            let is_due = found
                .and_then(Found::many)
                .is_ok_and(|found| is_due(found, &text, standing));
            if !is_due {
                router.standings.lock().giving.remove(&name);
                return;
            }
            let batch =
                Batch::new()
                    .require(&ACCOUNTS, owner, None)
                    .put(&GIVEN, owner, key(standing), row![text.since]);
            let me = router.me.clone();
            let written: store::Written = Box::new(move |result| {
                let _done = done;
                let Some(router) = me.upgrade() else { return };
                router.standings.lock().giving.remove(&name);
                if result.is_ok()
                    && let Ok(account) = Jid::parse(&name.0)
                {
                    let mut turn = Turn::default();
                    turn.letter(message(account.domain(), account.as_str(), &text.text));
                    router.settle((router.clock)(), &mut turn);
                    turn.finish();
                }
            });
            router.store.write(batch, written);
        });
    }
}

/// Whether the account was not given it yet, and is to be.
fn is_due(found: Vec<Found>, text: &Text, standing: Standing) -> bool {
    let mut rows = found.into_iter().map(|found| found.row().ok().flatten());
    let (Some(given), Some(Some(record))) = (rows.next(), rows.next()) else {
        return false;
    };
    let number = |row: &store::Row| row.first().and_then(Value::as_int);
    let is_given = given.as_ref().and_then(number) == Some(text.since);
    // A record tells the second in which it was made.
    let is_new = number(&record).is_some_and(|created| created >= text.since.div_euclid(1_000));
    !is_given && (standing == Standing::Motd || is_new)
}

fn message(domain: &str, to: &str, text: &str) -> String {
    let (from, to, text) = (escaped(domain), escaped(to), escaped(text));
    format!("<message from='{from}' to='{to}'><body>{text}</body></message>")
}
