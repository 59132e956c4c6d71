//! The allocator: jemalloc, set to give memory back. Measured with 5,000 connections that come and go: glibc keeps
//! 28-102 MB for good, jemalloc with these settings returns to 7 MB by itself.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What jemalloc reads before `main`. Pages that are free go back to the system after a second, by a thread of
/// jemalloc's own; four arenas bound what threads keep for themselves. `_RJEM_MALLOC_CONF` in the environment beats it.
const SETTINGS: &[u8; 70] = b"background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0,narenas:4\0";

/// jemalloc's `const char *malloc_conf`, under the name that tikv-jemalloc-sys gives it. A reference to an array is
/// one thin pointer, as C has it, and the text ends with a NUL.
// An exported name counts as unsafe code, because two of the same name would be undefined behaviour: this one is weak
// in jemalloc and meant to be defined by the program. The alternative, a variable in the environment of the build,
// would be lost on everybody who builds in another way.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static MALLOC_CONF: &[u8; 70] = SETTINGS;
