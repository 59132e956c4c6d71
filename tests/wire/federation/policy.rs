//! With whom the operator lets the server talk, and what it has to show.

use testkit::{Authority, Certified, Client, Federation, Offers, Remote, Transport};

use super::{HERE, THERE, World, bounced, expect_message, friend, message};
use crate::ad_hoc::{command, run};
use crate::streams::wait_for;
use crate::support::{chat, error_of};

/// Long enough for somebody to connect on this machine.
const SOON: std::time::Duration = std::time::Duration::from_millis(50);
const WHY: &str = "jackdaw:why";
const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

fn peer(domain: &str, keys: &str) -> String {
    format!("[[federation.peer]]\ndomain = \"{domain}\"\n{keys}\n")
}

/// A message there and one back.
async fn they_talk(world: &World, remote: &Remote, user: &mut Client) {
    let friend = format!("friend@{}", remote.domain);
    user.send(chat(&friend, "there")).await;
    let mut link = remote.received(Offers::default()).await;
    expect_message(&mut link, "there").await;
    let mut link = remote.authenticated(&world.server, HERE).await;
    link.send(message(&friend, &user.jid, "back")).await;
    user.expect("<message type='chat'><body>back</body></message>").await;
}

/// Neither of them can, and the other server is not even asked.
async fn they_do_not(world: &World, remote: &Remote, user: &mut Client) {
    let mut link = remote.connect(&world.server, HERE).await;
    link.send(testkit::server_header(&remote.domain, HERE, "")).await;
    link.expect_stream_error("policy-violation").await;
    user.send(chat(&format!("friend@{}", remote.domain), "1")).await;
    let text = bounced(user, "1", "cancel/not-allowed").await;
    assert!(!text.is_empty());
    user.nothing_more().await;
    assert!(remote.accept_within(SOON).await.is_none());
}

#[tokio::test]
async fn allowed_and_denied() {
    let deny = "action = \"deny\"";
    let one = [
        peer("denied.example", deny),
        peer("*.below.example", deny),
        peer("friend.below.example", ""),
    ];
    let other = ["others = \"deny\"\n".to_owned(), peer("friend.example", "")];
    for (keys, domains) in [
        (
            one.concat(),
            [
                ("denied.example", false),
                ("x.denied.example", true),
                ("below.example", true),
                ("y.x.below.example", false),
                // What is said of the domain itself comes before what is said of all those below one.
                ("friend.below.example", true),
            ]
            .as_slice(),
        ),
        (other.concat(), &[("friend.example", true), (THERE, false)]),
    ] {
        let federation = Federation::new();
        let mut remotes = Vec::new();
        for (domain, is_allowed) in domains {
            remotes.push((federation.remote(domain).await, *is_allowed));
        }
        let world = World {
            remote: federation.remote("another.example").await,
            server: federation.server(HERE).users(1).federation_toml(&keys).start(),
            federation,
        };
        let mut user = world.user().await;
        for (remote, is_allowed) in &remotes {
            match is_allowed {
                true => they_talk(&world, remote, &mut user).await,
                false => they_do_not(&world, remote, &mut user).await,
            }
        }
    }
}

/// A key that was named is enough, and no other is.
#[tokio::test]
async fn pins() {
    let own = Certified::self_signed(&[THERE]);
    let keys = peer(THERE, &format!("pins = [\"{}\"]", own.pin()));
    let mut world = World::with(1, |builder| builder.federation_toml(&keys)).await;
    let mut user = world.user().await;
    // One of an authority that is known, for the right name.
    let mut link = world.remote.opened(&world.server, HERE).await;
    assert!(!link.is_offered("mechanisms", SASL), "{:?}", link.features);
    assert_ne!(link.try_external("=").await.name(), "success");
    world.remote.shows(&own);
    they_talk(&world, &world.remote, &mut user).await;
    // The same the other way: there the wrong key is found out by us.
    let keys = peer(
        THERE,
        &format!("pins = [\"{}\"]", Certified::self_signed(&[THERE]).pin()),
    );
    let world = World::with(1, |builder| builder.federation_toml(&keys)).await;
    let mut user = world.user().await;
    user.send(chat(&friend(), "1")).await;
    refuse_handshake(&world).await;
    let text = bounced(&mut user, "1", "wait/remote-server-timeout").await;
    assert!(text.contains("another key"), "{text}");
}

