"""@xmpp/client over WebSocket: SASL2 with Bind 2 and a token, chat, a connection that breaks and is resumed."""

import asyncio
import json
import os
import secrets
import shutil
from pathlib import Path

from checks import Checks, Failed, Group
from server import ROOT, Server, die_with_parent

PACKAGES = ROOT / ".cache" / "interop-node"  # made by `cargo xtask test`
SCRIPTS = ROOT / "tests" / "interop" / "web"
LINE_BYTES = 1 << 20  # the most that a line from a script has
END_SECONDS = 5.0  # in which a script that is asked to ends what it has started


class Script:
    """A script of Node.js that prints a line of JSON for each step it has done, or for each that it was told to do."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str] | None = None):
        self.source = SCRIPTS / name
        self.log = folder / "node.log"
        self.environment = os.environ | (environment or {})
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *words: str) -> None:
        # Modules are looked for beside the script. Another may just be reading them, so each is there whole.
        for source in SCRIPTS.glob("*.mjs"):
            new = PACKAGES / f"{source.name}.{secrets.token_hex(4)}"
            shutil.copyfile(source, new)
            new.replace(PACKAGES / source.name)
        with self.log.open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                "node", str(PACKAGES / self.source.name), *words, env=self.environment, preexec_fn=die_with_parent,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, limit=LINE_BYTES,
            )  # fmt: skip

    async def step(self, name: str) -> dict:
        line = await self.process.stdout.readline()
        told = json.loads(line) if line else {"step": "the end of the script"}
        if told["step"] != name:
            raise RuntimeError(f"{told['step']} instead")
        return told

    async def do(self, what: str, **values):
        """For a script that is told what to do: tells it, and gives back its reply."""
        self.process.stdin.write((json.dumps({"do": what, **values}) + "\n").encode())
        line = await self.process.stdout.readline()
        told = json.loads(line) if line else {"error": "it has ended"}
        if "error" in told:
            raise RuntimeError(f"{what}: {told['error']}")
        return told["reply"]

    async def stop(self) -> None:
        if self.process is None:
            return
        if self.process.returncode is None:
            self.process.terminate()
            try:
                await asyncio.wait_for(self.process.wait(), END_SECONDS)
            except TimeoutError:
                self.process.kill()
        await self.process.wait()


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if server.https_port is None:
        return  # this server has no WebSocket here
    group = checks.group("@xmpp/client WebSocket")
    people = [await server.add_account(f"web-{name}") for name in ("juliet", "romeo")]
    words = [word for jid, password in people for word in (jid.split("@")[0], password)]
    service = f"wss://{server.address}:{server.https_port}/xmpp-websocket"
    script = Script("xmppjs.mjs", folder)
    try:
        await script.start(service, server.domain, str(server.ca_file), *words)
        await conversation(group, script, people[0][0])
    except Failed:
        pass
    finally:
        await script.stop()


async def conversation(check: Group, script: Script, juliet: str) -> None:
    login = await check.step("logs in", script.step("login"))
    check.expect("by SASL2 with SCRAM", login["mechanism"] == "SCRAM-SHA-1", str(login))
    check.expect("has a resource by Bind 2", login["jid"].startswith(f"{juliet}/"), str(login))
    await check.step("chats", script.step("chat"))
    again = await check.step("comes back when the line breaks", script.step("resumed"))
    check.expect("with its token", again["mechanism"] == "HT-SHA-256-NONE", str(again))
    check.expect("its stream is resumed", again["resumed"] is True, str(again))
    check.same("every message came once", again["bodies"], ["from romeo", "meanwhile"])
    await check.step("leaves", script.step("end"))
