"""HAProxy and nginx before the server, by the examples that the manual points to: people log in, addresses are told."""

import asyncio
import base64
import shutil
import socket
import ssl
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from checks import Checks, Failed, Group, until
from peer import Peer
from server import PROXIED_DIRECT_TLS_PORT, PROXIED_STARTTLS_PORT, ROOT, Server, die_with_parent, free_loopback

START_SECONDS = 10.0
ANSWER_SECONDS = 10.0
CLIENT_ADDRESS = "127.0.21.7"  # of somebody whom nothing else here can be taken for
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


@dataclass
class Front:
    """What a client knows of a server behind a proxy."""

    address: str
    port: int
    direct_port: int
    ca_file: Path
    domain: str


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if server.name != "jackdaw":
        return
    for proxy, start in ("haproxy", haproxy), ("nginx", nginx):
        check = checks.group(proxy)
        front = Front(free_loopback(), server.port, server.direct_port, server.ca_file, server.domain)
        process = None
        people: list[Peer] = []
        try:
            process = await check.step("starts with the example", started(start, server, front, folder))
            account = await server.add_account(proxy)
            for direct in (False, True):
                people.append(Peer(front, account, direct=direct))
                await check.step(f"login over {'direct TLS' if direct else 'STARTTLS'}", people[-1].login())
            await check.step("the address of the client is told", told(server, front, account[0]))
        except Failed:
            pass
        finally:
            for peer in people:
                peer.close()
            if process is not None:
                process.terminate()
                await asyncio.to_thread(process.wait, START_SECONDS)


def example(name: str, server: Server, front: Front, old: str, new: str) -> str:
    """The example, with the addresses of this run. `old`, `new`: how it says to listen."""
    text = (ROOT / "examples" / name).read_text()
    for port, behind in (front.port, PROXIED_STARTTLS_PORT), (front.direct_port, PROXIED_DIRECT_TLS_PORT):
        for there, here in (
            (old.format(port=port), new.format(address=front.address, port=port)),
            (f"127.0.0.1:{behind}", f"{server.address}:{behind}"),
        ):
            if text.count(there) != 1:
                raise AssertionError(f"{name} has no {there}")
            text = text.replace(there, here)
    return text


def haproxy(server: Server, front: Front, folder: Path) -> list[str]:
    config = folder / "haproxy.cfg"
    config.write_text(example("haproxy.cfg", server, front, "bind :::{port} v4v6", "bind {address}:{port}"))
    return [program("haproxy"), "-db", "-f", str(config)]


def nginx(server: Server, front: Front, folder: Path) -> list[str]:
    config = folder / "nginx.conf"
    text = example("nginx-stream.conf", server, front, "listen [::]:{port} ipv6only=off", "listen {address}:{port}")
    # What Debian's nginx.conf has around it.
    config.write_text(
        f"load_module {STREAM_MODULE};\npid {folder}/nginx.pid;\ndaemon off;\nmaster_process off;\nevents {{}}\n{text}"
    )
    return [program("nginx"), "-c", str(config), "-e", str(folder / "nginx.log")]


def program(name: str) -> str:
    return shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or name


async def started(command, server: Server, front: Front, folder: Path) -> subprocess.Popen:
    with (folder / f"{command.__name__}.out.log").open("wb") as log:
        process = subprocess.Popen(
            command(server, front, folder), stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent
        )

    def listens() -> bool:
        if process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}: {Path(log.name).read_text()[-500:]}")
        with socket.socket() as probe:
            return probe.connect_ex((front.address, front.direct_port)) == 0

    await until(listens, "the port of the proxy", START_SECONDS)
    return process


async def told(server: Server, front: Front, jid: str) -> None:
    line = f"a login failed address={CLIENT_ADDRESS} account={jid}"
    await asyncio.to_thread(fail_to_log_in, front, jid)
    await until(lambda: line in server.log.read_text(errors="replace"), line)


def fail_to_log_in(front: Front, jid: str) -> None:
    """A wrong password, from an address that slixmpp can't be told to have."""
    context = ssl.create_default_context(cafile=front.ca_file)
    source = (CLIENT_ADDRESS, 0)
    plain = base64.b64encode(f"\0{jid.split('@')[0]}\0wrong".encode()).decode()
    with (
        socket.create_connection((front.address, front.direct_port), ANSWER_SECONDS, source_address=source) as raw,
        context.wrap_socket(raw, server_hostname=front.domain) as stream,
    ):
        stream.sendall(
            f"<stream:stream to='{front.domain}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
            f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>".encode()
        )
        came = b""
        deadline = time.monotonic() + ANSWER_SECONDS
        while b"</failure>" not in came and time.monotonic() < deadline:
            if not (part := stream.recv(4096)):
                break
            came += part
        if b"<not-authorized" not in came:
            raise AssertionError(f"not refused: {came[-300:]!r}")
