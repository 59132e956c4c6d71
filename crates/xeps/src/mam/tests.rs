use archive::{IDS_MOST, PAGE, PAGE_BYTES};
use module::{Answer, ArchivePrefs, ArchiveRule, MakeSaid, Said};
use stanza::StanzaError;
use store::{Archived, Found, Page, Query, Range, StoreError, View};

use crate::testing::{Asked, ask, check, ids};

pub(super) const OWNER: &str = "juliet@example.org";

/// A query with this form and these other children.
pub(super) fn query_of(fields: &[(&str, &str)], others: &str) -> String {
    let mut form = String::new();
    if !fields.is_empty() {
        form.push_str("<x xmlns='jabber:x:data' type='submit'>");
        form.push_str("<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>");
        for (var, value) in fields {
            form.push_str(&format!("<field var='{var}'><value>{value}</value></field>"));
        }
        form.push_str("</x>");
    }
    format!("<query xmlns='urn:xmpp:mam:2' queryid='f27'>{form}{others}</query>")
}

pub(super) fn rsm(content: &str) -> String {
    format!("<set xmlns='http://jabber.org/protocol/rsm'>{content}</set>")
}

/// What is asked of the store, and what is made of its answer.
fn asked(payload: &str) -> (Query, MakeSaid) {
    match ask(super::module(), Asked::own_account(payload).set()).0 {
        Answer::Asked(query, said) => (query, said),
        Answer::Error(error) => panic!("{payload}: {error}"),
        _ => panic!("{payload}: the store is not asked"),
    }
}

fn refused(payload: &str) -> &'static str {
    match ask(super::module(), Asked::own_account(payload).set()).0 {
        Answer::Error(error) => error.condition.name(),
        _ => panic!("{payload} was accepted"),
    }
}

fn range() -> Range {
    Range {
        bytes: PAGE_BYTES,
        ..Range::of(OWNER, View::Archive, PAGE)
    }
}

fn named(ids: &[i64]) -> Query {
    Query::archive(Range {
        ids: Some(ids.to_vec()),
        count: true,
        ..Range::of(OWNER, View::Archive, 0)
    })
}

/// So many messages, from this id on, one a second.
fn page(first: i64, messages: i64, complete: bool) -> Page {
    let message = |id: i64| Archived {
        id,
        at: 1_278_803_305_000 + 1_000 * id,
        archived: true,
        waits: id % 2 == 0,
        stanza: format!("<message from='romeo@montague.lit/orchard' to='{OWNER}' id='{id}'><body>hi</body></message>")
            .into(),
    };
    Page {
        messages: (first..first + messages).map(message).collect(),
        complete,
        ..Page::default()
    }
}

fn counted(total: u64) -> Page {
    Page {
        total: Some(total),
        ..Page::default()
    }
}

fn result(id: i64) -> String {
    format!(
        "<result xmlns='urn:xmpp:mam:2' id='{shown}' queryid='f27'><forwarded xmlns='urn:xmpp:forward:0'>\
         <delay xmlns='urn:xmpp:delay' stamp='2010-07-10T23:08:{second:02}.000Z'/>\
         <message xmlns='jabber:client' from='romeo@montague.lit/orchard' to='{OWNER}' id='{id}'><body>hi</body></message>\
         </forwarded></result>",
        shown = ids().show(id),
        second = 25 + id,
    )
}

fn fin(attributes: &str, set: &str) -> String {
    format!("<fin xmlns='urn:xmpp:mam:2'{attributes}><set xmlns='http://jabber.org/protocol/rsm'{set}</fin>")
}

fn ends(first: i64, last: i64) -> String {
    format!(
        "><first>{}</first><last>{}</last></set>",
        ids().show(first),
        ids().show(last)
    )
}

/// The messages, one by one.
fn messages(said: &Said) -> Vec<String> {
    let texts = said.messages.iter();
    texts.map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

fn answer(said: Said) -> Result<String, &'static str> {
    assert!(said.answer.is_ok() || said.messages.is_empty());
    said.answer.map_err(|error| error.condition.name())
}

/// Section 4, examples 2 to 4.
#[test]
fn all_messages_come_and_then_the_end() {
    let (query, said) = asked(&query_of(&[], ""));
    assert_eq!(query, Query::archive(range()));
    let said = said(Ok(Found::Archive(page(1, 2, true))));
    assert_eq!(messages(&said), [result(1), result(2)]);
    assert_eq!(said.answer, Ok(fin(" complete='true'", &ends(1, 2))));
}

