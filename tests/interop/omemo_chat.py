"""Messages that only their readers can read (OMEMO): slixmpp, Profanity, Gajim and Dino, each with each.

The server holds the keys of all devices and the messages of who is away. It has one of its own here, as it is killed in
the middle: what it took before must be readable behind it, and who comes back finds keys and messages where they were.
Nobody is told the other's keys by hand; all trust what they see first.
"""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from omemo.storage import Just, Maybe, Nothing, Storage
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.plugins import register_plugin
from slixmpp_omemo import XEP_0384

import desktop
import dino
import gajim
import profanity
from checks import Checks, Failed, Group, until
from peer import Peer
from room_omemo import DINO_OMEMO, SECRET, Hideout
from server import Jackdaw, Server
from terminal import Terminal

SID = "{urn:xmpp:sid:0}stanza-id"
START_SECONDS = 60.0
ANSWER_SECONDS = 10.0
PLUGIN = Path("/usr/share/gajim/plugins/omemo")
OMEMO = "eu.siacs.conversations.axolotl"  # XEP-0384 0.3, which all of these speak
DEVICES = f"{OMEMO}.devicelist"


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if not isinstance(server, Jackdaw):
        checks.record("omemo", "needs a server that keeps nodes")
        return
    folder.chmod(0o711)
    home = folder / "server"
    home.mkdir(mode=0o711)
    own = Jackdaw(home, server.binary)
    await asyncio.to_thread(own.start)
    friends: list[Friend] = []
    pair = Pair(own, checks.group("omemo, slixmpp and slixmpp"))
    try:
        for name, (kind, needed) in CLIENTS.items():
            missing = [package for program, package in needed.items() if shutil.which(program) is None]
            if name == "gajim" and not PLUGIN.exists():
                missing.append("gajim-omemo")
            if missing:
                checks.record(f"omemo, {name}", f"not installed: apt-get install {' '.join(missing)}")
                continue
            place = folder / name
            place.mkdir(mode=0o711)
            friends.append(kind(own, checks.group(f"omemo, {name}"), place))
        await checks.group("omemo").step("the others know each other", acquainted(own, friends))
        everybody = [pair, *friends]
        await asyncio.gather(*(story(one.before) for one in everybody))
        for number, one in enumerate(friends):
            for other in friends[number + 1 :]:
                if one.is_ready and other.is_ready:
                    await story(lambda one=one, other=other: crossing(checks, one, other))
        if len(friends) == len(CLIENTS) and all(one.is_ready for one in friends):
            await story(Hideout(own, checks.group("omemo, a room"), friends).tell)
        await asyncio.gather(*(story(one.leaves) for one in friends))
        checks.group("omemo").expect("no archive and no node has a word of it in the clear", not leaks(own), "it has")
        await asyncio.to_thread(kill_and_start, own)
        await asyncio.gather(*(story(one.behind) for one in everybody))
        checks.group("omemo").expect("nor later", not leaks(own), "it has")
    finally:
        await asyncio.gather(*(one.end() for one in (pair, *friends)))
        await asyncio.to_thread(own.stop)


async def acquainted(server: Server, friends: list["Friend"]) -> None:
    """Before they come for the first time: so nobody has to click."""
    for friend in friends:
        friend.account = await server.add_account(friend.name)
    peers = [Peer(server, friend.account) for friend in friends]
    await asyncio.gather(*(peer.login() for peer in peers))
    for number, peer in enumerate(peers):
        for other in peers[number + 1 :]:
            await befriended(peer, other)
    await asyncio.gather(*(peer.logout() for peer in peers))


async def crossing(checks: Checks, one: "Friend", other: "Friend") -> None:
    """Two of them, without slixmpp."""
    step = checks.group(f"omemo, {one.name} and {other.name}").step

    async def said(sender: Friend, receiver: Friend) -> None:
        text = f"from {sender.name} to {receiver.name}"
        await sender.say(text, receiver.account[0])
        await receiver.shows(text, sender.account[0])

    await step("what one encrypts the other reads", said(one, other), START_SECONDS)
    await step("and back", said(other, one), START_SECONDS)


