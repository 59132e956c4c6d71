#!/usr/bin/env python3
"""What federation costs: CPU for a message from one server to another, and memory of a link that does nothing.

    federation_bench.py [--jackdaw PATH] [--kinds jackdaw,prosody,ejabberd] [--pairs N] [--seconds S] [--links N]

`cargo xtask bench federation` builds what it needs and runs it, as root. For each kind of server two of it stand on a
network of their own (federation_net.py), archives on, and pairs of clients, the one here and the other there, write as fast as
it goes with a window of 32 messages. Then one of that kind stands against a Jackdaw that has many domains, and sends a message
to each, which comes back as there is nobody: so there is a link for both directions, and then it is quiet.

Figures are CPU (user and system) of both servers together for a message, and the growth of the proportional set of the one for
a link.
"""

import argparse
import asyncio
import base64
import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from federation_net import Dns, Net, inside, may
from federation_servers import Federated, FederatedEjabberd, FederatedJackdaw, FederatedProsody
from server import ROOT

PACKAGES = ("knot", "iproute2", "prosody", "lua-unbound", "lua-dbi-sqlite3", "ejabberd", "erlang-p1-sqlite3")
WINDOW = 32
BODY = "I would rather be a jackdaw than sit still, said the one on the chimney."[:64]
WARM = 300  # messages of a pair before it counts
TICKS = os.sysconf("SC_CLK_TCK")
CALM_SECONDS = 2.0
END = b"</message>"
MANY = "many.example"


class Client(asyncio.Protocol):
    """Bytes out, and a count of messages in."""

    def __init__(self) -> None:
        self.text = b""
        self.messages = 0
        self.more = asyncio.Event()
        self.counting = False
        self.transport: asyncio.Transport

    def connection_made(self, transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.text += data
        if self.counting:
            self.messages += self.text.count(END)
            # The rest may be the beginning of the next end.
            self.text = self.text[self.text.rfind(END) + len(END) if END in self.text else 0:][-4096:]
        self.more.set()

    def connection_lost(self, error) -> None:
        self.text = b"</stream:stream>"
        self.more.set()

    async def ask(self, text: str, answer: str) -> str:
        self.text = b""
        self.transport.write(text.encode())
        while answer.encode() not in self.text:
            if b"</stream:stream>" in self.text or b"<failure" in self.text:
                raise RuntimeError(f"{text[:60]}: {self.text[-300:]!r}")
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), 30)
        return self.text.decode()

    async def reach(self, count: int) -> None:
        while self.messages < count:
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), 30)


