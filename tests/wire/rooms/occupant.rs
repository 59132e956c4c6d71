//! What occupants do (XEP-0045 sections 7.3 to 7.14), case by case; and what a room tells who asks whether he is in it
//! (XEP-0410), whose words are whose (XEP-0421), and who may be believed (row 25 of the attacks).

use testkit::{Client, Server, Transport};

use super::{MUC, USER, change, configure, join, join_with, make, nobody_knows, room_of, say};
use crate::support::error_of;

const CONDITIONS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

/// The owner of a room, and two who are in it; nothing is left to read.
struct Coven {
    room: String,
    /// `firstwitch`.
    owner: Client,
    /// `secondwitch`.
    second: Client,
    /// `thirdwitch`.
    third: Client,
}

impl Coven {
    /// Uses up four users.
    async fn of(server: &Server, transport: Transport, fields: &[&str]) -> Coven {
        let room = room_of(server);
        let mut owner = Client::online(server, transport, &format!("{}/desktop", server.user())).await;
        let mut second = Client::online(server, transport, &format!("{}/laptop", server.user())).await;
        let mut third = Client::online(server, transport, &format!("{}/pda", server.user())).await;
        let fields = [&["persistentroom=1"], fields].concat();
        make(&mut owner, &room, "firstwitch", &fields).await;
        join(&mut second, &room, "secondwitch").await;
        join(&mut third, &room, "thirdwitch").await;
        owner.forget().await;
        second.forget().await;
        Coven {
            room,
            owner,
            second,
            third,
        }
    }

    fn all(&mut self) -> [&mut Client; 3] {
        [&mut self.owner, &mut self.second, &mut self.third]
    }

    async fn nothing_more(&mut self) {
        for client in self.all() {
            client.nothing_more().await;
        }
    }

    async fn close(self) {
        for client in [self.owner, self.second, self.third] {
            client.close().await;
        }
    }
}

/// An error that the room itself gives, from this address of it.
fn refused(name: &str, id: &str, from: &str, room: &str, kind: &str, condition: &str) -> String {
    format!(
        "<{name} type='error' id='{id}' from='{from}'><error type='{kind}' by='{room}'><{condition} \
         xmlns='{CONDITIONS}'/></error></{name}>"
    )
}

fn groupchat(room: &str, id: &str, inner: &str) -> String {
    format!("<message type='groupchat' id='{id}' to='{room}'>{inner}</message>")
}

/// Section 7.4, and row 45 of the faults.
#[tokio::test]
async fn a_message_for_everybody() {
    let server = Server::with_users(5 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &["moderatedroom=1"]).await;
        let room = coven.room.clone();
        let mut outside = Client::online(&server, transport, &server.user()).await;
        outside.send(groupchat(&room, "o", "<body>x</body>")).await;
        outside
            .expect(&refused("message", "o", &room, &room, "modify", "not-acceptable"))
            .await;
        // Who has no voice.
        coven.second.send(groupchat(&room, "v", "<body>x</body>")).await;
        coven
            .second
            .expect(&refused("message", "v", &room, &room, "auth", "forbidden"))
            .await;
        change(&mut coven.owner, &room, "<item nick='secondwitch' role='participant'/>").await;
        for client in coven.all() {
            client.wait(&format!("<presence from='{room}/secondwitch'/>")).await;
        }
        let inner = "<body xml:lang='en'>Harpier cries: &apos;tis time</body><x xmlns='urn:unknown'><y/></x>";
        coven.second.send(groupchat(&room, "hysf1v37", inner)).await;
        for client in coven.all() {
            let to = client.jid.clone();
            let pattern = format!(
                "<message type='groupchat' id='hysf1v37' from='{room}/secondwitch' to='{to}'>{inner}\
                 <occupant-id xmlns='urn:xmpp:occupant-id:0' id='*'/></message>"
            );
            let came = client.expect(&pattern).await;
            assert!(
                !came.raw().contains("@example.org/laptop") || to.ends_with("laptop"),
                "{came:?}"
            );
        }
        // What is said in a moment and over goes to all as well (section 17.2).
        let composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
        coven.second.send(groupchat(&room, "c", composing)).await;
        for client in coven.all() {
            client
                .expect(&format!("<message type='groupchat' id='c'>{composing}</message>"))
                .await;
        }
        // Wrongly typed.
        for kind in ["chat", "normal"] {
            coven
                .second
                .send(format!(
                    "<message type='{kind}' id='w' to='{room}'><body>x</body></message>"
                ))
                .await;
            coven
                .second
                .expect(&refused("message", "w", &room, &room, "modify", "bad-request"))
                .await;
        }
        // What is never answered is for nobody.
        coven
            .second
            .send(format!("<message type='headline' to='{room}'><body>x</body></message>"))
            .await;
        coven
            .second
            .send(format!(
                "<message type='error' to='{room}'><error type='cancel'/></message>"
            ))
            .await;
        outside.nothing_more().await;
        coven.nothing_more().await;
        coven.close().await;
        outside.close().await;
    }
}

