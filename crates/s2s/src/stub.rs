//! A DNS for tests: a recursive resolver that knows one zone, the root, signed with a key of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG};
use hickory_resolver::proto::dnssec::{DnssecSigner, SigningKey};
use hickory_resolver::proto::op::{Edns, Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, NS, SOA, SRV, TLSA};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType};
use tempfile::NamedTempFile;
use time::OffsetDateTime;
use tokio::net::UdpSocket;

use crate::dns::{Resolver, Settings};
use crate::times::Times;

const TTL: u32 = 300;

/// What is wrong with the way to the zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Good,
    /// Nothing that belongs to DNSSEC comes through.
    Strips,
    /// Whoever is on the way has other addresses and hosts in mind.
    Falsifies,
    /// Whoever is on the way adds records of his own zone, with right signatures.
    Adds,
    Silent,
    Fails,
}

/// Names under `plain.` are another zone, which is not signed.
pub(crate) struct Zone {
    records: BTreeMap<Name, BTreeMap<RecordType, Vec<RData>>>,
    signer: DnssecSigner,
}

pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    way: Arc<Mutex<Way>>,
    asked: Arc<Mutex<Vec<(Name, RecordType)>>>,
    anchor: NamedTempFile,
}

pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

impl Zone {
    pub(crate) fn new() -> Zone {
        let key = Ed25519SigningKey::generate_pkcs8().expect("a key");
        let key = Ed25519SigningKey::from_pkcs8(&key).expect("a key");
        let dnskey = DNSKEY::with_flags(257, key.to_public_key().expect("a key"));
        let signer = DnssecSigner::new(dnskey.clone(), Box::new(key), Name::root(), Duration::from_secs(7200));
        let mut zone = Zone {
            records: BTreeMap::new(),
            signer,
        };
        let soa = |of: &Name| RData::SOA(SOA::new(of.clone(), of.clone(), 1, 3600, 600, 86400, 60));
        zone.add(".", RData::DNSSEC(DNSSECRData::DNSKEY(dnskey)));
        zone.add(".", soa(&Name::root()));
        zone.add(".", RData::NS(NS(name("ns."))));
        zone.add("plain.", soa(&name("plain.")));
        zone.add("plain.", RData::NS(NS(name("ns."))));
        zone
    }

    pub(crate) fn add(&mut self, owner: &str, data: RData) -> &mut Zone {
        let kinds = self.records.entry(name(owner)).or_default();
        kinds.entry(data.record_type()).or_default().push(data);
        self
    }

    pub(crate) fn address(&mut self, owner: &str, address: &str) -> &mut Zone {
        let data = match address.parse().expect("an address") {
            std::net::IpAddr::V4(address) => RData::A(A(address)),
            std::net::IpAddr::V6(address) => RData::AAAA(AAAA(address)),
        };
        self.add(owner, data)
    }

    pub(crate) fn srv(&mut self, owner: &str, priority: u16, port: u16, target: &str) -> &mut Zone {
        self.add(owner, RData::SRV(SRV::new(priority, 1, port, name(target))))
    }

    pub(crate) fn alias(&mut self, owner: &str, target: &str) -> &mut Zone {
        self.add(owner, RData::CNAME(CNAME(name(target))))
    }

    pub(crate) fn tlsa(&mut self, owner: &str, data: &[u8]) -> &mut Zone {
        self.add(
            owner,
            RData::TLSA(TLSA::new(3.into(), 1.into(), 1.into(), data.to_vec())),
        )
    }

    fn is_signed(owner: &Name) -> bool {
        !name("plain.").zone_of(owner)
    }

    /// Records of a name and kind with their signature.
    fn set(&self, owner: &Name, data: &[RData], is_signed: bool) -> Vec<Record> {
        let kind = data[0].record_type();
        let mut set = RecordSet::with_ttl(owner.clone(), kind, TTL);
        for data in data {
            set.insert(Record::from_rdata(owner.clone(), TTL, data.clone()), 0);
        }
        let mut records: Vec<Record> = set.records_without_rrsigs().cloned().collect();
        if is_signed {
            let began = OffsetDateTime::now_utc() - Duration::from_secs(3600);
            let signature = RRSIG::from_rrset(&set, DNSClass::IN, began, &self.signer).expect("a signature");
            let data = RData::DNSSEC(DNSSECRData::RRSIG(signature));
            records.push(Record::from_rdata(owner.clone(), TTL, data));
        }
        records
    }

    fn signed_names(&self) -> BTreeSet<&Name> {
        let plain = name("plain.");
        self.records
            .keys()
            .filter(|owner| Zone::is_signed(owner) || **owner == plain)
            .collect()
    }

