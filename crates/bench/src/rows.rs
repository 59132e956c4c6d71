//! The rows of the table with the goals of the design, and what the page says about them.

/// A row of the table.
pub(crate) struct Row {
    /// Of `Figure`.
    pub key: &'static str,
    pub label: &'static str,
    pub unit: &'static str,
    pub goal: Goal,
    /// What the floor took on the day on which the goal was set.
    pub day: Option<f64>,
}

impl Row {
    /// The label, with what "the same" refers to.
    pub(crate) fn full_label(&self) -> String {
        let Some(rest) = self.label.strip_prefix("the same") else {
            return self.label.to_owned();
        };
        let above = ROWS.iter().take_while(|row| row.key != self.key);
        let above = above.filter(|row| !row.label.starts_with("the same")).last();
        let work = above.map_or("", |row| row.label.rsplit_once(':').map_or(row.label, |(work, _)| work));
        format!("{work}{rest}")
    }

    const fn floor(mut self, day: f64) -> Self {
        self.day = Some(day);
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// Reached if the figure is no larger.
    AtMost(f64),
    /// Shown for the reader's information; smaller is better.
    Cost,
    /// Shown for the reader's information; larger is better. Throughput moves with the machine, so it has no goals.
    Rate,
}

const fn row(key: &'static str, label: &'static str, unit: &'static str, goal: Goal) -> Row {
    Row {
        key,
        label,
        unit,
        goal,
        day: None,
    }
}

/// All rows in the order of the table, with the goals of the design.
pub(crate) const ROWS: &[Row] = &[
    row(
        "idle.memory",
        "idle session with presence, TLS: memory",
        "kB",
        Goal::AtMost(5.5),
    ),
    row(
        "idle.kept",
        "the same: memory kept when all have left",
        "MB",
        Goal::Cost,
    ),
    row(
        "plain.memory",
        "idle session with presence, plain TCP: memory",
        "kB",
        Goal::AtMost(2.0),
    ),
    row(
        "plain.kept",
        "the same: memory kept when all have left",
        "MB",
        Goal::Cost,
    ),
    row(
        "websocket.memory",
        "idle session with presence, WebSocket over TLS: memory",
        "kB",
        Goal::Cost,
    ),
    row(
        "websocket.kept",
        "the same: memory kept when all have left",
        "MB",
        Goal::Cost,
    ),
    row(
        "crowd.memory",
        "a crowd of idle sessions, TLS: memory of each",
        "kB",
        Goal::AtMost(5.5),
    ),
    row("crowd.login", "the same: CPU of a login", "ms", Goal::AtMost(0.25)).floor(0.17),
    row(
        "crowd.back",
        "the same: memory back after all have left",
        "s",
        Goal::AtMost(10.0),
    ),
    row(
        "crowd.kept",
        "the same: memory kept after ten seconds",
        "MB",
        Goal::Cost,
    ),
    row(
        "login.cpu",
        "login, TLS + SCRAM, roster, presence: CPU",
        "ms",
        Goal::AtMost(0.25),
    )
    .floor(0.17),
    row(
        "login.trips",
        "the same: round trips behind TLS until the resource is bound",
        "",
        Goal::Cost,
    ),
    row("logout.cpu", "logout: CPU", "ms", Goal::Cost),
    row(
        "sasl2.cpu",
        "login, TLS + SASL2 with SCRAM, Bind 2, stream management, roster, presence: CPU",
        "ms",
        Goal::Cost,
    ),
    row("sasl2.trips", "the same: round trips behind TLS", "", Goal::Cost),
    row(
        "fast.bind.cpu",
        "login, TLS + token, Bind 2, stream management, roster, presence: CPU",
        "ms",
        Goal::Cost,
    ),
    row("fast.bind.trips", "the same: round trips behind TLS", "", Goal::Cost),
    row(
        "fast.resume.cpu",
        "login, TLS + token, old stream resumed: CPU",
        "ms",
        Goal::Cost,
    ),
    row("fast.resume.trips", "the same: round trips behind TLS", "", Goal::Cost),
    row(
        "msg.cpu",
        "message, busy (window 32), TLS: CPU",
        "µs",
        Goal::AtMost(1.2),
    )
    .floor(0.39),
    row("msg.rate", "the same: messages a second", "", Goal::Rate),
    row(
        "single.cpu",
        "message, one at a time (64 pairs, window 1), TLS: CPU",
        "µs",
        Goal::AtMost(10.0),
    )
    .floor(8.3),
    row("single.rate", "the same: messages a second", "", Goal::Rate),
    row(
        "open.p50",
        "messages at a fixed rate over 200 TLS pairs: p50",
        "µs",
        Goal::AtMost(100.0),
    )
    .floor(56.0),
    row("open.p99", "the same: p99", "µs", Goal::AtMost(600.0)).floor(424.0),
    row("open.cpu", "the same: CPU of a message", "µs", Goal::Cost),
    row(
        "slow.p50",
        "messages at that rate beside 50 flooded sessions that do not read: p50",
        "µs",
        Goal::Cost,
    ),
    row("slow.p99", "the same: p99", "µs", Goal::Cost),
    row("slow.memory", "the same: memory at most", "MB", Goal::Cost),
    row(
        "presence.cpu",
        "presence broadcast (80 users, 20 contacts), TLS: CPU of a delivery",
        "µs",
        Goal::AtMost(2.0),
    ),
    row("presence.rate", "the same: deliveries a second", "", Goal::Rate),
    row(
        "roster.msg.10",
        "message, busy, rosters of 10: CPU",
        "µs",
        Goal::AtMost(1.2),
    ),
    row(
        "roster.msg.5000",
        "message, busy, rosters of 5,000: CPU",
        "µs",
        Goal::AtMost(1.2),
    ),
    row(
        "roster.presence.10",
        "presence, one at a time, to a roster of 10: CPU of a delivery",
        "µs",
        Goal::Cost,
    ),
    row(
        "roster.presence.5000",
        "presence, one at a time, to a roster of 5,000: CPU of a delivery",
        "µs",
        Goal::Cost,
    ),
    row(
        "room.100.cpu",
        "message in a room of 100, archived (window 4), TLS: CPU of a delivery",
        "µs",
        Goal::AtMost(2.0),
    )
    .floor(1.6),
    row("room.100.rate", "the same: deliveries a second", "", Goal::Rate),
    row(
        "room.100.single",
        "the same: CPU, one message at a time",
        "µs",
        Goal::Cost,
    ),
    row(
        "room.300.cpu",
        "message in a room of 300, archived (window 4), plain TCP: CPU of a delivery",
        "µs",
        Goal::AtMost(2.0),
    )
    .floor(1.4),
    row("room.300.rate", "the same: deliveries a second", "", Goal::Rate),
    row(
        "room.300.single",
        "the same: CPU, one message at a time",
        "µs",
        Goal::Cost,
    ),
    row(
        "room.500.cpu",
        "message in a room of 500, archived (window 4), TLS: CPU of a delivery",
        "µs",
        Goal::AtMost(2.0),
    ),
    row("room.500.rate", "the same: deliveries a second", "", Goal::Rate),
    row(
        "room.500.single",
        "the same: CPU, one message at a time",
        "µs",
        Goal::Cost,
    ),
    row(
        "room.memory",
        "occupant of a room of 1,000: memory beyond his session",
        "kB",
        Goal::AtMost(1.0),
    ),
    row(
        "room.fill",
        "filling that room, everybody is shown to everybody: CPU of a presence",
        "µs",
        Goal::Cost,
    ),
    row(
        "room.1000.join",
        "coming into a room of 1,000, plain TCP: until the subject",
        "ms",
        Goal::Cost,
    ),
    row("room.1000.join.cpu", "the same: CPU", "ms", Goal::Cost),
    row(
        "room.1000.message",
        "message in a room of 1,000, plain TCP: until the last has it",
        "ms",
        Goal::Cost,
    ),
    row("room.1000.message.cpu", "the same: CPU of a delivery", "µs", Goal::Cost),
    row(
        "room.quiet.join",
        "coming into a room of 10,000 that shows moderators, plain TCP: until the subject",
        "ms",
        Goal::Cost,
    ),
    row("room.quiet.join.cpu", "the same: CPU", "ms", Goal::Cost),
    row(
        "room.quiet.message",
        "message in a room of 10,000, plain TCP: until the last has it",
        "ms",
        Goal::Cost,
    ),
    row(
        "room.quiet.message.cpu",
        "the same: CPU of a delivery",
        "µs",
        Goal::Cost,
    ),
    row(
        "room.10000.join",
        "coming into a room of 10,000 that shows everybody, plain TCP: until the subject",
        "ms",
        Goal::Cost,
    ),
    row("room.10000.join.cpu", "the same: CPU", "ms", Goal::Cost),
    row(
        "room.10000.message",
        "message in a room of 10,000 that shows everybody, plain TCP: until the last has it",
        "ms",
        Goal::Cost,
    ),
    row(
        "room.10000.message.cpu",
        "the same: CPU of a delivery",
        "µs",
        Goal::Cost,
    ),
    row(
        "pep.cpu",
        "notification of an item, 1,000 contacts with capabilities, 16 items at a time, TLS: CPU",
        "µs",
        Goal::AtMost(5.0),
    ),
    row("pep.single", "the same, one item at a time", "µs", Goal::Cost),
    row(
        "archive.cpu",
        "archived message, two archives, acknowledged (8 pairs, window 32), TLS: CPU",
        "µs",
        Goal::AtMost(8.0),
    ),
    row("archive.rate", "the same: messages a second", "", Goal::Rate),
    row(
        "wide.cpu",
        "archived message among 10,000 accounts and a million messages: CPU",
        "µs",
        Goal::AtMost(8.0),
    ),
    row("wide.rate", "the same: messages a second", "", Goal::Rate),
    row(
        "alone.20.p50",
        "archived message, 20 a second: from sending to its acknowledgement, p50",
        "ms",
        Goal::AtMost(3.0),
    ),
    row("alone.20.p99", "the same: p99", "ms", Goal::AtMost(15.0)),
    row("alone.20.cpu", "the same: CPU of a message", "µs", Goal::Cost),
    row(
        "alone.200.p50",
        "archived message, 200 a second: from sending to its acknowledgement, p50",
        "ms",
        Goal::AtMost(3.0),
    ),
    row("alone.200.p99", "the same: p99", "ms", Goal::AtMost(15.0)),
    row("alone.200.cpu", "the same: CPU of a message", "µs", Goal::Cost),
    row(
        "page.few",
        "page of 50 from archives of a thousand messages: CPU",
        "ms",
        Goal::AtMost(0.15),
    ),
    row("page.few.with", "the same: with one contact", "ms", Goal::AtMost(0.15)),
    row(
        "page.million",
        "page of 50, a million messages of 1,000 accounts: CPU",
        "ms",
        Goal::AtMost(0.15),
    ),
    row(
        "page.million.with",
        "the same: with one contact",
        "ms",
        Goal::AtMost(0.15),
    ),
    row(
        "page.one",
        "page of 50 from an archive of a million messages: CPU",
        "ms",
        Goal::AtMost(0.15),
    ),
    row("page.one.with", "the same: with one contact", "ms", Goal::AtMost(0.15)),
    row(
        "page.huge",
        "page of 50, ten million messages of 10,000 accounts: CPU",
        "ms",
        Goal::AtMost(0.2),
    ),
    row("page.huge.with", "the same: with one contact", "ms", Goal::AtMost(0.2)),
    row(
        "recovery.header",
        "kill -9 with a million archived messages: until a stream is answered",
        "s",
        Goal::AtMost(0.2),
    ),
    row(
        "recovery.bound",
        "the same: until 1,000 clients are back",
        "s",
        Goal::AtMost(3.0),
    ),
    row("offline.store", "offline message, stored: CPU", "µs", Goal::AtMost(8.0)),
    row(
        "offline.fetch",
        "offline message, fetched: CPU",
        "µs",
        Goal::AtMost(5.0),
    ),
];

/// What the rows of the table do not say themselves.
pub(crate) const WORKS: &str = "\
- *A crowd*: as many sessions as one process may have open files. The memory is back when it is less than 24 \
     MB above what it was before: the cache of our database may grow by 19 MB, whoever has been there.
- *Logins*: each whole, with a handshake of TLS that resumes nothing. A round trip is a turn from writing to reading; those \
     are counted that come behind the handshake and before the session is bound or its stream resumed. CPU also has \
     what a client asks next: roster, presence, a ping; behind a resumed stream, which needs nothing, only the ping. \
     With SASL2 a client reads what is offered, as one does that comes for the first time, and gets a token. A token \
     (HT-SHA-256-EXPR) was used once before, and goes in one write with the header of the stream. Only ours: \
     Debian's versions of the others do not have all of it.
- *Beside sessions that do not read*: 50 sessions read nothing. One after the other, over the whole time, \
     each is sent 12 MB of messages (100 MB a second), which is more than `limits.outbox_bytes` lets wait. Ten of \
     the pairs that are measured have some of them as contacts, and broadcast presence to them with each \
     message. Compare with the row of the fixed rate: what is more here is what such readers cost the others, \
     together with the work of the floods themselves, which the floor has too.
- *Rosters*: eight busy pairs, with 10 and then with 5,000 contacts in each roster of both; presence to the \
     same 5,000 readers, from 500 senders with 10 contacts each and from one with 5,000.
- *Rooms*: everybody who has come in hears what one of them says; a delivery is one message to one occupant. The room is \
     archived, by Prosody (`mod_muc_mam`) and ejabberd (`mod_mam`) in SQLite too. Who comes in wants no history. With a window \
     of 4 so many messages are on their way, as all occupants see it together; one at a time each has to be written \
     alone. Coming in: 30 clients, one after the other, also what it costs to tell the others; in a room that shows moderators \
     alone it is all about the room itself. Memory is the difference that 1,000 sessions make by coming in. The floor \
     passes what comes to everybody.
- *Archived messages*: everyone uses stream management (XEP-0198), and messages have an `<origin-id/>`. A message is \
     done when the server has acknowledged it, which ours does when it is on disk. A sender has one `<r/>` on the way. \
     What the server does later, such as sorting the index, is counted too. Among 10,000 accounts: 2,000 of them are \
     there, eight at a time send 32 messages, each to anybody. Messages that are not archived are those of the other \
     rows: there our archive is off, as the other servers' is.
- *Pages*: the dearest of the last page, before some message, and behind some message. From one archive of a million \
     messages one client reads, otherwise up to eight do.
- *Kill -9*: the time begins when the program is started again. 1,000 clients come all at once, ask to resume their \
     streams, hear how many of their stanzas were handled (which is checked), and bind.
- *Offline*: as by default, so that each message is in two archives besides.
";
