"""slixmpp, Gajim, Profanity, Converse.js and Dino share a room.

What each of them shows of it is in the end what the room's archive has: each message once, in one order.
"""

import asyncio
import re
import shutil
import time
from pathlib import Path

from slixmpp import JID

from checks import Checks, Failed, Group, until
from room_guests import (
    ANSWER_SECONDS, ConverseGuest, DinoGuest, GajimGuest, Guest, Line, ProfanityGuest, Slixmpp,
)  # fmt: skip
from server import STOP_SECONDS, Jackdaw, Server
from wire import Wire

START_SECONDS = 60.0
# What clients ask of rooms and occupants without knowing whether it is there and whether they may, and how it is refused.
REFUSED = {
    ("dino", "room", "forbidden"), ("profanity", "room", "forbidden"),  # who the owners and admins are
    ("converse", "room", "item-not-found"), ("gajim", "room", "item-not-found"),  # the room's picture
    # Somebody's picture; he may have another name meanwhile.
    ("converse", "occupant", "service-unavailable"), ("converse", "occupant", "item-not-found"),
}  # fmt: skip
CONDITIONS = (
    "bad-request|conflict|feature-not-implemented|forbidden|gone|internal-server-error|item-not-found|jid-malformed|"
    "not-acceptable|not-allowed|not-authorized|policy-violation|recipient-unavailable|registration-required|"
    "remote-server-not-found|resource-constraint|service-unavailable|unexpected-request"
)
HISTORY = 5  # messages that somebody asks for who comes later


async def run(server: Server, checks: Checks, folder: Path) -> None:
    kinds = (GajimGuest, ProfanityGuest, DinoGuest)
    needed = {program: package for kind in kinds for program, package in kind.needed.items()}
    if missing := [package for program, package in needed.items() if shutil.which(program) is None]:
        checks.record("rooms", f"not installed: apt-get install {' '.join(missing)}")
        return
    own = server
    if isinstance(server, Jackdaw):  # it is stopped in the middle
        home = folder / "server"
        home.mkdir(mode=0o711)
        own = Jackdaw(home, server.binary)
        await asyncio.to_thread(own.start)
    story = Story(own, checks.group("rooms"), folder)
    try:
        await story.tell()
    except Failed:
        await story.screens()
    finally:
        await story.end()
        if own is not server:
            await asyncio.to_thread(own.stop)


