//! Files that are uploaded and downloaded (XEP-0363), over TLS as browsers and clients do it. Rows 49 and 50 of the list of
//! faults, row 34 of that of attacks.

use std::path::Path;
use std::time::{Duration, Instant};

use testkit::{Builder, Client, HttpAnswer, Line, Server, Stanza, Transport, password_of};

use crate::support::{error_of, is_result, settle_durably};

const NS: &str = "urn:xmpp:http:upload:0";
const SERVICE: &str = "upload.example.org";
const LONG: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A server with these keys of `[files]`.
fn server(users: usize, files: &str) -> Builder {
    Server::builder().users(users).toml(&format!("[files]\n{files}\n"))
}

async fn ask(client: &mut Client, attributes: &str, purpose: &str) -> Stanza {
    let request = format!("<request xmlns='{NS}' {attributes}>{purpose}</request>");
    client.iq("get", SERVICE, &request).await
}

/// The path of a slot.
async fn slot(client: &mut Client, name: &str, size: usize, kind: &str) -> String {
    let kind = if kind.is_empty() {
        String::new()
    } else {
        format!("content-type='{kind}'")
    };
    path_of(&ask(client, &format!("filename='{name}' size='{size}' {kind}"), "").await)
}

fn path_of(answer: &Stanza) -> String {
    let slot = answer
        .get_child("slot", NS)
        .unwrap_or_else(|| panic!("no slot: {}", answer.raw()));
    let url = |name| {
        slot.get_child(name, NS)
            .and_then(|child| child.attr("url"))
            .expect("a URL")
    };
    assert_eq!(url("put"), url("get"));
    // Nothing has to be added to the request: there are no headers.
    assert_eq!(slot.get_child("put", NS).expect("put").children().count(), 0);
    let path = url("put")
        .strip_prefix("https://example.org:5443")
        .expect("where the listener is");
    path.to_owned()
}

async fn put(line: &mut Line, path: &str, kind: &str, body: &[u8]) -> HttpAnswer {
    let kind = if kind.is_empty() {
        String::new()
    } else {
        format!("Content-Type: {kind}\r\n")
    };
    let headers = format!("{kind}Content-Length: {}\r\n", body.len());
    line.request("PUT", path, &headers, body).await
}

async fn get(server: &Server, path: &str) -> HttpAnswer {
    Line::open(server).await.request("GET", path, "", b"").await
}

/// Uploads a file, and returns its path.
async fn upload(server: &Server, client: &mut Client, name: &str, kind: &str, body: &[u8]) -> String {
    let path = slot(client, name, body.len(), kind).await;
    let answer = put(&mut Line::open(server).await, &path, kind, body).await;
    assert_eq!(answer.status(), "201", "{answer:?}");
    path
}

/// Everything in the folder of files.
fn stored(server: &Server) -> Vec<String> {
    stored_in(&server.folder().join("data/files"))
}

fn stored_in(folder: &Path) -> Vec<String> {
    fn walk(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => walk(&path, found),
                false => found.push(path.display().to_string()),
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, &mut found);
    found
}

fn database(server: &Server) -> rusqlite::Connection {
    let path = server.folder().join("data/jackdaw.sqlite");
    rusqlite::Connection::open(path).expect("the server has made it")
}

/// Bytes that count for this owner.
fn usage(server: &Server, owner: &str) -> i64 {
    let query = "SELECT coalesce(sum(bytes), 0) FROM file_usage WHERE owner = ?1 AND key IN ('total', 'profile')";
    let found = database(server).query_row(query, [owner], |row| row.get(0));
    found.expect("a number")
}

