use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LONG: usize = MAX_PART;

/// `input` is the address `expected`; borrowed exactly when the two are the same text.
fn check(input: &str, expected: &str) {
    let cow = JidCow::parse(input).unwrap_or_else(|e| panic!("{input:?}: {e}"));
    assert_eq!(cow.as_ref().as_str(), expected, "{input:?}");
    assert_eq!(cow.is_borrowed(), input == expected, "{input:?}");
    let jid = cow.into_owned();
    assert_eq!(
        Jid::parse(expected).as_ref(),
        Ok(&jid),
        "{input:?}: prepared form changes"
    );

    let again = Jid::new(jid.local(), jid.domain(), jid.resource()).expect("its own parts");
    assert_eq!(again, jid);
    assert_eq!(
        (again.local(), again.domain(), again.resource()),
        (jid.local(), jid.domain(), jid.resource())
    );
}

fn refused(input: &str, error: JidError) {
    assert_eq!(Jid::parse(input), Err(error), "{input:?}");
}

/// RFC 7622 section 3.5, table 1: legal JIDs.
#[test]
fn rfc7622_table_1() {
    for same in [
        "juliet@example.com",
        "juliet@example.com/foo",
        "juliet@example.com/foo bar",
        "juliet@example.com/foo@bar",
        "foo\\20bar@example.com",
        "fussball@example.com",
        "\u{3c0}@example.com",
        "\u{3c3}@example.com/foo",
        "king@example.com/\u{265a}",
        "example.com",
        "example.com/foobar",
        "a.example.com/b@example.net",
    ] {
        check(same, same);
    }
    // 9: capital sigma is folded, as the RFC says too.
    check("\u{3a3}@example.com/foo", "\u{3c3}@example.com/foo");
    // 7 and 11 differ on purpose: stringprep folds sharp s to "ss" and final sigma to sigma, so these are the
    // addresses of examples 6 and 10. Accounts made under other servers depend on it.
    check("fu\u{df}ball@example.com", "fussball@example.com");
    check("\u{3c2}@example.com/foo", "\u{3c3}@example.com/foo");
}

/// RFC 7622 section 3.5, table 2: strings that are no JIDs.
#[test]
fn rfc7622_table_2() {
    refused("\"juliet\"@example.com", JidError::Invalid(Part::Local));
    refused("foo bar@example.com", JidError::Invalid(Part::Local));
    refused("@example.com/", JidError::Empty(Part::Local));
    refused("juliet@", JidError::Empty(Part::Domain));
    refused("/foobar", JidError::Empty(Part::Domain));
    // 18, 20 and 21 differ on purpose: resourceprep allows the leading space, nodeprep maps the compatibility
    // character and allows the symbol, which Unicode 3.2 knew.
    check("juliet@example.com/ foo", "juliet@example.com/ foo");
    check("henry\u{2163}@example.com", "henryiv@example.com");
    check("\u{265a}@example.com", "\u{265a}@example.com");
}

#[test]
fn local_parts() {
    check("Juliet@example.com", "juliet@example.com");
    check("\u{c5}ngstr\u{f6}m@example.com", "\u{e5}ngstr\u{f6}m@example.com");
    check("a\u{ad}b@example.com", "ab@example.com");
    check(
        "ju!#$%()*+,-.;=?[\\]^_`{|}~@example.com",
        "ju!#$%()*+,-.;=?[\\]^_`{|}~@example.com",
    );
    for excluded in ['"', '&', '\'', ':', '<', '>', ' ', '\t', '\0', '\u{7f}'] {
        refused(&format!("a{excluded}@example.com"), JidError::Invalid(Part::Local));
        refused(&format!("\u{e9}{excluded}@example.com"), JidError::Invalid(Part::Local));
    }
    // A full-width commercial at becomes a plain one: after the split, so it separates nothing, and is refused.
    refused("a\u{ff20}b@example.com", JidError::Invalid(Part::Local));
    refused("a\u{a0}b@example.com", JidError::Invalid(Part::Local));
    // Right-to-left and left-to-right letters mixed (RFC 3454 section 6).
    refused("a\u{5d0}@example.com", JidError::Invalid(Part::Local));
    check("\u{5d0}\u{5d1}@example.com", "\u{5d0}\u{5d1}@example.com");
    // Unicode 3.2 did not know it: look-alikes of tomorrow make no accounts today.
    refused("\u{1f642}@example.com", JidError::Invalid(Part::Local));
    refused("\u{ad}@example.com", JidError::Empty(Part::Local));
}

