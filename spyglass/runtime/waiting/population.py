"""The goroutines of a snapshot, read once more with what they wait for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spyglass.model import NONE, STATUSES
from spyglass.runtime.goroutines.consistency import Signature
from spyglass.runtime.goroutines.decode import alive, fields_of, g_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spyglass.memory.base import Gathered
    from spyglass.model import Goroutines
    from spyglass.runtime.context import Runtime
    from spyglass.runtime.goroutines.consistency import Read
    from spyglass.runtime.stacks.stack_tree import StackTree
    from spyglass.runtime.waiting.options import Moment

__all__ = ["Population"]

#: What tells what a goroutine waits for, beside what every snapshot reads of a ``g``.
_MORE = ("waiting", "_defer", "timer", "sleepWhen", "selectDone", "parkingOnChan")
_BATCH = 1 << 14


@dataclass(frozen=True, slots=True)
class Population:
    """All goroutines of a snapshot, a row for each, in the order of `goroutines`.

    `pointers` (uint64): the addresses of their ``g``. `nodes` (int64): their stacks in `tree`, 0 or less
    for none. `g`: their ``g`` structures, read after their stacks (fields as
    `spyglass.runtime.goroutines.decode.fields_of`, and those of `_MORE` that this version has).
    `steady` (bool): the ``g`` could be read, and the goroutine has not run since the snapshot read it: its
    stack and its ``g`` are of one moment. `reasons`: the wait reasons that `goroutines.wait_reason`
    are indices of.
    """

    runtime: Runtime
    tree: StackTree
    goroutines: Goroutines
    reasons: tuple[str, ...]
    pointers: NDArray[np.uint64]
    nodes: NDArray[np.int64]
    g: NDArray[Any]
    steady: NDArray[np.bool_]
    moment: Moment
    _signature: Signature
    _signatures: NDArray[np.uint64]

    @classmethod
    def read(
        cls,
        runtime: Runtime,
        tree: StackTree,
        read: Read,
        named: tuple[Goroutines, tuple[str, ...]],
        moment: Moment,
    ) -> Population:
        """The goroutines of `read`, which a snapshot was made of, read once more; `named`: as they are
        in the snapshot, and its wait reasons."""
        kind = fields_of(runtime.layouts["g"], _MORE)
        more = [name for name in ("waiting", "_defer", "timer") if name in (kind.names or ())]
        signature = Signature(kind, more)
        count = len(read.pointers)
        rows, signatures = np.zeros(count, _packed(kind)), signature.room(count)

        def keep(part: slice, gathered: Gathered) -> None:
            batch = gathered.rows(kind)
            for name in kind.names or ():
                rows[name][part] = batch[name]
            signatures[part] = signature.of(gathered)[0]

        ok = _read(runtime, signature, read.pointers, keep)
        goroutines, reasons = named
        same = (rows["goid"] == goroutines.id) & alive(rows) & (g_status(rows) == goroutines.status)
        if "trackingSeq" in (kind.names or ()):
            known = goroutines.stops != NONE
            same &= ~known | (rows["trackingSeq"].astype(np.int16) == goroutines.stops)
        return cls(
            runtime, tree, goroutines, reasons, read.pointers, read.node, rows, ok & same,
            moment, signature, signatures,
        )  # fmt: skip

    def still(self) -> NDArray[np.bool_]:
        """Which goroutines are steady, and have not run until now: all that was read of them since is
        of one moment with their ``g``. Read again, unless nothing can move."""
        if self.moment.exact:
            return self.steady
        same = self.steady.copy()

        def keep(part: slice, gathered: Gathered) -> None:
            now = self._signature.of(gathered)[0]
            same[part] &= (now == self._signatures[part]).all(axis=1)

        ok = _read(self.runtime, self._signature, self.pointers, keep)
        return same & ok

    @property
    def waiting(self) -> NDArray[np.bool_]:
        """Which goroutines wait (status waiting, or leaked as Go's own leak profile marks them)."""
        status = self.goroutines.status
        waits: NDArray[np.bool_] = (status == STATUSES.index("waiting")) | (
            status == STATUSES.index("leaked")
        )
        return waits

    def waits_for(self, *reasons: str) -> NDArray[np.bool_]:
        """Which goroutines wait for one of these reasons, as Go's traceback names them; with or without
        " (durable)" (``synctest``)."""
        wanted = [
            text.removesuffix(" (durable)") in reasons and bool(text) for text in self.reasons
        ]
        mask = np.array([*wanted, False], np.bool_)  # the last for NONE
        chosen: NDArray[np.bool_] = mask[self.goroutines.wait_reason] & self.waiting
        return chosen


def _packed(kind: np.dtype[Any]) -> np.dtype[Any]:
    """The fields of `kind` without the gaps between them, which would take most of the memory."""
    assert kind.fields is not None
    return np.dtype([(name, kind.fields[name][0]) for name in kind.names or ()], align=True)


def _read(
    runtime: Runtime,
    signature: Signature,
    pointers: NDArray[np.uint64],
    keep: Callable[[slice, Gathered], None],
) -> NDArray[np.bool_]:
    """Read the ``g`` structures at `pointers`, and give them to `keep` in batches; which could be read."""
    ok = np.zeros(len(pointers), np.bool_)
    for begin in range(0, len(pointers), _BATCH):
        part = slice(begin, begin + _BATCH)
        gathered = runtime.memory.gather(pointers[part], signature.size)
        ok[part] = gathered.ok
        keep(part, gathered)
    return ok
