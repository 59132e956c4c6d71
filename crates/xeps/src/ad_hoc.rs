//! XEP-0050 Ad-Hoc Commands 1.3.0: how the commands that modules declare are found and carried out.
//!
//! A command is addressed to the server. Who may use it was checked by the dispatcher, before it comes here. What a
//! command keeps between its forms is in [`CommandSessions`](module::command::CommandSessions); one that is being carried
//! out is not there meanwhile, so it cannot be carried out twice.

use std::sync::Arc;

use module::command::{self, CommandSessions, Done, Stage, Step, Ticket};
use module::{Answer, Ask, COMMANDS, Change, Command, Coverage, Method, Module, Now, Said, Submitted, Target, Texts};
use stanza::{StanzaError, ns};

pub(crate) fn module() -> Module {
    Module::new("ad-hoc")
        .xep(50, "Ad-Hoc Commands", "1.3.0", Coverage::Complete)
        .server_feature(COMMANDS)
        .server_iq(Method::Set, "command", COMMANDS, execute)
}

/// Nodes of a namespace whose specification wants another error for a command that is not there (XEP-0133 section 5).
const ADMIN: &str = "http://jabber.org/protocol/admin#";

/// What is to be done with the command (section 4.1).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    Execute,
    Next,
    Prev,
    Complete,
    Cancel,
}

fn action(ask: &Ask<'_>) -> Result<Action, StanzaError> {
    Ok(match ask.payload.attr("action").as_deref() {
        None | Some("execute") => Action::Execute,
        Some("next") => Action::Next,
        Some("prev") => Action::Prev,
        Some("complete") => Action::Complete,
        Some("cancel") => Action::Cancel,
        Some(_) => return Err(command::malformed_action()),
    })
}

fn execute(ask: &mut Ask<'_>) -> Answer {
    match executed(ask) {
        Ok(answer) => answer,
        Err(error) => Answer::Error(error),
    }
}

fn executed(ask: &Ask<'_>) -> Result<Answer, StanzaError> {
    // "This attribute MUST be present" (section 4.1).
    let node = ask.payload.attr("node").ok_or_else(StanzaError::bad_request)?;
    let found = ask.registry.command(&node).filter(|command| command.is_offered(ask));
    let command = found.ok_or_else(|| match node.starts_with(ADMIN) {
        true => StanzaError::feature_not_implemented(),
        false => StanzaError::item_not_found(),
    })?;
    let action = action(ask)?;
    // There are texts in one language. Whoever wants another one takes this, rather than nothing.
    if ask.payload.attr("xml:lang").is_some_and(|tag| !is_language(&tag)) {
        return Err(command::bad_locale());
    }
    let sessions = ask.registry.sessions();
    let Some(id) = ask.payload.attr("sessionid") else {
        if action != Action::Execute {
            return Err(command::bad_action());
        }
        let ticket = sessions.begin(ask.now, ask.from.to_owned(), command.node());
        return Ok(run(ask, command, ticket));
    };
    let mut ticket = sessions.take(ask.now, ask.from.as_str(), &node, &id)?;
    match go_on(ask, action, &mut ticket) {
        Ok(true) => Ok(run(ask, command, ticket)),
        Ok(false) => Ok(Answer::Result(opened(command, &ticket.id, "canceled") + "/>")),
        Err(error) => {
            // It can be tried again.
            sessions.put(ask.now, ticket)?;
            Err(error)
        }
    }
}

/// Takes what was filled in, or what was before away. False: it is to be canceled.
fn go_on(ask: &Ask<'_>, action: Action, ticket: &mut Ticket) -> Result<bool, StanzaError> {
    let session = &mut ticket.session;
    match action {
        Action::Cancel => return Ok(false),
        Action::Prev => return session.forms.pop().map(|_| true).ok_or_else(command::bad_action),
        Action::Next if session.is_last => return Err(command::bad_action()),
        Action::Complete if !session.is_last => return Err(command::bad_action()),
        Action::Execute | Action::Next | Action::Complete => {}
    }
    let form = ask.payload.child("x", ns::DATA_FORMS);
    let form = form.ok_or_else(|| command::bad_payload("the form is missing"))?;
    // "Responders SHOULD consider any <x type='cancel'/> to be <x type='submit'/>" (section 3.5.1).
    if !matches!(form.attr("type").as_deref(), Some("submit" | "cancel")) {
        return Err(command::bad_payload("a form of type submit is wanted"));
    }
    session.forms.push(Submitted::read(&form));
    Ok(true)
}

/// As RFC 5646 section 2.1 has it, roughly.
fn is_language(tag: &str) -> bool {
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    tag.is_empty() || tag.split('-').all(is_part)
}

/// A command that stands where it is shown once it is known what comes of this step.
struct Going {
    sessions: Arc<CommandSessions>,
    now: Now,
    command: Command,
    /// None: it is known.
    ticket: Option<Ticket>,
}

