//! What is archived (XEP-0313 section 6.1.1), what a client can say about it (XEP-0334, XEP-0441), and that nobody else
//! can forge an id (XEP-0359 section 4).

use testkit::{ArchiveQuery, Archived, Client, NS_MAM, Server, Transport};

use crate::support::{NS_ROSTER, chat, error_of, managed, settle, up_to_mark, waiting};

const HINTS: &str = "urn:xmpp:hints";

/// (type, content, whether it is archived)
const KINDS: [(&str, &str, bool); 34] = [
    ("chat", "<body>x</body>", true),
    ("", "<body>x</body>", true),
    ("normal", "<body>x</body>", true),
    ("nonsense", "<body>x</body>", true),
    ("chat", "<body/>", true),
    ("", "<subject>x</subject><body>x</body>", true),
    // Chat states alone are changes of state, no content.
    ("chat", "<active xmlns='http://jabber.org/protocol/chatstates'/>", false),
    (
        "chat",
        "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
        false,
    ),
    (
        "chat",
        "<paused xmlns='http://jabber.org/protocol/chatstates'/><thread>t</thread>",
        false,
    ),
    ("chat", "<gone xmlns='http://jabber.org/protocol/chatstates'/>", false),
    (
        "chat",
        "<active xmlns='http://jabber.org/protocol/chatstates'/><body>x</body>",
        true,
    ),
    ("chat", "", false),
    ("", "<thread>t</thread>", false),
    // Without a body, and yet of meaning.
    ("chat", "<received xmlns='urn:xmpp:receipts' id='1'/>", true),
    ("", "<received xmlns='urn:xmpp:receipts' id='1'/>", true),
    ("chat", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", true),
    (
        "chat",
        "<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>\u{1f44b}</reaction></reactions>",
        true,
    ),
    (
        "chat",
        "<retract xmlns='urn:xmpp:message-retract:1' id='never-seen'/>",
        true,
    ),
    (
        "chat",
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>x</payload></encrypted>",
        true,
    ),
    (
        "chat",
        "<encrypted xmlns='urn:xmpp:omemo:2'><payload>x</payload></encrypted>",
        true,
    ),
    ("", "<x xmlns='jabber:x:conference' jid='room@muc.example.net'/>", true),
    // Other types.
    ("headline", "<body>x</body>", false),
    ("error", "<body>x</body>", false),
    // Hints.
    ("chat", "<body>x</body><no-store xmlns='urn:xmpp:hints'/>", false),
    (
        "chat",
        "<body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/>",
        false,
    ),
    ("chat", "<body>x</body><no-copy xmlns='urn:xmpp:hints'/>", true),
    ("chat", "<x xmlns='urn:x'/><store xmlns='urn:xmpp:hints'/>", true),
    (
        "chat",
        "<active xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>",
        true,
    ),
    ("", "<store xmlns='urn:xmpp:hints'/>", true),
    // Of another namespace they are none; in an error they are ignored.
    ("chat", "<body>x</body><no-store xmlns='urn:x'/>", true),
    (
        "chat",
        "<body>x</body><x xmlns='urn:x'><no-store xmlns='urn:xmpp:hints'/></x>",
        true,
    ),
    ("error", "<store xmlns='urn:xmpp:hints'/>", false),
    // Room invitations and the like: what a message carries does not make it a room's.
    (
        "chat",
        "<body>x</body><x xmlns='http://jabber.org/protocol/muc#user'/>",
        true,
    ),
    ("groupchat", "<body>x</body>", false),
];

fn bodies(archive: &[Archived]) -> Vec<String> {
    archive.iter().map(Archived::body).collect()
}

async fn archived(client: &mut Client) -> Vec<Archived> {
    client.whole_archive(&ArchiveQuery::new()).await
}

#[tokio::test]
async fn every_kind() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let mut one = managed(&server, transport, &server.user()).await;
        let mut two = managed(&server, transport, &server.user()).await;
        let (to, own) = (two.jid.clone(), two.bare().to_owned());
        let mut expected = Vec::new();
        let mut ids = Vec::new();
        for (number, (kind, content, is_archived)) in KINDS.iter().enumerate() {
            let attribute = if kind.is_empty() {
                String::new()
            } else {
                format!(" type='{kind}'")
            };
            one.send(format!(
                "<message to='{to}' id='n{number}'{attribute}>{content}</message>"
            ))
            .await;
            let came = up_to_mark(&mut one, &mut two).await;
            assert_eq!(came.len(), 1, "{kind} {content}: {came:?}");
            // An id of the archive is told of what is there, and of nothing else.
            let told = came[0].stanza_ids(&own);
            assert_eq!(told.len(), usize::from(*is_archived), "{kind} {content}: {came:?}");
            ids.extend(told.iter().map(|id| (*id).to_owned()));
            if *is_archived {
                expected.push(format!("n{number}"));
            }
        }
        one.all_acked().await;
        for client in [&mut one, &mut two] {
            let archive = archived(client).await;
            let there: Vec<&str> = archive.iter().map(|archived| archived.message.get("id")).collect();
            assert_eq!(there, expected);
            // Nothing of it is left out.
            for archived in &archive {
                let number: usize = archived.message.get("id")[1..].parse().expect("one of ours");
                let (kind, content, _) = KINDS[number];
                let attribute = if kind.is_empty() {
                    String::new()
                } else {
                    format!(" type='{kind}'")
                };
                let wanted = format!("<message{attribute}>{content}</message>");
                assert_eq!(archived.message.mismatch(&wanted), None, "{archived:?}");
            }
        }
        let archive = archived(&mut two).await;
        assert_eq!(
            archive.iter().map(|archived| archived.id.clone()).collect::<Vec<_>>(),
            ids
        );
    }
}

