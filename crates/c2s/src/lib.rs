//! Client connections: listeners, TLS, the connection task.