class Story:
    def __init__(self, server: Server, check: Group, folder: Path):
        self.server = server
        self.check = check
        self.folder = folder
        self.wire = Wire(server)
        self.room = f"coven@conference.{server.domain}"
        self.attic = f"attic@conference.{server.domain}"
        self.topic = ""
        self.said: list[Line] = []
        self.guests: list[Guest] = []
        self.owner: Slixmpp
        self.gajim: GajimGuest
        self.profanity: ProfanityGuest
        self.converse: ConverseGuest
        self.dino: DinoGuest

    async def guest(self, kind: type, name: str = "") -> Guest:
        account = await self.server.add_account(f"room-{name or kind.name}")
        place = self.server if kind in (Slixmpp, DinoGuest) else self.wire  # Dino takes a minute to come back
        guest = kind(place, account, self.folder)
        guest.nick = guest.name = name or kind.name
        self.guests.append(guest)
        return guest

    async def tell(self) -> None:
        step = self.check.step
        await self.wire.mend()
        kinds = (Slixmpp, GajimGuest, ProfanityGuest, ConverseGuest, DinoGuest)
        everybody = [await self.guest(kind) for kind in kinds]
        self.owner, self.gajim, self.profanity, self.converse, self.dino = everybody
        await step("slixmpp makes a room", self.made())
        await asyncio.gather(*(step(f"{each.name} comes", each.come(), START_SECONDS) for each in everybody[1:]))
        for each in everybody[1:]:
            await step(f"{each.name} enters", self.enters(each))
        await step("it stands in the list of rooms", self.listed())
        await step("what each says all show", self.talk(*everybody[:-1]))
        await step("the owner sets a subject, and all show it", self.subject())
        await step("three change their names, and all know", self.names())
        await step("what they say under them all show", self.talk(*everybody[:-1]))
        await step("private messages", self.private())
        await step("Gajim, an admin now, kicks Profanity", self.kicked())
        await step("Profanity follows an invitation back (mediated)", self.invited_back())
        await step("Gajim makes a room for members, Converse.js follows its invitation (0249)", self.invited_directly())
        await step("who comes late is told what was said last", self.late())
        await step("connections break, and what was said meanwhile arrives", self.broken(), START_SECONDS)
        await step("Gajim is killed, a new browser, Dino says something: all have it all", self.anew(), START_SECONDS)
        if isinstance(self.server, Jackdaw):
            await step("the server is started anew, and all are in the room as before", self.restarted(), START_SECONDS)
        await self.compare(*everybody)
        if isinstance(self.server, Jackdaw):
            await step("what somebody takes back, and what the owner takes from somebody, is gone", self.gone())
        await self.refusals()

    async def made(self) -> None:
        owner = self.owner
        await owner.come()
        presence, *_ = await owner.muc.join_muc_wait(JID(self.room), owner.nick, timeout=ANSWER_SECONDS)
        if not {110, 201} <= set(presence["muc"]["status_codes"]):
            raise AssertionError(f"it is not new: {presence}")
        form = await owner.muc.get_room_config(JID(self.room), timeout=ANSWER_SECONDS)
        answer = {"muc#roomconfig_roomname": "The coven", "muc#roomconfig_persistentroom": True}
        answer["muc#roomconfig_publicroom"] = True
        for field in form.get_fields().values():
            if field["type"] in ("fixed", ""):
                continue
            if field["var"] in answer:
                field["value"] = answer[field["var"]]
        form["type"] = "submit"
        await owner.muc.set_room_config(JID(self.room), form, timeout=ANSWER_SECONDS)

    async def enters(self, guest: Guest) -> None:
        await guest.enter(self.room)
        await self.owner.meets(self.room, guest.nick)

    async def listed(self) -> None:
        service = JID(self.room).domain
        items = await self.owner.peer["xep_0030"].get_items(jid=JID(service), timeout=ANSWER_SECONDS)
        if (self.room, "The coven") not in [(item[0], item[2]) for item in items["disco_items"]["items"]]:
            raise AssertionError(str(items))
        terminal = self.profanity.terminal
        await terminal.type("/win 1")
        await terminal.type(f"/rooms service {service}")
        await terminal.shows(f"{self.room} (The coven)")
        await terminal.type(f"/win {self.room}")

    async def subject(self) -> None:
        self.topic = "Fire Burn and Cauldron Bubble!"
        self.owner.muc.set_subject(JID(self.room), self.topic)
        await self.all_see()
        await self.profanity.terminal.shows(self.topic)

    async def all_see(self) -> None:
        nicks = [guest.nick for guest in self.guests]
        await asyncio.gather(*(each.sees(self.room, self.topic, *nicks) for each in (self.owner, self.gajim, self.converse)))

    async def names(self) -> None:
        for guest in (self.gajim, self.profanity, self.converse):
            await guest.rename(self.room, f"{guest.name}-two")
        await self.all_see()

    async def private(self) -> None:
        owner, gajim, room = self.owner, self.gajim, self.room
        await owner.whisper(room, gajim.nick, "only for you")
        await gajim.gajim.event("message-received", fjid=f"{room}/{owner.nick}", msgtxt="only for you")
        await gajim.do("say", jid=f"{room}/{owner.nick}", text="and for you")
        await owner.hears(f"{room}/{gajim.nick}", "and for you")
        terminal = self.profanity.terminal
        await terminal.type(f"/msg {owner.nick} a word in your ear")
        await owner.hears(f"{room}/{self.profanity.nick}", "a word in your ear")
        await owner.whisper(room, self.profanity.nick, "in yours")
        await terminal.shows("in yours")
        await terminal.type(f"/win {room}")

    async def kicked(self) -> None:
        owner, gajim, profanity, room = self.owner, self.gajim, self.profanity, self.room
        await owner.muc.set_affiliation(JID(room), "admin", jid=JID(gajim.bare), timeout=ANSWER_SECONDS)
        await gajim.do("kick", jid=room, nick=profanity.nick)
        await owner.misses(room, profanity.nick)
        await profanity.terminal.shows(f"Kicked from {room} by {gajim.nick}")

    async def invited_back(self) -> None:
        owner, profanity = self.owner, self.profanity
        owner.muc.invite(JID(self.room), JID(profanity.bare), "come back")
        await profanity.terminal.shows("to accept the invitation")
        await self.enters(profanity)

    async def invited_directly(self) -> None:
        gajim, converse = self.gajim, self.converse
        await gajim.do("create", jid=self.attic, config={"muc#roomconfig_membersonly": True, "muc#roomconfig_whois": "anyone"})
        await gajim.is_in(self.attic)
        await gajim.do("invite", jid=self.attic, whom=converse.bare)
        asked = await converse.script.do("accept")
        if self.attic not in asked:
            raise AssertionError(asked)
        await gajim.sees(self.attic, "", JID(gajim.bare).local, converse.name)
        await converse.enter(self.room)  # its window is back

    async def late(self) -> None:
        late = await self.guest(Slixmpp, "late")
        await late.come()
        told = await late.enter(self.room, maxstanzas=HISTORY)
        # What Converse.js has read it tells, in messages without a text. They count.
        kept = await self.owner.archive(self.room, of_text=False)
        lines = [(who, what) for _, who, what in kept[-HISTORY:] if what]
        if not lines or told != lines:
            raise AssertionError(f"{told} instead of {lines}")
        await self.all_see()

    async def broken(self) -> None:
        await self.wire.cut()
        await self.talk(self.owner, at=[])
        await self.wire.mend()
        await self.all_show()
        await self.talk(self.gajim, self.profanity, self.converse)
        await self.all_see()

    async def anew(self) -> None:
        gajim, converse, dino = self.gajim, self.converse, self.dino
        await gajim.gajim.end()
        second = int(time.time())  # there are clients and servers to which all of one is the same time
        await until(lambda: int(time.time()) > second, "the next second")
        await self.talk(self.owner, at=[])
        await asyncio.gather(gajim.back(self.room), converse.back(self.room), self.says(dino))
        await self.talk(self.owner, gajim, turns=1)
        await self.all_see()

    async def restarted(self) -> None:
        before = len(self.said)
        await self.profanity.terminal.type("/clear")
        code, seconds = await asyncio.to_thread(self.server.stop)
        if code != 0 or seconds >= STOP_SECONDS:
            raise AssertionError(f"exit code {code} after {seconds:.1f} s")
        await asyncio.to_thread(self.server.launch)
        await self.owner.resume()
        # Dino takes a minute to come back. Profanity and Gajim do not resume a stream that was ended with an error, but enter
        # anew; Gajim reads the archive then, and Profanity does not always show what it is told.
        present: list[Guest] = [self.owner, self.gajim, self.converse]
        await self.talk(self.owner, turns=1, at=present)
        self.profanity.missed.add(self.said[-1])
        await self.gajim.is_in(self.room)
        await self.profanity.terminal.shows(f"You have joined the room as {self.profanity.nick}")
        await self.talk(self.gajim, self.profanity, self.converse, turns=1, at=[*present, self.profanity])
        self.dino.missed.update(self.said[before:])
        await self.all_see()

    async def gone(self) -> None:
        """By XEP-0424 and XEP-0425."""
        owner, room = self.owner, JID(self.room)
        archive = await owner.archive(self.room)
        (own, *_), (other, *_) = ([x for x in archive if x[1] == nick][-1] for nick in (owner.nick, self.converse.nick))
        owner.peer["xep_0424"].send_retraction(room, own, "groupchat", include_fallback=False)
        await owner.peer["xep_0425"].moderate(room, other, "enough", timeout=ANSWER_SECONDS)
        # Converse.js knows what moderators take, but not what is taken back by the id that it has from the room (XEP-0424
        # section 4 wants that one).
        shown = [(who, what) for identity, who, what in archive if identity != other]
        found: list[Line] = []
        for _ in range(100):
            found = [line for line in await self.converse.lines(self.room) if line[1]]
            if found == shown:
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError(f"Converse.js shows {found} instead of {shown}")
        kept = await owner.archive(self.room)
        if kept != (left := [line for line in archive if line[0] not in (own, other)]):
            raise AssertionError(f"the archive has {kept} instead of {left}")

    async def says(self, guest: Guest) -> None:
        text = f"{guest.name} {len(self.said)}"
        self.said.append((guest.nick, text))
        await guest.say(self.room, text)

    async def talk(self, *speakers: Guest, at: list[Guest] | None = None, turns: int = 2) -> None:
        for turn in range(turns):
            for guest in speakers:
                await self.says(guest)
        await self.all_show(at)

    async def all_show(self, at: list[Guest] | None = None) -> None:
        listeners = self.guests[:5] if at is None else at
        await asyncio.gather(*(guest.shows(self.room, *self.said) for guest in listeners))

    async def compare(self, *guests: Guest) -> None:
        archive = await self.check.step("the room's archive is read", self.owner.archive(self.room))
        lines = [(who, what) for _, who, what in archive]
        self.check.same("the archive has what was said, once", sorted(lines), sorted(self.said))
        live = [(identity, who, what) for identity, who, what in self.owner.heard]
        self.check.same("slixmpp heard the archive's ids", live, archive)
        for guest in guests:
            shown, wanted = ([x for x in found if x not in guest.missed] for found in (await guest.lines(self.room), lines))
            if guest.at_once:
                shown, wanted = (sorted(found, key=lambda line: guest.name in line[1]) for found in (shown, wanted))
            if not guest.in_order:
                shown, wanted = sorted(shown), sorted(wanted)
            self.check.same(f"{guest.name} shows the archive", shown, wanted)

    async def refusals(self) -> None:
        """What the service of rooms has refused to anybody."""
        found: set[tuple[str, str, str]] = set()
        service = rf"from=[\"'][^\"'@]*@conference\.{re.escape(self.server.domain)}"
        for guest in self.guests:
            for stanza in await guest.refused():
                if origin := re.search(f"{service}(/?)", stanza):
                    condition = re.search(CONDITIONS, stanza)
                    whose = "occupant" if origin.group(1) else "room"
                    found.add((guest.name, whose, stanza if condition is None else condition.group()))
        self.check.expect("nobody is refused what he may have", found <= REFUSED, str(sorted(found - REFUSED)))

    async def screens(self) -> None:
        """For whoever looks into a failure."""
        try:
            await self.converse.script.do("screen", path=str(self.folder / "converse.png"))
        except (AttributeError, RuntimeError, OSError):
            pass

    async def end(self) -> None:
        await asyncio.gather(*(guest.stop() for guest in self.guests), return_exceptions=True)
        await self.wire.end()
