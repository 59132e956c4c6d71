//! Channel binding: what the client claims against the mechanism, the channel and what was offered (RFC 5802 section 6).

use super::client::Client;
use super::*;

const EXPORTER_HEADER: &str = "p=tls-exporter,,";
const END_POINT_HEADER: &str = "p=tls-server-end-point,,";

/// All SCRAM mechanisms that are -PLUS, or all that are not.
fn scram(plus: bool) -> impl Iterator<Item = Mechanism> {
    Mechanism::ALL
        .into_iter()
        .filter(move |each| each.hash().is_some() && each.is_plus() == plus)
}

fn check(plus: bool, context: &Context, change: impl Fn(&mut Client), expected: &str) {
    for mechanism in scram(plus) {
        let mut client = Client::new(mechanism, "n,,", b"");
        change(&mut client);
        let (_, last) = play(mechanism, context.clone(), Account::Known, |challenge| {
            client.answer(challenge)
        });
        let shown = show(&last);
        let outcome = shown.split(' ').next().unwrap();
        assert_eq!(
            outcome,
            expected,
            "{} {} {:?}",
            mechanism.name(),
            client.header,
            client.binding
        );
    }
}

fn with(header: &str, binding: &[u8]) -> impl Fn(&mut Client) {
    move |client| {
        client.header = header.to_owned();
        client.repeated = header.to_owned();
        client.binding = binding.to_vec();
    }
}

#[test]
fn both_types_bind() {
    check(true, &context(), with(EXPORTER_HEADER, &EXPORTER), "success");
    check(true, &context(), with(END_POINT_HEADER, END_POINT), "success");
}

#[test]
fn a_type_that_the_channel_does_not_have_is_refused() {
    let only_end_point = Context {
        binding: Binding {
            exporter: None,
            ..context().binding
        },
        ..context()
    };
    let only_exporter = Context {
        binding: Binding {
            server_end_point: None,
            ..context().binding
        },
        ..context()
    };
    check(true, &only_end_point, with(END_POINT_HEADER, END_POINT), "success");
    check(
        true,
        &only_end_point,
        with(EXPORTER_HEADER, &EXPORTER),
        "not-authorized",
    );
    check(true, &only_exporter, with(EXPORTER_HEADER, &EXPORTER), "success");
    check(
        true,
        &only_exporter,
        with(END_POINT_HEADER, END_POINT),
        "not-authorized",
    );
    for header in ["p=tls-unique,,", "p=TLS-EXPORTER,,", "p=x.y-1,,"] {
        check(true, &context(), with(header, &EXPORTER), "not-authorized");
    }
}

/// Somebody in the middle has another channel to us than the client has.
#[test]
fn data_of_another_channel_is_refused() {
    for data in [
        &[0xED; 32][..],
        &EXPORTER[..31],
        &[&EXPORTER[..], b"x"].concat(),
        END_POINT,
        b"",
    ] {
        check(true, &context(), with(EXPORTER_HEADER, data), "not-authorized");
    }
    for data in [&EXPORTER[..], b"Hash of the certificate", b""] {
        check(true, &context(), with(END_POINT_HEADER, data), "not-authorized");
    }
    // Without binding nothing may follow the header (section 7, cbind-input).
    check(false, &context(), with("n,,", &EXPORTER), "not-authorized");
    check(false, &unbound(), with("y,,", b"x"), "not-authorized");
}

/// Somebody took -PLUS off the list, or changed the flag on its way here.
#[test]
fn downgrades_are_refused() {
    check(false, &context(), with("n,,", b""), "success");
    check(false, &unbound(), with("n,,", b""), "success");
    check(false, &unbound(), with("y,,", b""), "success");
    check(false, &context(), with("y,,", b""), "not-authorized");
    check(true, &context(), with("y,,", b""), "not-authorized");

    // The client sent `y` and `c=` says so, the first message was made `n`.
    let flag_changed = |client: &mut Client| client.repeated = "y,,".to_owned();
    check(false, &context(), flag_changed, "not-authorized");
    // Likewise with an authorization identity put in.
    let authzid_added = |client: &mut Client| client.header = "n,a=juliet@example.org,".to_owned();
    check(false, &context(), authzid_added, "not-authorized");
}

#[test]
fn the_flag_has_to_fit_the_mechanism() {
    check(true, &context(), with("n,,", b""), "malformed-request");
    check(false, &context(), with(EXPORTER_HEADER, &EXPORTER), "malformed-request");
    check(false, &unbound(), with(EXPORTER_HEADER, &EXPORTER), "malformed-request");
}

#[test]
fn plus_without_anything_to_bind_to_is_not_offered() {
    check(true, &unbound(), with(EXPORTER_HEADER, &EXPORTER), "invalid-mechanism");
    // Binding data without TLS means nothing.
    let clear = Context {
        tls: false,
        ..context()
    };
    check(true, &clear, with(EXPORTER_HEADER, &EXPORTER), "invalid-mechanism");
    check(false, &clear, with("y,,", b""), "success");
    check(false, &clear, with("n,,", b""), "success");
}
