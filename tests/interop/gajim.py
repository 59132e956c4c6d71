"""Gajim (Debian) in a window under Xvfb: logs in over both transports, adds a contact, chats, finds what waited.

The other end is a slixmpp peer. The small plugin beside this does what a user would click.
"""

import asyncio
import json
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import desktop
from checks import Checks, Failed, Group, until
from desktop import Desktop
from peer import Peer
from server import Server

NEEDED = {"gajim": "gajim", **desktop.NEEDED}
SETTINGS_VERSION = 5  # of Gajim 1.7's settings.sqlite
START_SECONDS = 60.0
END_SECONDS = 5.0
ACCOUNT = "test"


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if missing := [package for program, package in NEEDED.items() if shutil.which(program) is None]:
        checks.record("gajim", f"not installed: apt-get install {' '.join(missing)}")
        return
    for direct in (False, True):
        group = checks.group(f"gajim {'direct TLS' if direct else 'STARTTLS'}")
        gajim = Gajim(folder / ("direct" if direct else "starttls"))
        people: list[Peer] = []
        try:
            await chat(server, group, direct, gajim, people)
        except Failed:
            pass
        finally:
            await gajim.stop()
            for peer in people:
                peer.close()


class Gajim:
    """One profile; its process can end and be started again on it."""

    def __init__(self, home: Path, resource: str = "gajim"):
        self.home = home
        self.desktop = Desktop(home)
        self.resource = resource
        self.events: list[dict] = []
        self.replies: asyncio.Queue = asyncio.Queue()
        self.writer: asyncio.StreamWriter | None = None
        self.listener: asyncio.Server | None = None

    async def start(self, server: Server, account: tuple[str, str], direct: bool) -> None:
        self.prepare(server, account, direct)
        await self.launch()

    def prepare(self, server: Server, account: tuple[str, str], direct: bool) -> None:
        home = self.home
        (home / "config").mkdir(parents=True)
        plugin = home / "share" / "gajim" / "plugins" / "interop"
        shutil.copytree(Path(__file__).parent / "gajim_plugin", plugin)
        shutil.copy(server.ca_file, home / "ca.crt")
        self.settings(home / "config" / "gajim", server, account, direct)

    async def launch(self) -> None:
        home = self.home
        self.writer = None
        path = str(home / "socket")
        self.listener = await asyncio.start_unix_server(self.connected, path)
        await self.desktop.launch("gajim", INTEROP_SOCKET=path)

        def up() -> bool:
            self.desktop.check_running()
            return self.writer is not None

        await until(up, "Gajim's plugin", START_SECONDS)

    def settings(self, folder: Path, server: Server, account: tuple[str, str], direct: bool) -> None:
        local, domain = account[0].split("@")
        values = {
            "name": local, "hostname": domain, "password": account[1], "savepass": True, "active": True,
            "account_label": account[0], "autoconnect": False, "resource": self.resource, "use_custom_host": True,
            "custom_host": server.address, "custom_port": server.direct_port if direct else server.port,
            "custom_type": "DIRECT TLS" if direct else "START TLS",
        }  # fmt: skip
        application = {
            "use_keyring": False, "show_trayicon": False, "autopopup": False, "sounds_on": False, "check_for_update": False,
            "last_main_window_visible": True, "autoaway": False, "autoxa": False,
        }  # fmt: skip
        folder.mkdir(parents=True)
        database = sqlite3.connect(folder / "settings.sqlite")
        database.executescript(
            "CREATE TABLE settings (name TEXT UNIQUE, settings TEXT);"
            "CREATE TABLE account_settings (account TEXT UNIQUE, settings TEXT);"
            f"PRAGMA user_version={SETTINGS_VERSION};"
        )
        rows = {
            "app": application, "soundevents": {}, "status_presets": {}, "proxies": {},
            "plugins": {"interop": {"active": True}},
            "workspaces": {"start": {"name": "My Workspace", "color": "", "chats": [], "avatar_sha": ""}},
        }  # fmt: skip
        database.executemany("INSERT INTO settings VALUES (?, ?)", [(k, json.dumps(v)) for k, v in rows.items()])
        nested = {"account": values, "contact": {}, "group_chat": {}}
        database.execute("INSERT INTO account_settings VALUES (?, ?)", (ACCOUNT, json.dumps(nested)))
        database.commit()
        database.close()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        while line := await reader.readline():
            value = json.loads(line)
            if "reply" in value:
                self.replies.put_nowait(value)
            else:
                self.events.append(value)

    async def do(self, what: str, **values):
        assert self.writer is not None  # start() waited for it
        self.writer.write((json.dumps({"do": what, **values}) + "\n").encode())
        reply = await asyncio.wait_for(self.replies.get(), 20)
        if reply.get("error"):
            raise AssertionError(f"{what}: {reply['error']}")
        return reply["reply"]

    async def event(self, name: str, since: int = 0, **values) -> dict:
        """Waits for an event whose values begin so (a bare JID stands for each of its resources)."""

        def found():
            for event in self.events[since:]:
                if event["event"] == name and all(str(event.get(k, "")).startswith(v) for k, v in values.items()):
                    return event
            return None

        return await until(found, f"Gajim's event {name} {values}")

    async def stop(self) -> None:
        if self.writer is not None:
            try:
                await asyncio.wait_for(self.do("quit"), END_SECONDS)
                await asyncio.wait_for(self.desktop.process.wait(), END_SECONDS)
            except (AssertionError, OSError, TimeoutError):
                pass
        await self.end(signal.SIGTERM)

    async def end(self, *first: int) -> None:
        """Kills what is left of it; with a signal before, it gets a moment to end by itself."""
        if self.writer is not None:
            self.writer.close()
            self.writer = None
        await self.desktop.end(*first)
        if self.listener is not None:
            self.listener.close()
            self.listener = None

    # What a user does, and waits for.

    async def status(self, show: str, text: str = "") -> None:
        await self.do("status", account=ACCOUNT, show=show, text=text)

    async def trust(self) -> None:
        await self.do("trust", ca=str(self.home / "ca.crt"))

    async def login(self) -> None:
        since = len(self.events)
        await self.status("online")
        await self.event("our-show", since, show="online")

    async def befriend(self, jid: str) -> None:
        await self.do("subscribe", account=ACCOUNT, jid=jid, name="Friend")
        await self.answers("roster", lambda found: found.get(jid) == "both", f"roster with {jid} both")

    async def answers(self, what: str, wanted: Callable[[object], bool], meaning: str, **values):
        """Asks again until the answer is the wanted one."""
        for _ in range(200):
            if wanted(answer := await self.do(what, account=ACCOUNT, **values)):
                return answer
            await asyncio.sleep(0.1)
        raise AssertionError(f"Gajim: no {meaning}, but {answer}")