#[test]
fn without_a_query_id_there_is_none_and_others_are_escaped() {
    let first = |payload: &str| {
        let (_, said) = asked(payload);
        messages(&said(Ok(Found::Archive(page(1, 1, true))))).remove(0)
    };
    assert_eq!(
        first("<query xmlns='urn:xmpp:mam:2'/>"),
        result(1).replace(" queryid='f27'", "")
    );
    assert_eq!(
        first("<query xmlns='urn:xmpp:mam:2' queryid=\"&lt;'\"/>"),
        result(1).replace("'f27'", "'&lt;&apos;'")
    );
}

#[test]
fn an_empty_archive_has_an_empty_end() {
    let (_, said) = asked(&query_of(&[], ""));
    assert_eq!(
        answer(said(Ok(Found::Archive(page(1, 0, true))))),
        Ok(fin(" complete='true'", "/>"))
    );
}

#[test]
fn a_flipped_page_has_the_same_ends() {
    let (query, said) = asked(&query_of(
        &[],
        &format!("{}<flip-page/>", rsm("<before/><max>10</max>")),
    ));
    let expected = Range {
        newest: true,
        limit: 10,
        ..range()
    };
    assert_eq!(query, Query::archive(expected));
    let said = said(Ok(Found::Archive(page(3, 2, false))));
    assert_eq!(messages(&said), [result(4), result(3)]);
    assert_eq!(said.answer, Ok(fin("", &ends(3, 4))));
}

/// Sections 4.1.1 and 4.1.2.
#[test]
fn fields_are_conditions() {
    let check = |fields: &[(&str, &str)], expected: Range| {
        let (query, _) = asked(&query_of(fields, ""));
        assert_eq!(query, Query::archive(expected), "{fields:?}");
    };
    let with = |jid: &str| Range {
        with: Some(jid.into()),
        ..range()
    };
    check(&[("with", "Romeo@Montague.lit")], with("romeo@montague.lit"));
    check(
        &[("with", "romeo@montague.lit/Orchard")],
        with("romeo@montague.lit/Orchard"),
    );
    check(&[("with", OWNER)], with(OWNER));
    check(
        &[
            ("start", "2010-06-07T00:00:00Z"),
            ("end", "2010-07-07T15:23:54.5+02:00"),
        ],
        Range {
            start: Some(1_275_868_800_000),
            end: Some(1_278_509_034_500),
            ..range()
        },
    );
    // Of its whole second, where it has no fraction.
    for (end, last) in [
        ("2010-07-07T13:23:54Z", 1_278_509_034_999),
        ("2010-07-07T15:23:54+02:00", 1_278_509_034_999),
        ("2010-07-07T13:23:54.000Z", 1_278_509_034_000),
    ] {
        let until = Range {
            end: Some(last),
            ..range()
        };
        check(&[("end", end)], until);
    }
    check(&[("with", ""), ("start", ""), ("ids", "")], range());
    check(&[("include-groupchat", "true")], range());
    check(&[("include-groupchat", "0")], range());
}

#[test]
fn pages_are_as_long_as_wanted_but_not_longer_than_the_limit() {
    let limit = |set: &str| match asked(&query_of(&[], set)).0 {
        Query::Archive(range) => range.limit,
        query => panic!("{query:?}"),
    };
    assert_eq!(limit(""), PAGE);
    assert_eq!(limit(&rsm("")), PAGE);
    assert_eq!(limit(&rsm("<max>7</max>")), 7);
    assert_eq!(limit(&rsm("<max>100</max>")), 100);
    assert_eq!(limit(&rsm("<max>1000000000</max>")), 100);
}

