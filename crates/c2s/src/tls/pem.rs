//! Reading PEM files (RFC 7468). The one place that uses `rustls-pemfile`, which is unmaintained
//! (RUSTSEC-2025-0134) and a thin layer over the parser of `rustls-pki-types`; what it reads is
//! the administrator's own file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The largest PEM file that is read, in bytes. A chain is a few kB.
const MAX_FILE: u64 = 1 << 20;

/// The bytes of a PEM file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is larger than a PEM file can be",
        ));
    }
    Ok(text)
}

/// All certificates in the order of the file, which is the order of the chain.
pub(super) fn certificates(mut text: &[u8]) -> io::Result<Vec<CertificateDer<'static>>> {
    rustls_pemfile::certs(&mut text).collect()
}

/// The first private key: PKCS #8, PKCS #1 or SEC 1.
pub(super) fn private_key(mut text: &[u8]) -> io::Result<Option<PrivateKeyDer<'static>>> {
    rustls_pemfile::private_key(&mut text)
}

/// Whether the file holds a key under a pass phrase, which nobody could type at start.
pub(super) fn has_encrypted_key(text: &[u8]) -> bool {
    let contains = |needle: &[u8]| text.windows(needle.len()).any(|window| window == needle);
    contains(b"BEGIN ENCRYPTED PRIVATE KEY") || contains(b"Proc-Type: 4,ENCRYPTED")
}
