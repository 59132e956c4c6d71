"""Clients in a room, each behind one shape: they come, enter, say something, and tell what they show of it."""

import asyncio
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from slixmpp import JID
from slixmpp.plugins.xep_0402 import stanza as native

import dino
import gajim
import profanity
from checks import until
from dino import Dino
from gajim import ACCOUNT, Gajim
from peer import Peer
from server import Server
from terminal import Terminal
from web import Script
from wire import Wire

Line = tuple[str, str]  # who, what
ANSWER_SECONDS = 10.0
BOOKMARKS = "urn:xmpp:bookmarks:1"
SID = "{urn:xmpp:sid:0}stanza-id"
PLUGINS = (
    "xep_0045", "xep_0059", "xep_0198", "xep_0249", "xep_0313", "xep_0359", "xep_0410", "xep_0421", "xep_0424", "xep_0425",
)  # fmt: skip


class Guest:
    """One client of one account. The nickname is its name, until it changes it."""

    name = ""
    needed: dict[str, str] = {}
    at_once = False  # it shows what it says before that comes back to it
    in_order = True  # within a second

    def __init__(self, server: Server | Wire, account: tuple[str, str], folder: Path):
        self.server = server
        self.account = account
        self.bare = account[0]
        self.folder = folder
        self.nick = self.name
        self.missed: set[Line] = set()  # what it need not show

    async def come(self) -> None:
        """Starts and logs in."""

    async def enter(self, room: str) -> None:
        raise NotImplementedError

    async def say(self, room: str, text: str) -> None:
        raise NotImplementedError

    async def lines(self, room: str) -> list[Line]:
        """What it shows of the room, in the order in which it shows it."""
        raise NotImplementedError

    async def rename(self, room: str, nick: str) -> None:
        raise NotImplementedError

    async def look(self, room: str) -> tuple[str, list[str]]:
        """What it shows besides: the subject, and who is there."""
        raise NotImplementedError

    async def refused(self) -> list[str]:
        """The stanzas of type error that it has got."""
        raise NotImplementedError

    async def stop(self) -> None:
        pass

    async def sees(self, room: str, subject: str, *nicks: str) -> None:
        """Waits until it shows this subject, and exactly these people."""
        found = wanted = (subject, sorted(nicks))
        for _ in range(200):
            found = await self.look(room)
            if found == wanted:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{self.name} does not show {wanted}, but {found}")

    async def shows(self, room: str, *wanted: Line) -> None:
        """Waits until it has all of these."""
        found: list[Line] = []
        for _ in range(200):
            found = await self.lines(room)
            if set(wanted) - self.missed <= set(found):
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{self.name} does not show {sorted(set(wanted) - self.missed - set(found))}; it shows {found}")


class Slixmpp(Guest):
    name = "slixmpp"

    def __init__(self, server: Server | Wire, account: tuple[str, str], folder: Path):
        super().__init__(server, account, folder)
        self.peer: Peer
        self.heard: list[tuple[str, str, str]] = []  # the archive's id, who, what: as it came live
        self.subject = ""
        self.errors: list[str] = []
        self.resumed = False

    async def come(self) -> None:
        self.peer = Peer(self.server, self.account)
        for plugin in PLUGINS:
            self.peer.register_plugin(plugin)
        self.peer.add_filter("in", self.note_error)
        self.peer.add_event_handler("groupchat_message", self.note)
        self.peer.add_event_handler("groupchat_subject", self.note_subject)
        self.peer.add_event_handler("session_resumed", self.note_resumed)
        await self.peer.login()

    def note_error(self, stanza):
        if stanza.xml.get("type") == "error":
            self.errors.append(str(stanza))
        return stanza

    async def refused(self) -> list[str]:
        return self.errors

    def note_resumed(self, _) -> None:
        self.resumed = True

    def note_subject(self, message) -> None:
        self.subject = message["subject"]

    def note(self, message) -> None:
        ids = [e.get("id") for e in message.xml.findall(SID) if e.get("by") == message["from"].bare]
        self.heard.append((ids[0] if ids else "", message["from"].resource, message["body"]))

    async def enter(self, room: str, **history) -> list[Line]:
        """Gives back what it was told of earlier."""
        _, _, _, before = await self.muc.join_muc_wait(JID(room), self.nick, timeout=ANSWER_SECONDS, **history)
        return [(message["from"].resource, message["body"]) for message in before]

    async def say(self, room: str, text: str) -> None:
        self.peer.send_message(room, text, mtype="groupchat")

    async def lines(self, room: str) -> list[Line]:
        return [(who, what) for _, who, what in self.heard]

    async def hears(self, sender: str, text: str) -> None:
        """A private message of an occupant."""
        await until(
            lambda: any(m["from"] == sender and m["body"] == text and m["type"] == "chat" for m in self.peer.inbox),
            f"{text} of {sender}",
        )

    async def archive(self, room: str, of_text: bool = True) -> list[tuple[str, str, str]]:
        """All of the room's archive (that has a text), by pages: id, who, what."""
        found: list[tuple[str, str, str]] = []
        after = None
        while True:
            rsm = {"max": 10} | ({"after": after} if after else {})
            answer = await self.peer["xep_0313"].retrieve(jid=JID(room), rsm=rsm, timeout=ANSWER_SECONDS)
            for result in answer["mam"]["results"]:
                message = result["mam_result"]["forwarded"]["stanza"]
                if message["body"] or not of_text:
                    found.append((result["mam_result"]["id"], message["from"].resource, message["body"]))
            if answer["mam_fin"]["complete"] or not answer["mam_fin"]["rsm"]["last"]:
                return found
            after = answer["mam_fin"]["rsm"]["last"]

    async def resume(self) -> None:
        """After the end of its connection: its stream goes on."""
        await until(lambda: self.peer.gone, f"end of the connection of {self.bare}")
        self.peer.gone = False
        self.peer.connect(self.server.address, self.server.port)
        await until(lambda: self.resumed, f"that the stream of {self.bare} goes on")

    async def rename(self, room: str, nick: str) -> None:
        self.nick = await self.muc.set_self_nick(JID(room), nick, timeout=ANSWER_SECONDS)

    async def look(self, room: str) -> tuple[str, list[str]]:
        return self.subject, sorted(self.muc.get_roster(JID(room)))

    async def meets(self, room: str, nick: str) -> None:
        await until(lambda: nick in self.muc.get_roster(JID(room)), f"{nick} in {room}")

    async def misses(self, room: str, nick: str) -> None:
        await until(lambda: nick not in self.muc.get_roster(JID(room)), f"that {nick} has left {room}")

    async def whisper(self, room: str, nick: str, text: str) -> None:
        message = self.peer.make_message(f"{room}/{nick}", text, mtype="chat")
        message.enable("muc")  # section 7.5
        message.send()

    @property
    def muc(self):
        return self.peer["xep_0045"]

    async def stop(self) -> None:
        self.peer.close()


