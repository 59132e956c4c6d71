//! A [`crate::Client`]'s stream over BOSH, so that what a test says to a stream goes that way too: what it sends is cut
//! into elements, which go in requests; what the responses carry is told as a stream's. A header begins a session or a
//! new stream of it (XEP-0206 sections 3 and 5), the closing tag ends it (XEP-0124 section 13), and a session that has
//! ended is the end of the stream and of its connection.
//!
//! A task holds the two connections of HTTP, since a request waits for its response while the test goes on.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use crate::Server;
use crate::bosh::{CREATION, HttpAnswer, Line, NS_BOSH, Wrapper};
use crate::client::{ConnectOptions, TIMEOUT};
use crate::reader::{Header, Item, Reader};
use crate::stanza::NS_STREAM;
use crate::websocket::alone;

/// Told and not read; what comes beyond waits.
const DOWN_BYTES: usize = 64 * 1024;
/// What is sent meanwhile goes in one request up to this, and then in a further one.
const REQUEST_BYTES: usize = 64 * 1024;
/// The first request id.
const FIRST_RID: u64 = 1_573_741_820;

enum Up {
    /// What follows is a new stream.
    Restart,
    Bytes(Vec<u8>),
    /// The content of a request, whatever it is.
    Whole(Vec<u8>),
    /// Both connections are cut, and nothing is said to the session.
    Cut,
}

/// The test's end.
pub(crate) struct Carried {
    /// Without a limit: it is in memory already, and nothing is ever made here.
    up: UnboundedSender<Up>,
    down: DuplexStream,
    condition: Arc<OnceLock<String>>,
}

impl Carried {
    pub(crate) async fn connect(server: &Server, options: &ConnectOptions) -> io::Result<Carried> {
        let lines = [
            Line::open_with(server, options.clone()).await?,
            Line::open_with(server, options.clone()).await?,
        ];
        let (up, requests) = unbounded_channel();
        let (down, told) = duplex(DOWN_BYTES);
        let condition = Arc::new(OnceLock::new());
        let carrier = Carrier {
            lines,
            came: [None, None],
            asked: VecDeque::new(),
            due: VecDeque::new(),
            outgoing: Some(Reader::new()),
            sid: String::new(),
            authid: String::new(),
            from: String::new(),
            is_cut: false,
            rid: FIRST_RID,
            down: told,
            condition: Arc::clone(&condition),
        };
        tokio::spawn(carrier.run(requests));
        Ok(Carried { up, down, condition })
    }

    pub(crate) fn restart(&mut self) {
        // A session that has ended does not begin again.
        let _ = self.up.send(Up::Restart);
    }

    /// Sends the content of one request as it is.
    pub(crate) fn send_whole(&mut self, bytes: &[u8]) {
        let _ = self.up.send(Up::Whole(bytes.to_vec()));
    }

    /// The connections are cut; the session is left to its time.
    pub(crate) fn cut(&self) {
        let _ = self.up.send(Up::Cut);
    }

    pub(crate) fn condition(&self) -> Option<&str> {
        self.condition.get().map(String::as_str)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.up.send(Up::Bytes(bytes.to_vec()));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.down).poll_read(cx, buf)
    }
}

/// A request to be made.
struct Due {
    attributes: String,
    payload: Vec<u8>,
    /// More may go with it.
    is_open: bool,
    restarts: bool,
}

struct Carrier {
    lines: [Line; 2],
    /// Answers whose turn has not come.
    came: [Option<HttpAnswer>; 2],
    /// The connections whose requests are not answered, the oldest first.
    asked: VecDeque<usize>,
    due: VecDeque<Due>,
    /// What was sent, cut. None once it was no XML.
    outgoing: Option<Reader>,
    /// Empty before there is a session.
    sid: String,
    authid: String,
    from: String,
    /// The test wants no end in good order.
    is_cut: bool,
    /// The id of the next request.
    rid: u64,
    down: DuplexStream,
    condition: Arc<OnceLock<String>>,
}

