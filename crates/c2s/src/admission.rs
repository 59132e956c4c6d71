//! That a connection was let in: it counts until this is dropped, whatever it speaks meanwhile.

use std::net::IpAddr;
use std::sync::Arc;

use crate::metrics::Reached;
use crate::service::{Service, now};

pub(crate) struct Admission {
    pub(crate) service: Arc<Service>,
    pub(crate) address: IpAddr,
    /// It counts among those of its address that are not logged in.
    is_counted: bool,
}

impl Admission {
    /// Whether there is room for another connection at all.
    pub(crate) fn is_possible(service: &Service, address: IpAddr) -> bool {
        let has_room = !service.is_stopping() && service.connections() < service.limits.connections;
        if !has_room {
            service.metrics().reached(Reached::Connections);
            tracing::warn!(%address, "a connection was refused: limits.connections is reached");
        }
        has_room
    }

    /// None where the address has too many.
    pub(crate) fn of(service: &Arc<Service>, address: IpAddr) -> Option<Admission> {
        let mut admission = Admission::of_proxy(service, address);
        admission.count().then_some(admission)
    }

    /// A connection that this server has opened: it counts, and nobody is held to account for it.
    pub(crate) fn of_ours(service: &Arc<Service>, address: IpAddr) -> Admission {
        Admission::of_proxy(service, address)
    }

    /// The connection of a proxy, whose address says nothing. See [`Admission::comes_from`].
    pub(crate) fn of_proxy(service: &Arc<Service>, address: IpAddr) -> Admission {
        service.entered();
        Admission {
            service: Arc::clone(service),
            address,
            is_counted: false,
        }
    }

    fn count(&mut self) -> bool {
        let refused = self.service.throttle.admit(self.address, now().seconds()).err();
        self.is_counted = refused.is_none();
        if let Some(limit) = refused {
            self.service.metrics().reached(limit);
            tracing::debug!(address = %self.address, "a connection was refused: too many from this address");
        }
        self.is_counted
    }

    /// The proxy has told whose connection it is. False where that address has too many.
    pub(crate) fn comes_from(&mut self, address: IpAddr) -> bool {
        if self.is_counted && self.address == address {
            return true;
        }
        self.settle();
        self.address = address;
        self.count()
    }

    /// Somebody has logged in.
    pub(crate) fn settle(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.service.throttle.settled(self.address);
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.settle();
        self.service.left();
    }
}
