"""What a shell completes: processes, and the states and labels of the goroutines of a target.

A completion never fails: where a process cannot be read, nothing is offered.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class

from spyglass.errors import SpyglassError
from spyglass.escape import visible

if TYPE_CHECKING:
    from spyglass.model import Snapshot

__all__ = ["containers", "labels", "names", "pids", "pods", "register", "states", "targets"]

_HELP_CHARACTERS = 60
#: How many states or labels are offered: each request may have labels of its own.
_MAX_OFFERED = 200
#: Characters that bash does not leave as they are in a word.
_SPECIAL = re.compile(r"([^\w@%+=:,./-])")


def pids(incomplete: str) -> list[CompletionItem]:
    """The pids of Go processes that begin with `incomplete`."""
    from spyglass.processes import go_processes

    return [
        CompletionItem(str(each.pid), help=visible(" ".join(each.cmdline))[:_HELP_CHARACTERS])
        for each in go_processes().processes
        if str(each.pid).startswith(incomplete)
    ]


def names(incomplete: str) -> list[CompletionItem]:
    """The names of the executables of Go processes that begin with `incomplete`."""
    from spyglass.processes import go_processes

    called = ((each.pid, os.path.basename(each.exe or "")) for each in go_processes().processes)
    return _told(called, incomplete)


def containers(incomplete: str) -> list[CompletionItem]:
    """The names, or else ids, of containers with Go processes that begin with `incomplete`."""
    from spyglass.processes import go_processes

    found = go_processes().processes
    return _told(((p.pid, p.container_name or p.container or "") for p in found), incomplete)


def pods(incomplete: str) -> list[CompletionItem]:
    """The pods with Go processes that begin with `incomplete`, as NAMESPACE/NAME."""
    from spyglass.processes import go_processes

    found = go_processes().processes
    return _told(((p.pid, f"{p.namespace}/{p.pod}" if p.pod else "") for p in found), incomplete)


def _told(called: Iterable[tuple[int, str]], incomplete: str) -> list[CompletionItem]:
    """What processes are `called` that begins with `incomplete`, with their pids as help."""
    found: dict[str, str] = {}
    for pid, name in called:
        if name.startswith(incomplete) and name.isprintable() and name:
            found[name] = f"pid {pid}" if name not in found else "several processes"
    return [CompletionItem(name, help=which) for name, which in sorted(found.items())]


def targets(incomplete: str) -> list[CompletionItem]:
    """Pids and names of Go processes that begin with `incomplete`, and files.

    Files come first: then bash completes them where there is nothing else.
    """
    files = CompletionItem(incomplete, type="file")
    if "/" in incomplete:
        return [files]
    number = pids(incomplete) if not incomplete or incomplete.isdecimal() else []
    return [files, *number, *names(incomplete)]


def states(context: click.Context, incomplete: str) -> list[CompletionItem]:
    """The states that goroutines of the given target are in and that contain `incomplete`."""
    from spyglass.analysis.counts import by_state

    found = _snapshot(context)
    return _offered(by_state(found, _rows(found)), incomplete) if found else []


def labels(context: click.Context, incomplete: str) -> list[CompletionItem]:
    """The pprof labels of goroutines of the given target that contain `incomplete`, as KEY=VALUE."""
    from spyglass.analysis.counts import by_label

    found = _snapshot(context)
    return _offered(by_label(found, _rows(found)), incomplete) if found else []


def _offered(counts: dict[str, int], incomplete: str) -> list[CompletionItem]:
    part = incomplete.casefold()
    fitting = [
        (words, number)
        for words, number in counts.items()
        if part in words.casefold() and words.isprintable()
    ]
    return [CompletionItem(words, help=f"{number:,}") for words, number in fitting[:_MAX_OFFERED]]


def _snapshot(context: click.Context) -> Snapshot | None:
    """A snapshot of the target that the line names so far; None if there is none, or it is refused."""
    from spyglass.cli.source_options import SourceOptions

    given = {name: context.params.get(name) for name in SourceOptions.__dataclass_fields__}
    # Arguments are not parsed as far as `context.params` while the last option has no value yet.
    target = context.params.get("target")
    words = (target,) if target else tuple(context.args[:1])
    try:
        sources = SourceOptions(**given).sources(words)
        return sources[0].snapshot("top") if len(sources) == 1 else None
    except (SpyglassError, click.UsageError, OSError):
        return None


def _rows(snapshot: Snapshot) -> Any:
    from spyglass.analysis.selection import selected

    return selected(snapshot.goroutines, system=True)


class _Bash(BashComplete):
    """bash, which splits words at "=", completes the last part, and inserts it without quoting it."""

    _before = ""

    def get_completion_args(self) -> tuple[list[str], str]:
        args, last = super().get_completion_args()
        *args, incomplete = _joined([*args, last])
        self._before = incomplete.removesuffix(last if last != "=" else "")
        if self._before.startswith("--"):  # click splits an option from its value
            self._before = self._before.partition("=")[2]
        return args, incomplete

    def format_completion(self, item: CompletionItem) -> str:
        if item.type != "plain":
            return super().format_completion(item)
        # The script reads it with `read`, which removes one level of backslashes.
        return "plain," + _SPECIAL.sub(r"\\\\\1", item.value.removeprefix(self._before))


def _joined(words: Iterable[str]) -> list[str]:
    """`words` with each ``KEY``, ``=``, ``VALUE`` as one word."""
    found: list[str] = []
    is_open = False
    for word in words:
        if found and (is_open or word == "="):
            found[-1] += word
        else:
            found.append(word)
        is_open = word == "="
    return found


def register() -> None:
    """Let click use our completion of bash."""
    add_completion_class(_Bash, "bash")
