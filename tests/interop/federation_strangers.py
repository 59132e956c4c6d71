"""Servers that cannot show who they are, and domains that have none: whoever asks them something is told so at once."""

import asyncio

from slixmpp.exceptions import IqError

from checks import Checks, Failed, Group
from federation_net import Dns
from federation_servers import Federated
from peer import Peer

ANSWER_SECONDS = 25.0
REMOTE = ("remote-server-not-found", "remote-server-timeout")

# Served by the Jackdaw that signs its certificate itself. The DNS is silent about that certificate; or says that it is good,
# but is not signed; or is signed by a key that nobody vouches for.
SILENT, UNSIGNED, BOGUS = DOMAINS = ("silent.example", "rook.open", "rook.bogus")
# Domains that nobody serves: they are not there; say that they have no server (RFC 6120 section 3.2.1, rule 5 of RFC 2782).
MISSING, NONE = "missing.example", "none.example"


def set_up(rook: Federated | None, dns: Dns) -> None:
    if rook is None:
        return
    for domain in DOMAINS:
        dns.server(domain, [], rook.place, f"xmpp.{domain}")
        if domain != SILENT:
            dns.tlsa(f"xmpp.{domain}", rook.certificate)
    dns.add(*(f"_{service}._tcp.{NONE}. SRV 0 0 0 ." for service in ("xmpp-server", "xmpps-server")))
    dns.add(f"{NONE}. A {rook.place.address}")


async def tell(checks: Checks, server: Federated) -> None:
    check = checks.group("federation")
    peer = Peer(server, await server.add_account("strangers"), resource="here")
    try:
        await check.step("somebody logs in who asks strangers", peer.login())
        cases = {
            "a certificate that nobody vouches for": SILENT,
            "a certificate of which a DNS without signatures says that it is good": UNSIGNED,
            "a DNS with signatures that are wrong": BOGUS,
            "a domain that is not there": MISSING,
            "a domain that says that it has no server": NONE,
        }
        await asyncio.gather(*(refused(check, peer, what, domain) for what, domain in cases.items()))
    except Failed:
        pass
    finally:
        peer.close()


async def refused(check: Group, peer: Peer, what: str, domain: str) -> None:
    async def asks() -> None:
        try:
            await peer["xep_0092"].get_version(domain, timeout=ANSWER_SECONDS)
        except IqError as error:
            if error.condition not in REMOTE or not error.text:
                raise AssertionError(f"{error.condition}: {error.text}") from error
            return
        raise AssertionError("it answers")

    try:
        await check.step(f"refused: {what}", asks())
    except Failed:
        pass  # the others are asked all the same
