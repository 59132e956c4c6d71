//! The archive (XEP-0313): what it contains, and what can be asked of it. Pages are in `mam_paging.rs`, what is archived
//! and what is not in `mam_rules.rs`.

use std::time::Duration;

use testkit::{ArchiveQuery, Archived, Client, NS_MAM, Server, Stanza, Transport};

use crate::support::{chat, error_of, features, managed, send_all, settle};

const DATA: &str = "jabber:x:data";

fn all() -> ArchiveQuery {
    ArchiveQuery::new()
}

fn archived_bodies(archive: &[Archived]) -> Vec<String> {
    archive.iter().map(Archived::body).collect()
}

/// Section 8: which addresses have an archive, and what it can.
#[tokio::test]
async fn offered() {
    let server = Server::with_users(2);
    for transport in Transport::BOTH {
        let mut client = Client::online(&server, transport, &server.user()).await;
        let own = client.bare().to_owned();
        let features = features(&mut client, &own).await;
        for feature in [NS_MAM, "urn:xmpp:mam:2#extended", "urn:xmpp:sid:0"] {
            assert!(features.iter().any(|found| found == feature), "{features:?}");
        }
        // Section 4.1.5: the fields that a query may have.
        for to in ["", own.as_str()] {
            let form = client.iq("get", to, &format!("<query xmlns='{NS_MAM}'/>")).await;
            let wanted = format!(
                "<iq type='result'><query xmlns='{NS_MAM}'><x xmlns='{DATA}' type='form'>\
                 <field var='FORM_TYPE' type='hidden'><value>{NS_MAM}</value></field>\
                 <field var='with' type='jid-single'/><field var='start' type='text-single'/>\
                 <field var='end' type='text-single'/><field var='before-id' type='text-single'/>\
                 <field var='after-id' type='text-single'/>\
                 <field var='ids' type='list-multi'><validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:string'><open/></validate></field>\
                 </x></query></iq>"
            );
            assert_eq!(form.mismatch(&wanted), None, "{form:?}");
        }
    }
}

/// A conversation: both archives have it, in one order, each message under the id with which it was delivered, as it
/// was sent.
#[tokio::test]
async fn a_conversation() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let mut romeo = managed(&server, transport, &format!("{}/garden", server.user())).await;
        let mut juliet = managed(&server, transport, &format!("{}/balcony", server.user())).await;
        let (r, j) = (romeo.jid.clone(), juliet.jid.clone());
        let (mut lines, mut romeos, mut juliets) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..6 {
            let line = format!("line {number} <&> \u{1f426}");
            let escaped = line.replace('&', "&amp;").replace('<', "&lt;");
            let (speaker, listener, ids) = if number % 2 == 0 {
                (&mut romeo, &mut juliet, &mut juliets)
            } else {
                (&mut juliet, &mut romeo, &mut romeos)
            };
            speaker
                .send(format!(
                    "<message to='{}' type='chat' id='n{number}' xml:lang='en'><body>{escaped}</body>\
                     <origin-id xmlns='urn:xmpp:sid:0' id='o{number}'/><x xmlns='urn:x' a='1'><y/></x></message>",
                    listener.jid
                ))
                .await;
            let came = listener.expect("<message type='chat'/>").await;
            ids.push(came.stanza_id(listener.bare()).to_owned());
            // The sender's archive is the sender's business.
            assert!(came.stanza_ids(speaker.bare()).is_empty());
            lines.push(line);
        }
        for (client, delivered) in [(&mut romeo, &romeos), (&mut juliet, &juliets)] {
            let archive = client.whole_archive(&all()).await;
            assert_eq!(archived_bodies(&archive), lines);
            for (number, archived) in archive.iter().enumerate() {
                let (from, to) = if number % 2 == 0 { (&r, &j) } else { (&j, &r) };
                let wanted = format!(
                    "<message from='{from}' to='{to}' type='chat' id='n{number}'>\
                     <origin-id xmlns='urn:xmpp:sid:0' id='o{number}'/><x xmlns='urn:x' a='1'/></message>"
                );
                assert_eq!(archived.message.mismatch(&wanted), None);
                assert_eq!(archived.message.lang(), Some("en"));
                // It may tell its id inside as well, once, and the same.
                let inside = archived.message.stanza_ids(client.bare());
                assert!(inside.is_empty() || inside == [archived.id.as_str()], "{inside:?}");
            }
            let received: Vec<&str> = archive
                .iter()
                .filter(|archived| archived.message.get("to") == client.jid)
                .map(|archived| archived.id.as_str())
                .collect();
            assert_eq!(received, *delivered);
            // Times do not go back, and are UTC as XEP-0082 writes them.
            let stamps: Vec<&str> = archive.iter().map(|archived| archived.stamp.as_str()).collect();
            assert!(
                stamps.is_sorted() && stamps.iter().all(|stamp| stamp.ends_with('Z')),
                "{stamps:?}"
            );
            client.all_acked().await;
            client.nothing_more().await;
        }
    }
}

