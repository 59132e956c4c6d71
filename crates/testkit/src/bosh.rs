//! A client's side of BOSH (XEP-0124, XEP-0206): requests of HTTP over TLS, and what they are answered with.
//!
//! A [`Line`] is one connection of HTTP: a test says which request goes on which, and what is not answered yet.
//! [`Bosh`] is a session, with its ids.

use std::collections::VecDeque;
use std::io;

use minidom::Element;
use tokio::time::timeout;

use crate::client::{Client, ConnectOptions, TIMEOUT, Transport};
use crate::stanza::Stanza;
use crate::{Server, login, password_of};

pub const NS_BOSH: &str = "http://jabber.org/protocol/httpbind";
const NS_XBOSH: &str = "urn:xmpp:xbosh";

/// What the first request of an ordinary client says.
pub const CREATION: &str = "to='example.org' xml:lang='en' wait='60' hold='1' ver='1.6' xmpp:version='1.0' \
                            xmlns:xmpp='urn:xmpp:xbosh'";

/// An answer of HTTP.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    pub head: String,
    pub body: String,
}

impl HttpAnswer {
    pub fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// The value of a header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = headers.find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    /// The body of an answer that is in order.
    pub fn wrapper(&self) -> Wrapper {
        assert_eq!(self.status(), "200", "{self:?}");
        let element: Element = self
            .body
            .parse()
            .unwrap_or_else(|error| panic!("not an element: {error}: {self:?}"));
        assert!(element.is("body", NS_BOSH), "{self:?}");
        Wrapper {
            raw: self.body.clone(),
            element,
        }
    }
}

/// A `<body/>` that came.
#[derive(Clone, Debug)]
pub struct Wrapper {
    pub raw: String,
    element: Element,
}

impl Wrapper {
    /// The value of an attribute; empty where there is none.
    pub fn get<'a>(&'a self, name: &'a str) -> &'a str {
        let value = match name.strip_prefix("xmpp:") {
            Some(local) => self.element.attr_ns(NS_XBOSH, local),
            None => self.element.attr(name),
        };
        value.unwrap_or_default()
    }

    pub fn payloads(&self) -> Vec<Stanza> {
        self.element.children().map(Stanza::of).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.element.children().next().is_none()
    }

    /// What stands in it, as it came.
    pub(crate) fn inner(&self) -> &str {
        let begin = self.raw.find('>').map_or(0, |end| end + 1);
        let end = self.raw.rfind("</body>").unwrap_or(begin);
        &self.raw[begin..end]
    }

    /// It ends the session, for this reason; empty for none.
    pub fn assert_end(&self, condition: &str) {
        assert_eq!(self.get("type"), "terminate", "{self:?}");
        assert_eq!(self.get("condition"), condition, "{self:?}");
    }
}

/// A connection of HTTP.
pub struct Line {
    client: Client,
    unread: Vec<u8>,
}

impl Line {
    pub async fn open(server: &Server) -> Line {
        Line::open_with(server, ConnectOptions::default())
            .await
            .expect("the server can be reached")
    }

    pub async fn open_with(server: &Server, options: ConnectOptions) -> io::Result<Line> {
        let mut client = Client::tcp(server, Transport::WebSocket, options).await?;
        client.start_tls().await?;
        Ok(Line {
            client,
            unread: Vec::new(),
        })
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) {
        let sent = timeout(TIMEOUT, self.client.send_blindly(bytes)).await;
        sent.expect("the server reads").expect("the server reads");
    }

    /// Sends a request with this body, and does not wait.
    pub async fn ask(&mut self, body: &str) {
        self.ask_with(body, "").await;
    }

    /// The same with further headers, each with its line end.
    pub async fn ask_with(&mut self, body: &str, headers: &str) {
        self.ask_bytes(body.as_bytes(), headers).await;
    }

    pub async fn ask_bytes(&mut self, body: &[u8], headers: &str) {
        self.send(&post(body, headers)).await;
    }

    /// The same where the server may end the connection before it has read everything.
    pub(crate) async fn try_ask(&mut self, body: &[u8]) {
        let sent = timeout(TIMEOUT, self.client.send_blindly(&post(body, ""))).await;
        let _ = sent.expect("the server reads, or ends the connection");
    }

    /// The next answer.
    pub async fn answer(&mut self) -> HttpAnswer {
        timeout(TIMEOUT, self.read_answer())
            .await
            .expect("the server answers")
            .expect("the server answers before it ends the connection")
    }

    /// Sends a request, `headers` each with its line end, and returns its answer.
    pub async fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> HttpAnswer {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: example.org\r\n{headers}\r\n");
        self.send(&[head.as_bytes(), body].concat()).await;
        if method != "HEAD" {
            return self.answer().await;
        }
        let answer = timeout(TIMEOUT, self.read_head()).await.expect("the server answers");
        let (head, end) = answer.expect("the server answers before it ends the connection");
        self.unread.drain(..end);
        HttpAnswer {
            head,
            body: String::new(),
        }
    }

    /// The next head, and how long it is. It stays unread.
    async fn read_head(&mut self) -> Option<(String, usize)> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = String::from_utf8(self.unread[..end].to_vec()).expect("a head");
                return Some((head, end + 4));
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Option<()> {
        let mut space = [0; 16 * 1024];
        let count = self
            .client
            .read_bytes(&mut space)
            .await
            .ok()
            .filter(|count| *count > 0)?;
        self.unread.extend_from_slice(&space[..count]);
        Some(())
    }

