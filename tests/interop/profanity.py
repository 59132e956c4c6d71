"""Profanity (Debian) in a pseudo-terminal: logs in over both transports, adds a contact, chats, finds what waited.

The other end is a slixmpp peer. Profanity names direct TLS `legacy`; it knows the CA by `/tls certpath`.
"""

import os
import shutil
import subprocess
from pathlib import Path

from checks import Checks, Failed, Group
from peer import Peer
from server import Server
from terminal import Terminal


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if shutil.which("profanity") is None:
        checks.record("profanity", "not installed: apt-get install profanity")
        return
    for direct in (False, True):
        group = checks.group(f"profanity {'direct TLS' if direct else 'STARTTLS'}")
        home = folder / ("direct" if direct else "starttls")
        terminal = Terminal(home)
        people: list[Peer] = []
        try:
            await chat(server, group, direct, terminal, people)
        except Failed:
            terminal.dump()
        finally:
            await terminal.stop()
            for peer in people:
                peer.close()


async def chat(server: Server, check: Group, direct: bool, terminal: Terminal, people: list[Peer]) -> None:
    end = "direct" if direct else "starttls"
    account = await server.add_account(f"prof-{end}")
    friend = await server.add_account(f"friend-prof-{end}")
    peer = Peer(server, friend)
    people.append(peer)
    await peer.login()
    terminal.folder.mkdir()
    prepare(terminal.folder)
    port = server.direct_port if direct else server.port
    tls = "legacy" if direct else "force"
    connect = f"/connect {account[0]} server {server.address} port {port} tls {tls}"

    async def start() -> None:
        await terminal.start(shutil.which("profanity"), env=environment(terminal.folder))
        await terminal.shows("Profanity. Type /help")

    await check.step("starts", start())

    # Nothing tells it of the CA yet: it must ask, not go on.
    async def unknown_ca() -> None:
        await terminal.type(connect)
        await terminal.shows("Enter password")
        await terminal.type(account[1])
        await terminal.shows("/tls deny")
        await terminal.type("/tls deny")
        await terminal.shows("failed", "denied", "Could not")
        if "logged in" in terminal.text():
            raise AssertionError("it logged in all the same")
        await terminal.type("/clear")

    await check.step("certificate of an unknown CA refused", unknown_ca())

    authorities = terminal.folder / "authorities"
    authorities.mkdir()
    shutil.copy(server.ca_file, authorities / "ca.pem")
    subprocess.run(["openssl", "rehash", authorities], check=True)

    async def login(password: str = account[1], answer: str = "logged in successfully") -> None:
        await terminal.type("/clear")
        await terminal.type(connect)
        await terminal.shows("Enter password")
        await terminal.type(password)
        await terminal.shows(answer)

    async def wrong_password() -> None:
        await terminal.type(f"/tls certpath set {authorities}")
        await login(account[1] + "x", "Login failed")

    await check.step("wrong password refused", wrong_password())
    await check.step("logs in, certificate verified", login())

    async def befriend() -> None:
        await terminal.type(f"/roster add {peer.bare}")
        await terminal.type(f"/sub request {peer.bare}")
        # The peer approves and asks back; Profanity's user says yes.
        await terminal.shows(f"authorization request from {peer.bare}")
        await terminal.type(f"/sub allow {peer.bare}")
        await peer.subscription(account[0], "both")

    await check.step("contact added, subscription both", befriend())
    await check.step("its presence seen by the contact", peer.saw(account[0], "available"))

    async def contact_seen() -> None:
        peer.send_presence(pshow="dnd", pstatus="reading")
        await terminal.shows("reading")

    await check.step("presence of the contact seen", contact_seen())

    async def away() -> None:
        await terminal.type('/status set away "out"')
        await peer.saw(account[0], "away")

    await check.step("its change of presence seen", away())

    async def to_contact() -> None:
        await terminal.type(f"/msg {peer.bare} hello from the terminal")
        await peer.got_message(account[0], "hello from the terminal")

    await check.step("message to the contact", to_contact())

    async def from_contact() -> None:
        peer.send_message(account[0], "hello terminal", mtype="chat")
        await terminal.shows("hello terminal")  # /msg has opened the chat's window

    await check.step("message from the contact", from_contact())

    async def leaves() -> None:
        await terminal.type("/disconnect")
        await peer.saw(account[0], "unavailable")

    await check.step("disconnects, which the contact sees", leaves())

    async def offline() -> None:
        peer.send_message(account[0], "while you were away", mtype="chat")
        await peer["xep_0199"].ping(server.domain, timeout=10)  # answered after the message was taken
        await login()
        await terminal.type(f"/msg {peer.bare}")
        await terminal.shows("while you were away")

    await check.step("offline message received after the next login", offline())

    async def roster() -> None:
        await terminal.type("/win 1")
        await terminal.type("/clear")
        await terminal.type("/roster")
        await terminal.shows(peer.bare)

    await check.step("roster after reconnect has the contact", roster())


def environment(home: Path) -> dict[str, str]:
    return {
        "HOME": str(home), "XDG_CONFIG_HOME": f"{home}/config", "XDG_DATA_HOME": f"{home}/share",
        "PATH": os.environ["PATH"], "LANG": "C.UTF-8",
    }  # fmt: skip


def prepare(home: Path) -> None:
    """Settings that keep the screen quiet: no tips, no wizard, no splash, chat windows for what comes in."""
    config = home / "config" / "profanity"
    config.mkdir(parents=True)
    (home / "share" / "profanity").mkdir(parents=True)
    (config / "profrc").write_text(
        "[ui]\nsplash=false\nonline.start=false\nroster=false\nprivileges=false\n"
        "[notifications]\nmessage=off\ntyping=false\ninvite=false\nsub=false\n"
        "[omemo]\npolicy=manual\n"
        "[tls]\ncertpath=" + str(home / "no-authorities") + "\n"
    )
