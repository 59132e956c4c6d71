//! Reading message archives (XEP-0313) with result set management (XEP-0059).

use minidom::Element;

use crate::Client;
use crate::client::TIMEOUT;
use crate::reader::Item;
use crate::stanza::Stanza;

/// Of the archive.
pub const NS_MAM: &str = "urn:xmpp:mam:2";
/// Of result set management.
pub const NS_RSM: &str = "http://jabber.org/protocol/rsm";
/// Of `<stanza-id/>` and `<origin-id/>`.
pub const NS_SID: &str = "urn:xmpp:sid:0";
const NS_FORWARD: &str = "urn:xmpp:forward:0";
const NS_DELAY: &str = "urn:xmpp:delay";

/// Pages that [`Client::whole_archive`] reads at most.
const PAGES: usize = 1_000;

/// A query. What is not said is not sent.
#[derive(Clone, Debug, Default)]
pub struct ArchiveQuery {
    to: String,
    fields: Vec<(String, Vec<String>)>,
    rsm: Option<String>,
    flip: bool,
}

impl ArchiveQuery {
    /// The own archive, all of it.
    pub fn new() -> ArchiveQuery {
        ArchiveQuery::default()
    }

    /// The archive of an address. Without this the query has no `to`.
    pub fn of(mut self, address: &str) -> Self {
        address.clone_into(&mut self.to);
        self
    }

    /// A field of the form: `with`, `start`, `end`, `before-id`, `after-id`, or one that nobody knows.
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), vec![value.to_owned()]));
        self
    }

    pub fn with(self, jid: &str) -> Self {
        self.field("with", jid)
    }

    pub fn ids(mut self, ids: &[&str]) -> Self {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        self.fields.push(("ids".to_owned(), ids));
        self
    }

    fn set(mut self, content: &str) -> Self {
        self.rsm.get_or_insert_default().push_str(content);
        self
    }

    pub fn max(self, max: usize) -> Self {
        self.set(&format!("<max>{max}</max>"))
    }

    pub fn after(self, id: &str) -> Self {
        self.set(&format!("<after>{id}</after>"))
    }

    /// Backwards from there; empty for the last page.
    pub fn before(self, id: &str) -> Self {
        self.set(&format!("<before>{id}</before>"))
    }

    pub fn flipped(mut self) -> Self {
        self.flip = true;
        self
    }

    fn element(&self, queryid: &str) -> String {
        let mut text = format!("<query xmlns='{NS_MAM}' queryid='{queryid}'>");
        if !self.fields.is_empty() {
            text.push_str(&format!(
                "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>{NS_MAM}</value></field>"
            ));
            for (name, values) in &self.fields {
                text.push_str(&format!("<field var='{name}'>"));
                for value in values {
                    text.push_str(&format!("<value>{value}</value>"));
                }
                text.push_str("</field>");
            }
            text.push_str("</x>");
        }
        if let Some(rsm) = &self.rsm {
            text.push_str(&format!("<set xmlns='{NS_RSM}'>{rsm}</set>"));
        }
        if self.flip {
            text.push_str("<flip-page/>");
        }
        text.push_str("</query>");
        text
    }
}

/// A message of an archive.
#[derive(Clone, Debug)]
pub struct Archived {
    pub id: String,
    /// XEP-0082, as it came.
    pub stamp: String,
    /// The message inside.
    pub message: Stanza,
}

impl Archived {
    pub fn body(&self) -> String {
        self.message.body()
    }
}

/// What a query brought.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order they came.
    pub messages: Vec<Archived>,
    pub complete: bool,
    pub first: Option<String>,
    pub last: Option<String>,
    pub index: Option<usize>,
    pub count: Option<usize>,
}

impl Page {
    pub fn ids(&self) -> Vec<&str> {
        self.messages.iter().map(|message| message.id.as_str()).collect()
    }

    pub fn bodies(&self) -> Vec<String> {
        self.messages.iter().map(Archived::body).collect()
    }
}

impl Client {
    /// Queries an archive: a page, or the error. What else comes meanwhile is kept.
    pub async fn archive(&mut self, query: &ArchiveQuery) -> Result<Page, Stanza> {
        let id = self.fresh_id();
        let queryid = format!("q-{id}");
        let to = if query.to.is_empty() {
            String::new()
        } else {
            format!(" to='{}'", query.to)
        };
        let payload = query.element(&queryid);
        self.send(format!("<iq type='set' id='{id}'{to}>{payload}</iq>")).await;
        let own = if query.to.is_empty() { self.bare() } else { &query.to }.to_owned();
        let mut messages = Vec::new();
        let mut others = Vec::new();
        let answer = loop {
            match self.item_within(TIMEOUT).await {
                Some(Item::Stanza(stanza)) if stanza.name() == "iq" && stanza.get("id") == id => break stanza,
                Some(Item::Stanza(stanza)) if stanza.has_child("result", NS_MAM) => {
                    messages.push(self.archived(&stanza, &own, &queryid));
                }
                Some(item @ Item::Stanza(_)) => others.push(item),
                other => self.fail(&format!("the archive expected, {other:?} came")),
            }
        };
        self.put_back(others);
        if answer.get("type") == "error" {
            if !messages.is_empty() {
                self.fail(&format!("{} messages came before the error {answer:?}", messages.len()));
            }
            return Err(answer);
        }
        Ok(self.page(&answer, messages))
    }

