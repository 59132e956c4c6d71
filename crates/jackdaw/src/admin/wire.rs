//! Commands and replies as lines of words with a TAB between them.
//!
//! A message is one line and as many further lines as its first word says:
//!
//! ```text
//! 0 TAB add TAB juliet@example.org TAB user TAB 1 SHA-1=…
//! 2 TAB import
//! a@example.org TAB user TAB 1 SHA-1=…
//! b@example.org TAB user TAB 1 SHA-1=…
//! ```
//!
//! No escapes: neither a JID (RFC 7622 sections 3.3 and 3.4) nor encoded credentials can hold a TAB or a line break, and
//! of what clients say control characters are taken away.

use ::accounts::invitations::Invitation;
use auth::Credentials;
use stanza::Jid;

use super::{Command, Connection, Device, Listed, MAX_CLIENT_ID, NewAccount, PAGE, Reply, reports};
use crate::accounts::{Made, Wanted};
use crate::failure::{Failure, Why};

/// The longest line in bytes: a bare JID (2,047), credentials (450) and the words around them.
pub const LINE_BYTES: usize = 8_192;

/// A message as it was read: the first line without its number, and the others.
#[derive(Debug, PartialEq, Eq)]
pub struct Lines {
    pub first: String,
    pub further: Vec<String>,
}

/// How many lines follow a first line; `None`: it is not one.
pub fn further(line: &str) -> Option<usize> {
    line.split('\t').next()?.parse().ok().filter(|&count| count <= PAGE)
}

/// A message from its lines. The first must have passed [`further`].
pub fn lines(first: &str, further: Vec<String>) -> Lines {
    let first = first.split_once('\t').map_or("", |(_, rest)| rest).to_owned();
    Lines { first, further }
}

fn message(words: &[&str], further: &[String]) -> String {
    let mut text = further.len().to_string();
    for word in words {
        text.push('\t');
        text.push_str(word);
    }
    text.push('\n');
    for line in further {
        text.push_str(line);
        text.push('\n');
    }
    text
}

pub fn write_command(command: &Command) -> String {
    let simple = |word: &str, jid: &Jid| message(&[word, jid.as_str()], &[]);
    match command {
        Command::Add(new) => message(&["add", &write_new(new)], &[]),
        Command::Import(new) => message(&["import"], &new.iter().map(write_new).collect::<Vec<_>>()),
        Command::List { domain, after } => {
            let (domain, after) = (domain.as_deref().unwrap_or(""), after.as_ref().map_or("", Jid::as_str));
            message(&["list", domain, after], &[])
        }
        Command::Reports(asked) => message(&reports::write_command(asked), &[]),
        Command::Remove(jid) => simple("remove", jid),
        Command::SetPassword(jid, credentials) => message(&["password", jid.as_str(), &credentials.encode()], &[]),
        Command::Disable(jid) => simple("disable", jid),
        Command::Enable(jid) => simple("enable", jid),
        Command::SetAdmin(jid, admin) => message(&["admin", jid.as_str(), yes(*admin)], &[]),
        Command::Invite(wanted) => message(&["invite", &write_wanted(wanted)], &[]),
        Command::Invitations { after } => message(&["invitations", after.as_deref().unwrap_or("")], &[]),
        Command::Withdraw(id) => message(&["withdraw", id], &[]),
        Command::Why { domain, now } => message(&["why", domain, yes(*now)], &[]),
        Command::PushServices => message(&["push-services"], &[]),
        Command::Devices(jid) => simple("devices", jid),
        Command::Revoke { jid, id, keep_password } => message(&["revoke", jid.as_str(), id, yes(*keep_password)], &[]),
    }
}

