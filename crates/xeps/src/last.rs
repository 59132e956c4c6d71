//! XEP-0012 Last Activity 2.0: when somebody was last online, and how long the server has run.

use module::{Access, Answer, Ask, Coverage, Method, Module};
use stanza::{StanzaError, ns};

pub(crate) fn module() -> Module {
    Module::new("last")
        .xep(
            12,
            "Last Activity",
            "2.0",
            // Section 4 asks for `forbidden`, which would tell a stranger that the account exists.
            Coverage::Partial("a stranger gets service-unavailable, the answer for accounts that do not exist"),
        )
        .server_feature(ns::LAST_ACTIVITY)
        .account_feature(ns::LAST_ACTIVITY)
        .server_iq(Method::Get, "query", ns::LAST_ACTIVITY, uptime)
        .account_iq(Method::Get, "query", ns::LAST_ACTIVITY, Access::Subscriber, last)
}

fn answer(seconds: i64, status: &str) -> Answer {
    let mut out = format!("<query xmlns='{}' seconds='{}'", ns::LAST_ACTIVITY, seconds.max(0)).into_bytes();
    if status.is_empty() {
        out.extend_from_slice(b"/>");
    } else {
        out.push(b'>');
        xmlstream::escape_text(&mut out, status);
        out.extend_from_slice(b"</query>");
    }
    // Escaping text yields text.
    Answer::Result(String::from_utf8(out).unwrap_or_default())
}

/// Section 6.
fn uptime(ask: &mut Ask<'_>) -> Answer {
    answer(ask.now.seconds() - ask.host.started.seconds(), "")
}

/// Sections 4 and 5.
fn last(ask: &mut Ask<'_>) -> Answer {
    let Some(account) = ask.account else {
        return Answer::Error(StanzaError::service_unavailable());
    };
    if !account.devices().is_empty() {
        return answer(0, "");
    }
    match account.last_activity() {
        Some(last) => answer(ask.now.seconds() - last.at, &last.status),
        // Never online: there is no last activity.
        None => Answer::Error(StanzaError::item_not_found()),
    }
}

#[cfg(test)]
mod tests {
    use stanza::StanzaError;

    use crate::testing::{Asked, check};

    const QUERY: &str = "<query xmlns='jabber:iq:last'/>";

    #[test]
    fn the_server_tells_its_uptime() {
        check(
            super::module(),
            Asked::server(QUERY),
            Ok("<query xmlns='jabber:iq:last' seconds='100'/>"),
        );
    }

    #[test]
    fn who_is_online_is_active_now() {
        let asked = Asked::own_account(QUERY).online();
        check(
            super::module(),
            asked,
            Ok("<query xmlns='jabber:iq:last' seconds='0'/>"),
        );
    }

    #[test]
    fn who_is_away_left_a_status() {
        let asked = Asked::own_account(QUERY).away(40, "gone <fishing>");
        check(
            super::module(),
            asked,
            Ok("<query xmlns='jabber:iq:last' seconds='40'>gone &lt;fishing&gt;</query>"),
        );
    }

    #[test]
    fn who_was_never_online_has_no_last_activity() {
        check(
            super::module(),
            Asked::own_account(QUERY),
            Err(StanzaError::item_not_found()),
        );
    }
}
