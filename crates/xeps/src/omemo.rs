//! XEP-0384 OMEMO Encryption 0.9.1, and 0.3.0, which most clients speak: the server's part (section 7.1). Keys are items at
//! nodes of the account. `pubsub` knows these nodes by their names, and makes them readable for everybody.

use module::{Coverage, Module};

pub(crate) fn module() -> Module {
    Module::new("omemo").xep(384, "OMEMO Encryption", "0.9.1", Coverage::Complete)
}
