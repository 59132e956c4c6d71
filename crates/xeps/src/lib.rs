//! XMPP extensions, one file each.
//!
//! A file declares everything that follows from it ([`module::Module`]): delete the file and its
//! two lines here, and the feature is gone from discovery, from routing and from `docs/xeps.md`.
//! `docs/adding-a-xep.md` is the recipe.

mod caps;
mod contact;
mod core;
mod disco;
mod hardening;
mod last;
mod legacy_session;
mod ping;
mod time;
mod version;

#[cfg(test)]
mod testing;

use module::Module;

/// All features of the server. The order does not matter.
pub fn all() -> Vec<Module> {
    vec![
        caps::module(),
        contact::module(),
        core::module(),
        disco::module(),
        hardening::module(),
        last::module(),
        legacy_session::module(),
        ping::module(),
        time::module(),
        version::module(),
    ]
}
