"""Dino (Debian) on two devices of one account: logs in, fetches what was before it came, shows what comes live.

The contact is a slixmpp peer, and a slixmpp device of the same account writes what Dino sees as its own (Carbons). Dino
has no field for the host and trusts what the system trusts, so it runs in a mount namespace with an /etc/hosts and a
list of CAs of its own. There is nothing to drive it by: what it shows is read from its database, and what it is to say
is put there as not sent yet, which is what it does itself with what is written while it is offline.
"""

import asyncio
import os
import shutil
import signal
import sqlite3
import time
import uuid
from contextlib import closing
from pathlib import Path

import desktop
from checks import Checks, Failed, Group, until
from desktop import Desktop
from history import Book, Device
from server import Server

NEEDED = {"dino-im": "dino-im", "unshare": "util-linux", **desktop.NEEDED}
START_SECONDS = 45.0
MANY = 60  # several of the pages of 20 messages that Dino asks for
CHAT, GROUPCHAT, UNSENT = 1, 2, 4  # Message.Type and Message.Marked of Dino 0.4

# What stands in the namespace in place of the system's: name resolution without a DNS server, and the test's CA.
OVERLAY = {
    "hosts": "/etc/hosts", "nsswitch.conf": "/etc/nsswitch.conf", "resolv.conf": "/etc/resolv.conf",
    "ca.crt": "/etc/ssl/certs/ca-certificates.crt",
}  # fmt: skip
MOUNT = 'set -eu; while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if missing := [package for program, package in NEEDED.items() if shutil.which(program) is None]:
        checks.record("dino", f"not installed: apt-get install {' '.join(missing)}")
        return
    story = Story(server, checks.group("dino"), folder)
    try:
        await story.tell()
    except Failed:
        pass
    finally:
        await asyncio.gather(*(dino.stop() for dino in story.dinos))
        for device in story.devices:
            device.close()


