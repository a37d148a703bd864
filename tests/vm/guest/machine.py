"""What the checks share: programs, commands, settings of the kernel."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spyglass.model import Goroutine
from tests.command import SPYGLASS, piped
from tests.support import GoProcess

__all__ = [
    "PARANOID",
    "SETTINGS",
    "USER",
    "YAMA",
    "is_spinning",
    "newest",
    "of_user",
    "refusal",
    "setting",
    "spyglass",
    "started",
    "told",
]

PARANOID = "/proc/sys/kernel/perf_event_paranoid"
YAMA = "/proc/sys/kernel/yama/ptrace_scope"

#: An ordinary user.
USER = 1000
_SECONDS = 400


def _settings() -> dict[str, Any]:
    """What `tests.vm.image` wrote of the machine; nothing outside of one."""
    try:
        return dict(json.loads(Path("/machine.json").read_text()))
    except OSError:
        return {"checks": [], "go": [], "finished": [], "done": [], "only": ""}


SETTINGS = _settings()


def newest() -> str:
    """The newest version of Go that there are programs of."""
    return str(SETTINGS["go"][-1])


def started(program: str, minor: str, *arguments: str) -> GoProcess:
    """A Go program of the machine; it runs while the context is entered."""
    return GoProcess([f"/programs/{program}-{minor}", *arguments], env={"GOTRACEBACK": "system"})


def is_spinning(snapshot: Iterable[Goroutine]) -> bool:
    """Whether a goroutine of `truth -spin 1` is seen running where it spins."""
    return any(
        frame.function in ("main.spin1", "main.spinStep")
        for each in snapshot
        if each.status == "running"
        for frame in each.stack or ()
    )


@contextmanager
def of_user() -> Iterator[int]:
    """A Go program of an ordinary user, which is no child of what inspects it: its pid."""
    path = f"/programs/truth-{newest()}"
    child = subprocess.Popen(
        [path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **_as_user(USER)
    )
    assert child.stdout
    assert child.stdout.readline().startswith(b"ready")
    try:
        yield child.pid
    finally:
        child.kill()
        child.wait()


def _as_user(user: int | None) -> dict[str, Any]:
    """Options of `subprocess` for a process of `user` and a group of that number: group 0 may see what hidepid hides."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def told(
    *arguments: object, user: int | None = None, before: Callable[[], None] | None = None
) -> tuple[int, str, str]:
    """Run spyglass, as root or as `user`, after `before` in its process: exit code, standard output, standard error."""
    words = [str(each) for each in arguments]
    if user is None and before is None:
        quick = piped(*words)
        return quick.returncode, quick.stdout, quick.stderr
    done = subprocess.run(
        [*SPYGLASS, *words], capture_output=True, text=True, timeout=_SECONDS, **_as_user(user), preexec_fn=before, check=False
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def refusal(
    *arguments: object, user: int | None = None, before: Callable[[], None] | None = None
) -> str:
    """The one line with which a command refuses."""
    code, _, errors = told(*arguments, user=user, before=before)
    assert code != 0
    assert "Traceback" not in errors
    assert "internal error" not in errors
    return " ".join(errors.split())


def spyglass(*arguments: object, user: int | None = None) -> str:
    """The standard output of a command of spyglass that must not fail."""
    code, output, errors = told(*arguments, user=user)
    assert code == 0, f"exit {code}: {errors[-1000:]}"
    return output


@contextmanager
def setting(path: str, value: object) -> Iterator[None]:
    """A file of /proc/sys or the like with `value` while the context is entered."""
    file = Path(path)
    if not file.exists():
        pytest.skip(f"this kernel has no {path}")
    before = file.read_text().strip()
    try:
        file.write_text(f"{value}\n")
    except OSError as error:
        pytest.skip(f"{path} cannot be {value}: {os.strerror(error.errno or 0)}")
    try:
        yield
    finally:
        file.write_text(f"{before}\n")
