//! XEP-0500 MUC Slow Mode 0.1.1: so many seconds between two messages of one person.
//!
//! A person is a bare JID, whatever names and clients he has here. Who has just spoken is kept in memory alone: a restart
//! shortens a pause.

use std::collections::BTreeMap;

use module::{DataField, FieldType};
use stanza::{ErrorType, Jid, Stanza, StanzaError, ns};

use crate::config::{Field, single};
use crate::extension::Extension;
use crate::room::{Context, Room};

pub(crate) const EXTENSION: Extension = Extension {
    info: |room, _| {
        let seconds = room.config.slow_mode.to_string();
        let field = DataField::new("muc#roominfo_slow_mode_duration", FieldType::TextSingle, "Slow Mode");
        vec![field.value(seconds)]
    },
    fields: &[Field {
        var: "muc#roomconfig_slow_mode_duration",
        kind: FieldType::TextSingle,
        label: "Slow Mode",
        options: &[],
        // Section 5.1 wants both.
        more: "<desc>Seconds between two messages of one person; 0: he may write as he likes.</desc>\
               <validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:integer'>\
               <range min='0' max='86400'/></validate>",
        get: |config| vec![config.slow_mode.to_string()],
        set: |config, values| {
            config.slow_mode = single(values)?
                .parse()
                .ok()
                .filter(|seconds| *seconds <= MOST_SECONDS)?;
            Some(())
        },
    }],
    message: may_speak,
    ..Extension::NONE
};

/// A day; more is `not-acceptable`.
const MOST_SECONDS: u32 = 86_400;
/// People whose pauses are known. Where there are more, the one who has waited for longest may speak at once.
const SPEAKERS: usize = 10_000;

/// When whoever has to wait has spoken, by bare JID.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlowMode(BTreeMap<Box<str>, i64>);

/// Section 6.
fn may_speak(room: &mut Room, context: &Context<'_>, stanza: &Stanza<'_>, from: &Jid) -> Result<(), StanzaError> {
    let pause = i64::from(room.config.slow_mode) * 1_000;
    // "Only messages containing at least one <body/>".
    let says = || stanza.children().any(|child| child.is("body", ns::CLIENT));
    if pause == 0 || !says() || room.right_of(context, from.as_ref()).administers() {
        return Ok(());
    }
    let (now, spoken) = (context.now.0, &mut room.slow_mode.0);
    // A clock that was set back makes nobody wait for longer.
    let waits = |at: i64| (0..pause).contains(&(now - at));
    if spoken.get(from.bare_str()).is_some_and(|at| waits(*at)) {
        let seconds = room.config.slow_mode;
        let text = format!(
            "You have exceeded the limit imposed by the slow mode in this room. You have to wait {seconds} seconds between messages."
        );
        return Err(StanzaError::policy_violation().kind(ErrorType::Wait).text(text));
    }
    if spoken.len() >= SPEAKERS && !spoken.contains_key(from.bare_str()) {
        spoken.retain(|_, at| waits(*at));
        let oldest = spoken.iter().min_by_key(|(_, at)| **at).map(|(jid, _)| jid.clone());
        if let Some(oldest) = oldest.filter(|_| spoken.len() >= SPEAKERS) {
            spoken.remove(&oldest);
        }
    }
    spoken.insert(from.bare_str().into(), now);
    Ok(())
}
