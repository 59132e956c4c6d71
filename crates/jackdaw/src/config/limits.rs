//! Every limit of the server, each a key of `[limits]`. The unit is in the name; where a name has
//! none it is a number of things.

use std::time::Duration;

use super::section::section;

section! {
    /// Limits: what one peer may cost. None may be 0; raise a limit to lift it.
    @default pub struct Limits {
        /// The longest stanza, in bytes, from `<` to `>`. A longer one ends the stream with
        /// `policy-violation`. RFC 6120 section 13.12 asks for at least 10,000.
        pub stanza_bytes: usize = 262_144,
        /// The longest element before the login is complete, in bytes.
        pub stanza_bytes_before_login: usize = 8_192,
        /// How many elements one stanza may have.
        pub stanza_elements: usize = 4_096,
        /// How many elements a peer may send in one top-level element before the login.
        pub stanza_elements_before_login: usize = 32,
        /// How deep elements may nest in one stanza.
        pub stanza_depth: usize = 64,
        /// How many attributes one element may have.
        pub attributes: usize = 64,
        /// How many namespace declarations one stanza may have, all its elements together.
        pub namespaces: usize = 256,
        /// The longest name of an element or attribute, in bytes.
        pub name_bytes: usize = 256,

        /// From the first byte of a connection to the bound resource, in seconds. One deadline for
        /// all steps together, so that a slow peer cannot win time with each of them.
        pub negotiation_seconds: u64 = 30,
        /// After so many seconds without a byte from a client the server sends a whitespace, so
        /// that the kernel notices when the peer is gone (RFC 6120 section 4.6.1).
        pub keepalive_seconds: u64 = 300,
        /// After so many seconds in which a peer acknowledged nothing of what was sent (TCP user
        /// timeout) the connection is dead. A write that makes no progress ends after it too.
        pub unacknowledged_seconds: u64 = 90,
        /// How long a stop may take, in seconds: every stream is told `system-shutdown`, and what
        /// is still open afterwards is cut.
        pub shutdown_seconds: u64 = 5,

        /// How often a client may try to log in on one connection.
        pub login_attempts: u32 = 5,
        /// Failed logins a minute for one account from one address, after which further ones from
        /// that address are refused unseen for the rest of the minute. Other addresses are not
        /// affected: a stranger cannot lock somebody out.
        pub login_failures_per_minute_per_account: u32 = 10,
        /// Failed logins a minute from one address (IPv6: from one /64), whatever the account.
        pub login_failures_per_minute_per_address: u32 = 60,
        /// Accounts that one address (IPv6: one /64) may ask for in an hour, where everybody may have one
        /// (domain.registration = "open"); whether they were made or not. Who has an invitation is not counted.
        pub registrations_per_hour_per_address: u32 = 5,
        /// The same, of all addresses together.
        pub registrations_per_hour: u32 = 200,
        /// Invitations of one account that are not used up or over.
        pub invitations_per_account: usize = 50,
        /// Invitations altogether.
        pub invitations: usize = 10_000,
        /// Rounds of PBKDF2 for new passwords. Clients pay them at each login; RFC 7677 section 4
        /// asks for at least 4,096. Passwords that exist keep theirs until they are changed.
        pub password_iterations: u32 = 10_000,

        /// Open connections altogether.
        pub connections: usize = 100_000,
        /// Connections from one address (IPv6: one /64) that are not logged in yet.
        pub connections_before_login_per_address: usize = 256,
        /// New connections a second from one address (IPv6: one /64), on average over ten seconds.
        pub connections_per_second_per_address: u32 = 100,
        /// Sessions (resources) of one account at the same time.
        pub sessions_per_account: usize = 20,
        /// Guests altogether, on domains that take them; those whose connection broke count until they come back or
        /// their time is over.
        pub guests: usize = 1_000,
        /// Guests from one address (IPv6: one /64).
        pub guests_per_address: usize = 20,
        /// What a connection may send on average, in bytes a second. Above it the server reads
        /// more slowly; nothing is lost.
        pub read_bytes_per_second: u64 = 1_048_576,
        /// What a connection may send at once before the average counts, in bytes.
        pub read_burst_bytes: u64 = 4_194_304,
        /// What may wait for a connection that reads too slowly, in bytes. Above it the connection
        /// is closed, and messages go the way of messages to an absent resource.
        pub outbox_bytes: usize = 8_388_608,
        /// The same of a component, which has many users. Half of it is for what others send: what does not fit there
        /// is answered with `resource-constraint`, and the connection stays.
        pub component_outbox_bytes: usize = 33_554_432,

        /// Contacts in one roster.
        pub roster_items: usize = 5_000,
        /// Groups of one contact.
        pub roster_groups_per_item: usize = 32,
        /// The longest name of a contact or a group, in bytes.
        pub roster_name_bytes: usize = 1_024,
        /// Subscription requests that one account may send a minute.
        pub subscription_requests_per_minute: u32 = 60,
        /// Subscription requests that may wait for an answer of one account.
        pub subscription_requests_waiting: usize = 1_000,
        /// Addresses outside the roster to which one session may show its presence.
        pub directed_presences_per_session: usize = 1_000,

        /// Messages that one account takes from one stranger in an hour; a further one is answered with
        /// `policy-violation`. Who is a stranger says `strangers` of [[domain]].
        pub stranger_messages_per_hour: u32 = 60,
        /// Messages that one account takes from all strangers together in an hour.
        pub stranger_messages_per_hour_in_all: u32 = 300,
        /// Subscription requests that one account takes from strangers in an hour.
        pub stranger_requests_per_hour: u32 = 30,
        /// Reports (XEP-0377) of one account that are kept in a day. With more it blocks all the same.
        pub reports_per_day: u32 = 20,

        /// Connections to the proxy of [bytestreams] altogether; a stream has two.
        pub bytestream_connections: usize = 200,
        /// Those from one address (IPv6: one /64).
        pub bytestream_connections_per_address: usize = 20,
        /// Streams over the proxy that one account has at the same time.
        pub bytestreams_per_account: usize = 5,
        /// Bytes of one such stream; then it is cut.
        pub bytestream_bytes: u64 = 1_073_741_824,
        /// Bytes a second of one such stream, each way.
        pub bytestream_bytes_per_second: u64 = 2_097_152,
        /// How long such a stream may last, in seconds.
        pub bytestream_seconds: u64 = 3_600,

        /// For how long a session whose connection broke waits to be resumed (XEP-0198), in seconds.
        pub resume_seconds: u64 = 600,
        /// For how long a client of BOSH (XEP-0124) may have no request under way, in seconds; then its
        /// session ends as a connection breaks.
        pub bosh_inactivity_seconds: u64 = 60,
        /// Messages that wait for one absent account. A further one is answered with
        /// `service-unavailable` (XEP-0160 section 2), never dropped silently.
        pub offline_messages_per_account: usize = 10_000,
        /// Push services that one account may have enabled (XEP-0357), each node of one by itself.
        pub push_services_per_account: usize = 20,

        /// Clients in one room at the same time; owners and admins come in beyond.
        pub room_occupants: usize = 10_000,
        /// Entries in the lists of one room: its owners, admins, members and those who are banned.
        pub room_affiliations: usize = 20_000,
        /// The last messages of a room that who enters it can be shown at once. All are in its archive.
        pub room_history_messages: usize = 100,
        /// Rooms that one account has made and that stay.
        pub rooms_per_account: usize = 100,
        /// Stanzas that rooms deliver to others because of what one account does, a second, on average: one message is as
        /// many as there are clients in its room, and who enters costs twice that. Above it the account is refused for a
        /// moment, with `policy-violation`.
        pub room_deliveries_per_second: u32 = 10_000,
        /// What an account may cause at once before the average counts, such as by entering many rooms.
        pub room_burst_deliveries: u32 = 200_000,
    }
}

