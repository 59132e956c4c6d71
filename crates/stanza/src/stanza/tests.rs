use xmlstream::{Limits, Scratch, parse_element};

use super::*;
use crate::error::{Condition, ErrorType};

/// Reads `xml` as a first-level element of a client's stream.
pub(crate) fn read<R>(xml: &str, then: impl FnOnce(Result<Option<Stanza<'_>>, Fault>) -> R) -> R {
    let mut scratch = Scratch::default();
    let element =
        parse_element(xml, ns::CLIENT, &mut scratch, &Limits::default()).unwrap_or_else(|e| panic!("{xml}: {e}"));
    then(Stanza::read(element))
}

pub(crate) fn with<R>(xml: &str, then: impl FnOnce(Stanza<'_>) -> R) -> R {
    read(xml, |stanza| then(stanza.expect(xml).expect(xml)))
}

#[test]
fn kinds() {
    let check = |xml: &str, kind: Kind| with(xml, |s| assert_eq!(s.kind(), kind, "{xml}"));
    check("<message/>", Kind::Message(MessageType::Normal));
    check("<message type='foo'/>", Kind::Message(MessageType::Normal));
    check("<message type=''/>", Kind::Message(MessageType::Normal));
    check("<presence/>", Kind::Presence(PresenceType::Available));
    for &t in MessageType::ALL {
        check(&format!("<message type='{}'/>", t.name()), Kind::Message(t));
    }
    for &t in &PresenceType::ALL[1..] {
        check(
            &format!("<presence type=\"{}\"></presence>", t.name()),
            Kind::Presence(t),
        );
    }
    for &t in IqType::ALL {
        check(
            &format!("<iq id='1' type='{}'><a xmlns='u'/></iq>", t.name()),
            Kind::Iq(t),
        );
    }
    check("<iq id='' type='result'/>", Kind::Iq(IqType::Result));
    check("<iq id='1' type='error'/>", Kind::Iq(IqType::Error));
    check(
        "<iq id='1' type='error'><a xmlns='u'/><error type='cancel'/></iq>",
        Kind::Iq(IqType::Error),
    );
    check("<message xmlns='jabber:client'/>", Kind::Message(MessageType::Normal));
    // A reference in the value is the character it stands for.
    check("<iq id='1' type='&#103;et'><a xmlns='u'/></iq>", Kind::Iq(IqType::Get));
}

#[test]
fn what_is_no_stanza() {
    for xml in [
        "<foo/>",
        "<Message/>",
        "<messages/>",
        "<message xmlns='jabber:server'/>",
        "<message xmlns=''/>",
        "<iq xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<c:message xmlns:c='urn:x'/>",
        // Wrong in every way, and still not ours to answer as a stanza.
        "<r xmlns='urn:xmpp:sm:3' to='@' from='@' type='x'/>",
    ] {
        read(xml, |s| assert!(matches!(s, Ok(None)), "{xml}: {s:?}"));
    }
    let mut scratch = Scratch::default();
    let server = parse_element("<message/>", ns::SERVER, &mut scratch, &Limits::default()).expect("XML");
    assert!(matches!(Stanza::read_in(server, ns::SERVER), Ok(Some(_))));
}

#[test]
fn faults() {
    use FaultKind::*;
    let check = |xml: &str, fault: Fault| read(xml, |s| assert_eq!(s.map(|_| ()), Err(fault), "{xml}"));
    let answered = |xml: &str, kind| check(xml, Fault::Answered(kind));
    let ignored = |xml: &str, kind| check(xml, Fault::Ignored(kind));

    answered("<message to='a b@@'/>", InvalidTo);
    answered("<message to=''/>", InvalidTo);
    answered("<presence to='ch@r@cters@muc.example.com/JulieC'/>", InvalidTo);
    answered(&format!("<message to='{}@b'/>", "a".repeat(1024)), InvalidTo);
    ignored("<message type='error' to='@'/>", InvalidTo);
    ignored("<presence type='error' to='@'/>", InvalidTo);
    ignored("<iq type='result' id='1' to='@'/>", InvalidTo);
    answered("<iq type='subscribe' id='1' to='@'/>", InvalidTo);

    answered("<iq type='get'><a xmlns='u'/></iq>", MissingId);
    ignored("<iq type='result'/>", MissingId);
    ignored("<iq type='error'/>", MissingId);

    answered("<iq id='1'><a xmlns='u'/></iq>", UnknownType);
    answered(
        "<iq id='1' type='subscribe'><ping xmlns='urn:xmpp:ping'/></iq>",
        UnknownType,
    );
    answered("<presence type='x'/>", UnknownType);
    answered("<presence type='available'/>", UnknownType);
    answered("<presence type=''/>", UnknownType);

    answered("<iq id='1' type='get'/>", ChildCount);
    answered("<iq id='1' type='set'>text</iq>", ChildCount);
    answered("<iq id='1' type='get'><a xmlns='u'/><b xmlns='u'/></iq>", ChildCount);
    ignored("<iq id='1' type='result'><a xmlns='u'/><b xmlns='u'/></iq>", ChildCount);

    check("<message from='@' to='@'/>", Fault::InvalidFrom);
    check("<iq from='' id='1' type='get'/>", Fault::InvalidFrom);
    check("<presence from='a@b/&#xFFFD;' type='error'/>", Fault::InvalidFrom);
}

#[test]
fn faults_know_the_answer() {
    let check = |kind, condition| {
        let error = Fault::Answered(kind).error();
        assert_eq!(
            (error.condition, error.kind),
            (condition, ErrorType::Modify),
            "{kind:?}"
        );
        assert!(Fault::Answered(kind).is_answered() && !Fault::Ignored(kind).is_answered());
        assert_eq!(Fault::Ignored(kind).error(), error);
    };
    check(FaultKind::InvalidTo, Condition::JidMalformed);
    check(FaultKind::MissingId, Condition::BadRequest);
    check(FaultKind::UnknownType, Condition::BadRequest);
    check(FaultKind::ChildCount, Condition::BadRequest);
    assert!(!Fault::InvalidFrom.is_answered());
}

#[test]
fn attributes() {
    with(
        "<message to='Romeo@Example.NET./Orchard' from='a@b/&lt;c' id='a&amp;b' xml:lang='de'/>",
        |s| {
            assert_eq!(s.to().map(|j| j.as_str()), Some("romeo@example.net/Orchard"));
            assert_eq!(s.from().and_then(|j| j.resource()), Some("<c"));
            assert_eq!(s.id(), Some("a&b"));
            assert_eq!(s.lang().as_deref(), Some("de"));
        },
    );
    with("<message/>", |s| {
        assert_eq!((s.to(), s.from(), s.id()), (None, None, None));
        assert!(s.lang().is_none());
    });
    // Attributes in a namespace are others.
    with(
        "<message xmlns:x='u' x:to='@' x:from='@' x:id='1' x:type='error'/>",
        |s| {
            assert_eq!((s.to(), s.from(), s.id()), (None, None, None));
            assert_eq!(s.kind(), Kind::Message(MessageType::Normal));
        },
    );
}

#[test]
fn payloads() {
    let check = |xml: &str, payload: Option<(&str, &str)>| {
        with(xml, |s| {
            let found = s.payload();
            let found = found.as_ref().map(|c| (c.name(), c.ns()));
            assert_eq!(found, payload, "{xml}");
        });
    };
    check(
        "<iq id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>",
        Some(("ping", "urn:xmpp:ping")),
    );
    check(
        "<iq id='1' type='get'> <p:ping xmlns:p='urn:xmpp:ping'/> </iq>",
        Some(("ping", "urn:xmpp:ping")),
    );
    check("<iq id='1' type='result'/>", None);
    check("<iq id='1' type='error'><error type='auth'/></iq>", None);
    check(
        "<iq id='1' type='error'><error type='auth'/><a xmlns='u'/></iq>",
        Some(("a", "u")),
    );
    check("<iq id='1' type='result'><error xmlns='u'/></iq>", Some(("error", "u")));
}
