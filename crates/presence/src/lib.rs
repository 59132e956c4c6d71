//! Roster and subscriptions (RFC 6121): pure data and rules.