    /// A page that must come.
    pub async fn archive_page(&mut self, query: &ArchiveQuery) -> Page {
        match self.archive(query).await {
            Ok(page) => page,
            Err(error) => self.fail(&format!("no archive: {error:?}")),
        }
    }

    /// Every message that matches, page by page as the server cuts them or `query` asks.
    pub async fn whole_archive(&mut self, query: &ArchiveQuery) -> Vec<Archived> {
        match self.try_whole_archive(query).await {
            Ok(all) => all,
            Err(error) => self.fail(&format!("no archive: {error:?}")),
        }
    }

    /// The same where messages may leave the archive meanwhile: then a page asks behind a message that is gone, and the
    /// error comes (XEP-0313 section 4.3.2).
    pub async fn try_whole_archive(&mut self, query: &ArchiveQuery) -> Result<Vec<Archived>, Stanza> {
        let mut all: Vec<Archived> = Vec::new();
        for _ in 0..PAGES {
            let next = match all.last() {
                Some(last) => query.clone().after(&last.id),
                None => query.clone(),
            };
            let page = self.archive(&next).await?;
            if page.messages.is_empty() && !page.complete {
                self.fail("an empty page that is not the last");
            }
            all.extend(page.messages);
            if page.complete {
                return Ok(all);
            }
        }
        self.fail("the archive has no end")
    }

    /// Sections 4.2 and 4.3: how a result looks.
    fn archived(&self, stanza: &Stanza, archive: &str, queryid: &str) -> Archived {
        let wrong = |what: &str| -> ! { self.fail(&format!("a wrong result, {what}: {stanza:?}")) };
        let from = stanza.get("from");
        // None means the own account (RFC 6120 section 8.1.2.1).
        if stanza.name() != "message" || stanza.get("to") != self.jid || !(from == archive || from.is_empty()) {
            wrong("its addresses");
        }
        let Some(result) = stanza.get_child("result", NS_MAM) else {
            wrong("no <result/>");
        };
        if stanza.children().count() != 1 || result.attr("queryid") != Some(queryid) {
            wrong("of another query");
        }
        let Some(forwarded) = result.get_child("forwarded", NS_FORWARD) else {
            wrong("no <forwarded/>");
        };
        let stamp = forwarded
            .get_child("delay", NS_DELAY)
            .and_then(|delay| delay.attr("stamp"));
        let message = forwarded.get_child("message", "jabber:client");
        let (Some(id), Some(stamp), Some(message)) = (result.attr("id"), stamp, message) else {
            wrong("not everything is there");
        };
        Archived {
            id: id.to_owned(),
            stamp: stamp.to_owned(),
            message: Stanza::of(message),
        }
    }

    fn page(&self, answer: &Stanza, messages: Vec<Archived>) -> Page {
        let Some(fin) = answer.get_child("fin", NS_MAM) else {
            self.fail(&format!("no <fin/>: {answer:?}"));
        };
        let Some(set) = fin.get_child("set", NS_RSM) else {
            self.fail(&format!("no <set/>, which section 4 requires: {answer:?}"));
        };
        let text = |name: &str| set.get_child(name, NS_RSM).map(Element::text);
        let number = |text: Option<String>| -> Option<usize> {
            let text = text?;
            match text.parse() {
                Ok(number) => Some(number),
                Err(_) => self.fail(&format!("{text} is no number: {answer:?}")),
            }
        };
        let index = set.get_child("first", NS_RSM).and_then(|first| first.attr("index"));
        let page = Page {
            complete: matches!(fin.attr("complete"), Some("true" | "1")),
            first: text("first"),
            last: text("last"),
            index: number(index.map(str::to_owned)),
            count: number(text("count")),
            messages,
        };
        // XEP-0059 section 2.2: both or, on an empty page, neither.
        let ends = [&page.first, &page.last].map(|id| id.as_deref().unwrap_or_default());
        let ids = page.ids();
        let fit = match (ids.first(), ids.last()) {
            // A flipped page comes from its last to its first.
            (Some(first), Some(last)) => ends == [*first, *last] || ends == [*last, *first],
            _ => page.first.is_none() && page.last.is_none(),
        };
        if !fit {
            self.fail(&format!("first and last are not those of the page: {answer:?}"));
        }
        page
    }

    /// What [`Client::archive`] must fail with.
    pub async fn archive_error(&mut self, query: &ArchiveQuery) -> Stanza {
        match self.archive(query).await {
            Ok(page) => self.fail(&format!("an error expected for {query:?}, {page:?} came")),
            Err(error) => error,
        }
    }
}

impl Stanza {
    /// The text of the body, empty where there is none.
    pub fn body(&self) -> String {
        self.get_child("body", "jabber:client")
            .map(Element::text)
            .unwrap_or_default()
    }

    /// Every `<stanza-id/>` given by this address (XEP-0359).
    pub fn stanza_ids(&self, by: &str) -> Vec<&str> {
        self.children()
            .filter(|child| child.is("stanza-id", NS_SID) && child.attr("by") == Some(by))
            .filter_map(|child| child.attr("id"))
            .collect()
    }

    /// The one `<stanza-id/>` that this address must have given.
    pub fn stanza_id(&self, by: &str) -> &str {
        match self.stanza_ids(by)[..] {
            [id] if !id.is_empty() => id,
            _ => panic!("one stanza-id by {by} expected: {self:?}"),
        }
    }
}