async def chat(server: Server, check: Group, direct: bool, gajim: Gajim, people: list[Peer]) -> None:
    end = "direct" if direct else "starttls"
    account = await server.add_account(f"gajim-{end}")
    friend = await server.add_account(f"friend-gajim-{end}")
    peer = Peer(server, friend)
    people.append(peer)
    await peer.login()
    await check.step("starts", gajim.start(server, account, direct), START_SECONDS + 5)

    async def state(wanted: str) -> None:
        await gajim.answers("state", lambda now: now == wanted, f"state {wanted}")

    # It knows the CA by nothing yet.
    async def unknown_ca() -> None:
        await gajim.status("online")
        for _ in range(100):
            if await gajim.do("distrusts"):
                return await state("disconnected")
            await asyncio.sleep(0.1)
        raise AssertionError("no question about the certificate")

    await check.step("certificate of an unknown CA refused", unknown_ca())

    async def trusted_login() -> None:
        await gajim.trust()
        await gajim.login()

    await check.step("logs in, certificate verified", trusted_login())

    async def befriend() -> None:
        await gajim.befriend(peer.bare)
        await peer.subscription(account[0], "both")

    await check.step("contact added, subscription both", befriend())
    await check.step("its presence seen by the contact", peer.saw(account[0], "available"))

    async def contact_seen() -> None:
        peer.send_presence(pshow="dnd", pstatus="reading")
        await gajim.event("presence-received", jid=peer.bare, show="dnd", status="reading")

    await check.step("presence of the contact seen", contact_seen())

    async def away() -> None:
        await gajim.status("away", "out")
        await peer.saw(account[0], "away")

    await check.step("its change of presence seen", away())

    async def to_contact() -> None:
        await gajim.do("open", account=ACCOUNT, jid=peer.bare)
        await gajim.do("say", account=ACCOUNT, jid=peer.bare, text="hello from the window")
        await peer.got_message(account[0], "hello from the window")

    await check.step("message to the contact", to_contact())

    async def from_contact() -> None:
        peer.send_message(account[0], "hello window", mtype="chat")
        await gajim.event("message-received", fjid=peer.bare, msgtxt="hello window")

    await check.step("message from the contact", from_contact())

    async def leaves() -> None:
        await gajim.status("offline")
        await peer.saw(account[0], "unavailable")
        await state("disconnected")

    await check.step("goes offline, which the contact sees", leaves())

    async def offline() -> None:
        peer.send_message(account[0], "while you were away", mtype="chat")
        await peer["xep_0199"].ping(server.domain, timeout=10)  # answered after the message was taken
        await gajim.login()
        await gajim.event("message-received", fjid=peer.bare, msgtxt="while you were away")

    await check.step("offline message received after the next login", offline())

    async def roster() -> None:
        found = await gajim.do("roster", account=ACCOUNT)
        if found != {peer.bare: "both"}:
            raise AssertionError(f"roster {found}")

    await check.step("roster after reconnect is the same", roster())
