//! What the DNS says of a name of this server, against what there is to be found.

use s2s::dns::NoAnswer;

use super::probe::addresses;
use super::report::Report;
use super::{Name, Tools};
use crate::dns::{self, Srv};

/// Where a name is found.
pub struct Place {
    pub srv: Srv,
    pub host: String,
    pub port: u16,
    pub addresses: Vec<std::net::IpAddr>,
    /// DNSSEC says so.
    pub is_secure: bool,
}

pub async fn check(tools: &Tools<'_>, name: &Name, report: &mut Report) -> Vec<Place> {
    let mut places = Vec::new();
    for srv in Srv::ALL {
        let is_wanted = match srv.is_of_servers() {
            true => name.has_servers,
            false => name.has_clients,
        };
        if is_wanted {
            of_kind(tools, name, srv, report, &mut places).await;
        }
    }
    places
}

async fn of_kind(tools: &Tools<'_>, name: &Name, srv: Srv, report: &mut Report, places: &mut Vec<Place>) {
    let owner = format!("{}.{}", srv.prefix(), name.ascii);
    let ports = dns::ports(tools.config, srv);
    let records = ports
        .iter()
        .map(|port| dns::srv_record(srv, &name.ascii, *port, "HOST"));
    let records: Vec<String> = records
        .map(|record| record.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let add = format!("add {} (HOST: the name of this machine)", records.join(" and "));
    let answer = match tools.resolver.srv(&owner).await {
        Ok(answer) => answer,
        Err(none) if none.is_absence() && ports.is_empty() => return,
        Err(none) if none.is_absence() => {
            return without(tools, name, srv, &add, report, places).await;
        }
        Err(NoAnswer::Bogus) => {
            let advice = "sign the zone again, or remove its DS record from the zone above";
            return report.wrong("dns", &owner, "the signatures of the zone (DNSSEC) are wrong", advice);
        }
        Err(error) => return report.wrong("dns", &owner, error.to_string(), "look at the name servers of the zone"),
    };
    let secured = if answer.is_secure { " (DNSSEC)" } else { "" };
    for record in &answer.records {
        if record.target.is_empty() {
            match ports.is_empty() {
                true => report.good("dns", &owner, "says that there is no such service"),
                false => report.wrong("dns", &owner, "says that there is no such service", add.as_str()),
            }
            continue;
        }
        let addresses = match addresses(tools, &record.target).await {
            Ok(addresses) => addresses,
            Err(none) => {
                let what = format!("{record} leads to {}, which has no address: {none}", record.target);
                report.wrong(
                    "dns",
                    &owner,
                    what,
                    format!("add A or AAAA records of {}", record.target),
                );
                continue;
            }
        };
        let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let what = format!("SRV {record}{secured}, {}", shown.join(", "));
        match ports.iter().any(|port| port.number == record.port) {
            true => report.good("dns", &owner, what),
            false => {
                let advice = "right if something in front passes that port on; else change the record or a [[listen]]";
                report.note("dns", &owner, format!("{what}; this server has no such port"), advice);
            }
        }
        places.push(Place {
            srv,
            host: record.target.clone(),
            port: record.port,
            addresses,
            is_secure: answer.is_secure,
        });
    }
}

/// Without records others try the domain itself (RFC 6120 section 3.2.2), which may do.
async fn without(tools: &Tools<'_>, name: &Name, srv: Srv, add: &str, report: &mut Report, places: &mut Vec<Place>) {
    let owner = format!("{}.{}", srv.prefix(), name.ascii);
    if srv.is_direct() {
        let what = "no record: nobody finds the port for direct TLS";
        return report.note("dns", &owner, what, add);
    }
    let port = if srv.is_of_servers() {
        crate::config::S2S_PORT
    } else {
        crate::config::C2S_PORT
    };
    let has_port = dns::ports(tools.config, srv).iter().any(|one| one.number == port);
    match addresses(tools, &name.ascii).await {
        Ok(addresses) if has_port => {
            let what = format!("no record; others try {} itself, port {port}", name.ascii);
            report.note("dns", &owner, what, add);
            places.push(Place {
                srv,
                host: name.ascii.clone(),
                port,
                addresses,
                is_secure: false,
            });
        }
        _ => report.wrong("dns", &owner, "no record: nobody finds this server", add),
    }
}
