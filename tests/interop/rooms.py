"""slixmpp, Gajim, Profanity, Converse.js and Dino share a room.

What each of them shows of it is in the end what the room's archive has: each message once, in one order.
"""

import asyncio
import shutil
from pathlib import Path

from slixmpp import JID

from checks import Checks, Failed, Group, until
from room_guests import (
    ANSWER_SECONDS, ConverseGuest, DinoGuest, GajimGuest, Guest, Line, ProfanityGuest, Slixmpp,
)  # fmt: skip
from server import Server
from wire import Wire

START_SECONDS = 60.0
HISTORY = 5  # messages that somebody asks for who comes later


async def run(server: Server, checks: Checks, folder: Path) -> None:
    kinds = (GajimGuest, ProfanityGuest, DinoGuest)
    needed = {program: package for kind in kinds for program, package in kind.needed.items()}
    if missing := [package for program, package in needed.items() if shutil.which(program) is None]:
        checks.record("rooms", f"not installed: apt-get install {' '.join(missing)}")
        return
    story = Story(server, checks.group("rooms"), folder)
    try:
        await story.tell()
    except Failed:
        await story.screens()
    finally:
        await story.end()


class Story:
    def __init__(self, server: Server, check: Group, folder: Path):
        self.server = server
        self.check = check
        self.folder = folder
        self.wire = Wire(server)
        self.room = f"coven@conference.{server.domain}"
        self.said: list[Line] = []
        self.guests: list[Guest] = []
        self.owner: Slixmpp
        self.gajim: GajimGuest
        self.profanity: ProfanityGuest
        self.converse: ConverseGuest
        self.dino: DinoGuest

    async def guest(self, kind: type, name: str = "") -> Guest:
        account = await self.server.add_account(f"room-{name or kind.name}")
        guest = kind(self.server if kind is Slixmpp else self.wire, account, self.folder)
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
        present = everybody
        await step("what each says all show", self.talk(*present[:-1], at=present))
        await self.compare(*present)

    async def made(self) -> None:
        owner = self.owner
        await owner.come()
        presence, *_ = await owner.muc.join_muc_wait(JID(self.room), owner.nick, timeout=ANSWER_SECONDS)
        if not {110, 201} <= set(presence["muc"]["status_codes"]):
            raise AssertionError(f"it is not new: {presence}")
        form = await owner.muc.get_room_config(JID(self.room), timeout=ANSWER_SECONDS)
        answer = {"muc#roomconfig_roomname": "The coven", "muc#roomconfig_persistentroom": True}
        for field in form.get_fields().values():
            if field["type"] in ("fixed", ""):
                continue
            if field["var"] in answer:
                field["value"] = answer[field["var"]]
        form["type"] = "submit"
        await owner.muc.set_room_config(JID(self.room), form, timeout=ANSWER_SECONDS)

    async def enters(self, guest: Guest) -> None:
        await guest.enter(self.room)
        await self.owner.sees(self.room, guest.nick)

    async def talk(self, *speakers: Guest, at: list[Guest], turns: int = 2) -> None:
        for turn in range(turns):
            for guest in speakers:
                text = f"{guest.name} {len(self.said)}"
                self.said.append((guest.nick, text))
                await guest.say(self.room, text)
        await asyncio.gather(*(guest.shows(self.room, *self.said) for guest in at))

    async def compare(self, *guests: Guest) -> None:
        archive = await self.check.step("the room's archive is read", self.owner.archive(self.room))
        lines = [(who, what) for _, who, what in archive]
        self.check.same("the archive has what was said, once", sorted(lines), sorted(self.said))
        live = [(identity, who, what) for identity, who, what in self.owner.heard]
        self.check.same("slixmpp heard the archive's ids", live, archive)
        for guest in guests:
            shown, wanted = await guest.lines(self.room), lines
            if guest.at_once:
                shown, wanted = (sorted(found, key=lambda line: line[0] == guest.nick) for found in (shown, wanted))
            self.check.same(f"{guest.name} shows the archive", shown, wanted)

    async def screens(self) -> None:
        """For whoever looks into a failure."""
        try:
            await self.converse.script.do("screen", path=str(self.folder / "converse.png"))
        except (AttributeError, RuntimeError, OSError):
            pass

    async def end(self) -> None:
        await asyncio.gather(*(guest.stop() for guest in self.guests), return_exceptions=True)
        await self.wire.end()
