"""slixmpp: login with every mechanism over both transports, subscription, messages, presence, offline, conflict."""

import asyncio
import ssl
import time
from pathlib import Path

from slixmpp.exceptions import IqError

from checks import Checks, Failed, Group, until
from peer import Peer, Refused
from server import Server

ANSWER_SECONDS = 5.0  # an IQ that a server doesn't know is answered at once


async def run(server: Server, checks: Checks, folder: Path) -> None:
    for direct in (False, True):
        group = checks.group(f"slixmpp {'direct TLS' if direct else 'STARTTLS'}")
        people: list[Peer] = []
        try:
            await logins(server, group, folder, direct, people)
            await chat(server, group, direct, people)
        except Failed:
            pass
        finally:
            for peer in people:
                peer.close()


async def logins(server: Server, check: Group, folder: Path, direct: bool, people: list[Peer]) -> None:
    name = f"login-{'direct' if direct else 'starttls'}"
    account = await server.add_account(name)

    def peer(**options) -> Peer:
        people.append(Peer(server, options.pop("account", account), direct=direct, **options))
        return people[-1]

    for mechanism in server.mechanisms:
        client = peer(mechanism=mechanism)
        await check.step(f"login with {mechanism}", client.login())
        await client.logout()

    # Where -PLUS is offered, slixmpp tries it first and knows tls-unique alone, then falls back: the server has to stand
    # one failed attempt for each hash on one stream.
    client = peer(tls=ssl.TLSVersion.TLSv1_2)
    await check.step("login over TLS 1.2, best mechanism", client.login())
    await client.logout()

    if direct:
        client = peer()
        await client.login()
        chosen = client.transport.get_extra_info("ssl_object").selected_alpn_protocol()
        # Prosody 0.12 leaves ALPN alone; XEP-0368 section 3 lets it.
        if server.name == "jackdaw":
            check.expect("ALPN xmpp-client is chosen", chosen == "xmpp-client", f"chosen: {chosen}")
        await client.logout()

    # The proof that the other logins verify: with another CA, the client must not get in.
    other = folder / "other-ca"
    if not other.exists():
        await asyncio.to_thread(server.make_certificates, other, "elsewhere.test")
    await check.step("certificate of an unknown CA refused by the client", refused(peer(ca_file=other / "ca.crt"), "certificate"))
    wrong = (account[0], account[1] + "x")
    for mechanism in server.mechanisms:
        client = peer(account=wrong, mechanism=mechanism)
        await check.step(f"wrong password refused ({mechanism})", refused(client, "not-authorized"))
    nobody = (f"nobody@{server.domain}", "guess")
    await check.step("unknown account refused", refused(peer(account=nobody), "not-authorized"))


async def refused(client: Peer, condition: str = "") -> None:
    try:
        await client.login(presence=False)
    except Refused as why:
        if condition and condition not in str(why):
            raise AssertionError(f"expected {condition}, got {why}") from why
        return
    raise AssertionError("the login went through")


