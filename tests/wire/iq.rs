//! IQ: section 8.2.3 of RFC 6120, section 8.5 of RFC 6121, and the requests that the server answers itself
//! (XEP-0030, 0115, 0128, 0157, 0199, 0092, 0202, 0012).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use minidom::Element;
use testkit::{Client, Server, Stanza, Transport};

use crate::support::{error_of, friends, see, settle};

const INFO: &str = "http://jabber.org/protocol/disco#info";
const ITEMS: &str = "http://jabber.org/protocol/disco#items";
const LAST: &str = "jabber:iq:last";
const DATA: &str = "jabber:x:data";

/// The answer without what differs anyway.
fn without(stanza: &Stanza, parts: &[&str]) -> String {
    let mut raw = stanza.raw().replace(&format!("id='{}'", stanza.get("id")), "id='…'");
    for part in parts {
        raw = raw.replace(part, "…");
    }
    raw
}

/// Rows 28 to 30.
#[tokio::test]
async fn rules_of_the_form() {
    let server = Server::with_users(6);
    for transport in Transport::ALL {
        let mut other = Client::online(&server, transport, &server.user()).await;
        let mut client = Client::online(&server, transport, &server.user()).await;
        let ping = "<ping xmlns='urn:xmpp:ping'/>";
        for to in [
            "example.org",
            client.bare().to_owned().as_str(),
            other.bare(),
            &other.jid.clone(),
            "nobody@example.org",
            "x@elsewhere.example",
        ] {
            let cases = [
                format!("<iq type='get' to='{to}'>{ping}</iq>"),
                format!("<iq type='bogus' id='i' to='{to}'>{ping}</iq>"),
                format!("<iq id='i' to='{to}'>{ping}</iq>"),
                format!("<iq type='get' id='i' to='{to}'/>"),
                format!("<iq type='set' id='i' to='{to}'> </iq>"),
                format!("<iq type='get' id='i' to='{to}'>{ping}{ping}</iq>"),
                format!("<iq type='set' id='i' to='{to}'>{ping}<query xmlns='jabber:iq:roster'/></iq>"),
            ];
            for case in cases {
                client.send(&case).await;
                let answer = client.expect("<iq type='error'/>").await;
                assert_eq!(error_of(&answer), "modify/bad-request", "{case} {answer:?}");
                assert_eq!(
                    answer.get("id"),
                    if case.contains("id='i'") { "i" } else { "" },
                    "{case}"
                );
            }
            // Answers that nobody waits for are nobody's business; one with two children is no answer at all.
            for stray in [
                format!("<iq type='result' id='s' to='{to}'/>"),
                format!(
                    "<iq type='error' id='s' to='{to}'><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
                ),
                format!("<iq type='result' to='{to}'/>"),
                format!("<iq type='result' id='s' to='{to}'>{ping}{ping}</iq>"),
            ] {
                client.send(&stray).await;
            }
            client.nothing_more().await;
        }
        // A resource gets every answer that is addressed to it (section 8.5.3.1), whoever sends it.
        other.expect("<iq type='result' id='s'/>").await;
        other.expect("<iq type='error' id='s'/>").await;
        other.nothing_more().await;
        for stray in ["<iq type='result' id='s'/>", "<iq type='error' id='s'/>"] {
            client.send(stray).await;
        }
        client.nothing_more().await;
        // A known namespace, another element; a known element, the wrong kind of request.
        let answer = client.iq("get", "example.org", "<pong xmlns='urn:xmpp:ping'/>").await;
        assert!(
            ["cancel/feature-not-implemented", "modify/feature-not-implemented"].contains(&error_of(&answer).as_str()),
            "{answer:?}"
        );
        let answer = client
            .iq("set", "example.org", "<query xmlns='jabber:iq:version'/>")
            .await;
        assert_eq!(answer.get("type"), "error", "{answer:?}");
        for to in ["", "example.org", client.bare().to_owned().as_str()] {
            let answer = client.iq("get", to, "<query xmlns='urn:nobody:knows'/>").await;
            assert_eq!(error_of(&answer), "cancel/service-unavailable", "{to}");
        }
    }
}

