//! Telling messages apart (XEP-0359): ids that only the server may give, and messages that are sent once more.

use sha2::{Digest, Sha256};
use stanza::{Edits, JidCow, JidRef, Stanza, ns};

/// Takes out every `<stanza-id/>` that says to be of an address of ours: a client takes it for the id of the message in
/// its archive (XEP-0359 sections 3 and 6). One whose `by` is missing or no address goes too, since it can be nobody's
/// id, and a client that reads it more kindly than we do must not be led to take it for ours.
pub fn forged(stanza: &Stanza<'_>, is_ours: impl Fn(JidRef<'_>) -> bool, edits: &mut Edits) {
    for child in stanza.children().filter(|child| child.is("stanza-id", ns::STANZA_IDS)) {
        let by = child.attr("by");
        let is_foreign = by
            .as_deref()
            .and_then(|by| JidCow::parse(by).ok())
            .is_some_and(|by| !is_ours(by.as_ref()));
        if !is_foreign {
            edits.remove(&child);
        }
    }
}

/// What tells a message that is sent once more, for [`store::Deposit::fingerprint`]: a client that lost its connection
/// before it heard that the server has a message sends it again, with the same `<origin-id/>` (XEP-0359 section 2.2).
/// None: it has none, so nothing says that two messages with the same words are one.
///
/// The whole content goes in, so that two clients that chose the same id, or one that uses ids twice, lose nothing.
/// With a key, since the recipient knows the content and the store may be shown to others: what it keeps must not tell
/// who wrote what. `to`: as the message will be delivered. `secret`: of the store.
pub fn fingerprint(secret: &[u8; 32], sender_bare: &str, to: &str, stanza: &Stanza<'_>) -> Option<u128> {
    let origin = stanza.children().find(|child| child.is("origin-id", ns::STANZA_IDS))?;
    let id = origin.attr("id")?;
    Some(hash_of(secret, sender_bare, to, &id, stanza))
}

/// Shorter ids of stanzas may be numbers that begin anew with each stream (RFC 6120 section 8.1.3).
const UNIQUE_ID: usize = 16;

/// The same of what comes from another server: it sends again what its users have sent, whatever id they give. Where that
/// is not made to be unique it is the stanza's own, if nobody counts so far.
pub fn fingerprint_of_server(secret: &[u8; 32], sender_bare: &str, to: &str, stanza: &Stanza<'_>) -> Option<u128> {
    fingerprint(secret, sender_bare, to, stanza).or_else(|| {
        let id = stanza.id().filter(|id| id.len() >= UNIQUE_ID)?;
        Some(hash_of(secret, sender_bare, to, id, stanza))
    })
}