/// `None`: not a command.
pub fn read_command(lines: &Lines) -> Option<Command> {
    let words: Vec<&str> = lines.first.split('\t').collect();
    if words.first() != Some(&"import") && !lines.further.is_empty() {
        return None;
    }
    Some(match *words.as_slice() {
        ["add", jid, role, credentials] => Command::Add(read_new(&[jid, role, credentials])?),
        ["import"] => {
            let new = lines
                .further
                .iter()
                .map(|line| read_new(&line.split('\t').collect::<Vec<_>>()));
            Command::Import(new.collect::<Option<_>>()?)
        }
        ["list", domain, after] => Command::List {
            domain: (!domain.is_empty()).then(|| domain.to_owned()),
            after: match after {
                "" => None,
                jid => Some(read_jid(jid)?),
            },
        },
        ["invite", ref wanted @ ..] => Command::Invite(read_wanted(wanted)?),
        ["invitations", after] => Command::Invitations {
            after: some_text(after).map(Into::into),
        },
        ["why", domain, now] => Command::Why {
            domain: domain.to_owned(),
            now: is_yes(now)?,
        },
        ["push-services"] => Command::PushServices,
        ["withdraw", id] => Command::Withdraw(id.to_owned()),
        ["reports", ref asked @ ..] => Command::Reports(reports::read_command(asked)?),
        ["remove", jid] => Command::Remove(read_jid(jid)?),
        ["password", jid, credentials] => Command::SetPassword(read_jid(jid)?, Credentials::decode(credentials)?),
        ["disable", jid] => Command::Disable(read_jid(jid)?),
        ["enable", jid] => Command::Enable(read_jid(jid)?),
        ["admin", jid, admin] => Command::SetAdmin(read_jid(jid)?, is_yes(admin)?),
        ["devices", jid] => Command::Devices(read_jid(jid)?),
        ["revoke", jid, id, keep_password] if id.len() <= MAX_CLIENT_ID => Command::Revoke {
            jid: read_jid(jid)?,
            id: id.to_owned(),
            keep_password: is_yes(keep_password)?,
        },
        _ => return None,
    })
}

pub fn write_reply(reply: &Result<Reply, Failure>) -> String {
    match reply {
        Ok(Reply::Done) => message(&["done"], &[]),
        Ok(Reply::Imported { added, existing }) => {
            message(&["imported", &added.to_string(), &existing.to_string()], &[])
        }
        Ok(Reply::Page { accounts, after }) => {
            let lines: Vec<String> = accounts.iter().map(write_listed).collect();
            message(&["page", after.as_ref().map_or("", Jid::as_str)], &lines)
        }
        Ok(Reply::Devices(devices)) => {
            let lines: Vec<String> = devices.iter().map(write_device).collect();
            message(&["devices"], &lines)
        }
        Ok(Reply::Invited(made)) => message(&["invited", &made.uri, &made.expires.to_string()], &[]),
        Ok(Reply::Invitations { invitations, after }) => {
            let lines: Vec<String> = invitations.iter().map(write_invitation).collect();
            message(&["invitations", after.as_deref().unwrap_or("")], &lines)
        }
        Ok(Reply::Reports(found)) => message(&["reports"], &reports::write_reply(found)),
        Ok(Reply::Lines(lines)) => message(&["lines"], lines),
        Err(failure) => {
            let one_line = failure.message.replace(['\t', '\r', '\n'], " ");
            message(&["failed", &failure.why.code().to_string(), &one_line], &[])
        }
    }
}