/// Row 29 of the faults, row 16 of the attacks: who has no relation to somebody learns nothing, not even whether there
/// is such an account, whether it is online, whether a resource is there.
#[tokio::test]
async fn strangers_learn_nothing() {
    let server = Server::with_users(16);
    for transport in Transport::EVERY {
        let mut online = Client::online(&server, transport, &format!("{}/desk", server.user())).await;
        let offline = server.user();
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let payloads = [
            "<query xmlns='urn:nobody:knows'/>".to_owned(),
            "<ping xmlns='urn:xmpp:ping'/>".to_owned(),
            format!("<query xmlns='{INFO}'/>"),
            format!("<query xmlns='{INFO}' node='x'/>"),
            format!("<query xmlns='{ITEMS}'/>"),
            format!("<query xmlns='{LAST}'/>"),
            "<query xmlns='jabber:iq:version'/>".to_owned(),
            "<time xmlns='urn:xmpp:time'/>".to_owned(),
            "<vCard xmlns='vcard-temp'/>".to_owned(),
            "<query xmlns='jabber:iq:roster'/>".to_owned(),
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'/>".to_owned(),
            "<query xmlns='urn:xmpp:mam:2'/>".to_owned(),
            "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>".to_owned(),
            "<pong xmlns='urn:xmpp:ping'/>".to_owned(),
        ];
        for kind in ["get", "set"] {
            for payload in &payloads {
                for resource in ["", "/desk", "/gone"] {
                    let mut answers = Vec::new();
                    for bare in [
                        "nobody-here@example.org",
                        offline.as_str(),
                        online.bare().to_owned().as_str(),
                    ] {
                        let answer = stranger.iq(kind, &format!("{bare}{resource}"), payload).await;
                        assert_eq!(answer.get("type"), "error", "{kind} {payload} {answer:?}");
                        answers.push(without(&answer, &[bare]));
                    }
                    assert_eq!(answers[0], answers[1], "missing and offline");
                    assert_eq!(answers[0], answers[2], "missing and online");
                }
            }
        }
        // Presence and messages to a resource that is not there.
        for stanza in [
            "<presence type='probe'",
            "<presence type='subscribe'",
            "<presence type='unsubscribe'",
            "<presence",
        ] {
            let mut answers = Vec::new();
            for bare in ["nobody-here@example.org", offline.as_str()] {
                stranger.send(format!("{stanza} id='p' to='{bare}'/>")).await;
                settle(&mut stranger, bare).await;
                let came = stranger.drain().await;
                let came: Vec<String> = came.iter().map(|stanza| without(stanza, &[bare])).collect();
                answers.push(came);
            }
            assert_eq!(answers[0], answers[1], "{stanza}");
        }
        online.nothing_more().await;
    }
}

