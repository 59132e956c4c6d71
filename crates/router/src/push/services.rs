//! The push services that an account wants to be announced to: what is stored of them, and which session is whose.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use accounts::ACCOUNTS;
use accounts::tokens::is_session_of;
use module::PushService;
use store::{Batch, Column, Found, Query, Row, Shape, StoreError, Table, Value, row};

use crate::Router;
use crate::account::Session;
use crate::directed::domain_of;

/// Accounts that are asked about at once.
const ACCOUNTS_AT_ONCE: usize = 200;
/// Domains that are counted; who has more is not.
const DOMAINS: usize = 10_000;

/// By the address of the service and the node there.
pub(crate) static PUSH: Table = Table {
    name: "push",
    shape: Shape::Map,
    columns: &[
        Column::text("options"),
        // Which client has asked for it, empty where that is not known; and its resource.
        Column::text("client"),
        Column::text("resource"),
        Column::int("since"),
    ],
};

/// What is announced to, and for which device.
pub(crate) struct Registered {
    pub(crate) service: Box<str>,
    pub(crate) node: Box<str>,
    /// XML, or empty.
    pub(crate) options: Arc<str>,
    client: Option<Box<str>>,
    resource: Box<str>,
    /// Messages that the device was told of since it was last seen. Not kept: what waits is counted besides.
    pub(crate) unseen: u32,
    /// The last message that would have been announced if the device had not been there to take it, by its id in the
    /// archive. If its connection turns out to be broken, it is announced after all.
    pub(crate) taken: Option<i64>,
}

impl Registered {
    /// As a client of this resource has asked.
    pub(crate) fn new(service: PushService, client: Option<&str>, resource: &str) -> Registered {
        Registered {
            service: service.jid.as_str().into(),
            node: service.node,
            options: (*service.options).into(),
            client: client.map(Into::into),
            resource: resource.into(),
            unseen: 0,
            taken: None,
        }
    }

    pub(crate) fn of_row(key: &str, row: Row) -> Option<Registered> {
        let (service, node) = key.split_once(BETWEEN)?;
        let mut values = row.into_iter().map(|value| match value {
            Value::Text(text) => text,
            _ => "".into(),
        });
        let (options, client, resource) = (values.next()?, values.next()?, values.next()?);
        Some(Registered {
            service: service.into(),
            node: node.into(),
            options: (*options).into(),
            client: Some(client).filter(|client| !client.is_empty()),
            resource: (*resource).into(),
            unseen: 0,
            taken: None,
        })
    }

    /// Behind the row that it has already, if any.
    pub(crate) fn write(&self, owner: &str, seconds: i64, batch: Batch) -> Batch {
        let client = self.client.as_deref().unwrap_or_default();
        let row = row![&*self.options, client, &*self.resource, seconds];
        batch.put(&PUSH, owner, &*key(&self.service, &self.node), row)
    }

    /// Whether its device is this client.
    pub(crate) fn is_of_client(&self, client: &str) -> bool {
        self.client.as_deref() == Some(client) || is_session_of(client, &self.resource)
    }

    pub(crate) fn is(&self, service: &str, node: &str) -> bool {
        *self.service == *service && *self.node == *node
    }

    /// Whether this is the session of the device: of the same client, or where nothing is known of clients, of the same
    /// resource.
    pub(crate) fn is_of(&self, session: &Session) -> bool {
        match (&self.client, session.client()) {
            (Some(own), Some(client)) => **own == *client,
            _ => *self.resource == *session.resource,
        }
    }
}

impl Router {
    /// The domains of push services, and how many devices are announced to there; the most first. Blocking, and reads
    /// something of every account.
    pub fn push_services(&self) -> Result<Vec<(Box<str>, u64)>, StoreError> {
        let (mut services, mut after) = (BTreeMap::<Box<str>, u64>::new(), None::<Box<str>>);
        loop {
            let owners = Query::owners(&ACCOUNTS, after.as_deref(), ACCOUNTS_AT_ONCE);
            let owners = self.store.read_wait(owners).and_then(Found::owners)?;
            let Some((last, _)) = owners.last() else { break };
            after = Some(last.clone());
            let of_each = owners.iter().map(|(owner, _)| Query::all(&PUSH, owner)).collect();
            for rows in self.store.read_wait(Query::Many(of_each)).and_then(Found::many)? {
                for (key, _) in rows.rows()? {
                    let service = key.split_once(BETWEEN).map_or(&*key, |(service, _)| service);
                    let domain = domain_of(service);
                    if services.len() < DOMAINS || services.contains_key(domain) {
                        *services.entry(domain.into()).or_default() += 1;
                    }
                }
            }
        }
        let mut services: Vec<_> = services.into_iter().collect();
        services.sort_by_key(|(_, devices)| Reverse(*devices));
        Ok(services)
    }
}

/// No address has it.
const BETWEEN: char = '\n';

pub(crate) fn key(service: &str, node: &str) -> String {
    format!("{service}{BETWEEN}{node}")
}
