//! The server side of SASL: mechanisms, channel binding, stored credentials.
