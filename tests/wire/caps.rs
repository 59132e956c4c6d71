//! The server learns what its clients can do (XEP-0115, XEP-0390).

use testkit::{Client, Server, Transport};

/// XEP-0115 section 5.2.
const VER: &str = "QgayPKawpkPSDYmwT/WM94uAlu0=";
const INFO: &str = "<identity category='client' name='Exodus 0.9.1' type='pc'/>\
    <feature var='http://jabber.org/protocol/caps'/><feature var='http://jabber.org/protocol/disco#info'/>\
    <feature var='http://jabber.org/protocol/disco#items'/><feature var='http://jabber.org/protocol/muc'/>";

/// XEP-0390 section 4.5.1, and what hashes to it.
const VER2: &str = "kzBZbkqJ3ADrj7v08reD1qcWUwNGHaidNUgD7nHpiw8=";
const INFO2: &str = "<identity category='client' name='BombusMod' type='mobile'/>\
    <feature var='http://jabber.org/protocol/si'/><feature var='http://jabber.org/protocol/bytestreams'/>\
    <feature var='http://jabber.org/protocol/chatstates'/><feature var='http://jabber.org/protocol/disco#info'/>\
    <feature var='http://jabber.org/protocol/disco#items'/><feature var='urn:xmpp:ping'/><feature var='jabber:iq:time'/>\
    <feature var='jabber:iq:privacy'/><feature var='jabber:iq:version'/>\
    <feature var='http://jabber.org/protocol/rosterx'/><feature var='urn:xmpp:time'/><feature var='jabber:x:oob'/>\
    <feature var='http://jabber.org/protocol/ibb'/><feature var='http://jabber.org/protocol/si/profile/file-transfer'/>\
    <feature var='urn:xmpp:receipts'/><feature var='jabber:iq:roster'/><feature var='jabber:iq:last'/>";

fn caps(ver: &str) -> String {
    format!("<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x:client' ver='{ver}'/>")
}

/// Says what it can do, is asked for `node`, and answers.
async fn is_asked(client: &mut Client, caps: &str, node: &str, answer: &str) {
    client.presence(&format!("<presence>{caps}</presence>")).await;
    let domain = client.bare().split_once('@').expect("an account").1.to_owned();
    let question = client
        .expect(&format!(
            "<iq type='get' from='{domain}' to='{}'><query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/></iq>",
            client.jid
        ))
        .await;
    let id = question.get("id").to_owned();
    client.send(answer.replace("ID", &id).replace("DOMAIN", &domain)).await;
    client.nothing_more().await;
}

fn info(content: &str) -> String {
    format!(
        "<iq type='result' id='ID' to='DOMAIN'><query xmlns='http://jabber.org/protocol/disco#info'>{content}</query></iq>"
    )
}

#[tokio::test]
async fn who_is_believed_and_who_is_not() {
    let server = Server::with_users(20);
    let mut is_known = false;
    for transport in Transport::EVERY {
        let mut a = Client::online(&server, transport, &server.user()).await;
        // Once for all that hashes to it, whoever said it first and by whatever transport.
        if is_known {
            a.presence(&format!("<presence>{}</presence>", caps(VER))).await;
            a.nothing_more().await;
        } else {
            is_asked(&mut a, &caps(VER), &format!("urn:x:client#{VER}"), &info(INFO)).await;
        }
        // The newer format goes before the older.
        let both = format!(
            "{}<c xmlns='urn:xmpp:caps'><hash xmlns='urn:xmpp:hashes:2' algo='sha-256'>{VER2}</hash></c>",
            caps("unseen=")
        );
        if is_known {
            a.presence(&format!("<presence>{both}</presence>")).await;
            a.nothing_more().await;
        } else {
            is_asked(&mut a, &both, &format!("urn:xmpp:caps#sha-256.{VER2}"), &info(INFO2)).await;
        }
        is_known = true;

        // Who hashes to something else, or refuses to answer, is asked once; and speaks for nobody else.
        let refused = "<iq type='error' id='ID' to='DOMAIN'><error type='cancel'>\
            <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>";
        for answer in [info(INFO), refused.to_owned()] {
            for _ in 0..2 {
                let mut liar = Client::online(&server, transport, &server.user()).await;
                is_asked(&mut liar, &caps("wrong="), "urn:x:client#wrong=", &answer).await;
                liar.presence(&format!("<presence><show>away</show>{}</presence>", caps("wrong=")))
                    .await;
                liar.nothing_more().await;
                liar.close().await;
            }
        }
        // An answer that nobody has asked for is nothing.
        let domain = a.bare().split_once('@').expect("an account").1;
        let unasked = info(INFO).replace("ID", "caps-1").replace("DOMAIN", domain);
        a.send(unasked).await;
        a.nothing_more().await;
        a.close().await;
    }
}