/// Section 7.5.
#[tokio::test]
async fn a_private_message() {
    let server = Server::with_users(6 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &[]).await;
        let room = coven.room.clone();
        let mut phone = Client::online(&server, transport, &format!("{}/phone", coven.third.bare())).await;
        join_with(&mut phone, &room, "thirdwitch", "").await;
        phone.forget().await;
        for client in coven.all() {
            client.forget().await;
        }
        let private = |to: &str, kind: &str| {
            format!(
                "<message type='{kind}' id='hgn27af1' to='{room}/{to}'><body>I&apos;ll give thee a wind.</body></message>"
            )
        };
        for kind in ["chat", "normal"] {
            coven.second.send(private("thirdwitch", kind)).await;
            for client in [&mut coven.third, &mut phone] {
                let pattern = format!(
                    "<message type='{kind}' id='hgn27af1' from='{room}/secondwitch' to='{}'><body>I&apos;ll give thee a \
                     wind.</body><x xmlns='{USER}'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='*'/></message>",
                    client.jid
                );
                let came = client.expect(&pattern).await;
                nobody_knows(&[came], &[&coven.second]);
            }
        }
        coven.second.send(private("thirdwitch", "groupchat")).await;
        let from = format!("{room}/thirdwitch");
        coven
            .second
            .expect(&refused("message", "hgn27af1", &from, &room, "modify", "bad-request"))
            .await;
        coven.second.send(private("nobody", "chat")).await;
        let from = format!("{room}/nobody");
        coven
            .second
            .expect(&refused(
                "message",
                "hgn27af1",
                &from,
                &room,
                "cancel",
                "item-not-found",
            ))
            .await;
        let mut outside = Client::online(&server, transport, &server.user()).await;
        outside.send(private("thirdwitch", "chat")).await;
        let from = format!("{room}/thirdwitch");
        outside
            .expect(&refused(
                "message",
                "hgn27af1",
                &from,
                &room,
                "modify",
                "not-acceptable",
            ))
            .await;
        // An answer in the form of an error comes from the occupant, and tells no more.
        let error = format!("<error type='cancel'><service-unavailable xmlns='{CONDITIONS}'/></error>");
        coven
            .third
            .send(format!(
                "<message type='error' id='e' to='{room}/secondwitch'>{error}</message>"
            ))
            .await;
        let came = coven
            .second
            .expect(&format!(
                "<message type='error' id='e' from='{room}/thirdwitch'>{error}</message>"
            ))
            .await;
        nobody_knows(&[came], &[&coven.third]);
        // The room may not allow them (muc#roomconfig_allowpm).
        configure(&mut coven.owner, &room, &["allowpm=moderators"]).await;
        for client in coven.all() {
            client.forget().await;
        }
        phone.forget().await;
        coven.second.send(private("thirdwitch", "chat")).await;
        let from = format!("{room}/thirdwitch");
        coven
            .second
            .expect(&refused("message", "hgn27af1", &from, &room, "auth", "forbidden"))
            .await;
        coven.owner.send(private("thirdwitch", "chat")).await;
        coven
            .third
            .expect(&format!("<message type='chat' from='{room}/firstwitch'/>"))
            .await;
        phone
            .expect(&format!("<message type='chat' from='{room}/firstwitch'/>"))
            .await;
        phone.nothing_more().await;
        outside.nothing_more().await;
        coven.nothing_more().await;
        coven.close().await;
        phone.close().await;
        outside.close().await;
    }
}

