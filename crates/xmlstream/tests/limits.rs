//! Every limit is hit while the input arrives, and long input is not read again and again.

use jackdaw_xmlstream::XmlError::{self, *};
use jackdaw_xmlstream::{Event, Framer, Limits, Scratch, parse_element};

const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
const SMALL: Limits = Limits {
    bytes: 10_000,
    elements: 5,
    depth: 3,
    attributes: 4,
    namespaces: 3,
    name: 8,
};

/// Feeds `input` behind a header in pieces of `size` bytes: the bytes fed when it was refused, and why.
fn feed(input: &str, size: usize, limits: &Limits) -> Result<(), (usize, XmlError)> {
    let mut framer = Framer::new();
    let mut scratch = Scratch::default();
    framer
        .next(HEADER.as_bytes(), &mut scratch, &Limits::default())
        .expect("a good header");
    let mut from = 0;
    let mut end = 0;
    while end < input.len() {
        end = (end + size).min(input.len());
        loop {
            let step = framer
                .next(&input.as_bytes()[from..end], &mut scratch, limits)
                .map_err(|e| (end, e))?;
            from += step.consumed;
            if matches!(step.event, Event::Incomplete) {
                break;
            }
        }
    }
    Ok(())
}

/// `input` just passes, and with `more` it does not, whole and in pieces.
fn check(good: &str, bad: &str, error: XmlError) {
    for size in [1, 7, 100_000] {
        assert_eq!(feed(good, size, &SMALL), Ok(()), "{good} by {size}");
        let refused = feed(bad, size, &SMALL).map_err(|(_, e)| e);
        assert_eq!(refused, Err(error), "{bad} by {size}");
    }
}

#[test]
fn limits_are_exact() {
    check("<a><b/><b/><b/><b/></a>", "<a><b/><b/><b/><b/><b", TooManyElements);
    check("<a><b><c/></b></a>", "<a><b><c><d", TooDeep);
    check(
        "<a a='' b='' c='' d=''/>",
        "<a a='' b='' c='' d='' e",
        TooManyAttributes,
    );
    check(
        "<a xmlns='x' b='' c='' d=''/>",
        "<a xmlns='x' b='' c='' d='' e",
        TooManyAttributes,
    );
    check(
        "<a xmlns='x' xmlns:p='x' xmlns:q='x'/>",
        "<a xmlns='x' xmlns:p='x' xmlns:q='x' xmlns:r='x'",
        TooManyNamespaces,
    );
    check(
        "<a><b xmlns='x'/><b xmlns='x'/><b xmlns='x'/></a>",
        "<a><b xmlns='x'/><b xmlns='x'/><b xmlns='x'/><b xmlns='x'",
        TooManyNamespaces,
    );
    check("<abcdefgh/>", "<abcdefghi", NameTooLong);
    check("<a abcdefgh=''/>", "<a abcdefghi", NameTooLong);
    check("<ab:cdefg xmlns:ab='x'/>", "<ab:cdefgh", NameTooLong);
    let fill = |n: usize| "x".repeat(n);
    check(
        &format!("<a>{}</a>", fill(9_993)),
        &format!("<a>{}</a>", fill(9_994)),
        TooLong,
    );
}

#[test]
fn what_never_ends_is_refused_at_the_limit() {
    let long = 50_000;
    for start in [
        "<a b='",
        "<a b=\"",
        "<a>",
        "<a><![CDATA[",
        "<a ",
        "<a><b>x</b>",
        "<a></a ",
    ] {
        let body = if start.ends_with(' ') { " " } else { "é" };
        let input = format!("{start}{}", body.repeat(long / body.len()));
        for size in [97, 1_000, 3_001, long] {
            let (fed, error) = feed(&input, size, &SMALL).expect_err(start);
            assert_eq!(error, TooLong, "{start} by {size}");
            assert!(
                fed <= (SMALL.bytes / size + 1) * size,
                "{start} by {size}: only after {fed}"
            );
        }
    }
    // The header too, and what comes before it.
    for start in ["<stream:stream a='", "<stream:stream ", "<?xml "] {
        let input = format!("{start}{}", " ".repeat(long));
        let mut framer = Framer::new();
        let mut scratch = Scratch::default();
        let refused = (1..input.len() / 100).find_map(|n| {
            framer
                .next(
                    &input.as_bytes()[..n * 100],
                    &mut scratch,
                    &Limits { name: 100, ..SMALL },
                )
                .err()
                .map(|e| (n * 100, e))
        });
        let (fed, error) = refused.expect(start);
        assert!(
            error == TooLong && fed <= SMALL.bytes + 100,
            "{start}: {error} after {fed}"
        );
    }
    let closing = format!("</stream:stream{}", " ".repeat(long));
    assert_eq!(feed(&closing, 1_000, &SMALL).map_err(|(_, e)| e), Err(TooLong));
}

