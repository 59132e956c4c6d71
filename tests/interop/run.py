#!/usr/bin/env python3
"""Real clients against the server: prints one line a check and ends with `N passed, N failed`.

    run.py [--server jackdaw|prosody] [--jackdaw PATH] [--only CLIENT,...] [--keep]

`cargo xtask test --only interop` installs what this needs and runs it. The clients run at the same time, each with
accounts of its own, against one server on a loopback address; each has a hard time limit and ends its processes.
"""

import argparse
import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import bookmarks
import browser
import components
import dino
import federation
import gajim
import gajim_history
import history
import invitations
import omemo_chat
import pictures
import profanity
import proxies
import rooms
import slixmpp_chat
import uploads
import web
from checks import Checks
from server import ROOT, STOP_SECONDS, Jackdaw, Prosody, Server, die_with_parent

CLIENTS = {
    "slixmpp": slixmpp_chat.run, "history": history.run, "profanity": profanity.run, "gajim": gajim.run,
    "gajim-history": gajim_history.run, "dino": dino.run, "web": web.run, "browser": browser.run, "proxies": proxies.run,
    "omemo": omemo_chat.run, "files": uploads.run, "bookmarks": bookmarks.run,
    "pictures": pictures.run, "invitations": invitations.run, "rooms": rooms.run, "components": components.run, "federation": federation.run,
}  # fmt: skip
CLIENT_SECONDS = 200.0  # one client, both transports
ENDING = (signal.SIGINT, signal.SIGTERM)
KEPT = ROOT / ".cache" / "interop-failed"  # logs of the last run that failed


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--server", choices=("jackdaw", "prosody"), default="jackdaw")
    arguments.add_argument("--jackdaw", type=Path, default=ROOT / "target" / "debug" / "jackdaw", metavar="PATH")
    arguments.add_argument("--only", default=",".join(CLIENTS), help="clients, with commas (default: all)")
    arguments.add_argument("--keep", action="store_true", help="keep the logs even when all passes")
    options = arguments.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(CLIENTS):
        arguments.error(f"no such client: {', '.join(sorted(unknown))}")
    logging.basicConfig(level=logging.CRITICAL)  # slixmpp logs stanzas

    folder = Path(tempfile.mkdtemp(prefix="jackdaw-interop-"))
    folder.chmod(0o711)  # clients that refuse root run as somebody else and must get through
    home = folder / "server"
    home.mkdir(mode=0o711)
    server: Server = Prosody(home) if options.server == "prosody" else Jackdaw(home, options.jackdaw.resolve())
    checks = Checks()
    die_with_parent()  # by a TERM, which ends all as a Ctrl-C does: through every finally
    try:
        asyncio.run(drive(server, checks, folder, chosen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        checks.record("run", "interrupted")
    finally:
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)
        server.stop()
        if checks.failed or options.keep:
            keep(folder)
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    return 1 if checks.failed or not checks.passed else 0


async def drive(server: Server, checks: Checks, folder: Path, chosen: list[str]) -> None:
    task = asyncio.current_task()
    for number in ENDING:
        # Once: a Ctrl-C and then the end of the parent must not break into the cleaning up.
        asyncio.get_running_loop().add_signal_handler(number, lambda: task.cancelling() or task.cancel())
    try:
        server.start()  # on the main thread, with which the server is to die
    except Exception as error:
        checks.record(f"{server.name} starts", str(error))
        return
    checks.record(f"{server.name} starts and listens on {server.address}")
    await asyncio.gather(*(one(name, server, checks, folder) for name in chosen))
    alive = server.process is not None and server.process.poll() is None
    code, seconds = await asyncio.to_thread(server.stop)
    clean = alive and code == 0 and seconds < STOP_SECONDS
    checks.record(
        f"{server.name} ran to the end and stops on SIGTERM",
        None if clean else f"running {alive}, exit code {code}", seconds,
    )  # fmt: skip
    panics = [line for line in server.log.read_text(errors="replace").splitlines() if "panicked" in line]
    checks.record(f"{server.name} did not panic", panics[0] if panics else None)


async def one(name: str, server: Server, checks: Checks, folder: Path) -> None:
    scratch = folder / name
    scratch.mkdir(mode=0o711)
    began = time.monotonic()
    try:
        await asyncio.wait_for(CLIENTS[name](server, checks, scratch), CLIENT_SECONDS)
    except TimeoutError:
        checks.record(name, "time limit", time.monotonic() - began)
    except Exception as error:  # a fault of the script counts against the run, and the other clients go on
        checks.record(name, f"{type(error).__name__}: {error}", time.monotonic() - began)


def keep(folder: Path) -> None:
    """Copies the logs and screens; not the accounts, not the keys."""
    shutil.rmtree(KEPT, ignore_errors=True)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".log", ".screen", ".png"):
            target = KEPT / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    print(f"logs: {os.path.relpath(KEPT)}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
