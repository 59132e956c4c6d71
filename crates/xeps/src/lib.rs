//! XMPP extensions, one file each.