#[test]
fn domain_parts() {
    check("EXAMPLE.com", "example.com");
    check("a@example.com./r", "a@example.com/r");
    check("a@example.com.", "a@example.com");
    check("a@xn--bcher-kva.example", "a@b\u{fc}cher.example");
    check("a@XN--BCHER-KVA.example", "a@b\u{fc}cher.example");
    check("a@B\u{dc}CHER.example", "a@b\u{fc}cher.example");
    check("a@bu\u{308}cher.example", "a@b\u{fc}cher.example");
    check("a@stra\u{df}e.example", "a@stra\u{df}e.example");
    check("\u{ff45}xample\u{3002}com", "example.com");
    check("localhost", "localhost");
    check("my_host.internal", "my_host.internal");
    check("a@r3---x.example", "a@r3---x.example");
    check("192.0.2.1", "192.0.2.1");
    check("a@[::1]/r", "a@[::1]/r");
    check("[2001:DB8:0:0::1]", "[2001:db8::1]");

    for bad in [
        "example..com",
        ".example.com",
        ".",
        "example.com..",
        "-a.example",
        "a-.example",
        "a b",
        "a@b@c",
        "a'b",
        "a&b",
        "a\"b",
        "a<b",
        "[::1",
        "[::1]x",
        "[192.0.2.1]",
        "[fe80::1%25eth0]",
        "[]",
        "xn--",
        "xn--a",
        "\u{ad}",
        "a\u{ff20}b",
        "a\u{ff0f}b",
        "a\u{2024}.com\u{3002}",
        "\u{5d0}a.example",
        "a:5222",
        "\u{fffd}",
        "a\0",
    ] {
        let result = prepare_domain(bad);
        assert!(
            matches!(
                result,
                Err(JidError::Invalid(Part::Domain) | JidError::Empty(Part::Domain))
            ),
            "{bad:?}: {result:?}"
        );
    }
    assert!(prepare_domain(&"a".repeat(63)).is_ok());
    assert!(prepare_domain(&"a".repeat(64)).is_err());
    assert!(prepare_domain(&"a.".repeat(127)).is_ok()); // 253 bytes and the final dot
    assert!(prepare_domain(&"a.".repeat(128)).is_err());
}

#[test]
fn resource_parts() {
    check("a@example.com/Balcony", "a@example.com/Balcony");
    check("a@example.com/a/b@c", "a@example.com/a/b@c");
    // Emoji of Unicode 6, 9 and 14.
    for emoji in ["\u{1f4f1}", "\u{1f98a} fox", "\u{1fae0}"] {
        check(&format!("a@example.com/{emoji}"), &format!("a@example.com/{emoji}"));
    }
    // Joiners and variation selectors map to nothing (RFC 3454 table B.1).
    check("a@example.com/\u{2764}\u{fe0f}", "a@example.com/\u{2764}");
    check("a@example.com/\u{ff21}\u{2126}", "a@example.com/A\u{3a9}");
    check("a@example.com/e\u{301}", "a@example.com/\u{e9}");
    check("a@example.com/\u{5d0}\u{5d1}", "a@example.com/\u{5d0}\u{5d1}");
    check("a@example.com/<&'\">", "a@example.com/<&'\">");
    for bad in [
        '\0',
        '\n',
        '\u{7f}',
        '\u{85}',
        '\u{1680}',
        '\u{e000}',
        '\u{fffe}',
        '\u{fffd}',
        '\u{2ff0}',
        '\u{202e}',
        '\u{e0041}',
    ] {
        refused(&format!("a@example.com/x{bad}"), JidError::Invalid(Part::Resource));
    }
    refused("a@example.com/", JidError::Empty(Part::Resource));
    refused("a@example.com/\u{200b}", JidError::Empty(Part::Resource));
    refused("a@example.com/\u{5d0}a\u{5d0}", JidError::Invalid(Part::Resource));
    refused("a@example.com/\u{5d0}1", JidError::Invalid(Part::Resource));
}

/// RFC 7622 sections 3.3 and 3.4: the limit is of bytes and holds after preparation.
#[test]
fn lengths() {
    let fits = "a".repeat(LONG);
    check(
        &format!("{fits}@example.com/{fits}"),
        &format!("{fits}@example.com/{fits}"),
    );
    refused(&format!("a{fits}@example.com"), JidError::TooLong(Part::Local));
    refused(&format!("A{fits}@example.com"), JidError::TooLong(Part::Local));
    refused(&format!("example.com/a{fits}"), JidError::TooLong(Part::Resource));
    // 341 characters of 3 bytes fit, one more does not.
    check(
        &format!("x@y/{}", "\u{265a}".repeat(341)),
        &format!("x@y/{}", "\u{265a}".repeat(341)),
    );
    refused(
        &format!("x@y/{}", "\u{265a}".repeat(342)),
        JidError::TooLong(Part::Resource),
    );
    // Longer before than after, and longer after than before.
    check(
        &format!("x@y/{}", "e\u{301}".repeat(400)),
        &format!("x@y/{}", "\u{e9}".repeat(400)),
    );
    refused(
        &format!("x@y/{}", "\u{fdfa}".repeat(60)),
        JidError::TooLong(Part::Resource),
    );
    // Nothing is prepared at any length, even when all of it would vanish.
    refused(
        &format!("x@y/a{}", "\u{ad}".repeat(10_000)),
        JidError::TooLong(Part::Resource),
    );
    refused(
        &format!("a{}@y", "\u{ad}".repeat(10_000)),
        JidError::TooLong(Part::Local),
    );
    refused(&"\u{fc}".repeat(10_000), JidError::TooLong(Part::Domain));
}