/// Section 7.6.
#[tokio::test]
async fn another_nickname() {
    let server = Server::with_users(4 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &[]).await;
        let room = coven.room.clone();
        let third = coven.third.jid.clone();
        coven
            .third
            .send(format!("<presence id='n' to='{room}/secondwitch'/>"))
            .await;
        let from = format!("{room}/secondwitch");
        coven
            .third
            .expect(&refused("presence", "n", &from, &room, "cancel", "conflict"))
            .await;
        coven.third.send(format!("<presence id='n' to='{room}/oldhag'/>")).await;
        let gone = |jid: &str, more: &str| {
            format!(
                "<presence type='unavailable' from='{room}/thirdwitch'><x xmlns='{USER}'><item affiliation='none' \
                 role='participant' nick='oldhag' jid='{jid}'/><status code='303'/>{more}</x></presence>"
            )
        };
        let here = |jid: &str, more: &str| {
            format!(
                "<presence from='{room}/oldhag'><x xmlns='{USER}'><item affiliation='none' role='participant' nick='-' \
                 jid='{jid}'/>{more}</x></presence>"
            )
        };
        let own = "<status code='110'/>";
        coven.third.expect(&gone(&third, own)).await;
        coven.third.expect(&here(&third, own)).await;
        coven.owner.expect(&gone(&third, "")).await;
        coven.owner.expect(&here(&third, "")).await;
        let came = [
            coven.second.expect(&gone("-", "")).await,
            coven.second.expect(&here("-", "")).await,
        ];
        nobody_knows(&came, &[&coven.third]);
        // The old name is nobody's, and there is somebody under the new one.
        coven
            .second
            .send(format!(
                "<message type='chat' id='p' to='{room}/thirdwitch'><body>x</body></message>"
            ))
            .await;
        let from = format!("{room}/thirdwitch");
        coven
            .second
            .expect(&refused("message", "p", &from, &room, "cancel", "item-not-found"))
            .await;
        coven
            .second
            .send(format!(
                "<message type='chat' to='{room}/oldhag'><body>x</body></message>"
            ))
            .await;
        coven
            .third
            .expect("<message type='chat'><body>x</body></message>")
            .await;
        // Who goes offline under his new name leaves under it.
        let Coven {
            mut owner,
            second,
            third,
            ..
        } = coven;
        third.close().await;
        let left = owner
            .expect(&format!("<presence type='unavailable' from='{room}/oldhag'/>"))
            .await;
        assert!(left.raw().contains("role='none'"), "{left:?}");
        owner.nothing_more().await;
        owner.close().await;
        second.close().await;
    }
}

/// Sections 7.7 and 17.3.
#[tokio::test]
async fn another_state() {
    let server = Server::with_users(4 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &[]).await;
        let room = coven.room.clone();
        let second = coven.second.jid.clone();
        let state = "<show>xa</show><status>gone where the goblins go</status><c xmlns='http://jabber.org/protocol/caps' \
                     node='n' ver='v' hash='sha-1'/>";
        let forged = format!(
            "<x xmlns='{USER}'><item affiliation='owner' role='moderator' jid='{0}'/><status code='100'/></x>\
             <x xmlns='{MUC}'><password>p</password></x>",
            coven.owner.jid
        );
        coven
            .second
            .send(format!("<presence to='{room}/secondwitch'>{state}{forged}</presence>"))
            .await;
        for client in [&mut coven.owner, &mut coven.third] {
            let came = client
                .expect(&format!(
                    "<presence from='{room}/secondwitch'>{state}<x xmlns='{USER}'><item affiliation='none' \
                     role='participant'/></x></presence>"
                ))
                .await;
            for wrong in ["code='100'", "affiliation='owner'", "<password>"] {
                assert!(!came.raw().contains(wrong), "{came:?}");
            }
            assert_eq!(came.raw().matches(USER).count(), 1, "{came:?}");
            assert_eq!(came.raw().contains(&second), client.resource() == "desktop", "{came:?}");
        }
        coven
            .second
            .wait(&format!(
                "<presence from='{room}/secondwitch'>{state}<x xmlns='{USER}'><status code='110'/></x></presence>"
            ))
            .await;
        coven.close().await;
    }
}

