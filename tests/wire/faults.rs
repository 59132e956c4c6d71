//! Bad input, row by row of the list of faults, with the exact answer. After each the server serves the others, and
//! nothing has come to somebody who has nothing to do with it.
//!
//! Which row is tested where. Each of them runs over every transport (`Transport::EVERY`: STARTTLS, direct TLS,
//! WebSocket, BOSH) unless it is said why not.
//!
//! | faults | where |
//! | --- | --- |
//! | 1 to 5, 13 to 15 | [`stream_errors`], [`cut_at_every_byte`]; over BOSH what is wrong in a request is `bad-request` |
//! | 6 to 10 | [`stream_errors`], [`versions_and_spaces`]; the headers of a WebSocket: `websocket::bad_openings`; a request of BOSH has no encoding and no root of its own: `bosh::stream_errors`, `bosh::bad_requests` |
//! | 11 | [`too_big_too_deep_too_many`], `limits::sizes`, `amplification::a_never_ending_stanza` |
//! | 12 | `limits::slow_negotiation`, `websocket::slow_clients` (what HTTP waits for) |
//! | 16 | `binding::stanzas_before_binding` |
//! | 17 | `streams::nothing_in_the_clear_survives_starttls`; there is no STARTTLS over HTTP: `websocket::no_tls_is_offered`, `bosh::a_session` |
//! | 18 to 21, 23 | `login::what_is_refused`, `login::unknown_users_look_like_others`, `login::disabled_accounts`; what the operator does not want: `offers`; tokens: `sasl2::tokens_that_are_refused`; in the clear: `streams` |
//! | 22 | `login::what_is_refused`, `login::attempts_are_counted`, `limits::failures_of_an_account`, `limits::failures_of_an_address`, `sasl2::guesses_of_tokens_are_counted` |
//! | 24 | `backends::each_answer_is_told_to_the_client`, `ldap::a_directory_that_is_away_is_asked_again`, `bearer::a_provider_that_is_away_is_nobody_s_fault`; the own database: `crates/session` |
//! | 25 | `binding::resources`, `binding::taken_illegal_and_too_many`, `binding::the_old_session` |
//! | 26 | `binding::a_session_is_of_the_verified_account`, `attacks::a_stream_stays_with_its_domain` |
//! | 27 to 37 | `iq.rs`, `roster.rs`, `presence.rs`, `subscriptions.rs`, `messages.rs`, `offline.rs` |
//! | 38, 39 | [`forgeries`] |
//! | 40 | `sm::in_order_only` |
//! | 41 | `sm::the_client_acknowledges`, `sm_resume::too_much_is_acknowledged` |
//! | 42 | `sm_resume::nobody_elses`, `sm_resume::ended`, `sm_resume::taken_over`, `sm_away::the_time_is_over` |
//! | 43 | `sm_away::a_thousand_messages`, `slow_reader::who_acknowledges_nothing`, `slow_reader`; over BOSH `limits::outbox_of_a_session`, `bosh::much_at_once` |
//! | 45 | `rooms::occupant::a_message_for_everybody`, `rooms::occupant::am_i_in_the_room` |
//! | 46 | `rooms::entering::why_somebody_may_not_come_in` (a room that was destroyed is as one that never was: XEP-0045 knows no `gone` there); who may make none: `rooms::service::who_makes_rooms_is_the_operators_to_say` |
//! | 47 | `rooms::moderator::what_is_not_allowed` (its voice and subject, its configuration, its last owner); also `rooms::admin`, `rooms::owner` |
//! | 48 | `pep::what_is_refused`, `pubsub_service::what_is_refused` (what is decided is no part of a transport: two of them) |
//! | 49, 50 | `upload`: slots over every transport in `upload::a_file_comes_and_goes`; what is decided is no part of one |
//! | 51 | `federation::incoming::headers_that_are_refused`, `federation::incoming::whom_it_may_speak_for` (streams of servers, as all of these; most also with TLS at once) |
//! | 52 | `federation::dialback` |
//! | 53 | `federation::incoming::without_tls`, `federation::incoming::certificates_that_are_not_enough`, `federation::outgoing::servers_that_are_not_it` |
//! | 54 | `federation::outgoing::domains_that_are_nowhere`; what the DNS does not answer: `crates/s2s` |
//! | 55 | `federation::spool` |
//!
//! | attacks | where |
//! | --- | --- |
//! | 1, 2, 3, 7 | `amplification` |
//! | 4 | `limits::sizes` |
//! | 5 | the fuzzers of `xmlstream`, [`stream_errors`] |
//! | 6 | `attacks::nothing_is_smuggled` |
//! | 8 | `attacks::no_compression` |
//! | 9 | `attacks::random_walks` |
//! | 10, 11 | `streams`, and `crates/c2s/tests/tls`: of TLS |
//! | 12 | as row 12 of the faults; `load::half_open_connections`, `load::dribbled_giants` |
//! | 13 | `login::what_is_refused`, `binding::a_session_is_of_the_verified_account` |
//! | 14 | ids: `bosh::a_session`, `sm::enabled` |
//! | 15, 17 | `login::unknown_users_look_like_others`, `login::every_mechanism`, `login::what_is_refused`, `offers::scram_signs_what_was_offered`; what the time tells: `backends::a_web_service_knows_the_passwords`, and the example `login_timing` of `crates/testkit` |
//! | 16 | `iq::strangers_learn_nothing`, `federation::together::strangers_learn_nothing` |
//! | 18 | `sasl2::nothing_outlives_the_password`, `sm_resume::ended` |
//! | 19 | `federation::incoming::certificates_that_are_not_enough`; hostile certificates: `s2s/src/identity` |
//! | 20, 22 | `federation::dialback::answers_that_nobody_has_asked_for`, `federation::dialback::it_is_off` |
//! | 21 | `federation::dialback::our_own_keys`, and `crates/sasl`: how a key is made |
//! | 23 | `federation::incoming::whom_it_may_speak_for`, `federation::incoming::nothing_comes_over_our_own` |
//! | 24 | `federation::forged::an_administrator_elsewhere_is_none_here`, `federation::incoming::headers_that_are_refused` |
//! | 19 | whom a certificate speaks for is no part of a transport: `crates/s2s/src/identity`, its tests; addresses of clients: `crates/c2s/src/tls/x509.rs` |
//! | 25, 26 | [`forgeries`], `forged`, from other servers `federation::forged`; in rooms `rooms::occupant::nobody_speaks_for_the_room` |
//! | 27 | `caps::who_is_believed_and_who_is_not`, `caps::nobody_hears_for_others` |
//! | 28 | `sm_away::many_sessions_leave_one_copy`, `sm_away::a_thousand_messages` |
//! | 29 | `sm_resume::nobody_elses` |
//! | 30 | the counters of `router/src/outbox/managed.rs` and their tests: they are below the transports |
//! | 31 | `strangers`, `subscriptions`, `limits::subscription_requests`, `limits::directed_presence`, `pubsub_service::a_crowd_of_subscriptions_ends_at_a_limit`, `rooms::service::a_flood_is_refused` |
//! | 32 | `registration::a_swarm_of_bots`, `invitations::guesses_are_slowed_down`; `strangers`, `reports` |
//! | 34 | `upload::what_could_run_is_saved_and_not_shown`, `upload::an_upload_is_what_was_agreed`, `upload::a_file_comes_and_goes`; names: `crates/files` |
//! | 33 | `bytestreams`; TURN: `external_services` |
//! | 38 | `websocket::origins`, `bosh::origins`, `bosh::request_ids`, `bosh::requests_race`, `bosh::bad_requests`, `bosh::what_is_told_holds` |
//!
//! Every key of `[limits]` and where it is reached: `limits.rs`.

