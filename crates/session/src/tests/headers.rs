//! The stream header (RFC 6120 section 4.7; rows 1 to 10 of the faults).

use super::world::*;
use crate::{Next, TlsPolicy};

const TLS_FEATURES: &str = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
     <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>1500</max-bytes></limits></stream:features>";

/// However `opening` is cut, it is answered with our header, which has this `to`, and then this.
fn check(opening: impl AsRef<[u8]>, to: &str, answer: &str) {
    let world = World::new();
    let opening = opening.as_ref();
    let name = String::from_utf8_lossy(opening).into_owned();
    let expected = header(1, to) + answer;
    however_cut(
        || world.connect(false),
        opening,
        |cut, mut peer| {
            assert_eq!(peer.said(), expected, "{name}, {cut}");
            let ended = answer.ends_with(CLOSE);
            assert_eq!(peer.next == Next::Close, ended, "{name}, {cut}");
            if ended {
                peer.send(OPEN);
                assert_eq!(peer.said(), "", "{name}: nothing is read behind an error");
            }
        },
    );
}

/// A header with other attributes of the root element.
fn root(attributes: &str) -> String {
    format!("<stream:stream {attributes}>")
}

#[test]
fn good_headers() {
    check(OPEN, "", TLS_FEATURES);
    let usual = format!("xmlns='jabber:client' xmlns:stream='{NS_STREAM}'");
    check(
        root(&format!("to='example.org' version='1.0' {usual}")),
        "",
        TLS_FEATURES,
    );
    for declaration in [
        "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\" standalone='yes'?>\r\n",
        "<?xml version='1.0' ?>",
        "\n \t",
    ] {
        let opening = format!(
            "{declaration}{}",
            root(&format!("version='1.0' to='EXAMPLE.org' {usual}"))
        );
        check(opening, "", TLS_FEATURES);
    }
    // Section 4.7.2: to whom it says it is; section 4.7.3: an id of the client's is ignored.
    let attributes = format!("id='x' from='Juliet@example.org/balcony' to='example.org' version='1.0' {usual}");
    check(root(&attributes), "juliet@example.org", TLS_FEATURES);
    // Section 4.7.5: the lower of two versions.
    for version in ["1.1", "2.0", "12.34", "01.0", "4294967296.0"] {
        let attributes = format!("to='example.org' version='{version}' {usual}");
        check(root(&attributes), "", TLS_FEATURES);
    }
    // Prefixes of its own, and an unusual language.
    let attributes = format!("to='example.org' version='1.0' xmlns:a='urn:a' xml:lang='de-CH' {usual}");
    check(root(&attributes), "", TLS_FEATURES);
}

#[test]
fn faulty_headers() {
    let check = |opening: &str, condition: &str| check(opening, "", &error(condition));
    let usual = format!("xmlns='jabber:client' xmlns:stream='{NS_STREAM}'");
    let rest = "to='example.org' version='1.0'";
    // Row 6.
    check(
        &OPEN.replace("'1.0'?>", "'1.0' encoding='iso-8859-1'?>"),
        "unsupported-encoding",
    );
    check(
        &OPEN.replace("<?xml version='1.0'", "<?xml version='1.1'"),
        "restricted-xml",
    );
    check(
        &OPEN.replace("<?xml version='1.0'", "<?xml version='2.0'"),
        "not-well-formed",
    );
    // Row 7.
    check(
        &root(&format!(
            "{rest} xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/stream'"
        )),
        "invalid-namespace",
    );
    check(&format!("<stream:flow {rest} {usual}>"), "bad-format");
    // Row 8.
    for content in ["jabber:server", "jabber:clients", "urn:x"] {
        check(
            &root(&format!("{rest} xmlns='{content}' xmlns:stream='{NS_STREAM}'")),
            "invalid-namespace",
        );
    }
    check(
        &root(&format!("{rest} xmlns:stream='{NS_STREAM}'")),
        "invalid-namespace",
    );
    check(&root(&format!("{rest} xmlns='jabber:client'")), "bad-namespace-prefix");
    check(&format!("<stream {rest} xmlns='{NS_STREAM}'>"), "bad-namespace-prefix");
    check(
        &format!("<s:stream {rest} xmlns='jabber:client' xmlns:s='{NS_STREAM}'>"),
        "bad-namespace-prefix",
    );
    // Row 9.
    for version in ["", "version='0.9'", "version='1'", "version=''", "version='one.0'"] {
        check(
            &root(&format!("to='example.org' {version} {usual}")),
            "unsupported-version",
        );
    }
    // Row 10.
    check(&root(&format!("version='1.0' {usual}")), "improper-addressing");
    for host in [
        "elsewhere.example",
        "",
        "juliet@example.org",
        "exa mple.org",
        "example.org/x",
    ] {
        check(&root(&format!("to='{host}' version='1.0' {usual}")), "host-unknown");
    }
    // Rows 1 to 4.
    check("<!DOCTYPE stream:stream [<!ENTITY a 'b'>]>", "restricted-xml");
    check("<?xml version='1.0'?><!-- -->", "restricted-xml");
    check("<?php x?>", "restricted-xml");
    check("GET / HTTP/1.1\r\n", "not-well-formed");
    check("</stream:stream>", "not-well-formed");
    check(
        &root(&format!("to='example.org' to='example.org' version='1.0' {usual}")),
        "not-well-formed",
    );
    check(&root(&format!("to='&host;' version='1.0' {usual}")), "restricted-xml");
}

