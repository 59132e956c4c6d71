"""A program in a pseudo-terminal of its own, and the screen it shows (kept by pyte)."""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
from pathlib import Path

import pyte

from checks import until
from server import die_with_parent

COLUMNS, ROWS = 160, 50
END_SECONDS = 3.0


def own_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    die_with_parent()


class Terminal:
    def __init__(self, folder: Path):
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.stream = pyte.ByteStream(self.screen)
        self.folder = folder
        self.process: asyncio.subprocess.Process | None = None
        self.master = -1

    async def start(self, *command: str, env: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.process = await asyncio.create_subprocess_exec(
            *command, stdin=slave, stdout=slave, stderr=slave, cwd=self.folder, env={**env, "TERM": "xterm-256color"},
            start_new_session=True, preexec_fn=own_terminal,
        )  # fmt: skip
        os.close(slave)
        os.set_blocking(self.master, False)
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self.master, 65536)
        except BlockingIOError:
            return
        except OSError:  # EIO: the program has ended
            data = b""
        if data:
            self.stream.feed(data)
        else:
            asyncio.get_running_loop().remove_reader(self.master)

    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    async def type(self, line: str) -> None:
        os.write(self.master, line.encode() + b"\r")
        await asyncio.sleep(0.1)  # one line per turn of the program's input loop

    async def shows(self, *texts: str) -> None:
        """Waits until the screen shows one of the texts."""
        await until(lambda: any(t in self.text() for t in texts), f"{' / '.join(texts)} on the screen")

    def dump(self) -> None:
        """Writes the screen into the folder, for whoever looks into a failure."""
        (self.folder / "last.screen").write_text(self.text())

    async def stop(self) -> None:
        """Ends the program and its whole session; takes it as it is."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                break
            try:
                await asyncio.wait_for(self.process.wait(), END_SECONDS)
                break
            except TimeoutError:
                continue
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        self.process = None
