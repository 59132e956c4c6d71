//! Forgeries that a careless client would believe, stopped here (attacks.md rows 25 and 26,
//! faults.md rows 38 and 39).
//!
//! A carbon copy (XEP-0280 section 11), an archive result (XEP-0313 section 8), a roster push (RFC 6121 section 2.1.6)
//! and a push of the block list (XEP-0191 section 3.3) are believed by the address they come from, and clients have
//! repeatedly forgotten to check it. Copies and pushes come from the account itself alone, and results only from an
//! archive that was asked for them. Anything else is not delivered, as a whole: what is left of it would be another
//! message than the one that was sent. Its sender is told what he is told of an account that is not there; so he knows
//! that it did not arrive, and learns nothing besides. A delay stamp in the server's own name (XEP-0203) is taken out.
//!
//! Some clients look for these elements at any depth. So it is the declaration of the namespace that counts, wherever it
//! stands: these are at hand, and no element has to be looked into.

use module::{Filter, Module, Passing, Stage, Verdict};
use stanza::{IqType, Jid, Kind, ns};

pub(crate) fn module() -> Module {
    Module::new("hardening").filter(Filter {
        stage: Stage::Incoming,
        name: "hardening",
        after: &[],
        run: refuse_forgeries,
    })
}

fn refuse_forgeries(passing: &mut Passing<'_, '_>) -> Verdict {
    // The server speaks for the account; its clients have a resource.
    if passing.from.as_str() == passing.account.as_str() {
        return Verdict::Pass;
    }
    let is_forged = match passing.stanza.kind() {
        Kind::Message(_) => is_forged_message(passing),
        Kind::Iq(kind) => is_forged_iq(passing, kind),
        Kind::Presence(_) => {
            remove_delays(passing);
            false
        }
    };
    if is_forged { Verdict::NoSuchUser } else { Verdict::Pass }
}

fn is_forged_message(passing: &mut Passing<'_, '_>) -> bool {
    let mut has_delay = false;
    for declared in passing.stanza.element().declarations() {
        if declared.ns == ns::DELAY {
            has_delay = true;
        } else if is_version_of(declared.ns, "urn:xmpp:carbons:") {
            // "private" is an instruction to servers, not a copy; and it has nothing in it.
            if declared.element() != "private" || !declared.is_leaf() {
                return true;
            }
        } else if is_version_of(declared.ns, "urn:xmpp:mam:") && !passing.view.awaits_archive(passing.from.as_str()) {
            return true;
        }
    }
    if has_delay {
        remove_delays(passing);
    }
    false
}

/// Whoever sends them, they would be ours alone to say.
fn remove_delays(passing: &mut Passing<'_, '_>) {
    for child in passing.stanza.children().filter(|child| child.ns() == ns::DELAY) {
        if is_ours(passing, child.attr("from").as_deref()) {
            passing.edits.remove(&child);
        }
    }
}

fn is_forged_iq(passing: &Passing<'_, '_>, kind: IqType) -> bool {
    let Some(payload) = passing.stanza.payload() else {
        return false;
    };
    let is_own = passing.from.bare_str() == passing.account.as_str();
    let is_for_client = passing.stanza.to().is_some_and(|to| to.resource().is_some());
    match (kind, payload.ns()) {
        // Of any other address the dispatcher of requests takes care.
        (IqType::Get | IqType::Set, ns::ROSTER | ns::BLOCKING) => is_for_client,
        // Clients match answers by their id, which can be guessed, and some by nothing else.
        (IqType::Result, ns::ROSTER | ns::BLOCKING) => !is_own,
        (IqType::Result, ns::MAM) => {
            payload.name() == "fin" && !is_own && !passing.view.awaits_archive(passing.from.as_str())
        }
        _ => false,
    }
}

