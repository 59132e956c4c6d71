//! Requests to a room, and those that occupants send to each other through it (XEP-0045 sections 6.4 to 6.6 and 17.4).

use std::collections::VecDeque;
use std::sync::Arc;

use module::{COMMANDS, DataField, DataForm, FieldType};
use stanza::{Edits, ErrorType, IqType, Jid, JidRef, Kind, Rendered, Stanza, StanzaError, ns};
use xmlstream::Child;

use crate::extension::{EXTENSIONS, Extension, Request};
use crate::rank::Affiliation;
use crate::room::{Context, Decided, Room};
use crate::say::{Say, attribute, result, without_by};

const ROOM_INFO: &str = "http://jabber.org/protocol/muc#roominfo";
const TRAFFIC: &str = "http://jabber.org/protocol/muc#traffic";
/// Section 7.12.
const RESERVED_NICK: &str = "x-roomuser-item";

/// What every room answers, and what it says of itself.
pub(crate) const EXTENSION: Extension = Extension {
    features: |_| {
        &[
            ns::DISCO_INFO,
            ns::DISCO_ITEMS,
            ns::MUC,
            "http://jabber.org/protocol/muc#stable_id",
            "http://jabber.org/protocol/muc#self-ping-optimization",
            "urn:xmpp:occupant-id:0",
            ns::PING,
        ]
    },
    requests: &[
        Request::get("query", ns::DISCO_INFO, Room::info),
        Request::get("query", ns::DISCO_ITEMS, Room::items),
        Request::get("ping", ns::PING, Room::ping),
    ],
    ..Extension::NONE
};

/// Requests among occupants of which no answer has come. One more takes the place of the oldest, whose answer nobody
/// gets then.
const PENDING: usize = 256;

/// A request that went through the room.
#[derive(Clone, Debug)]
struct Pending {
    id: Box<str>,
    /// A client, or an account that answers for its clients.
    asked: Arc<Jid>,
    asker: Arc<Jid>,
    /// As whom the asker is known to who was asked: ids are unique for each sender alone.
    by: Box<str>,
    /// The nickname that was asked, from which the answer comes.
    nick: Box<str>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(VecDeque<Pending>);

impl Requests {
    /// Another client has asked the same under the same name. What the same client has asked before is forgotten.
    fn is_asked(&mut self, pending: &Pending) -> bool {
        let is_same =
            |other: &Pending| other.id == pending.id && other.asked == pending.asked && other.by == pending.by;
        self.0.retain(|other| !is_same(other) || other.asker != pending.asker);
        self.0.iter().any(is_same)
    }

    fn add(&mut self, pending: Pending) {
        self.0.push_back(pending);
        if self.0.len() > PENDING {
            self.0.pop_front();
        }
    }

    fn take(&mut self, id: &str, asked: &Jid, by: &str) -> Option<Pending> {
        let at = self
            .0
            .iter()
            .position(|pending| *pending.id == *id && *pending.asked == *asked && *pending.by == *by)?;
        self.0.remove(at)
    }
}

/// What a request to an occupant's address is answered from outside, also where there is no such room: section 6.6 for
/// disco; XEP-0410 section 3 for pings, and all else alike.
pub fn not_inside(stanza: &Stanza<'_>) -> StanzaError {
    let error = match stanza.payload().map(|payload| payload.ns()) {
        Some(ns::DISCO_INFO | ns::DISCO_ITEMS) => StanzaError::bad_request(),
        _ => StanzaError::not_acceptable().kind(ErrorType::Cancel),
    };
    error.text("you are not in the room")
}

impl Room {
    /// An IQ to the room or an occupant's address of it. `from`: a full JID, or that of an account that answers.
    pub fn iq(&mut self, context: &mut Context<'_>, stanza: &Stanza<'_>, from: &Arc<Jid>, to: JidRef<'_>) -> Decided {
        let Kind::Iq(kind) = stanza.kind() else {
            return Decided::nothing();
        };
        match (kind, to.resource()) {
            (IqType::Get | IqType::Set, None) => self.asked(context, stanza, kind, from, to),
            (IqType::Get | IqType::Set, Some(nick)) => self.pass_on(stanza, from, to, nick),
            (IqType::Result | IqType::Error, Some(_)) => self.answered(stanza, from, to),
            (IqType::Result | IqType::Error, None) => Decided::nothing(),
        }
    }

