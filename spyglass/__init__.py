"""Inspect running Go programs from outside: no restart, no code change, no stopped thread.

    import spyglass

    with spyglass.attach(1234) as program:
        snapshot = program.snapshot()
    print(snapshot.scheduler.goroutines)
    for goroutine in snapshot:
        print(goroutine.id, goroutine.wait_reason or goroutine.status, goroutine.where)

    with spyglass.open_core("core.1234") as program:
        after = program.snapshot()
    before = spyglass.load("incident.json.gz")

`attach` gives an `Inspector`, whose ``snapshot`` gives a `spyglass.model.Snapshot`: pure data,
documented there. ``waits`` gives what goroutines wait on (`spyglass.wait_graph.WaitGraph`); `verdicts` of a
snapshot with waits says who is in a deadlock, or can never be woken. `open_core` opens a core file in the same way, `load` reads a saved snapshot. Errors are
`spyglass.errors.SpyglassError`; what is missing or doubtful in an answer is in ``snapshot.problems``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from spyglass.version import __version__

if TYPE_CHECKING:
    from spyglass.analysis.wait_verdicts import verdicts
    from spyglass.errors import SpyglassError
    from spyglass.export.snapshot_reader import load
    from spyglass.inspector import Inspector, attach, open_core
    from spyglass.model import Snapshot

__all__ = [
    "Inspector",
    "Snapshot",
    "SpyglassError",
    "__version__",
    "attach",
    "load",
    "open_core",
    "verdicts",
]

_HOMES = {
    "Inspector": "spyglass.inspector",
    "Snapshot": "spyglass.model",
    "SpyglassError": "spyglass.errors",
    "attach": "spyglass.inspector",
    "load": "spyglass.export.snapshot_reader",
    "open_core": "spyglass.inspector",
    "verdicts": "spyglass.analysis.wait_verdicts",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: ``spyglass --help`` needs none of them."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