/// Sections 7.3 and 8.1.
#[tokio::test]
async fn the_subject() {
    let server = Server::with_users(4 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &[]).await;
        let room = coven.room.clone();
        let subject = "<subject>Fire Burn and Cauldron Bubble!</subject>";
        coven.second.send(groupchat(&room, "s", subject)).await;
        coven
            .second
            .expect(&refused("message", "s", &room, &room, "auth", "forbidden"))
            .await;
        coven.owner.send(groupchat(&room, "s", subject)).await;
        for client in coven.all() {
            let pattern = format!("<message type='groupchat' id='s' from='{room}/firstwitch'>{subject}</message>");
            let came = client.expect(&pattern).await;
            assert!(!came.raw().contains("<body"), "{came:?}");
        }
        // With a body or a thread it changes nothing.
        for more in ["<body>x</body>", "<thread>t</thread>"] {
            coven
                .second
                .send(groupchat(&room, "t", &format!("<subject>No</subject>{more}")))
                .await;
            for client in coven.all() {
                client.expect("<message type='groupchat' id='t'/>").await;
            }
        }
        let again =
            format!("<presence to='{room}/secondwitch'><x xmlns='{MUC}'><history maxchars='0'/></x></presence>");
        coven.second.send(&again).await;
        coven
            .second
            .wait(&format!(
                "<message type='groupchat' from='{room}/firstwitch'>{subject}<delay xmlns='urn:xmpp:delay' from='{room}'/></message>"
            ))
            .await;
        // A mere occupant may, where the room says so; an empty one takes it away.
        configure(&mut coven.owner, &room, &["changesubject=1"]).await;
        for client in coven.all() {
            client.forget().await;
        }
        coven.third.send(groupchat(&room, "e", "<subject/>")).await;
        for client in coven.all() {
            client
                .expect(&format!(
                    "<message type='groupchat' id='e' from='{room}/thirdwitch'><subject/></message>"
                ))
                .await;
        }
        coven.second.send(&again).await;
        let came = coven
            .second
            .wait("<message type='groupchat'><subject/><delay xmlns='urn:xmpp:delay'/></message>")
            .await;
        let subject = came.get_child("subject", "jabber:client").map(|subject| subject.text());
        assert_eq!(subject.as_deref(), Some(""), "{came:?}");
        coven.close().await;
    }
}

