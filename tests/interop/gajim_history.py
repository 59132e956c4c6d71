"""Gajim (Debian) as two devices of one account: each is away for a while, and both have one history in the end.

The contact is a slixmpp peer. What counts is the database that each Gajim leaves behind, in the order in which its
window shows it.
"""

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from checks import Checks, Failed, Group
from gajim import ACCOUNT, NEEDED, START_SECONDS, Gajim
from history import Book, Device
from server import Server

MANY = 80  # more than the 70 messages of a page that Gajim asks for
KINDS = {4: "received", 6: "sent"}  # KindConstant of Gajim 1.7


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if missing := [package for program, package in NEEDED.items() if shutil.which(program) is None]:
        checks.record("gajim history", f"not installed: apt-get install {' '.join(missing)}")
        return
    story = Story(server, checks.group("gajim history"), folder)
    try:
        await story.tell()
    except Failed:
        pass
    finally:
        await asyncio.gather(*(gajim.stop() for gajim in story.gajims))
        for device in story.devices:
            device.close()


class Story:
    def __init__(self, server: Server, check: Group, folder: Path):
        self.server = server
        self.check = check
        self.desk, self.phone = self.gajims = [Gajim(folder / place, place) for place in ("desk", "phone")]
        self.devices: list[Device] = []
        self.said: list[tuple[str, str]] = []  # all of it in order: sent or received, as the account sees it; body
        self.account = self.friend = ("", "")
        self.peer: Device

    def slixmpp(self, account: tuple[str, str], place: str) -> Device:
        device = Device(self.server, account, Book(account[0], place), direct=False)
        self.devices.append(device)
        return device

    async def tell(self) -> None:
        step = self.check.step
        self.account = await self.server.add_account("gajim-history")
        self.friend = await self.server.add_account("friend-gajim-history")
        self.peer = self.slixmpp(self.friend, "peer")
        await self.peer.come()
        for gajim, direct in ((self.desk, False), (self.phone, True)):
            gajim.prepare(self.server, self.account, direct)
        await step("two devices start and log in", self.come(self.desk, self.phone), START_SECONDS + 10)
        await step("contact added by one", self.desk.befriend(self.peer.bare))
        await step("both write and are written to, both show it", self.talk(self.desk, self.phone))

        await step("one ends", self.phone.stop())
        await step("the other goes on", self.talk(self.desk))
        await step("the contact writes much", self.peer_says(self.desk, count=MANY))
        await step("it starts again and catches up, by pages", self.come(self.phone), START_SECONDS)
        await step("both go on", self.talk(self.phone, self.desk))

        await step("the other is killed", self.desk.end())
        await step("the first goes on", self.talk(self.phone))
        await step("the killed one starts again and catches up", self.come(self.desk), START_SECONDS)
        await step("both go on again", self.talk(self.desk, self.phone))

        await step("both go offline", self.offline(self.desk, self.phone))
        await step("the contact writes to nobody there", self.peer_says(count=3))
        await step("one comes back and has it", self.online(self.desk))
        await step("so has the other", self.online(self.phone))
        await step("both go on once more", self.talk(self.phone, self.desk))

        # The server holds the broken stream's messages for it, and gets the same resource anew.
        await step("one goes offline, the other is killed", self.lost())
        await step("the contact writes to a broken stream", self.peer_says(count=3))
        await step("the killed one starts again and has it", self.come(self.desk), START_SECONDS)
        await step("the one that was offline has it too", self.online(self.phone))
        await step("both go on to the end", self.talk(self.desk, self.phone))
        await self.compare()

    async def come(self, *gajims: Gajim) -> None:
        async def one(gajim: Gajim) -> None:
            await gajim.launch()
            await gajim.trust()
            await gajim.login()
            await self.shown(gajim)

        await asyncio.gather(*(one(gajim) for gajim in gajims))

    async def online(self, gajim: Gajim) -> None:
        await gajim.login()
        await self.shown(gajim)

    async def offline(self, *gajims: Gajim) -> None:
        for gajim in gajims:
            await gajim.status("offline")
            await gajim.answers("state", lambda now: now == "disconnected", "end of its connection")

    async def lost(self) -> None:
        await self.offline(self.phone)
        await self.desk.end()

    async def shown(self, gajim: Gajim) -> None:
        """Waits until the Gajim has caught up and has all that was said."""
        bodies = {body for _, body in self.said}
        await gajim.answers(
            "history", lambda lines: lines is not None and bodies <= set(lines), f"all {len(bodies)} messages",
            jid=self.peer.bare,
        )  # fmt: skip

    async def talk(self, *gajims: Gajim) -> None:
        """Each in turn: a Gajim orders by its own clock what it sends, so one waits for the other."""
        for _ in range(2):
            for gajim in gajims:
                body = f"{gajim.resource} {len(self.said)}"
                self.said.append(("sent", body))
                await gajim.do("say", account=ACCOUNT, jid=self.peer.bare, text=body)
                await self.peer.got_message(self.account[0], body)
                await asyncio.gather(*(self.shown(each) for each in gajims))
            await self.peer_says(*gajims)

    async def peer_says(self, *gajims: Gajim, count: int = 1) -> None:
        bodies = [f"friend {len(self.said) + number}" for number in range(count)]
        self.said += [("received", body) for body in bodies]
        for body in bodies:
            self.peer.send_message(self.account[0], body, mtype="chat")
        await self.peer["xep_0199"].ping(self.server.domain, timeout=10)  # answered after the messages were taken
        await asyncio.gather(*(self.shown(gajim) for gajim in gajims))

    async def compare(self) -> None:
        same = self.check.same
        await asyncio.gather(*(gajim.stop() for gajim in self.gajims))  # it writes the last of it when it ends
        reader = self.slixmpp(self.account, "reader")
        await reader.login(presence=False)
        archive = await self.check.step("the archive is read", reader.archive())
        theirs = await self.check.step("the contact's archive is read", self.peer.archive())
        bodies = [body for _, body in self.said]
        for whose, found in (("the account", archive), ("the contact", theirs)):
            # With its plugin for OMEMO the two Gajims exchange keys, in messages without a body.
            texts = [body for _, _, body in found if body]
            same(f"the archive of {whose} has what was said, in order", texts, bodies)
        ids = {body: identity for identity, _, body in archive}
        for gajim in self.gajims:
            rows = read(gajim.home / "share" / "gajim" / "logs.db", self.peer.bare)
            lines = [(kind, body) for kind, body, _ in rows]
            same(f"the database of {gajim.resource} has it all, once, in order", lines, self.said)
            named = [(body, identity) for kind, body, identity in rows if kind == "received"]
            wanted = [(body, ids.get(body)) for kind, body in self.said if kind == "received"]
            same(f"{gajim.resource} knows what came by the archive's ids", named, wanted)


def read(database: Path, jid: str) -> list[tuple[str, str, str | None]]:
    """What a Gajim has stored of a chat, in the order in which it shows it: sent or received, body, stanza-id."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as store:
        rows = store.execute(
            "SELECT kind, message, stanza_id FROM logs NATURAL JOIN jids WHERE jid = ? ORDER BY time, log_line_id",
            [jid],
        ).fetchall()
    return [(KINDS.get(kind, f"kind {kind}"), body, identity) for kind, body, identity in rows]
