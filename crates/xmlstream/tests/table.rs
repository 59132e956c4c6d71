//! What is accepted and what is refused, each fed whole, at every cut and byte by byte.

mod oracle;

use jackdaw_xmlstream::XmlError::{self, *};
use oracle::{LIMITS, Said, run};

const HEADER: &str =
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// The last thing said about `input`, the same however it is cut.
fn outcome(input: &[u8]) -> (usize, Said) {
    let whole = run(input, [], &LIMITS, |_, _| {});
    for cut in 0..=input.len() {
        let pieces = run(input, [cut], &LIMITS, |_, _| {});
        assert_eq!(pieces, whole, "cut at {cut} of {}", input.escape_ascii());
    }
    let bytes = run(input, 0..input.len(), &LIMITS, |_, _| {});
    assert_eq!(bytes, whole, "byte by byte: {}", input.escape_ascii());
    let elements = whole.iter().filter(|s| matches!(s, Said::Element { .. })).count();
    (elements, whole.last().cloned().expect("at least what it waits for"))
}

/// `stanzas` behind a usual header: refused with `error`.
fn refused(stanzas: impl AsRef<[u8]>, error: XmlError) {
    let input = [HEADER.as_bytes(), stanzas.as_ref()].concat();
    assert_eq!(
        outcome(&input).1,
        Said::Error(error),
        "{}",
        stanzas.as_ref().escape_ascii()
    );
}

/// `stanzas` behind a usual header: accepted as `elements` elements.
fn accepted(stanzas: impl AsRef<[u8]>, elements: usize) {
    let input = [HEADER.as_bytes(), stanzas.as_ref()].concat();
    let (n, last) = outcome(&input);
    assert!(
        !matches!(last, Said::Error(_)),
        "{}: {last:?}",
        stanzas.as_ref().escape_ascii()
    );
    assert_eq!(n, elements, "{}", stanzas.as_ref().escape_ascii());
}

/// A whole stream that ends in `error`.
fn bad_stream(input: impl AsRef<[u8]>, error: XmlError) {
    assert_eq!(
        outcome(input.as_ref()).1,
        Said::Error(error),
        "{}",
        input.as_ref().escape_ascii()
    );
}

fn good_header(input: impl AsRef<[u8]>) {
    let input = [input.as_ref(), b"<a/>"].concat();
    assert_eq!(outcome(&input).0, 1, "{}", input.escape_ascii());
}

#[test]
fn what_quick_xml_alone_would_let_through() {
    for text in [
        "\0", "\x01", "\x08", "\x0b", "\x0c", "\x1f", "\u{fffe}", "\u{ffff}", "]]>", "&#1;", "&#0;", "&#xFFFE;",
    ] {
        refused(format!("<a>{text}</a>"), NotWellFormed);
        refused(format!("<a>x{text}y</a>"), NotWellFormed);
        refused(format!("<a><b/>é{text}</a>"), NotWellFormed);
    }
    for value in [
        "\0",
        "\x01",
        "\x1f",
        "\u{fffe}",
        "<",
        "&#1;",
        "&#x8;",
        "&",
        "& b",
        "&#xD800;",
        "&#x110000;",
        "\r",
    ] {
        refused(format!("<a b='{value}'/>"), NotWellFormed);
        refused(format!("<a b=\"x{value}y\"/>"), NotWellFormed);
    }
    refused("<a xmlns:p='urn:x' xmlns:q='urn:x' p:b='1' q:b='2'/>", NotWellFormed);
    refused(
        "<a xmlns:p='a&amp;b' xmlns:q='a&#38;b' p:b='1' q:b='2'/>",
        NotWellFormed,
    );
    refused("<a p:b='1'/>", NotWellFormed);
    refused("<a xmlns:p=''/>", NotWellFormed);
    for name in [
        "1a",
        "a$",
        "a:b:c",
        ":a",
        "a:",
        "-a",
        ".a",
        "a:1",
        "p:-",
        "×",
        "a×",
        "\u{37e}",
        "a\u{2044}",
        "ￂ",
    ] {
        refused(format!("<{name}/>"), NotWellFormed);
        refused(format!("<a {name}='1'/>"), NotWellFormed);
    }
    refused("<a b='1'c='2'/>", NotWellFormed);
    refused("<a b='1'xmlns='x'/>", NotWellFormed);
    for c in ["\u{1}", "\u{fffe}"] {
        refused(format!("<a><![CDATA[{c}]]></a>"), NotWellFormed);
    }
}

