//! Forgeries that a careless client would believe, stopped here (attacks.md rows 25 and 26,
//! faults.md rows 38 and 39).
//!
//! A carbon copy (XEP-0280 section 11), an archive result (XEP-0313 section 8) and a roster push
//! (RFC 6121 section 2.1.6) are believed by the address they come from, and clients have
//! repeatedly forgotten to check it. None of them ever comes from another account in good faith,
//! so none is delivered. A delay stamp in the server's own name (XEP-0203) is taken out.

use module::{Filter, Module, Passing, Stage, Verdict};
use stanza::{Jid, Kind, StanzaError, ns};

pub(crate) fn module() -> Module {
    Module::new("hardening").filter(Filter {
        stage: Stage::Incoming,
        name: "hardening",
        after: &[],
        run: refuse_forgeries,
    })
}

fn refuse_forgeries(passing: &mut Passing<'_, '_>) -> Verdict {
    match passing.stanza.kind() {
        Kind::Message(_) => {}
        // Requests to a resource of another account; RFC 6121 section 2.1.6 has the client ignore it.
        Kind::Iq(_) => {
            let forged = passing.from.bare_str() != passing.account.as_str()
                && passing.stanza.children().any(|child| child.ns() == ns::ROSTER);
            return if forged {
                Verdict::Refuse(StanzaError::service_unavailable())
            } else {
                Verdict::Pass
            };
        }
        Kind::Presence(_) => return Verdict::Pass,
    }
    for child in passing.stanza.children() {
        match child.ns() {
            // "private" is an instruction to servers, not a copy.
            ns::CARBONS if child.name() != "private" => return Verdict::Drop,
            ns::MAM if child.name() == "result" => return Verdict::Drop,
            // Whoever sends it, it would be ours alone to say.
            ns::DELAY if is_ours(passing, child.attr("from").as_deref()) => passing.edits.remove(&child),
            _ => {}
        }
    }
    Verdict::Pass
}

/// Whether the address is the server's or the account's, in any spelling: a client compares
/// addresses, not texts.
fn is_ours(passing: &Passing<'_, '_>, by: Option<&str>) -> bool {
    by.and_then(|by| Jid::parse(by.trim()).ok())
        .is_some_and(|by| by.as_str() == passing.host.domain || by.bare_str() == passing.account.as_str())
}
