//! Frames and strictly checks an XML stream; knows no XMPP policy.
