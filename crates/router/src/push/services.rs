//! The push services that an account wants to be announced to: what is stored of them, and which session is whose.

use std::sync::Arc;

use accounts::tokens::is_session_of;
use module::PushService;
use store::{Batch, Column, Row, Shape, Table, Value, row};

use crate::account::Session;

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

/// No address has it.
const BETWEEN: char = '\n';

pub(crate) fn key(service: &str, node: &str) -> String {
    format!("{service}{BETWEEN}{node}")
}
