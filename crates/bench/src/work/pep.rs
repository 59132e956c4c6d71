//! Notifications of personal eventing (XEP-0163): one account publishes, a thousand contacts hear of it, because the
//! capabilities in their presence say that they want to.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha1::{Digest as _, Sha1};

use super::{CALM_LIMIT, Result, calibrated, micros_each};
use crate::Outcome;
use crate::client::{Access, Client, DOMAIN, close_all, jid, joined, login_all};
use crate::measure::{Spent, Window, calm};

pub(super) const SUBSCRIBERS: usize = 1_000;
/// Items that are published in one go when the publisher is busy.
const BURST: usize = 16;
/// Rounds that calibrate.
const PROBE: usize = 3;
/// The most rounds in one run.
const MOST: usize = 2_000;
const NODE: &str = "http://jabber.org/protocol/tune";
/// What a subscriber says of itself, and what its hash is made of (XEP-0115 section 5.1).
const INFO: &str = "<identity category='client' type='bot' name='bench'/>\
    <feature var='http://jabber.org/protocol/tune+notify'/>";
const HASHED: &str = "client/bot//bench<http://jabber.org/protocol/tune+notify<";

/// A publisher and who hears of it.
struct Crowd {
    publisher: Client,
    subscribers: Vec<Client>,
    /// Items that were published so far.
    published: u64,
}

pub(super) async fn run(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    let mut result = Result::default();
    let mut crowd = gathered(access, pid).await?;
    for (key, burst) in [("pep.single", 1), ("pep.cpu", BURST)] {
        let probe = crowd.rounds(pid, PROBE, burst).await?;
        let count = calibrated(PROBE, probe.wall, MOST);
        calm(pid, CALM_LIMIT).await;
        let spent = crowd.rounds(pid, count, burst).await?;
        let total = count * burst * SUBSCRIBERS;
        result.noise(spent);
        result.figure(key, micros_each(spent.server, total));
        result.notes.push(format!(
            "{total} notifications of {burst} items at a time in {:.1} s; the generator {:.2} µs each",
            spent.wall,
            micros_each(spent.generator, total)
        ));
    }
    close_all(crowd.subscribers).await;
    crowd.publisher.close().await;
    Ok(result)
}

/// Everybody is a contact of the publisher, has said what it wants to hear of, and has heard of one item.
async fn gathered(access: &Arc<Access>, pid: u32) -> Outcome<Crowd> {
    let mut publisher = Client::login(access, 0, true).await?;
    // RFC 6121 section 3.4: whoever asks has been approved already.
    for number in 1..=SUBSCRIBERS {
        let approve = format!("<presence to='{}' type='subscribed'/>", jid(number));
        publisher.send(approve.as_bytes()).await?;
    }
    publisher.ping().await?;
    let ver = BASE64_STANDARD.encode(Sha1::digest(HASHED));
    let presence = format!(
        "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:bench' ver='{ver}'/></presence>"
    );
    // The first is asked what the hash means; of all others it is known then.
    let mut first = Client::login(access, 1, false).await?;
    let question = first.hear(&presence).await?;
    let id = question.split(" id='").nth(1).and_then(|rest| rest.split('\'').next());
    let id = id.filter(|_| question.contains("disco#info")).ok_or(question.clone())?;
    let node = format!("urn:bench#{ver}");
    let mut answer = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        answer,
        "<iq type='result' id='{id}' to='{DOMAIN}'><query xmlns='http://jabber.org/protocol/disco#info' \
         node='{node}'>{INFO}</query></iq>"
    );
    first.send(answer.as_bytes()).await?;
    first.ping().await?;
    let (mut subscribers, _) = login_all(access, 2..SUBSCRIBERS + 1, false).await?;
    subscribers.push(first);
    let subscribe = format!("{presence}<presence to='{}' type='subscribe'/>", jid(0));
    for client in &mut subscribers {
        client.send(subscribe.as_bytes()).await?;
    }
    calm(pid, CALM_LIMIT).await;
    publisher.drain().await?;
    for client in &mut subscribers {
        client.drain().await?;
    }
    let mut crowd = Crowd {
        publisher,
        subscribers,
        published: 0,
    };
    crowd.publish(1).await?;
    calm(pid, CALM_LIMIT).await;
    for client in &mut crowd.subscribers {
        client.drain().await?;
        if client.scanner.messages != 1 {
            return Err(format!("{} notifications of one item", client.scanner.messages));
        }
    }
    Ok(crowd)
}

impl Crowd {
    async fn publish(&mut self, items: usize) -> Outcome<()> {
        let mut text = String::new();
        for _ in 0..items {
            self.published += 1;
            let number = self.published;
            // Writing into a String cannot fail.
            let _ = write!(
                text,
                "<iq type='set' id='p{number}'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{NODE}'>\
                 <item id='current'><tune xmlns='{NODE}'><artist>Yes</artist><length>686</length><rating>8</rating>\
                 <source>Yessongs</source><title>Heart of the Sunrise, take {number}</title><track>3</track></tune>\
                 </item></publish></pubsub></iq>"
            );
        }
        self.publisher.send(text.as_bytes()).await
    }

    /// So often items are published, and everybody hears of them before the next.
    async fn rounds(&mut self, pid: u32, count: usize, burst: usize) -> Outcome<Spent> {
        let window = Window::open(pid);
        for _ in 0..count {
            self.publish(burst).await?;
            let wanted = self.published;
            let tasks: Vec<_> = std::mem::take(&mut self.subscribers)
                .into_iter()
                .map(|mut client| {
                    tokio::spawn(async move {
                        client.until(|scanner| scanner.messages >= wanted).await?;
                        Ok::<_, String>(client)
                    })
                })
                .collect();
            for task in tasks {
                self.subscribers.push(joined(task.await)?);
            }
            self.publisher.drain().await?;
        }
        let spent = window.close();
        for client in &mut self.subscribers {
            client.drain().await?;
            if client.scanner.messages != self.published {
                return Err(format!(
                    "{} notifications came of {} items",
                    client.scanner.messages, self.published
                ));
            }
        }
        Ok(spent)
    }
}
