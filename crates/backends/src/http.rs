//! A web service that knows the passwords: it is sent the question of [`crate::json`] by POST, and answers with status 200
//! and the answer. Anything else is no answer.

use std::io;
use std::sync::Arc;

use accounts::backend::{Answered, Backend, Question};
use auth::Verdict;
use hyper::header::HeaderValue;
use stanza::Jid;

use crate::client::{Ask, Client, Service, authorization};
use crate::json::{self, Said};

/// The longest answer in bytes.
const ANSWER_BYTES: usize = 4096;

/// The driver.
pub struct Http {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    authorization: Option<HeaderValue>,
}

impl Http {
    /// Asks nobody yet. `authorization`: the value of the header of that name, as in `Bearer abc`.
    ///
    /// # Errors
    /// The authorities for its certificate cannot be read, or no header can have that value.
    pub fn new(service: Service, header: Option<&str>) -> io::Result<Http> {
        let unfit =
            || io::Error::other("what is to be shown as `Authorization` has characters that no header can have");
        let authorization = match header {
            None => None,
            Some(value) => Some(authorization(value).ok_or_else(unfit)?),
        };
        Ok(Http {
            shared: Arc::new(Shared {
                client: Client::new(service)?,
                authorization,
            }),
        })
    }
}

impl Backend for Http {
    fn ask(&self, question: Question, answered: Answered) {
        let Question::Password { account, password } = question else {
            return answered(Verdict::Unavailable);
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            let said = shared.ask(&account, &password).await;
            let said = shared.client.report("the service that knows the passwords", said);
            answered(said.map_or(Verdict::Unavailable, |said| said.verdict(&account)));
        });
    }
}

impl Shared {
    async fn ask(&self, account: &Jid, password: &str) -> io::Result<Said> {
        let question = json::question(account, password)?;
        let ask = Ask::post("application/json", question, self.authorization.as_ref());
        json::answer(&self.client.ask(ask, ANSWER_BYTES).await?)
    }
}
