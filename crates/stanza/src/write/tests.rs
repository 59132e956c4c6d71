use minidom::Element as Dom;
use proptest::prelude::*;

use super::*;
use crate::ns;
use crate::stanza::tests::{read, with};

const FROM: &str = "juliet@example.com/balcony";

fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = Vec::new();
    write(&mut out);
    String::from_utf8(out).expect("written as UTF-8")
}

/// As a recipient with another parser reads it inside its stream.
fn dom(xml: &str) -> Dom {
    let stream: Dom = format!("<stream xmlns='{}'>{xml}</stream>", ns::CLIENT)
        .parse()
        .unwrap_or_else(|e| panic!("{xml}: {e}"));
    stream.children().next().unwrap_or_else(|| panic!("{xml}")).clone()
}

fn set(dom: &mut Dom, name: &str, value: &str) {
    let name = minidom::rxml::NcName::try_from(name).expect("a name");
    dom.set_attr(minidom::rxml::Namespace::NONE.clone(), name, value);
}

/// All ways of writing agree, and the result reads as the same stanza.
fn spliced(xml: &str, from: &str, to: Option<&str>, edit: impl FnOnce(&Stanza<'_>, &mut Edits)) -> String {
    let result = with(xml, |stanza| {
        let mut edits = Edits::default();
        edit(&stanza, &mut edits);
        let direct = text(|out| splice(&stanza, from, to, &edits, out));
        let rendered = Rendered::of(&stanza, &edits);
        assert_eq!(dom(&rendered.text_with(from, to)), dom(&direct));
        assert_eq!(
            dom(&rendered.text_with(from, None)),
            dom(&text(|out| splice(&stanza, from, None, &edits, out)))
        );
        if let Some(to) = to {
            assert_eq!(
                text(|out| rendered.sent_by(from).write(to, out)),
                rendered.text_with(from, Some(to))
            );
        }
        with(&direct, |again| {
            assert_eq!(again.kind(), stanza.kind());
            assert_eq!(again.id(), stanza.id());
            assert_eq!(again.lang(), stanza.lang());
            assert_eq!(again.from().map(|j| j.as_str()), Some(from));
            assert_eq!(again.to().map(|j| j.as_str()), to);
        });
        direct
    });
    dom(&result);
    result
}

#[test]
fn elements_behind_the_last_child() {
    for (text, expected) in [
        ("<presence/>", "<presence><x xmlns='u'/></presence>"),
        (
            "<presence type='a/>'/>",
            "<presence type='a/>'><x xmlns='u'/></presence>",
        ),
        ("<presence><a/></presence>", "<presence><a/><x xmlns='u'/></presence>"),
        ("<presence></presence>", "<presence><x xmlns='u'/></presence>"),
        (
            "<presence id='1'>a</presence>",
            "<presence id='1'>a<x xmlns='u'/></presence>",
        ),
    ] {
        assert_eq!(Rendered::from_text(text).with("<x xmlns='u'/>").text(), expected);
    }
}

#[test]
fn start_tags() {
    let check = |xml: &str, to: Option<&str>, expected: &str| {
        assert_eq!(spliced(xml, FROM, to, |_, _| {}), expected, "{xml}");
    };
    let to = Some("romeo@example.net");
    check(
        "<message><body>hi</body></message>",
        to,
        "<message from='juliet@example.com/balcony' to='romeo@example.net'><body>hi</body></message>",
    );
    check("<presence/>", None, "<presence from='juliet@example.com/balcony'/>");
    check(
        "<presence></presence>",
        None,
        "<presence from='juliet@example.com/balcony'/>",
    );
    check(
        "<message from='forged@example.org' to='Romeo@example.net' xmlns='jabber:client' type='chat' id='1' xml:lang='en'/>",
        to,
        "<message type='chat' id='1' xml:lang='en' from='juliet@example.com/balcony' to='romeo@example.net'/>",
    );
    // Values are copied as they stood, in quotes that fit; prefixes stay declared.
    check(
        "<message id=\"it's\" type = 'chat'\n\txmlns:x='u' x:to='&apos;&quot;\"' ><x:y/></message >",
        to,
        "<message id=\"it's\" type = 'chat' xmlns:x='u' x:to='&apos;&quot;\"' from='juliet@example.com/balcony' \
         to='romeo@example.net'><x:y/></message>",
    );
    // Declarations anywhere in the tag; only the default one goes.
    check(
        "<message xmlns:a='\"='\n xmlns = \"jabber:client\"  id='1'\txmlns:b = \"'\" to='x@y' xmlns:c=\"'/>\"><a:x b:y='c:z'/></message>",
        None,
        "<message xmlns:a='\"=' id='1' xmlns:b=\"'\" xmlns:c=\"'/>\" from='juliet@example.com/balcony'><a:x b:y='c:z'/></message>",
    );
    check(
        "<presence xmlns:a='u' xmlns='jabber:client'/>",
        None,
        "<presence xmlns:a='u' from='juliet@example.com/balcony'/>",
    );
    // What is written anew is escaped.
    assert_eq!(
        spliced("<presence/>", "a@b/<'&\">", Some("c@d/'/><x y='"), |_, _| {}),
        "<presence from='a@b/&lt;&apos;&amp;&quot;&gt;' to='c@d/&apos;/&gt;&lt;x y=&apos;'/>"
    );
}

#[test]
fn edits() {
    const FORGED: &str = "<message id='1'> <stanza-id xmlns='urn:xmpp:sid:0' id='a'/><body>b</body>\
        <s:stanza-id xmlns:s='urn:xmpp:sid:0' id='c'/>t<stanza-id xmlns='urn:xmpp:sid:0'>x</stanza-id></message>";
    const OURS: &str = "<stanza-id xmlns='urn:xmpp:sid:0' by='romeo@example.net' id='ours'/>";
    let drop_ids = |stanza: &Stanza<'_>, edits: &mut Edits| {
        for child in stanza
            .children()
            .filter(|c| c.name() == "stanza-id" && c.ns() == ns::STANZA_IDS)
        {
            edits.remove(&child);
            edits.remove(&child);
        }
    };
    let check = |xml: &str, edit: &dyn Fn(&Stanza<'_>, &mut Edits), expected: &str| {
        assert_eq!(spliced(xml, "a@b", None, edit), expected);
    };
    check(
        FORGED,
        &drop_ids,
        "<message id='1' from='a@b'> <body>b</body>t</message>",
    );
    check(
        FORGED,
        &|stanza, edits| {
            drop_ids(stanza, edits);
            edits.append(OURS);
        },
        &format!("<message id='1' from='a@b'> <body>b</body>t{OURS}</message>"),
    );
    // Removed in any order.
    check(
        "<message><a/><b/><c/></message>",
        &|stanza, edits| {
            let children: Vec<_> = stanza.children().collect();
            edits.remove(&children[2]);
            edits.remove(&children[0]);
        },
        "<message from='a@b'><b/></message>",
    );
    check(
        "<presence/>",
        &|_, edits| edits.append("<x xmlns='u'/>"),
        "<presence from='a@b'><x xmlns='u'/></presence>",
    );
    check(
        "<presence><a/></presence>",
        &|stanza, edits| stanza.children().for_each(|c| edits.remove(&c)),
        "<presence from='a@b'></presence>",
    );
    let mut edits = Edits::default();
    assert!(edits.is_empty());
    edits.append("<x/>");
    assert!(!edits.is_empty());
}

