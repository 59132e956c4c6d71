//! Scripted XMPP peers for tests: raw streams over TCP and TLS, and a server process to talk to.
