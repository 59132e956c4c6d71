//! XEP-0199 XMPP Ping 2.0.1: is there somebody?

use module::{Access, Answer, Ask, Coverage, Method, Module};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("ping")
        .xep(199, "XMPP Ping", "2.0.1", Coverage::Complete)
        .server_feature(ns::PING)
        .account_feature(ns::PING)
        .server_iq(Method::Get, "ping", ns::PING, pong)
        .every_service_feature(ns::PING)
        .every_service_iq(Method::Get, "ping", ns::PING, pong)
        .account_iq(Method::Get, "ping", ns::PING, Access::Subscriber, pong)
}

fn pong(_: &mut Ask<'_>) -> Answer {
    Answer::Result(String::new())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Asked, check};

    #[test]
    fn a_ping_has_an_empty_answer() {
        check(super::module(), Asked::server("<ping xmlns='urn:xmpp:ping'/>"), Ok(""));
        check(
            super::module(),
            Asked::own_account("<ping xmlns='urn:xmpp:ping'/>"),
            Ok(""),
        );
    }
}
