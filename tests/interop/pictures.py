"""One picture for clients of two ages: slixmpp by the nodes of XEP-0084, and slixmpp by the vCard (XEP-0054, 0153).

Two devices of one account, and a contact who looks at both faces.
"""

import base64
import hashlib
from pathlib import Path

from checks import Checks, Failed, Group, until
from peer import Peer
from server import Jackdaw, Server

METADATA = "urn:xmpp:avatar:metadata"
NICK = "http://jabber.org/protocol/nick"
UPDATE = "{vcard-temp:x:update}"
ANSWER_SECONDS = 10.0

# The smallest picture there is, and another.
DOT = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
OTHER = b"GIF89a" + bytes(200)


async def run(server: Server, checks: Checks, folder: Path) -> None:
    if not isinstance(server, Jackdaw):
        checks.record("pictures", "needs a server that has one picture")
        return
    story = Story(server, checks.group("pictures"))
    try:
        await story.tell()
    except Failed:
        pass
    finally:
        for peer in story.peers:
            peer.close()


def sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def hash_in(presence) -> str | None:
    photo = presence.xml.find(f"{UPDATE}x/{UPDATE}photo")
    return None if photo is None else photo.text or ""


class Story:
    def __init__(self, server: Server, check: Group):
        self.server = server
        self.check = check
        self.peers: list[Peer] = []
        self.told: list[str] = []  # ids of pictures that the contact heard of, by the nodes
        self.nicks: list[str] = []

    async def tell(self) -> None:
        step = self.check.step
        mine, theirs = await self.server.add_account("profile"), await self.server.add_account("profile-friend")
        new = await self.device(mine, "new", "xep_0084", "xep_0172", "xep_0054")
        friend = await self.device(theirs, "friend", "xep_0084", "xep_0172", "xep_0054")
        friend.send_presence_subscription(pto=new.bare)
        await new.subscription(friend.bare, "both")
        await friend.subscription(new.bare, "both")

        async def shown_by_the_nodes() -> None:
            await new["xep_0084"].publish_avatar(DOT, timeout=ANSWER_SECONDS)
            info = {"id": sha1(DOT), "type": "image/png", "bytes": str(len(DOT)), "width": "1", "height": "1"}
            await new["xep_0084"].publish_avatar_metadata([info], timeout=ANSWER_SECONDS)
            await self.shows(friend, new.bare, DOT, "image/png")

        await step("one by the nodes (0084) is in the vCard and in presence", shown_by_the_nodes())
        old = await self.device(mine, "old", "xep_0054", "xep_0153")

        async def shown_by_the_vcard() -> None:
            await old["xep_0153"].set_avatar(avatar=OTHER, mtype="image/gif", timeout=ANSWER_SECONDS)
            await until(lambda: sha1(OTHER) in self.told, "the other picture, by its event")
            await self.shows(friend, new.bare, OTHER, "image/gif")
            item = await friend["xep_0084"].retrieve_avatar(new.bare, sha1(OTHER), timeout=ANSWER_SECONDS)
            if item["pubsub"]["items"]["item"]["avatar_data"]["value"] != OTHER:
                raise AssertionError(str(item))

        await step("one by the vCard (0054, 0153) is at the nodes", shown_by_the_vcard())

        async def named() -> None:
            await new["xep_0172"].publish_nick("Mockingbird", timeout=ANSWER_SECONDS)
            await until(lambda: "Mockingbird" in self.nicks, "the nickname, by its event")
            vcard = await friend["xep_0054"].get_vcard(new.bare, timeout=ANSWER_SECONDS)
            if "Mockingbird" not in str(vcard) or sha1(vcard["vcard_temp"]["PHOTO"]["BINVAL"]) != sha1(OTHER):
                raise AssertionError(str(vcard))

        await step("a nickname (0172) is in the vCard", named())

        async def gone() -> None:
            await new["xep_0084"].stop(timeout=ANSWER_SECONDS)
            await until(lambda: self.newest(friend, new.boundjid.full) == "", "that there is no picture any more")
            vcard = await friend["xep_0054"].get_vcard(new.bare, timeout=ANSWER_SECONDS)
            if "BINVAL" in str(vcard):
                raise AssertionError(str(vcard))

        await step("none any more by the nodes is none in the vCard", gone())

    async def device(self, account: tuple[str, str], place: str, *plugins: str) -> Peer:
        device = Peer(self.server, account, resource=place)
        for plugin in (*plugins, "xep_0163"):
            device.register_plugin(plugin)
        if place == "friend":
            device.add_event_handler("avatar_metadata_publish", lambda m: self.told.extend(ids(m)))
            device.add_event_handler("user_nick_publish", lambda m: self.nicks.extend(texts(m)))
        self.peers.append(device)
        answered: list[str] = []

        def out(stanza):
            if stanza.name == "iq" and stanza["type"] == "result" and stanza["to"] == self.server.domain:
                answered.append(stanza["id"])
            return stanza

        device.add_filter("out", out)
        await device.login()
        # What is published before the server knows what a device wants to hear of, it does not hear of. It asks once.
        if len(self.peers) == 1:
            await until(lambda: answered, "the server's question what this client can do")
        await device["xep_0199"].ping(self.server.domain, timeout=ANSWER_SECONDS)
        return device

    def newest(self, friend: Peer, sender: str) -> str | None:
        """What the newest presence of this resource says of a picture."""
        of = [presence for presence in friend.seen if presence["from"] == sender]
        return hash_in(of[-1]) if of else None

    async def shows(self, friend: Peer, owner: str, data: bytes, kind: str) -> None:
        sender = f"{owner}/new"
        await until(lambda: self.newest(friend, sender) == sha1(data), "its hash in presence")
        vcard = await friend["xep_0054"].get_vcard(owner, timeout=ANSWER_SECONDS)
        photo = vcard["vcard_temp"]["PHOTO"]
        if photo["BINVAL"] != data or photo["TYPE"] != kind:
            raise AssertionError(str(vcard))


def ids(message) -> list[str]:
    return [e.get("id") for e in message.xml.iter() if e.tag == f"{{{METADATA}}}info"]


def texts(message) -> list[str]:
    return [e.text or "" for e in message.xml.iter() if e.tag == f"{{{NICK}}}nick"]
