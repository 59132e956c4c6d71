//! XEP-0202 Entity Time 2.0, written as XEP-0082 1.1.1 says. A server has no time zone of
//! interest, so it answers in UTC.

use module::{Answer, Ask, Coverage, Method, Module};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("time")
        .xep(82, "XMPP Date and Time Profiles", "1.1.1", Coverage::Complete)
        .xep(202, "Entity Time", "2.0", Coverage::Complete)
        .server_feature(ns::TIME)
        .server_iq(Method::Get, "time", ns::TIME, time)
}

fn time(ask: &mut Ask<'_>) -> Answer {
    Answer::Result(format!(
        "<time xmlns='{}'><tzo>+00:00</tzo><utc>{}</utc></time>",
        ns::TIME,
        ask.now.stamp()
    ))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Asked, check};

    #[test]
    fn the_time_in_utc() {
        check(
            super::module(),
            Asked::server("<time xmlns='urn:xmpp:time'/>"),
            Ok("<time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>2001-09-09T01:46:40.000Z</utc></time>"),
        );
    }
}