use testkit::{Bosh, Client, NS_STREAM, Server, Transport, frame, post};

use crate::support::{befriend, error_of, settle};

const OPEN: &str = "<stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// Where in the life of a stream the input comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Instead of the stream header.
    First,
    /// Behind the features, before the login.
    Opened,
    /// A resource is bound and available.
    Bound,
}

const ALL: &[When] = &[When::First, When::Opened, When::Bound];
const INSIDE: &[When] = &[When::Opened, When::Bound];
const BOUND: &[When] = &[When::Bound];

/// (row, input, where, condition of the stream error)
fn rows() -> Vec<(u32, Vec<u8>, &'static [When], &'static str)> {
    let mut rows: Vec<(u32, Vec<u8>, &'static [When], &'static str)> = Vec::new();
    let mut add = |row: u32, input: &[u8], when: &'static [When], condition: &'static str| {
        rows.push((row, input.to_vec(), when, condition));
    };
    // 1: a document type, with whatever in it.
    add(1, b"<!DOCTYPE a [<!ENTITY x 'y'>]>", ALL, "restricted-xml");
    add(1, b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>", ALL, "restricted-xml");
    add(1, b"<message><!DOCTYPE a></message>", BOUND, "restricted-xml");
    // 2: comments and processing instructions.
    add(2, b"<!-- comment -->", ALL, "restricted-xml");
    add(2, b"<?pi data?>", ALL, "restricted-xml");
    add(2, b"<message><!-- comment --></message>", BOUND, "restricted-xml");
    add(2, b"<message><body><?pi?></body></message>", BOUND, "restricted-xml");
    // 3: references.
    add(3, b"<message><body>&foo;</body></message>", INSIDE, "restricted-xml");
    add(3, b"<message to='&foo;'/>", INSIDE, "restricted-xml");
    for reference in [
        "&#0;",
        "&#xFFFE;",
        "&#xD800;",
        "&#x110000;",
        "&#1;",
        "&#;",
        "&#x;",
        "&;",
        "& ",
        "&#99999999999;",
    ] {
        add(
            3,
            format!("<message><body>{reference}</body></message>").as_bytes(),
            INSIDE,
            "not-well-formed",
        );
    }
    // 4: tags and names.
    for wrong in [
        "<message></presence>",
        "<message><a><b></a></b></message>",
        "<message><p:a/></message>",
        "<p:message/>",
        "<message a='1' a='2'/>",
        "<message xmlns:p='u' xmlns:q='u' p:a='1' q:a='2'/>",
        "<message p:a='1'/>",
        "<message a=1/>",
        "<message a/>",
        "<message a='<'/>",
        "<message a='1'b='2'/>",
        "< message/>",
        "<1/>",
        "<a:b:c/>",
        "<message xmlns:p=''/>",
        "<message xmlns:xml='urn:x'/>",
        "<message xmlns:p='http://www.w3.org/2000/xmlns/'/>",
        "<message><body>]]></body></message>",
        "<message></message a='1'>",
        "<message",
        "</message>",
    ] {
        if wrong == "<message" {
            add(4, b"<message<", INSIDE, "not-well-formed");
        } else {
            add(4, wrong.as_bytes(), INSIDE, "not-well-formed");
        }
    }
    // 5: what is not UTF-8, or no character of XML.
    for bytes in [
        &b"\xc0\xaf"[..],
        b"\xe0\x80\xaf",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xe2\x82<",
        b"\xff",
        b"\x00",
        b"\x01",
        b"\x0b",
        b"\x1f",
        b"\xef\xbf\xbe",
        b"\xef\xbf\xbf",
    ] {
        let mut input = b"<message><body>a".to_vec();
        input.extend_from_slice(bytes);
        input.extend_from_slice(b"b</body></message>");
        add(5, &input, INSIDE, "not-well-formed");
    }
    // 6: encodings and versions of XML.
    add(
        6,
        format!("<?xml version='1.0' encoding='iso-8859-1'?>{OPEN}").as_bytes(),
        &[When::First],
        "unsupported-encoding",
    );
    add(
        6,
        format!("<?xml version='1.0' encoding='UTF-16'?>{OPEN}").as_bytes(),
        &[When::First],
        "unsupported-encoding",
    );
    add(6, b"\xff\xfe<\0?\0x\0m\0l\0", &[When::First], "unsupported-encoding");
    add(6, b"\xfe\xff\0<\0?\0x\0m\0l", &[When::First], "unsupported-encoding");
    // 7 and 8: the root.
    let root =
        |name: &str, declarations: &str| format!("<{name} to='example.org' version='1.0' {declarations}>").into_bytes();
    add(
        7,
        &root("stream:stream", "xmlns='jabber:client' xmlns:stream='urn:wrong'"),
        &[When::First],
        "invalid-namespace",
    );
    add(
        7,
        &root(
            "stream:flow",
            &format!("xmlns='jabber:client' xmlns:stream='{NS_STREAM}'"),
        ),
        &[When::First],
        "bad-format",
    );
    for content in [
        "jabber:wrong",
        "jabber:server",
        "jabber:component:accept",
        "JABBER:CLIENT",
    ] {
        add(
            8,
            &root(
                "stream:stream",
                &format!("xmlns='{content}' xmlns:stream='{NS_STREAM}'"),
            ),
            &[When::First],
            "invalid-namespace",
        );
    }
    add(
        8,
        &root("stream:stream", &format!("xmlns:stream='{NS_STREAM}'")),
        &[When::First],
        "invalid-namespace",
    );
    add(
        8,
        &root(
            "flow:stream",
            &format!("xmlns='jabber:client' xmlns:flow='{NS_STREAM}'"),
        ),
        &[When::First],
        "bad-namespace-prefix",
    );
    add(
        8,
        &root("stream", &format!("xmlns='{NS_STREAM}'")),
        &[When::First],
        "bad-namespace-prefix",
    );
    // 9 and 10: version and address.
    let header = |attributes: &str| {
        format!("<stream:stream {attributes} xmlns='jabber:client' xmlns:stream='{NS_STREAM}'>").into_bytes()
    };
    for version in ["", "version='0.9'", "version='one'", "version=''"] {
        add(
            9,
            &header(&format!("to='example.org' {version}")),
            &[When::First],
            "unsupported-version",
        );
    }
    add(10, &header("version='1.0'"), &[When::First], "improper-addressing");
    for domain in [
        "elsewhere.example",
        "",
        "a b",
        "user@example.org",
        "example.org/r",
        "sub.example.org",
        "example.org.",
    ] {
        // A final dot is the same name (RFC 7622 section 3.2).
        if domain != "example.org." {
            add(
                10,
                &header(&format!("version='1.0' to='{domain}'")),
                &[When::First],
                "host-unknown",
            );
        }
    }
    // 13: elements that nobody knows.
    for unknown in [
        "<foo/>",
        "<message xmlns='urn:wrong'/>",
        "<message xmlns='jabber:server'/>",
        "<message xmlns=''/>",
        "<foo xmlns='urn:x'/>",
        "<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
    ] {
        add(13, unknown.as_bytes(), INSIDE, "unsupported-stanza-type");
    }
    // 14: text.
    add(14, b"text", INSIDE, "bad-format");
    add(14, b"<iq type='result' id='1'/>text<message/>", BOUND, "bad-format");
    add(14, b"&amp;", INSIDE, "bad-format");
    // 15: stanzas before the login.
    for stanza in [
        "<message to='example.org'/>",
        "<presence/>",
        "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
    ] {
        add(15, stanza.as_bytes(), &[When::Opened], "not-authorized");
    }
    rows
}

/// What a session of BOSH is answered with.
enum OverBosh {
    /// The same stream error as everywhere, within the end of the session.
    StreamError,
    /// The request as a whole is not what a request may be (XEP-0124 section 6), and no stream hears of it.
    BadRequest,
}

/// None: it cannot be said there. The first request stands for the stream header, and has neither an encoding nor a
/// root of its own (rows 1 to 8), nor has its version to be named (the schema of XEP-0206).
fn over_bosh(row: u32, when: When, condition: &str, input: &[u8]) -> Option<OverBosh> {
    let has_version = input.windows(8).any(|bytes| bytes == b"version=");
    match (row, when) {
        (9, When::First) => has_version.then_some(OverBosh::StreamError),
        (10, When::First) => Some(OverBosh::StreamError),
        (_, When::First) => None,
        _ if condition == "bad-format" || row <= 5 => Some(OverBosh::BadRequest),
        _ => Some(OverBosh::StreamError),
    }
}

async fn at(server: &Server, transport: Transport, when: When, jid: &str) -> Client {
    match when {
        When::First => Client::secured(server, transport).await,
        When::Opened => Client::opened(server, transport).await,
        When::Bound => {
            let mut client = Client::online(server, transport, &format!("{jid}/bad")).await;
            client.forget().await;
            client
        }
    }
}

#[tokio::test]
async fn stream_errors() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut bystander = Client::online(&server, transport, &server.user()).await;
        let jid = server.user();
        for (row, input, when, condition) in rows() {
            for when in when {
                if transport == Transport::Bosh {
                    let Some(answer) = over_bosh(row, *when, condition, &input) else {
                        continue;
                    };
                    let mut client = at(&server, transport, *when, &jid).await;
                    client.send(&input).await;
                    match answer {
                        OverBosh::StreamError => drop(client.expect_stream_error(condition).await),
                        OverBosh::BadRequest => client.expect_terminal_condition("bad-request").await,
                    }
                    bystander.ping().await;
                    continue;
                }
                // The header of a WebSocket is another one: `websocket.rs`.
                // And what is in one message is one element or none.
                let is_mixed = row == 14 && input.starts_with(b"<");
                if transport == Transport::WebSocket && (*when == When::First || is_mixed) {
                    continue;
                }
                let mut client = at(&server, transport, *when, &jid).await;
                client.send(&input).await;
                client.expect_stream_error(condition).await;
                // It is as well that the server lives, and that nobody hears of it.
                bystander.ping().await;
            }
        }
        bystander.nothing_more().await;
    }
    // In the clear too, where a stream begins.
    for (_, input, when, condition) in rows() {
        if when.contains(&When::First) {
            let mut client = Client::connect(&server, Transport::Starttls).await;
            client.send(&input).await;
            client.expect_stream_error(condition).await;
        }
    }
}