/// What a recipient's parser sees is what the sender's parser showed, but for the addresses.
#[test]
fn the_content_is_the_same_tree() {
    for xml in [
        "<message to='a@b' type='chat'><body>1 &lt; 2 &amp; \u{1f98a}</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>",
        "<message><body xml:lang='cs'><![CDATA[<x>]]></body>\n<p:x xmlns:p='u' p:a='1' a='2'><p:y/><y/></p:x></message>",
        "<iq id='&#x27;' type='set' to='example.com'><query xmlns='jabber:iq:roster'><item jid='a@b' name='x &quot; y'/></query></iq>",
        // RFC 6120 section 4.8.5 forbids the prefix; the content must not change its namespace when it goes.
        "<c:message xmlns:c='jabber:client' xmlns='urn:x'><body/><c:body>hi</c:body></c:message>",
        "<presence xmlns='jabber:client' xmlns:q='urn:q' q:z='1'><show>dnd</show><priority>-5</priority></presence>",
    ] {
        let mut expected = dom(xml);
        set(&mut expected, "from", FROM);
        set(&mut expected, "to", "c@d/e");
        assert_eq!(dom(&spliced(xml, FROM, Some("c@d/e"), |_, _| {})), expected, "{xml}");
    }
}

#[test]
fn made_by_the_server() {
    let check = |element: &str, to: Option<&str>, expected: &str| {
        let rendered = Rendered::from_text(element);
        assert_eq!(rendered.text_with("x@y/z", to), expected);
        assert_eq!(text(|out| rendered.write("x@y/z", to, out)), expected);
        assert_eq!(rendered.as_str(), element);
    };
    check("<presence/>", Some("a@b"), "<presence from='x@y/z' to='a@b'/>");
    check("<presence/>", None, "<presence from='x@y/z'/>");
    check(
        "<presence><a/></presence>",
        Some("a@b/'"),
        "<presence from='x@y/z' to='a@b/&apos;'><a/></presence>",
    );
    check("<iq id='1'/>", Some("a@b"), "<iq from='x@y/z' to='a@b' id='1'/>");
}

