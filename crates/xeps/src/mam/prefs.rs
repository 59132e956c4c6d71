//! Whom an account archives messages with (XEP-0441).

use module::{Answer, ArchivePrefs, ArchiveRule, Ask};
use stanza::{Jid, StanzaError, ns};
use store::Batch;
use xmlstream::Child;

/// The most addresses in both lists together: they are kept with the account and looked through for every message.
const JIDS_MOST: usize = 200;

const RULES: [(&str, ArchiveRule); 3] = [
    ("always", ArchiveRule::Always),
    ("never", ArchiveRule::Never),
    ("roster", ArchiveRule::Roster),
];

pub(super) fn get(ask: &mut Ask<'_>) -> Answer {
    match ask.account {
        Some(account) => Answer::Result(written(&account.archive_prefs())),
        None => Answer::Error(StanzaError::service_unavailable()),
    }
}

/// The answer is what holds from then on (section 2.1).
pub(super) fn set(ask: &mut Ask<'_>) -> Answer {
    match read(&ask.payload) {
        Ok(prefs) => {
            let row = archive::prefs_row(&prefs);
            let batch = Batch::new().put(&archive::PREFS, ask.to.bare_str(), None, row);
            let answer = written(&prefs);
            Answer::Preferences(prefs, batch, answer)
        }
        Err(error) => Answer::Error(error),
    }
}

fn read(payload: &Child<'_>) -> Result<ArchivePrefs, StanzaError> {
    let default = payload.attr("default");
    let rule = RULES.iter().find(|(name, _)| Some(*name) == default.as_deref());
    let Some((_, default)) = rule else {
        return Err(StanzaError::bad_request().text("'default' is none of always, never and roster"));
    };
    let prefs = ArchivePrefs {
        default: *default,
        always: list(payload, "always")?,
        never: list(payload, "never")?,
    };
    if prefs.always.len() + prefs.never.len() > JIDS_MOST {
        return Err(StanzaError::policy_violation().text(format!("at most {JIDS_MOST} addresses")));
    }
    Ok(prefs)
}

/// A list that is missing is empty (sections 2.1.2 and 2.1.3).
fn list(payload: &Child<'_>, name: &str) -> Result<Vec<Box<str>>, StanzaError> {
    let mut list: Vec<Box<str>> = Vec::new();
    let Some(element) = payload.child(name, ns::MAM) else {
        return Ok(list);
    };
    for child in element.children().filter(|child| child.is("jid", ns::MAM)) {
        let Ok(jid) = Jid::parse(child.text().trim_ascii()) else {
            return Err(StanzaError::jid_malformed().text("not an XMPP address"));
        };
        if list.len() > JIDS_MOST {
            // Too many already; no need to look for it among them.
            break;
        }
        if !list.iter().any(|known| **known == *jid.as_str()) {
            list.push(jid.as_str().into());
        }
    }
    Ok(list)
}

fn written(prefs: &ArchivePrefs) -> String {
    let rule = RULES.iter().find(|(_, rule)| *rule == prefs.default);
    let default = rule.map_or("always", |(name, _)| name);
    let mut out = format!("<prefs xmlns='{}' default='{default}'>", ns::MAM).into_bytes();
    for (name, list) in [("always", &prefs.always), ("never", &prefs.never)] {
        out.extend_from_slice(format!("<{name}>").as_bytes());
        for jid in list {
            out.extend_from_slice(b"<jid>");
            xmlstream::escape_text(&mut out, jid);
            out.extend_from_slice(b"</jid>");
        }
        out.extend_from_slice(format!("</{name}>").as_bytes());
    }
    out.extend_from_slice(b"</prefs>");
    // Escaping text yields text.
    String::from_utf8(out).unwrap_or_default()
}
