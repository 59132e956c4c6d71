//! Domains whose people are known to a directory: by the LDAP of a real one.

use testkit::{Client, ConnectOptions, Issued, NS_FAST, NS_SASL2, Server, TIMEOUT, Transport, agent, plain};

use crate::backends::{SASL, mechanisms};
use crate::external::Authority;
use crate::slapd::{BASE, Directory, GROUP, Kind, POSIX_GROUP, SERVICE};

const MECHANISM: &str = "HT-SHA-256-EXPR";
const BIND2: &str = "<bind xmlns='urn:xmpp:bind:0'/>";
/// How the log says that it is away, and that it is not any more.
const AWAY: &str = "the directory gives no answer: logins";
const AGAIN: &str = "the directory answers again";
const UNAVAILABLE: &str = "temporary-auth-failure";
const REFUSED: &str = "not-authorized";

struct World {
    directory: Directory,
    server: Server,
}

impl World {
    /// `more`: keys of `[ldap]` besides those that are always there.
    fn new(directory: Directory, more: &str) -> World {
        World::with_domain(directory, more, "")
    }

    /// `domain`: keys of the domain.
    fn with_domain(directory: Directory, more: &str, domain: &str) -> World {
        let server = Server::builder()
            .domain_toml(&format!("accounts = \"ldap\"\n{domain}"))
            .toml(&format!("[ldap]\nbase = \"{BASE}\"\nseconds = 4\n{more}"))
            .start();
        World { directory, server }
    }

    /// Over StartTLS, with a service and a group.
    fn usual() -> World {
        let directory = Directory::start(Kind::Strict);
        let more = format!("{}group = \"{GROUP}\"\n", usual(&directory, &directory.ldap()));
        World::new(directory, &more)
    }

    /// The condition with which a login fails; empty where it does not.
    async fn login(&self, user: &str, password: &str) -> String {
        self.login_over(Transport::Direct, user, password).await
    }

    async fn login_over(&self, transport: Transport, user: &str, password: &str) -> String {
        let mut client = Client::opened(&self.server, transport).await;
        let answer = client.auth("PLAIN", &plain("", user, password)).await;
        match answer.name() {
            "success" => String::new(),
            _ => answer.condition().expect("a failure names a condition").to_owned(),
        }
    }

    async fn token(&self, user: &str) -> Issued {
        let request = format!("<request-token xmlns='{NS_FAST}' mechanism='{MECHANISM}'/>");
        let mut client = Client::opened(&self.server, Transport::Direct).await;
        let more = agent(1) + &request + BIND2;
        let data = plain("", user, &format!("{user} secret"));
        let answer = client.authenticate("PLAIN", &data, &more).await;
        assert_eq!(answer.name(), "success", "{answer:?}");
        Issued::of(&answer, MECHANISM).expect("a token")
    }

    /// As [`World::login`], by a token. It does not change with each login.
    async fn login_by(&self, token: &Issued, user: &str) -> String {
        let mut client = Client::opened(&self.server, Transport::Direct).await;
        let jid = format!("{user}@example.org");
        let answer = client.authenticate_by_token(&jid, token, "", &(agent(1) + BIND2)).await;
        match answer.name() {
            "success" => String::new(),
            _ => answer.condition().expect("a failure names a condition").to_owned(),
        }
    }

    /// What a login by a certificate of this authority is answered with.
    async fn login_as(&self, authority: &Authority, user: &str) -> String {
        let options = ConnectOptions {
            identity: Some(authority.certify(&[&format!("{user}@example.org")])),
            ..ConnectOptions::default()
        };
        let mut client = Client::connect_with(&self.server, Transport::Direct, options)
            .await
            .expect("the handshake does not depend on the certificate");
        client.secure().await;
        client.open().await;
        let answer = client.auth("EXTERNAL", "=").await;
        answer.condition().unwrap_or(answer.name()).to_owned()
    }

    /// Until the pause is over after which a directory is tried again.
    async fn answers_again(&self) {
        tokio::time::timeout(TIMEOUT, async {
            while self.login("romeo", "romeo secret").await == UNAVAILABLE {}
        })
        .await
        .expect("the directory is asked again");
        assert_eq!(self.login("romeo", "romeo secret").await, "");
    }
}

fn usual(directory: &Directory, url: &str) -> String {
    let password = directory.file("service", "service secret\n");
    format!(
        "url = \"{url}\"\nca = \"{}\"\nbind_dn = \"{SERVICE}\"\npassword_file = \"{}\"\n",
        directory.ca().display(),
        password.display()
    )
}

