//! XEP-0388 Extensible SASL Profile 1.0.4 and XEP-0386 Bind 2 1.1.0: login, resource and everything that goes with it in one
//! request. The stream does it (`session::sasl2`); which features may be asked for says each module
//! (`Module::bind_feature`).

use module::{Coverage, Module};

pub(crate) fn module() -> Module {
    Module::new("sasl2")
        .xep(388, "Extensible SASL Profile", "1.0.4", Coverage::Complete)
        .xep(
            386,
            "Bind 2",
            "1.1.0",
            // Section 3.2 has the server drop what waits, where an archive may be off.
            Coverage::Partial("what waits and is not in the archive is handed over all the same"),
        )
}
