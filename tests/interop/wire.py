"""A wire between clients and the server, which can be cut and mended: it stands where a server would."""

import asyncio

from server import Server, free_loopback

CHUNK = 1 << 16


class Wire:
    """What a client knows of a server, at an address of its own."""

    def __init__(self, server: Server):
        self.domain = server.domain
        self.ca_file = server.ca_file
        self.port = server.port
        self.direct_port = server.direct_port
        self.websocket_port = server.websocket_port
        self.address = free_loopback()
        self.target = server.address
        self.listeners: list[asyncio.Server] = []
        self.writers: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task] = set()

    async def mend(self) -> None:
        for port in (self.port, self.direct_port, self.websocket_port):
            if port is not None:
                self.listeners.append(await asyncio.start_server(self.connected(port), self.address, port))

    async def cut(self) -> None:
        """Everybody's connection is gone without a word, and nobody gets a new one."""
        for listener in self.listeners:
            listener.close()
        self.listeners.clear()
        for writer in self.writers:
            writer.transport.abort()

    async def end(self) -> None:
        await self.cut()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def connected(self, port: int):
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            self.tasks.add(task)
            self.writers.add(writer)
            try:
                far_reader, far_writer = await asyncio.open_connection(self.target, port)
                self.writers.add(far_writer)
                try:
                    await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))
                finally:
                    self.writers.discard(far_writer)
                    far_writer.close()
            except OSError:
                pass  # an end of it is gone, as is the other now
            except asyncio.CancelledError:
                pass
            finally:
                self.tasks.discard(task)
                self.writers.discard(writer)
                writer.close()

        return handle


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof() if writer.can_write_eof() else writer.close()