impl Limits {
    pub fn negotiation(&self) -> Duration {
        Duration::from_secs(self.negotiation_seconds)
    }

    pub fn keepalive(&self) -> Duration {
        Duration::from_secs(self.keepalive_seconds)
    }

    pub fn unacknowledged(&self) -> Duration {
        Duration::from_secs(self.unacknowledged_seconds)
    }

    pub fn shutdown(&self) -> Duration {
        Duration::from_secs(self.shutdown_seconds)
    }

    /// What no file may say: `(key, what is wrong)`, of the first contradiction.
    pub fn contradiction(&self) -> Option<(&'static str, String)> {
        // (key, its value, whether it must be at most or at least the bound, the bound and its name)
        let (stanza, elements) = (self.stanza_bytes as u64, self.stanza_elements as u64);
        let at_most: [(&'static str, u64, u64, &str); 3] = [
            (
                "stanza_bytes_before_login",
                self.stanza_bytes_before_login as u64,
                stanza,
                "stanza_bytes",
            ),
            (
                "stanza_elements_before_login",
                self.stanza_elements_before_login as u64,
                elements,
                "stanza_elements",
            ),
            (
                "name_bytes",
                self.name_bytes as u64,
                self.stanza_bytes_before_login as u64,
                "stanza_bytes_before_login",
            ),
        ];
        // Lengths that must fit a u32 in the stanza's index, and seconds that must stay dates.
        let ceilings: [(&'static str, u64, u64); 7] = [
            ("stanza_bytes", stanza, MAX_STANZA_BYTES),
            ("negotiation_seconds", self.negotiation_seconds, MAX_SECONDS),
            ("keepalive_seconds", self.keepalive_seconds, MAX_SECONDS),
            ("unacknowledged_seconds", self.unacknowledged_seconds, MAX_SECONDS),
            ("shutdown_seconds", self.shutdown_seconds, MAX_SECONDS),
            ("resume_seconds", self.resume_seconds, MAX_SECONDS),
            ("bosh_inactivity_seconds", self.bosh_inactivity_seconds, MAX_SECONDS),
        ];
        let at_least: [(&'static str, u64, u64, &str); 5] = [
            (
                "stanza_bytes",
                stanza,
                MIN_STANZA_BYTES,
                "what RFC 6120 section 13.12 demands",
            ),
            (
                "password_iterations",
                self.password_iterations.into(),
                MIN_ITERATIONS,
                "what RFC 7677 section 4 demands",
            ),
            ("read_burst_bytes", self.read_burst_bytes, stanza, "stanza_bytes"),
            ("outbox_bytes", self.outbox_bytes as u64, stanza, "stanza_bytes"),
            (
                "component_outbox_bytes",
                self.component_outbox_bytes as u64,
                2 * stanza,
                "twice stanza_bytes",
            ),
        ];
        for (key, value, bound, name) in at_least {
            if value < bound {
                return Some((key, format!("{key} = {value} is below {bound} ({name})")));
            }
        }
        for (key, value, bound, name) in at_most {
            if value > bound {
                return Some((key, format!("{key} = {value} is above {bound} ({name})")));
            }
        }
        for (key, value, bound) in ceilings {
            if value > bound {
                return Some((
                    key,
                    format!("{key} = {value} is above {bound}, the most that is possible"),
                ));
            }
        }
        None
    }
}

/// RFC 6120 section 13.12: a limit on stanzas must not be below 10,000 bytes.
const MIN_STANZA_BYTES: u64 = 10_000;
/// 64 MiB: a stanza is held in memory whole, and its offsets are 32 bits.
const MAX_STANZA_BYTES: u64 = 67_108_864;
/// A day. Longer waits are mistakes of the unit.
const MAX_SECONDS: u64 = 86_400;
/// RFC 7677 section 4.
const MIN_ITERATIONS: u64 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_do_not_contradict_each_other() {
        assert_eq!(Limits::default().contradiction(), None);
    }

    #[test]
    fn contradictions_are_named() {
        let check = |change: fn(&mut Limits), key: &str| {
            let mut limits = Limits::default();
            change(&mut limits);
            let found = limits.contradiction().map(|(key, _)| key);
            assert_eq!(found, Some(key));
        };
        check(|l| l.stanza_bytes = 9_999, "stanza_bytes");
        check(|l| l.stanza_bytes = 1 << 40, "read_burst_bytes");
        check(|l| l.stanza_bytes_before_login = 262_145, "stanza_bytes_before_login");
        check(
            |l| l.stanza_elements_before_login = 5_000,
            "stanza_elements_before_login",
        );
        check(|l| l.name_bytes = 8_193, "name_bytes");
        check(|l| l.password_iterations = 1_000, "password_iterations");
        check(|l| l.outbox_bytes = 100, "outbox_bytes");
        check(|l| l.keepalive_seconds = 86_401, "keepalive_seconds");
    }
}