/// Sections 4.1.3 and 4.3.2: by id, and every id is looked for.
#[test]
fn ids_are_ends_of_the_page_and_must_exist() {
    let shown = |id: i64| ids().show(id);
    let check = |fields: &[(&str, &str)], set: &str, names: &[i64], expected: Range| {
        let (query, said) = asked(&query_of(fields, &rsm(set)));
        assert_eq!(
            query,
            Query::Many(vec![named(names), Query::archive(expected)]),
            "{fields:?} {set}"
        );
        let found = |total: u64| {
            let pages = [counted(total), page(6, 1, true)];
            Ok(Found::Many(pages.map(Found::Archive).to_vec()))
        };
        let total = names.len() as u64;
        assert_eq!(answer(said(found(total))), Ok(fin(" complete='true'", &ends(6, 6))));
        let (_, said) = asked(&query_of(fields, &rsm(set)));
        assert_eq!(answer(said(found(total - 1))), Err("item-not-found"));
    };
    let after = Range {
        after: Some(5),
        ..range()
    };
    check(&[("after-id", &shown(5))], "", &[5], after.clone());
    check(&[], &format!("<after>{}</after>", shown(5)), &[5], after);
    let before = Range {
        before: Some(9),
        ..range()
    };
    check(&[("before-id", &shown(9))], "", &[9], before.clone());
    let backwards = Range { newest: true, ..before };
    check(&[], &format!("<before>{}</before>", shown(9)), &[9], backwards.clone());
    check(&[("before-id", &shown(9))], "<before/>", &[9], backwards);
    // The narrower of each.
    check(
        &[("after-id", &shown(3)), ("before-id", &shown(9))],
        &format!("<after>{}</after><max>2</max>", shown(5)),
        &[3, 5, 9],
        Range {
            after: Some(5),
            before: Some(9),
            limit: 2,
            ..range()
        },
    );
    check(
        &[("after-id", &shown(3)), ("before-id", &shown(9))],
        &format!("<before>{}</before>", shown(7)),
        &[3, 7, 9],
        Range {
            after: Some(3),
            before: Some(7),
            newest: true,
            ..range()
        },
    );
}

#[test]
fn single_messages() {
    let values = [8, 6, 8].map(|id| ids().show(id)).join("</value><value>");
    let (query, said) = asked(&query_of(&[("ids", &values)], ""));
    let wanted = Range {
        ids: Some(vec![6, 8]),
        ..range()
    };
    assert_eq!(query, Query::Many(vec![named(&[6, 8]), Query::archive(wanted)]));
    let found = Found::Many(vec![Found::Archive(counted(2)), Found::Archive(page(6, 1, true))]);
    assert_eq!(messages(&said(Ok(found))), [result(6)]);

    let many = vec![ids().show(1); IDS_MOST + 1].join("</value><value>");
    assert_eq!(refused(&query_of(&[("ids", &many)], "")), "policy-violation");
    let many = vec![ids().show(1); IDS_MOST].join("</value><value>");
    let (query, _) = asked(&query_of(&[("ids", &many)], ""));
    assert!(matches!(query, Query::Many(_)));
}

/// XEP-0059 section 2.7.
#[test]
fn messages_are_counted_where_nothing_else_is_asked() {
    let (query, said) = asked(&query_of(&[("with", "romeo@montague.lit")], &rsm("<max>0</max>")));
    let expected = Range {
        with: Some("romeo@montague.lit".into()),
        limit: 0,
        count: true,
        ..range()
    };
    assert_eq!(query, Query::archive(expected));
    assert_eq!(
        answer(said(Ok(Found::Archive(counted(800))))),
        Ok(fin("", "><count>800</count></set>"))
    );
    let (query, _) = asked(&query_of(&[("after-id", &ids().show(5))], &rsm("<max>0</max>")));
    let expected = Range {
        after: Some(5),
        limit: 0,
        ..range()
    };
    assert_eq!(query, Query::Many(vec![named(&[5]), Query::archive(expected)]));
}