    /// The proof that something is not there: of the name itself, or of the one before it in the zone.
    fn denial(&self, asked: &Name) -> Vec<Record> {
        let names = self.signed_names();
        let owner = names
            .range::<Name, _>(..=asked)
            .next_back()
            .expect("the root is before all");
        let next = names
            .range::<Name, _>((Bound::Excluded(*owner), Bound::Unbounded))
            .next();
        let next = next.map_or_else(Name::root, |next| (*next).clone());
        let kinds = match Zone::is_signed(owner) {
            true => self.records[*owner].keys().copied().collect(),
            // A delegation.
            false => vec![RecordType::NS],
        };
        let nsec = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new_cover_self(next, kinds)));
        self.set(owner, &[nsec], true)
    }

    fn answer(&self, asked: &Name, kind: RecordType) -> (ResponseCode, Vec<Record>, Vec<Record>) {
        let (mut owner, mut answers) = (asked.clone(), Vec::new());
        loop {
            // The delegation itself is asked of the zone above.
            let is_signed = Zone::is_signed(&owner) || kind == RecordType::DS;
            let kinds = self.records.get(&owner);
            if let Some(data) = kinds.and_then(|kinds| kinds.get(&kind)) {
                answers.extend(self.set(&owner, data, is_signed));
                return (ResponseCode::NoError, answers, Vec::new());
            }
            if let Some(alias) = kinds.and_then(|kinds| kinds.get(&RecordType::CNAME)) {
                answers.extend(self.set(&owner, alias, is_signed));
                if let RData::CNAME(CNAME(next)) = &alias[0] {
                    owner = next.clone();
                }
                continue;
            }
            let zone = if is_signed { Name::root() } else { name("plain.") };
            let mut authority = self.set(&zone, &self.records[&zone][&RecordType::SOA], is_signed);
            let exists = self.records.keys().any(|known| owner.zone_of(known));
            if is_signed {
                let mut denial = self.denial(&owner);
                if !exists {
                    let mut above = owner.base_name();
                    while !self.records.keys().any(|known| above.zone_of(known)) {
                        above = above.base_name();
                    }
                    let wildcard = self.denial(&above.prepend_label("*").expect("a name"));
                    // One may deny both.
                    if wildcard[0].name != denial[0].name {
                        denial.extend(wildcard);
                    }
                }
                authority.extend(denial);
            }
            let code = if exists {
                ResponseCode::NoError
            } else {
                ResponseCode::NXDomain
            };
            return (code, answers, authority);
        }
    }
}

impl Stub {
    pub(crate) async fn new(zone: Zone) -> Stub {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let anchor = NamedTempFile::new().expect("a file");
        let text = format!("; the key of the tests\n. 300 IN DNSKEY {}\n", zone.signer.dnskey());
        std::fs::write(anchor.path(), text).expect("a file");
        let stub = Stub {
            address: socket.local_addr().expect("an address"),
            way: Arc::new(Mutex::new(Way::Good)),
            asked: Arc::default(),
            anchor,
        };
        let (way, asked) = (Arc::clone(&stub.way), Arc::clone(&stub.asked));
        tokio::spawn(async move {
            let mut buffer = vec![0; 4096];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer).await {
                let request = Message::from_vec(&buffer[..length]).expect("a question");
                let query = request.queries[0].clone();
                let kind = query.query_type();
                asked.lock().expect("a lock").push((query.name().clone(), kind));
                let way = *way.lock().expect("a lock");
                if let Some(response) = respond(&zone, way, &request) {
                    let _ = socket.send_to(&response.to_vec().expect("a message"), peer).await;
                }
            }
        });
        stub
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            servers: vec![self.address],
            trust_anchor: Some(self.anchor.path().to_owned()),
            ignores_dnssec: false,
            times: Times::default(),
        }
    }

    pub(crate) fn resolver(&self) -> Resolver {
        Resolver::new(&self.settings()).expect("a resolver")
    }

    pub(crate) fn set(&self, way: Way) {
        *self.way.lock().expect("a lock") = way;
    }

    /// How often something was asked.
    pub(crate) fn asked(&self, owner: &str, kind: RecordType) -> usize {
        let asked = self.asked.lock().expect("a lock");
        asked.iter().filter(|one| **one == (name(owner), kind)).count()
    }
}

fn respond(zone: &Zone, way: Way, request: &Message) -> Option<Message> {
    let query = &request.queries[0];
    let mut response = Message::response(request.metadata.id, OpCode::Query);
    response.add_query(query.clone());
    response.metadata.recursion_available = true;
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    response.set_edns(edns);
    let (code, mut answers, mut authority) = match way {
        Way::Silent => return None,
        Way::Fails => (ResponseCode::ServFail, Vec::new(), Vec::new()),
        _ => zone.answer(query.name(), query.query_type()),
    };
    match way {
        Way::Strips => {
            let belongs = |record: &Record| {
                matches!(
                    record.record_type(),
                    RecordType::RRSIG | RecordType::NSEC | RecordType::DS
                )
            };
            answers.retain(|record| !belongs(record));
            authority.retain(|record| !belongs(record));
        }
        Way::Falsifies => {
            for record in &mut answers {
                match &mut record.data {
                    RData::A(address) => *address = A::new(203, 0, 113, 66),
                    RData::SRV(srv) => srv.target = name("evil."),
                    _ => {}
                }
            }
        }
        Way::Adds => {
            let added = RData::TLSA(TLSA::new(3.into(), 1.into(), 1.into(), vec![66; 32]));
            answers.extend(zone.set(&name("_5269._tcp.evil."), &[added], true));
        }
        Way::Good | Way::Silent | Way::Fails => {}
    }
    response.metadata.response_code = code;
    response.insert_answers(answers);
    response.insert_authorities(authority);
    Some(response)
}
