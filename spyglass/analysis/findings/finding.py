"""A finding, and the snapshot that findings are sought in."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from spyglass.analysis.code_lines import function_numbers
from spyglass.analysis.grouped import grouped
from spyglass.analysis.selection import selected
from spyglass.columns import combined, distinct
from spyglass.model import NONE, STATUSES, Frame, Snapshot
from spyglass.words.states import state_at
from spyglass.words.units import duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.analysis.wait_verdicts import WaitVerdicts

__all__ = ["NOTHING", "SEVERITIES", "Findable", "Finding", "Place"]

Severity = Literal["critical", "warning", "info"]
#: The most severe first. critical: requests fail, or the process is about to end; warning: it would be
#: looked into; info: it explains what is seen elsewhere.
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")
#: What views say if there is no finding above "info".
NOTHING = "nothing unusual"

_EXAMPLES = 5

#: What starts goroutines that serve requests of net/http: for a connection, and for a stream of HTTP/2. With
#: code of the user's in it they are in a handler.
_SERVERS = re.compile(
    r"net/http\.\(\*Server\)\.Serve|"
    r"(net/http|net/http/internal/http2|golang\.org/x/net/http2)\.\(\*(http2)?serverConn\)\.\w+"
)
_SERVERS_OWN = ("net/http.", "net/http/", "golang.org/x/net/http2.")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something unusual.

    `kind` names what it is about. `title` is one sentence with its numbers, `detail` a further one; names in them are
    the target's. `goroutines`: how many it is about, None if it is not about goroutines; `examples`: ids of
    some. `functions`: those that the title names. `next`: the command to run next.
    """

    kind: str
    severity: Severity
    title: str
    detail: str | None = None
    goroutines: int | None = None
    examples: tuple[int, ...] = ()
    functions: tuple[str, ...] = ()
    next: str | None = None
    #: Rows of `spyglass.wait_graph.WaitObjects`, if it is about what goroutines wait on.
    objects: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Goroutines of one state whose user's code is in one function.

    `where`, `call`, `start`: frames of the first, None if not known. `is_idle`: all began with that
    function: as far as can be seen they wait for work. `is_serving`: they are in a handler of a
    net/http server. `longest_wait_ns`: None if none is known.
    """

    rows: NDArray[np.int64]
    status: str
    state: str
    where: Frame | None
    call: Frame | None
    start: Frame | None
    is_idle: bool
    is_serving: bool
    longest_wait_ns: int | None

    @property
    def waited(self) -> str:
        """How long the one waits that waits longest, as far as it is known: ``oldest >= 4m 6s``."""
        if self.longest_wait_ns is None:
            return "wait time not known"
        return f"oldest >= {duration(self.longest_wait_ns)}"


class Findable:
    """A snapshot, and what several sources of findings ask of it."""

    def __init__(self, snapshot: Snapshot, known: WaitVerdicts | None = None) -> None:
        self.snapshot = snapshot
        self._known = known

    @property
    def is_whole(self) -> bool:
        """Whether these are all goroutines of the program."""
        return self.snapshot.matched_of is None

    @cached_property
    def verdicts(self) -> WaitVerdicts | None:
        """What becomes of goroutines that wait; None if what they wait on was not read."""
        if self._known is not None or self.snapshot.waits is None:
            return self._known
        from spyglass.analysis.wait_verdicts import verdicts

        return verdicts(self.snapshot)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The user's goroutines."""
        return selected(self.snapshot.goroutines)

    @cached_property
    def places(self) -> list[Place]:
        """The user's goroutines by state and function, the largest group first."""
        snapshot, g, rows = self.snapshot, self.snapshot.goroutines, self.rows
        columns = np.stack((g.where[rows], g.start[rows]))
        where, start = function_numbers(snapshot.frames, columns)
        is_idle = (where == start) & (where != NONE)
        is_serving = self._is_serving(rows)
        found = grouped(
            rows, combined(g.status[rows], g.wait_reason[rows], where, is_idle, is_serving)
        )
        waits = found.reduced(np.maximum, g.waiting_ns).tolist()
        return [self._place(some, wait_ns) for some, wait_ns in zip(found, waits, strict=True)]

    def _is_serving(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `rows` are in a handler of a net/http server."""
        frames, g = self.snapshot.frames, self.snapshot.goroutines
        servers = [
            index
            for index in distinct(g.creator[rows]).tolist()
            if index >= 0 and _SERVERS.fullmatch(frames[index].function)
        ]
        served = rows[np.isin(g.creator[rows], servers)]
        inside = [
            index
            for index in distinct(g.where[served]).tolist()
            if index >= 0 and not frames[index].function.startswith(_SERVERS_OWN)
        ]
        found: NDArray[np.bool_] = np.isin(g.creator[rows], servers) & np.isin(
            g.where[rows], inside
        )
        return found

    def _place(self, rows: NDArray[np.int64], wait_ns: int) -> Place:
        snapshot, g, row = self.snapshot, self.snapshot.goroutines, rows[0]
        where, start = snapshot.frame(int(g.where[row])), snapshot.frame(int(g.start[row]))
        return Place(
            rows=rows,
            status=STATUSES[g.status[row]],
            state=state_at(snapshot, int(g.status[row]), int(g.wait_reason[row])),
            where=where,
            call=snapshot.frame(int(g.call[row])),
            start=start,
            is_idle=where is not None and start is not None and where.function == start.function,
            is_serving=bool(self._is_serving(rows[:1])[0]),
            longest_wait_ns=None if wait_ns == NONE else wait_ns,
        )

    def examples(self, rows: NDArray[np.int64]) -> tuple[int, ...]:
        """The ids of some of `rows`: of those that wait longest, the lowest first."""
        g = self.snapshot.goroutines
        ids, waits = g.id[rows], g.waiting_ns[rows]
        if len(rows) > _EXAMPLES:
            least = np.partition(waits, -_EXAMPLES)[-_EXAMPLES]
            ties = ids[waits == least]
            left = _EXAMPLES - int((waits > least).sum())
            tied = ties if len(ties) <= left else np.partition(ties, left - 1)[:left]
            chosen = (waits > least) | np.isin(ids, tied)
            ids, waits = ids[chosen], waits[chosen]
        return tuple(ids[np.lexsort((ids, -waits))].tolist())

    def command(self, command: str, *arguments: str) -> str:
        """A command line of spyglass about the same process or file."""
        snapshot = self.snapshot
        if snapshot.file is not None:
            is_stdin = snapshot.file == "<stdin>"  # the name of sys.stdin
            target: Sequence[str] = ("-" if is_stdin else snapshot.file,)
        elif snapshot.source.kind == "core":
            target = ("--core", "FILE")
        else:
            target = ("--pid", str(snapshot.process.pid))
        return shlex.join(("spyglass", command, *target, *arguments))