#[test]
fn what_is_not_well_formed_anyway() {
    for bad in [
        "<a b='1' b='2'/>",
        "<a b='1' c='' b=\"1\"/>",
        "<a xmlns='x' xmlns='x'/>",
        "<a xmlns:p='x' xmlns:p='y'/>",
        "<a></b>",
        "<a></ab>",
        "<ab></a>",
        "<a><b></a></b>",
        "<a></a b>",
        "<a></ a>",
        "<a></a/>",
        "<p:a></q:a>",
        "<a b=1/>",
        "<a b/>",
        "<a b=/>",
        "<a b='1/><c d='2'/>",
        "<a / >",
        "<a/ >",
        "<a b='1'/ >",
        "< a/>",
        "<>",
        "</>",
        "<a>&</a>",
        "<a>& </a>",
        "<a>&;</a>",
        "<a>&lt</a>",
        "<a>&#;</a>",
        "<a>&#x;</a>",
        "<a>&#X41;</a>",
        "<a>&#a;</a>",
        "<a>&#12</a>",
        "<a>&1;</a>",
        "<a>&-;</a>",
        "<a>&#xD800;</a>",
        "<a>&#xDFFF;</a>",
        "<a>&#x110000;</a>",
        "<a>&#xFFFFFFFFFF;</a>",
        "<a>&#000000065;</a>",
        "<p:a/>",
        "<a><p:b xmlns:q='x'/></a>",
        "<a><b xmlns:p='x'/><p:c/></a>",
        "<a xmlns:xml='urn:x'/>",
        "<a xmlns:xmlns='urn:x'/>",
        "<xmlns:a/>",
        "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns:p='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns:p='&#104;ttp://www.w3.org/2000/xmlns/'/>",
        "<a xml:b='1' xml:b='2'/>",
        "</message>",
        "</stream:strea>",
        "</stream:stream x>",
        "</stream>",
        "<a ='1'/>",
    ] {
        refused(bad, NotWellFormed);
    }
}

#[test]
fn restricted() {
    for bad in [
        "<!-- x --><a/>",
        "<a><!-- x --></a>",
        "<a><!--",
        "<?x y?>",
        "<a><?x y?></a>",
        "<?xml version='1.0'?>",
        "<a><?xml version='1.0'?></a>",
        "<!DOCTYPE a>",
        "<a><!DOCTYPE b></a>",
        "<!ENTITY a 'b'>",
        "<a>&foo;</a>",
        "<a b='&foo;'/>",
        "<a>&nbsp;</a>",
        "<a>&LT;</a>",
        "<a>&lte;</a>",
        "<a>&p:q;</a>",
        "<a>&é;</a>",
        "<a><![cdata[]]></a>",
        "<a><![CDAT x",
        "<a><!x",
    ] {
        let error = if bad.contains("p:q") {
            NotWellFormed
        } else {
            RestrictedXml
        };
        refused(bad, error);
    }
    bad_stream(format!("<!DOCTYPE a [<!ENTITY b 'c'>]>{HEADER}"), RestrictedXml);
    bad_stream(format!("<!-- x -->{HEADER}"), RestrictedXml);
    bad_stream(format!("<?xml version='1.0'?><!DOCTYPE a>{HEADER}"), RestrictedXml);
    bad_stream(
        format!("<?xml version='1.0'?><?xml version='1.0'?>{HEADER}"),
        RestrictedXml,
    );
    bad_stream(format!("<?xml-stylesheet a?>{HEADER}"), RestrictedXml);
    bad_stream(format!("<?xml version='1.1'?>{HEADER}"), RestrictedXml);
}

#[test]
fn bytes_that_are_not_utf8() {
    for bad in [
        &b"\x80"[..],
        b"\xbf",
        b"\xc0\xaf",
        b"\xc1\x81",
        b"\xc3(",
        b"\xe0\x80\xaf",
        b"\xe0\x9f\xbf",
        b"\xe2\x82(",
        b"\xed\xa0\x80",
        b"\xed\xbf\xbf",
        b"\xf0\x80\x80\xaf",
        b"\xf0\x9f\x98(",
        b"\xf4\x90\x80\x80",
        b"\xf5\x80\x80\x80",
        b"\xfe",
        b"\xff",
        b"\xc3",
        b"\xe2\x82",
        b"\xf0\x9f\x98",
        b"\xef\xbf\xbe",
        b"\xef\xbf\xbf",
    ] {
        for (before, after) in [
            ("<a>", "</a>"),
            ("<a b='", "'/>"),
            ("<a b='é", "'><!-- x --></a>"),
            ("<a><![CDATA[", "]]></a>"),
            ("<a", "/>"),
            ("<a ", "='1'/>"),
            ("<a xmlns:p='&lt;", "'/>"),
            ("<a>&", ";</a>"),
            ("<a></a", ">"),
            ("<a>", "&foo;</a>"),
        ] {
            refused([before.as_bytes(), bad, after.as_bytes()].concat(), NotWellFormed);
        }
    }
    // Seen at once, not when the element ends.
    refused(b"<a>text\xff", NotWellFormed);
    refused(b"<a>text\xc3(", NotWellFormed);
    accepted(b"<a>text\xc3", 0);
}