/// What was filled in did not do, or nobody took it: the form can be sent again. A command that has just begun is over.
impl Drop for Going {
    fn drop(&mut self) {
        if let Some(mut ticket) = self.ticket.take()
            && ticket.session.forms.pop().is_some()
        {
            // Where there is no room any more it is over as well.
            let _ = self.sessions.put(self.now, ticket);
        }
    }
}

impl Going {
    fn told(mut self, stage: Result<Stage, StanzaError>) -> Result<String, StanzaError> {
        let (command, stage) = (self.command, stage?);
        let mut ticket = self.ticket.take().ok_or_else(StanzaError::internal_server_error)?;
        let (form, is_last) = match stage {
            Stage::Done(done) => return Ok(completed(&command, &ticket.id, &done)),
            Stage::Form(form) => (form, false),
            Stage::LastForm(form) => (form, true),
        };
        ticket.session.is_last = is_last;
        let next = if is_last { "complete" } else { "next" };
        let prev = if ticket.session.forms.is_empty() { "" } else { "<prev/>" };
        let mut out = opened(&command, &ticket.id, "executing");
        out.push_str(&format!("><actions execute='{next}'>{prev}<{next}/></actions>"));
        out.push_str(&form.text());
        out.push_str("</command>");
        self.sessions.put(self.now, ticket)?;
        Ok(out)
    }

    fn done(self, done: Result<Done, StanzaError>) -> Result<String, StanzaError> {
        self.told(done.map(Stage::Done))
    }
}

fn run(ask: &Ask<'_>, command: &Command, ticket: Ticket) -> Answer {
    let step = command.run(ask, &ticket.session.forms);
    let going = Going {
        sessions: Arc::clone(ask.registry.sessions()),
        now: ask.now,
        command: *command,
        ticket: Some(ticket),
    };
    match step {
        Step::Now(stage) => match going.told(stage) {
            Ok(payload) => Answer::Result(payload),
            Err(error) => Answer::Error(error),
        },
        Step::Act(action, make) => Answer::Act(action, Box::new(move |acted| going.done(make(acted)))),
        Step::Known(action, make) => Answer::Act(action, Box::new(move |acted| going.told(make(acted)))),
        Step::Asked(query, make) => Answer::Asked(
            query,
            Box::new(move |found| Said {
                messages: Texts::default(),
                arrived: Vec::new(),
                answer: going.told(make(found)),
            }),
        ),
        Step::Changed(query, make) => Answer::Changed(
            query,
            Box::new(move |found| {
                let made = make(found);
                let (batch, done) = match made {
                    Ok((batch, done)) => (batch, Ok(done)),
                    Err(error) => (Default::default(), Err(error)),
                };
                let answer = going.done(done)?;
                Ok(module::Step::Done(Change {
                    batch,
                    answer,
                    ..Change::default()
                }))
            }),
        ),
    }
}

/// Without the end of the tag.
fn opened(command: &Command, id: &str, status: &str) -> String {
    let node = command.node();
    format!("<command xmlns='{COMMANDS}' node='{node}' sessionid='{id}' status='{status}' xml:lang='en'")
}

fn completed(command: &Command, id: &str, done: &Done) -> String {
    let mut out = opened(command, id, "completed");
    out.push('>');
    if let Some(note) = &done.note {
        out.push_str("<note type='info'>");
        out.push_str(&crate::escaped(note));
        out.push_str("</note>");
    }
    if let Some(form) = &done.form {
        out.push_str(&form.text());
    }
    out.push_str(&done.payload);
    out.push_str("</command>");
    out
}

/// disco#items of the node of all commands (section 2.2): those that this entity may use. None: it is another node.
pub(crate) fn items(ask: &Ask<'_>, node: &str) -> Option<String> {
    if ask.target != Target::Server || node != COMMANDS {
        return None;
    }
    let commands = ask.registry.commands().filter(|command| command.is_open_to(ask));
    let item = |command: &Command| {
        let (jid, node, name) = (ask.to.domain(), command.node(), crate::escaped(command.name()));
        format!("<item jid='{jid}' node='{node}' name='{name}'/>")
    };
    Some(commands.map(item).collect())
}

/// disco#info of that node, or of a command. None: it is another node.
pub(crate) fn info(ask: &Ask<'_>, node: &str) -> Option<Result<String, StanzaError>> {
    if ask.target != Target::Server {
        return None;
    }
    let (kind, name) = match node {
        COMMANDS => ("command-list", "Commands"),
        node => {
            let command = ask.registry.command(node).filter(|command| command.is_offered(ask))?;
            if !command.is_open_to(ask) {
                return Some(Err(StanzaError::forbidden()));
            }
            ("command-node", command.name())
        }
    };
    let name = crate::escaped(name);
    let features = match kind {
        "command-list" => format!(
            "<feature var='{}'/><feature var='{}'/>",
            ns::DISCO_INFO,
            ns::DISCO_ITEMS
        ),
        _ => format!("<feature var='{COMMANDS}'/><feature var='{}'/>", ns::DATA_FORMS),
    };
    Some(Ok(format!(
        "<identity category='automation' type='{kind}' name='{name}'/>{features}"
    )))
}

