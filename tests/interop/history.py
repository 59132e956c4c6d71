"""One history on two devices of two people (slixmpp): stream management, carbons and the archive together.

All four send. A device stays away and comes back, connections are cut with messages on their way in both directions
and resumed, one person is away altogether. In the end each device, by what it was sent live, as carbons and by catching
up, has the list that the archives of both people have: each message once, in one order.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from checks import Checks, Failed, Group, until
from peer import Peer
from server import Server

BURST = 6  # messages of one device in a row
PAGE = 5  # messages of a page, so that catching up takes several
SID = "{urn:xmpp:sid:0}stanza-id"
ANSWER_SECONDS = 10.0


@dataclass
class Book:
    """What one device has stored: it outlives its connections, as a client's database does."""

    owner: str  # bare JID
    place: str
    own: dict[str, str] = field(default_factory=dict)  # what it sent: origin id to body
    lines: dict[str, str] = field(default_factory=dict)  # what others sent: the archive's id to body, as it came
    twice: list[str] = field(default_factory=list)  # bodies that were handed out live more than once
    nameless: list[str] = field(default_factory=list)  # live, without an id of the own archive
    live: set[str] = field(default_factory=set)
    number: int = 0

    def next_body(self) -> str:
        self.number += 1
        return f"{self.owner.partition('@')[0]}/{self.place} {self.number}"

    def bodies(self) -> set[str]:
        return {*self.own.values(), *self.lines.values()}


class Device(Peer):
    """One connection of a device. As a client does, it keeps back what comes live until it has caught up."""

    def __init__(self, server: Server, account: tuple[str, str], book: Book, *, direct: bool):
        super().__init__(server, account, direct=direct, resource=book.place)
        self.use_origin_id = True
        for plugin in ("xep_0198", "xep_0280", "xep_0313", "xep_0359"):
            self.register_plugin(plugin)
        self["xep_0198"].window = BURST // 2  # cuts then find some acknowledged, some not
        self.book = book
        self.late: list[tuple[str, str]] | None = None  # came while it catches up
        self.lossy = False
        self.resumed = self.managed = self.broken = False
        for event, handler in {
            "message": self._direct,
            "carbon_received": lambda m: self._note_live(m["carbon_received"]),
            "carbon_sent": lambda m: self._note_live(m["carbon_sent"]),
            "sm_enabled": lambda _: self._note(managed=True),
            "session_resumed": lambda _: self._note(resumed=True),
            "sm_failed": lambda _: self._note(broken=True),
        }.items():
            self.add_event_handler(event, handler)

    def _direct(self, message) -> None:
        if message["type"] == "error":
            self.book.nameless.append(f"error {message['error']['condition']} for {message['body']}")
        else:
            self._note_live(message)

    def _note_live(self, message) -> None:
        if message["body"] == "":  # a Carbon with the message two elements further in
            message = message["forwarded"]["stanza"]
        body = message["body"]
        ids = [e.get("id") for e in message.xml.findall(SID) if e.get("by") == self.book.owner]
        if len(ids) != 1:
            self.book.nameless.append(f"{len(ids)} ids at {body}")
            return
        if ids[0] in self.book.live or message["id"] in self.book.own:
            self.book.twice.append(body)
        self.book.live.add(ids[0])
        if self.late is None:
            self.book.lines.setdefault(ids[0], body)
        else:
            self.late.append((ids[0], body))

    async def come(self) -> None:
        """Logs in; asks for what came since the last message that it knows of; then shows what came meanwhile."""
        last = next(reversed(self.book.lines), None)
        self.late = []
        await self.login(presence=False)
        await until(lambda: self.managed, f"stream management of {self.boundjid.full}")
        await self["xep_0280"].enable(timeout=ANSWER_SECONDS)
        self.send_presence()
        for name, origin, body in await self.archive(last):
            if origin not in self.book.own:
                self.book.lines.setdefault(name, body)
        for name, body in self.late:
            self.book.lines.setdefault(name, body)
        self.late = None

    async def archive(self, after: str | None = None) -> list[tuple[str, str, str]]:
        """The messages of the own archive behind this one, by pages: id there, id of its sender, body."""
        found: list[tuple[str, str, str]] = []
        while True:
            page: list[tuple[str, str, str]] = []
            rsm = {"max": PAGE} | ({"after": after} if after else {})
            answer = await self["xep_0313"].retrieve(rsm=rsm, timeout=ANSWER_SECONDS)
            for result in answer["mam"]["results"]:
                message = result["mam_result"]["forwarded"]["stanza"]
                page.append((result["mam_result"]["id"], message["id"], message["body"]))
            found += page
            if answer["mam_fin"]["complete"] or not page:
                return found
            after = answer["mam_fin"]["rsm"]["last"]

    async def say(self, to: str, count: int = BURST) -> None:
        for _ in range(count):
            message = self.make_message(to, self.book.next_body(), mtype="chat")
            self.book.own[message["id"]] = message["body"]
            message.send()
            await asyncio.sleep(0)  # others have their turn: the senders interleave
        # slixmpp forgets what it has not handed to the connection when that ends.
        await asyncio.wait_for(self.waiting_queue.join(), ANSWER_SECONDS)

    def send_raw(self, data: str | bytes) -> None:
        if not self.lossy:
            super().send_raw(data)

    def fade(self, *, reads: bool, writes: bool) -> None:
        """The network goes: what comes is not read any more, what is written does not arrive."""
        if not reads:
            self.transport.pause_reading()
        self.lossy = not writes

    async def cut(self) -> None:
        """The connection is gone, without a word; what is unread is lost with it."""
        self.transport.abort()
        self.lossy = False
        await until(lambda: self.gone, f"end of the connection of {self.boundjid.full}")

    async def resume(self) -> None:
        self.gone = self.resumed = self.broken = False
        self.connect(self.under_test.address, self.under_test.direct_port if self.direct else self.under_test.port)
        await until(lambda: self.resumed or self.broken or self.problem, f"resumption of {self.boundjid.full}")
        if not self.resumed:
            raise AssertionError(self.problem or "the server knew the stream no more")

    async def acknowledged(self) -> None:
        """What it sent is all acknowledged (XEP-0198 section 4)."""
        self["xep_0198"].request_ack()
        await until(lambda: not self["xep_0198"].unacked_queue, f"<a/> for all of {self.boundjid.full}")

    async def leave(self) -> None:
        await self.acknowledged()
        await self.logout()