#[test]
fn what_is_no_query() {
    let field = |var: &str, value: &str| refused(&query_of(&[(var, value)], ""));
    assert_eq!(
        field("{http://example.com/}free-text-search", "x"),
        "feature-not-implemented"
    );
    assert_eq!(field("withtext", ""), "feature-not-implemented");
    assert_eq!(field("with", "a@b@c"), "jid-malformed");
    assert_eq!(field("include-groupchat", "maybe"), "bad-request");
    for var in ["start", "end"] {
        assert_eq!(field(var, "yesterday"), "bad-request");
        assert_eq!(field(var, "2010-06-07"), "bad-request");
    }
    for unknown in ["09af3-cc343-b409f", "1", "FFFFFFFFFFFFFFFF"] {
        for var in ["before-id", "after-id", "ids"] {
            assert_eq!(field(var, unknown), "item-not-found");
        }
        for end in ["before", "after"] {
            let set = rsm(&format!("<{end}>{unknown}</{end}>"));
            assert_eq!(refused(&query_of(&[], &set)), "item-not-found");
        }
    }
    assert_eq!(refused(&query_of(&[], &rsm("<max>x</max>"))), "bad-request");
    assert_eq!(
        refused(&query_of(&[], &rsm("<max>1</max><index>0</index>"))),
        "feature-not-implemented"
    );
    assert_eq!(
        refused("<query xmlns='urn:xmpp:mam:2' node='urn:xmpp:microblog:0'/>"),
        "item-not-found"
    );
    for form in [
        "<x xmlns='jabber:x:data' type='submit'/>",
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:1</value></field></x>",
        "<x xmlns='jabber:x:data' type='form'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field></x>",
    ] {
        assert_eq!(
            refused(&format!("<query xmlns='urn:xmpp:mam:2'>{form}</query>")),
            "bad-request",
            "{form}"
        );
    }
}

#[test]
fn a_store_that_cannot_answer_is_told() {
    for payload in [query_of(&[], ""), query_of(&[("after-id", &ids().show(5))], "")] {
        let (_, said) = asked(&payload);
        assert_eq!(answer(said(Err(StoreError::Overloaded))), Err("resource-constraint"));
        let (_, said) = asked(&payload);
        assert_eq!(answer(said(Ok(Found::Count(1)))), Err("internal-server-error"));
    }
}

/// Where there is no index, a store may give up before it has found anything.
#[test]
fn an_empty_page_that_is_not_the_last_is_an_error() {
    let (_, said) = asked(&query_of(&[], ""));
    assert_eq!(
        answer(said(Ok(Found::Archive(page(1, 0, false))))),
        Err("resource-constraint")
    );
}

/// What waited and stands on the page has arrived with it (section 6.1.1, last paragraph).
#[test]
fn what_waited_has_arrived() {
    let (_, said) = asked(&query_of(&[], ""));
    let said = said(Ok(Found::Archive(page(5, 4, true))));
    assert_eq!(said.arrived, [6, 8]);
}

/// Section 4.1.5.
#[test]
fn the_form_tells_the_fields() {
    check(
        super::module(),
        Asked::own_account("<query xmlns='urn:xmpp:mam:2'/>"),
        Ok("<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='form'>\
            <field type='hidden' var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>\
            <field type='jid-single' var='with'/><field type='text-single' var='start'/>\
            <field type='text-single' var='end'/><field type='text-single' var='before-id'/>\
            <field type='text-single' var='after-id'/><field type='list-multi' var='ids'>\
            <validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:string'><open/></validate></field>\
            <field type='boolean' var='include-groupchat'/></x></query>"),
    );
}

/// Section 5.
#[test]
fn metadata_tells_the_ends_of_the_archive() {
    let asked = || match ask(
        super::module(),
        Asked::own_account("<metadata xmlns='urn:xmpp:mam:2'/>"),
    )
    .0
    {
        Answer::Asked(query, said) => (query, said),
        _ => panic!("the store is not asked"),
    };
    let one = |newest: bool| {
        Query::archive(Range {
            newest,
            ..Range::of(OWNER, View::Archive, 1)
        })
    };
    let (query, said) = asked();
    assert_eq!(query, Query::Many(vec![one(false), one(true)]));
    let pages = |pages: [Page; 2]| Ok(Found::Many(pages.map(Found::Archive).to_vec()));
    let told = answer(said(pages([page(1, 1, false), page(9, 1, false)])));
    let expected = format!(
        "<metadata xmlns='urn:xmpp:mam:2'><start id='{}' timestamp='2010-07-10T23:08:26.000Z'/>\
         <end id='{}' timestamp='2010-07-10T23:08:34.000Z'/></metadata>",
        ids().show(1),
        ids().show(9)
    );
    assert_eq!(told, Ok(expected));
    let (_, said) = asked();
    let told = answer(said(pages([page(1, 0, true), page(1, 0, true)])));
    assert_eq!(told, Ok("<metadata xmlns='urn:xmpp:mam:2'></metadata>".to_owned()));
    let (_, said) = asked();
    assert_eq!(answer(said(Err(StoreError::Closed))), Err("internal-server-error"));
}

