"""The three paths of gospy's HTTP API (github.com/monsterxx03/gospy, pkg/api/server.go), in its shapes.

What a snapshot does not have is null: the address of the goroutine's structure, the bounds of its stack, its stack pointer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from spyglass.analysis.selection import selected
from spyglass.export.plain_values import plain
from spyglass.model import STATUSES, Frame, Snapshot
from spyglass.serve.operations import Answer, Asked, json_answer
from spyglass.serve.parameters import integer
from spyglass.serve.problems import Refusal

if TYPE_CHECKING:
    from spyglass.inspector import Inspector
    from spyglass.serve.service import Service

__all__ = ["PID", "goroutines", "memstats", "runtime"]

PID = (integer("pid", "The process.", 1, 1 << 22),)


async def runtime(service: Service, asked: Asked) -> Response:
    """The version of Go."""
    return await _answered(service, asked, _runtime)


async def goroutines(service: Service, asked: Asked) -> Response:
    """All goroutines, those of the runtime among them."""
    return await _answered(service, asked, _goroutines)


async def memstats(service: Service, asked: Asked) -> Response:
    """Garbage collections."""
    return await _answered(service, asked, _memstats)


async def _answered(service: Service, asked: Asked, read: Any) -> Response:
    if asked.values["pid"] is None:
        raise Refusal(400, "pid: it is needed")

    def answer(program: Inspector) -> Answer:
        return json_answer(read(program))

    return (await service.pool.read(asked.pid, asked.key, answer)).response()


def _runtime(program: Inspector) -> Mapping[str, Any]:
    return {"go_version": program.runtime.go_version}


def _memstats(program: Inspector) -> Mapping[str, Any]:
    memory = program.snapshot("top").memory
    last = memory.last_gc_at
    return {
        # runtime.mstats.last_gc_unix: ns since 1970.
        "last_gc": None if last is None else int(last.timestamp() * 1e6) * 1000,
        "pause_total_ns": memory.gc_pause_total_ns,
        "num_gc": memory.gc_count,
    }


def _goroutines(program: Inspector) -> list[dict[str, Any]]:
    taken = program.snapshot("full")
    g, rows = taken.goroutines, selected(taken.goroutines, system=True)
    columns = (g.id, g.status, g.wait_reason, g.stack, g.start)
    found = zip(*(column[rows].tolist() for column in columns), strict=True)
    return [_goroutine(taken, *each) for each in found]


def _goroutine(
    taken: Snapshot, goid: int, status: int, reason: int, stack: int, start: int
) -> dict[str, Any]:
    top = _innermost(taken, stack)
    began = taken.frame(start)
    return {
        "address": None,
        "go_id": goid,
        "status": STATUSES[status],
        "wait_reason": plain(taken.wait_reasons[reason]) if reason >= 0 else "",
        "stack": {"lo": None, "hi": None},
        "sched": {"pc": None if top is None else top.pc, "sp": None},
        "func_name": "" if top is None else plain(top.function),
        "start_pc": None if began is None else began.pc,
        "start_func_name": "" if began is None else plain(began.function),
    }


def _innermost(taken: Snapshot, stack: int) -> Frame | None:
    if stack < 0 or taken.stack_offsets[stack] == taken.stack_offsets[stack + 1]:
        return None
    return taken.frames[int(taken.stack_frames[taken.stack_offsets[stack]])]
