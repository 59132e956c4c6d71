//! Client state (XEP-0352): whether somebody looks at the client.

use crate::Client;

/// Of client state indication.
pub const NS_CSI: &str = "urn:xmpp:csi:0";

impl Client {
    /// Nobody looks. There is no answer.
    pub async fn inactive(&mut self) {
        self.send(format!("<inactive xmlns='{NS_CSI}'/>")).await;
    }

    /// Somebody looks again. There is no answer; what was held back comes.
    pub async fn active(&mut self) {
        self.send(format!("<active xmlns='{NS_CSI}'/>")).await;
    }
}