/// Sections 7.8 and 7.9; and XEP-0249.
#[tokio::test]
async fn invitations() {
    let server = Server::with_users(6 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let fields = ["passwordprotectedroom=1", "roomsecret=cauldronburn"];
        let room = room_of(&server);
        let mut owner = Client::online(&server, transport, &format!("{}/desktop", server.user())).await;
        let mut hecate = Client::online(&server, transport, &format!("{}/broom", server.user())).await;
        let mut guest = Client::online(&server, transport, &format!("{}/x", server.user())).await;
        make(&mut owner, &room, "firstwitch", &fields).await;
        let invite = |to: &[&str], inner: &str| {
            let each: String = to
                .iter()
                .map(|to| format!("<invite to='{to}'>{inner}</invite>"))
                .collect();
            format!("<message id='nzd143v8' to='{room}'><x xmlns='{USER}'>{each}</x></message>")
        };
        let inner = "<reason>Hey Hecate, this is the place!</reason><continue thread='e0ffe42b'/>";
        // Who is not in the room invites nobody.
        guest.send(invite(&[hecate.bare()], inner)).await;
        guest
            .expect(&refused("message", "nzd143v8", &room, &room, "auth", "forbidden"))
            .await;
        // Several at once; one of them by the address of a client.
        owner.send(invite(&[hecate.bare(), &guest.jid], inner)).await;
        let from = owner.bare().to_owned();
        for client in [&mut hecate, &mut guest] {
            client
                .expect(&format!(
                    "<message id='nzd143v8' from='{room}'><x xmlns='{USER}'><invite from='{from}' to='-'>{inner}</invite>\
                     <password>cauldronburn</password></x></message>"
                ))
                .await;
        }
        // One declines: who has invited hears of it, once; and nobody else is reached like this.
        let decline = |to: &str| {
            format!(
                "<message id='jk2vs61v' to='{room}'><x xmlns='{USER}'><decline to='{to}'><reason>Too busy</reason>\
                 </decline></x></message>"
            )
        };
        for to in [guest.bare().to_owned(), from.clone(), from.clone()] {
            hecate.send(decline(&to)).await;
        }
        owner
            .expect(&format!(
                "<message id='jk2vs61v' from='{room}'><x xmlns='{USER}'><decline from='{}' to='-'><reason>Too busy</reason>\
                 </decline></x></message>",
                hecate.bare()
            ))
            .await;
        // There is nobody to invite.
        owner.send(invite(&["nobody-of-this-name@example.org"], "")).await;
        owner
            .expect(&refused(
                "message",
                "nzd143v8",
                &room,
                &room,
                "cancel",
                "item-not-found",
            ))
            .await;
        for wrong in ["@", "", "example.org"] {
            owner.send(invite(&[wrong], "")).await;
            owner
                .expect(&refused("message", "nzd143v8", &room, &room, "modify", "jid-malformed"))
                .await;
        }
        // Section 9.5: into a room for members; who is invited by its admins is one of them.
        configure(
            &mut owner,
            &room,
            &["membersonly=1", "passwordprotectedroom=0", "allowinvites=0"],
        )
        .await;
        owner.forget().await;
        owner.send(invite(&[guest.bare()], "")).await;
        guest
            .expect(&format!(
                "<message from='{room}'><x xmlns='{USER}'><invite from='{from}'/></x></message>"
            ))
            .await;
        join(&mut guest, &room, "guest").await;
        guest.send(invite(&[hecate.bare()], "")).await;
        guest
            .expect(&refused("message", "nzd143v8", &room, &room, "auth", "forbidden"))
            .await;
        // XEP-0249: what is said past the room, and in private in it, is as it is.
        let direct = format!("<x xmlns='jabber:x:conference' jid='{room}' reason='Come' continue='true' thread='t'/>");
        owner.forget().await;
        owner
            .send(format!("<message to='{}'>{direct}</message>", hecate.bare()))
            .await;
        hecate
            .expect(&format!("<message from='{}'>{direct}</message>", owner.jid))
            .await;
        owner
            .send(format!("<message to='{room}/guest'>{direct}</message>"))
            .await;
        guest
            .expect(&format!("<message from='{room}/firstwitch'>{direct}</message>"))
            .await;
        for client in [&mut owner, &mut hecate, &mut guest] {
            client.nothing_more().await;
        }
        for client in [owner, hecate, guest] {
            client.close().await;
        }
    }
}

/// Sections 7.13 and 8.6.
#[tokio::test]
async fn who_has_no_voice_asks_for_it() {
    let server = Server::with_users(4 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &["moderatedroom=1"]).await;
        let room = coven.room.clone();
        let third = coven.third.jid.clone();
        let form = |more: &str| {
            format!(
                "<message id='yd53c486' to='{room}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>\
                 http://jabber.org/protocol/muc#request</value></field><field var='muc#role'><value>participant</value>\
                 </field>{more}</x></message>"
            )
        };
        coven.third.send(form("")).await;
        let field = |var: &str, value: &str| format!("<field var='{var}'><value>{value}</value></field>");
        let asked = format!(
            "<message from='{room}'><x xmlns='jabber:x:data' type='form'>{}{}{}{}{}</x></message>",
            field("FORM_TYPE", "http://jabber.org/protocol/muc#request"),
            field("muc#role", "participant"),
            field("muc#jid", &third),
            field("muc#roomnick", "thirdwitch"),
            field("muc#request_allow", "false"),
        );
        coven.owner.expect(&asked).await;
        let answer = |allow: &str| {
            form(
                &(field("muc#jid", &third) + &field("muc#roomnick", "thirdwitch") + &field("muc#request_allow", allow)),
            )
        };
        // Nobody gives it to himself.
        coven.third.send(answer("true")).await;
        coven
            .third
            .expect(&refused("message", "yd53c486", &room, &room, "auth", "forbidden"))
            .await;
        coven.owner.send(answer("false")).await;
        coven.owner.nothing_more().await;
        coven.owner.send(answer("1")).await;
        for client in coven.all() {
            client
                .expect(&format!(
                    "<presence from='{room}/thirdwitch'><x xmlns='{USER}'><item role='participant'/></x></presence>"
                ))
                .await;
        }
        coven.nothing_more().await;
        coven.close().await;
    }
}

