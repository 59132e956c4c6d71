//! Messages: addresses, languages, content (RFC 6120 section 8.1, RFC 6121 section 5).

use testkit::{Client, NS_STREAM, Server, Transport};

use crate::support::{error_of, settle};

#[tokio::test]
async fn addresses_are_stamped() {
    let server = Server::with_users(6);
    for transport in Transport::ALL {
        let mut juliet = Client::online(&server, transport, &format!("{}/balcony", server.user())).await;
        let mut romeo = Client::online(&server, transport, &format!("{}/garden", server.user())).await;
        let (from, to) = (juliet.jid.clone(), romeo.jid.clone());
        // Section 8.1.2.1: none, the own bare, the own full address; the full one arrives.
        for own in [
            String::new(),
            format!(" from='{}'", juliet.bare()),
            format!(" from='{from}'"),
        ] {
            juliet
                .send(format!("<message{own} to='{to}'><body>x</body></message>"))
                .await;
            romeo
                .expect(&format!("<message from='{from}' to='{to}'><body>x</body></message>"))
                .await;
        }
        // Addresses are compared in their prepared form.
        juliet
            .send(format!(
                "<message from='{}' to='{}'/>",
                from.to_uppercase().replace("BALCONY", "balcony"),
                to.replace("example.org", "EXAMPLE.ORG")
            ))
            .await;
        romeo.expect(&format!("<message from='{from}' to='{to}'/>")).await;
        // Without an address it is for oneself (section 10.3.1).
        juliet.send("<message type='chat'><body>note</body></message>").await;
        juliet
            .expect(&format!(
                "<message type='chat' from='{from}'><body>note</body></message>"
            ))
            .await;
        // Row 26: any other is an attack on the stream.
        for other in [
            &to,
            &romeo.bare().to_owned(),
            &format!("{}/other", juliet.bare()),
            &"example.org".to_owned(),
            &"a b@@".to_owned(),
            &String::new(),
        ] {
            let mut liar = Client::login(&server, transport, &format!("{}/liar", juliet.bare())).await;
            liar.send(format!("<message from='{other}' to='{to}'><body>x</body></message>"))
                .await;
            liar.expect_stream_error("invalid-from").await;
        }
        romeo.nothing_more().await;

        // Row 27.
        for wrong in [
            "a b@@",
            "@example.org",
            "juliet@",
            "a@b/",
            "/r",
            &format!("{}@example.org", "x".repeat(1024)),
            "a@example.org/\u{200e}\u{7f}",
            "ju\u{265a}liet@exa mple",
        ] {
            juliet
                .send(format!("<message to='{wrong}' id='w'><body>x</body></message>"))
                .await;
            let answer = juliet.expect("<message type='error' id='w'/>").await;
            assert_eq!(error_of(&answer), "modify/jid-malformed", "{wrong}: {answer:?}");
        }
        // Other servers cannot be reached yet, and that is said.
        for there in ["nobody@elsewhere.example", "elsewhere.example"] {
            juliet
                .send(format!("<message to='{there}' id='e'><body>x</body></message>"))
                .await;
            let answer = juliet
                .expect(&format!("<message type='error' id='e' from='{there}'/>"))
                .await;
            assert_eq!(error_of(&answer), "cancel/remote-server-not-found");
        }
        juliet
            .send("<message to='nobody@elsewhere.example' type='error'><body>x</body></message>")
            .await;
        juliet.nothing_more().await;
    }
}