    fn asked(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        kind: IqType,
        from: &Arc<Jid>,
        to: JidRef<'_>,
    ) -> Decided {
        let Some(payload) = stanza.payload() else {
            return Decided::nothing();
        };
        // A room that is not configured is not there for others (section 7.2.10).
        if self.is_locked && self.right_of(context, from.as_ref().as_ref()) < Affiliation::Owner {
            return self.refuse(stanza, from, to, &StanzaError::item_not_found());
        }
        match Request::find(kind, &payload) {
            Ok(answer) => answer(self, context, stanza, from, to, &payload),
            Err(true) => self.refuse(stanza, from, to, &StanzaError::feature_not_implemented()),
            Err(false) => self.refuse(stanza, from, to, &StanzaError::service_unavailable()),
        }
    }

    /// Section 6.5: who is in a room is nobody else's affair.
    fn items(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        query: &Child<'_>,
    ) -> Decided {
        let mut out = format!("<query xmlns='{}'", ns::DISCO_ITEMS);
        let node = query.attr("node");
        attribute(&mut out, "node", node.as_deref());
        match node.as_deref() {
            None => out.push_str("/>"),
            Some(COMMANDS) => {
                out.push('>');
                self.command_items(context, from, &mut out);
                out.push_str("</query>");
            }
            Some(_) => return self.refuse(stanza, from, to, &StanzaError::item_not_found()),
        }
        Decided::Say(vec![result(stanza, from, to.as_str(), &out)])
    }

    fn ping(
        &mut self,
        _: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        _: &Child<'_>,
    ) -> Decided {
        Decided::Say(vec![result(stanza, from, to.as_str(), "")])
    }

    /// Sections 6.4, 7.12 and 18.1.1.
    fn info(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        query: &Child<'_>,
    ) -> Decided {
        let mut out = format!("<query xmlns='{}'", ns::DISCO_INFO);
        let node = query.attr("node");
        attribute(&mut out, "node", node.as_deref());
        out.push('>');
        match node.as_deref() {
            None => self.write_info(context, &mut out),
            Some(RESERVED_NICK) => {
                let standing = self.standings.get(from.bare_str());
                if let Some(nick) = standing.and_then(|standing| standing.nick.as_deref()) {
                    out.push_str("<identity category='conference' type='text'");
                    attribute(&mut out, "name", Some(nick));
                    out.push_str("/>");
                }
            }
            // Everything may go through the room.
            Some(TRAFFIC) => return self.refuse(stanza, from, to, &StanzaError::service_unavailable()),
            Some(node) => match self.command_info(node) {
                Some(info) => out.push_str(&info),
                None => return self.refuse(stanza, from, to, &StanzaError::item_not_found()),
            },
        }
        out.push_str("</query>");
        Decided::Say(vec![result(stanza, from, to.as_str(), &out)])
    }

