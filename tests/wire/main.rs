//! The server over the wire: the real binary, and scripted peers over STARTTLS, direct TLS and WebSocket.
//!
//! One program, so that it is linked once; one server per test function. Numbers of rows are those of the lists of
//! faults and attacks that the project was designed against.

mod crowd;
mod slapd;
mod support;

mod account_changes;
mod amplification;
mod attacks;
mod backends;
mod bearer;
mod binding;
mod blocking;
mod bosh;
mod caps;
mod carbons;
mod carbons_rules;
mod clients;
mod csi;
mod dedupe;
mod devices;
mod durability;
mod external;
mod faults;
mod floods;
mod guests;
mod iq;
mod ldap;
mod limits;
mod listeners;
mod load;
mod login;
mod mam;
mod mam_paging;
mod mam_rules;
mod message_table;
mod messages;
mod metrics;
mod multiplex;
mod offline;
mod offline_cursor;
mod omemo;
mod pep;
mod presence;
mod private_xml;
mod proxy;
mod retention;
mod roster;
mod sasl2;
mod shutdown;
mod slow_among_others;
mod slow_reader;
mod sm;
mod sm_away;
mod sm_cuts;
mod sm_restart;
mod sm_resume;
mod streams;
mod subscriptions;
mod upgrade;
mod vcard;
mod websocket;
