//! Which account a name means, and the stand-in for an account that is not there.

use std::borrow::Cow;

use crate::{Hash, SALT_LENGTH, Verifier};

/// The form in which names of accounts are compared: nodeprep (RFC 6122 appendix A), the preparation of localparts.
/// Names that it refuses are compared as they are; they name no account.
pub(crate) fn folded(user: &str) -> Cow<'_, str> {
    stringprep::nodeprep(user).unwrap_or(Cow::Borrowed(user))
}

/// Whether an authorization identity is the bare JID of the authenticated account (RFC 6120 section 6.3.8). Localparts
/// are compared after nodeprep, domains without regard to ASCII case and exactly otherwise: whatever is not plainly the
/// same is not the same.
pub(crate) fn same(authzid: &str, user: &str, domain: &str) -> bool {
    authzid
        .split_once('@')
        .is_some_and(|(local, host)| folded(local) == folded(user) && host.eq_ignore_ascii_case(domain))
}

/// The verifier shown for a user who does not exist: always the same for the same name, so that asking twice shows
/// no difference to a real account, and underivable without the server's secret. Its StoredKey is no hash of anything.
pub(crate) fn stand_in(secret: &[u8; 32], iterations: u32, user: &str, hash: Hash) -> Verifier {
    let user = folded(user);
    // The hash is part of it, as a real account has another salt for each.
    let part = |kind: &str| {
        let message = [kind, hash.name(), &user].join("\0");
        Hash::Sha512.hmac(secret, message.as_bytes())
    };
    let sized = |mut bytes: Vec<u8>, length: usize| {
        bytes.truncate(length);
        bytes
    };
    Verifier {
        salt: sized(part("salt"), SALT_LENGTH),
        iterations,
        stored_key: sized(part("stored"), hash.length()),
        server_key: sized(part("server"), hash.length()),
    }
}