/// Section 4.1.1: by the other's address, bare or full, and one's own.
#[tokio::test]
async fn by_address() {
    let server = Server::with_users(6);
    for transport in Transport::BOTH {
        let mut client = Client::online(&server, transport, &format!("{}/me", server.user())).await;
        let mut one = Client::online(&server, transport, &format!("{}/a", server.user())).await;
        let mut two = Client::online(&server, transport, &format!("{}/b", server.user())).await;
        let (own, own_full) = (client.bare().to_owned(), client.jid.clone());
        let steps = [
            (true, one.jid.clone(), "to one"),
            (true, two.jid.clone(), "to two"),
            (false, own.clone(), "from one"),
            (true, one.bare().to_owned(), "to one, bare"),
            (true, format!("{}/gone", one.bare()), "to one, gone"),
            (true, own.clone(), "to myself"),
            (true, own_full.clone(), "to my device"),
        ];
        for (mine, to, body) in &steps {
            let speaker = if *mine { &mut client } else { &mut one };
            speaker.send(chat(to, body)).await;
            settle(speaker, to.split_once('/').map_or(to, |(bare, _)| bare)).await;
        }
        two.send(chat(&own_full, "from two")).await;
        settle(&mut two, &own).await;
        let cases: [(String, &[&str]); 9] = [
            (
                one.bare().to_owned(),
                &["to one", "from one", "to one, bare", "to one, gone"],
            ),
            (one.jid.clone(), &["to one", "from one"]),
            (format!("{}/gone", one.bare()), &["to one, gone"]),
            (two.bare().to_owned(), &["to two", "from two"]),
            (
                two.bare().to_uppercase().replace("EXAMPLE", "Example"),
                &["to two", "from two"],
            ),
            (own, &["to myself", "to my device"]),
            ("nobody@example.org".to_owned(), &[]),
            ("example.org".to_owned(), &[]),
            ("somebody@elsewhere.example/x".to_owned(), &[]),
        ];
        for (with, bodies) in cases {
            for query in [all().with(&with), all().with(&with).max(1)] {
                assert_eq!(archived_bodies(&client.whole_archive(&query).await), bodies, "{with}");
            }
        }
        for wrong in ["@example.org", "a b@@"] {
            let error = client.archive_error(&all().with(wrong)).await;
            assert_eq!(
                error.error().map(|(_, condition)| condition).as_deref(),
                Some("jid-malformed"),
                "{error:?}"
            );
        }
    }
}

