//! The little of X.509 (RFC 5280 section 4.1) that is needed: how a certificate is signed, for its
//! `tls-server-end-point` hash, when it is valid, and which XMPP addresses it names.
//!
//! Written out because a full parser is a large dependency for four fields. Nothing here decides
//! whether a certificate is to be trusted: that is webpki's.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// Fields of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fields<'a> {
    /// The content of `signatureAlgorithm`: an object identifier and its parameters.
    signature_algorithm: &'a [u8],
    /// Start of validity, in seconds since 1970.
    pub(super) not_before: i64,
    /// End of validity, in seconds since 1970.
    pub(super) not_after: i64,
    /// The content of `subjectAltName` (RFC 5280 section 4.2.1.6), if there is one.
    names: Option<&'a [u8]>,
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Tags `[0]` and `[1]`, constructed: the explicit tags of optional fields.
const EXPLICIT_0: u8 = 0xa0;
const EXPLICIT_1: u8 = 0xa1;
/// Tag `[3]`, constructed: the extensions.
const EXPLICIT_3: u8 = 0xa3;

/// XMPP addresses that are read of one certificate; any behind them are passed over. People have a
/// few, and each is prepared at each login.
const MAX_ADDRESSES: usize = 32;

/// Splits a DER value off `input`: its tag, its content, what follows. Tags of one byte and
/// lengths of up to four are all that certificates have.
fn value(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0u64, |length, &byte| length << 8 | u64::from(byte));
            (usize::try_from(length).ok()?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// As [`value`], but only of the tag `tag`.
fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    value(input)
        .filter(|found| found.0 == tag)
        .map(|(_, content, rest)| (content, rest))
}

/// Reads the fields of a certificate in DER; `None` if it is not one.
pub(super) fn fields(certificate: &[u8]) -> Option<Fields<'_>> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (to_be_signed, rest) = expect(certificate, SEQUENCE)?;
    let (signature_algorithm, _) = expect(rest, SEQUENCE)?;

    // version [0] (absent in version 1), serialNumber, signature, issuer, validity
    let rest = match expect(to_be_signed, EXPLICIT_0) {
        Some((_, rest)) => rest,
        None => to_be_signed,
    };
    let (_, _, rest) = value(rest)?;
    let (_, _, rest) = value(rest)?;
    let (_, _, rest) = value(rest)?;
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (tag, not_before, until) = value(validity)?;
    let not_before = time(tag, not_before)?;
    let (tag, not_after, _) = value(until)?;
    let not_after = time(tag, not_after)?;
    let (_, rest) = expect(rest, SEQUENCE)?;
    Some(Fields {
        signature_algorithm,
        not_before,
        not_after,
        names: names(rest),
    })
}

/// The extension `subjectAltName`, behind the validity. What is not there as it should be is not
/// there.
fn names(rest: &[u8]) -> Option<&[u8]> {
    // 2.5.29.17
    const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    // subject, subjectPublicKeyInfo, issuerUniqueID [1] and subjectUniqueID [2] (optional), extensions [3]
    let (_, _, rest) = value(rest)?;
    let (_, _, mut rest) = value(rest)?;
    let extensions = loop {
        let (tag, content, behind) = value(rest)?;
        if tag == EXPLICIT_3 {
            break content;
        }
        rest = behind;
    };
    let (mut rest, _) = expect(extensions, SEQUENCE)?;
    while let Some((extension, behind)) = expect(rest, SEQUENCE) {
        rest = behind;
        let (identifier, content) = expect(extension, OBJECT_IDENTIFIER)?;
        if identifier == SUBJECT_ALT_NAME {
            let content = expect(content, BOOLEAN).map_or(content, |(_critical, content)| content);
            let (content, _) = expect(content, OCTET_STRING)?;
            return expect(content, SEQUENCE).map(|(names, _)| names);
        }
    }
    None
}

/// The XMPP addresses that a certificate names, as they stand there: `id-on-xmppAddr` in an
/// otherName of `subjectAltName` (RFC 6120 section 13.7.1.4).
pub(super) fn xmpp_addresses(certificate: &[u8]) -> Vec<&str> {
    let mut rest = fields(certificate).and_then(|fields| fields.names).unwrap_or_default();
    let mut addresses = Vec::new();
    while let Some((tag, name, behind)) = value(rest) {
        rest = behind;
        // otherName is [0] of GeneralName, implicit.
        if tag == EXPLICIT_0
            && let Some(address) = xmpp_address(name)
            && addresses.len() < MAX_ADDRESSES
        {
            addresses.push(address);
        }
    }
    addresses
}

