//! Files at a service that speaks S3: a small one, which checks every signature as the text of Amazon's "Signature Version
//! 4" for links has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ring::{digest, hmac};
use testkit::{Asked, Client, Line, Reply, Server, Transport, Web};

const NS: &str = "urn:xmpp:http:upload:0";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG";
const LONG: Duration = Duration::from_secs(40);

type Objects = Arc<Mutex<BTreeMap<String, String>>>;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// Whether the request bears the signature that it should, for this bucket's region.
fn is_signed(asked: &Asked) -> bool {
    let Some((method, target)) = asked.what.split_once(' ') else {
        return false;
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut pairs: Vec<&str> = query.split('&').collect();
    pairs.sort_unstable();
    let value = |name: &str| {
        let found = pairs.iter().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().replace("%2F", "/")
    };
    let date = value("X-Amz-Date");
    let scope = format!("{}/eu-north-9/s3/aws4_request", date.get(..8).unwrap_or_default());
    if value("X-Amz-Credential") != format!("AKIDEXAMPLE/{scope}") || value("X-Amz-SignedHeaders") != "host" {
        return false;
    }
    let unsigned: Vec<&str> = pairs
        .iter()
        .filter(|pair| !pair.starts_with("X-Amz-Signature="))
        .copied()
        .collect();
    let host = asked.header("host").unwrap_or_default();
    let canonical = format!(
        "{method}\n{path}\n{}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD",
        unsigned.join("&")
    );
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let key = scope
        .split('/')
        .fold(format!("AWS4{SECRET}").into_bytes(), |key, part| mac(&key, part));
    value("X-Amz-Signature") == hex(&mac(&key, &format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hash}")))
}

fn answer(objects: &Objects, asked: &Asked) -> Reply {
    if !is_signed(asked) {
        return Reply::Status(403, String::new());
    }
    let (method, target) = asked.what.split_once(' ').expect("a request");
    let path = target.split('?').next().unwrap_or_default().to_owned();
    let mut objects = objects.lock().expect("no panic");
    match (method, objects.get(&path)) {
        ("PUT", _) => {
            objects.insert(path, asked.body.clone());
            Reply::Status(200, String::new())
        }
        ("DELETE", _) => {
            objects.remove(&path);
            Reply::Status(204, String::new())
        }
        ("GET", Some(body)) => {
            let range = asked.header("range").and_then(|range| range.strip_prefix("bytes="));
            let (first, last) = range.and_then(|range| range.split_once('-')).expect("a part");
            let part = &body[first.parse().expect("a number")..=last.parse().expect("a number")];
            let head = format!("HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\n\r\n", part.len());
            Reply::Raw([head.as_bytes(), part.as_bytes()].concat())
        }
        _ => Reply::Status(404, String::new()),
    }
}

/// The service, what it has, and a server that keeps its files there.
async fn start(secret: &str, users: usize) -> (Web, Objects, Server) {
    let objects = Objects::default();
    let kept = Arc::clone(&objects);
    let web = Web::start(None, move |asked| answer(&kept, asked)).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("s3.secret");
    std::fs::write(&file, format!("{secret}\n")).expect("written");
    let toml = format!(
        "[files]\nslot_seconds = 2\n[files.s3]\nendpoint = \"http://127.0.0.1:{}\"\nbucket = \"files\"\n\
         region = \"eu-north-9\"\naccess_key = \"AKIDEXAMPLE\"\nsecret_key_file = \"{}\"\nprefix = \"jackdaw/\"\n",
        web.port(),
        file.display()
    );
    let server = Server::builder()
        .users(users)
        .account("gone@example.org")
        .toml(&toml)
        .start();
    (web, objects, server)
}

async fn slot(client: &mut Client, size: usize) -> String {
    let request = format!("<request xmlns='{NS}' filename='a b.txt' size='{size}' content-type='text/plain'/>");
    let answer = client.iq("get", "upload.example.org", &request).await;
    let slot = answer
        .get_child("slot", NS)
        .unwrap_or_else(|| panic!("{}", answer.raw()));
    let url = slot
        .get_child("put", NS)
        .and_then(|put| put.attr("url"))
        .expect("a URL");
    url.strip_prefix("https://example.org:5443").expect("ours").to_owned()
}

async fn put(server: &Server, path: &str, body: &[u8]) -> String {
    let headers = format!("Content-Type: text/plain\r\nContent-Length: {}\r\n", body.len());
    let answer = Line::open(server).await.request("PUT", path, &headers, body).await;
    answer.status().to_owned()
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn files_are_objects() {
    let (web, objects, server) = start(SECRET, 1).await;
    let mut client = Client::login(&server, Transport::Direct, "gone@example.org").await;
    let body: Vec<u8> = (0..200_000_u32).map(|at| b'a' + (at % 26) as u8).collect();
    let path = slot(&mut client, body.len()).await;
    assert_eq!(put(&server, &path, &body).await, "201");
    let id = path.split('/').nth(2).expect("an id");
    let names: Vec<String> = objects.lock().expect("no panic").keys().cloned().collect();
    assert_eq!(names, [format!("/files/jackdaw/{id}")]);
    assert!(!server.folder().join("data/files").exists());

    let mut line = Line::open(&server).await;
    let whole = line.request("GET", &path, "", b"").await;
    assert_eq!((whole.status(), whole.body.as_bytes()), ("200", &*body));
    assert!(whole.header("content-disposition").starts_with("attachment"));
    let part = line.request("GET", &path, "Range: bytes=100-299\r\n", b"").await;
    assert_eq!((part.status(), part.body.as_bytes()), ("206", &body[100..300]));
    let head = line.request("HEAD", &path, "", b"").await;
    assert_eq!((head.status(), head.header("content-length")), ("200", "200000"));

    // An upload that breaks off is no object, and a slot that ends is cleared away there as well.
    let broken = slot(&mut client, 1_000).await;
    let mut cut = Line::open(&server).await;
    let head = format!("PUT {broken} HTTP/1.1\r\nHost: example.org\r\nContent-Length: 1000\r\n\r\nxxxx");
    cut.send(head.as_bytes()).await;
    cut.cut();
    let id = broken.split('/').nth(2).expect("an id").to_owned();
    let is_cleared = |asked: &Asked| asked.what.starts_with(&format!("DELETE /files/jackdaw/{id}?"));
    until("the slot is cleared away", || web.asked().iter().any(is_cleared)).await;
    assert_eq!(objects.lock().expect("no panic").len(), 1);

    let removed = server.jackdaw(&["account", "remove", "gone@example.org"], "");
    assert!(removed.status.success());
    until("the object is deleted", || objects.lock().expect("no panic").is_empty()).await;
}

/// Nothing is promised that the service did not promise, and nothing of the secret is in the log.
#[tokio::test]
async fn a_service_that_refuses() {
    let (web, objects, server) = start("another", 1).await;
    let mut client = Client::login(&server, Transport::Direct, &server.user()).await;
    let path = slot(&mut client, 5).await;
    assert_eq!(put(&server, &path, b"12345").await, "503");
    assert_eq!(server.logged("refused an upload with status 403"), 1);
    let answer = Line::open(&server).await.request("GET", &path, "", b"").await;
    assert_eq!(answer.status(), "404");
    let path = slot(&mut client, 5).await;
    drop(web);
    assert_eq!(put(&server, &path, b"12345").await, "503");
    assert!(objects.lock().expect("no panic").is_empty());
    assert_eq!(server.logged("another") + server.logged("X-Amz-Signature"), 0);
}
