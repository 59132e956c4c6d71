//! EXTERNAL (RFC 4422 appendix A, XEP-0178) and ANONYMOUS (RFC 4505, XEP-0175): one message each, and somebody else
//! decides.

use crate::Failure;
use crate::account::folded;
use crate::message::Malformed;

/// The longest trace information of a guest, in characters (RFC 4505 section 2).
const MAX_TRACE: usize = 255;

/// `authz-id-string` of EXTERNAL: UTF-8 without NUL. Empty: the client asks for what the certificate says.
pub(crate) fn identity(data: &[u8]) -> Result<Option<&str>, Malformed> {
    let text = std::str::from_utf8(data).map_err(|_| Malformed)?;
    match text {
        "" => Ok(None),
        _ if text.contains('\0') => Err(Malformed),
        _ => Ok(Some(text)),
    }
}

/// What another server says with EXTERNAL that it is (XEP-0178 section 3): None if it leaves that to the stream's header.
///
/// # Errors
/// [`Failure::MalformedRequest`] if it is no identity at all.
pub fn server_identity(data: &[u8]) -> Result<Option<&str>, Failure> {
    identity(data).map_err(|_| Failure::MalformedRequest)
}

/// The message of ANONYMOUS: nothing, an address, or a token of 1 to 255 characters. What it says is read by people
/// only, so the grammar of addresses is not held against it; no control characters, as it goes into the log.
pub(crate) fn trace(data: &[u8]) -> Result<Option<&str>, Malformed> {
    let text = std::str::from_utf8(data).map_err(|_| Malformed)?;
    if text.chars().any(char::is_control) || text.chars().count() > MAX_TRACE {
        return Err(Malformed);
    }
    Ok((!text.is_empty()).then_some(text))
}

/// Whether a client with a certificate for these addresses can log in at `domain` at all.
pub fn certifies(addresses: &[String], domain: &str) -> bool {
    addresses.iter().any(|address| local_at(address, domain).is_some())
}

/// The localpart of an address of an account at this domain. A full JID is none.
fn local_at<'a>(address: &'a str, domain: &str) -> Option<&'a str> {
    let (local, host) = address.split_once('@')?;
    (!local.is_empty() && host.eq_ignore_ascii_case(domain)).then_some(local)
}

/// Whom a client with a certificate may log in as: the localpart at `domain`, as the certificate has it (XEP-0178
/// section 2, 10 and 11). `addresses` are the JIDs of the certificate (`id-on-xmppAddr`); the certificate was checked by
/// the caller, and whether the account is there is for the caller as well.
///
/// # Errors
/// [`Failure::NotAuthorized`] if no address is an account's at this domain; [`Failure::InvalidAuthzid`] if none is the
/// one that was asked for, or if there are several and none was.
pub fn certified<'a>(addresses: &'a [String], authzid: Option<&str>, domain: &str) -> Result<&'a str, Failure> {
    let mut locals: Vec<&str> = Vec::new();
    for local in addresses.iter().filter_map(|address| local_at(address, domain)) {
        // One that stands there twice is one.
        if !locals.iter().any(|other| folded(other) == folded(local)) {
            locals.push(local);
        }
    }
    match (authzid, &locals[..]) {
        (_, []) => Err(Failure::NotAuthorized),
        (None, [one]) => Ok(one),
        (None, _) => Err(Failure::InvalidAuthzid),
        (Some(authzid), _) => locals
            .into_iter()
            .find(|local| crate::account::same(authzid, local, domain))
            .ok_or(Failure::InvalidAuthzid),
    }
}