async def login(server: Federated, account: tuple[str, str]) -> Client:
    jid, password = account
    local, domain = jid.split("@")
    context = ssl.create_default_context(cafile=server.ca_file)
    context.set_alpn_protocols(["xmpp-client"])
    _, client = await asyncio.get_running_loop().create_connection(
        Client, server.address, server.direct_port, ssl=context, server_hostname=domain
    )
    header = f"<stream:stream to='{domain}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
    token = base64.b64encode(f"\0{local}\0{password}".encode()).decode()
    await client.ask(header, "</stream:features>")
    await client.ask(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>", "<success")
    await client.ask(header, "</stream:features>")
    await client.ask("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind></iq>", "</iq>")
    await client.ask("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>", "<iq")
    await client.ask(f"<presence/><iq type='get' id='p' to='{domain}'><ping xmlns='urn:xmpp:ping'/></iq>", "<iq")
    client.text, client.counting = b"", True
    return client


def cpu(server: Federated) -> float:
    assert server.process is not None  # it runs
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(server: Federated) -> int:
    """The proportional set, in kB."""
    assert server.process is not None  # it runs
    for line in Path(f"/proc/{server.process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError("no Pss")


class World:
    def __init__(self, folder: Path, net: Net, dns: Dns, binary: Path):
        self.folder, self.net, self.dns, self.binary = folder, net, dns, binary
        self.servers: dict[str, Federated] = {}

    def make(self, kind: str, name: str, domains: tuple[str, ...] = ()) -> Federated:
        place, home, domain = self.net.place(name), self.folder / name, f"{name}.example"
        match kind:
            case "prosody":
                server = FederatedProsody(home, domain, place, self.dns.anchor)
            case "ejabberd":
                server = FederatedEjabberd(home, domain, place)
            case _:
                server = FederatedJackdaw(home, self.binary, domain, place, self.dns.anchor)
        server.measured = True
        if name == "many":
            server.more_domains = domains
            server.more_names = (f"*.{domain}",)
        server.set_up(self.folder / "certificates", self.dns)
        self.servers[name] = server
        return server


async def pump(writer: Client, reader: Client, to: str, seconds: float | None, count: int = 0) -> int:
    """Messages for so long, or so many."""
    sent, start, end = 0, reader.messages, time.monotonic() + (seconds or 3600)
    while (time.monotonic() < end) if seconds else (sent < count):
        room = WINDOW - (sent - (reader.messages - start))
        if room > 0:
            writer.transport.write(
                "".join(f"<message to='{to}' type='chat' id='m{sent + i}'><body>{BODY}</body></message>" for i in range(room)).encode()
            )
            sent += room
        await reader.reach(start + sent - WINDOW + 1)
    await reader.reach(start + sent)
    return sent


async def messages(kind: str, here: Federated, there: Federated, pairs: int, seconds: float) -> None:
    writers = [await login(here, await here.add_account(f"w{i}")) for i in range(pairs)]
    accounts = [await there.add_account(f"r{i}") for i in range(pairs)]
    readers = [await login(there, account) for account in accounts]
    ends = [(w, r, account[0]) for w, r, account in zip(writers, readers, accounts, strict=True)]
    await asyncio.gather(*(pump(*end, None, WARM) for end in ends))
    await asyncio.sleep(CALM_SECONDS)
    before, began = (cpu(here), cpu(there)), time.monotonic()
    total = sum(await asyncio.gather(*(pump(*end, seconds) for end in ends)))
    took = time.monotonic() - began
    spent = (cpu(here) - before[0], cpu(there) - before[1])
    if back := sum(writer.messages for writer in writers):
        raise RuntimeError(f"{back} messages came back")
    print(
        f"{kind:10} {sum(spent) / total * 1e6:8.1f} µs CPU a message ({spent[0] / total * 1e6:.1f} where it is sent, "
        f"{spent[1] / total * 1e6:.1f} where it arrives); {total} messages, {total / took:.0f}/s, {pairs} pairs", flush=True,
    )  # fmt: skip


async def links(kind: str, server: Federated, count: int) -> None:
    client = await login(server, await server.add_account("many"))
    client.counting = True
    base = 0

    async def reach(numbers: range) -> None:
        done = client.messages + len(numbers)
        for number in numbers:
            client.transport.write(f"<message to='nobody@d{number}.{MANY}' type='chat' id='l{number}'><body>?</body></message>".encode())
            if number % 20 == 19:
                await client.reach(done - len(numbers) + (number - numbers.start) - 18)
        await client.reach(done)
        await asyncio.sleep(CALM_SECONDS)

    await reach(range(0, 50))
    base = memory(server)
    await reach(range(50, 50 + count // 2))
    half = memory(server)
    await reach(range(50 + count // 2, 50 + count))
    full = memory(server)
    before = cpu(server)
    await asyncio.sleep(5)
    idle = (cpu(server) - before) / 5 * 1000
    print(
        f"{kind:10} {(full - base) / count:8.1f} kB a link that does nothing (the second half {(full - half) / (count - count // 2):.1f}); "
        f"{count} links, {base / 1024:.1f} MB before, {idle:.1f} ms CPU a second", flush=True,
    )  # fmt: skip


async def measure(options: argparse.Namespace) -> None:
    net, dns = Net(options.folder), Dns(options.folder / "dns")
    world = World(options.folder, net, dns, options.jackdaw.resolve())
    kinds = options.kinds.split(",")
    for kind in kinds:
        for end in ("here", "there"):
            world.make(kind, f"{kind}-{end}")
    many = world.make("jackdaw", "many", tuple(f"d{number}.{MANY}" for number in range(50 + options.links)))
    for domain in many.more_domains:
        dns.add(f"_xmpp-server._tcp.{domain}. SRV 0 5 5269 xmpp.{many.domain}.")
    dns.start()
    try:
        for kind in kinds:
            here, there = world.servers[f"{kind}-here"], world.servers[f"{kind}-there"]
            for server in (here, there):
                server.start()
            if options.seconds:
                await messages(kind, here, there, options.pairs, options.seconds)
            there.stop()
            if options.links:
                here.stop()
                here.start()
                many.start()
                await links(kind, here, options.links)
                many.stop()
            here.stop()
    finally:
        for server in world.servers.values():
            server.stop()
        dns.stop()


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--jackdaw", type=Path, default=ROOT / "target" / "release" / "jackdaw", metavar="PATH")
    arguments.add_argument("--kinds", default="jackdaw,prosody,ejabberd")
    arguments.add_argument("--pairs", type=int, default=8)
    arguments.add_argument("--seconds", type=float, default=10.0)
    arguments.add_argument("--links", type=int, default=500)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # within the namespaces
    options = arguments.parse_args()
    if options.folder is not None:
        asyncio.run(measure(options))
        return 0
    absent = [name for name in PACKAGES if subprocess.run(["dpkg-query", "--show", name], capture_output=True).returncode]
    if absent:
        print(f"federation_bench: apt-get install --no-install-recommends {' '.join(absent)}", file=sys.stderr)
        return 2
    if reason := may():
        print(f"federation_bench: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="jackdaw-federation-") as folder:
        command = inside([sys.executable, __file__, *sys.argv[1:], "--folder", folder])
        return os.spawnvp(os.P_WAIT, command[0], command)


if __name__ == "__main__":
    sys.exit(main())