/// Waits until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Section "Discovering Support", its examples.
#[tokio::test]
async fn clients_find_where_to_upload() {
    let server = server(1, "file_megabytes = 5").start();
    let mut client = Client::login(&server, Transport::Direct, &server.user()).await;
    let items = client
        .iq(
            "get",
            "example.org",
            "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        )
        .await;
    let item = format!("<item jid='{SERVICE}' name='HTTP File Upload'/>");
    is_result(
        &items,
        &format!("<query xmlns='http://jabber.org/protocol/disco#items'>{item}</query>"),
    );
    let info = client
        .iq("get", SERVICE, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        .await;
    for part in [
        "<identity category='store' type='file' name='HTTP File Upload'/>",
        "<feature var='urn:xmpp:http:upload:0'/>",
        "<feature var='urn:xmpp:http:upload:purpose:0#message'/>",
        "<feature var='urn:xmpp:http:upload:purpose:0#profile'/>",
        "<feature var='urn:xmpp:http:upload:purpose:0#ephemeral'/>",
        "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:http:upload:0</value></field>\
         <field var='max-file-size'><value>5000000</value></field></x>",
    ] {
        is_result(
            &info,
            &format!("<query xmlns='http://jabber.org/protocol/disco#info'>{part}</query>"),
        );
    }
}

/// Where there are no files nobody is told of them.
#[tokio::test]
async fn nothing_is_offered_where_there_is_nothing() {
    let server = server(1, "enabled = false").start();
    let mut client = Client::login(&server, Transport::Direct, &server.user()).await;
    let items = client
        .iq(
            "get",
            "example.org",
            "<query xmlns='http://jabber.org/protocol/disco#items'/>",
        )
        .await;
    assert!(!items.raw().contains(SERVICE), "{}", items.raw());
    assert_ne!(error_of(&ask(&mut client, "filename='a' size='1'", "").await), "");
    assert_eq!(
        get(&server, "/files/0123456789abcdef0123456789abcdef/a").await.status(),
        "404"
    );
}

#[tokio::test]
async fn a_file_comes_and_goes() {
    let server = server(4, "").start();
    for transport in Transport::EVERY {
        let mut client = Client::login(&server, transport, &server.user()).await;
        let body: Vec<u8> = (0..300_000_u32).map(|at| b'a' + (at % 26) as u8).collect();
        let path = upload(&server, &mut client, "très cool.jpg", "image/jpeg", &body).await;
        assert!(
            path.starts_with("/files/") && path.ends_with("/tr%C3%A8s%20cool.jpg"),
            "{path}"
        );
        let mut line = Line::open(&server).await;
        let answer = line.request("GET", &path, "", b"").await;
        assert_eq!((answer.status(), answer.body.as_bytes()), ("200", &*body));
        let described = |answer: &HttpAnswer| {
            assert_eq!(answer.header("content-type"), "image/jpeg");
            assert_eq!(
                answer.header("content-disposition"),
                "inline; filename*=UTF-8''tr%C3%A8s%20cool.jpg"
            );
            assert_eq!(answer.header("accept-ranges"), "bytes");
            assert_eq!(answer.header("x-content-type-options"), "nosniff");
            assert!(answer.header("content-security-policy").contains("sandbox"));
            assert_eq!(answer.header("access-control-allow-origin"), "*");
            // 90 days, less what has passed.
            let kept = answer.header("cache-control");
            assert!(kept.starts_with("private, max-age=77"), "{kept}");
        };
        described(&answer);
        let tag = answer.header("etag").to_owned();

        let head = line.request("HEAD", &path, "", b"").await;
        assert_eq!((head.status(), head.header("content-length")), ("200", "300000"));
        described(&head);

        // One part of it.
        let part = line.request("GET", &path, "Range: bytes=100000-100009\r\n", b"").await;
        assert_eq!((part.status(), part.body.as_bytes()), ("206", &body[100_000..100_010]));
        assert_eq!(part.header("content-range"), "bytes 100000-100009/300000");
        described(&part);
        let part = line
            .request("GET", &path, &format!("Range: bytes=-5\r\nIf-Range: {tag}\r\n"), b"")
            .await;
        assert_eq!((part.status(), part.body.as_bytes()), ("206", &body[299_995..]));
        let none = line.request("GET", &path, "Range: bytes=300000-\r\n", b"").await;
        assert_eq!((none.status(), none.header("content-range")), ("416", "bytes */300000"));
        // Several parts, or of another version: the whole.
        for headers in [
            "Range: bytes=0-0,-1\r\n".to_owned(),
            "Range: bytes=0-0\r\nIf-Range: \"other\"\r\n".to_owned(),
            "Range: bytes=0-0\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(),
            format!("Range: {}\r\n", "bytes=".to_owned() + &"0-,".repeat(1000)),
        ] {
            let whole = line.request("GET", &path, &headers, b"").await;
            assert_eq!((whole.status(), whole.body.len()), ("200", 300_000), "{headers}");
        }
        let same = line
            .request("GET", &path, &format!("If-None-Match: \"x\", {tag}\r\n"), b"")
            .await;
        assert_eq!((same.status(), &*same.body), ("304", ""));

        // What a browser asks for a page from elsewhere.
        let preflight = "Origin: https://chat.example\r\nAccess-Control-Request-Method: PUT\r\n";
        let may = line.request("OPTIONS", &path, preflight, b"").await;
        assert_eq!((may.status(), may.header("access-control-allow-origin")), ("204", "*"));
        assert!(may.header("access-control-allow-methods").contains("PUT"));
        assert!(may.header("access-control-allow-headers").contains("Content-Type"));
        // Nothing else, and no second time.
        assert_eq!(line.request("DELETE", &path, "", b"").await.status(), "405");
        assert_eq!(put(&mut line, &path, "image/jpeg", &body).await.status(), "409");
        assert_eq!(get(&server, &path).await.body.len(), 300_000);
        client.close().await;
    }
}

/// Section "Error conditions"; row 49.
#[tokio::test]
async fn who_asks_for_too_much_is_told_so() {
    let server = server(2, "file_megabytes = 3")
        .domain("example.net")
        .account("romeo@example.net")
        .start();
    let mut client = Client::login(&server, Transport::Starttls, &server.user()).await;
    for size in ["3000001", "99999999999999999999999999"] {
        let error = ask(&mut client, &format!("filename='a' size='{size}'"), "").await;
        assert_eq!(error_of(&error), "modify/not-acceptable");
        let said = format!("<file-too-large xmlns='{NS}'><max-file-size>3000000</max-file-size></file-too-large>");
        assert!(error.raw().contains(&said), "{}", error.raw());
    }
    let long = format!("filename='{}' size='1'", "x".repeat(256));
    for wrong in [
        "",
        "filename='a'",
        "size='1'",
        "filename='' size='1'",
        "filename='..' size='1'",
        "filename='../a' size='1'",
        "filename='a/b' size='1'",
        "filename='a\\b' size='1'",
        "filename='a&#x9;b' size='1'",
        "filename='a&#x202E;gpj.exe' size='1'",
        &long,
        "filename='a' size='0'",
        "filename='a' size='-1'",
        "filename='a' size='+1'",
        "filename='a' size='1.5'",
        "filename='a' size='x'",
        "filename='a' size='1' content-type='image'",
        "filename='a' size='1' content-type='image/jpeg&#xD;&#xA;X: y'",
        "filename='a' size='1' content-type='text/html;'",
    ] {
        assert_eq!(
            error_of(&ask(&mut client, wrong, "").await),
            "modify/bad-request",
            "{wrong}"
        );
    }
    // Strangers.
    let mut stranger = Client::login(&server, Transport::Direct, "romeo@example.net").await;
    assert_eq!(
        error_of(&ask(&mut stranger, "filename='a' size='1'", "").await),
        "auth/forbidden"
    );
    assert_eq!(usage(&server, "example.org"), 0);
    assert_eq!(stored(&server), Vec::<String>::new());
}

#[tokio::test]
async fn purposes() {
    let server = server(1, "file_megabytes = 5").start();
    let mut client = Client::login(&server, Transport::Direct, &server.user()).await;
    let purpose = |purpose: &str| format!("<{purpose} xmlns='urn:xmpp:http:upload:purpose:0'/>");
    for known in ["message", "profile"] {
        path_of(&ask(&mut client, "filename='a' size='1'", &purpose(known)).await);
    }
    let permanent = ask(&mut client, "filename='a' size='1'", &purpose("permanent")).await;
    assert_eq!(error_of(&permanent), "cancel/feature-not-implemented");
    let large = ask(&mut client, "filename='a' size='2000001'", &purpose("profile")).await;
    assert!(
        large.raw().contains("<max-file-size>2000000</max-file-size>"),
        "{}",
        large.raw()
    );
    for wrong in [
        "ephemeral",
        "ephemeral expire-before='soon'",
        "ephemeral expire-before='2020-01-01T00:00:00Z'",
    ] {
        let error = ask(&mut client, "filename='a' size='1'", &purpose(wrong)).await;
        assert_eq!(error_of(&error), "modify/bad-request", "{wrong}");
    }
    let two = purpose("message") + &purpose("profile");
    assert_eq!(
        error_of(&ask(&mut client, "filename='a' size='1'", &two).await),
        "modify/bad-request"
    );

    // What is to be gone is gone, and its room with it.
    let bare = client.bare().to_owned();
    let until_then = "ephemeral expire-before='2999-01-01T00:00:00Z'";
    let path = path_of(&ask(&mut client, "filename='a' size='1'", &purpose(until_then)).await);
    assert_eq!(
        put(&mut Line::open(&server).await, &path, "", b"x").await.status(),
        "201"
    );
    assert_eq!(get(&server, &path).await.status(), "200");
    let set = database(&server).execute("UPDATE files SET gone_by = at WHERE gone_by IS NOT NULL", []);
    assert_eq!(set, Ok(1));
    assert_eq!(get(&server, &path).await.status(), "404");
    until("the file is deleted", || stored(&server).is_empty()).await;
    until("its room is free", || usage(&server, &bare) == 2).await;
}

/// Row 50: nothing is stored but what was agreed.
#[tokio::test]
async fn an_upload_is_what_was_agreed() {
    let server = server(2, "slot_seconds = 2").start();
    let bare = server.user();
    let mut client = Client::login(&server, Transport::Direct, &bare).await;
    let path = slot(&mut client, "a.txt", 5, "text/plain; charset=utf-8").await;
    let status = async |headers: &str, body: &[u8]| {
        let answer = Line::open(&server).await.request("PUT", &path, headers, body).await;
        answer.status().to_owned()
    };
    let plain = "Content-Type: text/plain\r\n";
    assert_eq!(status(&format!("{plain}Content-Length: 4\r\n"), b"1234").await, "400");
    assert_eq!(status(&format!("{plain}Content-Length: 6\r\n"), b"123456").await, "413");
    assert_eq!(status(plain, b"").await, "411");
    assert_eq!(
        status(
            &format!("{plain}Transfer-Encoding: chunked\r\n"),
            b"5\r\n12345\r\n0\r\n\r\n"
        )
        .await,
        "411"
    );
    assert_eq!(
        status("Content-Type: text/html\r\nContent-Length: 5\r\n", b"12345").await,
        "415"
    );
    assert_eq!(
        status("Content-Type: x\r\nContent-Length: 5\r\n", b"12345").await,
        "415"
    );
    for other in [
        path.replace("a.txt", "b.txt"),
        path.replace("a.txt", ""),
        path.replace("/a.txt", ""),
        path.replace("a.txt", "a.txt/"),
        path.replace("/files/", "/files//"),
        path.replace("/files/", "/files/../files/"),
        path.replace("/files/", "/files/0"),
        path.replace("a.txt", "%2e%2e%2fa.txt"),
        path.replace("a.txt", "..%5ca.txt"),
        path.replace("a.txt", "a.txt%00"),
        "/files/../jackdaw.sqlite".to_owned(),
        "/files/incoming/a.txt".to_owned(),
        "/files/%2e%2e/jackdaw.sqlite".to_owned(),
        format!("/files/0123456789abcdef0123456789abcdef/{}", "a".repeat(4000)),
    ] {
        let mut line = Line::open(&server).await;
        assert_eq!(
            put(&mut line, &other, "text/plain", b"12345").await.status(),
            "404",
            "{other}"
        );
        assert_eq!(get(&server, &other).await.status(), "404", "{other}");
    }
    // Before it is uploaded there is nothing.
    assert_eq!(get(&server, &path).await.status(), "404");
    assert_eq!(stored(&server), Vec::<String>::new());
    // Two at once: the second is refused, the first goes on. What breaks off leaves nothing, and may be tried again.
    let mut first = Line::open(&server).await;
    let head = format!("PUT {path} HTTP/1.1\r\nHost: example.org\r\n{plain}Content-Length: 5\r\n\r\n12");
    first.send(head.as_bytes()).await;
    until("it has begun", || stored(&server).len() == 1).await;
    let mut second = Line::open(&server).await;
    assert_eq!(put(&mut second, &path, "text/plain", b"12345").await.status(), "409");
    first.cut();
    until("it has broken off", || stored(&server).is_empty()).await;
    let mut third = Line::open(&server).await;
    assert_eq!(put(&mut third, &path, "text/plain", b"12345").await.status(), "201");
    let answer = get(&server, &path).await;
    assert_eq!(
        (&*answer.body, answer.header("content-type")),
        ("12345", "text/plain; charset=utf-8")
    );

    // A slot that nobody uses ends, and its room is free.
    let unused = slot(&mut client, "b.txt", 1_000, "").await;
    assert_eq!(usage(&server, &bare), 1_005);
    until("the slot has ended", || usage(&server, &bare) == 5).await;
    let body = [b'x'; 1_000];
    assert_eq!(
        put(&mut Line::open(&server).await, &unused, "", &body).await.status(),
        "404"
    );
    assert_eq!(stored(&server).len(), 1);
}

/// Row 34 of the attacks: what strangers open runs nothing.
#[tokio::test]
async fn what_could_run_is_saved_and_not_shown() {
    let server = server(1, "").start();
    let mut client = Client::login(&server, Transport::Direct, &server.user()).await;
    let script = b"<html><script>alert(1)</script></html>";
    for (name, kind) in [
        ("a.html", "text/html"),
        ("a.svg", "image/svg+xml"),
        ("a.xhtml", "application/xhtml+xml"),
        ("a.pdf", "application/pdf"),
        ("a.js", "text/javascript"),
        ("a.xml", "text/xml"),
        ("a.txt", "text/plain"),
        ("a.jpg", ""),
        ("&quot;; filename=x.html", "TEXT/HTML; charset=x"),
    ] {
        let path = upload(&server, &mut client, name, kind, script).await;
        let answer = get(&server, &path).await;
        assert_eq!(answer.status(), "200");
        let shown = answer.header("content-disposition");
        assert!(
            shown.starts_with("attachment; filename*=UTF-8''") && !shown.contains('"'),
            "{shown}"
        );
        assert_eq!(
            shown.matches("filename").count() - shown.matches("%20filename").count(),
            1,
            "{shown}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'") && policy.contains("sandbox"),
            "{policy}"
        );
        assert_eq!(
            answer.header("content-type"),
            if kind.is_empty() {
                "application/octet-stream"
            } else {
                kind
            }
        );
        // Also where something is wrong.
        let wrong = get(&server, &path.replace("/files/", "/files/x")).await;
        assert_eq!(
            (wrong.status(), wrong.header("x-content-type-options")),
            ("404", "nosniff")
        );
    }
}

/// However many ask at once, nobody gets more than there is.
#[tokio::test]
async fn quotas_hold_for_everybody_together() {
    let server = server(
        3,
        "account_megabytes = 2\naccount_megabytes_per_day = 5\ndomain_megabytes = 3\nslot_seconds = 3",
    )
    .start();
    let (one, two) = (server.user(), server.user());
    let mut clients = Vec::new();
    for device in 0..4 {
        clients.push(Client::login(&server, Transport::Direct, &format!("{one}/{device}")).await);
    }
    // Twelve requests for 0.3 megabytes: six of them fit.
    let asked = clients.iter_mut().map(async |client| {
        let request = format!("<request xmlns='{NS}' filename='a' size='300000'/>");
        let burst = (0..3).map(|id| format!("<iq type='get' id='{id}' to='{SERVICE}'>{request}</iq>"));
        client.send(burst.collect::<String>()).await;
        let mut given = 0;
        for _ in 0..3 {
            let answer = client.stanza().await;
            match error_of(&answer).as_str() {
                "" => given += 1,
                error => {
                    assert_eq!(error, "wait/resource-constraint");
                    assert!(
                        answer.raw().contains(&format!("<retry xmlns='{NS}' stamp='2")),
                        "{}",
                        answer.raw()
                    );
                }
            }
        }
        given
    });
    let given: i32 = futures_all(asked).await.into_iter().sum();
    assert_eq!(given, 6);
    assert_eq!(
        (usage(&server, &one), usage(&server, "example.org")),
        (1_800_000, 1_800_000)
    );
    // Of the domain there are 1.2 left.
    let mut other = Client::login(&server, Transport::Direct, &two).await;
    slot(&mut other, "a", 1_200_000, "").await;
    let full = ask(&mut other, "filename='a' size='1'", "").await;
    assert_eq!(error_of(&full), "wait/resource-constraint");
    // Nothing was uploaded, so everything comes back; what was asked for today does not count either.
    until("the slots have ended", || usage(&server, "example.org") == 0).await;
    assert_eq!(usage(&server, &one), 0);
    let body = vec![b'x'; 1_900_000];
    upload(&server, &mut other, "b", "", &body).await;
    assert_eq!(usage(&server, &two), 1_900_000);
}

/// All of them at the same time.
async fn futures_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut pending: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        for (future, done) in &mut pending {
            if done.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *done = Some(value);
            }
        }
        match pending.iter().all(|(_, done)| done.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    pending.into_iter().filter_map(|(_, done)| done).collect()
}