/// The content of an otherName: what kind of name it is, and the name.
fn xmpp_address(name: &[u8]) -> Option<&str> {
    // 1.3.6.1.5.5.7.8.5
    const XMPP_ADDR: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x05];
    let (identifier, content) = expect(name, OBJECT_IDENTIFIER)?;
    if identifier != XMPP_ADDR {
        return None;
    }
    let (content, _) = expect(content, EXPLICIT_0)?;
    let (address, _) = expect(content, UTF8_STRING)?;
    std::str::from_utf8(address).ok()
}

/// A UTCTime or GeneralizedTime in the forms of RFC 5280 section 4.1.2.5, in seconds since 1970.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |text: &[u8]| {
        text.iter()
            .fold(0, |sum: i64, digit| sum * 10 + i64::from(digit - b'0'))
    };
    let (year, rest) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = number(&digits[..2]);
            (if year < 50 { 2000 + year } else { 1900 + year }, &digits[2..])
        }
        (GENERALIZED_TIME, 14) => (number(&digits[..4]), &digits[4..]),
        _ => return None,
    };
    let [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map(|start| number(&rest[start..start + 2]));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since 1970 in the Gregorian calendar, years counted from March so that the leap day
    // is a year's last.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    const DAYS_TO_1970: i64 = 719_468;
    Some((((days - DAYS_TO_1970) * 24 + hour) * 60 + minute) * 60 + second)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    /// MD5 or SHA-1, which RFC 5929 replaces by SHA-256.
    Replaced,
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The `tls-server-end-point` value of a certificate (RFC 5929 section 4.1): its hash by the
/// hash function of its signature, SHA-256 in place of MD5 and SHA-1. `None` where the signature
/// names no single hash function (Ed25519, say): the binding is undefined then.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_hash(fields(certificate)?.signature_algorithm)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Replaced | Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

/// The hash function of a signature algorithm.
fn signature_hash(algorithm: &[u8]) -> Option<Hash> {
    let (identifier, parameters) = expect(algorithm, OBJECT_IDENTIFIER)?;
    // pkcs-1, 1.2.840.113549.1.1 (RFC 8017 appendix C, RFC 4055 section 5)
    const PKCS_1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    // ansi-X9-62 signatures, 1.2.840.10045.4 (RFC 5758 section 3.2)
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    if let Some(last) = identifier.strip_prefix(PKCS_1) {
        return match last {
            [4] | [5] => Some(Hash::Replaced),
            [10] => pss_hash(parameters),
            [11] => Some(Hash::Sha256),
            [12] => Some(Hash::Sha384),
            [13] => Some(Hash::Sha512),
            [14] => Some(Hash::Sha224),
            _ => None,
        };
    }
    match identifier.strip_prefix(ECDSA)? {
        [1] => Some(Hash::Replaced),
        [3, 1] => Some(Hash::Sha224),
        [3, 2] => Some(Hash::Sha256),
        [3, 3] => Some(Hash::Sha384),
        [3, 4] => Some(Hash::Sha512),
        _ => None,
    }
}

/// The hash function of RSASSA-PSS-params (RFC 4055 section 3.1), if the one of the message and
/// the one of the mask are the same. Both are SHA-1 where they are left out.
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    let (parameters, _) = expect(parameters, SEQUENCE)?;
    let (message, rest) = match expect(parameters, EXPLICIT_0) {
        Some((algorithm, rest)) => (hash_function(algorithm)?, rest),
        None => (Hash::Replaced, parameters),
    };
    let mask = match expect(rest, EXPLICIT_1) {
        Some((algorithm, _)) => {
            let (algorithm, _) = expect(algorithm, SEQUENCE)?;
            let (_mgf1, hash) = expect(algorithm, OBJECT_IDENTIFIER)?;
            hash_function(hash)?
        }
        None => Hash::Replaced,
    };
    (message == mask).then_some(message)
}

