//! `jackdaw account devices` and `jackdaw account revoke`.

use stanza::Jid;

use super::{address, say, unexpected, with};
use crate::admin::{Command, Connection, Device, MAX_CLIENT_ID, Reply};
use crate::config::Config;
use crate::failure::Failure;

pub(super) fn print(config: &Config, jid: &str) -> Result<(), Failure> {
    let jid = address(jid)?;
    with(config, |backend| {
        let Reply::Devices(devices) = backend.handle(Command::Devices(jid.clone()))? else {
            return Err(unexpected());
        };
        devices.iter().try_for_each(|device| say(&line(device)))
    })
}

pub(super) fn revoke(config: &Config, jid: &str, id: &str, keep_password: bool) -> Result<(), Failure> {
    let jid: Jid = address(jid)?;
    if id.len() > MAX_CLIENT_ID || id.contains(char::is_control) {
        return Err(Failure::usage("that is no id of a client"));
    }
    let command = Command::Revoke {
        jid: jid.clone(),
        id: id.to_owned(),
        keep_password,
    };
    with(config, |backend| backend.handle(command))?;
    say(&format!("{jid}: the access of {id} has ended"))
}

/// Id, kind, name, whether it is connected, the first and the last time in UTC, whether it has a token; TABs between
/// them, and `-` for what there is not.
fn line(device: &Device) -> String {
    let or_none = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    let moment = |seconds: Option<i64>| {
        let moment = seconds.and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
        moment.map_or_else(
            || "-".to_owned(),
            |at| {
                let (date, hour, minute, second) = (at.date(), at.hour(), at.minute(), at.second());
                format!("{date}T{hour:02}:{minute:02}:{second:02}Z")
            },
        )
    };
    let connection = match device.connection {
        Connection::None => "-",
        Connection::Open => "connected",
        Connection::Waits => "waits",
    };
    [
        device.id.clone(),
        or_none(&device.kind),
        or_none(&device.name),
        connection.to_owned(),
        moment(device.first_seen),
        moment(device.last_seen),
        if device.has_token { "token" } else { "-" }.to_owned(),
    ]
    .join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_devices() {
        let device = Device {
            id: "c0ffee".into(),
            kind: "password+token".into(),
            name: "Gajim, laptop".into(),
            connection: Connection::Waits,
            first_seen: Some(1_000_000_000),
            last_seen: Some(1_000_000_061),
            has_token: true,
        };
        assert_eq!(
            line(&device),
            "c0ffee\tpassword+token\tGajim, laptop\twaits\t2001-09-09T01:46:40Z\t2001-09-09T01:47:41Z\ttoken"
        );
        let nobodys = Device {
            id: "/balcony".into(),
            kind: "session".into(),
            name: String::new(),
            connection: Connection::Open,
            first_seen: None,
            last_seen: None,
            has_token: false,
        };
        assert_eq!(line(&nobodys), "/balcony\tsession\t-\tconnected\t-\t-\t-");
    }
}