#[cfg(test)]
mod tests {
    use module::command::{Done, Stage, Step, bad_action, bad_payload};
    use module::{Access, DataField, DataForm, FieldType, Method, Registry, Relation};
    use stanza::{Jid, Stanza};
    use xmlstream::{Limits, Scratch};

    use super::*;

    const NODE: &str = "urn:example:config";

    /// The example of section 2.4.2: a service is chosen, and then its state.
    fn config(_: &Ask<'_>, forms: &[Submitted]) -> Step {
        let ask_for =
            |var| DataForm::new("Configure Service", "").field(DataField::new(var, FieldType::ListSingle, ""));
        Step::Now(match forms {
            [] => Ok(Stage::Form(ask_for("service"))),
            [service] => match service.one("service") {
                Some("httpd") => Ok(Stage::LastForm(ask_for("state"))),
                _ => Err(bad_payload("no such service")),
            },
            [service, state, ..] => match (service.one("service"), state.one("state")) {
                (Some(service), Some(state)) => Ok(Stage::Done(Done::note(format!("'{service}' is {state}")))),
                _ => Err(bad_payload("no state")),
            },
        })
    }

    struct World(Registry);

    impl World {
        fn new() -> World {
            let declared = Module::new("x").command(Command::new(NODE, "Configure <Service>", Access::Anyone, config));
            World(Registry::new(vec![super::module(), declared]).expect("two modules"))
        }

        fn ask(&self, attributes: &str, inner: &str) -> Result<String, StanzaError> {
            let text = format!(
                "<iq type='set' id='1'><command xmlns='{COMMANDS}' node='{NODE}' {attributes}>{inner}</command></iq>"
            );
            let mut scratch = Scratch::default();
            let element = xmlstream::parse_element(&text, ns::CLIENT, &mut scratch, &Limits::default()).expect("XML");
            let stanza = Stanza::read(element).expect("a stanza").expect("a stanza");
            let [from, to] = ["a@example.org/x", "example.org"].map(|jid| Jid::parse(jid).expect("a JID"));
            let (_, handle) = self
                .0
                .handler(Target::Server, Method::Set, COMMANDS, "command")
                .expect("it is there");
            let answer = handle(&mut Ask {
                now: Now(1_000_000_000_000),
                host: &crate::testing::host(),
                registry: &self.0,
                from: from.as_ref(),
                to: to.as_ref(),
                payload: stanza.payload().expect("a payload"),
                target: Target::Server,
                relation: Relation::Stranger,
                is_admin: false,
                account: None,
                switches: None,
                ids: &crate::testing::ids(),
            });
            match answer {
                Answer::Result(payload) => Ok(payload),
                Answer::Error(error) => Err(error),
                _ => panic!("nothing is asked here"),
            }
        }

        #[track_caller]
        fn check(&self, attributes: &str, inner: &str, needles: &[&str]) -> String {
            let answer = self.ask(attributes, inner).expect("a result");
            for needle in needles {
                assert!(answer.contains(needle), "{needle} in {answer}");
            }
            answer
        }
    }

    fn form(var: &str, value: &str) -> String {
        format!("<x xmlns='jabber:x:data' type='submit'><field var='{var}'><value>{value}</value></field></x>")
    }

    #[test]
    fn several_stages() {
        let world = World::new();
        let first = [
            "status='executing'",
            "<actions execute='next'><next/></actions>",
            "var='service'",
        ];
        let answer = world.check("", "", &first);
        let id = answer
            .split("sessionid='")
            .nth(1)
            .and_then(|rest| rest.split('\'').next());
        let session = format!("sessionid='{}'", id.expect("an id"));
        let with = |action: &str| format!("{session} action='{action}'");

        // Nothing before the first, and what is wrong can be put right.
        assert_eq!(world.ask(&with("prev"), ""), Err(bad_action()));
        assert_eq!(
            world.ask(&with("complete"), &form("service", "httpd")),
            Err(bad_action())
        );
        let error = bad_payload("no such service");
        assert_eq!(world.ask(&session, &form("service", "jabberd")), Err(error));
        let second = [
            "status='executing'",
            "<actions execute='complete'><prev/><complete/></actions>",
        ];
        world.check(&with("next"), &form("service", "httpd"), &second);
        assert_eq!(world.ask(&with("next"), &form("state", "on")), Err(bad_action()));
        // Back, and on again.
        world.check(&with("prev"), "", &first);
        world.check(&session, &form("service", "httpd"), &second);
        let note = "<note type='info'>&apos;httpd&apos; is on</note>";
        world.check(&with("complete"), &form("state", "on"), &["status='completed'", note]);
        assert_eq!(
            world.ask(&session, &form("state", "on")),
            Err(command::session_expired())
        );
        assert!(world.0.sessions().is_empty());
    }

    #[test]
    fn a_language_is_a_tag() {
        for (tag, expected) in [
            ("de", true),
            ("en-US", true),
            ("", true),
            ("no_one", false),
            ("a--b", false),
        ] {
            assert_eq!(is_language(tag), expected, "{tag}");
        }
    }
}
