//! What goes to an address that is not of this server, to another server or to a component, on the side of who sends it: his
//! archive, his other devices (XEP-0280 section 8), and how far his stream has come.

use std::sync::Arc;

use archive::Keeping;
use module::Now;
use stanza::{Edits, Jid, JidRef, Kind, Stanza, splice};
use store::{Batch, Deposit, Deposited, Places, StoreError, Wrote};

use crate::deposit::{Behind, Copied, Origin, Source};
use crate::durable::{End, mark};
use crate::outbox::Receipt;
use crate::turn::Work;
use crate::{Router, Turn};

/// One stanza, until it has gone out.
pub(crate) struct Sending {
    pub(crate) text: Arc<str>,
    pub(crate) from: Jid,
    pub(crate) to: Jid,
    retraction: Option<(String, String)>,
    copied: Option<Copied>,
    behind: Option<Behind>,
    receipt: Option<Receipt>,
}

impl Sending {
    /// Last, behind all else that the batch has.
    pub(crate) fn mark(&self, batch: &mut Batch) {
        mark(self.receipt.as_ref(), batch);
    }

    /// The batch is on disk.
    pub(crate) fn kept(&mut self, router: &Router, now: Now, deposited: Option<Deposited>, turn: &mut Turn) {
        if let Some(mut copied) = self.copied.take() {
            copied.id = deposited.map(|deposited| deposited.id);
            router.copy_to_sender(&copied, turn);
        }
        if let Some((retraction, deposited)) = self.retraction.as_ref().zip(deposited) {
            let (sender, with) = (self.from.bare_str(), self.to.bare_str());
            router.retract_in(now, sender, with, sender, retraction, deposited.id);
        }
    }

    pub(crate) fn end_of(&mut self, result: &Result<Wrote, StoreError>) -> End {
        End::of(self.receipt.take(), result)
    }

    /// Behind what has gone out.
    pub(crate) fn finish(self, router: &Router, end: End) {
        drop(self.behind);
        router.ends(end);
    }
}

impl Router {
    /// What is to be written for a stanza before it goes to another server or to a component.
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    pub(crate) fn sends(
        &self,
        now: Now,
        keeping: Keeping,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> (Sending, Batch) {
        let taken = turn.origin.take();
        let origin = taken.as_ref();
        let text = turn.text(|out| splice(stanza, from.as_str(), Some(to.as_str()), &Edits::default(), out));
        let archives = self.archives_sent(keeping, origin, from);
        let mut batch = Batch::new();
        if archives {
            batch = batch.deposit(Deposit {
                at: now.0,
                sender: from.bare_str().into(),
                recipient: to.bare_str().into(),
                places: Places::SENT,
                fingerprint: origin
                    .and_then(|origin| origin.fingerprint(&self.secret, from.bare_str(), to.as_str(), stanza)),
                stanza: Arc::clone(&text),
            });
        }
        let copies = self.is_of_account(origin, from) && keeping.carbons && Source::of(origin).copies();
        let (behind, receipt) = match taken {
            Some(origin) => (Some(Behind::of(origin.outbox, text.len())), origin.receipt),
            None => (None, None),
        };
        let sending = Sending {
            retraction: archives.then(|| archive::retraction(stanza)).flatten(),
            copied: copies.then(|| Copied::of(&text, from)),
            behind,
            receipt,
            from: from.to_owned(),
            to: to.to_owned(),
            text,
        };
        (sending, batch)
    }

    /// What a service says on behalf of somebody is in no archive of the address that it has. What a component says in the
    /// name of an account is (XEP-0356).
    fn is_of_account(&self, origin: Option<&Origin>, from: JidRef<'_>) -> bool {
        origin.is_some() && self.host(from.domain()).is_some()
    }

    /// Whether something goes into its sender's archive that goes to an address not of this server.
    pub(crate) fn archives_sent(&self, keeping: Keeping, origin: Option<&Origin>, from: JidRef<'_>) -> bool {
        self.is_of_account(origin, from)
            && keeping.archive
            && self.archives
            && origin.is_some_and(|origin| origin.archives)
    }

    /// What is not kept has its copies at once (XEP-0280 section 8).
    pub(crate) fn copy_unkept(&self, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        let Kind::Message(kind) = stanza.kind() else {
            return;
        };
        if !Source::of(turn.origin.as_ref()).copies() || !archive::keeping(kind, stanza).carbons {
            return;
        }
        let text = turn.text(|out| splice(stanza, from.as_str(), Some(to.as_str()), &Edits::default(), out));
        turn.queue.push_back(Work::Copies(Copied::of(&text, from)));
    }
}