#[test]
fn special_characters_are_escaped_wherever_they_stand() {
    for special in ["'", "\"", "&", "<", ">"] {
        for before in 0..40 {
            let value = format!("{}{special}{}", "a".repeat(before), "b".repeat(before % 7));
            let out = text(|out| put_attribute(out, TO, &value));
            let mut expected = Vec::new();
            xmlstream::escape_attr(&mut expected, &value);
            let expected = String::from_utf8(expected).expect("text");
            assert!(expected.len() > value.len());
            assert_eq!(out, format!(" to='{expected}'"));
        }
    }
}

#[test]
fn errors() {
    let error = StanzaError::service_unavailable();
    const ERROR: &str =
        "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
    let check = |name, id, from, to, expected: &str| {
        let written = text(|out| write_error(name, id, from, to, &error, out));
        assert_eq!(written, expected);
        dom(&written);
    };
    check(
        "message",
        None,
        None,
        None,
        &format!("<message type='error'>{ERROR}</message>"),
    );
    check("iq", None, None, None, &format!("<iq type='error' id=''>{ERROR}</iq>"));
    check(
        "iq",
        Some("a'&<"),
        Some("example.com"),
        Some("a@b/\""),
        &format!("<iq type='error' id='a&apos;&amp;&lt;' from='example.com' to='a@b/&quot;'>{ERROR}</iq>"),
    );

    let reply = |xml: &str| {
        with(xml, |stanza| {
            let mut wrote = false;
            let written = text(|out| wrote = error_reply(&stanza, "example.com", FROM, &error, out));
            assert_eq!(wrote, !written.is_empty());
            written
        })
    };
    assert_eq!(
        reply("<message to='x@example.com' id='7' type='chat'><body>yt?</body></message>"),
        format!("<message type='error' id='7' from='example.com' to='{FROM}'>{ERROR}</message>")
    );
    assert_eq!(
        reply("<presence to='x@example.com'/>"),
        format!("<presence type='error' from='example.com' to='{FROM}'>{ERROR}</presence>")
    );
    // What is written reads as an error, which is not answered in turn; nor are results.
    with(&reply("<iq id='1' type='get'><a xmlns='u'/></iq>"), |answer| {
        assert!(answer.kind().is_error())
    });
    for silent in [
        "<message type='error'/>",
        "<presence type='error'/>",
        "<iq id='1' type='error'/>",
        "<iq id='1' type='result'/>",
    ] {
        assert_eq!(reply(silent), "", "{silent}");
    }
}

#[test]
fn results() {
    let check = |id, from, to, payload, expected: &str| {
        assert_eq!(text(|out| iq_result(id, from, to, payload, out)), expected);
        read(expected, |s| assert!(matches!(s, Ok(Some(_)))));
    };
    check("1", None, None, "", "<iq type='result' id='1'/>");
    check(
        "<",
        Some("example.com"),
        Some("a@b/c"),
        "<query xmlns='jabber:iq:roster'/>",
        "<iq type='result' id='&lt;' from='example.com' to='a@b/c'><query xmlns='jabber:iq:roster'/></iq>",
    );
}

proptest! {
    /// Whatever an attribute holds, it comes out as the value that went in, and nothing gets out of the quotes.
    #[test]
    fn attributes_hold_anything(id in "[ -~é\u{1f98a}]{0,12}", resource in "[!-~]{1,8}") {
        let to = format!("a@b/{resource}");
        let result = text(|out| iq_result(&id, None, Some(&to), "", out));
        with(&result, |s| {
            assert_eq!(s.id(), Some(&*id));
            assert_eq!(s.to().map(|j| j.as_str()), Some(&*to));
        });
    }
}
