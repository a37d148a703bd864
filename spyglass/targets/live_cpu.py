"""The processor time of a live process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spyglass import procfs

if TYPE_CHECKING:
    from spyglass.procfs import CpuReading
    from spyglass.threads import CpuSampler

__all__ = ["LiveCpu"]


@dataclass(frozen=True, slots=True)
class LiveCpu:
    """What process `pid` uses of the processors."""

    pid: int

    def read(self) -> CpuReading:
        """Its times until now, and its quota."""
        return procfs.read_cpu(self.pid)

    def processors(self) -> int:
        """The number of processors on which it may run."""
        return procfs.processors(self.pid)

    def sample(self, tids: Sequence[int]) -> CpuSampler:
        """Sample its threads `tids` from now on, as far as the kernel allows it."""
        from spyglass.threads import CpuSampler

        return CpuSampler(tids)
