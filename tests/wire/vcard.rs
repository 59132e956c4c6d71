//! What an account tells of its person: vcard-temp (XEP-0054).

use testkit::{Client, Server, Transport};

use crate::support::{error_of, is_result};

const NONE: &str = "<vCard xmlns='vcard-temp'/>";

#[tokio::test]
async fn everybody_sees_a_vcard_and_nobody_sees_that_there_is_none() {
    let server = Server::with_users(8);
    for transport in Transport::EVERY {
        let (user, other) = (server.user(), server.user());
        let mut a = Client::online(&server, transport, &user).await;
        let mut b = Client::online(&server, transport, &other).await;
        // Section 3.1: one's own is empty. Section 3.3: that of others is as if there were no account.
        let own = a.iq("get", "", NONE).await;
        is_result(&own, NONE);
        let of_none = b.iq("get", &user, NONE).await;
        assert_eq!(error_of(&of_none), "cancel/service-unavailable");
        assert_eq!(
            error_of(&b.iq("get", &format!("no{user}"), NONE).await),
            "cancel/service-unavailable"
        );

        // Section 3.2; the question behind it sees it.
        let vcard = "<vCard xmlns='vcard-temp'><FN>Peter</FN><N><FAMILY>Saint-Andre</FAMILY><MIDDLE/></N>\
            <PHOTO><TYPE>image/png</TYPE><BINVAL>AAAA</BINVAL></PHOTO><x:y xmlns:x='urn:x'>&amp;</x:y></vCard>";
        a.send(format!(
            "<iq type='set' id='s'>{vcard}</iq><iq type='get' id='g'>{NONE}</iq>"
        ))
        .await;
        a.expect("<iq type='result' id='s'/>").await;
        a.expect(&format!("<iq type='result' id='g'>{vcard}</iq>")).await;
        is_result(&b.iq("get", &user, NONE).await, vcard);

        // The whole is written, and nobody else writes it.
        is_result(
            &a.iq("set", &user, "<vCard xmlns='vcard-temp'><FN>P</FN></vCard>").await,
            "",
        );
        let now = b.iq("get", &user, NONE).await;
        is_result(&now, "<vCard xmlns='vcard-temp'><FN>P</FN></vCard>");
        assert!(!now.raw().contains("PHOTO"), "{}", now.raw());
        assert_eq!(error_of(&b.iq("set", &user, NONE).await), "cancel/service-unavailable");
        assert_eq!(
            error_of(&b.iq("set", &format!("no{user}"), NONE).await),
            "cancel/service-unavailable"
        );
        for client in [a, b] {
            client.close().await;
        }
    }
}
