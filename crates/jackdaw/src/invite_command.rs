//! `jackdaw invite …`: links with which people get an account here, or become somebody's contact.

use ::accounts::invitations::{DEFAULT_LIFETIME, Invitation};
use stanza::Jid;

use crate::account_command::{address, say, unexpected, with};
use crate::accounts::{Wanted, id_of};
use crate::admin::{Command, Reply};
use crate::cli::{InviteArgs, InviteCommand};
use crate::config::{Config, DomainName, Loaded};
use crate::failure::Failure;

/// Carries the command out and prints what it has to say.
pub fn run(args: &InviteArgs, command: Option<InviteCommand>, loaded: &Loaded) -> Result<(), Failure> {
    let config = &loaded.config;
    match command {
        None => invite(args, config),
        Some(InviteCommand::List) => list(config),
        Some(InviteCommand::Revoke { id }) => {
            // So that it is one word, and begins no other.
            if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return Err(Failure::usage(format!(
                    "`{id}` is not the id of an invitation; `jackdaw invite list` prints them"
                )));
            }
            with(config, |backend| {
                backend.handle(Command::Withdraw(id.to_ascii_lowercase()))
            })?;
            say(&format!("{id} revoked"))
        }
    }
}

fn invite(args: &InviteArgs, config: &Config) -> Result<(), Failure> {
    let contact = args.contact.as_deref().map(address).transpose()?;
    let domain = match (&args.at, &contact) {
        (Some(domain), _) => DomainName::parse(domain).map_err(Failure::usage)?.as_str().to_owned(),
        (None, Some(contact)) => contact.domain().to_owned(),
        // There is always one, but who has several has to say which.
        (None, None) => match config.domain.as_slice() {
            [only] => only.name.as_str().to_owned(),
            _ => {
                return Err(Failure::usage(
                    "this server has several domains; name one with --domain",
                ));
            }
        },
    };
    let username = args.user.as_deref().map(|name| {
        let local = stanza::prepare_local(name).map(|local| local.into_owned());
        local.map_err(|error| Failure::usage(format!("`{name}` cannot be the name of an account: {error}")))
    });
    let wanted = Wanted {
        domain: Some(domain),
        inviter: None,
        contact,
        username: username.transpose()?,
        admin: args.admin,
        lifetime: match args.expires.as_deref() {
            None => DEFAULT_LIFETIME,
            Some(text) => lifetime(text)?,
        },
        uses: args.uses,
    };
    let told = told(&wanted);
    let reply = with(config, |backend| backend.handle(Command::Invite(wanted)))?;
    let Reply::Invited(made) = reply else {
        return Err(unexpected());
    };
    // As with a password: the link alone goes to the standard output, so that a script can take it.
    eprintln!("{told}, until {}:", moment(made.expires));
    say(&made.uri)
}

/// What is handed on, in words.
fn told(wanted: &Wanted) -> String {
    let name = wanted
        .username
        .as_ref()
        .map(|name| format!("{name}@"))
        .unwrap_or_default();
    let domain = wanted.domain.as_deref().unwrap_or_default();
    let admin = if wanted.admin {
        " that administers the server"
    } else {
        ""
    };
    let contact = wanted
        .contact
        .as_ref()
        .map(|contact| format!(", with {contact} as a contact"));
    let uses = match wanted.uses {
        1 => "once".to_owned(),
        uses => format!("{uses} times"),
    };
    format!(
        "for an account at {name}{domain}{admin}{}, {uses}",
        contact.unwrap_or_default()
    )
}

/// `90m`, `12h`, `7d`.
fn lifetime(text: &str) -> Result<i64, Failure> {
    let wrong = || Failure::usage(format!("`{text}` is not a time; write it as 90m, 12h or 7d"));
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(i64::from(number) * unit)
}

fn moment(seconds: i64) -> String {
    // In UTC, to the second.
    module::Now(seconds.saturating_mul(1_000)).stamp().replace(".000Z", "Z")
}

fn list(config: &Config) -> Result<(), Failure> {
    let now = c2s::Service::clock().seconds();
    with(config, |backend| {
        let mut after = None;
        loop {
            let Reply::Invitations {
                invitations,
                after: next,
            } = backend.handle(Command::Invitations { after })?
            else {
                return Err(unexpected());
            };
            for invitation in invitations.iter().filter(|invitation| invitation.holds(now)) {
                say(&line(invitation))?;
            }
            match next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    })
}

/// Id, what it is for, who has invited, until when, how often it was used; TABs between them.
fn line(invitation: &Invitation) -> String {
    let name = invitation
        .username
        .as_deref()
        .map(|name| format!("{name}@"))
        .unwrap_or_default();
    let mut what = Vec::new();
    what.extend(
        invitation
            .domain
            .as_deref()
            .map(|domain| format!("account {name}{domain}")),
    );
    what.extend(invitation.contact.as_ref().map(|contact| format!("contact {contact}")));
    what.extend(invitation.admin.then(|| "admin".to_owned()));
    format!(
        "{}\t{}\t{}\t{}\t{}/{}",
        id_of(invitation),
        what.join(", "),
        invitation.inviter.as_ref().map_or("operator", Jid::as_str),
        moment(invitation.expires),
        invitation.used,
        invitation.uses
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        let check = |text: &str, seconds: Option<i64>| assert_eq!(lifetime(text).ok(), seconds, "{text}");
        check("90m", Some(5_400));
        check("12h", Some(43_200));
        check("7d", Some(604_800));
        for wrong in ["", "7", "d", "7 d", "-7d", "7w", "7é", "99999999999d"] {
            check(wrong, None);
        }
    }
}
