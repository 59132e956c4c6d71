//! Queries with a store behind them: what a client that pages gets to see.

use module::{Answer, Said};
use stanza::Stanza;
use store::{Batch, Deposit, Memory, Places, Store};
use xmlstream::{Limits, Scratch, parse_element};

use super::tests::{OWNER, query_of, rsm};
use crate::testing::{Asked, ask, ids};

const ROMEO: &str = "romeo@montague.lit";
const NURSE: &str = "nurse@capulet.lit";

/// Messages 1 to 7: by turns to and from Romeo, but the third is from the nurse, the fifth is Romeo's alone, and the
/// seventh is for herself.
fn store() -> Memory {
    let store = Memory::new(&[]);
    for number in 1..=7 {
        let (sender, recipient) = match number {
            3 => (NURSE, OWNER),
            5 => (ROMEO, NURSE),
            7 => (OWNER, OWNER),
            odd if odd % 2 == 1 => (OWNER, ROMEO),
            _ => (ROMEO, OWNER),
        };
        let stanza = format!("<message from='{sender}/x' to='{recipient}' id='{number}'><body>hi</body></message>");
        let deposit = Deposit {
            at: number * 1_000,
            sender: sender.into(),
            recipient: recipient.into(),
            places: Places::SENT.and(Places::RECEIVED),
            fingerprint: None,
            stanza: stanza.into(),
        };
        store.write_wait(Batch::new().deposit(deposit)).expect("it is kept");
    }
    store
}

fn said(store: &Memory, payload: &str) -> Said {
    match ask(super::module(), Asked::own_account(payload).set()).0 {
        Answer::Asked(query, said) => said(store.read_wait(query)),
        Answer::Error(error) => panic!("{payload}: {error}"),
        _ => panic!("{payload}: the store is not asked"),
    }
}

/// The numbers of the messages as they come, and what the end says.
fn found(store: &Memory, fields: &[(&str, &str)], set: &str) -> (Vec<i64>, String) {
    let said = said(store, &query_of(fields, set));
    let number = |result: &[u8]| {
        let text = format!("<message>{}</message>", String::from_utf8_lossy(result));
        let mut scratch = Scratch::default();
        let element = parse_element(&text, "jabber:client", &mut scratch, &Limits::default()).expect("XML");
        let stanza = Stanza::read(element).expect("a stanza").expect("a stanza");
        let result = stanza.children().next().expect("a result");
        let forwarded = result.child("forwarded", "urn:xmpp:forward:0").expect("a message");
        let message = forwarded.child("message", "jabber:client").expect("a message");
        let number = message.attr("id").expect("an id").parse().expect("a number");
        assert_eq!(result.attr("id").as_deref(), Some(&*ids().show(number)));
        number
    };
    (said.messages.iter().map(number).collect(), said.answer.expect("an end"))
}

fn numbers(store: &Memory, fields: &[(&str, &str)], set: &str) -> Vec<i64> {
    found(store, fields, set).0
}

fn error(store: &Memory, fields: &[(&str, &str)], set: &str) -> &'static str {
    match said(store, &query_of(fields, set)).answer {
        Ok(end) => panic!("{end}"),
        Err(error) => error.condition.name(),
    }
}

#[test]
fn a_client_pages_to_either_end() {
    let store = store();
    let (all, end) = found(&store, &[], "");
    assert_eq!(all, [1, 2, 3, 4, 6, 7]);
    assert!(end.contains("complete='true'"));
    // Each page begins where the end of the last one says.
    let pages = |back: bool| {
        let (mut pages, mut end) = (Vec::new(), String::new());
        loop {
            let (direction, edge) = if back { ("before", "first") } else { ("after", "last") };
            let open = format!("<{edge}>");
            let id = end.split_once(&open).map_or("", |(_, behind)| &behind[..16]);
            let (page, next) = found(
                &store,
                &[],
                &rsm(&format!("<max>2</max><{direction}>{id}</{direction}>")),
            );
            pages.push(page);
            if next.contains("complete='true'") {
                return pages;
            }
            end = next;
        }
    };
    assert_eq!(pages(false), [[1, 2], [3, 4], [6, 7]]);
    assert_eq!(pages(true), [[6, 7], [3, 4], [1, 2]]);
}

#[test]
fn conditions_hold_together() {
    let store = store();
    assert_eq!(numbers(&store, &[("with", ROMEO)], ""), [1, 2, 4, 6]);
    assert_eq!(numbers(&store, &[("with", "romeo@montague.lit/x")], ""), [2, 4, 6]);
    assert_eq!(numbers(&store, &[("with", OWNER)], ""), [7]);
    assert_eq!(numbers(&store, &[("with", "nobody@montague.lit")], ""), [0; 0]);
    let from_to = [("start", "1970-01-01T00:00:02Z"), ("end", "1970-01-01T00:00:04Z")];
    assert_eq!(numbers(&store, &from_to, ""), [2, 3, 4]);
    let [second, sixth] = [2, 6].map(|id| ids().show(id));
    let between = [("after-id", &*second), ("before-id", &*sixth)];
    assert_eq!(numbers(&store, &between, ""), [3, 4]);
    assert_eq!(
        numbers(&store, &between, &format!("{}<flip-page/>", rsm("<max>2</max>"))),
        [4, 3]
    );
    assert_eq!(numbers(&store, &between, &rsm("<max>1</max><before/>")), [4]);
    // The condition decides, not the one that is named.
    assert_eq!(numbers(&store, &[("with", NURSE), ("after-id", &second)], ""), [3]);
    assert_eq!(
        numbers(&store, &[("ids", &format!("{sixth}</value><value>{second}"))], ""),
        [2, 6]
    );
}

#[test]
fn messages_are_counted() {
    let store = store();
    let count = |fields: &[(&str, &str)]| found(&store, fields, &rsm("<max>0</max>"));
    let (messages, end) = count(&[]);
    assert_eq!(messages, [0; 0]);
    assert!(end.contains("<count>6</count>") && !end.contains("complete"), "{end}");
    assert!(count(&[("with", NURSE)]).1.contains("<count>1</count>"));
    let none = count(&[("with", "nobody@montague.lit")]).1;
    assert!(
        none.contains("<count>0</count>") && none.contains("complete='true'"),
        "{none}"
    );
}

#[test]
fn ids_that_are_not_in_this_archive_are_not_found() {
    let store = store();
    // Another's, and one that is to come.
    for id in [5, 8] {
        let id = ids().show(id);
        for field in ["before-id", "after-id", "ids"] {
            assert_eq!(error(&store, &[(field, &id)], ""), "item-not-found");
        }
        for end in ["before", "after"] {
            assert_eq!(
                error(&store, &[], &rsm(&format!("<{end}>{id}</{end}>"))),
                "item-not-found"
            );
        }
    }
    let one_of_two = format!("{}</value><value>{}", ids().show(4), ids().show(5));
    assert_eq!(error(&store, &[("ids", &one_of_two)], ""), "item-not-found");
}
