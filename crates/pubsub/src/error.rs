//! Errors with the conditions of `http://jabber.org/protocol/pubsub#errors` (XEP-0060 section 12).

use stanza::{ErrorType, StanzaError, ns};
use store::StoreError;

/// With the pubsub-specific condition of this name.
pub(crate) fn with(error: StanzaError, condition: &str) -> StanzaError {
    error.app(format!("<{condition} xmlns='{}'/>", ns::PUBSUB_ERRORS))
}

/// What is not implemented, named by its feature.
pub(crate) fn unsupported(feature: &str) -> StanzaError {
    let element = format!("<unsupported xmlns='{}' feature='{feature}'/>", ns::PUBSUB_ERRORS);
    StanzaError::feature_not_implemented().app(element)
}

/// Section 8.2.3.3 and others.
pub(crate) fn node_required() -> StanzaError {
    with(StanzaError::bad_request(), "nodeid-required")
}

/// A limit of ours.
pub(crate) fn too_much(text: &'static str) -> StanzaError {
    StanzaError::policy_violation().text(text)
}

pub(crate) fn store(error: &StoreError) -> StanzaError {
    match error {
        StoreError::Overloaded => StanzaError::resource_constraint().kind(ErrorType::Wait),
        error => {
            tracing::error!(%error, "nodes of an account could not be read");
            StanzaError::internal_server_error().kind(ErrorType::Wait)
        }
    }
}