/// The session has ended, or there is nobody to tell of it.
struct Over;

impl Carrier {
    async fn run(mut self, mut up: UnboundedReceiver<Up>) {
        while self.step(&mut up).await.is_ok() {}
        if self.is_cut {
            self.lines.into_iter().for_each(Line::cut);
        }
    }

    async fn step(&mut self, up: &mut UnboundedReceiver<Up>) -> Result<(), Over> {
        self.ask().await?;
        let waits = [0, 1].map(|line| self.asked.contains(&line) && self.came[line].is_none());
        let [first, second] = &mut self.lines;
        tokio::select! {
            answer = first.read_answer(), if waits[0] => self.came[0] = Some(answer.ok_or(Over)?),
            answer = second.read_answer(), if waits[1] => self.came[1] = Some(answer.ok_or(Over)?),
            sent = up.recv() => match sent {
                Some(Up::Restart) => self.outgoing = Some(Reader::new()),
                Some(Up::Bytes(bytes)) => self.cut(&bytes),
                Some(Up::Whole(bytes)) => self.due.push_back(Due::of(String::new(), bytes)),
                Some(Up::Cut) => {
                    self.is_cut = true;
                    return Err(Over);
                }
                None => return self.leave().await,
            },
        }
        // Responses come in the order of the requests, but for one that was refused without being looked at.
        while let Some(line) = self.asked.iter().position(|line| {
            let came = self.came[*line].as_ref().map(HttpAnswer::wrapper);
            came.is_some_and(|wrapper| {
                self.asked.front() == Some(line)
                    || ["bad-request", "policy-violation"].contains(&wrapper.get("condition"))
            })
        }) {
            let line = self.asked.remove(line).ok_or(Over)?;
            let wrapper = self.came[line].take().ok_or(Over)?.wrapper();
            // Overtaken by one that has ended the session, which tells why.
            if wrapper.get("condition") == "item-not-found" && !self.asked.is_empty() {
                continue;
            }
            self.tell(&wrapper).await?;
        }
        Ok(())
    }

    /// Makes the requests that may be made: of two one is held, and the other carries what is sent.
    async fn ask(&mut self) -> Result<(), Over> {
        loop {
            let room = if self.sid.is_empty() { 1 } else { 2 };
            let free = [0, 1].into_iter().find(|line| !self.asked.contains(line));
            let (Some(line), true) = (free, self.asked.len() < room) else {
                return Ok(());
            };
            let due = match self.due.pop_front() {
                Some(due) => due,
                // Something has to wait for what the server has to say.
                None if self.asked.is_empty() && !self.sid.is_empty() => Due::of(String::new(), Vec::new()),
                None => return Ok(()),
            };
            if due.restarts {
                self.tell_header().await?;
            }
            let (rid, sid) = (self.rid, &self.sid);
            let session = if sid.is_empty() {
                String::new()
            } else {
                format!("sid='{sid}' ")
            };
            let mut body = format!(
                "<body rid='{rid}' {session}{} xmlns='{NS_BOSH}' xmlns:stream='{NS_STREAM}'>",
                due.attributes
            )
            .into_bytes();
            body.extend_from_slice(&due.payload);
            body.extend_from_slice(b"</body>");
            self.rid += 1;
            self.asked.push_back(line);
            // One that is too long is answered before it was read.
            self.lines[line].try_ask(&body).await;
        }
    }