#[test]
fn parts_and_bare_forms() {
    type Row = (
        &'static str,
        Option<&'static str>,
        &'static str,
        Option<&'static str>,
        &'static str,
    );
    let rows: &[Row] = &[
        ("a@b/c", Some("a"), "b", Some("c"), "a@b"),
        ("a@b", Some("a"), "b", None, "a@b"),
        ("b/c", None, "b", Some("c"), "b"),
        ("b", None, "b", None, "b"),
        ("a@b/c/d@e", Some("a"), "b", Some("c/d@e"), "a@b"),
    ];
    for &(text, local, domain, resource, bare) in rows {
        let jid = Jid::parse(text).expect(text);
        assert_eq!((jid.local(), jid.domain(), jid.resource()), (local, domain, resource));
        assert_eq!(jid.bare_str(), bare);
        assert_eq!(jid.to_bare().as_str(), bare);
        assert_eq!(jid.as_ref().bare().as_str(), bare);
        assert!(jid.to_bare().is_bare() && jid.to_bare().resource().is_none());
        assert_eq!(jid.is_bare(), resource.is_none());
        assert_eq!(jid.as_ref().is_domain(), local.is_none());
        let other = jid.with_resource("Ä x").expect("a resource");
        assert_eq!(other.as_str(), format!("{bare}/Ä x"));
        assert_eq!(
            (other.local(), other.domain(), other.resource()),
            (local, domain, Some("Ä x"))
        );
        assert_eq!(jid.to_string(), text);
        assert_eq!(text.parse::<Jid>(), Ok(jid));
    }
    assert_eq!(Jid::new(Some("A"), "B", None).expect("parts").as_str(), "a@b");
    assert_eq!(Jid::new(Some(""), "b", None), Err(JidError::Empty(Part::Local)));
    assert_eq!(Jid::new(None, "a@b", None), Err(JidError::Invalid(Part::Domain)));
    assert_eq!(Jid::new(None, "b/c", None), Err(JidError::Invalid(Part::Domain)));
    assert_eq!(
        Jid::parse("b").and_then(|b| b.with_resource("")),
        Err(JidError::Empty(Part::Resource))
    );
}

#[test]
fn a_map_of_jids_can_be_asked_with_a_text() {
    let map: BTreeMap<Jid, u8> = [(Jid::parse("A@b/C").expect("a JID"), 1)].into();
    assert_eq!(map.get("a@b/C"), Some(&1));
    assert_eq!(map.get("a@b/c"), None);
    let jid = Jid::parse("a@b").expect("a JID");
    assert!(jid == jid.as_ref() && jid.as_ref() == jid);
    assert_eq!(std::mem::size_of::<Jid>(), 24);
}

/// Every single character, because a table with a hole is not found by chance.
#[test]
fn each_character_is_refused_or_stable() {
    for c in (0..=0x10ffff).filter_map(char::from_u32) {
        for text in [c.to_string(), format!("a{c}"), format!("{c}\u{301}")] {
            for prepare in [prepare_local, prepare_resource] {
                if let Ok(prepared) = prepare(&text) {
                    assert_eq!(prepare(&prepared).as_deref(), Ok(&*prepared), "{text:?}");
                }
            }
        }
    }
}

