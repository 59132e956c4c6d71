"""One list of bookmarks for clients of three ages: slixmpp by its own node, Gajim, and Profanity by private XML.

All three are devices of one account. slixmpp looks at each of the places besides, and marks a chat as read.
"""

import asyncio
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

from slixmpp.plugins.xep_0048 import stanza as storage
from slixmpp.plugins.xep_0402 import stanza as native

import gajim
import profanity
from checks import Checks, Failed, Group, until
from gajim import Gajim
from peer import Peer
from server import Jackdaw, Server
from terminal import Terminal

BOOKMARKS = "urn:xmpp:bookmarks:1"
ANSWER_SECONDS = 10.0
START_SECONDS = 60.0


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if not isinstance(server, Jackdaw):
        checks.record("bookmarks", "needs a server that has them in one list")
        return
    needed = {"profanity": "profanity", **gajim.NEEDED}
    if missing := [package for program, package in needed.items() if shutil.which(program) is None]:
        checks.record("bookmarks", f"not installed: apt-get install {' '.join(missing)}")
        return
    story = Story(server, checks.group("bookmarks"), folder)
    try:
        await story.tell()
    except Failed:
        pass
    finally:
        await story.end()


class Story:
    def __init__(self, server: Server, check: Group, folder: Path):
        self.server = server
        self.check = check
        self.gajim = Gajim(folder / "gajim")
        self.terminal = Terminal(folder / "profanity")
        self.account = ("", "")
        self.devices: list[Peer] = []
        self.told: list[tuple[str, str]] = []  # what happened to which room, in order

    async def tell(self) -> None:
        step = self.check.step
        self.account = await self.server.add_account("bookmarks")
        desk = await self.device()
        await step("slixmpp adds one by its node (0402)", self.adds(desk))
        await step("it is in the list of private XML (0049) and at the older node (0048)", self.is_everywhere(desk, "one"))
        await step("Gajim starts and has it", self.gajim_has_it(), START_SECONDS + 5)
        await step("Profanity starts and has it", self.profanity_has_it(), START_SECONDS)

        async def by_profanity() -> None:
            await self.terminal.type(f"/bookmark add {room('two')} autojoin off nick duo")
            await self.terminal.shows(f"Bookmark added for {room('two')}")
            await until(lambda: ("published", room("two")) in self.told, "two at slixmpp")
            await self.gajim_shows("one", "two")

        await step("one by Profanity comes to the others by itself", by_profanity())

        async def by_gajim() -> None:
            await self.gajim.do("bookmark", account=gajim.ACCOUNT, jid=room("three"), name="Three")
            await until(lambda: ("published", room("three")) in self.told, "three at slixmpp")
            await self.terminal.type("/disconnect")
            await self.terminal.shows("logged out successfully")
            await self.profanity_login()
            await self.profanity_shows("one", "two", "three")

        await step("one by Gajim comes to slixmpp, and to Profanity at its next login", by_gajim())

        async def by_the_oldest() -> None:
            """A whole list by private XML, without the extensions of the first."""
            before = len(self.told)
            whole = storage.Bookmarks()
            for name in ("one", "three"):
                whole.add_conference(room(name), "uno", name=name.title(), autojoin=False)
            await desk["xep_0048"].set_bookmarks(whole, method="xep_0049", timeout=ANSWER_SECONDS)
            await until(lambda: ("retracted", room("two")) in self.told[before:], "that two is gone")
            await self.gajim_shows("one", "three")
            await self.is_everywhere(desk, "one", "three")
            items = await desk["xep_0060"].get_items(None, BOOKMARKS, timeout=ANSWER_SECONDS)
            if "urn:xmpp:notification-settings:1" not in str(items):
                raise AssertionError("the settings for notifications (0492) are gone")

        await step("a whole list by private XML is the list; what it knows nothing of stays", by_the_oldest())

        async def removed() -> None:
            await desk["xep_0060"].retract(None, BOOKMARKS, room("one"), notify=True, timeout=ANSWER_SECONDS)
            await self.gajim_shows("three")
            await self.is_everywhere(desk, "three")

        await step("one is removed", removed())

        async def read() -> None:
            phone = await self.device("phone")
            await desk["xep_0490"].flag_chat("friend@example.org", "an-id", timeout=ANSWER_SECONDS)
            await until(lambda: ("displayed", "friend@example.org") in self.told, "that the chat was read")
            answer = await phone["xep_0490"].catch_up(timeout=ANSWER_SECONDS)
            if "an-id" not in str(answer):
                raise AssertionError(str(answer))

        await step("a chat is read on one device, and the other knows (0490)", read())

    async def device(self, place: str = "desk") -> Peer:
        device = Peer(self.server, self.account, resource=place)
        for plugin in ("xep_0402", "xep_0048", "xep_0490", "xep_0163"):
            device.register_plugin(plugin)
        device["xep_0060"].map_node_event(BOOKMARKS, "native")
        device["xep_0163"].add_interest(BOOKMARKS)
        for event, handler in {
            "native_publish": lambda m: self.hears("published", m),
            "native_retract": lambda m: self.hears("retracted", m),
            "message_displayed_synchronization_publish": lambda m: self.hears("displayed", m),
        }.items():
            device.add_event_handler(event, handler)
        self.devices.append(device)
        told: list[str] = []

        def out(stanza):
            if stanza.name == "iq" and stanza["type"] == "result" and stanza["to"] == self.server.domain:
                told.append(stanza["id"])
            return stanza

        device.add_filter("out", out)
        await device.login()
        # What is published before the server knows what a device wants to hear of, it does not hear of. It asks once.
        if len(self.devices) == 1:
            await until(lambda: told, "the server's question what this client can do")
        await device["xep_0199"].ping(self.server.domain, timeout=ANSWER_SECONDS)
        return device

    def hears(self, what: str, message) -> None:
        ids = [e.get("id") for e in message.xml.iter() if e.tag.endswith(("}item", "}retract"))]
        self.told += [(what, identity) for identity in ids]

    async def adds(self, desk: Peer) -> None:
        bookmark = native.Conference()
        bookmark["name"] = "One"
        bookmark["nick"] = "uno"
        settings = "<notify xmlns='urn:xmpp:notification-settings:1'><never/></notify>"
        bookmark.enable("extensions")
        bookmark["extensions"].xml.append(ElementTree.fromstring(settings))
        options = {"max_items": "max", "send_last_published_item": "never"}
        desk["xep_0223"].node_profiles[BOOKMARKS] = {f"pubsub#{name}": value for name, value in options.items()}
        await desk["xep_0223"].store(bookmark, node=BOOKMARKS, id=room("one"), timeout=ANSWER_SECONDS)
        await until(lambda: ("published", room("one")) in self.told, "one, by the event")

    async def is_everywhere(self, desk: Peer, *names: str) -> None:
        wanted = {room(name) for name in names}
        items = await desk["xep_0060"].get_items(None, BOOKMARKS, timeout=ANSWER_SECONDS)
        stored = await desk["xep_0048"].get_bookmarks(method="xep_0049", timeout=ANSWER_SECONDS)
        published = await desk["xep_0048"].get_bookmarks(method="xep_0223", timeout=ANSWER_SECONDS)
        found = {
            "0402": {item["id"] for item in items["pubsub"]["items"]},
            "0049": {str(one["jid"]) for one in stored["private"]["bookmarks"]["conferences"]},
            "0048": {
                str(one["jid"]) for one in published["pubsub"]["items"]["item"]["bookmarks"]["conferences"]
            },
        }  # fmt: skip
        for place, rooms in found.items():
            if rooms != wanted:
                raise AssertionError(f"{place} has {rooms}")

    async def gajim_has_it(self) -> None:
        await self.gajim.start(self.server, self.account, direct=False)
        await self.gajim.trust()
        await self.gajim.login()
        await self.gajim_shows("one")

    async def gajim_shows(self, *names: str) -> None:
        wanted = sorted(room(name) for name in names)
        await self.gajim.answers("bookmarks", lambda found: sorted(found) == wanted, f"bookmarks {wanted}")

    async def profanity_has_it(self) -> None:
        home = self.terminal.folder
        home.mkdir()
        profanity.prepare(home)
        authorities = home / "authorities"
        authorities.mkdir()
        shutil.copy(self.server.ca_file, authorities / "ca.pem")
        await asyncio.to_thread(subprocess.run, ["openssl", "rehash", authorities], check=True)
        await self.terminal.start(shutil.which("profanity"), env=profanity.environment(home))
        await self.terminal.shows("Profanity. Type /help")
        await self.terminal.type(f"/tls certpath set {authorities}")
        await self.profanity_login()
        await self.profanity_shows("one")

    async def profanity_login(self) -> None:
        await self.terminal.type("/clear")
        server = self.server
        await self.terminal.type(f"/connect {self.account[0]} server {server.address} port {server.port} tls force")
        await self.terminal.shows("Enter password")
        await self.terminal.type(self.account[1])
        await self.terminal.shows("logged in successfully")

    async def profanity_shows(self, *names: str) -> None:
        async def listed() -> None:
            while True:
                await self.terminal.type("/clear")
                await self.terminal.type("/bookmark list")
                await asyncio.sleep(0.5)  # it draws as it comes; there is no end to wait for
                if all(room(name) in self.terminal.text() for name in names):
                    return

        await asyncio.wait_for(listed(), ANSWER_SECONDS)

    async def end(self) -> None:
        if self.terminal.folder.exists():
            self.terminal.dump()
        await self.gajim.stop()
        await self.terminal.stop()
        for device in self.devices:
            device.close()


def room(name: str) -> str:
    return f"{name}@rooms.example.org"
