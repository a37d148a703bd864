"""``spyglass waits``: what goroutines wait on, who holds it, and who is stuck."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import click

from spyglass.cli.account import show_account
from spyglass.cli.common_options import debugging, show_timings
from spyglass.cli.fail_on import Limit, exit_beyond, fail_on_option, waits_beyond
from spyglass.cli.output_file import written_to
from spyglass.cli.source_options import source_options
from spyglass.cli.sources import Source
from spyglass.cli.wait_options import (
    WaitChoice,
    WaitOutput,
    WaitRead,
    require_waits,
    wait_choice,
    wait_output,
    wait_read,
)
from spyglass.errors import NoMatch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spyglass.analysis.wait_verdicts import WaitVerdicts
    from spyglass.analysis.wait_view import WaitView
    from spyglass.model import Snapshot

__all__ = ["waits"]

#: Why it is not known which goroutines are stuck, if a part of the heap was read or none of it.
_HEAP_HINTS = {
    True: "not all of the heap was read: --heap-limit",
    False: "the heap, which tells, was not read",
}


@click.command("waits", short_help="Show what goroutines wait on, who holds it, and who is stuck.")
@source_options
@wait_choice
@wait_read
@wait_output
@fail_on_option("deadlock", "stuck")
def waits(
    source: Source,
    choice: WaitChoice,
    read: WaitRead,
    output: WaitOutput,
    limits: tuple[Limit, ...],
) -> None:
    """Show what goroutines wait on, who holds it, and which goroutines can never be woken.

    Findings come first, the worst first: deadlocks, locks that were left locked, goroutines that
    nothing can wake, many that wait for one lock or one peer. Then what goroutines wait on, that with
    most waiters first, with the goroutines that hold it and how this is known. TARGET is a pid, the
    name of a Go process, a saved snapshot or report, or a core file. The process is not stopped,
    unless --stop is given.

    \b
      spyglass waits 1234
      spyglass waits 1234 --goroutine 7          from goroutine 7 to what it hangs on in the end
      spyglass waits 1234 --object 0xc000132018  a lock: its holder and who waits for it
      spyglass waits 1234 --stuck                only what nothing can wake
      spyglass waits 1234 --no-heap              faster; does not say which goroutines are stuck
      spyglass waits incident.json.gz            a saved snapshot
      spyglass waits 1234 --dot | dot -Tsvg > x.svg

    A goroutine is stuck if nothing that is alive refers to what it waits on, by the rule of Go's own
    goroutine leak profile. For this the heap is read, up to --heap-limit; what was not looked at is
    said. Go does not record who holds a lock: a holder is named with its evidence, the best of which
    is a deferred unlock of this lock that is pending. Filters are ANDed; if no goroutine matches, the
    exit status is 1.
    """
    with read.options() as options:
        snapshot = source.snapshot("full", stop=read.stop, waits=options)
    began_ns = perf_counter_ns()
    if output.redact:
        from spyglass.analysis.redaction import redacted

        snapshot = redacted(snapshot)
    view = _view(snapshot, choice, is_document=output.exporter is not None)
    with written_to(output.path) as stream:
        if output.exporter:
            output.exporter.write(view, stream)
        else:
            _show(view, choice)
    show_account(snapshot, choice.goroutine_filter.rows(snapshot, system=False))
    if debugging():
        show_timings(snapshot.timings_ns | {"output": perf_counter_ns() - began_ns})
    exit_beyond(waits_beyond(snapshot, limits))


def _view(snapshot: Snapshot, choice: WaitChoice, *, is_document: bool) -> WaitView:
    """The waits of the goroutines that filters chose, that are stuck, or that the object is about.

    Raises `NoMatch` if there are none, `SpyglassError` if waits were not read.
    """
    from spyglass.analysis.wait_verdicts import verdicts
    from spyglass.analysis.wait_view import wait_view

    require_waits(snapshot)
    known = verdicts(snapshot)
    assert known is not None
    wanted = choice.goroutine_filter
    rows = wanted.rows(snapshot, system=is_document)
    wanted.require_match(snapshot, len(rows), system=is_document)
    is_part = bool(wanted.criteria) or choice.stuck or choice.address is not None
    chosen = snapshot.goroutines.id[rows]
    if choice.stuck:
        chosen = _stuck(known, chosen)
    if choice.address is not None:
        chosen = _around(known, choice.address, chosen)
    return wait_view(known, chosen, is_part=is_part)


def _stuck(known: WaitVerdicts, chosen: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Those of `chosen` that nothing can wake."""
    from spyglass.columns import among

    found = chosen[among(chosen, known.ids[known.stuck == 1])]
    if not len(found):
        looked_at = known.graph.looked_at
        hint = None if looked_at.heap_complete else _HEAP_HINTS[bool(looked_at.marks)]
        raise NoMatch("no goroutine is known to be stuck", hint)
    return found


def _around(known: WaitVerdicts, address: int, chosen: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Those of `chosen` that wait on the object at `address`, or hold it."""
    import numpy as np

    from spyglass.columns import among

    objects, waits, holders = _objects(known, address), known.graph.waits, known.graph.holders
    if not objects:
        raise NoMatch(f"no goroutine waits on an object at {address:#x}")
    waiting = waits.goroutine[np.isin(waits.object, objects)]
    holding = holders.goroutine[np.isin(holders.object, objects)]
    return chosen[among(chosen, np.concatenate((waiting, holding)))]


def _objects(known: WaitVerdicts, address: int) -> list[int]:
    """The rows of the objects at `address`."""
    rows: list[int] = (known.graph.objects.address == address).nonzero()[0].tolist()
    return rows


def _show(view: WaitView, choice: WaitChoice) -> None:
    from spyglass.cli.terminal import Terminal
    from spyglass.render.waits_view import render_chains, render_objects, render_waits

    terminal, wanted = Terminal(), choice.goroutine_filter
    options = terminal.view(everything=choice.everything, limit=wanted.limit)
    if choice.address is not None:
        terminal.show(render_objects(view, _objects(view.known, choice.address), options))
    elif wanted.criteria.ids:
        terminal.show(render_chains(view, options))
    else:
        terminal.show(render_waits(view, options))
