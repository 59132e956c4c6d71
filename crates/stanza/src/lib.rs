//! The vocabulary of XMPP: JIDs, stanzas, errors, namespaces.
