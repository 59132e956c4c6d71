//! The session request of RFC 3921 section 3: does nothing, but old clients wait for its answer.
//! RFC 6121 appendix E dropped it, and it is not announced.

use module::{Access, Answer, Ask, Method, Module};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("legacy-session")
        // COMPAT: mcabber and Strophe-based clients send it to the server, others without an address.
        .server_iq(Method::Set, "session", ns::SESSION, establish)
        .account_iq(Method::Set, "session", ns::SESSION, Access::Owner, establish)
}

fn establish(_: &mut Ask<'_>) -> Answer {
    Answer::Result(String::new())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Asked, check};

    #[test]
    fn a_session_is_always_established() {
        let request = "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>";
        check(super::module(), Asked::server(request).set(), Ok(""));
        check(super::module(), Asked::own_account(request).set(), Ok(""));
    }
}