fn prefs(default: ArchiveRule, always: &[&str], never: &[&str]) -> ArchivePrefs {
    let list = |jids: &[&str]| jids.iter().map(|jid| Box::from(*jid)).collect();
    ArchivePrefs {
        default,
        always: list(always),
        never: list(never),
    }
}

/// XEP-0441 section 2.1, example 2.
#[test]
fn preferences_are_told() {
    let check = |prefs: ArchivePrefs, expected: &str| {
        let asked = Asked::own_account("<prefs xmlns='urn:xmpp:mam:2'/>").prefers(prefs);
        check(super::module(), asked, Ok(expected));
    };
    check(
        ArchivePrefs::default(),
        "<prefs xmlns='urn:xmpp:mam:2' default='always'><always></always><never></never></prefs>",
    );
    check(
        prefs(ArchiveRule::Roster, &["romeo@montague.lit", "a@b/<"], &["c@d"]),
        "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>romeo@montague.lit</jid><jid>a@b/&lt;</jid></always>\
         <never><jid>c@d</jid></never></prefs>",
    );
}

/// XEP-0441 section 2.1, examples 4 and 5.
#[test]
fn preferences_are_stored_and_hold() {
    let check = |payload: &str, expected: ArchivePrefs, told: &str| {
        let Answer::Preferences(prefs, batch, answer) = ask(super::module(), Asked::own_account(payload).set()).0
        else {
            panic!("{payload} was refused")
        };
        assert_eq!(prefs, expected);
        let row = archive::prefs_row(&expected);
        assert_eq!(batch, store::Batch::new().put(&archive::PREFS, OWNER, None, row));
        assert_eq!(answer, told);
    };
    check(
        "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always> <jid> Romeo@montague.lit\n</jid>\
         <jid>romeo@MONTAGUE.lit</jid></always><never><jid>montague@montague.lit/x</jid><x/></never></prefs>",
        prefs(
            ArchiveRule::Roster,
            &["romeo@montague.lit"],
            &["montague@montague.lit/x"],
        ),
        "<prefs xmlns='urn:xmpp:mam:2' default='roster'><always><jid>romeo@montague.lit</jid></always>\
         <never><jid>montague@montague.lit/x</jid></never></prefs>",
    );
    check(
        "<prefs xmlns='urn:xmpp:mam:2' default='never'/>",
        prefs(ArchiveRule::Never, &[], &[]),
        "<prefs xmlns='urn:xmpp:mam:2' default='never'><always></always><never></never></prefs>",
    );
}

#[test]
fn what_are_no_preferences() {
    let refused = |payload: &str| match ask(super::module(), Asked::own_account(payload).set()).0 {
        Answer::Error(error) => error.condition.name(),
        _ => panic!("{payload} was accepted"),
    };
    assert_eq!(refused("<prefs xmlns='urn:xmpp:mam:2'/>"), "bad-request");
    assert_eq!(
        refused("<prefs xmlns='urn:xmpp:mam:2' default='sometimes'/>"),
        "bad-request"
    );
    for jid in ["", "a@b@c"] {
        let prefs = format!("<prefs xmlns='urn:xmpp:mam:2' default='always'><never><jid>{jid}</jid></never></prefs>");
        assert_eq!(refused(&prefs), "jid-malformed");
    }
    let prefs = |jids: usize| {
        let half = |name: &str, jids: usize| {
            let jids: String = (0..jids).map(|n| format!("<jid>a{n}@b</jid>")).collect();
            format!("<{name}>{jids}</{name}>")
        };
        let (always, never) = (half("always", jids / 2), half("never", jids - jids / 2));
        format!("<prefs xmlns='urn:xmpp:mam:2' default='always'>{always}{never}</prefs>")
    };
    assert_eq!(refused(&prefs(201)), "policy-violation");
    let most = ask(super::module(), Asked::own_account(prefs(200)).set()).0;
    assert!(matches!(most, Answer::Preferences(..)));
}

#[test]
fn the_server_has_no_archive() {
    let asked = Asked::server("<query xmlns='urn:xmpp:mam:2'/>").set();
    check(super::module(), asked, Err(StanzaError::feature_not_implemented()));
}
