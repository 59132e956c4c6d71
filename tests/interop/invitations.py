"""An account by a link, as slixmpp makes one (XEP-0077) once it has shown the token (XEP-0445); over both kinds of TLS.

Then a new password, and the end of the account.
"""

import asyncio
import subprocess
from pathlib import Path

from checks import Checks, Failed, Group, until
from peer import Peer, Refused
from server import Jackdaw, Server

ANSWER_SECONDS = 10.0


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if not isinstance(server, Jackdaw):
        checks.record("invitations", "needs a server that prints links")
        return
    inviter = await server.add_account("inviter")
    for direct in (False, True):
        story = Story(server, checks.group(f"invitations, {'direct TLS' if direct else 'STARTTLS'}"), direct)
        try:
            await story.tell(inviter)
        except Failed:
            pass
        finally:
            for peer in story.peers:
                peer.close()


class Story:
    def __init__(self, server: Jackdaw, check: Group, direct: bool):
        self.server = server
        self.check = check
        self.direct = direct
        self.peers: list[Peer] = []

    async def tell(self, inviter: tuple[str, str]) -> None:
        step = self.check.step
        name = "invited-direct" if self.direct else "invited"
        account = (f"{name}@{self.server.domain}", "groundlings")
        link = await asyncio.to_thread(self.invite, inviter[0])
        friend = self.device(inviter)
        await friend.login()
        new = self.device(account)
        new.register_plugin("xep_0077")

        async def registered() -> None:
            self.show_first(new, link.split("preauth=")[1].split(";")[0])
            new.add_event_handler("register", self.fill_in(new, account))
            await new.login()

        await step("an account by a link (0445, 0077), and a login on the same stream", registered())

        async def friends() -> None:
            for one, other in ((new, friend), (friend, new)):
                await until(lambda: one.client_roster[other.bare]["subscription"] == "both", "the contact")

        await step("who has invited is a contact, and the other way round (0401)", friends())

        async def changed() -> None:
            await new["xep_0077"].change_password("theglobe", timeout=ANSWER_SECONDS)
            other = self.device((account[0], "theglobe"))
            await other.login()
            old = self.device(account)
            try:
                await old.login()
            except Refused:
                return
            raise AssertionError("the old password is still good")

        await step("a new password (0077)", changed())

        async def gone() -> None:
            await new["xep_0077"].cancel_registration(timeout=ANSWER_SECONDS)
            await until(lambda: new.gone, "the end of the stream")
            if "not-authorized" not in new.stream_errors:
                raise AssertionError(f"another end: {new.stream_errors}")
            await until(lambda: friend.client_roster[new.bare]["subscription"] == "none", "the end of the contact")

        await step("the end of the account (0077)", gone())

    def invite(self, contact: str) -> str:
        command = [self.server.binary, "--config", self.server.config, "invite", "--contact", contact]
        told = subprocess.run(command, text=True, check=True, timeout=20, capture_output=True)
        return told.stdout.strip()

    def device(self, account: tuple[str, str]) -> Peer:
        self.peers.append(Peer(self.server, account, direct=self.direct, resource=f"place{len(self.peers)}"))
        return self.peers[-1]

    def show_first(self, peer: Peer, token: str) -> None:
        """slixmpp asks for the form by itself, and knows no tokens."""
        form = peer["xep_0077"].get_registration

        async def with_token():
            # As text: before the login it keeps back every other request that it knows. Without the token there is no form.
            peer.send_raw(f"<iq type='set' id='token'><preauth xmlns='urn:xmpp:pars:0' token='{token}'/></iq>")
            return await form(timeout=ANSWER_SECONDS)

        peer["xep_0077"].get_registration = with_token

    def fill_in(self, peer: Peer, account: tuple[str, str]):
        async def send(_) -> None:
            request = peer.Iq()
            request["type"] = "set"
            request["register"]["username"] = account[0].split("@")[0]
            request["register"]["password"] = account[1]
            await request.send(timeout=ANSWER_SECONDS)

        return send
