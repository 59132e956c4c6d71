//! Whether the time that a failed login takes tells that there is such an account (RFC 6120 section 6.5.10): logins with a
//! wrong password to an account and to nobody, by turns, and the time from each question to its answer. Not a test, as
//! time on a busy machine proves nothing by itself.
//!
//! The last time (two busy cores, loopback, direct TLS): behind the proof no difference can be seen; before it, where the
//! account is looked up, an account takes 7 to 14 µs longer of 100 to 200, which is the store's reading of a row.
//!
//! `cargo run --release -p jackdaw-testkit --example login_timing [logins of each]`

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jackdaw_testkit::{Binding, Client, NS_FAST, NS_SASL2, Scram, Server, Transport, agent, plain, token_message};

const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
const LOGINS: usize = 2000;
/// On one connection, before the server ends it.
const ATTEMPTS: usize = 2;
const MECHANISMS: [&str; 5] = ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", TOKEN];
/// The account has such a token.
const TOKEN: &str = "HT-SHA-256-NONE";

/// What one kind of account was answered after.
#[derive(Default)]
struct Times {
    /// From the first message to the challenge.
    challenge: Vec<Duration>,
    /// From the last message to the failure.
    failure: Vec<Duration>,
}

async fn asked(client: &mut Client, what: &str, expected: &str, times: &mut Vec<Duration>) -> String {
    let began = Instant::now();
    client.send(what).await;
    let answer = client.stanza().await;
    times.push(began.elapsed());
    assert_eq!(answer.name(), expected, "{answer:?}");
    answer.text()
}

async fn fail(client: &mut Client, mechanism: &str, user: &str, times: &mut Times) {
    let auth = |data: &str| format!("<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{data}</auth>");
    if mechanism == "PLAIN" {
        let data = auth(&plain("", user, "wrong"));
        asked(client, &data, "failure", &mut times.failure).await;
        return;
    }
    if mechanism == TOKEN {
        let message = token_message(user, "wrong", &[]);
        let data = format!(
            "<authenticate xmlns='{NS_SASL2}' mechanism='{TOKEN}'><initial-response>{message}</initial-response>{}\
             <fast xmlns='{NS_FAST}'/></authenticate>",
            agent(1)
        );
        asked(client, &data, "failure", &mut times.failure).await;
        return;
    }
    let mut scram = Scram::new(mechanism, user, "wrong", &Binding::None, &[]);
    let first = auth(&STANDARD.encode(scram.first()));
    let challenge = asked(client, &first, "challenge", &mut times.challenge).await;
    let challenge = STANDARD.decode(challenge).expect("base64");
    let last = STANDARD.encode(scram.last(&String::from_utf8(challenge).expect("UTF-8")));
    let last = format!("<response xmlns='{NS_SASL}'>{last}</response>");
    asked(client, &last, "failure", &mut times.failure).await;
}

/// Microseconds: the quantiles that noise reaches least.
fn quantiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e6;
    format!("{:8.1} {:8.1} {:8.1}", at(5), at(25), at(50))
}

#[tokio::main]
async fn main() {
    let logins = std::env::args()
        .nth(1)
        .map_or(LOGINS, |text| text.parse().expect("a number"));
    let server = Server::builder()
        .users(1)
        .limit("login_failures_per_minute_per_address", 1_000_000)
        .limit("login_failures_per_minute_per_account", 1_000_000)
        .start();
    let jid = server.user();
    let (user, _) = jid.split_once('@').expect("user@domain");
    let mut client = Client::opened(&server, Transport::Direct).await;
    let request = format!("<request-token xmlns='{NS_FAST}' mechanism='{TOKEN}'/>");
    let answer = client.authenticate_as(&jid, &(agent(1) + &request)).await;
    assert!(answer.has_child("token", NS_FAST), "{answer:?}");
    client.close().await;
    // As long as the name of the account.
    let [nobody, another] = ["x", "y"].map(|first| format!("{first}{}", &user[1..]));
    println!("µs, of {logins} logins each           5 %     25 %     50 %");
    for mechanism in MECHANISMS {
        // The second name that nobody has shows what is noise.
        let mut all = [user, &nobody, &another].map(|name| (name, Times::default()));
        for round in 0..logins.div_ceil(ATTEMPTS) {
            for turn in 0..all.len() {
                // Nobody is always the first.
                let (name, times) = &mut all[(round + turn) % 3];
                let mut client = Client::opened(&server, Transport::Direct).await;
                for _ in 0..ATTEMPTS {
                    fail(&mut client, mechanism, name, times).await;
                }
                client.cut();
            }
        }
        for (who, (_, times)) in ["somebody", "nobody", "nobody"].into_iter().zip(&mut all) {
            for (what, times) in [("challenge", &mut times.challenge), ("failure", &mut times.failure)] {
                if !times.is_empty() {
                    println!("{mechanism:15} {what:9} {who:8} {}", quantiles(times));
                }
            }
        }
    }
}
