//! What the accessors return, and what an element that leans on the header becomes.

use jackdaw_xmlstream::{Event, Framer, Limits, Scratch, XmlError, escape_attr, escape_text, parse_element};

const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                      xmlns:p='urn:p' xmlns:q=\"a&amp;'b\">";

/// The source that the only element behind `header` is handed out with.
fn source(header: &str, stanza: &str) -> String {
    let mut framer = Framer::new();
    let mut scratch = Scratch::default();
    framer
        .next(header.as_bytes(), &mut scratch, &Limits::default())
        .expect("a good header");
    let step = framer
        .next(stanza.as_bytes(), &mut scratch, &Limits::default())
        .expect("a good stanza");
    assert_eq!(step.consumed, stanza.len());
    match step.event {
        Event::Element(element) => element.source().to_owned(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_stands_on_its_own_is_left_alone() {
    for stanza in [
        "<message  to = \"a\"><body>x</body ></message>",
        "<x xmlns='urn:x'/>",
        "<m xmlns:p='urn:mine'><p:x p:y=''/></m>",
        "<m xml:lang='de'/>",
        "<m xmlns=''/>",
        "<xml:m/>",
    ] {
        assert_eq!(source(HEADER, stanza), stanza);
    }
}

#[test]
fn what_leans_on_the_header_is_rewritten() {
    let check = |stanza: &str, expected: &str| assert_eq!(source(HEADER, stanza), expected, "{stanza}");
    check("<m p:a='1'/>", "<m xmlns:p='urn:p' p:a='1'/>");
    check("<m><p:x a='&lt;\"'/></m>", "<m><x xmlns='urn:p' a='&lt;\"'/></m>");
    check(
        "<m><p:x><y/></p:x></m>",
        "<m><x xmlns='urn:p'><y xmlns='jabber:client'/></x></m>",
    );
    check("<m><q:x/></m>", "<m><x xmlns='a&amp;&apos;b'/></m>");
    check(
        "<p:m><![CDATA[<]]>&amp;é</p:m>",
        "<m xmlns='urn:p'><![CDATA[<]]>&amp;é</m>",
    );
    check(
        "<stream:error><a xmlns='urn:a'/></stream:error>",
        "<error xmlns='http://etherx.jabber.org/streams'><a xmlns='urn:a'/></error>",
    );
    check(
        "<c:m xmlns:c='jabber:client' to=\"it's\"><c:body/></c:m>",
        "<m to=\"it's\"><body/></m>",
    );
    check(
        "<m xmlns='' p:a='1'><b/></m>",
        "<m xmlns='' xmlns:p='urn:p' p:a='1'><b/></m>",
    );
    // Declarations that are shadowed stay so, and what only looks like a use of the header's prefix is one of another.
    check(
        "<m p:a='1'><n xmlns:p='urn:2' p:b='2'/></m>",
        "<m xmlns:p='urn:p' p:a='1'><n xmlns:p='urn:2' p:b='2'/></m>",
    );
    let streams = "<stream xmlns='http://etherx.jabber.org/streams' xmlns:c='jabber:client'>";
    assert_eq!(
        source(streams, "<c:message><c:body/></c:message>"),
        "<message xmlns='jabber:client'><body/></message>"
    );
    assert_eq!(
        source(streams, "<error><x xmlns=''/></error>"),
        "<error><x xmlns=''/></error>"
    );
}

#[test]
fn accessors() {
    let text = "<message xmlns:p='urn:p' to='a&amp;b' id=\"1\" p:id='2' xml:lang='de'>one &lt;<body p:x='y'>Hi &#33;\r\n\
                <![CDATA[<&\r]]></body>two<x xmlns='urn:x' k='v\tw'><item n='1'/><p:item n='2'><y/>t</p:item></x></message>";
    let mut scratch = Scratch::default();
    let element = parse_element(text, "jabber:client", &mut scratch, &Limits::default()).expect("a good message");
    assert_eq!((element.name(), element.ns()), ("message", "jabber:client"));
    assert_eq!(element.source(), text);
    assert_eq!(element.attr("to").as_deref(), Some("a&b"));
    assert_eq!(element.attr("id").as_deref(), Some("1"));
    assert_eq!(element.attr("from"), None);
    assert_eq!(element.lang().as_deref(), Some("de"));
    assert_eq!(element.text(), "one <two");
    let spans: Vec<&str> = element.attrs().map(|a| &text[a.span()]).collect();
    assert_eq!(spans, ["to='a&amp;b'", "id=\"1\"", "p:id='2'", "xml:lang='de'"]);
    let values: Vec<&str> = element.attrs().map(|a| &text[a.value_span()]).collect();
    assert_eq!(values, ["a&amp;b", "1", "2", "de"]);
    let prefixed = element.attrs().find(|a| a.prefix() == Some("p")).expect("p:id");
    assert_eq!((prefixed.ns(), prefixed.local(), prefixed.raw()), ("urn:p", "id", "2"));
    assert_eq!(&text[..element.name_end()], "<message");
    assert!(!element.is_empty_tag());
    let [body, x] = &element.children().collect::<Vec<_>>()[..] else {
        panic!("two children")
    };
    assert_eq!(
        (body.name(), body.ns(), &*body.text()),
        ("body", "jabber:client", "Hi !\n<&\n")
    );
    assert_eq!(body.source(), &element.inner()[body.span()]);
    assert_eq!((x.ns(), x.attr("k").as_deref()), ("urn:x", Some("v w")));
    let items: Vec<_> = x.children().collect();
    assert_eq!(
        items.iter().map(|i| (i.name(), i.ns())).collect::<Vec<_>>(),
        [("item", "urn:x"), ("item", "urn:p")]
    );
    assert_eq!(items[1].attr("n").as_deref(), Some("2"));
    assert_eq!(items[1].child("y", "urn:x").map(|y| y.source()), Some("<y/>"));
    let declared = element.declarations().map(|d| (d.ns, d.element(), d.is_leaf()));
    assert_eq!(
        declared.collect::<Vec<_>>(),
        [("urn:p", "message", false), ("urn:x", "x", false)]
    );
    let mut canonical = String::new();
    items[1].write_canonical("", &mut canonical);
    assert_eq!(canonical, "<item xmlns='urn:p' n='2'><y xmlns='urn:x'/>t</item>");
    assert_eq!(element.child("x", "urn:x").map(|c| c.source()), Some(x.source()));
    let dom = items[1].to_dom();
    assert_eq!(
        (dom.name(), dom.ns().as_str(), dom.attr("n")),
        ("item", "urn:p", Some("2"))
    );
    assert_eq!(dom.children().next().map(|y| y.ns()), Some("urn:x".to_owned()));
}

#[test]
fn header_accessors() {
    let text = "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xml:lang='de' from='a&apos;b' \
                xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    let mut framer = Framer::new();
    let mut scratch = Scratch::default();
    let step = framer
        .next(text.as_bytes(), &mut scratch, &Limits::default())
        .expect("a good header");
    assert_eq!(step.consumed, text.len());
    let Event::Header(h) = step.event else {
        panic!("{step:?}")
    };
    assert_eq!(
        (h.prefix(), h.name(), h.ns()),
        ("stream", "stream", "http://etherx.jabber.org/streams")
    );
    assert_eq!(h.default_ns(), Some("jabber:client"));
    assert_eq!(
        (h.attr("to").as_deref(), h.attr("from").as_deref(), h.attr("id")),
        (Some("example.org"), Some("a'b"), None)
    );
    assert_eq!(h.lang().as_deref(), Some("de"));
    // A new stream on the same connection.
    assert!(framer.next(text.as_bytes(), &mut scratch, &Limits::default()).is_err());
    framer.restart();
    let step = framer
        .next(b"<root>", &mut scratch, &Limits::default())
        .expect("a header of a kind");
    let Event::Header(h) = step.event else {
        panic!("{step:?}")
    };
    assert_eq!((h.prefix(), h.name(), h.ns(), h.default_ns()), ("", "root", "", None));
}

#[test]
fn one_element_and_nothing_else() {
    let mut scratch = Scratch::default();
    let mut parse = |text: &str| {
        parse_element(text, "jabber:client", &mut scratch, &Limits::default()).map(|e| e.source().to_owned())
    };
    assert_eq!(parse(" <a/>\n").as_deref(), Ok("<a/>"));
    assert_eq!(parse("<p:a xmlns:p='urn:p'/>").as_deref(), Ok("<a xmlns='urn:p'/>"));
    for bad in [
        "",
        " ",
        "x",
        "<a>",
        "<a/>x",
        "<a/><b/>",
        "x<a/>",
        "</a>",
        "<stream:a/>",
        "<a/",
        "\u{a0}<a/>",
    ] {
        assert_eq!(parse(bad), Err(XmlError::NotWellFormed), "{bad}");
    }
    assert_eq!(parse("<?xml version='1.0'?><a/>"), Err(XmlError::RestrictedXml));
}

#[test]
fn a_debug_print_tells_no_content() {
    let mut scratch = Scratch::default();
    let text = "<m a='secret'><body>secret</body></m>";
    let element = parse_element(text, "", &mut scratch, &Limits::default()).expect("a good element");
    let printed = format!(
        "{element:?} {:?} {:?}",
        element.attrs().next(),
        element.children().next()
    );
    assert!(!printed.contains("secret"), "{printed}");
}

#[test]
fn escaping() {
    let nasty = "a&b<c>d'e\"f\tg\nh\ri]]>j é \u{10ffff}";
    let mut text = Vec::from(&b"<a b='"[..]);
    escape_attr(&mut text, nasty);
    text.extend_from_slice(b"' c=\"");
    escape_attr(&mut text, nasty);
    text.extend_from_slice(b"\">");
    escape_text(&mut text, nasty);
    text.extend_from_slice(b"</a>");
    let text = String::from_utf8(text).expect("UTF-8");
    let mut scratch = Scratch::default();
    let element = parse_element(&text, "", &mut scratch, &Limits::default()).expect("what was escaped");
    assert_eq!(element.attr("b").as_deref(), Some(nasty));
    assert_eq!(element.attr("c").as_deref(), Some(nasty));
    assert_eq!(element.text(), nasty);
    let mut out = Vec::new();
    escape_text(&mut out, "x\0y\u{fffe}z\u{1f}");
    assert_eq!(out, "x\u{fffd}y\u{fffd}z\u{fffd}".as_bytes());
}

/// A value that needs no unescaping is known from the scan: it has to be right about which ones do.
#[test]
fn values_and_namespaces_are_unescaped_where_they_must() {
    for raw in [
        "",
        "a",
        "a b",
        "a\"b",
        "a>b",
        "a\tb",
        "a\nb",
        "a\r\nb",
        "\t",
        "&amp;",
        "a&#9;b",
        "aaaaaaaa\taaaaaaaa",
        "aaaaaaa&lt;",
        "\u{1f98a}\n\u{e9}",
    ] {
        let value = jackdaw_xmlstream::unescape_attr(raw);
        let text = format!("<m a='{raw}' p:a='{raw}' xmlns:p='u'><c xmlns='u{raw}' a='{raw}'/></m>");
        let mut scratch = Scratch::default();
        let element = parse_element(&text, "jabber:client", &mut scratch, &Limits::default()).expect("a good element");
        let values: Vec<_> = element.attrs().map(|a| a.value()).collect();
        assert_eq!(values, [&*value, &*value], "{raw:?}");
        assert!(
            element
                .attrs()
                .all(|a| a.raw() == raw && a.is("a") == a.prefix().is_none())
        );
        let child = element.children().next().expect("a child");
        assert_eq!(child.ns(), format!("u{value}"));
        assert!(child.is("c", child.ns()) && !child.is("cc", child.ns()) && !child.is("c", "u:"));
    }
}

#[test]
fn declarations() {
    let check = |text: &str, expected: &[(&str, &str, bool)]| {
        let mut scratch = Scratch::default();
        let element = parse_element(text, "jabber:client", &mut scratch, &Limits::default()).expect("good");
        let declared = element.declarations().map(|d| (d.ns, d.element(), d.is_leaf()));
        assert_eq!(declared.collect::<Vec<_>>(), expected, "{text}");
    };
    check("<m><a/></m>", &[]);
    check("<m><a xmlns='u'/></m>", &[("u", "a", true)]);
    check("<m><a xmlns='u'>t</a></m>", &[("u", "a", true)]);
    check("<m><a\txmlns='u&#58;v' >t</a ></m>", &[("u:v", "a", true)]);
    check("<m><p:a xmlns:p='u'><b/></p:a></m>", &[("u", "a", false)]);
    check(
        "<m><a xmlns='u'><b xmlns:q='v' xmlns='w'/></a></m>",
        &[("u", "a", false), ("v", "b", true), ("w", "b", true)],
    );
    check("<m xmlns='u'/>", &[("u", "m", true)]);
}
