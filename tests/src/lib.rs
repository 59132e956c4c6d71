//! Wire and interoperability tests over the whole server live beside this file: `wire/` in Rust over the scripted
//! peers of `testkit`, `interop/` with real clients.
