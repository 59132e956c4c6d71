"""A slixmpp client that remembers what it was sent: a client under test itself, and the other end for the GUI ones."""

import asyncio
import ssl
from pathlib import Path

from slixmpp import ClientXMPP

from checks import until
from server import Server

# XEP-0030, 0012, 0092, 0115, 0199, 0202, 0203
PLUGINS = ("xep_0030", "xep_0012", "xep_0092", "xep_0115", "xep_0199", "xep_0202", "xep_0203")


class Refused(Exception):
    """The server did not let the client in."""


class Peer(ClientXMPP):
    def __init__(
        self, server: Server, account: tuple[str, str], *, direct: bool = False, resource: str = "peer",
        mechanism: str | None = None, ca_file: Path | None = None, tls: ssl.TLSVersion | None = None,
    ):  # fmt: skip
        jid, password = account
        # A context of its own, with the test CA and nothing else: the system's store must not help.
        context = ssl.create_default_context(cafile=ca_file or server.ca_file)
        if tls is not None:
            context.minimum_version = context.maximum_version = tls
        if direct:
            context.set_alpn_protocols(["xmpp-client"])  # XEP-0368 section 3
        super().__init__(f"{jid}/{resource}", password, sasl_mech=mechanism, ssl_context=context)
        self.under_test = server
        self.bare = jid
        self.direct = direct
        self.enable_direct_tls = direct
        self.enable_starttls = not direct
        for plugin in PLUGINS:
            self.register_plugin(plugin)
        self.inbox: list = []
        self.seen: list = []  # every presence, in order
        self.problem: str | None = None
        self.refusal: str | None = None
        self.stream_errors: list[str] = []
        self.started = False
        self.gone = False
        for event, handler in {
            "message": self.inbox.append,
            "presence": self.seen.append,
            "session_start": lambda _: self._note(started=True),
            "disconnected": lambda _: self._note(gone=True),
            "stream_error": lambda e: self.stream_errors.append(e["condition"]),
            # Not the end: slixmpp tries the next mechanism.
            "failed_auth": lambda e: self._note(refusal=f"refused: {e['condition']}"),
            "failed_all_auth": lambda _: self._note(problem=self.refusal or "refused: no mechanism in common"),
            "ssl_invalid_chain": lambda _: self._note(problem="certificate not trusted"),
            "connection_failed": lambda e: self._note(problem=f"no connection: {e}"),
        }.items():
            self.add_event_handler(event, handler)

    def _note(self, **values) -> None:
        for name, value in values.items():
            setattr(self, name, value)

    async def login(self, presence: bool = True) -> "Peer":
        """Connects, logs in, gets the roster and, unless told not to, sends initial presence."""
        self.started = self.gone = False
        self.problem = self.refusal = None
        port = self.under_test.direct_port if self.direct else self.under_test.port
        self.connect(self.under_test.address, port)
        await until(lambda: self.started or self.problem or self.gone, f"login of {self.bare}")
        if not self.started:
            self.cancel_connection_attempt()
            self.abort()
            raise Refused(self.problem or self.refusal or "the server closed the stream")
        await self.get_roster(timeout=10)
        if presence:
            self.send_presence()
        return self

    async def logout(self) -> None:
        if self.started and not self.gone:
            await asyncio.wait_for(self.disconnect(wait=2), 10)
        self.started = False

    def close(self) -> None:
        """Ends it without a goodbye, whatever state it is in."""
        self.cancel_connection_attempt()
        self.abort()

    async def got_message(self, sender: str, body: str):
        return await until(
            lambda: next((m for m in self.inbox if m["from"].bare == sender and m["body"] == body), None),
            f"a message of {sender} at {self.bare}",
        )

    async def saw(self, sender: str, *kinds: str):
        """The newest presence of the sender is of one of these kinds (type, or show; `available` is plain)."""

        def newest():
            of = [p for p in self.seen if p["from"].bare == sender and p["type"] not in SUBSCRIPTION_TYPES]
            return of[-1] if of and of[-1]["type"] in kinds else None

        return await until(newest, f"{'/'.join(kinds)} of {sender} at {self.bare}")

    async def subscription(self, contact: str, state: str) -> None:
        await until(
            lambda: contact in self.client_roster and self.client_roster[contact]["subscription"] == state,
            f"subscription {state} to {contact} in the roster of {self.bare}",
        )


SUBSCRIPTION_TYPES = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")
