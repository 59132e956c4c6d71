//! XMPP extensions, one file each.
//!
//! A file declares everything that follows from it ([`module::Module`]): delete the file and its
//! two lines here, and the feature is gone from discovery, from routing and from `docs/xeps.md`.
//! `docs/adding-a-xep.md` is the recipe.

mod ad_hoc;
mod administration;
mod avatar;
mod blocking;
mod bookmarks;
mod bosh;
mod bytestreams;
mod caps;
mod carbons;
mod channel_search;
mod client_access;
mod components;
mod contact;
mod core;
mod csi;
mod delegation;
mod disco;
mod external_services;
mod fast;
mod hardening;
mod host_meta;
mod invitations;
mod last;
mod legacy_session;
mod mam;
mod mds;
mod muc;
mod muc_extensions;
mod nest;
mod omemo;
mod pep;
mod ping;
mod pipelining;
mod private_xml;
mod privileged;
mod pubsub_service;
mod push;
mod registration;
mod retraction;
mod rsm;
mod sasl2;
mod sasl_upgrade;
mod sid;
mod sm;
mod stream_limits;
mod time;
mod upload;
mod vcard;
mod vcard4;
mod version;

#[cfg(test)]
mod testing;

use module::Module;

/// What a server has only if its configuration says so: what is not there is not shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offer {
    /// At least one server is known that helps with calls.
    pub external_services: bool,
    /// Files can be uploaded.
    pub files: bool,
    /// Clients can meet at a proxy.
    pub bytestreams: bool,
    /// Who makes nodes at the service for them.
    pub nodes: Creators,
    /// There are rooms.
    pub rooms: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Creators {
    /// Every account of its domain.
    #[default]
    Accounts,
    Admins,
    /// There is no such service.
    Nobody,
}

impl Offer {
    pub fn everything() -> Offer {
        Offer {
            external_services: true,
            files: true,
            bytestreams: true,
            nodes: Creators::Accounts,
            rooms: true,
        }
    }
}

/// All features of the server. The order does not matter.
pub fn all(offer: &Offer) -> Vec<Module> {
    vec![
        ad_hoc::module(),
        administration::module(),
        avatar::module(),
        blocking::module(),
        bookmarks::module(),
        bosh::module(),
        bytestreams::module(offer),
        caps::module(),
        carbons::module(),
        channel_search::module(offer),
        client_access::module(),
        components::module(),
        contact::module(),
        core::module(),
        csi::module(),
        delegation::module(),
        disco::module(),
        external_services::module(offer),
        fast::module(),
        hardening::module(),
        host_meta::module(),
        invitations::module(),
        last::module(),
        legacy_session::module(),
        mam::module(),
        mds::module(),
        muc::module(offer),
        muc_extensions::module(offer),
        omemo::module(),
        pep::module(),
        ping::module(),
        pipelining::module(),
        private_xml::module(),
        privileged::module(),
        push::module(),
        pubsub_service::module(offer),
        registration::module(),
        retraction::module(),
        rsm::module(),
        sasl2::module(),
        sasl_upgrade::module(),
        sid::module(),
        sm::module(),
        stream_limits::module(),
        time::module(),
        upload::module(offer),
        vcard::module(),
        vcard4::module(),
        version::module(),
    ]
}

/// For an attribute or a text.
fn escaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    xmlstream::escape_attr(&mut out, text);
    // Escaping text yields text.
    String::from_utf8(out).unwrap_or_default()
}
