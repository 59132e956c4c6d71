//! What an exchange is told, what it asks for, and what it is answered.

use std::fmt;

use zeroize::Zeroizing;

use crate::bearer::Bearer;
use crate::{Binding, Credentials, Failure, Offer, PasswordCheck, Token, TokenUse};

/// What an exchange has to know of its stream and its server.
#[derive(Clone)]
pub struct Context {
    /// The domain the client logs in to, prepared: the domain of its bare JID.
    pub domain: String,
    /// Whether the stream is under TLS.
    pub tls: bool,
    /// What the TLS channel offers to bind to. Ignored without TLS.
    pub binding: Binding,
    /// What the client was offered in the profile that it uses.
    pub offer: Offer,
    /// The server's part of the nonce: from the shell's random generator, new for each exchange,
    /// [`MIN_NONCE`](crate::MIN_NONCE) printable ASCII characters at least, no comma (RFC 5802 section 5.1, `r`).
    pub nonce: String,
    /// The key from which salts of users who do not exist are made. Random, kept for the life of the server: if it
    /// changes, salts of those users do and those of real ones do not.
    pub secret: [u8; 32],
    /// The iteration count shown to users who do not exist: the one that passwords are set with here. Accounts whose
    /// password was set with another can be told apart until it is set anew.
    pub iterations: u32,
    /// Where a client gets a bearer token from. For OAUTHBEARER only.
    pub bearer: BearerHint,
}

impl fmt::Debug for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Context")
            .field("domain", &self.domain)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// What a client is told whose bearer token was not good (RFC 7628 section 3.2.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BearerHint {
    /// The scope that a token has to have.
    pub scope: Option<String>,
    /// The URL of the OpenID Provider Configuration; https.
    pub openid_configuration: Option<String>,
}

/// What is to do next.
#[derive(Debug)]
pub enum Step {
    /// Send `<challenge/>` with this, then give the answer to [`Exchange::respond`](crate::Exchange::respond).
    Challenge(Vec<u8>),
    /// Look the account up and call [`Exchange::supply`](crate::Exchange::supply).
    ///
    /// `user` is the user name without its SCRAM escapes and otherwise as sent, not empty. It is neither SASLprepped nor
    /// a valid localpart: prepare it as a localpart, which maps and refuses all that SASLprep does (RFC 5802 section
    /// 5.1, `n`, lets the server do so), and supply [`Lookup::Missing`] if that fails.
    Lookup { user: String },
    /// Run this where it may take milliseconds, and call [`Exchange::checked`](crate::Exchange::checked) with the result.
    Check(PasswordCheck),
    /// Ask whether this is the password of the account that was looked up, and whether it may log in, and call
    /// [`Exchange::decide`](crate::Exchange::decide).
    Password(Password),
    /// Look up the account and its tokens, and call [`Exchange::supply_tokens`](crate::Exchange::supply_tokens). `user`
    /// as for [`Step::Lookup`].
    Tokens { user: String },
    /// Find out whom the client's certificate speaks for ([`certified`](crate::certified) does), whether that account may
    /// log in, and call [`Exchange::decide`](crate::Exchange::decide).
    Certificate { authzid: Option<String> },
    /// Find out whom the bearer token speaks for and whether that account may log in, and call
    /// [`Exchange::decide`](crate::Exchange::decide).
    Bearer(Bearer),
    /// Make up an account for a guest and call [`Exchange::decide`](crate::Exchange::decide). `trace` is what the guest
    /// says of itself: for the log and for nothing else (XEP-0175 section 3).
    Guest { trace: Option<String> },
    /// Logged in. `user` is the name of the look-up, or the one that was [granted](Verdict::Granted); it is the
    /// authorization identity too, as no other is accepted. Send `<success/>` with the data.
    Success {
        user: String,
        data: Option<Vec<u8>>,
        proof: Proof,
    },
    /// Send `<failure/>` with this.
    Failure(Failure),
}

/// A password for somebody else to judge; not empty.
pub struct Password(pub Zeroizing<String>);

/// Without the secret.
impl fmt::Debug for Password {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("Password").finish_non_exhaustive()
    }
}

/// What a client logged in with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    Password,
    Token(TokenUse),
    Certificate,
    Bearer,
    /// None: a guest.
    Nothing,
}

/// The account that was looked up.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It may log in with these.
    Found(Credentials),
    /// There is none of that name.
    Missing,
    /// It is disabled: the client is told so if it has the right password, else it is told what all are.
    Disabled(Credentials),
    /// Its password is not kept here: somebody else has to be asked. Only a mechanism that shows the password can go on.
    Elsewhere,
    /// The accounts cannot be read.
    Unavailable,
}

/// The tokens that were looked up.
#[derive(Clone, Debug)]
pub enum TokenLookup {
    /// The account may log in, and has these; none, too.
    Found(Vec<Token>),
    /// There is no such account.
    Missing,
    /// It is disabled: the client is told so if it has a right token, else it is told what all are.
    Disabled(Vec<Token>),
    /// They cannot be read.
    Unavailable,
}

/// Whom a certificate, a bearer token or a password speaks for, or which account a guest gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This one (a localpart), and it may log in.
    Granted { user: String },
    /// This proves nothing, or the account is not there, or there is no room for more guests.
    Refused,
    /// A bearer token that is good, but not for this server (RFC 6750 section 3.1, `insufficient_scope`).
    WrongScope,
    /// It is good, but not for the identity that was asked for; or it is for several, and none was asked for.
    WrongIdentity,
    /// It is good and has expired.
    Expired,
    /// It is good, and the account is disabled.
    Disabled,
    /// It cannot be found out at the moment.
    Unavailable,
}
