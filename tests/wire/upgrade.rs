//! Accounts that lack the verifier of a hash: a login by PLAIN makes it.

use std::time::Duration;

use testkit::{Binding, Client, Server, Stanza, Transport, password_of, plain};

const LONG: Duration = Duration::from_secs(40);

/// A server whose only account has no verifier for SCRAM-SHA-512, as one that was taken over from elsewhere.
fn without_sha512() -> (Server, String) {
    let mut server = Server::with_users(1);
    let jid = server.user();
    server.sigterm();
    assert!(server.wait(LONG).is_some_and(|status| status.success()));
    let path = server.folder().join("data/jackdaw.sqlite");
    let database = rusqlite::Connection::open(path).expect("the server has made it");
    let changed = database.execute("UPDATE accounts SET scram_sha_512 = NULL WHERE owner = ?1", [&jid]);
    assert_eq!(changed, Ok(1));
    drop(database);
    server.start();
    (server, jid)
}

fn user(jid: &str) -> &str {
    jid.split_once('@').expect("user@domain").0
}

async fn by_scram(server: &Server, jid: &str, mechanism: &str, password: &str) -> Stanza {
    let mut client = Client::opened(server, Transport::Direct).await;
    client.scram_as(mechanism, user(jid), password, &Binding::None).await
}

async fn by_plain(server: &Server, jid: &str, password: &str) -> Stanza {
    let mut client = Client::opened(server, Transport::Direct).await;
    client.auth("PLAIN", &plain("", user(jid), password)).await
}

#[tokio::test]
async fn a_login_by_plain_makes_what_is_missing() {
    let (mut server, jid) = without_sha512();
    let password = password_of(&jid);
    assert_eq!(
        by_scram(&server, &jid, "SCRAM-SHA-512", &password).await.name(),
        "failure"
    );
    // Neither another mechanism nor a wrong password changes that.
    assert_eq!(
        by_scram(&server, &jid, "SCRAM-SHA-256", &password).await.name(),
        "success"
    );
    assert_eq!(by_plain(&server, &jid, "wrong").await.name(), "failure");
    assert_eq!(
        by_scram(&server, &jid, "SCRAM-SHA-512", &password).await.name(),
        "failure"
    );

    assert_eq!(by_plain(&server, &jid, &password).await.name(), "success");
    // It is on disk before the login has its answer.
    server.kill9();
    server.start();
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"] {
        assert_eq!(
            by_scram(&server, &jid, mechanism, &password).await.name(),
            "success",
            "{mechanism}"
        );
    }
    assert_eq!(
        by_scram(&server, &jid, "SCRAM-SHA-512", "wrong").await.name(),
        "failure"
    );
}