/// Sections 7.14 and 11.1.
#[tokio::test]
async fn going() {
    let server = Server::with_users(4 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &[]).await;
        let room = coven.room.clone();
        let (second, third) = (coven.second.jid.clone(), coven.third.jid.clone());
        let status = "<status>gone where the goblins go</status>";
        let left = |nick: &str, jid: &str, inner: &str, codes: &str| {
            format!(
                "<presence type='unavailable' from='{room}/{nick}'>{inner}<x xmlns='{USER}'><item affiliation='none' \
                 role='none' jid='{jid}'/>{codes}</x></presence>"
            )
        };
        coven
            .second
            .send(format!(
                "<presence type='unavailable' to='{room}/secondwitch'>{status}</presence>"
            ))
            .await;
        coven
            .second
            .expect(&left("secondwitch", &second, status, "<status code='110'/>"))
            .await;
        coven.owner.expect(&left("secondwitch", &second, status, "")).await;
        let seen = coven.third.expect(&left("secondwitch", "-", status, "")).await;
        nobody_knows(&[seen], &[&coven.second]);
        // Who has gone hears nothing more, and does not go twice.
        say(&mut coven.owner, &room, "m", "x").await;
        coven
            .second
            .send(format!("<presence type='unavailable' to='{room}/secondwitch'/>"))
            .await;
        coven.second.nothing_more().await;
        for client in [&mut coven.owner, &mut coven.third] {
            client.expect("<message type='groupchat' id='m'/>").await;
        }
        // To go offline is to leave all rooms.
        coven
            .third
            .send(format!("<presence type='unavailable'>{status}</presence>"))
            .await;
        coven.owner.expect(&left("thirdwitch", &third, status, "")).await;
        // Who says that nobody is there is put out (status 333); the others hear why.
        coven.third.presence("<presence/>").await;
        join(&mut coven.third, &room, "thirdwitch").await;
        join(&mut coven.second, &room, "secondwitch").await;
        coven.owner.forget().await;
        coven.third.forget().await;
        let ghost = format!("<error type='wait'><recipient-unavailable xmlns='{CONDITIONS}'/></error>");
        coven
            .third
            .send(format!(
                "<message type='error' to='{room}/firstwitch'>{ghost}</message>"
            ))
            .await;
        coven
            .third
            .expect(&left(
                "thirdwitch",
                &third,
                "",
                "<status code='110'/><status code='333'/>",
            ))
            .await;
        coven
            .owner
            .expect(&left("thirdwitch", &third, "", "<status code='333'/>"))
            .await;
        let seen = coven
            .second
            .expect(&left("thirdwitch", "-", "", "<status code='333'/>"))
            .await;
        assert!(!seen.raw().contains("code='307'"), "{seen:?}");
        coven.nothing_more().await;
        coven.close().await;
    }
}

/// Section 7.2.8: several clients under one name, each in the room for itself.
#[tokio::test]
async fn two_clients_of_one_occupant() {
    let server = Server::with_users(4 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &[]).await;
        let room = coven.room.clone();
        let mut phone = Client::online(&server, transport, &format!("{}/phone", coven.third.bare())).await;
        join(&mut phone, &room, "thirdwitch").await;
        for client in coven.all() {
            client.forget().await;
        }
        say(&mut phone, &room, "m", "from the phone").await;
        for client in [&mut coven.owner, &mut coven.second, &mut coven.third, &mut phone] {
            client
                .expect(&format!("<message type='groupchat' id='m' from='{room}/thirdwitch'/>"))
                .await;
        }
        // The one that others see goes: they see the other, and hear of no leave.
        phone.close().await;
        for client in [&mut coven.owner, &mut coven.second] {
            client.expect(&format!("<presence from='{room}/thirdwitch'/>")).await;
        }
        coven.third.forget().await;
        let ping = coven.third.iq("get", &format!("{room}/thirdwitch"), PING).await;
        assert_eq!(ping.get("type"), "result", "{ping:?}");
        coven.nothing_more().await;
        coven.close().await;
    }
}