#[tokio::test]
async fn languages_and_content() {
    let server = Server::with_users(6);
    for transport in Transport::ALL {
        let (juliet, romeo) = (server.user(), server.user());
        let mut romeo = Client::online(&server, transport, &romeo).await;
        let to = romeo.jid.clone();

        // The language and a prefix of the stream header are part of what its stanzas say (section 4.7.4; RFC 6120
        // section 4.8.5 allows prefixes there).
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xml:lang='de-CH' \
             xmlns='jabber:client' xmlns:stream='{NS_STREAM}' xmlns:x='urn:x'>"
        );
        let mut juliet_client = Client::secured(&server, transport).await;
        juliet_client.open_with(&header).await;
        let user = juliet.split_once('@').expect("user@domain").0;
        juliet_client.plain(user, &testkit::password_of(&juliet)).await;
        juliet_client.open_with(&header).await;
        juliet_client.bind(None).await;
        let juliet = &mut juliet_client;

        juliet
            .send(format!("<message to='{to}'><body>x</body></message>"))
            .await;
        assert_eq!(romeo.expect("<message/>").await.lang(), Some("de-CH"));
        juliet
            .send(format!("<message to='{to}' xml:lang='fr'><body>x</body></message>"))
            .await;
        assert_eq!(romeo.expect("<message/>").await.lang(), Some("fr"));
        // No header of a WebSocket declares anything for what is behind it.
        let declared = match transport {
            Transport::WebSocket => "xmlns:x='urn:x'",
            _ => "",
        };
        juliet
            .send(format!(
                "<message to='{to}' id='p' {declared}><x:thing x:a='1'><y/></x:thing></message>"
            ))
            .await;
        let came = romeo.expect("<message id='p'><thing xmlns='urn:x'/></message>").await;
        let thing = came.get_child("thing", "urn:x").expect("expected above");
        assert!(
            thing.has_child("y", "jabber:client"),
            "no prefix, no namespace of its own: {came:?}"
        );
        assert_eq!(
            thing.attrs().iter().next().map(|((ns, name), value)| (
                ns.as_str().to_owned(),
                name.to_string(),
                value.clone()
            )),
            Some(("urn:x".into(), "a".into(), "1".into())),
            "{came:?}"
        );

        // What is inside arrives as it was sent: elements, prefixes, attributes, references, CDATA, all planes.
        let inner = "<body>a &amp; b &lt;c&gt; &#x1f426; &apos;&quot;</body><body xml:lang='fr'>oui</body>\
                     <x xmlns='urn:one' a='&lt;&quot;' xmlns:p='urn:two'><p:y p:z='\u{1f426}'>\u{10fffd}</p:y><z xmlns=''/></x>\
                     <thread parent='t0'>t1</thread><subject> </subject>";
        juliet
            .send(format!(
                "<message to='{to}' type='chat' id='c'>{inner}<b xmlns='urn:c'><![CDATA[<not> & a tag]]></b></message>"
            ))
            .await;
        let came = romeo
            .expect(&format!(
                "<message type='chat' id='c'>{inner}<b xmlns='urn:c'>&lt;not&gt; &amp; a tag</b></message>"
            ))
            .await;
        assert_eq!(
            came.children().count(),
            7,
            "nothing but its id in the archive is added: {came:?}"
        );
        // Attributes of other namespaces on the stanza itself.
        juliet
            .send(format!("<message to='{to}' id='n' xmlns:q='urn:q' q:a='1'/>"))
            .await;
        let came = romeo.expect("<message id='n'/>").await;
        assert!(
            came.attrs()
                .iter()
                .any(|((ns, _), value)| ns.as_str() == "urn:q" && value == "1"),
            "{came:?}"
        );
        // Large ones, byte by byte the same.
        let body: String = ('a'..='z').cycle().take(200_000).collect();
        juliet
            .send(format!("<message to='{to}'><body>{body}</body></message>"))
            .await;
        let came = romeo.expect("<message/>").await;
        assert_eq!(
            came.get_child("body", "jabber:client").map(|body| body.text()),
            Some(body)
        );
        romeo.nothing_more().await;
    }
}

/// RFC 6121 section 8.5.2.1.1: the most available resource, as it changes.
#[tokio::test]
async fn priorities_change() {
    let server = Server::with_users(6);
    for transport in Transport::ALL {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut one = Client::online(&server, transport, &format!("{jid}/one")).await;
        let mut two = Client::online(&server, transport, &format!("{jid}/two")).await;
        one.forget().await;
        two.forget().await;
        // (priority of one, of two, who gets it)
        let steps = [
            (0, 0, "both"),
            (1, 0, "one"),
            (1, 2, "two"),
            (-1, 0, "two"),
            (127, 126, "one"),
            (-128, -1, "none"),
        ];
        for (first, second, expected) in steps {
            one.presence(&format!("<presence><priority>{first}</priority></presence>"))
                .await;
            two.presence(&format!("<presence><priority>{second}</priority></presence>"))
                .await;
            sender
                .send(format!(
                    "<message to='{jid}' type='chat'><body>{first} {second}</body></message>"
                ))
                .await;
            settle(&mut sender, &jid).await;
            for (client, name) in [(&mut one, "one"), (&mut two, "two")] {
                let got = client
                    .drain()
                    .await
                    .iter()
                    .filter(|stanza| stanza.name() == "message")
                    .count();
                let wanted = usize::from(expected == name || expected == "both");
                assert_eq!(got, wanted, "{first} {second}: {name}");
            }
        }
        // The one that nobody could have comes when a resource takes messages again.
        one.presence("<presence/>").await;
        one.wait("<message type='chat'><body>-128 -1</body></message>").await;
    }
}
