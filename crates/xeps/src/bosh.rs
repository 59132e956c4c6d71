//! XEP-0124 Bidirectional-streams Over Synchronous HTTP 1.11.2 and XEP-0206 XMPP Over BOSH 1.4. The listener of HTTP does
//! it (`http::bosh`), and tells clients where it is (XEP-0156).

use module::{Coverage, Module};

pub(crate) fn module() -> Module {
    Module::new("bosh")
        .xep(
            124,
            "Bidirectional-streams Over Synchronous HTTP (BOSH)",
            "1.11.2",
            Coverage::Partial(
                "one stream in a session; no compression and no encoding but UTF-8; no response of a type that browsers \
                 run; missing responses are not reported (section 9.2)",
            ),
        )
        .xep(206, "XMPP Over BOSH", "1.4", Coverage::Complete)
}