/// XEP-0410, and row 45 of the faults: who asks whether he is in a room is told by the room, and asks nobody else.
#[tokio::test]
async fn am_i_in_the_room() {
    let server = Server::with_users(5 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &[]).await;
        let room = coven.room.clone();
        let me = format!("{room}/thirdwitch");
        let mut phone = Client::online(&server, transport, &format!("{}/phone", coven.third.bare())).await;
        coven.third.forget().await;
        let not_in = |answer: &testkit::Stanza, from: &str| {
            let pattern = format!(
                "<iq type='error' from='{from}'><error type='cancel' by='{}'><not-acceptable xmlns='{CONDITIONS}'/></error></iq>",
                from.split('/').next().unwrap_or_default()
            );
            assert_eq!(answer.mismatch(&pattern), None, "{answer:?}");
        };
        let answer = coven.third.iq("get", &me, PING).await;
        assert_eq!((answer.get("type"), answer.get("from")), ("result", &*me), "{answer:?}");
        // It is the client that is in it, not the account.
        not_in(&phone.iq("get", &me, PING).await, &me);
        for nick in ["firstwitch", "nobody"] {
            let of = format!("{room}/{nick}");
            not_in(&phone.iq("get", &of, PING).await, &of);
        }
        // A room that is not there has nobody in it: "item-not-found" would say that the name has changed.
        let nowhere = format!("{}/thirdwitch", room_of(&server));
        not_in(&coven.third.iq("get", &nowhere, PING).await, &nowhere);
        // There is nobody of this name: so it was changed.
        let answer = coven.third.iq("get", &format!("{room}/oldhag"), PING).await;
        assert_eq!(error_of(&answer), "cancel/item-not-found", "{answer:?}");
        // Of another occupant it is asked, without being told by whom.
        let ask = format!("<iq type='get' id='to-second' to='{room}/secondwitch'>{PING}</iq>");
        coven.third.send(ask).await;
        let asked = coven
            .second
            .expect(&format!("<iq type='get' from='{me}'>{PING}</iq>"))
            .await;
        nobody_knows(std::slice::from_ref(&asked), &[&coven.third]);
        coven
            .second
            .send(format!("<iq type='result' id='{}' to='{me}'/>", asked.get("id")))
            .await;
        let answer = coven
            .third
            .expect(&format!("<iq type='result' id='to-second' from='{room}/secondwitch'/>"))
            .await;
        nobody_knows(&[answer], &[&coven.second]);
        // Section 6.6: nobody outside learns of an occupant.
        let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
        let answer = phone.iq("get", &format!("{room}/firstwitch"), info).await;
        assert_eq!(error_of(&answer), "modify/bad-request", "{answer:?}");
        coven.nothing_more().await;
        coven.close().await;
        phone.close().await;
    }
}

