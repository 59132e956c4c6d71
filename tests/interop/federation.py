"""Jackdaw and other servers, each with clients of its own: another Jackdaw, Debian's Prosody, Debian's ejabberd.

They find each other by a DNS of the tests (signed), and trust one authority for certificates; the other Jackdaw signs its
certificate itself, which the DNS makes good (DANE). All of it stands on a network of its own (federation_net.py), so this
file runs itself anew in there and counts what that prints.

To look at one thing: FEDERATION_PAIRS=jackdaw-prosody,prosody-ejabberd (any two), FEDERATION_PARTS=rooms,histories,
FEDERATION_CUT=30 (seconds), FEDERATION_LOG=debug.
"""

import argparse
import asyncio
import logging
import os
import sys
import time
from pathlib import Path

import federation_net
import federation_servers
import federation_strangers
from checks import Checks, Failed
from federation_net import Dns, Net
from federation_servers import Federated, FederatedEjabberd, FederatedJackdaw, FederatedProsody
from federation_story import Story
from server import STOP_SECONDS, Jackdaw, Server, die_with_parent

PAIRS = "jackdaw-rook,jackdaw-prosody,jackdaw-ejabberd"
CUT_SECONDS = "30"


async def run(server: Server, checks: Checks, folder: Path) -> None:
    """Starts all this in namespaces of its own."""
    if not isinstance(server, Jackdaw):
        return
    if missing := federation_net.missing(federation_net.PROGRAMS | federation_servers.PROGRAMS):
        checks.record("federation", f"not installed: apt-get install {' '.join(missing)}")
        return
    if reason := federation_net.may():
        print(f"skip  federation: {reason}", flush=True)
        return
    command = [sys.executable, __file__, "--folder", str(folder / "world"), "--jackdaw", str(server.binary)]
    process = await asyncio.create_subprocess_exec(
        *federation_net.inside(command), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        preexec_fn=die_with_parent,
    )  # fmt: skip
    try:
        assert process.stdout is not None  # asked for above
        counted = 0
        async for line in process.stdout:
            text = line.decode(errors="replace").rstrip("\n")
            print(text, flush=True)
            checks.passed += text.startswith("ok    ")
            checks.failed += text.startswith("FAIL  ")
            counted += 1
        if await process.wait() != 0 or not counted:
            checks.record("federation", f"ended with {process.returncode}")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def world(folder: Path, binary: Path, checks: Checks) -> None:
    folder.mkdir(mode=0o711)
    pairs = [pair.split("-") for pair in os.environ.get("FEDERATION_PAIRS", PAIRS).split(",")]
    wanted = list(dict.fromkeys(name for pair in pairs for name in pair))
    began = time.monotonic()
    net, dns = Net(folder), Dns(folder / "dns")
    servers = {name: make(name, net, dns, folder, binary) for name in wanted}
    if rook := servers.get("rook"):
        rook.more_domains = federation_strangers.DOMAINS
    for server in servers.values():
        server.set_up(folder / "certificates", dns)
    federation_strangers.set_up(servers.get("rook"), dns)
    dns.start()
    checks.record("federation: knot signs and answers", None, time.monotonic() - began)
    try:
        await asyncio.gather(*(starts(server, checks) for server in servers.values()))
        cut = float(os.environ.get("FEDERATION_CUT", CUT_SECONDS))
        stories = [Story(checks, net, servers[near], servers[far], cut) for near, far in pairs]
        strangers = [federation_strangers.tell(checks, servers["jackdaw"])] if {"jackdaw", "rook"} <= servers.keys() else []
        await asyncio.gather(*(story.tell() for story in stories), *strangers)
        for server in servers.values():
            await ends(server, checks)
    except Failed:
        pass
    finally:
        for server in servers.values():
            server.stop()
        dns.stop()


def make(name: str, net: Net, dns: Dns, folder: Path, binary: Path) -> Federated:
    place, home, domain = net.place(name), folder / name, f"{name}.example"
    match name:
        case "prosody":
            return FederatedProsody(home, domain, place, dns.anchor)
        case "ejabberd":
            return FederatedEjabberd(home, domain, place)
        case _:
            return FederatedJackdaw(home, binary, domain, place, dns.anchor, self_signed=name == "rook")


async def starts(server: Federated, checks: Checks) -> None:
    await checks.group("federation").step(f"{server.place.name} starts", asyncio.to_thread(server.start), server.start_seconds + 5)


async def ends(server: Federated, checks: Checks) -> None:
    if not isinstance(server, Jackdaw):
        return
    server.why()
    alive = server.process is not None and server.process.poll() is None
    code, seconds = await asyncio.to_thread(server.stop)
    good = alive and code == 0 and seconds < STOP_SECONDS
    name = f"federation: {server.place.name}"
    checks.record(f"{name} ran to the end and stops", None if good else f"running {alive}, exit code {code}", seconds)
    panics = [line for line in server.log.read_text(errors="replace").splitlines() if "panicked" in line]
    checks.record(f"{name} did not panic", panics[0] if panics else None)


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--jackdaw", type=Path, required=True)
    options = arguments.parse_args()
    logging.basicConfig(level=logging.CRITICAL)
    checks = Checks()
    asyncio.run(world(options.folder, options.jackdaw, checks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
