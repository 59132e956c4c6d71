//! XEP-0359 Unique and Stable Stanza IDs 0.7.0. The owner of an account writes its `<stanza-id/>`; here those go that
//! somebody else has written in its name.

use module::{Coverage, Filter, Module, Passing, Stage, Verdict};
use stanza::{JidRef, Kind, ns};

pub(crate) fn module() -> Module {
    Module::new("sid")
        .xep(359, "Unique and Stable Stanza IDs", "0.7.0", Coverage::Complete)
        // Section 5: who says so keeps the rules of section 3.
        .kept_accounts_only()
        .account_feature(ns::STANZA_IDS)
        .filter(Filter {
            stage: Stage::Incoming,
            name: "sid",
            after: &[],
            run: remove_forged,
        })
}

/// Section 3, second rule. Ids of the domain and of its other accounts go with those of the account itself: they are for
/// the eyes of their owner alone (XEP-0313 section 3.5), so nobody can have come by one in good faith. Those of rooms and
/// others below the domain come from these alone.
fn remove_forged(passing: &mut Passing<'_, '_>) -> Verdict {
    if let Kind::Message(_) = passing.stanza.kind() {
        let (domain, from) = (passing.host.domain.as_str(), passing.from.bare_str());
        let is_below = |by: &str| by.strip_suffix(domain).is_some_and(|label| label.ends_with('.'));
        let is_ours = |by: JidRef<'_>| by.domain() == domain || (is_below(by.domain()) && by.bare_str() != from);
        archive::forged(passing.stanza, is_ours, passing.edits);
    }
    Verdict::Pass
}

#[cfg(test)]
mod tests {
    use crate::testing::pass;

    #[test]
    fn ids_in_our_name_go() {
        let ours = "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/>";
        let theirs = "<stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.example.net' id='2'/>";
        let origin = "<origin-id xmlns='urn:xmpp:sid:0' id='3'/>";
        let check = |xml: &str, expected: &str| assert_eq!(pass(super::module(), xml).as_deref(), Ok(expected));
        check(
            &format!("<message>{ours}<body>hi</body>{theirs}{origin}</message>"),
            &format!("<message><body>hi</body>{theirs}{origin}</message>"),
        );
        // A room of ours says it itself, or nobody.
        let room = "<stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.example.org' id='2'/>";
        let message = format!("<message>{room}<body>hi</body></message>");
        check(&message, "<message><body>hi</body></message>");
        let said = crate::testing::pass_from(super::module(), "room@muc.example.org/nick", &message);
        assert_eq!(said.as_deref(), Ok(&*message));
        // Nobody takes one in a presence for anything.
        check(
            &format!("<presence>{ours}</presence>"),
            &format!("<presence>{ours}</presence>"),
        );
    }
}
