//! XEP-0050 Ad-Hoc Commands 1.3.0 of a room: one form at most, which is carried out when it comes back.
//!
//! Nothing is kept between the two, so any session id is as good as another: what is filled in says all that is needed, and
//! who may do it is looked at again. Clients that know what to fill in send it at once.

use std::sync::Arc;

use module::command::{bad_action, bad_payload, malformed_action};
use module::{COMMANDS, DataForm, Submitted};
use stanza::{Jid, JidRef, Stanza, StanzaError, ns};
use store::Batch;
use xmlstream::Child;

use crate::extension::{EXTENSIONS, Extension, Request};
use crate::room::{Context, Decided, Room};
use crate::say::{Say, attribute, result};

pub(crate) const EXTENSION: Extension = Extension {
    features: |_| &[COMMANDS],
    requests: &[Request::set("command", COMMANDS, Room::command)],
    ..Extension::NONE
};

/// Characters of a session id that are said again; of a longer one as many.
const SESSION_CHARACTERS: usize = 64;

/// A command of a room.
#[derive(Clone, Copy)]
pub(crate) struct Command {
    pub(crate) node: &'static str,
    pub(crate) name: &'static str,
    /// Who does not see it and is told `forbidden`: everybody else.
    pub(crate) may: fn(&Room, &Context<'_>, &Jid) -> bool,
    /// None: it has just begun.
    pub(crate) run: fn(&mut Room, &mut Context<'_>, Option<&Submitted>) -> Result<Stage, StanzaError>,
}

/// What comes of a command.
pub(crate) enum Stage {
    /// This is to be filled in.
    Form(DataForm),
    Done(Done),
}

/// A command that is done: what it tells, what is written, and what others are told.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) form: Option<DataForm>,
    pub(crate) batch: Batch,
    pub(crate) say: Vec<Say>,
}

fn all() -> impl Iterator<Item = &'static Command> {
    EXTENSIONS.iter().flat_map(|extension| extension.commands)
}

impl Room {
    /// `<item/>`s of disco#items, for the node of all commands (section 2.2): those that this entity may use.
    pub(crate) fn command_items(&self, context: &Context<'_>, from: &Jid, out: &mut String) {
        for command in all().filter(|command| (command.may)(self, context, from)) {
            out.push_str("<item");
            attribute(out, "jid", Some(self.jid.bare_str()));
            attribute(out, "node", Some(command.node));
            attribute(out, "name", Some(command.name));
            out.push_str("/>");
        }
    }

    /// disco#info of that node, or of a command. None: it is another node.
    pub(crate) fn command_info(&self, node: &str) -> Option<String> {
        let (kind, name, features) = match node {
            COMMANDS => ("command-list", "Commands", [ns::DISCO_INFO, ns::DISCO_ITEMS]),
            node => {
                let command = all().find(|command| command.node == node)?;
                ("command-node", command.name, [COMMANDS, ns::DATA_FORMS])
            }
        };
        let features = features.map(|var| format!("<feature var='{var}'/>")).concat();
        let mut out = String::from("<identity category='automation'");
        attribute(&mut out, "type", Some(kind));
        attribute(&mut out, "name", Some(name));
        Some(out + "/>" + &features)
    }

    fn command(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        payload: &Child<'_>,
    ) -> Decided {
        match self.carried_out(context, from, payload) {
            Err(error) => self.refuse(stanza, from, to, &error),
            Ok((status, command, stage)) => {
                let session = match payload.attr("sessionid") {
                    Some(id) => id.chars().take(SESSION_CHARACTERS).collect(),
                    None => format!("{:x}", context.now.0),
                };
                let mut out = format!("<command xmlns='{COMMANDS}'");
                attribute(&mut out, "node", Some(command.node));
                attribute(&mut out, "sessionid", Some(&session));
                attribute(&mut out, "status", Some(status));
                out.push('>');
                let done = match stage {
                    Stage::Form(form) => {
                        out.push_str("<actions execute='complete'><complete/></actions>");
                        out.push_str(&form.text());
                        Done::default()
                    }
                    Stage::Done(done) => done,
                };
                out.push_str(&done.form.map(|form| form.text()).unwrap_or_default());
                out.push_str("</command>");
                let mut say = vec![result(stanza, from, to.as_str(), &out)];
                say.extend(done.say);
                self.decided(done.batch, say)
            }
        }
    }

    fn carried_out(
        &mut self,
        context: &mut Context<'_>,
        from: &Jid,
        payload: &Child<'_>,
    ) -> Result<(&'static str, &'static Command, Stage), StanzaError> {
        let node = payload.attr("node").ok_or_else(StanzaError::bad_request)?;
        let command = all().find(|command| command.node == node);
        let command = command.ok_or_else(StanzaError::item_not_found)?;
        if !(command.may)(self, context, from) {
            return Err(StanzaError::forbidden());
        }
        // Nothing of it is in the store.
        if self.is_locked {
            return Err(StanzaError::not_allowed().text("the room is not configured yet"));
        }
        match payload.attr("action").as_deref() {
            None | Some("execute" | "complete" | "next") => {}
            Some("cancel") => return Ok(("canceled", command, Stage::Done(Done::default()))),
            // There is no form before the one.
            Some("prev") => return Err(bad_action()),
            Some(_) => return Err(malformed_action()),
        }
        // "Responders SHOULD consider any <x type='cancel'/> to be <x type='submit'/>" (section 3.5.1).
        let form = payload.child("x", ns::DATA_FORMS);
        let submitted = match form.as_ref().map(|form| form.attr("type")) {
            None => None,
            Some(Some(kind)) if matches!(&*kind, "submit" | "cancel") => form.as_ref().map(Submitted::read),
            Some(_) => return Err(bad_payload("a form of type submit is wanted")),
        };
        let stage = (command.run)(self, context, submitted.as_ref())?;
        let status = match stage {
            Stage::Form(_) => "executing",
            Stage::Done(_) => "completed",
        };
        Ok((status, command, stage))
    }
}
