"""A column of goroutines that this test adds: one line in the model, and one reader that is registered."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import start

pytestmark = pytest.mark.live

#: Run in a process of its own, for the model is another one there.
_SCRIPT = """
import importlib.util, io, sys, types
import numpy as np

spec = importlib.util.find_spec("spyglass.model")
source = open(spec.origin).read()
line = "    quality: NDArray[np.uint8] = column("
assert source.count(line) == 1
added = "    waits_for: NDArray[np.uint64] = column(np.uint64)\\n"
model = types.ModuleType("spyglass.model")
sys.modules["spyglass.model"] = model
exec(compile(source.replace(line, added + line), spec.origin, "exec"), model.__dict__)

from spyglass import attach, load
from spyglass.analysis.subset import subset
from spyglass.export.snapshot_writer import write_json
from spyglass.runtime.goroutines import side_readers

UNREAD = 2**64 - 1
seen = []

class Waits:
    column, g_fields, unread = "waits_for", ("waiting", "labels"), UNREAD
    def __init__(self, runtime): self.runtime = runtime
    def read(self, rows):
        seen.append(len(rows))
        return rows["goid"] * np.uint64(2)
    def finish(self, column):
        return column + np.uint64(1), {"matched_of": 77}

side_readers.SIDE_READERS.append(Waits)
with attach(int(sys.argv[1])) as program:
    snapshot = program.snapshot()
g = snapshot.goroutines
assert len(g) > 20 and seen
moved = g.waits_for == 0  # UNREAD + 1
assert (g.waits_for[~moved] == 2 * g.id[~moved] + 1).all() and moved.sum() < 3
assert snapshot.matched_of == 77
saved = io.BytesIO()
write_json(snapshot, saved)
saved.seek(0)
loaded = load(saved).goroutines
assert len(loaded.waits_for) == len(loaded) > 20 and not loaded.waits_for.any()
part = subset(snapshot, np.array([3, 1])).goroutines
assert part.waits_for.tolist() == g.waits_for[[3, 1]].tolist()
print("good")
"""


def test_a_column_and_its_reader_are_added_in_two_places() -> None:
    with start("truth") as process:
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("good\n", "")
