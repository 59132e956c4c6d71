//! How long the parts of an attempt may take.

use std::time::Duration;

/// All of them in proportion to the whole, which the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    whole: Duration,
}

impl Times {
    pub fn new(whole: Duration) -> Times {
        Times { whole }
    }

    /// An attempt, with all places that are tried. It is less than the minute after which a sender is to know.
    pub(crate) fn whole(self) -> Duration {
        self.whole
    }

    /// Until it is its turn to ask the DNS.
    pub(crate) fn turn(self) -> Duration {
        self.part(10)
    }

    /// A question to the DNS, with all that it takes to check the answer,
    pub(crate) fn question(self) -> Duration {
        self.part(10)
    }

    /// and one packet of it, until it is taken for lost. It is sent three times.
    pub(crate) fn packet(self) -> Duration {
        self.part(3)
    }

    /// When addresses of one family are known, those of the other are waited for so long. Longer than a person would want to
    /// wait (RFC 8305 section 3), as the other answer may be what DNSSEC has something to say about.
    pub(crate) fn other_family(self) -> Duration {
        self.part(2)
    }

    /// Until one place is given up, the addresses of the host included, and another is tried.
    pub(crate) fn target(self) -> Duration {
        self.part(12)
    }

    /// The handshake of TLS at one place,
    pub(crate) fn tls(self) -> Duration {
        self.part(10)
    }

    /// and all that is said there by the stream.
    pub(crate) fn stream(self) -> Duration {
        self.part(20)
    }

    /// Fortieths: so many seconds where nothing else is said.
    fn part(self, fortieths: u32) -> Duration {
        self.whole * fortieths / 40
    }
}

impl Default for Times {
    fn default() -> Times {
        Times::new(Duration::from_secs(40))
    }
}
