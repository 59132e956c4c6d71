"""A program with a window: an X server, a D-Bus session and a home of its own, in one session of the kernel's.

GUI clients refuse root or should not be it, so root runs them as nobody.
"""

import asyncio
import os
import signal
from pathlib import Path

from server import die_with_parent

NEEDED = {"Xvfb": "xvfb", "dbus-run-session": "dbus", "setpriv": "util-linux"}
NOBODY = 65534

# Xvfb takes the first free display and tells which. A shell heeds a TERM in `wait`, not behind a program in the
# foreground.
SCRIPT = r"""
set -eu
rm -f run/display
mkfifo run/display
Xvfb -displayfd 9 -screen 0 1024x768x24 -nolisten tcp 9>run/display >xvfb.log 2>&1 &
xvfb=$!
trap 'kill $xvfb 2>/dev/null || true' EXIT
trap 'trap - TERM; kill 0' TERM
read -r number <run/display
export DISPLAY=":$number"
dbus-run-session -- "$@" &
wait $!
"""


class Desktop:
    def __init__(self, home: Path):
        self.home = home
        self.process: asyncio.subprocess.Process | None = None

    async def launch(self, *program: str, inside: tuple[str, ...] = (), **environment: str) -> None:
        """Starts the program; `inside` is a command before it all, which is still root where this is root."""
        home = self.home
        (home / "run").mkdir(mode=0o700, parents=True, exist_ok=True)
        command = ["sh", "-c", SCRIPT, "sh", *program]
        if os.geteuid() == 0:
            for place in (home, *home.rglob("*")):
                os.chown(place, NOBODY, NOBODY)
            os.makedirs("/tmp/.X11-unix", exist_ok=True)  # an X server of nobody's can't make it
            os.chmod("/tmp/.X11-unix", 0o1777)
            # A change of user takes the wish to die with the parent away, so it is said again behind it.
            user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all"]
            command = [*user, "--pdeathsig=TERM", *command]
        environment = {
            "HOME": str(home), "XDG_CONFIG_HOME": f"{home}/config", "XDG_DATA_HOME": f"{home}/share",
            "XDG_CACHE_HOME": f"{home}/cache", "XDG_RUNTIME_DIR": f"{home}/run",
            "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
            # Nothing of the desktop is asked: no settings daemon, no accessibility bus, no keyring, no GPU.
            "GSETTINGS_BACKEND": "memory", "NO_AT_BRIDGE": "1", "GTK_A11Y": "none", "GTK_USE_PORTAL": "0",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            **environment,
        }  # fmt: skip
        with (home / f"{program[0]}.log").open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *inside, *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, cwd=home, env=environment,
                start_new_session=True, preexec_fn=die_with_parent,
            )  # fmt: skip

    def check_running(self) -> None:
        if self.process is None or self.process.returncode is not None:
            code = None if self.process is None else self.process.returncode
            raise AssertionError(f"it ended with {code}; see the logs in {self.home.name}")

    async def end(self, *first: int) -> None:
        """Kills what is left of it; with a signal before, it gets a moment to end by itself."""
        if self.process is None:
            return
        try:
            for number in first:
                os.killpg(self.process.pid, number)
                await asyncio.sleep(0.3)
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        await self.process.wait()
        self.process = None