async def chat(server: Server, check: Group, direct: bool, people: list[Peer]) -> None:
    end = "direct" if direct else "starttls"
    accounts = [await server.add_account(f"{who}-{end}") for who in ("anna", "bert")]
    anna, bert = (Peer(server, account, direct=direct, resource="one") for account in accounts)
    people += [anna, bert]
    for peer in (anna, bert):
        await check.step(f"{peer.boundjid.user} logs in", peer.login())

    async def befriend() -> None:
        # slixmpp approves what it is asked and asks back, so one request makes both.
        anna.update_roster(bert.bare, name="Bert 🐦", groups=["Friends", "Birds"])
        anna.send_presence_subscription(pto=bert.bare)
        await anna.subscription(bert.bare, "both")
        await bert.subscription(anna.bare, "both")

    await check.step("contact added, subscription both", befriend())
    await check.step("presence seen by who asked", anna.saw(bert.bare, "available"))
    await check.step("presence seen by who was asked", bert.saw(anna.bare, "available"))

    async def says(sender: Peer, receiver: Peer, body: str) -> None:
        sender.send_message(receiver.bare, body, mtype="chat")
        await receiver.got_message(sender.bare, body)

    await check.step("message to the contact", says(anna, bert, "hello bert, <&> “ünï” 🐦"))
    await check.step("message from the contact", says(bert, anna, "hello anna"))

    async def dnd() -> None:
        bert.send_presence(pshow="dnd", pstatus="busy")
        await anna.saw(bert.bare, "dnd")

    await check.step("change of presence seen", dnd())
    await questions(server, check, anna, bert)

    # The later stream wins, the earlier one is told (RFC 6120 section 7.7.2.2).
    async def conflict() -> Peer:
        second = Peer(server, accounts[1], direct=direct, resource="one")
        people.append(second)
        await second.login()
        await until(lambda: "conflict" in bert.stream_errors and bert.gone, "conflict on the older stream")
        return second

    bert = await check.step("same resource again: the older stream ends with conflict", conflict())
    await check.step("message reaches the newer stream", says(anna, bert, "are you the new one?"))
    await check.step("contact leaves", bert.logout())
    await check.step("leaving is seen", anna.saw(bert.bare, "unavailable"))

    async def offline() -> None:
        for number in range(3):
            anna.send_message(bert.bare, f"while you were away {number}", mtype="chat")
        # The answer to a later request shows that all three were taken.
        await anna["xep_0199"].ping(server.domain, timeout=10)
        back = Peer(server, accounts[1], direct=direct, resource="two")
        people.append(back)
        await back.login()
        for number in range(3):
            message = await back.got_message(anna.bare, f"while you were away {number}")
            if message["delay"]["stamp"] is None:
                raise AssertionError("no delay stamp (XEP-0203) on an offline message")
        order = [m["body"] for m in back.inbox if m["body"].startswith("while")]
        if order != sorted(order) or len(order) != 3:
            raise AssertionError(f"offline messages out of order or doubled: {len(order)} came")
        await back.logout()

    await check.step("offline messages received once, in order, with a delay stamp", offline())

    async def reconnect() -> None:
        await anna.logout()
        again = Peer(server, accounts[0], direct=direct, resource="one")
        people.append(again)
        await again.login()
        item = again.client_roster[bert.bare]
        found = (item["subscription"], item["name"], sorted(item["groups"]))
        if found != ("both", "Bert 🐦", ["Birds", "Friends"]):
            raise AssertionError(f"roster item after reconnect: {found}")
        await again.logout()

    await check.step("roster is the same after reconnect", reconnect())


async def questions(server: Server, check: Group, anna: Peer, bert: Peer) -> None:
    async def disco() -> None:
        info = await anna["xep_0030"].get_info(server.domain, timeout=ANSWER_SECONDS)
        kinds = {(i[0], i[1]) for i in info["disco_info"]["identities"]}
        if ("server", "im") not in kinds:
            raise AssertionError(f"identities {kinds}")

    await check.step("disco#info of the server: server/im", disco())
    await check.step("ping of the server", anna["xep_0199"].ping(server.domain, timeout=ANSWER_SECONDS))
    await check.step("ping of the contact's client", anna["xep_0199"].ping(bert.boundjid.full, timeout=ANSWER_SECONDS))
    await check.step("version of the server", anna["xep_0092"].get_version(server.domain, timeout=ANSWER_SECONDS))
    await check.step("time of the server", anna["xep_0202"].get_entity_time(server.domain, timeout=ANSWER_SECONDS))

    async def unknown() -> None:
        iq = anna.make_iq_get("urn:example:unheard-of", ito=server.domain)
        began = time.monotonic()
        try:
            await iq.send(timeout=ANSWER_SECONDS)
        except IqError as error:
            if error.condition != "service-unavailable":
                raise AssertionError(f"condition {error.condition}") from error
            if time.monotonic() - began > 1:
                raise AssertionError("not at once") from error
            return
        raise AssertionError("answered with a result")

    await check.step("an unknown request: service-unavailable at once", unknown())
