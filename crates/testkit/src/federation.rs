//! What several servers of a test have in common: the DNS that tells where they are, and the authority that certifies
//! them.

use std::sync::Arc;

use crate::{Authority, Builder, Dns, Remote, Server};

/// Servers of one test, of domains of their own.
pub struct Federation {
    pub dns: Arc<Dns>,
    pub authority: Arc<Authority>,
}

impl Federation {
    #[expect(clippy::new_without_default, reason = "it has threads, and is no value")]
    pub fn new() -> Federation {
        Federation {
            dns: Arc::new(Dns::start()),
            authority: Arc::new(Authority::new("Authority of the tests")),
        }
    }

    /// A real server, to be started: with a certificate of the authority for its domains, which the DNS knows then.
    pub fn server(&self, domain: &str) -> Builder {
        Server::builder().federated(domain, &self.dns, &self.authority)
    }

    /// A scripted one, which listens.
    pub async fn remote(&self, domain: &str) -> Remote {
        Remote::new(self, domain).await
    }
}