/// The hash function an AlgorithmIdentifier names (RFC 4055 section 2.1).
fn hash_function(algorithm: &[u8]) -> Option<Hash> {
    let (algorithm, _) = expect(algorithm, SEQUENCE)?;
    let (identifier, _) = expect(algorithm, OBJECT_IDENTIFIER)?;
    // id-sha1, 1.3.14.3.2.26
    if identifier == [0x2b, 0x0e, 0x03, 0x02, 0x1a] {
        return Some(Hash::Replaced);
    }
    // nist hash algorithms, 2.16.840.1.101.3.4.2
    match identifier.strip_prefix(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02])? {
        [1] => Some(Hash::Sha256),
        [2] => Some(Hash::Sha384),
        [3] => Some(Hash::Sha512),
        [4] => Some(Hash::Sha224),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        #[track_caller]
        fn check(tag: u8, text: &str, expected: Option<i64>) {
            assert_eq!(time(tag, text.as_bytes()), expected, "{text}");
        }
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "000229120000Z", Some(951_825_600));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(UTC_TIME, "500101000000Z", Some(-631_152_000));
        check(GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000));
        check(GENERALIZED_TIME, "20261124135500Z", Some(1_795_528_500));
        check(GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799));
        check(UTC_TIME, "20261124135500Z", None);
        check(UTC_TIME, "700101000000", None);
        check(UTC_TIME, "70010100000xZ", None);
        check(UTC_TIME, "701301000000Z", None);
        check(UTC_TIME, "", None);
    }

    #[test]
    fn addresses_of_a_certificate() {
        #[track_caller]
        fn check(names: Vec<rcgen::SanType>, expected: &[&str]) {
            let key = rcgen::KeyPair::generate().expect("a key can be made");
            let mut params = rcgen::CertificateParams::default();
            params.subject_alt_names = names;
            let certificate = params.self_signed(&key).expect("it can be signed");
            assert_eq!(xmpp_addresses(certificate.der()), expected);
        }
        let address = |of: &str| rcgen::SanType::OtherName((vec![1, 3, 6, 1, 5, 5, 7, 8, 5], of.into()));
        let mail = rcgen::SanType::Rfc822Name("c@example.org".try_into().expect("a name"));
        let other = rcgen::SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], "d@example.org".into()));
        check(Vec::new(), &[]);
        check(vec![mail.clone()], &[]);
        check(vec![address("a@example.org")], &["a@example.org"]);
        // As they stand there: whoever asks prepares them.
        check(
            vec![address("A@example.org"), mail, other, address("b@bücher.example")],
            &["A@example.org", "b@bücher.example"],
        );
        let many = vec![address("a"); MAX_ADDRESSES + 1];
        check(many, &["a"; MAX_ADDRESSES]);
    }

    /// Whatever is cut off or changed, nothing panics.
    #[test]
    fn addresses_of_broken_certificates() {
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let mut params = rcgen::CertificateParams::default();
        params.subject_alt_names = vec![rcgen::SanType::OtherName((
            vec![1, 3, 6, 1, 5, 5, 7, 8, 5],
            "a@example.org".into(),
        ))];
        let certificate = params.self_signed(&key).expect("it can be signed").der().to_vec();
        for at in 0..certificate.len() {
            assert_eq!(xmpp_addresses(&certificate[..at]), <[&str; 0]>::default());
            let mut changed = certificate.clone();
            for byte in [0, 0x7f, 0x80, 0xff] {
                changed[at] = byte;
                xmpp_addresses(&changed);
            }
        }
    }

    #[test]
    fn hostile_der_is_refused() {
        for der in [
            &[][..],
            &[0x30][..],
            &[0x30, 0x80][..],
            &[0x30, 0x85, 1, 1, 1, 1, 1][..],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff][..],
            &[0x30, 0x02, 0x30, 0x05][..],
            &[0x30, 0x04, 0x30, 0x00, 0x30, 0x00][..],
        ] {
            assert_eq!(fields(der), None, "{der:x?}");
            assert_eq!(end_point(der), None, "{der:x?}");
            assert!(xmpp_addresses(der).is_empty(), "{der:x?}");
        }
    }

    #[test]
    fn a_mask_with_another_hash_leaves_the_binding_undefined() {
        // RSASSA-PSS-params with SHA-256 for the message and SHA-1 (the default) for the mask.
        let sha256 = [
            0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        ];
        let mut parameters = vec![0x30, 0x0f, 0xa0, 0x0d];
        parameters.extend(sha256);
        assert_eq!(pss_hash(&parameters), None);
        assert_eq!(pss_hash(&[0x30, 0]), Some(Hash::Replaced));
    }
}
