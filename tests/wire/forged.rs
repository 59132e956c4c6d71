//! What only the account's own server may say is not said by others (row 26 of the attacks): copies, archive results and
//! pushes, in any spelling and at any depth. Who tries is told what he is told of nobody, and nothing of it stays.

use testkit::{ArchiveQuery, Client, Server, Stanza, Transport};

use crate::support::{bodies, chat, error_of, friends, settle_durably};

const CARBONS: &str = "<enable xmlns='urn:xmpp:carbons:2'/>";

fn inner(bare: &str) -> String {
    format!(
        "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{bare}' to='{bare}'><body>forged</body></message></forwarded>"
    )
}

/// Contents of messages that some client takes for the word of its server.
fn forgeries(bare: &str) -> Vec<String> {
    let inner = inner(bare);
    let mut all = Vec::new();
    for (name, ns) in [
        ("received", "urn:xmpp:carbons:2"),
        ("sent", "urn:xmpp:carbons:2"),
        ("result", "urn:xmpp:mam:2"),
    ] {
        let plain = format!("<{name} xmlns='{ns}' id='1'>{inner}</{name}>");
        let prefixed = format!("<p:{name} xmlns:p='{ns}'>{inner}</p:{name}>");
        let escaped = plain.replace("urn:", "urn&#x3a;");
        let nested = inner.replace("<body>forged</body>", &plain);
        all.extend([
            format!("{plain}{plain}"),
            format!("<x xmlns='urn:x'/>{prefixed}"),
            escaped,
            nested,
            format!("<x xmlns='urn:x' xmlns:p='{ns}'><y><p:{name}/></y></x>"),
            format!("<private xmlns='urn:xmpp:carbons:2'>{plain}</private>"),
            plain,
        ]);
    }
    all
}

/// Without its addresses and the text that it brings back.
fn answer(stanza: &Stanza) -> (String, String) {
    (stanza.name().to_owned(), error_of(stanza))
}