fn hash_of(secret: &[u8; 32], sender_bare: &str, to: &str, id: &str, stanza: &Stanza<'_>) -> u128 {
    let mut hash = Sha256::new();
    hash.update(secret);
    for part in [sender_bare, to, id, stanza.element().inner()] {
        // With its length, so that no part can be mistaken for the end of the one before it.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&hash.finalize()[..16]);
    u128::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::with;

    #[test]
    fn forged_ids_go_and_others_stay() {
        let check = |id: &str, stays: bool| {
            let xml = format!("<message><body>b</body>{id}<origin-id xmlns='urn:xmpp:sid:0' id='o'/></message>");
            with(&xml, |stanza| {
                let mut edits = Edits::default();
                forged(&stanza, |by| by.domain() == "example.org", &mut edits);
                assert_eq!(edits.is_empty(), stays, "{id}");
            });
        };
        check("", true);
        check(
            "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/>",
            false,
        );
        check(
            "<stanza-id xmlns='urn:xmpp:sid:0' by='JULIET@EXAMPLE.ORG.' id='1'/>",
            false,
        );
        check("<stanza-id xmlns='urn:xmpp:sid:0' by='example.org' id='1'/>", false);
        check(
            "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org/balcony' id='1'/>",
            false,
        );
        check(
            "<x:stanza-id xmlns:x='urn:xmpp:sid:0' by='nurse&#64;example.org' id='1'/>",
            false,
        );
        check("<stanza-id xmlns='urn:xmpp:sid:0' id='1'/>", false);
        check("<stanza-id xmlns='urn:xmpp:sid:0' by='' id='1'/>", false);
        check(
            "<stanza-id xmlns='urn:xmpp:sid:0' by=' juliet@example.org ' id='1'/>",
            false,
        );
        check("<stanza-id xmlns='urn:xmpp:sid:0' by='a@b@c' id='1'/>", false);
        check(
            "<stanza-id xmlns='urn:xmpp:sid:0' by='room@muc.example.org' id='1'/>",
            true,
        );
        check(
            "<stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.net' id='1'/>",
            true,
        );
        check("<stanza-id xmlns='urn:x' by='juliet@example.org' id='1'/>", true);
        check(
            "<x xmlns='urn:x'><stanza-id xmlns='urn:xmpp:sid:0' by='juliet@example.org' id='1'/></x>",
            true,
        );
    }

    #[test]
    fn every_forged_id_goes() {
        let xml = "<message><stanza-id xmlns='urn:xmpp:sid:0' by='example.org' id='1'/><body>b</body>\
                   <stanza-id xmlns='urn:xmpp:sid:0' by='a.b' id='2'/><stanza-id xmlns='urn:xmpp:sid:0' id='3'/></message>";
        with(xml, |stanza| {
            let mut edits = Edits::default();
            forged(&stanza, |by| by.domain() == "example.org", &mut edits);
            let mut out = Vec::new();
            stanza::splice(&stanza, "a@b", None, &edits, &mut out);
            assert_eq!(
                String::from_utf8_lossy(&out),
                "<message from='a@b'><body>b</body><stanza-id xmlns='urn:xmpp:sid:0' by='a.b' id='2'/></message>"
            );
        });
    }

    #[test]
    fn what_a_server_sends_again() {
        let of = |xml: &str| with(xml, |s| fingerprint_of_server(&[7; 32], "a@b", "c@d", &s));
        let long = "<message id='0123456789abcdef'><body>hi</body></message>";
        assert!(of(long).is_some());
        assert_eq!(of(long), of(long));
        assert_ne!(of(long), of(&long.replace("hi", "ho")));
        assert_ne!(of(long), of(&long.replace("abc", "cba")));
        assert_eq!(of(&long.replace("abcdef", "")), None);
        assert_eq!(of("<message><body>hi</body></message>"), None);
        let named = long.replace("<body>", "<origin-id xmlns='urn:xmpp:sid:0' id='x'/><body>");
        let client = with(&named, |s| fingerprint(&[7; 32], "a@b", "c@d", &s));
        assert_eq!(of(&named), client);
    }

    #[test]
    fn the_same_message_has_the_same_fingerprint_and_others_do_not() {
        const SECRET: &[u8; 32] = &[7; 32];
        let of = |secret: &[u8; 32], from: &str, to: &str, xml: &str| with(xml, |s| fingerprint(secret, from, to, &s));
        let origin = |id: &str, body: &str| {
            format!("<message id='1'><origin-id xmlns='urn:xmpp:sid:0' id='{id}'/><body>{body}</body></message>")
        };
        let hi = origin("a", "hi");
        let first = of(SECRET, "a@b", "c@d", &hi);
        assert!(first.is_some());
        assert_eq!(of(SECRET, "a@b", "c@d", &hi), first);
        let others = [
            of(&[8; 32], "a@b", "c@d", &hi),
            of(SECRET, "e@b", "c@d", &hi),
            of(SECRET, "a@b", "c@d/e", &hi),
            of(SECRET, "a@b", "c@d", &origin("b", "hi")),
            of(SECRET, "a@b", "c@d", &origin("a", "ho")),
            // The parts together are the same text.
            of(SECRET, "a@bc", "@d", &hi),
        ];
        let all: std::collections::BTreeSet<_> = others.into_iter().chain([first]).collect();
        assert_eq!(all.len(), 7);

        for without in [
            "<message id='1'><body>hi</body></message>",
            "<message><origin-id xmlns='urn:xmpp:sid:0'/><body>hi</body></message>",
            "<message><origin-id xmlns='urn:x' id='a'/><body>hi</body></message>",
            "<message><x xmlns='urn:x'><origin-id xmlns='urn:xmpp:sid:0' id='a'/></x></message>",
        ] {
            assert_eq!(of(SECRET, "a@b", "c@d", without), None, "{without}");
        }
    }
}
