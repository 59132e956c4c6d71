//! XMPP over BOSH (XEP-0124, XEP-0206): the stream in bodies of HTTP requests and responses.
//!
//! A session is a socket ([`socket`]): behind it is an ordinary `c2s::Connection`, with the same stream, limits and
//! errors as over TCP. [`session`] knows the rules of requests and responses, [`request`] reads what clients send,
//! [`output`] turns what the stream writes into what responses carry.
//!
//! What was written into a response counts as delivered. If its connection breaks it is there for whoever repeats the
//! request; what is lost beyond that is stream management's affair.

mod output;
mod request;
mod session;
mod socket;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ::session::StreamConfig;
use c2s::Service;
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Request as HttpRequest, StatusCode};
use tokio::time::Instant;

use self::request::Request;
use self::session::{Arrival, Session, Terms};
use self::socket::{SessionSocket, with_scratch};
use crate::answer::{self, Answer};
use crate::proxy::Client;

const HTTP_BIND: &str = "http://jabber.org/protocol/httpbind";
const XBOSH: &str = "urn:xmpp:xbosh";
/// The version that we speak.
const VERSION: (u32, u32) = (1, 11);
/// The longest time for which a request is held, and what clients get that say nothing.
const MOST_WAIT: u64 = 60;
/// How many requests of a session are held at most; clients get what they want up to it, and 1 if they say nothing.
const MOST_HOLD: u64 = 2;
/// Requests without content that come sooner one after the other are too many.
const POLLING: Duration = Duration::from_secs(5);
/// By how much a client that polls may be silent for longer than others.
const POLLING_INACTIVITY: Duration = Duration::from_secs(15);
/// The longest pause (section 10).
const MOST_PAUSE: Duration = Duration::from_secs(120);
/// Bytes of a request beside a stanza.
const WRAPPER: usize = 4096;
/// How long the beginning of a body that is too long may take.
const BEGINNING: Duration = Duration::from_secs(1);
/// How often a request may be asked for again before another comes (section 14.3): each time costs its whole response.
const MOST_REPETITIONS: u32 = 16;
/// How often it is looked whose time is over.
const SWEEP: Duration = Duration::from_secs(1);
const XML: HeaderValue = HeaderValue::from_static("text/xml; charset=utf-8");

/// Why a session ends (section 17.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    BadRequest,
    ItemNotFound,
    PolicyViolation,
    RemoteConnectionFailed,
    RemoteStreamError,
}

impl Condition {
    fn attributes(self) -> String {
        let name = match self {
            Condition::BadRequest => "bad-request",
            Condition::ItemNotFound => "item-not-found",
            Condition::PolicyViolation => "policy-violation",
            Condition::RemoteConnectionFailed => "remote-connection-failed",
            Condition::RemoteStreamError => "remote-stream-error",
        };
        format!(" type='terminate' condition='{name}'")
    }

    fn body(self) -> String {
        format!("<body xmlns='{HTTP_BIND}'{}/>", self.attributes())
    }

    /// For clients from before there were conditions (section 17.1).
    fn status(self) -> StatusCode {
        match self {
            Condition::BadRequest => StatusCode::BAD_REQUEST,
            Condition::PolicyViolation => StatusCode::FORBIDDEN,
            Condition::ItemNotFound => StatusCode::NOT_FOUND,
            Condition::RemoteConnectionFailed | Condition::RemoteStreamError => StatusCode::OK,
        }
    }
}

/// What a request came to.
pub(crate) struct Response {
    pub(crate) answer: Answer,
    /// It belongs to a session in which somebody has logged in.
    pub(crate) is_logged_in: bool,
    /// There may be more of it on the connection.
    pub(crate) is_cut: bool,
}

/// The sessions of one port.
pub(crate) struct Bosh {
    stream: Arc<StreamConfig>,
    inactivity: Duration,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    sessions: HashMap<Box<str>, Arc<Session>>,
    /// A task looks after them.
    is_swept: bool,
}

