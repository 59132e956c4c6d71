//! Logins that do not wait for the stream features (XEP-0509): the features have a version, a client that comes again says
//! which one it goes by, and a login by another one is sent back before anything of it is looked at.

use auth::Hash;
use stanza::ns;
use xmlstream::Element;

/// Bytes of a version: it has to differ from others of this server, not to withstand anybody.
const VERSION_BYTES: usize = 16;

/// The version of features, as they are written without it (section 2.3). With a key, so that nothing can be told of it.
pub(crate) fn version(features: &str, secret: &[u8; 32]) -> Box<str> {
    let text = ["config-version", features].join("\0");
    auth::encode(&Hash::Sha256.hmac(secret, text.as_bytes())[..VERSION_BYTES]).into()
}

/// The stream feature (section 2.1).
pub(crate) fn feature(version: &str) -> String {
    format!(
        "<config-version xmlns='{}' scheme='opaque' value='{version}'/>",
        ns::IAP
    )
}

/// Whether the request goes by other features than those that were advertised (section 2.2).
pub(crate) fn is_outdated(authenticate: &Element<'_>, version: &str) -> bool {
    let said = authenticate.child("config-version", ns::IAP);
    said.is_some_and(|said| said.attr("value").as_deref() != Some(version))
}

/// The answer to it, without prejudice.
pub(crate) fn failure(out: &mut Vec<u8>) {
    let text = format!(
        "<failure xmlns='{}'><aborted xmlns='{}'/><config-version-mismatch xmlns='{}'/></failure>",
        ns::SASL2,
        ns::SASL,
        ns::IAP
    );
    out.extend_from_slice(text.as_bytes());
}