/// Section 4.1.2: by time, both ends included.
#[tokio::test]
async fn by_time() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let mut client = Client::online(&server, transport, &server.user()).await;
        let to = server.user();
        for number in 0..5 {
            client.send(chat(&to, &number.to_string())).await;
            // Not all in one millisecond. (No assertion rests on it.)
            client.read_for(Duration::from_millis(3)).await;
        }
        let archive = client.whole_archive(&all()).await;
        assert_eq!(archive.len(), 5);
        let stamp = |number: usize| archive[number].stamp.as_str();
        let expected = |fits: &dyn Fn(&str) -> bool| -> Vec<String> {
            let fitting = archive.iter().filter(|archived| fits(&archived.stamp));
            fitting.map(Archived::body).collect()
        };
        for number in 0..5 {
            let found = client.whole_archive(&all().field("start", stamp(number))).await;
            assert_eq!(archived_bodies(&found), expected(&|at| at >= stamp(number)));
            let found = client.whole_archive(&all().field("end", stamp(number))).await;
            assert_eq!(archived_bodies(&found), expected(&|at| at <= stamp(number)));
        }
        let between = all().field("start", stamp(1)).field("end", stamp(3)).with(&to);
        let found = client.whole_archive(&between.max(2)).await;
        assert_eq!(
            archived_bodies(&found),
            expected(&|at| at >= stamp(1) && at <= stamp(3))
        );
        for (field, value, count) in [
            ("start", "1970-01-01T00:00:00Z", 5),
            ("start", "2000-02-29T23:59:59.9Z", 5),
            ("end", "1970-01-01T00:00:00Z", 0),
            ("end", "2000-01-01T00:00:00.123456789Z", 0),
            ("start", "9999-12-31T23:59:59Z", 0),
            ("end", "9999-12-31T23:59:59+14:00", 5),
        ] {
            let found = client.whole_archive(&all().field(field, value)).await;
            assert_eq!(found.len(), count, "{field} {value}");
        }
        // Zones other than UTC: the same moment said in another way.
        let (date, time) = stamp(2).split_once('T').expect("XEP-0082");
        let zoned = format!("{date}T{}+00:00", time.trim_end_matches('Z'));
        let found = client.whole_archive(&all().field("start", &zoned)).await;
        assert_eq!(archived_bodies(&found), expected(&|at| at >= stamp(2)));
        // The wrong way round: nothing, and no error.
        let page = client
            .archive_page(&all().field("start", "2100-01-01T00:00:00Z").field("end", stamp(0)))
            .await;
        assert!(page.complete && page.messages.is_empty());
        for wrong in [
            "yesterday",
            "2020-01-01",
            "2020-13-01T00:00:00Z",
            "2020-01-01T00:00:00",
            "1577836800",
        ] {
            for field in ["start", "end"] {
                let error = client.archive_error(&all().field(field, wrong)).await;
                assert_eq!(error_of(&error), "modify/bad-request", "{wrong}: {error:?}");
            }
        }
    }
}

