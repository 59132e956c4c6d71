//! The little of X.509 (RFC 5280 section 4.1) that is needed: how a certificate is signed, for its
//! `tls-server-end-point` hash, when it is valid, which key it is for, and which domains and XMPP addresses it names.
//!
//! Written out because a full parser is a large dependency for a few fields. Nothing here decides
//! whether a certificate is to be trusted: that is webpki's.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// Fields of a certificate.
#[derive(Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The content of `signatureAlgorithm`: an object identifier and its parameters.
    signature_algorithm: &'a [u8],
    /// Start of validity, in seconds since 1970.
    pub not_before: i64,
    /// End of validity, in seconds since 1970.
    pub not_after: i64,
    /// Who has signed it, and whom it is about: a name of X.500 each, which says nothing about domains.
    pub issuer: &'a [u8],
    pub subject: &'a [u8],
    /// `subjectPublicKeyInfo` with its tag: what pins and TLSA records of selector 1 (RFC 6698 section 2.1.2) are of.
    pub key: &'a [u8],
    extensions: Extensions<'a>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Extensions<'a> {
    /// The content of `subjectAltName` (RFC 5280 section 4.2.1.6), if there is one.
    names: Option<&'a [u8]>,
    /// There are `nameConstraints` (section 4.2.1.10).
    is_constrained: bool,
}

impl Extensions<'_> {
    /// Of extensions that cannot be read: they name nobody, and may hold any constraint.
    const BROKEN: Extensions<'static> = Extensions {
        names: None,
        is_constrained: true,
    };
}

