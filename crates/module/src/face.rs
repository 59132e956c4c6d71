//! Several faces of one thing: what is written to one of them is written to the others in the same batch.
//!
//! A picture at a node of an account is the photo of its vCard; a bookmark at one node is in a list at another, and in
//! private XML. Two directions, two ways:
//!
//! - **Something has happened at a node.** Who makes a [`Change`] there says so in [`Change::deeds`] (`pubsub` does for
//!   all nodes). A module that keeps another face declares a [`Face`] for the node ([`Module::face`](crate::Module::face)).
//!   Its function is given the change when it is made and not written, and returns it with what it adds: ops, notices,
//!   an error instead. It may ask the store first ([`Step::Ask`]); then it has to see what the change has written already,
//!   so the answer goes through [`store::Batch::over`].
//! - **Something else was written**, a vCard or private XML: its handler answers with
//!   [`Answer::Changed`](crate::Answer::Changed), and ends with `pubsub::also`, which publishes and retracts in the same
//!   change. What that does at nodes are deeds too.
//!
//! Faces run where changes are made (`router/src/line.rs`), so the next change of the account sees all of it. What a face
//! does is followed by no other face: so two that write to each other come to an end.

use stanza::{Jid, StanzaError};

use crate::{Change, Now, Step};

/// Something that a change does at a node of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Also an item that the node does not keep. The payload is one element that stands on its own, or nothing.
    Published {
        node: Box<str>,
        id: Box<str>,
        payload: Box<str>,
    },
    Retracted {
        node: Box<str>,
        id: Box<str>,
    },
    /// All items are gone, and perhaps the node.
    Emptied {
        node: Box<str>,
    },
    /// Perhaps others may see it now.
    Configured {
        node: Box<str>,
    },
}

impl Deed {
    pub fn node(&self) -> &str {
        match self {
            Deed::Published { node, .. }
            | Deed::Retracted { node, .. }
            | Deed::Emptied { node }
            | Deed::Configured { node } => node,
        }
    }
}

/// When, at whose nodes, and by whom something was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occasion {
    pub now: Now,
    /// A bare JID.
    pub owner: Jid,
    /// Who asked for the change: a client of the account, or another that may publish there.
    pub by: Jid,
}

/// Adds to a change what follows from its deeds: those at the face's nodes, in order, and at least one.
pub type Follow = fn(&Occasion, &[Deed], Change) -> Result<Step, StanzaError>;

/// Another face of what stands at some nodes.
#[derive(Clone, Copy)]
pub struct Face {
    pub nodes: &'static [&'static str],
    pub follow: Follow,
}

/// The change with what its faces add.
pub(crate) fn follow(faces: &[Face], occasion: Occasion, mut change: Change) -> Result<Step, StanzaError> {
    let deeds = std::mem::take(&mut change.deeds);
    let concerned = faces.iter().map(|face| {
        let is_meant = |deed: &&Deed| face.nodes.contains(&deed.node());
        (*face, deeds.iter().filter(is_meant).cloned().collect::<Vec<_>>())
    });
    let concerned: Vec<_> = concerned.filter(|(_, deeds)| !deeds.is_empty()).collect();
    next(concerned.into_iter(), occasion, Step::Done(change))
}

fn next(
    mut faces: std::vec::IntoIter<(Face, Vec<Deed>)>,
    occasion: Occasion,
    mut step: Step,
) -> Result<Step, StanzaError> {
    loop {
        match step {
            Step::Ask(query, make) => {
                let go_on = move |found| next(faces, occasion, make(found)?);
                return Ok(Step::Ask(query, Box::new(go_on)));
            }
            Step::Done(mut change) => {
                change.deeds.clear();
                let Some((face, deeds)) = faces.next() else {
                    return Ok(Step::Done(change));
                };
                step = (face.follow)(&occasion, &deeds, change)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use store::{Found, Query};

    use super::*;
    use crate::{Module, Registry};

    static TABLE: store::Table = store::Table {
        name: "seen",
        shape: store::Shape::KeyVal,
        columns: &[],
    };

    fn told(name: &str, deeds: &[Deed], mut change: Change) -> Change {
        for deed in deeds {
            change.answer += &format!("{name}:{} ", deed.node());
        }
        // Nobody follows this.
        change.deeds.push(Deed::Emptied { node: "a".into() });
        change
    }

    fn at_once(_: &Occasion, deeds: &[Deed], change: Change) -> Result<Step, StanzaError> {
        Ok(Step::Done(told("at-once", deeds, change)))
    }

    fn later(_: &Occasion, deeds: &[Deed], change: Change) -> Result<Step, StanzaError> {
        let deeds = deeds.to_vec();
        let make = move |_: Result<Found, _>| Ok(Step::Done(told("later", &deeds, change)));
        Ok(Step::Ask(Query::get(&TABLE, "juliet@d", None), Box::new(make)))
    }

    #[test]
    fn each_face_is_given_what_happened_at_its_nodes() {
        let face = |nodes, follow: Follow| Face { nodes, follow };
        let module = Module::new("faces")
            .face(face(&["a", "b"], later))
            .face(face(&["b"], at_once))
            .face(face(&["c"], at_once))
            .face(face(&["a"], at_once));
        let registry = Registry::new(vec![module]).expect("one module");
        let jid = |text| Jid::parse(text).expect("a JID");
        let occasion = || Occasion {
            now: Now(0),
            owner: jid("juliet@d"),
            by: jid("juliet@d/balcony"),
        };
        let cases = [
            (&[][..], ""),
            (&["x"], ""),
            (&["c"], "at-once:c "),
            (&["b", "a", "x"], "later:b later:a at-once:b at-once:a "),
        ];
        for (nodes, expected) in cases {
            let deeds = nodes.iter().map(|node| Deed::Emptied { node: (*node).into() });
            let change = Change {
                deeds: deeds.collect(),
                ..Change::default()
            };
            let mut step = registry.follow(occasion(), change);
            let change = loop {
                match step.expect("no error") {
                    Step::Done(change) => break change,
                    Step::Ask(_, make) => step = make(Ok(Found::Row(None))),
                }
            };
            assert_eq!((&*change.answer, change.deeds.len()), (expected, 0));
        }
    }
}