class Dino:
    """One profile; its process can end and be started again on it."""

    def __init__(self, home: Path, place: str):
        self.home = home
        self.place = place
        self.desktop = Desktop(home)
        self.database = home / "share" / "dino" / "dino.db"

    async def prepare(self, server: Server, account: tuple[str, str]) -> None:
        """Has Dino itself make its tables, then puts the account in, as its dialog would."""
        place = self.home / "etc"
        place.mkdir(parents=True)
        self.home.chmod(0o711)
        place.chmod(0o711)
        (place / "hosts").write_text(f"127.0.0.1 localhost\n{server.address} {server.domain}\n")
        (place / "nsswitch.conf").write_text("passwd: files\ngroup: files\nhosts: files dns\n")
        (place / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        self.trust(server.ca_file)
        await self.launch()
        await until(self.has_tables, "Dino's database", START_SECONDS)
        await self.stop()
        with closing(sqlite3.connect(self.database)) as store, store:
            store.execute(
                "INSERT INTO account (bare_jid, resourcepart, password, alias, enabled) VALUES (?, ?, ?, '', 1)",
                [account[0], f"dino-{self.place}", account[1]],
            )

    def trust(self, authority: Path) -> None:
        shutil.copy(authority, self.home / "etc" / "ca.crt")

    def write(self, contact: str, body: str, encryption: int = 0, kind: int = CHAT, nick: str | None = None) -> None:
        """Puts a message into its chat with the contact, as Dino keeps one that was written offline. It must not be running.

        It has another, hidden: events of its own account (XEP-0163) come from its own address.
        """
        now = int(time.time())
        with closing(sqlite3.connect(self.database)) as store, store:
            account, conversation, counterpart = store.execute(
                "SELECT conversation.account_id, conversation.id, conversation.jid_id FROM conversation"
                " JOIN jid ON jid.id = conversation.jid_id WHERE jid.bare_jid = ?",
                [contact],
            ).fetchone()
            message = store.execute(
                "INSERT INTO message (stanza_id, account_id, counterpart_id, our_resource, direction, type, time,"
                " local_time, body, encryption, marked) VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?)",
                [str(uuid.uuid4()), account, counterpart, nick or f"dino-{self.place}", kind, now, now, body, encryption, UNSENT],
            ).lastrowid
            store.execute(
                "INSERT INTO content_item (conversation_id, time, local_time, content_type, foreign_id)"
                " VALUES (?, ?, ?, 1, ?)",
                [conversation, now, now, message],
            )

    def distrusts(self) -> bool:
        self.desktop.check_running()
        return "Tls Certificate Errors" in (self.home / "dino-im.log").read_text(errors="replace")

    async def launch(self) -> None:
        mounts = [part for name, target in OVERLAY.items() for part in (str(self.home / "etc" / name), target)]
        root = () if os.geteuid() == 0 else ("--map-root-user",)
        inside = ("unshare", *root, "--mount", "sh", "-c", MOUNT, "sh", *mounts, "--")
        await self.desktop.launch(
            "dino-im", "--print-xmpp=all", inside=inside, GDK_BACKEND="x11", GSK_RENDERER="cairo",
            GIO_USE_PROXY_RESOLVER="dummy",
        )  # fmt: skip

    async def stop(self) -> None:
        await self.desktop.end(signal.SIGTERM)

    def ask(self, question: str, *values) -> list[tuple]:
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as store:
            return store.execute(question, values).fetchall()

    def has_tables(self) -> bool:
        self.desktop.check_running()
        return self.database.exists() and bool(self.ask("SELECT 1 FROM sqlite_master WHERE name = 'settings'"))

    def shown(self) -> list[tuple[str, str, str]]:
        """The lines of its one chat as the window shows them: sent or received, body, id in the archive."""
        rows = self.ask(
            "SELECT message.direction, message.body, message.server_id FROM content_item JOIN message"
            " ON content_item.content_type = 1 AND content_item.foreign_id = message.id"
            " WHERE content_item.hide = 0 ORDER BY content_item.time, content_item.id"
        )
        return [("sent" if direction else "received", body, identity) for direction, body, identity in rows]


    def room(self, room: str) -> list[tuple[str, str]]:
        """The lines of a room as the window shows them: who, what."""
        return self.ask(
            "SELECT CASE message.direction WHEN 1 THEN message.our_resource ELSE message.counterpart_resource END,"
            " message.body FROM content_item JOIN message"
            " ON content_item.content_type = 1 AND content_item.foreign_id = message.id"
            " JOIN conversation ON conversation.id = content_item.conversation_id"
            " JOIN jid ON jid.id = conversation.jid_id"
            " WHERE content_item.hide = 0 AND jid.bare_jid = ? ORDER BY content_item.time, content_item.id",
            room,
        )


class Story:
    def __init__(self, server: Server, check: Group, folder: Path):
        self.server = server
        self.check = check
        self.desk, self.phone = self.dinos = [Dino(folder / place, place) for place in ("desk", "phone")]
        self.devices: list[Device] = []
        self.said: list[tuple[str, str]] = []  # all of it in order: sent or received, as the account sees it; body
        self.account = ("", "")
        self.friend = ""
        self.third: Device
        self.peer: Device

    async def tell(self) -> None:
        step = self.check.step
        desk, phone = self.dinos
        self.account = await self.server.add_account("dino")
        friend = await self.server.add_account("friend-dino")
        self.friend = friend[0]
        self.third, self.peer = self.devices = [
            Device(self.server, who, Book(who[0], "slixmpp"), direct=False) for who in (self.account, friend)
        ]
        await asyncio.gather(*(device.come() for device in self.devices))
        await step("there is a history before it comes", self.talk())
        await step("two start and make their databases", self.prepare(), START_SECONDS + 5)
        await step("certificate of an unknown CA refused", self.unknown_ca(desk), START_SECONDS)
        await step("both log in, certificate verified, and fetch the history", self.come(desk, phone), START_SECONDS)
        await step("live messages and Carbons, at both", self.talk(desk, phone))

        await step("one ends, much is said", self.without(phone, desk, many=MANY))
        await step("it starts, fetches what it missed, says something itself", self.say(phone, desk), START_SECONDS)
        await step("both go on", self.talk(phone, desk))
        await step("the other ends, too", self.without(desk, phone))
        await step("both have ended", self.without(phone))
        await step("one starts, fetches and says something", self.say(desk), START_SECONDS)
        await step("so does the other", self.say(phone, desk), START_SECONDS)
        await step("both go on to the end", self.talk(desk, phone))
        await self.compare()

    async def prepare(self) -> None:
        await asyncio.gather(*(dino.prepare(self.server, self.account) for dino in self.dinos))

    async def unknown_ca(self, dino: Dino) -> None:
        other = dino.home.parent / "other-ca"
        await asyncio.to_thread(self.server.make_certificates, other, "elsewhere.test")
        dino.trust(other / "ca.crt")
        await dino.launch()
        await until(dino.distrusts, "Dino's complaint about the certificate")
        if dino.shown():
            raise AssertionError("it logged in all the same")
        await dino.stop()
        dino.trust(self.server.ca_file)

    async def come(self, *dinos: Dino) -> None:
        await asyncio.gather(*(dino.launch() for dino in dinos))
        await self.shown(*dinos)

    async def talk(self, *dinos: Dino) -> None:
        """The friend and the account's slixmpp device, in turn; these show it at their end, in this order."""
        began = len(self.said)
        for number in range(4):
            turns = (self.peer, self.third, "received"), (self.third, self.peer, "sent")
            sender, receiver, way = turns[number % 2]
            body = f"{way} {len(self.said)}"
            self.said.append((way, body))
            sender.send_message(receiver.bare, body, mtype="chat")
            await receiver.got_message(sender.bare, body)
        await self.shown(*dinos)
        for dino in dinos:
            if (end := [line[:2] for line in dino.shown()[began:]]) != self.said[began:]:
                raise AssertionError(f"{dino.place} shows {end} instead of {self.said[began:]}")

    async def without(self, away: Dino, *others: Dino, many: int = 0) -> None:
        await away.stop()
        bodies = [f"received {len(self.said) + number}" for number in range(many)]
        self.said += [("received", body) for body in bodies]
        for body in bodies:
            self.peer.send_message(self.account[0], body, mtype="chat")
        if bodies:
            await self.third.got_message(self.peer.bare, bodies[-1])
        await self.talk(*others)

    async def say(self, dino: Dino, *others: Dino) -> None:
        """It starts with a message of its own that it has to send; what was said before is from an earlier second."""
        second = int(time.time())
        await until(lambda: int(time.time()) > second, "the next second")
        body = f"sent by {dino.place}, {len(self.said)}"
        dino.write(self.friend, body)
        self.said.append(("sent", body))
        await dino.launch()
        await self.peer.got_message(self.account[0], body)
        await self.shown(dino, *others)

    async def shown(self, *dinos: Dino) -> None:
        """Waits until these have all that was said."""

        def complete(dino: Dino) -> bool:
            dino.desktop.check_running()
            return set(self.said) <= {line[:2] for line in dino.shown()}

        for dino in dinos:
            try:
                await until(lambda: complete(dino), f"all {len(self.said)} messages at {dino.place}")
            except TimeoutError as error:
                missing = set(self.said) - {line[:2] for line in dino.shown()}
                raise TimeoutError(f"{error}; missing {sorted(missing)}") from error

    async def compare(self) -> None:
        await asyncio.gather(*(dino.stop() for dino in self.dinos))
        archive = await self.check.step("the account's archive is read", self.third.archive())
        theirs = await self.check.step("the contact's archive is read", self.peer.archive())
        wanted = [body for _, body in self.said]
        for whose, found in (("account", archive), ("contact", theirs)):
            # Dino's receipts and markers are kept as well, and have no body.
            bodies = [body for _, _, body in found if body]
            self.check.same(f"the archive of the {whose} has what was said, in order", bodies, wanted)
        ids = {body: identity for identity, _, body in archive}
        for dino in self.dinos:
            lines = dino.shown()
            # It keeps whole seconds and fetches the newest page first: within a second its own order is none.
            self.check.same(f"the database of {dino.place} has it all, once", sorted(x[:2] for x in lines), sorted(self.said))
            seconds = dict(dino.ask("SELECT body, time FROM message"))
            times = [seconds.get(body, 0) for body in wanted]
            self.check.same(f"in order, by the seconds that {dino.place} keeps", times, sorted(times))
            named = [(body, identity) for _, body, identity in lines if f"by {dino.place}," not in body]
            by_archive = [(body, ids.get(body)) for body, _ in named]
            self.check.same(f"{dino.place} knows what it did not send by the archive's ids", named, by_archive)