class GajimGuest(Guest):
    name = "gajim"
    needed = gajim.NEEDED
    at_once = True  # with the time of its own clock, to which what crossed it on the way may be later

    def __init__(self, server: Server | Wire, account: tuple[str, str], folder: Path):
        super().__init__(server, account, folder)
        self.gajim = Gajim(folder / self.name)
        self.gajim.prepare(server, account, direct=False)

    async def come(self) -> None:
        await self.gajim.launch()
        await self.gajim.trust()
        await self.gajim.login()

    async def enter(self, room: str) -> None:
        await self.do("join", jid=room, nick=self.nick)
        await self.is_in(room)

    async def back(self, room: str) -> None:
        """After its end: it goes by itself where it was."""
        await self.come()
        await self.is_in(room)

    async def is_in(self, room: str) -> None:
        await self.gajim.answers("room", lambda found: found["joined"], "that it is in the room", jid=room)

    async def say(self, room: str, text: str) -> None:
        await self.do("say", jid=room, text=text)

    async def lines(self, room: str) -> list[Line]:
        return [(who, what) for who, what in await self.do("room_history", jid=room)]

    async def rename(self, room: str, nick: str) -> None:
        await self.do("nick", jid=room, nick=nick)
        await self.gajim.answers("room", lambda found: found["nick"] == nick, f"nickname {nick}", jid=room)
        self.nick = nick

    async def look(self, room: str) -> tuple[str, list[str]]:
        found = await self.do("room", jid=room)
        return found["subject"] or "", found["occupants"]

    async def refused(self) -> list[str]:
        return [event["stanza"] for event in self.gajim.events if event["event"] == "refused"]

    async def do(self, what: str, **values):
        return await self.gajim.do(what, account=ACCOUNT, **values)

    async def stop(self) -> None:
        await self.gajim.stop()