    /// None where the connection ends instead.
    pub(crate) async fn read_answer(&mut self) -> Option<HttpAnswer> {
        let (head, end) = self.read_head().await?;
        let answer = HttpAnswer {
            head,
            body: String::new(),
        };
        let has_none = matches!(answer.status(), "204" | "304");
        let length = answer.header("content-length").to_owned();
        let length = if has_none || length.is_empty() {
            0
        } else {
            length.parse().expect("a length")
        };
        while self.unread.len() < end + length {
            self.read_more().await?;
        }
        let body = self.unread[end..end + length].to_vec();
        self.unread.drain(..end + length);
        let body = String::from_utf8(body).expect("UTF-8");
        Some(HttpAnswer { body, ..answer })
    }

    pub async fn post(&mut self, body: &str) -> HttpAnswer {
        self.ask(body).await;
        self.answer().await
    }

    /// Cuts the connection with a reset.
    pub fn cut(self) {
        self.client.cut();
    }
}

/// A request with this body.
pub fn post(body: &[u8], headers: &str) -> Vec<u8> {
    let head = format!(
        "POST /http-bind HTTP/1.1\r\nHost: example.org\r\nContent-Type: text/xml; charset=utf-8\r\n{headers}\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A session.
pub struct Bosh {
    pub line: Line,
    pub sid: String,
    /// The id of the last request.
    pub rid: u64,
    /// The full JID, once bound.
    pub jid: String,
    /// The response to the first request.
    pub first: Wrapper,
    inbox: VecDeque<Stanza>,
}

impl Bosh {
    pub async fn begin(server: &Server) -> Bosh {
        Bosh::begin_with(server, CREATION).await
    }

    /// A session with these attributes in its first request.
    pub async fn begin_with(server: &Server, attributes: &str) -> Bosh {
        let mut line = Line::open(server).await;
        let rid = 1_573_741_820;
        let first = line
            .post(&format!("<body rid='{rid}' {attributes} xmlns='{NS_BOSH}'/>"))
            .await
            .wrapper();
        Bosh {
            line,
            sid: first.get("sid").to_owned(),
            rid,
            jid: String::new(),
            inbox: first.payloads().into(),
            first,
        }
    }

    /// The next request.
    pub fn body(&mut self, attributes: &str, payload: &str) -> String {
        self.rid += 1;
        self.body_at(self.rid, attributes, payload)
    }

    pub fn body_at(&self, rid: u64, attributes: &str, payload: &str) -> String {
        let sid = &self.sid;
        format!("<body rid='{rid}' sid='{sid}' {attributes} xmlns='{NS_BOSH}'>{payload}</body>")
    }

    /// The next request and its response, on the session's own connection.
    pub async fn request(&mut self, attributes: &str, payload: &str) -> Wrapper {
        let body = self.body(attributes, payload);
        self.line.post(&body).await.wrapper()
    }

    /// Sends stanzas, and keeps what comes with the response.
    pub async fn send(&mut self, payload: &str) {
        let response = self.request("", payload).await;
        self.keep(&response);
    }

    pub fn keep(&mut self, response: &Wrapper) {
        assert_eq!(response.get("type"), "", "the session has ended: {response:?}");
        self.inbox.extend(response.payloads());
    }

    /// The next stanza that comes.
    pub async fn stanza(&mut self) -> Stanza {
        loop {
            if let Some(stanza) = self.inbox.pop_front() {
                return stanza;
            }
            let response = self.request("", "").await;
            self.keep(&response);
        }
    }

    pub async fn expect(&mut self, pattern: &str) -> Stanza {
        let stanza = self.stanza().await;
        if let Some(mismatch) = stanza.mismatch(pattern) {
            panic!("expected {pattern}\n  {mismatch}\n  in {stanza:?}");
        }
        stanza
    }

    /// A new stream behind SASL (XEP-0206 section 5), and its features.
    pub async fn restart(&mut self) -> Stanza {
        let restart = "xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh' to='example.org' xml:lang='en'";
        let response = self.request(restart, "").await;
        self.keep(&response);
        self.stanza().await
    }

    /// A session up to the features behind SASL.
    pub async fn authenticated(server: &Server, jid: &str) -> Bosh {
        let bare = jid.split_once('/').map_or(jid, |(bare, _)| bare);
        let user = bare.split_once('@').expect("user@domain").0;
        let mut bosh = Bosh::begin(server).await;
        assert!(bosh.stanza().await.is("features", crate::NS_STREAM));
        let auth = login::auth("PLAIN", Some(&login::plain("", user, &password_of(bare))));
        bosh.send(&auth).await;
        bosh.expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await;
        assert!(bosh.restart().await.is("features", crate::NS_STREAM));
        bosh
    }

    /// Everything up to a bound resource. `jid`: `user@domain/resource`.
    pub async fn login(server: &Server, jid: &str) -> Bosh {
        let mut bosh = Bosh::authenticated(server, jid).await;
        let resource = jid.split_once('/').expect("a resource").1;
        let bind = "urn:ietf:params:xml:ns:xmpp-bind";
        bosh.send(&format!(
            "<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='{bind}'><resource>{resource}</resource></bind></iq>"
        ))
        .await;
        bosh.expect(&format!(
            "<iq type='result' id='bind'><bind xmlns='{bind}'><jid>{jid}</jid></bind></iq>"
        ))
        .await;
        jid.clone_into(&mut bosh.jid);
        bosh
    }
}