#[test]
fn long_input_in_pieces_is_watched() {
    let wide = Limits {
        bytes: 1_000_000,
        name: 100,
        ..SMALL
    };
    let text = "x".repeat(5_000);
    for (tail, error) in [
        ("<!-", RestrictedXml),
        ("<?", RestrictedXml),
        ("<![CDATB", RestrictedXml),
        ("<b><c><d", TooDeep),
        ("<b/><b/><b/><b/><b", TooManyElements),
    ] {
        let input = format!("<a>{text}{tail}");
        // One byte at a time: the error comes with the byte that makes it one.
        assert_eq!(feed(&input, 1, &wide), Err((input.len(), error)), "{tail}");
    }
    let mut framer = Framer::new();
    let mut scratch = Scratch::default();
    framer
        .next(HEADER.as_bytes(), &mut scratch, &wide)
        .expect("a good header");
    let mut input = format!("<a>{text}").into_bytes();
    for byte in text.bytes() {
        assert!(framer.next(&input, &mut scratch, &wide).is_ok());
        input.push(byte);
    }
    input.push(0xff);
    assert_eq!(framer.next(&input, &mut scratch, &wide).err(), Some(NotWellFormed));
}

#[test]
fn dribbling_is_not_quadratic() {
    // 4 MB a few bytes at a time: by scanning from the start each time that would be 10^12 bytes.
    let limits = Limits {
        bytes: 8_000_000,
        elements: 1_000_000,
        ..Limits::default()
    };
    let unit = "<b c='d'>text &amp; text</b><![CDATA[x]]>é";
    let input = format!("<a>{}</a><c/>", unit.repeat(4_000_000 / unit.len()));
    assert_eq!(feed(&input, 8, &limits), Ok(()));
    let attribute = format!("<a b='{}'/><c/>", "x".repeat(4_000_000));
    assert_eq!(feed(&attribute, 8, &limits), Ok(()));
}

#[test]
fn a_header_may_not_leave_much_behind() {
    let wide = Limits::default();
    let header = format!("<s xmlns='x' xmlns:p='{}'>", "y".repeat(3_000));
    let mut scratch = Scratch::default();
    assert_eq!(
        Framer::new().next(header.as_bytes(), &mut scratch, &wide).err(),
        Some(TooManyNamespaces)
    );
    // One letter that stands for a long namespace cannot make a stanza longer than the limit.
    let header = format!("<s xmlns='x' xmlns:p='{}'>", "y".repeat(2_000));
    let mut framer = Framer::new();
    framer
        .next(header.as_bytes(), &mut scratch, &wide)
        .expect("a header within the limits");
    let stanza = format!("<a>{}</a>", "<p:b/>".repeat(9));
    let limits = Limits { bytes: 10_000, ..wide };
    assert_eq!(
        framer.next(stanza.as_bytes(), &mut scratch, &limits).err(),
        Some(TooLong)
    );
}

#[test]
fn depth_has_a_ceiling() {
    let limits = Limits {
        depth: usize::MAX,
        elements: usize::MAX,
        ..Limits::default()
    };
    let nested = |n: usize| format!("{}{}", "<a>".repeat(n), "</a>".repeat(n));
    let mut scratch = Scratch::default();
    let deepest = nested(jackdaw_xmlstream::MAX_DEPTH);
    let element = parse_element(&deepest, "", &mut scratch, &limits).expect("the deepest");
    drop(element.to_dom());
    let too_deep = nested(jackdaw_xmlstream::MAX_DEPTH + 1);
    assert_eq!(parse_element(&too_deep, "", &mut scratch, &limits).err(), Some(TooDeep));
}