/// `None`: not a reply.
pub fn read_reply(lines: &Lines) -> Option<Result<Reply, Failure>> {
    let words: Vec<&str> = lines.first.split('\t').collect();
    Some(match *words.as_slice() {
        ["done"] => Ok(Reply::Done),
        ["imported", added, existing] => Ok(Reply::Imported {
            added: added.parse().ok()?,
            existing: existing.parse().ok()?,
        }),
        ["page", after] => {
            let accounts = lines
                .further
                .iter()
                .map(|line| read_listed(line))
                .collect::<Option<_>>()?;
            let after = match after {
                "" => None,
                jid => Some(read_jid(jid)?),
            };
            Ok(Reply::Page { accounts, after })
        }
        ["lines"] => Ok(Reply::Lines(lines.further.clone())),
        ["reports"] => Ok(Reply::Reports(reports::read_reply(&lines.further)?)),
        ["devices"] => {
            let devices = lines.further.iter().map(|line| read_device(line));
            Ok(Reply::Devices(devices.collect::<Option<_>>()?))
        }
        ["invited", uri, expires] => Ok(Reply::Invited(Made {
            uri: uri.to_owned(),
            expires: expires.parse().ok()?,
        })),
        ["invitations", after] => {
            let lines = lines.further.iter().map(|line| read_invitation(line));
            Ok(Reply::Invitations {
                invitations: lines.collect::<Option<_>>()?,
                after: some_text(after).map(Into::into),
            })
        }
        ["failed", code, text] => {
            let code: u8 = code.parse().ok()?;
            let why = [Why::Failed, Why::Usage, Why::Configuration, Why::Unavailable];
            let why = why.into_iter().find(|why| why.code() == code)?;
            Err(Failure::new(why, text))
        }
        _ => return None,
    })
}

fn read_jid(text: &str) -> Option<Jid> {
    ::accounts::address(text).ok()
}

fn write_new(new: &NewAccount) -> String {
    format!("{}\t{}\t{}", new.jid, role(new.admin), new.credentials.encode())
}

fn read_new(words: &[&str]) -> Option<NewAccount> {
    let [jid, role, credentials] = words else { return None };
    let credentials = Credentials::decode(credentials)?;
    Some(NewAccount {
        jid: read_jid(jid)?,
        admin: is_admin(role)?,
        credentials,
    })
}

fn write_listed(listed: &Listed) -> String {
    let state = if listed.disabled { "disabled" } else { "enabled" };
    format!("{}\t{}\t{state}\t{}", listed.jid, listed.created, role(listed.admin))
}

fn read_listed(line: &str) -> Option<Listed> {
    let words: Vec<&str> = line.split('\t').collect();
    let [jid, created, state, role] = *words.as_slice() else {
        return None;
    };
    let disabled = match state {
        "enabled" => false,
        "disabled" => true,
        _ => return None,
    };
    Some(Listed {
        jid: read_jid(jid)?,
        created: created.parse().ok()?,
        disabled,
        admin: is_admin(role)?,
    })
}

fn write_device(device: &Device) -> String {
    let connection = match device.connection {
        Connection::None => "none",
        Connection::Open => "open",
        Connection::Waits => "waits",
    };
    let moment = |seconds: Option<i64>| seconds.map(|seconds| seconds.to_string()).unwrap_or_default();
    [
        device.id.as_str(),
        &device.kind,
        &device.name,
        connection,
        &moment(device.first_seen),
        &moment(device.last_seen),
        yes(device.has_token),
    ]
    .join("\t")
}

fn read_device(line: &str) -> Option<Device> {
    let words: Vec<&str> = line.split('\t').collect();
    let [id, kind, name, connection, first_seen, last_seen, has_token] = *words.as_slice() else {
        return None;
    };
    let moment = |text: &str| match text {
        "" => Some(None),
        text => text.parse().ok().map(Some),
    };
    Some(Device {
        id: id.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        connection: match connection {
            "none" => Connection::None,
            "open" => Connection::Open,
            "waits" => Connection::Waits,
            _ => return None,
        },
        first_seen: moment(first_seen)?,
        last_seen: moment(last_seen)?,
        has_token: is_yes(has_token)?,
    })
}

fn some_text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Nothing, or an address.
fn some_jid(text: &str) -> Option<Option<Jid>> {
    match some_text(text) {
        None => Some(None),
        Some(text) => read_jid(text).map(Some),
    }
}