#[test]
fn between_stanzas() {
    for bad in ["x", "<a/>x", " . <a/>", "é", "&amp;", "<![CDATA[x]]>", "]]>", "\x7f"] {
        refused(bad, TextBetweenStanzas);
    }
    for bad in [&b"\0"[..], b"\x01", b"\x80", b"\xff", b"\xc0"] {
        refused(bad, NotWellFormed);
    }
    accepted(" \t\r\n<a/>\n\n<b></b> ", 2);
    accepted("</stream:stream>", 0);
    accepted("<a/></stream:stream \n>\n ", 1);
    refused("</stream:stream>x", NotWellFormed);
    refused("</stream:stream><a/>", NotWellFormed);
    refused("</stream:stream></stream:stream>", NotWellFormed);
}

#[test]
fn what_is_fine() {
    for good in [
        "<a/>",
        "<a />",
        "<a></a>",
        "<a\n></a\t>",
        "<a b='1'/>",
        "<a b = \"1\" c\n=\n'2'/>",
        "<a b='\"' c=\"'\"/>",
        "<a b='>'>></a>",
        "<a>]] ]> ]</a>",
        "<a b=']]>'/>",
        "<a><![CDATA[]]></a>",
        "<a><![CDATA[<&]] > ]]]></a>",
        "<a><![CDATA[é]]></a>",
        "<a>&lt;&gt;&amp;&apos;&quot;</a>",
        "<a b='&lt;&#10;&#xA;&#x10FFFF;'/>",
        "<a>&#00000065;</a>",
        "<a>\t\r\n\x7f\u{80}\u{d7ff}\u{e000}\u{fffd}\u{10000}\u{10ffff}</a>",
        "<a b='\r\n\t\n'/>",
        "<a><b/><b></b>x</a>",
        "<_a-b.c1 é='1'/>",
        "<é/>",
        "<a xmlns=''/>",
        "<a xmlns='urn:x'><b xmlns=''/></a>",
        "<a xmlns:p='x'><p:b p:c=''/></a>",
        "<p:a xmlns:p='x'/>",
        "<a xmlns:p='x' p:b='' b=''/>",
        "<a xmlns:p='x' xmlns:q='y' p:b='' q:b=''/>",
        "<a xmlns:p='x' p:b=''><c xmlns:p='y' p:b=''/></a>",
        "<a xml:lang='de'/>",
        "<xml:a/>",
        "<stream:error/>",
        "<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a stream:b=''/>",
        "<a xmlns:stream='urn:mine'><stream:b/></a>",
        "<aé/>",
        "<a>\u{feff}</a>",
    ] {
        accepted(good, 1);
        let message = format!("<m><n>{good}</n></m>");
        accepted(message, 1);
    }
}