/// Of a day.
#[tokio::test]
async fn what_was_uploaded_today_counts_until_midnight() {
    let server = server(1, "account_megabytes_per_day = 1").start();
    let bare = server.user();
    let mut client = Client::login(&server, Transport::Direct, &bare).await;
    upload(&server, &mut client, "a", "", &vec![b'x'; 900_000]).await;
    let full = ask(&mut client, "filename='a' size='200000'", "").await;
    assert_eq!(error_of(&full), "wait/resource-constraint");
    assert!(full.raw().contains("T00:00:00.000Z'/>"), "{}", full.raw());
    slot(&mut client, "a", 100_000, "").await;
    // As if that had been yesterday.
    let moved = database(&server).execute(
        "UPDATE file_usage SET key = 'day 2020-01-01' WHERE key LIKE 'day %'",
        [],
    );
    assert_eq!(moved, Ok(1));
    slot(&mut client, "a", 1_000_000, "").await;
    settle_durably(&mut client, &bare).await;
    let count = "SELECT count(*) FROM file_usage WHERE key LIKE 'day %'";
    assert_eq!(
        database(&server).query_row(count, [], |row| row.get::<_, i64>(0)),
        Ok(1),
        "days that are over are forgotten"
    );
}

/// 201 is a promise, and before it nothing is.
#[tokio::test]
async fn a_crash_loses_nothing_that_was_promised() {
    let mut server = server(1, "slot_seconds = 2").start();
    let bare = server.user();
    let mut client = Client::login(&server, Transport::Direct, &bare).await;
    let body = vec![b'x'; 200_000];
    let kept = upload(&server, &mut client, "kept", "", &body).await;
    let broken = slot(&mut client, "broken", 400_000, "").await;
    let mut line = Line::open(&server).await;
    let head = format!("PUT {broken} HTTP/1.1\r\nHost: example.org\r\nContent-Length: 400000\r\n\r\n");
    line.send(&[head.as_bytes(), &body].concat()).await;
    until("it has begun", || stored(&server).len() == 2).await;
    server.kill9();
    server.start();
    let answer = get(&server, &kept).await;
    assert_eq!((answer.status(), answer.body.len()), ("200", 200_000));
    assert_eq!(get(&server, &broken).await.status(), "404");
    assert_eq!(stored(&server).len(), 1, "what had begun is cleared away");
    until("the room is free", || usage(&server, &bare) == 200_000).await;

    // Between the commit and the place of the file: the start puts it there.
    server.kill9();
    let id = kept.split('/').nth(2).expect("an id");
    let files = server.folder().join("data/files");
    std::fs::rename(files.join(&id[..2]).join(id), files.join("incoming").join(id)).expect("it is there");
    // And what nobody knows of.
    std::fs::write(files.join("incoming/00000000000000000000000000000000"), "x").expect("written");
    server.start();
    assert_eq!(get(&server, &kept).await.body.len(), 200_000);
    assert_eq!(stored(&server).len(), 1);
}

