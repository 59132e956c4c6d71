//! XEP-0492 Chat Notification Settings 0.2.0: what stands in the bookmark of a room, as far as the server acts on it when it
//! tells a push service (`router/src/push/rooms.rs`).
//!
//! What is woken by that is a phone, so the setting is the one for the identity `client`/`phone`.

use module::{ChatSetting, ChatSettings, Notify};
use pubsub::{look_for, read_item};
use stanza::ns;
use store::{Found, StoreError};
use xmlstream::{Child, Limits, Scratch, parse_element};

const NS: &str = "urn:xmpp:notification-settings:1";

pub(super) const SETTINGS: ChatSettings = ChatSettings {
    ask: |owner, room| look_for(owner, ns::BOOKMARKS, room),
    read,
};

fn read(found: Found) -> Result<Option<ChatSetting>, StoreError> {
    Ok(read_item(found.row()?).and_then(|payload| setting(&payload)))
}

/// What a bookmark says; none where it is something else.
fn setting(payload: &str) -> Option<ChatSetting> {
    let mut scratch = Scratch::default();
    // It was checked when it came.
    let element = parse_element(payload, "-", &mut scratch, &Limits::default()).ok()?;
    if (element.name(), element.ns()) != ("conference", ns::BOOKMARKS) {
        return None;
    }
    let extensions = element.children().find(|child| child.is("extensions", ns::BOOKMARKS));
    let notify = extensions.and_then(|extensions| extensions.child("notify", NS));
    Some(ChatSetting {
        joins: matches!(element.attr("autojoin").as_deref(), Some("1" | "true")),
        notify: notify.and_then(|notify| most_specific(&notify)),
    })
}

/// Section 3: the element that is most specific to the application.
fn most_specific(notify: &Child<'_>) -> Option<Notify> {
    let ranked = notify.children().filter(|child| child.ns() == NS).filter_map(|child| {
        let kind = match child.name() {
            "always" => Notify::Always,
            "on-mention" => Notify::OnMention,
            "never" => Notify::Never,
            _ => return None,
        };
        let rank = match (
            child.attr("identity-category").as_deref(),
            child.attr("identity-type").as_deref(),
        ) {
            (Some("client"), Some("phone")) => 2,
            (Some("client"), None) => 1,
            (None, None) => 0,
            _ => return None,
        };
        Some((rank, kind))
    });
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_setting_counts() {
        let check = |inner: &str, expected: Option<Notify>| {
            let notify = format!("<extensions><notify xmlns='{NS}'>{inner}</notify></extensions>");
            let payload = format!(
                "<conference xmlns='{}' autojoin='true'>{notify}</conference>",
                ns::BOOKMARKS
            );
            let expected = ChatSetting {
                joins: true,
                notify: expected,
            };
            assert_eq!(setting(&payload), Some(expected), "{inner}");
        };
        check("", None);
        check("<always/>", Some(Notify::Always));
        check(
            "<on-mention><advanced><x xmlns='urn:x'/></advanced></on-mention>",
            Some(Notify::OnMention),
        );
        check("<never identity-category='client' identity-type='pc'/>", None);
        check("<never identity-category='gateway'/><always/>", Some(Notify::Always));
        check("<never identity-category='client'/><always/>", Some(Notify::Never));
        check(
            "<never identity-category='client'/><on-mention identity-category='client' identity-type='phone'/><always/>",
            Some(Notify::OnMention),
        );
        check("<never xmlns='urn:other'/>", None);
    }

    #[test]
    fn what_is_no_bookmark_says_nothing() {
        assert_eq!(setting("<conference xmlns='urn:x'/>"), None);
        let payload = format!("<conference xmlns='{}' autojoin='no'/>", ns::BOOKMARKS);
        let silent = ChatSetting {
            joins: false,
            notify: None,
        };
        assert_eq!(setting(&payload), Some(silent));
    }
}
