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