#[tokio::test]
async fn what_is_too_old_goes() {
    let server = server(1, "keep_days = 30").start();
    let bare = server.user();
    let mut client = Client::login(&server, Transport::Direct, &bare).await;
    let old = upload(&server, &mut client, "old", "", b"123").await;
    let young = upload(&server, &mut client, "young", "", b"1234").await;
    let id = old.split('/').nth(2).expect("an id");
    // As if the server had been there for so long.
    let changed = database(&server).execute("UPDATE files SET at = at - 31 * 86400000 WHERE owner = ?1", [id]);
    assert_eq!(changed, Ok(1));
    assert_eq!(get(&server, &old).await.status(), "404");
    until("it is deleted", || {
        stored(&server).len() == 1 && usage(&server, &bare) == 4
    })
    .await;
    assert_eq!(get(&server, &young).await.status(), "200");
}

#[tokio::test]
async fn an_account_takes_its_files_with_it() {
    let server = server(1, "").account("gone@example.org").start();
    let mut client = Client::login(&server, Transport::Direct, "gone@example.org").await;
    let path = upload(&server, &mut client, "a", "", b"123").await;
    slot(&mut client, "b", 1_000, "").await;
    let mut other = Client::login(&server, Transport::Direct, &server.user()).await;
    let stays = upload(&server, &mut other, "a", "", b"1234").await;
    assert_eq!(usage(&server, "example.org"), 1_007);
    let removed = server.jackdaw(&["account", "remove", "gone@example.org"], "");
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    assert_eq!(get(&server, &path).await.status(), "404", "at once");
    until("it is deleted", || {
        stored(&server).len() == 1 && usage(&server, "example.org") == 4
    })
    .await;
    // Whoever has the name next has nothing of it.
    server.import(&[("gone@example.org".to_owned(), password_of("gone@example.org"))]);
    assert_eq!(usage(&server, "gone@example.org"), 0);
    assert_eq!(get(&server, &path).await.status(), "404");
    assert_eq!(get(&server, &stays).await.status(), "200");
}

