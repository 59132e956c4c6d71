"""Real components (XEP-0114): biboumi with an IRC server behind it, and two that are made with slixmpp: one that acts in
the name of accounts (XEP-0356), one that takes files (XEP-0363). They have a server of their own."""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from xml.etree import ElementTree

from aiohttp import ClientSession, web
from slixmpp import ComponentXMPP, Message
from slixmpp.exceptions import IqError

from checks import Checks, Failed, Group, until
from peer import Peer
from server import Jackdaw, Server, die_with_parent

PROGRAMS = {"biboumi": "biboumi", "ngircd": "ngircd"}
COMPONENT_PORT = 5347
IRC_PORT = 6667
FILES_PORT = 15280
ROOM = "#it's"  # a character that no local part of an address can have (XEP-0106)
PRIVILEGES = """[component.privileges]
roster = "both"
message = "outgoing"
presence = "managed-entity"
iq = { "http://jabber.org/protocol/pubsub" = "both" }
"""


class WithComponents(Jackdaw):
    """A server with three components, of which two may do no more than others."""

    def __init__(self, folder: Path, binary: Path):
        super().__init__(folder, binary)
        self.secret = secrets.token_urlsafe(12)

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "component.secret").write_text(self.secret + "\n")
        component = '[[component]]\ndomain = "{}"\nsecret_file = "component.secret"\n'
        with self.config.open("a") as config:
            config.write(f'\n[[listen]]\nkind = "component"\naddress = "{self.address}:{COMPONENT_PORT}"\n\n')
            for name in ("irc", "share", "bot"):
                config.write(component.format(f"{name}.{self.domain}"))
            config.write(PRIVILEGES)

    def component(self, name: str) -> ComponentXMPP:
        return ComponentXMPP(f"{name}.{self.domain}", self.secret, self.address, COMPONENT_PORT)


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if not isinstance(server, Jackdaw):
        return
    home = folder / "server"
    home.mkdir(mode=0o711)
    own = WithComponents(home, server.binary)
    own.start()
    try:
        await asyncio.gather(irc(own, checks, folder), bot(own, checks), files(own, checks, folder))
    finally:
        own.stop()


class Irc:
    """A user of the IRC server, with a client of a few lines."""

    def __init__(self, nick: str):
        self.nick = nick
        self.lines: list[str] = []

    async def connect(self, address: str) -> None:
        self.reader, self.writer = await asyncio.open_connection(address, IRC_PORT)
        self.task = asyncio.create_task(self._read())
        self.say(f"NICK {self.nick}", f"USER {self.nick} 0 * :{self.nick}")
        await self.got(" 001 ")

    async def _read(self) -> None:
        while line := (await self.reader.readline()).decode(errors="replace").strip():
            if line.startswith("PING"):
                self.say(line.replace("PING", "PONG", 1))
            self.lines.append(line)

    def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def got(self, *parts: str) -> str:
        """A line with all of these in it; what came before is forgotten."""

        def find() -> str | None:
            at = next((i for i, line in enumerate(self.lines) if all(part in line for part in parts)), None)
            if at is None:
                return None
            line = self.lines[at]
            del self.lines[: at + 1]
            return line

        return await until(find, f"{parts} at {self.nick} on IRC")

    def close(self) -> None:
        if hasattr(self, "writer"):
            self.task.cancel()
            self.writer.close()