fn write_wanted(wanted: &Wanted) -> String {
    [
        wanted.domain.as_deref().unwrap_or(""),
        wanted.inviter.as_ref().map_or("", Jid::as_str),
        wanted.contact.as_ref().map_or("", Jid::as_str),
        wanted.username.as_deref().unwrap_or(""),
        role(wanted.admin),
        &wanted.lifetime.to_string(),
        &wanted.uses.to_string(),
    ]
    .join("\t")
}

fn read_wanted(words: &[&str]) -> Option<Wanted> {
    let [domain, inviter, contact, username, role, lifetime, uses] = *words else {
        return None;
    };
    Some(Wanted {
        domain: some_text(domain).map(str::to_owned),
        inviter: some_jid(inviter)?,
        contact: some_jid(contact)?,
        username: some_text(username).map(str::to_owned),
        admin: is_admin(role)?,
        lifetime: lifetime.parse().ok()?,
        uses: uses.parse().ok()?,
    })
}

fn write_invitation(invitation: &Invitation) -> String {
    [
        &*invitation.key,
        invitation.domain.as_deref().unwrap_or(""),
        invitation.inviter.as_ref().map_or("", Jid::as_str),
        invitation.contact.as_ref().map_or("", Jid::as_str),
        invitation.username.as_deref().unwrap_or(""),
        role(invitation.admin),
        &invitation.created.to_string(),
        &invitation.expires.to_string(),
        &invitation.uses.to_string(),
        &invitation.used.to_string(),
    ]
    .join("\t")
}

