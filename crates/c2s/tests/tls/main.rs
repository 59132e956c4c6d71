//! TLS as clients meet it: a rustls client against `jackdaw_c2s::tls`, in memory.

mod after_handshake;
mod certificates;
mod handshake;
mod support;
mod wrong_input;