#[tokio::test]
async fn copies_and_results() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let (mut victim, mut attacker) = friends(&server, transport).await;
        let (full, bare) = (victim.jid.clone(), victim.bare().to_owned());
        let mut second = Client::online(&server, transport, &format!("{bare}/second")).await;
        let mut witness = Client::online(&server, transport, &format!("{}/witness", attacker.bare())).await;
        for client in [&mut victim, &mut second, &mut attacker, &mut witness] {
            client.iq("set", "", CARBONS).await;
            client.forget().await;
        }
        let nobody = format!("no{bare}");
        for content in forgeries(&bare) {
            for to in [&full, &bare, &nobody] {
                for body in ["", "<body>a word of my own</body><store xmlns='urn:xmpp:hints'/>"] {
                    attacker
                        .send(format!(
                            "<message type='chat' id='f' to='{to}'>{body}{content}</message>"
                        ))
                        .await;
                    let refused = attacker.expect("<message type='error' id='f'/>").await;
                    let expected = ("message".to_owned(), "cancel/service-unavailable".to_owned());
                    assert_eq!(answer(&refused), expected, "{content}");
                }
            }
        }
        for client in [&mut victim, &mut second] {
            client.nothing_more().await;
        }
        attacker.nothing_more().await;
        // The sender's own devices get none for what was refused as a forgery; the copies of what went to nobody are
        // as those of any other message.
        let copied = witness.drain().await;
        assert!(
            copied
                .iter()
                .all(|copy| !copy.raw().contains("<sent ") || copy.raw().contains(&nobody)),
            "{copied:?}"
        );
        settle_durably(&mut attacker, &bare).await;
        for client in [&mut victim, &mut attacker] {
            let archived = client.whole_archive(&ArchiveQuery::new()).await;
            assert!(archived.is_empty(), "nothing of it is archived: {archived:?}");
        }
        // What only looks like it arrives.
        attacker
            .send(format!(
                "<message type='chat' to='{full}'>{}<private xmlns='urn:xmpp:carbons:2'/><body>forward</body></message>",
                inner(&bare)
            ))
            .await;
        victim
            .expect("<message type='chat'><body>forward</body></message>")
            .await;
        attacker.send(chat(&full, "last")).await;
        assert_eq!(bodies(&[victim.stanza().await]), ["last"]);
        for client in [victim, second, attacker, witness] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn pushes_and_answers() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let (mut victim, mut attacker) = friends(&server, transport).await;
        let (full, bare) = (victim.jid.clone(), victim.bare().to_owned());
        let mut second = Client::online(&server, transport, &format!("{bare}/second")).await;
        victim.forget().await;
        attacker.forget().await;
        second.forget().await;
        for payload in [
            "<query xmlns='jabber:iq:roster'><item jid='evil@example.org' subscription='both'/></query>",
            "<r:query xmlns:r='jabber:iq:roster'><r:item jid='evil@example.org'/></r:query>",
            "<block xmlns='urn:xmpp:blocking'><item jid='friend@example.org'/></block>",
            "<b:unblock xmlns:b='urn:xmpp:blocking'/>",
            "<unblock xmlns='urn&#58;xmpp:blocking'/>",
        ] {
            for client in [&mut attacker, &mut second] {
                let refused = error_of(&client.iq("set", &full, payload).await);
                // A roster is nobody else's, whoever is asked.
                assert!(
                    ["cancel/service-unavailable", "auth/forbidden"].contains(&&*refused),
                    "{payload}: {refused}"
                );
            }
            let refused = error_of(&attacker.iq("set", &bare, payload).await);
            assert!(
                ["cancel/service-unavailable", "auth/forbidden"].contains(&&*refused),
                "{payload}: {refused}"
            );
            // An answer to nothing.
            attacker
                .send(format!("<iq type='result' id='1' to='{full}'>{payload}</iq>"))
                .await;
        }
        attacker
            .send(format!(
                "<iq type='result' id='1' to='{full}'><fin xmlns='urn:xmpp:mam:2' complete='true'/></iq>"
            ))
            .await;
        attacker.send(chat(&full, "behind")).await;
        victim
            .expect("<message type='chat'><body>behind</body></message>")
            .await;
        victim.nothing_more().await;
        for client in [victim, second, attacker] {
            client.close().await;
        }
    }
}

/// XEP-0313 section 8: results are believed of who was asked for them, until he has answered.
#[tokio::test]
async fn an_archive_that_was_asked() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let (mut asking, mut archive) = friends(&server, transport).await;
        let (full, asked) = (asking.jid.clone(), archive.jid.clone());
        let result = format!(
            "<message to='{full}' id='r'><result xmlns='urn:xmpp:mam:2' queryid='q' id='1'>{}</result></message>",
            inner(asking.bare())
        );
        asking
            .send(format!(
                "<iq type='set' id='mam' to='{asked}'><query xmlns='urn:xmpp:mam:2' queryid='q'/></iq>"
            ))
            .await;
        archive.expect("<iq type='set' id='mam'/>").await;
        for _ in 0..2 {
            archive.send(&result).await;
            asking.expect("<message id='r'/>").await;
        }
        // Another device of the same account was not asked.
        let mut other = Client::online(&server, transport, &format!("{}/other", archive.bare())).await;
        other.forget().await;
        other.send(&result).await;
        other.expect("<message type='error' id='r'/>").await;
        archive
            .send(format!(
                "<iq type='result' id='mam' to='{full}'><fin xmlns='urn:xmpp:mam:2'/></iq>"
            ))
            .await;
        asking.wait("<iq type='result' id='mam'/>").await;
        archive.forget().await;
        archive.send(&result).await;
        archive.expect("<message type='error' id='r'/>").await;
        asking.forget().await;
        for client in [asking, archive, other] {
            client.close().await;
        }
    }
}