/// Row 5 once more: it makes no difference where the bytes are cut.
#[tokio::test]
async fn cut_at_every_byte() {
    let server = Server::with_users(2);
    let jid = server.user();
    let inputs: [(&[u8], &str); 5] = [
        (b"<message><body>\xe2\x82</body></message>", "not-well-formed"),
        (b"<message><body>\xf0\x9f\x90</body></message>", "not-well-formed"),
        (b"<message><body>&#0;</body></message>", "not-well-formed"),
        (b"<message><!-- x --></message>", "restricted-xml"),
        (b"<message></presence>", "not-well-formed"),
    ];
    for transport in Transport::BOTH {
        for (input, condition) in inputs {
            for cut in 1..input.len() {
                let mut client = Client::opened(&server, transport).await;
                client.send(&input[..cut]).await;
                client.send(&input[cut..]).await;
                client.expect_stream_error(condition).await;
            }
            let mut client = Client::login(&server, transport, &jid).await;
            for byte in input {
                client.send([*byte]).await;
            }
            client.expect_stream_error(condition).await;
        }
    }
    // The same in a message: cut on its way, in two frames, and a byte a frame.
    let transport = Transport::WebSocket;
    for (input, condition) in inputs {
        let whole = frame(0x81, input);
        for cut in 1..whole.len() {
            let mut client = Client::opened(&server, transport).await;
            client.send_raw(&whole[..cut]).await;
            client.send_raw(&whole[cut..]).await;
            client.expect_stream_error(condition).await;
        }
        for cut in 1..input.len() {
            let mut client = Client::opened(&server, transport).await;
            client.send_raw(&frame(0x01, &input[..cut])).await;
            client.send_raw(&frame(0x80, &input[cut..])).await;
            client.expect_stream_error(condition).await;
        }
        let mut client = Client::login(&server, transport, &jid).await;
        client.send_raw(&frame(0x01, b"")).await;
        for byte in input {
            client.send_raw(&frame(0x00, &[*byte])).await;
        }
        client.send_raw(&frame(0x80, b"")).await;
        client.expect_stream_error(condition).await;
    }
    // And in a request: the session is over, by whatever part of it.
    for (input, _) in inputs {
        let request = |bosh: &mut Bosh| {
            let body = bosh.body("", "|");
            let (begin, end) = body.split_once('|').expect("a place for it");
            [begin.as_bytes(), input, end.as_bytes()].concat()
        };
        // As long in each session; by and by, in one connection.
        let mut bosh = Bosh::begin(&server).await;
        let length = post(&request(&mut bosh), "").len();
        for back in 1..input.len() + "</body>".len() {
            let mut bosh = Bosh::begin(&server).await;
            let whole = post(&request(&mut bosh), "");
            let (begin, end) = whole.split_at(length - back);
            bosh.line.send(begin).await;
            bosh.line.send(end).await;
            bosh.line.answer().await.wrapper().assert_end("bad-request");
            let next = bosh.body("", "");
            bosh.line.post(&next).await.wrapper().assert_end("item-not-found");
        }
        let mut bosh = Bosh::begin(&server).await;
        let body = request(&mut bosh);
        bosh.line
            .send(b"POST /http-bind HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        for byte in body {
            bosh.line.send(&[b"1\r\n", &[byte][..], b"\r\n"].concat()).await;
        }
        bosh.line.send(b"0\r\n\r\n").await;
        bosh.line.answer().await.wrapper().assert_end("bad-request");
    }
}

