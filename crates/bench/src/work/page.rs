//! Pages of an archive (XEP-0313), at the end and somewhere in it, with everybody and with one contact.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{CALM_LIMIT, Result, body, calibrated};
use crate::Outcome;
use crate::client::{Access, Client, close_all, jid, joined, login_all};
use crate::measure::{Spent, Window, calm};
use crate::scan::{attribute, text_of};
use crate::target::{History, random};

/// Clients that read at the same time, each its own archive, one page after the other.
pub(super) const READERS: usize = 8;
/// Messages of a page.
const PAGE: u64 = 50;
/// The archives that are filled over the wire, as no other server can be given a history: few enough messages.
pub(super) const FEW: History = History {
    messages: READERS * FEW_EACH,
    owners: READERS,
    contacts: 2,
};
/// Messages of each of those archives.
const FEW_EACH: usize = 1_000;
/// Bytes of their bodies.
const BODY: usize = 64;
/// Pages of each reader that calibrate.
const PROBE: usize = 20;
/// The most pages of each reader in one run.
const MOST: usize = 100_000;
/// A run of one kind of page lasts a third of what others do: there are six.
const SHARE: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Last,
    Before,
    After,
}

struct Reader {
    client: Client,
    contacts: Vec<String>,
    /// Of every fiftieth message.
    ids: Vec<String>,
    seed: u64,
    /// Messages that came.
    messages: u64,
}

impl Reader {
    async fn new(client: Client, contacts: impl Iterator<Item = usize>, seed: usize) -> Outcome<Self> {
        let mut reader = Self {
            client,
            contacts: contacts.map(jid).collect(),
            ids: Vec::new(),
            seed: seed as u64,
            messages: 0,
        };
        reader.walk().await?;
        Ok(reader)
    }

    /// From the first page to the last.
    async fn walk(&mut self) -> Outcome<()> {
        loop {
            let after = self.ids.last().map(|id| format!("<after>{id}</after>"));
            let came = self.client.hear(&query("", &after.unwrap_or_default())).await?;
            let end = came.rfind("<fin").map(|at| &came[at..]);
            let end = end.ok_or_else(|| format!("no page of the archive: {came}"))?;
            let last = text_of(end, "last").unwrap_or_default();
            if attribute(end, "complete") == Some("true") || last.is_empty() {
                break;
            }
            self.ids.push(last.to_owned());
        }
        match self.ids.len() {
            0..4 => Err(format!("an archive of only {} pages", self.ids.len())),
            _ => Ok(()),
        }
    }

    async fn pages(&mut self, count: usize, place: Place, with: bool) -> Outcome<()> {
        for _ in 0..count {
            // From this range on there are fifty before and behind.
            let id = &self.ids[1 + random(&mut self.seed, self.ids.len() - 2)];
            let set = match place {
                Place::Last => "<before/>".to_owned(),
                Place::Before => format!("<before>{id}</before>"),
                Place::After => {
                    // Not the last: behind it the page may be short.
                    let id = &self.ids[random(&mut self.seed, self.ids.len() - 1)];
                    format!("<after>{id}</after>")
                }
            };
            let mut fields = String::new();
            if with {
                let contact = &self.contacts[random(&mut self.seed, self.contacts.len())];
                // Writing into a String cannot fail.
                let _ = write!(
                    fields,
                    "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2\
                     </value></field><field var='with'><value>{contact}</value></field></x>"
                );
            }
            let (iqs, messages) = (self.client.scanner.iqs, self.client.scanner.messages);
            self.client.send(query(&fields, &set).as_bytes()).await?;
            self.client.until(|scanner| scanner.iqs > iqs).await?;
            let came = self.client.scanner.messages - messages;
            if came > PAGE || (!with && came != PAGE) {
                return Err(format!("a page of {came} messages, {place:?}"));
            }
            self.messages += came;
        }
        Ok(())
    }
}

