//! Streams driven by hand, without a network.
