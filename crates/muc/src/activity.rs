//! XEP-0502 MUC Activity Indicator 0.1.0: how much is said in a room that everybody may enter.
//!
//! Hours are counted as section 5 outlines: the one that runs does not count, the 24 before it do. They are in memory; as
//! long as the room has been there for less than an hour nothing is told.

use module::{DataField, FieldType};
use stanza::{Jid, Stanza, StanzaError, ns};

use crate::extension::Extension;
use crate::room::{Context, Room};

pub(crate) const EXTENSION: Extension = Extension {
    info,
    message: count,
    ..Extension::NONE
};

const HOUR: i64 = 60 * 60 * 1_000;
/// Hours that are known.
const HOURS: usize = 24;

#[derive(Clone, Debug, Default)]
pub(crate) struct Activity {
    /// Messages of the hour that runs, and which hour that is. None: nothing was looked at yet.
    now: Option<(i64, u32)>,
    /// Those before it, the last one first.
    before: Vec<u32>,
}

impl Activity {
    /// Goes on to this hour. A clock that was set back stands until it is that late again.
    fn turn(&mut self, hour: i64) -> &mut u32 {
        let (at, _) = *self.now.get_or_insert((hour, 0));
        if hour > at {
            let passed = usize::try_from(hour - at).unwrap_or(HOURS);
            let (_, count) = self.now.replace((hour, 0)).unwrap_or_default();
            self.before.splice(
                0..0,
                (0..passed.min(HOURS + 1)).map(|ago| if ago + 1 == passed { count } else { 0 }),
            );
            self.before.truncate(HOURS);
        }
        let (_, count) = self.now.get_or_insert((hour, 0));
        count
    }
}

fn count(room: &mut Room, context: &Context<'_>, stanza: &Stanza<'_>, _: &Jid) -> Result<(), StanzaError> {
    let is = |name, ns| stanza.children().any(|child| child.is(name, ns));
    let says = is("body", ns::CLIENT) && !is("replace", "urn:xmpp:message-correct:0");
    let hour = room.activity.turn(context.now.0.div_euclid(HOUR));
    *hour = hour.saturating_add(u32::from(says));
    Ok(())
}

/// Sections 3.1 and 8: only of a room that everybody finds and may enter.
fn info(room: &Room, context: &Context<'_>) -> Vec<DataField> {
    let config = &room.config;
    let is_open = config.persistent && config.public && config.password.is_empty() && !config.members_only;
    let mut activity = room.activity.clone();
    activity.turn(context.now.0.div_euclid(HOUR));
    if !is_open || activity.before.is_empty() {
        return Vec::new();
    }
    let messages: u64 = activity.before.iter().map(|count| u64::from(*count)).sum();
    let rate = messages as f64 / activity.before.len() as f64;
    let field = DataField::new(
        "{urn:xmpp:muc-activity}message-activity",
        FieldType::TextSingle,
        "Messages per hour",
    );
    vec![field.value(format!("{rate:.2}"))]
}
