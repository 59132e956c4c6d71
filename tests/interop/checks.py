"""Counting checks: one line each as it is decided, and a hard limit on every wait."""

import asyncio
import time
from collections.abc import Awaitable, Callable

STEP_SECONDS = 30.0  # one step of a client; a loaded two-core machine needs a tenth of it
POLL_SECONDS = 0.05


class Failed(Exception):
    """A step failed, its line is printed: what builds on it is not tried."""


class Checks:
    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def record(self, name: str, problem: str | None = None, seconds: float | None = None) -> None:
        took = "" if seconds is None else f" ({seconds:.1f} s)"
        if problem is None:
            self.passed += 1
            print(f"ok    {name}{took}", flush=True)
        else:
            self.failed += 1
            print(f"FAIL  {name}{took}: {problem}", flush=True)

    def group(self, prefix: str) -> "Group":
        return Group(self, prefix)


class Group:
    """The checks of one client over one transport; what it prints begins with the group's name."""

    def __init__(self, checks: Checks, prefix: str):
        self.checks = checks
        self.prefix = prefix

    async def step(self, name: str, action: Awaitable, seconds: float = STEP_SECONDS):
        """Awaits the action and counts one check. A failure ends the group, as later steps stand on this one."""
        began = time.monotonic()
        try:
            result = await asyncio.wait_for(action, seconds)
        except Exception as error:  # whatever went wrong in a client is this check's failure
            text = "no result in time" if isinstance(error, TimeoutError) and not str(error) else str(error) or repr(error)
            self.checks.record(f"{self.prefix}: {name}", text, time.monotonic() - began)
            raise Failed(name) from error
        self.checks.record(f"{self.prefix}: {name}", None, time.monotonic() - began)
        return result

    def expect(self, name: str, condition: bool, problem: str) -> None:
        """Counts one check that needs no wait; a failure doesn't end the group."""
        self.checks.record(f"{self.prefix}: {name}", None if condition else problem)

    def same(self, name: str, found: list, wanted: list) -> None:
        """Counts one check of two lists; a failure says where they part."""
        pairs = enumerate(zip(found, wanted, strict=False))
        at = next((i for i, (one, other) in pairs if one != other), min(len(found), len(wanted)))
        problem = f"{len(found)} against {len(wanted)}, from {at}: {found[at:at + 4]} instead of {wanted[at:at + 4]}"
        self.expect(name, found == wanted, problem)


async def until(condition: Callable[[], object], what: str, seconds: float = STEP_SECONDS - 1):
    """Waits until the condition gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"not seen within {seconds:.0f} s: {what}")
        await asyncio.sleep(POLL_SECONDS)