/// What the recipient never got is in no archive of his; the sender's has what was sent.
#[tokio::test]
async fn refused_messages() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let mut client = managed(&server, transport, &server.user()).await;
        let mut other = managed(&server, transport, &server.user()).await;
        let to = other.bare().to_owned();
        // Types that nobody takes at this address.
        for kind in ["groupchat", "error"] {
            client
                .send(format!("<message to='{to}' type='{kind}'><body>x</body></message>"))
                .await;
        }
        client.send(chat("a b@@", "nowhere")).await;
        settle(&mut client, &to).await;
        client.all_acked().await;
        assert!(archived(&mut other).await.is_empty());
        let own = archived(&mut client).await;
        assert!(bodies(&own).iter().all(|body| body != "nowhere"), "{own:?}");
    }
}

/// XEP-0334: what must not be stored does not wait either; what must not be kept waits, and is not kept.
#[tokio::test]
async fn hints_for_who_is_away() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let mut client = managed(&server, transport, &server.user()).await;
        let to = server.user();
        for (body, hint) in [
            ("one", "no-permanent-store"),
            ("never", "no-store"),
            ("two", "no-copy"),
            ("three", "store"),
        ] {
            client
                .send(format!(
                    "<message to='{to}' type='chat'><body>{body}</body><{hint} xmlns='{HINTS}'/></message>"
                ))
                .await;
        }
        client.all_acked().await;
        let mut other = Client::login(&server, transport, &to).await;
        assert_eq!(
            crate::support::bodies(&waiting(&mut other, 3).await),
            ["one", "two", "three"]
        );
        for client in [&mut client, &mut other] {
            assert_eq!(bodies(&archived(client).await), ["two", "three"]);
        }
    }
}

