"""What metrics are made of, read from one process. Imports no web server: ``spyglass export`` uses it, too."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from spyglass.runtime.waiting.options import WaitOptions

if TYPE_CHECKING:
    from spyglass.export.metrics import Looked
    from spyglass.inspector import Inspector

__all__ = ["look"]


def look(program: Inspector, pid: int, name: str, began: float, *, heap: bool = False) -> Looked:
    """Read `program`; `name`: of it, if its executable has none; `began` (`time.perf_counter`): when that began.

    `heap`: also count goroutines that nothing can wake. Raises as `Inspector.snapshot`.
    """
    from spyglass.export.metrics import Looked

    snapshot = program.snapshot(waits=WaitOptions(heap=heap))
    account = program.memory_account()
    name = os.path.basename(snapshot.process.exe or "") or name
    return Looked(pid, name, time.perf_counter() - began, snapshot, account)
