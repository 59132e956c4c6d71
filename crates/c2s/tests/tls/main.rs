//! TLS as clients meet it: a rustls client against `jackdaw_c2s::tls`, in memory.

mod after_handshake;
mod as_client;
mod certificates;
mod handshake;
mod servers;
mod support;
mod wrong_input;