/// Sections 4.1.3 and 4.1.5: by id, and what cannot be asked.
#[tokio::test]
async fn by_id() {
    let server = Server::with_users(8);
    for transport in Transport::BOTH {
        let mut client = Client::online(&server, transport, &server.user()).await;
        let (to, other) = (server.user(), server.user());
        for number in 0..6 {
            let to = if number == 5 { &other } else { &to };
            client.send(chat(to, &number.to_string())).await;
        }
        settle(&mut client, &other).await;
        let archive = client.whole_archive(&all()).await;
        assert_eq!(archived_bodies(&archive), ["0", "1", "2", "3", "4", "5"]);
        let id = |number: usize| archive[number].id.as_str();
        let cases: [(ArchiveQuery, &[&str]); 8] = [
            (all().field("after-id", id(1)), &["2", "3", "4", "5"]),
            (all().field("before-id", id(2)), &["0", "1"]),
            (
                all().field("after-id", id(0)).field("before-id", id(4)),
                &["1", "2", "3"],
            ),
            (all().field("after-id", id(3)).field("before-id", id(2)), &[]),
            (all().field("after-id", id(5)), &[]),
            (all().field("before-id", id(5)).with(&to), &["0", "1", "2", "3", "4"]),
            (all().field("after-id", id(4)).with(&to), &[]),
            // The one that it is counted from need not match itself.
            (
                all().field("before-id", id(5)).field("after-id", id(2)).with(&to),
                &["3", "4"],
            ),
        ];
        for (query, bodies) in cases {
            assert_eq!(
                archived_bodies(&client.whole_archive(&query).await),
                bodies,
                "{query:?}"
            );
            assert_eq!(
                archived_bodies(&client.whole_archive(&query.clone().max(2)).await),
                bodies,
                "{query:?}"
            );
        }
        // In the order of the archive, whatever order they are asked in.
        for (ids, bodies) in [
            (&[id(3)][..], &["3"][..]),
            (&[id(4), id(0), id(2)], &["0", "2", "4"]),
            (&[id(1), id(1)], &["1"]),
        ] {
            let page = client.archive_page(&all().ids(ids)).await;
            assert_eq!(page.bodies(), bodies);
            assert!(page.complete);
        }
        // One that is not there: item-not-found, in every place, also beside others that are.
        let mut foreign = Client::online(&server, transport, &other).await;
        send_all(&mut foreign, &server.user(), &["elsewhere"]).await;
        let theirs = foreign.whole_archive(&all()).await;
        let theirs = theirs.last().expect("it was archived").id.clone();
        for unknown in ["never", "0123456789abcdef", "'", theirs.as_str()] {
            let unknown = unknown.replace('\'', "&apos;");
            let queries = [
                all().field("after-id", &unknown),
                all().field("before-id", &unknown),
                all().ids(&[&unknown]),
                all().ids(&[id(0), &unknown]),
                all().max(5).after(&unknown),
                all().max(5).before(&unknown),
            ];
            for query in queries {
                let error = client.archive_error(&query).await;
                assert_eq!(error_of(&error), "cancel/item-not-found", "{query:?}");
            }
        }
        for unknown in ["withtext", "{urn:x}y", "With", "count"] {
            let error = client.archive_error(&all().field(unknown, "x")).await;
            assert!(error_of(&error).ends_with("/feature-not-implemented"), "{error:?}");
        }
    }
}

/// Section 9.1: nobody else's, whether there is such an account or not.
#[tokio::test]
async fn nobody_elses() {
    let server = Server::with_users(6);
    let texts = |stanza: &Stanza, address: &str, id: &str| stanza.raw().replace(address, "X").replace(id, "I");
    for transport in Transport::BOTH {
        let mut client = Client::online(&server, transport, &server.user()).await;
        let (owner, nobody) = (server.user(), "nobody@example.org".to_owned());
        let mut theirs = Client::online(&server, transport, &owner).await;
        send_all(&mut theirs, client.bare(), &["secret"]).await;
        client.wait("<message type='chat'/>").await;
        let own = client.bare().to_owned();
        assert_eq!(client.archive_page(&all().of(&own)).await.bodies(), ["secret"]);
        let mut answers = Vec::new();
        for address in [&owner, &nobody] {
            let error = client.archive_error(&all().of(address)).await;
            // The section says `forbidden`; what nobody has is answered so too, if it tells nothing.
            let said = error_of(&error);
            assert!(
                said.ends_with("/forbidden") || said.ends_with("/service-unavailable"),
                "{error:?}"
            );
            answers.push(texts(&error, address, error.get("id")));
            for (kind, payload) in [
                ("get", format!("<metadata xmlns='{NS_MAM}'/>")),
                ("get", format!("<query xmlns='{NS_MAM}'/>")),
                ("get", format!("<prefs xmlns='{NS_MAM}'/>")),
                (
                    "set",
                    format!("<prefs xmlns='{NS_MAM}' default='never'><always/><never/></prefs>"),
                ),
            ] {
                let answer = client.iq(kind, address, &payload).await;
                assert_eq!(answer.get("type"), "error", "{answer:?}");
                answers.push(texts(&answer, address, answer.get("id")));
            }
        }
        let (there, not_there) = answers.split_at(answers.len() / 2);
        assert_eq!(there, not_there, "nobody is told who exists");
        // The preferences are as they were.
        let prefs = theirs.iq("get", "", &format!("<prefs xmlns='{NS_MAM}'/>")).await;
        let wanted = format!("<iq type='result'><prefs xmlns='{NS_MAM}' default='always'/></iq>");
        assert_eq!(prefs.mismatch(&wanted), None, "{prefs:?}");
        // A result that nobody has asked for is not delivered (section 9.2).
        client
            .send(format!(
                "<message to='{owner}'><result xmlns='{NS_MAM}' id='1' queryid='q'><forwarded xmlns='urn:xmpp:forward:0'>\
                 <message xmlns='jabber:client' from='a@b'><body>forged</body></message></forwarded></result></message>"
            ))
            .await;
        let came = crate::support::up_to_mark(&mut client, &mut theirs).await;
        assert!(
            came.iter().all(|stanza| !stanza.has_child("result", NS_MAM)),
            "{came:?}"
        );
    }
}

