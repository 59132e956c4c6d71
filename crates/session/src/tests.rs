//! Streams driven by hand, without a network.

mod bearer;
mod binding;
mod fast;
mod guests;
mod headers;
mod limits;
mod login;
mod management;
mod sasl2;
mod servers;
mod stanzas;
mod tls;
mod upgrade;
mod world;