/// Row 6: what is not UTF-8.
#[test]
fn other_encodings() {
    for bom in [&b"\xff\xfe<\0?\0"[..], b"\xfe\xff\0<\0?", b"<\0?\0x\0", b"\0<\0?"] {
        check(bom, "", &error("unsupported-encoding"));
    }
    let bad = OPEN.replace("example.org", "@").into_bytes();
    let at = bad.iter().position(|&byte| byte == b'@').expect("the place");
    for bytes in [
        &b"\xc0\x80"[..],
        b"\xed\xa0\x80",
        b"\xff",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82'",
    ] {
        let bytes = [&bad[..at], bytes, &bad[at + 1..]].concat();
        check(bytes, "", &error("not-well-formed"));
    }
}

#[test]
fn each_stream_has_features_of_its_own() {
    let scram =
        "<mechanism>SCRAM-SHA-512</mechanism><mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism>";
    let plus = "<mechanism>SCRAM-SHA-512-PLUS</mechanism><mechanism>SCRAM-SHA-256-PLUS</mechanism>\
                <mechanism>SCRAM-SHA-1-PLUS</mechanism>";
    let starttls = format!("<starttls xmlns='{NS_TLS}'></starttls>");
    let clear = format!("<mechanisms xmlns='{NS_SASL}'>{scram}</mechanisms>");
    let sasl2 = format!(
        "<authentication xmlns='urn:xmpp:sasl:2'>{plus}{scram}<mechanism>PLAIN</mechanism>\
         <inline><sm xmlns='urn:xmpp:sm:3'/><bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:test:switch'/>\
         </inline></bind></inline><upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade>\
         <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade></authentication>"
    );
    // XEP-0440 section 2: beside the mechanisms.
    let secured = format!(
        "<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/>\
         <channel-binding type='tls-server-end-point'/></sasl-channel-binding>\
         {sasl2}<mechanisms xmlns='{NS_SASL}'>{plus}{scram}<mechanism>PLAIN</mechanism></mechanisms>"
    );
    for (tls, is_secured, features) in [
        (TlsPolicy::Optional, false, starttls.clone() + &clear),
        (TlsPolicy::Off, false, clear),
        (TlsPolicy::Required, true, secured.clone()),
        (TlsPolicy::Off, true, secured.clone()),
    ] {
        let mut peer = World::new().with_tls(tls).connect(is_secured);
        peer.send(OPEN);
        let said = peer.said();
        let (said, version) = said
            .split_once("<config-version ")
            .unwrap_or((&said, "</stream:features>"));
        assert_eq!(
            said.trim_end_matches("</stream:features>"),
            // XEP-0478 section 4.1.
            header(1, "")
                + "<stream:features>"
                + &features
                + "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>1500</max-bytes></limits>",
            "{tls:?} {is_secured}"
        );
        // XEP-0509 section 2.1, with SASL2 only.
        assert_eq!(
            version.starts_with("xmlns='urn:xmpp:iap:0' scheme='opaque' value='"),
            is_secured
        );
        assert!(version.ends_with("</stream:features>"));
    }
    // Without anything to bind to, nothing is said of it.
    let mut peer = World::new().connect(true);
    peer.shell.binding = auth::Binding::default();
    peer.send(OPEN);
    let said = peer.said();
    assert!(!said.contains("channel-binding") && !said.contains("PLUS"), "{said}");
    // Behind the login: a new header with a new id.
    let mut peer = World::new().opened();
    peer.send(plain("", "juliet", "secret"));
    peer.send(OPEN);
    assert_eq!(
        peer.said(),
        format!("<success xmlns='{NS_SASL}'/>") + &header(3, "") + BIND_FEATURES
    );
}

/// Row 24 of the attacks: the domain of the login is that of the session.
#[test]
fn the_domain_stays_after_the_login() {
    for (to, expected) in [
        ("to='second.example'", "host-unknown"),
        ("to='elsewhere.example'", "host-unknown"),
        ("", "host-unknown"),
    ] {
        let mut peer = World::new().opened();
        peer.send(plain("", "juliet", "secret"));
        peer.said();
        peer.send(OPEN.replace("to='example.org'", to));
        peer.expect_end(&(header(3, "") + &error(expected)));
    }
}

#[test]
fn the_end_before_anything() {
    let world = World::new();
    let mut peer = world.connect(false);
    peer.send(OPEN);
    peer.said();
    peer.send(CLOSE);
    peer.expect_end(CLOSE);
    // Section 4.9.1.1: an error is answered with the end and not with another error.
    let mut peer = world.connect(false);
    peer.send(OPEN);
    peer.said();
    peer.send(error("reset"));
    peer.expect_end(CLOSE);
}
