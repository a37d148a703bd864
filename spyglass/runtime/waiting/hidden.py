"""Words of the heap that keep nothing alive, though they may point to objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spyglass.columns import distinct
from spyglass.runtime.goroutines.decode import g_pointers
from spyglass.runtime.scheduler.sched import p_addresses, read_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spyglass.runtime.context import Runtime

__all__ = ["hidden_words"]


def hidden_words(runtime: Runtime, sudogs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The addresses of these words, ascending.

    Of entries of queues (``sudogs``) the fields c and elem: they point to what is waited on
    (``runtime/mgc.go: setSyncObjectsUntraceable``). And words that are no pointers to the garbage
    collector: the end of a stack in ``g``, where there may be an object, and all of a P but its timers, as
    its buffers are full of pointers of long ago (``gcWork``, ``wbBuf``).
    """
    places = [
        sudogs + np.uint64(_place(runtime, "sudog", name) - before)
        for name in ("elem", "c")
        # Since Go 1.26 these are two words each, and the layout has the second of them. Up to 1.25 the word
        # before only leads to another entry.
        for before in (0, 8)
        if len(sudogs)
    ]
    ms = read_ms(runtime).rows
    end = np.uint64(_place(runtime, "g", "stack") + 8)
    every_g = np.concatenate([g_pointers(runtime), ms["g0"], ms["gsignal"]])
    places.append(every_g.astype(np.uint64) + end)
    if runtime.layouts.has("p", "timers.heap"):
        places.append(_words_of_ps(runtime))
    return distinct(np.concatenate(places))


def _words_of_ps(runtime: Runtime) -> NDArray[np.uint64]:
    """The addresses of all words of Ps but the pointer to their timers."""
    kind = runtime.layouts["p"]
    timers = _place(runtime, "p", "timers")
    words = np.array([at for at in range(0, kind.itemsize, 8) if at != timers], np.uint64)
    return (p_addresses(runtime)[:, None] + words).reshape(-1)


def _place(runtime: Runtime, struct: str, name: str) -> int:
    """Where a field begins in a struct, in bytes."""
    fields = runtime.layouts[struct].fields
    assert fields is not None
    return int(fields[name][1])
