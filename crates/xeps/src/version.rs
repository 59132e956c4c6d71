//! XEP-0092 Software Version 1.1: which server this is. Not which operating system: it helps
//! nobody but an attacker, and section 4 leaves it to us.

use module::{Answer, Ask, Coverage, Method, Module};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("version")
        .xep(92, "Software Version", "1.1", Coverage::Complete)
        .server_feature(ns::VERSION)
        .server_iq(Method::Get, "query", ns::VERSION, version)
        .every_service_feature(ns::VERSION)
        .every_service_iq(Method::Get, "query", ns::VERSION, version)
}

fn version(ask: &mut Ask<'_>) -> Answer {
    let software = ask.host.software;
    Answer::Result(format!(
        "<query xmlns='{}'><name>{}</name><version>{}</version></query>",
        ns::VERSION,
        software.name,
        software.version
    ))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Asked, check};

    #[test]
    fn name_and_version() {
        check(
            super::module(),
            Asked::server("<query xmlns='jabber:iq:version'/>"),
            Ok("<query xmlns='jabber:iq:version'><name>Jackdaw</name><version>0.0</version></query>"),
        );
    }
}