async def run(server: Server, checks: Checks, _folder: Path) -> None:
    for direct in (False, True):
        group = checks.group(f"history {'direct TLS' if direct else 'STARTTLS'}")
        story = Story(server, group, direct)
        try:
            await story.tell()
        except Failed:
            pass
        finally:
            for device in story.all:
                device.close()


class Story:
    def __init__(self, server: Server, check: Group, direct: bool):
        self.server = server
        self.check = check
        self.direct = direct
        self.all: list[Device] = []
        self.books: list[Book] = []

    async def tell(self) -> None:
        end = "direct" if self.direct else "starttls"
        anna, bert = [await self.server.add_account(f"{who}-history-{end}") for who in ("anna", "bert")]
        self.books = [Book(jid, place) for jid, _ in (anna, bert) for place in ("desk", "phone")]
        passwords = dict((anna, bert))

        async def come(*books: Book) -> list[Device]:
            devices = [Device(self.server, (b.owner, passwords[b.owner]), b, direct=self.direct) for b in books]
            self.all += devices
            await asyncio.gather(*(device.come() for device in devices))
            return devices

        def other(device: Device) -> str:
            return bert[0] if device.bare == anna[0] else anna[0]

        async def talk(*devices: Device, heard_by: tuple[Device, ...] = ()) -> None:
            await asyncio.gather(*(device.say(other(device)) for device in devices))
            await self.heard(*(heard_by or devices), of=None if heard_by else devices)

        step = self.check.step
        desk, phone, bert_desk, bert_phone = await step("two devices of two people log in", come(*self.books))
        await step("all four write at once, all four see it", talk(desk, phone, bert_desk, bert_phone))

        async def away_and_back() -> None:
            await phone.leave()
            await talk(desk, bert_desk, bert_phone)

        async def catch_up() -> Device:
            # While it asks for what it missed, the others go on.
            (device,), _ = await asyncio.gather(come(self.books[1]), talk(desk, bert_phone, bert_desk))
            await self.heard(device)
            return device

        await step("a device leaves, the others go on", away_and_back())
        phone = await step("it comes back while they write, and catches up", catch_up())

        async def cut(device: Device, others: tuple[Device, ...]) -> None:
            # What others write reaches its socket and no further, nor does `<a/>` for what it writes: this arrives first,
            # then not even this.
            device.fade(reads=False, writes=True)
            await talk(*others)
            await device.say(other(device))
            device.fade(reads=False, writes=False)
            await device.say(other(device))
            await device.cut()
            await talk(*others)

        async def resume(device: Device, others: tuple[Device, ...]) -> None:
            await asyncio.gather(talk(*others), device.resume())
            await talk(device, heard_by=(device, *others))

        rest = (phone, bert_desk, bert_phone)
        await step("a device is cut off in both directions", cut(desk, rest))
        await step("it resumes its stream while the others write", resume(desk, rest))
        rest = (desk, phone, bert_desk)
        await step("the same to a device of the other", cut(bert_phone, rest))
        await step("it resumes as well", resume(bert_phone, rest))

        async def nobody_home() -> None:
            await asyncio.gather(desk.leave(), phone.leave())
            await talk(bert_desk, bert_phone)

        async def both_back() -> tuple[Device, Device]:
            first, *_ = await come(self.books[0])
            await talk(bert_desk, bert_phone, heard_by=(first, bert_desk, bert_phone))
            second, *_ = await come(self.books[1])
            await talk(first, second, bert_desk, bert_phone)
            return first, second

        await step("one is away with both devices, the other writes", nobody_home())
        desk, phone = await step("both come back, one after the other", both_back())
        await self.compare((desk, phone, bert_desk, bert_phone))

    async def heard(self, *devices: Device, of: tuple[Device, ...] | None = None) -> None:
        """Waits until each of these has all that was sent so far, by whomever or by those."""
        books = self.books if of is None else [device.book for device in of]
        sent = {body for book in books for body in book.own.values()}
        for device in devices:
            where = f"all {len(sent)} messages at {device.boundjid.full}"
            try:
                await until(lambda: sent <= device.book.bodies(), where)
            except TimeoutError as error:
                raise TimeoutError(f"{error}; missing {sorted(sent - device.book.bodies())}") from error

    async def compare(self, devices: tuple[Device, ...]) -> None:
        expect, same = self.check.expect, self.check.same
        for device in devices:
            await self.check.step(f"all that {name(device)} sent is acknowledged", device.acknowledged())
        archives = [await self.check.step(f"{name(d)} reads the archive", d.archive()) for d in devices]
        sent = sorted(body for book in self.books for body in book.own.values())
        bodies = [[body for _, _, body in archive] for archive in archives]
        same(f"the archive has what was sent, {len(sent)} messages, each once", sorted(bodies[0]), sent)
        for device, archive, texts in zip(devices, archives, bodies, strict=True):
            book = device.book
            same(f"the archive read by {name(device)} is the same", texts, bodies[0])
            others = {identity: body for identity, origin, body in archive if origin not in book.own}
            mine = [body for _, origin, body in archive if origin in book.own]
            # Of what came live, as a carbon and by catching up: the same ids, in the same order.
            same(f"what {name(device)} has shown is the archive", list(book.lines.items()), list(others.items()))
            same(f"what {name(device)} has written stands there as written", mine, list(book.own.values()))
            expect(f"nothing came twice to {name(device)}", not book.twice, f"twice: {book.twice}")
            expect(f"all that came to {name(device)} has its id", not book.nameless, str(book.nameless))


def name(device: Device) -> str:
    return f"{device.bare.partition('-')[0]}'s {device.book.place}"