/// Section 5: where it begins and ends.
#[tokio::test]
async fn metadata() {
    let server = Server::with_users(4);
    let ask = format!("<metadata xmlns='{NS_MAM}'/>");
    for transport in Transport::BOTH {
        let mut client = Client::online(&server, transport, &server.user()).await;
        let (own, to) = (client.bare().to_owned(), server.user());
        let empty = client.iq("get", "", &ask).await;
        let metadata = empty.get_child("metadata", NS_MAM).expect("the answer");
        assert_eq!(metadata.children().count(), 0, "{empty:?}");
        let page = client.archive_page(&all()).await;
        assert!(page.complete && page.messages.is_empty());
        for number in 0..4 {
            client.send(chat(&to, &number.to_string())).await;
            let archive = client.whole_archive(&all()).await;
            assert_eq!(archive.len(), number + 1);
            let (first, last) = (&archive[0], &archive[number]);
            for address in ["", own.as_str()] {
                let answer = client.iq("get", address, &ask).await;
                let wanted = format!(
                    "<iq type='result'><metadata xmlns='{NS_MAM}'><start id='{}' timestamp='{}'/><end id='{}' timestamp='{}'/></metadata></iq>",
                    first.id, first.stamp, last.id, last.stamp
                );
                assert_eq!(answer.mismatch(&wanted), None, "{answer:?}");
            }
        }
    }
}

/// It survives, with its ids and its order; and an account that is removed takes it away for good.
#[tokio::test]
async fn as_long_as_the_account() {
    let mut server = Server::with_users(6);
    for transport in Transport::BOTH {
        let (jid, to) = (server.user(), server.user());
        let mut client = managed(&server, transport, &jid).await;
        for number in 0..10 {
            client.send(chat(&to, &number.to_string())).await;
        }
        client.all_acked().await;
        let before = client.whole_archive(&all()).await;
        server.kill9();
        server.start();
        drop(client);
        let mut client = managed(&server, transport, &jid).await;
        let after = client.whole_archive(&all()).await;
        let told = |archive: &[Archived]| -> Vec<(String, String, String)> {
            let parts = archive.iter().map(|m| (m.id.clone(), m.stamp.clone(), m.body()));
            parts.collect()
        };
        assert_eq!(told(&before), told(&after));
        client.send(chat(&to, "10")).await;
        client.all_acked().await;
        let last = client.archive_page(&all().max(1).before("")).await;
        assert_eq!(last.bodies(), ["10"]);
        assert!(before.iter().all(|archived| archived.id != last.messages[0].id));

        // Somebody else gets the name.
        let removed = server.jackdaw(&["account", "remove", &jid], "");
        assert!(removed.status.success(), "{removed:?}");
        server.import(&[(jid.clone(), testkit::password_of(&jid))]);
        let mut client = Client::online(&server, transport, &jid).await;
        let page = client.archive_page(&all()).await;
        assert!(page.complete && page.messages.is_empty(), "{page:?}");
        let error = client.archive_error(&all().field("after-id", &before[0].id)).await;
        assert_eq!(error_of(&error), "cancel/item-not-found");
        // The other side keeps what is its own.
        let mut other = Client::online(&server, transport, &to).await;
        assert_eq!(other.whole_archive(&all().with(&jid)).await.len(), 11);
        client.send(chat(&to, "new")).await;
        other.wait("<message type='chat'><body>new</body></message>").await;
        assert_eq!(archived_bodies(&client.whole_archive(&all()).await), ["new"]);
    }
}
