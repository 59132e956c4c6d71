"""Strophe.js over BOSH, Converse.js over WebSocket and BOSH, in headless Chromium."""

from pathlib import Path

from checks import Checks, Failed, Group
from server import Server
from web import Script


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if server.https_port is None:
        return  # this server has neither WebSocket nor BOSH here
    people = [await server.add_account(f"browser-{name}") for name in ("juliet", "romeo")]
    words = [word for jid, password in people for word in (jid.split("@")[0], password)]
    host = f"{server.domain}:{server.https_port}"
    # The browser's profile is made in the folder, which goes at the end of the run.
    script = Script("browser.mjs", folder, {"TMPDIR": str(folder)})
    try:
        await script.start(f"https://{host}/http-bind", f"wss://{host}/xmpp-websocket", server.domain, server.address, *words)
        await strophe(checks.group("Strophe.js BOSH"), script)
        for transport in ("WebSocket", "BOSH"):
            await converse(checks.group(f"Converse.js {transport}"), script, transport)
        chromium = checks.group("Chromium")
        end = await chromium.step("ends", script.step("end"))
        chromium.same("every message came once", end["bodies"], end["wanted"])
    except Failed:
        pass
    finally:
        await script.stop()


async def strophe(check: Group, script: Script) -> None:
    refused = await check.step("a wrong password is AUTHFAIL", script.step("refused"))
    check.expect("a wrong password does not connect", "CONNECTED" not in refused["statuses"], str(refused))
    login = await check.step("logs in", script.step("login"))
    scram = all((name or "").startswith("SCRAM-SHA-") for name in login["mechanisms"])
    check.expect("by SCRAM", scram, str(login))
    await check.step("two subscribe and see each other", script.step("presence"))
    roster = await check.step("gets the roster", script.step("roster"))
    check.same("the roster has the other", roster["items"], roster["wanted"])
    await check.step("chats", script.step("chat"))
    await check.step("disconnects, and the other sees it", script.step("disconnect"))
    guests = await check.step("guests come in and chat", script.step("guests"))
    names = {jid.split("/")[0] for jid in guests["jids"]}
    check.expect("each with a name of its own", len(names) == 2, str(guests))


async def converse(check: Group, script: Script, transport: str) -> None:
    login = await check.step("logs in", script.step(f"{transport} login"))
    check.expect("over this transport", login["service"] == login["wanted"], str(login))
    await check.step("shows a contact online", script.step(f"{transport} contact"))
    await check.step("shows a message", script.step(f"{transport} receives"))
    await check.step("sends a message", script.step(f"{transport} sends"))
