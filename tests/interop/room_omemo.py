"""A room for members, in which everybody knows everybody's address, and what is said is encrypted for each of them.

Part of omemo_chat.py: who is in it has keys, and has talked with the others before. Gajim makes the room.
"""

import dino
import gajim
from checks import Group, until
from room_guests import bookmark
from server import Server

START_SECONDS = 60.0
DINO_OMEMO = 2  # Encryption of Dino 0.4
SECRET = "rosebud"  # so begins all that is said here


class Hideout:
    def __init__(self, server: Server, check: Group, friends: list):
        self.server = server
        self.check = check
        self.by_name = {friend.name: friend for friend in friends}
        self.room = f"hideout@conference.{server.domain}"

    async def tell(self) -> None:
        step = self.check.step
        await step("Gajim makes a room for members", self.made())
        await step("Profanity and Dino, whom it invites, enter", self.entered(), START_SECONDS)
        for name in ("gajim", "profanity", "dino"):
            await step(f"what {name} encrypts all can read", self.said(name), START_SECONDS)

    async def made(self) -> None:
        config = {"muc#roomconfig_membersonly": True, "muc#roomconfig_whois": "anyone"}
        await self.gajim("create", config=config)
        await self.by_name["gajim"].gajim.answers("room", lambda found: found["joined"], "that it is in", jid=self.room)

    async def entered(self) -> None:
        terminal = self.by_name["profanity"].terminal
        await terminal.type("/win 1")
        for name in ("profanity", "dino"):
            await self.gajim("invite", whom=self.by_name[name].account[0])
        await terminal.shows("to accept the invitation")
        await terminal.type(f"/join {self.room} nick profanity")
        await terminal.shows("You have joined the room as profanity")
        await terminal.type("/omemo start")
        await bookmark(self.server, self.by_name["dino"].account, self.room, "dino")
        names = {"profanity", "dino"}
        await self.by_name["gajim"].gajim.answers(
            "room", lambda found: names <= set(found["occupants"]), "others in the room", jid=self.room
        )

    async def said(self, name: str) -> None:
        text = f"{SECRET} in the room by {name}"
        if name == "gajim":
            await self.gajim("encrypt", how="OMEMO")
            await self.gajim("say", text=text)
        elif name == "profanity":
            await self.by_name[name].terminal.type(text)
        else:
            client = self.by_name[name].dino
            await client.stop()
            client.write(self.room, text, DINO_OMEMO, dino.GROUPCHAT, "dino")
            await client.launch()
        client = self.by_name["gajim"].gajim
        await client.event("gc-message-received", jid=self.room, msgtxt=text)
        await self.by_name["profanity"].terminal.shows(text)
        await until(lambda: text in [what for _, what in self.by_name["dino"].dino.room(self.room)], f"{text} at Dino")

    async def gajim(self, what: str, **values):
        return await self.by_name["gajim"].gajim.do(what, account=gajim.ACCOUNT, jid=self.room, **values)