/// Older versions too: there are clients that read them. Not "tmp" of XEP-0313, with which servers stamp what they keep.
pub(crate) fn is_version_of(namespace: &str, name: &str) -> bool {
    let version = namespace.strip_prefix(name);
    version.is_some_and(|version| !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether the address is the server's or the account's, or one below the domain that has not sent this itself; in any
/// spelling: a client compares addresses, not texts.
fn is_ours(passing: &Passing<'_, '_>, by: Option<&str>) -> bool {
    let Some(by) = by.and_then(|by| Jid::parse(by.trim()).ok()) else {
        return false;
    };
    let domain = passing.host.domain.as_str();
    let is_below = by
        .domain()
        .strip_suffix(domain)
        .is_some_and(|label| label.ends_with('.'));
    by.as_str() == domain
        || by.bare_str() == passing.account.as_str()
        || (is_below && by.domain() != passing.from.domain())
}

#[cfg(test)]
mod tests {
    use module::Verdict;

    use crate::testing::{pass, pass_from};

    const INNER: &str =
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><body>b</body></message></forwarded>";

    fn is_refused(xml: &str) {
        assert_eq!(pass(super::module(), xml), Err(Verdict::NoSuchUser), "{xml}");
    }

    fn passes(xml: &str) {
        assert_eq!(pass(super::module(), xml).as_deref(), Ok(xml));
    }

    #[test]
    fn copies_and_results_of_others() {
        for name in ["received", "sent", "result", "anything"] {
            for ns in [
                "urn:xmpp:carbons:2",
                "urn:xmpp:carbons:1",
                "urn:xmpp:mam:2",
                "urn:xmpp:mam:1",
                "urn:xmpp:mam&#58;2",
            ] {
                let plain = format!("<{name} xmlns='{ns}'>{INNER}</{name}>");
                is_refused(&format!("<message>{plain}</message>"));
                is_refused(&format!(
                    "<message><body>b</body><x xmlns='urn:x'/>{plain}{plain}</message>"
                ));
                is_refused(&format!(
                    "<message><p:{name} xmlns:p='{ns}'>{INNER}</p:{name}></message>"
                ));
                is_refused(&format!(
                    "<message xmlns:p='{ns}'><body>b</body><p:{name}>{INNER}</p:{name}></message>"
                ));
                // In another message, in anything, and in what is no copy.
                is_refused(&format!(
                    "<message>{}</message>",
                    INNER.replace("<body>b</body>", &plain)
                ));
                is_refused(&format!(
                    "<message><x xmlns='urn:x' xmlns:p='{ns}'><y><p:{name}/></y></x></message>"
                ));
                is_refused(&format!(
                    "<message><private xmlns='urn:xmpp:carbons:2'>{plain}</private></message>"
                ));
            }
        }
        is_refused("<message><private xmlns='urn:xmpp:carbons:2'><sent/></private></message>");
    }

    #[test]
    fn what_is_no_forgery() {
        passes("<message><body>b</body></message>");
        passes("<message><private xmlns='urn:xmpp:carbons:2'/><body>b</body></message>");
        passes("<message><private xmlns='urn:xmpp:carbons:2'></private></message>");
        passes("<message><c:private xmlns:c='urn:xmpp:carbons:2'/></message>");
        passes(&format!("<message>{INNER}</message>"));
        passes(
            "<message><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'><private xmlns='urn:xmpp:carbons:2'/></message></forwarded></message>",
        );
        passes("<message><archived xmlns='urn:xmpp:mam:tmp' by='example.net' id='1'/></message>");
        passes("<message><rules xmlns='urn:xmpp:carbons:rules:0'/></message>");
        passes("<message><body>urn:xmpp:mam:2</body></message>");
        // Presence is believed by nobody.
        passes("<presence><sent xmlns='urn:xmpp:carbons:2'/></presence>");
    }

    #[test]
    fn an_archive_that_was_asked_answers() {
        let result = format!("<message><result xmlns='urn:xmpp:mam:2' id='1'>{INNER}</result></message>");
        let fin = "<iq type='result' id='1' to='juliet@example.org/balcony'><fin xmlns='urn:xmpp:mam:2'/></iq>";
        for xml in [&*result, fin] {
            is_refused(xml);
            let asked = pass_from(super::module(), "archive.example.net", xml);
            assert!(asked.is_ok(), "{xml}: {asked:?}");
        }
    }

    #[test]
    fn pushes_and_answers() {
        let iq = |kind: &str, to: &str, payload: &str| format!("<iq type='{kind}' id='1' to='{to}'>{payload}</iq>");
        let to = "juliet@example.org/balcony";
        for payload in [
            "<query xmlns='jabber:iq:roster'><item jid='evil@example.org'/></query>",
            "<r:query xmlns:r='jabber:iq:roster'/>",
            "<block xmlns='urn:xmpp:blocking'><item jid='friend@example.org'/></block>",
            "<unblock xmlns='urn:xmpp:blocking'/>",
        ] {
            for kind in ["set", "get", "result"] {
                is_refused(&iq(kind, to, payload));
            }
            // One of the account's clients to another: that is no push either. To the account it is a request.
            let own = |to| pass_from(super::module(), "juliet@example.org/chamber", &iq("set", to, payload));
            assert_eq!(own(to), Err(Verdict::NoSuchUser), "{payload}");
            assert!(own("juliet@example.org").is_ok(), "{payload}");
            let server = pass_from(super::module(), "juliet@example.org", &iq("result", to, payload));
            assert!(server.is_ok(), "{payload}");
        }
        for xml in [
            iq("error", to, "<query xmlns='jabber:iq:roster'/>"),
            iq("set", to, "<x xmlns='urn:x'/>"),
        ] {
            assert!(pass(super::module(), &xml).is_ok(), "{xml}");
        }
    }
}