fn query(fields: &str, set: &str) -> String {
    format!(
        "<iq type='set' id='page'><query xmlns='urn:xmpp:mam:2'>{fields}<set xmlns='http://jabber.org/protocol/rsm'>\
         <max>{PAGE}</max>{set}</set></query></iq>"
    )
}

/// Archives that everybody can be given, over the wire.
pub(super) async fn few(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    let (mut owners, _) = login_all(access, 0..FEW.owners, true).await?;
    let (mut others, _) = login_all(access, FEW.owners..FEW.accounts(), true).await?;
    let (body, mut text) = (body(BODY), String::new());
    for first in (0..FEW_EACH).step_by(PAGE as usize) {
        for owner in &mut owners {
            text.clear();
            for id in first..FEW_EACH.min(first + PAGE as usize) {
                super::message::message(&mut text, &jid(FEW.owners + id % others.len()), id, &body);
            }
            owner.send(text.as_bytes()).await?;
            owner.ping().await?;
            for other in &mut others {
                other.drain().await?;
            }
        }
    }
    calm(pid, CALM_LIMIT).await;
    for client in &mut owners {
        client.drain().await?;
    }
    let mut readers = Vec::with_capacity(owners.len());
    for (number, client) in owners.into_iter().enumerate() {
        readers.push(Reader::new(client, FEW.owners..FEW.accounts(), number).await?);
    }
    let result = measure(readers, pid, ("page.few", "page.few.with")).await;
    close_all(others).await;
    result
}

/// Archives that the server has from the beginning.
pub(super) async fn of(
    access: &Arc<Access>,
    pid: u32,
    history: &History,
    keys: (&'static str, &'static str),
) -> Outcome<Result> {
    let mut readers = Vec::new();
    for reader in 0..READERS.min(history.owners) {
        let number = reader * history.owners / READERS;
        let client = Client::login(access, number, true).await?;
        readers.push(Reader::new(client, history.contacts_of(number), number).await?);
    }
    measure(readers, pid, keys).await
}

async fn measure(mut readers: Vec<Reader>, pid: u32, keys: (&'static str, &'static str)) -> Outcome<Result> {
    let mut result = Result::default();
    let pages: usize = readers.iter().map(|reader| reader.ids.len()).sum();
    result.notes.push(format!("{} readers, {pages} pages", readers.len()));
    for (with, key) in [(false, keys.0), (true, keys.1)] {
        let mut dearest: f64 = 0.0;
        for place in [Place::Last, Place::Before, Place::After] {
            (readers, _) = pages_all(readers, pid, PROBE, place, with).await?;
            let probe;
            (readers, probe) = pages_all(readers, pid, PROBE, place, with).await?;
            let count = (calibrated(PROBE, probe.wall, MOST) / SHARE).max(PROBE);
            calm(pid, CALM_LIMIT).await;
            for reader in &mut readers {
                reader.messages = 0;
            }
            let spent;
            (readers, spent) = pages_all(readers, pid, count, place, with).await?;
            result.noise(spent);
            let total = count * readers.len();
            let cost = spent.server * 1000.0 / total as f64;
            dearest = dearest.max(cost);
            let messages: u64 = readers.iter().map(|reader| reader.messages).sum();
            result.notes.push(format!(
                "{place:?}{} {cost:.3} ms of {:.1} messages, {:.0}/s",
                if with { " with" } else { "" },
                messages as f64 / total as f64,
                total as f64 / spent.wall
            ));
        }
        result.figure(key, dearest);
    }
    close_all(readers.into_iter().map(|reader| reader.client).collect()).await;
    Ok(result)
}

async fn pages_all(
    readers: Vec<Reader>,
    pid: u32,
    count: usize,
    place: Place,
    with: bool,
) -> Outcome<(Vec<Reader>, Spent)> {
    let window = Window::open(pid);
    let tasks: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            tokio::spawn(async move {
                reader.pages(count, place, with).await?;
                Ok::<_, String>(reader)
            })
        })
        .collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(joined(task.await)?);
    }
    Ok((done, window.close()))
}
