use super::*;

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> Srv {
    Srv {
        priority,
        weight,
        port,
        target: target.to_owned(),
    }
}

fn records<const N: usize>(records: [Srv; N]) -> Srvs {
    Ok(Answer {
        records: records.into(),
        is_secure: false,
    })
}

/// Targets as text, with a `random` that is always the same.
fn check(direct: Srvs, starttls: Srvs, random: u32, expected: &[&str]) {
    let targets = order("example.org", direct, starttls, &mut || random).expect("targets");
    let targets: Vec<String> = targets.iter().map(Target::to_string).collect();
    assert_eq!(targets, expected);
}

fn fails(direct: Srvs, starttls: Srvs, kind: FailureKind) {
    let failure = order("example.org", direct, starttls, &mut || 0).expect_err("a failure");
    assert_eq!(failure.kind, kind, "{}", failure.text);
    assert!(failure.text.contains("example.org"), "{}", failure.text);
}

const NONE: Srvs = Err(NoAnswer::NoName);

/// RFC 6120 section 3.2.2.
#[test]
fn without_records_the_domain_itself() {
    check(NONE, NONE, 0, &["example.org:5269 (STARTTLS)"]);
    check(NONE, Err(NoAnswer::NoData), 0, &["example.org:5269 (STARTTLS)"]);
}

/// XEP-0368 section 4: one list.
#[test]
fn both_kinds_are_mixed_by_priority() {
    check(
        records([srv(5, 1, 5270, "a"), srv(20, 1, 443, "c")]),
        records([srv(10, 1, 5269, "b")]),
        0,
        &["a:5270 (direct TLS)", "b:5269 (STARTTLS)", "c:443 (direct TLS)"],
    );
}

/// RFC 2782: the first whose sum of weights is not below the random number.
#[test]
fn weights() {
    let some = || records([srv(5, 10, 1, "a"), srv(5, 0, 2, "zero"), srv(5, 30, 3, "b")]);
    check(
        NONE,
        some(),
        0,
        &["zero:2 (STARTTLS)", "a:1 (STARTTLS)", "b:3 (STARTTLS)"],
    );
    check(
        NONE,
        some(),
        10,
        &["a:1 (STARTTLS)", "b:3 (STARTTLS)", "zero:2 (STARTTLS)"],
    );
    check(
        NONE,
        some(),
        11,
        &["b:3 (STARTTLS)", "zero:2 (STARTTLS)", "a:1 (STARTTLS)"],
    );
    let mut counts = [0; 2];
    let mut next = 0;
    for _ in 0..41 {
        let two = records([srv(5, 10, 1, "a"), srv(5, 30, 3, "b")]);
        let mut random = || {
            next += 1;
            next
        };
        let targets = order("example.org", NONE, two, &mut random).expect("targets");
        counts[usize::from(&*targets[0].host == "b")] += 1;
    }
    assert!(counts[1] > counts[0], "{counts:?}");
}

/// A target "." (RFC 2782), and XEP-0368 section 6: then the domain itself is not tried.
#[test]
fn decidedly_no_service() {
    let none = || records([srv(0, 0, 0, "")]);
    fails(NONE, none(), FailureKind::NotFound);
    fails(none(), NONE, FailureKind::NotFound);
    fails(none(), none(), FailureKind::NotFound);
    check(none(), records([srv(1, 1, 5269, "a")]), 0, &["a:5269 (STARTTLS)"]);
    check(records([srv(1, 1, 5270, "a")]), none(), 0, &["a:5270 (direct TLS)"]);
}

/// RFC 7673 section 3.1, and no fallback where it is not known that there are no records.
#[test]
fn without_an_answer() {
    let some = || records([srv(1, 1, 5269, "a")]);
    fails(Err(NoAnswer::Timeout), NONE, FailureKind::Timeout);
    fails(NONE, Err(NoAnswer::Failed("SERVFAIL".to_owned())), FailureKind::Timeout);
    fails(Err(NoAnswer::Bogus), some(), FailureKind::Timeout);
    fails(some(), Err(NoAnswer::Bogus), FailureKind::Timeout);
    // What is known is used: there are name servers that have no answer for services they do not know.
    check(Err(NoAnswer::Timeout), some(), 0, &["a:5269 (STARTTLS)"]);
}

#[test]
fn each_target_once_and_not_too_many() {
    let same = || srv(1, 1, 5269, "a");
    check(NONE, records([same(), same()]), 0, &["a:5269 (STARTTLS)"]);
    let many = |port| srv(port, 1, port, "a");
    let records: Vec<Srv> = (1..=30).map(many).collect();
    let answer = Ok(Answer {
        records,
        is_secure: true,
    });
    let targets = order("example.org", NONE, answer, &mut || 0).expect("targets");
    let ports: Vec<u16> = targets.iter().map(|target| target.port).collect();
    assert_eq!(ports, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(targets.iter().all(|target| target.is_secure));
}

#[test]
fn domains_as_the_dns_has_them() {
    assert_eq!(literal("192.0.2.1"), Some([192, 0, 2, 1].into()));
    assert_eq!(
        literal("[2001:db8::1]").map(|address| address.to_string()),
        Some("2001:db8::1".to_owned())
    );
    assert_eq!(literal("2001:db8::1"), None);
    assert_eq!(literal("example.org"), None);
    assert_eq!(a_labels("münchen.example").as_deref(), Some("xn--mnchen-3ya.example"));
    assert_eq!(
        a_labels("conference.example.org").as_deref(),
        Some("conference.example.org")
    );
    assert_eq!(a_labels(&format!("{}.example", "a".repeat(64))), None);
    assert_eq!(a_labels("a..b"), None);
    assert_eq!(a_labels(""), None);
}
