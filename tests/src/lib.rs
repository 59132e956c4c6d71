//! Wire and interoperability tests over the whole server live beside this file.