/// DANE cannot be had without DNSSEC, and then nothing else is enough.
#[tokio::test]
async fn more_than_a_certificate() {
    let keys = peer(THERE, "require = \"dane\"");
    let world = World::with(1, |builder| builder.federation_toml(&keys)).await;
    let mut user = world.user().await;
    let link = world.remote.opened(&world.server, HERE).await;
    assert!(!link.is_offered("mechanisms", SASL), "{:?}", link.features);
    user.send(chat(&friend(), "1")).await;
    // It may be known before anybody is asked.
    if let Some(link) = world.remote.accept_within(2 * SOON).await {
        refuse(link, &world).await;
    }
    bounced(&mut user, "1", "wait/remote-server-timeout").await;
}

async fn refuse_handshake(world: &World) {
    refuse(world.remote.accept().await, world).await;
}

async fn refuse(mut link: Client, world: &World) {
    const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
    link.read_header().await;
    link.answer_header(&format!("<starttls xmlns='{TLS}'/>")).await;
    link.expect(&format!("<starttls xmlns='{TLS}'/>")).await;
    link.send(format!("<proceed xmlns='{TLS}'/>")).await;
    if link.accept_tls(&world.remote.identity, &[]).await.is_ok() {
        let _ = link.item_within(testkit::TIMEOUT).await;
    }
}

/// The authorities of the machine, and those that are named: nobody else.
#[tokio::test]
async fn authorities() {
    let mut world = World::new(1).await;
    let mut user = world.user().await;
    let known = world.federation.authority.certify(&["x.example", THERE]);
    world.remote.shows(&known);
    they_talk(&world, &world.remote, &mut user).await;
    world.remote.shows(&Authority::new("Another").certify(&[THERE]));
    let link = world.remote.opened(&world.server, HERE).await;
    assert!(!link.is_offered("mechanisms", SASL), "{:?}", link.features);
}

/// SIGHUP: a domain that is denied from now on loses its streams, both ways. A configuration that would not do at a start
/// changes nothing.
#[tokio::test]
async fn rules_are_read_again() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    user.send(chat(&friend(), "there")).await;
    let mut ours = world.remote.received(Offers::default()).await;
    expect_message(&mut ours, "there").await;
    let ping = ours.expect("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    let mut theirs = world.remote.authenticated(&world.server, HERE).await;
    // Else the message would wait, and come back when the domain is denied.
    let id = ping.get("id");
    theirs
        .send(format!("<iq type='result' id='{id}' from='{THERE}' to='{HERE}'/>"))
        .await;
    let file = world.server.folder().join("jackdaw.toml");
    let text = std::fs::read_to_string(&file).expect("the configuration is there");
    let says = async |keys: &str, log: &str| {
        std::fs::write(&file, format!("{text}\n{keys}")).expect("written");
        let before = world.server.logged(log);
        world.server.sighup();
        wait_for(|| world.server.logged(log) > before).await;
    };
    says(
        &peer(THERE, "action = \"perhaps\""),
        "the old rules about other servers stay in force",
    )
    .await;
    theirs.send(message(&friend(), &user.jid, "back")).await;
    user.expect("<message type='chat'><body>back</body></message>").await;
    const READ: &str = "the rules about other servers were read again";
    says(&peer(THERE, "action = \"deny\""), READ).await;
    for link in [&mut ours, &mut theirs] {
        link.expect_stream_error("policy-violation").await;
    }
    they_do_not(&world, &world.remote, &mut user).await;
    says("", READ).await;
    they_talk(&world, &world.remote, &mut user).await;
}

/// Who administers the server is told from a client what `jackdaw why` tells, and nobody else is.
#[tokio::test]
async fn an_administrator_is_told_why() {
    let keys = peer("denied.example", "action = \"deny\"");
    let world = World::with(1, |builder| {
        let builder = builder.account("boss@example.org").federation_toml(&keys);
        builder.toml("admins = [\"boss@example.org\"]\n")
    })
    .await;
    let mut boss = Client::online(&world.server, Transport::Starttls, "boss@example.org").await;
    let told = run(&mut boss, WHY, &[("domain", &["Denied.Example"])]).await;
    let why = world.server.jackdaw(&["why", "denied.example"], "");
    let lines = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(lines.contains("does not talk with it"), "{lines}");
    for line in lines.lines() {
        assert!(told.raw().contains(line), "{line}: {}", told.raw());
    }
    let wrong = run(&mut boss, WHY, &[("domain", &["somebody@denied.example"])]).await;
    assert_eq!(error_of(&wrong), "modify/bad-request");
    let mut user = world.user().await;
    let refused = user.iq("set", HERE, &command(WHY, "", "")).await;
    assert_eq!(error_of(&refused), "auth/forbidden");
}
