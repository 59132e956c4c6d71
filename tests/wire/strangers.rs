//! Messages and subscription requests of those an account has nothing to do with: who has an account at another domain,
//! is no contact, and was never written to. In these tests nobody else federates, so the other domain is of the same
//! server.

use testkit::{Builder, Client, Server, Transport};

use crate::support::{bodies, chat, error_of, is_result, see, settle_durably, up_to_mark};

const ELSEWHERE: &str = "other.example";
const TOO_MUCH: &str = "wait/policy-violation";

fn server(users: usize, strangers: usize) -> Builder {
    let builder = Server::builder()
        .users(users)
        .domain(ELSEWHERE)
        .limit("stranger_messages_per_hour", 3)
        .limit("stranger_messages_per_hour_in_all", 5)
        .limit("stranger_requests_per_hour", 2);
    (0..strangers).fold(builder, |builder, number| builder.account(&stranger(number)))
}

fn stranger(number: usize) -> String {
    format!("stranger{number}@{ELSEWHERE}")
}

/// Whether this arrives; else it was refused like this.
async fn arrives(from: &mut Client, to: &mut Client, address: &str, text: &str) -> Result<(), String> {
    from.send(chat(address, text)).await;
    // Behind it on the same way, and counted neither way.
    let came = from.iq("get", address, "<query xmlns='urn:nobody:knows'/>").await;
    assert_eq!(came.get("type"), "error");
    let refused = from.drain().await;
    let came = bodies(&to.drain().await);
    match refused.first() {
        None => {
            assert_eq!(came, [text]);
            Ok(())
        }
        Some(refused) => {
            assert_eq!(came, [""; 0]);
            assert_eq!((refused.name(), refused.get("id")), ("message", text));
            Err(error_of(refused))
        }
    }
}

#[tokio::test]
async fn as_many_as_there_is_room_for() {
    let count = Transport::EVERY.len();
    let server = server(2 * count, 3 * count).start();
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let mut account = Client::online(&server, transport, &server.user()).await;
        let mut neighbour = Client::online(&server, transport, &server.user()).await;
        let names = [0, 1, 2].map(|n| stranger(3 * number + n));
        let mut one = Client::online(&server, transport, &names[0]).await;
        let mut two = Client::online(&server, transport, &names[1]).await;
        let mut three = Client::online(&server, transport, &names[2]).await;
        let (bare, full) = (account.bare().to_owned(), account.jid.clone());
        let refused = Err(TOO_MUCH.to_owned());
        // From one, whichever of the addresses it is for.
        for to in [&bare, &full, &bare] {
            assert_eq!(arrives(&mut one, &mut account, to, "hi").await, Ok(()));
        }
        for to in [&bare, &full] {
            assert_eq!(arrives(&mut one, &mut account, to, "hi").await, refused);
        }
        // From all of them: what was refused has not used up the room of the others.
        assert_eq!(arrives(&mut two, &mut account, &bare, "hello").await, Ok(()));
        assert_eq!(arrives(&mut three, &mut account, &bare, "hello").await, Ok(()));
        assert_eq!(arrives(&mut three, &mut account, &bare, "hello").await, refused);
        // Who has an account at the same domain is no stranger.
        for text in ["1", "2", "3", "4", "5", "6"] {
            assert_eq!(arrives(&mut neighbour, &mut account, &bare, text).await, Ok(()));
        }
        // An answer is none of a stranger.
        account.send(chat(&names[0], "who are you?")).await;
        one.expect("<message type='chat'><body>who are you?</body></message>")
            .await;
        for text in ["1", "2", "3", "4"] {
            assert_eq!(arrives(&mut one, &mut account, &bare, text).await, Ok(()));
        }
        assert_eq!(arrives(&mut two, &mut account, &bare, "and I").await, refused);
        // Nor is a contact, once the account has said that he is one; nor who is shown its presence, as a room is.
        let set = format!("<query xmlns='jabber:iq:roster'><item jid='{}'/></query>", names[1]);
        is_result(&account.iq("set", "", &set).await, "");
        account.send(format!("<presence to='{}'/>", three.jid)).await;
        three.expect("<presence/>").await;
        account.ping().await;
        account.forget().await;
        for sender in [&mut two, &mut three] {
            for text in ["1", "2", "3", "4"] {
                assert_eq!(arrives(sender, &mut account, &bare, text).await, Ok(()));
            }
        }
        account
            .send(format!("<presence type='unavailable' to='{}'/>", three.jid))
            .await;
        three.expect("<presence type='unavailable'/>").await;
        assert_eq!(arrives(&mut three, &mut account, &bare, "gone").await, refused);
        // What answers something is not counted, and is never answered.
        for _ in 0..6 {
            three
                .send(format!(
                    "<message type='error' to='{full}'><error type='cancel'/></message>"
                ))
                .await;
        }
        let came = up_to_mark(&mut neighbour, &mut account).await;
        assert!(came.iter().filter(|stanza| stanza.get("type") == "error").count() <= 6);
        three.nothing_more().await;
        for client in [account, neighbour, one, two, three] {
            client.close().await;
        }
    }
}

