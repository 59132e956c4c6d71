//! The stream state machine of RFC 6120: negotiation, binding, errors, limits. No I/O.
