"""@xmpp/client over WebSocket: SASL2 with Bind 2 and a token, chat, a connection that breaks and is resumed."""

import asyncio
import json
import shutil
from pathlib import Path

from checks import Checks, Failed, Group
from server import ROOT, Server, die_with_parent

PACKAGES = ROOT / ".cache" / "interop-node"  # made by `cargo xtask test`
SCRIPT = ROOT / "tests" / "interop" / "web" / "xmppjs.mjs"


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if server.https_port is None:
        return  # this server has no WebSocket here
    group = checks.group("@xmpp/client WebSocket")
    people = [await server.add_account(f"web-{name}") for name in ("juliet", "romeo")]
    words = [word for jid, password in people for word in (jid.split("@")[0], password)]
    # Modules are looked for beside the script.
    script = PACKAGES / SCRIPT.name
    shutil.copyfile(SCRIPT, script)
    service = f"wss://{server.address}:{server.https_port}/xmpp-websocket"
    with (folder / "node.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "node", str(script), service, server.domain, str(server.ca_file), *words,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=log, preexec_fn=die_with_parent,
        )  # fmt: skip
        try:
            await conversation(group, process, people[0][0])
        except Failed:
            pass
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def conversation(check: Group, process: asyncio.subprocess.Process, juliet: str) -> None:
    async def step(name: str) -> dict:
        line = await process.stdout.readline()
        told = json.loads(line) if line else {"step": "the end of the script"}
        if told["step"] != name:
            raise RuntimeError(f"{told['step']} instead")
        return told

    login = await check.step("logs in", step("login"))
    check.expect("by SASL2 with SCRAM", login["mechanism"] == "SCRAM-SHA-1", str(login))
    check.expect("has a resource by Bind 2", login["jid"].startswith(f"{juliet}/"), str(login))
    await check.step("chats", step("chat"))
    again = await check.step("comes back when the line breaks", step("resumed"))
    check.expect("with its token", again["mechanism"] == "HT-SHA-256-NONE", str(again))
    check.expect("its stream is resumed", again["resumed"] is True, str(again))
    check.same("every message came once", again["bodies"], ["from romeo", "meanwhile"])
    await check.step("leaves", step("end"))