class Program:
    """A program that is started with its log in a file, and ended with us."""

    def __init__(self, name: str, folder: Path, *arguments: str):
        self.command = [shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin") or name, *arguments]
        self.log = folder / f"{name}.log"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=die_with_parent,
            )  # fmt: skip

    async def end(self, number: int = signal.SIGTERM) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(number)
        try:
            await asyncio.to_thread(process.wait, 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def programs(server: WithComponents, folder: Path) -> tuple[Program, Program]:
    """The IRC server, and the gateway to it."""
    conf = folder / "ngircd.conf"
    conf.write_text(
        f"[Global]\nName = irc.test\nInfo = tests\nAdminInfo1 = tests\nAdminEMail = admin@irc.test\n"
        f"Listen = {server.address}\nPorts = {IRC_PORT}\nMotdPhrase = hello\n"
        f"[Limits]\nMaxConnectionsIP = 0\nMaxNickLength = 20\n[Options]\nPAM = no\nDNS = no\nIdent = no\n"
    )
    config = folder / "biboumi.cfg"
    config.write_text(
        f"hostname=irc.{server.domain}\npassword={server.secret}\nxmpp_server_ip={server.address}\n"
        f"port={COMPONENT_PORT}\ndb_name={folder / 'biboumi.sqlite'}\nlog_level=0\nidentd_port=0\n"
    )
    return Program("ngircd", folder, "-n", "-f", str(conf)), Program("biboumi", folder, str(config))


async def irc(server: WithComponents, checks: Checks, folder: Path) -> None:
    check = checks.group("components, biboumi")
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin") is None:
            check.expect(f"{package} is installed", False, "no such program; `cargo xtask test` installs it")
            return
    ircd, biboumi = programs(server, folder)
    user = Peer(server, await server.add_account("irc"))
    user.add_event_handler("message_error", user.inbox.append)
    friend = Irc("friend")
    gateway = f"irc.{server.domain}"
    ircd.start()
    biboumi.start()
    try:
        await check.step("a user logs in", user.login())
        await check.step("its friend comes to the IRC server", connects(friend, server.address))
        await check.step("the gateway is there", answers(user, gateway))
        await talks(check, server, user, friend, gateway)
        await restarts(check, server, user, friend, gateway, biboumi)
    except Failed:
        pass
    finally:
        user.close()
        friend.close()
        await biboumi.end(signal.SIGKILL)
        await ircd.end()


async def connects(friend: Irc, address: str) -> None:
    while True:  # until the server listens
        try:
            return await friend.connect(address)
        except OSError:
            await asyncio.sleep(0.1)


async def answers(user: Peer, address: str) -> None:
    while True:  # until it has connected
        try:
            await user["xep_0030"].get_info(address, timeout=10)
            return
        except IqError as error:
            if error.condition != "remote-server-timeout":
                raise
            await asyncio.sleep(0.1)


def escaped(name: str) -> str:
    return name.replace("'", r"\27")


async def joins(user: Peer, room: str, nick: str) -> None:
    user.seen.clear()
    own = f"{room}/{nick}"
    presence = user.make_presence(pto=own)
    presence.append(ElementTree.Element("{http://jabber.org/protocol/muc}x"))
    presence.send()
    await until(
        lambda: any(str(p["from"]) == own and p["type"] == "available" for p in user.seen),
        f"the own presence in {room}; came: {[str(p['from']) + ' ' + p['type'] for p in user.seen]}",
    )


async def talks(check: Group, server: WithComponents, user: Peer, friend: Irc, gateway: str) -> None:
    room = f"{escaped(ROOM)}%{server.address}@{gateway}"
    friend.say(f"JOIN {ROOM}")
    await check.step("the friend joins a channel with a ' in its name", friend.got("JOIN", ROOM))
    await check.step("the user joins it", joins(user, room, "romeo"))
    await check.step("the friend sees it", friend.got("romeo!", "JOIN", ROOM))

    async def says() -> None:
        user.send_message(room, "hello from XMPP", mtype="groupchat")
        await friend.got("romeo!", f"PRIVMSG {ROOM}", "hello from XMPP")
        friend.say(f"PRIVMSG {ROOM} :hello from IRC")
        await user.got_message(room, "hello from IRC")

    await check.step("both talk in it", says())

    async def talks_alone() -> None:
        alone = f"friend%{server.address}@{gateway}"
        user.send_message(alone, "only for you", mtype="chat")
        await friend.got("romeo!", "PRIVMSG friend", "only for you")
        friend.say("PRIVMSG romeo :and for you")
        await until(lambda: any(m["body"] == "and for you" for m in user.inbox), "a private message from IRC")

    await check.step("both talk without others", talks_alone())

    async def leaves() -> None:
        user.seen.clear()
        user.send_presence(pto=f"{room}/romeo", ptype="unavailable")
        await friend.got("romeo!", "PART", ROOM)
        await until(lambda: any(p["type"] == "unavailable" for p in user.seen), "the own presence at the end")

    await check.step("the user leaves", leaves())


async def restarts(
    check: Group, server: WithComponents, user: Peer, friend: Irc, gateway: str, biboumi: Program
) -> None:
    room = f"#again%{server.address}@{gateway}"
    friend.say("JOIN #again")
    await check.step("the user joins another channel", joins(user, room, "romeo"))
    await friend.got("romeo!", "JOIN")
    user.seen.clear()
    user.inbox.clear()

    async def in_good_order() -> None:
        await biboumi.end(signal.SIGTERM)
        await until(
            lambda: any(p["from"].bare == room and p["type"] == "unavailable" for p in user.seen), "that it has left"
        )

    await check.step("the user is told when the gateway stops", in_good_order())

    async def refused() -> None:
        user.send_message(room, "nobody there", mtype="groupchat")
        await until(lambda: any(condition(m) == "remote-server-timeout" for m in user.inbox), "an error")

    await check.step("what he says then comes back", refused())
    biboumi.start()
    await check.step("the gateway comes back", answers(user, gateway))
    await check.step("the user joins again", joins(user, room, "romeo"))
    user.inbox.clear()

    async def killed() -> None:
        await biboumi.end(signal.SIGKILL)
        user.send_message(room, "into the dark", mtype="groupchat")
        await until(lambda: any(condition(m) == "remote-server-timeout" for m in user.inbox), "an error")

    await check.step("the user is told when the gateway is killed", killed())


def condition(message: Message) -> str | None:
    return message["error"]["condition"] if message["type"] == "error" else None


async def bot(server: WithComponents, checks: Checks) -> None:
    check = checks.group("components, slixmpp bot")
    user = Peer(server, await server.add_account("bots"))
    user.register_plugin("xep_0280")
    other = Peer(server, await server.add_account("bots-friend"))
    echo = server.component("bot")
    for plugin in ("xep_0030", "xep_0060", "xep_0199", "xep_0356"):
        echo.register_plugin(plugin)
    told: list = []
    echo.add_event_handler("privileges_advertised", told.append)
    seen: list = []
    echo.add_event_handler("presence", seen.append)
    echo.add_event_handler("message", lambda m: m["type"] == "chat" and m.reply(f"you said: {m['body']}").send())
    try:
        echo.connect()
        await check.step("it hears what it may do", until(lambda: told, "its privileges"))
        await check.step("a user logs in", user.login())
        await user["xep_0280"].enable()
        await check.step("another logs in", other.login())
        full = user.boundjid.full
        await check.step("it sees that they are there", until(lambda: any(str(p["from"]) == full for p in seen), full))

        async def echoes() -> None:
            user.send_message(f"bot.{server.domain}", "hello", mtype="chat")
            await user.got_message(f"bot.{server.domain}", "you said: hello")

        await check.step("it answers", echoes())

        async def changes() -> None:
            contact = f"somebody@bot.{server.domain}"
            items = {contact: {"name": "Somebody", "subscription": "both", "groups": ["Bots"]}}
            await echo["xep_0356"].set_roster(user.bare, items, timeout=10)
            await until(lambda: contact in user.client_roster and user.client_roster[contact]["name"], "a roster push")
            found = (await echo["xep_0356"].get_roster(user.bare, timeout=10))["roster"]["items"]
            if [str(jid) for jid in found] != [contact]:
                raise AssertionError(f"the roster is {found}")

        await check.step("it writes a roster and reads it", changes())

        async def in_his_name() -> None:
            message = Message()
            message["from"], message["to"], message["type"] = user.bare, other.bare, "chat"
            message["body"] = "written by the bot"
            echo["xep_0356"].send_privileged_message(message)
            await other.got_message(user.bare, "written by the bot")

        copies: list = []
        user.add_event_handler("carbon_sent", copies.append)
        await check.step("it writes in the user's name", in_his_name())
        await check.step("whose client gets a copy", until(lambda: copies, "a carbon copy"))

        async def asks() -> None:
            request = echo.make_iq_get(ifrom=user.bare, ito=user.bare)
            request["pubsub"]["items"]["node"] = "urn:nobody"
            try:
                await echo["xep_0356"].send_privileged_iq(request)
            except IqError as error:
                inner = error.nested_error()
                if inner is None or inner.condition != "item-not-found":
                    raise
                return
            raise AssertionError("a node that is not there was found")

        await check.step("it asks for a node in the user's name", asks())
    except Failed:
        pass
    finally:
        user.close()
        other.close()
        echo.abort()


async def files(server: WithComponents, checks: Checks, folder: Path) -> None:
    check = checks.group("components, slixmpp upload")
    user = Peer(server, await server.add_account("sharing"))
    user.register_plugin("xep_0363")
    share, stored = server.component("share"), {}
    base = f"http://{server.address}:{FILES_PORT}"

    async def put(request: web.Request) -> web.Response:
        stored[request.path] = await request.read()
        return web.Response(status=201)

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=stored[request.path])

    def gives(iq) -> None:
        url = f"{base}/{secrets.token_hex(8)}/{iq['http_upload_request']['filename']}"
        slot = iq.reply()
        slot["http_upload_slot"]["get"]["url"] = url
        slot["http_upload_slot"]["put"]["url"] = url
        slot.send()

    share.register_plugin("xep_0030")
    share.register_plugin("xep_0363", {"handle_upload_requests": True})
    share["xep_0030"].add_identity("store", "file", "Files")
    share.add_event_handler("http_upload_request", gives)
    application = web.Application()
    application.router.add_put("/{tail:.*}", put)
    application.router.add_get("/{tail:.*}", get)
    runner = web.AppRunner(application)
    try:
        await runner.setup()
        await web.TCPSite(runner, server.address, FILES_PORT).start()
        share.connect()
        await check.step("a user logs in", user.login())
        await check.step("the component is there", answers(user, f"share.{server.domain}"))

        async def uploads() -> str:
            path = folder / "picture.png"
            path.write_bytes(bytes(range(256)) * 100)
            return await user["xep_0363"].upload_file(path, domain=f"share.{server.domain}", timeout=10)

        url = await check.step("uploads a file to it", uploads())

        async def downloads() -> None:
            async with ClientSession() as session, session.get(url) as answer:
                if await answer.read() != bytes(range(256)) * 100:
                    raise AssertionError("what comes is not what went")

        await check.step("downloads it", downloads())
    except Failed:
        pass
    finally:
        user.close()
        share.abort()
        await runner.cleanup()
