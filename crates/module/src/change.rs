//! A change that the store has to be asked about first, and who is told of it.

use stanza::{Rendered, StanzaError};
use store::{Batch, Found, Query, StoreError};

use crate::{Deed, Photo};

use crate::Shows;

/// Goes on with what the store has answered.
pub type MakeChange = Box<dyn FnOnce(Result<Found, StoreError>) -> Result<Step, StanzaError> + Send>;

/// What follows from an answer of the store.
pub enum Step {
    /// Something more has to be known. No change of the same owner came in between.
    Ask(Query, MakeChange),
    Done(Change),
}

/// A change of what an account has in the store alone: nothing of it stands in the owner's memory, but for `photo`.
#[derive(Default)]
pub struct Change {
    /// Says itself what has to be there still ([`Batch::require`]), where something else writes it. Nothing is written
    /// where it is empty.
    pub batch: Batch,
    /// Payload of the result.
    pub answer: String,
    /// The answer is this error, and no result: a part of what was asked for could not be done, and the batch is the rest.
    pub refused: Option<StanzaError>,
    /// The client of the account whose sessions end behind the result (XEP-0494).
    pub revoked: Option<Box<str>>,
    /// What others are told behind the result.
    pub notices: Vec<Notice>,
    /// What is done at nodes, for who shows the same elsewhere ([`Face`](crate::Face)).
    pub deeds: Vec<Deed>,
    /// What the account's presence tells of its picture from the commit on, where that has changed.
    pub photo: Option<Photo>,
}

/// Something that has happened at a node of an account (XEP-0163 section 4), or of a service. Sent from its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub node: Box<str>,
    /// A `<message/>` without addresses.
    pub message: Rendered,
    /// What those get who want it by their capabilities, where it is more than the others may know.
    pub to_contacts: Option<Rendered>,
    /// Who may see it. Of these, sessions get it whose capabilities say that they want it (section 4.2): of the account
    /// itself and of its contacts.
    pub audience: Audience,
    /// Bare JIDs that are not among these.
    pub except: Vec<Box<str>>,
    /// Addresses that have asked for it themselves: they get it without capabilities, if they may see it.
    pub subscribers: Vec<Box<str>>,
    /// In which states of presence some of the subscribers want it; others in all.
    pub shows: Vec<(Box<str>, Shows)>,
    /// To the subscribers by the rules for messages: it waits for who is away, where its type says so. Else it is for
    /// those who are there.
    pub waits: bool,
}

/// Who may see what happens at a node (XEP-0060 section 4.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Only the subscribers that the notice names, whoever they are.
    Named,
    Anyone,
    /// Who may see the account's presence.
    Contacts,
    /// Who is in one of these groups of the roster besides.
    Groups(Vec<Box<str>>),
    /// These bare JIDs.
    Listed(Vec<Box<str>>),
}
