//! `docs/xeps.md`: which specifications the server implements, read off what the modules declare.

use std::fmt::Write as _;

use module::{Coverage, Registry};

/// What is no XEP but belongs on the page.
const RFCS: [(u16, &str, &str); 9] = [
    (6120, "XMPP: Core", "one pair of domains on a stream between servers"),
    (6121, "XMPP: Instant Messaging and Presence", "all of the server's part"),
    (
        7622,
        "XMPP: Address Format",
        "with stringprep-compatible local parts; emoji in resources",
    ),
    (5802, "SCRAM", "SHA-1, with and without channel binding"),
    (7677, "SCRAM-SHA-256", "and SHA-512 in the same manner"),
    (9266, "Channel Bindings for TLS 1.3", "tls-exporter"),
    (5929, "Channel Bindings for TLS", "tls-server-end-point"),
    (7590, "TLS in XMPP", "TLS 1.2 and 1.3 only"),
    (7395, "XMPP over WebSocket", "without see-other-uri"),
];

pub fn write(registry: &Registry) -> String {
    let mut page = String::from(
        "# What Jackdaw implements\n\n\
         Generated from the declarations of the modules by `cargo xtask docs`; do not edit.\n\n\
         | RFC | title | notes |\n| --- | --- | --- |\n",
    );
    for (number, title, notes) in RFCS {
        // Writing into a String cannot fail.
        let _ = writeln!(page, "| {number} | {title} | {notes} |");
    }
    page.push_str("\n| XEP | title | version | module | coverage |\n| --- | --- | --- | --- | --- |\n");
    for (xep, module) in registry.xeps() {
        let coverage = match xep.coverage {
            Coverage::Complete => "complete",
            Coverage::Partial(what) => what,
        };
        let _ = writeln!(
            page,
            "| {:04} | {} | {} | {module} | {coverage} |",
            xep.number, xep.title, xep.version
        );
    }
    page
}
