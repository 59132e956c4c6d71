//! The owner of every account, and delivery by the rules of RFC 6121 section 8.