/// Row 9: a client that can do more than we is offered what we can.
#[tokio::test]
async fn versions_and_spaces() {
    let server = Server::with_users(3);
    for transport in Transport::EVERY {
        for version in ["1.0", "1.7", "2.0", "10.1", "01.0"] {
            let mut client = Client::secured(&server, transport).await;
            let header = OPEN.replace("1.0", version);
            client.open_with(&header).await;
            assert_eq!(client.header.attr("version"), Some("1.0"), "{version}");
        }
        // Row 14: whitespace is always welcome.
        let mut client = Client::secured(&server, transport).await;
        client
            .open_with(&format!("<?xml version=\"1.0\" encoding=\"utf-8\" ?>\r\n\t {OPEN}"))
            .await;
        client.send("  \n\t\r\n ").await;
        client.plain("u0", &testkit::password_of("u0@example.org")).await;
        // A domain in another form is the same.
        client.domain = "EXAMPLE.ORG".to_owned();
        client.open().await;
        client.domain = "example.org".to_owned();
        client.bind(None).await;
        client.send(" \n ").await;
        client.nothing_more().await;
    }
}

/// Row 11, before the login and after it.
#[tokio::test]
async fn too_big_too_deep_too_many() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    let big = 8192;
    // What a request may have beside a stanza is little, and its depth, attributes and names are looked at before the
    // stream is (XEP-0124 section 17.2).
    let is_refused_before = |what: &str, input: &str| {
        ["depth", "attributes", "a name"].contains(&what) || input.len() > 262_144 + 4096 - 256
    };
    for transport in Transport::EVERY {
        let mut bystander = Client::online(&server, transport, &server.user()).await;
        let jid = server.user();
        // (what, before the login, after it, whether it is the size that is wrong)
        // With the namespace, which a message of a WebSocket needs.
        const BEGIN: &str = "<message xmlns='jabber:client'";
        let nested = |depth: usize| format!("{BEGIN}>{}{}</message>", "<a>".repeat(depth), "</a>".repeat(depth));
        let attributes = |count: usize| {
            format!(
                "{BEGIN} {}/>",
                (0..count).map(|n| format!("a{n}='' ")).collect::<String>()
            )
        };
        let namespaces = |count: usize| {
            format!(
                "{BEGIN} {}/>",
                (0..count).map(|n| format!("xmlns:a{n}='u' ")).collect::<String>()
            )
        };
        // So many elements with twenty declarations each, all of which are used.
        let declared = |count: usize| {
            let used: String = (0..20).map(|n| format!("xmlns:a{n}='u{n}' a{n}:b='' ")).collect();
            let child = format!("<a {used}/>");
            format!("{BEGIN}>{}</message>", child.repeat(count))
        };
        let flat = |count: usize| format!("{BEGIN}>{}</message>", "<a/>".repeat(count));
        let text = |bytes: usize| format!("{BEGIN}><body>{}</body></message>", "x".repeat(bytes));
        let attribute = |bytes: usize| format!("{BEGIN} a='{}'/>", "x".repeat(bytes));
        let name = |bytes: usize| format!("<{} xmlns='jabber:client'/>", "x".repeat(bytes));
        let cases = [
            ("a stanza", text(big), text(262_144), true),
            ("an attribute", attribute(big), attribute(1_048_576), true),
            ("elements", flat(32), flat(4_096), true),
            ("depth", nested(10_001), nested(10_001), false),
            ("attributes", attributes(65), attributes(10_000), false),
            ("namespaces", declared(13), declared(13), false),
            ("so many of them", declared(30), declared(4_000), false),
            ("a name", name(257), name(257), false),
        ];
        for (what, before, after, is_size) in &cases {
            for (input, bound) in [(before, false), (after, true)] {
                let when = if bound { When::Bound } else { When::Opened };
                let mut client = at(&server, transport, when, &jid).await;
                client.send_whole(input.as_bytes()).await;
                if transport == Transport::Bosh && is_refused_before(what, input) {
                    client.expect_terminal_condition("policy-violation").await;
                    bystander.ping().await;
                    continue;
                }
                let error = client.expect_stream_error("policy-violation").await;
                if *is_size {
                    assert!(
                        error.has_child("stanza-too-big", "urn:xmpp:errors"),
                        "{what}: {error:?}"
                    );
                }
                bystander.ping().await;
            }
        }
        // What just fits is no fault.
        let mut client = at(&server, transport, When::Bound, &jid).await;
        let to = format!("to='{}'", bystander.jid);
        for fits in [
            format!("{BEGIN} {to}>{}{}</message>", "<a>".repeat(62), "</a>".repeat(62)),
            attributes(60).replace("<message", &format!("<message {to}")),
            namespaces(31).replace("<message", &format!("<message {to}")),
            flat(4_000).replace("<message", &format!("<message {to}")),
            text(262_000).replace("<message", &format!("<message {to}")),
        ] {
            client.send_whole(fits.as_bytes()).await;
            bystander.expect("<message/>").await;
        }
        client.nothing_more().await;
        bystander.nothing_more().await;
    }
}