/// A small disk. None: only root may have one.
struct Disk(tempfile::TempDir);

impl Disk {
    fn of(size: &str) -> Option<Disk> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        let status = mount.arg(folder.path()).stderr(std::process::Stdio::null()).status();
        status.is_ok_and(|status| status.success()).then(|| Disk(folder))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Also while the server still has files there.
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status();
    }
}

/// Nothing half is left, the log says why, and it goes on when there is room.
#[tokio::test]
async fn a_full_disk() {
    let Some(disk) = Disk::of("1m") else {
        println!("skipped: no disk can be mounted here");
        return;
    };
    let folder = disk.0.path().to_owned();
    let server = server(1, &format!("slot_seconds = 2\nfolder = \"{}\"", folder.display())).start();
    let bare = server.user();
    let mut client = Client::login(&server, Transport::Direct, &bare).await;
    let kept = upload(&server, &mut client, "a", "", &vec![b'x'; 500_000]).await;
    let body = vec![b'x'; 900_000];
    let path = slot(&mut client, "b", body.len(), "").await;
    assert_eq!(
        put(&mut Line::open(&server).await, &path, "", &body).await.status(),
        "507"
    );
    assert_eq!(server.logged("no room left for files"), 1);
    assert_eq!(stored_in(&folder).len(), 1);
    assert_eq!(get(&server, &kept).await.body.len(), 500_000);
    let small = upload(&server, &mut client, "c", "", &vec![b'x'; 200_000]).await;
    assert_eq!(get(&server, &small).await.status(), "200");
    until("the room of what failed is free", || usage(&server, &bare) == 700_000).await;
}