#[tokio::test]
async fn who_is_in_the_group_and_knows_the_password_logs_in() {
    let world = World::usual();
    for (user, password, condition) in [
        ("juliet", "juliet secret", ""),
        ("Juliet", "juliet secret", ""),
        ("juliet", "romeo secret", REFUSED),
        ("juliet", "Juliet secret", REFUSED),
        ("juliet", "", "malformed-request"),
        ("mercutio", "mercutio secret", REFUSED),
        ("nobody", "nobody secret", REFUSED),
        // There without a password, and there twice.
        ("nurse", "nurse secret", REFUSED),
        ("twin", "twin secret", REFUSED),
        // Nothing of what went before stays with the connection.
        ("romeo", "romeo secret", ""),
        ("romeo", "juliet secret", REFUSED),
    ] {
        assert_eq!(world.login(user, password).await, condition, "{user}: {password}");
    }
    for transport in Transport::EVERY {
        assert_eq!(world.login_over(transport, "juliet", "juliet secret").await, "");
    }
    assert_eq!(world.server.logged(AWAY), 0);
    assert_eq!(world.server.logged("finds several entries"), 1);
    let printed = world.server.printed();
    assert!(!printed.contains("secret"), "the log shows a password");

    let client = Client::opened(&world.server, Transport::Direct).await;
    assert_eq!(mechanisms(&client, "mechanisms", SASL), ["PLAIN"]);
    assert_eq!(mechanisms(&client, "authentication", NS_SASL2), ["PLAIN"]);
}

#[tokio::test]
async fn a_name_is_never_a_part_of_the_filter() {
    let world = World::usual();
    for user in [
        "*",
        "j*",
        "*)(uid=*",
        "juliet)(uid=*",
        "*)(|(uid=*",
        "\\6auliet",
        "jul*t",
        "{user}",
        "{dn}",
    ] {
        assert_eq!(world.login(user, "juliet secret").await, REFUSED, "{user}");
    }
    // Who has such a name is found by it, and by nothing else.
    assert_eq!(world.login("st*r(x)\\y", "star secret").await, "");
    assert_eq!(world.login("star(x)\\y", "star secret").await, REFUSED);
    assert_eq!(world.server.logged(AWAY), 0);
    assert_eq!(world.server.logged("finds several entries"), 0);
}

#[tokio::test]
async fn it_is_asked_over_tls_from_the_first_byte_too() {
    let directory = Directory::start(Kind::Strict);
    let more = usual(&directory, &directory.ldaps()) + "at_once = 1\n";
    let world = World::new(directory, &more);
    assert_eq!(world.login("juliet", "juliet secret").await, "");
    assert_eq!(world.login("juliet", "wrong").await, REFUSED);
    // Without a group everybody is welcome.
    assert_eq!(world.login("mercutio", "mercutio secret").await, "");
    // Many at once, one after the other.
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(Client::opened(&world.server, Transport::Direct).await);
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let user = ["juliet", "romeo", "mercutio"][number % 3];
        let data = plain("", user, &format!("{user} secret"));
        client
            .send(format!("<auth xmlns='{SASL}' mechanism='PLAIN'>{data}</auth>"))
            .await;
    }
    for client in &mut clients {
        assert_eq!(client.stanza().await.name(), "success");
    }
}

#[tokio::test]
async fn a_directory_on_this_machine_may_be_asked_in_the_clear_and_as_nobody() {
    let directory = Directory::start(Kind::Open);
    let more = format!(
        "url = \"{}\"\nstart_tls = false\ngroup = \"{POSIX_GROUP}\"\n",
        directory.ldap()
    );
    let world = World::new(directory, &more);
    assert_eq!(world.login("mercutio", "mercutio secret").await, "");
    assert_eq!(world.login("mercutio", "wrong").await, REFUSED);
    assert_eq!(world.login("juliet", "juliet secret").await, REFUSED);
}

/// No password is told to whom nobody knows, and none in the clear.
#[tokio::test]
async fn without_the_right_tls_nobody_is_asked() {
    let other = Directory::start(Kind::Strict);
    let strict = Directory::start(Kind::Strict);
    let by_another = usual(&other, &strict.ldap());
    let misnamed = Directory::start(Kind::Misnamed);
    let by_name = usual(&misnamed, &misnamed.ldap());
    let open = Directory::start(Kind::Open);
    let without = usual(&open, &open.ldap());
    for (what, directory, more) in [
        ("an authority that nobody named", strict, by_another),
        ("a certificate for another host", misnamed, by_name),
        ("no TLS", open, without),
    ] {
        let world = World::new(directory, &more);
        assert_eq!(world.login("juliet", "juliet secret").await, UNAVAILABLE, "{what}");
        assert_eq!(world.server.logged(AWAY), 1, "{what}");
    }
}