#[test]
fn headers() {
    let plain = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    for before in [
        "",
        "\n",
        "\u{feff}",
        "<?xml version='1.0'?>",
        "<?xml version=\"1.0\" ?>\n",
        "<?xml\tversion = '1.0' encoding='utf-8'?>",
        "<?xml version='1.0' encoding=\"UTF-8\" standalone='yes'?>",
        "<?xml version='1.0' standalone='no'?>",
        "\u{feff}<?xml version='1.0'?> ",
        "\n<?xml version='1.0'?>",
    ] {
        good_header(format!("{before}{plain}"));
    }
    good_header("<s xmlns='http://etherx.jabber.org/streams'>");
    good_header("<root>");
    good_header("<s:s xmlns:s='urn:s' a=\"1\"\n>");
    for (bad, error) in [
        ("<?xml version='1.0' encoding='iso-8859-1'?>", UnsupportedEncoding),
        ("<?xml version='1.0' encoding='UTF-16'?>", UnsupportedEncoding),
        ("<?xml?>", RestrictedXml),
        ("<?xml ?>", NotWellFormed),
        ("<?xml encoding='UTF-8'?>", NotWellFormed),
        ("<?xml version='2.0'?>", NotWellFormed),
        ("<?xml version='1.0'encoding='UTF-8'?>", NotWellFormed),
        ("<?xml version='1.0' standalone='maybe'?>", NotWellFormed),
        ("<?xml version='1.0' a='b'?>", NotWellFormed),
        ("<?xml version=1.0?>", NotWellFormed),
        ("x", NotWellFormed),
        ("\u{feff}\u{feff}", NotWellFormed),
        ("</a>", NotWellFormed),
        ("<![CDATA[]]>", RestrictedXml),
    ] {
        bad_stream(format!("{bad}{plain}"), error);
    }
    bad_stream(b"\xff\xfe<\0", UnsupportedEncoding);
    bad_stream(b"\xfe\xff\0<", UnsupportedEncoding);
    bad_stream(b"\0<\0?", UnsupportedEncoding);
    bad_stream(b"<\0?\0", UnsupportedEncoding);
    bad_stream(b"\xc3\xa9", NotWellFormed);
    bad_stream("<stream:stream xmlns='jabber:client'>", BadNamespacePrefix);
    bad_stream(
        "<stream:stream xmlns='jabber:client' xmlns:s='http://etherx.jabber.org/streams'>",
        BadNamespacePrefix,
    );
    bad_stream("<s xmlns='x' p:a='1'>", NotWellFormed);
    bad_stream("<s xmlns='x'/>", NotWellFormed);
    bad_stream("<s a='1' a='2'>", NotWellFormed);
    bad_stream("<s a='<'>", NotWellFormed);
    bad_stream("<s a='&foo;'>", RestrictedXml);
}

/// Attribute names are compared only if a small set says that two may be the same: lengths and first letters that fall
/// together in it, and others.
#[test]
fn no_attribute_comes_twice() {
    let names: Vec<String> = [1, 2, 3, 8, 9, 17]
        .into_iter()
        .flat_map(|length| {
            ["a", "b", "i", "q", "A", "_", "\u{e9}"].map(|first| first.to_owned() + &"x".repeat(length - 1))
        })
        .collect();
    for (i, a) in names.iter().enumerate() {
        for (j, b) in names.iter().enumerate() {
            let stanza = format!("<m {a}='1' between='2' {b}='3'/>");
            if i == j {
                refused(stanza, NotWellFormed);
            } else {
                accepted(stanza, 1);
            }
        }
    }
    // Many, and one of them again at the end.
    let many = &names[..12];
    let written: String = many.iter().map(|name| format!(" {name}='1'")).collect();
    accepted(format!("<m{written}><c{written}/></m>"), 1);
    for name in many {
        refused(format!("<m><c{written} {name}='2'/></m>"), NotWellFormed);
    }
    // With prefixes it is the namespace that counts.
    accepted("<m a='1' xmlns:p='u' p:a='2' xmlns:q='v' q:a='3'/>", 1);
    refused("<m xmlns:p='u' p:a='2' xmlns:q='u' q:a='3'/>", NotWellFormed);
    refused("<m xmlns:p='u' p:a='2' xmlns:q='&#x75;' q:a='3'/>", NotWellFormed);
}

/// Every byte at every place of a value, and white space wherever it may stand around the `=`.
#[test]
fn bytes_of_an_attribute() {
    for quote in ['\'', '"'] {
        for byte in 0..=0x7f_u8 {
            for before in 0..=9 {
                for behind in [0, 1, 7, 8] {
                    let c = char::from(byte);
                    let stanza = format!("<m a={quote}{}{c}{}{quote}/>", "x".repeat(before), "y".repeat(behind));
                    if c != quote && matches!(c, '\t' | '\n' | ' '..) && !matches!(c, '<' | '&') {
                        accepted(stanza, 1);
                    } else {
                        refused(stanza, NotWellFormed);
                    }
                }
            }
        }
    }
    for left in ["", " ", "\t", "\r\n", " \n "] {
        for right in ["", " ", "\t", "\r\n", " \n "] {
            accepted(format!("<m a{left}={right}'1' b{left}={right}\"2\"/>"), 1);
            refused(format!("<m a{left}{right}'1'/>"), NotWellFormed);
            refused(format!("<m a{left}={right}1/>"), NotWellFormed);
        }
    }
}