async def story(part) -> None:
    try:
        await part()
    except Failed:
        pass


def kill_and_start(server: Jackdaw) -> None:
    assert server.process is not None  # it runs
    os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait()
    server.launch()


def leaks(server: Jackdaw) -> bool:
    files = (path for path in (server.folder / "data").rglob("*") if path.is_file())
    return any(SECRET.encode() in path.read_bytes() for path in files)


class Keys(Storage):
    """What one device knows: it outlives its connections, as a client's database does."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict = {}
        self.had: set[str] = set()  # the archive's ids
        self.last: str | None = None

    async def _load(self, key: str) -> Maybe:
        return Just(self.values[key]) if key in self.values else Nothing()

    async def _store(self, key: str, value) -> None:
        self.values[key] = value

    async def _delete(self, key: str) -> None:
        self.values.pop(key, None)


class Omemo(XEP_0384):
    default_config = {**XEP_0384.default_config, "keys": None}

    @property
    def storage(self) -> Storage:
        return self.keys

    @property
    def _btbv_enabled(self) -> bool:
        return True

    async def _prompt_manual_trust(self, manually_trusted, identifier) -> None:
        raise AssertionError("whom it has to trust it has seen first")


register_plugin(Omemo)


class Device(Peer):
    """One connection of a device of slixmpp's."""

    def __init__(self, server: Server, account: tuple[str, str], keys: Keys, place: str):
        super().__init__(server, account, resource=place)
        for plugin in ("xep_0280", "xep_0313", "xep_0334"):
            self.register_plugin(plugin)
        self.register_plugin("xep_0384", {"keys": keys})
        self.keys = keys
        self.read: list[tuple[str, str]] = []  # from whom, and what
        self.arrived: asyncio.Queue = asyncio.Queue()
        self.reader: asyncio.Task | None = None
        self.ready = False
        for event, handler in {
            "omemo_initialized": lambda _: self._note(ready=True),
            "message": self.arrived.put_nowait,
            "carbon_received": lambda m: self.arrived.put_nowait(m["carbon_received"]),
            "carbon_sent": lambda m: self.arrived.put_nowait(m["carbon_sent"]),
        }.items():
            self.add_event_handler(event, handler)

    async def come(self) -> "Device":
        await self.login(presence=False)
        await self["xep_0280"].enable(timeout=ANSWER_SECONDS)
        await until(lambda: self.ready, f"keys of {self.boundjid.full}")
        await self.catch_up()
        self.reader = asyncio.create_task(self.reading())
        self.send_presence()
        return self

    async def catch_up(self) -> None:
        while True:
            rsm = {"max": 20} | ({"after": self.keys.last} if self.keys.last else {})
            answer = await self["xep_0313"].retrieve(rsm=rsm, timeout=ANSWER_SECONDS)
            for result in answer["mam"]["results"]:
                self.keys.last = result["mam_result"]["id"]
                await self.take(result["mam_result"]["forwarded"]["stanza"], self.keys.last)
            if answer["mam_fin"]["complete"]:
                return

    async def reading(self) -> None:
        while True:
            message = await self.arrived.get()
            for element in message.xml.findall(SID):
                if element.get("by") == self.bare:
                    self.keys.last = element.get("id")
                    await self.take(message, self.keys.last)

    async def take(self, message, identity: str) -> None:
        plugin = self["xep_0384"]
        if identity in self.keys.had or not plugin.is_encrypted(message):
            return
        self.keys.had.add(identity)
        if message["from"].bare == self.bare and message["from"].resource == self.boundjid.resource:
            return
        try:
            clear, _ = await plugin.decrypt_message(message)
        except Exception as error:  # the test tells what was not read
            self.read.append((message["from"].bare, f"{type(error).__name__}: {error}"))
            return
        if clear["body"]:
            self.read.append((message["from"].bare, clear["body"]))

    async def whisper(self, to: str, text: str) -> None:
        message = self.make_message(mto=to, mtype="chat", mbody=f"{SECRET} {text}")
        message.set_from(self.boundjid)
        sealed, problems = await self["xep_0384"].encrypt_message(message, message["to"])
        if sealed is None or problems:
            raise AssertionError(f"not encrypted for all: {problems}")
        sealed.send()
        await self["xep_0199"].ping(self.under_test.domain, timeout=ANSWER_SECONDS)  # answered after it was taken

    async def hears(self, sender: str, text: str, seconds: float = ANSWER_SECONDS) -> None:
        wanted = (sender, f"{SECRET} {text}")
        try:
            await until(lambda: wanted in self.read, f"{text} of {sender} at {self.boundjid.full}", seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it read {self.read}") from error

    def close(self) -> None:
        if self.reader is not None:
            self.reader.cancel()
        super().close()


class Pair:
    """Two devices of one account, and one of another."""

    def __init__(self, server: Server, check: Group):
        self.server = server
        self.check = check
        self.people: list[Device] = []
        self.keys = [Keys(), Keys(), Keys()]
        self.accounts: list[tuple[str, str]] = []

    def device(self, number: int) -> Device:
        device = Device(self.server, self.accounts[min(number, 1)], self.keys[number], ("friend", "desk", "phone")[number])
        self.people.append(device)
        return device

    async def before(self) -> None:
        step = self.check.step
        self.accounts = [await self.server.add_account(name) for name in ("slix-friend", "slix")]
        friend, desk, phone = (self.device(number) for number in range(3))
        for device in (friend, desk, phone):
            await step(f"the keys of {device.boundjid.resource} are published", device.come())

        async def know_each_other() -> None:
            await befriended(friend, desk)
            # slixmpp waits for no list that comes by itself as the subscription begins.
            for one, other in ((friend, desk), (desk, friend)):
                await one["xep_0384"].refresh_device_lists({JID(other.bare)}, force_download=True)

        await step("contacts", know_each_other())

        async def live() -> None:
            await friend.whisper(desk.bare, "to both")
            await asyncio.gather(desk.hears(friend.bare, "to both"), phone.hears(friend.bare, "to both"))
            await desk.whisper(friend.bare, "from the desk")
            await asyncio.gather(friend.hears(desk.bare, "from the desk"), phone.hears(desk.bare, "from the desk"))

        await step("a message is read by both devices, and what one sends by the other", live())

        async def missed() -> None:
            await phone.logout()
            await friend.whisper(desk.bare, "while one is away")
            await desk.hears(friend.bare, "while one is away")
            await desk.whisper(friend.bare, "said meanwhile")
            again = self.device(2)
            await again.come()
            await again.hears(friend.bare, "while one is away")
            await again.hears(desk.bare, "said meanwhile")
            await again.logout()

        await step("a device that was away reads it from the archive", missed())

        async def waits() -> None:
            await friend.whisper(desk.bare, "before the crash")
            await desk.hears(friend.bare, "before the crash")
            for device in (friend, desk):
                device.close()

        await step("a message of which one device knows nothing yet", waits())

    async def behind(self) -> None:
        step = self.check.step
        friend, desk, phone = (self.device(number) for number in range(3))

        async def comes() -> None:
            await phone.come()
            await phone.hears(friend.bare, "before the crash")

        await step("after a crash of the server the device reads it", comes())

        async def goes_on() -> None:
            await asyncio.gather(friend.come(), desk.come())
            await phone.whisper(friend.bare, "from the phone")
            await asyncio.gather(friend.hears(phone.bare, "from the phone"), desk.hears(phone.bare, "from the phone"))
            await friend.whisper(phone.bare, "to both again")
            await asyncio.gather(desk.hears(friend.bare, "to both again"), phone.hears(friend.bare, "to both again"))

        await step("and all go on", goes_on())

    async def end(self) -> None:
        for device in self.people:
            device.close()


async def befriended(one: Peer, other: Peer) -> None:
    one.send_presence_subscription(other.bare, ptype="subscribe")
    await asyncio.gather(one.subscription(other.bare, "both"), other.subscription(one.bare, "both"))


class Friend:
    """Another client, and slixmpp's device that it writes with."""

    name = ""

    def __init__(self, server: Server, check: Group, place: Path):
        self.server = server
        self.check = check
        self.place = place
        self.account = ("", "")
        self.other = ("", "")
        self.keys = Keys()
        self.people: list[Device] = []
        self.is_ready = False

    def device(self) -> Device:
        self.people.append(Device(self.server, self.other, self.keys, "friend"))
        return self.people[-1]

    async def before(self) -> None:
        step = self.check.step
        self.other = await self.server.add_account(f"friend-{self.name}")
        friend = self.device()
        await step("a device of slixmpp, a contact of it", self.knows(friend))
        await step("starts, logs in, publishes its keys", self.comes(friend), START_SECONDS)

        async def first() -> None:
            await friend.whisper(self.account[0], "first")
            await self.shows("first", friend.bare)

        await step("reads what was encrypted for it", first())

        async def answers() -> None:
            await self.say("an answer", friend.bare)
            await friend.hears(self.account[0], "an answer")

        await step("what it encrypts is read", answers(), START_SECONDS)
        self.is_ready = True

    async def leaves(self) -> None:
        friend = self.people[-1]

        async def away() -> None:
            await self.leave()
            await friend.whisper(self.account[0], "while away")
            friend.close()

        await self.check.step("is away, and something waits for it", away())

    async def behind(self) -> None:
        step = self.check.step
        friend = self.device()
        await friend.come()

        async def back() -> None:
            await self.come_back()
            await self.shows("while away", friend.bare)

        await step("after a crash of the server it reads what waited", back(), START_SECONDS)

        async def go_on() -> None:
            await friend.whisper(self.account[0], "last")
            await self.shows("last", friend.bare)
            await self.say("the end", friend.bare)
            await friend.hears(self.account[0], "the end", START_SECONDS)

        await step("and both go on", go_on(), START_SECONDS)

    async def end(self) -> None:
        await self.stop()
        for device in self.people:
            device.close()

    async def knows(self, friend: Device) -> None:
        await friend.come()
        other = Peer(self.server, self.account)
        await other.login()
        await befriended(other, friend)
        await other.logout()

    async def comes(self, friend: Device) -> None:
        await self.start()
        while not await self.has_keys(friend):
            await asyncio.sleep(0.2)
        await friend["xep_0384"].refresh_device_lists({JID(self.account[0])}, force_download=True)

    async def has_keys(self, friend: Device) -> bool:
        """Whether everything is published that a message to it needs."""
        owner, nodes = JID(self.account[0]), friend["xep_0060"]
        try:
            lists = await nodes.get_items(owner, DEVICES, timeout=ANSWER_SECONDS)
            found = [device.get("id") for device in lists.xml.iter(f"{{{OMEMO}}}device")]
            for device in found:
                await nodes.get_items(owner, f"{OMEMO}.bundles:{device}", timeout=ANSWER_SECONDS)
        except IqError:
            return False
        return bool(found)

    async def start(self) -> None:
        raise NotImplementedError

    async def shows(self, text: str, sender: str) -> None:
        raise NotImplementedError

    async def say(self, text: str, to: str) -> None:
        raise NotImplementedError

    async def leave(self) -> None:
        raise NotImplementedError

    async def come_back(self) -> None:
        raise NotImplementedError

    async def stop(self) -> None:
        raise NotImplementedError


class Profanity(Friend):
    name = "profanity"

    async def start(self) -> None:
        self.terminal = Terminal(self.place / "home")
        self.terminal.folder.mkdir()
        home = self.terminal.folder
        profanity.prepare(home)
        authorities = home / "authorities"
        authorities.mkdir()
        shutil.copy(self.server.ca_file, authorities / "ca.pem")
        await asyncio.to_thread(subprocess.run, ["openssl", "rehash", authorities], check=True)
        await self.terminal.start(shutil.which("profanity"), env=profanity.environment(home))
        await self.terminal.shows("Profanity. Type /help")
        for setting in (f"tls certpath set {authorities}", "omemo policy always", "omemo trustmode blind"):
            await self.terminal.type(f"/{setting}")
        await self.come_back()
        await self.terminal.type("/omemo gen")

    async def come_back(self) -> None:
        server, terminal = self.server, self.terminal
        await terminal.type("/clear")
        await terminal.type(f"/connect {self.account[0]} server {server.address} port {server.port} tls force")
        await terminal.shows("Enter password")
        await terminal.type(self.account[1])
        await terminal.shows("logged in successfully")

    async def shows(self, text: str, sender: str) -> None:
        await self.terminal.type(f"/msg {sender}")
        await self.terminal.shows(f"{SECRET} {text}")

    async def say(self, text: str, to: str) -> None:
        """It drops what it cannot encrypt yet, so its user looks first whether it has a key."""
        await self.terminal.type(f"/msg {to}")
        while f"{to}'s OMEMO fingerprint" not in self.terminal.text():
            await self.terminal.type(f"/omemo fingerprint {to}")
            await asyncio.sleep(0.2)  # what it does not show it does not tell
        await self.terminal.type("/clear")
        await self.terminal.type(f"/msg {to} {SECRET} {text}")

    async def leave(self) -> None:
        await self.terminal.type("/win 1")
        await self.terminal.type("/disconnect")
        await self.terminal.shows("logged out successfully")

    async def stop(self) -> None:
        if hasattr(self, "terminal"):
            self.terminal.dump()
            await self.terminal.stop()


class Gajim(Friend):
    name = "gajim"

    async def start(self) -> None:
        self.gajim = gajim.Gajim(self.place / "home")
        self.gajim.prepare(self.server, self.account, direct=False)
        with closing(sqlite3.connect(self.place / "home" / "config" / "gajim" / "settings.sqlite")) as store, store:
            plugins = json.dumps({"interop": {"active": True}, "omemo": {"active": True}})
            store.execute("UPDATE settings SET settings = ? WHERE name = 'plugins'", [plugins])
        await self.gajim.launch()
        await self.gajim.trust()
        await self.come_back()

    async def come_back(self) -> None:
        await self.gajim.login()

    async def shows(self, text: str, sender: str) -> None:
        await self.gajim.event("message-received", fjid=sender, msgtxt=f"{SECRET} {text}")

    async def say(self, text: str, to: str) -> None:
        await self.gajim.do("open", account=gajim.ACCOUNT, jid=to)
        await self.gajim.do("encrypt", account=gajim.ACCOUNT, jid=to, how="OMEMO")
        await self.gajim.answers("keys", bool, f"keys of {to}", jid=to)
        await self.gajim.do("say", account=gajim.ACCOUNT, jid=to, text=f"{SECRET} {text}")

    async def leave(self) -> None:
        await self.gajim.status("offline")
        await self.gajim.answers("state", lambda now: now == "disconnected", "state disconnected")

    async def stop(self) -> None:
        if hasattr(self, "gajim"):
            await self.gajim.stop()


class Dino(Friend):
    name = "dino"

    async def start(self) -> None:
        self.dino = dino.Dino(self.place / "home", "desk")
        await self.dino.prepare(self.server, self.account)
        await self.dino.launch()

    async def come_back(self) -> None:
        await self.dino.launch()

    async def shows(self, text: str, sender: str) -> None:
        def shown() -> bool:
            self.dino.desktop.check_running()
            return ("received", f"{SECRET} {text}") in [line[:2] for line in self.dino.shown()]

        await until(shown, f"{text} at Dino")

    async def say(self, text: str, to: str) -> None:
        await self.dino.stop()
        self.dino.write(to, f"{SECRET} {text}", DINO_OMEMO)
        await self.dino.launch()

    async def leave(self) -> None:
        await self.dino.stop()

    async def stop(self) -> None:
        if hasattr(self, "dino"):
            await self.dino.stop()


# Of two the first writes first: Dino needs a chat to write into.
CLIENTS = {
    "gajim": (Gajim, gajim.NEEDED),
    "profanity": (Profanity, {"profanity": "profanity"}),
    "dino": (Dino, dino.NEEDED),
}
