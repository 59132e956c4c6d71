//! Namespace names. A name is written here once, so that a wrong letter is wrong everywhere and shows at once.

// RFC 6120.
pub const STREAM: &str = "http://etherx.jabber.org/streams";
pub const CLIENT: &str = "jabber:client";
/// RFC 7395
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
pub const SERVER: &str = "jabber:server";
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Conditions of stanza errors (section 8.3.2).
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// Conditions of stream errors (section 4.9.2).
pub const STREAMS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// What `xml:` stands for (Namespaces in XML section 3).
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// The session IQ of RFC 3921, which RFC 6120 dropped and old clients still send.
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";

// RFC 6121.
pub const ROSTER: &str = "jabber:iq:roster";
/// Stream feature `<ver/>` (section 2.6.1).
pub const ROSTER_VERSIONING: &str = "urn:xmpp:features:rosterver";
/// Stream feature `<sub/>` (section 3.4).
pub const PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";

/// XEP-0004 Data Forms.
pub const DATA_FORMS: &str = "jabber:x:data";
/// XEP-0012 Last Activity.
pub const LAST_ACTIVITY: &str = "jabber:iq:last";
/// XEP-0030 Service Discovery.
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// XEP-0045 Multi-User Chat: what the user's server must know of it.
pub const MUC: &str = "http://jabber.org/protocol/muc";
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// XEP-0049 Private XML Storage.
pub const PRIVATE: &str = "jabber:iq:private";
/// XEP-0054 vcard-temp.
pub const VCARD: &str = "vcard-temp";
/// XEP-0153 section 3.1.
pub const VCARD_UPDATE: &str = "vcard-temp:x:update";
/// XEP-0059 Result Set Management.
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// XEP-0060 Publish-Subscribe. Features are this with `#` and a name.
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
pub const PUBSUB_ERRORS: &str = "http://jabber.org/protocol/pubsub#errors";
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// FORM_TYPE of what is demanded of a node, or told to who takes an item.
pub const PUBLISH_OPTIONS: &str = "http://jabber.org/protocol/pubsub#publish-options";
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// XEP-0077 In-Band Registration.
pub const REGISTER: &str = "jabber:iq:register";
/// Its stream feature `<register/>`.
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// XEP-0085 Chat State Notifications: which messages are not worth keeping.
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// XEP-0092 Software Version.
pub const VERSION: &str = "jabber:iq:version";
/// XEP-0114 Jabber Component Protocol: the content namespace of its streams.
pub const COMPONENT: &str = "jabber:component:accept";
/// XEP-0115 Entity Capabilities.
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// XEP-0390 Entity Capabilities 2.0.
pub const CAPS2: &str = "urn:xmpp:caps";
/// XEP-0300 Use of Cryptographic Hash Functions.
pub const HASHES: &str = "urn:xmpp:hashes:2";
/// XEP-0122 Data Forms Validation.
pub const FORM_VALIDATION: &str = "http://jabber.org/protocol/xdata-validate";
/// XEP-0157 Contact Addresses: the FORM_TYPE.
pub const SERVER_INFO: &str = "http://jabber.org/network/serverinfo";
/// XEP-0160 Offline Messages: the disco feature.
pub const MSG_OFFLINE: &str = "msgoffline";
/// XEP-0184 Message Delivery Receipts.
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// XEP-0191 Blocking Command.
pub const BLOCKING: &str = "urn:xmpp:blocking";
pub const BLOCKING_ERRORS: &str = "urn:xmpp:blocking:errors";
/// XEP-0377.
pub const REPORTING: &str = "urn:xmpp:reporting:1";
/// XEP-0198 Stream Management.
pub const STREAM_MANAGEMENT: &str = "urn:xmpp:sm:3";
/// XEP-0199 XMPP Ping.
pub const PING: &str = "urn:xmpp:ping";
/// XEP-0202 Entity Time.
pub const TIME: &str = "urn:xmpp:time";
/// XEP-0203 Delayed Delivery.
pub const DELAY: &str = "urn:xmpp:delay";
/// XEP-0249 Direct MUC Invitations.
pub const CONFERENCE: &str = "jabber:x:conference";
/// XEP-0215 External Service Discovery.
pub const EXTERNAL_SERVICES: &str = "urn:xmpp:extdisco:2";
/// XEP-0280 Message Carbons.
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// The rules of its section 6.1, to the letter (section 6.2).
pub const CARBONS_RULES: &str = "urn:xmpp:carbons:rules:0";
/// XEP-0297 Stanza Forwarding.
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// XEP-0355 Namespace Delegation.
pub const DELEGATION: &str = "urn:xmpp:delegation:2";
/// XEP-0356 Privileged Entity.
pub const PRIVILEGE: &str = "urn:xmpp:privilege:2";
/// XEP-0308 Last Message Correction.
pub const CORRECTION: &str = "urn:xmpp:message-correct:0";
/// XEP-0313 Message Archive Management.
pub const MAM: &str = "urn:xmpp:mam:2";
pub const MAM_EXTENDED: &str = "urn:xmpp:mam:2#extended";
/// The field `include-groupchat` is understood.
pub const MAM_GROUPCHAT_FIELD: &str = "urn:xmpp:mam:2#groupchat-field";
/// XEP-0333 Displayed Markers.
pub const MARKERS: &str = "urn:xmpp:chat-markers:0";
/// XEP-0334 Message Processing Hints.
pub const HINTS: &str = "urn:xmpp:hints";
/// XEP-0352 Client State Indication.
pub const CLIENT_STATE: &str = "urn:xmpp:csi:0";
/// XEP-0353 Jingle Message Initiation.
pub const JINGLE_MESSAGE: &str = "urn:xmpp:jingle-message:0";
/// XEP-0357 Push Notifications, and what is told in one.
pub const PUSH: &str = "urn:xmpp:push:0";
pub const PUSH_SUMMARY: &str = "urn:xmpp:push:summary";
/// XEP-0359 Unique and Stable Stanza IDs.
pub const STANZA_IDS: &str = "urn:xmpp:sid:0";
/// XEP-0373 OpenPGP for XMPP, and XEP-0027, which came before it.
pub const OPENPGP: &str = "urn:xmpp:openpgp:0";
pub const OPENPGP_LEGACY: &str = "jabber:x:encrypted";
/// XEP-0379 Pre-Authenticated Roster Subscription: `<preauth/>`, also of XEP-0445.
pub const PREAUTH: &str = "urn:xmpp:pars:0";
/// XEP-0380 Explicit Message Encryption.
pub const ENCRYPTION: &str = "urn:xmpp:eme:0";
/// XEP-0402 PEP Native Bookmarks; the name of their node too.
pub const BOOKMARKS: &str = "urn:xmpp:bookmarks:1";
/// XEP-0048 Bookmarks; the name of their node too.
pub const BOOKMARKS_STORAGE: &str = "storage:bookmarks";
/// XEP-0490 Message Displayed Synchronization; the name of its node too.
pub const MDS_DISPLAYED: &str = "urn:xmpp:mds:displayed:0";
/// XEP-0384 OMEMO Encryption, and the version that most clients speak.
pub const OMEMO: &str = "urn:xmpp:omemo:2";
pub const OMEMO_LEGACY: &str = "eu.siacs.conversations.axolotl";
/// XEP-0421 Occupant identifiers.
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
/// XEP-0424 Message Retraction.
pub const RETRACTION: &str = "urn:xmpp:message-retract:1";
pub const RETRACTION_TOMBSTONE: &str = "urn:xmpp:message-retract:1#tombstone";
/// XEP-0386 Bind 2.
pub const BIND2: &str = "urn:xmpp:bind:0";
/// XEP-0388 Extensible SASL Profile.
pub const SASL2: &str = "urn:xmpp:sasl:2";
pub const IAP: &str = "urn:xmpp:iap:0";
/// XEP-0401 Ad-hoc Account Invitation Generation: its commands are this with `#` and a name.
pub const INVITE: &str = "urn:xmpp:invite";
/// XEP-0440 SASL Channel-Binding Type Capability.
pub const SASL_CHANNEL_BINDING: &str = "urn:xmpp:sasl-cb:0";
/// XEP-0220 Server Dialback, and its stream feature.
pub const DIALBACK: &str = "jabber:server:dialback";
pub const DIALBACK_FEATURE: &str = "urn:xmpp:features:dialback";
/// XEP-0288 Bidirectional Server-to-Server Connections, and the stream feature.
pub const BIDI: &str = "urn:xmpp:bidi";
pub const BIDI_FEATURE: &str = "urn:xmpp:features:bidi";
/// XEP-0444 Message Reactions.
pub const REACTIONS: &str = "urn:xmpp:reactions:0";
/// XEP-0445 Pre-Authenticated In-Band Registration: stream feature `<register/>`.
pub const IBR_TOKEN: &str = "urn:xmpp:ibr-token:0";
/// XEP-0447 Stateless file sharing.
pub const FILE_SHARING: &str = "urn:xmpp:sfs:0";
/// XEP-0478 Stream Limits Advertisement.
pub const STREAM_LIMITS: &str = "urn:xmpp:stream-limits:0";
/// XEP-0480 SASL Upgrade Tasks.
pub const SASL_UPGRADE: &str = "urn:xmpp:sasl:upgrade:0";
pub const SCRAM_UPGRADE: &str = "urn:xmpp:scram-upgrade:0";
/// XEP-0484 Fast Authentication Streamlining Tokens.
pub const FAST: &str = "urn:xmpp:fast:0";
/// XEP-0482 Call Invites.
pub const CALL_INVITES: &str = "urn:xmpp:call-invites:0";

/// Application-specific conditions such as `<stanza-too-big/>` (RFC 6120 section 4.9.3.14, XEP-0205).
pub const ERRORS: &str = "urn:xmpp:errors";
/// XEP-0198
pub const SM: &str = "urn:xmpp:sm:3";
/// XEP-0352
pub const CSI: &str = "urn:xmpp:csi:0";
