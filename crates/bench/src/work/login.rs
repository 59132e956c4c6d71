//! Logins: what each costs the server, and how many round trips it takes.

use std::sync::{Arc, Mutex};

use super::idle::warm;
use super::{CALM_LIMIT, Result, quantile};
use crate::Outcome;
use crate::client::{Access, Back, Client, Pass, all_of, close_all, login_all};
use crate::measure::{Window, calm};

/// CPU of a login, with everything a client asks at the start (roster, presence, a ping), and of a logout.
pub(super) async fn classic(access: &Arc<Access>, pid: u32, sessions: usize) -> Outcome<Result> {
    let mut result = Result::default();
    warm(access, pid, sessions).await?;
    let logins = login_all(access, 0..sessions, true);
    let clients = measured(&mut result, pid, ("login.cpu", "login.trips"), logins, |client| client).await?;
    let window = Window::open(pid);
    close_all(clients).await;
    calm(pid, CALM_LIMIT).await;
    result.figure("logout.cpu", window.close().server * 1000.0 / sessions.max(1) as f64);
    Ok(result)
}

/// The same by SASL2 with everything inline, and a token for the next time.
pub(super) async fn inline(access: &Arc<Access>, pid: u32, sessions: usize) -> Outcome<Result> {
    let mut result = Result::default();
    warm(access, pid, sessions).await?;
    let logins = login_inline(access, sessions);
    let all = measured(&mut result, pid, ("sasl2.cpu", "sasl2.trips"), logins, |(client, _)| {
        client
    })
    .await?;
    leave(pid, all).await;
    Ok(result)
}

/// Clients that come back with their tokens: to a new session, and to the stream that they lost.
pub(super) async fn fast(access: &Arc<Access>, pid: u32, sessions: usize) -> Outcome<Result> {
    let mut result = Result::default();
    let (all, _) = login_inline(access, sessions).await?;
    let passes = leave(pid, all).await;
    // The first use of a token is written down, the others of a day are not.
    let (all, _) = come_back(access, passes, Back::Bind).await?;
    let passes = leave(pid, all).await;

    let logins = come_back(access, passes, Back::Bind);
    let keys = ("fast.bind.cpu", "fast.bind.trips");
    let all = measured(&mut result, pid, keys, logins, |(client, _)| client).await?;
    let passes = all.into_iter().map(|(client, pass)| pass.cut(client)).collect();
    calm(pid, CALM_LIMIT).await;

    let logins = come_back(access, passes, Back::Resume);
    let keys = ("fast.resume.cpu", "fast.resume.trips");
    let all = measured(&mut result, pid, keys, logins, |(client, _)| client).await?;
    leave(pid, all).await;
    Ok(result)
}

/// A client, and what it comes back with.
type Known = (Client, Pass);

async fn login_inline(access: &Arc<Access>, sessions: usize) -> Outcome<(Vec<Known>, Vec<u32>)> {
    let access = Arc::clone(access);
    let login = move |number| {
        let access = Arc::clone(&access);
        async move { Client::login_inline(&access, number).await }
    };
    all_of(0..sessions, login).await
}

async fn come_back(access: &Arc<Access>, passes: Vec<Pass>, how: Back) -> Outcome<(Vec<Known>, Vec<u32>)> {
    let (access, count) = (Arc::clone(access), passes.len());
    let passes: Vec<_> = passes.into_iter().map(|pass| Mutex::new(Some(pass))).collect();
    let login = move |number: usize| {
        let access = Arc::clone(&access);
        // Nothing can panic while it is locked.
        let pass = passes[number]
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .take();
        async move { Client::come_back(&access, number, pass.ok_or("came back twice")?, how).await }
    };
    all_of(0..count, login).await
}

/// All log out; their tokens stay.
async fn leave(pid: u32, all: Vec<Known>) -> Vec<Pass> {
    let (clients, passes): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    close_all(clients).await;
    calm(pid, CALM_LIMIT).await;
    passes
}

/// CPU of each of these logins, and the most round trips that one of them took, under these keys.
async fn measured<T>(
    result: &mut Result,
    pid: u32,
    (cpu, trips): (&'static str, &'static str),
    logins: impl Future<Output = Outcome<(Vec<T>, Vec<u32>)>>,
    client: impl Fn(&T) -> &Client,
) -> Outcome<Vec<T>> {
    let window = Window::open(pid);
    let (all, mut times) = logins.await?;
    let logged_in = window.close();
    calm(pid, CALM_LIMIT).await;
    let each = |seconds: f64| seconds * 1000.0 / all.len().max(1) as f64;
    result.noise(logged_in);
    result.figure(cpu, each(window.close().server));
    let most = all.iter().map(|one| client(one).trips).max();
    result.figure(trips, most.map_or(f64::NAN, f64::from));
    result.notes.push(format!(
        "{:.0} logins/s, {:.1} ms each; the generator {:.2} ms",
        all.len() as f64 / logged_in.wall,
        quantile(&mut times, 0.5) / 1000.0,
        each(logged_in.generator),
    ));
    Ok(all)
}