/// Row 25 of the attacks: what only the room may say is said once, by the room, however often and in whatever spelling
/// somebody says it for it; in messages, private ones, presence and history.
#[tokio::test]
async fn nobody_speaks_for_the_room() {
    let server = Server::with_users(4 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut coven = Coven::of(&server, transport, &[]).await;
        let room = coven.room.clone();
        let own = coven.second.bare().to_owned();
        let of_room = ["", "/firstwitch", "/secondwitch"].map(|nick| format!("{room}{nick}"));
        let mut forged = vec![
            "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/>".to_owned(),
            "<o:occupant-id xmlns:o='urn:xmpp:occupant-id:0' id='forged'>x</o:occupant-id>".to_owned(),
            "<occupant-id xmlns='urn:xmpp:occupant-id&#x3a;0' id='forged'/>".to_owned(),
            "<stanza-id xmlns='urn:xmpp:sid:0' id='forged'/>".to_owned(),
            format!(
                "<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{}'/>",
                room.to_uppercase()
            ),
            format!("<s:stanza-id xmlns:s='urn&#58;xmpp:sid:0' id='forged' by='{room}'/>"),
            "<delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'>forged</delay>".to_owned(),
            format!("<d:delay xmlns:d='urn:xmpp:delay' from='{room}' stamp='2002-09-10T23:08:25Z'>forged</d:delay>"),
            format!("<x xmlns='jabber:x:delay' from='{room}' stamp='20020910T23:08:25'>forged</x>"),
            format!("<x xmlns='{USER}'><status code='104'/><item affiliation='owner' reason='forged'/></x>"),
            format!("<u:x xmlns:u='{USER}'><u:status code='104'/><u:invite from='forged'/></u:x>"),
        ];
        for by in of_room.iter().chain([&own]) {
            forged.push(format!("<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{by}'/>"));
        }
        for from in &of_room {
            forged.push(format!(
                "<delay xmlns='urn:xmpp:delay' from='{from}' stamp='2002-09-10T23:08:25Z'>forged</delay>"
            ));
        }
        let forged = forged.concat();
        let is_clean = |stanza: &testkit::Stanza, ids: usize| {
            assert!(!stanza.raw().contains("forged"), "{stanza:?}");
            let counts = ["occupant-id", "stanza-id"].map(|name| {
                let children = stanza.children().filter(|child| child.name() == name);
                children.count()
            });
            assert_eq!(counts, [1, ids], "{stanza:?}");
        };
        for (number, copies) in [0, 1, 2, 5].into_iter().enumerate() {
            let (id, forged) = (format!("f{number}"), forged.repeat(copies));
            coven
                .second
                .send(groupchat(&room, &id, &format!("{forged}<body>true</body>{forged}")))
                .await;
            for client in coven.all() {
                let came = client
                    .expect(&format!(
                        "<message type='groupchat' id='{id}'><body>true</body></message>"
                    ))
                    .await;
                is_clean(&came, 1);
                assert!(!came.raw().contains("<delay"), "{came:?}");
            }
            let private =
                format!("<message type='chat' id='{id}' to='{room}/thirdwitch'>{forged}<body>true</body></message>");
            coven.second.send(private).await;
            let came = coven
                .third
                .expect(&format!("<message type='chat' id='{id}'><body>true</body></message>"))
                .await;
            assert!(
                !came.raw().contains("forged") && !came.raw().contains("<delay"),
                "{came:?}"
            );
            let by_room = came.children().filter(|child| child.attr("by") == Some(&*room));
            assert_eq!(
                (by_room.count(), came.raw().matches("<occupant-id").count()),
                (0, 1),
                "{came:?}"
            );
            coven
                .second
                .send(format!(
                    "<presence to='{room}/secondwitch'>{forged}<show>xa</show></presence>"
                ))
                .await;
            for client in coven.all() {
                let came = client
                    .expect(&format!(
                        "<presence from='{room}/secondwitch'><show>xa</show></presence>"
                    ))
                    .await;
                assert_eq!(came.raw().matches("<occupant-id").count(), 1, "{came:?}");
                assert_eq!(came.raw().matches(USER).count(), 1, "{came:?}");
            }
        }
        // What is told of the past has one time, the room's.
        coven
            .third
            .send(format!(
                "<presence to='{room}/thirdwitch'><x xmlns='{MUC}'/></presence>"
            ))
            .await;
        for number in 0..4 {
            let came = coven
                .third
                .wait(&format!("<message type='groupchat' id='f{number}'/>"))
                .await;
            is_clean(&came, 1);
            let delays: Vec<_> = came.children().filter(|child| child.name() == "delay").collect();
            assert_eq!(delays.len(), 1, "{came:?}");
            assert_eq!(delays[0].attr("from"), Some(&*room));
        }
        // What somebody says in his own name is his to say (section 7.9).
        let honest = format!(
            "<delay xmlns='urn:xmpp:delay' from='{}' stamp='2004-09-29T01:54:37Z'/>",
            coven.second.jid
        );
        coven
            .second
            .send(groupchat(&room, "h", &format!("<body>x</body>{honest}")))
            .await;
        coven
            .owner
            .expect(&format!(
                "<message type='groupchat' id='h'><body>x</body>{honest}</message>"
            ))
            .await;
        coven.close().await;
    }
}