impl Bosh {
    pub(crate) fn new(stream: Arc<StreamConfig>, inactivity: Duration) -> Arc<Bosh> {
        Arc::new(Bosh {
            stream,
            inactivity,
            table: Mutex::default(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session that requests like this may use. Section 18.1: those of a session that began under TLS come under TLS.
    fn session(&self, sid: &str, client: Client) -> Option<Arc<Session>> {
        let session = self.table().sessions.get(sid).map(Arc::clone)?;
        (session.terms.is_secured == client.is_secured && !session.is_over()).then_some(session)
    }

    /// Ends the session of a request that is wrong as a whole (section 17.2), where that could be read.
    fn end(&self, condition: Condition, sid: Option<String>, client: Client) -> Answer {
        let session = sid.and_then(|sid| self.session(&sid, client));
        if let Some(session) = &session {
            session.fail(condition, Instant::now());
        }
        refuse(condition, session.as_deref())
    }

    fn limit(&self) -> usize {
        self.stream.after_login.bytes.saturating_add(WRAPPER)
    }

    /// Answers a POST.
    pub(crate) async fn respond(
        self: &Arc<Bosh>,
        service: &Arc<Service>,
        request: HttpRequest<Incoming>,
        client: Client,
        patience: Duration,
    ) -> Response {
        let cut = |answer| Response {
            answer,
            is_logged_in: false,
            is_cut: true,
        };
        let body = match tokio::time::timeout(patience, collect(request.into_body(), self.limit())).await {
            Ok(Ok(Collected::Whole(body))) => body,
            Ok(Ok(Collected::TooLong(beginning))) => {
                let limits = &self.stream.after_login;
                let sid = with_scratch(|scratch| request::session_of(&beginning, scratch, limits));
                return cut(self.end(Condition::PolicyViolation, sid, client));
            }
            // Nobody reads the answer.
            Ok(Err(_)) => return cut(answer::empty(StatusCode::BAD_REQUEST)),
            Err(_) => {
                return cut(answer::refusal(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request took too long",
                ));
            }
        };
        let read = with_scratch(|scratch| request::read(&body, scratch, &self.stream.after_login));
        drop(body);
        let refused = |answer| Response {
            answer,
            is_logged_in: false,
            is_cut: false,
        };
        let request = match read {
            Ok(request) => request,
            Err(fault) => {
                let condition = match fault.is_limit {
                    true => Condition::PolicyViolation,
                    false => Condition::BadRequest,
                };
                return refused(self.end(condition, fault.sid, client));
            }
        };
        let found = match &request.sid {
            Some(sid) => self.session(sid, client),
            None => self.begin(service, &request, client),
        };
        let Some(session) = found else {
            let condition = match request.sid {
                Some(_) => Condition::ItemNotFound,
                None => Condition::PolicyViolation,
            };
            return refused(refuse(condition, None));
        };
        let arrival = match request.sid {
            Some(_) => session.arrive(request, Instant::now()),
            None => session.begin(request, Instant::now()),
        };
        let answer = match arrival {
            Arrival::Refused(condition) => refuse(condition, Some(&session)),
            Arrival::Answered(bytes) => carry(bytes, &session),
            Arrival::Waits(ticket) => {
                let bytes = session.response(&ticket).await;
                drop(ticket);
                carry(bytes, &session)
            }
        };
        Response {
            answer,
            is_logged_in: session.is_logged_in(),
            is_cut: false,
        }
    }

    /// Makes a session, and the connection behind it. None where a limit is reached.
    fn begin(self: &Arc<Bosh>, service: &Arc<Service>, request: &Request, client: Client) -> Option<Arc<Session>> {
        let terms = agree(request, self.inactivity, client.is_secured, 2 * self.limit());
        let mut sid = [0; 16];
        // The system's generator fails only where the system cannot run at all.
        getrandom::fill(&mut sid).expect("the system has random numbers");
        let sid = session::hex(&sid);
        let mut greeting = format!(
            " sid='{sid}' wait='{}' requests='{}' hold='{}' inactivity='{}' polling='{}' maxpause='{}'",
            terms.wait.as_secs(),
            terms.requests,
            terms.hold,
            terms.inactivity.as_secs(),
            POLLING.as_secs(),
            MOST_PAUSE.as_secs(),
        );
        if let Some(ver) = request.ver {
            let (major, minor) = ver.min(VERSION);
            greeting.push_str(&format!(" ver='{major}.{minor}'"));
        }
        let session = Arc::new(Session::new(
            terms,
            request.rid,
            request.new_key.clone(),
            greeting,
            Instant::now(),
        ));
        let socket = SessionSocket(Arc::clone(&session));
        let connection = c2s::admit_carried(
            service,
            Arc::clone(&self.stream),
            client.is_secured,
            socket,
            client.address,
        )?;
        tokio::spawn(connection);
        let mut table = self.table();
        table.sessions.insert(sid.into(), Arc::clone(&session));
        if !table.is_swept {
            table.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        Some(session)
    }
}

/// What a session is agreed on (sections 7.1 and 7.2). `inactivity`: what may be without a request, if it does not poll.
fn agree(request: &Request, inactivity: Duration, is_secured: bool, input_bytes: usize) -> Terms {
    let wait = request.wait.unwrap_or(MOST_WAIT).min(MOST_WAIT);
    let hold = request.hold.unwrap_or(1).min(MOST_HOLD);
    let is_polling = wait == 0 || hold == 0;
    let hold = if is_polling { 0 } else { hold as usize };
    Terms {
        wait: Duration::from_secs(wait),
        hold,
        requests: hold + 1,
        inactivity: match is_polling {
            true => inactivity + POLLING_INACTIVITY,
            false => inactivity,
        },
        is_polling,
        has_ver: request.ver.is_some(),
        has_acks: request.ack == Some(1),
        content: content(request.content.as_deref()),
        is_secured,
        to: request.to.clone(),
        lang: request.lang.clone(),
        input_bytes,
    }
}

/// Ends sessions whose clients are gone, and forgets those that have ended, while there are any.
async fn sweep(bosh: Weak<Bosh>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(bosh) = bosh.upgrade() else { return };
        let all: Vec<_> = bosh
            .table()
            .sessions
            .iter()
            .map(|(sid, session)| (sid.clone(), Arc::clone(session)))
            .collect();
        let now = Instant::now();
        let over: Vec<_> = all.into_iter().filter(|(_, session)| session.expire(now)).collect();
        let mut table = bosh.table();
        for (sid, _) in &over {
            table.sessions.remove(sid);
        }
        if table.sessions.is_empty() {
            *table = Table::default();
            return;
        }
    }
}

/// The body of a request.
enum Collected {
    Whole(Vec<u8>),
    /// What it begins with.
    TooLong(Vec<u8>),
}

/// Reads a body, up to where it is longer than `limit`.
async fn collect(mut body: Incoming, limit: usize) -> hyper::Result<Collected> {
    let is_announced = body.size_hint().lower() > limit as u64;
    let mut bytes = Vec::new();
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx));
        let frame = match is_announced {
            // No more of it is read than comes with the head, to know whose it is.
            true => match tokio::time::timeout(BEGINNING, frame).await {
                Ok(frame) => frame,
                Err(_) => return Ok(Collected::TooLong(bytes)),
            },
            false => frame.await,
        };
        let Some(frame) = frame else {
            return Ok(Collected::Whole(bytes));
        };
        let Ok(data) = frame?.into_data() else { continue };
        let room = limit - bytes.len();
        bytes.extend_from_slice(&data[..data.len().min(room)]);
        if is_announced || data.len() > room {
            return Ok(Collected::TooLong(bytes));
        }
    }
}

/// The type that a client wants of responses (section 7.1). Not every: as a page of HTML what others say would be
/// run by a browser.
fn content(wanted: Option<&str>) -> HeaderValue {
    let is_harmless = |content: &&str| {
        let kind = content.split(';').next().unwrap_or_default().trim();
        ["text/xml", "application/xml", "text/plain"]
            .iter()
            .any(|harmless| kind.eq_ignore_ascii_case(harmless))
    };
    wanted
        .filter(is_harmless)
        .and_then(|content| HeaderValue::from_str(content).ok())
        .unwrap_or(XML)
}

fn carry(bytes: Bytes, session: &Session) -> Answer {
    let mut answer = answer::of(bytes);
    answer.headers_mut().insert(CONTENT_TYPE, session.terms.content.clone());
    answer
}

/// Says that there is no such session, any more.
fn refuse(condition: Condition, session: Option<&Session>) -> Answer {
    if session.is_some_and(|session| !session.terms.has_ver) && condition.status() != StatusCode::OK {
        return answer::empty(condition.status());
    }
    let mut answer = answer::of(condition.body().into());
    answer.headers_mut().insert(CONTENT_TYPE, XML);
    answer
}