/// Rows 38 and 39 (rows 25 and 26 of the attacks): what only one's own server may say is not said by others.
#[tokio::test]
async fn forgeries() {
    let server = Server::with_users(3 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut victim = Client::online(&server, transport, &format!("{}/v", server.user())).await;
        let mut contact = Client::online(&server, transport, &server.user()).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        befriend(&mut victim, &mut contact).await;
        let (full, bare) = (victim.jid.clone(), victim.bare().to_owned());
        for attacker in [&mut contact, &mut stranger] {
            // 38: a roster push, a carbon copy, an archived message.
            for to in [&full, &bare] {
                let push = format!(
                    "<iq type='set' id='p' to='{to}'><query xmlns='jabber:iq:roster'><item jid='evil@example.org' subscription='both'/></query></iq>"
                );
                attacker.send(push).await;
                let answer = attacker.expect("<iq type='error' id='p'/>").await;
                assert!(
                    ["cancel/service-unavailable", "auth/forbidden"].contains(&error_of(&answer).as_str()),
                    "{answer:?}"
                );
                let inner = format!(
                    "<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' from='{bare}' to='{bare}'><body>forged</body></message></forwarded>"
                );
                for forged in [
                    format!("<received xmlns='urn:xmpp:carbons:2'>{inner}</received>"),
                    format!("<sent xmlns='urn:xmpp:carbons:2'>{inner}</sent>"),
                    format!("<result xmlns='urn:xmpp:mam:2' id='1' queryid='q'>{inner}</result>"),
                    format!("<body>x</body><p:sent xmlns:p='urn:xmpp:carbons:2'>{inner}</p:sent>"),
                ] {
                    for kind in ["chat", "normal", "headline"] {
                        attacker
                            .send(format!("<message type='{kind}' to='{to}'>{forged}</message>"))
                            .await;
                        // As to nobody, which a headline is not told.
                        if kind != "headline" {
                            let refused = attacker.expect("<message type='error'/>").await;
                            assert_eq!(error_of(&refused), "cancel/service-unavailable");
                        }
                    }
                }
            }
            settle(attacker, &bare).await;
            attacker.nothing_more().await;
            victim.nothing_more().await;

            // 39: ids and delays in the server's name, once and many times, in every spelling.
            let ids = format!("<stanza-id xmlns='urn:xmpp:sid:0' by='{bare}' id='forged'/>");
            let prefixed = format!("<p:stanza-id xmlns:p='urn:xmpp:sid:0' by='{bare}' id='forged'/>");
            let delay = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2001-01-01T00:00:00Z'/>";
            let own_delay =
                format!("<delay xmlns='urn:xmpp:delay' from='{bare}' stamp='2001-01-01T00:00:00Z'></delay>");
            for count in [1, 2, 9] {
                let forged = format!("{ids}{prefixed}{delay}{own_delay}").repeat(count);
                for to in [&full, &bare] {
                    attacker.send(format!("<message type='chat' to='{to}'>{forged}<body>kept</body>{forged}<x xmlns='urn:x'/></message>")).await;
                    attacker.nothing_more().await;
                    let came = victim
                        .expect("<message type='chat'><body>kept</body><x xmlns='urn:x'/></message>")
                        .await;
                    assert_eq!(came.children().count(), 3, "all of them are gone: {came:?}");
                    let id = came
                        .get_child("stanza-id", "urn:xmpp:sid:0")
                        .and_then(|id| id.attr("id"));
                    assert!(id.is_some_and(|id| id != "forged"), "but ours is there: {came:?}");
                }
            }
            // What others say in their own name is theirs to say.
            let honest = "<delay xmlns='urn:xmpp:delay' from='room.example.net' stamp='2001-01-01T00:00:00Z'/><stanza-id xmlns='urn:xmpp:sid:0' by='room.example.net' id='1'/>";
            attacker
                .send(format!("<message to='{full}'>{honest}<body>x</body></message>"))
                .await;
            victim
                .expect(&format!("<message>{honest}<body>x</body></message>"))
                .await;
        }
        // Stored, it has exactly one stamp: the true one.
        victim.close().await;
        contact.wait("<presence type='unavailable'/>").await;
        let forged = "<delay xmlns='urn:xmpp:delay' from='example.org' stamp='2001-01-01T00:00:00Z'/>".repeat(3);
        contact
            .send(format!(
                "<message type='chat' to='{bare}'>{forged}<body>x</body></message>"
            ))
            .await;
        settle(&mut contact, &bare).await;
        let mut victim = Client::online(&server, transport, &full).await;
        let came = victim.wait("<message type='chat'><body>x</body></message>").await;
        let delays: Vec<&str> = came
            .children()
            .filter(|child| child.name() == "delay")
            .filter_map(|child| child.attr("stamp"))
            .collect();
        assert!(delays.len() == 1 && !delays[0].starts_with("2001"), "{came:?}");
    }
}