#[tokio::test]
async fn a_directory_that_is_away_is_asked_again() {
    let mut world = World::usual();
    let token = world.token("juliet").await;
    assert_eq!(world.login("romeo", "romeo secret").await, "");
    world.directory.stop();
    for transport in Transport::EVERY {
        let answer = world.login_over(transport, "romeo", "romeo secret").await;
        assert_eq!(answer, UNAVAILABLE, "{transport:?}");
        assert_eq!(world.login("juliet", "wrong").await, UNAVAILABLE);
        assert_eq!(world.login_by(&token, "juliet").await, UNAVAILABLE);
        // It is not asked about who has shown no token: no time tells which accounts have any.
        let wrong = Issued {
            token: "wrong".to_owned(),
            ..token.clone()
        };
        assert_eq!(world.login_by(&wrong, "juliet").await, REFUSED);
    }
    assert_eq!(world.server.logged(AWAY), 1, "once for all of them");
    assert_eq!(world.server.logged(AGAIN), 0);
    world.directory.go_on();
    world.answers_again().await;
    assert_eq!(world.server.logged(AGAIN), 1);
    assert_eq!(world.login_by(&token, "juliet").await, "");
    // Over connections that have ended while nobody used them, without anybody's noticing.
    world.directory.stop();
    world.directory.go_on();
    assert_eq!(world.login("juliet", "juliet secret").await, "");
    assert_eq!(world.server.logged(AWAY), 1);
}

#[tokio::test]
async fn a_directory_that_says_nothing_holds_nobody_up_for_ever() {
    let directory = Directory::start(Kind::Strict);
    let more = usual(&directory, &directory.ldap()).replace("url", "at_once = 2\nurl");
    let world = World::new(directory, &more);
    assert_eq!(world.login("romeo", "romeo secret").await, "");
    world.directory.freeze();
    // The first waits over a connection that was open, the others over new ones.
    for _ in 0..3 {
        assert_eq!(world.login("romeo", "romeo secret").await, UNAVAILABLE);
    }
    assert_eq!(world.server.logged(AWAY), 1);
    world.directory.thaw();
    world.answers_again().await;
    assert_eq!(world.server.logged(AGAIN), 1);
}

#[tokio::test]
async fn who_is_gone_from_the_directory_is_let_in_by_no_token() {
    let mut world = World::usual();
    let juliet = world.token("juliet").await;
    let romeo = world.token("romeo").await;
    assert_eq!(world.login_by(&juliet, "juliet").await, "");
    // No longer in the group.
    let group =
        |change: &str| format!("dn: {GROUP}\nchangetype: modify\n{change}: member\nmember: uid=juliet,{BASE}\n");
    world.directory.change(&group("delete"));
    assert_eq!(world.login_by(&juliet, "juliet").await, REFUSED);
    assert_eq!(world.login("juliet", "juliet secret").await, REFUSED);
    assert_eq!(world.login_by(&romeo, "romeo").await, "");
    world.directory.change(&group("add"));
    assert_eq!(world.login_by(&juliet, "juliet").await, "");
    // No longer there.
    world
        .directory
        .change(&format!("dn: uid=romeo,{BASE}\nchangetype: delete\n"));
    assert_eq!(world.login_by(&romeo, "romeo").await, REFUSED);
    assert_eq!(world.login("romeo", "romeo secret").await, REFUSED);
    assert_eq!(world.login_by(&juliet, "juliet").await, "");
    assert_eq!(world.server.logged(AWAY), 0);
}

/// Who certifies clients does not know who has left.
#[tokio::test]
async fn nor_by_a_certificate() {
    let directory = Directory::start(Kind::Strict);
    let authority = Authority::new("Clients of example.org");
    let file = directory.file("clients.pem", &authority.pem);
    let more = format!("{}group = \"{GROUP}\"\n", usual(&directory, &directory.ldap()));
    let mut world = World::with_domain(
        directory,
        &more,
        &format!("client_certificates = \"{}\"", file.display()),
    );
    assert_eq!(world.login_as(&authority, "juliet").await, "success");
    for stranger in ["mercutio", "stranger"] {
        assert_eq!(world.login_as(&authority, stranger).await, REFUSED, "{stranger}");
    }
    let listed = world.server.jackdaw(&["account", "list"], "");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("juliet@") && !listed.contains("stranger@"), "{listed}");
    world.directory.stop();
    assert_eq!(world.login_as(&authority, "juliet").await, UNAVAILABLE);
}

/// The file is read again for each connection; a wrong one is told like a directory that is away.
#[tokio::test]
async fn the_service_gets_a_new_password_without_a_restart() {
    let mut world = World::usual();
    assert_eq!(world.login("romeo", "romeo secret").await, "");
    world.directory.change(&format!(
        "dn: {SERVICE}\nchangetype: modify\nreplace: userPassword\nuserPassword: newer secret\n"
    ));
    assert_eq!(world.login("romeo", "romeo secret").await, UNAVAILABLE);
    assert_eq!(world.server.logged(AWAY), 1);
    let told = format!("the bind as {SERVICE} gets result 49");
    assert!(world.server.logged(&told) > 0, "{}", world.server.printed());
    world.directory.file("service", "newer secret\n");
    world.answers_again().await;
    assert!(!world.server.printed().contains("secret"), "the log shows a password");
}