class ProfanityGuest(Guest):
    name = "profanity"
    needed = {"profanity": "profanity"}
    at_once = True

    def __init__(self, server: Server | Wire, account: tuple[str, str], folder: Path):
        super().__init__(server, account, folder)
        self.terminal = Terminal(folder / self.name)
        self.terminal.folder.mkdir()
        self.sent: dict[str, str] = {}  # what it said, under which name

    async def come(self) -> None:
        home, terminal, server = self.terminal.folder, self.terminal, self.server
        profanity.prepare(home)
        authorities = home / "authorities"
        authorities.mkdir()
        shutil.copy(server.ca_file, authorities / "ca.pem")
        await asyncio.to_thread(subprocess.run, ["openssl", "rehash", authorities], check=True)
        await terminal.start(shutil.which("profanity"), "-l", "DEBUG", env=profanity.environment(home))
        await terminal.shows("Profanity. Type /help")
        for setting in (f"tls certpath set {authorities}", "reconnect 1"):
            await terminal.type(f"/{setting}")
        await terminal.type(f"/connect {self.bare} server {server.address} port {server.port} tls force")
        await terminal.shows("Enter password")
        await terminal.type(self.account[1])
        await terminal.shows("logged in successfully")

    async def enter(self, room: str) -> None:
        await self.terminal.type(f"/join {room} nick {self.nick}")
        await self.terminal.shows(f"You have joined the room as {self.nick}")

    async def say(self, room: str, text: str) -> None:
        self.sent[text] = self.nick
        await self.terminal.type(text)  # the room's window is open

    async def lines(self, room: str) -> list[Line]:
        store = next((self.terminal.folder / "share").rglob("chatlog.db"), None)
        if store is None:
            return []
        # Without a lock: Profanity gives up a line that it cannot write at once.
        with closing(sqlite3.connect(f"file:{store}?immutable=1", uri=True)) as database:
            try:
                rows = database.execute(
                    "SELECT from_jid, from_resource, message FROM ChatLogs"
                    " WHERE type = 'muc' AND ? IN (from_jid, to_jid) ORDER BY id",
                    [room],
                ).fetchall()
            except sqlite3.DatabaseError:  # read while it was written
                return []
        return [(who if jid == room else self.sent.get(what, "nobody"), what) for jid, who, what in rows]

    async def rename(self, room: str, nick: str) -> None:
        await self.terminal.type(f"/nick {nick}")
        await self.terminal.shows(f" {nick}")  # in the list of who is there
        self.nick = nick

    async def refused(self) -> list[str]:
        text = (self.terminal.folder / "share" / "profanity" / "logs" / "profanity.log").read_text(errors="replace")
        return re.findall(r"RECV: (<\w+(?=[^>]* type=[\"']error[\"']).*)", text)

    async def stop(self) -> None:
        self.terminal.dump()
        await self.terminal.stop()


class ConverseGuest(Guest):
    name = "converse"

    def __init__(self, server: Server | Wire, account: tuple[str, str], folder: Path):
        super().__init__(server, account, folder)
        home = folder / self.name
        home.mkdir()
        self.script = Script("room.mjs", home, {"TMPDIR": str(home)})

    async def come(self) -> None:
        server = self.server
        url = f"wss://{server.domain}:{server.websocket_port}/xmpp-websocket"
        await self.script.start(url, server.domain, server.address, *self.account)
        await self.script.do("login")

    async def enter(self, room: str) -> None:
        await self.script.do("join", room=room, nick=self.nick)

    async def say(self, room: str, text: str) -> None:
        await self.script.do("type", text=text)

    async def lines(self, room: str) -> list[Line]:
        shown = await self.script.do("shown", room=room)
        return [] if shown is None else [(who, what) for who, what in shown["lines"]]

    async def rename(self, room: str, nick: str) -> None:
        await self.script.do("type", text=f"/nick {nick}")
        self.nick = nick

    async def back(self, room: str) -> None:
        """In a browser that knows nothing."""
        await self.script.do("login")
        await self.enter(room)

    async def refused(self) -> list[str]:
        return await self.script.do("refused")

    async def look(self, room: str) -> tuple[str, list[str]]:
        shown = await self.script.do("shown", room=room)
        return shown["subject"], shown["occupants"]

    async def stop(self) -> None:
        await self.script.stop()


class DinoGuest(Guest):
    name = "dino"
    needed = dino.NEEDED
    in_order = False

    def __init__(self, server: Server | Wire, account: tuple[str, str], folder: Path):
        super().__init__(server, account, folder)
        self.dino = Dino(folder / self.name, "desk")

    async def come(self) -> None:
        await self.dino.prepare(self.server, self.account)

    async def enter(self, room: str) -> None:
        """By a bookmark, which another device of the account makes."""
        await bookmark(self.server, self.account, room, self.nick)
        await self.dino.launch()

    async def say(self, room: str, text: str) -> None:
        """As one that was written offline: it starts anew."""
        await self.dino.stop()
        self.dino.write(room, text, kind=dino.GROUPCHAT, nick=self.nick)
        await self.dino.launch()

    async def lines(self, room: str) -> list[Line]:
        return self.dino.room(room)

    async def refused(self) -> list[str]:
        text = (self.dino.home / "dino-im.log").read_text(errors="replace")
        return [part for part in re.split(r"^XMPP (?=IN|OUT)", text, flags=re.M) if re.match(r"IN[^<]*<[^>]*:type='error'", part)]

    async def stop(self) -> None:
        await self.dino.stop()



async def bookmark(server: Server | Wire, account: tuple[str, str], room: str, nick: str) -> None:
    """By another device of the account: this one is to be entered."""
    device = Peer(server, account, resource="other")
    for plugin in ("xep_0402", "xep_0223"):
        device.register_plugin(plugin)
    await device.login(presence=False)
    item = native.Conference()
    item["nick"] = nick
    item["autojoin"] = True
    options = {"max_items": "max", "send_last_published_item": "never"}
    device["xep_0223"].node_profiles[BOOKMARKS] = {f"pubsub#{name}": value for name, value in options.items()}
    await device["xep_0223"].store(item, node=BOOKMARKS, id=room, timeout=ANSWER_SECONDS)
    await device.logout()
