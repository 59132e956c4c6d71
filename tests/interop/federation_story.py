"""Two servers, and people at each of them: what either may do with the other's, in both directions."""

import asyncio
import os
import ssl
import time
from io import BytesIO

from aiohttp import ClientSession, TCPConnector
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0363 import http_upload

from checks import Checks, Failed, Group, until
from federation_net import Net
from federation_servers import Federated
from peer import Peer
from pictures import DOT, ids, sha1
from server import Jackdaw

ANSWER_SECONDS = 20.0
CUT_PART = 0.5  # seconds between what is said while the line is cut
DEAD_SECONDS = 4.0
STRUCK = 60  # messages of each in which connections die,
STRUCK_AFTER = 25  # and after how many
DEAD_AFTER = 3  # messages that are on their way when connections die
MEND_SECONDS = 90.0  # TCP tries again when it wants
PLUGINS = (
    "xep_0045", "xep_0054", "xep_0059", "xep_0084", "xep_0163", "xep_0198", "xep_0313", "xep_0359", "xep_0363",
)  # fmt: skip
FILE = bytes(range(256)) * 400


class Person(Peer):
    """Somebody with an account at one of the servers."""

    def __init__(self, server: Federated, account: tuple[str, str]):
        super().__init__(server, account, resource="here")
        for plugin in PLUGINS:
            self.register_plugin(plugin)
        self.pictures: list[tuple[str, str]] = []  # whose, which
        self.said: dict[tuple[str, str], list[str]] = {}  # in rooms: (room, nick) to texts
        self.subjects: dict[str, str] = {}
        self.add_event_handler("avatar_metadata_publish", lambda m: self.pictures.extend((m["from"].bare, i) for i in ids(m)))
        self.add_event_handler("groupchat_message", self._in_room)
        self.returned: list = []  # errors
        self.add_event_handler("message_error", self.returned.append)
        self.add_event_handler("groupchat_subject", lambda m: self.subjects.update({m["from"].bare: m["subject"]}))

    def _in_room(self, message) -> None:
        self.said.setdefault((message["from"].bare, message["from"].resource), []).append(message["body"])

    @property
    def muc(self):
        return self["xep_0045"]

    def heard(self, sender: str) -> list[str]:
        """What came of this person directly, in order."""
        return [m["body"] for m in self.inbox if m["type"] == "chat" and m["from"].bare == sender and m["body"]]

    def refused(self, to: str) -> list[str]:
        """Ids of messages to this address that came back."""
        return [m["id"] for m in self.returned if m["from"].bare == to]

    def say(self, to: str, text: str, kind: str = "chat") -> str:
        message = self.make_message(to, text, mtype=kind)
        message["id"] = message_id(self, text)
        message.send()
        return message["id"]

    async def archive(self, whom: str | None = None, *, room: str | None = None) -> list[tuple[str, str]]:
        """The own archive with somebody, or that of a room: who, what."""
        found: list[tuple[str, str]] = []
        after = None
        while True:
            rsm = {"max": 30} | ({"after": after} if after else {})
            of = {"jid": JID(room)} if room else {"with_jid": JID(whom)}
            answer = await self["xep_0313"].retrieve(rsm=rsm, timeout=ANSWER_SECONDS, **of)
            for result in answer["mam"]["results"]:
                message = result["mam_result"]["forwarded"]["stanza"]
                if message["body"]:
                    sender = message["from"]
                    found.append((sender.resource if room else sender.bare, message["body"]))
            after = answer["mam_fin"]["rsm"]["last"]
            if answer["mam_fin"]["complete"] == "true" or not after:
                return found


def message_id(sender: Person, text: str) -> str:
    return f"{sender.boundjid.user}-{text}".replace(" ", "-")


def note(text: str) -> None:
    """What is not ours to decide; for whoever reads the log."""
    print(f"note  federation, {text}", flush=True)


