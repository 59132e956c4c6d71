//! The error conditions of RFC 6120 section 6.5.

use std::fmt;

/// Why an attempt failed, in the words of RFC 6120 section 6.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The client sent `<abort/>` (6.5.1). Never made by an [`Exchange`](crate::Exchange): the session answers aborts.
    Aborted,
    /// The password was right, but the account is disabled (6.5.2).
    AccountDisabled,
    /// The password was right, but has expired (6.5.3). For the session's use; credentials here do not expire.
    CredentialsExpired,
    /// The mechanism needs TLS (6.5.4).
    EncryptionRequired,
    /// Not base 64 (6.5.5).
    IncorrectEncoding,
    /// The authorization identity is not the bare JID of the account (6.5.6).
    InvalidAuthzid,
    /// Unknown mechanism, or one not offered on this stream (6.5.7).
    InvalidMechanism,
    /// The message breaks the syntax of the mechanism, or comes out of order (6.5.8).
    MalformedRequest,
    /// Policy wants a stronger mechanism (6.5.9). For the session's use.
    MechanismTooWeak,
    /// Wrong password, unknown user, channel binding or nonce that does not match (6.5.10).
    NotAuthorized,
    /// The accounts cannot be read at the moment (6.5.11).
    TemporaryAuthFailure,
}

impl Failure {
    /// Every condition, in the order of RFC 6120.
    pub const ALL: [Failure; 11] = [
        Failure::Aborted,
        Failure::AccountDisabled,
        Failure::CredentialsExpired,
        Failure::EncryptionRequired,
        Failure::IncorrectEncoding,
        Failure::InvalidAuthzid,
        Failure::InvalidMechanism,
        Failure::MalformedRequest,
        Failure::MechanismTooWeak,
        Failure::NotAuthorized,
        Failure::TemporaryAuthFailure,
    ];

    /// The name of the element of the condition.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Aborted => "aborted",
            Failure::AccountDisabled => "account-disabled",
            Failure::CredentialsExpired => "credentials-expired",
            Failure::EncryptionRequired => "encryption-required",
            Failure::IncorrectEncoding => "incorrect-encoding",
            Failure::InvalidAuthzid => "invalid-authzid",
            Failure::InvalidMechanism => "invalid-mechanism",
            Failure::MalformedRequest => "malformed-request",
            Failure::MechanismTooWeak => "mechanism-too-weak",
            Failure::NotAuthorized => "not-authorized",
            Failure::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }

    /// Appends the whole `<failure/>` element. There is no `<text/>`: it would tell apart what shall look the same.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><");
        out.extend_from_slice(self.name().as_bytes());
        out.extend_from_slice(b"/></failure>");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl std::error::Error for Failure {}
