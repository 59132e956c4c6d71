//! Private messages through a room (XEP-0045 section 7.5): in both archives (XEP-0313), and on the sender's other devices
//! (XEP-0280), each from the address that its side knows.

use testkit::{ArchiveQuery, Client, Server, Transport};

use super::{USER, join, make, room_of};

#[tokio::test]
async fn a_private_message_is_kept_on_both_sides() {
    let server = Server::with_users(16);
    for transport in Transport::EVERY {
        let room = room_of(&server);
        let (one, two) = (server.user(), server.user());
        let mut a = Client::online(&server, transport, &format!("{one}/a")).await;
        let mut b = Client::online(&server, transport, &format!("{two}/b")).await;
        let mut other = Client::online(&server, transport, &format!("{two}/other")).await;
        let answer = other.iq("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>").await;
        assert_eq!(answer.get("type"), "result", "{answer:?}");
        make(&mut a, &room, "first", &[]).await;
        join(&mut b, &room, "second").await;
        for client in [&mut a, &mut b, &mut other] {
            client.forget().await;
        }

        b.send(format!(
            "<message to='{room}/first' type='chat' id='pm'><body>psst</body></message>"
        ))
        .await;
        let came = a
            .expect(&format!(
                "<message from='{room}/second' type='chat' id='pm'><body>psst</body><x xmlns='{USER}'/></message>"
            ))
            .await;
        // Who it is stays between him and the room.
        assert!(!came.raw().contains(&two), "{}", came.raw());
        other
            .expect(&format!(
                "<message from='{two}' type='chat'><sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
                 <message xmlns='jabber:client' from='{two}/b' to='{room}/first' type='chat' id='pm'>\
                 <body>psst</body></message></forwarded></sent></message>"
            ))
            .await;
        b.nothing_more().await;
        other.nothing_more().await;
        a.nothing_more().await;

        for (client, from) in [(&mut a, format!("{room}/second")), (&mut b, format!("{two}/b"))] {
            let kept = client.whole_archive(&ArchiveQuery::new()).await;
            assert_eq!(kept.len(), 1, "{kept:?}");
            let text = format!("{:?}", kept[0]);
            assert!(text.contains(&from) && text.contains("psst"), "{text}");
        }

        // What is refused is in no archive.
        b.send(format!(
            "<message to='{room}/nobody' type='chat' id='no'><body>psst</body></message>"
        ))
        .await;
        b.expect("<message type='error' id='no'/>").await;
        assert_eq!(b.whole_archive(&ArchiveQuery::new()).await.len(), 1);
    }
}