    /// Makes requests of what was sent.
    fn cut(&mut self, bytes: &[u8]) {
        let mut items = VecDeque::new();
        let read = self.outgoing.as_mut().map(|outgoing| outgoing.feed(bytes, &mut items));
        if !matches!(read, Some(Ok(()))) {
            // What is no XML goes as it is.
            self.outgoing = None;
            let attributes = if self.sid.is_empty() { CREATION } else { "" };
            self.due.push_back(Due::of(attributes.to_owned(), bytes.to_vec()));
            return;
        }
        for item in items {
            match item {
                Item::Header(header) => {
                    let is_first = self.sid.is_empty();
                    self.due.push_back(Due {
                        restarts: !is_first,
                        ..Due::of(opening(&header, is_first), Vec::new())
                    });
                }
                Item::Stanza(stanza) => {
                    let text = alone(stanza.raw());
                    match self.due.back_mut() {
                        Some(last) if last.is_open && last.payload.len() + text.len() <= REQUEST_BYTES => {
                            last.payload.extend_from_slice(text.as_bytes());
                        }
                        _ => self.due.push_back(Due {
                            is_open: true,
                            ..Due::of(String::new(), text.into_bytes())
                        }),
                    }
                }
                Item::Close => self.due.push_back(Due::of("type='terminate'".to_owned(), Vec::new())),
                // Long polling does without keepalives.
                Item::Space(_) | Item::End { .. } => {}
            }
        }
    }

    /// Tells what a response says.
    async fn tell(&mut self, wrapper: &Wrapper) -> Result<(), Over> {
        let kind = wrapper.get("type");
        assert!(
            ["", "terminate"].contains(&kind),
            "nothing was asked twice: {wrapper:?}"
        );
        assert!(
            wrapper.payloads().iter().all(|payload| payload.ns() != NS_BOSH),
            "a payload has no namespace of its own: {wrapper:?}"
        );
        if self.authid.is_empty() && !wrapper.get("authid").is_empty() {
            self.sid = wrapper.get("sid").to_owned();
            self.authid = wrapper.get("authid").to_owned();
            self.from = wrapper.get("from").to_owned();
            self.tell_header().await?;
        }
        self.tell_text(wrapper.inner()).await?;
        if kind.is_empty() {
            return Ok(());
        }
        // Before the end is seen.
        let _ = self.condition.set(wrapper.get("condition").to_owned());
        if !self.authid.is_empty() {
            self.tell_text("</stream:stream>").await?;
        }
        Err(Over)
    }

    /// The header that the session stands for.
    async fn tell_header(&mut self) -> Result<(), Over> {
        let (id, from) = (&self.authid, &self.from);
        let header = format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{NS_STREAM}' version='1.0' \
             id='{id}' from='{from}'>"
        );
        self.tell_text(&header).await
    }

    async fn tell_text(&mut self, text: &str) -> Result<(), Over> {
        self.down.write_all(text.as_bytes()).await.map_err(|_| Over)
    }

    /// The test has dropped its client; what ends with a connection ends with the session.
    async fn leave(&mut self) -> Result<(), Over> {
        self.due.clear();
        self.due.push_back(Due::of("type='terminate'".to_owned(), Vec::new()));
        if !self.sid.is_empty() {
            self.ask().await?;
            if let Some(line) = self.asked.back() {
                let _ = timeout(TIMEOUT, self.lines[*line].read_answer()).await;
            }
        }
        Err(Over)
    }
}

impl Due {
    fn of(attributes: String, payload: Vec<u8>) -> Due {
        Due {
            attributes,
            payload,
            is_open: false,
            restarts: false,
        }
    }
}

/// A stream header as attributes of a request.
fn opening(header: &Header, is_first: bool) -> String {
    let mut out = if is_first {
        "wait='60' hold='1' ver='1.6' xmlns:xmpp='urn:xmpp:xbosh'".to_owned()
    } else {
        "xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'".to_owned()
    };
    for (name, own) in [
        ("to", "to"),
        ("from", "from"),
        ("xml:lang", "xml:lang"),
        ("version", "xmpp:version"),
    ] {
        if let Some(value) = header.attr(name) {
            let value = value.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;");
            out.push_str(&format!(" {own}='{value}'"));
        }
    }
    out
}
