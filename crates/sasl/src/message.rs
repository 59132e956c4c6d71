//! The messages a client sends, read strictly by RFC 5802 section 7 and RFC 4616 section 2. They borrow from the bytes.

use std::borrow::Cow;

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;

/// The message does not follow the grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// `gs2-cbind-flag`: what the client thinks of channel binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag<'a> {
    /// `n`: the client does not know it.
    None,
    /// `y`: the client does, and saw no -PLUS offered.
    NotOffered,
    /// `p=`: the client binds to this type.
    Type(&'a str),
}

/// `client-first-message`.
#[derive(Debug)]
pub(crate) struct ClientFirst<'a> {
    pub(crate) flag: Flag<'a>,
    pub(crate) authzid: Option<Cow<'a, str>>,
    /// The user name without its escapes, otherwise as sent.
    pub(crate) user: Cow<'a, str>,
    pub(crate) nonce: &'a str,
    /// `gs2-header` as sent: it returns in `c=`.
    pub(crate) header: &'a str,
    /// `client-first-message-bare` as sent: a part of AuthMessage.
    pub(crate) bare: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<ClientFirst<'a>, Malformed> {
        let text = text(data)?;
        let (flag, authzid, bare) = gs2_header(text)?;

        // `m=` could only stand where `n=` has to, so it is refused here (section 5.1: MUST fail).
        let mut attributes = bare.split(',');
        let user = name(value(attributes.next(), "n=")?)?;
        let nonce = value(attributes.next(), "r=")?;
        if !is_nonce(nonce) {
            return Err(Malformed);
        }
        attributes.try_for_each(extension)?;
        Ok(ClientFirst {
            flag,
            authzid,
            user,
            nonce,
            header: &text[..text.len() - bare.len()],
            bare,
        })
    }
}

/// `gs2-header`, and what follows it.
pub(crate) fn gs2_header(text: &str) -> Result<(Flag<'_>, Option<Cow<'_, str>>, &str), Malformed> {
    let (flag, rest) = text.split_once(',').ok_or(Malformed)?;
    let (authzid, rest) = rest.split_once(',').ok_or(Malformed)?;
    let flag = match flag {
        "n" => Flag::None,
        "y" => Flag::NotOffered,
        _ => Flag::Type(binding_name(flag.strip_prefix("p=").ok_or(Malformed)?)?),
    };
    let authzid = match authzid {
        "" => None,
        _ => Some(name(authzid.strip_prefix("a=").ok_or(Malformed)?)?),
    };
    Ok((flag, authzid, rest))
}

/// `client-final-message`.
#[derive(Debug)]
pub(crate) struct ClientFinal<'a> {
    /// `cbind-input`, decoded.
    pub(crate) binding: Vec<u8>,
    pub(crate) nonce: &'a str,
    pub(crate) proof: Vec<u8>,
    /// `client-final-message-without-proof` as sent: a part of AuthMessage.
    pub(crate) without_proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<ClientFinal<'a>, Malformed> {
        let text = text(data)?;
        let (without_proof, proof) = text.rsplit_once(',').ok_or(Malformed)?;
        let proof = bytes(value(Some(proof), "p=")?)?;
        let mut attributes = without_proof.split(',');
        let binding = bytes(value(attributes.next(), "c=")?)?;
        let nonce = value(attributes.next(), "r=")?;
        attributes.try_for_each(extension)?;
        Ok(ClientFinal {
            binding,
            nonce,
            proof,
            without_proof,
        })
    }
}

/// The message of PLAIN.
pub(crate) struct PlainMessage<'a> {
    /// Absent if empty (RFC 6120 section 6.6: the two are equivalent).
    pub(crate) authzid: Option<&'a str>,
    pub(crate) user: &'a str,
    pub(crate) password: &'a str,
}

impl<'a> PlainMessage<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<PlainMessage<'a>, Malformed> {
        let text = std::str::from_utf8(data).map_err(|_| Malformed)?;
        let mut fields = text.split('\0');
        let mut field = || fields.next().ok_or(Malformed);
        let (authzid, user, password) = (field()?, field()?, field()?);
        if fields.next().is_some() || user.is_empty() || password.is_empty() {
            return Err(Malformed);
        }
        Ok(PlainMessage {
            authzid: (!authzid.is_empty()).then_some(authzid),
            user,
            password,
        })
    }
}

/// Whether this may be a nonce, whole or half: `printable` of section 7, one at least.
pub(crate) fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

fn text(data: &[u8]) -> Result<&str, Malformed> {
    let text = std::str::from_utf8(data).map_err(|_| Malformed)?;
    if text.contains('\0') { Err(Malformed) } else { Ok(text) }
}

/// The value of the attribute that has to stand here. Not empty: `value = 1*value-char`.
fn value<'a>(attribute: Option<&'a str>, key: &str) -> Result<&'a str, Malformed> {
    let value = attribute
        .and_then(|attribute| attribute.strip_prefix(key))
        .ok_or(Malformed)?;
    if value.is_empty() { Err(Malformed) } else { Ok(value) }
}

/// `saslname`. `=` stands only before `2C` and `3D`; else the server MUST fail (section 5.1, `n`), and that holds for
/// lower case too, as nothing else tells how a name that holds `=2c` is meant.
fn name(escaped: &str) -> Result<Cow<'_, str>, Malformed> {
    if escaped.is_empty() {
        return Err(Malformed);
    }
    let mut parts = escaped.split('=');
    // `split` yields one part at least.
    let first = parts.next().unwrap_or_default();
    if first.len() == escaped.len() {
        return Ok(Cow::Borrowed(escaped));
    }
    let mut name = first.to_owned();
    for part in parts {
        let (char, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Malformed),
        };
        name.push(char);
        name.push_str(rest);
    }
    Ok(Cow::Owned(name))
}

/// `cb-name`.
fn binding_name(text: &str) -> Result<&str, Malformed> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-';
    if !text.is_empty() && text.bytes().all(fits) {
        Ok(text)
    } else {
        Err(Malformed)
    }
}

/// `base64`, strict. An empty value never gets here.
fn bytes(text: &str) -> Result<Vec<u8>, Malformed> {
    STANDARD.decode(text).map_err(|_| Malformed)
}

/// An optional extension: ignored if RFC 5802 does not define the attribute, else it is in the wrong place, twice, or
/// `m=` (section 5.1: mandatory extensions MUST fail).
fn extension(attribute: &str) -> Result<(), Malformed> {
    let (key, value) = attribute.split_once('=').ok_or(Malformed)?;
    let defined = "anmrcsipve";
    let letter = key.len() == 1 && key.bytes().all(|byte| byte.is_ascii_alphabetic());
    if letter && !defined.contains(key) && !value.is_empty() {
        Ok(())
    } else {
        Err(Malformed)
    }
}
