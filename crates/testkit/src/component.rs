//! A scripted component (XEP-0114): a [`Client`] whose requests have the address of its domain.

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::net::TcpStream;

use crate::client::{Client, Conn, ConnectOptions, Transport};
use crate::server::Server;

/// What all components of a test know.
pub const COMPONENT_SECRET: &str = "the secret of components";
pub(crate) const COMPONENT_PORT: u16 = 5347;
/// The content namespace.
pub const NS_COMPONENT: &str = "jabber:component:accept";

impl Client {
    /// A connection to the port of components, on which nothing was said.
    pub async fn to_components(server: &Server) -> Client {
        let stream = TcpStream::connect((server.address(), COMPONENT_PORT)).await;
        let stream = stream.expect("the port of components is open");
        // What it carries is told by bytes alone, as in a stream before STARTTLS.
        Client::over(Conn::Tcp(stream), Transport::Starttls, ConnectOptions::default())
    }

    /// One that has opened a stream for this domain.
    pub async fn opened_component(server: &Server, domain: &str) -> Client {
        let mut component = Client::to_components(server).await;
        component.open_component(domain, NS_COMPONENT).await;
        component
    }

    pub async fn open_component(&mut self, domain: &str, content: &str) {
        self.send(format!(
            "<stream:stream xmlns='{content}' xmlns:stream='http://etherx.jabber.org/streams' to='{domain}'>"
        ))
        .await;
    }

    /// What proves that the secret is known, on the stream whose header has come.
    pub fn component_handshake(&self, secret: &str) -> String {
        let id = self.header.attr("id").expect("a header with an id has come");
        let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{id}{secret}").as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// One that speaks for this domain.
    pub async fn component(server: &Server, domain: &str) -> Client {
        let mut component = Client::opened_component(server, domain).await;
        component.read_header().await;
        let handshake = component.component_handshake(COMPONENT_SECRET);
        component.send(format!("<handshake>{handshake}</handshake>")).await;
        component.expect("<handshake/>").await;
        component.jid = domain.to_owned();
        component.is_component = true;
        component
    }
}
