//! What the engines themselves implement and have to declare: offline messages, delay stamps,
//! forwarding, hints, direct TLS, channel binding, streams between servers, and the stream features of RFC 6121.

use module::{Coverage, Host, Module, Registry};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("core")
        .xep(
            160,
            "Best Practices for Handling Offline Messages",
            "1.0.1",
            Coverage::Complete,
        )
        .xep(
            175,
            "Best Practices for Use of SASL ANONYMOUS",
            "1.2",
            Coverage::Complete,
        )
        .xep(
            178,
            "Best Practices for Use of SASL EXTERNAL with Certificates",
            "1.2",
            Coverage::Partial("of clients and servers; sessions outlive a certificate that expires"),
        )
        .xep(
            185,
            "Dialback Key Generation and Validation",
            "1.0",
            Coverage::Partial("the fields have their lengths before them instead of spaces between"),
        )
        .xep(203, "Delayed Delivery", "2.0", Coverage::Complete)
        .xep(
            220,
            "Server Dialback",
            "1.1.1",
            Coverage::Partial("over TLS only, and where it is allowed; one pair of domains on a stream"),
        )
        .xep(
            288,
            "Bidirectional Server-to-Server Connections",
            "1.0.1",
            Coverage::Partial("one pair of domains on a stream"),
        )
        .xep(297, "Stanza Forwarding", "1.0", Coverage::Complete)
        .xep(334, "Message Processing Hints", "1.0.0", Coverage::Complete)
        .xep(368, "SRV records for XMPP over TLS", "1.1.0", Coverage::Complete)
        .xep(440, "SASL Channel-Binding Type Capability", "1.0.0", Coverage::Complete)
        .xep(474, "SASL SCRAM Downgrade Protection", "0.5.0", Coverage::Complete)
        .xep(
            515,
            "TLS Channel-Binding Downgrade Protection",
            "0.1.0",
            Coverage::Complete,
        )
        .server_feature(ns::MSG_OFFLINE)
        .stream_feature(roster_versioning)
        .stream_feature(pre_approval)
}

/// RFC 6121 section 2.6.1.
fn roster_versioning(host: &Host, _: &Registry) -> String {
    if host.guests.is_some() {
        return String::new();
    }
    format!("<ver xmlns='{}'/>", ns::ROSTER_VERSIONING)
}

/// RFC 6121 section 3.4.
fn pre_approval(host: &Host, _: &Registry) -> String {
    if host.guests.is_some() {
        return String::new();
    }
    format!("<sub xmlns='{}'/>", ns::PRE_APPROVAL)
}