/// Who is not there is spared as well, and whom he has written to is known after a crash.
#[tokio::test]
async fn who_is_away() {
    let mut server = server(1, 2).start();
    let user = server.user();
    let mut account = Client::online(&server, Transport::Direct, &user).await;
    account.send(chat(&stranger(0), "hello")).await;
    settle_durably(&mut account, &stranger(0)).await;
    account.close().await;
    let mut other = Client::online(&server, Transport::Direct, &stranger(1)).await;
    for text in ["1", "2", "3", "4", "5"] {
        other.send(chat(&user, text)).await;
    }
    for text in ["4", "5"] {
        let refused = other.expect(&format!("<message type='error' id='{text}'/>")).await;
        assert_eq!(error_of(&refused), TOO_MUCH);
    }
    other.nothing_more().await;
    server.kill9();
    server.start();
    let mut known = Client::login(&server, Transport::Direct, &stranger(0)).await;
    for text in ["a", "b", "c", "d", "e", "f"] {
        known.send(chat(&user, text)).await;
    }
    settle_durably(&mut known, &user).await;
    known.nothing_more().await;
    let mut account = Client::online(&server, Transport::Direct, &user).await;
    let mut came = Vec::new();
    while came.len() < 9 {
        came.extend(bodies(&[account
            .wait_keeping(|stanza| stanza.name() == "message")
            .await]));
    }
    assert_eq!(came, ["1", "2", "3", "a", "b", "c", "d", "e", "f"]);
}

#[tokio::test]
async fn requests() {
    let count = Transport::EVERY.len();
    let server = server(2 * count, 4 * count).start();
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let mut account = Client::online(&server, transport, &server.user()).await;
        let mut neighbour = Client::online(&server, transport, &server.user()).await;
        let bare = account.bare().to_owned();
        for n in 0..4 {
            let name = stranger(4 * number + n);
            let mut client = Client::online(&server, transport, &name).await;
            if n == 3 {
                // The account asks first.
                account.send(format!("<presence type='subscribe' to='{name}'/>")).await;
                client.wait("<presence type='subscribe'/>").await;
                account.forget().await;
            }
            client.send(format!("<presence type='subscribe' to='{bare}'/>")).await;
            if n == 2 {
                let refused = client.wait("<presence type='error'/>").await;
                assert_eq!(error_of(&refused), TOO_MUCH);
                account.nothing_more().await;
            } else {
                account
                    .expect(&format!("<presence type='subscribe' from='{name}'/>"))
                    .await;
            }
            client.close().await;
        }
        account.forget().await;
        see(&mut neighbour, &mut account).await;
    }
}

#[tokio::test]
async fn a_closed_house() {
    let count = Transport::EVERY.len();
    let server = server(2 * count, 2 * count)
        .domain_toml("strangers = \"refuse\"")
        .start();
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let mut account = Client::online(&server, transport, &server.user()).await;
        let mut neighbour = Client::online(&server, transport, &server.user()).await;
        let name = stranger(2 * number);
        let mut client = Client::online(&server, transport, &name).await;
        let bare = account.bare().to_owned();
        // As if there were nobody.
        for to in [bare.clone(), account.jid.clone(), format!("no{bare}")] {
            client.send(chat(&to, "hi")).await;
            let refused = client.expect("<message type='error' id='hi'/>").await;
            assert_eq!(error_of(&refused), "cancel/service-unavailable");
            client.send(format!("<presence to='{to}'/>")).await;
            client.send(format!("<presence type='subscribe' to='{to}'/>")).await;
            client
                .send(format!("<message type='headline' to='{to}'><body>x</body></message>"))
                .await;
        }
        client.ping().await;
        let came = client.drain().await;
        assert!(came.iter().all(|stanza| stanza.get("type") != "error"), "{came:?}");
        account.nothing_more().await;
        // The house is open to itself, and to whom its people go to.
        assert_eq!(arrives(&mut neighbour, &mut account, &bare, "hi").await, Ok(()));
        account.send(chat(&name, "come in")).await;
        client
            .expect("<message type='chat'><body>come in</body></message>")
            .await;
        for text in ["1", "2", "3", "4", "5", "6"] {
            assert_eq!(arrives(&mut client, &mut account, &bare, text).await, Ok(()));
        }
        // The other domain has its own policy.
        let mut other = Client::online(&server, transport, &stranger(2 * number + 1)).await;
        assert_eq!(
            arrives(&mut neighbour, &mut other, &stranger(2 * number + 1), "hi").await,
            Ok(())
        );
        for client in [account, neighbour, client, other] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn an_open_house() {
    let server = server(1, 1).domain_toml("strangers = \"allow\"").start();
    let mut account = Client::online(&server, Transport::Direct, &server.user()).await;
    let mut client = Client::online(&server, Transport::Direct, &stranger(0)).await;
    let bare = account.bare().to_owned();
    for text in ["1", "2", "3", "4", "5", "6"] {
        assert_eq!(arrives(&mut client, &mut account, &bare, text).await, Ok(()));
    }
}
