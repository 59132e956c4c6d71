//! XEP-0280 Message Carbons 1.0.1: copies of a user's messages to their other devices. Which messages are copied says
//! `archive::keeping`; the owner of the account copies; here a session switches it on and off.

use module::{Access, Answer, Ask, Coverage, Method, Module, Switches};
use stanza::{StanzaError, ns};

pub(crate) fn module() -> Module {
    Module::new("carbons")
        .xep(280, "Message Carbons", "1.0.1", Coverage::Complete)
        // COMPAT: clients look for it at the server (section 3), some at the account.
        .server_feature(ns::CARBONS)
        .server_feature(ns::CARBONS_RULES)
        .account_feature(ns::CARBONS)
        .account_feature(ns::CARBONS_RULES)
        .bind_feature(ns::CARBONS)
        .account_iq(Method::Set, "enable", ns::CARBONS, Access::Owner, |ask| {
            switch(ask, true)
        })
        .account_iq(Method::Set, "disable", ns::CARBONS, Access::Owner, |ask| {
            switch(ask, false)
        })
}

/// Sections 4 and 5. Asking twice is no error (section 10.1).
fn switch(ask: &mut Ask<'_>, on: bool) -> Answer {
    let Some(switches) = ask.switches else {
        // Sections 4.1 and 5.1: a session that is not here has nothing to switch.
        return Answer::Error(StanzaError::not_allowed());
    };
    switches.set(switches.get().with(Switches::CARBONS, on));
    Answer::Result(String::new())
}

#[cfg(test)]
mod tests {
    use module::{Answer, Switches};

    use crate::testing::{Asked, ask};

    const ENABLE: &str = "<enable xmlns='urn:xmpp:carbons:2'/>";
    const DISABLE: &str = "<disable xmlns='urn:xmpp:carbons:2'/>";

    #[test]
    fn a_session_switches_its_copies_on_and_off() {
        let check = |payload: &str, before: bool, after: bool| {
            let others = Switches::from_bits(0x80);
            let asked = Asked::own_account(payload)
                .set()
                .with(others.with(Switches::CARBONS, before));
            let (answer, switches) = ask(super::module(), asked);
            assert!(matches!(answer, Answer::Result(payload) if payload.is_empty()));
            assert_eq!(switches, others.with(Switches::CARBONS, after));
        };
        for before in [true, false] {
            check(ENABLE, before, true);
            check(DISABLE, before, false);
        }
    }
}