/// Row 27 of the attacks: the hash of somebody else's client, with an answer that is not its. What that client wants to
/// hear of it hears, and nobody hears what he has not asked for.
#[tokio::test]
async fn nobody_hears_for_others() {
    use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    const NODE: &str = "urn:x:news";
    let notify = format!("<feature var='{NODE}+notify'/>");
    let publish = format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{NODE}'><item id='1'><x xmlns='urn:x'/></item></publish></pubsub>"
    );
    let server = Server::with_users(4 * Transport::EVERY.len());
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        // XEP-0115 section 5.1, of a client that wants to hear and of one that does not; others than the last transport's.
        let info_of = |wants: bool| {
            let (name, feature) = (format!("Client {number}"), if wants { &*notify } else { "" });
            let features = if wants {
                format!("{NODE}+notify<")
            } else {
                String::new()
            };
            let hashed = digest(
                &SHA1_FOR_LEGACY_USE_ONLY,
                format!("client/pc//{name}<{features}").as_bytes(),
            );
            let info = format!("<identity category='client' type='pc' name='{name}'/>{feature}");
            (
                base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hashed),
                info,
            )
        };
        let (hearing, hearing_info) = info_of(true);
        let (deaf, deaf_info) = info_of(false);
        // Who lies comes first: takes away what one wants, and makes the other hear what he does not want.
        for (ver, lie) in [(&hearing, &deaf_info), (&deaf, &hearing_info)] {
            let mut liar = Client::online(&server, transport, &server.user()).await;
            is_asked(&mut liar, &caps(ver), &format!("urn:x:client#{ver}"), &info(lie)).await;
            liar.close().await;
        }
        let mut own = Client::online(&server, transport, &server.user()).await;
        let mut second = Client::online(&server, transport, &format!("{}/second", own.bare())).await;
        own.forget().await;
        is_asked(
            &mut own,
            &caps(&hearing),
            &format!("urn:x:client#{hearing}"),
            &info(&hearing_info),
        )
        .await;
        second.forget().await;
        is_asked(
            &mut second,
            &caps(&deaf),
            &format!("urn:x:client#{deaf}"),
            &info(&deaf_info),
        )
        .await;
        own.forget().await;
        second.iq("set", "", &publish).await;
        own.expect("<message type='headline'/>").await;
        second.nothing_more().await;
        // Known now: an answer that nobody asks for any more changes nothing.
        let mut late = Client::online(&server, transport, &format!("{}/late", own.bare())).await;
        late.presence(&format!("<presence>{}</presence>", caps(&deaf))).await;
        late.send(
            info(&hearing_info)
                .replace("ID", "caps-1")
                .replace("DOMAIN", "example.org"),
        )
        .await;
        late.forget().await;
        own.forget().await;
        second.forget().await;
        second.iq("set", "", &publish.replace("id='1'", "id='2'")).await;
        own.expect("<message type='headline'/>").await;
        late.nothing_more().await;
        for client in [own, second, late] {
            client.close().await;
        }
    }
}
