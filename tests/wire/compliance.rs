//! What the server shows of what it can, a line for each feature that somebody looks for: the suites of XEP-0479
//! (Advanced Server, all categories), and the pages on which Conversations, Gajim and Monal tell their users what their
//! server has. A feature is looked for in the way in which the client does it.
//!
//! What is missing is listed as missing, and the test fails when it is there after all: so the list stays true. It
//! prints the list (`cargo nextest run --no-capture compliance`).

use std::collections::{BTreeMap, BTreeSet};

use tempfile::TempDir;
use testkit::{Client, Server, Stanza, Transport};

use crate::rooms::make;

const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const ITEMS: &str = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
const SM: &str = "urn:xmpp:sm:3";
const PROXY: u16 = 7777;
const ROOM: &str = "coven@conference.example.org";

/// How it is found.
enum Look {
    /// Among the features of the stream before the login.
    Early(&'static str, &'static str),
    /// After it.
    Late(&'static str, &'static str),
    /// Offered with the login by SASL2, or with binding.
    Inline(&'static str),
    /// A mechanism of the login.
    Mechanism(&'static str),
    /// In disco#info of the server.
    Server(&'static str),
    /// In disco#info of the own account.
    Account(&'static str),
    AccountIdentity(&'static str, &'static str),
    ServerIdentity(&'static str, &'static str),
    /// In disco#info of one of the server's items.
    Service(&'static str),
    ServiceIdentity(&'static str, &'static str),
    /// In disco#info of a room that stays.
    Room(&'static str),
    /// The own account answers with a result.
    Answers(&'static str, &'static str),
    /// Somebody logs in over it.
    Transport(Transport),
    /// Found by none of these; the tests of this name show it.
    Shown(&'static str),
}

use Look::{
    Account, AccountIdentity, Answers, Early, Inline, Late, Mechanism, Room, Server as OfServer, ServerIdentity,
    Service, ServiceIdentity, Shown, Transport as Over,
};

struct Row {
    of: &'static str,
    feature: &'static str,
    looks: &'static [Look],
    /// Why it is not there.
    missing: Option<&'static str>,
}

const fn has(of: &'static str, feature: &'static str, looks: &'static [Look]) -> Row {
    Row {
        of,
        feature,
        looks,
        missing: None,
    }
}

const fn lacks(of: &'static str, feature: &'static str, looks: &'static [Look], why: &'static str) -> Row {
    Row {
        of,
        feature,
        looks,
        missing: Some(why),
    }
}

const CORE: &str = "0479 Core";
const WEB: &str = "0479 Web";
const IM: &str = "0479 IM";
const MOBILE: &str = "0479 Mobile";
const CALLS: &str = "0479 A/V Calling";
const CONVERSATIONS: &str = "Conversations";
const GAJIM: &str = "Gajim";
const MONAL: &str = "Monal";

const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
const MUC: &str = "http://jabber.org/protocol/muc";
const UPLOAD: &str = "urn:xmpp:http:upload:0";
const BOOKMARKS: &str = "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>";

const ROWS: &[Row] = &[
    has(
        CORE,
        "Core features, RFC 6120",
        &[
            Early("mechanisms", "urn:ietf:params:xml:ns:xmpp-sasl"),
            Late("bind", "urn:ietf:params:xml:ns:xmpp-bind"),
            ServerIdentity("server", "im"),
        ],
    ),
    has(CORE, "TLS, RFC 7590", &[Over(Transport::Starttls)]),
    has(CORE, "Direct TLS, XEP-0368", &[Over(Transport::Direct)]),
    has(
        CORE,
        "Feature discovery, XEP-0030",
        &[
            OfServer("http://jabber.org/protocol/disco#info"),
            OfServer("http://jabber.org/protocol/disco#items"),
        ],
    ),
    has(
        CORE,
        "Feature broadcasts, XEP-0115",
        &[Late("c", "http://jabber.org/protocol/caps")],
    ),
    has(CORE, "Server extensibility, XEP-0114", &[Shown("components")]),
    has(CORE, "Event publishing, XEP-0163", &[AccountIdentity("pubsub", "pep")]),
    has(
        WEB,
        "Web connection mechanisms, RFC 7395",
        &[Over(Transport::WebSocket)],
    ),
    has(WEB, "Web connection mechanisms, XEP-0206", &[Over(Transport::Bosh)]),
    has(
        WEB,
        "Connection mechanism discovery, XEP-0156",
        &[Shown("websocket::host_meta")],
    ),
    has(
        IM,
        "Core features, RFC 6121",
        &[
            Late("ver", "urn:xmpp:features:rosterver"),
            Late("sub", "urn:xmpp:features:pre-approval"),
            Answers("get", "<query xmlns='jabber:iq:roster'/>"),
        ],
    ),
    has(
        IM,
        "User avatar compatibility, XEP-0398 and XEP-0153",
        &[Account("urn:xmpp:pep-vcard-conversion:0")],
    ),
    has(
        IM,
        "vcard-temp, XEP-0054",
        &[OfServer("vcard-temp"), Answers("get", "<vCard xmlns='vcard-temp'/>")],
    ),
    has(
        IM,
        "Outbound message synchronization, XEP-0280",
        &[
            OfServer("urn:xmpp:carbons:2"),
            Answers("set", "<enable xmlns='urn:xmpp:carbons:2'/>"),
        ],
    ),
    has(
        IM,
        "User blocking, XEP-0191",
        &[
            OfServer("urn:xmpp:blocking"),
            Answers("get", "<blocklist xmlns='urn:xmpp:blocking'/>"),
        ],
    ),
    has(
        IM,
        "Group chat, XEP-0045",
        &[Service(MUC), ServiceIdentity("conference", "text"), Room(MUC)],
    ),
    has(IM, "Group chat, XEP-0249", &[Shown("rooms::occupant")]),
    has(IM, "Advanced group chat, XEP-0048", &[Answers("get", BOOKMARKS)]),
    has(IM, "Advanced group chat, XEP-0313 of rooms", &[Room("urn:xmpp:mam:2")]),
    has(
        IM,
        "Advanced group chat, XEP-0402",
        &[Account("urn:xmpp:bookmarks:1#compat")],
    ),
    has(
        IM,
        "Advanced group chat, XEP-0410",
        &[Room("http://jabber.org/protocol/muc#self-ping-optimization")],
    ),
    has(
        IM,
        "Persistent storage of private data via PubSub, XEP-0223",
        &[
            Account("http://jabber.org/protocol/pubsub#persistent-items"),
            Account("http://jabber.org/protocol/pubsub#publish-options"),
            Account("http://jabber.org/protocol/pubsub#access-whitelist"),
        ],
    ),
    has(IM, "Private XML storage, XEP-0049", &[Answers("get", BOOKMARKS)]),
    has(IM, "Stream management, XEP-0198", &[Late("sm", SM)]),
    has(
        IM,
        "History storage and retrieval, XEP-0313",
        &[
            Account("urn:xmpp:mam:2"),
            Answers("set", "<query xmlns='urn:xmpp:mam:2'/>"),
        ],
    ),
    has(IM, "File upload, XEP-0363", &[Service(UPLOAD)]),
    has(MOBILE, "Stream management, XEP-0198", &[Late("sm", SM)]),
    has(
        MOBILE,
        "Client state indication, XEP-0352",
        &[Late("csi", "urn:xmpp:csi:0")],
    ),
    has(
        MOBILE,
        "Third party push notifications, XEP-0357",
        &[Account("urn:xmpp:push:0")],
    ),
    has(
        CALLS,
        "STUN/TURN server discovery, XEP-0215",
        &[OfServer("urn:xmpp:extdisco:2")],
    ),
    has(CONVERSATIONS, "XEP-0313", &[Account("urn:xmpp:mam:2")]),
    has(
        CONVERSATIONS,
        "XEP-0421",
        &[Service("urn:xmpp:occupant-id:0"), Room("urn:xmpp:occupant-id:0")],
    ),
    has(
        CONVERSATIONS,
        "XEP-0425",
        &[
            Service("urn:xmpp:message-moderate:1"),
            Room("urn:xmpp:message-moderate:1"),
        ],
    ),
    has(CONVERSATIONS, "XEP-0280", &[OfServer("urn:xmpp:carbons:2")]),
    has(CONVERSATIONS, "XEP-0352", &[Late("csi", "urn:xmpp:csi:0")]),
    has(CONVERSATIONS, "XEP-0191", &[OfServer("urn:xmpp:blocking")]),
    has(CONVERSATIONS, "XEP-0237", &[Late("ver", "urn:xmpp:features:rosterver")]),
    has(CONVERSATIONS, "XEP-0198", &[Late("sm", SM)]),
    has(CONVERSATIONS, "XEP-0215", &[OfServer("urn:xmpp:extdisco:2")]),
    has(
        CONVERSATIONS,
        "XEP-0163",
        &[
            AccountIdentity("pubsub", "pep"),
            Account("http://jabber.org/protocol/pubsub#persistent-items"),
            Account("http://jabber.org/protocol/pubsub#publish-options"),
        ],
    ),
    has(
        CONVERSATIONS,
        "XEP-0163, bookmarks and avatars",
        &[
            Account("urn:xmpp:bookmarks:1#compat"),
            Account("urn:xmpp:pep-vcard-conversion:0"),
        ],
    ),
    has(CONVERSATIONS, "XEP-0363", &[Service(UPLOAD)]),
    has(CONVERSATIONS, "XEP-0386", &[Inline("urn:xmpp:bind:0")]),
    has(CONVERSATIONS, "XEP-0388", &[Early("authentication", "urn:xmpp:sasl:2")]),
    has(CONVERSATIONS, "XEP-0357", &[Account("urn:xmpp:push:0")]),
    has(GAJIM, "XEP-0045", &[Service(MUC)]),
    has(GAJIM, "XEP-0054", &[OfServer("vcard-temp")]),
    has(GAJIM, "XEP-0077", &[OfServer("jabber:iq:register")]),
    has(GAJIM, "XEP-0163", &[AccountIdentity("pubsub", "pep")]),
    has(
        GAJIM,
        "XEP-0163 #publish-options",
        &[Account("http://jabber.org/protocol/pubsub#publish-options")],
    ),
    has(GAJIM, "XEP-0191", &[OfServer("urn:xmpp:blocking")]),
    has(GAJIM, "XEP-0198", &[Late("sm", SM)]),
    lacks(
        GAJIM,
        "XEP-0258",
        &[OfServer("urn:xmpp:sec-label:0")],
        "security labels are for organisations that classify documents: nothing for a club, and no open issue asks for them",
    ),
    has(GAJIM, "XEP-0280", &[OfServer("urn:xmpp:carbons:2")]),
    has(GAJIM, "XEP-0313", &[Account("urn:xmpp:mam:2")]),
    has(GAJIM, "XEP-0363", &[Service(UPLOAD)]),
    has(GAJIM, "XEP-0398", &[Account("urn:xmpp:pep-vcard-conversion:0")]),
    has(GAJIM, "XEP-0411", &[Account("urn:xmpp:bookmarks-conversion:0")]),
    has(
        GAJIM,
        "XEP-0402",
        &[
            Account("http://jabber.org/protocol/pubsub#publish-options"),
            Account("http://jabber.org/protocol/pubsub#config-node-max"),
            Account("urn:xmpp:bookmarks:1#compat"),
            Account("urn:xmpp:bookmarks:1#compat-pep"),
        ],
    ),
    has(MONAL, "XEP-0163", &[AccountIdentity("pubsub", "pep")]),
    has(MONAL, "XEP-0191", &[OfServer("urn:xmpp:blocking")]),
    has(MONAL, "XEP-0198", &[Late("sm", SM)]),
    has(MONAL, "XEP-0199", &[OfServer("urn:xmpp:ping")]),
    has(MONAL, "XEP-0215", &[OfServer("urn:xmpp:extdisco:2")]),
    has(MONAL, "XEP-0237", &[Late("ver", "urn:xmpp:features:rosterver")]),
    has(MONAL, "XEP-0280", &[OfServer("urn:xmpp:carbons:2")]),
    has(MONAL, "XEP-0313", &[Account("urn:xmpp:mam:2")]),
    has(MONAL, "XEP-0352", &[Late("csi", "urn:xmpp:csi:0")]),
    has(MONAL, "XEP-0357", &[Account("urn:xmpp:push:0")]),
    has(MONAL, "XEP-0363", &[Service(UPLOAD)]),
    has(
        MONAL,
        "Roster pre-approval, RFC 6121",
        &[Late("sub", "urn:xmpp:features:pre-approval")],
    ),
    has(
        MONAL,
        "XEP-0474",
        &[Shown("login::downgrade"), Mechanism("SCRAM-SHA-256-PLUS")],
    ),
    // What other clients look for, and those above besides.
    has(
        "others",
        "PubSub service, XEP-0060",
        &[ServiceIdentity("pubsub", "service"), Service(PUBSUB)],
    ),
    has(
        "others",
        "SOCKS5 bytestreams, XEP-0065",
        &[
            ServiceIdentity("proxy", "bytestreams"),
            Service("http://jabber.org/protocol/bytestreams"),
        ],
    ),
    has(
        "others",
        "Commands, XEP-0050",
        &[OfServer("http://jabber.org/protocol/commands")],
    ),
    has(
        "others",
        "Spam reporting, XEP-0377",
        &[OfServer("urn:xmpp:reporting:1")],
    ),
    has("others", "Stanza ids, XEP-0359", &[Account("urn:xmpp:sid:0")]),
    has("others", "FAST, XEP-0484", &[Inline("urn:xmpp:fast:0")]),
];

/// What one look at everything has found.
struct Found {
    early: Stanza,
    late: Stanza,
    server: BTreeSet<String>,
    account: BTreeSet<String>,
    services: BTreeSet<String>,
    room: BTreeSet<String>,
    answers: BTreeMap<(&'static str, &'static str), bool>,
    /// Over which somebody has logged in.
    transports: Vec<Transport>,
}

/// Features as they are, identities as `category/type`.
async fn told(client: &mut Client, address: &str) -> BTreeSet<String> {
    let answer = client.iq("get", address, INFO).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
    let query = answer
        .get_child("query", "http://jabber.org/protocol/disco#info")
        .expect("a query");
    let one = |child: &minidom::Element| match child.name() {
        "feature" => child.attr("var").map(str::to_owned),
        "identity" => Some(format!("{}/{}", child.attr("category")?, child.attr("type")?)),
        _ => None,
    };
    query.children().filter_map(one).collect()
}

async fn look(server: &Server) -> Found {
    let jid = server.user();
    let opened = Client::opened(server, Transport::Direct).await;
    let early = opened.features.clone().expect("features");
    let mut client = Client::login(server, Transport::Direct, &jid).await;
    let late = client.features.clone().expect("features");
    let mut transports = Vec::new();
    for transport in Transport::EVERY {
        Client::login(server, transport, &server.user()).await.close().await;
        transports.push(transport);
    }
    let mut services = BTreeSet::new();
    let items = client.iq("get", "example.org", ITEMS).await;
    let items = items
        .get_child("query", "http://jabber.org/protocol/disco#items")
        .expect("a query");
    let addresses: Vec<String> = items
        .children()
        .filter_map(|item| item.attr("jid"))
        .map(str::to_owned)
        .collect();
    for address in addresses {
        services.extend(told(&mut client, &address).await);
    }
    make(&mut client, ROOM, "nick", &["persistentroom=1"]).await;
    let mut answers = BTreeMap::new();
    for row in ROWS {
        for look in row.looks {
            if let Answers(kind, payload) = look {
                let answer = client.iq(kind, "", payload).await;
                answers.insert((*kind, *payload), answer.get("type") == "result");
            }
        }
    }
    Found {
        early,
        late,
        server: told(&mut client, "example.org").await,
        account: told(&mut client, &jid).await,
        services,
        room: told(&mut client, ROOM).await,
        answers,
        transports,
    }
}

impl Found {
    fn has(&self, look: &Look) -> bool {
        let identity = |set: &BTreeSet<String>, category: &str, kind: &str| set.contains(&format!("{category}/{kind}"));
        match look {
            Early(name, ns) => self.early.has_child(name, *ns),
            Late(name, ns) => self.late.has_child(name, *ns),
            Inline(ns) => {
                self.early.raw().contains(&format!("xmlns='{ns}'")) || self.early.raw().contains(&format!("var='{ns}'"))
            }
            Mechanism(name) => self.early.raw().contains(&format!("<mechanism>{name}</mechanism>")),
            OfServer(var) => self.server.contains(*var),
            Account(var) => self.account.contains(*var),
            Service(var) => self.services.contains(*var),
            Room(var) => self.room.contains(*var),
            AccountIdentity(category, kind) => identity(&self.account, category, kind),
            ServerIdentity(category, kind) => identity(&self.server, category, kind),
            ServiceIdentity(category, kind) => identity(&self.services, category, kind),
            Answers(kind, payload) => self.answers[&(*kind, *payload)],
            Over(transport) => self.transports.contains(transport),
            Shown(_) => true,
        }
    }
}

/// With what only an operator can know: where calls are relayed, and at which port the proxy may be.
fn server(folder: &TempDir) -> Server {
    let secret = folder.path().join("turn.secret");
    std::fs::write(&secret, "a secret of both\n").expect("written");
    let secret = secret.display();
    Server::builder()
        .users(1 + Transport::EVERY.len())
        .bytestreams(PROXY)
        .toml(&format!(
            "[[external]]\nkind = 'turn'\nhost = 'turn.example.org'\nsecret_file = '{secret}'\n"
        ))
        .start()
}

/// And which tests show it, where nobody can look for it.
fn passes(row: &Row) -> String {
    let shown = row.looks.iter().find_map(|look| match look {
        Shown(tests) => Some(*tests),
        _ => None,
    });
    match shown {
        Some(tests) => format!("passes; see the tests {tests}"),
        None => "passes".to_owned(),
    }
}

#[tokio::test]
async fn compliance() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = server(&folder);
    let found = look(&server).await;
    let mut wrong = Vec::new();
    for row in ROWS {
        let is_there = row.looks.iter().all(|look| found.has(look));
        let state = match row.missing {
            None if is_there => passes(row),
            Some(why) if !is_there => format!("missing: {why}"),
            None => "NOT FOUND".to_owned(),
            Some(_) => "FOUND, and listed as missing".to_owned(),
        };
        println!("compliance | {} | {} | {state}", row.of, row.feature);
        if is_there == row.missing.is_some() {
            wrong.push(format!("{} {}: {state}", row.of, row.feature));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}