/// XEP-0441: the preferences, as they are, as they become, and as they are kept.
#[tokio::test]
async fn preferences() {
    let mut server = Server::with_users(4);
    let get = format!("<prefs xmlns='{NS_MAM}'/>");
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut client = Client::online(&server, transport, &jid).await;
        let answer = client.iq("get", "", &get).await;
        let wanted =
            format!("<iq type='result'><prefs xmlns='{NS_MAM}' default='always'><always/><never/></prefs></iq>");
        assert_eq!(answer.mismatch(&wanted), None, "{answer:?}");
        let set = format!(
            "<prefs xmlns='{NS_MAM}' default='roster'><always><jid>Romeo@Montague.lit</jid><jid>a@b.example/R</jid></always>\
             <never><jid>montague@montague.lit</jid></never></prefs>"
        );
        let answer = client.iq("set", "", &set).await;
        let prepared = set.replace("Romeo@Montague.lit", "romeo@montague.lit");
        let wanted = format!("<iq type='result'>{prepared}</iq>");
        assert_eq!(answer.mismatch(&wanted), None, "{answer:?}");
        // Wrong ones change nothing.
        for wrong in [
            format!("<prefs xmlns='{NS_MAM}'><always/><never/></prefs>"),
            format!("<prefs xmlns='{NS_MAM}' default='sometimes'><always/><never/></prefs>"),
            format!("<prefs xmlns='{NS_MAM}' default=''/>"),
        ] {
            let answer = client.iq("set", "", &wrong).await;
            assert_eq!(error_of(&answer), "modify/bad-request", "{wrong}: {answer:?}");
        }
        let bad = format!("<prefs xmlns='{NS_MAM}' default='never'><always><jid>a b@@</jid></always><never/></prefs>");
        let answer = client.iq("set", "", &bad).await;
        assert!(error_of(&answer).starts_with("modify/"), "{answer:?}");
        let many: String = (0..1_000)
            .map(|number| format!("<jid>n{number}@example.net</jid>"))
            .collect();
        let many = format!("<prefs xmlns='{NS_MAM}' default='never'><always>{many}</always><never/></prefs>");
        let answer = client.iq("set", "", &many).await;
        assert_eq!(answer.get("type"), "error", "there is a limit");
        server.kill9();
        server.start();
        drop(client);
        let mut client = Client::online(&server, transport, &jid).await;
        let answer = client.iq("get", "", &get).await;
        assert_eq!(answer.mismatch(&wanted), None, "{answer:?}");
        // A list that is left out is empty (section 2.1.2 and 2.1.3).
        let answer = client
            .iq("set", "", &format!("<prefs xmlns='{NS_MAM}' default='never'/>"))
            .await;
        let prefs = answer.get_child("prefs", NS_MAM).expect("the answer");
        for list in ["always", "never"] {
            let list = prefs.get_child(list, NS_MAM).expect("both must be there");
            assert_eq!(list.children().count(), 0, "{answer:?}");
        }
    }
}

/// And what follows from them: for one's own archive, and nobody else's.
#[tokio::test]
async fn preferences_apply() {
    let server = Server::with_users(8);
    for transport in Transport::BOTH {
        let mut client = Client::online(&server, transport, &format!("{}/me", server.user())).await;
        let mut friend = Client::online(&server, transport, &format!("{}/f", server.user())).await;
        let mut stranger = Client::online(&server, transport, &format!("{}/s", server.user())).await;
        let (f, s) = (friend.bare().to_owned(), stranger.bare().to_owned());
        let item = format!("<query xmlns='{NS_ROSTER}'><item jid='{f}'/></query>");
        assert_eq!(client.iq("set", "", &item).await.get("type"), "result");
        let full = stranger.jid.clone();
        let list = |name: &str, jid: &str| {
            let jid = if jid.is_empty() {
                String::new()
            } else {
                format!("<jid>{jid}</jid>")
            };
            format!("<{name}>{jid}</{name}>")
        };
        let mut sent = 0;
        // (default, always, never, archived with the friend, with the stranger's device, with the stranger's address)
        for (default, always, never, with_friend, with_device, with_stranger) in [
            ("always", "", "", true, true, true),
            ("always", "", s.as_str(), true, false, false),
            ("always", "", full.as_str(), true, false, true),
            ("never", "", "", false, false, false),
            ("never", s.as_str(), "", false, true, true),
            ("never", full.as_str(), "", false, true, false),
            ("roster", "", "", true, false, false),
            ("roster", s.as_str(), f.as_str(), false, true, true),
            ("never", "example.org", "", false, false, false),
        ] {
            let case = format!("{default} always {always} never {never}");
            let prefs = format!(
                "<prefs xmlns='{NS_MAM}' default='{default}'>{}{}</prefs>",
                list("always", always),
                list("never", never)
            );
            assert_eq!(client.iq("set", "", &prefs).await.get("type"), "result", "{case}");
            let before = archived(&mut client).await.len();
            let mut expected = Vec::new();
            // Incoming ones come from a device, outgoing ones go to either.
            for (body, is_archived) in [("from friend", with_friend), ("from stranger", with_device)] {
                let sender = if body == "from friend" {
                    &mut friend
                } else {
                    &mut stranger
                };
                sender.send(chat(&client.jid, body)).await;
                // Archived or not, it is delivered.
                let came = client
                    .expect(&format!("<message type='chat'><body>{body}</body></message>"))
                    .await;
                assert_eq!(
                    came.stanza_ids(client.bare()).len(),
                    usize::from(is_archived),
                    "{case}: {came:?}"
                );
                expected.extend(is_archived.then_some(body));
            }
            for (body, to, is_archived) in [
                ("to friend", f.as_str(), with_friend),
                ("to stranger", s.as_str(), with_stranger),
                ("to device", full.as_str(), with_device),
            ] {
                client.send(chat(to, body)).await;
                settle(&mut client, to).await;
                expected.extend(is_archived.then_some(body));
            }
            sent += 3;
            let archive = archived(&mut client).await;
            assert_eq!(bodies(&archive)[before..], expected, "{case}");
            // The stranger has wished for nothing: three a round.
            assert_eq!(archived(&mut stranger).await.len(), sent, "{case}");
            client.nothing_more().await;
        }
        stranger.forget().await;
    }
}

