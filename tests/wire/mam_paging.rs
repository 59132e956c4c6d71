//! Pages of an archive (XEP-0313 section 4.3, XEP-0059).

use testkit::{ArchiveQuery, Archived, Client, Page, Server, Transport};

use crate::support::{chat, error_of, managed};

/// Messages of the archive that is paged through: to one, two, one, two …
const MESSAGES: usize = 250;

fn all() -> ArchiveQuery {
    ArchiveQuery::new()
}

/// A client whose archive has [`MESSAGES`], and whom they are with.
async fn filled(server: &Server, transport: Transport) -> (Client, [String; 2]) {
    let mut client = managed(server, transport, &server.user()).await;
    let with = [server.user(), server.user()];
    let text: String = (0..MESSAGES)
        .map(|number| chat(&with[number % 2], &number.to_string()))
        .collect();
    client.send(text).await;
    client.all_acked().await;
    (client, with)
}

fn numbers(messages: &[Archived]) -> Vec<usize> {
    messages
        .iter()
        .map(|message| message.body().parse().expect("a number"))
        .collect()
}

/// What a page tells of its place must be true where it is told (XEP-0059 section 2.2: both are optional).
fn check_place(page: &Page, index: usize, count: usize) {
    assert!(page.index.is_none_or(|told| told == index), "{index}: {page:?}");
    assert!(page.count.is_none_or(|told| told == count), "{count}: {page:?}");
}

/// To the end and back, in pages of several sizes: no gap, nothing twice.
#[tokio::test]
async fn forwards_and_backwards() {
    let server = Server::with_users(6);
    for transport in Transport::BOTH {
        let (mut client, with) = filled(&server, transport).await;
        for (query, expected) in [
            (all(), (0..MESSAGES).collect::<Vec<_>>()),
            (all().with(&with[0]), (0..MESSAGES).step_by(2).collect()),
            (all().with(&with[1]), (1..MESSAGES).step_by(2).collect()),
        ] {
            for size in [1, 30, 50, 125, 249] {
                if size == 1 && expected.len() == MESSAGES {
                    continue;
                }
                let mut seen: Vec<usize> = Vec::new();
                let mut last: Option<String> = None;
                loop {
                    let next = query.clone().max(size);
                    let next = match &last {
                        Some(last) => next.after(last),
                        None => next,
                    };
                    let page = client.archive_page(&next).await;
                    assert!(
                        (1..=size).contains(&page.messages.len()),
                        "{} of {size}",
                        page.messages.len()
                    );
                    check_place(&page, seen.len(), expected.len());
                    seen.extend(numbers(&page.messages));
                    assert_eq!(page.complete, seen.len() == expected.len(), "complete at the end alone");
                    last = page.last;
                    if page.complete {
                        break;
                    }
                }
                assert_eq!(seen, expected, "by {size}");
                let (mut seen, mut first): (Vec<usize>, String) = (Vec::new(), String::new());
                loop {
                    let page = client.archive_page(&query.clone().max(size).before(&first)).await;
                    assert!((1..=size).contains(&page.messages.len()));
                    let mut part = numbers(&page.messages);
                    check_place(&page, expected.len() - seen.len() - part.len(), expected.len());
                    part.append(&mut seen);
                    seen = part;
                    assert_eq!(page.complete, seen.len() == expected.len());
                    first = page.first.expect("a page with messages has one");
                    if page.complete {
                        break;
                    }
                }
                assert_eq!(seen, expected, "backwards by {size}");
            }
        }
        client.all_acked().await;
        client.nothing_more().await;
    }
}

/// What is archived while somebody pages does not disturb him.
#[tokio::test]
async fn while_it_grows() {
    let server = Server::with_users(6);
    for transport in Transport::BOTH {
        let (mut client, with) = filled(&server, transport).await;
        let mut writer = managed(&server, transport, &format!("{}/writer", client.bare())).await;
        let mut seen: Vec<usize> = Vec::new();
        let mut last: Option<String> = None;
        let mut next = MESSAGES;
        loop {
            if next < MESSAGES + 10 {
                writer.send(chat(&with[0], &next.to_string())).await;
                writer.all_acked().await;
                next += 1;
            }
            let query = all().max(40);
            let page = client
                .archive_page(&match &last {
                    Some(last) => query.after(last),
                    None => query,
                })
                .await;
            seen.extend(numbers(&page.messages));
            last = page.last.or(last);
            if page.complete {
                break;
            }
        }
        assert_eq!(seen, (0..next).collect::<Vec<_>>());
        // Backwards from a place, new ones do not matter.
        let place = client.archive_page(&all().max(10)).await.last.expect("a page");
        writer.send(chat(&with[0], &next.to_string())).await;
        writer.all_acked().await;
        let page = client.archive_page(&all().max(100).before(&place)).await;
        assert_eq!(numbers(&page.messages), (0..9).collect::<Vec<_>>());
        assert!(page.complete);
    }
}

