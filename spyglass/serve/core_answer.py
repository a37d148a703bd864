"""A small core as an answer, out of a temporary file that has no name."""

from __future__ import annotations

import tempfile

from spyglass.cores.small_core import save_core
from spyglass.export.snapshot_file import file_name
from spyglass.serve.operations import Answer, Stored
from spyglass.targets import Target

__all__ = ["core"]


def core(pid: int) -> Answer:
    """The core of process `pid`, which is not stopped. Called in a thread; raises as ``spyglass.attach``."""
    target = Target.attach(pid)
    try:
        with tempfile.TemporaryFile() as stream:
            save_core(target, stream)
            stored = Stored(stream)
        facts = target.process.facts()
        name = file_name(facts.exe, facts.host, pid, target.process.taken_at())
    finally:
        target.close()
    return Answer(stored, "application/octet-stream", f"{name}.core")