    fn write_info(&self, context: &Context<'_>, out: &mut String) {
        let config = &self.config;
        out.push_str("<identity category='conference' type='text'");
        let name = if config.name.is_empty() {
            self.jid.local().unwrap_or_default()
        } else {
            &config.name
        };
        attribute(out, "name", Some(name));
        out.push_str("/>");
        let either = |is: bool, yes: &'static str, no: &'static str| if is { yes } else { no };
        let features = [
            either(config.members_only, "muc_membersonly", "muc_open"),
            either(config.moderated, "muc_moderated", "muc_unmoderated"),
            either(config.non_anonymous, "muc_nonanonymous", "muc_semianonymous"),
            either(config.password.is_empty(), "muc_unsecured", "muc_passwordprotected"),
            either(config.persistent, "muc_persistent", "muc_temporary"),
            either(config.public, "muc_public", "muc_hidden"),
        ];
        let more = EXTENSIONS.iter().flat_map(|extension| (extension.features)(self));
        for feature in more.chain(&features) {
            out.push_str(&format!("<feature var='{feature}'/>"));
        }
        let text = |var, label, value: &str| DataField::new(var, FieldType::TextSingle, label).value(value);
        let mut form = DataForm::result().of_type(ROOM_INFO);
        for (var, label, value) in [
            ("muc#roominfo_description", "Description", &config.description),
            ("muc#roominfo_lang", "Language of discussion", &config.language),
            ("muc#roomconfig_pubsub", "Associated pubsub node", &config.pubsub),
        ] {
            if !value.is_empty() {
                form = form.field(text(var, label, value));
            }
        }
        let occupants = self.occupants.len().to_string();
        let change = if config.change_subject { "1" } else { "0" };
        form = form
            .field(text("muc#roominfo_occupants", "Number of occupants", &occupants))
            .field(
                DataField::new(
                    "muc#roominfo_subjectmod",
                    FieldType::Boolean,
                    "Participants may change the subject",
                )
                .value(change),
            )
            .field(text(
                "muc#maxhistoryfetch",
                "Messages that who enters is given at most",
                &config.max_history.to_string(),
            ));
        form.fields
            .extend(EXTENSIONS.iter().flat_map(|extension| (extension.info)(self, context)));
        out.push_str(&form.text());
        for form in EXTENSIONS.iter().flat_map(|extension| (extension.forms)(self)) {
            out.push_str(&form.text());
        }
    }

    /// From occupant to occupant, without telling either who the other is.
    fn pass_on(&mut self, stanza: &Stanza<'_>, from: &Arc<Jid>, to: JidRef<'_>, nick: &str) -> Decided {
        let Some(payload) = stanza.payload() else {
            return Decided::nothing();
        };
        let Some((own, _)) = self.occupants.of(from.as_ref().as_ref()) else {
            return self.refuse(stanza, from, to, &not_inside(stanza));
        };
        // XEP-0410 section 4: who is here need not be asked whether it is.
        if own == nick && payload.is("ping", ns::PING) {
            return Decided::Say(vec![result(stanza, from, to.as_str(), "")]);
        }
        let Some(target) = self.occupants.get(nick) else {
            return self.refuse(stanza, from, to, &StanzaError::item_not_found());
        };
        // What an account answers for its clients.
        let asked = match payload.ns() {
            ns::VCARD | ns::PUBSUB => Arc::new(target.seen().jid.to_bare()),
            _ => Arc::clone(&target.seen().jid),
        };
        let pending = Pending {
            id: stanza.id().unwrap_or_default().into(),
            asked: Arc::clone(&asked),
            asker: Arc::clone(from),
            by: own.into(),
            nick: nick.into(),
        };
        let address = self.address(own);
        if self.requests.is_asked(&pending) {
            // Whose answer would it be?
            let error = StanzaError::resource_constraint().kind(ErrorType::Wait);
            return self.refuse(
                stanza,
                from,
                to,
                &error.text("another request with this id is under way"),
            );
        }
        let say = Say {
            from: address.into(),
            stanza: Rendered::of(stanza, &Edits::default()),
            to: vec![asked],
        };
        self.requests.add(pending);
        Decided::Say(vec![say])
    }

    fn answered(&mut self, stanza: &Stanza<'_>, from: &Arc<Jid>, to: JidRef<'_>) -> Decided {
        let by = to.resource().unwrap_or_default();
        let Some(pending) = self.requests.take(stanza.id().unwrap_or_default(), from, by) else {
            return Decided::nothing();
        };
        let mut edits = Edits::default();
        without_by(stanza, &mut edits);
        Decided::Say(vec![Say {
            from: self.address(&pending.nick).into(),
            stanza: Rendered::of(stanza, &edits),
            to: vec![pending.asker],
        }])
    }
}