/// Section 4.3.4: the order within the page is turned round, and nothing else.
#[tokio::test]
async fn flipped() {
    let server = Server::with_users(6);
    for transport in Transport::BOTH {
        let (mut client, with) = filled(&server, transport).await;
        let first = client.archive_page(&all().max(20)).await;
        let place = first.messages[9].id.clone();
        for query in [
            all().max(20),
            all().max(20).before(""),
            all().max(5).after(&place),
            all().max(5).before(&place),
            all().max(5).with(&with[0]).after(&place),
            all().field("before-id", &place),
            all().field("start", "2100-01-01T00:00:00Z"),
            all().ids(&[&place, &first.messages[2].id]),
        ] {
            let straight = client.archive_page(&query).await;
            let flipped = client.archive_page(&query.clone().flipped()).await;
            let mut turned = numbers(&flipped.messages);
            turned.reverse();
            assert_eq!(numbers(&straight.messages), turned, "{query:?}");
            assert_eq!(straight.complete, flipped.complete);
            assert_eq!((straight.index, straight.count), (flipped.index, flipped.count));
        }
    }
}

/// How many there are, and how many one may have at once.
#[tokio::test]
async fn sizes() {
    let server = Server::with_users(6);
    for transport in Transport::BOTH {
        let (mut client, with) = filled(&server, transport).await;
        // XEP-0059 section 2.6: none of them, only the number.
        for (query, count) in [
            (all(), MESSAGES),
            (all().with(&with[1]), MESSAGES / 2),
            (all().with("nobody@example.org"), 0),
            (all().field("end", "1990-01-01T00:00:00Z"), 0),
        ] {
            let page = client.archive_page(&query.clone().max(0)).await;
            assert!(page.messages.is_empty());
            assert_eq!(page.count, Some(count), "{query:?}");
            assert_eq!(page.complete, count == 0, "nothing has been left out, or everything");
        }
        // The server's own limit, which is told by its not being complete.
        let page = client.archive_page(&all().max(1_000_000_000)).await;
        let capped = client.archive_page(&all()).await;
        assert!(
            (50..=MESSAGES).contains(&page.messages.len()),
            "{}",
            page.messages.len()
        );
        for page in [&page, &capped] {
            assert_eq!(page.complete, page.messages.len() == MESSAGES);
            assert_eq!(numbers(&page.messages), (0..page.messages.len()).collect::<Vec<_>>());
        }
        let rest = client.whole_archive(&all()).await;
        assert_eq!(numbers(&rest), (0..MESSAGES).collect::<Vec<_>>());
        for wrong in ["-1", "x", "", "1.5"] {
            let query = format!(
                "<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>{wrong}</max></set></query>"
            );
            let answer = client.iq("set", "", &query).await;
            assert_eq!(error_of(&answer), "modify/bad-request", "{wrong}: {answer:?}");
        }
        // Children that nobody knows are no reason to refuse (COMPAT: Profanity puts <after/> there).
        let query = "<query xmlns='urn:xmpp:mam:2' queryid='q'><after>x</after><x xmlns='urn:x'/>\
                     <set xmlns='http://jabber.org/protocol/rsm'><max>1</max><y xmlns='urn:x'/></set></query>";
        client.send(format!("<iq type='set' id='q'>{query}</iq>")).await;
        client
            .wait("<message><result xmlns='urn:xmpp:mam:2' queryid='q' id='*'/></message>")
            .await;
        client.wait("<iq type='result' id='q'/>").await;
        client.nothing_more().await;
    }
}

/// Many queries at once are all answered, each with what belongs to it.
#[tokio::test]
async fn at_once() {
    const QUERIES: usize = 20;
    let server = Server::with_users(6);
    for transport in Transport::BOTH {
        let (mut client, with) = filled(&server, transport).await;
        let text: String = (0..QUERIES)
            .map(|number| {
                format!(
                    "<iq type='set' id='i{number}'><query xmlns='urn:xmpp:mam:2' queryid='q{number}'>\
                     <x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:mam:2</value></field>\
                     <field var='with'><value>{}</value></field></x>\
                     <set xmlns='http://jabber.org/protocol/rsm'><max>{}</max></set></query></iq>",
                    with[number % 2],
                    number + 1
                )
            })
            .collect();
        client.send(text).await;
        let mut came = vec![Vec::new(); QUERIES];
        let mut answered = 0;
        while answered < QUERIES {
            let stanza = client.stanza().await;
            if let Some(result) = stanza.get_child("result", testkit::NS_MAM) {
                let query = result.attr("queryid").unwrap_or_default();
                let number: usize = query.trim_start_matches('q').parse().expect("one of ours");
                let body = result
                    .get_child("forwarded", "urn:xmpp:forward:0")
                    .and_then(|forwarded| forwarded.get_child("message", "jabber:client"))
                    .and_then(|message| message.get_child("body", "jabber:client"))
                    .map(|body| body.text())
                    .unwrap_or_default();
                came[number].push(body.parse::<usize>().expect("a number"));
                continue;
            }
            let number: usize = stanza.get("id").trim_start_matches('i').parse().expect("one of ours");
            assert_eq!(stanza.get("type"), "result", "{stanza:?}");
            let expected: Vec<usize> = (0..=number).map(|at| at * 2 + number % 2).collect();
            assert_eq!(came[number], expected, "all of it before the result");
            answered += 1;
        }
        client.nothing_more().await;
    }
}