class Story:
    def __init__(self, checks: Checks, net: Net, near: Federated, far: Federated, cut: float):
        self.net = net
        self.near = near
        self.far = far
        self.names = (near.place.name, far.place.name)
        self.check = checks.group(f"federation {self.names[0]}-{self.names[1]}")
        self.cut_seconds = cut
        self.people: list[Person] = []
        self.anna: Person  # near
        self.bert: Person  # far

    async def tell(self) -> None:
        try:
            self.anna = await self.check.step("somebody here logs in", self.comes(self.near, self.far))
            self.bert = await self.check.step("somebody there logs in", self.comes(self.far, self.near))
            only = os.environ.get("FEDERATION_PARTS", "").split(",")
            parts = (
                self.nobody, self.friends, self.chat, self.questions, self.cards, self.pictures, self.rooms, self.files,
                self.away, self.cut, self.dead, self.struck, self.histories, self.enemies,
            )  # fmt: skip
            for part in (part for part in parts if only == [""] or part.__name__ in only):
                try:
                    await part(self.check)
                except Failed:
                    pass  # the others do not stand on it
                except Exception as error:  # a fault of the script
                    self.check.expect(part.__name__, False, repr(error))
        except Failed:
            pass
        finally:
            for person in self.people:
                person.close()

    async def comes(self, at: Federated, towards: Federated) -> Person:
        account = await at.add_account(f"{'anna' if at is self.near else 'bert'}-{towards.place.name}")
        person = Person(at, account)
        self.people.append(person)
        await person.login()
        return person

    def both(self) -> tuple[tuple[Person, Person], ...]:
        """Each with the other, and who acts first."""
        return (self.anna, self.bert), (self.bert, self.anna)

    def way(self, actor: Person) -> str:
        here, there = self.names if actor is self.anna else self.names[::-1]
        return f"{here} to {there}"

    async def nobody(self, check: Group) -> None:
        for actor, other in self.both():
            domain = other.boundjid.domain

            async def no_message() -> None:
                sent = actor.say(f"nobody@{domain}", "is there anybody")
                await until(lambda: sent in actor.refused(f"nobody@{domain}"), "an error of a message to nobody")

            async def no_answer() -> None:
                try:
                    await actor["xep_0092"].get_version(f"nobody@{domain}", timeout=ANSWER_SECONDS)
                except IqError as error:
                    if error.condition != "service-unavailable":
                        raise AssertionError(error.condition) from error
                    return
                raise AssertionError("nobody has answered")

            await check.step(f"{self.way(actor)}: a message to nobody comes back", no_message())
            await check.step(f"{self.way(actor)}: a question to nobody is refused", no_answer())

    async def friends(self, check: Group) -> None:
        anna, bert = self.anna, self.bert

        async def befriend() -> None:
            # slixmpp approves what it is asked and asks back.
            anna.send_presence_subscription(pto=bert.bare)
            await anna.subscription(bert.bare, "both")
            await bert.subscription(anna.bare, "both")

        await check.step("one asks, both are subscribed", befriend())
        for actor, other in self.both():

            async def shown() -> None:
                await other.saw(actor.bare, "available")
                actor.send_presence(pshow="dnd", pstatus="busy")
                await other.saw(actor.bare, "dnd")
                actor.send_presence()
                await other.saw(actor.bare, "available")

            await check.step(f"{self.way(actor)}: presence, and its changes", shown())

    async def chat(self, check: Group) -> None:
        for actor, other in self.both():

            async def says() -> None:
                texts = [f"hello {number} <&> “ünï” 🐦" for number in range(20)]
                for text in texts:
                    actor.say(other.bare, text)
                await until(lambda: len(other.heard(actor.bare)) >= len(texts), "all of it")
                if other.heard(actor.bare) != texts:
                    raise AssertionError(str(other.heard(actor.bare)))

            await check.step(f"{self.way(actor)}: chat, in order", says())

    async def questions(self, check: Group) -> None:
        for actor, other in self.both():
            domain = other.boundjid.domain

            async def asks() -> None:
                info = await actor["xep_0030"].get_info(jid=domain, timeout=ANSWER_SECONDS)
                if ("server", "im") not in [identity[:2] for identity in info["disco_info"]["identities"]]:
                    raise AssertionError(str(info))
                items = await actor["xep_0030"].get_items(jid=domain, timeout=ANSWER_SECONDS)
                found = {item[0] for item in items["disco_items"]["items"]}
                if missing := {f"{service}.{domain}" for service in ("conference", "upload")} - found:
                    raise AssertionError(f"{missing} is not in {found}")
                account = await actor["xep_0030"].get_info(jid=other.bare, timeout=ANSWER_SECONDS)
                if ("account", "registered") not in [identity[:2] for identity in account["disco_info"]["identities"]]:
                    raise AssertionError(str(account))
                await actor["xep_0199"].ping(domain, timeout=ANSWER_SECONDS)
                await actor["xep_0092"].get_version(domain, timeout=ANSWER_SECONDS)
                await actor["xep_0092"].get_version(other.boundjid.full, timeout=ANSWER_SECONDS)

            await check.step(f"{self.way(actor)}: disco, ping, version", asks())

    async def cards(self, check: Group) -> None:
        for actor, other in self.both():

            async def reads() -> None:
                card = other["xep_0054"].make_vcard()
                card["FN"] = f"The one of {other.bare}"
                await other["xep_0054"].publish_vcard(card, timeout=ANSWER_SECONDS)
                read = await actor["xep_0054"].get_vcard(other.bare, timeout=ANSWER_SECONDS)
                if read["vcard_temp"]["FN"] != card["FN"]:
                    raise AssertionError(str(read))

            await check.step(f"{self.way(actor)}: reads a vCard", reads())

    async def pictures(self, check: Group) -> None:
        for actor, other in self.both():

            async def shows() -> None:
                await actor["xep_0084"].publish_avatar(DOT, timeout=ANSWER_SECONDS)
                info = {"id": sha1(DOT), "type": "image/png", "bytes": str(len(DOT)), "width": "1", "height": "1"}
                await actor["xep_0084"].publish_avatar_metadata([info], timeout=ANSWER_SECONDS)
                await until(lambda: (actor.bare, sha1(DOT)) in other.pictures, "its notice")
                item = await other["xep_0084"].retrieve_avatar(actor.bare, sha1(DOT), timeout=ANSWER_SECONDS)
                if item["pubsub"]["items"]["item"]["avatar_data"]["value"] != DOT:
                    raise AssertionError(str(item))

            await check.step(f"{self.way(actor)}: a picture (0084), told and read", shows())

    def room(self, owner: Person) -> str:
        return f"room-{owner.boundjid.user}@conference.{owner.boundjid.domain}"

    async def rooms(self, check: Group) -> None:
        for owner, guest in self.both():
            room = self.room(owner)

            async def meets() -> None:
                await owner.muc.join_muc_wait(JID(room), "owner", timeout=ANSWER_SECONDS)
                await owner.muc.set_room_config(JID(room), owner["xep_0004"].make_form("submit"), timeout=ANSWER_SECONDS)
                await guest.muc.join_muc_wait(JID(room), "guest", timeout=ANSWER_SECONDS)
                await until(lambda: "guest" in owner.muc.get_roster(JID(room)), "the guest, at the owner")
                await until(lambda: "owner" in guest.muc.get_roster(JID(room)), "the owner, at the guest")

            async def talk() -> None:
                for number in range(5):
                    owner.say(room, f"of the owner {number}", "groupchat")
                    guest.say(room, f"of the guest {number}", "groupchat")
                for person in (owner, guest):
                    for nick in ("owner", "guest"):
                        wanted = [f"of the {nick} {number}" for number in range(5)]
                        await until(lambda: person.said.get((room, nick)) == wanted, f"{wanted} at {person.bare}")

            async def changes() -> None:
                owner.muc.set_subject(JID(room), "Fire Burn")
                await until(lambda: guest.subjects.get(room) == "Fire Burn", "the subject")
                await guest.muc.set_self_nick(JID(room), "other", timeout=ANSWER_SECONDS)
                await until(lambda: "other" in owner.muc.get_roster(JID(room)), "the new name")
                guest.muc.leave_muc(JID(room), "other")
                await until(lambda: "other" not in owner.muc.get_roster(JID(room)), "that the guest has left")
                await guest.muc.join_muc_wait(JID(room), "guest", maxstanzas=0, timeout=ANSWER_SECONDS)
                await until(lambda: "guest" in owner.muc.get_roster(JID(room)), "the guest again")

            way = self.way(guest)
            await check.step(f"{way}: a room is entered", meets())
            await check.step(f"{way}: all hear what is said in it", talk())
            await check.step(f"{way}: subject, another name, left and entered again", changes())

    async def files(self, check: Group) -> None:
        for actor, other in self.both():

            async def passes() -> None:
                context = ssl.create_default_context(cafile=actor.under_test.ca_file)
                http_upload.ClientSession = lambda **options: ClientSession(connector=TCPConnector(ssl=context), **options)
                url = await actor["xep_0363"].upload_file(
                    "a.bin", len(FILE), "application/octet-stream", domain=JID(f"upload.{actor.boundjid.domain}"),
                    input_file=BytesIO(FILE), timeout=ANSWER_SECONDS,
                )  # fmt: skip
                actor.say(other.bare, url)
                await until(lambda: url in other.heard(actor.bare), "the link")
                async with ClientSession(connector=TCPConnector(ssl=context)) as http, http.get(url) as answer:
                    if answer.status != 200 or await answer.read() != FILE:
                        raise AssertionError(f"status {answer.status}")

            async with LOCK:  # slixmpp has one way to upload for all
                await check.step(f"{self.way(actor)}: a file is uploaded, its link sent and read", passes())

    async def away(self, check: Group) -> None:
        for actor, other in self.both():

            async def waits() -> None:
                await actor.logout()
                await other.saw(actor.bare, "unavailable")
                other.say(actor.bare, "while you were away")
                # What comes behind it on the same stream shows that the other server has it.
                await other["xep_0199"].ping(actor.boundjid.domain, timeout=ANSWER_SECONDS)
                before = len(actor.heard(other.bare))
                await actor.login()
                await until(lambda: actor.heard(other.bare)[before:] == ["while you were away"], "what waited")
                await other.saw(actor.bare, "available")

            await check.step(f"{self.way(actor)}: goes offline, which is seen; what is said waits", waits())

    async def cut(self, check: Group) -> None:
        await self.talks_over(check, f"a cut of {self.cut_seconds:.0f} s", self.cut_seconds, dies=False)

    async def dead(self, check: Group) -> None:
        await self.talks_over(check, "connections that die", DEAD_SECONDS, dies=True)

    async def struck(self, check: Group) -> None:
        """Connections die in the middle of what is said, some of which has arrived without being acknowledged."""
        said: dict[Person, list[str]] = {self.anna: [], self.bert: []}
        what = "connections that die in a talk"
        for number in range(STRUCK):
            for person, other in self.both():
                text = f"{what} {number}"
                said[person].append(text)
                person.say(other.bare, text)
            if number % STRUCK_AFTER == STRUCK_AFTER - 1:
                self.net.kill(self.near.place, self.far.place)
            await asyncio.sleep(0.01)
        await asyncio.gather(*(self.told(check, what, actor, other, said[actor]) for actor, other in self.both()))

    async def talks_over(self, check: Group, what: str, seconds: float, *, dies: bool) -> None:
        """Everybody says something all the time that the line is cut, to the other and in both rooms."""
        for owner, guest in self.both():
            for person in (owner, guest):
                nick = "owner" if person is owner else "guest"
                await person.muc.join_muc_wait(JID(self.room(owner)), nick, maxstanzas=0, timeout=ANSWER_SECONDS)
        said: dict[Person, list[str]] = {self.anna: [], self.bert: []}
        places = self.near.place, self.far.place
        self.net.cut(*places)
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for person, other in self.both():
                    text = f"{what} {len(said[person])}"
                    said[person].append(text)
                    person.say(other.bare, text)
                    for room in map(self.room, (self.anna, self.bert)):
                        person.say(room, text, "groupchat")
                await asyncio.sleep(CUT_PART)
                if dies and len(said[self.anna]) == DEAD_AFTER:
                    self.net.kill(*places)
        finally:
            self.net.mend(*places)
        await asyncio.gather(*(self.told(check, what, actor, other, said[actor]) for actor, other in self.both()))
        # Streams of which only we could go on with what broke begin anew, and who was in a room by them is out of it.
        strict = not dies or all(isinstance(server, Jackdaw) for server in (self.near, self.far))
        await asyncio.gather(*(self.rooms_after(check, what, owner, guest, said, strict) for owner, guest in self.both()))

    async def told(self, check: Group, what: str, actor: Person, other: Person, said: list[str]) -> None:
        """What became of what was said to the other. It is decided when something arrives that is said afterwards."""
        way = self.way(actor)
        heard = lambda text: text in other.heard(actor.bare)  # noqa: E731

        async def again() -> None:
            number = 0
            while not any(heard(f"after {what} {earlier}") for earlier in range(number)):
                actor.say(other.bare, f"after {what} {number}")
                number += 1
                await asyncio.sleep(1)

        try:
            await check.step(f"{way}: {what}: they talk again", again(), MEND_SECONDS)
        except Failed:
            pass
        found = [text for text in other.heard(actor.bare) if text.startswith(what)]
        refused = {text for text in said if message_id(actor, text) in actor.refused(other.bare)}
        once = list(dict.fromkeys(found))
        if isinstance(actor.under_test, Jackdaw):
            if isinstance(other.under_test, Jackdaw):
                check.same(f"{way}: {what}: nothing is lost, nothing comes twice, all in order", found, said)
            else:
                # Who cannot go on with a stream is sent anew what it may have, under the same ids.
                check.same(f"{way}: {what}: nothing is lost, all in order", once, said)
                if twice := len(found) - len(once):
                    note(f"{way}: {what}: of {len(said)} {twice} came twice")
            check.expect(f"{way}: {what}: nothing comes back", not refused, str(refused))
        else:
            check.expect(f"{way}: {what}: nothing comes twice", len(found) == len(set(found)), str(found))
            note(f"{way}: {what}: of {len(said)} {len(set(said) - set(found))} did not arrive, {len(refused)} came back")

    async def rooms_after(
        self, check: Group, what: str, owner: Person, guest: Person, said: dict[Person, list[str]], strict: bool
    ) -> None:
        room, way = self.room(owner), self.way(guest)

        async def truth() -> None:
            """Who is in the room hears what is said; or he is not in it any more, for the others either."""
            owner.say(room, f"after {what}", "groupchat")
            hears = lambda: f"after {what}" in guest.said.get((room, "owner"), [])  # noqa: E731
            gone = lambda: "guest" not in owner.muc.get_roster(JID(room))  # noqa: E731
            await until(lambda: hears() or gone(), "the guest, or that there is none", MEND_SECONDS)

        try:
            await check.step(f"{way}: {what}: the room tells who is there", truth(), MEND_SECONDS + 5)
        except Failed:
            pass
        twice: list[str] = []
        missing: list[str] = []
        for who, nick in ((owner, "owner"), (guest, "guest")):
            for at, listener in ((owner, "owner"), (guest, "guest")):
                heard = [text for text in at.said.get((room, nick), []) if text.startswith(what)]
                twice += [text for text in set(heard) if heard.count(text) > 1]
                if unheard := set(said[who]) - set(heard):
                    back = sum(message_id(who, text) in who.refused(room) for text in unheard)
                    missing.append(f"of {len(said[who])} of the {nick} {len(unheard)} were not heard by the {listener}, {back} came back")
        check.expect(f"{way}: {what}: nothing is said twice in the room", not twice, str(twice))
        if strict:
            check.expect(f"{way}: {what}: everybody heard all of it in the room", not missing, "; ".join(missing))
        else:
            for line in missing:
                note(f"{way}: {what}: in the room, {line}")

    async def histories(self, check: Group) -> None:
        async def same() -> None:
            mine, yours = await self.anna.archive(self.bert.bare), await self.bert.archive(self.anna.bare)
            for sender, receiver in self.both():
                heard = receiver.heard(sender.bare)
                for whose, archive in (("the sender's", yours if sender is self.bert else mine), ("the receiver's", mine if sender is self.bert else yours)):
                    kept = [text for who, text in archive if who == sender.bare]
                    if whose == "the receiver's" and kept != heard:
                        raise AssertionError(f"of {sender.bare}, {whose} archive has {kept} instead of {heard}")
                    if missing := [text for text in heard if text not in kept]:
                        raise AssertionError(f"of {sender.bare}, {whose} archive lacks {missing}")

        await check.step("both archives have what was said", same())
        for owner, guest in self.both():

            async def read() -> None:
                room = self.room(owner)
                await guest.muc.join_muc_wait(JID(room), "guest", maxstanzas=0, timeout=ANSWER_SECONDS)
                archives = [await person.archive(room=room) for person in (owner, guest)]
                if archives[0] != archives[1] or ("guest", "of the guest 4") not in archives[0]:
                    raise AssertionError(str(archives))

            await check.step(f"{self.way(guest)}: reads a room's archive", read())

    async def enemies(self, check: Group) -> None:
        anna, bert = self.anna, self.bert

        async def part() -> None:
            anna.send_presence(pto=bert.bare, ptype="unsubscribed")
            anna.send_presence(pto=bert.bare, ptype="unsubscribe")
            await until(lambda: bert.client_roster[anna.bare]["subscription"] == "none", "no subscription, there")
            await until(lambda: anna.client_roster[bert.bare]["subscription"] == "none", "no subscription, here")
            await bert.saw(anna.bare, "unavailable")

        await check.step("both subscriptions are taken back", part())


LOCK = asyncio.Lock()