/// XEP-0359 section 4 rule 2: whatever pretends to be an id by this archive is removed, however it is written and
/// however often; what the client says itself stays.
#[tokio::test]
async fn forged_ids() {
    let server = Server::with_users(8);
    for transport in Transport::BOTH {
        let mut one = managed(&server, transport, &server.user()).await;
        let mut two = managed(&server, transport, &server.user()).await;
        let (own, their, to) = (one.bare().to_owned(), two.bare().to_owned(), two.jid.clone());
        let forge = |by: &str| format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='forged'/>");
        let prefixed = format!("<s:stanza-id xmlns:s='urn:xmpp:sid:0' by='{their}' id='forged'/>");
        let cases = [
            forge(&their),
            forge(&their).repeat(5),
            format!("{prefixed}<y xmlns='urn:y'/>{}", forge(&their)),
            forge(&their.to_uppercase()),
            format!("<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{their}'><x/></stanza-id>"),
            format!("{}{}", forge(&own), forge(&own)),
            forge(&their).replace("u", "&#x75;"),
        ];
        let mut ids = Vec::new();
        for (number, forged) in cases.iter().enumerate() {
            // Archived or not.
            for hint in ["", "<no-store xmlns='urn:xmpp:hints'/>"] {
                one.send(format!(
                    "<message to='{to}' type='chat' id='n{number}'>{forged}<body>x</body>{hint}{forged}\
                     <origin-id xmlns='urn:xmpp:sid:0' id='mine{number}{}'/></message>",
                    hint.len()
                ))
                .await;
                let came = two.expect(&format!("<message type='chat' id='n{number}'/>")).await;
                let origin = format!(
                    "<message type='chat'><body>x</body><origin-id xmlns='urn:xmpp:sid:0' id='mine{number}{}'/></message>",
                    hint.len()
                );
                assert_eq!(came.mismatch(&origin), None, "{came:?}");
                assert!(!came.raw().contains("forged"), "{came:?}");
                let told = came.stanza_ids(&their);
                assert_eq!(told.len(), usize::from(hint.is_empty()), "{came:?}");
                ids.extend(told.iter().map(|id| (*id).to_owned()));
            }
        }
        for client in [&mut one, &mut two] {
            let archive = archived(client).await;
            assert_eq!(archive.len(), cases.len());
            for archived in &archive {
                assert!(!archived.message.raw().contains("forged"), "{archived:?}");
                assert!(
                    archived
                        .message
                        .matches("<message type='chat'><origin-id xmlns='urn:xmpp:sid:0' id='*'/></message>")
                );
            }
        }
        let archive = archived(&mut two).await;
        assert_eq!(
            archive.iter().map(|archived| archived.id.clone()).collect::<Vec<_>>(),
            ids
        );
        // Nobody can guess one from the others (section 3: unpredictable), nor is one used twice.
        let mut sorted = ids.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), ids.len());
        // The other's too: a message to somebody who is away.
        let away = server.user();
        one.send(format!(
            "<message to='{away}' type='chat'>{}<body>x</body></message>",
            forge(&away)
        ))
        .await;
        one.all_acked().await;
        let mut client = Client::login(&server, transport, &away).await;
        let came = waiting(&mut client, 1).await;
        assert_ne!(came[0].stanza_id(&away), "forged");
    }
}