#[tokio::test]
async fn between_resources() {
    let server = Server::with_users(12);
    for transport in Transport::ALL {
        let (mut one, mut two) = friends(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let (from, to) = (one.jid.clone(), two.jid.clone());
        // Delivered, and answered.
        for kind in ["get", "set"] {
            one.send(format!(
                "<iq type='{kind}' id='q' to='{to}'><query xmlns='urn:private'><a/></query></iq>"
            ))
            .await;
            two.expect(&format!("<iq type='{kind}' id='q' from='{from}' to='{to}'><query xmlns='urn:private'><a xmlns='urn:private'/></query></iq>")).await;
            two.send(format!(
                "<iq type='result' id='q' to='{from}'><query xmlns='urn:private'/></iq>"
            ))
            .await;
            one.expect(&format!(
                "<iq type='result' id='q' from='{to}' to='{from}'><query xmlns='urn:private'/></iq>"
            ))
            .await;
            one.send(format!(
                "<iq type='{kind}' id='r' to='{to}'><query xmlns='urn:private'/></iq>"
            ))
            .await;
            two.expect(&format!("<iq type='{kind}' id='r'/>")).await;
            let error = "<error type='auth'><forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
            two.send(format!("<iq type='error' id='r' to='{from}'>{error}</iq>"))
                .await;
            one.expect(&format!("<iq type='error' id='r' from='{to}'>{error}</iq>"))
                .await;
        }
        // A resource that is gone.
        let answer = one
            .iq("get", &format!("{}/gone", two.bare()), "<ping xmlns='urn:xmpp:ping'/>")
            .await;
        assert_eq!(error_of(&answer), "cancel/service-unavailable");
        // To the bare address: the server answers, the resources hear nothing.
        let answer = one.iq("get", two.bare(), "<query xmlns='urn:private'/>").await;
        assert_eq!(error_of(&answer), "cancel/service-unavailable");
        let answer = one.iq("get", two.bare(), "<ping xmlns='urn:xmpp:ping'/>").await;
        assert_eq!(answer.get("type"), "result");
        two.nothing_more().await;
        // One's own other resource.
        let mut other = Client::login(&server, transport, &format!("{}/other", one.bare())).await;
        one.send(format!(
            "<iq type='get' id='o' to='{}'><query xmlns='urn:private'/></iq>",
            other.jid
        ))
        .await;
        other.expect("<iq type='get' id='o'/>").await;

        // A stranger is let in by directed presence, and only while it lasts.
        let ask = async |stranger: &mut Client, two: &mut Client, delivered: bool| {
            stranger
                .send(format!(
                    "<iq type='get' id='d' to='{to}'><query xmlns='urn:private'/></iq>"
                ))
                .await;
            if delivered {
                two.expect("<iq type='get' id='d'/>").await;
                two.send(format!("<iq type='result' id='d' to='{}'/>", stranger.jid))
                    .await;
                stranger.expect("<iq type='result' id='d'/>").await;
            } else {
                let answer = stranger.expect("<iq type='error' id='d'/>").await;
                assert_eq!(error_of(&answer), "cancel/service-unavailable");
                two.nothing_more().await;
            }
        };
        ask(&mut stranger, &mut two, false).await;
        two.send(format!("<presence to='{}'/>", stranger.jid)).await;
        stranger.expect(&format!("<presence from='{to}'/>")).await;
        ask(&mut stranger, &mut two, true).await;
        two.send(format!("<presence to='{}' type='unavailable'/>", stranger.jid))
            .await;
        stranger
            .expect(&format!("<presence from='{to}' type='unavailable'/>"))
            .await;
        ask(&mut stranger, &mut two, false).await;
        // A subscription of one side gives the watcher access, not the watched.
        see(&mut stranger, &mut two).await;
        ask(&mut stranger, &mut two, true).await;
        two.send(format!(
            "<iq type='get' id='e' to='{}'><query xmlns='urn:private'/></iq>",
            stranger.jid
        ))
        .await;
        assert_eq!(
            error_of(&two.expect("<iq type='error' id='e'/>").await),
            "cancel/service-unavailable"
        );
        stranger.nothing_more().await;
    }
}

#[tokio::test]
async fn what_the_server_tells() {
    let server = Server::builder()
        .users(12)
        .domain_toml("[domain.contacts]\nabuse = [\"mailto:abuse@example.org\", \"xmpp:abuse@example.org\"]\nsupport = [\"xmpp:help@example.org\"]\n")
        .start();
    for transport in Transport::ALL {
        let (mut client, mut friend) = friends(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;

        let info = client
            .iq("get", "example.org", &format!("<query xmlns='{INFO}'/>"))
            .await;
        assert!(info.matches(&format!(
            "<iq type='result' from='example.org' to='{}'><query xmlns='{INFO}' node='-'><identity category='server' type='im'/>\
             <feature var='{INFO}'/><feature var='{ITEMS}'/><feature var='urn:xmpp:ping'/><feature var='jabber:iq:version'/>\
             <feature var='urn:xmpp:time'/><feature var='jabber:iq:last'/><feature var='msgoffline'/>\
             <feature var='http://jabber.org/protocol/caps'/>\
             <x xmlns='{DATA}' type='result'><field var='FORM_TYPE' type='hidden'><value>http://jabber.org/network/serverinfo</value></field>\
             <field var='abuse-addresses'><value>mailto:abuse@example.org</value><value>xmpp:abuse@example.org</value></field>\
             <field var='support-addresses'><value>xmpp:help@example.org</value></field></x></query></iq>",
            client.jid
        )), "{info:?}");
        let query = info.get_child("query", INFO).expect("matched above");
        let mut features: Vec<&str> = query
            .children()
            .filter(|child| child.name() == "feature")
            .filter_map(|child| child.attr("var"))
            .collect();
        let all = features.len();
        features.sort_unstable();
        features.dedup();
        assert_eq!(all, features.len(), "each feature once");

        // XEP-0115: what was announced among the stream features is the hash of this answer.
        let announced = client.features.clone().expect("features");
        let caps = announced
            .get_child("c", "http://jabber.org/protocol/caps")
            .expect("section 6.3");
        assert_eq!(caps.attr("ver"), Some(caps_hash(query).as_str()), "{info:?}");
        let node = format!(
            "{}#{}",
            caps.attr("node").expect("a node"),
            caps.attr("ver").expect("a hash")
        );
        let same = client
            .iq("get", "example.org", &format!("<query xmlns='{INFO}' node='{node}'/>"))
            .await;
        let same = same.get_child("query", INFO).expect("section 6.2");
        assert_eq!(
            (same.attr("node"), caps_hash(same)),
            (Some(node.as_str()), caps_hash(query))
        );
        for wrong in ["x".to_owned(), format!("{node}x"), String::new()] {
            let answer = client
                .iq("get", "example.org", &format!("<query xmlns='{INFO}' node='{wrong}'/>"))
                .await;
            if wrong.is_empty() {
                continue;
            }
            assert_eq!(error_of(&answer), "cancel/item-not-found", "XEP-0030 section 3.2");
        }
        let items = client
            .iq("get", "example.org", &format!("<query xmlns='{ITEMS}'/>"))
            .await;
        assert!(
            items.matches(&format!("<iq type='result'><query xmlns='{ITEMS}'/></iq>")),
            "{items:?}"
        );

        let version = client
            .iq("get", "example.org", "<query xmlns='jabber:iq:version'/>")
            .await;
        assert!(
            version.matches(
                "<iq type='result'><query xmlns='jabber:iq:version'><name>Jackdaw</name><version/></query></iq>"
            ),
            "{version:?}"
        );

        let time = client.iq("get", "example.org", "<time xmlns='urn:xmpp:time'/>").await;
        let time = time.get_child("time", "urn:xmpp:time").expect("XEP-0202");
        assert_eq!(
            time.get_child("tzo", "urn:xmpp:time").map(Element::text).as_deref(),
            Some("+00:00")
        );
        let utc = time
            .get_child("utc", "urn:xmpp:time")
            .map(Element::text)
            .expect("XEP-0202");
        let told = time::OffsetDateTime::parse(&utc, &time::format_description::well_known::Rfc3339).expect("XEP-0082");
        assert!(
            utc.ends_with('Z') && (time::OffsetDateTime::now_utc() - told).abs() < time::Duration::minutes(1),
            "{utc}"
        );

        let own = client.bare().to_owned();
        for to in ["", "example.org", own.as_str(), friend.bare()] {
            let pong = client.iq("get", to, "<ping xmlns='urn:xmpp:ping'/>").await;
            assert_eq!(
                (pong.get("type"), pong.children().count()),
                ("result", 0),
                "{to} {pong:?}"
            );
        }

        // An account, to itself and to who sees its presence (XEP-0030 section 8).
        for to in [String::new(), client.bare().to_owned(), friend.bare().to_owned()] {
            let info = client.iq("get", &to, &format!("<query xmlns='{INFO}'/>")).await;
            assert!(info.matches(&format!("<iq type='result'><query xmlns='{INFO}'><identity category='account' type='registered'/><feature var='{INFO}'/></query></iq>")), "{info:?}");
        }
        let items = client
            .iq("get", friend.bare(), &format!("<query xmlns='{ITEMS}'/>"))
            .await;
        assert!(
            items.matches(&format!(
                "<iq type='result'><query xmlns='{ITEMS}'><item jid='{}'/></query></iq>",
                friend.jid
            )),
            "{items:?}"
        );
        let refused = stranger
            .iq("get", friend.bare(), &format!("<query xmlns='{ITEMS}'/>"))
            .await;
        assert_eq!(error_of(&refused), "cancel/service-unavailable");

        // XEP-0012.
        let last = |stanza: &Stanza| -> (i64, String) {
            let query = stanza.get_child("query", LAST).unwrap_or_else(|| panic!("{stanza:?}"));
            (
                query
                    .attr("seconds")
                    .and_then(|seconds| seconds.parse().ok())
                    .expect("seconds"),
                query.text(),
            )
        };
        let uptime = last(
            &client
                .iq("get", "example.org", &format!("<query xmlns='{LAST}'/>"))
                .await,
        );
        assert!((0..600).contains(&uptime.0), "{uptime:?}");
        let query = format!("<query xmlns='{LAST}'/>");
        let bare = friend.bare().to_owned();
        assert_eq!(
            last(&client.iq("get", &bare, &query).await),
            (0, String::new()),
            "section 4: online"
        );
        friend
            .send("<presence type='unavailable'><status>gone &lt;fishing></status></presence>")
            .await;
        client
            .wait(&format!("<presence type='unavailable' from='{}'/>", friend.jid))
            .await;
        let (seconds, status) = last(&client.iq("get", &bare, &query).await);
        assert!(
            (0..60).contains(&seconds) && status == "gone <fishing>",
            "{seconds} {status}"
        );
        assert_eq!(
            error_of(&stranger.iq("get", &bare, &query).await),
            "cancel/service-unavailable"
        );
    }
}

/// XEP-0115 section 5.1, from the answer alone.
fn caps_hash(query: &Element) -> String {
    let attr = |child: &Element, name: &str| child.attr(name).unwrap_or_default().to_owned();
    let mut identities = Vec::new();
    let mut features = Vec::new();
    let mut forms = Vec::new();
    for child in query.children() {
        match child.name() {
            "identity" => {
                let lang = child
                    .attrs()
                    .iter()
                    .find(|((_, name), _)| name.as_str() == "lang")
                    .map(|(_, value)| value.clone());
                let lang = lang.unwrap_or_default();
                identities.push(format!(
                    "{}/{}/{lang}/{}<",
                    attr(child, "category"),
                    attr(child, "type"),
                    attr(child, "name")
                ));
            }
            "feature" => features.push(format!("{}<", attr(child, "var"))),
            "x" => {
                let mut kind = String::new();
                let mut fields = Vec::new();
                for field in child.children().filter(|field| field.name() == "field") {
                    let mut values: Vec<String> = field.children().map(|value| format!("{}<", value.text())).collect();
                    values.sort();
                    if attr(field, "var") == "FORM_TYPE" {
                        kind = values.concat();
                    } else {
                        fields.push((attr(field, "var"), values.concat()));
                    }
                }
                fields.sort();
                let fields: String = fields
                    .into_iter()
                    .map(|(var, values)| format!("{var}<{values}"))
                    .collect();
                forms.push(format!("{kind}{fields}"));
            }
            _ => {}
        }
    }
    identities.sort();
    features.sort();
    forms.sort();
    let text = identities.concat() + &features.concat() + &forms.concat();
    STANDARD.encode(ring::digest::digest(
        &ring::digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    ))
}