fn read_invitation(line: &str) -> Option<Invitation> {
    let words: Vec<&str> = line.split('\t').collect();
    let [
        key,
        domain,
        inviter,
        contact,
        username,
        role,
        created,
        expires,
        uses,
        used,
    ] = *words.as_slice()
    else {
        return None;
    };
    Some(Invitation {
        key: key.into(),
        domain: some_text(domain).map(Into::into),
        inviter: some_jid(inviter)?,
        contact: some_jid(contact)?,
        username: some_text(username).map(Into::into),
        admin: is_admin(role)?,
        created: created.parse().ok()?,
        expires: expires.parse().ok()?,
        uses: uses.parse().ok()?,
        used: used.parse().ok()?,
    })
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

fn is_yes(word: &str) -> Option<bool> {
    match word {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn role(admin: bool) -> &'static str {
    if admin { "admin" } else { "user" }
}

fn is_admin(role: &str) -> Option<bool> {
    match role {
        "admin" => Some(true),
        "user" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid() -> Jid {
        ::accounts::address("juliet@example.org").expect("an address")
    }

    fn credentials() -> Credentials {
        Credentials::derive("secret", 1, [[1; 16], [2; 16], [3; 16]]).expect("a usable password")
    }

    fn new(admin: bool) -> NewAccount {
        NewAccount {
            jid: jid(),
            admin,
            credentials: credentials(),
        }
    }

    fn read(text: &str) -> Lines {
        let mut all = text.lines();
        let first = all.next().expect("a message has a line");
        let count = further(first).expect("the number of further lines");
        let rest: Vec<String> = all.map(str::to_owned).collect();
        assert_eq!(rest.len(), count);
        lines(first, rest)
    }

    #[test]
    fn commands_read_back() {
        let check = |command: Command| {
            let text = write_command(&command);
            assert!(text.lines().all(|line| line.len() <= LINE_BYTES));
            assert_eq!(read_command(&read(&text)), Some(command));
        };
        check(Command::Add(new(true)));
        check(Command::Import(vec![new(false), new(true)]));
        check(Command::Import(vec![]));
        check(Command::List {
            domain: None,
            after: None,
        });
        check(Command::List {
            domain: Some("example.org".into()),
            after: Some(jid()),
        });
        check(Command::Remove(jid()));
        check(Command::SetPassword(jid(), credentials()));
        check(Command::Disable(jid()));
        check(Command::Enable(jid()));
        check(Command::SetAdmin(jid(), true));
        check(Command::Devices(jid()));
        let wanted = Wanted {
            domain: Some("example.org".into()),
            inviter: Some(jid()),
            contact: Some(jid()),
            username: Some("romeo".into()),
            admin: true,
            lifetime: 60,
            uses: 2,
        };
        check(Command::Invite(wanted));
        check(Command::Invite(Wanted::default()));
        check(Command::Invitations { after: None });
        check(Command::Invitations {
            after: Some("c0ffee".into()),
        });
        check(Command::Withdraw("c0ffee".into()));
        check(Command::Why {
            domain: "example.net".into(),
            now: true,
        });
        check(Command::PushServices);
        check(Command::Revoke {
            jid: jid(),
            id: "/a resource".into(),
            keep_password: true,
        });
    }

    #[test]
    fn replies_read_back() {
        let check = |reply: Result<Reply, Failure>| {
            assert_eq!(read_reply(&read(&write_reply(&reply))), Some(reply));
        };
        check(Ok(Reply::Done));
        check(Ok(Reply::Imported { added: 3, existing: 4 }));
        let listed = Listed {
            jid: jid(),
            created: 1_700_000_000,
            disabled: true,
            admin: false,
        };
        check(Ok(Reply::Page {
            accounts: vec![listed.clone()],
            after: Some(jid()),
        }));
        check(Ok(Reply::Page {
            accounts: vec![listed.clone(), listed],
            after: None,
        }));
        check(Ok(Reply::Devices(vec![
            Device {
                id: "c0ffee".into(),
                kind: "password".into(),
                name: "Gajim, laptop".into(),
                connection: Connection::Waits,
                first_seen: Some(1),
                last_seen: Some(2),
                has_token: true,
            },
            Device {
                id: "/balcony".into(),
                kind: "session".into(),
                name: String::new(),
                connection: Connection::Open,
                first_seen: None,
                last_seen: None,
                has_token: false,
            },
        ])));
        check(Ok(Reply::Invited(Made {
            uri: "xmpp:example.org?register;preauth=token".into(),
            expires: 3,
        })));
        let invitation = Invitation {
            key: "c0ffee".into(),
            domain: Some("example.org".into()),
            inviter: None,
            contact: Some(jid()),
            username: None,
            admin: false,
            created: 1,
            expires: 2,
            uses: 3,
            used: 1,
        };
        check(Ok(Reply::Invitations {
            invitations: vec![invitation],
            after: Some("c0ffee".into()),
        }));
        check(Ok(Reply::Lines(vec!["link: up".into(), "  0.1s ok\tdns".into()])));
        check(Err(Failure::failed("no such account")));
        check(Err(Failure::unavailable("")));
    }

    #[test]
    fn what_is_no_command_is_refused() {
        let check = |text: &str| {
            let command = further(text).and_then(|_| read_command(&lines(text, vec![])));
            assert_eq!(command, None, "{text}");
        };
        check("");
        check("0");
        check("x\tremove\tjuliet@example.org");
        check("-1\tremove\tjuliet@example.org");
        check("99999999\timport");
        check("0\tremove");
        check("0\tadmin\tjuliet@example.org\tmaybe");
        check("0\tremove\texample.org");
        check("0\tremove\tjuliet@example.org/balcony");
        check("0\tremove\tjuliet@example.org\tmore");
        check("0\tpassword\tjuliet@example.org\tsecret");
        check("0\texplode");
        let superfluous = lines("1\tremove\tjuliet@example.org", vec!["x".into()]);
        assert_eq!(read_command(&superfluous), None);
    }

    #[test]
    fn a_message_of_several_lines_stays_one_line() {
        let text = write_reply(&Err(Failure::failed("two\nlines\tand a tab")));
        assert_eq!(text, "0\tfailed\t1\ttwo lines and a tab\n");
    }
}