fn agrees_with_the_crate(text: &str) -> Result<(), TestCaseError> {
    match (Jid::parse(text), jid::Jid::new(text)) {
        (Ok(ours), Ok(theirs)) => {
            prop_assert_eq!(ours.as_str(), theirs.as_str());
            prop_assert_eq!(ours.local(), theirs.node().map(|n| n.as_str()));
            prop_assert_eq!(ours.domain(), theirs.domain().as_str());
            prop_assert_eq!(ours.resource(), theirs.resource().map(|r| r.as_str()));
        }
        (Err(_), Err(_)) => {}
        (ours, theirs) => prop_assert!(false, "{text:?}: {ours:?} {theirs:?}"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn ascii_agrees_with_the_crate_jid(
        local in proptest::option::of("[ -~]{0,6}"),
        // Without hyphens, where the crate refuses names that exist, and without punctuation, which it lets through.
        domain in "[a-zA-Z0-9_.]{0,8}",
        resource in proptest::option::of("[\\x00-\\x7f]{0,6}"),
    ) {
        let mut text = String::new();
        if let Some(local) = local {
            text += &local;
            text.push('@');
        }
        text += &domain;
        if let Some(resource) = resource {
            text.push('/');
            text += &resource;
        }
        // Separators in the local part move the others; what lands in the domain then is another domain.
        let bare = text.split('/').next().unwrap_or_default();
        let lands = bare.split_once('@').map_or(bare, |(_, domain)| domain);
        prop_assume!(lands.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'@')));
        // The crate keeps the final dot, which RFC 7622 section 3.2 says to strip.
        prop_assume!(!lands.ends_with('.'));
        agrees_with_the_crate(&text)?;
    }

    #[test]
    fn what_parses_is_stable(text in "\\PC{0,12}(@\\PC{1,12})?(/\\PC{1,12})?") {
        if let Ok(jid) = Jid::parse(&text) {
            prop_assert_eq!(Jid::parse(jid.as_str()), Ok(jid.clone()));
            let again = Jid::new(jid.local(), jid.domain(), jid.resource());
            prop_assert_eq!(again, Ok(jid));
        }
    }

    #[test]
    fn parts_are_stable(text in any::<String>()) {
        for prepare in [prepare_local, prepare_domain, prepare_resource] {
            if let Ok(prepared) = prepare(&text) {
                prop_assert!((1..=MAX_PART).contains(&prepared.len()));
                let again = prepare(&prepared);
                prop_assert_eq!(again.as_deref(), Ok(&*prepared));
            }
        }
    }

    #[test]
    fn domains_of_many_scripts_are_stable(text in "[a-zäßçéÀΣς中ア가Я０-９\u{300}-\u{310}。.xn-]{1,12}") {
        if let Ok(prepared) = prepare_domain(&text) {
            let again = prepare_domain(&prepared);
            prop_assert_eq!(again.as_deref(), Ok(&*prepared));
        }
    }
}

/// The pass over plain addresses is a shortcut: preparation says the same of all that it lets through.
fn the_shortcut_agrees(text: &str) {
    let (short, long) = (JidCow::parse(text), JidCow::prepare(text));
    let parts = |jid: JidRef<'_>| {
        (
            jid.local().map(str::len),
            jid.domain().len(),
            jid.resource().map(str::len),
        )
    };
    match (&short, &long) {
        (Ok(short), Ok(long)) => {
            assert_eq!(short.as_ref(), long.as_ref(), "{text:?}");
            assert_eq!(short.is_borrowed(), long.is_borrowed(), "{text:?}");
            assert_eq!(parts(short.as_ref()), parts(long.as_ref()), "{text:?}");
        }
        _ => assert_eq!(short.err(), long.err(), "{text:?}"),
    }
}

#[test]
fn the_shortcut_ends_where_it_should() {
    // Every byte in every part; every order of what a domain is made of.
    for b in 0..=0x7f_u8 {
        let c = char::from(b);
        for text in [
            format!("{c}"),
            format!("a{c}b"),
            format!("{c}@b.c"),
            format!("a{c}@b.c"),
            format!("a@{c}"),
            format!("a@b{c}"),
            format!("a@b{c}c/d"),
            format!("a@b/{c}"),
            format!("b/d{c}e"),
        ] {
            the_shortcut_agrees(&text);
        }
    }
    for n in 0..4_usize.pow(5) {
        let domain: String = (0..5).map(|i| ['a', '.', '-', '0'][n / 4_usize.pow(i) % 4]).collect();
        the_shortcut_agrees(&domain);
        the_shortcut_agrees(&format!("a@{domain}/r"));
    }
    // The limits of each part, of a label and of a name.
    for length in [0, 1, 62, 63, 64, 65, 252, 253, 254, 1022, 1023, 1024, 4092, 4093] {
        let long = "a".repeat(length);
        let labels = "a.".repeat(length / 2) + "a";
        for text in [
            long.clone(),
            format!("b.{long}.c"),
            format!("{long}.b"),
            format!("b.{long}"),
            labels.clone(),
            format!("{long}@b"),
            format!("{long}@"),
            format!("a@{long}/{long}"),
            format!("b/{long}"),
            format!("{long}@{labels}/{long}"),
        ] {
            the_shortcut_agrees(&text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_shortcut_agrees_with_preparation(text in "[a-cA_0@/ .&\\-\u{e9}]{0,12}") {
        the_shortcut_agrees(&text);
    }
}
