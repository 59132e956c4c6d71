//! XEP-0191 Blocking Command 1.3: whom an account does not want to hear of, and XEP-0377 Blocking Command Reports
//! 0.4.1: what it says of them. The list and what follows from it are the owner's (`presence::blocking`,
//! `router/src/blocking.rs`, `router/src/reports.rs`); here is what a client says.

use module::{Access, Answer, Ask, Blocking, Coverage, Method, Module, Report, Switches};
use stanza::{Jid, StanzaError, ns};
use xmlstream::Child;

pub(crate) fn module() -> Module {
    Module::new("blocking")
        .xep(191, "Blocking Command", "1.3", Coverage::Complete)
        .xep(377, "Blocking Command Reports", "0.4.1", Coverage::Complete)
        .kept_accounts_only()
        .server_feature(ns::BLOCKING)
        .account_feature(ns::BLOCKING)
        .server_feature(ns::REPORTING)
        .account_feature(ns::REPORTING)
        .account_iq(Method::Get, "blocklist", ns::BLOCKING, Access::Owner, list)
        .account_iq(Method::Set, "block", ns::BLOCKING, Access::Owner, block)
        .account_iq(Method::Set, "unblock", ns::BLOCKING, Access::Owner, unblock)
}

/// Section 3.2; from then on the session hears of changes (section 3.3).
fn list(ask: &mut Ask<'_>) -> Answer {
    if let Some(switches) = ask.switches {
        switches.set(switches.get().with(Switches::BLOCKLIST, true));
    }
    let blocked = ask.account.map(|account| account.blocked()).unwrap_or_default();
    let mut out = format!("<blocklist xmlns='{}'>", ns::BLOCKING).into_bytes();
    for jid in blocked {
        out.extend_from_slice(b"<item jid='");
        xmlstream::escape_attr(&mut out, &jid);
        out.extend_from_slice(b"'/>");
    }
    out.extend_from_slice(b"</blocklist>");
    // Escaping text yields text.
    Answer::Result(String::from_utf8(out).unwrap_or_default())
}

/// The addresses in their prepared form.
fn items(ask: &Ask<'_>) -> Result<Vec<Box<str>>, StanzaError> {
    let items = ask.payload.children().filter(|child| child.is("item", ns::BLOCKING));
    items
        .map(|item| {
            let jid = item.attr("jid").ok_or_else(StanzaError::bad_request)?;
            let jid = Jid::parse(&jid).map_err(|_| StanzaError::jid_malformed())?;
            Ok(jid.as_str().into())
        })
        .collect()
}

/// XEP-0377 section 6. What is wrong in a report keeps nobody from blocking.
fn reports(ask: &Ask<'_>) -> Vec<Report> {
    let items = ask.payload.children().filter(|child| child.is("item", ns::BLOCKING));
    let reports = items.filter_map(|item| {
        let report = item.child("report", ns::REPORTING)?;
        let text = |child: Child<'_>| child.text().into();
        // Whatever "by" says: the examples name whom the message is of there.
        let ids = report.children().filter(|child| child.is("stanza-id", ns::STANZA_IDS));
        let ids = ids.filter_map(|id| id.attr("id"));
        Some(Report {
            of: Jid::parse(&item.attr("jid")?).ok()?.as_str().into(),
            reason: report.attr("reason").unwrap_or_default().into(),
            // Several are the same in several languages (section 8).
            text: report.child("text", ns::REPORTING).map(text).unwrap_or_default(),
            messages: ids.map(Into::into).collect(),
            for_origin: report.child("report-origin", ns::REPORTING).is_some(),
            for_others: report.child("third-party", ns::REPORTING).is_some(),
        })
    });
    reports.collect()
}

/// Section 3.3.
fn block(ask: &mut Ask<'_>) -> Answer {
    match items(ask) {
        Err(error) => Answer::Error(error),
        Ok(items) if items.is_empty() => Answer::Error(StanzaError::bad_request()),
        Ok(items) => Answer::Block(Blocking::Block(items), reports(ask)),
    }
}

/// Sections 3.4 and 3.5.
fn unblock(ask: &mut Ask<'_>) -> Answer {
    match items(ask) {
        Err(error) => Answer::Error(error),
        // Nothing to be unblocked is everything, but something that is no item is not nothing.
        Ok(items) if items.is_empty() && ask.payload.children().next().is_some() => {
            Answer::Error(StanzaError::bad_request())
        }
        Ok(items) if items.is_empty() => Answer::Block(Blocking::UnblockAll, Vec::new()),
        Ok(items) => Answer::Block(Blocking::Unblock(items), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Asked, ask, check};

    #[test]
    fn the_list_and_who_hears_of_it() {
        let asked = Asked::own_account("<blocklist xmlns='urn:xmpp:blocking'/>");
        let (answer, switches) = ask(super::module(), asked);
        assert!(matches!(answer, Answer::Result(list) if list == "<blocklist xmlns='urn:xmpp:blocking'></blocklist>"));
        assert!(switches.has(Switches::BLOCKLIST));
    }

    #[test]
    fn what_is_no_change_of_the_list() {
        let cases = [
            ("<block xmlns='urn:xmpp:blocking'/>", StanzaError::bad_request()),
            (
                "<block xmlns='urn:xmpp:blocking'><item/></block>",
                StanzaError::bad_request(),
            ),
            (
                "<block xmlns='urn:xmpp:blocking'><item jid='a@b@c'/></block>",
                StanzaError::jid_malformed(),
            ),
            (
                "<unblock xmlns='urn:xmpp:blocking'><item jid=''/></unblock>",
                StanzaError::jid_malformed(),
            ),
            (
                "<unblock xmlns='urn:xmpp:blocking'><all/></unblock>",
                StanzaError::bad_request(),
            ),
        ];
        for (payload, error) in cases {
            check(super::module(), Asked::own_account(payload).set(), Err(error));
        }
    }

    #[test]
    fn what_is_reported() {
        let payload = "<block xmlns='urn:xmpp:blocking'><item jid='a@b'><report xmlns='urn:xmpp:reporting:1' \
             reason='urn:xmpp:reporting:spam'><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='c@d' id='2'/><text xml:lang='en'>He &amp; she</text><third-party/>\
             </report></item><item jid='E@f'><report xmlns='urn:xmpp:reporting:1'/></item><item jid='g@h'>\
             <report xmlns='urn:x'/></item></block>";
        let (answer, _) = ask(super::module(), Asked::own_account(payload).set());
        let Answer::Block(_, reports) = answer else {
            panic!("a change")
        };
        let expected = [
            Report {
                of: "a@b".into(),
                reason: "urn:xmpp:reporting:spam".into(),
                text: "He & she".into(),
                messages: vec!["1".into(), "2".into()],
                for_origin: false,
                for_others: true,
            },
            Report {
                of: "e@f".into(),
                ..Report::default()
            },
        ];
        assert_eq!(reports, expected);
    }

    #[test]
    fn addresses_are_prepared() {
        let payload = "<block xmlns='urn:xmpp:blocking'><item jid='Romeo@Montague.net'/><item jid='b'/></block>";
        let (answer, _) = ask(super::module(), Asked::own_account(payload).set());
        let Answer::Block(change, reports) = answer else {
            panic!("a change")
        };
        assert_eq!(reports, []);
        assert_eq!(change, Blocking::Block(vec!["romeo@montague.net".into(), "b".into()]));
    }
}