/// A name of `subjectAltName`, as it stands there: nothing of it has been checked, and a byte may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// `dNSName`.
    Dns(&'a [u8]),
    /// `id-on-dnsSRV` (RFC 4985 section 2): `_Service.Name`.
    Srv(&'a [u8]),
    /// `id-on-xmppAddr` (RFC 6120 section 13.7.1.4).
    Xmpp(&'a str),
}

impl<'a> Fields<'a> {
    /// The names of the kinds that matter here, in their order.
    pub fn names(&self) -> impl Iterator<Item = Name<'a>> + use<'a> {
        let mut rest = self.extensions.names.unwrap_or_default();
        let one = move || {
            let (tag, content, behind) = value(rest)?;
            rest = behind;
            Some((tag, content))
        };
        std::iter::from_fn(one).filter_map(|(tag, content)| match tag {
            DNS_NAME => Some(Name::Dns(content)),
            // otherName is [0] of GeneralName, implicit.
            EXPLICIT_0 => other_name(content),
            _ => None,
        })
    }

    /// Whether it is one of an authority that may only certify some names (RFC 5280 section 4.2.1.10).
    pub fn is_constrained(&self) -> bool {
        self.extensions.is_constrained
    }
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const IA5_STRING: u8 = 0x16;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Tags `[0]` and `[1]`, constructed: the explicit tags of optional fields.
const EXPLICIT_0: u8 = 0xa0;
const EXPLICIT_1: u8 = 0xa1;
/// Tag `[2]` of GeneralName, primitive: `dNSName`.
const DNS_NAME: u8 = 0x82;
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
pub fn fields(certificate: &[u8]) -> Option<Fields<'_>> {
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
    let (_, issuer, rest) = value(rest)?;
    let (validity, rest) = expect(rest, SEQUENCE)?;
    let (tag, not_before, until) = value(validity)?;
    let not_before = time(tag, not_before)?;
    let (tag, not_after, _) = value(until)?;
    let not_after = time(tag, not_after)?;
    let (_, subject, rest) = value(rest)?;
    let (_, rest_of_key) = expect(rest, SEQUENCE)?;
    let key = &rest[..rest.len() - rest_of_key.len()];
    Some(Fields {
        signature_algorithm,
        not_before,
        not_after,
        issuer,
        subject,
        key,
        extensions: extensions(rest_of_key).unwrap_or(Extensions::BROKEN),
    })
}

/// The extensions, behind the key.
fn extensions(mut rest: &[u8]) -> Option<Extensions<'_>> {
    // 2.5.29.17 and 2.5.29.30
    const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
    // issuerUniqueID [1] and subjectUniqueID [2] (optional), extensions [3]
    let all = loop {
        if rest.is_empty() {
            return Some(Extensions::default());
        }
        let (tag, content, behind) = value(rest)?;
        if tag == EXPLICIT_3 {
            break content;
        }
        rest = behind;
    };
    let (mut rest, _) = expect(all, SEQUENCE)?;
    let mut found = Extensions::default();
    while !rest.is_empty() {
        let (extension, behind) = expect(rest, SEQUENCE)?;
        rest = behind;
        let (identifier, content) = expect(extension, OBJECT_IDENTIFIER)?;
        match identifier {
            SUBJECT_ALT_NAME if found.names.is_none() => {
                let content = expect(content, BOOLEAN).map_or(content, |(_critical, content)| content);
                let (content, _) = expect(content, OCTET_STRING)?;
                let (names, _) = expect(content, SEQUENCE)?;
                found.names = Some(names);
            }
            NAME_CONSTRAINTS => found.is_constrained = true,
            _ => {}
        }
    }
    Some(found)
}

/// The XMPP addresses that a certificate names, as they stand there: `id-on-xmppAddr` in an
/// otherName of `subjectAltName` (RFC 6120 section 13.7.1.4).
pub(super) fn xmpp_addresses(certificate: &[u8]) -> Vec<&str> {
    let names = fields(certificate).into_iter().flat_map(|fields| fields.names());
    let addresses = names.filter_map(|name| match name {
        Name::Xmpp(address) => Some(address),
        _ => None,
    });
    addresses.take(MAX_ADDRESSES).collect()
}

/// The content of an otherName: what kind of name it is, and the name.
fn other_name(name: &[u8]) -> Option<Name<'_>> {
    // 1.3.6.1.5.5.7.8.5 and .7
    const XMPP_ADDR: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x05];
    const DNS_SRV: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x07];
    let (identifier, content) = expect(name, OBJECT_IDENTIFIER)?;
    let (content, _) = expect(content, EXPLICIT_0)?;
    match identifier {
        XMPP_ADDR => {
            let (address, _) = expect(content, UTF8_STRING)?;
            std::str::from_utf8(address).ok().map(Name::Xmpp)
        }
        DNS_SRV => expect(content, IA5_STRING).map(|(name, _)| Name::Srv(name)),
        _ => None,
    }
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

    #[test]
    fn names_and_key_of_a_certificate() {
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let mut params = rcgen::CertificateParams::new(vec!["*.example.org".to_owned()]).expect("a name");
        // 1.3.6.1.5.5.7.8.7 with an IA5String, which rcgen cannot write: as an extension of its own.
        let srv = b"_xmpp-server.example.org";
        let mut other = vec![0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x07];
        other.extend([EXPLICIT_0, srv.len() as u8 + 2, IA5_STRING, srv.len() as u8]);
        other.extend(srv);
        let dns = b"a\0b";
        let mut names = vec![DNS_NAME, dns.len() as u8];
        names.extend(dns);
        names.extend([EXPLICIT_0, other.len() as u8]);
        names.extend(other);
        let mut content = vec![SEQUENCE, names.len() as u8];
        content.extend(names);
        params.subject_alt_names.clear();
        params.custom_extensions = vec![rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 17], content)];
        let certificate = params.self_signed(&key).expect("it can be signed");
        let fields = fields(certificate.der()).expect("a certificate");
        let found: Vec<_> = fields.names().collect();
        assert_eq!(found, [Name::Dns(dns), Name::Srv(srv)]);
        assert_eq!(fields.key, rcgen::PublicKeyData::subject_public_key_info(&key));
        assert_eq!(fields.issuer, fields.subject);
        assert!(!fields.is_constrained());
    }

    #[test]
    fn constraints_of_an_authority() {
        let key = rcgen::KeyPair::generate().expect("a key can be made");
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("example.org".to_owned())],
            excluded_subtrees: Vec::new(),
        });
        let certificate = params.self_signed(&key).expect("it can be signed");
        let fields = fields(certificate.der()).expect("a certificate");
        assert!(fields.is_constrained());
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
